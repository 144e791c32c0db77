//! D4, and the path of D1 that nobody has to start: when a window opens the scheduler drains the gateway, and when it
//! closes the gateway serves again and gives its slot back.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use std::time::{Duration, Instant};

use jiff::Timestamp;
use protocol::QoS;
use protocol::mqtt::ReasonCode;
use tests::harness::{Answer, Dial, Ended, Fleet, Settings, eventually, get};

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
