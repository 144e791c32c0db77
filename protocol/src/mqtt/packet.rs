//! The packet model: borrowed from the bytes they arrived in, the same for every protocol version.

use std::fmt;

use crate::{PacketId, QoS, mqtt::ReasonCode};

/// The protocol version of a connection. Only the codec looks at it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Version {
    /// MQTT 3.1 (`MQIsdp`, level 3).
    V31,
    /// MQTT 3.1.1 (level 4).
    V311,
    /// MQTT 5.0 (level 5).
    V5,
}

impl Version {
    /// Every version, the oldest first.
    pub const ALL: [Self; 3] = [Self::V31, Self::V311, Self::V5];

    /// Its number, as people say it.
    pub const fn number(self) -> &'static str {
        match self {
            Self::V31 => "3.1",
            Self::V311 => "3.1.1",
            Self::V5 => "5.0",
        }
    }

    /// The protocol level as CONNECT carries it.
    pub const fn level(self) -> u8 {
        match self {
            Self::V31 => 3,
            Self::V311 => 4,
            Self::V5 => 5,
        }
    }
}

/// Any control packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Packet<'a> {
    /// `[MQTT5-3.1]`
    Connect(Box<Connect<'a>>),
    /// `[MQTT5-3.2]`
    ConnAck(ConnAck<'a>),
    /// `[MQTT5-3.3]`
    Publish(Publish<'a>),
    /// `[MQTT5-3.4]`
    PubAck(Ack<'a>),
    /// `[MQTT5-3.5]`
    PubRec(Ack<'a>),
    /// `[MQTT5-3.6]`
    PubRel(Ack<'a>),
    /// `[MQTT5-3.7]`
    PubComp(Ack<'a>),
    /// `[MQTT5-3.8]`
    Subscribe(Subscribe<'a>),
    /// `[MQTT5-3.9]`
    SubAck(SubAck<'a>),
    /// `[MQTT5-3.10]`
    Unsubscribe(Unsubscribe<'a>),
    /// `[MQTT5-3.11]`
    UnsubAck(UnsubAck<'a>),
    /// `[MQTT5-3.12]`
    PingReq,
    /// `[MQTT5-3.13]`
    PingResp,
    /// `[MQTT5-3.14]`
    Disconnect(Disconnect<'a>),
    /// `[MQTT5-3.15]`
    Auth(Auth<'a>),
}

/// CONNECT `[MQTT5-3.1]`. Its version says how every later packet of the connection is read.
#[derive(Clone, PartialEq, Eq)]
pub struct Connect<'a> {
    /// From the protocol name and level.
    pub version: Version,
    /// Clean Start (5.0) or Clean Session (3.x).
    pub clean_start: bool,
    /// Seconds; 0 switches keep alive off.
    pub keep_alive_s: u16,
    /// May be empty.
    pub client_id: &'a str,
    /// The will, if any.
    pub will: Option<LastWill<'a>>,
    /// The user name, if any.
    pub user_name: Option<&'a str>,
    /// The password, if any.
    pub password: Option<&'a [u8]>,
    /// 5.0 properties; defaults in 3.x.
    pub properties: ConnectProperties<'a>,
}

/// CONNECT properties with the standard's defaults filled in.
#[derive(Clone, PartialEq, Eq)]
pub struct ConnectProperties<'a> {
    /// Seconds; absent is 0. In 3.x the decoder sets `u32::MAX` for clean session 0 and 0 for 1.
    pub session_expiry_s: u32,
    /// 65,535 if absent.
    pub receive_maximum: u16,
    /// Bytes; `u32::MAX` if absent.
    pub maximum_packet_bytes: u32,
    /// 0 if absent: the client takes no aliases.
    pub topic_alias_maximum: u16,
    /// Whether the client wants response information.
    pub request_response_information: bool,
    /// Whether reason strings and user properties may be sent on any packet; true if absent.
    pub request_problem_information: bool,
    /// Enhanced authentication.
    pub authentication_method: Option<&'a str>,
    /// Enhanced authentication.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties in order.
    pub user: Vec<(&'a str, &'a str)>,
}

/// The will in CONNECT `[MQTT5-3.1.2.5]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LastWill<'a> {
    /// A checked topic name.
    pub topic: &'a str,
    /// The message.
    pub payload: &'a [u8],
    /// Its level.
    pub qos: QoS,
    /// Whether it is retained.
    pub retain: bool,
    /// 5.0 properties.
    pub properties: WillProperties<'a>,
}

/// Will properties. `end_to_end` holds those that are published with the will.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WillProperties<'a> {
    /// Seconds; 0 if absent.
    pub delay_s: u32,
    /// Seconds, if any.
    pub message_expiry_s: Option<u32>,
    /// Whether the payload is said to be UTF-8.
    pub payload_is_utf8: bool,
    /// Wire bytes of the properties that travel to receivers: without delay and expiry.
    pub end_to_end: std::borrow::Cow<'a, [u8]>,
    /// How many user properties there are in `end_to_end`.
    pub user_count: usize,
}

/// CONNACK `[MQTT5-3.2]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnAck<'a> {
    /// Whether the server had a session.
    pub session_present: bool,
    /// The outcome; in 3.x the decoder maps return codes to the matching 5.0 codes.
    pub reason: ReasonCode,
    /// Seconds, if the server chose another value.
    pub session_expiry_s: Option<u32>,
    /// What the server takes in flight; `None` is 65,535.
    pub receive_maximum: Option<u16>,
    /// Bytes; `None` is no limit.
    pub maximum_packet_bytes: Option<u32>,
    /// An id the server made up.
    pub assigned_client_id: Option<&'a str>,
    /// Aliases the server takes; `None` is 0.
    pub topic_alias_maximum: Option<u16>,
    /// Seconds, if the server overrides the client's.
    pub server_keep_alive_s: Option<u16>,
    /// What a response topic may begin with; only for a client that asked `[MQTT5-3.1.2-28]`.
    pub response_information: Option<&'a str>,
    /// Where else to go.
    pub server_reference: Option<&'a str>,
    /// Why, in words.
    pub reason_string: Option<&'a str>,
    /// The method of enhanced authentication, as in CONNECT.
    pub authentication_method: Option<&'a str>,
    /// Its last word.
    pub authentication_data: Option<&'a [u8]>,
    /// User properties in order.
    pub user: Vec<(&'a str, &'a str)>,
}

/// PUBLISH `[MQTT5-3.3]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Publish<'a> {
    /// A repeat.
    pub dup: bool,
    /// Its level.
    pub qos: QoS,
    /// The RETAIN flag.
    pub retain: bool,
    /// A checked topic name; empty only with a topic alias.
    pub topic: &'a str,
    /// There if and only if the level is above 0.
    pub packet_id: Option<PacketId>,
    /// 5.0 properties; empty in 3.x.
    pub properties: PublishProperties<'a>,
    /// The application's bytes.
    pub payload: &'a [u8],
}

/// PUBLISH properties: those a hop needs, and the rest as they came.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PublishProperties<'a> {
    /// Never 0.
    pub topic_alias: Option<u16>,
    /// Seconds.
    pub message_expiry_s: Option<u32>,
    /// Whether the payload is said to be UTF-8.
    pub payload_is_utf8: bool,
    /// Where an answer is expected; a checked topic name.
    pub response_topic: Option<&'a str>,
    /// Subscription identifiers in order; only servers send them.
    pub subscription_ids: smallvec::SmallVec<[u32; 2]>,
    /// Wire bytes of the properties that travel to receivers: without alias, expiry and identifiers. Borrowed
    /// whenever the packet has none of these three.
    pub end_to_end: std::borrow::Cow<'a, [u8]>,
    /// How many user properties there are in `end_to_end`.
    pub user_count: usize,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ack<'a> {
    /// Which exchange.
    pub packet_id: PacketId,
    /// `Success` in 3.x and when left out.
    pub reason: ReasonCode,
    /// Why, in words.
    pub reason_string: Option<&'a str>,
}

/// SUBSCRIBE `[MQTT5-3.8]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscribe<'a> {
    /// Which exchange.
    pub packet_id: PacketId,
    /// The identifier for every filter of this packet.
    pub subscription_id: Option<u32>,
    /// At least one `[MQTT5-3.8.3-2]`.
    pub filters: Vec<Filter<'a>>,
}

/// One line of a SUBSCRIBE.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filter<'a> {
    /// A valid string; whether it is a valid filter is answered per filter (0x8F), not by the decoder.
    pub text: &'a str,
    /// How it is to be served.
    pub options: SubscribeOptions,
}

/// Subscription options `[MQTT5-3.8.3.1]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SubscribeOptions {
    /// Highest level wanted.
    pub qos: QoS,
    /// Not what this client published itself.
    pub no_local: bool,
    /// Whether the RETAIN flag is passed on.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a SUBSCRIBE is answered with retained messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// Always.
    Send = 0,
    /// If the subscription is new.
    SendIfNew = 1,
    /// Never.
    DoNotSend = 2,
}

/// SUBACK.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SubAck<'a> {
    /// Which exchange.
    pub packet_id: PacketId,
    /// One per filter, in order.
    pub reasons: Vec<ReasonCode>,
    /// Why, in words.
    pub reason_string: Option<&'a str>,
}

/// UNSUBSCRIBE.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unsubscribe<'a> {
    /// Which exchange.
    pub packet_id: PacketId,
    /// At least one.
    pub filters: Vec<&'a str>,
}

/// UNSUBACK. In 3.x it has no codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsubAck<'a> {
    /// Which exchange.
    pub packet_id: PacketId,
    /// One per filter, in order.
    pub reasons: Vec<ReasonCode>,
    /// Why, in words.
    pub reason_string: Option<&'a str>,
}

/// DISCONNECT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Disconnect<'a> {
    /// `NormalDisconnection` in 3.x.
    pub reason: ReasonCode,
    /// Seconds, if the client changes it.
    pub session_expiry_s: Option<u32>,
    /// Where else to go.
    pub server_reference: Option<&'a str>,
    /// Why, in words.
    pub reason_string: Option<&'a str>,
}

/// AUTH (5.0 only).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Auth<'a> {
    /// Success, continue or re-authenticate.
    pub reason: ReasonCode,
    /// The method.
    pub method: Option<&'a str>,
    /// The data.
    pub data: Option<&'a [u8]>,
    /// Why, in words.
    pub reason_string: Option<&'a str>,
}

/// In the place of what is not for logs: a password, a token, a proof.
const HIDDEN: &str = "hidden";

impl fmt::Debug for Connect<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connect")
            .field("version", &self.version)
            .field("clean_start", &self.clean_start)
            .field("keep_alive_s", &self.keep_alive_s)
            .field("client_id", &self.client_id)
            .field("will", &self.will)
            .field("user_name", &self.user_name)
            .field("password", &self.password.map(|_| HIDDEN))
            .field("properties", &self.properties)
            .finish()
    }
}

impl fmt::Debug for ConnectProperties<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ConnectProperties")
            .field("session_expiry_s", &self.session_expiry_s)
            .field("receive_maximum", &self.receive_maximum)
            .field("maximum_packet_bytes", &self.maximum_packet_bytes)
            .field("topic_alias_maximum", &self.topic_alias_maximum)
            .field("request_response_information", &self.request_response_information)
            .field("request_problem_information", &self.request_problem_information)
            .field("authentication_method", &self.authentication_method)
            .field("authentication_data", &self.authentication_data.map(|_| HIDDEN))
            .field("user", &self.user)
            .finish()
    }
}

impl fmt::Debug for Auth<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Auth")
            .field("reason", &self.reason)
            .field("method", &self.method)
            .field("data", &self.data.map(|_| HIDDEN))
            .field("reason_string", &self.reason_string)
            .finish()
    }
}

impl Default for ConnectProperties<'_> {
    fn default() -> Self {
        Self {
            session_expiry_s: 0,
            receive_maximum: u16::MAX,
            maximum_packet_bytes: u32::MAX,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user: Vec::new(),
        }
    }
}

impl<'a> ConnAck<'a> {
    /// An answer with nothing but the outcome.
    pub const fn of(session_present: bool, reason: ReasonCode) -> Self {
        Self {
            session_present,
            reason,
            session_expiry_s: None,
            receive_maximum: None,
            maximum_packet_bytes: None,
            assigned_client_id: None,
            topic_alias_maximum: None,
            server_keep_alive_s: None,
            response_information: None,
            server_reference: None,
            reason_string: None,
            authentication_method: None,
            authentication_data: None,
            user: Vec::new(),
        }
    }
}

impl<'a> Ack<'a> {
    /// An acknowledgement with a reason and no words.
    pub const fn of(packet_id: PacketId, reason: ReasonCode) -> Self {
        Self { packet_id, reason, reason_string: None }
    }
}

impl Disconnect<'_> {
    /// A DISCONNECT with nothing but the reason.
    pub const fn of(reason: ReasonCode) -> Self {
        Self { reason, session_expiry_s: None, server_reference: None, reason_string: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown_to_a_log() {
        let secret = Some("secret".as_bytes());
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: "pump",
            will: None,
            user_name: Some("anna"),
            password: secret,
            properties: ConnectProperties {
                authentication_data: secret,
                ..ConnectProperties::default()
            },
        };
        let auth = Auth {
            reason: ReasonCode::ReAuthenticate,
            method: Some("JWT"),
            data: secret,
            reason_string: None,
        };
        let shown = format!("{connect:?} {auth:?}");
        // As bytes are shown, and as text would be.
        assert!(!shown.contains("115, 101, 99") && !shown.contains("secret"), "{shown}");
        assert!(shown.contains("anna") && shown.contains("JWT"), "{shown}");
    }
}
