//! Where a restart in place is, for operators; either process shows it.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

/// Who is to follow; the program that runs if nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RestartRequest {
    /// Another program, one of those that `restart.programs` lists.
    pub binary: Option<PathBuf>,
}

/// How far a restart in place is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestartStage {
    /// The successor reads what it needs; the old process does everything as ever.
    Preparing,
    /// The successor joins the fleet.
    Joining,
    /// The successor serves; the old process moves its clients to it.
    Moving,
    /// The old process has ended.
    Done,
    /// There is no successor; the process that was there serves.
    Failed,
}

impl RestartStage {
    /// The word used on the wire and in logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Preparing => "preparing",
            Self::Joining => "joining",
            Self::Moving => "moving",
            Self::Done => "done",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing follows.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Preparing | Self::Joining | Self::Moving => false,
            Self::Done | Self::Failed => true,
        }
    }
}

/// A restart in place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestartStatus {
    /// Id of the restart, unique in the fleet.
    pub id: String,
    /// How far it is.
    pub stage: RestartStage,
    /// Why it failed.
    pub detail: Option<String>,
    /// Process id of the successor, as soon as it has one.
    pub pid: Option<u32>,
    /// Clients that the old process still has.
    pub left: u64,
}

/// The restart that goes on, or the last one that this process had a part in.
#[derive(Debug, Default)]
pub struct Board(Mutex<Option<RestartStatus>>);

impl Board {
    /// What stands there.
    pub fn get(&self) -> Option<RestartStatus> {
        self.lock().clone()
    }

    /// Puts up another restart.
    pub(super) fn set(&self, status: RestartStatus) {
        *self.lock() = Some(status);
    }

    /// Writes on what stands there.
    pub(super) fn note(&self, note: impl FnOnce(&mut RestartStatus)) {
        if let Some(status) = self.lock().as_mut() {
            note(status);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<RestartStatus>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
