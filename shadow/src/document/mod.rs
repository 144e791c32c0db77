//! The shadow document: what is desired of a device and what it reported, how a request changes it, and what is said then.

mod answer;
mod delta;
mod form;
mod limits;
#[cfg(test)]
mod model_tests;
mod refusal;
mod request;
mod section;
#[cfg(test)]
mod tests;
mod update;

pub use answer::{delete, get};
pub use form::Record;
pub use limits::ShadowLimits;
pub use refusal::{NodeName, Refusal, Rejection};
pub use request::{ClientToken, UpdateRequest, read_delete, read_get};
pub(crate) use update::Half;
pub use update::{Deleted, Document, Updated, update};
