//! One visit, from its plan to the release of its slot, as a machine that survives any crash.
//!
//! [`Execution::handle`] takes what happened and answers a [`Reaction`]: the state to store, what the ledger has to
//! agree to in the same transaction, and what to do after that. So each step has its intent stored before it is
//! begun and its outcome after it has ended; whoever starts anew finds an intent without outcome, and looks before
//! anything is done again.

mod asks;
mod back;
mod course;
mod event;
mod journal;
mod machine;
mod notice;
mod orders;
mod state;
mod step;
mod told;
mod turn;

#[cfg(test)]
mod body_tests;
#[cfg(test)]
mod crash_tests;
#[cfg(test)]
mod fleet_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod work_tests;

pub use asks::LedgerRefused;
pub use course::{Course, CourseWishes, DrainTimeout, PlannedStep, Warming, Work, WorkFailure};
pub use event::{Effect, Event, Found, Ignored, LedgerStep, Order, Reaction, Report};
pub use journal::{End, Ended, StepRecord};
pub use notice::{Notice, NoticeState, untold};
pub use state::{At, Because, Execution, Fault, InvalidExecution, Phase, Stage, Track};
pub use step::Step;
pub use told::{VisitChange, VisitTale};
