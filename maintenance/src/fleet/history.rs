//! What a host learns of its own load, hour by hour of the week.

use std::collections::BTreeMap;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::availability::{Forecast, HOURS_OF_WEEK};
use super::host::Load;

/// Peaks by the hour of the week, remembered over weeks; the last counts for a quarter.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoadHistory {
    /// By hour of the week, from Monday in UTC; hours that were never seen are missing.
    hours: BTreeMap<u8, Load>,
    /// The hour that runs, counted from 1970, and its peak so far.
    running: Option<(u64, Load)>,
}

impl LoadHistory {
    /// Notes what is carried now.
    pub fn note(&mut self, at: Wall, load: Load) {
        const HOUR_MS: u64 = 3_600_000;
        let hour = at.0 / HOUR_MS;
        let running = match self.running.take() {
            Some((same, peak)) if same == hour => higher(peak, load),
            Some((over, peak)) => {
                self.keep(Wall(over * HOUR_MS), peak);
                load
            }
            None => load,
        };
        self.running = Some((hour, running));
    }

    /// What is expected. Of an hour that was never seen nothing better is known than the highest that was.
    pub fn forecast(&self) -> Forecast {
        let peaks = self.hours.values().copied().chain(self.running.map(|(_, peak)| peak));
        let highest = peaks.fold(Load::default(), higher);
        let hour = |hour: usize| u8::try_from(hour).ok().and_then(|hour| self.hours.get(&hour));
        let hours = (0..HOURS_OF_WEEK).map(|at| hour(at).copied().unwrap_or(highest));
        Forecast::new(hours.collect())
    }

    fn keep(&mut self, at: Wall, peak: Load) {
        let Ok(hour) = u8::try_from(Forecast::hour_of_week(at)) else { return };
        let blend = |old: u64, new: u64| (old.saturating_mul(3).saturating_add(new)).div_ceil(4);
        let kept = self.hours.get(&hour).map_or(peak, |old| Load {
            connections: blend(old.connections, peak.connections),
            messages_per_s: blend(old.messages_per_s, peak.messages_per_s),
        });
        self.hours.insert(hour, kept);
    }
}

fn higher(a: Load, b: Load) -> Load {
    Load {
        connections: a.connections.max(b.connections),
        messages_per_s: a.messages_per_s.max(b.messages_per_s),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    // 2026-11-23 was a Monday.
    const MONDAY: Wall = Wall(1_795_392_000_000);

    fn load(connections: u64) -> Load {
        Load { connections, messages_per_s: connections * 2 }
    }

    #[test]
    fn an_hour_is_expected_as_it_was_and_the_others_as_the_highest_of_all() {
        let hour = |hour: u64| MONDAY.after(Duration::from_secs(hour * 3600));
        let mut history = LoadHistory::default();
        assert_eq!(history.forecast().hour(3), Some(Load::default()));
        history.note(hour(0), load(10));
        history.note(hour(0), load(40));
        history.note(hour(0), load(20));
        history.note(hour(1), load(8));
        let forecast = history.forecast();
        assert_eq!(forecast.hour(0), Some(load(40)));
        assert_eq!(forecast.hour(100), Some(load(40)));
        history.note(hour(2), load(8));
        assert_eq!(history.forecast().hour(1), Some(load(8)));
        history.note(hour(168), load(80));
        history.note(hour(169), load(1));
        assert_eq!(history.forecast().hour(0), Some(load(50)), "a quarter of what is new");
        let bytes = serde_json::to_vec(&history).unwrap();
        assert_eq!(serde_json::from_slice::<LoadHistory>(&bytes).unwrap(), history);
    }
}
