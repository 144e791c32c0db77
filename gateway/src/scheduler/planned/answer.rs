//! What operators are told of the plan, and of plans that might be.

use std::collections::BTreeMap;

use maintenance::operation::Visit;
use maintenance::planner::{Difference, Plan, Published, Why, why};
use maintenance::policy::{Effective, PolicySet};
use protocol::GatewayId;
use serde::{Deserialize, Serialize};

use super::basis::{BasedOn, PlanBasis};
use super::look::{Look, PLAN};
use crate::control::ControlError;
use crate::scheduler::acts::unavailable;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::visits::{GivenUp, VisitDocument};
use crate::scheduler::wanted::{Acting, OperationRequest, OperationState, held_up, held_up_by};

/// What might be different; nothing of it is written.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WhatIf {
    /// Policies, as TOML, instead of all of the fleet's.
    pub policies: Option<String>,
    /// The calendars that they name, as iCalendar text.
    pub calendars: BTreeMap<String, String>,
    /// Operations beside those that are pending.
    pub operations: Vec<OperationRequest>,
}

/// A plan that might be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlanPreview {
    /// When each visit would be; `churn` counts those that stand elsewhere in the published plan.
    pub plan: Plan,
    /// The visits.
    pub visits: Vec<Visit>,
    /// The version of the zone database that it was made with.
    pub tzdb: String,
    /// The answers of gateways that it was made from.
    pub based_on: Vec<BasedOn>,
    /// What begins at another time than in the published plan, or in only one of them; no gateway of an older version says that.
    #[serde(default)]
    pub differences: Vec<Difference>,
}

/// Why a gateway is not visited earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostWhy {
    /// The gateway.
    pub host: String,
    /// Each of its visits; none if nothing is pending.
    pub visits: Vec<VisitWhy>,
    /// What is pending for it and has no visit, since something before it was not done.
    pub held_up: Vec<HeldUp>,
    /// What of it is not begun for now since an operator has paused it: which, by whom, and why.
    #[serde(default)]
    pub paused: Vec<String>,
    /// Those of its visits that were begun and given up, and are in the plan again; no gateway of an older version says that.
    #[serde(default)]
    pub given_up: Vec<GivenUp>,
}

/// An operation that has no place as long as nobody decides about another.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HeldUp {
    /// Which.
    pub operation: String,
    /// What was not done: what it waits for, or another of its campaign; none if that is further back.
    pub by: Option<String>,
}

/// Why one visit is not earlier.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VisitWhy {
    /// For programs.
    pub why: Why,
    /// For people, with times of the gateway's zone.
    pub text: String,
}

impl Scheduler {
    /// The published plan, if there ever was one.
    pub(in crate::scheduler) fn published(&mut self) -> Result<Option<Published>, ControlError> {
        let stored = self.documents.get::<Published>(PLAN).map_err(unavailable)?;
        Ok(stored.map(|(plan, _)| plan))
    }

    /// Plans as if something were different, and writes nothing.
    pub(in crate::scheduler) fn preview(
        &mut self,
        what_if: &WhatIf,
        by: &str,
    ) -> Result<PlanPreview, ControlError> {
        let mut look = self.look_around()?;
        look.imagine(what_if, (by, self.most))?;
        let (visits, plan) = self.planned_now(&look)?;
        let PlanBasis { tzdb, based_on, .. } = look.basis(0);
        let (_, plan) = plan;
        let differences = match &look.published {
            Some((published, _)) => plan.differences(&published.plan),
            None => Vec::new(),
        };
        Ok(PlanPreview { plan, visits, tzdb, based_on, differences })
    }

    /// Why the visits of a gateway are not earlier, by what is known now.
    pub(in crate::scheduler) fn why(&mut self, host: &str) -> Result<HostWhy, ControlError> {
        let look = self.look_around()?;
        let known = look.hosts.iter().find(|known| known.id.as_str() == host);
        let Some(known) = known else {
            return Err(ControlError::Missing(format!("there is no gateway {host}")));
        };
        let zone = jiff::tz::TimeZone::get(&known.zone).unwrap_or(jiff::tz::TimeZone::UTC);
        let (visits, (problem, plan)) = self.planned_now(&look)?;
        let mut told = Vec::new();
        for visit in visits.iter().filter(|visit| visit.host == known.id) {
            let found = why(&problem, &plan, &visit.id);
            let found = found.map_err(|why| ControlError::Unavailable(why.to_string()))?;
            told.extend(found.map(|why| VisitWhy { text: why.text(&zone), why }));
        }
        let known = known.id.clone();
        let given_up = self.given_up(&known, (&look, &zone))?;
        let (held_up, paused) = (self.held_up(&known)?, self.paused_of(&known)?);
        Ok(HostWhy { host: host.to_owned(), visits: told, held_up, paused, given_up })
    }

    fn given_up(
        &mut self,
        host: &GatewayId,
        (look, zone): (&Look, &jiff::tz::TimeZone),
    ) -> Result<Vec<GivenUp>, ControlError> {
        let Some((published, _)) = &look.published else { return Ok(Vec::new()) };
        let known = self.documents.all::<VisitDocument>(&VisitDocument::keys_of(host));
        let told = known
            .map_err(unavailable)?
            .into_iter()
            .filter_map(|known| known.given_up(published.visit(known.execution.visit())?, zone));
        Ok(told.collect())
    }

    fn paused_of(&mut self, host: &GatewayId) -> Result<Vec<String>, ControlError> {
        let all = self.documents.paused()?.map(|paused| format!("the fleet is {paused}"));
        let stored = self.documents.operations()?;
        let own = stored.iter().filter(|it| it.operation.host == *host);
        let own = own.filter_map(|it| {
            let paused = it.paused.as_ref().filter(|_| it.state == OperationState::Pending)?;
            Some(format!("operation {} is {paused}", it.operation.id))
        });
        Ok(all.into_iter().chain(own).collect())
    }

    fn held_up(&mut self, host: &GatewayId) -> Result<Vec<HeldUp>, ControlError> {
        let stored = self.documents.operations()?;
        let held = held_up(&stored);
        let own = stored.iter().filter(|it| it.operation.host == *host);
        let own = own.filter(|it| held.contains(&it.operation.id));
        let told = own.map(|it| HeldUp {
            operation: it.operation.id.to_string(),
            by: held_up_by(it, &stored).map(|by| by.operation.id.to_string()),
        });
        Ok(told.collect())
    }

    fn planned_now(
        &self,
        look: &Look,
    ) -> Result<(Vec<Visit>, (maintenance::planner::Problem, Plan)), ControlError> {
        let mut gates = self.planning.gates.clone();
        gates.merge(&look.gates);
        gates.note(look.closed(), look.now);
        let visits = look.visits()?;
        let closed_until = |effective: &Effective| gates.closed_until(effective, look.now);
        let problem = look.problem(&visits, &closed_until);
        let plan = look.plan(&problem)?;
        Ok((visits, (problem, plan)))
    }
}

impl Look {
    /// Sees what might be instead of what is.
    fn imagine(&mut self, what_if: &WhatIf, (by, most): (&str, usize)) -> Result<(), ControlError> {
        if let Some(text) = &what_if.policies {
            let read = PolicySet::read(text, &what_if.calendars);
            self.policies = read.map_err(|wrong| ControlError::Invalid(wrong.to_string()))?;
        }
        for (number, request) in what_if.operations.iter().enumerate() {
            let acting = Acting { by, now: self.now, hosts: &self.hosts, most };
            let named = request.id.clone().unwrap_or_else(|| format!("what-if-{}", number + 1));
            let known: Vec<_> = self.operations.iter().collect();
            let operations = request.operations(&named, &known, &acting)?;
            if let Some(twice) =
                operations.iter().find(|it| self.operations.iter().any(|old| old.id == it.id))
            {
                let why = format!("there is an operation {} already", twice.id);
                return Err(ControlError::Refused(why));
            }
            self.operations.extend(operations);
        }
        Ok(())
    }
}
