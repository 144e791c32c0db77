//! M7: retained messages, shared groups, wills, expiry and subscription identifiers mean the same in a fleet as on one
//! gateway.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::collections::BTreeSet;
use std::os::unix::net::UnixStream;
use std::thread;

use protocol::mqtt::{
    Filter, Publish, PublishProperties, ReasonCode, RetainHandling, SubscribeOptions,
};
use protocol::{ClientId, GatewayId, QoS};
use tests::harness::{Client, Dial, Fleet, Settings};

#[test]
fn retained_messages_are_retained_everywhere() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    writer.publish_retained("state/a", "old", QoS::AtLeastOnce);
    writer.publish_retained("state/a", "new", QoS::AtLeastOnce);
    writer.publish_retained("state/b", "here", QoS::AtMostOnce);
    writer.publish_retained("state/c", "short-lived", QoS::AtLeastOnce);
    writer.publish_retained("state/c", "", QoS::AtLeastOnce);
    writer.ping();
    for (gateway, version) in [(1, protocol::mqtt::Version::V311), (2, protocol::mqtt::Version::V5)]
    {
        let mut reader = Dial::new(version, "reader").connect(fleet.mqtt(gateway));
        reader.subscribe("state/#", QoS::AtLeastOnce);
        let mut got = [reader.receive(), reader.receive()];
        got.sort_by(|a, b| a.topic.cmp(&b.topic));
        let seen = got.each_ref().map(|m| (m.topic.as_str(), m.text.as_str(), m.retain));
        assert_eq!(
            seen,
            [("state/a", "new", true), ("state/b", "here", true)],
            "gateway {gateway}"
        );
        // To those who are there already it is a message like any other [MQTT5-3.3.1-12].
        writer.publish_retained("state/d", "live", QoS::AtLeastOnce);
        let live = reader.receive();
        assert_eq!((live.text.as_str(), live.retain), ("live", false));
        writer.publish_retained("state/d", "", QoS::AtLeastOnce);
        assert_eq!(reader.receive().text, "");
    }
    fleet.kill(1);
    fleet.kill(2);
    fleet.restart(1);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(1));
    reader.subscribe("state/a", QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, "new");
}

#[test]
fn a_shared_group_gets_each_message_once_wherever_its_members_are() {
    let fleet = Fleet::start(2);
    let mut members: Vec<_> = (0..4)
        .map(|n| {
            let mut member = Dial::v5(&format!("member-{n}")).connect(fleet.mqtt(n % 2 + 1));
            member.subscribe("$share/crew/jobs/+", QoS::AtLeastOnce);
            member
        })
        .collect();
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(2));
    watcher.subscribe("jobs/#", QoS::AtLeastOnce);
    for (gateway, from) in [(1, 0), (2, 100)] {
        let mut writer = Dial::v5("writer").connect(fleet.mqtt(gateway));
        for number in from..from + 100 {
            writer.publish("jobs/x", &number.to_string(), QoS::AtLeastOnce);
        }
    }
    let all: BTreeSet<_> = (0..200).map(|number| number.to_string()).collect();
    let watched: BTreeSet<_> = (0..200).map(|_| watcher.receive().text).collect();
    assert_eq!(watched, all);
    let mut shares = Vec::new();
    for (number, member) in members.iter_mut().enumerate() {
        member.subscribe(&format!("end/{number}"), QoS::AtLeastOnce);
        let mut writer = Dial::v5("ender").connect(fleet.mqtt(number % 2 + 1));
        writer.publish(&format!("end/{number}"), "end", QoS::AtLeastOnce);
        let mut share = member.receive_until("end");
        share.pop();
        shares.push(share);
    }
    // Everyone worked, and nothing was done twice.
    assert!(shares.iter().all(|share| !share.is_empty()), "{shares:?}");
    let done: Vec<_> = shares.into_iter().flatten().collect();
    assert_eq!(done.len(), 200);
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>(), all);
}

#[test]
fn a_shared_group_goes_on_when_members_leave() {
    let fleet = Fleet::start(2);
    let member = |name: &str, gateway| {
        let mut member = Dial::v5(name).connect(fleet.mqtt(gateway));
        member.subscribe("$share/crew/jobs", QoS::AtLeastOnce);
        member
    };
    let (first, mut second) = (member("first", 1), member("second", 2));
    first.disconnect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    // Only one member is left, and whoever asks for it is at its gateway, which knows.
    for number in 0..10 {
        writer.publish("jobs", &number.to_string(), QoS::AtLeastOnce);
        assert_eq!(second.receive().text, number.to_string());
    }
}

/// What a member leaves goes back a portion at a time. The gateway that does it dies when the first messages have come to the
/// other member, and another one goes on.
#[test]
fn what_a_member_leaves_comes_once_though_the_gateway_that_gives_it_back_dies() {
    let mut fleet = Fleet::start_with(3, &Settings::mortal());
    let gateways = ["gw-1", "gw-2", "gw-3"].map(|name| GatewayId::new(name).unwrap());
    let giver =
        |client: &ClientId| maintenance::rendezvous(client, &gateways) == Some(&gateways[2]);
    let mut clients = (0..).map(|n| ClientId::new(&format!("leaves-{n}")).unwrap());
    let leaves = clients.find(giver).unwrap();
    let mut member = Dial::v5(leaves.as_str()).persistent().connect(fleet.mqtt(1));
    member.subscribe("$share/crew/jobs", QoS::AtLeastOnce);
    member.disconnect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    let long = "x".repeat(64 << 10);
    for tens in 0..20 {
        let texts = (0..10).map(|n| format!("{:03} {long}", tens * 10 + n));
        let ids: Vec<_> =
            texts.map(|text| writer.start_publish("jobs", &text, QoS::AtLeastOnce)).collect();
        ids.into_iter().for_each(|id| writer.finish_publish(id, QoS::AtLeastOnce));
    }
    let mut other = Dial::v5("other").persistent().connect(fleet.mqtt(2));
    other.subscribe("$share/crew/jobs", QoS::AtLeastOnce);
    other.subscribe("end", QoS::AtLeastOnce);
    // A clean start ends the session that left the messages.
    Dial::v5(leaves.as_str()).connect(fleet.mqtt(1)).disconnect();
    let mut heard = vec![other.receive().text];
    fleet.kill(3);
    heard.extend((1..200).map(|_| other.receive().text));
    writer.publish("end", "end", QoS::AtLeastOnce);
    assert_eq!(other.receive().text, "end", "nothing comes twice");
    let numbers: Vec<_> = heard.iter().filter_map(|text| text.split(' ').next()).collect();
    let all: Vec<_> = (0..200).map(|number| format!("{number:03}")).collect();
    assert_eq!(numbers, all, "each once, and in order");
}

/// Nobody ends the session: it expires, and the gateway that served it last is gone too.
#[test]
fn what_a_member_leaves_whose_session_expires_goes_to_each_group_that_gave_it() {
    let mut fleet = Fleet::start_with(2, &Settings::mortal());
    let member = Dial::v5("expires").expiry_s(1).receive_maximum(10);
    let mut member = member.connect(fleet.mqtt(2));
    member.subscribe("$share/crew/jobs/+", QoS::AtLeastOnce);
    member.subscribe("$share/log/jobs/#", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    let all: Vec<_> = (0..20).map(|number| number.to_string()).collect();
    let (both, crew) = all.split_at(10);
    for text in both {
        writer.publish("jobs/a", text, QoS::AtLeastOnce);
        assert_eq!(member.receive_only().text, *text, "for both groups, and not acknowledged");
    }
    assert_eq!(member.unsubscribe("$share/log/jobs/#"), [ReasonCode::Success]);
    // Its window is full: these wait in its queue.
    crew.iter().for_each(|text| writer.publish("jobs/a", text, QoS::AtLeastOnce));
    member.disconnect();
    // By the time that this will is heard, the session has long expired.
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(1));
    watcher.subscribe("gone/clock", QoS::AtLeastOnce);
    drop(
        Dial::v5("clock")
            .persistent()
            .will("gone/clock", "")
            .will_delay_s(3)
            .connect(fleet.mqtt(1)),
    );
    let mut heirs =
        [("$share/crew/jobs/+", &all[..]), ("$share/log/jobs/#", both)].map(|(group, all)| {
            let mut heir = Dial::v5(group).persistent().connect(fleet.mqtt(1));
            heir.subscribe(group, QoS::AtLeastOnce);
            heir.subscribe("end", QoS::AtLeastOnce);
            (heir, all)
        });
    assert_eq!(watcher.receive().topic, "gone/clock");
    fleet.kill(2);
    for (heir, all) in &mut heirs {
        let heard: Vec<_> = all.iter().map(|_| heir.receive().text).collect();
        assert_eq!(heard, *all, "{}: each once, and in order", heir.id());
    }
    writer.publish("end", "end", QoS::AtLeastOnce);
    for (heir, _) in &mut heirs {
        assert_eq!(heir.receive().text, "end", "nothing comes twice");
    }
}

#[test]
fn a_will_is_heard_at_every_gateway() {
    let fleet = Fleet::start(2);
    let mut watchers = watchers(&fleet);
    drop(Dial::v311("a").will("gone/a", "cut").connect(fleet.mqtt(1)));
    assert_heard(&mut watchers, "cut");
    let mut asks = Dial::v5("b").will("gone/b", "wanted").connect(fleet.mqtt(2));
    asks.send_disconnect(ReasonCode::DisconnectWithWill);
    assert_heard(&mut watchers, "wanted");
    // A goodbye takes the will back; a broken rule does not.
    Dial::v5("c").will("gone/c", "never").connect(fleet.mqtt(1)).disconnect();
    let mut breaks = Dial::v5("d").will("gone/d", "broke a rule").connect(fleet.mqtt(1));
    breaks.send(&[0x00, 0x00]);
    assert_eq!(breaks.end_reason(), Some(ReasonCode::MalformedPacket));
    assert_heard(&mut watchers, "broke a rule");
}

/// The worker may hear of the new connection before it is told that there is something to read on the old one. What is written to a
/// Unix socket has come when that is done.
#[test]
fn a_goodbye_takes_the_will_back_though_its_client_is_back_at_once() {
    let unix = "[[listen]]\nkind = \"unix\"\nbind = \"@dir@/mqtt.sock\"\nmode = \"0600\"\n";
    let fleet = Fleet::start_with(1, &Settings::default().everywhere(unix));
    let path = fleet.dir().join("mqtt.sock");
    let come = || {
        let wire = Box::new(UnixStream::connect(&path).expect("a socket"));
        Dial::v5("device").will("gone/device", "never").over(wire)
    };
    let mut watcher = Dial::v5("watcher").connect(fleet.mqtt(1));
    watcher.subscribe("gone/#", QoS::AtLeastOnce);
    let mut device = come();
    for _ in 0..100 {
        device.send_disconnect(ReasonCode::Success);
        device = come();
    }
    device.publish("gone/nobody", "end", QoS::AtLeastOnce);
    assert_eq!(watcher.receive().text, "end");
}

#[test]
fn a_retained_will_is_there_for_those_who_come_later() {
    let fleet = Fleet::start(2);
    let mut watchers = watchers(&fleet);
    drop(Dial::v5("a").will("gone/a", "cut").will_retained().connect(fleet.mqtt(1)));
    assert_heard(&mut watchers, "cut");
    let mut late = Dial::v5("late").connect(fleet.mqtt(1));
    late.subscribe("gone/#", QoS::AtLeastOnce);
    let message = late.receive();
    assert_eq!((message.text.as_str(), message.retain), ("cut", true));
}

#[test]
fn a_retained_message_is_not_missed_by_who_subscribes_while_it_is_published() {
    let fleet = Fleet::start(2);
    for round in 0..60 {
        let topic = format!("state/{round}");
        let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
        let dial = Dial::v5(&format!("reader-{round}"));
        let dial = if round % 2 == 0 { dial } else { dial.persistent() };
        let mut reader = dial.connect(fleet.mqtt(round / 2 % 2 + 1));
        writer.publish_retained(&topic, "before", QoS::AtLeastOnce);
        thread::scope(|scope| {
            scope.spawn(|| writer.publish_retained(&topic, "now", QoS::AtLeastOnce));
            reader.subscribe(&topic, QoS::AtLeastOnce);
        });
        // As retained, or live, or both; whichever comes last is the newest.
        let newest = reader.receive();
        if newest.text != "now" {
            assert_eq!(reader.receive().text, "now", "round {round}");
        }
    }
}

#[test]
fn a_delayed_will_is_taken_back_by_a_return_to_any_gateway() {
    let fleet = Fleet::start(2);
    let mut watchers = watchers(&fleet);
    let device = |name: &str| Dial::v5(name).persistent().will("gone/x", name);
    drop(device("returns").will_delay_s(4).connect(fleet.mqtt(1)));
    drop(device("stays away").will_delay_s(6).connect(fleet.mqtt(2)));
    let back = device("returns").connect(fleet.mqtt(2));
    assert!(back.session_present);
    // By the time that this one comes, the other was long due.
    assert_heard(&mut watchers, "stays away");
    drop(back);
    assert_heard(&mut watchers, "returns");
}

#[test]
fn a_will_fires_when_its_session_ends_before_its_delay() {
    let fleet = Fleet::start(2);
    let mut watchers = watchers(&fleet);
    drop(
        Dial::v5("short")
            .will("gone/short", "ended")
            .will_delay_s(3600)
            .expiry_s(1)
            .connect(fleet.mqtt(1)),
    );
    // [MQTT5-3.1.2-8]: the end of the session is soon, the delay is not.
    assert_heard(&mut watchers, "ended");
    let delayed = Dial::v5("other").will("gone/other", "restarted").will_delay_s(3600).persistent();
    drop(delayed.clone().connect(fleet.mqtt(1)));
    // A new session ends the old one, and with it the wait.
    let _fresh = Dial::v5("other").persistent().clean_start().connect(fleet.mqtt(2));
    assert_heard(&mut watchers, "restarted");
}

#[test]
fn subscription_identifiers_and_options_come_through_from_other_gateways() {
    let fleet = Fleet::start(2);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
    let options = SubscribeOptions {
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: true,
        retain_handling: RetainHandling::Send,
    };
    let own = SubscribeOptions { no_local: true, ..options };
    reader.subscribe_with(&[Filter { text: "a/+", options }], Some(7));
    reader.subscribe_with(&[Filter { text: "own", options: own }], Some(9));
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    writer.publish_retained("a/b", "kept", QoS::AtLeastOnce);
    let message = reader.receive();
    assert_eq!((message.subscription_ids.as_slice(), message.retain), (&[7][..], true));
    reader.publish("own", "mine", QoS::AtLeastOnce);
    writer.publish("own", "theirs", QoS::AtLeastOnce);
    let message = reader.receive();
    assert_eq!((message.text.as_str(), message.subscription_ids.as_slice()), ("theirs", &[9][..]));
}

#[test]
fn properties_and_topics_reach_other_gateways_as_they_were() {
    let fleet = Fleet::start(2);
    let mut reader = Dial::v5("reader").connect(fleet.mqtt(2));
    let mut kept = Dial::v5("kept").persistent().connect(fleet.mqtt(2));
    let mut old = Dial::v311("old").connect(fleet.mqtt(2));
    for client in [&mut reader, &mut kept, &mut old] {
        client.subscribe("каналы/#", QoS::AtLeastOnce);
    }
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    // Content type, response topic, correlation data, a user property, as bytes on the wire.
    let end_to_end = b"\x03\x00\x04text\x08\x00\x01r\x09\x00\x03\x00\x01\xff\x26\x00\x01k\x00\x01v";
    let packet_id = Some(writer.next_id());
    writer.send_whole(&Publish {
        dup: false,
        qos: QoS::AtLeastOnce,
        retain: false,
        topic: "каналы/один",
        packet_id,
        properties: PublishProperties {
            message_expiry_s: Some(100),
            end_to_end: end_to_end.as_slice().into(),
            ..PublishProperties::default()
        },
        payload: &[0, 1, 2, 0xFF],
    });
    writer.finish_publish(packet_id, QoS::AtLeastOnce);
    for client in [&mut reader, &mut kept] {
        let (expiry, properties, payload) = client.wait_for("a PUBLISH", |packet| match packet {
            protocol::mqtt::Packet::Publish(p) => Some((
                p.properties.message_expiry_s,
                p.properties.end_to_end.to_vec(),
                p.payload.to_vec(),
            )),
            _ => None,
        });
        assert!(expiry.is_some_and(|s| (1..=100).contains(&s)), "{expiry:?}");
        assert_eq!(properties, end_to_end);
        assert_eq!(payload, [0, 1, 2, 0xFF]);
    }
    assert_eq!(old.receive().topic, "каналы/один");
}

fn watchers(fleet: &Fleet) -> [Client; 2] {
    [1, 2].map(|gateway| {
        let mut watcher = Dial::v5(&format!("watcher-{gateway}")).connect(fleet.mqtt(gateway));
        watcher.subscribe("gone/#", QoS::AtLeastOnce);
        watcher
    })
}

/// Everyone's next message is this one.
fn assert_heard(watchers: &mut [Client], text: &str) {
    for watcher in watchers {
        assert_eq!(watcher.receive().text, text, "{}", watcher.id());
    }
}
