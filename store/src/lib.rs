//! What survives: the store's contract, SQLite, memory.

mod contract;
mod error;

pub use contract::{
    Append, Commit, Doc, Entry, Expect, MAX_BYTES, MAX_KEY_BYTES, Outcome, Put, Reader, Rev, Space,
    Store, Write, Writer,
};
pub use error::{Source, StoreError, Unavailable};
