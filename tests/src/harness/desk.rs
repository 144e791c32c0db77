//! What an operator types at the desk: `tidegate maintenance …`, and policies for the whole fleet.

use serde_json::Value;

use super::{Fleet, Ran};

/// A window that is open now, and for long, however many visits fail.
const ALWAYS: &str = r#"[policy.all]
windows = [{ from = "2020-01-01", to = "2990-01-01", tz = "UTC" }]
failure = { max = 100, per = "24h" }
"#;

impl Fleet {
    /// Runs `tidegate maintenance --json` with the words of a line, whatever comes of it.
    pub fn maintenance(&self, line: &str) -> Ran {
        let mut typed = vec!["maintenance", "--json"];
        typed.extend(line.split_whitespace());
        self.command(&typed)
    }

    /// The same for what has to succeed; what it prints.
    pub fn maintain(&self, line: &str) -> Value {
        let ran = self.maintenance(line);
        assert_eq!(ran.code, Some(0), "{line}: {ran:?}");
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{line}: {error}: {ran:?}"))
    }

    /// Puts the policies that hold for all gateways, in the place of those that were put so before.
    pub fn put_policy(&self, text: &str) {
        let file = self.dir().join("policy.toml");
        std::fs::write(&file, text).expect("a file");
        let file = file.to_str().expect("a path in UTF-8");
        self.maintain(&format!("policy put all {file} --replace --accept-lints --reason test"));
    }

    /// Lets every gateway be visited at any time, with more lines for the policy that says so.
    pub fn allow_visits(&self, more: &str) {
        self.put_policy(&format!("{ALWAYS}{more}"));
    }
}
