//! Clients that want more than their class allows.

use std::sync::Arc;

use access::{Class, ClassLimits, Classes, Identity, OnExcess, Who, WhoWritten};
use protocol::mqtt::{ReasonCode, Version};

use super::gateway::Gateway;
use super::packets::*;
use crate::authentication::Verdict;
use crate::hub::{Authenticated, ConnId, ConnectRequest, HubConfig};
use crate::worker::{Closed, Mail};

/// Clients whose id begins with `slow` are in a class of their own.
fn slow(config: &mut HubConfig, change: impl Fn(&mut ClassLimits)) {
    let anybody = Identity::anonymous(client("x"));
    let rest = config.classes.limits_of(&anybody).as_ref().clone();
    let mut limits = rest.clone();
    change(&mut limits);
    let who = WhoWritten { client: vec!["slow*".to_owned()], ..WhoWritten::default() };
    let class =
        Class { name: "slow".into(), who: Who::new(&who).unwrap(), limits: Arc::new(limits) };
    config.classes = Arc::new(Classes::new(vec![class], rest));
}

fn with(change: impl Fn(&mut ClassLimits)) -> Gateway {
    Gateway::with(|config| slow(config, change))
}

/// A client that authenticated by a method, and so may do it again.
fn authenticated(name: &str) -> ConnectRequest {
    let authenticated = Box::new(Authenticated {
        method: Some("M".into()),
        data: None,
        expires: None,
        expired: ReasonCode::NotAuthorized,
    });
    ConnectRequest { authenticated: Some(authenticated), ..clean(name) }
}

/// It has authenticated again, as this.
fn authenticate_again(gateway: &mut Gateway, conn: ConnId, identity: Identity) {
    let verdict = Verdict::Accepted { identity: Arc::new(identity), expires: None, data: None };
    gateway.mail(Mail::Authenticated(conn, Box::new(verdict)));
    gateway.settle();
}

#[test]
fn what_is_too_fast_is_delayed_and_nothing_is_lost() {
    let mut gateway = with(|limits| limits.publish_per_s = 2);
    let listener = gateway.subscriber(clean("l"), "t", Q0);
    let a = gateway.join(ConnectRequest { keep_alive_s: 1, ..clean("slow") });
    for payload in ["1", "2", "3", "4", "5"] {
        gateway.send_publish(a, &publish("t", payload, Q0, 0));
    }
    gateway.settle();
    assert_eq!(gateway.hear(listener), ["PUBLISH t 1 q0", "PUBLISH t 2 q0"]);
    gateway.pass(600);
    assert_eq!(gateway.hear(listener), ["PUBLISH t 3 q0"]);
    gateway.pass(500);
    assert_eq!(gateway.hear(listener), ["PUBLISH t 4 q0"]);
    for _ in 0..3 {
        gateway.pass(400);
    }
    assert_eq!(gateway.hear(listener), ["PUBLISH t 5 q0"]);
    assert_eq!(gateway.hear(a), [""; 0], "its keep alive does not run while we do not listen");
    assert!(gateway.counters().limited_publications.get() >= 3);
}

#[test]
fn who_closes_is_no_faster_and_has_a_minute_for_what_it_sent() {
    let mut gateway = with(|limits| limits.publish_per_s = 1);
    let listener = gateway.subscriber(clean("l"), "t", Q0);
    let a = gateway.join(clean("slow"));
    for number in 0..100 {
        gateway.send_publish(a, &publish("t", &number.to_string(), Q0, 0));
    }
    gateway.settle();
    gateway.close(a, Closed::ToUs);
    assert_eq!(gateway.hear(listener), ["PUBLISH t 0 q0"]);
    for number in 1..=50 {
        gateway.pass(1001);
        gateway.close(a, Closed::ToUs);
        assert_eq!(gateway.hear(listener), [format!("PUBLISH t {number} q0")]);
    }
    gateway.pass(10_000);
    gateway.close(a, Closed::ToUs);
    assert_eq!(gateway.hear(a), ["closed"]);
}

#[test]
fn who_cuts_its_connection_is_gone_at_once() {
    let mut gateway = with(|limits| limits.publish_per_s = 1);
    let listener = gateway.subscriber(clean("l"), "t", Q0);
    let a = gateway.join(clean("slow"));
    for payload in ["1", "2"] {
        gateway.send_publish(a, &publish("t", payload, Q0, 0));
    }
    gateway.settle();
    gateway.close(a, Closed::Wholly);
    assert_eq!(gateway.hear(a), ["closed"]);
    assert_eq!(gateway.hear(listener), ["PUBLISH t 1 q0"]);
}

#[test]
fn what_would_stop_its_client_for_minutes_is_refused_at_once() {
    for on_excess in [OnExcess::Delay, OnExcess::Refuse] {
        let mut gateway = with(|limits| {
            limits.publish_bytes_per_s = 2;
            limits.on_excess = on_excess;
        });
        let listener = gateway.subscriber(clean("l"), "t", Q0);
        let a = gateway.join(clean("slow"));
        let too_much = "x".repeat(2 * 60);
        gateway.publish(a, &publish("t", &too_much, Q1, 1));
        gateway.publish(a, &publish("t", "small", Q1, 2));
        assert_eq!(gateway.hear(a), ["PUBACK #1 QuotaExceeded", "PUBACK #2"]);
        assert_eq!(gateway.hear(listener), ["PUBLISH t small q0"]);
        let b = gateway.join(clean("slow-too"));
        gateway.publish(b, &publish("t", &too_much, Q0, 0));
        assert_eq!(gateway.hear(b), ["DISCONNECT MessageRateTooHigh", "closed"]);
    }
}

#[test]
fn who_has_nothing_more_to_say_is_not_paused() {
    let mut gateway = with(|limits| limits.publish_per_s = 1);
    let a = gateway.join(clean("slow"));
    gateway.publish(a, &publish("t", "1", Q0, 0));
    assert!(gateway.worker.may_read(a), "its end would not be noticed");
    gateway.publish(a, &publish("t", "2", Q0, 0));
    assert!(!gateway.worker.may_read(a));
    assert_eq!(gateway.counters().limited_publications.get(), 1);
}

#[test]
fn a_flood_of_pings_is_answered_at_its_pace() {
    let mut gateway = with(|limits| limits.packets_per_s = 10);
    let a = gateway.join(clean("slow"));
    let free = gateway.join(clean("free"));
    let flood: Vec<u8> = std::iter::repeat_with(ping).take(25).flatten().collect();
    gateway.tell(a, &flood);
    gateway.tell(free, &flood);
    assert_eq!((gateway.hear(a).len(), gateway.hear(free).len()), (10, 25));
    gateway.pass(1100);
    assert_eq!(gateway.hear(a).len(), 10);
    gateway.pass(1100);
    assert_eq!(gateway.hear(a).len(), 5);
}

#[test]
fn what_is_too_fast_is_refused_where_that_is_configured() {
    let mut gateway = with(|limits| {
        limits.publish_per_s = 1;
        limits.on_excess = OnExcess::Refuse;
    });
    let a = gateway.join(clean("slow"));
    for (number, qos) in [(1, Q1), (2, Q1), (3, Q2)] {
        gateway.publish(a, &publish("t", "x", qos, number));
    }
    let words = "more publications per second than its class allows";
    assert_eq!(gateway.sockets.words(a), [words, words]);
    assert_eq!(
        gateway.hear(a),
        ["PUBACK #1 NoMatchingSubscribers", "PUBACK #2 QuotaExceeded", "PUBREC #3 QuotaExceeded"]
    );
    gateway.tell(a, &ping());
    gateway.publish(a, &publish("t", "x", Q0, 0));
    assert_eq!(gateway.hear(a), ["PINGRESP", "DISCONNECT MessageRateTooHigh", "closed"]);
    let old = gateway.join(ConnectRequest { version: Version::V311, ..clean("slow-old") });
    gateway.publish(old, &publish("t", "x", Q1, 1));
    gateway.publish(old, &publish("t", "x", Q1, 2));
    assert_eq!(gateway.hear(old), ["PUBACK #1", "closed"]);
}

#[test]
fn subscriptions_filters_and_topics_are_limited_by_class() {
    let mut gateway = with(|limits| {
        limits.subscriptions_per_session = 1;
        limits.filters_per_subscribe = 2;
        limits.topic_levels = 2;
    });
    let a = gateway.join(clean("slow"));
    let free = gateway.join(clean("free"));
    let two = subscribe(Version::V5, 7, &[filter("a", Q0), filter("b", Q0)]);
    gateway.tell(a, &two);
    assert_eq!(gateway.hear(a), ["SUBACK #7 [Success, QuotaExceeded]"]);
    gateway.publish(a, &publish("a/b/c", "x", Q1, 1));
    assert_eq!(gateway.hear(a), ["PUBACK #1 TopicNameInvalid"]);
    let three = subscribe(Version::V5, 7, &[filter("a", Q0), filter("b", Q0), filter("c", Q0)]);
    gateway.tell(a, &three);
    assert_eq!(gateway.hear(a), ["DISCONNECT QuotaExceeded", "closed"]);
    gateway.tell(free, &three);
    assert_eq!(gateway.hear(free), ["SUBACK #7 [Success, Success, Success]"]);
}

#[test]
fn nobody_gets_a_fresh_rate_by_another_policy_or_by_authenticating_again() {
    let mut gateway = with(|limits| limits.packets_per_s = 5);
    let a = gateway.join(authenticated("slow"));
    let flood: Vec<u8> = std::iter::repeat_with(ping).take(20).flatten().collect();
    gateway.tell(a, &flood);
    assert_eq!(gateway.hear(a).len(), 5);
    let policy = Arc::clone(&gateway.worker.hub().config().policy);
    gateway.mail(Mail::Policy(policy));
    gateway.settle();
    authenticate_again(&mut gateway, a, Identity::anonymous(client("slow")));
    assert_eq!(gateway.hear(a), ["AUTH Success M "], "and nothing more is answered yet");
    gateway.pass(1100);
    assert_eq!(gateway.hear(a).len(), 5);
}

#[test]
fn who_authenticated_again_is_in_the_class_that_is_its_own_now() {
    let mut gateway = with(|limits| limits.packets_per_s = 5);
    let a = gateway.join(authenticated("free"));
    let who = Identity { class: Some("slow".into()), ..Identity::anonymous(client("free")) };
    authenticate_again(&mut gateway, a, who);
    gateway.hear(a);
    let flood: Vec<u8> = std::iter::repeat_with(ping).take(20).flatten().collect();
    gateway.tell(a, &flood);
    assert_eq!(gateway.hear(a).len(), 5);
}

#[test]
fn a_user_has_only_so_many_clients() {
    let mut gateway = with(|limits| limits.connections_per_user = 1);
    let of = |name: &str| {
        let who = Identity { user: Some("u".into()), ..Identity::anonymous(client(name)) };
        ConnectRequest { identity: Arc::new(who), ..clean(name) }
    };
    let first = gateway.join(of("slow-1"));
    gateway.refused(of("slow-2"), "QuotaExceeded");
    let again = gateway.join(of("slow-1"));
    gateway.lose(first);
    gateway.lose(again);
    gateway.join(of("slow-2"));
}

#[test]
fn a_class_has_its_own_packet_bytes_and_receive_maximum() {
    let mut gateway = with(|limits| {
        limits.packet_bytes = 100;
        limits.receive_maximum = 2;
    });
    let (a, b) = (gateway.join(clean("slow-a")), gateway.join(clean("slow-b")));
    let free = gateway.join(clean("free"));
    let large = "x".repeat(100);
    gateway.publish(a, &publish("t", &large, Q1, 1));
    assert_eq!(gateway.hear(a), ["DISCONNECT PacketTooLarge", "closed"]);
    gateway.publish(free, &publish("t", &large, Q1, 1));
    assert!(gateway.hear(free).concat().starts_with("PUBACK"));
    for number in 1..=3 {
        gateway.publish(b, &publish("t", "x", Q2, number));
        gateway.publish(free, &publish("t", "x", Q2, number));
    }
    let heard = gateway.hear(b);
    assert_eq!(heard.last().map(String::as_str), Some("closed"), "{heard:?}");
    assert!(heard.contains(&"DISCONNECT ReceiveMaximumExceeded".to_owned()), "{heard:?}");
    assert_eq!(gateway.hear(free).len(), 3);
}
