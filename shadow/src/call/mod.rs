//! AWS's data plane over HTTPS: what a request asks, and the bodies of answers that are no shadow documents.

mod answer;
mod request;
mod uri;

pub use answer::{
    RetainedEntry, connection, list_named_shadows, list_retained, list_subscriptions,
    retained_message,
};
pub use request::{Call, CallFault, Page, PublishCall, user_properties};
