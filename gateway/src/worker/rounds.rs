//! The rounds of a worker. In each, whoever is ready has one turn, in the order in which the kernel told of them, and behind them
//! those who had more to do than their share of the round before; then everything leaves together:
//!
//! ```text
//!  ┌─► sleep, if there is nothing to do ─► letters ─► who is ready ─► who has more to do ─► flush ─┐
//!  └────────────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! So nobody waits for more than one share of each of the others, however much any of them has to do.

use std::time::Duration;

use super::driver::Worker;
use super::sending::BULK_BYTES;

/// How often a worker looks after what waits.
const TICK: Duration = Duration::from_millis(100);
/// How often one that stops looks whether it may.
const LOOK: Duration = Duration::from_millis(5);
/// How long sessions that are written off, and clients that are told, are given at the end.
const FAREWELL: Duration = Duration::from_secs(5);

/// How far a worker is that was told to stop, by the steady clock.
#[derive(Debug, Clone, Copy)]
pub(super) struct Stopping {
    until: Duration,
    next_look: Duration,
}

impl Stopping {
    pub(super) const fn since(now: Duration) -> Self {
        Self { until: now.saturating_add(FAREWELL), next_look: now }
    }
}

impl Worker {
    /// Round after round, until it was told to stop and everything is said.
    pub(super) fn run(mut self) {
        self.next_tick = self.now.mono;
        while !self.is_over() {
            let at_most = self.patience();
            self.round(at_most);
        }
    }

    /// How long it may sleep.
    fn patience(&mut self) -> Duration {
        if self.has_work() {
            return Duration::ZERO;
        }
        if self.mailbox.take(&mut self.letters, self.readiness.bell()) {
            self.letters.reverse();
            return Duration::ZERO;
        }
        self.tell_time();
        let look = self.stopping.map_or(Duration::MAX, |it| it.next_look);
        let rest = self.crumbs.until().unwrap_or(Duration::MAX);
        self.next_tick.min(look).min(rest).saturating_sub(self.now.mono)
    }

    fn has_work(&self) -> bool {
        !self.io.queue.is_empty()
            || !self.io.later.is_empty()
            || !self.letters.is_empty()
            || self.has_to_flush()
    }

    /// One round, which sleeps at most so long before anybody is ready.
    pub(super) fn round(&mut self, at_most: Duration) {
        self.readiness.wait(at_most, &mut self.changes);
        self.changes.iter().for_each(|change| self.io.note(change));
        self.io.bulk_left = BULK_BYTES;
        self.tell_time();
        if self.now.mono >= self.next_tick {
            self.tick();
            self.next_tick = self.now.mono + TICK;
        }
        self.end_rests();
        self.read_letters();
        self.serve_all();
        if self.has_to_flush() {
            self.tell_time();
            self.flush();
        }
    }

    /// Everyone's turn. Who becomes ready by what others do has its turn in the next round, in its order.
    fn serve_all(&mut self) {
        let mut ready = std::mem::take(&mut self.io.queue);
        let mut later = std::mem::take(&mut self.io.later);
        for conn in ready.drain(..).chain(later.drain(..)) {
            self.serve(conn);
        }
        // Kept for their allocations.
        ready.append(&mut self.io.queue);
        later.append(&mut self.io.later);
        (self.io.queue, self.io.later) = (ready, later);
    }

    /// After the order to stop: sessions are written off, clients are told, and given a moment to hear it.
    fn is_over(&mut self) -> bool {
        let Some(stopping) = self.stopping else { return false };
        self.tell_time();
        let now = self.now.mono;
        if now >= stopping.next_look {
            // Again and again: a client may have been on its way in.
            self.machine.handle_stop(self.now, &mut self.io);
            self.stopping = Some(Stopping { next_look: now + LOOK, ..stopping });
        }
        let told = self.machine.is_idle() && self.io.sockets.is_empty();
        told || now >= stopping.until
    }
}
