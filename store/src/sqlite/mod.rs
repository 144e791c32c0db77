//! One SQLite file in a folder, shared by the gateways of one machine.
//!
//! Bodies lie in the order of their positions, a commit's entries in one row, documents by key. Several processes
//! write in turns: a lock file makes them queue fairly, and the system frees it when a process is killed.

mod backup;
mod check;
mod fault;
mod known;
mod open;
mod reader;
mod schema;
#[cfg(test)]
mod tests;
mod tidy;
mod turn;
mod writer;

pub use backup::{BackupError, CopyProgress, backup, restore};
pub use check::{Checked, MOST_FAULTS, check_file};
pub use open::{Durability, SqliteOptions, SqliteStore};
