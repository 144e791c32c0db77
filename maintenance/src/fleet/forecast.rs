//! What a host probably carries, by the hour of the week.

use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::host::Load;

/// Hours of a week.
pub const HOURS_OF_WEEK: usize = 168;

/// Which of the loads that an hour had stands for it, the highest last. What counts is the highest of each of its minutes.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Statistic {
    /// Half of its minutes had no more.
    P50,
    /// Nineteen minutes of twenty had no more.
    P95,
    /// None had more.
    #[default]
    Peak,
}

/// Load by hour of the week, in UTC, the hour after midnight of Monday first. Versions that know peaks alone read these, and an
/// answer of theirs has nothing else.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Forecast {
    #[serde(rename = "forecast")]
    peaks: Vec<Load>,
    /// Of hours that were seen, what half of the minutes had at most.
    #[serde(rename = "forecast_p50", default)]
    p50: Vec<Option<Carried>>,
    /// The same of nineteen minutes of twenty.
    #[serde(rename = "forecast_p95", default)]
    p95: Vec<Option<Carried>>,
}

/// Connections, and messages per second: in few letters, since there are many.
type Carried = (u64, u64);

impl Forecast {
    /// The peaks of each hour of the week, the hour after midnight of Monday in UTC first. Of other lengths nothing is known of
    /// the hours that are missing.
    pub fn new(mut peaks: Vec<Load>) -> Self {
        peaks.truncate(HOURS_OF_WEEK);
        Self { peaks, ..Self::default() }
    }

    /// The same, and what the hours that were seen usually had.
    #[must_use]
    pub(super) fn with_usual(self, usual: &[Option<Usual>]) -> Self {
        let of = |it: fn(&Usual) -> Load| {
            let carried = |load: Load| (load.connections, load.messages_per_s);
            usual.iter().map(|hour| hour.as_ref().map(|hour| carried(it(hour)))).collect()
        };
        Self { p50: of(|hour| hour.p50), p95: of(|hour| hour.p95), ..self }
    }

    /// What the hours that were seen usually had.
    pub(super) fn usual(&self) -> Vec<Option<Usual>> {
        let both = self.p50.iter().zip(&self.p95).take(HOURS_OF_WEEK);
        both.map(|(p50, p95)| Some(Usual { p50: load((*p50)?), p95: load((*p95)?) })).collect()
    }

    /// What is expected at a moment of what hours like this one had, if one was seen.
    pub fn seen(&self, at: Wall, statistic: Statistic) -> Option<Load> {
        let hour = Self::hour_of_week(at);
        let seen = |of: &[Option<Carried>]| of.get(hour).copied().flatten().map(load);
        let usual = match statistic {
            Statistic::P50 => seen(&self.p50),
            Statistic::P95 => seen(&self.p95),
            // Whether it was seen, the others tell.
            Statistic::Peak => seen(&self.p95).and_then(|_| self.peaks.get(hour).copied()),
        };
        let peak = self.peaks.get(hour);
        // A peak is remembered for longer, and may be lower for that.
        usual.map(|usual| peak.map_or(usual, |peak| usual.lower(*peak)))
    }

    /// What is expected at an hour of the week, if that is known: of an hour that was never seen its peak, as it is guessed.
    pub fn hour(&self, hour_of_week: usize, statistic: Statistic) -> Option<Load> {
        let peak = self.peaks.get(hour_of_week).copied();
        let usual = match statistic {
            Statistic::P50 => self.p50.get(hour_of_week),
            Statistic::P95 => self.p95.get(hour_of_week),
            Statistic::Peak => None,
        };
        let usual = usual.copied().flatten().map(load);
        usual.map_or(peak, |usual| Some(peak.map_or(usual, |peak| usual.lower(peak))))
    }

    /// The hour of the week that a moment lies in: 0 to 167, from Monday in UTC.
    pub fn hour_of_week(at: Wall) -> usize {
        const HOUR_MS: u64 = 3_600_000;
        // The first of January 1970 was a Thursday.
        let hour = at.0 / HOUR_MS % 168 + 72;
        usize::try_from(hour % 168).unwrap_or(0)
    }
}

/// What an hour of the week usually has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Usual {
    pub(super) p50: Load,
    pub(super) p95: Load,
}

const fn load((connections, messages_per_s): Carried) -> Load {
    Load { connections, messages_per_s }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn the_week_begins_on_monday() {
        // 2026-11-23 was a Monday.
        let monday = Wall(1_795_392_000_000);
        assert_eq!(Forecast::hour_of_week(monday), 0);
        assert_eq!(Forecast::hour_of_week(Wall(monday.0 - 1)), 167);
        assert_eq!(Forecast::hour_of_week(Wall(0)), 72);
        assert_eq!(Forecast::hour_of_week(monday.after(Duration::from_secs(3599))), 0);
    }

    #[test]
    fn of_peaks_alone_nothing_lower_is_known_and_no_hour_counts_as_seen() {
        let peak = Load { connections: 7, messages_per_s: 1 };
        let old = serde_json::json!({ "forecast": [{ "connections": 7, "messages_per_s": 1 }] });
        let forecast: Forecast = serde_json::from_value(old).unwrap();
        assert_eq!(forecast, Forecast::new(vec![peak]));
        for statistic in [Statistic::P50, Statistic::P95, Statistic::Peak] {
            assert_eq!(forecast.hour(0, statistic), Some(peak));
            assert_eq!(forecast.hour(1, statistic), None);
            assert_eq!(forecast.seen(Wall(1_795_392_000_000), statistic), None);
        }
    }
}
