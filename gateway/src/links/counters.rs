use std::sync::atomic::{AtomicU64, Ordering};

use protocol::peer::ForwardCounters;

use super::status::{Board, LinkStatus};

/// Counters of the links, for metrics. Read at any time from any thread.
#[derive(Debug, Default)]
pub struct LinkCounters {
    refused: AtomicU64,
    lost: AtomicU64,
    queued: AtomicU64,
    acknowledged: AtomicU64,
    dropped: AtomicU64,
    duplicates: AtomicU64,
    mailbox_dropped: AtomicU64,
    board: Board,
}

/// What [`LinkCounters`] have counted since the process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LinkTotals {
    /// Connections refused: wrong certificate, wrong greeting, a frame that is not allowed.
    pub refused: u64,
    /// Connections that stood and were lost.
    pub lost: u64,
    /// Forwards taken for peers.
    pub queued: u64,
    /// Forwards that peers have acknowledged.
    pub acknowledged: u64,
    /// Forwards dropped because a peer did not keep up, or longer than a frame may be.
    pub dropped: u64,
    /// Forwards that came again from peers.
    pub duplicates: u64,
    /// Forwards of `QoS` 0 that found the mailbox full.
    pub mailbox_dropped: u64,
}

impl LinkCounters {
    /// All counters, each read once.
    pub fn totals(&self) -> LinkTotals {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        LinkTotals {
            refused: read(&self.refused),
            lost: read(&self.lost),
            queued: read(&self.queued),
            acknowledged: read(&self.acknowledged),
            dropped: read(&self.dropped),
            duplicates: read(&self.duplicates),
            mailbox_dropped: read(&self.mailbox_dropped),
        }
    }

    /// How every link is, as of a moment ago.
    pub fn peers(&self) -> Vec<LinkStatus> {
        self.board.read()
    }

    pub(super) fn show(&self, peers: Vec<LinkStatus>) {
        self.board.write(peers);
    }

    pub(super) fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_lost(&self) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn count_mailbox_dropped(&self) {
        self.mailbox_dropped.fetch_add(1, Ordering::Relaxed);
    }

    /// Adds what one peer's counters have grown by.
    pub(super) fn add(&self, before: &PeerTotals, after: &PeerTotals) {
        let grow = |counter: &AtomicU64, before: u64, after: u64| {
            counter.fetch_add(after.wrapping_sub(before), Ordering::Relaxed);
        };
        grow(&self.queued, before.forwards.queued, after.forwards.queued);
        grow(&self.acknowledged, before.forwards.acknowledged, after.forwards.acknowledged);
        grow(&self.dropped, before.forwards.dropped(), after.forwards.dropped());
        grow(&self.duplicates, before.duplicates, after.duplicates);
    }
}

/// What one peer's machines have counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct PeerTotals {
    pub(super) forwards: ForwardCounters,
    pub(super) duplicates: u64,
}
