//! What a host has to work with, and which of it a work needs.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use maintenance::execution::Step;
use maintenance::ledger::SlotClass;
use maintenance::operation::{OpKind, Operation};
use protocol::{GatewayId, Wall};

use super::callers::Callers;
use super::doors::Doors;
use super::job::{Act, Attempt, Job, JobEnd, Purpose};
use super::mark::Mark;
use super::program::{Program, ProgramEnd};
use super::trial::Trial;
use super::way::Ways;
use crate::config::{HostProgram, Resolved, Settings};
use crate::hub::trial::Trials;
use crate::reload::ReloadSender;
use crate::scheduler::visits::VisitDocument;
use crate::succession::{Board, FOLLOWS_WITHIN, RestartStage, SuccessionSender};

/// The version that runs.
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// How long a work may take besides what limits it itself: to begin, to read files again, and to say how it ended.
const AROUND: Duration = Duration::from_secs(60);

/// What a host has to work with when it is visited.
#[derive(Debug)]
pub struct Tools {
    reload: ReloadSender,
    succession: SuccessionSender,
    board: Arc<Board>,
    programs: BTreeMap<String, HostProgram>,
    gateway: GatewayId,
    data: PathBuf,
    boot_id: PathBuf,
    revision: Option<String>,
    doors: Doors,
    ways: Ways,
    /// Whether programs have an attendant that outlives this process.
    are_attended: bool,
}

/// A program of the host's list, and what it is told.
struct Named<'a> {
    name: &'a str,
    arguments: Vec<String>,
    needed: bool,
}

impl Tools {
    /// As configured; files are read again by `reload`, and who is to follow is started by `succession`.
    pub fn new(
        config: &Resolved,
        reload: ReloadSender,
        (succession, board): (SuccessionSender, Arc<Board>),
    ) -> Self {
        Self {
            reload,
            succession,
            board,
            programs: config.maintenance.hooks.clone(),
            gateway: config.id.gateway(),
            data: config.data.clone(),
            boot_id: config.maintenance.boot_id.clone(),
            revision: config.revision.clone(),
            doors: Doors::of(config),
            ways: Ways::of(config),
            are_attended: true,
        }
    }

    /// Programs have no attendant: there is none in the program that the tests are.
    #[cfg(test)]
    pub(in crate::scheduler) const fn run_alone(&mut self) {
        self.are_attended = false;
    }

    /// What the settings say, from now on.
    pub fn set(&mut self, settings: &Settings) {
        self.programs.clone_from(&settings.maintenance.hooks);
        self.boot_id.clone_from(&settings.maintenance.boot_id);
        self.revision.clone_from(&settings.revision);
    }

    /// What the configuration that is in force is called.
    pub(in crate::scheduler) fn revision(&self) -> Option<&str> {
        self.revision.as_deref()
    }

    /// The version that runs.
    pub(in crate::scheduler) const fn version() -> &'static str {
        VERSION
    }

    /// Whether a process before this one still has clients.
    pub(in crate::scheduler) fn is_taking_over(&self) -> bool {
        self.board.get().is_some_and(|status| !status.stage.is_over())
    }

    /// Whether a process that was to follow this one has failed.
    pub(in crate::scheduler) fn is_left_alone(&self) -> bool {
        self.board.get().is_some_and(|status| status.stage == RestartStage::Failed)
    }

    /// Whether this process has followed another on this host, or would be followed.
    pub(in crate::scheduler) fn has_followed(&self) -> bool {
        self.board.get().is_some()
    }

    /// Which start of the machine this is; none if nothing says so.
    pub(in crate::scheduler) fn boot(&self) -> Option<String> {
        let text = std::fs::read_to_string(&self.boot_id).ok()?;
        Some(text.trim().to_owned()).filter(|it| !it.is_empty())
    }

    /// Why this host cannot do a work, for programs; none if it can.
    pub(in crate::scheduler) fn lacks(&self, operation: &Operation) -> Option<String> {
        let kind = &operation.kind;
        let Named { name, arguments, needed } = named(kind)?;
        // One that was wanted before this was refused.
        if kind.takes_anothers_program() {
            return Some(format!("hook_{name}_is_a_kind_of_its_own"));
        }
        let Some(program) = self.programs.get(name) else {
            return needed.then(|| format!("no_hook_{name}"));
        };
        if operation.class < program.least {
            return Some(format!("class_too_low_for_hook_{name}"));
        }
        program.forbids(&arguments).map(|_| format!("arguments_not_allowed_for_hook_{name}"))
    }

    /// Begins a work.
    ///
    /// # Errors
    /// Why it cannot begin, for programs.
    pub(in crate::scheduler) fn begin(
        &self,
        operation: &Operation,
        document: &VisitDocument,
        attempt: Attempt,
    ) -> Result<Job, String> {
        let (kind, mut acts) = (&operation.kind, Vec::new());
        if let Some(why) = self.lacks(operation) {
            return Err(why);
        }
        acts.extend(self.program(kind, document).map(Act::Run));
        let in_place = is_in_place(document);
        match kind {
            OpKind::CertRotate | OpKind::ConfigChange { .. } => {
                acts.push(Act::Reload(self.reload.clone()));
            }
            OpKind::Restart | OpKind::Upgrade { .. } if in_place => {
                acts.push(Act::Follow(self.succession.clone(), Arc::clone(&self.board)));
            }
            OpKind::Restart
            | OpKind::Upgrade { .. }
            | OpKind::Reboot
            | OpKind::Hook { .. }
            | OpKind::DrainOnly { .. } => {}
        }
        start(acts, (attempt, Purpose::Step))
    }

    /// How long a work may take on this host, by its own limits.
    pub(in crate::scheduler) fn takes(&self, kind: &OpKind, document: &VisitDocument) -> Duration {
        let program = self.program(kind, document).map_or(Duration::ZERO, |it| it.limit);
        let follows = match kind {
            OpKind::Restart | OpKind::Upgrade { .. } if is_in_place(document) => FOLLOWS_WITHIN,
            OpKind::Restart
            | OpKind::Upgrade { .. }
            | OpKind::CertRotate
            | OpKind::ConfigChange { .. }
            | OpKind::Reboot
            | OpKind::Hook { .. }
            | OpKind::DrainOnly { .. } => Duration::ZERO,
        };
        program + follows + AROUND
    }

    /// Looks at the host from outside, and has a client do there what devices do.
    ///
    /// # Errors
    /// Why it cannot, for programs.
    pub(in crate::scheduler) fn look(
        &self,
        attempt: Attempt,
        (trials, callers): (&Arc<Trials>, Callers),
    ) -> Result<Job, String> {
        let trial = Trial::new(self.ways.clone(), Arc::clone(trials), callers);
        start(vec![Act::Look(self.doors.clone()), Act::Try(trial)], (attempt, Purpose::Step))
    }

    /// Looks whether a program of an earlier life has done its work; none if nothing here can tell.
    pub(in crate::scheduler) fn probe(
        &self,
        kind: &OpKind,
        document: &VisitDocument,
        attempt: Attempt,
    ) -> Option<Job> {
        let probe = |program: &HostProgram| program.probe.clone();
        let program = Program { mark: None, ..self.other(kind, document, probe)? };
        start(vec![Act::Run(program)], (attempt, Purpose::Probe)).ok()
    }

    /// How a program ended that an earlier life began as this attempt, and when; none if nobody who attended to it could say so.
    pub(in crate::scheduler) fn left(
        &self,
        kind: &OpKind,
        document: &VisitDocument,
    ) -> Option<(JobEnd, Wall)> {
        let (mark, of) = self.program(kind, document)?.mark?;
        let left = mark.left(&of)?;
        let at = left.at();
        let ProgramEnd { failed, output } = left.end();
        Some((JobEnd { failed, output, ..JobEnd::default() }, at))
    }

    /// Waits for a program of a work that an earlier life began; none if it does not run any more.
    pub(in crate::scheduler) fn outlived(
        &self,
        kind: &OpKind,
        document: &VisitDocument,
        (attempt, step, work): (Attempt, Step, usize),
    ) -> Option<Job> {
        let Program { mark, limit, .. } = self.program(kind, document)?;
        let (mark, _) = mark?;
        let running = mark.running().unwrap_or_else(|error| {
            tracing::warn!("it is not known whether a program still runs: {error}");
            None
        });
        let (visit, acts) = (document.execution.visit(), vec![Act::Await(mark, limit)]);
        running?;
        tracing::warn!(
            "visit {visit}: a program that an earlier life began still runs; it is waited for"
        );
        start(acts, (attempt, Purpose::Wait { step, work })).ok()
    }

    /// Takes back what a program has done; none if there is nothing that does.
    pub(in crate::scheduler) fn undo(
        &self,
        kind: &OpKind,
        document: &VisitDocument,
        attempt: Attempt,
    ) -> Option<Result<Job, String>> {
        let program = self.other(kind, document, |program| program.undo.clone())?;
        Some(start(vec![Act::Run(program)], (attempt, Purpose::Step)))
    }

    /// Whether a program has a part in a work.
    pub(in crate::scheduler) fn has_program(&self, kind: &OpKind) -> bool {
        named(kind).is_some_and(|named| self.programs.contains_key(named.name))
    }

    /// Whether there is a program that tells what became of the work.
    pub(in crate::scheduler) fn has_probe(&self, kind: &OpKind) -> bool {
        let program = named(kind).and_then(|named| self.programs.get(named.name));
        program.is_some_and(|program| program.probe.is_some())
    }

    /// Whether there is a program that takes the work back.
    pub(in crate::scheduler) fn has_undo(&self, kind: &OpKind) -> bool {
        let program = named(kind).and_then(|named| self.programs.get(named.name));
        program.is_some_and(|program| program.undo.is_some())
    }

    /// The program that belongs to a work, with its own words.
    fn program(&self, kind: &OpKind, document: &VisitDocument) -> Option<Program> {
        let Named { name, arguments, .. } = named(kind)?;
        let program = self.programs.get(name)?;
        let asked = match kind {
            OpKind::Hook { timeout, .. } => *timeout,
            OpKind::DrainOnly { .. }
            | OpKind::Restart
            | OpKind::CertRotate
            | OpKind::ConfigChange { .. }
            | OpKind::Upgrade { .. }
            | OpKind::Reboot => program.limit,
        };
        Some(Program {
            path: program.program.clone(),
            arguments,
            environment: environment(document),
            limit: asked.min(program.limit),
            mark: self
                .are_attended
                .then(|| (Mark::of(&self.data, &self.gateway, name), run_for(document))),
        })
    }

    /// Another program of the same entry of the list, told the same.
    fn other(
        &self,
        kind: &OpKind,
        document: &VisitDocument,
        which: impl Fn(&HostProgram) -> Option<PathBuf>,
    ) -> Option<Program> {
        let path = which(self.programs.get(named(kind)?.name)?)?;
        Some(Program { path, ..self.program(kind, document)? })
    }
}

fn start(acts: Vec<Act>, of: (Attempt, Purpose)) -> Result<Job, String> {
    Job::start(acts, of).map_err(|error| format!("no_thread: {error}"))
}

/// Whether the process is followed by another on the same host.
fn is_in_place(document: &VisitDocument) -> bool {
    document.execution.course().slot != Some(SlotClass::Drain)
}

/// The attempt of a visit, known by its number and by when it was intended: a visit of the same name may come again.
fn run_for(document: &VisitDocument) -> String {
    let execution = &document.execution;
    let attempt = execution.at().map(|at| at.attempt).unwrap_or_default();
    let record = execution.journal().iter().rev().find(|it| it.attempt == attempt);
    let intent = record.map(|it| it.intent.0).unwrap_or_default();
    format!("{} {attempt} {intent}", execution.visit())
}

fn environment(document: &VisitDocument) -> Vec<(&'static str, String)> {
    let execution = &document.execution;
    vec![
        ("TIDEGATE_GATEWAY", execution.host().to_string()),
        ("TIDEGATE_VISIT", execution.visit().to_string()),
        ("TIDEGATE_PID", std::process::id().to_string()),
    ]
}

/// The program that a work is done by, if it is done by one.
fn named(kind: &OpKind) -> Option<Named<'_>> {
    let named = |name, arguments, needed| Some(Named { name, arguments, needed });
    match kind {
        OpKind::DrainOnly { .. } | OpKind::Restart => None,
        OpKind::CertRotate => named("cert-rotate", Vec::new(), false),
        OpKind::ConfigChange { rev } => named("config-change", vec![rev.clone()], false),
        OpKind::Upgrade { to } => named("upgrade", vec![to.clone()], true),
        OpKind::Reboot => named("reboot", Vec::new(), true),
        OpKind::Hook { name, args, .. } => named(name, args.clone(), true),
    }
}
