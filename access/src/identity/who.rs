//! The identity of a connection, as it was established when it came in.

use std::net::IpAddr;
use std::sync::Arc;

use protocol::ClientId;

/// Who a connection speaks for. Fixed from CONNECT on, but for the user and the claims of a re-authentication.
#[derive(Debug, Clone)]
pub struct Identity {
    /// The client id.
    pub client: ClientId,
    /// The user, if anything established one: a certificate rule, a password, a token, the hook.
    pub user: Option<Arc<str>>,
    /// What its certificate says, if it showed one.
    pub certificate: Option<Arc<CertificateNames>>,
    /// Where it comes from; behind a trusted proxy, what the proxy says. `None` over a Unix socket.
    pub address: Option<IpAddr>,
    /// What a token allows besides the access list, if it says.
    pub claims: Option<Arc<Claims>>,
    /// The class of clients that the hook put it into.
    pub class: Option<Arc<str>>,
}

impl Identity {
    /// Somebody of whom only the client id is known.
    pub const fn anonymous(client: ClientId) -> Self {
        Self { client, user: None, certificate: None, address: None, claims: None, class: None }
    }
}

/// Rights that a token carries: topic filters as MQTT writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// What may be published to.
    pub publish: Vec<String>,
    /// What may be subscribed to.
    pub subscribe: Vec<String>,
}

/// The names in a client's certificate that was verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CertificateNames {
    /// The subject's common name.
    pub common_name: Option<String>,
    /// Subject alternative names of kind DNS.
    pub dns_names: Vec<String>,
    /// Subject alternative names of kind URI.
    pub uris: Vec<String>,
    /// Subject alternative names of kind e-mail.
    pub emails: Vec<String>,
    /// The subject's organisation.
    pub organization: Option<String>,
    /// The subject's organisational unit.
    pub organizational_unit: Option<String>,
    /// The whole subject as RFC 4514 writes it.
    pub subject: String,
    /// The issuer as RFC 4514 writes it.
    pub issuer: String,
    /// The serial number in hexadecimal, lower case.
    pub serial: String,
}
