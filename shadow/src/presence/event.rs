//! What is published about the life of connections.

use protocol::{ClientId, Wall};

use super::DisconnectReason;
use crate::json::{ObjectWriter, put_array, put_text};

/// The first two levels of all topics of lifecycle events.
pub const EVENTS: (&str, &str) = ("$aws", "events");

/// Something that happened to a client. It may be told late, twice and out of order; the version number puts it right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LifecycleEvent {
    /// Of whom.
    pub client: ClientId,
    /// When, to the millisecond.
    pub at: Wall,
    /// Which connection: the same text in all events about it.
    pub session: Box<str>,
    /// Whom it spoke for.
    pub principal: Box<str>,
    /// The thing that it is, if known.
    pub thing: Option<Box<str>>,
    /// What happened.
    pub kind: EventKind,
}

/// What happened to a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EventKind {
    /// It is there now.
    Connected {
        /// Grows with each connection.
        version: u64,
        /// Where it came from, without the port.
        address: Box<str>,
    },
    /// It is not there any more.
    Disconnected {
        /// That of its [`Self::Connected`].
        version: u64,
        /// Why.
        reason: DisconnectReason,
        /// The plan by which it was sent away, if it was and did not arrive anywhere.
        drain: Option<Box<str>>,
    },
    /// It was not let in.
    ConnectFailed(ConnectFailure),
    /// It subscribed to these filters.
    Subscribed(Vec<Box<str>>),
    /// It unsubscribed from these filters.
    Unsubscribed(Vec<Box<str>>),
}

/// Why a client was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectFailure {
    /// It has no right to connect, or not with this client id.
    AuthorizationFailed,
}

impl LifecycleEvent {
    /// Where it is published; `None` for a client id with a wildcard in it, which makes no topic.
    pub fn topic(&self) -> Option<String> {
        let client = self.client.as_str();
        if client.contains(['+', '#']) {
            return None;
        }
        let family = match &self.kind {
            EventKind::Connected { .. }
            | EventKind::Disconnected { .. }
            | EventKind::ConnectFailed(_) => "presence",
            EventKind::Subscribed(_) | EventKind::Unsubscribed(_) => "subscriptions",
        };
        let (first, second) = EVENTS;
        Some(format!("{first}/{second}/{family}/{}/{client}", self.kind.name()))
    }

    /// What is published.
    pub fn payload(&self) -> String {
        let mut out = String::new();
        let mut body = ObjectWriter::begin(&mut out);
        body.text("clientId", self.client.as_str());
        if let Some(thing) = &self.thing {
            body.text("thingName", thing);
        }
        body.number("timestamp", self.at.0);
        body.text("eventType", self.kind.name());
        body.text("sessionIdentifier", &self.session);
        body.text("principalIdentifier", &self.principal);
        match &self.kind {
            EventKind::Connected { version, address } => {
                body.text("ipAddress", address);
                body.number("versionNumber", *version);
            }
            EventKind::Disconnected { version, reason, drain } => {
                body.truth("clientInitiatedDisconnect", reason.is_by_client());
                body.text("disconnectReason", reason.as_str());
                body.number("versionNumber", *version);
                if let Some(plan) = drain {
                    let mut drain = ObjectWriter::begin(body.member("drain"));
                    drain.text("plan", plan);
                    drain.end();
                }
            }
            EventKind::ConnectFailed(ConnectFailure::AuthorizationFailed) => {
                body.text("connectFailureReason", "AUTHORIZATION_FAILED");
            }
            EventKind::Subscribed(topics) | EventKind::Unsubscribed(topics) => {
                put_array(body.member("topics"), topics, |out, topic| put_text(out, topic));
            }
        }
        body.end();
        out
    }
}

impl EventKind {
    /// As it stands in topics and payloads.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Connected { .. } => "connected",
            Self::Disconnected { .. } => "disconnected",
            Self::ConnectFailed(_) => "connect_failed",
            Self::Subscribed(_) => "subscribed",
            Self::Unsubscribed(_) => "unsubscribed",
        }
    }
}
