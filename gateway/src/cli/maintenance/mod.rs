//! `maintenance`: what policies in files allow, and what the fleet is to do.

mod calendar;
mod command;
mod file;
mod fleet;
mod freezes;
mod operations;
mod plan;
mod policies;
mod policy;
mod visits;

pub use command::{
    CalendarArguments, CheckArguments, MaintenanceCommand, PolicyCommand, ShowArguments, Whose,
};
pub use file::FileError;
pub use freezes::{FreezeArguments, FreezeCommand};
pub use operations::{KindWord, OperationArguments, OperationCommand};
pub use plan::PlanArguments;
pub use policies::PutArguments;
pub use visits::{OrderArguments, VisitCommand};

pub(super) use command::run;
