//! Errands: what somebody in the fleet wants of a client that is served here.

use std::sync::mpsc::Sender;

use fanout::Slot;
use protocol::session::{Acked, Delivery};
use protocol::{ClientId, PacketId, Publication, QoS, SessionEpoch, Wall};

use super::status::filters;
use crate::hub::{ConnId, Fx, Hub, Record, Turn};
use crate::presence::{Errand, NearErrand, Report, Task};

/// Messages for one client alone that wait until it takes them, at most.
const MOST_GIFTS: usize = 64;

/// Who is told what became of an errand.
#[derive(Debug)]
pub(in crate::hub) enum Whom {
    /// Whoever wrote it down under this number.
    Writer(u64),
    /// Somebody in this process, who may have gone.
    Near(Sender<Option<Report>>),
}

/// A message for one client alone.
#[derive(Debug)]
pub(in crate::hub) struct Gift {
    message: Publication,
    whom: Whom,
    /// When nobody waits for it any more.
    until: Wall,
}

impl Hub {
    /// Does what is wanted, if the ownership that is meant is ours, and reports.
    pub(super) fn run_errand(&mut self, client: &ClientId, errand: Errand, cx: &mut Turn<'_>) {
        if let Some(place) = self.served_as(client, errand.epoch) {
            self.run_at(place, errand.task, Whom::Writer(errand.no), cx);
        }
    }

    /// The same for somebody in this process.
    pub(super) fn run_near(&mut self, client: &ClientId, errand: NearErrand, cx: &mut Turn<'_>) {
        let NearErrand { epoch, task, report } = errand;
        match self.served_as(client, epoch) {
            Some(place) => self.run_at(place, task, Whom::Near(report), cx),
            // Whoever asked may have gone.
            None => drop(report.send(None)),
        }
    }

    fn served_as(&self, client: &ClientId, epoch: SessionEpoch) -> Option<(Slot, ConnId)> {
        let slot = self.by_client.get(client).copied()?;
        let live = self.sessions.get(slot as usize)?;
        (live.epoch == epoch && !live.leaving).then_some((slot, live.conn))
    }

    fn run_at(&mut self, place: (Slot, ConnId), task: Task, whom: Whom, cx: &mut Turn<'_>) {
        match task {
            Task::TellFilters => {
                if let Some(live) = self.sessions.get(place.0 as usize) {
                    let report = Report::Filters(filters(live));
                    self.report(place.0, (report, whom), cx);
                }
            }
            Task::Give(message, within) => {
                let gift = Gift { message, whom, until: cx.now.wall.after(within) };
                self.give(place, gift, cx);
            }
        }
    }

    /// Sends a client a message that is for it alone, or lets it wait behind others of its kind.
    fn give(&mut self, (slot, conn): (Slot, ConnId), gift: Gift, cx: &mut Turn<'_>) {
        let gift = if self.has_gifts(slot) {
            gift
        } else {
            match self.try_to_give((slot, conn), gift, cx) {
                Ok(()) => return,
                Err(gift) => gift,
            }
        };
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let held = live.held.get_or_insert_default();
        held.gifts.retain(|waits| waits.until > cx.now.wall);
        if held.gifts.len() >= MOST_GIFTS {
            return self.report(slot, (Report::Busy, gift.whom), cx);
        }
        held.gifts.push_back(gift);
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
            if let Err(gift) = self.try_to_give((slot, conn), gift, cx) {
                if let Some(live) = self.sessions.get_mut(slot as usize) {
                    live.held.get_or_insert_default().gifts.push_front(gift);
                }
                return;
            }
        }
    }

    /// Says what became of an errand. What is written of it belongs to nothing else that is stored.
    fn report(&mut self, slot: Slot, (report, whom): (Report, Whom), cx: &Turn<'_>) {
        let Some(live) = self.sessions.get(slot as usize) else { return };
        let no = match whom {
            Whom::Writer(no) => no,
            Whom::Near(teller) => return drop(teller.send(Some(report))),
        };
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
    ) -> Result<(), Gift> {
        if self.may_not_read(slot, gift.message.topic()) {
            self.report(slot, (Report::Denied, gift.whom), cx);
            return Ok(());
        }
        if cx.out.waiting(conn).is_none_or(|waiting| waiting > self.config.outbox_bytes) {
            if let Some(connection) = self.connection_mut(conn) {
                connection.congested = true;
            }
            return Err(gift);
        }
        if gift.message.qos == QoS::AtMostOnce {
            self.encoder.begin_for_one();
            self.send_at_most_once(conn, &gift.message, (false, &[]), cx.now, cx.out);
            self.report(slot, (Report::Done, gift.whom), cx);
            return Ok(());
        }
        let Some(live) = self.sessions.get_mut(slot as usize) else { return Err(gift) };
        let unsent = live.held.as_ref().map_or(0, |held| held.unsent.len());
        // Packet ids of what is read again are the client's still.
        if !live.restoring.is_empty() || !live.session.has_room_besides(unsent) {
            return Err(gift);
        }
        let Gift { message: publication, whom, .. } = gift;
        let delivery = Delivery {
            qos: QoS::AtLeastOnce,
            retain: false,
            dup: false,
            position: None,
            ids: smallvec::SmallVec::new(),
            shared: None,
            publication,
        };
        let report = match live.session.begin(delivery, unsent) {
            None => Report::Busy,
            Some(id) => {
                self.transmit(conn, id, cx.now, cx.out);
                let Some(live) = self.sessions.get_mut(slot as usize) else { return Ok(()) };
                if live.session.sent(id).is_some() {
                    live.held.get_or_insert_default().given.push((id, whom));
                    return Ok(());
                }
                Report::TooLarge
            }
        };
        self.report(slot, (report, whom), cx);
        Ok(())
    }

    /// PUBACK: what waits for that is told, and room is used again.
    pub(in crate::hub) fn handle_puback(&mut self, slot: Slot, id: PacketId, cx: &mut Turn<'_>) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let acked = live.session.handle_puback(id);
        if let Some(held) = live.held.as_deref_mut()
            && acked == Acked::Done
            && let Some(at) = held.given.iter().position(|(given, _)| *given == id)
        {
            let (_, whom) = held.given.swap_remove(at);
            live.held.take_if(|held| held.is_empty());
            self.report(slot, (Report::Done, whom), cx);
        }
        self.pump(slot, cx);
    }
}
