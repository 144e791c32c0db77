//! A visit on its way, as a document of the store.

use std::time::Duration;

use maintenance::execution::Execution;
use maintenance::fleet::VisitId;
use maintenance::operation::{Operation, OperationId};
use maintenance::planner::{Despite, PlannedVisit, Suits};
use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};
use store::{Pages, Reader, Space, StoreError};

use super::outline::Outline;
use crate::control::DrainRequest;
use crate::metrics::NO_CAMPAIGN;
use crate::scheduler::wanted::OperationDocument;
use crate::scheduler::works::Attempt;

/// A visit on its way: where it stands, and all that its host must know to carry it out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitDocument {
    /// Where it stands, and what has come of its steps.
    pub execution: Execution,
    /// What is done.
    pub planned: PlannedVisit,
    /// How many hosts are visited for the same.
    pub alike: usize,
    /// How its host is drained.
    pub drain: DrainRequest,
    /// Whose word it begins by, if its host or the calendar speaks against it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub despite: Option<Despite>,
    /// Why it begins at a time that its host does not prefer, if the plan overruled that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overruled: Option<Suits>,
}

/// Visits of one host that are read at once.
const PAGE: usize = 256;
/// How long a visit is remembered after what it was for is over: for less than the operation, whose name is free then.
const REMEMBERED: Duration = Duration::from_secs(24 * 3600);

impl VisitDocument {
    /// Where all of them stand.
    pub const PREFIX: &str = "execution/";

    /// Where it stands.
    pub fn key(visit: &VisitId) -> String {
        format!("{}{visit}", Self::PREFIX)
    }

    /// Where those of one host stand: a visit's name begins with its host.
    pub fn keys_of(host: &GatewayId) -> String {
        format!("{}{host}/", Self::PREFIX)
    }

    /// Whether it is over, and all that it was for is over for long, or forgotten. What is still wanted keeps it.
    pub(super) fn is_forgotten(&self, operations: &[OperationDocument], now: Wall) -> bool {
        let long = |ended: Option<u64>| ended.is_some_and(|at| Wall(at).after(REMEMBERED) <= now);
        let is_over = |id: &OperationId| {
            operations.iter().filter(|it| it.operation.id == *id).all(|it| long(it.ended_ms))
        };
        self.execution.is_over() && self.planned.visit.operations.iter().all(is_over)
    }

    /// Whether blockers, freezes and windows do not stop it now: somebody broke the glass for it.
    pub(super) fn is_despite(&self, now: Wall) -> bool {
        self.despite.as_ref().is_some_and(|despite| despite.holds(now))
    }

    /// The operations that it has not done although it is done; they are planned anew.
    pub(in crate::scheduler) fn left_out(&self) -> Vec<&OperationId> {
        self.planned.left_out(&self.execution)
    }

    /// Whether a visit of its name is to do what it has left out.
    pub(super) fn is_followed_by(&self, planned: &PlannedVisit) -> bool {
        let left = self.left_out();
        *planned != self.planned && planned.visit.operations.iter().any(|id| left.contains(&id))
    }

    /// The campaign that metrics show it under: the first that it belongs to.
    pub(in crate::scheduler) fn campaign(&self) -> String {
        let first = self.planned.visit.batches.first();
        first.map_or_else(|| NO_CAMPAIGN.to_owned(), |batch| batch.campaign.to_string())
    }

    /// The attempt that it is at.
    pub(in crate::scheduler) fn attempt(&self) -> Option<Attempt> {
        Some((self.execution.visit().clone(), self.execution.at()?.attempt))
    }

    /// The operation of one of its works.
    pub fn operation(&self, work: usize) -> Option<&Operation> {
        let name = &self.execution.course().works.get(work)?.operation;
        self.planned.operations.iter().find(|operation| operation.id.as_str() == name)
    }
}

/// A visit that starts a host again, with nothing else to it.
#[cfg(test)]
pub(in crate::scheduler) fn written_for_tests(visit: &VisitId, host: &str) -> VisitDocument {
    use std::time::Duration;

    use maintenance::execution::{Course, CourseWishes, DrainTimeout, Warming, WorkFailure};
    use maintenance::ledger::SlotClass;
    use maintenance::operation::{Class, OpKind, OperationId, Phases, Visit};

    let (host, id) = (GatewayId::new(host).unwrap(), OperationId::new("restart").unwrap());
    let zero = Duration::ZERO;
    let course = Course::new(CourseWishes {
        slot: Some(SlotClass::Drain),
        works: Vec::new(),
        announce: zero,
        drain: zero,
        drain_estimate: zero,
        on_timeout: DrainTimeout::Undrain,
        hold: zero,
        patience: zero,
        verify_tries: 1,
        return_by: zero,
        warming: Warming { from_percent: 100, over: zero },
        on_failure: WorkFailure::default(),
        soak: zero,
    });
    let planned = PlannedVisit {
        visit: Visit {
            id: visit.clone(),
            host: host.clone(),
            operations: vec![id.clone()],
            class: Class::Drain,
            phases: Phases::default(),
            not_before: None,
            deadline: None,
            priority: 0,
            after: Vec::new(),
            batches: Vec::new(),
        },
        operations: vec![Operation::new(id, OpKind::Restart, host.clone())],
    };
    let execution = Execution::new(visit.clone(), host, course);
    let drain = DrainRequest::default();
    let (despite, overruled) = (None, None);
    VisitDocument { execution, planned, alike: 1, drain, despite, overruled }
}

/// A visit that has begun with one work for which it needs no slot.
#[cfg(test)]
pub(in crate::scheduler) fn begun_for_tests(operation: Operation) -> VisitDocument {
    use maintenance::execution::{Course, Event, PlannedStep, Step, Work};
    use maintenance::operation::Class;

    let visit = VisitId::new(&format!("{}/{}", operation.host, operation.id)).unwrap();
    let mut document = written_for_tests(&visit, operation.host.as_str());
    let limit = Duration::from_secs(60);
    let work = Work::of(&operation, limit).unwrap();
    let step = Step::Operate;
    let steps = vec![PlannedStep { step, work: 0, limit, estimate: limit, tries: 1 }];
    let like = document.execution.course().clone();
    let course = Course { slot: None, works: vec![work], steps, ..like };
    document.execution = Execution::new(visit, operation.host.clone(), course);
    for event in [Event::Approved, Event::Begin] {
        document.execution = document.execution.handle(&event, Wall(1)).unwrap().next;
    }
    document.planned.visit.operations = vec![operation.id.clone()];
    document.planned.visit.class = Class::Hot;
    document.planned.operations = vec![operation];
    document
}

/// Whether a gateway whose process begins must not accept clients, because a visit works on it. One that cannot be read says so
/// if it may: another version wrote it, which goes on with it.
///
/// # Errors
/// [`StoreError`].
pub fn stays_out(host: &GatewayId, reader: &mut dyn Reader) -> Result<bool, StoreError> {
    let prefix = VisitDocument::keys_of(host);
    let says_so = |value: &[u8]| match serde_json::from_slice::<VisitDocument>(value) {
        Ok(visit) => visit.execution.host() == host && visit.execution.stays_out(),
        Err(_) => Outline::of(value).may_stay_out(),
    };
    let mut pages = Pages::new(Space::Maintenance, prefix.as_bytes(), PAGE);
    while let Some(page) = pages.next(reader)? {
        if page.iter().any(|(_, doc)| says_so(&doc.value)) {
            return Ok(true);
        }
    }
    Ok(false)
}

#[cfg(test)]
mod tests {
    use maintenance::execution::{Event, Order};

    use super::*;
    use crate::scheduler::wanted::OperationState;

    #[test]
    fn a_visit_is_forgotten_a_day_after_what_it_was_for_and_never_before_that_is_over() {
        let mut visit = written_for_tests(&VisitId::new("gw-1/a").unwrap(), "gw-1");
        let wanted = |state, ended_ms| {
            let operation = visit.planned.operations[0].clone();
            [OperationDocument {
                operation,
                state,
                revision: 1,
                ended_ms,
                passed_over: false,
                paused: None,
            }]
        };
        let pending = wanted(OperationState::Pending, None);
        let done = wanted(OperationState::Done, Some(1_000));
        let day = u64::try_from(REMEMBERED.as_millis()).unwrap();
        assert!(!visit.is_forgotten(&[], Wall(u64::MAX)), "it is not over");
        let off = Event::Order { by: "ada".to_owned(), order: Order::Abort };
        visit.execution = visit.execution.handle(&off, Wall(1)).unwrap().next;
        assert!(!visit.is_forgotten(&pending, Wall(u64::MAX)));
        assert!(!visit.is_forgotten(&done, Wall(day + 999)));
        assert!(visit.is_forgotten(&done, Wall(day + 1_000)));
        assert!(visit.is_forgotten(&[], Wall(0)), "its operation is forgotten");
    }
}
