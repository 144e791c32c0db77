//! What must hold of any bytes that a WebSocket's client, or what claims to be a proxy, sends. A breach panics.
//!
//! The fuzz targets outside the workspace include this file as it is, so it uses nothing but the public face of the room.

use crate::transport::{Layer, UpgradeStep, proxy_header, upgrade};

/// A request that is taken.
pub(crate) const REQUEST: &str = "GET /mqtt HTTP/1.1\r\nHost: gw\r\nConnection: Upgrade\r\n\
    Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat, mqtt\r\n\r\n";

/// The longest message, in bytes.
const LIMIT: usize = 1_000;

/// Anything instead of a request, in two pieces: more is asked for, or it is refused with a short answer, or taken.
pub(crate) fn upgrade_request(bytes: &[u8]) {
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let mut before = None;
    for piece in [head, tail] {
        match upgrade(before.take(), piece, "/mqtt", LIMIT) {
            UpgradeStep::More(more) => before = Some(more),
            UpgradeStep::Refused(answer) => return assert!(answer.len() < 200),
            UpgradeStep::Done(mut socket) => {
                let mut answer = Vec::new();
                socket.get_mut().take_output(&mut answer);
                return assert!(answer.starts_with(b"HTTP/1.1 101 ") && answer.len() < 1_000);
            }
        }
    }
}

/// Anything behind a request that was taken, in two pieces: it means no more bytes than it has, and so is the answer.
pub(crate) fn frames(bytes: &[u8]) {
    let UpgradeStep::Done(socket) = upgrade(None, REQUEST.as_bytes(), "/mqtt", LIMIT) else {
        panic!("the request is refused");
    };
    let mut layer = Layer::WebSocket(socket);
    let (head, tail) = bytes.split_at(bytes.len() / 2);
    let (mut plain, mut reply) = (Vec::new(), Vec::new());
    for piece in [head, tail] {
        if layer.ingest(&mut piece.to_vec(), &mut plain, &mut reply).is_err() {
            break;
        }
    }
    assert!(plain.len() <= bytes.len(), "{} bytes of {}", plain.len(), bytes.len());
    assert!(reply.len() <= 1_000 + 2 * bytes.len(), "{} bytes for {}", reply.len(), bytes.len());
}

/// Anything where a proxy should introduce itself: a header means what it means whatever follows, and its beginnings mean
/// nothing yet.
pub(crate) fn proxied(bytes: &[u8]) {
    let Ok(Some((len, what))) = proxy_header(bytes) else { return };
    let header = bytes.get(..len).expect("a header within what came");
    assert_eq!(proxy_header(header), Ok(Some((len, what))));
    for part in [0, len / 2, len - 1] {
        assert_eq!(proxy_header(&header[..part]), Ok(None), "the first {part} of {len} bytes");
    }
}
