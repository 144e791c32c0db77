//! One entry, and what it is made from.

use std::fmt;

use protocol::Wall;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

use crate::record;

/// What is told: it has an actor and a reason, always.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditRecord {
    /// When.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
    /// Who: an operator's name, or the gateway that decided, such as `scheduler gw-1`. 1 to 256 bytes.
    pub actor: String,
    /// What, for programs: such as `slot.granted`, `policy.replaced`. 1 to 64 bytes.
    pub action: String,
    /// To what: such as `host gw-7`, `visit v-12`. 1 to 256 bytes.
    pub object: String,
    /// What stood before, if that matters.
    pub before: Option<Value>,
    /// What stands now, or what happened.
    pub after: Option<Value>,
    /// Why. 1 to 4,096 bytes.
    pub reason: String,
}

/// A record in its place.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AuditEntry {
    /// Its place: from 1, without gaps.
    pub seq: u64,
    /// The hash of the entry before.
    pub prev: AuditHash,
    /// What is told.
    pub record: AuditRecord,
    /// The hash of all this.
    pub hash: AuditHash,
}

/// A SHA-256; 64 hexadecimal digits in records.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct AuditHash(pub [u8; 32]);

/// Why a record is not taken; ours or the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRecord {
    /// Nothing there.
    #[error("an audit entry needs a {0}")]
    Missing(&'static str),
    /// Longer than allowed.
    #[error("{field} is longer than {limit_bytes} bytes")]
    TooLong {
        /// Which.
        field: &'static str,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
}

impl AuditRecord {
    pub(super) fn check(&self) -> Result<(), InvalidRecord> {
        let fields = [
            ("actor", &self.actor, 256),
            ("action", &self.action, 64),
            ("object", &self.object, 256),
            ("reason", &self.reason, 4096),
        ];
        for (field, text, limit_bytes) in fields {
            if text.trim().is_empty() {
                return Err(InvalidRecord::Missing(field));
            }
            if text.len() > limit_bytes {
                return Err(InvalidRecord::TooLong { field, limit_bytes });
            }
        }
        Ok(())
    }
}

impl fmt::Display for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for AuditHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "AuditHash({self})")
    }
}

impl Serialize for AuditHash {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for AuditHash {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        let digits = |at: usize| text.get(2 * at..2 * at + 2);
        let plain =
            text.len() == 64 && text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
        let mut hash = [0; 32];
        for (at, byte) in hash.iter_mut().enumerate() {
            *byte = digits(at)
                .filter(|_| plain)
                .and_then(|digits| u8::from_str_radix(digits, 16).ok())
                .ok_or_else(|| serde::de::Error::custom("not a hash of 64 hexadecimal digits"))?;
        }
        Ok(Self(hash))
    }
}
