//! The TLS of one listener, which may be replaced while it serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use crate::config::{Authority, ClientCertificate, Tls};

use super::server::{Speaks, TlsError, server_config};

/// The TLS of one listener. Handshakes that begin use what is in force then; connections that stand keep theirs.
#[derive(Debug, Clone)]
pub struct LiveTls {
    now: Arc<ArcSwap<ServerConfig>>,
    clients: ClientCertificate,
    own: Option<Authority>,
    speaks: Speaks,
}

impl LiveTls {
    /// Reads the files.
    ///
    /// # Errors
    /// [`TlsError`] with the file that cannot be used.
    pub fn load(
        tls: &Tls,
        clients: ClientCertificate,
        own: Option<Authority>,
        speaks: Speaks,
    ) -> Result<Self, TlsError> {
        let config = server_config(tls, clients, own.as_ref(), speaks)?;
        Ok(Self { now: Arc::new(ArcSwap::new(config)), clients, own, speaks })
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<ServerConfig> {
        self.now.load_full()
    }

    /// Reads the files again; nothing changes until it is [put](Self::put) in force.
    ///
    /// # Errors
    /// [`TlsError`] with the file that cannot be used.
    pub fn read(&self, tls: &Tls) -> Result<Arc<ServerConfig>, TlsError> {
        server_config(tls, self.clients, self.own.as_ref(), self.speaks)
    }

    /// From now on.
    pub fn put(&self, config: Arc<ServerConfig>) {
        self.now.store(config);
    }

    /// The authority of its own, if it has one.
    pub const fn authority(&self) -> Option<&Authority> {
        self.own.as_ref()
    }
}
