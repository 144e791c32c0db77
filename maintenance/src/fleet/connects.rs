//! Clients that come: by how they fare a gate may close.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Clients that wanted to come to a host, or to several, within the last minute.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Connects {
    /// Those that were let in.
    pub let_in: u64,
    /// Those that were not, but for those that were sent elsewhere on purpose.
    pub refused: u64,
    /// How many were let in within so many milliseconds, the shortest time first; each counts the ones before.
    pub within_ms: Vec<(u64, u64)>,
}

impl Connects {
    /// Both together. Both must count by the same times; by others their clients count as slow.
    #[must_use]
    pub fn plus(mut self, other: &Self) -> Self {
        let is_first = self == Self::default();
        self.let_in = self.let_in.saturating_add(other.let_in);
        self.refused = self.refused.saturating_add(other.refused);
        if is_first {
            self.within_ms.clone_from(&other.within_ms);
            return self;
        }
        for (bound, count) in &mut self.within_ms {
            let same = other.within_ms.iter().find(|(theirs, _)| theirs == bound);
            *count = count.saturating_add(same.map_or(0, |(_, theirs)| *theirs));
        }
        self
    }

    /// What was counted since an earlier moment.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let within = self.within_ms.iter().map(|(bound, count)| {
            let same = before.within_ms.iter().find(|(theirs, _)| theirs == bound);
            (*bound, count.saturating_sub(same.map_or(0, |(_, then)| *then)))
        });
        Self {
            let_in: self.let_in.saturating_sub(before.let_in),
            refused: self.refused.saturating_sub(before.refused),
            within_ms: within.collect(),
        }
    }

    /// Those that were not let in, as a part of all; 0 if nobody came.
    pub fn error_rate(&self) -> f64 {
        let all = self.let_in.saturating_add(self.refused);
        if all == 0 { 0.0 } else { as_f64(self.refused) / as_f64(all) }
    }

    /// The shortest of the times within which 99 of 100 were let in, in seconds; 0 if nobody came, infinite if it is longer
    /// than all of them.
    pub fn p99(&self) -> f64 {
        if self.let_in == 0 {
            return 0.0;
        }
        let most = |count: u64| u128::from(count) * 100 >= u128::from(self.let_in) * 99;
        let found = self.within_ms.iter().find(|(_, count)| most(*count));
        found.map_or(f64::INFINITY, |(bound, _)| Duration::from_millis(*bound).as_secs_f64())
    }
}

fn as_f64(count: u64) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn connects(let_in: u64, refused: u64, within: [u64; 2]) -> Connects {
        Connects { let_in, refused, within_ms: vec![(100, within[0]), (1000, within[1])] }
    }

    #[test]
    fn nobody_who_comes_is_nobody_who_fares_badly() {
        let nobody = Connects::default();
        assert!(nobody.error_rate().abs() < f64::EPSILON && nobody.p99().abs() < f64::EPSILON);
    }

    #[test]
    fn the_slowest_of_a_hundred_does_not_count_and_two_do() {
        let near = |a: f64, b: f64| (a - b).abs() < 1e-9;
        assert!(near(connects(100, 0, [99, 100]).p99(), 0.1));
        assert!(near(connects(100, 0, [98, 100]).p99(), 1.0));
        assert!(connects(100, 0, [90, 98]).p99().is_infinite());
        assert!(near(connects(99, 1, [0, 0]).error_rate(), 0.01));
    }

    #[test]
    fn those_of_several_hosts_are_counted_together_and_only_those_of_late() {
        let all =
            Connects::default().plus(&connects(10, 1, [5, 10])).plus(&connects(20, 2, [7, 19]));
        assert_eq!(all, connects(30, 3, [12, 29]));
        assert_eq!(all.since(&connects(10, 1, [5, 10])), connects(20, 2, [7, 19]));
        let other = Connects { let_in: 5, refused: 0, within_ms: vec![(50, 5)] };
        assert_eq!(all.plus(&other).within_ms, [(100, 12), (1000, 29)], "nobody knows how slow");
    }
}
