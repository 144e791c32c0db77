//! Planning, by the gateway that holds the scheduler's lease.

use std::time::Duration;

use maintenance::operation::{OperationId, Visit};
use maintenance::planner::{PlannedVisit, Published};
use maintenance::policy::Effective;
use store::Expect;

use super::gates::Gates;
use super::look::{Look, PLAN};
use super::news::{NEWS, PlanNews};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::documents::{DocumentError, Documents};
use crate::scheduler::thread::Scheduler;

/// A plan is made again after this time even if nothing changed: time passes, and loads change.
const AGAIN: Duration = Duration::from_secs(30);

/// What the scheduler knows from one look to the next.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Planning {
    /// The end of the audit at which there was nothing to plan.
    idle: Option<u64>,
    /// What was planned last, and when it is to be planned again.
    seen: Option<(u64, Duration)>,
    /// When gates were closed.
    pub(super) gates: Gates,
    /// Whether what the scheduler before wrote of that is in it.
    pub(super) knows_gates: bool,
    /// When it was looked at last what is left, by the steady clock.
    pub(super) judged: Duration,
    /// The end of the audit and the plan that the agenda follows.
    pub(super) noted: Option<(u64, u64)>,
    /// Whether it has said that there is no plan; once is enough.
    is_silent: bool,
}

impl Scheduler {
    /// Plans if this gateway is the scheduler; what keeps it from that it says once.
    pub(in crate::scheduler) fn plan(&mut self) {
        let planned = self.try_plan();
        if let Err(why) = &planned
            && !self.planning.is_silent
        {
            tracing::warn!("the plan of maintenance stays as it is: {why}");
        }
        self.planning.is_silent = planned.is_err();
    }

    /// Plans if something changed, and publishes what is different.
    fn try_plan(&mut self) -> Result<(), ControlError> {
        let now = self.shared.now();
        let Some(term) = self.watch.held(now.mono) else {
            self.tell_no_plan();
            let judged = self.planning.judged;
            self.planning = Planning { judged, ..Planning::default() };
            return Ok(());
        };
        if self.planning.idle == Some(self.documents.audit_head()?.0.seq) {
            return Ok(());
        }
        let look = self.look_around()?;
        if look.is_idle() {
            self.planning.idle = Some(look.seq);
            return Ok(());
        }
        self.note_gates(look.closed(), look.now)?;
        let print = look.fingerprint();
        if self.planning.seen.is_some_and(|(seen, again)| seen == print && now.mono < again) {
            return Ok(());
        }
        let visits = look.visits()?;
        let closed_until =
            |effective: &Effective| self.planning.gates.closed_until(effective, look.now);
        let problem = look.problem(&visits, &closed_until);
        let plan = look.plan(&problem)?;
        self.tell_plan(&plan, &visits, look.now);
        let published = Published {
            revision: look.published.as_ref().map_or(1, |(old, _)| old.revision + 1),
            made: look.now,
            by: self.id.clone(),
            term,
            plan,
            visits: planned(&look, visits),
        };
        self.publish(&look, &published)?;
        self.planning.seen = Some((print, now.mono + AGAIN));
        Ok(())
    }

    /// Everything that a plan depends on.
    pub(super) fn look_around(&mut self) -> Result<Look, ControlError> {
        let statuses = self.hosts().map_err(unavailable)?;
        let now = self.shared.now().wall;
        Look::read(&mut self.documents, statuses, now)
    }

    fn publish(&mut self, look: &Look, plan: &Published) -> Result<(), ControlError> {
        let new = (plan.revision, plan.plan.churn);
        let (stands, expect) = match &look.published {
            None => (new, Some(Expect::Absent)),
            // A later reign has begun, and this gateway does not know yet.
            Some((old, _)) if old.term > plan.term => return Ok(()),
            Some((old, _)) if says_the_same(old, plan) => ((old.revision, 0), None),
            Some((_, rev)) => (new, Some(Expect::Rev(*rev))),
        };
        let mut puts = self.documents.stand_on(look, stands, &self.id)?;
        if let Some(expect) = expect {
            let plan_and_news = [
                Documents::put_of(PLAN, plan, expect),
                Documents::put_of(NEWS, &PlanNews::of(plan), Expect::Any),
            ];
            for put in plan_and_news {
                puts.push(put.map_err(unavailable)?);
            }
        }
        if puts.is_empty() {
            return Ok(());
        }
        match self.documents.write(puts) {
            // Somebody was quicker: the next look sees what.
            Ok(()) | Err(DocumentError::Conflict { .. }) => Ok(()),
            Err(error) => Err(unavailable(error)),
        }
    }
}

/// The visits with all that their hosts must be told.
fn planned(look: &Look, visits: Vec<Visit>) -> Vec<PlannedVisit> {
    let with_operations = |visit: Visit| {
        let find = |id: &OperationId| {
            look.operations.iter().find(|operation| operation.id == *id).cloned()
        };
        let operations = visit.operations.iter().filter_map(find).collect();
        PlannedVisit { visit, operations }
    };
    visits.into_iter().map(with_operations).collect()
}

fn says_the_same(old: &Published, new: &Published) -> bool {
    let of = |it: &Published| (it.plan.entries.clone(), it.plan.unplanned.clone());
    of(old) == of(new) && old.visits == new.visits
}
