//! What the scheduler's metrics tell of the plan and of the ledger.

use std::time::Duration;

use maintenance::HostState;
use maintenance::fleet::{Need, NeedKind, VisitId};
use maintenance::ledger::Slot;
use maintenance::operation::Visit;
use maintenance::planner::Plan;
use protocol::Wall;

use super::gates::closed;
use crate::control::ControlError;
use crate::metrics::{NO_CAMPAIGN, ProcessCounters, SlotState};
use crate::scheduler::thread::Scheduler;
use crate::scheduler::visits::VisitDocument;

/// Time between two looks at what is left.
const JUDGED: Duration = Duration::from_secs(5);

impl Scheduler {
    /// What was planned last, of these visits.
    pub(super) fn tell_plan(&self, plan: &Plan, visits: &[Visit], now: Wall) {
        show_plan(self.metrics.process(), plan, visits, now);
    }

    /// Who is not the scheduler has no plan.
    pub(super) fn tell_no_plan(&self) {
        let metrics = self.metrics.process();
        for gauge in [
            &metrics.planned_visits,
            &metrics.late_visits,
            &metrics.unplanned_visits,
            &metrics.plan_makespan,
            &metrics.plan_gap,
            &metrics.deadline_at_risk,
            &metrics.plan_churn,
        ] {
            gauge.set(0);
        }
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
        let domains = margin.domains.iter();
        let domains: Vec<_> =
            domains.map(|(domain, left)| (domain.full_name(), many(*left))).collect();
        self.metrics.scheduled().set_margins(&domains);
        let metrics = self.metrics.process();
        metrics.failure_budget_left.set(many(margin.failures.unwrap_or(0)));
        let Some((ledger, view)) = seen else { return Ok(()) };
        // Also while there is nothing to plan: what is wanted next finds them closed.
        let noted = self.note_gates(closed(&view.law(&ledger)), view.now);
        self.meet_needs(&view, &ledger).and(noted)
    }

    /// What the ledger holds, and who is missed.
    pub(in crate::scheduler) fn tell_ledger(&mut self) {
        let now = self.shared.now();
        let (mut slots, mut age, mut down) = (None, 0, 0);
        if self.watch.held(now.mono).is_some()
            && let Ok((ledger, _)) = self.documents.ledger()
            && let Ok(hosts) = self.hosts()
        {
            let held = ledger.slots().iter();
            slots = Some(held.map(|it| (state_of(it), self.campaign_of(it))).collect::<Vec<_>>());
            let oldest = ledger.slots().iter().map(|slot| slot.granted).min();
            age = oldest.map_or(0, |at| now.wall.0.saturating_sub(at.0) / 1000);
            let missed = hosts.iter().filter(|it| {
                let is_missed = it.host.state != HostState::Serving;
                is_missed && ledger.is_registered(&it.host) && ledger.slot(&it.host.id).is_none()
            });
            down = missed.count();
        }
        let metrics = self.metrics.process();
        metrics.slot_age.set(age);
        metrics.unplanned_down.set(many(down));
        self.metrics.scheduled().set_slots(slots.as_deref(), self.metrics.campaigns());
    }

    /// The campaign of the visit that holds a slot.
    fn campaign_of(&mut self, slot: &Slot) -> String {
        let key = slot.visit.as_ref().map(VisitDocument::key);
        let stored = key.and_then(|key| self.documents.get::<VisitDocument>(&key).ok().flatten());
        stored.map_or_else(|| NO_CAMPAIGN.to_owned(), |(visit, _)| visit.campaign())
    }
}

/// What this gateway needs of its operators.
pub(in crate::scheduler) fn tell_needs(metrics: &ProcessCounters, needs: &[Need]) {
    let of = |kind| many(needs.iter().filter(|need| need.kind == kind).count());
    metrics.needs_certificate.set(of(NeedKind::Certificate));
    metrics.needs_restart.set(of(NeedKind::Restart));
    metrics.needs_upgrade.set(of(NeedKind::Upgrade));
    metrics.needs_reboot.set(of(NeedKind::Reboot));
}

fn show_plan(metrics: &ProcessCounters, plan: &Plan, visits: &[Visit], now: Wall) {
    metrics.planned_visits.set(many(plan.entries.len()));
    let late = plan.entries.iter().filter(|entry| entry.late);
    metrics.late_visits.set(many(late.clone().count()));
    metrics.unplanned_visits.set(many(plan.unplanned.len()));
    let end = plan.entries.iter().map(|entry| entry.end).max().unwrap_or(now);
    let takes = |until: Wall| until.0.saturating_sub(now.0);
    metrics.plan_makespan.set(takes(end) / 1000);
    let (least, gap) = (takes(plan.lower_bound), end.0.saturating_sub(plan.lower_bound.0));
    metrics.plan_gap.set(gap.saturating_mul(1_000).checked_div(least).unwrap_or(0));
    metrics.plan_churn.set(many(plan.churn));
    let due = |id: &VisitId| visits.iter().any(|visit| visit.id == *id && visit.deadline.is_some());
    let placeless = plan.unplanned.iter().filter(|unplanned| due(&unplanned.visit));
    metrics.deadline_at_risk.set(many(late.count() + placeless.count()));
}

/// How far a slot's visit is; the last of what has happened to it.
const fn state_of(slot: &Slot) -> SlotState {
    if slot.failed.is_some() {
        SlotState::Failed
    } else if slot.verified.is_some() {
        SlotState::Verified
    } else if slot.crossed.is_some() {
        SlotState::Crossed
    } else if slot.verdict.is_some() {
        SlotState::Drained
    } else if slot.started.is_some() {
        SlotState::Draining
    } else {
        SlotState::Granted
    }
}

fn many(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use maintenance::fleet::{Load, Term};
    use maintenance::ledger::SlotClass;
    use maintenance::operation::Due;
    use maintenance::planner::{Entry, PlanId, Unplanned};
    use maintenance::{Counts, Interval, Outcome, SlotEpoch, Verdict};
    use protocol::{GatewayId, Incarnation};

    use super::*;
    use crate::metrics::Metrics;
    use crate::scheduler::visits::written_for_tests;

    fn id(name: &str) -> VisitId {
        VisitId::new(name).unwrap()
    }

    /// A visit, and until when it should be over.
    fn visit(name: &str, deadline: Option<u64>) -> Visit {
        let deadline = deadline.map(|at| Due { at: Wall(at), hard: false });
        Visit { deadline, ..written_for_tests(&id(name), "gw-1").planned.visit }
    }

    #[test]
    fn deadlines_at_risk_are_those_of_late_visits_and_of_those_without_a_place() {
        let host = GatewayId::new("gw-1").unwrap();
        let entry = |name: &str, end: u64, late| {
            let (visit, host) = (id(name), host.clone());
            let (start, end) = (Wall(1_000), Wall(end));
            Entry { visit, host, start, end, late, binding: None, suits: None }
        };
        let unplanned =
            |name: &str| Unplanned { visit: id(name), host: host.clone(), reasons: Vec::new() };
        let plan = Plan {
            id: PlanId(1),
            from: Wall(1_000),
            until: Wall(900_000),
            entries: vec![entry("late", 61_000, true), entry("early", 41_000, false)],
            unplanned: vec![unplanned("due"), unplanned("whenever")],
            lower_bound: Wall(49_000),
            infeasible: Vec::new(),
            churn: 1,
        };
        let visits = [
            visit("late", Some(60_000)),
            visit("early", Some(60_000)),
            visit("due", Some(60_000)),
            visit("whenever", None),
        ];
        let metrics = Metrics::new(0);
        show_plan(metrics.process(), &plan, &visits, Wall(1_000));
        let text = metrics.render();
        for line in [
            "deadline_at_risk 2",
            "planned_visits 2",
            "unplanned_visits 2",
            "plan_makespan_seconds 60",
            "plan_gap_ratio 0.250",
            "plan_churn 1",
        ] {
            let line = format!("tidegate_maintenance_{line}\n");
            assert!(text.contains(&line), "{line} in {text}");
        }
    }

    #[test]
    fn what_a_gateway_needs_is_shown_by_kind_until_it_needs_it_no_more() {
        let (metrics, detail) = (Metrics::new(0), String::new());
        let line = |kind: &str, number: u8| {
            format!("tidegate_maintenance_needs{{kind=\"{kind}\"}} {number}\n")
        };
        tell_needs(metrics.process(), &[Need { kind: NeedKind::Reboot, by: None, detail }]);
        let text = metrics.render();
        assert!(text.contains(&line("reboot", 1)) && text.contains(&line("restart", 0)), "{text}");
        tell_needs(metrics.process(), &[]);
        assert!(metrics.render().contains(&line("reboot", 0)));
    }

    #[test]
    fn a_slot_is_where_its_visit_has_come_last() {
        let (evidence, elapsed) = (Counts::default(), Duration::ZERO);
        let outcome = Outcome::Quiesced;
        let mut slot = Slot {
            host: GatewayId::new("gw-1").unwrap(),
            incarnation: Incarnation(1),
            epoch: SlotEpoch(1),
            term: Term(1),
            visit: None,
            asked: None,
            class: SlotClass::Drain,
            labels: std::collections::BTreeMap::new(),
            load: Load::default(),
            rate: None,
            fleet_rate: None,
            scopes: Vec::new(),
            granted: Wall(1),
            opening: Interval { from: Wall(0), to: Wall(9) },
            started: None,
            crossed: None,
            verdict: None,
            verified: None,
            verified_life: None,
            failed: None,
        };
        let mut seen = vec![state_of(&slot)];
        slot.started = Some(Wall(2));
        seen.push(state_of(&slot));
        slot.verdict =
            Some(Verdict { outcome, evidence, clients: 0, moved: 0, departed: 0, elapsed });
        seen.push(state_of(&slot));
        slot.crossed = Some(Wall(3));
        seen.push(state_of(&slot));
        slot.verified = Some(Wall(4));
        seen.push(state_of(&slot));
        slot.failed = Some(Wall(5));
        seen.push(state_of(&slot));
        use SlotState::{Crossed, Drained, Draining, Failed, Granted, Verified};
        assert_eq!(seen, [Granted, Draining, Drained, Crossed, Verified, Failed]);
    }
}
