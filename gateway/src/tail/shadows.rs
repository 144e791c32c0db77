//! Shadows that other gateways changed: those that somebody watches here are read, however often they changed meanwhile.

use bytes::Bytes;
use shadow::{OwnedKey, ShadowKey};
use store::{Entry, Reader, Space, StoreError};
use tokio::sync::oneshot;

use super::{Follower, Letter, Letters};
use crate::hub::{ShadowRead, is_watched, worker_of_thing};
use crate::shadows::ShadowNames;

/// Shadows looked at together, when the log was trimmed before it was read.
const PAGE: usize = 256;

/// What the log's follower is asked about shadows.
#[derive(Debug)]
pub enum ShadowQuestion {
    /// What is stored of one, for a worker.
    Read {
        /// Who asks.
        worker: u8,
        /// Which shadow.
        key: OwnedKey,
    },
    /// The names of a thing's named shadows.
    Names {
        /// Whose.
        thing: Box<str>,
        /// Behind this one.
        after: Option<Box<str>>,
        /// At most so many.
        max: usize,
        /// None if the store could not be read.
        answer: oneshot::Sender<Option<ShadowNames>>,
    },
}

/// What the store has of a shadow.
pub fn read_shadow(key: &OwnedKey, reader: &mut dyn Reader) -> ShadowRead {
    match reader.get(Space::Shadow, key.key().to_stored().as_bytes()) {
        Ok(doc) => ShadowRead::Found(doc.map(|doc| doc.value)),
        Err(error) => {
            tracing::error!("a shadow cannot be read: {error}");
            ShadowRead::Unavailable
        }
    }
}

/// Takes out what concerns shadows: who writes them tells of them.
pub(super) fn without_shadows(entries: &mut Vec<Entry>) {
    entries.retain(|entry| !matches!(entry, Entry::Doc { space: Space::Shadow, .. }));
}

impl Follower {
    /// The log says that another gateway changed a shadow.
    pub(super) fn note_shadow(&mut self, key: &[u8]) {
        self.shadows.insert(Bytes::copy_from_slice(key));
    }

    /// Reads the shadows that changed, each once, and sends those that are watched here to the worker that tells of them.
    pub(super) fn read_shadows(
        &mut self,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        while let Some(stored) = self.shadows.first().cloned() {
            if let Some(key) = ShadowKey::from_stored(&stored)
                && is_watched(&self.tables, key)
            {
                let doc = reader.get(Space::Shadow, &stored)?;
                let worker = worker_of_thing(key.thing, self.workers);
                out.push((worker, Letter::Shadow(key.into(), doc.map(|doc| doc.value))));
            }
            self.shadows.remove(&stored);
        }
        Ok(())
    }

    /// Takes every shadow that is watched here for changed: what the log said of them was trimmed before it was read.
    pub(super) fn note_all_shadows(&mut self, reader: &mut dyn Reader) -> Result<(), StoreError> {
        let mut after: Option<Bytes> = None;
        loop {
            let page = reader.scan(Space::Shadow, &[], after.as_deref(), PAGE)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(last.clone());
            for (stored, _) in page {
                let key = ShadowKey::from_stored(&stored);
                if key.is_some_and(|key| is_watched(&self.tables, key)) {
                    self.shadows.insert(stored);
                }
            }
        }
    }
}
