//! What a client saw of one step, without what the standard leaves to the server: packet ids, the order of topics, how many
//! copies come of a message that several subscriptions match.

use std::collections::BTreeMap;

use protocol::mqtt::{Publish, Version};

/// What everybody saw of one step, by client.
pub(crate) type Answers = BTreeMap<usize, Vec<Seen>>;

/// One thing that came; reason codes as they travel.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Seen {
    Accepted {
        session_present: bool,
    },
    Refused(u8),
    Granted(Vec<u8>),
    Unsubscribed(Vec<u8>),
    /// PUBACK or PUBREC.
    Taken(u8),
    /// PUBCOMP.
    Done(u8),
    /// PUBREL.
    Released,
    /// DISCONNECT.
    Told(u8),
    Closed,
    Message(Message),
}

/// A PUBLISH.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Message {
    pub(crate) topic: String,
    pub(crate) qos: u8,
    pub(crate) text: String,
    pub(crate) retain: bool,
    pub(crate) dup: bool,
    pub(crate) expires: bool,
    pub(crate) ids: Vec<u32>,
    pub(crate) properties: Vec<Vec<u8>>,
}

impl Message {
    pub(crate) fn of(publish: &Publish<'_>, version: Version) -> Self {
        let properties = &publish.properties;
        let mut ids = properties.subscription_ids.to_vec();
        ids.sort_unstable();
        // One for each subscription, also if two have the same [MQTT5-3.3.4-4]; mosquitto names it once.
        ids.dedup();
        let passed = if version == Version::V5 { split(&properties.end_to_end) } else { vec![] };
        Self {
            topic: publish.topic.to_owned(),
            qos: publish.qos.bits(),
            text: String::from_utf8_lossy(publish.payload).into_owned(),
            retain: publish.retain,
            dup: publish.dup,
            expires: properties.message_expiry_s.is_some(),
            ids,
            properties: passed,
        }
    }

    /// Another copy of the same message, by another subscription.
    fn is_copy_of(&self, other: &Self) -> bool {
        (&self.topic, &self.text, self.dup) == (&other.topic, &other.text, other.dup)
    }

    fn merge(&mut self, copy: &Self) {
        self.qos = self.qos.max(copy.qos);
        self.retain |= copy.retain;
        self.ids.extend(&copy.ids);
        self.ids.sort_unstable();
        self.ids.dedup();
    }
}

/// One client's part of a step: answers in their order, messages merged, those of one topic and level in their order.
pub(crate) fn part(seen: &[Seen]) -> Vec<Seen> {
    let mut answers = Vec::new();
    let mut messages: Vec<Message> = Vec::new();
    for each in seen {
        match each {
            Seen::Message(message) => {
                match messages.iter_mut().find(|earlier| message.is_copy_of(earlier)) {
                    Some(earlier) => earlier.merge(message),
                    None => messages.push(message.clone()),
                }
            }
            other => answers.push(other.clone()),
        }
    }
    messages.sort_by(|a, b| (&a.topic, a.qos).cmp(&(&b.topic, b.qos)));
    answers.extend(messages.into_iter().map(Seen::Message));
    answers
}

/// The properties in a run of them, the order of different ones left open.
fn split(mut bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut found = Vec::new();
    while let Some((id, rest)) = bytes.split_first() {
        let len = |at: usize| {
            let high = rest.get(at).copied().unwrap_or_default();
            let low = rest.get(at + 1).copied().unwrap_or_default();
            usize::from(u16::from_be_bytes([high, low])) + 2
        };
        let whole = match id {
            0x01 => 1,
            0x26 => len(0) + len(len(0)),
            _ => len(0),
        };
        let (value, after) = bytes.split_at_checked(whole + 1).unwrap_or((bytes, &[]));
        found.push(value.to_vec());
        bytes = after;
    }
    found.sort_by_key(|value| value.first().copied());
    found
}
