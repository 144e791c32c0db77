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

/// A PUBLISH of 5.0, right or wrong. All lengths fit one byte.
pub(super) fn publish(
    first: u8,
    topic: &[u8],
    id: Option<u16>,
    properties: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let short = |bytes: &[u8]| u8::try_from(bytes.len()).expect("a short one");
    let mut body = vec![0, short(topic)];
    body.extend_from_slice(topic);
    body.extend(id.map(u16::to_be_bytes).into_iter().flatten());
    body.push(short(properties));
    body.extend_from_slice(properties);
    body.extend_from_slice(payload);
    packet(first, &body)
}

/// A packet of less than 128 bytes.
pub(super) fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![first, u8::try_from(body.len()).expect("a short one")];
    packet.extend_from_slice(body);
    packet
}
