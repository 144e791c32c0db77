//! `maintenance break-glass`: every right for a while.

use std::io::Write;

use clap::Subcommand;

use super::fleet::{Fleet, path, path_because, print, utc};
use crate::cli::bans::seconds;
use crate::cli::exit::{Exit, Failure};
use crate::http::GlassList;
use crate::scheduler::{BeginDespite, DespiteRequest, Glass, GlassRequest};

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
    /// Begin a visit of the plan despite hard blockers of its gateway and outside of its windows; whoever took every right may.
    Begin {
        /// The visit, such as gw-1/op-7.
        visit: String,
        /// Why, for everybody.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// Give it back before its time. What was to begin so and has not does not.
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
            let shown = rows(&list.glasses, &list.visits);
            return print(&list, &shown, json, out);
        }
        GlassCommand::Begin { visit, reason } => {
            let (visit, reason) = (visit.clone(), reason.clone());
            let request = DespiteRequest { visit, reason };
            let to = path(&["break-glass", "visits"]);
            let made: BeginDespite = fleet.ask(async |api| api.post(&to, &request).await)?;
            return print(&made, &rows(&[], std::slice::from_ref(&made)), json, out);
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
    print(&one, &rows(std::slice::from_ref(&one), &[]), json, out)
}

/// Who has every right, and which visits that is used for.
fn rows(glasses: &[Glass], visits: &[BeginDespite]) -> Vec<Vec<String>> {
    let titles = ["operator", "visit", "since", "until", "reason"];
    let row = |by: &str, visit: String, (since, until): (u64, u64), reason: &str| {
        vec![by.to_owned(), visit, utc(since), utc(until), reason.to_owned()]
    };
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(
        glasses.iter().map(|it| row(&it.by, "-".into(), (it.since_ms, it.until_ms), &it.reason)),
    );
    rows.extend(visits.iter().map(|BeginDespite { visit, despite, .. }| {
        let span = (despite.at.0, despite.until.0);
        row(&despite.by, visit.to_string(), span, &despite.reason)
    }));
    rows
}
