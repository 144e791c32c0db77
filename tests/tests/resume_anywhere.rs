//! S2: a persistent session resumes at any gateway with subscriptions, queue, in-flight state and `QoS` 2 ids; Session
//! Present is right.

use protocol::QoS;
use protocol::mqtt::Version;
use protocol::mqtt::codec::AckKind;
use tests::harness::{Client, Dial, Fleet, Settings};

const VERSIONS: [Version; 2] = [Version::V311, Version::V5];

/// How a session loses its gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// It says goodbye.
    Goodbye,
    /// Its network connection breaks.
    Cut,
    /// It turns up elsewhere while its old connection stands.
    TakenOver,
    /// Its gateway is killed.
    Killed,
}

const LOSSES: [Loss; 4] = [Loss::Goodbye, Loss::Cut, Loss::TakenOver, Loss::Killed];

#[test]
fn subscriptions_and_queue_are_there_at_the_other_gateway() {
    for loss in LOSSES {
        for version in VERSIONS {
            let mut fleet = Fleet::start(2);
            let mut device = dial(version).connect(fleet.mqtt(1));
            assert!(!device.session_present);
            device.subscribe("a/#", QoS::ExactlyOnce);
            device.subscribe("b/+", QoS::AtLeastOnce);
            let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
            let old = lose(&mut fleet, device, loss);
            for number in 0..20 {
                let topic = if number % 2 == 0 { "a/x/y" } else { "b/x" };
                writer.publish(topic, &number.to_string(), QoS::AtLeastOnce);
            }
            let mut device = dial(version).connect(fleet.mqtt(2));
            assert!(device.session_present, "{loss:?} {version:?}");
            let got: Vec<_> = (0..20).map(|_| device.receive().text).collect();
            let expected: Vec<_> = (0..20).map(|number| number.to_string()).collect();
            assert_eq!(got, expected, "{loss:?} {version:?}");
            // Nothing of it waits any more, and the subscriptions go on.
            writer.publish("b/x", "live", QoS::AtLeastOnce);
            assert_eq!(device.receive().text, "live", "{loss:?} {version:?}");
            drop(old);
        }
    }
}

#[test]
fn what_was_in_flight_comes_again_under_the_same_ids_with_dup() {
    for loss in LOSSES {
        let mut fleet = Fleet::start(2);
        let mut device = dial(Version::V5).connect(fleet.mqtt(1));
        device.subscribe("t/#", QoS::ExactlyOnce);
        let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
        let levels = [QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        for (number, qos) in levels.into_iter().enumerate() {
            writer.publish(&format!("t/{number}"), &number.to_string(), qos);
        }
        let mut open: Vec<_> = levels.iter().map(|_| device.receive_only()).collect();
        open.sort_by(|a, b| a.text.cmp(&b.text));
        // The last exchange is half done: PUBREC is sent and PUBREL has come.
        let half_done = open.pop().and_then(|message| message.packet_id).expect("an id");
        device.acknowledge(AckKind::PubRec, half_done);
        device.acknowledged(AckKind::PubRel, half_done);
        let old = lose(&mut fleet, device, loss);
        let mut device = dial(Version::V5).connect(fleet.mqtt(2));
        assert!(device.session_present, "{loss:?}");
        device.acknowledged(AckKind::PubRel, half_done);
        device.acknowledge(AckKind::PubComp, half_done);
        let mut again: Vec<_> = open.iter().map(|_| device.receive()).collect();
        again.sort_by(|a, b| a.text.cmp(&b.text));
        for (before, again) in open.iter().zip(&again) {
            let expected = (&before.text, before.packet_id, before.qos, true);
            assert_eq!((&again.text, again.packet_id, again.qos, again.dup), expected, "{loss:?}");
        }
        writer.publish("t/9", "fresh", QoS::ExactlyOnce);
        let fresh = device.receive();
        assert_eq!((fresh.text.as_str(), fresh.dup), ("fresh", false), "{loss:?}");
        drop(old);
    }
}

#[test]
fn a_publisher_s_qos_2_ids_are_known_at_the_other_gateway() {
    for loss in LOSSES {
        let mut fleet = Fleet::start(2);
        let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
        reader.subscribe("t", QoS::ExactlyOnce);
        let mut device = dial(Version::V311).connect(fleet.mqtt(1));
        let ids: Vec<_> = (0..3)
            .map(|number| {
                let id = device.start_publish("t", &number.to_string(), QoS::ExactlyOnce);
                let id = id.expect("an id");
                device.acknowledged(AckKind::PubRec, id);
                id
            })
            .collect();
        let old = lose(&mut fleet, device, loss);
        let mut device = dial(Version::V311).connect(fleet.mqtt(2));
        assert!(device.session_present, "{loss:?}");
        for (number, id) in ids.into_iter().enumerate() {
            device.repeat_publish("t", &number.to_string(), QoS::ExactlyOnce, id);
            device.acknowledged(AckKind::PubRec, id);
            device.acknowledge(AckKind::PubRel, id);
            device.acknowledged(AckKind::PubComp, id);
        }
        device.publish("t", "last", QoS::ExactlyOnce);
        let mut got = reader.receive_until("last");
        got.pop();
        // Each of them once, however often it was repeated. A copy for a clean session dies with its gateway.
        let all = ["0", "1", "2"];
        assert_eq!(got, all.get(..got.len()).expect("no more than were sent"), "{loss:?}");
        assert!(got.len() == all.len() || loss == Loss::Killed, "{loss:?}: {got:?}");
        drop(old);
    }
}

#[test]
fn session_present_is_told_only_of_sessions_that_are() {
    let fleet = Fleet::start(2);
    let to = |dial: Dial, gateway: usize| dial.connect(fleet.mqtt(gateway));
    let device = || Dial::v5("device");
    // A clean session leaves nothing.
    to(device().clean_start(), 1).disconnect();
    assert!(!to(device().persistent(), 2).session_present);
    // It stands there, with or without goodbye.
    let here = to(device().persistent(), 1);
    assert!(here.session_present);
    here.disconnect();
    let there = to(device().persistent(), 2);
    assert!(there.session_present);
    there.disconnect();
    // Clean start ends it, for good.
    assert!(!to(device().persistent().clean_start(), 1).session_present);
    assert!(to(device().persistent(), 2).session_present);
    to(device().clean_start(), 2).disconnect();
    assert!(!to(device().persistent(), 1).session_present);
    // An expiry of 0 at the goodbye ends it too [MQTT5-3.14.2-2].
    let last = to(device().persistent().expiry_s(0), 2);
    assert!(last.session_present);
    last.disconnect();
    assert!(!to(device().persistent(), 1).session_present);
}

#[test]
fn subscriptions_that_were_given_up_stay_given_up() {
    let fleet = Fleet::start(2);
    let mut device = dial(Version::V5).connect(fleet.mqtt(1));
    device.subscribe("keep", QoS::AtLeastOnce);
    device.subscribe("drop", QoS::AtLeastOnce);
    device.unsubscribe("drop");
    device.disconnect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.publish("drop", "no", QoS::AtLeastOnce);
    writer.publish("keep", "yes", QoS::AtLeastOnce);
    let mut device = dial(Version::V5).connect(fleet.mqtt(2));
    assert_eq!(device.receive().text, "yes");
}

#[test]
fn a_whole_fleet_may_be_killed_and_sessions_resume() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut device = dial(Version::V5).connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.publish("t", "before", QoS::AtLeastOnce);
    fleet.kill(1);
    fleet.kill(2);
    fleet.restart(1);
    fleet.restart(2);
    let mut device = dial(Version::V5).connect(fleet.mqtt(2));
    assert!(device.session_present);
    assert_eq!(device.receive().text, "before");
    Dial::v5("writer").connect(fleet.mqtt(1)).publish("t", "after", QoS::AtLeastOnce);
    assert_eq!(device.receive().text, "after");
}

fn dial(version: Version) -> Dial {
    Dial::new(version, "device").persistent()
}

/// Takes gateway 1 away from a session. A connection that is to be taken over stays open.
fn lose(fleet: &mut Fleet, device: Client, loss: Loss) -> Option<Client> {
    match loss {
        Loss::Goodbye => device.disconnect(),
        Loss::Cut => drop(device),
        Loss::TakenOver => return Some(device),
        Loss::Killed => fleet.kill(1),
    }
    None
}
