//! How a drain ended, with evidence.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::record;

/// What a gateway still holds, and what became of the clients it was told to move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Counts {
    /// Network connections of clients.
    pub connections: u64,
    /// Sessions this gateway owns.
    pub sessions_owned: u64,
    /// Forwards that a peer has not acknowledged.
    pub unacknowledged_forwards: u64,
    /// Sessions whose cursor is not yet stored.
    pub unsaved_cursors: u64,
    /// Wills of clients on their way out that are not yet stored.
    pub parked_unsaved_wills: u64,
    /// Clients moved since the drain began.
    pub moved: u64,
    /// Moves that failed since the drain began; those clients stayed and can be tried again.
    pub failed: u64,
}

/// How a drain ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Nothing is left: safe to stop.
    Quiesced,
    /// Somebody called it off; the gateway serves again.
    Aborted,
    /// It took too long; the gateway serves again and keeps what it still has.
    TimedOut,
}

/// The end of a drain: what a slot is released on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Verdict {
    /// How it ended.
    pub outcome: Outcome,
    /// What the gateway held at the end.
    pub evidence: Counts,
    /// Clients that were here when moving began.
    pub clients: u64,
    /// Clients moved to other gateways.
    pub moved: u64,
    /// Clients that left by themselves while others were moved, each counted when it left.
    pub departed: u64,
    /// From the first step to the verdict.
    #[serde(rename = "elapsed_ms", with = "record::millis")]
    pub elapsed: Duration,
}

impl Verdict {
    /// Clients of whom nobody said what became of them; negative if more was said than there were. A connection that had no session
    /// yet when moving began may be one of them.
    pub fn unaccounted(&self) -> i64 {
        let told = [self.moved, self.departed, self.evidence.clients()];
        let told = told.into_iter().fold(0_u64, u64::saturating_add);
        let missing = i128::from(self.clients) - i128::from(told);
        i64::try_from(missing).unwrap_or(if missing < 0 { i64::MIN } else { i64::MAX })
    }
}

impl Counts {
    /// Clients still here. A session may outlive its connection for a moment, and the other way round.
    pub fn clients(&self) -> u64 {
        self.connections.max(self.sessions_owned)
    }

    /// Whether nothing would be lost if the process ended now.
    pub const fn is_empty(&self) -> bool {
        // Named one by one, so that a new count cannot be forgotten here.
        let Self {
            connections,
            sessions_owned,
            unacknowledged_forwards,
            unsaved_cursors,
            parked_unsaved_wills,
            moved: _,
            failed: _,
        } = *self;
        connections == 0
            && sessions_owned == 0
            && unacknowledged_forwards == 0
            && unsaved_cursors == 0
            && parked_unsaved_wills == 0
    }
}
