//! Gateways as maintenance sees them.

use std::collections::BTreeMap;

use protocol::{GatewayId, Incarnation};
use serde::{Deserialize, Serialize};

use crate::record;

/// A registered gateway, whether it answers or not.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// Its name.
    #[serde(with = "record::gateway")]
    pub id: GatewayId,
    /// The life of its process that was last heard of.
    #[serde(with = "record::incarnation")]
    pub incarnation: Incarnation,
    /// What it is doing.
    pub state: HostState,
    /// What it is chosen by, and the domains it fails with: `region`, `zone`, `rack`, `power`, and what else an
    /// operator wrote.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// How much it can carry.
    #[serde(default)]
    pub capacity: Capacity,
    /// The name of its time zone, such as `Europe/Berlin`.
    #[serde(default = "utc")]
    pub zone: String,
}

/// What a gateway is doing. Only [`Self::Serving`] counts as available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostState {
    /// Started, not yet serving.
    Joining,
    /// Accepts clients.
    Serving,
    /// Said to be going; still accepts.
    Announced,
    /// Refuses or moves its clients.
    Draining,
    /// Empty and safe to stop.
    Quiesced,
    /// Being worked on.
    InMaintenance,
    /// Accepts some of the clients that want to come.
    Warming {
        /// How many of them, in percent.
        admit: u8,
    },
    /// Silent for less than a lease.
    Suspect,
    /// Its lease ran out.
    Lost,
    /// Taken out of the fleet by a named operator; it is not counted until it comes back in a new life.
    Retired,
}

/// How much a host can carry. Zero: not known, and not limited.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Capacity {
    /// Connections at once.
    pub connections: u64,
    /// Messages per second.
    pub messages_per_s: u64,
    /// New connections per second.
    pub connects_per_s: u64,
}

/// What a host carries, or what moves away from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Connections.
    pub connections: u64,
    /// Messages per second.
    pub messages_per_s: u64,
}

/// How much of a fleet without domains may be disturbed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many hosts must go on serving.
    pub min_available: usize,
    /// How many slots there may be.
    pub max_concurrent: usize,
}

impl Host {
    /// A host without labels, of unknown capacity, in UTC.
    pub fn new(id: GatewayId, incarnation: Incarnation, state: HostState) -> Self {
        Self {
            id,
            incarnation,
            state,
            labels: BTreeMap::new(),
            capacity: Capacity::default(),
            zone: utc(),
        }
    }
}

impl Load {
    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            connections: self.connections.saturating_add(other.connections),
            messages_per_s: self.messages_per_s.saturating_add(other.messages_per_s),
        }
    }

    /// Of each the higher.
    #[must_use]
    pub fn higher(self, other: Self) -> Self {
        Self {
            connections: self.connections.max(other.connections),
            messages_per_s: self.messages_per_s.max(other.messages_per_s),
        }
    }

    /// Of each the lower.
    #[must_use]
    pub fn lower(self, other: Self) -> Self {
        Self {
            connections: self.connections.min(other.connections),
            messages_per_s: self.messages_per_s.min(other.messages_per_s),
        }
    }
}

fn utc() -> String {
    "UTC".to_owned()
}
