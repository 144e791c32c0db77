//! Properties of plans.

mod explained;
mod fleet;
mod judged;
mod properties;
