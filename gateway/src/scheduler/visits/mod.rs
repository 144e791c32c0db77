//! Visits on their way: the scheduler begins them when the plan says so and the ledger grants a slot, and each host carries
//! its own through its steps.

mod agrees;
mod begin;
mod carry;
mod despite;
mod document;
mod frozen;
mod given_up;
mod hands;
mod lost;
mod order;
mod outline;
mod soak;
mod sound;
mod spared;
mod turn;
mod view;
mod work;

pub use carry::OVERRUN_MS;
pub use despite::{BeginDespite, DespiteRequest};
pub use document::{VisitDocument, stays_out};
pub use given_up::GivenUp;
pub use order::{OrderRequest, VisitOrder};

pub(super) use carry::Body;
#[cfg(test)]
pub(super) use document::{begun_for_tests, written_for_tests};
pub(super) use view::View;
