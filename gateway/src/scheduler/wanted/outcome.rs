//! What became of operations, and what that means for others: only what is done lets others go on.

use std::collections::{BTreeMap, BTreeSet};

use maintenance::execution::Stage;
use maintenance::operation::{CampaignId, OperationId};
use serde::{Deserialize, Serialize};

use super::operations::OperationDocument;

/// What became of an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OperationState {
    /// It is to be done, or being done.
    Pending,
    /// Its visit is over, and did it.
    Done,
    /// An operator does not want it any more.
    Cancelled,
    /// Its visit failed, or its gateway was written off. It is not tried again by itself.
    Failed,
    /// Its visit was called off.
    Aborted,
}

impl OperationState {
    /// What a visit that is over leaves of its operations; none for one that is not.
    pub(in crate::scheduler) const fn left_by(stage: &Stage) -> Option<Self> {
        match stage {
            Stage::Done => Some(Self::Done),
            Stage::Failed { .. } | Stage::WrittenOff => Some(Self::Failed),
            Stage::Cancelled => Some(Self::Aborted),
            Stage::Planned | Stage::Approved | Stage::Going(_) | Stage::NeedsOperator { .. } => {
                None
            }
        }
    }

    /// Whether it was to be done and was not, so that whatever waits for it waits on.
    pub(super) const fn holds_up(self) -> bool {
        match self {
            Self::Failed | Self::Aborted => true,
            Self::Pending | Self::Done | Self::Cancelled => false,
        }
    }

    /// What the audit calls the end of an operation.
    pub(super) const fn action(self) -> &'static str {
        match self {
            Self::Pending => "operation.added",
            Self::Done => "operation.done",
            Self::Cancelled => "operation.cancelled",
            Self::Failed => "operation.failed",
            Self::Aborted => "operation.aborted",
        }
    }
}

/// What was not done and holds up an operation, as one is told who asks why that has no place.
pub(in crate::scheduler) fn held_up_by<'s>(
    operation: &OperationDocument,
    stored: &'s [OperationDocument],
) -> Option<&'s OperationDocument> {
    let still = standing_still(stored);
    let campaign = operation.operation.batch.as_ref().map(|batch| &batch.campaign);
    let campaign = campaign.filter(|campaign| still.contains(campaign));
    stored.iter().filter(|it| it.holds_up()).find(|it| {
        let of = it.operation.batch.as_ref().map(|batch| &batch.campaign);
        let waits = operation.operation.depends_on.iter();
        let waits = waits.into_iter().any(|on| on.operation == it.operation.id);
        waits || (campaign.is_some() && campaign == of)
    })
}

/// The campaigns of which more visits have failed than may.
pub(super) fn standing_still(stored: &[OperationDocument]) -> BTreeSet<&CampaignId> {
    let mut failed: BTreeMap<&CampaignId, (u32, u32)> = BTreeMap::new();
    let batches = stored.iter().filter(|it| it.holds_up());
    for batch in batches.filter_map(|it| it.operation.batch.as_ref()) {
        let (count, _) = failed.entry(&batch.campaign).or_insert((0, 0));
        let count = count.saturating_add(1);
        failed.insert(&batch.campaign, (count, batch.failure_budget));
    }
    let over = failed.into_iter().filter(|(_, (count, budget))| count > budget);
    over.map(|(campaign, _)| campaign).collect()
}

/// What is pending and has no place, since something that it waits for was not done: what depends on that, and what else there is
/// of a campaign of which more visits have failed than may.
pub(in crate::scheduler) fn held_up(stored: &[OperationDocument]) -> BTreeSet<OperationId> {
    let mut held: BTreeSet<&OperationId> = BTreeSet::new();
    // From which batch on a campaign stands still.
    let mut still: BTreeMap<&CampaignId, usize> =
        standing_still(stored).into_iter().map(|campaign| (campaign, 0)).collect();
    for document in stored.iter().filter(|it| it.holds_up()) {
        held.insert(&document.operation.id);
    }
    let mut waiting: Vec<_> = Vec::new();
    if !held.is_empty() {
        waiting.extend(stored.iter().filter(|it| it.state == OperationState::Pending));
    }
    loop {
        let (more, rest): (Vec<_>, Vec<_>) = waiting.into_iter().partition(|document| {
            let operation = &document.operation;
            let waits = operation.depends_on.iter().any(|on| held.contains(&on.operation));
            let from = operation
                .batch
                .as_ref()
                .and_then(|batch| still.get(&batch.campaign).map(|from| *from <= batch.number));
            waits || from == Some(true)
        });
        if more.is_empty() {
            break;
        }
        for document in more {
            held.insert(&document.operation.id);
            if let Some(batch) = &document.operation.batch {
                let from = still.entry(&batch.campaign).or_insert(usize::MAX);
                *from = (*from).min(batch.number + 1);
            }
        }
        waiting = rest;
    }
    let pending = stored.iter().filter(|it| it.state == OperationState::Pending);
    pending.map(|it| &it.operation.id).filter(|id| held.contains(id)).cloned().collect()
}

/// Whether something that is pending waits for this one, or is of its campaign: then it is not forgotten.
pub(super) fn is_waited_for(document: &OperationDocument, stored: &[OperationDocument]) -> bool {
    let campaign = document.operation.batch.as_ref().map(|batch| &batch.campaign);
    stored.iter().filter(|it| it.state == OperationState::Pending).any(|it| {
        let of = it.operation.batch.as_ref().map(|batch| &batch.campaign);
        let depends =
            it.operation.depends_on.iter().any(|on| on.operation == document.operation.id);
        depends || (campaign.is_some() && campaign == of)
    })
}
