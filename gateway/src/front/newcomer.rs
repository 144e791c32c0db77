//! A connection that has no session yet: its socket, its layers, and what it sent.

use std::future::poll_fn;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Instant;

use ipnet::IpNet;
use tokio::io::{AsyncRead as _, AsyncWriteExt as _, ReadBuf};

use access::CertificateNames;
use protocol::Violation;
use protocol::mqtt::codec;
use protocol::mqtt::{ConnAck, ReasonCode, Version};

use crate::config::ListenKind;
use crate::hub::ConnectRequest;
use crate::tls::{CertificateKey, HandshakeFailure, LiveTls};
use crate::transport::{
    DetachedStream, IncomingStream, Layer, Proxied, ProxyError, Remote, TlsLayer, UpgradeStep,
    proxy_header, upgrade,
};
use crate::worker::Accepted;

use super::certificate;
use super::door::Door;
use super::place::{Full, Greeting, Place};
use super::shared::Front;

/// Where a connection comes from, as far as that is established before its CONNECT is read.
#[derive(Debug, Clone)]
pub struct Origin {
    /// What the listener speaks.
    pub kind: ListenKind,
    /// The other side.
    pub remote: Remote,
    /// The names in the client's certificate, if it showed one; it was verified.
    pub certificate: Option<Arc<CertificateNames>>,
}

impl Origin {
    /// The address of the other side; none over a Unix socket.
    pub fn address(&self) -> Option<IpAddr> {
        self.remote.address()
    }
}

/// Why a new connection came to nothing. The peer is at fault, or its network.
#[derive(Debug, thiserror::Error)]
pub(super) enum Lost {
    #[error("no CONNECT within the deadline")]
    Late,
    #[error("closed before CONNECT")]
    Closed,
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("{0}")]
    Violation(#[from] Violation),
    #[error("refused with {0:?}")]
    Refused(ReasonCode),
    #[error("{1}")]
    Handshake(HandshakeFailure, String),
    #[error("no room: {0:?}")]
    Full(Full),
    #[error("the listener is for trusted proxies only")]
    Stranger,
    #[error("{0}")]
    Proxy(#[from] ProxyError),
    #[error("its address is banned")]
    Banned,
    #[error("a TLS handshake where there is no TLS")]
    TlsOnPlain,
}

/// A connection that has no session yet.
#[derive(Debug)]
pub(super) struct Newcomer {
    stream: IncomingStream,
    layer: Layer,
    /// MQTT bytes, once the layers are up.
    inbox: Vec<u8>,
    /// Wire bytes that nobody waits for: they go with what is sent next.
    owed: Vec<u8>,
    pub(super) origin: Origin,
    greeting: Greeting,
    /// What it takes at most, in bytes, as its CONNECT says.
    pub(super) takes: u32,
    certificate: Option<CertificateKey>,
    /// Once it is known where it comes from.
    place: Option<Place>,
    /// What there is no room in: then it is only told so.
    pub(super) full: Option<Full>,
    /// When it was accepted.
    since: Instant,
}

/// What the layers made of bytes.
struct Taken {
    reply: Vec<u8>,
    result: io::Result<()>,
}

/// Bytes read at a time; a CONNECT is short.
const READ_BYTES: usize = 4096;
/// Bytes that may wait for what is sent next; a ticket with a client's certificates may be longer.
const OWED_BYTES: usize = 4096;
/// Reads of what a refused client still sends, before the socket is closed over it.
const LAST_READS: usize = 64;

impl Newcomer {
    pub(super) fn new(socket: DetachedStream, origin: Origin, greeting: Greeting) -> Self {
        let stream = IncomingStream::Unwatched(socket);
        let (layer, inbox, owed) = (Layer::Plain, Vec::new(), Vec::new());
        let (takes, certificate, place, full) = (u32::MAX, None, None, None);
        let since = Instant::now();
        Self {
            stream,
            layer,
            inbox,
            owed,
            origin,
            greeting,
            takes,
            certificate,
            place,
            full,
            since,
        }
    }

    /// Reads the PROXY header, from a proxy that is trusted, and takes its word.
    pub(super) async fn hear_proxy(&mut self, trusted: &[IpNet]) -> Result<(), Lost> {
        let address = self.origin.address().map(|address| address.to_canonical());
        if !address.is_some_and(|address| trusted.iter().any(|proxies| proxies.contains(&address)))
        {
            return Err(Lost::Stranger);
        }
        loop {
            match proxy_header(&self.inbox)? {
                Some((len, proxied)) => {
                    self.inbox.drain(..len);
                    if let Proxied::From(remote) = proxied {
                        self.origin.remote = Remote::Network(remote);
                    }
                    return Ok(());
                }
                None => self.more().await?,
            }
        }
    }

    /// Takes its place, now that it is known where it comes from. What there is no room in it is told later, if at all.
    pub(super) fn take_place(&mut self, door: &Door, front: &Front) -> Result<(), Lost> {
        let (address, now) = (self.origin.address(), Instant::now());
        let (place, full) = front.places.take(&mut self.greeting, door.number, address, now);
        self.place = Some(place);
        self.full = full;
        match full {
            Some(full) if full.reason(door.kind.is_secure()).is_none() => Err(Lost::Full(full)),
            Some(_) | None => Ok(()),
        }
    }

    /// TLS from here on, as the listener has it. What the client shows is there when the handshake is done.
    pub(super) async fn become_tls(&mut self, tls: &LiveTls) -> Result<(), Lost> {
        self.shake_hands(tls).await.map_err(|lost| {
            let Lost::Io(error) = lost else { return lost };
            match error.get_ref().and_then(|it| it.downcast_ref()) {
                Some(error) => Lost::Handshake(HandshakeFailure::of(error), error.to_string()),
                None => Lost::Io(error),
            }
        })
    }

    async fn shake_hands(&mut self, tls: &LiveTls) -> Result<(), Lost> {
        // Behind a proxy's header some of it may have come.
        if self.inbox.is_empty() {
            self.more().await?;
        }
        let mut raw = std::mem::take(&mut self.inbox);
        let session = TlsLayer::new(tls.get_for(&raw)).map_err(io::Error::other)?;
        self.layer = Layer::Tls(Box::new(session));
        let taken = self.take_in(&mut raw);
        self.answer(taken).await?;
        loop {
            if let Layer::Tls(session) = &self.layer
                && !session.is_handshaking()
            {
                let chain = session.peer_certificates();
                let Some(shown) = chain.and_then(|chain| certificate::read(chain.first()?)) else {
                    return Ok(());
                };
                if !shown.is_timely {
                    let what = "a resumed session, of a certificate that is not valid any more";
                    return Err(Lost::Handshake(HandshakeFailure::Expired, what.to_owned()));
                }
                self.origin.certificate = Some(Arc::new(shown.names));
                self.certificate = Some(shown.key);
                return Ok(());
            }
            self.more().await?;
        }
    }

    /// A WebSocket from here on, with messages of so many bytes.
    pub(super) async fn become_websocket(
        &mut self,
        path: &str,
        message_bytes: u32,
    ) -> Result<(), Lost> {
        let mut waiting = None;
        loop {
            if self.inbox.is_empty() {
                self.more().await?;
            }
            let request = std::mem::take(&mut self.inbox);
            match upgrade(waiting.take(), &request, path, message_bytes as usize) {
                UpgradeStep::More(upgrade) => waiting = Some(upgrade),
                UpgradeStep::Refused(reply) => {
                    self.send(&reply).await?;
                    return Err(Lost::Closed);
                }
                UpgradeStep::Done(mut socket) => {
                    let mut reply = Vec::new();
                    socket.get_mut().take_output(&mut reply);
                    self.send(&reply).await?;
                    self.layer = match std::mem::replace(&mut self.layer, Layer::Plain) {
                        Layer::Tls(tls) => Layer::SecureWebSocket(Box::new((*tls, *socket))),
                        Layer::Plain | Layer::WebSocket(_) | Layer::SecureWebSocket(_) => {
                            Layer::WebSocket(socket)
                        }
                    };
                    return Ok(());
                }
            }
        }
    }

    /// What came so far and was not taken.
    pub(super) fn inbox(&self) -> &[u8] {
        &self.inbox
    }

    /// The next packet, whole, of at most so many bytes; waits for it.
    pub(super) async fn packet(&mut self, packet_bytes: u32) -> Result<Vec<u8>, Lost> {
        loop {
            if let Some(len) = codec::frame(&self.inbox, packet_bytes)? {
                return Ok(self.inbox.drain(..len).collect());
            }
            self.more().await?;
        }
    }

    /// Reads once.
    pub(super) async fn more(&mut self) -> Result<(), Lost> {
        let taken = poll_fn(|cx| self.poll_more(cx)).await?;
        self.answer(taken).await
    }

    /// The bytes are on the stack only while somebody reads: who waits for them is small.
    fn poll_more(&mut self, cx: &mut Context<'_>) -> Poll<Result<Taken, Lost>> {
        let mut raw = [0; READ_BYTES];
        let mut space = ReadBuf::new(&mut raw);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        if space.filled().is_empty() {
            return Poll::Ready(Err(Lost::Closed));
        }
        Poll::Ready(Ok(self.take_in(space.filled_mut())))
    }

    /// Takes bytes of the socket through the layers.
    fn take_in(&mut self, raw: &mut [u8]) -> Taken {
        let mut reply = Vec::new();
        let result = self.layer.ingest(raw, &mut self.inbox, &mut reply);
        Taken { reply, result }
    }

    /// Says what the layers answer, also where it is the last word. Tickets of TLS go with the answer to CONNECT.
    async fn answer(&mut self, mut taken: Taken) -> Result<(), Lost> {
        self.owed.append(&mut taken.reply);
        if taken.result.is_err() && self.layer.is_websocket() {
            // Its end is said, or its client takes it for one that broke.
            self.layer.goodbye(&mut self.owed);
        }
        let can_wait = matches!(&self.layer, Layer::Tls(session) if !session.is_awaited())
            && self.owed.len() <= OWED_BYTES;
        if taken.result.is_err() || !can_wait {
            self.settle().await?;
        }
        taken.result.map_err(Lost::Io)
    }

    /// Sends what is owed.
    async fn settle(&mut self) -> io::Result<()> {
        let owed = std::mem::take(&mut self.owed);
        if owed.is_empty() { Ok(()) } else { self.stream.write_all(&owed).await }
    }

    /// Reads once, for nothing. Answers whether there may be more.
    fn poll_past(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let mut raw = [0; READ_BYTES];
        let mut space = ReadBuf::new(&mut raw);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut space))?;
        Poll::Ready(Ok(!space.filled().is_empty()))
    }

    /// Whether it showed a certificate of which no name could be read: it must not pass for one that showed none.
    pub(super) fn shows_unreadable_certificate(&self) -> bool {
        let shown = match &self.layer {
            Layer::Tls(session) => session.peer_certificates().is_some(),
            Layer::SecureWebSocket(layers) => layers.0.peer_certificates().is_some(),
            Layer::Plain | Layer::WebSocket(_) => false,
        };
        shown && self.origin.certificate.is_none()
    }

    /// Sends bytes of the uppermost layer.
    pub(super) async fn send(&mut self, plain: &[u8]) -> io::Result<()> {
        self.layer.emit(plain, &mut self.owed)?;
        self.settle().await
    }

    /// Answers a CONNECT with a refusal, and closes.
    pub(super) async fn refuse(mut self, refusal: Refusal) -> io::Result<()> {
        let Refusal { version, reason, reference, broken } = refusal;
        let moved = reason == ReasonCode::UseAnotherServer;
        let reference = reference.as_deref().filter(|r| !r.is_empty() && moved);
        let words = match broken {
            Some(violation) => Some(violation.to_string()),
            None => reason.words().filter(|_| !moved).map(str::to_owned),
        };
        let mut plain = Vec::new();
        let mut ack = ConnAck { server_reference: reference, ..ConnAck::of(false, reason) };
        ack.reason_string = words.as_deref();
        codec::connack(&mut plain, version, &ack);
        if plain.len() > self.takes as usize {
            // [MQTT5-3.2.2-19]
            plain.clear();
            codec::connack(&mut plain, version, &ConnAck { reason_string: None, ..ack });
        }
        // Before 5.0 not every reason has a return code: then the close says it [MQTT3-3.2.2-6].
        if !plain.is_empty() {
            self.layer.emit(&plain, &mut self.owed)?;
        }
        self.layer.goodbye(&mut self.owed);
        self.settle().await?;
        self.stream.shutdown().await?;
        // Reading until the client closes keeps the answer from being lost to a reset.
        for _ in 0..LAST_READS {
            if !poll_fn(|cx| self.poll_past(cx)).await? {
                break;
            }
        }
        Ok(())
    }

    /// On the way to the worker, with everything it has; its packets may have so many bytes from here on.
    pub(super) fn accepted(
        mut self,
        request: ConnectRequest,
        packet_bytes: u32,
    ) -> Result<Accepted, Lost> {
        let Some(place) = self.place else { return Err(Lost::Closed) };
        self.layer.allow_messages(packet_bytes as usize);
        Ok(Accepted {
            socket: self.stream.detach()?,
            layer: self.layer,
            rest: self.inbox,
            owed: self.owed,
            request,
            remote: self.origin.remote,
            certificate: self.certificate,
            place,
            since: self.since,
        })
    }
}

/// Something that speaks MQTT and said so, as far as its CONNECT was read.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) version: Version,
    pub(super) reason: ReasonCode,
    /// Where it should go instead.
    pub(super) reference: Option<String>,
    /// The statement that was broken, if that is why.
    pub(super) broken: Option<Violation>,
}

impl Refusal {
    pub(super) fn new(version: Version, reason: ReasonCode) -> Self {
        Self { version, reason, reference: None, broken: None }
    }

    /// For a packet that breaks a statement.
    pub(super) fn of_violation(version: Version, violation: Violation) -> Self {
        Self { broken: Some(violation), ..Self::new(version, violation.reason) }
    }
}

/// Why there is no request: with an answer in MQTT, or without.
pub(super) enum Halt {
    Refused(Refusal),
    Lost(Lost),
}

impl From<Refusal> for Halt {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl<E: Into<Lost>> From<E> for Halt {
    fn from(lost: E) -> Self {
        Self::Lost(lost.into())
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use rustls::version::{TLS12, TLS13};
    use rustls_pki_types::ServerName;
    use tokio::io::AsyncReadExt as _;
    use tokio_rustls::TlsConnector;

    use super::*;
    use crate::config::Written;
    use crate::front::Places;
    use crate::transport::tests::both_ends;

    /// Somebody who has just come, and its end of the connection.
    fn newcomer() -> (Newcomer, tokio::net::UnixStream) {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let places = Arc::new(Places::new(Written::default().limits, &[1], Arc::default()));
        let origin = Origin { kind: ListenKind::Tls, remote: Remote::Unix, certificate: None };
        let newcomer = Newcomer::new(DetachedStream::Unix(ours), origin, places.greet().unwrap());
        (newcomer, tokio::net::UnixStream::from_std(theirs).unwrap())
    }

    #[tokio::test]
    async fn tickets_go_with_what_is_said_next_and_nobody_waits_for_them() {
        for version in [&TLS12, &TLS13] {
            let (client, server) = both_ends(version);
            let (mut newcomer, theirs) = newcomer();
            let name = ServerName::try_from("localhost").unwrap();
            let connector = TlsConnector::from(client);
            let (ours, theirs) =
                tokio::join!(newcomer.become_tls(&server), connector.connect(name, theirs));
            ours.unwrap();
            let mut theirs = theirs.unwrap();
            let nothing = theirs.get_ref().0.try_read(&mut [0]).unwrap_err();
            assert_eq!(nothing.kind(), io::ErrorKind::WouldBlock, "{version:?}");
            newcomer.send(b"hello").await.unwrap();
            let mut heard = [0; 5];
            theirs.read_exact(&mut heard).await.unwrap();
            assert_eq!(&heard, b"hello");
            let tickets = theirs.get_ref().1.tls13_tickets_received();
            assert_eq!(tickets, u32::from(version.version == rustls::ProtocolVersion::TLSv1_3));
            // It would have had the longer key.
            let suite = theirs.get_ref().1.negotiated_cipher_suite().unwrap().suite();
            assert!(suite.as_str().unwrap().contains("AES_128"), "{suite:?}");
        }
    }
}
