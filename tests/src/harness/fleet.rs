//! A fleet of gateways on this machine, in a folder of its own.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;

use tempfile::TempDir;

use super::cable::Cable;
use super::islands::Islands;
use super::plan::{self, Place, Settings};
use super::process::{Process, Signal};
use super::{Ran, eventually, get, metric, run, tidegate};

/// Real gateways that share one store. Gateways are counted from 1, as their names are: `gw-1`, `gw-2`.
#[derive(Debug)]
pub struct Fleet {
    // Before the folder: processes end before their files go.
    processes: Vec<Option<Process>>,
    cables: Vec<Cable>,
    islands: Option<Islands>,
    places: Vec<Place>,
    dir: TempDir,
}

impl Fleet {
    /// Starts so many gateways and waits until each is ready and all peer links are up.
    pub fn start(gateways: usize) -> Self {
        Self::start_with(gateways, &Settings::default())
    }

    /// Starts so many gateways with settings of their own.
    pub fn start_with(gateways: usize, settings: &Settings) -> Self {
        let mut fleet = Self::prepare(gateways, settings);
        (1..=gateways).for_each(|number| fleet.launch(number));
        (1..=gateways).for_each(|number| fleet.wait_ready(number));
        fleet.wait_linked();
        fleet
    }

    /// A fleet's folder with certificates and configurations, and nothing started yet.
    pub fn prepare(gateways: usize, settings: &Settings) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder");
        let mut places = plan::places(gateways);
        let islands = settings.has_islands().then(|| Islands::make(gateways));
        for (place, number) in places.iter_mut().zip(1..).filter(|_| islands.is_some()) {
            place.peer = Islands::peer(number, place.peer.port());
        }
        let names: Vec<_> = (1..=gateways).map(plan::id).collect();
        let names: Vec<_> = names.iter().map(String::as_str).collect();
        certs::development_set(&dir.path().join("certs"), &names).expect("certificates");
        for (index, place) in places.iter().enumerate() {
            let file = settings.file(index + 1, place, dir.path());
            std::fs::write(dir.path().join(format!("{}.toml", plan::id(index + 1))), file)
                .expect("a configuration file");
        }
        std::fs::write(dir.path().join("fleet.json"), record(&places)).expect("fleet.json");
        let processes = places.iter().map(|_| None).collect();
        let cabled = places.iter().filter(|_| settings.has_cables());
        let cables = cabled.map(|place| Cable::lay(place.extra[1], place.peer)).collect();
        Self { processes, cables, islands, places, dir }
    }

    /// Starts one gateway again, or for the first time, without waiting for it.
    pub fn launch(&mut self, number: usize) {
        self.launch_in(number, "");
    }

    /// The same in surroundings of its own: lines for the shell that becomes the gateway.
    pub fn launch_in(&mut self, number: usize, prelude: &str) {
        let log = self.dir.path().join(format!("{}.log", plan::id(number)));
        let island = self.islands.as_ref().map(|islands| islands.prelude(number));
        let prelude = format!("{prelude}\n{}", island.unwrap_or_default());
        let process = Process::start(&self.configuration(number), &log, &prelude);
        *self.slot(number) = Some(process);
    }

    /// Waits until the log of a gateway says this: its lines are written some at a time.
    pub fn wait_log(&self, number: usize, text: &str) {
        eventually(&format!("gateway {number} logs {text:?}"), || {
            self.process(number).log().contains(text).then_some(())
        });
    }

    /// Waits until a gateway is ready for clients.
    pub fn wait_ready(&mut self, number: usize) {
        let http = self.place(number).http;
        let mut process = self.slot(number).take().expect("a gateway that was started");
        eventually(&format!("gateway {number} is ready"), || {
            if let Some(status) = process.has_ended() {
                panic!("gateway {number} ended ({status}):\n{}", process.log());
            }
            self.on(number, || get(http, "/readyz")).filter(|answer| answer.status == 200)
        });
        *self.slot(number) = Some(process);
    }

    /// Waits until every running gateway has a link to each other running one and knows that it serves.
    pub fn wait_linked(&self) {
        let running: Vec<_> = self.running().collect();
        for number in &running {
            let wanted = running.len() as u64 - 1;
            eventually(&format!("gateway {number} is linked"), || {
                (self.metric(*number, "tidegate_peers_up") >= wanted).then_some(())
            });
            eventually(&format!("gateway {number} knows who serves"), || {
                let serving = self.serving(*number);
                running.iter().all(|other| serving.contains(&plan::id(*other))).then_some(())
            });
        }
    }

    /// The gateways that serve, as one of them knows.
    pub fn serving(&self, as_known_by: usize) -> Vec<String> {
        let list = self.api(as_known_by, "/api/v1/gateways");
        let gateways = list.get("gateways").and_then(serde_json::Value::as_array);
        let text = |gateway: &serde_json::Value, key| Some(gateway.get(key)?.as_str()?.to_owned());
        let all = gateways.expect("a list of gateways").iter();
        let serving = all.filter(|gateway| text(gateway, "state").as_deref() == Some("serving"));
        serving.filter_map(|gateway| text(gateway, "id")).collect()
    }

    /// `kill -9`: returns when the process is gone.
    pub fn kill(&mut self, number: usize) {
        let mut process = self.slot(number).take().expect("a gateway that runs");
        process.send(Signal::Kill);
        process.ended();
    }

    /// SIGSTOP, between two commits: a gateway that stands still inside one keeps the others from the store, and is another
    /// story.
    pub fn freeze(&self, number: usize) {
        let process = self.process(number);
        let lock = self.dir.path().join("store").join("writer.lock");
        let lock = std::fs::File::open(lock).expect("the lock of a store that is there");
        eventually("a moment between two commits", || {
            process.stop();
            let free = lock.try_lock().is_ok();
            if free {
                lock.unlock().expect("a lock of ours");
            } else {
                process.send(Signal::Continue);
            }
            free.then_some(())
        });
    }

    /// SIGCONT.
    pub fn thaw(&self, number: usize) {
        self.process(number).send(Signal::Continue);
    }

    /// The cable to the peer port of a gateway, in a fleet that has them.
    pub fn cable(&self, to: usize) -> &Cable {
        self.cables.get(to - 1).expect("a fleet with cables")
    }

    /// Does something where the clients of a gateway are: in its network, if it has one of its own.
    pub fn on<T>(&self, number: usize, act: impl FnOnce() -> T) -> T {
        match &self.islands {
            Some(islands) => islands.on(number, act),
            None => act(),
        }
    }

    /// What gateway `from` sends to gateway `to` vanishes on the way, and nobody is told; in a fleet on islands.
    pub fn silence(&self, from: usize, to: usize) {
        self.islands.as_ref().expect("a fleet on islands").silence(from, to);
    }

    /// It arrives again.
    pub fn mend(&self, from: usize, to: usize) {
        self.islands.as_ref().expect("a fleet on islands").mend(from, to);
    }

    /// SIGTERM: returns when the process has ended, and asserts that it ended well.
    pub fn stop(&mut self, number: usize) {
        let mut process = self.slot(number).take().expect("a gateway that runs");
        process.send(Signal::Terminate);
        let status = process.ended();
        assert!(status.success(), "gateway {number} ended with {status}:\n{}", process.log());
    }

    /// How a gateway ended that was not told to: its exit code, if it has one. None while it runs.
    pub fn ended(&mut self, number: usize) -> Option<Option<i32>> {
        let process = self.slot(number).as_mut().expect("a gateway that was started");
        process.has_ended().map(|status| status.code())
    }

    /// Waits until the process that was started for a gateway has ended; another one may have followed it.
    pub fn wait_ended(&mut self, number: usize) -> ExitStatus {
        self.slot(number).as_mut().expect("a gateway that was started").ended()
    }

    /// Starts a gateway again and waits until it serves and is linked.
    pub fn restart(&mut self, number: usize) {
        self.launch(number);
        self.wait_ready(number);
        self.wait_linked();
    }

    /// The process of a running gateway.
    pub fn process(&self, number: usize) -> &Process {
        self.processes.get(number - 1).and_then(Option::as_ref).expect("a gateway that runs")
    }

    /// Where a gateway is.
    pub fn place(&self, number: usize) -> Place {
        *self.places.get(number - 1).expect("a gateway of this fleet")
    }

    /// Where a gateway speaks MQTT over TCP.
    pub fn mqtt(&self, number: usize) -> SocketAddr {
        self.place(number).mqtt
    }

    /// One of a gateway's metrics.
    pub fn metric(&self, number: usize, name: &str) -> u64 {
        self.on(number, || metric(self.place(number).http, name))
    }

    /// The folder of the fleet.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The folder of its certificates.
    pub fn certificates(&self) -> PathBuf {
        self.dir.path().join("certs")
    }

    /// The configuration file of one gateway.
    pub fn configuration(&self, number: usize) -> PathBuf {
        self.dir.path().join(format!("{}.toml", plan::id(number)))
    }

    /// Runs a `tidegate` command against this fleet, such as `["drain", "status", "gw-1"]`.
    pub fn command(&self, arguments: &[&str]) -> Ran {
        let dir = self.dir.path().to_str().expect("a path in UTF-8");
        run(tidegate(arguments.iter().copied()).args(["--data", dir]))
    }

    /// The answer of a gateway's API as JSON.
    pub fn api(&self, number: usize, path: &str) -> serde_json::Value {
        let answer = self.on(number, || get(self.place(number).http, path));
        let answer = answer.expect("the gateway answers");
        serde_json::from_str(&answer.body)
            .unwrap_or_else(|error| panic!("{path}: {error}: {}", answer.body))
    }

    /// The gateways that were started and not ended by the test.
    pub fn running(&self) -> impl Iterator<Item = usize> {
        self.processes.iter().enumerate().filter(|(_, it)| it.is_some()).map(|(index, _)| index + 1)
    }

    fn slot(&mut self, number: usize) -> &mut Option<Process> {
        self.processes.get_mut(number - 1).expect("a gateway of this fleet")
    }
}

/// `fleet.json`, by which the command line finds the gateways.
fn record(places: &[Place]) -> String {
    let gateways: Vec<_> = places
        .iter()
        .enumerate()
        .map(|(index, place)| {
            serde_json::json!({
                "id": plan::id(index + 1),
                "http": format!("https://{}", place.http),
                "mqtt": place.mqtt.to_string(),
                "mqtts": place.mqtts.to_string(),
                "websocket": format!("ws://{}/mqtt", place.websocket),
            })
        })
        .collect();
    serde_json::json!({ "gateways": gateways }).to_string()
}
