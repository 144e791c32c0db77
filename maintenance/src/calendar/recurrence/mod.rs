//! On which days something recurs: the part of RFC 5545's recurrence rules that has to do with days.

mod days;
mod parse;
mod rule;

pub use parse::InvalidRecurrence;
pub use rule::{Recurrence, Until};

pub(super) use parse::moment;
