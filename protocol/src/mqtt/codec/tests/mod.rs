//! Tests of the codec as a whole.

mod cuts;
mod listed;
pub(crate) mod lists;
mod malformed;
mod round_trips;
pub(crate) mod samples;
