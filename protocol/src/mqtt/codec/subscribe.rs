//! SUBSCRIBE `[MQTT5-3.8]` and UNSUBSCRIBE `[MQTT5-3.10]`.

use crate::{
    QoS, Violation,
    mqtt::{Filter, RetainHandling, Subscribe, SubscribeOptions, Unsubscribe, Version},
};

use super::{
    properties::{Found, allowed},
    read::Reader,
};

pub(super) fn subscribe(body: &[u8], version: Version) -> Result<Subscribe<'_>, Violation> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    let mut subscription_id = None;
    if version == Version::V5 {
        subscription_id = Found::read(reader.properties()?, allowed::SUBSCRIBE)?.subscription_id;
    }
    if reader.is_empty() {
        return Err(Violation::protocol("MQTT5-3.8.3-2", "subscribe has no filter"));
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        let text = reader.text()?;
        let options = match version {
            Version::V31 | Version::V311 => options_3_x(reader.u8()?)?,
            Version::V5 => options_5(reader.u8()?)?,
        };
        if options.no_local && text.starts_with("$share/") {
            return Err(Violation::protocol("MQTT5-3.8.3-4", "no local on a shared subscription"));
        }
        filters.push(Filter { text, options });
    }
    Ok(Subscribe { packet_id, subscription_id, filters })
}

fn options_3_x(byte: u8) -> Result<SubscribeOptions, Violation> {
    if byte & 0xFC != 0 {
        return Err(Violation::malformed("MQTT3-3.8.3-4", "reserved bits of the qos byte are set"));
    }
    Ok(SubscribeOptions {
        qos: qos(byte)?,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    })
}

fn options_5(byte: u8) -> Result<SubscribeOptions, Violation> {
    if byte & 0xC0 != 0 {
        return Err(Violation::malformed("MQTT5-3.8.3-5", "reserved option bits are set"));
    }
    let retain_handling = match byte >> 4 {
        0 => RetainHandling::Send,
        1 => RetainHandling::SendIfNew,
        2 => RetainHandling::DoNotSend,
        _ => {
            return Err(Violation::protocol("MQTT5-3.8.3-5", "retain handling 3 does not exist"));
        }
    };
    Ok(SubscribeOptions {
        qos: qos(byte & 0x03)?,
        no_local: byte & 0x04 != 0,
        retain_as_published: byte & 0x08 != 0,
        retain_handling,
    })
}

fn qos(bits: u8) -> Result<QoS, Violation> {
    QoS::from_bits(bits).ok_or(Violation::protocol("MQTT5-3.8.3-5", "qos 3 does not exist"))
}

pub(super) fn unsubscribe(body: &[u8], version: Version) -> Result<Unsubscribe<'_>, Violation> {
    let mut reader = Reader::new(body);
    let packet_id = reader.packet_id()?;
    if version == Version::V5 {
        Found::read(reader.properties()?, allowed::UNSUBSCRIBE)?;
    }
    if reader.is_empty() {
        return Err(Violation::protocol("MQTT5-3.10.3-2", "unsubscribe has no filter"));
    }
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push(reader.text()?);
    }
    Ok(Unsubscribe { packet_id, filters })
}
