//! What new connections meet: listeners, handshakes, CONNECT, admission; then they go to the worker of their client.
//!
//! Every new connection is a task of its own with a deadline, so one silent socket stops nobody. Its steps, each in a file:
//!
//! ```text
//!  serve: accept, a place ──► greet: TLS ─► WebSocket ─► CONNECT ──► admit: may it come in, and as whom? ──► worker
//!                               │             │            │             │ authenticate
//!                               └─────────────┴─ closed ───┴─ CONNACK ◄──┘ with the reason
//! ```

mod admit;
mod authenticate;
mod bounced;
mod certificate;
mod descriptors;
mod door;
mod greet;
mod listening;
mod newcomer;
mod place;
mod serve;
mod shared;
mod spare;
mod tray;

pub(crate) use certificate::read as read_certificate;
pub use descriptors::fit_descriptors;
pub use door::Door;
pub use listening::{Bound, FileOwner};
pub use newcomer::Origin;
pub use place::Place;
pub(crate) use place::Places;
pub use serve::serve;
pub use shared::{Admission, Front};
pub use tray::Tray;
