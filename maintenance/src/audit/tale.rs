//! What the audit tells of the ledger.

use protocol::Wall;
use serde_json::Value;

use super::entry::{AuditEntry, AuditRecord};
use crate::ledger::{Change, Ledger, ReplayError, Slot};

/// Why the ledger does not follow from the audit.
#[derive(Debug, thiserror::Error)]
pub enum TaleBroken {
    /// An entry about the ledger does not say what happened.
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
}

/// The ledger, from nothing but the audit. Entries about other things are passed over.
///
/// # Errors
/// [`TaleBroken`], the first entry that does not follow.
pub fn ledger_of<'a>(
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<Ledger, TaleBroken> {
    let mut ledger = Ledger::default();
    for AuditEntry { seq, record, .. } in entries {
        let seq = *seq;
        if !Change::NAMES.contains(&record.action.as_str()) {
            continue;
        }
        let told = record.after.clone().unwrap_or(Value::Null);
        let change: Change = serde_json::from_value(told)
            .map_err(|source| TaleBroken::Unreadable { seq, source })?;
        ledger.replay(&change).map_err(|source| TaleBroken::Replay { seq, source })?;
    }
    Ok(ledger)
}
