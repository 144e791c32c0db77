//! Sizes, words, front doors, citations: the rules of STYLE.md that a machine can check.
#![expect(clippy::unwrap_used, reason = "a guard may fail loudly")]

use std::collections::BTreeMap;

use serde::Deserialize;
use tests::{SourceFile, code_only, tracked_files, without_tests, workspace_root};

/// Files that may be longer than [`MAX_LINES`], each with its reason, which STYLE.md repeats.
const LONG_FILES: [(&str, &str); 0] = [];
const MAX_LINES: usize = 500;

/// Where effects may be opened: by the commit step, and where they are made.
const OPENERS: [&str; 2] = ["gateway/src/commit.rs", "protocol/src/effects.rs"];

/// Names that are not ours to choose.
const FOREIGN_NAMES: [&str; 4] =
    ["hyper_util", "http_body_util", "util::SubscriberInitExt", "tokio_util"];

/// Words that say nothing about what a thing is.
const EMPTY_WORDS: [&str; 8] =
    ["manager", "managers", "helper", "helpers", "util", "utils", "handler", "handlers"];

#[test]
fn files_have_at_most_five_hundred_lines_besides_tests() {
    let mut long = Vec::new();
    for file in rust_files() {
        let excepted = LONG_FILES.iter().any(|(path, _)| *path == file.path);
        let lines = without_tests(&file.text).lines().count();
        if !file.is_test() && !excepted && lines > MAX_LINES {
            long.push(format!("{}: {lines} lines", file.path));
        }
        assert!(!excepted || lines > MAX_LINES, "{} is no exception any more", file.path);
    }
    assert!(long.is_empty(), "{long:#?}");
}

#[test]
fn exceptions_for_long_files_stand_in_the_style_page_too() {
    let files = tracked_files().unwrap();
    let style = files.iter().find(|file| file.path == "STYLE.md");
    for (path, reason) in LONG_FILES {
        assert!(!reason.is_empty(), "{path}");
        assert!(files.iter().any(|file| file.path == path), "{path} is gone");
        assert!(style.is_some_and(|style| style.text.contains(path)), "{path}");
    }
}

/// A client id may hold spaces and `=`; unquoted it could pass for other fields of its line.
#[test]
fn what_clients_call_themselves_is_quoted_in_the_log() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        for (number, line) in code_only(&file.text).lines().enumerate() {
            if ["client_id = %", "%client_id", "user = %", "topic = %"]
                .iter()
                .any(|it| line.contains(it))
            {
                wrong.push(format!("{}:{}", file.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn names_say_what_a_thing_is() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let ours = FOREIGN_NAMES.iter().fold(code_only(&file.text), |code, n| code.replace(n, ""));
        let names = ours
            .split(|c: char| !(c.is_alphanumeric() || c == '_'))
            .chain(file.path.split(['/', '.', '-']));
        for name in names {
            if words(name).iter().any(|word| EMPTY_WORDS.contains(&word.as_str())) {
                wrong.push(format!("{}: {name}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn nothing_is_left_for_later_and_no_lint_is_switched_off_silently() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let code = code_only(&file.text);
        for needle in [concat!("todo", "!"), "unimplemented!", "#[allow", "#![allow"] {
            if code.contains(needle) {
                wrong.push(format!("{}: {needle}", file.path));
            }
        }
        let note = concat!("FIX", "ME");
        if file.text.contains(note) {
            wrong.push(format!("{}: {note}", file.path));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn front_doors_hold_only_docs_modules_and_uses() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        let name = file.path.rsplit('/').next().unwrap_or_default();
        if !["lib.rs", "mod.rs"].contains(&name) || file.is_test() {
            continue;
        }
        let code = code_only(&without_tests(&file.text));
        let code = without_attributes(&code);
        for item in code.split(';').map(str::trim).filter(|item| !item.is_empty()) {
            if !is_door(item) {
                let line = item.lines().next().unwrap_or_default();
                wrong.push(format!("{}: {line}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// What a policy may say is heeded by somebody: whoever only shows it, or warns of it, does nothing about it.
#[test]
fn every_field_of_a_policy_has_a_reader() {
    const MEANT: &str = "maintenance/src/policy/effective.rs";
    let files = rust_files();
    let effective = &files.iter().find(|file| file.path == MEANT).unwrap().text;
    let fields = effective.split_once("pub struct Effective {").unwrap().1;
    let fields = fields.split_once("\n}").unwrap().0.lines();
    let fields: Vec<_> = fields
        .filter_map(|line| line.trim().strip_prefix("pub ")?.trim_end_matches(',').split_once(": "))
        .collect();
    assert!(fields.len() > 15, "the fields are not where they are looked for: {fields:?}");
    let rooms = ["maintenance/src/", "gateway/src/"];
    let acts = |file: &&SourceFile| {
        let inside = rooms.iter().any(|room| file.path.starts_with(room));
        let policy = file.path.starts_with("maintenance/src/policy/") && file.path != MEANT;
        inside && !policy && !file.is_test()
    };
    let code: String = files
        .iter()
        .filter(acts)
        .flat_map(|file| {
            code_only(without_tests(&file.text).as_ref())
                .split_whitespace()
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect();
    let unread = |(name, kind): &&(&str, &str)| {
        let value = if kind.starts_with("Sourced<") { ".value" } else { "" };
        // In the file where it stands only what it says about itself counts.
        !code.contains(&format!(".{name}{value}"))
    };
    let unread: Vec<_> = fields.iter().filter(unread).map(|(name, _)| name).collect();
    assert!(unread.is_empty(), "said and done by nobody: {unread:?}");
}

#[test]
fn only_the_commit_step_opens_effects() {
    let mut wrong = Vec::new();
    for file in rust_files() {
        if file.is_test() || OPENERS.contains(&file.path.as_str()) {
            continue;
        }
        let code = code_only(&without_tests(&file.text));
        for needle in [".open()", "Effects::open", "drain_outputs"] {
            if code.contains(needle) {
                wrong.push(format!("{}: {needle}", file.path));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_cited_statement_is_in_the_conformance_table() {
    let table = conformance();
    let mut unknown = BTreeMap::<String, String>::new();
    for file in rust_files() {
        for id in citations(&file.text) {
            if !table.knows(&id) {
                unknown.insert(id, file.path.clone());
            }
        }
    }
    assert!(unknown.is_empty(), "{unknown:#?}");
}

#[test]
fn the_conformance_table_is_sound_and_names_tests_that_exist() {
    let table = conformance();
    let files = rust_files();
    let mut seen = BTreeMap::new();
    for statement in &table.statement {
        let Statement { id, words, who, status, tests, reason } = statement;
        assert_eq!(seen.insert(id, ()), None, "{id} stands twice");
        assert_eq!(citations(id), [id.as_str()], "{id} is no id");
        assert!(!words.is_empty(), "{id} has no words");
        assert!(["server", "client", "both"].contains(&who.as_str()), "{id}: {who}");
        let held = matches!(status, Status::Held);
        assert!(!held || !tests.is_empty(), "{id} is held, but nothing shows it");
        assert_eq!(!held, reason.is_some(), "{id}: {status:?}, reason {reason:?}");
        for test in tests {
            let (path, name) = test.split_once("::").unwrap();
            let exists = files.iter().any(|f| f.path == path && has_test(&f.text, name));
            assert!(exists, "{id}: there is no test {test}");
        }
    }
    for (version, listed) in [("MQTT5-", 251), ("MQTT3-", 141)] {
        let count = seen.keys().filter(|id| id.starts_with(version)).count();
        assert_eq!(count, listed, "{version} has {listed} numbered statements in our list");
    }
}

#[test]
fn what_a_conformance_test_says_it_shows_stands_in_the_table() {
    let table = conformance();
    let mut wrong = Vec::new();
    for file in rust_files() {
        if !file.path.starts_with("tests/tests/conformance/") {
            continue;
        }
        for (name, ids) in tests_with_ids(&file.text) {
            let test = format!("{}::{name}", file.path);
            assert!(!ids.is_empty(), "{test} names no statement");
            for id in ids {
                let known = |s: &Statement| s.id == id && s.tests.contains(&test);
                if !table.statement.iter().any(known) {
                    wrong.push(format!("{id}: {test}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Shown by `cargo test -p tests --test tidy held_and_listed -- --nocapture`.
#[test]
fn statements_held_and_listed() {
    let table = conformance();
    for (version, name) in [("MQTT5-", "MQTT 5.0"), ("MQTT3-", "MQTT 3.1.1")] {
        let all = || table.statement.iter().filter(|s| s.id.starts_with(version));
        let of = |status| all().filter(|s| s.status == status).count();
        let (held, open, none) = (of(Status::Held), of(Status::Open), of(Status::NotApplicable));
        assert_eq!(held + open + none, all().count());
        println!(
            "{name}: {held} held, {open} open, {none} not applicable, {} listed",
            all().count()
        );
    }
}

#[test]
fn no_tracked_file_names_a_place_on_one_machine() {
    let places = ["work", "root", "home", "Users", concat!("t", "mp")];
    let needles = places.map(|place| format!("/{place}/"));
    let mut wrong = Vec::new();
    for file in tracked_files().unwrap() {
        for (number, line) in file.text.lines().enumerate() {
            if needles.iter().any(|needle| starts_path(line, needle)) {
                wrong.push(format!("{}:{}: {}", file.path, number + 1, line.trim()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Conformance {
    section: Vec<Section>,
    statement: Vec<Statement>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Section {
    id: String,
    #[serde(rename = "words")]
    _words: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Statement {
    id: String,
    words: String,
    who: String,
    status: Status,
    tests: Vec<String>,
    reason: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Status {
    Held,
    Open,
    NotApplicable,
}

impl Conformance {
    /// Whether an id is a statement, or a section that is listed or holds a statement. Statements are numbered
    /// within three levels of sections; a deeper section is looked up by those.
    fn knows(&self, id: &str) -> bool {
        if id.matches('-').count() > 1 {
            return self.statement.iter().any(|statement| statement.id == id);
        }
        let three: Vec<&str> = id.split('.').take(3).collect();
        let (deeper, last) = (format!("{}.", three.join(".")), format!("{}-", three.join(".")));
        self.section.iter().any(|section| section.id == id)
            || self.statement.iter().any(|s| s.id.starts_with(&deeper) || s.id.starts_with(&last))
    }
}

/// Whether a source has a function of this name that carries a test attribute.
fn has_test(text: &str, name: &str) -> bool {
    let signature = format!("fn {name}(");
    text.match_indices(&signature).any(|(at, _)| {
        let before = text.get(..at).unwrap_or_default().lines().rev().map(str::trim);
        let above = before.skip_while(|line| ["", "async"].contains(line));
        let mut above = above.take_while(|line| line.starts_with("#[") || line.starts_with("//"));
        above.any(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))
    })
}

/// The tests of a source with the statements that the comment above each names.
fn tests_with_ids(text: &str) -> Vec<(&str, Vec<String>)> {
    let (mut found, mut comment, mut is_test) = (Vec::new(), String::new(), false);
    for line in text.lines() {
        if let Some(words) = line.strip_prefix("///") {
            comment.push_str(words);
        } else if line == "#[test]" {
            is_test = true;
        } else if !line.starts_with("#[") {
            let name = line.strip_prefix("fn ").and_then(|rest| rest.split('(').next());
            found.extend(name.filter(|_| is_test).map(|name| (name, citations(&comment))));
            (comment, is_test) = (String::new(), false);
        }
    }
    found
}

fn conformance() -> Conformance {
    let path = workspace_root().join("tests/conformance.toml");
    toml::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn rust_files() -> Vec<SourceFile> {
    tracked_files().unwrap().into_iter().filter(SourceFile::is_rust).collect()
}

/// Every `MQTT5-…` and `MQTT3-…` with a number after it.
fn citations(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for prefix in ["MQTT5-", "MQTT3-"] {
        for (at, _) in text.match_indices(prefix) {
            let rest = text.get(at + prefix.len()..).unwrap_or_default();
            let number: String =
                rest.chars().take_while(|c| c.is_ascii_digit() || ".-".contains(*c)).collect();
            let number = number.trim_end_matches(['.', '-']);
            if number.starts_with(|c: char| c.is_ascii_digit()) {
                found.push(format!("{prefix}{number}"));
            }
        }
    }
    found
}

/// The words of a name in `CamelCase`, `snake_case` or `SHOUTING_CASE`, in lower case.
fn words(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    let mut before_is_lower = false;
    for c in name.chars() {
        if c == '_' || (c.is_uppercase() && before_is_lower) {
            words.push(String::new());
        }
        if let (Some(word), true) = (words.last_mut(), c != '_') {
            word.extend(c.to_lowercase());
        }
        before_is_lower = c.is_lowercase() || c.is_ascii_digit();
    }
    words
}

/// Code without `#[…]` and `#![…]`.
fn without_attributes(code: &str) -> String {
    let mut out = String::new();
    let mut rest = code;
    while let Some((before, after)) = rest.split_once('#') {
        out.push_str(before);
        let mut depth = 0_usize;
        let end = after.char_indices().find(|(_, c)| {
            match c {
                '[' => depth += 1,
                ']' => depth -= 1,
                _ => {}
            }
            depth == 0 && *c == ']'
        });
        rest = end.and_then(|(at, _)| after.get(at + 1..)).unwrap_or_default();
    }
    out + rest
}

/// Whether an item is `mod name` or `use …`, with any visibility.
fn is_door(item: &str) -> bool {
    let item = match item.strip_prefix("pub") {
        Some(rest) if rest.starts_with('(') => rest.split_once(')').map_or("", |(_, rest)| rest),
        Some(rest) => rest,
        None => item,
    };
    let item = item.trim_start();
    item.starts_with("use ") || (item.starts_with("mod ") && !item.contains('{'))
}

/// Whether a line holds `needle` where a path begins, rather than inside a longer path or an address.
fn starts_path(line: &str, needle: &str) -> bool {
    line.match_indices(needle).any(|(at, _)| {
        let before = line.get(..at).and_then(|before| before.chars().last());
        !before.is_some_and(|c| c.is_alphanumeric() || "._-}~/>".contains(c))
    })
}

#[test]
fn the_guards_see_what_they_look_for() {
    assert_eq!(words("SessionManager"), ["session", "manager"]);
    assert_eq!(words("http_utils2"), ["http", "utils2"]);
    assert_eq!(words("MAX_HANDLERS"), ["max", "handlers"]);
    assert_eq!(citations("[MQTT5-3.1.0-1], `MQTT3-3.1.` MQTT5-x"), ["MQTT5-3.1.0-1", "MQTT3-3.1"]);
    let table = conformance();
    for known in ["MQTT5-3.1.0-1", "MQTT5-3.1", "MQTT5-3.3.1.3", "MQTT5-4.11"] {
        assert!(table.knows(known), "{known}");
    }
    // Put together here, so that this file does not cite them.
    for unknown in ["5-3.1.0-99", "5-9.9", "3-3.1.0-9"] {
        assert!(!table.knows(&format!("MQTT{unknown}")), "{unknown}");
    }
    let text =
        "#[test]\n// Why.\n#[ignore]\nfn a() {}\n\nfn b() {}\n    #[test]\n    fn c(n in 0..2) {}";
    assert_eq!(["a", "b", "c", "d"].map(|name| has_test(text, name)), [true, false, true, false]);
    let text =
        "/// [MQTT5-3.1.0-1]\n/// [MQTT5-3.1.0-2]\n#[test]\nfn a() {\n}\n\n#[test]\nfn b() {";
    let ids = ["MQTT5-3.1.0-1", "MQTT5-3.1.0-2"].map(str::to_owned).to_vec();
    assert_eq!(tests_with_ids(text), [("a", ids), ("b", Vec::new())]);
    for door in ["mod a", "pub mod a", "pub(crate) use a::{b, c}", "use a"] {
        assert!(is_door(door), "{door}");
    }
    for wall in ["fn a() {}", "pub const A: u8 = 1", "mod a { fn b() {}", "pub(crate) struct A"] {
        assert!(!is_door(wall), "{wall}");
    }
    assert_eq!(without_attributes("#![a(b[c])]\n#[d] mod e;"), "\n mod e;");
    assert!(starts_path("see /opt/x", "/opt/"));
    assert!(!starts_path("https://example.org/opt/x", "/opt/"));
}
