//! The standards, statement by statement, against a real gateway. Each test names the statements it shows;
//! `tests/conformance.toml` lists them all with everything that shows them.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

mod acknowledgements;
mod connect;
mod flow;
mod format;
mod goodbye;
mod publish;
mod resume;
mod retained;
mod sessions;
mod shared;
mod stage;
mod subscribe;
mod topics;
mod unsubscribe;
mod wills;
mod words;
