//! What a broker does wrong is found, and counted as what it is. The broker here does it on purpose.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

use clap::Parser;
use device_sim::{Args, Plan, Report, run};
use protocol::PacketId;
use protocol::QoS;
use protocol::mqtt::{
    Ack, ConnAck, Packet, Publish, PublishProperties, ReasonCode, SubAck, Version,
    codec::{self, AckKind, Sender},
};

/// The connection of the one who subscribed, and what is held back from it.
#[derive(Default)]
struct Receiver {
    stream: Option<TcpStream>,
    held: Option<Vec<u8>>,
}

/// Takes one publisher and one receiver, and of every ten messages does some wrong: see [`wrongs`].
fn does_wrong() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let receiver = Arc::new(Mutex::new(Receiver::default()));
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let receiver = Arc::clone(&receiver);
            std::thread::spawn(move || serve(stream.unwrap(), &receiver));
        }
    });
    address
}

fn serve(mut stream: TcpStream, receiver: &Mutex<Receiver>) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut chunk).unwrap_or_default();
        if count == 0 {
            return;
        }
        bytes.extend(chunk.iter().take(count));
        while let Some(len) = codec::frame(&bytes, u32::MAX).unwrap() {
            let packet: Vec<u8> = bytes.drain(..len).collect();
            let packet = codec::decode(&packet, Version::V311, Sender::Client).unwrap();
            let mut out = Vec::new();
            if let Packet::Connect(_) = packet {
                codec::connack(&mut out, Version::V311, &ConnAck::of(false, ReasonCode::Success));
            }
            if let Packet::Subscribe(subscribe) = &packet {
                receiver.lock().unwrap().stream = Some(stream.try_clone().unwrap());
                let reasons = vec![ReasonCode::GrantedQoS1];
                let ack = SubAck { packet_id: subscribe.packet_id, reasons, reason_string: None };
                codec::suback(&mut out, Version::V311, &ack);
            }
            if let Packet::Publish(publish) = &packet
                && wrongs(publish, &mut receiver.lock().unwrap())
            {
                let ack = Ack::of(publish.packet_id.unwrap(), ReasonCode::Success);
                codec::ack(&mut out, Version::V311, AckKind::PubAck, &ack);
            }
            // A client that has left does not read any more.
            let _ = stream.write_all(&out);
        }
    }
}

/// Does what is wrong with a message, and says whether to acknowledge it.
fn wrongs(publish: &Publish<'_>, receiver: &mut Receiver) -> bool {
    let sequence = u64::from_be_bytes(publish.payload.get(8..16).unwrap().try_into().unwrap());
    let copy = |dup| encoded(publish.topic, publish.payload, dup);
    let (said, acknowledged) = match sequence % 10 {
        1 => (vec![], false),
        2 => (vec![copy(false), encoded(publish.topic, b"of somebody else", false)], true),
        3 => (vec![], true),
        5 => (vec![copy(false), copy(false)], true),
        6 => (vec![copy(false), copy(true)], true),
        8 => {
            receiver.held = Some(copy(false));
            (vec![], true)
        }
        9 => (vec![copy(false), receiver.held.take().unwrap()], true),
        _ => (vec![copy(false)], true),
    };
    receiver.stream.as_mut().unwrap().write_all(&said.concat()).unwrap();
    acknowledged
}

fn encoded(topic: &str, payload: &[u8], dup: bool) -> Vec<u8> {
    let publish = Publish {
        dup,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic,
        packet_id: PacketId::new(7),
        properties: PublishProperties::default(),
        payload,
    };
    let mut out = Vec::new();
    codec::publish_client(&mut out, Version::V311, &publish);
    out
}

fn sim(args: &str) -> Report {
    let args = "device-sim run --quiet -q 1 --settle-seconds 0.5".split(' ').chain(args.split(' '));
    let Args::Run(args) = Args::try_parse_from(args).unwrap() else { unreachable!("a run") };
    run(&Plan::try_from(*args).unwrap()).unwrap()
}

#[test]
fn what_is_lost_repeated_swapped_or_foreign_is_counted_as_that() {
    for pace in ["--window 1000", "--rate 2000"] {
        let report = sim(&format!("--broker {} --count 100 {pace}", does_wrong()));
        assert_eq!((report.published, report.acknowledged, report.unacknowledged), (100, 90, 10));
        assert_eq!((report.expected, report.delivered), (100, 80), "{report}");
        assert_eq!((report.lost, report.unacknowledged_lost), (10, 10), "{report}");
        assert_eq!((report.duplicates, report.duplicates_without_dup), (20, 10), "{report}");
        assert_eq!(report.duplicates_sent_twice, 0, "{report}");
        assert_eq!((report.reordered, report.foreign), (10, 10), "{report}");
        assert_eq!((report.gaps.reconnects, report.ended.list()), (0, vec![]), "{report}");
    }
}
