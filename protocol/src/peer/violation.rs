use super::limits::{MIN_VERSION, VERSION};
use super::wire::FrameError;

/// Why a peer link's connection is given up. The peer is at fault unless a variant says otherwise.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerViolation {
    /// Bytes that are no frame.
    #[error("the peer sent a damaged frame")]
    Frame(#[from] FrameError),
    /// The peer belongs to another fleet; the operator is at fault.
    #[error("the peer belongs to another fleet")]
    WrongFleet,
    /// The peer is not who was dialled, or not who its certificate names.
    #[error("the peer says it is another gateway")]
    WrongGateway,
    /// The peer claims our own id; the operator is at fault.
    #[error("the peer has our own id")]
    OwnId,
    /// A version that this build does not speak.
    #[error("the peer speaks version {found} of the link, and we speak {oldest} and {newest}", oldest = MIN_VERSION, newest = VERSION)]
    Version {
        /// What it speaks.
        found: u16,
    },
    /// An earlier life of the peer than the one known.
    #[error("the peer is an earlier incarnation than the one known")]
    OldIncarnation,
    /// A second hello or welcome on one connection.
    #[error("the peer greeted twice")]
    Repeated,
    /// A frame before hello or welcome.
    #[error("the peer sent a frame before its greeting")]
    BeforeGreeting,
    /// A frame that only the other side of a connection may send.
    #[error("the peer sent a frame that only the other side may send")]
    WrongSide,
    /// A forward that leaves out others.
    #[error("the peer sent forward {found} where {expected} was next")]
    Gap {
        /// The sequence number that was next.
        expected: u64,
        /// What came.
        found: u64,
    },
    /// More forwards than there was credit for.
    #[error("the peer sent more forwards than it was granted")]
    BeyondCredit,
    /// An acknowledgement of something that was never sent.
    #[error("the peer acknowledged what was never sent")]
    AckAhead,
    /// Interest whose revision does not grow, or that mixes with an unfinished one.
    #[error("the peer's interest is out of order")]
    InterestOrder,
    /// More interest than the limit.
    #[error("the peer has more interest than the limit")]
    TooMuchInterest,
    /// Frames wait for a peer that takes none.
    #[error("the peer takes no frames")]
    NotReading,
    /// Nothing was heard for too long.
    #[error("the peer is silent")]
    Silent,
    /// The peer refused us; usually the operator is at fault.
    #[error("the peer refused us with code {reason}: {text}")]
    Refused {
        /// The peer's [`PeerViolation::code`].
        reason: u8,
        /// Its words.
        text: String,
    },
}

impl PeerViolation {
    /// The code of [`Self::Version`].
    pub(super) const VERSION_CODE: u8 = 5;

    /// The number that tells the peer why it is refused.
    pub const fn code(&self) -> u8 {
        match self {
            Self::Frame(_) => 1,
            Self::WrongFleet => 2,
            Self::WrongGateway => 3,
            Self::OwnId => 4,
            Self::Version { .. } => Self::VERSION_CODE,
            Self::OldIncarnation => 6,
            Self::Repeated => 7,
            Self::BeforeGreeting => 8,
            Self::WrongSide => 9,
            Self::Gap { .. } => 10,
            Self::AckAhead => 11,
            Self::InterestOrder => 12,
            Self::TooMuchInterest => 13,
            Self::NotReading => 14,
            Self::Silent => 15,
            Self::Refused { .. } => 16,
            Self::BeyondCredit => 17,
        }
    }
}
