//! `maintenance policy`: whether policies can be used, and what they mean together.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use maintenance::policy::{InvalidPolicies, Lint, Planned, PolicyFault, PolicySet};
use protocol::Misread;
use serde_json::{Value, json};

use super::command::{CheckArguments, ShowArguments, from, least_open};
use super::file::{self, FileError};
use super::fleet::{Fleet, no_gateway};
use super::policies;
use crate::cli::exit::{Exit, Failure};
use crate::cli::show::table;

pub(super) fn check(it: &CheckArguments, json: bool, out: &mut dyn Write) -> Result<Exit, Failure> {
    let policies = match file::policies(&it.policy) {
        Err(FileError::Policies { wrong, .. }) if json => {
            writeln!(out, "{}", json!({"ok": false, "faults": faults(&wrong), "lints": []}))?;
            return Ok(Exit::Usage);
        }
        read => read?,
    };
    let lints = lints(&policies, it)?;
    let refused = it.strict && !lints.is_empty();
    if json {
        let policies = policies.policies().len();
        let told = json!({"ok": !refused, "policies": policies, "faults": [], "lints": lints});
        writeln!(out, "{told}")?;
    } else {
        let many = policies.policies().len();
        let alone = if it.fleet.is_some() { "" } else { "; whether they work needs --fleet" };
        writeln!(out, "{}: {many} policies can be used{alone}", it.policy.display())?;
        for lint in lints {
            writeln!(out, "{lint}")?;
        }
    }
    Ok(if refused { Exit::Usage } else { Exit::Done })
}

/// What will not work for the gateways of the file, if one is given.
fn lints(policies: &PolicySet, it: &CheckArguments) -> Result<Vec<Lint>, Failure> {
    let Some(path) = &it.fleet else {
        return Ok(Vec::new());
    };
    let hosts = file::fleet(path)?;
    let visit = it.visit_minutes.map(|minutes| Duration::from_secs(u64::from(minutes) * 60));
    let planned: Vec<Planned<'_>> = visit
        .into_iter()
        .flat_map(|length| {
            hosts.iter().map(move |host| Planned { host: &host.id, length, deadline: None })
        })
        .collect();
    Ok(policies.lints(&hosts, &[], &planned, from(it.from), least_open(it)))
}

fn faults(wrong: &InvalidPolicies) -> Vec<Value> {
    match wrong {
        InvalidPolicies::Syntax(Misread { line, what, nearest, elsewhere: _ }) => {
            vec![json!({"setting": null, "line": line, "what": what, "nearest": nearest})]
        }
        InvalidPolicies::Faults(faults) => {
            let told = |PolicyFault { setting, what }: &PolicyFault| json!({"setting": setting, "what": what});
            faults.iter().map(told).collect()
        }
    }
}

pub(super) fn show(
    it: &ShowArguments,
    fleet: &dyn Fn() -> Result<Fleet, Failure>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let policies = policies::from(it.policy.as_deref(), fleet)?;
    let hosts = match &it.fleet {
        Some(path) => file::fleet(path)?,
        None => fleet()?.hosts()?,
    };
    let host = hosts.iter().find(|host| host.id == it.effective).ok_or_else(|| {
        let host = it.effective.clone();
        let unknown = |path: &PathBuf| FileError::NoHost { path: path.clone(), host }.into();
        it.fleet.as_ref().map_or_else(|| no_gateway(&it.effective), unknown)
    })?;
    let effective = policies.effective(host, &[]);
    let fields = effective.show(host, &hosts);
    if json {
        let names: Vec<&str> = effective.policies.iter().map(AsRef::as_ref).collect();
        let told = json!({"host": host.id.as_str(), "policies": names, "fields": fields});
        writeln!(out, "{told}")?;
        return Ok(Exit::Done);
    }
    let mut rows = vec![["field", "value", "from"].map(str::to_owned).to_vec()];
    rows.extend(fields.into_iter().map(|field| {
        let from =
            if field.from.is_empty() { "(default)".to_owned() } else { field.from.join(", ") };
        vec![field.field, field.value, from]
    }));
    out.write_all(table(&rows).as_bytes())?;
    Ok(Exit::Done)
}
