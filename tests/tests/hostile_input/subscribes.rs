//! S: subscriptions.

use super::bytes::packet;
use super::pair::Pair;
use protocol::mqtt::{Filter, ReasonCode, RetainHandling, SubscribeOptions, Version};
use protocol::{PacketId, QoS};
use tests::harness::{Dial, Fleet};

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
    let many: Vec<_> = (0..5_000).map(|_| Filter { text: "a", options }).collect();
    let mut bytes = Vec::new();
    let subscribe =
        protocol::mqtt::Subscribe { packet_id: id, subscription_id: None, filters: many };
    protocol::mqtt::codec::subscribe(&mut bytes, Version::V5, &subscribe);
    client.send(&bytes);
    assert_eq!(client.end_reason(), Some(ReasonCode::QuotaExceeded));
    pair.assert_undisturbed();
}
