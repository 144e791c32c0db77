//! The things that a fleet knows, and how they are searched.

mod condition;
mod field;
mod query;
mod thing;

pub use query::{Facts, Query, QueryError};
pub use thing::{InvalidThing, MAX_ATTRIBUTES, MAX_CERTIFICATES, MAX_GROUPS, Thing};
