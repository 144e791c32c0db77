//! Where a configuration came from.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::written::Written;

/// The file that a configuration was read from, as it was written then and is in force now.
#[derive(Debug, Clone)]
pub struct Source {
    pub(super) path: PathBuf,
    /// What only a start reads is as it stands here.
    pub(super) started: Arc<Written>,
    /// What may change is as it stands here.
    pub(super) in_force: Arc<Written>,
}

impl Source {
    pub(super) fn new(path: &Path, written: Written) -> Self {
        let started = Arc::new(written.with_listener());
        Self { path: path.to_owned(), in_force: Arc::clone(&started), started }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
