//! A session that this worker owns.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::session::{
    Holder, Owner, QueueLimits, SessionRecord, Stage, StoredSubscription, StoredWill,
};
use protocol::{ClientId, PacketId, Position, SessionEpoch, SessionNo, Wall};
use store::{Expect, Put, Space};

use crate::hub::ConnId;
use crate::hub::positions::show::Positions;
use crate::hub::session::errands::{Gift, Whom};
use crate::hub::traffic::owing::Owing;
use protocol::session::Session;

/// A session that this worker owns, with its connection.
#[derive(Debug)]
pub(in crate::hub) struct Live {
    pub(in crate::hub) client: ClientId,
    pub(in crate::hub) conn: ConnId,
    pub(in crate::hub) session: Session,
    pub(in crate::hub) no: SessionNo,
    pub(in crate::hub) epoch: SessionEpoch,
    /// Whom it belongs to.
    pub(in crate::hub) holder: Holder,
    /// What it shares with many others.
    pub(in crate::hub) standing: Arc<Standing>,
    pub(in crate::hub) expiry_s: u32,
    pub(in crate::hub) subscriptions: Vec<StoredSubscription>,
    pub(in crate::hub) will: Option<Box<StoredWill>>,
    /// Exchanges of the stored session whose messages have not been read again yet, by position.
    pub(in crate::hub) restoring: Vec<(Position, PacketId, bool)>,
    /// What was sent before this connection, as the stored session says: what is not in `restoring` is acknowledged.
    pub(in crate::hub) sent_before: Position,
    /// What waited in the queue at the start, up to here, may have been sent before, by a gateway that died or was cut off.
    pub(in crate::hub) doubtful: Option<Position>,
    /// The highest position that was sent on this connection or before.
    pub(in crate::hub) sent: Position,
    /// Messages of the stored queue that may still come before more is asked for.
    pub(in crate::hub) credit: u32,
    /// The low-water mark as last handed to the store.
    pub(in crate::hub) trimmed: Position,
    /// What is to be sent and cannot be yet, if anything is: most sessions never have that.
    pub(in crate::hub) held: Option<Box<Held>>,
    /// What its client is shown of where it stands, if it asked for that: most do not.
    pub(in crate::hub) positions: Option<Box<Positions>>,
    /// It was a member of a shared group above QoS 0.
    pub(in crate::hub) grouped: bool,
    /// The fleet is told that its client takes nothing for now.
    pub(in crate::hub) hangs: bool,
    /// The record of its client's presence, as it is stored while it is connected, if one is kept.
    pub(in crate::hub) presence: Option<Box<[u8]>>,
    /// Being given up: nothing is delivered any more.
    pub(in crate::hub) leaving: bool,
}

/// What is the same of all sessions of a class: kept once, since there are many.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::hub) struct Standing {
    /// This gateway, in this life.
    pub(in crate::hub) owner: Owner,
    /// How much may wait in their stored queues.
    pub(in crate::hub) queue: Option<QueueLimits>,
}

/// Exchanges that are open and whose PUBLISH has not been sent on this connection, and what is owed.
#[derive(Debug, Default)]
pub(in crate::hub) struct Held {
    /// Of the stored session, or stored before they are sent: they go as the client's window and outbox allow, in their order.
    pub(in crate::hub) unsent: VecDeque<PacketId>,
    /// QoS 2 messages whose ids are on their way to the store (`true`) with what follows them, in their order.
    pub(in crate::hub) storing: VecDeque<(PacketId, bool)>,
    /// Retained messages that its subscriptions are still owed.
    pub(in crate::hub) owing: Owing,
    /// Messages that were given to its client alone and that it has not acknowledged, and who waits for that.
    pub(in crate::hub) given: Vec<(PacketId, Whom)>,
    /// Such messages that it does not take yet, in their order.
    pub(in crate::hub) gifts: VecDeque<Gift>,
}

impl Held {
    /// Whether nothing waits.
    pub(in crate::hub) fn is_empty(&self) -> bool {
        let Self { unsent, storing, owing, given, gifts } = self;
        let sent = given.is_empty() && gifts.is_empty();
        unsent.is_empty() && storing.is_empty() && owing.is_empty() && sent
    }
}

impl Live {
    /// Whether it has a stored queue.
    pub(in crate::hub) const fn durable(&self) -> bool {
        self.no.0 != 0
    }

    /// The session as it is stored while it is owned.
    pub(in crate::hub) fn record(&self) -> SessionRecord {
        let mut record = SessionRecord::new(self.no, self.epoch, self.expiry_s);
        record.holder = self.holder;
        record.owner = Some(self.standing.owner.clone());
        record.queue = self.standing.queue;
        // A client that went back to what it has acknowledged before has that behind it all the same.
        record.acknowledged = self.low_water().max(self.trimmed);
        record.sent = self.sent;
        record.will = self.will.as_deref().cloned();
        if !self.durable() {
            return record;
        }
        record.grouped = self.grouped;
        record.hangs = self.hangs;
        record.subscriptions.clone_from(&self.subscriptions);
        record.inflight = self
            .session
            .inflight()
            .iter()
            .filter_map(|(id, stage)| {
                Some((id, stage.position()?, matches!(stage, Stage::Released { .. })))
            })
            .chain(
                self.restoring.iter().map(|(position, id, released)| (*id, *position, *released)),
            )
            .collect();
        record.inflight.sort_unstable_by_key(|(_, position, _)| *position);
        record.inbound = self.session.inbound().to_vec();
        if let Some(held) = &self.held {
            record.owed = held.owing.stored(&self.subscriptions);
        }
        if let Some(positions) = &self.positions {
            let last = record.inflight.last().map(|(_, position, _)| *position);
            record.sent = positions.sent(self.sent, last);
            record.shown = Some(positions.record(&self.session, &self.restoring));
        }
        let doubtful = self.doubtful.is_some_and(|up_to| up_to > record.sent);
        record.orphaned = doubtful || record.sent < self.sent;
        record
    }

    /// Leaves out a message of the stored queue as if it had been acknowledged; `false` if it was already, or is on its way
    /// to be.
    pub(in crate::hub) fn forgo(&mut self, position: Position) -> bool {
        match self.restoring.first() {
            Some((at, _, released)) if *at == position => {
                if *released {
                    return false;
                }
                self.restoring.remove(0);
            }
            Some(_) | None if position <= self.sent_before => return false,
            Some(_) | None => {}
        }
        self.session.skip(position);
        true
    }

    /// Whether something that is in flight has not been sent on this connection.
    pub(in crate::hub) fn holds_back(&self) -> bool {
        self.held.as_deref().is_some_and(|it| !it.unsent.is_empty() || !it.storing.is_empty())
    }

    /// What its subscriptions are owed, if anything.
    pub(in crate::hub) fn owing(&self) -> Option<&Owing> {
        self.held.as_deref().map(|held| &held.owing).filter(|owing| !owing.is_empty())
    }

    /// The same, to change it.
    pub(in crate::hub) fn owing_mut(&mut self) -> Option<&mut Owing> {
        self.held.as_deref_mut().map(|held| &mut held.owing).filter(|owing| !owing.is_empty())
    }

    /// Everything up to here is acknowledged.
    pub(in crate::hub) fn low_water(&self) -> Position {
        let restoring = self.restoring.first().map(|(position, ..)| Position(position.0 - 1));
        restoring.map_or_else(|| self.session.low_water(), |at| at.min(self.session.low_water()))
    }
}

/// A write of a session's document by its owner: refused if the ownership has moved. It is not announced.
pub(in crate::hub) fn put_by_owner(client: &ClientId, record: &SessionRecord) -> Put {
    by_owner(client, record.epoch, Some(record.encode()))
}

/// The deletion of a session's document by its owner. It is not announced.
pub(in crate::hub) fn delete_by_owner(client: &ClientId, epoch: SessionEpoch) -> Put {
    by_owner(client, epoch, None)
}

fn by_owner(client: &ClientId, epoch: SessionEpoch, value: Option<bytes::Bytes>) -> Put {
    let expect = Expect::Prefix(SessionRecord::fence(epoch));
    Put { space: Space::Session, key: key(client), value, expect, announce: false }
}

/// The key of a client's documents.
pub(in crate::hub) fn key(client: &ClientId) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(client.as_str().as_bytes())
}

/// A will that waits, as it is stored apart from its session: when it is due (8 bytes), then the session's epoch (8).
pub(crate) fn put_will(client: &ClientId, due: Wall, epoch: SessionEpoch) -> Put {
    let mut value = Vec::with_capacity(16);
    value.extend_from_slice(&due.0.to_be_bytes());
    value.extend_from_slice(&epoch.0.to_be_bytes());
    Put {
        space: Space::Will,
        key: key(client),
        value: Some(value.into()),
        expect: Expect::Any,
        announce: false,
    }
}

/// Forgets a will that waited.
pub(in crate::hub) fn delete_will(client: &ClientId) -> Put {
    Put { space: Space::Will, key: key(client), value: None, expect: Expect::Any, announce: false }
}
