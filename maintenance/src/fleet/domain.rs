//! What fails together.

use std::collections::BTreeMap;
use std::fmt;

use super::host::Host;

/// The labels that lie in each other, the widest first: a rack in its zone, a zone in its region.
pub const FOREST: [&str; 3] = ["region", "zone", "rack"];

/// Hosts that fail together: the whole fleet, or those with the same labels. Two racks of one name in two zones
/// are two domains.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Domain {
    /// The labels and their values, the narrowest last; without any, the fleet.
    path: Vec<(String, String)>,
}

impl Domain {
    /// All hosts.
    pub const fn fleet() -> Self {
        Self { path: Vec::new() }
    }

    /// The domain of a kind that a host lies in; `fleet` is the whole fleet. None if the host has no such label.
    pub fn of(host: &Host, kind: &str) -> Option<Self> {
        if kind == "fleet" {
            return Some(Self::fleet());
        }
        let value = |kind: &str| Some((kind.to_owned(), host.labels.get(kind)?.clone()));
        let own = value(kind)?;
        let depth = FOREST.iter().position(|known| *known == kind).unwrap_or(0);
        let mut path: Vec<_> = FOREST.iter().take(depth).filter_map(|wider| value(wider)).collect();
        path.push(own);
        Some(Self { path })
    }

    /// Whether a host lies in it.
    pub fn contains(&self, host: &Host) -> bool {
        self.holds(&host.labels)
    }

    /// Whether a host with these labels lies in it.
    pub fn holds(&self, labels: &BTreeMap<String, String>) -> bool {
        self.path.iter().all(|(kind, value)| labels.get(kind) == Some(value))
    }

    /// All of its labels, the widest first, as in `zone=a,rack=r1`; `fleet` is the whole fleet. No other domain is called so.
    pub fn full_name(&self) -> String {
        if self.path.is_empty() {
            return "fleet".to_owned();
        }
        let labels = self.path.iter().map(|(kind, value)| format!("{kind}={value}"));
        labels.collect::<Vec<_>>().join(",")
    }

    /// Its kind: `fleet`, or the narrowest label.
    pub fn kind(&self) -> &str {
        self.path.last().map_or("fleet", |(kind, _)| kind)
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.path.last() {
            None => f.write_str("fleet"),
            Some((kind, value)) => write!(f, "{kind} {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::{GatewayId, Incarnation};

    use super::*;
    use crate::fleet::HostState;

    fn host(labels: &[(&str, &str)]) -> Host {
        let id = GatewayId::new("gw-1").unwrap();
        let labels = labels.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        Host { labels, ..Host::new(id, Incarnation(1), HostState::Serving) }
    }

    #[test]
    fn two_racks_of_one_name_in_two_zones_are_two_domains() {
        let a = host(&[("zone", "a"), ("rack", "r1"), ("power", "p1")]);
        let b = host(&[("zone", "b"), ("rack", "r1"), ("power", "p1")]);
        let rack = Domain::of(&a, "rack").unwrap();
        assert!(rack.contains(&a) && !rack.contains(&b));
        assert_eq!(rack.full_name(), "zone=a,rack=r1");
        assert_eq!(Domain::fleet().full_name(), "fleet");
        assert_eq!((rack.kind(), rack.to_string().as_str()), ("rack", "rack r1"));
        assert_eq!(Domain::of(&a, "power"), Domain::of(&b, "power"));
        assert_eq!(Domain::of(&a, "region"), None);
        assert!(Domain::of(&a, "fleet").unwrap().contains(&b));
    }
}
