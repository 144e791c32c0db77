//! A client of a gateway's HTTP API: TLS with the operator's certificate, or plain for reading.

use std::error::Error;
use std::io;
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
use tokio::time::{Instant, timeout_at};
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

/// Why an exchange did not come to its end.
type Lost = Box<dyn Error + Send + Sync>;

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
    /// A change was asked for, and nobody knows what came of it.
    #[error(
        "{url} was asked and has not said what came of it: {what}. It may have been done: see {look}"
    )]
    Unanswered {
        /// Who was asked.
        url: String,
        /// What happened.
        what: String,
        /// The command that shows whether it was done.
        look: &'static str,
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
    /// [`ApiError::Unreachable`], [`ApiError::Unanswered`] or [`ApiError::Problem`].
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
    /// [`ApiError::Unreachable`], [`ApiError::Unanswered`] or [`ApiError::Problem`].
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
    /// [`ApiError::Unreachable`], [`ApiError::Unanswered`] or [`ApiError::Problem`].
    pub async fn delete<T: DeserializeOwned>(&self, path: &str) -> Result<T, ApiError> {
        self.call(Method::DELETE, path, Vec::new()).await
    }

    /// The status and the bytes of an answer, whatever they are.
    ///
    /// # Errors
    /// [`ApiError::Unreachable`] or [`ApiError::Unanswered`].
    pub async fn raw(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<(u16, Bytes), ApiError> {
        self.asked(Question { method, path, body, seen: None }).await
    }

    async fn asked(&self, question: Question<'_>) -> Result<(u16, Bytes), ApiError> {
        let until = Instant::now() + ANSWER_TIMEOUT;
        let late = |_| self.unreachable("no answer in time");
        let dialled = TcpStream::connect((self.host.as_str(), self.port));
        let stream = timeout_at(until, dialled).await.map_err(late)?;
        let stream = stream.map_err(|error| self.unreachable(error))?;
        let Some(connector) = &self.tls else {
            return self.answer(stream, question, until).await;
        };
        let name =
            ServerName::try_from(self.host.clone()).map_err(|_| ApiError::Url(self.url.clone()))?;
        let shaken = timeout_at(until, connector.connect(name, stream)).await.map_err(late)?;
        self.answer(shaken.map_err(|error| self.unreachable(error))?, question, until).await
    }

    /// What is answered over a connection. Once it is asked, a change may be done whatever becomes of the answer.
    async fn answer(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        question: Question<'_>,
        until: Instant,
    ) -> Result<(u16, Bytes), ApiError> {
        let look = (question.method != Method::GET).then(|| look(question.path));
        let lost = |what: String| match look {
            Some(look) => ApiError::Unanswered { url: self.url.clone(), what, look },
            None => self.unreachable(what),
        };
        let (status, bytes) = match timeout_at(until, self.exchange(stream, question)).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) if is_turned_away(&error) => return Err(self.unreachable(error)),
            Ok(Err(error)) => return Err(lost(error.to_string())),
            Err(_) => return Err(lost("no answer in time".to_owned())),
        };
        match serde_json::from_slice::<Problem>(&bytes) {
            Ok(problem) if look.is_some() && problem.is_unfinished() => Err(lost(problem.detail)),
            Ok(_) | Err(_) => Ok((status, bytes)),
        }
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

    async fn exchange(
        &self,
        stream: impl AsyncRead + AsyncWrite + Unpin,
        Question { method, path, body, seen }: Question<'_>,
    ) -> Result<(u16, Bytes), Lost> {
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
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
            .body(Full::new(Bytes::from(body)))?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status().as_u16();
            let body = Limited::new(response.into_body(), ANSWER_LIMIT_BYTES).collect().await?;
            Ok((status, body.to_bytes()))
        };
        let mut answer = std::pin::pin!(answer);
        tokio::select! {
            answered = &mut answer => answered,
            // The connection ends first when the answer is whole, or when it never will be.
            ended = connection => match ended {
                Ok(()) => answer.await,
                Err(error) => Err(error.into()),
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

/// Whether TLS says that we may not come in: then nothing of what was asked was heard.
fn is_turned_away(error: &Lost) -> bool {
    let mut cause: Option<&(dyn Error + 'static)> = Some(error.as_ref());
    while let Some(error) = cause {
        // An I/O error that wraps another one does not name it as its source.
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        let inner = inner.and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if inner.or_else(|| error.downcast_ref()).is_some() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// Which command shows whether a change by this path was made.
fn look(path: &str) -> &'static str {
    let resource = path.strip_prefix("/api/v1/").unwrap_or_default();
    match resource.split(['/', '?']).next().unwrap_or_default() {
        "drains" | "undrain" => "`tidegate drain status GATEWAY`",
        "bans" => "`tidegate bans list`",
        "connections" => "`tidegate clients show CLIENT`",
        "things" if path.contains("/shadow") => "`tidegate shadow get THING`",
        "things" => "`tidegate things show THING`",
        "maintenance" => "`tidegate maintenance audit`",
        // What is read or started again is no worse for being asked for again.
        _ => "`tidegate status`",
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

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;

    use super::super::exit::{Exit, Failure};
    use super::*;
    use crate::control::ControlError;

    /// A gateway that hears one request, gives this answer, and is gone.
    fn once(answer: Vec<u8>) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let _ = stream.read(&mut [0; 4096]).unwrap();
            stream.write_all(&answer).unwrap();
        });
        Api::new(&url, Path::new("")).unwrap()
    }

    fn problem(error: ControlError) -> Vec<u8> {
        let body = serde_json::to_string(&Problem::from(error)).unwrap();
        let head = "HTTP/1.1 503 Service Unavailable";
        format!("{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    async fn drain(answer: Vec<u8>) -> Failure {
        once(answer).post::<u32>("/api/v1/drains", &1).await.unwrap_err().into()
    }

    #[tokio::test]
    async fn a_change_that_was_begun_may_have_been_done() {
        let begun = problem(ControlError::Unfinished("the housekeeper has begun".into()));
        for answer in [begun, Vec::new()] {
            let failure = drain(answer).await;
            assert_eq!(failure.exit, Exit::PerhapsDone, "{failure:?}");
            let look = "It may have been done: see `tidegate drain status GATEWAY`";
            assert!(failure.message.ends_with(look), "{failure:?}");
        }
    }

    #[tokio::test]
    async fn what_was_not_begun_and_what_only_reads_was_not_done() {
        let not_begun = problem(ControlError::Unavailable("the housekeeper".into()));
        assert_eq!(drain(not_begun).await.exit, Exit::Failed);
        for answer in [problem(ControlError::Unfinished("it has begun".into())), Vec::new()] {
            let error = once(answer).get::<u32>("/api/v1/bans").await.unwrap_err();
            assert_eq!(Exit::of(&error), Exit::Failed, "{error}");
        }
    }

    #[test]
    fn who_is_turned_away_by_tls_was_not_heard() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateRevoked);
        let read = io::Error::new(io::ErrorKind::InvalidData, alert);
        assert!(is_turned_away(&(Box::new(read) as Lost)));
        assert!(!is_turned_away(&(Box::new(io::Error::other("gone")) as Lost)));
    }
}
