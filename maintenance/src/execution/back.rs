//! The way back of a visit: what was begun is undone, the last first.

use std::time::Duration;

use super::course::PlannedStep;
use super::event::Ignored;
use super::journal::End;
use super::state::{Because, Execution, Phase, Track};
use super::step::Step;
use super::turn::Turn;
use crate::ledger::SlotClass;

/// How often making a host serve again is tried before somebody is asked.
const UNDRAIN_TRIES: u32 = 3;

impl Execution {
    /// Whether it can still be taken back: nothing was begun that cannot be, and it is not on its way back already.
    pub fn can_turn_back(&self) -> bool {
        let forward = self.at().is_some_and(|at| at.track == Track::Forward);
        forward && !self.crossed && self.step().is_some_and(|step| self.may_turn_back(step))
    }

    /// Whether the visit still goes towards its work, so that it can turn back; behind a drain without work it is
    /// on its way back already.
    pub(super) const fn may_turn_back(&self, step: Step) -> bool {
        matches!(step, Step::PreCheck) || step.is_volatile()
    }

    /// What is done is excluded from now on. It is planned anew; who is only held drained serves again, as when a window ends.
    pub(super) fn on_frozen(&self, why: &str, turn: &mut Turn) -> Result<(), Ignored> {
        let at = self.at().filter(|_| self.can_turn_back()).ok_or(Ignored::NotNow)?;
        let planned = self.planned(&at.track, at.place).ok_or(Ignored::NotNow)?;
        if planned.step == Step::Hold {
            if at.phase == Phase::Between {
                return Err(Ignored::NotNow);
            }
            self.on_done(at, planned, None, turn);
            return Ok(());
        }
        turn.close(at, End::Refused { why: why.to_owned() });
        turn.stop(at);
        turn.turn_back(Because::Refused { why: why.to_owned() });
        Ok(())
    }

    /// The steps back from the last one that was begun.
    pub(super) fn way_back(&self, reached: usize) -> Vec<PlannedStep> {
        let steps = &self.course.steps;
        let patience = steps.first().map_or(Duration::ZERO, |first| first.limit);
        let mut back = Vec::new();
        let failed = steps.get(reached).filter(|_| self.crossed);
        if failed.is_some() {
            back.push((Step::UndoHook, 1));
        }
        match self.course.slot {
            // Also if its life began anew meanwhile: it is the verdict that the slot is released on.
            Some(SlotClass::Drain) => {
                if self.crossed {
                    back.push((Step::Verify, 1));
                }
                back.push((Step::Undrain, UNDRAIN_TRIES));
            }
            // There is no verdict: the host's checks stand for it.
            Some(SlotClass::InPlace) => back.push((Step::Verify, 1)),
            // The host was never disturbed, but its work has failed.
            None if self.crossed => back.push((Step::Verify, 1)),
            None => {}
        }
        if self.course.slot.is_some() {
            back.push((Step::Release, 1));
        }
        let work = failed.map_or(0, |failed| failed.work);
        let planned = |(step, tries)| PlannedStep {
            step,
            work,
            limit: patience,
            estimate: Duration::ZERO,
            tries,
        };
        back.into_iter().map(planned).collect()
    }
}
