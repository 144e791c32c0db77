//! A4: limits per client hold under flood; others keep their service.

use std::time::{Duration, Instant};

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use protocol::mqtt::codec::AckKind;
use tests::harness::{Answer, Dial, Ended, Fleet, Settings, eventually};

const CLASSES: &str = "
[[class]]
name = 'sensors'
client = ['sensor-*']
publish_per_s = 20
packets_per_s = 200
subscriptions_per_session = 2
filters_per_subscribe = 2

[[class]]
name = 'strict'
client = ['strict-*']
publish_per_s = 5
on_excess = 'refuse'
";

fn fleet() -> Fleet {
    Fleet::start_with(1, &Settings::default().everywhere(CLASSES))
}

fn limited(fleet: &Fleet, limit: &str) -> u64 {
    fleet.metric(1, &format!("tidegate_limited_total{{limit=\"{limit}\"}}"))
}

#[test]
fn a_flood_of_publications_is_slowed_down_and_others_do_not_notice() {
    let fleet = fleet();
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("flood/#", QoS::AtMostOnce);
    let mut pair = Dial::v5("pair").connect(fleet.mqtt(1));
    pair.subscribe("pair", QoS::AtLeastOnce);
    let mut flood = Dial::v5("sensor-1").connect(fleet.mqtt(1));
    let began = Instant::now();
    for number in 0..60 {
        flood.start_publish("flood/x", &number.to_string(), QoS::AtMostOnce);
    }
    for number in 0..100 {
        let text = number.to_string();
        pair.publish("pair", &text, QoS::AtLeastOnce);
        assert_eq!(pair.receive().text, text);
    }
    // Nothing is lost, and 60 at 20 per second, of which a second's worth comes at once, take two.
    for number in 0..60 {
        assert_eq!(reader.receive().text, number.to_string());
    }
    assert!(began.elapsed() > Duration::from_millis(1800), "{:?}", began.elapsed());
    assert!(limited(&fleet, "publish_per_s") > 0);
}

#[test]
fn a_client_that_closes_while_it_is_held_back_is_no_faster_and_what_it_sent_arrives() {
    let fleet = fleet();
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("flood/#", QoS::AtMostOnce);
    let mut flood = Dial::v5("sensor-1").will("flood/will", "gone").connect(fleet.mqtt(1));
    let began = Instant::now();
    for number in 0..60 {
        flood.start_publish("flood/x", &number.to_string(), QoS::AtMostOnce);
    }
    drop(flood);
    for number in 0..60 {
        assert_eq!(reader.receive().text, number.to_string());
    }
    assert!(began.elapsed() > Duration::from_millis(1800), "{:?}", began.elapsed());
    assert_eq!(reader.receive().text, "gone");
}

#[test]
fn a_flood_of_pings_is_slowed_down_and_others_do_not_notice() {
    let fleet = fleet();
    let mut flood = Dial::v5("sensor-1").connect(fleet.mqtt(1));
    // More than the gateway takes in hours; what it does not read stays with the client.
    let pings = [0xC0, 0].repeat(20_000);
    flood.send(&pings);
    eventually("the flood is noticed", || (limited(&fleet, "packets_per_s") > 0).then_some(()));
    let mut pair = Dial::v5("pair").connect(fleet.mqtt(1));
    pair.subscribe("pair", QoS::AtLeastOnce);
    for number in 0..100 {
        let text = number.to_string();
        pair.publish("pair", &text, QoS::AtLeastOnce);
        assert_eq!(pair.receive().text, text);
    }
    assert!(fleet.metric(1, "tidegate_packets_received_total") < 10_000);
}

#[test]
fn who_is_to_be_refused_is_told_and_then_disconnected() {
    let fleet = fleet();
    let mut strict = Dial::v5("strict-1").connect(fleet.mqtt(1));
    let ids: Vec<_> = (0..20)
        .map(|_| strict.start_publish("t", "x", QoS::AtLeastOnce).expect("a packet id"))
        .collect();
    let answers: Vec<_> = ids.into_iter().map(|id| strict.answer_to(AckKind::PubAck, id)).collect();
    let refused = answers.iter().filter(|reason| **reason == ReasonCode::QuotaExceeded).count();
    // A test that is held up for a second has more tokens.
    assert!((1..=15).contains(&refused), "{answers:?}");
    for _ in 0..20 {
        strict.try_start_publish("t", "x", QoS::AtMostOnce);
    }
    let reason = ReasonCode::MessageRateTooHigh;
    assert_eq!(strict.ended(), Ended::Told { reason, server_reference: None });
}

#[test]
fn who_comes_and_goes_all_the_time_is_held_off_and_nobody_else_is() {
    let settings = Settings::default().everywhere("[limits]\nflapping_connects = 3\n");
    let fleet = Fleet::start_with(1, &settings);
    for _ in 0..3 {
        Dial::v5("flapping").connect(fleet.mqtt(1)).ping();
    }
    for dial in [Dial::v5("flapping"), Dial::v311("flapping")] {
        let version = dial.clone();
        let Answer::Refused { reason, bytes, .. } = dial.try_connect(fleet.mqtt(1)) else {
            panic!("{version:?} was accepted")
        };
        // 3.1.1 has no word for it but "not authorized".
        assert!(reason == ReasonCode::Banned || bytes == [0x20, 2, 0, 5], "{reason:?}");
    }
    Dial::v5("other").connect(fleet.mqtt(1)).ping();
    assert_eq!(fleet.metric(1, "tidegate_connect_refused_total{reason=\"banned\"}"), 2);
}

#[test]
fn subscriptions_beyond_the_limit_are_refused_one_by_one() {
    let fleet = fleet();
    let mut sensor = Dial::v5("sensor-1").connect(fleet.mqtt(1));
    sensor.subscribe("a", QoS::AtMostOnce);
    sensor.subscribe("b", QoS::AtMostOnce);
    assert_eq!(sensor.try_subscribe("c", QoS::AtMostOnce), [ReasonCode::QuotaExceeded]);
    // One that is there already may be changed.
    sensor.subscribe("a", QoS::AtLeastOnce);
    assert_eq!(limited(&fleet, "subscriptions_per_session"), 1);
}
