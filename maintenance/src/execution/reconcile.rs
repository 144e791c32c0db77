//! Two records of one visit, written apart while the store could not be reached.

use super::state::{Execution, Phase, Stage, Track};
use crate::ledger::SlotEpoch;

/// How far a record is; the later step compares higher.
type Progress = (bool, bool, bool, usize, u32, u8);

/// The record that is to be believed: that of the slot which the ledger knows; of two, the one with the later step.
/// What cannot be taken back was done whatever the other says; otherwise a way back is later than a way forward.
/// None if neither belongs to the slot.
pub fn reconcile<'a>(
    ours: &'a Execution,
    theirs: &'a Execution,
    held: Option<SlotEpoch>,
) -> Option<&'a Execution> {
    let valid = |one: &&Execution| one.visit == ours.visit && one.epoch == held;
    let found = [ours, theirs].into_iter().filter(valid);
    // The first of two equals: they are equally far, and ours is at hand.
    found.reduce(|best, other| if progress(other) > progress(best) { other } else { best })
}

fn progress(one: &Execution) -> Progress {
    let over = one.is_over();
    match &one.stage {
        Stage::Going(at) | Stage::NeedsOperator { at, .. } => {
            let back = at.track != Track::Forward;
            let phase = match at.phase {
                Phase::Begun => 1,
                Phase::Probing => 0,
                Phase::Between => 2,
            };
            (over, one.crossed, back, at.place, at.attempt, phase)
        }
        Stage::Planned => (over, one.crossed, false, 0, 0, 0),
        Stage::Approved => (over, one.crossed, false, 0, 0, 1),
        Stage::Done | Stage::Cancelled | Stage::Failed { .. } | Stage::WrittenOff => {
            (over, one.crossed, false, usize::MAX, one.attempts, 3)
        }
    }
}
