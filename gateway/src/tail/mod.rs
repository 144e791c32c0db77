//! What this process knows of the store: it reads the fleet's log in order, keeps the shared tables, and serves stored
//! queues to the workers that own them.

mod estates;
mod fences;
mod follower;
#[cfg(test)]
mod follower_tests;
mod frontier;
mod kept;
mod looks;
mod orders;
mod queues;
mod routes;
mod shadows;
mod thread;

pub(crate) use estates::left_by;
pub(crate) use fences::fence_check;
pub use follower::{Follower, Letter, Letters, Load};
pub use frontier::Frontier;
pub use orders::ClientOrder;
pub use routes::worker_of;
pub use shadows::{ShadowQuestion, read_shadow};
pub use thread::{SessionFound, TailAsk, TailSender, asks, spawn};
