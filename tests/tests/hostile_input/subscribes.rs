//! S: subscriptions.

use std::time::Duration;

use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Filter, ReasonCode, RetainHandling, SubscribeOptions, Version};
use protocol::{PacketId, QoS};
use tests::harness::{Client, Dial, Fleet};

use super::bytes::packet;
use super::pair::Pair;
use super::size::size;

#[test]
fn bad_filters_are_refused_one_by_one() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    let deep = "a/".repeat(200);
    let long = "x".repeat(60_000);
    for filter in [
        "a/#/b",
        "a+",
        "#a",
        "a/b+",
        "$share//x",
        "$share/g",
        "$share/g+/x",
        "$share/g/",
        &deep,
        &long,
    ] {
        let reasons = client.try_subscribe(filter, QoS::AtLeastOnce);
        assert_eq!(reasons, [ReasonCode::TopicFilterInvalid], "S1, S3: {filter:.20}");
    }
    // A good one beside a bad one is served.
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let both = ["good", "bad#"].map(|text| Filter { text, options });
    let reasons = client.subscribe_with(&both, None);
    assert_eq!(reasons, [ReasonCode::GrantedQoS1, ReasonCode::TopicFilterInvalid]);
    client.publish("good", "x", QoS::AtMostOnce);
    assert_eq!(client.receive().text, "x");
    // S6
    assert_eq!(client.unsubscribe("unknown"), [ReasonCode::NoSubscriptionExisted]);
    // 3.1.1 has one word for all of it.
    let mut old = Dial::v311("old").connect(fleet.mqtt(1));
    old.send(&packet(0x82, &[0, 1, 0, 2, b'#', b'a', 1]));
    assert_eq!(old.next_frame().bytes(), [0x90, 3, 0, 1, 0x80]);
    // S1: no local on a shared subscription breaks a rule.
    let own =
        [Filter { text: "$share/g/t", options: SubscribeOptions { no_local: true, ..options } }];
    let mut bytes = Vec::new();
    let id = PacketId::new(9).expect("an id");
    let subscribe =
        protocol::mqtt::Subscribe { packet_id: id, subscription_id: None, filters: own.to_vec() };
    protocol::mqtt::codec::subscribe(&mut bytes, Version::V5, &subscribe);
    client.send(&bytes);
    assert_eq!(client.end_reason(), Some(ReasonCode::ProtocolError));
    // S2: too many at once.
    let mut client = Dial::v5("client").connect(fleet.mqtt(1));
    let many: Vec<_> = (0..65_535).map(|_| Filter { text: "a", options }).collect();
    let mut bytes = Vec::new();
    let subscribe =
        protocol::mqtt::Subscribe { packet_id: id, subscription_id: None, filters: many };
    protocol::mqtt::codec::subscribe(&mut bytes, Version::V5, &subscribe);
    client.send(&bytes);
    assert_eq!(client.end_reason(), Some(ReasonCode::QuotaExceeded));
    pair.assert_undisturbed();
}

const AT_MOST_ONCE: SubscribeOptions = SubscribeOptions {
    qos: QoS::AtMostOnce,
    no_local: false,
    retain_as_published: false,
    retain_handling: RetainHandling::DoNotSend,
};

/// Subscribes to all of them, so many at a time; answers how many were granted.
fn subscribe_all(client: &mut Client, filters: &[String], at_once: usize) -> usize {
    let mut granted = 0;
    for part in filters.chunks(at_once) {
        let part: Vec<_> = part.iter().map(|text| Filter { text, options: AT_MOST_ONCE }).collect();
        let reasons = client.subscribe_with(&part, None);
        for reason in reasons {
            assert!(!reason.is_error() || reason == ReasonCode::QuotaExceeded, "{reason:?}");
            granted += usize::from(!reason.is_error());
        }
    }
    granted
}

#[test]
fn a_session_has_so_many_subscriptions_and_no_more() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    // S2: all that a session may have, again and again, and the first beyond.
    let filters: Vec<_> = (0..1_010).map(|n| format!("s2/{n}/+")).collect();
    pair.unmoved_by_weight_of("S2", || {
        let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
        assert_eq!(subscribe_all(&mut client, &filters, 64), 1_000);
        client.disconnect();
    });
    // A million: each beyond what a session may have is refused, and costs no more than the one before.
    let mut client = Dial::v5("million").connect(fleet.mqtt(1));
    let (began, all) = (process.cpu_time(), size(10_000, 1_000_000));
    let filters: Vec<_> = (0..all).map(|n| format!("s2/{n}/+")).collect();
    assert_eq!(subscribe_all(&mut client, &filters, 250), 1_000);
    let each = (process.cpu_time() - began) / u32::try_from(all).expect("a million");
    println!(
        "S2: {each:?} of processor time for each of {all} filters, of which 1,000 are granted"
    );
    assert!(each < Duration::from_millis(2), "{each:?} for one filter");
    client.disconnect();
    // S5: the same filter again and again; nothing of it stays.
    let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
    let mut again = || {
        client.subscribe("s5/+/x", QoS::AtLeastOnce);
        assert_eq!(client.unsubscribe("s5/+/x"), [ReasonCode::Success]);
    };
    for _ in 0..500 {
        again();
    }
    let before = process.resident_bytes();
    pair.unmoved_by("S5", &mut again);
    for _ in 0..size(3_000, 100_000) {
        again();
    }
    let grown = process.resident_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for a subscription that is gone");
    pair.assert_undisturbed();
}

#[test]
fn deep_topics_and_filters_that_match_everything_cost_their_own_share() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
    // S3: 65,535 levels, as topic and as filter.
    let slashes = "/".repeat(65_535);
    pair.unmoved_by_weight_of("S3", || {
        let refused = client.try_subscribe(&slashes, QoS::AtLeastOnce);
        assert_eq!(refused, [ReasonCode::TopicFilterInvalid]);
        let id = client.start_publish(&slashes, "x", QoS::AtLeastOnce).expect("an id");
        assert_eq!(client.answer_to(AckKind::PubAck, id), ReasonCode::TopicNameInvalid);
    });
    // As many levels as are allowed, each a wildcard.
    let deep = vec!["+"; 128].join("/");
    client.subscribe(&deep, QoS::AtMostOnce);
    let topic = vec!["a"; 128].join("/");
    // What comes back is taken each time: what a client hoards it searches, which would cost the processor that all share.
    pair.unmoved_by_weight_of("S3", || {
        client.publish(&topic, "x", QoS::AtLeastOnce);
        client.receive_only();
    });
    client.disconnect();
    // Mixes of a name and a wildcard over nine levels: one topic matches a thousand filters of one client.
    let mut client = Dial::v5("offender").connect(fleet.mqtt(1));
    let mixes: Vec<_> = (0_u32..500)
        .map(|mix| {
            let level = |bit: u32| if mix >> bit & 1 == 1 { "+" } else { "a" };
            (0..9).map(level).collect::<Vec<_>>().join("/")
        })
        .flat_map(|mix| [format!("{mix}/+"), format!("{mix}/#")])
        .collect();
    for (id, text) in (1..).zip(&mixes) {
        client.subscribe_with(&[Filter { text, options: AT_MOST_ONCE }], Some(id));
    }
    // S7: one copy, with what each of them is called.
    client.publish("a/a/a/a/a/a/a/a/a/0", "x", QoS::AtLeastOnce);
    let mut ids = client.receive().subscription_ids;
    ids.sort_unstable();
    assert_eq!(ids, (1..=1_000).collect::<Vec<_>>());
    let mut number = 0;
    pair.unmoved_by_weight_of("S4", || {
        number += 1;
        client.publish(&format!("a/a/a/a/a/a/a/a/a/{number}"), "x", QoS::AtLeastOnce);
        client.receive_only();
    });
    pair.assert_undisturbed();
}

#[test]
fn a_shared_group_swallows_nothing_when_its_members_fail() {
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let name = "$share/s8/s8";
    // S8: a member dies with a hundred that it did not acknowledge; the other gets them.
    let mut dying = Dial::v5("dying").connect(fleet.mqtt(1));
    dying.subscribe(name, QoS::AtLeastOnce);
    for number in 0..100 {
        writer.publish("s8", &number.to_string(), QoS::AtLeastOnce);
    }
    let mut heir = Dial::v5("heir").persistent().connect(fleet.mqtt(1));
    heir.subscribe(name, QoS::AtLeastOnce);
    for _ in 0..100 {
        dying.receive_only();
    }
    drop(dying);
    let mut got: Vec<usize> =
        (0..100).map(|_| heir.receive().text.parse().expect("a number")).collect();
    got.sort_unstable();
    assert_eq!(got, (0..100).collect::<Vec<_>>());
    // The only member is away: what is published is kept for it.
    heir.disconnect();
    writer.publish("s8", "kept", QoS::AtLeastOnce);
    let mut heir = Dial::v5("heir").persistent().connect(fleet.mqtt(1));
    assert_eq!(heir.receive().text, "kept");
    pair.assert_undisturbed();
}
