//! `maintenance simulate`: what would happen, by policies and gateways in files, on a clock that only counts.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use maintenance::operation::{Campaign, CampaignId, Class, OpKind, Operation, OperationId};
use maintenance::policy::Selector;
use maintenance::simulate::{Faults, Line, Scenario, Tale, simulate};
use protocol::Wall;
use serde_json::json;

use super::command::{from, moment};
use super::file;
use super::fleet::utc;
use super::operations::KindWord;
use crate::cli::exit::{Exit, Failure};

/// Arguments of `maintenance simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArguments {
    /// Policies.
    #[arg(long, value_name = "FILE")]
    pub policy: PathBuf,
    /// Gateways, as JSON.
    #[arg(long, value_name = "FILE")]
    pub fleet: PathBuf,
    /// Which of all tales; the same seed tells the same.
    #[arg(long, value_name = "N", default_value_t = 1)]
    pub seed: u64,
    /// What is done to each gateway.
    #[arg(long, value_name = "KIND", default_value = "restart")]
    pub kind: KindWord,
    /// To which, by their labels; all when absent.
    #[arg(short = 'l', long = "label", value_name = "SELECTOR", default_value = "")]
    pub selector: Selector,
    /// From when on, such as 2026-10-20T00:00:00Z; now when absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Wall>,
    /// How many days are looked at.
    #[arg(long, value_name = "N", default_value_t = 28, value_parser = clap::value_parser!(u32).range(1..=366))]
    pub days: u32,
    /// Works that fail, of a thousand.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub failing: u32,
    /// Gateways that die on a day, of a thousand; each is back within an hour.
    #[arg(long, value_name = "N", default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=1000))]
    pub dying: u32,
}

/// Tells what would happen; exit code 3 if not all of it was done.
pub(super) fn run(
    it: &SimulateArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let usage =
        |why: &dyn std::fmt::Display| Failure { exit: Exit::Usage, message: why.to_string() };
    let (policies, hosts) = (file::policies(&it.policy)?, file::fleet(&it.fleet)?);
    let chosen = hosts.iter().filter(|host| it.selector.matches(host));
    let chosen: Vec<_> = chosen.map(|host| host.id.clone()).collect();
    let first = chosen.first().cloned().ok_or_else(|| usage(&"no gateway is selected"))?;
    let id = OperationId::new("simulated").map_err(|why| usage(&why))?;
    let template = operation(it.kind, Operation::new(id.clone(), OpKind::Restart, first));
    let campaign = Campaign {
        id: CampaignId(id),
        template,
        canary: Campaign::CANARY.to_vec(),
        soak: Duration::ZERO,
        failure_budget: 0,
    };
    let scenario = Scenario {
        policies,
        hosts,
        operations: campaign.operations(&chosen).map_err(|why| usage(&why))?,
        from: from(it.from),
        lasts: Duration::from_secs(u64::from(it.days) * 24 * 3600),
        faults: Faults { works_permille: it.failing, deaths_permille: it.dying },
        seed: it.seed,
    };
    let tale = simulate(&scenario).map_err(|why| Failure::new(Exit::Failed, &why))?;
    if json {
        writeln!(out, "{}", json!(tale))?;
    } else {
        tell(&tale, out)?;
    }
    let whole = tale.broken.is_empty() && tale.totals.done == tale.totals.visits;
    Ok(if whole { Exit::Done } else { Exit::Undrained })
}

fn tell(tale: &Tale, out: &mut dyn Write) -> Result<(), std::io::Error> {
    for Line { at, what } in &tale.lines {
        writeln!(out, "{}  {what}", utc(at.0))?;
    }
    for Line { at, what } in &tale.broken {
        writeln!(out, "{}  BROKEN: {what}", utc(at.0))?;
    }
    let totals = &tale.totals;
    let over = totals.over.map_or_else(|| "-".to_owned(), |at| utc(at.0));
    writeln!(
        out,
        "{} of {} visits done, {} failed, {} left; the last over at {over}\n\
         at most {} at once, the longest {} s; {} deaths, {} times somebody was asked, {} plans, {} limits passed",
        totals.done,
        totals.visits,
        totals.failed,
        totals.left,
        totals.most_at_once,
        totals.longest.as_secs(),
        totals.deaths,
        totals.asked,
        totals.plans,
        tale.broken.len(),
    )
}

/// What a word stands for, where nothing depends on a name.
fn operation(word: KindWord, plain: Operation) -> Operation {
    let named = || "simulated".to_owned();
    let (kind, seconds) = match word {
        KindWord::DrainOnly => (OpKind::DrainOnly { hold: Duration::from_secs(600) }, (600, 600)),
        KindWord::Restart => (OpKind::Restart, (5, 30)),
        KindWord::CertRotate => (OpKind::CertRotate, (2, 15)),
        KindWord::ConfigChange => (OpKind::ConfigChange { rev: named() }, (2, 15)),
        KindWord::Upgrade => (OpKind::Upgrade { to: named() }, (30, 120)),
        KindWord::Reboot => (OpKind::Reboot, (120, 600)),
        KindWord::Hook => {
            let timeout = Duration::from_secs(600);
            let (name, args) = (named(), Vec::new());
            (OpKind::Hook { name, args, timeout, class: Class::Drain }, (300, 600))
        }
    };
    let (p50, p95) = (Duration::from_secs(seconds.0), Duration::from_secs(seconds.1));
    let estimate = maintenance::fleet::Estimate { p50, p95 };
    let class = if word == KindWord::Restart { Class::Drain } else { kind.class() };
    Operation { class, kind, estimate, ..plain }
}
