//! Sections 4.4 and 4.6: what is open when a connection is lost, and order.

use protocol::QoS;
use protocol::mqtt::Version;
use tests::harness::Dial;

use super::stage::{BOTH, Stage, ack, fresh, publish};

/// [MQTT3-4.6.0-5] [MQTT3-4.6.0-6] [MQTT5-4.6.0-5] [MQTT5-4.6.0-6]
#[test]
fn what_one_client_publishes_arrives_in_its_order() {
    let stage = Stage::enter();
    for version in BOTH {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = fresh("order");
            let id = fresh("order");
            let mut kept = stage.connect(Dial::new(version, &id).persistent());
            kept.subscribe(&topic, qos);
            let mut here = stage.client(version);
            here.subscribe(&format!("{topic}/#"), qos);
            let mut writer = stage.client(version);
            let texts: Vec<_> = (0..50).map(|number| number.to_string()).collect();
            for text in &texts {
                writer.publish(&topic, text, qos);
            }
            assert_eq!(here.receive_until("49"), texts);
            // Half of it, and the rest after a lost connection.
            let mut got: Vec<_> = (0..25).map(|_| kept.receive().text).collect();
            if qos != QoS::AtMostOnce {
                kept.ping();
                drop(kept);
                kept = stage.connect(Dial::new(version, &id).persistent());
            }
            got.extend(kept.receive_until("49"));
            assert_eq!(got, texts, "{version:?} {qos:?}");
        }
    }
}

/// [MQTT3-4.4.0-1] [MQTT5-4.4.0-1] [MQTT3-4.6.0-6] [MQTT5-4.6.0-5]
#[test]
fn what_is_sent_again_is_sent_in_the_order_of_the_first_time() {
    let stage = Stage::enter();
    for version in BOTH {
        let (id, topic) = (fresh("resend"), fresh("resend"));
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut writer = stage.client(version);
        for number in 0..10 {
            let qos = if number % 3 == 0 { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            writer.publish(&topic, &number.to_string(), qos);
        }
        let first: Vec<_> = (0..10).map(|_| reader.receive_only()).collect();
        // Every second one is acknowledged, out of order.
        for message in first.iter().rev().step_by(2) {
            let kind = if message.qos == QoS::ExactlyOnce { 0x50 } else { 0x40 };
            reader.send(&ack(kind, message.packet_id.expect("an id").get()));
        }
        reader.ping();
        drop(reader);
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        let mut again = Vec::new();
        while again.last().is_none_or(|(id, _)| Some(*id) != first[8].packet_id.map(|id| id.get()))
        {
            let frame = reader.next_frame();
            let bytes = frame.bytes();
            let at = if bytes[0] == 0x62 { 2 } else { 4 + topic.len() };
            again.push((u16::from_be_bytes([bytes[at], bytes[at + 1]]), bytes[0]));
        }
        let publishes: Vec<_> =
            again.iter().filter(|(_, first)| *first != 0x62).map(|(id, _)| *id).collect();
        let wanted = first.iter().step_by(2).map(|m| m.packet_id.expect("an id").get());
        assert_eq!(publishes, wanted.collect::<Vec<_>>());
        assert!(again.iter().all(|(_, first)| *first == 0x62 || first & 0x08 != 0), "marked");
    }
}

/// [MQTT5-4.4.0-1] [MQTT3-4.4.0-1] [MQTT3-2.3.1-3]
#[test]
fn a_publisher_that_comes_back_ends_its_open_exchanges() {
    let stage = Stage::enter();
    for version in BOTH {
        let (id, topic) = (fresh("publisher"), fresh("open"));
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut writer = stage.connect(Dial::new(version, &id).persistent());
        writer.send(&publish(version, 0x34, &topic, (Some(3), &[]), b"x"));
        assert_eq!(writer.next_frame().bytes(), ack(0x50, 3));
        drop(writer);
        let mut writer = stage.connect(Dial::new(version, &id).persistent());
        writer.send(&publish(version, 0x3C, &topic, (Some(3), &[]), b"x"));
        assert_eq!(writer.next_frame().bytes(), ack(0x50, 3));
        writer.send(&ack(0x62, 3));
        assert_eq!(writer.next_frame().bytes(), ack(0x70, 3));
        writer.publish(&topic, "next", QoS::ExactlyOnce);
        assert_eq!([reader.receive().text, reader.receive().text], ["x", "next"]);
    }
}

/// [MQTT5-4.3.3-7] [MQTT5-4.3.3-13]
#[test]
fn a_qos_2_exchange_that_began_goes_on() {
    let stage = Stage::enter();
    let (id, topic) = (fresh("expiring"), fresh("expiring"));
    let mut reader = stage.connect(Dial::v5(&id).persistent());
    reader.subscribe(&topic, QoS::ExactlyOnce);
    let mut writer = stage.client(Version::V5);
    writer.send(&publish(Version::V5, 0x34, &topic, (Some(1), &[2, 0, 0, 0, 1]), b"x"));
    writer.send(&ack(0x62, 1));
    let first = reader.receive_only();
    drop(reader);
    stage.pass_seconds(2);
    let mut reader = stage.connect(Dial::v5(&id).persistent());
    let again = reader.receive_only();
    assert_eq!((again.packet_id, again.dup), (first.packet_id, true));
    reader.acknowledge_message(&again);
}
