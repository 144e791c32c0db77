//! How a connection gets its session: one owner per client id.

use std::sync::Arc;

use access::Identity;
use bytes::Bytes;
use protocol::mqtt::{Connect, ConnectProperties, ReasonCode, Version};
use protocol::peer::ReleaseOutcome;
use protocol::session::Owner;
use protocol::{Incarnation, SessionNo, Wall};
use store::{Fault, Space, Unavailable};

use super::gateway::Gateway;
use super::packets::*;
use crate::config::PresenceSettings;
use crate::hub::{Ask, ConnectRequest, MoveOrder, ReleaseAsked};
use crate::worker::Mail;

/// Two gateways on one store that know of each other.
fn two() -> (Gateway, Gateway) {
    let two = Gateway::two(|_| {});
    two.iter().for_each(|gateway| gateway.knows(&["gw-1", "gw-2"]));
    two.into()
}

/// A client of a user.
fn of(user: &str, request: ConnectRequest) -> ConnectRequest {
    let anybody = Identity::anonymous(request.client.clone());
    let identity = Arc::new(Identity { user: Some(user.into()), ..anybody });
    ConnectRequest { identity, ..request }
}

/// With something in the queue of Anna's session, who is away.
fn annas_queue(gateway: &mut Gateway) {
    let anna = gateway.subscriber(of("anna", durable("a")), "t", Q1);
    gateway.lose(anna);
    let b = gateway.join(clean("b"));
    gateway.publish(b, &publish("t", "for anna", Q1, 1));
    gateway.lose(b);
}

#[test]
fn who_comes_with_a_client_id_that_somebody_else_has_is_refused_and_nothing_moves_for_it() {
    let mut gateway = Gateway::new();
    let will = Some(will("anna is gone", 0));
    let anna = gateway.subscriber(of("anna", ConnectRequest { will, ..clean("a") }), "will", Q1);
    for request in [of("otto", durable("a")), of("otto", old("a")), clean("a")] {
        let stranger = gateway.refused(request, "ClientIdentifierNotValid");
        gateway.lose(stranger);
    }
    gateway.tell(anna, &ping());
    assert_eq!(gateway.hear(anna), ["PINGRESP"], "she is here, and her will was not published");
    gateway.lose(anna);
    gateway.join(of("otto", clean("a")));
}

#[test]
fn who_comes_with_the_client_id_of_a_session_at_another_gateway_is_refused_without_asking_it() {
    let (mut here, mut there) = two();
    let anna = here.join(of("anna", clean("a")));
    there.refused(of("otto", clean("a")), "ClientIdentifierNotValid");
    assert!(there.asked.is_empty(), "{:?}", there.asked);
    here.follow();
    here.tell(anna, &ping());
    assert_eq!(here.hear(anna), ["PINGRESP"]);
}

#[test]
fn each_connect_says_anew_how_long_its_session_is_kept() {
    let mut gateway = Gateway::new();
    for expiry_s in [3600, 60, 7200] {
        let a = gateway.join(ConnectRequest { expiry_s, ..durable("a") });
        let record = gateway.record("a").unwrap();
        let while_there = (expiry_s, None);
        assert_eq!((record.expiry_s, record.detached_at), while_there, "it cannot expire now");
        gateway.lose(a);
        let record = gateway.record("a").unwrap();
        assert_eq!((record.expiry_s, record.detached_at), (expiry_s, Some(gateway.now.wall)));
    }
    let a = gateway.join(ConnectRequest { expiry_s: 0, ..durable("a") });
    gateway.lose(a);
    assert!(gateway.record("a").is_none(), "it ended with its connection");
}

#[test]
fn a_claim_that_was_overtaken_before_it_was_answered_is_found_out() {
    let [mut here, mut there] = Gateway::two(|_| {});
    let a = here.connect(durable("a"));
    here.answer_asks();
    let claim = here.worker.take_writes();
    let late = here.store_these(claim);
    let later = there.join_again(durable("a"));
    // What the log tells of that comes before the answer, and so does a tick.
    here.follow();
    here.pass_unsettled(100);
    here.mail(late);
    assert_eq!(here.hear(a), ["CONNACK Success"]);
    here.pass_unsettled(100);
    here.commit();
    assert_eq!(here.hear(a), ["DISCONNECT SessionTakenOver", "closed"]);
    there.tell(later, &ping());
    assert_eq!(there.hear(later), ["PINGRESP"]);
}

#[test]
fn a_stored_session_waits_for_its_holder() {
    let mut gateway = Gateway::new();
    annas_queue(&mut gateway);
    for request in [of("otto", durable("a")), of("otto", clean("a")), durable("a")] {
        let stranger = gateway.refused(request, "ClientIdentifierNotValid");
        gateway.lose(stranger);
    }
    let anna = gateway.connect(of("anna", durable("a")));
    gateway.settle();
    let heard = gateway.hear(anna);
    assert_eq!((heard[0].as_str(), heard.len()), ("CONNACK Success present", 2), "{heard:?}");
    gateway.lose(anna);
    gateway.pass(3_600_000);
    let otto = gateway.connect(of("otto", durable("a")));
    gateway.settle();
    assert_eq!(gateway.hear(otto), ["CONNACK Success"], "hers has expired");
}

#[test]
fn a_session_of_nobody_is_had_by_whoever_gives_its_client_id() {
    let mut gateway = Gateway::new();
    let nobody = gateway.subscriber(durable("a"), "t", Q1);
    let anna = gateway.connect(of("anna", durable("a")));
    gateway.settle();
    assert_eq!(gateway.hear(nobody), ["DISCONNECT SessionTakenOver", "closed"]);
    assert_eq!(gateway.hear(anna), ["CONNACK Success present"]);
    let otto = gateway.connect(of("otto", durable("a")));
    assert_eq!(gateway.hear(otto), ["CONNACK ClientIdentifierNotValid", "closed"], "hers now");
}

#[test]
fn while_it_is_not_known_whose_a_session_is_somebody_else_has_to_try_again() {
    let mut gateway = Gateway::new();
    annas_queue(&mut gateway);
    let otto = gateway.connect(of("otto", durable("a")));
    let anna = gateway.connect(of("anna", durable("a")));
    assert_eq!(gateway.hear(anna), ["CONNACK ServerBusy", "closed"]);
    gateway.settle();
    assert_eq!(gateway.hear(otto), ["CONNACK ClientIdentifierNotValid", "closed"]);
}

#[test]
fn where_sessions_may_change_hands_a_fresh_one_begins() {
    let mut gateway = Gateway::with(|config| config.sessions_change_hands = true);
    annas_queue(&mut gateway);
    let anna = gateway.connect(of("anna", durable("a")));
    gateway.settle();
    assert_eq!(gateway.hear(anna).len(), 2);
    let otto = gateway.connect(of("otto", durable("a")));
    gateway.settle();
    assert_eq!(gateway.hear(anna), ["DISCONNECT SessionTakenOver", "closed"]);
    assert_eq!(gateway.hear(otto), ["CONNACK Success"], "neither her session nor her queue");
    gateway.lose(otto);
    let anna = gateway.connect(of("anna", durable("a")));
    gateway.settle();
    assert_eq!(gateway.hear(anna), ["CONNACK Success"], "hers is gone");
}

#[test]
fn the_record_of_a_clean_session_says_only_who_owns_it() {
    let mut gateway = Gateway::new();
    let a = gateway.connect(clean("a"));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["CONNACK Success"]);
    gateway.subscribe(a, "t", Q1);
    let record = gateway.record("a").unwrap();
    let owner = Owner { gateway: gateway.id.clone(), incarnation: Incarnation(1) };
    assert_eq!((record.no, record.owner), (SessionNo(0), Some(owner)));
    assert!(record.subscriptions.is_empty());
    gateway.lose(a);
    assert_eq!(gateway.record("a"), None, "it ended with its connection");
}

#[test]
fn a_kept_session_is_present_when_its_client_comes_back() {
    let mut gateway = Gateway::new();
    let a = gateway.connect(durable("a"));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["CONNACK Success"]);
    gateway.subscribe(a, "t", Q1);
    let (no, epoch) = gateway.record("a").map(|r| (r.no, r.epoch)).unwrap();
    gateway.lose(a);
    gateway.join_again(durable("a"));
    let record = gateway.record("a").unwrap();
    assert_eq!((record.no, record.subscriptions.len()), (no, 1));
    assert!(record.epoch > epoch, "every ownership has its own epoch");
}

#[test]
fn a_clean_session_that_was_claimed_elsewhere_and_ended_there_is_lost_here_too() {
    let (mut here, mut there) = two();
    let a = here.subscriber(clean("a"), "t", Q0);
    let b = there.connect(clean("a"));
    there.settle();
    there.pass(250);
    there.settle();
    assert_eq!(there.hear(b), ["CONNACK Success"]);
    there.tell(b, &disconnect(ReasonCode::Success, None));
    there.settle();
    assert_eq!(there.record("a"), None);
    // Nobody owns it now, so nobody announces the next claim.
    let c = there.join(clean("a"));
    here.follow();
    here.settle();
    assert_eq!(here.hear(a), ["DISCONNECT SessionTakenOver", "closed"]);
    assert_eq!((here.worker.hub().sessions_len(), there.worker.hub().sessions_len()), (0, 1));
    there.tell(c, &ping());
    assert_eq!(there.hear(c), ["PINGRESP"]);
}

/// Takes the session of a client over from `here`, which does not hear of it, and ends it.
fn take_and_end(there: &mut Gateway) {
    let b = there.connect(clean("a"));
    there.settle();
    there.pass(250);
    assert_eq!(there.hear(b), ["CONNACK Success"]);
    there.tell(b, &disconnect(ReasonCode::Success, None));
    assert_eq!(there.record("a"), None);
}

#[test]
fn epochs_grow_although_the_clock_is_set_back() {
    let (mut here, mut there) = two();
    let a = here.subscriber(clean("a"), "t", Q0);
    let lost = here.record("a").unwrap().epoch;
    there.now.wall = Wall(1_000);
    take_and_end(&mut there);
    there.join(clean("a"));
    let first = there.record("a").unwrap().epoch;
    assert!(first > lost, "{first} after {lost}");
    here.follow();
    here.settle();
    assert_eq!(here.hear(a), ["DISCONNECT SessionTakenOver", "closed"]);
}

#[test]
fn who_lost_a_session_to_a_lower_epoch_asks_the_store() {
    let (mut here, mut there) = two();
    let a = here.subscriber(clean("a"), "t", Q0);
    let lost = here.record("a").unwrap().epoch;
    take_and_end(&mut there);
    // One that comes late, with a clock that is wrong, has never heard of either.
    let mut late = Gateway::named("gw-3", &here.store, |_| {});
    late.numbers = Some(900);
    late.now.wall = Wall(1_000);
    late.join(clean("a"));
    assert!(late.record("a").unwrap().epoch < lost);
    here.follow();
    here.pass(100);
    assert_eq!(here.hear(a), ["DISCONNECT SessionTakenOver", "closed"]);
    assert_eq!(here.record("a").unwrap().owner.unwrap().gateway, late.id);
}

#[test]
fn a_doubt_about_a_session_that_is_ours_changes_nothing() {
    let mut gateway = Gateway::new();
    let a = gateway.subscriber(clean("a"), "t", Q0);
    gateway.mail(Mail::Gone(client("a")));
    gateway.mail(Mail::Gone(client("nobody")));
    gateway.mail(Mail::Gap);
    gateway.settle();
    gateway.tell(a, &ping());
    assert_eq!(gateway.hear(a), ["PINGRESP"]);
}

#[test]
fn a_last_write_that_lost_its_session_keeps_no_other_from_being_written() {
    let (mut here, mut there) = two();
    let lost = here.subscriber(durable("lost"), "t", Q1);
    let kept = here.subscriber(durable("kept"), "t", Q1);
    let down = Fault::FailCommits { count: 1, why: Unavailable::Full };
    here.store.inject(down);
    here.worker.handle_lost(lost, here.now, &mut here.sockets);
    here.worker.handle_lost(kept, here.now, &mut here.sockets);
    here.commit();
    there.connect(durable("lost"));
    there.settle();
    there.pass(250);
    there.settle();
    here.pass(100);
    here.settle();
    let owner = |gateway: &mut Gateway, name| gateway.record(name).unwrap().owner;
    assert_eq!(owner(&mut here, "kept"), None, "written off with the next tick");
    assert_eq!(owner(&mut here, "lost").unwrap().gateway, there.id);
    assert_eq!(here.worker.hub().sessions_len(), 0);
}

#[test]
fn of_many_sessions_in_doubt_the_lost_ones_alone_are_dropped() {
    let (mut here, mut there) = two();
    let a = here.subscriber(clean("a"), "t", Q0);
    let b = here.subscriber(clean("b"), "t", Q0);
    there.connect(clean("a"));
    there.settle();
    there.pass(250);
    there.settle();
    here.mail(Mail::Gap);
    here.pass(100);
    here.settle();
    assert_eq!(here.hear(a), ["DISCONNECT SessionTakenOver", "closed"]);
    here.mail(Mail::Gap);
    here.pass(100);
    here.settle();
    here.tell(b, &ping());
    assert_eq!(here.hear(b), ["PINGRESP"]);
    assert_eq!(here.worker.hub().sessions_len(), 1);
}

#[test]
fn a_session_that_has_expired_is_not_present() {
    let mut gateway = Gateway::new();
    let a = gateway.subscriber(ConnectRequest { expiry_s: 10, ..durable("a") }, "t", Q1);
    let no = gateway.record("a").unwrap().no;
    gateway.lose(a);
    gateway.pass(10_000);
    let again = gateway.connect(durable("a"));
    gateway.settle();
    assert_eq!(gateway.hear(again), ["CONNACK Success"]);
    let record = gateway.record("a").unwrap();
    assert!(record.no != no && record.subscriptions.is_empty());
}

#[test]
fn a_clean_start_ends_the_old_session_and_its_queue() {
    let mut gateway = Gateway::new();
    let a = gateway.subscriber(durable("a"), "t", Q1);
    gateway.lose(a);
    let b = gateway.join(clean("b"));
    gateway.publish(b, &publish("t", "old", Q1, 1));
    let a = gateway.connect(ConnectRequest { clean_start: true, ..durable("a") });
    gateway.settle();
    gateway.publish(b, &publish("t", "new", Q1, 2));
    assert_eq!(gateway.hear(a), ["CONNACK Success"], "neither queue nor subscription is left");
    gateway.lose(a);
    // The new one is kept again.
    gateway.join_again(durable("a"));
}

#[test]
fn who_is_not_let_in_by_the_worker_is_counted_and_who_leaves_unanswered_too() {
    use crate::metrics::WhyRefused::{Busy, ClientId, Unanswered};
    let mut gateway = Gateway::new();
    let counted = |gateway: &Gateway| {
        [Busy, ClientId, Unanswered].map(|why| gateway.counters().refused.get(why))
    };
    let older = gateway.connect(durable("a"));
    let newer = gateway.connect(durable("a"));
    assert_eq!(gateway.hear(older), ["CONNACK ServerBusy", "closed"]);
    assert_eq!(counted(&gateway), [1, 0, 0]);
    gateway.lose(newer);
    assert_eq!(counted(&gateway), [1, 0, 1], "nobody waited for its answer");
    gateway.settle();
    let anna = gateway.join(of("anna", durable("b")));
    let otto = gateway.connect(of("otto", durable("b")));
    assert_eq!(gateway.hear(otto), ["CONNACK ClientIdentifierNotValid", "closed"]);
    gateway.lose(anna);
    gateway.settle();
    assert_eq!(counted(&gateway), [1, 1, 1], "who was let in is not refused");
}

#[test]
fn of_two_connects_at_once_the_newer_wins() {
    for claiming in [false, true] {
        let mut gateway = Gateway::new();
        let older = gateway.connect(durable("a"));
        if claiming {
            gateway.answer_asks();
        }
        let newer = gateway.connect(durable("a"));
        assert_eq!(gateway.hear(older), ["CONNACK ServerBusy", "closed"]);
        gateway.settle();
        let heard = gateway.hear(newer);
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert!(heard[0].starts_with("CONNACK Success"), "{heard:?}");
        assert!(gateway.hear(older).is_empty());
        gateway.lose(older);
        gateway.tell(newer, &ping());
        assert_eq!(gateway.hear(newer), ["PINGRESP"], "the loser's end is not the winner's");
    }
}

#[test]
fn a_newer_connection_takes_the_session_over() {
    let mut gateway = Gateway::new();
    let older = gateway.subscriber(durable("a"), "t", Q1);
    let newer = gateway.connect(durable("a"));
    let newest = gateway.connect(durable("a"));
    assert_eq!(gateway.hear(newer), ["CONNACK ServerBusy", "closed"]);
    assert!(gateway.hear(older).is_empty(), "its last write is not stored yet");
    gateway.settle();
    assert_eq!(gateway.hear(older), ["DISCONNECT SessionTakenOver", "closed"]);
    assert_eq!(gateway.hear(newest), ["CONNACK Success present"]);
    assert_eq!(gateway.worker.hub().sessions_len(), 1);
}

#[test]
fn an_owner_that_lives_elsewhere_is_asked_to_release() {
    let (mut here, mut there) = two();
    let before = there.subscriber(durable("a"), "t", Q1);
    let after = here.connect(durable("a"));
    here.settle();
    let asked = here.asked.pop();
    let Some(Ask::Release { to, request, client, epoch }) = asked else { panic!("{asked:?}") };
    assert_eq!(to, there.id);
    assert!(here.hear(after).is_empty());
    let from = here.id.clone();
    there.mail(Mail::ReleaseAsked(ReleaseAsked { from, request, client, epoch }));
    assert!(there.asked.is_empty() && there.hear(before).is_empty(), "not before it is stored");
    there.settle();
    assert_eq!(there.hear(before), ["DISCONNECT SessionTakenOver", "closed"]);
    assert!(matches!(there.asked.pop(), Some(Ask::Released { request: r, .. }) if r == request));
    here.mail(Mail::Released(request, Some(ReleaseOutcome::Done)));
    here.settle();
    assert_eq!(here.hear(after), ["CONNACK Success present"]);
    assert!(!here.record("a").unwrap().orphaned);
}

#[test]
fn an_owner_that_does_not_answer_in_200_ms_loses_the_session() {
    let (mut here, mut there) = two();
    let before = there.subscriber(durable("a"), "t", Q1);
    let after = here.connect(durable("a"));
    here.settle();
    here.pass(199);
    assert!(here.hear(after).is_empty());
    here.pass(1);
    assert_eq!(here.hear(after), ["CONNACK Success present"]);
    assert_eq!(here.asked.len(), 1, "it was asked once");
    there.settle();
    assert_eq!(there.hear(before), ["DISCONNECT SessionTakenOver", "closed"]);
}

#[test]
fn an_owner_of_another_life_is_not_asked() {
    let (mut here, mut there) = two();
    there.subscriber(durable("a"), "t", Q1);
    here.knows(&["gw-1"]);
    here.join_again(durable("a"));
    assert!(here.asked.is_empty());
}

#[test]
fn a_session_that_cannot_be_read_is_refused() {
    let mut gateway = Gateway::new();
    let a = gateway.connect(durable("a"));
    gateway.mail(Mail::Unreadable(client("a")));
    assert_eq!(gateway.hear(a), ["CONNACK ServerBusy", "closed"]);
}

#[test]
fn a_look_that_nobody_answers_is_asked_again() {
    let mut gateway = Gateway::new();
    let a = gateway.connect(durable("a"));
    gateway.sockets.asks.clear();
    gateway.pass(1999);
    assert!(gateway.hear(a).is_empty());
    gateway.pass(1);
    assert_eq!(gateway.hear(a), ["CONNACK Success"]);
}

#[test]
fn a_session_whose_document_cannot_be_read_is_had_by_nobody_and_not_written_over() {
    let mut gateway = Gateway::new();
    let newer = Bytes::from_static(b"\0\0\0\0\0\0\0\x07\xffof a newer version");
    gateway.put(Space::Session, "a", newer.clone());
    for request in [durable("a"), clean("a"), of("anna", durable("a"))] {
        let a = gateway.refused(request, "ServerUnavailable");
        gateway.lose(a);
    }
    let stored = gateway.reader().get(Space::Session, b"a").unwrap().unwrap();
    assert_eq!(stored.value, newer);
    gateway.join(durable("b"));
}

#[test]
fn a_claim_that_the_store_does_not_take_is_refused() {
    let mut gateway = Gateway::new();
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.refused(durable("a"), "ServerUnavailable");
    assert_eq!(gateway.record("a"), None);
}

#[test]
fn without_session_numbers_a_kept_session_has_to_wait_and_a_clean_one_only_for_the_first() {
    let mut gateway = Gateway::new();
    gateway.numbers = None;
    for request in [durable("a"), clean("clean")] {
        // Its epoch has no mark.
        gateway.refused(request, "ServerBusy");
        let asked = std::mem::take(&mut gateway.asked);
        assert!(matches!(asked[..], [Ask::SessionNumbers]), "{asked:?}");
    }
    gateway.mail(Mail::SessionNumbers(7, 8));
    gateway.join(durable("a"));
    assert_eq!(gateway.record("a").unwrap().no, SessionNo(7));
    // The block had one.
    gateway.refused(durable("b"), "ServerBusy");
    gateway.join(clean("clean"));
}

#[test]
fn of_two_connects_the_newer_gets_what_is_written_for_it_though_the_older_lost_its_claim() {
    let [mut here, mut there] = Gateway::two(|_| {});
    let older = here.connect(clean("a"));
    here.answer_asks();
    there.join(clean("a"));
    let newer = here.connect(clean("a"));
    assert_eq!(here.hear(older), ["CONNACK ServerBusy", "closed"]);
    // There was another claim first; what follows is for the newer one.
    here.commit();
    here.answer_asks();
    assert!(here.hear(newer).is_empty());
    here.commit();
    assert_eq!(here.hear(newer), ["CONNACK Success"]);
}

#[test]
fn a_client_that_left_while_its_claim_was_written_owns_nothing() {
    for request in [clean("a"), durable("a")] {
        let mut gateway = Gateway::new();
        let kept = request.expiry_s > 0;
        let a = gateway.connect(request);
        gateway.answer_asks();
        gateway.lose(a);
        let record = gateway.record("a");
        assert_eq!(record.is_some(), kept);
        assert!(record.is_none_or(|r| r.owner.is_none() && r.detached_at.is_some()));
        assert_eq!(gateway.worker.hub().sessions_len(), 0);
        assert!(gateway.hear(a).iter().all(|heard| heard == "closed"));
    }
}

#[test]
fn a_client_that_left_while_its_claim_was_written_owns_nothing_though_the_store_refuses_once() {
    for request in [clean("a"), durable("a")] {
        let mut gateway = Gateway::with(|config| config.presence = PresenceSettings::default());
        let kept = request.expiry_s > 0;
        let a = gateway.connect(request);
        gateway.answer_asks();
        let claim = gateway.worker.take_writes();
        gateway.worker.handle_lost(a, gateway.now, &mut gateway.sockets);
        gateway.worker.forget(a);
        gateway.commit_these(claim);
        gateway.store.inject(Fault::FailCommits { count: 2, why: Unavailable::Busy });
        gateway.settle();
        assert!(gateway.record("a").unwrap().owner.is_some());
        gateway.pass(100);
        gateway.pass(100);
        let record = gateway.record("a");
        assert_eq!(record.is_some(), kept);
        assert!(record.is_none_or(|r| r.owner.is_none() && r.detached_at.is_some()));
        let key = crate::presence::record_key("a");
        let presence = gateway.reader().get(Space::Presence, &key).unwrap().unwrap();
        assert!(shadow::Presence::decode(&presence.value).unwrap().connection().is_none());
        // It is written once, and who comes back has it.
        gateway.pass(100);
        assert!(!gateway.worker.has_writes());
        gateway.connect(durable("a"));
        gateway.settle();
        assert!(gateway.record("a").unwrap().owner.is_some());
    }
}

#[test]
fn an_id_that_is_made_up_cannot_name_an_old_session() {
    let mut connect = Connect {
        version: Version::V311,
        clean_start: false,
        keep_alive_s: 0,
        client_id: "",
        will: None,
        user_name: None,
        password: None,
        properties: ConnectProperties { session_expiry_s: u32::MAX, ..Default::default() },
    };
    let refused = ConnectRequest::of(&connect, "auto-1", 100).map(|r| r.client);
    assert_eq!(refused, Err(ReasonCode::ClientIdentifierNotValid));
    connect.clean_start = true;
    let request = ConnectRequest::of(&connect, "auto-1", 100).unwrap();
    assert_eq!((request.client.as_str(), request.assigned), ("auto-1", true));
    assert_eq!(request.expiry_s, 100, "at most what is configured");
}

#[test]
fn of_a_position_that_is_none_no_more_is_remembered_than_shows_that() {
    for (letter, kept) in [("x", 64), ("é", 64), ("€", 63)] {
        let long = letter.repeat(20_000);
        let user = vec![("tidegate-position", long.as_str())];
        let connect = Connect {
            version: Version::V5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: "a",
            will: None,
            user_name: None,
            password: None,
            properties: ConnectProperties { user, ..Default::default() },
        };
        let request = ConnectRequest::of(&connect, "auto-1", 100).unwrap();
        assert_eq!(request.position.map(|position| position.len()), Some(kept), "{letter}");
    }
}

#[test]
fn a_clean_start_publishes_the_will_that_waited_unless_a_drain_parked_it() {
    for parked in [false, true] {
        let mut gateway = Gateway::new();
        let watcher = gateway.subscriber(clean("watcher"), "will", Q0);
        let request = ConnectRequest { will: Some(will("gone", 60)), ..durable("a") };
        let a = gateway.join(request);
        if parked {
            gateway.mail(Mail::Move(MoveOrder::anywhere(2)));
            gateway.settle();
        } else {
            gateway.lose(a);
        }
        assert_eq!(gateway.stored(Space::Will), 1);
        let watcher =
            if parked { gateway.subscriber(clean("watcher"), "will", Q0) } else { watcher };
        gateway.join(ConnectRequest { clean_start: true, ..durable("a") });
        let expected: &[&str] = if parked { &[] } else { &["PUBLISH will gone q0"] };
        assert_eq!(gateway.hear(watcher), expected);
        assert_eq!(gateway.stored(Space::Will), 0);
    }
}
