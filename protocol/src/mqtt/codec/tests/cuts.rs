//! Packets that are cut: what is cut is never taken for whole. Other damage is done in `protocol/src/tests`.

use crate::mqtt::{
    Version,
    codec::{Sender, decode, frame},
};

use super::samples::{VERSIONS, samples};

const SIDES: [Sender; 2] = [Sender::Client, Sender::Server];
const LIMIT: u32 = 1_000_000;

#[test]
fn every_sample_is_one_whole_valid_packet() {
    for (version, from) in both_axes() {
        for sample in samples(version, from) {
            assert_eq!(frame(&sample, LIMIT), Ok(Some(sample.len())), "{sample:x?}");
            let decoded = decode(&sample, version, from);
            assert!(decoded.is_ok(), "{version:?} {decoded:?} {sample:x?}");
        }
    }
}

#[test]
fn a_packet_cut_anywhere_asks_for_more_and_never_decodes() {
    for (version, from) in both_axes() {
        for sample in samples(version, from) {
            for end in 0..sample.len() {
                assert_eq!(frame(&sample[..end], LIMIT), Ok(None));
                assert!(decode(&sample[..end], version, from).is_err());
            }
        }
    }
}

#[test]
fn a_body_cut_inside_its_last_field_is_refused() {
    // The remaining length is shortened with the body, so that only the fields can tell. Payloads have no length
    // of their own, and the short forms of 5.0 end early on purpose.
    for (version, from) in both_axes() {
        for sample in samples(version, from) {
            let whole = decode(&sample, version, from).unwrap();
            for end in 2..sample.len() {
                let mut cut = sample[..end].to_vec();
                cut[1] = u8::try_from(end - 2).unwrap();
                if let Ok(packet) = decode(&cut, version, from) {
                    assert_ne!(packet, whole, "{cut:x?}");
                }
            }
        }
    }
}

fn both_axes() -> impl Iterator<Item = (Version, Sender)> {
    VERSIONS.into_iter().flat_map(|version| SIDES.into_iter().map(move |from| (version, from)))
}
