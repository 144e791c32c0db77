//! `maintenance run|pause|resume|abort`: what is wanted of all of a campaign, or of all that is planned.

use std::io::Write;

use clap::Args;

use super::fleet::{Fleet, path, print};
use crate::cli::exit::{Exit, Failure};
use crate::scheduler::{WideAnswer, WideOrder, WideRequest};

/// All of what, and why.
#[derive(Debug, Clone, Args)]
pub struct WideArguments {
    /// Name of the campaign, or of an operation.
    #[arg(required_unless_present = "fleet", conflicts_with = "fleet")]
    pub name: Option<String>,
    /// All that is planned for the fleet.
    #[arg(long)]
    pub fleet: bool,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
}

/// Exit code 3 if not all visits do it.
pub(super) fn run(
    fleet: &Fleet,
    (order, of): (WideOrder, &WideArguments),
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let WideArguments { name, fleet: all, reason } = of.clone();
    let request = WideRequest { campaign: name, fleet: all, order, reason };
    let answer: WideAnswer = fleet.ask(async |api| api.post(&path(&["orders"]), &request).await)?;
    print(&answer, &rows(&answer), json, out)?;
    Ok(if answer.not_taken.is_empty() { Exit::Done } else { Exit::Undrained })
}

fn rows(answer: &WideAnswer) -> Vec<Vec<String>> {
    let mut rows = vec![["", "name", "not since"].map(str::to_owned).to_vec()];
    let row =
        |what: &str, name: &String, why: &str| vec![what.to_owned(), name.clone(), why.to_owned()];
    rows.extend(answer.operations.iter().map(|name| row("operation", name, "")));
    rows.extend(answer.visits.iter().map(|name| row("visit", name, "")));
    rows.extend(answer.not_taken.iter().map(|it| row("visit", &it.visit, &it.why)));
    rows
}
