//! What would happen: the planner, the ledger and the executions as they are, on a clock that only counts, with hosts that take
//! a random time for everything, fail and die. An observer who sees the hosts as they are judges every step that takes one from its
//! clients. The same seed tells the same tale.

mod body;
mod chance;
mod going;
mod observer;
mod tale;
#[cfg(test)]
mod tests;
mod world;

pub use tale::{Line, Tale, Totals};
pub use world::{Faults, InvalidScenario, Scenario, simulate};
