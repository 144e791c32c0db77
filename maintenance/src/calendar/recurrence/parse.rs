//! Reading a recurrence rule.

use std::ops::RangeInclusive;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};

use super::rule::{Frequency, OnWeekday, Recurrence, Until, WEEKDAYS};

/// What of a rule cannot be meant, and where; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part} at position {at}: {what}")]
pub struct InvalidRecurrence {
    /// The part, such as `BYDAY`.
    pub part: String,
    /// Where it begins in the rule, in bytes from 1.
    pub at: usize,
    /// What is wrong with it.
    pub what: String,
}

/// Parts of RFC 5545 that we do not take, and why.
const NOT_OURS: [(&str, &str); 6] = [
    ("BYHOUR", "the time of day is the start's"),
    ("BYMINUTE", "the time of day is the start's"),
    ("BYSECOND", "the time of day is the start's"),
    ("BYWEEKNO", "weeks of the year are not supported"),
    ("BYYEARDAY", "days of the year are not supported"),
    ("BYEASTER", "it is not part of the standard"),
];
const SUB_DAILY: [&str; 3] = ["HOURLY", "MINUTELY", "SECONDLY"];
const MAX_INTERVAL: u32 = 1_000;
const MAX_COUNT: u32 = 10_000;
/// As many values as a list may have: the days of a year.
const MAX_VALUES: usize = 366;

impl FromStr for Recurrence {
    type Err = InvalidRecurrence;

    fn from_str(text: &str) -> Result<Self, InvalidRecurrence> {
        let mut reading = Reading::default();
        let mut at = 1;
        for part in text.split(';') {
            reading.take(part).map_err(|what| {
                let name = part.split('=').next().unwrap_or_default();
                InvalidRecurrence { part: shown(name), at, what }
            })?;
            at += part.len() + 1;
        }
        reading.finish()
    }
}

/// The parts that were read so far.
#[derive(Default)]
struct Reading {
    seen: Vec<String>,
    frequency: Option<Frequency>,
    interval: Option<u32>,
    by_day: Vec<OnWeekday>,
    by_month_day: Vec<i8>,
    by_month: Vec<i8>,
    by_set_pos: Vec<i16>,
    week_start: Option<Weekday>,
    count: Option<u32>,
    until: Option<Until>,
}

impl Reading {
    fn take(&mut self, part: &str) -> Result<(), String> {
        let (name, value) = part.split_once('=').ok_or("is not of the form NAME=VALUE")?;
        let name = name.to_ascii_uppercase();
        if self.seen.contains(&name) {
            return Err("stands twice".into());
        }
        match name.as_str() {
            "FREQ" => self.frequency = Some(frequency(value)?),
            "INTERVAL" => self.interval = Some(number(value, 1..=MAX_INTERVAL)?),
            "COUNT" => self.count = Some(number(value, 1..=MAX_COUNT)?),
            "UNTIL" => self.until = Some(until(value).ok_or_else(|| no_moment(value))?),
            "WKST" => self.week_start = Some(weekday(value)?),
            "BYDAY" => self.by_day = list(value, on_weekday)?,
            "BYMONTHDAY" => self.by_month_day = list(value, |it| signed(it, 31))?,
            "BYMONTH" => self.by_month = list(value, |it| number(it, 1..=12))?,
            "BYSETPOS" => self.by_set_pos = list(value, |it| signed(it, 366))?,
            other => return Err(not_ours(other)),
        }
        self.seen.push(name);
        Ok(())
    }

    fn finish(self) -> Result<Recurrence, InvalidRecurrence> {
        let about = |part: &str, what: &str| {
            Err(InvalidRecurrence { part: part.to_owned(), at: 1, what: what.to_owned() })
        };
        let Some(frequency) = self.frequency else {
            return about("FREQ", "is missing");
        };
        let monthly = matches!(frequency, Frequency::Monthly | Frequency::Yearly);
        if self.by_day.iter().any(|day| day.nth != 0) && !monthly {
            return about("BYDAY", "numbers need FREQ=MONTHLY or YEARLY");
        }
        if frequency == Frequency::Weekly && !self.by_month_day.is_empty() {
            return about("BYMONTHDAY", "does not go with FREQ=WEEKLY");
        }
        let lists = self.by_day.is_empty() && self.by_month_day.is_empty();
        if !self.by_set_pos.is_empty() && lists && self.by_month.is_empty() {
            return about("BYSETPOS", "needs another BY part to choose from");
        }
        if self.count.is_some() && self.until.is_some() {
            return about("UNTIL", "does not go with COUNT");
        }
        Ok(Recurrence {
            frequency,
            interval: self.interval.unwrap_or(1),
            by_day: self.by_day,
            by_month_day: self.by_month_day,
            by_month: self.by_month,
            by_set_pos: self.by_set_pos,
            week_start: self.week_start.unwrap_or(Weekday::Monday),
            count: self.count,
            until: self.until,
        })
    }
}

fn not_ours(name: &str) -> String {
    match NOT_OURS.iter().find(|(known, _)| *known == name) {
        Some((_, why)) => format!("is not taken: {why}"),
        None => "is not known (FREQ, INTERVAL, BYDAY, BYMONTHDAY, BYMONTH, BYSETPOS, WKST, COUNT, UNTIL)".into(),
    }
}

fn frequency(value: &str) -> Result<Frequency, String> {
    let value = value.to_ascii_uppercase();
    if SUB_DAILY.contains(&value.as_str()) {
        return Err(format!("{value} is more often than once a day, which is not taken"));
    }
    let all = [Frequency::Daily, Frequency::Weekly, Frequency::Monthly, Frequency::Yearly];
    let found = all.into_iter().find(|known| known.as_str() == value);
    found.ok_or_else(|| format!("{:?} is none of DAILY, WEEKLY, MONTHLY, YEARLY", shown(&value)))
}

fn list<T>(value: &str, one: impl Fn(&str) -> Result<T, String>) -> Result<Vec<T>, String> {
    let found: Vec<T> = value.split(',').map(one).collect::<Result<_, _>>()?;
    if found.len() > MAX_VALUES {
        return Err(format!("has more than {MAX_VALUES} values"));
    }
    Ok(found)
}

fn number<T: TryFrom<u32> + Into<i64> + Copy>(
    value: &str,
    range: RangeInclusive<T>,
) -> Result<T, String> {
    let digits = !value.is_empty() && value.bytes().all(|b| b.is_ascii_digit());
    let parsed = digits.then(|| value.parse::<u32>().ok()).flatten();
    let (least, most): (i64, i64) = ((*range.start()).into(), (*range.end()).into());
    parsed
        .filter(|it| (least..=most).contains(&i64::from(*it)))
        .and_then(|it| T::try_from(it).ok())
        .ok_or_else(|| format!("{:?} is no number from {least} to {most}", shown(value)))
}

/// A number from 1 to the most, or as much below 0.
fn signed<T: TryFrom<i32>>(value: &str, most: u32) -> Result<T, String> {
    let wrong = || format!("{:?} is no number from 1 to {most} or -{most} to -1", shown(value));
    let digits = value.strip_prefix(['+', '-']).unwrap_or(value);
    let size = number(digits, 1..=most).ok().and_then(|it| i32::try_from(it).ok());
    let size = size.map(|it| if value.starts_with('-') { -it } else { it });
    size.and_then(|it| T::try_from(it).ok()).ok_or_else(wrong)
}

fn weekday(value: &str) -> Result<Weekday, String> {
    let found = WEEKDAYS.iter().find(|(name, _)| name.eq_ignore_ascii_case(value));
    found
        .map(|(_, day)| *day)
        .ok_or_else(|| format!("{:?} is none of MO, TU, WE, TH, FR, SA, SU", shown(value)))
}

fn on_weekday(value: &str) -> Result<OnWeekday, String> {
    let split = value.len().checked_sub(2).filter(|at| value.is_char_boundary(*at)).unwrap_or(0);
    let (nth, day) = value.split_at(split);
    let nth = if nth.is_empty() { 0 } else { signed(nth, 53)? };
    Ok(OnWeekday { nth, day: weekday(day)? })
}

/// `20261231`, `20261231T220000` or `20261231T220000Z`.
fn until(value: &str) -> Option<Until> {
    match moment(value)? {
        (day, None, _) => Some(Until::Day(day)),
        (day, Some(time), false) => Some(Until::Civil(day.to_datetime(time))),
        (day, Some(time), true) => {
            let at = jiff::tz::Offset::UTC.to_timestamp(day.to_datetime(time)).ok()?;
            Some(Until::Moment(at))
        }
    }
}

/// A day, perhaps with a time, perhaps in UTC, as RFC 5545 writes them.
pub(in crate::calendar) fn moment(value: &str) -> Option<(Date, Option<Time>, bool)> {
    let (value, utc) = value.strip_suffix(['Z', 'z']).map_or((value, false), |it| (it, true));
    let (day, time) = value.split_once(['T', 't']).map_or((value, None), |(d, t)| (d, Some(t)));
    let digits =
        |text: &str, length| text.len() == length && text.bytes().all(|b| b.is_ascii_digit());
    let pick = |text: &str, from: usize, to: usize| text.get(from..to)?.parse::<i16>().ok();
    if !digits(day, 8) {
        return None;
    }
    let small = |number: i16| i8::try_from(number).ok();
    let date =
        Date::new(pick(day, 0, 4)?, small(pick(day, 4, 6)?)?, small(pick(day, 6, 8)?)?).ok()?;
    let Some(time) = time else {
        return (!utc).then_some((date, None, false));
    };
    if !digits(time, 6) {
        return None;
    }
    // A leap second is the last of its minute to us.
    let second = small(pick(time, 4, 6)?)?;
    let second = if second == 60 { 59 } else { second };
    let time = Time::new(small(pick(time, 0, 2)?)?, small(pick(time, 2, 4)?)?, second, 0).ok()?;
    Some((date, Some(time), utc))
}

fn no_moment(value: &str) -> String {
    format!("{:?} is no day or moment (such as 20261231 or 20261231T220000Z)", shown(value))
}

/// Enough of a text to know it again.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}
