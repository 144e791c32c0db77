//! Gateways as maintenance sees them.

use protocol::{GatewayId, Incarnation};

/// A registered gateway, whether it answers or not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host {
    /// Its name.
    pub id: GatewayId,
    /// The life of its process that was last heard of.
    pub incarnation: Incarnation,
    /// What it is doing.
    pub state: HostState,
}

/// What a gateway is doing. Only [`Self::Serving`] counts as available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum HostState {
    /// Accepts clients.
    Serving,
    /// Told to be drained: announcing, refusing or moving.
    Draining,
    /// Empty and safe to stop.
    Quiesced,
    /// Silent for less than a lease.
    Suspect,
    /// Its lease ran out.
    Lost,
}

/// How much of the fleet may be disturbed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// How many hosts must go on serving.
    pub min_available: usize,
    /// How many slots there may be.
    pub max_concurrent: usize,
}
