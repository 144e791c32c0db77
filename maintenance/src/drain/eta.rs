//! How long a drain still takes, by how it went lately.
//!
//! Nobody is moved without a credit, so what was moved already tells what the receivers grant.

use std::collections::VecDeque;
use std::time::Duration;

use crate::fleet::Estimate;

/// How often the pace is looked at.
const LOOK: Duration = Duration::from_secs(5);
/// How many looks are remembered: those of a minute.
const LOOKS: usize = 12;
/// The last ones may be that slow to hang up.
const STRAGGLERS: Duration = Duration::from_secs(2);

/// How a drain went in the last minute.
#[derive(Debug, Clone, Default)]
pub struct DrainPace {
    /// When it was looked at last, and how many had been moved.
    last: Option<(Duration, u64)>,
    /// How long each look was after the one before, and how many were moved meanwhile; the oldest first.
    looks: VecDeque<(Duration, u64)>,
}

impl DrainPace {
    /// So many have been moved in all.
    pub fn handle_moved(&mut self, now: Duration, moved: u64) {
        let Some((since, before)) = self.last else {
            self.last = Some((now, moved));
            return;
        };
        let passed = now.saturating_sub(since);
        if passed < LOOK {
            return;
        }
        if self.looks.len() >= LOOKS {
            self.looks.pop_front();
        }
        self.looks.push_back((passed, moved.saturating_sub(before)));
        self.last = Some((now, moved));
    }

    /// How many are moved in a minute, as it went in the last; 0 before the first look.
    pub fn per_minute(&self) -> u64 {
        let (passed, moved) = self.all();
        (moved.saturating_mul(60_000)).checked_div(millis(passed)).unwrap_or(0)
    }

    /// How long it takes to move so many: as it went on average, and as it went in the slowest part, with the stragglers; a part
    /// in which nobody was moved counts as if one had been. None if nobody was moved lately.
    pub fn eta(&self, left: u64) -> Option<Estimate> {
        let (passed, moved) = self.all();
        let takes = |(passed, moved): (Duration, u64)| {
            Some(Duration::from_millis(millis(passed).saturating_mul(left).checked_div(moved)?))
        };
        let p50 = takes((passed, moved))?;
        let parts =
            self.looks.iter().filter_map(|(passed, moved)| takes((*passed, (*moved).max(1))));
        let slowest = parts.max().unwrap_or(p50);
        Some(Estimate { p50, p95: slowest.saturating_add(STRAGGLERS) })
    }

    fn all(&self) -> (Duration, u64) {
        let add = |(passed, moved): (Duration, u64), look: &(Duration, u64)| {
            (passed.saturating_add(look.0), moved.saturating_add(look.1))
        };
        self.looks.iter().fold((Duration::ZERO, 0), add)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn a_drain_takes_as_long_as_it_took_lately() {
        let mut pace = DrainPace::default();
        assert_eq!((pace.per_minute(), pace.eta(10)), (0, None));
        pace.handle_moved(s(100), 0);
        pace.handle_moved(s(104), 40);
        assert_eq!(pace.eta(10), None, "looked at every five seconds");
        pace.handle_moved(s(105), 50);
        pace.handle_moved(s(110), 150);
        assert_eq!(pace.per_minute(), 900);
        assert_eq!(pace.eta(300), Some(Estimate { p50: s(20), p95: s(32) }));
        pace.handle_moved(s(115), 150);
        assert_eq!(pace.per_minute(), 600);
        assert_eq!(pace.eta(2), Some(Estimate { p50: Duration::from_millis(200), p95: s(12) }));
        assert_eq!(pace.eta(0).map(|it| it.p50), Some(s(0)));
    }

    #[test]
    fn what_was_more_than_a_minute_ago_says_nothing() {
        let mut pace = DrainPace::default();
        pace.handle_moved(s(0), 0);
        pace.handle_moved(s(5), 1_000);
        (2..=13).for_each(|look| pace.handle_moved(s(look * 5), 1_000));
        assert_eq!((pace.per_minute(), pace.eta(10)), (0, None));
    }
}
