//! What one codec writes the others read, and where verdicts differ is known. `ORACLES_INPUTS` asks for a longer run.

use std::collections::BTreeMap;

use oracles::{Difference, FOREIGN, KNOWN, damaged, difference, sample};
use protocol::mqtt::Version;

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

#[test]
fn what_we_write_the_others_read_and_write_back_as_it_was() {
    differ_only_where_known(inputs(20_000), |seed, version| sample(seed, version).wire);
}

#[test]
fn verdicts_on_damaged_packets_differ_only_where_it_is_known() {
    differ_only_where_known(inputs(100_000), |seed, version| damaged(seed, version).wire);
}

#[test]
fn every_known_difference_has_its_reason_and_still_exists() {
    let mut found: Vec<Difference> = Vec::new();
    quietly(|| {
        for version in VERSIONS {
            for seed in 0..100_000 {
                for wire in [sample(seed, version).wire, damaged(seed, version).wire] {
                    found.extend(FOREIGN.iter().filter_map(|f| difference(f, &wire, version)));
                }
            }
        }
    });
    for known in KNOWN {
        assert!(!known.why.is_empty());
        let alive = found.iter().any(|difference| {
            (difference.foreign, difference.way) == (known.foreign, known.way)
                && difference.about.iter().any(|about| known.about.contains(about))
        });
        assert!(alive, "{} {:?} {:?} is gone", known.foreign, known.way, known.about);
    }
}

fn inputs(usual: u64) -> u64 {
    std::env::var("ORACLES_INPUTS").map_or(usual, |text| text.parse().unwrap())
}

fn differ_only_where_known(count: u64, mut make: impl FnMut(u64, Version) -> Vec<u8>) {
    let mut surprises: BTreeMap<Difference, (u32, Vec<u8>)> = BTreeMap::new();
    quietly(|| {
        for version in VERSIONS {
            for seed in 0..count {
                let wire = make(seed, version);
                for foreign in &FOREIGN {
                    let Some(difference) = difference(foreign, &wire, version) else { continue };
                    if !difference.is_known() {
                        surprises.entry(difference).or_insert_with(|| (0, wire.clone())).0 += 1;
                    }
                }
            }
        }
    });
    for (Difference { foreign, way, about }, (times, wire)) in &surprises {
        println!("{foreign} {way:?} {about:?} {times} times, as {wire:02x?}");
    }
    assert!(surprises.is_empty(), "{} kinds of differences are not known", surprises.len());
}

/// The others' panics are counted, not told.
fn quietly(run: impl FnOnce()) {
    std::panic::set_hook(Box::new(|_| {}));
    run();
    let _ = std::panic::take_hook();
}
