//! M3: messages of one publisher on one topic and `QoS` reach each subscriber in order, across gateways and takeovers.
//! Repeats that the standard allows do not count: what matters is when a message is there for the first time.
#![expect(clippy::panic, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::collections::HashSet;
use std::net::SocketAddr;
use std::thread;

use protocol::QoS;
use protocol::mqtt::Packet;
use protocol::mqtt::codec::AckKind;
use tests::harness::{Client, Dial, Fleet};

const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

#[test]
fn every_subscriber_of_the_fleet_sees_the_publisher_s_order() {
    let fleet = Fleet::start(2);
    for qos in LEVELS {
        let mut readers = Vec::new();
        for gateway in [1, 2] {
            let name = |kind: &str| format!("{kind}-{gateway}-{qos:?}");
            readers.push(Dial::v5(&name("clean")).connect(fleet.mqtt(gateway)));
            readers.push(Dial::v311(&name("kept")).persistent().connect(fleet.mqtt(gateway)));
        }
        let topic = format!("order/{qos:?}");
        readers.iter_mut().for_each(|reader| reader.subscribe(&topic, qos));
        let writer = Dial::v5("writer").connect(fleet.mqtt(1));
        let writing = thread::spawn(move || publish_all(writer, &topic, qos, 300));
        for reader in &mut readers {
            let got: Vec<_> = (0..300).map(|_| reader.receive().text).collect();
            assert_eq!(got, numbers(300), "{} at {qos:?}", reader.id());
        }
        writing.join().unwrap();
    }
}

#[test]
fn order_is_kept_when_the_subscriber_moves_between_gateways_again_and_again() {
    let fleet = Fleet::start(2);
    for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
        let id = format!("mover-{qos:?}");
        let dial = |number: usize| Dial::v5(&id).persistent().connect(fleet.mqtt(number));
        let mut reader = dial(1);
        let topic = format!("moves/{qos:?}");
        reader.subscribe(&topic, qos);
        let writer = Dial::v311("writer").connect(fleet.mqtt(2));
        let writing = thread::spawn(move || publish_all(writer, &topic, qos, 600));
        let mut seen = Seen::default();
        let mut moves = 0;
        while seen.order.len() < 600 {
            for _ in 0..40 {
                if seen.order.len() < 600 {
                    seen.take(&mut reader);
                }
            }
            moves += 1;
            // The next connection takes over from the one that is still open.
            reader = dial(moves % 2 + 1);
        }
        writing.join().unwrap();
        assert_eq!(seen.order, numbers(600), "{qos:?}");
    }
}

#[test]
fn order_is_kept_when_the_subscriber_s_gateway_is_killed() {
    let mut fleet = Fleet::start(2);
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(2));
    reader.subscribe("order", QoS::AtLeastOnce);
    let writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let writing = thread::spawn(move || publish_all(writer, "order", QoS::AtLeastOnce, 400));
    let mut seen = Seen::default();
    (0..100).for_each(|_| seen.take(&mut reader));
    fleet.kill(2);
    let mut reader = Dial::v5("reader").persistent().connect(fleet.mqtt(1));
    while seen.order.len() < 400 {
        seen.take(&mut reader);
    }
    writing.join().unwrap();
    assert_eq!(seen.order, numbers(400));
}

#[test]
fn order_is_kept_when_the_publisher_moves_between_gateways() {
    let fleet = Fleet::start(2);
    let places: [SocketAddr; 2] = [fleet.mqtt(1), fleet.mqtt(2)];
    let mut readers =
        [Dial::v5("clean").connect(places[0]), Dial::v5("kept").persistent().connect(places[1])];
    readers.iter_mut().for_each(|reader| reader.subscribe("order", QoS::AtLeastOnce));
    for number in 0..60 {
        // It knows that each is taken before it goes on, as a publisher must that moves.
        let mut writer = Dial::v5("writer").connect(places[number % 2]);
        writer.publish("order", &number.to_string(), QoS::AtLeastOnce);
    }
    let mut kept = Seen::default();
    (0..60).for_each(|_| kept.take(&mut readers[1]));
    assert_eq!(kept.order, numbers(60));
    // A clean session has no stored order to go by when two gateways publish; it gets everything all the same.
    let clean: HashSet<_> = (0..60).map(|_| readers[0].receive().text).collect();
    assert_eq!(clean, numbers(60).into_iter().collect());
}

/// What was received, in the order of first arrival.
#[derive(Default)]
struct Seen {
    order: Vec<String>,
    known: HashSet<String>,
}

impl Seen {
    fn take(&mut self, reader: &mut Client) {
        let message = reader.receive();
        if self.known.insert(message.text.clone()) {
            self.order.push(message.text);
        }
    }
}

fn numbers(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

/// Publishes numbers with up to twenty of them in flight.
fn publish_all(mut writer: Client, topic: &str, qos: QoS, count: usize) {
    let mut open = 0;
    for number in 0..count {
        let _ = writer.start_publish(topic, &number.to_string(), qos);
        open += usize::from(qos != QoS::AtMostOnce);
        while open >= 20 {
            open -= finish_one(&mut writer);
        }
    }
    while open > 0 {
        open -= finish_one(&mut writer);
    }
    writer.ping();
}

/// Takes one acknowledgement; answers how many publications that completes.
fn finish_one(writer: &mut Client) -> usize {
    let frame = writer.next_frame();
    match frame.packet() {
        Packet::PubAck(_) | Packet::PubComp(_) => 1,
        Packet::PubRec(ack) => {
            writer.acknowledge(AckKind::PubRel, ack.packet_id);
            0
        }
        other => panic!("{other:?}"),
    }
}
