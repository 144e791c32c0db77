//! The fixed header `[MQTT5-2.1]`: where a packet ends, and what is wrong before it has arrived.

use crate::{Violation, mqtt::ReasonCode};

/// The upper four bits of a packet's first byte.
pub(super) mod kind {
    pub(crate) const CONNECT: u8 = 1;
    pub(crate) const CONNACK: u8 = 2;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const PUBACK: u8 = 4;
    pub(crate) const PUBREC: u8 = 5;
    pub(crate) const PUBREL: u8 = 6;
    pub(crate) const PUBCOMP: u8 = 7;
    pub(crate) const SUBSCRIBE: u8 = 8;
    pub(crate) const SUBACK: u8 = 9;
    pub(crate) const UNSUBSCRIBE: u8 = 10;
    pub(crate) const UNSUBACK: u8 = 11;
    pub(crate) const PINGREQ: u8 = 12;
    pub(crate) const PINGRESP: u8 = 13;
    pub(crate) const DISCONNECT: u8 = 14;
    pub(crate) const AUTH: u8 = 15;
}

const LONG_LENGTH: Violation =
    Violation::malformed("MQTT5-1.5.5-1", "variable byte integer has more than four bytes");
const PADDED_LENGTH: Violation =
    Violation::malformed("MQTT5-1.5.5-1", "variable byte integer is not in its shortest form");

/// How long the first packet in `buf` is, in bytes, once all of it is there; `None` asks for more bytes.
/// What can be refused early is: wrong flags at the first byte, a length above `max_packet_bytes` (the whole
/// packet counts) as soon as the length is known.
///
/// # Errors
/// A [`Violation`] of the fixed header, or 0x95 for a packet that is too large.
#[inline]
pub fn frame(buf: &[u8], max_packet_bytes: u32) -> Result<Option<usize>, Violation> {
    let Some(header) = header(buf)? else { return Ok(None) };
    if header.total > max_packet_bytes as usize {
        return Err(Violation::with(
            ReasonCode::PacketTooLarge,
            "MQTT5-3.2.2-15",
            "packet is larger than the limit",
        ));
    }
    Ok((buf.len() >= header.total).then_some(header.total))
}

/// Bytes of the packet that begins here, as its fixed header says, whether they are there or not; `None` before that is whole.
pub fn announced(buf: &[u8]) -> Option<usize> {
    header(buf).ok().flatten().map(|header| header.total)
}

/// What the fixed header says.
pub(super) struct Header {
    pub(super) first: u8,
    /// Bytes of the fixed header itself: 2 to 5.
    pub(super) len: usize,
    /// Bytes of the packet with its header.
    pub(super) total: usize,
}

/// Splits one whole packet into its first byte and what follows the fixed header.
#[inline]
pub(super) fn open(packet: &[u8]) -> Result<(u8, &[u8]), Violation> {
    match header(packet)? {
        Some(header) if header.total == packet.len() => match packet.get(header.len..) {
            Some(body) => Ok((header.first, body)),
            None => Err(super::read::CUT),
        },
        _ => Err(super::read::CUT),
    }
}

#[inline]
pub(super) fn header(buf: &[u8]) -> Result<Option<Header>, Violation> {
    let Some((&first, rest)) = buf.split_first() else { return Ok(None) };
    check_first(first)?;
    // One length byte is by far the most frequent case.
    if let Some(&short) = rest.first()
        && short < 0x80
    {
        return Ok(Some(Header { first, len: 2, total: 2 + usize::from(short) }));
    }
    Ok(varint(rest)?.map(|(value, len)| Header {
        first,
        len: 1 + len,
        total: 1 + len + value as usize,
    }))
}

/// A variable byte integer and its length in bytes; `None` if it is cut off `[MQTT5-1.5.5]`.
#[inline]
pub(super) fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, Violation> {
    let mut value = 0_u32;
    for (place, &byte) in bytes.iter().take(4).enumerate() {
        value |= u32::from(byte & 0x7F) << (7 * place);
        if byte & 0x80 == 0 {
            if byte == 0 && place > 0 {
                return Err(PADDED_LENGTH);
            }
            return Ok(Some((value, place + 1)));
        }
    }
    if bytes.len() >= 4 { Err(LONG_LENGTH) } else { Ok(None) }
}

#[inline]
fn check_first(first: u8) -> Result<(), Violation> {
    match first {
        0x30..=0x35 | 0x3A..=0x3D => Ok(()),
        0x62 | 0x82 | 0xA2 => Ok(()),
        0x10 | 0x20 | 0x40 | 0x50 | 0x70 | 0x90 | 0xB0 | 0xC0 | 0xD0 | 0xE0 | 0xF0 => Ok(()),
        _ => Err(bad_first(first)),
    }
}

#[cold]
fn bad_first(first: u8) -> Violation {
    let (statement, what) = match first >> 4 {
        0 => ("MQTT5-4.13.1-1", "packet type 0 is reserved"),
        kind::PUBLISH if first & 0x06 == 0x06 => ("MQTT5-3.3.1-4", "qos 3 does not exist"),
        kind::PUBLISH => ("MQTT5-3.3.1-2", "dup is set at qos 0"),
        kind::PUBREL => ("MQTT5-3.6.1-1", "flags of pubrel are not 0010"),
        kind::SUBSCRIBE => ("MQTT5-3.8.1-1", "flags of subscribe are not 0010"),
        kind::UNSUBSCRIBE => ("MQTT5-3.10.1-1", "flags of unsubscribe are not 0010"),
        kind::DISCONNECT => ("MQTT5-3.14.1-1", "reserved bits of disconnect are set"),
        kind::AUTH => ("MQTT5-3.15.1-1", "reserved bits of auth are set"),
        _ => ("MQTT5-2.1.3-1", "reserved flag bits are set"),
    };
    Violation::malformed(statement, what)
}
