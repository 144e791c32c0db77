//! How the links are, for operators: written by their thread, read by any.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use protocol::{GatewayId, Incarnation, LogSeq};

/// Forwards and bytes in one direction, since this process knows the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Forwards.
    pub forwards: u64,
    /// Bytes of frames of all kinds, before TLS.
    pub bytes: u64,
}

/// How the link to one peer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LinkStatus {
    /// The peer.
    pub gateway: GatewayId,
    /// Where it is dialled.
    pub address: String,
    /// Its life.
    pub incarnation: Incarnation,
    /// Whether our connection to it stands.
    pub up: bool,
    /// For how long that has been so.
    pub since: Duration,
    /// The version of the frames that is spoken on it.
    pub version: Option<u16>,
    /// The revision of our interest that it knows.
    pub acked_interest: u64,
    /// The log that it has applied, as far as it told us.
    pub poked: LogSeq,
    /// Forwards that it has not acknowledged.
    pub unacknowledged: u64,
    /// Their bytes.
    pub unacknowledged_bytes: u64,
    /// For how long the oldest of them has waited.
    pub oldest: Option<Duration>,
    /// Forwards that it takes now; none if it does not say.
    pub credit: Option<u64>,
    /// Forwards that we take from it now; none if it does not wait for that.
    pub granted: Option<u64>,
    /// To it.
    pub sent: Traffic,
    /// From it.
    pub received: Traffic,
    /// Forwards to it that were dropped.
    pub dropped: u64,
}

/// The links as they were a moment ago.
#[derive(Debug, Default)]
pub(super) struct Board(Mutex<Vec<LinkStatus>>);

impl Board {
    pub(super) fn write(&self, links: Vec<LinkStatus>) {
        *self.lock() = links;
    }

    pub(super) fn read(&self) -> Vec<LinkStatus> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<LinkStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
