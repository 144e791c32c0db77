//! Sections 3.4 to 3.7 and 4.3: what is acknowledged, and what an acknowledgement ends.

use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{ReasonCode, Version};
use protocol::{PacketId, QoS};
use tests::harness::Dial;

use super::stage::{BOTH, Stage, ack, fresh, packet, publish};

fn number(id: u16) -> PacketId {
    PacketId::new(id).expect("an id")
}

/// [MQTT3-4.3.2-2] [MQTT5-4.3.2-4] [MQTT5-4.3.2-5] [MQTT3-2.3.1-3]
#[test]
fn after_puback_the_id_is_a_new_message_whatever_its_mark() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("new");
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::AtLeastOnce);
        let mut writer = stage.client(version);
        for (first, payload) in [(0x32, "1"), (0x3A, "2"), (0x32, "3")] {
            let bytes = publish(version, first, &topic, (Some(5), &[]), payload.as_bytes());
            writer.send(&bytes);
            writer.acknowledged(AckKind::PubAck, number(5));
            assert_eq!(reader.receive().text, payload);
        }
    }
}

/// [MQTT3-4.3.3-2] [MQTT5-4.3.3-8] [MQTT5-4.3.3-10] [MQTT5-4.3.3-11] [MQTT5-4.3.3-12] [MQTT3-2.3.1-2]
#[test]
fn a_qos_2_message_is_delivered_once_until_pubcomp_frees_its_id() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("once");
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut writer = stage.client(version);
        for round in ["1", "2"] {
            for first in [0x34, 0x3C, 0x34] {
                writer.send(&publish(version, first, &topic, (Some(5), &[]), round.as_bytes()));
                writer.acknowledged(AckKind::PubRec, number(5));
            }
            writer.send(&ack(0x62, 5));
            writer.acknowledged(AckKind::PubComp, number(5));
            assert_eq!(reader.receive().text, round);
        }
        writer.publish(&topic, "last", QoS::ExactlyOnce);
        assert_eq!(reader.receive().text, "last", "nothing came twice");
        // A PUBREL that is repeated is answered again.
        writer.send(&ack(0x62, 5));
        let reason = writer.answer_to(AckKind::PubComp, number(5));
        let unknown = if version == Version::V5 {
            ReasonCode::PacketIdentifierNotFound
        } else {
            ReasonCode::Success
        };
        assert_eq!(reason, unknown);
    }
}

/// [MQTT5-4.3.3-9]
#[test]
fn after_a_pubrec_that_says_no_the_id_is_a_new_message() {
    let stage = Stage::enter();
    let topic = fresh("second");
    let mut reader = stage.client(Version::V5);
    reader.subscribe(&topic, QoS::ExactlyOnce);
    let mut writer = stage.client(Version::V5);
    writer.send(&publish(Version::V5, 0x34, "$SYS/x", (Some(5), &[]), b"x"));
    assert_eq!(writer.answer_to(AckKind::PubRec, number(5)), ReasonCode::NotAuthorized);
    writer.send(&publish(Version::V5, 0x34, &topic, (Some(5), &[]), b"new"));
    writer.acknowledged(AckKind::PubRec, number(5));
    assert_eq!(reader.receive().text, "new");
}

/// [MQTT3-4.3.3-1] [MQTT5-4.3.3-3] [MQTT5-4.3.3-4] [MQTT5-4.3.3-5] [MQTT5-4.3.3-6] [MQTT3-2.3.1-6] [MQTT5-2.2.1-5]
/// [MQTT5-3.6.2-1]
#[test]
fn a_pubrec_gets_its_pubrel_and_the_publish_does_not_come_again() {
    let stage = Stage::enter();
    for version in BOTH {
        let (id, topic) = (fresh("steps"), fresh("steps"));
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        reader.subscribe(&topic, QoS::ExactlyOnce);
        stage.client(version).publish(&topic, "x", QoS::ExactlyOnce);
        let packet_id = reader.receive_only().packet_id.expect("an id").get();
        // Not acknowledged: it comes again.
        drop(reader);
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        let again = reader.receive_only();
        assert_eq!((again.packet_id.map(PacketId::get), again.dup), (Some(packet_id), true));
        for _ in 0..2 {
            reader.send(&ack(0x50, packet_id));
            assert_eq!(reader.next_frame().bytes(), ack(0x62, packet_id));
        }
        // Received: only the release comes again.
        drop(reader);
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        assert_eq!(reader.next_frame().bytes(), ack(0x62, packet_id));
        reader.send(&ack(0x70, packet_id));
        reader.ping();
        drop(reader);
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        reader.ping();
        stage.client(version).publish(&topic, "y", QoS::ExactlyOnce);
        assert_eq!(reader.receive().text, "y");
    }
}

/// [MQTT3-4.3.2-1] [MQTT5-4.3.2-3] [MQTT3-3.3.1-1] [MQTT5-3.3.1-1] [MQTT3-4.4.0-1] [MQTT5-4.4.0-1] [MQTT3-2.3.1-4]
#[test]
fn what_was_not_acknowledged_comes_again_under_its_id_and_marked() {
    let stage = Stage::enter();
    for version in BOTH {
        let (id, topic) = (fresh("again"), fresh("again"));
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut writer = stage.client(version);
        for (text, qos) in
            [("1", QoS::AtLeastOnce), ("2", QoS::ExactlyOnce), ("3", QoS::AtLeastOnce)]
        {
            writer.publish(&topic, text, qos);
        }
        let first: Vec<_> = (0..3).map(|_| reader.receive_only()).collect();
        assert!(first.iter().all(|message| !message.dup));
        reader.acknowledge_message(&first[0]);
        reader.ping();
        drop(reader);
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        for before in &first[1..] {
            let again = reader.receive_only();
            assert!(again.dup);
            assert_eq!((&again.text, again.packet_id), (&before.text, before.packet_id));
            reader.acknowledge_message(&again);
        }
        writer.publish(&topic, "4", QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, "4");
    }
}

/// [MQTT5-4.4.0-2] [MQTT5-4.3.3-4]
#[test]
fn what_a_client_refused_is_never_sent_again() {
    let stage = Stage::enter();
    for kept in [false, true] {
        let (id, topic) = (fresh("no"), fresh("no"));
        let dial = Dial::v5(&id);
        let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut writer = stage.client(Version::V5);
        for (qos, answer) in [(QoS::AtLeastOnce, 0x40), (QoS::ExactlyOnce, 0x50)] {
            writer.publish(&topic, "refused", qos);
            let packet_id = reader.receive_only().packet_id.expect("an id").get();
            reader.send(&packet(answer, &[&packet_id.to_be_bytes(), &[0x83]]));
            reader.send(&[0xC0, 0]);
            assert_eq!(reader.next_frame().bytes(), [0xD0, 0], "no PUBREL, no PUBLISH");
        }
        if kept {
            drop(reader);
            reader = stage.connect(Dial::v5(&id).persistent());
        }
        writer.publish(&topic, "next", QoS::AtLeastOnce);
        let next = reader.receive();
        assert_eq!((next.text.as_str(), next.dup), ("next", false));
    }
}

/// [MQTT5-3.4.2-1] [MQTT5-3.5.2-1] [MQTT5-3.6.2-1] [MQTT5-3.7.2-1] [MQTT5-3.14.2-1] [MQTT5-4.13.1-1]
#[test]
fn a_code_that_is_not_listed_for_its_packet_ends_the_connection() {
    let stage = Stage::enter();
    for first in [0x40, 0x50, 0x62, 0x70] {
        for code in [0x01, 0x18, 0x7F, 0x81, 0x8E, 0xFF] {
            let bytes = packet(first, &[&[0, 1, code]]);
            stage.refuses(Version::V5, &bytes, ReasonCode::ProtocolError);
        }
    }
    for code in [0x92, 0x10] {
        let wrong_for: [u8; 2] = if code == 0x92 { [0x40, 0x50] } else { [0x62, 0x70] };
        for first in wrong_for {
            let bytes = packet(first, &[&[0, 1, code]]);
            stage.refuses(Version::V5, &bytes, ReasonCode::ProtocolError);
        }
    }
    for code in [0x01, 0x18, 0x8E, 0xFF] {
        stage.refuses(Version::V5, &[0xE0, 2, code, 0], ReasonCode::ProtocolError);
    }
}
