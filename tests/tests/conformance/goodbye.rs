//! Sections 3.12 to 3.15: PINGREQ, DISCONNECT, and AUTH at the wrong time.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Dial, Ended, PATIENCE};

use super::stage::{BOTH, Stage, fresh, publish};

/// [MQTT3-3.12.4-1] [MQTT5-3.12.4-1]
#[test]
fn every_pingreq_gets_a_pingresp() {
    let stage = Stage::enter();
    for version in BOTH {
        let mut client = stage.client(version);
        client.send(&[0xC0, 0, 0xC0, 0, 0xC0, 0]);
        for _ in 0..3 {
            assert_eq!(client.next_frame().bytes(), [0xD0, 0]);
        }
    }
}

/// [MQTT3-3.14.4-1] [MQTT3-3.14.4-2] [MQTT5-3.14.4-1] [MQTT5-3.14.4-2]
#[test]
fn nothing_that_follows_a_goodbye_is_processed() {
    let stage = Stage::enter();
    for version in BOTH {
        let topic = fresh("after");
        let mut reader = stage.client(version);
        reader.subscribe(&topic, QoS::AtMostOnce);
        let mut client = stage.client(version);
        let more = publish(version, 0x30, &topic, (None, &[]), b"unheard");
        client.send(&[&[0xE0, 0][..], &more, &[0xC0, 0]].concat());
        assert_eq!(client.ended(), Ended::Closed, "without an answer");
        stage.client(version).publish(&topic, "heard", QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, "heard");
    }
}

/// [MQTT5-3.14.4-1] [MQTT5-3.14.4-2] [MQTT5-3.14.2-1] [MQTT5-3.14.2-2] [MQTT5-4.13.2-1] [MQTT5-3.14.1-1]
#[test]
fn the_gateway_says_one_goodbye_and_closes() {
    let stage = Stage::enter();
    let topic = fresh("last");
    let id = fresh("twice");
    let mut stream = TcpStream::connect(stage.place()).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(&Dial::v5(&id).bytes()).expect("an open socket");
    let mut head = [0; 2];
    stream.read_exact(&mut head).expect("CONNACK");
    let mut rest = vec![0; usize::from(head[1])];
    stream.read_exact(&mut rest).expect("the rest of CONNACK");
    let mut newer = stage.connect(Dial::v5(&id));
    newer.subscribe(&topic, QoS::AtMostOnce);
    newer.publish(&topic, "x", QoS::AtLeastOnce);
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("a goodbye and an end");
    let [0xE0, length, 0x8E, ..] = answer[..] else { panic!("{answer:02x?}") };
    assert_eq!(answer.len(), 2 + usize::from(length), "nothing follows");
    // The first property, if any, is not the session's expiry.
    assert_ne!(answer.get(4), Some(&0x11));
}

/// [MQTT5-4.12.0-6] [MQTT5-4.12.0-7] [MQTT5-3.15.2-1]
#[test]
fn auth_without_a_method_agreed_ends_the_connection() {
    let stage = Stage::enter();
    for code in [0x18, 0x19] {
        let bytes = [0xF0, 7, code, 5, 0x15, 0, 2, b'm', b'e'];
        stage.refuses(Version::V5, &bytes, ReasonCode::ProtocolError);
    }
    let none = [0xF0, 2, 0x18, 0];
    stage.refuses(Version::V5, &none, ReasonCode::ProtocolError);
    let unknown = [0xF0, 7, 0x01, 5, 0x15, 0, 2, b'm', b'e'];
    stage.refuses(Version::V5, &unknown, ReasonCode::ProtocolError);
    stage.refuses(Version::V311, &none, ReasonCode::MalformedPacket);
}
