//! S4: filters that make one topic match very many wildcards.

use std::time::Duration;

use protocol::QoS;
use protocol::mqtt::{Filter, RetainHandling, SubscribeOptions};
use tests::harness::{Client, Dial, Fleet};

use super::pair::Pair;
use super::size::size;

/// Filters of one client: as many as a session may have.
const EACH: usize = 1_000;
/// Filters in one SUBSCRIBE.
const AT_ONCE: usize = 250;
/// Processor time that one filter may cost one publication, in a gateway without optimisation on a slow machine. Were the
/// work to grow faster than the filters, it would be a hundred times as much.
const PER_FILTER: Duration = Duration::from_micros(200);

#[test]
fn a_topic_that_matches_very_many_filters_costs_so_much_for_each() {
    let clients = size(8, 100);
    let fleet = Fleet::start(1);
    let pair = Pair::start(fleet.mqtt(1));
    let process = fleet.process(1);
    let before = process.resident_bytes();
    // Every mix of a name and a wildcard over so many levels that all of these filters differ; each matches `a/a/.../x`.
    let levels = (clients * EACH).ilog2() + 1;
    let mix = |number: usize| {
        let level = |bit: u32| if number >> bit & 1 == 1 { "+" } else { "a" };
        (0..levels).map(level).collect::<Vec<_>>().join("/") + "/+"
    };
    let mut many: Vec<Client> = Vec::new();
    for client in 0..clients {
        let mut one = Dial::v5(&format!("s4 {client}")).connect(fleet.mqtt(1));
        let filters: Vec<_> = (0..EACH).map(|number| mix(client * EACH + number)).collect();
        for part in filters.chunks(AT_ONCE) {
            let part: Vec<_> = part.iter().map(|text| Filter { text, options: OPTIONS }).collect();
            assert!(one.subscribe_with(&part, None).iter().all(|reason| !reason.is_error()));
        }
        many.push(one);
    }
    let grown = process.resident_bytes().saturating_sub(before);
    let filters = clients * EACH;
    println!("S4: {} bytes for each of {filters} filters", grown / filters as u64);
    // Each topic is new, so that no route is remembered.
    let topic = vec!["a"; levels as usize].join("/");
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let (mut number, began) = (0_u32, process.cpu_time());
    pair.unmoved_by("S4", || {
        number += 1;
        writer.publish(&format!("{topic}/{number}"), "x", QoS::AtLeastOnce);
    });
    let each = (process.cpu_time() - began) / number.max(1);
    println!("S4: {each:?} of processor time for a publication that matches {filters} filters");
    // What the pair costs is in it too, but is little.
    assert!(each < PER_FILTER * u32::try_from(filters).expect("some thousands"), "{each:?}");
    // Each client got each of them once.
    for client in &mut many {
        let topics: Vec<_> = (0..number).map(|_| client.receive().topic).collect();
        assert!(topics.iter().zip(1..).all(|(got, number)| *got == format!("{topic}/{number}")));
    }
    pair.assert_undisturbed();
}

const OPTIONS: SubscribeOptions = SubscribeOptions {
    qos: QoS::AtMostOnce,
    no_local: false,
    retain_as_published: false,
    retain_handling: RetainHandling::DoNotSend,
};
