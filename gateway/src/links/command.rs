//! What crosses between the rest of a gateway and its links.

use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use protocol::peer::{HashChange, InterestChange, ReleaseOutcome, SharedTargets};
use protocol::{ClientId, GatewayId, Incarnation, LogSeq, Publication, SessionEpoch};

use crate::tls::Revoked;

/// A live gateway, as the store's gateway records tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerAddress {
    /// Who it is; our own entry is ignored.
    pub gateway: GatewayId,
    /// `host:port` of its peer listener.
    pub address: String,
    /// The life of its process that the record is about.
    pub incarnation: Incarnation,
}

/// What the links are told.
#[derive(Debug, Clone)]
pub enum Command {
    /// All live gateways. One that is missing is dropped with all that waited for it.
    Peers(Vec<PeerAddress>),
    /// Who is alive was looked at, and told before this: that is good until then, by the clock of who looked.
    Looked(Duration),
    /// Others may have taken us for dead, or did and we are back: for this time, what peers want counts from what they say over
    /// connections that are made from now on.
    Back(u64),
    /// Our interest has changed; revisions grow.
    Interest {
        /// The revision after the changes.
        rev: u64,
        /// The changes.
        changes: Vec<InterestChange>,
    },
    /// A publication for the subscribers at one peer.
    Forward {
        /// The peer.
        to: GatewayId,
        /// Whether it is for all plain subscribers there.
        plain: bool,
        /// Shared groups of which one member there gets it.
        shared: SharedTargets,
        /// The publication.
        publication: Publication,
    },
    /// The store's log reaches so far: all peers should read it.
    Poke(LogSeq),
    /// Our tail has applied the log up to here: peers that poked for less are answered.
    Applied(LogSeq),
    /// Asks a peer to give up a session.
    Release {
        /// The peer.
        to: GatewayId,
        /// Names the answer; unique for this process.
        request: u64,
        /// The session's client.
        client: ClientId,
        /// The epoch in which the peer owns it.
        epoch: SessionEpoch,
    },
    /// Answers [`LinkEvents::release`].
    Released {
        /// Who asked.
        to: GatewayId,
        /// As it was told.
        ticket: u64,
        /// What became of it.
        outcome: ReleaseOutcome,
    },
    /// Answers [`LinkEvents::interest`]: every worker knows.
    InterestApplied {
        /// Whose interest.
        from: GatewayId,
        /// As it was told.
        ticket: u64,
    },
    /// Asks a peer how many clients it takes.
    AskCredit {
        /// The peer.
        to: GatewayId,
        /// The drain.
        drain: u64,
        /// How many clients are left.
        clients: u32,
        /// How many we would like to send in a second.
        per_s: u32,
    },
    /// Lets a draining peer send clients.
    Credit {
        /// The peer.
        to: GatewayId,
        /// The drain.
        drain: u64,
        /// How many clients.
        clients: u32,
        /// How many in a second at most.
        per_s: u32,
    },
    /// These certificates are revoked: connections that were made with one end.
    Revoked(Arc<Revoked>),
    /// Accepts peers at this listener too, or no longer at such a one: the usual one is a successor's for now.
    Beside(Option<Arc<TcpListener>>),
    /// Write what waits, close all connections, end the thread.
    Stop,
}

/// How far the peers are, over all live peers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The revision of our interest that all have confirmed; `u64::MAX` without peers.
    pub acked_interest: u64,
    /// How far all have said they have applied the store's log; `u64::MAX` without peers.
    pub poked: LogSeq,
    /// Until when it is known well enough who the live peers are, as [`Command::Looked`] says.
    pub good_until: Duration,
    /// For which of the times of [`Command::Back`] all have said what they want; `u64::MAX` without peers.
    pub heard: u64,
    /// Forwards that some peer has not acknowledged.
    pub unacknowledged: usize,
    /// Live peers.
    pub peers: usize,
    /// Live peers that have greeted on a connection that stands.
    pub peers_up: usize,
}

/// What can be taken before something would have to be dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Publications.
    pub forwards: u64,
    /// Bytes of them.
    pub bytes: u64,
}

/// What the links tell. Called on their thread, so it must not wait for anything.
pub trait LinkEvents: Send {
    /// A peer's interest, by name and by hash. `replace` voids all that was known; an empty replacement with ticket 0 means that the
    /// peer has begun anew or is gone, and needs no answer. Else answer with [`Command::InterestApplied`].
    fn interest(
        &mut self,
        from: &GatewayId,
        replace: bool,
        ticket: u64,
        changes: (Vec<InterestChange>, Vec<HashChange>),
    );
    /// How many more forwards can be taken now, from all peers together.
    fn room(&mut self) -> Room;
    /// A publication for local subscribers; each once, in the peer's order.
    fn forward(
        &mut self,
        from: &GatewayId,
        plain: bool,
        shared: SharedTargets,
        publication: Publication,
    );
    /// A publication that went to members of shared groups at a peer, which is gone and has not acknowledged it: others get it.
    fn unclaimed(&mut self, shared: SharedTargets, publication: Publication);
    /// A peer wants a session owned here. Answer with [`Command::Released`].
    fn release(&mut self, from: &GatewayId, ticket: u64, client: ClientId, epoch: SessionEpoch);
    /// The answer to [`Command::Release`]; `None` if the peer cannot be asked.
    fn released(&mut self, from: &GatewayId, request: u64, outcome: Option<ReleaseOutcome>);
    /// The store's log reaches so far. Tell what is applied with [`Command::Applied`].
    fn poke(&mut self, seq: LogSeq);
    /// A peer is draining. Answer with [`Command::Credit`].
    fn drain_ask(&mut self, from: &GatewayId, drain: u64, clients: u32, per_s: u32);
    /// A peer takes clients of our drain.
    fn credit(&mut self, from: &GatewayId, drain: u64, clients: u32, per_s: u32);
    /// A peer has greeted: it can be asked for sessions.
    fn peer_up(&mut self, peer: &GatewayId, incarnation: Incarnation);
    /// The connection that we dialled to a peer is lost, or the peer is gone.
    fn peer_down(&mut self, peer: &GatewayId);
    /// How far the peers are; called when it has changed.
    fn progress(&mut self, progress: Progress);
    /// A batch ends here: what was gathered may be handed on.
    fn flush(&mut self);
}
