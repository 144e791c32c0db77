//! Who is there: one record per client, and the events that come of its changes.

mod event;
mod form;
mod past;
mod reason;
mod record;
mod stored;
#[cfg(test)]
mod tests;

pub use event::{ConnectFailure, EVENTS, EventKind, LifecycleEvent};
pub use reason::DisconnectReason;
pub use record::{Arrival, Departure, MAX_DEPARTURES, Presence, PresenceLimits, Sent};
pub use stored::Gone;
