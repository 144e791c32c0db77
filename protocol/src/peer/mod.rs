//! Frames between gateways, and the two machines of a peer link.
//!
//! Each gateway dials every other live gateway once. Over the connection that *a* dials to *b* travel
//! *a*'s frames (hello, interest, forward, release, poke, drain ask, ping) and *b*'s answers to them
//! (welcome, acks, released, poked, credit, pong), so a pair has two connections and no collisions.

mod acceptor;
mod buffer;
mod dialler;
mod frame;
mod grant;
mod hash;
mod interest;
mod limits;
mod lists;
mod own_interest;
#[cfg(test)]
mod reconnect_tests;
mod unacknowledged;
mod violation;
mod wire;

pub use acceptor::{Acceptor, AcceptorEvent};
pub use buffer::FrameBuffer;
pub use dialler::{Dialler, DiallerEvent};
pub use frame::{Frame, InterestChange, ReleaseOutcome, SharedTarget, SharedTargets};
pub use hash::{FilterHash, HashChange};
pub use limits::{Identity, MIN_VERSION, PeerLimits, VERSION};
pub use own_interest::{InterestNews, OwnInterest};
pub use unacknowledged::{ForwardCounters, ForwardError};
pub use violation::PeerViolation;
pub use wire::FrameError;
