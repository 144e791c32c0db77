//! Maintenance of a fleet is planned by one gateway: every gateway answers for itself, one holds the scheduler's lease, and
//! another takes it in a later term when that one dies or stops.
#![expect(clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use serde_json::{Value, json};
use tests::harness::{Fleet, Settings, eventually};

#[test]
fn every_gateway_answers_and_another_schedules_when_the_first_is_killed_or_stopped() {
    let settings = Settings::default()
        .everywhere("[maintenance]\nscheduler_ttl_ms = 3000\nlabels = [\"zone=a\"]\n");
    let mut fleet = Fleet::start_with(3, &settings);
    eventually("every gateway has answered, and is seen to serve", || {
        let hosts = fleet.api(2, "/api/v1/maintenance/hosts");
        let hosts = hosts["hosts"].as_array().cloned().unwrap_or_default();
        let speaks = |host: &Value| {
            host["fresh"] == true
                && host["host"]["state"] == "serving"
                && host["host"]["labels"] == json!({"zone": "a"})
                && host["answer"]["state"] == "serving"
        };
        (hosts.len() == 3 && hosts.iter().all(speaks)).then_some(())
    });

    let (first, term) = scheduler_of(&fleet, 1, 0);
    fleet.kill(first);
    let left = (1..=3).find(|number| *number != first).unwrap_or(1);
    let (second, next) = scheduler_of(&fleet, left, term);
    assert_ne!(second, first, "the dead do not plan");

    fleet.stop(second);
    let third = (1..=3).find(|number| ![first, second].contains(number)).unwrap_or(1);
    let (holder, _) = scheduler_of(&fleet, third, next);
    assert_eq!(holder, third);
}

/// Who holds the lease in a later term than that, and knows that it does; as one gateway tells.
fn scheduler_of(fleet: &Fleet, asked: usize, after: u64) -> (usize, u64) {
    eventually("a gateway is the scheduler", || {
        let lease = fleet.api(asked, "/api/v1/maintenance/scheduler")["lease"].clone();
        let term = lease["term"].as_u64().filter(|term| *term > after)?;
        let holder = lease["holder"].as_str()?.strip_prefix("gw-")?.parse().ok()?;
        let lives = fleet.running().any(|number| number == holder);
        let knows = || fleet.metric(holder, "tidegate_maintenance_scheduler") == 1;
        (lease["released"] == false && lives && knows()).then_some((holder, term))
    })
}
