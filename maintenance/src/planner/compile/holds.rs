//! When a visit is not to be, whatever calendars and limits say.

use protocol::Wall;

use super::jobs::Member;
use super::outlook::{Outlook, Presence};
use crate::calendar::Interval;
use crate::fleet::HostState;
use crate::ledger::FailureBudget;
use crate::operation::{Class, Operation, Visit};
use crate::planner::problem::Hold;
use crate::planner::reason::Reason;
use crate::policy::{Effective, Value};

/// What holds a visit that is not on its way, and why.
pub(super) fn holds(outlook: &Outlook<'_>, member: &Member<'_>, visit: &Visit) -> Vec<Hold> {
    let mut holds = Vec::new();
    let mut hold = |span: Option<Interval>, reason: Reason| {
        holds.extend(span.map(|span| Hold { span, reason }));
    };
    let (now, until) = (outlook.now, outlook.until());
    let to = |end: Wall| Interval::new(now, end.min(until));
    // Its own visit may have taken it away; the ledger knows.
    if outlook.ledger.slot(&visit.host).is_none() {
        match member.host.map(|host| outlook.presence(host)) {
            Some(Presence::Serves) => {}
            Some(Presence::Otherwise(state)) => {
                let blocker = doing(state).to_owned();
                hold(to(now.after(outlook.expected.settle)), Reason::HostBlocker { blocker });
            }
            Some(Presence::Silent) | None => hold(to(until), Reason::StaleReport),
        }
    }
    let answer = member.host.and_then(|host| outlook.answer(host));
    for blocker in answer.into_iter().flat_map(|answer| &answer.blockers) {
        let yields_to = member.effective.soft_yields_to.value;
        if blocker.hard || visit.waits_for(blocker, yields_to, until) {
            let reason = Reason::HostBlocker { blocker: blocker.code.clone() };
            hold(to(blocker.until.unwrap_or(until)), reason);
        }
    }
    if let Some(end) = (outlook.closed_until)(&member.effective) {
        hold(to(end), Reason::GateClosed);
    }
    if let Some(end) = spent_until(outlook, member) {
        hold(to(end), Reason::FailureBudget);
    }
    let approved = approved_until(outlook, member, visit);
    if let Some(end) = approved {
        hold(outlook.rest(end.max(now)), Reason::Approval);
    }
    for batch in &visit.batches {
        for done in outlook.finished {
            let earlier = done.batch.campaign == batch.campaign && done.batch.number < batch.number;
            if earlier {
                let reason = Reason::Soak { batch: done.batch.to_string() };
                hold(to(done.at.after(done.batch.soak)), reason);
            }
        }
    }
    holds
}

/// Until when too many visits have failed; none if one may fail yet.
fn spent_until(outlook: &Outlook<'_>, member: &Member<'_>) -> Option<Wall> {
    let spent = |budget: FailureBudget| {
        let of = outlook.ledger.failures_of(&budget.scope);
        let mut ends: Vec<Wall> = of.map(|failure| failure.at.after(budget.per)).collect();
        ends.retain(|end| outlook.now < *end);
        ends.sort_unstable_by(|a, b| b.cmp(a));
        ends.get(budget.max.max(1) - 1).copied()
    };
    member.host?;
    member.effective.failure_budgets().filter_map(spent).max()
}

/// Until when enough people agree to all of a visit; none if nobody has to.
fn approved_until(outlook: &Outlook<'_>, member: &Member<'_>, visit: &Visit) -> Option<Wall> {
    let operations = member.operations.iter().copied();
    consent(&member.effective, (visit, member.hosts), operations, outlook.now).map(|it| it.until)
}

/// What people have agreed to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::planner) struct Consent {
    /// Until when enough of them do; in the past if they do not.
    pub(in crate::planner) until: Wall,
    /// How many agree now to the operation that lacks most.
    pub(in crate::planner) given: usize,
    /// How many must.
    pub(in crate::planner) wanted: usize,
}

/// What people have agreed to of a visit that `hosts` are visited for; none if nobody has to.
pub(in crate::planner) fn consent<'o>(
    effective: &Effective,
    (visit, hosts): (&Visit, usize),
    operations: impl Iterator<Item = &'o Operation>,
    now: Wall,
) -> Option<Consent> {
    let of_one = |operation: &Operation| {
        let facts = |name: &str| fact(operation, (visit, hosts), name);
        let (wanted, valid) = effective.approvers(&facts);
        let wanted = usize::try_from(wanted).ok().filter(|wanted| *wanted > 0)?;
        let valid = valid.unwrap_or_default();
        // Who agrees twice agrees once, and for as long as the second time says.
        let mut ends = std::collections::BTreeMap::<&str, Wall>::new();
        for approval in operation.approvals.iter().filter(|approval| approval.at <= now) {
            let end = ends.entry(&approval.actor).or_default();
            *end = (*end).max(approval.at.after(valid));
        }
        let mut ends: Vec<Wall> = ends.into_values().collect();
        ends.sort_unstable_by(|a, b| b.cmp(a));
        let until = ends.get(wanted - 1).copied().unwrap_or(Wall(0));
        let given = ends.iter().filter(|end| now < **end).count();
        Some(Consent { until, given, wanted })
    };
    operations.filter_map(of_one).min_by_key(|consent| consent.until)
}

/// What an approval may depend on.
fn fact(operation: &Operation, (visit, hosts): (&Visit, usize), name: &str) -> Option<Value> {
    let number = |number: usize| u32::try_from(number).ok().map(|n| Value::Number(f64::from(n)));
    match name {
        "class" => Some(Value::Word(match visit.class {
            Class::Hot => "hot",
            Class::InPlace => "in_place",
            Class::Drain => "drain",
            Class::Absent => "absent",
        })),
        "kind" => Some(Value::Word(operation.kind.name())),
        "hosts" => number(hosts),
        "priority" => Some(Value::Number(f64::from(visit.priority))),
        "ops" => number(visit.operations.len()),
        _ => None,
    }
}

const fn doing(state: HostState) -> &'static str {
    match state {
        HostState::Joining => "joining",
        HostState::Serving => "serving",
        HostState::Announced => "announced",
        HostState::Draining => "draining",
        HostState::Quiesced => "quiesced",
        HostState::InMaintenance => "in maintenance",
        HostState::Warming { .. } => "warming",
        HostState::Suspect => "suspect",
        HostState::Lost => "lost",
        HostState::Retired => "retired",
    }
}
