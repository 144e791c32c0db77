//! What survives: the store's contract, SQLite, memory, and the index of queues that is rebuilt from it.

mod contract;
pub mod contract_suite;
mod error;
mod givers;
mod kept;
mod memory;
#[cfg(test)]
mod mutation_tests;
mod outline;
mod packed;
mod pages;
mod plan;
mod queue;
mod queue_index;
mod row;
mod sqlite;

pub use contract::{
    Append, Check, Commit, Doc, Dropped, Entry, Expect, Lost, MAX_BYTES, MAX_KEY_BYTES, Outcome,
    Outlives, Put, Reader, Rev, Space, Store, Tidied, Trim, Untidy, Write, Writer,
};
pub use error::{Source, StoreError, Unavailable};
pub use kept::Whole;
pub use memory::{Fault, MemoryStore};
pub use outline::{Outline, Outlines};
pub use pages::Pages;
pub use queue::Terms;
pub use queue_index::{LeavingMessages, QueueIndex, QueueStatus, Served};
pub use sqlite::{
    BackupError, Checked, CopyProgress, Durability, MOST_FAULTS, SqliteOptions, SqliteStore,
    backup, check_file, restore,
};
