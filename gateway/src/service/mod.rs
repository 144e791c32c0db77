//! Who looks after a process: its place in the fleet, session numbers, due wills, drains, the log's length.

mod ask;
mod drain;
mod events;
mod keeper;
mod members;
mod numbers;
mod thread;
mod visits;

pub use ask::{ServiceAsk, ServiceSender};
pub use events::Events;
pub use members::Member;
pub use thread::{Housekeeper, ServiceConfig, SharedState, spawn};
