//! How often something may be done: so much at once, and then one by one.

use std::time::{Duration, Instant};

/// So many at once, and one more after each time between two.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Pace {
    between: Duration,
    /// How far ahead of one by one it may be.
    burst: Duration,
    /// When all that were taken would have come one by one.
    until: Option<Instant>,
}

impl Pace {
    /// So many at once, and one more after each time `between`.
    pub(crate) fn new(at_once: u32, between: Duration) -> Self {
        Self { between, burst: between.saturating_mul(at_once), until: None }
    }

    /// So many in a second from now on, all of them at once; one if it is none.
    pub(crate) fn set_per_s(&mut self, per_s: u32) {
        self.burst = Duration::from_secs(1);
        self.between = self.burst / per_s.max(1);
    }

    /// Notes that one more is taken, if it may be.
    pub(crate) fn takes(&mut self, now: Instant) -> bool {
        let until = self.until.map_or(now, |until| until.max(now)) + self.between;
        let takes = until.duration_since(now) <= self.burst;
        if takes {
            self.until = Some(until);
        }
        takes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(pace: &mut Pace, now: Instant) -> usize {
        (0..100).filter(|_| pace.takes(now)).count()
    }

    #[test]
    fn no_more_are_taken_than_the_pace_allows_which_may_grow() {
        let start = Instant::now();
        let mut pace = Pace::new(1, Duration::from_secs(1));
        pace.set_per_s(10);
        assert_eq!(taken(&mut pace, start), 10);
        assert_eq!(taken(&mut pace, start + Duration::from_millis(500)), 5);
        pace.set_per_s(100);
        assert_eq!(taken(&mut pace, start + Duration::from_millis(1_500)), 100);
        assert_eq!(taken(&mut pace, start + Duration::from_secs(60)), 100);
        pace.set_per_s(3);
        assert_eq!(taken(&mut pace, start + Duration::from_secs(90)), 3);
        pace.set_per_s(0);
        assert_eq!(taken(&mut pace, start + Duration::from_secs(120)), 1);
    }

    #[test]
    fn what_is_left_of_a_time_between_two_is_not_lost() {
        let start = Instant::now();
        let mut pace = Pace::new(30, Duration::from_secs(1));
        assert_eq!(taken(&mut pace, start), 30);
        assert_eq!(taken(&mut pace, start + Duration::from_millis(999)), 0);
        assert_eq!(taken(&mut pace, start + Duration::from_millis(1_999)), 1);
        assert_eq!(taken(&mut pace, start + Duration::from_millis(2_000)), 1);
        assert_eq!(taken(&mut pace, start + Duration::from_secs(3_600)), 30);
    }
}
