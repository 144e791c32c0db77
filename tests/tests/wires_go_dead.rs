//! M1, M3, S4 with gateways in network namespaces of their own: packets that vanish, one way and both, beside a gateway that
//! is killed or stands still. Only root may make namespaces; for anybody else there is nothing here.

use protocol::QoS;
use protocol::mqtt::Packet;
use protocol::mqtt::ReasonCode;
use tests::harness::{Client, Dial, Fleet, Settings, eventually, may_make_islands};

/// A fleet on islands, if this process may make them.
fn fleet(gateways: usize) -> Option<Fleet> {
    may_make_islands().then(|| Fleet::start_with(gateways, &Settings::mortal().on_islands()))
}

fn connect(fleet: &Fleet, number: usize, dial: Dial) -> Client {
    fleet.on(number, || dial.connect(fleet.mqtt(number)))
}

fn links(fleet: &Fleet, number: usize, up: u64) {
    eventually(&format!("{up} links of gateway {number} are up"), || {
        (fleet.metric(number, "tidegate_peers_up") == up).then_some(())
    });
}

/// Whether the connection ends, and what comes before is at most the word that another has the session.
fn hears_only_the_end(client: &mut Client) {
    while let Some(frame) = client.next_or_end() {
        let packet = frame.packet();
        if let Packet::Disconnect(told) = &packet {
            assert_eq!(told.reason, ReasonCode::SessionTakenOver);
        }
        let acts = matches!(packet, Packet::Publish(_) | Packet::PubAck(_) | Packet::PubRec(_));
        assert!(!acts, "{packet:?}");
    }
}

#[test]
fn packets_that_vanish_one_way_lose_nothing_and_repeat_nothing() {
    for (from, to) in [(1, 2), (2, 1)] {
        let Some(fleet) = fleet(2) else { return };
        let mut stored = connect(&fleet, 2, Dial::v5("stored").persistent());
        stored.subscribe("t", QoS::AtLeastOnce);
        let mut plain = connect(&fleet, 2, Dial::v5("plain"));
        plain.subscribe("t", QoS::AtLeastOnce);
        let mut writer = connect(&fleet, 1, Dial::v5("writer"));
        writer.publish("t", "before", QoS::AtLeastOnce);
        assert_eq!([plain.receive().text, stored.receive().text], ["before", "before"]);
        fleet.silence(from, to);
        (0..20).for_each(|n| writer.publish("t", &n.to_string(), QoS::AtLeastOnce));
        // What is stored needs no wire.
        (0..20).for_each(|n| assert_eq!(stored.receive().text, n.to_string(), "{from} to {to}"));
        // Until both gave the link up: a wire that is dead for long.
        (1..=2).for_each(|number| links(&fleet, number, 0));
        fleet.mend(from, to);
        (0..20).for_each(|n| assert_eq!(plain.receive().text, n.to_string(), "{from} to {to}"));
        writer.publish("t", "after", QoS::AtLeastOnce);
        assert_eq!(plain.receive_only().text, "after");
        assert_eq!(stored.receive_only().text, "after");
    }
}

#[test]
fn between_gateways_that_do_not_hear_each_other_a_session_has_one_owner() {
    let Some(fleet) = fleet(2) else { return };
    let mut old = connect(&fleet, 1, Dial::v5("device").persistent());
    old.subscribe("t", QoS::AtLeastOnce);
    fleet.silence(1, 2);
    fleet.silence(2, 1);
    let mut new = connect(&fleet, 2, Dial::v5("device").persistent());
    assert!(new.session_present);
    let mut writer = connect(&fleet, 2, Dial::v5("writer"));
    writer.publish("t", "for the new", QoS::AtLeastOnce);
    assert_eq!(new.receive().text, "for the new");
    hears_only_the_end(&mut old);
    eventually("gateway 1 says that it lost the session", || {
        (fleet.metric(1, "tidegate_sessions_lost_total") == 1).then_some(())
    });
    connect(&fleet, 1, Dial::v5("other")).publish("t", "from there", QoS::AtLeastOnce);
    assert_eq!(new.receive_only().text, "from there");
    fleet.mend(1, 2);
    fleet.mend(2, 1);
    fleet.wait_linked();
    connect(&fleet, 1, Dial::v5("third")).publish("t", "over the wire", QoS::AtLeastOnce);
    assert_eq!(new.receive_only().text, "over the wire");
}

#[test]
fn what_was_acknowledged_survives_a_gateway_that_is_killed_behind_dead_wires() {
    let Some(mut fleet) = fleet(3) else { return };
    let mut device = connect(&fleet, 1, Dial::v5("device").persistent());
    device.subscribe("t/#", QoS::AtLeastOnce);
    // Gateway 1 hears gateway 2 no more, and is heard by nobody.
    fleet.silence(2, 1);
    fleet.silence(1, 2);
    fleet.silence(1, 3);
    let mut near = connect(&fleet, 1, Dial::v5("near"));
    let mut far = connect(&fleet, 2, Dial::v5("far"));
    for n in 0..20 {
        near.publish("t/near", &n.to_string(), QoS::AtLeastOnce);
        far.publish("t/far", &n.to_string(), QoS::AtLeastOnce);
    }
    fleet.kill(1);
    let mut device = connect(&fleet, 3, Dial::v5("device").persistent());
    assert!(device.session_present);
    let (mut of_near, mut of_far) = (Vec::new(), Vec::new());
    while of_near.len() + of_far.len() < 40 {
        let message = device.receive();
        let of = if message.topic == "t/near" { &mut of_near } else { &mut of_far };
        // What was on its way when the gateway died comes again, and says so.
        if of.last() != Some(&message.text) {
            of.push(message.text);
        }
    }
    let all: Vec<_> = (0..20).map(|n| n.to_string()).collect();
    assert_eq!((of_near, of_far), (all.clone(), all));
    far.publish("t/far", "after", QoS::AtLeastOnce);
    assert_eq!(device.receive_only().text, "after");
}

#[test]
fn a_gateway_that_stood_still_for_longer_than_its_lease_serves_nobody_it_lost() {
    let Some(fleet) = fleet(2) else { return };
    let mut old = connect(&fleet, 1, Dial::v5("device").persistent());
    old.subscribe("t", QoS::AtLeastOnce);
    let mut writer = connect(&fleet, 2, Dial::v5("writer"));
    fleet.freeze(1);
    eventually("gateway 1 is taken for dead", || {
        (!fleet.serving(2).contains(&"gw-1".to_owned())).then_some(())
    });
    let mut new = connect(&fleet, 2, Dial::v5("device").persistent());
    assert!(new.session_present);
    writer.publish("t", "for the new", QoS::AtLeastOnce);
    assert_eq!(new.receive().text, "for the new");
    // It wakes up, and hears nobody.
    fleet.silence(2, 1);
    fleet.thaw(1);
    hears_only_the_end(&mut old);
    fleet.mend(2, 1);
    fleet.wait_linked();
    writer.publish("t", "afterwards", QoS::AtLeastOnce);
    assert_eq!(new.receive_only().text, "afterwards");
}
