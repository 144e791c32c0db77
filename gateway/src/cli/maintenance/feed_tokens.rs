//! `maintenance feed-token`: by what calendar programs read the feed of visits.

use std::io::Write;

use clap::{Args, Subcommand};
use maintenance::policy::Selector;
use protocol::Wall;

use super::command::moment;
use super::fleet::{Fleet, path, path_because, print, utc};
use crate::cli::exit::{Exit, Failure};
use crate::http::FeedTokenList;
use crate::scheduler::{FeedToken, FeedTokenRequest, NewFeedToken};

/// What to do about tokens.
#[derive(Debug, Clone, Subcommand)]
pub enum FeedTokenCommand {
    /// List the tokens that are good, without their secrets.
    List,
    /// Add a token, and print the path of its calendar: the only time that it is shown.
    Add(FeedTokenArguments),
    /// End a token.
    Revoke {
        /// What it is called.
        name: String,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Arguments of `maintenance feed-token add`.
#[derive(Debug, Clone, Args)]
pub struct FeedTokenArguments {
    /// What it is called, such as the team that it is for.
    pub name: String,
    /// Of which gateways visits are shown, by their labels; of all when absent.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "")]
    pub selector: Selector,
    /// Until when it is good; until it is revoked when absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub until: Option<Wall>,
    /// Why, for people and the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

pub(super) fn run(
    fleet: &Fleet,
    command: &FeedTokenCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let all = &path(&["feed-tokens"]);
    match command {
        FeedTokenCommand::List => {
            let list: FeedTokenList = fleet.ask(async |api| api.get(all).await)?;
            print(&list, &rows(&list.tokens), json, out)
        }
        FeedTokenCommand::Add(it) => {
            let request = FeedTokenRequest {
                name: it.name.clone(),
                selector: it.selector.clone(),
                until_ms: it.until.map(|at| at.0),
                reason: it.reason.clone(),
            };
            let added: NewFeedToken = fleet.ask(async |api| api.post(all, &request).await)?;
            let titled = [vec!["token".to_owned(), "path, shown this once".to_owned()]];
            let row = vec![added.token.name.clone(), added.path.clone()];
            print(&added, &[titled.as_slice(), &[row]].concat(), json, out)
        }
        FeedTokenCommand::Revoke { name, reason } => {
            let path = path_because(&["feed-tokens", name], reason);
            let gone: FeedToken = fleet.ask(async |api| api.delete(&path).await)?;
            print(&gone, &rows(std::slice::from_ref(&gone)), json, out)
        }
    }
}

fn rows(tokens: &[FeedToken]) -> Vec<Vec<String>> {
    let titles = ["token", "gateways", "since", "until", "by", "reason"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    rows.extend(tokens.iter().map(|it| {
        let until = it.until_ms.map_or_else(|| "-".to_owned(), utc);
        let selector = it.selector.to_string();
        let gateways = if selector.is_empty() { "all".to_owned() } else { selector };
        vec![it.name.clone(), gateways, utc(it.since_ms), until, it.by.clone(), it.reason.clone()]
    }));
    rows
}
