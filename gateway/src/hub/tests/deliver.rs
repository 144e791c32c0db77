//! What a session is sent: within its window, in order, and again after its connection was lost.

use protocol::mqtt::codec::AckKind::{PubAck, PubComp, PubRec, PubRel};
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Packet, Publish, PublishProperties, ReasonCode, Version};
use protocol::{Position, Publication, QoS};
use store::{Fault, MemoryStore, Unavailable};

use super::gateway::{Gateway, one_class};
use super::packets::*;
use crate::hub::{ConnId, ConnectRequest, Queued};
use crate::worker::Mail;

/// One publication for each payload, at one level; `#1` and so on.
fn publish_all(gateway: &mut Gateway, from: ConnId, payloads: &[&str], qos: QoS) {
    for (payload, number) in payloads.iter().zip(1..) {
        gateway.publish(from, &publish("t", payload, qos, number));
        if qos == Q2 {
            gateway.tell(from, &ack(PubRel, number));
        }
    }
    gateway.hear(from);
}

fn expiring<'a>(payload: &'a str, number: u16, seconds: u32) -> Publish<'a> {
    let properties =
        PublishProperties { message_expiry_s: Some(seconds), ..PublishProperties::default() };
    Publish { properties, ..publish("t", payload, Q1, number) }
}

#[test]
fn no_more_is_in_flight_than_the_client_takes() {
    for request in [clean("b"), durable("b")] {
        let mut gateway = Gateway::new();
        let b = gateway.subscriber(ConnectRequest { receive_maximum: 2, ..request }, "t", Q1);
        let a = gateway.join(clean("a"));
        publish_all(&mut gateway, a, &["1", "2", "3", "4"], Q1);
        assert_eq!(gateway.hear(b), ["PUBLISH t 1 q1 #1", "PUBLISH t 2 q1 #2"]);
        gateway.tell(b, &ack(PubAck, 2));
        assert_eq!(gateway.hear(b), ["PUBLISH t 3 q1 #3"]);
        gateway.tell(b, &ack(PubAck, 2));
        assert!(gateway.hear(b).is_empty(), "it was acknowledged before");
        gateway.tell(b, &ack(PubAck, 1));
        assert_eq!(gateway.hear(b), ["PUBLISH t 4 q1 #4"]);
    }
}

#[test]
fn a_slow_reader_loses_qos_0_and_waits_for_the_rest() {
    for request in [clean("b"), durable("b")] {
        let mut gateway = Gateway::with(|config| config.outbox_bytes = 30);
        let b = gateway.subscriber(request, "t", Q1);
        let a = gateway.join(clean("a"));
        let much = "thirty bytes of payload, or more";
        gateway.publish(a, &publish("t", much, Q0, 0));
        gateway.publish(a, &publish("t", "lost", Q0, 0));
        gateway.publish(a, &publish("t", "waits", Q1, 1));
        assert!(gateway.worker.hub().is_congested(b));
        assert_eq!(gateway.hear(b), [format!("PUBLISH t {much} q0")]);
        gateway.worker.handle_writable(b, gateway.now, &mut gateway.sockets);
        gateway.settle();
        assert_eq!(gateway.hear(b), ["PUBLISH t waits q1 #1"]);
        assert!(!gateway.worker.hub().is_congested(b));
    }
}

/// Everything that comes to a client that takes all there is, and then is given more; no more than a packet beyond the limit waits
/// for it at any time.
fn all_that_comes(gateway: &mut Gateway, to: ConnId, most: usize) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        let packets = gateway.sockets.packets(to);
        let waits: usize = packets.iter().map(|packet| packet.len()).sum();
        assert!(waits <= most, "{waits} bytes wait");
        let heard = gateway.hear(to);
        if heard.is_empty() {
            return all;
        }
        all.extend(heard);
        gateway.worker.handle_writable(to, gateway.now, &mut gateway.sockets);
        gateway.settle();
    }
}

#[test]
fn what_is_sent_again_or_was_stored_first_waits_for_room_as_everything_does() {
    for qos in [Q1, Q2] {
        let mut gateway = Gateway::with(|config| {
            config.outbox_bytes = 1_000;
            config.classes = one_class(|limits| limits.receive_maximum = 100);
        });
        let wide = || ConnectRequest { receive_maximum: 100, ..durable("b") };
        let b = gateway.subscriber(wide(), "t", qos);
        gateway.lose(b);
        let a = gateway.join(clean("a"));
        let payload = |number: u16| format!("{number:0100}");
        for number in 1..=100 {
            gateway.send_publish(a, &publish("t", &payload(number), qos, number));
            gateway.settle();
        }
        for dup in [false, true] {
            let b = gateway.connect(wide());
            gateway.settle();
            let came = all_that_comes(&mut gateway, b, 1_200);
            let level = if qos == Q1 { "q1" } else { "q2" };
            let again = if dup { " dup" } else { "" };
            let all = (1..=100).map(|id| format!("PUBLISH t {} {level} #{id}{again}", payload(id)));
            assert_eq!(came[1..], all.collect::<Vec<_>>());
            gateway.lose(b);
        }
    }
}

#[test]
fn after_a_clean_release_what_was_open_goes_on_under_its_ids() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    publish_all(&mut gateway, a, &["1", "2"], Q1);
    publish_all(&mut gateway, a, &["3", "4"], Q2);
    assert_eq!(gateway.hear(b).len(), 4);
    gateway.tell(b, &[ack(PubAck, 1), ack(PubRec, 3)].concat());
    assert_eq!(gateway.hear(b), ["PUBREL #3"]);
    gateway.lose(b);
    publish_all(&mut gateway, a, &["5"], Q1);
    let b = gateway.connect(durable("b"));
    gateway.settle();
    assert_eq!(
        gateway.hear(b),
        [
            "CONNACK Success present",
            "PUBLISH t 2 q1 #2 dup",
            "PUBREL #3",
            "PUBLISH t 4 q2 #4 dup",
            "PUBLISH t 5 q1 #5",
        ]
    );
    gateway.tell(b, &[ack(PubComp, 3), ack(PubAck, 2), ack(PubAck, 5), ack(PubRec, 4)].concat());
    assert_eq!(gateway.hear(b), ["PUBREL #4"]);
    gateway.tell(b, &ack(PubComp, 4));
    gateway.pass(100);
    let no = gateway.record("b").unwrap().no;
    assert_eq!((gateway.queue_len(no), gateway.worker.hub().unsaved()), (0, 0));
}

#[test]
fn no_more_is_sent_again_than_the_client_takes_now() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    publish_all(&mut gateway, a, &["1", "2"], Q1);
    publish_all(&mut gateway, a, &["3", "4"], Q2);
    assert_eq!(gateway.hear(b).len(), 4);
    gateway.tell(b, &ack(PubRec, 3));
    gateway.lose(b);
    publish_all(&mut gateway, a, &["5"], Q1);
    let b = gateway.connect(ConnectRequest { receive_maximum: 2, ..durable("b") });
    gateway.settle();
    let heard =
        ["CONNACK Success present", "PUBLISH t 1 q1 #1 dup", "PUBLISH t 2 q1 #2 dup", "PUBREL #3"];
    assert_eq!(gateway.hear(b), heard, "only a PUBLISH waits for room");
    gateway.tell(b, &ack(PubComp, 3));
    assert!(gateway.hear(b).is_empty());
    gateway.tell(b, &ack(PubAck, 1));
    assert_eq!(gateway.hear(b), ["PUBLISH t 4 q2 #4 dup"]);
    gateway.tell(b, &ack(PubAck, 2));
    assert_eq!(gateway.hear(b), ["PUBLISH t 5 q1 #5"]);
}

#[test]
fn after_its_gateway_died_whatever_waited_may_be_a_repeat() {
    let store = MemoryStore::new();
    let mut there = Gateway::named("gw-2", &store, |_| {});
    let b = there.subscriber(durable("b"), "t", Q1);
    let a = there.join(clean("a"));
    publish_all(&mut there, a, &["1", "2"], Q1);
    assert_eq!(there.hear(b), ["PUBLISH t 1 q1 #1", "PUBLISH t 2 q1 #2"]);
    let mut here = Gateway::named("gw-1", &store, |_| {});
    let c = here.join(clean("c"));
    publish_all(&mut here, c, &["3"], Q1);
    let b = here.connect(durable("b"));
    here.settle();
    let repeats = ["PUBLISH t 1 q1 #1 dup", "PUBLISH t 2 q1 #2 dup", "PUBLISH t 3 q1 #3 dup"];
    assert_eq!(here.hear(b)[1..], repeats);
    publish_all(&mut here, c, &["4"], Q1);
    assert_eq!(here.hear(b), ["PUBLISH t 4 q1 #4"], "nobody can have sent it before");
}

#[test]
fn what_a_gateway_that_died_may_have_sent_is_a_repeat_until_it_is_sent_again() {
    let store = MemoryStore::new();
    let mut there = Gateway::named("gw-2", &store, |_| {});
    let b = there.subscriber(durable("b"), "t", Q1);
    let a = there.join(clean("a"));
    publish_all(&mut there, a, &["1", "2"], Q1);
    assert_eq!(there.hear(b), ["PUBLISH t 1 q1 #1", "PUBLISH t 2 q1 #2"]);
    let mut here = Gateway::named("gw-1", &store, |_| {});
    let c = here.join(clean("c"));
    let b = here.connect(ConnectRequest { receive_maximum: 1, ..durable("b") });
    here.settle();
    assert_eq!(here.hear(b)[1..], ["PUBLISH t 1 q1 #1 dup"]);
    publish_all(&mut here, c, &["3"], Q1);
    assert!(here.hear(b).is_empty(), "it takes one at a time");
    here.lose(b);
    here.settle();
    let b = here.connect(durable("b"));
    here.settle();
    assert_eq!(here.hear(b)[1..3], ["PUBLISH t 1 q1 #1 dup", "PUBLISH t 2 q1 #2 dup"]);
    publish_all(&mut here, c, &["4"], Q1);
    assert_eq!(here.hear(b), ["PUBLISH t 4 q1 #4"], "nobody can have sent it before");
    (1..=4).for_each(|id| here.tell(b, &ack(PubAck, id)));
    here.lose(b);
    publish_all(&mut here, c, &["5"], Q1);
    let b = here.connect(durable("b"));
    here.settle();
    assert_eq!(here.hear(b)[1..], ["PUBLISH t 5 q1 #1"], "nothing is in doubt any more");
}

#[test]
fn what_was_acknowledged_since_its_session_was_last_written_takes_nothing_else_with_it() {
    let store = MemoryStore::new();
    let mut there = Gateway::named("gw-2", &store, |_| {});
    let b = there.subscriber(durable("b"), "t", Q1);
    let a = there.join(clean("a"));
    publish_all(&mut there, a, &["1", "2", "3"], Q1);
    assert_eq!(there.hear(b).len(), 3);
    there.subscribe(b, "its document names all three", Q1);
    there.tell(b, &ack(PubAck, 1));
    there.pass(100);
    // Its gateway is gone, and has told only the log of the acknowledgement.
    let mut here = Gateway::named("gw-1", &store, |_| {});
    assert_eq!(here.record("b").unwrap().inflight.len(), 3);
    let b = here.connect(durable("b"));
    here.settle();
    assert_eq!(here.hear(b)[1..], ["PUBLISH t 2 q1 #2 dup", "PUBLISH t 3 q1 #3 dup"]);
}

#[test]
fn after_its_gateway_died_what_expired_or_was_never_begun_is_no_repeat() {
    let store = MemoryStore::new();
    let mut there = Gateway::named("gw-2", &store, |_| {});
    let b = there.subscriber(durable("b"), "t", Q2);
    let a = there.join(clean("a"));
    there.publish(a, &publish("t", "1", Q2, 1));
    assert_eq!(there.hear(b), ["PUBLISH t 1 q2 #1"]);
    let mut here = Gateway::named("gw-1", &store, |_| {});
    let c = here.join(clean("c"));
    here.publish(c, &expiring("2", 2, 1));
    here.publish(c, &publish("t", "3", Q2, 3));
    here.pass(1500);
    let b = here.connect(durable("b"));
    here.settle();
    let heard = ["PUBLISH t 1 q2 #1 dup", "PUBLISH t 3 q2 #3"];
    assert_eq!(here.hear(b)[1..], heard, "the id of what was begun at QoS 2 is stored");
}

#[test]
fn qos_2_leaves_in_order_once_its_id_is_stored() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    gateway.send_publish(a, &publish("t", "1", Q2, 1));
    gateway.send_publish(a, &publish("t", "2", Q2, 2));
    gateway.commit();
    assert_eq!(gateway.hear(a), ["PUBREC #1", "PUBREC #2"]);
    gateway.follow();
    let ids = gateway.worker.take_writes();
    assert!(!ids.is_empty() && gateway.hear(b).is_empty());
    gateway.commit_these(ids);
    assert_eq!(gateway.hear(b), ["PUBLISH t 1 q2 #1", "PUBLISH t 2 q2 #2"]);
    let record = gateway.record("b").unwrap();
    let inflight = [(id(1), Position(1), false), (id(2), Position(2), false)];
    assert_eq!(record.inflight, inflight);
}

#[test]
fn what_follows_a_qos_2_message_does_not_overtake_it() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    for (payload, qos, number) in [("1", Q1, 1), ("2", Q2, 2), ("3", Q1, 3), ("4", Q1, 4)] {
        gateway.send_publish(a, &publish("t", payload, qos, number));
    }
    gateway.settle();
    let heard =
        ["PUBLISH t 1 q1 #1", "PUBLISH t 2 q2 #2", "PUBLISH t 3 q1 #3", "PUBLISH t 4 q1 #4"];
    assert_eq!(gateway.hear(b), heard);
    gateway.publish(a, &publish("t", "5", Q1, 5));
    assert_eq!(gateway.hear(b), ["PUBLISH t 5 q1 #5"]);
}

#[test]
fn only_a_qos_2_message_has_its_id_stored_whatever_follows_it() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    for (payload, qos, number) in [("1", Q2, 1), ("2", Q1, 2), ("3", Q1, 3)] {
        gateway.send_publish(a, &publish("t", payload, qos, number));
    }
    gateway.commit();
    gateway.follow();
    let ids = gateway.worker.take_writes();
    assert!(ids.len() == 1 && gateway.hear(b).is_empty(), "{ids:?}");
    gateway.commit_these(ids);
    assert_eq!(gateway.hear(b), ["PUBLISH t 1 q2 #1", "PUBLISH t 2 q1 #2", "PUBLISH t 3 q1 #3"]);
    gateway.send_publish(a, &publish("t", "4", Q1, 4));
    gateway.commit();
    gateway.follow();
    assert!(gateway.worker.take_writes().is_empty(), "nothing of QoS 2 is on its way any more");
    assert_eq!(gateway.hear(b), ["PUBLISH t 4 q1 #4"]);
}

#[test]
fn what_expired_behind_a_qos_2_message_stalls_nothing() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let request = ConnectRequest { receive_maximum: 2, ..durable("b") };
    let b = gateway.subscriber(request, "t", Q2);
    gateway.send_publish(a, &publish("t", "1", Q2, 1));
    gateway.send_publish(a, &expiring("2", 2, 1));
    gateway.send_publish(a, &publish("t", "3", Q1, 3));
    gateway.commit();
    gateway.follow();
    gateway.pass(1500);
    assert_eq!(gateway.hear(b), ["PUBLISH t 1 q2 #1", "PUBLISH t 3 q1 #3"]);
}

#[test]
fn a_qos_2_id_that_cannot_be_stored_ends_the_connection_and_nothing_is_lost() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    gateway.send_publish(a, &publish("t", "1", Q2, 1));
    gateway.commit();
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.settle();
    assert_eq!(gateway.hear(b), ["DISCONNECT ServerBusy", "closed"]);
    let b = gateway.connect(durable("b"));
    gateway.settle();
    let heard = gateway.hear(b);
    assert_eq!(heard[0], "CONNACK Success present");
    assert!(heard[1].starts_with("PUBLISH t 1 q2 #1"), "{heard:?}");
}

#[test]
fn pubrel_waits_until_the_release_is_stored() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q2);
    publish_all(&mut gateway, a, &["1"], Q2);
    gateway.hear(b);
    gateway.send(b, &ack(PubRec, 1));
    assert!(gateway.hear(b).is_empty());
    gateway.settle();
    assert_eq!(gateway.hear(b), ["PUBREL #1"]);
    assert_eq!(gateway.record("b").unwrap().inflight, [(id(1), Position(1), true)]);
    gateway.tell(b, &ack(PubRec, 5));
    assert_eq!(gateway.hear(b), ["PUBREL #5 PacketIdentifierNotFound"]);
    gateway.tell(b, &refusal(PubRec, 5, ReasonCode::UnspecifiedError));
    assert!(gateway.hear(b).is_empty(), "what was refused is not released");
}

#[test]
fn what_has_expired_is_given_up_and_stalls_nothing() {
    for request in [clean("b"), durable("b")] {
        let mut gateway = Gateway::new();
        let b = gateway.subscriber(ConnectRequest { receive_maximum: 1, ..request }, "t", Q1);
        let a = gateway.join(clean("a"));
        gateway.publish(a, &expiring("1", 1, 9));
        gateway.publish(a, &expiring("2", 2, 1));
        gateway.publish(a, &expiring("3", 3, 9));
        assert_eq!(gateway.hear(b), ["PUBLISH t 1 q1 #1 for 9 s"]);
        gateway.pass(1500);
        gateway.tell(b, &ack(PubAck, 1));
        assert_eq!(gateway.hear(b), ["PUBLISH t 3 q1 #3 for 8 s"]);
    }
}

#[test]
fn what_is_too_large_for_a_client_counts_as_sent() {
    let long = "more than this client takes";
    for (request, qos) in
        [(clean("b"), Q0), (clean("b"), Q1), (durable("b"), Q1), (durable("b"), Q2)]
    {
        let mut gateway = Gateway::new();
        let small = ConnectRequest { max_packet_bytes: 20, receive_maximum: 1, ..request };
        let b = gateway.subscriber(small, "t", qos);
        let a = gateway.join(clean("a"));
        publish_all(&mut gateway, a, &[long, "short"], qos);
        let heard = gateway.hear(b);
        assert_eq!(heard.len(), 1, "{heard:?}");
        assert!(heard[0].starts_with("PUBLISH t short"), "{heard:?}");
    }
}

#[test]
fn a_long_queue_arrives_whole_and_in_order_whatever_the_window() {
    for receive_maximum in [3, u16::MAX] {
        let mut gateway = Gateway::with(|config| {
            config.classes = one_class(|limits| limits.queue.messages = 1000);
        });
        let b = gateway.subscriber(durable("b"), "t", Q1);
        gateway.lose(b);
        let a = gateway.join(clean("a"));
        let payloads: Vec<String> = (0..600).map(|n: u16| n.to_string()).collect();
        publish_all(&mut gateway, a, &payloads.iter().map(|p| &**p).collect::<Vec<_>>(), Q1);
        let b = gateway.connect(ConnectRequest { receive_maximum, ..durable("b") });
        gateway.settle();
        let mut heard = gateway.hear(b);
        assert_eq!(heard.remove(0), "CONNACK Success present");
        for number in 1..=600 {
            gateway.tell(b, &ack(PubAck, number));
            heard.append(&mut gateway.hear(b));
        }
        let expected: Vec<String> =
            (0..600).map(|n| format!("PUBLISH t {n} q1 #{}", n + 1)).collect();
        assert_eq!(heard, expected);
        gateway.pass(100);
        let no = gateway.record("b").unwrap().no;
        assert_eq!(gateway.queue_len(no), 0);
    }
}

#[test]
fn what_comes_twice_from_the_queue_is_sent_once() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let b = gateway.subscriber(durable("b"), "t", Q1);
    publish_all(&mut gateway, a, &["1", "2"], Q1);
    assert_eq!(gateway.hear(b).len(), 2);
    let session = gateway.record("b").unwrap().no;
    for (position, qos) in [(1, Q1), (2, Q1)] {
        let publication = Publication::new("t", &[], b"again", qos, false);
        let position = Position(position);
        let queued = Queued { session, position, flags: 1, publication, old: false };
        gateway.mail(Mail::Queued(queued));
    }
    assert!(gateway.hear(b).is_empty());
}

#[test]
fn a_persistent_session_gets_qos_0_only_while_it_is_there() {
    let mut gateway = Gateway::new();
    let b = gateway.subscriber(durable("b"), "t", Q1);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "here", Q0, 0));
    assert_eq!(gateway.hear(b), ["PUBLISH t here q0"]);
    gateway.lose(b);
    gateway.publish(a, &publish("t", "away", Q0, 0));
    gateway.join_again(durable("b"));
}

#[test]
fn a_delivery_names_every_subscription_that_matches() {
    for request in [clean("b"), durable("b")] {
        let mut gateway = Gateway::new();
        let b = gateway.join(request);
        gateway.tell(b, &subscribe_as(Version::V5, 1, Some(7), &[filter("t/#", Q1)]));
        gateway.tell(b, &subscribe_as(Version::V5, 2, Some(9), &[filter("t/a", Q0)]));
        gateway.hear(b);
        let a = gateway.join(clean("a"));
        gateway.publish(a, &publish("t/a", "x", Q1, 1));
        assert_eq!(gateway.hear(b), ["PUBLISH t/a x q1 #1 by [7, 9]"]);
        gateway.publish(a, &publish("t/b", "x", Q0, 0));
        assert_eq!(gateway.hear(b), ["PUBLISH t/b x q0 by [7]"]);
    }
}

#[test]
fn a_delivery_from_a_group_names_the_subscription_to_the_group() {
    for request in [clean("b"), durable("b")] {
        let mut gateway = Gateway::new();
        let b = gateway.join(request);
        let group = [filter("$share/g/t/#", Q1)];
        gateway.tell(b, &subscribe_as(Version::V5, 1, Some(7), &group));
        gateway.hear(b);
        let a = gateway.join(clean("a"));
        gateway.publish(a, &publish("t/a", "x", Q1, 1));
        assert_eq!(gateway.hear(b), ["PUBLISH t/a x q1 #1 by [7]"]);
    }
}

#[test]
fn what_was_begun_goes_on_although_it_has_ended_meanwhile() {
    let mut gateway = Gateway::new();
    let b = gateway.subscriber(durable("b"), "t", Q2);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &Publish { qos: Q2, ..expiring("x", 1, 5) });
    assert_eq!(gateway.hear(b), ["PUBLISH t x q2 #1 for 5 s"]);
    gateway.lose(b);
    gateway.pass(6_000);
    let b = gateway.connect(durable("b"));
    gateway.settle();
    assert_eq!(gateway.hear(b), ["CONNACK Success present", "PUBLISH t x q2 #1 dup for 0 s"]);
    gateway.tell(b, &ack(PubRec, 1));
    assert_eq!(gateway.hear(b), ["PUBREL #1"]);
}

#[test]
fn a_stored_qos_2_message_that_is_too_large_does_not_stall_what_waits_behind_it() {
    let mut gateway = Gateway::new();
    let b = gateway.subscriber(durable("b"), "t", Q2);
    gateway.lose(b);
    let a = gateway.join(clean("a"));
    publish_all(&mut gateway, a, &["more than this client takes", "short"], Q2);
    let small = ConnectRequest { max_packet_bytes: 20, receive_maximum: 1, ..durable("b") };
    let b = gateway.connect(small);
    gateway.settle();
    let heard = gateway.hear(b);
    assert_eq!(heard, ["CONNACK Success present", "PUBLISH t short q2 #2"]);
}

/// A client that follows our aliases: what it hears, with the topics it resolved, and the bytes of each packet.
fn followed(gateway: &mut Gateway, conn: ConnId) -> Vec<(String, usize)> {
    let mut topics = std::collections::BTreeMap::<u16, String>::new();
    let packets = gateway.sockets.packets(conn).into_iter();
    let heard = packets.filter_map(|packet| {
        let decoded = codec::decode(packet, Version::V5, Sender::Server).unwrap();
        let Packet::Publish(publish) = decoded else { return None };
        let topic = match publish.properties.topic_alias {
            None => publish.topic.to_owned(),
            Some(alias) if publish.topic.is_empty() => topics[&alias].clone(),
            Some(alias) => {
                topics.insert(alias, publish.topic.to_owned());
                publish.topic.to_owned()
            }
        };
        let payload = std::str::from_utf8(publish.payload).unwrap();
        Some((format!("{topic} {payload}"), packet.len()))
    });
    heard.collect()
}

#[test]
fn a_client_that_takes_aliases_gets_short_names_and_nobody_else_does() {
    for qos in [Q0, Q1] {
        let mut gateway = Gateway::new();
        let takes = |name| ConnectRequest { topic_alias_maximum: 9, ..clean(name) };
        let aliased = ["1", "2"].map(|name| gateway.subscriber(takes(name), "long/#", qos));
        let plain = gateway.subscriber(clean("plain"), "long/#", qos);
        let old = gateway.subscriber(old("old"), "long/#", qos);
        let with_id = gateway.join(takes("with id"));
        let filters = [filter("long/#", qos)];
        gateway.tell(with_id, &subscribe_as(Version::V5, 1, Some(7), &filters));
        let a = gateway.join(clean("a"));
        for (number, topic) in
            ["long/topic", "long/topic", "long/other", "long/third", "long/topic"]
                .into_iter()
                .enumerate()
        {
            let number = u16::try_from(number).unwrap() + 1;
            gateway.publish(a, &publish(topic, &number.to_string(), qos, number));
        }
        let expected =
            ["long/topic 1", "long/topic 2", "long/other 3", "long/third 4", "long/topic 5"];
        for conn in [aliased[0], aliased[1], plain, with_id] {
            let heard = followed(&mut gateway, conn);
            let texts: Vec<&str> = heard.iter().map(|(text, _)| text.as_str()).collect();
            assert_eq!(texts, expected);
            let (first, second) = (heard[0].1, heard[1].1);
            let saved = if conn == plain { 0 } else { "long/topic".len() };
            assert_eq!(first - second, saved);
        }
        assert!(gateway.hear(plain).concat().contains("long/topic 5"));
        assert!(gateway.hear(old).concat().contains("long/topic 5"));
    }
}

#[test]
fn an_alias_that_was_not_told_is_not_used() {
    let mut gateway = Gateway::new();
    // The PUBLISH with both name and alias is too large, the one with the name alone is not.
    let request = ConnectRequest { topic_alias_maximum: 9, max_packet_bytes: 22, ..clean("b") };
    let b = gateway.subscriber(request, "long/#", Q0);
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("long/topic", "1234567", Q0, 0));
    gateway.publish(a, &publish("long/topic", "1", Q0, 0));
    gateway.publish(a, &publish("long/topic", "2", Q0, 0));
    let heard = followed(&mut gateway, b);
    assert_eq!(
        heard,
        [("long/topic 1234567", 22), ("long/topic 1", 19), ("long/topic 2", 9)]
            .map(|(t, n)| (t.to_owned(), n))
    );
}
