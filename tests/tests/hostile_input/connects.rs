//! C: connections and their CONNECT.

use super::pair::Pair;
use super::size::is_full;
use protocol::mqtt::{ReasonCode, Version};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};
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
    let limits = "[limits]\nconnections = 7\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let mut clients: Vec<_> =
        (0..5).map(|n| Dial::v5(&format!("client-{n}")).connect(fleet.mqtt(1))).collect();
    // C8: the same client tries again and again.
    let began = Instant::now();
    let mut tries = 0;
    while tries < 200 || (is_full() && began.elapsed() < Duration::from_secs(60)) {
        match Dial::v5("late").try_connect(fleet.mqtt(1)) {
            // After a while it also comes too often.
            Answer::Refused { reason, .. } => assert!(
                matches!(reason, ReasonCode::QuotaExceeded | ReasonCode::ConnectionRateExceeded),
                "{reason:?}"
            ),
            Answer::Closed => panic!("closed without a reason"),
            Answer::Accepted(_) => panic!("there is no room"),
        }
        tries += 1;
    }
    println!("C8: refused {tries} times");
    clients.pop().expect("five").disconnect();
    let mut late = tests::harness::eventually("there is room", || {
        match Dial::v5("late").try_connect(fleet.mqtt(1)) {
            Answer::Accepted(client) => Some(client),
            Answer::Refused { .. } | Answer::Closed => None,
        }
    });
    late.ping();
    clients.iter_mut().for_each(Client::ping);
    pair.assert_undisturbed();
}

#[test]
fn keep_alive_is_held_to_one_and_a_half_times_its_length() {
    let limits = "[limits]\nkeep_alive_max_s = 30\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    // C9: 5.0 is told what counts; 3.1.1 keeps its own.
    for (asked, told) in [(1, None), (30, None), (65_535, Some(30)), (0, Some(30))] {
        let dial = Dial::v5("asks").keep_alive_s(asked);
        let mut client = dial.begin(Box::new(TcpStream::connect(fleet.mqtt(1)).expect("a socket")));
        let frame = client.next_frame();
        let protocol::mqtt::Packet::ConnAck(ack) = frame.packet() else { panic!("{frame:?}") };
        assert_eq!(ack.server_keep_alive_s, told, "{asked}");
    }
    let mut for_ever = Dial::v311("for ever").keep_alive_s(0).connect(fleet.mqtt(1));
    let mut long = Dial::v311("long").keep_alive_s(65_535).connect(fleet.mqtt(1));
    let began = Instant::now();
    let mut late = Dial::v5("late").keep_alive_s(1).connect(fleet.mqtt(1));
    // One that pings in time stays for longer than one that does not.
    let mut prompt = Dial::v5("prompt").keep_alive_s(20).connect(fleet.mqtt(1));
    assert_eq!(late.end_reason(), Some(ReasonCode::KeepAliveTimeout));
    let silence = began.elapsed();
    assert!(silence >= Duration::from_millis(1_400), "cut off after {silence:?}");
    for client in [&mut prompt, &mut for_ever, &mut long] {
        client.ping();
    }
    pair.assert_undisturbed();
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

#[test]
fn proxy_headers_that_are_wrong_close_their_connection() {
    let trusted = "[[listen]]\nbind = \"@extra1@\"\nproxy_protocol = true\nproxy_trusted = [\"127.0.0.0/8\"]\n";
    let stranger = "[[listen]]\nbind = \"@extra2@\"\nproxy_protocol = true\nproxy_trusted = [\"192.0.2.0/24\"]\n";
    let settings = Settings::default().everywhere(trusted).everywhere(stranger);
    let fleet = Fleet::start_with(1, &settings);
    let pair = Pair::start(fleet.mqtt(1));
    let [trusted, strange] = fleet.place(1).extra;
    let connect = Dial::v5("c").bytes();
    let one = b"PROXY TCP4 192.0.2.7 127.0.0.1 4711 1883\r\n".to_vec();
    let two = b"\r\n\r\n\0\r\nQUIT\n".to_vec();
    let version_two = |rest: &[u8]| [&two[..], rest, &connect].concat();
    // C12
    let cases = [
        ("missing", trusted, connect.clone()),
        ("twice", trusted, [&one[..], &one, &connect].concat()),
        ("without an end", trusted, b"PROXY TCP4 1".repeat(20)),
        ("a family that does not exist", trusted, b"PROXY TCP9 a b c d\r\n".to_vec()),
        ("a port beyond all ports", trusted, b"PROXY TCP4 1.2.3.4 1.2.3.4 99999 1\r\n".to_vec()),
        ("a length shorter than addresses", trusted, version_two(&[0x21, 0x11, 0, 4, 1, 2, 3, 4])),
        ("a length of 65,535", trusted, version_two(&[0x21, 0x11, 0xFF, 0xFF])),
        (
            "version 3",
            trusted,
            version_two(&[0x31, 0x11, 0, 12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]),
        ),
        ("from a stranger", strange, [one, connect.clone()].concat()),
    ];
    pair.unmoved_by("C12", || {
        for (what, listener, bytes) in &cases {
            let mut stream = TcpStream::connect(listener).expect("a connection");
            stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
            // It may be closed before everything is sent.
            let _ = stream.write_all(bytes);
            // One that is not whole waits for its rest.
            let _ = stream.shutdown(std::net::Shutdown::Write);
            let mut answer = Vec::new();
            let _ = stream.read_to_end(&mut answer);
            assert!(answer.is_empty(), "{what}: {answer:02x?}");
        }
    });
    let counted = "tidegate_connections_turned_away_total{reason=\"proxy\"}";
    assert!(fleet.metric(1, counted) > 0);
    pair.assert_undisturbed();
}
