//! What an operator does at the desk: slots are listed, what is gone is written off by its name, a command that waits tells how it
//! ended, what gateways need becomes operations, and everybody does what their role allows.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::path::PathBuf;
use std::thread;

use certs::{Authority, Role};
use serde_json::{Value, json};
use tests::harness::{Fleet, Settings, eventually, run, tidegate};

fn settings() -> Settings {
    Settings::mortal()
        .everywhere("[maintenance]\nscheduler_ttl_ms = 3000\nreboot_required = \"@dir@/reboot-required\"\n[drain]\nannounce_ms = 100\n")
}

/// The slots that are held.
fn held(fleet: &Fleet) -> Vec<Value> {
    fleet.maintain("slots")["slots"].as_array().expect("a list").clone()
}

#[test]
fn a_command_that_waits_ends_as_the_operation_did() {
    let fleet = Fleet::start_with(2, &settings());
    fleet.allow_visits("");
    let add = "operation add --kind drain-only --id";
    let done = fleet.maintenance(&format!("{add} short --host gw-1 --wait --reason test"));
    assert_eq!(done.code, Some(0), "{done:?}");
    let list: Value = serde_json::from_str(&done.out).expect("JSON");
    assert_eq!(list["operations"][0]["state"], "done", "{done:?}");
    assert!(done.err.contains("gw-1/short: "), "how far it is was told: {done:?}");
    assert_eq!(held(&fleet), [] as [Value; 0]);

    // This one is called off while somebody waits.
    let line = format!("{add} long --host gw-2 --hold-s 7200 --wait --reason test");
    thread::scope(|scope| {
        let waits = scope.spawn(|| fleet.maintenance(&line));
        let slot = eventually("a slot is held", || held(&fleet).pop());
        assert_eq!((&slot["host"], &slot["visit"]), (&json!("gw-2"), &json!("gw-2/long")));
        eventually("the visit can be called off", || {
            let ran = fleet.maintenance("visit abort gw-2/long --reason test");
            (ran.code == Some(0)).then_some(())
        });
        let ended = waits.join().expect("it does not panic");
        assert_eq!(ended.code, Some(3), "{ended:?}");
        assert!(ended.err.contains("not done: 1 aborted"), "{ended:?}");
    });
    assert_eq!(fleet.maintenance("operation wait long").code, Some(3));
    assert_eq!(fleet.maintenance("operation wait short").code, Some(0));
    assert_eq!(fleet.maintenance("operation wait nothing").code, Some(1));
}

/// A campaign that is added to be begun later, and is stopped in the middle; then the audit holds.
#[test]
fn all_of_a_campaign_runs_is_paused_and_is_called_off_by_one_word() {
    let fleet = Fleet::start_with(2, &settings());
    fleet.allow_visits("");
    let add =
        "operation add --kind drain-only --hold-s 7200 -l \"\" --id all --paused --reason test";
    let add = add.replace("\"\"", "host!=nobody");
    fleet.maintain(&add);
    let why = fleet.maintenance("why gw-1");
    assert!(why.out.contains("operation all:gw-1 is paused by operator: test"), "{why:?}");
    let nothing = fleet.maintenance("abort other --reason test");
    assert_eq!(nothing.code, Some(1), "there is no such campaign: {nothing:?}");
    assert_eq!(held(&fleet), [] as [Value; 0]);
    let run = fleet.maintain("run all --reason now");
    assert_eq!(run["operations"], json!(["all:gw-1", "all:gw-2"]), "{run}");
    let slot = eventually("the first of them has begun", || held(&fleet).pop());
    let visit = slot["visit"].as_str().expect("a visit").to_owned();
    let paused = eventually("its visit is on its way", || {
        let ran = fleet.maintenance("pause --fleet --reason wait");
        (ran.code == Some(0)).then_some(ran)
    });
    let visits = fleet.maintain("visit list");
    let is_paused = |of: &Value| of["execution"]["paused"] == true;
    assert!(
        visits["executions"].as_array().is_some_and(|all| all.iter().any(is_paused)),
        "{paused:?}: {visits}"
    );
    assert_eq!(fleet.maintain("operation list")["paused"]["reason"], "wait");
    let again = fleet.maintenance("pause --fleet --reason wait");
    assert_eq!(again.code, Some(4), "it is paused: {again:?}");
    let resumed = fleet.maintain("resume --fleet --reason night");
    assert_eq!(resumed["visits"], json!([visit]), "{resumed}");
    let aborted = fleet.maintain("abort all --reason over");
    assert_eq!(
        (&aborted["visits"], &aborted["not_taken"]),
        (&json!([visit]), &json!([])),
        "{aborted}"
    );
    assert_eq!(fleet.maintenance("operation wait all").code, Some(3));
    eventually("nobody holds a slot", || held(&fleet).is_empty().then_some(()));

    let held = fleet.maintain("audit --verify");
    assert_eq!(held["ok"], true, "{held}");
    let entries = fleet.maintain("audit --after 1");
    let entries = entries["entries"].as_array().expect("entries");
    assert_eq!(entries[0]["seq"], 2);
    let of = |action: &str| entries.iter().any(|it| it["record"]["action"] == action);
    for action in
        ["operation.resumed", "fleet.paused", "visit.pause", "fleet.resumed", "visit.abort"]
    {
        assert!(of(action), "{action}");
    }
}

#[test]
fn the_fleet_tells_when_it_is_open_and_what_would_happen() {
    let fleet = Fleet::start_with(2, &settings());
    fleet.allow_visits("");
    let open = fleet.api(1, "/api/v1/maintenance/openings?next=3");
    assert_eq!(open["calendars"][0]["hosts"], json!(["gw-1", "gw-2"]), "{open}");
    assert_eq!(open["calendars"][0]["rows"].as_array().map(Vec::len), Some(1), "{open}");
    let one = fleet.api(2, "/api/v1/maintenance/openings?host=gw-2&tz=Europe/Berlin");
    assert_eq!(one["calendars"][0]["viewer_zone"], "Europe/Berlin", "{one}");
    let tale = fleet.maintain("simulate --days 2 --seed 7");
    assert_eq!((&tale["totals"]["done"], &tale["broken"]), (&json!(2), &json!([])), "{tale}");
    let nobody = fleet.maintenance("simulate -l host=nobody");
    assert_eq!(nobody.code, Some(64), "{nobody:?}");
}

#[test]
fn a_gateway_that_is_gone_is_written_off_by_its_name() {
    let mut fleet = Fleet::start_with(2, &settings());
    fleet.allow_visits("min_available = { fleet = \"n-1\" }\n");
    let least = |fleet: &Fleet| {
        let shown = fleet.maintain("policy show --effective gw-1");
        let mut fields = shown["fields"].as_array().into_iter().flatten();
        let field = fields.find(|it| it["field"] == "min_available.fleet");
        field.expect("what the policy says")["value"].clone()
    };
    assert_eq!(least(&fleet), "1 of 2");
    let lives = fleet.maintenance("write-off gw-2 --yes gw-2 --reason disk");
    assert_eq!(lives.code, Some(4), "{lives:?}");
    fleet.maintain(
        "operation add --kind drain-only --hold-s 7200 --host gw-2 --id night --reason test",
    );
    eventually("a slot is held", || held(&fleet).pop());
    fleet.kill(2);
    // Nothing was typed, and then the name of another.
    let silent = fleet.maintenance("write-off gw-2 --reason disk");
    assert_eq!(silent.code, Some(64), "{silent:?}");
    let other = fleet.maintenance("write-off gw-2 --yes gw-1 --reason disk");
    assert_eq!(other.code, Some(64), "{other:?}");
    assert_eq!(held(&fleet)[0]["host"], "gw-2");
    let entry = eventually("its silence is noticed", || {
        let ran = fleet.maintenance("write-off gw-2 --yes gw-2 --reason disk");
        (ran.code == Some(0)).then(|| serde_json::from_str::<Value>(&ran.out).expect("JSON"))
    });
    assert_eq!(entry["record"]["action"], "host.written_off", "{entry}");
    assert_eq!(held(&fleet), [] as [Value; 0]);
    assert_eq!(fleet.maintenance("operation wait night").code, Some(3));

    // It is known, and counts nowhere any more until it comes back in a new life.
    let state = |fleet: &Fleet| {
        let hosts = fleet.api(1, "/api/v1/maintenance/hosts")["hosts"].clone();
        let gone = hosts.as_array().into_iter().flatten().find(|it| it["host"]["id"] == "gw-2");
        gone.expect("a gateway that was here")["host"]["state"].clone()
    };
    assert_eq!((least(&fleet), state(&fleet)), (json!("0 of 1"), json!("retired")));
    fleet.launch(2);
    fleet.wait_ready(2);
    eventually("it counts again", || (state(&fleet) == "serving").then_some(()));
    assert_eq!(least(&fleet), "1 of 2");
}

/// A folder from which a command finds the fleet, with another operator's certificate.
fn desk_of(fleet: &Fleet, name: &str) -> PathBuf {
    let (desk, certs) = (fleet.dir().join(name), fleet.certificates());
    let authority = Authority::load(&certs).expect("the authority");
    authority.issue(Role::Operator, name, &[], 30).expect("a certificate");
    std::fs::create_dir_all(desk.join("certs")).expect("a folder");
    let copy = |from: PathBuf, to: &str| {
        std::fs::copy(from, desk.join(to)).expect("a copy");
    };
    copy(fleet.dir().join("fleet.json"), "fleet.json");
    copy(certs.join("ca.pem"), "certs/ca.pem");
    copy(certs.join(format!("{name}.pem")), "certs/operator.pem");
    copy(certs.join(format!("{name}.key")), "certs/operator.key");
    desk
}

/// Who did what, as the audit has it.
fn acts(fleet: &Fleet) -> Vec<String> {
    let audit = fleet.api(2, "/api/v1/maintenance/audit?max=1000");
    let told = |entry: &Value| {
        let record = &entry["record"];
        Some(format!("{} {}", record["actor"].as_str()?, record["action"].as_str()?))
    };
    audit["entries"].as_array().into_iter().flatten().filter_map(told).collect()
}

#[test]
fn everybody_may_do_what_their_role_says_and_break_the_glass_loudly() {
    let roles = "[maintenance.roles]\nviewer = [\"vic\"]\nplanner = [\"ada\"]\napprover = [\"bob\"]\n\
        operator = [\"operator\"]\nbreak_glass = [\"dan\"]\n";
    let fleet = Fleet::start_with(2, &settings().everywhere(roles));
    let desks = ["vic", "ada", "bob", "dan"].map(|name| (name, desk_of(&fleet, name)));
    let by = |name: &str, line: &str| {
        let (_, desk) = desks.iter().find(|(of, _)| *of == name).expect("somebody");
        let typed = ["maintenance", "--json", "--data", desk.to_str().expect("a path")];
        run(&mut tidegate(typed.into_iter().chain(line.split_whitespace())))
    };
    let may = |name: &str, line: &str| {
        let ran = by(name, line);
        assert_eq!(ran.code, Some(0), "{name}: {line}: {ran:?}");
    };
    let may_not = |name: &str, line: &str, role: &str| {
        let ran = by(name, line);
        assert_eq!(ran.code, Some(4), "{name}: {line}: {ran:?}");
        assert!(ran.err.contains(&format!("the role {role} ")), "{name}: {line}: {ran:?}");
    };
    let add = "operation add --kind drain-only --host gw-1 --id night --reason test";
    let approve = "approve night --reason fine";
    for name in ["vic", "bob", "dan"] {
        may(name, "operation list");
        may_not(name, add, "planner");
    }
    may("ada", add);
    for name in ["vic", "ada", "dan"] {
        may_not(name, approve, "approver");
    }
    assert!(fleet.maintenance(approve).err.contains("approver"), "an operator does not approve");
    may("bob", approve);
    let told = by("vic", "simulate --days 1");
    assert_eq!(told.code, Some(3), "whoever looks may ask, and nothing is open: {told:?}");
    may("vic", "audit --verify");
    for name in ["vic", "ada", "bob", "dan"] {
        may_not(name, "pause night --reason test", "operator");
    }
    may_not("ada", "visit abort gw-1/night --reason test", "operator");
    may_not("ada", "break-glass take --reason fire", "break_glass");

    // Every right, at every gateway, and everybody is told.
    may("dan", "break-glass take --for 10m --reason fire");
    may("dan", "operation add --kind drain-only --host gw-1 --id fire --reason fire");
    may("dan", "approve night --reason fire");
    let own = by("dan", "approve fire --reason fire");
    assert_eq!(own.code, Some(4), "nobody approves what is their own: {own:?}");
    let loud = (1..=2).any(|number| {
        let log = fleet.process(number).log();
        log.contains("ERROR") && log.contains("operator dan has taken every right")
    });
    assert!(loud, "the log of the gateway that was asked is loud");
    let broken = |number| fleet.metric(number, "tidegate_maintenance_break_glass_total");
    assert_eq!(broken(1) + broken(2), 1);
    may("dan", "break-glass end --reason out");
    may_not("dan", "operation cancel fire --reason out", "planner");
    assert_eq!(
        acts(&fleet),
        [
            "ada operation.added",
            "bob operation.approved",
            "dan glass.broken",
            "dan operation.added",
            "dan operation.approved",
            "dan glass.mended"
        ]
    );
}

#[test]
fn who_breaks_the_glass_begins_a_visit_despite_a_hard_blocker_and_without_a_window() {
    let roles = "[maintenance.roles]\noperator = [\"operator\"]\nbreak_glass = [\"dan\"]\n";
    let fleet = Fleet::start_with(2, &settings().everywhere(roles));
    // No window is ever open, and one gateway at a time.
    fleet.put_policy("[policy.all]\nmax_concurrent = { fleet = 1 }\n");
    let desk = desk_of(&fleet, "dan");
    let by_dan = |line: &str| {
        let typed = ["maintenance", "--json", "--data", desk.to_str().expect("a path")];
        run(&mut tidegate(typed.into_iter().chain(line.split_whitespace())))
    };
    let add = "operation add --kind drain-only --reason test";
    fleet.maintain(&format!("{add} --host gw-1 --id fire --hold-s 7200"));
    fleet.maintain(&format!("{add} --host gw-2 --id next"));
    fleet.maintain("blocker add gw-1 backup --reason nightly");
    let begin = "break-glass begin gw-1/fire --reason fire";
    eventually("it is planned, and has no place", || {
        let plan = fleet.maintenance("plan");
        (plan.code == Some(0) && plan.out.contains("gw-1/fire")).then_some(())
    });
    let glassless = by_dan(begin);
    assert_eq!(glassless.code, Some(4), "{glassless:?}");
    assert!(glassless.err.contains("broken glass"), "{glassless:?}");
    let roleless = fleet.maintenance(begin);
    assert_eq!(roleless.code, Some(4), "an operator's right is not enough: {roleless:?}");

    assert_eq!(by_dan("break-glass take --for 50m --reason fire").code, Some(0));
    let unknown = by_dan("break-glass begin gw-1/other --reason fire");
    assert_eq!(unknown.code, Some(4), "{unknown:?}");
    let begun = by_dan(begin);
    assert_eq!(begun.code, Some(0), "{begun:?}");
    let slot = eventually("a slot is held", || held(&fleet).pop());
    assert_eq!((&slot["host"], &slot["visit"]), (&json!("gw-1"), &json!("gw-1/fire")));
    eventually("it is drained and held", || {
        (fleet.api(1, "/api/v1/gateway")["state"] == "quiesced").then_some(())
    });
    assert_eq!(by_dan("break-glass list").out.matches("gw-1/fire").count(), 1);

    // The fleet's cap is heard all the same, and the word ends with the glass.
    assert_eq!(by_dan("break-glass begin gw-2/next --reason fire").code, Some(0));
    let waits = "visit gw-2/next does not go on: fleet: ";
    eventually("the ledger refuses it", || {
        (1..=2).any(|number| fleet.process(number).log().contains(waits)).then_some(())
    });
    assert_eq!(held(&fleet).len(), 1);
    assert_eq!(by_dan("break-glass end --reason out").code, Some(0));
    eventually("its word has ended", || {
        let list = fleet.maintain("break-glass list");
        (list["visits"] == json!([])).then_some(())
    });
    // What has begun goes on until it is called off.
    assert_eq!(held(&fleet)[0]["visit"], "gw-1/fire");
    fleet.maintain("visit abort gw-1/fire --reason out");
    eventually("it serves", || held(&fleet).is_empty().then_some(()));
    let acts = acts(&fleet);
    for act in ["dan visit.begin_despite", "dan visit.begun_despite"] {
        assert!(acts.iter().any(|it| it == act), "{act}: {acts:?}");
    }
    assert_eq!(fleet.maintain("audit --verify")["ok"], true);
    let loud = (1..=2).any(|number| {
        let log = fleet.process(number).log();
        log.contains("ERROR") && log.contains("has visit gw-1/fire begun despite")
    });
    assert!(loud, "the log of the gateway that was asked is loud");
}

#[test]
fn a_visit_waits_for_a_soft_blocker_until_it_is_as_important_as_policies_say() {
    let fleet = Fleet::start_with(2, &settings());
    fleet.allow_visits("soft_yields_to = 7\n");
    fleet.maintain("blocker add gw-1 match --soft --until 2989-01-01T00:00:00Z --reason final");
    let add = "operation add --kind drain-only --host gw-1 --reason test";
    fleet.maintain(&format!("{add} --id low --priority 6"));
    eventually("it waits for what the host would rather", || {
        let why = fleet.maintain("why gw-1").to_string();
        (why.contains("HOST_BLOCKER") && why.contains("match")).then_some(())
    });
    assert_eq!(held(&fleet), [] as [Value; 0]);
    fleet.maintain(&format!("{add} --id high --priority 7"));
    assert_eq!(fleet.maintenance("operation wait high").code, Some(0));
    assert_eq!(fleet.maintenance("operation wait low").code, Some(0), "in the same visit");
    let shown = fleet.maintain("policy show --effective gw-1").to_string();
    assert!(shown.contains("soft_yields_to"), "{shown}");
}

#[test]
fn a_certificate_that_ends_is_wanted_by_itself_where_policies_say_so() {
    let mut fleet = Fleet::prepare(2, &settings());
    let authority = Authority::load(&fleet.certificates()).expect("the authority");
    authority.renew("gw-1", 5).expect("a certificate");
    (1..=2).for_each(|number| fleet.launch(number));
    (1..=2).for_each(|number| fleet.wait_ready(number));
    // Without a window nothing is visited, whatever is wanted.
    fleet.put_policy("[policy.all]\nneeds = \"auto\"\n");
    let wanted = eventually("it is wanted", || {
        fleet.maintain("operation list")["operations"].get(0).cloned()
    });
    assert_eq!(wanted["operation"]["requester"], "scheduler", "{wanted}");
    assert_eq!(wanted["operation"]["host"], "gw-1", "{wanted}");
    assert_eq!(fleet.maintain("needs")[0]["operation"], wanted["operation"]["id"]);
}

#[test]
fn a_certificate_that_ends_becomes_an_operation_by_one_command() {
    let mut fleet = Fleet::prepare(2, &settings());
    let authority = Authority::load(&fleet.certificates()).expect("the authority");
    authority.renew("gw-1", 5).expect("a certificate");
    (1..=2).for_each(|number| fleet.launch(number));
    (1..=2).for_each(|number| fleet.wait_ready(number));
    let need =
        eventually("the gateway says what it needs", || fleet.maintain("needs").get(0).cloned());
    let said = |need: &Value| [need["host"].clone(), need["proposed"].clone()];
    assert_eq!(said(&need), [json!("gw-1"), json!("cert_rotate")]);
    assert_eq!(need["operation"], Value::Null);
    let added = fleet.maintain("needs --add --reason soon");
    assert!(added[0]["operation"].is_string(), "{added}");
    assert_eq!(fleet.maintain("needs")[0]["operation"], added[0]["operation"]);
    let again = fleet.maintain("needs --add --reason soon");
    assert_eq!(again, added, "it is wanted once");
    let list = fleet.maintain("operation list");
    assert_eq!(list["operations"].as_array().map(Vec::len), Some(1), "{list}");
    assert_eq!(list["operations"][0]["operation"]["deadline"]["at_ms"], need["need"]["by_ms"]);
}

#[test]
fn a_gateway_says_that_it_needs_a_restart_and_its_machine_a_reboot_until_it_does_not() {
    let mut fleet = Fleet::prepare(2, &settings());
    let reboot = fleet.dir().join("reboot-required");
    std::fs::write(&reboot, "").expect("a file");
    (1..=2).for_each(|number| fleet.launch(number));
    (1..=2).for_each(|number| fleet.wait_ready(number));
    let needs = || {
        let needs = fleet.maintain("needs");
        let needs = needs.as_array().expect("a list").clone();
        needs.into_iter().map(|it| (it["host"].clone(), it["need"]["kind"].clone(), it))
    };
    let said = |host: &str, kind: &str| needs().find(|it| it.0 == host && it.1 == kind);
    for host in ["gw-1", "gw-2"] {
        let need = eventually("the machine is to be started again", || said(host, "reboot"));
        assert_eq!(need.2["proposed"], "reboot", "{:?}", need.2);
    }
    assert_eq!(needs().count(), 2, "nothing else: the program that runs is the one that is there");
    // What is not in force without a restart is a need at once, and none any more once it is taken back.
    let path = fleet.configuration(1);
    let before = std::fs::read_to_string(&path).expect("a configuration");
    std::fs::write(&path, before.replace("[store]", "[store]\nsynchronous = \"normal\""))
        .expect("a file");
    let need = eventually("it needs a restart", || said("gw-1", "restart"));
    let detail = need.2["need"]["detail"].as_str().expect("a text").to_owned();
    assert!(detail.ends_with("store.synchronous"), "{detail}");
    assert_eq!(fleet.metric(1, "tidegate_maintenance_needs{kind=\"restart\"}"), 1);
    let added = fleet.maintain("needs --add --reason soon");
    let wanted = fleet.maintain("operation list");
    assert_eq!(wanted["operations"].as_array().map(Vec::len), Some(3), "{added} {wanted}");
    std::fs::remove_file(&reboot).expect("a file");
    std::fs::write(&path, before).expect("a file");
    // Both look at once: the one whose file was read again.
    eventually("gw-1 needs nothing", || needs().all(|it| it.0 != "gw-1").then_some(()));
}
