//! What a step is, and what may be done about it.

use serde::{Deserialize, Serialize};

/// One step of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Step {
    /// Looks whether the host could be visited at all.
    PreCheck,
    /// Says that the host will go; it still accepts.
    Announce,
    /// Refuses new clients and moves those that are here.
    Drain,
    /// Gives away what the host does for the fleet, such as the role of the scheduler.
    HandOff,
    /// Takes the evidence that nothing is left.
    Quiesced,
    /// Leaves the host drained for a while.
    Hold,
    /// The work itself; cannot be taken back.
    Operate,
    /// Waits for the host to come back in a new life.
    Away,
    /// Checks the host.
    Verify,
    /// Admits more and more of the clients that want to come.
    Warm,
    /// Watches for a while.
    Soak,
    /// Gives the slot back on evidence.
    Release,
    /// Takes back what work has done that failed.
    UndoHook,
    /// Makes the host serve again without work.
    Undrain,
}

impl Step {
    /// Whether it cannot be taken back: the ledger is asked again before it.
    pub const fn is_irreversible(self) -> bool {
        matches!(self, Self::Operate)
    }

    /// Whether doing it twice is like doing it once. If nobody can tell whether one that is not was done, a person
    /// has to.
    pub const fn is_repeatable(self) -> bool {
        match self {
            Self::Operate | Self::UndoHook => false,
            Self::PreCheck
            | Self::Announce
            | Self::Drain
            | Self::HandOff
            | Self::Quiesced
            | Self::Hold
            | Self::Away
            | Self::Verify
            | Self::Warm
            | Self::Soak
            | Self::Release
            | Self::Undrain => true,
        }
    }

    /// Whether something is begun that reports its end; the others end by time or by what is seen.
    pub const fn is_run(self) -> bool {
        !matches!(self, Self::Hold | Self::Away | Self::Warm | Self::Soak | Self::Release)
    }

    /// Whether what it did ends with the life of the host's process.
    pub const fn is_volatile(self) -> bool {
        matches!(self, Self::Announce | Self::Drain | Self::HandOff | Self::Quiesced | Self::Hold)
    }

    /// Whether a named operator may leave it out. Never what protects sessions.
    pub const fn may_be_skipped(self) -> bool {
        match self {
            Self::Operate | Self::Verify | Self::Warm | Self::Soak | Self::UndoHook => true,
            Self::PreCheck
            | Self::Announce
            | Self::Drain
            | Self::HandOff
            | Self::Quiesced
            | Self::Hold
            | Self::Away
            | Self::Release
            | Self::Undrain => false,
        }
    }
}
