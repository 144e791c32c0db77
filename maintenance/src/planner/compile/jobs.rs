//! Visits and slots as jobs.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use protocol::{GatewayId, Incarnation};

use super::holds::holds;
use super::ladder::Ladder;
use super::limits::Places;
use super::outlook::Outlook;
use crate::calendar::{Interval, Intervals, Zone};
use crate::fleet::{Host, HostState, VisitId};
use crate::ledger::{Slot, SlotClass};
use crate::operation::{BatchOf, CampaignId, OpKind, Operation, OperationId, Visit};
use crate::planner::problem::{Calendar, Deadline, Group, Job, Link, Predecessor, Problem};
use crate::policy::{CalendarKey, Effective};

/// What a host is visited for, or held in a slot for.
pub(super) struct Member<'a> {
    name: VisitId,
    pub(super) id: &'a GatewayId,
    pub(super) operations: Vec<&'a Operation>,
    /// How many hosts are visited for the same: those of its campaign.
    pub(super) hosts: usize,
    pub(super) visit: Option<&'a Visit>,
    /// The slot it holds already.
    pub(super) slot: Option<&'a Slot>,
    /// None if nobody knows of it.
    pub(super) host: Option<&'a Host>,
    pub(super) labels: &'a BTreeMap<String, String>,
    pub(super) effective: Rc<Effective>,
    pub(super) connections: u64,
    calendar: usize,
    /// Whether its calendar ever opens.
    opens: bool,
}

/// Everything that the planner has to know. Visits of hosts that nobody knows of, or whose time zone is unknown, are
/// in it, and have no place.
pub fn compile(outlook: &Outlook<'_>) -> Problem {
    let mut draft = Draft::new(outlook);
    let members = draft.members();
    let (places, mut resources) = Places::new(outlook, &members);
    let ladder = Ladder::new(outlook, &members, &mut resources);
    let groups = groups(&members);
    let numbers: BTreeMap<&VisitId, usize> = members
        .iter()
        .enumerate()
        .filter_map(|(number, member)| Some((&member.visit?.id, number)))
        .collect();
    let slotted = members.iter().enumerate().filter(|(_, member)| member.slot.is_some());
    let slotted: BTreeMap<&GatewayId, usize> = slotted.map(|(n, member)| (member.id, n)).collect();
    let mut jobs: Vec<Job> = Vec::with_capacity(members.len());
    for member in &members {
        let mut job = job(outlook, member);
        job.demands = places.demands(outlook, member, job.duration);
        let (demands, supplies) = ladder.of(member);
        job.demands.extend(demands);
        job.supplies = supplies;
        if let (Some(visit), None) = (member.visit, job.fixed) {
            let before = visit.after.iter().filter_map(|after| {
                let on = Predecessor::Job(*numbers.get(&after.visit)?);
                Some(Link { on, lag: after.lag })
            });
            job.after = before.chain(batches_before(&groups, visit)).collect();
            // A visit that is on its way is over before the next of its host begins.
            job.after.extend(slotted.get(&visit.host).map(|number| {
                let on = Predecessor::Job(*number);
                Link { on, lag: Duration::ZERO }
            }));
        }
        jobs.push(job);
    }
    Problem {
        from: outlook.now,
        until: outlook.until(),
        calendars: draft.calendars,
        shapes: Vec::new(),
        resources,
        groups: groups.into_values().map(|(_, group)| group).collect(),
        jobs,
    }
}

/// By campaign and number: how long a batch is watched, and its jobs.
type Groups<'a> = BTreeMap<(&'a CampaignId, usize), (Duration, Group)>;

fn groups<'a>(members: &[Member<'a>]) -> Groups<'a> {
    let mut groups = Groups::new();
    for (number, member) in members.iter().enumerate() {
        for batch in member.visit.into_iter().flat_map(|visit| &visit.batches) {
            let group = || (batch.soak, Group { name: batch.to_string(), jobs: Vec::new() });
            let (soak, group) = groups.entry((&batch.campaign, batch.number)).or_insert_with(group);
            *soak = (*soak).max(batch.soak);
            group.jobs.push(number);
        }
    }
    groups
}

/// The batch before each of a visit's, and the time that this is watched.
fn batches_before(groups: &Groups<'_>, visit: &Visit) -> Vec<Link> {
    let before = |batch: &BatchOf| {
        let key = (&batch.campaign, batch.number);
        let (place, (of, (soak, _))) =
            groups.iter().enumerate().take_while(|(_, (of, _))| **of < key).last()?;
        let on = Predecessor::Group(place);
        (of.0 == &batch.campaign).then_some(Link { on, lag: *soak })
    };
    visit.batches.iter().filter_map(before).collect()
}

/// Calendars, each compiled once.
struct Draft<'a> {
    outlook: &'a Outlook<'a>,
    operations: BTreeMap<&'a OperationId, &'a Operation>,
    /// Visits by campaign, pending and finished.
    campaigns: BTreeMap<&'a CampaignId, usize>,
    calendars: Vec<Calendar>,
    known: BTreeMap<(CalendarKey, Vec<Vec<&'a str>>), usize>,
}

impl<'a> Draft<'a> {
    fn new(outlook: &'a Outlook<'a>) -> Self {
        let mut campaigns = BTreeMap::<&CampaignId, usize>::new();
        let pending = outlook.visits.iter().flat_map(|visit| &visit.batches);
        for batch in pending.chain(outlook.finished.iter().map(|done| &done.batch)) {
            *campaigns.entry(&batch.campaign).or_default() += 1;
        }
        Self {
            outlook,
            operations: outlook.operations.iter().map(|it| (&it.id, it)).collect(),
            campaigns,
            calendars: Vec::new(),
            known: BTreeMap::new(),
        }
    }

    /// All visits, and the slots that are held for none of them.
    fn members(&mut self) -> Vec<Member<'a>> {
        let outlook = self.outlook;
        let registered = outlook.hosts.iter().filter(|host| outlook.ledger.is_registered(host));
        let hosts: BTreeMap<&GatewayId, &Host> = registered.map(|host| (&host.id, host)).collect();
        let mut members = Vec::with_capacity(outlook.visits.len());
        let mut held = BTreeSet::new();
        for visit in outlook.visits {
            let slot = outlook.ledger.slot(&visit.host);
            let slot = slot.filter(|slot| slot.visit.as_ref() == Some(&visit.id));
            held.extend(slot.map(|slot| &slot.host));
            let host = hosts.get(&visit.host).copied();
            members.push(self.member(visit.id.clone(), &visit.host, (Some(visit), slot, host)));
        }
        let slots = outlook.ledger.slots().iter();
        for slot in slots.filter(|slot| !held.contains(&slot.host)) {
            let host = hosts.get(&slot.host).copied();
            let name = format!("{}/slot-{}", slot.host.as_str(), slot.epoch.0);
            // A slot always has a name: that of a host is short and printable.
            let Some(name) = slot.visit.clone().or_else(|| VisitId::new(&name).ok()) else {
                continue;
            };
            members.push(self.member(name, &slot.host, (None, Some(slot), host)));
        }
        members
    }

    fn member(
        &mut self,
        name: VisitId,
        id: &'a GatewayId,
        (visit, slot, host): (Option<&'a Visit>, Option<&'a Slot>, Option<&'a Host>),
    ) -> Member<'a> {
        static NONE: BTreeMap<String, String> = BTreeMap::new();
        let outlook = self.outlook;
        let unknown;
        let subject = match host {
            Some(host) => host,
            None => {
                unknown = Host::new(id.clone(), Incarnation(0), HostState::Lost);
                &unknown
            }
        };
        let effective = Rc::new(outlook.policies.effective(subject, outlook.freezes));
        let operations = visit.into_iter().flat_map(|visit| &visit.operations);
        let operations: Vec<&Operation> =
            operations.filter_map(|id| self.operations.get(id).copied()).collect();
        let batches = visit.into_iter().flat_map(|visit| &visit.batches);
        let campaigns = batches.filter_map(|batch| self.campaigns.get(&batch.campaign).copied());
        let hosts = campaigns.max().unwrap_or(1);
        let calendar = self.calendar(subject, &effective, &operations);
        let opens = self.calendars.get(calendar).is_some_and(|it| !it.windows.is_empty());
        let labels = slot.map(|slot| &slot.labels).or_else(|| host.map(|host| &host.labels));
        let answer = host.and_then(|host| outlook.answer(host));
        Member {
            name,
            id,
            operations,
            hosts,
            visit,
            slot,
            host,
            labels: labels.unwrap_or(&NONE),
            effective,
            connections: answer.map_or(0, |answer| answer.load.connections),
            calendar,
            opens: opens && host.is_some(),
        }
    }

    /// The calendar of a host for the work of a visit.
    fn calendar(&mut self, host: &Host, holds: &Effective, operations: &[&'a Operation]) -> usize {
        let mut works: Vec<Vec<&'a str>> = operations.iter().map(|it| words(it)).collect();
        works.sort_unstable();
        works.dedup();
        let key = (holds.calendar_key(host), works);
        if let Some(known) = self.known.get(&key) {
            return *known;
        }
        let horizon = self.outlook.rest(self.outlook.now);
        let spans = |set: &Intervals| set.iter().collect::<Vec<Interval>>();
        let calendar = match (Zone::named(&host.zone), horizon) {
            (Ok(zone), Some(horizon)) => {
                // What one of its works must not be done in, all of it must not.
                let excluded = |work: &[&str]| holds.openings(&zone, horizon, work).excluded();
                let frozen = key.1.iter().map(|work| excluded(work)).reduce(|a, b| a.union(&b));
                Calendar {
                    windows: spans(&holds.openings(&zone, horizon, &[]).windows()),
                    frozen: spans(&frozen.unwrap_or_else(|| excluded(&[]))),
                }
            }
            (Err(_), _) | (Ok(_), None) => Calendar::default(),
        };
        self.calendars.push(calendar);
        let place = self.calendars.len() - 1;
        self.known.insert(key, place);
        place
    }
}

/// The words that an exclusion may allow an operation by.
pub(in crate::planner) fn words(operation: &Operation) -> Vec<&str> {
    match &operation.kind {
        OpKind::Hook { name, .. } => vec![operation.kind.name(), name],
        OpKind::DrainOnly { .. }
        | OpKind::Restart
        | OpKind::CertRotate
        | OpKind::ConfigChange { .. }
        | OpKind::Upgrade { .. }
        | OpKind::Reboot => vec![operation.kind.name()],
    }
}

impl Member<'_> {
    /// Whether it takes its host away from clients, or may.
    pub(super) fn disturbs(&self) -> bool {
        self.slot.is_some() || self.visit.is_some_and(|visit| visit.slot().is_some())
    }

    /// Whether the clients have to go.
    pub(super) fn drains(&self) -> bool {
        match (self.slot, self.visit) {
            (Some(slot), _) => slot.class == SlotClass::Drain,
            (None, visit) => visit.is_some_and(|visit| visit.class.drains()),
        }
    }

    /// Whether its rules limit others: those of a host that is never visited do not.
    pub(super) fn binds(&self) -> bool {
        self.visit.is_some() && self.disturbs() && (self.opens || self.slot.is_some())
    }
}

/// Whether a visit is as important as what its host's word yields to.
fn insists(member: &Member<'_>) -> bool {
    let least = member.effective.soft_yields_to.value;
    member.visit.zip(least).is_some_and(|(visit, least)| visit.priority >= least)
}

fn job(outlook: &Outlook<'_>, member: &Member<'_>) -> Job {
    let probable = member.visit.map_or(Duration::ZERO, |visit| visit.phases.total());
    let probable = probable.saturating_add(outlook.expected.margin);
    let (fixed, duration) = match member.slot {
        None => (None, probable),
        Some(slot) => {
            let start = slot.started.unwrap_or(slot.granted).min(outlook.now);
            // Nothing but evidence frees a slot; one that failed waits for people.
            let least = if slot.failed.is_some() {
                outlook.until()
            } else {
                outlook.now.after(outlook.expected.overrun)
            };
            let end = start.after(probable);
            let end = if outlook.now < end && slot.failed.is_none() { end } else { least };
            (Some(start), start.until(end))
        }
    };
    let held = match (member.visit, fixed) {
        (Some(visit), None) => holds(outlook, member, visit),
        (_, Some(_)) | (None, None) => Vec::new(),
    };
    let is_asked = fixed.is_none() && member.disturbs();
    let answer = member.host.filter(|_| is_asked).and_then(|host| outlook.answer(host));
    let preferred = answer.map_or_else(Vec::new, |answer| answer.preferred.clone());
    let rank = member.visit.and_then(|visit| visit.batches.iter().map(|batch| batch.number).max());
    Job {
        visit: member.name.clone(),
        host: member.id.clone(),
        duration: duration.max(Duration::from_millis(1)),
        calendar: member.calendar,
        holds: held,
        preferred,
        insists: insists(member),
        not_before: member.visit.and_then(|visit| visit.not_before).unwrap_or_default(),
        deadline: member
            .visit
            .and_then(|visit| visit.deadline)
            .map(|due| Deadline { at: due.at, hard: due.hard }),
        priority: member.visit.map_or(0, |visit| visit.priority),
        rank: rank.and_then(|rank| u32::try_from(rank).ok()).unwrap_or(0),
        demands: Vec::new(),
        supplies: Vec::new(),
        after: Vec::new(),
        fixed,
    }
}
