//! S3: gateway killed: its clients are served elsewhere, its offline sessions keep queueing, and it may come back.

use protocol::QoS;
use tests::harness::{Dial, Fleet, Settings, eventually};

#[test]
fn its_clients_are_served_elsewhere_at_once() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut devices: Vec<_> = (0..10)
        .map(|n| {
            let mut device = Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(1));
            device.subscribe("all", QoS::AtLeastOnce);
            device
        })
        .collect();
    fleet.kill(1);
    for device in &mut devices {
        assert_eq!(device.end_reason(), None);
    }
    // Nobody waits for the lease: the client itself shows that its gateway is gone.
    let mut devices: Vec<_> = (0..10)
        .map(|n| Dial::v5(&format!("device-{n}")).persistent().connect(fleet.mqtt(2)))
        .collect();
    Dial::v311("writer").connect(fleet.mqtt(2)).publish("all", "hello", QoS::AtLeastOnce);
    for device in &mut devices {
        assert!(device.session_present, "{}", device.id());
        assert_eq!(device.receive().text, "hello", "{}", device.id());
    }
}

#[test]
fn its_offline_sessions_keep_queueing() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut device = Dial::v311("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    device.disconnect();
    fleet.kill(1);
    let mut writer = Dial::v311("writer").connect(fleet.mqtt(2));
    (0..50).for_each(|number| writer.publish("t", &number.to_string(), QoS::AtLeastOnce));
    fleet.restart(1);
    let mut device = Dial::v311("device").persistent().connect(fleet.mqtt(1));
    assert!(device.session_present);
    (0..50).for_each(|number| assert_eq!(device.receive().text, number.to_string()));
}

#[test]
fn the_others_notice_and_take_it_back_when_it_returns() {
    let mut fleet = Fleet::start_with(3, &Settings::mortal());
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
    reader.subscribe("t", QoS::AtMostOnce);
    fleet.kill(3);
    eventually("the dead gateway is not listed", || {
        (!fleet.serving(1).contains(&"gw-3".to_owned())).then_some(())
    });
    eventually("its link is gone", || (fleet.metric(1, "tidegate_peers_up") == 1).then_some(()));
    Dial::v5("writer").connect(fleet.mqtt(1)).publish("t", "without", QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, "without");
    fleet.restart(3);
    Dial::v5("writer").connect(fleet.mqtt(3)).publish("t", "again", QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, "again");
    assert!(fleet.serving(1).contains(&"gw-3".to_owned()));
}

#[test]
fn the_will_of_a_client_that_died_with_its_gateway_is_published_by_another() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(2));
    watcher.subscribe("gone/+", QoS::AtLeastOnce);
    let _device = Dial::v5("device").will("gone/device", "bye").connect(fleet.mqtt(1));
    fleet.kill(1);
    assert_eq!(watcher.receive().text, "bye");
}

#[test]
fn a_gateway_that_is_told_to_stop_says_goodbye_and_loses_nothing() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut device = Dial::v5("device").persistent().will("gone", "bye").connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.publish("t", "before", QoS::AtLeastOnce);
    fleet.stop(1);
    assert!(device.end_reason().is_some(), "a client of 5.0 is told");
    writer.publish("t", "meanwhile", QoS::AtLeastOnce);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(2));
    assert!(device.session_present);
    assert_eq!(device.receive().text, "before");
    assert_eq!(device.receive().text, "meanwhile");
}
