//! What all peers use.

use std::sync::Arc;
use std::time::Duration;

use protocol::peer::{FrameBuffer, Identity, PeerLimits, PeerViolation};
use protocol::{GatewayId, Now};
use tokio::sync::mpsc;

use super::command::LinkEvents;
use super::connection::{Connection, Key, News, Side, Stream};
use super::counters::LinkCounters;
use super::tls::PeerTls;
use crate::line_limit::LineLimit;
use crate::tls::Revoked;

/// What there may be too much of to be written down.
pub(super) const COME_AND_GO: &str = "peer connections that come and go";

/// What all peers use.
pub(super) struct Surroundings {
    pub(super) me: Identity,
    pub(super) limits: PeerLimits,
    /// When this batch began.
    pub(super) now: Now,
    pub(super) connect_limit: Duration,
    pub(super) tls: PeerTls,
    /// What is revoked as far as it was told; what our files said at the start, TLS knows.
    pub(super) revoked: Arc<Revoked>,
    pub(super) news: mpsc::Sender<News>,
    pub(super) events: Box<dyn LinkEvents>,
    pub(super) counters: Arc<LinkCounters>,
    /// The last number given to a connection.
    pub(super) last_number: u64,
    /// How often the peers were to say anew what they want.
    pub(super) back: u64,
    /// What is said of connections from outside, which may be many.
    pub(super) lines: LineLimit,
}

impl Surroundings {
    /// A key for a new connection.
    pub(super) fn key(&mut self, peer: &GatewayId, side: Side) -> Key {
        self.last_number += 1;
        Key { peer: peer.clone(), side, number: self.last_number }
    }

    pub(super) fn open(&self, key: Key, stream: Stream, buffer: FrameBuffer) -> Connection {
        Connection::open(key, stream, buffer, self.limits.silent_after, self.news.clone())
    }

    /// Whether one more line about a connection from outside may be written.
    pub(super) fn may_tell(&self) -> bool {
        self.lines.admits_now(COME_AND_GO)
    }

    pub(super) fn refused(&self, violation: &PeerViolation) {
        if self.may_tell() {
            tracing::warn!(%violation, "a peer connection is given up");
        }
        self.counters.count_refused();
    }
}
