//! Packets of a client, and packets of the gateway in words.

use std::sync::Arc;

use access::Identity;
use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{
    Ack, Disconnect, Filter, Packet, Publish, PublishProperties, ReasonCode, RetainHandling,
    Subscribe, SubscribeOptions, Unsubscribe, Version,
};
use protocol::session::StoredWill;
use protocol::{ClientId, PacketId, Publication, QoS};

use crate::hub::ConnectRequest;

pub(super) const Q0: QoS = QoS::AtMostOnce;
pub(super) const Q1: QoS = QoS::AtLeastOnce;
pub(super) const Q2: QoS = QoS::ExactlyOnce;

pub(super) fn id(number: u16) -> PacketId {
    PacketId::new(number).unwrap()
}

pub(super) fn client(name: &str) -> ClientId {
    ClientId::new(name).unwrap()
}

/// A 5.0 client that wants no session kept.
pub(crate) fn clean(name: &str) -> ConnectRequest {
    ConnectRequest {
        version: Version::V5,
        waited: std::time::Duration::ZERO,
        returned: false,
        client: client(name),
        assigned: false,
        clean_start: true,
        keep_alive_s: 0,
        expiry_s: 0,
        receive_maximum: 1000,
        max_packet_bytes: u32::MAX,
        topic_alias_maximum: 0,
        problem_information: true,
        wants_response_topic: false,
        bad_will_payload: false,
        will: None,
        secure: false,
        position: None,
        identity: Arc::new(Identity::anonymous(client(name))),
        authenticated: None,
    }
}

/// A 5.0 client whose session is kept for an hour.
pub(super) fn durable(name: &str) -> ConnectRequest {
    ConnectRequest { clean_start: false, expiry_s: 3600, ..clean(name) }
}

/// A 3.1.1 client without a session.
pub(super) fn old(name: &str) -> ConnectRequest {
    ConnectRequest { version: Version::V311, ..clean(name) }
}

/// A will at QoS 1 on topic `will`.
pub(super) fn will(payload: &str, delay_s: u32) -> StoredWill {
    StoredWill {
        publication: Publication::new("will", &[], payload.as_bytes(), Q1, false),
        delay_s,
        expiry_s: None,
    }
}

pub(crate) fn publish<'a>(topic: &'a str, payload: &'a str, qos: QoS, number: u16) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id: PacketId::new(number),
        properties: PublishProperties::default(),
        payload: payload.as_bytes(),
    }
}

pub(super) fn retained<'a>(topic: &'a str, payload: &'a str, qos: QoS, number: u16) -> Publish<'a> {
    Publish { retain: true, ..publish(topic, payload, qos, number) }
}

pub(crate) fn bytes(version: Version, publish: &Publish<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    if let Some(alias) = publish.properties.topic_alias {
        // The encoder of a lean client knows no empty topic.
        assert!(version == Version::V5 && alias < 128 && publish.payload.len() < 100);
        let id = publish.packet_id.map(|id| id.get().to_be_bytes());
        let mut body = u16::try_from(publish.topic.len()).unwrap().to_be_bytes().to_vec();
        body.extend_from_slice(publish.topic.as_bytes());
        body.extend(id.into_iter().flatten());
        body.extend_from_slice(&[3, 0x23, 0]);
        body.push(u8::try_from(alias).unwrap());
        body.extend_from_slice(publish.payload);
        out.push(0x30 | publish.qos.bits() << 1);
        out.push(u8::try_from(body.len()).unwrap());
        out.extend_from_slice(&body);
        return out;
    }
    codec::publish_client(&mut out, version, publish);
    out
}

pub(crate) fn filter(text: &str, qos: QoS) -> Filter<'_> {
    let options = SubscribeOptions {
        qos,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    Filter { text, options }
}

pub(crate) fn subscribe(version: Version, number: u16, filters: &[Filter<'_>]) -> Vec<u8> {
    subscribe_as(version, number, None, filters)
}

pub(super) fn subscribe_as(
    version: Version,
    number: u16,
    subscription_id: Option<u32>,
    filters: &[Filter<'_>],
) -> Vec<u8> {
    let mut out = Vec::new();
    let subscribe = Subscribe { packet_id: id(number), subscription_id, filters: filters.to_vec() };
    codec::subscribe(&mut out, version, &subscribe);
    out
}

pub(super) fn unsubscribe(number: u16, filters: &[&str]) -> Vec<u8> {
    let mut out = Vec::new();
    let unsubscribe = Unsubscribe { packet_id: id(number), filters: filters.to_vec() };
    codec::unsubscribe(&mut out, Version::V5, &unsubscribe);
    out
}

pub(super) fn ack(kind: AckKind, number: u16) -> Vec<u8> {
    refusal(kind, number, ReasonCode::Success)
}

/// An acknowledgement that says no.
pub(super) fn refusal(kind: AckKind, number: u16, reason: ReasonCode) -> Vec<u8> {
    let mut out = Vec::new();
    codec::ack(&mut out, Version::V5, kind, &Ack::of(id(number), reason));
    out
}

pub(super) fn ping() -> Vec<u8> {
    let mut out = Vec::new();
    codec::pingreq(&mut out);
    out
}

/// DISCONNECT in 5.0.
pub(crate) fn disconnect(reason: ReasonCode, session_expiry_s: Option<u32>) -> Vec<u8> {
    let mut out = Vec::new();
    let disconnect = Disconnect { session_expiry_s, ..Disconnect::of(reason) };
    codec::disconnect(&mut out, Version::V5, &disconnect);
    out
}

/// A packet of the gateway: `PUBLISH topic payload q1 #5 dup retain`, `PUBACK #5`, `CONNACK Success present`.
pub(super) fn text(packet: &Packet<'_>) -> String {
    match packet {
        Packet::ConnAck(ack) => {
            let method = ack.authentication_method.map(|it| format!(" by {it}"));
            let present = flag(ack.session_present, " present");
            format!("CONNACK {:?}{present}{}", ack.reason, method.unwrap_or_default())
        }
        Packet::Publish(publish) => publish_text(publish),
        Packet::PubAck(ack) => ack_text("PUBACK", ack),
        Packet::PubRec(ack) => ack_text("PUBREC", ack),
        Packet::PubRel(ack) => ack_text("PUBREL", ack),
        Packet::PubComp(ack) => ack_text("PUBCOMP", ack),
        Packet::SubAck(ack) => format!("SUBACK #{} {:?}", ack.packet_id.get(), ack.reasons),
        Packet::UnsubAck(ack) => format!("UNSUBACK #{} {:?}", ack.packet_id.get(), ack.reasons),
        Packet::PingResp => "PINGRESP".to_owned(),
        Packet::Auth(auth) => {
            let data = String::from_utf8_lossy(auth.data.unwrap_or_default());
            format!("AUTH {:?} {} {data}", auth.reason, auth.method.unwrap_or_default())
        }
        Packet::Disconnect(disconnect) => {
            let reference = disconnect.server_reference.map(|r| format!(" {r}"));
            format!("DISCONNECT {:?}{}", disconnect.reason, reference.unwrap_or_default())
        }
        Packet::Connect(_) | Packet::Subscribe(_) | Packet::Unsubscribe(_) | Packet::PingReq => {
            panic!("a gateway never sends {packet:?}")
        }
    }
}

fn publish_text(publish: &Publish<'_>) -> String {
    let payload = std::str::from_utf8(publish.payload).unwrap();
    let number = publish.packet_id.map(|id| format!(" #{}", id.get())).unwrap_or_default();
    let mut ids = publish.properties.subscription_ids.clone();
    ids.sort_unstable();
    let ids = if ids.is_empty() { String::new() } else { format!(" by {ids:?}") };
    let expiry = publish.properties.message_expiry_s.map(|s| format!(" for {s} s"));
    format!(
        "PUBLISH {} {payload} q{}{number}{}{}{ids}{}",
        publish.topic,
        publish.qos.bits(),
        flag(publish.dup, " dup"),
        flag(publish.retain, " retain"),
        expiry.unwrap_or_default(),
    )
}

fn ack_text(name: &str, ack: &Ack<'_>) -> String {
    let number = ack.packet_id.get();
    if ack.reason == ReasonCode::Success {
        return format!("{name} #{number}");
    }
    format!("{name} #{number} {:?}", ack.reason)
}

const fn flag(set: bool, word: &str) -> &str {
    if set { word } else { "" }
}
