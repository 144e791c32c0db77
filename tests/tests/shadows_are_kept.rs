//! V2: an update of a shadow that was accepted is stored, whichever gateways change it at the same time, and whichever
//! process dies; who watches it, at whichever gateway, ends at the newest version and never goes back.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::net::SocketAddr;

use protocol::QoS;
use serde_json::Value;
use tests::harness::{Client, Dial, Fleet, Settings};

const UPDATE: &str = "$aws/things/t/shadow/update";
/// Updates of each writer.
const COUNT: usize = 30;

fn fast() -> Settings {
    Settings::default().everywhere("[shadow]\nrequests_per_s = 0\nrequests_in_flight = 0\n")
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

/// What a gateway answers to a get of the classic shadow of `t`.
fn get(client: &mut Client) -> Value {
    client.publish("$aws/things/t/shadow/get", "", QoS::AtLeastOnce);
    loop {
        let message = client.receive();
        if message.topic == "$aws/things/t/shadow/get/accepted" {
            return json(&message.text);
        }
    }
}

fn reader(fleet: &Fleet, gateway: usize) -> Client {
    let mut reader = Dial::v5(&format!("reader-{gateway}")).connect(fleet.mqtt(gateway));
    reader.subscribe("$aws/things/t/shadow/get/accepted", QoS::AtLeastOnce);
    reader
}

/// Makes its updates, some of them on their way at the same time; answers the versions that it was told.
fn write(name: &str, address: SocketAddr) -> Vec<u64> {
    let mut writer = Dial::v5(name).connect(address);
    writer.subscribe(&format!("{UPDATE}/accepted"), QoS::AtLeastOnce);
    let update = |number: usize| {
        format!(
            "{{\"state\":{{\"reported\":{{\"{name}-{number}\":{number}}}}},\"clientToken\":\"{name}\"}}"
        )
    };
    for first in (0..COUNT).step_by(5) {
        let ids: Vec<_> = (first..first + 5)
            .map(|number| writer.start_publish(UPDATE, &update(number), QoS::AtLeastOnce))
            .collect();
        ids.into_iter().for_each(|id| writer.finish_publish(id, QoS::AtLeastOnce));
    }
    let mut versions = Vec::new();
    while versions.len() < COUNT {
        let answer = json(&writer.receive().text);
        if answer["clientToken"] == name {
            versions.push(answer["version"].as_u64().unwrap());
        }
    }
    versions
}

#[test]
fn three_gateways_that_change_one_shadow_at_once_lose_no_update() {
    let fleet = Fleet::start_with(3, &fast());
    let writers: Vec<_> = (1..=3)
        .map(|gateway| {
            let address = fleet.mqtt(gateway);
            std::thread::spawn(move || write(&format!("w{gateway}"), address))
        })
        .collect();
    let mut all = BTreeSet::new();
    for writer in writers {
        let versions = writer.join().unwrap();
        assert!(versions.is_sorted(), "{versions:?}");
        all.extend(versions);
    }
    let last = 3 * COUNT as u64;
    assert_eq!(all, (1..=last).collect(), "each update has a version of its own");
    let shown: Vec<Value> = (1..=3).map(|gateway| get(&mut reader(&fleet, gateway))).collect();
    assert_eq!(shown[0]["version"], last);
    assert_eq!(shown[0]["state"]["reported"].as_object().unwrap().len(), 3 * COUNT);
    assert_eq!(shown[0]["state"], shown[1]["state"]);
    assert_eq!(shown[0]["state"], shown[2]["state"]);
}

#[test]
fn what_was_acknowledged_is_there_after_kill_9() {
    let mut fleet = Fleet::start_with(2, &fast());
    // Before the other gateway is gone: a subscription waits for it as long as its lease lasts.
    let mut reader = reader(&fleet, 2);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(1));
    for number in 1..=20 {
        let update = format!("{{\"state\":{{\"desired\":{{\"n\":{number}}}}}}}");
        writer.publish(UPDATE, &update, QoS::AtLeastOnce);
    }
    fleet.kill(1);
    let shown = get(&mut reader);
    assert_eq!((&shown["version"], &shown["state"]["desired"]["n"]), (&20.into(), &20.into()));
}

#[test]
fn operators_see_and_change_shadows_from_the_command_line() {
    let fleet = Fleet::start_with(1, &fast());
    let mut device = Dial::v311("t").connect(fleet.mqtt(1));
    device.subscribe(&format!("{UPDATE}/delta"), QoS::AtLeastOnce);
    let missing = fleet.command(&["shadow", "get", "t"]);
    assert_ne!(missing.code, Some(0));
    assert!(missing.err.contains("No shadow exists with name: t"), "{missing:?}");
    let change = "{\"state\":{\"desired\":{\"led\":\"on\"}}}";
    let changed = fleet.command(&["--json", "shadow", "update", "t", change]);
    assert_eq!((changed.code, &json(&changed.out)["version"]), (Some(0), &1.into()), "{changed:?}");
    assert_eq!(json(&device.receive().text)["state"]["led"], "on");
    let named = fleet.command(&["shadow", "update", "t", "--name", "lamp", change]);
    assert_eq!(named.code, Some(0), "{named:?}");
    assert_eq!(fleet.command(&["shadow", "list", "t"]).out, "lamp\n");
    let deleted = fleet.command(&["shadow", "delete", "t", "--name", "lamp"]);
    assert_eq!(deleted.code, Some(0), "{deleted:?}");
    assert_eq!(fleet.command(&["shadow", "list", "t"]).out, "");
    let shown = fleet.command(&["--json", "shadow", "get", "t"]);
    assert_eq!(json(&shown.out)["state"]["delta"]["led"], "on");
}

/// Updates of each writer whose versions are watched.
const CHANGES: u64 = 40;

fn count_up(name: &str, address: SocketAddr) {
    let mut writer = Dial::v311(name).connect(address);
    for number in 1..=CHANGES {
        let update = format!("{{\"state\":{{\"desired\":{{\"{name}\":{number}}}}}}}");
        writer.publish(UPDATE, &update, QoS::AtLeastOnce);
    }
}

/// The versions that a client is told, up to and with the last one.
fn versions(client: &mut Client, last: u64) -> Vec<u64> {
    let mut seen = Vec::new();
    while seen.last() != Some(&last) {
        let message: Value = serde_json::from_str(&client.receive().text).unwrap();
        let version =
            message["version"].as_u64().or_else(|| message["current"]["version"].as_u64());
        seen.push(version.unwrap());
    }
    seen
}

#[test]
fn versions_only_grow_for_who_watches_from_another_gateway() {
    let fleet = Fleet::start_with(3, &fast());
    let sent = |gateway| fleet.metric(gateway, "tidegate_forwards_sent_total");
    let before = [sent(1), sent(2), sent(3)];
    let watch = |dial: Dial, gateway, filter: &str| {
        let mut watcher = dial.connect(fleet.mqtt(gateway));
        watcher.subscribe(filter, QoS::AtLeastOnce);
        watcher
    };
    let documents = format!("{UPDATE}/documents");
    let mut clean: Vec<_> = (1..=3)
        .map(|gateway| watch(Dial::v5(&format!("clean-{gateway}")), gateway, &documents))
        .collect();
    let wild = "$aws/things/+/shadow/update/delta";
    clean.push(watch(Dial::v311("wild"), 2, wild));
    let mut queued = watch(Dial::v5("queued").persistent(), 3, &documents);
    let writers = [1, 2].map(|gateway| {
        let address = fleet.mqtt(gateway);
        std::thread::spawn(move || count_up(&format!("w{gateway}"), address))
    });
    for writer in writers {
        writer.join().unwrap();
    }
    let last = 2 * CHANGES;
    for watcher in &mut clean {
        let seen = versions(watcher, last);
        let grows = seen.windows(2).all(|pair| pair[0] < pair[1]);
        assert!(grows, "{}: {seen:?}", watcher.id());
    }
    // Whoever has a queue misses none.
    assert_eq!(versions(&mut queued, last), (1..=last).collect::<Vec<_>>());
    assert_eq!([sent(1), sent(2), sent(3)], before, "nothing of it crossed");
}
