//! Sections 1.5 and 2 of both standards: strings, flags, packet ids.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};

use super::stage::{
    BOTH, Stage, ack, fresh, packet, properties, publish, subscribe, text, unsubscribe,
};

/// Strings that are none: a byte that never occurs, an overlong form, surrogates, a character that is cut off.
const NO_STRINGS: [&[u8]; 5] =
    [b"a\xFF", b"\xC0\xAF", b"\xED\xA0\x80", b"\xED\xBF\xBFx", b"\xF0\x9F\x98"];

/// [MQTT3-1.5.3-1] [MQTT5-1.5.4-1] [MQTT3-3.3.2-1] [MQTT5-3.3.2-1] [MQTT3-3.8.3-1] [MQTT5-3.8.3-1] [MQTT3-3.10.3-1]
/// [MQTT5-3.10.3-1]
#[test]
fn a_string_that_is_not_utf_8_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        for bad in NO_STRINGS {
            let malformed = ReasonCode::MalformedPacket;
            stage.refuses(version, &publish(version, 0x30, bad, (None, &[]), b"x"), malformed);
            stage.refuses(version, &subscribe(version, 1, &[(bad, 0)]), malformed);
            stage.refuses(version, &unsubscribe(version, 1, &[bad]), malformed);
        }
    }
}

/// [MQTT3-1.5.3-2] [MQTT5-1.5.4-2] [MQTT3-4.7.3-2] [MQTT5-4.7.3-2]
#[test]
fn a_string_with_a_null_character_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        for bad in [&b"\0"[..], b"a\0", b"\0a", b"a/\0/b"] {
            let malformed = ReasonCode::MalformedPacket;
            stage.refuses(version, &publish(version, 0x30, bad, (None, &[]), b"x"), malformed);
            stage.refuses(version, &subscribe(version, 1, &[(bad, 0)]), malformed);
            stage.refuses(version, &unsubscribe(version, 1, &[bad]), malformed);
        }
    }
}

/// [MQTT3-1.5.3-3] [MQTT5-1.5.4-3]
#[test]
fn a_byte_order_mark_is_a_character_like_any_other() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("bom");
        let marked = format!("\u{FEFF}{topic}/\u{FEFF}");
        let mut plain = stage.client(version);
        plain.subscribe(&format!("{topic}/#"), QoS::AtMostOnce);
        let mut reader = stage.client(version);
        reader.subscribe(&marked, QoS::AtMostOnce);
        let mut writer = stage.client(version);
        writer.publish(&marked, "marked", QoS::AtLeastOnce);
        writer.publish(&format!("{topic}/x"), "plain", QoS::AtLeastOnce);
        let got = reader.receive();
        assert_eq!((got.topic.as_str(), got.text.as_str()), (marked.as_str(), "marked"));
        assert_eq!(plain.receive().text, "plain", "the mark was not stripped");
    }
}

/// [MQTT5-1.5.7-1] [MQTT5-1.5.4-1] [MQTT5-1.5.4-2]
#[test]
fn both_halves_of_a_user_property_are_strings() {
    let stage = Stage::enter();
    for bad in NO_STRINGS.into_iter().chain([&b"\0"[..]]) {
        for pair in [[text(bad), text("v")], [text("k"), text(bad)]] {
            let section = [&[0x26][..], &pair.concat()].concat();
            let bytes = publish(Version::V5, 0x30, "t", (None, &section), b"");
            stage.refuses(Version::V5, &bytes, ReasonCode::MalformedPacket);
        }
    }
}

/// [MQTT5-1.5.5-1]
#[test]
fn lengths_that_are_longer_than_needed_end_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        stage.refuses(version, &[0xC0, 0x80, 0x00], ReasonCode::MalformedPacket);
        let long = [0x30, 0x84, 0x80, 0x00, 0, 1, b't', b'x'];
        stage.refuses(version, &long, ReasonCode::MalformedPacket);
    }
    // A length of properties, and a subscription identifier.
    let section = [0x82, 8, 0, 1, 0x80, 0, 0, 1, b't', 0];
    stage.refuses(Version::V5, &section, ReasonCode::MalformedPacket);
    let identifier = [0x82, 10, 0, 1, 3, 0x0B, 0x81, 0, 0, 1, b't', 0];
    stage.refuses(Version::V5, &identifier, ReasonCode::MalformedPacket);
}

/// [MQTT3-2.2.2-1] [MQTT3-2.2.2-2] [MQTT5-2.1.3-1] [MQTT3-3.6.1-1] [MQTT5-3.6.1-1] [MQTT3-3.8.1-1] [MQTT5-3.8.1-1]
/// [MQTT3-3.10.1-1] [MQTT5-3.10.1-1] [MQTT3-3.14.1-1] [MQTT5-3.14.1-1] [MQTT5-3.15.1-1]
#[test]
fn flags_that_are_not_the_listed_ones_end_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        let id = [0, 1];
        let none = properties(version, &[]);
        let acks = [0x41, 0x48, 0x51, 0x60, 0x61, 0x66, 0x6A, 0x71].map(|first| ack(first, 1));
        let filter = [&id[..], &none, &text("t"), &[0]].concat();
        let subscribes = [0x80, 0x81, 0x83, 0x86, 0x8A].map(|first| packet(first, &[&filter]));
        let filter = [&id[..], &none, &text("t")].concat();
        let unsubscribes = [0xA0, 0xA3, 0xAA].map(|first| packet(first, &[&filter]));
        let empty = [0xC1, 0xC8, 0xE1, 0xE2].map(|first| packet(first, &[]));
        let all = [&acks[..], &subscribes, &unsubscribes, &empty].concat();
        for bytes in all {
            stage.refuses(version, &bytes, ReasonCode::MalformedPacket);
        }
    }
    stage.refuses(Version::V5, &[0xF1, 2, 0x18, 0], ReasonCode::MalformedPacket);
    for version in BOTH {
        let mut connect = super::stage::connect(version, 2, &[], &[&text(fresh("flags"))]);
        connect[0] = 0x11;
        assert!(stage.answer_to(&connect).is_empty(), "what is no CONNECT is not answered");
    }
}

/// [MQTT3-2.2.2-1] [MQTT5-2.1.3-1] [MQTT3-3.6.1-1] [MQTT5-3.6.1-1] [MQTT5-2.2.2-1] [MQTT3-2.3.1-6] [MQTT3-2.3.1-7]
/// [MQTT5-2.2.1-5] [MQTT5-2.2.1-6] [MQTT3-3.8.4-2] [MQTT5-3.8.4-2] [MQTT3-3.10.4-4] [MQTT5-3.10.4-5]
#[test]
fn answers_have_the_listed_flags_and_the_id_of_what_they_answer() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("answers");
        let mut listener = stage.client(version);
        listener.subscribe(&topic, QoS::AtMostOnce);
        let mut client = stage.client(version);
        let none = properties(version, &[]);
        for id in [1, 0x1267, u16::MAX] {
            let wire = id.to_be_bytes();
            client.send(&subscribe(version, id, &[(b"other", 2)]));
            assert_eq!(client.next_frame().bytes(), packet(0x90, &[&wire, &none, &[2]]));
            client.send(&publish(version, 0x32, &topic, (Some(id), &[]), b"x"));
            assert_eq!(client.next_frame().bytes(), ack(0x40, id));
            client.send(&publish(version, 0x34, &topic, (Some(id), &[]), b"x"));
            assert_eq!(client.next_frame().bytes(), ack(0x50, id));
            client.send(&ack(0x62, id));
            assert_eq!(client.next_frame().bytes(), ack(0x70, id));
            client.send(&unsubscribe(version, id, &[b"other"]));
            let codes: &[u8] = if version == Version::V5 { &[0] } else { &[] };
            assert_eq!(client.next_frame().bytes(), packet(0xB0, &[&wire, &none, codes]));
        }
        client.send(&[0xC0, 0]);
        assert_eq!(client.next_frame().bytes(), [0xD0, 0]);
    }
}

/// [MQTT3-2.3.1-5] [MQTT5-2.2.1-2] [MQTT5-2.2.2-1] [MQTT3-4.3.1-1] [MQTT5-4.3.1-1] [MQTT3-3.3.1-2] [MQTT5-3.3.1-2]
/// [MQTT3-3.3.2-1] [MQTT5-3.3.2-1] [MQTT3-2.3.1-4] [MQTT5-2.2.1-4]
#[test]
fn a_delivery_is_written_as_the_standard_says() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("delivery");
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut writer = stage.client(version);
        writer.publish(&topic, "x", QoS::AtMostOnce);
        let plain = publish(version, 0x30, &topic, (None, &[]), b"x");
        assert_eq!(reader.next_frame().bytes(), plain);
        for (first, qos) in [(0x32, QoS::AtLeastOnce), (0x34, QoS::ExactlyOnce)] {
            writer.publish(&topic, "x", qos);
            let frame = reader.next_frame();
            let at = 4 + topic.len();
            let id = u16::from_be_bytes([frame.bytes()[at], frame.bytes()[at + 1]]);
            assert_ne!(id, 0);
            let expected = publish(version, first, &topic, (Some(id), &[]), b"x");
            assert_eq!(frame.bytes(), expected);
        }
    }
}

/// [MQTT3-2.3.1-1] [MQTT5-2.2.1-3] [MQTT3-2.3.1-2]
#[test]
fn a_packet_id_of_zero_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        for bytes in [
            publish(version, 0x32, "t", (Some(0), &[]), b"x"),
            publish(version, 0x34, "t", (Some(0), &[]), b"x"),
            subscribe(version, 0, &[(b"t", 0)]),
            unsubscribe(version, 0, &[b"t"]),
            ack(0x40, 0),
            ack(0x50, 0),
            ack(0x62, 0),
            ack(0x70, 0),
        ] {
            stage.refuses(version, &bytes, ReasonCode::ProtocolError);
        }
    }
}

/// [MQTT3-2.3.1-4] [MQTT5-2.2.1-4] [MQTT3-4.3.2-1] [MQTT5-4.3.2-1] [MQTT3-4.3.3-1] [MQTT5-4.3.3-1]
#[test]
fn every_open_delivery_has_an_id_of_its_own() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("ids");
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut writer = stage.client(version);
        let mut ids = Vec::new();
        for number in 0..100 {
            let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            writer.publish(&topic, "x", qos);
            let message = reader.receive_only();
            assert!(!message.dup && message.qos == qos);
            ids.push(message.packet_id.expect("an id"));
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 100);
    }
}
