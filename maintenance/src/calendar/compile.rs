//! Rules compiled: when maintenance may happen, and which rules say so.

use std::sync::Arc;

use protocol::Wall;

use super::ics;
use super::interval::Interval;
use super::intervals::Intervals;
use super::odd::Odd;
use super::rule::{Occurrence, TimeRule};
use super::zone::Zone;

/// Windows and exclusions that belong together: maintenance may happen in any of the windows, and in none of the
/// exclusions. Without a window it may never happen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Calendar {
    /// When it may happen.
    pub windows: Vec<TimeRule>,
    /// When it may not, whatever the windows say.
    pub exclusions: Vec<TimeRule>,
}

/// A span in which maintenance may happen, without a break.
#[derive(Debug, Clone, PartialEq)]
pub struct Opening {
    /// When, within the horizon that was asked for.
    pub interval: Interval,
    /// What it is called: the rule and the start of the first occurrence in it, so that it stays the same while
    /// others change; two that exclusions cut out of one are told apart by a number.
    pub id: String,
    /// The rules that made it.
    pub rules: Vec<Arc<str>>,
    /// What clock changes do to the occurrences in it.
    pub odd: Vec<Odd>,
}

/// When maintenance may happen within a horizon, in order, and why not at other times.
#[derive(Debug, Clone, PartialEq)]
pub struct Openings {
    horizon: Interval,
    /// The windows without regard to exclusions; neither overlap nor touch.
    windows: Vec<Opening>,
    open: Vec<Opening>,
    exclusions: Vec<Exclusion>,
    skipped: Vec<Occurrence>,
}

/// One occurrence of an exclusion.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Exclusion {
    interval: Interval,
    rule: Arc<str>,
    reason: Arc<str>,
}

/// Why maintenance may not happen at some moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Closed {
    /// No window is open.
    NoWindow {
        /// When one opens within the horizon, exclusions heeded.
        next: Option<Wall>,
    },
    /// A window is open, but it is excluded.
    Excluded {
        /// The exclusion.
        rule: Arc<str>,
        /// Its reason, perhaps empty.
        reason: Arc<str>,
        /// When its occurrence ends.
        until: Wall,
    },
}

impl Calendar {
    /// The openings of a host in a zone that share a moment with the horizon, cut off at its ends. Exclusions that
    /// allow the kind of work do not count.
    pub fn compile(&self, host: &Zone, horizon: Interval, work: &[&str]) -> Openings {
        let mut skipped = Vec::new();
        let mut found = Vec::new();
        for occurrence in self.windows.iter().flat_map(|rule| rule.occurrences(host, horizon)) {
            match occurrence.interval.and_then(|interval| interval.common(horizon)) {
                Some(interval) => found.push(Opening {
                    interval,
                    id: occurrence.id(),
                    rules: vec![Arc::clone(&occurrence.rule)],
                    odd: occurrence.odd,
                }),
                None => skipped.push(occurrence),
            }
        }
        let mut exclusions = Vec::new();
        for rule in &self.exclusions {
            if rule.allow.iter().any(|kind| work.contains(&kind.as_str())) {
                continue;
            }
            let spans = rule.occurrences(host, horizon);
            exclusions.extend(spans.into_iter().filter_map(|it| it.interval).map(|interval| {
                let (rule, reason) = (Arc::clone(&rule.name), Arc::clone(&rule.reason));
                Exclusion { interval, rule, reason }
            }));
        }
        Openings::new(horizon, merged(found), exclusions, skipped)
    }
}

impl Openings {
    fn new(
        horizon: Interval,
        windows: Vec<Opening>,
        mut exclusions: Vec<Exclusion>,
        skipped: Vec<Occurrence>,
    ) -> Self {
        exclusions.sort_by(|a, b| (a.interval, &a.rule).cmp(&(b.interval, &b.rule)));
        exclusions.dedup();
        let excluded = exclusions.iter().map(|exclusion| exclusion.interval).collect();
        let mut open = Vec::new();
        for window in &windows {
            let left = Intervals::from(window.interval).minus(&excluded);
            for (number, interval) in (1..).zip(left.iter()) {
                let id = match number {
                    1 => window.id.clone(),
                    _ => format!("{}.{number}", window.id),
                };
                open.push(Opening { interval, id, ..window.clone() });
            }
        }
        Self { horizon, windows, open, exclusions, skipped }
    }

    /// What was asked for.
    pub const fn horizon(&self) -> Interval {
        self.horizon
    }

    /// The openings, in order; they neither overlap nor touch.
    pub fn openings(&self) -> &[Opening] {
        &self.open
    }

    /// The same as a set of moments.
    pub fn as_intervals(&self) -> Intervals {
        self.open.iter().map(|opening| opening.interval).collect()
    }

    /// What would be open if nothing were excluded.
    pub fn windows(&self) -> Intervals {
        self.windows.iter().map(|opening| opening.interval).collect()
    }

    /// What is excluded, whether a window is open or not.
    pub fn excluded(&self) -> Intervals {
        self.exclusions.iter().map(|exclusion| exclusion.interval).collect()
    }

    /// Occurrences of windows that do not happen because the clocks leave their start out.
    pub fn skipped(&self) -> &[Occurrence] {
        &self.skipped
    }

    /// The opening that a moment lies in.
    pub fn at(&self, at: Wall) -> Option<&Opening> {
        let next = self.open.partition_point(|opening| opening.interval.to <= at);
        self.open.get(next).filter(|opening| opening.interval.contains(at))
    }

    /// The first opening that ends after a moment.
    pub fn at_or_after(&self, at: Wall) -> Option<&Opening> {
        self.open.get(self.open.partition_point(|opening| opening.interval.to <= at))
    }

    /// Why maintenance may not happen at a moment; nothing if it may.
    pub fn why_closed(&self, at: Wall) -> Option<Closed> {
        if self.at(at).is_some() {
            return None;
        }
        let in_window = self.windows.iter().any(|window| window.interval.contains(at));
        let excluded = self.exclusions.iter().filter(|it| it.interval.contains(at));
        // Of several the one that lasts longest: before its end nothing changes.
        match excluded.max_by_key(|it| it.interval.to).filter(|_| in_window) {
            Some(Exclusion { interval, rule, reason }) => Some(Closed::Excluded {
                rule: Arc::clone(rule),
                reason: Arc::clone(reason),
                until: interval.to,
            }),
            None => Some(Closed::NoWindow {
                next: self.at_or_after(at).map(|opening| opening.interval.from),
            }),
        }
    }

    /// What both allow: the windows that both have, without the exclusions of either. Both must have been compiled
    /// over the same horizon.
    pub fn and(&self, other: &Self) -> Self {
        let mut windows = Vec::new();
        for left in &self.windows {
            let first = other.windows.partition_point(|it| it.interval.to <= left.interval.from);
            for right in other.windows.get(first..).unwrap_or_default() {
                let Some(interval) = left.interval.common(right.interval) else {
                    break;
                };
                let mut both = Opening { interval, ..left.clone() };
                both.take(right);
                both.id = format!("{} {}", left.id, right.id);
                windows.push(both);
            }
        }
        let exclusions = [self.exclusions.as_slice(), &other.exclusions].concat();
        let skipped = [self.skipped.as_slice(), &other.skipped].concat();
        Self::new(self.horizon, windows, exclusions, skipped)
    }
}

impl Opening {
    /// The same for a calendar of a fleet, certain or not, as it was `made`.
    pub fn event(&self, fleet: &str, made: Wall, status: ics::Status) -> ics::Event {
        let odd: Vec<String> = self.odd.iter().map(ToString::to_string).collect();
        ics::Event {
            uid: format!("{}@{fleet}", self.id),
            sequence: 0,
            changed: made,
            interval: self.interval,
            status,
            summary: self.rules.join(", "),
            description: odd.join("\n"),
        }
    }

    /// Notes what another has to say, too.
    fn take(&mut self, other: &Self) {
        for rule in &other.rules {
            if !self.rules.contains(rule) {
                self.rules.push(Arc::clone(rule));
            }
        }
        for odd in &other.odd {
            if !self.odd.contains(odd) {
                self.odd.push(*odd);
            }
        }
    }
}

impl Occurrence {
    /// What it is called: its rule and the start that this gives it.
    pub fn id(&self) -> String {
        format!("{}/{}", self.rule, self.start.strftime("%Y%m%dT%H%M%S"))
    }
}

/// Those that overlap or touch become one.
fn merged(mut found: Vec<Opening>) -> Vec<Opening> {
    found.sort_by(|a, b| (a.interval, &a.id).cmp(&(b.interval, &b.id)));
    let mut merged: Vec<Opening> = Vec::with_capacity(found.len());
    for opening in found {
        match merged.last_mut() {
            Some(last) if opening.interval.from <= last.interval.to => {
                last.interval.to = last.interval.to.max(opening.interval.to);
                last.take(&opening);
            }
            Some(_) | None => merged.push(opening),
        }
    }
    merged
}
