//! The properties of a publication that came by another way than MQTT.

use super::properties::{Scan, Value, id};
use super::write::{property_binary, property_flag, property_text, property_user};
use crate::TopicName;

/// What a publication carries from end to end besides topic and payload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Carried<'a> {
    /// Whether the payload is said to be text.
    pub payload_is_utf8: bool,
    /// Its content type.
    pub content_type: Option<&'a str>,
    /// Where answers go.
    pub response_topic: Option<&'a str>,
    /// What answers name it by; at most 65,535 bytes.
    pub correlation_data: Option<&'a [u8]>,
    /// Names with their values.
    pub user: &'a [(&'a str, &'a str)],
}

impl Carried<'_> {
    /// The wire bytes of an MQTT 5 PUBLISH, without their length. `None` if a text or the correlation data is none of MQTT's.
    pub fn encode(&self) -> Option<Vec<u8>> {
        if !self.is_sound() {
            return None;
        }
        let mut out = Vec::new();
        if self.payload_is_utf8 {
            property_flag(&mut out, id::PAYLOAD_FORMAT, true);
        }
        property_text(&mut out, id::CONTENT_TYPE, self.content_type);
        property_text(&mut out, id::RESPONSE_TOPIC, self.response_topic);
        property_binary(&mut out, id::CORRELATION_DATA, self.correlation_data);
        property_user(&mut out, self.user);
        Some(out)
    }

    fn is_sound(&self) -> bool {
        let user = self.user.iter().flat_map(|(name, value)| [*name, *value]);
        let mut texts = self.content_type.into_iter().chain(self.response_topic).chain(user);
        let is_text = |text: &str| text.len() <= MAX_BYTES && !text.contains('\0');
        texts.all(is_text)
            && self.response_topic.is_none_or(|topic| TopicName::new(topic).is_ok())
            && self.correlation_data.is_none_or(|data| data.len() <= MAX_BYTES)
    }
}

/// The longest text and the most binary data of a property.
const MAX_BYTES: usize = 65_535;

/// The user properties among `properties`, which were decoded before, in their order.
pub fn user_properties(properties: &[u8]) -> Vec<(&str, &str)> {
    let mut scan = Scan::of_publish(properties);
    let mut found = Vec::new();
    while let Ok(Some((_, value))) = scan.next() {
        if let Value::Pair(name, value) = value {
            found.push((name, value));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mqtt::codec::{Sender, decode, publish_client};
    use crate::mqtt::{Packet, Publish, PublishProperties, Version};
    use crate::{PacketId, QoS};

    #[test]
    fn what_is_carried_is_read_back_from_a_packet() {
        let user = [("a", "1"), ("a", "2"), ("b", "")];
        let carried = Carried {
            payload_is_utf8: true,
            content_type: Some("text/plain"),
            response_topic: Some("answers"),
            correlation_data: Some(b"7"),
            user: &user,
        };
        let properties = carried.encode().unwrap();
        assert_eq!(user_properties(&properties), user);
        assert_eq!(Carried::default().encode(), Some(Vec::new()));
        assert!(user_properties(&[]).is_empty());
        let end_to_end = properties.as_slice().into();
        let publish = Publish {
            dup: false,
            qos: QoS::AtLeastOnce,
            retain: false,
            topic: "t",
            packet_id: PacketId::new(1),
            properties: PublishProperties { end_to_end, ..PublishProperties::default() },
            payload: b"x",
        };
        let mut bytes = Vec::new();
        publish_client(&mut bytes, Version::V5, &publish);
        let Packet::Publish(read) = decode(&bytes, Version::V5, Sender::Client).unwrap() else {
            panic!("another packet")
        };
        assert_eq!(&*read.properties.end_to_end, properties.as_slice());
        assert!(read.properties.payload_is_utf8);
        assert_eq!(read.properties.response_topic, Some("answers"));
    }

    #[test]
    fn what_mqtt_could_not_carry_is_refused() {
        let (long, null) = ("x".repeat(65_536), [("a", "\0")]);
        for carried in [
            Carried { content_type: Some(&long), ..Carried::default() },
            Carried { response_topic: Some("a/#"), ..Carried::default() },
            Carried { response_topic: Some(""), ..Carried::default() },
            Carried { correlation_data: Some(long.as_bytes()), ..Carried::default() },
            Carried { user: &null, ..Carried::default() },
        ] {
            assert_eq!(carried.encode(), None);
        }
    }
}
