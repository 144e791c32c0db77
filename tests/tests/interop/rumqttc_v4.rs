//! rumqttc with MQTT 3.1.1.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rumqttc::{
    Client, ConnectReturnCode, Connection, Event, MqttOptions, Packet, QoS, TlsConfiguration,
    Transport,
};
use tests::harness::{Fleet, Identity, PATIENCE, tls_config};

#[test]
fn every_level_crosses_the_fleet() {
    let fleet = Fleet::start(2);
    let (reader, mut reading) = connect(fleet.mqtt(2), "reader", true);
    reader.subscribe("t/+", QoS::ExactlyOnce).expect("taken");
    wait(&mut reading, |packet| matches!(packet, Packet::SubAck(_)));
    let (writer, mut writing) = connect(fleet.mqtt(1), "writer", true);
    for (topic, qos) in
        [("t/0", QoS::AtMostOnce), ("t/1", QoS::AtLeastOnce), ("t/2", QoS::ExactlyOnce)]
    {
        writer.publish(topic, qos, false, "hello").expect("taken");
        match qos {
            QoS::AtMostOnce => {}
            QoS::AtLeastOnce => drop(wait(&mut writing, |p| matches!(p, Packet::PubAck(_)))),
            QoS::ExactlyOnce => drop(wait(&mut writing, |p| matches!(p, Packet::PubComp(_)))),
        }
        if qos == QoS::AtMostOnce {
            // Nothing comes back for it: something else must make it leave.
            writer.publish("t", QoS::AtLeastOnce, false, "").expect("taken");
            wait(&mut writing, |p| matches!(p, Packet::PubAck(_)));
        }
        let Packet::Publish(message) = wait(&mut reading, |p| matches!(p, Packet::Publish(_)))
        else {
            panic!("not a message")
        };
        assert_eq!((message.topic.as_str(), message.qos), (topic, qos));
    }
    let (_, mut last) = connect(fleet.mqtt(1), "reader", true);
    // Taken over from the other gateway: its connection ends.
    wait_lost(&mut reading);
    drop(last.recv_timeout(Duration::ZERO));
}

#[test]
fn a_persistent_session_moves() {
    let fleet = Fleet::start(2);
    let (device, mut at_first) = connect(fleet.mqtt(1), "device", false);
    device.subscribe("t", QoS::AtLeastOnce).expect("taken");
    wait(&mut at_first, |packet| matches!(packet, Packet::SubAck(_)));
    device.disconnect().expect("taken");
    wait_lost(&mut at_first);
    let (writer, mut writing) = connect(fleet.mqtt(1), "writer", true);
    writer.publish("t", QoS::AtLeastOnce, false, "for later").expect("taken");
    wait(&mut writing, |packet| matches!(packet, Packet::PubAck(_)));
    let (_device, mut at_second) = connect(fleet.mqtt(2), "device", false);
    let Packet::Publish(message) = wait(&mut at_second, |p| matches!(p, Packet::Publish(_))) else {
        panic!("not a message")
    };
    assert_eq!(message.payload.as_ref(), b"for later");
}

#[test]
fn tls_with_a_client_certificate_works() {
    let fleet = Fleet::start(2);
    let certs = fleet.certificates();
    let secure = |gateway: usize, id: &str| {
        let config = tls_config(&certs, Identity::Of(&certs, "device-1"));
        let transport = Transport::tls_with_config(TlsConfiguration::Rustls(Arc::new(config)));
        open(fleet.place(gateway).mqtts, id, true, transport)
    };
    let (reader, mut reading) = secure(2, "reader");
    reader.subscribe("t", QoS::AtLeastOnce).expect("taken");
    wait(&mut reading, |packet| matches!(packet, Packet::SubAck(_)));
    let (writer, mut writing) = secure(1, "writer");
    writer.publish("t", QoS::AtLeastOnce, false, "secret").expect("taken");
    wait(&mut writing, |packet| matches!(packet, Packet::PubAck(_)));
    let Packet::Publish(message) = wait(&mut reading, |p| matches!(p, Packet::Publish(_))) else {
        panic!("not a message")
    };
    assert_eq!(message.payload.as_ref(), b"secret");
}

/// A client over TCP whose CONNACK has come.
fn connect(place: SocketAddr, id: &str, clean: bool) -> (Client, Connection) {
    open(place, id, clean, Transport::tcp())
}

/// A client whose CONNACK has come.
fn open(place: SocketAddr, id: &str, clean: bool, transport: Transport) -> (Client, Connection) {
    let mut options = MqttOptions::new(id, place.ip().to_string(), place.port());
    options.set_clean_session(clean).set_keep_alive(Duration::from_secs(60));
    options.set_transport(transport);
    let (client, mut connection) = Client::new(options, 32);
    let Packet::ConnAck(ack) = wait(&mut connection, |p| matches!(p, Packet::ConnAck(_))) else {
        panic!("not an answer")
    };
    assert_eq!(ack.code, ConnectReturnCode::Success);
    (client, connection)
}

/// Turns the client's wheel until a packet comes that is wanted.
fn wait(connection: &mut Connection, wanted: impl Fn(&Packet) -> bool) -> Packet {
    loop {
        match connection.recv_timeout(PATIENCE) {
            Ok(Ok(Event::Incoming(packet))) if wanted(&packet) => return packet,
            Ok(Ok(_)) => {}
            Ok(Err(error)) => panic!("{error}"),
            Err(error) => panic!("{error:?}"),
        }
    }
}

/// Turns the client's wheel until its connection is lost.
fn wait_lost(connection: &mut Connection) {
    while connection.recv_timeout(PATIENCE).expect("an event").is_ok() {}
}
