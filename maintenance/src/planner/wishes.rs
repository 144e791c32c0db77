//! What a visit wants of its host: asked by whoever plans it, grants it or tries it on a clock that only counts, so that all
//! of them reckon with the same.

use std::time::Duration;

use super::published::PlannedVisit;
use crate::drain::{DrainWishes, MoveWishes, OnTimeout, Profile};
use crate::execution::{Course, CourseWishes, DrainTimeout, Warming, Work};
use crate::fleet::{Availability, OwnDrain};
use crate::ledger::SlotClass;
use crate::operation::PhaseTimes;
use crate::policy::{self, Effective};

/// How a visit goes, and how its host is drained in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wishes {
    /// Its steps, with limits.
    pub course: Course,
    /// Its drain, as far as policies say.
    pub drain: DrainWishes,
}

/// How long a step may take that has no limit of its own.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a host may be away before somebody is asked, if its work does not take longer.
const RETURN_BY: Duration = Duration::from_secs(600);
/// With how much of its usual pace a host begins to take clients again, if its policies give it time.
const FROM_PERCENT: u8 = 5;
/// How often a host is checked before somebody is asked.
const VERIFY_TRIES: u32 = 3;
/// How long a host is checked after its work.
const VERIFY: Duration = Duration::from_secs(15);

impl Wishes {
    /// What the policies of a host want of a visit, where they say nothing what the host itself answered, in a window that is open
    /// for so long.
    pub fn new(
        planned: &PlannedVisit,
        effective: &Effective,
        answer: &Availability,
        open: Duration,
    ) -> Self {
        let (visit, own, drain) =
            (&planned.visit, &answer.drain, effective.drain_wishes(&answer.drain));
        let (works, announce) = (planned.works(), drain.plan(own).announce);
        // Then the checks wait until the process before has moved its clients, in the time that its host gives a drain.
        let patience = match visit.slot() {
            Some(SlotClass::InPlace) => PATIENCE.saturating_add(own.timeout.saturating_mul(2)),
            Some(SlotClass::Drain) | None => PATIENCE,
        };
        let work = |sum: Duration, work: &Work| sum.saturating_add(work.limit);
        let return_by = works.iter().fold(Duration::ZERO, work).max(RETURN_BY);
        // The host's own machine knows what happens when the drain takes too long; this is for one that does not answer.
        let limit = drain.limit(own, open).saturating_add(announce).saturating_add(PATIENCE);
        let course = Course::new(CourseWishes {
            slot: visit.slot(),
            works,
            announce,
            drain: limit,
            drain_estimate: drain.moving(own, answer.load.connections).p95,
            on_timeout: DrainTimeout::Undrain,
            hold: planned.operations.iter().map(|it| it.kind.hold()).max().unwrap_or_default(),
            patience,
            verify_tries: VERIFY_TRIES,
            return_by,
            warming: Warming { from_percent: FROM_PERCENT, over: effective.warm.value },
            on_failure: effective.on_failed_work.value,
            soak: effective.soak.value,
        });
        Self { course, drain }
    }
}

impl Effective {
    /// How a host with these settings is to be drained, as far as policies say.
    pub fn drain_wishes(&self, own: &OwnDrain) -> DrainWishes {
        let slower = self.fleet_rate.value.filter(|all| *all < own.per_s);
        let said = |from: &[_]| !from.is_empty();
        DrainWishes {
            profile: profile(self.profile.value),
            per_s: self.pace().or(slower),
            announce: self.lb_grace.value,
            timeout: self.timeout.value,
            on_timeout: Some(on_timeout(self.on_timeout.value))
                .filter(|_| said(&self.on_timeout.from)),
            moves: MoveWishes {
                takeover_wait: self.takeover_wait.value,
                flush: self.flush.value,
                per_device: self.per_device.value,
            },
        }
    }

    /// How long the parts of a visit of a host probably take that do not come from its work; of one that never answered as
    /// if nobody were connected to it.
    pub fn phase_times(&self, answer: Option<&Availability>) -> PhaseTimes {
        let none = OwnDrain::default();
        let (own, clients) = answer.map_or((&none, 0), |it| (&it.drain, it.load.connections));
        let wishes = self.drain_wishes(own);
        PhaseTimes {
            announce: wishes.plan(own).announce,
            drain: wishes.moving(own, clients).p95,
            verify: VERIFY,
            warm: self.warm.value,
            soak: self.soak.value,
        }
    }
}

const fn on_timeout(said: policy::DrainTimeout) -> OnTimeout {
    match said {
        policy::DrainTimeout::ForceRest => OnTimeout::ForceRest,
        policy::DrainTimeout::Extend => OnTimeout::Extend,
        policy::DrainTimeout::Ask => OnTimeout::Ask,
        policy::DrainTimeout::Undrain => OnTimeout::Undrain,
    }
}

const fn profile(said: policy::Profile) -> Profile {
    match said {
        policy::Profile::HostDying => Profile::HostDying,
        policy::Profile::Urgent => Profile::Urgent,
        policy::Profile::Planned => Profile::Planned,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use protocol::{GatewayId, Incarnation, Wall};

    use super::*;
    use crate::execution::Step;
    use crate::fleet::{Estimate, Forecast, Host, HostState, Load, OwnDrain};
    use crate::operation::{Merging, OpKind, Operation, OperationId, merge};
    use crate::policy::PolicySet;

    const SECOND: Duration = Duration::from_secs(1);

    fn answer(drain: OwnDrain) -> Availability {
        Availability {
            host: GatewayId::new("gw-1").unwrap(),
            incarnation: Incarnation(1),
            state: HostState::Serving,
            seq: 1,
            issued: Wall(0),
            valid_until: Wall(u64::MAX),
            blockers: Vec::new(),
            load: Load { connections: 4000, messages_per_s: 0 },
            forecast: Forecast::default(),
            drain_estimate: Estimate::default(),
            drain,
            sessions: 4000,
            v5_share_percent: None,
            needs: Vec::new(),
            preferred: Vec::new(),
        }
    }

    fn effective(drain: &str) -> Effective {
        let text = format!("[policy.all]\ndrain = {{ {drain} }}\n");
        let policies = PolicySet::read(&text, &BTreeMap::new()).unwrap();
        let id = GatewayId::new("gw-1").unwrap();
        policies.effective(&Host::new(id, Incarnation(1), HostState::Serving), &[])
    }

    /// A visit that is planned and begun by the same policies and the same answer.
    fn wishes(effective: &Effective, answer: &Availability) -> (PlannedVisit, Wishes) {
        let id = OperationId::new("restart").unwrap();
        let estimate = Estimate { p50: 10 * SECOND, p95: 20 * SECOND };
        let operation = Operation::new(id, OpKind::Restart, answer.host.clone());
        let operation = Operation { class: OpKind::Reboot.class(), estimate, ..operation };
        let times = |_: &GatewayId| effective.phase_times(Some(answer));
        let merging = Merging { now: Wall(0), join: SECOND, times: &times };
        let operations = vec![operation];
        let visit = merge(&operations, &merging).unwrap().pop().unwrap();
        let planned = PlannedVisit { visit, operations };
        let wishes = Wishes::new(&planned, effective, answer, 3600 * SECOND);
        (planned, wishes)
    }

    fn limit(wishes: &Wishes, step: Step) -> Duration {
        wishes.course.steps.iter().find(|it| it.step == step).unwrap().limit
    }

    #[test]
    fn a_slow_policy_takes_longer_in_the_plan_and_at_the_grant_alike() {
        let own = OwnDrain { per_s: 200, announce: 3 * SECOND, timeout: 3600 * SECOND };
        let remaining = |drain: &str| {
            let (planned, wishes) = wishes(&effective(drain), &answer(own));
            let phases = planned.visit.phases;
            let planned = phases.announce + phases.drain + phases.operate + phases.warm;
            assert_eq!(wishes.course.remaining(0), planned, "{drain}");
            planned
        };
        let usual = remaining("");
        assert_eq!(usual, (3 + 42 + 20) * SECOND, "announced, moved at half its pace, restarted");
        assert_eq!(remaining("host_rate = 20"), (3 + 402 + 20) * SECOND);
        assert_eq!(remaining("host_rate = 2000, lb_grace = \"30s\""), (30 + 6 + 20) * SECOND);
        assert_eq!(remaining("warm = \"5m\""), usual + 300 * SECOND);
        assert_eq!(remaining("timeout = \"30s\""), (3 + 30 + 20) * SECOND, "longer is not waited");
    }

    #[test]
    fn a_host_is_watched_as_long_as_policies_say_and_the_plan_reckons_with_it() {
        let own = OwnDrain::default();
        let of = |text: &str| {
            let policies = PolicySet::read(text, &BTreeMap::new()).unwrap();
            let id = GatewayId::new("gw-1").unwrap();
            policies.effective(&Host::new(id, Incarnation(1), HostState::Serving), &[])
        };
        let text = "[policy.short]\nsoak = \"1m\"\n[policy.long]\nsoak = \"5m\"\n";
        for (text, expected) in [(text, 300 * SECOND), ("", Duration::ZERO)] {
            let (planned, wishes) = wishes(&of(text), &answer(own));
            assert_eq!(limit(&wishes, Step::Soak), expected);
            assert_eq!(planned.visit.phases.soak, expected);
        }
    }

    #[test]
    fn nobody_is_drained_faster_than_all_together_may_be() {
        let own = OwnDrain { per_s: 200, ..OwnDrain::default() };
        let per_s = |drain: &str| {
            let wishes = wishes(&effective(drain), &answer(own)).1.drain;
            (wishes.per_s, wishes.plan(&own).per_s)
        };
        assert_eq!(per_s("fleet_rate = 50"), (Some(50), 50));
        assert_eq!(per_s("fleet_rate = 500"), (None, 200));
        assert_eq!(per_s("fleet_rate = 500, host_rate = 300"), (Some(300), 300));
        assert_eq!(per_s("fleet_rate = 250, host_rate = 300"), (Some(250), 250));
        assert_eq!(per_s("fleet_rate = 500, profile = \"urgent\"").1, 500);
        assert!(per_s("profile = \"urgent\"").1 > 500);
    }

    #[test]
    fn where_policies_are_silent_the_visited_hosts_own_settings_hold() {
        let own = OwnDrain { per_s: 50, announce: 7 * SECOND, timeout: 100 * SECOND };
        let (_, silent) = wishes(&effective(""), &answer(own));
        assert_eq!(silent.drain, DrainWishes::default());
        assert_eq!(limit(&silent, Step::Announce), 7 * SECOND + PATIENCE);
        assert_eq!(limit(&silent, Step::Drain), (200 + 7) * SECOND + PATIENCE);
        let (_, said) = wishes(&effective("timeout = \"20s\""), &answer(own));
        assert_eq!(limit(&said, Step::Drain), (40 + 7) * SECOND + PATIENCE);
    }

    #[test]
    fn a_profile_that_goes_on_as_long_as_the_window_is_open_may_take_as_long() {
        let own = OwnDrain::default();
        for (said, expected) in [
            ("profile = \"urgent\"", 3600 * SECOND + own.announce),
            ("profile = \"urgent\", on_timeout = \"undrain\"", 1200 * SECOND + own.announce),
            ("profile = \"host_dying\"", 1200 * SECOND),
        ] {
            let (_, wishes) = wishes(&effective(said), &answer(own));
            assert_eq!(limit(&wishes, Step::Drain), expected + PATIENCE, "{said}");
        }
    }
}
