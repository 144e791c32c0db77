//! What devices say: the client's half of MQTT, kept strictly.

use protocol::mqtt::Version;
use protocol::mqtt::codec::{self, AckKind, Sender};
use protocol::mqtt::{
    Ack, ConnAck, Filter, Packet, Publish, PublishProperties, ReasonCode, RetainHandling,
    Subscribe, SubscribeOptions, Unsubscribe,
};
use protocol::{PacketId, QoS, matches};

use super::agenda::{Event, Urge};
use super::around::Around;
use super::device::{Bookmarks, Device, Open, Subscribed};
use super::facts::{Delivered, Kind};
use super::truth::number_of;

/// Topics that are published to.
pub(super) const TOPICS: [&str; 9] =
    ["t/0", "t/1", "t/2/x", "u/0", "u/1", "r/0", "r/1", "s/0", "s/1"];
/// Those whose publications are retained.
pub(super) const RETAINED: std::ops::Range<usize> = 5..7;
/// Filters to choose from.
pub(super) const FILTERS: [&str; 12] =
    ["t/0", "t/1", "t/+", "t/2/#", "u/0", "u/+", "t/#", "#", "w/+", "w/0", "r/#", "r/0"];
/// Filters of shared groups; a device is in one of them at most, and then has no other filter for their topics.
pub(super) const SHARED: [&str; 3] = ["$share/g/s/+", "$share/g/s/0", "$share/h/s/+"];
/// The user property that shows a position, and the one that answers.
pub(super) const POSITION: &str = "tidegate-position";
const VERDICT: &str = "tidegate-resume";
/// Publications that a device leaves open at once.
const OPEN: usize = 6;

impl Device {
    pub(super) fn handle_bytes(&mut self, packet: &[u8], around: &mut Around) {
        let packet = match codec::decode(packet, self.version, Sender::Server) {
            Ok(packet) => packet,
            Err(violation) => {
                return around.truth.breach("codec", format!("{} got {violation:?}", self.name));
            }
        };
        match packet {
            Packet::ConnAck(ack) => self.handle_connack(&ack, around),
            Packet::Publish(publish) => self.handle_publish(&publish, around),
            Packet::PubAck(ack) => self.handle_puback(ack, around),
            Packet::PubRec(ack) => self.handle_pubrec(ack, around),
            Packet::PubRel(ack) => {
                self.inbound.remove(&ack.packet_id.get());
                self.answer(AckKind::PubComp, ack.packet_id, around);
            }
            Packet::PubComp(ack) => self.open.retain(|open| open.id != ack.packet_id.get()),
            Packet::SubAck(ack) => self.handle_suback(ack.packet_id.get()),
            Packet::UnsubAck(ack) => {
                let left = Subscribed::Leaving(ack.packet_id.get());
                let which = self.subscribed.iter().find(|(_, state)| **state == left);
                let filter = which.and_then(|(which, _)| self.filters.get(*which));
                if let Some((filter, _)) = filter {
                    around.truth.unsubscribed(self.index, filter, around.now);
                }
                self.subscribed.retain(|_, state| *state != left);
            }
            Packet::Disconnect(disconnect) => {
                around
                    .note(format_args!("{} is told to leave: {:?}", self.name, disconnect.reason));
                self.drop_link(true, around);
            }
            Packet::PingResp => {}
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq
            | Packet::Auth(_) => {
                around.truth.breach("codec", format!("{} got a client's packet", self.name));
            }
        }
    }

    fn handle_connack(&mut self, ack: &ConnAck<'_>, around: &mut Around) {
        if ack.reason != ReasonCode::Success {
            around.note(format_args!("{} is refused: {:?}", self.name, ack.reason));
            return self.drop_link(true, around);
        }
        around.note(format_args!("{} is in, session present {}", self.name, ack.session_present));
        if let Some(link) = &mut self.link {
            link.up = true;
        }
        if ack.session_present && (self.wants_clean || !self.persistent) {
            around.truth.breach("S2", format!("{} wanted a new session", self.name));
        }
        self.wants_clean = false;
        self.take_bookmarks(ack, around);
        if ack.session_present {
            self.resend(around);
        } else {
            self.begin_session(around);
        }
        self.established = self.persistent;
        self.subscribe_all(around);
        self.after_greeting(around);
    }

    /// What became of the position that it showed.
    fn take_bookmarks(&mut self, ack: &ConnAck<'_>, around: &mut Around) {
        let (Some(bookmarks), Some(link)) = (&mut self.bookmarks, &self.link) else { return };
        let verdict = ack.user.iter().find(|(name, _)| *name == VERDICT).map(|(_, said)| *said);
        if !ack.session_present {
            *bookmarks = Bookmarks::default();
        }
        let verdict = verdict.filter(|_| ack.session_present).unwrap_or("start");
        around.note(format_args!("{} resumes: {verdict}", self.name));
        around.truth.resumed((&self.name, link.wire), &bookmarks.shows, verdict);
    }

    /// A position came, with a message or without one.
    fn take_position(&mut self, publish: &Publish<'_>, around: &mut Around) -> bool {
        let (Some(bookmarks), Some(link)) = (&mut self.bookmarks, &self.link) else { return false };
        let Some(position) = position_in(&publish.properties.end_to_end) else { return false };
        bookmarks.seen.push(position.to_owned());
        around.truth.shown((&self.name, link.wire), position);
        true
    }

    /// Everything that is not acknowledged, in the order it was sent [MQTT5-4.4.0-1].
    fn resend(&mut self, around: &mut Around) {
        // What was asked on another connection may never have come.
        self.subscribed.retain(|_, state| *state == Subscribed::Held);
        for open in self.open.clone() {
            if open.released {
                self.answer_id(AckKind::PubRel, open.id, around);
            } else {
                self.send_publish(open.message, open.id, true, around);
            }
        }
        self.ask_again(around);
    }

    /// Asks for everything that it wants and has not got.
    pub(super) fn subscribe_all(&mut self, around: &mut Around) {
        for which in 0..self.filters.len() {
            if !self.subscribed.contains_key(&which) {
                self.subscribe(which, around);
            }
        }
    }

    pub(super) fn subscribe(&mut self, which: usize, around: &mut Around) {
        let id = self.next_id();
        let (Some((text, qos)), Some(link)) = (self.filters.get(which), &self.link) else { return };
        let Some(packet_id) = PacketId::new(id) else { return };
        let options = SubscribeOptions {
            qos: *qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let filters = vec![Filter { text, options }];
        let subscription_id = self.numbered.then(|| number_of_filter(which));
        let subscribe = Subscribe { packet_id, subscription_id, filters };
        let mut out = Vec::new();
        codec::subscribe(&mut out, self.version, &subscribe);
        around.note(format_args!("{} subscribes to {text} at {qos:?}", self.name));
        around.truth.subscribes((link.wire, id), (text, *qos), around.now);
        self.subscribed.insert(which, Subscribed::Asked(id));
        self.say(&out, around);
    }

    fn handle_suback(&mut self, id: u16) {
        for state in self.subscribed.values_mut() {
            if *state == Subscribed::Asked(id) {
                *state = Subscribed::Held;
            }
        }
    }

    pub(super) fn unsubscribe(&mut self, around: &mut Around) {
        let held = |(_, state): &(&usize, &Subscribed)| **state == Subscribed::Held;
        let Some(which) = self.subscribed.iter().find(held).map(|(which, _)| *which) else {
            return;
        };
        let id = self.next_id();
        let (Some((text, _)), Some(packet_id)) = (self.filters.get(which), PacketId::new(id))
        else {
            return;
        };
        let mut out = Vec::new();
        let unsubscribe = Unsubscribe { packet_id, filters: vec![text] };
        codec::unsubscribe(&mut out, self.version, &unsubscribe);
        around.note(format_args!("{} unsubscribes from {text}", self.name));
        around.truth.unsubscribes(self.index, text, around.now);
        self.subscribed.insert(which, Subscribed::Leaving(id));
        self.say(&out, around);
    }

    pub(super) fn publish_now_and_then(&mut self, around: &mut Around) {
        if self.settled {
            return;
        }
        let ms = around.random.between(self.pause_ms / 4, self.pause_ms * 7 / 4);
        around.after_ms(ms, Event::Device(self.index, Urge::Publish));
        if !self.is_up() {
            return;
        }
        // Some in a row, so that their order can be wrong.
        for _ in 0..around.random.between(1, 3) {
            self.publish(around);
        }
        self.ask_of_shadow(around);
    }

    fn publish(&mut self, around: &mut Around) {
        let topic = around.random.place(TOPICS.len());
        let qos = match around.random.below(5) {
            0 => QoS::AtMostOnce,
            1 | 2 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        let kind = self.kind(topic, around);
        if qos != QoS::AtMostOnce && self.open.len() >= OPEN {
            return;
        }
        let message = around.truth.new_message(self.index, topic, (qos, kind), around.now);
        if qos == QoS::AtMostOnce {
            return self.send_publish(message, 0, false, around);
        }
        let id = self.next_id();
        self.open.push_back(Open { id, message, released: false });
        self.send_publish(message, id, false, around);
    }

    fn kind(&self, topic: usize, around: &mut Around) -> Kind {
        let retain = RETAINED.contains(&topic);
        let empty = retain && around.random.percent(15);
        let short_lived = self.version == Version::V5 && around.random.percent(12);
        let expiry_s = u32::try_from(around.random.between(1, 4)).ok().filter(|_| short_lived);
        Kind { retain, empty, expiry_s }
    }

    fn send_publish(&mut self, message: usize, id: u16, dup: bool, around: &mut Around) {
        let Some(link) = &self.link else { return };
        let sent = around.truth.sends(message, link.wire, id, around.now);
        let Some((topic, qos, kind)) = sent else { return };
        let mut payload = Vec::new();
        if !kind.empty {
            payload.extend(u32::try_from(message).unwrap_or(u32::MAX).to_be_bytes());
            payload.resize(4 + message % 90, 0);
        }
        let publish = Publish {
            dup,
            qos,
            retain: kind.retain,
            topic,
            packet_id: PacketId::new(id),
            properties: PublishProperties {
                message_expiry_s: kind.expiry_s,
                ..PublishProperties::default()
            },
            payload: &payload,
        };
        let mut out = Vec::new();
        codec::publish_client(&mut out, self.version, &publish);
        let level = qos.bits();
        let with = match (kind.empty, kind.expiry_s) {
            (true, _) => ", without payload",
            (false, Some(_)) => ", for a while",
            (false, None) => "",
        };
        around.note(format_args!(
            "{} sends m{message} to {topic} at {level}, id {id}, dup {dup}, wire {}{with}",
            self.name, link.wire.0
        ));
        self.say(&out, around);
    }

    fn handle_puback(&mut self, ack: Ack<'_>, around: &mut Around) {
        let id = ack.packet_id.get();
        if ack.reason.is_error() {
            around.note(format_args!("{} is refused id {id}: {:?}", self.name, ack.reason));
        }
        self.close(id, ack.reason.is_error(), around);
    }

    fn handle_pubrec(&mut self, ack: Ack<'_>, around: &mut Around) {
        let id = ack.packet_id.get();
        if ack.reason.is_error() {
            return self.close(id, true, around);
        }
        if let Some(open) = self.open.iter_mut().find(|open| open.id == id) {
            open.released = true;
        }
        self.answer_id(AckKind::PubRel, id, around);
    }

    fn close(&mut self, id: u16, refused: bool, around: &mut Around) {
        if self.asks.as_mut().is_some_and(|asks| asks.close(id)) {
            return;
        }
        if let Some(at) = self.open.iter().position(|open| open.id == id)
            && let Some(open) = self.open.remove(at)
            && refused
        {
            around.truth.abandoned(open.message);
        }
    }

    fn handle_publish(&mut self, publish: &Publish<'_>, around: &mut Around) {
        let Some(link) = &self.link else { return };
        let wire = link.wire;
        let id = publish.packet_id.map_or(0, PacketId::get);
        let (qos, dup, retain) = (publish.qos, publish.dup, publish.retain);
        let placed = self.take_position(publish, around);
        if self.hear_of_shadow(publish, around) {
            return self.acknowledge(publish, around);
        }
        if publish.payload.is_empty() {
            around.note(format_args!("{} gets nothing on {}, id {id}", self.name, publish.topic));
        } else {
            let message = number_of(publish.payload).unwrap_or(usize::MAX);
            let fresh = qos != QoS::ExactlyOnce || !self.inbound.contains(&id);
            let level = qos.bits();
            let kept = if retain { ", retained" } else { "" };
            around.note(format_args!(
                "{} gets m{message} at {level}, id {id}, dup {dup}, wire {}{kept}",
                self.name, wire.0
            ));
            self.check_identifiers((publish, message), around);
            let now = around.now;
            let delivered = Delivered { message, qos, dup, retain, fresh, placed, wire };
            around.truth.received(self, delivered, now);
        }
        self.acknowledge(publish, around);
    }

    fn acknowledge(&mut self, publish: &Publish<'_>, around: &mut Around) {
        match publish.packet_id {
            Some(id) if publish.qos == QoS::ExactlyOnce => {
                self.inbound.insert(id.get());
                self.answer(AckKind::PubRec, id, around);
            }
            Some(id) => self.answer(AckKind::PubAck, id, around),
            None => {}
        }
    }

    /// A publication names the subscriptions that it is for, and no others (M7).
    fn check_identifiers(&self, (publish, message): (&Publish<'_>, usize), around: &mut Around) {
        let of = |id: u32| {
            let mut numbers = 0..self.filters.len();
            let which = numbers.find(|which| number_of_filter(*which) == id)?;
            self.filters.get(which).map(|(text, _)| text)
        };
        let fits = |text: &String| matches(plain(text), publish.topic);
        let ids = &publish.properties.subscription_ids;
        let foreign = ids.iter().any(|id| !of(*id).is_some_and(fits));
        let held = around.truth.is_held((self.index, self.life), message);
        let expected = self.numbered && held;
        if foreign || (!self.numbered && !ids.is_empty()) || (expected && ids.is_empty()) {
            let what = format!("{} got {} with identifiers {ids:?}", self.name, publish.topic);
            around.truth.breach("M7", what);
        }
    }

    fn answer_id(&self, kind: AckKind, id: u16, around: &mut Around) {
        if let Some(id) = PacketId::new(id) {
            self.answer(kind, id, around);
        }
    }

    fn answer(&self, kind: AckKind, id: PacketId, around: &mut Around) {
        let mut out = Vec::new();
        codec::ack(&mut out, self.version, kind, &Ack::of(id, ReasonCode::Success));
        self.say(&out, around);
    }
}

/// The position among the properties of a publication; nobody gives it others.
fn position_in(properties: &[u8]) -> Option<&str> {
    let name = POSITION.as_bytes();
    let at = properties.windows(name.len()).position(|bytes| bytes == name)?;
    let value = properties.get(at + name.len()..)?;
    let (len, value) = value.split_first_chunk()?;
    std::str::from_utf8(value.get(..usize::from(u16::from_be_bytes(*len)))?).ok()
}

/// The subscription identifier of a device's filter.
fn number_of_filter(which: usize) -> u32 {
    u32::try_from(which + 1).unwrap_or(u32::MAX)
}

/// A filter without the name of its group.
pub(super) fn plain(filter: &str) -> &str {
    let shared = filter.strip_prefix("$share/").and_then(|rest| rest.split_once('/'));
    shared.map_or(filter, |(_, plain)| plain)
}
