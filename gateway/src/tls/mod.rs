//! The server side of TLS for clients and operators: certificates by name, and what becomes of handshakes.

mod failure;
mod hello;
mod live;
mod names;
mod revoked;
mod server;

pub use failure::HandshakeFailure;
pub use live::{LiveTls, TlsRead};
pub(crate) use revoked::until_revoked;
pub use revoked::{CertificateKey, Revoked};
pub use server::{Speaks, TlsError};
