//! The fleet as it is when the ledger is asked.

use std::collections::BTreeMap;

use maintenance::fleet::Availability;
use maintenance::ledger::Seen;
use maintenance::planner::Law;
use maintenance::policy::{Freeze, PolicySet};
use maintenance::{Host, Ledger};
use protocol::{GatewayId, Wall};

use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::thread::Scheduler;

/// What is seen of the fleet at one moment, and what operators allow.
#[derive(Debug)]
pub(super) struct View {
    pub(super) now: Wall,
    pub(super) hosts: Vec<Host>,
    pub(super) answers: BTreeMap<GatewayId, Availability>,
    pub(super) policies: PolicySet,
    pub(super) freezes: Vec<Freeze>,
}

impl View {
    pub(super) fn seen(&self) -> Seen<'_> {
        Seen { now: self.now, hosts: &self.hosts, answers: Some(&self.answers) }
    }

    pub(super) fn law<'a>(&'a self, ledger: &'a Ledger) -> Law<'a> {
        let Self { now, hosts, policies, freezes, .. } = self;
        Law { now: *now, policies, freezes, hosts, ledger }
    }

    pub(super) fn host(&self, id: &GatewayId) -> Option<&Host> {
        self.hosts.iter().find(|host| host.id == *id)
    }
}

impl Scheduler {
    /// Looks at everything that a grant depends on.
    pub(super) fn view(&mut self) -> Result<View, ControlError> {
        let mut view = self.fleet()?;
        self.read_law(&mut view)?;
        Ok(view)
    }

    /// Looks at what operators allow.
    pub(super) fn read_law(&mut self, view: &mut View) -> Result<(), ControlError> {
        view.policies = self.documents.policy_set()?;
        view.freezes = self.documents.freezes()?;
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
        Ok(View { now: self.shared.now().wall, hosts, answers, policies, freezes })
    }
}
