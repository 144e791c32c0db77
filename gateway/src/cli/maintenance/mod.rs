//! `maintenance`: what policies in files allow, and what the fleet is to do.

mod audit;
mod blockers;
mod calendar;
mod command;
mod feed_tokens;
mod file;
mod fleet;
mod freezes;
mod glass;
mod needs;
mod operations;
mod plan;
mod policies;
mod policy;
mod preferences;
mod simulate;
mod slots;
mod visits;
mod wait;
mod wide;

pub use audit::AuditArguments;
pub use blockers::{BlockerArguments, BlockerCommand};
pub use command::{
    CalendarArguments, CheckArguments, MaintenanceCommand, PolicyCommand, ShowArguments, Whose,
};
pub use feed_tokens::{FeedTokenArguments, FeedTokenCommand};
pub use file::FileError;
pub use freezes::{FreezeArguments, FreezeCommand};
pub use glass::GlassCommand;
pub use needs::NeedsArguments;
pub use operations::{ApproveArguments, KindWord, OperationArguments, OperationCommand};
pub use plan::PlanArguments;
pub use policies::PutArguments;
pub use preferences::{PreferenceArguments, PreferenceCommand};
pub use simulate::SimulateArguments;
pub use slots::WriteOffArguments;
pub use visits::{OrderArguments, VisitCommand};
pub use wide::WideArguments;

pub(super) use command::run;
