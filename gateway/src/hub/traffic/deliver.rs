//! What a session sends: from its stored queue or live, within the client's window.

use fanout::Slot;
use protocol::mqtt::codec::{self, AckKind, PublishHead};
use protocol::mqtt::{Ack, ReasonCode};
use protocol::session::{Delivery, DropReason, QueueLimits, Stage, Transmit, WhenFull};
use protocol::{Now, PacketId, Position, Publication, QoS, Refs, SessionNo, matches};
use smallvec::SmallVec;

use crate::hub::connection::{Connection, State};
use crate::hub::positions::seal::{PROPERTY, PositionText};
use crate::hub::session::live::Live;
use crate::hub::traffic::aliases::{Named, hash_of};
use crate::hub::traffic::dispatch::remaining;
use crate::hub::traffic::subscribe::unshared;
use crate::hub::{Ask, ConnId, Fx, Hub, Outlet, Output, Turn};

/// Messages of a stored queue that may be on their way to one session.
pub const CREDIT: u32 = 256;
/// With fewer than this many waiting, more is asked for.
pub(in crate::hub) const LOW: usize = 32;

/// A message of a session's stored queue.
#[derive(Debug)]
pub struct Queued {
    /// Whose queue.
    pub session: SessionNo,
    /// Where it stands.
    pub position: Position,
    /// Level and RETAIN, as in [`Refs`].
    pub flags: u8,
    /// The message.
    pub publication: Publication,
    /// It was in the queue before its session was attached here.
    pub old: bool,
}

impl Hub {
    /// A message of a session's stored queue, in the order of positions. Answers which connection it ended, if it left no room
    /// for others of which that one was to have all.
    pub fn handle_queued(&mut self, queued: Queued, cx: &mut Turn<'_>) -> Option<ConnId> {
        let Queued { session, position, flags, publication, old } = queued;
        let slot = self.by_no.get(&session).copied()?;
        self.note_queued(slot);
        let lost = old && self.may_not_read(slot, publication.topic());
        let live = self.sessions.get_mut(slot as usize).filter(|live| !live.leaving)?;
        live.credit = live.credit.saturating_sub(1);
        let mut delivery = Delivery {
            qos: Refs::qos(flags).min(publication.qos),
            retain: flags & Refs::RETAIN != 0 && publication.retain,
            dup: false,
            position: Some(position),
            ids: identifiers(live, publication.topic()),
            shared: None,
            publication,
        };
        // Positions come in order: of what is skipped, the exchange is over.
        while live.restoring.first().is_some_and(|(at, ..)| *at < position) {
            live.restoring.remove(0);
        }
        if lost && live.forgo(position) {
            self.note_drops(slot, DropReason::Denied, 1);
            self.pump(slot, cx);
            return None;
        }
        if position <= live.sent_before {
            self.restore(slot, position, delivery, cx.out);
            self.pump(slot, cx);
            return None;
        }
        // What came after the session was attached here, nobody can have sent before.
        if !old && let Some(up_to) = &mut live.doubtful {
            *up_to = (*up_to).min(Position(position.0.saturating_sub(1)));
        }
        // The id of what was begun at QoS 2 is stored before it is sent: what comes here was not `[MQTT5-4.3.3-2]`.
        let had = live.positions.as_ref().is_some_and(|it| it.had(position));
        let doubtful = live.doubtful.is_some_and(|up_to| position <= up_to);
        delivery.dup = (doubtful || had) && delivery.qos == QoS::AtLeastOnce;
        if delivery.dup {
            self.metrics.resent(delivery.qos).add(1);
        }
        if delivery.qos == QoS::AtMostOnce && live.positions.is_none() {
            live.session.skip(position);
            let (conn, ids) = (live.conn, delivery.ids);
            self.encoder.begin_for_one();
            self.send_at_most_once(
                conn,
                &delivery.publication,
                (delivery.retain, &ids),
                cx.now,
                cx.out,
            );
        } else {
            self.metrics.queue_in_session.add(1);
            // What has a position is never refused: the credit bounds it.
            live.session.enqueue(delivery);
            if let Some(up_to) = self.make_room(slot) {
                // Before it is shown anything that lies behind what is gone.
                return self.handle_interrupted(session, up_to, cx);
            }
        }
        self.pump(slot, cx);
        None
    }

    /// A delivery at QoS 1 or 2 that no stored queue keeps: it waits here, as far as the client's class allows.
    pub(super) fn enqueue_live(&mut self, slot: Slot, delivery: Delivery) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        self.metrics.queue_in_session.add(1);
        if live.session.queue_len() == 0 {
            return live.session.enqueue(delivery);
        }
        let conn = live.conn;
        let limits = self.waits_at_most(conn);
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        if let Some((reason, count)) = live.session.enqueue_within(delivery, &limits) {
            self.metrics.queue_out_session.add(count);
            self.note_drops(slot, reason, count);
        }
    }

    /// Of a session that drops the oldest, no more is under way than may wait in all. What its client went back to does not wait:
    /// it was acknowledged, and none of it is left out; the credit bounds it. Answers up to where something is gone of which its
    /// client was to have all.
    fn make_room(&mut self, slot: Slot) -> Option<Position> {
        let live = self.sessions.get_mut(slot as usize)?;
        if live.positions.is_some() && live.session.low_water() < live.trimmed {
            return None;
        }
        let limits = live.standing.queue.filter(|it| it.when_full == WhenFull::DropOldest);
        let before = live.session.queue_len();
        let gone = limits.and_then(|limits| live.session.make_room(&limits))?;
        self.metrics.queue_out_session.add((before - live.session.queue_len()) as u64);
        let (no, sent) = (live.no, live.sent);
        let shown = live.positions.is_some().then_some(gone.2);
        self.drops.note_gone(no, sent, gone);
        shown
    }

    /// What may wait for a client at QoS 1 and 2.
    pub(in crate::hub) fn waits_at_most(&self, conn: ConnId) -> QueueLimits {
        self.connection(conn).map_or(QueueLimits::NONE, |connection| connection.limits.queue)
    }

    /// What may wait to be sent to a client at QoS 0, in bytes.
    pub(super) fn outbox_bytes(&self, conn: ConnId) -> usize {
        let most = self.config.outbox_bytes;
        self.connection(conn).map_or(most, |connection| connection.outbox_bytes().min(most))
    }

    /// Whether the client of a session has no right (any more) to read a topic.
    pub(in crate::hub) fn may_not_read(&self, slot: Slot, topic: &str) -> bool {
        let conn = self.sessions.get(slot as usize).map(|live| live.conn);
        let guard = conn.and_then(|conn| self.connection(conn)?.guard.as_deref());
        guard.is_some_and(|guard| guard.may_not_read(topic))
    }

    /// A message that had been sent before this connection: again under its id, or never again.
    fn restore(
        &mut self,
        slot: Slot,
        position: Position,
        mut delivery: Delivery,
        out: &mut dyn Outlet,
    ) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        live.session.skip(position);
        let conn = live.conn;
        let Some((_, id, released)) =
            live.restoring.first().copied().filter(|(at, ..)| *at == position)
        else {
            // Sent before and not open any more: acknowledged.
            return;
        };
        live.restoring.remove(0);
        if released {
            live.session.restore(id, Stage::Released { position: Some(position) });
            self.write_pubrel(conn, id, out);
        } else {
            delivery.dup = true;
            self.metrics.resent(delivery.qos).add(1);
            live.session.restore(id, Stage::Sent(Box::new(delivery)));
            live.held.get_or_insert_default().unsent.push_back(id);
        }
    }

    /// Sends what is in flight and was not sent on this connection, within what the client `[MQTT5-3.3.4-9]` and its outbox take
    /// now.
    fn send_unsent(&mut self, slot: Slot, cx: &mut Turn<'_>) {
        while let Some(live) = self.sessions.get_mut(slot as usize)
            && let Some(held) = live.held.as_deref_mut()
            && live.session.has_room_besides(held.unsent.len())
            && let Some(id) = held.unsent.front().copied()
        {
            let conn = live.conn;
            let place = self.connections.get_mut(conn.index as usize).and_then(Option::as_mut);
            if cx.out.waiting(conn).is_none_or(|it| it > self.config.outbox_bytes) {
                place.filter(|c| c.life == conn.life).into_iter().for_each(|c| c.congested = true);
                break;
            }
            held.unsent.pop_front();
            self.transmit(conn, id, cx.now, cx.out);
        }
        if let Some(live) = self.sessions.get_mut(slot as usize) {
            live.held.take_if(|held| held.is_empty());
        }
    }

    /// Sends what the window and the outbox take, and asks for more when little waits.
    pub(in crate::hub) fn pump(&mut self, slot: Slot, cx: &mut Turn<'_>) {
        self.pump_queue(slot, cx);
        if self.owing > 0 && self.pay(slot, cx) {
            self.pump_queue(slot, cx);
        }
    }

    fn pump_queue(&mut self, slot: Slot, cx: &mut Turn<'_>) {
        let mut to_store: SmallVec<[PacketId; 4]> = SmallVec::new();
        self.send_unsent(slot, cx);
        self.give_waiting(slot, cx);
        loop {
            let Some(live) = self.sessions.get_mut(slot as usize).filter(|l| !l.leaving) else {
                return;
            };
            if live.session.queue_len() == 0 {
                break;
            }
            let conn = live.conn;
            let place = self.connections.get_mut(conn.index as usize).and_then(Option::as_mut);
            let Some(connection) = place.filter(|c| c.life == conn.life) else { break };
            if cx.out.waiting(conn).is_none_or(|it| it > self.config.outbox_bytes) {
                connection.congested = true;
                break;
            }
            if live.positions.is_some() && live.session.waits_at_most_once() {
                // It says where its client stands, so everything before it must have gone.
                if live.holds_back() {
                    break;
                }
                self.send_stored_once(slot, cx);
                continue;
            }
            let durable = live.durable();
            let behind = live.held.as_ref().is_some_and(|held| !held.storing.is_empty());
            let Some(Transmit::Publish(id, delivery)) = live.session.poll_transmit() else { break };
            let (position, qos) = (delivery.position, delivery.qos);
            self.metrics.queue_out_session.add(1);
            if let Some(position) = position {
                live.sent = live.sent.max(position);
            }
            let stored_first = durable && qos == QoS::ExactlyOnce;
            if stored_first {
                to_store.push(id);
            }
            if stored_first || behind {
                // What follows a QoS 2 message waits with it, unstored: what is sent again comes in the order of the first
                // time [MQTT3-4.6.0-6].
                live.held.get_or_insert_default().storing.push_back((id, stored_first));
            } else {
                self.transmit(conn, id, cx.now, cx.out);
            }
        }
        if !to_store.is_empty() {
            // A client remembers QoS 2 ids; so must whoever serves it next.
            let mut fx = Fx::new();
            self.store_session(slot, &mut fx);
            if let Some(live) = self.sessions.get(slot as usize) {
                to_store.iter().for_each(|id| fx.then(Output::Transmit(live.conn, *id)));
            }
            self.side.push_back(fx);
        }
        self.replenish(slot, cx.out);
    }

    fn replenish(&mut self, slot: Slot, out: &mut dyn Outlet) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let unsent = live.held.as_ref().map_or(0, |held| held.unsent.len());
        let waits = live.session.queue_len() + unsent;
        if live.durable() && live.credit < CREDIT / 2 && waits < LOW {
            out.ask(Ask::Pull(live.no, CREDIT - live.credit));
            live.credit = CREDIT;
        }
    }

    /// Sends the PUBLISH whose id is stored now, and what waited behind it, as far as there is room.
    pub(crate) fn transmit_stored(&mut self, conn: ConnId, id: PacketId, cx: &mut Turn<'_>) {
        let Some((_, slot)) = self.attached(conn) else { return };
        // Ids become stored in the order in which they were used.
        while let Some(live) = self.sessions.get_mut(slot as usize)
            && let Some(held) = live.held.as_deref_mut()
            && let Some((next, _)) =
                held.storing.pop_front_if(|(next, stored_first)| !*stored_first || *next == id)
        {
            held.unsent.push_back(next);
        }
        self.pump(slot, cx);
    }

    /// Sends the PUBLISH that is in flight under an id.
    pub(crate) fn transmit(&mut self, conn: ConnId, id: PacketId, now: Now, out: &mut dyn Outlet) {
        let place = self.connections.get_mut(conn.index as usize).and_then(Option::as_mut);
        let Some(connection) = place.filter(|c| c.life == conn.life) else { return };
        let State::Attached(slot) = connection.state else { return };
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let Some(delivery) = live.session.sent(id) else { return };
        let qos = delivery.qos;
        let expiry_s = match remaining(&delivery.publication, now) {
            Some(expiry_s) => expiry_s,
            // Once its PUBLISH was sent an exchange goes on [MQTT5-4.3.3-7].
            None if delivery.position.is_some_and(|at| at <= live.sent_before) => Some(0),
            None => {
                // As if it had been acknowledged [MQTT5-3.3.2-5].
                live.session.give_up(id);
                return self.note_drops(slot, DropReason::Expired, 1);
            }
        };
        let shown = live.positions.as_mut().zip(delivery.position);
        let shown = shown.map(|(positions, at)| positions.show(at, now));
        let Some(outbox) = out.outbox(conn) else { return };
        if !write_publish(outbox, Some(id), delivery, connection, (expiry_s, shown)) {
            // As if it had been acknowledged [MQTT5-3.1.2-25].
            live.session.give_up(id);
            return self.note_drops(slot, DropReason::TooLarge, 1);
        }
        self.metrics.count_deliveries(qos.bits(), 1);
        self.metrics.packets_sent.add(1);
    }

    pub(in crate::hub) fn write_pubrel(
        &mut self,
        conn: ConnId,
        id: PacketId,
        out: &mut dyn Outlet,
    ) {
        let Some((version, _)) = self.attached(conn) else { return };
        if let Some(outbox) = out.outbox(conn) {
            codec::ack(outbox, version, AckKind::PubRel, &Ack::of(id, ReasonCode::Success));
            self.metrics.packets_sent.add(1);
        }
    }

    /// A connection's outbox has room again.
    pub fn handle_writable(&mut self, conn: ConnId, cx: &mut Turn<'_>) {
        let Some(connection) = self.connection_mut(conn) else { return };
        connection.congested = false;
        if let Some((_, slot)) = self.attached(conn) {
            self.pump(slot, cx);
        }
    }

    /// Whether a connection waits for [`Self::handle_writable`].
    pub fn waits_for_room(&self, conn: ConnId) -> bool {
        self.is_congested(conn) || (self.owing > 0 && self.is_owed(conn))
    }

    /// Whether more waits for a connection than its outbox may hold.
    pub fn is_congested(&self, conn: ConnId) -> bool {
        self.connection(conn).is_some_and(|c| c.congested)
    }
}

/// The identifiers of a session's subscriptions that match a topic.
fn identifiers(live: &Live, topic: &str) -> SmallVec<[u32; 2]> {
    let with_id = live.subscriptions.iter().filter_map(|s| Some((s.id?, &*s.filter)));
    with_id.filter(|(_, filter)| matches(unshared(filter), topic)).map(|(id, _)| id).collect()
}

/// Writes a PUBLISH, unless it is larger than the client takes.
pub(in crate::hub) fn write_publish(
    outbox: &mut Vec<u8>,
    id: Option<PacketId>,
    delivery: &Delivery,
    connection: &mut Connection,
    (expiry_s, shown): (Option<u32>, Option<PositionText>),
) -> bool {
    let (from, most) = (outbox.len(), connection.max_packet_bytes as usize);
    let shown = shown.as_ref().map(|shown| (PROPERTY, shown.as_str()));
    let mut write = |named: Named, user| {
        let head = PublishHead {
            dup: delivery.dup,
            qos: delivery.qos,
            retain: delivery.retain,
            packet_id: id,
            subscription_ids: &delivery.ids,
            message_expiry_s: expiry_s,
            topic_alias: named.alias(),
            user,
        };
        codec::publish(outbox, connection.version, &delivery.publication, &head);
        let fits = outbox.len() - from <= most;
        if !fits {
            outbox.truncate(from);
        }
        fits
    };
    let topic = delivery.publication.topic();
    let named = match &mut connection.named {
        None => Named::Name,
        Some(aliases) => aliases.name(topic, hash_of(topic)),
    };
    // What has no room for both is the message without its position.
    if write(named, shown) || (shown.is_some() && write(named, None)) {
        return true;
    }
    let Named::Both(alias) = named else { return false };
    if let Some(aliases) = &mut connection.named {
        aliases.forget(alias);
    }
    write(Named::Name, None)
}
