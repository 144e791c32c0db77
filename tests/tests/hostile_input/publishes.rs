//! B: publications and their acknowledgements.

use super::bytes::publish;
use super::pair::Pair;
use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec::AckKind;
use protocol::{PacketId, QoS};
use tests::harness::{Dial, Fleet, Settings};

#[test]
fn packet_ids_and_windows_are_held_to_the_rules() {
    let limits = "[limits]\nreceive_maximum = 10\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    // B1: PUBREL for an id that nobody knows.
    let unknown = PacketId::new(77).expect("an id");
    client.acknowledge(AckKind::PubRel, unknown);
    assert_eq!(client.answer_to(AckKind::PubComp, unknown), ReasonCode::PacketIdentifierNotFound);
    // B5: names of our own.
    let id = client.start_publish("$SYS/x", "x", QoS::AtLeastOnce).expect("an id");
    assert_eq!(client.answer_to(AckKind::PubAck, id), ReasonCode::NotAuthorized);
    // B2, B3: more open than was agreed.
    for number in 0..11 {
        client.start_publish("t", &number.to_string(), QoS::ExactlyOnce);
    }
    let reason = loop {
        let Some(frame) = client.next_or_end() else { panic!("closed without a reason") };
        if let protocol::mqtt::Packet::Disconnect(told) = frame.packet() {
            break told.reason;
        }
    };
    assert_eq!(reason, ReasonCode::ReceiveMaximumExceeded);
    pair.assert_undisturbed();
}

#[test]
fn aliases_may_be_set_again_and_again() {
    let fleet = Fleet::start(1);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("#", QoS::AtMostOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for number in 0..100 {
        let topic = format!("topic/{number}");
        writer.send(&publish(0x30, topic.as_bytes(), None, &[35, 0, 1], b"named"));
        writer.send(&publish(0x30, b"", None, &[35, 0, 1], b"aliased"));
        assert_eq!(reader.receive().topic, topic);
        let aliased = reader.receive();
        assert_eq!((aliased.topic, aliased.text.as_str()), (topic, "aliased"));
    }
}
