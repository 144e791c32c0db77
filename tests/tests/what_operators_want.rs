//! What operators want of maintenance is one for the whole fleet: policies, freezes and operations are put at one gateway and are
//! there at every other, each with its entry in the audit.
#![expect(clippy::indexing_slicing, reason = "a scenario may fail loudly")]

use serde_json::{Value, json};
use tests::harness::{Fleet, Settings, eventually};

const EVERY_NIGHT: &str = r#"
[policy.nights]
selector = "zone=a"
windows  = [ { rrule = "FREQ=DAILY", start = "01:00", duration = "PT4H" } ]
"#;

fn names(list: &Value, path: &[&str]) -> Vec<String> {
    let name = |it: &Value| path.iter().fold(it, |it, part| &it[*part]).as_str().map(str::to_owned);
    list.as_array().into_iter().flatten().filter_map(name).collect()
}

/// Until every gateway has said what it is chosen by.
fn wait_labelled(fleet: &Fleet) {
    eventually("every gateway has said what it is chosen by", || {
        let hosts = fleet.api(1, "/api/v1/maintenance/hosts")["hosts"].clone();
        let said = |host: &Value| host["host"]["labels"]["zone"] == "a" && host["fresh"] == true;
        (hosts.as_array()?.iter().filter(|host| said(host)).count() == 2).then_some(())
    });
}

#[test]
fn policies_freezes_and_operations_are_the_fleets_and_the_audit_tells_of_each() {
    let settings = Settings::default().everywhere("[maintenance]\nlabels = [\"zone=a\"]\n");
    let fleet = Fleet::start_with(2, &settings);
    wait_labelled(&fleet);
    let file = fleet.dir().join("nights.toml");
    std::fs::write(&file, EVERY_NIGHT).expect("a file");
    let file = file.to_str().expect("a path");

    let put = fleet.maintain(&format!("policy put nights {file} --reason CHG-1"));
    assert_eq!(put["policy"]["revision"], 1, "{put}");
    let again = fleet.maintenance(&format!("policy put nights {file} --reason CHG-2"));
    assert_eq!(again.code, Some(4), "{again:?}");
    assert!(again.err.contains("in revision 1"), "{again:?}");
    let put = fleet.maintain(&format!("policy put nights {file} --if-match 1 --reason CHG-2"));
    assert_eq!(put["policy"]["revision"], 2, "{put}");
    let wrong = fleet
        .maintenance(&format!("policy put other {} --reason x", fleet.configuration(1).display()));
    assert_eq!(wrong.code, Some(64), "{wrong:?}");

    // What it means for the gateways that are there.
    let calendar = fleet.maintain("calendar --next 3 --tz Europe/Berlin")["calendars"].clone();
    assert_eq!(calendar[0]["hosts"], json!(["gw-1", "gw-2"]), "{calendar}");
    assert_eq!(calendar[0]["policies"], json!(["nights"]));
    assert_eq!(calendar[0]["rows"].as_array().map(Vec::len), Some(3), "{calendar}");
    let one = fleet.maintain("calendar --host gw-2")["calendars"].clone();
    assert_eq!(one[0]["hosts"], json!(["gw-2"]), "{one}");
    assert_eq!(fleet.maintenance("calendar --host gw-9").code, Some(64));
    let holds = fleet.maintain("policy show --effective gw-2");
    assert_eq!((&holds["host"], &holds["policies"]), (&json!("gw-2"), &json!(["nights"])));
    assert_eq!(fleet.maintenance("policy show --effective gw-9").code, Some(64));

    let freeze = fleet.maintain("freeze add --to 2999-01-01T00:00:00Z -l zone=a --reason launch");
    assert_eq!(freeze["id"], "freeze-3", "{freeze}");
    let added = fleet.maintain("operation add --kind restart --id R -l zone=a --reason kernel");
    assert_eq!(names(&added["operations"], &["operation", "id"]), ["R:gw-1", "R:gw-2"]);
    let twice = fleet.maintain("operation add --kind restart --id R -l zone=a --reason kernel");
    assert_eq!(twice, added, "an answer may be lost");
    let nobody = fleet.maintenance("operation add --kind restart --host gw-9 --reason kernel");
    assert_eq!(nobody.code, Some(64), "{nobody:?}");
    let own = fleet.maintenance("approve R --reason fine");
    assert_eq!(own.code, Some(4), "nobody approves what is their own: {own:?}");

    for gateway in [1, 2] {
        let list =
            |kind: &str| fleet.api(gateway, &format!("/api/v1/maintenance/{kind}"))[kind].clone();
        assert_eq!(names(&list("policies"), &["name"]), ["nights"]);
        assert_eq!(list("policies")[0]["text"], EVERY_NIGHT);
        assert_eq!(names(&list("freezes"), &["id"]), ["freeze-3"]);
        assert_eq!(names(&list("operations"), &["operation", "id"]), ["R:gw-1", "R:gw-2"]);
    }

    let cancelled = fleet.maintain("operation cancel R --reason later");
    assert_eq!(names(&cancelled["operations"], &["state"]), ["cancelled", "cancelled"]);
    fleet.maintain("freeze remove freeze-3 --reason over");
    fleet.maintain("policy remove nights --reason over");
    let gone = fleet.maintenance("policy get nights");
    assert_eq!(gone.code, Some(1), "{gone:?}");

    let audit = fleet.api(2, "/api/v1/maintenance/audit?max=1000");
    let actions = names(&audit["entries"], &["record", "action"]);
    assert_eq!(
        actions,
        [
            "policy.put",
            "policy.put",
            "freeze.added",
            "operation.added",
            "operation.cancelled",
            "freeze.removed",
            "policy.removed"
        ]
    );
    let actors = names(&audit["entries"], &["record", "actor"]);
    assert!(actors.iter().all(|actor| actor == "operator"), "{actors:?}");
    assert_eq!(audit["head"]["seq"], json!(7));
}

/// Always open, and excluded all the same.
const NEVER: &str = r#"
[policy.all]
windows = [ { rrule = "FREQ=DAILY", start = "00:00", duration = "PT24H" } ]
exclude = [ { from = "2020-01-01", to = "2990-01-01", reason = "season" } ]
"#;

#[test]
fn the_fleet_plans_what_is_wanted_and_says_why_not_earlier() {
    let settings = Settings::default().everywhere("[maintenance]\nlabels = [\"zone=a\"]\n");
    let fleet = Fleet::start_with(2, &settings);
    wait_labelled(&fleet);
    assert_eq!(fleet.maintenance("plan").code, Some(1), "nothing was ever planned");
    assert_eq!(fleet.maintain("why gw-2")["visits"], json!([]));
    fleet.put_policy(NEVER);
    fleet.maintain("operation add --kind restart --class drain --id R -l zone=a --reason kernel");

    let plan = eventually("the plan has both visits", || {
        let plan = fleet.maintenance("plan");
        let plan: Value = serde_json::from_str(&plan.out).ok()?;
        (plan["visits"].as_array()?.len() == 2).then_some(plan)
    });
    assert_eq!(plan["plan"]["entries"], json!([]), "{plan}");
    let unplanned = &plan["plan"]["unplanned"];
    assert_eq!(names(unplanned, &["host"]), ["gw-1", "gw-2"], "{plan}");
    let why = fleet.maintain("why gw-2");
    assert_eq!(names(&why["visits"], &["why", "host"]), ["gw-2"]);
    assert!(names(&why["visits"], &["text"])[0].starts_with("gw-2: no place."), "{why}");
    assert_eq!(fleet.maintenance("why gw-9").code, Some(1));

    // If it were not for the season, both would go, one after the other; but that is only asked.
    let always = fleet.dir().join("always.toml");
    std::fs::write(&always, NEVER.replace("2020-01-01", "2989-12-31")).expect("a file");
    let always = always.to_str().expect("a path in UTF-8");
    eventually("both would have a place", || {
        let preview = fleet.maintain(&format!("plan --dry-run --what-if {always}"));
        let differences = &preview["differences"];
        let new = differences.as_array()?.iter().filter(|it| it["was_ms"].is_null()).count();
        (preview["plan"]["entries"].as_array()?.len() == 2 && new == 2).then_some(())
    });
    let agreed = fleet.dir().join("agreed.json");
    std::fs::write(
        &agreed,
        fleet.maintain(&format!("plan --dry-run --what-if {always}")).to_string(),
    )
    .expect("a file");
    let agreed = agreed.to_str().expect("a path in UTF-8");
    let since = fleet.maintain(&format!("plan --diff {agreed}"));
    let gone = since["differences"].as_array().expect("a list");
    assert!(gone.iter().all(|it| it["is_ms"].is_null()) && gone.len() == 2, "{since}");
    assert_eq!(fleet.maintenance(&format!("plan --diff {always}")).code, Some(64));
    assert_eq!(fleet.maintain("plan --dry-run")["plan"]["entries"], json!([]));
    assert_eq!(fleet.maintain("plan")["plan"]["entries"], json!([]), "nothing was published");

    fleet.maintain("operation cancel R --reason later");
    eventually("nothing is planned any more", || {
        (fleet.maintain("plan")["visits"] == json!([])).then_some(())
    });
}
