//! The peer links among the metrics: one series for each peer.

use std::fmt::Write as _;

use crate::control::PeerStatus;

/// A number of a link: name, type, help, and how to find it; a link that has none is left out.
type Family = (&'static str, &'static str, &'static str, fn(&PeerStatus) -> Option<u64>);

/// In the order of the text; [`PeerStatus::oldest_ms`] and the sizes of interest are written besides.
const FAMILIES: [Family; 10] = [
    ("tidegate_peer_up", "gauge", "Whether the link to the peer is open.", |it| {
        Some(u64::from(it.up))
    }),
    ("tidegate_peer_version", "gauge", "Version of the frames spoken with the peer.", |it| {
        it.version.map(u64::from)
    }),
    (
        "tidegate_peer_waiting_forwards",
        "gauge",
        "Publications that the peer has not acknowledged.",
        |it| Some(it.queue_len),
    ),
    ("tidegate_peer_waiting_bytes", "gauge", "Bytes of those publications.", |it| {
        Some(it.queue_bytes)
    }),
    ("tidegate_peer_credit", "gauge", "Publications that the peer takes now.", |it| it.credit),
    ("tidegate_peer_granted", "gauge", "Publications that are taken from the peer now.", |it| {
        it.granted
    }),
    ("tidegate_peer_sent_forwards_total", "counter", "Publications written to the peer.", |it| {
        Some(it.sent.forwards)
    }),
    ("tidegate_peer_sent_bytes_total", "counter", "Bytes written to the peer, before TLS.", |it| {
        Some(it.sent.bytes)
    }),
    (
        "tidegate_peer_received_forwards_total",
        "counter",
        "Publications taken from the peer.",
        |it| Some(it.received.forwards),
    ),
    (
        "tidegate_peer_received_bytes_total",
        "counter",
        "Bytes read from the peer, before TLS.",
        |it| Some(it.received.bytes),
    ),
];

/// Appends every number of every link.
pub(super) fn render(text: &mut String, peers: &[PeerStatus]) {
    for (family, kind, help, find) in FAMILIES {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {family} {help}\n# TYPE {family} {kind}");
        for (peer, value) in peers.iter().filter_map(|peer| Some((peer, find(peer)?))) {
            let _ = writeln!(text, "{family}{{peer=\"{}\"}} {value}", peer.id);
        }
    }
    let oldest = "tidegate_peer_oldest_seconds";
    let help = "How long the oldest publication that the peer has not acknowledged has waited.";
    let _ = writeln!(text, "# HELP {oldest} {help}\n# TYPE {oldest} gauge");
    for peer in peers {
        let ms = peer.oldest_ms.unwrap_or_default();
        let _ = writeln!(text, "{oldest}{{peer=\"{}\"}} {}.{:03}", peer.id, ms / 1000, ms % 1000);
    }
    let interest = "tidegate_peer_interest";
    let help = "Filters and shared groups that the peer has subscribers for.";
    let _ = writeln!(text, "# HELP {interest} {help}\n# TYPE {interest} gauge");
    for peer in peers {
        let sizes = peer.interest;
        let kinds =
            [("exact", sizes.exact), ("wildcard", sizes.wildcard), ("shared", sizes.shared)];
        for (kind, value) in kinds {
            let _ = writeln!(text, "{interest}{{peer=\"{}\",kind=\"{kind}\"}} {value}", peer.id);
        }
    }
}
