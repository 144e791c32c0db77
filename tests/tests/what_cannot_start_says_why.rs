//! What cannot start says why in one line, with an exit code that scripts can act on: 64 for what is written wrong, 1 for
//! what is in the way.

use std::fs;
use std::io::{self, Write as _};
use std::net::TcpListener;
use std::process::{Child, Stdio};

use rusqlite::Connection;
use tests::harness::{Dial, Fleet, Ran, Settings, free_offset, run, tidegate};

#[test]
fn a_wrong_configuration_is_refused_with_the_line_and_the_nearest_name() {
    let fleet = Fleet::prepare(1, &Settings::default().everywhere("[limits]\nconections = 5\n"));
    let file = fleet.configuration(1);
    let line = fs::read_to_string(&file)
        .expect("the file")
        .lines()
        .position(|l| l.starts_with("conections"));
    let line = format!("{}: line {}: ", file.display(), line.expect("the line") + 1);
    for arguments in [vec!["run", "-c"], vec!["check", "-c"]] {
        let ran = run(tidegate(arguments).arg(&file));
        assert_eq!(ran.code, Some(64), "{ran:?}");
        for part in [line.as_str(), "conections", "did you mean `connections`?"] {
            assert!(ran.err.contains(part), "{part}: {ran:?}");
        }
        assert_eq!(ran.err.lines().count(), 1, "{ran:?}");
    }
}

#[test]
fn every_wrong_value_is_named_at_once() {
    let wrong =
        "[limits]\nconnections = 0\nqueue_messages = 0\n[lease]\nttl_ms = 1000\nrenew_ms = 900\n";
    let fleet = Fleet::prepare(1, &Settings::default().everywhere(wrong));
    let ran = run(tidegate(["check", "-c"]).arg(fleet.configuration(1)));
    assert_eq!(ran.code, Some(64), "{ran:?}");
    for setting in ["limits.connections", "limits.queue_messages", "lease.renew_ms"] {
        assert!(ran.err.contains(setting), "{setting}: {ran:?}");
    }
    let ran = run(tidegate(["check", "--json", "-c"]).arg(fleet.configuration(1)));
    let told: serde_json::Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(
        (told["ok"].as_bool(), told["faults"].as_array().map(Vec::len)),
        (Some(false), Some(3)),
        "{told}"
    );
}

#[test]
fn the_example_is_a_sound_configuration() {
    let example = run(&mut tidegate(["config", "--example"]));
    assert_eq!(example.code, Some(0), "{example:?}");
    let mut check = tidegate(["check", "-c", "/dev/stdin"]);
    let mut child = check
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("tidegate can be started");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(example.out.as_bytes()).expect("a reader");
    drop(stdin);
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{said}{}", String::from_utf8_lossy(&output.stderr));
    assert!(said.contains("a sound configuration of gateway gw-1"), "{said}");
}

#[test]
fn who_reads_no_further_is_not_complained_to() {
    let (reader, writer) = io::pipe().expect("a pipe");
    drop(reader);
    let child = tidegate(["config", "--example"]).stdout(writer).stderr(Stdio::piped()).spawn();
    let output = child.and_then(Child::wait_with_output).expect("it ends");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_port_in_use_is_named() {
    let fleet = Fleet::prepare(1, &Settings::default());
    let place = fleet.place(1);
    for address in [place.mqtt, place.mqtts, place.websocket, place.http, place.peer] {
        let _taken = TcpListener::bind(address).expect("a free port");
        let ran = run(tidegate(["run", "-c"]).arg(fleet.configuration(1)));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(last_line(&ran).contains(&address.to_string()), "{address}: {ran:?}");
        assert!(last_line(&ran).to_lowercase().contains("in use"), "{ran:?}");
    }
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let offset = taken.local_addr().expect("its address").port().wrapping_sub(1883);
    if let Some(offset) = Some(offset).filter(|offset| *offset < 40_000) {
        let data = tempfile::tempdir().expect("a temporary folder");
        let data = data.path().join("fleet");
        let ran = run(tidegate(["--base-port-offset", &offset.to_string(), "--data"]).arg(&data));
        assert_eq!(ran.code, Some(1), "{ran:?}");
        assert!(
            last_line(&ran).contains(&taken.local_addr().expect("its address").to_string()),
            "{ran:?}"
        );
        assert!(!data.exists(), "nothing is written for a fleet that cannot start");
    }
}

#[test]
fn a_data_folder_that_cannot_be_written_is_named() {
    let data = tempfile::tempdir().expect("a temporary folder");
    // A folder below a file cannot be made, by nobody; a mode would not stop the superuser.
    let file = data.path().join("file");
    fs::write(&file, "").expect("a file");
    let ran =
        run(tidegate(["--base-port-offset", &free_offset(), "--data"]).arg(file.join("fleet")));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(last_line(&ran).contains("cannot use"), "{ran:?}");
    let fleet = Fleet::prepare(1, &Settings::default());
    fs::write(fleet.dir().join("store"), "").expect("a file in place of the store's folder");
    let ran = run(tidegate(["run", "-c"]).arg(fleet.configuration(1)));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(last_line(&ran).contains("cannot use the store in"), "{ran:?}");
}

#[test]
fn a_data_folder_of_a_newer_version_is_left_alone() {
    let data = tempfile::tempdir().expect("a temporary folder");
    fs::write(data.path().join("version"), "999\n").expect("a file");
    let ran = run(tidegate(["--base-port-offset", &free_offset(), "--data"]).arg(data.path()));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["version 999", "newer binary", "--data"] {
        assert!(last_line(&ran).contains(part), "{part}: {ran:?}");
    }
    assert_eq!(fs::read_dir(data.path()).expect("a folder").count(), 1, "nothing was added");
}

#[test]
fn a_certificate_that_cannot_be_used_is_named() {
    let fleet = Fleet::prepare(1, &Settings::default());
    fs::write(fleet.certificates().join("gw-1.pem"), "no certificate").expect("a file");
    let ran = run(tidegate(["run", "-c"]).arg(fleet.configuration(1)));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    assert!(last_line(&ran).contains("gw-1.pem"), "{ran:?}");
}

#[test]
fn a_store_of_a_newer_version_is_left_alone() {
    let mut fleet = Fleet::start(1);
    Dial::v5("device").persistent().connect(fleet.mqtt(1)).disconnect();
    fleet.stop(1);
    let store = fleet.dir().join("store");
    let database = fs::read_dir(&store)
        .expect("the store's folder")
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension().is_some_and(|extension| extension == "db"))
        .expect("a database");
    let layout = || Connection::open(&database).expect("an SQLite file");
    layout().execute("UPDATE meta SET value = 99 WHERE key = 'layout'", []).expect("written");
    let ran = run(tidegate(["run", "-c"]).arg(fleet.configuration(1)));
    assert_eq!(ran.code, Some(1), "{ran:?}");
    for part in ["cannot use the store in", "layout 99"] {
        assert!(last_line(&ran).contains(part), "{part}: {ran:?}");
    }
    let left = "SELECT value FROM meta WHERE key = 'layout'";
    assert_eq!(layout().query_row(left, [], |row| row.get::<_, u32>(0)).expect("a number"), 99);
}

#[test]
fn wrong_arguments_are_told_with_the_usage() {
    for arguments in [vec!["drian"], vec!["run"], vec!["--gateways", "0"], vec!["drain", "start"]] {
        let ran = run(&mut tidegate(arguments));
        assert_eq!(ran.code, Some(64), "{ran:?}");
        assert!(!ran.err.is_empty());
    }
    let help = run(&mut tidegate(["--help"]));
    assert_eq!(help.code, Some(0));
    assert!(help.out.contains("Exit codes:"), "{help:?}");
}

fn last_line(ran: &Ran) -> &str {
    ran.err.lines().last().unwrap_or_default()
}
