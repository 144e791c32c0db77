//! Makes what is asked of shadows happen: in order, one write at a time for each shadow, answered only once it is stored.
//! And tells those who watch shadows what came of it elsewhere.

mod ask;
mod desk;
mod pace;
#[cfg(test)]
mod tests;
mod watcher;

pub use ask::{Ask, RequestNo};
pub use desk::{Scribe, ScribeLimits, ScribeOutput, Stored, Written};
pub use pace::{RequestPace, RequestRates};
pub use watcher::{Change, Watcher, WatcherLimits};
