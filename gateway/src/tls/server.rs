//! Server side of TLS from the files of the configuration.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::danger::ClientCertVerifier;
use rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use rustls::sign::CertifiedKey;
use rustls::{
    CipherSuite, RootCertStore, ServerConfig, SupportedCipherSuite, SupportedProtocolVersion,
};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, CertificateRevocationListDer, PrivateKeyDer};

use crate::config::{Authority, ClientCertificate, Tls, TlsVersion};

use super::names::ByName;

/// What is spoken inside; clients may say so in the handshake (ALPN), and need not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Speaks {
    /// MQTT.
    Mqtt,
    /// HTTP, and what it may be upgraded to.
    Http,
    /// HTTP of devices; AWS's SDKs say so in their own word where the port is not 8443.
    DeviceHttp,
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
    /// The list of revoked certificates is none.
    #[error("{} is not a list of revoked certificates", path.display())]
    Revoked {
        /// The list's file.
        path: PathBuf,
    },
}

/// What TLS is made of, besides the lists of what is revoked: those may change alone.
#[derive(Debug, Clone)]
pub(super) struct Identities {
    names: Arc<ByName>,
    /// Who may have signed the certificates of clients, if they are asked for one.
    roots: Option<Arc<RootCertStore>>,
}

impl Identities {
    /// Reads the gateway's certificates, and the authority of clients: the fleet's, or their `own`.
    pub(super) fn read(
        tls: &Tls,
        clients: ClientCertificate,
        own: Option<&Authority>,
    ) -> Result<Self, TlsError> {
        let provider = aws_lc_rs::default_provider();
        let mut named = protocol::HashMap::default();
        for certificate in &tls.named {
            let key = certified(&certificate.cert, &certificate.key, &provider)?;
            named.extend(certificate.names.iter().map(|name| (name.clone(), Arc::clone(&key))));
        }
        let certificate = certified(&tls.cert, &tls.key, &provider)?;
        let names = Arc::new(ByName { own: certificate, named, unknown: tls.unknown_name });
        let roots = match clients {
            ClientCertificate::None => None,
            ClientCertificate::Required | ClientCertificate::Optional => {
                Some(Arc::new(roots(authority(tls, own).0)?))
            }
        };
        Ok(Self { names, roots })
    }
}

/// TLS of these identities, with the lists of revoked certificates as they are now. Session tickets are sealed with keys of
/// this configuration alone, which change by themselves: after a reload every client is verified anew.
pub(super) fn server_config(
    tls: &Tls,
    clients: ClientCertificate,
    own: Option<&Authority>,
    speaks: Speaks,
    identities: &Identities,
) -> Result<Arc<ServerConfig>, TlsError> {
    let provider = Arc::new(in_our_order());
    let identity = |source| TlsError::Identity { path: tls.cert.clone(), source };
    let both: &[&SupportedProtocolVersion] = &[&rustls::version::TLS13, &rustls::version::TLS12];
    let versions = match tls.min_version {
        TlsVersion::V12 => both,
        TlsVersion::V13 => &[&rustls::version::TLS13],
    };
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions)
        .map_err(identity)?;
    let builder = match &identities.roots {
        None => builder.with_no_client_auth(),
        Some(roots) => {
            let roots = Arc::clone(roots);
            let verifier = verifier(authority(tls, own), roots, clients, &provider)?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let names = Arc::clone(&identities.names);
    let mut config = builder.with_cert_resolver(names);
    config.ticketer = aws_lc_rs::Ticketer::new().map_err(identity)?;
    // One for the next connection; a device has no more than one.
    config.send_tls13_tickets = 1;
    config.alpn_protocols = match speaks {
        Speaks::Mqtt => vec![b"mqtt".to_vec(), b"x-amzn-mqtt-ca".to_vec()],
        Speaks::Http => vec![b"http/1.1".to_vec()],
        Speaks::DeviceHttp => vec![b"http/1.1".to_vec(), b"x-amzn-http-ca".to_vec()],
    };
    Ok(Arc::new(config))
}

/// AES with keys of 128 bits first, then as it was: its handshakes hash with SHA-256, for which processors have instructions
/// that few have for the SHA-384 of the longer keys.
fn in_our_order() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    let is_later = |it: &SupportedCipherSuite| {
        !matches!(
            it.suite(),
            CipherSuite::TLS13_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256
                | CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256
        )
    };
    provider.cipher_suites.sort_by_key(is_later);
    provider
}

/// The authority of clients, and what it has revoked.
fn authority<'a>(tls: &'a Tls, own: Option<&'a Authority>) -> (&'a Path, Option<&'a Path>) {
    match own {
        Some(own) => (own.ca.as_path(), own.crl.as_deref()),
        None => (tls.ca.as_path(), tls.crl.as_deref()),
    }
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(path)? {
        roots
            .add(certificate)
            .map_err(|source| TlsError::Identity { path: path.to_owned(), source })?;
    }
    Ok(roots)
}

fn verifier(
    (path, crl): (&Path, Option<&Path>),
    roots: Arc<RootCertStore>,
    clients: ClientCertificate,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let mut verifier = WebPkiClientVerifier::builder_with_provider(roots, Arc::clone(provider));
    if let Some(path) = crl {
        let file = |source| TlsError::File { path: path.to_owned(), source };
        let lists: Vec<_> = CertificateRevocationListDer::pem_file_iter(path)
            .map_err(file)?
            .collect::<Result<_, _>>()
            .map_err(file)?;
        if lists.is_empty() {
            return Err(file(rustls_pki_types::pem::Error::NoItemsFound));
        }
        verifier = verifier.with_crls(lists).only_check_end_entity_revocation();
    }
    let verifier = match clients {
        ClientCertificate::Optional | ClientCertificate::None => {
            verifier.allow_unauthenticated().build()
        }
        ClientCertificate::Required => verifier.build(),
    };
    verifier.map_err(|source| TlsError::Verifier { path: path.to_owned(), source })
}

/// A certificate with its key, which must fit.
fn certified(
    cert: &Path,
    key: &Path,
    provider: &CryptoProvider,
) -> Result<Arc<CertifiedKey>, TlsError> {
    let chain = certificates(cert)?;
    let key = PrivateKeyDer::from_pem_file(key)
        .map_err(|source| TlsError::File { path: key.to_owned(), source })?;
    CertifiedKey::from_der(chain, key, provider)
        .map(Arc::new)
        .map_err(|source| TlsError::Identity { path: cert.to_owned(), source })
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
