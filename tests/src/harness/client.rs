//! A client of few words: it sends what it is told, and shows what comes.

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::time::Duration;

use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{
    Ack, Disconnect, Filter, Packet, Publish, PublishProperties, ReasonCode, RetainHandling,
    Subscribe, SubscribeOptions, Unsubscribe, Version,
};
use protocol::{PacketId, QoS};

use super::PATIENCE;
use super::message::Message;
use super::wire::Wire;

/// One connection of a client. Dropping it closes the connection without DISCONNECT, as a crash does.
pub struct Client {
    wire: Box<dyn Wire>,
    version: Version,
    id: String,
    inbox: Vec<u8>,
    /// Packets that came while others were waited for.
    waiting: VecDeque<Frame>,
    last_id: u16,
    /// What CONNACK said about the session.
    pub session_present: bool,
    /// The user properties of CONNACK.
    pub told: Vec<(String, String)>,
}

/// One packet from the gateway.
#[derive(Clone, PartialEq, Eq)]
pub struct Frame {
    bytes: Vec<u8>,
    version: Version,
}

/// How the gateway ended a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With DISCONNECT.
    Told {
        /// Why.
        reason: ReasonCode,
        /// Where else to go.
        server_reference: Option<String>,
    },
    /// By closing, and nothing else.
    Closed,
}

/// Why no packet came.
enum Nothing {
    Closed,
    Silence,
}

impl Client {
    pub(super) fn new(mut wire: Box<dyn Wire>, version: Version, id: &str) -> Self {
        wire.set_patience(PATIENCE).expect("a socket that was just opened");
        Self {
            wire,
            version,
            id: id.to_owned(),
            inbox: Vec::new(),
            waiting: VecDeque::new(),
            last_id: 0,
            session_present: false,
            told: Vec::new(),
        }
    }

    pub(super) fn rename(&mut self, id: &str) {
        id.clone_into(&mut self.id);
    }

    /// Its client id, also one that the gateway made up.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Subscribes and waits for SUBACK, which must grant the level.
    pub fn subscribe(&mut self, filter: &str, qos: QoS) {
        let reasons = self.try_subscribe(filter, qos);
        assert_eq!(reasons.iter().map(|r| r.code()).collect::<Vec<_>>(), [qos.bits()], "{filter}");
    }

    /// Subscribes and answers what SUBACK says.
    pub fn try_subscribe(&mut self, filter: &str, qos: QoS) -> Vec<ReasonCode> {
        let options = SubscribeOptions {
            qos,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        self.subscribe_with(&[Filter { text: filter, options }], None)
    }

    /// Subscribes in every detail and answers what SUBACK says.
    pub fn subscribe_with(
        &mut self,
        filters: &[Filter<'_>],
        subscription_id: Option<u32>,
    ) -> Vec<ReasonCode> {
        let packet_id = self.next_id();
        let mut bytes = Vec::new();
        let subscribe = Subscribe { packet_id, subscription_id, filters: filters.to_vec() };
        codec::subscribe(&mut bytes, self.version, &subscribe);
        self.send(&bytes);
        self.wait_for("SUBACK", |packet| match packet {
            Packet::SubAck(ack) if ack.packet_id == packet_id => Some(ack.reasons.clone()),
            _ => None,
        })
    }

    /// Unsubscribes and waits for UNSUBACK; answers its codes.
    pub fn unsubscribe(&mut self, filter: &str) -> Vec<ReasonCode> {
        let packet_id = self.next_id();
        let mut bytes = Vec::new();
        codec::unsubscribe(
            &mut bytes,
            self.version,
            &Unsubscribe { packet_id, filters: vec![filter] },
        );
        self.send(&bytes);
        self.wait_for("UNSUBACK", |packet| match packet {
            Packet::UnsubAck(ack) if ack.packet_id == packet_id => Some(ack.reasons.clone()),
            _ => None,
        })
    }

    /// Publishes and waits until it is acknowledged, all steps of it.
    pub fn publish(&mut self, topic: &str, text: &str, qos: QoS) {
        let id = self.start_publish(topic, text, qos);
        self.finish_publish(id, qos);
    }

    /// Publishes a retained message and waits until it is acknowledged.
    pub fn publish_retained(&mut self, topic: &str, text: &str, qos: QoS) {
        let id = (qos != QoS::AtMostOnce).then(|| self.next_id());
        self.send_whole(&Publish { retain: true, ..whole(topic, text, qos, id) });
        self.finish_publish(id, qos);
    }

    /// Publishes and does not wait; answers the packet id.
    pub fn start_publish(&mut self, topic: &str, text: &str, qos: QoS) -> Option<PacketId> {
        let id = (qos != QoS::AtMostOnce).then(|| self.next_id());
        self.send_whole(&whole(topic, text, qos, id));
        id
    }

    /// Publishes to a gateway that may have closed; answers the packet id, none if it has.
    pub fn try_start_publish(&mut self, topic: &str, text: &str, qos: QoS) -> Option<PacketId> {
        let packet_id = self.next_id();
        let publish = whole(topic, text, qos, Some(packet_id));
        let mut bytes = Vec::new();
        codec::publish_client(&mut bytes, self.version, &publish);
        self.try_send(&bytes).ok().map(|()| packet_id)
    }

    /// Publishes under a packet id that is known already, with DUP.
    pub fn repeat_publish(&mut self, topic: &str, text: &str, qos: QoS, id: PacketId) {
        self.send_whole(&Publish { dup: true, ..whole(topic, text, qos, Some(id)) });
    }

    /// Publishes under a packet id of the test's choice and waits for all steps of `QoS` 2.
    pub fn publish_under(&mut self, id: PacketId, topic: &str, text: &str) {
        self.send_whole(&whole(topic, text, QoS::ExactlyOnce, Some(id)));
        self.finish_publish(Some(id), QoS::ExactlyOnce);
    }

    /// Waits until a publication is acknowledged, all steps of it.
    pub fn finish_publish(&mut self, id: Option<PacketId>, qos: QoS) {
        match (qos, id) {
            (QoS::AtLeastOnce, Some(id)) => self.acknowledged(AckKind::PubAck, id),
            (QoS::ExactlyOnce, Some(id)) => {
                self.acknowledged(AckKind::PubRec, id);
                self.acknowledge(AckKind::PubRel, id);
                self.acknowledged(AckKind::PubComp, id);
            }
            _ => {}
        }
    }

    /// Waits for an acknowledgement, which must be a success.
    pub fn acknowledged(&mut self, kind: AckKind, id: PacketId) {
        let reason = self.answer_to(kind, id);
        assert!(!reason.is_error(), "{}: {kind:?} of {id:?} says {reason:?}", self.id);
    }

    /// Waits for an acknowledgement and answers its reason.
    pub fn answer_to(&mut self, kind: AckKind, id: PacketId) -> ReasonCode {
        self.wait_for(&format!("{kind:?} of {id:?}"), |packet| match (packet, kind) {
            (Packet::PubAck(ack), AckKind::PubAck)
            | (Packet::PubRec(ack), AckKind::PubRec)
            | (Packet::PubRel(ack), AckKind::PubRel)
            | (Packet::PubComp(ack), AckKind::PubComp) => {
                (ack.packet_id == id).then_some(ack.reason)
            }
            _ => None,
        })
    }

    /// Sends an acknowledgement.
    pub fn acknowledge(&mut self, kind: AckKind, id: PacketId) {
        let mut bytes = Vec::new();
        codec::ack(&mut bytes, self.version, kind, &Ack::of(id, ReasonCode::Success));
        self.send(&bytes);
    }

    /// The next message, acknowledged with all its steps.
    pub fn receive(&mut self) -> Message {
        let message = self.receive_only();
        self.acknowledge_message(&message);
        message
    }

    /// The next message, not acknowledged.
    pub fn receive_only(&mut self) -> Message {
        self.wait_for("a PUBLISH", |packet| match packet {
            Packet::Publish(publish) => Some(Message::of(publish)),
            _ => None,
        })
    }

    /// Does all the steps that a message of its level asks for.
    pub fn acknowledge_message(&mut self, message: &Message) {
        match (message.qos, message.packet_id) {
            (QoS::AtLeastOnce, Some(id)) => self.acknowledge(AckKind::PubAck, id),
            (QoS::ExactlyOnce, Some(id)) => {
                self.acknowledge(AckKind::PubRec, id);
                self.acknowledged(AckKind::PubRel, id);
                self.acknowledge(AckKind::PubComp, id);
            }
            _ => {}
        }
    }

    /// Receives and acknowledges up to and with the message `last`; answers the texts.
    pub fn receive_until(&mut self, last: &str) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.last().is_none_or(|text| text != last) {
            texts.push(self.receive().text);
        }
        texts
    }

    /// Sends PINGREQ and waits for PINGRESP: everything sent before is processed.
    pub fn ping(&mut self) {
        let mut bytes = Vec::new();
        codec::pingreq(&mut bytes);
        self.send(&bytes);
        self.wait_for("PINGRESP", |packet| matches!(packet, Packet::PingResp).then_some(()));
    }

    /// Says goodbye with DISCONNECT and waits until the gateway has closed.
    pub fn disconnect(mut self) {
        self.send_disconnect(ReasonCode::Success);
        while self.next_or_end().is_some() {}
    }

    /// Sends DISCONNECT.
    pub fn send_disconnect(&mut self, reason: ReasonCode) {
        let mut bytes = Vec::new();
        codec::disconnect(&mut bytes, self.version, &Disconnect::of(reason));
        self.send(&bytes);
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        self.try_send(bytes).unwrap_or_else(|error| panic!("{} cannot send: {error}", self.id));
    }

    /// Sends bytes as they are, to a gateway that may be gone.
    ///
    /// # Errors
    /// The connection is closed.
    pub fn try_send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.wire.write_all(bytes)?;
        self.wire.flush()
    }

    /// Ends the sending side only.
    pub fn finish(&mut self) {
        self.wire.finish().expect("an open socket");
    }

    /// The next packet, whatever it is.
    pub fn next_frame(&mut self) -> Frame {
        let id = self.id.clone();
        self.next_or_end().unwrap_or_else(|| panic!("{id}: the gateway closed"))
    }

    /// The next packet, or none if the gateway closes.
    pub fn next_or_end(&mut self) -> Option<Frame> {
        if let Some(frame) = self.waiting.pop_front() {
            return Some(frame);
        }
        match self.read() {
            Ok(frame) => Some(frame),
            Err(Nothing::Closed) => None,
            Err(Nothing::Silence) => panic!("{}: nothing came within {PATIENCE:?}", self.id),
        }
    }

    /// A packet if one comes soon; for traffic whose end is told by something else.
    pub fn next_within(&mut self, patience: Duration) -> Option<Frame> {
        if let Some(frame) = self.waiting.pop_front() {
            return Some(frame);
        }
        self.wire.set_patience(patience).ok()?;
        let frame = self.read().ok();
        self.wire.set_patience(PATIENCE).ok()?;
        frame
    }

    /// Waits until the gateway ends the connection; answers how. Messages that come before are passed over.
    pub fn ended(&mut self) -> Ended {
        let mut told = Ended::Closed;
        while let Some(frame) = self.next_or_end() {
            assert_eq!(told, Ended::Closed, "{}: something follows DISCONNECT", self.id);
            match frame.packet() {
                Packet::Disconnect(disconnect) => {
                    assert_eq!(self.version, Version::V5, "3.1.1 has no DISCONNECT from a server");
                    told = Ended::Told {
                        reason: disconnect.reason,
                        server_reference: disconnect.server_reference.map(str::to_owned),
                    };
                }
                Packet::Publish(_) | Packet::PubRel(_) => {}
                other => panic!("{}: {other:?} instead of the end", self.id),
            }
        }
        told
    }

    /// Waits until the gateway ends the connection; answers the reason it gave, if any.
    pub fn end_reason(&mut self) -> Option<ReasonCode> {
        match self.ended() {
            Ended::Told { reason, .. } => Some(reason),
            Ended::Closed => None,
        }
    }

    /// Waits for a packet that `wanted` finds something in; others wait for whoever asks for them. A DISCONNECT or the end
    /// of the connection is a failure.
    pub fn wait_for<T>(
        &mut self,
        what: &str,
        mut wanted: impl FnMut(&Packet<'_>) -> Option<T>,
    ) -> T {
        for at in 0..self.waiting.len() {
            let found = self.waiting.get(at).and_then(|frame| wanted(&frame.packet()));
            if let Some(found) = found {
                self.waiting.remove(at);
                return found;
            }
        }
        loop {
            let frame = match self.read() {
                Ok(frame) => frame,
                Err(Nothing::Closed) => panic!("{}: closed while waiting for {what}", self.id),
                Err(Nothing::Silence) => panic!("{}: no {what} within {PATIENCE:?}", self.id),
            };
            let packet = frame.packet();
            if let Some(found) = wanted(&packet) {
                return found;
            }
            assert!(
                !matches!(packet, Packet::Disconnect(_)),
                "{}: {packet:?} while waiting for {what}",
                self.id
            );
            self.waiting.push_back(frame);
        }
    }

    /// Sends a PUBLISH in every detail.
    pub fn send_whole(&mut self, publish: &Publish<'_>) {
        let mut bytes = Vec::new();
        codec::publish_client(&mut bytes, self.version, publish);
        self.send(&bytes);
    }

    /// A packet id that was not used before on this connection.
    pub fn next_id(&mut self) -> PacketId {
        self.last_id = self.last_id % u16::MAX + 1;
        PacketId::new(self.last_id).expect("ids begin at 1")
    }

    fn read(&mut self) -> Result<Frame, Nothing> {
        loop {
            let whole = codec::frame(&self.inbox, u32::MAX)
                .unwrap_or_else(|violation| panic!("{}: the gateway sent {violation}", self.id));
            if let Some(len) = whole {
                let bytes = self.inbox.drain(..len).collect();
                return Ok(Frame::new(bytes, self.version, &self.id));
            }
            let mut more = [0; 4096];
            match self.wire.read(&mut more) {
                Ok(0) => return Err(Nothing::Closed),
                Ok(got) => self.inbox.extend_from_slice(more.get(..got).unwrap_or_default()),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                        return Err(Nothing::Silence);
                    }
                    io::ErrorKind::Interrupted => {}
                    // Reset, or closed in the middle: the gateway is gone.
                    _ => return Err(Nothing::Closed),
                },
            }
        }
    }
}

/// A plain PUBLISH.
fn whole<'a>(topic: &'a str, text: &'a str, qos: QoS, packet_id: Option<PacketId>) -> Publish<'a> {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic,
        packet_id,
        properties: PublishProperties::default(),
        payload: text.as_bytes(),
    }
}

impl Frame {
    fn new(bytes: Vec<u8>, version: Version, of: &str) -> Self {
        if let Err(violation) = codec::decode(&bytes, version, codec::Sender::Server) {
            panic!("{of}: the gateway sent {bytes:02x?}: {violation}");
        }
        Self { bytes, version }
    }

    /// What it says.
    pub fn packet(&self) -> Packet<'_> {
        codec::decode(&self.bytes, self.version, codec::Sender::Server)
            .expect("checked when it came")
    }

    /// As it travelled.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client")
            .field("id", &self.id)
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.packet().fmt(f)
    }
}
