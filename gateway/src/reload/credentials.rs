//! Passwords and the keys that tokens are signed with.

use std::path::PathBuf;
use std::sync::Arc;

use crate::authentication::Porter;

use super::watch::{ReloadFailed, Reloadable};

/// What clients are looked at with.
#[derive(Debug)]
pub struct Credentials(pub Arc<Porter>);

impl Reloadable for Credentials {
    fn name(&self) -> &'static str {
        "credentials"
    }

    fn files(&self) -> Vec<PathBuf> {
        self.0.files()
    }

    fn reload(&mut self) -> Result<(), ReloadFailed> {
        Ok(self.0.reload()?)
    }
}
