//! B6: a subscription that matches very many retained messages.

use protocol::QoS;
use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Publish, PublishProperties};
use tests::harness::{Client, Dial, Fleet};

use super::pair::Pair;
use super::size::size;

/// Publications under way at once.
const WINDOW: usize = 500;
/// Packet ids of one connection that are used up.
const IDS: usize = 60_000;

#[test]
fn a_subscription_that_matches_a_million_retained_messages_disturbs_nobody() {
    let count = size(10_000, 1_000_000);
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    for from in (0..count).step_by(IDS) {
        retain_all(&mut Dial::v5("writer").connect(fleet.mqtt(1)), from..count.min(from + IDS));
    }
    let before = process.resident_bytes();
    process.forget_peak();
    // One that does not read, one that leaves in the middle, and filters that look at everything and find nothing.
    let mut deaf = Dial::v5("deaf").connect(fleet.mqtt(1));
    deaf.subscribe("b6/#", QoS::AtMostOnce);
    let mut mute = Dial::v5("mute").receive_maximum(10).connect(fleet.mqtt(1));
    mute.subscribe("b6/#", QoS::AtLeastOnce);
    pair.unmoved_by("B6, subscribers", || {
        let mut hasty = Dial::v5("hasty").connect(fleet.mqtt(1));
        hasty.subscribe("b6/+/none", QoS::AtLeastOnce);
        hasty.subscribe("b6/#", QoS::AtLeastOnce);
        for _ in 0..300 {
            hasty.receive();
        }
    });
    // Whoever reads gets all of them, in order, however many at once it takes.
    for (dial, qos) in [
        (Dial::v5("clean"), QoS::AtMostOnce),
        (Dial::v5("clean").receive_maximum(100), QoS::AtLeastOnce),
        (Dial::v5("persistent").persistent().receive_maximum(100), QoS::AtLeastOnce),
    ] {
        let mut reader = dial.connect(fleet.mqtt(1));
        reader.subscribe("b6/#", qos);
        for number in 0..count {
            let message = reader.receive();
            assert_eq!((message.topic.as_str(), message.qos), (&*topic(number), qos));
        }
    }
    let grown = process.peak_bytes().saturating_sub(before);
    println!("B6: {} KiB at most for subscriptions that match {count} messages", grown >> 10);
    // Outboxes of 4 MiB, and what a commit of the store takes.
    assert!(grown < 48 << 20, "{grown} bytes");
    for reason in ["queue_count", "queue_bytes"] {
        let dropped = format!("tidegate_dropped_total{{reason=\"{reason}\"}}");
        assert_eq!(fleet.metric(1, &dropped), 0, "{reason}");
    }
    assert_eq!(fleet.metric(1, "tidegate_dropped_total{reason=\"outbox_full\"}"), 0);
    pair.assert_undisturbed();
}

fn topic(number: usize) -> String {
    format!("b6/{number:07}")
}

fn retain_all(client: &mut Client, numbers: std::ops::Range<usize>) {
    let numbers: Vec<_> = numbers.collect();
    for part in numbers.chunks(WINDOW) {
        let start = |number: &usize| {
            let id = client.next_id();
            client.send_whole(&Publish {
                dup: false,
                qos: QoS::AtLeastOnce,
                retain: true,
                topic: &topic(*number),
                packet_id: Some(id),
                properties: PublishProperties::default(),
                payload: b"x",
            });
            id
        };
        let ids: Vec<_> = part.iter().map(start).collect();
        for id in ids {
            assert!(!client.answer_to(AckKind::PubAck, id).is_error());
        }
    }
}
