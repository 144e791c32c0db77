//! Section 3.3.1.3: RETAIN, and what a new subscription gets.

use protocol::QoS;
use protocol::mqtt::{Filter, RetainHandling, SubscribeOptions, Version};
use tests::harness::{Client, Dial, Message};

use super::stage::{BOTH, Stage, fresh};

/// What a new subscriber at QoS 2 gets of a topic, before news.
fn retained(stage: &Stage, version: Version, filter: &str) -> Vec<Message> {
    let mut reader = stage.client(version);
    reader.subscribe(filter, QoS::ExactlyOnce);
    until_own(&mut reader)
}

/// All that comes before a message of the client's own.
fn until_own(client: &mut Client) -> Vec<Message> {
    let own = fresh("own");
    client.subscribe(&own, QoS::AtMostOnce);
    client.publish(&own, "own", QoS::AtMostOnce);
    let mut messages = Vec::new();
    loop {
        let message = client.receive();
        if message.topic == own {
            return messages;
        }
        messages.push(message);
    }
}

fn texts(messages: &[Message]) -> Vec<&str> {
    messages.iter().map(|message| message.text.as_str()).collect()
}

/// [MQTT3-3.3.1-5] [MQTT3-3.3.1-6] [MQTT3-3.3.1-8] [MQTT5-3.3.1-5] [MQTT5-3.3.1-9]
#[test]
fn a_retained_message_waits_for_subscribers_with_its_level() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("retained");
        let mut writer = stage.client(version);
        let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        for (number, qos) in levels.into_iter().enumerate() {
            writer.publish_retained(&format!("{topic}/{number}"), "old", qos);
            writer.publish_retained(&format!("{topic}/{number}"), &number.to_string(), qos);
        }
        writer.ping();
        for filter in [format!("{topic}/+"), format!("{topic}/#")] {
            let mut messages = retained(&stage, version, &filter);
            messages.sort_by(|one, other| one.topic.cmp(&other.topic));
            assert_eq!(texts(&messages), ["0", "1", "2"], "the last one of each topic");
            for (message, qos) in messages.iter().zip(levels) {
                assert_eq!((message.retain, message.qos), (true, qos));
            }
        }
    }
}

/// [MQTT3-3.3.1-7] [MQTT5-3.3.1-5]
#[test]
fn a_retained_message_at_qos_0_takes_the_place_of_another() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("replaced");
        let mut writer = stage.client(version);
        writer.publish_retained(&topic, "old", QoS::ExactlyOnce);
        writer.publish_retained(&topic, "new", QoS::AtMostOnce);
        writer.ping();
        assert_eq!(texts(&retained(&stage, version, &topic)), ["new"]);
    }
}

/// [MQTT3-3.3.1-9] [MQTT5-3.3.1-12]
#[test]
fn news_are_not_marked_as_retained() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("news");
        let clean = Dial::new(version, &fresh("clean"));
        let kept = Dial::new(version, &fresh("kept")).persistent();
        for dial in [clean, kept] {
            let mut reader = stage.connect(dial);
            reader.subscribe(&topic, QoS::ExactlyOnce);
            until_own(&mut reader);
            let mut writer = stage.client(version);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                writer.publish_retained(&topic, "news", qos);
                let message = reader.receive();
                assert_eq!((message.text.as_str(), message.retain), ("news", false));
            }
        }
    }
}

/// [MQTT3-3.3.1-10] [MQTT3-3.3.1-11] [MQTT5-3.3.1-6] [MQTT5-3.3.1-7]
#[test]
fn an_empty_retained_message_is_delivered_and_takes_away_what_was_retained() {
    let stage = Stage::enter();
    for version in BOTH {
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = fresh("cleared");
            let mut writer = stage.client(version);
            writer.publish_retained(&topic, "old", QoS::AtLeastOnce);
            let mut reader = stage.client(version);
            reader.subscribe(&topic, QoS::AtLeastOnce);
            assert!(reader.receive().retain);
            writer.publish_retained(&topic, "", qos);
            let message = reader.receive();
            assert_eq!((message.text.as_str(), message.retain), ("", false));
            assert!(retained(&stage, version, &topic).is_empty());
        }
    }
}

/// [MQTT3-3.3.1-12] [MQTT5-3.3.1-8]
#[test]
fn what_is_not_retained_leaves_alone_what_is() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("untouched");
        let mut writer = stage.client(version);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            writer.publish(&topic, "news", qos);
            writer.publish(&topic, "", qos);
        }
        assert!(retained(&stage, version, &topic).is_empty());
        writer.publish_retained(&topic, "kept", QoS::AtLeastOnce);
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            writer.publish(&topic, "news", qos);
            writer.publish(&topic, "", qos);
        }
        assert_eq!(texts(&retained(&stage, version, &topic)), ["kept"]);
    }
}

fn options(retain_as_published: bool, retain_handling: RetainHandling) -> SubscribeOptions {
    SubscribeOptions {
        qos: QoS::ExactlyOnce,
        no_local: false,
        retain_as_published,
        retain_handling,
    }
}

/// [MQTT5-3.3.1-9] [MQTT5-3.3.1-10] [MQTT5-3.3.1-11] [MQTT5-3.8.4-4]
#[test]
fn a_subscriber_says_when_it_wants_what_is_retained() {
    let stage = Stage::enter();
    for kept in [false, true] {
        let topic = fresh("wanted");
        stage.client(Version::V5).publish_retained(&topic, "old", QoS::AtLeastOnce);
        for (handling, first, again) in [
            (RetainHandling::Send, 1, 1),
            (RetainHandling::SendIfNew, 1, 0),
            (RetainHandling::DoNotSend, 0, 0),
        ] {
            let dial = Dial::v5(&fresh("choosy"));
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            for wanted in [first, again] {
                let filter = Filter { text: &topic, options: options(false, handling) };
                reader.subscribe_with(&[filter], None);
                assert_eq!(until_own(&mut reader).len(), wanted, "{handling:?}");
            }
        }
    }
}

/// [MQTT5-3.3.1-12] [MQTT5-3.3.1-13]
#[test]
fn who_asks_for_it_sees_the_mark_of_the_publisher() {
    let stage = Stage::enter();
    for kept in [false, true] {
        for as_published in [false, true] {
            let topic = fresh("marked");
            let dial = Dial::v5(&fresh("reader"));
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            let options = options(as_published, RetainHandling::DoNotSend);
            reader.subscribe_with(&[Filter { text: &topic, options }], None);
            let mut writer = stage.client(Version::V5);
            for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
                writer.publish_retained(&topic, "marked", qos);
                assert_eq!(reader.receive().retain, as_published, "{qos:?}");
                writer.publish(&topic, "unmarked", qos);
                assert!(!reader.receive().retain);
            }
        }
    }
}
