//! Forwards that a peer has not acknowledged, and its credit for more of them.

use std::collections::VecDeque;

use super::frame::{SharedTargets, forward_len, put_forward};
use super::limits::PeerLimits;
use crate::{Publication, QoS};

/// Why a forward was not taken; the fault is the peer's, which does not keep up, or the publisher's.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ForwardError {
    /// Too many forwards wait for the peer, and this one has `QoS` 0.
    #[error("too many forwards wait for the peer")]
    QueueFull,
    /// The publication does not fit a frame.
    #[error("the publication is longer than a frame may be")]
    TooLong,
}

/// What became of forwards to one peer, since this process began.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ForwardCounters {
    /// Taken for the peer.
    pub queued: u64,
    /// Acknowledged by the peer.
    pub acknowledged: u64,
    /// Of `QoS` 0 and refused because the queue was full.
    pub dropped_newest: u64,
    /// Forgotten for a newer one because the queue was full; some of them may have arrived.
    pub dropped_oldest: u64,
    /// Longer than a frame may be.
    pub too_long: u64,
    /// At `QoS` 2, for members of shared groups alone, and written to a life of the peer that is over: they may have begun there.
    pub begun: u64,
    /// Written again after a connection was lost.
    pub repeated: u64,
    /// Written, those that were repeated each time.
    pub sent: u64,
}

impl ForwardCounters {
    /// All that may not have reached the peer.
    pub const fn dropped(&self) -> u64 {
        self.dropped_newest + self.dropped_oldest + self.too_long + self.begun
    }
}

/// How far a peer lets us send on one connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Credit {
    /// Forwards up to this number.
    pub(super) seq: u64,
    /// As long as `sent_bytes` is less than this.
    pub(super) bytes: u64,
    /// Bytes of forwards that this connection has taken.
    pub(super) sent_bytes: u64,
}

impl Credit {
    /// A peer of the last version, which gives no credit, takes everything.
    pub(super) const UNLIMITED: Self = Self { seq: u64::MAX, bytes: u64::MAX, sent_bytes: 0 };
    /// A peer that has not given any yet.
    pub(super) const NONE: Self = Self { seq: 0, bytes: 0, sent_bytes: 0 };
}

/// Bytes of a frame's length, which no credit is for.
const LENGTH_BYTES: usize = 4;

#[derive(Debug)]
struct Forward {
    plain: bool,
    /// Whether it was written on any connection.
    sent: bool,
    /// When it was taken, in milliseconds that begin anew after 49 days.
    at_ms: u32,
    shared: SharedTargets,
    publication: Publication,
}

impl Forward {
    fn len(&self) -> usize {
        forward_len(&self.shared, &self.publication)
    }
}

/// The forwards that the peer has not acknowledged, oldest first. Those written on the current (or last)
/// connection stand in front and are numbered without a gap; the others have no number yet.
#[derive(Debug)]
pub(super) struct Unacknowledged {
    queue: VecDeque<Forward>,
    bytes: usize,
    now_ms: u32,
    /// How many in front are written.
    written: usize,
    /// The number of the first in the queue.
    first: u64,
    max: usize,
    max_bytes: usize,
    max_frame_bytes: usize,
    counters: ForwardCounters,
}

impl Unacknowledged {
    pub(super) fn new(limits: &PeerLimits) -> Self {
        Self {
            queue: VecDeque::new(),
            bytes: 0,
            now_ms: 0,
            written: 0,
            first: 1,
            max: limits.max_unacknowledged,
            max_bytes: limits.max_unacknowledged_bytes,
            max_frame_bytes: limits.max_frame_bytes,
            counters: ForwardCounters::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.queue.len()
    }

    /// What time it is, for the age of what waits.
    pub(super) const fn handle_time(&mut self, now_ms: u32) {
        self.now_ms = now_ms;
    }

    /// How many bytes the forwards have.
    pub(super) const fn bytes(&self) -> usize {
        self.bytes
    }

    /// For how many milliseconds the oldest has been here.
    pub(super) fn oldest_ms(&self) -> Option<u32> {
        self.queue.front().map(|forward| self.now_ms.wrapping_sub(forward.at_ms))
    }

    /// How many more may be sent, as far as their number goes.
    pub(super) const fn credit_left(&self, credit: &Credit) -> u64 {
        credit.seq.saturating_sub(self.next().saturating_sub(1))
    }

    pub(super) const fn counters(&self) -> ForwardCounters {
        self.counters
    }

    pub(super) fn push(
        &mut self,
        plain: bool,
        shared: SharedTargets,
        publication: Publication,
    ) -> Result<(), ForwardError> {
        let forward = Forward { plain, sent: false, at_ms: self.now_ms, shared, publication };
        let len = forward.len();
        if len > self.max_frame_bytes {
            self.counters.too_long += 1;
            return Err(ForwardError::TooLong);
        }
        while !self.queue.is_empty()
            && (self.queue.len() >= self.max || self.bytes + len > self.max_bytes)
        {
            if forward.publication.qos == QoS::AtMostOnce {
                self.counters.dropped_newest += 1;
                return Err(ForwardError::QueueFull);
            }
            self.pop();
            self.counters.dropped_oldest += 1;
        }
        self.bytes += len;
        self.queue.push_back(forward);
        self.counters.queued += 1;
        Ok(())
    }

    /// Takes what members of shared groups at the peer were to get, now that nobody waits for it any more, and others may have:
    /// at `QoS` 1, and at `QoS` 2 what cannot have begun `[MQTT5-4.8.2-5]`.
    pub(super) fn take_unclaimed(&mut self) -> Vec<(SharedTargets, Publication)> {
        let left = std::mem::take(&mut self.queue).into_iter();
        (self.bytes, self.written) = (0, 0);
        let free = left.filter(|forward| match forward.publication.qos {
            QoS::AtMostOnce => false,
            QoS::AtLeastOnce => true,
            QoS::ExactlyOnce => !forward.sent,
        });
        let shared = free.filter(|forward| !forward.shared.is_empty());
        shared.map(|forward| (forward.shared, forward.publication)).collect()
    }

    /// The peer has taken all up to `seq`. `None` if it was never sent that far.
    pub(super) fn handle_ack(&mut self, seq: u64) -> Option<()> {
        if seq >= self.next() {
            return None;
        }
        while self.first <= seq {
            self.pop();
            self.counters.acknowledged += 1;
        }
        Some(())
    }

    /// A peer that remembers us has greeted: what it took before the last connection broke is
    /// acknowledged, the rest is numbered anew. `None` if it claims what was never sent.
    pub(super) fn handle_resumed(&mut self, forwarded: u64) -> Option<()> {
        self.handle_ack(forwarded)?;
        self.number_anew(forwarded);
        Some(())
    }

    /// Another life of the peer, that knows nothing of us but the number: everything is written again, except to shared groups
    /// what a member may have begun at `QoS` 2 in the life before, since no other may get that `[MQTT5-4.8.2-5]`.
    pub(super) fn handle_fresh(&mut self, forwarded: u64) {
        self.number_anew(forwarded);
        for forward in &mut self.queue {
            if forward.sent && forward.publication.qos == QoS::ExactlyOnce {
                let before = forward.len();
                forward.shared.clear();
                self.bytes -= before - forward.len();
            }
        }
        let mut gone = 0;
        self.queue.retain(|forward| {
            let wanted = forward.plain || !forward.shared.is_empty();
            if !wanted {
                self.bytes -= forward.len();
                gone += 1;
            }
            wanted
        });
        self.counters.begun += gone;
    }

    fn number_anew(&mut self, forwarded: u64) {
        self.counters.repeated += self.written as u64;
        self.written = 0;
        self.first = forwarded.saturating_add(1);
    }

    /// Writes what is not written yet, about `max_bytes` of it and as far as the credit goes. Whether anything was.
    pub(super) fn poll_write(
        &mut self,
        out: &mut Vec<u8>,
        max_bytes: usize,
        credit: &mut Credit,
    ) -> bool {
        let start = out.len();
        while out.len() - start < max_bytes
            && self.next() <= credit.seq
            && credit.sent_bytes < credit.bytes
            && let seq = self.next()
            && let Some(forward) = self.queue.get_mut(self.written)
        {
            forward.sent = true;
            let (before, shared) = (out.len(), &forward.shared);
            put_forward(out, seq, forward.plain, shared, &forward.publication);
            let len = (out.len() - before).saturating_sub(LENGTH_BYTES);
            credit.sent_bytes = credit.sent_bytes.saturating_add(len as u64);
            self.written += 1;
            self.counters.sent += 1;
        }
        out.len() > start
    }

    /// The number of the next forward that is written.
    const fn next(&self) -> u64 {
        self.first.saturating_add(self.written as u64)
    }

    fn pop(&mut self) {
        if let Some(forward) = self.queue.pop_front() {
            self.bytes -= forward.len();
        }
        // An unwritten one has no number, so none is used up.
        if self.written > 0 {
            self.written -= 1;
            self.first += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::TopicFilter;
    use crate::peer::frame::SharedTarget;

    fn publication(qos: QoS) -> Publication {
        Publication::new("a", &[], &[0; 100], qos, false)
    }

    fn limits(max: usize, max_bytes: usize) -> PeerLimits {
        PeerLimits {
            max_unacknowledged: max,
            max_unacknowledged_bytes: max_bytes,
            max_frame_bytes: 1000,
            ..PeerLimits::default()
        }
    }

    #[test]
    fn a_full_queue_drops_the_newest_of_qos_0_else_the_oldest() {
        for limits in [limits(2, 1 << 20), limits(99, 270)] {
            let mut queue = Unacknowledged::new(&limits);
            let mut push = |qos| queue.push(true, SmallVec::new(), publication(qos));
            assert_eq!(push(QoS::AtLeastOnce), Ok(()));
            assert_eq!(push(QoS::AtMostOnce), Ok(()));
            assert_eq!(push(QoS::AtMostOnce), Err(ForwardError::QueueFull));
            assert_eq!(push(QoS::ExactlyOnce), Ok(()));
            let long = Publication::new("a", &[], &[0; 2000], QoS::AtLeastOnce, false);
            let refused = queue.push(true, SmallVec::new(), long);
            assert_eq!(refused, Err(ForwardError::TooLong));
            let expected = ForwardCounters {
                queued: 3,
                dropped_newest: 1,
                dropped_oldest: 1,
                too_long: 1,
                ..ForwardCounters::default()
            };
            assert_eq!(queue.counters(), expected);
            assert_eq!(queue.len(), 2);
        }
    }

    #[test]
    fn no_more_is_written_than_there_is_credit_for() {
        let mut queue = Unacknowledged::new(&limits(100, 1 << 20));
        queue.handle_time(u32::MAX - 1);
        (0..10).for_each(|_| {
            queue.push(true, SmallVec::new(), publication(QoS::AtLeastOnce)).unwrap();
        });
        queue.handle_time(2);
        assert_eq!((queue.oldest_ms(), queue.bytes()), (Some(4), 10 * 131));
        let mut credit = Credit::NONE;
        let mut out = Vec::new();
        assert!(!queue.poll_write(&mut out, usize::MAX, &mut credit));
        (credit.seq, credit.bytes) = (4, u64::MAX);
        assert!(queue.poll_write(&mut out, usize::MAX, &mut credit));
        assert_eq!((queue.next(), credit.sent_bytes, queue.credit_left(&credit)), (5, 4 * 131, 0));
        // The last one may go beyond the bytes, else one that is longer than they are would never go.
        (credit.seq, credit.bytes) = (u64::MAX, 5 * 131 + 1);
        assert!(queue.poll_write(&mut out, usize::MAX, &mut credit));
        assert_eq!((queue.next(), credit.sent_bytes), (7, 6 * 131));
        assert!(!queue.poll_write(&mut out, usize::MAX, &mut credit));
    }

    #[test]
    fn what_a_peer_that_is_gone_may_not_have_begun_is_for_others_of_the_group() {
        let mut queue = Unacknowledged::new(&limits(100, 1 << 20));
        let (share, filter) = TopicFilter::parse_subscription("$share/g/a").unwrap();
        let target = SharedTarget { share: share.unwrap(), filter };
        let push = |queue: &mut Unacknowledged, qos, shared: bool| {
            let targets = shared.then(|| target.clone()).into_iter().collect();
            queue.push(!shared, targets, publication(qos)).unwrap();
        };
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            [true, false].into_iter().for_each(|shared| push(&mut queue, qos, shared));
        }
        while queue.poll_write(&mut Vec::new(), usize::MAX, &mut Credit::UNLIMITED.clone()) {}
        // All are to be written again, and were sent all the same.
        queue.handle_resumed(0).unwrap();
        push(&mut queue, QoS::ExactlyOnce, true);
        let levels: Vec<QoS> = queue.take_unclaimed().iter().map(|(_, it)| it.qos).collect();
        assert_eq!(levels, [QoS::AtLeastOnce, QoS::ExactlyOnce]);
        assert_eq!((queue.len(), queue.bytes()), (0, 0));
    }

    #[test]
    fn what_another_life_of_the_peer_may_have_begun_at_qos_2_is_not_given_to_a_group_again() {
        let mut queue = Unacknowledged::new(&limits(100, 1 << 20));
        let (share, filter) = TopicFilter::parse_subscription("$share/g/a").unwrap();
        let target = SharedTarget { share: share.unwrap(), filter };
        let push = |queue: &mut Unacknowledged, qos, plain, shared: bool| {
            let targets = shared.then(|| target.clone()).into_iter().collect();
            queue.push(plain, targets, publication(qos)).unwrap();
        };
        for qos in [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce] {
            for (plain, shared) in [(true, false), (true, true), (false, true)] {
                push(&mut queue, qos, plain, shared);
            }
        }
        while queue.poll_write(&mut Vec::new(), usize::MAX, &mut Credit::UNLIMITED.clone()) {}
        push(&mut queue, QoS::ExactlyOnce, false, true);
        // The same life knows what it took, so the rest it never had.
        queue.handle_resumed(0).unwrap();
        assert_eq!((queue.len(), queue.counters().begun), (10, 0));
        while queue.poll_write(&mut Vec::new(), 1, &mut Credit::UNLIMITED.clone())
            && queue.written < 9
        {}
        queue.handle_fresh(0);
        let left: Vec<_> = (queue.queue.iter().skip(6))
            .map(|it| (it.plain, !it.shared.is_empty(), it.sent))
            .collect();
        let first_two = [(true, false, true), (true, false, true)];
        assert_eq!(left, [first_two[0], first_two[1], (false, true, false)]);
        assert_eq!((queue.counters().begun, queue.counters().dropped(), queue.next()), (1, 1, 1));
        let bytes: usize = queue.queue.iter().map(Forward::len).sum();
        assert_eq!(queue.bytes(), bytes);
    }

    #[test]
    fn numbers_have_no_gap_even_when_written_forwards_are_dropped() {
        let mut queue = Unacknowledged::new(&limits(2, 1 << 20));
        let mut out = Vec::new();
        for _ in 0..5 {
            queue.push(true, SmallVec::new(), publication(QoS::AtLeastOnce)).unwrap();
            assert!(queue.poll_write(&mut out, 1000, &mut Credit::UNLIMITED.clone()));
        }
        assert!(!queue.poll_write(&mut out, 1000, &mut Credit::UNLIMITED.clone()));
        assert_eq!(queue.next(), 6);
        assert_eq!(queue.handle_ack(6), None);
        // The peer took three, of which the queue had already dropped all.
        assert_eq!(queue.handle_resumed(3), Some(()));
        assert_eq!((queue.len(), queue.next()), (2, 4));
        assert_eq!(queue.counters().repeated, 2);
    }
}
