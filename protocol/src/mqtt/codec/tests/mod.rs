//! Tests of the codec as a whole.

mod malformed;
mod mutations;
mod round_trips;
mod samples;
