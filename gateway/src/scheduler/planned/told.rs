//! What the scheduler's metrics tell of the plan and of the ledger.

use std::time::Duration;

use maintenance::HostState;
use maintenance::planner::Plan;
use protocol::Wall;

use super::gates::closed;
use crate::control::ControlError;
use crate::scheduler::thread::Scheduler;

/// Time between two looks at what is left.
const JUDGED: Duration = Duration::from_secs(5);

impl Scheduler {
    /// What was planned last.
    pub(super) fn tell_plan(&self, plan: &Plan, now: Wall) {
        let metrics = self.metrics.process();
        metrics.planned_visits.set(many(plan.entries.len()));
        metrics.late_visits.set(many(plan.entries.iter().filter(|entry| entry.late).count()));
        metrics.unplanned_visits.set(many(plan.unplanned.len()));
        let end = plan.entries.iter().map(|entry| entry.end).max().unwrap_or(now);
        let takes = |until: Wall| until.0.saturating_sub(now.0);
        metrics.plan_makespan.set(takes(end) / 1000);
        let (least, gap) = (takes(plan.lower_bound), end.0.saturating_sub(plan.lower_bound.0));
        metrics.plan_gap.set(gap.saturating_mul(100).checked_div(least).unwrap_or(0));
        metrics.plan_churn.set(many(plan.churn));
    }

    /// How much is left of what policies want to be left, and what hosts need. Looked at seldom, since it takes a look at every gateway.
    pub(in crate::scheduler) fn tell_margin(&mut self) -> Result<(), ControlError> {
        let now = self.shared.now();
        if now.mono < self.planning.judged + JUDGED {
            return Ok(());
        }
        self.planning.judged = now.mono;
        let seen = match self.watch.held(now.mono) {
            Some(_) => Some((self.documents.ledger()?.0, self.view()?)),
            None => None,
        };
        let margin = seen.as_ref().map(|(ledger, view)| view.margin(ledger)).unwrap_or_default();
        let metrics = self.metrics.process();
        metrics.min_available_margin.set(many(margin.hosts.unwrap_or(0)));
        metrics.failure_budget_left.set(many(margin.failures.unwrap_or(0)));
        let Some((ledger, view)) = seen else { return Ok(()) };
        // Also while there is nothing to plan: what is wanted next finds them closed.
        let noted = self.note_gates(closed(&view.law(&ledger)), view.now);
        self.meet_needs(&view, &ledger).and(noted)
    }

    /// What the ledger holds, and who is missed.
    pub(in crate::scheduler) fn tell_ledger(&mut self) {
        let now = self.shared.now();
        let (mut held, mut age, mut down) = (0, 0, 0);
        if self.watch.held(now.mono).is_some()
            && let Ok((ledger, _)) = self.documents.ledger()
            && let Ok(hosts) = self.hosts()
        {
            held = ledger.slots().len();
            let oldest = ledger.slots().iter().map(|slot| slot.granted).min();
            age = oldest.map_or(0, |at| now.wall.0.saturating_sub(at.0) / 1000);
            let missed = hosts.iter().filter(|it| {
                let is_missed = it.host.state != HostState::Serving;
                is_missed && ledger.is_registered(&it.host) && ledger.slot(&it.host.id).is_none()
            });
            down = missed.count();
        }
        let metrics = self.metrics.process();
        metrics.slots_held.set(many(held));
        metrics.slot_age.set(age);
        metrics.unplanned_down.set(many(down));
    }
}

fn many(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}
