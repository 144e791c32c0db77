//! Where it stands who may say what.

use std::path::{Path, PathBuf};

use super::fault::Fault;
use super::who::{Access, ClaimsMeaning, DeniedPublish};

/// Where it stands who may say what. Whether the files can be read shows when they are loaded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    /// Everybody may do everything; there are no files.
    pub allow_all: bool,
    /// Our own access file.
    pub acl: Option<PathBuf>,
    /// One as mosquitto has it.
    pub acl_mosquitto: Option<PathBuf>,
    /// What the topics in a token mean.
    pub claims: ClaimsMeaning,
    /// What becomes of a 3.x client's publication that is denied.
    pub denied_publish_3x: DeniedPublish,
    /// Whether somebody else may have a client id, with a fresh session.
    pub sessions_change_hands: bool,
}

impl Rights {
    pub(super) fn of(written: &Access, base: &Path) -> Self {
        let file = |path: &Option<PathBuf>| path.as_ref().map(|path| base.join(path));
        Self {
            allow_all: written.allow_all,
            acl: file(&written.acl),
            acl_mosquitto: file(&written.acl_mosquitto),
            claims: written.claims,
            denied_publish_3x: written.denied_publish_3x,
            sessions_change_hands: written.sessions_change_hands,
        }
    }

    pub(super) fn check(written: &Access, faults: &mut Vec<Fault>) {
        if written.allow_all && (written.acl.is_some() || written.acl_mosquitto.is_some()) {
            let what = "is true, and there is an access file that would mean nothing";
            faults.push(Fault::new("access.allow_all", what));
        }
    }

    /// The files.
    pub fn files(&self) -> impl Iterator<Item = PathBuf> {
        self.acl.iter().chain(&self.acl_mosquitto).cloned()
    }

    /// Whether nothing is allowed to anybody, but for what tokens may grant.
    pub fn denies_all(&self) -> bool {
        !self.allow_all && self.acl.is_none() && self.acl_mosquitto.is_none()
    }
}
