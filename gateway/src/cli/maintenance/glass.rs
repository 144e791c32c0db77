//! `maintenance break-glass`: every right for a while.

use std::io::Write;

use clap::Subcommand;

use super::fleet::{Fleet, path, path_because, print, utc};
use crate::cli::bans::seconds;
use crate::cli::exit::{Exit, Failure};
use crate::http::GlassList;
use crate::scheduler::{Glass, GlassRequest};

/// What to do about every right.
#[derive(Debug, Clone, Subcommand)]
pub enum GlassCommand {
    /// List who has every right now.
    List,
    /// Take every right for a while; it is written to the log as an error, and to the audit.
    Take {
        /// For how long, such as 30m; as long as the configuration allows when absent.
        #[arg(long = "for", value_name = "TIME", value_parser = seconds)]
        lasts: Option<u64>,
        /// Why, for everybody.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Give it back before its time.
    End {
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

pub(super) fn run(
    fleet: &Fleet,
    command: &GlassCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let one = match command {
        GlassCommand::List => {
            let list: GlassList = fleet.ask(async |api| api.get(&path(&["break-glass"])).await)?;
            return print(&list, &rows(&list.glasses), json, out);
        }
        GlassCommand::Take { lasts, reason } => {
            let request = GlassRequest { for_s: *lasts, reason: reason.clone() };
            fleet.ask(async |api| api.post(&path(&["break-glass"]), &request).await)?
        }
        GlassCommand::End { reason } => {
            let path = path_because(&["break-glass"], reason);
            fleet.ask(async |api| api.delete(&path).await)?
        }
    };
    print(&one, &rows(std::slice::from_ref(&one)), json, out)
}

fn rows(glasses: &[Glass]) -> Vec<Vec<String>> {
    let titles = ["operator", "since", "until", "reason"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(
        glasses
            .iter()
            .map(|it| vec![it.by.clone(), utc(it.since_ms), utc(it.until_ms), it.reason.clone()]),
    );
    rows
}
