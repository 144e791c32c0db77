//! A packet that comes in crumbs: a byte at a time, each costs a wait and a read, and a client can make a worker do nothing
//! else. What is on its way is not more urgent for it, so it is left to gather for a moment.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::Notify;

use protocol::HashSet;

use crate::hub::ConnId;

/// How long crumbs gather before they are read.
pub(super) const REST: Duration = Duration::from_millis(1);
/// A read of fewer bytes brought a crumb.
const CRUMB_BYTES: usize = 64;
/// As much of a packet comes in pieces of any size: many clients send its head apart from its text.
const FIRST_BYTES: usize = 1024;

/// The connections that are left alone for now. Never more than there are.
#[derive(Debug, Default)]
pub(super) struct Crumbs {
    resting: HashSet<ConnId>,
    begun: Rc<Notify>,
}

impl Crumbs {
    /// A read brought `piece` bytes, and what there is of its packet has `grown` to so many and is not whole. Whether the
    /// connection rests now.
    pub(super) fn came(&mut self, conn: ConnId, piece: usize, grown: usize) -> bool {
        if piece >= CRUMB_BYTES || grown < FIRST_BYTES {
            return false;
        }
        if self.resting.is_empty() {
            self.begun.notify_one();
        }
        self.resting.insert(conn);
        true
    }

    /// Whether a connection rests.
    pub(super) fn rests(&self, conn: ConnId) -> bool {
        !self.resting.is_empty() && self.resting.contains(&conn)
    }

    /// Notified when the first of them begins to rest.
    pub(super) fn begun(&self) -> Rc<Notify> {
        Rc::clone(&self.begun)
    }

    /// All of them go on.
    pub(super) fn end(&mut self) -> HashSet<ConnId> {
        std::mem::take(&mut self.resting)
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
            assert!(!crumbs.came(CONN, piece, grown), "{piece} of {grown}");
            assert!(!crumbs.rests(CONN));
        }
        assert!(crumbs.came(CONN, 1, FIRST_BYTES) && crumbs.rests(CONN));
        assert!(!crumbs.rests(ConnId { index: 2, life: 1 }));
        assert_eq!(crumbs.end().len(), 1);
        assert!(!crumbs.rests(CONN));
    }
}
