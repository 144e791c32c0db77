//! Clients that we did not write, against real gateways.
#![expect(clippy::expect_used, clippy::panic, reason = "a scenario may fail loudly")]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

mod mosquitto;
mod outside;
mod rumqttc;
mod table;
mod websocket;
