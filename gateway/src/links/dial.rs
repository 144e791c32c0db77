//! How connections come to be: dialling a peer, accepting one.

use std::sync::Arc;
use std::time::Duration;

use protocol::peer::{Frame, FrameBuffer, FrameError};
use protocol::{GatewayId, Incarnation};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connection::{News, Stream, read_some};
use super::counters::LinkCounters;
use super::tls::{PeerTls, gateway_of};
use crate::accepts::Accepts;
use crate::strangers::{GaveWay, Stranger, Strangers};

/// Why a peer could not be dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialFailed {
    /// Nobody there, or the network between; passes by itself.
    #[error("the peer cannot be reached")]
    Unreachable(#[source] std::io::Error),
    /// The peer took too long.
    #[error("the peer did not answer in time")]
    Late,
    /// One of the two certificates is not accepted; the operator is at fault.
    #[error("the peer and we do not accept each other")]
    Tls(#[source] std::io::Error),
    /// The certificate names another gateway, or none.
    #[error("the peer's certificate is not that of the gateway that was dialled")]
    Identity,
}

impl DialFailed {
    /// Says so, and counts what an operator is at fault for.
    pub(super) fn report(&self, counters: &LinkCounters) {
        match self {
            Self::Unreachable(reason) => tracing::debug!(reason_code = %reason, "{self}"),
            Self::Late => tracing::debug!("{self}"),
            Self::Tls(reason) => {
                counters.count_refused();
                tracing::warn!(reason_code = %reason, "{self}");
            }
            Self::Identity => {
                counters.count_refused();
                tracing::warn!("{self}");
            }
        }
    }
}

/// Why a connection that somebody dialled was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcceptFailed {
    /// The dialling side's certificate is not accepted, or it speaks no TLS.
    #[error("the dialling side is not accepted")]
    Tls(#[source] std::io::Error),
    /// The certificate is of the fleet but not a gateway's.
    #[error("the certificate is not a gateway's")]
    Identity,
    /// Others came before the connection had said whose it is.
    #[error("others came while the dialling side was silent")]
    GaveWay(#[from] GaveWay),
    /// No hello came in time.
    #[error("no hello came in time")]
    Late,
    /// The connection ended before the hello.
    #[error("the connection ended before the hello")]
    Ended(std::io::ErrorKind),
    /// The first bytes are no frame.
    #[error("the first frame is damaged")]
    Damaged(#[source] FrameError),
    /// The first frame is not a hello.
    #[error("the first frame is not a hello")]
    NoHello,
}

impl AcceptFailed {
    /// Says so.
    pub(super) fn say(&self) {
        match self {
            Self::Tls(reason) => tracing::warn!(reason_code = %reason, "{self}"),
            Self::Damaged(reason) => tracing::warn!(violation = %reason, "{self}"),
            Self::Ended(reason) => tracing::info!(reason_code = %reason, "{self}"),
            Self::Identity | Self::NoHello => tracing::warn!("{self}"),
            Self::Late | Self::GaveWay(_) => tracing::info!("{self}"),
        }
    }
}

/// A connection that a peer has dialled, up to its first frame.
#[derive(Debug)]
pub(super) struct Hello {
    /// Whom the certificate names.
    pub(super) peer: GatewayId,
    /// Which life the hello claims; checked by the machine.
    pub(super) incarnation: Incarnation,
    /// The hello itself.
    pub(super) frame: Frame,
    pub(super) stream: Stream,
    /// What came after it.
    pub(super) buffer: FrameBuffer,
}

/// Most connections whose side has not shown the certificate of a gateway. Full: the oldest gives way.
const MAX_STRANGERS: usize = 64;
/// Most of them from one address, behind which there may be several gateways.
const MAX_PER_ADDRESS: usize = 32;
/// Most connections of gateways that have not greeted. Full: the oldest gives way.
const MAX_GREETING: usize = 64;
/// Pause after a failed accept, for the process that has run out of descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Dials one peer and makes sure that it is who was wanted. `limit` holds for TCP and for TLS, each.
pub(super) async fn dial(
    peer: GatewayId,
    address: String,
    connector: TlsConnector,
    limit: Duration,
) -> Result<Stream, DialFailed> {
    let connect = tokio::time::timeout(limit, TcpStream::connect(&address));
    let tcp = connect.await.map_err(|_| DialFailed::Late)?.map_err(DialFailed::Unreachable)?;
    tcp.set_nodelay(true).map_err(DialFailed::Unreachable)?;
    let ip = tcp.peer_addr().map_err(DialFailed::Unreachable)?.ip();
    let handshake = connector.connect(ServerName::from(ip), tcp);
    let tls = tokio::time::timeout(limit, handshake).await.map_err(|_| DialFailed::Late)?;
    let tls = tls.map_err(DialFailed::Tls)?;
    // Which of its lives answers, the welcome says.
    if gateway_of(tls.get_ref().1.peer_certificates()) != Some(peer.gateway()) {
        return Err(DialFailed::Identity);
    }
    Ok(tls.into())
}

/// Accepts while it may, until the driver is gone, and tells it of each connection that has greeted.
pub(super) async fn accept_all(
    (listener, mut accepts): (TcpListener, Accepts),
    tls: PeerTls,
    max_frame_bytes: usize,
    limit: Duration,
    news: mpsc::Sender<News>,
) {
    let strangers = Strangers::new(MAX_STRANGERS, MAX_PER_ADDRESS);
    let greeting = Strangers::new(MAX_GREETING, MAX_GREETING);
    loop {
        accepts.on().await;
        let accepted = tokio::select! {
            () = accepts.off() => continue,
            accepted = listener.accept() => accepted,
        };
        let (tcp, remote) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(reason_code = %error, "a peer connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (stranger, greeting) = (strangers.enter(remote.ip()), Arc::clone(&greeting));
        let (acceptor, news) = (tls.acceptor(), news.clone());
        tokio::spawn(async move {
            let greeted = accept((tcp, stranger), acceptor, max_frame_bytes, &greeting);
            let greeted = tokio::time::timeout(limit, greeted).await;
            let greeted = greeted.unwrap_or(Err(AcceptFailed::Late));
            let _gone = news.send(News::Accepted(Box::new(greeted))).await;
        });
    }
}

/// Takes one connection as far as its hello. The driver hears of it only then, so that a stranger, or an
/// earlier life of a peer, cannot push out the connection that stands.
async fn accept(
    (tcp, mut place): (TcpStream, Stranger),
    acceptor: TlsAcceptor,
    max_frame_bytes: usize,
    greeting: &Arc<Strangers>,
) -> Result<Hello, AcceptFailed> {
    tcp.set_nodelay(true).map_err(AcceptFailed::Tls)?;
    let remote = tcp.peer_addr().map_err(AcceptFailed::Tls)?;
    let shaken = place.unless_displaced(acceptor.accept(tcp)).await?;
    let mut stream = Stream::from(shaken.map_err(AcceptFailed::Tls)?);
    let peer = gateway_of(stream.get_ref().1.peer_certificates()).ok_or(AcceptFailed::Identity)?;
    // From here on it is in nobody's way but that of other gateways.
    place = greeting.enter(remote.ip());
    let mut buffer = FrameBuffer::new(max_frame_bytes);
    let frame = place.unless_displaced(first_frame(&mut stream, &mut buffer)).await??;
    let Frame::Hello { incarnation, gateway, .. } = &frame else {
        return Err(AcceptFailed::NoHello);
    };
    // A certificate is good for both berths of its gateway; any other name the machine refuses.
    let peer = if gateway.gateway() == peer { gateway.clone() } else { peer };
    let incarnation = *incarnation;
    Ok(Hello { peer, incarnation, frame, stream, buffer })
}

async fn first_frame(stream: &mut Stream, buffer: &mut FrameBuffer) -> Result<Frame, AcceptFailed> {
    loop {
        match buffer.take().map_err(AcceptFailed::Damaged)? {
            Some(frame) => return Ok(frame),
            None => read_some(stream, buffer).await.map_err(AcceptFailed::Ended)?,
        }
    }
}
