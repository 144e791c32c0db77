//! Who asks, and what they may.

use std::net::SocketAddr;

use certs::Role;

/// The other side of one connection to the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// Where it comes from.
    pub remote: SocketAddr,
    /// Whether the connection is TLS.
    pub secure: bool,
    /// Role and name in its certificate; none without a certificate.
    pub identity: Option<(Role, String)>,
}

impl Caller {
    /// The name in its certificate; empty without one.
    pub fn name(&self) -> String {
        self.identity.as_ref().map(|(_, name)| name.clone()).unwrap_or_default()
    }

    /// Whether it may start or stop anything: operators only.
    pub fn may_change(&self) -> bool {
        matches!(self.identity, Some((Role::Operator, _)))
    }

    /// Whether it may read what the gateway knows of its clients: operators, gateways, and who sits on this machine.
    pub fn may_read(&self) -> bool {
        match self.identity {
            Some((Role::Operator | Role::Gateway, _)) => true,
            Some((Role::Device, _)) => false,
            None => self.remote.ip().is_loopback(),
        }
    }
}
