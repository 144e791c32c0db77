//! Programs of this host that operations of the plan may run, each by its name.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use maintenance::operation::Class;
use serde::{Deserialize, Serialize};

use super::fault::Fault;
use super::settings::section;

section! {
    /// A program of this host that operations of the plan may run by its name: `[maintenance.hooks.NAME]`.
    pub struct MaintenanceHook in "maintenance.hooks" {
        /// What is run, with nothing to read on its standard input; an absolute path, never a line for a shell.
        program: Option<PathBuf> = None, "path", "an operator's certificate alone starts no program" needed "\"/opt/tidegate/swap\"";
        /// What an operation may tell it: each of its arguments is one of these, where one `*` stands for any text.
        arguments: Vec<String> = Vec::new(), "list of texts", "it is told nothing" shown "[\"--check\", \"2.*\"]";
        /// What an operation with it disturbs at least: `hot`, `in-place`, `drain` or `absent`. Less is refused, whoever wants it.
        least_class: HookClass = HookClass::Hot, "\"hot\", \"in-place\", \"drain\" or \"absent\"", "whoever wants it says what it disturbs";
        /// After so long it is ended, with all that it has started.
        time_limit_s: u32 = 600, "seconds", "time to fetch and to put in place a new version" in 1..=86_400;
        /// Tells whether it has done its work, if the gateway died meanwhile: it ends with 0 if so, with 1 if it never began; an absolute path.
        probe: Option<PathBuf> = None, "path", "without it a person is asked" shown "\"/opt/tidegate/swap-probe\"";
        /// Takes its work back if it failed and the gateway is to serve again; an absolute path.
        undo: Option<PathBuf> = None, "path", "without it nothing is taken back" shown "\"/opt/tidegate/swap-undo\"";
    }
}

/// How much a program disturbs its gateway, as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HookClass {
    /// Nothing that a client could notice.
    Hot,
    /// A new process takes over on the same host.
    InPlace,
    /// The clients move to other gateways.
    Drain,
    /// The clients move, and the host goes away.
    Absent,
}

impl HookClass {
    const fn meant(self) -> Class {
        match self {
            Self::Hot => Class::Hot,
            Self::InPlace => Class::InPlace,
            Self::Drain => Class::Drain,
            Self::Absent => Class::Absent,
        }
    }
}

/// A program that operations of the plan may run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostProgram {
    /// What is run.
    pub program: PathBuf,
    /// What it may be told: texts in which one `*` stands for any.
    pub arguments: Vec<String>,
    /// What an operation with it disturbs at least.
    pub least: Class,
    /// How long it may take.
    pub limit: Duration,
    /// What tells whether it has done its work.
    pub probe: Option<PathBuf>,
    /// What takes its work back.
    pub undo: Option<PathBuf>,
}

/// Arguments that one run may have.
const MOST_ARGUMENTS: usize = 32;
/// How long each of them may be.
const ARGUMENT_BYTES: usize = 1024;

impl HostProgram {
    /// The first of these that it may not be told, if there is one.
    pub fn forbids<'a>(&self, arguments: &'a [String]) -> Option<&'a str> {
        let allowed = |told: &String| {
            let plain = told.len() <= ARGUMENT_BYTES && !told.chars().any(char::is_control);
            plain && self.arguments.iter().any(|pattern| matches(pattern, told))
        };
        let mut known = arguments.iter().enumerate();
        let no = known.find(|(place, told)| *place >= MOST_ARGUMENTS || !allowed(told));
        no.map(|(_, told)| told.as_str())
    }
}

fn matches(pattern: &str, told: &str) -> bool {
    match pattern.split_once('*') {
        Some((before, after)) => {
            let rest = told.strip_prefix(before);
            rest.is_some_and(|rest| rest.ends_with(after))
        }
        None => pattern == told,
    }
}

/// The programs as meant; notes every one that could not be run.
pub(super) fn resolve(
    written: &BTreeMap<String, MaintenanceHook>,
    faults: &mut Vec<Fault>,
) -> BTreeMap<String, HostProgram> {
    let mut programs = BTreeMap::new();
    for (name, hook) in written {
        let mut fault = |key: &str, what: &str| {
            let at = if key.is_empty() { String::new() } else { format!(".{key}") };
            faults.push(Fault::new(format!("maintenance.hooks.{name}{at}"), what));
        };
        if !is_name(name) {
            fault("", "needs a name of 1 to 64 letters, digits, '-' and '_'");
        }
        if hook.arguments.iter().any(|pattern| pattern.matches('*').count() > 1) {
            fault("arguments", "each may have one '*'");
        }
        let paths = [("program", &hook.program), ("probe", &hook.probe), ("undo", &hook.undo)];
        for (key, path) in paths {
            if path.as_ref().is_some_and(|path| !path.is_absolute()) {
                fault(key, "needs an absolute path");
            }
        }
        let Some(program) = hook.program.clone() else {
            fault("program", "is missing");
            continue;
        };
        let program = HostProgram {
            program,
            arguments: hook.arguments.clone(),
            least: hook.least_class.meant(),
            limit: Duration::from_secs(hook.time_limit_s.into()),
            probe: hook.probe.clone(),
            undo: hook.undo.clone(),
        };
        programs.insert(name.clone(), program);
    }
    programs
}

/// The settings of programs that are not the same in both, by their whole names.
pub(super) fn changed(
    (before, now): (&BTreeMap<String, MaintenanceHook>, &BTreeMap<String, MaintenanceHook>),
    names: &mut BTreeSet<String>,
) {
    if !before.keys().eq(now.keys()) {
        names.insert("maintenance.hooks".to_owned());
        return;
    }
    before.values().zip(now.values()).for_each(|(before, now)| before.changed(now, names));
}

fn is_name(text: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    (1..=64).contains(&text.len()) && text.chars().all(plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolved(text: &str) -> (BTreeMap<String, HostProgram>, Vec<String>) {
        let mut faults = Vec::new();
        let programs = resolve(&toml::from_str(text).unwrap(), &mut faults);
        (programs, faults.iter().map(Fault::to_string).collect())
    }

    #[test]
    fn a_program_is_told_only_what_it_may_be_told() {
        let (programs, faults) = resolved(
            "[swap]\nprogram = \"/opt/swap\"\narguments = [\"--check\", \"2.*\", \"--to=*.bin\"]\n",
        );
        assert_eq!(faults, [] as [String; 0]);
        let swap = &programs["swap"];
        let forbidden = |told: &[&str]| {
            let told: Vec<_> = told.iter().map(|it| (*it).to_owned()).collect();
            swap.forbids(&told).map(str::to_owned)
        };
        assert_eq!(forbidden(&[]), None);
        assert_eq!(forbidden(&["--check", "2.4.1", "--to=a.bin"]), None);
        for no in ["--chec", "--check=1", "3.1", "--to=a.binary", "--to=.bi", "2.\n", ""] {
            assert_eq!(forbidden(&["--check", no]).as_deref(), Some(no));
        }
        assert_eq!(swap.least, Class::Hot);
        let (programs, faults) =
            resolved("[swap]\nprogram = \"/opt/swap\"\nleast_class = \"in-place\"\n");
        assert_eq!((programs["swap"].least, faults.len()), (Class::InPlace, 0));
        assert_eq!(forbidden(&["--check"; 33]).as_deref(), Some("--check"));
        assert_eq!(forbidden(&[&format!("2.{}", "1".repeat(2000))]).map(|it| it.len()), Some(2002));
    }

    #[test]
    fn a_program_that_could_not_be_run_is_a_fault() {
        for text in [
            "[swap]\n",
            "[swap]\nprogram = \"swap\"\n",
            "[swap]\nprogram = \"/a\"\nprobe = \"b\"\n",
            "[swap]\nprogram = \"/a\"\nundo = \"b\"\n",
            "[swap]\nprogram = \"/a\"\narguments = [\"*.*\"]\n",
            "[\"a b\"]\nprogram = \"/a\"\n",
        ] {
            assert_eq!(resolved(text).1.len(), 1, "{text}");
        }
    }
}
