//! A process is followed by another one on the same host, without a client that finds a port closed.
//!
//! ```text
//!  running process                                      successor, at the gateway's other berth
//!    start it, with its listeners ─────── inherit ───────► reads configuration, certificates, store
//!                                 ◄────── prepared ───────
//!    leaves the peers' port to it ─────── go ─────────────► joins the fleet: record, lease, peer links
//!                                 ◄────── ready ──────────  serves, and accepts
//!    accepts nobody any more, moves its clients ─ left ──►  takes them
//!    is empty, ends               ─────── over ───────────►
//! ```
//!
//! Up to *ready* a failure changes nothing but a line in the log. Behind it, whichever process dies, the other one serves.

mod board;
mod inheritance;
mod letters;
mod notify;
mod predecessor;

pub use board::{Board, RestartRequest, RestartStage, RestartStatus};
pub use inheritance::{Inheritance, InheritanceError};
pub(crate) use predecessor::FOLLOWS_WITHIN;
pub use predecessor::{Holdings, SuccessionSender, spawn};
