//! What a client may publish and subscribe to: ordered rules, the first that fits decides, and nothing is allowed without one.

mod cover;
mod explain;
mod field;
mod glob;
mod mosquitto;
mod pattern;
mod policy;
mod read;
mod rule;
#[cfg(test)]
mod tests;
mod value;
mod verdict;
mod who;

pub use cover::{covers, overlaps};
pub use explain::{Explanation, Question, Reason, Step};
pub use field::AclFault;
pub use mosquitto::read_mosquitto;
pub use policy::{ClaimsMode, Policy};
pub use read::read_acl;
pub use rule::{Action, Effect, Rule, Source};
pub use verdict::{Cause, Denial, Rights};
pub(crate) use who::network;
pub use who::{Who, WhoWritten};
