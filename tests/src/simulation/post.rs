//! Letters between the threads of one gateway.

use protocol::GatewayId;
use store::Write;
use tidegate::commit::{Answer, Ordered};
use tidegate::hub::ConnectRequest;
use tidegate::links::Command;
use tidegate::tail::TailAsk;
use tidegate::worker::Mail;

use super::network::WireId;

/// A letter, and whose it is.
#[derive(Debug)]
pub(super) enum Post {
    Worker(u8, Mail),
    Accepted(u8, Accepted),
    Tail(TailAsk),
    Links(Command),
    Commit(Order),
    Service(Note),
    /// Something is to be done once all that was routed by older tables is stored.
    Settle(Then),
    /// The committer has let one copy of it go.
    LetGo(u64),
}

/// What is done once all that was routed by older tables is stored; mirrors `gateway/src/worker/settled.rs`, whose
/// copies only real mailboxes can carry.
#[derive(Debug)]
pub(super) enum Then {
    Ask(TailAsk),
    Tell(Command),
}

/// A connection whose CONNECT the front let in.
#[derive(Debug)]
pub(super) struct Accepted {
    pub(super) wire: WireId,
    /// Bytes behind CONNECT.
    pub(super) rest: Vec<u8>,
    pub(super) request: ConnectRequest,
}

/// Who wants writes.
#[derive(Debug)]
pub(super) enum Order {
    Worker(u8, Vec<Ordered>),
    Service(Box<Write>, Errand),
    /// To be let go of when what was ordered before is written.
    Settle(u64),
}

/// What the service wrote for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Errand {
    Renewal,
    /// Session numbers for a worker: from, and the first that is not its own.
    Numbers(u8, (u32, u32)),
    Orphan,
}

/// A letter to the service.
#[derive(Debug)]
pub(super) enum Note {
    Numbers(u8),
    Written(Errand, Answer),
    Synced(GatewayId),
}
