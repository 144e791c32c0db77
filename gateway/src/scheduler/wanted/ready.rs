//! Whether a visit may begin by what its operations and those before them have come to since it was planned.

use std::time::Duration;

use maintenance::operation::{Operation, OperationId};
use maintenance::planner::PlannedVisit;
use protocol::{GatewayId, Wall};
use store::{Expect, Put};

use super::operations::{OperationDocument, key};
use super::outcome::{OperationState, held_up, standing_still};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::Documents;
use crate::scheduler::visits::VisitDocument;

impl Documents {
    /// The visits that have begun and are not over: of one gateway, or all.
    pub(in crate::scheduler) fn going(
        &mut self,
        host: Option<&GatewayId>,
    ) -> Result<Vec<VisitDocument>, ControlError> {
        let prefix = host.map_or_else(|| VisitDocument::PREFIX.to_owned(), VisitDocument::keys_of);
        let mut going = self.all::<VisitDocument>(&prefix).map_err(unavailable)?;
        going.retain(|it| {
            let execution = &it.execution;
            execution.at().is_some() && host.is_none_or(|host| execution.host() == host)
        });
        Ok(going)
    }

    /// Why a visit must not begin, or else what makes its begin fail if one of its operations changes meanwhile.
    pub(in crate::scheduler) fn hold_operations(
        &mut self,
        planned: &PlannedVisit,
        now: Wall,
    ) -> Result<Result<Vec<Put>, String>, ControlError> {
        if let Some(paused) = self.paused()? {
            return Ok(Err(format!("the fleet is {paused}")));
        }
        let (mut stored, mut puts) = (self.operations()?, vec![Self::not_paused()]);
        for id in &planned.visit.operations {
            let key = key(id);
            let found = self.get::<OperationDocument>(&key).map_err(unavailable)?;
            let Some((document, rev)) = found else {
                return Ok(Err(format!("operation {id} is not there any more")));
            };
            let put = Self::put_of(&key, &document, Expect::Rev(rev));
            puts.push(put.map_err(unavailable)?);
            // It may have changed since all of them were read.
            stored.retain(|it| it.operation.id != *id);
            stored.push(document);
        }
        Ok(waits(planned, &stored, now).map_or(Ok(puts), Err))
    }
}

/// Why a visit must not begin yet, if it must not.
pub(super) fn waits(
    planned: &PlannedVisit,
    stored: &[OperationDocument],
    now: Wall,
) -> Option<String> {
    let held = held_up(stored);
    planned.visit.operations.iter().find_map(|id| {
        let document = stored.iter().find(|it| it.operation.id == *id);
        let as_planned = planned.operations.iter().find(|it| it.id == *id);
        let (Some(document), Some(as_planned)) = (document, as_planned) else {
            return Some(format!("operation {id} is not there any more"));
        };
        if document.state != OperationState::Pending {
            return Some(format!("operation {id} is not pending any more"));
        }
        if !says_the_same(&document.operation, as_planned) {
            return Some(format!("operation {id} has changed since it was planned"));
        }
        if let Some(paused) = &document.paused {
            return Some(format!("operation {id} is {paused}"));
        }
        if held.contains(id) {
            return Some(format!("what operation {id} waits for was not done"));
        }
        waits_for(&document.operation, &planned.visit.operations, stored, now)
    })
}

/// A plan leaves out what nobody waits for any more.
fn says_the_same(stored: &Operation, planned: &Operation) -> bool {
    let bare =
        |it: &Operation| Operation { depends_on: Vec::new(), not_before: None, ..it.clone() };
    bare(stored) == bare(planned)
}

/// Whom an operation waits for: whatever it depends on that is not part of the same visit, and the batches before its own.
fn waits_for(
    operation: &Operation,
    visit: &[OperationId],
    stored: &[OperationDocument],
    now: Wall,
) -> Option<String> {
    let id = &operation.id;
    if operation.not_before.is_some_and(|from| now < from) {
        return Some(format!("operation {id} is not wanted yet"));
    }
    let is_recent = |it: &OperationDocument, lag: Duration| match it.state {
        OperationState::Pending => true,
        OperationState::Failed | OperationState::Aborted => it.holds_up(),
        OperationState::Done => it.ended_ms.is_some_and(|ended| now < Wall(ended).after(lag)),
        OperationState::Cancelled => false,
    };
    let before = operation.depends_on.iter().filter(|on| !visit.contains(&on.operation));
    let mut before = before.filter_map(|on| {
        let found = stored.iter().find(|it| it.operation.id == on.operation)?;
        is_recent(found, on.lag).then_some(found)
    });
    if let Some(before) = before.next() {
        return Some(format!("operation {id} waits for {}", before.operation.id));
    }
    let own = operation.batch.as_ref()?;
    let still = standing_still(stored).contains(&own.campaign);
    let mut earlier = stored.iter().filter(|it| {
        let batch = it.operation.batch.as_ref();
        let batch = batch.filter(|it| it.campaign == own.campaign && it.number < own.number);
        // What failed within the budget of the campaign holds up none of it.
        batch.is_some_and(|batch| (still || !it.holds_up()) && is_recent(it, batch.soak))
    });
    earlier.next().map(|it| format!("operation {id} waits for the batch of {}", it.operation.id))
}
