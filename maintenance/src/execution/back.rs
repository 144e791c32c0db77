//! The way back of a visit: what was begun is undone, the last first.

use std::time::Duration;

use super::course::PlannedStep;
use super::state::Execution;
use super::step::Step;
use crate::ledger::SlotClass;

/// How often making a host serve again is tried before somebody is asked.
const UNDRAIN_TRIES: u32 = 3;

impl Execution {
    /// The steps back from the last one that was begun.
    pub(super) fn way_back(&self, reached: usize) -> Vec<PlannedStep> {
        let steps = &self.course.steps;
        let patience = steps.first().map_or(Duration::ZERO, |first| first.limit);
        let begun = steps.iter().take(reached + 1);
        let mut back = Vec::new();
        let failed = steps.get(reached).filter(|_| self.crossed);
        if begun.clone().any(|begun| begun.step == Step::PreHook) || failed.is_some() {
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
