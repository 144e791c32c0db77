//! What will not work as somebody probably thinks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use protocol::{GatewayId, Wall};
use serde::{Serialize, Serializer};

use super::effective::{Effective, Sourced};
use super::freeze::Freeze;
use super::read::PolicySet;
use super::span;
use crate::calendar::{Interval, Openings, Zone};
use crate::fleet::{Domain, Host, HostState};

/// Something that will not work as somebody probably thinks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lint {
    /// What it is, for programs.
    pub code: LintCode,
    /// Where: a setting, or a host.
    pub place: String,
    /// What it is, for people.
    pub sentence: String,
}

/// Kinds of lints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintCode {
    /// A policy is about no host.
    NoHosts,
    /// A host has no window.
    NoWindow,
    /// A host's time zone is not known.
    UnknownZone,
    /// Hosts are open for too short a time.
    SelfBlock,
    /// Two policies together leave nothing.
    Contradiction,
    /// No opening is long enough for a visit.
    WindowTooShort,
    /// A visit has to be over before it can be done.
    DeadlineBeforeOpening,
    /// Nothing may happen at once, not even one visit.
    CapZero,
    /// Of a domain of one host all but one may be visited: all.
    LoneHost,
    /// A label that none of the hosts has.
    UnknownLabel,
    /// Some of a capacity must stay free that a host does not tell.
    UnknownCapacity,
}

/// A visit that is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Planned<'a> {
    /// Whose.
    pub host: &'a GatewayId,
    /// How long it probably takes (p95).
    pub length: Duration,
    /// When it has to be over.
    pub deadline: Option<Wall>,
}

/// As far as is looked ahead.
const HORIZON: Duration = Duration::from_secs(32 * 24 * 60 * 60);

impl PolicySet {
    /// What will not work as somebody probably thinks, for hosts and visits as they are. Hosts should be open at
    /// least `least_open` in 32 days.
    pub fn lints(
        &self,
        hosts: &[Host],
        freezes: &[Freeze],
        planned: &[Planned<'_>],
        now: Wall,
        least_open: Duration,
    ) -> Vec<Lint> {
        let horizon = Interval { from: now, to: now.after(HORIZON) };
        let mut found = Found::default();
        let live = |host: &&Host| host.state != HostState::Retired;
        let hosts: Vec<(&Host, Effective)> =
            hosts.iter().filter(live).map(|host| (host, self.effective(host, freezes))).collect();
        for policy in &self.policies {
            if !hosts.iter().any(|(_, holds)| holds.policies.contains(&policy.name)) {
                let sentence =
                    format!("no host has labels as in {:?}", policy.selector.to_string());
                found.note(LintCode::NoHosts, format!("policy.{}.selector", policy.name), sentence);
            }
        }
        labels(&hosts, &mut found);
        domains(&hosts, &mut found);
        capacities(&hosts, &mut found);
        let mut compiled = BTreeMap::new();
        for (host, holds) in &hosts {
            let Ok(zone) = Zone::named(&host.zone) else {
                let sentence = format!("its time zone {:?} is not in the database", host.zone);
                found.note(LintCode::UnknownZone, host.id.as_str(), sentence);
                continue;
            };
            let key = holds.calendar_key(host);
            compiled.entry(key.clone()).or_insert_with(|| {
                let openings = holds.openings(&zone, horizon, &[]);
                times(host, holds, &openings, (&zone, least_open), &mut found);
                openings
            });
            let openings = compiled.get(&key);
            for visit in planned.iter().filter(|visit| *visit.host == host.id) {
                openings.into_iter().for_each(|openings| fits(visit, openings, &zone, &mut found));
            }
        }
        found.lints
    }
}

/// What was found, each once.
#[derive(Default)]
struct Found {
    lints: Vec<Lint>,
    seen: BTreeSet<(LintCode, String)>,
}

impl Found {
    fn note(&mut self, code: LintCode, place: impl Into<String>, sentence: String) {
        let place = place.into();
        if self.seen.insert((code, place.clone())) {
            self.lints.push(Lint { code, place, sentence });
        }
    }
}

/// Labels and kinds of domains that no host of a policy has.
fn labels(hosts: &[(&Host, Effective)], found: &mut Found) {
    let mut known: BTreeMap<(String, &str), bool> = BTreeMap::new();
    for (host, holds) in hosts {
        let apart = holds
            .never_together
            .iter()
            .map(|label| ("never_together", &label.value, label.from.as_slice()));
        let shares =
            [("min_available", &holds.min_available), ("max_concurrent", &holds.max_concurrent)];
        let kinds = shares.into_iter().flat_map(|(field, kinds)| {
            kinds.iter().flat_map(move |(kind, shares)| {
                shares.iter().map(move |share| (field, kind, share.from.as_slice()))
            })
        });
        for (field, label, from) in apart.chain(kinds) {
            let has = label == "fleet" || host.labels.contains_key(label);
            for policy in from {
                let place = format!("policy.{policy}.{field}");
                *known.entry((place, label)).or_default() |= has;
            }
        }
    }
    for ((place, label), _) in known.into_iter().filter(|(_, has)| !has) {
        let sentence = format!("none of its hosts has a label {label:?}: it has no effect");
        found.note(LintCode::UnknownLabel, format!("{place}.{label}"), sentence);
    }
}

/// Numbers that leave nothing, or guard nothing.
fn domains(hosts: &[(&Host, Effective)], found: &mut Found) {
    let kinds: BTreeSet<String> =
        hosts.iter().flat_map(|(_, holds)| holds.kinds()).map(str::to_owned).collect();
    let mut registered: BTreeMap<Domain, usize> = BTreeMap::new();
    for (host, _) in hosts {
        for domain in kinds.iter().filter_map(|kind| Domain::of(host, kind)) {
            *registered.entry(domain).or_default() += 1;
        }
    }
    for (host, holds) in hosts {
        for domain in holds.kinds().into_iter().filter_map(|kind| Domain::of(host, kind)) {
            let many = registered.get(&domain).copied().unwrap_or_default();
            let most = holds.max_concurrent(domain.kind(), many);
            if most.value == 0 {
                let sentence = format!("0 of {many} hosts may be visited at once: never");
                found.note(LintCode::CapZero, place(&most, "max_concurrent", &domain), sentence);
            }
            let least = holds.min_available(domain.kind(), many);
            let said = !least.from.is_empty();
            if least.value >= many && said {
                let sentence =
                    format!("{} of {many} hosts must serve: none may be visited", least.value);
                found.note(
                    LintCode::Contradiction,
                    place(&least, "min_available", &domain),
                    sentence,
                );
            } else if many == 1 && said && least.value == 0 {
                let sentence =
                    "it has one host, and none must serve: all of it may be visited".to_owned();
                found.note(LintCode::LoneHost, place(&least, "min_available", &domain), sentence);
            }
        }
    }
}

/// What must stay free of what nobody knows limits nothing.
fn capacities(hosts: &[(&Host, Effective)], found: &mut Found) {
    for (host, holds) in hosts {
        for (field, percent, capacity) in [
            ("conns", &holds.connections_percent, host.capacity.connections),
            ("msgs", &holds.messages_percent, host.capacity.messages_per_s),
        ] {
            for policy in percent.from.iter().filter(|_| percent.value > 0 && capacity == 0) {
                let sentence =
                    format!("{} does not tell how much it can carry: it has no effect", host.id);
                found.note(
                    LintCode::UnknownCapacity,
                    format!("policy.{policy}.headroom.{field}"),
                    sentence,
                );
            }
        }
    }
}

fn place<T>(of: &Sourced<T>, field: &str, domain: &Domain) -> String {
    let policy = of.from.first().map_or("default", AsRef::as_ref);
    format!("policy.{policy}.{field} ({domain})")
}

/// How long hosts with the same calendar are open.
fn times(
    host: &Host,
    holds: &Effective,
    openings: &Openings,
    (zone, least_open): (&Zone, Duration),
    found: &mut Found,
) {
    let id = host.id.as_str();
    if holds.windows.iter().all(|(_, windows)| windows.is_empty()) {
        let sentence = "no policy gives it a window: it is never visited".to_owned();
        return found.note(LintCode::NoWindow, id, sentence);
    }
    let policies: Vec<&str> = holds.policies.iter().map(AsRef::as_ref).collect();
    let place = format!("policy.{}.windows", policies.join("+"));
    let open = openings.as_intervals();
    let horizon = openings.horizon();
    let days = horizon.length().as_secs() / (24 * 60 * 60);
    if openings.windows().is_empty() && holds.windows.len() > 1 {
        let sentence =
            format!("in the next {days} days the policies are never open together, as for {id}");
        found.note(LintCode::Contradiction, place, sentence);
    } else if open.total() < least_open {
        let (total, least) = (span::shown(open.total()), span::shown(least_open));
        let zone = zone.name();
        let sentence = format!(
            "open for {total} of the next {days} days, less than {least}, as for {id} ({zone})"
        );
        found.note(LintCode::SelfBlock, place, sentence);
    }
}

/// Whether a visit can be done.
fn fits(visit: &Planned<'_>, openings: &Openings, zone: &Zone, found: &mut Found) {
    let open = openings.as_intervals();
    let host = visit.host.as_str();
    let length = span::shown(visit.length);
    if open.is_empty() {
        return;
    }
    let Some(start) = open.earliest_fit(openings.horizon().from, visit.length) else {
        let longest = span::shown(open.longest());
        let sentence = format!("a visit takes {length}, the longest opening has {longest}");
        return found.note(LintCode::WindowTooShort, host, sentence);
    };
    if let Some(deadline) = visit.deadline.filter(|deadline| start.after(visit.length) > *deadline)
    {
        let (deadline, start) = (zone.shown(deadline), zone.shown(start));
        let sentence = format!(
            "its visit of {length} is due by {deadline}, but can begin at {start} at the earliest"
        );
        found.note(LintCode::DeadlineBeforeOpening, host, sentence);
    }
}

impl LintCode {
    /// The word for programs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NoHosts => "NO_HOSTS",
            Self::NoWindow => "NO_WINDOW",
            Self::UnknownZone => "UNKNOWN_ZONE",
            Self::SelfBlock => "SELF_BLOCK",
            Self::Contradiction => "CONTRADICTION",
            Self::WindowTooShort => "WINDOW_TOO_SHORT",
            Self::DeadlineBeforeOpening => "DEADLINE_BEFORE_OPENING",
            Self::CapZero => "CAP_ZERO",
            Self::LoneHost => "LONE_HOST",
            Self::UnknownLabel => "UNKNOWN_LABEL",
            Self::UnknownCapacity => "UNKNOWN_CAPACITY",
        }
    }
}

impl Serialize for LintCode {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(self.as_str())
    }
}

impl fmt::Display for Lint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}: {}", self.code.as_str(), self.place, self.sentence)
    }
}
