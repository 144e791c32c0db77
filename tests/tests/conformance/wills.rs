//! Sections 3.1.2.5 and 3.1.3.2: the will.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Client, Dial};

use super::stage::{BOTH, Stage, connect, fresh, packet, publish, text};

/// A client that hears of a topic, and its topic.
fn watcher(stage: &Stage, version: Version) -> (Client, String) {
    let topic = fresh("will");
    let mut watcher = stage.client(version);
    watcher.subscribe(&topic, QoS::ExactlyOnce);
    (watcher, topic)
}

/// [MQTT3-3.1.2-8] [MQTT5-3.1.2-7] [MQTT5-3.1.2-8] [MQTT3-3.1.2-16] [MQTT5-3.1.2-14] [MQTT3-3.1.2-10] [MQTT5-3.1.2-10]
#[test]
fn a_will_is_published_once_when_its_client_is_lost() {
    let stage = Stage::enter();
    for version in BOTH {
        let (mut watcher, topic) = watcher(&stage, version);
        let id = fresh("lost");
        drop(stage.connect(Dial::new(version, &id).will(&topic, "gone")));
        let will = watcher.receive();
        assert_eq!((will.text.as_str(), will.qos, will.retain), ("gone", QoS::AtLeastOnce, false));
        // The next connection has no will, so nothing more comes.
        drop(stage.connect(Dial::new(version, &id)));
        stage.connect(Dial::new(version, &id)).publish(&topic, "after", QoS::AtLeastOnce);
        assert_eq!(watcher.receive().text, "after");
        // It was not retained.
        let mut late = stage.client(version);
        late.subscribe(&topic, QoS::AtLeastOnce);
        late.publish(&topic, "live", QoS::AtLeastOnce);
        assert_eq!(late.receive().text, "live");
    }
}

/// [MQTT3-3.1.2-10] [MQTT5-3.1.2-10] [MQTT3-3.14.4-3] [MQTT5-3.14.4-3] [MQTT3-3.1.2-8]
#[test]
fn a_goodbye_takes_the_will_away() {
    let stage = Stage::enter();
    for version in BOTH {
        let (mut watcher, topic) = watcher(&stage, version);
        for dial in
            [Dial::new(version, &fresh("polite")), Dial::new(version, &fresh("kept")).persistent()]
        {
            stage.connect(dial.will(&topic, "gone")).disconnect();
        }
        stage.client(version).publish(&topic, "after", QoS::AtLeastOnce);
        assert_eq!(watcher.receive().text, "after");
    }
}

/// [MQTT5-3.14.4-3] [MQTT5-3.1.2-8] [MQTT5-3.1.2-10]
#[test]
fn a_goodbye_may_ask_for_the_will() {
    let stage = Stage::enter();
    let (mut watcher, topic) = watcher(&stage, Version::V5);
    let mut client = stage.connect(Dial::v5(&fresh("parting")).will(&topic, "gone"));
    client.send_disconnect(ReasonCode::DisconnectWithWill);
    assert_eq!(client.end_reason(), None);
    assert_eq!(watcher.receive().text, "gone");
}

/// [MQTT3-3.1.2-8] [MQTT5-3.1.2-8]
#[test]
fn a_client_that_breaks_a_rule_leaves_its_will() {
    let stage = Stage::enter();
    for version in BOTH {
        let (mut watcher, topic) = watcher(&stage, version);
        let mut client = stage.connect(Dial::new(version, &fresh("offender")).will(&topic, "gone"));
        client.send(&[0x36, 0]);
        client.ended();
        assert_eq!(watcher.receive().text, "gone");
    }
}

/// [MQTT3-3.1.2-17] [MQTT5-3.1.2-15]
#[test]
fn a_retained_will_is_retained() {
    let stage = Stage::enter();
    for version in BOTH {
        let (mut watcher, topic) = watcher(&stage, version);
        let dial = Dial::new(version, &fresh("retained")).will(&topic, "gone").will_retained();
        drop(stage.connect(dial));
        assert!(!watcher.receive().retain, "who is there gets it as news");
        let mut late = stage.client(version);
        late.subscribe(&topic, QoS::AtLeastOnce);
        let will = late.receive();
        assert_eq!((will.text.as_str(), will.retain), ("gone", true));
    }
}

/// [MQTT3-3.1.2-9] [MQTT3-3.1.2-14] [MQTT5-3.1.2-12]
#[test]
fn a_will_is_published_at_its_own_level() {
    let stage = Stage::enter();
    for version in BOTH {
        for (bits, qos) in [(0, QoS::AtMostOnce), (1, QoS::AtLeastOnce), (2, QoS::ExactlyOnce)] {
            let (mut watcher, topic) = watcher(&stage, version);
            let none = super::stage::properties(version, &[]);
            let (id, payload) = (text(fresh("level")), text(b"\0\xFF"));
            let fields = [&id[..], &none, &text(&topic), &payload];
            let bytes = connect(version, 0x06 | bits << 3, &[], &fields);
            drop(stage.connect(Dial::new(version, "level").saying(bytes)));
            let will = watcher.receive_only();
            assert_eq!(will.qos, qos);
        }
    }
}

/// [MQTT3-3.1.2-12]
#[test]
fn who_has_no_will_leaves_none() {
    let stage = Stage::enter();
    for version in BOTH {
        let id = fresh("willless");
        let (mut watcher, topic) = watcher(&stage, version);
        drop(stage.connect(Dial::new(version, &id)));
        // Whoever connects again under the id finds its old session written off.
        stage.connect(Dial::new(version, &id)).publish(&topic, "first", QoS::AtLeastOnce);
        assert_eq!(watcher.receive().text, "first");
    }
}

/// [MQTT5-3.1.3-10] [MQTT5-3.3.2-17] [MQTT5-3.3.2-18]
#[test]
fn the_properties_of_a_will_come_through_in_order() {
    let stage = Stage::enter();
    let (mut watcher, topic) = watcher(&stage, Version::V5);
    let pair = |k: &str, v: &str| [&[0x26][..], &text(k), &text(v)].concat();
    let section = [
        vec![1, 1],
        pair("b", "1"),
        [&[3][..], &text("text/plain")].concat(),
        pair("a", "2"),
        pair("b", "1"),
        [&[8][..], &text("answer/here")].concat(),
        [&[9][..], &text(b"\0\xFF")].concat(),
    ]
    .concat();
    let length = [u8::try_from(section.len()).expect("few properties")];
    let id = text(fresh("proper"));
    let fields = [&id[..], &length, &section, &text(&topic), &text("gone")];
    let bytes = connect(Version::V5, 0x06, &[], &fields);
    drop(stage.connect(Dial::v5("proper").saying(bytes)));
    let expected = publish(Version::V5, 0x30, &topic, (None, &section), b"gone");
    assert_eq!(watcher.next_frame().bytes(), expected);
}

/// [MQTT5-3.1.3-9] [MQTT5-3.1.2-8]
#[test]
fn coming_back_before_the_delay_is_over_cancels_the_will() {
    let stage = Stage::enter();
    let (mut watcher, topic) = watcher(&stage, Version::V5);
    let id = fresh("delayed");
    let dial = Dial::v5(&id).persistent().will(&topic, "gone").will_delay_s(3600);
    drop(stage.connect(dial));
    let mut back = stage.connect(Dial::v5(&id).persistent());
    assert!(back.session_present);
    back.publish(&topic, "back", QoS::AtLeastOnce);
    assert_eq!(watcher.receive().text, "back");
    // With Clean Start the session ends, and the will does not wait for its delay.
    drop(back);
    let dial = Dial::v5(&id).persistent().will(&topic, "gone").will_delay_s(3600);
    drop(stage.connect(dial));
    stage.connect(Dial::v5(&id).clean_start()).ping();
    assert_eq!(watcher.receive().text, "gone");
}

/// [MQTT5-3.1.2-8]
#[test]
fn a_delayed_will_is_published_when_its_session_ends() {
    let stage = Stage::enter();
    let (mut watcher, topic) = watcher(&stage, Version::V5);
    // No session outlives this connection, so the delay does not count.
    drop(stage.connect(Dial::v5(&fresh("brief")).will(&topic, "gone").will_delay_s(3600)));
    assert_eq!(watcher.receive().text, "gone");
    let mut client = stage
        .connect(Dial::v5(&fresh("brief")).persistent().will(&topic, "over").will_delay_s(3600));
    // The will and the end of the session together.
    client.send(&packet(0xE0, &[&[4, 5, 0x11, 0, 0, 0, 0]]));
    assert_eq!(client.end_reason(), None);
    assert_eq!(watcher.receive().text, "over");
}
