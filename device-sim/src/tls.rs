//! TLS as the devices speak it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::{Resumption, WebPkiServerVerifier};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem, pem::PemObject};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::TlsFiles;
use crate::verified::OncePerSecond;

/// Why TLS cannot be used. All of it is the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not there or no PEM.
    #[error("cannot read {path}", path = path.display())]
    File {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        source: pem::Error,
    },
    /// A file is there, and no certificate in it.
    #[error("no certificate in {path}", path = path.display())]
    Empty {
        /// Which one.
        path: PathBuf,
    },
    /// A certificate or key does not fit.
    #[error("certificate or key is not usable")]
    Unusable(#[from] rustls::Error),
}

/// One configuration for all devices, so that sessions are resumed among them.
#[derive(Clone)]
pub(crate) struct Tls(TlsConnector);

impl Tls {
    pub(crate) fn new(files: &TlsFiles) -> Result<Self, TlsError> {
        let config = client_config(files)?;
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    /// For full handshakes only: no session is ever resumed. A certificate that was good this second is not looked at again.
    pub(crate) fn new_without_resumption(files: &TlsFiles) -> Result<Self, TlsError> {
        let mut config = client_config(files)?;
        config.resumption = Resumption::disabled();
        let (roots, provider) = (Arc::new(roots(files)?), Arc::clone(config.crypto_provider()));
        let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
            .build()
            .map_err(|error| rustls::Error::General(error.to_string()))?;
        config.dangerous().set_certificate_verifier(Arc::new(OncePerSecond::new(verifier)));
        Ok(Self(TlsConnector::from(Arc::new(config))))
    }

    pub(crate) async fn handshake(
        &self,
        host: &str,
        stream: TcpStream,
    ) -> io::Result<TlsStream<TcpStream>> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.0.connect(name, stream).await
    }
}

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tls").finish_non_exhaustive()
    }
}

pub(crate) fn client_config(files: &TlsFiles) -> Result<ClientConfig, TlsError> {
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots(files)?);
    Ok(match &files.identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            let key_der = PrivateKeyDer::from_pem_file(key)
                .map_err(|source| TlsError::File { path: key.clone(), source })?;
            builder.with_client_auth_cert(certificates(chain)?, key_der)?
        }
    })
}

fn roots(files: &TlsFiles) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&files.ca)? {
        roots.add(certificate)?;
    }
    Ok(roots)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|source| TlsError::File { path: path.to_owned(), source })?;
    if found.is_empty() { Err(TlsError::Empty { path: path.to_owned() }) } else { Ok(found) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_named() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let files = TlsFiles { ca: file.path().to_owned(), identity: None };
        let error = Tls::new(&files).unwrap_err().to_string();
        assert_eq!(error, format!("no certificate in {}", file.path().display()));
    }
}
