//! What was measured that gates may depend on.

use std::collections::{BTreeMap, BTreeSet};

use super::expression::{Expression, Value};
use super::read::PolicySet;
use crate::fleet::Connects;

/// Before a query, in conditions and in the names of facts.
pub(super) const QUERY: &str = "promql:";
/// What conditions call those that come.
const CONNECTS: [&str; 2] = ["connect_error_rate", "connect_p99"];

/// What was measured of the fleet, as far as it is known.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// Clients that came lately, to all hosts that serve; none if one of these has not said lately.
    pub connects: Option<Connects>,
    /// Which queries hold, by their words; those that were not answered lately are left out.
    pub queries: BTreeMap<String, bool>,
}

/// What must be measured because gates depend on it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Wanted {
    /// How those fare that come.
    pub connects: bool,
    /// Queries for Prometheus.
    pub queries: BTreeSet<String>,
}

impl Facts {
    /// A fact by its name, if it is one of these and known.
    pub fn value(&self, name: &str) -> Option<Value> {
        let connects = self.connects.as_ref();
        match name {
            "connect_error_rate" => Some(Value::Number(connects?.error_rate())),
            "connect_p99" => Some(Value::Number(connects?.p99())),
            _ => {
                let holds = self.queries.get(name.strip_prefix(QUERY)?)?;
                Some(Value::Number(f64::from(u8::from(*holds))))
            }
        }
    }
}

impl PolicySet {
    /// What gates of these policies depend on that must be measured.
    pub fn wanted(&self) -> Wanted {
        let mut wanted = Wanted::default();
        let gates = self.policies.iter().flat_map(|policy| &policy.gate.close_if);
        gates.for_each(|condition| want(condition, &mut wanted));
        wanted
    }
}

fn want(condition: &Expression, wanted: &mut Wanted) {
    match condition {
        Expression::Compare { name, .. } => wanted.connects |= CONNECTS.contains(name),
        Expression::Prometheus(query) => {
            wanted.queries.insert(query.clone());
        }
        Expression::Not(inner) => want(inner, wanted),
        Expression::All(parts) | Expression::Any(parts) => {
            parts.iter().for_each(|part| want(part, wanted));
        }
    }
}
