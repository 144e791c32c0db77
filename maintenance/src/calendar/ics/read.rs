//! Reading a calendar as exclusions.

use std::collections::BTreeMap;

use super::event::{Meant, Written};
use super::fault::{IcsFault, shown};
use super::lines::{Property, properties};
use crate::calendar::rule::{OneOff, TimeRule, When};
use crate::calendar::zone::ZoneChoice;

/// As many events as a calendar may have.
const MAX_EVENTS: usize = 10_000;
/// As many faults as are told.
const MAX_FAULTS: usize = 20;
/// Components may stand in one another so deep.
const MAX_DEPTH: usize = 16;

/// The events of a calendar as exclusions, all of one name; dates without a zone are by the clocks of `zone`.
///
/// Cancelled events and events without a length exclude nothing. Alarms, tasks and the calendar's own zones are
/// not looked at: zones are those of the database.
///
/// # Errors
/// Everything that cannot be heeded, the first 20 of it: an exclusion that is not understood must not be forgotten.
pub fn read(text: &str, name: &str, zone: &ZoneChoice) -> Result<Vec<TimeRule>, Vec<IcsFault>> {
    let mut faults = Vec::new();
    let mut reading = Reading::default();
    for property in properties(text) {
        let taken = match property {
            Ok(property) => reading.take(property),
            // A broken line of something that does not matter does not matter.
            Err(_) if reading.is_elsewhere() => Ok(()),
            Err(fault) => Err(fault),
        };
        faults.extend(taken.err());
        if faults.len() >= MAX_FAULTS {
            return Err(faults);
        }
    }
    if !reading.saw_calendar {
        faults.push(IcsFault::new(1, "there is no VCALENDAR"));
    }
    if let Some((open, line)) = reading.open.last() {
        faults.push(IcsFault::new(*line, format!("{} does not end", shown(open))));
    }
    if !faults.is_empty() {
        return Err(faults);
    }
    let mut meant = Vec::new();
    for event in reading.events {
        match event.meant(name, zone) {
            Ok(event) => meant.push(event),
            Err(fault) => faults.push(fault),
        }
    }
    faults.truncate(MAX_FAULTS);
    if faults.is_empty() { Ok(rules(meant)) } else { Err(faults) }
}

/// The components that are open, and the events that were read.
#[derive(Default)]
struct Reading {
    saw_calendar: bool,
    /// Name and line.
    open: Vec<(String, usize)>,
    event: Option<Written>,
    events: Vec<Written>,
}

impl Reading {
    fn take(&mut self, property: Property) -> Result<(), IcsFault> {
        match property.name.as_str() {
            "BEGIN" => self.begin(&property),
            "END" => self.end(&property),
            _ if self.is_elsewhere() => Ok(()),
            _ => self.note(property),
        }
    }

    /// Whether what comes is no part of an event, but of its alarm, say.
    fn is_elsewhere(&self) -> bool {
        self.open.last().is_none_or(|(name, _)| name != "VEVENT")
    }

    fn begin(&mut self, property: &Property) -> Result<(), IcsFault> {
        let name = property.value.trim().to_ascii_uppercase();
        if self.open.len() >= MAX_DEPTH {
            return Err(property.fault("components stand in one another too deep"));
        }
        match (name.as_str(), self.open.len()) {
            ("VCALENDAR", 0) => self.saw_calendar = true,
            ("VEVENT", 1) => {
                self.event = Some(Written { line: property.line, ..Written::default() });
            }
            (_, 0) | ("VCALENDAR" | "VEVENT", _) => {
                return Err(property.fault(format!("{} does not belong here", shown(&name))));
            }
            (_, _) => {}
        }
        self.open.push((name, property.line));
        Ok(())
    }

    fn end(&mut self, property: &Property) -> Result<(), IcsFault> {
        let name = property.value.trim();
        match self.open.last() {
            Some((open, _)) if open.eq_ignore_ascii_case(name) => self.open.pop(),
            Some(_) | None => {
                return Err(property.fault(format!("{} was not begun", shown(name))));
            }
        };
        if self.open.len() == 1
            && let Some(event) = self.event.take()
        {
            if self.events.len() >= MAX_EVENTS {
                return Err(property.fault(format!("there are more than {MAX_EVENTS} events")));
            }
            self.events.push(event);
        }
        Ok(())
    }

    fn note(&mut self, property: Property) -> Result<(), IcsFault> {
        let Some(event) = &mut self.event else {
            return Ok(());
        };
        let once = match property.name.as_str() {
            "DTSTART" => &mut event.start,
            "DTEND" => &mut event.end,
            "DURATION" => &mut event.duration,
            "RRULE" => &mut event.rule,
            "RECURRENCE-ID" => &mut event.instead_of,
            "EXRULE" => return Err(property.fault("it is not taken")),
            other => {
                match other {
                    "EXDATE" => event.not_at.push(property),
                    "RDATE" => event.also_at.push(property),
                    "UID" => event.uid = property.value,
                    "SUMMARY" => event.summary = unescaped(&property.value),
                    "STATUS" => {
                        event.cancelled = property.value.trim().eq_ignore_ascii_case("CANCELLED");
                    }
                    _ => {}
                }
                return Ok(());
            }
        };
        if once.is_some() {
            return Err(property.fault("it stands twice"));
        }
        *once = Some(property);
        Ok(())
    }
}

/// Events that stand for one occurrence of another take its place.
fn rules(mut meant: Vec<Meant>) -> Vec<TimeRule> {
    let mut instead: BTreeMap<String, Vec<OneOff>> = BTreeMap::new();
    for event in &meant {
        if let Some(at) = event.instead_of {
            instead.entry(event.uid.clone()).or_default().push(OneOff { at, instead: None });
        }
    }
    for event in &mut meant {
        let Some(rule) = event.rule.as_mut().filter(|_| event.instead_of.is_none()) else {
            continue;
        };
        rule.one_offs.extend(instead.get(&event.uid).into_iter().flatten());
        if let When::Starts { also, .. } = &mut rule.when {
            also.retain(|at| !rule.one_offs.iter().any(|one_off| one_off.at == *at));
        }
    }
    meant.into_iter().filter(|event| !event.cancelled).filter_map(|event| event.rule).collect()
}

/// Text as RFC 5545 escapes it (3.3.11).
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            '\\' => match chars.next() {
                Some('n' | 'N') => plain.push('\n'),
                Some(other) => plain.push(other),
                None => {}
            },
            other => plain.push(other),
        }
    }
    plain
}
