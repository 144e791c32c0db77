//! How fast each connection is sent publications at `QoS` 0: what its client probably misses while a drain moves it.

use std::time::Duration;

/// What is known of each connection that was ever sent one, by its place: 16 bytes each.
#[derive(Debug, Default)]
pub(in crate::hub) struct Flows(Vec<Flow>);

/// Since when, in milliseconds of the gateway's clock, and how many.
#[derive(Debug, Clone, Copy, Default)]
struct Flow {
    first_ms: u64,
    count: u64,
}

impl Flows {
    /// One more.
    #[inline]
    pub(in crate::hub) fn count(&mut self, index: u32, now: Duration) {
        match self.0.get_mut(index as usize) {
            Some(flow) if flow.count > 0 => flow.count += 1,
            Some(_) | None => self.begin(index as usize, now),
        }
    }

    #[cold]
    fn begin(&mut self, index: usize, now: Duration) {
        if self.0.len() <= index {
            self.0.resize(index + 1, Flow::default());
        }
        if let Some(flow) = self.0.get_mut(index) {
            *flow = Flow { first_ms: millis(now), count: 1 };
        }
    }

    /// The place is another connection's.
    pub(in crate::hub) fn forget(&mut self, index: u32) {
        if let Some(flow) = self.0.get_mut(index as usize) {
            *flow = Flow::default();
        }
    }

    /// How many it is sent in a thousand seconds, on average since the first one; 0 after one or none.
    pub(in crate::hub) fn per_1000_s(&self, index: u32, now: Duration) -> u32 {
        let Some(Flow { first_ms, count }) = self.0.get(index as usize) else { return 0 };
        let passed = millis(now).saturating_sub(*first_ms).max(1);
        let rate = count.saturating_sub(1).saturating_mul(1_000_000) / passed;
        u32::try_from(rate).unwrap_or(u32::MAX)
    }
}

fn millis(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_is_that_since_the_first_one_and_of_one_connection() {
        let mut flows = Flows::default();
        let at = Duration::from_millis;
        assert_eq!(flows.per_1000_s(7, at(500)), 0);
        (0..5).for_each(|n| flows.count(7, at(1_000 + n * 500)));
        flows.count(3, at(1_000));
        // Four more in two seconds, then in four.
        assert_eq!(flows.per_1000_s(7, at(3_000)), 2_000);
        assert_eq!(flows.per_1000_s(7, at(5_000)), 1_000);
        assert_eq!(flows.per_1000_s(3, at(5_000)), 0, "one says nothing");
        flows.forget(7);
        assert_eq!(flows.per_1000_s(7, at(5_000)), 0);
        flows.count(7, at(6_000));
        flows.count(7, at(6_000));
        assert_eq!(flows.per_1000_s(7, at(7_000)), 1_000);
    }
}
