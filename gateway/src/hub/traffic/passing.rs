//! Publications of which nothing is stored: what goes out is the packet that came in, byte by byte, but for its id.

use fanout::{LocalDelivery, LocalRoute};
use protocol::mqtt::codec::{self, Original, Sender};
use protocol::mqtt::{Publish, ReasonCode, Version};
use protocol::session::DropReason;
use protocol::{Publication, QoS};

use crate::hub::connection::Connection;
use crate::hub::traffic::route_cache::Route;
use crate::hub::{ConnId, Hub, Turn};

/// A PUBLISH as it came: checked, without RETAIN, and with nothing in it that is for this hop alone but its id.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    original: Original<'a>,
    version: Version,
}

impl<'a> Passing<'a> {
    /// What can be passed on as it came; `publish` is what was read of `packet`.
    pub(super) fn of(packet: &'a [u8], version: Version, publish: &Publish<'a>) -> Option<Self> {
        let properties = &publish.properties;
        let alone = properties.topic_alias.is_some() || properties.message_expiry_s.is_some();
        let original = Original::decoded(packet, publish);
        (!publish.retain && !alone).then_some(Self { original, version })
    }

    /// One that is made up.
    #[cfg(test)]
    pub(crate) fn sample(packet: &'a [u8], version: Version) -> Self {
        Self { original: Original::of(packet).unwrap(), version }
    }

    /// The level that it was published at.
    pub fn qos(&self) -> QoS {
        self.original.qos()
    }

    /// The same for those that cannot have it as it came.
    pub fn publication(&self) -> Option<Publication> {
        let packet = self.original.packet();
        let publish = codec::decode_publish(packet, self.version, Sender::Client).ok()?;
        let properties = &publish.properties.end_to_end;
        Some(Publication::new(publish.topic, properties, publish.payload, publish.qos, false))
    }

    /// Whether a receiver has it as it came.
    fn is_for(&self, to: &LocalDelivery, connection: &Connection) -> bool {
        to.ids.is_empty()
            && connection.named.is_none()
            && (self.version == Version::V5) == (connection.version == Version::V5)
    }
}

/// Publications for another worker, one behind the other: each the level of its version, then the packet. All of them were promised
/// to somebody, or none.
#[derive(Debug)]
pub struct Bundle {
    bytes: Vec<u8>,
    count: usize,
    promised: bool,
}

impl Bundle {
    /// Bytes from which on another bundle begins.
    const FULL_BYTES: usize = 64 * 1024;

    /// One in the memory of an empty buffer, for publications above `QoS` 0, whose publishers are told that they came, or for
    /// those at `QoS` 0.
    pub const fn within(bytes: Vec<u8>, promised: bool) -> Self {
        Self { bytes, count: 0, promised }
    }

    /// Its memory, when it was read.
    pub fn into_buffer(self) -> Vec<u8> {
        self.bytes
    }

    /// How many publications there are.
    pub const fn len(&self) -> usize {
        self.count
    }

    /// Whether there is none.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Whether they are above `QoS` 0.
    pub const fn is_promised(&self) -> bool {
        self.promised
    }

    /// Whether more should go into another one.
    pub const fn is_full(&self) -> bool {
        self.bytes.len() >= Self::FULL_BYTES
    }

    /// Adds one at the end.
    pub fn add(&mut self, passing: &Passing<'_>) {
        self.count += 1;
        self.bytes.push(passing.version.level());
        self.bytes.extend_from_slice(passing.original.packet());
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
            Some(Passing { original: Original::of(packet)?, version })
        })
    }
}

/// What became of a receiver's copy.
enum Passed {
    /// It is in its outbox, at this level.
    At(QoS),
    /// It is none of its.
    NotHere,
    Dropped(DropReason),
    /// It cannot go as it came, or not now.
    Anew,
}

impl Hub {
    /// Whether nothing of the connection whose packet comes next waits: then what nobody stores need not wait either.
    pub(crate) const fn set_straight(&mut self, straight: bool) {
        self.straight = straight;
    }

    /// Gives a publication to everyone, if those are plain subscribers of this process. Answers with the code of success if it
    /// did, as [`Self::take`].
    pub(super) fn pass(
        &mut self,
        (passing, by): (&Passing<'_>, ConnId),
        route: &Route,
        cx: &mut Turn<'_>,
    ) -> Option<ReasonCode> {
        let level = passing.qos();
        if !self.straight || !route.passes(level) {
            return None;
        }
        let all = route.fleet.workers.of(level);
        self.pass_here(passing, &route.local, Some(by), cx);
        let others = all & !(1 << self.config.worker);
        if others != 0 {
            cx.out.pass(others, passing);
        }
        let nobody = all == 0 && route.local.sessions.is_empty();
        Some(if nobody { ReasonCode::NoMatchingSubscribers } else { ReasonCode::Success })
    }

    /// What another worker passes on.
    pub fn handle_bundle(&mut self, bundle: &Bundle, cx: &mut Turn<'_>) {
        for passing in bundle.iter() {
            let route = self.cache.local(passing.original.topic(), &self.table);
            self.pass_here(&passing, &route, None, cx);
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
        let mut sent = [0; 3];
        for to in &route.sessions {
            match self.pass_to(passing, to, by, cx) {
                Passed::At(qos) => {
                    if let Some(sent) = sent.get_mut(usize::from(qos.bits())) {
                        *sent += 1;
                    }
                }
                Passed::NotHere => {}
                Passed::Dropped(reason) => self.note_drops(to.slot, reason, 1),
                Passed::Anew => {
                    if anew.is_none() {
                        self.encoder.begin();
                        anew = passing.publication();
                    }
                    if let Some(publication) = &anew {
                        self.deliver_live(to, publication, None, cx);
                    }
                }
            }
        }
        for (qos, count) in (0..).zip(sent).filter(|(_, count)| *count > 0) {
            self.metrics.count_deliveries(qos, count);
            self.metrics.packets_sent.add(count);
        }
    }

    #[inline]
    fn pass_to(
        &mut self,
        passing: &Passing<'_>,
        to: &LocalDelivery,
        by: Option<ConnId>,
        cx: &mut Turn<'_>,
    ) -> Passed {
        let live = self.sessions.get_mut(to.slot as usize).filter(|live| !live.leaving);
        let Some(live) = live else { return Passed::NotHere };
        let qos = to.qos.min(passing.qos());
        // What is stored for a session comes through its queue.
        let queued = to.durable && qos != QoS::AtMostOnce;
        if queued || (to.no_local && by == Some(live.conn)) {
            return Passed::NotHere;
        }
        let place = self.connections.get_mut(live.conn.index as usize).and_then(Option::as_mut);
        let Some(connection) = place.filter(|c| c.life == live.conn.life) else {
            return Passed::NotHere;
        };
        if !passing.is_for(to, connection) {
            return Passed::Anew;
        }
        let Some(outbox) = cx.out.outbox(live.conn) else { return Passed::NotHere };
        let id = if qos == QoS::AtMostOnce {
            if outbox.len() > self.config.outbox_bytes.min(connection.outbox_bytes()) {
                connection.congested = true;
                return Passed::Dropped(DropReason::OutboxFull);
            }
            None
        } else {
            if outbox.len() > self.config.outbox_bytes {
                return Passed::Anew;
            }
            let Some(id) = live.session.pass(qos) else { return Passed::Anew };
            Some(id)
        };
        let from = outbox.len();
        if passing.original.copy(outbox, qos, id) > connection.max_packet_bytes as usize {
            // As if it had been sent, and acknowledged [MQTT5-3.1.2-25].
            outbox.truncate(from);
            id.into_iter().for_each(|id| live.session.give_up(id));
            return Passed::Dropped(DropReason::TooLarge);
        }
        if qos == QoS::AtMostOnce {
            self.flows.count(live.conn.index, cx.now.mono);
        }
        Passed::At(qos)
    }
}

#[cfg(test)]
mod tests {
    use protocol::PacketId;
    use protocol::mqtt::codec::PublishHead;

    use super::*;

    fn encoded(version: Version, publication: &Publication, head: PublishHead<'_>) -> Vec<u8> {
        let mut packet = Vec::new();
        codec::publish(&mut packet, version, publication, &head);
        packet
    }

    fn at(qos: QoS, id: u16) -> PublishHead<'static> {
        PublishHead { qos, packet_id: PacketId::new(id), ..PublishHead::plain() }
    }

    const LEVELS: [QoS; 3] = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];

    #[test]
    fn a_bundle_gives_back_what_was_put_in() {
        let mut packets = Vec::new();
        for (version, n) in [(Version::V311, 0), (Version::V5, 1), (Version::V31, 300)] {
            for qos in [QoS::AtLeastOnce, QoS::ExactlyOnce] {
                let properties: &[u8] = if version == Version::V5 { &[1, 1] } else { &[] };
                let publication = Publication::new("a/b", properties, &vec![b'x'; n], qos, false);
                packets.push((version, encoded(version, &publication, at(qos, 7)), publication));
            }
        }
        let mut bundle = Bundle::within(Vec::new(), true);
        for (version, packet, _) in &packets {
            let publish = codec::decode_publish(packet, *version, Sender::Client).unwrap();
            bundle.add(&Passing::of(packet, *version, &publish).unwrap());
        }
        assert_eq!((bundle.len(), bundle.iter().count()), (6, 6));
        for (found, (version, packet, publication)) in bundle.iter().zip(&packets) {
            let (topic, bytes) = (found.original.topic(), found.original.packet());
            assert_eq!((topic, bytes, found.qos()), ("a/b", packet.as_slice(), publication.qos));
            assert_eq!(found.version == Version::V5, *version == Version::V5);
            assert_eq!(found.publication().as_ref(), Some(publication));
        }
    }

    #[test]
    fn a_copy_is_what_would_have_been_encoded() {
        // Around the lengths at which the length of a packet takes another byte.
        for len in (0..4).chain(110..135).chain(16_370..16_390) {
            for version in [Version::V311, Version::V5] {
                LEVELS.into_iter().for_each(|from| copies_are_right(version, from, len));
            }
        }
    }

    fn copies_are_right(version: Version, from: QoS, len: usize) {
        let publication = Publication::new("a/b", &[], &vec![b'x'; len], from, false);
        let head = PublishHead { dup: from != QoS::AtMostOnce, ..at(from, 300) };
        let packet = encoded(version, &publication, head);
        let read = codec::decode_publish(&packet, version, Sender::Client).unwrap();
        for original in [Original::of(&packet).unwrap(), Original::decoded(&packet, &read)] {
            for to in LEVELS.into_iter().filter(|to| *to <= from) {
                let mut copy = vec![b'-'];
                let id = PacketId::new(9).filter(|_| to != QoS::AtMostOnce);
                let len = original.copy(&mut copy, to, id);
                assert_eq!(copy[1..], encoded(version, &publication, at(to, 9)));
                assert_eq!((copy[0], len), (b'-', copy.len() - 1));
            }
        }
    }

    #[test]
    fn what_is_for_one_hop_alone_is_not_passed() {
        let with = |head: PublishHead<'_>| {
            let publication = Publication::new("t", &[], b"x", head.qos, head.retain);
            let packet = encoded(Version::V5, &publication, head);
            let publish = codec::decode_publish(&packet, Version::V5, Sender::Client).unwrap();
            Passing::of(&packet, Version::V5, &publish).is_some()
        };
        for qos in LEVELS {
            let plain = at(qos, 1);
            assert!(with(plain));
            assert!(!with(PublishHead { retain: true, ..plain }));
            assert!(!with(PublishHead { message_expiry_s: Some(1), ..plain }));
            assert!(!with(PublishHead { topic_alias: Some((1, true)), ..plain }));
        }
    }
}
