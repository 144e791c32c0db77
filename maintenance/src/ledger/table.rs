//! The ledger's record.

use protocol::{GatewayId, Wall};
use serde::{Deserialize, Serialize};

use super::slot::{Failure, Slot, SlotEpoch, Visited, WriteOff};
use super::stored::Form;
use crate::fleet::{Host, HostState, Term};

/// All slots of a fleet. One record of the store, written by compare-and-set on [`Ledger::rev`].
///
/// A slot is never freed by time: only by evidence, by handing it back unused, or by a named write-off.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ledger {
    pub(super) form: Form,
    pub(super) rev: u64,
    pub(super) epoch: SlotEpoch,
    pub(super) term: Term,
    /// Ordered by host.
    pub(super) slots: Vec<Slot>,
    /// Ordered by time.
    pub(super) visited: Vec<Visited>,
    /// Ordered by host.
    pub(super) written_off: Vec<WriteOff>,
    /// Ordered by time.
    pub(super) failures: Vec<Failure>,
}

impl Ledger {
    /// Grows with each change. Store the changed ledger only if the stored one still has the revision that was read.
    pub const fn rev(&self) -> u64 {
        self.rev
    }

    /// The latest reign of a scheduler that was granted a slot.
    pub const fn term(&self) -> Term {
        self.term
    }

    /// All slots, ordered by host.
    pub fn slots(&self) -> &[Slot] {
        &self.slots
    }

    /// The slot of a host.
    pub fn slot(&self, host: &GatewayId) -> Option<&Slot> {
        let at = self.slots.binary_search_by(|slot| slot.host.cmp(host)).ok()?;
        self.slots.get(at)
    }

    /// Who is written off, ordered by host.
    pub fn written_off(&self) -> &[WriteOff] {
        &self.written_off
    }

    /// The failures that may still count, ordered by time.
    pub fn failures(&self) -> &[Failure] {
        &self.failures
    }

    /// How many failures of a budget still count.
    pub fn failed_lately(&self, scope: &str, per: std::time::Duration, now: Wall) -> usize {
        self.failures_of(scope).filter(|failure| now < failure.at.after(per)).count()
    }

    /// The failures that were noted for a budget, however old.
    pub fn failures_of(&self, scope: &str) -> impl Iterator<Item = &Failure> {
        let counts = move |failure: &&Failure| failure.scopes.iter().any(|noted| noted == scope);
        self.failures.iter().filter(counts)
    }

    /// Whether a host counts: it is not retired, or it has come back in a life after the one that was written off.
    pub fn is_registered(&self, host: &Host) -> bool {
        let at = self.written_off.binary_search_by(|lost| lost.host.cmp(&host.id)).ok();
        let lost = at.and_then(|at| self.written_off.get(at));
        host.state != HostState::Retired
            && lost.is_none_or(|lost| lost.incarnation < host.incarnation)
    }
}
