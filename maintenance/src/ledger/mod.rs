//! The table that grants disruption slots; the only law.
//!
//! Whoever wants to disturb a host reads the ledger, lets it decide, and stores it by compare-and-set. Everything
//! that happens to it is a [`Change`], so that the audit can tell it again from nothing. A slot is never freed by
//! time: only by evidence, by handing it back unused, or by a named write-off.

mod change;
mod law;
mod refused;
mod rules;
mod slot;
mod steps;
mod stored;
mod table;

#[cfg(test)]
mod model_tests;
#[cfg(test)]
mod rate_tests;
#[cfg(test)]
mod tests;

pub(crate) use law::Stage;

pub use change::{Change, ReplayError};
pub use refused::{
    ConcludeRefused, FailRefused, GrantRefused, Metric, ReleaseRefused, SlotMismatch, StartRefused,
    VerifyRefused, WriteOffRefused,
};
pub use rules::{
    Allowed, Approval, DomainRule, FailureBudget, Gate, Grant, GrantRules, Headroom, OnWindowEnd,
    Seen,
};
pub use slot::{Asked, Failure, Slot, SlotClass, SlotEpoch, WriteOff};
pub use stored::InvalidLedger;
pub use table::Ledger;
