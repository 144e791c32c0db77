//! Pauses of seconds that cannot wait for ever.

use std::time::Duration;

use protocol::Wall;

use super::refused::GrantRefused;

/// A pause that a gateway needs, such as for a checkpoint of its store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MicroWish {
    /// Since when.
    pub since: Wall,
    /// After how long it goes alone, without a slot, because waiting has become worse.
    pub hard_limit: Duration,
    /// Within how long after that, so that not all that waited go at once.
    pub jitter: Duration,
    /// Chooses the moment within it; different for each gateway.
    pub seed: u64,
}

/// What a gateway that needs a pause does now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MicroStep {
    /// Wait; at the latest it goes alone at that moment.
    Wait {
        /// Why there is no slot.
        why: GrantRefused,
        /// When it goes alone.
        alone_at: Wall,
    },
    /// Pause without a slot, and say so.
    Alone {
        /// Why there was no slot.
        why: GrantRefused,
    },
}

impl MicroWish {
    /// When it goes alone.
    pub fn alone_at(&self) -> Wall {
        let jitter_ms = u64::try_from(self.jitter.as_millis()).unwrap_or(u64::MAX);
        let shift = self.seed.checked_rem(jitter_ms).unwrap_or(0);
        self.since.after(self.hard_limit).after(Duration::from_millis(shift))
    }

    /// What to do after [`super::Ledger::grant_micro`] was refused, or the ledger could not be reached.
    pub fn refused(&self, why: GrantRefused, now: Wall) -> MicroStep {
        let alone_at = self.alone_at();
        if now < alone_at { MicroStep::Wait { why, alone_at } } else { MicroStep::Alone { why } }
    }
}
