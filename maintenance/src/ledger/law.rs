//! The law: with one host disturbed, enough others serve, and nothing else speaks against it.

use std::collections::BTreeMap;

use protocol::{GatewayId, Wall};

use super::refused::{GrantRefused, Metric};
use super::rules::{Approval, DomainRule, Gate, GrantRules, Headroom, Seen};
use super::slot::{Slot, SlotClass};
use super::table::Ledger;
use crate::fleet::{Availability, Domain, Host, HostState, Load};

/// Which question is asked; each is asked with the fleet as it is then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// May the host have a slot? May it, still, be disturbed?
    Begin,
    /// May a step be taken that cannot be taken back? The host itself serves nobody any more.
    Cross,
}

/// Every registered host once, and whether it serves, by its lease and its answer. One that is listed twice does
/// not serve twice.
struct Roll<'a>(BTreeMap<&'a GatewayId, (&'a Host, bool)>);

impl Ledger {
    /// Whether `host` may be disturbed, or disturbed further, by a slot of a class.
    pub(crate) fn check(
        &self,
        stage: Stage,
        class: SlotClass,
        host: &GatewayId,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<(), GrantRefused> {
        let roll = self.roll(seen);
        let (own, up) = match roll.0.get(host) {
            Some((own, up)) => (*own, *up),
            None if seen.hosts.iter().any(|h| h.id == *host) => return Err(GrantRefused::Retired),
            None => return Err(GrantRefused::UnknownHost),
        };
        let answer = seen.answers.and_then(|answers| answers.get(host));
        if stage == Stage::Begin {
            own_word(own, up, answer, seen, rules)?;
        }
        self.check_leave(seen.now, rules)?;
        for rule in &rules.domains {
            self.check_domain(rule, host, &roll)?;
        }
        self.check_together(own, rules)?;
        // Behind the point of no return nobody moves any more.
        if stage == Stage::Begin && class == SlotClass::Drain {
            self.check_rates(own, &roll, seen, rules)?;
        }
        match rules.headroom {
            Some(headroom) if class == SlotClass::Drain => {
                let load =
                    answer.map_or_else(Load::default, |it| it.carries(seen.now, headroom.forecast));
                self.check_headroom(headroom, own, load, &roll, seen)
            }
            Some(_) | None => Ok(()),
        }
    }

    /// Whether work may begin on a host that takes no slot, since it takes nothing from clients: all that is asked of a grant
    /// but what counts hosts that serve.
    ///
    /// # Errors
    /// [`GrantRefused`], the first reason that applies.
    pub fn may_begin(
        &self,
        host: &GatewayId,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<(), GrantRefused> {
        let own = seen.hosts.iter().find(|known| known.id == *host);
        let own = own.ok_or(GrantRefused::UnknownHost)?;
        if !self.is_registered(own) {
            return Err(GrantRefused::Retired);
        }
        let answer = seen.answers.and_then(|answers| answers.get(host));
        answered(own, answer, seen)?;
        unblocked(answer, seen, rules)?;
        self.check_leave(seen.now, rules)
    }

    /// What people say: that they agree, that the gate is open, and that not too much has failed.
    fn check_leave(&self, now: Wall, rules: &GrantRules) -> Result<(), GrantRefused> {
        match (&rules.approval, &rules.gate) {
            (Approval::Missing { given, wanted }, _) => {
                return Err(GrantRefused::NotApproved { given: *given, wanted: *wanted });
            }
            (_, Gate::Closed { why }) => return Err(GrantRefused::GateClosed { why: why.clone() }),
            (Approval::NotNeeded | Approval::Given, Gate::Open) => {}
        }
        self.check_failures(now, rules)
    }

    fn roll<'a>(&self, seen: &Seen<'a>) -> Roll<'a> {
        let mut roll = BTreeMap::new();
        for host in seen.hosts.iter().filter(|host| self.is_registered(host)) {
            let up = serves(host, seen);
            let entry = roll.entry(&host.id).or_insert((host, up));
            entry.1 &= up;
        }
        Roll(roll)
    }

    fn check_failures(&self, now: Wall, rules: &GrantRules) -> Result<(), GrantRefused> {
        for budget in &rules.failures {
            let failures = self.failed_lately(&budget.scope, budget.per, now);
            if failures > 0 && failures >= budget.max {
                return Err(GrantRefused::FailureBudget { failures, max: budget.max });
            }
        }
        Ok(())
    }

    fn check_domain(
        &self,
        rule: &DomainRule,
        host: &GatewayId,
        roll: &Roll<'_>,
    ) -> Result<(), GrantRefused> {
        let DomainRule { domain, min_available, max_concurrent } = rule;
        let (mut serving, mut unplanned) = (0, 0);
        for (id, (other, up)) in &roll.0 {
            if *id == host || !domain.contains(other) {
                continue;
            }
            match (self.slot(id).is_some(), up) {
                (true, _) => {}
                (false, true) => serving += 1,
                (false, false) => unplanned += 1,
            }
        }
        if serving < *min_available {
            let (domain, min_available) = (domain.clone(), *min_available);
            return Err(GrantRefused::MinAvailable { domain, serving, min_available, unplanned });
        }
        let others = self.slots.iter().filter(|slot| slot.host != *host);
        let slots = others.filter(|slot| domain.holds(&slot.labels)).count();
        if slots >= *max_concurrent {
            let (domain, max_concurrent) = (domain.clone(), *max_concurrent);
            return Err(GrantRefused::MaxConcurrent { domain, slots, max_concurrent });
        }
        Ok(())
    }

    fn check_together(&self, own: &Host, rules: &GrantRules) -> Result<(), GrantRefused> {
        for label in &rules.never_together {
            let Some(domain) = Domain::of(own, label) else { continue };
            let shares = |slot: &&Slot| slot.host != own.id && domain.holds(&slot.labels);
            if let Some(other) = self.slots.iter().find(shares).map(|slot| slot.host.clone()) {
                return Err(GrantRefused::Together { domain, other });
            }
        }
        Ok(())
    }

    /// Whether no more clients would leave all hosts per second than policies allow, and those of a region no more than the others
    /// there take. One host may leave alone whatever its pace is: its receivers let no more come than they take.
    fn check_rates(
        &self,
        own: &Host,
        roll: &Roll<'_>,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<(), GrantRefused> {
        let answer = seen.answers.and_then(|answers| answers.get(&own.id));
        let pace = rules.pace(answer);
        let fleet = Domain::fleet();
        let said = self.moving(own, &fleet).filter_map(|slot| slot.fleet_rate);
        let limit = said.chain(rules.fleet_rate).min();
        if let Some(limit) = limit {
            self.check_rate((own, pace), fleet, limit.into(), seen)?;
        }
        if !rules.heeds_intake {
            return Ok(());
        }
        let domain = Domain::of(own, "region").unwrap_or_else(Domain::fleet);
        let mut takes = Some(0_u64);
        for (id, (other, up)) in &roll.0 {
            if *up && *id != &own.id && self.slot(id).is_none() && domain.contains(other) {
                takes = add(takes, other.capacity.connects_per_s);
            }
        }
        takes.map_or(Ok(()), |limit| self.check_rate((own, pace), domain, limit, seen))
    }

    /// The same for one limit. A pace that nobody knows is all of it.
    fn check_rate(
        &self,
        (own, pace): (&Host, Option<u32>),
        domain: Domain,
        limit: u64,
        seen: &Seen<'_>,
    ) -> Result<(), GrantRefused> {
        let answered = |slot: &Slot| Some(seen.answers?.get(&slot.host)?.drain.per_s);
        let known = |pace: Option<u32>| pace.map_or(limit, u64::from);
        let others = self.moving(own, &domain);
        let others = others.map(|slot| known(slot.rate.or_else(|| answered(slot))));
        let others = others.fold(0, u64::saturating_add);
        let rate = others.saturating_add(known(pace).min(limit));
        if rate > limit {
            return Err(GrantRefused::RateBudget { domain, rate, limit });
        }
        Ok(())
    }

    /// The slots of other hosts in a domain whose clients still move, or will.
    fn moving<'a>(&'a self, own: &Host, domain: &Domain) -> impl Iterator<Item = &'a Slot> {
        self.slots.iter().filter(move |slot| {
            let drains = slot.class == SlotClass::Drain && slot.verdict.is_none();
            drains && slot.host != own.id && domain.holds(&slot.labels)
        })
    }

    /// Whether those that go on serving could carry what they carry, what this host would send them and what
    /// others still send them.
    fn check_headroom(
        &self,
        headroom: Headroom,
        own: &Host,
        load: Load,
        roll: &Roll<'_>,
        seen: &Seen<'_>,
    ) -> Result<(), GrantRefused> {
        let domain = Domain::of(own, "region").unwrap_or_else(Domain::fleet);
        // None: of one of them it is not known, so that nothing is limited.
        let (mut connections, mut messages) = (Some(0_u64), Some(0_u64));
        let mut total = load;
        for (id, (other, up)) in &roll.0 {
            if !up || *id == &own.id || self.slot(id).is_some() || !domain.contains(other) {
                continue;
            }
            let answer = seen.answers.and_then(|answers| answers.get(*id));
            let carries = |it: &Availability| it.carries(seen.now, headroom.forecast);
            total = total.plus(answer.map_or_else(Load::default, carries));
            connections = add(connections, other.capacity.connections);
            messages = add(messages, other.capacity.messages_per_s);
        }
        let total = self.moving(own, &domain).fold(total, |sum, slot| sum.plus(slot.load));
        let connections = connections.map(|sum| free(sum, headroom.connections_percent));
        let messages = messages.map(|sum| free(sum, headroom.messages_percent));
        for (metric, load, limit) in [
            (Metric::Connections, total.connections, connections),
            (Metric::Messages, total.messages_per_s, messages),
        ] {
            if let Some(limit) = limit.filter(|limit| load > *limit) {
                return Err(GrantRefused::Headroom { domain, metric, load, limit });
            }
        }
        Ok(())
    }
}

/// What the host itself says about being disturbed.
fn own_word(
    own: &Host,
    up: bool,
    answer: Option<&Availability>,
    seen: &Seen<'_>,
    rules: &GrantRules,
) -> Result<(), GrantRefused> {
    answered(own, answer, seen)?;
    if !up {
        return Err(GrantRefused::NotServing);
    }
    unblocked(answer, seen, rules)
}

/// Whether it has said anything lately, where that is asked for.
fn answered(
    own: &Host,
    answer: Option<&Availability>,
    seen: &Seen<'_>,
) -> Result<(), GrantRefused> {
    if seen.answers.is_some() && !answer.is_some_and(|a| a.is_fresh(seen.now, own.incarnation)) {
        return Err(GrantRefused::Stale);
    }
    Ok(())
}

/// Whether it says that nothing may be done to it now.
fn unblocked(
    answer: Option<&Availability>,
    seen: &Seen<'_>,
    rules: &GrantRules,
) -> Result<(), GrantRefused> {
    match answer.and_then(|answer| answer.hard_blocker(seen.now)) {
        Some(blocker) if !rules.glass_broken => {
            Err(GrantRefused::Blocked { code: blocker.code.clone(), until: blocker.until })
        }
        Some(_) | None => Ok(()),
    }
}

/// Whether a host serves, as far as anybody can know: silence counts as down.
fn serves(host: &Host, seen: &Seen<'_>) -> bool {
    let says_so = |answers: &BTreeMap<GatewayId, Availability>| {
        answers.get(&host.id).is_some_and(|answer| {
            answer.is_fresh(seen.now, host.incarnation) && answer.state == HostState::Serving
        })
    };
    host.state == HostState::Serving && seen.answers.is_none_or(says_so)
}

fn add(sum: Option<u64>, capacity: u64) -> Option<u64> {
    sum.filter(|_| capacity > 0).map(|sum| sum.saturating_add(capacity))
}

/// What may be used of a capacity of which some percent must stay free.
fn free(capacity: u64, percent: u8) -> u64 {
    let used = u128::from(capacity) * u128::from(100_u8.saturating_sub(percent)) / 100;
    u64::try_from(used).unwrap_or(u64::MAX)
}
