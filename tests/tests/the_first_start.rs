//! `tidegate` without arguments makes a fleet out of nothing, tells where it is, and stops cleanly.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a scenario may fail loudly"
)]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use protocol::QoS;
use rustix::process::{Pid, Signal, kill_process};
use tests::harness::{Dial, eventually, free_offset, run, tidegate};

#[test]
fn two_gateways_one_store_and_all_that_devices_and_operators_need() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("fleet");
    let mut fleet = Launched::start(&data);
    for file in ["ca.pem", "device-1.pem", "device-1.key", "operator.pem", "operator.key"] {
        assert!(data.join("certs").join(file).exists(), "{file}");
    }
    let [first, second] = fleet.mqtt();
    let mut reader = Dial::v5("reader").connect(second.parse().expect("an address"));
    reader.subscribe("demo/#", QoS::AtLeastOnce);
    let mut writer = Dial::v311("writer").connect(first.parse().expect("an address"));
    writer.publish("demo/hello", "hello from the other gateway", QoS::AtLeastOnce);
    assert_eq!(reader.receive().text, "hello from the other gateway");
    let ca = fs::read(data.join("certs/ca.pem")).expect("an authority");

    let at = data.to_str().expect("a path in UTF-8");
    let status = run(&mut tidegate(["status", "--data", at]));
    assert!(status.out.contains("gw-1") && status.out.contains("gw-2"), "{status:?}");
    // The second may not yet know that the first serves: both have just started.
    let drained = eventually("a drain", || {
        let ran = run(&mut tidegate(["drain", "start", "gw-1", "--wait", "--data", at]));
        (ran.code != Some(4)).then_some(ran)
    });
    assert_eq!(drained.code, Some(0), "{drained:?}");
    assert_eq!(writer.end_reason(), None);
    fleet.stop();

    // A second start finds everything as it was.
    let mut again = Launched::start(&data);
    assert_eq!(fs::read(data.join("certs/ca.pem")).expect("an authority"), ca);
    again.stop();
}

#[test]
fn a_second_fleet_on_the_same_folder_is_refused() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Launched::start(dir.path());
    let offset = free_offset();
    let ran = run(tidegate(["--base-port-offset", &offset, "--data"]).arg(dir.path()));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(ran.err.contains("another fleet runs from the data folder"), "{ran:?}");
    fleet.stop();
}

#[test]
fn a_gateway_that_is_restarted_in_place_is_not_started_once_more() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let mut fleet = Launched::start(dir.path());
    let at = dir.path().to_str().expect("a path in UTF-8");
    // The second one comes from the process that followed the first.
    for _ in 0..2 {
        let ran = run(&mut tidegate(["restart", "gw-1", "--in-place", "--data", at]));
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    // One that was started beside it would have found its ports in use.
    let log = fs::read_to_string(dir.path().join("gw-1.log")).expect("a log");
    assert!(!log.contains("cannot use"), "{log}");
    fleet.stop();
}

/// A launcher that was started, with what it said. Its gateways end with it.
struct Launched {
    child: Child,
    record: serde_json::Value,
}

impl Launched {
    fn start(data: &Path) -> Self {
        let mut command: Command =
            tidegate(["--json", "--base-port-offset", &free_offset(), "--data"]);
        let mut child = command.arg(data).stdout(Stdio::piped()).spawn().expect("a launcher");
        let mut line = String::new();
        let out = child.stdout.take().expect("a pipe");
        BufReader::new(out).read_line(&mut line).expect("a line when it is ready");
        let record =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        Self { child, record }
    }

    fn mqtt(&self) -> [String; 2] {
        [0, 1].map(|at| {
            let address = self.record["gateways"][at]["mqtt"].as_str();
            address.expect("an address").to_owned()
        })
    }

    /// SIGINT, as Ctrl-C sends it: everything ends, and ends well.
    fn stop(&mut self) {
        self.signal(Signal::INT);
        let status = eventually("the launcher ends", || self.child.try_wait().expect("our child"));
        assert_eq!(status.code(), Some(0));
        for address in self.mqtt() {
            assert!(std::net::TcpStream::connect(&address).is_err(), "{address} is still open");
        }
    }

    fn signal(&self, signal: Signal) {
        let pid =
            i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).expect("a process id");
        kill_process(pid, signal).expect("a child that was not waited for");
    }
}

impl Drop for Launched {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.signal(Signal::TERM);
        }
        let _ = self.child.wait();
    }
}
