//! What travels on wires: MQTT packets, their codec, the session machine, and the frames between gateways.
//!
//! Nothing here reads a clock, draws a random number or touches a socket: bytes and time come in as
//! arguments, bytes and decisions go out.

mod effects;
mod hash;
mod ids;
mod misread;
pub mod mqtt;
mod nearest;
pub mod peer;
mod publication;
mod qos;
mod refs;
pub mod session;
#[cfg(test)]
mod tests;
mod text;
mod time;
mod topic;
mod varint;
mod violation;

pub use effects::Effects;
pub use hash::{HashMap, HashSet, hash64};
pub use ids::{
    ClientId, GatewayId, Incarnation, InvalidId, LogSeq, PacketId, Position, SessionEpoch,
    SessionNo,
};
pub use misread::Misread;
pub use nearest::nearest;
pub use publication::{Bodies, Publication};
pub use qos::QoS;
pub use refs::{GroupTag, Groups, Refs, RefsBuilder};
pub use time::{Now, Wall};
pub use topic::{InvalidTopic, SharedName, TopicFilter, TopicName, levels, matches, overlap};
pub use varint::{put_varint, take_varint};
pub use violation::Violation;
