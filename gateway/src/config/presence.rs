//! What is remembered about who is there.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::settings::section;

section! {
    /// Who is there: kept in the store with the session of each client, and told to who subscribes to `$aws/events/`.
    #[derive(Copy, Eq)]
    pub struct PresenceSettings in "presence" {
        /// Whose coming and going is remembered and told: nobody's (`off`), of those whose session outlives the connection (`persistent`), or of `all`. A connect writes its record with what it writes anyway.
        keep: KeepPresence = KeepPresence::All, "\"off\", \"persistent\" or \"all\"", "who asks whether a device is there wants a true answer";
        /// How long a client may take to come back that was moved, or whose gateway died, before it counts as gone and that is told.
        return_within_ms: u32 = 30_000, "milliseconds", "as long as its will waits: a device behind a slow radio is back by then" in 100..=3_600_000;
        /// A client that was away for longer begins again with version number 0.
        version_restarts_s: u32 = 3_600, "seconds", "as consumers of such events expect it of AWS" in 0..=31_536_000;
        /// Which clients become things when they connect for the first time, under their client id: none (`never`), or those that show a `certificate` of an authority that the listener trusts.
        create_things: CreateThings = CreateThings::Never, "\"never\" or \"certificate\"", "what is written down about devices is the operator's";
        /// From a client's first move by a drain on, the time in which its moves are counted together: the next is its second.
        moves_within_s: u32 = 86_400, "seconds", "policies say how often a device may be moved in a day" in 1..=31_536_000;
        /// How long the record of a client that is away is kept.
        forget_s: u32 = 604_800, "seconds", "a device that was off for a week of holidays still shows why" in 60..=315_360_000;
    }
}

/// Whose coming and going is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepPresence {
    /// Nobody's.
    Off,
    /// Of those whose session outlives the connection.
    Persistent,
    /// Everybody's.
    All,
}

/// Which clients become things.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CreateThings {
    /// None.
    Never,
    /// Those with a certificate.
    Certificate,
}

impl PresenceSettings {
    /// Nothing is remembered.
    pub fn off() -> Self {
        Self { keep: KeepPresence::Off, ..Self::default() }
    }

    /// Whether anybody's coming and going is remembered.
    pub fn is_on(&self) -> bool {
        self.keep != KeepPresence::Off
    }

    /// How long a client may take to come back from a move.
    pub fn return_within(&self) -> Duration {
        Duration::from_millis(self.return_within_ms.into())
    }

    /// How long moves of a client are counted together.
    pub fn moves_within(&self) -> Duration {
        Duration::from_secs(self.moves_within_s.into())
    }

    /// How long who is away is remembered.
    pub fn forget(&self) -> Duration {
        Duration::from_secs(self.forget_s.into())
    }
}
