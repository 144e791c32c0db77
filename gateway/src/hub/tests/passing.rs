//! Publications of which nothing is stored go out as they came, at every level.

use fanout::Wants;
use protocol::TopicFilter;
use protocol::mqtt::codec::AckKind::{PubAck, PubComp, PubRec, PubRel};
use protocol::mqtt::{Publish, ReasonCode};
use store::{Fault, Unavailable};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{Ask, Bundle, ConnectRequest, Passing};
use crate::worker::Mail;

#[test]
fn everyone_gets_the_form_that_is_theirs() {
    for (publisher, level) in
        [clean("a"), old("a")].into_iter().flat_map(|it| [(it.clone(), Q1), (it, Q2)])
    {
        let mut gateway = Gateway::new();
        let names = ["b", "c", "d"];
        let receivers: Vec<_> = [Q0, Q1, Q2].into_iter().zip(names).collect();
        let new: Vec<_> = receivers
            .iter()
            .map(|(qos, name)| gateway.subscriber(clean(name), "t", *qos))
            .collect();
        let old: Vec<_> = receivers
            .iter()
            .map(|(qos, name)| gateway.subscriber(old(&name.repeat(2)), "t", *qos))
            .collect();
        let aliases = ConnectRequest { topic_alias_maximum: 5, ..clean("e") };
        let aliases = gateway.subscriber(aliases, "t", Q1);
        let named = gateway.join(clean("f"));
        gateway.tell(named, &subscribe_as(clean("f").version, 1, Some(8), &[filter("t", Q1)]));
        gateway.hear(named);
        let from = gateway.join(publisher);
        gateway.publish(from, &publish("t", "x", level, 700));
        for (conns, granted) in [&new, &old].map(|conns| (conns, [Q0, Q1, Q2])) {
            for (conn, qos) in conns.iter().zip(granted) {
                let qos = qos.min(level);
                let id = if qos == Q0 { "" } else { " #1" };
                assert_eq!(gateway.hear(*conn), [format!("PUBLISH t x q{}{id}", qos.bits())]);
            }
        }
        assert_eq!(gateway.hear(aliases), ["PUBLISH t x q1 #1"]);
        assert_eq!(gateway.hear(named), ["PUBLISH t x q1 #1 by [8]"]);
        let answer = if level == Q1 { "PUBACK #700" } else { "PUBREC #700" };
        assert_eq!(gateway.hear(from), [answer]);
    }
}

#[test]
fn a_subscriber_of_another_worker_is_somebody() {
    let mut gateway = Gateway::with(|config| config.workers = 2);
    let filter = TopicFilter::new("t").unwrap();
    gateway.tables.change_routes(|routes| routes.set_worker(1, &filter, Wants::Everything));
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "x", Q1, 1));
    gateway.publish(a, &publish("u", "x", Q1, 2));
    assert_eq!(gateway.hear(a), ["PUBACK #1", "PUBACK #2 NoMatchingSubscribers"]);
}

#[test]
fn what_its_publisher_repeats_is_no_repeat_to_who_gets_it() {
    let mut gateway = Gateway::new();
    let near = gateway.subscriber(clean("near"), "t", Q2);
    let once = gateway.subscriber(clean("once"), "t", Q0);
    let kept = gateway.subscriber(durable("kept"), "t", Q1);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &Publish { dup: true, ..publish("t", "x", Q1, 7) });
    assert_eq!(gateway.hear(kept), ["PUBLISH t x q1 #1"]);
    gateway.tell(kept, &disconnect(ReasonCode::Success, Some(0)));
    gateway.publish(a, &Publish { dup: true, ..publish("t", "y", Q1, 8) });
    assert_eq!(gateway.hear(near), ["PUBLISH t x q1 #1", "PUBLISH t y q1 #2"]);
    assert_eq!(gateway.hear(once), ["PUBLISH t x q0", "PUBLISH t y q0"]);
}

#[test]
fn a_repeat_at_qos_2_is_passed_once_and_every_step_is_answered() {
    let mut gateway = Gateway::new();
    let b = gateway.subscriber(old("b"), "t", Q2);
    let a = gateway.join(old("a"));
    for _ in 0..2 {
        gateway.publish(a, &publish("t", "x", Q2, 5));
    }
    assert_eq!(gateway.hear(b), ["PUBLISH t x q2 #1"]);
    gateway.tell(b, &ack(PubRec, 1));
    gateway.tell(b, &ack(PubComp, 1));
    assert_eq!(gateway.hear(b), ["PUBREL #1"]);
    gateway.tell(a, &ack(PubRel, 5));
    assert_eq!(gateway.hear(a), ["PUBREC #5", "PUBREC #5", "PUBCOMP #5"]);
    gateway.publish(a, &publish("t", "y", Q2, 5));
    assert_eq!(gateway.hear(b), ["PUBLISH t y q2 #2"]);
}

#[test]
fn at_qos_2_what_is_remembered_of_a_publisher_is_stored_before_anybody_hears_of_it() {
    let mut gateway = Gateway::new();
    let b = gateway.subscriber(clean("b"), "t", Q2);
    let a = gateway.join(durable("a"));
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.publish(a, &publish("t", "x", Q2, 5));
    assert!(gateway.hear(b).is_empty());
    gateway.publish(a, &publish("t", "x", Q2, 5));
    assert_eq!(gateway.hear(b), ["PUBLISH t x q2 #1"]);
}

#[test]
fn what_is_too_large_counts_as_acknowledged() {
    let mut gateway = Gateway::new();
    let narrow = |name| ConnectRequest { max_packet_bytes: 40, receive_maximum: 1, ..clean(name) };
    let levels = [(Q0, "0"), (Q1, "1"), (Q2, "2")];
    let conns = levels.map(|(qos, name)| gateway.subscriber(narrow(name), "t", qos));
    let a = gateway.join(clean("a"));
    for (number, len) in (1..).zip([33, 34, 35, 36]) {
        gateway.publish(a, &publish("t", &"x".repeat(len), Q2, number));
        for (conn, head) in conns.into_iter().zip([6, 8, 8]) {
            assert_eq!(gateway.hear(conn).len(), usize::from(head + len <= 40), "{len}");
        }
        gateway.tell(conns[1], &ack(PubAck, number));
        gateway.tell(conns[2], &[ack(PubRec, number), ack(PubComp, number)].concat());
        conns.iter().for_each(|conn| gateway.sockets.forget_packets(*conn));
    }
    for conn in conns {
        gateway.publish(a, &publish("t", "small", Q2, 50));
        gateway.tell(a, &ack(PubRel, 50));
        assert_eq!(gateway.hear(conn).len(), 1, "its window is free");
        gateway.tell(conns[1], &ack(PubAck, 3));
    }
}

#[test]
fn another_worker_is_given_it_as_it_came_and_gives_it_to_its_own() {
    let mut gateway = Gateway::with(|config| config.workers = 2);
    let b = gateway.subscriber(clean("b"), "t", Q1);
    let kept = gateway.subscriber(durable("c"), "t", Q1);
    let mut bundle = Bundle::within(Vec::new(), true);
    let publishes = ["x", "y"].map(|text| bytes(clean("a").version, &publish("t", text, Q2, 9)));
    publishes.iter().for_each(|it| assert!(bundle.add(&Passing::sample(it, clean("a").version))));
    gateway.mail(Mail::Bundle(bundle));
    assert_eq!(gateway.hear(b), ["PUBLISH t x q1 #1", "PUBLISH t y q1 #2"]);
    assert!(gateway.hear(kept).is_empty(), "it comes through the stored queue");
    let asks = std::mem::take(&mut gateway.sockets.asks);
    assert!(!asks.iter().any(|ask| matches!(ask, Ask::Workers(..))));
}
