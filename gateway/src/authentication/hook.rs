//! The hook over HTTP or HTTPS.

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use access::{HookAllows, HookAnswer, HookCache, HookError, HookKey, Remembered, WhenDown};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper::{Request, header};
use hyper_util::rt::TokioIo;
use protocol::{Now, Wall};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::NotIdentified;
use super::shares::Shares;
use crate::config::Hook;
use crate::line_limit::LineLimit;

/// The hook, and what it said.
pub(super) struct HookClient {
    config: Hook,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    open: Shares,
    failures: LineLimit,
    cache: Mutex<HookCache>,
    /// Keeps what is remembered from being read.
    secret: [u8; 32],
}

impl std::fmt::Debug for HookClient {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("HookClient").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why the hook's authority cannot be used; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum HookTlsError {
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

/// Why there is no answer. The hook's fault, or the network's.
#[derive(Debug, thiserror::Error)]
enum Unanswered {
    #[error("no answer in time")]
    Late,
    #[error("cannot be reached: {0}")]
    Io(#[from] std::io::Error),
    #[error("does not speak http: {0}")]
    Http(#[from] hyper::Error),
    #[error("cannot be asked: {0}")]
    Request(#[from] hyper::http::Error),
    #[error("its answer cannot be read: {0}")]
    Body(Box<dyn std::error::Error + Send + Sync>),
    #[error("answers badly: {0}")]
    Answer(#[from] HookError),
}

/// The largest answer, in bytes.
const ANSWER_BYTES: usize = 64 * 1024;

impl HookClient {
    pub(super) fn new(config: Hook, secret: [u8; 32]) -> Result<Self, HookTlsError> {
        let tls = config.ca.as_deref().map(|ca| connector(ca, &config.host)).transpose()?;
        let cache = Mutex::new(HookCache::new(config.answers, config.fresh));
        let (open, failures) = (Shares::new(config.at_once), LineLimit::default());
        Ok(Self { config, tls, open, failures, cache, secret })
    }

    pub(super) const fn config(&self) -> &Hook {
        &self.config
    }

    /// What the hook says to a question about somebody of this address, now or a while ago; `None` if it is down and
    /// everybody comes in then.
    pub(super) async fn ask(
        &self,
        body: Vec<u8>,
        address: Option<IpAddr>,
        now: Now,
    ) -> Result<Option<HookAllows>, NotIdentified> {
        let key = HookKey::of(&body, &self.secret);
        let remembered = self.cache().get(key, now);
        if let Remembered::Fresh(answer) = remembered {
            return decided(answer).map(Some);
        }
        let _place = self.open.take(address).ok_or(NotIdentified::Busy)?;
        match self.exchange(body, now.wall).await {
            Ok(answer) => {
                self.cache().put(key, answer.clone(), now);
                decided(answer).map(Some)
            }
            Err(unanswered) => {
                if self.failures.admits(now.wall.0 / 1000, "failures of the hook") {
                    tracing::warn!("the hook {unanswered}");
                }
                match (self.config.when_down, remembered) {
                    (WhenDown::Allow, Remembered::Stale(HookAnswer::Allow(allows))) => {
                        Ok(Some(allows))
                    }
                    (WhenDown::Allow, _) => Ok(None),
                    (WhenDown::LastAnswer, Remembered::Stale(answer)) => decided(answer).map(Some),
                    (WhenDown::LastAnswer | WhenDown::Deny, _) => Err(NotIdentified::HookDown),
                }
            }
        }
    }

    fn cache(&self) -> std::sync::MutexGuard<'_, HookCache> {
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn exchange(&self, body: Vec<u8>, now: Wall) -> Result<HookAnswer, Unanswered> {
        let exchange = tokio::time::timeout(self.config.timeout, self.dial(body));
        let (status, body) = exchange.await.map_err(|_| Unanswered::Late)??;
        Ok(HookAnswer::parse(status, &body, now)?)
    }

    async fn dial(&self, body: Vec<u8>) -> Result<(u16, Bytes), Unanswered> {
        let stream = TcpStream::connect((self.config.host.as_str(), self.config.port)).await?;
        match &self.tls {
            None => self.post(stream, body).await,
            Some((connector, name)) => {
                self.post(connector.connect(name.clone(), stream).await?, body).await
            }
        }
    }

    async fn post(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), Unanswered> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let request = Request::post(&self.config.path)
            .header(header::HOST, format!("{}:{}", self.config.host, self.config.port))
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_BYTES).collect().await;
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
}

fn decided(answer: HookAnswer) -> Result<HookAllows, NotIdentified> {
    match answer {
        HookAnswer::Allow(allows) => Ok(allows),
        HookAnswer::Deny => Err(NotIdentified::Hook),
    }
}

fn connector(ca: &Path, host: &str) -> Result<(TlsConnector, ServerName<'static>), HookTlsError> {
    let file = |source| HookTlsError::File { path: ca.to_owned(), source };
    let authority = |source| HookTlsError::Authority { path: ca.to_owned(), source };
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
    let name = name.map_err(|_| HookTlsError::Name(host.to_owned()))?;
    Ok((TlsConnector::from(Arc::new(config)), name))
}
