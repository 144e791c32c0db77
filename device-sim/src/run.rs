//! A whole run: phases, progress, measuring, and the sum of it.

use std::collections::VecDeque;
use std::io::Write;
use std::sync::{Arc, atomic::Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use crate::{
    Amount, ClientKind, Interrupt, Pattern, Plan, Report, TlsFiles,
    harvest::Harvest,
    outside,
    recent::News,
    report::{Measured, sum},
    shared::{Phase, Shared},
    tls::{Tls, TlsError},
    worker::{cast, work},
};

/// How often the run is looked at.
const LOOK: Duration = Duration::from_millis(5);

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operator's fault.
    #[error("set up tls")]
    Tls(#[from] TlsError),
    /// The broker's, or there is none.
    #[error("{0}")]
    Device(String),
    /// The broker's: too slow, or too many devices.
    #[error("only {ready} of {wanted} devices were ready in time{}", last(.trouble))]
    NotReady {
        /// Devices that were served.
        ready: u64,
        /// Devices there should be.
        wanted: u64,
        /// What one of the others met last.
        trouble: Option<String>,
    },
    /// The operator's wish.
    #[error("interrupted when {ready} of {wanted} devices were ready")]
    Interrupted {
        /// Devices that were served.
        ready: u64,
        /// Devices there should be.
        wanted: u64,
    },
    /// The operator's fault.
    #[error("process {0} to be measured does not exist")]
    NoProcess(u32),
    /// This machine's.
    #[error("a worker could not run")]
    Worker(#[from] std::io::Error),
    /// Our own fault.
    #[error("a worker panicked")]
    Panicked,
}

fn last(trouble: &Option<String>) -> String {
    trouble.as_ref().map(|what| format!("; the last that failed: {what}")).unwrap_or_default()
}

/// Runs a plan to its end. Blocks.
///
/// # Errors
/// [`RunError`] if devices could not be connected and subscribed; everything later is part of the report.
pub fn run(plan: &Plan) -> Result<Report, RunError> {
    run_until(plan, &Interrupt::default())
}

/// The same, until somebody interrupts it: then the report is about what was done before.
///
/// # Errors
/// As [`run`], and [`RunError::Interrupted`] if messages had not begun.
pub fn run_until(plan: &Plan, interrupt: &Interrupt) -> Result<Report, RunError> {
    match plan.client {
        ClientKind::Lean => run_lean(plan, interrupt),
        ClientKind::Rumqttc => outside::run(plan, interrupt),
    }
}

/// Our own devices, on as many threads as there are workers.
fn run_lean(plan: &Plan, interrupt: &Interrupt) -> Result<Report, RunError> {
    let tls = plan.tls.as_ref().map(|files: &TlsFiles| Tls::new(files)).transpose()?;
    let parts = cast(plan);
    let shared = Arc::new(Shared::new(plan.clone(), parts.len(), run_number()));
    let mut measured = Measured::begin(&plan.broker_pids).map_err(RunError::NoProcess)?;
    let threads: Vec<_> = (0..plan.workers)
        .map(|number| {
            let parts: Vec<_> = parts.iter().filter(|p| p.worker == number).copied().collect();
            let (shared, tls) = (Arc::clone(&shared), tls.clone());
            thread::spawn(move || work(&shared, number, parts, tls))
        })
        .collect();
    let mut conductor = Conductor::new(&shared, parts.len(), interrupt);
    let conducted = conductor.conduct(&mut measured);
    shared.enter(Phase::Stopping);
    let mut harvests: Vec<Harvest> = Vec::new();
    for thread in threads {
        harvests.push(thread.join().map_err(|_| RunError::Panicked)??);
    }
    conducted?;
    Ok(sum(&shared, harvests, measured))
}

/// Tells runs apart, so that leftovers in persistent sessions are not taken for ours.
pub(crate) fn run_number() -> u32 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let mixed = since.as_nanos() ^ (u128::from(std::process::id()) << 40);
    u32::try_from((mixed ^ (mixed >> 32)) & u128::from(u32::MAX)).unwrap_or_default()
}

/// Leads a run through its phases.
pub(crate) struct Conductor<'s> {
    shared: &'s Shared,
    interrupt: &'s Interrupt,
    wanted: u64,
    printed: Instant,
    last: (u64, u64),
    news: News,
    /// When something moved last.
    moved: Instant,
    reconnects: Reconnects,
}

/// How often connections were made again.
#[derive(Debug, Default)]
struct Reconnects {
    /// Looks at their count, back to one second ago.
    looks: VecDeque<(Instant, u64)>,
    /// The most within one second.
    most: u64,
}

impl<'s> Conductor<'s> {
    pub(crate) fn new(shared: &'s Shared, devices: usize, interrupt: &'s Interrupt) -> Self {
        let wanted = u64::try_from(devices).unwrap_or(u64::MAX);
        let now = Instant::now();
        let reconnects = Reconnects::default();
        Self {
            shared,
            interrupt,
            wanted,
            printed: now,
            last: (0, 0),
            news: News::default(),
            moved: now,
            reconnects,
        }
    }

    pub(crate) fn conduct(&mut self, measured: &mut Measured) -> Result<(), RunError> {
        let plan = &self.shared.plan;
        self.wait_ready()?;
        measured.ready();
        self.shared.enter(Phase::Publishing);
        match plan.amount {
            Amount::Time(time) => self.hold(time),
            Amount::Count(_) if plan.pattern == Pattern::Idle => {}
            // Where messages are few, quiet is what lies between them too.
            Amount::Count(_) => {
                self.wait_quiet(plan.settle + plan.longest_pause(), |s| {
                    s.all_settled() || s.interrupt.is_asked()
                });
            }
        }
        if plan.pattern == Pattern::Idle {
            self.moved = Instant::now();
        }
        measured.interrupted = self.interrupt.is_asked();
        self.shared.enter(Phase::Settling);
        let comes_back = plan.pattern == Pattern::Offline;
        if plan.pattern != Pattern::Idle {
            self.wait_quiet(plan.settle, |s| s.all_settled() && (comes_back || s.all_delivered()));
        }
        measured.published(self.moved);
        measured.reconnects_in_one_second = self.reconnects.most;
        if comes_back && plan.drain_back {
            self.shared.enter(Phase::Returning);
            self.wait_quiet(plan.settle, Self::all_delivered);
            measured.drained(self.moved);
        }
        Ok(())
    }

    fn count(
        &self,
        counter: impl Fn(&crate::shared::Counters) -> &std::sync::atomic::AtomicU64,
    ) -> u64 {
        counter(&self.shared.counters).load(Ordering::Relaxed)
    }

    fn wait_ready(&mut self) -> Result<(), RunError> {
        let begun = Instant::now();
        let devices = usize::try_from(self.wanted).unwrap_or(usize::MAX);
        let within = self.shared.plan.ready_within + self.shared.plan.connects_after(devices);
        loop {
            let ready = self.count(|c| &c.ready);
            if ready >= self.wanted {
                return Ok(());
            }
            if let Some(why) = self.shared.failure() {
                return Err(RunError::Device(why));
            }
            if self.interrupt.is_asked() {
                return Err(RunError::Interrupted { ready, wanted: self.wanted });
            }
            if begun.elapsed() > within {
                let trouble = self.shared.last_trouble();
                return Err(RunError::NotReady { ready, wanted: self.wanted, trouble });
            }
            self.look();
        }
    }

    fn hold(&mut self, time: Duration) {
        let begun = Instant::now();
        while begun.elapsed() < time && !self.interrupt.is_asked() {
            self.look();
        }
    }

    /// Until `done`, or until nothing has moved for so long.
    fn wait_quiet(&mut self, quiet: Duration, done: impl Fn(&Self) -> bool) {
        let mut before = self.progress();
        self.moved = Instant::now();
        while !done(self) && self.moved.elapsed() < quiet {
            self.look();
            let progress = self.progress();
            if progress != before {
                before = progress;
                self.moved = Instant::now();
            }
        }
    }

    fn progress(&self) -> (u64, u64, u64) {
        (
            self.count(|c| &c.published),
            self.count(|c| &c.acknowledged),
            self.count(|c| &c.delivered),
        )
    }

    fn all_settled(&self) -> bool {
        let publishers = u64::try_from(self.shared.plan.publishers()).unwrap_or(u64::MAX);
        self.count(|c| &c.settled) >= publishers
    }

    fn all_delivered(&self) -> bool {
        let copies = u64::try_from(self.shared.plan.copies()).unwrap_or(u64::MAX);
        self.count(|c| &c.delivered) >= self.count(|c| &c.published).saturating_mul(copies)
    }

    fn watch_reconnects(&mut self) {
        let (now, count) = (Instant::now(), self.count(|c| &c.reconnects));
        let looks = &mut self.reconnects.looks;
        looks.push_back((now, count));
        while looks.get(1).is_some_and(|(at, _)| now - *at >= Duration::from_secs(1)) {
            looks.pop_front();
        }
        let before = looks.front().map_or(count, |(_, before)| *before);
        self.reconnects.most = self.reconnects.most.max(count - before);
    }

    /// Waits a moment and prints a line every second.
    fn look(&mut self) {
        thread::sleep(LOOK);
        self.watch_reconnects();
        let since = self.printed.elapsed();
        if self.shared.plan.quiet || since < Duration::from_secs(1) {
            return;
        }
        self.printed = Instant::now();
        let (published, _, delivered) = self.progress();
        let per_s = |now: u64, before: u64| {
            let ms = u64::try_from(since.as_millis()).unwrap_or(u64::MAX).max(1);
            (now - before).saturating_mul(1_000) / ms
        };
        let latency = self.news.since_last(&self.shared.recent);
        let latency = latency.map(|it| {
            format!("  p50 {:.0} us  p99 {:.0} us  max {:.0} us", it.p50_us, it.p99_us, it.max_us)
        });
        // Progress is a courtesy: a closed stderr is no reason to stop.
        let _ = writeln!(
            std::io::stderr(),
            "{:>5} s  connected {}/{}  published {published} ({}/s)  delivered {delivered} ({}/s){}  reconnects {}",
            self.shared.started().elapsed().as_secs(),
            self.count(|c| &c.connected),
            self.wanted,
            per_s(published, self.last.0),
            per_s(delivered, self.last.1),
            latency.unwrap_or_default(),
            self.count(|c| &c.reconnects),
        );
        self.last = (published, delivered);
    }
}
