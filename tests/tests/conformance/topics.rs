//! Section 4.7: topic names and filters.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};

use super::stage::{BOTH, Stage, fresh, packet, publish, subscribe};

/// Which of these topics reach a subscriber of this filter. Filters and topics are put under a level of their own, unless
/// they begin with `!`, which stands for nothing before them.
fn heard(stage: &Stage, version: Version, filter: &str, topics: &[&str]) -> Vec<String> {
    let (level, end) = (fresh("level"), fresh("end"));
    let under = |text: &str| format!("{level}/{text}");
    let mut reader = stage.client(version);
    reader.subscribe(&under(filter), QoS::AtMostOnce);
    reader.subscribe(&end, QoS::AtMostOnce);
    let mut writer = stage.client(version);
    for topic in topics {
        writer.publish(&under(topic), topic, QoS::AtMostOnce);
    }
    writer.publish(&end, "end", QoS::AtMostOnce);
    let mut heard = reader.receive_until("end");
    heard.pop();
    heard
}

/// [MQTT3-4.7.1-2] [MQTT5-4.7.1-1] [MQTT3-4.7.1-3] [MQTT5-4.7.1-2] [MQTT3-3.3.2-3] [MQTT5-3.3.2-3]
#[test]
fn wildcards_match_as_the_standard_says() {
    let stage = Stage::enter();
    let topics = ["a", "a/", "/a", "a/b", "a/b/c", "a//c", "b", "/", "//"];
    for version in BOTH {
        for (filter, expected) in [
            ("#", &topics[..]),
            ("a/#", &["a", "a/", "a/b", "a/b/c", "a//c"]),
            ("+", &["a", "b"]),
            ("a/+", &["a/", "a/b"]),
            ("+/+", &["a/", "/a", "a/b", "/"]),
            ("/+", &["/a", "/"]),
            ("a/+/c", &["a/b/c", "a//c"]),
            ("+/b/#", &["a/b", "a/b/c"]),
            ("+/+/+", &["a/b/c", "a//c", "//"]),
            ("a", &["a"]),
        ] {
            assert_eq!(heard(&stage, version, filter, &topics), expected, "{filter}");
        }
    }
}

/// [MQTT3-4.7.3-4] [MQTT5-4.7.3-4] [MQTT3-1.5.3-3]
#[test]
fn topics_are_compared_as_they_are() {
    let stage = Stage::enter();
    // Composed and decomposed, full width, spaces, letters of both cases, dots, doubled levels.
    let topics = [
        "é",
        "e\u{301}",
        "a",
        "A",
        "ａ",
        " a",
        "a ",
        "a/../b",
        "b",
        "a//b",
        "a/b",
        "a\u{FEFF}",
        "\u{1}",
        "a\u{AD}",
        "%61",
    ];
    for version in BOTH {
        for topic in topics {
            assert_eq!(heard(&stage, version, topic, &topics), [topic], "{topic:?}");
        }
    }
}

/// [MQTT3-4.7.2-1] [MQTT5-4.7.2-1]
#[test]
fn a_wildcard_in_front_does_not_match_what_is_the_servers_own() {
    let stage = Stage::enter();
    for version in BOTH {
        let mut reader = stage.client(version);
        for filter in ["#", "+/x", "+/#", "+/+"] {
            reader.subscribe(filter, QoS::AtMostOnce);
        }
        // Nobody may publish there, which settles it for every filter.
        let mut writer = stage.client(version);
        writer.send(&publish(version, 0x30, "$SYS/x", (None, &[]), b"unheard"));
        writer.send(&publish(version, 0x30, "$share/x", (None, &[]), b"unheard"));
        let end = fresh("end");
        writer.publish(&format!("{end}/x"), "end", QoS::AtMostOnce);
        loop {
            let message = reader.receive();
            assert_ne!(message.text, "unheard");
            if message.topic == format!("{end}/x") {
                break;
            }
        }
    }
}

/// [MQTT3-4.7.3-3] [MQTT5-4.7.3-3]
#[test]
fn a_topic_is_no_longer_than_its_length_can_say() {
    let stage = Stage::enter();
    for version in BOTH {
        // The longest there can be is a topic; whether it is taken is a setting.
        let long = vec![b'x'; 65_535];
        let mut client = stage.client(version);
        client.send(&subscribe(version, 1, &[(&long, 0)]));
        let code = client.next_frame().bytes().last().copied();
        assert_eq!(code, Some(if version == Version::V5 { 0x8F } else { 0x80 }));
        client.send(&publish(version, 0x30, &long, (None, &[]), b"x"));
        client.ping();
        // A length that says more than there is.
        let bytes = packet(0x30, &[&[0xFF, 0xFF], b"short"]);
        stage.refuses(version, &bytes, ReasonCode::MalformedPacket);
    }
}
