//! What is stored before anyone sees the rest, and what happens when it cannot be.

use std::time::Duration;

use protocol::mqtt::Version;
use protocol::{LogSeq, Wall};
use store::{Fault, Space, Unavailable};

use super::gateway::Gateway;
use super::packets::*;
use crate::commit::Progress;
use crate::hub::{ConnId, ConnectRequest};
use crate::service::keeper;
use crate::worker::Mail;

const DOWN: Fault = Fault::FailCommits { count: 1, why: Unavailable::Full };

/// A publisher, and a stored queue that its publications on `t` go to.
fn publisher(gateway: &mut Gateway, version: Version) -> ConnId {
    gateway.subscriber(durable("queue"), "t", Q2);
    gateway.join(ConnectRequest { version, ..clean("a") })
}

#[test]
fn outputs_of_a_connection_keep_their_order_when_the_first_waits_for_the_store() {
    let mut gateway = Gateway::new();
    let a = publisher(&mut gateway, Version::V5);
    gateway.send_publish(a, &publish("t", "x", Q1, 1));
    gateway.send(a, &ping());
    gateway.send_publish(a, &publish("nobody", "x", Q1, 2));
    assert!(gateway.hear(a).is_empty(), "the first is not stored yet");
    gateway.settle();
    assert_eq!(gateway.hear(a), ["PUBACK #1", "PINGRESP", "PUBACK #2 NoMatchingSubscribers"]);
    assert!(gateway.worker.is_idle());
}

#[test]
fn nobody_sees_what_is_not_stored_and_nobody_else_waits_for_it() {
    let mut gateway = Gateway::new();
    let a = publisher(&mut gateway, Version::V5);
    let near = gateway.subscriber(clean("near"), "t", Q0);
    gateway.send_publish(a, &publish("t", "x", Q1, 1));
    gateway.send(near, &ping());
    assert_eq!(gateway.hear(near), ["PINGRESP"], "the other connection has its own lane");
    let writes = gateway.worker.take_writes();
    assert!(gateway.hear(near).is_empty() && gateway.hear(a).is_empty());
    gateway.commit_these(writes);
    assert_eq!(gateway.hear(near), ["PUBLISH t x q0"]);
    assert_eq!(gateway.hear(a), ["PUBACK #1"]);
}

#[test]
fn what_the_store_refuses_overtakes_nothing_of_its_client() {
    let mut gateway = Gateway::new();
    let a = publisher(&mut gateway, Version::V5);
    let near = gateway.subscriber(clean("near"), "+", Q0);
    gateway.progress = None;
    gateway.send(a, &subscribe(Version::V5, 1, &[filter("elsewhere", Q0)]));
    gateway.send_publish(a, &publish("t", "one", Q1, 2));
    gateway.commit();
    gateway.store.inject(DOWN);
    gateway.send_publish(a, &publish("t", "two", Q0, 0));
    gateway.send_publish(a, &publish("t", "three", Q1, 3));
    gateway.commit();
    assert!(gateway.hear(a).is_empty() && gateway.hear(near).is_empty(), "the peers do not know");
    gateway.mail(Mail::Progress(Progress::default()));
    gateway.settle();
    let answers = ["SUBACK #1 [Success]", "PUBACK #2", "PUBACK #3 QuotaExceeded"];
    assert_eq!(gateway.hear(a), answers);
    assert_eq!(gateway.hear(near), ["PUBLISH t one q0", "PUBLISH t two q0"]);
}

#[test]
fn what_the_store_refuses_is_told_with_a_reason_in_5_0() {
    let mut gateway = Gateway::new();
    let a = publisher(&mut gateway, Version::V5);
    gateway.store.inject(DOWN);
    gateway.publish(a, &publish("t", "x", Q1, 1));
    let words = ["it could not be stored, try again later"];
    assert_eq!(gateway.sockets.words(a), words);
    assert_eq!(gateway.hear(a), ["PUBACK #1 QuotaExceeded"]);
    gateway.store.inject(DOWN);
    gateway.publish(a, &publish("t", "x", Q2, 2));
    assert_eq!(gateway.sockets.words(a), words);
    assert_eq!(gateway.hear(a), ["PUBREC #2 QuotaExceeded"]);
    gateway.publish(a, &publish("t", "x", Q1, 3));
    assert_eq!(gateway.hear(a), ["PUBACK #3"]);
}

#[test]
fn what_the_store_refuses_ends_an_older_connection_unacknowledged() {
    let mut gateway = Gateway::new();
    let a = publisher(&mut gateway, Version::V311);
    gateway.store.inject(DOWN);
    gateway.publish(a, &publish("t", "x", Q1, 1));
    assert_eq!(gateway.hear(a), ["closed"]);
}

#[test]
fn a_refused_subscription_or_release_ends_the_connection() {
    let mut gateway = Gateway::new();
    let a = gateway.join(durable("a"));
    gateway.store.inject(DOWN);
    gateway.tell(a, &subscribe(Version::V5, 1, &[filter("t", Q1)]));
    assert_eq!(gateway.hear(a), ["DISCONNECT ServerBusy", "closed"]);
}

#[test]
fn a_refusal_reaches_what_was_written_before_it_was_known_and_nothing_behind_that() {
    let mut gateway = Gateway::new();
    let a = publisher(&mut gateway, Version::V5);
    gateway.send_publish(a, &publish("t", "one", Q1, 1));
    let first = gateway.worker.take_writes();
    gateway.send_publish(a, &publish("t", "two", Q1, 2));
    let mut later = gateway.worker.take_writes();
    gateway.send_publish(a, &publish("t", "three", Q1, 3));
    gateway.store.inject(DOWN);
    gateway.commit_these(first);
    let refused = [1, 2, 3].map(|id| format!("PUBACK #{id} QuotaExceeded"));
    assert_eq!(gateway.hear(a), refused, "one of them is under way, and one has not left yet");
    assert_eq!(gateway.counters().queue_out_commit.get(), 1, "of which nobody says anything");
    gateway.send_publish(a, &publish("t", "four", Q1, 4));
    later.extend(gateway.worker.take_writes());
    gateway.commit_these(later);
    assert_eq!(gateway.hear(a), ["PUBACK #4"], "it was written knowing all of that");
    assert!(gateway.worker.is_idle());
    let queue = gateway.connect(durable("queue"));
    gateway.settle();
    let came: Vec<_> = gateway.hear(queue).into_iter().skip(1).collect();
    assert_eq!(came, ["PUBLISH t four q1 #1"]);
}

#[test]
fn a_claim_that_loses_looks_again_at_who_owns_the_session() {
    let [mut here, mut there] = Gateway::two(|_| {});
    let a = here.connect(durable("a"));
    here.answer_asks();
    let claim = here.worker.take_writes();
    assert_eq!(claim.len(), 1, "nobody owned it");
    let before = there.subscriber(durable("a"), "t", Q1);
    here.commit_these(claim);
    assert!(here.hear(a).is_empty(), "somebody else was first");
    here.settle();
    assert_eq!(here.hear(a), ["CONNACK Success present"]);
    assert_eq!(here.record("a").unwrap().subscriptions.len(), 1);
    there.settle();
    assert_eq!(there.hear(before), ["DISCONNECT SessionTakenOver", "closed"]);
}

#[test]
fn a_conflict_with_a_newer_ownership_takes_the_session_away() {
    let [mut here, mut there] = Gateway::two(|_| {});
    let a = here.join(durable("a"));
    let later = there.join(durable("a"));
    here.send(a, &subscribe(Version::V5, 1, &[filter("t", Q1)]));
    here.commit();
    assert_eq!(here.hear(a), ["DISCONNECT SessionTakenOver", "closed"]);
    assert_eq!(here.worker.hub().sessions_len(), 0);
    assert!(here.record("a").unwrap().subscriptions.is_empty(), "nothing of it was written");
    there.tell(later, &ping());
    assert_eq!(there.hear(later), ["PINGRESP"]);
}

#[test]
fn a_conflict_with_our_own_ownership_does_not() {
    let mut gateway = Gateway::new();
    let request = || ConnectRequest { will: Some(will("gone", 5)), ..durable("a") };
    let watcher = gateway.subscriber(clean("watcher"), "will", Q0);
    let a = gateway.join(request());
    gateway.lose(a);
    let (live, later) = ([gateway.id.clone()], Wall(gateway.now.wall.0 + 5000));
    let id = gateway.id.clone();
    let due = keeper::due_wills(gateway.reader(), &id, &live, later).unwrap().remove(0);
    // The client is back before the keeper's letter is read.
    let a = gateway.join(request());
    gateway.mail(Mail::FireWill(due.client, due.record, due.rev));
    gateway.settle();
    assert!(gateway.hear(watcher).is_empty());
    gateway.tell(a, &ping());
    assert_eq!(gateway.hear(a), ["PINGRESP"], "its session is still its own");
    assert_eq!(gateway.stored(Space::Will), 0);
}

#[test]
fn suback_waits_until_every_peer_knows_the_interest() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    gateway.progress = None;
    gateway.mail(Mail::Progress(Progress::default()));
    gateway.tell(a, &[subscribe(Version::V5, 1, &[filter("t", Q0)]), ping()].concat());
    assert!(gateway.worker.wants_progress(), "what was known before does not count");
    assert!(gateway.hear(a).is_empty());
    let interest = gateway.worker.hub().interest_rev();
    let seq = LogSeq(u64::MAX);
    gateway.mail(Mail::Progress(Progress { interest: interest - 1, seq, ..Progress::default() }));
    assert!(gateway.worker.waits_for_peers() && gateway.hear(a).is_empty());
    gateway.mail(Mail::Progress(Progress { interest, seq, ..Progress::default() }));
    assert!(gateway.hear(a).is_empty(), "the log is read once the peers know, not before");
    gateway.settle();
    assert_eq!(gateway.hear(a), ["SUBACK #1 [Success]", "PINGRESP"]);
    assert!(!gateway.worker.waits_for_peers());
}

#[test]
fn suback_to_a_persistent_session_waits_until_every_peer_has_read_its_filters() {
    let mut gateway = Gateway::new();
    let a = gateway.join(durable("a"));
    gateway.progress = None;
    gateway.tell(a, &subscribe(Version::V5, 1, &[filter("t", Q1)]));
    let (interest, seq) = (u64::MAX, gateway.applied());
    gateway.mail(Mail::Progress(Progress {
        interest,
        seq: LogSeq(seq.0 - 1),
        ..Progress::default()
    }));
    gateway.settle();
    assert!(gateway.hear(a).is_empty());
    gateway.mail(Mail::Progress(Progress { interest, seq, ..Progress::default() }));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["SUBACK #1 [GrantedQoS1]"]);
}

#[test]
fn suback_waits_for_those_who_are_alive_now_not_for_those_who_were() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    gateway.progress = None;
    gateway.tell(a, &subscribe(Version::V5, 1, &[filter("t", Q0)]));
    let until = |good_until| Progress { good_until, ..Progress::default() };
    gateway.mail(Mail::Progress(until(gateway.now.mono)));
    gateway.settle();
    assert!(gateway.hear(a).is_empty(), "another one may have come since it was looked");
    gateway.mail(Mail::Progress(until(gateway.now.mono + Duration::from_millis(1))));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["SUBACK #1 [Success]"]);
}

#[test]
fn unsuback_waits_until_no_peer_forwards_any_more() {
    let mut gateway = Gateway::new();
    let a = gateway.subscriber(clean("a"), "t", Q0);
    gateway.progress = None;
    gateway.tell(a, &unsubscribe(2, &["t"]));
    gateway.settle();
    assert!(gateway.hear(a).is_empty());
    gateway.mail(Mail::Progress(Progress::default()));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["UNSUBACK #2 [Success]"]);
}

#[test]
fn suback_waits_until_the_log_was_read_after_it_was_asked_for() {
    let [mut here, mut there] = Gateway::two(|_| {});
    let (a, b) = (here.join(clean("a")), there.join(clean("b")));
    there.publish(b, &retained("t", "kept", Q1, 1));
    assert_eq!(there.hear(b), ["PUBACK #1 NoMatchingSubscribers"]);
    here.send(a, &subscribe(Version::V5, 1, &[filter("t", Q0)]));
    here.mail(Mail::Progress(Progress::default()));
    assert!(here.hear(a).is_empty(), "the peers know, but the log was not read");
    here.settle();
    assert_eq!(here.hear(a), ["SUBACK #1 [Success]", "PUBLISH t kept q0 retain"]);
}

#[test]
fn a_connection_with_too_much_waiting_for_the_store_is_read_again_later() {
    let mut gateway = Gateway::new();
    let a = publisher(&mut gateway, Version::V5);
    gateway.send_publish(a, &publish("t", "x", Q1, 1));
    gateway.send(a, &ping().repeat(5000));
    assert!(!gateway.worker.may_read(a));
    assert_eq!(gateway.sockets.unread(a).len(), 2 * (5000 - 4095));
    gateway.settle();
    assert!(gateway.worker.may_read(a));
    assert_eq!(gateway.hear(a).len(), 5001);
}
