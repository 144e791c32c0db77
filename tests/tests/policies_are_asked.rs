//! Policies are asked before anybody relies on them: when gateways are open, what holds for them, and what is wrong.
#![expect(clippy::expect_used, reason = "a test may fail loudly")]

use std::fs;
use std::path::Path;

use serde_json::Value;
use tempfile::TempDir;
use tests::harness::{Ran, run, tidegate};

const POLICIES: &str = r#"
[policy.eu]
selector = "region=eu"
windows  = [ { rrule = "FREQ=WEEKLY;BYDAY=SU", start = "02:30", duration = "PT4H", tz = "host" } ]
exclude  = [ { ics = "holidays", tz = "host", allow = ["security"] } ]
min_available = { fleet = "n-1" }

[policy.all]
max_concurrent = { fleet = 2 }
drain = { timeout = "20m" }
"#;

const FLEET: &str = r#"{"hosts": [
    {"id": "gw-1", "labels": {"region": "eu"}, "zone": "Europe/Berlin"},
    {"id": "gw-2", "labels": {"region": "eu"}, "zone": "Europe/Berlin"},
    {"id": "gw-3", "labels": {"region": "us"}, "zone": "America/New_York"}
]}"#;

/// The second of the Sundays.
const HOLIDAYS: &str = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nUID:1\r\n\
    DTSTART;VALUE=DATE:20260405\r\nSUMMARY:Easter\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n";

/// A folder with policies, a fleet and a calendar.
fn folder() -> TempDir {
    let folder = TempDir::new().expect("a folder");
    for (name, text) in
        [("policies.toml", POLICIES), ("fleet.json", FLEET), ("holidays.ics", HOLIDAYS)]
    {
        fs::write(folder.path().join(name), text).expect("a file");
    }
    folder
}

fn asked(folder: &Path, line: &str) -> Ran {
    let typed = ["maintenance"].into_iter().chain(line.split_whitespace());
    run(tidegate(typed).current_dir(folder))
}

fn told(folder: &Path, line: &str) -> Value {
    let ran = asked(folder, line);
    assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
    serde_json::from_str(&ran.out).expect("JSON")
}

#[test]
fn every_policy_that_the_docs_show_can_be_used() {
    let files = tests::tracked_files().expect("the files of the project");
    let page = files.iter().find(|it| it.path == "docs/when-may-a-gateway-be-drained.md");
    let blocks = page.expect("the page").text.split("```toml\n").skip(1);
    let blocks = blocks.filter_map(|it| it.split("\n```").next());
    let shown: Vec<_> = blocks.filter(|it| it.starts_with("[policy.")).collect();
    assert!(shown.len() > 1, "{shown:?}");
    let folder = folder();
    for text in shown {
        fs::write(folder.path().join("shown.toml"), text).expect("a file");
        let ran = asked(folder.path(), "policy check shown.toml");
        assert_eq!(ran.code, Some(0), "{text}: {ran:?}");
    }
}

/// The clocks of Berlin leave 02:30 out on 29 March; 5 April is in the calendar.
const SPRING: &str =
    "calendar --policy policies.toml --from 2026-03-20T00:00:00Z --next 3 --tz Asia/Tokyo";

#[test]
fn the_next_openings_are_shown_and_odd_nights_are_marked() {
    let folder = folder();
    let line = format!("{SPRING} --fleet fleet.json --json");
    let told = told(folder.path(), &line);
    let groups = told["calendars"].as_array().expect("groups");
    let groups: Vec<_> = groups.iter().map(|it| it["hosts"].clone()).collect();
    assert_eq!(groups.len(), 2, "{told}");
    let eu = told["calendars"].as_array().and_then(|groups| {
        groups.iter().find(|it| it["hosts"] == serde_json::json!(["gw-1", "gw-2"]))
    });
    let eu = eu.unwrap_or_else(|| panic!("{told}"));
    let rows = eu["rows"].as_array().expect("rows");
    let opens: Vec<_> =
        rows.iter().map(|row| row["utc"][0].as_str().unwrap_or("skipped")).collect();
    assert_eq!(
        opens,
        [
            "Sun 2026-03-22 01:30:00 +00:00",
            "skipped",
            "Sun 2026-04-12 00:30:00 +00:00",
            "Sun 2026-04-19 00:30:00 +00:00",
        ],
        "{told}"
    );
    let odd: Vec<_> = rows.iter().map(|row| row["odd"].as_array().map(Vec::len)).collect();
    assert_eq!(odd, [0, 1, 0, 0].map(Some), "{told}");
    assert_eq!(rows[0]["viewer"][0], "Sun 2026-03-22 10:30:00 +09:00", "{told}");

    let text = asked(folder.path(), &format!("{SPRING} --fleet fleet.json"));
    assert_eq!(text.code, Some(0), "{text:?}");
    for part in
        ["gw-1, gw-2: by all, eu", "opens (Europe/Berlin)", "opens (Asia/Tokyo)", "never open"]
    {
        assert!(text.out.contains(part), "{part}: {}", text.out);
    }
    let marked: Vec<_> = text.out.lines().filter(|line| line.starts_with('!')).collect();
    assert_eq!(marked.len(), 1, "{}", text.out);
    assert!(marked[0].contains("does not happen"), "{}", text.out);
}

#[test]
fn work_that_an_exclusion_allows_is_open_and_a_gateway_can_be_described() {
    let folder = folder();
    let line = format!(
        "{SPRING} --host new-1 -l region=eu --host-zone Europe/Berlin --work security --json"
    );
    let told = told(folder.path(), &line);
    let rows = told["calendars"][0]["rows"].as_array().expect("rows");
    let easter = "Sun 2026-04-05 00:30:00 +00:00";
    assert!(rows.iter().any(|row| row["utc"][0] == easter), "{told}");
}

#[test]
fn openings_are_a_calendar_to_subscribe_to() {
    let folder = folder();
    let ran = asked(folder.path(), &format!("{SPRING} --fleet fleet.json --host gw-1 --ics"));
    assert_eq!(ran.code, Some(0), "{ran:?}");
    assert_eq!(ran.out.matches("BEGIN:VEVENT").count(), 3, "{}", ran.out);
    for part in ["DTSTART:20260322T013000Z\r\n", "STATUS:TENTATIVE\r\n", "@gw-1\r\n"] {
        assert!(ran.out.contains(part), "{part}: {}", ran.out);
    }
    for line in ["--fleet fleet.json --ics", "--fleet fleet.json --host gw-1 --ics --json"] {
        assert_eq!(asked(folder.path(), &format!("{SPRING} {line}")).code, Some(64), "{line}");
    }
}

#[test]
fn what_holds_for_a_gateway_is_shown_with_who_says_so() {
    let folder = folder();
    let show = "policy show policies.toml --fleet fleet.json --effective";
    let told = told(folder.path(), &format!("{show} gw-1 --json"));
    let field = |name: &str| {
        let fields = told["fields"].as_array().expect("fields");
        let found = fields.iter().find(|field| field["field"] == name);
        found.cloned().unwrap_or_else(|| panic!("{name}: {told}"))
    };
    assert_eq!(told["policies"], serde_json::json!(["all", "eu"]));
    for (name, value, from) in [
        ("min_available.fleet", "2 of 3", vec!["eu"]),
        ("max_concurrent.fleet", "2 of 3", vec!["all"]),
        ("drain.timeout", "20m", vec!["all"]),
        ("drain.profile", "planned", vec![]),
    ] {
        let shown = field(name);
        let says = (shown["value"].clone(), shown["from"].clone());
        assert_eq!(says, (value.into(), from.into()), "{name}");
    }
    let text = asked(folder.path(), &format!("{show} gw-1"));
    assert!(text.code == Some(0) && text.out.contains("(default)"), "{text:?}");
    let nobody = asked(folder.path(), &format!("{show} gw-9"));
    assert_eq!(nobody.code, Some(64), "{nobody:?}");
    assert!(nobody.err.contains("fleet.json: there is no gw-9"), "{nobody:?}");
}

#[test]
fn wrong_policies_are_refused_with_the_line_and_the_nearest_name() {
    let folder = folder();
    let sound = asked(folder.path(), "policy check policies.toml");
    assert_eq!((sound.code, sound.err.as_str()), (Some(0), ""), "{sound:?}");

    let write = |text: &str| fs::write(folder.path().join("wrong.toml"), text).expect("a file");
    write("[policy.a]\nselector = \"\"\nmin_avaliable = { fleet = 1 }\n");
    let ran = asked(folder.path(), "policy check wrong.toml");
    assert_eq!(ran.code, Some(64), "{ran:?}");
    for part in ["wrong.toml: line 3: ", "min_avaliable", "did you mean `min_available`?"] {
        assert!(ran.err.contains(part), "{part}: {ran:?}");
    }

    // Everything that is wrong, at once; also a calendar that is not there.
    write(
        "[policy.a]\nexclude = [ { ics = \"gone\" } ]\nheadroom = { conns = \"much\" }\n[policy.b]\nselector = \"=\"\n",
    );
    let ran = asked(folder.path(), "policy check wrong.toml");
    assert_eq!((ran.code, ran.err.lines().count()), (Some(64), 3), "{ran:?}");
    let ran = asked(folder.path(), "policy check wrong.toml --json");
    assert_eq!(ran.code, Some(64), "{ran:?}");
    let told: Value = serde_json::from_str(&ran.out).expect("JSON");
    assert_eq!(told["ok"], false, "{told}");
    let settings: Vec<_> =
        told["faults"].as_array().into_iter().flatten().map(|it| it["setting"].clone()).collect();
    assert_eq!(settings, ["policy.a.exclude[0]", "policy.a.headroom.conns", "policy.b.selector"]);

    let gone = asked(folder.path(), "policy check nowhere.toml");
    assert_eq!(gone.code, Some(64), "{gone:?}");
    assert!(gone.err.contains("cannot read nowhere.toml"), "{gone:?}");
}

#[test]
fn what_will_not_work_is_said_and_is_refused_only_where_that_is_wanted() {
    let folder = folder();
    let check = "policy check policies.toml --fleet fleet.json --from 2026-03-20T00:00:00Z --visit-minutes 300";
    let told = told(folder.path(), &format!("{check} --json"));
    let lints = told["lints"].as_array().expect("lints");
    let codes: Vec<_> = lints.iter().map(|it| (it["code"].clone(), it["place"].clone())).collect();
    let said = |code: &str, place: &str| codes.contains(&(code.into(), place.into()));
    assert!(said("NO_WINDOW", "gw-3") && said("WINDOW_TOO_SHORT", "gw-1"), "{told}");
    assert_eq!(told["ok"], true, "{told}");

    let strict = asked(folder.path(), &format!("{check} --strict"));
    assert_eq!(strict.code, Some(64), "{strict:?}");
    assert!(strict.out.contains("NO_WINDOW gw-3: "), "{strict:?}");
}
