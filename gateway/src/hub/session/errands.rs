//! Errands: what somebody in the fleet wants of a client that is served here.

use fanout::Slot;
use protocol::session::{Acked, Delivery};
use protocol::{ClientId, PacketId, Publication, QoS, Wall};

use super::status::filters;
use crate::hub::{ConnId, Fx, Hub, Record, Turn};
use crate::presence::{Errand, Report, Task};

/// Messages for one client alone that wait until it takes them, at most.
const MOST_GIFTS: usize = 64;

/// A message for one client alone.
#[derive(Debug)]
pub(in crate::hub) struct Gift {
    message: Publication,
    /// The number of its errand.
    no: u64,
    /// When nobody waits for it any more.
    until: Wall,
}

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
            Task::Give(message, within) => {
                let gift = Gift { message, no: errand.no, until: cx.now.wall.after(within) };
                self.give((slot, conn), gift, cx)
            }
        };
        if let Some(report) = report {
            cx.fx.first(Record::Put(report.put(client, errand.no, cx.now.wall)));
        }
        Some(conn)
    }

    /// Sends a client a message that is for it alone, or lets it wait behind others of its kind; none while it is not known what
    /// became of it.
    fn give(
        &mut self,
        (slot, conn): (Slot, ConnId),
        gift: Gift,
        cx: &mut Turn<'_>,
    ) -> Option<Report> {
        let gift = if self.has_gifts(slot) {
            gift
        } else {
            match self.try_to_give((slot, conn), gift, cx) {
                Ok(report) => return report,
                Err(gift) => gift,
            }
        };
        let held = self.sessions.get_mut(slot as usize)?.held.get_or_insert_default();
        held.gifts.retain(|waits| waits.until > cx.now.wall);
        if held.gifts.len() >= MOST_GIFTS {
            return Some(Report::Busy);
        }
        held.gifts.push_back(gift);
        None
    }

    fn has_gifts(&self, slot: Slot) -> bool {
        let held = self.sessions.get(slot as usize).and_then(|live| live.held.as_deref());
        held.is_some_and(|held| !held.gifts.is_empty())
    }

    /// Sends what waits for a client alone, as far as it takes it.
    pub(in crate::hub) fn give_waiting(&mut self, slot: Slot, cx: &mut Turn<'_>) {
        while self.has_gifts(slot) {
            let Some(live) = self.sessions.get_mut(slot as usize).filter(|it| !it.leaving) else {
                return;
            };
            let conn = live.conn;
            let gift = live.held.as_deref_mut().and_then(|held| held.gifts.pop_front());
            let Some(gift) = gift.filter(|gift| gift.until > cx.now.wall) else { continue };
            let no = gift.no;
            match self.try_to_give((slot, conn), gift, cx) {
                Ok(None) => {}
                Ok(Some(report)) => self.report(slot, (report, no), cx),
                Err(gift) => {
                    if let Some(live) = self.sessions.get_mut(slot as usize) {
                        live.held.get_or_insert_default().gifts.push_front(gift);
                    }
                    return;
                }
            }
        }
    }

    /// A report that belongs to nothing else that is stored.
    fn report(&mut self, slot: Slot, (report, no): (Report, u64), cx: &Turn<'_>) {
        let Some(live) = self.sessions.get(slot as usize) else { return };
        let mut fx = Fx::new();
        fx.first(Record::Put(report.put(&live.client, no, cx.now.wall)));
        self.side.push_back(fx);
    }

    /// Sends it now, if the client takes it now.
    fn try_to_give(
        &mut self,
        (slot, conn): (Slot, ConnId),
        gift: Gift,
        cx: &mut Turn<'_>,
    ) -> Result<Option<Report>, Gift> {
        if self.may_not_read(slot, gift.message.topic()) {
            return Ok(Some(Report::Denied));
        }
        if cx.out.outbox(conn).is_none_or(|outbox| outbox.len() > self.config.outbox_bytes) {
            if let Some(connection) = self.connection_mut(conn) {
                connection.congested = true;
            }
            return Err(gift);
        }
        if gift.message.qos == QoS::AtMostOnce {
            self.encoder.begin();
            self.send_at_most_once(conn, &gift.message, (false, &[]), cx.now, cx.out);
            return Ok(Some(Report::Done));
        }
        let Some(live) = self.sessions.get_mut(slot as usize) else { return Err(gift) };
        let unsent = live.held.as_ref().map_or(0, |held| held.unsent.len());
        // Packet ids of what is read again are the client's still.
        if !live.restoring.is_empty() || !live.session.has_room_besides(unsent) {
            return Err(gift);
        }
        let Gift { message: publication, no, .. } = gift;
        let delivery = Delivery {
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            position: None,
            ids: smallvec::SmallVec::new(),
            shared: None,
            publication,
        };
        let Some(id) = live.session.begin(delivery, unsent) else { return Ok(Some(Report::Busy)) };
        self.transmit(conn, id, cx.now, cx.out);
        let Some(live) = self.sessions.get_mut(slot as usize) else { return Ok(None) };
        if live.session.sent(id).is_none() {
            return Ok(Some(Report::TooLarge));
        }
        live.held.get_or_insert_default().given.push((id, no));
        Ok(None)
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
