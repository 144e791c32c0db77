//! The next openings as people read them.

use std::time::Duration;

use protocol::Wall;
use serde::Serialize;

use super::compile::{Opening, Openings};
use super::interval::Interval;
use super::odd::Odd;
use super::rule::Occurrence;
use super::zone::{OnFold, OnGap, Zone};
use crate::record;

/// The next openings of a host, in its zone, in the reader's and in UTC.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Preview {
    /// Zone of the host.
    pub host_zone: String,
    /// Zone of who reads it.
    pub viewer_zone: String,
    /// Version of the database that the clock changes are from.
    pub zone_database: &'static str,
    /// The openings, and the nights that have none because of a clock change, in order.
    pub rows: Vec<PreviewRow>,
}

/// One opening, or one that does not happen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreviewRow {
    /// What it is called.
    pub id: String,
    /// When, in milliseconds since 1970; nothing if it does not happen.
    pub interval: Option<Interval>,
    /// From and to by the clocks of the host.
    pub host: Option<[String; 2]>,
    /// From and to by the clocks of the reader.
    pub viewer: Option<[String; 2]>,
    /// From and to in UTC.
    pub utc: Option<[String; 2]>,
    /// How long it is.
    #[serde(rename = "length_ms", with = "record::millis")]
    pub length: Duration,
    /// The rules that made it.
    pub rules: Vec<String>,
    /// What clock changes do to it.
    pub odd: Vec<Odd>,
}

/// How far ahead is looked: first this many days, then twice as many, until there are enough openings.
const FIRST_LOOK_DAYS: u64 = 35;
const LAST_LOOK_DAYS: u64 = 10 * 366;
const DAY_MS: u64 = 24 * 60 * 60 * 1000;

impl Preview {
    /// The next `wanted` openings from a moment on, as far as 10 years ahead.
    pub fn next(
        wanted: usize,
        now: Wall,
        (host, viewer): (&Zone, &Zone),
        compile: impl Fn(Interval) -> Openings,
    ) -> Self {
        let mut days = FIRST_LOOK_DAYS;
        let rows = loop {
            let to = Wall(now.0.saturating_add(days.saturating_mul(DAY_MS)));
            let Some(horizon) = Interval::new(now, to) else {
                break Vec::new();
            };
            let openings = compile(horizon);
            // One that is cut off by the horizon may be longer than it seems.
            let whole = openings.openings().iter().filter(|it| it.interval.to < to).count();
            if whole >= wanted || days >= LAST_LOOK_DAYS {
                break rows(wanted, &openings, host, viewer);
            }
            days = (days * 2).min(LAST_LOOK_DAYS);
        };
        Self {
            host_zone: host.name().to_owned(),
            viewer_zone: viewer.name().to_owned(),
            zone_database: Zone::database(),
            rows,
        }
    }
}

fn rows(wanted: usize, openings: &Openings, host: &Zone, viewer: &Zone) -> Vec<PreviewRow> {
    let all = openings.openings();
    let open = all.get(..wanted).unwrap_or(all);
    let last = open.last().map(|opening| opening.interval.to);
    let mut rows: Vec<(Wall, PreviewRow)> =
        open.iter().map(|opening| (opening.interval.from, row(opening, host, viewer))).collect();
    for skipped in openings.skipped() {
        let at = host.moment(skipped.start, OnGap::Shift, OnFold::First).at;
        if let Some(at) = at.filter(|at| last.is_none_or(|last| *at < last)) {
            rows.push((at, no_row(skipped)));
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    rows.into_iter().map(|(_, row)| row).collect()
}

fn row(opening: &Opening, host: &Zone, viewer: &Zone) -> PreviewRow {
    let Opening { interval, id, rules, odd } = opening;
    let ends = |zone: &Zone| Some([zone.shown(interval.from), zone.shown(interval.to)]);
    PreviewRow {
        id: id.clone(),
        interval: Some(*interval),
        host: ends(host),
        viewer: ends(viewer),
        utc: ends(&Zone::utc()),
        length: interval.length(),
        rules: rules.iter().map(|rule| rule.as_ref().to_owned()).collect(),
        odd: odd.clone(),
    }
}

fn no_row(skipped: &Occurrence) -> PreviewRow {
    PreviewRow {
        id: skipped.id(),
        interval: None,
        host: None,
        viewer: None,
        utc: None,
        length: Duration::ZERO,
        rules: vec![skipped.rule.as_ref().to_owned()],
        odd: skipped.odd.clone(),
    }
}
