//! What a host believes when it hears instructions, and what it does when it hears none.

use std::time::Duration;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use crate::fleet::Term;
use crate::ledger::SlotEpoch;

/// The highest reign and slot that a host has heard of; stored by it, so that an instruction of an older scheduler or
/// an older visit changes nothing, whatever its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fence {
    /// The highest reign.
    pub term: Term,
    /// The highest slot.
    pub epoch: SlotEpoch,
}

/// Why an instruction is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Outdated {
    /// Its sender is not the scheduler any more.
    #[error("term {} has begun", current.0)]
    Term {
        /// The reign that the host has heard of.
        current: Term,
    },
    /// It belongs to an older visit.
    #[error("slot of epoch {} is known", current.0)]
    Epoch {
        /// The slot that the host has heard of.
        current: SlotEpoch,
    },
}

impl Fence {
    /// Takes an instruction, unless it is out of date. Store the fence before following it.
    ///
    /// # Errors
    /// [`Outdated`]; the fence is as before then.
    pub fn admit(&mut self, term: Term, epoch: SlotEpoch) -> Result<(), Outdated> {
        if term < self.term {
            return Err(Outdated::Term { current: self.term });
        }
        if epoch < self.epoch {
            return Err(Outdated::Epoch { current: self.epoch });
        }
        (self.term, self.epoch) = (term, epoch);
        Ok(())
    }
}

/// What a host that is being visited does while it cannot reach the store. Its slot stays whatever it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isolated {
    /// Moves nobody, and waits.
    Hold,
    /// Serves again.
    Undrain,
    /// Finishes what cannot be taken back.
    Finish,
}

/// What to do when cut off since a moment. Time only tells the host what to do; it frees no slot.
pub fn isolated(since: Wall, now: Wall, grace: Duration, past_return: bool) -> Isolated {
    if past_return {
        Isolated::Finish
    } else if since.until(now) < grace {
        Isolated::Hold
    } else {
        Isolated::Undrain
    }
}
