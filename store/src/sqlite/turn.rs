//! Whose turn it is to write.

use std::fs::File;
use std::io;

use super::fault;
use crate::StoreError;

/// The lock file that writers of all processes queue at.
///
/// SQLite alone would let them poll, and one could starve; here the system wakes them in turn, and frees the lock of
/// a process that was killed.
#[derive(Debug)]
pub(super) struct Turns(File);

/// A turn; it ends when this is dropped.
#[derive(Debug)]
pub(super) struct Turn<'a>(&'a File);

impl Turns {
    /// Each caller needs its own open file: the lock belongs to it.
    pub(super) const fn new(file: File) -> Self {
        Self(file)
    }

    /// Waits for a turn.
    pub(super) fn take(&self) -> Result<Turn<'_>, StoreError> {
        loop {
            match self.0.lock() {
                Ok(()) => return Ok(Turn(&self.0)),
                // A signal woke us; the wait is not over.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(fault::lock(error)),
            }
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.0.unlock() {
            tracing::error!(%error, "cannot free the writer lock");
        }
    }
}
