//! Who looks after a process: its place in the fleet, session numbers, due wills, drains, the log's length.

mod absent;
mod ages;
mod ask;
mod awaited;
mod bans;
mod drain;
mod drained;
mod events;
mod in_place;
pub mod keeper;
mod members;
pub mod numbers;
mod ordered;
mod page;
mod receive;
mod receivers;
mod renewal;
#[cfg(test)]
mod tests;
mod thread;
mod turns;
mod visited;
mod visits;
mod wishes;

pub use ask::{ServiceAsk, ServiceSender};
pub use awaited::{Awaited, SYNC_PATIENCE};
pub use events::Events;
pub use members::{Leases, Member, begin_life, last_berth, one_each, read_all};
pub use thread::{Housekeeper, ServiceConfig, SharedState, spawn};
pub use visited::{VisitAsk, VisitedState};
