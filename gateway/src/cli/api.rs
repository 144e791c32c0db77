//! A client of a gateway's HTTP API: TLS with the operator's certificate, or plain for reading.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::client::conn::http1;
use hyper::{Method, Request, Uri, header};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::de::DeserializeOwned;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::http::Problem;

/// Longest time for one question, from dialling to the last byte of the answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Largest answer that is read.
const ANSWER_LIMIT_BYTES: usize = 16 * 1024 * 1024;

/// The API of one gateway.
#[derive(Clone)]
pub struct Api {
    url: String,
    authority: String,
    host: String,
    port: u16,
    tls: Option<TlsConnector>,
}

/// What is asked once.
struct Question<'a> {
    method: Method,
    path: &'a str,
    body: Vec<u8>,
    /// The revision that was seen of what is changed.
    seen: Option<u64>,
}

/// Why a question was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// The address cannot be understood: the operator's fault.
    #[error("{0:?} is not an address such as https://127.0.0.1:18083")]
    Url(String),
    /// The operator's certificate cannot be used: the operator's to mend.
    #[error("cannot use {}: {what}", path.display())]
    Identity {
        /// Which file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Nobody answers there, or not as a gateway would.
    #[error("cannot reach {url}: {what}")]
    Unreachable {
        /// Where.
        url: String,
        /// What happened.
        what: String,
    },
    /// The gateway said no.
    #[error("{}: {}", .0.title, .0.detail)]
    Problem(Problem),
}

impl Api {
    /// The gateway at `url`; `certificates` is the folder with `ca.pem`, `operator.pem` and `operator.key`.
    ///
    /// # Errors
    /// [`ApiError::Url`] or [`ApiError::Identity`].
    pub fn new(url: &str, certificates: &Path) -> Result<Self, ApiError> {
        let wrong = || ApiError::Url(url.to_owned());
        let uri: Uri = url.parse().map_err(|_| wrong())?;
        let host = uri.host().ok_or_else(wrong)?;
        let (tls, port) = match uri.scheme_str() {
            Some("https") => (Some(connector(certificates)?), 443),
            Some("http") => (None, 80),
            _ => return Err(wrong()),
        };
        Ok(Self {
            url: url.trim_end_matches('/').to_owned(),
            authority: uri.authority().ok_or_else(wrong)?.to_string(),
            host: host.trim_start_matches('[').trim_end_matches(']').to_owned(),
            port: uri.port_u16().unwrap_or(port),
            tls,
        })
    }

    /// Where it is.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Reads.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] or [`ApiError::Problem`].
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(Method::GET, path, Vec::new()).await
    }

    /// Changes something, with a JSON body.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] or [`ApiError::Problem`].
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreachable(error))?;
        self.call(Method::POST, path, body).await
    }

    /// Puts something in its place, with a JSON body: in the place of the revision that was seen, or of nothing.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] or [`ApiError::Problem`].
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl serde::Serialize,
        seen: Option<u64>,
    ) -> Result<T, ApiError> {
        let body = serde_json::to_vec(body).map_err(|error| self.unreachable(error))?;
        let question = Question { method: Method::PUT, path, body, seen };
        self.read(self.asked(question).await?)
    }

    /// Stops something.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] or [`ApiError::Problem`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(Method::DELETE, path, Vec::new()).await
    }

    /// The status and the bytes of an answer, whatever they are.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`].
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), ApiError> {
        self.asked(Question { method, path, body, seen: None }).await
    }

    async fn asked(&self, question: Question<'_>) -> Result<(u16, Bytes), ApiError> {
        let answer = tokio::time::timeout(ANSWER_TIMEOUT, self.dial(question));
        answer.await.map_err(|_| self.unreachable("no answer in time"))?
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<T, ApiError> {
        self.read(self.raw(method, path, body).await?)
    }

    /// What an answer says.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] or [`ApiError::Problem`].
    pub fn read<T: DeserializeOwned>(&self, (status, bytes): (u16, Bytes)) -> Result<T, ApiError> {
        if (200..300).contains(&status) {
            return serde_json::from_slice(&bytes).map_err(|error| self.unreachable(error));
        }
        match serde_json::from_slice(&bytes) {
            Ok(problem) => Err(ApiError::Problem(problem)),
            Err(_) => Err(self.unreachable(format!("it answers with status {status}"))),
        }
    }

    async fn dial(&self, question: Question<'_>) -> Result<(u16, Bytes), ApiError> {
        let stream = TcpStream::connect((self.host.as_str(), self.port))
            .await
            .map_err(|error| self.unreachable(error))?;
        let Some(connector) = &self.tls else {
            return self.exchange(stream, question).await;
        };
        let name =
            ServerName::try_from(self.host.clone()).map_err(|_| ApiError::Url(self.url.clone()))?;
        let stream =
            connector.connect(name, stream).await.map_err(|error| self.unreachable(error))?;
        self.exchange(stream, question).await
    }

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        Question { method, path, body, seen }: Question<'_>,
    ) -> Result<(u16, Bytes), ApiError> {
        let unreachable = |error: hyper::Error| self.unreachable(error);
        let (mut sender, connection) =
            http1::handshake(TokioIo::new(stream)).await.map_err(unreachable)?;
        let mut request = Request::builder();
        if let Some(revision) = seen {
            request = request.header(header::IF_MATCH, format!("\"{revision}\""));
        }
        let request = request
            .method(method)
            .uri(path)
            .header(header::HOST, &self.authority)
            .header(header::CONNECTION, "close")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(|error| self.unreachable(error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(unreachable)?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES).collect().await;
            let bytes = body.map_err(|error| self.unreachable(error))?.to_bytes();
            Ok((status, bytes))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answered = &mut answer => answered,
            // The connection ends first when the answer is whole, or when it never will be.
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(unreachable(error)),
            },
        }
    }

    fn unreachable(&self, what: impl std::fmt::Display) -> ApiError {
        ApiError::Unreachable { url: self.url.clone(), what: what.to_string() }
    }
}

impl std::fmt::Debug for Api {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Api").field("url", &self.url).finish_non_exhaustive()
    }
}

fn connector(certificates: &Path) -> Result<TlsConnector, ApiError> {
    let ca = certificates.join("ca.pem");
    let cert = certificates.join("operator.pem");
    let key = certificates.join("operator.key");
    let mut roots = RootCertStore::empty();
    for certificate in chain(&ca)? {
        roots.add(certificate).map_err(|error| identity(&ca, error))?;
    }
    let private = PrivateKeyDer::from_pem_file(&key).map_err(|error| identity(&key, error))?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| identity(&cert, error))?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain(&cert)?, private)
        .map_err(|error| identity(&cert, error))?;
    Ok(TlsConnector::from(Arc::new(config)))
}

fn chain(path: &Path) -> Result<Vec<CertificateDer<'static>>, ApiError> {
    CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect)
        .map_err(|error| identity(path, error))
}

fn identity(path: &Path, what: impl std::fmt::Display) -> ApiError {
    ApiError::Identity { path: path.to_owned(), what: what.to_string() }
}
