//! P: properties and strings.

use super::bytes::{check_all, publish};
use protocol::mqtt::ReasonCode;

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
