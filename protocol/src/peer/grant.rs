//! How far one peer may send: credit that only grows, by number and by bytes.

use super::limits::PeerLimits;

/// What a peer was granted on the current connection, and what can be taken.
#[derive(Debug)]
pub(super) struct Grant {
    window: u64,
    window_bytes: u64,
    /// What can be taken now, beyond what was.
    room: u64,
    room_bytes: u64,
    seq: u64,
    bytes: u64,
    /// Bytes of forwards that came over the connection.
    taken_bytes: u64,
}

impl Grant {
    pub(super) const fn new(limits: &PeerLimits) -> Self {
        let (window, window_bytes) = (limits.window, limits.window_bytes);
        Self {
            window,
            window_bytes,
            room: window,
            room_bytes: window_bytes,
            seq: 0,
            bytes: 0,
            taken_bytes: 0,
        }
    }

    /// A connection begins behind a number.
    pub(super) const fn begin(&mut self, forwarded: u64) {
        self.seq = forwarded;
        self.bytes = 0;
        self.taken_bytes = 0;
    }

    pub(super) const fn set_room(&mut self, forwards: u64, bytes: u64) {
        self.room = forwards;
        self.room_bytes = bytes;
    }

    /// A forward of so many bytes came.
    pub(super) const fn handle_bytes(&mut self, len: usize) {
        self.taken_bytes = self.taken_bytes.saturating_add(len as u64);
    }

    /// How many more may come.
    pub(super) const fn left(&self, forwarded: u64) -> u64 {
        self.seq.saturating_sub(forwarded)
    }

    /// Whether a number was granted.
    pub(super) const fn covers(&self, seq: u64) -> bool {
        seq <= self.seq
    }

    /// Whether nothing more may come.
    pub(super) const fn is_used_up(&self, forwarded: u64) -> bool {
        self.left(forwarded) == 0 || self.bytes <= self.taken_bytes
    }

    /// The next grant, if it is worth a frame: a quarter of the window, or anything for a peer that has less than that left.
    pub(super) fn next(&mut self, forwarded: u64) -> Option<(u64, u64)> {
        let seq = forwarded.saturating_add(self.room.min(self.window)).max(self.seq);
        let bytes = self.taken_bytes.saturating_add(self.room_bytes.min(self.window_bytes));
        let bytes = bytes.max(self.bytes);
        let worth = |grown: u64, left: u64, window: u64| {
            grown >= (window / 4).max(1) || (grown > 0 && left < window / 4)
        };
        let left_bytes = self.bytes.saturating_sub(self.taken_bytes);
        if !worth(seq - self.seq, self.left(forwarded), self.window)
            && !worth(bytes - self.bytes, left_bytes, self.window_bytes)
        {
            return None;
        }
        (self.seq, self.bytes) = (seq, bytes);
        Some((seq, bytes))
    }
}
