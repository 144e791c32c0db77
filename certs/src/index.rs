//! Everything an authority ever issued.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::Role;
use crate::files::{self, FileError, Overwrite, Secrecy};

/// One certificate that was issued.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issued {
    /// The serial number in lower-case hex, without separators.
    pub serial: String,
    /// What its holder may be.
    pub role: Role,
    /// Who its holder is.
    pub name: String,
    /// Further names a gateway answers to: DNS names and IP addresses.
    pub sans: Vec<String>,
    /// When it was issued, in milliseconds since 1970.
    pub issued_ms: u64,
    /// When it ends, in milliseconds since 1970.
    pub expires_ms: u64,
    /// When it was revoked, in milliseconds since 1970, if it was.
    pub revoked_ms: Option<u64>,
}

/// Why the index cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum IndexError {
    /// It cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// It is not what this program writes.
    #[error("index.json is damaged")]
    Damaged(#[source] serde_json::Error),
}

/// The file behind it; grows by one entry per certificate and forgets none, so that each can be revoked.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Index {
    /// Grows with each revocation list.
    pub(crate) crl_number: u64,
    pub(crate) issued: Vec<Issued>,
}

impl Index {
    /// Reads the index of a folder; empty if there is none yet.
    pub(crate) fn load(dir: &Path) -> Result<Self, IndexError> {
        match files::read(&dir.join(FILE)) {
            Ok(text) => serde_json::from_str(&text).map_err(IndexError::Damaged),
            Err(FileError::Missing { .. }) => Ok(Self::default()),
            Err(e) => Err(e.into()),
        }
    }

    pub(crate) fn save(&self, dir: &Path) -> Result<(), IndexError> {
        let text = serde_json::to_string_pretty(self).map_err(IndexError::Damaged)?;
        Ok(files::write(&dir.join(FILE), &text, Secrecy::Public, Overwrite::Replace)?)
    }

    /// The newest certificate of a name.
    pub(crate) fn newest(&self, name: &str) -> Option<&Issued> {
        self.issued.iter().rev().find(|entry| entry.name == name)
    }
}

const FILE: &str = "index.json";
