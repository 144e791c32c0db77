//! What policies promise, beside the tests of their parts.

mod conditions;
mod together;
mod written;

use std::collections::BTreeMap;

use protocol::{GatewayId, Incarnation};

use super::{InvalidPolicies, PolicySet};
use crate::fleet::{Host, HostState};

fn read(text: &str) -> PolicySet {
    PolicySet::read(text, &BTreeMap::new()).unwrap()
}

fn wrong(text: &str) -> String {
    match PolicySet::read(text, &BTreeMap::new()).unwrap_err() {
        InvalidPolicies::Syntax(misread) => misread.to_string(),
        faults @ InvalidPolicies::Faults(_) => faults.to_string(),
    }
}

/// A host with labels as in `zone=a,rack=1`.
fn host(id: &str, labels: &str) -> Host {
    let labels = labels.split(',').filter_map(|label| label.split_once('='));
    let labels = labels.map(|(label, value)| (label.to_owned(), value.to_owned())).collect();
    let host = Host::new(GatewayId::new(id).unwrap(), Incarnation(1), HostState::Serving);
    Host { labels, zone: "Europe/Berlin".into(), ..host }
}
