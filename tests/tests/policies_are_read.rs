//! What policies may say is done by somebody: a field that is accepted and that nobody reads would be a promise that is not kept.
#![expect(clippy::unwrap_used, reason = "a guard may fail loudly")]

use tests::{SourceFile, code_only, tracked_files, without_tests};

/// Where the meaning of all policies together is, and its accessors.
const EFFECTIVE: &str = "maintenance/src/policy/effective.rs";
/// Who explains policies and does not heed them.
const POLICY: &str = "maintenance/src/policy/";

/// The fields of the struct, by their names.
fn fields(effective: &str) -> Vec<&str> {
    let (_, rest) = effective.split_once("pub struct Effective {").unwrap();
    let (body, _) = rest.split_once("\n}").unwrap();
    let names = body.lines().filter_map(|line| line.trim().split_once(": "));
    names.filter_map(|(name, _)| name.split(' ').next_back()).collect()
}

/// The methods that others may call, each with its text.
fn methods(effective: &str) -> Vec<(&str, &str)> {
    let (_, rest) = effective.split_once("\nimpl Effective {").unwrap();
    let (body, _) = rest.split_once("\n}\n").unwrap();
    let methods = body.split("pub fn ").skip(1);
    methods.filter_map(|it| Some((it.split(['(', '<']).next()?, it))).collect()
}

/// The fields that nobody outside the room of policies reads, neither directly nor by a method.
fn unread<'a>(effective: &'a str, others: &str) -> Vec<&'a str> {
    let called = |(name, _): &(&str, &str)| others.contains(&format!(".{name}("));
    let methods: Vec<_> = methods(effective).into_iter().filter(called).collect();
    let read = |field: &str| {
        let by_itself = ["value", "iter()"].map(|how| format!(".{field}.{how}"));
        let in_method = format!("self.{field}");
        by_itself.iter().any(|it| others.contains(it))
            || methods.iter().any(|(_, text)| text.contains(&in_method))
    };
    fields(effective).into_iter().filter(|field| !read(field)).collect()
}

#[test]
fn every_field_of_what_policies_mean_has_a_reader() {
    let code = |file: &SourceFile| code_only(&without_tests(&file.text));
    let files = tracked_files().unwrap();
    let effective = code(files.iter().find(|file| file.path == EFFECTIVE).unwrap());
    let of_rooms = |file: &&SourceFile| {
        let in_room =
            ["maintenance/src/", "gateway/src/"].iter().any(|room| file.path.starts_with(room));
        in_room && file.is_rust() && !file.is_test() && !file.path.starts_with(POLICY)
    };
    let others: String = files.iter().filter(of_rooms).map(code).collect();
    assert!(fields(&effective).len() > 25, "{:?}", fields(&effective));
    assert_eq!(unread(&effective, &others), Vec::<&str>::new(), "nobody reads them");
    // One that is accepted and shown and does nothing is found.
    let with = effective.replacen(
        "pub struct Effective {",
        "pub struct Effective {\npub color: Sourced<u8>,",
        1,
    );
    assert_eq!(unread(&with, &others), ["color"]);
    let silent = others.replace(".soak.value", "");
    assert_eq!(unread(&effective, &silent), ["soak"]);
}
