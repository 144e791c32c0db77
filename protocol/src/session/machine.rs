//! The session machine: what to send next, what an acknowledgement means.

use std::collections::VecDeque;
use std::ops::{Deref, DerefMut};
use std::sync::Arc;

use smallvec::SmallVec;

use crate::mqtt::ReasonCode;
use crate::{HashSet, PacketId, Position, Publication, QoS};

use super::inflight::{Inflight, Stage};
use super::limits::{DropReason, QueueLimits, WhenFull};

/// A publication for one receiver.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The message.
    pub publication: Publication,
    /// The level it is delivered at: the lower of published and granted `[MQTT5-3.8.4-8]`.
    pub qos: QoS,
    /// The RETAIN flag as the receiver sees it.
    pub retain: bool,
    /// Whether it may have been sent before.
    pub dup: bool,
    /// Where it stands in the stored queue, if it does.
    pub position: Option<Position>,
    /// Identifiers of the matching subscriptions.
    pub ids: SmallVec<[u32; 2]>,
    /// The shared subscription it came through, as written in SUBSCRIBE, if it is not in a stored queue.
    pub shared: Option<Arc<str>>,
}

/// What to send next.
#[derive(Debug)]
pub enum Transmit<'s> {
    /// A PUBLISH under this id.
    Publish(PacketId, &'s Delivery),
    /// A PUBREL under this id: only when a session resumes.
    Release(PacketId),
}

/// What an acknowledgement from the client did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Acked {
    /// The exchange is over.
    Done,
    /// PUBREC was taken: store that, then answer PUBREL with this reason.
    Release(ReasonCode),
    /// There was no such exchange.
    Unknown,
}

/// What the server keeps of one session's exchanges `[MQTT5-4.1]`. Subscriptions and ownership live elsewhere.
#[derive(Debug)]
pub struct Session {
    /// The highest position that was handed to this session.
    seen: Position,
    exchanges: Exchanges,
    receive_maximum: u16,
}

/// What is on its way and what waits. Most sessions have had nothing of it, and keep no memory for it.
#[derive(Debug, Default)]
struct Exchanges(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    inflight: Inflight,
    /// Each behind a pointer, as in flight: they are moved often.
    queue: VecDeque<Box<Delivery>>,
    /// QoS 2 ids received and not yet released. Sorted.
    inbound: Vec<PacketId>,
    /// Of the publications in `queue`; at most 4 GiB are told apart.
    queue_bytes: u32,
}

impl Open {
    const fn nothing() -> Self {
        Self {
            inflight: Inflight::nothing(),
            queue: VecDeque::new(),
            inbound: Vec::new(),
            queue_bytes: 0,
        }
    }
}

/// What a session has that has had nothing.
static NOTHING: Open = Open::nothing();

impl Deref for Exchanges {
    type Target = Open;

    fn deref(&self) -> &Open {
        self.0.as_deref().unwrap_or(&NOTHING)
    }
}

impl DerefMut for Exchanges {
    fn deref_mut(&mut self) -> &mut Open {
        self.0.get_or_insert_with(|| Box::new(Open::nothing()))
    }
}

impl Session {
    /// An empty session whose stored queue has been seen up to `seen`.
    pub fn new(receive_maximum: u16, seen: Position) -> Self {
        Self { seen, exchanges: Exchanges::default(), receive_maximum }
    }

    /// The open outgoing exchanges.
    pub fn inflight(&self) -> &Inflight {
        &self.exchanges.inflight
    }

    /// QoS 2 ids received and not yet released, in ascending order.
    pub fn inbound(&self) -> &[PacketId] {
        &self.exchanges.inbound
    }

    /// Deliveries that wait for room in flight.
    pub fn queue_len(&self) -> usize {
        self.exchanges.queue.len()
    }

    /// Bytes of their topics, properties and payloads; at most 4 GiB are told apart.
    pub fn queue_bytes(&self) -> u32 {
        self.exchanges.queue_bytes
    }

    /// The highest position that was handed to this session.
    pub const fn seen(&self) -> Position {
        self.seen
    }

    /// Everything up to here is acknowledged.
    pub fn low_water(&self) -> Position {
        let first = self
            .exchanges
            .inflight
            .first_position()
            .or_else(|| self.exchanges.queue.iter().find_map(|d| d.position));
        first.map_or(self.seen, |first| Position(first.0 - 1))
    }

    /// Whether another PUBLISH at QoS 1 or 2 may be sent now.
    pub fn has_room(&self) -> bool {
        self.has_room_besides(0)
    }

    /// The same while so many of the open exchanges have not been sent on this connection.
    pub fn has_room_besides(&self, unsent: usize) -> bool {
        self.exchanges.inflight.has_room(self.receive_maximum, unsent)
    }

    /// Takes a delivery at QoS 1 or 2, whatever waits: one of the stored queue, whose reader asks first; that may be at `QoS` 0.
    pub fn enqueue(&mut self, delivery: Delivery) {
        if let Some(position) = delivery.position {
            // What comes twice from the queue, or late, was seen already.
            if position <= self.seen {
                return;
            }
            self.seen = position;
        }
        self.exchanges.queue_bytes =
            self.exchanges.queue_bytes.saturating_add(len_bytes(&delivery));
        self.exchanges.queue.push_back(Box::new(delivery));
    }

    /// Takes a delivery at QoS 1 or 2 of which nothing is stored, if not too much waits already; an empty queue takes
    /// anything. Answers how many were dropped for it, itself included, and why. Its publisher is not asked any more, so
    /// to reject is to drop the new one.
    pub fn enqueue_within(
        &mut self,
        delivery: Delivery,
        limits: &QueueLimits,
    ) -> Option<(DropReason, u64)> {
        let full =
            limits.reached(self.exchanges.queue.len(), u64::from(self.exchanges.queue_bytes));
        let Some(reason) = full.filter(|_| !self.exchanges.queue.is_empty()) else {
            self.enqueue(delivery);
            return None;
        };
        match limits.when_full {
            WhenFull::Reject | WhenFull::DropNew => Some((reason, 1)),
            WhenFull::DropOldest => {
                let mut dropped = 0;
                while !self.exchanges.queue.is_empty()
                    && limits
                        .reached(self.exchanges.queue.len(), u64::from(self.exchanges.queue_bytes))
                        .is_some()
                {
                    self.pop();
                    dropped += 1;
                }
                self.enqueue(delivery);
                Some((reason, dropped))
            }
        }
    }

    /// Drops the oldest deliveries of a stored queue that wait, so that with those in flight no more are here than may wait
    /// in all; the newest stays. They count as acknowledged. Answers why, and that all behind one position up to and with
    /// another are gone, but for what was in flight there.
    pub fn make_room(&mut self, limits: &QueueLimits) -> Option<(DropReason, Position, Position)> {
        let mut gone = None;
        while self.exchanges.queue.len() > 1
            && let all = self.exchanges.queue.len() + self.exchanges.inflight.len()
            && let Some(reason) = limits.exceeded(all, u64::from(self.exchanges.queue_bytes))
            && let Some(at) = self.pop().and_then(|delivery| delivery.position)
        {
            let before = Position(at.0.saturating_sub(1));
            let (why, after, _) = gone.unwrap_or((reason, before, at));
            gone = Some((why, after, at));
        }
        gone
    }

    fn pop(&mut self) -> Option<Box<Delivery>> {
        let open = self.exchanges.0.as_deref_mut()?;
        let delivery = open.queue.pop_front()?;
        let left = open.queue_bytes.saturating_sub(len_bytes(&delivery));
        open.queue_bytes = if open.queue.is_empty() { 0 } else { left };
        Some(delivery)
    }

    /// The next delivery that may be sent, put in flight. Nothing while the window is full.
    pub fn poll_transmit(&mut self) -> Option<Transmit<'_>> {
        if !self.has_room() {
            return None;
        }
        let delivery = self.pop()?;
        let Open { inflight, queue, queue_bytes, .. } = &mut *self.exchanges;
        match inflight.open(Stage::Sent(delivery)) {
            Ok(id) => match inflight.get_mut(id) {
                Some(Stage::Sent(delivery)) => Some(Transmit::Publish(id, delivery)),
                Some(Stage::Passed(_) | Stage::Released { .. }) | None => None,
            },
            Err(Stage::Sent(delivery)) => {
                *queue_bytes = queue_bytes.saturating_add(len_bytes(&delivery));
                queue.push_front(delivery);
                None
            }
            Err(Stage::Passed(_) | Stage::Released { .. }) => None,
        }
    }

    /// Puts a delivery at `QoS` 1 in flight ahead of all that waits; none while the window is full, of whose exchanges so many
    /// have not been sent on this connection.
    pub fn begin(&mut self, delivery: Delivery, unsent: usize) -> Option<PacketId> {
        let inflight = &mut self.exchanges.inflight;
        if !inflight.has_room(self.receive_maximum, unsent) {
            return None;
        }
        inflight.open(Stage::Sent(Box::new(delivery))).ok()
    }

    /// Puts in flight what is sent now, at `QoS` 1 or 2, and is kept by nobody: for a session that ends with its connection.
    /// None while anything waits that came before it, or the window is full.
    #[inline]
    pub fn pass(&mut self, qos: QoS) -> Option<PacketId> {
        let Open { inflight, queue, .. } = &mut *self.exchanges;
        if !queue.is_empty() || !inflight.has_room(self.receive_maximum, 0) {
            return None;
        }
        inflight.open(Stage::Passed(qos)).ok()
    }

    /// Whether the next delivery is at `QoS` 0.
    pub fn waits_at_most_once(&self) -> bool {
        self.exchanges.queue.front().is_some_and(|delivery| delivery.qos == QoS::AtMostOnce)
    }

    /// Takes the next delivery if it is at `QoS` 0: nothing is put in flight for it.
    pub fn poll_at_most_once(&mut self) -> Option<Delivery> {
        if self.waits_at_most_once() { self.pop().map(|delivery| *delivery) } else { None }
    }

    /// Takes what came through these shared subscriptions and has not been sent: others may have it.
    pub fn take_unsent(&mut self, shared: &HashSet<&str>) -> Vec<(Arc<str>, Publication)> {
        let of_them = |group: &Arc<str>| shared.contains(&**group);
        let (back, kept): (VecDeque<_>, _) = std::mem::take(&mut self.exchanges.queue)
            .into_iter()
            .partition(|delivery| delivery.shared.as_ref().is_some_and(of_them));
        self.exchanges.queue = kept;
        self.exchanges.queue_bytes =
            self.exchanges.queue.iter().map(|it| len_bytes(it)).fold(0, u32::saturating_add);
        back.into_iter().filter_map(|d| Some((d.shared?, d.publication))).collect()
    }

    /// Takes everything that came through shared subscriptions, when the session ends. What was begun at QoS 2 is nobody
    /// else's `[MQTT5-4.8.2-5]`.
    pub fn take_shared(&mut self) -> Vec<(Arc<str>, Publication)> {
        let Some(open) = self.exchanges.0.as_deref_mut() else { return Vec::new() };
        let begun = open.inflight.take_sent().into_iter().filter(|d| d.qos == QoS::AtLeastOnce);
        open.queue_bytes = 0;
        let waiting = std::mem::take(&mut open.queue).into_iter().map(|delivery| *delivery);
        let all = begun.chain(waiting);
        all.filter_map(|delivery| Some((delivery.shared?, delivery.publication))).collect()
    }

    /// A message of the stored queue that is not for this session any more: expired, or acknowledged before.
    pub fn skip(&mut self, position: Position) {
        self.seen = self.seen.max(position);
    }

    /// An exchange whose PUBLISH could not be sent: too large, or expired. It counts as acknowledged `[MQTT5-3.1.2-25]`.
    pub fn give_up(&mut self, id: PacketId) {
        self.exchanges.inflight.close(id);
    }

    /// The delivery that is in flight under an id; quickest for the one that was put there last.
    pub fn sent(&self, id: PacketId) -> Option<&Delivery> {
        self.exchanges.inflight.iter().rev().find_map(|(open, stage)| match stage {
            Stage::Sent(delivery) if open == id => Some(&**delivery),
            Stage::Sent(_) | Stage::Passed(_) | Stage::Released { .. } => None,
        })
    }

    /// PUBACK `[MQTT5-4.3.2-3]`.
    pub fn handle_puback(&mut self, id: PacketId) -> Acked {
        let Some(open) = self.exchanges.0.as_deref_mut() else { return Acked::Unknown };
        let is_over = |stage: &Stage| stage.sent_at() == Some(QoS::AtLeastOnce);
        if open.inflight.close_if(id, is_over) { Acked::Done } else { Acked::Unknown }
    }

    /// PUBREC `[MQTT5-4.3.3-4]`; with an error the exchange is over `[MQTT5-4.3.3-9]`.
    pub fn handle_pubrec(&mut self, id: PacketId, reason: ReasonCode) -> Acked {
        let Some(stage) = self.exchanges.inflight.get_mut(id) else {
            return Acked::Unknown;
        };
        match stage.sent_at() {
            Some(QoS::ExactlyOnce) => {
                if reason.is_error() {
                    self.exchanges.inflight.close(id);
                    return Acked::Done;
                }
                *stage = Stage::Released { position: stage.position() };
                Acked::Release(ReasonCode::Success)
            }
            Some(QoS::AtMostOnce | QoS::AtLeastOnce) => Acked::Unknown,
            None => Acked::Release(ReasonCode::Success),
        }
    }

    /// PUBCOMP.
    pub fn handle_pubcomp(&mut self, id: PacketId) -> Acked {
        let Some(open) = self.exchanges.0.as_deref_mut() else { return Acked::Unknown };
        let is_over = |stage: &Stage| matches!(stage, Stage::Released { .. });
        if open.inflight.close_if(id, is_over) { Acked::Done } else { Acked::Unknown }
    }

    /// Whether an incoming QoS 2 exchange is open: then a PUBLISH with its id is a repeat `[MQTT5-4.3.3-10]`.
    pub fn is_open_inbound(&self, id: PacketId) -> bool {
        self.exchanges.inbound.binary_search(&id).is_ok()
    }

    /// Opens an incoming QoS 2 exchange.
    pub fn open_inbound(&mut self, id: PacketId) {
        if let Err(at) = self.exchanges.inbound.binary_search(&id) {
            self.exchanges.inbound.insert(at, id);
        }
    }

    /// PUBREL: the id is free again. Says whether it was known `[MQTT5-4.3.3-11]`.
    pub fn handle_pubrel(&mut self, id: PacketId) -> bool {
        match self.exchanges.inbound.binary_search(&id) {
            Ok(at) => {
                self.exchanges.inbound.remove(at);
                true
            }
            Err(_) => false,
        }
    }

    /// The connection is gone: what was stored will be read again from the queue, what was not stays if the session does.
    /// Deliveries that were sent are repeats from now on `[MQTT5-3.3.1-1]`.
    pub fn detach(&mut self) {
        for stage in self.exchanges.0.iter_mut().flat_map(|open| open.inflight.stages_mut()) {
            if let Stage::Sent(delivery) = stage {
                delivery.dup = true;
            }
        }
    }

    /// Puts back an exchange of a stored session.
    pub fn restore(&mut self, id: PacketId, stage: Stage) {
        self.seen = self.seen.max(stage.position().unwrap_or_default());
        self.exchanges.inflight.restore(id, stage);
    }

    /// Puts back the end of an exchange at `QoS` 2 whose message the client has, or is given anew: what remains is to release
    /// its id. Everything up to and with `position` has been handed to this session.
    pub fn release(&mut self, id: PacketId, position: Position) {
        self.exchanges.inflight.restore(id, Stage::Released { position: Some(position) });
    }

    /// Puts back the incoming QoS 2 ids of a stored session; in ascending order.
    pub fn restore_inbound(&mut self, ids: &[PacketId]) {
        if self.exchanges.inbound != ids {
            self.exchanges.inbound = ids.to_vec();
        }
    }

    /// What must be sent again when the session resumes, with the ids it had, in order `[MQTT5-4.4.0-1]`.
    pub fn resend(&self) -> impl Iterator<Item = Transmit<'_>> {
        self.exchanges.inflight.iter().filter_map(|(id, stage)| match stage {
            Stage::Sent(delivery) => Some(Transmit::Publish(id, delivery)),
            Stage::Passed(_) => None,
            Stage::Released { .. } => Some(Transmit::Release(id)),
        })
    }
}

fn len_bytes(delivery: &Delivery) -> u32 {
    u32::try_from(delivery.publication.len_bytes()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(qos: QoS, position: Option<u64>) -> Delivery {
        Delivery {
            publication: Publication::new("t", &[], b"x", qos, false),
            qos,
            retain: false,
            dup: false,
            position: position.map(Position),
            ids: SmallVec::new(),
            shared: None,
        }
    }

    fn sent(session: &mut Session) -> Vec<u16> {
        let mut ids = Vec::new();
        while let Some(Transmit::Publish(id, _)) = session.poll_transmit() {
            ids.push(id.get());
        }
        ids
    }

    #[test]
    fn the_window_holds_back_what_the_client_cannot_take() {
        let mut session = Session::new(2, Position(0));
        for _ in 0..5 {
            session.enqueue(delivery(QoS::AtLeastOnce, None));
        }
        assert_eq!(sent(&mut session), [1, 2]);
        assert_eq!(session.handle_puback(PacketId::new(1).unwrap()), Acked::Done);
        assert_eq!(session.handle_puback(PacketId::new(1).unwrap()), Acked::Unknown);
        assert_eq!(sent(&mut session), [3]);
        assert_eq!(session.queue_len(), 2);
    }

    #[test]
    fn what_waits_beyond_the_limit_is_dropped_at_the_end_that_the_policy_says() {
        let limits = |messages, bytes, when_full| QueueLimits { messages, bytes, when_full };
        // A message has two bytes; the first one is in flight.
        for (limits, kept, reason) in [
            (limits(3, 99, WhenFull::DropNew), [1, 2, 3], DropReason::QueueCount),
            (limits(3, 99, WhenFull::Reject), [1, 2, 3], DropReason::QueueCount),
            (limits(3, 99, WhenFull::DropOldest), [7, 8, 9], DropReason::QueueCount),
            (limits(99, 5, WhenFull::DropNew), [1, 2, 3], DropReason::QueueBytes),
            (limits(99, 5, WhenFull::DropOldest), [7, 8, 9], DropReason::QueueBytes),
        ] {
            let mut session = Session::new(1, Position(0));
            session.enqueue(delivery(QoS::AtLeastOnce, None));
            assert_eq!(sent(&mut session), [1]);
            let mut dropped = 0;
            for n in 1..10_u8 {
                let mut next = delivery(QoS::AtLeastOnce, None);
                next.publication = Publication::new("t", &[], &[n], QoS::AtLeastOnce, false);
                if let Some((why, count)) = session.enqueue_within(next, &limits) {
                    assert_eq!(why, reason);
                    dropped += count;
                }
            }
            let left: Vec<u8> =
                session.exchanges.queue.iter().map(|d| d.publication.payload()[0]).collect();
            assert_eq!((left, dropped, session.queue_bytes()), (kept.to_vec(), 6, 6), "{limits:?}");
        }
        let mut session = Session::new(1, Position(0));
        let tight = limits(1, 1, WhenFull::DropNew);
        assert_eq!(session.enqueue_within(delivery(QoS::AtLeastOnce, None), &tight), None);
    }

    #[test]
    fn what_is_under_way_makes_room_for_the_newest_and_counts_as_acknowledged() {
        let limits = QueueLimits { messages: 3, bytes: 99, when_full: WhenFull::DropOldest };
        let mut session = Session::new(1, Position(0));
        session.enqueue(delivery(QoS::AtLeastOnce, Some(1)));
        assert_eq!(sent(&mut session), [1]);
        let mut dropped = 0;
        for position in 2..7 {
            session.enqueue(delivery(QoS::AtLeastOnce, Some(position)));
            dropped += session.make_room(&limits).map_or(0, |(_, after, up_to)| up_to.0 - after.0);
        }
        assert_eq!((dropped, session.queue_len(), session.low_water()), (3, 2, Position(0)));
        session.handle_puback(PacketId::new(1).unwrap());
        assert_eq!(session.low_water(), Position(4));
    }

    #[test]
    fn the_newest_stays_however_large_it_is() {
        let limits = QueueLimits { messages: 9, bytes: 1, when_full: WhenFull::DropOldest };
        let mut session = Session::new(1, Position(0));
        session.enqueue(delivery(QoS::AtLeastOnce, Some(1)));
        assert_eq!(session.make_room(&limits), None);
        session.enqueue(delivery(QoS::AtLeastOnce, Some(2)));
        let gone = Some((DropReason::QueueBytes, Position(0), Position(1)));
        assert_eq!((session.make_room(&limits), session.queue_len()), (gone, 1));
    }

    #[test]
    fn the_low_water_mark_never_passes_what_is_open() {
        let mut session = Session::new(10, Position(4));
        for position in [5, 9, 12] {
            session.enqueue(delivery(QoS::AtLeastOnce, Some(position)));
        }
        session.enqueue(delivery(QoS::AtLeastOnce, Some(9)));
        assert_eq!(sent(&mut session), [1, 2, 3], "a position comes once");
        assert_eq!(session.low_water(), Position(4));
        session.handle_puback(PacketId::new(2).unwrap());
        assert_eq!(session.low_water(), Position(4));
        session.handle_puback(PacketId::new(1).unwrap());
        assert_eq!(session.low_water(), Position(11));
        session.handle_puback(PacketId::new(3).unwrap());
        assert_eq!(session.low_water(), Position(12));
    }

    #[test]
    fn qos_two_goes_through_its_four_steps() {
        let mut session = Session::new(10, Position(0));
        session.enqueue(delivery(QoS::ExactlyOnce, Some(1)));
        let id = PacketId::new(sent(&mut session)[0]).unwrap();
        assert_eq!(session.handle_puback(id), Acked::Unknown, "the wrong acknowledgement");
        assert_eq!(
            session.handle_pubrec(id, ReasonCode::Success),
            Acked::Release(ReasonCode::Success)
        );
        session.detach();
        assert!(matches!(session.resend().next(), Some(Transmit::Release(again)) if again == id));
        assert_eq!(session.handle_pubcomp(id), Acked::Done);
        assert!(!session.is_open_inbound(id));
        session.open_inbound(id);
        session.open_inbound(id);
        assert!(session.is_open_inbound(id));
        assert!(session.handle_pubrel(id));
        assert!(!session.handle_pubrel(id));
    }

    #[test]
    fn what_is_not_received_yet_is_not_completed_either() {
        let mut session = Session::new(10, Position(0));
        for (qos, position) in [(QoS::AtLeastOnce, 1), (QoS::ExactlyOnce, 2)] {
            session.enqueue(delivery(qos, Some(position)));
        }
        for id in sent(&mut session) {
            assert_eq!(session.handle_pubcomp(PacketId::new(id).unwrap()), Acked::Unknown);
        }
        assert_eq!((session.inflight().len(), session.low_water()), (2, Position(0)));
    }

    #[test]
    fn what_came_through_a_group_can_be_taken_back() {
        let group: Arc<str> = "$share/g/t".into();
        let shared = |qos| Delivery { shared: Some(Arc::clone(&group)), ..delivery(qos, None) };
        let mut session = Session::new(3, Position(0));
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            session.enqueue(shared(qos));
        }
        session.enqueue(delivery(QoS::AtLeastOnce, None));
        assert_eq!(sent(&mut session).len(), 3);
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce] {
            session.enqueue(shared(qos));
        }
        session.enqueue(delivery(QoS::AtLeastOnce, None));
        let groups = |names: &[&'static str]| names.iter().copied().collect();
        assert!(session.take_unsent(&groups(&["$share/other/t", "t"])).is_empty());
        assert_eq!(session.take_unsent(&groups(&["$share/other/t", "$share/g/t"])).len(), 3);
        assert_eq!((session.queue_len(), session.inflight().len()), (1, 3), "the rest stays");
        assert_eq!(session.queue_bytes(), 2, "and nothing else counts");
        let back = session.take_shared();
        assert_eq!(back.len(), 1, "what was begun at QoS 2 is nobody else's");
    }

    #[test]
    fn ids_wrap_around_what_is_still_open() {
        let mut session = Session::new(u16::MAX, Position(0));
        let id = |id| PacketId::new(id).unwrap();
        let kept = [3, 5, 6, 40_000, 65_535].map(id);
        for id in kept {
            session.restore(id, Stage::Released { position: None });
        }
        let mut next = 1;
        for _ in 0..140_000 {
            while kept.contains(&id(next)) {
                next = next.checked_add(1).unwrap_or(1);
            }
            session.enqueue(delivery(QoS::AtLeastOnce, None));
            let given = sent(&mut session);
            assert_eq!(given, [next]);
            assert_eq!(session.handle_puback(id(next)), Acked::Done);
            next = next.checked_add(1).unwrap_or(1);
        }
    }

    #[test]
    fn every_id_is_given_before_there_is_none() {
        let mut session = Session::new(u16::MAX, Position(0));
        session.restore(PacketId::new(20_000).unwrap(), Stage::Passed(QoS::AtLeastOnce));
        let given: HashSet<_> =
            (1..u16::MAX).filter_map(|_| session.pass(QoS::AtLeastOnce)).collect();
        assert_eq!(given.len(), usize::from(u16::MAX) - 1);
        assert_eq!(session.pass(QoS::AtLeastOnce), None);
        for id in [60_000, 5, 64_000].map(|id| PacketId::new(id).unwrap()) {
            assert_eq!(session.handle_puback(id), Acked::Done);
            assert_eq!(session.pass(QoS::AtLeastOnce), Some(id));
        }
    }

    #[test]
    fn what_is_passed_is_answered_as_any_other_and_never_sent_again() {
        let mut session = Session::new(3, Position(0));
        let [first, second] =
            [QoS::AtLeastOnce, QoS::ExactlyOnce].map(|qos| session.pass(qos).unwrap());
        assert!(session.sent(first).is_none());
        assert_eq!(session.handle_pubrec(first, ReasonCode::Success), Acked::Unknown);
        assert_eq!(session.handle_puback(second), Acked::Unknown);
        session.enqueue(delivery(QoS::AtLeastOnce, None));
        assert_eq!(session.pass(QoS::AtLeastOnce), None, "something waits that came before it");
        assert_eq!(sent(&mut session), [3]);
        assert_eq!(session.pass(QoS::AtLeastOnce), None, "the window is full");
        assert_eq!(session.handle_puback(first), Acked::Done);
        let release = Acked::Release(ReasonCode::Success);
        assert_eq!(session.handle_pubrec(second, ReasonCode::Success), release);
        session.detach();
        assert_eq!(session.resend().count(), 2, "a PUBREL, and the one that is kept");
        assert_eq!(session.handle_pubcomp(second), Acked::Done);
        let failed = session.pass(QoS::ExactlyOnce).unwrap();
        let no = ReasonCode::UnspecifiedError;
        assert_eq!(session.handle_pubrec(failed, no), Acked::Done);
        assert_eq!(session.inflight().len(), 1);
    }
}
