//! One piece of work that somebody wants done to one host.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use protocol::{GatewayId, Wall};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::campaign::BatchOf;
use super::kind::{Class, OpKind};
use crate::fleet::Estimate;
use crate::record;

/// Names an operation in the whole fleet: 1 to 64 letters, digits, `-`, `_`, `.` or `:`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OperationId(Arc<str>);

/// Why a text names no operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("an operation is named by 1 to 64 letters, digits, `-`, `_`, `.` or `:`")]
pub struct InvalidOperationId;

/// What is to be done to one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Operation {
    /// Its name.
    pub id: OperationId,
    /// What.
    pub kind: OpKind,
    /// To whom.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// How much it disturbs; never less than its kind does.
    pub class: Class,
    /// The higher the more important; 0 to 255.
    pub priority: u8,
    /// Not earlier.
    #[serde(rename = "not_before_ms", with = "record::maybe_wall")]
    pub not_before: Option<Wall>,
    /// By when.
    pub deadline: Option<Due>,
    /// What must be over before.
    pub depends_on: Vec<After>,
    /// How long it probably takes, without what is around it.
    pub estimate: Estimate,
    /// Why, for people.
    pub reason: String,
    /// Who wants it.
    pub requester: String,
    /// Who has agreed.
    pub approvals: Vec<Approval>,
    /// The campaign it belongs to.
    pub batch: Option<BatchOf>,
}

/// By when something should be over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Due {
    /// The moment.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
    /// Whether to miss it is worse than anything that is not hard.
    pub hard: bool,
}

/// What must be over before something starts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct After {
    /// Which operation.
    pub operation: OperationId,
    /// For how long.
    #[serde(rename = "lag_ms", with = "record::millis")]
    pub lag: Duration,
}

/// That somebody has agreed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Approval {
    /// Who.
    pub actor: String,
    /// When.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
}

impl Operation {
    /// An operation without deadline, priority or anything before it.
    pub fn new(id: OperationId, kind: OpKind, host: GatewayId) -> Self {
        Self {
            id,
            class: kind.class(),
            kind,
            host,
            priority: 0,
            not_before: None,
            deadline: None,
            depends_on: Vec::new(),
            estimate: Estimate::default(),
            reason: String::new(),
            requester: String::new(),
            approvals: Vec::new(),
            batch: None,
        }
    }
}

impl OperationId {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`InvalidOperationId`].
    pub fn new(text: &str) -> Result<Self, InvalidOperationId> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.' | b':');
        let fits = (1..=64).contains(&text.len()) && text.bytes().all(ok);
        if fits { Ok(Self(text.into())) } else { Err(InvalidOperationId) }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for OperationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Serialize for OperationId {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for OperationId {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::new(&String::deserialize(from)?).map_err(serde::de::Error::custom)
    }
}
