//! Server side of TLS from the files of the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::aws_lc_rs;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config::Tls;

/// Whether a client must show a certificate of the fleet's authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClientCertificates {
    /// It may; one that does not fit is refused all the same.
    Optional,
    /// It must.
    Required,
}

/// Why TLS cannot be set up. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read or is not PEM.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// The authority or the list of revoked certificates cannot be used.
    #[error("cannot verify clients with {}", path.display())]
    Verifier {
        /// The authority's file.
        path: PathBuf,
        /// What is wrong with it.
        source: VerifierBuilderError,
    },
    /// A certificate does not fit its key, or cannot be used.
    #[error("cannot use {}", path.display())]
    Identity {
        /// The certificate's file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
}

/// TLS 1.2 and 1.3 with the gateway's certificate; client certificates by the fleet's authority.
///
/// # Errors
/// [`TlsError`] with the file that cannot be used.
pub fn server_config(
    tls: &Tls,
    clients: ClientCertificates,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&tls.ca)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Identity { path: tls.ca.clone(), source })?;
    }
    let mut verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider));
    if let Some(path) = &tls.crl {
        let crl = CertificateRevocationListDer::from_pem_file(path)
            .map_err(|source| TlsError::File { path: path.clone(), source })?;
        verifier = verifier.with_crls([crl]).only_check_end_entity_revocation();
    }
    let verifier = match clients {
        ClientCertificates::Optional => verifier.allow_unauthenticated().build(),
        ClientCertificates::Required => verifier.build(),
    }
    .map_err(|source| TlsError::Verifier { path: tls.ca.clone(), source })?;
    let identity = |source| TlsError::Identity { path: tls.cert.clone(), source };
    let key = PrivateKeyDer::from_pem_file(&tls.key)
        .map_err(|source| TlsError::File { path: tls.key.clone(), source })?;
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(identity)?
        .with_client_cert_verifier(verifier)
        .with_single_cert(certificates(&tls.cert)?, key)
        .map_err(identity)?;
    Ok(Arc::new(config))
}

/// Every certificate of a PEM file; at least one.
fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let file = |source| TlsError::File { path: path.to_owned(), source };
    let found: Vec<_> = CertificateDer::pem_file_iter(path)
        .map_err(file)?
        .collect::<Result<_, _>>()
        .map_err(file)?;
    if found.is_empty() {
        return Err(file(rustls_pki_types::pem::Error::NoItemsFound));
    }
    Ok(found)
}
