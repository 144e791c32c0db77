//! How fast one asker may ask about one thing.

use std::time::Duration;

/// How fast one connection may ask about one thing. The default is what AWS grants.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestRates {
    /// Requests in a second, over time; 0 is no limit. More: refused with 429.
    pub per_s: u32,
    /// Requests at once after a pause.
    pub burst: u32,
    /// Requests without an answer; 0 is no limit. More: refused with 429.
    pub in_flight: u32,
}

/// The requests of one connection about one thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RequestPace {
    in_flight: u32,
    /// What is left, in billionths of a request: a nanosecond at one per second is one.
    left: u64,
    at: Duration,
}

const REQUEST: u64 = 1_000_000_000;

impl Default for RequestRates {
    fn default() -> Self {
        Self { per_s: 20, burst: 20, in_flight: 10 }
    }
}

impl RequestPace {
    /// Nothing asked yet.
    pub const fn new(rates: &RequestRates, now: Duration) -> Self {
        Self { in_flight: 0, left: full(rates), at: now }
    }

    /// Takes one request; false if it is one too many.
    pub fn begin(&mut self, rates: &RequestRates, now: Duration) -> bool {
        let passed = now.saturating_sub(self.at).as_nanos();
        let gained = u64::try_from(passed.saturating_mul(u128::from(rates.per_s)));
        self.left = self.left.saturating_add(gained.unwrap_or(u64::MAX)).min(full(rates));
        self.at = now;
        if rates.in_flight > 0 && self.in_flight >= rates.in_flight {
            return false;
        }
        if rates.per_s > 0 {
            let Some(left) = self.left.checked_sub(REQUEST) else { return false };
            self.left = left;
        }
        self.in_flight = self.in_flight.saturating_add(1);
        true
    }

    /// One of them is answered.
    pub const fn end(&mut self) {
        self.in_flight = self.in_flight.saturating_sub(1);
    }

    /// Whether nothing is to be remembered of it: it may as well be made anew.
    pub fn is_idle(&self, rates: &RequestRates, now: Duration) -> bool {
        let mut then = *self;
        self.in_flight == 0 && then.begin(rates, now) && then.left + REQUEST >= full(rates)
    }
}

const fn full(rates: &RequestRates) -> u64 {
    // At least one, or nothing would ever pass.
    let burst = if rates.burst == 0 { 1 } else { rates.burst };
    (burst as u64).saturating_mul(REQUEST)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn no_more_than_ten_wait_for_their_answers() {
        let rates = RequestRates::default();
        let mut pace = RequestPace::new(&rates, Duration::ZERO);
        for _ in 0..10 {
            assert!(pace.begin(&rates, Duration::ZERO));
        }
        assert!(!pace.begin(&rates, Duration::from_secs(9)));
        assert!(!pace.is_idle(&rates, Duration::from_secs(9)));
        pace.end();
        assert!(pace.begin(&rates, Duration::from_secs(9)));
        (0..10).for_each(|_| pace.end());
        assert!(!pace.is_idle(&rates, Duration::from_secs(9)));
        assert!(pace.is_idle(&rates, Duration::from_secs(11)));
    }

    #[test]
    fn without_limits_all_pass() {
        let rates = RequestRates { per_s: 0, burst: 0, in_flight: 0 };
        let mut pace = RequestPace::new(&rates, Duration::ZERO);
        assert!((0..1_000).all(|_| pace.begin(&rates, Duration::ZERO)));
    }

    proptest! {
        #[test]
        fn over_any_time_only_the_burst_and_the_rate_pass(
            waits in prop::collection::vec(0_u64..400_000_000, 1..200),
            per_s in 1_u32..50,
            burst in 1_u32..30,
        ) {
            let rates = RequestRates { per_s, burst, in_flight: 0 };
            let mut pace = RequestPace::new(&rates, Duration::ZERO);
            let (mut now, mut passed) = (0_u64, 0_u64);
            for wait in waits {
                now += wait;
                let may = u64::from(burst) + now * u64::from(per_s) / REQUEST;
                passed += u64::from(pace.begin(&rates, Duration::from_nanos(now)));
                prop_assert!(passed <= may);
            }
            // After a pause the burst is there again.
            let later = Duration::from_nanos(now) + Duration::from_secs(31);
            prop_assert!((0..burst).all(|_| pace.begin(&rates, later)));
            prop_assert!(!pace.begin(&rates, later));
        }
    }
}
