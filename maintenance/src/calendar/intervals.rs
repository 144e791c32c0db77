//! Many spans of calendar time as one set of moments.

use std::time::Duration;

use protocol::Wall;

use super::interval::Interval;

/// A set of moments: spans that are in order and neither overlap nor touch.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Intervals(Vec<Interval>);

impl Intervals {
    /// No moment at all.
    pub const fn empty() -> Self {
        Self(Vec::new())
    }

    /// Whether there is no moment in it.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The spans, in order.
    pub fn as_slice(&self) -> &[Interval] {
        &self.0
    }

    /// The spans, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Interval> + ExactSizeIterator + '_ {
        self.0.iter().copied()
    }

    /// Whether a moment is in it.
    pub fn contains(&self, at: Wall) -> bool {
        self.covering(at).is_some()
    }

    /// The span that a moment lies in.
    pub fn covering(&self, at: Wall) -> Option<Interval> {
        let next = self.0.partition_point(|span| span.to <= at);
        self.0.get(next).copied().filter(|span| span.contains(at))
    }

    /// The first span that ends after a moment: the one that it lies in, or the next.
    pub fn at_or_after(&self, at: Wall) -> Option<Interval> {
        self.0.get(self.0.partition_point(|span| span.to <= at)).copied()
    }

    /// Whether all of a span is in it, without a break.
    pub fn covers(&self, span: Interval) -> bool {
        self.covering(span.from).is_some_and(|found| span.to <= found.to)
    }

    /// The earliest start, at or after a moment, of a span of this length that is in it without a break.
    pub fn earliest_fit(&self, at: Wall, length: Duration) -> Option<Wall> {
        let from = self.0.partition_point(|span| span.to <= at);
        let mut later = self.0.get(from..).unwrap_or_default().iter();
        later.find_map(|span| {
            let start = span.from.max(at);
            (start.after(length) <= span.to).then_some(start)
        })
    }

    /// All its spans together.
    pub fn total(&self) -> Duration {
        self.0.iter().fold(Duration::ZERO, |sum, span| sum.saturating_add(span.length()))
    }

    /// Its longest span; zero if it is empty.
    pub fn longest(&self) -> Duration {
        self.0.iter().map(|span| span.length()).max().unwrap_or(Duration::ZERO)
    }

    /// Every moment that is in one or the other.
    pub fn union(&self, other: &Self) -> Self {
        self.iter().chain(other.iter()).collect()
    }

    /// Every moment that is in both.
    pub fn intersect(&self, other: &Self) -> Self {
        let mut common = Vec::new();
        let (mut left, mut right) = (self.iter().peekable(), other.iter().peekable());
        while let (Some(&a), Some(&b)) = (left.peek(), right.peek()) {
            common.extend(a.common(b));
            // The one that ends first has nothing more to share.
            if a.to <= b.to {
                left.next();
            } else {
                right.next();
            }
        }
        Self(common)
    }

    /// Every moment of this one that is not in the other.
    pub fn minus(&self, other: &Self) -> Self {
        let mut left = Vec::new();
        let mut next = 0;
        for span in self.iter() {
            let mut from = span.from;
            // Spans that end before this one begins concern no later one either.
            while other.0.get(next).is_some_and(|taken| taken.to <= span.from) {
                next += 1;
            }
            for taken in other.0.get(next..).unwrap_or_default() {
                if span.to <= taken.from {
                    break;
                }
                left.extend(Interval::new(from, taken.from));
                from = from.max(taken.to);
            }
            left.extend(Interval::new(from, span.to));
        }
        Self(left)
    }

    /// What of it lies in a span.
    pub fn within(&self, span: Interval) -> Self {
        self.intersect(&Self::from(span))
    }
}

impl From<Interval> for Intervals {
    fn from(span: Interval) -> Self {
        Self(vec![span])
    }
}

impl FromIterator<Interval> for Intervals {
    /// Spans in any order, that may overlap.
    fn from_iter<I: IntoIterator<Item = Interval>>(spans: I) -> Self {
        let mut spans: Vec<Interval> = spans.into_iter().collect();
        spans.sort_unstable();
        let mut merged: Vec<Interval> = Vec::with_capacity(spans.len());
        for span in spans {
            match merged.last_mut() {
                Some(last) if span.from <= last.to => last.to = last.to.max(span.to),
                Some(_) | None => merged.push(span),
            }
        }
        Self(merged)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn spans(of: &[(u64, u64)]) -> Intervals {
        of.iter().filter_map(|(from, to)| Interval::new(Wall(*from), Wall(*to))).collect()
    }

    #[test]
    fn spans_that_overlap_or_touch_become_one() {
        let set = spans(&[(5, 7), (1, 3), (3, 4), (6, 9), (6, 8)]);
        assert_eq!(set, spans(&[(1, 4), (5, 9)]));
        assert_eq!(
            (set.total(), set.longest()),
            (Duration::from_millis(7), Duration::from_millis(4))
        );
    }

    #[test]
    fn a_fit_is_the_earliest_that_is_not_broken() {
        let set = spans(&[(0, 10), (20, 40)]);
        let fit = |at, length| set.earliest_fit(Wall(at), Duration::from_millis(length));
        assert_eq!(fit(0, 10), Some(Wall(0)));
        assert_eq!(fit(1, 10), Some(Wall(20)));
        assert_eq!(fit(30, 10), Some(Wall(30)));
        assert_eq!(fit(31, 10), None);
        assert!(set.covers(Interval { from: Wall(20), to: Wall(40) }));
        assert!(!set.covers(Interval { from: Wall(5), to: Wall(25) }));
    }

    proptest! {
        #[test]
        fn sets_of_spans_are_sets_of_moments(
            a in prop::collection::vec((0_u64..40, 0_u64..40), 0..8),
            b in prop::collection::vec((0_u64..40, 0_u64..40), 0..8),
        ) {
            let (a, b) = (spans(&a), spans(&b));
            let (union, both, minus) = (a.union(&b), a.intersect(&b), a.minus(&b));
            for at in (0..41).map(Wall) {
                let (in_a, in_b) = (a.contains(at), b.contains(at));
                prop_assert_eq!(union.contains(at), in_a || in_b);
                prop_assert_eq!(both.contains(at), in_a && in_b);
                prop_assert_eq!(minus.contains(at), in_a && !in_b);
            }
            for set in [&union, &both, &minus] {
                let again: Intervals = set.iter().collect();
                prop_assert_eq!(&again, set);
            }
            prop_assert_eq!(both.total() + minus.total(), a.total());
        }
    }
}
