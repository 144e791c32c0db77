//! A host as it is, whatever anybody believes.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::execution::{Execution, Found, Step};
use crate::fleet::HostState;
use crate::verdict::{Counts, Outcome, Verdict};

/// The host as it is.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) life: u64,
    pub(super) state: HostState,
    pub(super) alive: bool,
    /// Attempts of programs that have begun, and that have ended.
    begun: BTreeSet<u32>,
    ended: BTreeSet<u32>,
}

/// What came of a step.
pub(super) enum Came {
    /// It ended.
    Done(Option<Verdict>),
    /// The host went away with whoever would report, and is back in a new life.
    Back,
}

impl Body {
    pub(super) const fn new() -> Self {
        Self {
            life: 1,
            state: HostState::Serving,
            alive: true,
            begun: BTreeSet::new(),
            ended: BTreeSet::new(),
        }
    }

    /// Its process starts anew; in the middle of a visit it stays out of service if the visit wants that.
    pub(super) fn reborn(&mut self, visit: Option<&Execution>) {
        self.life += 1;
        self.alive = true;
        let out = visit.is_some_and(Execution::stays_out);
        self.state = if out { HostState::Quiesced } else { HostState::Serving };
    }

    pub(super) const fn admit(&mut self, percent: u8) {
        self.state = match percent {
            100.. => HostState::Serving,
            admit => HostState::Warming { admit },
        };
    }

    pub(super) fn begin(&mut self, step: Step, attempt: u32) {
        if !step.is_repeatable() {
            self.begun.insert(attempt);
        }
        if step == Step::Drain {
            self.state = HostState::Draining;
        }
    }

    pub(super) fn end(&mut self, step: Step, absent: bool, attempt: u32) -> Came {
        if !step.is_repeatable() {
            self.ended.insert(attempt);
        }
        match step {
            Step::Announce => self.state = HostState::Announced,
            Step::Quiesced => {
                self.state = HostState::Quiesced;
                return Came::Done(Some(verdict(Outcome::Quiesced)));
            }
            Step::Undrain => {
                self.state = HostState::Serving;
                return Came::Done(Some(verdict(Outcome::Aborted)));
            }
            Step::Operate if absent => {
                self.life += 1;
                return Came::Back;
            }
            Step::Operate
            | Step::Drain
            | Step::PreCheck
            | Step::HandOff
            | Step::Hold
            | Step::Away
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release
            | Step::UndoHook => {}
        }
        Came::Done(None)
    }

    /// What somebody sees who looks.
    pub(super) fn probe(&self, step: Step, attempt: u32) -> Found {
        let is = |state, verdict| match self.state == state {
            true => Found::Done { verdict },
            false => Found::NotStarted,
        };
        match step {
            Step::Announce => is(HostState::Announced, None),
            // Whoever moved them is gone.
            Step::Drain => Found::NotStarted,
            Step::Quiesced => is(HostState::Quiesced, Some(verdict(Outcome::Quiesced))),
            Step::Undrain => is(HostState::Serving, Some(verdict(Outcome::Aborted))),
            Step::UndoHook | Step::Operate => {
                match (self.begun.contains(&attempt), self.ended.contains(&attempt)) {
                    (_, true) => Found::Done { verdict: None },
                    (true, false) => Found::Unknown,
                    (false, false) => Found::NotStarted,
                }
            }
            Step::PreCheck
            | Step::HandOff
            | Step::Hold
            | Step::Away
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release => Found::NotStarted,
        }
    }
}

fn verdict(outcome: Outcome) -> Verdict {
    let elapsed = Duration::from_secs(1);
    Verdict { outcome, evidence: Counts::default(), clients: 0, moved: 0, departed: 0, elapsed }
}
