//! What an operation wants is done by the gateway it is for: its own programs, new files, a new process in the place of the old.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::path::Path;
use std::process::Command;
use std::thread;

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use serde_json::{Value, json};
use tests::harness::{Answer, Dial, Fleet, Settings, eventually};

#[test]
fn a_program_of_the_host_is_run_and_what_it_said_last_is_told_when_it_fails() {
    let listed = "[maintenance.hooks.note]\nprogram = \"/bin/sh\"\narguments = [\"@dir@/note.sh\", \"word *\"]\n";
    let fleet = Fleet::start_with(2, &settings(listed));
    let script = fleet.dir().join("note.sh");
    let note = fleet.dir().join("note");
    let write = |text: &str| std::fs::write(&script, text).expect("a file");
    write(&format!(
        "echo \"$1 $TIDEGATE_GATEWAY $(cat)\" > {}; echo written; exit 0",
        note.display()
    ));
    fleet.allow_visits("");
    let path = script.to_str().expect("a path in UTF-8");
    let swap = |id: &str, word: &str| hook(&fleet, id, ("note", &[path, word]));

    swap("first", "word one");
    wait_stage(&fleet, "gw-1/first", &json!("done"));
    assert_eq!(std::fs::read_to_string(&note).expect("a note"), "word one gw-1 \n");
    assert_eq!(last_words(&fleet, "gw-1/first"), "written");

    // Without another word of a policy the gateway stays out until somebody has decided.
    write("echo there is no room >&2; exit 7");
    swap("second", "word two");
    eventually("somebody is asked", || {
        let stage = stage(&fleet, "gw-1/second");
        let code = stage.pointer("/needs_operator/fault/failed/code")?.clone();
        assert_eq!(code, "exit_7");
        Some(())
    });
    assert_eq!(last_words(&fleet, "gw-1/second"), "there is no room");
    assert_eq!(fleet.api(1, "/api/v1/gateway")["state"], "quiesced");
    write("exit 0");
    fleet.maintain("visit retry gw-1/second --reason mended");
    wait_stage(&fleet, "gw-1/second", &json!("done"));

    fleet.allow_visits("on_failed_work = \"return\"\n");
    write("echo no room again; exit 8");
    swap("third", "word three");
    wait_stage(&fleet, "gw-1/third", &json!({"failed": {"code": "exit_8"}}));
    eventually("the gateway serves", || serves(&fleet, 1));
    eventually("the operation has failed", || {
        let operations = fleet.api(2, "/api/v1/maintenance/operations");
        let operations = operations["operations"].as_array()?.clone();
        let third = operations.into_iter().find(|it| it["operation"]["id"] == "third")?;
        (third["state"] == "failed").then_some(())
    });
    let audit = fleet.api(2, "/api/v1/maintenance/audit?max=1000").to_string();
    assert!(audit.contains("no room again"), "{audit}");
}

#[test]
fn hot_work_is_done_once_whatever_is_wanted_meanwhile_and_taken_back_if_it_fails() {
    let listed = "[maintenance.hooks.note]\nprogram = \"@dir@/note\"\narguments = [\"*\"]\nundo = \"@dir@/undo\"\n";
    let fleet = Fleet::start_with(2, &settings(listed));
    let [ran, go] = ["ran", "go"].map(|name| fleet.dir().join(name));
    let line = "echo $1 >> {ran}; while [ ! -e {go} ]; do sleep 0.1; done; test $1 != c";
    let paths = |line: &str| {
        let ran = ran.to_str().expect("a path in UTF-8");
        line.replace("{ran}", ran).replace("{go}", go.to_str().expect("a path in UTF-8"))
    };
    program(&fleet, "note", &paths(line));
    program(&fleet, "undo", &paths("echo without $1 >> {ran}"));
    fleet.allow_visits("");
    let hot = |id: &str| {
        let kind = "operation add --kind hook --hook note --class hot --limit-s 60";
        fleet.maintain(&format!("{kind} --host gw-1 --reason test --arg {id} --id {id}"));
    };
    hot("b");
    let written = || std::fs::read_to_string(&ran).unwrap_or_default();
    eventually("it runs", || (written() == "b\n").then_some(()));
    // Its visit would be named after the first of them.
    hot("a");
    eventually("it is planned", || {
        let plan = fleet.api(2, "/api/v1/maintenance/plan").to_string();
        plan.contains("gw-1/a").then_some(())
    });
    let cancel = fleet.maintenance("operation cancel b --reason test");
    assert_ne!(cancel.code, Some(0), "it runs");
    std::fs::write(&go, "").expect("a file");
    wait_stage(&fleet, "gw-1/b", &json!("done"));
    wait_stage(&fleet, "gw-1/a", &json!("done"));
    assert_eq!(written(), "b\na\n");
    hot("c");
    wait_stage(&fleet, "gw-1/c", &json!({"failed": {"code": "exit_1"}}));
    assert_eq!(written(), "b\na\nc\nwithout c\n");
}

#[test]
fn a_program_that_outlives_its_gateway_is_waited_for_and_not_run_beside_itself() {
    let listed = "[maintenance.hooks.note]\nprogram = \"@dir@/note\"\nprobe = \"@dir@/probe\"\n";
    let settings = Settings::mortal()
        .everywhere("[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n");
    let mut fleet = Fleet::start_with(2, &settings.everywhere(listed));
    let [ran, go] = ["ran", "go"].map(|name| fleet.dir().join(name));
    let paths = |line: &str| {
        let path = |of: &Path| of.to_str().expect("a path in UTF-8").to_owned();
        line.replace("{ran}", &path(&ran)).replace("{go}", &path(&go))
    };
    // It ends with the folder of the fleet, if not before.
    let line = "echo runs >> {ran}; while [ ! -e {go} ] && [ -e {ran} ]; do sleep 0.1; done; \
        [ -e {ran} ] && echo ended >> {ran}";
    program(&fleet, "note", &paths(line));
    program(&fleet, "probe", &paths("echo probed >> {ran}; grep -q ended {ran}"));
    fleet.allow_visits("");
    let wanted = "operation add --kind hook --hook note --class hot --limit-s 300 --id once";
    fleet.maintain(&format!("{wanted} --host gw-1 --reason test"));
    let written = || std::fs::read_to_string(&ran).unwrap_or_default();
    eventually("it runs", || (written() == "runs\n").then_some(()));
    fleet.kill(1);
    fleet.launch(1);
    eventually("the next life waits for it", || {
        fleet.process(1).log().contains("still runs").then_some(())
    });
    assert_eq!(written(), "runs\n");
    std::fs::write(&go, "").expect("a file");
    wait_stage(&fleet, "gw-1/once", &json!("done"));
    // Whoever attended to it has said how it ended: nobody has to look.
    assert_eq!(written(), "runs\nended\n");
}

#[test]
fn how_a_program_ended_that_outlived_its_gateway_the_next_one_says() {
    let listed = "[maintenance.hooks.note]\nprogram = \"@dir@/note\"\n";
    let settings = Settings::mortal()
        .everywhere("[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n");
    let mut fleet = Fleet::start_with(2, &settings.everywhere(listed));
    let [ran, go, over] = ["ran", "go", "over"].map(|name| fleet.dir().join(name));
    let path = |of: &Path| of.to_str().expect("a path in UTF-8").to_owned();
    // It goes on speaking though nobody listens, and ends with the folder of the fleet, if not before.
    let line = "echo runs >> {ran}; while [ ! -e {go} ] && [ -e {ran} ]; do echo waits; sleep 0.1; done; \
        echo the disk is full >&2; [ -e {ran} ] && echo > {over}; exit 9";
    let line = line.replace("{ran}", &path(&ran)).replace("{go}", &path(&go));
    program(&fleet, "note", &line.replace("{over}", &path(&over)));
    fleet.allow_visits("");
    let wanted = "operation add --kind hook --hook note --class hot --limit-s 300 --id once";
    fleet.maintain(&format!("{wanted} --host gw-1 --reason test"));
    eventually("it runs", || ran.exists().then_some(()));
    fleet.kill(1);
    std::fs::write(&go, "").expect("a file");
    eventually("it has ended", || over.exists().then_some(()));
    fleet.launch(1);
    wait_stage(&fleet, "gw-1/once", &json!({"failed": {"code": "exit_9"}}));
    assert!(last_words(&fleet, "gw-1/once").ends_with("waits\nthe disk is full"));
    assert_eq!(std::fs::read_to_string(&ran).expect("a note"), "runs\n", "it ran once");
    fleet.wait_log(1, "its program has ended at ");
    fleet.wait_log(1, " ms: exit_9");
}

#[test]
fn what_the_host_does_not_list_is_not_run() {
    let listed = "[maintenance.hooks.note]\nprogram = \"/bin/sh\"\narguments = [\"-n\"]\n\
        [maintenance.hooks.away]\nprogram = \"/bin/sh\"\narguments = [\"-n\"]\nleast_class = \"absent\"\n";
    let fleet = Fleet::start_with(2, &settings(listed));
    fleet.allow_visits("");
    for (id, name, told) in [("other", "swap", "-n"), ("told", "note", "-c"), ("low", "away", "-n")]
    {
        hook(&fleet, id, (name, &[told]));
        let refused = eventually("it is refused", || {
            let visit = visit(&fleet, &format!("gw-1/{id}"))?;
            let ended = visit.pointer("/execution/journal/0/outcome/end/failed/code")?.clone();
            Some(ended)
        });
        let why = match id {
            "other" => "no_hook_swap",
            "told" => "arguments_not_allowed_for_hook_note",
            _ => "class_too_low_for_hook_away",
        };
        assert_eq!(refused, why);
        // Not while it is tried once more.
        let told = eventually("it is told why", || {
            let told = fleet.maintain("why gw-1")["given_up"][0].clone();
            (told["visit"] == format!("gw-1/{id}")).then_some(told)
        });
        assert!(told["why"].as_str().is_some_and(|told| told.contains(why)), "{told}");
        assert!(told["again_ms"].as_u64() > told["at_ms"].as_u64(), "{told}");
        // Not while it is tried once more.
        eventually("it is cancelled", || {
            let cancel = fleet.maintenance(&format!("operation cancel {id} --reason test"));
            (cancel.code == Some(0)).then_some(())
        });
    }
    assert_eq!(fleet.api(1, "/api/v1/gateway")["state"], "serving");
}

#[test]
fn a_gateway_is_started_again_in_its_place_and_no_other_is_touched() {
    let mut fleet = Fleet::start_with(2, &settings(""));
    let before = [1, 2].map(|number| life(&fleet, number));
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    fleet.allow_visits("");
    fleet.maintain("operation add --kind restart --host gw-1 --id again --reason test");
    assert_eq!(device.end_reason(), Some(ReasonCode::UseAnotherServer));
    wait_stage(&fleet, "gw-1/again", &json!("done"));
    assert!(fleet.wait_ended(1).success());
    assert!(life(&fleet, 1) > before[0], "gw-1 is as it was");
    assert_eq!(life(&fleet, 2), before[1], "gw-2 was touched");
    assert!(!steps(&fleet, "gw-1/again").contains(&"drain".to_owned()));
    // At the same address, with the session.
    let device = Dial::v5("device").persistent().connect(fleet.mqtt(1));
    assert!(device.session_present);
    let slots = fleet.api(1, "/api/v1/maintenance/visits");
    assert_eq!(slots.pointer("/ledger/slots").and_then(Value::as_array).map(Vec::len), Some(0));
}

#[test]
fn another_version_is_fetched_by_a_program_and_seen_to_run() {
    let listed = "[maintenance.hooks.upgrade]\nprogram = \"@dir@/fetch\"\narguments = [\"*\"]\n";
    let mut fleet = Fleet::start_with(2, &settings(listed));
    let fetched = fleet.dir().join("fetched");
    program(&fleet, "fetch", &format!("echo $1 >> {}", fetched.display()));
    let version = fleet.api(1, "/api/v1/gateway")["version"].as_str().expect("a text").to_owned();
    let before = life(&fleet, 1);
    fleet.allow_visits("");
    let upgrade = |fleet: &Fleet, to: &str| {
        let line = format!(
            "operation add --kind upgrade --to {to} --host gw-1 --id to-{to} --reason test"
        );
        fleet.maintain(&line);
    };
    upgrade(&fleet, &version);
    wait_stage(&fleet, &format!("gw-1/to-{version}"), &json!("done"));
    assert!(fleet.wait_ended(1).success());
    let second = life(&fleet, 1);
    assert!(second > before);

    // Somebody fetched something else than was said.
    upgrade(&fleet, "99.0.0");
    let code = eventually("somebody is asked", || {
        stage(&fleet, "gw-1/to-99.0.0").pointer("/needs_operator/fault/failed/code").cloned()
    });
    assert_eq!(code, format!("version_is_{version}"));
    fleet.maintain("visit skip gw-1/to-99.0.0 --reason known");
    wait_stage(&fleet, "gw-1/to-99.0.0", &json!("done"));
    assert!(life(&fleet, 1) > second);
    let fetched = std::fs::read_to_string(fetched).expect("what was fetched");
    assert_eq!(fetched, format!("{version}\n99.0.0\n"));
}

#[test]
fn a_configuration_is_in_force_under_its_name_or_the_visit_has_failed() {
    let listed =
        "[maintenance.hooks.config-change]\nprogram = \"@dir@/write\"\narguments = [\"r*\"]\n";
    let fleet = Fleet::start_with(2, &settings(listed));
    let file = fleet.configuration(1);
    let named = "s/^.gateway.$/[gateway]\\nrevision = \"r2\"/";
    program(&fleet, "write", &format!("sed -i '{named}' {}", file.display()));
    let before = life(&fleet, 1);
    fleet.allow_visits("");
    fleet.maintain("operation add --kind config-change --rev r2 --host gw-1 --id r2 --reason t");
    wait_stage(&fleet, "gw-1/r2", &json!("done"));
    // Now it is there twice.
    fleet.maintain("operation add --kind config-change --rev r3 --host gw-1 --id r3 --reason t");
    let failed = json!({"failed": {"code": "cannot_use_configuration"}});
    wait_stage(&fleet, "gw-1/r3", &failed);
    assert!(last_words(&fleet, "gw-1/r3").contains("duplicate key"));
    // As it was: but that is another than is wanted now.
    std::fs::write(&file, without_last_revision(&file)).expect("a file");
    program(&fleet, "write", "exit 0");
    fleet.maintain("operation add --kind config-change --rev r4 --host gw-1 --id r4 --reason t");
    let code = eventually("somebody is asked", || {
        stage(&fleet, "gw-1/r4").pointer("/needs_operator/fault/failed/code").cloned()
    });
    assert_eq!(code, "revision_is_r2");
    fleet.maintain("operation add --kind cert-rotate --host gw-2 --id certificates --reason t");
    wait_stage(&fleet, "gw-2/certificates", &json!("done"));
    assert_eq!(life(&fleet, 1), before);
}

#[test]
fn a_machine_that_is_started_again_shows_it() {
    let listed = "[maintenance.hooks.reboot]\nprogram = \"@dir@/reboot\"\n";
    let mut fleet = Fleet::start_with(2, &settings(listed));
    let boot = fleet.dir().join("boot");
    std::fs::write(&boot, "first").expect("a file");
    let line = format!("echo second > {}; kill -TERM $TIDEGATE_PID", boot.display());
    program(&fleet, "reboot", &line);
    fleet.allow_visits("");
    fleet.maintain("operation add --kind reboot --host gw-1 --id kernel --reason test");
    fleet.wait_ended(1);
    fleet.launch(1);
    wait_stage(&fleet, "gw-1/kernel", &json!("done"));
    eventually("the gateway serves", || serves(&fleet, 1));
}

#[test]
fn a_gateway_that_comes_back_takes_a_few_at_first_and_sends_the_others_elsewhere() {
    let fleet = Fleet::start_with(2, &settings("accept_per_s = 20\n"));
    fleet.allow_visits("drain = { warm = \"1h\" }\n");
    fleet.maintain("operation add --kind drain-only --host gw-1 --id short --reason test");
    eventually("the gateway warms up", || {
        let visit = visit(&fleet, "gw-1/short")?;
        let journal = visit.pointer("/execution/journal")?.as_array()?.clone();
        (journal.last()?.get("step")? == "warm").then_some(())
    });
    // One in a second, however many come.
    eventually("somebody is sent elsewhere", || {
        let (address, other) = (fleet.mqtt(1), fleet.mqtt(2).to_string());
        let come = |n: usize| {
            let other = other.clone();
            thread::spawn(move || match Dial::v5(&format!("d-{n}")).try_connect(address) {
                Answer::Refused { reason, server_reference, .. } => {
                    assert_eq!(reason, ReasonCode::UseAnotherServer);
                    assert_eq!(server_reference.as_deref(), Some(&*other));
                    true
                }
                Answer::Accepted(_) | Answer::Closed => false,
            })
        };
        let coming: Vec<_> = (0..20).map(come).collect();
        let refused = coming.into_iter().map(|it| it.join().expect("no panic"));
        (refused.filter(|refused| *refused).count() > 0).then_some(())
    });
    assert!(fleet.metric(1, "tidegate_maintenance_warming_refused_total") > 0);
    serves(&fleet, 1).expect("it serves");
}

#[test]
fn a_visited_gateway_is_tried_by_a_client_of_its_own_of_whom_nothing_is_seen_or_left() {
    let fleet = Fleet::start_with(2, &settings("[presence]\nkeep = \"all\"\n"));
    let mut curious = Dial::v5("curious").connect(fleet.mqtt(2));
    for filter in ["#", "$aws/events/#"] {
        curious.subscribe(filter, QoS::AtLeastOnce);
    }
    for asked in ["$trial/#", "$trial/+/live/+"] {
        let refused = curious.try_subscribe(asked, QoS::AtLeastOnce);
        assert_eq!(refused, [ReasonCode::NotAuthorized], "{asked}");
    }
    fleet.allow_visits("");
    fleet.maintain("operation add --kind drain-only --host gw-1 --id short --reason test");
    wait_stage(&fleet, "gw-1/short", &json!("done"));
    let seen = said_at(&fleet, "gw-1/short", "verify");
    let place = fleet.place(1);
    let all = "connect subscribe qos_0 qos_1 qos_2 peers retain clear leave queue resume end";
    let each = "connect subscribe qos_0 qos_1 qos_2 peers leave";
    let expected = [
        (format!("trial at {} (tls):", place.mqtts), all),
        (format!("trial at {} (secure_websocket):", place.secure_websocket), each),
        (format!("trial at {} (tcp):", place.mqtt), each),
        (format!("trial at {} (websocket):", place.websocket), each),
    ];
    assert_eq!(seen.lines().count(), expected.len(), "{seen}");
    for (line, (door, steps)) in seen.lines().zip(expected) {
        let said = line.strip_prefix(&door).unwrap_or_else(|| panic!("{door} {seen}"));
        let tried: Vec<_> =
            said.split_whitespace().filter(|it| all.split(' ').any(|step| step == *it)).collect();
        assert_eq!(tried.join(" "), steps, "{seen}");
        assert!(said.contains("(peers: gw-2)"), "{seen}");
    }

    let clients = fleet.api(2, "/api/v1/clients").to_string();
    assert!(clients.contains("curious") && !clients.contains("trial"), "{clients}");
    // What comes first is what somebody else says.
    let mut other = Dial::v5("other").connect(fleet.mqtt(1));
    other.publish("after", "it", QoS::AtLeastOnce);
    loop {
        let heard = curious.receive();
        assert!(!heard.topic.contains("trial") && !heard.text.contains("trial"), "{heard:?}");
        if heard.topic == "after" {
            break;
        }
    }
}

#[test]
fn a_gateway_that_does_not_serve_a_device_stays_out_and_somebody_is_asked() {
    let narrow = "[limits]\ntopic_bytes = 30\n";
    let fleet = Fleet::start_with(2, &settings("").only(1, narrow));
    fleet.allow_visits("");
    fleet.maintain("operation add --kind drain-only --host gw-1 --id short --reason test");
    let code = eventually("somebody is asked", || {
        stage(&fleet, "gw-1/short").pointer("/needs_operator/fault/failed/code").cloned()
    });
    assert_eq!(code, "trial_tls_subscribe_refused_0x8f");
    let seen = said_at(&fleet, "gw-1/short", "verify");
    assert!(seen.contains("connect") && seen.contains("TopicFilterInvalid"), "{seen}");
    assert_eq!(fleet.api(1, "/api/v1/gateway")["state"], "quiesced");
    let answer = Dial::v5("device").try_connect(fleet.mqtt(1));
    let refused =
        matches!(answer, Answer::Refused { reason, .. } if reason == ReasonCode::UseAnotherServer);
    assert!(refused, "{answer:?}");
}

#[test]
fn a_gateway_whose_clients_fare_worse_than_before_has_failed_its_visit_and_serves_on() {
    let fleet = Fleet::start_with(2, &settings(""));
    fleet.allow_visits("soak = \"1h\"\n");
    fleet.maintain("operation add --kind drain-only --host gw-1 --id short --reason test");
    eventually("the gateway is watched", || {
        let visit = visit(&fleet, "gw-1/short")?;
        let journal = visit.pointer("/execution/journal")?.as_array()?.clone();
        (journal.last()?.get("step")? == "soak").then_some(())
    });
    // An empty id that asks for a session of before.
    for _ in 0..25 {
        let answer = Dial::v311("").persistent().try_connect(fleet.mqtt(1));
        assert!(matches!(answer, Answer::Refused { .. }), "{answer:?}");
    }
    let code = eventually("somebody is asked", || {
        stage(&fleet, "gw-1/short").pointer("/needs_operator/fault/failed/code").cloned()
    });
    assert_eq!(code, "connects_fail");
    let seen = said_at(&fleet, "gw-1/short", "soak");
    assert!(seen.contains("25 of ") && seen.contains("0 of 0 publications"), "{seen}");
    serves(&fleet, 1).expect("it serves on");
    let slots = fleet.api(1, "/api/v1/maintenance/visits");
    assert_eq!(slots.pointer("/ledger/slots").and_then(Value::as_array).map(Vec::len), Some(1));
    fleet.maintain("visit skip gw-1/short --reason known");
    wait_stage(&fleet, "gw-1/short", &json!("done"));
}

/// What was said at a step of a visit last.
fn said_at(fleet: &Fleet, name: &str, step: &str) -> String {
    let visit = visit(fleet, name).expect("a visit");
    let journal = visit.pointer("/execution/journal").and_then(Value::as_array).expect("a journal");
    let mut records = journal.iter().rev().filter(|record| record["step"] == step);
    let said = records.find_map(|record| record.get("output")?.as_str());
    said.expect("something was said").to_owned()
}

/// A program in the folder of the fleet. Another process writes it: a file that is open for writing cannot be run, and any
/// process that is started meanwhile would have it open.
fn program(fleet: &Fleet, name: &str, text: &str) {
    let path = fleet.dir().join(name);
    let write = "printf '#!/bin/sh\\n%s\\n' \"$1\" > \"$2\" && chmod 700 \"$2\"";
    let written = Command::new("sh").args(["-c", write, "sh", text]).arg(path).status();
    assert!(written.expect("a shell").success());
}

/// A configuration in which something stands twice that is to stand there once.
fn without_last_revision(file: &Path) -> String {
    let text = std::fs::read_to_string(file).expect("a configuration");
    text.replacen("revision = \"r2\"\n", "", 1)
}

/// Which life of its process a gateway is in.
fn life(fleet: &Fleet, number: usize) -> u64 {
    let gateway = fleet.api(number, "/api/v1/gateway");
    gateway.get("incarnation").and_then(Value::as_u64).expect("a life")
}

/// The steps of a visit that were begun.
fn steps(fleet: &Fleet, name: &str) -> Vec<String> {
    let visit = visit(fleet, name).expect("a visit");
    let journal = visit.pointer("/execution/journal").and_then(Value::as_array).expect("a journal");
    journal.iter().filter_map(|it| Some(it.get("step")?.as_str()?.to_owned())).collect()
}

/// Where a visit stands.
fn stage(fleet: &Fleet, name: &str) -> Value {
    visit(fleet, name).map(|visit| visit["execution"]["stage"].clone()).unwrap_or_default()
}

fn wait_stage(fleet: &Fleet, name: &str, wanted: &Value) {
    eventually(&format!("{name} comes to {wanted}"), || {
        let stage = stage(fleet, name);
        let asks = stage.get("needs_operator").is_some();
        assert!(!asks || wanted.get("needs_operator").is_some(), "{name}: {stage}");
        (stage == *wanted).then_some(())
    });
}

/// What a program said last that was run in a visit.
fn last_words(fleet: &Fleet, name: &str) -> String {
    said_at(fleet, name, "operate")
}

fn visit(fleet: &Fleet, name: &str) -> Option<Value> {
    let visits = fleet.api(2, "/api/v1/maintenance/executions");
    let visits = visits["executions"].as_array().expect("visits").clone();
    visits.into_iter().find(|visit| visit["execution"]["visit"] == name)
}

fn serves(fleet: &Fleet, number: usize) -> Option<()> {
    (fleet.api(number, "/api/v1/gateway")["state"] == "serving").then_some(())
}

/// Wants a program run on the first gateway, once it is drained.
fn hook(fleet: &Fleet, id: &str, (name, told): (&str, &[&str])) {
    let mut typed = vec!["maintenance", "--json", "operation", "add", "--kind", "hook"];
    typed.extend(["--hook", name, "--class", "drain", "--limit-s", "60"]);
    let told: Vec<_> = told.iter().map(|it| format!("--arg={it}")).collect();
    typed.extend(told.iter().map(String::as_str));
    typed.extend(["--host", "gw-1", "--reason", "test", "--id", id]);
    let ran = fleet.command(&typed);
    assert_eq!(ran.code, Some(0), "{ran:?}");
}

fn settings(more: &str) -> Settings {
    let quick = "[maintenance]\nscheduler_ttl_ms = 3000\nboot_id = \"@dir@/boot\"\n[drain]\nannounce_ms = 100\n";
    Settings::default().everywhere(quick).everywhere(more)
}
