//! Properties of plans.

mod deadlines;
mod explained;
mod fleet;
mod judged;
mod properties;
mod suited;
