//! PUBACK, PUBREC, PUBREL, PUBCOMP `[MQTT5-3.4]` to `[MQTT5-3.7]`, SUBACK and UNSUBACK.

use crate::{
    Violation,
    mqtt::{Ack, ReasonCode, SubAck, UnsubAck, Version, reason::ReasonPlace},
};

use super::{
    properties::{Found, allowed},
    read::Reader,
};

/// PUBACK or PUBREC.
pub(super) fn puback(body: &[u8], version: Version) -> Result<Ack<'_>, Violation> {
    ack(body, version, ReasonPlace::Receipt, "MQTT5-3.4.2-1")
}

/// PUBREL or PUBCOMP.
pub(super) fn pubrel(body: &[u8], version: Version) -> Result<Ack<'_>, Violation> {
    ack(body, version, ReasonPlace::Release, "MQTT5-3.6.2-1")
}

fn ack<'a>(
    body: &'a [u8],
    version: Version,
    place: ReasonPlace,
    statement: &'static str,
) -> Result<Ack<'a>, Violation> {
    let mut reader = Reader::new(body);
    let mut ack = Ack::of(reader.packet_id()?, ReasonCode::Success);
    if version != Version::V5 || reader.is_empty() {
        reader.finish()?;
        return Ok(ack);
    }
    ack.reason = reason(&mut reader, place, statement)?;
    if !reader.is_empty() {
        ack.reason_string = Found::read(reader.properties()?, allowed::ACK)?.reason_string;
        reader.finish()?;
    }
    Ok(ack)
}

/// A reason code that the standard lists for that place.
pub(super) fn reason(
    reader: &mut Reader<'_>,
    place: ReasonPlace,
    statement: &'static str,
) -> Result<ReasonCode, Violation> {
    match ReasonCode::from_code(reader.u8()?) {
        Some(reason) if reason.fits(place) => Ok(reason),
        _ => Err(unlisted(statement)),
    }
}

/// A reason code that this packet does not have, or not from this side.
pub(super) fn unlisted(statement: &'static str) -> Violation {
    Violation::protocol(statement, "reason code is not listed for the packet")
}

pub(super) fn suback(body: &[u8], version: Version) -> Result<SubAck<'_>, Violation> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut reason_string = None;
    if version == Version::V5 {
        reason_string = Found::read(reader.properties()?, allowed::ACK)?.reason_string;
    }
    let reasons = reasons(reader, ReasonPlace::SubAck, "MQTT5-3.9.3-2")?;
    let only_3_x =
        |reason: &ReasonCode| !reason.is_error() || *reason == ReasonCode::UnspecifiedError;
    if version != Version::V5 && !reasons.iter().all(only_3_x) {
        return Err(Violation::protocol("MQTT3-3.9.3-2", "return code is reserved"));
    }
    Ok(SubAck { packet_id, reasons, reason_string })
}

pub(super) fn unsuback(body: &[u8], version: Version) -> Result<UnsubAck<'_>, Violation> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    if version != Version::V5 {
        reader.finish()?;
        return Ok(UnsubAck { packet_id, reasons: Vec::new(), reason_string: None });
    }
    let reason_string = Found::read(reader.properties()?, allowed::ACK)?.reason_string;
    let reasons = reasons(reader, ReasonPlace::UnsubAck, "MQTT5-3.11.3-2")?;
    Ok(UnsubAck { packet_id, reasons, reason_string })
}

fn reasons(
    mut reader: Reader<'_>,
    place: ReasonPlace,
    statement: &'static str,
) -> Result<Vec<ReasonCode>, Violation> {
    if reader.is_empty() {
        return Err(Violation::protocol(statement, "answer has no reason codes"));
    }
    let mut reasons = Vec::with_capacity(reader.len());
    while !reader.is_empty() {
        reasons.push(reason(&mut reader, place, statement)?);
    }
    Ok(reasons)
}
