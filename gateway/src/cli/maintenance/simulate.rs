//! `maintenance simulate`: what would happen by the policies and gateways of the fleet, or of files, on a clock that only counts.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use maintenance::operation::{Class, OpKind};
use maintenance::policy::Selector;
use maintenance::simulate::{Line, Tale, simulate};
use protocol::Wall;
use serde_json::json;

use super::command::{from, moment};
use super::file;
use super::fleet::{Fleet, path, utc};
use super::operations::KindWord;
use crate::cli::exit::{Exit, Failure};
use crate::control::ControlError;
use crate::simulations::SimulationRequest;

/// Arguments of `maintenance simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArguments {
    /// Policies; those of the fleet when absent.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Gateways, as JSON; those of the fleet when absent, with as many clients as they have now.
    #[arg(long, value_name = "FILE", requires = "policy")]
    pub fleet: Option<PathBuf>,
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
    /// Clients of all gateways together, as many at each; those that they have when absent, of gateways of files half of what they can.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(..=1_000_000_000))]
    pub clients: Option<u64>,
    /// Which part of the clients goes where it is sent, such as 30%; all when absent.
    #[arg(long, value_name = "SHARE", value_parser = permille)]
    pub redirect_ok: Option<u32>,
    /// Milliseconds from a client to a gateway and back; 50 when absent.
    #[arg(long, value_name = "MS", value_parser = clap::value_parser!(u64).range(..=60_000))]
    pub rtt_ms: Option<u64>,
}

/// A part in percent, with a digit behind the point at most, of a thousand.
fn permille(text: &str) -> Result<u32, String> {
    let number = text.strip_suffix('%').unwrap_or_default();
    let (whole, tenth) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |text: &str| text.parse::<u32>().ok().filter(|_| !text.starts_with('+'));
    let read = digits(whole).zip(digits(tenth).filter(|_| tenth.len() == 1));
    let part = read.and_then(|(whole, tenth)| whole.checked_mul(10)?.checked_add(tenth));
    part.filter(|part| *part <= 1_000).ok_or_else(|| "a part of 0% to 100%, such as 30%".to_owned())
}

/// Tells what would happen; exit code 3 if not all of it was done.
pub(super) fn run(
    it: &SimulateArguments,
    fleet: &dyn Fn() -> Result<Fleet, Failure>,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let tale = match &it.fleet {
        Some(hosts) => by_files(it, hosts)?,
        None => by_fleet(it, &fleet()?)?,
    };
    if json {
        writeln!(out, "{}", json!(tale))?;
    } else {
        tell(&tale, out)?;
    }
    let whole = tale.broken.is_empty() && tale.totals.done == tale.totals.visits;
    Ok(if whole { Exit::Done } else { Exit::Undrained })
}

/// Here, and for as long as it takes.
fn by_files(it: &SimulateArguments, hosts: &Path) -> Result<Tale, Failure> {
    let usage = |why: ControlError| Failure { exit: Exit::Usage, message: why.to_string() };
    let policies = it.policy.as_deref().map(file::policies).transpose()?.unwrap_or_default();
    let fleet = (file::fleet(hosts)?, BTreeMap::new());
    let scenario = request(it).scenario(policies, fleet, from(it.from)).map_err(usage)?;
    simulate(&scenario, &mut || false).map_err(|why| Failure::new(Exit::Failed, &why))
}

/// By a gateway, which knows the others.
fn by_fleet(it: &SimulateArguments, fleet: &Fleet) -> Result<Tale, Failure> {
    let mut request = request(it);
    if let Some(file) = &it.policy {
        let text = file::read(file)?;
        request.calendars = file::calendars(file, &text)?;
        request.policies = Some(text);
    }
    fleet.ask(async |api| api.post(&path(&["simulations"]), &request).await)
}

fn request(it: &SimulateArguments) -> SimulationRequest {
    SimulationRequest {
        kind: kind(it.kind),
        selector: it.selector.clone(),
        from_ms: it.from.map(|at| at.0),
        days: it.days,
        seed: it.seed,
        failing_permille: it.failing,
        dying_permille: it.dying,
        clients: it.clients,
        redirect_ok_permille: it.redirect_ok,
        round_trip_ms: it.rtt_ms,
        ..SimulationRequest::default()
    }
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
         {} clients moved, {} of them once more, none more than {} times, at most {} in a second\n\
         at most {} at once, the longest {} s; {} deaths, {} times somebody was asked, {} plans, {} limits passed",
        totals.done,
        totals.visits,
        totals.failed,
        totals.left,
        totals.moved,
        totals.moved_again,
        totals.most_moves,
        totals.peak_connects_per_s,
        totals.most_at_once,
        totals.longest.as_secs(),
        totals.deaths,
        totals.asked,
        totals.plans,
        tale.broken.len(),
    )?;
    let Some(returns) = &tale.returns else { return Ok(()) };
    writeln!(
        out,
        "clients are away for {} ms (p50), {} ms (p99), {} ms at most; {}.{}% come where they are sent; at most {} connects in a second, \
         {} were granted ({} moves tried)",
        returns.gap_p50.as_millis(),
        returns.gap_p99.as_millis(),
        returns.gap_longest.as_millis(),
        returns.followed_permille / 10,
        returns.followed_permille % 10,
        returns.peak_connects_per_s,
        totals.peak_connects_per_s,
        returns.tried,
    )
}

/// What a word stands for, where nothing depends on a name.
fn kind(word: KindWord) -> OpKind {
    let named = || "simulated".to_owned();
    match word {
        KindWord::DrainOnly => OpKind::DrainOnly { hold: Duration::from_secs(600) },
        KindWord::Restart => OpKind::Restart,
        KindWord::CertRotate => OpKind::CertRotate,
        KindWord::ConfigChange => OpKind::ConfigChange { rev: named() },
        KindWord::Upgrade => OpKind::Upgrade { to: named() },
        KindWord::Reboot => OpKind::Reboot,
        KindWord::Hook => {
            let timeout = Duration::from_secs(600);
            OpKind::Hook { name: named(), args: Vec::new(), timeout, class: Class::Drain }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_in_percent_with_a_digit_behind_the_point_at_most() {
        for (text, part) in [("0%", 0), ("30%", 300), ("99.5%", 995), ("100%", 1_000)] {
            assert_eq!(permille(text), Ok(part), "{text}");
        }
        for text in ["101%", "100.1%", "0.5", "30", "%", "1.25%", "+3%", "1.%", "-1%"] {
            assert!(permille(text).is_err(), "{text}");
        }
    }
}
