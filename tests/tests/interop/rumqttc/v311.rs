//! The client of 3.1.1.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use rumqttc::{
    Client, ConnectReturnCode, Connection, Event, LastWill, MqttOptions, NetworkOptions, Packet,
    Publish, QoS, Transport, qos,
};
use tests::harness::PATIENCE;

use super::cases::{Link, Message, Wish};

/// One connection of the client.
pub(super) struct Rumqttc {
    client: Client,
    connection: Connection,
    session_present: bool,
    /// Messages that came while something else was waited for.
    waiting: VecDeque<Message>,
}

/// Larger than the largest payload of a case.
const PACKET_BYTES: usize = 2 * 1024 * 1024;

/// A client whose CONNACK has come.
pub(super) fn open(place: SocketAddr, transport: Transport, wish: &Wish) -> Rumqttc {
    let mut options = MqttOptions::new(&wish.id, place.ip().to_string(), place.port());
    options.set_keep_alive(Duration::from_secs(60)).set_transport(transport);
    options.set_clean_session(!wish.persistent);
    options.set_max_packet_size(PACKET_BYTES, PACKET_BYTES);
    if let Some((topic, payload)) = &wish.will {
        options.set_last_will(LastWill::new(topic, payload.as_bytes(), of(1), false));
    }
    let (client, mut connection) = Client::new(options, 32);
    // Its own five seconds are little on a machine that builds meanwhile.
    let mut network = NetworkOptions::new();
    network.set_connection_timeout(PATIENCE.as_secs());
    connection.eventloop.set_network_options(network);
    let mut link = Rumqttc { client, connection, session_present: false, waiting: VecDeque::new() };
    let Packet::ConnAck(ack) = link.wait(|packet| matches!(packet, Packet::ConnAck(_))) else {
        panic!("not an answer")
    };
    assert_eq!(ack.code, ConnectReturnCode::Success);
    link.session_present = ack.session_present;
    link
}

impl Rumqttc {
    /// Turns the client's wheel until a packet comes that is wanted; messages are kept.
    fn wait(&mut self, wanted: impl Fn(&Packet) -> bool) -> Packet {
        loop {
            match self.connection.recv_timeout(PATIENCE) {
                Ok(Ok(Event::Incoming(packet))) => {
                    if let Packet::Publish(publish) = &packet {
                        self.waiting.push_back(message(publish));
                    }
                    if wanted(&packet) {
                        return packet;
                    }
                }
                Ok(Ok(Event::Outgoing(_))) => {}
                Ok(Err(error)) => panic!("{error}"),
                Err(error) => panic!("{error:?}"),
            }
        }
    }
}

impl Link for Rumqttc {
    fn session_present(&self) -> bool {
        self.session_present
    }

    fn subscribe(&mut self, filter: &str, level: u8) {
        self.client.subscribe(filter, of(level)).expect("taken");
        self.wait(|packet| matches!(packet, Packet::SubAck(_)));
    }

    fn publish(&mut self, topic: &str, payload: &[u8], level: u8, retain: bool) {
        self.client.publish(topic, of(level), retain, payload.to_vec()).expect("taken");
        match level {
            0 => {}
            1 => drop(self.wait(|packet| matches!(packet, Packet::PubAck(_)))),
            _ => drop(self.wait(|packet| matches!(packet, Packet::PubComp(_)))),
        }
    }

    fn publish_many(&mut self, topic: &str, payloads: &[String]) {
        let client = self.client.clone();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for payload in payloads {
                    let payload = payload.clone().into_bytes();
                    client.publish(topic, of(1), false, payload).expect("taken");
                }
            });
            for _ in payloads {
                self.wait(|packet| matches!(packet, Packet::PubAck(_)));
            }
        });
    }

    fn receive(&mut self) -> Message {
        if self.waiting.is_empty() {
            self.wait(|packet| matches!(packet, Packet::Publish(_)));
        }
        self.waiting.pop_front().expect("a message came")
    }

    fn disconnect(mut self) {
        self.client.disconnect().expect("taken");
        self.wait_lost();
    }

    fn wait_lost(&mut self) {
        while self.connection.recv_timeout(PATIENCE).expect("an event").is_ok() {}
    }
}

fn of(level: u8) -> QoS {
    qos(level).expect("a level")
}

fn message(publish: &Publish) -> Message {
    Message {
        topic: publish.topic.clone(),
        payload: publish.payload.to_vec(),
        qos: publish.qos as u8,
        retain: publish.retain,
    }
}
