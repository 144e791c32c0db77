//! What servers send, and what both sides send. Every function appends one packet.

use crate::mqtt::{Ack, Auth, ConnAck, Disconnect, ReasonCode, SubAck, UnsubAck, Version};

use super::{
    frame::kind,
    properties::id,
    write::{
        first_byte, packet, properties, property_binary, property_text, property_u16, property_u32,
        property_user,
    },
};

/// The four packets that answer a publication.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckKind {
    /// Answers `QoS` 1.
    PubAck,
    /// Answers `QoS` 2.
    PubRec,
    /// Answers PUBREC.
    PubRel,
    /// Answers PUBREL.
    PubComp,
}

impl AckKind {
    const fn first_byte(self) -> u8 {
        match self {
            Self::PubAck => first_byte(kind::PUBACK, 0),
            Self::PubRec => first_byte(kind::PUBREC, 0),
            Self::PubRel => first_byte(kind::PUBREL, 2),
            Self::PubComp => first_byte(kind::PUBCOMP, 0),
        }
    }
}

/// Appends a PUBACK, PUBREC, PUBREL or PUBCOMP in its shortest form: in 3.x there is no reason, in 5.0 a plain
/// success leaves it out.
pub fn ack(out: &mut Vec<u8>, version: Version, kind: AckKind, ack: &Ack<'_>) {
    let [high, low] = ack.packet_id.get().to_be_bytes();
    let first = kind.first_byte();
    match (version, ack.reason, ack.reason_string) {
        (Version::V31 | Version::V311, _, _) | (Version::V5, ReasonCode::Success, None) => {
            out.extend_from_slice(&[first, 2, high, low]);
        }
        (Version::V5, reason, None) => {
            out.extend_from_slice(&[first, 3, high, low, reason.code()]);
        }
        (Version::V5, reason, why) => packet(out, first, |out| {
            out.extend_from_slice(&[high, low, reason.code()]);
            properties(out, |out| property_text(out, id::REASON_STRING, why));
        }),
    }
}

/// Appends a CONNACK; in 3.x the reason becomes the nearest return code, and where there is none nothing is appended: the
/// close says it.
pub fn connack(out: &mut Vec<u8>, version: Version, ack: &ConnAck<'_>) {
    let first = first_byte(kind::CONNACK, 0);
    let present = u8::from(ack.session_present);
    if version != Version::V5 {
        if let Some(code) = ack.reason.connack_return_code() {
            out.extend_from_slice(&[first, 2, present, code]);
        }
        return;
    }
    packet(out, first, |out| {
        out.extend_from_slice(&[present, ack.reason.code()]);
        properties(out, |out| {
            property_u32(out, id::SESSION_EXPIRY, ack.session_expiry_s);
            property_u16(out, id::RECEIVE_MAXIMUM, ack.receive_maximum);
            property_u32(out, id::MAXIMUM_PACKET_SIZE, ack.maximum_packet_bytes);
            property_text(out, id::ASSIGNED_CLIENT_ID, ack.assigned_client_id);
            property_u16(out, id::TOPIC_ALIAS_MAXIMUM, ack.topic_alias_maximum);
            property_u16(out, id::SERVER_KEEP_ALIVE, ack.server_keep_alive_s);
            property_text(out, id::RESPONSE_INFORMATION, ack.response_information);
            property_text(out, id::SERVER_REFERENCE, ack.server_reference);
            property_text(out, id::REASON_STRING, ack.reason_string);
            property_text(out, id::AUTHENTICATION_METHOD, ack.authentication_method);
            property_binary(out, id::AUTHENTICATION_DATA, ack.authentication_data);
            property_user(out, &ack.user);
        });
    });
}

/// Appends a SUBACK; in 3.x every failure becomes 0x80.
pub fn suback(out: &mut Vec<u8>, version: Version, ack: &SubAck<'_>) {
    packet(out, first_byte(kind::SUBACK, 0), |out| {
        out.extend_from_slice(&ack.packet_id.get().to_be_bytes());
        if version == Version::V5 {
            properties(out, |out| property_text(out, id::REASON_STRING, ack.reason_string));
        }
        out.extend(ack.reasons.iter().map(|reason| match version {
            Version::V31 | Version::V311 if reason.is_error() => 0x80,
            Version::V31 | Version::V311 | Version::V5 => reason.code(),
        }));
    });
}

/// Appends an UNSUBACK; in 3.x it has no codes.
pub fn unsuback(out: &mut Vec<u8>, version: Version, ack: &UnsubAck<'_>) {
    packet(out, first_byte(kind::UNSUBACK, 0), |out| {
        out.extend_from_slice(&ack.packet_id.get().to_be_bytes());
        if version == Version::V5 {
            properties(out, |out| property_text(out, id::REASON_STRING, ack.reason_string));
            out.extend(ack.reasons.iter().map(|reason| reason.code()));
        }
    });
}

/// Appends a PINGRESP.
pub fn pingresp(out: &mut Vec<u8>) {
    out.extend_from_slice(&[first_byte(kind::PINGRESP, 0), 0]);
}

/// Appends a DISCONNECT. In 5.0 the body always has its reason and property length, which some clients need;
/// in 3.x the body is empty, and only clients send it: for a 3.x server use nothing but the close.
pub fn disconnect(out: &mut Vec<u8>, version: Version, disconnect: &Disconnect<'_>) {
    let first = first_byte(kind::DISCONNECT, 0);
    if version != Version::V5 {
        out.extend_from_slice(&[first, 0]);
        return;
    }
    packet(out, first, |out| {
        out.push(disconnect.reason.code());
        properties(out, |out| {
            property_u32(out, id::SESSION_EXPIRY, disconnect.session_expiry_s);
            property_text(out, id::SERVER_REFERENCE, disconnect.server_reference);
            property_text(out, id::REASON_STRING, disconnect.reason_string);
        });
    });
}

/// Appends an AUTH; 5.0 only. A success without anything else has no body, since a method belongs into any other
/// `[MQTT5-4.12.0-5]`.
pub fn auth(out: &mut Vec<u8>, auth: &Auth<'_>) {
    const BARE: Auth<'_> =
        Auth { reason: ReasonCode::Success, method: None, data: None, reason_string: None };
    if *auth == BARE {
        out.extend_from_slice(&[first_byte(kind::AUTH, 0), 0]);
        return;
    }
    packet(out, first_byte(kind::AUTH, 0), |out| {
        out.push(auth.reason.code());
        properties(out, |out| {
            property_text(out, id::AUTHENTICATION_METHOD, auth.method);
            property_binary(out, id::AUTHENTICATION_DATA, auth.data);
            property_text(out, id::REASON_STRING, auth.reason_string);
        });
    });
}
