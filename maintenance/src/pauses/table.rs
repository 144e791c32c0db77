//! Who pauses, and for what.

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use crate::record;

/// What a pause is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PauseFor {
    /// The store's log of changes moves into its file.
    Checkpoint,
    /// The store's file gives back what it does not need.
    Vacuum,
    /// The store is copied.
    Backup,
    /// Certificates are read again.
    Certificates,
}

impl PauseFor {
    /// Every one of them.
    pub const ALL: [Self; 4] = [Self::Checkpoint, Self::Vacuum, Self::Backup, Self::Certificates];

    /// As commands and metrics name it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Checkpoint => "checkpoint",
            Self::Vacuum => "vacuum",
            Self::Backup => "backup",
            Self::Certificates => "certificates",
        }
    }

    /// Whether it is done alone when there is no slot for too long: to put it off for ever would be worse.
    pub const fn is_necessary(self) -> bool {
        match self {
            Self::Checkpoint | Self::Backup | Self::Certificates => true,
            Self::Vacuum => false,
        }
    }
}

/// Who holds a pause.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum PauseHolder {
    /// One life of a gateway, for as long as its lease is good.
    Gateway {
        /// Its name.
        #[serde(with = "record::gateway")]
        id: GatewayId,
        /// Its life.
        #[serde(with = "record::incarnation")]
        life: Incarnation,
    },
    /// A command that is no gateway and so has no lease: it says until when it holds the pause, and says so again.
    Command {
        /// What it is called; different for each process.
        name: String,
        /// Until when.
        #[serde(rename = "until_ms", with = "record::wall")]
        until: Wall,
    },
}

impl PauseHolder {
    /// What operators call it.
    pub fn name(&self) -> &str {
        match self {
            Self::Gateway { id, .. } => id.as_str(),
            Self::Command { name, .. } => name,
        }
    }

    /// Whether it is the same one, whatever it says of its time.
    fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Command { name, .. }, Self::Command { name: others, .. }) => name == others,
            (Self::Gateway { .. }, Self::Gateway { .. }) => self == other,
            (Self::Gateway { .. }, Self::Command { .. })
            | (Self::Command { .. }, Self::Gateway { .. }) => false,
        }
    }
}

/// Permission for one piece of work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pause {
    /// Whose.
    pub by: PauseHolder,
    /// What for.
    #[serde(rename = "for")]
    pub what: PauseFor,
    /// Which one this is: grows with each.
    pub number: u64,
    /// When it began.
    #[serde(rename = "since_ms", with = "record::wall")]
    pub since: Wall,
}

/// All pauses of a fleet. One record of the store, written by compare-and-set on the revision that was read.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pauses {
    /// The number that was given last.
    last: u64,
    /// In the order of their numbers.
    held: Vec<Pause>,
}

/// A pause that has begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Begun {
    /// Its number.
    pub number: u64,
    /// Pauses that ended because those who held them are gone.
    pub left: Vec<Pause>,
}

/// Why there is no pause now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{} pauses for {}", by.name(), what.as_str())]
pub struct PauseRefused {
    /// Who pauses already; one of them.
    pub by: PauseHolder,
    /// What for.
    pub what: PauseFor,
}

/// The record is not what [`Pauses::encode`] wrote.
#[derive(Debug, thiserror::Error)]
#[error("record of pauses is damaged")]
pub struct InvalidPauses(#[source] serde_json::Error);

impl Pauses {
    /// Reads a stored record.
    ///
    /// # Errors
    /// [`InvalidPauses`].
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidPauses> {
        serde_json::from_slice(bytes).map_err(InvalidPauses)
    }

    /// The record to store.
    ///
    /// # Errors
    /// [`InvalidPauses`] if it cannot be written; our fault.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidPauses> {
        serde_json::to_vec(self).map_err(InvalidPauses)
    }

    /// All that are held, the oldest first.
    pub fn held(&self) -> &[Pause] {
        &self.held
    }

    /// Begins a pause, if fewer than `at_once` others pause. Those who hold one and do not live any more are forgotten first. What
    /// the same holder began for the same work before counts no more: its answer was lost.
    ///
    /// # Errors
    /// [`PauseRefused`]; nothing has changed then.
    pub fn begin(
        &mut self,
        by: &PauseHolder,
        what: PauseFor,
        (at_once, now): (usize, Wall),
        lives: impl Fn(&PauseHolder) -> bool,
    ) -> Result<Begun, PauseRefused> {
        let is_gone = |pause: &Pause| !pause.by.is(by) && !lives(&pause.by);
        // One holder may do several things at once: that is one pause to all others.
        let mut others: Vec<&Pause> = Vec::new();
        for pause in self.held.iter().filter(|pause| !pause.by.is(by) && !is_gone(pause)) {
            if !others.iter().any(|other| other.by.is(&pause.by)) {
                others.push(pause);
            }
        }
        if let Some(other) = others.first().filter(|_| others.len() >= at_once) {
            return Err(PauseRefused { by: other.by.clone(), what: other.what });
        }
        let left = self.held.iter().filter(|pause| is_gone(pause)).cloned().collect();
        self.held.retain(|pause| {
            let again = pause.by.is(by) && pause.what == what;
            !again && (pause.by.is(by) || lives(&pause.by))
        });
        self.last += 1;
        let number = self.last;
        self.held.push(Pause { by: by.clone(), what, number, since: now });
        Ok(Begun { number, left })
    }

    /// Ends a pause. Answers whether it was held still: others may have thought its holder gone.
    pub fn end(&mut self, by: &PauseHolder, number: u64) -> bool {
        let before = self.held.len();
        self.held.retain(|pause| !(pause.number == number && pause.by.is(by)));
        self.held.len() < before
    }

    /// Says of a pause that its holder goes on, until when that says. Answers whether it is held still.
    pub fn go_on(&mut self, by: &PauseHolder, number: u64) -> bool {
        let mut own = self.held.iter_mut().filter(|it| it.number == number && it.by.is(by));
        let Some(pause) = own.next() else { return false };
        pause.by.clone_from(by);
        true
    }
}
