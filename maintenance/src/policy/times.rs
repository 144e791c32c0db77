//! Windows and exclusions of a policy: from what is written to rules.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Time};
use protocol::Wall;

use super::written::{WrittenFold, WrittenOneOff, WrittenRule};
use crate::calendar::{
    Edge, Instead, Length, OnGap, OneOff, Purpose, Recurrence, TimeRule, When, ZoneChoice, ics,
};

/// The calendars that exclusions name, by their names.
pub(super) type Calendars = BTreeMap<String, String>;

/// The rules that one entry means: one, or those of a calendar.
pub(super) fn rules(
    written: WrittenRule,
    name: &str,
    purpose: Purpose,
    calendars: &Calendars,
) -> Result<Vec<TimeRule>, String> {
    let zone = ZoneChoice::named(written.tz.as_deref().unwrap_or("UTC"));
    let zone = zone.map_err(|unknown| format!("tz: {unknown}"))?;
    if purpose == Purpose::Window && !written.allow.is_empty() {
        return Err("allow: is for exclusions".into());
    }
    // There is only one answer to a start that comes twice; it may be said.
    let (Some(WrittenFold::First) | None) = written.on_fold;
    if let Some(calendar) = &written.ics {
        return imported(&written, calendar, name, purpose, &zone, calendars);
    }
    let when = match (&written.rrule, &written.from, &written.to) {
        (Some(rrule), None, None) => recurring(&written, rrule, purpose)?,
        (None, Some(from), Some(to)) if alone(&written) => When::Once {
            from: edge(from, false).ok_or_else(|| no_time("from", from))?,
            to: edge(to, true).ok_or_else(|| no_time("to", to))?,
        },
        (None, Some(_), Some(_)) => {
            return Err("from and to do not go with first, start, duration, overrides".into());
        }
        _ => return Err("needs rrule with start and duration, or from and to, or ics".into()),
    };
    // What is left out is a window that does not happen, but an exclusion that does.
    let usual = match purpose {
        Purpose::Window => OnGap::Skip,
        Purpose::Exclusion => OnGap::Shift,
    };
    let one_offs = written.overrides.iter().map(one_off).collect::<Result<_, _>>()?;
    let rule = TimeRule {
        name: Arc::from(name),
        purpose,
        when,
        zone,
        on_gap: written.on_gap.unwrap_or(usual),
        one_offs,
        reason: Arc::from(written.reason),
        allow: written.allow,
    };
    rule.check().map_err(|wrong| wrong.to_string())?;
    Ok(vec![rule])
}

fn imported(
    written: &WrittenRule,
    calendar: &str,
    name: &str,
    purpose: Purpose,
    zone: &ZoneChoice,
    calendars: &Calendars,
) -> Result<Vec<TimeRule>, String> {
    if purpose == Purpose::Window {
        return Err("ics: is for exclusions".into());
    }
    let other = [&written.rrule, &written.from, &written.to].into_iter().any(Option::is_some);
    if other || !alone(written) {
        return Err("ics does not go with other times".into());
    }
    let text = calendars.get(calendar).ok_or_else(|| format!("ics: there is no {calendar:?}"))?;
    let rules = ics::read(text, name, zone).map_err(|faults| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        format!("ics {calendar:?}: {}", faults.join("; "))
    })?;
    let with_allow = |rule: TimeRule| TimeRule {
        reason: if rule.reason.is_empty() {
            Arc::from(written.reason.as_str())
        } else {
            rule.reason
        },
        allow: written.allow.clone(),
        ..rule
    };
    Ok(rules.into_iter().map(with_allow).collect())
}

/// Whether nothing is said that only belongs to what recurs.
fn alone(written: &WrittenRule) -> bool {
    let WrittenRule { first, start, duration, overrides, .. } = written;
    first.is_none() && start.is_none() && duration.is_none() && overrides.is_empty()
}

fn recurring(written: &WrittenRule, rrule: &str, purpose: Purpose) -> Result<When, String> {
    let rule: Recurrence = rrule.parse().map_err(|wrong| format!("rrule: {wrong}"))?;
    let start = match (&written.start, purpose) {
        (Some(start), _) => time_of_day(start)
            .ok_or_else(|| format!("start: {start:?} is no time of day (HH:MM)"))?,
        (None, Purpose::Exclusion) => Time::midnight(),
        (None, Purpose::Window) => return Err("start: is missing".into()),
    };
    let length = written.duration.as_ref().ok_or("duration: is missing")?;
    let length: Length = length.parse().map_err(|wrong| format!("duration: {wrong}"))?;
    let day = match (&written.first, rule.counts_from_its_first_day()) {
        (Some(first), _) => {
            let day: Option<Date> = first.parse().ok();
            day.filter(|day| (1970..=9000).contains(&day.year())).ok_or_else(|| {
                format!("first: {first:?} is no day from 1970 on (such as 2026-01-31)")
            })?
        }
        (None, None) => Date::constant(1970, 1, 1),
        (None, Some(part)) => {
            return Err(format!("rrule: {part} counts from a day: say which with `first`"));
        }
    };
    let first = day.to_datetime(start);
    Ok(When::Starts { first, recurrence: Some(rule), also: Vec::new(), length })
}

fn one_off(written: &WrittenOneOff) -> Result<OneOff, String> {
    let time = |text: &String| civil(text).ok_or_else(|| no_time("overrides", text));
    let at = time(&written.at)?;
    let instead = match (written.cancel, &written.start, &written.duration) {
        (true, None, None) => None,
        (false, None, None) | (true, _, _) => {
            return Err("overrides: needs cancel = true, or another start or duration".into());
        }
        (false, start, length) => {
            let start = start.as_ref().map_or(Ok(at), time)?;
            let length = length.as_ref().map(|length| length.parse::<Length>()).transpose();
            let length = length.map_err(|wrong| format!("overrides: {wrong}"))?;
            Some(Instead { start, length })
        }
    };
    Ok(OneOff { at, instead })
}

fn time_of_day(text: &str) -> Option<Time> {
    let shape = text.len() == 5 && text.as_bytes().get(2) == Some(&b':');
    shape.then(|| text.parse().ok()).flatten()
}

/// `2026-11-20T01:00`, by the clocks of the zone.
fn civil(text: &str) -> Option<DateTime> {
    let plain =
        text.contains('T') && text.bytes().all(|b| b.is_ascii_digit() || b"T:-".contains(&b));
    let at: DateTime = plain.then(|| text.parse().ok()).flatten()?;
    (1970..=9000).contains(&at.year()).then_some(at)
}

/// A moment with an offset, a time by the clocks of the zone, or a day: from its beginning, or to its end.
fn edge(text: &str, end: bool) -> Option<Edge> {
    if let Some(at) = civil(text) {
        return Some(Edge::Civil(at));
    }
    if let Some(at) = text.parse::<Timestamp>().ok().filter(|_| text.contains('T')) {
        return u64::try_from(at.as_millisecond()).ok().map(|at| Edge::Moment(Wall(at)));
    }
    let day: Date = text.parse().ok().filter(|_| text.len() == 10)?;
    let day = if end { day.tomorrow().ok()? } else { day };
    (1970..=9000).contains(&day.year()).then(|| Edge::Civil(day.to_datetime(Time::midnight())))
}

fn no_time(field: &str, text: &str) -> String {
    let shown: String = text.chars().take(40).collect();
    format!(
        "{field}: {shown:?} is no time (such as 2026-11-20, 2026-11-20T01:00, 2026-11-20T01:00:00Z)"
    )
}
