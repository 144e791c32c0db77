//! One function for each target.

use protocol::mqtt::Version;

#[cfg(feature = "gateway")]
#[cfg(feature = "access")]
use crate::access_any_bytes;
#[cfg(feature = "gateway")]
use crate::gateway_any_bytes;
use crate::protocol_any_bytes;
use crate::shadow_any_bytes;

/// A packet of MQTT 3.1.
pub fn packet_3_1(bytes: &[u8]) {
    protocol_any_bytes::packet(bytes, Version::V31);
}

/// A packet of MQTT 3.1.1.
pub fn packet_3_1_1(bytes: &[u8]) {
    protocol_any_bytes::packet(bytes, Version::V311);
}

/// A packet of MQTT 5.0.
pub fn packet_5_0(bytes: &[u8]) {
    protocol_any_bytes::packet(bytes, Version::V5);
}

/// A property section.
pub fn properties(bytes: &[u8]) {
    protocol_any_bytes::properties(bytes);
}

/// A topic name, a filter, a shared subscription.
pub fn topics(bytes: &[u8]) {
    protocol_any_bytes::topics(bytes);
}

/// What a gateway sends to another.
pub fn peer_stream(bytes: &[u8]) {
    protocol_any_bytes::peer_stream(bytes);
}

/// The same, given to both machines of a link.
pub fn peer_machines(bytes: &[u8]) {
    protocol_any_bytes::peer_machines(bytes);
}

/// Stored references to sessions.
pub fn refs(bytes: &[u8]) {
    protocol_any_bytes::refs(bytes);
}

/// A stored session.
pub fn session_record(bytes: &[u8]) {
    protocol_any_bytes::session_record(bytes);
}

/// A stored publication.
pub fn publication(bytes: &[u8]) {
    protocol_any_bytes::publication(bytes);
}

/// Requests to a shadow, one after the other.
pub fn shadow_requests(bytes: &[u8]) {
    shadow_any_bytes::requests(bytes);
}

/// A stored shadow, and a stored presence.
pub fn shadow_records(bytes: &[u8]) {
    shadow_any_bytes::records(bytes);
}

/// A search among things, and a thing.
pub fn things(bytes: &[u8]) {
    shadow_any_bytes::things(bytes);
}

/// A topic, a filter or a key of shadows.
pub fn reserved_topics(bytes: &[u8]) {
    shadow_any_bytes::reserved_topics(bytes);
}

/// A request of AWS's data plane over HTTP.
pub fn data_plane_calls(bytes: &[u8]) {
    shadow_any_bytes::calls(bytes);
}

/// Files of rules and of passwords.
#[cfg(feature = "access")]
pub fn access_files(bytes: &[u8]) {
    access_any_bytes::files(bytes);
}

/// User names, tokens, SCRAM.
#[cfg(feature = "access")]
pub fn credentials(bytes: &[u8]) {
    access_any_bytes::credentials(bytes);
}

/// What an HTTP hook answers.
#[cfg(feature = "access")]
pub fn hook_answer(bytes: &[u8]) {
    access_any_bytes::hook_answer(bytes);
}

/// How two filters stand to each other.
#[cfg(feature = "access")]
pub fn filters(bytes: &[u8]) {
    access_any_bytes::filters(bytes);
}

/// A request for a WebSocket.
#[cfg(feature = "gateway")]
pub fn web_socket_upgrade(bytes: &[u8]) {
    gateway_any_bytes::upgrade_request(bytes);
}

/// Frames of a WebSocket.
#[cfg(feature = "gateway")]
pub fn web_socket_frames(bytes: &[u8]) {
    gateway_any_bytes::frames(bytes);
}

/// What a proxy says before anything else.
#[cfg(feature = "gateway")]
pub fn proxy_header(bytes: &[u8]) {
    gateway_any_bytes::proxied(bytes);
}
