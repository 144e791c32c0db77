//! What is wanted of a drain beside what its host does by itself.

use std::time::Duration;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::plan::{DrainPlan, OnTimeout, Profile};
use crate::fleet::{Estimate, OwnDrain};
use crate::record;

/// How a drain is to go, as far as policies or whoever asks for it say; what is none is as the host's own settings have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct DrainWishes {
    /// In how much of a hurry; what else is said here is stronger.
    pub profile: Profile,
    /// Clients that leave the host per second; 0 counts as 1.
    pub per_s: Option<u32>,
    /// From "not ready" to the first refused client.
    pub announce: Option<Duration>,
    /// How long the drain may take behind that.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: Option<OnTimeout>,
    /// How each of its clients is moved.
    pub moves: MoveWishes,
}

/// How a client is moved, as far as policies or whoever asks for the drain say; what is none is as the host's own settings have it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct MoveWishes {
    /// How long its will waits for it to come back, where the host lets wills wait.
    pub takeover_wait: Option<Duration>,
    /// How long it may take to finish what is under way between it and the host once it is its turn; at most [`FLUSH_MOST`].
    pub flush: Option<Duration>,
    /// How often it may be moved; who was moved as often goes with the last.
    pub per_device: Option<MoveBudget>,
}

/// How often a client may be moved by drains.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MoveBudget {
    /// So many times.
    pub max: u32,
    /// Within so much time.
    #[serde(rename = "per_ms", with = "record::millis")]
    pub per: Duration,
}

/// The longest that a client may take to finish: receivers believe that it is on its way by then.
pub const FLUSH_MOST: Duration = Duration::from_secs(5);

impl MoveWishes {
    /// Nobody says anything.
    pub const NONE: Self = Self { takeover_wait: None, flush: None, per_device: None };
}

impl MoveBudget {
    /// Whether a client that was moved so often from `since` on has spent it.
    pub fn is_spent(self, (since, moves): (Wall, u32), now: Wall) -> bool {
        moves >= self.max && since.until(now) < self.per
    }
}

impl DrainWishes {
    /// The plan that the machine of such a host goes by, without an end of a window and without a seed.
    pub fn plan(&self, own: &OwnDrain) -> DrainPlan {
        let plan = self.profile.apply(DrainPlan {
            per_s: own.per_s,
            announce: own.announce,
            timeout: own.timeout,
            on_timeout: OnTimeout::Undrain,
            until: None,
            seed: 0,
        });
        DrainPlan {
            per_s: self.per_s.unwrap_or(plan.per_s).max(1),
            announce: self.announce.unwrap_or(plan.announce),
            timeout: self.timeout.unwrap_or(plan.timeout),
            on_timeout: self.on_timeout.unwrap_or(plan.on_timeout),
            ..plan
        }
    }

    /// How long so many clients probably take to leave, from the first refused one on: at the pace that is wanted, and at half of
    /// it, since receivers may have other things to do. A profile's hurry is not reckoned with: nobody knows what will be
    /// granted.
    pub fn moving(&self, own: &OwnDrain, clients: u64) -> Estimate {
        let plan = self.plan(own);
        let per_s = u64::from(self.per_s.unwrap_or(own.per_s).max(1));
        let moving = Duration::from_secs((clients / per_s).saturating_add(1));
        let most = match plan.on_timeout {
            OnTimeout::Undrain => plan.timeout,
            OnTimeout::ForceRest => plan.timeout.saturating_mul(2),
            OnTimeout::Extend | OnTimeout::Ask => Duration::MAX,
        };
        Estimate { p50: moving.min(most), p95: moving.saturating_mul(2).min(most) }
    }

    /// The same, with what is announced before.
    pub fn whole(&self, own: &OwnDrain, clients: u64) -> Estimate {
        let (announce, moving) = (self.plan(own).announce, self.moving(own, clients));
        let with = |moving: Duration| moving.saturating_add(announce);
        Estimate { p50: with(moving.p50), p95: with(moving.p95) }
    }

    /// How long the machine may need until it has ended in any case, in a window that is open for so long; without what it
    /// announces.
    pub fn limit(&self, own: &OwnDrain, open: Duration) -> Duration {
        let plan = self.plan(own);
        match plan.on_timeout {
            OnTimeout::Extend | OnTimeout::Ask => open,
            OnTimeout::Undrain | OnTimeout::ForceRest => plan.timeout.saturating_mul(2),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn own() -> OwnDrain {
        OwnDrain { per_s: 200, announce: 5 * SECOND, timeout: 600 * SECOND }
    }

    #[test]
    fn a_slow_pace_takes_longer_than_the_hosts_own() {
        let none = DrainWishes::default();
        assert_eq!(none.moving(&own(), 2000), Estimate { p50: 11 * SECOND, p95: 22 * SECOND });
        let slow = DrainWishes { per_s: Some(20), ..none };
        assert_eq!(slow.moving(&own(), 2000), Estimate { p50: 101 * SECOND, p95: 202 * SECOND });
    }

    #[test]
    fn a_hurry_is_not_reckoned_with_and_what_is_said_is_stronger() {
        let urgent = DrainWishes { profile: Profile::Urgent, ..DrainWishes::default() };
        assert_eq!(urgent.moving(&own(), 2000), DrainWishes::default().moving(&own(), 2000));
        let plan = urgent.plan(&own());
        assert!(plan.per_s > own().per_s && plan.on_timeout == OnTimeout::Extend);
        assert_eq!(urgent.limit(&own(), 7 * SECOND), 7 * SECOND, "as long as the window is open");
        let slow = DrainWishes { per_s: Some(0), on_timeout: Some(OnTimeout::Ask), ..urgent };
        assert_eq!((slow.plan(&own()).per_s, slow.plan(&own()).on_timeout), (1, OnTimeout::Ask));
    }

    #[test]
    fn who_was_moved_as_often_as_it_may_be_has_spent_that_for_a_time() {
        let budget = MoveBudget { max: 2, per: 10 * SECOND };
        let spent = |moves, at| budget.is_spent((Wall(1_000), moves), Wall(at));
        assert_eq!([spent(1, 1_000), spent(2, 1_000), spent(3, 10_999)], [false, true, true]);
        assert!(!spent(3, 11_000));
        assert!(MoveBudget { max: 0, ..budget }.is_spent((Wall(0), 0), Wall(9_999)));
    }

    proptest! {
        #[test]
        fn what_is_expected_fits_into_what_is_allowed(
            (per_s, timeout) in (0_u32..1000, 0_u64..100_000),
            clients in any::<u64>(),
            said in prop::option::of(0_u32..1000),
            profile in prop::sample::select(vec![Profile::Planned, Profile::Urgent, Profile::HostDying]),
        ) {
            let own = OwnDrain { per_s, timeout: Duration::from_millis(timeout), ..own() };
            let wishes = DrainWishes { per_s: said, profile, ..DrainWishes::default() };
            let takes = wishes.moving(&own, clients);
            prop_assert!(takes.p50 <= takes.p95);
            prop_assert!(takes.p95 <= wishes.limit(&own, Duration::MAX));
            let slower = DrainWishes { per_s: said.map(|it| it / 2), ..wishes };
            prop_assert!(takes.p95 <= slower.moving(&own, clients).p95);
        }
    }
}
