//! What lies between a socket and MQTT: nothing, TLS, WebSocket, or both. Bytes in, bytes out; the socket is elsewhere.

mod layer;
mod pipe;
#[cfg(test)]
mod tests;

pub use layer::Layer;
pub use pipe::{Pipe, Upgrade, UpgradeStep, upgrade};
