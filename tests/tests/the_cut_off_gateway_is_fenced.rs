//! S4: a gateway that was only frozen or cut off cannot deliver or acknowledge for a session it lost, and nobody else is
//! held up by it for longer than the lease.

use protocol::QoS;
use protocol::mqtt::codec::{self, AckKind};
use protocol::mqtt::{
    Filter, Packet, ReasonCode, RetainHandling, Subscribe, SubscribeOptions, Version,
};
use tests::harness::{Client, Dial, Fleet, Settings, Way, eventually};

/// Gateway 1 stands still until the others take it for dead.
fn frozen_out(fleet: &Fleet) {
    fleet.freeze(1);
    eventually("gateway 1 is taken for dead", || {
        (!fleet.serving(2).contains(&"gw-1".to_owned())).then_some(())
    });
}

fn has_lost(fleet: &Fleet, sessions: u64) {
    eventually("gateway 1 says that it lost the session", || {
        (fleet.metric(1, "tidegate_sessions_lost_total") == sessions).then_some(())
    });
}

/// What a connection still gets before it ends: never a publication or an acknowledgement.
fn hears_only_the_end(client: &mut Client) {
    while let Some(frame) = client.next_or_end() {
        let packet = frame.packet();
        if let Packet::Disconnect(told) = &packet {
            assert_eq!(told.reason, ReasonCode::SessionTakenOver);
        }
        let acts = matches!(packet, Packet::Publish(_) | Packet::PubRec(_) | Packet::PubComp(_));
        assert!(!acts, "{packet:?}");
    }
}

#[test]
fn a_frozen_gateway_that_wakes_delivers_nothing_of_a_session_it_lost() {
    let fleet = Fleet::start_with(2, &Settings::mortal());
    let mut old = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    old.subscribe("t", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    frozen_out(&fleet);
    let mut new = Dial::v5("device").persistent().connect(fleet.mqtt(2));
    assert!(new.session_present);
    writer.publish("t", "for the new", QoS::AtLeastOnce);
    assert_eq!(new.receive().text, "for the new");
    fleet.thaw(1);
    hears_only_the_end(&mut old);
    has_lost(&fleet, 1);
    writer.publish("t", "afterwards", QoS::AtLeastOnce);
    assert_eq!(new.receive_only().text, "afterwards");
}

#[test]
fn what_a_client_sent_to_a_frozen_gateway_is_not_acknowledged_for_a_session_it_lost() {
    let fleet = Fleet::start_with(2, &Settings::mortal());
    let mut old = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    frozen_out(&fleet);
    let mut new = Dial::v5("device").persistent().connect(fleet.mqtt(2));
    assert!(new.session_present);
    let id = old.start_publish("t", "once", QoS::ExactlyOnce).expect("a packet id");
    fleet.thaw(1);
    hears_only_the_end(&mut old);
    has_lost(&fleet, 1);
    // The session goes on where it is: the same packet id is a new exchange there, and is carried through.
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
    reader.subscribe("t", QoS::ExactlyOnce);
    new.repeat_publish("t", "once", QoS::ExactlyOnce, id);
    new.acknowledged(AckKind::PubRec, id);
    new.acknowledge(AckKind::PubRel, id);
    new.acknowledged(AckKind::PubComp, id);
    assert_eq!(reader.receive().text, "once");
}

#[test]
fn a_frozen_gateway_comes_back_and_serves() {
    let fleet = Fleet::start_with(2, &Settings::mortal());
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    frozen_out(&fleet);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.publish("t", "meanwhile", QoS::AtLeastOnce);
    fleet.thaw(1);
    fleet.wait_linked();
    // It woke before or after the others took the session off it; if after, the client comes again.
    let text = loop {
        match device.next_or_end() {
            Some(frame) => {
                if let Packet::Publish(publish) = frame.packet() {
                    break String::from_utf8_lossy(publish.payload).into_owned();
                }
            }
            None => {
                device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
                assert!(device.session_present);
            }
        }
    };
    assert_eq!(text, "meanwhile");
}

#[test]
fn with_the_cable_cut_a_session_moves_and_the_old_owner_hears_of_it_from_the_store() {
    let fleet = Fleet::start_with(2, &Settings::mortal().with_cables());
    let mut old = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    old.subscribe("t", QoS::AtLeastOnce);
    (1..=2).for_each(|number| fleet.cable(number).cut());
    let mut new = Dial::v5("device").persistent().connect(fleet.mqtt(2));
    assert!(new.session_present);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.publish("t", "for the new", QoS::AtLeastOnce);
    assert_eq!(new.receive().text, "for the new");
    hears_only_the_end(&mut old);
    has_lost(&fleet, 1);
    // And what gateway 1 accepts reaches it without the cable.
    Dial::v5("other").connect(fleet.mqtt(1)).publish("t", "from there", QoS::AtLeastOnce);
    assert_eq!(new.receive_only().text, "from there");
}

#[test]
fn a_cable_that_is_silent_one_way_loses_nothing_and_repeats_nothing() {
    for way in [Way::In, Way::Out] {
        let fleet = Fleet::start_with(2, &Settings::mortal().with_cables());
        let mut stored = Dial::v5("stored").persistent().connect(fleet.mqtt(2));
        stored.subscribe("t", QoS::AtLeastOnce);
        let mut plain = Dial::v5("plain").connect(fleet.mqtt(2));
        plain.subscribe("t", QoS::AtLeastOnce);
        let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
        writer.publish("t", "before", QoS::AtLeastOnce);
        assert_eq!(plain.receive().text, "before");
        assert_eq!(stored.receive().text, "before");
        fleet.cable(2).silence(way);
        (0..20).for_each(|n| writer.publish("t", &n.to_string(), QoS::AtLeastOnce));
        // What is stored needs no cable.
        (0..20).for_each(|n| assert_eq!(stored.receive().text, n.to_string(), "{way:?}"));
        fleet.cable(2).mend();
        (0..20).for_each(|n| assert_eq!(plain.receive().text, n.to_string(), "{way:?}"));
        writer.publish("t", "after", QoS::AtLeastOnce);
        assert_eq!(plain.receive_only().text, "after");
        assert_eq!(stored.receive_only().text, "after");
    }
}

#[test]
fn a_subscription_made_while_the_cable_is_cut_holds_when_it_is_acknowledged() {
    let fleet = Fleet::start_with(2, &Settings::mortal().with_cables());
    (1..=2).for_each(|number| fleet.cable(number).cut());
    let mut device = Dial::v5("device").connect(fleet.mqtt(1));
    let packet_id = device.next_id();
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        retain_handling: RetainHandling::Send,
    };
    let filters = vec![Filter { text: "t", options }];
    let mut bytes = Vec::new();
    codec::subscribe(
        &mut bytes,
        Version::V5,
        &Subscribe { packet_id, subscription_id: None, filters },
    );
    device.send(&bytes);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    (1..=2).for_each(|number| fleet.cable(number).mend());
    device.wait_for("SUBACK", |packet| matches!(packet, Packet::SubAck(_)).then_some(()));
    writer.publish("t", "hello", QoS::AtLeastOnce);
    assert_eq!(device.receive_only().text, "hello");
}
