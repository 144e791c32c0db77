//! Epochs of client ids that nobody holds: above every one that they may have had, also if the clock is set back.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::{ClientId, SessionEpoch, Wall, hash64};

/// Client ids are told apart as far as this, so that connects faster than the clock's milliseconds leave it behind for none.
const PLACES: usize = 1024;

/// The highest epochs that this process has heard of, by client id; ids that share a place share an epoch.
#[derive(Debug)]
pub(crate) struct Epochs(Box<[AtomicU64]>);

impl Default for Epochs {
    fn default() -> Self {
        Self((0..PLACES).map(|_| AtomicU64::new(0)).collect())
    }
}

impl Epochs {
    /// A client id's session was owned in this epoch.
    pub(crate) fn note(&self, client: &ClientId, epoch: SessionEpoch) {
        if let Some(place) = self.place(client) {
            place.fetch_max(epoch.0, Ordering::AcqRel);
        }
    }

    /// The epoch of the next ownership: above the one that stands in the document; without a document above the clock, and
    /// above all that was heard of.
    pub(crate) fn next(
        &self,
        client: &ClientId,
        stands: Option<SessionEpoch>,
        now: Wall,
    ) -> SessionEpoch {
        let heard = || self.place(client).map_or(0, |place| place.load(Ordering::Acquire));
        let before = stands.map_or_else(|| now.0.max(heard()), |epoch| epoch.0);
        let next = SessionEpoch(before.saturating_add(1));
        self.note(client, next);
        next
    }

    fn place(&self, client: &ClientId) -> Option<&AtomicU64> {
        let places = u64::try_from(self.0.len().max(1)).unwrap_or(1);
        let at = hash64(client.as_str().as_bytes()) % places;
        self.0.get(usize::try_from(at).unwrap_or(0))
    }
}
