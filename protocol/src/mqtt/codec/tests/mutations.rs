//! Damaged packets: cut, flipped, extended. Nothing may panic; what is cut is never taken for whole.

use crate::mqtt::{
    Version,
    codec::{Sender, decode, decode_connect, frame},
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

#[test]
fn two_hundred_thousand_mutations_per_version_never_panic() {
    for version in VERSIONS {
        let mut random = XorShift(0x9E37_79B9_7F4A_7C15 ^ version as u64);
        let pool: Vec<_> = SIDES.into_iter().flat_map(|from| samples(version, from)).collect();
        for _ in 0..200_000 {
            let mut bytes = pool[random.below(pool.len())].clone();
            for _ in 0..=random.below(3) {
                mutate(&mut bytes, &pool, &mut random);
            }
            fix_length(&mut bytes, &mut random);
            for from in SIDES {
                let _ = decode(&bytes, version, from);
            }
            let _ = decode_connect(&bytes);
            if let Ok(Some(len)) = frame(&bytes, LIMIT) {
                assert!(len >= 2 && len <= bytes.len());
            }
        }
    }
}

fn both_axes() -> impl Iterator<Item = (Version, Sender)> {
    VERSIONS.into_iter().flat_map(|version| SIDES.into_iter().map(move |from| (version, from)))
}

fn mutate(bytes: &mut Vec<u8>, pool: &[Vec<u8>], random: &mut XorShift) {
    let at = random.below(bytes.len());
    match random.below(6) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = u8::try_from(random.below(256)).unwrap(),
        2 => bytes.truncate(at.max(2)),
        3 => bytes.insert(at, u8::try_from(random.below(256)).unwrap()),
        4 => {
            let other = &pool[random.below(pool.len())];
            bytes.truncate(at.max(2));
            bytes.extend_from_slice(&other[random.below(other.len())..]);
        }
        _ => {
            bytes.remove(at);
            bytes.resize(bytes.len().max(2), 0);
        }
    }
}

/// Most of the time the header fits again, so that the fields are reached.
fn fix_length(bytes: &mut [u8], random: &mut XorShift) {
    if random.below(8) != 0
        && let Ok(len) = u8::try_from(bytes.len() - 2)
        && len < 128
    {
        bytes[1] = len;
    }
}

struct XorShift(u64);

impl XorShift {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % u64::try_from(end).unwrap()).unwrap()
    }
}
