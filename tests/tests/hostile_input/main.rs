//! M8: whatever bytes arrive, the gateway answers as the standard says or closes that one connection with a reason, and
//! nothing else is disturbed. The letters and numbers name rows of the list of inputs that have broken brokers;
//! `tests/bad_inputs.toml` says which test tries which row. The figures of the pair that is served meanwhile:
//! `cargo test -p tests --test hostile_input -- --nocapture --test-threads 1`.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

mod api;
mod bytes;
mod certificates;
mod clocks;
mod connects;
mod frames;
mod pair;
mod peers;
mod publishes;
mod retained;
mod size;
mod store;
mod storms;
mod strings;
mod subscribes;
mod table;
mod websocket;
mod wildcards;
mod wills;
