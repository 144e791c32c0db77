//! Emptying one gateway without losing a session.
//!
//! The gateway that is emptied runs a [`DrainMachine`]; those that take its clients each run an [`Intake`]. A client moves
//! only with a credit of the gateway that it is sent to, so that no number of drains brings anybody more than it declared.

mod apart;
mod eta;
mod intake;
mod machine;
mod plan;
mod purse;
mod takers;
mod throttle;
mod wishes;

#[cfg(test)]
mod fleet_tests;

pub use apart::{DrainTurn, InvalidStandIns, StandIns};
pub use eta::DrainPace;
pub use intake::{Grant, Intake, Room, Wanted};
pub use machine::{DrainMachine, DrainStage, DrainStep};
pub use plan::{DrainPlan, OnTimeout, Profile, TICK};
pub use purse::{CREDIT_LIFE, CreditAsk, CreditTotals};
pub use takers::{Taker, spared};
pub use throttle::Throttle;
pub use wishes::{DrainWishes, FLUSH_MOST, MoveBudget, MoveWishes};
