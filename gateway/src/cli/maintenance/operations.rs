//! `maintenance operation`: what is to be done to gateways.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand, ValueEnum};
use maintenance::operation::{After, Class, Due, OpKind, OperationId};
use maintenance::policy::Selector;
use protocol::Wall;

use super::command::moment;
use super::fleet::{Fleet, path, path_because, print, utc};
use super::wait;
use crate::cli::exit::{Exit, Failure};
use crate::clock::wall;
use crate::http::{OperationList, Reason};
use crate::scheduler::{OperationDocument, OperationRequest, OperationState};

/// What to do about operations.
#[derive(Debug, Clone, Subcommand)]
pub enum OperationCommand {
    /// List what is pending, and what was over lately.
    List,
    /// Want something done to a gateway, or to many, one batch after the other.
    Add(Box<OperationArguments>),
    /// Wait until an operation, or all of a campaign, is over; exit code 3 if it was not done.
    Wait {
        /// Name of the operation or the campaign.
        name: String,
    },
    /// Let go on what waits for an operation that was not done, or what is left of its campaign.
    GoOn {
        /// Name of the operation or the campaign.
        name: String,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
    /// End an operation that nobody has begun, or what is left of a campaign.
    Cancel {
        /// Name of the operation or the campaign.
        name: String,
        /// Why, for the audit.
        #[arg(long, value_name = "TEXT")]
        reason: String,
    },
}

/// Arguments of `maintenance operation add`.
#[derive(Debug, Clone, Args)]
pub struct OperationArguments {
    /// What is to be done.
    #[arg(long, value_name = "KIND")]
    pub kind: KindWord,
    /// Its name; one is made of kind and time when absent.
    #[arg(long, value_name = "NAME")]
    pub id: Option<String>,
    /// Gateways.
    #[arg(long, value_name = "ID", value_delimiter = ',', required_unless_present = "selector")]
    pub host: Vec<String>,
    /// Gateways by their labels, such as role=gateway,region!=us; all when empty.
    #[arg(short = 'l', long = "label", value_name = "SELECTOR", conflicts_with = "host")]
    pub selector: Option<Selector>,
    /// The version, for `upgrade`.
    #[arg(long, value_name = "VERSION", required_if_eq("kind", "upgrade"))]
    pub to: Option<String>,
    /// The revision, for `config-change`.
    #[arg(long, value_name = "REVISION", required_if_eq("kind", "config-change"))]
    pub rev: Option<String>,
    /// How long the gateway stays drained, for `drain-only`.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub hold_s: u64,
    /// The name in the gateway's list of programs, for `hook`.
    #[arg(long, value_name = "NAME", required_if_eq("kind", "hook"))]
    pub hook: Option<String>,
    /// What the hook is told.
    #[arg(long, value_name = "TEXT", requires = "hook")]
    pub arg: Vec<String>,
    /// How long the hook may take.
    #[arg(long, value_name = "SECONDS", required_if_eq("kind", "hook"))]
    pub limit_s: Option<u64>,
    /// How much it disturbs: hot, in-place, drain or absent; at least as much as its kind does.
    #[arg(long, value_name = "CLASS", value_parser = class, required_if_eq("kind", "hook"))]
    pub class: Option<Class>,
    /// The higher the more important.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub priority: u8,
    /// Not earlier.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub not_before: Option<Wall>,
    /// By when.
    #[arg(long, value_name = "TIME", value_parser = moment)]
    pub deadline: Option<Wall>,
    /// To miss the deadline is worse than anything that is not hard.
    #[arg(long, requires = "deadline")]
    pub hard: bool,
    /// An operation that must be over before, or all that were added under one name.
    #[arg(long, value_name = "NAME", value_parser = OperationId::new)]
    pub after: Vec<OperationId>,
    /// How long a batch is watched before the next begins.
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    pub soak_s: u64,
    /// How many visits of a campaign may fail before what is left of it stands still.
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub failure_budget: u32,
    /// Begin it only once `maintenance run` says so.
    #[arg(long)]
    pub paused: bool,
    /// Why, for people and the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Wait until it is over and tell how far it is on standard error; exit code 3 if it was not done.
    #[arg(long)]
    pub wait: bool,
}

/// Arguments of `maintenance approve`.
#[derive(Debug, Clone, Args)]
pub struct ApproveArguments {
    /// Name of the operation or the campaign.
    pub name: String,
    /// Why, for the audit.
    #[arg(long, value_name = "TEXT")]
    pub reason: String,
    /// Wait until it is over and tell how far it is on standard error; exit code 3 if it was not done.
    #[arg(long)]
    pub wait: bool,
}

/// Kinds of work.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum KindWord {
    /// Drain, and serve again.
    DrainOnly,
    /// Start the process again.
    Restart,
    /// Take a new certificate.
    CertRotate,
    /// Take another configuration.
    ConfigChange,
    /// Take another version of the program.
    Upgrade,
    /// Start the machine again.
    Reboot,
    /// Run a program that the gateway allows.
    Hook,
}

pub(super) fn run(
    fleet: &Fleet,
    command: &OperationCommand,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let list: OperationList = match command {
        OperationCommand::List => fleet.ask(async |api| api.get(&path(&["operations"])).await)?,
        OperationCommand::Add(it) => {
            let request = request(it);
            let added: OperationList =
                fleet.ask(async |api| api.post(&path(&["operations"]), &request).await)?;
            if it.wait {
                return wait(fleet, &added, json, out);
            }
            added
        }
        OperationCommand::Wait { name } => {
            let mut list: OperationList =
                fleet.ask(async |api| api.get(&path(&["operations"])).await)?;
            list.operations.retain(|it| is_called(it, name));
            if list.operations.is_empty() {
                let message = format!("there is no operation {name}");
                return Err(Failure { exit: Exit::Failed, message });
            }
            return wait(fleet, &list, json, out);
        }
        OperationCommand::GoOn { name, reason } => {
            let body = Reason { reason: reason.clone() };
            let path = path(&["operations", name, "go-on"]);
            fleet.ask(async |api| api.post(&path, &body).await)?
        }
        OperationCommand::Cancel { name, reason } => {
            let path = path_because(&["operations", name], reason);
            fleet.ask(async |api| api.delete(&path).await)?
        }
    };
    print(&list, &rows(&list.operations), json, out)?;
    for lint in list.lints.iter().filter(|_| !json) {
        writeln!(out, "{lint}")?;
    }
    if let Some(paused) = list.paused.filter(|_| !json) {
        writeln!(out, "the fleet is {paused}")?;
    }
    Ok(Exit::Done)
}

pub(super) fn approve(
    fleet: &Fleet,
    it: &ApproveArguments,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let path = path(&["operations", &it.name, "approvals"]);
    let body = Reason { reason: it.reason.clone() };
    let list: OperationList = fleet.ask(async |api| api.post(&path, &body).await)?;
    if it.wait {
        return wait(fleet, &list, json, out);
    }
    print(&list, &rows(&list.operations), json, out)
}

/// Waits for all of a list, and prints what became of it.
fn wait(
    fleet: &Fleet,
    list: &OperationList,
    json: bool,
    out: &mut dyn Write,
) -> Result<Exit, Failure> {
    let names: Vec<_> = list.operations.iter().map(|it| it.operation.id.clone()).collect();
    let mut err = std::io::stderr();
    let (exit, over) = wait::until_over(fleet, &names, &mut err)?;
    print(&over, &rows(&over.operations), json, out)?;
    if exit != Exit::Done {
        let message = format!("not done: {}", wait::summary(&over.operations));
        return Err(Failure { exit, message });
    }
    Ok(exit)
}

/// Whether it has this name, or is of the campaign of this name.
fn is_called(document: &OperationDocument, name: &str) -> bool {
    let operation = &document.operation;
    let campaign = operation.batch.as_ref().map(|batch| batch.campaign.0.as_str());
    operation.id.as_str() == name || campaign == Some(name)
}

/// Always with a name, so that another gateway may be asked when an answer is lost.
fn request(it: &OperationArguments) -> OperationRequest {
    let after =
        |operation: &OperationId| After { operation: operation.clone(), lag: Duration::ZERO };
    let kind = kind(it);
    OperationRequest {
        id: Some(it.id.clone().unwrap_or_else(|| made_up(&kind))),
        kind,
        hosts: it.host.clone(),
        selector: it.selector.clone(),
        class: it.class,
        priority: it.priority,
        not_before_ms: it.not_before.map(|at| at.0),
        deadline: it.deadline.map(|at| Due { at, hard: it.hard }),
        depends_on: it.after.iter().map(after).collect(),
        estimate: None,
        canary: None,
        soak_ms: it.soak_s.saturating_mul(1000),
        failure_budget: it.failure_budget,
        paused: it.paused,
        reason: it.reason.clone(),
    }
}

fn kind(it: &OperationArguments) -> OpKind {
    let seconds = |seconds: Option<u64>| Duration::from_secs(seconds.unwrap_or_default());
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    match it.kind {
        KindWord::DrainOnly => OpKind::DrainOnly { hold: seconds(Some(it.hold_s)) },
        KindWord::Restart => OpKind::Restart,
        KindWord::CertRotate => OpKind::CertRotate,
        KindWord::ConfigChange => OpKind::ConfigChange { rev: text(&it.rev) },
        KindWord::Upgrade => OpKind::Upgrade { to: text(&it.to) },
        KindWord::Reboot => OpKind::Reboot,
        KindWord::Hook => OpKind::Hook {
            name: text(&it.hook),
            args: it.arg.clone(),
            timeout: seconds(it.limit_s),
            class: it.class.unwrap_or(Class::Absent),
        },
    }
}

fn made_up(kind: &OpKind) -> String {
    format!("{}-{}-{}", kind.name(), wall().0, std::process::id() % 1000)
}

fn class(text: &str) -> Result<Class, String> {
    let word = serde_json::Value::String(text.replace('-', "_"));
    serde_json::from_value(word).map_err(|_| "give hot, in-place, drain or absent".to_owned())
}

fn rows(operations: &[OperationDocument]) -> Vec<Vec<String>> {
    let titles =
        ["operation", "state", "gateway", "kind", "not before", "deadline", "by", "reason"];
    let mut rows = vec![titles.map(str::to_owned).to_vec()];
    let dash = || "-".to_owned();
    rows.extend(operations.iter().map(|document| {
        let OperationDocument { operation: it, state, paused, .. } = document;
        let is_paused = paused.is_some() && *state == OperationState::Pending;
        vec![
            it.id.to_string(),
            if is_paused { "paused" } else { word(*state) }.to_owned(),
            it.host.as_str().to_owned(),
            it.kind.name().to_owned(),
            it.not_before.map_or_else(dash, |at| utc(at.0)),
            it.deadline.map_or_else(dash, |due| utc(due.at.0)),
            it.requester.clone(),
            it.reason.clone(),
        ]
    }));
    rows
}

pub(super) const fn word(state: OperationState) -> &'static str {
    match state {
        OperationState::Pending => "pending",
        OperationState::Done => "done",
        OperationState::Cancelled => "cancelled",
        OperationState::Failed => "failed",
        OperationState::Aborted => "aborted",
    }
}
