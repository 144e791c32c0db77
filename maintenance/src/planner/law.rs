//! What must hold for one visit at one moment: asked at its grant, at its start and before whatever cannot be taken back.

use std::time::Duration;

use protocol::Wall;

use super::compile::{consent, words};
use super::published::PlannedVisit;
use crate::calendar::{Interval, Intervals, Zone};
use crate::fleet::{Host, HostState};
use crate::ledger::{Allowed, Approval, Gate, GrantRules, Ledger};
use crate::policy::{Effective, Facts, Freeze, PolicySet, Value};

/// What operators allow, and the fleet as it is.
#[derive(Debug, Clone, Copy)]
pub struct Law<'a> {
    /// Calendar time.
    pub now: Wall,
    /// What operators allow.
    pub policies: &'a PolicySet,
    /// What they exclude for the time being.
    pub freezes: &'a [Freeze],
    /// Every host that is known, whether it answers or not; those that were written off do not count.
    pub hosts: &'a [Host],
    /// Who may be disturbed already.
    pub ledger: &'a Ledger,
    /// What was measured that gates may depend on.
    pub facts: &'a Facts,
}

/// How far around a moment windows are looked for.
const AROUND: Duration = Duration::from_secs(15 * 24 * 3600);

impl Law<'_> {
    /// What all policies together say about a host.
    pub fn effective(&self, host: &Host) -> Effective {
        self.policies.effective(host, self.freezes)
    }

    /// What the ledger must heed for a visit of a host; `alike` hosts are visited for the same.
    pub fn rules(&self, host: &Host, planned: &PlannedVisit, alike: usize) -> GrantRules {
        let effective = self.effective(host);
        let operations = planned.operations.iter();
        let approval = match consent(&effective, (&planned.visit, alike), operations, self.now) {
            None => Approval::NotNeeded,
            Some(consent) if self.now < consent.until => Approval::Given,
            Some(consent) => Approval::Missing { given: consent.given, wanted: consent.wanted },
        };
        let gate = self.gate(&effective);
        let allowed = self.opening(host, planned).map_or(Allowed::Never, Allowed::Within);
        GrantRules { approval, gate, allowed, ..effective.grant_rules(host, self.registered()) }
    }

    /// The hosts that count. Nobody deletes what a host wrote about itself, so one that was written off is still known.
    pub fn registered(&self) -> impl Iterator<Item = &Host> + Clone {
        self.hosts.iter().filter(|host| self.ledger.is_registered(host))
    }

    /// Whether the gate of hosts for which this holds is open now.
    pub fn gate(&self, effective: &Effective) -> Gate {
        let facts = |name: &str| self.fact(name);
        match effective.closed_by(&facts).first() {
            None => Gate::Open,
            Some(closes) if closes.value.holds(&facts).is_none() => {
                Gate::Closed { why: format!("nobody knows whether {}", closes.value) }
            }
            Some(closes) => Gate::Closed { why: closes.value.to_string() },
        }
    }

    /// Whether the gate is closed by what is known to be so, and not only by what nobody knows.
    pub fn is_surely_closed(&self, effective: &Effective) -> bool {
        let facts = |name: &str| self.fact(name);
        effective.closed_by(&facts).iter().any(|it| it.value.holds(&facts) == Some(true))
    }

    /// The span of time around now in which all of a visit's work is allowed on its host; none if it is not allowed now.
    pub fn opening(&self, host: &Host, planned: &PlannedVisit) -> Option<Interval> {
        let effective = self.effective(host);
        let zone = Zone::named(&host.zone).ok()?;
        let from = Wall(self.now.0.saturating_sub(u64::try_from(AROUND.as_millis()).ok()?));
        let horizon = Interval::new(from, self.now.after(AROUND))?;
        let of = |work: &[&str]| effective.openings(&zone, horizon, work).as_intervals();
        let all = planned.operations.iter().map(|operation| of(&words(operation)));
        // What one of its works must not be done in, all of it must not.
        let all = all.reduce(|a: Intervals, b| a.intersect(&b)).unwrap_or_else(|| of(&[]));
        all.covering(self.now)
    }

    /// What is known that a gate may depend on.
    fn fact(&self, name: &str) -> Option<Value> {
        let number =
            |number: usize| u32::try_from(number).ok().map(|n| Value::Number(f64::from(n)));
        let count = |is: &dyn Fn(&Host) -> bool| self.registered().filter(|host| is(host)).count();
        match name {
            "lost_hosts" => number(count(&|host| host.state == HostState::Lost)),
            "unplanned_down" => number(count(&|host| {
                host.state != HostState::Serving && self.ledger.slot(&host.id).is_none()
            })),
            "failed_visits" => {
                let day = Duration::from_secs(24 * 3600);
                let lately = |at: Wall| self.now < at.after(day);
                number(self.ledger.failures().iter().filter(|it| lately(it.at)).count())
            }
            "ledger_age" => number(0),
            _ => self.facts.value(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use protocol::{GatewayId, Incarnation};

    use super::*;
    use crate::fleet::{Connects, Term, VisitId};
    use crate::ledger::{Grant, Seen, SlotClass};
    use crate::operation::{self, Class, OpKind, Operation, OperationId, Phases, Visit};

    const POLICY: &str = r#"
        [policy.all]
        windows = [{ from = "2026-01-05T00:00:00", to = "2026-01-06T00:00:00", tz = "UTC" }]
        exclude = [{ from = "2026-01-05T12:00:00", to = "2026-01-05T14:00:00", tz = "UTC", reason = "lunch", allow = ["cert_rotate"] }]
        approval = { when = "hosts > 2", approvers = 1, valid = "48h" }
        gate = { close_if = ["lost_hosts >= 2"] }
    "#;
    /// 2026-01-05 10:00 UTC.
    const TEN: u64 = 1_767_607_200_000;
    const HOUR: u64 = 3_600_000;

    fn planned() -> PlannedVisit {
        let (id, host) = (OperationId::new("a").unwrap(), GatewayId::new("gw-0").unwrap());
        let visit = Visit {
            id: VisitId::new("gw-0/a").unwrap(),
            host: host.clone(),
            operations: vec![id.clone()],
            class: Class::Drain,
            phases: Phases::default(),
            not_before: None,
            deadline: None,
            priority: 0,
            after: Vec::new(),
            batches: Vec::new(),
        };
        PlannedVisit { visit, operations: vec![Operation::new(id, OpKind::Restart, host)] }
    }

    #[test]
    fn windows_exclusions_people_and_gates_are_heard() {
        let policies = PolicySet::read(POLICY, &BTreeMap::new()).unwrap();
        let mut hosts: Vec<Host> = (0..3)
            .map(|n| GatewayId::new(&format!("gw-{n}")).unwrap())
            .map(|id| Host::new(id, Incarnation(1), HostState::Serving))
            .collect();
        let (ledger, mut planned) = (Ledger::default(), planned());
        let facts = Facts::default();
        let of = |now: u64, hosts: &[Host], planned: &PlannedVisit, alike| {
            let (now, policies, ledger, facts) = (Wall(now), &policies, &ledger, &facts);
            let law = Law { now, policies, freezes: &[], hosts, ledger, facts };
            let host = &hosts[0];
            (law.opening(host, planned), law.rules(host, planned, alike))
        };
        let (opening, rules) = of(TEN, &hosts, &planned, 1);
        let noon = Wall(TEN + 2 * HOUR);
        assert_eq!(opening, Interval::new(Wall(TEN - 10 * HOUR), noon));
        assert_eq!((rules.approval, rules.gate), (Approval::NotNeeded, Gate::Open));
        assert_eq!(rules.allowed, Allowed::Within(opening.unwrap()));
        let (opening, rules) = of(TEN + 3 * HOUR, &hosts, &planned, 1);
        assert_eq!((opening, rules.allowed), (None, Allowed::Never), "lunch");
        let (_, rules) = of(TEN, &hosts, &planned, 3);
        assert_eq!(rules.approval, Approval::Missing { given: 0, wanted: 1 });
        for operation in &mut planned.operations {
            let approval = operation::Approval { actor: "ada".into(), at: Wall(TEN - 1) };
            operation.approvals.push(approval);
        }
        assert_eq!(of(TEN, &hosts, &planned, 3).1.approval, Approval::Given);
        hosts[1].state = HostState::Lost;
        hosts[2].state = HostState::Lost;
        assert!(matches!(of(TEN, &hosts, &planned, 1).1.gate, Gate::Closed { .. }));
    }

    #[test]
    fn a_visit_has_the_hours_that_all_of_its_works_have() {
        let policies = PolicySet::read(POLICY, &BTreeMap::new()).unwrap();
        let id = GatewayId::new("gw-0").unwrap();
        let hosts = [Host::new(id.clone(), Incarnation(1), HostState::Serving)];
        let (ledger, facts, mut planned) = (Ledger::default(), Facts::default(), planned());
        let is_open = |planned: &PlannedVisit| {
            let (now, policies) = (Wall(TEN + 3 * HOUR), &policies);
            let (ledger, facts, freezes) = (&ledger, &facts, &[]);
            let law = Law { now, policies, freezes, hosts: &hosts, ledger, facts };
            law.opening(&hosts[0], planned).is_some()
        };
        planned.operations[0].kind = OpKind::CertRotate;
        assert!(is_open(&planned), "it may be done at lunch");
        let restart = Operation::new(OperationId::new("b").unwrap(), OpKind::Restart, id);
        planned.operations.push(restart);
        assert!(!is_open(&planned));
    }

    #[test]
    fn who_is_down_with_a_slot_is_not_down_unplanned() {
        let text = r#"
            [policy.all]
            gate = { close_if = ["unplanned_down >= 1"] }
        "#;
        let policies = PolicySet::read(text, &BTreeMap::new()).unwrap();
        let id = |n: u64| GatewayId::new(&format!("gw-{n}")).unwrap();
        let mut hosts: Vec<Host> =
            (0..2).map(|n| Host::new(id(n), Incarnation(1), HostState::Serving)).collect();
        let (mut ledger, facts, planned) = (Ledger::default(), Facts::default(), planned());
        let gate = |ledger: &Ledger, hosts: &[Host]| {
            let (policies, facts) = (&policies, &facts);
            let law = Law { now: Wall(TEN), policies, freezes: &[], hosts, ledger, facts };
            law.rules(&hosts[0], &planned, 1).gate
        };
        let grant = Grant {
            host: &id(1),
            offered: Incarnation(1),
            visit: None,
            term: Term(1),
            class: SlotClass::Drain,
            opening: Interval { from: Wall(TEN), to: Wall(TEN + HOUR) },
            remaining: Duration::ZERO,
            once: false,
            asked: None,
        };
        let seen = Seen { now: Wall(TEN), hosts: &hosts, answers: None };
        ledger.grant(&grant, &seen, &GrantRules::default()).unwrap();
        hosts[1].state = HostState::Quiesced;
        assert_eq!(gate(&ledger, &hosts), Gate::Open);
        assert!(matches!(gate(&Ledger::default(), &hosts), Gate::Closed { .. }));
    }

    #[test]
    fn a_host_that_was_written_off_is_asked_for_by_no_rule_and_closes_no_gate() {
        let text = r#"
            [policy.all]
            gate = { close_if = ["lost_hosts >= 1", "unplanned_down >= 1"] }
        "#;
        let policies = PolicySet::read(text, &BTreeMap::new()).unwrap();
        let id = |n: u64| GatewayId::new(&format!("gw-{n}")).unwrap();
        let mut hosts: Vec<Host> =
            (0..3).map(|n| Host::new(id(n), Incarnation(1), HostState::Serving)).collect();
        hosts[2].state = HostState::Lost;
        let mut ledger = Ledger::default();
        let (facts, planned) = (Facts::default(), planned());
        let of = |ledger: &Ledger, hosts: &[Host]| {
            let (policies, facts) = (&policies, &facts);
            let law = Law { now: Wall(TEN), policies, freezes: &[], hosts, ledger, facts };
            let rules = law.rules(&hosts[0], &planned, 1);
            (rules.gate, rules.domains[0].min_available)
        };
        let (gate, least) = of(&ledger, &hosts);
        assert!(matches!(gate, Gate::Closed { .. }));
        assert_eq!(least, 2, "without a policy all others have to serve");
        ledger.write_off(Wall(TEN), &hosts[2], None, "ada", "burnt").unwrap();
        assert_eq!(of(&ledger, &hosts), (Gate::Open, 1));
        hosts[2].incarnation = Incarnation(2);
        assert_eq!(of(&ledger, &hosts).1, 2, "it is back in a new life");
    }

    #[test]
    fn what_nobody_measured_closes_the_gate_and_says_so() {
        let text = r#"
            [policy.all]
            windows = [{ from = "2026-01-05T00:00:00", to = "2026-01-06T00:00:00", tz = "UTC" }]
            gate = { close_if = ["connect_error_rate > 1%", "connect_p99 > 1s", "promql:down"] }
        "#;
        let policies = PolicySet::read(text, &BTreeMap::new()).unwrap();
        let wanted = policies.wanted();
        assert!(wanted.connects && wanted.queries.iter().eq(["down"]));
        let host = Host::new(GatewayId::new("gw-0").unwrap(), Incarnation(1), HostState::Serving);
        let (ledger, hosts, now) = (Ledger::default(), [host], Wall(TEN));
        let judged = |facts: &Facts| {
            let (policies, ledger, freezes) = (&policies, &ledger, &[]);
            let law = Law { now, policies, freezes, hosts: &hosts, ledger, facts };
            let effective = law.effective(&hosts[0]);
            (law.gate(&effective), law.is_surely_closed(&effective))
        };
        let mut facts = Facts::default();
        let closed = |why: &str| Gate::Closed { why: why.to_owned() };
        let unknown = closed("nobody knows whether connect_error_rate > 0.01");
        assert_eq!(judged(&facts), (unknown, false));
        facts.queries.insert("down".to_owned(), false);
        let within_ms = vec![(1000, 98), (2000, 99)];
        facts.connects = Some(Connects { let_in: 99, refused: 1, within_ms: vec![(1000, 99)] });
        assert_eq!(judged(&facts), (Gate::Open, false));
        facts.connects = Some(Connects { let_in: 99, refused: 1, within_ms });
        assert_eq!(judged(&facts), (closed("connect_p99 > 1"), true));
        facts.connects = Some(Connects::default());
        facts.queries.insert("down".to_owned(), true);
        assert_eq!(judged(&facts), (closed("promql:down"), true));
    }
}
