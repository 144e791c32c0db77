//! What the audit tells of the ledger and of visits.

use std::collections::BTreeMap;

use protocol::Wall;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::entry::{AuditEntry, AuditRecord};
use crate::execution::{VisitChange, VisitTale};
use crate::fleet::VisitId;
use crate::ledger::{Change, Ledger, ReplayError, Slot};

/// Why the ledger, or a visit, does not follow from the audit.
#[derive(Debug, thiserror::Error)]
pub enum TaleBroken {
    /// An entry about it does not say what happened.
    #[error("entry {seq} cannot be read")]
    Unreadable {
        /// The entry's place.
        seq: u64,
        /// Why not.
        source: serde_json::Error,
    },
    /// It does not follow from what stood before.
    #[error("entry {seq} does not follow")]
    Replay {
        /// The entry's place.
        seq: u64,
        /// Why not.
        source: ReplayError,
    },
}

impl AuditRecord {
    /// Tells a change of the ledger; `before` is the host's slot as it stood.
    pub fn of_change(
        at: Wall,
        actor: &str,
        reason: &str,
        change: &Change,
        before: Option<&Slot>,
    ) -> Self {
        let value = |it: Result<Value, serde_json::Error>| it.ok();
        let object = match change.host() {
            Some(host) => format!("host {}", host.as_str()),
            None => "ledger".to_owned(),
        };
        Self {
            at,
            actor: actor.to_owned(),
            action: change.name().to_owned(),
            object,
            before: before.and_then(|slot| value(serde_json::to_value(slot))),
            after: value(serde_json::to_value(change)),
            reason: reason.to_owned(),
        }
    }

    /// Tells a turn of a visit.
    pub fn of_visit(at: Wall, actor: &str, reason: &str, change: &VisitChange) -> Self {
        Self {
            at,
            actor: actor.to_owned(),
            action: change.name().to_owned(),
            object: format!("visit {}", change.visit()),
            before: None,
            after: serde_json::to_value(change).ok(),
            reason: reason.to_owned(),
        }
    }
}

/// The ledger, from nothing but the audit and the ledger that followed from what stood before. Entries about other things are passed
/// over.
///
/// # Errors
/// [`TaleBroken`], the first entry that does not follow.
pub(super) fn ledger_from<'a>(
    mut ledger: Ledger,
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<Ledger, TaleBroken> {
    for AuditEntry { seq, record, .. } in entries {
        let seq = *seq;
        if !Change::NAMES.contains(&record.action.as_str()) {
            continue;
        }
        let change: Change = told(seq, record)?;
        ledger.replay(&change).map_err(|source| TaleBroken::Replay { seq, source })?;
    }
    Ok(ledger)
}

/// Every visit that has begun, by its name, from nothing but the audit and the visits that followed from what stood before: where
/// each stands, and what has come of its steps.
///
/// # Errors
/// [`TaleBroken::Unreadable`], the first entry that cannot be read.
pub(super) fn visits_from<'a>(
    mut visits: BTreeMap<VisitId, VisitTale>,
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<BTreeMap<VisitId, VisitTale>, TaleBroken> {
    for AuditEntry { seq, record, .. } in entries {
        if VisitChange::NAMES.contains(&record.action.as_str()) {
            let change: VisitChange = told(*seq, record)?;
            let visit = change.visit().clone();
            let tale = change.replay(visits.remove(&visit));
            visits.insert(visit, tale);
        }
    }
    Ok(visits)
}

fn told<T: DeserializeOwned>(seq: u64, record: &AuditRecord) -> Result<T, TaleBroken> {
    let told = record.after.clone().unwrap_or(Value::Null);
    serde_json::from_value(told).map_err(|source| TaleBroken::Unreadable { seq, source })
}
