//! Devices go where a server reference points. The brokers here are a few lines of this file.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use clap::Parser;
use device_sim::{Args, Plan, Report, RunError, run};
use protocol::mqtt::{Ack, SubAck};
use protocol::mqtt::{
    ConnAck, Disconnect, Packet, ReasonCode, Version,
    codec::{self, AckKind, Sender},
};

/// Answers the first packet of every connection and closes it.
fn sends_away(answer: Vec<u8>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 1_024]).unwrap();
            stream.write_all(&answer).unwrap();
        }
    });
    address
}

/// Serves publishers only: takes every connection and acknowledges every publication of `QoS` 1.
fn serves() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            std::thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

fn serve(mut stream: TcpStream) {
    let (mut bytes, mut chunk) = (Vec::new(), [0; 4_096]);
    loop {
        let count = stream.read(&mut chunk).unwrap_or_default();
        if count == 0 {
            return;
        }
        bytes.extend(chunk.iter().take(count));
        let mut out = Vec::new();
        while let Some(len) = codec::frame(&bytes, u32::MAX).unwrap() {
            let packet: Vec<u8> = bytes.drain(..len).collect();
            answer(&codec::decode(&packet, Version::V5, Sender::Client).unwrap(), &mut out);
        }
        if stream.write_all(&out).is_err() {
            return;
        }
    }
}

fn answer(packet: &Packet<'_>, out: &mut Vec<u8>) {
    if let Packet::Connect(_) = packet {
        codec::connack(out, Version::V5, &ConnAck::of(false, ReasonCode::Success));
    }
    if let Packet::Subscribe(subscribe) = packet {
        let reasons = vec![ReasonCode::GrantedQoS1; subscribe.filters.len()];
        let ack = SubAck { packet_id: subscribe.packet_id, reasons, reason_string: None };
        codec::suback(out, Version::V5, &ack);
    }
    if let Packet::Publish(publish) = packet {
        let ack = Ack::of(publish.packet_id.unwrap(), ReasonCode::Success);
        codec::ack(out, Version::V5, AckKind::PubAck, &ack);
    }
}

fn sim(args: &str) -> Result<Report, RunError> {
    let fixed = "device-sim run --quiet -V 5 -q 1 --settle-seconds 0.2";
    let args = fixed.split(' ').chain(args.split(' '));
    let Args::Run(args) = Args::try_parse_from(args).unwrap() else { unreachable!("a run") };
    run(&Plan::try_from(*args).unwrap())
}

fn refusal(reference: SocketAddr) -> Vec<u8> {
    let reference = reference.to_string();
    let mut ack = ConnAck::of(false, ReasonCode::UseAnotherServer);
    ack.server_reference = Some(&reference);
    let mut out = Vec::new();
    codec::connack(&mut out, Version::V5, &ack);
    out
}

#[test]
fn a_connack_with_a_server_reference_is_followed() {
    let away = sends_away(refusal(serves()));
    let report = sim(&format!("--broker {away} --pattern idle -n 3 --seconds 0.1")).unwrap();
    assert_eq!((report.gaps.redirects, report.gaps.never_served_again), (3, 0));
    let report = sim(&format!("--broker {away} --count 10")).unwrap();
    assert_eq!((report.gaps.redirects, report.acknowledged), (2, 10));
    assert_eq!((report.delivered, report.lost), (0, 10));
}

#[test]
fn a_disconnect_with_a_server_reference_is_followed_and_its_gap_is_measured() {
    let reference = serves().to_string();
    let mut answer = Vec::new();
    codec::connack(&mut answer, Version::V5, &ConnAck::of(false, ReasonCode::Success));
    let mut disconnect = Disconnect::of(ReasonCode::ServerMoved);
    disconnect.server_reference = Some(&reference);
    codec::disconnect(&mut answer, Version::V5, &disconnect);
    let away = sends_away(answer);
    let report = sim(&format!("--broker {away} --pattern fan-in -n 2 --count 10")).unwrap();
    assert_eq!((report.published, report.acknowledged), (20, 20));
    assert_eq!(report.gaps.redirects, 3);
    // The receiver was sent away before it was served, so that only publishers were served again.
    assert_eq!((report.gaps.reconnects, report.gaps.never_served_again), (2, 0));
}

#[test]
fn who_does_not_follow_takes_the_next_broker_of_the_list() {
    let nowhere = "127.0.0.1:1".parse().unwrap();
    let away = sends_away(refusal(nowhere));
    let next = serves();
    let args = format!("--broker {away},{next} --pattern idle -n 2 --reconnect --seconds 0.1");
    let report = sim(&format!("{args} --follow-redirects no")).unwrap();
    assert_eq!(report.gaps.redirects, 0);
    let refused = sim(&format!("--broker {away} --pattern idle -n 2 --follow-redirects no"));
    assert!(matches!(refused, Err(RunError::Device(why)) if why.contains("UseAnotherServer")));
}
