//! A host as it is, for the tests that carry visits out on it.

use std::collections::BTreeMap;

use super::tests::SECOND;
use super::*;
use crate::fleet::HostState;
use crate::ledger::SlotClass;
use crate::verdict::{Counts, Outcome, Verdict};

/// The host as it is, whatever anybody believes.
#[derive(Debug, Clone)]
pub(super) struct Body {
    pub(super) life: u64,
    pub(super) state: HostState,
    /// How often each work took effect.
    pub(super) works: Vec<u32>,
    /// How often a program was run as an attempt.
    pub(super) runs: BTreeMap<u32, u32>,
    markers: BTreeMap<u32, Marker>,
    /// Whether a work that takes the host away has ended before the host goes.
    pub(super) goes_later: bool,
    /// Whether the host is about to go.
    pub(super) leaving: bool,
}

/// What a program's runner stores before it begins, and when it has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Marker {
    Begun,
    Ended,
}

/// A crash ends whatever is being done.
pub(super) struct Crash;

impl Body {
    pub(super) fn new(works: usize) -> Self {
        let (runs, markers) = (BTreeMap::new(), BTreeMap::new());
        let (works, goes_later, leaving) = (vec![0; works], false, false);
        Self { life: 1, state: HostState::Serving, works, runs, markers, goes_later, leaving }
    }

    /// Its process starts anew.
    pub(super) fn reborn(&mut self, stored: &Execution) {
        self.life += 1;
        self.leaving = false;
        let out = stored.stays_out();
        self.state = if out { HostState::Quiesced } else { HostState::Serving };
    }

    pub(super) fn admit(&mut self, percent: u8) {
        let warming = HostState::Warming { admit: percent };
        self.state = if percent == 100 { HostState::Serving } else { warming };
    }

    /// Whether a program has begun, in the middle of which everything may end.
    pub(super) fn begin(&mut self, step: Step, attempt: u32) -> bool {
        let program = !step.is_repeatable();
        if program {
            *self.runs.entry(attempt).or_default() += 1;
            self.markers.insert(attempt, Marker::Begun);
        }
        program
    }

    pub(super) fn end(
        &mut self,
        step: Step,
        work: usize,
        attempt: u32,
        state: &Execution,
    ) -> Result<Option<Verdict>, Crash> {
        match step {
            Step::Announce => self.state = HostState::Announced,
            Step::Drain => self.state = HostState::Draining,
            Step::Quiesced => {
                let drained = [HostState::Draining, HostState::Quiesced];
                assert!(drained.contains(&self.state), "{self:?}");
                self.state = HostState::Quiesced;
                return Ok(Some(verdict(Outcome::Quiesced)));
            }
            Step::Undrain => {
                self.state = HostState::Serving;
                return Ok(Some(verdict(Outcome::Aborted)));
            }
            Step::UndoHook => {
                self.markers.insert(attempt, Marker::Ended);
            }
            Step::Operate => {
                self.markers.insert(attempt, Marker::Ended);
                return self.operate(work, state).map(|()| None);
            }
            Step::PreCheck | Step::HandOff | Step::Verify => {}
            Step::Hold | Step::Away | Step::Warm | Step::Soak | Step::Release => unreachable!(),
        }
        Ok(None)
    }

    fn operate(&mut self, work: usize, state: &Execution) -> Result<(), Crash> {
        let drained = state.course().slot == Some(SlotClass::Drain);
        assert!(!drained || self.state == HostState::Quiesced, "{self:?}");
        self.works[work] += 1;
        if state.course().works[work].absent && self.goes_later {
            self.leaving = true;
        } else if state.course().works[work].absent {
            // The executor goes with its host, and the host stays out of service.
            self.life += 1;
            return Err(Crash);
        }
        Ok(())
    }

    pub(super) fn probe(&self, step: Step, attempt: u32) -> Found {
        let is = |state| match self.state == state {
            true => Found::Done { verdict: None },
            false => Found::NotStarted,
        };
        match step {
            Step::Announce => is(HostState::Announced),
            Step::Drain => is(HostState::Draining),
            Step::Quiesced if self.state == HostState::Quiesced => {
                Found::Done { verdict: Some(verdict(Outcome::Quiesced)) }
            }
            Step::Undrain => is(HostState::Serving),
            Step::UndoHook | Step::Operate => match self.markers.get(&attempt) {
                None => Found::NotStarted,
                Some(Marker::Begun) => Found::Unknown,
                Some(Marker::Ended) => Found::Done { verdict: None },
            },
            Step::PreCheck | Step::HandOff | Step::Quiesced | Step::Verify => Found::NotStarted,
            Step::Hold | Step::Away | Step::Warm | Step::Soak | Step::Release => unreachable!(),
        }
    }
}

fn verdict(outcome: Outcome) -> Verdict {
    let elapsed = SECOND;
    Verdict { outcome, evidence: Counts::default(), clients: 9, moved: 9, departed: 0, elapsed }
}
