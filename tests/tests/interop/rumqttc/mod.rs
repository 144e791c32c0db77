//! rumqttc, the client library of Rust that is used most, with both of its clients.

mod cases;
mod v311;
mod v5;
