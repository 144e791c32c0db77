//! Shadows as one worker sees them: what its clients ask, and what is written and told of the things that are its own.
//!
//! Each thing belongs to one worker of a process, by its name: there its requests are done one after the other, and there it
//! is known what was told last to those who watch. Whoever's client asks hands the request on and waits for the answer.

mod asking;
mod desk;
mod remembered;
mod scribing;
mod unsure;
mod watching;

pub(crate) use desk::ShadowDesk;
pub use desk::{Asker, ShadowAsk, ShadowMail, ShadowRead, ShadowRules, worker_of_thing};
pub use scribing::{Awaited, ShadowWord};
pub(crate) use unsure::LOOK;
pub(crate) use watching::{is_watched, is_watched_elsewhere};
