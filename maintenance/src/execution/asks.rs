//! What a reaction asks of the ledger, asked.

use super::event::{LedgerStep, Reaction};
use crate::fleet::Host;
use crate::ledger::{
    Change, ConcludeRefused, FailRefused, GrantRules, Ledger, ReleaseRefused, Seen, SlotMismatch,
    StartRefused, VerifyRefused, WriteOffRefused,
};

/// Why the ledger does not take a reaction: tell it with [`super::Event::Refused`].
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{why}")]
pub struct LedgerRefused {
    /// What it said.
    pub why: String,
    /// Whether the slot is not this visit's any more.
    pub slot_gone: bool,
}

impl Reaction {
    /// Asks the ledger, which has changed then; store both in one transaction. Answers what changed, for the audit.
    ///
    /// # Errors
    /// [`LedgerRefused`], the first no; the ledger is to be thrown away then.
    pub fn ask(
        &self,
        ledger: &mut Ledger,
        host: &Host,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<Vec<Change>, LedgerRefused> {
        let mut changes = Vec::new();
        for step in &self.ledger {
            changes.extend(self.ask_one(step, ledger, host, seen, rules)?);
        }
        Ok(changes)
    }

    fn ask_one(
        &self,
        step: &LedgerStep,
        ledger: &mut Ledger,
        host: &Host,
        seen: &Seen<'_>,
        rules: &GrantRules,
    ) -> Result<Option<Change>, LedgerRefused> {
        let (id, now) = (&host.id, seen.now);
        let Some(epoch) = self.epoch else {
            return Err(LedgerRefused { why: "visit holds no slot".to_owned(), slot_gone: true });
        };
        let change = match step {
            LedgerStep::Start { remaining } => ledger.start(id, epoch, *remaining, seen, rules)?,
            LedgerStep::Cross { remaining } => ledger.cross(id, epoch, *remaining, seen, rules)?,
            LedgerStep::HandBack => ledger.hand_back(id, epoch)?,
            LedgerStep::Conclude(verdict) => ledger.conclude(id, epoch, *verdict)?,
            LedgerStep::Verify(life) => ledger.verify(now, id, epoch, *life)?,
            LedgerStep::Fail => match ledger.fail(now, id, epoch) {
                Err(FailRefused::Noted) => return Ok(None),
                noted => noted?,
            },
            LedgerStep::Release => ledger.release(host, epoch)?,
            LedgerStep::WriteOff { actor, reason } => {
                ledger.write_off(now, host, Some(epoch), actor, reason)?
            }
        };
        Ok(Some(change))
    }
}

impl From<SlotMismatch> for LedgerRefused {
    fn from(no: SlotMismatch) -> Self {
        let slot_gone = match no {
            SlotMismatch::NoSlot | SlotMismatch::OtherEpoch { .. } => true,
            SlotMismatch::Started { .. } => false,
        };
        Self { why: no.to_string(), slot_gone }
    }
}

/// Turns a refusal of one step into one of the whole reaction.
macro_rules! refusals {
    ($($refusal:ident)*) => {
        $(impl From<$refusal> for LedgerRefused {
            fn from(no: $refusal) -> Self {
                match no {
                    $refusal::Slot(mismatch) => mismatch.into(),
                    other => Self { why: other.to_string(), slot_gone: false },
                }
            }
        })*
    };
}

refusals!(StartRefused ConcludeRefused VerifyRefused FailRefused ReleaseRefused WriteOffRefused);
