//! Why the store did not do what it was asked.

use std::path::PathBuf;

use protocol::LogSeq;

/// What a backend said, for the log line.
pub type Source = Box<dyn std::error::Error + Send + Sync>;

/// Why a call of the store failed; each says whose fault it is.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The machine's or the operator's: disk full, I/O error, busy for too long. Nothing happened; try again.
    #[error("the store cannot do it now: {why}")]
    Unavailable {
        /// What stood in the way.
        why: Unavailable,
        /// What the backend said.
        #[source]
        source: Option<Source>,
    },
    /// Nobody's: the answer was lost on its way, so the batch may have happened or not. Ask again with
    /// [`Writer::commit_again`](crate::Writer::commit_again), which makes it happen once.
    #[error("the store did not answer, it may have done it")]
    Unknown {
        /// What the backend said.
        #[source]
        source: Option<Source>,
    },
    /// The caller's: a key, document or publication beyond the limit. Nothing of the batch happened; leave that
    /// write out and try again.
    #[error("write {write} of the batch has {len_bytes} bytes where {limit_bytes} are allowed")]
    TooLarge {
        /// Its place in the batch, from 0.
        write: usize,
        /// Its length, in bytes.
        len_bytes: usize,
        /// The limit, in bytes.
        limit_bytes: usize,
    },
    /// The operator's: a newer version of Tidegate wrote this store.
    #[error("the store has layout {found}, this version knows up to {known}")]
    Newer {
        /// The layout found.
        found: u32,
        /// The newest layout known here.
        known: u32,
    },
    /// The operator's: an older version of Tidegate wrote this store and uses it still.
    #[error(
        "the store has layout {found} and is in use; all who use it must end before it becomes {known}"
    )]
    Older {
        /// The layout found.
        found: u32,
        /// The one it has to become.
        known: u32,
    },
    /// The operator's: the store belongs to another fleet.
    #[error("the store belongs to the fleet `{found}`")]
    OtherFleet {
        /// Whose it is.
        found: String,
    },
    /// The operator's: the folder or the files may not be written.
    #[error("the store is read-only")]
    ReadOnly,
    /// The disk's, or ours: what was read back is not what was written.
    #[error("the store is damaged: {what}")]
    Damaged {
        /// What was wrong.
        what: &'static str,
        /// What the backend said, if it found it.
        #[source]
        source: Option<Source>,
    },
    /// The caller's: it was away for so long that what it missed was trimmed, or the store is not the one it knew.
    /// Start over from the documents and [`Reader::first_seq`](crate::Reader::first_seq).
    #[error("the log does not go on after {after}, it holds {first} to {last}")]
    Gap {
        /// Where the caller was.
        after: LogSeq,
        /// The oldest commit there is.
        first: LogSeq,
        /// The newest commit there is.
        last: LogSeq,
    },
    /// The operator's: the folder or a file cannot be made or opened.
    #[error("cannot open the store at {}", path.display())]
    Open {
        /// What could not be opened.
        path: PathBuf,
        /// What the system or the backend said.
        #[source]
        source: Source,
    },
}

/// Why a store cannot work for now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unavailable {
    /// No room left on the disk.
    #[error("the disk is full")]
    Full,
    /// The disk failed.
    #[error("the disk failed")]
    Io,
    /// Another process kept the store for too long.
    #[error("it is busy")]
    Busy,
    /// Anything else that may pass, such as a lack of memory.
    #[error("it failed")]
    Other,
}

impl StoreError {
    /// Whether the same call may succeed later without anybody's doing.
    pub const fn may_pass(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::Unknown { .. })
    }
}
