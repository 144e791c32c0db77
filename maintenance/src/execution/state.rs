//! Where a visit stands.

use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use super::course::{Course, PlannedStep};
use super::journal::{End, StepRecord};
use super::step::Step;
use crate::calendar::Interval;
use crate::fleet::{Term, VisitId};
use crate::ledger::{SlotClass, SlotEpoch};
use crate::record;

/// One visit on its way. One record of the store, written by compare-and-set.
///
/// ```text
///  Planned ─► Approved ─[grant]─► Going ─► Done
///     ▲                             │ │ ▲
///     │ the window ended, the law,  │ │ │ retry, skip, came back
///     └──── or the host ◄──── back ─┘ ▼ │
///                 │            NeedsOperator ─► WrittenOff
///                 └─► Cancelled, Failed
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Execution {
    pub(super) visit: VisitId,
    #[serde(with = "record::gateway")]
    pub(super) host: GatewayId,
    pub(super) course: Course,
    pub(super) stage: Stage,
    pub(super) epoch: Option<SlotEpoch>,
    pub(super) term: Term,
    #[serde(with = "record::incarnation")]
    pub(super) life: Incarnation,
    pub(super) opening: Option<Interval>,
    /// Whether the ledger let it start.
    pub(super) started: bool,
    /// Whether a step was begun that cannot be taken back.
    pub(super) crossed: bool,
    pub(super) paused: bool,
    /// The last step that was ever begun on the way forward.
    pub(super) reached: usize,
    pub(super) attempts: u32,
    pub(super) journal: Vec<StepRecord>,
}

/// Where a visit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Stage {
    /// In a plan.
    Planned,
    /// Agreed to; waits for a slot if it needs one.
    Approved,
    /// At a step; the first is the host's own word.
    Going(At),
    /// At a step that a person has to decide about. The slot stays.
    NeedsOperator {
        /// Where.
        at: At,
        /// Why.
        fault: Fault,
    },
    /// All is done and the slot is released.
    Done,
    /// Somebody called it off; nothing was left behind.
    Cancelled,
    /// It failed before anything was done that cannot be taken back; nothing was left behind.
    Failed {
        /// Why, for programs.
        code: String,
    },
    /// A person gave the host up for lost.
    WrittenOff,
}

/// One attempt of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct At {
    /// Forward or back.
    pub track: Track,
    /// Its place among the steps of the track.
    pub place: usize,
    /// Which attempt, counted over the whole visit.
    pub attempt: u32,
    /// How often this step has been tried.
    pub tries: u32,
    /// Since when.
    #[serde(rename = "since_ms", with = "record::wall")]
    pub since: Wall,
    /// When it has taken too long, or has waited long enough.
    #[serde(rename = "deadline_ms", with = "record::wall")]
    pub deadline: Wall,
    /// What is known of it.
    pub phase: Phase,
    /// Whether the rest of the drain is moved without credits.
    pub forced: bool,
}

/// Which way.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Track {
    /// Towards the work and on.
    Forward,
    /// Back to where the host was, undoing what was begun.
    Back {
        /// The last step that was begun.
        reached: usize,
        /// Why.
        because: Because,
    },
}

/// Why a visit turns back.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Because {
    /// Somebody called it off.
    Cancelled {
        /// Who.
        by: String,
    },
    /// The window ended.
    WindowEnd,
    /// The drain took too long.
    TimedOut,
    /// The law does not allow it any more.
    Refused {
        /// What the ledger said.
        why: String,
    },
    /// Its host does not agree.
    Declined {
        /// What speaks against it, for programs.
        code: String,
    },
    /// A step failed.
    Failed {
        /// Why, for programs.
        code: String,
    },
}

/// What is known of a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Phase {
    /// It was begun.
    Begun,
    /// Somebody looks whether it was done, after a crash.
    Probing,
    /// It has ended, and the next begins when the visit goes on.
    Between,
}

/// What a person has to decide about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Fault {
    /// A step failed as often as it may.
    Failed {
        /// Why, for programs.
        code: String,
    },
    /// A step took too long.
    TimedOut,
    /// Nobody can tell whether a step was done that must not be done twice.
    Unknown,
    /// The host is gone, or did not come back in time.
    Lost,
}

/// Why bytes are no execution.
#[derive(Debug, thiserror::Error)]
#[error("execution record is damaged")]
pub struct InvalidExecution(#[source] serde_json::Error);

impl Execution {
    /// A visit that was planned.
    pub const fn new(visit: VisitId, host: GatewayId, course: Course) -> Self {
        Self {
            visit,
            host,
            course,
            stage: Stage::Planned,
            epoch: None,
            term: Term(0),
            life: Incarnation(0),
            opening: None,
            started: false,
            crossed: false,
            paused: false,
            reached: 0,
            attempts: 0,
            journal: Vec::new(),
        }
    }

    /// Reads a stored record.
    ///
    /// # Errors
    /// [`InvalidExecution`] if it was not written by [`Self::encode`].
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidExecution> {
        serde_json::from_slice(bytes).map_err(InvalidExecution)
    }

    /// The record to store.
    ///
    /// # Errors
    /// [`InvalidExecution`] if it cannot be written; our fault.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidExecution> {
        serde_json::to_vec(self).map_err(InvalidExecution)
    }

    /// Which visit.
    pub const fn visit(&self) -> &VisitId {
        &self.visit
    }

    /// Whose.
    pub const fn host(&self) -> &GatewayId {
        &self.host
    }

    /// What is done.
    pub const fn course(&self) -> &Course {
        &self.course
    }

    /// Where it stands.
    pub const fn stage(&self) -> &Stage {
        &self.stage
    }

    /// Its slot, while it holds one.
    pub const fn epoch(&self) -> Option<SlotEpoch> {
        self.epoch
    }

    /// The reign that its slot was granted in.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// The life of the host that was last heard of.
    pub const fn life(&self) -> Incarnation {
        self.life
    }

    /// Whether something was begun that cannot be taken back.
    pub const fn is_past_return(&self) -> bool {
        self.crossed
    }

    /// Whether the host, when its process starts, must not accept clients: it has been drained for work that has
    /// begun and has not passed its checks. It is read before a port opens, so that a life that begins in the middle
    /// of the work has nothing to lose.
    pub fn stays_out(&self) -> bool {
        let before_warming = match self.step() {
            Some(Step::Operate | Step::Away | Step::Hold | Step::Verify | Step::UndoHook) => true,
            Some(
                Step::PreCheck
                | Step::Announce
                | Step::Drain
                | Step::HandOff
                | Step::Quiesced
                | Step::Warm
                | Step::Soak
                | Step::Release
                | Step::Undrain,
            )
            | None => false,
        };
        before_warming && self.crossed && self.course.slot == Some(SlotClass::Drain)
    }

    /// Whether it waits for somebody to let it go on.
    pub const fn is_paused(&self) -> bool {
        self.paused
    }

    /// Whether nothing will happen any more.
    pub const fn is_over(&self) -> bool {
        match self.stage {
            Stage::Done | Stage::Cancelled | Stage::Failed { .. } | Stage::WrittenOff => true,
            Stage::Planned | Stage::Approved | Stage::Going(_) | Stage::NeedsOperator { .. } => {
                false
            }
        }
    }

    /// What was intended and what came of it, the oldest first.
    pub fn journal(&self) -> &[StepRecord] {
        &self.journal
    }

    /// How long one of its works took on the host, from its begin until the host was back; none if it was not done.
    pub fn worked(&self, work: usize) -> Option<Duration> {
        let own = |it: &&StepRecord| {
            it.work == work
                && it.track == Track::Forward
                && matches!(it.step, Step::Operate | Step::Away)
                && it.outcome.as_ref().is_some_and(|ended| ended.end == End::Done)
        };
        let done = self.journal.iter().filter(own);
        let from = done.clone().map(|it| it.intent).min()?;
        let to = done.filter_map(|it| it.outcome.as_ref()).map(|ended| ended.at).max()?;
        Some(Duration::from_millis(to.0.saturating_sub(from.0)))
    }

    /// Whether one of its works was left out since the ledger did not allow it any more, behind one that could not be taken back.
    pub fn has_left_out(&self, work: usize) -> bool {
        let mut own = self.journal.iter().rev();
        let last = own.find(|it| it.step == Step::Operate && it.work == work);
        let end = last.and_then(|last| last.outcome.as_ref()).map(|ended| &ended.end);
        self.stage == Stage::Done && matches!(end, Some(End::Refused { .. }))
    }

    /// How long it has gone on, from its last begin to what ended last; none if that begin is forgotten, or nothing has ended.
    pub fn length(&self) -> Option<Duration> {
        let begins = |it: &&StepRecord| it.track == Track::Forward && it.place == 0;
        let from = self.journal.iter().rev().find(begins)?.intent;
        let to = self.journal.iter().filter_map(|it| it.outcome.as_ref()).map(|it| it.at).max()?;
        Some(Duration::from_millis(to.0.saturating_sub(from.0)))
    }

    /// The attempt it is at.
    pub const fn at(&self) -> Option<&At> {
        match &self.stage {
            Stage::Going(at) | Stage::NeedsOperator { at, .. } => Some(at),
            Stage::Planned
            | Stage::Approved
            | Stage::Done
            | Stage::Cancelled
            | Stage::Failed { .. }
            | Stage::WrittenOff => None,
        }
    }

    /// Whether it should have been over by that moment: its opening has ended, and nothing was done that cannot be taken back.
    pub fn is_overdue(&self, at: Wall) -> bool {
        self.at().is_some() && !self.crossed && self.opening.is_some_and(|opening| opening.to <= at)
    }

    /// The step it is at.
    pub fn step(&self) -> Option<Step> {
        self.at().and_then(|at| self.planned(&at.track, at.place)).map(|planned| planned.step)
    }

    /// The step at a place.
    pub(super) fn planned(&self, track: &Track, place: usize) -> Option<PlannedStep> {
        match track {
            Track::Forward => self.course.steps.get(place).copied(),
            Track::Back { reached, .. } => self.way_back(*reached).get(place).copied(),
        }
    }
}
