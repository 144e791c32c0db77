//! Which case went how, by client, version and transport.

use std::fmt::Write as _;
use std::io::Write as _;

use tests::workspace_root;

/// The cases of both versions and of 5.0 alone, in the order of the page.
pub(crate) const OF_BOTH: [&str; 11] = [
    "connect",
    "levels",
    "retained",
    "will",
    "resume",
    "takeover",
    "large",
    "in_order",
    "shared",
    "no_certificate",
    "password",
];
pub(crate) const OF_VERSION_5: [&str; 4] =
    ["message_expiry", "session_expiry", "properties", "subscription_ids"];

/// The answers of one client's driver.
#[derive(Debug)]
pub(crate) struct Table {
    client: String,
    lines: Vec<Line>,
}

#[derive(Debug)]
struct Line {
    went: Went,
    version: String,
    transport: String,
    case: String,
    text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Went {
    Well,
    Badly,
    /// The library does not offer it, or the transport has no such thing.
    Apart,
}

impl Table {
    /// Reads what a driver printed.
    pub(crate) fn read(printed: &str) -> Self {
        let client = printed.lines().find_map(|line| line.strip_prefix("client "));
        let client = client.unwrap_or_else(|| panic!("no client in {printed}")).to_owned();
        Self { client, lines: printed.lines().filter_map(Line::read).collect() }
    }

    /// The lines of cases that went badly.
    pub(crate) fn failed(&self) -> Vec<&str> {
        let badly = self.lines.iter().filter(|line| line.went == Went::Badly);
        badly.map(|line| line.text.as_str()).collect()
    }

    /// Shows what was printed and the rows of the page; seen with `--nocapture`.
    pub(crate) fn show(&self, printed: &str) {
        let mut out = std::io::stdout();
        writeln!(out, "{printed}").expect("somebody reads");
        for row in self.rows() {
            writeln!(out, "{row}").expect("somebody reads");
        }
    }

    /// Asserts that the page has these rows and no others of this client.
    pub(crate) fn assert_on_page(&self) {
        let page = workspace_root().join("docs/which-clients-work.md");
        let page = std::fs::read_to_string(page).expect("the page");
        let name = self.client.rsplit_once(' ').map_or(self.client.as_str(), |(name, _)| name);
        let start = format!("| {name} ");
        let stand: Vec<_> = page.lines().filter(|line| line.starts_with(&start)).collect();
        assert_eq!(stand, self.rows(), "docs/which-clients-work.md is out of date");
    }

    /// One row per version and transport.
    fn rows(&self) -> Vec<String> {
        let mut kinds: Vec<_> =
            self.lines.iter().map(|line| (&line.version, &line.transport)).collect();
        kinds.sort_by_key(|(version, transport)| {
            let place = ["tcp", "mtls", "ws", "wss"].iter().position(|it| it == transport);
            ((*version).clone(), place)
        });
        kinds.dedup();
        kinds.into_iter().map(|(version, transport)| self.row(version, transport)).collect()
    }

    fn row(&self, version: &str, transport: &str) -> String {
        let mut row = format!("| {} | {version} | {transport} |", self.client);
        for case in OF_BOTH.iter().chain(&OF_VERSION_5) {
            let line = self.lines.iter().find(|line| {
                (line.version.as_str(), line.transport.as_str(), line.case.as_str())
                    == (version, transport, case)
            });
            let cell = match line.map(|line| line.went) {
                Some(Went::Well) => "✓",
                Some(Went::Badly) => "✗",
                Some(Went::Apart) => "·",
                None => " ",
            };
            write!(row, " {cell} |").expect("a string takes everything");
        }
        row
    }
}

impl Line {
    fn read(text: &str) -> Option<Self> {
        let starts = [("ok ", Went::Well), ("not ok ", Went::Badly), ("skip ", Went::Apart)];
        let (went, rest) =
            starts.iter().find_map(|(start, went)| Some((*went, text.strip_prefix(start)?)))?;
        let mut words = rest.split([' ', ':']);
        let mut next = || words.next().map(str::to_owned);
        let (version, transport, case) = (next()?, next()?, next()?);
        Some(Self { went, version, transport, case, text: text.to_owned() })
    }
}
