//! Slower when it hurts, faster again little by little.

/// A part of a full rate: halved with each bad second, a twentieth of the whole more with each good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// Of a thousand.
    part: u16,
    /// Seconds in which another bad one says nothing new: what was granted before is still on its way.
    deaf: u8,
}

/// All of it.
const WHOLE: u16 = 1_000;
/// What it never falls below, so that it goes on.
const LEAST: u16 = 50;
/// What a good second adds.
const STEP: u16 = 50;
/// Seconds until a halving shows.
const DEAF: u8 = 2;

impl Default for Throttle {
    fn default() -> Self {
        Self { part: WHOLE, deaf: 0 }
    }
}

impl Throttle {
    /// A second has passed; whether all went well in it.
    pub fn handle_second(&mut self, good: bool) {
        self.deaf = self.deaf.saturating_sub(1);
        if good {
            self.part = (self.part + STEP).min(WHOLE);
        } else if self.deaf == 0 {
            self.part = (self.part / 2).max(LEAST);
            self.deaf = DEAF;
        }
    }

    /// So much of a rate; of a rate that is not 0 at least 1.
    pub fn of(self, per_s: u32) -> u32 {
        let part = u64::from(per_s) * u64::from(self.part) / u64::from(WHOLE);
        u32::try_from(part).unwrap_or(u32::MAX).max(per_s.min(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_second_halves_and_twenty_good_ones_mend_it_all() {
        let mut throttle = Throttle::default();
        assert_eq!(throttle.of(200), 200);
        throttle.handle_second(false);
        throttle.handle_second(false);
        assert_eq!(throttle.of(200), 100, "once: the second one is of the same cause");
        throttle.handle_second(false);
        assert_eq!(throttle.of(200), 50);
        (0..20).for_each(|_| throttle.handle_second(true));
        assert_eq!(throttle.of(200), 200);
        (0..100).for_each(|_| throttle.handle_second(false));
        assert_eq!((throttle.of(200), throttle.of(1), throttle.of(0)), (10, 1, 0));
    }
}
