//! The connection of a client that has to do with shadows: plain TCP, MQTT 3.1.1.

use std::io;

use bytes::{Bytes, BytesMut};
use protocol::mqtt::codec::{self, AckKind, Sender};
use protocol::mqtt::{
    Ack, Connect, ConnectProperties, Filter, Packet, Publish, PublishProperties, ReasonCode,
    RetainHandling, Subscribe, SubscribeOptions, Version,
};
use protocol::{PacketId, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::Address;
use crate::shadow_load::{PATIENCE, ShadowError};
use crate::shadow_travels::Published;

/// No broker sends more to us.
const MAX_PACKET_BYTES: u32 = 4 << 20;

/// What a broker says, as far as it matters.
pub(crate) enum Word {
    Welcome(bool),
    Subscribed(bool),
    Published { accepted: bool, version: u64, id: Option<PacketId> },
    Other,
}

/// A plain connection.
pub(crate) struct Link {
    stream: TcpStream,
    inbox: BytesMut,
    outbox: Vec<u8>,
}

impl Link {
    pub(crate) async fn open(broker: &Address, client_id: &str) -> Result<Self, ShadowError> {
        let dialled = TcpStream::connect((broker.host(), broker.port()));
        let stream = timeout(PATIENCE, dialled).await.map_err(io::Error::from)??;
        stream.set_nodelay(true)?;
        let mut link = Self { stream, inbox: BytesMut::new(), outbox: Vec::new() };
        let connect = Connect {
            version: Version::V311,
            clean_start: true,
            keep_alive_s: 0,
            client_id,
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties::default(),
        };
        codec::connect(&mut link.outbox, &connect);
        link.flush().await?;
        if matches!(link.hear().await?, Word::Welcome(true)) {
            Ok(link)
        } else {
            Err(ShadowError::Refused("a connection"))
        }
    }

    pub(crate) async fn subscribe(&mut self, filters: &[&str]) -> Result<(), ShadowError> {
        let options = SubscribeOptions {
            qos: QoS::AtLeastOnce,
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        let filters = filters.iter().map(|text| Filter { text, options }).collect();
        let Some(packet_id) = PacketId::new(1) else { return Ok(()) };
        let subscribe = Subscribe { packet_id, subscription_id: None, filters };
        codec::subscribe(&mut self.outbox, Version::V311, &subscribe);
        self.flush().await?;
        loop {
            match self.hear().await? {
                Word::Subscribed(true) => return Ok(()),
                Word::Subscribed(false) => return Err(ShadowError::Refused("a subscription")),
                Word::Welcome(_) | Word::Published { .. } | Word::Other => {}
            }
        }
    }

    pub(crate) fn publish(&mut self, topic: &str, payload: &str, number: u64) {
        // Never as many at once as there are numbers.
        let id = u16::try_from(number % 60_000 + 1).ok().and_then(PacketId::new);
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic,
            packet_id: id,
            properties: PublishProperties::default(),
            payload: payload.as_bytes(),
        };
        codec::publish_client(&mut self.outbox, Version::V311, &publish);
    }

    pub(crate) fn acknowledge(&mut self, id: Option<PacketId>) {
        if let Some(id) = id {
            let ack = Ack::of(id, ReasonCode::Success);
            codec::ack(&mut self.outbox, Version::V311, AckKind::PubAck, &ack);
        }
    }

    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.outbox).await?;
        self.outbox.clear();
        Ok(())
    }

    /// The next packet. May be given up while it waits.
    pub(crate) async fn hear(&mut self) -> Result<Word, ShadowError> {
        let bytes = self.packet().await?;
        let packet = codec::decode(&bytes, Version::V311, Sender::Server);
        Ok(word_of(&packet.map_err(ShadowError::Broke)?))
    }

    /// What the next packet publishes, which is acknowledged with what is sent next; none if it is another packet. May be given up
    /// while it waits.
    pub(crate) async fn publication(&mut self) -> Result<Option<Published>, ShadowError> {
        let bytes = self.packet().await?;
        let packet = codec::decode(&bytes, Version::V311, Sender::Server);
        let Packet::Publish(publish) = packet.map_err(ShadowError::Broke)? else { return Ok(None) };
        let heard = (publish.topic.to_owned(), Bytes::copy_from_slice(publish.payload));
        self.acknowledge(publish.packet_id);
        Ok(Some(heard))
    }

    async fn packet(&mut self) -> Result<BytesMut, ShadowError> {
        loop {
            let len = codec::frame(&self.inbox, MAX_PACKET_BYTES).map_err(ShadowError::Broke)?;
            if let Some(len) = len {
                return Ok(self.inbox.split_to(len));
            }
            self.inbox.reserve(64 << 10);
            if self.stream.read_buf(&mut self.inbox).await? == 0 {
                return Err(ShadowError::Closed);
            }
        }
    }
}

fn word_of(packet: &Packet<'_>) -> Word {
    match packet {
        Packet::ConnAck(ack) => Word::Welcome(ack.reason == ReasonCode::Success),
        Packet::SubAck(ack) => Word::Subscribed(!ack.reasons.iter().any(|it| it.is_error())),
        Packet::Publish(publish) => Word::Published {
            accepted: !publish.topic.ends_with("/rejected"),
            version: version_in(publish.payload).unwrap_or_default(),
            id: publish.packet_id,
        },
        Packet::Connect(_)
        | Packet::PubAck(_)
        | Packet::PubRec(_)
        | Packet::PubRel(_)
        | Packet::PubComp(_)
        | Packet::Subscribe(_)
        | Packet::Unsubscribe(_)
        | Packet::UnsubAck(_)
        | Packet::PingReq
        | Packet::PingResp
        | Packet::Disconnect(_)
        | Packet::Auth(_) => Word::Other,
    }
}

/// The version that a message about a shadow names, near its end.
fn version_in(payload: &[u8]) -> Option<u64> {
    let (_, rest) = std::str::from_utf8(payload).ok()?.rsplit_once("\"version\":")?;
    rest.split(|letter: char| !letter.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_is_found_whatever_stands_before_it() {
        let message = br#"{"state":{"version":7},"version":12,"timestamp":3}"#;
        assert_eq!(version_in(message), Some(12));
        assert_eq!(version_in(b"{}"), None);
        assert_eq!(version_in(b"\xff"), None);
    }
}
