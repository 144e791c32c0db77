//! What an operator does at the desk: slots are listed, what is gone is written off by its name, and a command that waits tells
//! how it ended.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]

use std::thread;

use serde_json::{Value, json};
use tests::harness::{Fleet, Ran, Settings, eventually};

/// A window that is open now, and for long.
const POLICY: &str =
    "[policy.all]\nwindows = [{ from = \"2020-01-01\", to = \"2990-01-01\", tz = \"UTC\" }]\n";

fn settings() -> Settings {
    Settings::mortal()
        .everywhere("[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n")
}

fn ran(fleet: &Fleet, line: &str) -> Ran {
    let mut typed = vec!["maintenance", "--json"];
    typed.extend(line.split_whitespace());
    fleet.command(&typed)
}

/// What a command prints as JSON.
fn told(fleet: &Fleet, line: &str) -> Value {
    let ran = ran(fleet, line);
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    serde_json::from_str(&ran.out).expect("JSON")
}

fn allow_everything(fleet: &Fleet) {
    let file = fleet.dir().join("policy.toml");
    std::fs::write(&file, POLICY).expect("a file");
    let file = file.to_str().expect("a path in UTF-8");
    told(fleet, &format!("policy put all {file} --accept-lints --reason test"));
}

#[test]
fn a_command_that_waits_ends_as_the_operation_did() {
    let fleet = Fleet::start_with(2, &settings());
    allow_everything(&fleet);
    let add = "operation add --kind drain-only --id";
    let done = ran(&fleet, &format!("{add} short --host gw-1 --wait --reason test"));
    assert_eq!(done.code, Some(0), "{done:?}");
    let list: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(list["operations"][0]["state"], "done", "{done:?}");
    assert!(done.err.contains("gw-1/short: "), "how far it is was told: {done:?}");
    assert_eq!(told(&fleet, "slots"), json!([]));

    // This one is called off while somebody waits.
    let line = format!("{add} long --host gw-2 --hold-s 7200 --wait --reason test");
    thread::scope(|scope| {
        let waits = scope.spawn(|| ran(&fleet, &line));
        let slot = eventually("a slot is held", || {
            let slots = told(&fleet, "slots");
            slots.get(0).cloned()
        });
        assert_eq!((&slot["host"], &slot["visit"]), (&json!("gw-2"), &json!("gw-2/long")));
        eventually("the visit can be called off", || {
            let ran = ran(&fleet, "visit abort gw-2/long --reason test");
            (ran.code == Some(0)).then_some(())
        });
        let ended = waits.join().expect("it does not panic");
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.err.contains("not done: 1 aborted"), "{ended:?}");
    });
    assert_eq!(ran(&fleet, "operation wait long").code, Some(3));
    assert_eq!(ran(&fleet, "operation wait short").code, Some(0));
    assert_eq!(ran(&fleet, "operation wait nothing").code, Some(1));
}

#[test]
fn a_gateway_that_is_gone_is_written_off_by_its_name() {
    let mut fleet = Fleet::start_with(2, &settings());
    allow_everything(&fleet);
    let lives = ran(&fleet, "write-off gw-2 --yes gw-2 --reason disk");
    assert_eq!(lives.code, Some(4), "{lives:?}");
    told(
        &fleet,
        "operation add --kind drain-only --hold-s 7200 --host gw-2 --id night --reason test",
    );
    eventually("a slot is held", || told(&fleet, "slots").get(0).cloned());
    fleet.kill(2);
    // Nothing was typed, and then the name of another.
    let silent = ran(&fleet, "write-off gw-2 --reason disk");
    assert_eq!(silent.code, Some(64), "{silent:?}");
    let other = ran(&fleet, "write-off gw-2 --yes gw-1 --reason disk");
    assert_eq!(other.code, Some(64), "{other:?}");
    assert_eq!(told(&fleet, "slots")[0]["host"], "gw-2");
    let entry = eventually("its silence is noticed", || {
        let ran = ran(&fleet, "write-off gw-2 --yes gw-2 --reason disk");
        (ran.code == Some(0)).then(|| serde_json::from_str::<Value>(&ran.out).expect("JSON"))
    });
    assert_eq!(entry["record"]["action"], "host.written_off", "{entry}");
    assert_eq!(told(&fleet, "slots"), json!([]));
    assert_eq!(ran(&fleet, "operation wait night").code, Some(3));
}
