//! What waits for a client is limited, and its class says what becomes of the rest.

use protocol::mqtt::{Publish, PublishProperties, Version};
use protocol::session::{DropReason, Drops, WhenFull};

use protocol::Publication;
use store::{Check, Expect, Fault, Space, Unavailable};

use super::gateway::{Gateway, one_class};
use super::packets::*;
use crate::hub::{ConnId, ConnectRequest, Post, Posted};
use crate::worker::Mail;

/// A gateway where so many messages may wait for everybody, and a publisher.
fn full_at(messages: u32, when_full: WhenFull) -> (Gateway, ConnId) {
    let mut gateway = Gateway::with(|config| {
        config.classes = one_class(|limits| {
            limits.queue.messages = messages;
            limits.queue.when_full = when_full;
        });
    });
    let a = gateway.join(clean("a"));
    (gateway, a)
}

/// A persistent subscriber of `t` that goes away at once.
fn away(gateway: &mut Gateway, name: &str) {
    let conn = gateway.subscriber(durable(name), "t", Q1);
    gateway.lose(conn);
}

fn publish_all(gateway: &mut Gateway, a: ConnId, numbers: std::ops::Range<u16>) -> Vec<String> {
    for number in numbers {
        gateway.publish(a, &publish("t", &number.to_string(), Q1, number));
    }
    gateway.hear(a)
}

fn count(drops: Drops, reason: DropReason) -> u64 {
    drops.iter().find(|(known, _)| *known == reason).unwrap().1
}

#[test]
fn who_rejects_refuses_the_publisher_and_nobody_gets_it() {
    let (mut gateway, a) = full_at(2, WhenFull::Reject);
    away(&mut gateway, "b");
    let live = gateway.subscriber(clean("live"), "t", Q1);
    assert_eq!(publish_all(&mut gateway, a, 1..3), ["PUBACK #1", "PUBACK #2"]);
    assert_eq!(gateway.hear(live).len(), 2);
    let stored = gateway.reader().head().unwrap();
    assert_eq!(publish_all(&mut gateway, a, 3..4), ["PUBACK #3 QuotaExceeded"]);
    gateway.publish(a, &publish("t", "x", Q2, 4));
    assert_eq!(gateway.sockets.words(a), ["a queue that it is for is full, try again later"]);
    assert_eq!(gateway.hear(a), ["PUBREC #4 QuotaExceeded"]);
    gateway.publish(a, &retained("t", "x", Q1, 5));
    assert_eq!(gateway.hear(a), ["PUBACK #5 QuotaExceeded"]);
    assert_eq!(gateway.reader().head().unwrap(), stored, "nothing is stored for anybody");
    assert!(gateway.hear(live).is_empty());
    gateway.publish(a, &publish("t", "now", Q0, 0));
    assert_eq!(gateway.hear(live), ["PUBLISH t now q0"]);
    let old = gateway.join(ConnectRequest { version: Version::V311, ..clean("old") });
    gateway.publish(old, &publish("t", "x", Q1, 1));
    assert!(gateway.sockets.closed(old).is_some(), "there is no word for it");
    assert_eq!(gateway.counters().refused_queue.get(), 4);
    let b = gateway.connect(durable("b"));
    gateway.settle();
    assert_eq!(gateway.hear(b).len(), 3, "CONNACK and two messages");
}

#[test]
fn an_old_client_is_not_cut_off_by_its_own_full_queue() {
    let (mut gateway, _) = full_at(2, WhenFull::Reject);
    let old = ConnectRequest { version: Version::V311, ..durable("old") };
    let old = gateway.subscriber(old, "t", Q1);
    for number in 1..5 {
        gateway.publish(old, &publish("t", &number.to_string(), Q1, number));
    }
    assert!(gateway.sockets.closed(old).is_none(), "it would never come to what waits for it");
    assert_eq!(gateway.counters().refused_queue.get(), 0);
    assert_eq!(gateway.counters().dropped_queue_count.get(), 2);
    let (b, word) = (gateway.join(clean("b")), "PUBACK #1 QuotaExceeded");
    gateway.publish(b, &publish("t", "x", Q1, 1));
    assert_eq!(gateway.hear(b), [word], "others are refused as ever");
}

#[test]
fn an_old_client_that_is_refused_has_time_to_acknowledge_what_waits_for_it() {
    let (mut gateway, a) = full_at(2, WhenFull::Reject);
    let old = |name| ConnectRequest { version: Version::V311, ..durable(name) };
    for (name, topic) in [("x", "to x"), ("y", "to y")] {
        let conn = gateway.subscriber(old(name), topic, Q1);
        gateway.lose(conn);
        for number in 1..3 {
            gateway.publish(a, &publish(topic, "fills", Q1, number));
        }
        assert_eq!(gateway.hear(a), ["PUBACK #1", "PUBACK #2"]);
    }
    // Each sends what the other has no room for before it looks at what waits for it.
    let x = gateway.connect(old("x"));
    gateway.settle();
    gateway.publish(x, &publish("to y", "from x", Q1, 1));
    assert_eq!(gateway.hear(x).len(), 3, "CONNACK and two messages");
    assert!(gateway.sockets.closed(x).is_none());
    for number in [1, 2] {
        gateway.tell(x, &ack(protocol::mqtt::codec::AckKind::PubAck, number));
    }
    // Nothing overtakes what was refused.
    gateway.publish(x, &publish("elsewhere", "from x", Q1, 2));
    gateway.tell(x, &ping());
    assert_eq!(gateway.hear(x), ["PINGRESP"]);
    gateway.pass(500);
    assert!(gateway.sockets.closed(x).is_none());
    gateway.pass(600);
    assert!(gateway.sockets.closed(x).is_some(), "there is no word for it");
    assert_eq!(gateway.violations().get("MQTT3-3.3.5-2"), Some(&1));
    // Now there is room for what the other sends.
    let y = gateway.connect(old("y"));
    gateway.settle();
    gateway.publish(y, &publish("to x", "from y", Q1, 1));
    let heard = gateway.hear(y);
    assert_eq!(heard.last().map(String::as_str), Some("PUBACK #1"), "{heard:?}");
}

#[test]
fn an_old_client_that_is_refused_and_acknowledges_nothing_is_cut_off_all_the_same() {
    let (mut gateway, a) = full_at(1, WhenFull::Reject);
    away(&mut gateway, "b");
    let old = ConnectRequest { version: Version::V311, ..durable("old") };
    let old = gateway.subscriber(old, "old", Q1);
    gateway.publish(a, &publish("old", "waits", Q1, 1));
    gateway.publish(a, &publish("t", "fills", Q1, 2));
    gateway.publish(old, &publish("t", "x", Q1, 1));
    gateway.pass(4_900);
    assert!(gateway.sockets.closed(old).is_none());
    gateway.pass(200);
    assert!(gateway.sockets.closed(old).is_some());
}

#[test]
fn a_will_is_refused_by_nobody() {
    let (mut gateway, _) = full_at(1, WhenFull::Reject);
    let conn = gateway.subscriber(durable("b"), "will", Q1);
    gateway.lose(conn);
    let live = gateway.subscriber(clean("live"), "will", Q1);
    for name in ["one", "two"] {
        let lost = gateway.join(ConnectRequest { will: Some(will("gone", 0)), ..clean(name) });
        gateway.lose(lost);
    }
    assert_eq!(gateway.hear(live).len(), 2, "the others get both");
    assert_eq!(gateway.counters().dropped_queue_count.get(), 1);
}

#[test]
fn each_session_that_misses_a_message_is_counted_and_the_log_tells_it() {
    let (mut gateway, a) = full_at(2, WhenFull::DropNew);
    away(&mut gateway, "b");
    away(&mut gateway, "c");
    let taken: Vec<_> = (1..6).map(|number| format!("PUBACK #{number}")).collect();
    assert_eq!(publish_all(&mut gateway, a, 1..6), taken, "there are subscribers");
    assert_eq!(gateway.counters().dropped_queue_count.get(), 6);
    gateway.pass(100);
    for name in ["b", "c"] {
        let queue = gateway.queue_of(name).unwrap();
        assert_eq!((queue.messages, count(queue.drops, DropReason::QueueCount)), (2, 3));
    }
}

#[test]
fn drops_that_the_store_does_not_take_are_told_again() {
    let (mut gateway, a) = full_at(2, WhenFull::DropNew);
    away(&mut gateway, "b");
    assert_eq!(publish_all(&mut gateway, a, 1..6).len(), 5);
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.pass(100);
    assert_eq!(count(gateway.queue_of("b").unwrap().drops, DropReason::QueueCount), 0);
    gateway.pass(1_100);
    gateway.pass(100);
    assert_eq!(count(gateway.queue_of("b").unwrap().drops, DropReason::QueueCount), 3);
}

#[test]
fn what_left_while_it_was_under_way_leaves_though_the_store_fails_once() {
    let (mut gateway, a) = full_at(3, WhenFull::DropOldest);
    let narrow = ConnectRequest { receive_maximum: 1, ..durable("b") };
    gateway.subscriber(narrow, "t", Q1);
    assert_eq!(publish_all(&mut gateway, a, 1..9).len(), 8);
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.pass(100);
    gateway.pass(1_100);
    gateway.pass(100);
    let queue = gateway.queue_of("b").unwrap();
    assert_eq!((queue.messages, count(queue.drops, DropReason::QueueCount)), (3, 5));
}

#[test]
fn the_oldest_make_room_in_a_queue_that_nobody_serves() {
    let (mut gateway, a) = full_at(2, WhenFull::DropOldest);
    gateway.knows(&["gw-1"]);
    away(&mut gateway, "b");
    assert_eq!(publish_all(&mut gateway, a, 1..6).len(), 5);
    gateway.sweep();
    let queue = gateway.queue_of("b").unwrap();
    assert_eq!((queue.messages, count(queue.drops, DropReason::QueueCount)), (2, 3));
    let b = gateway.connect(durable("b"));
    gateway.settle();
    assert_eq!(gateway.hear(b)[1..], ["PUBLISH t 4 q1 #1", "PUBLISH t 5 q1 #2"]);
}

#[test]
fn the_oldest_that_were_not_handed_out_make_room_in_a_queue_that_is_served() {
    let (mut gateway, a) = full_at(300, WhenFull::DropOldest);
    let narrow = ConnectRequest { receive_maximum: 1, ..durable("b") };
    let b = gateway.subscriber(narrow, "t", Q1);
    for number in 0..400 {
        gateway.publish(a, &publish("t", &number.to_string(), Q1, 1));
    }
    gateway.hear(a);
    let queue = gateway.queue_of("b").unwrap();
    assert_eq!((queue.messages, count(queue.drops, DropReason::QueueCount)), (300, 100));
    assert_eq!(gateway.counters().dropped_queue_count.get(), 100);
    let mut heard = gateway.hear(b);
    let mut number = 1;
    while let Some(last) = heard.last().filter(|_| heard.len() < 300).cloned() {
        assert!(last.ends_with(&format!("#{number}")), "{last}");
        gateway.tell(b, &ack(protocol::mqtt::codec::AckKind::PubAck, number));
        heard.extend(gateway.hear(b));
        number += 1;
        assert_eq!(heard.len(), usize::from(number));
    }
    let got: Vec<u32> =
        heard.iter().map(|text| text.split(' ').nth(2).unwrap().parse().unwrap()).collect();
    let kept: Vec<u32> = (0..256).chain(356..400).collect();
    assert_eq!(got, kept, "what was handed out before goes out, then the newest");
}

#[test]
fn a_slow_client_has_no_more_under_way_than_may_wait_for_it() {
    let (mut gateway, a) = full_at(3, WhenFull::DropOldest);
    let narrow = ConnectRequest { receive_maximum: 1, ..durable("b") };
    let b = gateway.subscriber(narrow, "t", Q1);
    assert_eq!(publish_all(&mut gateway, a, 1..20).len(), 19);
    for (number, text) in (1..).zip(["1", "18", "19"]) {
        assert_eq!(gateway.hear(b), [format!("PUBLISH t {text} q1 #{number}")]);
        gateway.tell(b, &ack(protocol::mqtt::codec::AckKind::PubAck, number));
    }
    gateway.pass(1_100);
    let queue = gateway.queue_of("b").unwrap();
    assert_eq!((queue.messages, count(queue.drops, DropReason::QueueCount)), (0, 16));
}

#[test]
fn what_waits_in_memory_is_limited_the_same() {
    for (when_full, kept) in
        [(WhenFull::DropOldest, ["1", "5", "6"]), (WhenFull::Reject, ["1", "2", "3"])]
    {
        let (mut gateway, a) = full_at(2, when_full);
        let narrow = ConnectRequest { receive_maximum: 1, ..clean("b") };
        let b = gateway.subscriber(narrow, "t", Q1);
        assert_eq!(publish_all(&mut gateway, a, 1..7).len(), 6, "nobody is refused");
        let client = protocol::ClientId::new("b").unwrap();
        let waiting = gateway.worker.hub().waiting_for(&client).unwrap();
        assert_eq!((waiting.messages, waiting.bytes), (2, 4));
        assert_eq!(count(waiting.drops, DropReason::QueueCount), 3);
        for (number, text) in (1..).zip(kept) {
            assert_eq!(
                gateway.hear(b),
                [format!("PUBLISH t {text} q1 #{number}")],
                "{when_full:?}"
            );
            gateway.tell(b, &ack(protocol::mqtt::codec::AckKind::PubAck, number));
        }
    }
}

#[test]
fn what_has_ended_is_counted_where_its_turn_comes() {
    let (mut gateway, a) = full_at(9, WhenFull::DropNew);
    away(&mut gateway, "b");
    let properties = PublishProperties { message_expiry_s: Some(1), ..Default::default() };
    gateway.publish(a, &Publish { properties, ..publish("t", "late", Q1, 1) });
    gateway.pass(1_500);
    let b = gateway.connect(durable("b"));
    gateway.settle();
    assert_eq!(gateway.hear(b).len(), 1, "CONNACK alone");
    gateway.pass(1_000);
    let queue = gateway.queue_of("b").unwrap();
    assert_eq!((queue.messages, count(queue.drops, DropReason::Expired)), (0, 1));
}

#[test]
fn what_the_fleet_says_is_kept_from_nobody_by_one_full_queue_and_belongs_to_one_reign() {
    let topic = "$fleet/maintenance/gw-1";
    let (mut gateway, _) = full_at(1, WhenFull::Reject);
    let away = gateway.subscriber(durable("b"), topic, Q1);
    gateway.lose(away);
    let watcher = gateway.subscriber(clean("watcher"), topic, Q1);
    let reign = |term: u64| term.to_be_bytes();
    gateway.put(Space::Maintenance, "reign", reign(3).to_vec().into());
    let mut say = |term, payload: &[u8]| {
        let key = bytes::Bytes::from_static(b"reign");
        let expect = Expect::Prefix(reign(term));
        let fence = Check { space: Space::Maintenance, key, expect };
        let publication = Publication::new(topic, &[], payload, Q1, true);
        let (post, mut posted) = Post::of_fleet(publication, Some(fence));
        gateway.mail(Mail::Post(Box::new(post)));
        gateway.settle();
        (posted.try_recv().unwrap(), gateway.hear(watcher).len())
    };
    for payload in [b"1", b"2", b"3"] {
        assert_eq!(say(3, payload), (Posted::Taken, 1));
    }
    assert_eq!(say(2, b"late"), (Posted::NotStored, 0), "another reign has begun");
}
