//! One listener, and what it asks of who comes.

use ipnet::IpNet;

use crate::config::ListenKind;
use crate::tls::LiveTls;

/// One listener.
#[derive(Debug)]
pub struct Door {
    /// Which one, in the order of the configuration.
    pub number: u16,
    /// What it speaks.
    pub kind: ListenKind,
    /// The WebSocket path.
    pub path: String,
    /// TLS, for those that speak it.
    pub tls: Option<LiveTls>,
    /// Who may say where a connection comes from, where each must say so.
    pub proxies: Option<Vec<IpNet>>,
}
