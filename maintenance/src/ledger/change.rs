//! What happens to a ledger, told so that it can be told again.

use protocol::{GatewayId, Incarnation, Wall};
use serde::{Deserialize, Serialize};

use super::slot::{Failure, Slot, SlotEpoch, Visited, WriteOff};
use super::table::Ledger;
use crate::record;
use crate::verdict::Verdict;

/// How many hosts the ledger remembers as visited in openings that are not over, and as written off, and how many
/// failures: the oldest are forgotten. A host that is forgotten as written off counts as down again.
const REMEMBERED: usize = 4096;

/// One change of a ledger. From an empty ledger, all changes in their order give the ledger as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Change {
    /// The ledger as it stood when changes began to be told.
    Adopted(Box<Ledger>),
    /// A slot was granted.
    Granted {
        /// The slot.
        slot: Box<Slot>,
        /// Whether its opening sees the host only once.
        once: bool,
    },
    /// The drain was allowed to start.
    Started {
        /// Whose.
        #[serde(with = "record::gateway")]
        host: GatewayId,
        /// Of which slot.
        epoch: SlotEpoch,
        /// When.
        #[serde(rename = "at_ms", with = "record::wall")]
        at: Wall,
    },
    /// A step that cannot be taken back was allowed.
    Crossed {
        /// Whose.
        #[serde(with = "record::gateway")]
        host: GatewayId,
        /// Of which slot.
        epoch: SlotEpoch,
        /// When.
        #[serde(rename = "at_ms", with = "record::wall")]
        at: Wall,
    },
    /// A slot was given back unused.
    HandedBack {
        /// Whose.
        #[serde(with = "record::gateway")]
        host: GatewayId,
        /// Which.
        epoch: SlotEpoch,
    },
    /// The drain ended.
    Concluded {
        /// Whose.
        #[serde(with = "record::gateway")]
        host: GatewayId,
        /// Of which slot.
        epoch: SlotEpoch,
        /// How.
        verdict: Verdict,
    },
    /// The host passed its checks.
    Verified {
        /// Which.
        #[serde(with = "record::gateway")]
        host: GatewayId,
        /// For which slot.
        epoch: SlotEpoch,
        /// The life that was checked.
        #[serde(with = "record::incarnation")]
        incarnation: Incarnation,
        /// When.
        #[serde(rename = "at_ms", with = "record::wall")]
        at: Wall,
    },
    /// The visit failed; the slot stays.
    Failed {
        /// Whose.
        #[serde(with = "record::gateway")]
        host: GatewayId,
        /// Of which slot.
        epoch: SlotEpoch,
        /// When.
        #[serde(rename = "at_ms", with = "record::wall")]
        at: Wall,
    },
    /// A slot was released on evidence.
    Released {
        /// Whose.
        #[serde(with = "record::gateway")]
        host: GatewayId,
        /// Which.
        epoch: SlotEpoch,
    },
    /// Somebody gave a host up for lost.
    WrittenOff(WriteOff),
}

/// Why a change does not follow from what stood before: the tale has a gap, or was forged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// It speaks of a slot that there is not.
    #[error("{host} has no slot of epoch {}", epoch.0)]
    NoSlot {
        /// Whose.
        host: GatewayId,
        /// Which.
        epoch: SlotEpoch,
    },
    /// It grants a slot that does not follow the last, or to a host that holds one.
    #[error("grant of epoch {} does not follow", epoch.0)]
    Grant {
        /// Which.
        epoch: SlotEpoch,
    },
    /// It begins anew in the middle.
    #[error("a ledger is adopted after it had begun")]
    Adopted,
}

impl Change {
    /// Which slot it is about; none for a ledger that was adopted, or a host that held no slot.
    pub fn epoch(&self) -> Option<SlotEpoch> {
        match self {
            Self::Adopted(_) => None,
            Self::Granted { slot, .. } => Some(slot.epoch),
            Self::Started { epoch, .. }
            | Self::Crossed { epoch, .. }
            | Self::HandedBack { epoch, .. }
            | Self::Concluded { epoch, .. }
            | Self::Verified { epoch, .. }
            | Self::Failed { epoch, .. }
            | Self::Released { epoch, .. } => Some(*epoch),
            Self::WrittenOff(lost) => lost.epoch,
        }
    }

    /// Which host it is about; none for a ledger that was adopted.
    pub fn host(&self) -> Option<&GatewayId> {
        match self {
            Self::Adopted(_) => None,
            Self::Granted { slot, .. } => Some(&slot.host),
            Self::Started { host, .. }
            | Self::Crossed { host, .. }
            | Self::HandedBack { host, .. }
            | Self::Concluded { host, .. }
            | Self::Verified { host, .. }
            | Self::Failed { host, .. }
            | Self::Released { host, .. } => Some(host),
            Self::WrittenOff(lost) => Some(&lost.host),
        }
    }

    /// All that [`Self::name`] can answer.
    pub const NAMES: [&str; 10] = [
        "ledger.adopted",
        "slot.granted",
        "slot.started",
        "slot.crossed",
        "slot.handed_back",
        "slot.concluded",
        "slot.verified",
        "slot.failed",
        "slot.released",
        "host.written_off",
    ];

    /// What happened, in one word, as audits and metrics name it.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Adopted(_) => "ledger.adopted",
            Self::Granted { .. } => "slot.granted",
            Self::Started { .. } => "slot.started",
            Self::Crossed { .. } => "slot.crossed",
            Self::HandedBack { .. } => "slot.handed_back",
            Self::Concluded { .. } => "slot.concluded",
            Self::Verified { .. } => "slot.verified",
            Self::Failed { .. } => "slot.failed",
            Self::Released { .. } => "slot.released",
            Self::WrittenOff(_) => "host.written_off",
        }
    }
}

impl Ledger {
    /// Lets a change happen that was told, if it follows from what stands here.
    ///
    /// # Errors
    /// [`ReplayError`]; nothing has changed then.
    pub fn replay(&mut self, change: &Change) -> Result<(), ReplayError> {
        match change {
            Change::Adopted(_) if *self != Self::default() => return Err(ReplayError::Adopted),
            Change::Granted { slot, .. } => {
                let epoch = slot.epoch;
                if epoch.0 != self.epoch.0 + 1 || self.slot(&slot.host).is_some() {
                    return Err(ReplayError::Grant { epoch });
                }
            }
            Change::Adopted(_)
            | Change::Started { .. }
            | Change::Crossed { .. }
            | Change::HandedBack { .. }
            | Change::Concluded { .. }
            | Change::Verified { .. }
            | Change::Failed { .. }
            | Change::Released { .. }
            | Change::WrittenOff(_) => {
                if let (Some(host), Some(epoch)) = (change.host(), change.epoch())
                    && self.slot(host).is_none_or(|slot| slot.epoch != epoch)
                {
                    return Err(ReplayError::NoSlot { host: host.clone(), epoch });
                }
            }
        }
        self.apply(change);
        Ok(())
    }

    /// Lets a change happen whose conditions were checked.
    pub(super) fn take(&mut self, change: Change) -> Change {
        self.apply(&change);
        change
    }

    fn apply(&mut self, change: &Change) {
        if let Change::Adopted(ledger) = change {
            *self = ledger.as_ref().clone();
            return;
        }
        self.rev += 1;
        match change {
            Change::Adopted(_) => {}
            Change::Granted { slot, once } => self.insert(slot, *once),
            Change::Started { host, at, .. } => self.with(host, |slot| {
                // What was concluded of a drain of another life says nothing of this one.
                (slot.started, slot.verdict) = (Some(*at), None);
            }),
            Change::Crossed { host, at, .. } => {
                self.with(host, |slot| {
                    slot.crossed.get_or_insert(*at);
                });
            }
            Change::HandedBack { host, .. } => {
                self.remove(host);
                self.visited.retain(|visited| visited.host != *host);
            }
            Change::Concluded { host, verdict, .. } => {
                self.with(host, |slot| slot.verdict = Some(*verdict));
            }
            Change::Verified { host, incarnation, at, .. } => self.with(host, |slot| {
                (slot.verified, slot.verified_life) = (Some(*at), Some(*incarnation));
            }),
            Change::Failed { host, at, .. } => self.note_failure(host, *at),
            Change::Released { host, .. } => self.remove(host),
            Change::WrittenOff(lost) => {
                self.note_failure(&lost.host, lost.at);
                self.remove(&lost.host);
                self.give_up(lost);
            }
        }
    }

    fn insert(&mut self, slot: &Slot, once: bool) {
        self.epoch = slot.epoch;
        self.term = self.term.max(slot.term);
        let host = &slot.host;
        self.visited.retain(|seen| seen.opening.to > slot.granted);
        if once {
            self.visited.retain(|seen| seen.host != *host);
            self.visited.push(Visited { host: host.clone(), opening: slot.opening });
            forget_oldest(&mut self.visited);
        }
        let position = self.slots.partition_point(|other| other.host < *host);
        self.slots.insert(position, slot.clone());
    }

    fn note_failure(&mut self, host: &GatewayId, at: Wall) {
        let Some(slot) = self.slots.iter_mut().find(|s| s.host == *host && s.failed.is_none())
        else {
            return;
        };
        slot.failed = Some(at);
        if !slot.scopes.is_empty() {
            let scopes = slot.scopes.clone();
            self.failures.push(Failure { scopes, host: host.clone(), at });
            forget_oldest(&mut self.failures);
        }
    }

    fn give_up(&mut self, lost: &WriteOff) {
        self.written_off.retain(|other| other.host != lost.host);
        if self.written_off.len() >= REMEMBERED {
            let oldest = self.written_off.iter().min_by_key(|other| other.at).cloned();
            self.written_off.retain(|other| Some(other) != oldest.as_ref());
        }
        let position = self.written_off.partition_point(|other| other.host < lost.host);
        self.written_off.insert(position, lost.clone());
    }

    fn with(&mut self, host: &GatewayId, change: impl FnOnce(&mut Slot)) {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.host == *host) {
            change(slot);
        }
    }

    fn remove(&mut self, host: &GatewayId) {
        self.slots.retain(|slot| slot.host != *host);
    }
}

fn forget_oldest<T>(list: &mut Vec<T>) {
    let surplus = list.len().saturating_sub(REMEMBERED);
    list.drain(..surplus);
}
