//! Establishing who a connection speaks for: what the room `access` decides, with files, threads, network and clock.
//!
//! ```text
//!  front: CONNECT ─────────────────────────► Porter::identify ── certificate, then one of: token, password, hook
//!  front: CONNECT with a method, AUTH ─────► Porter::step ────── SCRAM-SHA-256, JWT
//!  worker: AUTH ── Ask::Authenticate ──────► the same, on the desk's thread; back as Mail::Authenticated
//! ```

mod audit;
mod checks;
mod desk;
mod hook;
mod identified;
mod porter;
mod shares;

pub(crate) use desk::attend;
pub use desk::{AuthenticationAsk, Desk, Verdict};
pub use identified::{Identified, NotIdentified, Shown, Step};
pub use porter::{Porter, PorterError};
