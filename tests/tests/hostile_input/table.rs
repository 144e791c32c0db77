//! The table of bad inputs: every row has tests that exist, or says why not.

use std::collections::BTreeMap;

use serde::Deserialize;
use tests::{tracked_files, workspace_root};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    row: Vec<Row>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    id: String,
    input: String,
    tests: Vec<String>,
    /// What of it is not tried, and why.
    open: Option<String>,
}

/// How many rows each part of the list has.
const ROWS: [(char, usize); 6] = [('F', 10), ('P', 9), ('C', 13), ('S', 8), ('B', 13), ('G', 6)];

#[test]
fn every_row_of_the_list_has_a_test_that_exists_or_a_reason() {
    let text = std::fs::read_to_string(workspace_root().join("tests/bad_inputs.toml"));
    let table: Table = toml::from_str(&text.expect("the table")).expect("a sound table");
    let files = tracked_files().expect("the files of the project");
    let mut counts = BTreeMap::new();
    let mut before = BTreeMap::new();
    for row in &table.row {
        let Row { id, input, tests, open } = row;
        assert_eq!(before.insert(id, ()), None, "{id} stands twice");
        assert!(!input.is_empty(), "{id} has no words");
        assert!(!tests.is_empty() || open.is_some(), "{id} has neither a test nor a reason");
        *counts.entry(id.chars().next().expect("a letter")).or_insert(0) += 1;
        for test in tests {
            let (path, name) = test.split_once("::").expect("path::name");
            let file = files.iter().find(|file| file.path == path);
            let file = file.unwrap_or_else(|| panic!("{id}: there is no file {path}"));
            let signature = format!("\nfn {name}(");
            let inner = format!("    fn {name}(");
            let exists = file.text.contains(&signature) || file.text.contains(&inner);
            assert!(exists, "{id}: there is no test {test}");
        }
    }
    assert_eq!(counts, BTreeMap::from(ROWS));
}

/// Shown by `cargo test -p tests --test hostile_input rows_tried -- --nocapture`.
#[test]
fn rows_tried() {
    let text = std::fs::read_to_string(workspace_root().join("tests/bad_inputs.toml"));
    let table: Table = toml::from_str(&text.expect("the table")).expect("a sound table");
    let whole = table.row.iter().filter(|row| row.open.is_none()).count();
    let partly = table.row.iter().filter(|r| r.open.is_some() && !r.tests.is_empty()).count();
    println!("{whole} rows tried whole, {partly} in part, {} in all", table.row.len());
}
