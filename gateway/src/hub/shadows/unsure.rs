//! Shadows that were written while other gateways may not have waited for this one: sessions that subscribed meanwhile may not be
//! among those that were stored for.
//!
//! A clean session hears of every change through the log, wherever it is. A stored queue gets what the write has for it, and that goes
//! by the routes that were known when it was made. A gateway that stood still, or was cut off, between that and the store's answer
//! says it again once it has read the log: with a write of the same record, so that nothing newer is overtaken. Whoever had it
//! the first time gets it twice.

use protocol::Now;
use shadow::OwnedKey;

use crate::hub::{Ask, Hub, Turn};

/// By which the answer to our look at the log is known; others count theirs from 1.
pub(crate) const LOOK: u64 = u64::MAX;
/// Shadows that are said again with one tick.
const PORTION: usize = 64;

impl Hub {
    /// Whether others surely wait for this gateway, whose routes are those of the log since it was last away.
    pub(in crate::hub) fn is_sure(&self, now: Now) -> bool {
        self.tables.is_awaited(now.mono, self.shadows.known)
    }

    /// What was written of a shadow, by routes that were sure or not, is stored.
    pub(super) fn note_written(&mut self, key: &OwnedKey, was_sure: bool, now: Now) {
        self.note_lost(key);
        if !(was_sure && self.is_sure(now)) {
            self.shadows.unsure.insert(key.clone());
        }
    }

    /// The store, or its reader, did not do what was wanted of a shadow.
    pub(super) fn note_failed(&mut self, key: &OwnedKey) {
        if self.shadows.repeating.remove(key) {
            self.shadows.unsure.insert(key.clone());
        }
    }

    /// There is a later version, and whoever wrote it has said so.
    pub(super) fn note_lost(&mut self, key: &OwnedKey) {
        // Mostly there are none.
        if !self.shadows.unsure.is_empty() || !self.shadows.repeating.is_empty() {
            self.shadows.unsure.remove(key);
            self.shadows.repeating.remove(key);
        }
    }

    /// Time has passed: what was written by doubtful routes is said again, once they are sure.
    pub(in crate::hub) fn look_at_unsure(&mut self, cx: &mut Turn<'_>) {
        let absences = self.tables.absences();
        if absences != self.shadows.known
            && self.shadows.looking != Some(absences)
            && self.tables.is_awaited(cx.now.mono, absences)
            && self.tables.knows_peers(cx.now.mono)
        {
            self.shadows.looking = Some(absences);
            cx.out.ask(Ask::CatchUp(LOOK));
        }
        if self.shadows.unsure.is_empty() && self.shadows.repeating.is_empty() {
            return;
        }
        let shadows = &mut self.shadows;
        // Of some there was nothing to be said.
        shadows.repeating.retain(|key| shadows.scribe.is_busy_with(key));
        if !self.is_sure(cx.now) {
            return;
        }
        for _ in 0..PORTION {
            let Some(key) = self.shadows.unsure.pop_first() else { return };
            self.metrics.shadow_repeats.add(1);
            let read = self.shadows.scribe.handle_repeat(&key);
            self.shadows.repeating.insert(key);
            self.do_for_scribe(read.into_iter().collect(), cx);
        }
    }

    /// The log was read since we asked.
    pub(crate) fn handle_shadows_caught_up(&mut self) {
        if let Some(absences) = self.shadows.looking.take() {
            self.shadows.known = absences;
        }
    }
}
