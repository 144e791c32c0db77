//! What reports say as JSON stands on their page, name by name.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::collections::BTreeSet;
use std::path::Path;

use device_sim::{
    BrokerProcess, ConnectsReport, Ended, Ends, Latency, MovesReport, Report, ShadowReport,
    TakeoverReport, TravelReport,
};
use serde::Serialize;
use serde_json::Value;

/// The names in a document, at every depth.
fn names(value: &Value, into: &mut BTreeSet<String>) {
    match value {
        Value::Object(fields) => {
            for (name, field) in fields {
                into.insert(name.clone());
                names(field, into);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| names(item, into)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn names_of(reports: &[Value]) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    reports.iter().for_each(|report| names(report, &mut all));
    all
}

fn json(report: impl Serialize) -> Value {
    serde_json::to_value(report).unwrap()
}

/// The section of the page about JSON.
fn page() -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/simulate-devices.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (_, section) = page.split_once("## As JSON\n").unwrap();
    section.split("\n## ").next().unwrap_or_default().to_owned()
}

#[test]
fn every_name_in_a_report_stands_on_the_page_and_no_other() {
    let run = Report { processes: vec![BrokerProcess::default()], ..Report::default() };
    let reports = [
        json(run),
        json(Ended { why: String::new(), connections: 0 }),
        json(ConnectsReport::default()),
        json(TakeoverReport::default()),
        json(ShadowReport::default()),
        json(TravelReport::default()),
        json(MovesReport::default()),
        json(Latency::default()),
        json(Ends::default()),
    ];
    let page = page();
    let told: BTreeSet<String> = page.split('`').skip(1).step_by(2).map(str::to_owned).collect();
    let said = names_of(&reports);
    let missing: Vec<_> = said.difference(&told).collect();
    assert!(missing.is_empty(), "not on the page: {missing:?}");
    // The loads, and how a name ends.
    let no_names = ["--json", "null", "run", "connects", "takeover", "shadow"];
    let is_unit = |name: &str| name.starts_with('_');
    let beyond: Vec<_> = told
        .difference(&said)
        .filter(|it| !no_names.contains(&it.as_str()) && !is_unit(it))
        .collect();
    assert!(beyond.is_empty(), "on the page, and in no report: {beyond:?}");
}
