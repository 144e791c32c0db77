//! Who may connect, and what they may say.
//!
//! Decides and never acts: files are read, sockets closed and clocks looked at by the gateway, which asks here.

mod identity;

pub use identity::{CertificateNames, Claims, Identity};
