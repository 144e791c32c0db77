//! P: properties and strings.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec::AckKind;
use protocol::{PacketId, QoS};
use tests::harness::{Dial, Fleet, PATIENCE};

use super::bytes::{check_all, packet, publish, string};
use super::pair::Pair;

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

/// What no string may hold.
const BROKEN: [(&str, &[u8]); 6] = [
    ("no UTF-8", &[0xFF, 0xFE]),
    ("an overlong form", &[0xC0, 0xAF]),
    ("a surrogate", &[0xED, 0xA0, 0x80]),
    ("beyond Unicode", &[0xF4, 0x90, 0x80, 0x80]),
    ("a character cut off", &[b'a', 0xE2, 0x82]),
    ("U+0000", b"a\0b"),
];

#[test]
fn no_string_of_any_packet_may_be_broken() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    // P4
    pair.unmoved_by("P4", || {
        for (what, broken) in BROKEN {
            let text = string(broken);
            let property = |id: u8| publish(0x30, b"t", None, &[&[id][..], &text].concat(), b"");
            let body = |before: &[u8], after: &[u8]| [before, &text, after].concat();
            let packets = [
                ("topic", publish(0x30, broken, None, &[], b"")),
                ("response topic", property(8)),
                ("content type", property(3)),
                ("key of a user property", {
                    publish(0x30, b"t", None, &[&[38][..], &text, &string(b"v")].concat(), b"")
                }),
                ("value of a user property", {
                    publish(0x30, b"t", None, &[&[38][..], &string(b"k"), &text].concat(), b"")
                }),
                ("filter", packet(0x82, &body(&[0, 1, 0], &[0]))),
                ("filter to be given up", packet(0xA2, &body(&[0, 1, 0], &[]))),
                ("reason string", {
                    let properties = [&[31][..], &text].concat();
                    let length = u8::try_from(properties.len()).expect("a short one");
                    packet(0x40, &[&[0, 1, 0, length][..], &properties].concat())
                }),
            ];
            for (field, packet) in packets {
                let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
                client.send(&packet);
                let reason = client.end_reason();
                assert_eq!(reason, Some(ReasonCode::MalformedPacket), "{field}: {what}");
            }
            for (field, connect) in connects_with(&text) {
                assert_refused(fleet.mqtt(1), &connect, &format!("{field}: {what}"));
            }
        }
    });
    pair.assert_undisturbed();
}

/// CONNECTs of 5.0 with a string of the test's choice in each place.
fn connects_with(text: &[u8]) -> [(&'static str, Vec<u8>); 6] {
    let good = string(b"x");
    let connect = |flags: u8, properties: &[u8], payload: &[&[u8]]| {
        let length = u8::try_from(properties.len()).expect("a short one");
        let head = [&string(b"MQTT")[..], &[5, flags, 0, 0, length]].concat();
        packet(0x10, &[&head[..], properties, &payload.concat()].concat())
    };
    let method = [&[21][..], text].concat();
    let content_type = [&[3][..], text].concat();
    let length = [u8::try_from(content_type.len()).expect("a short one")];
    [
        ("client id", connect(2, &[], &[text])),
        ("will topic", connect(6, &[], &[&good, &[0], text, &good])),
        ("user name", connect(0x82, &[], &[&good, text])),
        ("authentication method", connect(2, &method, &[&good])),
        ("content type of a will", connect(6, &[], &[&good, &length, &content_type, &good, &good])),
        ("user property", connect(2, &[&[38][..], text, &good].concat(), &[&good])),
    ]
}

/// Closed, with an error if with anything.
fn assert_refused(place: SocketAddr, connect: &[u8], what: &str) {
    let mut stream = TcpStream::connect(place).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    stream.write_all(connect).expect("an open socket");
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let refused = matches!(answer.as_slice(), [] | [0x20, _, _, 0x80..=0xFF, ..]);
    assert!(refused, "{what}: {answer:02x?}");
}

#[test]
fn zero_is_refused_where_it_means_nothing_and_wills_are_held_to_the_rules() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let (id, text) = (string(b"x"), string(b"y"));
    let connect = |flags: u8, properties: &[u8], payload: &[&[u8]]| {
        let length = u8::try_from(properties.len()).expect("a short one");
        let head = [&string(b"MQTT")[..], &[5, flags, 0, 0, length]].concat();
        packet(0x10, &[&head[..], properties, &payload.concat()].concat())
    };
    let will = |topic: &[u8]| connect(6, &[], &[&id, &[0], &string(topic), &text]);
    let many = [38, 0, 0, 0, 0].repeat(257);
    let long = "x".repeat(60_000);
    let deep = "a/".repeat(200);
    let odd = [
        ("P6: receive maximum 0", connect(2, &[33, 0, 0], &[&id])),
        ("P6: maximum packet size 0", connect(2, &[39, 0, 0, 0, 0], &[&id])),
        ("P9: a will with a wildcard", will(b"a/#")),
        ("P9: a will to a name of ours", will(b"$SYS/x")),
        ("P9: a will to a long topic", will(long.as_bytes())),
        ("P9: a will to a deep topic", will(deep.as_bytes())),
        ("P9: a will to no topic", will(b"")),
        (
            "P3: a will with 257 user properties",
            connect(6, &[], &[&id, &[0x85, 0x0A], &many, &text, &text]),
        ),
        ("P9: a will at QoS 3", connect(0x1E, &[], &[&id, &[0], &text, &text])),
        ("P9: a will of 256 MiB", b"\x10\xFF\xFF\xFF\x7F\0\x04MQTT\x05\x06\0\0".to_vec()),
    ];
    pair.unmoved_by_weight_of("P6, P9", || {
        for (what, connect) in &odd {
            assert_refused(fleet.mqtt(1), connect, what);
        }
    });
    // What is odd and allowed: expiry 0, a delay for ever. It is bounded by the session's end.
    let properties = [&[2, 0, 0, 0, 0][..], &[24, 0xFF, 0xFF, 0xFF, 0xFF]].concat();
    let mut watch = Dial::v5("watch").connect(fleet.mqtt(1));
    watch.subscribe("will/#", QoS::AtLeastOnce);
    let mut stream = TcpStream::connect(fleet.mqtt(1)).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
    let length = [u8::try_from(properties.len()).expect("a short one")];
    let odd = connect(6, &[], &[&id, &length, &properties, &string(b"will/odd"), &text]);
    stream.write_all(&odd).expect("an open socket");
    let mut connack = [0; 4];
    stream.read_exact(&mut connack).expect("CONNACK");
    assert_eq!(connack[3], 0, "P9");
    drop(stream);
    // It has expired when it is due, or it has not: either way the next one comes.
    drop(Dial::v5("y").will("will/plain", "plain").connect(fleet.mqtt(1)));
    while watch.receive().topic != "will/plain" {}
    pair.assert_undisturbed();
}

#[test]
fn many_user_properties_cost_what_they_weigh() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut watch = Dial::v5("watch").connect(fleet.mqtt(1));
    watch.subscribe("p", QoS::AtLeastOnce);
    let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
    // P3: one of 64 KiB is passed on.
    let large = [&[38][..], &string(b"k"), &string(&vec![b'v'; 65_535])].concat();
    client.send(&publish(0x32, b"p", Some(1), &large, b"large"));
    assert_eq!(watch.receive().text, "large");
    // Ten thousand are refused, whether they are empty or not.
    let many = [38, 0, 1, b'k', 0, 0].repeat(10_000);
    let mut id = 1;
    pair.unmoved_by_weight_of("P3", || {
        id += 1;
        client.send(&publish(0x32, b"p", Some(id), &many, b"many"));
        let refused = client.answer_to(AckKind::PubAck, PacketId::new(id).expect("an id"));
        assert_eq!(refused, ReasonCode::QuotaExceeded);
    });
    client.send(&publish(0x32, b"p", Some(1), &[38, 0, 1, b'k', 0, 0].repeat(100), b"some"));
    assert_eq!(watch.receive().text, "some");
    pair.assert_undisturbed();
}
