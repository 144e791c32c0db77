//! Names and numbers, parsed once.

use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

/// Why a text is not a valid id.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidId {
    /// Nothing there.
    #[error("is empty")]
    Empty,
    /// Longer than allowed.
    #[error("is longer than {limit_bytes} bytes")]
    TooLong {
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// A character outside the allowed set.
    #[error("has a character that is not allowed")]
    Character,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(Arc<str>);

        impl $name {
            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        crate::text::show_as_text!($name);
    };
}

text_id! {
    /// What names a client and its session in the whole fleet `[MQTT5-3.1.3-2]`: 1 to 65,535 bytes of UTF-8.
    ClientId
}
text_id! {
    /// A member of a fleet: a gateway's name, 1 to 64 letters, digits, `-`, `_` or `.`, and behind it `~` for the life at the
    /// gateway's second berth.
    GatewayId
}

impl ClientId {
    /// Accepts any non-empty text that the codec has already checked as an MQTT string.
    ///
    /// # Errors
    /// [`InvalidId::Empty`], or [`InvalidId::TooLong`] above 65,535 bytes.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        match text.len() {
            0 => Err(InvalidId::Empty),
            1..=65_535 => Ok(Self(text.into())),
            _ => Err(InvalidId::TooLong { limit_bytes: 65_535 }),
        }
    }
}

impl ClientId {
    /// The same id in memory of its own.
    #[must_use]
    pub fn apart(&self) -> Self {
        Self(self.as_str().into())
    }
}

impl GatewayId {
    /// Checks length and characters.
    ///
    /// # Errors
    /// [`InvalidId`], by what is wrong.
    pub fn new(text: &str) -> Result<Self, InvalidId> {
        Self::check(text).map(|()| Self(text.into()))
    }

    /// Whether a text could be one.
    ///
    /// # Errors
    /// [`InvalidId`], by what is wrong.
    pub fn check(text: &str) -> Result<(), InvalidId> {
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        let name = text.strip_suffix(SECOND_BERTH).unwrap_or(text);
        match name.len() {
            0 => Err(InvalidId::Empty),
            1..=64 if name.bytes().all(ok) => Ok(()),
            1..=64 => Err(InvalidId::Character),
            _ => Err(InvalidId::TooLong { limit_bytes: 64 }),
        }
    }

    /// Whether this is the gateway's name: its first berth.
    pub fn is_first_berth(&self) -> bool {
        !self.0.ends_with(SECOND_BERTH)
    }

    /// The gateway, whichever of its berths this is: the name that operators, certificates and the ledger know.
    #[must_use]
    pub fn gateway(&self) -> Self {
        self.0.strip_suffix(SECOND_BERTH).map_or_else(|| self.clone(), |name| Self(name.into()))
    }

    /// The gateway's other berth, where a successor lies while this life goes on.
    #[must_use]
    pub fn other_berth(&self) -> Self {
        let first = self.0.strip_suffix(SECOND_BERTH);
        Self(first.map_or_else(|| format!("{}{SECOND_BERTH}", self.0).into(), Into::into))
    }
}

/// Stands behind the name of a gateway at its second berth.
const SECOND_BERTH: char = '~';

/// Names an exchange while it is in flight; never zero `[MQTT5-2.2.1-3]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PacketId(pub NonZeroU16);

impl PacketId {
    /// The id for a wire value, unless it is zero.
    pub const fn new(value: u16) -> Option<Self> {
        match NonZeroU16::new(value) {
            Some(value) => Some(Self(value)),
            None => None,
        }
    }

    /// The wire value.
    pub const fn get(self) -> u16 {
        self.0.get()
    }
}

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// One life of a persistent session, by number: unique in the fleet for ever; a clean start takes a new one. 0 is never used.
    SessionNo(u32)
}
number! {
    /// The place of a stored publication in the fleet's message log: grows, unique in the fleet, never used again. 0 is before the first.
    Position(u64)
}
number! {
    /// The place of a commit in the fleet's log. 0 is before the first; no number is skipped.
    LogSeq(u64)
}
number! {
    /// Grows when the ownership of a session moves; the higher one wins.
    SessionEpoch(u64)
}
number! {
    /// One life of a gateway process: the wall clock at its start in milliseconds; a later life is higher.
    Incarnation(u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_has_two_berths_and_one_name() {
        let first = GatewayId::new("gw-1").unwrap();
        let second = first.other_berth();
        assert_eq!(second.as_str(), "gw-1~");
        assert_eq!(GatewayId::new("gw-1~").unwrap(), second);
        assert_eq!(second.other_berth(), first);
        assert_eq!((first.gateway(), second.gateway()), (first.clone(), first.clone()));
        assert!(first.is_first_berth() && !second.is_first_berth());
        let longest = GatewayId::new(&"g".repeat(64)).unwrap();
        assert_eq!(GatewayId::new(longest.other_berth().as_str()), Ok(longest.other_berth()));
        for wrong in ["~", "gw~1", "gw-1~~", "~gw"] {
            assert!(GatewayId::new(wrong).is_err(), "{wrong}");
        }
    }
}
