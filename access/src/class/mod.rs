//! Classes of clients: who is in one, and how much of anything its clients may do.

mod limits;
mod pace;

pub use limits::{Class, ClassLimits, Classes, OnExcess};
pub use pace::{Excess, Pace};
