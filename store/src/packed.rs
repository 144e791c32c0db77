//! A publication that waits in a queue, packed.

use protocol::Wall;

use crate::Outline;

/// A publication that waits, in 8 bytes: 50 bits of position, 11 of size, 3 of flags. Positions beyond 2^50 take a fleet
/// 35 years at a million a second.
///
/// Sizes up to 127 bytes are exact, larger ones are rounded up by less than a sixty-fourth: 5 bits say how often 64 to
/// 127 was doubled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Entry(u64);

impl Entry {
    /// A publication without flags.
    pub(crate) fn new(position: u64, outline: Outline) -> Self {
        let bytes = outline.bytes;
        let code = if bytes < 64 {
            bytes
        } else {
            let shift = bytes.ilog2() - 6;
            // Rounded up, 128 of a size is 64 of the next: the numbers follow each other.
            let scaled = bytes.div_ceil(1 << shift);
            (shift << 6) + scaled
        };
        Self(position << 14 | u64::from(code & 0x7ff) << 3)
    }

    pub(crate) const fn with(self, flags: u8) -> Self {
        Self(self.0 | (flags & 0b111) as u64)
    }

    pub(crate) const fn position(self) -> u64 {
        self.0 >> 14
    }

    pub(crate) const fn flags(self) -> u8 {
        (self.0 & 0b111) as u8
    }

    pub(crate) const fn bytes(self) -> u64 {
        let code = self.0 >> 3 & 0x7ff;
        if code < 128 {
            return code;
        }
        let shift = (code >> 6) - 1;
        (code - (shift << 6)) << shift
    }
}

/// The second in which something ends: the whole of it has passed then.
pub(crate) fn second_of(end: Wall) -> u32 {
    u32::try_from(end.0.div_ceil(1000)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_exact_when_small_and_rounded_up_by_little_when_large() {
        for bytes in (0..200_000).chain([1 << 20, 268_435_455 + 65_535, u32::MAX]) {
            let entry = Entry::new((1 << 50) - 1, Outline { bytes, expires_at: None }).with(0b101);
            assert_eq!((entry.position(), entry.flags()), ((1 << 50) - 1, 0b101));
            let (kept, bytes) = (entry.bytes(), u64::from(bytes));
            assert!(kept >= bytes && kept - bytes <= bytes / 64, "{bytes} as {kept}");
            assert!(bytes > 127 || kept == bytes);
        }
    }
}
