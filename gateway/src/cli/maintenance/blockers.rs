//! `maintenance blocker`: what speaks against visits of a gateway.

use std::io::Write;

use clap::{Args, Subcommand};
use protocol::Wall;

use super::command::moment;
use super::fleet::{Fleet, path, path_because, print, utc};
use crate::cli::exit::{Exit, Failure};
use crate::http::BlockerList;
use crate::scheduler::{BlockerRequest, HostBlocker};

/// What to do about blockers.
#[derive(Debug, Clone, Subcommand)]
pub enum BlockerCommand {
    /// List what operators and programs say against visits.
    List,
    /// Say that something speaks against visits of a gateway, such as a backup.
    Add(BlockerArguments),
    /// Take that back.
    Remove {
        /// Gateway id.
        gateway: String,
        /// What it is called.
        code: String,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Arguments of `maintenance blocker add`.
#[derive(Debug, Clone, Args)]
pub struct BlockerArguments {
    /// Gateway id.
    pub gateway: String,
    /// What it is called, such as backup; what is there under this name is said anew.
    pub code: String,
    /// Until when; until it is taken back when absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Wall>,
    /// Whether visits with a deadline need not wait for it.
    #[arg(long)]
    pub soft: bool,
    /// Why, for people and the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

pub(super) fn run(
    fleet: &Fleet,
    command: &BlockerCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let all = &path(&["blockers"]);
    let one: HostBlocker = match command {
        BlockerCommand::List => {
            let list: BlockerList = fleet.ask(async |api| api.get(all).await)?;
            return print(&list, &rows(&list.blockers), json, out);
        }
        BlockerCommand::Add(it) => {
            let request = BlockerRequest {
                host: it.gateway.clone(),
                code: it.code.clone(),
                soft: it.soft,
                until_ms: it.until.map(|at| at.0),
                reason: it.reason.clone(),
            };
            fleet.ask(async |api| api.post(all, &request).await)?
        }
        BlockerCommand::Remove { gateway, code, reason } => {
            let path = path_because(&["blockers", gateway, code], reason);
            fleet.ask(async |api| api.delete(&path).await)?
        }
    };
    print(&one, &rows(std::slice::from_ref(&one)), json, out)
}

fn rows(blockers: &[HostBlocker]) -> Vec<Vec<String>> {
    let titles = ["gateway", "blocker", "", "since", "until", "by", "reason"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(blockers.iter().map(|it| {
        let until = it.until_ms.map_or_else(|| "-".to_owned(), utc);
        let hard = if it.hard { "hard" } else { "soft" };
        let (host, code) = (it.host.clone(), it.code.clone());
        vec![host, code, hard.to_owned(), utc(it.since_ms), until, it.by.clone(), it.reason.clone()]
    }));
    rows
}
