//! One port for plain HTTP and TLS, on a thread and a runtime of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use certs::Role;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::caller::Caller;
use super::routes::{Shared, router, service};
use super::subscribers::Subscribers;
use super::{events, tried};
use crate::accepts::Accepts;
use crate::async_thread::AsyncThread;
use crate::control::Control;
use crate::metrics::Metrics;
use crate::strangers::{GaveWay, Stranger, Strangers};
use crate::tls::{CertificateKey, LiveTls, Revoked, until_revoked};

/// Connections from other machines whose side has shown no certificate that counts.
const BEYOND: usize = 96;
/// Most of them from one address.
const PER_ADDRESS: usize = 16;
/// Connections from this machine, whose side has shown none.
const LOCAL: usize = 64;
/// Connections of operators and gateways, by their certificates.
const KNOWN: usize = 32;
/// Longest time to the first byte, for the TLS handshake, and for the headers of each request.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// Rest after a failed accept: out of file descriptors does not pass by asking again at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// First byte of a TLS record that begins a handshake.
const TLS_HANDSHAKE: u8 = 0x16;

/// The running API; stops when dropped.
#[derive(Debug)]
pub struct HttpApi {
    address: SocketAddr,
    _thread: AsyncThread,
}

/// Why the API cannot start. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address or the thread is not to be had.
    #[error("cannot serve http")]
    Io(#[from] std::io::Error),
}

impl HttpApi {
    /// Serves on an open listener while `accepts` is on; without `tls` only plain HTTP from this machine. With `calendar_feeds` whoever has a token
    /// reads its calendar. Connections that were made with a
    /// certificate that comes to be `revoked` end.
    ///
    /// # Errors
    /// [`HttpError`] when certificates, listener or thread cannot be used.
    pub fn start(
        (listener, accepts): (TcpListener, Accepts),
        (tls, calendar_feeds): (Option<LiveTls>, bool),
        control: Arc<dyn Control>,
        metrics: Metrics,
        revoked: watch::Receiver<Arc<Revoked>>,
    ) -> Result<Self, HttpError> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let places = Places {
            beyond: Strangers::new(BEYOND, PER_ADDRESS),
            local: Strangers::new(LOCAL, LOCAL),
            known: Strangers::new(KNOWN, KNOWN),
        };
        let api = router(Shared {
            control,
            metrics: metrics.clone(),
            streams: events::places(),
            tale: tried::place(),
            subscribers: calendar_feeds.then(|| Arc::new(Subscribers::new())),
        });
        let serving = Serving { api, metrics, tls, places, revoked };
        let thread = AsyncThread::start_patient("http", |stopped| {
            serve(listener, accepts, serving, stopped)
        })?;
        Ok(Self { address, _thread: thread })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Ends all connections and waits for the thread.
    pub fn stop(self) {
        drop(self);
    }
}

#[derive(Clone)]
struct Serving {
    api: Router,
    metrics: Metrics,
    tls: Option<LiveTls>,
    places: Places,
    revoked: watch::Receiver<Arc<Revoked>>,
}

/// Whoever fills one of these keeps nobody out of the others; nor out of the same one, since its oldest gives way.
#[derive(Clone)]
struct Places {
    beyond: Arc<Strangers>,
    local: Arc<Strangers>,
    known: Arc<Strangers>,
}

impl Places {
    /// For a connection that was just accepted.
    fn enter(&self, remote: SocketAddr) -> Stranger {
        let address = remote.ip();
        let is_local = address.to_canonical().is_loopback();
        let places = if is_local { &self.local } else { &self.beyond };
        places.enter(address)
    }
}

async fn serve(
    listener: TcpListener,
    mut accepts: Accepts,
    serving: Serving,
    mut stopped: oneshot::Receiver<()>,
) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("http listener cannot be used: {error}");
            return;
        }
    };
    loop {
        tokio::select! {
            _ = &mut stopped => return,
            () = accepts.on() => {}
        }
        let accepted = tokio::select! {
            _ = &mut stopped => return,
            () = accepts.off() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                let (serving, place) = (serving.clone(), serving.places.enter(remote));
                tokio::spawn(async move {
                    if let Err(gave_way) = serve_stream(stream, remote, &serving, place).await {
                        serving.metrics.process().http_displaced.add_shared(1);
                        tracing::debug!(%remote, "http connection closed: {gave_way}");
                    }
                });
            }
            Err(error) => {
                tracing::warn!("http connection not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Serves one connection to its end, or until its place is needed for another.
async fn serve_stream(
    stream: TcpStream,
    remote: SocketAddr,
    serving: &Serving,
    mut place: Stranger,
) -> Result<(), GaveWay> {
    let met = place.unless_displaced(meet(stream, remote, serving.tls.as_ref())).await?;
    let api = serving.api.clone();
    match met {
        None => Ok(()),
        Some(Met::Plain(stream)) => {
            let caller = Caller { remote, secure: false, identity: None };
            place.unless_displaced(serve_requests(stream, caller, api)).await
        }
        Some(Met::Secure(stream)) => {
            let chain = stream.get_ref().1.peer_certificates();
            let identity = chain.and_then(|it| certs::role_of(it.first()?.as_ref()));
            let cut = until_revoked(CertificateKey::shown(chain), serving.revoked.clone());
            if matches!(identity, Some((Role::Operator | Role::Gateway, _))) {
                place = serving.places.known.enter(remote.ip());
            }
            let caller = Caller { remote, secure: true, identity: identity.clone() };
            tokio::select! {
                served = place.unless_displaced(serve_requests(stream, caller, api)) => served,
                () = cut => {
                    let name = identity.map(|(_, name)| name);
                    tracing::info!(
                        target: "audit", name, %remote,
                        "http connection cut: its certificate is revoked"
                    );
                    serving.metrics.process().http_revoked.add_shared(1);
                    Ok(())
                }
            }
        }
    }
}

/// A connection that says what it speaks.
enum Met {
    Plain(TcpStream),
    Secure(Box<TlsStream<TcpStream>>),
}

/// Looks at the first byte, and shakes hands if that is what it announces.
async fn meet(stream: TcpStream, remote: SocketAddr, tls: Option<&LiveTls>) -> Option<Met> {
    let mut first = [0_u8; 1];
    match tokio::time::timeout(HEADER_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(1)) => {}
        _ => return None,
    }
    if first != [TLS_HANDSHAKE] {
        return Some(Met::Plain(stream));
    }
    let Some(tls) = tls else {
        tracing::debug!(%remote, "http connection with TLS, but no certificates are configured");
        return None;
    };
    let acceptor = TlsAcceptor::from(tls.get());
    match tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => return Some(Met::Secure(Box::new(stream))),
        Ok(Err(error)) => tracing::debug!(%remote, "http connection failed its handshake: {error}"),
        Err(_) => tracing::debug!(%remote, "http connection did not finish its handshake"),
    }
    None
}

async fn serve_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    caller: Caller,
    api: Router,
) {
    let remote = caller.remote;
    let service = service(api, caller);
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%remote, "http connection ended early: {error}");
    }
}
