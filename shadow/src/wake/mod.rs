//! Waking devices that are away while messages for them are stored.

mod notice;
mod sleeper;

pub use notice::WakeNotice;
pub use sleeper::{Sleeper, WakeLimits};
