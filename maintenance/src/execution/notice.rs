//! What those who subscribe are told of a visit: from what its journal says, so that whoever looks seldom leaves nothing out.

use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::journal::{End, StepRecord};
use super::state::{Execution, Fault, Stage, Track};
use super::step::Step;
use crate::fleet::VisitId;
use crate::record;

/// What has come of a visit of a gateway, or of a drain beside the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Notice {
    /// Which gateway.
    #[serde(with = "record::gateway")]
    pub gateway: GatewayId,
    /// Which visit; none for a drain beside the plan.
    pub visit: Option<VisitId>,
    /// What has come of it.
    pub state: NoticeState,
    /// Since when, in milliseconds since 1970.
    #[serde(rename = "at_ms", with = "record::wall")]
    pub at: Wall,
    /// Grows within one visit.
    pub attempt: u32,
    /// Until when the window is open in which it is done.
    #[serde(rename = "until_ms", with = "record::maybe_wall")]
    pub until: Option<Wall>,
    /// Why it stands still, was called off or failed.
    pub why: Option<String>,
}

/// What has come of a visit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoticeState {
    /// Clients will be moved.
    Announced,
    /// Clients are moved, or the work has begun where none are.
    Started,
    /// It stands still until somebody goes on with it.
    Held,
    /// It is done, and the gateway serves.
    Ended,
    /// It was given up, and the gateway serves. It may be tried again.
    CalledOff,
    /// It was not done.
    Failed,
}

impl Execution {
    /// What there is to tell of it, in order; the last is how it stands, if that is anything.
    pub fn notices(&self) -> Vec<Notice> {
        let mut told: Vec<Notice> = Vec::new();
        let drains = self.course.steps.iter().any(|it| it.step == Step::Drain);
        for (place, record) in self.journal.iter().enumerate() {
            let state = match (&record.track, record.step) {
                (Track::Forward, Step::Announce) => NoticeState::Announced,
                (Track::Forward, Step::Drain) => NoticeState::Started,
                (Track::Forward, Step::Operate) if !drains => NoticeState::Started,
                // Another try: the one before was given up.
                (Track::Forward, Step::PreCheck) if is_open(&told) => NoticeState::CalledOff,
                (Track::Forward | Track::Back { .. }, _) => continue,
            };
            let before = place.checked_sub(1).and_then(|before| self.journal.get(before));
            let given_up = state == NoticeState::CalledOff;
            let why = before.filter(|_| given_up).and_then(why);
            if told.last().is_none_or(|last| last.state != state) {
                told.push(self.notice(state, record.attempt, (record.intent, why)));
            }
        }
        let (state, why) = match &self.stage {
            Stage::Going(_) if self.paused => {
                (NoticeState::Held, Some("an operator holds it".into()))
            }
            Stage::NeedsOperator { fault, .. } => (NoticeState::Held, Some(of_fault(fault))),
            Stage::Going(_) => return told,
            Stage::Planned | Stage::Approved if !is_open(&told) => {
                return told;
            }
            Stage::Planned | Stage::Approved | Stage::Cancelled => {
                (NoticeState::CalledOff, self.journal.iter().rev().find_map(why))
            }
            Stage::Done => (NoticeState::Ended, None),
            Stage::Failed { code } => (NoticeState::Failed, Some(code.clone())),
            Stage::WrittenOff => (NoticeState::Failed, Some("the gateway was written off".into())),
        };
        let last = self.journal.last();
        let since = last.map(|it| it.outcome.as_ref().map_or(it.intent, |ended| ended.at));
        let at = self.at().map(|at| at.since).or(since).unwrap_or(Wall(0));
        told.push(self.notice(state, last.map_or(0, |it| it.attempt), (at, why)));
        told
    }

    /// Why it stands still, is in the plan again, or was not done, with what its work said of it; none while it goes on, and when
    /// it is done.
    pub fn why(&self) -> Option<String> {
        let given_up = || self.journal.iter().rev().find_map(why);
        let why = match &self.stage {
            // What declines, or cannot be done, before anybody is told of it, too.
            Stage::Planned | Stage::Approved => given_up()?,
            Stage::Going(_)
            | Stage::NeedsOperator { .. }
            | Stage::Done
            | Stage::Cancelled
            | Stage::Failed { .. }
            | Stage::WrittenOff => self.notices().pop()?.why?,
        };
        let said = self.failed_last().and_then(|it| it.output.as_deref());
        Some(said.map_or_else(|| why.clone(), |said| format!("{why}: {said}")))
    }

    /// The step that it failed at; not what was seen of the host afterwards.
    fn failed_last(&self) -> Option<&StepRecord> {
        match &self.stage {
            Stage::NeedsOperator { .. } => self.journal.last(),
            Stage::Failed { .. } => self.journal.iter().rev().find(|it| {
                let end = it.outcome.as_ref().map(|ended| &ended.end);
                it.track == Track::Forward
                    && matches!(end, Some(End::Failed { .. } | End::TimedOut))
            }),
            Stage::Planned
            | Stage::Approved
            | Stage::Going(_)
            | Stage::Done
            | Stage::Cancelled
            | Stage::WrittenOff => None,
        }
    }

    /// How it stands, in words: `failed: exit_3`, `needs an operator at verify: it took too long`.
    pub fn told(&self) -> String {
        let stage = match &self.stage {
            Stage::Planned => "planned",
            Stage::Approved => "approved",
            Stage::Going(_) => "goes on",
            Stage::NeedsOperator { .. } => "needs an operator",
            Stage::Done => "done",
            Stage::Cancelled => "called off",
            Stage::Failed { .. } => "failed",
            Stage::WrittenOff => "written off",
        };
        let at = self.step().and_then(|step| serde_json::to_value(step).ok());
        let at = at.as_ref().and_then(|step| step.as_str()).map(|step| format!(" at {step}"));
        let at = at.unwrap_or_default();
        let why = self.why().map(|why| format!(": {why}")).unwrap_or_default();
        format!("{stage}{at}{why}")
    }

    fn notice(
        &self,
        state: NoticeState,
        attempt: u32,
        (at, why): (Wall, Option<String>),
    ) -> Notice {
        Notice {
            gateway: self.host.clone(),
            visit: Some(self.visit.clone()),
            state,
            at,
            attempt,
            until: self.opening.map(|opening| opening.to),
            why,
        }
    }
}

impl NoticeState {
    /// Whether nothing more follows for now.
    pub const fn is_over(self) -> bool {
        match self {
            Self::Ended | Self::CalledOff | Self::Failed => true,
            Self::Announced | Self::Started | Self::Held => false,
        }
    }
}

/// What of `all`, in the order of time, comes behind what was told last.
pub fn untold(all: &[Notice], last: Option<&Notice>) -> Vec<Notice> {
    let Some(last) = last else {
        // Who was never told anything is told of the newest visit.
        let newest = all.last().map(|newest| newest.visit.clone());
        return all.iter().filter(|it| Some(&it.visit) == newest.as_ref()).cloned().collect();
    };
    let same =
        |it: &Notice| (&it.visit, it.state, it.attempt) == (&last.visit, last.state, last.attempt);
    if let Some(place) = all.iter().rposition(same) {
        return all.iter().skip(place + 1).cloned().collect();
    }
    let later: Vec<Notice> = all.iter().filter(|it| it.at > last.at).cloned().collect();
    // What goes on after it was held has nothing in its journal that is newer.
    let goes_on = |now: &&Notice| now.visit == last.visit && now.state != last.state;
    if later.is_empty() { all.last().filter(goes_on).cloned().into_iter().collect() } else { later }
}

/// Whether something was begun and not ended.
fn is_open(told: &[Notice]) -> bool {
    told.last().is_some_and(|last| !last.state.is_over())
}

/// Why a step ended otherwise than well.
fn why(record: &StepRecord) -> Option<String> {
    let ended = record.outcome.as_ref()?;
    match &ended.end {
        End::Refused { why } => Some(why.clone()),
        End::Failed { code } => Some(code.clone()),
        End::Declined { code, .. } => Some(format!("the gateway declines: {code}")),
        End::TimedOut => Some("it took too long".to_owned()),
        End::Stopped => Some("it was called off".to_owned()),
        End::Done | End::Unknown | End::Skipped { .. } => None,
    }
}

fn of_fault(fault: &Fault) -> String {
    match fault {
        Fault::Failed { code } => code.clone(),
        Fault::TimedOut => "it took too long".to_owned(),
        Fault::Unknown => "nobody knows what became of its work".to_owned(),
        Fault::Lost => "the gateway does not answer".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Event, Order};
    use super::super::tests::{at, end, fail, on, order, upgrade};
    use super::*;

    fn states(told: &[Notice]) -> Vec<NoticeState> {
        told.iter().map(|it| it.state).collect()
    }

    /// Carried on to its end, from wherever it is.
    fn ended(mut state: Execution) -> Execution {
        let mut now = 100_000;
        while !state.is_over() {
            now += 10_000;
            if state.step().is_some_and(Step::is_run) {
                end(&mut state, now);
            } else {
                on(&mut state, now, &Event::Tick);
            }
        }
        state
    }

    #[test]
    fn a_visit_is_announced_and_started_and_ended() {
        use NoticeState::{Announced, Ended, Started};
        assert_eq!(states(&at(upgrade(), Step::PreCheck).notices()), []);
        assert_eq!(states(&at(upgrade(), Step::Announce).notices()), [Announced]);
        let begun = at(upgrade(), Step::Operate);
        assert_eq!(states(&begun.notices()), [Announced, Started]);
        let all = ended(begun).notices();
        assert_eq!(states(&all), [Announced, Started, Ended]);
        assert!(all.windows(2).all(|pair| pair[0].at <= pair[1].at), "{all:?}");
    }

    #[test]
    fn what_failed_is_told_with_what_the_work_said() {
        let mut state = at(upgrade(), Step::Operate);
        assert_eq!((state.told().as_str(), state.why()), ("goes on at operate", None));
        fail(&mut state, 2_000);
        state.journal.last_mut().unwrap().output = Some("it went wrong".into());
        assert_eq!(state.told(), "needs an operator at operate: exit 1: it went wrong");
        on(&mut state, 3_000, &order(Order::Skip));
        state.journal.last_mut().unwrap().output = Some("all is well".into());
        assert_eq!(ended(state).told(), "done");
    }

    #[test]
    fn what_was_given_up_before_anybody_was_told_says_why() {
        let mut state = at(upgrade(), Step::PreCheck);
        fail(&mut state, 2_000);
        assert_eq!((state.told().as_str(), state.notices()), ("planned: exit 1", Vec::new()));
    }

    #[test]
    fn what_is_held_is_told_and_that_it_goes_on() {
        let going = at(upgrade(), Step::Drain);
        let mut held = going.clone();
        on(&mut held, 2_000, &order(Order::Pause));
        let told = held.notices();
        assert_eq!(told.last().map(|it| it.state), Some(NoticeState::Held));
        assert_eq!(untold(&told, told.last()), []);
        let goes_on = untold(&going.notices(), told.last());
        assert_eq!(states(&goes_on), [NoticeState::Started]);
    }

    #[test]
    fn who_looks_seldom_is_told_everything_once() {
        let all = ended(at(upgrade(), Step::Operate)).notices();
        assert_eq!(untold(&all, None), all);
        assert_eq!(untold(&all, all.first()), all[1..]);
        assert_eq!(untold(&all, all.last()), []);
        assert_eq!(untold(&[], all.last()), []);
        let other = VisitId::new("v-2").unwrap();
        let named = |it: &Notice| Notice { visit: Some(other.clone()), ..it.clone() };
        let next: Vec<Notice> = all.iter().map(named).collect();
        let both: Vec<Notice> = all.iter().chain(&next).cloned().collect();
        assert_eq!(untold(&both, all.last()), next);
        let forgotten = Notice { at: Wall(0), ..all[2].clone() };
        assert_eq!(untold(&next, Some(&forgotten)), next);
    }

    #[test]
    fn what_is_called_off_says_so() {
        let mut off = at(upgrade(), Step::Drain);
        on(&mut off, 2_000, &order(Order::Abort));
        let told = ended(off).notices();
        let last = told.last().unwrap();
        assert_eq!(last.state, NoticeState::CalledOff);
        let text = serde_json::to_string(last).unwrap();
        assert_eq!(serde_json::from_str::<Notice>(&text).unwrap(), *last);
    }
}
