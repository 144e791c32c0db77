//! What a client is shown with each message, and now and then without one.

use std::time::Duration;

use fanout::Slot;
use protocol::mqtt::codec::{self, PublishHead};
use protocol::mqtt::{ReasonCode, Version};
use protocol::session::{Session, Shown, Stage};
use protocol::{Now, PacketId, Position, Publication, QoS, SessionEpoch, SessionNo};

use super::seal::{PROPERTY, PositionText, Seal};
use crate::hub::traffic::deliver::write_publish;
use crate::hub::traffic::dispatch::remaining;
use crate::hub::{Close, ConnId, Hub, Turn};

/// The topic on which a client hears of a position without a message. No client may publish to it.
const TOPIC: &str = "$tidegate/position";

/// What is known of a session whose client is shown positions.
#[derive(Debug)]
pub(in crate::hub) struct Positions {
    since: SessionEpoch,
    seal: Seal,
    /// Up to here the session may have missed messages.
    gap: Position,
    /// Up to here the client may have had messages before it went back.
    had: Position,
    /// What was in flight when the client went back to something before it, ascending.
    open: Vec<Position>,
    /// Ids of the stored session's exchanges at QoS 2 whose messages have not been read again yet.
    twice: Vec<PacketId>,
    /// The newest position that the client was shown on this connection, or showed at its beginning.
    told: Position,
    /// When, or when another one was looked for.
    told_at: Duration,
}

impl Positions {
    pub(super) fn new(
        seal: Seal,
        (since, gap): (SessionEpoch, Position),
        (had, told): (Position, Position),
        (open, twice): (Vec<Position>, Vec<PacketId>),
    ) -> Self {
        Self { since, seal, gap, had, open, twice, told, told_at: Duration::ZERO }
    }

    /// Up to where everything is acknowledged that is not in flight, of which this is the last: what was open when the client
    /// went back is not, until it is begun again.
    pub(in crate::hub) fn sent(&self, sent: Position, last: Option<Position>) -> Position {
        let again = self.told.max(last.unwrap_or_default());
        let next = self.open.partition_point(|at| *at <= again);
        self.open.get(next).map_or(sent, |at| Position(at.0 - 1))
    }

    /// What is stored of it.
    pub(in crate::hub) fn record(
        &self,
        session: &Session,
        restoring: &[(Position, PacketId, bool)],
    ) -> Shown {
        let sent = session.inflight().iter().filter_map(|(id, stage)| match stage {
            Stage::Sent(delivery) => (delivery.qos == QoS::ExactlyOnce).then_some(id),
            Stage::Passed(_) | Stage::Released { .. } => None,
        });
        let unread = restoring.iter().map(|(_, id, _)| *id).filter(|id| self.twice.contains(id));
        Shown { since: self.since, gap: self.gap, twice: sent.chain(unread).collect() }
    }

    /// Whether the client may have had a message before.
    pub(in crate::hub) fn had(&self, position: Position) -> bool {
        position <= self.had
    }

    /// The position that goes with a message.
    pub(in crate::hub) fn show(&mut self, position: Position, now: Now) -> PositionText {
        self.told = self.told.max(position);
        self.told_at = now.mono;
        self.seal.show(position)
    }

    /// Whether it is time for a position without a message.
    pub(in crate::hub) fn is_due(&mut self, now: Now, every: Duration) -> bool {
        if self.told_at.is_zero() {
            // The connection began a moment ago.
            self.told_at = now.mono;
        }
        let due = now.mono.saturating_sub(self.told_at) >= every;
        if due {
            self.told_at = now.mono;
        }
        due
    }
}

impl Hub {
    /// Everything of a session's queue up to here was handed to this worker. Its client is told so if it has had all of it.
    pub fn handle_passed(&mut self, no: SessionNo, position: Position, cx: &mut Turn<'_>) {
        let Some(slot) = self.by_no.get(&no).copied() else { return };
        let Some(live) = self.sessions.get_mut(slot as usize).filter(|live| !live.leaving) else {
            return;
        };
        let rests = live.session.queue_len() == 0
            && live.session.inflight().is_empty()
            && live.held.is_none()
            && live.restoring.is_empty();
        let conn = live.conn;
        let Some(positions) = live.positions.as_mut().filter(|it| rests && it.told < position)
        else {
            return;
        };
        let shown = positions.show(position, cx.now);
        let place = self.connections.get_mut(conn.index as usize).and_then(Option::as_mut);
        let Some(connection) = place.filter(|c| c.life == conn.life) else { return };
        let most = self.config.outbox_bytes;
        let outbox = cx.out.outbox_and_waiting(conn).filter(|(_, waiting)| *waiting <= most);
        let Some((outbox, _)) = outbox else { return };
        let from = outbox.len();
        let note = Publication::new(TOPIC, &[], &[], QoS::AtMostOnce, false);
        let head = PublishHead { user: Some((PROPERTY, shown.as_str())), ..PublishHead::plain() };
        codec::publish(outbox, Version::V5, &note, &head);
        if outbox.len() - from > connection.max_packet_bytes as usize {
            outbox.truncate(from);
            return;
        }
        self.metrics.packets_sent.add(1);
        self.metrics.positions_advanced.add(1);
    }

    /// Something of a session's queue that its client has not had is not there: it is told by the end of its connection, and by
    /// the answer when it comes back.
    pub fn handle_interrupted(
        &mut self,
        no: SessionNo,
        up_to: Position,
        cx: &mut Turn<'_>,
    ) -> Option<ConnId> {
        let slot = self.by_no.get(&no).copied()?;
        let live = self.sessions.get_mut(slot as usize).filter(|live| !live.leaving)?;
        let conn = live.conn;
        if let Some(positions) = &mut live.positions {
            // Stored with the session's last write: the log may forget it.
            positions.gap = positions.gap.max(up_to);
        }
        self.metrics.resumes_interrupted.add(1);
        self.lose_connection(conn, Close::Reason(ReasonCode::QuotaExceeded), cx);
        Some(conn)
    }

    /// Sends a message at QoS 0 that came through the stored queue, in its turn.
    pub(in crate::hub) fn send_stored_once(&mut self, slot: Slot, cx: &mut Turn<'_>) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let Some(delivery) = live.session.poll_at_most_once() else { return };
        self.metrics.queue_out_session.add(1);
        let conn = live.conn;
        let place = self.connections.get_mut(conn.index as usize).and_then(Option::as_mut);
        let Some(connection) = place.filter(|c| c.life == conn.life) else { return };
        let Some(outbox) = cx.out.outbox(conn) else { return };
        live.sent = live.sent.max(delivery.position.unwrap_or_default());
        let Some(expiry_s) = remaining(&delivery.publication, cx.now) else {
            return self.metrics.dropped_expired.add(1);
        };
        let shown = live.positions.as_mut().zip(delivery.position);
        let shown = shown.map(|(positions, at)| positions.show(at, cx.now));
        if !write_publish(outbox, None, &delivery, connection, (expiry_s, shown)) {
            return self.metrics.dropped_too_large.add(1);
        }
        self.metrics.count_deliveries(0, 1);
        self.metrics.packets_sent.add(1);
    }
}
