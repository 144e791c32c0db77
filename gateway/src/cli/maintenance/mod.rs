//! `maintenance`: what policies allow, asked of files alone; no gateway is asked and nothing is changed.

mod calendar;
mod command;
mod file;
mod policy;

pub use command::{
    CalendarArguments, CheckArguments, MaintenanceCommand, PolicyCommand, ShowArguments, Whose,
};
pub use file::FileError;

pub(super) use command::run;
