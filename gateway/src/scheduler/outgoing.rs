//! What is told outside of the fleet: the entries of the audit, in order, each at least once.

use maintenance::audit::AuditEntry;
use serde::{Deserialize, Serialize};
use store::Expect;

use super::acts::{AuditPage, unavailable};
use super::documents::DocumentError;
use super::thread::Scheduler;
use crate::control::ControlError;

/// Up to where everything was told. One document, written by whoever holds the scheduler's lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Told {
    seq: u64,
}

/// What is to be told next.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Outgoing {
    /// The oldest first; not all that wait.
    pub(super) entries: Vec<AuditEntry>,
    /// How many wait, with these.
    pub(super) waiting: u64,
    /// How many were given up just now, since too many waited.
    pub(super) dropped: u64,
}

/// Where it stands.
const TOLD: &str = "told";
/// Entries that are told between two looks.
const PAGE: usize = 16;

impl Scheduler {
    /// What is to be told next, if it is this gateway that tells: none if it is not, or there is nothing. The first time, it is all
    /// that the audit has. Of more than `backlog` the oldest are given up.
    pub(super) fn outgoing(&mut self, backlog: u64) -> Result<Option<Outgoing>, ControlError> {
        if self.watch.held(self.shared.now().mono).is_none() {
            return Ok(None);
        }
        let head = self.documents.audit_head()?.0.seq;
        let stored = self.documents.get::<Told>(TOLD).map_err(unavailable)?;
        let Some((Told { seq }, _)) = stored else {
            self.note_told(head.saturating_sub(backlog))?;
            return Ok(None);
        };
        let from = seq.max(head.saturating_sub(backlog));
        let AuditPage { entries, checkpoint, .. } = self.documents.audit(from, PAGE)?;
        // What is folded is told to nobody any more.
        let from = checkpoint.map_or(from, |it| it.head.seq);
        if from > seq {
            self.note_told(from)?;
        }
        let dropped = from - seq;
        if entries.is_empty() && dropped == 0 {
            return Ok(None);
        }
        Ok(Some(Outgoing { entries, waiting: head.saturating_sub(from), dropped }))
    }

    /// Notes up to where everything was told. What another scheduler noted meanwhile stays: it was told too.
    pub(super) fn note_told(&mut self, seq: u64) -> Result<(), ControlError> {
        let stored = self.documents.get::<Told>(TOLD).map_err(unavailable)?;
        let expect = match &stored {
            None => Expect::Absent,
            Some((told, _)) if told.seq >= seq => return Ok(()),
            Some((_, rev)) => Expect::Rev(*rev),
        };
        match self.documents.put(TOLD, &Told { seq }, expect) {
            Ok(()) | Err(DocumentError::Conflict { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }
}
