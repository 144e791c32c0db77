//! What operators want of maintenance: policies, freezes and operations, each a document that changes together with the audit.

mod asked;
mod blockers;
mod change;
mod control;
mod feed_tokens;
mod freezes;
mod glass;
mod learned;
mod needs;
mod of_host;
mod operations;
mod outcome;
mod policies;
mod preferences;
mod ready;
mod request;
#[cfg(test)]
mod tests;
mod wide;

pub(super) use blockers::hard_blocker;
pub use blockers::{BlockerRequest, HostBlocker};
pub use change::Acting;
pub(super) use change::{Step, put, value};
pub use control::{MaintenanceControl, Removal};
pub use feed_tokens::{FeedToken, FeedTokenRequest, NewFeedToken, StoredFeedToken};
pub use freezes::{FreezeRequest, freezes_on};
pub use glass::{Allowed, Glass, GlassRequest};
pub use learned::assumed;
pub(super) use learned::class_of;
pub use needs::{met_by, pending, request};
pub use operations::OperationDocument;
pub use outcome::OperationState;
pub(super) use outcome::{held_up, held_up_by};
pub(super) use policies::policies_in;
pub use policies::{PolicyAnswer, PolicyDocument, PolicyRequest, together as policies_together};
pub use preferences::{HostPreference, PreferenceRequest};
pub use request::OperationRequest;
pub use wide::{NotTaken, Paused, WideAnswer, WideOrder, WideRequest};
