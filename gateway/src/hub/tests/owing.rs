//! More retained messages than one turn takes.

use protocol::mqtt::Version;
use protocol::mqtt::codec::AckKind::{PubAck, PubComp, PubRec};
use protocol::{Publication, QoS, Wall};
use store::{Fault, Unavailable};

use super::gateway::{Gateway, one_class};
use super::packets::*;
use crate::hub::{ConnId, ConnectRequest};
use crate::worker::Mail;

const MANY: usize = 1_000;

/// A gateway that knows of so many retained messages, and a client that has subscribed to all of them.
fn subscriber(request: ConnectRequest, qos: QoS) -> (Gateway, ConnId) {
    let mut gateway = Gateway::new();
    gateway.tables.change_retained(|retained| {
        for number in 0..MANY {
            let topic = topic(number);
            let message = Publication::new(&topic, &[], b"x", qos, true);
            retained.set(&topic, Some((message, Wall(0))));
        }
    });
    let b = gateway.join(ConnectRequest { receive_maximum: 20, ..request });
    gateway.tell(b, &subscribe(Version::V5, 1, &[filter("t/#", qos)]));
    (gateway, b)
}

fn topic(number: usize) -> String {
    format!("t/{number:04}")
}

/// What a client hears while it reads and acknowledges everything, until nothing more comes; `rounds` at most.
fn hear_all(gateway: &mut Gateway, conn: ConnId, rounds: usize) -> Vec<String> {
    let mut all = Vec::new();
    for _ in 0..rounds {
        let heard = gateway.hear(conn);
        let ids = heard.iter().filter_map(|packet| packet.split_once(" #")?.1.split(' ').next());
        let acks: Vec<_> = ids.filter_map(|id| Some(ack(PubAck, id.parse().ok()?))).collect();
        all.extend(heard.iter().filter(|packet| packet.starts_with("PUBLISH")).cloned());
        gateway.tell(conn, &acks.concat());
        gateway.worker.handle_writable(conn, gateway.now, &mut gateway.sockets);
        gateway.settle();
        if acks.is_empty() && gateway.sockets.packets(conn).is_empty() {
            break;
        }
    }
    all
}

fn topics(heard: &[String]) -> Vec<String> {
    heard.iter().filter_map(|packet| Some(packet.split(' ').nth(1)?.to_owned())).collect()
}

fn expected() -> Vec<String> {
    (0..MANY).map(topic).collect()
}

#[test]
fn a_turn_sends_a_slice_of_what_is_retained_and_the_client_gets_all_in_order() {
    for (request, qos) in
        [(clean("b"), Q0), (durable("b"), Q0), (clean("b"), Q1), (durable("b"), Q1)]
    {
        let (mut gateway, b) = subscriber(request, qos);
        let first = gateway.sockets.packets(b).len();
        assert!((2..MANY / 2).contains(&first), "{first} packets in a turn");
        let heard = hear_all(&mut gateway, b, MANY);
        assert!(heard.iter().all(|packet| packet.contains(" retain")), "{heard:?}");
        assert_eq!(topics(&heard), expected());
        let dropped = gateway.counters();
        assert_eq!(dropped.dropped_queue_count.get() + dropped.dropped_outbox_full.get(), 0);
        assert!(!gateway.worker.hub().waits_for_room(b));
    }
}

/// Flushes as the worker's driver does, until nothing has to be flushed: after a write whose outbox is empty, more is put into
/// it, and whose outbox was asked for is flushed again. Answers how often that was.
fn flush(gateway: &mut Gateway, conn: ConnId, heard: &mut Vec<String>) -> usize {
    let mut flushes = 0;
    while gateway.sockets.take_dirty(conn) && flushes < MANY {
        flushes += 1;
        heard.extend(gateway.hear(conn));
        gateway.worker.handle_writable(conn, gateway.now, &mut gateway.sockets);
        gateway.settle();
    }
    flushes
}

#[test]
fn a_full_window_leaves_the_worker_alone_until_it_is_acknowledged() {
    let of = |publish: &str| publish.split_once(" #").unwrap().1.split(' ').next().unwrap().parse();
    for (request, qos) in
        [(clean("b"), Q1), (durable("b"), Q1), (clean("b"), Q2), (durable("b"), Q2)]
    {
        let (mut gateway, b) = subscriber(request, qos);
        let mut heard = Vec::new();
        let flushes = flush(&mut gateway, b, &mut heard);
        assert!(flushes < 10, "{flushes} flushes to fill a window");
        heard.retain(|packet| packet.starts_with("PUBLISH"));
        assert_eq!(heard.len(), 20);
        // Nothing that comes to pass changes that, ticks included.
        for _ in 0..10 {
            gateway.pass(100);
            let flushes = flush(&mut gateway, b, &mut heard);
            assert!(flushes <= 1, "{flushes} flushes with a full window");
        }
        assert_eq!(heard.len(), 20);
        // One acknowledgement is room for one, and for no more work.
        let done = if qos == Q1 { PubAck } else { PubRec };
        gateway.tell(b, &ack(done, of(&heard[0]).unwrap()));
        if qos == Q2 {
            gateway.tell(b, &ack(PubComp, of(&heard[0]).unwrap()));
        }
        let flushes = flush(&mut gateway, b, &mut heard);
        assert!(flushes < 10, "{flushes} flushes for one acknowledgement");
        heard.retain(|packet| packet.starts_with("PUBLISH"));
        assert_eq!(heard.len(), 21);
    }
}

#[test]
fn who_goes_away_in_between_gets_the_rest_when_it_is_back() {
    let (mut gateway, b) = subscriber(durable("b"), Q1);
    let mut heard = hear_all(&mut gateway, b, 20);
    assert!((1..MANY / 2).contains(&heard.len()), "{}", heard.len());
    gateway.lose(b);
    let owed = gateway.record("b").unwrap().owed;
    assert_eq!(owed.len(), 1);
    let b = gateway.connect(ConnectRequest { receive_maximum: 20, ..durable("b") });
    gateway.settle();
    gateway.pass(100);
    heard.extend(hear_all(&mut gateway, b, MANY));
    let mut got = topics(&heard);
    // What was on its way when the client left comes again.
    got.sort();
    got.dedup();
    assert_eq!(got, expected());
    assert!(heard.len() <= MANY + 20, "{} for {MANY}", heard.len());
    assert!(gateway.record("b").unwrap().owed.is_empty());
}

#[test]
fn a_slice_that_is_not_stored_comes_with_a_tick() {
    let (mut gateway, b) = subscriber(durable("b"), Q1);
    let mut heard = hear_all(&mut gateway, b, 5);
    gateway.store.inject(Fault::FailCommits { count: 2, why: Unavailable::Full });
    heard.extend(hear_all(&mut gateway, b, 100));
    gateway.pass(100);
    gateway.pass(100);
    heard.extend(hear_all(&mut gateway, b, MANY));
    assert_eq!(topics(&heard), expected());
}

#[test]
fn an_unsubscription_ends_it_and_a_new_subscription_begins_anew() {
    for (request, qos) in [(clean("b"), Q0), (clean("b"), Q1), (durable("b"), Q1)] {
        let (mut gateway, b) = subscriber(request, qos);
        let before = hear_all(&mut gateway, b, 1).len();
        gateway.tell(b, &unsubscribe(2, &["t/#"]));
        let after = hear_all(&mut gateway, b, MANY).len();
        assert!(before + after < MANY, "{before} and {after}: some never came");
        // Asked twice in the middle of it, it comes once more and not twice.
        gateway.tell(b, &subscribe(Version::V5, 3, &[filter("t/#", qos)]));
        gateway.tell(b, &subscribe(Version::V5, 4, &[filter("t/#", qos)]));
        let heard = hear_all(&mut gateway, b, 3 * MANY);
        assert!((MANY..MANY + 600).contains(&heard.len()), "{}", heard.len());
        assert_eq!(topics(&heard[heard.len() - MANY..]), expected());
    }
}

#[test]
fn what_has_no_room_beside_what_waits_comes_when_there_is_some() {
    let mut gateway = Gateway::with(|config| {
        config.classes = one_class(|limits| limits.queue.messages = 20);
    });
    gateway.tables.change_retained(|retained| {
        for topic in (0..10).map(|number| format!("kept/{number}")) {
            let message = Publication::new(&topic, &[], b"x", Q1, true);
            retained.set(&topic, Some((message, Wall(0))));
        }
    });
    let narrow = ConnectRequest { receive_maximum: 10, ..clean("b") };
    let (a, b) = (gateway.join(clean("a")), gateway.subscriber(narrow, "live", Q1));
    // A full window, and more than half of a queue behind it.
    for number in 1..=25 {
        gateway.publish(a, &publish("live", "x", Q1, number));
    }
    gateway.tell(b, &subscribe(Version::V5, 2, &[filter("kept/#", Q1)]));
    for number in 26..=30 {
        gateway.publish(a, &publish("live", "x", Q1, number));
    }
    let heard = hear_all(&mut gateway, b, 100);
    let (live, kept): (Vec<_>, Vec<_>) =
        topics(&heard).into_iter().partition(|topic| topic == "live");
    assert_eq!((live.len(), kept.len()), (30, 10), "neither takes the other's room");
}

#[test]
fn a_turn_looks_at_those_for_whom_it_has_time() {
    let (mut gateway, first) = subscriber(clean("first"), Q0);
    let mut all = vec![first];
    all.extend((0..50).map(|number| gateway.join(clean(&format!("b{number}")))));
    hear_all(&mut gateway, first, MANY);
    for conn in &all {
        gateway.send(*conn, &subscribe(Version::V5, 2, &[filter("t/#", Q0)]));
    }
    let progress = gateway.progress.unwrap();
    for _ in 0..3 {
        while gateway.answer_asks() | gateway.commit() | gateway.follow() {}
        gateway.mail(Mail::Progress(progress));
    }
    assert!(gateway.hear(all[1]).iter().any(|packet| packet.starts_with("SUBACK")));
    all.iter().for_each(|conn| {
        gateway.sockets.take_dirty(*conn);
    });
    let mut turns = 0;
    while gateway.worker.hub().has_rest() {
        gateway.worker.handle_more(gateway.now, &mut gateway.sockets);
        let served = all.iter().filter(|conn| gateway.sockets.take_dirty(**conn)).count();
        assert!(served <= 2, "{served} in one turn");
        for conn in &all {
            gateway.worker.handle_writable(*conn, gateway.now, &mut gateway.sockets);
        }
        turns += 1;
    }
    assert!(turns > 50, "{turns} turns");
    for conn in all {
        assert_eq!(topics(&hear_all(&mut gateway, conn, MANY)), expected());
    }
}
