//! One rule: a window or an exclusion, once or recurring.

use std::fmt;
use std::sync::Arc;

use jiff::civil::{Date, DateTime};
use jiff::{Span, Timestamp};
use protocol::Wall;

use super::interval::Interval;
use super::length::Length;
use super::odd::Odd;
use super::recurrence::{Recurrence, Until};
use super::zone::{Moment, OnFold, OnGap, Zone, ZoneChoice, timestamp, wall};

/// A span of time, once or recurring, with all that decides which moments it is.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeRule {
    /// What it is called where a decision is explained, such as `eu-gateways.windows[0]`.
    pub name: Arc<str>,
    /// What it is for; in doubt maintenance does not happen.
    pub purpose: Purpose,
    /// When.
    pub when: When,
    /// Where.
    pub zone: ZoneChoice,
    /// What becomes of a start that the clocks leave out.
    pub on_gap: OnGap,
    /// What is different about single occurrences.
    pub one_offs: Vec<OneOff>,
    /// Why, in the operator's words; may be empty.
    pub reason: Arc<str>,
    /// Kinds of work that an exclusion does not exclude.
    pub allow: Vec<String>,
}

/// What a rule is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Maintenance may happen: in doubt shorter.
    Window,
    /// Maintenance may not happen: in doubt longer.
    Exclusion,
}

/// When a rule holds.
#[derive(Debug, Clone, PartialEq)]
pub enum When {
    /// At starts by the clocks of the zone, each for the same length.
    Starts {
        /// The first start; the day that recurrences count from, and their time of day.
        first: DateTime,
        /// How it recurs; if it does not, `first` is the only start.
        recurrence: Option<Recurrence>,
        /// More starts.
        also: Vec<DateTime>,
        /// How long each.
        length: Length,
    },
    /// Once, from one edge to the other.
    Once {
        /// The beginning.
        from: Edge,
        /// The end.
        to: Edge,
    },
}

/// One end of a span that happens once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    /// A moment, the same everywhere.
    Moment(Wall),
    /// A time by the clocks of the zone.
    Civil(DateTime),
}

/// What is different about one occurrence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OneOff {
    /// The start that the rule gives it.
    pub at: DateTime,
    /// What becomes of it; nothing means that it does not happen.
    pub instead: Option<Instead>,
}

/// What an occurrence is instead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Instead {
    /// When it starts.
    pub start: DateTime,
    /// How long it is; the rule's length if nothing is said.
    pub length: Option<Length>,
}

/// One occurrence of a rule.
#[derive(Debug, Clone, PartialEq)]
pub struct Occurrence {
    /// The rule's name.
    pub rule: Arc<str>,
    /// The start that the rule gives it by the clocks of the zone; with the rule's name it names the occurrence.
    pub start: DateTime,
    /// When it is; never, if its start is left out by the clocks.
    pub interval: Option<Interval>,
    /// What clock changes do to it.
    pub odd: Vec<Odd>,
}

/// Why a rule cannot be meant; the operator's to mend.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRule {
    /// It counts from a day that is not said.
    #[error("{0} counts from a day: say which with `first`")]
    First(&'static str),
    /// It would end before it starts.
    #[error("it ends before it starts")]
    Empty,
    /// It is different about something that does not occur.
    #[error("there is no occurrence at {0}")]
    NoOccurrence(DateTime),
    /// An occurrence that is changed twice.
    #[error("the occurrence at {0} is changed twice")]
    ChangedTwice(DateTime),
    /// Longer than the rule says.
    #[error("the occurrence at {0} can only be shorter")]
    Longer(DateTime),
}

impl TimeRule {
    /// Says what contradicts itself in the rule.
    ///
    /// # Errors
    /// The first contradiction.
    pub fn check(&self) -> Result<(), InvalidRule> {
        if let When::Once { from, to } = &self.when {
            let ordered = match (from, to) {
                (Edge::Moment(from), Edge::Moment(to)) => from < to,
                (Edge::Civil(from), Edge::Civil(to)) => from < to,
                // A day apart by the clocks is apart everywhere; less depends on the zone.
                (Edge::Moment(_), Edge::Civil(_)) | (Edge::Civil(_), Edge::Moment(_)) => true,
            };
            ordered.then_some(()).ok_or(InvalidRule::Empty)?;
        }
        for (index, one_off) in self.one_offs.iter().enumerate() {
            if !self.occurs_at(one_off.at) {
                return Err(InvalidRule::NoOccurrence(one_off.at));
            }
            let earlier = self.one_offs.get(..index).unwrap_or_default();
            if earlier.iter().any(|other| other.at == one_off.at) {
                return Err(InvalidRule::ChangedTwice(one_off.at));
            }
            let length = one_off.instead.and_then(|instead| instead.length);
            if let (Some(length), When::Starts { length: usual, .. }) = (length, &self.when)
                && length.usual() > usual.usual()
            {
                return Err(InvalidRule::Longer(one_off.at));
            }
        }
        Ok(())
    }

    /// Whether the rule gives this start, as far as that does not depend on the zone.
    fn occurs_at(&self, at: DateTime) -> bool {
        match &self.when {
            When::Once { .. } => false,
            When::Starts { also, .. } if also.contains(&at) => true,
            When::Starts { first, recurrence: None, .. } => *first == at,
            When::Starts { first, recurrence: Some(rule), .. } => {
                let begin = if rule.count.is_some() { first.date() } else { at.date() };
                let days = rule.days(first.date(), begin, at.date());
                let counted = rule.count.is_none_or(|count| days.len() <= count as usize);
                let last = until_civil(rule).is_none_or(|last| at <= last);
                at.time() == first.time() && counted && last && days.last() == Some(&at.date())
            }
        }
    }

    /// The occurrences that share a moment with the horizon, and those that would but for a clock change; in the
    /// order of their starts.
    pub fn occurrences(&self, host: &Zone, horizon: Interval) -> Vec<Occurrence> {
        let zone = self.zone.or(host);
        let mut found = match &self.when {
            When::Once { from, to } => self.once(zone, *from, *to).into_iter().collect(),
            When::Starts { first, recurrence, also, length } => {
                let mut starts = match recurrence {
                    Some(rule) => self.recurring(zone, *first, rule, *length, horizon),
                    None => vec![*first],
                };
                starts.extend(also);
                let usual = starts.into_iter().filter(|start| self.one_off(*start).is_none());
                let usual = usual.map(|start| self.occurrence(zone, start, start, *length));
                usual.chain(self.changed(zone, *length)).collect::<Vec<_>>()
            }
        };
        found.retain(|occurrence| match occurrence.interval {
            Some(interval) => interval.overlaps(horizon),
            None => {
                let shown = zone.moment(occurrence.start, OnGap::Shift, OnFold::First).at;
                shown.is_some_and(|at| horizon.contains(at))
            }
        });
        found.sort_by_key(|occurrence| {
            (occurrence.interval.map(|interval| interval.from), occurrence.start)
        });
        found.dedup();
        found
    }

    fn once(&self, zone: &Zone, from: Edge, to: Edge) -> Option<Occurrence> {
        let start = match from {
            Edge::Moment(at) => zone.civil(at)?,
            Edge::Civil(start) => start,
        };
        let begin = edge(zone, from, OnFold::First);
        let end = edge(zone, to, self.fold_at_end());
        let interval = Interval::new(begin.at?, end.at?)?;
        Some(self.finished(zone, start, interval, begin.odd))
    }

    /// The starts that may lie in the horizon, or reach into it.
    fn recurring(
        &self,
        zone: &Zone,
        first: DateTime,
        rule: &Recurrence,
        length: Length,
        horizon: Interval,
    ) -> Vec<DateTime> {
        // A day more on either side: zones have changed by a whole day.
        let back = length.days_reached().saturating_add(1);
        let around = days_around(zone, horizon, back);
        let Some((from, to)) = around else {
            return Vec::new();
        };
        let begin = if rule.count.is_some() { first.date() } else { from };
        let starts = rule.days(first.date(), begin, to).into_iter();
        let starts = starts.map(|day| day.to_datetime(first.time()));
        let starts = starts.filter(|start| within_until(zone, rule, *start));
        match rule.count {
            None => starts.collect(),
            // What the clocks leave out is not counted (RFC 5545, 3.3.10).
            Some(count) => {
                let mut left = count;
                let counted = starts.take_while(|start| {
                    let here = left > 0;
                    let moment = zone.moment(*start, self.on_gap, OnFold::First);
                    left -= u32::from(here && moment.odd != Some(Odd::Skipped));
                    here
                });
                counted.filter(|start| start.date() >= from).collect()
            }
        }
    }

    fn one_off(&self, start: DateTime) -> Option<&OneOff> {
        self.one_offs.iter().find(|one_off| one_off.at == start)
    }

    /// What became of the occurrences that are different.
    fn changed(&self, zone: &Zone, usual: Length) -> impl Iterator<Item = Occurrence> {
        self.one_offs.iter().filter_map(move |one_off| {
            let Instead { start, length } = one_off.instead?;
            let until = match &self.when {
                When::Starts { recurrence: Some(rule), .. } => within_until(zone, rule, one_off.at),
                When::Starts { recurrence: None, .. } | When::Once { .. } => true,
            };
            until.then(|| self.occurrence(zone, one_off.at, start, length.unwrap_or(usual)))
        })
    }

    /// An occurrence that is called by one start and has, perhaps, another.
    fn occurrence(
        &self,
        zone: &Zone,
        called: DateTime,
        start: DateTime,
        length: Length,
    ) -> Occurrence {
        let begin = zone.moment(start, self.on_gap, OnFold::First);
        let (days, elapsed) = length.parts();
        let interval = begin.at.and_then(|from| {
            let nominal = match days {
                0 => Some(from),
                // Days of the calendar end at the same time by the clocks.
                _ => {
                    let end = start.checked_add(Span::new().days(days)).ok()?;
                    zone.moment(end, OnGap::Shift, self.fold_at_end()).at
                }
            };
            Interval::new(from, nominal?.after(elapsed))
        });
        match interval {
            Some(interval) => self.finished(zone, called, interval, begin.odd),
            None => Occurrence {
                rule: Arc::clone(&self.name),
                start: called,
                interval: None,
                odd: begin.odd.into_iter().collect(),
            },
        }
    }

    fn finished(
        &self,
        zone: &Zone,
        start: DateTime,
        interval: Interval,
        odd: Option<Odd>,
    ) -> Occurrence {
        let change = zone.change_between(interval.from, interval.to);
        Occurrence {
            rule: Arc::clone(&self.name),
            start,
            interval: Some(interval),
            odd: odd.into_iter().chain(change).collect(),
        }
    }

    /// In doubt a window ends earlier and an exclusion later.
    const fn fold_at_end(&self) -> OnFold {
        match self.purpose {
            Purpose::Window => OnFold::First,
            Purpose::Exclusion => OnFold::Second,
        }
    }
}

fn edge(zone: &Zone, edge: Edge, fold: OnFold) -> Moment {
    match edge {
        Edge::Moment(at) => Moment { at: Some(at), odd: None },
        Edge::Civil(at) => zone.moment(at, OnGap::Shift, fold),
    }
}

/// The days on which something may start that shares a moment with a span.
fn days_around(zone: &Zone, span: Interval, back: i64) -> Option<(Date, Date)> {
    let from = zone.civil(span.from)?.date();
    let from = from.checked_sub(Span::new().try_days(back).ok()?).unwrap_or(Date::MIN);
    let last = timestamp(span.to).or_else(|| wall(Timestamp::MAX).and_then(timestamp));
    let to = zone.civil(wall(last?)?)?.date();
    Some((from, to.tomorrow().unwrap_or(to)))
}

fn until_civil(rule: &Recurrence) -> Option<DateTime> {
    match rule.until? {
        Until::Day(last) => Some(last.at(23, 59, 59, 999_999_999)),
        Until::Civil(last) => Some(last),
        Until::Moment(_) => None,
    }
}

/// Whether a start is not after the end of its rule.
fn within_until(zone: &Zone, rule: &Recurrence, start: DateTime) -> bool {
    match rule.until {
        None => true,
        Some(Until::Moment(last)) => {
            let at = zone.moment(start, OnGap::Shift, OnFold::First).at.and_then(timestamp);
            at.is_some_and(|at| at <= last)
        }
        Some(Until::Day(_) | Until::Civil(_)) => until_civil(rule).is_none_or(|last| start <= last),
    }
}

impl fmt::Display for TimeRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.when {
            When::Once { from, to } => write!(f, "from {from} to {to}")?,
            When::Starts { first, recurrence: Some(rule), length, .. } => {
                if let Some(counted) = rule.counts_from_its_first_day() {
                    write!(f, "{counted} from {}, ", first.date())?;
                }
                write!(f, "{rule} at {} for {length}", first.strftime("%H:%M"))?;
            }
            When::Starts { first, recurrence: None, length, .. } => {
                write!(f, "{} for {length}", first.strftime("%Y-%m-%dT%H:%M"))?;
            }
        }
        write!(f, ", {}", self.zone)
    }
}

impl fmt::Display for Edge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Moment(at) => match timestamp(*at) {
                Some(at) => write!(f, "{}", at.strftime("%Y-%m-%dT%H:%M:%SZ")),
                None => write!(f, "{} ms", at.0),
            },
            Self::Civil(at) => write!(f, "{}", at.strftime("%Y-%m-%dT%H:%M")),
        }
    }
}
