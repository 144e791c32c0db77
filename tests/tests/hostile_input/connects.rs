//! C: connections and their CONNECT.

use super::pair::Pair;
use protocol::mqtt::{ReasonCode, Version};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use tests::harness::{Answer, Client, Dial, Fleet, PATIENCE, Settings};

#[test]
fn silence_and_trickles_end_at_the_deadline() {
    let limits = "[limits]\nconnect_timeout_ms = 400\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let mut silent: Vec<_> =
        (0..50).map(|_| TcpStream::connect(fleet.mqtt(1)).expect("a connection")).collect();
    // C2: a byte at a time, for ever.
    let mut trickle = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
    let connect = Dial::v5("trickle").bytes();
    for stream in silent.iter_mut().chain([&mut trickle]) {
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    }
    trickle.write_all(&connect[..3]).expect("an open socket");
    for stream in silent.iter_mut().chain([&mut trickle]) {
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{answer:02x?}");
    }
    pair.assert_undisturbed();
}

#[test]
fn who_is_not_let_in_yet_holds_little_memory() {
    let fleet = Fleet::start(1);
    let address = fleet.mqtt(1);
    let large = Dial::v5("large").password(vec![b'x'; 60_000]);
    match large.clone().will("t", &"x".repeat(10_000)).try_connect(address) {
        Answer::Refused { reason, .. } => assert_eq!(reason, ReasonCode::PacketTooLarge),
        other => panic!("{other:?}"),
    }
    // The length and the version are enough.
    let mut announced = TcpStream::connect(address).expect("a connection");
    announced.set_read_timeout(Some(PATIENCE)).expect("a socket");
    announced.write_all(b"\x10\x80\x80\x40\x00\x04MQTT\x05\x02\0\0").expect("an open socket");
    let mut answer = [0; 5];
    announced.read_exact(&mut answer).expect("an answer");
    assert_eq!((answer[0], answer[3]), (0x20, ReasonCode::PacketTooLarge as u8));
    // What is below the limit is taken, and the limit ends with it.
    let mut client = large.connect(address);
    client.publish("t", &"x".repeat(200_000), protocol::QoS::AtLeastOnce);
    client.ping();
}

#[test]
fn a_full_gateway_says_so_and_recovers_the_moment_there_is_room() {
    let limits = "[limits]\nconnections = 5\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let mut clients: Vec<_> =
        (0..5).map(|n| Dial::v5(&format!("client-{n}")).connect(fleet.mqtt(1))).collect();
    for _ in 0..20 {
        // C8: the same client tries again and again.
        match Dial::v5("late").try_connect(fleet.mqtt(1)) {
            Answer::Refused { reason, .. } => assert_eq!(reason, ReasonCode::QuotaExceeded),
            other => panic!("{other:?}"),
        }
    }
    clients.pop().expect("five").disconnect();
    let mut late = tests::harness::eventually("there is room", || {
        match Dial::v5("late").try_connect(fleet.mqtt(1)) {
            Answer::Accepted(client) => Some(client),
            Answer::Refused { .. } | Answer::Closed => None,
        }
    });
    late.ping();
    clients.iter_mut().for_each(Client::ping);
}

#[test]
fn client_ids_and_passwords_are_taken_as_the_standard_says() {
    let fleet = Fleet::start(1);
    for id in ["a/b", "+", "#", "$SYS", "é😀", " ", "x".repeat(23).as_str()] {
        for version in [Version::V311, Version::V5] {
            Dial::new(version, id).connect(fleet.mqtt(1)).disconnect();
        }
    }
    // C6: a password without a user name is for 5.0 only [MQTT3-3.1.2-22].
    let mut with_password = Dial::v5("p").bytes();
    with_password[9] |= 0x40;
    with_password.extend([0, 3, 0, 0xFF, 7]);
    with_password[1] += 5;
    let mut stream = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(&with_password).expect("an open socket");
    let mut head = [0; 4];
    stream.read_exact(&mut head).expect("CONNACK");
    assert_eq!((head[0], head[3]), (0x20, 0));
    let mut old = Dial::v311("p").bytes();
    old[9] |= 0x40;
    old.extend([0, 1, b'x']);
    old[1] += 3;
    let mut stream = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(&old).expect("an open socket");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(answer.is_empty() || answer[3] != 0, "{answer:02x?}");
}
