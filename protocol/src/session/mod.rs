//! A client's state that outlives its connections, and how acknowledgements move it.

mod holder;
mod inflight;
mod machine;
mod record;

pub use holder::Holder;
pub use inflight::{Inflight, Stage};
pub use machine::{Acked, Delivery, QueueFull, Session, Transmit};
pub use record::{Owner, SessionRecord, StoredOwed, StoredSubscription, StoredWill};
