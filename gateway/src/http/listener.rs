//! One port for plain HTTP and TLS, on a thread and a runtime of its own.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::{Semaphore, oneshot};
use tokio_rustls::TlsAcceptor;

use super::caller::Caller;
use super::routes::{Shared, router};
use crate::control::Control;
use crate::metrics::Metrics;
use crate::tls::LiveTls;

/// Connections at once; further ones wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 256;
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
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

/// Why the API cannot start. All are the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The address or the thread is not to be had.
    #[error("cannot serve http")]
    Io(#[from] std::io::Error),
}

impl HttpApi {
    /// Serves on an open listener; without `tls` only plain HTTP from this machine.
    ///
    /// # Errors
    /// [`HttpError`] when certificates, listener or thread cannot be used.
    pub fn start(
        listener: TcpListener,
        tls: Option<LiveTls>,
        control: Arc<dyn Control>,
        metrics: Metrics,
    ) -> Result<Self, HttpError> {
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let serving = Serving { shared: Shared { control, metrics }, tls };
        let thread = crate::logging::thread("http", move || {
            runtime.block_on(serve(listener, serving, stopped));
            // A question that still waits for the process must not hold up its end.
            runtime.shutdown_background();
        })?;
        Ok(Self { address, stop: Some(stop), thread: Some(thread) })
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

impl Drop for HttpApi {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            // An error means that the thread has ended already.
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

#[derive(Clone)]
struct Serving {
    shared: Shared,
    tls: Option<LiveTls>,
}

async fn serve(listener: TcpListener, serving: Serving, mut stopped: oneshot::Receiver<()>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!("http listener cannot be used: {error}");
            return;
        }
    };
    let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    loop {
        let accepted = async {
            let permit = Arc::clone(&permits).acquire_owned().await;
            (permit, listener.accept().await)
        };
        let (permit, accepted) = tokio::select! {
            _ = &mut stopped => return,
            accepted = accepted => accepted,
        };
        match accepted {
            Ok((stream, remote)) => {
                let serving = serving.clone();
                tokio::spawn(async move {
                    serve_stream(stream, remote, serving).await;
                    drop(permit);
                });
            }
            Err(error) => {
                tracing::warn!("http connection not accepted: {error}");
                tokio::time::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Looks at the first byte, and serves what it announces.
async fn serve_stream(stream: TcpStream, remote: SocketAddr, serving: Serving) {
    let mut first = [0_u8; 1];
    match tokio::time::timeout(HEADER_TIMEOUT, stream.peek(&mut first)).await {
        Ok(Ok(1)) => {}
        _ => return,
    }
    if first != [TLS_HANDSHAKE] {
        let caller = Caller { remote, secure: false, identity: None };
        return serve_requests(stream, caller, serving.shared).await;
    }
    let Some(tls) = serving.tls else {
        tracing::debug!(%remote, "http connection with TLS, but no certificates are configured");
        return;
    };
    let acceptor = TlsAcceptor::from(tls.get());
    match tokio::time::timeout(HEADER_TIMEOUT, acceptor.accept(stream)).await {
        Ok(Ok(stream)) => {
            let (_, session) = stream.get_ref();
            let identity = session
                .peer_certificates()
                .and_then(|chain| chain.first())
                .and_then(|certificate| certs::role_of(certificate.as_ref()));
            let caller = Caller { remote, secure: true, identity };
            serve_requests(stream, caller, serving.shared).await;
        }
        Ok(Err(error)) => tracing::debug!(%remote, "http connection failed its handshake: {error}"),
        Err(_) => tracing::debug!(%remote, "http connection did not finish its handshake"),
    }
}

async fn serve_requests(
    stream: impl AsyncRead + AsyncWrite + Unpin + 'static,
    caller: Caller,
    shared: Shared,
) {
    let remote = caller.remote;
    let service = TowerToHyperService::new(router(shared, caller));
    let served = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(error) = served {
        tracing::debug!(%remote, "http connection ended early: {error}");
    }
}
