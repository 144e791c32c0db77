//! Numbers that look random, the same from the same seed.

use std::time::Duration;

/// Where they come from.
#[derive(Debug, Clone)]
pub(super) struct Chance(u64);

impl Chance {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Steele, Lea and Flood: `SplitMix64`.
    const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let a = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let b = (a ^ (a >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        b ^ (b >> 31)
    }

    /// A number below that; 0 if there is none.
    pub(super) const fn below(&mut self, limit: u64) -> u64 {
        match self.next().checked_rem(limit) {
            Some(number) => number,
            None => 0,
        }
    }

    /// Whether something happens that happens so many times of a thousand.
    pub(super) fn permille(&mut self, many: u32) -> bool {
        self.below(1000) < u64::from(many)
    }

    /// How long something takes that takes no longer than `p95` nineteen times of twenty: then up to thrice as long; else a third
    /// of it at least. At least a second.
    pub(super) fn takes(&mut self, p95: Duration) -> Duration {
        let p95 = u64::try_from(p95.as_millis()).unwrap_or(u64::MAX / 4).min(u64::MAX / 4);
        let late = self.permille(50);
        let took = match late {
            true => p95.saturating_add(self.below(p95 * 2)),
            false => p95 / 3 + self.below(p95 - p95 / 3),
        };
        Duration::from_millis(took.max(1000))
    }
}
