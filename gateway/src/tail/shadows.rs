//! Shadows that other gateways changed: those that somebody watches here are read, however often they changed meanwhile.

use bytes::Bytes;
use shadow::{OwnedKey, Record, ShadowKey};
use store::{Entry, Pages, Reader, Space, StoreError};
use tokio::sync::oneshot;

use super::{Follower, Letter, Letters};
use crate::hub::{ShadowRead, is_watched, worker_of_thing};
use crate::shadows::{ShadowNames, creations_of, has_room};

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
        /// So many named ones its thing may have; 0 is no limit.
        most: usize,
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

/// What the store has of a shadow, and whether its thing may have one more, if it is a named one that is not there. 0 is no limit.
pub fn read_shadow(key: &OwnedKey, most: usize, reader: &mut dyn Reader) -> ShadowRead {
    look_up(key.key(), most, reader).unwrap_or_else(|error| {
        tracing::error!("a shadow cannot be read: {error}");
        ShadowRead::Unavailable
    })
}

fn look_up(
    key: ShadowKey<'_>,
    most: usize,
    reader: &mut dyn Reader,
) -> Result<ShadowRead, StoreError> {
    let doc = reader.get(Space::Shadow, key.to_stored().as_bytes())?;
    let found = doc.map(|doc| doc.value);
    let is_new = key.shadow.is_some() && !found.as_deref().is_some_and(Record::is_live);
    if most == 0 || !is_new {
        return Ok(ShadowRead::Found(found));
    }
    // Before it is looked how many there are: whoever creates one meanwhile changes it.
    let counted = reader.get(Space::Counter, &creations_of(key.thing))?.map(|doc| doc.rev);
    let has_room = has_room(key.thing, (most, found.is_some()), reader)?;
    Ok(if has_room { ShadowRead::Room(found, counted) } else { ShadowRead::Full(found) })
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
        let mut pages = Pages::new(Space::Shadow, &[], PAGE);
        while let Some(page) = pages.next(reader)? {
            for (stored, _) in page {
                let key = ShadowKey::from_stored(&stored);
                if key.is_some_and(|key| is_watched(&self.tables, key)) {
                    self.shadows.insert(stored);
                }
            }
        }
        Ok(())
    }
}
