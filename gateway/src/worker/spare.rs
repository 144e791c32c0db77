//! Buffers that nobody needs now, kept for the next who does: what is given back to the system is taken from it again page by
//! page, and of a large packet that costs more than copying it.

use bytes::Bytes;

/// Bytes that are kept of one kind, and how many they may be.
const KEPT_BYTES: usize = 16 * 1024 * 1024;
const KEPT: usize = 64;

/// What is kept of one kind, the last first, each with the bytes that it holds.
#[derive(Debug)]
pub(super) struct Spare<T> {
    kept: Vec<(usize, T)>,
    bytes: usize,
    /// The fewest that were left since it was looked after: nobody needed those.
    least: usize,
}

impl<T> Default for Spare<T> {
    fn default() -> Self {
        Self { kept: Vec::new(), bytes: 0, least: 0 }
    }
}

impl<T> Spare<T> {
    /// One that was kept, if there is any.
    pub(super) fn take(&mut self) -> Option<T> {
        let (bytes, it) = self.kept.pop()?;
        self.bytes -= bytes;
        self.least = self.least.min(self.kept.len());
        Some(it)
    }

    /// Keeps one that holds so many bytes, unless there are enough.
    pub(super) fn keep(&mut self, it: T, bytes: usize) {
        if self.kept.len() < KEPT && self.bytes + bytes <= KEPT_BYTES {
            self.bytes += bytes;
            self.kept.push((bytes, it));
        }
    }

    /// Gives half of those back to the system that nobody needed since this was done before: a worker that rests keeps nothing.
    pub(super) fn tend(&mut self) {
        let unneeded = self.least.div_ceil(2);
        for (bytes, _) in self.kept.drain(..unneeded) {
            self.bytes -= bytes;
        }
        self.least = self.kept.len();
    }
}

impl Spare<Vec<u8>> {
    /// Keeps the memory of a buffer.
    pub(super) fn keep_buffer(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() > 0 {
            buffer.clear();
            let bytes = buffer.capacity();
            self.keep(buffer, bytes);
        }
    }

    /// Keeps memory that was held, if nobody else holds it.
    pub(super) fn keep_memory(&mut self, memory: Bytes) {
        if memory.is_unique() {
            self.keep_buffer(memory.into());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_may_be_by_count_and_by_bytes() {
        let mut spare = Spare::default();
        (0..2 * KEPT).for_each(|number| spare.keep(number, 1));
        assert_eq!((spare.kept.len(), spare.take()), (KEPT, Some(KEPT - 1)));
        let mut spare = Spare::default();
        (0..8).for_each(|_| spare.keep_buffer(Vec::with_capacity(KEPT_BYTES / 4)));
        assert_eq!(spare.kept.len(), 4);
        while spare.take().is_some() {}
        assert_eq!(spare.bytes, 0);
        spare.keep_buffer(Vec::new());
        assert_eq!(spare.take(), None, "nothing is worth nothing");
    }

    #[test]
    fn what_nobody_needs_is_given_back_and_what_is_in_use_again_and_again_is_not() {
        let mut spare = Spare::default();
        (0..KEPT).for_each(|number| spare.keep(number, 100));
        for _ in 0..20 {
            let taken: Vec<_> = (0..3).map(|_| spare.take().unwrap()).collect();
            taken.into_iter().for_each(|it| spare.keep(it, 100));
            spare.tend();
        }
        assert_eq!((spare.kept.len(), spare.bytes), (3, 300));
        (0..4).for_each(|_| spare.tend());
        assert_eq!((spare.kept.len(), spare.bytes), (0, 0));
    }
}
