//! Drains that no plan asks for, by command or by windows of the configuration, are no secret: each of their slots stands in the
//! audit with who wanted it and why, commands show them, and freezes hold for them.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::time::Duration;

use jiff::Timestamp;
use maintenance::Ledger;
use maintenance::audit::{AuditEntry, AuditHead, Checkpoint, verify};
use maintenance::ledger::Change;
use protocol::QoS;
use serde_json::{Value, json};
use tests::harness::{Dial, Fleet, Settings, eventually, get};

const DRAIN: [&str; 6] = ["drain", "start", "gw-1", "--wait", "--announce-ms", "0"];

#[test]
fn a_drain_by_command_is_told_with_who_wanted_it_and_why_from_the_grant_to_the_release() {
    let fleet = Fleet::start(2);
    // So that there is a plan, in which this has no place.
    fleet.maintain("operation add --kind restart --host gw-2 --id later --reason test");
    let ran = fleet.command(&[&DRAIN[..], &["--reason", "CHG-7"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let slot = eventually("the ledger knows that it is drained", || {
        let slot = fleet.maintain("slots")["slots"].get(0)?.clone();
        slot["verdict"].is_object().then_some(slot)
    });
    assert_eq!(slot["asked"], json!({"by": "operator", "reason": "CHG-7"}));
    let plan = eventually("there is a plan", || {
        let ran = fleet.command(&["maintenance", "plan"]);
        (ran.code == Some(0)).then_some(ran.out)
    });
    let shown = plan.lines().find(|line| line.contains("beside the plan"));
    assert!(shown.is_some_and(|line| line.contains("operator: CHG-7")), "{plan}");
    assert_eq!(fleet.command(&["drain", "undrain", "gw-1"]).code, Some(0));
    wait_free(&fleet);
    let told = slots_told(&fleet);
    let told: Vec<_> = told.iter().map(|it| [&*it[0], &*it[1], &*it[2]]).collect();
    assert_eq!(
        told,
        [
            ["slot.granted", "operator", "CHG-7"],
            ["slot.started", "operator", "CHG-7"],
            ["slot.concluded", "host gw-1", "CHG-7"],
            ["slot.released", "operator", "is to serve again"],
        ]
    );
}

#[test]
fn a_freeze_holds_for_drains_by_command_unless_somebody_means_it() {
    let fleet = Fleet::start(2);
    let line = "freeze add --to 2999-01-01T00:00:00Z --allow restart --reason launch";
    let freeze = fleet.maintain(line)["id"].as_str().expect("a name").to_owned();
    let ran = fleet.command(&DRAIN);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains(&format!("freeze {freeze} of operator holds until 2999")), "{ran:?}");
    assert!(slots_told(&fleet).is_empty());
    let ran = fleet.command(&[&DRAIN[..], &["--despite-freeze"]].concat());
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(fleet.command(&["drain", "undrain", "gw-1"]).code, Some(0));
    wait_free(&fleet);
    fleet.maintain(&format!("freeze remove {freeze} --reason over"));
    let ran = fleet.command(&DRAIN);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

#[test]
fn a_freeze_ends_the_window_that_has_drained_a_gateway() {
    let window = format!(
        "[[maintenance.window]]\nfrom = \"{}\"\nto = \"2990-01-01T00:00:00Z\"\n",
        Timestamp::now() - Duration::from_secs(1)
    );
    let settings = Settings::default().only(1, window).everywhere("[drain]\nannounce_ms = 0\n");
    let mut fleet = Fleet::prepare(2, &settings);
    (1..=2).for_each(|number| fleet.launch(number));
    eventually("the window drains", || (state(&fleet)? == "quiesced").then_some(()));
    fleet.maintain("freeze add --to 2989-01-01T00:00:00Z --reason launch");
    eventually("it serves again", || (state(&fleet)? == "serving").then_some(()));
    wait_free(&fleet);
    let told = slots_told(&fleet);
    let last = told.last().expect("what became of the slot");
    assert_eq!([&*last[0], &*last[1]], ["slot.released", "host gw-1"]);
    assert!(last[2].starts_with("freeze ") && last[2].ends_with("of operator: launch"), "{last:?}");
    assert_eq!([&*told[0][0], &*told[0][2]], ["slot.granted", "maintenance window"]);
}

#[test]
fn what_somebody_says_against_it_holds_for_drains_by_command_and_for_visits() {
    let fleet = Fleet::start(2);
    let add = "blocker add gw-1 backup --reason nightly";
    assert_eq!(fleet.maintain(add)["hard"], true);
    let ran = fleet.command(&DRAIN);
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("host is blocked: backup, by operator: nightly"), "{ran:?}");
    let file = fleet.dir().join("policy.toml");
    let always = "windows = [{ from = \"2020-01-01\", to = \"2990-01-01\", tz = \"UTC\" }]";
    std::fs::write(&file, format!("[policy.all]\n{always}\n")).expect("a file");
    fleet.maintain(&format!("policy put all {} --accept-lints --reason x", file.display()));
    fleet.maintain("operation add --kind drain-only --host gw-1 --id o --reason x");
    let why = eventually("the plan waits for it", || {
        let ran = fleet.command(&["maintenance", "why", "gw-1"]);
        ran.out.contains("backup").then_some(ran.out)
    });
    assert!(why.starts_with("gw-1: "), "{why}");
    assert_eq!(fleet.maintain("slots")["slots"], json!([]));
    let gone = fleet.maintain("blocker remove gw-1 backup --reason over");
    assert_eq!(gone["code"], "backup");
    let ran = fleet.command(&["maintenance", "operation", "wait", "o"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let again =
        fleet.command(&["maintenance", "blocker", "remove", "gw-1", "backup", "--reason", "x"]);
    assert_eq!(again.code, Some(1), "{again:?}");
}

/// Two gateways of one rack, of which a policy wants one at a time, and another gateway.
#[test]
fn policies_hold_for_drains_by_command_unless_somebody_means_it() {
    let rack = "labels = [\"rack=r1\"]\n";
    let settings = Settings::default()
        .everywhere("[maintenance]\nmax_concurrent = 2\n")
        .only(1, rack)
        .only(2, rack);
    let fleet = Fleet::start_with(3, &settings);
    fleet.put_policy("[policy.racks]\nmax_concurrent = { rack = 1 }\n");
    let drain = |gateway, more: &[&str]| {
        let typed = ["drain", "start", gateway, "--announce-ms", "0", "--reason", "CHG-8"];
        fleet.command(&[&typed[..], more].concat())
    };
    let ran = eventually("all have said that they serve", || {
        let ran = drain("gw-1", &[]);
        (ran.code != Some(4)).then_some(ran)
    });
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = eventually("it has said that it is not alone", || {
        let ran = drain("gw-2", &[]);
        (!ran.err.contains("alone")).then_some(ran)
    });
    assert_eq!(ran.code, Some(4), "{ran:?}");
    assert!(ran.err.contains("rack r1: 1 slots are held, 1 may be"), "{ran:?}");
    let ran = drain("gw-2", &["--despite-policies"]);
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let slot = fleet.maintain("slots")["slots"].as_array().and_then(|slots| {
        slots.iter().find(|slot| slot["host"] == "gw-2").map(|slot| slot["asked"].clone())
    });
    let reason = "CHG-8 (despite policies: rack r1: 1 slots are held, 1 may be)";
    assert_eq!(slot, Some(json!({"by": "operator", "reason": reason})));
    let told = slots_told(&fleet);
    assert!(told.iter().any(|it| it[0] == "slot.granted" && it[2] == reason), "{told:?}");
    // The configuration is not overruled.
    let ran = drain("gw-3", &["--despite-policies"]);
    assert_eq!(ran.code, Some(4), "{ran:?}");
}

/// Each of two would move 200 clients a second, and a policy lets 300 move in all.
#[test]
fn no_more_clients_are_moved_per_second_than_policies_let_move_in_all() {
    let settings = Settings::default().everywhere("[maintenance]\nmax_concurrent = 2\n");
    let fleet = Fleet::start_with(3, &settings);
    fleet.put_policy("[policy.all]\ndrain = { fleet_rate = 300 }\n");
    // Long enough for the second to be asked for.
    let drain = |gateway| {
        fleet.command(&["drain", "start", gateway, "--announce-ms", "300000", "--reason", "CHG-9"])
    };
    let ran = eventually("all have said that they serve", || {
        let ran = drain("gw-1");
        (ran.code != Some(4)).then_some(ran)
    });
    assert_eq!(ran.code, Some(0), "{ran:?}");
    let ran = eventually("it has said that it is not alone", || {
        let ran = drain("gw-2");
        (!ran.err.contains("alone")).then_some(ran)
    });
    assert_eq!(ran.code, Some(4), "{ran:?}");
    let why = "fleet: 400 clients per second would move, 300 may";
    assert!(ran.err.contains(why), "{ran:?}");
    let slots = fleet.maintain("slots");
    assert_eq!(slots["slots"][0]["per_s"], 200, "{slots}");
    assert_eq!(fleet.command(&["drain", "abort", "gw-1"]).code, Some(0));
    eventually("its slot is back", || (drain("gw-2").code == Some(0)).then_some(()));
}

/// Of each pair one is at each of two gateways that are drained at once.
#[test]
fn clients_that_stand_in_for_each_other_leave_different_gateways_at_different_times() {
    let settings = Settings::default()
        .everywhere("[maintenance]\nmax_concurrent = 2\n[presence]\nreturn_within_ms = 3600000\n")
        .everywhere("[drain]\nstand_ins = [\"*-a\", \"*-b\"]\nstand_in_gap_ms = 500\n");
    let fleet = Fleet::start_with(3, &settings);
    let come = |id: &str, number: usize| {
        let mut device = Dial::v5(id).persistent().connect(fleet.mqtt(number));
        if id.starts_with("member") {
            device.subscribe("$share/group/t", QoS::AtLeastOnce);
        }
        device
    };
    let ids = |number: usize| {
        let kind = if number == 1 { "a" } else { "b" };
        let pairs = (0..5).map(move |n| format!("{n}-{kind}"));
        pairs.chain([format!("member-{number}")])
    };
    let devices: Vec<_> =
        (1..=2).flat_map(|number| ids(number).map(move |id| (id, number))).collect();
    // They stay away when they are sent away, and so it can be read when that was.
    let devices: Vec<_> = devices.iter().map(|(id, number)| come(id, *number)).collect();
    for gateway in ["gw-1", "gw-2"] {
        let ran = fleet.command(&["drain", "start", gateway, "--announce-ms", "0"]);
        assert_eq!(ran.code, Some(0), "{ran:?}");
    }
    eventually("both are drained", || {
        let drained = |number| fleet.api(number, "/api/v1/gateway")["state"] == "quiesced";
        (drained(1) && drained(2)).then_some(())
    });
    let moved_at = |id: &str| {
        let status = fleet.api(3, &format!("/api/v1/connections/{id}"));
        status["expected_until_ms"].as_u64().unwrap_or_else(|| panic!("{id}: {status}"))
    };
    for one in ids(1).filter(|id| id.ends_with("-a")) {
        for other in ids(2).filter(|id| id.ends_with("-b")) {
            let apart = moved_at(&one).abs_diff(moved_at(&other));
            // Their clocks may differ by a little.
            assert!(apart >= 400, "{one} and {other}: {apart} ms");
        }
    }
    let apart = moved_at("member-1").abs_diff(moved_at("member-2"));
    assert!(apart >= 200, "the group was empty for a moment: {apart} ms");
    drop(devices);
    // One of them comes back, and how long that took is counted.
    let back = Dial::v5("0-a").persistent().connect(fleet.mqtt(3));
    assert!(back.session_present);
    assert_eq!(fleet.metric(3, "tidegate_drain_gap_seconds_count"), 1);
}

/// Until nobody holds a slot.
fn wait_free(fleet: &Fleet) {
    eventually("the slot is given back", || {
        fleet.maintain("slots")["slots"].as_array()?.is_empty().then_some(())
    });
}

/// What the first gateway says of itself, if it answers.
fn state(fleet: &Fleet) -> Option<Value> {
    let answer = get(fleet.place(1).http, "/api/v1/gateway")?;
    Some(serde_json::from_str::<Value>(&answer.body).ok()?["state"].clone())
}

/// What the audit tells of slots for which there is no visit: what, who and why. The audit is whole, and the ledger follows from
/// it.
fn slots_told(fleet: &Fleet) -> Vec<[String; 3]> {
    let read = || {
        let audit = fleet.api(2, "/api/v1/maintenance/audit?max=1000");
        let entries: Vec<AuditEntry> =
            serde_json::from_value(audit["entries"].clone()).expect("entries");
        let head: AuditHead = serde_json::from_value(audit["head"].clone()).expect("a head");
        assert_eq!(verify(AuditHead::default(), &entries), Ok(head));
        entries
    };
    let (entries, stored) = eventually("nothing changes between two looks", || {
        let entries = read();
        let stored = fleet.api(2, "/api/v1/maintenance/visits")["ledger"].to_string();
        (read() == entries).then_some((entries, stored))
    });
    let stored = Ledger::decode(stored.as_bytes()).unwrap_or_default();
    let told = Checkpoint::default().ledger_with(&entries).expect("a tale without gaps");
    assert_eq!(told, stored);
    let change = |it: &AuditEntry| serde_json::from_value::<Change>(it.record.after.clone()?).ok();
    let mut asked = Vec::new();
    for entry in &entries {
        if let Some(Change::Granted { slot, .. }) = change(entry)
            && slot.asked.is_some()
        {
            asked.push(slot.epoch);
        }
    }
    let is_asked = |it: &&AuditEntry| {
        change(it).and_then(|change| change.epoch()).is_some_and(|epoch| asked.contains(&epoch))
    };
    let slots = entries.iter().filter(is_asked).map(|it| &it.record);
    slots.map(|it| [it.action.clone(), it.actor.clone(), it.reason.clone()]).collect()
}
