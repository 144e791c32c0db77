//! A connection that notes all it sees, and acknowledges as it is told.

use std::collections::HashSet;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{Ack, Packet, Publish, ReasonCode, Version};
use protocol::{PacketId, QoS};
use tests::harness::PATIENCE;

use super::script::Habit;
use super::seen::{Message, Seen};

/// One connection of one client.
pub(crate) struct Raw {
    stream: TcpStream,
    version: Version,
    inbox: Vec<u8>,
    last_id: u16,
    /// PUBREC was sent, PUBREL has not come.
    half: HashSet<PacketId>,
    pub(crate) habit: Habit,
    /// What came since it was last asked for.
    pub(crate) seen: Vec<Seen>,
    /// The last message of the topic that marks steps.
    mark: String,
    pongs: usize,
    closed: bool,
}

impl Raw {
    /// Opens a connection, and sends nothing.
    pub(crate) fn open(place: SocketAddr, version: Version) -> Self {
        let stream = TcpStream::connect(place).expect("a broker that listens");
        stream.set_nodelay(true).expect("a socket that was just opened");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket that was just opened");
        Self {
            stream,
            version,
            inbox: Vec::new(),
            last_id: 0,
            half: HashSet::new(),
            habit: Habit::Acknowledges,
            seen: Vec::new(),
            mark: String::new(),
            pongs: 0,
            closed: false,
        }
    }

    pub(crate) const fn version(&self) -> Version {
        self.version
    }

    pub(crate) const fn is_closed(&self) -> bool {
        self.closed
    }

    /// A packet id that was not used before on this connection.
    pub(crate) fn next_id(&mut self) -> PacketId {
        self.last_id += 1;
        PacketId::new(self.last_id).expect("ids begin at 1")
    }

    /// Sends what `write` appends.
    pub(crate) fn send(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = Vec::new();
        write(&mut bytes);
        // A broker that has closed is seen by reading.
        let _ = self.stream.write_all(&bytes);
    }

    /// Reads until something has come that `is` is true of, or the end.
    pub(crate) fn until(&mut self, is: impl Fn(&Seen) -> bool) {
        let from = self.seen.len();
        while !self.closed && !self.seen.iter().skip(from).any(&is) {
            self.read();
        }
    }

    /// Reads to the end.
    pub(crate) fn until_closed(&mut self) {
        while !self.closed {
            self.read();
        }
    }

    /// Reads until this mark has come.
    pub(crate) fn until_mark(&mut self, mark: &str) {
        while !self.closed && self.mark != mark {
            self.read();
        }
    }

    /// Reads until the broker has had all that was sent, and every exchange rests.
    pub(crate) fn settle(&mut self) {
        while !self.closed && !self.half.is_empty() {
            self.read();
        }
        let before = self.pongs;
        self.send(codec::pingreq);
        while !self.closed && self.pongs == before {
            self.read();
        }
    }

    fn read(&mut self) {
        let whole = codec::frame(&self.inbox, u32::MAX).expect("a frame");
        if let Some(len) = whole {
            let bytes: Vec<u8> = self.inbox.drain(..len).collect();
            let packet = codec::decode(&bytes, self.version, codec::Sender::Server);
            self.note(packet.unwrap_or_else(|violation| panic!("{bytes:02x?}: {violation}")));
            return;
        }
        let mut more = [0; 4096];
        match self.stream.read(&mut more) {
            Ok(0) => self.close(),
            Ok(got) => self.inbox.extend_from_slice(more.get(..got).unwrap_or_default()),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                panic!("nothing came within {PATIENCE:?}; seen: {:?}", self.seen)
            }
            Err(_) => self.close(),
        }
    }

    fn close(&mut self) {
        self.closed = true;
        self.seen.push(Seen::Closed);
    }

    fn note(&mut self, packet: Packet<'_>) {
        let codes = |reasons: &[ReasonCode]| reasons.iter().map(|it| it.code()).collect();
        match packet {
            Packet::ConnAck(ack) if ack.reason.is_error() => {
                self.seen.push(Seen::Refused(ack.reason.code()));
            }
            Packet::ConnAck(ack) => {
                self.seen.push(Seen::Accepted { session_present: ack.session_present });
            }
            Packet::SubAck(ack) => self.seen.push(Seen::Granted(codes(&ack.reasons))),
            Packet::UnsubAck(ack) => self.seen.push(Seen::Unsubscribed(codes(&ack.reasons))),
            Packet::PubAck(ack) => self.seen.push(Seen::Taken(ack.reason.code())),
            Packet::PubRec(ack) => {
                self.seen.push(Seen::Taken(ack.reason.code()));
                if !ack.reason.is_error() {
                    self.acknowledge(AckKind::PubRel, ack.packet_id);
                }
            }
            Packet::PubComp(ack) => self.seen.push(Seen::Done(ack.reason.code())),
            Packet::PubRel(ack) => self.note_release(ack.packet_id),
            Packet::Publish(publish) => self.note_message(&publish),
            Packet::Disconnect(disconnect) => self.seen.push(Seen::Told(disconnect.reason.code())),
            Packet::PingResp => self.pongs += 1,
            other => panic!("a server does not send {other:?}"),
        }
    }

    fn note_release(&mut self, id: PacketId) {
        if !self.half.remove(&id) {
            // Of an exchange that an earlier connection began.
            self.seen.push(Seen::Released);
        }
        if self.habit == Habit::Acknowledges {
            self.acknowledge(AckKind::PubComp, id);
        }
    }

    fn note_message(&mut self, publish: &Publish<'_>) {
        if publish.topic.starts_with("mark/") {
            self.mark = String::from_utf8_lossy(publish.payload).into_owned();
        } else {
            self.seen.push(Seen::Message(Message::of(publish, self.version)));
        }
        match (publish.qos, publish.packet_id, self.habit) {
            (QoS::AtLeastOnce, Some(id), Habit::Acknowledges | Habit::StopsHalfway) => {
                self.acknowledge(AckKind::PubAck, id);
            }
            (QoS::ExactlyOnce, Some(id), Habit::Acknowledges | Habit::StopsHalfway) => {
                self.half.insert(id);
                self.acknowledge(AckKind::PubRec, id);
            }
            _ => {}
        }
    }

    fn acknowledge(&mut self, kind: AckKind, id: PacketId) {
        let version = self.version;
        self.send(|out| codec::ack(out, version, kind, &Ack::of(id, ReasonCode::Success)));
    }
}
