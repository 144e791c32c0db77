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
        if begun.clone().any(|begun| begun.step == Step::PreHook) {
            back.push((Step::UndoHook, 1));
        }
        match self.course.slot {
            // Also if its life began anew meanwhile: it is the verdict that the slot is released on.
            Some(SlotClass::Drain) => back.push((Step::Undrain, UNDRAIN_TRIES)),
            // There is no verdict: the host's checks stand for it.
            Some(SlotClass::InPlace) => back.push((Step::Verify, 1)),
            Some(SlotClass::Micro) | None => {}
        }
        back.push((Step::Release, 1));
        let planned = |(step, tries)| PlannedStep {
            step,
            work: 0,
            limit: patience,
            estimate: Duration::ZERO,
            tries,
        };
        back.into_iter().map(planned).collect()
    }
}
