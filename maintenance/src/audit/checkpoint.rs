//! Where the chain begins once its oldest entries are folded.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{Context, SHA256};
use protocol::Wall;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::chain::{AuditHead, Broken, verify};
use super::entry::{AuditEntry, AuditHash, AuditRecord};
use super::tale::{TaleBroken, ledger_from, visits_from};
use crate::execution::VisitTale;
use crate::fleet::VisitId;
use crate::ledger::{InvalidLedger, Ledger};

/// Begins what is hashed, so that nothing else hashes alike.
const KIND: &str = "tidegate audit checkpoint 1";

/// What stands for the oldest entries, whose text is gone: where the chain goes on behind them, and what followed from them. Its seal
/// is told in the entry that says of the folding, and so is held by the chain itself.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// The last entry that is folded, and its hash. Entries are numbered from 1 without gaps, so it says also how many there were.
    pub head: AuditHead,
    /// When that entry was written.
    #[serde(rename = "at_ms", with = "crate::record::wall")]
    pub at: Wall,
    /// The ledger and visits as they stood; as it was written, since the seal is over that.
    state: Value,
}

/// What follows from folded entries.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct State {
    /// As the ledger's document, so that one of an earlier version is read.
    ledger: Value,
    visits: BTreeMap<VisitId, VisitTale>,
}

impl State {
    fn ledger(&self) -> Result<Ledger, InvalidLedger> {
        if self.ledger.is_null() {
            return Ok(Ledger::default());
        }
        Ledger::decode(self.ledger.to_string().as_bytes())
    }
}

/// Why entries are not folded, or a checkpoint is none.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointBroken {
    /// The entries do not follow it, or were changed.
    #[error(transparent)]
    Chain(#[from] Broken),
    /// What they tell does not follow.
    #[error(transparent)]
    Tale(#[from] TaleBroken),
    /// Its state cannot be read, or not be written.
    #[error("the state at entry {seq} cannot be understood")]
    State {
        /// The last entry that is folded.
        seq: u64,
        /// Why not.
        source: serde_json::Error,
    },
    /// Its ledger is none.
    #[error(transparent)]
    Ledger(#[from] InvalidLedger),
    /// No entry of the chain tells of it with this seal.
    #[error("the checkpoint at entry {seq} is not the one that was told of")]
    Seal {
        /// The last entry that is folded.
        seq: u64,
    },
}

/// What the entry tells that says of a folding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Folded {
    seq: u64,
    hash: AuditHash,
    seal: AuditHash,
}

impl Checkpoint {
    /// What the entry is called that tells of a folding.
    pub const FOLDED: &str = "audit.folded";

    /// The same with more entries folded, which follow it. Of visits that are not remembered any more nothing is kept: nothing will
    /// be told of them.
    ///
    /// # Errors
    /// [`CheckpointBroken`]: what cannot be proved is not folded.
    pub fn fold(
        &self,
        entries: &[AuditEntry],
        is_remembered: impl Fn(&VisitId) -> bool,
    ) -> Result<Self, CheckpointBroken> {
        let head = verify(self.head, entries)?;
        let state = self.state()?;
        let ledger = ledger_from(state.ledger()?, entries)?;
        let mut visits = visits_from(state.visits, entries)?;
        visits.retain(|visit, _| is_remembered(visit));
        let written = |it: Result<Value, _>| {
            it.map_err(|source| CheckpointBroken::State { seq: head.seq, source })
        };
        let ledger = written(serde_json::to_value(ledger))?;
        let state = written(serde_json::to_value(State { ledger, visits }))?;
        let at = entries.last().map_or(self.at, |last| last.record.at);
        Ok(Self { head, at, state })
    }

    /// What tells of it, for the chain.
    pub fn record(&self, at: Wall, actor: &str, reason: &str) -> AuditRecord {
        let AuditHead { seq, hash } = self.head;
        AuditRecord {
            at,
            actor: actor.to_owned(),
            action: Self::FOLDED.to_owned(),
            object: "audit".to_owned(),
            before: None,
            after: serde_json::to_value(Folded { seq, hash, seal: self.seal() }).ok(),
            reason: reason.to_owned(),
        }
    }

    /// Whether one of the entries behind it tells of it as it is.
    ///
    /// # Errors
    /// [`CheckpointBroken::Seal`] if none does.
    pub fn check<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a AuditEntry>,
    ) -> Result<(), CheckpointBroken> {
        let AuditHead { seq, hash } = self.head;
        let mut foldings = entries.into_iter().filter(|it| it.record.action == Self::FOLDED);
        let tells = |entry: &AuditEntry| {
            let told = entry.record.after.as_ref().and_then(|it| Folded::deserialize(it).ok());
            told.is_some_and(|it| (it.seq, it.hash) == (seq, hash) && it.seal == self.seal())
        };
        let is_told = self.head == AuditHead::default() || foldings.any(tells);
        if is_told { Ok(()) } else { Err(CheckpointBroken::Seal { seq }) }
    }

    /// The ledger, from nothing but this and the entries behind it; behind the default it is the ledger of all of them.
    ///
    /// # Errors
    /// [`CheckpointBroken`], the first thing that does not follow.
    pub fn ledger_with<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a AuditEntry>,
    ) -> Result<Ledger, CheckpointBroken> {
        Ok(ledger_from(self.state()?.ledger()?, entries)?)
    }

    /// Every visit that was remembered at the checkpoint, or that has begun behind it, by its name.
    ///
    /// # Errors
    /// [`CheckpointBroken`], the first thing that does not follow.
    pub fn visits_with<'a>(
        &self,
        entries: impl IntoIterator<Item = &'a AuditEntry>,
    ) -> Result<BTreeMap<VisitId, VisitTale>, CheckpointBroken> {
        Ok(visits_from(self.state()?.visits, entries)?)
    }

    fn state(&self) -> Result<State, CheckpointBroken> {
        if self.head == AuditHead::default() {
            return Ok(State::default());
        }
        let seq = self.head.seq;
        State::deserialize(&self.state).map_err(|source| CheckpointBroken::State { seq, source })
    }

    fn seal(&self) -> AuditHash {
        // Named one by one, so that a new field cannot be forgotten here.
        let Self { head: AuditHead { seq, hash }, at, state } = self;
        let mut context = Context::new(&SHA256);
        context.update(KIND.as_bytes());
        context.update(&seq.to_be_bytes());
        context.update(&hash.0);
        context.update(&at.0.to_be_bytes());
        context.update(state.to_string().as_bytes());
        AuditHash(context.finish().as_ref().try_into().unwrap_or_default())
    }
}
