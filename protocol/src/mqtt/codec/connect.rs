//! CONNECT, CONNACK, DISCONNECT and AUTH.

use crate::{
    QoS, Violation,
    mqtt::{
        Auth, ConnAck, Connect, ConnectProperties, Disconnect, LastWill, ReasonCode, Version,
        WillProperties, reason::ReasonPlace,
    },
};

use super::{
    acknowledgements::{reason, unlisted},
    decode::Sender,
    frame::{header, kind, open},
    properties::{Found, MessageProperties, Scan, allowed},
    read::Reader,
};

/// Decodes the first packet of a connection, which must be a whole CONNECT `[MQTT5-3.1.0-1]`. After an error
/// [`connect_version`] tells in which version to answer.
///
/// # Errors
/// A [`Violation`]; 0x84 for another protocol name or level.
pub fn decode_connect(packet: &[u8]) -> Result<Connect<'_>, Violation> {
    let (first, body) = open(packet)?;
    if first >> 4 != kind::CONNECT {
        return Err(Violation::protocol("MQTT5-3.1.0-1", "first packet is no connect"));
    }
    connect(body)
}

/// The version a CONNECT asks for, even if the rest of it is malformed or has not come yet; `None` if it is none we speak.
pub fn connect_version(beginning: &[u8]) -> Option<Version> {
    let header = header(beginning).ok()??;
    if header.first >> 4 != kind::CONNECT {
        return None;
    }
    version(&mut Reader::new(beginning.get(header.len..)?)).ok()
}

/// What a CONNECT says its sender takes at most, in bytes, even if the rest of it is malformed; `u32::MAX` if it does not
/// say.
pub fn connect_maximum(packet: &[u8]) -> u32 {
    let said = || {
        let (_, body) = open(packet).ok()?;
        let mut reader = Reader::new(body);
        let is_5 = version(&mut reader).ok()? == Version::V5;
        reader.u8().ok()?;
        reader.u16().ok()?;
        let section = if is_5 { reader.properties().ok()? } else { &[] };
        Found::read(section, allowed::CONNECT).ok()?.maximum_packet_bytes
    };
    said().unwrap_or(u32::MAX)
}

fn version(reader: &mut Reader<'_>) -> Result<Version, Violation> {
    let name = reader.binary()?;
    if name != b"MQTT" && name != b"MQIsdp" {
        return Err(Violation::with(
            ReasonCode::UnsupportedProtocolVersion,
            "MQTT5-3.1.2-1",
            "protocol name is not mqtt",
        ));
    }
    match (name, reader.u8()?) {
        (b"MQTT", 5) => Ok(Version::V5),
        (b"MQTT", 4) => Ok(Version::V311),
        (b"MQIsdp", 3) => Ok(Version::V31),
        _ => Err(Violation::with(
            ReasonCode::UnsupportedProtocolVersion,
            "MQTT5-3.1.2-2",
            "protocol level is not supported",
        )),
    }
}

/// Connect flags `[MQTT5-3.1.2.3]`.
#[derive(Debug, Clone, Copy)]
struct Flags(u8);

impl Flags {
    const fn has(self, bit: u8) -> bool {
        self.0 & bit != 0
    }

    const CLEAN_START: u8 = 0x02;
    const WILL: u8 = 0x04;
    const WILL_QOS: u8 = 0x18;
    const WILL_RETAIN: u8 = 0x20;
    const PASSWORD: u8 = 0x40;
    const USER_NAME: u8 = 0x80;

    const fn check(self, version: Version) -> Result<(), Violation> {
        let (statement, what) = if self.has(0x01) {
            ("MQTT5-3.1.2-3", "reserved connect flag is set")
        } else if self.has(Self::WILL) && self.0 & Self::WILL_QOS == Self::WILL_QOS {
            ("MQTT5-3.1.2-12", "will qos 3 does not exist")
        } else if !self.has(Self::WILL) && self.has(Self::WILL_QOS) {
            ("MQTT5-3.1.2-11", "will qos without a will")
        } else if !self.has(Self::WILL) && self.has(Self::WILL_RETAIN) {
            ("MQTT5-3.1.2-13", "will retain without a will")
        } else if !matches!(version, Version::V5)
            && self.has(Self::PASSWORD)
            && !self.has(Self::USER_NAME)
        {
            ("MQTT3-3.1.2-22", "password without a user name")
        } else {
            return Ok(());
        };
        Err(Violation::malformed(statement, what))
    }
}

pub(super) fn connect(body: &[u8]) -> Result<Connect<'_>, Violation> {
    let mut reader = Reader::new(body);
    let version = version(&mut reader)?;
    let flags = Flags(reader.u8()?);
    flags.check(version)?;
    let clean_start = flags.has(Flags::CLEAN_START);
    let keep_alive_s = reader.u16()?;
    let properties = if version == Version::V5 {
        connect_properties(reader.properties()?)?
    } else {
        let session_expiry_s = if clean_start { 0 } else { u32::MAX };
        ConnectProperties { session_expiry_s, ..ConnectProperties::default() }
    };
    let client_id = reader.text()?;
    let will = if flags.has(Flags::WILL) { Some(will(&mut reader, flags, version)?) } else { None };
    let user_name = if flags.has(Flags::USER_NAME) { Some(reader.text()?) } else { None };
    let password = if flags.has(Flags::PASSWORD) { Some(reader.binary()?) } else { None };
    reader.finish()?;
    if version != Version::V5 && client_id.is_empty() && !clean_start {
        return Err(Violation::with(
            ReasonCode::ClientIdentifierNotValid,
            "MQTT3-3.1.3-8",
            "client id is empty and the session is not clean",
        ));
    }
    Ok(Connect {
        version,
        clean_start,
        keep_alive_s,
        client_id,
        will,
        user_name,
        password,
        properties,
    })
}

fn connect_properties(section: &[u8]) -> Result<ConnectProperties<'_>, Violation> {
    let found = Found::read(section, allowed::CONNECT)?;
    let default = ConnectProperties::default();
    Ok(ConnectProperties {
        session_expiry_s: found.session_expiry_s.unwrap_or(default.session_expiry_s),
        receive_maximum: found.receive_maximum.unwrap_or(default.receive_maximum),
        maximum_packet_bytes: found.maximum_packet_bytes.unwrap_or(default.maximum_packet_bytes),
        topic_alias_maximum: found.topic_alias_maximum.unwrap_or(default.topic_alias_maximum),
        request_response_information: found
            .request_response_information
            .unwrap_or(default.request_response_information),
        request_problem_information: found
            .request_problem_information
            .unwrap_or(default.request_problem_information),
        authentication_method: found.authentication_method,
        authentication_data: found.authentication_data,
        user: found.user,
    })
}

fn will<'a>(
    reader: &mut Reader<'a>,
    flags: Flags,
    version: Version,
) -> Result<LastWill<'a>, Violation> {
    let mut properties = WillProperties::default();
    if version == Version::V5 {
        let section = reader.properties()?;
        let found = MessageProperties::read(section, Scan::new(section, allowed::WILL))?;
        properties = WillProperties {
            delay_s: found.delay_s,
            message_expiry_s: found.message_expiry_s,
            payload_is_utf8: found.payload_is_utf8,
            end_to_end: found.end_to_end,
            user_count: found.user_count,
        };
    }
    let topic = reader.topic_name()?;
    if topic.is_empty() {
        return Err(Violation::with(
            ReasonCode::TopicNameInvalid,
            "MQTT5-4.7.3-1",
            "will topic is empty",
        ));
    }
    let qos = match flags.0 & Flags::WILL_QOS {
        0x00 => QoS::AtMostOnce,
        0x08 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    };
    let retain = flags.has(Flags::WILL_RETAIN);
    Ok(LastWill { topic, payload: reader.binary()?, qos, retain, properties })
}

pub(super) fn connack(body: &[u8], version: Version) -> Result<ConnAck<'_>, Violation> {
    let mut reader = Reader::new(body);
    let session_present = match reader.u8()? {
        0 => false,
        1 => true,
        _ => {
            return Err(Violation::malformed("MQTT5-3.2.2-1", "reserved connack flags are set"));
        }
    };
    let ack = if version == Version::V5 {
        let reason = reason(&mut reader, ReasonPlace::ConnAck, "MQTT5-3.2.2-8")?;
        let found = Found::read(reader.properties()?, allowed::CONNACK)?;
        ConnAck {
            session_present,
            reason,
            session_expiry_s: found.session_expiry_s,
            receive_maximum: found.receive_maximum,
            maximum_packet_bytes: found.maximum_packet_bytes,
            assigned_client_id: found.assigned_client_id,
            topic_alias_maximum: found.topic_alias_maximum,
            server_keep_alive_s: found.server_keep_alive_s,
            response_information: found.response_information,
            server_reference: found.server_reference,
            reason_string: found.reason_string,
            authentication_method: found.authentication_method,
            authentication_data: found.authentication_data,
            user: found.user,
        }
    } else {
        let reason = ReasonCode::from_connack_return_code(reader.u8()?)
            .ok_or(Violation::protocol("MQTT3-3.2.2-6", "return code is reserved"))?;
        ConnAck::of(session_present, reason)
    };
    reader.finish()?;
    if session_present && ack.reason != ReasonCode::Success {
        return Err(Violation::protocol("MQTT5-3.2.2-6", "session present with a refusal"));
    }
    Ok(ack)
}

pub(super) fn disconnect(
    body: &[u8],
    version: Version,
    from: Sender,
) -> Result<Disconnect<'_>, Violation> {
    let mut reader = Reader::new(body);
    let mut disconnect = Disconnect::of(ReasonCode::Success);
    if version != Version::V5 {
        if from == Sender::Server {
            return Err(Violation::protocol("MQTT5-4.13.1-1", "disconnect from a 3.x server"));
        }
        reader.finish()?;
        return Ok(disconnect);
    }
    let (place, allowed) = match from {
        Sender::Client => (ReasonPlace::ClientDisconnect, allowed::CLIENT_DISCONNECT),
        Sender::Server => (ReasonPlace::ServerDisconnect, allowed::SERVER_DISCONNECT),
    };
    if reader.is_empty() {
        return Ok(disconnect);
    }
    disconnect.reason = reason(&mut reader, place, "MQTT5-3.14.2-1")?;
    if reader.is_empty() {
        return Ok(disconnect);
    }
    let found = Found::read(reader.properties()?, allowed)?;
    reader.finish()?;
    disconnect.session_expiry_s = found.session_expiry_s;
    disconnect.server_reference = found.server_reference;
    disconnect.reason_string = found.reason_string;
    Ok(disconnect)
}

pub(super) fn auth(body: &[u8], from: Sender) -> Result<Auth<'_>, Violation> {
    let place = match from {
        Sender::Client => ReasonPlace::ClientAuth,
        Sender::Server => ReasonPlace::ServerAuth,
    };
    let mut reader = Reader::new(body);
    let mut auth =
        Auth { reason: ReasonCode::Success, method: None, data: None, reason_string: None };
    if reader.is_empty() {
        // It says success, which is the server's to say.
        return match from {
            Sender::Server => Ok(auth),
            Sender::Client => Err(unlisted("MQTT5-3.15.2-1")),
        };
    }
    auth.reason = reason(&mut reader, place, "MQTT5-3.15.2-1")?;
    let found = Found::read(reader.properties()?, allowed::AUTH)?;
    reader.finish()?;
    if found.authentication_method.is_none() {
        return Err(Violation::protocol("MQTT5-4.12.0-5", "auth names no method"));
    }
    auth.method = found.authentication_method;
    auth.data = found.authentication_data;
    auth.reason_string = found.reason_string;
    Ok(auth)
}
