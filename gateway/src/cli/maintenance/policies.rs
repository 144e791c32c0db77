//! `maintenance policy list|get|put|remove`: the policies that the fleet follows.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;
use maintenance::policy::{Freeze, PolicySet};
use serde_json::json;

use super::file;
use super::fleet::{Fleet, path, path_because, print, utc};
use crate::cli::api::ApiError;
use crate::cli::exit::{Exit, Failure};
use crate::http::{FreezeList, PolicyList};
use crate::scheduler::{PolicyAnswer, PolicyDocument, PolicyRequest};

/// Arguments of `maintenance policy put`.
#[derive(Debug, Clone, Args)]
pub struct PutArguments {
    /// Their name in the fleet.
    pub name: String,
    /// Policies; calendars that they name stand beside it.
    #[arg(value_name = "FILE")]
    pub policy: PathBuf,
    /// Put them in the place of what is there now; without it, there must be nothing of that name.
    #[arg(long)]
    pub replace: bool,
    /// Put them in the place of this revision only.
    #[arg(long, value_name = "REVISION", conflicts_with = "replace")]
    pub if_match: Option<u64>,
    /// Take them although some of it will not work as somebody probably thinks.
    #[arg(long)]
    pub accept_lints: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// The policies of a file, or those that the fleet follows.
pub(super) fn from(
    written: Option<&Path>,
    fleet: &dyn Fn() -> Result<Fleet, Failure>,
) -> Result<PolicySet, Failure> {
    if let Some(written) = written {
        return Ok(file::policies(written)?);
    }
    let list: PolicyList = fleet()?.ask(async |api| api.get(&path(&["policies"])).await)?;
    let read = |it: &PolicyDocument| PolicySet::read(&it.text, &it.calendars);
    let sets = list.policies.iter().map(read).collect::<Result<Vec<_>, _>>();
    let all = sets.and_then(PolicySet::together);
    all.map_err(|wrong| Failure { exit: Exit::Failed, message: wrong.to_string() })
}

/// The freezes that the fleet heeds; none beside the policies of a file.
pub(super) fn freezes(
    written: Option<&Path>,
    fleet: &dyn Fn() -> Result<Fleet, Failure>,
) -> Result<Vec<Freeze>, Failure> {
    if written.is_some() {
        return Ok(Vec::new());
    }
    let list: FreezeList = fleet()?.ask(async |api| api.get(&path(&["freezes"])).await)?;
    Ok(list.freezes)
}

pub(super) fn list(fleet: &Fleet, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let list: PolicyList = fleet.ask(async |api| api.get(&path(&["policies"])).await)?;
    print(&list, &rows(&list.policies), json, out)
}

pub(super) fn get(
    fleet: &Fleet,
    name: &str,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let policy: PolicyDocument =
        fleet.ask(async |api| api.get(&path(&["policies", name])).await)?;
    let text = if json { format!("{}\n", json!(policy)) } else { policy.text };
    out.write_all(text.as_bytes())?;
    Ok(Exit::Done)
}

pub(super) fn put(
    fleet: &Fleet,
    it: &PutArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let text = file::read(&it.policy)?;
    let calendars = file::calendars(&it.policy, &text)?;
    let (accept_lints, reason) = (it.accept_lints, it.reason.clone());
    let request = PolicyRequest { text, calendars, accept_lints, reason };
    let path = path(&["policies", &it.name]);
    let answer: PolicyAnswer = fleet.ask(async |api| {
        let seen = match it.if_match {
            None if it.replace => match api.get::<PolicyDocument>(&path).await {
                Ok(policy) => Some(policy.revision),
                Err(ApiError::Problem(problem)) if problem.status == 404 => None,
                Err(error) => return Err(error),
            },
            seen => seen,
        };
        api.put(&path, &request, seen).await
    })?;
    print(&answer, &rows(std::slice::from_ref(&answer.policy)), json, out)?;
    if !json {
        for lint in &answer.lints {
            writeln!(out, "{lint}")?;
        }
    }
    Ok(Exit::Done)
}

pub(super) fn remove(
    fleet: &Fleet,
    (name, reason): (&str, &str),
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let path = path_because(&["policies", name], reason);
    let gone: PolicyDocument = fleet.ask(async |api| api.delete(&path).await)?;
    print(&gone, &rows(std::slice::from_ref(&gone)), json, out)
}

fn rows(policies: &[PolicyDocument]) -> Vec<Vec<String>> {
    let mut rows = vec![["policy", "revision", "by", "at"].map(str::to_owned).to_vec()];
    rows.extend(
        policies
            .iter()
            .map(|it| vec![it.name.clone(), it.revision.to_string(), it.by.clone(), utc(it.at_ms)]),
    );
    rows
}
