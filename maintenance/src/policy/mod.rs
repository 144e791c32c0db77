//! What operators allow: policies in TOML, what they mean together for a host, and what is wrong with them.
//!
//! [`PolicySet::read`] reads all policies at once. Several may be about one host: [`PolicySet::effective`] takes the
//! strictest of each field and remembers which policy said it. [`PolicySet::lints`] says what will not work as
//! somebody probably thinks.

mod condition;
mod effective;
mod expression;
mod facts;
mod freeze;
mod lint;
mod meant;
mod read;
mod selector;
mod share;
mod shown;
mod span;
#[cfg(test)]
mod tests;
mod times;
mod written;

pub use condition::InvalidExpression;
pub use effective::{CalendarKey, Effective, Sourced};
pub use expression::{APPROVAL_FACTS, Comparison, Expression, Fact, GATE_FACTS, Value};
pub use facts::{Facts, Wanted};
pub use freeze::{Freeze, InvalidFreeze};
pub use lint::{Lint, LintCode, Planned};
pub use meant::{
    ApprovalRule, DrainRule, DrainTimeout, FailureRule, GateRule, HeadroomRule, MovesRule, Needs,
    Policy, Profile,
};
pub use read::{InvalidPolicies, PolicyFault, PolicySet};
pub use selector::{InvalidSelector, Selector};
pub use share::{InvalidShare, Share};
pub use shown::ShownField;
