//! The numbers and texts that frames are made of.

use bytes::Bytes;

/// Why bytes are no frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// Longer than the limit.
    #[error("is {bytes} bytes long, more than {limit_bytes}")]
    TooLong {
        /// What its length field says.
        bytes: usize,
        /// The limit.
        limit_bytes: usize,
    },
    /// A length of zero.
    #[error("has no kind")]
    Empty,
    /// A kind that this version does not know.
    #[error("has the unknown kind {0}")]
    Kind(u8),
    /// Ends in the middle of a field.
    #[error("ends too early")]
    Short,
    /// Goes on after its last field.
    #[error("has bytes after its end")]
    Trailing,
    /// A field with a value that is not allowed.
    #[error("has a bad {0}")]
    Field(&'static str),
}

/// Reads fields from the front of a frame.
pub(super) struct Fields<'a> {
    whole: &'a Bytes,
    at: usize,
}

impl<'a> Fields<'a> {
    pub(super) const fn new(whole: &'a Bytes) -> Self {
        Self { whole, at: 0 }
    }

    pub(super) fn take(&mut self, len: usize) -> Result<&'a [u8], FrameError> {
        let end = self.at.checked_add(len).ok_or(FrameError::Short)?;
        let taken = self.whole.get(self.at..end).ok_or(FrameError::Short)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], FrameError> {
        self.take(N)?.try_into().map_err(|_| FrameError::Short)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array().map(u8::from_be_bytes)
    }

    pub(super) fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(u16::from_be_bytes)
    }

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(u32::from_be_bytes)
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(u64::from_be_bytes)
    }

    pub(super) fn flag(&mut self, name: &'static str) -> Result<bool, FrameError> {
        match self.u8()? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(FrameError::Field(name)),
        }
    }

    /// A text with a length of two bytes.
    pub(super) fn text(&mut self, name: &'static str) -> Result<&'a str, FrameError> {
        let len = usize::from(self.u16()?);
        std::str::from_utf8(self.take(len)?).map_err(|_| FrameError::Field(name))
    }

    /// What is left, without copying.
    pub(super) fn rest(&mut self) -> Bytes {
        let rest = self.whole.slice(self.at.min(self.whole.len())..);
        self.at = self.whole.len();
        rest
    }

    pub(super) fn left(&self) -> usize {
        self.whole.len().saturating_sub(self.at)
    }

    pub(super) fn finish(&self) -> Result<(), FrameError> {
        if self.left() == 0 { Ok(()) } else { Err(FrameError::Trailing) }
    }
}

/// Appends a frame: its length, its kind and what `body` writes.
pub(super) fn put_frame(out: &mut Vec<u8>, kind: u8, body: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.push(kind);
    body(out);
    let len = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    patch_u32(out, start, len);
}

/// Overwrites four bytes that were left for a number known later.
pub(super) fn patch_u32(out: &mut [u8], at: usize, value: u32) {
    if let Some(place) = out.get_mut(at..at + 4) {
        place.copy_from_slice(&value.to_be_bytes());
    }
}

pub(super) fn put_u16(out: &mut Vec<u8>, value: u16) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u32(out: &mut Vec<u8>, value: u32) {
    out.extend_from_slice(&value.to_be_bytes());
}

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_be_bytes());
}

/// Appends a text of at most 65,535 bytes; a longer one is cut at a character, which the types of the
/// texts that are sent make impossible.
pub(super) fn put_text(out: &mut Vec<u8>, text: &str) {
    let text = text.get(..text.floor_char_boundary(usize::from(u16::MAX))).unwrap_or_default();
    put_u16(out, u16::try_from(text.len()).unwrap_or(u16::MAX));
    out.extend_from_slice(text.as_bytes());
}
