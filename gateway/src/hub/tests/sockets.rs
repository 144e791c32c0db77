//! Sockets that only remember.

use protocol::mqtt::codec::{Sender, decode, frame};
use protocol::mqtt::{Packet, Version};

use super::packets::text;
use crate::hub::{Ask, Close, ConnId, Outlet};

/// What one worker wrote, closed and asked.
#[derive(Debug, Default)]
pub(super) struct Sockets {
    places: Vec<Socket>,
    /// Not looked at yet, in order.
    pub(super) asks: Vec<Ask>,
    pub(super) resumed: Vec<ConnId>,
    /// Whose outbox was asked for since it was flushed last.
    dirty: Vec<ConnId>,
}

#[derive(Debug)]
struct Socket {
    version: Version,
    outbox: Vec<u8>,
    closed: Option<Close>,
    /// What the worker did not want yet.
    unread: Vec<u8>,
}

impl Sockets {
    pub(super) fn open(&mut self, version: Version) -> ConnId {
        let index = u32::try_from(self.places.len()).unwrap();
        self.places.push(Socket { version, outbox: Vec::new(), closed: None, unread: Vec::new() });
        ConnId { index, life: 7 }
    }

    /// Whether a flush has something to do for a connection: its outbox was asked for since the last one.
    pub(super) fn take_dirty(&mut self, conn: ConnId) -> bool {
        std::mem::take(&mut self.dirty).contains(&conn)
    }

    pub(super) fn version(&self, conn: ConnId) -> Version {
        self.places[conn.index as usize].version
    }

    pub(super) fn unread(&mut self, conn: ConnId) -> &mut Vec<u8> {
        &mut self.places[conn.index as usize].unread
    }

    /// Every packet since the last time, in words, and at last whether the connection was closed.
    pub(super) fn hear(&mut self, conn: ConnId) -> Vec<String> {
        let socket = &mut self.places[conn.index as usize];
        let bytes = std::mem::take(&mut socket.outbox);
        let mut heard = Vec::new();
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            let len = frame(rest, u32::MAX).unwrap().expect("whole packets only");
            heard.push(text(&decode(&rest[..len], socket.version, Sender::Server).unwrap()));
            rest = &rest[len..];
        }
        heard.extend(socket.closed.take().map(|_| "closed".to_owned()));
        heard
    }

    /// Whole packets that nobody has heard yet.
    pub(super) fn packets(&self, conn: ConnId) -> Vec<&[u8]> {
        let mut rest = self.places[conn.index as usize].outbox.as_slice();
        let mut packets = Vec::new();
        while !rest.is_empty() {
            let (packet, after) = rest.split_at(frame(rest, u32::MAX).unwrap().unwrap());
            packets.push(packet);
            rest = after;
        }
        packets
    }

    /// Nobody wants to hear these any more.
    pub(super) fn forget_packets(&mut self, conn: ConnId) {
        self.places[conn.index as usize].outbox.clear();
    }

    /// The reason strings of the packets that nobody has heard yet.
    pub(super) fn words(&self, conn: ConnId) -> Vec<String> {
        let packets = self.packets(conn).into_iter();
        let words = packets.filter_map(|packet| {
            match decode(packet, self.version(conn), Sender::Server).unwrap() {
                Packet::ConnAck(ack) => ack.reason_string,
                Packet::PubAck(ack)
                | Packet::PubRec(ack)
                | Packet::PubRel(ack)
                | Packet::PubComp(ack) => ack.reason_string,
                Packet::SubAck(ack) => ack.reason_string,
                Packet::UnsubAck(ack) => ack.reason_string,
                Packet::Disconnect(disconnect) => disconnect.reason_string,
                Packet::Publish(_) | Packet::PingResp => None,
                Packet::Connect(_)
                | Packet::Subscribe(_)
                | Packet::Unsubscribe(_)
                | Packet::PingReq
                | Packet::Auth(_) => panic!("a gateway never sends {packet:?}"),
            }
        });
        words.map(str::to_owned).collect()
    }

    /// How the connection was closed, if it was since the last time anyone heard it.
    pub(super) fn closed(&self, conn: ConnId) -> Option<Close> {
        self.places[conn.index as usize].closed
    }
}

impl Outlet for Sockets {
    fn outbox(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let socket = self.places.get_mut(conn.index as usize)?;
        if !self.dirty.contains(&conn) {
            self.dirty.push(conn);
        }
        Some(&mut socket.outbox)
    }

    fn close(&mut self, conn: ConnId, how: Close) {
        self.places[conn.index as usize].closed.get_or_insert(how);
    }

    fn resume(&mut self, conn: ConnId) {
        // Publications that come by another way wait in the name of a connection that there is not.
        if self.places.len() > conn.index as usize {
            self.resumed.push(conn);
        }
    }

    fn ask(&mut self, ask: Ask) {
        self.asks.push(ask);
    }
}
