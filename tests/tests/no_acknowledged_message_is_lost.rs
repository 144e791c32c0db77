//! M1: after PUBACK or PUBCOMP, every persistent session of the fleet that matched gets the message, whichever process
//! dies next.
#![expect(clippy::panic, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::collections::BTreeSet;

use protocol::QoS;
use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Packet, Version};
use tests::harness::{Client, Dial, Fleet, Settings};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// Kills in one test; the long run of them is a bench.
const ROUNDS: usize = 4;

#[test]
fn messages_for_an_offline_session_survive_the_death_of_every_gateway() {
    for version in VERSIONS {
        let mut fleet = Fleet::start_with(2, &Settings::mortal());
        let reader = || Dial::new(version, "reader").persistent();
        let mut away = reader().connect(fleet.mqtt(2));
        away.subscribe("a/+", QoS::ExactlyOnce);
        away.disconnect();
        let mut writer = Dial::new(version, "writer").connect(fleet.mqtt(1));
        let mut sent = BTreeSet::new();
        for number in 0..50 {
            let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            writer.publish("a/b", &format!("{number}"), qos);
            sent.insert(number.to_string());
        }
        fleet.kill(1);
        fleet.kill(2);
        fleet.restart(2);
        let mut reader = reader().connect(fleet.mqtt(2));
        assert!(reader.session_present, "{version:?}");
        let received: BTreeSet<_> = (0..50).map(|_| reader.receive().text).collect();
        assert_eq!(received, sent, "{version:?}");
    }
}

#[test]
fn messages_for_an_online_session_survive_the_death_of_its_gateway() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let reader = || Dial::v5("reader").persistent();
    let mut here = reader().connect(fleet.mqtt(2));
    here.subscribe("a", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for number in 0..100 {
        writer.publish("a", &format!("{number}"), QoS::AtLeastOnce);
        if number == 50 {
            // It reads none of them, and acknowledges nothing.
            fleet.kill(2);
        }
    }
    let mut reader = reader().connect(fleet.mqtt(1));
    assert!(reader.session_present);
    let expected: Vec<_> = (0..100).map(|number| number.to_string()).collect();
    assert_eq!(reader.receive_until("99"), expected);
}

#[test]
fn the_publishing_gateway_may_die_right_after_its_acknowledgement() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(2));
    reader.subscribe("a", QoS::AtLeastOnce);
    for round in 0..ROUNDS {
        let mut writer = Dial::v311("writer").connect(fleet.mqtt(1));
        let last = format!("{round}");
        writer.publish("a", &last, QoS::AtLeastOnce);
        fleet.kill(1);
        // What the link lost is read again from the queue.
        assert_eq!(reader.receive().text, last);
        fleet.restart(1);
    }
}

#[test]
fn nothing_acknowledged_is_lost_while_gateways_are_killed_under_traffic() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut offline = Dial::v5("offline").persistent().connect(fleet.mqtt(1));
    offline.subscribe("t/#", QoS::AtLeastOnce);
    offline.disconnect();
    let mut reader = Dial::v311("online").persistent().connect(fleet.mqtt(2));
    reader.subscribe("t/#", QoS::AtLeastOnce);
    drop(reader);

    let mut acknowledged = BTreeSet::new();
    let mut online = BTreeSet::new();
    for round in 0..ROUNDS {
        let (writing, reading) = (round % 2 + 1, (round + 1) % 2 + 1);
        let mut reader = Dial::v311("online").persistent().connect(fleet.mqtt(reading));
        let mut writer = Dial::v5("writer").connect(fleet.mqtt(writing));
        // Ten in flight at any time: some are unacknowledged when the gateway dies.
        for number in 0..200 {
            let text = format!("{round}-{number}");
            let id = writer.start_publish("t/x", &text, QoS::AtLeastOnce).unwrap();
            assert_eq!(usize::from(id.get()), number + 1);
            if number >= 10 {
                let earlier = number - 10;
                let id = protocol::PacketId::new(u16::try_from(earlier + 1).unwrap()).unwrap();
                writer.acknowledged(AckKind::PubAck, id);
                acknowledged.insert(format!("{round}-{earlier}"));
            }
            if number % 2 == 0 {
                online.insert(reader.receive().text);
            }
        }
        let dies = if round % 4 < 2 { writing } else { reading };
        fleet.kill(dies);
        for number in acknowledgements_left(&mut writer) {
            acknowledged.insert(format!("{round}-{}", number - 1));
        }
        fleet.restart(dies);
    }
    Dial::v5("last").connect(fleet.mqtt(1)).publish("t/last", "last", QoS::AtLeastOnce);
    let reader = Dial::v311("online").persistent().connect(fleet.mqtt(2));
    online.extend(rest(reader));
    let reader = Dial::v5("offline").persistent().connect(fleet.mqtt(2));
    let offline: BTreeSet<_> = rest(reader).into_iter().collect();
    assert_eq!(acknowledged.difference(&online).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(acknowledged.difference(&offline).collect::<Vec<_>>(), Vec::<&String>::new());
}

/// The packet ids that PUBACK names before the connection ends, or before the gateway has nothing more to say.
fn acknowledgements_left(writer: &mut Client) -> Vec<u16> {
    let mut ping = Vec::new();
    protocol::mqtt::codec::pingreq(&mut ping);
    // The gateway may be dead: then the connection ends instead.
    let _ = writer.try_send(&ping);
    let mut ids = Vec::new();
    while let Some(frame) = writer.next_or_end() {
        match frame.packet() {
            Packet::PubAck(ack) => ids.push(ack.packet_id.get()),
            Packet::PingResp => break,
            other => panic!("{other:?}"),
        }
    }
    ids
}

/// Everything up to the message `last`.
fn rest(mut reader: Client) -> Vec<String> {
    assert!(reader.session_present);
    reader.receive_until("last")
}
