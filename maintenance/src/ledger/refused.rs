//! Why the ledger says no.

use protocol::{GatewayId, Wall};

use super::slot::SlotEpoch;
use crate::fleet::{Domain, Term};
use crate::verdict::Counts;

/// Why a slot is not granted, or a granted one must not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GrantRefused {
    /// Not a registered host.
    #[error("host is not registered")]
    UnknownHost,
    /// It is written off, and has not come back in a new life.
    #[error("host is retired")]
    Retired,
    /// Silent, dead or busy.
    #[error("host is not serving")]
    NotServing,
    /// It has not answered for too long.
    #[error("host has not answered lately")]
    Stale,
    /// The offer was made to another life of it.
    #[error("host has another life than the one that accepted")]
    OtherLife,
    /// It says that it must not be disturbed.
    #[error("host is blocked: {code}")]
    Blocked {
        /// What by.
        code: String,
        /// When that is probably over.
        until: Option<Wall>,
    },
    /// It has a slot already.
    #[error("host already holds a slot")]
    HoldsSlot,
    /// It was visited in this opening.
    #[error("host was already visited in this opening")]
    Visited,
    /// The opening is over or has not begun.
    #[error("window is not open")]
    Closed,
    /// It would not be over when the window ends.
    #[error("last safe start was at {} ms", last_safe_start.0)]
    TooLate {
        /// Until when it could have started.
        last_safe_start: Wall,
    },
    /// Somebody else is the scheduler now.
    #[error("term {} has begun", current.0)]
    OldTerm {
        /// The reign that the ledger knows of.
        current: Term,
    },
    /// Too few people have agreed.
    #[error("{given} of {wanted} approvals are given")]
    NotApproved {
        /// How many are valid.
        given: usize,
        /// How many must be.
        wanted: usize,
    },
    /// Nothing may begin now.
    #[error("gate is closed: {why}")]
    GateClosed {
        /// Which condition closed it.
        why: String,
    },
    /// Too few others serve.
    #[error(
        "{domain}: {serving} other hosts serve, {min_available} must; {unplanned} are down unplanned"
    )]
    MinAvailable {
        /// Where.
        domain: Domain,
        /// How many other hosts serve and hold no slot.
        serving: usize,
        /// How many must.
        min_available: usize,
        /// How many do not serve although they hold no slot.
        unplanned: usize,
    },
    /// Too many hosts are disturbed already.
    #[error("{domain}: {slots} slots are held, {max_concurrent} may be")]
    MaxConcurrent {
        /// Where.
        domain: Domain,
        /// How many other slots are held.
        slots: usize,
        /// How many may be held in all.
        max_concurrent: usize,
    },
    /// A host with the same value of a label is disturbed.
    #[error("{domain}: {other} is disturbed already")]
    Together {
        /// What they share.
        domain: Domain,
        /// Who else has it.
        other: GatewayId,
    },
    /// Those that serve could not carry what would move to them.
    #[error("{domain}: {metric} would be {load}, {limit} is the most")]
    Headroom {
        /// Where.
        domain: Domain,
        /// Of what.
        metric: Metric,
        /// What there would be.
        load: u64,
        /// What there may be.
        limit: u64,
    },
    /// More clients would leave per second than may, or than those that take them can take.
    #[error("{domain}: {rate} clients per second would move, {limit} may")]
    RateBudget {
        /// Where.
        domain: Domain,
        /// How many would.
        rate: u64,
        /// How many may.
        limit: u64,
    },
    /// Too many visits failed.
    #[error("{failures} visits failed, {max} may")]
    FailureBudget {
        /// How many, that still count.
        failures: usize,
        /// How many may.
        max: usize,
    },
}

/// What capacity is measured in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Metric {
    /// Connections at once.
    Connections,
    /// Messages per second.
    Messages,
}

impl std::fmt::Display for Metric {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Connections => "connections",
            Self::Messages => "messages per second",
        })
    }
}

/// Why a step does not belong to the slot that is held now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SlotMismatch {
    /// The host holds none.
    #[error("host holds no slot")]
    NoSlot,
    /// The step is of another visit.
    #[error("slot has epoch {}", held.0)]
    OtherEpoch {
        /// The epoch of the slot that is held.
        held: SlotEpoch,
    },
    /// The drain has started, or has not.
    #[error("drain {}", if *started { "has started" } else { "has not started" })]
    Started {
        /// Whether it has.
        started: bool,
    },
}

/// Why a drain must not start, or a step that cannot be taken back must not be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StartRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// The drain has not ended empty.
    #[error("host is not quiesced")]
    NotQuiesced,
    /// The grant would not be given any more; hand it back, or undrain.
    #[error(transparent)]
    Grant(#[from] GrantRefused),
}

/// Why a verdict is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ConcludeRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// It says quiesced, and its evidence says otherwise.
    #[error("evidence is not empty")]
    NotEmpty(Counts),
}

/// Why checks that passed are not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum VerifyRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// They were made on a life before the grant.
    #[error("host was checked in a life before the grant")]
    OtherLife,
}

/// Why a failure is not noted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FailRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// It counts already.
    #[error("failure is noted already")]
    Noted,
}

/// Why a slot is not released.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseRefused {
    /// Not this slot.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// Nobody knows how the drain ended.
    #[error("drain has no verdict")]
    NoVerdict,
    /// It was worked on, and this life of it has not passed its checks since.
    #[error("host has not passed its checks")]
    NotVerified,
    /// The host does not serve again.
    #[error("host is not serving again")]
    NotServing,
}

/// Why a host is not written off.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum WriteOffRefused {
    /// Not the slot that it holds.
    #[error(transparent)]
    Slot(#[from] SlotMismatch),
    /// It serves and holds no slot: there is nothing to give up.
    #[error("host is serving")]
    Serving,
    /// Nobody takes the decision upon himself, or says why.
    #[error("a write-off needs a name and a reason")]
    Nameless,
}
