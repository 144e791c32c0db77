//! From policies, hosts, the ledger and pending visits to a [`super::Problem`].
//!
//! What this compiles is never laxer than what the ledger grants later: where hosts of one domain have different rules, those that
//! are visited share the strictest.

mod domains;
mod holds;
mod jobs;
mod ladder;
mod limits;
mod outlook;
#[cfg(test)]
mod tests;

pub(super) use holds::consent;
pub use jobs::compile;
pub(super) use jobs::words;
pub use outlook::{Expected, Finished, Outlook};
