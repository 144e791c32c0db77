//! What every backend must do, as statements that take the backend: [`run`] tries them all, and
//! [`contract_suite!`](macro@crate::contract_suite) makes one `#[test]` of each. Meant for tests of backends, also of others.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    reason = "a statement that does not hold ends the test"
)]

mod documents;
mod log;
mod suite;
mod trouble;
pub mod words;

pub use documents::*;
pub use log::*;
pub use suite::{Backend, Kept, Trouble, run};
pub use trouble::*;
