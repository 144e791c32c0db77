//! What a gateway does about shadows, alone and beside another one.

use std::sync::Arc;
use std::time::Duration;

use access::{ClaimsMode, Policy, read_acl};
use protocol::mqtt::Publish;
use protocol::mqtt::codec::AckKind;
use store::{Fault, MemoryStore, Space, Unavailable};

use super::gateway::{Gateway, one_class};
use super::packets::*;
use crate::hub::{ConnId, HubConfig};
use crate::worker::Mail;

const UPDATE: &str = "$aws/things/t/shadow/update";
const GET: &str = "$aws/things/t/shadow/get";

pub(super) fn rules(config: &mut HubConfig) {
    config.classes = one_class(|limits| {
        limits.topic_levels = 10;
        limits.topic_bytes = 200;
        limits.receive_maximum = 100;
    });
}

fn gateway() -> Gateway {
    Gateway::with(rules)
}

/// Two gateways on one store; each follows the log when it is told to.
fn two() -> (Gateway, Gateway) {
    Gateway::two(rules).into()
}

fn reported(n: u32) -> String {
    format!("{{\"state\":{{\"reported\":{{\"n\":{n}}}}}}}")
}

fn desired(n: u32) -> String {
    format!("{{\"state\":{{\"desired\":{{\"n\":{n}}}}}}}")
}

/// The topics and the versions of what was heard of shadows, and everything else as it is.
pub(super) fn heard(gateway: &mut Gateway, conn: ConnId) -> Vec<String> {
    let said = gateway.hear(conn);
    said.iter().map(|one| brief(one)).collect()
}

fn brief(said: &str) -> String {
    let Some(rest) = said.strip_prefix("PUBLISH $aws/things/") else { return said.to_owned() };
    let (topic, rest) = rest.split_once(' ').unwrap();
    let version = |mark| {
        let (_, rest) = rest.rsplit_once(mark)?;
        rest.split([',', '}']).next()
    };
    let what = version("\"version\":").or_else(|| version("\"code\":")).unwrap_or_default();
    format!("{} {what}", topic.replace("/shadow", ""))
}

#[test]
fn an_update_is_answered_and_acknowledged_once_it_is_stored() {
    let mut gateway = gateway();
    let app = gateway.subscriber(clean("app"), "$aws/things/t/shadow/#", Q1);
    let t = gateway.join(clean("t"));
    gateway.send_publish(t, &publish(UPDATE, &desired(1), Q1, 1));
    gateway.answer_asks();
    let writes = gateway.worker.take_writes();
    assert_eq!(
        (writes.len(), heard(&mut gateway, t), heard(&mut gateway, app)),
        (1, vec![], vec![])
    );
    gateway.commit_these(writes);
    gateway.settle();
    assert_eq!(heard(&mut gateway, t), ["PUBACK #1"]);
    assert_eq!(
        heard(&mut gateway, app),
        ["t/update/accepted 1", "t/update/delta 1", "t/update/documents 1"]
    );
    assert_eq!(gateway.stored(Space::Shadow), 1);
    assert_eq!(gateway.stored(Space::Retained), 0);

    gateway.publish(t, &publish(GET, "", Q0, 0));
    assert_eq!(heard(&mut gateway, app), ["t/get/accepted 1"]);
    gateway.publish(t, &publish("$aws/things/t/shadow/delete", "{}", Q2, 2));
    assert_eq!(heard(&mut gateway, t), ["PUBREC #2"]);
    assert_eq!(heard(&mut gateway, app), ["t/delete/accepted 1"]);
    gateway.publish(t, &publish(GET, "{}", Q1, 3));
    gateway.publish(t, &publish(UPDATE, &reported(1), Q1, 4));
    assert_eq!(heard(&mut gateway, t), ["PUBACK #3", "PUBACK #4"]);
    assert_eq!(
        heard(&mut gateway, app),
        ["t/get/rejected 404", "t/update/accepted 2", "t/update/documents 2"]
    );
}

#[test]
fn acknowledgements_keep_the_order_of_the_publications() {
    let mut gateway = gateway();
    let t = gateway.join(clean("t"));
    gateway.send_publish(t, &publish(UPDATE, &reported(1), Q1, 1));
    gateway.send_publish(t, &publish("other", "x", Q1, 2));
    gateway.send_publish(t, &publish(UPDATE, "no json", Q1, 3));
    gateway.send_publish(t, &publish(UPDATE, &reported(2), Q1, 4));
    assert_eq!(gateway.hear(t), [""; 0]);
    gateway.settle();
    let acks = ["PUBACK #1", "PUBACK #2 NoMatchingSubscribers", "PUBACK #3", "PUBACK #4"];
    assert_eq!(gateway.hear(t), acks);
}

/// What is stored of the packet is stored behind what was asked: who sends it again after a crash must not be told that it is done.
#[test]
fn a_request_at_qos_2_survives_a_crash_at_any_commit() {
    let writes_of_one = 2;
    for survive in 0..=writes_of_one {
        let store = MemoryStore::new();
        let mut gateway = Gateway::named("gw-1", &store, rules);
        let t = gateway.join(durable("t"));
        gateway.send_publish(t, &publish(UPDATE, &reported(1), Q2, 1));
        for _ in 0..survive {
            gateway.answer_asks();
            let writes = gateway.worker.take_writes();
            assert_eq!(writes.len(), 1);
            gateway.commit_these(writes);
        }
        let acknowledged = gateway.hear(t);
        assert_eq!(acknowledged.is_empty(), survive < writes_of_one, "{acknowledged:?}");
        drop(gateway);
        let next_life = |config: &mut HubConfig| {
            rules(config);
            config.incarnation = protocol::Incarnation(2);
        };
        let mut gateway = Gateway::named("gw-1", &store, next_life);
        let t = gateway.connect(durable("t"));
        gateway.settle();
        gateway.hear(t);
        let app = gateway.subscriber(clean("app"), "$aws/things/t/shadow/#", Q1);
        let update = reported(1);
        let again = Publish { dup: true, ..publish(UPDATE, &update, Q2, 1) };
        gateway.publish(t, &again);
        assert_eq!(heard(&mut gateway, t), ["PUBREC #1"]);
        assert_eq!(heard(&mut gateway, app).is_empty(), survive == writes_of_one);
        gateway.publish(t, &publish(GET, "", Q0, 0));
        let version = if survive == 1 { 2 } else { 1 };
        assert_eq!(heard(&mut gateway, app), [format!("t/get/accepted {version}")]);
    }
}

#[test]
fn requests_at_qos_2_keep_their_order_and_are_done_once_on_one_connection() {
    let mut gateway = gateway();
    let app = gateway.subscriber(clean("app"), "$aws/things/t/shadow/get/accepted", Q1);
    let t = gateway.join(durable("t"));
    gateway.send_publish(t, &publish(UPDATE, &reported(1), Q2, 1));
    gateway.send_publish(t, &publish("other", "x", Q2, 2));
    gateway.send_publish(t, &publish(UPDATE, &reported(2), Q1, 3));
    let update = reported(1);
    let again = Publish { dup: true, ..publish(UPDATE, &update, Q2, 1) };
    gateway.send_publish(t, &again);
    gateway.settle();
    let acks = ["PUBREC #1", "PUBREC #2 NoMatchingSubscribers", "PUBACK #3", "PUBREC #1"];
    assert_eq!(gateway.hear(t), acks);
    gateway.publish(t, &publish(GET, "", Q0, 0));
    let got = gateway.hear(app).concat();
    assert!(got.contains("{\"n\":2}") && got.contains("\"version\":2"), "{got}");
    gateway.tell(t, &ack(AckKind::PubRel, 1));
    assert_eq!(gateway.hear(t), ["PUBCOMP #1"]);
}

#[test]
fn a_request_at_qos_2_that_is_done_and_cannot_be_remembered_is_not_acknowledged() {
    let mut gateway = gateway();
    let t = gateway.join(durable("t"));
    gateway.send_publish(t, &publish(UPDATE, &reported(1), Q2, 1));
    gateway.answer_asks();
    gateway.commit();
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.settle();
    assert_eq!(gateway.hear(t), ["PUBREC #1 QuotaExceeded"]);
    gateway.publish(t, &publish(UPDATE, &reported(1), Q2, 1));
    assert_eq!(gateway.hear(t), ["PUBREC #1"]);
}

#[test]
fn what_cannot_be_read_and_what_comes_too_fast_is_answered_at_once() {
    let mut gateway = gateway();
    let app = gateway.subscriber(clean("app"), "$aws/things/+/shadow/+/rejected", Q0);
    let t = gateway.join(clean("t"));
    gateway.publish(t, &publish(UPDATE, "{\"state\":7}", Q0, 0));
    for number in 1..=11 {
        gateway.send_publish(t, &publish(GET, "", Q1, number));
    }
    assert_eq!(heard(&mut gateway, app), ["t/update/rejected 400"]);
    gateway.settle();
    let answered = heard(&mut gateway, app);
    assert_eq!(answered[..10], ["t/get/rejected 404"; 10]);
    assert_eq!(answered[10..], ["t/get/rejected 429"]);
    assert_eq!(gateway.hear(t).len(), 11);
    gateway.publish(t, &publish(GET, "", Q1, 12));
    assert_eq!(heard(&mut gateway, app), ["t/get/rejected 404"]);
}

#[test]
fn nobody_but_the_fleet_publishes_answers() {
    let mut gateway = gateway();
    let t = gateway.join(clean("t"));
    for topic in [
        "$aws/things/t/shadow/update/accepted",
        "$aws/things/t/jobs/get",
        "$aws/events/presence/connected/t",
        "$SYS/x",
    ] {
        gateway.publish(t, &publish(topic, "{}", Q1, 1));
        assert_eq!(gateway.hear(t), ["PUBACK #1 NotAuthorized"], "{topic}");
    }
    gateway.publish(t, &retained(UPDATE, &reported(1), Q1, 2));
    assert_eq!(gateway.hear(t), ["PUBACK #2 NotAuthorized"]);
    assert_eq!(gateway.stored(Space::Shadow), 0);
}

#[test]
fn where_no_rule_says_otherwise_a_client_has_its_own_thing_and_no_other() {
    let acl = "[[rule]]\neffect = 'allow'\ntopics = '$aws/things/+/shadow/#'\nclient = 'app'\n";
    let policy = Policy::of(read_acl("acl.toml", acl).unwrap(), ClaimsMode::Narrow);
    let mut gateway = gateway();
    gateway.mail(Mail::Policy(Arc::new(policy)));
    gateway.settle();
    let app = gateway.subscriber(clean("app"), "$aws/things/+/shadow/update/accepted", Q1);
    let t = gateway.subscriber(clean("t"), "$aws/things/t/shadow/#", Q1);
    gateway.publish(t, &publish(UPDATE, &reported(1), Q0, 0));
    assert_eq!(heard(&mut gateway, t), ["t/update/accepted 1", "t/update/documents 1"]);
    gateway.publish(t, &publish("$aws/things/u/shadow/update", &reported(1), Q1, 1));
    assert_eq!(gateway.hear(t), ["PUBACK #1 NotAuthorized"]);
    gateway.tell(
        t,
        &subscribe(
            protocol::mqtt::Version::V5,
            2,
            &[
                filter("$aws/things/+/shadow/#", Q1),
                filter("$aws/things/u/shadow/#", Q1),
                filter("$aws/#", Q1),
            ],
        ),
    );
    assert_eq!(gateway.hear(t), ["SUBACK #2 [NotAuthorized, NotAuthorized, NotAuthorized]"]);
    gateway.publish(app, &publish("$aws/things/u/shadow/update", &reported(1), Q0, 0));
    assert_eq!(heard(&mut gateway, app), ["t/update/accepted 1", "u/update/accepted 1"]);
}

#[test]
fn who_is_away_finds_every_version_in_its_queue() {
    let mut gateway = gateway();
    let app = gateway.subscriber(durable("app"), "$aws/things/t/shadow/update/+", Q1);
    gateway.lose(app);
    let t = gateway.join(clean("t"));
    for number in 1..=3_u16 {
        gateway.publish(t, &publish(UPDATE, &desired(u32::from(number)), Q1, number));
    }
    let app = gateway.connect(durable("app"));
    gateway.settle();
    let all = heard(&mut gateway, app);
    assert_eq!(all[0], "CONNACK Success present");
    let of = |n| ["accepted", "delta", "documents"].map(|what| format!("t/update/{what} {n}"));
    assert_eq!(all[1..], [of(1), of(2), of(3)].concat());
}

#[test]
fn what_the_store_does_not_take_is_rejected_and_did_not_happen() {
    let mut gateway = gateway();
    let app = gateway.subscriber(clean("app"), "$aws/things/t/shadow/#", Q1);
    let t = gateway.join(clean("t"));
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.publish(t, &publish(UPDATE, &reported(1), Q1, 1));
    assert_eq!(heard(&mut gateway, app), ["t/update/rejected 503"]);
    assert_eq!(
        (heard(&mut gateway, t), gateway.stored(Space::Shadow)),
        (vec!["PUBACK #1".into()], 0)
    );
    gateway.publish(t, &publish(UPDATE, &reported(1), Q1, 2));
    assert_eq!(heard(&mut gateway, app), ["t/update/accepted 1", "t/update/documents 1"]);
}

#[test]
fn two_gateways_that_change_one_shadow_at_once_lose_nothing() {
    let (mut one, mut two) = two();
    let (a, b) = (one.join(clean("a")), two.join(clean("b")));
    let app = one.subscriber(clean("app"), "$aws/things/t/shadow/update/accepted", Q1);
    let other = two.subscriber(clean("other"), "$aws/things/t/shadow/update/accepted", Q1);
    one.send_publish(a, &publish(UPDATE, "{\"state\":{\"reported\":{\"a\":1}}}", Q1, 1));
    two.send_publish(b, &publish(UPDATE, "{\"state\":{\"reported\":{\"b\":1}}}", Q1, 1));
    one.answer_asks();
    two.answer_asks();
    let (first, second) = (one.worker.take_writes(), two.worker.take_writes());
    two.commit_these(second);
    one.commit_these(first);
    one.settle();
    two.settle();
    assert_eq!(heard(&mut two, other), ["t/update/accepted 1"]);
    assert_eq!(heard(&mut one, app), ["t/update/accepted 2"]);
    assert_eq!(one.counters().shadow_conflicts.get(), 1);
    one.subscribe(app, "$aws/things/t/shadow/get/accepted", Q1);
    one.publish(a, &publish(GET, "", Q0, 0));
    let got = one.hear(app).concat();
    assert!(got.contains("{\"a\":1,\"b\":1}"), "{got}");
}

#[test]
fn what_a_client_asked_before_it_connected_elsewhere_takes_the_place_of_nothing_it_asked_there() {
    let (mut one, mut two) = two();
    let t = one.join(clean("t"));
    one.send_publish(t, &publish(UPDATE, &reported(1), Q0, 0));
    one.answer_asks();
    let late = one.worker.take_writes();
    let there = two.join(clean("t"));
    two.publish(there, &publish(UPDATE, &reported(2), Q1, 1));
    one.commit_these(late);
    one.settle();
    assert_eq!(one.counters().shadow_conflicts.get(), 2, "by the shadow, and by the session");
    assert_eq!(one.counters().shadow_rejected_version.get(), 1);
    let app = two.subscriber(clean("app"), "$aws/things/t/shadow/get/accepted", Q0);
    two.publish(there, &publish("$aws/things/t/shadow/get", "", Q0, 0));
    two.settle();
    assert_eq!(heard(&mut two, app), ["t/get/accepted 1"], "the one of the connection there");
}

/// As many requests as there are names are read together, and each finds that there is room.
#[test]
fn a_thing_has_no_more_named_shadows_than_it_may_have_though_many_are_created_at_once() {
    let store = MemoryStore::new();
    let few = |config: &mut HubConfig| {
        rules(config);
        config.shadow.limits.named_shadows = 2;
    };
    let mut here = Gateway::named("gw-1", &store, few);
    let mut there = Gateway::named("gw-2", &store, few);
    let t = here.join(clean("t"));
    let app = there.join(clean("app"));
    for n in 0..3 {
        let topic = |at: &str| format!("$aws/things/t/shadow/name/{at}{n}/update");
        here.send_publish(t, &publish(&topic("here"), &desired(1), Q1, n + 1));
        there.send_publish(app, &publish(&topic("there"), &desired(1), Q1, n + 1));
    }
    here.answer_asks();
    there.answer_asks();
    here.settle();
    there.settle();
    here.settle();
    let count = |gateway: &Gateway| {
        let counters = gateway.counters();
        (counters.shadow_updates.get(), counters.shadow_rejected_names.get())
    };
    let (one, other) = (count(&here), count(&there));
    assert_eq!((one.0 + other.0, one.1 + other.1), (6, 4));
    assert_eq!(here.stored(Space::Shadow), 2);
    // One that is deleted makes room, and none is counted twice.
    let first = "$aws/things/t/shadow/name/here0/";
    here.publish(t, &publish(&format!("{first}delete"), "", Q1, 9));
    for _ in 0..2 {
        here.publish(t, &publish(&format!("{first}update"), &desired(2), Q1, 9));
    }
    assert_eq!(count(&here).1, one.1);
}

#[test]
fn who_watches_at_another_gateway_is_told_of_the_newest_once_and_never_goes_back() {
    let (mut one, mut two) = two();
    let t = one.join(clean("t"));
    let app = two.subscriber(clean("app"), "$aws/things/+/shadow/update/documents", Q1);
    for number in 1..=5_u16 {
        one.publish(t, &publish(UPDATE, &desired(u32::from(number)), Q1, number));
    }
    two.settle();
    assert_eq!(heard(&mut two, app), ["t/update/documents 5"], "a burst is told as one");
    assert_eq!(two.counters().shadow_told_elsewhere.get(), 1);

    // Its own gateway makes the next version before it hears of the one in between.
    let b = two.join(clean("b"));
    one.publish(t, &publish(UPDATE, &desired(6), Q1, 6));
    two.send_publish(b, &publish(UPDATE, &reported(6), Q1, 1));
    two.answer_asks();
    two.commit();
    assert_eq!(heard(&mut two, app), ["t/update/documents 7"]);
    two.settle();
    assert_eq!(heard(&mut two, app), [""; 0]);
}

#[test]
fn a_watcher_with_a_queue_gets_each_message_once_wherever_it_is() {
    let (mut one, mut two) = two();
    let t = one.join(clean("t"));
    let app = two.subscriber(durable("app"), "$aws/things/t/shadow/update/delta", Q1);
    let shared = two.subscriber(durable("g"), "$share/g/$aws/things/t/shadow/update/delta", Q1);
    one.follow();
    for number in 1..=2_u16 {
        one.publish(t, &publish(UPDATE, &desired(u32::from(number)), Q1, number));
    }
    two.settle();
    assert_eq!(heard(&mut two, app), ["t/update/delta 1", "t/update/delta 2"]);
    assert_eq!(heard(&mut two, shared), ["t/update/delta 1", "t/update/delta 2"]);
}

#[test]
fn what_was_written_while_others_may_not_have_waited_is_said_again_once_the_log_is_read() {
    let (mut one, mut two) = two();
    let t = one.join(clean("t"));
    one.send_publish(t, &publish(UPDATE, &desired(1), Q1, 1));
    one.answer_asks();
    let writes = one.worker.take_writes();
    // It stands still, and somebody subscribes who does not wait for it.
    one.tables.set_awaited((Duration::ZERO, 0));
    let app = two.subscriber(durable("app"), "$aws/things/t/shadow/update/delta", Q1);
    one.commit_these(writes);
    one.pass(200);
    two.settle();
    assert_eq!(heard(&mut two, app), [""; 0], "it does not know of anybody yet");
    one.tables.set_awaited((one.now.mono + Duration::from_secs(60), 1));
    one.pass(200);
    one.pass(200);
    two.settle();
    assert_eq!(heard(&mut two, app), ["t/update/delta 1"]);
    assert_eq!(one.counters().shadow_repeats.get(), 1);
    one.publish(t, &publish(UPDATE, &desired(2), Q1, 2));
    one.pass(200);
    two.settle();
    assert_eq!(heard(&mut two, app), ["t/update/delta 2"], "it is sure again");
}

#[test]
fn what_is_said_again_never_comes_behind_something_newer() {
    let (mut one, mut two) = two();
    let t = one.join(clean("t"));
    one.send_publish(t, &publish(UPDATE, &desired(1), Q1, 1));
    one.answer_asks();
    let writes = one.worker.take_writes();
    one.tables.set_awaited((Duration::ZERO, 0));
    let app = two.subscriber(durable("app"), "$aws/things/t/shadow/update/delta", Q1);
    one.commit_these(writes);
    let b = two.join(clean("b"));
    two.publish(b, &publish(UPDATE, &desired(2), Q1, 1));
    one.tables.set_awaited((one.now.mono + Duration::from_secs(60), 1));
    one.pass(200);
    one.pass(200);
    two.settle();
    let told = heard(&mut two, app);
    assert!(told.is_sorted() && told.iter().all(|one| one == "t/update/delta 2"), "{told:?}");
}
