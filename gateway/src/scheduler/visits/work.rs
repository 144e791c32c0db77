//! The work of a visit on this host: begun once that it begins is stored, and looked at until it has ended.

use std::time::Duration;

use maintenance::execution::{End, Event, Found, Report, Stage, Step, StepRecord, Track};
use maintenance::ledger::SlotClass;
use maintenance::operation::{Class, OpKind};

use super::document::VisitDocument;
use super::hands::{done, failed};
use super::turn::{Said, Turned};
use crate::control::ControlError;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::works::{Callers, JobEnd, Purpose, Tools};

/// Before what says in the journal which start of the machine it was.
const BOOT: &str = "boot=";
/// How a program says that it never began.
const NEVER_BEGAN: &str = "exit_1";

impl Scheduler {
    /// Why this host cannot do what a visit wants, if it cannot: better told before anybody is moved.
    pub(super) fn cannot(&self, document: &VisitDocument) -> Option<String> {
        document.planned.operations.iter().find_map(|it| self.tools.lacks(it))
    }

    /// The work begins with the next look.
    pub(super) fn intend(&mut self, step: Step, work: usize, document: &VisitDocument) {
        let kind = document.operation(work).map(|operation| &operation.kind);
        match (step, kind) {
            (Step::UndoHook, Some(kind)) if !self.tools.has_undo(kind) => {
                self.body.report = Some(done());
            }
            (_, None) => self.body.report = Some(failed("unknown_work")),
            (_, Some(_)) => self.body.intended = Some((step, work)),
        }
    }

    /// Begins what is to begin, and tells how it ended, once it has and that is stored.
    pub(super) fn worked(&mut self, document: &VisitDocument) -> Option<Report> {
        let attempt = document.attempt()?;
        if let Some((step, work)) = self.body.intended {
            // While somebody is asked nothing begins.
            let going = matches!(document.execution.stage(), Stage::Going(_));
            let operation = document.operation(work).filter(|_| going)?;
            let kind = &operation.kind;
            // Another life may carry it out by now: then nothing begins here.
            let heard = self.takes(document, self.tools.takes(kind, document)).ok()?;
            // Whoever finds no word of it knows that it never began.
            let boot = self.tools.boot().filter(|_| kind.class() == Class::Absent);
            let word = boot.map(|boot| format!("{BOOT}{boot}\n")).unwrap_or_default();
            if !heard || !self.say(document, word).ok()? {
                return None;
            }
            self.body.intended = None;
            let begun = if step == Step::UndoHook {
                self.tools.undo(kind, document, attempt.clone())?
            } else {
                self.tools.begin(operation, document, attempt.clone())
            };
            match begun {
                Ok(job) => self.body.job = Some(job),
                Err(code) => return Some(failed(&code)),
            }
        }
        let job = self.body.job.as_ref().filter(|job| job.attempt == attempt)?;
        if self.body.over.is_none() {
            self.body.over = job.ended();
        }
        let (over, purpose) = (self.body.over.clone()?, job.purpose);
        if purpose == Purpose::Step {
            self.tell_end(document, &over).ok()?;
            let process = self.metrics.process();
            let ended =
                if over.failed.is_none() { &process.works_done } else { &process.works_failed };
            ended.add(1);
        }
        (self.body.job, self.body.over) = (None, None);
        Some(match (purpose, over.failed) {
            (Purpose::Wait { step, work }, None) => {
                return self.probe_work(step, work, document).map(Report::Found);
            }
            (Purpose::Wait { .. }, Some(_)) => Report::Found(Found::Unknown),
            (Purpose::Step, None) => {
                self.body.needs_restart = over.needs_restart;
                done()
            }
            (Purpose::Step, Some(code)) => failed(&code),
            (Purpose::Probe, None) => Report::Found(Found::Done { verdict: None }),
            (Purpose::Probe, Some(code)) if code == NEVER_BEGAN => Report::Found(Found::NotStarted),
            (Purpose::Probe, Some(_)) => Report::Found(Found::Unknown),
        })
    }

    /// Looks at this host from outside, and tells how it is seen.
    pub(super) fn looked(&mut self, document: &VisitDocument) -> Option<Report> {
        let attempt = document.attempt()?;
        let Some(job) = self.body.job.as_ref().filter(|job| job.attempt == attempt) else {
            let callers = Callers::of(&self.shared, &self.id);
            match self.tools.look(attempt, (self.shared.tables.trials(), callers)) {
                Ok(job) => self.body.job = Some(job),
                Err(code) => return Some(failed(&code)),
            }
            return None;
        };
        if self.body.over.is_none() {
            self.body.over = job.ended();
        }
        let over = self.body.over.clone()?;
        // What was seen is stored before what follows from it.
        self.tell_seen(document, &over).ok()?;
        (self.body.job, self.body.over) = (None, None);
        Some(over.failed.map_or_else(done, |code| failed(&code)))
    }

    /// What was seen from outside, in the journal and in the log.
    fn tell_seen(&mut self, document: &VisitDocument, over: &JobEnd) -> Result<(), ControlError> {
        let (visit, said) = (document.execution.visit(), over.output.trim_end());
        match &over.failed {
            Some(code) => tracing::warn!("visit {visit}: the host is not sound: {code}: {said}"),
            None => tracing::info!("visit {visit}: {said}"),
        }
        self.say(document, said.to_owned()).map(drop)
    }

    /// The last words of a work, in the journal and in the log.
    fn tell_end(&mut self, document: &VisitDocument, over: &JobEnd) -> Result<(), ControlError> {
        let (visit, said) = (document.execution.visit(), over.output.trim_end());
        if let Some(code) = &over.failed {
            tracing::error!("visit {visit}: its work failed: {code}: {said}");
        }
        if said.is_empty() {
            return Ok(());
        }
        let attempt = document.execution.at().map(|at| at.attempt);
        let record = document.execution.journal().iter().rev();
        let boot = record.filter(|it| Some(it.attempt) == attempt).find_map(boot_of);
        let boot = boot.map(|boot| format!("{BOOT}{boot}\n")).unwrap_or_default();
        self.say(document, format!("{boot}{said}")).map(drop)
    }

    /// Stores what is to be known of the attempt besides how it ends. False if it is not this life's any more.
    pub(super) fn say(
        &mut self,
        document: &VisitDocument,
        output: String,
    ) -> Result<bool, ControlError> {
        let Some(at) = document.execution.at() else { return Ok(false) };
        let (attempt, incarnation) = (at.attempt, self.speaker.facts.incarnation);
        self.tell(document, attempt, &Event::Said { attempt, incarnation, output })
    }

    fn tell(
        &mut self,
        document: &VisitDocument,
        attempt: u32,
        event: &Event,
    ) -> Result<bool, ControlError> {
        let execution = &document.execution;
        let (by, why) = (format!("host {}", self.id), format!("visit {}", execution.visit()));
        let said = Said { by: &by, why: &why, attempt: Some(attempt) };
        let turned = self.turn(execution.visit(), event, said)?;
        Ok(match turned {
            Turned::Changed(..) => true,
            Turned::Ignored(_) => false,
        })
    }

    /// Stores how long the attempt may take from now on, by what is configured here. False if it is not this life's any more.
    pub(super) fn takes(
        &mut self,
        document: &VisitDocument,
        limit: Duration,
    ) -> Result<bool, ControlError> {
        let Some(at) = document.execution.at() else { return Ok(false) };
        let (attempt, incarnation) = (at.attempt, self.speaker.facts.incarnation);
        self.tell(document, attempt, &Event::Takes { attempt, incarnation, limit })
    }

    /// What became of work that another life began; none if a program is asked that will tell.
    pub(super) fn probe_work(
        &mut self,
        step: Step,
        work: usize,
        document: &VisitDocument,
    ) -> Option<Found> {
        let attempt = document.attempt()?;
        if self.body.job.as_ref().is_some_and(|job| job.attempt == attempt) {
            return Some(Found::Running);
        }
        let Some(kind) = document.operation(work).map(|operation| &operation.kind) else {
            return Some(Found::Unknown);
        };
        let record = document.execution.journal().iter().rev().find(|it| it.attempt == attempt.1);
        let Some(record) = record.filter(|record| record.output.is_some()) else {
            return Some(Found::NotStarted);
        };
        let waits = (attempt.clone(), step, work);
        if let Some(job) = self.tools.outlived(kind, document, waits) {
            // Twice: for that, and for what tells how it ended.
            if let Err(why) = self.takes(document, 2 * self.tools.takes(kind, document)) {
                tracing::debug!("the visit's own limit holds: {why}");
            }
            self.body.job = Some(job);
            return None;
        }
        if let Some(found) = self.found_left(step, kind, document) {
            return Some(found);
        }
        if step == Step::UndoHook {
            return Some(Found::Unknown);
        }
        if record.life < self.speaker.facts.incarnation && self.has_come_back(kind, record) {
            return Some(Found::Done { verdict: None });
        }
        match self.tools.probe(kind, document, attempt) {
            Some(job) => {
                self.body.job = Some(job);
                None
            }
            None => Some(Found::Unknown),
        }
    }

    /// How the program ended that another life began, if that was left behind and says what became of the work.
    fn found_left(&mut self, step: Step, kind: &OpKind, document: &VisitDocument) -> Option<Found> {
        let (end, at) = self.tools.left(kind, document)?;
        let before = at.0 < self.speaker.facts.incarnation.0;
        let says = end.failed.is_some() || step == Step::UndoHook || is_all(kind, before);
        tracing::info!(
            "visit {}: its program has ended at {} ms: {}",
            document.execution.visit(),
            at.0,
            end.failed.as_deref().unwrap_or("exit_0"),
        );
        if !says {
            return None;
        }
        if let Err(why) = self.tell_end(document, &end) {
            tracing::warn!("what its program said last is not stored: {why}");
        }
        Some(end.failed.map_or(Found::Done { verdict: None }, |code| Found::Failed { code }))
    }

    /// Whether this life is what work in an earlier one was to lead to.
    fn has_come_back(&self, kind: &OpKind, record: &StepRecord) -> bool {
        match kind {
            OpKind::Restart => true,
            OpKind::Upgrade { to } => self.tools.has_followed() || to == Tools::version(),
            OpKind::Reboot => self.has_rebooted(record),
            // What is read again is read at the start, too.
            OpKind::CertRotate | OpKind::ConfigChange { .. } => !self.tools.has_program(kind),
            // Its gateway may have died of something else.
            OpKind::Hook { .. } => {
                let goes = kind.class() == Class::Absent && !self.tools.has_probe(kind);
                goes && self.has_rebooted(record)
            }
            OpKind::DrainOnly { .. } => false,
        }
    }

    /// Whether the machine was started since; nobody knows where nothing says which start it is.
    pub(super) fn has_rebooted(&self, record: &StepRecord) -> bool {
        let (before, now) = (boot_of(record), self.tools.boot());
        before.is_some() && now.is_some() && before != now.as_deref()
    }

    /// Ends the process, if that is the work: its next life goes on. Answers whether it ends.
    pub(super) fn goes_away(&mut self, document: &VisitDocument) -> bool {
        let execution = &document.execution;
        let forward = execution.at().filter(|at| at.track == Track::Forward);
        let work = forward.and_then(|at| execution.course().steps.get(at.place)).map(|it| it.work);
        let kind = work.and_then(|work| document.operation(work)).map(|it| &it.kind);
        let ends = match kind {
            Some(OpKind::Restart | OpKind::Upgrade { .. }) => true,
            // The program that it ran ends it.
            Some(
                OpKind::DrainOnly { .. }
                | OpKind::CertRotate
                | OpKind::ConfigChange { .. }
                | OpKind::Reboot
                | OpKind::Hook { .. },
            )
            | None => false,
        };
        let drained = execution.course().slot == Some(SlotClass::Drain);
        let leaves = ends && drained && !execution.is_paused();
        if leaves {
            tracing::info!("visit {} starts this gateway again", execution.visit());
            self.body.is_leaving = true;
            self.again.notify_one();
        }
        leaves
    }
}

/// Whether a program that ended well, before this life began or since, was all there was to do.
fn is_all(kind: &OpKind, before: bool) -> bool {
    match kind {
        OpKind::Hook { .. } => kind.class() != Class::Absent,
        // What it changed is read at the start.
        OpKind::CertRotate | OpKind::ConfigChange { .. } => before,
        OpKind::Restart | OpKind::Upgrade { .. } | OpKind::Reboot | OpKind::DrainOnly { .. } => {
            false
        }
    }
}

/// Which start of the machine it was, if the record says so.
fn boot_of(record: &StepRecord) -> Option<&str> {
    record.output.as_deref()?.lines().next()?.strip_prefix(BOOT)
}

/// The last attempt of a work, if it was done.
pub(super) fn worked_as(document: &VisitDocument, work: usize) -> Option<&StepRecord> {
    let journal = document.execution.journal().iter().rev();
    let last = journal.into_iter().find(|it| it.step == Step::Operate && it.work == work)?;
    let is_done = last.outcome.as_ref().is_some_and(|outcome| outcome.end == End::Done);
    is_done.then_some(last)
}
