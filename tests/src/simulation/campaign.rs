//! Many seeds, on some threads.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::mistakes::Mistake;
use super::scenario::{Report, Scenario};

/// Seeds to play.
#[derive(Debug, Clone, Copy)]
pub struct Campaign {
    /// The first seed.
    pub from: u64,
    /// How many.
    pub seeds: u64,
    /// How many threads play them.
    pub threads: usize,
    /// Gateways of each, if the seed does not say.
    pub gateways: Option<usize>,
    /// Whether every kind of fault may strike: see [`Scenario::all_faults`].
    pub all_faults: bool,
    /// Whether holes that README names count as breaches too.
    pub strict: bool,
    /// What gateways do wrong on purpose.
    pub mistake: Option<Mistake>,
    /// Broken seeds after which no more are played; 0 is no limit.
    pub enough: usize,
}

/// What became of them.
#[derive(Debug, Default)]
pub struct Tally {
    /// Seeds that were played.
    pub played: AtomicU64,
    /// Publications that were acknowledged.
    pub acknowledged: AtomicU64,
    /// Publications that devices received.
    pub received: AtomicU64,
    /// Wills that devices received.
    pub wills: AtomicU64,
    /// Devices that came back with a position and got exactly what follows.
    pub resumes: AtomicU64,
    /// Updates of shadows that were answered.
    pub updates: AtomicU64,
    /// Seeds that broke a promise.
    broken: Mutex<Vec<Report>>,
    over: AtomicBool,
}

impl Campaign {
    /// A seed as this campaign plays it.
    pub fn scenario(&self, seed: u64) -> Scenario {
        let usual = Scenario::of(seed);
        let gateways = self.gateways.unwrap_or(usual.gateways);
        let Self { all_faults, strict, mistake, .. } = *self;
        Scenario { gateways, all_faults, strict, mistake, ..usual }
    }

    /// Plays all seeds; `meanwhile` runs beside them, until it sees that [`Tally::is_over`].
    pub fn play(&self, tally: &Tally, meanwhile: impl FnOnce()) {
        let next = AtomicU64::new(self.from);
        let until = self.from.saturating_add(self.seeds);
        let work = || {
            loop {
                let seed = next.fetch_add(1, Ordering::Relaxed);
                if seed >= until || (self.enough > 0 && tally.broken() >= self.enough) {
                    return;
                }
                tally.add(self.scenario(seed).play());
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.threads.max(1)).map(|_| scope.spawn(work)).collect();
            let watch = scope.spawn(move || {
                let ended = workers.into_iter().map(std::thread::ScopedJoinHandle::join);
                let failed = ended.filter(Result::is_err).count();
                tally.over.store(true, Ordering::Release);
                assert!(failed == 0, "a seed made the simulation itself fail");
            });
            meanwhile();
            // What failed in there fails here.
            if let Err(panic) = watch.join() {
                std::panic::resume_unwind(panic);
            }
        });
    }
}

impl Tally {
    fn add(&self, report: Report) {
        self.played.fetch_add(1, Ordering::Relaxed);
        self.acknowledged.fetch_add(report.acknowledged as u64, Ordering::Relaxed);
        self.received.fetch_add(report.received, Ordering::Relaxed);
        self.wills.fetch_add(report.wills, Ordering::Relaxed);
        self.resumes.fetch_add(report.resumes, Ordering::Relaxed);
        self.updates.fetch_add(report.updates as u64, Ordering::Relaxed);
        if report.breach.is_some() {
            self.broken.lock().unwrap_or_else(PoisonError::into_inner).push(report);
        }
    }

    /// Whether no seed is played any more.
    pub fn is_over(&self) -> bool {
        self.over.load(Ordering::Acquire)
    }

    /// How many seeds broke a promise.
    pub fn broken(&self) -> usize {
        self.broken.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// The seeds that broke a promise, in their order.
    pub fn take_broken(&self) -> Vec<Report> {
        let mut broken =
            std::mem::take(&mut *self.broken.lock().unwrap_or_else(PoisonError::into_inner));
        broken.sort_by_key(|report| report.scenario.seed);
        broken
    }
}
