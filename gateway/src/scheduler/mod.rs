//! What each gateway does for the maintenance of the fleet: it says how it is, and one of them holds the scheduler's lease.

mod acts;
mod arrivals;
mod ask;
mod asker;
mod beside;
#[cfg(test)]
mod crash_tests;
mod documents;
mod folding;
mod host;
mod messenger;
mod notices;
mod outgoing;
mod own_needs;
mod planned;
mod status;
mod thread;
mod told;
mod visits;
mod wanted;
mod works;

pub use acts::{AuditPage, WriteOffRequest};
pub use ask::{Act, SchedulerAsk, SchedulerSender};
pub use beside::Beside;
pub use documents::{DocumentError, Documents};
pub use host::{HostDocument, HostFacts, registered_state};
pub use own_needs::NeedSources;
pub use planned::{
    BasedOn, HeldUp, HostWhy, PlanAnswer, PlanBasis, PlanNews, PlanPreview, VisitWhy, WhatIf,
};
pub use status::{HostStatus, SchedulerStatus};
pub use thread::{Scheduler, SchedulerConfig, SchedulerError, SchedulerHandle, spawn};
pub use told::told;
pub use visits::{
    BeginDespite, DespiteRequest, GivenUp, OVERRUN_MS, OrderRequest, VisitDocument, VisitOrder,
    stays_out,
};
pub use wanted::{
    Acting, Allowed, BlockerRequest, FeedToken, FeedTokenRequest, FreezeRequest, Glass,
    GlassRequest, HostBlocker, HostPreference, MaintenanceControl, NewFeedToken, NotTaken,
    OperationDocument, OperationRequest, OperationState, Paused, PolicyAnswer, PolicyDocument,
    PolicyRequest, PreferenceRequest, Removal, StoredFeedToken, WideAnswer, WideOrder, WideRequest,
    assumed, freezes_on, policies_together,
};
pub use wanted::{met_by as need_met_by, pending as pending_for, request as request_for};
pub use works::{AttendArguments, Tools, attend};
