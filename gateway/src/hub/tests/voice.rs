//! What a client is told, and in how many words.

use protocol::mqtt::codec::{Sender, decode};
use protocol::mqtt::{Connect, ConnectProperties, LastWill, Packet, ReasonCode, Version};
use protocol::mqtt::{PublishProperties, WillProperties};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::ConnectRequest;

const TOO_DEEP: &str = "a/b/c/d/e/f";

#[test]
fn a_violation_names_its_statement_to_a_client_that_can_be_told() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let mut aliased = publish("t", "x", Q0, 0);
    aliased.properties.topic_alias = Some(9);
    gateway.send_publish(a, &aliased);
    gateway.settle();
    assert_eq!(gateway.sockets.words(a), ["topic alias above the maximum [MQTT5-3.3.2-9]"]);
    assert_eq!(gateway.hear(a), ["DISCONNECT TopicAliasInvalid", "closed"]);
    let narrow = ConnectRequest { max_packet_bytes: 40, ..clean("narrow") };
    let narrow = gateway.join(narrow);
    gateway.send_publish(narrow, &aliased);
    gateway.settle();
    assert!(gateway.sockets.words(narrow).is_empty(), "too long for this client");
    assert_eq!(gateway.hear(narrow), ["DISCONNECT TopicAliasInvalid", "closed"]);
    let old = gateway.join(old("old"));
    gateway.tell(old, &[0x82, 0x02, 0, 0]);
    assert_eq!(gateway.hear(old), ["closed"], "3.1.1 has no DISCONNECT from the server");
    let counts = gateway.violations();
    assert_eq!(counts.get("MQTT5-3.3.2-9"), Some(&2));
    assert_eq!(counts.get("MQTT3-2.3.1-1"), Some(&1));
}

#[test]
fn a_publication_that_is_refused_is_told_what_is_in_the_way() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let mut garbled = publish("t", "x", Q1, 1);
    (garbled.properties.payload_is_utf8, garbled.payload) = (true, &[0xFF]);
    garbled.properties.end_to_end = (&[1, 1][..]).into();
    gateway.publish(a, &garbled);
    gateway.publish(a, &publish(TOO_DEEP, "x", Q2, 2));
    gateway.publish(a, &publish("$aws/things/t/shadow/nothing", "x", Q1, 3));
    let words = [
        "payload is not the utf-8 it is said to be",
        "topic has more levels or bytes than its class allows",
        "topic is reserved, and asks nothing that is answered",
    ];
    assert_eq!(gateway.sockets.words(a), words);
    // Who does not want words, or has no room for them, is told the code [MQTT5-3.4.2-2].
    let quiet = ConnectRequest { problem_information: false, ..clean("quiet") };
    let narrow = ConnectRequest { max_packet_bytes: 40, ..clean("narrow") };
    for request in [quiet, narrow] {
        let conn = gateway.join(request);
        gateway.publish(conn, &publish(TOO_DEEP, "x", Q1, 1));
        assert!(gateway.sockets.words(conn).is_empty());
        assert_eq!(gateway.hear(conn), ["PUBACK #1 TopicNameInvalid"]);
    }
}

#[test]
fn a_disconnect_always_has_its_reason_and_its_properties() {
    let mut gateway = Gateway::new();
    let a = gateway.join(ConnectRequest { max_packet_bytes: 40, ..clean("a") });
    gateway.tell(a, &[0xF1, 0]);
    assert_eq!(gateway.sockets.packets(a), [[0xE0, 2, 0x81, 0]]);
}

#[test]
fn refusals_come_with_words_unless_the_client_wants_none() {
    for problem_information in [true, false] {
        let mut gateway = Gateway::new();
        let a = gateway.join(ConnectRequest { problem_information, ..clean("a") });
        gateway.publish(a, &publish(TOO_DEEP, "x", Q1, 1));
        gateway.publish(a, &publish(TOO_DEEP, "x", Q2, 2));
        gateway.tell(a, &subscribe(Version::V5, 3, &[filter("t", Q1), filter("a/#/b", Q1)]));
        gateway.tell(a, &unsubscribe(4, &["none"]));
        let words = gateway.sockets.words(a);
        let heard = [
            "PUBACK #1 TopicNameInvalid",
            "PUBREC #2 TopicNameInvalid",
            "SUBACK #3 [GrantedQoS1, TopicFilterInvalid]",
            "UNSUBACK #4 [NoSubscriptionExisted]",
        ];
        assert_eq!(gateway.hear(a), heard);
        let name = "topic has more levels or bytes than its class allows";
        let told = [name, name, "topic filter is malformed, too long or too deep"];
        assert_eq!(words, if problem_information { told.as_slice() } else { &[] });
    }
}

#[test]
fn response_information_comes_only_when_asked_for_and_only_if_it_fits() {
    let mut gateway = Gateway::new();
    for (wants_response_topic, max_packet_bytes, expected) in
        [(false, u32::MAX, None), (true, u32::MAX, Some("reply/a")), (true, 20, None)]
    {
        let request = ConnectRequest { wants_response_topic, max_packet_bytes, ..clean("a") };
        let a = gateway.connect(request);
        gateway.settle();
        let [packet] = gateway.sockets.packets(a)[..] else { panic!("one packet") };
        assert!(packet.len() <= max_packet_bytes as usize);
        let Packet::ConnAck(ack) = decode(packet, Version::V5, Sender::Server).unwrap() else {
            panic!("a CONNACK")
        };
        assert_eq!((ack.reason, ack.response_information), (ReasonCode::Success, expected));
    }
}

#[test]
fn a_client_that_takes_no_connack_of_ours_is_refused() {
    let mut gateway = Gateway::new();
    let a =
        gateway.refused(ConnectRequest { max_packet_bytes: 10, ..clean("a") }, "PacketTooLarge");
    let b = gateway.connect(ConnectRequest { max_packet_bytes: 4, ..clean("b") });
    gateway.settle();
    assert_eq!(gateway.hear(b), ["closed"], "there is no CONNACK that small");
    gateway.lose(a);
    assert!(gateway.record("a").is_none());
}

#[test]
fn a_payload_is_what_it_is_said_to_be() {
    let says_text = PublishProperties {
        payload_is_utf8: true,
        end_to_end: (&[1, 1][..]).into(),
        ..PublishProperties::default()
    };
    for check in [true, false] {
        let mut gateway = Gateway::with(|config| config.check_payload_format = check);
        let b = gateway.subscriber(clean("b"), "t", Q0);
        let a = gateway.join(clean("a"));
        for (payload, qos, number) in
            [(&b"good"[..], Q1, 1), (b"\xff", Q1, 2), (b"\xff", Q2, 3), (b"\xff", Q0, 0)]
        {
            let mut publish = publish("t", "", qos, number);
            publish.properties = says_text.clone();
            publish.payload = payload;
            gateway.publish(a, &publish);
        }
        let heard = gateway.hear(a).join(", ");
        if check {
            let refused =
                "PUBACK #1, PUBACK #2 PayloadFormatInvalid, PUBREC #3 PayloadFormatInvalid";
            assert_eq!(heard, format!("{refused}, DISCONNECT PayloadFormatInvalid, closed"));
        } else {
            assert_eq!(heard, "PUBACK #1, PUBACK #2, PUBREC #3");
        }
        assert_eq!(gateway.sockets.packets(b).len(), if check { 1 } else { 4 });
    }
}

#[test]
fn a_will_is_what_it_is_said_to_be() {
    let will = LastWill {
        topic: "t",
        payload: b"\xff",
        qos: Q0,
        retain: false,
        properties: WillProperties { payload_is_utf8: true, ..WillProperties::default() },
    };
    let connect = Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: "a",
        will: Some(will),
        user_name: None,
        password: None,
        properties: ConnectProperties::default(),
    };
    let mut gateway = Gateway::new();
    gateway.refused(ConnectRequest::of(&connect, "", 0).unwrap(), "PayloadFormatInvalid");
}

#[test]
fn there_is_no_disconnect_before_connack() {
    let mut gateway = Gateway::new();
    let a = gateway.connect(clean("a"));
    gateway.send(a, &[0xFF, 0xFF]);
    gateway.worker.handle_stop(gateway.now, &mut gateway.sockets);
    gateway.settle();
    assert!(!gateway.hear(a).concat().contains("DISCONNECT"));
}

#[test]
fn a_session_may_be_resumed_by_the_other_version() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    for (number, first, second) in
        [(1, Version::V311, Version::V5), (2, Version::V5, Version::V311)]
    {
        let name = format!("b{number}");
        let b = ConnectRequest { version: first, ..durable(&name) };
        let b = gateway.subscriber(b, "t", Q1);
        gateway.lose(b);
        gateway.publish(a, &publish("t", "kept", Q1, number));
        let b = gateway.connect(ConnectRequest { version: second, ..durable(&name) });
        gateway.settle();
        let heard = ["CONNACK Success present", "PUBLISH t kept q1 #1"];
        assert_eq!(gateway.hear(b), heard, "{first:?} to {second:?}");
        gateway.tell(b, &ack(protocol::mqtt::codec::AckKind::PubAck, 1));
        gateway.lose(b);
    }
}

#[test]
fn what_is_too_large_or_late_for_a_client_is_dropped_as_if_acknowledged_and_counted() {
    let mut gateway = Gateway::new();
    let small = ConnectRequest { max_packet_bytes: 20, receive_maximum: 1, ..clean("b") };
    let b = gateway.subscriber(small, "t", Q1);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "much too large for this one", Q1, 1));
    assert!(gateway.hear(b).is_empty());
    gateway.publish(a, &publish("t", "first", Q1, 2));
    let mut late = publish("t", "late", Q1, 3);
    late.properties.message_expiry_s = Some(5);
    gateway.publish(a, &late);
    gateway.pass(6_000);
    gateway.tell(b, &ack(protocol::mqtt::codec::AckKind::PubAck, 2));
    gateway.publish(a, &publish("t", "last", Q1, 4));
    let heard = gateway.hear(b).join(", ");
    assert!(
        heard.contains("first") && heard.contains("last") && !heard.contains("late"),
        "{heard}"
    );
    let counters = gateway.counters();
    assert_eq!((counters.dropped_too_large.get(), counters.dropped_expired.get()), (1, 1));
}

#[test]
fn words_that_would_make_a_packet_too_large_are_left_out() {
    for (max_packet_bytes, expected) in [(u32::MAX, 6), (24, 0)] {
        let mut gateway = Gateway::new();
        let a = gateway.join(ConnectRequest { max_packet_bytes, ..clean("a") });
        gateway.publish(a, &publish(TOO_DEEP, "x", Q1, 1));
        gateway.publish(a, &publish(TOO_DEEP, "x", Q2, 2));
        gateway.tell(a, &ack(protocol::mqtt::codec::AckKind::PubRec, 3));
        gateway.tell(a, &ack(protocol::mqtt::codec::AckKind::PubRel, 4));
        gateway.tell(a, &subscribe(Version::V5, 5, &[filter("a/#/b", Q1)]));
        gateway.tell(a, &unsubscribe(6, &["none"]));
        gateway.tell(a, &[0xF1, 0]);
        let packets = gateway.sockets.packets(a);
        assert!(packets.iter().all(|packet| packet.len() <= max_packet_bytes as usize));
        assert_eq!(gateway.sockets.words(a).len(), expected);
        let heard = [
            "PUBACK #1 TopicNameInvalid",
            "PUBREC #2 TopicNameInvalid",
            "PUBREL #3 PacketIdentifierNotFound",
            "PUBCOMP #4 PacketIdentifierNotFound",
            "SUBACK #5 [TopicFilterInvalid]",
            "UNSUBACK #6 [NoSubscriptionExisted]",
            "DISCONNECT MalformedPacket",
            "closed",
        ];
        assert_eq!(gateway.hear(a), heard);
    }
}
