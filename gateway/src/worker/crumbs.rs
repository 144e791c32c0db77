//! A packet that comes in crumbs: a byte at a time, each costs a wait and a read, and a client can make a worker do nothing
//! else. What is on its way is not more urgent for it, so it is left to gather for a moment.

use std::time::Duration;

use crate::hub::ConnId;

/// How long crumbs gather before they are read.
const REST: Duration = Duration::from_millis(1);
/// A read of fewer bytes brought a crumb.
const CRUMB_BYTES: usize = 64;
/// As much of a packet comes in pieces of any size: many clients send its head apart from its text.
const FIRST_BYTES: usize = 1024;

/// The connections that are left alone for now. Never more than there are.
#[derive(Debug, Default)]
pub(super) struct Crumbs {
    resting: Vec<ConnId>,
    /// When the first of them began to rest, by the steady clock.
    begun: Duration,
}

impl Crumbs {
    /// A read brought `piece` bytes, and what there is of its packet has `grown` to so many and is not whole. Whether the
    /// connection rests now.
    pub(super) fn came(&mut self, conn: ConnId, piece: usize, grown: usize, now: Duration) -> bool {
        if piece >= CRUMB_BYTES || grown < FIRST_BYTES {
            return false;
        }
        if self.resting.is_empty() {
            self.begun = now;
        }
        self.resting.push(conn);
        true
    }

    /// When they go on, if any of them rests.
    pub(super) fn until(&self) -> Option<Duration> {
        (!self.resting.is_empty()).then(|| self.begun + REST)
    }

    /// Those that go on now: all, if enough may have gathered.
    pub(super) fn end(&mut self, now: Duration) -> Vec<ConnId> {
        if self.until().is_some_and(|until| now >= until) {
            std::mem::take(&mut self.resting)
        } else {
            Vec::new()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONN: ConnId = ConnId { index: 1, life: 1 };

    #[test]
    fn only_who_sends_much_in_little_pieces_rests() {
        let mut crumbs = Crumbs::default();
        // A head that comes before its text, a text that is not whole yet, and the last piece of a segment.
        for (piece, grown) in [(2, 2), (1, FIRST_BYTES - 1), (CRUMB_BYTES, 100_000)] {
            assert!(!crumbs.came(CONN, piece, grown, REST), "{piece} of {grown}");
            assert_eq!(crumbs.until(), None);
        }
        assert!(crumbs.came(CONN, 1, FIRST_BYTES, REST));
        assert_eq!((crumbs.until(), crumbs.end(REST)), (Some(2 * REST), Vec::new()));
        assert_eq!((crumbs.end(2 * REST), crumbs.until()), (vec![CONN], None));
    }
}
