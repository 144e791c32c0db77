//! All pending work of one host, done in one go.

use std::time::Duration;

use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::campaign::BatchOf;
use super::kind::{Class, OpKind};
use super::order::{Due, Operation, OperationId};
use crate::execution::Work;
use crate::fleet::{Blocker, Preferred, VisitId};
use crate::ledger::SlotClass;
use crate::record;

/// What is done to one host in one go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Visit {
    /// Its name: the host and its oldest operation, so that it keeps it when work is added.
    pub id: VisitId,
    /// Whose.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// What, in this order.
    pub operations: Vec<OperationId>,
    /// How much it disturbs: as much as the worst of them.
    pub class: Class,
    /// How long its parts probably take (p95).
    pub phases: Phases,
    /// Not earlier.
    #[serde(rename = "not_before_ms", with = "record::maybe_wall")]
    pub not_before: Option<Wall>,
    /// By when: the first of their deadlines.
    pub deadline: Option<Due>,
    /// The highest of theirs.
    pub priority: u8,
    /// Which visits must be over before, and for how long.
    pub after: Vec<VisitAfter>,
    /// The campaigns it belongs to.
    pub batches: Vec<BatchOf>,
}

/// What visit must be over before another.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitAfter {
    /// Which.
    pub visit: VisitId,
    /// For how long.
    #[serde(rename = "lag_ms", with = "record::millis")]
    pub lag: Duration,
}

/// How long the parts of a visit probably take (p95).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phases {
    /// The host says that it will go.
    #[serde(rename = "announce_ms", with = "record::millis")]
    pub announce: Duration,
    /// The clients move.
    #[serde(rename = "drain_ms", with = "record::millis")]
    pub drain: Duration,
    /// The work.
    #[serde(rename = "operate_ms", with = "record::millis")]
    pub operate: Duration,
    /// The host is checked.
    #[serde(rename = "verify_ms", with = "record::millis")]
    pub verify: Duration,
    /// It admits clients again.
    #[serde(rename = "warm_ms", with = "record::millis")]
    pub warm: Duration,
    /// It is watched.
    #[serde(rename = "soak_ms", with = "record::millis")]
    pub soak: Duration,
}

/// How long the parts of a visit take that do not come from its work: from the policy and from the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PhaseTimes {
    /// How long a host says that it will go.
    pub announce: Duration,
    /// How long its drain probably takes (p95).
    pub drain: Duration,
    /// How long it is checked.
    pub verify: Duration,
    /// How long it admits clients again.
    pub warm: Duration,
    /// How long it is watched.
    pub soak: Duration,
}

impl Phases {
    /// All of it, rounded up to whole minutes: what the planner reckons with.
    pub fn total(&self) -> Duration {
        let minutes = self.exact().as_millis().div_ceil(60_000).max(1);
        Duration::from_secs(u64::try_from(minutes).unwrap_or(u64::MAX / 60).saturating_mul(60))
    }

    /// All of it.
    pub fn exact(&self) -> Duration {
        let Self { announce, drain, operate, verify, warm, soak } = *self;
        [announce, drain, operate, verify, warm, soak].iter().sum()
    }

    /// Those of a visit of a class with so much work.
    pub(super) fn new(class: Class, operate: Duration, times: &PhaseTimes) -> Self {
        let drains = |time: Duration| if class.drains() { time } else { Duration::ZERO };
        let checked = |time: Duration| if class == Class::Hot { Duration::ZERO } else { time };
        Self {
            announce: drains(times.announce),
            drain: drains(times.drain),
            operate,
            verify: checked(times.verify),
            warm: drains(times.warm),
            soak: checked(times.soak),
        }
    }
}

impl Visit {
    /// What of that keeps it from being begun now: a hard blocker, or a soft one that it waits for.
    pub fn declined_by<'a>(
        &self,
        blockers: &'a [Blocker],
        yields_to: Option<u8>,
        now: Wall,
    ) -> Option<&'a Blocker> {
        let is_heeded = |it: &&Blocker| it.hard || self.waits_for(it, yields_to, Wall(u64::MAX));
        blockers.iter().filter(|it| it.until.is_none_or(|until| now < until)).find(is_heeded)
    }

    /// What its host answers if it would begin now and that does not suit it: when it would, the cheapest first. Empty if it suits, if it
    /// takes nothing from clients, if it is as important as what soft blockers yield to, and if it could not be over in time then.
    pub fn counter(
        &self,
        preferred: &[Preferred],
        yields_to: Option<u8>,
        now: Wall,
    ) -> Vec<Preferred> {
        let length = self.phases.exact();
        let insists = yields_to.is_some_and(|least| self.priority >= least);
        if insists || self.slot().is_none() || preferred.iter().any(|it| it.holds(now, length)) {
            return Vec::new();
        }
        let is_open = |it: &&Preferred| {
            let start = it.from.max(now);
            let in_time = self.deadline.is_none_or(|due| start.after(length) <= due.at);
            it.holds(start, length) && in_time
        };
        let mut open: Vec<Preferred> = preferred.iter().filter(is_open).copied().collect();
        open.sort_unstable();
        open
    }

    /// Whether it waits for a soft blocker, which is over at `horizon` if nobody knows when: not if its deadline would be lost by
    /// that, or if it is as important as what soft blockers yield to.
    pub fn waits_for(&self, blocker: &Blocker, yields_to: Option<u8>, horizon: Wall) -> bool {
        let end = blocker.until.unwrap_or(horizon).after(self.phases.total());
        let in_time = self.deadline.is_none_or(|due| end <= due.at);
        in_time && yields_to.is_none_or(|least| self.priority < least)
    }

    /// What the ledger has to allow for it; nothing for work that disturbs nobody.
    pub const fn slot(&self) -> Option<SlotClass> {
        self.class.slot()
    }

    /// Its work for the host, in order; a restart beside something that starts the process anyway is left out.
    /// `operations` are looked up by name.
    pub fn works<'o>(
        &self,
        operations: impl Fn(&OperationId) -> Option<&'o Operation>,
    ) -> Vec<Work> {
        let all: Vec<&Operation> = self.operations.iter().filter_map(operations).collect();
        works(&all)
    }
}

/// The work of operations that are in order.
pub(super) fn works(operations: &[&Operation]) -> Vec<Work> {
    let restarted = operations.iter().any(|operation| operation.kind.restarts());
    let needed = |operation: &&&Operation| !(restarted && operation.kind == OpKind::Restart);
    // Thrice what it probably takes, at least a minute.
    let patience =
        |operation: &Operation| (operation.estimate.p95 * 3).max(Duration::from_secs(60));
    let needed = operations.iter().filter(needed);
    needed.filter_map(|operation| Work::of(operation, patience(operation))).collect()
}
