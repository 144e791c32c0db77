//! Sections 3.3.4 and 4.9: Receive Maximum.

use protocol::QoS;
use protocol::mqtt::Version;
use tests::harness::Dial;

use super::stage::{Stage, fresh};

/// [MQTT5-3.3.4-9] [MQTT5-3.3.4-10] [MQTT5-4.9.0-1] [MQTT5-4.9.0-2] [MQTT5-4.9.0-3]
#[test]
fn no_more_is_in_flight_than_the_client_takes_and_only_that_waits() {
    let stage = Stage::enter();
    for kept in [false, true] {
        for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
            let topic = fresh("flow");
            let dial = Dial::v5(&fresh("narrow")).receive_maximum(2);
            let mut reader = stage.connect(if kept { dial.persistent() } else { dial });
            reader.subscribe(&topic, qos);
            let mut writer = stage.client(Version::V5);
            for text in ["1", "2", "3", "4"] {
                writer.publish(&topic, text, qos);
            }
            let first = reader.receive_only();
            let second = reader.receive_only();
            assert_eq!((first.text.as_str(), second.text.as_str()), ("1", "2"));
            // All other packets go on: answers, and what is not counted.
            reader.ping();
            reader.subscribe(&fresh("other"), QoS::AtMostOnce);
            let own = fresh("own");
            reader.subscribe(&own, QoS::AtMostOnce);
            reader.publish(&own, "uncounted", QoS::ExactlyOnce);
            assert_eq!(reader.receive().text, "uncounted");
            reader.acknowledge_message(&second);
            let third = reader.receive_only();
            assert_eq!(third.text, "3");
            reader.ping();
            reader.publish(&own, "uncounted", QoS::AtLeastOnce);
            assert_eq!(reader.receive().text, "uncounted", "one place was free, not two");
            reader.acknowledge_message(&first);
            assert_eq!(reader.receive().text, "4");
        }
    }
}

/// [MQTT5-3.3.4-9] [MQTT5-4.9.0-1] [MQTT5-4.9.0-2] [MQTT5-4.4.0-1]
#[test]
fn no_more_is_sent_again_than_the_client_takes_now() {
    let stage = Stage::enter();
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let (id, topic) = (fresh("narrower"), fresh("narrower"));
        let mut reader = stage.connect(Dial::v5(&id).persistent());
        reader.subscribe(&topic, qos);
        let own = fresh("own");
        reader.subscribe(&own, QoS::AtMostOnce);
        let mut writer = stage.client(Version::V5);
        for number in 0..6 {
            writer.publish(&topic, &number.to_string(), qos);
            reader.receive_only();
        }
        drop(reader);
        writer.publish(&topic, "6", qos);
        let mut reader = stage.connect(Dial::v5(&id).persistent().receive_maximum(2));
        let mut open = vec![reader.receive_only(), reader.receive_only()];
        for number in 2..7 {
            reader.ping();
            reader.publish(&own, "own", QoS::ExactlyOnce);
            assert_eq!(reader.receive_only().text, "own", "nothing more is sent");
            reader.acknowledge_message(&open.remove(0));
            let next = reader.receive_only();
            assert_eq!((next.text.as_str(), next.dup), (&*number.to_string(), number < 6));
            open.push(next);
        }
    }
}

/// [MQTT5-4.9.0-1]
#[test]
fn a_receive_maximum_of_zero_is_no_connect() {
    let stage = Stage::enter();
    let id = super::stage::text(fresh("zero"));
    let bytes = super::stage::connect(Version::V5, 2, &[0x21, 0, 0], &[&id]);
    let answer = stage.answer_to(&bytes);
    assert_eq!((answer[0], answer[2], answer[3]), (0x20, 0, 0x82), "{answer:02x?}");
}
