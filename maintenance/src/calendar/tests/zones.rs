//! P24: every zone of the database, every change of its clocks from 2000 to 2037.

use std::collections::BTreeSet;

use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone, TimeZoneDatabase};
use protocol::Wall;

use super::{HOUR, at, civil, exclusion, span, time_of, window};
use crate::calendar::rule::{TimeRule, When};
use crate::calendar::zone::{ZoneChoice, wall};
use crate::calendar::{Interval, Occurrence, Odd, OnGap, Zone};

const DAY_MS: u64 = 24 * 60 * 60 * 1000;

/// A change of the clocks of some zone: what they showed just before, and what they show then.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Change {
    at: Timestamp,
    before: i32,
    after: i32,
}

/// The changes of every zone, each once though many zones have it.
fn changes() -> Vec<(String, Change)> {
    let db = TimeZoneDatabase::bundled();
    let from: Timestamp = "2000-01-01T00:00:00Z".parse().unwrap();
    let to: Timestamp = "2038-01-01T00:00:00Z".parse().unwrap();
    let mut seen = BTreeSet::new();
    let mut found = Vec::new();
    let mut zones = 0;
    for name in db.available() {
        let zone = db.get(name.as_str()).unwrap();
        zones += 1;
        let mut before = zone.to_offset(from);
        for change in zone.following(from).take_while(|change| change.timestamp() < to) {
            let after = change.offset();
            let change =
                Change { at: change.timestamp(), before: before.seconds(), after: after.seconds() };
            before = after;
            if change.before != change.after && seen.insert(change.clone()) {
                found.push((name.as_str().to_owned(), change));
            }
        }
    }
    assert!(zones > 500 && found.len() > 3_000, "{zones} zones, {} changes", found.len());
    found
}

/// What the clocks show at a moment, by their offset.
fn shown(at: Timestamp, offset: i32) -> jiff::civil::DateTime {
    Offset::from_seconds(offset).unwrap().to_datetime(at)
}

fn starting_at(
    zone: &TimeZone,
    name: &str,
    start: jiff::civil::DateTime,
    rule: &TimeRule,
) -> Vec<Occurrence> {
    let mut rule = rule.clone();
    let When::Starts { first, .. } = &mut rule.when else { panic!() };
    *first = start.date().saturating_sub(jiff::Span::new().days(400)).to_datetime(start.time());
    rule.zone = ZoneChoice::Fixed(Zone::named(name).unwrap());
    let around =
        zone.to_ambiguous_timestamp(start).compatible().unwrap().as_millisecond().cast_unsigned();
    let horizon = Interval::new(Wall(around - 3 * DAY_MS), Wall(around + 3 * DAY_MS));
    rule.occurrences(&Zone::utc(), horizon.unwrap())
}

/// P24: windows are equally long whatever the clocks do, a start in a gap is left out, a start that comes twice is the
/// first of the two, and openings are in order.
#[test]
fn p24_no_change_of_any_clock_surprises_a_window() {
    let nightly = window("FREQ=DAILY", "2000-01-01T00:00", "PT4H", "UTC");
    let db = TimeZoneDatabase::bundled();
    for (name, change) in changes() {
        let zone = db.get(&name).unwrap();
        let (old, new) = (shown(change.at, change.before), shown(change.at, change.after));
        let middle = |a: jiff::civil::DateTime, b: jiff::civil::DateTime| {
            a.saturating_add(a.duration_until(b) / 2)
        };
        // Clocks put forward leave out the times from `old` to `new`; put back they show those from `new` to `old` twice.
        let start = if old < new { middle(old, new) } else { middle(new, old) };
        let found = starting_at(&zone, &name, start, &nightly);
        let night = found.iter().find(|it| it.start == start).expect("every day has one");
        if old < new {
            assert_eq!(
                (night.interval, &*night.odd),
                (None, &[Odd::Skipped][..]),
                "{name} {change:?}"
            );
        } else {
            let first = Offset::from_seconds(change.before).unwrap().to_timestamp(start).unwrap();
            let interval = night.interval.unwrap();
            assert_eq!(Some(interval.from), wall(first), "{name} {change:?}");
            assert_eq!(night.odd.first(), Some(&Odd::Repeated), "{name} {change:?}");
            assert!(interval.from < wall(change.at).unwrap(), "{name} {change:?}");
        }
        // One that begins an hour before the change lasts over it.
        let before =
            shown(Timestamp::from_second(change.at.as_second() - 3600).unwrap(), change.before);
        let over = starting_at(&zone, &name, before, &nightly);
        check(&zone, &name, &over, before);
    }
}

fn check(zone: &TimeZone, name: &str, found: &[Occurrence], start: jiff::civil::DateTime) {
    let intervals: Vec<Interval> = found.iter().filter_map(|it| it.interval).collect();
    assert!((4..=8).contains(&intervals.len()), "{name} {start}: {found:?}");
    assert!(intervals.is_sorted(), "{name} {start}");
    for occurrence in found {
        let Some(interval) = occurrence.interval else { continue };
        assert_eq!(interval.length(), 4 * HOUR, "{name} {start}");
        // It belongs to the day it starts on, and starts at the time that is written.
        let at = Timestamp::from_millisecond(interval.from.0.cast_signed()).unwrap();
        let local = zone.to_datetime(at);
        assert_eq!((local, time_of(local)), (occurrence.start, time_of(start)), "{name} {start}");
    }
    for pair in intervals.windows(2) {
        assert!(pair[0].to <= pair[1].from || pair[0].overlaps(pair[1]), "{name} {start}");
        assert!(pair[0].from < pair[1].from, "{name} {start}");
    }
}

#[test]
fn a_window_of_four_hours_over_a_clock_change_is_four_hours_long_and_marked() {
    let rule = window("FREQ=DAILY", "2026-01-01T00:30", "PT4H", "America/New_York");
    let found =
        rule.occurrences(&Zone::utc(), span("2026-03-08T06:00:00Z", "2026-03-08T07:00:00Z"));
    assert_eq!(found[0].interval, Some(span("2026-03-08T05:30:00Z", "2026-03-08T09:30:00Z")));
    assert_eq!(found[0].odd[0].to_string(), "the clocks change inside, from UTC-05 to UTC-04");
}

#[test]
fn days_of_the_calendar_are_as_long_as_they_are() {
    let rule = exclusion("FREQ=MONTHLY;BYDAY=-1SU", "2026-01-01T00:00", "P1D", "Europe/Berlin");
    let on = |from, to| rule.occurrences(&Zone::utc(), span(from, to))[0].interval.unwrap();
    assert_eq!(on("2026-03-29T12:00:00Z", "2026-03-29T13:00:00Z").length(), 23 * HOUR);
    assert_eq!(on("2026-10-25T12:00:00Z", "2026-10-25T13:00:00Z").length(), 25 * HOUR);
    assert_eq!(on("2026-05-31T12:00:00Z", "2026-05-31T13:00:00Z").length(), 24 * HOUR);
}

#[test]
fn an_exclusion_whose_start_is_left_out_starts_later_instead_of_never() {
    let rule = exclusion("FREQ=DAILY", "2026-01-01T02:30", "PT1H", "Europe/Berlin");
    let found =
        rule.occurrences(&Zone::utc(), span("2026-03-29T00:00:00Z", "2026-03-29T12:00:00Z"));
    assert_eq!(found[0].interval, Some(span("2026-03-29T01:30:00Z", "2026-03-29T02:30:00Z")));
    assert_eq!(found[0].odd[0].to_string(), "starts at 03:30: the clocks leave its start out");
}

#[test]
fn in_doubt_an_exclusion_ends_later_and_a_window_earlier() {
    // Until 02:30 on the night on which 02:30 comes twice.
    let horizon = span("2026-10-24T12:00:00Z", "2026-10-25T12:00:00Z");
    let end = |rule: TimeRule| rule.occurrences(&Zone::utc(), horizon)[0].interval.unwrap().to;
    let closed = exclusion("FREQ=DAILY;UNTIL=20261024", "2026-10-24T02:30", "P1D", "Europe/Berlin");
    assert_eq!(end(closed), at("2026-10-25T01:30:00Z"));
    let open = window("FREQ=DAILY;UNTIL=20261024", "2026-10-24T02:30", "P1D", "Europe/Berlin");
    assert_eq!(end(open), at("2026-10-25T00:30:00Z"));
}

#[test]
fn what_the_clocks_leave_out_is_not_counted() {
    let mut rule = window("FREQ=DAILY;COUNT=3", "2026-03-28T02:30", "PT1H", "Europe/Berlin");
    let horizon = span("2026-03-01T00:00:00Z", "2026-05-01T00:00:00Z");
    let days = |rule: &TimeRule| {
        let found = rule.occurrences(&Zone::utc(), horizon);
        let mut days: Vec<_> = found
            .iter()
            .filter(|it| it.interval.is_some())
            .map(|it| it.start.date().day())
            .collect();
        days.sort_unstable();
        days
    };
    assert_eq!(days(&rule), [28, 30, 31]);
    rule.on_gap = OnGap::Shift;
    assert_eq!(days(&rule), [28, 29, 30]);
}

#[test]
fn a_window_of_the_host_follows_the_night_around_the_globe() {
    let rule = window("FREQ=WEEKLY;BYDAY=TU", "2026-01-01T01:00", "PT4H", "host");
    let week = span("2026-11-22T00:00:00Z", "2026-11-29T00:00:00Z");
    let on = |zone| rule.occurrences(&Zone::named(zone).unwrap(), week)[0].interval.unwrap().from;
    assert_eq!(on("Asia/Tokyo"), at("2026-11-24T01:00:00+09:00"));
    assert_eq!(on("America/Los_Angeles"), at("2026-11-24T01:00:00-08:00"));
}

#[test]
fn an_end_by_moment_and_one_by_the_clocks_both_include_their_last_start() {
    let horizon = span("2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z");
    let last = |until: &str| {
        let rrule = format!("FREQ=DAILY;UNTIL={until}");
        let rule = window(&rrule, "2026-01-01T23:00", "PT1H", "America/New_York");
        rule.occurrences(&Zone::utc(), horizon).last().unwrap().start
    };
    assert_eq!(last("20260110"), civil("2026-01-10T23:00"));
    assert_eq!(last("20260110T230000"), civil("2026-01-10T23:00"));
    assert_eq!(last("20260110T225959"), civil("2026-01-09T23:00"));
    assert_eq!(last("20260111T040000Z"), civil("2026-01-10T23:00"));
    assert_eq!(last("20260111T035959Z"), civil("2026-01-09T23:00"));
}
