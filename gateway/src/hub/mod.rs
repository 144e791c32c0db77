//! The cores of one worker, and what they want done: no socket, no clock, no thread.
//!
//! Bytes, mail and time come in; [`Effects`](protocol::Effects) go out and pass `commit.rs` before anyone sees them.

mod connection;
mod core;
pub mod echo;
mod moved;
mod output;
mod positions;
mod recent;
mod session;
mod shadows;
mod share;
mod standing;
mod tables;
#[cfg(test)]
pub(crate) mod tests;
mod traffic;
pub mod trial;
mod voice;

pub use connection::ConnId;
pub use core::{Feed, Hub, HubConfig};
pub use moved::Moved;
pub use output::{
    Abandoned, Ask, Close, Farewell, Fx, Outlet, Output, Record, Refusal, Reply, Turn,
};
pub use session::detach::WillFate;
pub(crate) use session::epochs::ended;
pub(crate) use session::live::put_will;
pub use session::moving::{Departing, MoveOrder};
pub use session::presence::Parting;
pub(crate) use session::presence::is_unauthorized;
pub use session::release::ReleaseAsked;
pub use session::request::ConnectRequest;
pub(crate) use session::untold::BEFORE_LOOKS;
pub use shadows::{
    Asker, Awaited, ShadowAsk, ShadowMail, ShadowRead, ShadowRules, ShadowWord, worker_of_thing,
};
pub(crate) use shadows::{LOOK as SHADOWS_LOOK, is_watched, is_watched_elsewhere};
pub use standing::authenticate::Authenticated;
pub(crate) use standing::rights::Deed;
pub use standing::seats::{Seat, Seats};
pub(crate) use standing::silence::Heard;
pub use tables::{LiveGateway, Look, Tables};
pub use traffic::deliver::{CREDIT, Queued};
pub use traffic::dispatch::{Dispatch, Forward, SharedMember};
pub(crate) use traffic::passing::HELD_BYTES;
pub use traffic::passing::{Bundle, Passing};
pub use traffic::post::{Post, Posted};
pub use traffic::returned::{Direct, EstateAt, Inherited, Left, Portion};
pub use traffic::subscribe::RetainedWanted;
pub use voice::Voice;
