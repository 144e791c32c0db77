//! How connections come to be: dialling a peer, accepting one.

use std::sync::Arc;
use std::time::Duration;

use protocol::peer::{Frame, FrameBuffer, FrameError};
use protocol::{GatewayId, Incarnation};
use rustls::pki_types::ServerName;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::connection::{News, Stream, read_some};
use super::tls::{PeerTls, gateway_of};

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

/// Why a connection that somebody dialled was not taken.
#[derive(Debug, thiserror::Error)]
pub(super) enum AcceptFailed {
    /// The dialling side's certificate is not accepted, or it speaks no TLS.
    #[error("the dialling side is not accepted")]
    Tls(#[source] std::io::Error),
    /// The certificate is of the fleet but not a gateway's.
    #[error("the certificate is not a gateway's")]
    Identity,
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

/// Most connections between accept and hello. Full: accepting waits, in the kernel's queue.
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
    if gateway_of(tls.get_ref().1.peer_certificates()) != Some(peer) {
        return Err(DialFailed::Identity);
    }
    Ok(tls.into())
}

/// Accepts until the driver is gone, and tells it of each connection that has greeted.
pub(super) async fn accept_all(
    listener: TcpListener,
    tls: PeerTls,
    max_frame_bytes: usize,
    limit: Duration,
    news: mpsc::Sender<News>,
) {
    let slots = Arc::new(Semaphore::new(MAX_GREETING));
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        let tcp = match listener.accept().await {
            Ok((tcp, _)) => tcp,
            Err(error) => {
                tracing::debug!(reason_code = %error, "a peer connection could not be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (acceptor, news) = (tls.acceptor(), news.clone());
        tokio::spawn(async move {
            let greeting = accept(tcp, acceptor, max_frame_bytes);
            let greeted = tokio::time::timeout(limit, greeting).await;
            drop(slot);
            let greeted = greeted.unwrap_or(Err(AcceptFailed::Late));
            let _gone = news.send(News::Accepted(Box::new(greeted))).await;
        });
    }
}

/// Takes one connection as far as its hello. The driver hears of it only then, so that a stranger, or an
/// earlier life of a peer, cannot push out the connection that stands.
async fn accept(
    tcp: TcpStream,
    acceptor: TlsAcceptor,
    max_frame_bytes: usize,
) -> Result<Hello, AcceptFailed> {
    tcp.set_nodelay(true).map_err(AcceptFailed::Tls)?;
    let mut stream = Stream::from(acceptor.accept(tcp).await.map_err(AcceptFailed::Tls)?);
    let peer = gateway_of(stream.get_ref().1.peer_certificates()).ok_or(AcceptFailed::Identity)?;
    let mut buffer = FrameBuffer::new(max_frame_bytes);
    let frame = loop {
        match buffer.take().map_err(AcceptFailed::Damaged)? {
            Some(frame) => break frame,
            None => read_some(&mut stream, &mut buffer).await.map_err(AcceptFailed::Ended)?,
        }
    };
    let Frame::Hello { incarnation, .. } = frame else {
        return Err(AcceptFailed::NoHello);
    };
    Ok(Hello { peer, incarnation, frame, stream, buffer })
}
