//! What a host does for the works of a visit: programs of its own list, reading its files again, following itself in place.

mod attend;
mod callers;
mod device;
mod doors;
mod job;
mod mark;
mod program;
mod tools;
mod trial;
mod way;

pub use attend::{AttendArguments, attend};
pub use tools::Tools;

pub(super) use callers::Callers;
pub(super) use job::{Attempt, Job, JobEnd, Purpose};
