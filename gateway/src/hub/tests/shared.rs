//! Shared subscriptions: each group gets a publication once.

use bytes::Bytes;
use fanout::{GroupKey, InterestDelta};
use protocol::mqtt::codec::AckKind::PubAck;
use protocol::mqtt::{ReasonCode, Version};
use protocol::session::{Estate, SessionRecord};
use protocol::{Publication, SessionNo, SharedName, TopicFilter};
use store::{Expect, Fault, MemoryStore, Put, Rev, Space, Store as _, Unavailable};

use super::gateway::{Gateway, one_class};
use super::packets::*;
use crate::hub::{Ask, ConnId, ConnectRequest, Forward, Portion, SharedMember};
use crate::worker::Mail;

fn group() -> (Option<SharedName>, TopicFilter) {
    TopicFilter::parse_subscription("$share/g/t").unwrap()
}

#[test]
fn members_of_a_group_take_turns() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(clean(name), "$share/g/t", Q1));
    let other = gateway.subscriber(clean("other"), "$share/h/t", Q0);
    let a = gateway.join(clean("a"));
    for number in 1..=4 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    assert_eq!(members.map(|member| gateway.hear(member).len()), [2, 2]);
    assert_eq!(gateway.hear(other).len(), 4, "every group gets it");
}

#[test]
fn a_member_that_takes_no_more_is_passed_over() {
    let mut gateway = Gateway::new();
    let narrow = ConnectRequest { receive_maximum: 1, ..clean("narrow") };
    let narrow = gateway.subscriber(narrow, "$share/g/t", Q1);
    let wide = gateway.subscriber(clean("wide"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    for number in 1..=6 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    assert_eq!((gateway.hear(narrow).len(), gateway.hear(wide).len()), (1, 5));
}

#[test]
fn a_persistent_member_keeps_what_it_was_chosen_for() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(durable(name), "$share/g/t", Q1));
    let a = gateway.join(clean("a"));
    gateway.lose(members[0]);
    gateway.publish(a, &publish("t", "online first", Q1, 1));
    assert_eq!(gateway.hear(members[1]), ["PUBLISH t online first q1 #1"]);
    gateway.lose(members[1]);
    gateway.publish(a, &publish("t", "for one", Q1, 2));
    gateway.publish(a, &publish("t", "for another", Q1, 3));
    let mut heard = Vec::new();
    for name in ["1", "2"] {
        let member = gateway.connect(durable(name));
        gateway.settle();
        heard.push(gateway.hear(member));
    }
    assert_eq!(heard.concat().iter().filter(|h| h.contains("for")).count(), 2, "{heard:?}");
}

#[test]
fn a_member_elsewhere_gets_its_copy_with_the_group_named() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let (share, filter) = group();
    let key = GroupKey { share: share.clone().unwrap(), filter: filter.clone() };
    let interest = InterestDelta { filter: filter.clone(), share, members: 1 };
    gateway.tables.change_routes(|routes| routes.set_peer(2, false, &[interest]));
    gateway.publish(a, &publish("t", "x", Q1, 1));
    let [Ask::Peers(0b100, forward)] = &gateway.asked[..] else { panic!("{:?}", gateway.asked) };
    assert!(!forward.plain);
    assert_eq!(forward.shared[..], [SharedMember(key)]);
}

#[test]
fn a_copy_for_a_group_goes_to_one_member_here() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(clean(name), "$share/g/t", Q1));
    let plain = gateway.subscriber(clean("plain"), "t", Q1);
    let (share, filter) = group();
    let key = GroupKey { share: share.unwrap(), filter };
    let publication = Publication::new("t", &[], b"x", Q1, false);
    let shared = [SharedMember(key)].into_iter().collect();
    gateway.mail(Mail::Forward(Forward { publication, plain: false, shared }));
    let heard: usize = members.iter().map(|member| gateway.hear(*member).len()).sum();
    assert_eq!((heard, gateway.hear(plain).len()), (1, 0));
}

#[test]
fn who_leaves_a_group_gets_nothing_more() {
    let mut gateway = Gateway::new();
    let members = ["1", "2"].map(|name| gateway.subscriber(clean(name), "$share/g/t", Q0));
    let a = gateway.join(clean("a"));
    gateway.tell(members[0], &unsubscribe(5, &["$share/g/t", "$share/g/t"]));
    let answer = "UNSUBACK #5 [Success, NoSubscriptionExisted]";
    assert_eq!(gateway.hear(members[0]), [answer]);
    gateway.publish(a, &publish("t", "x", Q0, 0));
    gateway.publish(a, &publish("t", "x", Q0, 0));
    assert_eq!(members.map(|member| gateway.hear(member).len()), [0, 2]);
}

#[test]
fn a_group_has_no_no_local_and_gets_nothing_retained() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    gateway.publish(a, &retained("t", "kept", Q0, 0));
    let mut wrong = filter("$share/g/t", Q0);
    gateway.tell(a, &subscribe(Version::V5, 1, &[wrong]));
    assert_eq!(gateway.hear(a), ["SUBACK #1 [Success]"]);
    wrong.options.no_local = true;
    gateway.tell(a, &subscribe(Version::V5, 2, &[wrong]));
    assert_eq!(gateway.hear(a), ["DISCONNECT ProtocolError", "closed"]);
}

fn payloads(heard: Vec<String>) -> Vec<String> {
    heard.iter().filter_map(|said| Some(said.split(' ').nth(2)?.to_owned())).collect()
}

#[test]
fn what_a_dying_member_has_not_acknowledged_goes_to_the_others() {
    let mut gateway = Gateway::new();
    let dying = ConnectRequest { receive_maximum: 2, ..clean("dying") };
    let dying = gateway.subscriber(dying, "$share/g/t", Q2);
    let a = gateway.join(clean("a"));
    for (number, payload, qos) in
        [(1, "one", Q1), (2, "two", Q2), (3, "three", Q2), (4, "four", Q1)]
    {
        gateway.publish(a, &publish("t", payload, qos, number));
    }
    assert_eq!(payloads(gateway.hear(dying)), ["one", "two"]);
    let other = gateway.subscriber(clean("other"), "$share/g/t", Q2);
    gateway.lose(dying);
    // Two was begun at QoS 2: nobody else gets it [MQTT5-4.8.2-5].
    assert_eq!(payloads(gateway.hear(other)), ["one", "three", "four"]);
    assert_eq!(gateway.counters().shared_returned.get(), 3);
}

#[test]
fn what_nobody_is_left_for_is_forgotten_with_the_group() {
    let mut gateway = Gateway::new();
    let last = gateway.subscriber(clean("last"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "x", Q1, 1));
    gateway.lose(last);
    let counters = gateway.counters();
    assert_eq!((counters.shared_returned.get(), counters.dropped_no_member.get()), (0, 1));
}

#[test]
fn what_a_dying_member_leaves_is_stored_for_a_persistent_one() {
    let mut gateway = Gateway::new();
    let stays = gateway.subscriber(durable("stays"), "$share/g/t", Q1);
    gateway.lose(stays);
    let dying = gateway.subscriber(clean("dying"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "online first", Q1, 1));
    gateway.lose(dying);
    let stays = gateway.connect(durable("stays"));
    gateway.settle();
    let heard = ["CONNACK Success present", "PUBLISH t online first q1 #1"];
    assert_eq!(gateway.hear(stays), heard);
}

#[test]
fn who_unsubscribes_finishes_what_was_sent_and_gives_the_rest_back() {
    let mut gateway = Gateway::new();
    let leaving = ConnectRequest { receive_maximum: 1, ..clean("leaving") };
    let leaving = gateway.subscriber(leaving, "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "one", Q1, 1));
    gateway.publish(a, &publish("t", "two", Q1, 2));
    let other = gateway.subscriber(clean("other"), "$share/g/t", Q1);
    gateway.tell(leaving, &unsubscribe(5, &["$share/g/t"]));
    assert_eq!(payloads(gateway.hear(other)), ["two"]);
    gateway.tell(leaving, &ack(PubAck, 1));
    assert_eq!(gateway.hear(leaving), ["PUBLISH t one q1 #1", "UNSUBACK #5 [Success]"]);
}

#[test]
fn the_queue_of_a_persistent_member_goes_back_when_its_session_ends() {
    let mut gateway = Gateway::new();
    gateway.knows(&["gw-1"]);
    let ends = gateway.subscriber(durable("ends"), "$share/g/+", Q2);
    gateway.subscribe(ends, "own", Q1);
    let a = gateway.join(clean("a"));
    for (number, topic, qos) in [(1, "sent", Q1), (2, "twice", Q2)] {
        gateway.publish(a, &publish(topic, topic, qos, number));
    }
    assert_eq!(payloads(gateway.hear(ends)), ["sent", "twice"]);
    gateway.lose(ends);
    gateway.publish(a, &publish("kept", "kept", Q1, 3));
    gateway.publish(a, &publish("own/deeper", "nobody's", Q1, 4));
    let other = gateway.subscriber(clean("other"), "$share/g/+", Q1);
    let again = gateway.join(ConnectRequest { clean_start: true, ..durable("ends") });
    gateway.settle();
    assert_eq!(payloads(gateway.hear(other)), ["sent", "kept"], "the session is a new one");
    assert!(gateway.hear(again).is_empty());
}

#[test]
fn what_was_acknowledged_before_a_session_ends_is_nobody_elses() {
    let mut gateway = Gateway::new();
    gateway.knows(&["gw-1"]);
    let ends = gateway.subscriber(durable("ends"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    for (number, payload) in [(1, "one"), (2, "two"), (3, "three")] {
        gateway.publish(a, &publish("t", payload, Q1, number));
    }
    assert_eq!(payloads(gateway.hear(ends)), ["one", "two", "three"]);
    let acks = [1, 2].map(|number| ack(PubAck, number));
    let other = gateway.subscriber(clean("other"), "$share/g/t", Q1);
    gateway.tell(ends, &[acks.concat(), disconnect(ReasonCode::Success, Some(0))].concat());
    assert_eq!(payloads(gateway.hear(other)), ["three"]);
}

#[test]
fn only_what_a_group_gave_goes_back_to_it() {
    let mut gateway = Gateway::new();
    gateway.knows(&["gw-1"]);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &retained("t", "retained", Q1, 9));
    let both = gateway.subscriber(durable("both"), "$share/g/t", Q1);
    gateway.send(both, &subscribe(Version::V5, 5, &[filter("t", Q1)]));
    gateway.settle();
    let narrow = gateway.subscriber(durable("narrow"), "$share/g/t", Q1);
    let other = gateway.subscriber(durable("other"), "$share/g/t", Q1);
    for (number, payload) in [(1, "one"), (2, "two"), (3, "three")] {
        gateway.publish(a, &publish("t", payload, Q1, number));
    }
    let by_the_group = [gateway.hear(narrow), gateway.hear(other)].map(payloads).concat();
    assert_eq!(by_the_group.len(), 2, "it was both's turn once: {by_the_group:?}");
    assert_eq!(gateway.hear(both).len(), 5, "SUBACK, retained, and all three by itself");
    gateway.tell(both, &disconnect(ReasonCode::Success, Some(0)));
    let back = [gateway.hear(narrow), gateway.hear(other)].map(payloads).concat();
    assert_eq!(back.len(), 1);
    assert!(!by_the_group.contains(&back[0]) && back[0] != "retained", "{back:?}");
}

#[test]
fn a_persistent_member_that_takes_no_more_is_passed_over() {
    let mut gateway = Gateway::new();
    let narrow = ConnectRequest { receive_maximum: 1, ..durable("narrow") };
    let narrow = gateway.subscriber(narrow, "$share/g/t", Q1);
    let wide = gateway.subscriber(durable("wide"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    for number in 1..=8 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    let (narrow, wide) = (gateway.hear(narrow).len(), gateway.hear(wide).len());
    assert!(narrow == 1 && wide >= 6, "one may wait before it is noticed: {narrow} and {wide}");
}

#[test]
fn a_persistent_member_that_does_not_read_is_passed_over() {
    let mut gateway = Gateway::with(|config| config.outbox_bytes = 30);
    let silent = gateway.subscriber(durable("silent"), "$share/g/t", Q1);
    gateway.subscribe(silent, "much", Q0);
    let reads = gateway.subscriber(durable("reads"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    for _ in 0..2 {
        gateway.publish(a, &publish("much", "thirty bytes of payload, or more", Q0, 0));
    }
    assert!(gateway.worker.hub().is_congested(silent));
    for number in 1..=8 {
        gateway.publish(a, &publish("t", "x", Q1, number));
        assert_eq!(gateway.hear(reads), [format!("PUBLISH t x q1 #{number}")]);
    }
}

#[test]
fn what_is_acknowledged_goes_to_members_with_a_queue_as_long_as_they_take_it() {
    let mut gateway = Gateway::new();
    let kept = ConnectRequest { receive_maximum: 4, ..durable("kept") };
    let kept = gateway.subscriber(kept, "$share/g/t", Q1);
    // It gets nothing through its queue.
    let at_most_once = gateway.subscriber(durable("at most once"), "$share/g/t", Q0);
    let fleeting = gateway.subscriber(clean("fleeting"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    for number in 1..=4 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    let members = [kept, at_most_once, fleeting];
    assert_eq!(members.map(|member| gateway.hear(member).len()), [4, 0, 0]);
    for _ in 0..6 {
        gateway.publish(a, &publish("t", "x", Q0, 0));
    }
    assert_eq!(members.map(|member| gateway.hear(member).len()), [0, 3, 3], "its window is full");
    for number in 5..=9 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    let more = members.map(|member| gateway.hear(member).len());
    assert!(more[0] == 0 && more[1] + more[2] >= 4, "one may wait before it is noticed: {more:?}");
}

#[test]
fn a_member_that_hangs_is_passed_over_by_the_other_workers_too() {
    let mut gateway = Gateway::new();
    let kept = ConnectRequest { receive_maximum: 2, ..durable("kept") };
    let kept = gateway.subscriber(kept, "$share/g/t", Q1);
    gateway.subscriber(clean("fleeting"), "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    // What every worker of the process goes by.
    let is_chosen = |gateway: &Gateway| gateway.tables.routes().route("t").groups[0].1.is_queued();
    for number in 1..=4 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    for _ in 0..2 {
        gateway.pass(100);
    }
    assert!(!is_chosen(&gateway), "it acknowledges nothing, and more waits");
    assert_eq!(gateway.hear(kept).len(), 2);
    for id in [1, 2] {
        gateway.tell(kept, &ack(PubAck, id));
    }
    gateway.pass(100);
    assert!(is_chosen(&gateway));
}

#[test]
fn a_member_that_hangs_is_passed_over_by_the_other_gateways_too() {
    let [mut one, mut other] = Gateway::two(|_| {});
    one.knows(&["gw-1", "gw-2"]);
    other.knows(&["gw-1", "gw-2"]);
    let kept = ConnectRequest { receive_maximum: 2, ..durable("kept") };
    let kept = one.subscriber(kept, "$share/g/t", Q1);
    other.subscriber(clean("fleeting"), "$share/g/t", Q1);
    let a = other.join(clean("a"));
    let is_chosen = |gateway: &Gateway| gateway.tables.routes().route("t").groups[0].1.is_queued();
    for number in 1..=4 {
        other.publish(a, &publish("t", "x", Q1, number));
    }
    one.settle();
    assert_eq!(one.hear(kept).len(), 2);
    for _ in 0..5 {
        one.pass(100);
    }
    other.settle();
    assert!(is_chosen(&other), "it may only be slow");
    // The store does not take it, and it is written again.
    one.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    for _ in 0..3 {
        one.pass(100);
    }
    other.settle();
    assert!(!is_chosen(&other), "it acknowledges nothing, and more waits");
    assert_eq!(stored_session(&one.store, "kept"), (true, true));
    for id in [1, 2] {
        one.tell(kept, &ack(PubAck, id));
    }
    one.pass(100);
    other.settle();
    assert!(is_chosen(&other));
    // Nobody says so of a session that is not served.
    for number in 5..=8 {
        other.publish(a, &publish("t", "x", Q1, number));
    }
    one.settle();
    for _ in 0..8 {
        one.pass(100);
    }
    assert_eq!(stored_session(&one.store, "kept"), (true, true));
    one.lose(kept);
    assert_eq!(stored_session(&one.store, "kept"), (false, false));
}

#[test]
fn what_a_frozen_gateway_stores_late_for_a_member_whose_estate_is_gone_is_not_acknowledged() {
    let [mut one, mut frozen] = Gateway::two(|_| {});
    for name in ["gw-1", "gw-2"] {
        one.put(Space::Gateway, name, "{}".into());
    }
    one.knows(&["gw-1"]);
    let ends = one.subscriber(durable("ends"), "$share/g/t", Q1);
    let a = frozen.join(clean("a"));
    for (number, qos) in [(1, Q1), (2, Q2)] {
        frozen.send_publish(a, &publish("t", "late", qos, number));
    }
    let late = frozen.worker.take_writes();
    // The others go on without it: the session ends, and nobody remembers what it left.
    one.tell(ends, &disconnect(ReasonCode::Success, Some(0)));
    let left = |gateway: &Gateway| {
        let estates = gateway.store.reader().unwrap().scan(Space::Estate, &[], None, 9).unwrap();
        estates.len()
    };
    assert_eq!(left(&one), 1, "one is away, and might still store something");
    one.sweep();
    assert_eq!(left(&one), 0, "its fence is raised: it stores nothing of before that");
    frozen.commit_these(late);
    let refused = ["PUBACK #1 QuotaExceeded", "PUBREC #2 QuotaExceeded"];
    assert_eq!(frozen.hear(a), refused);
    // What it routes from now on, by what the log says, is stored.
    let stays = one.subscriber(durable("stays"), "$share/g/t", Q1);
    frozen.settle();
    frozen.publish(a, &publish("t", "again", Q2, 2));
    assert_eq!(frozen.hear(a), ["PUBREC #2"]);
    one.settle();
    assert_eq!(payloads(one.hear(stays)), ["again"]);
}

#[test]
fn who_is_late_to_raise_the_fence_of_another_gateway_is_not_fenced() {
    let mut gateway = Gateway::new();
    gateway.subscriber(durable("queue"), "t", Q1);
    let a = gateway.join(clean("a"));
    let raised = Bytes::copy_from_slice(&1_u64.to_be_bytes());
    gateway.put(Space::Lease, "gw-2", raised.clone());
    let (key, value) = (Bytes::from_static(b"gw-2"), Some(raised));
    let (space, expect) = (Space::Lease, Expect::Absent);
    gateway.mail(Mail::Fence(Put { space, key, value, expect, announce: true }));
    let late = gateway.worker.take_writes();
    gateway.send_publish(a, &publish("t", "x", Q1, 1));
    let behind = gateway.worker.take_writes();
    gateway.commit_these(late);
    gateway.commit_these(behind);
    assert_eq!(gateway.hear(a), ["PUBACK #1"]);
}

#[test]
fn what_a_gateway_stores_late_while_others_wait_for_it_goes_back() {
    let [mut one, mut slow] = Gateway::two(|_| {});
    for name in ["gw-1", "gw-2"] {
        one.put(Space::Gateway, name, "{}".into());
    }
    one.knows(&["gw-1"]);
    let ends = one.subscriber(durable("ends"), "$share/g/t", Q1);
    let a = slow.join(clean("a"));
    slow.send_publish(a, &publish("t", "late", Q1, 1));
    let late = slow.worker.take_writes();
    one.send(ends, &disconnect(ReasonCode::Success, Some(0)));
    one.commit();
    slow.commit_these(late);
    assert_eq!(slow.hear(a), ["PUBACK #1"], "its fence is not raised yet");
    let stays = one.subscriber(durable("stays"), "$share/g/t", Q1);
    for _ in 0..2 {
        one.sweep();
    }
    assert_eq!(payloads(one.hear(stays)), ["late"]);
}

/// Whether a client's session has an owner, and hangs, as its document says.
fn stored_session(store: &MemoryStore, client: &str) -> (bool, bool) {
    let doc = store.reader().unwrap().get(Space::Session, client.as_bytes()).unwrap().unwrap();
    let record = SessionRecord::decode(&doc.value).unwrap();
    (record.owner.is_some(), record.hangs)
}

/// What a member without acknowledgements leaves when it goes: so many messages.
fn leaves(gateway: &mut Gateway, messages: usize) -> ConnId {
    let narrow = ConnectRequest { receive_maximum: 1, ..clean("narrow") };
    let narrow = gateway.subscriber(narrow, "$share/g/t", Q1);
    let a = gateway.join(clean("a"));
    for number in 0..messages {
        gateway.publish(a, &publish("t", &number.to_string(), Q1, 1));
    }
    narrow
}

#[test]
fn much_that_is_left_goes_back_in_portions_and_in_its_order() {
    let mut gateway = Gateway::with(|config| {
        config.classes = one_class(|limits| limits.queue.messages = 5000);
    });
    let leaving = leaves(&mut gateway, 2100);
    let other = ConnectRequest { receive_maximum: 5000, ..clean("other") };
    let other = gateway.subscriber(other, "$share/g/t", Q1);
    let mut back = Vec::new();
    gateway.lose(leaving);
    for portion in [1024, 1024, 52, 0] {
        let heard = payloads(gateway.hear(other));
        assert_eq!(heard.len(), portion);
        back.extend(heard);
        assert_eq!(gateway.worker.hub().unsaved(), 2100 - back.len(), "a drain waits for them");
        gateway.pass(100);
    }
    assert!(back.iter().enumerate().all(|(at, payload)| *payload == at.to_string()));
}

#[test]
fn what_the_store_does_not_take_goes_back_with_the_next_tick() {
    let mut gateway = Gateway::new();
    let stays = gateway.subscriber(durable("stays"), "$share/g/t", Q1);
    gateway.lose(stays);
    let leaving = leaves(&mut gateway, 3);
    gateway.worker.handle_lost(leaving, gateway.now, &mut gateway.sockets);
    gateway.commit();
    // Three times, so that what changes places once does not come back to its own.
    gateway.store.inject(Fault::FailCommits { count: 3, why: Unavailable::Busy });
    gateway.settle();
    for _ in 0..2 {
        gateway.pass(100);
        assert_eq!(gateway.counters().shared_returned.get(), 0);
    }
    gateway.pass(100);
    assert_eq!(gateway.counters().shared_returned.get(), 3);
    let stays = gateway.connect(durable("stays"));
    gateway.settle();
    assert_eq!(payloads(gateway.hear(stays)[1..].to_vec()), ["0", "1", "2"]);
}

#[test]
fn who_is_leaving_is_given_nothing_more() {
    let mut gateway = Gateway::new();
    let leaving = gateway.subscriber(clean("leaving"), "$share/g/t", Q1);
    let stays = gateway.subscriber(durable("stays"), "$share/g/t", Q1);
    gateway.lose(stays);
    gateway.worker.handle_lost(leaving, gateway.now, &mut gateway.sockets);
    let (share, filter) = group();
    let key = GroupKey { share: share.unwrap(), filter };
    for (payload, qos) in [("x", Q1), ("y", Q0)] {
        let publication = Publication::new("t", &[], payload.as_bytes(), qos, false);
        let shared = [SharedMember(key.clone())].into_iter().collect();
        gateway.mail(Mail::Forward(Forward { publication, plain: false, shared }));
    }
    gateway.settle();
    gateway.pass(100);
    assert_eq!(gateway.counters().dropped_no_member.get(), 1, "QoS 0 is tried once");
    let stays = gateway.connect(durable("stays"));
    gateway.settle();
    assert_eq!(payloads(gateway.hear(stays)[1..].to_vec()), ["x"]);
}

#[test]
fn who_unsubscribes_from_some_groups_keeps_what_came_through_others() {
    let mut gateway = Gateway::new();
    let leaving = ConnectRequest { receive_maximum: 1, ..clean("leaving") };
    let leaving = gateway.subscriber(leaving, "$share/g/t", Q1);
    gateway.subscribe(leaving, "$share/h/t", Q1);
    gateway.subscribe(leaving, "t", Q1);
    let a = gateway.join(clean("a"));
    for number in 1..=2 {
        gateway.publish(a, &publish("t", "x", Q1, number));
    }
    let other = gateway.subscriber(clean("other"), "$share/g/t", Q1);
    gateway.tell(leaving, &unsubscribe(5, &["$share/g/t", "t"]));
    let back = gateway.hear(other).len();
    let mut kept = 0;
    for number in 1..=6 {
        kept += payloads(gateway.hear(leaving)).iter().filter(|payload| *payload == "x").count();
        gateway.tell(leaving, &ack(PubAck, number));
    }
    assert!((1..=2).contains(&back) && kept + back == 6, "{back} went back, {kept} were kept");
}

/// A portion with a message of a group that has no member.
fn portion_of_nobody(early: bool) -> Portion {
    let publication = Publication::new("t", &[], b"x", Q1, false);
    let of = (SessionNo(77), Rev(3));
    let (key, value) = (Estate::key(of.0), None);
    let put = Put { space: Space::Estate, key, value, expect: Expect::Any, announce: true };
    Portion { of, left: vec![("$share/g/t".into(), publication)], put, early }
}

#[test]
fn what_nobody_can_inherit_waits_at_first_and_is_counted_only_once_it_is_stored_so() {
    let mut gateway = Gateway::new();
    let not_given =
        |ask: &Ask| matches!(ask, Ask::NotGiven((session, Rev(3))) if *session == SessionNo(77));
    gateway.mail(Mail::Returned(portion_of_nobody(true)));
    gateway.settle();
    assert!(gateway.asked.iter().any(not_given), "it goes again later");
    assert_eq!(gateway.counters().dropped_no_member.get(), 0);
    gateway.asked.clear();
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Busy });
    gateway.mail(Mail::Returned(portion_of_nobody(false)));
    gateway.settle();
    assert!(gateway.asked.iter().any(not_given), "the store did not take it");
    assert_eq!(gateway.counters().dropped_no_member.get(), 0);
    gateway.asked.clear();
    gateway.mail(Mail::Returned(portion_of_nobody(false)));
    gateway.settle();
    assert!(!gateway.asked.iter().any(not_given));
    assert_eq!(gateway.counters().dropped_no_member.get(), 1);
}

#[test]
fn what_goes_back_is_not_stored_late_for_who_may_have_left_nothing_by_then() {
    let raised = || Bytes::copy_from_slice(&1_u64.to_be_bytes());
    let end = |gateway: &mut Gateway| gateway.reader().head().unwrap().1;
    // Of a session that is over.
    let mut gateway = Gateway::new();
    gateway.subscriber(durable("stays"), "$share/g/t", Q1);
    gateway.mail(Mail::Returned(portion_of_nobody(false)));
    let late = gateway.worker.take_writes();
    gateway.put(Space::Lease, "gw-1", raised());
    let before = end(&mut gateway);
    gateway.commit_these(late);
    assert_eq!(end(&mut gateway), before);
    // Of a connection that is over.
    let mut gateway = Gateway::new();
    let stays = gateway.subscriber(durable("stays"), "$share/g/t", Q1);
    gateway.lose(stays);
    let leaving = leaves(&mut gateway, 3);
    gateway.worker.handle_lost(leaving, gateway.now, &mut gateway.sockets);
    gateway.commit();
    let late = gateway.worker.take_writes();
    assert!(!late.is_empty());
    gateway.put(Space::Lease, "gw-1", raised());
    let before = end(&mut gateway);
    gateway.commit_these(late);
    assert_eq!(end(&mut gateway), before);
}

#[test]
fn what_several_groups_gave_is_stored_once_for_the_members_that_inherit_it() {
    let mut gateway = Gateway::new();
    let texts = ["$share/g/t", "$share/h/t", "$share/i/t"];
    let heir = gateway.join(durable("heir"));
    texts.iter().for_each(|text| gateway.subscribe(heir, text, Q1));
    let mut portion = portion_of_nobody(false);
    let mut texts = texts.map(|text| (protocol::GroupTag::of(text), text));
    texts.sort_unstable();
    let messages =
        ["x", "x"].map(|payload| Publication::new("t", &[], payload.as_bytes(), Q1, false));
    portion.left = messages
        .iter()
        .flat_map(|message| texts.map(|(_, text)| (text.into(), message.clone())))
        .collect();
    gateway.mail(Mail::Returned(portion));
    gateway.settle();
    assert_eq!(payloads(gateway.hear(heir)), ["x", "x"], "each message once");
    assert_eq!(gateway.counters().shared_returned.get(), 6);
}
