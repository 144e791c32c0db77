//! The cores of one worker, and what they want done: no socket, no clock, no thread.
//!
//! Bytes, mail and time come in; [`Effects`](protocol::Effects) go out and pass `commit.rs` before anyone sees them.

mod aliases;
mod authenticate;
mod bans;
mod claim;
mod connection;
mod connects;
mod core;
mod deliver;
mod detach;
mod dispatch;
mod doubt;
mod encode;
mod holder;
mod live;
mod output;
mod pace;
mod publish;
mod returned;
mod rights;
mod route_cache;
mod seats;
mod silence;
mod subscribe;
mod tables;
#[cfg(test)]
mod tests;
mod voice;

pub use authenticate::Authenticated;
pub use claim::ConnectRequest;
pub use connection::ConnId;
pub use core::{Feed, Hub, HubConfig, Moved};
pub use deliver::{CREDIT, Queued};
pub use detach::{ReleaseAsked, WillFate};
pub use dispatch::{Dispatch, Forward, SharedMember};
pub use output::{Ask, Close, Farewell, Fx, Outlet, Output, Record, Refusal, Reply, Turn};
pub use returned::Left;
pub(crate) use rights::Deed;
pub use seats::{Seat, Seats};
pub(crate) use silence::Heard;
pub use subscribe::RetainedWanted;
pub use tables::{LiveGateway, Tables};
pub use voice::Voice;
