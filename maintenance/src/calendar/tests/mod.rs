//! What calendars promise, beside the tests of their parts.

mod compiled;
mod exchange;
mod recurrences;
mod zones;

use std::sync::Arc;
use std::time::Duration;

use jiff::civil::{DateTime, Time};
use protocol::Wall;

use super::rule::{OneOff, Purpose, TimeRule, When};
use super::zone::{OnGap, ZoneChoice, timestamp, wall};
use super::{Interval, Length};

const HOUR: Duration = Duration::from_secs(3600);

fn at(text: &str) -> Wall {
    wall(text.parse().unwrap()).unwrap()
}

fn span(from: &str, to: &str) -> Interval {
    Interval::new(at(from), at(to)).unwrap()
}

fn civil(text: &str) -> DateTime {
    text.parse().unwrap()
}

/// A recurring window that began on a day, at a time of that day.
fn window(rrule: &str, first: &str, length: &str, zone: &str) -> TimeRule {
    let when = When::Starts {
        first: civil(first),
        recurrence: Some(rrule.parse().unwrap()),
        also: Vec::new(),
        length: length.parse::<Length>().unwrap(),
    };
    TimeRule {
        name: Arc::from("w"),
        purpose: Purpose::Window,
        when,
        zone: ZoneChoice::named(zone).unwrap(),
        on_gap: OnGap::Skip,
        one_offs: Vec::<OneOff>::new(),
        reason: Arc::from(""),
        allow: Vec::new(),
    }
}

fn exclusion(rrule: &str, first: &str, length: &str, zone: &str) -> TimeRule {
    TimeRule {
        name: Arc::from("x"),
        purpose: Purpose::Exclusion,
        on_gap: OnGap::Shift,
        ..window(rrule, first, length, zone)
    }
}

fn time_of(start: DateTime) -> Time {
    start.time()
}

fn shown(at: Wall) -> String {
    timestamp(at).unwrap().to_string()
}
