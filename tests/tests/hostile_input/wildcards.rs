//! S4: filters that would make one topic match very many wildcards.

use protocol::QoS;
use protocol::mqtt::{Filter, ReasonCode, RetainHandling, SubscribeOptions};
use tests::harness::{Client, Dial, Fleet, Settings, eventually};

use super::bytes::packet;
use super::pair::Pair;
use super::size::{is_full, size};

/// Filters that each client asks for: as many as a session may have.
const EACH: usize = 1_000;
/// Filters in one SUBSCRIBE.
const AT_ONCE: usize = 250;

#[test]
fn filters_that_would_make_a_topic_very_much_work_are_refused() {
    let clients = size(8, 100);
    // In every run so few that eight clients want more; at full size what is so by default.
    let few = "[limits]\nmatch_steps = 2048\nmatch_steps_per_session = 512\n";
    let settings = Settings::default().everywhere(if is_full() { "" } else { few });
    let (steps, of_session) = (size(2_048, 4_096), size(512, 2_048));
    let fleet = Fleet::start_with(1, &settings);
    let pair = Pair::start(fleet.mqtt(1));
    // Every mix of a name and a wildcard over so many levels that all of these filters differ; each matches `a/a/.../x`.
    let levels = (clients * EACH).ilog2() + 1;
    let mix = |number: usize| {
        let level = |bit: u32| if number >> bit & 1 == 1 { "+" } else { "a" };
        (0..levels).map(level).collect::<Vec<_>>().join("/") + "/+"
    };
    let mut many: Vec<Client> = Vec::new();
    let mut all = 0;
    for client in 0..clients {
        let mut one = Dial::v5(&format!("s4 {client}")).connect(fleet.mqtt(1));
        let filters: Vec<_> = (0..EACH).map(|number| mix(client * EACH + number)).collect();
        let granted = subscribe(&mut one, &filters);
        // Each has an end of its own, which is a step.
        assert!(granted < of_session.min(EACH), "{granted} of client {client}");
        all += granted;
        many.extend((granted > 0).then_some(one));
    }
    assert!(all < steps, "{all} filters that match the same topics");
    let refused = (clients * EACH - all) as u64;
    assert_eq!(fleet.metric(1, "tidegate_limited_total{limit=\"match_steps\"}"), refused);
    let shown = eventually("the steps are shown", || {
        Some(fleet.metric(1, "tidegate_match_steps")).filter(|shown| *shown > 0)
    });
    assert!(shown <= steps as u64, "{shown} steps");
    // Whoever wants what others have, or nothing with a wildcard, gets it.
    let mut late = Dial::v5("late").connect(fleet.mqtt(1));
    let usual = [mix(0).replace('a', "b"), "b/b".to_owned()];
    assert_eq!(subscribe(&mut late, &usual), 2);
    // 3.1.1 has one word for all of it.
    let mut old = Dial::v311("old").connect(fleet.mqtt(1));
    let deep = ["+"; 60].join("/");
    old.send(&packet(0x82, &[&[0, 1, 0, 119], deep.as_bytes(), &[0]].concat()));
    assert_eq!(old.next_frame().bytes(), [0x90, 3, 0, 1, 0x80]);
    // Each topic is new, so that no route is remembered.
    let topic = vec!["a"; levels as usize].join("/");
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let process = fleet.process(1);
    let (mut number, began) = (0_u32, process.cpu_time());
    pair.unmoved_by_weight_of("S4", || {
        number += 1;
        writer.publish(&format!("{topic}/{number}"), "x", QoS::AtLeastOnce);
    });
    let took = (process.cpu_time() - began) / number.max(1);
    println!("S4: {took:?} of processor time, the pair's too, for one that matches {all} filters");
    // Each client got each of them once.
    for client in &mut many {
        let topics: Vec<_> = (0..number).map(|_| client.receive().topic).collect();
        assert!(topics.iter().zip(1..).all(|(got, number)| *got == format!("{topic}/{number}")));
    }
    pair.assert_undisturbed();
}

/// Subscribes to all of them; answers how many were granted. The others were refused for their work.
fn subscribe(client: &mut Client, filters: &[String]) -> usize {
    let mut granted = 0;
    for part in filters.chunks(AT_ONCE) {
        let part: Vec<_> = part.iter().map(|text| Filter { text, options: OPTIONS }).collect();
        for reason in client.subscribe_with(&part, None) {
            assert!(!reason.is_error() || reason == ReasonCode::QuotaExceeded, "{reason:?}");
            granted += usize::from(!reason.is_error());
        }
    }
    granted
}

const OPTIONS: SubscribeOptions = SubscribeOptions {
    qos: QoS::AtMostOnce,
    no_local: false,
    retain_as_published: false,
    retain_handling: RetainHandling::DoNotSend,
};
