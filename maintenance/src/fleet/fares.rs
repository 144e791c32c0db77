//! How clients fare at one host: the same before a visit and after it, or it was not good for them.

use std::fmt;

use serde::{Deserialize, Serialize};

/// How often something was tried, and how often that failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tried {
    /// Both together.
    pub all: u64,
    /// Those that failed.
    pub failed: u64,
}

/// What clients tried at a host, counted since some moment.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fares {
    /// Clients that wanted to be let in, and those that were not, but for those that were sent elsewhere or kept out on purpose.
    pub connects: Tried,
    /// Clients that were let in, and what broke the protocol.
    pub protocol: Tried,
    /// Publications, and those that were refused or that the store did not take.
    pub publications: Tried,
}

/// Fewer than these say nothing.
const LEAST: u64 = 20;
/// So much more of all may fail than before, in percent.
const MORE_PERCENT: u64 = 5;

impl Tried {
    /// So many of which so many failed; more cannot have failed than were tried.
    pub const fn new(all: u64, failed: u64) -> Self {
        Self { all: if failed > all { failed } else { all }, failed }
    }

    /// What was counted since an earlier moment.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        let all = self.all.saturating_sub(before.all);
        Self::new(all, self.failed.saturating_sub(before.failed))
    }

    /// Whether a clearly larger part of these failed than of those before; of which there may be none, and so none that failed.
    fn is_worse_than(self, before: Self) -> bool {
        if self.all < LEAST {
            return false;
        }
        // failed / all > before.failed / before.all + MORE_PERCENT / 100, without fractions.
        let [all, failed, then] = [self.all, self.failed, before.all.max(1)].map(u128::from);
        let (failed_then, more) = (u128::from(before.failed), u128::from(MORE_PERCENT));
        (failed * then).saturating_mul(100) > all.saturating_mul(failed_then * 100 + more * then)
    }
}

impl Fares {
    /// What was counted since an earlier moment.
    #[must_use]
    pub const fn since(self, before: Self) -> Self {
        Self {
            connects: self.connects.since(before.connects),
            protocol: self.protocol.since(before.protocol),
            publications: self.publications.since(before.publications),
        }
    }

    /// What clearly more of fails than before, for programs; of fewer than twenty nothing can be said.
    pub fn worse_than(self, before: Self) -> Option<&'static str> {
        let worse = [
            ("connects_fail", self.connects, before.connects),
            ("protocol_errors", self.protocol, before.protocol),
            ("publications_fail", self.publications, before.publications),
        ];
        worse.into_iter().find(|(_, now, then)| now.is_worse_than(*then)).map(|(code, ..)| code)
    }
}

impl fmt::Display for Fares {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { connects, protocol, publications } = self;
        write!(
            f,
            "{} of {} connects failed, {} of {} clients broke the protocol, {} of {} publications failed",
            connects.failed,
            connects.all,
            protocol.failed,
            protocol.all,
            publications.failed,
            publications.all,
        )
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn connects(all: u64, failed: u64) -> Fares {
        Fares { connects: Tried::new(all, failed), ..Fares::default() }
    }

    #[test]
    fn as_bad_as_before_is_no_worse_and_a_few_say_nothing() {
        let worse = |now: (u64, u64), then: (u64, u64)| {
            connects(now.0, now.1).worse_than(connects(then.0, then.1)).is_some()
        };
        assert!(!worse((100, 5), (0, 0)) && worse((100, 6), (0, 0)));
        assert!(!worse((100, 35), (10, 3)) && worse((100, 36), (10, 3)));
        assert!(!worse((19, 19), (100, 0)) && worse((20, 19), (100, 0)));
        assert!(!worse((0, 0), (100, 50)));
    }

    #[test]
    fn each_of_them_counts_by_itself() {
        let bad = Tried::new(100, 50);
        let of = |fares: Fares| fares.worse_than(Fares::default());
        assert_eq!(of(Fares { connects: bad, ..Fares::default() }), Some("connects_fail"));
        assert_eq!(of(Fares { protocol: bad, ..Fares::default() }), Some("protocol_errors"));
        assert_eq!(of(Fares { publications: bad, ..Fares::default() }), Some("publications_fail"));
        assert_eq!(of(Fares::default()), None);
    }

    proptest! {
        #[test]
        fn what_is_worse_is_so_by_plain_fractions(
            (all, failed, then, failed_then) in (0_u32..5000, 0_u32..5000, 1_u32..5000, 0_u32..5000)
        ) {
            let (failed, failed_then) = (failed.min(all), failed_then.min(then));
            let part = |failed: u32, all: u32| f64::from(failed) / f64::from(all.max(1));
            let over = part(failed, all) - part(failed_then, then) - 0.05;
            prop_assume!(over.abs() > 1e-9);
            let [now, before] = [(all, failed), (then, failed_then)]
                .map(|(all, failed)| connects(all.into(), failed.into()));
            let expected = all >= 20 && over > 0.0;
            prop_assert_eq!(now.worse_than(before).is_some(), expected);
        }

        #[test]
        fn no_count_that_went_back_does_harm(counts in prop::array::uniform4(any::<u64>())) {
            let [all, failed, then, failed_then] = counts;
            let since = Tried::new(all, failed).since(Tried::new(then, failed_then));
            prop_assert!(since.failed <= since.all);
            let fares = Fares { connects: since, ..Fares::default() };
            prop_assert_eq!(fares.worse_than(fares), None);
        }
    }
}
