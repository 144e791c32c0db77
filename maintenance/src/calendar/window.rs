//! Windows as a gateway's own configuration has them: some days of the week, or once.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::{Date, Time, Weekday};
use protocol::Wall;

use super::interval::Interval;
use super::length::Length;
use super::recurrence::Recurrence;
use super::rule::{Edge, Purpose, TimeRule, When};
use super::zone::{OnGap, Zone, ZoneChoice, wall};

/// A time in which gateways may be drained: recurring in the civil time of a zone, or once.
///
/// A recurring window belongs to the day it starts on and is equally long every night: an hour that a clock
/// change skips has no window, an hour that comes twice has it the first time.
#[derive(Debug, Clone, PartialEq)]
pub struct Window(TimeRule);

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
        let mut on = Vec::new();
        for day in days {
            let day = day.as_ref();
            let known = DAYS.iter().find(|(name, _)| day.eq_ignore_ascii_case(name));
            on.push(known.ok_or_else(|| InvalidWindow::Day(day.to_owned()))?.1);
        }
        if on.is_empty() {
            on.extend(DAYS.iter().map(|(_, day)| *day));
        }
        if !(MIN_DURATION..=MAX_DURATION).contains(&duration) {
            return Err(InvalidWindow::Duration);
        }
        let start = time_of_day(start).ok_or_else(|| InvalidWindow::Start(start.to_owned()))?;
        let zone = Zone::named(zone).map_err(|_| InvalidWindow::Zone(zone.to_owned()))?;
        let when = When::Starts {
            first: EPOCH.to_datetime(start),
            recurrence: Some(Recurrence::weekly(on)),
            also: Vec::new(),
            length: Length::elapsed(duration),
        };
        Ok(Self(rule(when, ZoneChoice::Fixed(zone))))
    }

    /// A window that opens once, between two moments as in RFC 3339.
    ///
    /// # Errors
    /// [`InvalidWindow::Moment`] or [`InvalidWindow::Empty`].
    pub fn once(from: &str, to: &str) -> Result<Self, InvalidWindow> {
        let (from, to) = (moment(from)?, moment(to)?);
        if to <= from {
            return Err(InvalidWindow::Empty);
        }
        let when = When::Once { from: Edge::Moment(from), to: Edge::Moment(to) };
        Ok(Self(rule(when, ZoneChoice::Fixed(Zone::utc()))))
    }

    /// The opening that a moment lies in; of two, the one that started later.
    pub fn open_at(&self, at: Wall) -> Option<Interval> {
        let horizon = Interval::new(at, Wall(at.0.saturating_add(1)))?;
        self.openings(horizon).next_back()
    }

    /// The first opening that starts after a moment.
    pub fn next(&self, at: Wall) -> Option<Interval> {
        if let When::Once { from: Edge::Moment(from), .. } = self.0.when {
            let horizon = Interval::new(from, from.after(MIN_DURATION))?;
            return self.openings(horizon).find(|_| from > at);
        }
        // Most open within two days; a weekly one may fall into a gap, but three weeks hold one that does not.
        [2, 21].into_iter().find_map(|days| {
            let horizon = Interval::new(at, at.after(days * MAX_DURATION))?;
            self.openings(horizon).find(|opening| opening.from > at)
        })
    }

    fn openings(&self, horizon: Interval) -> impl DoubleEndedIterator<Item = Interval> {
        let found = self.0.occurrences(&Zone::utc(), horizon);
        found.into_iter().filter_map(|occurrence| occurrence.interval)
    }
}

fn rule(when: When, zone: ZoneChoice) -> TimeRule {
    TimeRule {
        name: Arc::from("window"),
        purpose: Purpose::Window,
        when,
        zone,
        on_gap: OnGap::Skip,
        one_offs: Vec::new(),
        reason: Arc::from(""),
        allow: Vec::new(),
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

/// Rules of days of the week have no first day; this one is before every window.
const EPOCH: Date = Date::constant(1970, 1, 1);
const DAYS: [(&str, Weekday); 7] = [
    ("mon", Weekday::Monday),
    ("tue", Weekday::Tuesday),
    ("wed", Weekday::Wednesday),
    ("thu", Weekday::Thursday),
    ("fri", Weekday::Friday),
    ("sat", Weekday::Saturday),
    ("sun", Weekday::Sunday),
];
const MIN_DURATION: Duration = Duration::from_secs(60);
const MAX_DURATION: Duration = Duration::from_secs(24 * 60 * 60);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calendar::zone::timestamp;
    use jiff::tz::TimeZoneDatabase;
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
            for _ in 0..50 {
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
}
