//! Interest on its way: written in frames of bounded length, put together again on the other side.

use std::borrow::Borrow;

use super::frame::{HASHES_KIND, INTEREST_KIND, InterestChange};
use super::hash::HashChange;
use super::own_interest::{InterestNews, OwnInterest};
use super::violation::PeerViolation;
use super::wire::{patch_u32, put_frame, put_text, put_u32, put_u64};

/// Longest interest frame in bytes, unless a single change is longer.
const FRAME_BYTES: usize = 64 << 10;

/// A change as it stands in a frame of its kind.
pub(super) trait Change {
    /// The kind of frame.
    const KIND: u8;
    /// How many bytes it takes.
    fn encoded_len(&self) -> usize;
    /// Appends it.
    fn encode(&self, out: &mut Vec<u8>);
}

/// Appends changes as one or more frames; only the final one says `last`, and only if `head` does.
/// `head` is (revision, replace, last).
pub(super) fn put_changes<T: Change>(
    out: &mut Vec<u8>,
    head: (u64, bool, bool),
    changes: impl Iterator<Item = impl Borrow<T>>,
) {
    let (rev, replace, last) = head;
    let mut changes = changes.peekable();
    loop {
        put_frame(out, T::KIND, |out| {
            let start = out.len();
            put_u64(out, rev);
            out.push(u8::from(replace));
            let last_at = out.len();
            out.push(0);
            let count_at = out.len();
            put_u32(out, 0);
            let mut count = 0;
            while let Some(change) = changes.next_if(|next| {
                count == 0 || next.borrow().encoded_len() + (out.len() - start) < FRAME_BYTES
            }) {
                change.borrow().encode(out);
                count += 1;
            }
            patch_u32(out, count_at, count);
            if let Some(flag) = out.get_mut(last_at) {
                *flag = u8::from(last && changes.peek().is_none());
            }
        });
        if changes.peek().is_none() {
            return;
        }
    }
}

impl Change for InterestChange {
    const KIND: u8 = INTEREST_KIND;

    fn encoded_len(&self) -> usize {
        let share = self.share.as_ref().map_or(0, |share| 2 + share.as_str().len());
        7 + share + self.filter.as_str().len()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u32(out, self.members);
        out.push(u8::from(self.share.is_some()));
        if let Some(share) = &self.share {
            put_text(out, share.as_str());
        }
        put_text(out, self.filter.as_str());
    }
}

impl Change for HashChange {
    const KIND: u8 = HASHES_KIND;

    fn encoded_len(&self) -> usize {
        size_of::<u64>()
    }

    fn encode(&self, out: &mut Vec<u8>) {
        put_u64(out, self.bits());
    }
}

/// Appends all of our interest, for a peer that takes hashes or one that does not.
pub(super) fn put_snapshot(out: &mut Vec<u8>, own: &OwnInterest, takes_hashes: bool) {
    if takes_hashes {
        put_changes::<InterestChange>(out, (own.rev(), true, false), own.named());
        put_changes::<HashChange>(out, (own.rev(), true, true), own.hashed());
    } else {
        put_changes::<InterestChange>(out, (own.rev(), true, true), own.all());
    }
}

/// Appends a change of our interest, likewise.
pub(super) fn put_news(out: &mut Vec<u8>, news: &InterestNews, takes_hashes: bool) {
    let InterestNews { rev, all, named, hashed } = news;
    if !takes_hashes {
        put_changes::<InterestChange>(out, (*rev, false, true), all.iter());
        return;
    }
    let more = !hashed.is_empty();
    if !named.is_empty() || !more {
        put_changes::<InterestChange>(out, (*rev, false, !more), named.iter());
    }
    if more {
        put_changes::<HashChange>(out, (*rev, false, true), hashed.iter().copied());
    }
}

/// Puts the frames of one snapshot or delta together.
#[derive(Debug, Default)]
pub(super) struct Gathering {
    /// The last revision that was complete.
    rev: u64,
    /// What has come of an unfinished one: (revision, replace, changes).
    unfinished: Option<(u64, bool, Gathered)>,
}

/// What a snapshot or delta says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Gathered {
    /// By name.
    pub(super) changes: Vec<InterestChange>,
    /// By hash.
    pub(super) hashes: Vec<HashChange>,
}

impl Gathering {
    /// Forgets what was unfinished: the connection is gone.
    pub(super) fn handle_lost(&mut self) {
        self.unfinished = None;
    }

    /// Takes a frame; gives the whole once it is there.
    pub(super) fn handle(
        &mut self,
        head: (u64, bool, bool),
        mut part: Gathered,
        max_interest: usize,
    ) -> Result<Option<Gathered>, PeerViolation> {
        let (rev, replace, last) = head;
        if let Some((first_rev, first_replace, mut before)) = self.unfinished.take() {
            if (first_rev, first_replace) != (rev, replace) {
                return Err(PeerViolation::InterestOrder);
            }
            before.changes.append(&mut part.changes);
            before.hashes.append(&mut part.hashes);
            part = before;
        } else if !replace && rev <= self.rev {
            return Err(PeerViolation::InterestOrder);
        }
        if part.changes.len() + part.hashes.len() > max_interest {
            return Err(PeerViolation::TooMuchInterest);
        }
        if !last {
            self.unfinished = Some((rev, replace, part));
            return Ok(None);
        }
        self.rev = rev;
        Ok(Some(part))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TopicFilter;
    use crate::peer::{Frame, FrameBuffer};

    fn change(n: usize) -> InterestChange {
        let filter = TopicFilter::new(&format!("site/{n}/some/longer/filter/#")).unwrap();
        InterestChange { filter, share: None, members: 1 }
    }

    fn named(changes: Vec<InterestChange>) -> Gathered {
        Gathered { changes, hashes: Vec::new() }
    }

    #[test]
    fn a_long_snapshot_of_hashes_is_cut_and_put_together_likewise() {
        let mut own = OwnInterest::default();
        let exact = |n| TopicFilter::new(&format!("meter/{n}/value")).unwrap();
        let changes = (0..30_000).map(|n| InterestChange {
            filter: exact(n),
            share: None,
            members: 1 + n % 2,
        });
        own.change(9, changes.chain([change(1)]).collect());
        let mut out = Vec::new();
        put_snapshot(&mut out, &own, true);
        assert!(out.len() < 9 * 30_000, "{} bytes", out.len());
        let mut buffer = FrameBuffer::new(FRAME_BYTES);
        buffer.space().extend_from_slice(&[0, 0, 0, 1, 15]);
        assert_eq!(buffer.take(), Ok(Some(Frame::Ping)));
        buffer.space().extend_from_slice(&out);
        let mut gathering = Gathering::default();
        let mut whole = None;
        while let Some(frame) = buffer.take().unwrap() {
            assert_eq!(whole, None);
            let (head, part) = if let Frame::Interest { rev, replace, last, changes } = frame {
                ((rev, replace, last), named(changes))
            } else {
                let Frame::Hashes { rev, replace, last, hashes } = frame else { panic!() };
                ((rev, replace, last), Gathered { changes: Vec::new(), hashes })
            };
            assert_eq!((head.0, head.1), (9, true));
            whole = gathering.handle(head, part, 40_000).unwrap();
        }
        let hashes = own.hashed().collect();
        assert_eq!(whole, Some(Gathered { changes: vec![change(1)], hashes }));
    }

    #[test]
    fn a_long_snapshot_is_cut_into_frames_and_put_together_again() {
        let all: Vec<_> = (0..10_000).map(change).collect();
        let mut out = Vec::new();
        put_changes::<InterestChange>(&mut out, (3, true, true), all.iter());
        let mut buffer = FrameBuffer::new(FRAME_BYTES);
        Frame::Ping.encode(&mut Vec::new());
        buffer.space().extend_from_slice(&[0, 0, 0, 1, 15]);
        assert_eq!(buffer.take(), Ok(Some(Frame::Ping)));
        buffer.space().extend_from_slice(&out);
        let mut gathering = Gathering::default();
        let mut whole = None;
        while let Some(frame) = buffer.take().unwrap() {
            let Frame::Interest { rev, replace, last, changes } = frame else { panic!() };
            assert_eq!(whole, None);
            whole = gathering.handle((rev, replace, last), named(changes), 10_000).unwrap();
        }
        assert_eq!(whole, Some(named(all)));
    }

    #[test]
    fn interest_out_of_order_or_without_end_is_refused() {
        let mut gathering = Gathering::default();
        assert_eq!(gathering.handle((5, true, true), named(vec![]), 9), Ok(Some(named(vec![]))));
        let order = Err(PeerViolation::InterestOrder);
        assert_eq!(gathering.handle((5, false, true), named(vec![]), 9), order);
        assert_eq!(gathering.handle((6, false, false), named(vec![change(1)]), 9), Ok(None));
        assert_eq!(gathering.handle((7, false, true), named(vec![]), 9), order);
        let much: Vec<_> = (0..10).map(change).collect();
        let refused = Err(PeerViolation::TooMuchInterest);
        assert_eq!(gathering.handle((8, true, false), named(much), 9), refused);
    }
}
