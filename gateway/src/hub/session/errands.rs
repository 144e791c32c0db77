//! Errands: what somebody in the fleet wants of a client that is served here.

use fanout::Slot;
use protocol::session::{Acked, Delivery};
use protocol::{ClientId, PacketId, Publication, QoS};

use super::status::filters;
use crate::hub::{ConnId, Hub, Record, Turn};
use crate::presence::{Errand, Report, Task};

impl Hub {
    /// Does what is wanted, if the ownership that is meant is ours, and reports. Returns the connection whose lane the effects
    /// belong to.
    pub(super) fn run_errand(
        &mut self,
        client: &ClientId,
        errand: Errand,
        cx: &mut Turn<'_>,
    ) -> Option<ConnId> {
        let slot = self.by_client.get(client).copied()?;
        let live = self.sessions.get(slot as usize)?;
        if live.epoch != errand.epoch || live.leaving {
            return None;
        }
        let conn = live.conn;
        let report = match errand.task {
            Task::TellFilters => Some(Report::Filters(filters(live))),
            Task::Give(message) => self.give((slot, conn), message, errand.no, cx),
        };
        if let Some(report) = report {
            cx.fx.first(Record::Put(report.put(client, errand.no, cx.now.wall)));
        }
        Some(conn)
    }

    /// Sends a client a message that is for it alone; none while it is not acknowledged.
    fn give(
        &mut self,
        (slot, conn): (Slot, ConnId),
        message: Publication,
        no: u64,
        cx: &mut Turn<'_>,
    ) -> Option<Report> {
        if self.may_not_read(slot, message.topic()) {
            return Some(Report::Denied);
        }
        if cx.out.outbox(conn).is_none_or(|outbox| outbox.len() > self.config.outbox_bytes) {
            return Some(Report::Busy);
        }
        if message.qos == QoS::AtMostOnce {
            self.encoder.begin();
            self.send_at_most_once(conn, &message, (false, &[]), cx.now, cx.out);
            return Some(Report::Done);
        }
        let delivery = Delivery {
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            position: None,
            ids: smallvec::SmallVec::new(),
            shared: None,
            publication: message,
        };
        let live = self.sessions.get_mut(slot as usize)?;
        if !live.restoring.is_empty() {
            // Their packet ids are the client's still.
            return Some(Report::Busy);
        }
        let unsent = live.held.as_ref().map_or(0, |held| held.unsent.len());
        let Some(id) = live.session.begin(delivery, unsent) else { return Some(Report::Busy) };
        self.transmit(conn, id, cx.now, cx.out);
        let live = self.sessions.get_mut(slot as usize)?;
        if live.session.sent(id).is_none() {
            return Some(Report::TooLarge);
        }
        live.held.get_or_insert_default().given.push((id, no));
        None
    }

    /// PUBACK: what waits for that is told, and room is used again.
    pub(in crate::hub) fn handle_puback(&mut self, slot: Slot, id: PacketId, cx: &mut Turn<'_>) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let acked = live.session.handle_puback(id);
        if let Some(held) = live.held.as_deref_mut()
            && acked == Acked::Done
            && let Some(at) = held.given.iter().position(|(given, _)| *given == id)
        {
            let (_, no) = held.given.swap_remove(at);
            let report = Report::Done.put(&live.client, no, cx.now.wall);
            cx.fx.first(Record::Put(report));
            live.held.take_if(|held| held.is_empty());
        }
        self.pump(slot, cx);
    }
}
