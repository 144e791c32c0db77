//! A recurrence rule as meant, and as written again.

use std::fmt;

use jiff::Timestamp;
use jiff::civil::{Date, DateTime, Weekday};

/// On which days something recurs (RFC 5545, 3.3.10): `FREQ` from `DAILY` to `YEARLY` with `INTERVAL`, `BYDAY`,
/// `BYMONTHDAY`, `BYMONTH`, `BYSETPOS`, `WKST`, `COUNT` and `UNTIL`. The time of day is no part of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recurrence {
    pub(super) frequency: Frequency,
    /// Every how many days, weeks, months, years; at least 1.
    pub(super) interval: u32,
    pub(super) by_day: Vec<OnWeekday>,
    /// From the first of the month (1 to 31) or from its end (-1 to -31).
    pub(super) by_month_day: Vec<i8>,
    pub(super) by_month: Vec<i8>,
    /// Which of the days of a period: from the first (1 on) or from the last (-1 on).
    pub(super) by_set_pos: Vec<i16>,
    pub(super) week_start: Weekday,
    pub(in crate::calendar) count: Option<u32>,
    pub(in crate::calendar) until: Option<Until>,
}

/// The period that a rule repeats by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Frequency {
    Daily,
    Weekly,
    Monthly,
    Yearly,
}

/// A day of the week; with a number the so-manieth of its month or year.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OnWeekday {
    /// 0 means every one, below 0 counts from the end.
    pub(super) nth: i16,
    pub(super) day: Weekday,
}

/// The last moment at which something may recur, itself included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All of this day, where the rule recurs.
    Day(Date),
    /// This time by the clocks where the rule recurs.
    Civil(DateTime),
    /// This moment everywhere.
    Moment(Timestamp),
}

impl Recurrence {
    /// What of the rule counts from the day on which it began; such a rule means nothing without that day.
    pub fn counts_from_its_first_day(&self) -> Option<&'static str> {
        let days = !self.by_day.is_empty() || !self.by_month_day.is_empty();
        let names_its_days = match self.frequency {
            Frequency::Daily => true,
            Frequency::Weekly => !self.by_day.is_empty(),
            Frequency::Monthly | Frequency::Yearly => days,
        };
        match (self.interval, self.count, names_its_days) {
            (2.., _, _) => Some("INTERVAL"),
            (_, Some(_), _) => Some("COUNT"),
            (_, None, false) => Some(self.frequency.as_str()),
            (_, None, true) => None,
        }
    }
}

impl Frequency {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Daily => "DAILY",
            Self::Weekly => "WEEKLY",
            Self::Monthly => "MONTHLY",
            Self::Yearly => "YEARLY",
        }
    }
}

/// The days as RFC 5545 writes them.
pub(super) const WEEKDAYS: [(&str, Weekday); 7] = [
    ("MO", Weekday::Monday),
    ("TU", Weekday::Tuesday),
    ("WE", Weekday::Wednesday),
    ("TH", Weekday::Thursday),
    ("FR", Weekday::Friday),
    ("SA", Weekday::Saturday),
    ("SU", Weekday::Sunday),
];

fn name(day: Weekday) -> &'static str {
    WEEKDAYS.iter().find(|(_, known)| *known == day).map_or("", |(name, _)| name)
}

impl fmt::Display for OnWeekday {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.nth {
            0 => f.write_str(name(self.day)),
            nth => write!(f, "{nth}{}", name(self.day)),
        }
    }
}

impl fmt::Display for Until {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Day(day) => write!(f, "{}", day.strftime("%Y%m%d")),
            Self::Civil(at) => write!(f, "{}", at.strftime("%Y%m%dT%H%M%S")),
            Self::Moment(at) => write!(f, "{}", at.strftime("%Y%m%dT%H%M%SZ")),
        }
    }
}

impl fmt::Display for Recurrence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FREQ={}", self.frequency.as_str())?;
        if self.interval > 1 {
            write!(f, ";INTERVAL={}", self.interval)?;
        }
        list(f, "BYMONTH", &self.by_month)?;
        list(f, "BYMONTHDAY", &self.by_month_day)?;
        list(f, "BYDAY", &self.by_day)?;
        list(f, "BYSETPOS", &self.by_set_pos)?;
        if self.week_start != Weekday::Monday {
            write!(f, ";WKST={}", name(self.week_start))?;
        }
        if let Some(count) = self.count {
            write!(f, ";COUNT={count}")?;
        }
        if let Some(until) = self.until {
            write!(f, ";UNTIL={until}")?;
        }
        Ok(())
    }
}

fn list<T: fmt::Display>(f: &mut fmt::Formatter<'_>, part: &str, of: &[T]) -> fmt::Result {
    for (index, value) in of.iter().enumerate() {
        if index == 0 {
            write!(f, ";{part}={value}")?;
        } else {
            write!(f, ",{value}")?;
        }
    }
    Ok(())
}
