//! Lines of progress of the loads that only count.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{MissedTickBehavior, interval};

/// What a load has done so far; clones count together.
#[derive(Debug, Clone)]
pub(crate) struct Progress(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    what: &'static str,
    done: AtomicU64,
    failed: AtomicU64,
}

impl Progress {
    /// Counts what is said in a word, such as `accepted`.
    pub(crate) fn of(what: &'static str) -> Self {
        let (done, failed) = (AtomicU64::new(0), AtomicU64::new(0));
        Self(Arc::new(Counts { what, done, failed }))
    }

    pub(crate) fn done(&self) {
        self.0.done.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn failed(&self) {
        self.0.failed.fetch_add(1, Ordering::Relaxed);
    }

    /// Waits for a load, and tells each second how far it is, unless it is to be quiet.
    pub(crate) async fn beside<T>(&self, quiet: bool, load: impl Future<Output = T>) -> T {
        if quiet {
            return load.await;
        }
        tokio::select! {
            outcome = load => outcome,
            never = self.tell() => match never {},
        }
    }

    async fn tell(&self) -> std::convert::Infallible {
        const SECOND: Duration = Duration::from_secs(1);
        let (begun, mut before, mut looked) = (Instant::now(), 0, Instant::now());
        let mut ticks = interval(SECOND);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first one is now.
        ticks.tick().await;
        loop {
            ticks.tick().await;
            let line = self.line(begun.elapsed(), before, looked.elapsed());
            (before, looked) = (self.0.done.load(Ordering::Relaxed), Instant::now());
            // Progress is a courtesy: a closed stderr is no reason to stop.
            let _ = writeln!(std::io::stderr(), "{line}");
        }
    }

    fn line(&self, since: Duration, before: u64, within: Duration) -> String {
        let (done, failed) =
            (self.0.done.load(Ordering::Relaxed), self.0.failed.load(Ordering::Relaxed));
        let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX).max(1);
        let per_s = done.saturating_sub(before).saturating_mul(1_000) / within_ms;
        format!("{:>5} s  {} {done} ({per_s}/s)  failed {failed}", since.as_secs(), self.0.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_was_done_and_how_fast_lately() {
        let progress = Progress::of("accepted");
        (0..250).for_each(|_| progress.clone().done());
        progress.failed();
        let line = progress.line(Duration::from_millis(3_900), 50, Duration::from_millis(500));
        assert_eq!(line, "    3 s  accepted 250 (400/s)  failed 1");
    }
}
