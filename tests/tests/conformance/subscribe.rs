//! Sections 3.8 and 3.9: SUBSCRIBE and SUBACK.

use protocol::QoS;
use protocol::mqtt::{Filter, ReasonCode, RetainHandling, SubscribeOptions, Version};
use tests::harness::Dial;

use super::stage::{BOTH, Stage, fresh, publish, subscribe};

/// [MQTT3-3.8.3-3] [MQTT5-3.8.3-2]
#[test]
fn a_subscribe_without_a_filter_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        stage.refuses(version, &subscribe(version, 1, &[]), ReasonCode::ProtocolError);
    }
}

/// [MQTT3-3.8.3-4] [MQTT5-3.8.3-5] [MQTT3-2.2.2-2]
#[test]
fn options_that_do_not_exist_end_the_connection() {
    let stage = Stage::enter();
    for (version, malformed, wrong) in [
        (Version::V311, &[0x04, 0x08, 0x10, 0x20, 0x40, 0x80, 0xFE][..], &[0x03][..]),
        (Version::V5, &[0x40, 0x80, 0xC0, 0xC1], &[0x03, 0x30, 0x31]),
    ] {
        for options in malformed {
            let bytes = subscribe(version, 1, &[(b"t", *options)]);
            stage.refuses(version, &bytes, ReasonCode::MalformedPacket);
        }
        for options in wrong {
            let bytes = subscribe(version, 1, &[(b"good", 0), (b"t", *options)]);
            stage.refuses(version, &bytes, ReasonCode::ProtocolError);
        }
    }
}

/// [MQTT3-3.8.4-1] [MQTT3-3.8.4-4] [MQTT3-3.8.4-5] [MQTT3-3.9.3-1] [MQTT3-3.9.3-2] [MQTT5-3.8.4-1] [MQTT5-3.8.4-5]
/// [MQTT5-3.8.4-6] [MQTT5-3.8.4-7] [MQTT5-3.9.3-1] [MQTT5-3.9.3-2] [MQTT3-4.7.1-2] [MQTT3-4.7.1-3] [MQTT5-4.7.1-1]
/// [MQTT5-4.7.1-2] [MQTT3-4.7.3-1] [MQTT5-4.7.3-1] [MQTT3-3.8.4-2] [MQTT5-3.8.4-2]
#[test]
fn each_filter_is_answered_for_itself_in_its_place() {
    let stage = Stage::enter();
    for version in BOTH {
        let mut client = stage.client(version);
        let topic = fresh("each");
        let own = |rest: &str| format!("{topic}/{rest}").into_bytes();
        let (zero, one, two) = (own("0"), own("1"), own("2"));
        let filters: [(&[u8], u8); 10] = [
            (&two, 2),
            (b"a/#/b", 1),
            (&one, 1),
            (b"a+", 0),
            (b"#a", 2),
            (b"+a/b", 2),
            (b"a/b#", 2),
            (b"", 0),
            (&zero, 0),
            (b"a/++", 1),
        ];
        client.send(&subscribe(version, 0x1234, &filters));
        let bad = if version == Version::V5 { 0x8F } else { 0x80 };
        let codes = [2, bad, 1, bad, bad, bad, bad, bad, 0, bad];
        let frame = client.next_frame();
        // In 5.0 words may stand between the id and the codes.
        let (head, answered) = frame.bytes().split_at(frame.bytes().len() - codes.len());
        assert_eq!((head[0], &head[2..4], answered), (0x90, &[0x12, 0x34][..], &codes[..]));
        assert!(version == Version::V5 || head.len() == 4, "{head:02x?}");
        // The good ones beside the bad ones are served.
        let mut writer = stage.client(version);
        for (filter, qos) in
            [(&zero, QoS::AtMostOnce), (&one, QoS::AtLeastOnce), (&two, QoS::ExactlyOnce)]
        {
            writer.publish(&String::from_utf8_lossy(filter), "x", QoS::ExactlyOnce);
            assert_eq!(client.receive().qos, qos);
        }
    }
}

/// [MQTT3-3.8.4-6] [MQTT5-3.8.4-8] [MQTT5-4.3.1-1]
#[test]
fn the_lower_of_the_two_levels_is_delivered() {
    let stage = Stage::enter();
    let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for version in BOTH {
        for granted in levels {
            for dial in [
                Dial::new(version, &fresh("clean")),
                Dial::new(version, &fresh("kept")).persistent(),
            ] {
                let topic = fresh("lower");
                let mut reader = stage.connect(dial);
                reader.subscribe(&topic, granted);
                let mut writer = stage.client(version);
                for published in levels {
                    writer.publish(&topic, "x", published);
                    let message = reader.receive();
                    assert_eq!(message.qos, granted.min(published));
                    assert_eq!(message.packet_id.is_some(), message.qos != QoS::AtMostOnce);
                }
            }
        }
    }
}

/// [MQTT3-3.8.4-3] [MQTT5-3.8.4-3] [MQTT5-3.8.4-4]
#[test]
fn the_same_filter_again_replaces_the_subscription_and_sends_what_is_retained() {
    let stage = Stage::enter();
    for version in BOTH {
        for kept in [false, true] {
            let topic = fresh("replaced");
            let mut writer = stage.client(version);
            writer.publish_retained(&topic, "retained", QoS::ExactlyOnce);
            let dial = Dial::new(version, &fresh("reader"));
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            for qos in [QoS::ExactlyOnce, QoS::AtMostOnce, QoS::AtLeastOnce] {
                reader.subscribe(&topic, qos);
                let message = reader.receive();
                assert_eq!((message.text.as_str(), message.qos), ("retained", qos));
                writer.publish(&topic, "news", QoS::ExactlyOnce);
                let message = reader.receive();
                assert_eq!((message.text.as_str(), message.qos), ("news", qos), "once");
            }
            // One UNSUBSCRIBE takes all of it away.
            reader.unsubscribe(&topic);
            writer.publish(&topic, "unheard", QoS::AtLeastOnce);
            let own = fresh("own");
            reader.subscribe(&own, QoS::AtMostOnce);
            reader.publish(&own, "own", QoS::AtLeastOnce);
            assert_eq!(reader.receive().text, "own");
        }
    }
}

/// [MQTT3-3.8.4-3] [MQTT5-3.8.4-4] [MQTT5-3.8.4-3]
#[test]
fn nothing_is_lost_while_a_subscription_is_replaced() {
    let stage = Stage::enter();
    for version in BOTH {
        for kept in [false, true] {
            let topic = fresh("flow");
            let dial = Dial::new(version, &fresh("reader"));
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            reader.subscribe(&topic, QoS::AtLeastOnce);
            let place = stage.place();
            let to = topic.clone();
            let writer = std::thread::spawn(move || {
                let mut writer = Dial::new(version, &fresh("writer")).connect(place);
                for number in 0..200 {
                    writer.publish(&to, &number.to_string(), QoS::AtLeastOnce);
                }
            });
            let filter = topic.as_bytes();
            for id in 1..=50 {
                reader.send(&subscribe(version, id, &[(filter, 1)]));
            }
            let texts = reader.receive_until("199");
            writer.join().expect("the writer is served");
            let all: Vec<_> = (0..200).map(|number| number.to_string()).collect();
            assert_eq!(texts, all);
        }
    }
}

/// [MQTT5-3.8.3-3]
#[test]
fn a_client_need_not_hear_what_it_said_itself() {
    let stage = Stage::enter();
    for kept in [false, true] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = fresh("echo");
            let dial = Dial::v5(&fresh("talker"));
            let mut talker = stage.connect(if kept { dial.persistent() } else { dial });
            let options = SubscribeOptions {
                qos,
                no_local: true,
                retain_as_published: false,
                retain_handling: RetainHandling::Send,
            };
            talker.subscribe_with(&[Filter { text: &topic, options }], None);
            talker.publish(&topic, "mine", qos);
            stage.client(Version::V5).publish(&topic, "theirs", qos);
            assert_eq!(talker.receive().text, "theirs");
        }
    }
}

/// [MQTT5-3.8.3-3] [MQTT5-3.3.4-3]
#[test]
fn what_one_subscription_keeps_from_a_client_another_may_bring() {
    let stage = Stage::enter();
    for kept in [false, true] {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = fresh("echo");
            let dial = Dial::v5(&fresh("talker"));
            let mut talker = stage.connect(if kept { dial.persistent() } else { dial });
            for (end, no_local, identifier) in [("#", true, 1), ("+", false, 2)] {
                let text = format!("{topic}/{end}");
                let options = SubscribeOptions {
                    qos,
                    no_local,
                    retain_as_published: false,
                    retain_handling: RetainHandling::Send,
                };
                talker.subscribe_with(&[Filter { text: &text, options }], Some(identifier));
            }
            talker.publish(&format!("{topic}/x"), "mine", qos);
            // Whether the first one's identifier is there too the standard leaves open: its filter matches.
            let mine = talker.receive();
            assert_eq!((mine.text.as_str(), mine.subscription_ids.contains(&2)), ("mine", true));
            stage.client(Version::V5).publish(&format!("{topic}/x"), "theirs", qos);
            let mut theirs = talker.receive();
            theirs.subscription_ids.sort_unstable();
            assert_eq!(
                (theirs.text.as_str(), &theirs.subscription_ids[..]),
                ("theirs", &[1, 2][..])
            );
        }
    }
}

/// [MQTT3-3.8.4-4] [MQTT5-3.8.4-5] [MQTT3-3.3.1-6] [MQTT5-3.3.1-9]
#[test]
fn many_filters_act_as_many_subscribes() {
    let stage = Stage::enter();
    for version in BOTH {
        for kept in [false, true] {
            let topic = fresh("many");
            let mut writer = stage.client(version);
            writer.publish_retained(&format!("{topic}/x"), "retained", QoS::AtLeastOnce);
            let dial = Dial::new(version, &fresh("reader"));
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            let filters = ["#", "+", "x", "x"].map(|end| format!("{topic}/{end}"));
            let filters: Vec<_> = filters.iter().zip([1, 0, 2, 1]).collect();
            let filters: Vec<_> = filters.iter().map(|(f, qos)| (f.as_bytes(), *qos)).collect();
            reader.send(&subscribe(version, 1, &filters));
            reader.next_frame();
            let mut levels: Vec<_> = (0..4).map(|_| reader.receive().qos).collect();
            levels.sort_unstable();
            let (zero, one) = (QoS::AtMostOnce, QoS::AtLeastOnce);
            assert_eq!(levels, [zero, one, one, one], "each of them gets what is retained");
            // The last of two that are the same counts.
            reader.unsubscribe(&format!("{topic}/#"));
            reader.unsubscribe(&format!("{topic}/+"));
            writer.publish(&format!("{topic}/x"), "news", QoS::ExactlyOnce);
            let news = reader.receive();
            assert_eq!((news.text.as_str(), news.qos), ("news", one));
        }
    }
}

/// [MQTT5-3.8.3-4]
#[test]
fn no_local_on_a_shared_subscription_ends_the_connection() {
    let stage = Stage::enter();
    let bytes = subscribe(Version::V5, 1, &[(b"$share/g/t", 0x04)]);
    stage.refuses(Version::V5, &bytes, ReasonCode::ProtocolError);
}

/// [MQTT3-3.8.3-2] [MQTT5-3.2.2-10]
#[test]
fn wildcards_and_every_level_are_served() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("wild");
        let mut reader = stage.client(version);
        for (filter, qos) in [("+/a", QoS::ExactlyOnce), ("b/#", QoS::ExactlyOnce)] {
            reader.subscribe(&format!("{topic}/{filter}"), qos);
        }
        let mut writer = stage.client(version);
        writer.publish(&format!("{topic}/x/a"), "one", QoS::ExactlyOnce);
        writer.publish(&format!("{topic}/b/x/y"), "two", QoS::ExactlyOnce);
        assert_eq!([reader.receive().text, reader.receive().text], ["one", "two"]);
    }
}

/// [MQTT3-4.8.0-1] [MQTT5-4.13.1-1]
#[test]
fn a_broken_rule_ends_only_the_connection_it_came_on() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("others");
        let mut other = stage.client(version);
        other.subscribe(&topic, QoS::AtLeastOnce);
        for bytes in [
            vec![0x00, 0x00],
            vec![0x20, 0x02, 0x00, 0x00],
            vec![0x90, 0x03, 0x00, 0x01, 0x00],
            vec![0xB0, 0x02, 0x00, 0x01],
            vec![0xD0, 0x00],
            vec![0xC0, 0x01, 0x00],
            vec![0x40, 0x01, 0x00],
            vec![0x62, 0x00],
            publish(version, 0x30, "", (None, &[]), b"x"),
        ] {
            let told = stage.end_by(version, &bytes);
            assert_eq!(told.is_some(), version == Version::V5, "{bytes:02x?}");
        }
        let mut writer = stage.client(version);
        writer.publish(&topic, "x", QoS::AtLeastOnce);
        assert_eq!(other.receive().text, "x");
    }
}
