//! A change that an operator makes, and its entry of the audit, in one write.

use maintenance::Host;
use maintenance::audit::AuditRecord;
use protocol::Wall;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use store::{Expect, Put};

use crate::control::ControlError;
use crate::scheduler::acts::{AUDIT_HEAD, TRIES, entry_key, unavailable};
use crate::scheduler::documents::{DocumentError, Documents};

/// Who changes something, and what the fleet looks like then.
#[derive(Debug, Clone, Copy)]
pub struct Acting<'a> {
    /// Whose name the audit keeps.
    pub by: &'a str,
    /// Calendar time.
    pub now: Wall,
    /// Every registered gateway.
    pub hosts: &'a [Host],
    /// How many documents of a kind there may be.
    pub most: usize,
}

/// One change: what the audit says of it, what is written, and what is answered.
pub(in crate::scheduler) struct Step<T> {
    pub(in crate::scheduler) action: &'static str,
    pub(in crate::scheduler) object: String,
    pub(in crate::scheduler) before: Option<Value>,
    pub(in crate::scheduler) after: Option<Value>,
    pub(in crate::scheduler) reason: String,
    pub(in crate::scheduler) puts: Vec<Put>,
    pub(in crate::scheduler) made: T,
}

impl<T: Serialize> Step<T> {
    /// That something is taken away, which stands there.
    pub(super) fn removal(
        action: &'static str,
        object: String,
        reason: &str,
        (key, old): (&str, T),
    ) -> Self {
        let puts = vec![Documents::delete_of(key)];
        let (before, reason) = (value(&old), reason.to_owned());
        Self { action, object, before, after: None, reason, puts, made: old }
    }
}

impl Documents {
    /// Makes a change. What `step` reads still stands when its change is written: every change moves the end of the
    /// audit, whose number it is told, and of two that began at the same end one begins anew.
    pub(in crate::scheduler) fn change<T>(
        &mut self,
        acting: &Acting<'_>,
        mut step: impl FnMut(&mut Self, u64) -> Result<Step<T>, ControlError>,
    ) -> Result<T, ControlError> {
        for _ in 0..TRIES {
            let (mut head, rev) = self.audit_head()?;
            let Step { action, object, before, after, reason, mut puts, made } =
                step(self, head.seq + 1)?;
            let (actor, action) = (acting.by.to_owned(), action.to_owned());
            let record =
                AuditRecord { at: acting.now, actor, action, object, before, after, reason };
            let entry = head.append(record);
            let entry = entry.map_err(|why| ControlError::Invalid(why.to_string()))?;
            let expect = rev.map_or(Expect::Absent, Expect::Rev);
            puts.push(Self::put_of(AUDIT_HEAD, &head, expect).map_err(unavailable)?);
            let key = entry_key(entry.seq);
            puts.push(Self::put_of(&key, &entry, Expect::Absent).map_err(unavailable)?);
            match self.write(puts) {
                Ok(()) => {
                    let AuditRecord { actor, action, object, reason, .. } = &entry.record;
                    tracing::info!(target: "audit", by = actor, action, object, reason, "maintenance");
                    return Ok(made);
                }
                Err(DocumentError::Conflict { .. }) => {}
                Err(error) => return Err(unavailable(error)),
            }
        }
        Err(ControlError::Unavailable("others change maintenance all the time".into()))
    }

    /// All documents of a kind. One that cannot be understood is not passed over: it may forbid something.
    pub(super) fn kind<T: DeserializeOwned>(
        &mut self,
        prefix: &str,
    ) -> Result<Vec<T>, ControlError> {
        self.every(prefix).map_err(unavailable)
    }
}

/// The write of a document; what must be true was checked against the end of the audit.
pub(in crate::scheduler) fn put(key: &str, document: &impl Serialize) -> Result<Put, ControlError> {
    Documents::put_of(key, document, Expect::Any).map_err(unavailable)
}

/// As the audit keeps it.
pub(in crate::scheduler) fn value(document: &impl Serialize) -> Option<Value> {
    serde_json::to_value(document).ok()
}

/// A name that stands in a key: 1 to 64 letters, digits, `-`, `_`, `.` or `:`.
pub(super) fn check_name(kind: &str, name: &str) -> Result<(), ControlError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.:".contains(&b);
    if (1..=64).contains(&name.len()) && name.bytes().all(plain) {
        return Ok(());
    }
    let what = format!("a {kind} is named by 1 to 64 letters, digits, `-`, `_`, `.` or `:`");
    Err(ControlError::Invalid(what))
}
