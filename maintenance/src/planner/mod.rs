//! The planner: which visit when, so that no limit is passed at any moment and as few deadlines as possible are missed.
//!
//! A [`Problem`] holds indices and numbers, no policy text. [`plan`] keeps what was published and still fits, places the
//! others in the order of their deadlines as early as they fit, and then lets others make room for those that would be late.
//! Nothing here reads a clock: how long to search is said in [`Effort`]. [`check`] judges a plan by other code.

mod agenda;
mod board;
mod bound;
mod checker;
mod compile;
mod despite;
mod difference;
mod explain;
mod flow;
mod ground;
mod law;
mod margin;
mod plan;
mod problem;
mod published;
mod reason;
mod relax;
mod repair;
mod search;
mod suits;
#[cfg(test)]
mod tests;
mod timeline;
mod why;
mod wishes;

pub use agenda::{Agenda, Appointment, Fate, Standing};
pub use checker::{Breach, check};
pub use compile::{Expected, Finished, Outlook, compile};
pub use despite::Despite;
pub use difference::Difference;
pub use ground::InvalidProblem;
pub use law::Law;
pub use margin::Margin;
pub use plan::{Effort, Entry, Infeasible, Plan, PlanId, Unplanned, plan};
pub use problem::{
    Calendar, Deadline, Demand, Group, Hold, Job, Limit, Link, Metric, Part, Predecessor, Problem,
    Resource, Rule, Shape, Steps, Supply,
};
pub use published::{PlannedVisit, Published};
pub use reason::{Cut, Reason};
pub use suits::Suits;
pub use why::{Change, Obstacle, Relaxation, Why, why};
pub use wishes::Wishes;
