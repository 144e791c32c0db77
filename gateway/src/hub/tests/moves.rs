//! What is counted of clients that drains move: at the gateway that moves them, and at the one that they come to.

use std::time::Duration;

use maintenance::{MoveBudget, MoveWishes};
use protocol::GatewayId;
use protocol::mqtt::Version;
use protocol::mqtt::codec::AckKind::{PubAck, PubRel};
use store::{Fault, Unavailable};

use super::gateway::Gateway;
use super::packets::*;
use crate::config::PresenceSettings;
use crate::hub::{ConnId, ConnectRequest, HubConfig, MoveOrder, Moved};
use crate::metrics::Came;
use crate::presence::due_late;
use crate::worker::{Mail, PresenceMail};

fn kept(config: &mut HubConfig) {
    config.presence = PresenceSettings { moves_within_s: 100, ..PresenceSettings::default() };
}

/// Two gateways of one fleet, which know a third.
fn two() -> [Gateway; 2] {
    let two = Gateway::two(kept);
    two.iter().for_each(|gateway| gateway.knows(&["gw-1", "gw-2", "gw-3"]));
    two
}

fn older(name: &str) -> ConnectRequest {
    ConnectRequest { version: Version::V311, ..durable(name) }
}

/// A drain moves everybody to that gateway.
fn move_all(gateway: &mut Gateway, to: &str, clients: u32) {
    let to = vec![(GatewayId::new(to).unwrap(), clients)];
    let clients = clients as usize;
    gateway.mail(Mail::Move(MoveOrder { to, ..MoveOrder::anywhere(clients) }));
    gateway.settle();
}

/// Those that came where they were sent, elsewhere and nowhere, by the level of their protocol.
fn redirected(gateway: &Gateway, level: u8) -> [u64; 3] {
    let of = |came| gateway.counters().redirected(level, came).get();
    [Came::Named, Came::Elsewhere, Came::Missing].map(of)
}

#[test]
fn who_was_moved_is_counted_by_where_it_came_and_who_did_not_come_by_its_keeper() {
    let [mut here, mut there] = two();
    for request in [durable("new"), clean("clean"), durable("lost"), older("old"), older("stray")] {
        here.join(request);
    }
    move_all(&mut here, "gw-2", 5);
    there.pass(200);
    there.follow();
    there.join(clean("clean"));
    for request in [durable("new"), older("old")] {
        there.join_again(request);
    }
    // It takes no word of where to go, and comes back to where it was.
    here.pass(200);
    here.join_again(older("stray"));
    assert_eq!((redirected(&there, 5), redirected(&there, 4)), ([2, 0, 0], [1, 0, 0]));
    assert_eq!((redirected(&here, 5), redirected(&here, 4)), ([0, 0, 0], [0, 1, 0]));
    assert_eq!(there.counters().drain_gaps.get(), 3);
    assert_eq!(there.counters().drain_gap_nanoseconds.get(), 3 * 200_000_000);
    here.pass(30_000);
    let (me, now) = (here.id.clone(), here.now.wall);
    let late = due_late(here.reader(), &me, std::slice::from_ref(&me), now).unwrap();
    late.into_iter().for_each(|it| here.mail(Mail::Presence(PresenceMail::Late(it))));
    here.settle();
    assert_eq!((redirected(&here, 5), here.counters().drain_missing.get()), ([0, 0, 1], 1));
}

#[test]
fn the_second_move_of_a_client_is_known_at_whichever_gateway_and_for_a_while() {
    let [mut here, mut there] = two();
    let join = |gateway: &mut Gateway, name| {
        gateway.follow();
        let conn = gateway.connect(durable(name));
        gateway.settle();
        assert!(gateway.hear(conn)[0].starts_with("CONNACK Success"));
    };
    ["a", "b"].into_iter().for_each(|name| join(&mut here, name));
    move_all(&mut here, "gw-2", 2);
    ["a", "b"].into_iter().for_each(|name| join(&mut there, name));
    let moved = |moved, again| Moved { moved, again, ..Moved::default() };
    assert_eq!(here.worker.hub().moved(), moved(2, 0));
    there.pass(99_000);
    move_all(&mut there, "gw-1", 1);
    assert_eq!(there.worker.hub().moved(), moved(1, 1));
    there.pass(2_000);
    move_all(&mut there, "gw-1", 1);
    assert_eq!(there.worker.hub().moved(), moved(2, 1), "the other's first was long before");
    let counts = |gateway: &Gateway| {
        let counters = gateway.counters();
        [&counters.moves_1, &counters.moves_2, &counters.moves_all].map(|it| it.get())
    };
    assert_eq!((counts(&here), counts(&there)), ([2, 2, 2], [1, 2, 2]));
}

#[test]
fn who_has_something_open_goes_when_that_is_done_or_its_time_is_over() {
    let begin = || {
        let mut gateway = Gateway::with(|config| config.flush = Duration::from_millis(500));
        let writer = gateway.join(clean("writer"));
        let [quick, slow] = ["quick", "slow"].map(|it| gateway.subscriber(durable(it), "t", Q1));
        gateway.publish(writer, &publish("t", "x", Q1, 1));
        for conn in [quick, slow] {
            assert_eq!(gateway.hear(conn), ["PUBLISH t x q1 #1"]);
        }
        (gateway, [writer, quick, slow])
    };
    let move_some = |gateway: &mut Gateway, conns: [ConnId; 3], order: &MoveOrder| {
        gateway.mail(Mail::Move(order.clone()));
        gateway.settle();
        conns.map(|conn| gateway.sockets.closed(conn).is_some())
    };
    let (mut gateway, conns) = begin();
    let plain = MoveOrder::anywhere(3);
    assert_eq!(move_some(&mut gateway, conns, &plain), [true, false, false]);
    gateway.pass(100);
    gateway.send(conns[1], &ack(PubAck, 1));
    assert_eq!(move_some(&mut gateway, conns, &plain), [true, true, false]);
    gateway.pass(399);
    assert_eq!(move_some(&mut gateway, conns, &plain), [true, true, false]);
    gateway.pass(1);
    assert_eq!(move_some(&mut gateway, conns, &plain), [true; 3]);
    assert_eq!(gateway.counters().drain_unfinished.get(), 1);
    assert_eq!(gateway.record("quick").unwrap().inflight, []);
    assert_eq!(gateway.record("slow").unwrap().inflight.len(), 1, "it is sent again elsewhere");
    // Whoever drains may say that nobody has time for it, and who is forced has none.
    let wishes = MoveWishes { flush: Some(Duration::ZERO), ..MoveWishes::NONE };
    for order in [MoveOrder { wishes, ..plain.clone() }, MoveOrder { forced: true, ..plain }] {
        let (mut gateway, conns) = begin();
        assert_eq!(move_some(&mut gateway, conns, &order), [true; 3]);
    }
}

#[test]
fn who_has_begun_to_publish_at_qos_2_has_time_to_end_it_here() {
    let mut gateway = Gateway::with(|config| config.flush = Duration::from_millis(500));
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "x", Q2, 1));
    let is_moved = |gateway: &mut Gateway| {
        gateway.mail(Mail::Move(MoveOrder::anywhere(1)));
        gateway.settle();
        gateway.sockets.closed(a).is_some()
    };
    assert!(!is_moved(&mut gateway));
    gateway.tell(a, &ack(PubRel, 1));
    assert!(is_moved(&mut gateway));
    assert_eq!(gateway.counters().drain_unfinished.get(), 0);
}

#[test]
fn who_was_moved_as_often_as_it_may_be_goes_with_the_last_for_a_while() {
    for (after_ms, first) in [(59_000, "b"), (60_000, "a")] {
        let [mut here, mut there] = two();
        here.join(durable("a"));
        move_all(&mut here, "gw-2", 1);
        there.follow();
        let a = there.join_again(durable("a"));
        let b = there.join(ConnectRequest { returned: true, ..durable("b") });
        there.pass(after_ms);
        let budget = MoveBudget { max: 1, per: Duration::from_secs(60) };
        let wishes = MoveWishes { per_device: Some(budget), ..MoveWishes::NONE };
        let mut gone = Vec::new();
        for _ in 0..2 {
            there.mail(Mail::Move(MoveOrder { wishes, ..MoveOrder::anywhere(1) }));
            there.settle();
            let all = [("a", a), ("b", b)];
            gone.extend(
                all.into_iter()
                    .find(|(name, conn)| {
                        there.sockets.closed(*conn).is_some() && !gone.contains(name)
                    })
                    .map(|(name, _)| name),
            );
        }
        assert_eq!((gone.len(), gone[0]), (2, first));
        assert_eq!(there.counters().drain_moves_beyond.get(), u64::from(first == "b"));
    }
}

#[test]
fn what_a_subscriber_at_qos_0_probably_missed_is_its_own_rate_times_its_absence() {
    let [mut here, mut there] = two();
    let writer = here.join(clean("writer"));
    let reader = here.subscriber(durable("reader"), "fast/#", Q0);
    let other = here.subscriber(durable("other"), "slow", Q0);
    // Nine more in the 1.8 seconds behind the first one: five per second.
    for n in 0..10_u16 {
        here.publish(writer, &publish("fast/a", "x", Q0, 0));
        if n == 0 {
            here.publish(writer, &publish("slow", "x", Q0, 0));
        }
        here.pass(if n < 9 { 200 } else { 0 });
    }
    assert_eq!((here.hear(reader).len(), here.hear(other).len()), (10, 1));
    move_all(&mut here, "gw-2", 3);
    there.pass(1_800 + 400);
    there.follow();
    for name in ["reader", "other"] {
        there.join_again(durable(name));
    }
    assert_eq!(there.counters().drain_gap_nanoseconds.get(), 2 * 400_000_000);
    assert_eq!(there.counters().at_most_once_gap.get(), 2_000, "two publications");
}

#[test]
fn who_leaves_by_himself_is_counted_once_when_that_is_stored_and_who_is_moved_is_not() {
    let [mut here, _] = two();
    let (stays, goes) = (here.join(durable("persistent")), here.join(clean("clean")));
    here.join(durable("moved"));
    here.lose(goes);
    assert_eq!(here.worker.hub().moved().departed, 1);
    here.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    here.lose(stays);
    assert_eq!(here.worker.hub().moved().departed, 1, "it is still ours");
    here.pass(100);
    assert_eq!(here.worker.hub().moved().departed, 2);
    move_all(&mut here, "gw-2", 1);
    let Moved { moved, departed, .. } = here.worker.hub().moved();
    assert_eq!((moved, departed), (1, 2));
}

#[test]
fn a_move_that_the_store_does_not_take_is_counted_each_time_and_once_when_it_is_done() {
    let [mut here, _] = two();
    here.join(durable("a"));
    here.store.inject(Fault::FailCommits { count: 2, why: Unavailable::Busy });
    move_all(&mut here, "gw-2", 1);
    here.pass(100);
    here.pass(100);
    let moved = Moved { moved: 1, not_stored: 2, ..Moved::default() };
    assert_eq!(here.worker.hub().moved(), moved);
    assert_eq!(here.counters().moves.get(), 1);
}

#[test]
fn wills_of_moved_clients_are_deferred_and_cancelled_when_they_are_back() {
    let [mut here, mut there] = two();
    let will = || ConnectRequest { will: Some(will("w", 0)), ..durable("a") };
    here.join(will());
    here.join(durable("no will"));
    move_all(&mut here, "gw-2", 2);
    there.follow();
    there.join_again(will());
    assert_eq!(here.counters().drain_wills_deferred.get(), 1);
    assert_eq!(there.counters().drain_wills_cancelled.get(), 1);
    assert_eq!(there.counters().drain_wills_published.get(), 0);
}
