//! A million damaged inputs for each subject, the same in every run; `TIDEGATE_MUTATIONS` names another number.

use crate::mqtt::Version;
use crate::mqtt::codec::tests::lists::{bytes, malformed, unusual};
use crate::mqtt::codec::tests::samples::samples;
use crate::mqtt::codec::{Sender, decode_publish};
use crate::peer::{
    FilterHash, Frame, HashChange, InterestChange, ReleaseOutcome, SharedTarget, VERSION,
};
use crate::session::{Owner, SessionRecord, StoredSubscription, StoredWill};
use crate::{
    ClientId, GatewayId, Incarnation, LogSeq, PacketId, Position, Publication, QoS, RefsBuilder,
    SessionEpoch, SessionNo, TopicFilter, Wall,
};

use super::any_bytes;
use super::mutation::run;

/// Inputs for each subject unless the environment names another number.
const INPUTS: u64 = 1_000_000;

/// How many inputs each subject gets: one million, or what `TIDEGATE_MUTATIONS` says.
fn inputs() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "a test may be told how long to run")]
    let told = std::env::var("TIDEGATE_MUTATIONS");
    told.map_or(INPUTS, |text| text.parse().unwrap())
}

/// All that is valid, unusual or malformed in that version.
fn packets(version: Version) -> Vec<Vec<u8>> {
    let listed = malformed().into_iter().chain(unusual());
    let mut all: Vec<_> = listed
        .filter(|case| case.versions.contains(&version))
        .map(|case| bytes(case.wire))
        .collect();
    all.retain(|bytes| bytes.len() < 500);
    for from in [Sender::Client, Sender::Server] {
        all.extend(samples(version, from));
    }
    all
}

/// Most of the time the header fits again, so that the fields are reached.
fn packets_of(version: Version) {
    let mut number = 0_u8;
    let mut fixed = Vec::new();
    run(&format!("packets of {version:?}"), &packets(version), inputs(), |bytes| {
        number = number.wrapping_add(1);
        fixed.clear();
        fixed.extend_from_slice(bytes);
        if !number.is_multiple_of(8)
            && let (Some(length), Ok(short)) =
                (fixed.get_mut(1), u8::try_from(bytes.len().saturating_sub(2)))
            && short < 128
        {
            *length = short;
        }
        any_bytes::packet(&fixed, version);
    });
}

#[test]
fn no_mutated_packet_of_3_1_does_harm() {
    packets_of(Version::V31);
}

#[test]
fn no_mutated_packet_of_3_1_1_does_harm() {
    packets_of(Version::V311);
}

#[test]
fn no_mutated_packet_of_5_0_does_harm() {
    packets_of(Version::V5);
}

#[test]
fn no_mutated_property_section_does_harm() {
    let sections: Vec<_> = packets(Version::V5)
        .iter()
        .filter(|packet| packet.len() > 5 && packet.len() < 100)
        .map(|packet| packet[4..].to_vec())
        .collect();
    run("properties", &sections, inputs() / 5, any_bytes::properties);
}

#[test]
fn no_mutated_topic_or_filter_does_harm() {
    let texts = ["a/b", "+/a/#", "$share/group/a/+", "$SYS/x", "é/日本/🦀", "/", "#", "a//b/"];
    let corpus: Vec<_> = texts.iter().map(|text| text.as_bytes().to_vec()).collect();
    run("topics", &corpus, inputs(), any_bytes::topics);
}

#[test]
fn no_mutated_peer_stream_does_harm() {
    run("peer stream", &streams(), inputs(), any_bytes::peer_stream);
}

#[test]
fn no_mutated_peer_stream_makes_a_machine_say_more_than_it_should() {
    run("peer machines", &streams(), inputs() / 5, any_bytes::peer_machines);
}

#[test]
fn no_mutated_references_do_harm() {
    let mut builder = RefsBuilder::new();
    let mut corpus = Vec::new();
    for session in [1, 2, 200, 300, 70_000, u32::MAX] {
        builder.push(SessionNo(session), 1);
        builder.push(SessionNo(session.wrapping_add(1).max(1)), 6);
        corpus.push(builder.build().as_bytes().to_vec());
    }
    run("references", &corpus, inputs(), any_bytes::refs);
}

#[test]
fn no_mutated_session_record_does_harm() {
    run("session record", &records(), inputs(), any_bytes::session_record);
}

#[test]
fn no_mutated_publication_does_harm() {
    let mut stored = Vec::new();
    publication().encode(&mut stored);
    run("publication", &[stored], inputs() / 5, any_bytes::publication);
}

#[test]
fn packets_are_read_in_one_walk_however_many_properties_they_have() {
    // Hop properties between travelling ones are the dearest case: each travelling one is copied, once.
    let mut section = Vec::new();
    for _ in 0..10_000 {
        section.extend_from_slice(b"\x0b\x01\x26\x00\x01k\x00\x01v");
    }
    let mut wire = vec![0x30];
    wire.extend(three_bytes(section.len() + 6));
    wire.extend_from_slice(b"\x00\x01a");
    wire.extend(three_bytes(section.len()));
    wire.extend_from_slice(&section);
    let publish = decode_publish(&wire, Version::V5, Sender::Server).unwrap();
    assert_eq!(publish.properties.subscription_ids.len(), 10_000);
    assert_eq!(publish.properties.end_to_end.len(), 70_000);
}

fn three_bytes(len: usize) -> [u8; 3] {
    [len & 0x7F | 0x80, len >> 7 & 0x7F | 0x80, len >> 14].map(|part| u8::try_from(part).unwrap())
}

fn publication() -> Publication {
    let mut publication = Publication::new("a/é", b"\x01\x01", b"payload", QoS::AtLeastOnce, true);
    publication.expires_at = Some(Wall(9));
    publication
}

fn gateway(name: &str) -> GatewayId {
    GatewayId::new(name).unwrap()
}

/// Every kind of frame: alone, and behind a greeting.
fn streams() -> Vec<Vec<u8>> {
    let (share, filter) = TopicFilter::parse_subscription("$share/g/a/+").unwrap();
    let plain = InterestChange { filter: filter.clone(), share: None, members: 1 };
    let shared = InterestChange { filter: filter.clone(), share: share.clone(), members: 3 };
    let target = SharedTarget { share: share.unwrap(), filter };
    let hello = Frame::Hello {
        version: VERSION,
        fleet: "fleet".to_owned(),
        gateway: gateway("gw-2"),
        incarnation: Incarnation(2),
    };
    let welcome = Frame::Welcome {
        version: VERSION,
        gateway: gateway("gw-2"),
        incarnation: Incarnation(2),
        forwarded: 3,
    };
    let frames = [
        Frame::Interest {
            rev: 1,
            replace: true,
            last: false,
            changes: vec![plain.clone(), shared],
        },
        Frame::Interest { rev: 1, replace: true, last: true, changes: vec![plain] },
        Frame::Hashes {
            rev: 2,
            replace: false,
            last: true,
            hashes: vec![HashChange::new(FilterHash::of("a/b"), 1)],
        },
        Frame::InterestAck { rev: 1 },
        Frame::Forward {
            seq: 1,
            plain: true,
            shared: [target].into_iter().collect(),
            publication: publication(),
        },
        Frame::ForwardAck { seq: 1 },
        Frame::ForwardCredit { seq: 9, bytes: 900 },
        Frame::Release {
            request: 1,
            client: ClientId::new("device").unwrap(),
            epoch: SessionEpoch(7),
        },
        Frame::Released { request: 1, outcome: ReleaseOutcome::Busy },
        Frame::Poke { seq: LogSeq(5) },
        Frame::Poked { seq: LogSeq(5) },
        Frame::DrainAsk { drain: 1, clients: 2, per_s: 3 },
        Frame::DrainCredit { drain: 1, clients: 2, per_s: 3 },
        Frame::Refused { reason: 1, text: "why".to_owned() },
        Frame::Ping,
        Frame::Pong,
    ];
    let mut streams = Vec::new();
    for greeting in [&hello, &welcome] {
        let mut all = Vec::new();
        greeting.encode(&mut all);
        streams.push(all.clone());
        for frame in &frames {
            let mut alone = Vec::new();
            greeting.encode(&mut alone);
            frame.encode(&mut alone);
            frame.encode(&mut all);
            streams.push(alone);
        }
        streams.push(all);
    }
    streams
}

fn records() -> Vec<Vec<u8>> {
    let clean = SessionRecord::new(SessionNo(0), SessionEpoch(1), 0);
    let mut full = SessionRecord::new(SessionNo(7), SessionEpoch(u64::MAX), u32::MAX);
    full.owner = Some(Owner { gateway: gateway("gw-1"), incarnation: Incarnation(3) });
    full.detached_at = Some(Wall(11));
    full.orphaned = true;
    full.acknowledged = Position(5);
    full.sent = Position(9);
    full.will = Some(StoredWill { publication: publication(), delay_s: 1, expiry_s: Some(2) });
    full.subscriptions = ["a/#", "$share/g/+"]
        .iter()
        .map(|filter| StoredSubscription {
            filter: (*filter).into(),
            qos: QoS::ExactlyOnce,
            no_local: true,
            retain_as_published: true,
            id: Some(9),
        })
        .collect();
    let id = |id| PacketId::new(id).unwrap();
    full.inflight = vec![(id(1), Position(6), false), (id(2), Position(7), true)];
    full.inbound = vec![id(3), id(4)];
    [clean, full].iter().map(|record| record.encode().to_vec()).collect()
}
