//! Even spacing.

use std::time::Duration;

use protocol::hash64;

/// Lets `per_s` things happen per second, evenly spaced. What a late tick missed is caught up for at most
/// [`SLACK`], so that a stall never ends in a burst.
#[derive(Debug, Clone)]
pub(crate) struct Pace {
    interval: Duration,
    next_at: Duration,
}

impl Pace {
    /// A pace that lets the first thing happen at once; `None` for zero per second.
    pub(crate) fn new(now: Duration, per_s: u32) -> Option<Self> {
        let interval = Duration::from_secs(1).checked_div(per_s)?;
        Some(Self { interval: interval.max(Duration::from_nanos(1)), next_at: now })
    }

    /// The same, with the first thing at a moment within the first interval that the seed decides.
    pub(crate) fn begin(now: Duration, per_s: u32, seed: u64) -> Option<Self> {
        let mut pace = Self::new(now, per_s)?;
        let spread = hash64(&seed.to_le_bytes()) % 1_000;
        let part = u32::try_from(spread).unwrap_or(0);
        pace.next_at = now.saturating_add(pace.interval.saturating_mul(part) / 1_000);
        Some(pace)
    }

    /// From now on another number per second; 0 changes nothing.
    pub(crate) fn set_rate(&mut self, per_s: u32) {
        if let Some(interval) = Duration::from_secs(1).checked_div(per_s) {
            self.interval = interval.max(Duration::from_nanos(1));
        }
    }

    /// How many may happen now.
    pub(crate) fn allowed(&self, now: Duration) -> u64 {
        let next_at = self.next_at.max(now.saturating_sub(SLACK));
        let Some(late) = now.checked_sub(next_at) else {
            return 0;
        };
        let whole = late.as_nanos() / self.interval.as_nanos().max(1);
        u64::try_from(whole).unwrap_or(u64::MAX).saturating_add(1)
    }

    /// Notes that `n` happened, at most what [`Self::allowed`] said.
    pub(crate) fn take(&mut self, now: Duration, n: u64) {
        if n == 0 {
            return;
        }
        let next_at = self.next_at.max(now.saturating_sub(SLACK));
        let n = u32::try_from(n).unwrap_or(u32::MAX);
        self.next_at = next_at.saturating_add(self.interval.saturating_mul(n));
    }
}

/// Twice the drain's `TICK`.
pub(crate) const SLACK: Duration = Duration::from_millis(100);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_stretch_of_time_sees_more_than_its_share(
            per_s in 1_u32..5_000,
            steps in prop::collection::vec(0_u64..2_000, 1..200),
        ) {
            let mut pace = Pace::new(Duration::ZERO, per_s).unwrap();
            // Rounded down to nanoseconds.
            let second = pace.interval * per_s;
            let short = Duration::from_secs(1) - second;
            prop_assert!(short < Duration::from_nanos(u64::from(per_s)));
            let mut now = Duration::ZERO;
            let mut taken: Vec<(Duration, u64)> = Vec::new();
            for step_ms in steps {
                now += Duration::from_millis(step_ms);
                let n = pace.allowed(now);
                pace.take(now, n);
                prop_assert_eq!(pace.allowed(now), 0);
                taken.push((now, n));
            }
            for (i, (start, _)) in taken.iter().enumerate() {
                let mut sum = 0;
                for (end, n) in &taken[i..] {
                    sum += n;
                    let share = (*end - *start + SLACK).as_nanos() / pace.interval.as_nanos();
                    // One for the fence post.
                    prop_assert!(u128::from(sum) <= share + 1);
                }
            }
        }
    }

    #[test]
    fn ticks_in_time_reach_the_full_rate() {
        let mut pace = Pace::new(Duration::ZERO, 400).unwrap();
        let mut total = 0;
        for tick in 0..200 {
            let now = Duration::from_millis(tick * 50);
            let n = pace.allowed(now);
            pace.take(now, n);
            total += n;
        }
        assert!((3_980..=4_000).contains(&total), "{total}");
        assert!(Pace::new(Duration::ZERO, 0).is_none());
    }
}
