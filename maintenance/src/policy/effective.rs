//! What all policies together mean for one host.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::expression::{Expression, Value};
use super::freeze::Freeze;
use super::meant::{ApprovalRule, DrainTimeout, FailureRule, Needs, Policy, Profile};
use super::read::PolicySet;
use super::share::Share;
use crate::calendar::{Calendar, Interval, Openings, TimeRule, Zone};
use crate::drain::MoveBudget;
use crate::execution::WorkFailure;
use crate::fleet::{Domain, Host, HostState, Statistic};
use crate::ledger::{DomainRule, FailureBudget, GrantRules, Headroom, OnWindowEnd};

/// The strictest value of a field, and the policies that say it; none if it is the default.
#[derive(Debug, Clone, PartialEq)]
pub struct Sourced<T> {
    /// The value.
    pub value: T,
    /// Who says so.
    pub from: Vec<Arc<str>>,
}

/// What all policies that are about a host mean together: the strictest value of each field.
#[derive(Debug, Clone, PartialEq)]
pub struct Effective {
    /// The policies that are about it.
    pub policies: Vec<Arc<str>>,
    /// The windows of each policy that has some; all of them must be open.
    pub(super) windows: Vec<(Arc<str>, Arc<[TimeRule]>)>,
    /// The exclusions of all policies, and the freezes.
    pub(super) exclusions: Vec<Arc<[TimeRule]>>,
    freezes: Vec<String>,
    /// By the kind of domain; every share holds.
    pub(super) min_available: BTreeMap<String, Vec<Sourced<Share>>>,
    /// By the kind of domain; every share holds.
    pub(super) max_concurrent: BTreeMap<String, Vec<Sourced<Share>>>,
    /// Labels of which no two hosts with the same value are visited at once.
    pub never_together: Vec<Sourced<String>>,
    /// What must stay free of the connections, in percent; 0 by default.
    pub connections_percent: Sourced<u8>,
    /// What must stay free of the messages per second, in percent; 0 by default.
    pub messages_percent: Sourced<u8>,
    /// Which load of an hour of the week that is measured against; by default the plan takes the peak, and the ledger what is
    /// carried at that moment.
    pub forecast: Sourced<Option<Statistic>>,
    /// In how much of a hurry it is drained; as planned by default.
    pub profile: Sourced<Profile>,
    /// Clients that leave it per second; by default as its own `[drain]` says.
    pub host_rate: Sourced<Option<u32>>,
    /// Clients that leave all hosts together per second; by default not limited.
    pub fleet_rate: Sourced<Option<u32>>,
    /// From "not ready" to the first refused client; by default as its own `[drain]` says.
    pub lb_grace: Sourced<Option<Duration>>,
    /// How long a client may take to finish what is under way once it is to move; by default as its own `[drain]` says.
    pub flush: Sourced<Option<Duration>>,
    /// How long a will waits for its client; by default as its own `[drain]` says.
    pub takeover_wait: Sourced<Option<Duration>>,
    /// How long its drain may take; by default as its own `[drain]` says.
    pub timeout: Sourced<Option<Duration>>,
    /// What then; by default it serves again.
    pub on_timeout: Sourced<DrainTimeout>,
    /// How long it takes until it takes as many clients as ever; no time by default.
    pub warm: Sourced<Duration>,
    /// The part of a campaign's clients that may be moved twice, in hundredths of a percent; by default not limited.
    pub second_moves: Sourced<Option<u32>>,
    /// How often one client may be moved before it goes with the last; by default not limited.
    pub per_device: Sourced<Option<MoveBudget>>,
    /// How many visits may fail, by each policy that says so, of the hosts that it is about; by default 2 in 24 hours.
    pub failures: Vec<Sourced<FailureRule>>,
    /// Any of these closes the gate.
    pub close_if: Vec<Sourced<Expression>>,
    /// How long none must hold before the gate opens again; 10 minutes by default.
    pub reopen_after: Sourced<Duration>,
    /// When people must agree; whoever must, all of them.
    pub approvals: Vec<Sourced<ApprovalRule>>,
    /// What becomes of a drained host whose work failed; by default it stays out until somebody has decided.
    pub on_failed_work: Sourced<WorkFailure>,
    /// How long it is watched once it serves again; no time by default.
    pub soak: Sourced<Duration>,
    /// What becomes of what the host says it needs; by default somebody must want it.
    pub needs: Sourced<Needs>,
    /// From which priority on a visit does not wait for soft blockers; by default none is that important.
    pub soft_yields_to: Sourced<Option<u8>>,
    /// What a visit does about the end of its window; by default the host serves again.
    pub on_window_end: Sourced<OnWindowEnd>,
}

/// Hosts with the same key have the same openings.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CalendarKey {
    policies: Vec<Arc<str>>,
    freezes: Vec<String>,
    zone: String,
}

const FAILURE: FailureRule = FailureRule { max: 2, per: Duration::from_secs(24 * 60 * 60) };
const REOPEN_AFTER: Duration = Duration::from_secs(10 * 60);
/// What holds for the fleet as a whole if nobody says anything: one at a time.
const FLEET: &str = "fleet";

impl PolicySet {
    /// What holds for a host, with the freezes that are about it.
    pub fn effective(&self, host: &Host, freezes: &[Freeze]) -> Effective {
        let matching: Vec<&Policy> =
            self.policies.iter().filter(|policy| policy.selector.matches(host)).collect();
        let freezes: Vec<&Freeze> =
            freezes.iter().filter(|freeze| freeze.selector.matches(host)).collect();
        let of = Strictest { policies: &matching };
        let windows = matching.iter().filter_map(|policy| {
            policy.windows.clone().map(|windows| (Arc::clone(&policy.name), windows))
        });
        let excluded = matching.iter().map(|policy| Arc::clone(&policy.exclude));
        let frozen = freezes.iter().map(|freeze| Arc::from([freeze.rule()]));
        Effective {
            policies: matching.iter().map(|policy| Arc::clone(&policy.name)).collect(),
            windows: windows.collect(),
            exclusions: excluded.chain(frozen).collect(),
            freezes: freezes.iter().map(|freeze| freeze.id.clone()).collect(),
            min_available: of.shares(Share::AllBut(1), |policy| &policy.min_available),
            max_concurrent: of.shares(Share::Hosts(1), |policy| &policy.max_concurrent),
            never_together: of.labels(),
            connections_percent: of.most(0, |policy| policy.headroom.connections_percent),
            messages_percent: of.most(0, |policy| policy.headroom.messages_percent),
            forecast: of.most(None, |policy| policy.headroom.forecast.map(Some)),
            profile: of.most(Profile::Planned, |policy| policy.drain.profile),
            host_rate: of.least(|policy| policy.drain.host_rate),
            fleet_rate: of.least(|policy| policy.drain.fleet_rate),
            lb_grace: of.most(None, |policy| policy.drain.lb_grace.map(Some)),
            flush: of.most(None, |policy| policy.drain.flush.map(Some)),
            takeover_wait: of.most(None, |policy| policy.drain.takeover_wait.map(Some)),
            timeout: of.least(|policy| policy.drain.timeout),
            on_timeout: of.most(DrainTimeout::Undrain, |policy| policy.drain.on_timeout),
            warm: of.most(Duration::ZERO, |policy| policy.drain.warm),
            second_moves: of.least(|policy| policy.moves.second_moves),
            per_device: of.budget(),
            failures: of.failures(),
            close_if: of.closers(),
            reopen_after: of.most(REOPEN_AFTER, |policy| policy.gate.reopen_after),
            approvals: of.approvals(),
            on_failed_work: of.most(WorkFailure::StayOut, |policy| policy.on_failed_work),
            soak: of.most(Duration::ZERO, |policy| policy.soak),
            needs: of.most(Needs::Ask, |policy| policy.needs),
            soft_yields_to: of.most(None, |policy| policy.soft_yields_to.map(Some)),
            on_window_end: of.most(OnWindowEnd::Undrain, |policy| policy.on_window_end),
        }
    }
}

/// The policies that are about a host, asked field by field.
struct Strictest<'a> {
    policies: &'a [&'a Policy],
}

impl Strictest<'_> {
    /// The greatest of what policies say, and who says it.
    fn most<T: Ord>(&self, default: T, field: impl Fn(&Policy) -> Option<T>) -> Sourced<T> {
        let mut found: Option<Sourced<T>> = None;
        for policy in self.policies {
            let Some(value) = field(policy) else { continue };
            let from = Arc::clone(&policy.name);
            match &mut found {
                Some(strictest) if value == strictest.value => strictest.from.push(from),
                Some(strictest) if value < strictest.value => {}
                Some(_) | None => found = Some(Sourced { value, from: vec![from] }),
            }
        }
        found.unwrap_or(Sourced { value: default, from: Vec::new() })
    }

    /// The least of what policies say, and who says it; nothing if nobody says anything.
    fn least<T: Ord>(&self, field: impl Fn(&Policy) -> Option<T>) -> Sourced<Option<T>> {
        let least = self.most(None, |policy| field(policy).map(|it| Some(std::cmp::Reverse(it))));
        Sourced { value: least.value.map(|reverse| reverse.0), from: least.from }
    }

    fn shares(
        &self,
        default: Share,
        field: impl Fn(&Policy) -> &BTreeMap<String, Share>,
    ) -> BTreeMap<String, Vec<Sourced<Share>>> {
        let mut kinds: BTreeMap<String, Vec<Sourced<Share>>> = BTreeMap::new();
        for policy in self.policies {
            for (kind, share) in field(policy) {
                let said = Sourced { value: *share, from: vec![Arc::clone(&policy.name)] };
                kinds.entry(kind.clone()).or_default().push(said);
            }
        }
        let default = || vec![Sourced { value: default, from: Vec::new() }];
        kinds.entry(FLEET.to_owned()).or_insert_with(default);
        kinds
    }

    /// The fewest moves, and of as many the longest time.
    fn budget(&self) -> Sourced<Option<MoveBudget>> {
        let said = self.most(None, |policy| {
            policy.moves.per_device.map(|it| Some((std::cmp::Reverse(it.max), it.per)))
        });
        let value = said.value.map(|(max, per)| MoveBudget { max: max.0, per });
        Sourced { value, from: said.from }
    }

    fn labels(&self) -> Vec<Sourced<String>> {
        let mut labels: BTreeMap<&str, Vec<Arc<str>>> = BTreeMap::new();
        for policy in self.policies {
            for label in &policy.never_together {
                labels.entry(label).or_default().push(Arc::clone(&policy.name));
            }
        }
        let sourced = |(label, from): (&str, _)| Sourced { value: label.to_owned(), from };
        labels.into_iter().map(sourced).collect()
    }

    /// Each for itself: what failed at hosts of one policy says nothing about those of another.
    fn failures(&self) -> Vec<Sourced<FailureRule>> {
        let said = self.policies.iter().filter_map(|policy| {
            let value = policy.failure?;
            Some(Sourced { value, from: vec![Arc::clone(&policy.name)] })
        });
        let said: Vec<_> = said.collect();
        if said.is_empty() { vec![Sourced { value: FAILURE, from: Vec::new() }] } else { said }
    }

    fn closers(&self) -> Vec<Sourced<Expression>> {
        let mut closers: Vec<Sourced<Expression>> = Vec::new();
        for policy in self.policies {
            for condition in &policy.gate.close_if {
                let from = Arc::clone(&policy.name);
                match closers.iter_mut().find(|it| it.value == *condition) {
                    Some(known) => known.from.push(from),
                    None => closers.push(Sourced { value: condition.clone(), from: vec![from] }),
                }
            }
        }
        closers
    }

    fn approvals(&self) -> Vec<Sourced<ApprovalRule>> {
        let said = self.policies.iter().filter_map(|policy| {
            let value = policy.approval.clone()?;
            Some(Sourced { value, from: vec![Arc::clone(&policy.name)] })
        });
        said.collect()
    }
}

impl Effective {
    /// When a host in a zone may be visited for a kind of work. Without a window in any policy it is never.
    pub fn openings(&self, zone: &Zone, horizon: Interval, work: &[&str]) -> Openings {
        let of = |windows: &[TimeRule]| {
            let exclusions = self.exclusions.iter().flat_map(|rules| rules.iter().cloned());
            let (windows, exclusions) = (windows.to_vec(), exclusions.collect());
            Calendar { windows, exclusions }.compile(zone, horizon, work)
        };
        let mut all = self.windows.iter().map(|(_, windows)| of(windows));
        let first = all.next().unwrap_or_else(|| of(&[]));
        all.fold(first, |both, next| both.and(&next))
    }

    /// Hosts with the same key have the same openings, so that they need be compiled only once.
    pub fn calendar_key(&self, host: &Host) -> CalendarKey {
        CalendarKey {
            policies: self.policies.clone(),
            freezes: self.freezes.clone(),
            zone: host.zone.clone(),
        }
    }

    /// How many hosts of a domain of a kind must serve, of those that are registered.
    pub fn min_available(&self, kind: &str, registered: usize) -> Sourced<usize> {
        let shares = self.min_available.get(kind).map(Vec::as_slice).unwrap_or_default();
        strictest(shares, 0, |share| share.at_least(registered), |value, than| value > than)
    }

    /// How many hosts of a domain of a kind may be visited at once, of those that are registered.
    pub fn max_concurrent(&self, kind: &str, registered: usize) -> Sourced<usize> {
        let shares = self.max_concurrent.get(kind).map(Vec::as_slice).unwrap_or_default();
        strictest(shares, registered, |share| share.at_most(registered), |value, than| value < than)
    }

    /// The kinds of domains that anything is said about.
    pub fn kinds(&self) -> Vec<&str> {
        let mut kinds: Vec<&str> = self
            .min_available
            .keys()
            .chain(self.max_concurrent.keys())
            .map(String::as_str)
            .collect();
        kinds.sort_unstable();
        kinds.dedup();
        kinds
    }

    /// What the ledger must heed, as far as policies say it: domains with numbers for the hosts that are
    /// registered, labels, headroom, failures. Margin, approval and gate are for who knows them.
    pub fn grant_rules<'a>(
        &self,
        host: &Host,
        hosts: impl IntoIterator<Item = &'a Host> + Clone,
    ) -> GrantRules {
        let domains = self.kinds().into_iter().filter_map(|kind| {
            let domain = Domain::of(host, kind)?;
            let registered = registered(&domain, hosts.clone());
            let min_available = self.min_available(kind, registered).value;
            let max_concurrent = self.max_concurrent(kind, registered).value;
            Some(DomainRule { domain, min_available, max_concurrent })
        });
        let headroom = Headroom {
            connections_percent: self.connections_percent.value,
            messages_percent: self.messages_percent.value,
            forecast: self.forecast.value,
        };
        GrantRules {
            domains: domains.collect(),
            never_together: self.never_together.iter().map(|label| label.value.clone()).collect(),
            headroom: Some(headroom)
                .filter(|it| it.connections_percent > 0 || it.messages_percent > 0),
            rate: self.pace(),
            fleet_rate: self.fleet_rate.value,
            heeds_intake: true,
            failures: self.failure_budgets().collect(),
            on_window_end: self.on_window_end.value,
            ..GrantRules::default()
        }
    }

    /// The same as far as it limits who may be away at once, without what holds if nobody says anything: for drains that
    /// no plan asks for.
    pub fn caps<'a>(
        &self,
        host: &Host,
        hosts: impl IntoIterator<Item = &'a Host> + Clone,
    ) -> GrantRules {
        let rules = self.grant_rules(host, hosts);
        let said = |domain: &DomainRule| {
            let all = [&self.min_available, &self.max_concurrent];
            let says = all.map(|by_kind| {
                let shares = by_kind.get(domain.domain.kind()).into_iter().flatten();
                shares.into_iter().any(|share| !share.from.is_empty())
            });
            let [least, most] = says;
            DomainRule {
                domain: domain.domain.clone(),
                min_available: if least { domain.min_available } else { 0 },
                max_concurrent: if most { domain.max_concurrent } else { usize::MAX },
            }
        };
        let is_cap = |rule: &DomainRule| rule.min_available > 0 || rule.max_concurrent < usize::MAX;
        GrantRules {
            domains: rules.domains.iter().map(said).filter(is_cap).collect(),
            never_together: rules.never_together,
            headroom: rules.headroom,
            fleet_rate: rules.fleet_rate,
            ..GrantRules::default()
        }
    }

    /// Clients that leave a host per second, as far as policies say that: never more than may leave all of them together.
    pub fn pace(&self) -> Option<u32> {
        match (self.host_rate.value, self.fleet_rate.value) {
            (Some(own), all) => Some(all.map_or(own, |all| own.min(all))),
            // In a hurry it asks for all that there is.
            (None, Some(all)) if self.profile.value != Profile::Planned => Some(all),
            (None, _) => None,
        }
    }

    /// With how many failed visits nothing begins any more, by policy.
    pub fn failure_budgets(&self) -> impl Iterator<Item = FailureBudget> {
        self.failures.iter().map(|said| {
            let FailureRule { max, per } = said.value;
            let scope = said.from.first().map_or(FLEET, AsRef::as_ref).to_owned();
            FailureBudget { scope, max: max as usize, per }
        })
    }

    /// The conditions that close the gate, or may: also those that depend on what is not known.
    pub fn closed_by(&self, facts: &dyn Fn(&str) -> Option<Value>) -> Vec<&Sourced<Expression>> {
        let closes = |it: &&Sourced<Expression>| it.value.holds(facts) != Some(false);
        self.close_if.iter().filter(closes).collect()
    }

    /// How many people must agree to some work, and for how long that holds; 0 if nobody must. What is not known
    /// counts as if it held.
    pub fn approvers(&self, facts: &dyn Fn(&str) -> Option<Value>) -> (u32, Option<Duration>) {
        let asked = self.approvals.iter().filter(|approval| {
            approval.value.when.as_ref().is_none_or(|when| when.holds(facts) != Some(false))
        });
        asked.fold((0, None), |(most, least), approval| {
            let ApprovalRule { approvers, valid, .. } = approval.value;
            (most.max(approvers), Some(least.map_or(valid, |least: Duration| least.min(valid))))
        })
    }
}

/// The hosts of a domain that count, whether they answer or not.
pub(super) fn registered<'a>(domain: &Domain, hosts: impl IntoIterator<Item = &'a Host>) -> usize {
    let counts = |host: &&Host| host.state != HostState::Retired && domain.contains(host);
    hosts.into_iter().filter(counts).count()
}

fn strictest(
    shares: &[Sourced<Share>],
    default: usize,
    resolve: impl Fn(Share) -> usize,
    stricter: impl Fn(usize, usize) -> bool,
) -> Sourced<usize> {
    let mut found = Sourced { value: default, from: Vec::new() };
    let mut first = true;
    for share in shares {
        let value = resolve(share.value);
        if first || stricter(value, found.value) {
            found = Sourced { value, from: share.from.clone() };
        } else if value == found.value {
            found.from.extend(share.from.iter().cloned());
        }
        first = false;
    }
    found
}
