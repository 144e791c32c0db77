//! What the audit is told of a change, in the same write as the change.

use maintenance::audit::{AuditHead, AuditRecord};
use store::{Expect, Put, Reader, Space};

use super::acts::{AUDIT_HEAD, entry_key, unavailable};
use super::documents::{DocumentError, Documents, parse};
use crate::control::ControlError;

/// The entries of the audit for these records in their order, and where its chain ends with them. Nothing for no record.
///
/// # Errors
/// [`ControlError::Unavailable`] if it cannot be read where the chain ends, [`ControlError::Refused`] for a record that lacks
/// something.
pub fn told(reader: &mut dyn Reader, records: Vec<AuditRecord>) -> Result<Vec<Put>, ControlError> {
    if records.is_empty() {
        return Ok(Vec::new());
    }
    let stored = reader.get(Space::Maintenance, AUDIT_HEAD.as_bytes());
    let stored = stored.map_err(|why| unavailable(DocumentError::Store(why)))?;
    let rev = stored.as_ref().map(|doc| doc.rev);
    let head = stored.map(|doc| parse::<AuditHead>(AUDIT_HEAD, &doc.value)).transpose();
    let mut head = head.map_err(unavailable)?.unwrap_or_default();
    let mut puts = Vec::new();
    for record in records {
        let entry = head.append(record).map_err(|why| ControlError::Refused(why.to_string()))?;
        let key = entry_key(entry.seq);
        puts.push(Documents::put_of(&key, &entry, Expect::Absent).map_err(unavailable)?);
    }
    let expect = rev.map_or(Expect::Absent, Expect::Rev);
    puts.push(Documents::put_of(AUDIT_HEAD, &head, expect).map_err(unavailable)?);
    Ok(puts)
}
