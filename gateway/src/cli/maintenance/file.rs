//! Policies, gateways and plans from files.

use std::collections::BTreeMap;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use maintenance::fleet::{Capacity, Host, HostState};
use maintenance::planner::Plan;
use maintenance::policy::{InvalidPolicies, PolicySet};
use protocol::{GatewayId, Incarnation, Misread};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::command::Whose;
use crate::cli::exit::{Exit, Failure};

/// Why a file cannot be used; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// It cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It holds no policies, or wrong ones; a line for each fault.
    #[error("{}", lines(path, wrong))]
    Policies {
        /// Which file.
        path: PathBuf,
        /// What is wrong.
        wrong: InvalidPolicies,
    },
    /// It does not hold gateways, or a plan, as JSON.
    #[error("{}: {misread}", path.display())]
    Misread {
        /// Which file.
        path: PathBuf,
        /// What is wrong, and where.
        misread: Misread,
    },
    /// Two gateways have one name.
    #[error("{}: {host} is there twice", path.display())]
    Twice {
        /// Which file.
        path: PathBuf,
        /// The name.
        host: GatewayId,
    },
    /// A gateway is not there.
    #[error("{}: there is no {host}", path.display())]
    NoHost {
        /// Which file.
        path: PathBuf,
        /// Its name.
        host: GatewayId,
    },
}

/// A file of gateways as it is written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenFleet {
    hosts: Vec<WrittenHost>,
}

/// A [`Host`] of which only the name must be written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct WrittenHost {
    id: String,
    #[serde(default)]
    incarnation: u64,
    state: Option<HostState>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
    #[serde(default)]
    capacity: Capacity,
    zone: Option<String>,
}

/// The policies of a file, with the calendars that their exclusions name: `NAME.ics` beside it.
pub(super) fn policies(path: &Path) -> Result<PolicySet, FileError> {
    let text = read(path)?;
    PolicySet::read(&text, &calendars(path, &text)?)
        .map_err(|wrong| FileError::Policies { path: path.to_owned(), wrong })
}

/// The gateways of a file.
pub(super) fn fleet(path: &Path) -> Result<Vec<Host>, FileError> {
    let text = read(path)?;
    let misread = |misread| FileError::Misread { path: path.to_owned(), misread };
    let written: WrittenFleet = json(path, &text)?;
    let mut hosts: BTreeMap<String, Host> = BTreeMap::new();
    for (index, written) in written.hosts.into_iter().enumerate() {
        let id = GatewayId::new(&written.id).map_err(|wrong| {
            let what = format!("hosts[{index}].id: {wrong}");
            misread(Misread { line: 1, what, nearest: None, elsewhere: Vec::new() })
        })?;
        let state = written.state.unwrap_or(HostState::Serving);
        let known = Host::new(id, Incarnation(written.incarnation), state);
        let zone = written.zone.unwrap_or_else(|| known.zone.clone());
        let (labels, capacity) = (written.labels, written.capacity);
        let host = Host { labels, capacity, zone, ..known };
        if let Some(twice) = hosts.insert(written.id, host) {
            return Err(FileError::Twice { path: path.to_owned(), host: twice.id });
        }
    }
    Ok(hosts.into_values().collect())
}

/// A plan that was printed once, as it is published or as it might have been.
pub(super) fn plan(path: &Path) -> Result<Plan, FileError> {
    #[derive(Deserialize)]
    struct Printed {
        plan: Plan,
    }
    json::<Printed>(path, &read(path)?).map(|printed| printed.plan)
}

fn json<T: DeserializeOwned>(path: &Path, text: &str) -> Result<T, FileError> {
    serde_json::from_str(text).map_err(|error| {
        let message = error.to_string();
        let what = message.split(" at line ").next().unwrap_or_default();
        let misread = Misread::new(text, offset(text, &error), what);
        FileError::Misread { path: path.to_owned(), misread }
    })
}

/// The gateways that are asked about.
pub(super) fn whose(whose: &Whose) -> Result<Vec<Host>, FileError> {
    let Some(path) = &whose.fleet else {
        let described = |id: &GatewayId| {
            let host = Host::new(id.clone(), Incarnation(0), HostState::Serving);
            let zone = whose.host_zone.as_ref().map_or("UTC", |zone| zone.name()).to_owned();
            Host { labels: whose.label.iter().cloned().collect(), zone, ..host }
        };
        return Ok(whose.host.iter().map(described).collect());
    };
    let mut hosts = fleet(path)?;
    if let Some(id) = &whose.host {
        hosts.retain(|host| host.id == *id);
        if hosts.is_empty() {
            return Err(FileError::NoHost { path: path.clone(), host: id.clone() });
        }
    }
    Ok(hosts)
}

pub(super) fn read(path: &Path) -> Result<String, FileError> {
    fs::read_to_string(path).map_err(|source| FileError::Read { path: path.to_owned(), source })
}

/// The calendars that exclusions name. One that is not there is left out: who reads the policies says where it is named.
pub(super) fn calendars(path: &Path, text: &str) -> Result<BTreeMap<String, String>, FileError> {
    let mut calendars = BTreeMap::new();
    // What is no TOML is for who reads the policies, too.
    let table: toml::Table = text.parse().unwrap_or_default();
    for name in named(&table) {
        match read(&path.with_file_name(format!("{name}.ics"))) {
            Ok(text) => drop(calendars.insert(name.to_owned(), text)),
            Err(FileError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(calendars)
}

/// Their names, as far as they are plain: a calendar stands beside the policies, and nowhere else.
fn named(policies: &toml::Table) -> Vec<&str> {
    let plain = |name: &&str| name.chars().all(|c| c.is_alphanumeric() || "-_. ".contains(c));
    let policies = policies.get("policy").and_then(toml::Value::as_table).into_iter();
    let rules = policies
        .flat_map(|named| named.values())
        .filter_map(|policy| policy.get("exclude")?.as_array())
        .flatten();
    rules.filter_map(|rule| rule.get("ics")?.as_str()).filter(plain).collect()
}

/// Where in the text, in bytes.
fn offset(text: &str, error: &serde_json::Error) -> usize {
    let lines = text.split_inclusive('\n').take(error.line().saturating_sub(1));
    lines.map(str::len).sum::<usize>() + error.column().saturating_sub(1)
}

fn lines(path: &Path, wrong: &InvalidPolicies) -> String {
    let wrong = wrong.to_string();
    let lines = wrong.lines().map(|line| format!("{}: {line}", path.display()));
    lines.collect::<Vec<_>>().join("\n")
}

impl From<FileError> for Failure {
    fn from(error: FileError) -> Self {
        Self::new(Exit::Usage, &error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Result<Vec<Host>, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet.json");
        fs::write(&path, text).unwrap();
        let told = |error: FileError| error.to_string().replace(path.to_str().unwrap(), "F");
        fleet(&path).map_err(told)
    }

    #[test]
    fn of_a_gateway_only_the_name_must_be_written() {
        let hosts = of(r#"{"hosts": [{"id": "gw-2", "labels": {"zone": "a"}, "zone": "Europe/Berlin"}, {"id": "gw-1"}]}"#)
            .unwrap();
        let [one, two] = hosts.as_slice() else { panic!("{hosts:?}") };
        assert_eq!((one.id.as_str(), one.zone.as_str()), ("gw-1", "UTC"));
        assert_eq!((two.state, two.zone.as_str()), (HostState::Serving, "Europe/Berlin"));
        // Also as other programs write it.
        let whole = serde_json::to_string(&hosts).unwrap();
        assert_eq!(of(&format!("{{\"hosts\": {whole}}}")), Ok(hosts));
    }

    #[test]
    fn what_is_wrong_with_gateways_is_said_with_its_line() {
        let wrong = |text| of(text).unwrap_err();
        assert_eq!(
            wrong("{\"hosts\": [\n  {\"id\": \"a\", \"zne\": \"UTC\"}]}"),
            "F: line 2: unknown field `zne`; did you mean `zone`?"
        );
        assert_eq!(wrong("{\"hosts\": [\n{}]}"), "F: line 2: missing field `id`");
        assert_eq!(wrong(r#"{"hosts": [{"id": "a"}, {"id": "a"}]}"#), "F: a is there twice");
        assert!(wrong(r#"{"hosts": [{"id": ""}]}"#).starts_with("F: line 1: hosts[0].id: "));
    }

    #[test]
    fn a_calendar_stands_beside_the_policies_and_nowhere_else() {
        let text = "[policy.a]\nexclude = [{ ics = \"holidays\" }, { ics = \"../x\" }, { rrule = \"x\" }]\n[policy.b]\n";
        assert_eq!(named(&text.parse().unwrap()), ["holidays"]);
    }
}
