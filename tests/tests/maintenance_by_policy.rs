//! What the plan says is done: hosts are visited when their policies allow it, one after the other, whoever dies meanwhile,
//! and no client loses anything by it.
#![expect(
    clippy::panic,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a scenario may fail loudly"
)]
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "what was not expected is told, whatever it is"
)]

use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use jiff::Timestamp;
use maintenance::execution::{Event, Execution, Order};
use maintenance::{Host, HostState, Ledger};
use protocol::mqtt::codec::AckKind;
use protocol::mqtt::{Ack, Packet, ReasonCode, Version, codec};
use protocol::{GatewayId, PacketId, QoS, Wall};
use serde_json::Value;
use store::{Expect, Outcome, Put, Space, SqliteOptions, SqliteStore, Store as _, Write};
use tests::harness::{Answer, Client, Dial, Fleet, Settings, eventually, get};

#[test]
fn every_gateway_is_started_again_one_by_one_and_nobody_loses_anything() {
    let mut fleet = Fleet::start_with(3, &settings());
    let lives = [1, 2, 3].map(|number| life(&fleet, number));
    let traffic = Traffic::begin(&fleet);
    let mut watcher = Traveller::new(Dial::v5("watcher").persistent(), &fleet, 0);
    watcher.client.subscribe("gone/#", QoS::AtLeastOnce);

    let desk = Desk::of(&fleet);
    start_all_again(&fleet);
    desk.wait_done(&mut fleet, 3);
    eventually("how long a restart takes was learned", || {
        fleet_goes_on(&mut fleet);
        let list = fleet.api(1, "/api/v1/maintenance/estimates");
        let restart = list["estimates"].as_array()?.iter().find(|it| it["kind"] == "restart")?;
        (restart["samples"] == 3).then_some(())
    });

    started_again(&mut fleet, &lives);
    assert_eq!(slots(&fleet), 0);
    traffic.end().say("gone/end", "end");
    assert_eq!(watcher.next(), "end", "no will was published");
}

#[test]
fn it_goes_on_when_the_scheduler_is_killed() {
    let mut fleet = Fleet::start_with(3, &settings());
    let lives = [1, 2, 3].map(|number| life(&fleet, number));
    let traffic = Traffic::begin(&fleet);
    let desk = Desk::of(&fleet);
    start_all_again(&fleet);
    desk.wait_begun(&mut fleet);
    let scheduler = scheduler(&mut fleet);
    fleet.kill(scheduler);
    fleet.launch(scheduler);
    desk.wait_done(&mut fleet, 3);
    started_again(&mut fleet, &lives);
    drop(traffic.end());
}

#[test]
fn a_fleet_is_started_again_inside_its_windows_whichever_gateways_are_killed_meanwhile() {
    let mut fleet = Fleet::start_with(5, &settings());
    let lives: Vec<_> = (1..=5).map(|number| life(&fleet, number)).collect();
    let traffic = Traffic::begin(&fleet);
    let desk = Desk::of(&fleet);
    // One that opens in a moment and may be too short for all, and one that is not.
    let opens = Timestamp::now().as_second() + 5;
    let windows = [(opens, opens + 75), (opens + 85, opens + 36_000)];
    let moment = |second| Timestamp::from_second(second).expect("a moment");
    let [first, second] = windows
        .map(|(from, to)| format!("{{ from = \"{}\", to = \"{}\" }}", moment(from), moment(to)));
    fleet.put_policy(&format!(
        "[policy.all]\nwindows = [ {first}, {second} ]\n\
         failure = {{ max = 100, per = \"24h\", then = \"pause\" }}\n"
    ));
    want_all_again(&fleet);
    desk.wait_begun(&mut fleet);
    let scheduler = scheduler(&mut fleet);
    let visited = desk.stages().into_keys().collect::<String>();
    let other = (1..=5).find(|it| *it != scheduler && !visited.contains(&format!("gw-{it}")));
    for victim in [other.expect("two are enough"), scheduler] {
        // It may have ended itself by then, since its turn came.
        fleet_goes_on(&mut fleet);
        fleet.kill(victim);
        fleet.launch(victim);
        fleet.wait_ready(victim);
    }
    // The calendar may keep all of them waiting until then, and that is nobody's delay.
    while Timestamp::now() < moment(windows[1].0) {
        fleet_goes_on(&mut fleet);
        thread::sleep(Duration::from_millis(10));
    }
    desk.wait_done(&mut fleet, 5);
    started_again(&mut fleet, &lives);
    drop(traffic.end());
    let told = fleet.api(1, "/api/v1/maintenance/audit?max=1000");
    heeds(&windows, told["entries"].as_array().expect("entries"));
}

/// Slots are granted and begun, and what cannot be taken back is begun, inside windows only and by one gateway at a time; by each of
/// the five, since a new life alone may be that of one that was killed.
fn heeds(windows: &[(i64, i64)], entries: &[Value]) {
    let (mut held, mut crossed) = (HashSet::new(), HashSet::new());
    for entry in entries {
        let record = &entry["record"];
        let text = |key: &str| record[key].as_str().expect("a text").to_owned();
        let at = record["at_ms"].as_i64().expect("a time");
        match text("action").as_str() {
            "slot.granted" | "slot.started" | "slot.crossed" => {
                let open = windows.iter().any(|(from, to)| (1000 * from..1000 * to).contains(&at));
                assert!(open, "no window was open: {entry}");
                held.insert(text("object"));
                crossed.extend((text("action") == "slot.crossed").then(|| text("object")));
                assert_eq!(held.len(), 1, "{entry}");
            }
            "slot.released" | "slot.handed_back" => drop(held.remove(&text("object"))),
            _ => {}
        }
    }
    assert!(held.is_empty() && crossed.len() == 5, "{crossed:?} done, {held:?} still held");
}

#[test]
fn a_visit_is_paused_goes_on_and_is_called_off_as_an_operator_says() {
    let fleet = Fleet::start_with(2, &settings());
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    fleet.allow_visits("");
    let hold = "operation add --kind drain-only --hold-s 7200 --host gw-1 --id night --reason test";
    fleet.maintain(hold);
    assert_eq!(device.end_reason(), Some(ReasonCode::UseAnotherServer));
    let desk = Desk::of(&fleet);
    eventually("the gateway is held drained", || {
        desk.steps().contains(&"hold".to_owned()).then_some(())
    });
    // Commands do not take it from the visit.
    for command in ["undrain", "abort"] {
        let taken = fleet.command(&["drain", command, "gw-1"]);
        assert_eq!(taken.code, Some(4), "{taken:?}");
    }
    let order = |word: &str| {
        let line = format!("visit {word} gw-1/night --reason test");
        let told = fleet.maintain(&line);
        told.pointer("/execution/paused").and_then(Value::as_bool).expect("paused or not")
    };
    assert!(order("pause"));
    assert!(!order("resume"));
    let nothing = fleet.maintenance("visit retry gw-1/night --reason test");
    assert_eq!(nothing.code, Some(4), "nothing is to be decided: {nothing:?}");
    // What nobody can read allows nothing, and keeps nobody from coming back.
    desk.put([("freeze/damaged", b"{}".to_vec(), Expect::Absent)]);
    order("abort");
    eventually("the visit is called off", || {
        desk.stages().values().any(|stage| stage == "\"cancelled\"").then_some(())
    });
    assert_eq!(slots(&fleet), 0);
    Dial::v5("device").persistent().connect(fleet.mqtt(1)).ping();
    let over = fleet.maintenance("visit abort gw-1/night --reason test");
    assert_eq!(over.code, Some(4), "{over:?}");
}

#[test]
fn a_gateway_that_was_written_off_while_it_heard_nobody_is_not_held_any_more() {
    let fleet = Fleet::start_with(2, &settings());
    fleet.allow_visits("");
    let hold = "operation add --kind drain-only --hold-s 7200 --host gw-1 --id night --reason test";
    fleet.maintain(hold);
    let desk = Desk::of(&fleet);
    eventually("the gateway is held drained", || {
        desk.steps().contains(&"hold".to_owned()).then_some(())
    });
    desk.write_off("gw-1");
    eventually("the gateway serves", || {
        (fleet.api(1, "/api/v1/gateway")["state"] == "serving").then_some(())
    });
}

/// Who holds the scheduler's lease.
fn scheduler(fleet: &mut Fleet) -> usize {
    eventually("somebody schedules", || {
        fleet_goes_on(fleet);
        fleet.running().find(|number| {
            let http = fleet.place(*number).http;
            let metrics = get(http, "/metrics").map(|answer| answer.body).unwrap_or_default();
            metrics.contains("\ntidegate_maintenance_scheduler 1\n")
        })
    })
}

/// Everything is allowed now, and somebody wants all gateways started again.
fn start_all_again(fleet: &Fleet) {
    fleet.allow_visits("");
    want_all_again(fleet);
}

fn want_all_again(fleet: &Fleet) {
    for number in fleet.running() {
        let line = format!(
            "operation add --kind restart --class drain --host gw-{number} --id again-{number} --reason test"
        );
        fleet.maintain(&line);
    }
}

/// Who is killed is started again at once, so nobody has to notice a silence: leases last as long as a loaded machine needs.
fn settings() -> Settings {
    Settings::default()
        .everywhere("[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n")
}

/// Starts those again that ended to be started again.
fn fleet_goes_on(fleet: &mut Fleet) {
    let running: Vec<_> = fleet.running().collect();
    for number in running {
        if let Some(code) = fleet.ended(number) {
            assert_eq!(code, Some(75), "gateway {number} ended:\n{}", fleet.process(number).log());
            fleet.launch(number);
        }
    }
}

/// Which life of its process a gateway is in.
fn life(fleet: &Fleet, number: usize) -> u64 {
    let gateway = fleet.api(number, "/api/v1/gateway");
    gateway.get("incarnation").and_then(Value::as_u64).expect("a life")
}

/// Every gateway is ready, in another life than it was in.
fn started_again(fleet: &mut Fleet, lives: &[u64]) {
    for (number, before) in (1..).zip(lives) {
        fleet.wait_ready(number);
        assert!(life(fleet, number) > *before, "gw-{number} was not started again");
    }
}

/// How many slots are held.
fn slots(fleet: &Fleet) -> usize {
    let visits = fleet.api(1, "/api/v1/maintenance/visits");
    visits.pointer("/ledger/slots").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Reads the documents of maintenance.
struct Desk {
    store: SqliteStore,
}

impl Desk {
    fn of(fleet: &Fleet) -> Self {
        let options = SqliteOptions { busy: Duration::from_secs(60), ..SqliteOptions::default() };
        let store = SqliteStore::existing(&fleet.dir().join("store"), options);
        Self { store: store.expect("the store of the fleet") }
    }

    /// Gives a host up for lost in the middle of its visit, as another gateway does that does not see it live.
    fn write_off(&self, host: &str) {
        let mut reader = self.store.reader().expect("a reader");
        let visits = reader.scan(Space::Maintenance, b"execution/", None, 100).expect("documents");
        let [(key, stored)] = &visits[..] else { panic!("one visit: {visits:?}") };
        let mut visit: Value = serde_json::from_slice(&stored.value).expect("JSON");
        let execution = Execution::decode(visit["execution"].to_string().as_bytes());
        let order = Order::WriteOff { reason: "disk dead".into() };
        let event = Event::Order { by: "ada".into(), order };
        let over = execution.expect("an execution").handle(&event, Wall(0)).expect("a visit").next;
        let over = over.encode().expect("bytes");
        visit["execution"] = serde_json::from_slice(&over).expect("JSON");
        let held = reader.get(Space::Maintenance, b"ledger").expect("a store").expect("a ledger");
        let mut ledger = Ledger::decode(&held.value).expect("a ledger");
        let id = GatewayId::new(host).expect("a name");
        let slot = ledger.slot(&id).expect("a slot").clone();
        let lost = Host::new(id, slot.incarnation, HostState::Lost);
        ledger.write_off(Wall(0), &lost, Some(slot.epoch), "ada", "disk dead").expect("a reason");
        let key = String::from_utf8_lossy(key).into_owned();
        self.put([
            (&key, visit.to_string().into_bytes(), Expect::Rev(stored.rev)),
            ("ledger", ledger.encode().expect("bytes"), Expect::Rev(held.rev)),
        ]);
    }

    /// All of them, or none.
    fn put<const N: usize>(&self, documents: [(&str, Vec<u8>, Expect); N]) {
        let put = |(key, value, expect): (&str, Vec<u8>, Expect)| Put {
            space: Space::Maintenance,
            key: key.as_bytes().to_vec().into(),
            value: Some(value.into()),
            expect,
            announce: false,
        };
        let puts = documents.into_iter().map(put).collect();
        let write = Write { puts, ..Write::default() };
        let mut writer = self.store.writer().expect("a writer");
        let commit = writer.commit(&[write]).expect("a store that can be written");
        assert!(matches!(commit.outcomes[..], [Outcome::Done { .. }]), "{commit:?}");
    }

    /// Where each visit stands, by name.
    fn stages(&self) -> BTreeMap<String, String> {
        self.visits().iter().map(stage_of).collect()
    }

    /// The last steps that were begun.
    fn steps(&self) -> Vec<String> {
        let last = |(_, document): &(String, Value)| {
            let journal = document.pointer("/execution/journal")?.as_array()?;
            Some(journal.last()?.get("step")?.as_str()?.to_owned())
        };
        self.visits().iter().filter_map(last).collect()
    }

    fn visits(&self) -> Vec<(String, Value)> {
        let mut reader = self.store.reader().expect("a reader");
        let found = reader.scan(Space::Maintenance, b"execution/", None, 100).expect("documents");
        let read = |(key, doc): &(_, store::Doc)| {
            let document: Value = serde_json::from_slice(&doc.value).expect("JSON");
            (String::from_utf8_lossy(AsRef::<[u8]>::as_ref(key)).into_owned(), document)
        };
        found.iter().map(read).collect()
    }

    /// Waits until a visit has begun.
    fn wait_begun(&self, fleet: &mut Fleet) {
        eventually("a visit has begun", || {
            fleet_goes_on(fleet);
            (!self.stages().is_empty()).then_some(())
        });
    }

    /// Waits until so many visits are done; whatever changes in one of them has the patience of an event.
    fn wait_done(&self, fleet: &mut Fleet, visits: usize) {
        let mut known = self.visits();
        while done_of(&known) < visits {
            let what = format!("something happens when {} visits are done", done_of(&known));
            known = eventually(&what, || {
                fleet_goes_on(fleet);
                Some(self.visits()).filter(|now| *now != known)
            });
        }
    }
}

/// How many visits are done. None may have failed, and none may ask for an operator but for a host that was killed.
fn done_of(visits: &[(String, Value)]) -> usize {
    let stages: Vec<_> = visits.iter().map(stage_of).collect();
    for (_, stage) in &stages {
        let asks = stage.contains("needs_operator") && !stage.contains("lost");
        assert!(!asks && !stage.contains("failed"), "{stages:#?}");
    }
    stages.iter().filter(|(_, stage)| stage == "\"done\"").count()
}

/// The name of a visit, and where it stands.
fn stage_of((name, document): &(String, Value)) -> (String, String) {
    (name.clone(), document.pointer("/execution/stage").expect("a stage").to_string())
}

/// Devices that get what writers write, and go wherever somebody takes them.
struct Traffic {
    stop: Arc<AtomicBool>,
    writers: Vec<JoinHandle<usize>>,
    devices: Vec<JoinHandle<(String, Vec<String>)>>,
    ender: Traveller,
}

impl Traffic {
    fn begin(fleet: &Fleet) -> Self {
        let devices = (0..12).map(|n| {
            let version = if n % 3 == 0 { Version::V311 } else { Version::V5 };
            let id = format!("device-{n}");
            let dial = Dial::new(version, &id).persistent().will(&format!("gone/{id}"), "lost");
            let mut device = Traveller::new(dial, fleet, n);
            device.client.subscribe("t/#", QoS::AtLeastOnce);
            thread::spawn(move || {
                let received = device.receive_all();
                device.client.disconnect();
                (id, received)
            })
        });
        let devices = devices.collect();
        let stop = Arc::new(AtomicBool::new(false));
        let writers = (0..3).map(|n| {
            let (stop, dial) = (Arc::clone(&stop), Dial::v5(&format!("writer-{n}")).persistent());
            let mut writer = Traveller::new(dial, fleet, n);
            thread::spawn(move || {
                let mut count = 0;
                while !stop.load(Ordering::SeqCst) {
                    writer.say(&format!("t/{n}"), &format!("{n}-{count}"));
                    count += 1;
                    // A device must not have to catch up with more than a moment.
                    thread::sleep(Duration::from_millis(5));
                }
                count
            })
        });
        let writers = writers.collect();
        let ender = Traveller::new(Dial::v5("ender").persistent(), fleet, 0);
        Self { stop, writers, devices, ender }
    }

    /// Every device has got everything, in order. Answers a client that has nothing more to do.
    fn end(mut self) -> Traveller {
        self.stop.store(true, Ordering::SeqCst);
        let sent: Vec<_> =
            self.writers.into_iter().map(|writer| writer.join().expect("no panic")).collect();
        self.ender.say("t/end", "end");
        for device in self.devices {
            let (id, received) = device.join().expect("no panic");
            for (writer, count) in sent.iter().enumerate() {
                let of = received.iter().filter_map(|it| it.strip_prefix(&format!("{writer}-")));
                let expected: Vec<_> = (0..*count).map(|number| number.to_string()).collect();
                assert_eq!(of.collect::<Vec<_>>(), expected, "{id} from {writer}");
            }
        }
        self.ender
    }
}

/// A client that goes on at another gateway when its own sends it away or is gone.
struct Traveller {
    dial: Dial,
    places: Vec<SocketAddr>,
    at: usize,
    client: Client,
}

impl Traveller {
    fn new(dial: Dial, fleet: &Fleet, first: usize) -> Self {
        let places: Vec<_> = fleet.running().map(|number| fleet.mqtt(number)).collect();
        let at = first % places.len();
        let client = dial.clone().connect(places[at]);
        Self { dial, places, at, client }
    }

    /// Goes where somebody takes it.
    fn travel(&mut self) {
        self.client = eventually("a gateway takes the client", || {
            self.at = (self.at + 1) % self.places.len();
            let stream = TcpStream::connect(self.places[self.at]).ok()?;
            match self.dial.clone().try_over(Box::new(stream)) {
                Answer::Accepted(client) => Some(client),
                Answer::Refused { .. } | Answer::Closed => None,
            }
        });
        assert!(self.client.session_present, "the session of {} is lost", self.client.id());
    }

    /// Publishes until it is acknowledged.
    fn say(&mut self, topic: &str, text: &str) {
        while !self.try_say(topic, text) {
            self.travel();
        }
    }

    fn try_say(&mut self, topic: &str, text: &str) -> bool {
        let Some(id) = self.client.try_start_publish(topic, text, QoS::AtLeastOnce) else {
            return false;
        };
        let Some(frame) = self.client.next_or_end() else { return false };
        match frame.packet() {
            Packet::PubAck(ack) if ack.packet_id == id => true,
            Packet::Disconnect(_) => false,
            other => panic!("{other:?}"),
        }
    }

    /// The next message, acknowledged.
    fn next(&mut self) -> String {
        loop {
            let Some(frame) = self.client.next_or_end() else {
                self.travel();
                continue;
            };
            match frame.packet() {
                Packet::Publish(publish) => {
                    let text = String::from_utf8_lossy(publish.payload).into_owned();
                    if let Some(id) = publish.packet_id {
                        acknowledge(&mut self.client, id);
                    }
                    return text;
                }
                Packet::PubAck(_) => {}
                Packet::Disconnect(_) => self.travel(),
                other => panic!("{other:?}"),
            }
        }
    }

    /// Everything up to the end, in the order of its first arrival.
    fn receive_all(&mut self) -> Vec<String> {
        let (mut order, mut known) = (Vec::new(), HashSet::new());
        loop {
            let text = self.next();
            if text == "end" {
                return order;
            }
            if known.insert(text.clone()) {
                order.push(text);
            }
        }
    }
}

/// To a gateway that may have gone.
fn acknowledge(client: &mut Client, id: PacketId) {
    let mut bytes = Vec::new();
    codec::ack(&mut bytes, Version::V311, AckKind::PubAck, &Ack::of(id, ReasonCode::Success));
    let _ = client.try_send(&bytes);
}
