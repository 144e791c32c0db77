//! What becomes of a will.

use std::time::Duration;

use maintenance::MoveWishes;
use protocol::Wall;
use protocol::mqtt::{ReasonCode, Version};
use protocol::session::StoredWill;
use store::{Fault, Space, Unavailable};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{ConnId, ConnectRequest, MoveOrder};
use crate::service::keeper::{self, DueWill};
use crate::worker::Mail;

/// A gateway with somebody who hears every will.
fn watched() -> (Gateway, ConnId) {
    let mut gateway = Gateway::new();
    let watcher = gateway.subscriber(clean("watcher"), "will", Q0);
    (gateway, watcher)
}

fn with_will(request: ConnectRequest, delay_s: u32) -> ConnectRequest {
    ConnectRequest { will: Some(will("gone", delay_s)), ..request }
}

/// The wills that are due so many seconds from now.
fn due_in(gateway: &mut Gateway, seconds: u64) -> Vec<DueWill> {
    let (me, at) = (gateway.id.clone(), Wall(gateway.now.wall.0 + seconds * 1000));
    let live = [me.clone()];
    keeper::due_wills(gateway.reader(), &me, &live, at).unwrap()
}

fn fire(gateway: &mut Gateway, due: DueWill) {
    gateway.mail(Mail::FireWill(due.client, due.record, due.rev));
    gateway.settle();
}

#[test]
fn a_goodbye_drops_the_will_and_anything_else_publishes_it() {
    let (mut gateway, watcher) = watched();
    let goodbyes: [(Vec<u8>, bool); 4] = [
        (disconnect(ReasonCode::Success, None), false),
        (disconnect(ReasonCode::DisconnectWithWill, None), true),
        (disconnect(ReasonCode::UnspecifiedError, None), true),
        (vec![0xff, 0xff], true),
    ];
    for (goodbye, published) in goodbyes {
        for request in [clean("a"), durable("a")] {
            let a = gateway.join(with_will(request, 0));
            gateway.tell(a, &goodbye);
            let expected: &[&str] = if published { &["PUBLISH will gone q0"] } else { &[] };
            assert_eq!(gateway.hear(watcher), expected, "{goodbye:?}");
        }
    }
    let a = gateway.join(with_will(clean("a"), 0));
    gateway.lose(a);
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"]);
    assert_eq!(gateway.stored(Space::Will), 0);
}

#[test]
fn the_will_of_a_connection_that_was_taken_over_is_due() {
    let (mut gateway, watcher) = watched();
    gateway.join(with_will(durable("a"), 0));
    gateway.join(with_will(durable("a"), 0));
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"]);
    gateway.join(with_will(durable("b"), 9));
    gateway.join(with_will(durable("b"), 9));
    assert!(gateway.hear(watcher).is_empty(), "it came back within the delay");
}

#[test]
fn a_connection_without_a_will_does_not_have_the_one_of_the_connection_before() {
    let (mut gateway, watcher) = watched();
    let a = gateway.join(with_will(durable("a"), 5));
    gateway.lose(a);
    let a = gateway.join(durable("a"));
    assert_eq!(gateway.record("a").unwrap().will, None);
    gateway.lose(a);
    assert_eq!(due_in(&mut gateway, 60).len(), 0);
    assert!(gateway.hear(watcher).is_empty());
}

#[test]
fn no_local_spares_a_session_its_own_will() {
    for delay_s in [0, 5] {
        let (mut gateway, watcher) = watched();
        let a = gateway.join(with_will(durable("a"), delay_s));
        let mut silent = filter("will", Q1);
        silent.options.no_local = true;
        gateway.tell(a, &subscribe(Version::V5, 9, &[silent]));
        gateway.lose(a);
        if delay_s > 0 {
            let due = due_in(&mut gateway, delay_s.into()).remove(0);
            fire(&mut gateway, due);
        }
        assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"]);
        let again = gateway.join(durable("a"));
        assert_eq!(gateway.hear(again), Vec::<String>::new());
    }
}

#[test]
fn a_delayed_will_is_published_once_by_its_keeper() {
    let (mut gateway, watcher) = watched();
    let a = gateway.join(with_will(durable("a"), 5));
    gateway.lose(a);
    assert!(gateway.hear(watcher).is_empty());
    assert_eq!(due_in(&mut gateway, 4).len(), 0);
    let (due, again) = (due_in(&mut gateway, 5).remove(0), due_in(&mut gateway, 5).remove(0));
    fire(&mut gateway, due);
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"]);
    fire(&mut gateway, again);
    assert!(gateway.hear(watcher).is_empty(), "another keeper was first");
    assert_eq!((gateway.stored(Space::Will), gateway.record("a").unwrap().will), (0, None));
}

#[test]
fn a_will_waits_at_most_as_long_as_its_session() {
    let (mut gateway, watcher) = watched();
    let a = gateway.join(with_will(ConnectRequest { expiry_s: 3, ..durable("a") }, 60));
    gateway.lose(a);
    assert_eq!(due_in(&mut gateway, 3).len(), 1);
    let b = gateway.join(with_will(clean("b"), 60));
    gateway.lose(b);
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"], "a clean session ends at once");
}

#[test]
fn coming_back_in_time_cancels_a_will_that_waits() {
    let (mut gateway, watcher) = watched();
    let a = gateway.join(with_will(durable("a"), 5));
    gateway.lose(a);
    let due = due_in(&mut gateway, 5).remove(0);
    let a = gateway.join(durable("a"));
    assert_eq!(gateway.stored(Space::Will), 0);
    fire(&mut gateway, due);
    gateway.lose(a);
    assert!(gateway.hear(watcher).is_empty());
}

#[test]
fn the_will_of_a_moved_client_is_as_any_other_where_that_is_wanted() {
    let mut gateway = Gateway::with(|config| config.takeover_wait = None);
    let watcher = gateway.subscriber(clean("watcher"), "will", Q0);
    gateway.join(with_will(durable("a"), 0));
    gateway.join(with_will(durable("b"), 20));
    gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
    gateway.settle();
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"], "before the client can be back");
    assert_eq!(due_in(&mut gateway, 19).len(), 0);
    assert_eq!(due_in(&mut gateway, 20).len(), 1, "5.0 asked for a delay");
}

#[test]
fn the_will_of_a_moved_client_is_owed_until_it_is_stored() {
    let mut gateway = Gateway::new();
    gateway.join(with_will(durable("a"), 0));
    gateway.join(durable("without"));
    let owed = |gateway: &Gateway| gateway.worker.hub().unsaved_wills();
    assert_eq!(owed(&gateway), 0, "who is here keeps it");
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
    assert_eq!(owed(&gateway), 1);
    gateway.settle();
    assert_eq!(owed(&gateway), 1, "the store did not take it");
    gateway.pass(1_000);
    assert_eq!(owed(&gateway), 0);
    assert!(gateway.record("a").unwrap().will_parked);
}

#[test]
fn the_will_of_a_moved_client_waits_for_it_to_come_back() {
    for request in [clean("a"), durable("a")] {
        let mut gateway = Gateway::new();
        let kept = request.expiry_s > 0;
        gateway.join(with_will(request.clone(), 0));
        gateway.mail(Mail::Move(MoveOrder::anywhere(1)));
        gateway.settle();
        let record = gateway.record("a").unwrap();
        assert!(record.will_parked && record.will.is_some() && record.owner.is_none());
        let watcher = gateway.subscriber(clean("watcher"), "will", Q0);
        assert_eq!(due_in(&mut gateway, 29).len(), 0);
        let due = due_in(&mut gateway, 30).remove(0);
        fire(&mut gateway, due);
        assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"], "it never came back");
        assert_eq!(gateway.record("a").is_some(), kept);
    }
}

#[test]
fn whoever_empties_a_gateway_may_say_how_long_wills_wait_where_they_wait_at_all() {
    let wishes = MoveWishes { takeover_wait: Some(Duration::from_secs(60)), ..MoveWishes::NONE };
    let long = MoveOrder { wishes, ..MoveOrder::anywhere(1) };
    let mut gateway = Gateway::new();
    gateway.join(with_will(durable("a"), 0));
    gateway.mail(Mail::Move(long.clone()));
    gateway.settle();
    assert_eq!(due_in(&mut gateway, 59).len(), 0);
    assert_eq!(due_in(&mut gateway, 60).len(), 1);
    let mut strict = Gateway::with(|config| config.takeover_wait = None);
    let watcher = strict.subscriber(clean("watcher"), "will", Q0);
    strict.join(with_will(durable("a"), 0));
    strict.mail(Mail::Move(long));
    strict.settle();
    assert_eq!(strict.hear(watcher), ["PUBLISH will gone q0"], "its owner wants no will to wait");
}

#[test]
fn a_will_expires_so_long_after_it_is_published() {
    let (mut gateway, watcher) = watched();
    let mut request = with_will(durable("a"), 5);
    request.will = request.will.map(|will| StoredWill { expiry_s: Some(7), ..will });
    let a = gateway.join(request);
    gateway.lose(a);
    gateway.pass(60_000);
    let due = due_in(&mut gateway, 0).remove(0);
    fire(&mut gateway, due);
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0 for 7 s"]);
}

#[test]
fn a_will_is_not_published_before_the_session_is_written_off() {
    let (mut gateway, watcher) = watched();
    let a = gateway.join(with_will(durable("a"), 0));
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.lose(a);
    assert!(gateway.hear(watcher).is_empty());
    gateway.pass(100);
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"]);
    gateway.pass(100);
    assert!(gateway.hear(watcher).is_empty());
}

#[test]
fn a_connect_that_was_never_accepted_leaves_no_will() {
    let (mut gateway, watcher) = watched();
    gateway.connect(with_will(durable("a"), 0));
    gateway.answer_asks();
    // Its ownership is being written when a newer one comes.
    gateway.join(ConnectRequest { clean_start: true, ..durable("a") });
    assert!(gateway.hear(watcher).is_empty());
    assert_eq!(gateway.record("a").unwrap().will, None);
}

#[test]
fn a_will_that_waited_is_published_when_its_session_has_expired() {
    let (mut gateway, watcher) = watched();
    let a = gateway.join(with_will(ConnectRequest { expiry_s: 3, ..durable("a") }, 60));
    gateway.lose(a);
    gateway.pass(3_000);
    // Its client is quicker than its keeper.
    gateway.join(durable("a"));
    assert_eq!(gateway.hear(watcher), ["PUBLISH will gone q0"]);
    assert_eq!(gateway.stored(Space::Will), 0);
}
