//! What the fleet knows of a device: shadow documents, presence, what is written down about it.
//!
//! Decides and never acts: records come in as they are stored and go out as they are to be stored, with the messages that
//! are due once they are. Stored and published by the gateway.

mod call;
mod document;
mod json;
mod packed;
mod presence;
mod registry;
mod scribe;
#[cfg(test)]
mod tests;
mod topic;
mod wake;

pub use call::{
    Call, CallFault, Page, PublishCall, RetainedEntry, connection, list_named_shadows,
    list_retained, list_subscriptions, retained_message, user_properties,
};
pub use document::{
    ClientToken, Deleted, Document, NodeName, Record, Refusal, Rejection, ShadowLimits,
    UpdateRequest, Updated, delete, get, read_delete, read_get, update,
};
pub use presence::{
    Arrival, ConnectFailure, Departure, DisconnectReason, EVENTS, EventKind, Gone, LifecycleEvent,
    MAX_DEPARTURES, Presence, PresenceLimits, Sent,
};
pub use registry::{
    Facts, InvalidThing, MAX_ATTRIBUTES, MAX_CERTIFICATES, MAX_GROUPS, Query, QueryError, Thing,
};
pub use scribe::{
    Ask, Change, RequestNo, RequestPace, RequestRates, Scribe, ScribeLimits, ScribeOutput, Stored,
    Watcher, WatcherLimits, Written,
};
pub use topic::{
    Answer, FilterAim, InvalidReserved, Operation, OwnedKey, PublishAim, ReservedTopic, ShadowKey,
    ShadowName, ThingName, Unpublishable, filter_aim, publish_aim,
};
pub use wake::{Sleeper, WakeLimits, WakeNotice};
