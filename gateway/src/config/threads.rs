//! How many threads.

use std::num::NonZeroUsize;

/// As many threads as are written; for 0, one for so many cores each, and one at least.
pub(super) fn threads(written: u16, cores_each: usize) -> NonZeroUsize {
    let cores = || std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
    let many = if written == 0 { cores() / cores_each } else { written.into() };
    NonZeroUsize::new(many.min(MAX_THREADS)).unwrap_or(NonZeroUsize::MIN)
}

/// Threads of one kind; the tables of one process tell as many workers apart.
const MAX_THREADS: usize = 64;
