//! `maintenance preference`: when visits would suit a gateway.

use std::io::Write;

use clap::{Args, Subcommand};
use protocol::Wall;

use super::command::moment;
use super::fleet::{Fleet, path, path_because, print, utc};
use crate::cli::exit::{Exit, Failure};
use crate::http::PreferenceList;
use crate::scheduler::{HostPreference, PreferenceRequest};

/// What to do about preferences.
#[derive(Debug, Clone, Subcommand)]
pub enum PreferenceCommand {
    /// List when visits would suit gateways.
    List,
    /// Say when a visit would suit a gateway.
    Add(PreferenceArguments),
    /// Take that back.
    Remove {
        /// Gateway id.
        gateway: String,
        /// What the time is called.
        name: String,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Arguments of `maintenance preference add`.
#[derive(Debug, Clone, Args)]
pub struct PreferenceArguments {
    /// Gateway id.
    pub gateway: String,
    /// What the time is called, such as quiet; what is there under this name is said anew.
    pub name: String,
    /// From when on.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Wall,
    /// Until when: all of a visit lies before it.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Wall,
    /// What a visit then costs, compared with the other times of this gateway: the least is the best.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub cost: u32,
    /// Why, for people and the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

pub(super) fn run(
    fleet: &Fleet,
    command: &PreferenceCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let all = &path(&["preferences"]);
    let one: HostPreference = match command {
        PreferenceCommand::List => {
            let list: PreferenceList = fleet.ask(async |api| api.get(all).await)?;
            return print(&list, &rows(&list.preferences), json, out);
        }
        PreferenceCommand::Add(it) => {
            let request = PreferenceRequest {
                host: it.gateway.clone(),
                name: it.name.clone(),
                from_ms: it.from.0,
                until_ms: it.until.0,
                cost: it.cost,
                reason: it.reason.clone(),
            };
            fleet.ask(async |api| api.post(all, &request).await)?
        }
        PreferenceCommand::Remove { gateway, name, reason } => {
            let path = path_because(&["preferences", gateway, name], reason);
            fleet.ask(async |api| api.delete(&path).await)?
        }
    };
    print(&one, &rows(std::slice::from_ref(&one)), json, out)
}

fn rows(preferences: &[HostPreference]) -> Vec<Vec<String>> {
    let titles = ["gateway", "time", "from", "until", "cost", "by", "reason"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(preferences.iter().map(|it| {
        let (host, name, cost) = (it.host.clone(), it.name.clone(), it.cost.to_string());
        let (from, until) = (utc(it.from_ms), utc(it.until_ms));
        vec![host, name, from, until, cost, it.by.clone(), it.reason.clone()]
    }));
    rows
}
