//! What calls of AWS's data plane are answered with.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::{ClientId, QoS, Wall};

use crate::json::{ObjectWriter, put_array, put_text};
use crate::presence::Presence;

/// A retained message as lists show it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedEntry<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Bytes of its payload.
    pub payload_bytes: usize,
    /// The level at which it was published.
    pub qos: QoS,
    /// When it was stored.
    pub modified_at: Wall,
}

/// The body of `ListNamedShadowsForThing`: names, and if there are more the last of these as the token for them.
pub fn list_named_shadows(names: &[&str], next: Option<&str>, now: Wall) -> String {
    let mut out = String::new();
    let mut body = ObjectWriter::begin(&mut out);
    put_array(body.member("results"), names, |out, name| put_text(out, name));
    if let Some(next) = next {
        body.text("nextToken", next);
    }
    body.number("timestamp", now.0 / 1_000);
    body.end();
    out
}

/// The body of `ListRetainedMessages`, by topic; `next` is the token for more, if there may be.
pub fn list_retained(entries: &[RetainedEntry<'_>], next: Option<&str>) -> String {
    let mut out = String::new();
    let mut body = ObjectWriter::begin(&mut out);
    put_array(body.member("retainedTopics"), entries, |out, entry| {
        let mut body = ObjectWriter::begin(out);
        body.text("topic", entry.topic);
        body.number("payloadSize", u64::try_from(entry.payload_bytes).unwrap_or(u64::MAX));
        body.number("qos", u64::from(entry.qos.bits()));
        body.number("lastModifiedTime", entry.modified_at.0);
        body.end();
    });
    if let Some(next) = next {
        body.text("nextToken", next);
    }
    body.end();
    out
}

/// The body of `GetRetainedMessage`.
pub fn retained_message(
    entry: RetainedEntry<'_>,
    payload: &[u8],
    user_properties: &[(&str, &str)],
) -> String {
    let mut out = String::new();
    let mut body = ObjectWriter::begin(&mut out);
    body.text("topic", entry.topic);
    body.text("payload", &STANDARD.encode(payload));
    body.number("qos", u64::from(entry.qos.bits()));
    body.number("lastModifiedTime", entry.modified_at.0);
    if !user_properties.is_empty() {
        let mut properties = String::new();
        put_array(&mut properties, user_properties, |out, (name, value)| {
            let mut property = ObjectWriter::begin(out);
            property.text(name, value);
            property.end();
        });
        body.text("userProperties", &STANDARD.encode(properties));
    }
    body.end();
    out
}

/// The body of `GetConnection`; where it comes from only `with_socket`.
pub fn connection(client: &ClientId, presence: &Presence, with_socket: bool) -> String {
    let mut out = String::new();
    let mut body = ObjectWriter::begin(&mut out);
    body.text("clientId", client.as_str());
    let now = presence.connection();
    body.truth("connected", now.is_some());
    if let Some(now) = now {
        if let Some(thing) = &now.thing {
            body.text("thingName", thing);
        }
        // A session that ends with its connection.
        body.truth("cleanSession", now.expiry_s == 0);
        if with_socket && !now.address.is_empty() {
            body.text("sourceIp", &now.address);
        }
        body.number("keepAliveDuration", u64::from(now.keep_alive_s));
        body.number("sessionExpiry", u64::from(now.expiry_s));
        body.number("connectedSince", now.since.0);
    } else if let Some(left) = presence.departures().next() {
        body.number("disconnectedSince", left.at.0);
        body.text("disconnectReason", left.reason.as_str());
    }
    body.end();
    out
}

/// The body of `ListSubscriptions`: filters with their levels; `next` is the token for more, if there are.
pub fn list_subscriptions(subscriptions: &[(&str, u8)], next: Option<&str>) -> String {
    let mut out = String::new();
    let mut body = ObjectWriter::begin(&mut out);
    put_array(body.member("subscriptions"), subscriptions, |out, (filter, qos)| {
        let mut body = ObjectWriter::begin(out);
        body.text("topicFilter", filter);
        body.number("qos", u64::from(*qos));
        body.end();
    });
    if let Some(next) = next {
        body.text("nextToken", next);
    }
    body.end();
    out
}

#[cfg(test)]
mod tests {
    use protocol::{GatewayId, Incarnation};

    use super::*;
    use crate::presence::{Arrival, DisconnectReason, PresenceLimits};

    const ENTRY: RetainedEntry<'_> = RetainedEntry {
        topic: "a/b",
        payload_bytes: 3,
        qos: QoS::AtLeastOnce,
        modified_at: Wall(1_700_000_000_123),
    };

    #[test]
    fn lists_say_where_they_go_on() {
        let now = Wall(5_999);
        assert_eq!(list_named_shadows(&[], None, now), r#"{"results":[],"timestamp":5}"#);
        assert_eq!(
            list_named_shadows(&["a", "b"], Some("b"), now),
            r#"{"results":["a","b"],"nextToken":"b","timestamp":5}"#
        );
        assert_eq!(
            list_retained(&[ENTRY], Some("a/b")),
            r#"{"retainedTopics":[{"topic":"a/b","payloadSize":3,"qos":1,"lastModifiedTime":1700000000123}],"nextToken":"a/b"}"#
        );
    }

    #[test]
    fn a_retained_message_is_shown_whole() {
        assert_eq!(
            retained_message(ENTRY, b"xyz", &[]),
            r#"{"topic":"a/b","payload":"eHl6","qos":1,"lastModifiedTime":1700000000123}"#
        );
        let shown = retained_message(ENTRY, b"", &[("k", "v"), ("k", "w")]);
        let properties = shown.split("\"userProperties\":\"").nth(1).unwrap();
        let read = super::super::user_properties(properties.trim_end_matches("\"}")).unwrap();
        assert_eq!(read, [("k".to_owned(), "v".to_owned()), ("k".to_owned(), "w".to_owned())]);
    }

    #[test]
    fn a_connection_is_told_while_it_is_there_and_after() {
        let client = ClientId::new("c").unwrap();
        let mut presence = Presence::never();
        assert_eq!(connection(&client, &presence, true), r#"{"clientId":"c","connected":false}"#);
        let arrival = Arrival {
            session: "s".into(),
            since: Wall(1_700_000_000_123),
            gateway: GatewayId::new("g").unwrap(),
            incarnation: Incarnation(1),
            principal: "p".into(),
            address: "127.0.0.1".into(),
            thing: Some("c".into()),
            clean: true,
            keep_alive_s: 60,
            expiry_s: 3_600,
        };
        presence.arrive(&client, arrival, &PresenceLimits::default());
        let there = r#"{"clientId":"c","connected":true,"thingName":"c","cleanSession":false,"keepAliveDuration":60,"sessionExpiry":3600,"connectedSince":1700000000123}"#;
        assert_eq!(connection(&client, &presence, false), there);
        let from = there.replace("\"keep", "\"sourceIp\":\"127.0.0.1\",\"keep");
        assert_eq!(connection(&client, &presence, true), from);
        presence.leave(&client, "s", DisconnectReason::ClientError, Wall(1_700_000_000_456));
        assert_eq!(
            connection(&client, &presence, true),
            r#"{"clientId":"c","connected":false,"disconnectedSince":1700000000456,"disconnectReason":"CLIENT_ERROR"}"#
        );
    }

    #[test]
    fn subscriptions_have_their_levels() {
        assert_eq!(list_subscriptions(&[], None), r#"{"subscriptions":[]}"#);
        assert_eq!(
            list_subscriptions(&[("a/#", 1)], Some("a/#")),
            r#"{"subscriptions":[{"topicFilter":"a/#","qos":1}],"nextToken":"a/#"}"#
        );
    }
}
