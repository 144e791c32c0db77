//! Sections 3.1 and 3.2 of both standards: CONNECT and its answer.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Answer, Dial, Ended};

use super::stage::{BOTH, Stage, connect, fresh, packet, properties, publish, subscribe, text};

const CLEAN: u8 = 0x02;
const WILL: u8 = 0x04;
const PASSWORD: u8 = 0x40;
const USER_NAME: u8 = 0x80;

/// [MQTT3-3.1.0-1] [MQTT5-3.1.0-1] [MQTT5-3.14.0-1]
#[test]
fn to_another_first_packet_nothing_is_said() {
    let stage = Stage::enter();
    for version in BOTH {
        for bytes in [
            publish(version, 0x30, "t", (None, &[]), b"x"),
            subscribe(version, 1, &[(b"t", 0)]),
            vec![0xC0, 0],
            vec![0xE0, 0],
            vec![0xF0, 2, 0x18, 0],
            vec![0x20, 2, 0, 0],
        ] {
            assert!(stage.answer_to(&bytes).is_empty(), "{bytes:02x?}");
        }
    }
}

/// [MQTT3-3.1.0-2] [MQTT5-3.1.0-2]
#[test]
fn a_second_connect_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        let bytes = Dial::new(version, &fresh("second")).bytes();
        stage.refuses(version, &bytes, ReasonCode::ProtocolError);
    }
}

/// [MQTT3-3.1.2-1] [MQTT5-3.1.2-1] [MQTT5-3.14.0-1]
#[test]
fn another_protocol_name_is_not_served() {
    let stage = Stage::enter();
    for name in ["mqtt", "MQTt", "MQTT ", "MQIsdq", ""] {
        for level in [3, 4, 5] {
            let id = text(fresh("name"));
            let none: &[u8] = if level == 5 { &[0] } else { &[] };
            let fields = [&text(name), &[level, CLEAN, 0, 0][..], none, &id].concat();
            let mut bytes = packet(0x10, &[&fields]);
            bytes.extend([0xC0, 0]);
            let answer = stage.answer_to(&bytes);
            assert!(answer.is_empty() || answer == [0x20, 2, 0, 1], "{name} {answer:02x?}");
        }
    }
}

/// [MQTT3-3.1.2-2] [MQTT5-3.1.2-2] [MQTT3-3.2.2-4] [MQTT3-3.2.2-5] [MQTT5-3.14.0-1]
#[test]
fn an_unknown_level_is_told_so_and_closed() {
    let stage = Stage::enter();
    for level in [0, 1, 2, 3, 6, 7, 0x7F, 0x84, 0xFF] {
        let id = text(fresh("level"));
        let bytes = packet(0x10, &[&text("MQTT"), &[level, CLEAN, 0, 0], &id]);
        assert_eq!(stage.answer_to(&bytes), [0x20, 2, 0, 1], "level {level}");
    }
}

/// [MQTT3-3.1.4-1] [MQTT3-3.2.2-6] [MQTT5-3.1.4-1] [MQTT3-3.1.2-3] [MQTT5-3.1.2-3] [MQTT3-3.1.2-9] [MQTT5-3.1.2-9]
/// [MQTT3-3.1.2-11] [MQTT5-3.1.2-11] [MQTT3-3.1.2-13] [MQTT3-3.1.2-14] [MQTT5-3.1.2-12] [MQTT3-3.1.2-15]
/// [MQTT5-3.1.2-13] [MQTT3-3.1.2-18] [MQTT5-3.1.2-16] [MQTT3-3.1.2-19] [MQTT5-3.1.2-17] [MQTT3-3.1.2-20]
/// [MQTT5-3.1.2-18] [MQTT3-3.1.2-21] [MQTT5-3.1.2-19] [MQTT3-3.1.3-1] [MQTT5-3.1.3-1] [MQTT3-3.1.3-3]
/// [MQTT5-3.1.3-3] [MQTT3-3.1.3-4] [MQTT5-3.1.3-4] [MQTT3-3.1.3-10] [MQTT5-3.1.3-11] [MQTT3-3.1.3-11]
/// [MQTT5-3.1.3-12] [MQTT5-3.2.2-6] [MQTT5-3.2.2-7] [MQTT5-3.2.2-8] [MQTT5-3.14.0-1] [MQTT5-4.13.2-1]
#[test]
fn a_connect_that_does_not_fit_the_format_is_closed() {
    let stage = Stage::enter();
    for version in BOTH {
        let none = properties(version, &[]);
        let (id, topic, word) = (text(fresh("misfit")), text("t"), text("word"));
        let will = [&none[..], &topic, &word].concat();
        let cases: [(&str, u8, Vec<&[u8]>); 20] = [
            ("the reserved flag", CLEAN | 1, vec![&id]),
            ("no client id", CLEAN, vec![]),
            ("a client id that is cut off", CLEAN, vec![&id[..4]]),
            ("a client id that is no string", CLEAN, vec![b"\0\x01\xFF"]),
            ("a client id with a null character", CLEAN, vec![b"\0\x01\0"]),
            ("something behind the client id", CLEAN, vec![&id, b"x"]),
            ("will QoS 3", CLEAN | WILL | 0x18, vec![&id, &will]),
            ("will QoS without a will", CLEAN | 0x08, vec![&id]),
            ("will retain without a will", CLEAN | 0x20, vec![&id]),
            ("no will", CLEAN | WILL, vec![&id]),
            ("no will message", CLEAN | WILL, vec![&id, &none, &topic]),
            ("a will without the flag", CLEAN, vec![&id, &will]),
            (
                "a will topic that is no string",
                CLEAN | WILL,
                vec![&id, &none, b"\0\x01\xFF", &word],
            ),
            ("a will topic with a wildcard", CLEAN | WILL, vec![&id, &none, b"\0\x01#", &word]),
            ("an empty will topic", CLEAN | WILL, vec![&id, &none, b"\0\0", &word]),
            ("no user name", CLEAN | USER_NAME, vec![&id]),
            ("a user name without the flag", CLEAN, vec![&id, &word]),
            ("a user name that is no string", CLEAN | USER_NAME, vec![&id, b"\0\x01\xFF"]),
            ("no password", CLEAN | USER_NAME | PASSWORD, vec![&id, &word]),
            ("a password without the flag", CLEAN | USER_NAME, vec![&id, &word, &word]),
        ];
        for (what, flags, payload) in cases {
            let answer = stage.answer_to(&connect(version, flags, &[], &payload));
            if version == Version::V5 {
                // CONNACK may say why, with a listed code and no session.
                let &[0x20, _, 0, code, ..] = &*answer else { panic!("{what}: {answer:02x?}") };
                assert!([0x81, 0x82, 0x90].contains(&code), "{what}: {code:02x}");
            } else {
                assert!(answer.is_empty(), "{what}");
            }
        }
    }
}

/// [MQTT3-3.1.2-22]
#[test]
fn a_password_without_a_user_name_is_for_5_0_only() {
    let stage = Stage::enter();
    let id = text(fresh("password"));
    let old = connect(Version::V311, CLEAN | PASSWORD, &[], &[&id, &text("secret")]);
    assert!(stage.answer_to(&old).is_empty());
    let new = connect(Version::V5, CLEAN | PASSWORD, &[], &[&id, &text("secret")]);
    stage.connect(Dial::v5("password").saying(new)).ping();
}

/// [MQTT3-3.1.3-5] [MQTT5-3.1.3-5] [MQTT3-3.1.4-4] [MQTT5-3.1.4-5]
#[test]
fn ids_of_up_to_23_letters_and_digits_are_accepted() {
    let stage = Stage::enter();
    let ids = ["0", "0123456789abcdefghijklm", "nopqrstuvwxyzABCDEFGHIJ", "KLMNOPQRSTUVWXYZ"];
    for version in BOTH {
        for id in ids {
            let mut client = stage.connect(Dial::new(version, id));
            client.ping();
            client.disconnect();
        }
    }
}

/// [MQTT3-3.1.4-4] [MQTT3-3.2.0-1] [MQTT5-3.2.2-1] [MQTT3-3.2.2-1] [MQTT5-3.2.0-1] [MQTT5-3.2.0-2] [MQTT5-3.1.4-5]
#[test]
fn whatever_follows_connect_its_answer_comes_first_and_once() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("pipelined");
        let mut keeper = stage.client(version);
        keeper.publish_retained(&topic, "x", QoS::AtMostOnce);
        keeper.ping();
        let bytes = [
            Dial::new(version, &fresh("pipeliner")).bytes(),
            subscribe(version, 1, &[(topic.as_bytes(), 0)]),
            publish(version, 0x32, fresh("elsewhere"), (Some(2), &[]), b"x"),
            vec![0xC0, 0, 0xE0, 0],
        ]
        .concat();
        let answer = stage.answer_to(&bytes);
        assert_eq!((answer[0], answer[2], answer[3]), (0x20, 0, 0), "{answer:02x?}");
        let mut kinds = Vec::new();
        let mut rest = &answer[..];
        while let &[first, length, ..] = rest {
            kinds.push(first >> 4);
            rest = &rest[2 + usize::from(length)..];
        }
        assert_eq!(kinds[0], 2);
        assert_eq!(kinds.iter().filter(|kind| **kind == 2).count(), 1, "{kinds:?}");
    }
}

/// [MQTT3-3.1.3-6] [MQTT5-3.1.3-6] [MQTT5-3.1.3-7] [MQTT5-3.2.2-16] [MQTT3-3.1.3-7]
#[test]
fn a_client_without_an_id_gets_one_of_its_own() {
    let stage = Stage::enter();
    let mut first = stage.connect(Dial::v5(""));
    let mut second = stage.connect(Dial::v5(""));
    assert!(!first.id().is_empty() && !second.id().is_empty());
    assert_ne!(first.id(), second.id());
    let mut old = stage.connect(Dial::v311(""));
    let mut older = stage.connect(Dial::v311(""));
    for client in [&mut first, &mut second, &mut old, &mut older] {
        client.ping();
    }
    // The id is good for coming back.
    let id = stage.connect(Dial::v5("").expiry_s(60)).id().to_owned();
    let again = stage.connect(Dial::v5(&id).persistent());
    assert!(again.session_present);
}

/// [MQTT3-3.1.3-8] [MQTT3-3.1.3-9] [MQTT3-3.1.3-7] [MQTT3-3.2.2-4] [MQTT3-3.2.2-5]
#[test]
fn an_empty_id_that_asks_for_an_old_session_is_told_so_and_closed() {
    let stage = Stage::enter();
    let bytes = connect(Version::V311, 0, &[], &[&text("")]);
    assert_eq!(stage.answer_to(&bytes), [0x20, 2, 0, 2]);
}

/// [MQTT3-3.1.4-2] [MQTT5-3.1.4-3] [MQTT5-3.14.4-2] [MQTT3-3.1.3-2] [MQTT5-3.1.3-2]
#[test]
fn a_newer_connection_of_a_client_ends_the_older_one() {
    let stage = Stage::enter();
    for old in BOTH {
        for new in BOTH {
            let id = fresh("twice");
            let mut older = stage.connect(Dial::new(old, &id));
            let mut newer = stage.connect(Dial::new(new, &id));
            let told = (old == Version::V5).then_some(ReasonCode::SessionTakenOver);
            assert_eq!(older.end_reason(), told);
            newer.ping();
        }
    }
}

/// [MQTT3-3.1.4-5] [MQTT5-3.1.4-6] [MQTT3-3.2.2-5] [MQTT5-3.2.2-7]
#[test]
fn after_a_refusal_nothing_of_the_client_is_processed() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("refused");
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::AtMostOnce);
        let misfit = connect(version, CLEAN | 1, &[], &[&text(fresh("client"))]);
        let level = packet(0x10, &[&text("MQTT"), &[9, CLEAN, 0, 0], &text(fresh("client"))]);
        for refused in [misfit, level] {
            let more = publish(version, 0x30, &topic, (None, &[]), b"unheard");
            stage.answer_to(&[refused, more].concat());
        }
        stage.client(version).publish(&topic, "heard", QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, "heard");
    }
}

/// [MQTT5-3.2.2-6] [MQTT5-3.2.2-7] [MQTT5-3.2.2-8] [MQTT5-4.13.2-1]
#[test]
fn a_refusal_never_speaks_of_a_session() {
    let stage = Stage::enter();
    let id = fresh("kept");
    stage.connect(Dial::v5(&id).persistent()).disconnect();
    // The session is there, but the will's topic is the gateway's own.
    match Dial::v5(&id).persistent().will("$SYS/x", "gone").try_connect(stage.place()) {
        Answer::Refused { reason, bytes, .. } => {
            assert_eq!((reason, bytes[2]), (ReasonCode::NotAuthorized, 0));
        }
        other => panic!("{other:?}"),
    }
    match Dial::v311(&id).persistent().will("$SYS/x", "gone").try_connect(stage.place()) {
        Answer::Refused { bytes, .. } => assert_eq!(bytes, [0x20, 2, 0, 5]),
        other => panic!("{other:?}"),
    }
    assert!(stage.connect(Dial::v5(&id).persistent()).session_present);
}

/// [MQTT3-3.1.2-24] [MQTT5-3.1.2-22] [MQTT5-3.2.2-22] [MQTT3-3.1.2-23] [MQTT5-3.1.2-20]
#[test]
fn a_client_that_is_silent_for_too_long_is_closed_and_its_will_published() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("silence");
        let mut watcher = stage.client(version);
        watcher.subscribe(&topic, QoS::AtLeastOnce);
        let dial = Dial::new(version, &fresh("silent")).keep_alive_s(1).will(&topic, "silent");
        let mut silent = stage.connect(dial);
        let told = (version == Version::V5).then_some(ReasonCode::KeepAliveTimeout);
        assert_eq!(silent.end_reason(), told);
        assert_eq!(watcher.receive().text, "silent");
    }
}

/// [MQTT5-3.1.2-24] [MQTT5-3.1.2-25]
#[test]
fn what_is_too_large_for_a_client_counts_as_sent() {
    let stage = Stage::enter();
    let topic = fresh("large");
    let maximum = [0x27, 0, 0, 0, 100, 0x21, 0, 1];
    let bytes = connect(Version::V5, CLEAN, &maximum, &[&text(fresh("small"))]);
    let mut small = stage.connect(Dial::v5("small").saying(bytes));
    small.subscribe(&topic, QoS::ExactlyOnce);
    let mut writer = stage.client(Version::V5);
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        writer.publish(&topic, &"x".repeat(200), qos);
        writer.publish(&topic, "short", qos);
        let frame = small.next_frame();
        assert!(frame.bytes().len() <= 100);
        small.ping();
        let id_at = 4 + topic.len();
        if qos == QoS::AtLeastOnce {
            small.send(&packet(0x40, &[&frame.bytes()[id_at..id_at + 2]]));
        }
    }
}

/// [MQTT5-3.2.2-15]
#[test]
fn what_is_too_large_for_the_gateway_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        // The length is enough.
        stage.refuses(version, &[0x30, 0xFF, 0xFF, 0xFF, 0x7F], ReasonCode::PacketTooLarge);
    }
}

/// [MQTT5-3.1.2-26] [MQTT5-3.1.2-27]
#[test]
fn a_client_that_takes_no_topic_alias_is_sent_none() {
    let stage = Stage::enter();
    let absent = connect(Version::V5, CLEAN, &[], &[&text(fresh("unaliased"))]);
    let zero = connect(Version::V5, CLEAN, &[0x22, 0, 0], &[&text(fresh("unaliased"))]);
    for bytes in [absent, zero] {
        let topic = fresh("unaliased");
        let mut reader = stage.connect(Dial::v5("unaliased").saying(bytes));
        reader.subscribe(&topic, QoS::AtMostOnce);
        let mut writer = stage.client(Version::V5);
        for _ in 0..20 {
            writer.publish(&topic, "x", QoS::AtMostOnce);
            let expected = publish(Version::V5, 0x30, &topic, (None, &[]), b"x");
            assert_eq!(reader.next_frame().bytes(), expected);
        }
    }
}

/// [MQTT5-3.1.2-28]
#[test]
fn response_information_is_for_those_who_ask() {
    let stage = Stage::enter();
    for section in [&[][..], &[0x19, 0]] {
        let bytes = connect(Version::V5, CLEAN, section, &[&text(fresh("unasked"))]);
        let answer = stage.answer_to(&[bytes, vec![0xE0, 0]].concat());
        let (mut at, end) = (5, 5 + usize::from(answer[4]));
        while at < end {
            assert_ne!(answer[at], 0x1A, "{answer:02x?}");
            at += match answer[at] {
                0x11 | 0x27 => 5,
                0x21 | 0x22 | 0x13 => 3,
                0x24 | 0x25 | 0x28 | 0x29 | 0x2A => 2,
                other => panic!("property {other:02x} of {answer:02x?}"),
            };
        }
    }
}

/// [MQTT3-7.0.0-2] [MQTT5-4.2-1] [MQTT3-7.1.1-1]
#[test]
fn a_client_that_does_no_more_than_it_must_is_served() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("plain");
        let bytes = connect(version, CLEAN, &[], &[&text(fresh("plain"))]);
        let mut client = stage.connect(Dial::new(version, "plain").saying(bytes));
        client.send(&subscribe(version, 1, &[(topic.as_bytes(), 0)]));
        client.next_frame();
        client.send(&publish(version, 0x30, &topic, (None, &[]), b"x"));
        assert_eq!(client.receive().text, "x");
        client.send(&[0xE0, 0]);
        assert_eq!(client.ended(), Ended::Closed);
    }
}
