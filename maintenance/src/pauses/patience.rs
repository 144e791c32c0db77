//! How long work waits for a pause before it is done without one.

use std::time::Duration;

/// What there is to do while no pause is to be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Urge {
    /// Wait.
    Wait,
    /// Do it without.
    Alone,
}

/// Since when there is work that waits, and how much of it, by a steady clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Patience {
    /// Since when it waits, and the least that there was to do since then.
    waits: Option<(Duration, u64)>,
}

impl Patience {
    /// There is nothing to do, or it was done.
    pub const fn over(&mut self) {
        self.waits = None;
    }

    /// There is so much to do and no pause for it. Whoever sees that others have done some of it begins to wait anew: what shrinks
    /// does not grow beyond all bounds. `share` says by how much of a quarter this one waits longer than `most`, so that not all
    /// that waited go at once.
    pub fn urge(&mut self, now: Duration, much: u64, (most, share): (Duration, u8)) -> Urge {
        let (since, least) = match self.waits {
            Some((since, least)) if much >= least => (since, least),
            Some(_) | None => (now, much),
        };
        self.waits = Some((since, least));
        let longer = (most / 4).saturating_mul(u32::from(share)) / u32::from(u8::MAX);
        if now.saturating_sub(since) >= most.saturating_add(longer) {
            Urge::Alone
        } else {
            Urge::Wait
        }
    }
}
