//! What operators see of the scheduler and of the hosts.

use std::collections::BTreeMap;

use maintenance::fleet::{Availability, Term};
use maintenance::{Host, HostState, Lease};
use protocol::{GatewayId, Incarnation};
use serde::{Deserialize, Serialize};

use super::documents::DocumentError;
use super::host::{HostDocument, registered_state};
use super::thread::Scheduler;
use crate::service::{Member, one_each};

/// One registered gateway as maintenance sees it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostStatus {
    /// What it is, and what it does by its lease.
    pub host: Host,
    /// Whether its answer is believed; without that it is not available for maintenance and counts as down.
    pub fresh: bool,
    /// What it answered last; none if it never did.
    pub answer: Option<Availability>,
}

/// Who plans for the fleet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SchedulerStatus {
    /// The lease as it is stored; none if nobody ever held it.
    pub lease: Option<Lease>,
    /// The term in which the gateway that answers is the scheduler; none if it is not.
    pub term_held_here: Option<Term>,
}

impl Scheduler {
    /// Every registered gateway, with what it answered.
    pub(super) fn hosts(&mut self) -> Result<Vec<HostStatus>, DocumentError> {
        let members = self.documents.members()?;
        let documents = self.documents.all::<HostDocument>(HostDocument::PREFIX)?;
        let mut documents: BTreeMap<_, _> =
            documents.into_iter().map(|document| (document.host.id.clone(), document)).collect();
        let live = self.shared.tables.gateways().clone();
        let lives = |id: &GatewayId, life| {
            live.iter().any(|gateway| gateway.id == *id && gateway.incarnation == life)
        };
        let now = self.shared.now().wall;
        let (ledger, _) = self.documents.ledger().unwrap_or_default();
        let said = self.documents.blockers_said(now)?;
        let preferred = self.documents.preferences_said(now)?;
        let mut hosts = Vec::new();
        let is_live = |member: &Member| {
            member.id().is_some_and(|id| lives(&id, Incarnation(member.record.incarnation)))
        };
        for (member, live) in one_each(&members, is_live) {
            let Some(id) = member.id().map(|id| id.gateway()) else { continue };
            let incarnation = Incarnation(member.record.incarnation);
            let state = registered_state(member, live);
            // Who says goodbye in the middle of a visit comes back.
            let away = state == HostState::Suspect && ledger.slot(&id).is_some();
            let state = if away { HostState::InMaintenance } else { state };
            let (own, answer) = match documents.remove(&id) {
                Some(mut it) => {
                    it.answer.blockers.extend(said.of(&it.answer.host));
                    it.answer.preferred.extend(preferred.of(&it.answer.host));
                    (it.host, Some(it.answer))
                }
                None => (Host::new(id, incarnation, state), None),
            };
            let mut host = Host { incarnation, state, ..own };
            if !ledger.is_registered(&host) {
                host.state = HostState::Retired;
            }
            let fresh = answer.as_ref().is_some_and(|answer| answer.is_fresh(now, incarnation));
            hosts.push(HostStatus { host, fresh, answer });
        }
        Ok(hosts)
    }
}
