//! What a search can ask about.

use super::{Facts, QueryError};
use crate::document::Half;
use crate::json::Json;

/// A field of a thing, its connection or its shadows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Field {
    Name,
    Groups,
    Certificates,
    Attribute(Box<str>),
    Connected,
    /// When it last connected or disconnected, in milliseconds since 1970.
    ConnectivityTimestamp,
    DisconnectReason,
    Shadow {
        /// `None` is the classic one.
        name: Option<Box<str>>,
        part: Part,
    },
}

/// A part of a shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    Leaf { half: Half, path: Box<str> },
    HasDelta,
    Version,
}

/// What a field says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Truth(bool),
    /// A number as it is written.
    Number(&'a str),
    Count(u64),
}

/// All fields, as they are written.
const KNOWN: [&str; 11] = [
    "thingName",
    "thingGroupNames",
    "certificates",
    "attributes.",
    "connectivity.connected",
    "connectivity.timestamp",
    "connectivity.disconnectReason",
    "shadow.reported.",
    "shadow.desired.",
    "shadow.hasDelta",
    "shadow.version",
];

impl Field {
    pub(super) fn parse(text: &str) -> Result<Self, QueryError> {
        let unknown = || QueryError::Field {
            name: text.chars().take(64).collect(),
            nearest: protocol::nearest(text, KNOWN).map(str::to_owned),
        };
        match text {
            "thingName" => return Ok(Self::Name),
            "thingGroupNames" => return Ok(Self::Groups),
            "certificates" => return Ok(Self::Certificates),
            "connectivity.connected" => return Ok(Self::Connected),
            "connectivity.timestamp" => return Ok(Self::ConnectivityTimestamp),
            "connectivity.disconnectReason" => return Ok(Self::DisconnectReason),
            _ => {}
        }
        if let Some(name) = text.strip_prefix("attributes.") {
            return if name.is_empty() { Err(unknown()) } else { Ok(Self::Attribute(name.into())) };
        }
        let rest = text.strip_prefix("shadow.").ok_or_else(unknown)?;
        let (name, rest) = match rest.strip_prefix("name.") {
            Some(named) => {
                let (name, rest) = named.split_once('.').ok_or_else(unknown)?;
                (Some(name.into()), rest)
            }
            None => (None, rest),
        };
        let leaf = |half, path: &str| Part::Leaf { half, path: path.into() };
        let part = match (rest, rest.split_once('.')) {
            ("hasDelta", _) => Part::HasDelta,
            ("version", _) => Part::Version,
            (_, Some(("reported", path))) if !path.is_empty() => leaf(Half::Reported, path),
            (_, Some(("desired", path))) if !path.is_empty() => leaf(Half::Desired, path),
            _ => return Err(unknown()),
        };
        Ok(Self::Shadow { name, part })
    }

    /// Gives what the field says, value by value, to `judge`, until one is liked.
    pub(super) fn any(&self, facts: &Facts<'_>, mut judge: impl FnMut(Value<'_>) -> bool) -> bool {
        let presence = facts.presence;
        match self {
            Self::Name => judge(Value::Text(facts.thing.name())),
            Self::Groups => facts.thing.groups().any(|group| judge(Value::Text(group))),
            Self::Certificates => {
                facts.thing.certificates().any(|fingerprint| judge(Value::Text(fingerprint)))
            }
            Self::Attribute(name) => {
                facts.thing.attribute(name).is_some_and(|value| judge(Value::Text(value)))
            }
            Self::Connected => {
                judge(Value::Truth(presence.is_some_and(|it| it.connection().is_some())))
            }
            Self::ConnectivityTimestamp => {
                let since = presence.and_then(|it| match it.connection() {
                    Some(arrival) => Some(arrival.since),
                    None => it.departures().next().map(|departure| departure.at),
                });
                since.is_some_and(|since| judge(Value::Count(since.0)))
            }
            Self::DisconnectReason => {
                let last = presence.and_then(|it| it.departures().next());
                last.is_some_and(|last| judge(Value::Text(last.reason.as_str())))
            }
            Self::Shadow { name, part } => {
                let mut shadows = facts.shadows.iter().filter(|(it, _)| *it == name.as_deref());
                shadows.next().is_some_and(|(_, document)| match part {
                    Part::HasDelta => judge(Value::Truth(document.has_delta())),
                    Part::Version => judge(Value::Count(document.version())),
                    Part::Leaf { half, path } => {
                        document.leaf(*half, path).is_some_and(|leaf| any_value(leaf, &mut judge))
                    }
                })
            }
        }
    }
}

/// An array says what any of its items says; objects in it say nothing.
fn any_value(json: &Json, judge: &mut impl FnMut(Value<'_>) -> bool) -> bool {
    match json {
        Json::Null | Json::Object(_) => false,
        Json::Bool(is_true) => judge(Value::Truth(*is_true)),
        Json::Number(number) => judge(Value::Number(number.as_str())),
        Json::Text(text) => judge(Value::Text(text)),
        Json::Array(items) => items.iter().any(|item| match item {
            Json::Null | Json::Object(_) | Json::Array(_) => false,
            Json::Bool(_) | Json::Number(_) | Json::Text(_) => any_value(item, judge),
        }),
    }
}
