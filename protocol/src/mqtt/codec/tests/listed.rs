//! The lists of malformed and of unusual packets: none of the ones is accepted, all of the others are.

use crate::{
    Violation,
    mqtt::{
        Packet, Version,
        codec::{Sender, decode, decode_connect, frame},
    },
};

use super::lists::{Case, bytes, malformed, unusual};

#[test]
fn every_malformed_packet_of_the_list_is_refused_with_its_reason_and_statement() {
    let mut wrong = Vec::new();
    for case in malformed() {
        let wire = bytes(case.wire);
        for &version in case.versions {
            let found = verdict(&wire, version, case.from);
            let found = found.err().map(|violation| (violation.reason, violation.statement));
            if found != case.wrong {
                wrong.push(format!("{version:?} {}: {found:?}, not {:?}", case.name, case.wrong));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_unusual_packet_of_the_list_is_accepted() {
    let mut wrong = Vec::new();
    for case in unusual() {
        let wire = bytes(case.wire);
        for &version in case.versions {
            match verdict(&wire, version, case.from) {
                Err(violation) => wrong.push(format!("{version:?} {}: {violation}", case.name)),
                Ok(Packet::Connect(connect)) => assert_eq!(connect.version, version, "{case:?}"),
                Ok(_) => {}
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_lists_are_long_and_name_each_packet_once() {
    for (cases, least) in [(malformed(), 200), (unusual(), 85)] {
        assert!(cases.len() >= least, "{}", cases.len());
        let mut names: Vec<_> = cases.iter().flat_map(named).collect();
        names.sort_unstable();
        let all = names.len();
        names.dedup();
        assert_eq!(all, names.len());
    }
}

fn named(case: &Case) -> impl Iterator<Item = String> {
    case.versions.iter().map(|version| format!("{version:?} {}: {}", case.group, case.name))
}

#[test]
fn the_notation_says_what_it_means() {
    assert_eq!(bytes("30 ['a' [01 01] <xy>]"), b"\x30\x08\x00\x01a\x02\x01\x01xy");
    assert_eq!(bytes("{0041x3}"), b"\x00\x04\x00AAA");
    assert_eq!(bytes("[00x128]")[..3], [0x80, 0x01, 0x00]);
}

/// What a receiver makes of a whole packet: as its first one if it is a CONNECT to a server.
fn verdict(wire: &[u8], version: Version, from: Sender) -> Result<Packet<'_>, Violation> {
    assert_eq!(frame(wire, 1_000_000)?, Some(wire.len()), "{wire:x?} is not one packet");
    let packet = decode(wire, version, from)?;
    if from == Sender::Client && wire.first() == Some(&0x10) {
        let first = decode_connect(wire)?;
        assert_eq!(packet, Packet::Connect(Box::new(first)));
    }
    Ok(packet)
}
