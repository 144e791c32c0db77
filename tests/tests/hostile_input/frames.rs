//! F: frames.

use super::bytes::{check_all, packet, publish};
use super::pair::Pair;
use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use std::cell::Cell;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use tests::harness::{Dial, Ended, Fleet, PATIENCE, Settings};

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
fn a_packet_that_trickles_in_costs_what_came_of_it_and_no_more() {
    const ANNOUNCED: usize = 1_000_000;
    const TOPIC: usize = 3;
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    // The beginning of a PUBLISH at QoS 0 of so many bytes.
    let head = [0x30, 0xC0, 0x84, 0x3D, 0, 1, b't'];
    // F2: the memory of many that announce much and send little.
    let before = process.resident_bytes();
    let mut many: Vec<_> =
        (0..200).map(|n| Dial::v311(&format!("announcer {n}")).connect(fleet.mqtt(1))).collect();
    for client in &mut many {
        client.send(&head);
    }
    process.forget_peak();
    let mut last = Dial::v311("announcer 0").connect(fleet.mqtt(1));
    last.ping();
    let grown = process.peak_bytes().saturating_sub(before);
    assert!(grown < 200 * 32 * 1024, "{grown} bytes for 200 packets that did not come");
    drop(many);
    // Most of one, and then a byte at a time: each byte costs a byte, not all that came before it.
    let mut slow = Dial::v311("slow").connect(fleet.mqtt(1));
    let mut left = 0;
    pair.unmoved_by("F2", || {
        if left == 0 {
            left = 200_000;
            slow.send(&head);
            slow.send(&vec![b'x'; ANNOUNCED - TOPIC - left]);
        }
        for _ in 0..100 {
            slow.send(b"x");
        }
        left -= 100;
    });
    let mut watch = Dial::v5("watch").connect(fleet.mqtt(1));
    watch.subscribe("t", QoS::AtMostOnce);
    slow.send(&vec![b'x'; left]);
    assert_eq!(watch.receive().text.len(), ANNOUNCED - TOPIC);
    pair.assert_undisturbed();
}

#[test]
fn what_is_cut_off_at_any_byte_has_no_effect() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut watch = Dial::v5("watch").connect(fleet.mqtt(1));
    watch.subscribe("cut/#", QoS::ExactlyOnce);
    // F3: in 3.1.1, where a reader could take fewer bytes for a shorter packet.
    let topic = [0, 5, b'c', b'u', b't', b'/', b'x'];
    let filter = [&[0, 1][..], &topic].concat();
    let packets = [
        packet(0x30, &[&topic[..], b"text"].concat()),
        packet(0x33, &[&topic[..], &[0, 1], b"text"].concat()),
        packet(0x34, &[&topic[..], &[0, 2], b"text"].concat()),
        packet(0x40, &[0, 1]),
        packet(0x50, &[0, 1]),
        packet(0x62, &[0, 1]),
        packet(0x70, &[0, 1]),
        packet(0x82, &[&filter[..], &[1]].concat()),
        packet(0xA2, &filter),
        packet(0xC0, &[]),
        packet(0xE0, &[]),
    ];
    let cuts = packets.iter().flat_map(|packet| (1..packet.len()).map(|len| &packet[..len]));
    let cuts: Vec<_> = cuts.collect();
    let mut next = cuts.iter().cycle();
    let tried = Cell::new(0);
    let mut offend = || {
        let mut client = Dial::v311("cut off").will("cut/will", "x").connect(fleet.mqtt(1));
        client.send(next.next().expect("a cycle has no end"));
        client.finish();
        assert_eq!(client.ended(), Ended::Closed);
        // Its end without DISCONNECT is told, and nothing else.
        assert_eq!(watch.receive().topic, "cut/will");
        tried.set(tried.get() + 1);
    };
    pair.unmoved_by("F3", &mut offend);
    while tried.get() < cuts.len() {
        offend();
    }
    pair.assert_undisturbed();
}

#[test]
fn a_flood_of_pings_is_answered_and_holds_nobody_up() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut flood = Flood::start(&fleet);
    // F7: without a limit it has its share of the worker.
    let sent = Cell::new(0);
    let mut offend = || {
        flood.pings(10_000);
        sent.set(sent.get() + 10_000);
    };
    pair.measured_beside("F7", &mut offend);
    while sent.get() < 1_000_000 {
        offend();
    }
    pair.assert_undisturbed();
}

#[test]
fn a_flood_of_pings_is_slowed_down_where_that_is_configured() {
    let limits = "[limits]\npackets_per_s = 5000\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(limits));
    let pair = Pair::start(fleet.mqtt(1));
    let mut flood = Flood::start(&fleet);
    // F7: what it may send at once after a rest.
    flood.pings(20_000);
    pair.unmoved_by("F7, limited", || flood.pings(100));
    pair.assert_undisturbed();
}

/// A client that sends nothing but PINGREQ.
struct Flood(TcpStream);

impl Flood {
    fn start(fleet: &Fleet) -> Self {
        let mut stream = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        stream.write_all(&Dial::v311("flood").bytes()).expect("an open socket");
        stream.read_exact(&mut [0; 4]).expect("CONNACK");
        Self(stream)
    }

    /// So many, and their answers.
    fn pings(&mut self, count: usize) {
        self.0.write_all(&[0xC0, 0].repeat(count)).expect("an open socket");
        self.0.read_exact(&mut vec![0; 2 * count]).expect("PINGRESP");
    }
}
