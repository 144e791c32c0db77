//! A fleet of real gateway processes, and clients that say exactly what they are told to.
//!
//! A scenario reads top-down: start a [`Fleet`], [`Dial`] some clients, say what must happen. Everything here fails the
//! test at once, with the reason and the gateways' logs, when what it waits for does not come; nothing sleeps for a
//! guess. Processes end with the value that started them.
#![expect(clippy::panic, clippy::expect_used, reason = "a harness may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a client that waits for one packet passes over all others"
)]

mod cable;
mod client;
mod command;
mod desk;
mod dial;
mod disk;
mod fleet;
mod http;
mod https;
mod islands;
mod issuer;
mod message;
mod patience;
mod plan;
mod process;
mod tls;
mod wire;

pub use cable::{Cable, Way};
pub use client::{Client, Ended, Frame};
pub use command::{Ran, run, run_within, tidegate};
pub use dial::{Answer, Dial};
pub use disk::{fill_disk, small_disk};
pub use fleet::Fleet;
pub use http::{Response, get, metric};
pub use https::{HttpsAnswer, HttpsDevice, read_answer, request};
pub use islands::may_make_islands;
pub use issuer::Issuer;
pub use message::Message;
pub use patience::{PATIENCE, eventually};
pub use plan::{Place, Settings, free_offset};
pub use process::{Process, Signal};
pub use tls::{Identity, TlsFailure, dial_tls, dial_tls_as, tls_config};
pub use wire::{WebSocketWire, Wire};
