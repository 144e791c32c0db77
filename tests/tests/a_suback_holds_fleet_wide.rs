//! M2: after SUBACK, every publication accepted later by any live gateway reaches the subscriber.

use protocol::QoS;
use tests::harness::{Dial, Fleet, Settings};

#[test]
fn what_is_accepted_anywhere_after_suback_arrives() {
    let fleet = Fleet::start(2);
    let mut writers = [
        Dial::v5("writer-1").connect(fleet.mqtt(1)),
        Dial::v311("writer-2").connect(fleet.mqtt(2)),
    ];
    for round in 0..40 {
        // Each round is a new filter, so each SUBACK has a peer to tell.
        let (reader, writer) = (round % 2 + 1, (round / 2) % 2);
        let mut reader = Dial::v5(&format!("reader-{round}")).connect(fleet.mqtt(reader));
        let (filter, topic) = (format!("round/{round}/+"), format!("round/{round}/x"));
        let qos = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][round % 3];
        reader.subscribe(&filter, qos);
        writers[writer].publish(&topic, "now", qos);
        assert_eq!(reader.receive().text, "now", "round {round}");
    }
}

#[test]
fn a_persistent_subscriber_gets_what_is_accepted_elsewhere_right_after_suback() {
    let fleet = Fleet::start(2);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for round in 0..20 {
        let topic = format!("kept/{round}");
        let mut reader = Dial::v311(&format!("kept-{round}")).persistent().connect(fleet.mqtt(2));
        reader.subscribe(&topic, QoS::AtLeastOnce);
        writer.publish(&topic, "while there", QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, "while there", "round {round}");
        reader.disconnect();
        writer.publish(&topic, "while away", QoS::AtLeastOnce);
        let mut reader = Dial::v311(&format!("kept-{round}")).persistent().connect(fleet.mqtt(1));
        assert!(reader.session_present, "round {round}");
        assert_eq!(reader.receive().text, "while away", "round {round}");
    }
}

#[test]
fn a_subscriber_hears_gateways_that_started_after_it_subscribed() {
    let mut fleet = Fleet::start(2);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("news/#", QoS::AtMostOnce);
    fleet.stop(2);
    fleet.restart(2);
    // Ready means that the peers' interest is known: the first publication already finds its way.
    Dial::v5("writer").connect(fleet.mqtt(2)).publish("news/today", "first", QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, "first");
}

#[test]
fn suback_does_not_wait_for_a_gateway_that_is_dead() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    fleet.kill(2);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    // Its lease ends within seconds; the harness would wait longer.
    reader.subscribe("alone", QoS::AtLeastOnce);
    Dial::v5("writer").connect(fleet.mqtt(1)).publish("alone", "here", QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, "here");
}
