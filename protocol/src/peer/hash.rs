//! Exact filters by their hashes, as peers tell and keep them.

/// The hash of an exact filter, or of a topic, in 62 bits. It stands on wires, so it never changes: FNV-1a in 64 bits, folded
/// once so that all bits depend on all bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FilterHash(u64);

/// The two lowest bits, which a [`HashChange`] uses for something else.
const LOW: u64 = 3;

impl FilterHash {
    /// Of a filter without wildcards, or of a topic: the same for both.
    pub fn of(topic: &str) -> Self {
        let fnv = topic.bytes().fold(0xCBF2_9CE4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01B3)
        });
        let folded = (fnv ^ (fnv >> 32)).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        Self((folded ^ (folded >> 29)) & !LOW)
    }

    /// The hash, whose first bytes are as good as any.
    pub const fn to_bytes(self) -> [u8; 8] {
        self.0.to_be_bytes()
    }
}

/// A change of a gateway's interest in the one exact filter that it tells by this hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HashChange(u64);

impl HashChange {
    /// `members` as in [`super::InterestChange`]: 0 nothing, 2 publications at `QoS` 0, anything else every publication.
    pub const fn new(hash: FilterHash, members: u32) -> Self {
        let members = match members {
            0 => 0,
            2 => 2,
            _ => 1,
        };
        Self(hash.0 | members)
    }

    /// The filter's hash.
    pub const fn hash(self) -> FilterHash {
        FilterHash(self.0 & !LOW)
    }

    /// 0, 1 or 2, as it was given.
    pub const fn members(self) -> u32 {
        match self.0 & LOW {
            0 => 0,
            2 => 2,
            _ => 1,
        }
    }

    /// What travels; `None` if its lowest bits mean nothing.
    pub(super) const fn from_bits(bits: u64) -> Option<Self> {
        if bits & LOW == LOW { None } else { Some(Self(bits)) }
    }

    /// What travels.
    pub(super) const fn bits(self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_topic_is_the_same_for_ever() {
        let known = [
            ("", 0x8570_E250_FE4C_2470_u64),
            ("a/b", 0x4DAB_6C77_F5F8_4674),
            ("site/7/meter/é", 0x0C4F_556F_4411_F300),
        ];
        for (topic, hash) in known {
            assert_eq!(FilterHash::of(topic).0, hash, "{topic}");
        }
    }

    #[test]
    fn a_change_reads_back() {
        let hash = FilterHash::of("a/b");
        for (given, read) in [(0, 0), (1, 1), (2, 2), (7, 1)] {
            let change = HashChange::new(hash, given);
            assert_eq!((change.hash(), change.members()), (hash, read));
            assert_eq!(HashChange::from_bits(change.bits()), Some(change));
        }
        assert_eq!(HashChange::from_bits(3), None);
    }
}
