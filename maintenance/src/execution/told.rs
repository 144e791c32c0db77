//! What is told of visits: each turn of one, so that where it stands follows from what was told alone.

use protocol::Incarnation;
use serde::{Deserialize, Serialize};

use super::journal::{End, Ended, StepRecord, keep};
use super::state::{Execution, Stage};
use crate::calendar::Interval;
use crate::fleet::{Term, VisitId};
use crate::ledger::SlotEpoch;
use crate::record;

/// One turn of a visit: where it stands now, and the steps that it has begun or ended with that. What programs said is not in it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitChange {
    visit: VisitId,
    /// Whether nothing that was told of a visit of that name before belongs to it.
    anew: bool,
    standing: Standing,
    steps: Vec<StepRecord>,
}

/// Where a visit stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Standing {
    stage: Stage,
    epoch: Option<SlotEpoch>,
    term: Term,
    #[serde(with = "record::incarnation")]
    life: Incarnation,
    opening: Option<Interval>,
    started: bool,
    crossed: bool,
    paused: bool,
    reached: usize,
    attempts: u32,
}

/// A visit, from nothing but what was told of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitTale {
    standing: Standing,
    journal: Vec<StepRecord>,
}

impl VisitChange {
    /// What they can be called.
    pub const NAMES: [&str; 4] = ["step.begun", "step.ended", "step.failed", "visit.changed"];

    /// What has happened to a visit since it stood as it did before, if it did; none if nothing has that is told.
    pub fn between(before: Option<&Execution>, after: &Execution) -> Option<Self> {
        let standing = Standing::of(after);
        let known = before.map(Execution::journal).unwrap_or_default();
        let is_known = |record: &StepRecord| {
            let old = known.iter().rev().find(|old| old.attempt == record.attempt);
            old.is_some_and(|old| says_the_same(old, record))
        };
        let changed = after.journal.iter().filter(|record| !is_known(record));
        let steps: Vec<_> =
            changed.map(|record| StepRecord { output: None, ..record.clone() }).collect();
        if steps.is_empty() && before.is_some_and(|before| Standing::of(before) == standing) {
            return None;
        }
        let (visit, anew) = (after.visit.clone(), before.is_none());
        Some(Self { visit, anew, standing, steps })
    }

    /// Which visit.
    pub const fn visit(&self) -> &VisitId {
        &self.visit
    }

    /// What it is, for programs: of several steps how the first of them went that has ended.
    pub fn name(&self) -> &'static str {
        let ends = || self.steps.iter().filter_map(|step| step.outcome.as_ref());
        let [begun, ended, failed, changed] = Self::NAMES;
        match () {
            () if ends().any(has_failed) => failed,
            () if ends().next().is_some() => ended,
            () if !self.steps.is_empty() => begun,
            () => changed,
        }
    }

    /// The visit with that; `tale` is what was told of it before.
    pub fn replay(self, tale: Option<VisitTale>) -> VisitTale {
        let journal = tale.filter(|_| !self.anew).map(|tale| tale.journal).unwrap_or_default();
        let mut tale = VisitTale { standing: self.standing, journal };
        for step in self.steps {
            match tale.journal.iter_mut().find(|known| known.attempt == step.attempt) {
                Some(known) => *known = step,
                None => keep(&mut tale.journal, step),
            }
        }
        tale
    }
}

impl VisitTale {
    /// Whether that is what is stored of it.
    pub fn is_of(&self, execution: &Execution) -> bool {
        let pairs = || self.journal.iter().zip(&execution.journal);
        self.standing == Standing::of(execution)
            && self.journal.len() == execution.journal.len()
            && pairs().all(|(told, stored)| says_the_same(told, stored))
    }

    /// Where it stands.
    pub const fn stage(&self) -> &Stage {
        &self.standing.stage
    }
}

impl Standing {
    fn of(execution: &Execution) -> Self {
        Self {
            stage: execution.stage.clone(),
            epoch: execution.epoch,
            term: execution.term,
            life: execution.life,
            opening: execution.opening,
            started: execution.started,
            crossed: execution.crossed,
            paused: execution.paused,
            reached: execution.reached,
            attempts: execution.attempts,
        }
    }
}

/// But for what programs said.
fn says_the_same(one: &StepRecord, other: &StepRecord) -> bool {
    // Named one by one, so that a new field cannot be forgotten here.
    let StepRecord { track, place, step, work, attempt, epoch, life, intent, outcome, output: _ } =
        one;
    (attempt, track, place, step, work)
        == (&other.attempt, &other.track, &other.place, &other.step, &other.work)
        && (epoch, life, intent, outcome)
            == (&other.epoch, &other.life, &other.intent, &other.outcome)
}

fn has_failed(ended: &Ended) -> bool {
    match &ended.end {
        End::Failed { .. }
        | End::Declined { .. }
        | End::TimedOut
        | End::Refused { .. }
        | End::Unknown => true,
        End::Done | End::Stopped | End::Skipped { .. } => false,
    }
}

#[cfg(test)]
mod tests {
    use protocol::Wall;

    use super::super::event::{Event, Order, Report};
    use super::super::step::Step;
    use super::super::tests::{at, end, on, order, planned, report, upgrade};
    use super::*;

    /// What is told of an event.
    fn told(state: &mut Execution, now: u64, event: &Event) -> VisitChange {
        let before = state.clone();
        on(state, now, event);
        VisitChange::between(Some(&before), state).unwrap()
    }

    #[test]
    fn a_turn_is_called_by_what_became_of_the_step_that_ended() {
        let mut state = planned(upgrade());
        let granted = at(upgrade(), Step::PreCheck);
        let begun = VisitChange::between(None, &granted).unwrap();
        assert_eq!((begun.name(), begun.anew, begun.steps.len()), ("step.begun", true, 1));
        assert_eq!(told(&mut state, 1, &Event::Approved).name(), "visit.changed");

        let mut state = granted;
        let before = state.clone();
        end(&mut state, 2_000);
        let ended = VisitChange::between(Some(&before), &state).unwrap();
        assert_eq!((ended.name(), ended.steps.len()), ("step.ended", 2), "and the next begins");
        assert_eq!(told(&mut state, 2_001, &order(Order::Pause)).name(), "visit.changed");
        on(&mut state, 2_002, &order(Order::Resume));
        let failed = report(&state, Report::Failed { code: "exit 1".into() });
        assert_eq!(told(&mut state, 2_003, &failed).name(), "step.failed");
    }

    #[test]
    fn what_a_program_says_is_not_told_and_nothing_is_told_of_nothing() {
        let mut state = at(upgrade(), Step::Operate);
        let before = state.clone();
        assert_eq!(VisitChange::between(Some(&before), &state), None);
        let (attempt, incarnation) = (state.at().unwrap().attempt, state.life());
        let said = Event::Said { attempt, incarnation, output: "secret".to_owned() };
        on(&mut state, 2_000, &said);
        assert_eq!(VisitChange::between(Some(&before), &state), None);
        let failed = report(&state, Report::Failed { code: "exit 1".into() });
        let change = told(&mut state, 2_001, &failed);
        assert!(!serde_json::to_string(&change).unwrap().contains("secret"));
    }

    #[test]
    fn a_visit_that_begins_anew_has_nothing_of_the_one_before_and_a_step_that_was_not_told_is_seen()
    {
        let mut state = at(upgrade(), Step::Drain);
        let mut tale = VisitChange::between(None, &state).unwrap().replay(None);
        assert!(tale.is_of(&state) && matches!(tale.stage(), Stage::Going(_)));
        let before = state.clone();
        end(&mut state, 60_000);
        assert!(!tale.is_of(&state), "nobody told of that");
        let then = state.clone();
        end(&mut state, 60_001);
        let next = VisitChange::between(Some(&then), &state).unwrap();
        assert!(!next.clone().replay(Some(tale.clone())).is_of(&state), "one was left out");
        tale = VisitChange::between(Some(&before), &then).unwrap().replay(Some(tale));
        tale = next.replay(Some(tale));
        assert!(tale.is_of(&state));
        let again = at(upgrade(), Step::PreCheck);
        assert!(VisitChange::between(None, &again).unwrap().replay(Some(tale)).is_of(&again));
        assert_eq!(again.journal().first().map(|first| first.intent), Some(Wall(1_000)));
    }
}
