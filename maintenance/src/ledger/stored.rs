//! The ledger as bytes, and ledgers of earlier versions of the program.

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use super::slot::{Slot, SlotClass, SlotEpoch, Visited, WriteOff};
use super::table::Ledger;
use crate::calendar::Interval;
use crate::fleet::{Load, Term};
use crate::record;
use crate::verdict::Verdict;

/// Why bytes are no ledger.
#[derive(Debug, thiserror::Error)]
pub enum InvalidLedger {
    /// Not what [`Ledger::encode`] wrote.
    #[error("ledger record is damaged")]
    Damaged(#[source] serde_json::Error),
    /// A later version of the program wrote it.
    #[error("ledger has form {0}, which this version does not know")]
    Form(u32),
}

/// The form that this version writes.
const FORM: u32 = 2;

/// Says in the record which form it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub(super) struct Form(u32);

impl Default for Form {
    fn default() -> Self {
        Self(FORM)
    }
}

impl Ledger {
    /// Reads a stored record, also one of the form before.
    ///
    /// # Errors
    /// [`InvalidLedger`] if it was not written by [`Self::encode`] of this version or an earlier one.
    pub fn decode(bytes: &[u8]) -> Result<Self, InvalidLedger> {
        let head: Head = serde_json::from_slice(bytes).map_err(InvalidLedger::Damaged)?;
        match head.form {
            None => serde_json::from_slice(bytes).map(First::adopt),
            Some(FORM) => serde_json::from_slice(bytes),
            Some(form) => return Err(InvalidLedger::Form(form)),
        }
        .map_err(InvalidLedger::Damaged)
    }

    /// The record to store.
    ///
    /// # Errors
    /// [`InvalidLedger`] if it cannot be written; our fault.
    pub fn encode(&self) -> Result<Vec<u8>, InvalidLedger> {
        serde_json::to_vec(self).map_err(InvalidLedger::Damaged)
    }
}

#[derive(Deserialize)]
struct Head {
    form: Option<u32>,
}

/// The form before there were numbers of forms.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct First {
    rev: u64,
    epoch: SlotEpoch,
    slots: Vec<FirstSlot>,
    visited: Vec<Visited>,
    written_off: Vec<WriteOff>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct FirstSlot {
    #[serde(with = "record::gateway")]
    host: GatewayId,
    #[serde(with = "record::incarnation")]
    incarnation: Incarnation,
    epoch: SlotEpoch,
    #[serde(rename = "granted_ms", with = "record::wall")]
    granted: Wall,
    opening: Interval,
    #[serde(rename = "started_ms", with = "record::maybe_wall")]
    started: Option<Wall>,
    verdict: Option<Verdict>,
}

impl First {
    fn adopt(self) -> Ledger {
        let Self { rev, epoch, slots, visited, mut written_off } = self;
        let mut slots: Vec<_> = slots.into_iter().map(FirstSlot::adopt).collect();
        slots.sort_by(|a, b| a.host.cmp(&b.host));
        written_off.sort_by(|a, b| a.host.cmp(&b.host));
        Ledger { rev, epoch, slots, visited, written_off, ..Ledger::default() }
    }
}

impl FirstSlot {
    fn adopt(self) -> Slot {
        Slot {
            host: self.host,
            incarnation: self.incarnation,
            epoch: self.epoch,
            term: Term::default(),
            visit: None,
            asked: None,
            class: SlotClass::Drain,
            labels: std::collections::BTreeMap::new(),
            load: Load::default(),
            rate: None,
            fleet_rate: None,
            scopes: Vec::new(),
            granted: self.granted,
            opening: self.opening,
            started: self.started,
            crossed: None,
            verdict: self.verdict,
            verified: None,
            verified_life: None,
            failed: None,
        }
    }
}
