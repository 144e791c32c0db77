//! What can be asked.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use maintenance::calendar::Zone;
use protocol::{GatewayId, Wall};

use super::audit::{self, AuditArguments};
use super::blockers::{self, BlockerCommand};
use super::feed_tokens::{self, FeedTokenCommand};
use super::fleet::Fleet;
use super::freezes::{self, FreezeCommand};
use super::glass::{self, GlassCommand};
use super::needs::{self, NeedsArguments};
use super::operations::{self, ApproveArguments, OperationCommand};
use super::plan::{self, PlanArguments};
use super::policies::{self, PutArguments};
use super::preferences::{self, PreferenceCommand};
use super::simulate::{self, SimulateArguments};
use super::slots::{self, WriteOffArguments};
use super::visits::{self, VisitCommand};
use super::wide::{self, WideArguments};
use super::{calendar, policy};
use crate::cli::arguments::Arguments;
use crate::cli::exit::{Exit, Failure};
use crate::clock::wall;
use crate::scheduler::WideOrder;

/// What to ask about maintenance.
#[derive(Debug, Clone, Subcommand)]
pub enum MaintenanceCommand {
    /// Show when gateways may be visited next, as policies say. What clock changes make odd is marked with `!`.
    Calendar(Box<CalendarArguments>),
    /// Ask a file of policies, or put policies that the fleet follows.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// What is to be done to gateways.
    #[command(subcommand)]
    Operation(OperationCommand),
    /// Times in which gateways are not visited, whatever policies say.
    #[command(subcommand)]
    Freeze(FreezeCommand),
    /// What speaks against visits of a gateway, such as a backup.
    #[command(subcommand)]
    Blocker(BlockerCommand),
    /// Say when visits would suit a gateway.
    #[command(subcommand)]
    Preference(PreferenceCommand),
    /// Tokens by which calendar programs read when gateways are visited, without a certificate.
    #[command(subcommand)]
    FeedToken(FeedTokenCommand),
    /// Visits of the plan that are on their way.
    #[command(subcommand)]
    Visit(VisitCommand),
    /// Tell what would happen by the policies and gateways of the fleet, or of files, with gateways that take a random time, fail
    /// and die; exit code 3 when not all of it would be done.
    Simulate(Box<SimulateArguments>),
    /// Show when gateways are visited, as planned, or as it would be planned.
    Plan(PlanArguments),
    /// Say why the visits of a gateway are not earlier, what would have to be different, and which were given up.
    Why {
        /// Gateway id.
        gateway: String,
    },
    /// Agree to an operation, or to all of a campaign, that somebody else wants.
    Approve(ApproveArguments),
    /// Show what gateways say they need, such as a new certificate, and want operations for it.
    Needs(NeedsArguments),
    /// Show how long work takes, as was learned from visits that are over.
    Estimates,
    /// Take every right for a while, in an emergency.
    #[command(subcommand)]
    BreakGlass(GlassCommand),
    /// Show which gateways are visited or drained: the slots that the ledger has granted and that are not given back.
    Slots,
    /// Begin all of a campaign that was added to be begun later, or was paused before it began.
    Run(WideArguments),
    /// Begin nothing more of a campaign, or of all that is planned, and no other step of its visits.
    Pause(WideArguments),
    /// Go on with a campaign, or with all that is planned, and with its visits.
    Resume(WideArguments),
    /// Cancel what has not begun of a campaign, or of all that is planned, and call off its visits; exit code 3 if some go on.
    Abort(WideArguments),
    /// Show who did what to maintenance, when and why, or look whether all of it is as it was written.
    Audit(AuditArguments),
    /// Give a gateway up for lost that is gone and never comes back as it was: its slot is free. Asks for its name to be typed.
    WriteOff(WriteOffArguments),
}

/// What to ask a file of policies, and what to do with those of the fleet.
#[derive(Debug, Clone, Subcommand)]
pub enum PolicyCommand {
    /// Check policies; exit code 64 when they cannot be used.
    Check(CheckArguments),
    /// Show what all policies together mean for a gateway, field by field, and which of them says so.
    Show(ShowArguments),
    /// List the policies of the fleet.
    List,
    /// Print policies of the fleet as they were put.
    Get {
        /// Their name.
        name: String,
    },
    /// Put a file of policies; the fleet follows it from then on.
    Put(PutArguments),
    /// Take policies away.
    Remove {
        /// Their name.
        name: String,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Arguments of `maintenance calendar`.
#[derive(Debug, Clone, Args)]
pub struct CalendarArguments {
    /// Policies; those of the fleet when absent.
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Whose calendar.
    #[command(flatten)]
    pub whose: Whose,
    /// How many openings, 1 to 1000.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u16).range(1..=1000))]
    pub next: u16,
    /// By whose clocks to show them, besides the gateway's own.
    #[arg(long, value_name = "ZONE", default_value = "UTC", value_parser = Zone::named)]
    pub tz: Zone,
    /// From when on, such as 2026-10-20T00:00:00Z; now when absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Wall>,
    /// Kind of work: exclusions that allow it do not count.
    #[arg(long, value_name = "KIND")]
    pub work: Vec<String>,
    /// Print an iCalendar file, of one gateway.
    #[arg(long, requires = "host")]
    pub ics: bool,
}

/// Gateways that are known from a file, or one that is described.
#[derive(Debug, Clone, Args)]
pub struct Whose {
    /// Gateways, as JSON, instead of those of the fleet; those whose openings are the same are shown together.
    #[arg(long, value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// Gateway id; without it, all gateways. With policies from a file and no file of gateways it is one that nobody must know.
    #[arg(long, value_name = "ID", value_parser = GatewayId::new)]
    pub host: Option<GatewayId>,
    /// Labels of a gateway that is nowhere else, such as role=gateway,zone=a.
    #[arg(short, long, value_name = "LABEL=VALUE", value_delimiter = ',', requires = "host", conflicts_with = "fleet", value_parser = label)]
    pub label: Vec<(String, String)>,
    /// Time zone of a gateway that is nowhere else; UTC when absent.
    #[arg(long, value_name = "ZONE", requires = "host", conflicts_with = "fleet", value_parser = Zone::named)]
    pub host_zone: Option<Zone>,
}

/// Arguments of `maintenance policy check`.
#[derive(Debug, Clone, Args)]
pub struct CheckArguments {
    /// Policies.
    #[arg(value_name = "FILE")]
    pub policy: PathBuf,
    /// Gateways, as JSON: tells also what can be meant but will not work for them.
    #[arg(long, value_name = "FILE")]
    pub fleet: Option<PathBuf>,
    /// Minutes that a visit probably takes.
    #[arg(long, value_name = "N", requires = "fleet", value_parser = clap::value_parser!(u32).range(1..))]
    pub visit_minutes: Option<u32>,
    /// Hours that each gateway should be open in 32 days.
    #[arg(long, value_name = "N", default_value_t = 8)]
    pub least_open_hours: u16,
    /// From when on, such as 2026-10-20T00:00:00Z; now when absent.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub from: Option<Wall>,
    /// Exit code 64 also for what will not work.
    #[arg(long, requires = "fleet")]
    pub strict: bool,
}

/// Arguments of `maintenance policy show`.
#[derive(Debug, Clone, Args)]
pub struct ShowArguments {
    /// Policies; those of the fleet when absent.
    #[arg(value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// Gateway id.
    #[arg(long, value_name = "HOST", value_parser = GatewayId::new)]
    pub effective: GatewayId,
    /// Gateways, as JSON, instead of those of the fleet; parts are of those that are in it.
    #[arg(long, value_name = "FILE")]
    pub fleet: Option<PathBuf>,
}

/// Does it.
pub(in crate::cli) fn run(
    command: &MaintenanceCommand,
    arguments: &Arguments,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let json = arguments.json;
    let fleet = || Fleet::of(arguments);
    match command {
        MaintenanceCommand::Calendar(it) => calendar::run(it, &fleet, json, out),
        MaintenanceCommand::Policy(PolicyCommand::Check(it)) => policy::check(it, json, out),
        MaintenanceCommand::Policy(PolicyCommand::Show(it)) => policy::show(it, &fleet, json, out),
        MaintenanceCommand::Policy(PolicyCommand::List) => policies::list(&fleet()?, json, out),
        MaintenanceCommand::Policy(PolicyCommand::Get { name }) => {
            policies::get(&fleet()?, name, json, out)
        }
        MaintenanceCommand::Policy(PolicyCommand::Put(it)) => {
            policies::put(&fleet()?, it, json, out)
        }
        MaintenanceCommand::Policy(PolicyCommand::Remove { name, reason }) => {
            policies::remove(&fleet()?, (name, reason), json, out)
        }
        MaintenanceCommand::Operation(it) => operations::run(&fleet()?, it, json, out),
        MaintenanceCommand::Freeze(it) => freezes::run(&fleet()?, it, json, out),
        MaintenanceCommand::Blocker(it) => blockers::run(&fleet()?, it, json, out),
        MaintenanceCommand::Preference(it) => preferences::run(&fleet()?, it, json, out),
        MaintenanceCommand::FeedToken(it) => feed_tokens::run(&fleet()?, it, json, out),
        MaintenanceCommand::Visit(it) => visits::run(&fleet()?, it, json, out),
        MaintenanceCommand::Simulate(it) => simulate::run(it, &fleet, json, out),
        MaintenanceCommand::Plan(it) => plan::plan(&fleet()?, it, json, out),
        MaintenanceCommand::Why { gateway } => plan::why(&fleet()?, gateway, json, out),
        MaintenanceCommand::Approve(it) => operations::approve(&fleet()?, it, json, out),
        MaintenanceCommand::Needs(it) => needs::needs(&fleet()?, it, json, out),
        MaintenanceCommand::Estimates => needs::estimates(&fleet()?, json, out),
        MaintenanceCommand::BreakGlass(it) => glass::run(&fleet()?, it, json, out),
        MaintenanceCommand::Slots => slots::slots(&fleet()?, json, out),
        MaintenanceCommand::Run(it) => wide::run(&fleet()?, (WideOrder::Run, it), json, out),
        MaintenanceCommand::Pause(it) => wide::run(&fleet()?, (WideOrder::Pause, it), json, out),
        MaintenanceCommand::Resume(it) => wide::run(&fleet()?, (WideOrder::Resume, it), json, out),
        MaintenanceCommand::Abort(it) => wide::run(&fleet()?, (WideOrder::Abort, it), json, out),
        MaintenanceCommand::Audit(it) => audit::run(&fleet()?, it, json, out),
        MaintenanceCommand::WriteOff(it) => {
            let mut typed = std::io::stdin().lock();
            slots::write_off(&fleet()?, it, (json, &mut typed), out)
        }
    }
}

/// The moment that was typed, or now.
pub(super) fn from(typed: Option<Wall>) -> Wall {
    typed.unwrap_or_else(wall)
}

/// How long each gateway should be open, in 32 days.
pub(super) fn least_open(it: &CheckArguments) -> Duration {
    Duration::from_secs(u64::from(it.least_open_hours) * 3600)
}

pub(super) fn moment(text: &str) -> Result<Wall, String> {
    let at: Timestamp =
        text.parse().map_err(|_| "give a moment such as 2026-10-20T00:00:00Z".to_owned())?;
    u64::try_from(at.as_millisecond()).map(Wall).map_err(|_| "it is before 1970".to_owned())
}

fn label(text: &str) -> Result<(String, String), String> {
    let pair = text.split_once('=').filter(|(label, _)| !label.is_empty());
    let (label, value) = pair.ok_or_else(|| "give label=value".to_owned())?;
    Ok((label.to_owned(), value.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use crate::cli::arguments::Arguments;

    fn sound(line: &str) -> bool {
        let typed = ["tidegate", "maintenance"].into_iter().chain(line.split_whitespace());
        Arguments::try_parse_from(typed).is_ok()
    }

    #[test]
    fn a_gateway_is_in_a_file_or_described() {
        for line in [
            "calendar --policy p --fleet f",
            "calendar --policy p --fleet f --host gw-1 --ics",
            "calendar --policy p --host gw-1 -l role=gateway,zone=a --host-zone Europe/Berlin --json",
            "policy check p",
            "policy check p --fleet f --visit-minutes 30 --strict",
            "policy show p --effective gw-1 --fleet f",
            "policy put eu p --reason r",
            "policy put eu p --replace --accept-lints --reason r",
            "operation add --kind restart --host gw-1,gw-2 --reason r",
            "operation add --kind upgrade --to 2.4.1 -l role=gateway --deadline 2026-10-20T00:00:00Z --hard --reason r",
            "operation add --kind hook --hook swap --arg a --limit-s 60 --class drain --host gw-1 --reason r",
            "freeze add --to 2026-10-20T00:00:00Z -l region=eu --reason launch",
            "approve op-1 --reason r",
            "approve op-1 --reason r --wait",
            "operation wait op-1",
            "slots --json",
            "simulate --policy p --fleet f --seed 7 --kind upgrade -l zone=a --days 14 --failing 50 --dying 5 --clients 1000 --redirect-ok 30% --rtt-ms 0",
            "estimates",
            "simulate --days 7",
            "simulate --policy p",
            "audit --after 7 --verify",
            "pause C-12 --reason r",
            "blocker add gw-1 backup --until 2026-10-20T00:00:00Z --soft --reason r",
            "blocker remove gw-1 backup --reason r",
            "preference add gw-1 quiet --from 2026-10-20T00:00:00Z --until 2026-10-20T04:00:00Z --cost 2 --reason r",
            "abort --fleet --reason r",
            "operation add --kind restart --host gw-1 --paused --reason r",
            "needs",
            "needs --add --reason r",
            "write-off gw-1 --reason disk",
            "write-off gw-1 --reason disk --yes gw-1",
            "calendar --next 10 --tz Europe/Berlin",
            "calendar --policy p",
            "calendar --fleet f",
            "policy show --effective gw-1",
            "policy show p --effective gw-1",
        ] {
            assert!(sound(line), "{line}");
        }
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for line in [
            "calendar --policy p -l a=b",
            "calendar --policy p --fleet f --ics",
            "calendar --policy p --fleet f --host gw-1 -l a=b",
            "calendar --policy p --host gw-1 -l ab",
            "calendar --policy p --fleet f --next 0",
            "calendar --policy p --fleet f --tz Mars",
            "calendar --policy p --fleet f --from soon",
            "policy check p --strict",
            "policy put eu p",
            "policy put eu p --replace --if-match 3 --reason r",
            "operation add --kind restart --reason r",
            "operation add --kind restart --host a -l b=c --reason r",
            "operation add --kind upgrade --host a --reason r",
            "operation add --kind hook --hook x --host a --reason r",
            "operation add --kind dance --host a --reason r",
            "freeze add --reason r",
            "write-off gw-1",
            "operation wait",
            "pause --reason r",
            "blocker add gw-1 backup",
            "preference add gw-1 quiet --from 2026-10-20T00:00:00Z --reason r",
            "run C-12 --fleet --reason r",
            "abort --fleet",
            "simulate --fleet f",
            "simulate --policy p --fleet f --failing 1001",
            "simulate --rtt-ms 60001",
            "needs --add",
        ] {
            assert!(!sound(line), "{line}");
        }
    }

    #[test]
    fn nobody_breaks_the_glass_without_a_reason() {
        for line in ["break-glass take --for 30m", "break-glass begin gw-1/op-7", "break-glass end"]
        {
            assert!(!sound(line), "{line}");
            assert!(sound(&format!("{line} --reason fire")), "{line}");
        }
        assert!(sound("break-glass list"));
    }

    #[test]
    fn a_token_is_added_for_some_gateways_and_for_a_while_and_nothing_without_a_reason() {
        for line in [
            "feed-token add wall -l region=eu --until 2026-10-20T00:00:00Z --reason r",
            "feed-token list",
            "feed-token revoke wall --reason r",
        ] {
            assert!(sound(line), "{line}");
        }
        for line in ["feed-token add wall", "feed-token add wall -l = --reason r"] {
            assert!(!sound(line), "{line}");
        }
        assert!(!sound("feed-token revoke wall"));
    }
}
