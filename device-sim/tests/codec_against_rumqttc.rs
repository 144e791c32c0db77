//! Our codec against rumqttc's: what one writes the other reads, and what we accept it accepts too.
//! Here and not in `protocol`, so that the cores need no foreign client to be tested.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]
#![expect(clippy::indexing_slicing, reason = "a test ends where it fails")]

use std::borrow::Cow;

use bytes::BytesMut;
use protocol::{
    PacketId, QoS,
    mqtt::{
        Ack, ConnAck, Connect, ConnectProperties, Disconnect, Filter, LastWill, Packet, Publish,
        PublishProperties, ReasonCode, RetainHandling, SubAck, Subscribe, SubscribeOptions,
        UnsubAck, Unsubscribe, Version, WillProperties,
        codec::{self, AckKind, Sender},
    },
};

const LIMIT: usize = 1_000_000;

struct XorShift(u64);

impl XorShift {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }

    fn coin(&mut self) -> bool {
        self.below(2) == 1
    }

    fn text(&mut self) -> &'static str {
        ["a", "plant/7", "température", "日本/🦀", "x/y/z/0123456789"][self.below(5)]
    }

    fn qos(&mut self) -> QoS {
        [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][self.below(3)]
    }

    fn packet_id(&mut self) -> PacketId {
        PacketId::new(u16::try_from(1 + self.below(65_535)).unwrap()).unwrap()
    }
}

fn a_connect(random: &mut XorShift, version: Version, out: &mut Vec<u8>) {
    let v5 = version == Version::V5;
    let mut properties = ConnectProperties::default();
    let mut will_properties = WillProperties::default();
    if v5 {
        properties.session_expiry_s = 10;
        properties.receive_maximum = 20;
        properties.maximum_packet_bytes = 3_000;
        properties.topic_alias_maximum = 4;
        properties.user = vec![(random.text(), random.text())];
        will_properties.delay_s = 7;
        will_properties.message_expiry_s = Some(8);
        will_properties.end_to_end = Cow::Borrowed(b"\x03\x00\x01t\x26\x00\x01k\x00\x01v");
    }
    let named = random.coin();
    let connect = Connect {
        version,
        clean_start: true,
        keep_alive_s: 60,
        client_id: random.text(),
        will: random.coin().then_some(LastWill {
            topic: "will",
            payload: b"gone",
            qos: QoS::AtLeastOnce,
            retain: true,
            properties: will_properties,
        }),
        user_name: named.then_some("name"),
        password: named.then_some(b"secret"),
        properties,
    };
    codec::connect(out, &connect);
}

fn a_publish(random: &mut XorShift, version: Version, out: &mut Vec<u8>) {
    let qos = random.qos();
    let mut properties = PublishProperties::default();
    if version == Version::V5 {
        properties.topic_alias = random.coin().then_some(3);
        properties.message_expiry_s = random.coin().then_some(9);
        // In the order in which rumqttc writes them.
        properties.end_to_end =
            Cow::Borrowed(b"\x01\x01\x08\x00\x01r\x09\x00\x01\xff\x26\x00\x01k\x00\x01v");
    }
    let publish = Publish {
        dup: qos != QoS::AtMostOnce && random.coin(),
        qos,
        retain: random.coin(),
        topic: random.text(),
        packet_id: (qos != QoS::AtMostOnce).then(|| random.packet_id()),
        properties,
        payload: &[0xA5; 200][..random.below(200)],
    };
    codec::publish_client(out, version, &publish);
}

fn a_subscribe(random: &mut XorShift, version: Version, out: &mut Vec<u8>) {
    let v5 = version == Version::V5;
    let options = SubscribeOptions {
        qos: random.qos(),
        no_local: v5 && random.coin(),
        retain_as_published: v5 && random.coin(),
        retain_handling: if v5 { RetainHandling::DoNotSend } else { RetainHandling::Send },
    };
    let filters = vec![Filter { text: random.text(), options }, Filter { text: "a/+/#", options }];
    let subscription_id = v5.then_some(300);
    let subscribe = Subscribe { packet_id: random.packet_id(), subscription_id, filters };
    codec::subscribe(out, version, &subscribe);
}

fn an_ack(random: &mut XorShift, version: Version, out: &mut Vec<u8>) {
    let kinds = [AckKind::PubAck, AckKind::PubRec, AckKind::PubRel, AckKind::PubComp];
    let kind = kinds[random.below(4)];
    let reason = match kind {
        _ if version != Version::V5 || random.coin() => ReasonCode::Success,
        AckKind::PubAck | AckKind::PubRec => ReasonCode::QuotaExceeded,
        AckKind::PubRel | AckKind::PubComp => ReasonCode::PacketIdentifierNotFound,
    };
    let v5_failed = version == Version::V5 && reason.is_error();
    let reason_string = (v5_failed && random.coin()).then_some("why");
    let ack = Ack { packet_id: random.packet_id(), reason, reason_string };
    codec::ack(out, version, kind, &ack);
}

fn a_connack(random: &mut XorShift, version: Version, out: &mut Vec<u8>) {
    let mut ack = ConnAck::of(random.coin(), ReasonCode::Success);
    if version == Version::V5 {
        ack.session_expiry_s = Some(1);
        ack.receive_maximum = Some(2);
        ack.maximum_packet_bytes = Some(3);
        ack.assigned_client_id = Some("id");
        ack.topic_alias_maximum = Some(4);
        ack.server_keep_alive_s = Some(5);
        ack.server_reference = Some("other:1883");
        ack.reason_string = Some("because");
    }
    codec::connack(out, version, &ack);
}

/// A valid packet of some kind and who sends it.
fn sample(random: &mut XorShift, version: Version) -> (Vec<u8>, Sender) {
    let mut out = Vec::new();
    let packet_id = random.packet_id();
    let why = (version == Version::V5).then_some("why");
    let from = match random.below(10) {
        0 => (a_connect(random, version, &mut out), Sender::Client).1,
        1..=3 => (a_publish(random, version, &mut out), Sender::Server).1,
        4 => (a_subscribe(random, version, &mut out), Sender::Client).1,
        5 => (an_ack(random, version, &mut out), Sender::Server).1,
        6 => (a_connack(random, version, &mut out), Sender::Server).1,
        7 => {
            let unsubscribe = Unsubscribe { packet_id, filters: vec![random.text(), "b"] };
            codec::unsubscribe(&mut out, version, &unsubscribe);
            Sender::Client
        }
        8 => {
            let reasons = vec![ReasonCode::GrantedQoS1, ReasonCode::UnspecifiedError];
            let ack = SubAck { packet_id, reasons, reason_string: why };
            codec::suback(&mut out, version, &ack);
            Sender::Server
        }
        _ => {
            let (reasons, reason_string) = match version {
                Version::V5 => (vec![ReasonCode::NoSubscriptionExisted], why),
                Version::V31 | Version::V311 => (vec![], None),
            };
            let ack = UnsubAck { packet_id, reasons, reason_string };
            codec::unsuback(&mut out, version, &ack);
            Sender::Server
        }
    };
    (out, from)
}

/// What rumqttc makes of the bytes: read and written again, or `None` if it refuses them. Its panics count as
/// refusals.
fn through_rumqttc(bytes: &[u8], version: Version) -> Option<Vec<u8>> {
    let read = || {
        let mut stream = BytesMut::from(bytes);
        let mut out = BytesMut::new();
        if version == Version::V5 {
            let packet =
                rumqttc::v5::mqttbytes::v5::Packet::read(&mut stream, Some(1_000_000)).ok()?;
            packet.write(&mut out, None).ok()?;
        } else {
            let packet = rumqttc::mqttbytes::v4::Packet::read(&mut stream, LIMIT).ok()?;
            packet.write(&mut out, LIMIT).ok()?;
        }
        Some(out.to_vec())
    };
    std::panic::catch_unwind(read).ok().flatten()
}

/// Property order and DUP aside, what a packet means.
fn meaning(bytes: &[u8], version: Version, from: Sender) -> String {
    let packet = codec::decode(bytes, version, from).unwrap_or_else(|error| {
        panic!("{error}: {bytes:x?}");
    });
    format!("{packet:?}")
}

#[test]
fn what_we_write_survives_a_trip_through_rumqttc() {
    for version in [Version::V311, Version::V5] {
        let mut random = XorShift(0x5EED_0001);
        for _ in 0..5_000 {
            let (bytes, from) = sample(&mut random, version);
            let Some(back) = through_rumqttc(&bytes, version) else {
                panic!("{version:?} refused: {bytes:x?}");
            };
            assert_eq!(meaning(&back, version, from), meaning(&bytes, version, from));
        }
    }
}

/// Valid packets that rumqttc refuses or cannot write.
fn known_difference(packet: &Packet<'_>, version: Version) -> bool {
    // It keeps passwords as text, knows no password without a user name, and no MQTT 3.1.
    let Packet::Connect(connect) = packet else { return false };
    connect.version != version
        || connect.password.is_some_and(|password| std::str::from_utf8(password).is_err())
        || connect.user_name.is_some() != connect.password.is_some()
}

#[test]
fn what_we_accept_rumqttc_accepts_too() {
    std::panic::set_hook(Box::new(|_| {}));
    let mut surprises = Vec::new();
    for version in [Version::V311, Version::V5] {
        let mut random = XorShift(0x5EED_0002);
        for _ in 0..100_000 {
            let (mut bytes, from) = sample(&mut random, version);
            for _ in 0..=random.below(2) {
                let at = random.below(bytes.len());
                bytes[at] ^= 1 << random.below(8);
            }
            let Ok(packet) = codec::decode(&bytes, version, from) else { continue };
            let theirs = through_rumqttc(&bytes, version);
            if theirs.is_none() && !known_difference(&packet, version) {
                surprises.push(format!("{version:?} {packet:?} {bytes:x?}"));
            }
        }
    }
    let _ = std::panic::take_hook();
    surprises.truncate(20);
    assert!(surprises.is_empty(), "{surprises:#?}");
}

#[test]
fn a_disconnect_of_ours_is_one_that_rumqttc_understands() {
    let mut out = Vec::new();
    let mut disconnect = Disconnect::of(ReasonCode::UseAnotherServer);
    disconnect.server_reference = Some("other:1883");
    codec::disconnect(&mut out, Version::V5, &disconnect);
    let back = through_rumqttc(&out, Version::V5).unwrap();
    let from = Sender::Server;
    assert_eq!(meaning(&back, Version::V5, from), meaning(&out, Version::V5, from));
}
