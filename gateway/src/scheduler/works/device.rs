//! A client of few words that waits for each answer: what a device is made of, as far as a trial needs it.

use std::collections::VecDeque;
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use protocol::mqtt::codec::{self, AckKind, Sender};
use protocol::mqtt::{
    Ack, Connect, Disconnect, Filter, Packet, Publish, PublishProperties, ReasonCode,
    RetainHandling, Subscribe, SubscribeOptions, Unsubscribe, Version,
};
use protocol::{PacketId, QoS};

/// Bytes of the largest packet that it takes.
pub(super) const PACKET_BYTES: u32 = 65_536;
/// Publications that may have come before they are asked for; more than a trial has under way.
const ARRIVED: usize = 16;

/// What can be read from and written to.
pub(super) trait Wire: Read + Write {}

impl<T: Read + Write> Wire for T {}

/// A connection. Dropping it closes it without DISCONNECT.
pub(super) struct Device {
    wire: Box<dyn Wire>,
    /// The socket below it, for the time that it may take.
    socket: TcpStream,
    inbox: Vec<u8>,
    arrived: VecDeque<Arrived>,
    last_id: u16,
    until: Instant,
}

/// What it publishes, or expects to hear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) topic: String,
    pub(super) payload: Vec<u8>,
    pub(super) qos: QoS,
    pub(super) retain: bool,
}

/// What it was told when it was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Welcome {
    pub(super) session_present: bool,
    /// Seconds, if its session is kept for another time than it wants.
    pub(super) expiry_s: Option<u32>,
}

/// What came, and under which number.
struct Arrived {
    said: Said,
    id: Option<PacketId>,
}

/// Why something cannot be done. The gateway's fault, or the network's.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("no answer in time")]
    Silent,
    #[error("the connection is closed")]
    Closed,
    #[error("another certificate than the one that is configured")]
    Certificate,
    #[error("refused: {0:?}")]
    Refused(ReasonCode),
    #[error("another answer: {0}")]
    Other(&'static str),
}

impl Fault {
    /// For programs.
    pub(super) fn code(&self) -> String {
        match self {
            Self::Silent => "silent".to_owned(),
            Self::Closed => "closed".to_owned(),
            Self::Certificate => "other_certificate".to_owned(),
            Self::Refused(reason) => format!("refused_{:#04x}", reason.code()),
            Self::Other(_) => "other_answer".to_owned(),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        let is_late = matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut);
        // Else it was reset, or closed in the middle.
        if is_late { Self::Silent } else { Self::Closed }
    }
}

impl Device {
    /// Over a wire that is open, and the socket below it.
    pub(super) fn new(
        wire: Box<dyn Wire>,
        socket: TcpStream,
        until: Instant,
    ) -> Result<Self, Fault> {
        socket.set_nodelay(true)?;
        let (inbox, arrived) = (Vec::new(), VecDeque::new());
        Ok(Self { wire, socket, inbox, arrived, last_id: 0, until })
    }

    /// Whatever it does from now on has time until then.
    pub(super) const fn wait_until(&mut self, until: Instant) {
        self.until = until;
    }

    pub(super) fn connect(&mut self, connect: &Connect<'_>) -> Result<Welcome, Fault> {
        let mut bytes = Vec::new();
        codec::connect(&mut bytes, connect);
        self.send(&bytes)?;
        self.wait_for(|packet| {
            let Packet::ConnAck(ack) = packet else { return None };
            let (session_present, expiry_s) = (ack.session_present, ack.session_expiry_s);
            let welcome = Welcome { session_present, expiry_s };
            Some(taken(ack.reason).map(|()| welcome))
        })
    }

    /// Subscribes, and is granted the level.
    pub(super) fn subscribe(&mut self, filter: &str, qos: QoS) -> Result<(), Fault> {
        let packet_id = self.next_id()?;
        let options = SubscribeOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let filters = vec![Filter { text: filter, options }];
        let mut bytes = Vec::new();
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        codec::subscribe(&mut bytes, Version::V5, &subscribe);
        self.send(&bytes)?;
        self.wait_for(|packet| {
            let Packet::SubAck(ack) = packet else { return None };
            let reason = ack.reasons.first().copied();
            let granted = match reason.filter(|reason| reason.code() == qos.bits()) {
                Some(_) => Ok(()),
                None => Err(reason.map_or(Fault::Other("no reason code"), Fault::Refused)),
            };
            (ack.packet_id == packet_id).then_some(granted)
        })
    }

    pub(super) fn unsubscribe(&mut self, filter: &str) -> Result<(), Fault> {
        let packet_id = self.next_id()?;
        let mut bytes = Vec::new();
        let unsubscribe = Unsubscribe { packet_id, filters: vec![filter] };
        codec::unsubscribe(&mut bytes, Version::V5, &unsubscribe);
        self.send(&bytes)?;
        self.wait_for(|packet| {
            let Packet::UnsubAck(ack) = packet else { return None };
            let left = ack.reasons.iter().copied().try_for_each(taken);
            (ack.packet_id == packet_id).then_some(left)
        })
    }

    /// Publishes, and has all of the acknowledgements. It ends after so many seconds, if that is said.
    pub(super) fn publish(&mut self, said: &Said, expiry_s: Option<u32>) -> Result<(), Fault> {
        let id = match said.qos {
            QoS::AtMostOnce => None,
            QoS::AtLeastOnce | QoS::ExactlyOnce => Some(self.next_id()?),
        };
        let properties =
            PublishProperties { message_expiry_s: expiry_s, ..PublishProperties::default() };
        let publish = Publish {
            dup: false,
            qos: said.qos,
            retain: said.retain,
            topic: &said.topic,
            packet_id: id,
            properties,
            payload: &said.payload,
        };
        let mut bytes = Vec::new();
        codec::publish_client(&mut bytes, Version::V5, &publish);
        self.send(&bytes)?;
        match (said.qos, id) {
            (QoS::AtLeastOnce, Some(id)) => self.acknowledged(AckKind::PubAck, id),
            (QoS::ExactlyOnce, Some(id)) => {
                self.acknowledged(AckKind::PubRec, id)?;
                self.acknowledge(AckKind::PubRel, id)?;
                self.acknowledged(AckKind::PubComp, id)
            }
            _ => Ok(()),
        }
    }

    /// The next publication that comes is this one; it is acknowledged.
    pub(super) fn hear(&mut self, expected: &Said) -> Result<(), Fault> {
        if self.next()? == *expected { Ok(()) } else { Err(Fault::Other("another publication")) }
    }

    /// The next publications that come are these, in any order.
    pub(super) fn hear_all(&mut self, expected: &mut Vec<Said>) -> Result<(), Fault> {
        while !expected.is_empty() {
            let said = self.next()?;
            let place = expected.iter().position(|it| *it == said);
            expected.remove(place.ok_or(Fault::Other("another publication"))?);
        }
        Ok(())
    }

    /// The next publication that comes, acknowledged.
    fn next(&mut self) -> Result<Said, Fault> {
        while self.arrived.is_empty() {
            self.wait_for_one()?;
        }
        let Some(Arrived { said, id }) = self.arrived.pop_front() else {
            return Err(Fault::Silent);
        };
        match (said.qos, id) {
            (QoS::AtLeastOnce, Some(id)) => self.acknowledge(AckKind::PubAck, id)?,
            (QoS::ExactlyOnce, Some(id)) => {
                self.acknowledge(AckKind::PubRec, id)?;
                self.acknowledged(AckKind::PubRel, id)?;
                self.acknowledge(AckKind::PubComp, id)?;
            }
            _ => {}
        }
        Ok(said)
    }

    /// Says goodbye, and that its session ends after so many seconds, if that is said. Once the gateway has closed it has heard it.
    pub(super) fn disconnect(&mut self, session_expiry_s: Option<u32>) -> Result<(), Fault> {
        let reason = ReasonCode::Success;
        let (server_reference, reason_string) = (None, None);
        let goodbye = Disconnect { reason, session_expiry_s, server_reference, reason_string };
        let mut bytes = Vec::new();
        codec::disconnect(&mut bytes, Version::V5, &goodbye);
        self.send(&bytes)?;
        loop {
            match self.packet() {
                Ok(_) => {}
                Err(Fault::Closed) => return Ok(()),
                Err(other) => return Err(other),
            }
        }
    }

    fn acknowledge(&mut self, kind: AckKind, id: PacketId) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        codec::ack(&mut bytes, Version::V5, kind, &Ack::of(id, ReasonCode::Success));
        self.send(&bytes)
    }

    fn acknowledged(&mut self, kind: AckKind, id: PacketId) -> Result<(), Fault> {
        self.wait_for(|packet| match (packet, kind) {
            (Packet::PubAck(ack), AckKind::PubAck)
            | (Packet::PubRec(ack), AckKind::PubRec)
            | (Packet::PubRel(ack), AckKind::PubRel)
            | (Packet::PubComp(ack), AckKind::PubComp)
                if ack.packet_id == id =>
            {
                Some(taken(ack.reason))
            }
            _ => None,
        })
    }

    /// Waits for an answer; publications that come before it wait to be heard, and nothing else may come.
    fn wait_for<T>(
        &mut self,
        answer: impl Fn(&Packet<'_>) -> Option<Result<T, Fault>>,
    ) -> Result<T, Fault> {
        loop {
            let bytes = self.packet()?;
            let packet = decode(&bytes)?;
            if let Some(answered) = answer(&packet) {
                return answered;
            }
            self.take(&packet)?;
        }
    }

    fn wait_for_one(&mut self) -> Result<(), Fault> {
        let bytes = self.packet()?;
        self.take(&decode(&bytes)?)
    }

    /// A publication waits to be heard.
    fn take(&mut self, packet: &Packet<'_>) -> Result<(), Fault> {
        if let Packet::Disconnect(goodbye) = packet {
            return Err(Fault::Refused(goodbye.reason));
        }
        let Packet::Publish(publish) = packet else {
            return Err(Fault::Other("a packet that nobody asked for"));
        };
        if self.arrived.len() >= ARRIVED {
            return Err(Fault::Other("more than was published"));
        }
        let said = Said {
            topic: publish.topic.to_owned(),
            payload: publish.payload.to_vec(),
            qos: publish.qos,
            retain: publish.retain,
        };
        self.arrived.push_back(Arrived { said, id: publish.packet_id });
        Ok(())
    }

    fn send(&mut self, bytes: &[u8]) -> Result<(), Fault> {
        self.socket.set_write_timeout(Some(self.left()?))?;
        self.wire.write_all(bytes)?;
        Ok(self.wire.flush()?)
    }

    /// The next packet, whole.
    fn packet(&mut self) -> Result<Vec<u8>, Fault> {
        loop {
            let whole = codec::frame(&self.inbox, PACKET_BYTES);
            if let Some(len) = whole.map_err(|_| Fault::Other("no packet"))? {
                return Ok(self.inbox.drain(..len).collect());
            }
            self.socket.set_read_timeout(Some(self.left()?))?;
            let mut more = [0; 4096];
            match self.wire.read(&mut more) {
                Ok(0) => return Err(Fault::Closed),
                Ok(got) => self.inbox.extend_from_slice(more.get(..got).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn left(&self) -> Result<Duration, Fault> {
        let left = self.until.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(Fault::Silent) } else { Ok(left) }
    }

    fn next_id(&mut self) -> Result<PacketId, Fault> {
        self.last_id = self.last_id % u16::MAX + 1;
        PacketId::new(self.last_id).ok_or(Fault::Other("no packet id"))
    }
}

fn taken(reason: ReasonCode) -> Result<(), Fault> {
    if reason.is_error() { Err(Fault::Refused(reason)) } else { Ok(()) }
}

fn decode(bytes: &[u8]) -> Result<Packet<'_>, Fault> {
    let packet = codec::decode(bytes, Version::V5, Sender::Server);
    packet.map_err(|_| Fault::Other("a packet that breaks the protocol"))
}
