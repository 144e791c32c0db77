//! Clean Session, Clean Start, and what is kept between connections; section 4.1.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::Dial;

use super::stage::{BOTH, Stage, fresh, packet};

/// [MQTT3-3.1.2-4] [MQTT5-3.1.2-5] [MQTT3-3.1.2-5] [MQTT3-3.2.2-2] [MQTT3-3.2.2-3] [MQTT5-3.2.2-3] [MQTT5-3.1.2-6]
/// [MQTT5-3.1.2-23] [MQTT3-4.1.0-1] [MQTT5-4.1.0-1] [MQTT3-4.5.0-1] [MQTT5-4.5.0-1] [MQTT3-3.1.4-3] [MQTT5-3.1.4-4]
/// [MQTT3-3.1.3-2] [MQTT5-3.1.3-2]
#[test]
fn a_kept_session_has_its_subscriptions_and_what_came_meanwhile() {
    let stage = Stage::enter();
    for (before, after) in [(0, 0), (1, 1), (0, 1), (1, 0)] {
        let (before, after) = (BOTH[before], BOTH[after]);
        let (id, topic) = (fresh("kept"), fresh("kept"));
        let mut client = stage.connect(Dial::new(before, &id).persistent());
        assert!(!client.session_present, "a session that was never there");
        client.subscribe(&topic, QoS::ExactlyOnce);
        client.disconnect();
        let mut writer = stage.client(after);
        writer.publish(&topic, "1", QoS::AtLeastOnce);
        writer.publish(&topic, "2", QoS::ExactlyOnce);
        let mut client = stage.connect(Dial::new(after, &id).persistent());
        assert!(client.session_present);
        let first = client.receive();
        assert_eq!((first.text.as_str(), first.qos), ("1", QoS::AtLeastOnce));
        let second = client.receive();
        assert_eq!((second.text.as_str(), second.qos), ("2", QoS::ExactlyOnce));
        writer.publish(&topic, "3", QoS::AtLeastOnce);
        assert_eq!(client.receive().text, "3", "the subscription is there without a new SUBSCRIBE");
    }
}

/// [MQTT3-3.1.2-6] [MQTT5-3.1.2-4] [MQTT3-3.2.2-1] [MQTT5-3.2.2-2] [MQTT3-3.1.4-3] [MQTT5-3.1.4-4]
#[test]
fn a_clean_start_throws_the_old_session_away() {
    let stage = Stage::enter();
    for version in BOTH {
        let (id, topic) = (fresh("thrown"), fresh("thrown"));
        let mut client = stage.connect(Dial::new(version, &id).persistent());
        client.subscribe(&topic, QoS::AtLeastOnce);
        client.disconnect();
        let mut writer = stage.client(version);
        writer.publish(&topic, "unheard", QoS::AtLeastOnce);
        let mut client = stage.connect(Dial::new(version, &id));
        assert!(!client.session_present);
        writer.publish(&topic, "unheard", QoS::AtLeastOnce);
        let own = fresh("own");
        client.subscribe(&own, QoS::AtLeastOnce);
        client.publish(&own, "heard", QoS::AtLeastOnce);
        assert_eq!(client.receive().text, "heard");
        client.disconnect();
        // It lasted as long as its connection.
        assert!(!stage.connect(Dial::new(version, &id).persistent()).session_present);
    }
}

/// [MQTT3-3.1.2-6] [MQTT5-4.1.0-2] [MQTT5-3.1.2-23] [MQTT3-4.1.0-2] [MQTT5-4.1.0-1]
#[test]
fn a_session_that_is_not_kept_ends_with_its_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        let id = fresh("short");
        // With a goodbye, and without.
        stage.connect(Dial::new(version, &id)).disconnect();
        assert!(!stage.connect(Dial::new(version, &id).persistent()).session_present);
        drop(stage.connect(Dial::new(version, &id)));
        assert!(!stage.connect(Dial::new(version, &id).persistent()).session_present);
    }
}

/// [MQTT5-4.1.0-2] [MQTT5-3.14.2-2]
#[test]
fn a_goodbye_may_shorten_a_session_and_may_not_bring_one_to_life() {
    let stage = Stage::enter();
    let id = fresh("shortened");
    let goodbye = |seconds: u8| packet(0xE0, &[&[0, 5, 0x11, 0, 0, 0, seconds]]);
    let mut client = stage.connect(Dial::v5(&id).persistent());
    client.send(&goodbye(0));
    assert_eq!(client.end_reason(), None);
    let mut client = stage.connect(Dial::v5(&id).clean_start().expiry_s(0));
    assert!(!client.session_present);
    client.send(&goodbye(9));
    assert_eq!(client.end_reason(), Some(ReasonCode::ProtocolError));
}

/// [MQTT3-3.1.2-7]
#[test]
fn retained_messages_do_not_end_with_the_session_of_their_publisher() {
    let stage = Stage::enter();
    for version in BOTH {
        let (id, topic) = (fresh("publisher"), fresh("outlives"));
        let mut client = stage.connect(Dial::new(version, &id));
        client.subscribe(&topic, QoS::AtLeastOnce);
        client.publish_retained(&topic, "still there", QoS::AtLeastOnce);
        client.disconnect();
        stage.connect(Dial::new(version, &id)).disconnect();
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, "still there");
    }
}

/// [MQTT3-4.1.0-1] [MQTT5-4.1.0-1] [MQTT5-3.1.2-5]
#[test]
fn a_session_goes_on_in_the_other_version() {
    let stage = Stage::enter();
    let (id, topic) = (fresh("both"), fresh("both"));
    let mut client = stage.connect(Dial::v5(&id).persistent());
    client.subscribe(&topic, QoS::AtLeastOnce);
    for version in [Version::V311, Version::V5, Version::V31, Version::V5] {
        client.disconnect();
        stage.client(Version::V5).publish(&topic, "x", QoS::AtLeastOnce);
        client = stage.connect(Dial::new(version, &id).persistent());
        // 3.1 cannot be told.
        assert_eq!(client.session_present, version != Version::V31);
        assert_eq!(client.receive().text, "x");
        client.ping();
    }
}

/// [MQTT5-3.1.2-23] [MQTT5-4.1.0-2] [MQTT5-3.1.2-8]
#[test]
fn a_session_ends_when_its_time_is_over() {
    let stage = Stage::enter();
    let (id, topic) = (fresh("brief"), fresh("brief"));
    let mut watcher = stage.client(Version::V5);
    watcher.subscribe(&topic, QoS::AtMostOnce);
    let brief = || Dial::v5(&id).persistent().expiry_s(1);
    drop(stage.connect(brief()));
    assert!(stage.connect(brief()).session_present);
    // Its will waits at most as long as the session, and tells when that is over.
    drop(stage.connect(brief().will(&topic, "over").will_delay_s(3600)));
    assert_eq!(watcher.receive().text, "over");
    assert!(!stage.connect(brief()).session_present);
}
