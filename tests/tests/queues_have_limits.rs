//! What waits for one client is limited in messages and in bytes, and its class says what becomes of the rest: the same
//! whichever gateway the publisher is at, and after every gateway was started anew.

use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Publish, PublishProperties, ReasonCode};
use protocol::{PacketId, QoS};
use tests::harness::{Client, Dial, Fleet, Settings, eventually};

/// Messages that a queue of these tests holds, by either limit.
const HOLDS: u64 = 4;
/// Bytes of one message: topic and payload.
const MESSAGE_BYTES: usize = 40;

/// A class of devices; there is one device in it, which has its name and a topic of its own.
#[derive(Debug, Clone, Copy)]
struct Class {
    name: &'static str,
    when_full: &'static str,
    by_bytes: bool,
}

const CLASSES: [Class; 6] = [
    Class { name: "reject-count", when_full: "reject", by_bytes: false },
    Class { name: "reject-bytes", when_full: "reject", by_bytes: true },
    Class { name: "oldest-count", when_full: "drop-oldest", by_bytes: false },
    Class { name: "oldest-bytes", when_full: "drop-oldest", by_bytes: true },
    Class { name: "newest-count", when_full: "drop-new", by_bytes: false },
    Class { name: "newest-bytes", when_full: "drop-new", by_bytes: true },
];

impl Class {
    fn reason(self) -> &'static str {
        if self.by_bytes { "queue_bytes" } else { "queue_count" }
    }

    fn dial(self) -> Dial {
        Dial::v5(self.name).persistent()
    }

    /// The payload of a message, as long as all others.
    fn text(self, number: u64) -> String {
        format!("{number:0width$}", width = MESSAGE_BYTES - self.name.len())
    }

    /// What its device gets of seven messages, four of which fit.
    fn kept(self) -> Vec<String> {
        let kept = if self.when_full == "drop-oldest" { 3..7 } else { 0..4 };
        kept.map(|number| self.text(number)).collect()
    }
}

fn settings() -> Settings {
    let mut toml = String::new();
    for Class { name, when_full, by_bytes } in CLASSES {
        let (key, limit) = if by_bytes {
            ("queue_bytes", HOLDS * MESSAGE_BYTES as u64)
        } else {
            ("queue_messages", HOLDS)
        };
        toml.push_str(&format!(
            "[[class]]\nname = \"{name}\"\nclient = [\"{name}\"]\n{key} = {limit}\nqueue_when_full = \"{when_full}\"\n"
        ));
    }
    Settings::default().everywhere(&toml)
}

/// What a gateway says of a session.
fn session(fleet: &Fleet, gateway: usize, client: &str) -> serde_json::Value {
    fleet.api(gateway, &format!("/api/v1/sessions/{client}"))
}

/// Waits until a gateway knows that so many messages wait for a client.
fn wait_for_queue(fleet: &Fleet, gateway: usize, client: &str, messages: u64) {
    eventually(&format!("{messages} messages for {client}"), || {
        let queued = session(fleet, gateway, client);
        (queued.pointer("/queue/messages")? == messages).then_some(())
    });
}

/// Waits until every gateway counts so many messages that a client did not get.
fn wait_for_drops(fleet: &Fleet, client: &str, reason: &str, count: u64) {
    for gateway in [1, 2] {
        eventually(&format!("{count} times {reason} for {client}"), || {
            let dropped = session(fleet, gateway, client);
            (dropped.pointer(&format!("/dropped/{reason}"))? == count).then_some(())
        });
    }
}

/// Waits until a client that was there is away, and nobody serves its session.
fn leave(fleet: &Fleet, device: Client) {
    let id = device.id().to_owned();
    device.disconnect();
    eventually("nobody serves the session", || {
        session(fleet, 1, &id).get("owner")?.is_null().then_some(())
    });
}

fn whole<'a>(
    topic: &'a str,
    text: &'a str,
    qos: QoS,
    id: PacketId,
    properties: PublishProperties<'a>,
) -> Publish<'a> {
    let payload = text.as_bytes();
    Publish { dup: false, qos, retain: false, topic, packet_id: Some(id), properties, payload }
}

/// Publishes at QoS 1 or 2 and answers what the gateway says of it.
fn answer(writer: &mut Client, topic: &str, text: &str, qos: QoS) -> ReasonCode {
    let id = writer.next_id();
    writer.send_whole(&whole(topic, text, qos, id, PublishProperties::default()));
    if qos == QoS::AtLeastOnce {
        return writer.answer_to(AckKind::PubAck, id);
    }
    let reason = writer.answer_to(AckKind::PubRec, id);
    if !reason.is_error() {
        writer.acknowledge(AckKind::PubRel, id);
        writer.acknowledged(AckKind::PubComp, id);
    }
    reason
}

#[test]
fn a_full_queue_does_what_its_class_says_wherever_the_publisher_is_and_after_a_restart() {
    let mut fleet = Fleet::start_with(2, &settings());
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    for class in CLASSES {
        let mut device = class.dial().connect(fleet.mqtt(1));
        device.subscribe(class.name, QoS::ExactlyOnce);
        leave(&fleet, device);
        for number in 0..HOLDS {
            writer.publish(class.name, &class.text(number), QoS::AtLeastOnce);
        }
        wait_for_queue(&fleet, 2, class.name, HOLDS);
        let queue = &session(&fleet, 2, class.name)["queue"];
        assert_eq!(queue["bytes"], HOLDS * MESSAGE_BYTES as u64, "{class:?}");
        assert_eq!(queue["when_full"], class.when_full);
        assert_eq!(queue["full"], class.when_full != "drop-oldest", "{class:?}");
    }
    // Limits, what waits, and whether that is too much, are known to who comes later too.
    for gateway in [1, 2] {
        fleet.kill(gateway);
        fleet.restart(gateway);
    }
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    for class in CLASSES {
        wait_for_queue(&fleet, 2, class.name, HOLDS);
        let mut other = Dial::v5("other").connect(fleet.mqtt(1));
        other.subscribe(class.name, QoS::AtLeastOnce);
        let refused = class.when_full == "reject";
        for number in HOLDS..HOLDS + 3 {
            let qos = if number == HOLDS { QoS::ExactlyOnce } else { QoS::AtLeastOnce };
            let expected = if refused { ReasonCode::QuotaExceeded } else { ReasonCode::Success };
            let said = answer(&mut writer, class.name, &class.text(number), qos);
            assert_eq!(said, expected, "{class:?}");
        }
        wait_for_drops(&fleet, class.name, class.reason(), if refused { 0 } else { 3 });
        if refused {
            // At QoS 0 nothing is queued, and nobody is refused.
            writer.publish(class.name, "live", QoS::AtMostOnce);
            assert_eq!(other.receive().text, "live", "{class:?}: the others did not get it either");
            let mut old = Dial::v311("old").connect(fleet.mqtt(2));
            old.start_publish(class.name, "x", QoS::AtLeastOnce);
            old.ended();
        } else {
            assert_eq!(other.receive().text, class.text(HOLDS), "{class:?}: the others got it");
        }
        other.disconnect();
    }
    for class in CLASSES {
        let mut device = class.dial().connect(fleet.mqtt(2));
        let got: Vec<String> = (0..HOLDS).map(|_| device.receive().text).collect();
        assert_eq!(got, class.kept(), "{class:?}");
        eventually("its queue has room again", || {
            (session(&fleet, 2, class.name)["queue"]["messages"] == 0).then_some(())
        });
        writer.publish(class.name, "on", QoS::AtLeastOnce);
        assert_eq!(device.receive().text, "on", "{class:?}");
    }
    let counted = |reason: &str| {
        let name = format!("tidegate_dropped_total{{reason=\"{reason}\"}}");
        fleet.metric(1, &name) + fleet.metric(2, &name)
    };
    assert_eq!((counted("queue_count"), counted("queue_bytes")), (6, 6));
    assert!(fleet.metric(2, "tidegate_refused_total{limit=\"queue\"}") >= 6);
}

#[test]
fn what_ends_while_its_client_is_away_makes_room_and_is_shown() {
    let settings = "[[class]]\nname = \"s\"\nclient = [\"s\"]\nqueue_messages = 3\nqueue_when_full = \"reject\"\n";
    let fleet = Fleet::start_with(2, &Settings::default().everywhere(settings));
    let mut device = Dial::v5("s").persistent().connect(fleet.mqtt(1));
    device.subscribe("s", QoS::AtLeastOnce);
    leave(&fleet, device);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    let ends = PublishProperties { message_expiry_s: Some(1), ..PublishProperties::default() };
    for _ in 0..3 {
        let id = writer.next_id();
        writer.send_whole(&whole("s", "late", QoS::AtLeastOnce, id, ends.clone()));
        writer.acknowledged(AckKind::PubAck, id);
    }
    wait_for_drops(&fleet, "s", "expired", 3);
    wait_for_queue(&fleet, 2, "s", 0);
    writer.publish("s", "lasts", QoS::AtLeastOnce);
    let mut device = Dial::v5("s").persistent().connect(fleet.mqtt(2));
    assert_eq!(device.receive().text, "lasts");
    let expired = "tidegate_dropped_total{reason=\"expired\"}";
    assert_eq!(fleet.metric(1, expired) + fleet.metric(2, expired), 3);
}

#[test]
fn a_session_is_shown_by_command_wherever_it_is() {
    let fleet = Fleet::start_with(2, &settings());
    let mut device = Dial::v5("oldest-count").persistent().connect(fleet.mqtt(2));
    device.subscribe("t", QoS::AtLeastOnce);
    let shown = fleet.command(&["sessions", "show", "oldest-count"]);
    assert_eq!(shown.code, Some(0), "{}", shown.err);
    assert!(shown.out.contains("gw-2") && shown.out.contains("drop-oldest"), "{}", shown.out);
    let shown = fleet.command(&["sessions", "show", "oldest-count", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!((&json["owner"], &json["subscriptions"]), (&"gw-2".into(), &1.into()));
    // Of a session that ends with its connection, only its gateway knows what waits.
    let _clean = Dial::v5("a clean/one").connect(fleet.mqtt(2));
    let shown = fleet.command(&["sessions", "show", "a clean/one", "--json"]);
    let json: serde_json::Value = serde_json::from_str(&shown.out).expect("JSON");
    assert_eq!((&json["clean"], &json["queue"]["messages"]), (&true.into(), &0.into()));
    let shown = fleet.command(&["sessions", "show", "nobody"]);
    assert_eq!(shown.code, Some(1), "{}", shown.out);
}
