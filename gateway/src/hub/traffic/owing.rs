//! Retained messages that new subscriptions are owed: sent a slice at a time, as the client takes them, so that a filter
//! that matches a million of them holds nobody up and costs no memory.
//!
//! A slice is taken when little waits for the client, and goes on behind the topic of the last one. For a session with a
//! stored queue what is owed at `QoS` 1 and 2 goes into that queue, in one write with the topic behind which to go on: who
//! serves the session next pays the rest, and nothing twice.

use std::collections::VecDeque;
use std::sync::Arc;

use fanout::Slot;
use protocol::session::{Delivery, SessionRecord, StoredOwed, StoredSubscription};
use protocol::{Publication, QoS, Refs, RefsBuilder, TopicFilter};
use store::Append;

use crate::hub::session::live::{Live, put_by_owner};
use crate::hub::share::Work;
use crate::hub::traffic::deliver::LOW;
use crate::hub::{ConnId, Fx, Hub, Output, Record, RetainedWanted, Turn};

/// Bytes of a slice's messages, beyond which there is no other.
const SLICE_BYTES: usize = 64 * 1024;

/// What the subscriptions of a session are owed.
#[derive(Debug, Default)]
pub(in crate::hub) struct Owing {
    /// In the order of their SUBACKs.
    debts: VecDeque<Debt>,
    /// Grows with every slice that is stored.
    slices: u32,
    /// Messages that went into the stored queue and have not come out of it yet, about.
    coming: usize,
    /// It has its place among those whose turn is to come.
    pub(in crate::hub) is_next: bool,
}

/// What one subscription is owed.
#[derive(Debug)]
struct Debt {
    filter: TopicFilter,
    qos: QoS,
    id: Option<u32>,
    /// The topic of the last message it got; none before the first.
    after: Option<Arc<str>>,
    /// The slice that is on its way to the store, and behind which topic to go on after it; nothing is left without one.
    storing: Option<(u32, Option<Arc<str>>)>,
}

impl Owing {
    /// As it is stored, without what is over with the writes that are on their way: those come first, or neither does.
    pub(in crate::hub) fn stored(&self, subscriptions: &[StoredSubscription]) -> Vec<StoredOwed> {
        let stored = |debt: &Debt| {
            let after = match &debt.storing {
                Some((_, None)) => return None,
                Some((_, after)) => after,
                None => &debt.after,
            };
            let at = subscriptions.iter().position(|s| *s.filter == *debt.filter.as_str())?;
            let subscription = u32::try_from(at).ok()?;
            Some(StoredOwed { subscription, after: after.as_deref().unwrap_or_default().into() })
        };
        self.debts.iter().filter_map(stored).collect()
    }

    /// Whether it is nothing.
    pub(in crate::hub) fn is_empty(&self) -> bool {
        self.debts.is_empty()
    }

    /// What a stored session is owed.
    pub(in crate::hub) fn read_back(record: &SessionRecord) -> Self {
        let debt = |owed: &StoredOwed| {
            let subscription = record.subscriptions.get(owed.subscription as usize)?;
            Some(Debt {
                filter: TopicFilter::new(&subscription.filter).ok()?,
                qos: subscription.qos,
                id: subscription.id,
                after: Some(Arc::from(&*owed.after)).filter(|after: &Arc<str>| !after.is_empty()),
                storing: None,
            })
        };
        Self { debts: record.owed.iter().filter_map(debt).collect(), ..Self::default() }
    }
}

impl Hub {
    /// Notes what subscriptions are owed; [`Self::pay`] sends it. What an earlier SUBSCRIBE of the same filter is still owed
    /// comes with that of the new one.
    pub(in crate::hub) fn owe(&mut self, slot: Slot, wanted: Vec<RetainedWanted>) {
        let Some(live) = self.sessions.get_mut(slot as usize).filter(|_| !wanted.is_empty()) else {
            return;
        };
        self.owing += usize::from(live.owing().is_none());
        let debts = &mut live.held.get_or_insert_default().owing.debts;
        // One SUBSCRIBE may name a filter twice, which is as good as two of them [MQTT5-3.8.4-5].
        if !debts.is_empty() {
            debts.retain(|debt| wanted.iter().all(|wanted| wanted.filter != debt.filter));
        }
        for RetainedWanted { filter, qos, id } in wanted {
            debts.push_back(Debt { filter, qos, id, after: None, storing: None });
        }
    }

    /// A subscription is gone.
    pub(in crate::hub) fn owe_no_more(&mut self, slot: Slot, filter: &str) {
        if self.owing == 0 {
            return;
        }
        if let Some(live) = self.sessions.get_mut(slot as usize)
            && let Some(owing) = live.owing_mut()
        {
            owing.debts.retain(|debt| debt.filter.as_str() != filter);
            self.settle_owing(slot);
        }
    }

    /// Whether a connection's session is to be paid as soon as its outbox is empty: it waits for nothing else, such as an
    /// acknowledgement or the store, which would pay it when they come. What is true of nothing that [`Self::pay`] can do
    /// would keep the worker busy.
    pub(in crate::hub) fn is_owed(&self, conn: ConnId) -> bool {
        let slot = self.attached(conn).map(|(_, slot)| slot);
        let live = slot.and_then(|slot| self.sessions.get(slot as usize));
        live.is_some_and(|live| live.session.queue_len() == 0 && payable(live).is_some())
    }

    /// Every session that is owed something: what the store refused is tried again.
    pub(in crate::hub) fn pay_all(&mut self, cx: &mut Turn<'_>) {
        if self.owing == 0 {
            return;
        }
        let owed = self.sessions.iter().filter(|(_, live)| live.owing().is_some());
        let slots: Vec<_> = owed.filter_map(|(slot, _)| Slot::try_from(slot).ok()).collect();
        for slot in slots {
            if let Some(live) = self.sessions.get_mut(slot as usize)
                && live.session.queue_len() == 0
                && let Some(owing) = live.owing_mut()
            {
                // What is still on its way may have been given up there.
                owing.coming = 0;
            }
            self.pump(slot, cx);
        }
    }

    /// A message came out of the stored queue of a session: perhaps one that it was owed.
    pub(in crate::hub) fn note_queued(&mut self, slot: Slot) {
        if self.owing > 0
            && let Some(live) = self.sessions.get_mut(slot as usize)
            && let Some(owing) = live.owing_mut()
        {
            owing.coming = owing.coming.saturating_sub(1);
        }
    }

    /// Sends a slice of what a session is owed, if it takes any more now. Answers whether there is something new to send.
    pub(in crate::hub) fn pay(&mut self, slot: Slot, cx: &mut Turn<'_>) -> bool {
        let Some(live) = self.sessions.get(slot as usize) else { return false };
        if payable(live).is_none() {
            return false;
        }
        // Its acknowledgements make room.
        let (queued, limits) = (live.session.queue_len(), self.waits_at_most(live.conn));
        if queued >= LOW.min(limits.messages as usize) {
            return false;
        }
        let conn = live.conn;
        if self.shares.of_rest.is_spent() {
            if let Some(owing) = self.sessions.get_mut(slot as usize).and_then(Live::owing_mut)
                && !std::mem::replace(&mut owing.is_next, true)
            {
                self.shares.owe_later(slot);
            }
            return false;
        }
        // Whose outbox was asked for is heard of when it is sent.
        let most = SLICE_BYTES.min(self.outbox_bytes(conn));
        if cx.out.waiting(conn).is_none_or(|waiting| waiting > most) {
            return false;
        }
        let Some(debt) = self.sessions.get(slot as usize).and_then(payable) else { return false };
        let share = &mut self.shares.of_rest;
        let (mut found, mut bytes) = (Vec::new(), 0);
        let retained = self.tables.retained();
        let next = retained.for_matches(&debt.filter, debt.after.as_deref(), cx.now.wall, |p| {
            if let Some(p) = p {
                bytes += p.len_bytes();
                found.push(p.clone());
                share.spend(Work::Message);
                share.spend_bytes(p.len_bytes());
            }
            share.spend(Work::Look);
            !share.is_spent() && bytes < SLICE_BYTES
        });
        drop(retained);
        self.pay_these(slot, (found, next), cx);
        true
    }

    /// Sends these, and notes behind which topic to go on.
    fn pay_these(
        &mut self,
        slot: Slot,
        (found, mut next): (Vec<Publication>, Option<Arc<str>>),
        cx: &mut Turn<'_>,
    ) {
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let (conn, durable, no) = (live.conn, live.durable(), live.no);
        let all_stored = live.positions.is_some();
        let debt = live.owing().and_then(|owing| owing.debts.front());
        let Some(debt) = debt else { return };
        let (granted, id, mut before) = (debt.qos, debt.id, debt.after.clone());
        let (mut fx, mut stored, mut all) = (Fx::new(), 0, next.is_none());
        for publication in found {
            let topic: Arc<str> = publication.topic().into();
            let qos = granted.min(publication.qos);
            if durable && (qos != QoS::AtMostOnce || all_stored) {
                let mut refs = RefsBuilder::default();
                refs.push(no, Refs::flags(qos, true));
                fx.first(Record::Append(Append { body: publication, refs: refs.build() }));
                stored += 1;
            } else if !self.pay_live(slot, publication, (qos, id), cx) {
                // Perhaps there was none before: it is owed all the same.
                (next, all) = (before, false);
                break;
            }
            before = Some(topic);
        }
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let Some(owing) = live.owing_mut() else { return };
        let Some(debt) = owing.debts.front_mut() else { return };
        if fx.stores_nothing() {
            debt.after.clone_from(&next);
            if all {
                owing.debts.pop_front();
                self.settle_owing(slot);
            }
            return;
        }
        owing.slices = owing.slices.wrapping_add(1);
        owing.coming += stored;
        debt.storing = Some((owing.slices, next));
        fx.then(Output::Paid(conn, owing.slices));
        fx.first(Record::Put(put_by_owner(&live.client, &live.record())));
        self.side.push_back(fx);
    }

    /// Sends one to a session without a stored queue, or at `QoS` 0; answers whether there was room.
    fn pay_live(
        &mut self,
        slot: Slot,
        publication: Publication,
        (qos, id): (QoS, Option<u32>),
        cx: &mut Turn<'_>,
    ) -> bool {
        let Some(live) = self.sessions.get(slot as usize) else { return false };
        let conn = live.conn;
        if qos == QoS::AtMostOnce {
            let most = self.outbox_bytes(conn);
            if cx.out.waiting(conn).is_none_or(|waiting| waiting > most) {
                return false;
            }
            self.encoder.begin_for_one();
            self.send_at_most_once(conn, &publication, (true, id.as_slice()), cx.now, cx.out);
            return true;
        }
        // What is published meanwhile finds room too.
        let (queued, bytes) = (live.session.queue_len(), live.session.queue_bytes());
        let limits = self.waits_at_most(conn);
        if queued > 0 && limits.reached(queued * 2, u64::from(bytes) * 2).is_some() {
            return false;
        }
        let ids = id.into_iter().collect();
        let delivery = Delivery {
            publication,
            qos,
            retain: true,
            dup: false,
            position: None,
            ids,
            shared: None,
        };
        self.enqueue_live(slot, delivery);
        true
    }

    /// A slice is in the session's queue, or the store did not take it and it is made again with a tick.
    pub(crate) fn handle_paid(
        &mut self,
        conn: ConnId,
        (slice, stored): (u32, bool),
        cx: &mut Turn<'_>,
    ) {
        let Some((_, slot)) = self.attached(conn) else { return };
        let Some(live) = self.sessions.get_mut(slot as usize) else { return };
        let Some(owing) = live.owing_mut() else { return };
        let debt = owing.debts.front_mut();
        let Some(debt) = debt.filter(|it| it.storing.as_ref().is_some_and(|s| s.0 == slice)) else {
            return;
        };
        let next = debt.storing.take().and_then(|(_, next)| next);
        if !stored {
            owing.coming = 0;
            return;
        }
        let over = next.is_none();
        debt.after = next;
        if over {
            owing.debts.pop_front();
            self.settle_owing(slot);
        }
        self.pump(slot, cx);
    }

    /// Counts a session that is owed nothing any more.
    fn settle_owing(&mut self, slot: Slot) {
        if let Some(live) = self.sessions.get_mut(slot as usize)
            && live.owing().is_none()
        {
            self.owing -= 1;
            live.held.take_if(|held| held.is_empty());
        }
    }
}

/// The debt of which a slice may be taken now, unless too much waits for the client.
fn payable(live: &Live) -> Option<&Debt> {
    let owing = live.owing().filter(|owing| !live.leaving && owing.coming < LOW)?;
    owing.debts.front().filter(|debt| debt.storing.is_none())
}
