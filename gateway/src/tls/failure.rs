//! Why a handshake came to nothing.

use rustls::{CertificateError, Error};

use crate::metrics::{Count, ProcessCounters};

/// Why a handshake came to nothing, as operators ask for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HandshakeFailure {
    /// The client's certificate has expired.
    Expired,
    /// The client's certificate is not valid yet.
    NotYetValid,
    /// The client's certificate is revoked.
    Revoked,
    /// The client's certificate is not one for clients.
    WrongUsage,
    /// Nobody we trust signed the client's certificate.
    UnknownAuthority,
    /// The client showed no certificate where it must.
    NoCertificate,
    /// What came is not TLS.
    NotTls,
    /// The client refused: our certificate, most likely.
    ClientRefused,
    /// There is no version, cipher or name that both sides have.
    Incompatible,
    /// Anything else.
    Other,
}

impl HandshakeFailure {
    /// From what rustls says.
    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most of what rustls tells is told as other"
    )]
    pub fn of(error: &Error) -> Self {
        match error {
            Error::InvalidCertificate(error) => Self::of_certificate(error),
            Error::NoCertificatesPresented => Self::NoCertificate,
            Error::InvalidMessage(_) => Self::NotTls,
            Error::AlertReceived(_) => Self::ClientRefused,
            Error::PeerIncompatible(_) | Error::NoApplicationProtocol => Self::Incompatible,
            _ => Self::Other,
        }
    }

    #[expect(
        clippy::wildcard_enum_match_arm,
        reason = "most of what rustls tells is told as other"
    )]
    fn of_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotYetValid
            }
            CertificateError::Revoked => Self::Revoked,
            CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
                Self::WrongUsage
            }
            // The second is an authority with the name of ours.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                Self::UnknownAuthority
            }
            _ => Self::Other,
        }
    }

    /// The word in the log; the same as in the metric.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::Revoked => "revoked",
            Self::WrongUsage => "wrong_usage",
            Self::UnknownAuthority => "unknown_authority",
            Self::NoCertificate => "no_certificate",
            Self::NotTls => "not_tls",
            Self::ClientRefused => "client_refused",
            Self::Incompatible => "incompatible",
            Self::Other => "other",
        }
    }

    /// What counts it.
    pub const fn counter(self, counters: &ProcessCounters) -> &Count {
        match self {
            Self::Expired => &counters.handshakes_expired,
            Self::NotYetValid => &counters.handshakes_not_yet_valid,
            Self::Revoked => &counters.handshakes_revoked,
            Self::WrongUsage => &counters.handshakes_wrong_usage,
            Self::UnknownAuthority => &counters.handshakes_unknown_authority,
            Self::NoCertificate => &counters.handshakes_no_certificate,
            Self::NotTls => &counters.handshakes_not_tls,
            Self::ClientRefused => &counters.handshakes_client_refused,
            Self::Incompatible => &counters.handshakes_incompatible,
            Self::Other => &counters.handshakes_other,
        }
    }
}
