//! How many new clients are taken while a gateway warms up.

use std::time::{Duration, Instant};

/// So many in a second, the first of them at once.
#[derive(Debug, Default)]
pub(super) struct Pace {
    per_s: u32,
    /// When all that were taken would have come one by one.
    until: Option<Instant>,
}

/// How far ahead of its pace it may be.
const BURST: Duration = Duration::from_secs(1);

impl Pace {
    /// The pace from now on.
    pub(super) const fn set(&mut self, per_s: u32) {
        self.per_s = per_s;
    }

    /// Whether one more is taken.
    pub(super) fn takes(&mut self, now: Instant) -> bool {
        let until = self.until.map_or(now, |until| until.max(now));
        let takes = until.duration_since(now) < BURST;
        if takes {
            self.until = Some(until + Duration::from_secs(1) / self.per_s.max(1));
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_are_taken_than_the_pace_allows_which_may_grow() {
        let mut pace = Pace::default();
        pace.set(10);
        let start = Instant::now();
        let taken = |pace: &mut Pace, now| (0..100).filter(|_| pace.takes(now)).count();
        assert_eq!(taken(&mut pace, start), 10);
        assert_eq!(taken(&mut pace, start + Duration::from_millis(500)), 5);
        pace.set(100);
        assert_eq!(taken(&mut pace, start + Duration::from_millis(1_500)), 100);
        assert_eq!(taken(&mut pace, start + Duration::from_secs(60)), 100);
    }
}
