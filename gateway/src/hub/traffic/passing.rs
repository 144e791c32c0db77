//! Publications of which nothing is stored: what goes out is the packet that came in, byte by byte, but for its id.

use bytes::Bytes;
use fanout::{LocalDelivery, LocalRoute};
use protocol::mqtt::codec::{self, Original, Sender};
use protocol::mqtt::{Publish, ReasonCode, Version};
use protocol::session::DropReason;
use protocol::{PacketId, Publication, QoS};

use crate::hub::connection::Connection;
use crate::hub::traffic::route_cache::Route;
use crate::hub::{ConnId, Hub, Turn};

/// A publication whose packet has as many bytes is not copied: whoever gets it holds the memory in which it came.
pub(crate) const HELD_BYTES: usize = 16 * 1024;

/// A PUBLISH as it came: checked, without RETAIN, and with nothing in it that is for this hop alone but its id.
#[derive(Debug, Clone, Copy)]
pub struct Passing<'a> {
    original: Original<'a>,
    version: Version,
    /// The packet in memory that can be held, if it is large.
    memory: Option<&'a Bytes>,
}

impl<'a> Passing<'a> {
    /// What can be passed on as it came; `publish` is what was read of `packet`.
    pub(super) fn of(packet: &'a [u8], version: Version, publish: &Publish<'a>) -> Option<Self> {
        let properties = &publish.properties;
        let alone = properties.topic_alias.is_some() || properties.message_expiry_s.is_some();
        let original = Original::decoded(packet, publish);
        (!publish.retain && !alone).then_some(Self { original, version, memory: None })
    }

    /// The same in memory that can be held.
    fn held_in<'b>(&self, memory: &'b Bytes) -> Option<Passing<'b>> {
        let original = Original::of(memory)?;
        Some(Passing { original, version: self.version, memory: Some(memory) })
    }

    /// One that is made up.
    #[cfg(test)]
    pub(crate) fn sample(packet: &'a [u8], version: Version) -> Self {
        Self { original: Original::of(packet).unwrap(), version, memory: None }
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

    /// Appends a copy; of a large one its beginning, the rest being memory to hold behind it. Answers the bytes of both.
    fn write(
        &self,
        outbox: &mut Vec<u8>,
        (qos, id): (QoS, Option<PacketId>),
    ) -> (usize, Option<Bytes>) {
        let Some(memory) = self.memory else {
            return (self.original.copy(outbox, qos, id), None);
        };
        let (from, tail) = (outbox.len(), self.original.tail());
        self.original.head(outbox, qos, id);
        (outbox.len() - from + tail.len(), Some(memory.slice_ref(tail)))
    }

    /// Whether a receiver has it as it came.
    fn is_for(&self, to: &LocalDelivery, connection: &Connection) -> bool {
        to.ids.is_empty()
            && connection.named.is_none()
            && (self.version == Version::V5) == (connection.version == Version::V5)
    }
}

/// Publications for another worker. All of them were promised to somebody, or none.
#[derive(Debug)]
pub struct Bundle {
    packets: Packets,
    count: usize,
    promised: bool,
}

#[derive(Debug)]
enum Packets {
    /// One behind the other: each the level of its version, then the packet.
    Copied(Vec<u8>),
    /// A large one, which has a bundle for itself.
    Held(Version, Bytes),
}

impl Bundle {
    /// Bytes from which on another bundle begins.
    const FULL_BYTES: usize = 64 * 1024;

    /// One in the memory of an empty buffer, for publications above `QoS` 0, whose publishers are told that they came, or for
    /// those at `QoS` 0.
    pub const fn within(bytes: Vec<u8>, promised: bool) -> Self {
        Self { packets: Packets::Copied(bytes), count: 0, promised }
    }

    /// One with a large publication, if it is one.
    pub fn of_large(passing: &Passing<'_>) -> Option<Self> {
        let packets = Packets::Held(passing.version, passing.memory?.clone());
        Some(Self { packets, count: 1, promised: passing.qos() != QoS::AtMostOnce })
    }

    /// Its memory, when it was read; nothing if others hold it.
    pub fn into_buffer(self) -> Vec<u8> {
        match self.packets {
            Packets::Copied(bytes) => bytes,
            Packets::Held(_, packet) if packet.is_unique() => packet.into(),
            Packets::Held(..) => Vec::new(),
        }
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
        match &self.packets {
            Packets::Copied(bytes) => bytes.len() >= Self::FULL_BYTES,
            Packets::Held(..) => true,
        }
    }

    /// Adds one at the end, if there is no large one in it. Answers whether it did.
    pub fn add(&mut self, passing: &Passing<'_>) -> bool {
        let Packets::Copied(bytes) = &mut self.packets else { return false };
        self.count += 1;
        bytes.push(passing.version.level());
        bytes.extend_from_slice(passing.original.packet());
        true
    }

    /// In the order in which they were added.
    pub fn iter(&self) -> impl Iterator<Item = Passing<'_>> {
        let (mut rest, mut large) = match &self.packets {
            Packets::Copied(bytes) => (bytes.as_slice(), None),
            Packets::Held(version, packet) => (&[][..], Some((*version, packet))),
        };
        std::iter::from_fn(move || {
            if let Some((version, packet)) = large.take() {
                let original = Original::of(packet)?;
                return Some(Passing { original, version, memory: Some(packet) });
            }
            let (level, after) = rest.split_first()?;
            let len = codec::frame(after, u32::MAX).ok().flatten()?;
            let (packet, after) = after.split_at_checked(len)?;
            rest = after;
            let version = if *level == Version::V5.level() { Version::V5 } else { Version::V311 };
            Some(Passing { original: Original::of(packet)?, version, memory: None })
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
        let nobody = all == 0 && route.local.sessions.is_empty();
        let packet = passing.original.packet();
        let is_large = packet.len() >= HELD_BYTES && !nobody;
        let memory = is_large.then(|| cx.out.keep(packet));
        let held = memory.as_ref().and_then(|memory| passing.held_in(memory));
        let passing = held.as_ref().unwrap_or(passing);
        self.pass_here(passing, &route.local, Some(by), cx);
        let others = all & !(1 << self.config.worker);
        if others != 0 {
            cx.out.pass(others, passing);
        }
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
        let Some((outbox, waiting)) = cx.out.outbox_and_waiting(live.conn) else {
            return Passed::NotHere;
        };
        let id = if qos == QoS::AtMostOnce {
            if waiting > self.config.outbox_bytes.min(connection.outbox_bytes()) {
                connection.congested = true;
                return Passed::Dropped(DropReason::OutboxFull);
            }
            None
        } else {
            if waiting > self.config.outbox_bytes {
                return Passed::Anew;
            }
            let Some(id) = live.session.pass(qos) else { return Passed::Anew };
            Some(id)
        };
        let from = outbox.len();
        let (len, held) = passing.write(outbox, (qos, id));
        if len > connection.max_packet_bytes as usize {
            // As if it had been sent, and acknowledged [MQTT5-3.1.2-25].
            outbox.truncate(from);
            id.into_iter().for_each(|id| live.session.give_up(id));
            return Passed::Dropped(DropReason::TooLarge);
        }
        if let Some(memory) = held {
            cx.out.hold(live.conn, memory);
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
            assert!(bundle.add(&Passing::of(packet, *version, &publish).unwrap()));
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
    fn a_large_packet_has_a_bundle_for_itself_and_its_memory_is_given_on_by_whoever_had_it_last() {
        let publication = Publication::new("a/b", &[], b"x", QoS::AtLeastOnce, false);
        let memory = Bytes::from(encoded(Version::V311, &publication, at(QoS::AtLeastOnce, 7)));
        let passing = Passing::sample(&memory, Version::V311);
        assert!(Bundle::of_large(&passing).is_none(), "nothing holds it");
        let held = passing.held_in(&memory).unwrap();
        let bundles = [0; 2].map(|_| Bundle::of_large(&held).unwrap());
        for mut bundle in bundles {
            assert_eq!((bundle.len(), bundle.is_promised(), bundle.is_full()), (1, true, true));
            assert!(!bundle.add(&passing), "nothing goes in beside it");
            let found: Vec<_> = bundle.iter().collect();
            assert_eq!(found.len(), 1);
            assert_eq!(found[0].memory, Some(&memory), "not a copy");
            assert_eq!(found[0].publication(), Some(publication.clone()));
            assert!(bundle.into_buffer().is_empty(), "others hold it");
        }
        let last = Bundle::of_large(&held).unwrap();
        let len = memory.len();
        drop(memory);
        assert_eq!(last.into_buffer().len(), len);
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
                let mut parts = vec![b'-'];
                original.head(&mut parts, to, id);
                parts.extend_from_slice(original.tail());
                assert_eq!(parts, copy);
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
