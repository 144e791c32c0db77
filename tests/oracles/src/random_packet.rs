//! Random valid packets, written by our encoders, and damage to them.

use std::borrow::Cow;

use crate::mqtt::codec::{self, AckKind, Sender};
use crate::mqtt::{
    Ack, Auth, ConnAck, Connect, ConnectProperties, Disconnect, Filter, LastWill, Publish,
    PublishProperties, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeOptions, UnsubAck,
    Unsubscribe, Version, WillProperties,
};
use crate::mutation::{Random, mutated};
use protocol::{PacketId, QoS};

/// One whole packet and who sends it.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Its bytes.
    pub wire: Vec<u8>,
    /// Who sends it.
    pub from: Sender,
}

/// A valid packet of some kind, the same for the same seed.
pub fn sample(seed: u64, version: Version) -> Sample {
    let mut draw = Draw { random: Random::new(seed), version };
    let mut wire = Vec::new();
    let from = draw.packet(&mut wire);
    Sample { wire, from }
}

/// A valid packet with one to four damages.
pub fn damaged(seed: u64, version: Version) -> Sample {
    let Sample { wire, from } = sample(seed, version);
    let other = sample(!seed, version).wire;
    let mut wire = mutated(&[wire, other], &mut Random::new(!seed));
    // Most of the time the header fits again, so that the fields are reached.
    if !seed.is_multiple_of(8)
        && let Ok(short) = u8::try_from(wire.len().saturating_sub(2))
        && short < 128
        && let Some(length) = wire.get_mut(1)
    {
        *length = short;
    }
    Sample { wire, from }
}

struct Draw {
    random: Random,
    version: Version,
}

const TEXTS: [&str; 6] = ["a", "plant/7", "température", "日本/🦀", "x/y/z/0123456789", "$SYS/é"];
const FILTERS: [&str; 6] = ["a", "plant/+", "#", "日本/🦀/#", "+/+/x", "$share/g/a/+"];

impl Draw {
    fn coin(&mut self) -> bool {
        self.random.below(2) == 1
    }

    fn v5(&self) -> bool {
        self.version == Version::V5
    }

    /// True half of the time, in 5.0 only.
    fn coin5(&mut self) -> bool {
        self.coin() && self.v5()
    }

    fn text(&mut self) -> &'static str {
        TEXTS[self.random.below(TEXTS.len())]
    }

    fn filter(&mut self) -> &'static str {
        FILTERS[self.random.below(FILTERS.len())]
    }

    fn qos(&mut self) -> QoS {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.random.below(3)]
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(u16::try_from(1 + self.random.below(65_535)).unwrap()).unwrap()
    }

    fn number(&mut self) -> u32 {
        [0, 1, 77, u32::MAX][self.random.below(4)]
    }

    fn binary(&mut self) -> &'static [u8] {
        [&b""[..], b"secret", b"\x00\xff\x80", &[0xA5; 200]][self.random.below(4)]
    }

    fn why(&mut self) -> Option<&'static str> {
        self.coin5().then(|| self.text())
    }

    /// Properties that travel end to end, in the order in which most codecs write them.
    fn end_to_end(&mut self) -> Cow<'static, [u8]> {
        let pieces: [&[u8]; 5] = [
            b"\x01\x01",
            b"\x03\x00\x04text",
            b"\x08\x00\x01r",
            b"\x09\x00\x02\x00\xff",
            b"\x26\x00\x01k\x00\x01v",
        ];
        let mut out = Vec::new();
        for piece in pieces {
            if self.coin5() {
                out.extend_from_slice(piece);
            }
        }
        out.into()
    }

    fn packet(&mut self, out: &mut Vec<u8>) -> Sender {
        match self.random.below(if self.v5() { 13 } else { 11 }) {
            0 | 1 => self.connect(out),
            2..=4 => return self.publish(out),
            5 => self.subscribe(out),
            6 => return self.ack(out),
            7 => {
                let filters = vec![self.filter(), "b"];
                let unsubscribe = Unsubscribe { packet_id: self.packet_id(), filters };
                codec::unsubscribe(out, self.version, &unsubscribe);
            }
            8 => return self.connack(out),
            9 => return self.answer(out),
            10 => {
                if self.coin() {
                    codec::pingresp(out);
                    return Sender::Server;
                }
                codec::pingreq(out);
            }
            11 => return self.disconnect(out),
            _ => {
                let auth = Auth {
                    reason: ReasonCode::ContinueAuthentication,
                    method: Some(self.text()),
                    data: self.coin().then(|| self.binary()),
                    reason_string: self.why(),
                };
                codec::auth(out, &auth);
                return if self.coin() { Sender::Client } else { Sender::Server };
            }
        }
        Sender::Client
    }

    fn connect(&mut self, out: &mut Vec<u8>) {
        let mut properties = ConnectProperties::default();
        if self.v5() {
            properties.session_expiry_s = self.number();
            properties.receive_maximum = if self.coin() { 20 } else { u16::MAX };
            properties.maximum_packet_bytes = if self.coin() { 3_000 } else { u32::MAX };
            properties.topic_alias_maximum = if self.coin() { 4 } else { 0 };
            properties.request_response_information = self.coin();
            properties.request_problem_information = self.coin();
            if self.coin() {
                properties.authentication_method = Some(self.text());
                properties.authentication_data = self.coin().then(|| self.binary());
            }
            properties.user = (0..self.random.below(3)).map(|_| (self.text(), "v")).collect();
        } else {
            properties.session_expiry_s = 0;
        }
        let will = self.coin().then(|| LastWill {
            topic: self.text(),
            payload: self.binary(),
            qos: self.qos(),
            retain: self.coin(),
            properties: WillProperties {
                delay_s: if self.coin5() { 7 } else { 0 },
                message_expiry_s: self.coin5().then(|| self.number()),
                end_to_end: self.end_to_end(),
                ..WillProperties::default()
            },
        });
        let user_name = self.coin().then(|| self.text());
        let password = (self.coin() && (self.v5() || user_name.is_some())).then(|| self.binary());
        let connect = Connect {
            version: self.version,
            clean_start: true,
            keep_alive_s: 60,
            client_id: self.text(),
            will,
            user_name,
            password,
            properties,
        };
        codec::connect(out, &connect);
    }

    fn publish(&mut self, out: &mut Vec<u8>) -> Sender {
        let qos = self.qos();
        let from = if self.coin() { Sender::Client } else { Sender::Server };
        let mut properties = PublishProperties::default();
        if self.v5() {
            properties.topic_alias = self.coin().then_some(3);
            properties.message_expiry_s = self.coin().then(|| self.number());
            if from == Sender::Server {
                let ids = [1, 300, 268_435_455];
                properties.subscription_ids = ids.into_iter().take(self.random.below(4)).collect();
            }
            properties.end_to_end = self.end_to_end();
        }
        let hidden = properties.topic_alias.is_some() && self.coin();
        let publish = Publish {
            dup: qos != QoS::AtMostOnce && self.coin(),
            qos,
            retain: self.coin(),
            topic: if hidden { "" } else { self.text() },
            packet_id: (qos != QoS::AtMostOnce).then(|| self.packet_id()),
            properties,
            payload: self.binary(),
        };
        codec::publish_client(out, self.version, &publish);
        from
    }

    fn subscribe(&mut self, out: &mut Vec<u8>) {
        let mut filters = Vec::new();
        for _ in 0..=self.random.below(2) {
            let text = self.filter();
            let options = SubscribeOptions {
                qos: self.qos(),
                no_local: self.coin5() && !text.starts_with("$share/"),
                retain_as_published: self.coin5(),
                retain_handling: match self.v5() {
                    true => [RetainHandling::Send, RetainHandling::DoNotSend][self.random.below(2)],
                    false => RetainHandling::Send,
                },
            };
            filters.push(Filter { text, options });
        }
        let subscription_id = self.coin5().then_some(300);
        let subscribe = Subscribe { packet_id: self.packet_id(), subscription_id, filters };
        codec::subscribe(out, self.version, &subscribe);
    }

    fn ack(&mut self, out: &mut Vec<u8>) -> Sender {
        let kinds = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp];
        let kind = kinds[self.random.below(4)];
        let reason = match kind {
            _ if !self.coin5() => ReasonCode::Success,
            AckKind::PubAck | AckKind::PubRec => ReasonCode::QuotaExceeded,
            AckKind::PubRel | AckKind::PubComp => ReasonCode::PacketIdentifierNotFound,
        };
        let reason_string = self.why();
        let ack = Ack { packet_id: self.packet_id(), reason, reason_string };
        codec::ack(out, self.version, kind, &ack);
        if self.coin() { Sender::Client } else { Sender::Server }
    }

    fn connack(&mut self, out: &mut Vec<u8>) -> Sender {
        let mut ack = ConnAck::of(self.coin(), ReasonCode::Success);
        if self.coin() {
            ack = ConnAck::of(false, ReasonCode::NotAuthorized);
        }
        if self.v5() {
            ack.session_expiry_s = self.coin().then(|| self.number());
            ack.receive_maximum = self.coin().then_some(2);
            ack.maximum_packet_bytes = self.coin().then_some(3_000);
            ack.assigned_client_id = self.coin().then(|| self.text());
            ack.topic_alias_maximum = self.coin().then_some(4);
            ack.server_keep_alive_s = self.coin().then_some(5);
            ack.server_reference = self.coin().then_some("other:1883");
            ack.reason_string = self.why();
        }
        codec::connack(out, self.version, &ack);
        Sender::Server
    }

    fn answer(&mut self, out: &mut Vec<u8>) -> Sender {
        let packet_id = self.packet_id();
        let reason_string = self.why();
        if self.coin() {
            let reasons = vec![ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError];
            codec::suback(out, self.version, &SubAck { packet_id, reasons, reason_string });
        } else {
            let reasons = if self.v5() { vec![ReasonCode::NoSubscriptionExisted] } else { vec![] };
            codec::unsuback(out, self.version, &UnsubAck { packet_id, reasons, reason_string });
        }
        Sender::Server
    }

    fn disconnect(&mut self, out: &mut Vec<u8>) -> Sender {
        let mut disconnect = Disconnect::of(ReasonCode::ProtocolError);
        disconnect.reason_string = self.why();
        let from = if self.coin() { Sender::Client } else { Sender::Server };
        match from {
            Sender::Client => disconnect.session_expiry_s = self.coin().then(|| self.number()),
            Sender::Server => disconnect.server_reference = self.coin().then_some("other:1883"),
        }
        codec::disconnect(out, self.version, &disconnect);
        from
    }
}
