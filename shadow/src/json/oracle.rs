//! Texts for tests, and another library's word on them.

use proptest::prelude::*;

use super::{put_json, read};

/// Whether a text is read; what we say and what `serde_json` says must be the same, and so must what it means.
pub(crate) fn judge(text: &str) -> bool {
    let ours = read(text);
    match serde_json::from_str::<serde_json::Value>(text) {
        Ok(theirs) => {
            let ours = ours.unwrap_or_else(|why| panic!("{why:?}: {text}"));
            let mut again = String::new();
            put_json(&mut again, &ours);
            assert_eq!(read(&again), Ok(ours), "{text}");
            assert_eq!(
                serde_json::from_str::<serde_json::Value>(&again).unwrap(),
                theirs,
                "{text}"
            );
            true
        }
        // A number of ours may be larger than any of theirs.
        Err(why) if why.to_string().starts_with("number out of range") => ours.is_ok(),
        Err(why) => {
            assert!(ours.is_err(), "{why}: {text}");
            false
        }
    }
}

/// Texts that are JSON, spelt in many ways.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    let space = || r"[ \t\n\r]{0,2}";
    let string = || r#""([a-c é😀/]|\\["\\/bfnrt]|\\u00[0-7][0-9a-fA-F]|\\ud83d\\ude0[0-9]){0,4}""#;
    let number = r"-?(0|[1-9][0-9]{0,20})(\.[0-9]{1,4})?([eE][+-]?[0-9]{1,2})?";
    let leaf = prop_oneof!["(true|false|null)", number, string()];
    let spaced = (space(), leaf, space()).prop_map(|(a, b, c)| format!("{a}{b}{c}"));
    spaced.prop_recursive(5, 40, 5, move |inner| {
        let member = (space(), string(), space(), inner.clone())
            .prop_map(|(a, name, b, value)| format!("{a}{name}{b}:{value}"));
        prop_oneof![
            prop::collection::vec(inner, 0..5).prop_map(|items| format!("[{}]", items.join(","))),
            prop::collection::vec(member, 0..5)
                .prop_map(|members| format!("{{{}}}", members.join(","))),
        ]
    })
}
