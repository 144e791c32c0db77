//! Runs against a mosquitto of its own on loopback. Without the program the tests say so and pass.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]
#![expect(clippy::print_stderr, reason = "a test that is skipped says so")]

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;

use clap::Parser;
use device_sim::{Args, Interrupt, Plan, Report, RunError, run, run_until};

struct Mosquitto {
    child: Child,
    port: u16,
    dir: tempfile::TempDir,
    log: mpsc::Receiver<String>,
}

impl Mosquitto {
    /// `None` if the program is missing.
    fn start(options: &str) -> Option<Self> {
        Self::start_in(tempfile::tempdir().unwrap(), options)
    }

    fn start_in(dir: tempfile::TempDir, options: &str) -> Option<Self> {
        Self::start_at(free_port(), dir, options)
    }

    fn start_at(port: u16, dir: tempfile::TempDir, options: &str) -> Option<Self> {
        let config = dir.path().join("mosquitto.conf");
        let options = options.replace("DIR", &dir.path().to_string_lossy());
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n\
             max_inflight_messages 1000\nlog_dest stderr\n{options}\n"
        );
        std::fs::write(&config, text).unwrap();
        let program = ["/usr/sbin/mosquitto", "mosquitto"];
        let child = program.iter().find_map(|program| spawn(program, &config));
        let Some(mut child) = child else {
            eprintln!("skipped: mosquitto is not installed");
            return None;
        };
        let (lines, log) = mpsc::channel();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        std::thread::spawn(move || stderr.lines().try_for_each(|line| lines.send(line.unwrap())));
        let broker = Self { child, port, dir, log };
        broker.wait_for(" running", 1);
        Some(broker)
    }

    /// Until so many lines of the log hold a text.
    #[track_caller]
    fn wait_for(&self, text: &str, times: usize) {
        let found = self.log.iter().filter(|line| line.contains(text)).take(times).count();
        assert_eq!(found, times, "mosquitto ended");
    }

    /// Stops it in good order, so that it keeps what it must, and starts it again.
    fn restart(mut self, options: &str) -> Self {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").arg(pid).status().unwrap().success());
        self.child.wait().unwrap();
        let port = self.port;
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Self::start_at(port, dir, options).unwrap()
    }

    fn try_run(&self, args: &str) -> Result<Report, RunError> {
        let broker = format!("127.0.0.1:{}", self.port);
        let fixed = ["device-sim", "run", "--quiet", "--broker", &broker];
        let args = fixed.into_iter().chain(args.split_ascii_whitespace());
        let Args::Run(args) = Args::try_parse_from(args).unwrap() else { unreachable!("a run") };
        run(&Plan::try_from(*args).unwrap())
    }

    #[track_caller]
    fn run(&self, args: &str) -> Report {
        self.try_run(args).unwrap()
    }
}

impl Drop for Mosquitto {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(program: &str, config: &Path) -> Option<Child> {
    let mut command = Command::new(program);
    command.arg("-v").arg("-c").arg(config).stdin(Stdio::null()).stderr(Stdio::piped());
    command.spawn().ok()
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

#[track_caller]
fn assert_flawless(report: &Report, delivered: u64) {
    let found = (report.delivered, report.lost, report.unacknowledged, report.foreign);
    assert_eq!(found, (delivered, 0, 0, 0), "{report}");
    assert_eq!((report.duplicates, report.reordered, report.expected), (0, 0, delivered));
    assert_eq!((report.gaps.reconnects, report.gaps.never_served_again), (0, 0));
}

#[test]
fn pairs_lose_nothing_at_any_level_in_any_version() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in ["31", "311", "5"] {
        for qos in 0..=2 {
            let report = broker.run(&format!("--pairs 5 --count 400 -V {version} -q {qos}"));
            assert_flawless(&report, 2_000);
            let acknowledged = if qos == 0 { 0 } else { 2_000 };
            assert_eq!(report.acknowledged, acknowledged);
            assert!(report.latency.max_us > 0.0);
        }
    }
}

#[test]
fn the_independent_client_sees_the_same() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in ["311", "5"] {
        for qos in 0..=2 {
            let args = format!("--client rumqttc --pairs 3 --count 200 -V {version} -q {qos}");
            assert_flawless(&broker.run(&args), 600);
        }
    }
}

#[test]
fn an_open_loop_publishes_what_is_due_and_nothing_else() {
    let Some(broker) = Mosquitto::start("") else { return };
    let report = broker.run("--pairs 7 --rate 700 --seconds 0.5");
    assert_flawless(&report, 350);
    assert_eq!((report.published, report.due, report.unpublished), (350, Some(350), 0));
    // The other client leaves out what it is late with when the time is over.
    let report = broker.run("--pairs 7 --rate 700 --seconds 0.5 --client rumqttc");
    assert_flawless(&report, report.published);
    assert_eq!((report.published + report.unpublished, report.due), (350, Some(350)));
    // Between two messages it is quiet for longer than a run that has stopped.
    let report = broker.run("--rate 4 --count 3 --settle-seconds 0.1");
    assert_flawless(&report, 3);
}

#[test]
fn one_reaches_many_and_many_reach_one() {
    let Some(broker) = Mosquitto::start("") else { return };
    let fan_out = broker.run("--pattern fan-out -n 20 --count 100 --workers 2 --window 10");
    assert_flawless(&fan_out, 2_000);
    let fan_in = broker.run("--pattern fan-in -n 20 --count 100 --workers 2 -q 2 -V 5");
    assert_flawless(&fan_in, 2_000);
    let large = broker.run("--payload-bytes 300000 --count 20 -q 1 --window 4");
    assert_flawless(&large, 20);
}

#[test]
fn sessions_that_are_away_get_everything_when_they_come_back() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in ["311", "5"] {
        let args = format!("--pattern offline -n 10 -q 1 --count 50 --drain-back -V {version}");
        let report = broker.run(&args);
        assert_flawless(&report, 500);
        assert!(report.drain_back_seconds.is_some());
    }
    let kept = broker.run("--pattern offline -n 3 -q 1 --count 7 --resume");
    assert_eq!((kept.acknowledged, kept.delivered, kept.lost), (7, 0, 0));
    // The next run finds what the last one left, and does not take it for its own.
    let next = broker.run("--pattern offline -n 3 -q 1 --count 5 --drain-back");
    assert_eq!((next.delivered, next.foreign, next.lost), (15, 21, 0));
}

#[test]
fn what_a_broker_drops_is_found() {
    let Some(broker) = Mosquitto::start("max_queued_messages 10") else { return };
    let report = broker.run(
        "--pattern offline -n 2 -q 1 --count 50 --drain-back --settle-seconds 0.5 --max-lost 79",
    );
    assert_eq!((report.acknowledged, report.delivered, report.lost), (50, 20, 80));
    assert_eq!(report.exceeded, ["lost: 80 is more than 79"]);
}

#[test]
fn nobody_who_leaves_in_order_leaves_a_will() {
    let Some(broker) = Mosquitto::start("") else { return };
    for version in ["311", "5"] {
        let args = format!("--pairs 3 --count 50 -q 1 --wills --persistent -V {version}");
        let report = broker.run(&args);
        assert_flawless(&report, 150);
        assert_eq!(report.wills, 0);
    }
}

#[test]
fn a_broker_that_restarts_loses_nothing_it_has_acknowledged() {
    let options = "persistence true\npersistence_location DIR/";
    for version in ["311", "5"] {
        let Some(broker) = Mosquitto::start(options) else { return };
        let address = format!("127.0.0.1:{}", broker.port);
        let arguments = format!(
            "device-sim run --quiet --broker {address} --pairs 5 --persistent --reconnect -q 2 \
             --rate 500 --count 100 -V {version}"
        );
        let running = std::thread::spawn(move || {
            let Args::Run(args) = Args::try_parse_from(arguments.split(' ')).unwrap() else {
                panic!("a run")
            };
            run(&Plan::try_from(*args).unwrap()).unwrap()
        });
        broker.wait_for("Received PUBLISH", 100);
        let _broker = broker.restart(options);
        let report = running.join().unwrap();
        assert_eq!((report.published, report.acknowledged, report.lost), (500, 500, 0), "{report}");
        assert_eq!((report.duplicates, report.reordered), (0, 0), "{report}");
        assert_eq!((report.gaps.reconnects, report.gaps.never_served_again), (10, 0), "{report}");
        assert!(report.gaps.longest_ms > 0);
    }
}

#[test]
fn devices_with_certificates_are_served_over_tls() {
    let dir = tempfile::tempdir().unwrap();
    certs::development_set(dir.path(), &["gw-1"]).unwrap();
    let options = "cafile DIR/ca.pem\ncertfile DIR/gw-1.pem\nkeyfile DIR/gw-1.key\n\
                   require_certificate true";
    let Some(broker) = Mosquitto::start_in(dir, options) else { return };
    let folder = broker.dir.path().display();
    let tls = format!(
        "--cafile {folder}/ca.pem --cert {folder}/device-1.pem --key {folder}/device-1.key"
    );
    for client in ["lean", "rumqttc"] {
        let report = broker.run(&format!("--pairs 3 --count 100 -q 1 --client {client} {tls}"));
        assert_flawless(&report, 300);
    }
    let without = broker.try_run(&format!("--cafile {folder}/ca.pem"));
    assert!(matches!(without, Err(RunError::Device(_))));
}

#[test]
fn a_run_without_a_broker_says_which_device_failed() {
    let port = free_port();
    let broker = format!("127.0.0.1:{port}");
    let args = ["device-sim", "run", "--quiet", "--broker", &broker];
    let Args::Run(args) = Args::try_parse_from(args).unwrap() else { unreachable!("a run") };
    let error = run(&Plan::try_from(*args).unwrap()).unwrap_err();
    assert!(error.to_string().starts_with("sim-"), "{error}");
    assert!(error.to_string().contains(&broker), "{error}");
}

#[test]
fn a_run_that_is_interrupted_tells_what_it_has_seen() {
    let Some(broker) = Mosquitto::start("") else { return };
    let arguments = format!(
        "device-sim run --quiet --broker 127.0.0.1:{} --pairs 3 -q 1 --rate 500 --seconds 600",
        broker.port
    );
    let interrupt = Interrupt::default();
    let asked = interrupt.clone();
    let running = std::thread::spawn(move || {
        let Args::Run(args) = Args::try_parse_from(arguments.split(' ')).unwrap() else {
            panic!("a run")
        };
        run_until(&Plan::try_from(*args).unwrap(), &asked).unwrap()
    });
    broker.wait_for("Received PUBLISH", 100);
    interrupt.ask();
    let report = running.join().unwrap();
    assert!(report.interrupted && report.published >= 100, "{report}");
    assert_flawless(&report, report.published);
    assert!(report.due.is_some_and(|due| due <= report.published), "{report}");
    assert_eq!(report.unpublished, 0, "{report}");
}

#[test]
fn a_signal_ends_every_load_with_its_report() {
    let Some(broker) = Mosquitto::start("") else { return };
    let address = format!("127.0.0.1:{}", broker.port);
    for (signal, words, sign) in [
        ("-INT", "run --seconds 600 --rate 200 --quiet", "Received PUBLISH from sim-"),
        ("-TERM", "connects --seconds 600 -n 2", "Sending CONNACK to connects-"),
        ("-INT", "takeover --seconds 600 -n 2", "Sending CONNACK to takeover-"),
    ] {
        let load = Command::new(env!("CARGO_BIN_EXE_device-sim"))
            .args(words.split(' ').chain(["--json", "--broker", &address]))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        broker.wait_for(sign, 5);
        let killed = Command::new("kill").args([signal, &load.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let output = load.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(130), "{words}");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(report.is_object(), "{words}");
    }
}
