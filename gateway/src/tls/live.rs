//! The TLS of one listener, which may be replaced while it serves.

use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;

use crate::config::{Authority, ClientCertificate, Tls};

use super::hello::wants_chacha;
use super::server::{Identities, Speaks, TlsError, server_config};

/// The TLS of one listener. Handshakes that begin use what is in force then; connections that stand keep theirs.
#[derive(Debug, Clone)]
pub struct LiveTls {
    now: Arc<ArcSwap<TlsRead>>,
    clients: ClientCertificate,
    own: Option<Authority>,
    speaks: Speaks,
}

/// What was read from files, and fits together.
#[derive(Debug, Clone)]
pub struct TlsRead {
    /// Clients choose the cipher suite.
    config: Arc<ServerConfig>,
    /// The same in our order of cipher suites; tickets of one are good for the other.
    ordered: Arc<ServerConfig>,
    identities: Identities,
}

impl TlsRead {
    fn new(config: Arc<ServerConfig>, identities: Identities) -> Self {
        let mut ordered = (*config).clone();
        ordered.ignore_client_order = true;
        Self { config, ordered: Arc::new(ordered), identities }
    }
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
        let identities = Identities::read(tls, clients, own.as_ref())?;
        let config = server_config(tls, clients, own.as_ref(), speaks, &identities)?;
        let now = Arc::new(ArcSwap::from_pointee(TlsRead::new(config, identities)));
        Ok(Self { now, clients, own, speaks })
    }

    /// What is in force now.
    pub fn get(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.now.load().config)
    }

    /// What is in force now for a client whose handshake begins with these bytes: we choose the cipher suite, unless it would
    /// rather have `ChaCha20`, as clients do that are slow at AES, or its wish cannot be read yet.
    pub fn get_for(&self, hello: &[u8]) -> Arc<ServerConfig> {
        let now = self.now.load();
        let ours = wants_chacha(hello) == Some(false);
        Arc::clone(if ours { &now.ordered } else { &now.config })
    }

    /// Reads the files again; nothing changes until it is [put](Self::put) in force.
    ///
    /// # Errors
    /// [`TlsError`] with the file that cannot be used.
    pub fn read(&self, tls: &Tls) -> Result<TlsRead, TlsError> {
        self.with(tls, Identities::read(tls, self.clients, self.own.as_ref())?)
    }

    /// Reads only the lists of revoked certificates again, for the certificates that are in force.
    ///
    /// # Errors
    /// [`TlsError`] with the file that cannot be used.
    pub fn read_lists(&self, tls: &Tls) -> Result<TlsRead, TlsError> {
        self.with(tls, self.now.load().identities.clone())
    }

    fn with(&self, tls: &Tls, identities: Identities) -> Result<TlsRead, TlsError> {
        let own = self.own.as_ref();
        let config = server_config(tls, self.clients, own, self.speaks, &identities)?;
        Ok(TlsRead::new(config, identities))
    }

    /// From now on.
    pub fn put(&self, read: TlsRead) {
        self.now.store(Arc::new(read));
    }

    /// The authority of its own, if it has one.
    pub const fn authority(&self) -> Option<&Authority> {
        self.own.as_ref()
    }
}
