//! Who is at the other end of a connection: certificates of the fleet's authority, in the role of a gateway.

use std::sync::Arc;

use arc_swap::ArcSwap;
use certs::{Role, role_of};
use protocol::GatewayId;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{
    CertificateDer, CertificateRevocationListDer, PrivateKeyDer, ServerName, UnixTime,
};
use rustls::server::WebPkiClientVerifier;
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, RootCertStore, ServerConfig,
    SignatureScheme,
};
use tokio_rustls::{TlsAcceptor, TlsConnector};

/// How both ends of peer links speak TLS. Only TLS 1.3, and always with a certificate on both sides.
/// May be replaced while links stand, which keep theirs.
#[derive(Debug, Clone)]
pub struct PeerTls(Arc<ArcSwap<Ends>>);

/// Both ends of a connection.
#[derive(Debug)]
struct Ends {
    /// For connections that peers dial.
    server: Arc<ServerConfig>,
    /// For connections that we dial.
    client: Arc<ClientConfig>,
    material: Arc<Material>,
}

/// What both ends are made of, besides the list of what is revoked: that may change alone.
#[derive(Debug)]
struct Material {
    roots: Arc<RootCertStore>,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
}

impl Ends {
    fn new(material: Arc<Material>, crl: Option<&[u8]>) -> Result<Self, PeerTlsError> {
        let crls: Vec<_> = CertificateRevocationListDer::pem_slice_iter(crl.unwrap_or_default())
            .collect::<Result<_, _>>()
            .map_err(|source| PeerTlsError::Pem { what: "the revocation list", source })?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let own = || (material.chain.clone(), material.key.clone_key());
        let server = Arc::new(server(&provider, &material.roots, &crls, own())?);
        let client = Arc::new(client(&provider, &material.roots, &crls, own())?);
        Ok(Self { server, client, material })
    }
}

/// Why certificates cannot be used for peer links; the operator is at fault.
#[derive(Debug, thiserror::Error)]
pub enum PeerTlsError {
    /// A file that is not the PEM it should be.
    #[error("{what} is not valid PEM")]
    Pem {
        /// Which one.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// There is no certificate where one should be.
    #[error("{what} holds no certificate")]
    Empty {
        /// Which one.
        what: &'static str,
    },
    /// Our own certificate does not carry the role of a gateway.
    #[error("the certificate is not a gateway's")]
    Role,
    /// The authority or its revocation list cannot be used.
    #[error("the authority cannot be used")]
    Authority(#[from] rustls::client::VerifierBuilderError),
    /// Certificate and key cannot be used.
    #[error("certificate and key cannot be used")]
    Tls(#[from] rustls::Error),
}

impl PeerTls {
    /// Reads PEM texts: the fleet's authority, its revocation list if there is one, our certificate and key.
    ///
    /// # Errors
    /// [`PeerTlsError`], by what is wrong.
    pub fn from_pem(
        ca: &[u8],
        crl: Option<&[u8]>,
        cert: &[u8],
        key: &[u8],
    ) -> Result<Self, PeerTlsError> {
        let mut roots = RootCertStore::empty();
        for root in certificates(ca, "the authority")? {
            roots.add(root)?;
        }
        let chain = certificates(cert, "the certificate")?;
        if gateway_of(Some(&chain)).is_none() {
            return Err(PeerTlsError::Role);
        }
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|source| PeerTlsError::Pem { what: "the key", source })?;
        let material = Material { roots: Arc::new(roots), chain, key };
        let ends = Ends::new(Arc::new(material), crl)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(ends))))
    }

    /// The same with another list of revoked certificates.
    ///
    /// # Errors
    /// [`PeerTlsError`], if the list cannot be used.
    pub fn with_list(&self, crl: Option<&[u8]>) -> Result<Self, PeerTlsError> {
        let ends = Ends::new(Arc::clone(&self.0.load().material), crl)?;
        Ok(Self(Arc::new(ArcSwap::from_pointee(ends))))
    }

    /// Whoever holds this one uses the other from now on, for connections that begin.
    pub fn replace_by(&self, other: &Self) {
        self.0.store(other.0.load_full());
    }

    /// For a connection that a peer dials.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.load().server))
    }

    /// For a connection that we dial.
    pub(super) fn connector(&self) -> TlsConnector {
        TlsConnector::from(Arc::clone(&self.0.load().client))
    }
}

/// The gateway that a verified chain of certificates names; `None` for devices, operators and others.
pub(super) fn gateway_of(chain: Option<&[CertificateDer<'_>]>) -> Option<GatewayId> {
    match role_of(chain?.first()?)? {
        (Role::Gateway, name) => GatewayId::new(&name).ok(),
        (Role::Device | Role::Operator, _) => None,
    }
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn server(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    crls: &[CertificateRevocationListDer<'static>],
    (chain, key): Own,
) -> Result<ServerConfig, PeerTlsError> {
    let verifier =
        WebPkiClientVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .with_crls(crls.iter().cloned())
            .allow_unknown_revocation_status()
            .build()?;
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    // Peers dial seldom and stay, so tickets would only be bytes to keep.
    config.send_tls13_tickets = 0;
    Ok(config)
}

fn client(
    provider: &Arc<CryptoProvider>,
    roots: &Arc<RootCertStore>,
    crls: &[CertificateRevocationListDer<'static>],
    (chain, key): Own,
) -> Result<ClientConfig, PeerTlsError> {
    let chains =
        WebPkiServerVerifier::builder_with_provider(Arc::clone(roots), Arc::clone(provider))
            .with_crls(crls.iter().cloned())
            .allow_unknown_revocation_status()
            .build()?;
    let mut config = ClientConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(FleetVerifier { chains }))
        .with_client_auth_cert(chain, key)?;
    config.alpn_protocols = vec![ALPN.to_vec()];
    config.resumption = rustls::client::Resumption::disabled();
    Ok(config)
}

/// Keeps peer links and device connections apart, should one be dialled at the other's port.
const ALPN: &[u8] = b"tidegate-peer";

fn certificates(
    pem: &[u8],
    what: &'static str,
) -> Result<Vec<CertificateDer<'static>>, PeerTlsError> {
    let all: Vec<_> = CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|source| PeerTlsError::Pem { what, source })?;
    if all.is_empty() { Err(PeerTlsError::Empty { what }) } else { Ok(all) }
}

/// Verifies that a gateway's chain leads to the fleet's authority and is not revoked. Addresses are not
/// compared, since gateways are dialled wherever their records say: who they are stands in the
/// certificate's role and name, which the dialling task compares with whom it wanted.
#[derive(Debug)]
struct FleetVerifier {
    chains: Arc<WebPkiServerVerifier>,
}

impl ServerCertVerifier for FleetVerifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let verified = self.chains.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        );
        match verified {
            // The name is compared last, when the chain has been found good; a test holds that.
            Err(rustls::Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if gateway_of(Some(std::slice::from_ref(end_entity))).is_some() => {
                Ok(ServerCertVerified::assertion())
            }
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.chains.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.chains.supported_verify_schemes()
    }
}
