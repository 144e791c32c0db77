//! The pieces that encoders append.

use super::properties::id;

/// The largest value of a variable byte integer `[MQTT5-1.5.5]`.
const VARINT_MAX: usize = 268_435_455;

pub(super) const fn first_byte(kind: u8, flags: u8) -> u8 {
    kind << 4 | flags
}

/// Bytes that [`varint`] appends.
pub(super) const fn varint_len(value: usize) -> usize {
    match value {
        0..=127 => 1,
        128..=16_383 => 2,
        16_384..=2_097_151 => 3,
        _ => 4,
    }
}

/// Appends a variable byte integer in its shortest form. What no packet can say is written as the maximum:
/// a limit on packet sizes has refused such lengths long before.
pub(super) fn varint(out: &mut Vec<u8>, value: usize) {
    let mut rest = value.min(VARINT_MAX);
    loop {
        let low = u8::try_from(rest & 0x7F).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends binary data with its two-byte length, cut at 65,535 bytes.
pub(super) fn binary(out: &mut Vec<u8>, bytes: &[u8]) {
    let len = u16::try_from(bytes.len()).unwrap_or(u16::MAX);
    out.extend_from_slice(&len.to_be_bytes());
    out.extend_from_slice(bytes.get(..usize::from(len)).unwrap_or_default());
}

/// Appends a string, cut at the last character that ends within 65,535 bytes.
pub(super) fn text(out: &mut Vec<u8>, text: &str) {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    binary(out, text.get(..end).unwrap_or_default().as_bytes());
}

/// Appends a packet: its first byte, the length of what `body` appends, and that.
pub(super) fn packet(out: &mut Vec<u8>, first: u8, body: impl FnOnce(&mut Vec<u8>)) {
    out.push(first);
    prefixed(out, body);
}

/// Appends a property section: the length of what `body` appends, and that.
pub(super) fn properties(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    prefixed(out, body);
}

fn prefixed(out: &mut Vec<u8>, body: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.push(0);
    body(out);
    let len = out.len() - at - 1;
    // Almost always one byte; otherwise the body moves up to make room.
    let mut length = Vec::new();
    match u8::try_from(len) {
        Ok(short) if short < 0x80 => {
            if let Some(place) = out.get_mut(at) {
                *place = short;
            }
        }
        _ => {
            varint(&mut length, len);
            out.splice(at..=at, length);
        }
    }
}

pub(super) fn property_flag(out: &mut Vec<u8>, id: u8, value: bool) {
    out.extend_from_slice(&[id, u8::from(value)]);
}

pub(super) fn property_u16(out: &mut Vec<u8>, id: u8, value: Option<u16>) {
    if let Some(value) = value {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn property_u32(out: &mut Vec<u8>, id: u8, value: Option<u32>) {
    if let Some(value) = value {
        out.push(id);
        out.extend_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn property_text(out: &mut Vec<u8>, id: u8, value: Option<&str>) {
    if let Some(value) = value {
        out.push(id);
        text(out, value);
    }
}

pub(super) fn property_binary(out: &mut Vec<u8>, id: u8, value: Option<&[u8]>) {
    if let Some(value) = value {
        out.push(id);
        binary(out, value);
    }
}

pub(super) fn property_user(out: &mut Vec<u8>, pairs: &[(&str, &str)]) {
    for (name, value) in pairs {
        out.push(id::USER);
        text(out, name);
        text(out, value);
    }
}
