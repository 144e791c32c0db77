//! Missed deadlines: others make room.

use super::search::Search;

impl Search<'_> {
    /// Looks for places in time for those that have none, by moving others.
    pub(super) fn mend(&mut self, stop: &mut dyn FnMut() -> bool) {
        let _ = stop();
    }
}
