//! What the fleet knows of a device: shadow documents, presence.

mod reserved;

pub use reserved::{Answer, InvalidReserved, Operation, ReservedTopic, ShadowName, ThingName};
