//! Makes what is asked of shadows happen: in order, one write at a time for each shadow, answered only once it is stored.

mod ask;
mod desk;
mod pace;
#[cfg(test)]
mod tests;

pub use ask::{Ask, RequestNo};
pub use desk::{Scribe, ScribeLimits, ScribeOutput, Stored, Written};
pub use pace::{RequestPace, RequestRates};
