//! Sections 3.10 and 3.11: UNSUBSCRIBE and UNSUBACK.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Client, Dial};

use super::stage::{BOTH, Stage, fresh, packet, properties, unsubscribe};

/// Asserts that the next message is one of the client's own.
fn hears_only_itself(client: &mut Client) {
    let own = fresh("own");
    client.subscribe(&own, QoS::AtMostOnce);
    client.publish(&own, "own", QoS::AtLeastOnce);
    assert_eq!(client.receive().text, "own");
}

/// [MQTT3-3.10.3-2] [MQTT5-3.10.3-2]
#[test]
fn an_unsubscribe_without_a_filter_ends_the_connection() {
    let stage = Stage::enter();
    for version in BOTH {
        stage.refuses(version, &unsubscribe(version, 1, &[]), ReasonCode::ProtocolError);
    }
}

/// [MQTT3-3.10.4-1] [MQTT3-3.10.4-2] [MQTT3-3.10.4-4] [MQTT3-3.10.4-5] [MQTT3-3.10.4-6] [MQTT5-3.10.4-1]
/// [MQTT5-3.10.4-2] [MQTT5-3.10.4-4] [MQTT5-3.10.4-5] [MQTT5-3.10.4-6] [MQTT5-3.11.3-1] [MQTT5-3.11.3-2]
#[test]
fn a_subscription_goes_by_its_text_and_each_filter_is_answered() {
    let stage = Stage::enter();
    for version in BOTH {
        for kept in [false, true] {
            let topic = fresh("gone");
            let dial = Dial::new(version, &fresh("reader"));
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            for filter in ["a", "+", "#"] {
                reader.subscribe(&format!("{topic}/{filter}"), QoS::AtLeastOnce);
            }
            let mut writer = stage.client(version);
            // What only matches, or differs in a letter, is another filter.
            let filters = ["A", "a/", "/a", "b", "a", "+/"].map(|end| format!("{topic}/{end}"));
            let filters = filters.each_ref().map(|filter| filter.as_bytes());
            reader.send(&unsubscribe(version, 0x4321, &filters));
            let codes: &[u8] =
                if version == Version::V5 { &[0x11, 0x11, 0x11, 0x11, 0, 0x11] } else { &[] };
            let none = properties(version, &[]);
            let expected = packet(0xB0, &[&[0x43, 0x21], &none, codes]);
            assert_eq!(reader.next_frame().bytes(), expected);
            writer.publish(&format!("{topic}/a"), "x", QoS::AtLeastOnce);
            assert_eq!(reader.receive().text, "x", "the wildcards are still there");
            for filter in ["+", "#"] {
                reader.unsubscribe(&format!("{topic}/{filter}"));
            }
            writer.publish(&format!("{topic}/a"), "unheard", QoS::AtLeastOnce);
            hears_only_itself(&mut reader);
            reader.send(&unsubscribe(version, 7, &[b"never/there"]));
            let codes: &[u8] = if version == Version::V5 { &[0x11] } else { &[] };
            assert_eq!(reader.next_frame().bytes(), packet(0xB0, &[&[0, 7], &none, codes]));
        }
    }
}

/// [MQTT3-3.10.4-3] [MQTT5-3.10.4-3]
#[test]
fn deliveries_that_began_are_finished() {
    let stage = Stage::enter();
    for version in BOTH {
        for kept in [false, true] {
            let (id, topic) = (fresh("reader"), fresh("began"));
            let dial = Dial::new(version, &id);
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            reader.subscribe(&topic, QoS::ExactlyOnce);
            let mut writer = stage.client(version);
            writer.publish(&topic, "1", QoS::ExactlyOnce);
            writer.publish(&topic, "2", QoS::AtLeastOnce);
            let mut began = [reader.receive_only(), reader.receive_only()];
            reader.unsubscribe(&topic);
            if kept {
                reader.ping();
                drop(reader);
                reader = stage.connect(Dial::new(version, &id).persistent());
                began = [reader.receive_only(), reader.receive_only()];
                assert!(began.iter().all(|message| message.dup));
            }
            began.iter().for_each(|message| reader.acknowledge_message(message));
            writer.publish(&topic, "unheard", QoS::AtLeastOnce);
            hears_only_itself(&mut reader);
        }
    }
}

/// [MQTT3-3.10.4-2] [MQTT5-3.10.4-2]
#[test]
fn nothing_is_kept_for_a_client_that_is_away_and_has_unsubscribed() {
    let stage = Stage::enter();
    for version in BOTH {
        let (id, topic) = (fresh("away"), fresh("away"));
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        reader.subscribe(&topic, QoS::AtLeastOnce);
        reader.unsubscribe(&topic);
        reader.disconnect();
        stage.client(version).publish(&topic, "unheard", QoS::AtLeastOnce);
        let mut reader = stage.connect(Dial::new(version, &id).persistent());
        assert!(reader.session_present);
        hears_only_itself(&mut reader);
    }
}
