//! The topics that begin with `$aws/`: what they are for, and who may use them.

mod aim;
mod key;
mod reserved;

pub use aim::{FilterAim, PublishAim, Unpublishable, filter_aim, publish_aim};
pub use key::{OwnedKey, ShadowKey};
pub use reserved::{Answer, InvalidReserved, Operation, ReservedTopic, ShadowName, ThingName};
