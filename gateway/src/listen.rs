//! The listeners: accept, handshake, CONNECT; then the connection goes to the worker of its client.
//!
//! Every new connection is a task of its own with a deadline, so one silent socket stops nobody.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use access::Identity;
use protocol::mqtt::codec;
use protocol::mqtt::{ConnAck, Connect, ReasonCode, Version};
use protocol::{ClientId, Violation, levels};

use crate::config::ListenKind;
use crate::hub::{ConnectRequest, Tables};
use crate::tail::worker_of;
use crate::transport::{Layer, UpgradeStep, upgrade};
use crate::worker::{Accepted, Mail, Mailbox};

/// What a listener does with new clients.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Admission {
    /// The process is not ready: refuse as busy.
    NotYet = 0,
    /// Take them.
    Open = 1,
    /// Send them to another gateway.
    Elsewhere = 2,
}

/// A place among the connections that may be open; given back when dropped.
#[derive(Debug)]
pub struct Place(Arc<AtomicUsize>);

impl Drop for Place {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What all listeners of a process share.
#[derive(Debug)]
pub struct Front {
    /// The workers' letters.
    pub mailboxes: Vec<Arc<Mailbox>>,
    /// For server references.
    pub tables: Arc<Tables>,
    /// This gateway's name, for made-up client ids and server references.
    pub gateway: protocol::GatewayId,
    /// From accept to a whole CONNECT.
    pub deadline: Duration,
    /// The largest CONNECT, in bytes.
    pub packet_bytes: u32,
    /// The longest session expiry, in seconds.
    pub session_expiry_max_s: u32,
    /// Bytes of a will's topic.
    pub topic_bytes: usize,
    /// Levels of a will's topic.
    pub topic_levels: usize,
    /// Connections that may be open or on their way.
    pub connections: usize,
    admission: AtomicU8,
    open: Arc<AtomicUsize>,
    made_up: AtomicUsize,
    incarnation: u64,
}

/// One listener.
#[derive(Debug)]
pub struct Door {
    /// The bound socket.
    pub listener: TcpListener,
    /// What it speaks.
    pub kind: ListenKind,
    /// The WebSocket path.
    pub path: String,
    /// TLS, for those that speak it.
    pub tls: Option<Arc<rustls::ServerConfig>>,
}

/// Why a new connection came to nothing. The peer is at fault, or its network.
#[derive(Debug, thiserror::Error)]
enum Lost {
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

impl Front {
    /// Nobody is taken before [`Self::admit`] says so.
    pub fn new(
        mailboxes: Vec<Arc<Mailbox>>,
        tables: Arc<Tables>,
        gateway: protocol::GatewayId,
        incarnation: u64,
        limits: &crate::config::Limits,
    ) -> Self {
        Self {
            mailboxes,
            tables,
            gateway,
            deadline: Duration::from_millis(u64::from(limits.connect_timeout_ms)),
            packet_bytes: limits.packet_bytes,
            session_expiry_max_s: limits.session_expiry_max_s,
            topic_bytes: usize::from(limits.topic_bytes),
            topic_levels: usize::from(limits.topic_levels),
            connections: limits.connections as usize,
            admission: AtomicU8::new(0),
            open: Arc::default(),
            made_up: AtomicUsize::new(0),
            incarnation,
        }
    }

    /// Says what becomes of new clients from now on.
    pub fn admit(&self, admission: Admission) {
        self.admission.store(admission as u8, Ordering::SeqCst);
    }

    /// A place for one more connection, and whether it is within the limit.
    fn place(&self) -> (Place, bool) {
        let before = self.open.fetch_add(1, Ordering::Relaxed);
        (Place(Arc::clone(&self.open)), before < self.connections)
    }

    fn admission(&self) -> Admission {
        match self.admission.load(Ordering::SeqCst) {
            0 => Admission::NotYet,
            1 => Admission::Open,
            _ => Admission::Elsewhere,
        }
    }

    /// An id for a client that gave none `[MQTT5-3.1.3-6]`: unique in the fleet by gateway, life and count.
    fn make_up(&self) -> String {
        let count = self.made_up.fetch_add(1, Ordering::Relaxed);
        format!("{}-{:x}-{:x}", self.gateway, self.incarnation, count)
    }
}

/// Accepts until told to stop.
pub async fn serve(door: Door, front: Arc<Front>, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.changed() => return,
            accepted = door.listener.accept() => match accepted {
                Ok((stream, remote)) => greet(&door, stream, remote, Arc::clone(&front)),
                Err(error) => {
                    // Out of descriptors, most likely: those who are here come first.
                    tracing::warn!("cannot accept: {error}");
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
            },
        }
    }
}

fn greet(door: &Door, stream: TcpStream, remote: SocketAddr, front: Arc<Front>) {
    let (kind, path, tls) = (door.kind, door.path.clone(), door.tls.clone());
    tokio::spawn(async move {
        let new = New { stream, kind, tls, remote, place: front.place() };
        let met = tokio::time::timeout(front.deadline, meet(new, &path, &front));
        let outcome = met.await.unwrap_or(Err(Lost::Late));
        if let Err(lost) = outcome {
            tracing::debug!(%remote, "a connection came to nothing: {lost}");
        }
    });
}

/// The packet type of CONNECT.
const CONNECT: u8 = 1;

/// A connection that was accepted.
struct New {
    stream: TcpStream,
    kind: ListenKind,
    tls: Option<Arc<rustls::ServerConfig>>,
    remote: SocketAddr,
    place: (Place, bool),
}

async fn meet(new: New, path: &str, front: &Front) -> Result<(), Lost> {
    let New { mut stream, kind, tls, remote, place: (place, room) } = new;
    stream.set_nodelay(true)?;
    let mut layer = match (kind, tls) {
        (ListenKind::Tls | ListenKind::SecureWebsocket, Some(tls)) => {
            let mut session = rustls::ServerConnection::new(tls).map_err(io::Error::other)?;
            session.set_buffer_limit(None);
            Layer::Tls(Box::new(session))
        }
        _ => Layer::Plain,
    };
    let mut inbox = Vec::new();
    if matches!(kind, ListenKind::Websocket | ListenKind::SecureWebsocket) {
        layer = become_websocket(&mut stream, layer, &mut inbox, path, front).await?;
    }
    loop {
        if let Some(len) = first_packet(&inbox, front, &mut stream, &mut layer).await? {
            let packet = inbox.get(..len).unwrap_or_default();
            let request = match codec::decode_connect(packet) {
                Ok(connect) if room => admit(&connect, (kind, remote), front),
                Ok(connect) => Err((connect.version, ReasonCode::QuotaExceeded)),
                Err(violation) => {
                    let version = codec::connect_version(packet).unwrap_or(Version::V311);
                    answer(&mut stream, &mut layer, version, violation.reason, None).await?;
                    return Err(violation.into());
                }
            };
            match request {
                Ok(request) => {
                    inbox.drain(..len);
                    let accepted = Accepted {
                        socket: stream.into_std()?,
                        layer,
                        rest: inbox,
                        request,
                        remote,
                        place,
                    };
                    hand_on(accepted, front);
                    return Ok(());
                }
                Err((version, reason)) => {
                    let elsewhere = elsewhere(packet, kind, front);
                    answer(&mut stream, &mut layer, version, reason, elsewhere.as_deref()).await?;
                    return Err(Lost::Refused(reason));
                }
            }
        }
        more(&mut stream, &mut layer, &mut inbox).await?;
    }
}

/// The length of the first packet if it is whole. What cannot be a CONNECT ends here.
async fn first_packet(
    inbox: &[u8],
    front: &Front,
    stream: &mut TcpStream,
    layer: &mut Layer,
) -> Result<Option<usize>, Lost> {
    if inbox.is_empty() {
        return Ok(None);
    }
    if inbox.first().is_some_and(|byte| byte >> 4 != CONNECT) {
        return Err(Violation::protocol("MQTT5-3.1.0-1", "something else before CONNECT").into());
    }
    match codec::frame(inbox, front.packet_bytes) {
        Ok(len) => Ok(len),
        Err(violation) => {
            if violation.reason == ReasonCode::PacketTooLarge {
                let version = codec::connect_version(inbox).unwrap_or(Version::V311);
                answer(stream, layer, version, violation.reason, None).await?;
            }
            Err(violation.into())
        }
    }
}

fn admit(
    connect: &Connect<'_>,
    (kind, remote): (ListenKind, SocketAddr),
    front: &Front,
) -> Result<ConnectRequest, (Version, ReasonCode)> {
    let refuse = |reason| (connect.version, reason);
    match front.admission() {
        Admission::Open => {}
        Admission::NotYet => return Err(refuse(ReasonCode::ServerBusy)),
        Admission::Elsewhere => return Err(refuse(ReasonCode::UseAnotherServer)),
    }
    let bad_topic = |topic: &str| {
        topic.starts_with('$')
            || topic.len() > front.topic_bytes
            || levels(topic).nth(front.topic_levels).is_some()
    };
    if connect.will.as_ref().is_some_and(|will| bad_topic(will.topic)) {
        return Err(refuse(ReasonCode::TopicNameInvalid));
    }
    if connect.properties.authentication_method.is_some() {
        return Err(refuse(ReasonCode::BadAuthenticationMethod));
    }
    let mut request = ConnectRequest::of(connect, &front.make_up(), front.session_expiry_max_s)
        .map_err(refuse)?;
    request.secure = kind.is_secure();
    let client = request.client.clone();
    request.identity =
        Arc::new(Identity { address: Some(remote.ip()), ..Identity::anonymous(client) });
    Ok(request)
}

/// Where a client that is refused should go instead.
fn elsewhere(packet: &[u8], kind: ListenKind, front: &Front) -> Option<String> {
    let connect = codec::decode_connect(packet).ok()?;
    let client = ClientId::new(connect.client_id).or_else(|_| ClientId::new(&front.make_up()));
    front.tables.server_reference(&front.gateway, &client.ok()?, kind.is_secure())
}

async fn answer(
    stream: &mut TcpStream,
    layer: &mut Layer,
    version: Version,
    reason: ReasonCode,
    reference: Option<&str>,
) -> io::Result<()> {
    let reference = reference.filter(|r| !r.is_empty() && reason == ReasonCode::UseAnotherServer);
    let (mut plain, mut raw) = (Vec::new(), Vec::new());
    let ack = ConnAck { server_reference: reference, ..ConnAck::of(false, reason) };
    codec::connack(&mut plain, version, &ack);
    layer.emit(&plain, &mut raw)?;
    layer.goodbye(&mut raw);
    stream.write_all(&raw).await?;
    stream.shutdown().await?;
    // Reading until the client closes keeps the answer from being lost to a reset.
    let mut rest = [0; 1024];
    for _ in 0..64 {
        if stream.read(&mut rest).await? == 0 {
            break;
        }
    }
    Ok(())
}

async fn more(stream: &mut TcpStream, layer: &mut Layer, inbox: &mut Vec<u8>) -> Result<(), Lost> {
    let mut raw = [0; 4096];
    let got = stream.read(&mut raw).await?;
    if got == 0 {
        return Err(Lost::Closed);
    }
    let mut reply = Vec::new();
    let result = layer.ingest(raw.get(..got).unwrap_or_default(), inbox, &mut reply);
    if !reply.is_empty() {
        stream.write_all(&reply).await?;
    }
    result.map_err(Lost::Io)
}

async fn become_websocket(
    stream: &mut TcpStream,
    mut layer: Layer,
    inbox: &mut Vec<u8>,
    path: &str,
    front: &Front,
) -> Result<Layer, Lost> {
    let mut waiting = None;
    loop {
        more(stream, &mut layer, inbox).await?;
        match upgrade(waiting.take(), inbox, path, front.packet_bytes as usize) {
            UpgradeStep::More(upgrade) => waiting = Some(upgrade),
            UpgradeStep::Refused(reply) => {
                let mut raw = Vec::new();
                layer.emit(&reply, &mut raw)?;
                stream.write_all(&raw).await?;
                return Err(Lost::Closed);
            }
            UpgradeStep::Done(mut socket) => {
                let (mut reply, mut raw) = (Vec::new(), Vec::new());
                socket.get_mut().take_output(&mut reply);
                layer.emit(&reply, &mut raw)?;
                stream.write_all(&raw).await?;
                inbox.clear();
                return Ok(match layer {
                    Layer::Tls(tls) => Layer::SecureWebSocket(tls, socket),
                    Layer::Plain | Layer::WebSocket(_) | Layer::SecureWebSocket(..) => {
                        Layer::WebSocket(socket)
                    }
                });
            }
        }
        inbox.clear();
    }
}

fn hand_on(accepted: Accepted, front: &Front) {
    let worker = worker_of(&accepted.request.client, front.mailboxes.len());
    if let Some(mailbox) = front.mailboxes.get(usize::from(worker)) {
        mailbox.send(Mail::Accepted(Box::new(accepted)));
    }
}
