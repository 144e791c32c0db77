//! Errands: what somebody in the fleet wants of a client that is served here.

use std::sync::mpsc::{TryRecvError, channel};
use std::time::Duration;

use protocol::mqtt::codec::AckKind;
use protocol::{Publication, QoS, SessionEpoch};
use store::{Put, Space, Store as _, Write};

use super::gateway::Gateway;
use super::packets::*;
use crate::hub::{ConnId, ConnectRequest};
use crate::presence::{Errand, NearErrand, Report, Task, errand_key};
use crate::worker::{Mail, PresenceMail};

/// Has it done for the client's ownership that there is.
fn run(gateway: &mut Gateway, name: &str, no: u64, task: Task) {
    let epoch = gateway.record(name).unwrap().epoch;
    run_in(gateway, name, Errand { no, epoch, task });
}

fn run_in(gateway: &mut Gateway, name: &str, errand: Errand) {
    write_down(gateway, name, &errand, true);
    gateway.settle();
}

/// Whoever asks has written the errand down, and the log tells of it, or not.
fn write_down(gateway: &mut Gateway, name: &str, errand: &Errand, announce: bool) {
    let mut write = Write::default();
    write.puts.push(Put { announce, ..errand.put(&client(name), gateway.now.wall) });
    gateway.store.writer().unwrap().commit(&[write]).unwrap();
}

/// What was reported.
fn report(gateway: &mut Gateway, name: &str, no: u64) -> Option<Report> {
    let doc = gateway.reader().get(Space::Presence, &errand_key(&client(name), no)).unwrap();
    Report::read(doc.as_ref().map(|doc| &doc.value))
}

fn message(payload: &str, qos: QoS) -> Task {
    message_within(payload, qos, 15)
}

fn message_within(payload: &str, qos: QoS, seconds: u64) -> Task {
    let message = Publication::new("cmd", &[], payload.as_bytes(), qos, false);
    Task::Give(message, Duration::from_secs(seconds))
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
fn who_asks_in_the_process_that_serves_a_client_is_told_without_the_store() {
    let (mut gateway, a) = narrow(1, 1_000);
    let epoch = gateway.record("a").unwrap().epoch;
    let ask = |gateway: &mut Gateway, client_id: &str, epoch, task| {
        let (report, reports) = channel();
        let errand = Box::new(NearErrand { epoch, task, report });
        gateway.mail(Mail::Presence(PresenceMail::RunNear(client(client_id), errand)));
        assert!(!gateway.commit(), "nothing is written");
        reports
    };
    let x = ask(&mut gateway, "a", epoch, message("x", Q1));
    let y = ask(&mut gateway, "a", epoch, message("y", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd x q1 #1"]);
    assert!(x.try_recv().is_err() && y.try_recv().is_err());
    gateway.tell(a, &ack(AckKind::PubAck, 1));
    assert_eq!(x.try_recv(), Ok(Some(Report::Done)));
    for (name, epoch) in [("a", SessionEpoch(epoch.0 - 1)), ("b", epoch)] {
        let elsewhere = ask(&mut gateway, name, epoch, message("z", Q1));
        assert_eq!(elsewhere.try_recv(), Ok(None));
    }
    let z = ask(&mut gateway, "a", epoch, message("z", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd y q1 #2"]);
    // Gone before it acknowledged either.
    gateway.lose(a);
    let ended = Err(TryRecvError::Disconnected);
    assert_eq!((y.try_recv(), z.try_recv()), (ended.clone(), ended));
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
fn what_a_client_does_not_take_yet_waits_and_what_it_never_takes_is_told() {
    let (mut gateway, a) = narrow(1, 30);
    for (no, payload) in (1..).zip(["x", "y", "z"]) {
        run(&mut gateway, "a", no, message(payload, Q1));
    }
    assert_eq!(gateway.hear(a), ["PUBLISH cmd x q1 #1"]);
    assert_eq!((report(&mut gateway, "a", 1), report(&mut gateway, "a", 2)), (None, None));
    gateway.tell(a, &ack(AckKind::PubAck, 1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd y q1 #2"], "in their order");
    assert_eq!(report(&mut gateway, "a", 1), Some(Report::Done));
    gateway.tell(a, &ack(AckKind::PubAck, 2));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd z q1 #3"]);
    run(&mut gateway, "a", 4, message(&"w".repeat(100), Q1));
    assert_eq!(report(&mut gateway, "a", 4), None, "it waits as well");
    gateway.tell(a, &ack(AckKind::PubAck, 3));
    assert_eq!(report(&mut gateway, "a", 4), Some(Report::TooLarge));
    assert!(gateway.hear(a).is_empty());
    assert_eq!(report(&mut gateway, "a", 3), Some(Report::Done));
}

#[test]
fn what_waited_for_too_long_is_not_sent_and_no_more_than_so_many_wait() {
    let (mut gateway, a) = narrow(1, 1_000);
    run(&mut gateway, "a", 0, message("x", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd x q1 #1"]);
    for no in 1..=64 {
        run(&mut gateway, "a", no, message_within("late", Q1, 1));
    }
    run(&mut gateway, "a", 65, message("one too many", Q1));
    assert_eq!(report(&mut gateway, "a", 65), Some(Report::Busy));
    gateway.pass(1_000);
    run(&mut gateway, "a", 66, message("y", Q1));
    gateway.tell(a, &ack(AckKind::PubAck, 1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd y q1 #2"]);
    assert_eq!((report(&mut gateway, "a", 1), report(&mut gateway, "a", 66)), (None, None));
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
    write_down(&mut gateway, "a", &errand, false);
    gateway.mail(Mail::Presence(PresenceMail::Run(client("a"), Box::new(errand))));
    assert!(gateway.hear(a).is_empty());
    gateway.settle();
    assert_eq!(gateway.hear(a), ["PUBLISH t x q1 #1 dup", "PUBLISH cmd cmd q1 #2"]);
    assert_eq!(report(&mut gateway, "a", 1), None);
    gateway.tell(a, &ack(AckKind::PubAck, 2));
    assert_eq!(report(&mut gateway, "a", 1), Some(Report::Done));
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
    assert!(gateway.hear(a).is_empty(), "it waits until it may be sent");
    gateway.tell(a, &ack(AckKind::PubAck, 1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd now q1 #3"]);
    gateway.tell(a, &ack(AckKind::PubAck, 3));
    assert_eq!(report(&mut gateway, "a", 1), Some(Report::Done));
    assert_eq!(gateway.hear(a), ["PUBLISH t three q1 #4"]);
    gateway.tell(a, &ack(AckKind::PubAck, 2));
    run(&mut gateway, "a", 2, message("now", Q1));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd now q1 #5"]);
    // Gone before it acknowledged: nobody is told, and it is not kept for later.
    gateway.lose(a);
    assert_eq!(report(&mut gateway, "a", 2), None);
    let a = gateway.connect(durable("a"));
    gateway.settle();
    assert_eq!(gateway.hear(a), ["CONNACK Success present", "PUBLISH t three q1 #4 dup"]);
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

/// What is given to one client while another's copies are made must not be taken for them.
#[test]
fn a_message_for_one_client_alone_stays_its_own() {
    let mut gateway = Gateway::with(|config| config.outbox_bytes = 20);
    let a = gateway.join(clean("a"));
    let b = gateway.join(clean("b"));
    gateway.subscribe(a, "t", Q1);
    gateway.subscribe(b, "t", Q0);
    // In the other form of packets, so that nobody has it as it came.
    let from = gateway.join(old("c"));
    gateway.publish(from, &publish("t", "more than its outbox takes", Q1, 1));
    gateway.sockets.forget_packets(b);
    let epoch = gateway.record("a").unwrap().epoch;
    let (report, _reports) = channel();
    let task = message("secret", Q0);
    let errand = Box::new(NearErrand { epoch, task, report });
    gateway.mail(Mail::Presence(PresenceMail::RunNear(client("a"), errand)));
    assert_eq!(gateway.hear(a).len(), 1, "there was no room for it");
    gateway.publish(from, &publish("t", "y", Q1, 2));
    assert_eq!(gateway.hear(a), ["PUBLISH cmd secret q0", "PUBLISH t y q1 #2"]);
    assert_eq!(gateway.hear(b), ["PUBLISH t y q0"]);
}
