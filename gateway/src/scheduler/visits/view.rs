//! The fleet as it is when the ledger is asked.

use std::collections::BTreeMap;

use maintenance::fleet::Availability;
use maintenance::ledger::{Gate, GrantRules, Seen};
use maintenance::planner::{Despite, Law, Margin, PlannedVisit};
use maintenance::policy::{Facts, Freeze, PolicySet};
use maintenance::{Host, HostState, Ledger};
use protocol::{GatewayId, Wall};

use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::beside::hides_pace;
use crate::scheduler::planned::Gates;
use crate::scheduler::thread::Scheduler;

/// What is seen of the fleet at one moment, and what operators allow.
#[derive(Debug)]
pub(in crate::scheduler) struct View {
    pub(in crate::scheduler) now: Wall,
    pub(in crate::scheduler) hosts: Vec<Host>,
    pub(in crate::scheduler) answers: BTreeMap<GatewayId, Availability>,
    pub(super) policies: PolicySet,
    pub(super) freezes: Vec<Freeze>,
    pub(super) facts: Facts,
    /// Until when gates are closed because they were, as far as the scheduler has said.
    pub(super) gates: Gates,
}

impl View {
    pub(super) fn seen(&self) -> Seen<'_> {
        Seen { now: self.now, hosts: &self.hosts, answers: Some(&self.answers) }
    }

    pub(in crate::scheduler) fn law<'a>(&'a self, ledger: &'a Ledger) -> Law<'a> {
        let Self { now, hosts, policies, freezes, facts, .. } = self;
        Law { now: *now, policies, freezes, hosts, ledger, facts }
    }

    /// What the ledger must heed for a visit, at its grant and before each step that it is asked about: a gate that was closed stays
    /// so until it opens again, whatever is measured meanwhile.
    pub(super) fn rules(
        &self,
        ledger: &Ledger,
        host: &Host,
        (planned, alike, despite): (&PlannedVisit, usize, Option<&Despite>),
    ) -> GrantRules {
        let law = self.law(ledger);
        let hides_pace = hides_pace(&self.hosts, ledger);
        let rules = GrantRules { hides_pace, ..law.rules(host, planned, alike) };
        let rules = match despite {
            Some(despite) => despite.overrule(rules, self.now),
            None => rules,
        };
        match (&rules.gate, self.gates.closed_until(&law.effective(host), self.now)) {
            (Gate::Open, Some(until)) => {
                let why = format!("it was closed lately, and opens at {} ms", until.0);
                GrantRules { gate: Gate::Closed { why }, ..rules }
            }
            (Gate::Open, None) | (Gate::Closed { .. }, _) => rules,
        }
    }

    /// How much is left of what policies want to be left.
    pub(in crate::scheduler) fn margin(&self, ledger: &Ledger) -> Margin {
        let answers = |host: &Host| {
            self.answers.get(&host.id).is_some_and(|answer| {
                answer.is_fresh(self.now, host.incarnation) && answer.state == HostState::Serving
            })
        };
        self.law(ledger).margin(&answers)
    }

    pub(super) fn host(&self, id: &GatewayId) -> Option<&Host> {
        self.hosts.iter().find(|host| host.id == *id)
    }
}

impl Scheduler {
    /// Looks at everything that a grant depends on.
    pub(in crate::scheduler) fn view(&mut self) -> Result<View, ControlError> {
        let mut view = self.fleet()?;
        self.read_law(&mut view)?;
        Ok(view)
    }

    /// Looks at what operators allow.
    pub(super) fn read_law(&mut self, view: &mut View) -> Result<(), ControlError> {
        view.policies = self.documents.policy_set()?;
        view.freezes = self.documents.freezes()?;
        let facts = self.documents.facts(&view.policies, &view.hosts, view.now);
        view.facts = facts.map_err(unavailable)?;
        view.gates = self.documents.gates().map_err(unavailable)?.0;
        Ok(())
    }

    /// Looks at the hosts alone, as if operators allowed everything: for what asks for nothing new.
    pub(super) fn fleet(&mut self) -> Result<View, ControlError> {
        let (policies, freezes) = (PolicySet::default(), Vec::new());
        let found = self.hosts().map_err(unavailable)?;
        let (mut hosts, mut answers) = (Vec::new(), BTreeMap::new());
        for status in found {
            answers.extend(status.answer.map(|answer| (status.host.id.clone(), answer)));
            hosts.push(status.host);
        }
        let (now, facts) = (self.shared.now().wall, Facts::default());
        let gates = Gates::default();
        Ok(View { now, hosts, answers, policies, freezes, facts, gates })
    }
}
