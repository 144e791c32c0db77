//! D4, and the path of D1 that nobody has to start: when a window opens the scheduler drains the gateway, and when it
//! closes the gateway serves again and gives its slot back.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use protocol::QoS;
use protocol::mqtt::ReasonCode;
use tests::harness::{Answer, Client, Dial, Ended, Fleet, Settings, eventually, get};

#[test]
fn an_open_window_drains_its_gateway_and_its_end_brings_it_back() {
    // Nobody knows how long this machine takes to get there before the window opens, and to look while it is open.
    let seen = [1, 3, 8].into_iter().any(a_window_comes_and_goes);
    assert!(seen, "this machine is too slow to be in time");
}

/// A window that opens ten times `unit` seconds from now. Says whether there was time to see it open and close; without it
/// nothing is shown.
fn a_window_comes_and_goes(unit: u64) -> bool {
    let began = Instant::now();
    let passed = |units: u64| began.elapsed() >= Duration::from_secs(units * unit);
    let settings = Settings::default()
        .only(1, window(10 * unit, 18 * unit))
        .everywhere("[drain]\nannounce_ms = 500\n");
    let fleet = Fleet::start_with(2, &settings);
    if passed(3) {
        return false;
    }
    let mut device = Dial::v5("device").persistent().will("gone", "lost").connect(fleet.mqtt(1));
    device.subscribe("t", QoS::AtLeastOnce);
    let mut writer = Dial::v5("writer").connect(fleet.mqtt(2));
    writer.subscribe("gone", QoS::AtLeastOnce);
    writer.publish("t", "before", QoS::AtLeastOnce);
    assert_eq!(device.receive().text, "before");
    // Nothing is asked of anybody: the window opens.
    let reference = Some(fleet.mqtt(2).to_string());
    let told = Ended::Told { reason: ReasonCode::UseAnotherServer, server_reference: reference };
    assert_eq!(device.ended(), told);
    let mut device = Dial::v5("device").persistent().connect(fleet.mqtt(2));
    assert!(device.session_present);
    eventually("the gateway is drained, or the window is over", || {
        (state(&fleet) == "quiesced" || passed(17)).then_some(())
    });
    let other = Dial::v5("other").try_connect(fleet.mqtt(1));
    let slots = slots(&fleet);
    if passed(17) {
        return false;
    }
    assert!(matches!(other, Answer::Refused { .. }));
    assert_eq!(slots.len(), 1, "{slots:?}");
    assert_eq!(slots[0]["host"], "gw-1");
    writer.publish("t", "meanwhile", QoS::AtLeastOnce);
    assert_eq!(device.receive().text, "meanwhile");

    eventually("the gateway serves again", || (state(&fleet) == "serving").then_some(()));
    eventually("the slot is given back", || self::slots(&fleet).is_empty().then_some(()));
    Dial::v5("other").connect(fleet.mqtt(1)).ping();
    writer.publish("gone", "no will", QoS::AtLeastOnce);
    assert_eq!(writer.receive().text, "no will");
    true
}

#[test]
fn outside_its_window_a_gateway_is_left_alone_and_says_when_the_next_one_opens() {
    let fleet = Fleet::start_with(2, &Settings::default().only(1, window(3600, 7200)));
    let mut device = Dial::v5("device").connect(fleet.mqtt(1));
    let visits = fleet.api(1, "/api/v1/maintenance/visits");
    assert_eq!(visits["windows"].as_array().map(Vec::len), Some(1), "{visits}");
    assert!(slots(&fleet).is_empty());
    device.ping();
    assert_eq!(state(&fleet), "serving");
}

#[test]
fn two_gateways_with_one_window_are_not_drained_at_once() {
    let windows = format!("{}[drain]\nannounce_ms = 0\n", window(2, 3600));
    let mut fleet = Fleet::prepare(2, &Settings::default().everywhere(&windows));
    (1..=2).for_each(|number| fleet.launch(number));
    // The one that is not drained has to stay: somebody must take the clients.
    eventually("one is drained, and the other serves", || {
        let states = [1, 2].map(|number| {
            let answer = get(fleet.place(number).http, "/api/v1/gateway")?;
            serde_json::from_str::<serde_json::Value>(&answer.body).ok()
        });
        let is = |wanted: &str| {
            states.iter().flatten().filter(|state| state["state"] == wanted).count() == 1
        };
        (is("quiesced") && is("serving")).then_some(())
    });
    assert_eq!(slots(&fleet).len(), 1);
}

#[test]
fn a_drain_that_leaves_too_little_of_the_window_is_undone_or_its_work_is_done_as_policies_say() {
    let listed =
        "[maintenance.hooks.note]\nprogram = \"/bin/sh\"\narguments = [\"@dir@/note.sh\"]\n";
    let quick = "[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 0\n";
    let settings = Settings::default().everywhere(quick).everywhere(listed);
    let fleet = Fleet::start_with(2, &settings.only(2, "[limits]\nconnections = 2\n"));
    let [script, ran] = ["note.sh", "ran"].map(|name| fleet.dir().join(name));
    std::fs::write(&script, format!("echo >> {}", ran.display())).expect("a file");
    let script = script.to_str().expect("a path in UTF-8");
    // It takes two hours, as far as anybody knows.
    let hook = "operation add --kind hook --hook note --class drain --limit-s 7200 --host gw-1";
    let guests = ["guest-1", "guest-2"].map(|name| Dial::v5(name).connect(fleet.mqtt(2)));
    let late = |word: &str, guest: Client, name: &str| {
        let mut device = Dial::v5(name).connect(fleet.mqtt(1));
        let word = format!("on_window_end = \"{word}\"\n");
        fleet.allow_visits(&word);
        if stage(&fleet).is_null() {
            fleet.maintain(&format!("{hook} --arg {script} --id night --reason test"));
        }
        // There is no room for the device, so that its drain waits, and its window is cut to an hour meanwhile.
        eventually("the drain goes on", || (last_step(&fleet) == "drain").then_some(()));
        let to = Timestamp::now() + Duration::from_secs(3600);
        let window =
            format!("windows = [{{ from = \"2020-01-01\", to = \"{to}\", tz = \"UTC\" }}]");
        fleet.put_policy(&format!("[policy.all]\n{window}\n{word}"));
        guest.disconnect();
        assert_eq!(device.end_reason(), Some(ReasonCode::UseAnotherServer));
        Dial::v5(name).connect(fleet.mqtt(2))
    };
    let [first, second] = guests;
    let moved = late("undrain", first, "device-1");
    eventually("the visit is in the plan again", || (stage(&fleet) == "planned").then_some(()));
    assert_eq!(state(&fleet), "serving");
    assert!(slots(&fleet).is_empty() && !ran.exists());
    let executions = fleet.api(1, "/api/v1/maintenance/executions").to_string();
    assert!(executions.contains("last safe start was at"), "{executions}");
    let why = fleet.maintain("why gw-1").to_string();
    assert!(why.contains("WINDOW_TOO_SHORT"), "{why}");

    let _others = (moved, late("finish_if_past_ponr", second, "device-2"));
    eventually("the visit is done", || (stage(&fleet) == "done").then_some(()));
    assert_eq!(std::fs::read_to_string(&ran).expect("a note"), "\n", "it ran once");
    assert_eq!(fleet.metric(1, "tidegate_maintenance_window_overrun_total"), 0);
}

/// Where the only visit stands.
fn stage(fleet: &Fleet) -> serde_json::Value {
    let executions = fleet.api(2, "/api/v1/maintenance/executions");
    executions.pointer("/executions/0/execution/stage").cloned().unwrap_or_default()
}

/// What it does, or did last.
fn last_step(fleet: &Fleet) -> serde_json::Value {
    let executions = fleet.api(2, "/api/v1/maintenance/executions");
    let journal = executions.pointer("/executions/0/execution/journal");
    let last = journal.and_then(serde_json::Value::as_array).and_then(|it| it.last());
    last.map(|it| it["step"].clone()).unwrap_or_default()
}

/// A window from `from` to `to` seconds from now.
fn window(from: u64, to: u64) -> String {
    let at = |seconds| Timestamp::now() + Duration::from_secs(seconds);
    format!("[[maintenance.window]]\nfrom = \"{}\"\nto = \"{}\"\n", at(from), at(to))
}

fn state(fleet: &Fleet) -> String {
    let state = &fleet.api(1, "/api/v1/gateway")["state"];
    state.as_str().expect("a state").to_owned()
}

/// The slots of the ledger.
fn slots(fleet: &Fleet) -> Vec<serde_json::Value> {
    let visits = fleet.api(1, "/api/v1/maintenance/visits");
    visits["ledger"]["slots"].as_array().cloned().unwrap_or_default()
}
