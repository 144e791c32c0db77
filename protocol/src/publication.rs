//! An application message on its way, in one shared allocation.

use bytes::{Bytes, BytesMut};

use crate::{QoS, Wall};

/// An application message: topic, MQTT 5 properties and payload behind one handle, so that cloning costs one
/// counter and encoding for any receiver copies from one place.
///
/// The properties are the wire bytes of an MQTT 5 PUBLISH without those that belong to one hop: topic alias,
/// subscription identifiers and message expiry (kept as [`Self::expires_at`]).
#[derive(Clone, PartialEq, Eq)]
pub struct Publication {
    bytes: Bytes,
    topic_len: u16,
    properties_len: u32,
    /// The level the publisher used.
    pub qos: QoS,
    /// The publisher's RETAIN flag.
    pub retain: bool,
    /// When it is no longer worth delivering `[MQTT5-3.3.2-5]`.
    pub expires_at: Option<Wall>,
}

/// Length of the fixed part of the stored form, in bytes.
const HEAD: usize = 16;
/// What the stored form of a message begins with that says since when it stands; no level has these bits.
const SINCE: u8 = 0xff;

impl Publication {
    /// Copies the parts into one allocation. `topic` must be a checked topic name (at most 65,535 bytes) and
    /// `properties` checked wire bytes.
    pub fn new(topic: &str, properties: &[u8], payload: &[u8], qos: QoS, retain: bool) -> Self {
        let mut bytes = Vec::with_capacity(topic.len() + properties.len() + payload.len());
        bytes.extend_from_slice(topic.as_bytes());
        bytes.extend_from_slice(properties);
        bytes.extend_from_slice(payload);
        Self::of(bytes.into(), (topic, properties), qos, retain)
    }

    /// The same at `QoS` 0 and not retained, in room that is used again and again: for what is given to everybody at once and
    /// kept by nobody, because one that is kept keeps all of the room.
    pub fn passing(bodies: &mut Bodies, topic: &str, properties: &[u8], payload: &[u8]) -> Self {
        let len = topic.len() + properties.len() + payload.len();
        if len > Bodies::MOST_BYTES {
            return Self::new(topic, properties, payload, QoS::AtMostOnce, false);
        }
        let bytes = bodies.take(len, [topic.as_bytes(), properties, payload]);
        Self::of(bytes, (topic, properties), QoS::AtMostOnce, false)
    }

    fn of(bytes: Bytes, (topic, properties): (&str, &[u8]), qos: QoS, retain: bool) -> Self {
        Self {
            bytes,
            topic_len: u16::try_from(topic.len()).unwrap_or(u16::MAX),
            properties_len: u32::try_from(properties.len()).unwrap_or(u32::MAX),
            qos,
            retain,
            expires_at: None,
        }
    }

    /// The topic name.
    pub fn topic(&self) -> &str {
        self.bytes
            .get(..usize::from(self.topic_len))
            .and_then(|b| std::str::from_utf8(b).ok())
            .unwrap_or_default()
    }

    /// The topic name as it stands on the wire: nobody has to look at it again.
    pub fn topic_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.topic_len)).unwrap_or_default()
    }

    /// The properties that travel end to end, as MQTT 5 wire bytes without their length.
    pub fn properties(&self) -> &[u8] {
        let start = usize::from(self.topic_len);
        self.bytes.get(start..start + self.properties_len as usize).unwrap_or_default()
    }

    /// The application's bytes.
    pub fn payload(&self) -> &[u8] {
        let start = usize::from(self.topic_len) + self.properties_len as usize;
        self.bytes.get(start..).unwrap_or_default()
    }

    /// Bytes of topic, properties and payload together.
    pub fn len_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Appends the form that is stored and sent between gateways; [`Self::decode`] reads it back.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.qos.bits() | (u8::from(self.retain) << 2));
        out.push(0);
        out.extend_from_slice(&self.topic_len.to_be_bytes());
        out.extend_from_slice(&self.properties_len.to_be_bytes());
        out.extend_from_slice(&self.expires_at.map_or(0, |w| w.0).to_be_bytes());
        out.extend_from_slice(&self.bytes);
    }

    /// The form in which a retained message is stored, which says since when it stands; [`Self::decode_since`] reads it back.
    pub fn encode_since(&self, since: Wall) -> Bytes {
        let mut out = Vec::with_capacity(1 + size_of::<u64>() + self.encoded_len());
        out.push(SINCE);
        out.extend_from_slice(&since.0.to_be_bytes());
        self.encode(&mut out);
        out.into()
    }

    /// Reads the form of [`Self::encode_since`] without copying, and that of [`Self::encode`], whose moment is not known and 0;
    /// `None` if it is damaged.
    pub fn decode_since(encoded: &Bytes) -> Option<(Self, Wall)> {
        let Some(rest) = encoded.strip_prefix(&[SINCE]) else {
            return Some((Self::decode(encoded)?, Wall(0)));
        };
        let (since, rest) = rest.split_first_chunk()?;
        Some((Self::decode(&encoded.slice_ref(rest))?, Wall(u64::from_be_bytes(*since))))
    }

    /// Bytes that [`Self::encode`] appends.
    pub fn encoded_len(&self) -> usize {
        HEAD + self.bytes.len()
    }

    /// Reads the form of [`Self::encode`] without copying; `None` if it is damaged.
    pub fn decode(encoded: &Bytes) -> Option<Self> {
        let head = encoded.get(..HEAD)?;
        let (flags, rest) = head.split_at(2);
        let flags = *flags.first()?;
        let topic_len = u16::from_be_bytes(rest.get(..2)?.try_into().ok()?);
        let properties_len = u32::from_be_bytes(rest.get(2..6)?.try_into().ok()?);
        let expires = u64::from_be_bytes(rest.get(6..14)?.try_into().ok()?);
        let bytes = encoded.slice(HEAD..);
        if bytes.len() < usize::from(topic_len) + properties_len as usize {
            return None;
        }
        std::str::from_utf8(bytes.get(..usize::from(topic_len))?).ok()?;
        Some(Self {
            bytes,
            topic_len,
            properties_len,
            qos: QoS::from_bits(flags & 3)?,
            retain: flags & 4 != 0,
            expires_at: (expires != 0).then_some(Wall(expires)),
        })
    }
}

/// Room for publications that are soon over: one allocation for many, and none while they are.
#[derive(Debug, Default)]
pub struct Bodies(BytesMut);

impl Bodies {
    /// Bytes that are allocated at once; so much one publication that stays can hold back.
    const BYTES: usize = 4_096;
    /// A publication with more has an allocation of its own.
    const MOST_BYTES: usize = 512;

    fn take(&mut self, len: usize, parts: [&[u8]; 3]) -> Bytes {
        if self.0.capacity() < len {
            // The same allocation from its beginning if all publications in it are over, else another one.
            self.0.reserve(Self::BYTES);
        }
        parts.into_iter().for_each(|part| self.0.extend_from_slice(part));
        self.0.split().freeze()
    }
}

impl std::fmt::Debug for Publication {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Publication")
            .field("topic", &self.topic())
            .field("qos", &self.qos)
            .field("retain", &self.retain)
            .field("payload_bytes", &self.payload().len())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passing_publications_say_the_same_and_leave_each_other_alone() {
        let mut bodies = Bodies::default();
        let mut kept = Vec::new();
        for n in 0..300 {
            let (topic, payload) = (format!("t/{n}"), vec![b'x'; n * 3]);
            let passing = Publication::passing(&mut bodies, &topic, &[1, 1], &payload);
            assert_eq!(
                passing,
                Publication::new(&topic, &[1, 1], &payload, QoS::AtMostOnce, false)
            );
            if n % 7 == 0 {
                kept.push((passing, topic, payload));
            }
        }
        for (passing, topic, payload) in kept {
            assert_eq!((passing.topic(), passing.payload()), (topic.as_str(), payload.as_slice()));
            assert_eq!(passing.topic_bytes(), topic.as_bytes());
        }
    }

    #[test]
    fn the_stored_form_reads_back() {
        let mut publication = Publication::new("a/b", &[1, 1], b"hello", QoS::ExactlyOnce, true);
        publication.expires_at = Some(Wall(77));
        let mut out = Vec::new();
        publication.encode(&mut out);
        assert_eq!(out.len(), publication.encoded_len());
        let encoded = Bytes::from(out);
        assert_eq!(Publication::decode(&encoded), Some(publication.clone()));
        assert_eq!(Publication::decode_since(&encoded), Some((publication.clone(), Wall(0))));
        let since = publication.encode_since(Wall(99));
        assert_eq!(Publication::decode_since(&since), Some((publication, Wall(99))));
        assert_eq!(Publication::decode(&since), None, "who does not know the form reads nothing");
        for cut in 0..HEAD + 13 {
            assert_eq!(Publication::decode_since(&since.slice(..cut)), None, "cut at {cut}");
        }
        for cut in 0..HEAD + 4 {
            assert_eq!(Publication::decode(&encoded.slice(..cut)), None, "cut at {cut}");
        }
    }
}
