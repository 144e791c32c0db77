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
    /// A gateway's name in its fleet: 1 to 64 letters, digits, `-`, `_` or `.`.
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
        let ok = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
        match text.len() {
            0 => Err(InvalidId::Empty),
            1..=64 if text.bytes().all(ok) => Ok(Self(text.into())),
            1..=64 => Err(InvalidId::Character),
            _ => Err(InvalidId::TooLong { limit_bytes: 64 }),
        }
    }
}

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
