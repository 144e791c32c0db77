//! Micro slots: permission for work of seconds that all gateways of a fleet should not do at once, on their store or on
//! themselves.
//!
//! They stand in a record of their own beside the [`ledger`](crate::ledger)'s: a pause takes nobody out of service, so no visit
//! waits for one, and no grant of a visit loses its compare-and-set to a checkpoint. For the same reason a pause, unlike a slot,
//! ends with the life that holds it: nothing is left of it that somebody would have to look after.

mod patience;
mod table;

#[cfg(test)]
mod tests;

pub use patience::{Patience, Urge};
pub use table::{Begun, InvalidPauses, Pause, PauseFor, PauseHolder, PauseRefused, Pauses};
