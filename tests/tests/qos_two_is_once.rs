//! M4: `QoS` 2 is delivered once; `QoS` 1 repeats only what was unacknowledged, flagged DUP.

use protocol::QoS;
use protocol::mqtt::Version;
use protocol::mqtt::codec::AckKind;
use tests::harness::{Client, Dial, Fleet};

const TWICE: QoS = QoS::ExactlyOnce;

#[test]
fn a_publication_that_is_repeated_before_pubrel_is_delivered_once() {
    for version in [Version::V311, Version::V5] {
        let fleet = Fleet::start(2);
        let mut reader = subscriber(&fleet, 2);
        let mut writer = Dial::new(version, "writer").persistent().connect(fleet.mqtt(1));
        let id = writer.start_publish("t", "once", TWICE).expect("an id");
        writer.acknowledged(AckKind::PubRec, id);
        for _ in 0..3 {
            writer.repeat_publish("t", "once", TWICE, id);
            writer.acknowledged(AckKind::PubRec, id);
        }
        writer.acknowledge(AckKind::PubRel, id);
        writer.acknowledged(AckKind::PubComp, id);
        assert_once(&mut reader, writer);
    }
}

#[test]
fn the_publisher_may_repeat_at_the_other_gateway() {
    let fleet = Fleet::start(2);
    let mut reader = subscriber(&fleet, 2);
    let mut writer = writer(&fleet, 1);
    let id = writer.start_publish("t", "once", TWICE).expect("an id");
    writer.acknowledged(AckKind::PubRec, id);
    drop(writer);
    let mut writer = self::writer(&fleet, 2);
    assert!(writer.session_present);
    writer.repeat_publish("t", "once", TWICE, id);
    writer.acknowledged(AckKind::PubRec, id);
    writer.acknowledge(AckKind::PubRel, id);
    writer.acknowledged(AckKind::PubComp, id);
    assert_once(&mut reader, writer);
}

#[test]
fn the_publisher_s_gateway_may_be_killed_after_pubrec() {
    for repeat in [true, false] {
        let mut fleet = Fleet::start(2);
        let mut reader = subscriber(&fleet, 2);
        let mut writer = writer(&fleet, 1);
        let id = writer.start_publish("t", "once", TWICE).expect("an id");
        writer.acknowledged(AckKind::PubRec, id);
        fleet.kill(1);
        let mut writer = self::writer(&fleet, 2);
        assert!(writer.session_present);
        if repeat {
            writer.repeat_publish("t", "once", TWICE, id);
            writer.acknowledged(AckKind::PubRec, id);
        }
        writer.acknowledge(AckKind::PubRel, id);
        writer.acknowledged(AckKind::PubComp, id);
        assert_once(&mut reader, writer);
    }
}

#[test]
fn the_publisher_s_gateway_may_be_killed_before_its_pubrec_is_seen() {
    let mut fleet = Fleet::start(2);
    let mut reader = subscriber(&fleet, 2);
    let mut writer = writer(&fleet, 1);
    let id = writer.start_publish("t", "once", TWICE).expect("an id");
    // Whether it was taken is anybody's guess; the publisher repeats it, and it arrives once.
    fleet.kill(1);
    let mut writer = self::writer(&fleet, 2);
    writer.repeat_publish("t", "once", TWICE, id);
    writer.acknowledged(AckKind::PubRec, id);
    writer.acknowledge(AckKind::PubRel, id);
    writer.acknowledged(AckKind::PubComp, id);
    assert_once(&mut reader, writer);
}

#[test]
fn the_publisher_s_gateway_may_be_killed_after_pubrel() {
    let mut fleet = Fleet::start(2);
    let mut reader = subscriber(&fleet, 2);
    let mut writer = writer(&fleet, 1);
    let id = writer.start_publish("t", "once", TWICE).expect("an id");
    writer.acknowledged(AckKind::PubRec, id);
    writer.acknowledge(AckKind::PubRel, id);
    fleet.kill(1);
    let mut writer = self::writer(&fleet, 2);
    writer.acknowledge(AckKind::PubRel, id);
    // It may be known there or forgotten already; it is answered either way.
    let _ = writer.answer_to(AckKind::PubComp, id);
    // The id is free for another message.
    writer.publish_under(id, "t", "again");
    assert_eq!(reader.receive().text, "once");
    assert_eq!(reader.receive().text, "again");
    assert_nothing_more(&mut reader, writer);
}

#[test]
fn the_subscriber_s_gateway_may_be_killed_before_pubrec() {
    let mut fleet = Fleet::start(2);
    let mut reader = subscriber(&fleet, 2);
    let mut writer = writer(&fleet, 1);
    writer.publish("t", "once", TWICE);
    let first = reader.receive_only();
    fleet.kill(2);
    let mut reader = self::reader(&fleet, 1);
    assert!(reader.session_present);
    let again = reader.receive_only();
    assert_eq!((&again.text, again.packet_id, again.dup), (&first.text, first.packet_id, true));
    reader.acknowledge_message(&again);
    assert_nothing_more(&mut reader, writer);
}

#[test]
fn the_subscriber_s_gateway_may_be_killed_between_pubrel_and_pubcomp() {
    let mut fleet = Fleet::start(2);
    let mut reader = subscriber(&fleet, 2);
    let mut writer = writer(&fleet, 1);
    writer.publish("t", "once", TWICE);
    let message = reader.receive_only();
    let id = message.packet_id.expect("an id");
    reader.acknowledge(AckKind::PubRec, id);
    reader.acknowledged(AckKind::PubRel, id);
    fleet.kill(2);
    let mut reader = self::reader(&fleet, 1);
    // Its PUBREC was remembered: PUBREL comes again, the message does not.
    reader.acknowledged(AckKind::PubRel, id);
    reader.acknowledge(AckKind::PubComp, id);
    assert_nothing_more(&mut reader, writer);
}

#[test]
fn at_qos_1_only_the_unacknowledged_are_repeated_and_flagged() {
    let fleet = Fleet::start(2);
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(2));
    reader.subscribe("t", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    (0..10).for_each(|number| writer.publish("t", &number.to_string(), QoS::AtLeastOnce));
    for _ in 0..5 {
        reader.receive();
    }
    let open: Vec<_> = (5..8).map(|_| reader.receive_only()).collect();
    // What the gateway had sent before this was processed.
    reader.ping();
    drop(reader);
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(1));
    for before in open {
        let again = reader.receive();
        assert_eq!((again.text, again.packet_id, again.dup), (before.text, before.packet_id, true));
    }
    assert_eq!([reader.receive().text, reader.receive().text], ["8", "9"]);
    assert_nothing_more(&mut reader, writer);
}

fn reader(fleet: &Fleet, gateway: usize) -> Client {
    Dial::v5("reader").persistent().connect(fleet.mqtt(gateway))
}

fn subscriber(fleet: &Fleet, gateway: usize) -> Client {
    let mut reader = reader(fleet, gateway);
    reader.subscribe("t", TWICE);
    reader
}

fn writer(fleet: &Fleet, gateway: usize) -> Client {
    Dial::v5("writer").persistent().connect(fleet.mqtt(gateway))
}

/// The message arrives, and nothing of it a second time: the next is the one published last.
fn assert_once(reader: &mut Client, writer: Client) {
    assert_eq!(reader.receive().text, "once");
    assert_nothing_more(reader, writer);
}

fn assert_nothing_more(reader: &mut Client, mut writer: Client) {
    writer.publish("t", "last", TWICE);
    let last = reader.receive();
    assert_eq!((last.text.as_str(), last.dup), ("last", false));
}
