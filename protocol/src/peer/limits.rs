//! What both sides of a peer link hold to: versions of the frames, names, sizes and times.

use std::time::Duration;

use crate::{GatewayId, Incarnation};

/// The newest version of the frames that this build speaks.
pub const VERSION: u16 = 2;
/// The oldest version of the frames that this build still speaks with a peer that knows no newer one: the last one.
pub const MIN_VERSION: u16 = VERSION - 1;
/// The first version with credits, and with exact filters told by their hashes.
pub(super) const CREDITS: u16 = 2;

/// Who a gateway says it is, in hello and welcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The fleet's name, 1 to 64 bytes; both ends must have the same.
    pub fleet: String,
    /// The gateway.
    pub gateway: GatewayId,
    /// This life of its process.
    pub incarnation: Incarnation,
}

/// What a peer link may hold, and how long it may be silent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerLimits {
    /// Longest frame in bytes, without its length field. Full: the connection is refused. The same in the whole fleet.
    pub max_frame_bytes: usize,
    /// Most forwards without an acknowledgement. Full: a new one of `QoS` 0 is dropped, else the oldest.
    pub max_unacknowledged: usize,
    /// Most bytes of such forwards; answered like the count.
    pub max_unacknowledged_bytes: usize,
    /// Most bytes of other frames waiting to be written. Full: the connection is given up and dialled anew.
    pub max_control_bytes: usize,
    /// Most entries in one interest snapshot or delta. Full: the connection is refused.
    pub max_interest: usize,
    /// Most releases of one peer without an answer. Full: answered busy.
    pub max_releases: usize,
    /// Most forwards that a peer may send ahead of what is taken here. Full: the peer waits for credit.
    pub window: u64,
    /// Most bytes of such forwards, give or take one; answered like the count.
    pub window_bytes: u64,
    /// How many bytes of forwards one write takes at most, give or take one forward.
    pub write_bytes: usize,
    /// How often the dialling side pings.
    pub ping_every: Duration,
    /// Silence after which either side gives the connection up.
    pub silent_after: Duration,
    /// Silence after which the accepting side takes nothing more from a connection, which is dialled anew: it may have stood
    /// still so long that the peer gave it up, and what it was to get to others. Shorter than a lease by the time between two
    /// renewals.
    pub stale_after: Duration,
}

impl Default for PeerLimits {
    fn default() -> Self {
        Self {
            max_frame_bytes: 16 << 20,
            max_unacknowledged: 65_536,
            max_unacknowledged_bytes: 64 << 20,
            max_control_bytes: 16 << 20,
            max_interest: 4_000_000,
            max_releases: 65_536,
            window: 16_384,
            window_bytes: 16 << 20,
            write_bytes: 256 << 10,
            ping_every: Duration::from_millis(750),
            silent_after: Duration::from_secs(3),
            stale_after: Duration::from_secs(2),
        }
    }
}
