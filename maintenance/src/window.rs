//! Windows: civil time in, intervals of calendar time out.

use std::time::Duration;

use jiff::civil::{Date, Time};
use jiff::tz::{AmbiguousOffset, TimeZone, TimeZoneDatabase};
use jiff::{Span, Timestamp};
use protocol::Wall;
use serde::{Deserialize, Serialize};

use crate::record;

/// A span of calendar time: from its first moment until just before its last; never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Interval {
    /// The first moment inside.
    #[serde(rename = "from_ms", with = "record::wall")]
    pub from: Wall,
    /// The first moment after it.
    #[serde(rename = "to_ms", with = "record::wall")]
    pub to: Wall,
}

/// A time in which gateways may be drained: recurring in the civil time of a zone, or once.
///
/// A recurring window belongs to the day it starts on and is equally long every night: an hour that a clock
/// change skips has no window, an hour that comes twice has it the first time.
#[derive(Debug, Clone, PartialEq)]
pub struct Window(Kind);

/// Why a window cannot be what was written; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidWindow {
    /// Not one of `mon` to `sun`.
    #[error("{0:?} is no day of the week (mon, tue, wed, thu, fri, sat, sun)")]
    Day(String),
    /// Not `HH:MM`.
    #[error("{0:?} is no time of day (HH:MM)")]
    Start(String),
    /// Outside one minute to one day.
    #[error("a window lasts between 1 minute and 24 hours")]
    Duration,
    /// Not in the zone database.
    #[error("{0:?} is no time zone (such as Europe/Berlin)")]
    Zone(String),
    /// Not a moment that is written as in RFC 3339, from 1970 on.
    #[error("{0:?} is no moment (such as 2026-11-20T01:00:00Z)")]
    Moment(String),
    /// It would end before it starts.
    #[error("the window ends before it starts")]
    Empty,
}

#[derive(Debug, Clone, PartialEq)]
enum Kind {
    Recurring { days: [bool; 7], start: Time, duration: Duration, zone: TimeZone },
    Once(Interval),
}

impl Interval {
    /// A span, unless it would be empty.
    pub fn new(from: Wall, to: Wall) -> Option<Self> {
        (from < to).then_some(Self { from, to })
    }

    /// Whether a moment lies inside.
    pub fn contains(self, at: Wall) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether two spans share a moment.
    pub fn overlaps(self, other: Self) -> bool {
        self.from < other.to && other.from < self.to
    }
}

impl Window {
    /// A window on some days of the week (`mon` to `sun`; none given means every day) at a time of day
    /// (`HH:MM`) in an IANA zone, for 1 minute to 24 hours.
    ///
    /// # Errors
    /// [`InvalidWindow`], by the part that cannot be read.
    pub fn recurring<S: AsRef<str>>(
        days: &[S],
        start: &str,
        duration: Duration,
        zone: &str,
    ) -> Result<Self, InvalidWindow> {
        let mut on = [days.is_empty(); 7];
        for day in days {
            let day = day.as_ref();
            let position = DAYS.iter().position(|known| day.eq_ignore_ascii_case(known));
            let slot = position.and_then(|position| on.get_mut(position));
            *slot.ok_or_else(|| InvalidWindow::Day(day.to_owned()))? = true;
        }
        if !(MIN_DURATION..=MAX_DURATION).contains(&duration) {
            return Err(InvalidWindow::Duration);
        }
        let start = time_of_day(start).ok_or_else(|| InvalidWindow::Start(start.to_owned()))?;
        // The zones that came with the program: the same answer on every machine, and no file is read.
        let zone = TimeZoneDatabase::bundled()
            .get(zone)
            .map_err(|_| InvalidWindow::Zone(zone.to_owned()))?;
        Ok(Self(Kind::Recurring { days: on, start, duration, zone }))
    }

    /// A window that opens once, between two moments as in RFC 3339.
    ///
    /// # Errors
    /// [`InvalidWindow::Moment`] or [`InvalidWindow::Empty`].
    pub fn once(from: &str, to: &str) -> Result<Self, InvalidWindow> {
        let interval = Interval::new(moment(from)?, moment(to)?);
        Ok(Self(Kind::Once(interval.ok_or(InvalidWindow::Empty)?)))
    }

    /// The opening that a moment lies in; of two, the one that started later.
    pub fn open_at(&self, at: Wall) -> Option<Interval> {
        match &self.0 {
            Kind::Once(interval) => interval.contains(at).then_some(*interval),
            // Two days back: a window of a whole day may have started late yesterday.
            Kind::Recurring { .. } => {
                self.openings(at, -2, 1).filter(|opening| opening.contains(at)).last()
            }
        }
    }

    /// The first opening that starts after a moment.
    pub fn next(&self, at: Wall) -> Option<Interval> {
        match &self.0 {
            Kind::Once(interval) => (interval.from > at).then_some(*interval),
            // A weekly window may fall into a gap; three weeks always hold one that does not.
            Kind::Recurring { .. } => self.openings(at, -1, 21).find(|opening| opening.from > at),
        }
    }

    /// The openings that start on the days around a moment, in order.
    fn openings(&self, at: Wall, first: i64, last: i64) -> impl Iterator<Item = Interval> {
        let today = match &self.0 {
            Kind::Recurring { zone, .. } => timestamp(at).map(|at| zone.to_datetime(at).date()),
            Kind::Once(_) => None,
        };
        (first..=last).filter_map(move |offset| {
            let day = today?.checked_add(Span::new().try_days(offset).ok()?).ok()?;
            self.opening_on(day)
        })
    }

    /// The opening that starts on a day, unless the day is not chosen or its start does not exist.
    fn opening_on(&self, day: Date) -> Option<Interval> {
        let Kind::Recurring { days, start, duration, zone } = &self.0 else {
            return None;
        };
        let position = usize::try_from(day.weekday().to_monday_zero_offset()).ok()?;
        if !*days.get(position)? {
            return None;
        }
        let start = zone.to_ambiguous_timestamp(day.to_datetime(*start));
        let start = match start.offset() {
            AmbiguousOffset::Unambiguous { .. } => start.unambiguous(),
            AmbiguousOffset::Fold { .. } => start.earlier(),
            // Doing no maintenance is the safe error.
            AmbiguousOffset::Gap { .. } => return None,
        };
        let from = wall(start.ok()?)?;
        Interval::new(from, from.after(*duration))
    }
}

fn time_of_day(text: &str) -> Option<Time> {
    let (hour, minute) = text.split_once(':')?;
    let number = |text: &str| {
        let digits = text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        digits.then(|| text.parse().ok())?
    };
    Time::new(number(hour)?, number(minute)?, 0, 0).ok()
}

fn moment(text: &str) -> Result<Wall, InvalidWindow> {
    let parsed: Option<Timestamp> = text.parse().ok();
    parsed.and_then(wall).ok_or_else(|| InvalidWindow::Moment(text.to_owned()))
}

fn wall(at: Timestamp) -> Option<Wall> {
    u64::try_from(at.as_millisecond()).ok().map(Wall)
}

fn timestamp(at: Wall) -> Option<Timestamp> {
    Timestamp::from_millisecond(i64::try_from(at.0).ok()?).ok()
}

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const MIN_DURATION: Duration = Duration::from_secs(60);
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const EVERY_DAY: [&str; 0] = [];

    fn at(text: &str) -> Wall {
        moment(text).unwrap()
    }

    fn span(from: &str, to: &str) -> Option<Interval> {
        Interval::new(at(from), at(to))
    }

    #[test]
    fn a_window_is_open_from_its_start_until_just_before_its_end() {
        let window = Window::recurring(&["Tue"], "01:00", 4 * HOUR, "UTC").unwrap();
        let opening = span("2026-11-24T01:00:00Z", "2026-11-24T05:00:00Z");
        assert_eq!(window.open_at(at("2026-11-24T00:59:59.999Z")), None);
        assert_eq!(window.open_at(at("2026-11-24T01:00:00Z")), opening);
        assert_eq!(window.open_at(at("2026-11-24T04:59:59.999Z")), opening);
        assert_eq!(window.open_at(at("2026-11-24T05:00:00Z")), None);
        assert_eq!(window.next(at("2026-11-20T12:00:00Z")), opening);
        let later = span("2026-12-01T01:00:00Z", "2026-12-01T05:00:00Z");
        assert_eq!(window.next(at("2026-11-24T01:00:00Z")), later);
    }

    #[test]
    fn an_overnight_window_belongs_to_the_day_it_starts_on() {
        let window = Window::recurring(&["sat"], "23:00", 4 * HOUR, "Asia/Tokyo").unwrap();
        // Sunday 02:00 in Tokyo is inside Saturday's window; Saturday 02:00 is not.
        assert!(window.open_at(at("2026-11-22T02:00:00+09:00")).is_some());
        assert!(window.open_at(at("2026-11-21T02:00:00+09:00")).is_none());
    }

    #[test]
    fn a_start_that_spring_skips_has_no_window() {
        let window = Window::recurring(&EVERY_DAY, "02:30", HOUR, "Europe/Berlin").unwrap();
        let before = at("2026-03-28T12:00:00Z");
        let after = span("2026-03-30T02:30:00+02:00", "2026-03-30T03:30:00+02:00");
        assert_eq!(window.next(before), after);
        let weekly = Window::recurring(&["sun"], "02:30", HOUR, "Europe/Berlin").unwrap();
        let week_later = span("2026-04-05T02:30:00+02:00", "2026-04-05T03:30:00+02:00");
        assert_eq!(weekly.next(before), week_later);
    }

    #[test]
    fn a_start_that_autumn_repeats_is_taken_the_first_time() {
        let window = Window::recurring(&EVERY_DAY, "02:30", HOUR, "Europe/Berlin").unwrap();
        let night = span("2026-10-25T02:30:00+02:00", "2026-10-25T02:30:00+01:00");
        assert_eq!(window.next(at("2026-10-24T12:00:00Z")), night);
        assert_eq!(window.open_at(at("2026-10-25T02:45:00+01:00")), None);
    }

    #[test]
    fn a_window_over_a_clock_change_is_as_long_as_any_other() {
        let window = Window::recurring(&EVERY_DAY, "00:30", 4 * HOUR, "America/New_York").unwrap();
        let spring = span("2026-03-08T00:30:00-05:00", "2026-03-08T05:30:00-04:00");
        assert_eq!(window.open_at(at("2026-03-08T03:30:00-04:00")), spring);
        let autumn = span("2026-11-01T00:30:00-04:00", "2026-11-01T03:30:00-05:00");
        assert_eq!(window.open_at(at("2026-11-01T01:30:00-05:00")), autumn);
    }

    #[test]
    fn a_day_that_a_zone_left_out_has_no_window() {
        // Samoa went from Thursday the 29th to Saturday the 31st.
        let window = Window::recurring(&["fri"], "01:00", HOUR, "Pacific/Apia").unwrap();
        let next = window.next(at("2011-12-29T12:00:00Z"));
        assert_eq!(next, span("2012-01-06T01:00:00+14:00", "2012-01-06T02:00:00+14:00"));
    }

    #[test]
    fn a_one_off_window_opens_once() {
        let window = Window::once("2026-11-20T01:00:00Z", "2026-11-20T03:00:00+01:00").unwrap();
        let opening = span("2026-11-20T01:00:00Z", "2026-11-20T02:00:00Z");
        assert_eq!(window.next(Wall(0)), opening);
        assert_eq!(window.open_at(at("2026-11-20T01:30:00Z")), opening);
        assert_eq!(window.next(at("2026-11-20T01:00:00Z")), None);
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let with = |days: &[&str], start, duration, zone| {
            Window::recurring(days, start, duration, zone).unwrap_err()
        };
        assert_eq!(with(&["mo"], "01:00", HOUR, "UTC"), InvalidWindow::Day("mo".into()));
        for bad in ["1:00", "24:00", "01:60", "0100", "+1:00", "01:00:00", ""] {
            assert_eq!(with(&[], bad, HOUR, "UTC"), InvalidWindow::Start(bad.into()));
        }
        for bad in [Duration::ZERO, Duration::MAX, 25 * HOUR] {
            assert_eq!(with(&[], "01:00", bad, "UTC"), InvalidWindow::Duration);
        }
        for bad in ["", "Mars/Phobos", "../etc"] {
            assert_eq!(with(&[], "01:00", HOUR, bad), InvalidWindow::Zone(bad.into()));
        }
        let once = |from, to| Window::once(from, to).unwrap_err();
        assert!(matches!(once("now", "2026-11-20T01:00:00Z"), InvalidWindow::Moment(_)));
        assert_eq!(once("2026-11-20T01:00:00Z", "2026-11-20T01:00:00Z"), InvalidWindow::Empty);
    }

    #[test]
    fn moments_at_the_edge_of_time_have_no_window() {
        let window = Window::recurring(&EVERY_DAY, "01:00", HOUR, "UTC").unwrap();
        assert_eq!(window.open_at(Wall(u64::MAX)), None);
        assert_eq!(window.next(Wall(u64::MAX)), None);
        assert!(window.next(Wall(0)).is_some());
    }

    proptest! {
        #[test]
        fn openings_are_ordered_equally_long_and_start_at_the_written_time(
            zone in prop::sample::select(vec![
                "UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu",
                "America/Sao_Paulo", "Pacific/Chatham", "Africa/Casablanca", "Antarctica/Troll",
            ]),
            (hour, minute) in (0_i8..24, 0_i8..60),
            minutes in 1_u64..1440,
            start_s in 946_684_800_u64..2_145_916_800,
        ) {
            let duration = Duration::from_secs(minutes * 60);
            let window =
                Window::recurring(&EVERY_DAY, &format!("{hour:02}:{minute:02}"), duration, zone).unwrap();
            let tz = TimeZoneDatabase::bundled().get(zone).unwrap();
            let mut now = Wall(start_s * 1000);
            for _ in 0..200 {
                let opening = window.next(now).unwrap();
                prop_assert!(opening.from > now);
                prop_assert!(now.until(opening.from) <= 50 * HOUR);
                prop_assert_eq!(opening.from.until(opening.to), duration);
                let local = tz.to_datetime(timestamp(opening.from).unwrap()).time();
                prop_assert_eq!((local.hour(), local.minute()), (hour, minute));
                prop_assert!(window.open_at(opening.from).is_some());
                now = opening.from;
            }
        }
    }

    #[test]
    fn days_are_counted_from_monday() {
        assert_eq!(jiff::civil::Weekday::Monday.to_monday_zero_offset(), 0);
        assert_eq!(DAYS.len(), 7);
    }
}
