//! How much is left of what policies want to be left.

use std::collections::BTreeMap;

use super::law::Law;
use crate::fleet::{Domain, Host, HostState};

/// What is left.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Margin {
    /// Of each domain that policies name, the hosts that may stop to serve before it has as few as it must have.
    pub domains: BTreeMap<Domain, usize>,
    /// Visits that may fail before nothing begins any more somewhere; none if there is no host.
    pub failures: Option<usize>,
}

impl Law<'_> {
    /// What is left, where `up` says who serves besides being registered so.
    pub fn margin(&self, up: &dyn Fn(&Host) -> bool) -> Margin {
        let mut margin = Margin::default();
        let registered: Vec<&Host> = self.registered().collect();
        // How many of each domain are registered, and how many of these serve.
        let mut known: BTreeMap<Domain, (usize, usize)> = BTreeMap::new();
        for host in &registered {
            let effective = self.effective(host);
            for kind in effective.kinds() {
                let Some(domain) = Domain::of(host, kind) else { continue };
                let (all, serving) = *known.entry(domain.clone()).or_insert_with_key(|domain| {
                    let of: Vec<_> = registered.iter().filter(|it| domain.contains(it)).collect();
                    (of.len(), of.iter().filter(|it| serves(it, self, up)).count())
                });
                let left = serving.saturating_sub(effective.min_available(kind, all).value);
                // The strictest of the policies of its hosts holds.
                margin.domains.entry(domain).and_modify(|it| *it = left.min(*it)).or_insert(left);
            }
            for budget in effective.failure_budgets() {
                let failed = self.ledger.failed_lately(&budget.scope, budget.per, self.now);
                let left = budget.max.saturating_sub(failed);
                margin.failures = Some(margin.failures.map_or(left, |least| least.min(left)));
            }
        }
        margin
    }
}

fn serves(host: &Host, law: &Law<'_>, up: &dyn Fn(&Host) -> bool) -> bool {
    host.state == HostState::Serving && up(host) && law.ledger.slot(&host.id).is_none()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use protocol::{GatewayId, Incarnation, Wall};

    use super::*;
    use crate::ledger::Ledger;
    use crate::policy::{Facts, PolicySet};

    #[test]
    fn each_domain_has_its_own_and_who_does_not_answer_does_not_count() {
        let text = r#"
            [policy.all]
            min_available = { fleet = 2, zone = 1 }
            failure = { max = 3, per = "24h" }
        "#;
        let policies = PolicySet::read(text, &BTreeMap::new()).unwrap();
        let host = |name: &str, zone: &str| Host {
            labels: [("zone".to_owned(), zone.to_owned())].into(),
            ..Host::new(GatewayId::new(name).unwrap(), Incarnation(1), HostState::Serving)
        };
        let mut hosts = [("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", "y")]
            .map(|(name, zone)| host(name, zone));
        let margin = |hosts: &[Host], silent: &str| {
            let (ledger, facts) = (&Ledger::default(), &Facts::default());
            let (policies, freezes) = (&policies, &[]);
            let law = Law { now: Wall(0), policies, freezes, hosts, ledger, facts };
            let margin = law.margin(&|host| host.id.as_str() != silent);
            let named = |(domain, left): (&Domain, &usize)| (domain.full_name(), *left);
            let domains = margin.domains.iter().map(named).collect::<Vec<_>>();
            (domains, margin.failures.unwrap())
        };
        let left = |domains: &[(&str, usize)]| {
            let domains = domains.iter().map(|(name, left)| ((*name).to_owned(), *left));
            (domains.collect::<Vec<_>>(), 3)
        };
        assert_eq!(margin(&hosts, ""), left(&[("fleet", 3), ("zone=x", 2), ("zone=y", 1)]));
        assert_eq!(margin(&hosts, "d"), left(&[("fleet", 2), ("zone=x", 2), ("zone=y", 0)]));
        hosts[0].state = HostState::Lost;
        hosts[1].state = HostState::Lost;
        assert_eq!(margin(&hosts, ""), left(&[("fleet", 1), ("zone=x", 0), ("zone=y", 1)]));
        let alone = left(&[("fleet", 0), ("zone=y", 0)]);
        assert_eq!(margin(&hosts[4..], ""), alone, "one can never be two");
    }
}
