//! From policies, hosts, the ledger and pending visits to a [`super::Problem`].
//!
//! What this compiles is never laxer than what the ledger grants later: where hosts of one domain have different rules, those that
//! are visited share the strictest.

mod domains;
mod holds;
mod jobs;
mod limits;
mod outlook;
#[cfg(test)]
mod tests;

pub use jobs::compile;
pub use outlook::{Expected, Finished, Outlook};
