//! A gateway that other gateways may not have waited for.

use std::time::Duration;

use protocol::mqtt::Publish;
use store::MemoryStore;

use super::gateway::Gateway;
use super::packets::{Q0, Q1, clean, durable, ping, publish};
use crate::hub::{Ask, ConnId};
use crate::worker::Reading;

/// Two gateways on one store: a publisher at the first, and who subscribed at the second before the first read of it.
fn away() -> (Gateway, ConnId, Gateway, ConnId) {
    let store = MemoryStore::new();
    let mut here = Gateway::named("gw-1", &store, |_| {});
    let mut there = Gateway::named("gw-2", &store, |_| {});
    let a = here.join(clean("a"));
    here.tables.set_awaited((here.now.mono, 0));
    let b = there.subscriber(durable("b"), "t", Q1);
    (here, a, there, b)
}

#[test]
fn a_publication_to_a_gateway_that_was_away_reaches_who_subscribed_meanwhile() {
    let (mut here, a, mut there, b) = away();
    here.send_publish(a, &publish("t", "x", Q1, 1));
    assert!(!here.worker.may_read(a), "nothing overtakes it");
    here.settle();
    assert_eq!(here.hear(a), ["PUBACK #1"]);
    there.settle();
    assert_eq!(there.hear(b), ["PUBLISH t x q1 #1"]);
}

#[test]
fn what_comes_while_the_log_is_read_waits_until_it_is_read_again() {
    let (mut here, a, ..) = away();
    let other = here.join(clean("other"));
    here.send_publish(a, &publish("t", "x", Q1, 1));
    let asked = std::mem::take(&mut here.sockets.asks);
    assert!(matches!(asked[..], [Ask::CatchUp(1)]), "{asked:?}");
    here.send_publish(other, &publish("t", "y", Q1, 1));
    assert!(here.sockets.asks.is_empty());
    here.mail(crate::worker::Mail::CaughtUp(1));
    assert!(here.worker.may_read(a) && !here.worker.may_read(other));
    assert!(matches!(here.sockets.asks[..], [Ask::CatchUp(2)]));
    here.settle();
    assert_eq!(here.hear(other).len(), 1);
    assert!(here.worker.may_read(other));
}

#[test]
fn what_is_not_acknowledged_waits_for_no_log() {
    let (mut here, a, ..) = away();
    here.send(a, &ping());
    here.send_publish(a, &publish("t", "x", Q0, 0));
    assert_eq!(here.hear(a), ["PINGRESP"]);
    assert!(here.sockets.asks.is_empty() && here.worker.may_read(a));
}

/// It may lie in a socket since before its client went elsewhere and said something newer.
#[test]
fn what_is_retained_waits_for_the_log_though_it_is_not_acknowledged() {
    let (mut here, a, ..) = away();
    let retained = Publish { retain: true, ..publish("t", "x", Q0, 0) };
    here.send_publish(a, &retained);
    assert!(matches!(here.sockets.asks[..], [Ask::CatchUp(1)]) && !here.worker.may_read(a));
    here.settle();
    assert!(here.worker.may_read(a));
}

#[test]
fn a_gateway_that_is_awaited_again_reads_the_log_once_more() {
    let (mut here, a, mut there, b) = away();
    here.tables.set_awaited((here.now.mono + Duration::from_secs(9), 1));
    for payload in ["x", "y"] {
        here.publish(a, &publish("t", payload, Q1, 1));
        assert_eq!(here.hear(a), ["PUBACK #1"]);
    }
    there.settle();
    assert_eq!(there.hear(b), ["PUBLISH t x q1 #1", "PUBLISH t y q1 #2"]);
    here.send_publish(a, &publish("t", "z", Q1, 1));
    assert!(here.sockets.asks.is_empty(), "for the first one only");
}

#[test]
fn what_comes_behind_a_turn_that_ended_with_the_last_packet_waits_for_the_log_too() {
    let (mut here, a, ..) = away();
    here.send_publish(a, &publish("t", "x", Q1, 1));
    assert!(matches!(std::mem::take(&mut here.sockets.asks)[..], [Ask::CatchUp(1)]));
    here.mail(crate::worker::Mail::CaughtUp(1));
    let pings = ping().repeat(10_000);
    let (turn, reading) = here.worker.handle_bytes(a, &pings, here.now, &mut here.sockets);
    assert!(turn < pings.len() && reading == Reading::Later);
    let whole = here.worker.handle_bytes(a, &pings[..turn], here.now, &mut here.sockets);
    assert_eq!(whole, (turn, Reading::Later));
    here.sockets.unread(a).clear();
    here.send_publish(a, &publish("t", "y", Q1, 2));
    assert!(matches!(here.sockets.asks[..], [Ask::CatchUp(2)]), "it came after the log was read");
}

#[test]
fn a_publication_to_a_gateway_that_is_back_waits_for_what_its_peers_want() {
    let (mut here, a, mut there, b) = away();
    let until = here.now.mono + Duration::from_secs(9);
    here.tables.set_heard(0);
    here.tables.set_back(1, until);
    here.send_publish(a, &publish("t", "x", Q1, 1));
    here.pass_unsettled(100);
    assert!(here.sockets.asks.is_empty() && !here.worker.may_read(a), "nobody has said it yet");
    here.tables.set_heard(1);
    here.pass_unsettled(100);
    assert!(matches!(here.sockets.asks[..], [Ask::CatchUp(_)]));
    // Away again, before the log was read.
    here.tables.set_back(2, until);
    here.settle();
    assert!(here.hear(a).is_empty() && !here.worker.may_read(a));
    here.tables.set_heard(2);
    here.pass_unsettled(100);
    here.settle();
    assert_eq!(here.hear(a), ["PUBACK #1"]);
    there.settle();
    assert_eq!(there.hear(b), ["PUBLISH t x q1 #1"]);
    // One that cannot be reached is not waited for without end.
    here.tables.set_back(3, until);
    here.send_publish(a, &publish("t", "z", Q1, 1));
    here.now.mono = until;
    here.pass_unsettled(100);
    here.settle();
    assert_eq!(here.hear(a), ["PUBACK #1"]);
}
