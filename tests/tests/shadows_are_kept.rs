//! V2: an update of a shadow that was accepted is stored, whichever gateways change it at the same time, and whichever
//! process dies; who watches it, at whichever gateway, ends at the newest version and never goes back.
#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may fail loudly")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use protocol::QoS;
use protocol::mqtt::Packet;
use serde_json::Value;
use tests::harness::{Client, Dial, Fleet, Settings, eventually};

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

/// Numbers of each writer that goes on elsewhere: few, so that the document stays small.
const NUMBERS: u64 = 8;

/// Changes the shadow without a rest, goes on at its next gateway when one lets it go, and says again what was not answered.
struct Wanderer {
    name: String,
    /// Where it goes, one after the other; it stays at the last one, or begins again.
    ways: Vec<SocketAddr>,
    at: usize,
    client: Client,
    /// It goes on by itself after so many updates; 0 is never.
    rests: u64,
    /// Updates that were accepted.
    done: Arc<AtomicU64>,
    /// Times that it asked.
    asked: u64,
}

impl Wanderer {
    fn begin(
        fleet: &Fleet,
        (name, ways, rests): (&str, &[usize], u64),
        stop: &Arc<AtomicBool>,
    ) -> (Arc<AtomicU64>, JoinHandle<Self>) {
        let ways: Vec<_> = ways.iter().map(|gateway| fleet.mqtt(*gateway)).collect();
        let mut client = Dial::v5(name).persistent().connect(ways[0]);
        for answer in ["accepted", "rejected"] {
            client.subscribe(&format!("{UPDATE}/{answer}"), QoS::AtMostOnce);
        }
        let (name, done) = (name.to_owned(), Arc::new(AtomicU64::new(0)));
        let mut this = Self { name, ways, at: 0, client, rests, done: Arc::clone(&done), asked: 0 };
        let stop = Arc::clone(stop);
        let thread = std::thread::spawn(move || {
            while !stop.load(Ordering::SeqCst) {
                this.update(this.done.load(Ordering::SeqCst) + 1);
            }
            this
        });
        (done, thread)
    }

    fn update(&mut self, number: u64) {
        let name = &self.name;
        let token = format!("{name}-{number}");
        let update = format!(
            "{{\"state\":{{\"reported\":{{\"{name}-{}\":{number}}}}},\"clientToken\":\"{token}\"}}",
            number % NUMBERS
        );
        loop {
            self.asked += 1;
            let sent = self.client.try_start_publish(UPDATE, &update, QoS::AtLeastOnce);
            match sent.and_then(|_| self.answer(&token)) {
                Some(true) => break,
                // The store did not take it: it promises that it did not happen.
                Some(false) => {}
                None => self.go_on(),
            }
        }
        self.done.store(number, Ordering::SeqCst);
        if self.rests > 0 && number.is_multiple_of(self.rests) {
            self.go_on();
        }
    }

    /// Whether the request was accepted; none if the gateway let go before it said so.
    fn answer(&mut self, token: &str) -> Option<bool> {
        loop {
            let frame = self.client.next_or_end()?;
            let packet = frame.packet();
            if matches!(packet, Packet::Disconnect(_)) {
                return None;
            }
            if let Packet::Publish(publish) = packet
                && serde_json::from_slice::<Value>(publish.payload).unwrap()["clientToken"]
                    == *token
            {
                return Some(publish.topic.ends_with("/accepted"));
            }
        }
    }

    /// Connects at the next gateway, whether or not the one before has let go.
    fn go_on(&mut self) {
        self.at += 1;
        let address = self.ways[self.at % self.ways.len()];
        self.client = Dial::v5(&self.name).persistent().connect(address);
        assert!(self.client.session_present, "{}", self.name);
    }
}

/// Reads in a thread of its own until the last update; answers the versions that the client was told.
fn watch_to_the_end(fleet: &Fleet, dial: Dial, gateway: usize) -> JoinHandle<Vec<u64>> {
    let mut watcher = dial.connect(fleet.mqtt(gateway));
    watcher.subscribe(&format!("{UPDATE}/documents"), QoS::AtLeastOnce);
    std::thread::spawn(move || {
        let mut seen = Vec::new();
        loop {
            let current = json(&watcher.receive().text)["current"].clone();
            seen.push(current["version"].as_u64().unwrap());
            if current["state"]["desired"]["end"] == true {
                return seen;
            }
        }
    })
}

/// Ends everything, and compares what is stored with what writers and watchers have seen.
fn compare(
    mut reader: Client,
    writers: Vec<JoinHandle<Wanderer>>,
    queued: JoinHandle<Vec<u64>>,
    clean: Vec<JoinHandle<Vec<u64>>>,
) {
    let writers: Vec<_> = writers.into_iter().map(|writer| writer.join().unwrap()).collect();
    let (mut done, mut asked) = (1, 0);
    let shown = loop {
        reader.publish(UPDATE, "{\"state\":{\"desired\":{\"end\":true}}}", QoS::AtLeastOnce);
        asked += 1;
        let shown = get(&mut reader);
        if shown["state"]["desired"]["end"] == true {
            break shown;
        }
    };
    for writer in &writers {
        let last = writer.done.load(Ordering::SeqCst);
        for number in last.saturating_sub(NUMBERS - 1).max(1)..=last {
            let name = format!("{}-{}", writer.name, number % NUMBERS);
            assert_eq!(shown["state"]["reported"][&name], number, "{name} of {shown}");
        }
        (done, asked) = (done + last, asked + writer.asked);
    }
    let version = shown["version"].as_u64().unwrap();
    assert!((done..=asked).contains(&version), "{version}, of {done} to {asked}");
    assert_eq!(queued.join().unwrap(), (1..=version).collect::<Vec<_>>(), "each in its order");
    for watcher in clean {
        let seen = watcher.join().unwrap();
        assert!(seen.windows(2).all(|pair| pair[0] < pair[1]), "{seen:?}");
        assert_eq!(seen.last(), Some(&version));
    }
}

fn wait_for_updates(done: &AtomicU64, count: u64) {
    eventually("updates are accepted", || (done.load(Ordering::SeqCst) >= count).then_some(()));
}

/// V2 and D1.
#[test]
fn updates_go_on_through_a_drain_and_while_clients_move() {
    let fleet = Fleet::start_with(3, &fast());
    let reader = reader(&fleet, 3);
    let queued = watch_to_the_end(&fleet, Dial::v5("queued").persistent(), 2);
    let clean = [2, 3].map(|at| watch_to_the_end(&fleet, Dial::v5(&format!("clean-{at}")), at));
    let stop = Arc::new(AtomicBool::new(false));
    let begin = |name, ways: &[usize], rests| Wanderer::begin(&fleet, (name, ways, rests), &stop);
    let writers = [begin("a", &[1, 2], 0), begin("b", &[1, 3], 0), begin("c", &[2, 3], 3)];
    writers.iter().for_each(|(done, _)| wait_for_updates(done, 6));
    let ran = fleet.command(&["drain", "start", "gw-1", "--wait", "--announce-ms", "100"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    for (done, _) in &writers {
        wait_for_updates(done, done.load(Ordering::SeqCst) + 6);
    }
    stop.store(true, Ordering::SeqCst);
    let writers = writers.map(|(_, thread)| thread).into();
    compare(reader, writers, queued, clean.into());
}

#[test]
fn updates_go_on_while_a_gateway_is_killed_and_none_is_lost() {
    let mut fleet = Fleet::start_with(3, &fast());
    // Before a gateway is gone: a subscription waits for it as long as its lease lasts.
    let reader = reader(&fleet, 3);
    let queued = watch_to_the_end(&fleet, Dial::v5("queued").persistent(), 3);
    let clean = watch_to_the_end(&fleet, Dial::v5("clean"), 2);
    let stop = Arc::new(AtomicBool::new(false));
    let ways: [(&str, &[usize]); 3] = [("a", &[1, 2]), ("b", &[2]), ("c", &[3])];
    let writers = ways.map(|(name, ways)| Wanderer::begin(&fleet, (name, ways, 0), &stop));
    writers.iter().for_each(|(done, _)| wait_for_updates(done, 6));
    fleet.kill(1);
    for (done, _) in &writers {
        wait_for_updates(done, done.load(Ordering::SeqCst) + 6);
    }
    stop.store(true, Ordering::SeqCst);
    let writers = writers.map(|(_, thread)| thread).into();
    compare(reader, writers, queued, vec![clean]);
}
