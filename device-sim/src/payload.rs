//! What every payload begins with.

/// The head of a payload, 24 bytes on the wire: who, which one and when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Head {
    /// Tells this run's messages from leftovers of another.
    pub(crate) run: u32,
    /// The publisher's number.
    pub(crate) publisher: u32,
    /// 0 for its first message.
    pub(crate) sequence: u64,
    /// Nanoseconds since the run began.
    pub(crate) sent_ns: u64,
}

impl Head {
    pub(crate) const BYTES: usize = 24;

    pub(crate) fn encode(self) -> [u8; Self::BYTES] {
        let mut out = [0; Self::BYTES];
        let parts =
            [(u64::from(self.run) << 32) | u64::from(self.publisher), self.sequence, self.sent_ns];
        for (place, part) in out.as_chunks_mut::<8>().0.iter_mut().zip(parts) {
            *place = part.to_be_bytes();
        }
        out
    }

    /// `None` if the payload is too short to be ours.
    pub(crate) fn decode(payload: &[u8]) -> Option<Self> {
        let (run, rest) = payload.split_first_chunk::<4>()?;
        let (publisher, rest) = rest.split_first_chunk::<4>()?;
        let (sequence, rest) = rest.split_first_chunk::<8>()?;
        let sent_ns = rest.first_chunk::<8>()?;
        Some(Self {
            run: u32::from_be_bytes(*run),
            publisher: u32::from_be_bytes(*publisher),
            sequence: u64::from_be_bytes(*sequence),
            sent_ns: u64::from_be_bytes(*sent_ns),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_read_back() {
        let head = Head { run: 0xAABB_CCDD, publisher: 7, sequence: u64::MAX - 1, sent_ns: 12 };
        let bytes = head.encode();
        assert_eq!(Head::decode(&bytes), Some(head));
        for end in 0..Head::BYTES {
            assert_eq!(Head::decode(&bytes[..end]), None);
        }
    }
}
