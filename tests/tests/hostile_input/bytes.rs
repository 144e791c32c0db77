//! Packets as bytes, and what becomes of who sends them.

use super::pair::Pair;
use protocol::mqtt::ReasonCode;
use tests::harness::{Dial, Ended, Fleet};

/// Each input is sent by a client of 5.0 of its own, which must be told the reason, and by one of 3.1.1 where it means the
/// same there, which must be closed. A well-behaved pair notices nothing.
pub(super) fn check_all(inputs: &[(&str, &[u8], ReasonCode)]) {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut rows: Vec<_> = inputs.iter().filter_map(|(what, ..)| what.split(':').next()).collect();
    rows.dedup();
    pair.unmoved_by(&rows.join(", "), || {
        for (what, bytes, reason) in inputs {
            let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
            client.send(bytes);
            assert_eq!(client.end_reason(), Some(*reason), "{what}");
            if what.starts_with('F') {
                let mut old = Dial::v311("offender").connect(fleet.mqtt(1));
                old.send(bytes);
                assert_eq!(old.ended(), Ended::Closed, "{what} in 3.1.1");
            }
        }
    });
    pair.assert_undisturbed();
}

/// A PUBLISH of 5.0, right or wrong.
pub(super) fn publish(
    first: u8,
    topic: &[u8],
    id: Option<u16>,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut body = string(topic);
    body.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    body.extend(length(properties.len()));
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    packet(first, &body)
}

/// A packet with its length.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first];
    packet.extend(length(body.len()));
    packet.extend_from_slice(body);
    packet
}

/// A string, or binary data, with its length.
pub(super) fn string(bytes: &[u8]) -> Vec<u8> {
    let length = u16::try_from(bytes.len()).expect("at most 65,535 bytes");
    [&length.to_be_bytes()[..], bytes].concat()
}

/// A variable byte integer.
fn length(mut length: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    loop {
        let low = u8::try_from(length % 128).expect("below 128");
        length /= 128;
        bytes.push(if length == 0 { low } else { low | 0x80 });
        if length == 0 {
            return bytes;
        }
    }
}
