//! The chain of entries.

use aws_lc_rs::digest::{Context, SHA256};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::entry::{AuditEntry, AuditHash, AuditRecord, InvalidRecord};

/// Begins what is hashed, so that nothing else hashes alike.
const KIND: &str = "tidegate audit 1";

/// Where the chain ends: a document of its own, written by compare-and-set together with the entry that follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditHead {
    /// The place of the last entry; 0 if there is none.
    pub seq: u64,
    /// Its hash.
    pub hash: AuditHash,
}

/// What is wrong with a chain: somebody changed it, or a part is missing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// An entry is missing, or stands twice.
    #[error("entry {seq} stands where {expected} should")]
    Gap {
        /// The entry's place.
        seq: u64,
        /// What should be there.
        expected: u64,
    },
    /// It does not follow the entry before.
    #[error("entry {seq} does not follow the one before")]
    Link {
        /// The entry's place.
        seq: u64,
    },
    /// What it tells is not what was told.
    #[error("entry {seq} was changed")]
    Changed {
        /// The entry's place.
        seq: u64,
    },
}

impl AuditHead {
    /// Adds a record; store the entry and this head in one transaction with what the entry tells.
    ///
    /// # Errors
    /// [`InvalidRecord`] if it has no actor or no reason; nothing has changed then.
    pub fn append(&mut self, record: AuditRecord) -> Result<AuditEntry, InvalidRecord> {
        record.check()?;
        let (seq, prev) = (self.seq + 1, self.hash);
        let hash = hash(seq, prev, &record);
        *self = Self { seq, hash };
        Ok(AuditEntry { seq, prev, record, hash })
    }
}

/// Checks that entries follow a head, one by one, and were not changed. Answers where the chain ends, which must be
/// the stored head; from the default head on, that is the whole chain.
///
/// # Errors
/// [`Broken`], the first place that does not hold.
pub fn verify<'a>(
    from: AuditHead,
    entries: impl IntoIterator<Item = &'a AuditEntry>,
) -> Result<AuditHead, Broken> {
    let mut head = from;
    for entry in entries {
        let AuditEntry { seq, prev, record, hash: stored } = entry;
        let (seq, expected) = (*seq, head.seq + 1);
        if seq != expected {
            return Err(Broken::Gap { seq, expected });
        }
        if *prev != head.hash {
            return Err(Broken::Link { seq });
        }
        if *stored != hash(seq, *prev, record) {
            return Err(Broken::Changed { seq });
        }
        head = AuditHead { seq, hash: *stored };
    }
    Ok(head)
}

fn hash(seq: u64, prev: AuditHash, record: &AuditRecord) -> AuditHash {
    // Named one by one, so that a new field cannot be forgotten here.
    let AuditRecord { at, actor, action, object, before, after, reason } = record;
    let mut context = Context::new(&SHA256);
    context.update(KIND.as_bytes());
    context.update(&seq.to_be_bytes());
    context.update(&prev.0);
    context.update(&at.0.to_be_bytes());
    for text in [actor, action, object, reason] {
        update(&mut context, text.as_bytes());
    }
    for value in [before, after] {
        // A missing value and a written null are two things.
        context.update(&[u8::from(value.is_some())]);
        update(&mut context, value.as_ref().map(Value::to_string).unwrap_or_default().as_bytes());
    }
    AuditHash(context.finish().as_ref().try_into().unwrap_or_default())
}

/// With its length, so that no two rows of fields read alike.
fn update(context: &mut Context, bytes: &[u8]) {
    context.update(&u64::try_from(bytes.len()).unwrap_or(u64::MAX).to_be_bytes());
    context.update(bytes);
}
