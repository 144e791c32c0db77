//! Bytes to packets and back.
//!
//! ```text
//! bytes --frame--> one whole packet --decode_connect / decode--> Packet (borrowed)
//! Packet, Publication --encoders--> appended to a Vec<u8>
//! ```
//!
//! The decoder is strict: each byte of a packet is used and checked, and what breaks the standard comes back
//! as a [`Violation`](crate::Violation) that names the statement and the reason code to answer with.

mod acknowledgements;
mod carried;
mod connect;
mod decode;
mod encode;
mod encode_client;
mod frame;
mod properties;
mod publish;
mod read;
mod subscribe;
mod write;

#[cfg(test)]
pub(crate) mod tests;

pub use carried::{Carried, user_properties};
pub use connect::{connect_maximum, connect_version, decode_connect};
pub use decode::{Sender, decode};
pub use encode::{AckKind, ack, auth, connack, disconnect, pingresp, suback, unsuback};
pub use encode_client::{connect, pingreq, publish_client, subscribe, unsubscribe};
pub use frame::{announced, frame};
pub use publish::{Original, PublishHead, decode_publish, publish, publish_len};
