//! Gates that were closed: they stay so for a while, also under the next scheduler, and while there is nothing to plan.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use maintenance::ledger::Gate;
use maintenance::planner::Law;
use maintenance::policy::Effective;
use protocol::Wall;
use serde::{Deserialize, Serialize};
use store::{Expect, Rev};

use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DocumentError, Documents};
use crate::scheduler::thread::Scheduler;

/// Where it stands until when gates are closed.
const GATES: &str = "gates";
/// How long a gate counts as closed after a look at which nobody knew whether it is.
const UNKNOWN: Duration = Duration::from_secs(10);
/// What is stored is rounded up to this, so that a gate that stays closed is not written with each look.
const ROUND_MS: u64 = 15_000;

/// Hosts with the same policies have the same gate.
pub(in crate::scheduler) type GateOf = Vec<Arc<str>>;

/// Which gate is a host's.
fn gate_of(effective: &Effective) -> GateOf {
    effective.policies.clone()
}

/// Until when gates are closed, by the policies of their hosts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::scheduler) struct Gates(BTreeMap<GateOf, Wall>);

/// The same as it is stored.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct GatesDocument {
    closed: Vec<ClosedGate>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ClosedGate {
    /// Of the hosts that have exactly these policies.
    policies: Vec<String>,
    until_ms: u64,
}

impl Gates {
    /// Until when the gate of such hosts is closed.
    pub(in crate::scheduler) fn closed_until(
        &self,
        effective: &Effective,
        now: Wall,
    ) -> Option<Wall> {
        self.0.get(&gate_of(effective)).copied().filter(|end| now < *end)
    }

    /// Notes who is closed now. Whoever was is closed for a while.
    pub(in crate::scheduler) fn note(&mut self, closed: BTreeMap<GateOf, Duration>, now: Wall) {
        for (gate, lasts) in closed {
            self.close(gate, now.after(lasts));
        }
    }

    /// Adds what others have seen.
    pub(super) fn merge(&mut self, other: &Self) {
        for (gate, until) in &other.0 {
            self.close(gate.clone(), *until);
        }
    }

    fn close(&mut self, gate: GateOf, end: Wall) {
        let until = self.0.entry(gate).or_default();
        *until = (*until).max(end);
    }

    /// What is to be stored: nothing that is over, and each a little longer than it lasts.
    fn rounded(&self, now: Wall) -> Self {
        let lasting = self.0.iter().filter(|(_, end)| now < **end);
        let up = |end: Wall| Wall(end.0.div_ceil(ROUND_MS).saturating_mul(ROUND_MS));
        Self(lasting.map(|(gate, end)| (gate.clone(), up(*end))).collect())
    }
}

impl From<GatesDocument> for Gates {
    fn from(document: GatesDocument) -> Self {
        let closed = document.closed.into_iter().map(|it| {
            let gate: GateOf = it.policies.into_iter().map(Arc::from).collect();
            (gate, Wall(it.until_ms))
        });
        Self(closed.collect())
    }
}

impl From<&Gates> for GatesDocument {
    fn from(gates: &Gates) -> Self {
        let closed = gates.0.iter().map(|(gate, until)| ClosedGate {
            policies: gate.iter().map(ToString::to_string).collect(),
            until_ms: until.0,
        });
        Self { closed: closed.collect() }
    }
}

impl Documents {
    /// Until when gates are closed, as far as the scheduler has said.
    ///
    /// # Errors
    /// [`DocumentError::Store`] and [`DocumentError::Unreadable`].
    pub(in crate::scheduler) fn gates(&mut self) -> Result<(Gates, Option<Rev>), DocumentError> {
        let (document, rev) = self.get::<GatesDocument>(GATES)?.unzip();
        Ok((document.map(Gates::from).unwrap_or_default(), rev))
    }

    /// Stores until when gates are closed, if that is not what stands there.
    fn put_gates(&mut self, gates: &Gates, now: Wall) -> Result<(), DocumentError> {
        let (stored, rev) = self.gates()?;
        // Nothing is missing in it while all that is closed stands there for at least as long.
        let covers = |(gate, end): (&GateOf, &Wall)| {
            *end <= now || stored.0.get(gate).is_some_and(|until| end <= until)
        };
        if gates.0.iter().all(covers) {
            return Ok(());
        }
        let mut all = gates.rounded(now);
        all.merge(&stored);
        all.0.retain(|_, end| now < *end);
        let expect = rev.map_or(Expect::Absent, Expect::Rev);
        match self.put(GATES, &GatesDocument::from(&all), expect) {
            // Somebody was quicker: the next look sees what, and adds to it.
            Ok(()) | Err(DocumentError::Conflict { .. }) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Who is closed by a gate now, by the policies that say so, and for how long.
pub(super) fn closed(law: &Law<'_>) -> BTreeMap<GateOf, Duration> {
    let effective = law.registered().map(|host| law.effective(host));
    effective.filter_map(|it| Some((gate_of(&it), closes(law, &it)?))).collect()
}

/// How long the gate of such hosts stays closed because it is now: what nobody knows closes it only as long as nobody does.
fn closes(law: &Law<'_>, effective: &Effective) -> Option<Duration> {
    match law.gate(effective) {
        Gate::Open => None,
        Gate::Closed { .. } if law.is_surely_closed(effective) => {
            Some(effective.reopen_after.value)
        }
        Gate::Closed { .. } => Some(UNKNOWN),
    }
}

impl Scheduler {
    /// Notes which gates are closed, for this scheduler and for the next.
    pub(super) fn note_gates(
        &mut self,
        closed: BTreeMap<GateOf, Duration>,
        now: Wall,
    ) -> Result<(), ControlError> {
        if !self.planning.knows_gates {
            let (stored, _) = self.documents.gates().map_err(unavailable)?;
            self.planning.gates.merge(&stored);
            self.planning.knows_gates = true;
        }
        self.planning.gates.note(closed, now);
        self.documents.put_gates(&self.planning.gates, now).map_err(unavailable)
    }

    /// Until when the gate of such gateways stays closed because it was. One that is closed now is so by the law, too, which
    /// says why; that it is closed is noted.
    pub(in crate::scheduler) fn closed_until(
        &mut self,
        law: &Law<'_>,
        effective: &Effective,
    ) -> Result<Option<Wall>, ControlError> {
        let closes = closes(law, effective);
        let noted = closes.map(|lasts| (gate_of(effective), lasts));
        self.note_gates(noted.into_iter().collect(), law.now)?;
        if closes.is_some() {
            return Ok(None);
        }
        Ok(self.planning.gates.closed_until(effective, law.now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scheduler::documents::in_memory;

    #[test]
    fn what_is_closed_is_known_to_the_next_scheduler_and_written_seldom() {
        let mut documents = in_memory();
        let gate = |name: &str| -> GateOf { vec![Arc::from(name)] };
        let mut first = Gates::default();
        let minute = Duration::from_secs(60);
        first.note(BTreeMap::from([(gate("eu"), minute)]), Wall(1_000));
        documents.put_gates(&first, Wall(1_000)).unwrap();
        let (stored, rev) = documents.gates().unwrap();
        assert_eq!(stored.0, BTreeMap::from([(gate("eu"), Wall(75_000))]));
        // It stays closed: what stands there says enough for a while.
        first.note(BTreeMap::from([(gate("eu"), minute)]), Wall(10_000));
        documents.put_gates(&first, Wall(10_000)).unwrap();
        assert_eq!(documents.gates().unwrap(), (stored.clone(), rev));
        // Another scheduler adds its own to that.
        let mut next = Gates::default();
        next.merge(&stored);
        next.note(BTreeMap::from([(gate("us"), minute)]), Wall(30_000));
        documents.put_gates(&next, Wall(30_000)).unwrap();
        let both = [(gate("eu"), Wall(75_000)), (gate("us"), Wall(90_000))];
        assert_eq!(documents.gates().unwrap().0.0, BTreeMap::from(both));
        // What is over is not kept.
        next.note(BTreeMap::from([(gate("us"), minute)]), Wall(80_000));
        documents.put_gates(&next, Wall(80_000)).unwrap();
        let left = [(gate("us"), Wall(150_000))];
        assert_eq!(documents.gates().unwrap().0.0, BTreeMap::from(left));
    }
}
