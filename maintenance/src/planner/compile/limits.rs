//! What is limited: the resources of a problem.

use std::time::Duration;

use protocol::Wall;

use super::domains::{Domains, Ground};
use super::jobs::Member;
use super::outlook::Outlook;
use crate::planner::problem::{Demand, HOUR_MS, Limit, Metric, Part, Resource, Rule, Steps};

/// Where the resources of each domain are.
#[derive(Debug, Default)]
pub(super) struct Places {
    pub(super) domains: Domains,
    of: Vec<Place>,
}

/// The resources of one domain.
#[derive(Debug, Default, Clone, Copy)]
struct Place {
    /// Hosts.
    count: Option<usize>,
    connections: Option<usize>,
    messages: Option<usize>,
    rate: Option<usize>,
    /// What others take.
    connects: Option<usize>,
}

impl Places {
    /// The limits that the rules of these members make, and their resources.
    pub(super) fn new(outlook: &Outlook<'_>, members: &[Member<'_>]) -> (Self, Vec<Resource>) {
        let mut places = Self::default();
        let bound = || members.iter().filter(|member| member.binds());
        let mut said = Vec::new();
        for member in bound() {
            let (Some(host), holds) = (member.host, &*member.effective) else { continue };
            for kind in holds.kinds() {
                said.extend(places.domains.enter(host, kind).map(|at| (member, kind, at)));
            }
            for label in &holds.never_together {
                let at = places.domains.enter(host, &label.value);
                if let Some(ground) = at.and_then(|at| places.domains.all.get_mut(at)) {
                    ground.alone = true;
                }
            }
            let free = (holds.connections_percent.value, holds.messages_percent.value);
            let region = places.domains.enter(host, "region");
            let at = region.or_else(|| places.domains.enter(host, "fleet"));
            if let Some(ground) = at.and_then(|at| places.domains.all.get_mut(at)) {
                let known = ground.free.unwrap_or_default();
                let most = (known.0.max(free.0), known.1.max(free.1));
                ground.free = Some(most).filter(|most| *most != (0, 0));
                ground.statistic = ground.statistic.max(holds.forecast.value);
                ground.takes |= member.drains();
            }
            let at = places.domains.enter(host, "fleet");
            if let Some(ground) = at.and_then(|at| places.domains.all.get_mut(at)) {
                let rates = ground.rate.into_iter().chain(holds.fleet_rate.value);
                ground.rate = rates.min();
            }
        }
        places.domains.count(outlook);
        for (member, kind, at) in said {
            let Some(ground) = places.domains.all.get_mut(at) else { continue };
            let min = member.effective.min_available(kind, ground.registered).value;
            let max = member.effective.max_concurrent(kind, ground.registered).value;
            ground.min_available = ground.min_available.max(Some(min));
            ground.max_concurrent = Some(ground.max_concurrent.map_or(max, |least| least.min(max)));
        }
        let resources = places.resources(outlook);
        (places, resources)
    }

    fn resources(&mut self, outlook: &Outlook<'_>) -> Vec<Resource> {
        let mut resources = Vec::new();
        let mut push = |within, limits: Vec<Limit>| {
            resources.push(Resource { within, limits });
            Some(resources.len() - 1)
        };
        let mut of = Vec::<Place>::with_capacity(self.domains.all.len());
        for ground in &self.domains.all {
            // What lies around was entered before.
            let around = ground.within.and_then(|at| of.get(at)).and_then(|place| place.count);
            let free = headroom(ground, outlook);
            of.push(Place {
                count: push(around, hosts(ground)),
                connections: free.0.and_then(|limit| push(None, vec![limit])),
                messages: free.1.and_then(|limit| push(None, vec![limit])),
                rate: ground.rate.and_then(|rate| push(None, vec![pace(ground, rate.into())])),
                connects: ground
                    .connects
                    .filter(|_| ground.takes)
                    .and_then(|connects| push(None, vec![pace(ground, connects)])),
            });
        }
        self.of = of;
        resources
    }

    /// What a member takes while it is active for so long.
    pub(super) fn demands(
        &self,
        outlook: &Outlook<'_>,
        member: &Member<'_>,
        length: Duration,
    ) -> Vec<Demand> {
        let mut demands = Vec::new();
        let mut push = |resource: Option<usize>, amount: u64, part| {
            let amount = u32::try_from(amount).unwrap_or(u32::MAX);
            let whole = resource.filter(|_| amount > 0);
            demands.extend(whole.map(|resource| Demand { resource, amount, shape: None, part }));
        };
        if !member.disturbs() {
            return demands;
        }
        for at in self.domains.of(member.labels) {
            let (Some(ground), Some(place)) = (self.domains.all.get(at), self.of.get(at)) else {
                continue;
            };
            push(place.count, 1, None);
            if !member.drains() {
                continue;
            }
            if let (Some(host), Some((connections, messages))) = (member.host, ground.free) {
                // Its own capacity goes with it; its load stays in the domain.
                push(place.connections, usable(host.capacity.connections, connections, 99), None);
                push(place.messages, usable(host.capacity.messages_per_s, messages, 99), None);
            }
            // Who is away takes nobody. One may always leave: those that are there let no more come than they take.
            let most = ground.connects.unwrap_or_default();
            let own = member.host.map_or(0, |host| host.capacity.connects_per_s).min(most);
            let Some((part, rate)) = moving(outlook, member, length) else {
                push(place.connects, own, None);
                continue;
            };
            push(place.rate, u64::from(rate.min(ground.rate.unwrap_or(rate))), Some(part));
            push(place.connects, own + u64::from(rate).min(most - own), Some(part));
            if part.to < length {
                push(place.connects, own, Some(Part { from: part.to, to: length }));
            }
        }
        demands
    }
}

/// How many hosts may be visited at once.
fn hosts(ground: &Ground) -> Vec<Limit> {
    let domain = || ground.domain.to_string();
    let constant = |number: usize| i64::try_from(number).unwrap_or(i64::MAX);
    let mut limits = Vec::new();
    if let Some(most) = ground.max_concurrent {
        let rule = Rule::Concurrent { domain: domain() };
        limits.push(Limit { rule, steps: Steps::constant(constant(most)) });
    }
    if let Some(least) = ground.min_available {
        let down = u32::try_from(ground.down).unwrap_or(u32::MAX);
        let rule = Rule::Available { domain: domain(), down };
        let left = constant(ground.registered - ground.down) - constant(least);
        limits.push(Limit { rule, steps: Steps::constant(left) });
    }
    if ground.alone {
        let rule = Rule::Together { label: ground.label.clone() };
        limits.push(Limit { rule, steps: Steps::constant(1) });
    }
    limits
}

/// How many clients may leave per second.
fn pace(ground: &Ground, per_s: u64) -> Limit {
    let rule = Rule::Rate { domain: ground.domain.to_string() };
    Limit { rule, steps: Steps::constant(i64::try_from(per_s).unwrap_or(i64::MAX)) }
}

/// How much capacity may be away, by the hour: connections and messages.
fn headroom(ground: &Ground, outlook: &Outlook<'_>) -> (Option<Limit>, Option<Limit>) {
    let Some((connections, messages)) = ground.free else {
        return (None, None);
    };
    let limit = |metric: Metric, capacity: Option<u64>, percent: u8| {
        let usable = usable(capacity?, percent, 0);
        let mut steps = Vec::new();
        let mut at = outlook.now;
        while at < outlook.until() {
            let load = ground.load_at(at, outlook.now);
            let load = match metric {
                Metric::Connections => load.connections,
                Metric::Messages => load.messages_per_s,
            };
            let signed = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
            steps.push((at, signed(usable).saturating_sub(signed(load))));
            at = Wall((at.0 / HOUR_MS).saturating_add(1).saturating_mul(HOUR_MS));
        }
        let rule = Rule::Headroom { domain: ground.domain.to_string(), metric };
        Some(Limit { rule, steps: Steps::new(steps)? })
    };
    (
        limit(Metric::Connections, ground.connections, connections),
        limit(Metric::Messages, ground.messages, messages),
    )
}

/// What may be used of a capacity of which some percent must stay free.
pub(super) fn usable(capacity: u64, percent: u8, rounding: u128) -> u64 {
    let part = u128::from(capacity) * u128::from(100_u8.saturating_sub(percent));
    u64::try_from((part + rounding) / 100).unwrap_or(u64::MAX)
}

/// When clients leave, from the grant on as the ledger counts it, and how many per second: as the ledger noted it, as policies say,
/// as the host answered, or so that it fits. A drain beside the plan is not reckoned with: nobody knows how long it lasts.
fn moving(outlook: &Outlook<'_>, member: &Member<'_>, length: Duration) -> Option<(Part, u32)> {
    let phases = &member.visit?.phases;
    if member.slot.is_some_and(|slot| slot.verdict.is_some()) {
        return None;
    }
    let to = phases.announce.saturating_add(phases.drain).min(length);
    let seconds = to.saturating_sub(phases.announce).as_secs();
    if to <= phases.announce {
        return None;
    }
    let noted = member.slot.and_then(|slot| slot.rate).or_else(|| member.effective.pace());
    let own = || outlook.answers.get(member.id).map(|answer| answer.drain.per_s);
    let fits = || u32::try_from(member.connections.div_ceil(seconds.max(1))).ok();
    let rate = noted.or_else(own).or_else(fits)?;
    Some((Part { from: Duration::ZERO, to }, rate))
}
