//! The certificate that a client gets, by the name it asks for.

use std::sync::Arc;

use protocol::HashMap;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::config::UnknownName;

/// Certificates by name.
#[derive(Debug)]
pub(super) struct ByName {
    /// The gateway's own.
    pub(super) own: Arc<CertifiedKey>,
    /// In lower case; `*.` stands for one label.
    pub(super) named: HashMap<String, Arc<CertifiedKey>>,
    /// For a name that is not there.
    pub(super) unknown: UnknownName,
}

impl ResolvesServerCert for ByName {
    fn resolve(&self, client_hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.find(client_hello.server_name())
    }
}

impl ByName {
    fn find(&self, name: Option<&str>) -> Option<Arc<CertifiedKey>> {
        // A client that dials an address cannot ask for a name.
        let Some(name) = name else { return Some(Arc::clone(&self.own)) };
        if self.named.is_empty() && self.unknown == UnknownName::Default {
            return Some(Arc::clone(&self.own));
        }
        let name = name.to_ascii_lowercase();
        let wild = || self.named.get(&format!("*.{}", name.split_once('.')?.1));
        match (self.named.get(&name).or_else(wild), self.unknown) {
            (Some(found), _) => Some(Arc::clone(found)),
            (None, UnknownName::Default) => Some(Arc::clone(&self.own)),
            (None, UnknownName::Refuse) => None,
        }
    }
}
