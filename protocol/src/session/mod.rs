//! A client's state that outlives its connections, and how acknowledgements move it.

mod estate;
mod holder;
mod inflight;
mod limits;
mod machine;
mod record;

pub use estate::Estate;
pub use holder::Holder;
pub use inflight::{Inflight, Stage};
pub use limits::{DropReason, Drops, Full, QueueLimits, WhenFull};
pub use machine::{Acked, Delivery, Session, Transmit};
pub use record::{Owner, SessionRecord, Shown, StoredOwed, StoredSubscription, StoredWill};
