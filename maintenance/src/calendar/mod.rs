//! When maintenance may happen: rules in civil time in, spans of calendar time out.
//!
//! A [`TimeRule`] recurs in *floating* civil time ([`Recurrence`]); only then are its starts resolved in a zone. The
//! rules of a [`Calendar`], windows without exclusions, are compiled over a horizon into [`Openings`], each of
//! which knows the rules that made it. [`Intervals`] is the set of moments that planner and ledger reckon with.

mod compile;
pub mod ics;
mod interval;
mod intervals;
mod length;
mod odd;
mod preview;
mod recurrence;
mod rule;
#[cfg(test)]
mod tests;
mod window;
mod zone;

pub use compile::{Calendar, Closed, Opening, Openings};
pub use interval::Interval;
pub use intervals::Intervals;
pub use length::{InvalidLength, Length};
pub use odd::Odd;
pub use preview::{Preview, PreviewRow};
pub use recurrence::{InvalidRecurrence, Recurrence, Until};
pub use rule::{Edge, Instead, InvalidRule, Occurrence, OneOff, Purpose, TimeRule, When};
pub use window::{InvalidWindow, Window};
pub use zone::{OnGap, UnknownZone, Zone, ZoneChoice};
