//! What is taken from publishers, and who gets it.

use fanout::{InterestDelta, Wants};
use protocol::mqtt::codec::AckKind::PubRel;
use protocol::mqtt::{Publish, PublishProperties, Version};
use protocol::{QoS, TopicFilter};
use store::{Fault, Space, Unavailable};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{Ask, ConnId, ConnectRequest, Forward};
use crate::worker::Mail;

fn aliased<'a>(topic: &'a str, payload: &'a str, alias: u16) -> Publish<'a> {
    let properties = PublishProperties { topic_alias: Some(alias), ..Default::default() };
    Publish { properties, ..publish(topic, payload, Q0, 0) }
}

/// A gateway, a publisher `a`, and a clean subscriber of everything.
fn pair() -> (Gateway, ConnId, ConnId) {
    let mut gateway = Gateway::new();
    let all = gateway.subscriber(clean("all"), "#", Q2);
    let a = gateway.join(clean("a"));
    (gateway, a, all)
}

#[test]
fn a_qos_2_repeat_is_acknowledged_again_and_not_dispatched_again() {
    let (mut gateway, a, all) = pair();
    gateway.publish(a, &publish("t", "x", Q2, 1));
    gateway.publish(a, &Publish { dup: true, ..publish("t", "x", Q2, 1) });
    assert_eq!(gateway.hear(a), ["PUBREC #1", "PUBREC #1"]);
    assert_eq!(gateway.hear(all), ["PUBLISH t x q2 #1"]);
    gateway.tell(a, &[ack(PubRel, 1), ack(PubRel, 1)].concat());
    assert_eq!(gateway.hear(a), ["PUBCOMP #1", "PUBCOMP #1 PacketIdentifierNotFound"]);
    gateway.publish(a, &publish("t", "y", Q2, 1));
    assert_eq!(gateway.hear(all), ["PUBLISH t y q2 #2"], "the id was free again");
}

#[test]
fn open_qos_2_ids_survive_the_connection() {
    let (mut gateway, _, all) = pair();
    let a = gateway.join(durable("kept"));
    gateway.publish(a, &publish("t", "x", Q2, 1));
    gateway.lose(a);
    let a = gateway.join(durable("kept"));
    gateway.publish(a, &Publish { dup: true, ..publish("t", "x", Q2, 1) });
    assert_eq!(gateway.hear(a), ["PUBREC #1"]);
    assert_eq!(gateway.hear(all).len(), 1);
}

#[test]
fn a_qos_2_id_is_free_in_the_store_before_its_client_is_told_so() {
    let (mut gateway, ..) = pair();
    let a = gateway.join(durable("kept"));
    gateway.publish(a, &publish("t", "x", Q2, 1));
    assert_eq!(gateway.record("kept").unwrap().inbound, [id(1)]);
    gateway.send(a, &ack(PubRel, 1));
    assert_eq!(gateway.hear(a), ["PUBREC #1"], "whoever serves it next would take it for open");
    gateway.settle();
    assert_eq!(gateway.hear(a), ["PUBCOMP #1"]);
    assert!(gateway.record("kept").unwrap().inbound.is_empty());
}

#[test]
fn a_qos_2_publication_that_was_refused_may_be_sent_again() {
    let (mut gateway, _, all) = pair();
    let a = gateway.join(durable("kept"));
    gateway.store.inject(Fault::FailCommits { count: 1, why: Unavailable::Full });
    gateway.publish(a, &publish("t", "x", Q2, 1));
    assert_eq!(gateway.hear(a), ["PUBREC #1 QuotaExceeded"]);
    assert!(gateway.hear(all).is_empty());
    gateway.publish(a, &publish("t", "x", Q2, 1));
    assert_eq!(gateway.hear(a), ["PUBREC #1"]);
    assert_eq!(gateway.hear(all), ["PUBLISH t x q2 #1"]);
}

#[test]
fn more_open_qos_2_publications_than_we_take_end_the_connection() {
    let (mut gateway, a, _) = pair();
    for number in 1..=10 {
        gateway.publish(a, &publish("t", "x", Q2, number));
    }
    assert_eq!(gateway.hear(a).len(), 10);
    gateway.publish(a, &publish("t", "x", Q2, 11));
    assert_eq!(gateway.hear(a), ["DISCONNECT ReceiveMaximumExceeded", "closed"]);
}

#[test]
fn more_unanswered_qos_1_publications_than_we_take_end_the_connection() {
    for (version, said) in
        [(Version::V5, &["DISCONNECT ReceiveMaximumExceeded", "closed"][..]), (Version::V311, &[])]
    {
        let mut gateway = Gateway::new();
        let stored = gateway.subscriber(durable("stored"), "t", Q1);
        let a = gateway.join(ConnectRequest { version, ..clean("a") });
        for round in 0..3 {
            for number in 1..=10 {
                gateway.send_publish(a, &publish("t", "x", Q1, number));
            }
            assert!(gateway.hear(a).is_empty(), "nothing is stored yet");
            gateway.settle();
            assert_eq!(gateway.hear(a).len(), 10, "round {round}");
        }
        gateway.publish(a, &publish("t", "x", Q2, 20));
        assert_eq!(gateway.hear(a), ["PUBREC #20"]);
        for number in 1..=10 {
            gateway.send_publish(a, &publish("t", "x", Q1, number));
        }
        // The tenth came with an exchange at QoS 2 still open; nothing follows a DISCONNECT [MQTT5-3.14.4-1].
        assert_eq!(gateway.hear(a), said);
        gateway.settle();
        assert_eq!(gateway.hear(a).len(), if said.is_empty() { 10 } else { 0 });
        assert_eq!(gateway.hear(stored).len(), 30 + 1 + if said.is_empty() { 10 } else { 9 });
    }
}

#[test]
fn a_topic_alias_stands_for_the_topic_it_was_last_set_to() {
    let (mut gateway, a, all) = pair();
    for (topic, payload, alias) in
        [("t", "1", 3), ("", "2", 3), ("u", "3", 3), ("", "4", 3), ("v", "5", 8)]
    {
        gateway.publish(a, &aliased(topic, payload, alias));
    }
    let topics: Vec<_> = gateway.hear(all);
    let expected = ["t 1", "t 2", "u 3", "u 4", "v 5"].map(|what| format!("PUBLISH {what} q0"));
    assert_eq!(topics, expected);
}

#[test]
fn a_topic_alias_that_is_not_set_or_too_high_ends_the_connection() {
    for (alias, topic, reason) in
        [(3, "", "ProtocolError"), (9, "t", "TopicAliasInvalid"), (9, "", "TopicAliasInvalid")]
    {
        let (mut gateway, a, all) = pair();
        gateway.publish(a, &aliased(topic, "x", alias));
        assert_eq!(gateway.hear(a), [format!("DISCONNECT {reason}"), "closed".to_owned()]);
        assert!(gateway.hear(all).is_empty());
    }
}

#[test]
fn topics_of_the_server_and_topics_beyond_the_limits_are_refused() {
    let (mut gateway, a, all) = pair();
    let long = "x".repeat(51);
    for (topic, reason) in [
        ("$SYS/x", "NotAuthorized"),
        ("a/b/c/d/e/f", "TopicNameInvalid"),
        (&long, "TopicNameInvalid"),
    ] {
        gateway.publish(a, &publish(topic, "x", Q1, 1));
        assert_eq!(gateway.hear(a), [format!("PUBACK #1 {reason}")]);
        gateway.publish(a, &publish(topic, "x", Q2, 2));
        assert_eq!(gateway.hear(a), [format!("PUBREC #2 {reason}")]);
        gateway.publish(a, &publish(topic, "x", Q0, 0));
        let older = gateway.join(old("older"));
        gateway.publish(older, &publish(topic, "x", Q1, 1));
        assert_eq!(gateway.hear(older), ["closed"], "3.1.1 has no word for it");
    }
    assert!(gateway.hear(a).is_empty() && gateway.hear(all).is_empty());
}

#[test]
fn a_retained_message_is_kept_replaced_and_cleared() {
    let (mut gateway, a, all) = pair();
    for (payload, kept) in [("1", 1), ("2", 1), ("", 0)] {
        gateway.publish(a, &retained("t", payload, Q1, 1));
        assert_eq!(gateway.stored(Space::Retained), kept);
        assert_eq!(gateway.tables.retained().len(), kept);
        assert_eq!(gateway.hear(all).len(), 1, "who is there already gets it, too");
    }
}

#[test]
fn more_retained_topics_than_configured_are_refused_and_can_be_cleared() {
    let (mut gateway, a, _) = pair();
    for (topic, number) in [("1", 1), ("2", 2)] {
        gateway.publish(a, &retained(topic, "x", Q1, number));
    }
    gateway.hear(a);
    gateway.publish(a, &retained("3", "x", Q1, 3));
    gateway.publish(a, &retained("1", "y", Q1, 4));
    gateway.publish(a, &retained("3", "", Q1, 5));
    gateway.publish(a, &retained("1", "", Q1, 6));
    gateway.publish(a, &retained("3", "x", Q1, 7));
    let expected = ["PUBACK #3 QuotaExceeded", "PUBACK #4", "PUBACK #5", "PUBACK #6", "PUBACK #7"];
    assert_eq!(gateway.hear(a), expected, "to clear what is not there takes no room");
    gateway.publish(a, &retained("4", "x", Q0, 0));
    assert_eq!(gateway.counters().retained_not_kept.get(), 1, "passed on, not kept, counted");
}

#[test]
fn no_local_spares_a_client_what_it_published_itself() {
    for (mut request, qos) in [(clean("a"), Q0), (clean("a"), Q1), (durable("a"), Q1)] {
        let mut gateway = Gateway::new();
        request.will = None;
        let (a, b) = (gateway.join(request), gateway.join(clean("b")));
        let mut silent = filter("t", qos);
        silent.options.no_local = true;
        gateway.tell(a, &subscribe(Version::V5, 9, &[silent]));
        gateway.hear(a);
        let number = if qos == Q0 { 0 } else { 1 };
        gateway.publish(a, &publish("t", "own", qos, number));
        gateway.publish(b, &publish("t", "other", qos, number));
        let heard = gateway.hear(a);
        let publications: Vec<_> = heard.iter().filter(|h| h.starts_with("PUBLISH")).collect();
        assert_eq!(publications.len(), 1, "{heard:?}");
        assert!(publications[0].starts_with("PUBLISH t other"), "{heard:?}");
    }
}

#[test]
fn a_place_that_changed_hands_does_not_inherit_what_was_on_its_way() {
    let mut gateway = Gateway::new();
    gateway.subscriber(durable("queue"), "t", Q1);
    let a = gateway.join(clean("a"));
    let leaver = gateway.subscriber(clean("leaver"), "t", Q0);
    gateway.progress = None;
    // What is published waits behind a SUBACK that waits for the peers.
    gateway.send(a, &subscribe(Version::V5, 1, &[filter("other", Q0)]));
    gateway.publish(a, &publish("t", "x", Q1, 2));
    gateway.lose(leaver);
    let heir = gateway.join(clean("heir"));
    gateway.mail(Mail::Progress(crate::commit::Progress::default()));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["SUBACK #1 [Success]", "PUBACK #2"]);
    assert!(gateway.hear(heir).is_empty());
    assert_eq!(gateway.hear(leaver), ["closed"]);
}

#[test]
fn each_neighbour_with_a_subscriber_gets_one_copy() {
    let (mut gateway, a, all) = pair();
    let plain = TopicFilter::new("t").unwrap();
    gateway.tables.change_routes(|routes| {
        routes.set_worker(3, &plain, Wants::Everything);
        let interest = |members| InterestDelta { filter: plain.clone(), share: None, members };
        routes.set_peer(5, false, &[interest(1)]);
        routes.set_peer(6, false, &[interest(1)]);
        routes.set_peer(7, false, &[interest(2)]);
    });
    gateway.publish(a, &publish("t", "x", Q1, 1));
    gateway.publish(a, &publish("other", "x", Q1, 2));
    assert_eq!(copies(&gateway.asked), ["workers 1000", "peers 1100000"]);
    gateway.asked.clear();
    gateway.publish(a, &publish("t", "x", Q0, 0));
    assert_eq!(copies(&gateway.asked), ["workers 1000", "peers 11100000"]);
    assert_eq!(gateway.hear(all).len(), 3);
}

/// Who was given a copy for plain subscribers, one bit each.
fn copies(asked: &[Ask]) -> Vec<String> {
    let mut copies = Vec::new();
    for ask in asked {
        if let Ask::Workers(bits, Forward { plain: true, .. }) = ask {
            copies.push(format!("workers {bits:b}"));
        } else if let Ask::Peers(bits, Forward { plain: true, .. }) = ask {
            copies.push(format!("peers {bits:b}"));
        }
    }
    copies
}

#[test]
fn what_came_from_a_neighbour_is_delivered_here_only() {
    let (mut gateway, _, all) = pair();
    gateway.knows(&["gw-1", "gw-2"]);
    let plain = TopicFilter::new("t").unwrap();
    let interest = InterestDelta { filter: plain, share: None, members: 1 };
    gateway.tables.change_routes(|routes| routes.set_peer(1, false, &[interest]));
    let kept = gateway.subscriber(durable("kept"), "t", Q1);
    let forward = |qos: QoS| {
        let publication = protocol::Publication::new("t", &[], b"x", qos, false);
        Mail::Forward(Forward { publication, plain: true, shared: Default::default() })
    };
    gateway.mail(forward(Q1));
    gateway.mail(forward(Q0));
    gateway.settle();
    assert_eq!(gateway.hear(all), ["PUBLISH t x q1 #1", "PUBLISH t x q0"]);
    assert_eq!(gateway.hear(kept), ["PUBLISH t x q0"], "QoS 1 comes through its queue");
    assert!(gateway.asked.is_empty(), "{:?}", gateway.asked);
}

#[test]
fn who_publishes_to_nobody_is_told_so() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    gateway.publish(a, &publish("t", "x", Q1, 1));
    gateway.publish(a, &publish("t", "x", Q2, 2));
    let nobody = ["PUBACK #1 NoMatchingSubscribers", "PUBREC #2 NoMatchingSubscribers"];
    assert_eq!(gateway.hear(a), nobody);
    for (number, request, filter) in
        [(3, clean("b"), "t"), (4, durable("c"), "u"), (5, clean("d"), "$share/g/v")]
    {
        gateway.subscriber(request, filter, Q1);
        let topic = filter.rsplit('/').next().unwrap();
        gateway.publish(a, &publish(topic, "x", Q1, number));
        assert_eq!(gateway.hear(a), [format!("PUBACK #{number}")], "{filter}");
    }
    let away = gateway.subscriber(durable("away"), "w", Q1);
    gateway.lose(away);
    gateway.publish(a, &publish("w", "x", Q1, 6));
    assert_eq!(gateway.hear(a), ["PUBACK #6"], "it is stored");
}

#[test]
fn what_lay_in_a_socket_while_its_client_went_elsewhere_is_not_retained_in_place_of_what_it_says_there()
 {
    let [mut here, mut there] = Gateway::two(|_| {});
    let old = here.join(durable("a"));
    let new = there.join_again(durable("a"));
    there.publish(new, &retained("t", "newer", Q1, 1));
    assert_eq!(there.hear(new), ["PUBACK #1 NoMatchingSubscribers"]);
    // This one has not heard of that.
    for (qos, number) in [(Q0, 0), (Q1, 1)] {
        here.send_publish(old, &retained("t", "older", qos, number));
    }
    here.commit();
    assert_eq!(here.hear(old), ["DISCONNECT SessionTakenOver", "closed"]);
    let stands = there.reader().get(Space::Retained, b"t").unwrap().unwrap();
    let (stands, since) = protocol::Publication::decode_since(&stands.value).unwrap();
    assert_eq!((stands.payload(), since), (&b"newer"[..], there.now.wall));
    assert_eq!(there.tables.retained().since("t"), since);
}
