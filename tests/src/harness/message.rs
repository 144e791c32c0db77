//! A PUBLISH as a test looks at it.

use protocol::mqtt::Publish;
use protocol::{PacketId, QoS};

/// A PUBLISH from the gateway.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Message {
    /// Its topic.
    pub topic: String,
    /// Its payload, which tests write as text.
    pub text: String,
    /// Its level.
    pub qos: QoS,
    /// A repeat.
    pub dup: bool,
    /// Retained.
    pub retain: bool,
    /// Above `QoS` 0.
    pub packet_id: Option<PacketId>,
    /// Subscription identifiers in order.
    pub subscription_ids: Vec<u32>,
    /// Where it stands in the queue of a client that asked for that.
    pub position: Option<String>,
}

impl Message {
    pub(super) fn of(publish: &Publish<'_>) -> Self {
        Self {
            topic: publish.topic.to_owned(),
            text: String::from_utf8_lossy(publish.payload).into_owned(),
            qos: publish.qos,
            dup: publish.dup,
            retain: publish.retain,
            packet_id: publish.packet_id,
            subscription_ids: publish.properties.subscription_ids.to_vec(),
            position: position(&publish.properties.end_to_end),
        }
    }
}

/// The value of the last user property with our name; `properties` were checked when they came.
fn position(properties: &[u8]) -> Option<String> {
    let name = b"\x00\x11tidegate-position";
    let at = properties.windows(name.len()).rposition(|part| part == name)? + name.len();
    let (len, value) = properties.get(at..)?.split_first_chunk()?;
    let value = value.get(..usize::from(u16::from_be_bytes(*len)))?;
    String::from_utf8(value.to_vec()).ok()
}
