//! How a connection and its session part: goodbye, loss, hand-over.

use std::sync::Arc;
use std::time::Duration;

use protocol::mqtt::codec::AckKind::{PubAck, PubRec, PubRel};
use protocol::mqtt::{ReasonCode, Version};
use protocol::peer::ReleaseOutcome;
use protocol::{Position, SessionEpoch};
use store::{Fault, Unavailable};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{Ask, Close, ConnectRequest, MoveOrder, Moved, ReleaseAsked};
use crate::worker::Mail;

/// A gateway that knows where its clients could go.
fn in_a_fleet() -> Gateway {
    let gateway = Gateway::new();
    gateway.knows(&["gw-1", "gw-2"]);
    gateway
}

#[test]
fn the_last_write_has_no_owner_and_all_that_is_open() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    for (number, qos) in [(1, Q1), (2, Q1), (3, Q2), (4, Q1)] {
        gateway.publish(a, &publish("t", "x", qos, number));
    }
    gateway.tell(b, &[ack(PubAck, 1), ack(PubRec, 3), ack(PubAck, 4)].concat());
    gateway.publish(b, &publish("elsewhere", "x", Q2, 77));
    gateway.lose(b);
    let record = gateway.record("b").unwrap();
    assert_eq!((record.owner, record.detached_at), (None, Some(gateway.now.wall)));
    assert_eq!((record.acknowledged, record.sent), (Position(1), Position(4)));
    assert_eq!(record.inflight, [(id(2), Position(2), false), (id(3), Position(3), true)]);
    assert_eq!(record.inbound, [id(77)]);
    assert!(!record.orphaned);
}

#[test]
fn a_moved_client_is_told_where_to_go_once_its_session_is_stored() {
    let mut gateway = in_a_fleet();
    let plain = gateway.join(durable("plain"));
    gateway.mail(Mail::Move(MoveOrder::anywhere(1)));
    assert!(gateway.hear(plain).is_empty());
    gateway.settle();
    assert_eq!(gateway.sockets.closed(plain), Some(Close::Redirect(None)));
    assert_eq!(gateway.hear(plain), ["DISCONNECT UseAnotherServer gw-2:1883", "closed"]);
    assert_eq!(gateway.record("plain").unwrap().owner, None);
    let secure = gateway.join(ConnectRequest { secure: true, ..clean("secure") });
    let older = gateway.join(old("older"));
    gateway.mail(Mail::Move(MoveOrder::anywhere(5)));
    gateway.settle();
    assert_eq!(gateway.hear(secure), ["DISCONNECT UseAnotherServer gw-2:8883", "closed"]);
    assert_eq!(gateway.hear(older), ["closed"], "3.1.1 has no word for it");
    let moved = Moved { moved: 3, failed: 3, ..Moved::default() };
    assert_eq!(gateway.worker.hub().moved(), moved, "three of five were not there");
}

#[test]
fn a_moved_client_is_told_the_gateway_that_granted_its_credit_and_another() {
    let mut gateway = Gateway::new();
    gateway.knows(&["gw-1", "gw-2", "gw-3", "gw-4"]);
    let conns = ["a", "b", "c"].map(|name| gateway.join(durable(name)));
    let to = ["gw-3", "gw-4"].map(|id| protocol::GatewayId::new(id).unwrap());
    let to = to.into_iter().zip([2, 1]).collect();
    gateway.mail(Mail::Move(MoveOrder { to, ..MoveOrder::anywhere(3) }));
    gateway.settle();
    let mut first = conns.map(|conn| {
        let heard = gateway.hear(conn).remove(0);
        let named: Vec<_> = heard.split(' ').skip(2).map(str::to_owned).collect();
        assert_eq!(named.len(), 2, "{heard}");
        assert_ne!(named[0], named[1]);
        named[0].clone()
    });
    first.sort();
    assert_eq!(first, ["gw-3:1883", "gw-3:1883", "gw-4:1883"]);
}

#[test]
fn who_costs_least_to_move_goes_first() {
    let mut gateway = in_a_fleet();
    let writer = gateway.join(clean("writer"));
    let busy = gateway.subscriber(durable("busy"), "t", Q1);
    (1..=16).for_each(|number| gateway.publish(writer, &publish("t", "x", Q1, number)));
    gateway.hear(busy);
    let older = gateway.join(ConnectRequest { version: Version::V311, ..durable("older") });
    let returned = gateway.join(ConnectRequest { returned: true, ..durable("returned") });
    let idle = gateway.join(durable("idle"));
    let newer = gateway.join(durable("newer"));
    for conn in [idle, newer, older, writer, busy, returned] {
        assert_eq!(gateway.sockets.closed(conn), None);
        gateway.mail(Mail::Move(MoveOrder::anywhere(1)));
        gateway.settle();
        assert_eq!(gateway.sockets.closed(conn), Some(Close::Redirect(None)));
    }
}

#[test]
fn members_of_a_shared_group_are_moved_one_after_the_other() {
    let mut gateway = in_a_fleet();
    let members = ["a", "b", "c"].map(|it| gateway.subscriber(durable(it), "$share/g/t", Q1));
    let alone = gateway.subscriber(durable("alone"), "t", Q1);
    let here = |gateway: &Gateway| {
        members.iter().filter(|conn| gateway.sockets.closed(**conn).is_none()).count()
    };
    gateway.mail(Mail::Move(MoveOrder::anywhere(4)));
    gateway.settle();
    assert_eq!(gateway.sockets.closed(alone), Some(Close::Redirect(None)));
    assert_eq!(here(&gateway), 2);
    gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
    gateway.settle();
    assert_eq!(here(&gateway), 2, "the one that went is not back yet");
    for left in [1, 0] {
        gateway.pass(250);
        gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
        gateway.settle();
        assert_eq!(here(&gateway), left);
    }
    let moved = Moved { moved: 4, failed: 1, held_back: 5, ..Moved::default() };
    assert_eq!(gateway.worker.hub().moved(), moved);
}

#[test]
fn of_a_large_shared_group_a_twentieth_goes_at_a_time_and_all_of_it_when_forced() {
    let mut gateway = in_a_fleet();
    let members: Vec<_> = (0..60)
        .map(|it| gateway.subscriber(durable(&format!("c{it}")), "$share/g/t", Q1))
        .collect();
    let gone = |gateway: &Gateway| {
        members.iter().filter(|conn| gateway.sockets.closed(**conn).is_some()).count()
    };
    for after in [3, 6, 9] {
        for _ in 0..2 {
            gateway.mail(Mail::Move(MoveOrder::anywhere(60)));
            gateway.settle();
            assert_eq!(gone(&gateway), after);
        }
        gateway.pass(250);
    }
    gateway.mail(Mail::Move(MoveOrder { forced: true, ..MoveOrder::anywhere(51) }));
    gateway.settle();
    assert_eq!(gone(&gateway), 60);
}

#[test]
fn clients_that_stand_in_for_each_other_go_at_different_times_unless_they_are_forced() {
    let known = ["*-a", "*-b"].map(str::to_owned);
    let known = Arc::new(maintenance::StandIns::new(&known, Duration::from_secs(1)).unwrap());
    let begin = || {
        let mut gateway = Gateway::with(|config| config.stand_ins = Arc::clone(&known));
        gateway.knows(&["gw-1", "gw-2"]);
        let ids = ["1-a", "1-b", "2-a", "2-b", "other"];
        let conns = ids.map(|id| gateway.join(durable(id)));
        (gateway, conns)
    };
    let (mut gateway, conns) = begin();
    let mut gone = [None; 5];
    for step in 0..60_u64 {
        gateway.mail(Mail::Move(MoveOrder::anywhere(5)));
        gateway.settle();
        for (conn, gone) in conns.iter().zip(&mut gone) {
            if gone.is_none() && gateway.sockets.closed(*conn).is_some() {
                *gone = Some(step * 100);
            }
        }
        gateway.pass(100);
    }
    let [a, b, again_a, again_b, other] = gone.map(Option::unwrap);
    assert_eq!((a, b, other), (again_a, again_b, 0));
    assert!(u64::abs_diff(a, b) >= 1_000, "{a} {b}");
    let (mut gateway, conns) = begin();
    gateway.mail(Mail::Move(MoveOrder { forced: true, ..MoveOrder::anywhere(5) }));
    gateway.settle();
    assert!(conns.iter().all(|conn| gateway.sockets.closed(*conn).is_some()));
}

#[test]
fn a_moved_client_is_answered_first() {
    let mut gateway = in_a_fleet();
    gateway.subscriber(durable("queue"), "t", Q1);
    let a = gateway.join(clean("a"));
    gateway.send_publish(a, &publish("t", "x", Q1, 1));
    gateway.worker.handle_stop(gateway.now, &mut gateway.sockets);
    gateway.send(a, &ping());
    gateway.settle();
    let heard = ["PUBACK #1", "DISCONNECT UseAnotherServer gw-2:1883", "closed"];
    assert_eq!(gateway.hear(a), heard, "and nothing that came later");
    assert_eq!(gateway.worker.hub().sessions_len(), 0);
}

#[test]
fn a_last_write_that_the_store_does_not_take_is_tried_again_with_the_tick() {
    let mut gateway = in_a_fleet();
    let a = gateway.subscriber(durable("a"), "t", Q1);
    gateway.store.inject(Fault::FailCommits { count: 2, why: Unavailable::Busy });
    gateway.mail(Mail::Move(MoveOrder::anywhere(1)));
    gateway.settle();
    gateway.pass(100);
    assert!(gateway.hear(a).is_empty());
    assert!(gateway.record("a").unwrap().owner.is_some());
    gateway.pass(100);
    assert_eq!(gateway.hear(a), ["DISCONNECT UseAnotherServer gw-2:1883", "closed"]);
    assert_eq!(gateway.record("a").unwrap().owner, None);
    assert_eq!(gateway.worker.hub().moved(), Moved { moved: 1, not_stored: 2, ..Moved::default() });
}

#[test]
fn a_client_that_comes_back_meanwhile_waits_for_the_last_write() {
    let mut gateway = Gateway::new();
    let before = gateway.subscriber(durable("a"), "t", Q1);
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.lose(before);
    let after = gateway.connect(durable("a"));
    gateway.settle();
    assert!(gateway.hear(after).is_empty());
    gateway.pass(100);
    assert_eq!(gateway.hear(after), ["CONNACK Success present"]);
}

#[test]
fn a_release_of_another_ownership_changes_nothing() {
    let mut gateway = Gateway::new();
    let a = gateway.join(durable("a"));
    let epoch = gateway.record("a").unwrap().epoch;
    let from = || protocol::GatewayId::new("gw-2").unwrap();
    let asked =
        |epoch, name| ReleaseAsked { from: from(), request: 5, client: client(name), epoch };
    let outcome = |gateway: &mut Gateway| {
        gateway.answer_asks();
        let Some(Ask::Released { request: 5, outcome, .. }) = gateway.asked.pop() else {
            panic!("no answer");
        };
        outcome
    };
    gateway.mail(Mail::ReleaseAsked(asked(SessionEpoch(epoch.0 - 1), "a")));
    assert_eq!(outcome(&mut gateway), ReleaseOutcome::NotOwner);
    gateway.connect(durable("b"));
    gateway.mail(Mail::ReleaseAsked(asked(epoch, "b")));
    assert_eq!(outcome(&mut gateway), ReleaseOutcome::NotOwner, "it never had that one");
    gateway.mail(Mail::Superseded(client("a"), epoch));
    gateway.tell(a, &ping());
    assert_eq!(gateway.hear(a), ["PINGRESP"]);
    gateway.mail(Mail::ReleaseAsked(asked(epoch, "a")));
    gateway.settle();
    assert_eq!(outcome(&mut gateway), ReleaseOutcome::Done);
}

#[test]
fn a_newer_ownership_elsewhere_ends_the_session_here() {
    let mut gateway = Gateway::new();
    let a = gateway.subscriber(durable("a"), "t", Q1);
    let epoch = gateway.record("a").unwrap().epoch;
    gateway.mail(Mail::Superseded(client("a"), SessionEpoch(epoch.0 + 1)));
    assert_eq!(gateway.hear(a), ["DISCONNECT SessionTakenOver", "closed"]);
    assert_eq!(gateway.worker.hub().sessions_len(), 0);
    assert!(!gateway.worker.has_writes(), "it writes nothing any more");
}

#[test]
fn a_client_says_how_long_its_session_is_kept() {
    let mut gateway = Gateway::new();
    let a = gateway.join(durable("a"));
    gateway.tell(a, &disconnect(ReasonCode::Success, Some(0)));
    assert_eq!(gateway.hear(a), ["closed"]);
    assert_eq!(gateway.record("a"), None);
    let b = gateway.join(durable("b"));
    gateway.tell(b, &disconnect(ReasonCode::Success, Some(u32::MAX)));
    assert_eq!(gateway.record("b").unwrap().expiry_s, 7200, "at most what is configured");
    let c = gateway.join(clean("c"));
    gateway.tell(c, &disconnect(ReasonCode::Success, Some(1)));
    assert_eq!(gateway.hear(c), ["DISCONNECT ProtocolError", "closed"]);
}

#[test]
fn silence_of_one_and_a_half_keep_alives_ends_a_connection() {
    let mut gateway = Gateway::with(|config| config.keep_alive_max_s = 20);
    let a = gateway.join(ConnectRequest { keep_alive_s: 10, ..clean("a") });
    let endless = gateway.join(ConnectRequest { keep_alive_s: 0, ..old("endless") });
    let limited = gateway.join(ConnectRequest { keep_alive_s: 0, ..clean("limited") });
    gateway.pass(14_000);
    gateway.tell(a, &ping());
    gateway.pass(14_999);
    assert_eq!(gateway.hear(a), ["PINGRESP"]);
    gateway.pass(1);
    assert_eq!(gateway.hear(a), ["DISCONNECT KeepAliveTimeout", "closed"]);
    assert!(gateway.hear(limited).is_empty());
    gateway.pass(1_000);
    assert_eq!(gateway.hear(limited), ["DISCONNECT KeepAliveTimeout", "closed"]);
    assert!(gateway.hear(endless).is_empty());
}

#[test]
fn what_is_acknowledged_is_saved_with_the_tick() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q1);
    for number in 1..=3 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    gateway.tell(b, &[ack(PubAck, 1), ack(PubAck, 3)].concat());
    assert_eq!(gateway.worker.hub().unsaved(), 1);
    gateway.pass(100);
    let no = gateway.record("b").unwrap().no;
    assert_eq!((gateway.worker.hub().unsaved(), gateway.queue_len(no)), (0, 2));
}

#[test]
fn a_packet_that_breaks_a_rule_ends_the_connection_with_its_reason() {
    let mut gateway = Gateway::new();
    for (bytes, reason) in [
        (vec![0x10, 8, 0, 4, b'M', b'Q', b'T', b'T', 9, 0], "ProtocolError"),
        (ack(PubRel, 9), ""),
        (vec![0x30, 0xff, 0xff, 0xff, 0x7f], "PacketTooLarge"),
        (vec![0xd0, 0], "ProtocolError"),
    ] {
        let a = gateway.join(clean("a"));
        gateway.tell(a, &bytes);
        let heard = gateway.hear(a);
        if reason.is_empty() {
            assert_eq!(heard, ["PUBCOMP #9 PacketIdentifierNotFound"], "this one is harmless");
        } else {
            assert_eq!(heard, [format!("DISCONNECT {reason}"), "closed".to_owned()]);
        }
    }
    let older = gateway.join(old("older"));
    gateway.tell(older, &[0xd0, 0]);
    assert_eq!(gateway.hear(older), ["closed"]);
    assert_eq!(gateway.sockets.version(older), Version::V311);
}
