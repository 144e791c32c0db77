//! What a session has acknowledged and may ask for again, by a position of an earlier moment.

use std::collections::VecDeque;

use protocol::Position;

use crate::packed::Entry;

/// The acknowledged part of one session's queue; 8 bytes per message.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    /// Ascending by position; all before those that wait.
    entries: VecDeque<Entry>,
    /// What was kept up to here may be gone.
    gone: u64,
    /// Up to here the session may have missed messages: there was no room for them.
    gap: u64,
}

/// How much of a session's queue is still there, acknowledged or not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Whole {
    /// Behind this position all that is left of the queue lies.
    pub from: Position,
    /// Behind this one nothing is missing; not before `from`.
    pub without_gap: Position,
    /// Everything up to here is acknowledged.
    pub acknowledged: Position,
    /// The newest position of the fleet.
    pub newest: Position,
}

impl Kept {
    /// One more that is acknowledged; none that was kept before, or is gone already. At most `most` stay.
    pub(crate) fn push(&mut self, entry: Entry, most: usize) {
        if entry.position() <= self.last() {
            return;
        }
        self.entries.push_back(entry);
        while self.entries.len() > most {
            self.gone = self.entries.pop_front().map_or(self.gone, |oldest| oldest.position());
        }
    }

    /// The newest position that is kept or gone.
    pub(crate) fn last(&self) -> u64 {
        self.entries.back().map_or(self.gone, |entry| entry.position())
    }

    /// The oldest position that is kept.
    pub(crate) fn first(&self) -> Option<u64> {
        self.entries.front().map(|entry| entry.position())
    }

    /// What was kept up to here may be gone.
    pub(crate) const fn gone(&self) -> u64 {
        self.gone
    }

    /// What lies behind a position.
    pub(crate) fn behind(&self, seen: u64) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.position() <= seen);
        self.entries.range(from..)
    }

    /// Drops everything up to and with `up_to`.
    pub(crate) fn forget(&mut self, up_to: u64) {
        let gone = self.entries.partition_point(|entry| entry.position() <= up_to);
        self.gone =
            self.entries.drain(..gone).next_back().map_or(self.gone, |entry| entry.position());
        if self.entries.capacity() / 4 >= self.entries.len() {
            self.entries.shrink_to(self.entries.len() * 2);
        }
    }

    /// Messages up to here may have been missed.
    pub(crate) fn note_gap(&mut self, up_to: u64) {
        self.gap = self.gap.max(up_to);
    }

    /// Up to where messages may have been missed.
    pub(crate) const fn gap(&self) -> u64 {
        self.gap
    }

    /// What is kept up to here is not there.
    pub(crate) fn note_gone(&mut self, up_to: u64) {
        self.forget(up_to);
        self.gone = self.gone.max(up_to);
    }

    /// How much is still there; nothing is known of what was before `start`.
    pub(crate) fn whole(&self, start: u64, full: bool, (trimmed, newest): (u64, u64)) -> Whole {
        let from = self.gone.max(start);
        let gap = if full { newest } else { self.gap };
        Whole {
            from: Position(from),
            without_gap: Position(from.max(gap)),
            acknowledged: Position(trimmed),
            newest: Position(newest),
        }
    }
}
