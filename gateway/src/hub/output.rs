//! What leaves a hub: records to be stored, outputs to be seen, questions to the rest of the process.

use std::borrow::Cow;

use bytes::Bytes;
use protocol::mqtt::ReasonCode;
use protocol::peer::ReleaseOutcome;
use protocol::session::SessionRecord;
use protocol::{
    ClientId, Effects, GatewayId, Now, PacketId, Position, QoS, SessionEpoch, SessionNo, Violation,
};
use shadow::{OwnedKey, Sent};
use store::{Append, Check, Dropped, Outlives, Put, Rev, Trim, Write};
use tokio::sync::oneshot;

use super::{
    Awaited, ConnId, EstateAt, Forward, Inherited, Left, Passing, Posted, ShadowAsk, ShadowMail,
    ShadowWord,
};
use crate::hub::session::detach::WillFate;
use crate::hub::session::presence::Parting;
use crate::hub::traffic::dispatch::Dispatch;

/// The effects of a hub.
pub type Fx = Effects<Record, Output>;

/// One step of a hub: when it is, what it wants done, and where its bytes and questions go.
#[derive(Debug)]
pub struct Turn<'a> {
    /// The moment.
    pub now: Now,
    /// What must be stored, and what may be seen after that.
    pub fx: &'a mut Fx,
    /// Bytes and questions that promise nothing.
    pub out: &'a mut dyn Outlet,
}

/// Something that must be durable first.
#[derive(Debug)]
pub enum Record {
    /// A publication for the queues of persistent sessions.
    Append(Append),
    /// What must be true of a document for the others to be stored.
    Check(Check),
    /// A document.
    Put(Put),
    /// A document about a connection whose end ends everything that the document promises: a power failure, which ends all
    /// connections of the fleet, may take it.
    Fleeting(Put),
    /// Low-water marks of queues.
    Trims(Vec<Trim>),
    /// Messages that sessions do not get.
    Drops(Vec<Dropped>),
}

impl Record {
    /// All of them as one write, whose outputs are seen when it is answered.
    pub fn all(records: Vec<Self>, outputs: &[Output]) -> Write {
        let mut write = Write { outlives: Self::outlives(&records, outputs), ..Write::default() };
        for record in records {
            match record {
                Self::Append(append) => write.appends.push(append),
                Self::Check(check) => write.checks.push(check),
                Self::Put(put) | Self::Fleeting(put) => write.puts.push(put),
                Self::Trims(mut trims) => write.trims.append(&mut trims),
                Self::Drops(mut drops) => write.drops.append(&mut drops),
            }
        }
        write
    }

    /// What records must outlive before outputs may be seen: the machine, if anybody but the client whose connection they are
    /// about sees any of it.
    fn outlives(records: &[Self], outputs: &[Output]) -> Outlives {
        let fleeting = |record: &Self| matches!(record, Self::Fleeting(_) | Self::Check(_));
        let of_the_client =
            |output: &Output| matches!(output, Output::Claimed(_) | Output::Released(..));
        if records.iter().all(fleeting) && outputs.iter().all(of_the_client) {
            Outlives::Processes
        } else {
            Outlives::PowerFailure
        }
    }
}

/// Something that may be seen once the records are durable.
#[derive(Debug)]
pub enum Output {
    /// A packet to a client.
    Reply(ConnId, Reply),
    /// A publication to everyone who wants it.
    Dispatch(Dispatch),
    /// The session document of this client is written: the claim succeeded.
    Claimed(ClientId),
    /// The session document says that nobody owns it any more.
    Released(ClientId, Box<Farewell>),
    /// A QoS 2 delivery whose packet id is stored: send it.
    Transmit(ConnId, PacketId),
    /// The session of a client that left while it was claimed has no owner again.
    Abandoned(Box<Abandoned>),
    /// Retained messages are in the queue of this connection's session: a slice of this number.
    Paid(ConnId, u32),
    /// A session that was doubted is ours.
    Sure(ClientId),
    /// The fleet knows whether the client of a session, in this ownership, hangs.
    ToldHangs(SessionNo, SessionEpoch),
    /// Messages that members of shared groups left go to others: a portion of them.
    GiveBack,
    /// These are in the queues of others now.
    GivenBack(Vec<Left>),
    /// A portion of what an ended session left is stored.
    Inherited(Box<Inherited>),
    /// The fleet knows that sessions did not get these.
    Told(Vec<Dropped>),
    /// A request about a shadow leaves its connection.
    AskShadow(Box<ShadowAsk>),
    /// A packet to a client that waits until a request of its is answered.
    Awaited(Box<Awaited>),
    /// What is said of a shadow.
    Shadow(Box<ShadowWord>),
    /// The answer to a publication that came by another way than a connection.
    Posted(oneshot::Sender<Posted>, Posted),
}

/// What remains to be done once a session has been given up.
#[derive(Debug, Default)]
pub struct Farewell {
    /// Which ownership ends; a later one of the same client is not meant.
    pub epoch: SessionEpoch,
    /// The connection to end, and how.
    pub close: Option<(ConnId, Close)>,
    /// The peer that asked for the session, and its request.
    pub answer: Option<(GatewayId, u64)>,
    /// How a drain moved the client, if one did.
    pub sent: Option<Box<Sent>>,
    /// Which of the moves of the client that is, as far as they are counted.
    pub nth: Option<u32>,
    /// Whether an operator ordered it.
    pub ordered: bool,
    /// How the client and its connection part.
    pub parting: Parting,
    /// What becomes of its will, if the last write must be tried again.
    pub fate: WillFate,
    /// What its last write was stored at, once it is.
    pub stored: Option<Rev>,
}

/// A session that was claimed for a client that had gone by then.
#[derive(Debug)]
pub struct Abandoned {
    /// Whose.
    pub client: ClientId,
    /// As it was claimed.
    pub record: Box<SessionRecord>,
    /// Its client's presence, as it was claimed; if it is kept.
    pub presence: Option<Box<[u8]>>,
}

/// A packet to a client, apart from PUBLISH.
#[derive(Debug)]
pub enum Reply {
    /// PUBACK.
    PubAck(PacketId, ReasonCode),
    /// PUBREC.
    PubRec(PacketId, ReasonCode),
    /// PUBACK or PUBREC that says no in 5.0, and why.
    Refusal(Box<Refusal>),
    /// PUBREL.
    PubRel(PacketId, ReasonCode),
    /// PUBCOMP.
    PubComp(PacketId, ReasonCode),
    /// SUBACK, and the retained messages that follow it.
    SubAck(PacketId, Vec<ReasonCode>, Vec<super::traffic::subscribe::RetainedWanted>),
    /// UNSUBACK.
    UnsubAck(PacketId, Vec<ReasonCode>),
    /// PINGRESP.
    PingResp,
}

/// A publication that is not taken.
#[derive(Debug)]
pub struct Refusal {
    /// Its packet id.
    pub id: PacketId,
    /// Its level, 1 or 2.
    pub qos: QoS,
    /// The code that says no.
    pub reason: ReasonCode,
    /// Why, for people.
    pub why: Cow<'static, str>,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Close {
    /// The client said goodbye or is gone: nothing more is sent.
    Quiet,
    /// DISCONNECT (5.0) with this reason, then close.
    Reason(ReasonCode),
    /// DISCONNECT (5.0) with the reason and the statement that was broken, then close.
    Broke(Violation),
    /// CONNACK with this reason, then close.
    Refuse(ReasonCode),
    /// DISCONNECT 0x9C with a server reference (5.0), then half-close and read until the client closes. The index of
    /// the gateway that is named first, if it was chosen.
    Redirect(Option<u8>),
}

/// What a hub wants of the rest of its process. Nothing here promises anything to a client.
#[derive(Debug)]
pub enum Ask {
    /// Read a client's session document; answered by `handle_record`.
    Read(ClientId),
    /// Read the record of a client's presence; answered by `handle_presence`.
    Presence(ClientId),
    /// Ask a peer gateway to give a session up; answered by `handle_released`.
    Release {
        /// Who owns it.
        to: GatewayId,
        /// To tell answers apart.
        request: u64,
        /// Whose session.
        client: ClientId,
        /// Which ownership.
        epoch: SessionEpoch,
    },
    /// Answer a peer gateway that asked for a session.
    Released {
        /// Who asked.
        to: GatewayId,
        /// Its request.
        request: u64,
        /// What became of it.
        outcome: ReleaseOutcome,
    },
    /// Tell the peers what changed of our interest: it waits in [`Tables`](super::Tables::take_interest).
    Interest,
    /// Serve a session's stored queue to this worker, from behind a position.
    Attach {
        /// Whose queue.
        session: SessionNo,
        /// What it has seen.
        after: Position,
        /// How many messages it takes.
        credit: u32,
    },
    /// Stop serving a queue.
    Detach(SessionNo),
    /// Take more from a queue.
    Pull(SessionNo, u32),
    /// Up to where everything of a session's queue was handed over; answered by `handle_passed`, if anything waits not at all.
    Advance(SessionNo),
    /// A portion of what a session left is not stored: it goes again later.
    NotGiven(EstateAt),
    /// Read what the log holds now; answered with this number.
    Refresh(u64),
    /// Read what the log holds now, for publications that wait for that; answered with this number.
    CatchUp(u64),
    /// Give a copy to other workers of this process, one bit each.
    Workers(u64, Forward),
    /// Give a copy to peer gateways, one bit each.
    Peers(u128, Forward),
    /// A block of session numbers is used up soon.
    SessionNumbers,
    /// Decide about a client that authenticates again; answered by `handle_authenticated`.
    Authenticate(Box<crate::authentication::AuthenticationAsk>),
    /// Tell another worker something about shadows.
    Shadow(u8, ShadowMail),
    /// Read what is stored of a shadow, of whose thing there may be so many named ones; answered by `handle_shadow_read`.
    ReadShadow(OwnedKey, usize),
}

/// Where a hub's bytes and questions go: a worker's sockets and mailboxes, or a simulation.
pub trait Outlet: std::fmt::Debug {
    /// The bytes that wait to be sent to a connection, but for those that are held; appending is sending. `None` if it is gone.
    fn outbox(&mut self, conn: ConnId) -> Option<&mut Vec<u8>>;

    /// The same, and how many bytes wait, those that are held among them; much that waits is offered to the kernel first.
    fn outbox_and_waiting(&mut self, conn: ConnId) -> Option<(&mut Vec<u8>, usize)> {
        let outbox = self.outbox(conn)?;
        let waiting = outbox.len();
        Some((outbox, waiting))
    }

    /// Bytes that wait to be sent to a connection, those that are held among them. `None` if it is gone.
    fn waiting(&mut self, conn: ConnId) -> Option<usize> {
        self.outbox_and_waiting(conn).map(|(_, waiting)| waiting)
    }

    /// The same as appending to its outbox, for memory that others hold too.
    fn hold(&mut self, conn: ConnId, memory: Bytes) {
        if let Some(outbox) = self.outbox(conn) {
            outbox.extend_from_slice(&memory);
        }
    }

    /// Bytes of a packet in memory that can be held: that in which they came, if they have it for themselves, else a copy.
    fn keep(&mut self, bytes: &[u8]) -> Bytes {
        Bytes::copy_from_slice(bytes)
    }

    /// Ends a connection once its outbox is sent.
    fn close(&mut self, conn: ConnId, how: Close);

    /// Lets the connection's bytes flow again: it was waiting for its CONNECT to be answered.
    fn resume(&mut self, conn: ConnId);

    /// Passes a question on.
    fn ask(&mut self, ask: Ask);

    /// Gives other workers of this process, one bit each, a publication as it came.
    fn pass(&mut self, workers: u64, passing: &Passing<'_>) {
        let Some(publication) = passing.publication() else { return };
        let forward = Forward { publication, plain: true, shared: smallvec::SmallVec::new() };
        self.ask(Ask::Workers(workers, forward));
    }
}
