//! What one receiver has seen of one publisher.

use std::collections::BTreeMap;

/// What a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// Seen for the first time and after everything before it.
    InOrder,
    /// Seen for the first time, but a later one came before it.
    Late,
    /// Seen before.
    Repeat,
}

/// Sequence numbers of one publisher as they came. Costs memory only for gaps.
#[derive(Debug, Clone, Default)]
pub(crate) struct Track {
    /// One more than the highest number seen.
    next: u64,
    /// Gaps below `next`: first number to one past the last.
    missing: BTreeMap<u64, u64>,
}

impl Track {
    /// One more than the highest number seen.
    pub(crate) const fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn see(&mut self, sequence: u64) -> Arrival {
        if sequence == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        if sequence > self.next {
            self.missing.insert(self.next, sequence);
            self.next = sequence + 1;
            return Arrival::InOrder;
        }
        if self.fill(sequence) { Arrival::Late } else { Arrival::Repeat }
    }

    /// Takes a number out of the gap it lies in.
    fn fill(&mut self, sequence: u64) -> bool {
        let Some((&start, &end)) = self.missing.range(..=sequence).next_back() else {
            return false;
        };
        if sequence >= end {
            return false;
        }
        self.missing.remove(&start);
        if start < sequence {
            self.missing.insert(start, sequence);
        }
        if sequence + 1 < end {
            self.missing.insert(sequence + 1, end);
        }
        true
    }

    /// Adds what another receiver has seen, and says how many numbers both have seen.
    pub(crate) fn merge(&mut self, other: &Self) -> u64 {
        let next = self.next.max(other.next);
        let before = self.seen() + other.seen();
        let mut missing = BTreeMap::new();
        for (start, end) in self.gaps_below(next) {
            for (other_start, other_end) in other.gaps_below(next) {
                let (start, end) = (start.max(other_start), end.min(other_end));
                if start < end {
                    missing.insert(start, end);
                }
            }
        }
        *self = Self { next, missing };
        before - self.seen()
    }

    /// How many numbers have been seen.
    fn seen(&self) -> u64 {
        self.next - self.missing.iter().map(|(start, end)| end - start).sum::<u64>()
    }

    /// What has not been seen below a number that is not below the highest seen: first to one past the last.
    fn gaps_below(&self, limit: u64) -> impl Iterator<Item = (u64, u64)> {
        let tail = (self.next < limit).then_some((self.next, limit));
        self.missing.iter().map(|(&start, &end)| (start, end)).chain(tail)
    }

    /// How many of the first `published` numbers never came, and how many of those are in `excused`, which is
    /// sorted.
    pub(crate) fn never_came(&self, published: u64, excused: &[u64]) -> Missing {
        let mut missing = Missing::default();
        for (start, end) in self.gaps_below(published) {
            missing.all += end - start;
            let below = |limit| excused.partition_point(|&sequence| sequence < limit);
            missing.excused += u64::try_from(below(end) - below(start)).unwrap_or_default();
        }
        missing
    }
}

/// Numbers that never came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Missing {
    pub(crate) all: u64,
    /// Those the publisher has no acknowledgement for.
    pub(crate) excused: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gaps_repeats_and_late_messages_are_told_apart() {
        let mut track = Track::default();
        let seen: Vec<_> = [0, 1, 5, 3, 3, 1, 5, 2, 4, 6].map(|n| track.see(n)).into();
        use Arrival::{InOrder, Late, Repeat};
        assert_eq!(
            seen,
            [InOrder, InOrder, InOrder, Late, Repeat, Repeat, Repeat, Late, Late, InOrder]
        );
        assert_eq!(track.never_came(7, &[]), Missing { all: 0, excused: 0 });
    }

    #[test]
    fn what_several_receivers_have_seen_is_added_up() {
        let seen = |numbers: &[u64]| {
            let mut track = Track::default();
            for number in numbers {
                track.see(*number);
            }
            track
        };
        let mut sum = Track::default();
        assert_eq!(sum.merge(&seen(&[0, 3, 4, 9])), 0);
        assert_eq!(sum.merge(&seen(&[1, 4, 5])), 1);
        assert_eq!(sum.merge(&Track::default()), 0);
        assert_eq!(sum.merge(&seen(&[0, 1, 2, 12])), 2);
        assert_eq!(sum.never_came(14, &[6, 13]), Missing { all: 6, excused: 2 });
    }

    #[test]
    fn what_never_came_is_counted_with_the_tail() {
        let mut track = Track::default();
        for sequence in [0, 1, 4, 8] {
            track.see(sequence);
        }
        assert_eq!(track.never_came(12, &[2, 5, 10, 11]), Missing { all: 8, excused: 4 });
        assert_eq!(track.never_came(9, &[]), Missing { all: 5, excused: 0 });
        assert_eq!(Track::default().never_came(3, &[]), Missing { all: 3, excused: 0 });
    }
}
