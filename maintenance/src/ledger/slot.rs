//! What the ledger holds.

use std::collections::BTreeMap;

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use crate::calendar::Interval;
use crate::fleet::{Load, Term, VisitId};
use crate::record;
use crate::verdict::Verdict;

/// Which grant a slot stands for: grows with each grant, so that a step of an older visit changes nothing.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub struct SlotEpoch(pub u64);

/// What a slot allows.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum SlotClass {
    /// A successor takes over on the same host; no capacity is needed elsewhere.
    InPlace,
    /// The clients move to other hosts.
    #[default]
    Drain,
}

/// Who wants a slot that no visit of a plan is for, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// An operator's name, or the host itself for a window of its configuration.
    pub by: String,
    /// Why.
    pub reason: String,
}

/// Permission to disturb one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Slot {
    /// Who may be disturbed.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// The life of its process at the grant.
    #[serde(with = "record::incarnation")]
    pub incarnation: Incarnation,
    /// Which grant this is.
    pub epoch: SlotEpoch,
    /// The scheduler's reign at the grant.
    pub term: Term,
    /// What for; nothing if an operator or a plain window asked.
    pub visit: Option<VisitId>,
    /// Who asked and why, if it was an operator or a plain window; nothing in records of versions that did not note it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub asked: Option<Asked>,
    /// What it allows.
    pub class: SlotClass,
    /// The labels of the host at the grant.
    pub labels: BTreeMap<String, String>,
    /// What the host carried at the grant.
    pub load: Load,
    /// Clients that leave the host per second while it is drained; nothing in records of versions that did not note it, and of those
    /// that such versions are to read: then it is as the host answers, or counts as all that may leave.
    #[serde(rename = "per_s", default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<u32>,
    /// What its policies let leave all hosts together per second, if they limit that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fleet_rate: Option<u32>,
    /// The failure budgets that it counts against.
    #[serde(rename = "scope", with = "record::names")]
    pub scopes: Vec<String>,
    /// When it was granted.
    #[serde(rename = "granted_ms", with = "record::wall")]
    pub granted: Wall,
    /// The opening of the window it was granted for.
    pub opening: Interval,
    /// When the drain was allowed to start, if it was.
    #[serde(rename = "started_ms", with = "record::maybe_wall")]
    pub started: Option<Wall>,
    /// When the first step that cannot be taken back was allowed, if one was.
    #[serde(rename = "crossed_ms", with = "record::maybe_wall")]
    pub crossed: Option<Wall>,
    /// How the drain ended, if it did.
    pub verdict: Option<Verdict>,
    /// When the host had passed its checks after the work, if it has.
    #[serde(rename = "verified_ms", with = "record::maybe_wall")]
    pub verified: Option<Wall>,
    /// Which of its lives passed them; nothing in records of versions that did not note it, which count as not checked.
    #[serde(default, skip_serializing_if = "Option::is_none", with = "record::maybe_incarnation")]
    pub verified_life: Option<Incarnation>,
    /// When the visit failed, if it did; the slot stays.
    #[serde(rename = "failed_ms", with = "record::maybe_wall")]
    pub failed: Option<Wall>,
}

/// A host that somebody gave up for lost, with its slot if it held one: it is retired until it comes back in a new
/// life.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteOff {
    /// The host.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// The life of its process that is lost.
    #[serde(with = "record::incarnation")]
    pub incarnation: Incarnation,
    /// The slot's epoch, if it held one.
    pub epoch: Option<SlotEpoch>,
    /// Who decided it.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// When.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
}

/// A visit that failed, as it counts against its budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// Which budgets.
    #[serde(rename = "scope", with = "record::names")]
    pub scopes: Vec<String>,
    /// Whose visit.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// When.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
}

/// A host's last visit, so that one opening sees it once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Visited {
    #[serde(with = "record::gateway")]
    pub(super) host: GatewayId,
    pub(super) opening: Interval,
}
