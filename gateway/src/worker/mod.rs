//! A worker: one thread with its connections, sessions and tables.

mod catching;
mod crumbs;
mod driver;
mod forwarding;
mod inbox;
mod io;
#[cfg(test)]
mod large_tests;
mod letters;
mod machine;
mod mail;
mod outbox;
mod outlet;
mod readiness;
mod rounds;
#[cfg(test)]
mod rounds_tests;
mod sending;
mod settled;
mod socket;
mod spare;

pub use driver::{Shared, spawn};
pub use machine::{Closed, Reading, WorkerMachine};
pub use mail::{Accepted, Held, Mail, Mailbox, PresenceMail};
pub use settled::Settled;
