//! The ledger as this gateway read it, and what it changes in it: both are stored in one write with what the audit is told.

use bytes::Bytes;
use maintenance::Ledger;
use maintenance::audit::AuditRecord;
use maintenance::ledger::{Asked, Change};
use maintenance::pauses::{Pause, Pauses};
use protocol::Wall;
use store::{Expect, Outcome, Put, Rev, Space, Write};

use super::thread::Housekeeper;
use crate::control::ControlError;
use crate::pauses;
use crate::scheduler::told;

/// The ledger's key.
pub(super) const LEDGER: &[u8] = b"ledger";

/// The ledger while it is changed.
#[derive(Debug)]
pub(super) struct Page {
    pub(super) ledger: Ledger,
    rev: Option<Rev>,
    told: Vec<AuditRecord>,
}

impl Page {
    /// Changes it in somebody's name, if the ledger takes that.
    pub(super) fn change<E>(
        &mut self,
        said: &Asked,
        at: Wall,
        change: impl FnOnce(&mut Ledger) -> Result<Change, E>,
    ) -> Result<Change, E> {
        let before = self.ledger.clone();
        let change = change(&mut self.ledger)?;
        let slot = change.host().and_then(|host| before.slot(host));
        self.told.push(AuditRecord::of_change(at, &said.by, &said.reason, &change, slot));
        Ok(change)
    }
}

impl Housekeeper {
    /// Who holds a micro slot, as far as that can be read.
    pub(super) fn pauses(&mut self) -> Vec<Pause> {
        let stands = self.reader.get(Space::Maintenance, pauses::KEY).ok().flatten();
        let known = stands.and_then(|doc| Pauses::decode(&doc.value).ok());
        known.map(|pauses| pauses.held().to_vec()).unwrap_or_default()
    }

    /// The ledger as it stands; none if it cannot be read.
    pub(super) fn read_ledger(&mut self) -> Option<Page> {
        let (ledger, rev) = match self.reader.get(Space::Maintenance, LEDGER) {
            Ok(None) => (Ledger::default(), None),
            Ok(Some(doc)) => match Ledger::decode(&doc.value) {
                Ok(ledger) => (ledger, Some(doc.rev)),
                Err(error) => {
                    tracing::error!(
                        "the ledger cannot be read; nothing is drained by itself: {error}"
                    );
                    return None;
                }
            },
            Err(error) => {
                tracing::error!("the ledger cannot be read: {error}");
                return None;
            }
        };
        Some(Page { ledger, rev, told: Vec::new() })
    }

    /// Stores what was changed. False if somebody else wrote meanwhile: then nothing has changed.
    pub(super) fn store_page(&mut self, page: &Page) -> Result<bool, ControlError> {
        let unavailable = || ControlError::Unavailable("the ledger cannot be written now".into());
        let value = page.ledger.encode().map_err(|_| unavailable())?;
        let mut write = Write::default();
        write.puts.push(Put {
            space: Space::Maintenance,
            key: Bytes::from_static(LEDGER),
            value: Some(value.into()),
            expect: page.rev.map_or(Expect::Absent, Expect::Rev),
            announce: false,
        });
        write.puts.extend(told(&mut *self.reader, page.told.clone())?);
        match self.write(write) {
            Some((Outcome::Done { .. }, _)) => Ok(true),
            Some((Outcome::Conflict { .. }, _)) => Ok(false),
            None => Err(unavailable()),
        }
    }

    /// The same for what is tried again by itself.
    pub(super) fn is_stored(&mut self, page: &Page) -> bool {
        self.store_page(page).unwrap_or_else(|why| {
            tracing::error!("the ledger: {why}");
            false
        })
    }

    /// What this gateway says in its own name.
    pub(super) fn own_words(&self, reason: impl Into<String>) -> Asked {
        Asked { by: format!("host {}", self.config.id.gateway()), reason: reason.into() }
    }
}
