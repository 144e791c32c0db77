//! B11: wills of many at once, and wills that call for wills.

use std::collections::BTreeMap;

use protocol::QoS;
use tests::harness::{Client, Dial, Fleet};

use super::pair::Pair;
use super::size::size;

#[test]
fn the_wills_of_all_who_go_at_once_come() {
    let count = size(1_000, 10_000);
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let mut watch = Dial::v5("watch").connect(fleet.mqtt(1));
    watch.subscribe("b11/#", QoS::AtLeastOnce);
    // A network that goes away takes all its clients with it.
    let mut many = Vec::new();
    for number in 0..count {
        let topic = format!("b11/{number}");
        many.push(Dial::v5(&topic).will(&topic, "gone").connect(fleet.mqtt(1)));
    }
    drop(many);
    let mut topics: Vec<_> = (0..count).map(|_| watch.receive().topic).collect();
    topics.sort_unstable();
    topics.dedup();
    assert_eq!(topics.len(), count);
    assert_eq!(fleet.metric(1, "tidegate_wills_published_total"), count as u64);
    pair.assert_undisturbed();
}

#[test]
fn a_will_calls_for_another_only_as_often_as_a_client_lets_it() {
    const RING: usize = 20;
    let deaths = size(200, 5_000);
    let fleet = Fleet::start(2);
    let pair = Pair::start(fleet.mqtt(1));
    // Each hears of the death of the one before it, on the other gateway, and dies of it.
    let next = |number: usize| -> (usize, Client) {
        let at = number % RING;
        let will = format!("b11/ring/{at}");
        let dial = Dial::v5(&format!("ring {at}")).will(&will, "gone");
        let mut client = dial.connect(fleet.mqtt(1 + at % 2));
        client.subscribe(&format!("b11/ring/{}", (at + RING - 1) % RING), QoS::AtLeastOnce);
        (at, client)
    };
    let mut ring: BTreeMap<usize, Client> = (0..RING).map(next).collect();
    ring.remove(&0);
    for death in 1..=deaths {
        let at = death % RING;
        let mut client = ring.remove(&at).expect("one that lives");
        assert_eq!(client.receive().topic, format!("b11/ring/{}", (at + RING - 1) % RING));
        // The one that died before is back in time to hear of the next round.
        ring.extend([next(death + RING - 1)]);
        drop(client);
    }
    // Who says goodbye has no will: the ring ends where a client ends it, and nothing goes on by itself.
    let last = deaths % RING;
    let mut after = ring.remove(&((last + 1) % RING)).expect("one that lives");
    assert_eq!(after.receive().topic, format!("b11/ring/{last}"));
    after.disconnect();
    for client in ring.values_mut() {
        client.ping();
    }
    let published = || {
        let of = |number| fleet.metric(number, "tidegate_wills_published_total");
        of(1) + of(2)
    };
    assert_eq!(published(), deaths as u64 + 1);
    pair.assert_undisturbed();
}
