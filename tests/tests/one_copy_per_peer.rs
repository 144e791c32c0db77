//! M5: a publication crosses to a peer gateway once, however many subscribers it has there, and not at all if it has none.

use protocol::QoS;
use tests::harness::{Client, Dial, Fleet, eventually};

const SENT: &str = "tidegate_forwards_sent_total";
const RECEIVED: &str = "tidegate_forwards_received_total";

#[test]
fn twenty_subscribers_at_a_peer_cost_one_copy() {
    let fleet = Fleet::start(3);
    let mut readers: Vec<_> = (0..20).map(|n| subscriber(&fleet, 2, n, "some/+")).collect();
    let mut here: Vec<_> = (20..25).map(|n| subscriber(&fleet, 1, n, "some/thing")).collect();
    let before: Vec<_> =
        (1..=3).map(|n| (fleet.metric(n, SENT), fleet.metric(n, RECEIVED))).collect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for number in 0..100 {
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][number % 3];
        writer.publish("some/thing", &number.to_string(), qos);
        writer.publish("nobody/wants/this", "-", qos);
    }
    for reader in readers.iter_mut().chain(&mut here) {
        (0..100).for_each(|_| drop(reader.receive()));
    }
    // Everything has arrived, so it has been counted where it arrived.
    assert_eq!(fleet.metric(2, RECEIVED) - before[1].1, 100);
    // Nobody at the third gateway wants it, so it never hears of it.
    assert_eq!(fleet.metric(3, RECEIVED) - before[2].1, 0);
    eventually("the sender has counted", || {
        (fleet.metric(1, SENT) - before[0].0 >= 100).then_some(())
    });
    assert_eq!(fleet.metric(1, SENT) - before[0].0, 100);
    // What came from a peer goes no further.
    assert_eq!((fleet.metric(2, SENT), fleet.metric(3, SENT)), (before[1].0, before[2].0));
}

#[test]
fn copies_end_with_the_last_subscriber_and_begin_with_the_next() {
    let fleet = Fleet::start(2);
    let mut first = subscriber(&fleet, 2, 1, "t");
    let mut second = subscriber(&fleet, 2, 2, "t");
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let start = fleet.metric(2, RECEIVED);
    writer.publish("t", "both", QoS::AtLeastOnce);
    assert_eq!([first.receive().text, second.receive().text], ["both", "both"]);
    first.unsubscribe("t");
    writer.publish("t", "one", QoS::AtLeastOnce);
    assert_eq!(second.receive().text, "one");
    assert_eq!(fleet.metric(2, RECEIVED) - start, 2);
    second.disconnect();
    // The interest is taken back a moment later; then nothing crosses.
    eventually("nothing crosses", || {
        let before = fleet.metric(1, SENT);
        writer.publish("t", "nobody", QoS::AtLeastOnce);
        let mut control = subscriber(&fleet, 2, 3, "control");
        writer.publish("control", "x", QoS::AtLeastOnce);
        control.receive();
        control.disconnect();
        eventually("the control is counted", || (fleet.metric(1, SENT) > before).then_some(()));
        (fleet.metric(1, SENT) - before == 1).then_some(())
    });
    let mut third = subscriber(&fleet, 2, 4, "t");
    writer.publish("t", "again", QoS::AtLeastOnce);
    assert_eq!(third.receive().text, "again");
}

#[test]
fn a_message_that_a_peer_has_only_offline_readers_for_does_not_cross() {
    let fleet = Fleet::start(2);
    let mut away = Dial::v5("away").persistent().connect(fleet.mqtt(2));
    away.subscribe("t", QoS::AtLeastOnce);
    away.disconnect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let before = fleet.metric(2, RECEIVED);
    (0..10).for_each(|n| writer.publish("t", &n.to_string(), QoS::AtLeastOnce));
    let mut back = Dial::v5("away").persistent().connect(fleet.mqtt(2));
    (0..10).for_each(|n| assert_eq!(back.receive().text, n.to_string()));
    assert_eq!(fleet.metric(2, RECEIVED), before);
}

fn subscriber(fleet: &Fleet, gateway: usize, number: usize, filter: &str) -> Client {
    let mut reader = Dial::v5(&format!("reader-{number}")).connect(fleet.mqtt(gateway));
    reader.subscribe(filter, QoS::ExactlyOnce);
    reader
}
