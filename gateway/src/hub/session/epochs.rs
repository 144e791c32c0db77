//! Epochs: no two owners of a client id have the same, whatever their clocks say and whatever they have heard.
//!
//! ```text
//!  63                                        21 20              0
//!  ┌──────────────────────────────────────────┬─────────────────┐
//!  │ count: grows with every ownership        │ mark of who     │
//!  │ (above the clock's seconds at the first) │ began it        │
//!  └──────────────────────────────────────────┴─────────────────┘
//! ```
//!
//! While the document stands the count grows. Where none stands, a gateway that has not heard of the earlier ownerships, and
//! whose clock is behind, may begin below them: then an older owner asks the store, which knows. The mark keeps their epochs
//! apart. Epochs of earlier versions, milliseconds of the clock, lie below all of these. All of it is less than 2^53 for a
//! century, so that whoever reads it as JSON reads the same.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::{ClientId, SessionEpoch, Wall, hash64};

/// Client ids are told apart as far as this, so that connects faster than the clock's seconds leave it behind for none.
const PLACES: usize = 1024;
/// Bits of the mark.
const MARK_BITS: u32 = 21;

/// What one worker in one life of its gateway marks its ownerships with; nobody else in the fleet ever has the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u64);

impl Mark {
    /// Of ownerships that end, with nobody's beginning.
    const NOBODY: Self = Self(0);

    /// The mark of whoever has a block of session numbers: from, and the first that is not theirs. All blocks of a fleet are of
    /// the same length, and nobody gets one again.
    pub(crate) fn of_block((from, to): (u32, u32)) -> Self {
        Self(u64::from(from / to.saturating_sub(from).max(1)) + 1)
    }
}

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

    /// The epoch of the next ownership: above the one that stands in the document, or without a document above the clock, and
    /// above all that was heard of. So no worker has the same twice.
    pub(crate) fn next(
        &self,
        client: &ClientId,
        stands: Option<SessionEpoch>,
        (mark, now): (Mark, Wall),
    ) -> SessionEpoch {
        let heard = self.place(client).map_or(0, |place| place.load(Ordering::Acquire));
        let before = stands.map_or_else(|| (now.0 / 1000) << MARK_BITS, |epoch| epoch.0);
        let next = above(SessionEpoch(before.max(heard)), mark);
        self.note(client, next);
        next
    }

    fn place(&self, client: &ClientId) -> Option<&AtomicU64> {
        let places = u64::try_from(self.0.len().max(1)).unwrap_or(1);
        let at = hash64(client.as_str().as_bytes()) % places;
        self.0.get(usize::try_from(at).unwrap_or(0))
    }
}

/// The epoch of a session that is taken from its owner and given to nobody.
pub(crate) fn ended(epoch: SessionEpoch) -> SessionEpoch {
    above(epoch, Mark::NOBODY)
}

fn above(before: SessionEpoch, mark: Mark) -> SessionEpoch {
    let count = (before.0 >> MARK_BITS) + 1;
    SessionEpoch(count.min(u64::MAX >> MARK_BITS) << MARK_BITS | mark.0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn blocks_of_session_numbers_give_marks_that_differ_and_fit() {
        let block = |number: u32| (1 + number * 4096, 1 + (number + 1) * 4096);
        let marks: Vec<_> = [0, 1, 2, 70_000].map(|it| Mark::of_block(block(it))).to_vec();
        assert_eq!(marks, [Mark(1), Mark(2), Mark(3), Mark(70_001)]);
        let last = (u32::MAX - 4096, u32::MAX);
        assert!(Mark::of_block(last).0 < 1 << MARK_BITS);
        assert!((Mark::of_block((7, 8)), Mark::of_block((9, 9))) == (Mark(8), Mark(10)));
    }

    #[test]
    fn an_epoch_of_an_earlier_version_lies_below_those_that_follow() {
        let now = Wall(1_790_000_000_000);
        let client = ClientId::new("a").unwrap();
        let epochs = Epochs::default();
        let old = SessionEpoch(now.0 + 1);
        let next = epochs.next(&client, Some(old), (Mark(5), now));
        assert!(next > old);
        // In a document's place: the clock says more than what was heard of.
        let fresh = epochs.next(&client, None, (Mark(5), now));
        assert!(fresh > next && fresh.0 < 1 << 53, "{fresh:?}");
    }

    proptest! {
        /// Several workers that have heard nothing of each other begin, take over and write off, each by a clock of its own.
        #[test]
        fn no_two_owners_ever_have_the_same_epoch(
            steps in proptest::collection::vec((0_usize..4, 0_u64..5_000, 0_u8..4), 1..200)
        ) {
            let client = ClientId::new("a").unwrap();
            let workers: Vec<_> = (1..5).map(|it| (Epochs::default(), Mark(it))).collect();
            let mut stands: Option<SessionEpoch> = None;
            let mut owned = std::collections::BTreeSet::new();
            for (who, clock_ms, what) in steps {
                let (epochs, mark) = &workers[who];
                match what {
                    0 => stands = None,
                    1 => stands = stands.map(ended),
                    _ => {
                        let next = epochs.next(&client, stands, (*mark, Wall(clock_ms)));
                        prop_assert!(owned.insert(next), "{next:?} twice");
                        prop_assert!(stands.is_none_or(|before| before < next));
                        stands = Some(next);
                    }
                }
                if what == 1 {
                    prop_assert!(stands.is_none_or(|epoch| !owned.contains(&epoch)));
                }
            }
        }
    }
}
