//! Whom a session belongs to.

/// Whom a session belongs to: 128 bits of a digest of an established identity. The owner is the gateway that serves it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct Holder(pub [u8; 16]);

impl Holder {
    /// Nobody of whom more is known than a client id.
    pub const NOBODY: Self = Self([0; 16]);

    /// Whether a client may have what belongs to this. What is nobody's is anybody's: whoever gives that client id has it.
    pub fn admits(self, other: Self) -> bool {
        self == Self::NOBODY || self == other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nobodys_is_anybodys_and_the_rest_is_its_holders() {
        let (anna, otto) = (Holder([1; 16]), Holder([2; 16]));
        assert!(anna.admits(anna) && !anna.admits(otto) && !anna.admits(Holder::NOBODY));
        assert!(Holder::NOBODY.admits(anna) && Holder::NOBODY.admits(Holder::NOBODY));
    }
}
