//! What lies between a socket and MQTT: nothing, TLS, WebSocket, or both: bytes in, bytes out. And the socket itself,
//! of whatever kind.

mod address;
#[cfg(test)]
mod any_bytes_tests;
mod layer;
#[cfg(test)]
mod mutated_tests;
mod pipe;
mod proxy;
mod stream;
#[cfg(test)]
pub(crate) mod tests;
mod tls;

pub use address::AddressKey;
pub use layer::Layer;
pub use pipe::{Pipe, Upgrade, UpgradeStep, upgrade};
pub use proxy::{Proxied, ProxyError, proxy_header};
pub use stream::{DetachedStream, IncomingStream, Remote, Stream};
pub use tls::TlsLayer;
