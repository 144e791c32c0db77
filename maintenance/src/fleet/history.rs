//! What a host learns of its own load, hour by hour of the week.

use std::collections::BTreeMap;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::forecast::{Forecast, HOURS_OF_WEEK, Usual};
use super::host::Load;

/// What hours of the week had, remembered over weeks; the last counts for a quarter. Beside the highest of each hour it is known
/// what half of its minutes and what nineteen of twenty had at most, counting of each minute the highest. That is kept in the
/// answer's forecast, which versions before this one pass over.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadHistory {
    /// By hour of the week, from Monday in UTC; hours that were never seen are missing.
    hours: BTreeMap<u8, Load>,
    /// The hour that runs, counted from 1970, and its peak so far.
    running: Option<(u64, Load)>,
    /// By hour of the week, as far as they were seen.
    #[serde(skip)]
    usual: Vec<Option<Usual>>,
    /// The minutes of the hour that runs, each counted from 1970 and with its highest; at most 60.
    #[serde(skip)]
    minutes: Vec<(u64, Load)>,
}

const HOUR_MS: u64 = 3_600_000;
const MINUTE_MS: u64 = 60_000;

impl LoadHistory {
    /// The same, with what an answer of an earlier life told.
    #[must_use]
    pub fn recalled(self, told: &Forecast) -> Self {
        Self { usual: told.usual(), ..self }
    }

    /// Notes what is carried now.
    pub fn note(&mut self, at: Wall, load: Load) {
        let hour = at.0 / HOUR_MS;
        let running = match self.running.take() {
            Some((same, peak)) if same == hour => peak.higher(load),
            Some((over, peak)) => {
                self.keep(Wall(over * HOUR_MS), peak);
                load
            }
            None => load,
        };
        self.running = Some((hour, running));
        let minute = at.0 / MINUTE_MS;
        match self.minutes.last_mut() {
            // A clock that is put back adds no minute that there was.
            Some((last, most)) if minute <= *last => *most = most.higher(load),
            Some(_) | None => self.minutes.push((minute, load)),
        }
    }

    /// What is expected. Of an hour that was never seen nothing better is known than the highest that was.
    pub fn forecast(&self) -> Forecast {
        let peaks = self.hours.values().copied().chain(self.running.map(|(_, peak)| peak));
        let highest = peaks.fold(Load::default(), Load::higher);
        let hour = |hour: usize| u8::try_from(hour).ok().and_then(|hour| self.hours.get(&hour));
        let hours = (0..HOURS_OF_WEEK).map(|at| hour(at).copied().unwrap_or(highest));
        Forecast::new(hours.collect()).with_usual(&self.usual)
    }

    /// The hour that began then is over.
    fn keep(&mut self, began: Wall, peak: Load) {
        let minutes = std::mem::take(&mut self.minutes);
        let of_week = Forecast::hour_of_week(began);
        let Ok(hour) = u8::try_from(of_week) else { return };
        let kept = self.hours.get(&hour).map_or(peak, |old| blend(*old, peak));
        self.hours.insert(hour, kept);
        self.usual.resize(HOURS_OF_WEEK, None);
        if let Some(known) = self.usual.get_mut(of_week).filter(|_| !minutes.is_empty()) {
            let (p50, p95) = (rank(&minutes, 50), rank(&minutes, 95));
            *known = Some(known.map_or(Usual { p50, p95 }, |old| Usual {
                p50: blend(old.p50, p50),
                p95: blend(old.p95, p95),
            }));
        }
    }
}

/// Three quarters of what was, and a quarter of what is new.
fn blend(old: Load, new: Load) -> Load {
    let blend = |old: u64, new: u64| (old.saturating_mul(3).saturating_add(new)).div_ceil(4);
    Load {
        connections: blend(old.connections, new.connections),
        messages_per_s: blend(old.messages_per_s, new.messages_per_s),
    }
}

/// What so many percent of the minutes had at most, each number for itself.
fn rank(minutes: &[(u64, Load)], percent: usize) -> Load {
    let nth = (minutes.len() * percent).div_ceil(100).max(1) - 1;
    let of = |number: fn(&Load) -> u64| {
        let mut all: Vec<u64> = minutes.iter().map(|(_, load)| number(load)).collect();
        all.sort_unstable();
        all.get(nth).copied().unwrap_or_default()
    };
    Load { connections: of(|load| load.connections), messages_per_s: of(|it| it.messages_per_s) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;
    use crate::fleet::Statistic;

    // 2026-11-23 was a Monday.
    const MONDAY: Wall = Wall(1_795_392_000_000);

    fn load(connections: u64) -> Load {
        Load { connections, messages_per_s: connections * 2 }
    }

    fn minute(minute: u64) -> Wall {
        MONDAY.after(Duration::from_secs(minute * 60))
    }

    #[test]
    fn an_hour_is_expected_as_it_was_and_the_others_as_the_highest_of_all() {
        let hour = |hour: u64| minute(hour * 60);
        let peak = |history: &LoadHistory, hour| history.forecast().hour(hour, Statistic::Peak);
        let mut history = LoadHistory::default();
        assert_eq!(peak(&history, 3), Some(Load::default()));
        history.note(hour(0), load(10));
        history.note(hour(0), load(40));
        history.note(hour(0), load(20));
        history.note(hour(1), load(8));
        assert_eq!(peak(&history, 0), Some(load(40)));
        assert_eq!(peak(&history, 100), Some(load(40)));
        history.note(hour(2), load(8));
        assert_eq!(peak(&history, 1), Some(load(8)));
        history.note(hour(168), load(80));
        history.note(hour(169), load(1));
        assert_eq!(peak(&history, 0), Some(load(50)), "a quarter of what is new");
    }

    #[test]
    fn of_an_hour_it_is_known_what_its_minutes_usually_had_and_a_later_life_knows_it_too() {
        let mut history = LoadHistory::default();
        // Sixty minutes with 1 to 60, the highest of each counts.
        for at in 0..60 {
            history.note(minute(at), load(at));
            history.note(minute(at), load(at + 1));
            history.note(minute(at), load(0));
        }
        assert_eq!(history.forecast().seen(minute(5), Statistic::P50), None, "it is not over");
        history.note(minute(60), load(7));
        let expected = [(Statistic::P50, 30), (Statistic::P95, 57), (Statistic::Peak, 60)];
        let forecast = history.forecast();
        for (statistic, connections) in expected {
            assert_eq!(forecast.seen(minute(5), statistic), Some(load(connections)));
            assert_eq!(forecast.hour(0, statistic), Some(load(connections)));
            assert_eq!(forecast.hour(9, statistic), Some(load(60)), "never seen");
            assert_eq!(forecast.seen(minute(9 * 60), statistic), None);
        }
        let [told, learned] =
            [serde_json::to_vec(&forecast).unwrap(), serde_json::to_vec(&history).unwrap()];
        let told: Forecast = serde_json::from_slice(&told).unwrap();
        assert_eq!(told, forecast);
        let later: LoadHistory = serde_json::from_slice(&learned).unwrap();
        assert_eq!(later.recalled(&told).forecast(), forecast);
    }

    proptest! {
        #[test]
        fn what_is_usual_is_never_more_than_the_peak_and_memory_is_bounded(
            noted in prop::collection::vec((0_u64..90, 0_u64..1000), 1..600),
        ) {
            let (mut history, mut at) = (LoadHistory::default(), 0);
            for (later, connections) in noted {
                at += later;
                history.note(minute(at), load(connections));
                prop_assert!(history.minutes.len() <= 60);
            }
            let forecast = history.forecast();
            for hour in 0..HOURS_OF_WEEK {
                let of = |statistic| forecast.hour(hour, statistic).unwrap().connections;
                prop_assert!(of(Statistic::P50) <= of(Statistic::P95));
                prop_assert!(of(Statistic::P95) <= of(Statistic::Peak));
            }
        }
    }
}
