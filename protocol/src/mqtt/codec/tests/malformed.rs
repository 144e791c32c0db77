//! Malformed packets and the violation each one is.

use crate::mqtt::{
    ReasonCode, Version,
    codec::{Sender, connect_version, decode, decode_connect, frame},
};

use super::samples::a_connect;

use ReasonCode::{
    ClientIdentifierNotValid, MalformedPacket, PacketTooLarge, ProtocolError, TopicAliasInvalid,
    TopicNameInvalid, UnsupportedProtocolVersion,
};

fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first, u8::try_from(body.len()).unwrap()];
    out.extend_from_slice(body);
    out
}

#[track_caller]
fn refused(version: Version, from: Sender, bytes: &[u8], reason: ReasonCode, statement: &str) {
    let violation = decode(bytes, version, from).unwrap_err();
    assert_eq!((violation.reason, violation.statement), (reason, statement), "{bytes:x?}");
}

#[test]
fn headers_are_refused_as_early_as_possible() {
    let cases: &[(&[u8], ReasonCode)] = &[
        (b"\x00", MalformedPacket),
        (b"\x0f", MalformedPacket),
        (b"\x11", MalformedPacket),
        (b"\x36", MalformedPacket),
        (b"\x37", MalformedPacket),
        (b"\x38", MalformedPacket),
        (b"\x3e", MalformedPacket),
        (b"\x60", MalformedPacket),
        (b"\x80", MalformedPacket),
        (b"\x8a", MalformedPacket),
        (b"\xa0", MalformedPacket),
        (b"\xc1", MalformedPacket),
        (b"\xe1", MalformedPacket),
        (b"\xf1", MalformedPacket),
        (b"GET / HTTP/1.1", MalformedPacket),
        (b"\x16\x03\x01\x02\x00", MalformedPacket),
        (b"\x30\x80\x00", MalformedPacket),
        (b"\x30\xff\x80\x00", MalformedPacket),
        (b"\x30\xff\xff\xff\x80", MalformedPacket),
        (b"\x30\xff\xff\xff\xff\x01", MalformedPacket),
        (b"\x30\xff\xff\xff\x7f", PacketTooLarge),
        (b"\x30\xe7\x07", PacketTooLarge),
    ];
    for (bytes, reason) in cases {
        assert_eq!(frame(bytes, 1_000).unwrap_err().reason, *reason, "{bytes:x?}");
    }
    for bytes in [&b""[..], b"\x30", b"\x30\x80", b"\x30\xff\xff\xff", b"\x30\xe5\x07", b"\x30\x01"]
    {
        assert_eq!(frame(bytes, 1_000), Ok(None), "{bytes:x?}");
    }
    assert_eq!(frame(b"\xc0\x00\xc0\x00", 1_000), Ok(Some(2)));
}

#[test]
fn packets_of_the_other_side_are_refused() {
    for first in [0x20, 0x90, 0xB0, 0xD0] {
        for version in [Version::V311, Version::V5] {
            let bytes = packet(first, &[]);
            refused(version, Sender::Client, &bytes, ProtocolError, "MQTT5-4.13.1-1");
        }
    }
    for first in [0x10, 0x82, 0xA2, 0xC0] {
        let bytes = packet(first, &[]);
        refused(Version::V5, Sender::Server, &bytes, ProtocolError, "MQTT5-4.13.1-1");
    }
    let auth = packet(0xF0, &[0x18, 0]);
    refused(Version::V311, Sender::Client, &auth, MalformedPacket, "MQTT5-4.13.1-1");
    let disconnect = packet(0xE0, &[]);
    refused(Version::V311, Sender::Server, &disconnect, ProtocolError, "MQTT5-4.13.1-1");
}

#[test]
fn malformed_publishes_are_refused() {
    let from = Sender::Client;
    let cases: &[(u8, &[u8], ReasonCode, &str)] = &[
        (0x30, b"", MalformedPacket, "MQTT5-4.13.1-1"),
        (0x30, b"\x00\x02a", MalformedPacket, "MQTT5-4.13.1-1"),
        (0x30, b"\x00\x00payload", ProtocolError, "MQTT5-4.7.3-1"),
        (0x30, b"\x00\x01\x00", MalformedPacket, "MQTT5-1.5.4-2"),
        (0x30, b"\x00\x02a#", TopicNameInvalid, "MQTT5-3.3.2-2"),
        (0x30, b"\x00\x01+", TopicNameInvalid, "MQTT5-3.3.2-2"),
        (0x30, b"\x00\x02\xc0\x80", MalformedPacket, "MQTT5-1.5.4-1"),
        (0x30, b"\x00\x03\xed\xa0\x80", MalformedPacket, "MQTT5-1.5.4-1"),
        (0x30, b"\x00\x01\xff", MalformedPacket, "MQTT5-1.5.4-1"),
        (0x32, b"\x00\x01a\x00\x00", ProtocolError, "MQTT5-2.2.1-3"),
        (0x32, b"\x00\x01a\x00", MalformedPacket, "MQTT5-4.13.1-1"),
    ];
    for (first, body, reason, statement) in cases {
        refused(Version::V311, from, &packet(*first, body), *reason, statement);
        let mut with_properties = body.to_vec();
        if body.ends_with(b"payload") {
            with_properties = b"\x00\x00\x00payload".to_vec();
        }
        with_properties.push(0);
        if *reason != MalformedPacket {
            refused(Version::V5, from, &packet(*first, &with_properties), *reason, statement);
        }
    }
}

#[test]
fn malformed_publish_properties_are_refused() {
    let cases: &[(&[u8], ReasonCode, &str)] = &[
        (b"\x01", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x80\x00", MalformedPacket, "MQTT5-1.5.5-1"),
        (b"\x03\x23\x00\x00", TopicAliasInvalid, "MQTT5-3.3.2-8"),
        (b"\x02\x0b\x00", ProtocolError, "MQTT5-4.13.1-1"),
        (b"\x02\x0b\x01", ProtocolError, "MQTT5-3.3.4-6"),
        (b"\x02\x01\x02", ProtocolError, "MQTT5-4.13.1-1"),
        (b"\x04\x01\x01\x01\x01", ProtocolError, "MQTT5-4.13.1-1"),
        (b"\x05\x11\x00\x00\x00\x01", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x01\x7f", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x02\x80\x01", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x05\x26\x00\x01k\x00", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x06\x26\x00\x01k\x00\x01v", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x07\x26\x00\x01k\x00\x01\xff", MalformedPacket, "MQTT5-1.5.4-1"),
        (b"\x07\x26\x00\x01\x00\x00\x01v", MalformedPacket, "MQTT5-1.5.4-2"),
        (b"\x04\x08\x00\x01#", ProtocolError, "MQTT5-3.3.2-14"),
        (b"\x03\x08\x00\x00", ProtocolError, "MQTT5-4.7.3-1"),
        (b"\x04\x03\x00\x01\xc0", MalformedPacket, "MQTT5-1.5.4-1"),
    ];
    for (properties, reason, statement) in cases {
        let body = [b"\x00\x01a", *properties].concat();
        refused(Version::V5, Sender::Client, &packet(0x30, &body), *reason, statement);
    }
}

#[test]
fn malformed_connects_are_refused() {
    let cases: &[(&[u8], ReasonCode, &str)] = &[
        (b"", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x00\x04mqtt\x04", UnsupportedProtocolVersion, "MQTT5-3.1.2-1"),
        (b"\x00\x04MQTT\x03", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
        (b"\x00\x04MQTT\x06", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
        (b"\x00\x06MQIsdp\x04", UnsupportedProtocolVersion, "MQTT5-3.1.2-2"),
        (b"\x00\x04MQTT\x04\x03\x00\x00\x00\x01a", MalformedPacket, "MQTT5-3.1.2-3"),
        (b"\x00\x04MQTT\x04\x1e\x00\x00\x00\x01a", MalformedPacket, "MQTT5-3.1.2-12"),
        (b"\x00\x04MQTT\x04\x0a\x00\x00\x00\x01a", MalformedPacket, "MQTT5-3.1.2-11"),
        (b"\x00\x04MQTT\x04\x22\x00\x00\x00\x01a", MalformedPacket, "MQTT5-3.1.2-13"),
        (b"\x00\x04MQTT\x04\x42\x00\x00\x00\x01a\x00\x00", MalformedPacket, "MQTT3-3.1.2-22"),
        (b"\x00\x04MQTT\x04\x00\x00\x00\x00\x00", ClientIdentifierNotValid, "MQTT3-3.1.3-8"),
        (b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x00\x04MQTT\x04\x02\x00\x00\x00\x01a!", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x00\x04MQTT\x04\x82\x00\x00\x00\x01a", MalformedPacket, "MQTT5-4.13.1-1"),
        (
            b"\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x01#\x00\x00",
            TopicNameInvalid,
            "MQTT5-3.3.2-2",
        ),
        (
            b"\x00\x04MQTT\x04\x06\x00\x00\x00\x01a\x00\x00\x00\x00",
            TopicNameInvalid,
            "MQTT5-4.7.3-1",
        ),
        (b"\x00\x04MQTT\x05\x02\x00\x00\x03\x21\x00\x00\x00\x01a", ProtocolError, "MQTT5-4.9.0-1"),
        (
            b"\x00\x04MQTT\x05\x02\x00\x00\x05\x27\x00\x00\x00\x00\x00\x01a",
            ProtocolError,
            "MQTT5-4.13.1-1",
        ),
        (b"\x00\x04MQTT\x05\x02\x00\x00\x03\x16\x00\x00\x00\x01a", ProtocolError, "MQTT5-4.13.1-1"),
        (b"\x00\x04MQTT\x05\x02\x00\x00\x02\x01\x01\x00\x01a", MalformedPacket, "MQTT5-4.13.1-1"),
    ];
    for (body, reason, statement) in cases {
        let violation = decode_connect(&packet(0x10, body)).unwrap_err();
        assert_eq!((violation.reason, violation.statement), (*reason, *statement), "{body:x?}");
    }
    let other = decode_connect(&packet(0xC0, b"")).unwrap_err();
    assert_eq!((other.reason, other.statement), (ProtocolError, "MQTT5-3.1.0-1"));
}

#[test]
fn the_version_is_known_even_if_the_connect_is_malformed() {
    let bytes = packet(0x10, b"\x00\x04MQTT\x05\x03\x00\x00\x00\x00\x01a");
    assert!(decode_connect(&bytes).is_err());
    assert_eq!(connect_version(&bytes), Some(Version::V5));
    // One that is too large is answered before all of it is there.
    assert_eq!(connect_version(b"\x10\x80\x80\x40\x00\x04MQTT\x05"), Some(Version::V5));
    assert_eq!(connect_version(b"\x10\x80\x80\x40\x00\x04MQT"), None);
    assert_eq!(connect_version(&packet(0x10, b"\x00\x04MQTT\x09")), None);
    assert_eq!(connect_version(&packet(0xC0, b"")), None);
}

#[test]
fn a_password_may_stand_alone_in_5_0() {
    let mut connect = a_connect(Version::V5);
    connect.user_name = None;
    let mut out = Vec::new();
    super::super::connect(&mut out, &connect);
    assert_eq!(decode_connect(&out), Ok(connect));
}

#[test]
fn malformed_subscribes_are_refused() {
    let v3: &[(&[u8], ReasonCode, &str)] = &[
        (b"\x00\x00\x00\x01a\x00", ProtocolError, "MQTT5-2.2.1-3"),
        (b"\x00\x01", ProtocolError, "MQTT5-3.8.3-2"),
        (b"\x00\x01\x00\x01a", MalformedPacket, "MQTT5-4.13.1-1"),
        (b"\x00\x01\x00\x01a\x04", MalformedPacket, "MQTT3-3.8.3-4"),
        (b"\x00\x01\x00\x01a\x03", ProtocolError, "MQTT5-3.8.3-5"),
        (b"\x00\x01\x00\x01\xff\x00", MalformedPacket, "MQTT5-1.5.4-1"),
    ];
    for (body, reason, statement) in v3 {
        refused(Version::V311, Sender::Client, &packet(0x82, body), *reason, statement);
    }
    let v5: &[(&[u8], ReasonCode, &str)] = &[
        (b"\x00\x01\x00", ProtocolError, "MQTT5-3.8.3-2"),
        (b"\x00\x01\x00\x00\x01a\x40", MalformedPacket, "MQTT5-3.8.3-5"),
        (b"\x00\x01\x00\x00\x01a\x30", ProtocolError, "MQTT5-3.8.3-5"),
        (b"\x00\x01\x00\x00\x01a\x03", ProtocolError, "MQTT5-3.8.3-5"),
        (b"\x00\x01\x00\x00\x0a$share/g/a\x04", ProtocolError, "MQTT5-3.8.3-4"),
        (b"\x00\x01\x02\x0b\x00\x00\x01a\x00", ProtocolError, "MQTT5-4.13.1-1"),
        (b"\x00\x01\x04\x0b\x01\x0b\x02\x00\x01a\x00", ProtocolError, "MQTT5-4.13.1-1"),
    ];
    for (body, reason, statement) in v5 {
        refused(Version::V5, Sender::Client, &packet(0x82, body), *reason, statement);
    }
    let empty = packet(0xA2, b"\x00\x01");
    refused(Version::V311, Sender::Client, &empty, ProtocolError, "MQTT5-3.10.3-2");
}

#[test]
fn malformed_answers_are_refused() {
    let from = Sender::Client;
    refused(Version::V311, from, &packet(0x40, b"\x00\x00"), ProtocolError, "MQTT5-2.2.1-3");
    refused(Version::V311, from, &packet(0x40, b"\x00\x01\x00"), MalformedPacket, "MQTT5-4.13.1-1");
    refused(Version::V5, from, &packet(0x40, b"\x00\x01\x01"), ProtocolError, "MQTT5-3.4.2-1");
    refused(Version::V5, from, &packet(0x62, b"\x00\x01\x80"), ProtocolError, "MQTT5-3.6.2-1");
    refused(
        Version::V5,
        from,
        &packet(0x40, b"\x00\x01\x00\x00\x00"),
        MalformedPacket,
        "MQTT5-4.13.1-1",
    );
    refused(Version::V5, from, &packet(0xE0, b"\x8b"), ProtocolError, "MQTT5-3.14.2-1");
    refused(
        Version::V5,
        from,
        &packet(0xE0, b"\x00\x04\x1c\x00\x01a"),
        MalformedPacket,
        "MQTT5-4.13.1-1",
    );
    refused(Version::V5, from, &packet(0xF0, b"\x18\x00"), ProtocolError, "MQTT5-4.12.0-5");
    refused(Version::V5, from, &packet(0xC0, b"\x00"), MalformedPacket, "MQTT5-4.13.1-1");
    let from = Sender::Server;
    refused(Version::V311, from, &packet(0x20, b"\x02\x00"), MalformedPacket, "MQTT5-3.2.2-1");
    refused(Version::V311, from, &packet(0x20, b"\x01\x05"), ProtocolError, "MQTT5-3.2.2-6");
    refused(Version::V311, from, &packet(0x20, b"\x00\x06"), ProtocolError, "MQTT3-3.2.2-6");
    refused(Version::V311, from, &packet(0x90, b"\x00\x01\x83"), ProtocolError, "MQTT3-3.9.3-2");
    refused(Version::V5, from, &packet(0x90, b"\x00\x01\x00"), ProtocolError, "MQTT5-3.9.3-2");
    let expiry = packet(0xE0, b"\x00\x05\x11\x00\x00\x00\x01");
    refused(Version::V5, from, &expiry, MalformedPacket, "MQTT5-4.13.1-1");
}

#[test]
fn short_forms_of_5_0_are_accepted() {
    for bytes in [
        packet(0x40, b"\x00\x01"),
        packet(0x40, b"\x00\x01\x10"),
        packet(0x40, b"\x00\x01\x00\x00"),
        packet(0xE0, b""),
        packet(0xE0, b"\x04"),
        packet(0xE0, b"\x00\x00"),
    ] {
        assert!(decode(&bytes, Version::V5, Sender::Client).is_ok(), "{bytes:x?}");
    }
}

#[test]
fn ten_thousand_user_properties_are_read_in_one_walk() {
    let mut properties = Vec::new();
    for _ in 0..10_000 {
        properties.extend_from_slice(b"\x26\x00\x01k\x00\x01v");
    }
    let mut out = Vec::new();
    super::super::write::packet(&mut out, 0x30, |out| {
        out.extend_from_slice(b"\x00\x01a");
        super::super::write::properties(out, |out| out.extend_from_slice(&properties));
    });
    let publish = super::super::decode_publish(&out, Version::V5, Sender::Client).unwrap();
    assert!(
        matches!(publish.properties.end_to_end, std::borrow::Cow::Borrowed(b) if b == properties)
    );
}
