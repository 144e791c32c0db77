//! Section 3.3 of both standards: PUBLISH, apart from what is retained.

use protocol::QoS;
use protocol::mqtt::{Filter, Packet, ReasonCode, RetainHandling, SubscribeOptions, Version};
use tests::harness::{Dial, Ended, Fleet, Settings};

use super::stage::{BOTH, Stage, ack, fresh, publish, subscribe, text};

/// [MQTT3-3.3.1-4] [MQTT5-3.3.1-4]
#[test]
fn qos_3_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        for first in [0x36, 0x37, 0x3E, 0x3F] {
            let bytes = publish(version, first, "t", (Some(1), &[]), b"x");
            stage.refuses(version, &bytes, ReasonCode::MalformedPacket);
        }
    }
}

/// [MQTT3-3.3.1-2] [MQTT5-3.3.1-2]
#[test]
fn a_repeat_of_what_is_never_repeated_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        let bytes = publish(version, 0x38, "t", (None, &[]), b"x");
        stage.refuses(version, &bytes, ReasonCode::MalformedPacket);
    }
}

/// [MQTT3-3.3.1-3] [MQTT5-3.3.1-3] [MQTT5-4.3.2-2] [MQTT5-4.3.3-2]
#[test]
fn the_mark_of_a_repeat_is_not_passed_on() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("repeat");
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::ExactlyOnce);
        let mut kept = stage.connect(Dial::new(version, &fresh("kept")).persistent());
        kept.subscribe(&topic, QoS::AtLeastOnce);
        let mut writer = stage.client(version);
        for (first, id) in [(0x3A, 1), (0x3C, 2)] {
            writer.send(&publish(version, first, &topic, (Some(id), &[]), b"x"));
            assert!(!reader.receive().dup);
            assert!(!kept.receive().dup);
        }
    }
}

/// [MQTT3-3.3.2-2] [MQTT5-3.3.2-2] [MQTT3-4.7.1-1] [MQTT5-4.7.0-1]
#[test]
fn a_wildcard_in_a_topic_name_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        for topic in ["#", "+", "a/#", "a/+/b", "a#", "+a"] {
            for (first, id) in [(0x30, None), (0x32, Some(1)), (0x34, Some(1))] {
                let bytes = publish(version, first, topic, (id, &[]), b"x");
                stage.refuses(version, &bytes, ReasonCode::TopicNameInvalid);
            }
        }
    }
}

/// [MQTT3-4.7.3-1] [MQTT5-4.7.3-1]
#[test]
fn an_empty_topic_name_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        let bytes = publish(version, 0x30, "", (None, &[]), b"x");
        stage.refuses(version, &bytes, ReasonCode::ProtocolError);
    }
}

/// [MQTT3-3.3.4-1] [MQTT5-3.3.4-1]
#[test]
fn a_publication_is_answered_as_its_level_asks() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("t");
        let mut listener = stage.client(version);
        listener.subscribe(&topic, QoS::AtMostOnce);
        let mut client = stage.client(version);
        client.send(&publish(version, 0x30, &topic, (None, &[]), b"x"));
        client.send(&[0xC0, 0]);
        assert_eq!(client.next_frame().bytes(), [0xD0, 0], "nothing answers QoS 0");
        client.send(&publish(version, 0x32, &topic, (Some(7), &[]), b"x"));
        assert_eq!(client.next_frame().bytes(), ack(0x40, 7));
        client.send(&publish(version, 0x34, &topic, (Some(7), &[]), b"x"));
        assert_eq!(client.next_frame().bytes(), ack(0x50, 7));
    }
}

/// [MQTT3-3.3.5-2] [MQTT5-3.4.2-1] [MQTT5-3.5.2-1]
#[test]
fn a_publication_that_is_not_allowed_is_refused_in_the_words_of_the_version() {
    let stage = Stage::enter();
    let mut new = stage.client(Version::V5);
    new.send(&publish(Version::V5, 0x32, "$SYS/x", (Some(1), &[]), b"x"));
    let frame = new.next_frame();
    assert_eq!(frame.bytes()[..5], [0x40, frame.bytes()[1], 0, 1, 0x87]);
    new.send(&publish(Version::V5, 0x34, "$SYS/x", (Some(2), &[]), b"x"));
    let frame = new.next_frame();
    assert_eq!(frame.bytes()[..5], [0x50, frame.bytes()[1], 0, 2, 0x87]);
    new.ping();
    for (first, id) in [(0x32, 1), (0x34, 2)] {
        let mut old = stage.client(Version::V311);
        old.send(&publish(Version::V311, first, "$SYS/x", (Some(id), &[]), b"x"));
        assert_eq!(old.ended(), Ended::Closed, "unacknowledged");
    }
}

/// [MQTT5-3.3.2-4] [MQTT5-3.3.2-15] [MQTT5-3.3.2-16] [MQTT5-3.3.2-17] [MQTT5-3.3.2-18] [MQTT5-3.3.2-20]
#[test]
fn properties_are_passed_on_as_they_came() {
    let stage = Stage::enter();
    let pair = |k: &str, v: &str| [&[0x26][..], &text(k), &text(v)].concat();
    let section = [
        pair("z", "1"),
        vec![1, 1],
        [&[9][..], &text(b"\0\xFFcorrelation")].concat(),
        pair("a", ""),
        [&[8][..], &text("answer/to/é")].concat(),
        pair("", "2"),
        [&[3][..], &text("text/plain")].concat(),
        pair("z", "1"),
    ]
    .concat();
    for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
        for dial in [Dial::v5(&fresh("clean")), Dial::v5(&fresh("kept")).persistent()] {
            let topic = fresh("proper");
            let mut reader = stage.connect(dial);
            reader.subscribe(&topic, qos);
            let mut writer = stage.client(Version::V5);
            let id = (qos != QoS::AtMostOnce).then_some(1);
            let first = 0x30 | qos.bits() << 1;
            writer.send(&publish(Version::V5, first, &topic, (id, &section), b"text"));
            let frame = reader.next_frame();
            let expected = publish(Version::V5, first, &topic, (id, &section), b"text");
            assert_eq!(frame.bytes(), expected, "{qos:?}");
        }
    }
    // Who speaks 3.1.1 gets the message without them.
    let topic = fresh("proper");
    let mut old = stage.client(Version::V311);
    old.subscribe(&topic, QoS::AtMostOnce);
    let bytes = publish(Version::V5, 0x30, &topic, (None, &section), b"text");
    stage.client(Version::V5).send(&bytes);
    let expected = publish(Version::V311, 0x30, &topic, (None, &[]), b"text");
    assert_eq!(old.next_frame().bytes(), expected);
}

/// [MQTT5-3.3.2-13] [MQTT5-3.3.2-14] [MQTT5-3.3.2-19] [MQTT5-3.3.4-6]
#[test]
fn properties_that_are_wrong_end_the_connection() {
    let stage = Stage::enter();
    let with = |section: &[u8]| publish(Version::V5, 0x30, "t", (None, section), b"x");
    let property = |id: u8, value: &[u8]| [&[id][..], &text(value)].concat();
    for (section, reason) in [
        (property(8, b"\xFF"), ReasonCode::MalformedPacket),
        (property(8, b"a/#"), ReasonCode::ProtocolError),
        (property(8, b"+"), ReasonCode::ProtocolError),
        (property(3, b"\xC0\xAF"), ReasonCode::MalformedPacket),
        (vec![0x0B, 1], ReasonCode::ProtocolError),
    ] {
        stage.refuses(Version::V5, &with(&section), reason);
    }
}

/// [MQTT5-3.3.2-6]
#[test]
fn the_time_that_is_left_is_passed_on() {
    let stage = Stage::enter();
    let topic = fresh("expiring");
    let id = fresh("away");
    let mut away = stage.connect(Dial::v5(&id).persistent());
    away.subscribe(&topic, QoS::AtLeastOnce);
    away.disconnect();
    let mut here = stage.client(Version::V5);
    here.subscribe(&topic, QoS::AtLeastOnce);
    let mut writer = stage.client(Version::V5);
    let section = [2, 0, 0, 0x0E, 0x10];
    writer.send(&publish(Version::V5, 0x32, &topic, (Some(1), &section), b"x"));
    let mut away = stage.connect(Dial::v5(&id).persistent());
    for reader in [&mut here, &mut away] {
        let left = reader.wait_for("a PUBLISH", |packet| match packet {
            Packet::Publish(publish) => publish.properties.message_expiry_s,
            _ => None,
        });
        assert!((1..=3600).contains(&left), "{left}");
    }
}

/// [MQTT5-3.3.2-5] [MQTT5-3.3.2-6]
#[test]
fn a_message_whose_time_is_over_is_not_delivered() {
    let stage = Stage::enter();
    let (id, topic) = (fresh("late"), fresh("late"));
    let mut late = stage.connect(Dial::v5(&id).persistent());
    late.subscribe(&topic, QoS::AtLeastOnce);
    late.disconnect();
    let mut writer = stage.client(Version::V5);
    let retained = fresh("late");
    for (number, seconds) in [(1, 1), (2, 100)] {
        let section = [2, 0, 0, 0, seconds];
        writer.send(&publish(Version::V5, 0x32, &topic, (Some(number), &section), &section));
        let name = format!("{retained}/{number}");
        writer.send(&publish(Version::V5, 0x31, &name, (None, &section), &section));
    }
    stage.pass_seconds(2);
    let left = |packet: &Packet<'_>| match packet {
        Packet::Publish(publish) => publish.properties.message_expiry_s,
        _ => None,
    };
    let mut late = stage.connect(Dial::v5(&id).persistent());
    assert!((1..=98).contains(&late.wait_for("a PUBLISH", left)));
    let mut reader = stage.client(Version::V5);
    reader.subscribe(&format!("{retained}/+"), QoS::AtMostOnce);
    assert!((1..=98).contains(&reader.wait_for("a PUBLISH", left)));
}

/// [MQTT5-3.3.2-7] [MQTT5-3.3.2-8] [MQTT5-3.3.2-9] [MQTT5-3.3.2-12] [MQTT5-3.2.2-17]
#[test]
fn aliases_are_taken_up_to_the_maximum_and_end_with_the_connection() {
    let stage = Stage::enter();
    let maximum = 32;
    let topic = fresh("aliased");
    let mut reader = stage.client(Version::V5);
    reader.subscribe(&format!("{topic}/#"), QoS::AtMostOnce);
    let aliased =
        |name: &str, alias: u8| publish(Version::V5, 0x30, name, (None, &[0x23, 0, alias]), b"x");
    let mut writer = stage.client(Version::V5);
    for alias in 1..=maximum {
        writer.send(&aliased(&format!("{topic}/{alias}"), alias));
    }
    for alias in 1..=maximum {
        writer.send(&aliased("", alias));
    }
    for alias in (1..=maximum).chain(1..=maximum) {
        assert_eq!(reader.receive().topic, format!("{topic}/{alias}"));
    }
    // Another connection has aliases of its own, also of the same client.
    let mut again = stage.connect(Dial::v5(writer.id()));
    again.send(&aliased("", 1));
    assert_eq!(again.end_reason(), Some(ReasonCode::ProtocolError));
    stage.refuses(Version::V5, &aliased("t", 0), ReasonCode::TopicAliasInvalid);
    stage.refuses(Version::V5, &aliased("t", maximum + 1), ReasonCode::TopicAliasInvalid);
}

/// [MQTT3-3.3.5-1] [MQTT5-3.3.4-2] [MQTT5-3.3.4-3] [MQTT5-3.3.4-4]
#[test]
fn overlapping_subscriptions_get_one_copy_at_the_highest_level_with_all_identifiers() {
    let stage = Stage::enter();
    for version in BOTH {
        for dial in
            [Dial::new(version, &fresh("clean")), Dial::new(version, &fresh("kept")).persistent()]
        {
            let topic = fresh("overlap");
            let mut reader = stage.connect(dial);
            for (filter, qos, identifier) in [
                ("#", QoS::AtMostOnce, 5),
                ("+", QoS::ExactlyOnce, 6),
                ("x", QoS::AtLeastOnce, 300),
            ] {
                let options = SubscribeOptions {
                    qos,
                    no_local: false,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Send,
                };
                let text = format!("{topic}/{filter}");
                let identifier = (version == Version::V5).then_some(identifier);
                reader.subscribe_with(&[Filter { text: &text, options }], identifier);
            }
            let mut writer = stage.client(version);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                writer.publish(&format!("{topic}/x"), "x", qos);
                writer.publish(&format!("{topic}/y"), "y", qos);
                let mut message = reader.receive();
                message.subscription_ids.sort_unstable();
                let ids: &[u32] = if version == Version::V5 { &[5, 6, 300] } else { &[] };
                assert_eq!((message.text.as_str(), message.qos), ("x", qos));
                assert_eq!(message.subscription_ids, ids);
                assert_eq!(reader.receive().text, "y", "one copy of each");
            }
        }
    }
}

/// [MQTT3-4.5.0-1] [MQTT5-4.5.0-1] [MQTT3-3.3.2-3] [MQTT5-3.3.2-3]
#[test]
fn everybody_whose_filter_matches_gets_the_message_and_nobody_else() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("all");
        let filters = ["a/b", "a/+", "a/#", "+/b", "#", "a", "a/b/c", "b/+", "A/b"];
        let mut readers: Vec<_> = filters
            .iter()
            .map(|filter| {
                let mut reader = stage.client(version);
                let options = 1;
                reader.send(&subscribe(
                    version,
                    1,
                    &[(format!("{topic}/{filter}").as_bytes(), options)],
                ));
                reader.next_frame();
                reader
            })
            .collect();
        let mut writer = stage.client(version);
        writer.publish(&format!("{topic}/a/b"), "x", QoS::AtLeastOnce);
        for (number, reader) in readers.iter_mut().enumerate() {
            if number < 5 {
                let message = reader.receive();
                assert_eq!(message.topic, format!("{topic}/a/b"));
            }
            let own = fresh("own");
            reader.subscribe(&own, QoS::AtMostOnce);
            reader.publish(&own, "own", QoS::AtLeastOnce);
            assert_eq!(reader.receive().text, "own", "{}", filters[number]);
        }
    }
}

/// [MQTT5-3.2.2-18] [MQTT5-3.2.2-17] [MQTT5-3.3.2-9]
#[test]
fn a_gateway_that_takes_no_aliases_says_so_and_takes_none() {
    let settings = Settings::default().everywhere("[limits]\ntopic_alias_maximum = 0\n");
    let fleet = Fleet::start_with(1, &settings);
    let mut client = Dial::v5(&fresh("aliased")).connect(fleet.mqtt(1));
    client.send(&publish(Version::V5, 0x30, "t", (None, &[0x23, 0, 1]), b"x"));
    assert_eq!(client.end_reason(), Some(ReasonCode::TopicAliasInvalid));
}
