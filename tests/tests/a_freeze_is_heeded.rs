//! A freeze that is added while a gateway is visited takes back what can be taken back: nobody is moved any more, the gateway
//! serves, and the visit is done when the freeze is over. What cannot be taken back is brought to its end.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::net::SocketAddr;
use std::thread;

use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Ack, Packet, ReasonCode, Version, codec};
use protocol::{PacketId, QoS};
use serde_json::{Value, json};
use tests::harness::{Client, Dial, Fleet, Settings, eventually};

const DEVICES: usize = 48;
/// How a gateway counts whom its drains have moved.
const MOVED: &str = "tidegate_drain_moved_total{campaign=\"none\"}";

fn settings(more: &str) -> Settings {
    let quick = "[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n";
    Settings::default().everywhere(quick).everywhere(more)
}

#[test]
fn a_freeze_cuts_a_drain_and_nobody_loses_anything_and_it_is_done_when_the_freeze_is_over() {
    let fleet = Fleet::start_with(3, &settings(""));
    let mut devices: Vec<_> = (0..DEVICES).map(|n| Device::new(&fleet, n)).collect();
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(3));
    let mut say = |word: &str| writer.publish("t", word, QoS::AtLeastOnce);
    say("before");
    fleet.allow_visits("drain = { host_rate = 4 }\n");
    let add = "operation add --kind drain-only --hold-s 0 --host gw-1 --id night --reason test";
    let (moved, waited) = thread::scope(|scope| {
        let waits = scope.spawn(|| fleet.maintenance(&format!("{add} --wait")));
        let freeze = "freeze add --to 2989-01-01T00:00:00Z -l host=gw-1 --reason launch --id";
        eventually("somebody is moved", || (fleet.metric(1, MOVED) > 0).then_some(()));
        // One that is not about such work, and one of another gateway, stop nobody.
        fleet.maintain(&format!("{freeze} reboots --allow drain_only"));
        fleet.maintain(&format!("{} others", freeze.replace("gw-1", "gw-2")));
        let so_far = fleet.metric(1, MOVED);
        eventually("it goes on", || (fleet.metric(1, MOVED) >= so_far + 8).then_some(()));
        fleet.maintain(&format!("{freeze} all"));
        eventually("the visit is in the plan again", || (stage(&fleet) == "planned").then_some(()));
        assert_eq!(fleet.maintain("slots")["slots"], json!([]));
        assert_eq!(fleet.api(1, "/api/v1/gateway")["state"], "serving");
        let moved = fleet.metric(1, MOVED);
        eventually("why it is not earlier is said", || {
            let why = fleet.maintain("why gw-1").to_string();
            why.contains("FROZEN").then_some(())
        });
        say("frozen");
        let there = fleet.mqtt(2);
        devices.iter_mut().for_each(|device| device.read_until("frozen", there));
        let away = devices.iter().filter(|device| device.moves > 0).count();
        assert_eq!(u64::try_from(away).expect("a few"), moved, "who was not moved stayed");
        assert!(0 < away && away < DEVICES, "{away} were moved");
        assert_eq!(fleet.metric(1, MOVED), moved, "nobody is moved any more");
        fleet.maintain("freeze remove all --reason over");
        (away, waits.join().expect("it does not panic"))
    });
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let told = "planned, called off: frozen by all of operator: launch";
    assert!(waited.err.contains(told), "{waited:?}");
    assert_eq!(stage(&fleet), "done");
    say("end");
    let there = fleet.mqtt(2);
    devices.iter_mut().for_each(|device| device.read_until("end", there));
    for device in &devices {
        assert_eq!(device.words, ["before", "frozen", "end"]);
        assert_eq!(device.moves, 1, "of {DEVICES} were {moved} moved first");
    }
    assert_eq!(
        told_of_slots(&fleet),
        [
            "slot.granted",
            "slot.started",
            "visit.frozen frozen by all of operator: launch",
            "slot.concluded aborted",
            "slot.released",
            "slot.granted",
            "slot.started",
            "slot.concluded quiesced",
            "slot.verified",
            "slot.released",
        ]
    );
}

#[test]
fn what_cannot_be_taken_back_is_brought_to_its_end_and_a_gateway_that_is_held_serves_again() {
    let listed =
        "[maintenance.hooks.note]\nprogram = \"/bin/sh\"\narguments = [\"@dir@/note.sh\"]\n";
    let fleet = Fleet::start_with(2, &settings(listed));
    let [script, ran, go] = ["note.sh", "ran", "go"].map(|name| fleet.dir().join(name));
    let text =
        format!("echo >> {}; while [ ! -e {} ]; do sleep 0.1; done", ran.display(), go.display());
    std::fs::write(&script, text).expect("a file");
    fleet.allow_visits("");
    let hook = "operation add --kind hook --hook note --class drain --limit-s 60 --host gw-1";
    let script = script.to_str().expect("a path in UTF-8");
    fleet.maintain(&format!("{hook} --arg {script} --id night --reason test"));
    eventually("the program runs", || ran.exists().then_some(()));
    let freeze = "freeze add --to 2989-01-01T00:00:00Z --reason launch --id";
    fleet.maintain(&format!("{freeze} all"));
    std::fs::write(&go, "").expect("a file");
    eventually("the visit is done", || (stage(&fleet) == "done").then_some(()));
    assert_eq!(std::fs::read_to_string(&ran).expect("a note"), "\n", "it ran once");
    assert!(!told_of_slots(&fleet).iter().any(|told| told.starts_with("visit.frozen")));

    fleet.maintain("freeze remove all --reason over");
    fleet.maintain(
        "operation add --kind drain-only --hold-s 7200 --host gw-2 --id long --reason test",
    );
    eventually("the gateway is held drained", || {
        (last_step(&fleet, "gw-2/long")? == "hold").then_some(())
    });
    fleet.maintain(&format!("{freeze} all"));
    eventually("the gateway serves again", || {
        let over = fleet.maintain("operation list")["operations"]
            .as_array()?
            .iter()
            .any(|it| it["operation"]["id"] == "long" && it["state"] == "done");
        (over && fleet.api(2, "/api/v1/gateway")["state"] == "serving").then_some(())
    });
    assert_eq!(fleet.maintain("slots")["slots"], json!([]));
}

/// What the audit tells of visits and their slots, with what it says of freezes and of drains that ended.
fn told_of_slots(fleet: &Fleet) -> Vec<String> {
    let audit = fleet.api(2, "/api/v1/maintenance/audit?max=1000");
    let entries = audit["entries"].as_array().expect("entries").iter();
    let told = |entry: &Value| {
        let record = &entry["record"];
        let action = record["action"].as_str()?;
        let more = match action {
            "visit.frozen" => &record["reason"],
            "slot.concluded" => record.pointer("/after/concluded/verdict/outcome")?,
            _ if action.starts_with("slot.") => return Some(action.to_owned()),
            _ => return None,
        };
        Some(format!("{action} {}", more.as_str()?))
    };
    entries.filter_map(told).collect()
}

fn visits(fleet: &Fleet) -> Vec<Value> {
    let visits = fleet.api(2, "/api/v1/maintenance/executions");
    visits["executions"].as_array().expect("visits").clone()
}

/// Where the visit of the night stands.
fn stage(fleet: &Fleet) -> Value {
    let visit = visits(fleet).into_iter().find(|it| it["execution"]["visit"] == "gw-1/night");
    visit.map(|visit| visit["execution"]["stage"].clone()).unwrap_or_default()
}

fn last_step(fleet: &Fleet, name: &str) -> Option<Value> {
    let visit = visits(fleet).into_iter().find(|it| it["execution"]["visit"] == name)?;
    Some(visit["execution"]["journal"].as_array()?.last()?["step"].clone())
}

/// A device that goes elsewhere when its gateway sends it away, and what it was told.
struct Device {
    dial: Dial,
    client: Client,
    words: Vec<String>,
    moves: usize,
}

impl Device {
    fn new(fleet: &Fleet, n: usize) -> Self {
        let dial = Dial::v5(&format!("device-{n}")).persistent();
        let mut client = dial.clone().connect(fleet.mqtt(1));
        client.subscribe("t", QoS::AtLeastOnce);
        Self { dial, client, words: Vec::new(), moves: 0 }
    }

    /// Reads up to a word, at another gateway from when its own has sent it away.
    fn read_until(&mut self, word: &str, there: SocketAddr) {
        while self.words.last().is_none_or(|last| last != word) {
            let Some(frame) = self.client.next_or_end() else {
                self.client = self.dial.clone().connect(there);
                assert!(self.client.session_present, "the session of {} is lost", self.client.id());
                self.moves += 1;
                continue;
            };
            if let Packet::Publish(publish) = frame.packet() {
                let text = String::from_utf8_lossy(publish.payload).into_owned();
                if !self.words.contains(&text) {
                    self.words.push(text);
                }
                if let Some(id) = publish.packet_id {
                    acknowledge(&mut self.client, id);
                }
            }
        }
    }
}

/// To a gateway that may have gone.
fn acknowledge(client: &mut Client, id: PacketId) {
    let mut bytes = Vec::new();
    codec::ack(&mut bytes, Version::V5, AckKind::PubAck, &Ack::of(id, ReasonCode::Success));
    let _ = client.try_send(&bytes);
}
