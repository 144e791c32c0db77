//! The links to the other gateways of the fleet: one thread, two mTLS connections per peer.
//!
//! The thread owns a [`protocol::peer::Dialler`] and a [`protocol::peer::Acceptor`] per peer, feeds them
//! bytes, commands and time, and tells what comes out of them through [`LinkEvents`]. All that waits is
//! handled before anything is written, so a batch of forwards costs one system call per peer.

mod backoff;
mod command;
mod connection;
mod counters;
mod dial;
mod driver;
mod listening;
mod mailbox;
mod peer;
mod status;
mod surroundings;
#[cfg(test)]
mod tests;
mod tls;
mod told;

pub use command::{Command, LinkEvents, PeerAddress, Progress, Room};
pub use counters::{LinkCounters, LinkTotals};
pub use driver::{LinksConfig, LinksHandle, StartError, spawn};
pub use listening::listen;
pub use mailbox::LinksSender;
pub use status::{LinkStatus, Traffic};
pub use tls::{PeerTls, PeerTlsError};
