//! When to dial a lost peer again.

use std::time::Duration;

/// First pause.
const FIRST: Duration = Duration::from_millis(50);
/// Longest pause.
const LONGEST: Duration = Duration::from_secs(1);

/// Growing pauses with jitter, so that a fleet that lost a gateway does not dial it in step.
#[derive(Debug)]
pub(super) struct Backoff {
    next: Duration,
    random: u64,
}

impl Backoff {
    pub(super) const fn new(seed: u64) -> Self {
        Self { next: FIRST, random: seed }
    }

    /// The next pause: between half and all of 50 ms, 100 ms and so on up to 1 s.
    pub(super) fn pause(&mut self) -> Duration {
        let whole = self.next;
        self.next = (whole * 2).min(LONGEST);
        let half = whole / 2;
        half + half.mul_f64(self.fraction())
    }

    /// The peer greeted: the next pause is a short one.
    pub(super) const fn reset(&mut self) {
        self.next = FIRST;
    }

    /// The next number of a splitmix64 sequence, as a fraction of one.
    fn fraction(&mut self) -> f64 {
        self.random = self.random.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut x = self.random;
        x = (x ^ (x >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        x = (x ^ (x >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        x ^= x >> 31;
        f64::from(u32::try_from(x >> 32).unwrap_or(u32::MAX)) / f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_the_longest_and_start_again_after_a_greeting() {
        let mut backoff = Backoff::new(7);
        for whole_ms in [50, 100, 200, 400, 800, 1000, 1000] {
            let pause = backoff.pause();
            let whole = Duration::from_millis(whole_ms);
            assert!(pause >= whole / 2 && pause <= whole, "{pause:?} for {whole:?}");
        }
        backoff.reset();
        assert!(backoff.pause() <= FIRST);
        assert_ne!(Backoff::new(1).pause(), Backoff::new(2).pause());
    }
}
