//! What is different between two plans.

use protocol::{GatewayId, HashMap, Wall};
use serde::{Deserialize, Serialize};

use super::plan::{Entry, Plan};
use crate::fleet::VisitId;
use crate::record;

/// A visit that does not begin when another plan has it begin.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    /// Which.
    pub visit: VisitId,
    /// Of which host.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// When it was to begin; nothing if it had no place.
    #[serde(rename = "was_ms", with = "record::maybe_wall")]
    pub was: Option<Wall>,
    /// When it begins; nothing if it has no place.
    #[serde(rename = "is_ms", with = "record::maybe_wall")]
    pub is: Option<Wall>,
}

impl Plan {
    /// What is different since an earlier plan: first what was in it, by its start there, then what is new, by its start here.
    pub fn differences(&self, before: &Self) -> Vec<Difference> {
        let (was, is) = (starts(before), starts(self));
        let told = |entry: &Entry| Difference {
            visit: entry.visit.clone(),
            host: entry.host.clone(),
            was: was.get(&entry.visit).copied(),
            is: is.get(&entry.visit).copied(),
        };
        let moved = before.entries.iter().map(told).filter(|it| it.was != it.is);
        let new = self.entries.iter().map(told).filter(|it| it.was.is_none());
        moved.chain(new).collect()
    }
}

fn starts(plan: &Plan) -> HashMap<&VisitId, Wall> {
    plan.entries.iter().map(|entry| (&entry.visit, entry.start)).collect()
}

#[cfg(test)]
mod tests {
    use super::super::plan::PlanId;
    use super::*;

    fn plan(starts: &[(&str, u64)]) -> Plan {
        let entries = starts.iter().map(|(host, start)| Entry {
            visit: VisitId::new(&format!("{host}/op")).unwrap(),
            host: GatewayId::new(host).unwrap(),
            start: Wall(*start),
            end: Wall(start + 10),
            late: false,
            binding: None,
            suits: None,
        });
        Plan {
            id: PlanId(0),
            from: Wall(0),
            until: Wall(1_000),
            entries: entries.collect(),
            unplanned: Vec::new(),
            lower_bound: Wall(0),
            infeasible: Vec::new(),
            churn: 0,
        }
    }

    #[test]
    fn what_moved_what_is_gone_and_what_is_new_is_told_and_nothing_else() {
        let before = plan(&[("gw-1", 10), ("gw-2", 20), ("gw-3", 30)]);
        let after = plan(&[("gw-4", 5), ("gw-1", 10), ("gw-3", 40)]);
        let told: Vec<_> = after
            .differences(&before)
            .into_iter()
            .map(|it| (it.host.to_string(), it.was.map(|at| at.0), it.is.map(|at| at.0)))
            .collect();
        let expected =
            [("gw-2", Some(20), None), ("gw-3", Some(30), Some(40)), ("gw-4", None, Some(5))];
        assert_eq!(told, expected.map(|(host, was, is)| (host.to_owned(), was, is)));
        assert_eq!(before.differences(&before), []);
    }
}
