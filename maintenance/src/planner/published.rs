//! The plan that everybody goes by: what the scheduler wrote down.

use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::compile::words;
use super::plan::{Entry, Plan};
use crate::execution::{Execution, Work};
use crate::fleet::{Host, Term, VisitId};
use crate::operation::{Operation, OperationId, Visit};
use crate::policy::Freeze;
use crate::record;

/// A plan with the visits that it is for. One document of the store, written by compare-and-set by who holds the
/// scheduler's lease.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Published {
    /// One more with each plan that differs from the one before.
    pub revision: u64,
    /// When it was made.
    #[serde(rename = "made_ms", with = "record::wall")]
    pub made: Wall,
    /// The gateway that made it.
    #[serde(with = "record::gateway")]
    pub by: GatewayId,
    /// The reign it was made in.
    pub term: Term,
    /// When each visit is, or why it has no place.
    pub plan: Plan,
    /// All visits that it is about, by name.
    pub visits: Vec<PlannedVisit>,
}

/// A visit, and what is done in it: all that its host must be told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PlannedVisit {
    /// Whose, how long, how much it disturbs.
    pub visit: Visit,
    /// Its operations, in the order in which they are done.
    pub operations: Vec<Operation>,
}

impl Published {
    /// A visit by its name.
    pub fn visit(&self, id: &VisitId) -> Option<&PlannedVisit> {
        self.visits.iter().find(|planned| planned.visit.id == *id)
    }

    /// The visits whose start has come, the earliest first.
    pub fn due(&self, now: Wall) -> impl Iterator<Item = (&Entry, &PlannedVisit)> {
        let begun = self.plan.entries.iter().take_while(move |entry| entry.start <= now);
        begun.filter_map(|entry| Some((entry, self.visit(&entry.visit)?)))
    }
}

impl PlannedVisit {
    /// Its work for the host, in order.
    pub fn works(&self) -> Vec<Work> {
        self.visit.works(|id| self.operations.iter().find(|operation| operation.id == *id))
    }

    /// What a visit has not done although it is over and done: the ledger did not allow its later works any more. What has no work
    /// of its own beside others is done again with these.
    pub fn left_out(&self, execution: &Execution) -> Vec<&OperationId> {
        let works = &execution.course().works;
        let has_left_out = |work: usize| execution.has_left_out(work);
        if !(0..works.len()).any(has_left_out) {
            return Vec::new();
        }
        let work_of = |id: &OperationId| works.iter().position(|it| it.operation == id.as_str());
        let ids = self.visit.operations.iter();
        ids.filter(|id| work_of(id).is_none_or(has_left_out)).collect()
    }

    /// The freeze that excludes any of its work on a host at that moment, if one does.
    pub fn frozen_by<'a>(
        &self,
        host: &Host,
        freezes: &'a [Freeze],
        now: Wall,
    ) -> Option<&'a Freeze> {
        let excludes = |freeze: &Freeze, operation| {
            words(operation).iter().all(|word| freeze.excludes(host, word))
        };
        freezes.iter().find(|freeze| {
            freeze.interval.contains(now) && self.operations.iter().any(|it| excludes(freeze, it))
        })
    }
}

#[cfg(test)]
mod tests {
    use protocol::Incarnation;

    use super::*;
    use crate::calendar::Interval;
    use crate::fleet::HostState;
    use crate::operation::{Class, OpKind, Phases};
    use crate::planner::PlanId;

    fn published() -> Published {
        let host = GatewayId::new("gw-1").unwrap();
        let visit = |name: &str, start: u64| {
            let id = OperationId::new(name).unwrap();
            let operation = Operation::new(id.clone(), OpKind::Restart, host.clone());
            let operation = Operation { class: Class::Drain, ..operation };
            let visit = Visit {
                id: VisitId::new(&format!("gw-1/{name}")).unwrap(),
                host: host.clone(),
                operations: vec![id],
                class: Class::Drain,
                phases: Phases::default(),
                not_before: None,
                deadline: None,
                priority: 0,
                after: Vec::new(),
                batches: Vec::new(),
            };
            let entry = Entry {
                visit: visit.id.clone(),
                host: host.clone(),
                start: Wall(start),
                end: Wall(start + 60_000),
                late: false,
                binding: None,
                suits: None,
            };
            (entry, PlannedVisit { visit, operations: vec![operation] })
        };
        let (entries, visits) = [visit("a", 1_000), visit("b", 2_000)].into_iter().unzip();
        let plan = Plan {
            id: PlanId(7),
            from: Wall(0),
            until: Wall(90_000),
            entries,
            unplanned: Vec::new(),
            lower_bound: Wall(0),
            infeasible: Vec::new(),
            churn: 0,
        };
        Published { revision: 3, made: Wall(500), by: host, term: Term(2), plan, visits }
    }

    #[test]
    fn it_is_read_as_it_was_written_and_nothing_else_is() {
        let plan = published();
        let text = serde_json::to_string(&plan).unwrap();
        assert_eq!(serde_json::from_str::<Published>(&text).unwrap(), plan);
        let more = text.replacen("\"revision\"", "\"color\":1,\"revision\"", 1);
        assert!(serde_json::from_str::<Published>(&more).is_err());
    }

    #[test]
    fn a_freeze_excludes_what_it_is_about_while_it_lasts_unless_all_of_the_work_is_allowed_in_it() {
        let plan = published();
        let mut planned = plan.visits[0].clone();
        let mut host = Host::new(plan.by.clone(), Incarnation(1), HostState::Serving);
        host.labels.insert("region".to_owned(), "eu".to_owned());
        let freeze = |selector: &str, allow: &[&str]| Freeze {
            id: "launch".to_owned(),
            selector: selector.parse().unwrap(),
            interval: Interval { from: Wall(100), to: Wall(200) },
            reason: "launch".to_owned(),
            by: "ada".to_owned(),
            allow: allow.iter().map(|kind| (*kind).to_owned()).collect(),
        };
        let frozen = |planned: &PlannedVisit, freeze: Freeze, now| {
            planned.frozen_by(&host, &[freeze], Wall(now)).is_some()
        };
        assert!(frozen(&planned, freeze("region=eu", &[]), 100));
        assert!(!frozen(&planned, freeze("region=eu", &[]), 99), "it has not begun");
        assert!(!frozen(&planned, freeze("region=eu", &[]), 200), "it is over");
        assert!(!frozen(&planned, freeze("region=us", &[]), 100));
        assert!(!frozen(&planned, freeze("region=eu", &["restart"]), 100));
        let timeout = std::time::Duration::from_secs(9);
        let name = "swap".to_owned();
        let hook = OpKind::Hook { name, args: Vec::new(), timeout, class: Class::Drain };
        let hook = Operation::new(OperationId::new("swap").unwrap(), hook, plan.by.clone());
        planned.operations.push(hook);
        assert!(frozen(&planned, freeze("", &["restart"]), 100));
        assert!(!frozen(&planned, freeze("", &["restart", "swap"]), 100), "by the program's name");
        assert!(!frozen(&planned, freeze("", &["restart", "hook"]), 100));
    }

    #[test]
    fn what_is_due_has_begun_and_a_restart_takes_its_host_away() {
        let plan = published();
        assert_eq!(plan.due(Wall(999)).count(), 0);
        let due: Vec<_> = plan.due(Wall(1_000)).map(|(entry, _)| entry.visit.as_str()).collect();
        assert_eq!(due, ["gw-1/a"]);
        let works = plan.visits.first().map(PlannedVisit::works).unwrap();
        assert_eq!(works.iter().map(|work| work.absent).collect::<Vec<_>>(), [true]);
    }
}
