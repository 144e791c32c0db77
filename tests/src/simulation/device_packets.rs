//! What devices say: the client's half of MQTT, kept strictly.

use protocol::mqtt::codec::{self, AckKind, Sender};
use protocol::mqtt::{
    Ack, ConnAck, Filter, Packet, Publish, PublishProperties, ReasonCode, RetainHandling,
    Subscribe, SubscribeOptions, Unsubscribe,
};
use protocol::{PacketId, QoS};

use super::agenda::{Event, Urge};
use super::around::Around;
use super::device::{Device, Open, Subscribed};
use super::truth::{Delivered, number_of};

/// Topics that are published to.
pub(super) const TOPICS: [&str; 5] = ["t/0", "t/1", "t/2/x", "u/0", "u/1"];
/// Filters to choose from.
pub(super) const FILTERS: [&str; 10] =
    ["t/0", "t/1", "t/+", "t/2/#", "u/0", "u/+", "t/#", "#", "w/+", "w/0"];
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
                let id = ack.packet_id.get();
                self.subscribed.retain(|_, state| *state != Subscribed::Leaving(id));
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
        self.wants_clean = false;
        if ack.session_present {
            self.resend(around);
        } else {
            self.begin_session(around);
        }
        self.established = self.persistent;
        self.subscribe_all(around);
        self.after_greeting(around);
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
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        let mut out = Vec::new();
        codec::subscribe(&mut out, self.version, &subscribe);
        around.note(format_args!("{} subscribes to {text} at {qos:?}", self.name));
        around.truth.subscribes(link.wire, id, text, *qos);
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
    }

    fn publish(&mut self, around: &mut Around) {
        let topic = around.random.place(TOPICS.len());
        let qos = match around.random.below(5) {
            0 => QoS::AtMostOnce,
            1 | 2 => QoS::AtLeastOnce,
            _ => QoS::ExactlyOnce,
        };
        if qos == QoS::AtMostOnce {
            let message = around.truth.new_message(self.index, topic, qos, around.now);
            return self.send_publish(message, 0, false, around);
        }
        if self.open.len() >= OPEN {
            return;
        }
        let message = around.truth.new_message(self.index, topic, qos, around.now);
        let id = self.next_id();
        self.open.push_back(Open { id, message, released: false });
        self.send_publish(message, id, false, around);
    }

    fn send_publish(&mut self, message: usize, id: u16, dup: bool, around: &mut Around) {
        let Some(link) = &self.link else { return };
        let Some((topic, qos)) = around.truth.sends(message, link.wire, id, around.now) else {
            return;
        };
        let mut payload = u32::try_from(message).unwrap_or(u32::MAX).to_be_bytes().to_vec();
        payload.resize(4 + message % 90, 0);
        let publish = Publish {
            dup,
            qos,
            retain: false,
            topic,
            packet_id: PacketId::new(id),
            properties: PublishProperties::default(),
            payload: &payload,
        };
        let mut out = Vec::new();
        codec::publish_client(&mut out, self.version, &publish);
        let level = qos.bits();
        around.note(format_args!(
            "{} sends m{message} to {topic} at {level}, id {id}, dup {dup}, wire {}",
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
        let message = number_of(publish.payload).unwrap_or(usize::MAX);
        let id = publish.packet_id.map_or(0, PacketId::get);
        let fresh = publish.qos != QoS::ExactlyOnce || !self.inbound.contains(&id);
        around.note(format_args!(
            "{} gets m{message} at {}, id {id}, dup {}, wire {}",
            self.name,
            publish.qos.bits(),
            publish.dup,
            wire.0
        ));
        let (qos, dup) = (publish.qos, publish.dup);
        let now = around.now;
        around.truth.received(self, Delivered { message, qos, dup, fresh, wire }, now);
        match publish.packet_id {
            Some(id) if publish.qos == QoS::ExactlyOnce => {
                self.inbound.insert(id.get());
                self.answer(AckKind::PubRec, id, around);
            }
            Some(id) => self.answer(AckKind::PubAck, id, around),
            None => {}
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
