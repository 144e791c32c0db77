//! Texts and counts in stored forms.

use protocol::{put_varint, take_varint};

/// Appends a text with its length before it.
pub(crate) fn put_text(out: &mut Vec<u8>, text: &str) {
    put_len(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Appends a count.
pub(crate) fn put_len(out: &mut Vec<u8>, len: usize) {
    put_varint(out, u64::try_from(len).unwrap_or(u64::MAX));
}

/// Takes a text off the front that is not looked at; `None` if it is cut.
pub(crate) fn skip_text(rest: &mut &[u8]) -> Option<()> {
    let len = usize::try_from(take_varint(rest)?).ok()?;
    *rest = rest.get(len..)?;
    Some(())
}

/// Takes a text off the front; `None` if it is cut or no text.
pub(crate) fn take_text<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let len = usize::try_from(take_varint(rest)?).ok()?;
    let (text, after) = rest.split_at_checked(len)?;
    *rest = after;
    std::str::from_utf8(text).ok()
}
