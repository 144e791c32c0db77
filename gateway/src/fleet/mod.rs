//! The fleet on this machine: what `tidegate` without a subcommand starts, watches and stops.

mod children;
mod folder;
mod greeting;
mod launch;
mod notices;
mod plan;

pub(crate) use folder::certificates;
pub use folder::{Folder, FolderError, Record, RecordedGateway};
pub use greeting::greeting;
pub use launch::{LaunchError, Options, launch};
pub use plan::{Plan, PlanError, PlannedGateway};
