//! Publications at QoS 0 of which nothing is stored: what goes out is the packet that came in, byte by byte.

use fanout::LocalRoute;
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Publish, Version};
use protocol::session::DropReason;
use protocol::{Publication, QoS};

use crate::hub::traffic::route_cache::Route;
use crate::hub::{ConnId, Hub, Turn};

/// The first byte of a PUBLISH at QoS 0 without RETAIN.
const PLAIN: u8 = 0x30;

/// A PUBLISH as it came: checked, at QoS 0, without RETAIN, and with nothing in it that is for this hop alone.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    topic: &'a str,
    packet: &'a [u8],
    version: Version,
}

impl<'a> Passing<'a> {
    /// What can be passed on as it came; `publish` is what was read of `packet`.
    pub(super) fn of(packet: &'a [u8], version: Version, publish: &Publish<'a>) -> Option<Self> {
        let properties = &publish.properties;
        let alone = properties.topic_alias.is_some() || properties.message_expiry_s.is_some();
        let plain = packet.first() == Some(&PLAIN) && !alone;
        plain.then_some(Self { topic: publish.topic, packet, version })
    }

    /// One that is made up.
    #[cfg(test)]
    pub(crate) const fn sample(topic: &'a str, packet: &'a [u8], version: Version) -> Self {
        Self { topic, packet, version }
    }

    /// The same for those that cannot have it as it came.
    pub fn publication(&self) -> Option<Publication> {
        let publish = codec::decode_publish(self.packet, self.version, Sender::Client).ok()?;
        let properties = &publish.properties.end_to_end;
        Some(Publication::new(publish.topic, properties, publish.payload, QoS::AtMostOnce, false))
    }

    /// Whether a client of this version reads the same in it.
    fn is_for(&self, version: Version) -> bool {
        (self.version == Version::V5) == (version == Version::V5)
    }
}

/// Publications for another worker, one behind the other: each the level of its version, then the packet.
#[derive(Debug, Default)]
pub struct Bundle {
    bytes: Vec<u8>,
    count: usize,
}

impl Bundle {
    /// Bytes from which on another bundle begins.
    const FULL_BYTES: usize = 64 * 1024;

    /// How many publications there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether more should go into another one.
    pub const fn is_full(&self) -> bool {
        self.bytes.len() >= Self::FULL_BYTES
    }

    /// Adds one at the end.
    pub fn add(&mut self, passing: &Passing<'_>) {
        self.count += 1;
        self.bytes.push(passing.version.level());
        self.bytes.extend_from_slice(passing.packet);
    }

    /// In the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Passing<'_>> {
        let mut rest = self.bytes.as_slice();
        std::iter::from_fn(move || {
            let (level, after) = rest.split_first()?;
            let len = codec::frame(after, u32::MAX).ok().flatten()?;
            let (packet, after) = after.split_at_checked(len)?;
            rest = after;
            let version = if *level == Version::V5.level() { Version::V5 } else { Version::V311 };
            Some(Passing { topic: codec::topic_of(packet)?, packet, version })
        })
    }
}

impl Hub {
    /// Whether nothing of the connection whose packet comes next waits: then what promises nothing need not wait either.
    pub(crate) const fn set_straight(&mut self, straight: bool) {
        self.straight = straight;
    }

    /// Gives a publication to everyone, if those are plain subscribers of this process. Says whether it did.
    pub(super) fn pass(
        &mut self,
        (passing, by): (&Passing<'_>, ConnId),
        route: &Route,
        cx: &mut Turn<'_>,
    ) -> bool {
        if !self.straight || !route.passes {
            return false;
        }
        let workers = route.fleet.workers.of(QoS::AtMostOnce) & !(1 << self.config.worker);
        self.pass_here(passing, &route.local, Some(by), cx);
        if workers != 0 {
            cx.out.pass(workers, passing);
        }
        true
    }

    /// What another worker passes on.
    pub fn handle_bundle(&mut self, bundle: &Bundle, cx: &mut Turn<'_>) {
        for passing in bundle.iter() {
            let route = self.cache.get(passing.topic, &self.table, &self.tables);
            self.pass_here(&passing, &route.local, None, cx);
        }
    }

    fn pass_here(
        &mut self,
        passing: &Passing<'_>,
        route: &LocalRoute,
        by: Option<ConnId>,
        cx: &mut Turn<'_>,
    ) {
        let mut anew = None;
        let mut sent = 0;
        for to in &route.sessions {
            let live = self.sessions.get(to.slot as usize).filter(|live| !live.leaving);
            let Some(conn) = live.map(|live| live.conn) else { continue };
            if to.no_local && by == Some(conn) {
                continue;
            }
            let place = self.connections.get_mut(conn.index as usize).and_then(Option::as_mut);
            let Some(connection) = place.filter(|c| c.life == conn.life) else { continue };
            let as_it_is = to.ids.is_empty()
                && connection.named.is_none()
                && passing.is_for(connection.version);
            if !as_it_is {
                if anew.is_none() {
                    self.encoder.begin();
                    anew = passing.publication();
                }
                if let Some(publication) = &anew {
                    self.send_at_most_once(conn, publication, (false, &to.ids), cx.now, cx.out);
                }
                continue;
            }
            let Some(outbox) = cx.out.outbox(conn) else { continue };
            if outbox.len() > self.config.outbox_bytes.min(connection.outbox_bytes()) {
                connection.congested = true;
                self.note_drop_of(conn, DropReason::OutboxFull);
            } else if passing.packet.len() > connection.max_packet_bytes as usize {
                // As if it had been sent [MQTT5-3.1.2-25].
                self.note_drop_of(conn, DropReason::TooLarge);
            } else {
                outbox.extend_from_slice(passing.packet);
                self.flows.count(conn.index, cx.now.mono);
                sent += 1;
            }
        }
        if sent > 0 {
            self.metrics.count_deliveries(0, sent);
            self.metrics.packets_sent.add(sent);
        }
    }
}

#[cfg(test)]
mod tests {
    use protocol::mqtt::codec::PublishHead;

    use super::*;

    #[test]
    fn a_bundle_gives_back_what_was_put_in() {
        let mut packets = Vec::new();
        for (version, n) in [(Version::V311, 0), (Version::V5, 1), (Version::V31, 300)] {
            let properties: &[u8] = if version == Version::V5 { &[1, 1] } else { &[] };
            let publication =
                Publication::new("a/b", properties, &vec![b'x'; n], QoS::AtMostOnce, false);
            let mut packet = Vec::new();
            codec::publish(&mut packet, version, &publication, &PublishHead::plain());
            packets.push((version, packet, publication));
        }
        let mut bundle = Bundle::default();
        for (version, packet, _) in &packets {
            let publish = codec::decode_publish(packet, *version, Sender::Client).unwrap();
            bundle.add(&Passing::of(packet, *version, &publish).unwrap());
        }
        assert_eq!((bundle.len(), bundle.iter().count()), (3, 3));
        for (found, (version, packet, publication)) in bundle.iter().zip(&packets) {
            assert_eq!((found.topic, found.packet), ("a/b", packet.as_slice()));
            assert!(found.is_for(*version));
            assert_eq!(found.publication().as_ref(), Some(publication));
        }
    }

    #[test]
    fn what_is_for_one_hop_alone_is_not_passed() {
        let with = |head: PublishHead<'_>| {
            let publication = Publication::new("t", &[], b"x", head.qos, head.retain);
            let mut packet = Vec::new();
            codec::publish(&mut packet, Version::V5, &publication, &head);
            let publish = codec::decode_publish(&packet, Version::V5, Sender::Client).unwrap();
            Passing::of(&packet, Version::V5, &publish).is_some()
        };
        let plain = PublishHead::plain();
        assert!(with(plain));
        assert!(!with(PublishHead { retain: true, ..plain }));
        assert!(!with(PublishHead { message_expiry_s: Some(1), ..plain }));
        assert!(!with(PublishHead { topic_alias: Some((1, true)), ..plain }));
        let id = protocol::PacketId::new(1);
        assert!(!with(PublishHead { qos: QoS::AtLeastOnce, packet_id: id, ..plain }));
    }
}
