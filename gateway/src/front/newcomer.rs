//! A connection that has no session yet: its socket, its layers, and what it sent.

use std::io;
use std::net::IpAddr;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use access::CertificateNames;
use protocol::Violation;
use protocol::mqtt::codec;
use protocol::mqtt::{ConnAck, ReasonCode, Version};

use crate::config::ListenKind;
use crate::hub::ConnectRequest;
use crate::transport::{Layer, Remote, Stream, UpgradeStep, upgrade};
use crate::worker::Accepted;

use super::place::Place;

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
}

/// A connection that has no session yet.
#[derive(Debug)]
pub(super) struct Newcomer {
    stream: Stream,
    layer: Layer,
    /// MQTT bytes, once the layers are up.
    inbox: Vec<u8>,
    pub(super) origin: Origin,
    place: Place,
    /// Whether there is room for one more; if not, it is only told so.
    pub(super) room: bool,
}

/// Bytes read at a time; a CONNECT is short.
const READ_BYTES: usize = 4096;
/// Reads of what a refused client still sends, before the socket is closed over it.
const LAST_READS: usize = 64;

impl Newcomer {
    pub(super) fn new(stream: Stream, origin: Origin, (place, room): (Place, bool)) -> Self {
        Self { stream, layer: Layer::Plain, inbox: Vec::new(), origin, place, room }
    }

    /// Small packets leave at once.
    pub(super) fn set_nodelay(&self) -> io::Result<()> {
        self.stream.set_nodelay()
    }

    /// TLS from here on, as the listener has it. What the client shows is there when the handshake is done.
    pub(super) async fn become_tls(&mut self, tls: Arc<rustls::ServerConfig>) -> Result<(), Lost> {
        let mut session = rustls::ServerConnection::new(tls).map_err(io::Error::other)?;
        session.set_buffer_limit(None);
        self.layer = Layer::Tls(Box::new(session));
        loop {
            if let Layer::Tls(session) = &self.layer
                && !session.is_handshaking()
            {
                self.origin.certificate = session
                    .peer_certificates()
                    .and_then(|chain| super::certificate::names(chain.first()?))
                    .map(Arc::new);
                return Ok(());
            }
            self.more().await?;
        }
    }

    /// A WebSocket from here on.
    pub(super) async fn become_websocket(
        &mut self,
        path: &str,
        packet_bytes: u32,
    ) -> Result<(), Lost> {
        let mut waiting = None;
        loop {
            if self.inbox.is_empty() {
                self.more().await?;
            }
            let request = std::mem::take(&mut self.inbox);
            match upgrade(waiting.take(), &request, path, packet_bytes as usize) {
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
                        Layer::Tls(tls) => Layer::SecureWebSocket(tls, socket),
                        Layer::Plain | Layer::WebSocket(_) | Layer::SecureWebSocket(..) => {
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

    /// The next packet, whole; waits for it.
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
        let mut raw = [0; READ_BYTES];
        let got = self.stream.read(&mut raw).await?;
        if got == 0 {
            return Err(Lost::Closed);
        }
        let mut reply = Vec::new();
        let raw = raw.get(..got).unwrap_or_default();
        let result = self.layer.ingest(raw, &mut self.inbox, &mut reply);
        if !reply.is_empty() {
            self.stream.write_all(&reply).await?;
        }
        result.map_err(Lost::Io)
    }

    /// Sends bytes of the uppermost layer.
    pub(super) async fn send(&mut self, plain: &[u8]) -> io::Result<()> {
        let mut raw = Vec::new();
        self.layer.emit(plain, &mut raw)?;
        self.stream.write_all(&raw).await
    }

    /// Answers a CONNECT with a refusal, and closes.
    pub(super) async fn refuse(
        mut self,
        version: Version,
        reason: ReasonCode,
        reference: Option<&str>,
    ) -> io::Result<()> {
        let reference =
            reference.filter(|r| !r.is_empty() && reason == ReasonCode::UseAnotherServer);
        let (mut plain, mut raw) = (Vec::new(), Vec::new());
        let ack = ConnAck { server_reference: reference, ..ConnAck::of(false, reason) };
        codec::connack(&mut plain, version, &ack);
        self.layer.emit(&plain, &mut raw)?;
        self.layer.goodbye(&mut raw);
        self.stream.write_all(&raw).await?;
        self.stream.shutdown().await?;
        // Reading until the client closes keeps the answer from being lost to a reset.
        let mut rest = [0; 1024];
        for _ in 0..LAST_READS {
            if self.stream.read(&mut rest).await? == 0 {
                break;
            }
        }
        Ok(())
    }

    /// On the way to the worker, with everything it has.
    pub(super) fn accepted(self, request: ConnectRequest) -> io::Result<Accepted> {
        Ok(Accepted {
            socket: self.stream.detach()?,
            layer: self.layer,
            rest: self.inbox,
            request,
            remote: self.origin.remote,
            place: self.place,
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
}

impl Refusal {
    pub(super) fn new(version: Version, reason: ReasonCode) -> Self {
        Self { version, reason, reference: None }
    }
}
