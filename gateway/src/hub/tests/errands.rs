//! Errands: what somebody in the fleet wants of a client that is served here.

use protocol::mqtt::codec::AckKind;
use protocol::{Publication, QoS, SessionEpoch};
use store::Space;

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{ConnId, ConnectRequest};
use crate::presence::{Errand, Report, Task, errand_key};
use crate::worker::{Mail, PresenceMail};

/// Has it done for the client's ownership that there is.
fn run(gateway: &mut Gateway, name: &str, no: u64, task: Task) {
    let epoch = gateway.record(name).unwrap().epoch;
    run_in(gateway, name, Errand { no, epoch, task });
}

fn run_in(gateway: &mut Gateway, name: &str, errand: Errand) {
    gateway.mail(Mail::Presence(PresenceMail::Run(client(name), Box::new(errand))));
    gateway.settle();
}

/// What was reported.
fn report(gateway: &mut Gateway, name: &str, no: u64) -> Option<Report> {
    let doc = gateway.reader().get(Space::Presence, &errand_key(&client(name), no)).unwrap()?;
    Report::read(&doc.value)
}

fn message(payload: &str, qos: QoS) -> Task {
    Task::Give(Publication::new("cmd", &[], payload.as_bytes(), qos, false))
}

#[test]
fn a_message_for_one_client_is_reported_once_it_is_acknowledged() {
    for request in [clean("a"), durable("a"), old("a")] {
        let mut gateway = Gateway::new();
        let a = gateway.join(request);
        run(&mut gateway, "a", 1, message("x", Q0));
        assert_eq!(gateway.hear(a), ["PUBLISH cmd x q0"]);
        assert_eq!(report(&mut gateway, "a", 1), Some(Report::Done));
        run(&mut gateway, "a", 2, message("y", Q1));
        run(&mut gateway, "a", 3, message("z", Q1));
        assert_eq!(gateway.hear(a), ["PUBLISH cmd y q1 #1", "PUBLISH cmd z q1 #2"]);
        assert_eq!(report(&mut gateway, "a", 2), None);
        gateway.tell(a, &ack(AckKind::PubAck, 2));
        assert_eq!(report(&mut gateway, "a", 2), None);
        assert_eq!(report(&mut gateway, "a", 3), Some(Report::Done));
        gateway.tell(a, &ack(AckKind::PubAck, 1));
        assert_eq!(report(&mut gateway, "a", 2), Some(Report::Done));
    }
}

#[test]
fn another_connection_than_the_one_that_is_meant_gets_nothing() {
    let mut gateway = Gateway::new();
    let a = gateway.join(clean("a"));
    let epoch = SessionEpoch(gateway.record("a").unwrap().epoch.0 - 1);
    run_in(&mut gateway, "a", Errand { no: 1, epoch, task: message("x", Q1) });
    run_in(&mut gateway, "b", Errand { no: 1, epoch, task: message("x", Q1) });
    assert!(gateway.hear(a).is_empty());
    assert_eq!((report(&mut gateway, "a", 1), report(&mut gateway, "b", 1)), (None, None));
}

fn narrow(receive_maximum: u16, max_packet_bytes: u32) -> (Gateway, ConnId) {
    let mut gateway = Gateway::new();
    let request = ConnectRequest { receive_maximum, max_packet_bytes, ..durable("a") };
    let a = gateway.join(request);
    (gateway, a)
}

#[test]
fn what_a_client_does_not_take_now_or_at_all_is_told() {
    let (mut gateway, a) = narrow(1, 30);
    run(&mut gateway, "a", 1, message("x", Q1));
    run(&mut gateway, "a", 2, message("y", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd x q1 #1"]);
    assert_eq!(report(&mut gateway, "a", 2), Some(Report::Busy));
    gateway.tell(a, &ack(AckKind::PubAck, 1));
    run(&mut gateway, "a", 3, message(&"z".repeat(100), Q1));
    assert_eq!(report(&mut gateway, "a", 3), Some(Report::TooLarge));
    assert!(gateway.hear(a).is_empty());
    run(&mut gateway, "a", 4, message("w", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd w q1 #3"]);
}

#[test]
fn while_packet_ids_of_a_resumed_session_are_not_read_again_none_is_taken() {
    let mut gateway = Gateway::new();
    let a = gateway.subscriber(durable("a"), "t", Q1);
    let b = gateway.join(clean("b"));
    gateway.publish(b, &publish("t", "x", Q1, 1));
    assert_eq!(gateway.hear(a), ["PUBLISH t x q1 #1"]);
    gateway.lose(a);
    let a = gateway.connect(durable("a"));
    // The session is claimed, and its queue is not read yet.
    gateway.answer_asks();
    gateway.commit();
    assert_eq!(gateway.hear(a), ["CONNACK Success present"]);
    let epoch = gateway.record("a").unwrap().epoch;
    let errand = Errand { no: 1, epoch, task: message("cmd", Q1) };
    gateway.mail(Mail::Presence(PresenceMail::Run(client("a"), Box::new(errand))));
    assert!(gateway.hear(a).is_empty());
    gateway.settle();
    assert_eq!(report(&mut gateway, "a", 1), Some(Report::Busy));
    assert_eq!(gateway.hear(a), ["PUBLISH t x q1 #1 dup"]);
    run(&mut gateway, "a", 2, message("cmd", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd cmd q1 #2"]);
}

#[test]
fn it_goes_ahead_of_what_waits_and_nothing_of_that_is_lost() {
    let (mut gateway, a) = narrow(2, 1_000);
    gateway.subscribe(a, "t", Q1);
    let b = gateway.join(clean("b"));
    for (number, payload) in (1..).zip(["one", "two", "three"]) {
        gateway.publish(b, &publish("t", payload, Q1, number));
    }
    gateway.settle();
    assert_eq!(gateway.hear(a), ["PUBLISH t one q1 #1", "PUBLISH t two q1 #2"]);
    run(&mut gateway, "a", 1, message("now", Q1));
    assert_eq!(report(&mut gateway, "a", 1), Some(Report::Busy));
    gateway.tell(a, &ack(AckKind::PubAck, 1));
    assert_eq!(gateway.hear(a), ["PUBLISH t three q1 #3"]);
    gateway.tell(a, &ack(AckKind::PubAck, 2));
    run(&mut gateway, "a", 2, message("now", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd now q1 #4"]);
    // Gone before it acknowledged: nobody is told, and it is not kept for later.
    gateway.lose(a);
    assert_eq!(report(&mut gateway, "a", 2), None);
    let a = gateway.connect(durable("a"));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["CONNACK Success present", "PUBLISH t three q1 #3 dup"]);
}

#[test]
fn what_a_client_is_subscribed_to_is_told() {
    let mut gateway = Gateway::new();
    gateway.subscriber(clean("a"), "x/#", Q1);
    run(&mut gateway, "a", 1, Task::TellFilters);
    let Some(Report::Filters(filters)) = report(&mut gateway, "a", 1) else { panic!("no report") };
    let filters: Vec<_> = filters.iter().map(|it| (it.filter.as_str(), it.qos)).collect();
    assert_eq!(filters, [("x/#", 1)]);
}
