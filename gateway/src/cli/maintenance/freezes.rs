//! `maintenance freeze`: times in which gateways are not visited.

use std::io::Write;

use clap::{Args, Subcommand};
use maintenance::policy::{Freeze, Selector};
use protocol::Wall;

use super::command::moment;
use super::fleet::{Fleet, path, path_because, print, utc};
use crate::cli::exit::{Exit, Failure};
use crate::http::FreezeList;
use crate::scheduler::FreezeRequest;

/// What to do about freezes.
#[derive(Debug, Clone, Subcommand)]
pub enum FreezeCommand {
    /// List the freezes that are not over.
    List,
    /// Exclude a time.
    Add(FreezeArguments),
    /// Take a freeze away.
    Remove {
        /// Its name.
        id: String,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Arguments of `maintenance freeze add`.
#[derive(Debug, Clone, Args)]
pub struct FreezeArguments {
    /// Its name; one is made when absent.
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// From when on, such as 2026-10-20T00:00:00Z; from now on when absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Wall>,
    /// Until when.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub to: Wall,
    /// Which gateways, such as role=gateway,region!=us; all when absent.
    #[arg(short = 'l', long = "label", value_name = "SELECTOR", default_value = "")]
    pub selector: Selector,
    /// Kind of work that it does not exclude.
    #[arg(long, value_name = "KIND")]
    pub allow: Vec<String>,
    /// Why.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

pub(super) fn run(
    fleet: &Fleet,
    command: &FreezeCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    match command {
        FreezeCommand::List => {
            let list: FreezeList = fleet.ask(async |api| api.get(&path(&["freezes"])).await)?;
            print(&list, &rows(&list.freezes), json, out)
        }
        FreezeCommand::Add(it) => {
            let request = FreezeRequest {
                id: it.id.clone(),
                selector: it.selector.clone(),
                from_ms: it.from.map(|from| from.0),
                to_ms: it.to.0,
                allow: it.allow.clone(),
                reason: it.reason.clone(),
            };
            let added: Freeze =
                fleet.ask(async |api| api.post(&path(&["freezes"]), &request).await)?;
            print(&added, &rows(std::slice::from_ref(&added)), json, out)
        }
        FreezeCommand::Remove { id, reason } => {
            let path = path_because(&["freezes", id], reason);
            let gone: Freeze = fleet.ask(async |api| api.delete(&path).await)?;
            print(&gone, &rows(std::slice::from_ref(&gone)), json, out)
        }
    }
}

fn rows(freezes: &[Freeze]) -> Vec<Vec<String>> {
    let titles = ["freeze", "from", "to", "gateways", "by", "reason"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(freezes.iter().map(|it| {
        let selector = it.selector.to_string();
        vec![
            it.id.clone(),
            utc(it.interval.from.0),
            utc(it.interval.to.0),
            if selector.is_empty() { "all".to_owned() } else { selector },
            it.by.clone(),
            it.reason.clone(),
        ]
    }));
    rows
}
