//! B: publications and their acknowledgements.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{
    Filter, Publish, PublishProperties, ReasonCode, RetainHandling, SubscribeOptions,
};
use protocol::{PacketId, QoS};
use tests::harness::{Client, Dial, Ended, Fleet, Settings, eventually};

use super::bytes::{packet, publish};
use super::pair::Pair;
use super::size::size;

#[test]
fn sixty_thousand_open_exchanges_are_as_many_as_may_be() {
    let most = size(2_000, 65_534);
    let limits = format!("[limits]\nreceive_maximum = {most}\n");
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(&limits));
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    let before = process.resident_bytes();
    process.forget_peak();
    // B2: each is answered with PUBREC, and none is released.
    for number in 0..=most {
        client.start_publish("b2", "x", QoS::ExactlyOnce);
        if number % 500 == 499 {
            client.ping();
        }
    }
    assert_eq!(reason_of_end(&mut client), ReasonCode::ReceiveMaximumExceeded);
    let grown = process.peak_bytes().saturating_sub(before);
    println!("B2: {} KiB at most for {most} open exchanges", grown >> 10);
    assert!(grown < 16 << 20, "{grown} bytes for {most} open exchanges");
    pair.assert_undisturbed();
}

/// The reason with which a client is sent away, behind whatever it is told before.
fn reason_of_end(client: &mut Client) -> ReasonCode {
    loop {
        let frame = client.next_or_end().expect("a reason before it is closed");
        if let protocol::mqtt::Packet::Disconnect(told) = frame.packet() {
            return told.reason;
        }
    }
}

#[test]
fn packet_ids_and_windows_are_held_to_the_rules() {
    let limits = "[limits]\nreceive_maximum = 10\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    // B1: PUBREL for an id that nobody knows.
    let unknown = PacketId::new(77).expect("an id");
    client.acknowledge(AckKind::PubRel, unknown);
    assert_eq!(client.answer_to(AckKind::PubComp, unknown), ReasonCode::PacketIdentifierNotFound);
    // B5: names of our own.
    let id = client.start_publish("$SYS/x", "x", QoS::AtLeastOnce).expect("an id");
    assert_eq!(client.answer_to(AckKind::PubAck, id), ReasonCode::NotAuthorized);
    // B2, B3: more open than was agreed.
    for number in 0..11 {
        client.start_publish("t", &number.to_string(), QoS::ExactlyOnce);
    }
    assert_eq!(reason_of_end(&mut client), ReasonCode::ReceiveMaximumExceeded);
    pair.assert_undisturbed();
}

#[test]
fn aliases_may_be_set_again_and_again() {
    let fleet = Fleet::start(1);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("#", QoS::AtMostOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for number in 0..100 {
        let topic = format!("topic/{number}");
        writer.send(&publish(0x30, topic.as_bytes(), None, &[35, 0, 1], b"named"));
        writer.send(&publish(0x30, b"", None, &[35, 0, 1], b"aliased"));
        assert_eq!(reader.receive().topic, topic);
        let aliased = reader.receive();
        assert_eq!((aliased.topic, aliased.text.as_str()), (topic, "aliased"));
    }
}

#[test]
fn retained_messages_are_limited_and_only_cleared_with_the_flag() {
    let limits = "[limits]\nretained_messages = 500\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
    // B6: a flood of topics; what is beyond the limit is refused, one by one.
    let mut retain = |topic: &str, text: &str| {
        let id = client.next_id();
        client.send_whole(&Publish { retain: true, ..whole(topic, text, id) });
        client.answer_to(AckKind::PubAck, id)
    };
    for number in 0..500 {
        assert_eq!(retain(&format!("b6/{number}"), "x"), ReasonCode::NoMatchingSubscribers);
    }
    let before = process.resident_bytes();
    let mut number = 500;
    pair.unmoved_by("B6", || {
        number += 1;
        assert_eq!(retain(&format!("b6/{number}"), "x"), ReasonCode::QuotaExceeded);
    });
    // One of a megabyte, again and again: there is room for one of it, and for what is under way.
    let large = "x".repeat(1_000_000);
    process.forget_peak();
    for _ in 0..10 {
        assert_eq!(retain("b6/1", &large), ReasonCode::NoMatchingSubscribers);
    }
    let grown = process.peak_bytes().saturating_sub(before);
    println!("B6: {} KiB for a retained message of 1 MB, written ten times", grown >> 10);
    assert!(grown < 64 << 20, "{grown} bytes for one retained message of a megabyte");
    // Without the flag an empty message is a message; with it, it clears.
    assert!(!retain("b6/1", "small").is_error());
    client.publish("b6/1", "", QoS::AtLeastOnce);
    let kept = |client: &mut Client| {
        let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
        reader.subscribe("b6/1", QoS::AtLeastOnce);
        client.publish("b6/1", "live", QoS::AtLeastOnce);
        reader.receive().text
    };
    assert_eq!(kept(&mut client), "small");
    client.publish_retained("b6/1", "", QoS::AtLeastOnce);
    assert_eq!(kept(&mut client), "live");
    pair.assert_undisturbed();
}

#[test]
fn who_does_not_read_or_acknowledge_costs_a_bounded_amount() {
    let limits = "[limits]\noutbox_bytes = 2097152\nqueue_messages = 1000\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    // B7: never reads; B8: reads a byte now and then; B9: never acknowledges.
    let mut deaf = Dial::v5("deaf").connect(fleet.mqtt(1));
    deaf.subscribe("b7", QoS::AtMostOnce);
    let mut slow = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
    slow.write_all(&Dial::v311("slow").bytes()).expect("an open socket");
    slow.write_all(&packet(0x82, &[0, 1, 0, 2, b'b', b'7', 0])).expect("an open socket");
    slow.read_exact(&mut [0; 9]).expect("CONNACK and SUBACK");
    let mut mute = Dial::v5("mute").receive_maximum(10).connect(fleet.mqtt(1));
    mute.subscribe("b9", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let text = "x".repeat(60_000);
    let before = process.resident_bytes();
    process.forget_peak();
    let mut bytes = 0;
    pair.measured_beside("B7, B8, B9", || {
        for _ in 0..8 {
            writer.publish("b7", &text, QoS::AtLeastOnce);
            bytes += text.len();
        }
        writer.publish("b9", "x", QoS::AtLeastOnce);
        slow.read_exact(&mut [0]).expect("a byte");
    });
    while bytes < size(64 << 20, 1 << 30) {
        writer.publish("b7", &text, QoS::AtLeastOnce);
        bytes += text.len();
    }
    for _ in 0..1_100 {
        writer.publish("b9", "x", QoS::AtLeastOnce);
    }
    let grown = process.peak_bytes().saturating_sub(before);
    println!("B7, B8: {} KiB at most for {} MiB that two did not read", grown >> 10, bytes >> 20);
    // Two outboxes, what the kernel was handed and took back, and the window of the writer.
    assert!(grown < 16 << 20, "{grown} bytes");
    assert!(fleet.metric(1, "tidegate_dropped_total{reason=\"outbox_full\"}") > 0);
    assert!(fleet.metric(1, "tidegate_dropped_total{reason=\"queue_count\"}") > 0, "B9");
    // The window holds ten, and each acknowledgement makes room for one.
    for _ in 0..20 {
        mute.receive();
    }
    pair.assert_undisturbed();
}

#[test]
fn publishers_that_a_full_queue_refuses_disturb_nobody() {
    let class = "[[class]]\nname = \"deaf\"\nclient = [\"deaf\"]\nqueue_messages = 100\nqueue_when_full = \"reject\"\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(class));
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    // B7: it never reads, and refuses what it has no room for.
    let mut deaf = Dial::v5("deaf").persistent().connect(fleet.mqtt(1));
    deaf.subscribe("b7", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let mut write = |text: &str| {
        let id = writer.start_publish("b7", text, QoS::AtLeastOnce).expect("an id");
        writer.answer_to(AckKind::PubAck, id)
    };
    let mut taken: usize = 0;
    while taken < 100 {
        assert_eq!(write(&taken.to_string()), ReasonCode::Success);
        taken += 1;
    }
    // As soon as the log has said that it is full.
    eventually("the queue is full", || match write(&taken.to_string()) {
        ReasonCode::QuotaExceeded => Some(()),
        reason => {
            assert_eq!(reason, ReasonCode::Success);
            taken += 1;
            None
        }
    });
    let text = "x".repeat(60_000);
    let before = process.resident_bytes();
    process.forget_peak();
    let mut refused = 0;
    let mut refuse = || {
        assert_eq!(write(&text), ReasonCode::QuotaExceeded);
        refused += 1;
    };
    pair.unmoved_by_weight_of("B7", &mut refuse);
    for _ in 0..size(500, 17_000) {
        refuse();
    }
    let grown = process.peak_bytes().saturating_sub(before);
    println!("B7: {} KiB at most for {refused} publications that were refused", grown >> 10);
    assert!(grown < 16 << 20, "{grown} bytes");
    assert!(fleet.metric(1, "tidegate_refused_total{limit=\"queue\"}") > refused);
    // 3.1.1 has no word for it.
    let mut old = Dial::v311("old").connect(fleet.mqtt(1));
    old.start_publish("b7", "x", QoS::AtLeastOnce);
    assert_eq!(old.ended(), Ended::Closed);
    // What was taken is there, and nothing else; then there is room again.
    for number in 0..taken {
        assert_eq!(deaf.receive().text, number.to_string());
    }
    eventually("there is room", || (write("again") == ReasonCode::Success).then_some(()));
    assert_eq!(deaf.receive().text, "again");
    pair.assert_undisturbed();
}

#[test]
fn a_client_that_publishes_to_itself_and_a_circle_of_bridges_starve_nobody() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    // B10: with and without no local.
    let mut own = Dial::v5("own").connect(fleet.mqtt(1));
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: true,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    own.subscribe("b10/own", QoS::AtLeastOnce);
    own.subscribe_with(&[Filter { text: "b10/others", options }], None);
    pair.measured_beside("B10", || {
        let ids: Vec<_> = (0..50)
            .map(|n| {
                own.start_publish("b10/others", "never", QoS::AtLeastOnce);
                own.start_publish("b10/own", &n.to_string(), QoS::AtLeastOnce)
            })
            .collect();
        for (n, id) in ids.into_iter().enumerate() {
            own.acknowledged(AckKind::PubAck, id.expect("an id"));
            assert_eq!(own.receive().text, n.to_string());
        }
    });
    // B13: what one bridge takes from a topic it gives to another, and the second brings it back.
    let mut there = Dial::v5("there").connect(fleet.mqtt(1));
    there.subscribe("b13/a", QoS::AtLeastOnce);
    let mut back = Dial::v5("back").connect(fleet.mqtt(1));
    back.subscribe("b13/b", QoS::AtLeastOnce);
    back.publish("b13/a", "round", QoS::AtLeastOnce);
    let before = fleet.metric(1, "tidegate_publications_received_total{qos=\"1\"}");
    let mut rounds = 0;
    pair.unmoved_by("B13", || {
        for (bridge, to) in [(&mut there, "b13/b"), (&mut back, "b13/a")] {
            let text = bridge.receive().text;
            bridge.publish(to, &text, QoS::AtLeastOnce);
        }
        rounds += 1;
    });
    let counted = fleet.metric(1, "tidegate_publications_received_total{qos=\"1\"}") - before;
    assert!(counted >= 2 * rounds, "{counted} of {rounds} rounds");
    pair.assert_undisturbed();
}

fn whole<'a>(topic: &'a str, text: &'a str, id: PacketId) -> Publish<'a> {
    Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_id: Some(id),
        properties: PublishProperties::default(),
        payload: text.as_bytes(),
    }
}

#[test]
fn a_payload_that_is_not_what_it_is_said_to_be_is_refused() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut watch = Dial::v5("watch").connect(fleet.mqtt(1));
    watch.subscribe("p8", QoS::AtLeastOnce);
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    let text = [1, 1];
    // P8: said to be text.
    pair.unmoved_by("P8", || {
        for broken in [&b"\xFF"[..], b"\xC0\xAF", b"\xED\xA0\x80", b"cut off \xE2\x82"] {
            let id = client.next_id();
            client.send(&publish(0x32, b"p8", Some(id.get()), &text, broken));
            let reason = client.answer_to(AckKind::PubAck, id);
            assert_eq!(reason, ReasonCode::PayloadFormatInvalid, "{broken:02x?}");
        }
    });
    // Text it is, or nobody said so.
    let id = client.next_id();
    client.send(&publish(0x32, b"p8", Some(id.get()), &text, "日本".as_bytes()));
    assert!(!client.answer_to(AckKind::PubAck, id).is_error());
    assert_eq!(watch.receive().text, "日本");
    pair.assert_undisturbed();
}
