//! What calendars of others show of visits: where each stands, also for a while after it is over or was called off.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::plan::Entry;
use super::published::Published;
use crate::calendar::Interval;
use crate::fleet::VisitId;
use crate::record;

/// How long a visit stays in it that is over or was called off: whoever looks once a month sees that it was.
const KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// So many of those; of more the oldest are gone earlier.
const MOST_GONE: usize = 1_000;
/// Longest text about a visit, in bytes; what is longer is cut.
const TEXT: usize = 1_024;

/// Every visit that calendars of others show. One document of the store.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Agenda {
    /// Grows with every change of any appointment, and is never less than the revision of a plan that is in it.
    pub sequence: u64,
    /// By the names of their visits.
    pub appointments: Vec<Appointment>,
}

/// What is shown of one visit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Appointment {
    /// Which.
    pub visit: VisitId,
    /// Of which host.
    #[serde(with = "record::gateway")]
    pub host: GatewayId,
    /// When it is, or was to be.
    pub interval: Interval,
    /// How sure that is.
    pub standing: Standing,
    /// Its host and what is done, in a line.
    pub summary: String,
    /// The operations and why they are wanted, a line each; at most 1,024 bytes.
    pub description: String,
    /// That of the agenda when it changed last.
    pub sequence: u64,
    /// When that was.
    #[serde(rename = "changed_ms", with = "record::wall")]
    pub changed: Wall,
}

/// How sure it is that a visit takes place when it is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Standing {
    /// It is planned, and may be moved.
    Planned,
    /// It has begun.
    Begun,
    /// It took place.
    Over,
    /// It does not take place: it was called off, or has no place in the plan any more.
    CalledOff,
}

/// What is known of a visit besides the plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// It has not begun, or nobody knows of it.
    Waits,
    /// It is on its way.
    Begun,
    /// It was brought to an end, well or not.
    Ended,
}

impl Agenda {
    /// The agenda behind this one, once that is the plan and the visits are where `fate` says. The same one if calendars
    /// show nothing else.
    #[must_use]
    pub fn follow(&self, plan: &Published, fate: impl Fn(&VisitId) -> Fate, now: Wall) -> Self {
        let sequence = (self.sequence + 1).max(plan.revision);
        let mut known: BTreeMap<&VisitId, &Appointment> =
            self.appointments.iter().map(|it| (&it.visit, it)).collect();
        let stamped = |it: Appointment| Appointment { sequence, changed: now, ..it };
        let planned = plan.plan.entries.iter().map(|entry| {
            let new = Appointment::planned(plan, entry, fate(&entry.visit), now);
            match known.remove(&entry.visit) {
                Some(old) if old.says_the_same(&new) => old.clone(),
                Some(_) | None => stamped(new),
            }
        });
        let mut appointments: Vec<_> = planned.collect();
        let gone = known.into_values().map(|old| {
            let standing = old.without_place(fate(&old.visit));
            if standing == old.standing {
                return old.clone();
            }
            stamped(Appointment { standing, ..old.clone() })
        });
        appointments.extend(gone.filter(|it| it.is_shown(now)));
        forget_the_oldest(&mut appointments);
        appointments.sort_by(|a, b| a.visit.cmp(&b.visit));
        let is_changed = appointments.iter().any(|it| it.sequence == sequence);
        let sequence = if is_changed { sequence } else { self.sequence };
        Self { sequence, appointments }
    }

    /// Leaves out what is not shown any more at that moment.
    pub fn forget(&mut self, now: Wall) {
        self.appointments.retain(|it| it.is_shown(now));
    }
}

/// At most [`MOST_GONE`] of those that are over or were called off.
fn forget_the_oldest(appointments: &mut Vec<Appointment>) {
    let gone = appointments.iter().filter(|it| it.is_gone());
    let mut gone: Vec<_> = gone.map(|it| (it.changed, it.visit.clone())).collect();
    let Some(many) = gone.len().checked_sub(MOST_GONE) else { return };
    gone.sort();
    let oldest: BTreeSet<_> = gone.into_iter().take(many).map(|(_, visit)| visit).collect();
    appointments.retain(|it| !oldest.contains(&it.visit));
}

impl Appointment {
    fn planned(plan: &Published, entry: &Entry, fate: Fate, now: Wall) -> Self {
        let operations = plan.visit(&entry.visit).map(|it| it.operations.as_slice());
        let operations = operations.unwrap_or_default();
        let kinds: BTreeSet<&str> = operations.iter().map(|it| it.kind.name()).collect();
        let kinds: Vec<&str> = kinds.into_iter().collect();
        let late = entry.late.then(|| "over after its deadline".to_owned());
        let lines = operations.iter();
        let lines = lines.map(|it| format!("{}: {} ({})", it.id, it.reason, it.requester));
        let description = lines.chain(late).collect::<Vec<_>>().join("\n");
        Self {
            visit: entry.visit.clone(),
            host: entry.host.clone(),
            interval: Interval { from: entry.start, to: entry.end },
            standing: match fate {
                Fate::Begun => Standing::Begun,
                // The plan follows a moment later.
                Fate::Ended if entry.start <= now => Standing::Over,
                Fate::Ended | Fate::Waits => Standing::Planned,
            },
            summary: cut(format!("{}: {}", entry.host, kinds.join(", "))),
            description: cut(description),
            sequence: 0,
            changed: now,
        }
    }

    /// How it stands once the plan has no place for it.
    const fn without_place(&self, fate: Fate) -> Standing {
        match (self.standing, fate) {
            // What is over stays over, also if its name is used again.
            (Standing::Over, _) => Standing::Over,
            (Standing::Planned | Standing::CalledOff, Fate::Begun) => Standing::Begun,
            (Standing::Begun, Fate::Begun) => Standing::Begun,
            (Standing::Planned | Standing::Begun, Fate::Ended) => Standing::Over,
            (Standing::Planned | Standing::Begun, Fate::Waits) => Standing::CalledOff,
            (Standing::CalledOff, Fate::Ended | Fate::Waits) => Standing::CalledOff,
        }
    }

    fn says_the_same(&self, other: &Self) -> bool {
        let of = |it: &Self| {
            (it.host.clone(), it.interval, it.standing, it.summary.clone(), it.description.clone())
        };
        of(self) == of(other)
    }

    const fn is_gone(&self) -> bool {
        match self.standing {
            Standing::Over | Standing::CalledOff => true,
            Standing::Planned | Standing::Begun => false,
        }
    }

    fn is_shown(&self, now: Wall) -> bool {
        !self.is_gone() || now < self.changed.after(KEPT)
    }
}

fn cut(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(TEXT));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fleet::Term;
    use crate::operation::{Class, OpKind, Operation, OperationId, Phases, Visit};
    use crate::planner::{Plan, PlanId, PlannedVisit};

    const HOUR: u64 = 3_600_000;

    fn id(name: &str) -> VisitId {
        VisitId::new(&format!("gw-1/{name}")).unwrap()
    }

    fn planned(name: &str, reason: &str) -> PlannedVisit {
        let host = GatewayId::new("gw-1").unwrap();
        let operation = OperationId::new(name).unwrap();
        let visit = Visit {
            id: id(name),
            host: host.clone(),
            operations: vec![operation.clone()],
            class: Class::Drain,
            phases: Phases::default(),
            not_before: None,
            deadline: None,
            priority: 0,
            after: Vec::new(),
            batches: Vec::new(),
        };
        let operation = Operation::new(operation, OpKind::Restart, host);
        let operation = Operation { reason: reason.to_owned(), ..operation };
        PlannedVisit { visit, operations: vec![operation] }
    }

    /// A plan with these visits, each an hour long, from that hour on.
    fn published(revision: u64, visits: &[(&str, u64)]) -> Published {
        let by = GatewayId::new("gw-1").unwrap();
        let entries = visits.iter().map(|(name, hour)| Entry {
            visit: id(name),
            host: by.clone(),
            start: Wall(hour * HOUR),
            end: Wall((hour + 1) * HOUR),
            late: false,
            binding: None,
            suits: None,
        });
        let plan = Plan {
            id: PlanId(revision),
            from: Wall(0),
            until: Wall(900 * HOUR),
            entries: entries.collect(),
            unplanned: Vec::new(),
            lower_bound: Wall(0),
            infeasible: Vec::new(),
            churn: 0,
        };
        let visits = visits.iter().map(|(name, _)| planned(name, "CHG-1")).collect();
        Published { revision, made: Wall(0), by, term: Term(1), plan, visits }
    }

    fn waits(_: &VisitId) -> Fate {
        Fate::Waits
    }

    fn told(agenda: &Agenda) -> Vec<(&str, Standing, u64)> {
        let told = agenda.appointments.iter();
        told.map(|it| (it.visit.as_str(), it.standing, it.sequence)).collect()
    }

    #[test]
    fn what_is_moved_or_begins_has_a_higher_number_and_what_stays_keeps_its_own() {
        use Standing::{Begun, CalledOff, Over, Planned};
        let agenda = Agenda::default().follow(&published(7, &[("a", 5), ("b", 6)]), waits, Wall(1));
        assert_eq!(told(&agenda), [("gw-1/a", Planned, 7), ("gw-1/b", Planned, 7)]);
        assert_eq!(agenda.appointments[0].summary, "gw-1: restart");
        assert_eq!(agenda.appointments[0].description, "a: CHG-1 ()");
        let moved = published(8, &[("a", 5), ("b", 9)]);
        let agenda = agenda.follow(&moved, waits, Wall(2));
        assert_eq!(told(&agenda), [("gw-1/a", Planned, 7), ("gw-1/b", Planned, 8)]);
        assert_eq!(agenda.appointments[1].changed, Wall(2));
        assert_eq!(agenda.follow(&moved, waits, Wall(3)), agenda, "nothing is new");
        let begins = |visit: &VisitId| if *visit == id("a") { Fate::Begun } else { Fate::Waits };
        let agenda = agenda.follow(&moved, begins, Wall(5 * HOUR));
        assert_eq!(told(&agenda), [("gw-1/a", Begun, 9), ("gw-1/b", Planned, 8)]);
        // It is over, and the other one was cancelled.
        let ended = |visit: &VisitId| if *visit == id("a") { Fate::Ended } else { Fate::Waits };
        let agenda = agenda.follow(&moved, ended, Wall(6 * HOUR));
        let agenda = agenda.follow(&published(9, &[]), ended, Wall(6 * HOUR));
        assert_eq!(told(&agenda), [("gw-1/a", Over, 10), ("gw-1/b", CalledOff, 11)]);
        let again = agenda.follow(&published(10, &[("b", 20)]), waits, Wall(7 * HOUR));
        assert_eq!(told(&again), [("gw-1/a", Over, 10), ("gw-1/b", Planned, 12)]);
    }

    #[test]
    fn what_is_gone_is_shown_for_thirty_days_and_its_number_is_never_used_again() {
        let agenda = Agenda::default().follow(&published(1, &[("a", 5)]), waits, Wall(1));
        let agenda = agenda.follow(&published(2, &[]), waits, Wall(HOUR));
        let last = Wall(HOUR).after(KEPT);
        for (at, shown) in [(Wall(last.0 - 1), 1), (last, 0)] {
            let mut seen = agenda.clone();
            seen.forget(at);
            assert_eq!(seen.appointments.len(), shown, "{at:?}");
        }
        let later = agenda.follow(&published(2, &[]), waits, last);
        assert_eq!((later.appointments.len(), later.sequence), (0, 2));
        let again = later.follow(&published(3, &[("a", 2_000)]), waits, last);
        assert_eq!(told(&again), [("gw-1/a", Standing::Planned, 3)]);
    }

    #[test]
    fn of_too_many_that_are_gone_the_oldest_are_forgotten_first() {
        let names: Vec<_> = (0..MOST_GONE + 5).map(|n| format!("n{n:05}")).collect();
        let all: Vec<_> = names.iter().map(|name| (name.as_str(), 5)).collect();
        let (early, late) = all.split_at(10);
        let agenda = Agenda::default().follow(&published(1, &all), waits, Wall(1));
        let agenda = agenda.follow(&published(2, late), waits, Wall(2));
        let agenda = agenda.follow(&published(3, &[]), waits, Wall(3));
        assert_eq!(agenda.appointments.len(), MOST_GONE);
        let is_there = |name: &str| agenda.appointments.iter().any(|it| it.visit == id(name));
        assert_eq!(early.iter().filter(|(name, _)| is_there(name)).count(), 5);
        assert!(late.iter().all(|(name, _)| is_there(name)));
    }

    #[test]
    fn long_texts_are_cut_between_characters_and_it_is_read_as_it_was_written() {
        let mut plan = published(1, &[("a", 5)]);
        plan.visits = vec![planned("a", &"ä".repeat(2_000))];
        let agenda = Agenda::default().follow(&plan, waits, Wall(1));
        let length = agenda.appointments[0].description.len();
        assert!((TEXT - 1..=TEXT).contains(&length), "{length}");
        let text = serde_json::to_string(&agenda).unwrap();
        assert_eq!(serde_json::from_str::<Agenda>(&text).unwrap(), agenda);
    }
}
