//! One connection: TLS, whom it speaks for, and its requests.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::caller::Caller;
use super::listener::Desk;
use super::requests::answer;
use crate::authentication::NotIdentified;
use crate::front::read_certificate;
use crate::tls::{CertificateKey, HandshakeFailure, until_revoked};

/// What a connection has for an answer to be read, beside the times that are configured.
const READING: Duration = Duration::from_secs(60);

/// Serves one connection to its end.
pub(super) async fn serve_stream(
    stream: TcpStream,
    remote: SocketAddr,
    desk: Arc<Desk>,
    leaving: watch::Receiver<bool>,
) {
    let counters = desk.metrics.process();
    let address = remote.ip();
    if desk.front.bans_address(address) {
        counters.turned_away_banned.add_shared(1);
        return;
    }
    let places = &desk.rules.places;
    // Without a place it is closed as it is dropped: it costs nothing more.
    let Some(mut greeting) = places.greet() else { return };
    let (_place, full) = places.take(&mut greeting, 0, Some(address), Instant::now());
    if full.is_some() {
        return;
    }
    let _ = stream.set_nodelay(true);
    let deadline = Duration::from_millis(u64::from(places.limits().connect_timeout_ms));
    let Ok(met) = tokio::time::timeout(deadline, meet(stream, remote, &desk)).await else {
        tracing::debug!(%remote, "a connection by https did not finish its handshake");
        return;
    };
    drop(greeting);
    let Some((stream, caller, key)) = met else { return };
    // All of them are on one thread.
    counters.device_http_connections.add(1);
    let cut = until_revoked(key, desk.revoked.clone());
    tokio::select! {
        () = serve_requests(stream, caller, &desk, leaving) => {}
        () = cut => {
            tracing::info!(target: "audit", %remote, "a connection by https is cut: its certificate is revoked");
            counters.device_http_revoked.add_shared(1);
        }
    }
    counters.device_http_connections.sub(1);
}

type Met = (TlsStream<TcpStream>, Result<Caller, NotIdentified>, Option<CertificateKey>);

/// Shakes hands, and finds out whom it speaks for; `None` if nothing comes of it, and no caller but why if it is not let in.
async fn meet(stream: TcpStream, remote: SocketAddr, desk: &Desk) -> Option<Met> {
    let counters = desk.metrics.process();
    let stream = match TlsAcceptor::from(desk.tls.get()).accept(stream).await {
        Ok(stream) => stream,
        Err(error) => {
            if let Some(failure) = error.get_ref().and_then(|it| it.downcast_ref()) {
                HandshakeFailure::of(failure).counter(counters).add_shared(1);
            }
            tracing::debug!(%remote, "a handshake by https failed: {error}");
            return None;
        }
    };
    let shown = read_certificate(stream.get_ref().1.peer_certificates()?.first()?);
    let Some(shown) = shown else { return Some((stream, Err(NotIdentified::Nothing), None)) };
    if !shown.is_timely {
        HandshakeFailure::Expired.counter(counters).add_shared(1);
        return None;
    }
    let key = shown.key;
    let caller = Caller::of(Arc::new(shown.names), remote.ip(), &desk.porter).await;
    Some((stream, caller, Some(key)))
}

async fn serve_requests(
    stream: TlsStream<TcpStream>,
    caller: Result<Caller, NotIdentified>,
    desk: &Desk,
    mut leaving: watch::Receiver<bool>,
) {
    let (begun, mut beginning) = watch::channel(());
    let caller = caller.as_ref();
    let service = service_fn(|request: Request<Incoming>| {
        begun.send_replace(());
        answer(desk, caller.map_err(|why| *why), request)
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(desk.config.idle)
        .max_buf_size(desk.config.header_bytes)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // From request to request: whoever does not read its answer does not stay for it.
    let patience = desk.config.idle + desk.config.body + desk.config.answer + READING;
    let mut accepts = desk.accepts.clone();
    let (mut ends, mut silent) = (false, false);
    while !silent {
        tokio::select! {
            served = connection.as_mut() => {
                if let Err(error) = served {
                    tracing::debug!("a connection by https ended early: {error}");
                }
                return;
            }
            begun = tokio::time::timeout(patience, beginning.changed()) => silent = begun.is_err(),
            () = accepts.off(), if !ends => ends = true,
            _ = leaving.wait_for(|leaving| *leaving), if !ends => ends = true,
        }
        if ends {
            // What was asked is answered; the next request is another gateway's, or our successor's.
            connection.as_mut().graceful_shutdown();
        }
    }
    desk.metrics.process().device_http_stalled.add_shared(1);
}
