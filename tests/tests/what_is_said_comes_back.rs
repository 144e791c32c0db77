//! A gateway that was visited is served again only when a publication of each of its workers went to every other gateway and came
//! back; no client hears anything of that.
#![expect(clippy::expect_used, clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use protocol::QoS;
use protocol::mqtt::ReasonCode;
use serde_json::{Value, json};
use tests::harness::{Answer, Dial, Fleet, Settings, eventually};

#[test]
fn a_gateway_that_others_do_not_reach_is_not_served_again_after_a_visit() {
    let quick = "[maintenance]\nscheduler_ttl_ms = 3000\n[drain]\nannounce_ms = 100\n";
    let fleet = Fleet::start_with(2, &Settings::default().everywhere(quick).with_cables());
    let mut listener = Dial::v5("listener").connect(fleet.mqtt(2));
    listener.subscribe("$tidegate/#", QoS::AtLeastOnce);
    listener.subscribe("$share/g/$tidegate/#", QoS::AtLeastOnce);
    listener.subscribe("last", QoS::AtLeastOnce);
    let held = ["$tidegate/echo/gw-2", "$share/g/$tidegate/echo/+"];
    let held = held.map(|filter| listener.try_subscribe(filter, QoS::AtLeastOnce));
    assert_eq!(held, [vec![ReasonCode::NotAuthorized], vec![ReasonCode::NotAuthorized]]);

    // The second gateway cannot dial the first, which can dial it.
    fleet.cable(1).cut();
    eventually("one link is down", || (fleet.metric(2, "tidegate_peers_up") == 0).then_some(()));
    assert_eq!(fleet.metric(1, "tidegate_peers_up"), 1);
    fleet.allow_visits("");
    fleet.maintain(
        "operation add --kind drain-only --hold-s 1 --host gw-1 --id night --reason test",
    );
    eventually("it is found that nothing comes back", || {
        let visit = visit(&fleet)?;
        let journal = visit.pointer("/execution/journal")?.as_array()?;
        let checks = journal.iter().filter(|record| record["step"] == "verify");
        let ends: Vec<_> = checks.filter_map(|record| record.pointer("/outcome/end")).collect();
        let why = json!({"failed": {"code": "nothing_comes_back_from_gw-2"}});
        ends.contains(&&why).then_some(())
    });
    assert_eq!(fleet.api(1, "/api/v1/gateway")["state"], "quiesced");
    assert!(matches!(Dial::v5("device").try_connect(fleet.mqtt(1)), Answer::Refused { .. }));

    fleet.cable(1).mend();
    eventually("it is served again", || {
        let visit = visit(&fleet)?;
        let stage = &visit["execution"]["stage"];
        if stage.get("needs_operator").is_some() {
            // Whoever took so long to mend it that somebody was asked says so.
            fleet.maintain("visit retry gw-1/night --reason mended");
        }
        (*stage == "done" && fleet.api(1, "/api/v1/gateway")["state"] == "serving").then_some(())
    });
    let mut device = Dial::v5("device").connect(fleet.mqtt(1));
    device.publish("last", "word", QoS::AtLeastOnce);
    let heard = listener.receive();
    assert_eq!((heard.topic.as_str(), heard.text.as_str()), ("last", "word"));
}

fn visit(fleet: &Fleet) -> Option<Value> {
    let visits = fleet.api(2, "/api/v1/maintenance/executions");
    let visits = visits["executions"].as_array().expect("visits").clone();
    visits.into_iter().find(|visit| visit["execution"]["visit"] == "gw-1/night")
}
