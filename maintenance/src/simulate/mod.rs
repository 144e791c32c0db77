//! What would happen: the planner, the ledger and the executions as they are, on a clock that only counts, with hosts that take
//! a random time for everything, fail and die. An observer who sees the hosts as they are, and where their clients are, judges by
//! what operators wrote every step that takes a host from its clients. The same seed tells the same tale.

mod body;
mod chance;
mod clients;
mod going;
mod observer;
mod returns;
mod scenario;
mod tale;
#[cfg(test)]
mod tests;
mod world;

pub use returns::{Habits, Returns};
pub use scenario::{Faults, InvalidScenario, Scenario};
pub use tale::{Line, Tale, Totals};
pub use world::simulate;
