//! A question over HTTP or HTTPS to somebody outside of the fleet.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::header::{self, HeaderValue};
use hyper::{Request, http};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Somebody who is asked, each time over a connection of its own.
pub struct Outbound {
    host: String,
    port: u16,
    tls: Option<(TlsConnector, ServerName<'static>)>,
}

/// Why an authority cannot be used; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum OutboundTlsError {
    /// Its file cannot be read or is not PEM.
    #[error("cannot read {}", path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls_pki_types::pem::Error,
    },
    /// It is no authority.
    #[error("cannot use {}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        source: rustls::Error,
    },
    /// The host is neither a name nor an address.
    #[error("{0:?} is no name that a certificate could have")]
    Name(String),
}

/// Why there is no answer. Theirs, or the network's.
#[derive(Debug, thiserror::Error)]
pub enum Unanswered {
    /// It took too long.
    #[error("no answer in time")]
    Late,
    /// Nobody is there, or the connection broke.
    #[error("cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    /// What is there is something else.
    #[error("does not speak http: {0}")]
    Http(#[from] hyper::Error),
    /// The question cannot be sent; ours.
    #[error("cannot be asked: {0}")]
    Request(#[from] http::Error),
    /// It broke, or is too long.
    #[error("its answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
}

impl Outbound {
    /// Whoever is there; with `ca`, over TLS, with a certificate of that authority.
    ///
    /// # Errors
    /// [`OutboundTlsError`].
    pub fn new(host: &str, port: u16, ca: Option<&Path>) -> Result<Self, OutboundTlsError> {
        let tls = ca.map(|ca| connector(ca, host)).transpose()?;
        Ok(Self { host: host.to_owned(), port, tls })
    }

    /// The status and the body of the answer, of at most `limit_bytes`, within `patience`.
    ///
    /// # Errors
    /// [`Unanswered`].
    pub async fn ask(
        &self,
        request: Request<Full<Bytes>>,
        (patience, limit_bytes): (Duration, usize),
    ) -> Result<(u16, Bytes), Unanswered> {
        let exchange = tokio::time::timeout(patience, self.dial(request, limit_bytes));
        exchange.await.map_err(|_| Unanswered::Late)?
    }

    async fn dial(
        &self,
        mut request: Request<Full<Bytes>>,
        limit_bytes: usize,
    ) -> Result<(u16, Bytes), Unanswered> {
        let authority = HeaderValue::try_from(format!("{}:{}", self.host, self.port));
        let headers = request.headers_mut();
        headers.insert(header::HOST, authority.map_err(http::Error::from)?);
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
        match &self.tls {
            None => exchange(stream, request, limit_bytes).await,
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await?;
                exchange(stream, request, limit_bytes).await
            }
        }
    }
}

impl std::fmt::Debug for Outbound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Outbound").field("host", &self.host).finish_non_exhaustive()
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
    limit_bytes: usize,
) -> Result<(u16, Bytes), Unanswered> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let answer = async {
        let response = sender.send_request(request).await?;
        let status = response.status().as_u16();
        let body = Limited::new(response.into_body(), limit_bytes).collect().await;
        Ok((status, body.map_err(Unanswered::Body)?.to_bytes()))
    };
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        answered = &mut answer => answered,
        // The connection ends first when the answer is whole, or when it never will be.
        ended = connection => {
            ended?;
            answer.await
        }
    }
}

fn connector(
    ca: &Path,
    host: &str,
) -> Result<(TlsConnector, ServerName<'static>), OutboundTlsError> {
    let file = |source| OutboundTlsError::File { path: ca.to_owned(), source };
    let authority = |source| OutboundTlsError::Authority { path: ca.to_owned(), source };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(ca).map_err(file)? {
        roots.add(certificate.map_err(file)?).map_err(authority)?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(authority)?
        .with_root_certificates(roots)
        .with_no_client_auth();
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| OutboundTlsError::Name(host.to_owned()))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
