//! MQTT bytes that wait for one socket: those that are its own, and between them memory of large packets that others hold too.
//!
//! ```text
//!  bytes    [ head ─────────][ small packets, head ─────────][ small packets ]
//!  held              └ memory ┘                      └ memory ┘
//! ```

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf as _, Bytes};

use super::spare::Spare;

/// Slices that are handed to the kernel at once, at most.
pub(super) const SLICES: usize = 16;

/// What waits, the oldest first. Whoever holds memory of a large packet does not copy it.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    /// Bytes of its own, behind `taken` of them that are gone.
    bytes: Vec<u8>,
    taken: usize,
    held: VecDeque<Held>,
    /// Bytes of all that is held.
    held_bytes: usize,
}

/// What is left of a large packet.
#[derive(Debug)]
struct Held {
    /// Where it goes between the bytes: before the one that stands here.
    at: usize,
    memory: Bytes,
}

impl Outbox {
    /// Bytes that wait.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len() - self.taken + self.held_bytes
    }

    /// Those among them that others hold too.
    pub(super) const fn held_bytes(&self) -> usize {
        self.held_bytes
    }

    /// Bytes of memory of its own, used or not.
    pub(super) const fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// Where bytes are put at the end. What is gone is forgotten when it is half of all: no byte is moved more than once for it.
    pub(super) fn bytes(&mut self) -> &mut Vec<u8> {
        if self.taken > 0 && self.taken * 2 >= self.bytes.len() {
            let gone = std::mem::take(&mut self.taken);
            self.bytes.drain(..gone);
            self.held.iter_mut().for_each(|held| held.at -= gone);
        }
        &mut self.bytes
    }

    /// Puts memory that others may hold too at the end.
    pub(super) fn hold(&mut self, memory: Bytes) {
        if memory.is_empty() {
            return;
        }
        self.held_bytes += memory.len();
        self.held.push_back(Held { at: self.bytes.len(), memory });
    }

    /// The first that lie in one piece, at most so many.
    pub(super) fn front(&self, most: usize) -> &[u8] {
        let end = self.held.front().map_or(self.bytes.len(), |held| held.at);
        let own = self.bytes.get(self.taken..end).unwrap_or_default();
        match self.held.front() {
            Some(held) if own.is_empty() => first(&held.memory, most),
            _ => first(own, most),
        }
    }

    /// The first pieces, at most so many bytes of them. Answers how many pieces that are.
    pub(super) fn slices<'a>(&'a self, mut most: usize, into: &mut [IoSlice<'a>; SLICES]) -> usize {
        let (mut count, mut from) = (0, self.taken);
        let ends = self.held.iter().map(|held| (held.at, &*held.memory));
        for (end, memory) in ends.chain([(self.bytes.len(), &[][..])]) {
            for piece in [self.bytes.get(from..end).unwrap_or_default(), memory] {
                let piece = first(piece, most);
                let Some(place) = into.get_mut(count).filter(|_| !piece.is_empty()) else {
                    continue;
                };
                *place = IoSlice::new(piece);
                (count, most) = (count + 1, most - piece.len());
            }
            from = end;
            if most == 0 || count == SLICES {
                break;
            }
        }
        count
    }

    /// So many bytes are gone. Memory that nobody else holds is kept for the next.
    pub(super) fn take(&mut self, mut bytes: usize, spare: &mut Spare<Vec<u8>>) {
        while let Some(held) = self.held.front_mut() {
            let own = bytes.min(held.at - self.taken);
            let of_it = (bytes - own).min(held.memory.len());
            self.taken += own;
            self.held_bytes -= of_it;
            bytes -= own + of_it;
            held.memory.advance(of_it);
            if !held.memory.is_empty() {
                return;
            }
            if let Some(held) = self.held.pop_front() {
                spare.keep_memory(held.memory);
            }
        }
        self.taken += bytes;
        if self.taken == self.bytes.len() {
            self.bytes.clear();
            self.taken = 0;
        }
    }

    /// Nothing waits any more.
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.held.clear();
        (self.taken, self.held_bytes) = (0, 0);
    }
}

/// At most so many of the bytes.
pub(super) fn first(bytes: &[u8], most: usize) -> &[u8] {
    bytes.get(..most).unwrap_or(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is done to an outbox.
    #[derive(Debug, Clone, Copy)]
    enum Deed {
        Write(usize),
        Hold(usize),
        /// So many bytes at most go, of those that lie in one piece or of many pieces.
        Take(usize, bool),
    }

    fn deeds() -> impl Strategy<Value = Vec<Deed>> {
        let deed = prop_oneof![
            (0..40_usize).prop_map(Deed::Write),
            (1..60_usize).prop_map(Deed::Hold),
            (1..100_usize, any::<bool>()).prop_map(|(bytes, many)| Deed::Take(bytes, many)),
        ];
        prop::collection::vec(deed, 1..60)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_in_its_order(deeds in deeds()) {
            let (mut outbox, mut spare) = (Outbox::default(), Spare::default());
            let (mut said, mut got) = (Vec::new(), Vec::new());
            let mut next = (0..=u8::MAX).cycle();
            for deed in deeds.into_iter().chain([Deed::Take(usize::MAX, true); 8]) {
                match deed {
                    Deed::Write(len) => {
                        let fresh: Vec<_> = next.by_ref().take(len).collect();
                        outbox.bytes().extend(&fresh);
                        said.extend(fresh);
                    }
                    Deed::Hold(len) => {
                        let fresh: Vec<_> = next.by_ref().take(len).collect();
                        said.extend(&fresh);
                        outbox.hold(fresh.into());
                    }
                    Deed::Take(most, many) => {
                        let mut slices = [IoSlice::new(&[]); SLICES];
                        let count = if many { outbox.slices(most, &mut slices) } else { 1 };
                        if !many {
                            slices[0] = IoSlice::new(outbox.front(most));
                        }
                        let pieces = slices[..count].iter().flat_map(|piece| piece.iter().copied());
                        let came: Vec<_> = pieces.collect();
                        prop_assert!(came.len() <= most);
                        prop_assert!(!came.is_empty() || outbox.len() == 0);
                        outbox.take(came.len(), &mut spare);
                        got.extend(came);
                    }
                }
                prop_assert_eq!(outbox.len(), said.len() - got.len());
                prop_assert!(outbox.held_bytes() <= outbox.len());
            }
            // Of sixty pieces and as many heads sixteen go at once.
            prop_assert_eq!(got, said);
        }
    }

    #[test]
    fn memory_that_is_gone_is_kept_for_the_next_by_whoever_held_it_last() {
        let (mut outboxes, mut spare) = ([Outbox::default(), Outbox::default()], Spare::default());
        let memory = Bytes::from(vec![7; 1_000]);
        outboxes.iter_mut().for_each(|outbox| outbox.hold(memory.clone()));
        drop(memory);
        let [first, last] = &mut outboxes;
        first.take(1_000, &mut spare);
        assert_eq!((first.len(), spare.take()), (0, None), "somebody holds it");
        last.take(999, &mut spare);
        assert_eq!((last.len(), spare.take()), (1, None), "not all of it is gone");
        last.take(1, &mut spare);
        assert_eq!(spare.take().map(|it| (it.len(), it.capacity())), Some((0, 1_000)));
        last.hold(Bytes::from(vec![7; 10]));
        last.clear();
        assert_eq!((last.len(), last.held_bytes(), last.front(10)), (0, 0, &[][..]));
    }
}
