//! Calendars as other programs have them (RFC 5545): written for those who subscribe, read as exclusions.
//!
//! We read with a parser of our own: those that exist bring a second zone database and a second idea of clock
//! changes with them, and of iCalendar nothing is needed but when events are.

mod event;
mod fault;
mod lines;
mod read;
mod write;

pub use fault::IcsFault;
pub use read::read;
pub use write::{Event, Feed, Status, write};
