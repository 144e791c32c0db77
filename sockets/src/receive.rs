//! When the bytes of a managed socket go to its endpoint.

use std::time::Duration;

use protocol::Now;

/// When buffered bytes are complete: whichever comes first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiveCriteria {
    limit_bytes: usize,
    delimiter: Option<Vec<u8>>,
    silence: Option<Duration>,
}

/// Why receive criteria cannot be used; the owner's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCriteria {
    /// Outside 1 to 65,536 bytes.
    #[error("byte count is not between 1 and 65,536")]
    Bytes,
    /// Empty or longer than 16 bytes.
    #[error("delimiter is not between 1 and 16 bytes long")]
    Delimiter,
    /// It would never come.
    #[error("silence is zero")]
    Silence,
}

/// Bytes that belong together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The bytes, with their delimiter; never empty.
    pub bytes: Vec<u8>,
    /// What made them complete.
    pub complete: Complete,
}

/// What made a chunk complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Complete {
    /// As many bytes as were asked for, or as may be held.
    Bytes,
    /// The delimiter.
    Delimiter,
    /// Nothing came for a while.
    Silence,
    /// Nothing more will come.
    Closed,
}

/// The bytes of one socket on their way to being complete. Holds less than the criteria's byte count.
#[derive(Debug)]
pub struct Receiving {
    criteria: ReceiveCriteria,
    buffer: Vec<u8>,
    /// On the monotonic clock.
    last_byte: Duration,
}

impl ReceiveCriteria {
    /// Complete after `bytes` (65,536 if not given), a delimiter, or silence.
    ///
    /// # Errors
    /// [`InvalidCriteria`], by the part that cannot be used.
    pub fn new(
        bytes: Option<usize>,
        delimiter: Option<&[u8]>,
        silence: Option<Duration>,
    ) -> Result<Self, InvalidCriteria> {
        let limit_bytes = bytes.unwrap_or(MAX_BYTES);
        if !(1..=MAX_BYTES).contains(&limit_bytes) {
            return Err(InvalidCriteria::Bytes);
        }
        if delimiter.is_some_and(|d| !(1..=MAX_DELIMITER_BYTES).contains(&d.len())) {
            return Err(InvalidCriteria::Delimiter);
        }
        if silence.is_some_and(|silence| silence.is_zero()) {
            return Err(InvalidCriteria::Silence);
        }
        Ok(Self { limit_bytes, delimiter: delimiter.map(<[u8]>::to_vec), silence })
    }
}

impl Receiving {
    /// Nothing received yet.
    pub const fn new(criteria: ReceiveCriteria) -> Self {
        Self { criteria, buffer: Vec::new(), last_byte: Duration::ZERO }
    }

    /// Takes bytes from the socket and gives what they complete, in order.
    pub fn handle_bytes(&mut self, now: Now, bytes: &[u8]) -> Vec<Chunk> {
        // Silence that nobody ticked for still divides.
        let mut chunks: Vec<Chunk> = self.handle_tick(now).into_iter().collect();
        for &byte in bytes {
            self.buffer.push(byte);
            let delimiter = self.criteria.delimiter.as_deref();
            if delimiter.is_some_and(|delimiter| self.buffer.ends_with(delimiter)) {
                chunks.extend(self.complete(Complete::Delimiter));
            } else if self.buffer.len() >= self.criteria.limit_bytes {
                chunks.extend(self.complete(Complete::Bytes));
            }
        }
        if !bytes.is_empty() {
            self.last_byte = now.mono;
        }
        chunks
    }

    /// Time passed; gives what silence completes.
    pub fn handle_tick(&mut self, now: Now) -> Option<Chunk> {
        if now.mono < self.deadline()? {
            return None;
        }
        self.complete(Complete::Silence)
    }

    /// The socket was closed; gives the rest.
    pub fn handle_close(mut self) -> Option<Chunk> {
        self.complete(Complete::Closed)
    }

    /// When to tick, on the monotonic clock; `None` while nothing waits for silence.
    pub fn deadline(&self) -> Option<Duration> {
        let silence = self.criteria.silence?;
        (!self.buffer.is_empty()).then(|| self.last_byte.saturating_add(silence))
    }

    fn complete(&mut self, complete: Complete) -> Option<Chunk> {
        let bytes = std::mem::take(&mut self.buffer);
        (!bytes.is_empty()).then_some(Chunk { bytes, complete })
    }
}

const MAX_BYTES: usize = 65_536;
const MAX_DELIMITER_BYTES: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn now(millis: u64) -> Now {
        Now { mono: Duration::from_millis(millis), ..Now::default() }
    }

    fn receiving(
        bytes: Option<usize>,
        delimiter: Option<&[u8]>,
        silence: Option<Duration>,
    ) -> Receiving {
        Receiving::new(ReceiveCriteria::new(bytes, delimiter, silence).unwrap())
    }

    fn chunk(bytes: &[u8], complete: Complete) -> Chunk {
        Chunk { bytes: bytes.to_vec(), complete }
    }

    #[test]
    fn a_delimiter_is_found_across_reads_and_wins_over_the_count() {
        let mut socket = receiving(Some(4), Some(b"\r\n"), None);
        assert_eq!(socket.handle_bytes(now(0), b"ab\r"), []);
        let both = [chunk(b"ab\r\n", Complete::Delimiter), chunk(b"cdef", Complete::Bytes)];
        assert_eq!(socket.handle_bytes(now(0), b"\ncdefg"), both);
        assert_eq!(socket.handle_close(), Some(chunk(b"g", Complete::Closed)));
    }

    #[test]
    fn silence_completes_what_is_there_and_nothing_else() {
        let mut socket = receiving(None, None, Some(SECOND));
        assert_eq!(socket.deadline(), None);
        assert_eq!(socket.handle_bytes(now(0), b"a"), []);
        assert_eq!(socket.handle_bytes(now(900), b"b"), []);
        assert_eq!(socket.deadline(), Some(Duration::from_millis(1_900)));
        assert_eq!(socket.handle_tick(now(1_899)), None);
        assert_eq!(socket.handle_tick(now(1_900)), Some(chunk(b"ab", Complete::Silence)));
        assert_eq!(socket.handle_tick(now(9_000)), None);
        assert_eq!(socket.handle_bytes(now(9_000), b"c"), []);
        assert_eq!(socket.handle_bytes(now(10_000), b"d"), [chunk(b"c", Complete::Silence)]);
    }

    #[test]
    fn what_cannot_be_used_is_refused() {
        for bytes in [0, MAX_BYTES + 1] {
            assert_eq!(ReceiveCriteria::new(Some(bytes), None, None), Err(InvalidCriteria::Bytes));
        }
        for delimiter in [&b""[..], &[0; 17]] {
            let result = ReceiveCriteria::new(None, Some(delimiter), None);
            assert_eq!(result, Err(InvalidCriteria::Delimiter));
        }
        let result = ReceiveCriteria::new(None, None, Some(Duration::ZERO));
        assert_eq!(result, Err(InvalidCriteria::Silence));
    }

    proptest! {
        #[test]
        fn no_byte_is_lost_doubled_or_held_beyond_the_limit(
            limit in 1_usize..20,
            delimiter in prop::option::of(prop::collection::vec(0_u8..3, 1..4)),
            reads in prop::collection::vec(
                (0_u64..2_000, prop::collection::vec(0_u8..3, 0..40)), 0..40
            ),
        ) {
            let mut socket = receiving(Some(limit), delimiter.as_deref(), Some(SECOND));
            let (mut sent, mut got, mut at_ms) = (Vec::new(), Vec::new(), 0);
            for (after_ms, bytes) in reads {
                at_ms += after_ms;
                sent.extend_from_slice(&bytes);
                for chunk in socket.handle_bytes(now(at_ms), &bytes) {
                    prop_assert!((1..=limit).contains(&chunk.bytes.len()));
                    got.extend(chunk.bytes);
                }
                prop_assert!(socket.buffer.len() < limit);
            }
            got.extend(socket.handle_close().map(|chunk| chunk.bytes).unwrap_or_default());
            prop_assert_eq!(got, sent);
        }
    }
}
