//! Section 4.8.2: shared subscriptions.

use protocol::QoS;
use protocol::mqtt::{ReasonCode, Version};
use tests::harness::{Client, Dial};

use super::stage::{Stage, fresh, packet};

/// A clean member and a kept one of a group of their own, and a topic only they have. The kept member is the first.
fn group(stage: &Stage, qos: QoS) -> (Client, Client, String) {
    let (share, topic) = (fresh("share"), fresh("shared"));
    let filter = format!("$share/{share}/{topic}");
    let mut kept = stage.connect(Dial::v5(&fresh("kept")).persistent());
    kept.subscribe(&filter, qos);
    let mut clean = stage.client(Version::V5);
    clean.subscribe(&filter, qos);
    (kept, clean, topic)
}

/// [MQTT5-4.8.2-1] [MQTT5-4.8.2-2]
#[test]
fn a_group_has_a_name_and_a_filter() {
    let stage = Stage::enter();
    let mut client = stage.client(Version::V5);
    for filter in
        ["$share/", "$share//t", "$share/g", "$share/g/", "$share/+/t", "$share/#/t", "$share/g+/t"]
    {
        let reasons = client.try_subscribe(filter, QoS::AtLeastOnce);
        assert_eq!(reasons, [ReasonCode::TopicFilterInvalid], "{filter}");
    }
    let topic = fresh("slashed");
    client.subscribe(&format!("$share/g//{topic}"), QoS::AtLeastOnce);
    client.publish(&format!("/{topic}"), "x", QoS::AtLeastOnce);
    assert_eq!(client.receive().text, "x");
}

/// [MQTT5-4.8.2-3]
#[test]
fn a_member_gets_its_share_at_the_level_it_was_granted() {
    let stage = Stage::enter();
    let levels = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
    for kept in [false, true] {
        for granted in levels {
            let topic = fresh("granted");
            let dial = Dial::v5(&fresh("member"));
            let mut member = stage.connect(if kept { dial.persistent() } else { dial });
            member.subscribe(&format!("$share/{topic}/{topic}"), granted);
            for published in levels {
                stage.client(Version::V5).publish(&topic, "x", published);
                assert_eq!(member.receive().qos, granted.min(published));
            }
        }
    }
}

/// Publishes until the kept member has one that it did not acknowledge; the clean one acknowledges all it gets.
fn begin(stage: &Stage, kept: &mut Client, clean: &mut Client, topic: &str) -> String {
    let mut writer = stage.client(Version::V5);
    for number in 0.. {
        let text = number.to_string();
        writer.publish(topic, &text, QoS::ExactlyOnce);
        let marks = [fresh("mark"), fresh("mark")];
        for (member, mark) in [(&mut *kept, &marks[0]), (&mut *clean, &marks[1])] {
            member.subscribe(mark, QoS::AtMostOnce);
            member.publish(mark, "mark", QoS::ExactlyOnce);
        }
        while clean.receive().text != "mark" {}
        let first = kept.receive_only();
        if first.text == text {
            assert_eq!(kept.receive_only().text, "mark");
            return text;
        }
        assert_eq!(first.text, "mark");
    }
    unreachable!("numbers do not end")
}

/// [MQTT5-4.8.2-4]
#[test]
fn a_qos_2_delivery_that_began_is_finished_with_its_member() {
    let stage = Stage::enter();
    let (mut kept, mut clean, topic) = group(&stage, QoS::ExactlyOnce);
    let text = begin(&stage, &mut kept, &mut clean, &topic);
    let id = kept.id().to_owned();
    drop(kept);
    let mut kept = stage.connect(Dial::v5(&id).persistent());
    let again = kept.receive();
    assert_eq!((again.text, again.dup), (text, true));
    clean.ping();
    clean.publish(&topic, "next", QoS::AtMostOnce);
}

/// [MQTT5-4.8.2-5]
#[test]
fn a_qos_2_delivery_that_began_ends_with_the_session_of_its_member() {
    let stage = Stage::enter();
    let (mut kept, mut clean, topic) = group(&stage, QoS::ExactlyOnce);
    begin(&stage, &mut kept, &mut clean, &topic);
    let id = kept.id().to_owned();
    drop(kept);
    stage.connect(Dial::v5(&id)).disconnect();
    stage.client(Version::V5).publish(&topic, "next", QoS::ExactlyOnce);
    assert_eq!(clean.receive().text, "next", "the other is alone now and gets nothing old");
}

/// [MQTT5-4.8.2-6] [MQTT5-4.4.0-2]
#[test]
fn what_a_member_refuses_goes_to_nobody_else() {
    let stage = Stage::enter();
    let (mut kept, mut clean, topic) = group(&stage, QoS::ExactlyOnce);
    let mut writer = stage.client(Version::V5);
    for (qos, answer) in [(QoS::AtLeastOnce, 0x40), (QoS::ExactlyOnce, 0x50)] {
        writer.publish(&topic, "refused", qos);
        for member in [&mut kept, &mut clean] {
            let own = fresh("own");
            member.subscribe(&own, QoS::AtMostOnce);
            member.publish(&own, "own", QoS::ExactlyOnce);
            let first = member.receive_only();
            if first.text == "refused" {
                let id = first.packet_id.expect("an id").get().to_be_bytes();
                member.send(&packet(answer, &[&id, &[0x97]]));
                assert_eq!(member.receive_only().text, "own");
            }
        }
        for member in [&mut kept, &mut clean] {
            let own = fresh("own");
            member.subscribe(&own, QoS::AtMostOnce);
            member.publish(&own, "own", QoS::ExactlyOnce);
            assert_eq!(member.receive_only().text, "own");
        }
    }
}
