//! PUBLISH `[MQTT5-3.3]`: the packet that everything else is there for, so both ways are short.

use crate::{
    PacketId, Publication, QoS, Violation,
    mqtt::{Publish, PublishProperties, Version},
};

use super::{
    decode::Sender,
    frame::{kind, open},
    properties::{MessageProperties, Scan, id},
    read::Reader,
    write::{first_byte, property_user, varint, varint_len},
};

/// What one receiver's copy of a publication says beyond the publication itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PublishHead<'a> {
    /// A repeat `[MQTT5-3.3.1-1]`.
    pub dup: bool,
    /// The level of this delivery.
    pub qos: QoS,
    /// The RETAIN flag of this delivery.
    pub retain: bool,
    /// Above `QoS` 0; `None` there leaves two zero bytes to be patched.
    pub packet_id: Option<PacketId>,
    /// Identifiers of the matching subscriptions, each 1 to 268,435,455.
    pub subscription_ids: &'a [u32],
    /// Seconds that are left `[MQTT5-3.3.2-6]`.
    pub message_expiry_s: Option<u32>,
    /// The alias, and whether the topic is sent with it.
    pub topic_alias: Option<(u16, bool)>,
    /// A user property of this receiver, behind those of the publisher: name and value.
    pub user: Option<(&'a str, &'a str)>,
}

impl PublishHead<'_> {
    /// A first delivery at `QoS` 0 with nothing else.
    pub const fn plain() -> Self {
        Self {
            dup: false,
            qos: QoS::AtMostOnce,
            retain: false,
            packet_id: None,
            subscription_ids: &[],
            message_expiry_s: None,
            topic_alias: None,
            user: None,
        }
    }
}

/// Decodes one whole PUBLISH packet.
///
/// # Errors
/// A [`Violation`], also for any other packet.
pub fn decode_publish(
    packet: &[u8],
    version: Version,
    from: Sender,
) -> Result<Publish<'_>, Violation> {
    let (first, body) = open(packet)?;
    if first >> 4 != kind::PUBLISH {
        return Err(Violation::protocol("MQTT5-4.13.1-1", "packet is no publish"));
    }
    read_publish(first, body, version, from)
}

/// A PUBLISH that was decoded before, of which copies are made: as it came, but for what is each receiver's own.
#[derive(Debug, Clone, Copy)]
pub struct Original<'a> {
    packet: &'a [u8],
    topic: &'a str,
    /// Where the packet id stands, or would.
    id_at: usize,
}

impl<'a> Original<'a> {
    /// `None` if it is no PUBLISH; the rest is not looked at again.
    #[inline]
    pub fn of(packet: &'a [u8]) -> Option<Self> {
        let (first, body) = open(packet).ok().filter(|(first, _)| first >> 4 == kind::PUBLISH)?;
        let (len, rest) = body.split_first_chunk::<2>()?;
        let topic = rest.get(..usize::from(u16::from_be_bytes(*len)))?;
        let id_at = packet.len() - rest.len() + topic.len();
        let whole = first & QOS == 0 || packet.len() >= id_at + 2;
        whole.then_some(Self { packet, topic: std::str::from_utf8(topic).ok()?, id_at })
    }

    /// What was decoded as `publish`, which names its topic.
    #[inline]
    pub fn decoded(packet: &'a [u8], publish: &Publish<'a>) -> Self {
        let id = if publish.qos == QoS::AtMostOnce { 0 } else { 2 };
        // The last byte of the length is the first that says there is none behind it.
        let lengths = packet.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() + 1;
        let id_at = 1 + lengths + 2 + publish.topic.len();
        debug_assert!(packet.len() >= id_at + id, "it was decoded");
        Self { packet, topic: publish.topic, id_at }
    }

    /// Its topic.
    pub const fn topic(&self) -> &'a str {
        self.topic
    }

    /// All of it.
    pub const fn packet(&self) -> &'a [u8] {
        self.packet
    }

    /// The level that it came at.
    pub fn qos(&self) -> QoS {
        level(self.packet.first().copied().unwrap_or_default())
    }

    /// The topic with its length.
    fn named(&self) -> &'a [u8] {
        self.packet.get(self.id_at - 2 - self.topic.len()..self.id_at).unwrap_or_default()
    }

    /// What follows the packet id, or would: all receivers of its form of packets have it as it came.
    pub fn tail(&self) -> &'a [u8] {
        let id = if self.qos() == QoS::AtMostOnce { 0 } else { 2 };
        self.packet.get(self.id_at + id..).unwrap_or_default()
    }

    /// Appends what a copy has before [`Self::tail`].
    pub fn head(&self, out: &mut Vec<u8>, qos: QoS, id: Option<PacketId>) {
        let (named, id) = (self.named(), id.map(|id| id.get().to_be_bytes()));
        let id = id.as_ref().map_or(&[][..], |id| id);
        out.push(first_byte(kind::PUBLISH, qos.bits() << 1));
        varint(out, named.len() + id.len() + self.tail().len());
        out.extend_from_slice(named);
        out.extend_from_slice(id);
    }

    /// Appends a copy at a level that is not above its own, without DUP and RETAIN, and above `QoS` 0 under this id. Returns how
    /// many bytes that were.
    #[inline]
    pub fn copy(&self, out: &mut Vec<u8>, qos: QoS, id: Option<PacketId>) -> usize {
        let from = out.len();
        let first = first_byte(kind::PUBLISH, qos.bits() << 1);
        if qos == QoS::AtMostOnce && self.qos() != QoS::AtMostOnce {
            self.head(out, qos, None);
            out.extend_from_slice(self.tail());
            return out.len() - from;
        }
        out.extend_from_slice(self.packet);
        let copy = out.get_mut(from..).unwrap_or_default();
        if let Some(place) = copy.first_mut() {
            *place = first;
        }
        if let Some(id) = id
            && let Some(place) = copy.get_mut(self.id_at..self.id_at + 2)
        {
            place.copy_from_slice(&id.get().to_be_bytes());
        }
        copy.len()
    }
}

/// The bits of the level in the first byte of a PUBLISH.
const QOS: u8 = 0x06;

/// The level that the first byte of a PUBLISH says.
const fn level(first: u8) -> QoS {
    match first & QOS {
        0x00 => QoS::AtMostOnce,
        0x02 => QoS::AtLeastOnce,
        _ => QoS::ExactlyOnce,
    }
}

#[inline]
pub(super) fn read_publish(
    first: u8,
    body: &[u8],
    version: Version,
    from: Sender,
) -> Result<Publish<'_>, Violation> {
    let mut reader = Reader::new(body);
    let topic = reader.topic_name()?;
    let qos = level(first);
    let packet_id = match qos {
        QoS::AtMostOnce => None,
        QoS::AtLeastOnce | QoS::ExactlyOnce => Some(reader.packet_id()?),
    };
    let properties = match version {
        Version::V31 | Version::V311 => PublishProperties::default(),
        Version::V5 => read_properties(&mut reader, from)?,
    };
    if topic.is_empty() && properties.topic_alias.is_none() {
        return Err(Violation::protocol("MQTT5-4.7.3-1", "topic name is empty"));
    }
    let (dup, retain) = (first & 0x08 != 0, first & 0x01 != 0);
    Ok(Publish { dup, qos, retain, topic, packet_id, properties, payload: reader.rest() })
}

#[inline]
fn read_properties<'a>(
    reader: &mut Reader<'a>,
    from: Sender,
) -> Result<PublishProperties<'a>, Violation> {
    let section = reader.properties()?;
    if section.is_empty() {
        return Ok(PublishProperties::default());
    }
    let found = MessageProperties::read(section, Scan::of_publish(section))?;
    if from == Sender::Client && !found.subscription_ids.is_empty() {
        return Err(Violation::protocol(
            "MQTT5-3.3.4-6",
            "subscription identifier in a client's publish",
        ));
    }
    Ok(PublishProperties {
        topic_alias: found.topic_alias,
        message_expiry_s: found.message_expiry_s,
        payload_is_utf8: found.payload_is_utf8,
        response_topic: found.response_topic,
        subscription_ids: found.subscription_ids,
        end_to_end: found.end_to_end,
        user_count: found.user_count,
    })
}

/// Appends the PUBLISH that carries `publication` to one receiver, and returns where in the appended bytes the
/// two-byte packet id stands (0 at `QoS` 0), so that one encoding can be copied to many receivers and the id
/// patched. In 3.x properties are left out. The caller has kept [`publish_len`] within the receiver's maximum
/// packet size `[MQTT5-3.1.2-24]`.
pub fn publish(
    out: &mut Vec<u8>,
    version: Version,
    publication: &Publication,
    head: &PublishHead<'_>,
) -> usize {
    parts(version, publication, head).write(out)
}

/// Bytes that [`publish`] appends.
pub fn publish_len(version: Version, publication: &Publication, head: &PublishHead<'_>) -> usize {
    let remaining = parts(version, publication, head).remaining();
    1 + varint_len(remaining) + remaining
}

fn parts<'a>(
    version: Version,
    publication: &'a Publication,
    head: &'a PublishHead<'a>,
) -> Parts<'a> {
    let with_properties = version == Version::V5;
    let hides_topic = with_properties && matches!(head.topic_alias, Some((_, false)));
    Parts {
        head,
        topic: if hides_topic { &[] } else { publication.topic_bytes() },
        properties: with_properties.then(|| publication.properties()),
        payload: publication.payload(),
    }
}

/// A PUBLISH about to be written.
pub(super) struct Parts<'a> {
    pub(super) head: &'a PublishHead<'a>,
    pub(super) topic: &'a [u8],
    /// Wire bytes that travel end to end; `None` in 3.x.
    pub(super) properties: Option<&'a [u8]>,
    pub(super) payload: &'a [u8],
}

impl Parts<'_> {
    fn properties_len(&self) -> usize {
        let expiry = if self.head.message_expiry_s.is_some() { 5 } else { 0 };
        let alias = if self.head.topic_alias.is_some() { 3 } else { 0 };
        let ids: usize =
            self.head.subscription_ids.iter().map(|&id| 1 + varint_len(id as usize)).sum();
        let user = self.head.user.map_or(0, |(name, value)| 5 + name.len() + value.len());
        self.properties.map_or(0, |end_to_end| end_to_end.len() + expiry + alias + ids + user)
    }

    fn remaining(&self) -> usize {
        let id = if self.head.qos == QoS::AtMostOnce { 0 } else { 2 };
        let properties = match self.properties {
            None => 0,
            Some(_) => {
                let len = self.properties_len();
                varint_len(len) + len
            }
        };
        2 + self.topic.len() + id + properties + self.payload.len()
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) -> usize {
        let head = self.head;
        let start = out.len();
        let remaining = self.remaining();
        out.reserve(5 + remaining);
        let flags = u8::from(head.dup) << 3 | head.qos.bits() << 1 | u8::from(head.retain);
        out.push(first_byte(kind::PUBLISH, flags));
        varint(out, remaining);
        super::write::binary(out, self.topic);
        let mut id_at = 0;
        if head.qos != QoS::AtMostOnce {
            id_at = out.len() - start;
            out.extend_from_slice(&head.packet_id.map_or(0, PacketId::get).to_be_bytes());
        }
        if let Some(end_to_end) = self.properties {
            varint(out, self.properties_len());
            out.extend_from_slice(end_to_end);
            self.write_hop_properties(out);
        }
        out.extend_from_slice(self.payload);
        id_at
    }

    fn write_hop_properties(&self, out: &mut Vec<u8>) {
        if let Some(expiry) = self.head.message_expiry_s {
            out.push(id::MESSAGE_EXPIRY);
            out.extend_from_slice(&expiry.to_be_bytes());
        }
        for &subscription in self.head.subscription_ids {
            out.push(id::SUBSCRIPTION_ID);
            varint(out, subscription as usize);
        }
        if let Some(pair) = self.head.user {
            property_user(out, &[pair]);
        }
        if let Some((alias, _)) = self.head.topic_alias {
            out.push(id::TOPIC_ALIAS);
            out.extend_from_slice(&alias.to_be_bytes());
        }
    }
}
