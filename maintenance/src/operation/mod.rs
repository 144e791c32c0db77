//! Operations: what is to be done to hosts, merged into visits, one by one or in campaigns.
//!
//! [`Operation`]s come from operators and from what hosts need. [`validate`] refuses what cannot be meant, [`merge`] makes
//! one [`Visit`] of all pending work of a host, [`Campaign`] cuts a change of many hosts into batches, and [`Estimates`] learns
//! how long things take.

mod campaign;
mod estimate;
mod kind;
mod merge;
mod order;
#[cfg(test)]
mod tests;
mod validate;
mod visit;

pub use campaign::{BatchOf, Campaign, CampaignId, InvalidCampaign, Share};
pub use estimate::{Estimates, Learned};
pub use kind::{Class, OpKind};
pub use merge::{Merging, merge};
pub use order::{After, Approval, Due, InvalidOperationId, Operation, OperationId};
pub use validate::{InvalidOperations, validate};
pub use visit::{PhaseTimes, Phases, Visit, VisitAfter};
