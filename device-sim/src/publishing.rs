//! The publishing half of a device: what is due, what is in flight, what was acknowledged.
//!
//! ```text
//! QoS 1:  Published --PUBACK--> gone
//! QoS 2:  Published --PUBREC--> Released --PUBCOMP--> gone
//! ```

use std::collections::{BTreeSet, VecDeque};

use protocol::{
    PacketId, QoS,
    mqtt::{
        Ack, Publish, PublishProperties, ReasonCode, Version,
        codec::{self, AckKind},
    },
};

use crate::{
    Pace, Plan,
    payload::Head,
    schedule::{Schedule, due},
};

/// So many bytes may wait to be written before a publisher pauses.
const OUT_LIMIT_BYTES: usize = 256 * 1_024;
/// Packet ids are sequence numbers modulo this, so the span in flight stays below it.
const ID_SPAN: u64 = 65_535;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Published,
    Released,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    sequence: u64,
    sent_ns: u64,
    stage: Stage,
}

/// What a publisher waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// Its receivers must have seen so much.
    Seen(u64),
    /// The next message is due then.
    Until(u64),
    /// What it has written must be sent first.
    Room,
    /// An acknowledgement, or nothing.
    Input,
}

#[derive(Debug)]
pub(crate) struct Publishing {
    number: u32,
    run: u32,
    version: Version,
    qos: QoS,
    /// One for each of its topics, used in turns.
    templates: Vec<Template>,
    pace: Pace,
    /// Of an open loop.
    schedule: Option<Schedule>,
    in_flight: usize,
    /// Of this many messages.
    limit: u64,
    /// When publishing began.
    begun_ns: Option<u64>,
    next: u64,
    inflight: VecDeque<Flight>,
    /// The server's receive maximum.
    server_quota: usize,
    /// Known to be seen by all receivers, or forgiven after a stall.
    floor: u64,
    acknowledged: u64,
    /// Refused by the broker or forgotten with a session, in order of notice.
    given_up: Vec<u64>,
    /// Written again on a later connection.
    resent: BTreeSet<u64>,
}

impl Publishing {
    pub(crate) fn new(plan: &Plan, number: usize, run: u32) -> Self {
        Self {
            number: u32::try_from(number).unwrap_or(u32::MAX),
            run,
            version: plan.version,
            qos: plan.qos,
            templates: plan.topics(number).iter().map(|topic| Template::new(plan, topic)).collect(),
            pace: plan.pace,
            schedule: Schedule::of(plan, number),
            in_flight: plan.in_flight,
            limit: due(plan, number).unwrap_or(u64::MAX),
            begun_ns: None,
            next: 0,
            inflight: VecDeque::new(),
            server_quota: usize::from(u16::MAX),
            floor: 0,
            acknowledged: 0,
            given_up: Vec::new(),
            resent: BTreeSet::new(),
        }
    }

    /// Messages published so far.
    pub(crate) const fn published(&self) -> u64 {
        self.next
    }

    pub(crate) const fn acknowledged(&self) -> u64 {
        self.acknowledged
    }

    /// All publishers of a run begin at the same moment.
    pub(crate) const fn begin(&mut self, begun_ns: u64) {
        self.begun_ns = Some(begun_ns);
    }

    /// Nothing new after this, but what is due by now of an open loop.
    pub(crate) fn stop(&mut self, out: &mut Vec<u8>, now_ns: u64) {
        if self.schedule.is_some() {
            self.fill(out, now_ns, &|| u64::MAX);
        }
        self.stop_at_once();
    }

    /// Nothing new after this.
    pub(crate) const fn stop_at_once(&mut self) {
        self.limit = self.next;
    }

    /// Nothing to publish and nothing to wait for.
    pub(crate) fn is_settled(&self) -> bool {
        self.next >= self.limit && self.inflight.is_empty()
    }

    /// The messages that were sent more than once.
    pub(crate) fn take_resent(&mut self) -> BTreeSet<u64> {
        std::mem::take(&mut self.resent)
    }

    /// The messages without an acknowledgement, sorted.
    pub(crate) fn unacknowledged(mut self) -> Vec<u64> {
        self.given_up.extend(self.inflight.iter().map(|flight| flight.sequence));
        self.given_up.sort_unstable();
        self.given_up
    }

    /// Receivers seem to have lost what they have not seen: go on without it.
    pub(crate) const fn forgive(&mut self) {
        self.floor = self.next;
    }

    /// Appends what may be published now. `seen` asks what the slowest receiver has seen.
    pub(crate) fn fill(&mut self, out: &mut Vec<u8>, now_ns: u64, seen: &dyn Fn() -> u64) -> Wait {
        let begun_ns = *self.begun_ns.get_or_insert(now_ns);
        loop {
            if self.next >= self.limit || !self.has_quota() {
                return Wait::Input;
            }
            if out.len() >= OUT_LIMIT_BYTES {
                return Wait::Room;
            }
            let sent_ns = match (self.pace, self.schedule) {
                (Pace::Window(window), _) => {
                    if let Some(wait) = self.window_closed(window, seen) {
                        return wait;
                    }
                    now_ns
                }
                // The time it was due, so that waiting counts as latency.
                (Pace::Every(_), Some(schedule)) => {
                    begun_ns.saturating_add(schedule.due_ns(self.next))
                }
                (Pace::Every(_), None) => now_ns,
            };
            if sent_ns > now_ns {
                return Wait::Until(sent_ns);
            }
            self.publish(out, on_time(sent_ns, now_ns));
        }
    }

    /// Acknowledgements open the quota one by one: to wait for several would let the delayed acknowledgements of
    /// TCP (40 ms) meet brokers that leave Nagle's algorithm on.
    fn has_quota(&self) -> bool {
        if self.qos == QoS::AtMostOnce {
            return true;
        }
        let quota = match self.pace {
            Pace::Window(window) => self.server_quota.min(window).min(self.in_flight),
            Pace::Every(_) => self.server_quota.min(self.in_flight),
        };
        let oldest = self.inflight.front().map_or(self.next, |flight| flight.sequence);
        self.inflight.len() < quota && self.next - oldest < ID_SPAN - 1
    }

    fn window_closed(&mut self, window: usize, seen: &dyn Fn() -> u64) -> Option<Wait> {
        let window = u64::try_from(window).unwrap_or(u64::MAX);
        if self.next < self.floor.saturating_add(window) {
            return None;
        }
        self.floor = self.floor.max(seen());
        if self.next < self.floor.saturating_add(window) {
            return None;
        }
        // Not for each single message: a quarter of the window at once costs fewer wake-ups and writes.
        Some(Wait::Seen(self.next - window + (window / 4).max(1)))
    }

    fn publish(&mut self, out: &mut Vec<u8>, sent_ns: u64) {
        let sequence = self.next;
        self.next += 1;
        if self.qos != QoS::AtMostOnce {
            self.inflight.push_back(Flight { sequence, sent_ns, stage: Stage::Published });
        }
        self.write(out, sequence, sent_ns, false);
    }

    fn write(&self, out: &mut Vec<u8>, sequence: u64, sent_ns: u64, dup: bool) {
        let head = Head { run: self.run, publisher: self.number, sequence, sent_ns };
        let topics = u64::try_from(self.templates.len()).unwrap_or(u64::MAX).max(1);
        let turn = usize::try_from(sequence % topics).unwrap_or_default();
        if let Some(template) = self.templates.get(turn) {
            template.write(out, id_of(sequence), head, dup);
        }
    }

    /// PUBACK, PUBREC or PUBCOMP. Returns how many messages became acknowledged.
    pub(crate) fn acknowledge(&mut self, kind: AckKind, ack: &Ack<'_>, out: &mut Vec<u8>) -> u64 {
        let Some(place) = self.place_of(ack.packet_id) else { return 0 };
        let Some(flight) = self.inflight.get_mut(place) else { return 0 };
        match kind {
            AckKind::PubRec if !ack.reason.is_error() => {
                flight.stage = Stage::Released;
                let release = Ack::of(ack.packet_id, ReasonCode::Success);
                codec::ack(out, self.version, AckKind::PubRel, &release);
                0
            }
            AckKind::PubAck | AckKind::PubRec | AckKind::PubRel | AckKind::PubComp => {
                let sequence = flight.sequence;
                self.inflight.remove(place);
                if ack.reason.is_error() {
                    self.given_up.push(sequence);
                    return 0;
                }
                self.acknowledged += 1;
                1
            }
        }
    }

    fn place_of(&self, id: PacketId) -> Option<usize> {
        // Acknowledgements mostly come in order, so it mostly is the first.
        let oldest = self.inflight.front()?.sequence;
        let ahead = (u64::from(id.get()) + ID_SPAN - 1 - oldest % ID_SPAN) % ID_SPAN;
        let sequence = oldest + ahead;
        self.inflight.binary_search_by_key(&sequence, |flight| flight.sequence).ok()
    }

    /// A new connection is served: sends again what was in flight `[MQTT5-4.4.0-1]`.
    pub(crate) fn resume(&mut self, out: &mut Vec<u8>, session_present: bool, quota: Option<u16>) {
        self.server_quota = usize::from(quota.unwrap_or(u16::MAX));
        if !session_present {
            // The broker has forgotten the exchanges: what it had taken over is its own now, and what it had not
            // is published anew.
            let released = |flight: &&Flight| flight.stage == Stage::Released;
            self.given_up.extend(self.inflight.iter().filter(released).map(|f| f.sequence));
            self.inflight.retain(|flight| flight.stage == Stage::Published);
        }
        let again = self.inflight.iter().filter(|flight| flight.stage == Stage::Published);
        self.resent.extend(again.map(|flight| flight.sequence));
        for flight in &self.inflight {
            let packet_id = id_of(flight.sequence);
            match flight.stage {
                Stage::Published => {
                    self.write(out, flight.sequence, flight.sent_ns, session_present);
                }
                Stage::Released => {
                    let release = Ack::of(packet_id, ReasonCode::Success);
                    codec::ack(out, self.version, AckKind::PubRel, &release);
                }
            }
        }
    }
}

/// When a message that was due then is said to be sent: at `now_ns` if only our timer, which counts milliseconds,
/// was late. Longer delays are waiting that the receiver must see.
pub(crate) const fn on_time(due_ns: u64, now_ns: u64) -> u64 {
    const TIMER_NS: u64 = 2_000_000;
    if now_ns.saturating_sub(due_ns) < TIMER_NS { now_ns } else { due_ns }
}

fn id_of(sequence: u64) -> PacketId {
    let id = u16::try_from(sequence % ID_SPAN + 1).unwrap_or(1);
    PacketId::new(id).unwrap_or(PacketId(std::num::NonZeroU16::MIN))
}

/// A PUBLISH encoded once; each message is a copy with a few bytes patched.
#[derive(Debug)]
struct Template {
    bytes: Vec<u8>,
    /// Where the packet id stands; 0 at `QoS` 0.
    id_at: usize,
    head_at: usize,
}

impl Template {
    fn new(plan: &Plan, topic: &str) -> Self {
        let payload = vec![b'.'; plan.payload_bytes];
        let mut bytes = Vec::new();
        let publish = Publish {
            dup: false,
            qos: plan.qos,
            retain: false,
            topic,
            packet_id: (plan.qos != QoS::AtMostOnce).then_some(id_of(0)),
            properties: PublishProperties::default(),
            payload: &payload,
        };
        let id_at = codec::publish_client(&mut bytes, plan.version, &publish);
        Self { head_at: bytes.len() - payload.len(), bytes, id_at }
    }

    fn write(&self, out: &mut Vec<u8>, id: PacketId, head: Head, dup: bool) {
        let start = out.len();
        out.extend_from_slice(&self.bytes);
        let Some(packet) = out.get_mut(start..) else { return };
        if let (true, Some(first)) = (dup, packet.first_mut()) {
            *first |= 0x08;
        }
        if self.id_at > 0
            && let Some(place) = packet.get_mut(self.id_at..self.id_at + 2)
        {
            place.copy_from_slice(&id.get().to_be_bytes());
        }
        if let Some(place) = packet.get_mut(self.head_at..self.head_at + Head::BYTES) {
            place.copy_from_slice(&head.encode());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::mqtt::{Packet, codec::Sender};

    fn publishing(args: &[&str]) -> Publishing {
        use clap::Parser;
        let all = ["device-sim", "run", "--broker", "localhost:1883"].iter().chain(args);
        let crate::Args::Run(run) = crate::Args::try_parse_from(all).unwrap() else {
            panic!("a run")
        };
        Publishing::new(&Plan::try_from(*run).unwrap(), 0, 9)
    }

    fn packets(mut out: &[u8]) -> Vec<(u64, u16, bool)> {
        let mut all = Vec::new();
        while let Some(len) = codec::frame(out, u32::MAX).unwrap() {
            let packet = codec::decode(&out[..len], Version::V311, Sender::Client).unwrap();
            if let Packet::Publish(publish) = packet {
                let head = Head::decode(publish.payload).unwrap();
                let id = publish.packet_id.map_or(0, PacketId::get);
                all.push((head.sequence, id, publish.dup));
            }
            out = &out[len..];
        }
        all
    }

    #[test]
    fn a_window_opens_as_receivers_see_and_brokers_acknowledge() {
        let mut publishing = publishing(&["--window", "4", "--count", "10", "-q", "1"]);
        let mut out = Vec::new();
        assert_eq!(publishing.fill(&mut out, 0, &|| 0), Wait::Input);
        let ids = [(0, 1, false), (1, 2, false), (2, 3, false), (3, 4, false)];
        assert_eq!(packets(&out), ids);
        let ack = |id| Ack::of(PacketId::new(id).unwrap(), ReasonCode::Success);
        assert_eq!(publishing.acknowledge(AckKind::PubAck, &ack(2), &mut out), 1);
        assert_eq!(publishing.acknowledge(AckKind::PubAck, &ack(2), &mut out), 0);
        assert_eq!(publishing.acknowledge(AckKind::PubAck, &ack(1), &mut out), 1);
        out.clear();
        assert_eq!(publishing.fill(&mut out, 0, &|| 0), Wait::Seen(1));
        assert_eq!(publishing.fill(&mut out, 0, &|| 1), Wait::Seen(2));
        assert_eq!(packets(&out), [(4, 5, false)]);
        out.clear();
        publishing.resume(&mut out, true, None);
        assert_eq!(packets(&out), [(2, 3, true), (3, 4, true), (4, 5, true)]);
        assert_eq!((publishing.published(), publishing.acknowledged()), (5, 2));
        publishing.stop(&mut out, 0);
        assert!(!publishing.is_settled());
        assert_eq!(publishing.unacknowledged(), [2, 3, 4]);
    }

    #[test]
    fn fewer_are_in_flight_than_the_window_holds_if_so_told() {
        let mut publishing = publishing(&["--window", "64", "--in-flight", "2", "-q", "1"]);
        let mut out = Vec::new();
        assert_eq!(publishing.fill(&mut out, 0, &|| 0), Wait::Input);
        assert_eq!(packets(&out).len(), 2);
        let ack = Ack::of(PacketId::new(1).unwrap(), ReasonCode::Success);
        assert_eq!(publishing.acknowledge(AckKind::PubAck, &ack, &mut out), 1);
        publishing.fill(&mut out, 0, &|| 0);
        assert_eq!(packets(&out).len(), 3);
    }

    #[test]
    fn ids_stay_unique_when_sequence_numbers_pass_their_span() {
        let mut publishing = publishing(&["--window", "3", "--count", "200000", "-q", "1"]);
        let mut out = Vec::new();
        let mut acknowledged = 0;
        while !publishing.is_settled() {
            out.clear();
            publishing.fill(&mut out, 0, &|| u64::MAX);
            for (_, id, _) in packets(&out) {
                let ack = Ack::of(PacketId::new(id).unwrap(), ReasonCode::Success);
                acknowledged += publishing.acknowledge(AckKind::PubAck, &ack, &mut Vec::new());
            }
        }
        assert_eq!(acknowledged, 200_000);
    }

    #[test]
    fn a_rate_is_kept_by_the_times_messages_are_due() {
        let mut publishing = publishing(&["--rate", "1000", "--count", "10"]);
        let mut out = Vec::new();
        let far = || u64::MAX;
        assert_eq!(publishing.fill(&mut out, 5_000_000, &far), Wait::Until(6_000_000));
        assert_eq!(publishing.fill(&mut out, 7_500_000, &far), Wait::Until(8_000_000));
        assert_eq!(packets(&out).len(), 3);
    }

    #[test]
    fn what_is_due_when_a_run_ends_is_published_and_nothing_else() {
        let mut late = publishing(&["--rate", "1000", "--seconds", "0.01"]);
        let mut out = Vec::new();
        late.begin(1_000_000);
        assert_eq!(late.fill(&mut out, 1_000_000, &|| 0), Wait::Until(2_000_000));
        late.stop(&mut out, 30_000_000);
        assert!(late.is_settled());
        assert_eq!(packets(&out).len(), 10);
        let mut interrupted = publishing(&["--rate", "1000", "--seconds", "10"]);
        interrupted.begin(0);
        interrupted.stop(&mut out, 2_500_000);
        assert_eq!(interrupted.published(), 3);
        let mut away = publishing(&["--rate", "1000", "--seconds", "10"]);
        away.begin(0);
        away.stop_at_once();
        away.stop(&mut out, 5_000_000);
        assert_eq!((away.published(), away.is_settled()), (0, true));
    }

    #[test]
    fn an_exchange_of_qos_2_ends_with_pubcomp() {
        let mut publishing = publishing(&["--count", "1", "-q", "2"]);
        let mut out = Vec::new();
        publishing.fill(&mut out, 0, &|| 0);
        out.clear();
        let ack = Ack::of(PacketId::new(1).unwrap(), ReasonCode::Success);
        assert_eq!(publishing.acknowledge(AckKind::PubRec, &ack, &mut out), 0);
        assert_eq!(out, [0x62, 2, 0, 1]);
        out.clear();
        publishing.resume(&mut out, true, Some(10));
        assert_eq!(out, [0x62, 2, 0, 1]);
        assert_eq!(publishing.acknowledge(AckKind::PubComp, &ack, &mut out), 1);
        assert!(publishing.is_settled());
    }
}
