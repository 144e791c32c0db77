//! Clients over TLS, with a certificate, another one, or none.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

use super::PATIENCE;
use super::wire::Wire;

/// Who a client over TLS says it is.
#[derive(Debug, Clone, Copy)]
pub enum Identity<'a> {
    /// The certificate `<name>.pem` with `<name>.key` of a folder.
    Of(&'a Path, &'a str),
    /// Nobody.
    None,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
#[error("no TLS connection")]
pub struct TlsFailure(#[from] io::Error);

/// Connects over TLS to a gateway whose authority is `ca.pem` in the folder `trusted`. In TLS 1.3 a client is done before
/// the gateway has looked at its certificate: then the refusal comes with the first read.
///
/// # Errors
/// [`TlsFailure`] if the handshake fails.
pub fn dial_tls(
    address: SocketAddr,
    trusted: &Path,
    identity: Identity<'_>,
) -> Result<Box<dyn Wire>, TlsFailure> {
    dial_tls_as(address, ServerName::IpAddress(address.ip().into()), trusted, identity)
}

/// The same, asking for a name.
///
/// # Errors
/// [`TlsFailure`] if the handshake fails.
pub fn dial_tls_as(
    address: SocketAddr,
    name: ServerName<'static>,
    trusted: &Path,
    identity: Identity<'_>,
) -> Result<Box<dyn Wire>, TlsFailure> {
    let config = Arc::new(tls_config(trusted, identity));
    let mut tls = ClientConnection::new(config, name).expect("a sound configuration");
    let mut tcp = TcpStream::connect(address)?;
    tcp.set_read_timeout(Some(PATIENCE))?;
    while tls.is_handshaking() {
        tls.complete_io(&mut tcp)?;
    }
    Ok(Box::new(StreamOwned::new(tls, tcp)))
}

/// What a TLS client of any library needs: whom it trusts and who it is.
pub fn tls_config(trusted: &Path, identity: Identity<'_>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(trusted.join("ca.pem")).expect("an authority"))
        .expect("an authority that can be trusted");
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions that the provider has")
        .with_root_certificates(roots);
    match identity {
        Identity::None => builder.with_no_client_auth(),
        Identity::Of(dir, name) => {
            let chain: Vec<_> = CertificateDer::pem_file_iter(dir.join(format!("{name}.pem")))
                .and_then(Iterator::collect)
                .expect("a certificate");
            let key = PrivateKeyDer::from_pem_file(dir.join(format!("{name}.key"))).expect("a key");
            builder.with_client_auth_cert(chain, key).expect("a key that fits its certificate")
        }
    }
}

impl Wire for StreamOwned<ClientConnection, TcpStream> {
    fn set_patience(&mut self, patience: Duration) -> io::Result<()> {
        self.sock.set_read_timeout(Some(patience))
    }

    fn finish(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.conn.complete_io(&mut self.sock).map(drop)
    }
}
