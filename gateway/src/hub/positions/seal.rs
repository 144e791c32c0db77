//! A position as a client sees it: 22 characters, of this session's time and no other.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use protocol::{ClientId, Position, SessionEpoch, SessionNo, hash64};

/// The name of the user property, in CONNECT, CONNACK and PUBLISH.
pub(in crate::hub) const PROPERTY: &str = "tidegate-position";

/// The name of the user property in CONNACK that says what became of the position in CONNECT.
pub(in crate::hub) const VERDICT: &str = "tidegate-resume";

/// The text of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) struct PositionText([u8; TEXT_BYTES]);

/// Length of a position's text, in bytes.
const TEXT_BYTES: usize = 22;
/// What the text stands for: the position, then the checksum.
const BYTES: usize = 16;

impl PositionText {
    /// The text: letters, digits, `-` and `_`.
    pub(in crate::hub) fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// What the positions of one session are made and known by, for as long as they are shown without a break: a checksum over
/// its client id, its number and when that began. It keeps apart what is not of this session; it is no secret, since who makes
/// up a position reaches nothing but its own queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) struct Seal(u64);

impl Seal {
    pub(in crate::hub) fn new(client: &ClientId, no: SessionNo, since: SessionEpoch) -> Self {
        let mut bytes = Vec::with_capacity(32 + client.as_str().len());
        bytes.extend_from_slice(b"position 1");
        bytes.extend_from_slice(&no.0.to_be_bytes());
        bytes.extend_from_slice(&since.0.to_be_bytes());
        bytes.extend_from_slice(client.as_str().as_bytes());
        Self(hash64(&bytes))
    }

    /// The text that is shown.
    pub(in crate::hub) fn show(self, position: Position) -> PositionText {
        let mut bytes = [0; BYTES];
        let (place, check) = bytes.split_at_mut(BYTES / 2);
        place.copy_from_slice(&position.0.to_be_bytes());
        check.copy_from_slice(&self.check(position).to_be_bytes());
        let mut text = [b'A'; TEXT_BYTES];
        // The text of so many bytes is so long.
        let _ = URL_SAFE_NO_PAD.encode_slice(bytes, &mut text);
        PositionText(text)
    }

    /// The position of a text; `None` if it is not one of this session's time.
    pub(in crate::hub) fn read(self, text: &str) -> Option<Position> {
        if text.len() != TEXT_BYTES {
            return None;
        }
        let bytes: [u8; BYTES] = URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok()?;
        let (place, check) = bytes.split_first_chunk::<{ BYTES / 2 }>()?;
        let position = Position(u64::from_be_bytes(*place));
        (*check == self.check(position).to_be_bytes()).then_some(position)
    }

    fn check(self, position: Position) -> u64 {
        let mut bytes = [0; BYTES];
        let (seal, place) = bytes.split_at_mut(BYTES / 2);
        seal.copy_from_slice(&self.0.to_be_bytes());
        place.copy_from_slice(&position.0.to_be_bytes());
        hash64(&bytes)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seal(client: &str, no: u32, since: u64) -> Seal {
        Seal::new(&ClientId::new(client).unwrap(), SessionNo(no), SessionEpoch(since))
    }

    proptest! {
        #[test]
        fn a_position_reads_back_for_its_session_and_for_no_other(
            (client, other) in ("[a-z]{1,9}", "[a-z]{1,9}"),
            (no, other_no) in (any::<u32>(), any::<u32>()),
            (since, other_since) in (any::<u64>(), any::<u64>()),
            at in any::<u64>(),
        ) {
            let text = seal(&client, no, since).show(Position(at));
            let read = |client: &str, no, since| seal(client, no, since).read(text.as_str());
            prop_assert_eq!(read(&client, no, since), Some(Position(at)));
            prop_assert!(text.as_str().len() <= 32);
            prop_assert!(client == other || read(&other, no, since).is_none());
            prop_assert!(no == other_no || read(&client, other_no, since).is_none());
            prop_assert!(since == other_since || read(&client, no, other_since).is_none());
        }

        #[test]
        fn a_position_that_was_changed_is_refused(
            at in any::<u64>(),
            place in 0_usize..22,
            character in proptest::char::any(),
            (cut, more) in (0_usize..22, "\\PC{0,40}"),
        ) {
            let seal = seal("a", 7, 9);
            let text = seal.show(Position(at)).as_str().to_owned();
            let mut changed: Vec<char> = text.chars().collect();
            changed[place] = character;
            let changed: String = changed.into_iter().collect();
            prop_assert!(changed == text || seal.read(&changed).is_none());
            prop_assert!(seal.read(&text[..cut]).is_none());
            prop_assert!(seal.read(&more).is_none());
            let longer = [text.as_str(), &more].concat();
            prop_assert!(more.is_empty() || seal.read(&longer).is_none());
        }
    }
}
