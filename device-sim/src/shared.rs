//! What the devices of a run share: where the run is, what has arrived, whom to wake.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};
use std::task::Waker;
use std::time::{Duration, Instant, SystemTime};

use crate::{Plan, recent::Recent};

/// Where a run is. Phases only go forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Phase {
    /// Devices connect and subscribe.
    Connecting = 0,
    /// Publishers publish.
    Publishing = 1,
    /// Publishers wait for acknowledgements; nothing new is published.
    Settling = 2,
    /// Offline receivers come back.
    Returning = 3,
    /// Everybody leaves.
    Stopping = 4,
}

/// Counters that tell how far a run is.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Devices that were served for the first time.
    pub(crate) ready: AtomicU64,
    /// Connections that are served now.
    pub(crate) connected: AtomicU64,
    /// Publishers with nothing left to publish or to wait for.
    pub(crate) settled: AtomicU64,
    pub(crate) published: AtomicU64,
    pub(crate) acknowledged: AtomicU64,
    /// Copies that came for the first time.
    pub(crate) delivered: AtomicU64,
    pub(crate) reconnects: AtomicU64,
    pub(crate) wills: AtomicU64,
}

/// Adds without ordering anything.
pub(crate) fn add(counter: &AtomicU64, count: u64) {
    if count > 0 {
        counter.fetch_add(count, Ordering::Relaxed);
    }
}

#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) plan: Plan,
    pub(crate) counters: Counters,
    /// For the lines of progress.
    pub(crate) recent: Recent,
    /// Told apart from other runs by this.
    pub(crate) run: u32,
    started: Instant,
    /// The same moment by the clock of the machine.
    started_wall: SystemTime,
    phase: AtomicU8,
    publishing_ns: AtomicU64,
    settling_ns: AtomicU64,
    /// Per flow: one more than the highest sequence number its receiver has seen.
    seen: Vec<AtomicU64>,
    /// Per device.
    signals: Vec<Signal>,
    failure: Mutex<Option<String>>,
    /// What a device met last that is not ready and tries again.
    trouble: Mutex<Option<String>>,
}

impl Shared {
    pub(crate) fn new(plan: Plan, devices: usize, run: u32) -> Self {
        Self {
            seen: (0..plan.flows()).map(|_| AtomicU64::new(0)).collect(),
            recent: Recent::new(plan.workers),
            signals: (0..devices).map(|_| Signal::default()).collect(),
            plan,
            run,
            counters: Counters::default(),
            started: Instant::now(),
            started_wall: SystemTime::now(),
            phase: AtomicU8::new(Phase::Connecting as u8),
            publishing_ns: AtomicU64::new(0),
            settling_ns: AtomicU64::new(0),
            failure: Mutex::new(None),
            trouble: Mutex::new(None),
        }
    }

    pub(crate) const fn started(&self) -> Instant {
        self.started
    }

    /// Nanoseconds since the run began.
    pub(crate) fn now_ns(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX)
    }

    /// A moment of the run, by the clock of the machine as it was when the run began.
    pub(crate) fn wall(&self, at_ns: u64) -> SystemTime {
        self.started_wall + Duration::from_nanos(at_ns)
    }

    pub(crate) fn phase(&self) -> Phase {
        match self.phase.load(Ordering::Acquire) {
            0 => Phase::Connecting,
            1 => Phase::Publishing,
            2 => Phase::Settling,
            3 => Phase::Returning,
            _ => Phase::Stopping,
        }
    }

    /// When publishing began, in nanoseconds of the run.
    pub(crate) fn publishing_ns(&self) -> u64 {
        self.publishing_ns.load(Ordering::Relaxed)
    }

    /// How long publishing went on, in nanoseconds.
    pub(crate) fn published_for_ns(&self) -> u64 {
        self.settling_ns.load(Ordering::Relaxed).saturating_sub(self.publishing_ns())
    }

    /// Goes on to a phase and wakes everybody.
    pub(crate) fn enter(&self, phase: Phase) {
        match phase {
            Phase::Publishing => self.publishing_ns.store(self.now_ns(), Ordering::Relaxed),
            Phase::Settling => self.settling_ns.store(self.now_ns(), Ordering::Relaxed),
            Phase::Connecting | Phase::Returning | Phase::Stopping => {}
        }
        self.phase.store(phase as u8, Ordering::Release);
        self.signals.iter().for_each(Signal::wake);
    }

    /// Notes why the run cannot go on; the first reason counts.
    pub(crate) fn fail(&self, why: String) {
        let mut failure = self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        failure.get_or_insert(why);
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    /// Notes what keeps a device from being ready; the last one counts.
    pub(crate) fn trouble(&self, what: String) {
        *self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(what);
    }

    pub(crate) fn last_trouble(&self) -> Option<String> {
        self.trouble.lock().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    pub(crate) fn signal(&self, device: usize) -> Option<&Signal> {
        self.signals.get(device)
    }

    /// What the slowest receiver of a publisher has seen.
    pub(crate) fn seen_from(&self, publisher: usize) -> u64 {
        let flows = self.seen.get(self.plan.flows_from(publisher)).unwrap_or_default();
        flows.iter().map(|seen| seen.load(Ordering::SeqCst)).min().unwrap_or(u64::MAX)
    }

    /// A receiver tells how far it is, and wakes the publisher if that waits for it.
    pub(crate) fn tell_seen(&self, publisher: usize, receiver: usize, next: u64) {
        if let Some(seen) = self.seen.get(self.plan.flow(publisher, receiver)) {
            seen.store(next, Ordering::SeqCst);
        }
        // Publishers are the first devices, so that their number is their place.
        if let Some(signal) = self.signals.get(publisher) {
            signal.wake_from(next);
        }
    }
}

/// How others wake a device.
#[derive(Debug, Default)]
pub(crate) struct Signal {
    waker: Mutex<Option<Waker>>,
    waits: AtomicBool,
    /// The sequence number it waits to be seen.
    until: AtomicU64,
}

impl Signal {
    pub(crate) fn register(&self, waker: &Waker) {
        let mut slot = self.waker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        match slot.as_mut() {
            Some(known) => known.clone_from(waker),
            None => *slot = Some(waker.clone()),
        }
    }

    pub(crate) fn wake(&self) {
        let slot = self.waker.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(waker) = slot.as_ref() {
            waker.wake_by_ref();
        }
    }

    /// A publisher waits until all receivers have seen so much. It must look once more after this call.
    pub(crate) fn wait_until(&self, seen: u64) {
        self.until.store(seen, Ordering::SeqCst);
        self.waits.store(true, Ordering::SeqCst);
    }

    pub(crate) fn wait_no_more(&self) {
        self.waits.store(false, Ordering::SeqCst);
    }

    fn wake_from(&self, seen: u64) {
        let due = self.waits.load(Ordering::SeqCst) && seen >= self.until.load(Ordering::SeqCst);
        // Once is enough: the publisher says anew what it waits for.
        if due && self.waits.swap(false, Ordering::SeqCst) {
            self.wake();
        }
    }
}
