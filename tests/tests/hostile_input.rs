//! M8: whatever bytes arrive, the gateway answers as the standard says or closes that one connection with a reason, and
//! nothing else is disturbed. The letters and numbers name rows of the list of inputs that have broken brokers.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};

use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Filter, ReasonCode, RetainHandling, SubscribeOptions, Version};
use protocol::{PacketId, QoS};
use tests::harness::{Answer, Client, Dial, Ended, Fleet, PATIENCE, Settings};

#[test]
fn broken_frames_end_their_connection_with_the_right_reason() {
    let long = [0x30, 0xFF, 0xFF, 0xFF, 0xFF, 0x01];
    let huge = [0x30, 0xFF, 0xFF, 0xFF, 0x7F];
    check_all(&[
        ("F1: a length of five bytes", &long, ReasonCode::MalformedPacket),
        (
            "F1: a length that is not in its shortest form",
            &[0xC0, 0x80, 0],
            ReasonCode::MalformedPacket,
        ),
        ("F2: 256 MiB announced", &huge, ReasonCode::PacketTooLarge),
        ("F4: packet type 0", &[0, 0], ReasonCode::MalformedPacket),
        ("F4: CONNACK from a client", &[0x20, 3, 0, 0, 0], ReasonCode::ProtocolError),
        ("F4: SUBACK from a client", &[0x90, 4, 0, 1, 0, 0], ReasonCode::ProtocolError),
        ("F4: UNSUBACK from a client", &[0xB0, 4, 0, 1, 0, 0], ReasonCode::ProtocolError),
        ("F4: PINGRESP from a client", &[0xD0, 0], ReasonCode::ProtocolError),
        (
            "F5: SUBSCRIBE with flags 0000",
            &[0x80, 6, 0, 1, 0, 0, 1, b'a'],
            ReasonCode::MalformedPacket,
        ),
        ("F5: PUBREL with flags 0000", &[0x60, 2, 0, 1], ReasonCode::MalformedPacket),
        ("F5: QoS 3", &[0x36, 6, 0, 1, b'a', 0, 1, 0], ReasonCode::MalformedPacket),
        ("F5: DUP with QoS 0", &[0x38, 4, 0, 1, b'a', 0], ReasonCode::MalformedPacket),
        ("F8: PINGREQ with a body", &[0xC0, 1, 0], ReasonCode::MalformedPacket),
        (
            "F8: bytes after the properties of PUBACK",
            &[0x40, 5, 0, 1, 0, 0, 9],
            ReasonCode::MalformedPacket,
        ),
        ("C3: a second CONNECT", &Dial::v5("again").bytes(), ReasonCode::ProtocolError),
    ]);
}

#[test]
fn broken_properties_and_strings_end_their_connection_with_the_right_reason() {
    let with = |properties: &[u8]| publish(0x30, b"t", None, properties, b"");
    let expiry = [2, 0, 0, 0, 9];
    let twice = with(&[expiry, expiry].concat());
    let malformed = ReasonCode::MalformedPacket;
    check_all(&[
        ("P1: a property twice", &twice, ReasonCode::ProtocolError),
        ("P1: a property of another packet", &with(&[17, 0, 0, 0, 9]), malformed),
        ("P1: an unknown property", &with(&[0x7F, 0]), malformed),
        ("P2: properties beyond the packet", &[0x30, 5, 0, 1, b't', 9, 2], malformed),
        (
            "P2: a user property beyond the properties",
            &with(&[38, 0, 1, b'k', 0, 9, b'v']),
            malformed,
        ),
        ("P4: bytes that are no UTF-8", &publish(0x30, &[0xFF, 0xFE], None, &[], b""), malformed),
        ("P4: an overlong form", &publish(0x30, &[0xC0, 0xAF], None, &[], b""), malformed),
        ("P4: a surrogate", &publish(0x30, &[0xED, 0xA0, 0x80], None, &[], b""), malformed),
        ("P4: U+0000", &publish(0x30, b"a\0b", None, &[], b""), malformed),
        ("P6: topic alias 0", &with(&[35, 0, 0]), ReasonCode::TopicAliasInvalid),
        ("P6: packet id 0", &publish(0x32, b"t", Some(0), &[], b""), ReasonCode::ProtocolError),
        (
            "P6: subscription identifier 0",
            &[0x82, 9, 0, 1, 2, 11, 0, 0, 1, b't', 0],
            ReasonCode::ProtocolError,
        ),
        (
            "B4: an alias before it is set",
            &publish(0x30, b"", None, &[35, 0, 1], b""),
            ReasonCode::ProtocolError,
        ),
        ("B4: an alias above the maximum", &with(&[35, 0xFF, 0xFF]), ReasonCode::TopicAliasInvalid),
        (
            "B5: a wildcard in a topic",
            &publish(0x30, b"a/#", None, &[], b""),
            ReasonCode::TopicNameInvalid,
        ),
        (
            "B5: no topic and no alias",
            &publish(0x30, b"", None, &[], b""),
            ReasonCode::ProtocolError,
        ),
        ("B12: a wildcard in a response topic", &with(&[8, 0, 1, b'#']), ReasonCode::ProtocolError),
    ]);
}

#[test]
fn to_what_is_no_connect_nothing_is_said() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let connect = Dial::v5("half").bytes();
    let half = &connect[..connect.len() / 2];
    let http = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    // A handshake of TLS begins with 22: type 1, flags 0110.
    let hello = [0x16, 3, 1, 0, 4, 1, 0, 0, 0];
    let noise: Vec<u8> =
        (0_u32..999).map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[1]).collect();
    let inputs: [(&str, &[u8]); 6] = [
        ("F3: half a CONNECT", half),
        ("F6: HTTP", http),
        ("F6: TLS", &hello),
        ("F6: noise", &noise),
        ("C3: PINGREQ before CONNECT", &[0xC0, 0]),
        ("C3: PUBLISH before CONNECT", &publish(0x30, b"t", None, &[], b"")),
    ];
    for (what, input) in inputs {
        let mut stream = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        // It may be closed while we still write.
        let _ = stream.write_all(input);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        assert!(answer.is_empty(), "{what}: {answer:02x?}");
    }
    pair.assert_undisturbed();
}

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
fn what_is_odd_but_allowed_works() {
    let fleet = Fleet::start(1);
    // F9: one byte per segment, for a whole session.
    for version in [Version::V311, Version::V5] {
        let mut whole = Vec::new();
        whole.extend(Dial::new(version, "slow").bytes());
        let empty: &[u8] = if version == Version::V5 { &[0] } else { &[] };
        let subscribe = [&[0, 1][..], empty, &[0, 1, b't', 1]].concat();
        whole.extend(packet(0x82, &subscribe));
        let body = [&[0, 1, b't', 0, 2][..], empty, b"x"].concat();
        whole.extend(packet(0x32, &body));
        let mut stream = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
        stream.set_nodelay(true).expect("a socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        for byte in whole {
            stream.write_all(&[byte]).expect("an open socket");
        }
        let mut kinds = Vec::new();
        while kinds.len() < 4 {
            let mut head = [0; 2];
            stream.read_exact(&mut head).expect("an answer");
            let mut body = vec![0; usize::from(head[1])];
            stream.read_exact(&mut body).expect("the rest of it");
            kinds.push(head[0] >> 4);
        }
        kinds.sort_unstable();
        // CONNACK, PUBLISH, PUBACK, SUBACK.
        assert_eq!(kinds, [2, 3, 4, 9], "{version:?}");
    }
    // F10: acknowledgements with and without reason and properties; P7: a password of every byte value.
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("t", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for length in [2, 3, 4] {
        writer.publish("t", "x", QoS::AtLeastOnce);
        let id = reader.receive_only().packet_id.expect("an id").get();
        let [high, low] = id.to_be_bytes();
        reader.send(&packet(0x40, &[high, low, 0, 0][..length]));
        reader.ping();
    }
    reader.send(&[0xE0, 1, 0]);
    assert_eq!(reader.ended(), Ended::Closed);
    // P5: topics with characters of every length at every place.
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("#", QoS::AtLeastOnce);
    for topic in
        ["é", "日本/語", "a/😀", "😀/b/é", "ё/+".trim_end_matches("/+"), "\u{FEFF}x", "/é/"]
    {
        writer.publish(topic, "x", QoS::AtLeastOnce);
        assert_eq!(reader.receive().topic, topic);
    }
    // B10: publisher and subscriber are one client.
    reader.publish("own", "mine", QoS::ExactlyOnce);
    assert_eq!(reader.receive().text, "mine");
}

#[test]
fn bad_filters_are_refused_one_by_one() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    let deep = "a/".repeat(200);
    let long = "x".repeat(60_000);
    for filter in [
        "a/#/b",
        "a+",
        "#a",
        "a/b+",
        "$share//x",
        "$share/g",
        "$share/g+/x",
        "$share/g/",
        &deep,
        &long,
    ] {
        let reasons = client.try_subscribe(filter, QoS::AtLeastOnce);
        assert_eq!(reasons, [ReasonCode::TopicFilterInvalid], "S1, S3: {filter:.20}");
    }
    // A good one beside a bad one is served.
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let both = ["good", "bad#"].map(|text| Filter { text, options });
    let reasons = client.subscribe_with(&both, None);
    assert_eq!(reasons, [ReasonCode::GrantedQoS1, ReasonCode::TopicFilterInvalid]);
    client.publish("good", "x", QoS::AtMostOnce);
    assert_eq!(client.receive().text, "x");
    // S6
    assert_eq!(client.unsubscribe("unknown"), [ReasonCode::NoSubscriptionExisted]);
    // 3.1.1 has one word for all of it.
    let mut old = Dial::v311("old").connect(fleet.mqtt(1));
    old.send(&packet(0x82, &[0, 1, 0, 2, b'#', b'a', 1]));
    assert_eq!(old.next_frame().bytes(), [0x90, 3, 0, 1, 0x80]);
    // S1: no local on a shared subscription breaks a rule.
    let own =
        [Filter { text: "$share/g/t", options: SubscribeOptions { no_local: true, ..options } }];
    let mut bytes = Vec::new();
    let id = PacketId::new(9).expect("an id");
    let subscribe =
        protocol::mqtt::Subscribe { packet_id: id, subscription_id: None, filters: own.to_vec() };
    protocol::mqtt::codec::subscribe(&mut bytes, Version::V5, &subscribe);
    client.send(&bytes);
    assert_eq!(client.end_reason(), Some(ReasonCode::ProtocolError));
    // S2: too many at once.
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    let many: Vec<_> = (0..5_000).map(|_| Filter { text: "a", options }).collect();
    let mut bytes = Vec::new();
    let subscribe =
        protocol::mqtt::Subscribe { packet_id: id, subscription_id: None, filters: many };
    protocol::mqtt::codec::subscribe(&mut bytes, Version::V5, &subscribe);
    client.send(&bytes);
    assert_eq!(client.end_reason(), Some(ReasonCode::QuotaExceeded));
    pair.assert_undisturbed();
}

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

/// Each input is sent by a client of 5.0 of its own, which must be told the reason, and by one of 3.1.1 where it means the
/// same there, which must be closed. A well-behaved pair notices nothing.
fn check_all(inputs: &[(&str, &[u8], ReasonCode)]) {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    for (what, bytes, reason) in inputs {
        let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
        client.send(bytes);
        assert_eq!(client.end_reason(), Some(*reason), "{what}");
        if what.starts_with('F') {
            let mut old = Dial::v311("offender").connect(fleet.mqtt(1));
            old.send(bytes);
            assert_eq!(old.ended(), Ended::Closed, "{what} in 3.1.1");
        }
    }
    let mut old = Dial::v311("offender").connect(fleet.mqtt(1));
    old.send(&[0xF0, 0]);
    assert_eq!(old.ended(), Ended::Closed, "F4: AUTH in 3.1.1");
    pair.assert_undisturbed();
}

/// Two clients that exchange messages all the while.
struct Pair {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Pair {
    fn start(place: SocketAddr) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let mut reader = Dial::v5("good reader").connect(place);
        reader.subscribe("good/+", QoS::AtLeastOnce);
        let mut writer = Dial::v311("good writer").connect(place);
        let thread = thread::spawn(move || {
            let mut count = 0;
            // At least once, however soon the offender is done.
            loop {
                writer.publish("good/x", &count.to_string(), QoS::AtLeastOnce);
                assert_eq!(reader.receive().text, count.to_string());
                count += 1;
                if stopped.load(Ordering::SeqCst) {
                    return count;
                }
            }
        });
        Self { stop, thread }
    }

    /// They have lost nothing, and neither was disconnected.
    fn assert_undisturbed(self) {
        self.stop.store(true, Ordering::SeqCst);
        let count = self.thread.join().expect("the pair is served");
        assert!(count > 0, "the pair had its turn");
    }
}

/// A PUBLISH of 5.0, right or wrong. All lengths fit one byte.
fn publish(first: u8, topic: &[u8], id: Option<u16>, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let short = |bytes: &[u8]| u8::try_from(bytes.len()).expect("a short one");
    let mut body = vec![0, short(topic)];
    body.extend_from_slice(topic);
    body.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    body.push(short(properties));
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    packet(first, &body)
}

/// A packet of less than 128 bytes.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, u8::try_from(body.len()).expect("a short one")];
    packet.extend_from_slice(body);
    packet
}
