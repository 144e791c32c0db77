//! Which certificates are revoked, and which one a connection was made with.

use std::path::Path;
use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use protocol::HashSet;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer};
use tokio::sync::watch;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::{CertificateRevocationList, FromDer as _};

use super::server::TlsError;

/// A certificate in 16 bytes: issuer and serial number, hashed. Every connection keeps one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CertificateKey([u8; 16]);

impl CertificateKey {
    /// Of a certificate.
    pub fn of(certificate: &X509Certificate<'_>) -> Self {
        Self::new(certificate.issuer().as_raw(), certificate.raw_serial())
    }

    /// Of the certificate that the other side of a connection showed, if it showed one that can be read.
    pub fn shown(chain: Option<&[CertificateDer<'_>]>) -> Option<Self> {
        let (_, certificate) = X509Certificate::from_der(chain?.first()?).ok()?;
        Some(Self::of(&certificate))
    }

    fn new(issuer: &[u8], serial: &[u8]) -> Self {
        let mut context = Context::new(&SHA256);
        context.update(issuer);
        context.update(serial);
        let digest = context.finish();
        Self(digest.as_ref().first_chunk().copied().unwrap_or_default())
    }
}

/// The certificates that are revoked.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Revoked(HashSet<CertificateKey>);

impl Revoked {
    /// Reads lists of revoked certificates, in PEM.
    ///
    /// # Errors
    /// [`TlsError`] if the file cannot be read or is not what it should be.
    pub fn read(path: &Path) -> Result<Self, TlsError> {
        let file = |source| TlsError::File { path: path.to_owned(), source };
        let mut keys = HashSet::default();
        for list in CertificateRevocationListDer::pem_file_iter(path).map_err(file)? {
            let list = list.map_err(file)?;
            let (_, list) = CertificateRevocationList::from_der(&list)
                .map_err(|_| TlsError::Revoked { path: path.to_owned() })?;
            let issuer = list.issuer().as_raw();
            keys.extend(
                list.iter_revoked_certificates()
                    .map(|revoked| CertificateKey::new(issuer, revoked.raw_serial())),
            );
        }
        Ok(Self(keys))
    }

    /// Those of another list too.
    pub fn extend(&mut self, other: Self) {
        self.0.extend(other.0);
    }

    /// Whether a certificate is among them.
    pub fn contains(&self, key: CertificateKey) -> bool {
        self.0.contains(&key)
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Waits until a certificate is revoked.
pub(crate) async fn until_revoked(
    key: Option<CertificateKey>,
    mut revoked: watch::Receiver<Arc<Revoked>>,
) {
    let is = |revoked: &Arc<Revoked>| key.is_some_and(|key| revoked.contains(key));
    if revoked.wait_for(is).await.is_err() {
        // Nobody is left who could revoke anything.
        std::future::pending::<()>().await;
    }
}
