//! A visit on its way, as a document of the store.

use maintenance::execution::Execution;
use maintenance::fleet::VisitId;
use maintenance::operation::Operation;
use maintenance::planner::PlannedVisit;
use protocol::GatewayId;
use serde::{Deserialize, Serialize};
use store::{Reader, Space, StoreError};

use crate::control::DrainRequest;

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
}

/// Visits of one host that are looked at, at most: those that are over are forgotten after a while.
const PAGE: usize = 256;

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

    use maintenance::execution::{Course, CourseWishes, DrainTimeout, Warming};
    use maintenance::ledger::SlotClass;
    use maintenance::operation::{Class, OpKind, OperationId, Phases, Visit};

    let (host, id) = (GatewayId::new(host).unwrap(), OperationId::new("restart").unwrap());
    let zero = Duration::ZERO;
    let course = Course::new(CourseWishes {
        slot: Some(SlotClass::Drain),
        works: Vec::new(),
        hooks: false,
        announce: zero,
        drain: zero,
        drain_estimate: zero,
        on_timeout: DrainTimeout::Undrain,
        hold: zero,
        patience: zero,
        verify_tries: 1,
        return_by: zero,
        warming: Warming { from_percent: 100, over: zero },
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
    VisitDocument { execution, planned, alike: 1, drain: DrainRequest::default() }
}

/// Whether a gateway whose process begins must not accept clients, because a visit works on it.
///
/// # Errors
/// [`StoreError`]. A visit that cannot be read says nothing.
pub fn stays_out(host: &GatewayId, reader: &mut dyn Reader) -> Result<bool, StoreError> {
    let prefix = VisitDocument::keys_of(host);
    let found = reader.scan(Space::Maintenance, prefix.as_bytes(), None, PAGE)?;
    let documents = found.iter().filter_map(|(_, doc)| serde_json::from_slice(&doc.value).ok());
    let mut visits = documents.filter(|visit: &VisitDocument| visit.execution.host() == host);
    Ok(visits.any(|visit| visit.execution.stays_out()))
}
