//! One whole packet to its model.

use crate::{
    Violation,
    mqtt::{Packet, Version},
};

use super::{
    acknowledgements, connect,
    frame::{kind, open},
    publish, subscribe,
};

/// Who sent the bytes. Some packets and reason codes belong to one side only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    /// A client, or whatever claims to be one.
    Client,
    /// A server.
    Server,
}

const WRONG_SIDE: Violation =
    Violation::protocol("MQTT5-4.13.1-1", "this side never sends such a packet");
const NO_AUTH: Violation =
    Violation::malformed("MQTT5-4.13.1-1", "packet type 15 is reserved before mqtt 5");

/// Decodes one whole packet of a connection whose version is known. A CONNECT comes back as such: a second
/// one is for the session to answer `[MQTT5-3.1.0-2]`.
///
/// # Errors
/// A [`Violation`]: the connection has to end with its reason code `[MQTT5-4.13.1-1]`.
#[inline]
pub fn decode(packet: &[u8], version: Version, from: Sender) -> Result<Packet<'_>, Violation> {
    let (first, body) = open(packet)?;
    if first >> 4 == kind::PUBLISH {
        return publish::read_publish(first, body, version, from).map(Packet::Publish);
    }
    decode_rest(first >> 4, body, version, from)
}

fn decode_rest(
    kind: u8,
    body: &[u8],
    version: Version,
    from: Sender,
) -> Result<Packet<'_>, Violation> {
    match kind {
        kind::PUBACK => acknowledgements::puback(body, version).map(Packet::PubAck),
        kind::PUBREC => acknowledgements::puback(body, version).map(Packet::PubRec),
        kind::PUBREL => acknowledgements::pubrel(body, version).map(Packet::PubRel),
        kind::PUBCOMP => acknowledgements::pubrel(body, version).map(Packet::PubComp),
        kind::DISCONNECT => connect::disconnect(body, version, from).map(Packet::Disconnect),
        kind::AUTH if version != Version::V5 => Err(NO_AUTH),
        kind::AUTH => connect::auth(body, from).map(Packet::Auth),
        _ if from == Sender::Client => decode_client(kind, body, version),
        _ => decode_server(kind, body, version),
    }
}

fn decode_client(kind: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Violation> {
    match kind {
        kind::CONNECT => connect::connect(body).map(|c| Packet::Connect(Box::new(c))),
        kind::SUBSCRIBE => subscribe::subscribe(body, version).map(Packet::Subscribe),
        kind::UNSUBSCRIBE => subscribe::unsubscribe(body, version).map(Packet::Unsubscribe),
        kind::PINGREQ => empty(body).map(|()| Packet::PingReq),
        _ => Err(WRONG_SIDE),
    }
}

fn decode_server(kind: u8, body: &[u8], version: Version) -> Result<Packet<'_>, Violation> {
    match kind {
        kind::CONNACK => connect::connack(body, version).map(Packet::ConnAck),
        kind::SUBACK => acknowledgements::suback(body, version).map(Packet::SubAck),
        kind::UNSUBACK => acknowledgements::unsuback(body, version).map(Packet::UnsubAck),
        kind::PINGRESP => empty(body).map(|()| Packet::PingResp),
        _ => Err(WRONG_SIDE),
    }
}

const fn empty(body: &[u8]) -> Result<(), Violation> {
    if body.is_empty() {
        return Ok(());
    }
    Err(Violation::malformed("MQTT5-4.13.1-1", "packet has a body where none belongs"))
}
