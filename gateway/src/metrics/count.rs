//! One number, and a table of them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One number that counts; reads and writes are relaxed.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds; only the one thread that owns this counter may call it.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Subtracts, for gauges; only the one thread that owns this counter may call it.
    #[inline]
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Adds from any thread: a locked instruction, not for the publish path.
    #[inline]
    pub fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Relaxed);
    }

    /// Sets, for gauges.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Relaxed);
    }

    /// The number now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Broken statements of the standard by their ids, of which there are as many as our code names.
#[derive(Debug, Default)]
pub struct Statements(Mutex<BTreeMap<&'static str, u64>>);

impl Statements {
    /// Counts one; every time a connection ends, so its lock is nobody's burden.
    pub fn count(&self, statement: &'static str) {
        *self.lock().entry(statement).or_default() += 1;
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
