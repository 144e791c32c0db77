//! Property sections of MQTT 5 `[MQTT5-2.2.2]`.

use std::borrow::Cow;

use smallvec::SmallVec;

use crate::{Violation, mqtt::ReasonCode};

use super::read::Reader;

/// Property identifiers `[MQTT5-2.2.2.2]`.
pub(super) mod id {
    pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
    pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
    pub(crate) const CONTENT_TYPE: u8 = 0x03;
    pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
    pub(crate) const CORRELATION_DATA: u8 = 0x09;
    pub(crate) const SUBSCRIPTION_ID: u8 = 0x0B;
    pub(crate) const SESSION_EXPIRY: u8 = 0x11;
    pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
    pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub(crate) const AUTHENTICATION_METHOD: u8 = 0x15;
    pub(crate) const AUTHENTICATION_DATA: u8 = 0x16;
    pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub(crate) const WILL_DELAY: u8 = 0x18;
    pub(crate) const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub(crate) const RESPONSE_INFORMATION: u8 = 0x1A;
    pub(crate) const SERVER_REFERENCE: u8 = 0x1C;
    pub(crate) const REASON_STRING: u8 = 0x1F;
    pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
    pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub(crate) const TOPIC_ALIAS: u8 = 0x23;
    pub(crate) const MAXIMUM_QOS: u8 = 0x24;
    pub(crate) const RETAIN_AVAILABLE: u8 = 0x25;
    pub(crate) const USER: u8 = 0x26;
    pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub(crate) const WILDCARDS_AVAILABLE: u8 = 0x28;
    pub(crate) const SUBSCRIPTION_IDS_AVAILABLE: u8 = 0x29;
    pub(crate) const SHARED_AVAILABLE: u8 = 0x2A;
}

/// A set of property identifiers, one bit each; all known ones are below 64.
#[derive(Debug, Clone, Copy)]
pub(super) struct IdSet(u64);

/// Which properties each packet may carry.
pub(super) mod allowed {
    use super::{IdSet, id};

    pub(crate) const CONNECT: IdSet = IdSet::of(&[
        id::SESSION_EXPIRY,
        id::AUTHENTICATION_METHOD,
        id::AUTHENTICATION_DATA,
        id::REQUEST_PROBLEM_INFORMATION,
        id::REQUEST_RESPONSE_INFORMATION,
        id::RECEIVE_MAXIMUM,
        id::TOPIC_ALIAS_MAXIMUM,
        id::USER,
        id::MAXIMUM_PACKET_SIZE,
    ]);
    pub(crate) const WILL: IdSet = IdSet::of(&[
        id::PAYLOAD_FORMAT,
        id::MESSAGE_EXPIRY,
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::CORRELATION_DATA,
        id::WILL_DELAY,
        id::USER,
    ]);
    pub(crate) const CONNACK: IdSet = IdSet::of(&[
        id::SESSION_EXPIRY,
        id::ASSIGNED_CLIENT_ID,
        id::SERVER_KEEP_ALIVE,
        id::AUTHENTICATION_METHOD,
        id::AUTHENTICATION_DATA,
        id::RESPONSE_INFORMATION,
        id::SERVER_REFERENCE,
        id::REASON_STRING,
        id::RECEIVE_MAXIMUM,
        id::TOPIC_ALIAS_MAXIMUM,
        id::MAXIMUM_QOS,
        id::RETAIN_AVAILABLE,
        id::USER,
        id::MAXIMUM_PACKET_SIZE,
        id::WILDCARDS_AVAILABLE,
        id::SUBSCRIPTION_IDS_AVAILABLE,
        id::SHARED_AVAILABLE,
    ]);
    pub(crate) const PUBLISH: IdSet = IdSet::of(&[
        id::PAYLOAD_FORMAT,
        id::MESSAGE_EXPIRY,
        id::CONTENT_TYPE,
        id::RESPONSE_TOPIC,
        id::CORRELATION_DATA,
        id::SUBSCRIPTION_ID,
        id::TOPIC_ALIAS,
        id::USER,
    ]);
    /// Acknowledgements of every kind.
    pub(crate) const ACK: IdSet = IdSet::of(&[id::REASON_STRING, id::USER]);
    pub(crate) const SUBSCRIBE: IdSet = IdSet::of(&[id::SUBSCRIPTION_ID, id::USER]);
    pub(crate) const UNSUBSCRIBE: IdSet = IdSet::of(&[id::USER]);
    pub(crate) const CLIENT_DISCONNECT: IdSet =
        IdSet::of(&[id::SESSION_EXPIRY, id::REASON_STRING, id::USER]);
    pub(crate) const SERVER_DISCONNECT: IdSet =
        IdSet::of(&[id::SERVER_REFERENCE, id::REASON_STRING, id::USER]);
    pub(crate) const AUTH: IdSet = IdSet::of(&[
        id::AUTHENTICATION_METHOD,
        id::AUTHENTICATION_DATA,
        id::REASON_STRING,
        id::USER,
    ]);
}

impl IdSet {
    const fn of(ids: &[u8]) -> Self {
        let (mut bits, mut rest) = (0, ids);
        while let [first, others @ ..] = rest {
            bits |= 1 << *first;
            rest = others;
        }
        Self(bits)
    }

    const fn has(self, id: u8) -> bool {
        id < 64 && self.0 >> id & 1 == 1
    }

    const fn add(&mut self, id: u8) {
        self.0 |= 1 << (id & 63);
    }
}

/// The value of a property, by its type on the wire.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value<'a> {
    /// One byte that is 0 or 1.
    Flag(bool),
    Two(u16),
    /// A four-byte or a variable byte integer.
    Four(u32),
    Text(&'a str),
    Binary(&'a [u8]),
    Pair(&'a str, &'a str),
}

/// Walks over one property section and checks each property against the standard.
#[derive(Debug)]
pub(super) struct Scan<'a> {
    reader: Reader<'a>,
    allowed: IdSet,
    seen: IdSet,
    /// May stand more than once besides user properties; 0 is none.
    repeatable: u8,
}

impl<'a> Scan<'a> {
    pub(super) const fn new(section: &'a [u8], allowed: IdSet) -> Self {
        Self { reader: Reader::new(section), allowed, seen: IdSet(0), repeatable: 0 }
    }

    /// Subscription identifiers may repeat in a PUBLISH `[MQTT5-3.3.4-3]`.
    pub(super) const fn of_publish(section: &'a [u8]) -> Self {
        Self {
            reader: Reader::new(section),
            allowed: allowed::PUBLISH,
            seen: IdSet(0),
            repeatable: id::SUBSCRIPTION_ID,
        }
    }

    /// Bytes that are still to be read.
    pub(super) const fn left(&self) -> usize {
        self.reader.len()
    }

    /// Passes over the user properties that come next, which may be any number, and says how many they were. They are
    /// checked as by [`next`](Self::next), but nobody gets to see them, which makes thousands cheap. Only for sections that
    /// may have them.
    #[inline]
    fn pass_user(&mut self) -> Result<usize, Violation> {
        let mut count = 0;
        while self.reader.peek() == Some(id::USER) {
            self.reader.u8()?;
            self.reader.pass_text()?;
            self.reader.pass_text()?;
            count += 1;
        }
        Ok(count)
    }

    /// The next property, or `None` at the end of the section.
    pub(super) fn next(&mut self) -> Result<Option<(u8, Value<'a>)>, Violation> {
        if self.reader.is_empty() {
            return Ok(None);
        }
        let id = self.reader.u8()?;
        if !self.allowed.has(id) {
            return Err(Violation::malformed(
                "MQTT5-4.13.1-1",
                "property is unknown or not for this packet",
            ));
        }
        if self.seen.has(id) && id != id::USER && id != self.repeatable {
            return Err(Violation::protocol("MQTT5-4.13.1-1", "property stands twice"));
        }
        self.seen.add(id);
        Ok(Some((id, value(id, &mut self.reader)?)))
    }
}

fn value<'a>(id: u8, reader: &mut Reader<'a>) -> Result<Value<'a>, Violation> {
    Ok(match id {
        id::PAYLOAD_FORMAT
        | id::REQUEST_PROBLEM_INFORMATION
        | id::REQUEST_RESPONSE_INFORMATION
        | id::MAXIMUM_QOS
        | id::RETAIN_AVAILABLE
        | id::WILDCARDS_AVAILABLE
        | id::SUBSCRIPTION_IDS_AVAILABLE
        | id::SHARED_AVAILABLE => match reader.u8()? {
            0 => Value::Flag(false),
            1 => Value::Flag(true),
            _ => return Err(Violation::protocol("MQTT5-4.13.1-1", "property is neither 0 nor 1")),
        },
        id::SERVER_KEEP_ALIVE | id::TOPIC_ALIAS_MAXIMUM => Value::Two(reader.u16()?),
        id::RECEIVE_MAXIMUM => match reader.u16()? {
            0 => return Err(Violation::protocol("MQTT5-4.9.0-1", "receive maximum is 0")),
            maximum => Value::Two(maximum),
        },
        id::TOPIC_ALIAS => match reader.u16()? {
            0 => return Err(ZERO_ALIAS),
            alias => Value::Two(alias),
        },
        id::SESSION_EXPIRY | id::MESSAGE_EXPIRY | id::WILL_DELAY => Value::Four(reader.u32()?),
        id::MAXIMUM_PACKET_SIZE => match reader.u32()? {
            0 => return Err(Violation::protocol("MQTT5-4.13.1-1", "maximum packet size is 0")),
            maximum => Value::Four(maximum),
        },
        id::SUBSCRIPTION_ID => match reader.varint()? {
            0 => return Err(Violation::protocol("MQTT5-4.13.1-1", "subscription identifier is 0")),
            identifier => Value::Four(identifier),
        },
        id::CORRELATION_DATA | id::AUTHENTICATION_DATA => Value::Binary(reader.binary()?),
        id::USER => Value::Pair(reader.text()?, reader.text()?),
        id::RESPONSE_TOPIC => Value::Text(response_topic(reader)?),
        // What is left of the allowed ones are strings.
        _ => Value::Text(reader.text()?),
    })
}

const ZERO_ALIAS: Violation =
    Violation::with(ReasonCode::TopicAliasInvalid, "MQTT5-3.3.2-8", "topic alias is 0");

fn response_topic<'a>(reader: &mut Reader<'a>) -> Result<&'a str, Violation> {
    match reader.text()? {
        "" => Err(Violation::protocol("MQTT5-4.7.3-1", "response topic is empty")),
        text if text.bytes().any(|b| b == b'+' || b == b'#') => {
            Err(Violation::protocol("MQTT5-3.3.2-14", "response topic has a wildcard"))
        }
        text => Ok(text),
    }
}

/// The properties of every packet but PUBLISH and the will. Each packet takes those it may have.
#[derive(Debug, Default)]
pub(super) struct Found<'a> {
    pub(super) session_expiry_s: Option<u32>,
    pub(super) subscription_id: Option<u32>,
    pub(super) assigned_client_id: Option<&'a str>,
    pub(super) server_keep_alive_s: Option<u16>,
    pub(super) authentication_method: Option<&'a str>,
    pub(super) authentication_data: Option<&'a [u8]>,
    pub(super) request_problem_information: Option<bool>,
    pub(super) request_response_information: Option<bool>,
    pub(super) response_information: Option<&'a str>,
    pub(super) server_reference: Option<&'a str>,
    pub(super) reason_string: Option<&'a str>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) topic_alias_maximum: Option<u16>,
    pub(super) maximum_packet_bytes: Option<u32>,
    pub(super) user: Vec<(&'a str, &'a str)>,
}

impl<'a> Found<'a> {
    /// Reads one whole section.
    pub(super) fn read(section: &'a [u8], allowed: IdSet) -> Result<Self, Violation> {
        let mut found = Self::default();
        let mut scan = Scan::new(section, allowed);
        while let Some((id, value)) = scan.next()? {
            found.set(id, value);
        }
        if found.authentication_data.is_some() && found.authentication_method.is_none() {
            return Err(Violation::protocol(
                "MQTT5-4.13.1-1",
                "authentication data without a method",
            ));
        }
        Ok(found)
    }

    fn set(&mut self, id: u8, value: Value<'a>) {
        match (id, value) {
            (id::SESSION_EXPIRY, Value::Four(v)) => self.session_expiry_s = Some(v),
            (id::SUBSCRIPTION_ID, Value::Four(v)) => self.subscription_id = Some(v),
            (id::ASSIGNED_CLIENT_ID, Value::Text(v)) => self.assigned_client_id = Some(v),
            (id::SERVER_KEEP_ALIVE, Value::Two(v)) => self.server_keep_alive_s = Some(v),
            (id::AUTHENTICATION_METHOD, Value::Text(v)) => self.authentication_method = Some(v),
            (id::AUTHENTICATION_DATA, Value::Binary(v)) => self.authentication_data = Some(v),
            (id::REQUEST_PROBLEM_INFORMATION, Value::Flag(v)) => {
                self.request_problem_information = Some(v);
            }
            (id::REQUEST_RESPONSE_INFORMATION, Value::Flag(v)) => {
                self.request_response_information = Some(v);
            }
            (id::RESPONSE_INFORMATION, Value::Text(v)) => self.response_information = Some(v),
            (id::SERVER_REFERENCE, Value::Text(v)) => self.server_reference = Some(v),
            (id::REASON_STRING, Value::Text(v)) => self.reason_string = Some(v),
            (id::RECEIVE_MAXIMUM, Value::Two(v)) => self.receive_maximum = Some(v),
            (id::TOPIC_ALIAS_MAXIMUM, Value::Two(v)) => self.topic_alias_maximum = Some(v),
            (id::MAXIMUM_PACKET_SIZE, Value::Four(v)) => self.maximum_packet_bytes = Some(v),
            (id::USER, Value::Pair(name, value)) => self.user.push((name, value)),
            // Checked and not needed: response information and what the server supports.
            _ => {}
        }
    }
}

/// What a publication or a will carries: values for this hop, and the bytes that travel on.
#[derive(Debug, Default)]
pub(super) struct MessageProperties<'a> {
    pub(super) topic_alias: Option<u16>,
    pub(super) message_expiry_s: Option<u32>,
    pub(super) delay_s: u32,
    pub(super) payload_is_utf8: bool,
    pub(super) response_topic: Option<&'a str>,
    pub(super) subscription_ids: SmallVec<[u32; 2]>,
    pub(super) end_to_end: Cow<'a, [u8]>,
    /// User properties among them.
    pub(super) user_count: usize,
}

impl<'a> MessageProperties<'a> {
    /// Reads one whole section. The bytes that travel on are borrowed unless a property for this hop stands
    /// between two of them.
    pub(super) fn read(section: &'a [u8], mut scan: Scan<'a>) -> Result<Self, Violation> {
        let mut found = Self::default();
        let mut kept = 0..0;
        let mut copied = Vec::new();
        loop {
            let start = section.len() - scan.left();
            let users = scan.pass_user()?;
            if users == 0 {
                let Some((id, value)) = scan.next()? else { break };
                if found.take_hop(id, value) {
                    continue;
                }
            }
            found.user_count += users;
            let end = section.len() - scan.left();
            if kept.is_empty() {
                kept = start..end;
            } else if kept.end == start && copied.is_empty() {
                kept.end = end;
            } else {
                if copied.is_empty() {
                    copied.extend_from_slice(section.get(kept.clone()).unwrap_or_default());
                }
                copied.extend_from_slice(section.get(start..end).unwrap_or_default());
            }
        }
        found.end_to_end = if copied.is_empty() {
            Cow::Borrowed(section.get(kept).unwrap_or_default())
        } else {
            copied.into()
        };
        Ok(found)
    }

    /// Notes a value; true if it belongs to this hop only.
    fn take_hop(&mut self, id: u8, value: Value<'a>) -> bool {
        match (id, value) {
            (id::TOPIC_ALIAS, Value::Two(v)) => self.topic_alias = Some(v),
            (id::MESSAGE_EXPIRY, Value::Four(v)) => self.message_expiry_s = Some(v),
            (id::WILL_DELAY, Value::Four(v)) => self.delay_s = v,
            (id::SUBSCRIPTION_ID, Value::Four(v)) => self.subscription_ids.push(v),
            (id::PAYLOAD_FORMAT, Value::Flag(v)) => {
                self.payload_is_utf8 = v;
                return false;
            }
            (id::RESPONSE_TOPIC, Value::Text(v)) => {
                self.response_topic = Some(v);
                return false;
            }
            _ => return false,
        }
        true
    }
}
