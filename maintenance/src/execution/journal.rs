//! What was intended, and what came of it.

use protocol::{Incarnation, Wall};
use serde::{Deserialize, Serialize};

use super::state::Track;
use super::step::Step;
use crate::fleet::Preferred;
use crate::ledger::SlotEpoch;
use crate::record;

/// How many records an execution keeps; the oldest that have ended are forgotten.
pub(super) const KEPT: usize = 256;

/// One attempt of one step: stored as an intent before it is begun, completed when it has ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepRecord {
    /// Forward or back.
    pub track: Track,
    /// Its place among the steps of the track.
    pub place: usize,
    /// Which step.
    pub step: Step,
    /// Which work, if it belongs to one.
    pub work: usize,
    /// Numbers all attempts of the visit.
    pub attempt: u32,
    /// The slot that allowed it.
    pub epoch: Option<SlotEpoch>,
    /// The life of the host that it was begun in, or went on in after a crash.
    #[serde(with = "record::incarnation")]
    pub life: Incarnation,
    /// When it was intended.
    #[serde(rename = "intent_ms", with = "record::wall")]
    pub intent: Wall,
    /// What came of it, once that is known.
    pub outcome: Option<Ended>,
    /// What is known about it besides: the last of what a program said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
}

/// When an attempt ended, and how.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ended {
    /// When.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
    /// How.
    pub end: End,
}

/// Adds a record; beyond [`KEPT`] the oldest that has ended is forgotten.
pub(super) fn keep(journal: &mut Vec<StepRecord>, record: StepRecord) {
    if journal.len() >= KEPT
        && let Some(oldest) = journal.iter().position(|old| old.outcome.is_some())
    {
        journal.remove(oldest);
    }
    journal.push(record);
}

/// How an attempt ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum End {
    /// It did what it should.
    Done,
    /// It did not.
    Failed {
        /// Why, for programs.
        code: String,
    },
    /// The host did not agree.
    Declined {
        /// What speaks against it, for programs.
        code: String,
        /// When that is probably over.
        #[serde(rename = "until_ms", with = "record::maybe_wall")]
        until: Option<Wall>,
        /// When it would suit the host, if that is why.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        preferred: Vec<Preferred>,
    },
    /// It took too long.
    TimedOut,
    /// Somebody or something turned the visit back, or began it anew.
    Stopped,
    /// The ledger did not allow it any more.
    Refused {
        /// Why.
        why: String,
    },
    /// Nobody can tell what became of it.
    Unknown,
    /// A person decided to go on without it.
    Skipped {
        /// Who.
        by: String,
    },
}
