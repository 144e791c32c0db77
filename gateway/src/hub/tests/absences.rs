//! A gateway that other gateways may not have waited for.

use std::time::Duration;

use protocol::mqtt::{Publish, ReasonCode, Version};
use store::MemoryStore;

use super::gateway::Gateway;
use super::packets::{
    Q0, Q1, clean, client, disconnect, durable, filter, ping, publish, subscribe,
};
use crate::config::PresenceSettings;
use crate::hub::{Ask, BEFORE_LOOKS, ConnId, HubConfig, MoveOrder};
use crate::presence::due_late;
use crate::worker::{Mail, PresenceMail, Reading};

/// Two gateways on one store: a publisher at the first, and who subscribed at the second before the first read of it.
fn away() -> (Gateway, ConnId, Gateway, ConnId) {
    let [mut here, mut there] = Gateway::two(|_| {});
    let a = here.join(clean("a"));
    here.tables.set_awaited((Duration::ZERO, 0));
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

/// The store took no renewal, and those who gave this gateway up tell it nothing.
#[test]
fn a_publication_to_a_gateway_that_may_have_been_given_up_waits_for_what_its_peers_want() {
    let (mut here, a, ..) = away();
    here.tables.set_heard(0);
    here.tables.set_awaited((here.now.mono, 0));
    here.send_publish(a, &publish("t", "x", Q1, 1));
    here.pass_unsettled(100);
    assert!(here.sockets.asks.is_empty() && !here.worker.may_read(a), "nobody has noted it yet");
    here.tables.set_back(1, Duration::MAX);
    here.tables.set_awaited((Duration::ZERO, 0));
    here.pass_unsettled(60_000);
    assert!(here.sockets.asks.is_empty() && !here.worker.may_read(a), "nobody has said it yet");
    here.tables.set_heard(1);
    here.pass_unsettled(100);
    here.settle();
    assert_eq!(here.hear(a), ["PUBACK #1"]);
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
    here.mail(Mail::CaughtUp(1));
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
    here.mail(Mail::CaughtUp(1));
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

/// Two gateways on one store that tell of clients: one that was away, and somebody with a stored queue who subscribed at the other
/// one before the first read of it.
fn watched() -> (Gateway, [ConnId; 3], Gateway, ConnId) {
    let store = MemoryStore::new();
    let keeps = |config: &mut HubConfig| config.presence = PresenceSettings::default();
    let mut here = Gateway::named("gw-1", &store, keeps);
    let mut there = Gateway::named("gw-2", &store, keeps);
    let clients = ["goes", "moves", "again"].map(|client| here.join(durable(client)));
    let watcher = there.subscriber(durable("watcher"), "$aws/events/presence/#", Q1);
    there.subscribe(watcher, "$aws/events/subscriptions/+/moves", Q1);
    here.tables.set_awaited((Duration::ZERO, 0));
    (here, clients, there, watcher)
}

/// What the watcher is told: of whom, and what.
fn told(there: &mut Gateway, watcher: ConnId) -> Vec<String> {
    there.settle();
    let heard = there.hear(watcher).into_iter();
    let topics = heard.map(|it| it.split(' ').nth(1).unwrap_or_default().to_owned());
    let mut told: Vec<_> =
        topics.map(|it| it.trim_start_matches("$aws/events/").to_owned()).collect();
    told.sort();
    told
}

#[test]
fn what_happens_to_clients_of_a_gateway_that_was_away_is_told_once_to_who_subscribed_meanwhile() {
    let (mut here, [goes, moves, _], mut there, watcher) = watched();
    here.join(clean("new"));
    here.tell(goes, &disconnect(ReasonCode::Success, None));
    here.join_again(durable("again"));
    here.mail(Mail::Presence(PresenceMail::Refused(client("stranger"))));
    here.settle();
    let expected = [
        "presence/connect_failed/stranger",
        "presence/connected/again",
        "presence/connected/new",
        "presence/disconnected/again",
        "presence/disconnected/goes",
    ];
    assert_eq!(told(&mut there, watcher), expected);
    assert!(here.worker.is_idle());
    here.tell(moves, &subscribe(Version::V5, 5, &[filter("x", Q0)]));
    assert_eq!(told(&mut there, watcher), ["subscriptions/subscribed/moves"]);
    here.mail(Mail::Move(MoveOrder::anywhere(1)));
    here.settle();
    assert!(told(&mut there, watcher).is_empty());
}

#[test]
fn nobody_is_attached_or_gone_before_the_log_was_read_since_it_came_or_left() {
    let (mut here, [goes, moves, _], mut there, watcher) = watched();
    here.send(goes, &disconnect(ReasonCode::Success, None));
    let new = here.connect(clean("new"));
    here.worker.handle_more(here.now, &mut here.sockets);
    let first = std::mem::take(&mut here.sockets.asks);
    assert!(first.iter().any(|ask| matches!(ask, Ask::CatchUp(_))), "{first:?}");
    // The look that is under way may have been before this.
    here.send(moves, &disconnect(ReasonCode::Success, None));
    here.worker.handle_more(here.now, &mut here.sockets);
    assert!(here.sockets.asks.is_empty() && !here.worker.is_idle());
    here.follow();
    here.mail(Mail::CaughtUp(BEFORE_LOOKS + 1));
    assert!(here.sockets.asks.iter().any(|ask| matches!(ask, Ask::CatchUp(_))));
    assert!(here.hear(new).is_empty());
    here.sockets.asks.extend(first.into_iter().filter(|ask| !matches!(ask, Ask::CatchUp(_))));
    here.settle();
    assert_eq!(here.hear(new).len(), 1);
    let expected =
        ["presence/connected/new", "presence/disconnected/goes", "presence/disconnected/moves"];
    assert_eq!(told(&mut there, watcher), expected);
}

#[test]
fn who_is_late_is_told_of_by_a_gateway_that_was_away_once_it_has_read_the_log() {
    let (mut here, _, mut there, watcher) = watched();
    here.mail(Mail::Move(MoveOrder::anywhere(3)));
    here.settle();
    here.pass(30_000);
    let (me, now) = (here.id.clone(), here.now.wall);
    let late = due_late(here.reader(), &me, std::slice::from_ref(&me), now).unwrap();
    assert_eq!(late.len(), 3);
    for it in late {
        here.mail(Mail::Presence(PresenceMail::Late(it)));
    }
    here.settle();
    assert_eq!(told(&mut there, watcher).len(), 3);
}

#[test]
fn a_connect_that_is_overtaken_while_the_log_is_read_leaves_its_place_to_the_newer_one() {
    let (mut here, _, mut there, watcher) = watched();
    let older = here.connect(clean("new"));
    here.answer_asks();
    let newer = here.connect(clean("new"));
    here.settle();
    assert_eq!(here.hear(older).last().map(String::as_str), Some("closed"));
    assert_eq!(here.hear(newer).len(), 1);
    assert_eq!(told(&mut there, watcher), ["presence/connected/new"]);
}
