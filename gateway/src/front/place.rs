//! Places among the connections that may be open.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A place among the connections that may be open; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// All places of a process.
#[derive(Debug)]
pub(super) struct Places {
    open: Arc<AtomicUsize>,
    limit: usize,
}

impl Places {
    pub(super) fn new(limit: usize) -> Self {
        Self { open: Arc::default(), limit }
    }

    /// A place for one more connection, and whether it is within the limit: those beyond it are only told so.
    pub(super) fn take(&self) -> (Place, bool) {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (Place(Arc::clone(&self.open)), before < self.limit)
    }
}
