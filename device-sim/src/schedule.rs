//! When the messages of a publisher are due, whatever has become of those before.

use crate::{Amount, Pace, Plan};

/// The times of one publisher of an open loop, in nanoseconds since publishing began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Schedule {
    interval_ns: u64,
    /// Publisher's share of the first interval, so that publishers don't beat together.
    offset_ns: u64,
}

impl Schedule {
    /// Nothing for a closed loop.
    pub(crate) fn of(plan: &Plan, number: usize) -> Option<Self> {
        let Pace::Every(interval_ns) = plan.pace else { return None };
        Some(Self { interval_ns, offset_ns: share(interval_ns, number, plan.publishers()) })
    }

    pub(crate) fn due_ns(self, sequence: u64) -> u64 {
        sequence.saturating_mul(self.interval_ns).saturating_add(self.offset_ns)
    }

    /// How many are due before that moment.
    pub(crate) fn due_before(self, moment_ns: u64) -> u64 {
        moment_ns.saturating_sub(self.offset_ns).div_ceil(self.interval_ns.max(1))
    }
}

/// How many messages a publisher should have published when a run is over that nobody has interrupted; nothing if it publishes as
/// many as there is time for.
pub(crate) fn due(plan: &Plan, number: usize) -> Option<u64> {
    match (plan.amount, Schedule::of(plan, number)) {
        (Amount::Count(count), _) => Some(count),
        (Amount::Time(time), Some(schedule)) => {
            Some(schedule.due_before(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
        }
        (Amount::Time(_), None) => None,
    }
}

fn share(interval: u64, number: usize, of: usize) -> u64 {
    let wide = |value: usize| u128::try_from(value).unwrap_or(u128::MAX);
    let share = u128::from(interval) * wide(number) / wide(of.max(1));
    u64::try_from(share).unwrap_or(interval)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan(args: &[&str]) -> Plan {
        use clap::Parser;
        let all = ["device-sim", "run", "--broker", "localhost:1883"].iter().chain(args);
        let crate::Args::Run(run) = crate::Args::try_parse_from(all).unwrap() else {
            panic!("a run")
        };
        Plan::try_from(*run).unwrap()
    }

    #[test]
    fn publishers_take_turns_within_an_interval() {
        let plan = plan(&["--pairs", "4", "--rate", "4000", "--seconds", "0.0025"]);
        let schedules: Vec<_> = (0..4).filter_map(|number| Schedule::of(&plan, number)).collect();
        let first: Vec<u64> = schedules.iter().map(|schedule| schedule.due_ns(0)).collect();
        assert_eq!(first, [0, 250_000, 500_000, 750_000]);
        assert_eq!(schedules[1].due_ns(2), 2_250_000);
        let counts = |ns| schedules.iter().map(|it| it.due_before(ns)).collect::<Vec<_>>();
        assert_eq!(counts(0), [0, 0, 0, 0]);
        assert_eq!(counts(1), [1, 0, 0, 0]);
        assert_eq!(counts(250_000), [1, 0, 0, 0]);
        assert_eq!(counts(250_001), [1, 1, 0, 0]);
        // 10 in 2.5 ms at 4,000 per second.
        let due: Vec<_> = (0..4).filter_map(|number| due(&plan, number)).collect();
        assert_eq!(due, [3, 3, 2, 2]);
    }

    #[test]
    fn a_closed_loop_is_due_only_what_it_is_told_to_publish() {
        assert_eq!(due(&plan(&["--seconds", "3"]), 0), None);
        assert_eq!(due(&plan(&["--count", "7"]), 0), Some(7));
        assert_eq!(due(&plan(&["--count", "7", "--rate", "1"]), 0), Some(7));
    }
}
