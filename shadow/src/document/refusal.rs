//! Why requests about shadows are not done, and how whoever asked is told.

use protocol::Wall;

use super::ClientToken;
use super::update::seconds;
use crate::json::ObjectWriter;

/// Why a request about a shadow is not done. The words are AWS's own, because they are what its SDKs show.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The payload is no JSON object; the requester's fault.
    #[error("Invalid JSON")]
    InvalidJson,
    /// An update without `state`; the requester's fault.
    #[error("Missing required node: state")]
    MissingState,
    /// `state`, `desired` or `reported` is neither an object nor `null`; the requester's fault.
    #[error("{} node must be an object", .0.title())]
    NoObject(NodeName),
    /// Something besides desired and reported in `state`; the requester's fault.
    #[error("State contains an invalid node: '{0}'")]
    InvalidNode(Box<str>),
    /// `null` in an array, where it could mean no removal; the requester's fault.
    #[error("Invalid JSON: null is not allowed in an array")]
    NullInArray,
    /// A version that is no whole number, or that a new shadow cannot have; the requester's fault.
    #[error("Invalid version")]
    InvalidVersion,
    /// A client token that is no text, or too long; the requester's fault.
    #[error("Invalid clientToken")]
    InvalidToken,
    /// Nested too deep; the requester's fault.
    #[error("JSON contains too many levels of nesting; maximum is {maximum}")]
    TooDeep {
        /// How deep it may be.
        maximum: usize,
    },
    /// A named shadow too many; the requester's fault.
    #[error("Too many named shadows; maximum is {maximum}")]
    TooManyShadows {
        /// How many there may be.
        maximum: usize,
    },
    /// Whoever asks by HTTP shows no usable identity.
    #[error("Unauthorized")]
    Unauthorized,
    /// Whoever asks has no right to.
    #[error("Forbidden")]
    Forbidden,
    /// There is no such shadow: its name, or the thing's for the classic one.
    #[error("No shadow exists with name: {0}")]
    NoShadow(Box<str>),
    /// There is no such thing, where things must be registered.
    #[error("Thing not found")]
    NoThing,
    /// HTTP with a method that the resource does not have.
    #[error("Method not allowed")]
    MethodNotAllowed,
    /// The version of the request is not that of the document: the requester must read it again.
    #[error("Version conflict")]
    VersionConflict,
    /// Ours: who asked has connected again since, and may have said something newer.
    #[error("Asked over a connection before the client's last one")]
    Superseded,
    /// The request, or the document that it would give, is too large.
    #[error("The payload exceeds the maximum size allowed")]
    TooLarge,
    /// The payload is no UTF-8.
    #[error("Unsupported documented encoding; supported encoding is UTF-8")]
    NoUtf8,
    /// More requests than one thing may make.
    #[error("Too many requests")]
    TooManyRequests,
    /// Ours: it could not be found out whether it was done.
    #[error("Internal service failure")]
    Internal,
    /// Ours: it was not done and may be tried again.
    #[error("Service unavailable")]
    Unavailable,
}

/// A node of a request that has to be an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NodeName {
    /// `state`.
    State,
    /// `state.desired`.
    Desired,
    /// `state.reported`.
    Reported,
}

/// A refusal, and to which request it belongs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{refusal}")]
pub struct Rejection {
    /// Why.
    pub refusal: Refusal,
    /// The token of the request, if it had one that could be read.
    pub token: Option<ClientToken>,
}

impl NodeName {
    /// As it stands in a request.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::State => "state",
            Self::Desired => "desired",
            Self::Reported => "reported",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::State => "State",
            Self::Desired => "Desired",
            Self::Reported => "Reported",
        }
    }
}

impl Refusal {
    /// The `code` of a rejected message, and the status over HTTP.
    pub const fn code(&self) -> u16 {
        match self {
            Self::InvalidJson
            | Self::MissingState
            | Self::NoObject(_)
            | Self::InvalidNode(_)
            | Self::NullInArray
            | Self::InvalidVersion
            | Self::InvalidToken
            | Self::TooDeep { .. }
            | Self::TooManyShadows { .. } => 400,
            Self::Unauthorized => 401,
            Self::Forbidden => 403,
            Self::NoShadow(_) | Self::NoThing => 404,
            Self::MethodNotAllowed => 405,
            Self::VersionConflict | Self::Superseded => 409,
            Self::TooLarge => 413,
            Self::NoUtf8 => 415,
            Self::TooManyRequests => 429,
            Self::Internal => 500,
            Self::Unavailable => 503,
        }
    }

    /// The value of the header `x-amzn-ErrorType`, from which AWS's SDKs raise their typed exceptions.
    pub const fn error_type(&self) -> &'static str {
        match self {
            Self::InvalidJson
            | Self::MissingState
            | Self::NoObject(_)
            | Self::InvalidNode(_)
            | Self::NullInArray
            | Self::InvalidVersion
            | Self::InvalidToken
            | Self::TooDeep { .. }
            | Self::TooManyShadows { .. } => "InvalidRequestException",
            Self::Unauthorized => "UnauthorizedException",
            Self::Forbidden => "ForbiddenException",
            Self::NoShadow(_) | Self::NoThing => "ResourceNotFoundException",
            Self::MethodNotAllowed => "MethodNotAllowedException",
            Self::VersionConflict | Self::Superseded => "ConflictException",
            Self::TooLarge => "RequestEntityTooLargeException",
            Self::NoUtf8 => "UnsupportedDocumentEncodingException",
            Self::TooManyRequests => "ThrottlingException",
            Self::Internal => "InternalFailureException",
            Self::Unavailable => "ServiceUnavailableException",
        }
    }

    /// The refusal of a request whose token is not known.
    pub const fn without_token(self) -> Rejection {
        Rejection { refusal: self, token: None }
    }
}

impl Rejection {
    /// What is published to the `rejected` topic.
    pub fn message(&self, now: Wall) -> String {
        let mut out = String::new();
        let mut body = ObjectWriter::begin(&mut out);
        body.number("code", u64::from(self.refusal.code()));
        body.text("message", &self.refusal.to_string());
        body.number("timestamp", seconds(now));
        super::answer::put_token(&mut body, self.token.as_ref());
        body.end();
        out
    }
}
