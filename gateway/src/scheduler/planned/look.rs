//! What a plan is made from, as it stands in the store at one moment.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use maintenance::fleet::{Availability, Estimate};
use maintenance::operation::{
    Estimates, Merging, Operation, OperationId, PhaseTimes, Visit, VisitAfter, merge,
};
use maintenance::planner::{
    Effort, Entry, Expected, Finished, Law, Outlook, Plan, PlannedVisit, Problem, Published, check,
    compile, plan,
};
use maintenance::policy::{Effective, Facts, Freeze, PolicySet, Wanted};
use maintenance::{Host, Ledger};
use protocol::{GatewayId, Wall, hash64};
use store::Rev;

use super::gates::{GateOf, Gates, closed};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::scheduler::status::HostStatus;
use crate::scheduler::wanted::{OperationDocument, OperationState, assumed, class_of, held_up};

/// Where the published plan stands.
pub(super) const PLAN: &str = "plan";
/// How far is planned.
const HORIZON: Duration = Duration::from_secs(28 * 24 * 3600);
/// How far ahead an opening that is open now may reach.
const SOON: Duration = Duration::from_secs(48 * 3600);
/// Work that may start within this time of each other is done in one visit.
const JOIN: Duration = Duration::from_secs(24 * 3600);

/// Everything that a plan depends on.
#[derive(Debug, Clone)]
pub(super) struct Look {
    pub(super) now: Wall,
    pub(super) policies: PolicySet,
    pub(super) freezes: Vec<Freeze>,
    pub(super) hosts: Vec<Host>,
    pub(super) answers: BTreeMap<GatewayId, Availability>,
    /// What was measured that gates depend on.
    pub(super) facts: Facts,
    pub(super) ledger: Ledger,
    /// Those that are pending, without what they do not wait for any more.
    pub(super) operations: Vec<Operation>,
    pub(super) finished: Vec<Finished>,
    /// How long work took that was done.
    pub(super) estimates: Estimates,
    pub(super) published: Option<(Published, Rev)>,
    /// The visits that have begun, as they were planned then; also those without a slot.
    pub(super) going: Vec<PlannedVisit>,
    /// Until when gates are closed, as far as the scheduler has said.
    pub(super) gates: Gates,
    /// The end of the audit, which moves with each change of operators.
    pub(super) seq: u64,
}

impl Look {
    /// Reads it, with the gateways as they were just seen.
    pub(super) fn read(
        documents: &mut Documents,
        statuses: Vec<HostStatus>,
        now: Wall,
    ) -> Result<Self, ControlError> {
        // First: what changes meanwhile is looked at again.
        let seq = documents.audit_head()?.0.seq;
        let stored = documents.operations()?;
        let (mut hosts, mut answers) = (Vec::new(), BTreeMap::new());
        for HostStatus { host, answer, .. } in statuses {
            answers.extend(answer.map(|answer| (host.id.clone(), answer)));
            hosts.push(host);
        }
        let policies = documents.policy_set()?;
        let facts = documents.facts(&policies, &hosts, now).map_err(unavailable)?;
        let mut look = Self {
            now,
            facts,
            policies,
            freezes: documents.freezes()?,
            hosts,
            answers,
            ledger: documents.ledger()?.0,
            operations: pending(&stored),
            finished: finished(&stored),
            estimates: documents.estimates()?,
            published: documents.get(PLAN).map_err(unavailable)?,
            going: documents.going(None)?.into_iter().map(|it| it.planned).collect(),
            gates: documents.gates().map_err(unavailable)?.0,
            seq,
        };
        // What has begun goes on.
        let held = held_up(&stored);
        let begun: BTreeSet<_> =
            look.begun().flat_map(|it| &it.visit.operations).cloned().collect();
        look.operations.retain(|it| begun.contains(&it.id) || !held.contains(&it.id));
        Ok(look)
    }

    /// Whether there is nothing to plan, and nothing planned that is to be taken back.
    pub(super) fn is_idle(&self) -> bool {
        let published = self.published.as_ref().is_some_and(|(plan, _)| !plan.visits.is_empty());
        self.operations.is_empty() && !published
    }

    /// Changes when something that a plan depends on does, but for time and load.
    pub(super) fn fingerprint(&self) -> u64 {
        let mut told = vec![self.seq.to_string(), self.ledger.rev().to_string()];
        for host in &self.hosts {
            let answer = self.answers.get(&host.id);
            let fresh = answer.filter(|answer| answer.is_fresh(self.now, host.incarnation));
            let said = fresh.map(|answer| (&answer.state, &answer.blockers, &answer.preferred));
            told.push(format!("{} {:?} {:?} {said:?}", host.id, host.incarnation, host.state));
        }
        // What is measured closes and opens gates.
        if self.policies.wanted() != Wanted::default() {
            told.push(format!("{:?}", self.closed()));
        }
        hash64(told.join("\n").as_bytes())
    }

    /// The visits: those on their way as they were planned, and others of what else is pending.
    pub(super) fn visits(&self) -> Result<Vec<Visit>, ControlError> {
        let begun: Vec<&PlannedVisit> = self.begun().collect();
        let of_begun: BTreeMap<&OperationId, &Visit> = begun
            .iter()
            .flat_map(|planned| planned.visit.operations.iter().map(|id| (id, &planned.visit)))
            .collect();
        let mut waits: BTreeMap<&OperationId, Vec<VisitAfter>> = BTreeMap::new();
        let mut others = Vec::new();
        for operation in self.operations.iter().filter(|it| !of_begun.contains_key(&it.id)) {
            let mut other = operation.clone();
            other.estimate = self.takes(operation);
            other.depends_on.retain(|on| {
                let visit = of_begun.get(&on.operation);
                let after = visit.map(|visit| VisitAfter { visit: visit.id.clone(), lag: on.lag });
                waits.entry(&operation.id).or_default().extend(after);
                visit.is_none()
            });
            others.push(other);
        }
        let times = |host: &GatewayId| self.times(host);
        let merging = Merging { now: self.now, join: JOIN, times: &times };
        let merged = merge(&others, &merging);
        let mut visits = merged.map_err(|why| ControlError::Refused(why.to_string()))?;
        for visit in &mut visits {
            let after = visit.operations.iter().filter_map(|id| waits.get(id)).flatten();
            visit.after.extend(after.cloned());
            visit.after.sort();
            visit.after.dedup();
        }
        visits.extend(begun.into_iter().map(|planned| planned.visit.clone()));
        visits.sort_by(|a, b| a.id.cmp(&b.id));
        Ok(visits)
    }

    /// What is to be planned.
    pub(super) fn problem(
        &self,
        visits: &[Visit],
        closed_until: &dyn Fn(&Effective) -> Option<Wall>,
    ) -> Problem {
        compile(&Outlook {
            now: self.now,
            horizon: HORIZON,
            policies: &self.policies,
            freezes: &self.freezes,
            hosts: &self.hosts,
            answers: &self.answers,
            ledger: &self.ledger,
            visits,
            operations: &self.operations,
            finished: &self.finished,
            closed_until,
            expected: Expected::default(),
        })
    }

    /// The plan, looked at by other code than made it.
    pub(super) fn plan(&self, problem: &Problem) -> Result<Plan, ControlError> {
        let ours = |why: &dyn std::fmt::Display| {
            ControlError::Unavailable(format!("there is no plan: {why}"))
        };
        let kept = self.published.as_ref().map(|(published, _)| self.kept(published));
        let plan = plan(problem, kept.as_ref(), &Effort::default(), &mut || false);
        let mut plan = plan.map_err(|why| ours(&why))?;
        check(problem, &plan).map_err(|why| ours(&why))?;
        if let Some((published, _)) = &self.published {
            let differences = plan.differences(&published.plan);
            plan.churn = differences.iter().filter(|it| it.was.is_some()).count();
        }
        Ok(plan)
    }

    /// What of the published plan stays where it is if it can: what is to be in an opening that is open now goes as early as
    /// it can, so that who is done sooner than was thought makes room for the next.
    fn kept(&self, published: &Published) -> Plan {
        let law = self.law();
        let soon = self.now.after(SOON);
        let in_this_opening = |entry: &Entry| {
            let host = self.hosts.iter().find(|host| host.id == entry.host);
            let planned = published.visit(&entry.visit);
            let opening = host.zip(planned).and_then(|(host, it)| law.opening(host, it));
            entry.start < soon && opening.is_some_and(|opening| entry.start < opening.to)
        };
        let mut plan = published.plan.clone();
        plan.entries.retain(|entry| !in_this_opening(entry));
        plan
    }

    const fn law(&self) -> Law<'_> {
        let Self { now, policies, freezes, hosts, ledger, facts, .. } = self;
        let (freezes, hosts) = (freezes.as_slice(), hosts.as_slice());
        Law { now: *now, policies, freezes, hosts, ledger, facts }
    }

    /// Who is closed by a gate now, by the policies that say so, and for how long.
    pub(super) fn closed(&self) -> BTreeMap<GateOf, Duration> {
        closed(&self.law())
    }

    /// The visits that have begun, and those for which slots are held.
    fn begun(&self) -> impl Iterator<Item = &PlannedVisit> {
        let visits = self.published.iter().flat_map(|(published, _)| &published.visits);
        let known = |planned: &&PlannedVisit| {
            self.going.iter().any(|going| going.visit.id == planned.visit.id)
        };
        let others = visits.filter(move |planned| !known(planned));
        self.going.iter().chain(others.filter(|planned| {
            let slot = self.ledger.slot(&planned.visit.host);
            slot.is_some_and(|slot| slot.visit.as_ref() == Some(&planned.visit.id))
        }))
    }

    /// How long an operation probably takes: as was learned, unless somebody said something else than is assumed.
    fn takes(&self, operation: &Operation) -> Estimate {
        let assumed = assumed(&operation.kind);
        if operation.estimate != assumed {
            return operation.estimate;
        }
        let host = self.hosts.iter().find(|host| host.id == operation.host);
        self.estimates.estimate(&operation.kind, host.and_then(class_of), assumed)
    }

    fn times(&self, id: &GatewayId) -> PhaseTimes {
        let host = self.hosts.iter().find(|host| host.id == *id);
        let effective = host.map(|host| self.policies.effective(host, &self.freezes));
        let answer = self.answers.get(id);
        effective.map_or_else(PhaseTimes::default, |effective| effective.phase_times(answer))
    }
}

/// What is pending. Nobody waits for what is over, but for the time after it.
fn pending(stored: &[OperationDocument]) -> Vec<Operation> {
    let states: BTreeMap<&OperationId, &OperationDocument> =
        stored.iter().map(|it| (&it.operation.id, it)).collect();
    let is_pending = |it: &&OperationDocument| it.state == OperationState::Pending;
    let mut pending: Vec<Operation> =
        stored.iter().filter(is_pending).map(|it| it.operation.clone()).collect();
    for operation in &mut pending {
        let mut earliest = operation.not_before;
        operation.depends_on.retain(|on| {
            let Some(before) = states.get(&on.operation) else { return false };
            let over = before.ended_ms.map(|ended| Wall(ended).after(on.lag));
            if before.state == OperationState::Done {
                earliest = earliest.max(over);
            }
            before.state == OperationState::Pending
        });
        operation.not_before = earliest;
    }
    pending
}

fn finished(stored: &[OperationDocument]) -> Vec<Finished> {
    let done = stored.iter().filter(|it| it.state == OperationState::Done);
    done.filter_map(|it| {
        let at = Wall(it.ended_ms?);
        Some(Finished { batch: it.operation.batch.clone()?, at })
    })
    .collect()
}
