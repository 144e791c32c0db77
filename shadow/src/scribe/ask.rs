//! What the scribe is asked about a shadow.

use crate::document::{
    ClientToken, Refusal, Rejection, ShadowLimits, UpdateRequest, read_delete, read_get,
};
use crate::topic::Operation;

/// The number by which whoever hands in a request knows its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestNo(pub u64);

/// What is asked of a shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// Its document.
    Get(Option<ClientToken>),
    /// A change of it.
    Update(UpdateRequest),
    /// Its end.
    Delete(Option<ClientToken>),
}

impl Ask {
    /// Reads what was published to the topic of an operation.
    ///
    /// # Errors
    /// [`Rejection`], which is the answer.
    pub fn parse(
        operation: Operation,
        payload: &[u8],
        limits: &ShadowLimits,
    ) -> Result<Self, Rejection> {
        match operation {
            Operation::Get => read_get(payload, limits).map(Self::Get),
            Operation::Update => UpdateRequest::parse(payload, limits).map(Self::Update),
            Operation::Delete => read_delete(payload, limits).map(Self::Delete),
        }
    }

    /// Which operation it is.
    pub const fn operation(&self) -> Operation {
        match self {
            Self::Get(_) => Operation::Get,
            Self::Update(_) => Operation::Update,
            Self::Delete(_) => Operation::Delete,
        }
    }

    /// What is answered if it is refused.
    pub fn reject(&self, refusal: Refusal) -> Rejection {
        let token = match self {
            Self::Get(token) | Self::Delete(token) => token.as_ref(),
            Self::Update(request) => request.token(),
        };
        Rejection { refusal, token: token.cloned() }
    }
}
