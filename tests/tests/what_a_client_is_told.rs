//! A client is told what the standard lets it be told: which rule it broke, why it is refused, what its answers should be
//! called, topics by number; and what a member of a shared group leaves goes to another, wherever that one is.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use protocol::QoS;
use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{
    Connect, ConnectProperties, LastWill, Packet, ReasonCode, Version, WillProperties,
};
use tests::harness::{Answer, Client, Dial, Fleet, Settings, eventually};

const ONCE: QoS = QoS::AtLeastOnce;

fn connect<'a>(client_id: &'a str, properties: ConnectProperties<'a>) -> Connect<'a> {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id,
        will: None,
        user_name: None,
        password: None,
        properties,
    }
}

fn dial(connect: &Connect<'_>) -> Dial {
    let mut bytes = Vec::new();
    codec::connect(&mut bytes, connect);
    Dial::v5(connect.client_id).saying(bytes)
}

/// The reason and the words of the DISCONNECT that ends a connection.
fn told(client: &mut Client) -> (ReasonCode, String) {
    client.wait_for("DISCONNECT", |packet| {
        let Packet::Disconnect(it) = packet else { return None };
        Some((it.reason, it.reason_string.unwrap_or_default().to_owned()))
    })
}

#[test]
fn a_violation_is_named_to_the_client_and_counted_by_its_statement() {
    let fleet = Fleet::start(1);
    let mut client = Dial::v5("a").connect(fleet.mqtt(1));
    // A PUBLISH under an alias far above what CONNACK allows.
    client.send(&[0x30, 8, 0, 1, b't', 3, 0x23, 0xFF, 0xFF, b'x']);
    let words = "topic alias above the maximum [MQTT5-3.3.2-9]".to_owned();
    assert_eq!(told(&mut client), (ReasonCode::TopicAliasInvalid, words));
    let mut old = Dial::v311("b").connect(fleet.mqtt(1));
    // A SUBSCRIBE at QoS 3.
    old.send(&[0x82, 6, 0, 1, 0, 1, b't', 3]);
    old.ended();
    for statement in ["MQTT5-3.3.2-9", "MQTT3-3.8.3-4"] {
        let name = format!("tidegate_violations_total{{statement=\"{statement}\"}}");
        assert_eq!(fleet.metric(1, &name), 1, "{statement}");
    }
}

#[test]
fn a_connect_that_breaks_a_rule_is_answered_with_its_statement() {
    let fleet = Fleet::start(1);
    let connect = dial(&connect("a", ConnectProperties::default())).bytes();
    let mut broken = connect.clone();
    // The reserved flag behind fixed header, name and level.
    broken[9] |= 1;
    let answer = Dial::v5("a").saying(broken).try_connect(fleet.mqtt(1));
    let Answer::Refused { reason, bytes, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(reason, ReasonCode::MalformedPacket);
    let packet = codec::decode(&bytes, Version::V5, codec::Sender::Server).unwrap();
    let Packet::ConnAck(ack) = packet else { panic!("{packet:?}") };
    assert_eq!(ack.reason_string, Some("reserved connect flag is set [MQTT5-3.1.2-3]"));
    assert_eq!(fleet.metric(1, "tidegate_violations_total{statement=\"MQTT5-3.1.2-3\"}"), 1);
}

#[test]
fn what_answers_should_be_called_is_told_to_who_asks() {
    let settings = Settings::default().everywhere("[mqtt]\nresponse_topic = \"reply/\"\n");
    let fleet = Fleet::start_with(1, &settings);
    for asks in [true, false] {
        let properties =
            ConnectProperties { request_response_information: asks, ..Default::default() };
        let mut stream = TcpStream::connect(fleet.mqtt(1)).unwrap();
        stream.write_all(&dial(&connect("a", properties)).bytes()).unwrap();
        let mut answer = Vec::new();
        while codec::frame(&answer, u32::MAX).unwrap().is_none() {
            let mut byte = [0];
            stream.read_exact(&mut byte).unwrap();
            answer.extend_from_slice(&byte);
        }
        let packet = codec::decode(&answer, Version::V5, codec::Sender::Server).unwrap();
        let Packet::ConnAck(ack) = packet else { panic!("{packet:?}") };
        assert_eq!(ack.response_information, asks.then_some("reply/a"));
    }
}

#[test]
fn a_will_that_is_not_the_text_it_is_said_to_be_is_refused() {
    let fleet = Fleet::start(1);
    let mut with_will = connect("a", ConnectProperties::default());
    with_will.will = Some(LastWill {
        topic: "t",
        payload: b"\xC0\xAF",
        qos: ONCE,
        retain: false,
        properties: WillProperties {
            payload_is_utf8: true,
            end_to_end: (&[1, 1][..]).into(),
            ..WillProperties::default()
        },
    });
    let answer = dial(&with_will).try_connect(fleet.mqtt(1));
    let Answer::Refused { reason, .. } = answer else { panic!("{answer:?}") };
    assert_eq!(reason, ReasonCode::PayloadFormatInvalid);
}

#[test]
fn a_topic_is_named_once_to_a_client_that_takes_aliases() {
    let fleet = Fleet::start(1);
    let properties = ConnectProperties { topic_alias_maximum: 1, ..Default::default() };
    let mut reader = dial(&connect("reader", properties)).connect(fleet.mqtt(1));
    reader.subscribe("some/long/topic", ONCE);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for text in ["one", "two", "three"] {
        writer.publish("some/long/topic", text, ONCE);
    }
    let heard: Vec<_> = (0..3).map(|_| reader.receive()).collect();
    let named: Vec<_> = heard.iter().map(|m| (m.topic.as_str(), m.text.as_str())).collect();
    assert_eq!(named, [("some/long/topic", "one"), ("", "two"), ("", "three")]);
}

#[test]
fn what_a_member_leaves_goes_to_another_at_another_gateway() {
    let fleet = Fleet::start(2);
    fleet.wait_linked();
    let mut dying = Dial::v5("dying").connect(fleet.mqtt(1));
    dying.subscribe("$share/g/t", ONCE);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    let texts: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    for text in &texts {
        writer.publish("t", text, ONCE);
    }
    dying.wait_for("the last of them", |packet| {
        let Packet::Publish(publish) = packet else { return None };
        (publish.payload == b"99").then_some(())
    });
    let mut other = Dial::v311("other").connect(fleet.mqtt(2));
    other.subscribe("$share/g/t", ONCE);
    drop(dying);
    let mut heard: Vec<String> = (0..100).map(|_| other.receive().text).collect();
    heard.sort_by_key(|text| text.parse::<u32>().ok());
    assert_eq!(heard, texts, "each once, in whatever order");
}

#[test]
fn the_queue_of_a_member_goes_to_another_when_its_session_ends() {
    let fleet = Fleet::start(2);
    fleet.wait_linked();
    let mut away = Dial::v5("away").persistent().connect(fleet.mqtt(1));
    away.subscribe("$share/g/t", ONCE);
    away.disconnect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    eventually("the only member to be away", || {
        (fleet.metric(1, "tidegate_sessions") == 1).then_some(())
    });
    for text in ["one", "two", "three"] {
        writer.publish("t", text, ONCE);
    }
    let mut other = Dial::v5("other").connect(fleet.mqtt(2));
    other.subscribe("$share/g/t", ONCE);
    let anew = Dial::v5("away").connect(fleet.mqtt(1));
    assert!(!anew.session_present);
    let mut heard: Vec<String> = (0..3).map(|_| other.receive().text).collect();
    heard.sort();
    assert_eq!(heard, ["one", "three", "two"]);
    writer.publish("t", "last", ONCE);
    let message = other.receive_only();
    assert_eq!(message.text, "last");
    other.acknowledge(AckKind::PubAck, message.packet_id.expect("an id"));
}
