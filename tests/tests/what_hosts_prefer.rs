//! A gateway, or who speaks for it, says when visits would suit it: they wait for that, unless they would be late.
#![expect(clippy::expect_used, reason = "a scenario may fail loudly")]

use jiff::Timestamp;
use serde_json::{Value, json};
use tests::harness::{Fleet, Settings, eventually};

/// The moment so many hours from now.
fn hours(from_now: u64) -> Timestamp {
    let now = Timestamp::now().as_second();
    let second = now + i64::try_from(from_now * 3600).expect("a few hours");
    Timestamp::from_second(second).expect("a moment")
}

/// The entry of a gateway in the plan, once there is one.
fn entry(fleet: &Fleet, host: &str) -> Option<Value> {
    let plan = fleet.maintenance("plan");
    // Nothing was planned yet.
    let plan: Value = serde_json::from_str(&plan.out).ok()?;
    let entries = plan.pointer("/plan/entries")?.as_array()?.clone();
    entries.into_iter().find(|entry| entry["host"] == host)
}

#[test]
fn a_visit_waits_for_what_suits_its_gateway_and_not_if_it_would_be_late_by_that() {
    let quick = "[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n";
    let fleet = Fleet::start_with(2, &Settings::default().everywhere(quick));
    fleet.allow_visits("");
    let [dear, cheap] = [(hours(2), hours(4)), (hours(24), hours(26))];
    let add = "preference add gw-1";
    for (name, (from, until), cost) in [("dear", dear, 5), ("cheap", cheap, 1)] {
        let line =
            format!("{add} {name} --from {from} --until {until} --cost {cost} --reason quiet");
        assert_eq!(fleet.maintain(&line)["cost"], cost);
    }
    let past = "--from 2026-01-01T00:00:00Z --until 2026-01-02T00:00:00Z --reason quiet";
    let over = fleet.maintenance(&format!("{add} past {past}"));
    assert_eq!(over.code, Some(64), "{over:?}");
    let hosts = fleet.api(2, "/api/v1/maintenance/hosts");
    let said = hosts["hosts"].as_array().expect("hosts").iter();
    let said: Vec<_> = said.map(|it| it["answer"]["preferred"].as_array().map(Vec::len)).collect();
    assert_eq!(said, [Some(2), Some(0)], "{hosts}");

    let wanted = "operation add --kind drain-only --host gw-1 --reason test --id";
    fleet.maintain(&format!("{wanted} whenever"));
    let suits = |host: &str| entry(&fleet, host).map(|entry| entry["suits"].clone());
    let planned = eventually("it is where it suits best", || {
        entry(&fleet, "gw-1").filter(|entry| entry["suits"] == json!({ "cost": 1 }))
    });
    let start = Timestamp::from_millisecond(planned["start_ms"].as_i64().expect("a start"));
    assert_eq!(start.expect("a moment"), cheap.0);
    let why = fleet.maintain("why gw-1").to_string();
    assert!(why.contains("HOST_PREFERS") && why.contains("If its host preferred nothing"), "{why}");
    fleet.maintain("preference remove gw-1 cheap --reason over");
    eventually("the other suits, too", || (suits("gw-1")? == json!({ "cost": 5 })).then_some(()));
    let list = fleet.maintain("preference list");
    assert_eq!(list["preferences"].as_array().map(Vec::len), Some(1), "{list}");

    // Who would be late is not asked to wait, and the audit says so.
    fleet.maintain(&format!("{wanted} soon --deadline {}", hours(1)));
    let waited = fleet.maintenance("operation wait soon");
    assert_eq!(waited.code, Some(0), "{waited:?}");
    let audit = fleet.api(2, "/api/v1/maintenance/audit?max=1000");
    let entries = audit["entries"].as_array().expect("entries").iter();
    let of = |it: &&Value| it["record"]["action"] == "visit.preference_overruled";
    let told: Vec<_> =
        entries.filter(of).map(|it| it["record"]["after"]["suits"].clone()).collect();
    assert_eq!(told, ["late"]);
    let declined = audit.to_string().contains("visit.declined");
    assert!(!declined, "its host knows that it was overruled");
}
