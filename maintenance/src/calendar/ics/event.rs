//! One event: what it says about when it is.

use std::sync::Arc;
use std::time::Duration;

use jiff::Span;
use jiff::civil::{DateTime, Time};

use super::fault::{IcsFault, shown};
use super::lines::Property;
use crate::calendar::length::{Length, parse as parse_length};
use crate::calendar::recurrence::{Recurrence, moment};
use crate::calendar::rule::{Edge, OneOff, Purpose, TimeRule, When};
use crate::calendar::zone::{OnFold, OnGap, Zone, ZoneChoice};

/// The properties of one event that say when it is.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) line: usize,
    pub(super) uid: String,
    pub(super) summary: String,
    pub(super) cancelled: bool,
    pub(super) start: Option<Property>,
    pub(super) end: Option<Property>,
    pub(super) duration: Option<Property>,
    pub(super) rule: Option<Property>,
    pub(super) instead_of: Option<Property>,
    pub(super) not_at: Vec<Property>,
    pub(super) also_at: Vec<Property>,
}

/// One event as meant.
#[derive(Debug)]
pub(super) struct Meant {
    pub(super) uid: String,
    pub(super) cancelled: bool,
    /// Nothing if it has no length, so that nothing happens in it.
    pub(super) rule: Option<TimeRule>,
    /// The start of the occurrence that it is there instead of.
    pub(super) instead_of: Option<DateTime>,
}

/// A date, or a date with a time, and whose clocks are meant.
struct Stamp {
    at: DateTime,
    /// A date only: the whole day.
    whole_day: bool,
    zone: Option<ZoneChoice>,
}

impl Written {
    /// What the event means; dates without a zone are by the clocks of `zone`.
    pub(super) fn meant(self, name: &str, zone: &ZoneChoice) -> Result<Meant, IcsFault> {
        let Some(start) = &self.start else {
            return Err(IcsFault::new(self.line, "the event has no DTSTART"));
        };
        let first = stamp(start, &start.value)?;
        let zone = first.zone.clone().unwrap_or_else(|| zone.clone());
        let when = self.when(&first, &zone)?;
        let instead_of = match &self.instead_of {
            Some(property) if property.parameter("RANGE").is_some() => {
                return Err(property.fault("RANGE is not taken"));
            }
            Some(property) => Some(by_the_clocks(property, &property.value, &first, &zone)?),
            None => None,
        };
        let mut one_offs = Vec::new();
        for property in &self.not_at {
            for value in property.value.split(',') {
                let at = by_the_clocks(property, value, &first, &zone)?;
                one_offs.push(OneOff { at, instead: None });
            }
        }
        let rule = when.map(|when| TimeRule {
            name: Arc::from(name),
            purpose: Purpose::Exclusion,
            when,
            zone,
            on_gap: OnGap::Shift,
            one_offs,
            reason: Arc::from(self.summary.as_str()),
            allow: Vec::new(),
        });
        let Self { uid, cancelled, .. } = self;
        Ok(Meant { uid, cancelled, rule, instead_of })
    }

    /// When it is; nothing if it has no length.
    fn when(&self, first: &Stamp, zone: &ZoneChoice) -> Result<Option<When>, IcsFault> {
        let alone = self.rule.is_none() && self.also_at.is_empty();
        if let (Some(end), true) = (&self.end, alone) {
            let to = by_the_clocks(end, &end.value, first, zone)?;
            let from = first.at;
            if to < from {
                return Err(end.fault("it is before DTSTART"));
            }
            let (from, to) = (Edge::Civil(from), Edge::Civil(to));
            return Ok((from != to).then_some(When::Once { from, to }));
        }
        let Some(length) = self.length(first, zone)? else {
            return Ok(None);
        };
        let mut also = Vec::new();
        for property in &self.also_at {
            for value in property.value.split(',') {
                also.push(by_the_clocks(property, value, first, zone)?);
            }
        }
        let recurrence = match &self.rule {
            Some(rule) => {
                Some(rule.value.parse::<Recurrence>().map_err(|wrong| rule.fault(wrong))?)
            }
            None => None,
        };
        // The standard leaves open what a start means that its rule does not give: it is excluded too.
        let day = first.at.date();
        if recurrence.as_ref().is_some_and(|rule| rule.days(day, day, day).is_empty()) {
            also.push(first.at);
        }
        Ok(Some(When::Starts { first: first.at, recurrence, also, length }))
    }

    /// How long each occurrence is; nothing if it takes no time.
    fn length(&self, first: &Stamp, zone: &ZoneChoice) -> Result<Option<Length>, IcsFault> {
        let (length, property) = match (&self.end, &self.duration) {
            (Some(end), _) => {
                let to = by_the_clocks(end, &end.value, first, zone)?;
                (between(first, to, zone).ok_or_else(|| end.fault("it is before DTSTART"))?, end)
            }
            (None, Some(written)) => {
                let value = written.value.trim();
                let value = value.strip_prefix('+').unwrap_or(value);
                let wrong = || written.fault(format!("{:?} is no length", shown(value)));
                (parse_length(value).ok_or_else(wrong)?, written)
            }
            (None, None) if first.whole_day => return Ok(Some(Length::days(1))),
            (None, None) => return Ok(None),
        };
        if length.usual().is_zero() {
            return Ok(None);
        }
        if !length.fits_an_event() {
            return Err(property.fault("an event that recurs lasts at most 366 days"));
        }
        Ok(Some(length))
    }
}

/// From the start to an end: whole days if it is of whole days, else the time that elapses.
fn between(first: &Stamp, to: DateTime, zone: &ZoneChoice) -> Option<Length> {
    if first.whole_day {
        let days = first.at.date().duration_until(to.date()).as_hours() / 24;
        return u32::try_from(days).ok().map(Length::days);
    }
    // In a zone that is not known yet, as if its clocks did not change meanwhile.
    let utc = Zone::utc();
    let zone = zone.or(&utc);
    let moment = |at| zone.moment(at, OnGap::Shift, OnFold::First).at;
    let (from, to) = (moment(first.at)?, moment(to)?);
    (from <= to).then(|| Length::elapsed(Duration::from_millis(to.0 - from.0)))
}

/// A time of the event by the clocks that its start is by.
fn by_the_clocks(
    property: &Property,
    value: &str,
    first: &Stamp,
    zone: &ZoneChoice,
) -> Result<DateTime, IcsFault> {
    let stamp = stamp(property, value)?;
    if stamp.whole_day && !first.whole_day && property.name != "DTEND" {
        // Only a day is said: the occurrence of that day.
        return Ok(stamp.at.date().to_datetime(first.at.time()));
    }
    match stamp.zone {
        Some(other) if other != *zone => {
            let utc = Zone::utc();
            let at = other.or(&utc).moment(stamp.at, OnGap::Shift, OnFold::First).at;
            let civil = at.and_then(|at| zone.or(&utc).civil(at));
            civil.ok_or_else(|| property.fault("it is out of range"))
        }
        Some(_) | None => Ok(stamp.at),
    }
}

/// `20261224`, `20261224T180000`, `20261224T170000Z`, with a zone in `TZID`.
fn stamp(property: &Property, value: &str) -> Result<Stamp, IcsFault> {
    let value = value.trim();
    if property.parameter("VALUE").is_some_and(|kind| kind.eq_ignore_ascii_case("PERIOD")) {
        return Err(property.fault("periods are not taken"));
    }
    let Some((day, time, utc)) = moment(value) else {
        return Err(property.fault(format!("{:?} is no date or time", shown(value))));
    };
    let zone = match property.parameter("TZID") {
        _ if utc => Some(ZoneChoice::Fixed(Zone::utc())),
        Some(name) => Some(ZoneChoice::Fixed(zone(name).ok_or_else(|| {
            property.fault(format!("{:?} is no time zone of the database", shown(name)))
        })?)),
        None => None,
    };
    let at = day.to_datetime(time.unwrap_or(Time::midnight()));
    // Far from the edges of the calendar, so that reckoning with it stays inside.
    let fits = (1..=9990).contains(&day.year()) && at.checked_add(Span::new().days(400)).is_ok();
    if !fits {
        return Err(property.fault("it is out of range"));
    }
    let whole_day = time.is_none();
    Ok(Stamp { at, whole_day, zone: zone.filter(|_| !whole_day) })
}

/// A zone of the database, perhaps behind the name of who wrote it down, as in `/example.org/Europe/Berlin`.
fn zone(name: &str) -> Option<Zone> {
    let mut rest = name.trim();
    loop {
        if let Ok(zone) = Zone::named(rest) {
            return Some(zone);
        }
        // Only names that say so have something in front.
        if !name.starts_with('/') {
            return None;
        }
        rest = rest.split_once('/')?.1;
    }
}
