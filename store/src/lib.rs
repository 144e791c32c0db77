//! What survives: the store's contract, SQLite, memory, and the index of queues that is rebuilt from it.

mod contract;
pub mod contract_suite;
mod error;
mod kept;
mod memory;
#[cfg(test)]
mod mutation_tests;
mod plan;
mod queue_index;
mod row;
mod sqlite;

pub use contract::{
    Append, Commit, Doc, Entry, Expect, MAX_BYTES, MAX_KEY_BYTES, Outcome, Put, Reader, Rev, Space,
    Store, Tidied, Trim, Write, Writer,
};
pub use error::{Source, StoreError, Unavailable};
pub use kept::Whole;
pub use memory::{Fault, MemoryStore};
pub use queue_index::QueueIndex;
pub use sqlite::{
    BackupError, Checked, CopyProgress, Durability, MOST_FAULTS, SqliteOptions, SqliteStore,
    backup, check_file, restore,
};
