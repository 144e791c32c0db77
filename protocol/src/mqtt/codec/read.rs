//! A cursor over one packet's body. Each step takes bytes off the front.

use crate::{PacketId, Violation, mqtt::ReasonCode};

use super::frame;

/// A field that reaches beyond its packet or its property section.
pub(super) const CUT: Violation =
    Violation::malformed("MQTT5-4.13.1-1", "a field reaches beyond the end");
const LEFT_OVER: Violation =
    Violation::malformed("MQTT5-4.13.1-1", "bytes are left over behind the last field");
const ZERO_ID: Violation = Violation::protocol("MQTT5-2.2.1-3", "packet id is 0");

#[derive(Debug, Clone, Copy)]
pub(super) struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    #[inline]
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    #[inline]
    pub(super) const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub(super) const fn len(&self) -> usize {
        self.rest.len()
    }

    /// The byte that comes next.
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.rest.first().copied()
    }

    /// All that is left.
    #[inline]
    pub(super) const fn rest(self) -> &'a [u8] {
        self.rest
    }

    /// Nothing may be left.
    #[inline]
    pub(super) const fn finish(self) -> Result<(), Violation> {
        if self.rest.is_empty() { Ok(()) } else { Err(LEFT_OVER) }
    }

    #[inline]
    pub(super) fn u8(&mut self) -> Result<u8, Violation> {
        let (&byte, rest) = self.rest.split_first().ok_or(CUT)?;
        self.rest = rest;
        Ok(byte)
    }

    #[inline]
    pub(super) fn u16(&mut self) -> Result<u16, Violation> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(u16::from_be_bytes(*bytes))
    }

    #[inline]
    pub(super) fn u32(&mut self) -> Result<u32, Violation> {
        let (bytes, rest) = self.rest.split_first_chunk().ok_or(CUT)?;
        self.rest = rest;
        Ok(u32::from_be_bytes(*bytes))
    }

    #[inline]
    pub(super) fn varint(&mut self) -> Result<u32, Violation> {
        let (value, len) = frame::varint(self.rest)?.ok_or(CUT)?;
        self.take(len)?;
        Ok(value)
    }

    #[inline]
    pub(super) fn packet_id(&mut self) -> Result<PacketId, Violation> {
        PacketId::new(self.u16()?).ok_or(ZERO_ID)
    }

    #[inline]
    fn take(&mut self, len: usize) -> Result<&'a [u8], Violation> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(CUT)?;
        self.rest = rest;
        Ok(taken)
    }

    /// Binary data `[MQTT5-1.5.6]`.
    #[inline]
    pub(super) fn binary(&mut self) -> Result<&'a [u8], Violation> {
        let len = self.u16()?;
        self.take(usize::from(len))
    }

    /// A string: valid UTF-8 `[MQTT5-1.5.4-1]` without U+0000 `[MQTT5-1.5.4-2]`.
    #[inline]
    pub(super) fn text(&mut self) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        if bytes.contains(&0) {
            return Err(Violation::malformed("MQTT5-1.5.4-2", "string has a null character"));
        }
        utf8(bytes)
    }

    /// Passes over a string that nobody reads here, but that is one: like [`text`](Self::text).
    #[inline]
    pub(super) fn pass_text(&mut self) -> Result<(), Violation> {
        let mut behind = *self;
        // Most strings are short, ASCII, and have no null character: such bytes need no other look.
        if behind.binary()?.iter().all(|byte| matches!(byte, 1..=0x7F)) {
            *self = behind;
            return Ok(());
        }
        self.text().map(drop)
    }

    /// A string without wildcards `[MQTT5-3.3.2-2]`; may be empty.
    #[inline]
    pub(super) fn topic_name(&mut self) -> Result<&'a str, Violation> {
        let bytes = self.binary()?;
        let special = has_null_or_wildcard(bytes);
        if special { Err(bad_topic(bytes)) } else { utf8(bytes) }
    }

    /// The bytes of a property section, without its length `[MQTT5-2.2.2.1]`.
    #[inline]
    pub(super) fn properties(&mut self) -> Result<&'a [u8], Violation> {
        let len = self.varint()?;
        self.take(len as usize)
    }
}

/// Whether a byte is 0, `+` or `#`; eight bytes at a time, since every publication pays for it.
#[inline]
fn has_null_or_wildcard(bytes: &[u8]) -> bool {
    let Some(last) = bytes.last_chunk() else {
        return bytes.iter().any(|&b| matches!(b, 0 | b'+' | b'#'));
    };
    // The last eight bytes overlap with the chunk before them unless the length is a multiple of eight.
    let (chunks, _) = bytes.as_chunks();
    chunks.iter().fold(marks(*last), |found, &chunk| found | marks(chunk)) != 0
}

/// Not 0 if one of eight bytes is 0, `+` or `#`.
#[inline]
const fn marks(bytes: [u8; 8]) -> u64 {
    const ONES: u64 = u64::from_ne_bytes([0x01; 8]);
    const TOPS: u64 = u64::from_ne_bytes([0x80; 8]);
    const PLUSES: u64 = u64::from_ne_bytes([b'+'; 8]);
    const HASHES: u64 = u64::from_ne_bytes([b'#'; 8]);
    let word = u64::from_ne_bytes(bytes);
    let (plus, hash) = (word ^ PLUSES, word ^ HASHES);
    // A byte that is 0 borrows into its top bit; a zero exists exactly if such a bit is left.
    ((word.wrapping_sub(ONES) & !word)
        | (plus.wrapping_sub(ONES) & !plus)
        | (hash.wrapping_sub(ONES) & !hash))
        & TOPS
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, Violation> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(_) => Err(Violation::malformed("MQTT5-1.5.4-1", "string is not utf-8")),
    }
}

#[cold]
fn bad_topic(bytes: &[u8]) -> Violation {
    if bytes.contains(&0) {
        return Violation::malformed("MQTT5-1.5.4-2", "string has a null character");
    }
    Violation::with(
        ReasonCode::TopicNameInvalid,
        "MQTT5-3.3.2-2",
        "topic name has a wildcard character",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nulls_and_wildcards_are_found_at_every_place_of_every_length() {
        for len in 0..40 {
            for fill in [1, b'a', b'"', b'$', b'*', b',', 0x7F, 0x80, 0xA3, 0xAB, 0xFF] {
                assert!(!has_null_or_wildcard(&vec![fill; len]), "{fill} times {len}");
                (0..len).for_each(|at| found_at(at, &vec![fill; len]));
            }
        }
    }

    fn found_at(at: usize, bytes: &[u8]) {
        for special in [0, b'+', b'#'] {
            let mut bytes = bytes.to_vec();
            bytes[at] = special;
            assert!(has_null_or_wildcard(&bytes), "{special} at {at} of {bytes:?}");
        }
    }
}
