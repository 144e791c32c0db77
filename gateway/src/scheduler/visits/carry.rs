//! The host's side of a visit: it reads its own document and does what that says, one step after the other.
//!
//! What another gateway wrote is taken as a new life would take it: a step that this life has not begun is looked at before it
//! is begun. So an order of an operator and a crash are one path.

use std::time::Duration;

use maintenance::audit::AuditRecord;
use maintenance::execution::{Effect, Event, Fault, Phase, Report, Stage, Step};
use maintenance::fleet::VisitId;
use protocol::Wall;

use super::agrees::told_of_declined;
use super::document::VisitDocument;
use super::outline::Outline;
use super::soak::Watch;
use super::sound::Spoken;
use super::turn::{Said, Turned};
use crate::control::{ControlError, GatewayState};
use crate::scheduler::acts::unavailable;
use crate::scheduler::thread::Scheduler;
use crate::scheduler::works::{Attempt, Job, JobEnd};
use crate::service::VisitAsk;

/// How long after the end of its window a gateway may take to come back before that is counted, in milliseconds.
pub const OVERRUN_MS: u64 = 60_000;

/// What this life of a host knows of its visit.
#[derive(Debug, Default)]
pub(in crate::scheduler) struct Body {
    /// The attempt that this life has begun, or looked at.
    known: Option<Attempt>,
    /// What is to be reported of it.
    pub(super) report: Option<Report>,
    /// Whether the drain was told to move nobody.
    held: bool,
    /// When freezes were looked for last that may call it off, by the steady clock.
    pub(super) looked_for_freezes: Option<Duration>,
    /// The step whose work is to begin, and which work.
    pub(super) intended: Option<(Step, usize)>,
    /// The work that goes on.
    pub(in crate::scheduler) job: Option<Job>,
    /// How it ended, until that is stored.
    pub(super) over: Option<JobEnd>,
    /// What of the configuration was not in force when it was read for a visit.
    pub(super) needs_restart: Vec<String>,
    /// What it has said to its peers to hear it again.
    pub(super) said: Option<Spoken>,
    /// Since when its clients are watched.
    pub(super) watch: Option<Watch>,
    /// Whether the process ends, so that another life goes on.
    pub(in crate::scheduler) is_leaving: bool,
    /// The visit of which it was counted that it goes on behind its window.
    overrun: Option<VisitId>,
    /// Whether it is known that no visit holds this gateway.
    is_free: bool,
    /// Whether it has said that a visit cannot be understood; once is enough.
    is_silent: bool,
}

/// The visit that this host is in the middle of.
enum Own {
    /// This one.
    Visit(Box<VisitDocument>),
    /// There may be one, which this version cannot read.
    Unread(String),
    /// There is none.
    Free,
}

impl Body {
    /// What belongs to other attempts is not reported, and does not go on.
    fn forget(&mut self, attempt: &Attempt) {
        (self.report, self.over, self.intended) = (None, None, None);
        self.job.take_if(|job| job.attempt != *attempt);
    }

    /// What was begun is ended, and what was to begin does not.
    fn stop(&mut self) {
        (self.job, self.over, self.intended) = (None, None, None);
    }
}

impl Scheduler {
    /// Goes on with the visit of this host. Answers whether something happened: then there may be more to do at once.
    pub(in crate::scheduler) fn carry(&mut self) -> Result<bool, ControlError> {
        // A life that begins has to open, or to stay out, before it can be drained or checked.
        let open = !matches!(self.state.get(), GatewayState::Starting | GatewayState::Stopping);
        if self.body.is_leaving || !open {
            return Ok(false);
        }
        let document = match self.own_visit()? {
            Own::Visit(document) => document,
            Own::Unread(key) => {
                self.stay(&key);
                return Ok(false);
            }
            Own::Free => {
                self.body.known = None;
                self.body.stop();
                self.come_free();
                return Ok(false);
            }
        };
        self.body.is_free = false;
        self.count_overrun(&document);
        let execution = &document.execution;
        let Some(at) = execution.at() else { return Ok(false) };
        let incarnation = self.speaker.facts.incarnation;
        if execution.life() > incarnation {
            return self.take_back(&document);
        }
        let known = (execution.visit().clone(), at.attempt);
        // Who was held for lost and is not says so; who is away is expected to be.
        let lost = matches!(execution.stage(), Stage::NeedsOperator { fault: Fault::Lost, .. });
        let lost = lost && execution.step() != Some(Step::Away);
        if lost || self.body.known.as_ref() != Some(&known) {
            self.body.forget(&known);
            return self.happened(&document, &Event::Restarted { incarnation });
        }
        if let Some(frozen) = self.frozen(&document) {
            return self.happened(&document, &frozen);
        }
        self.heed_pause(&document);
        if execution.step() == Some(Step::Away) && self.goes_away(&document) {
            return Ok(false);
        }
        // What could not be stored in time does not begin late.
        let late = self.body.intended.is_some()
            && execution.handle(&Event::Tick, self.shared.now().wall).is_ok();
        let waits = late || at.phase == Phase::Between;
        let ended = if waits { None } else { self.ended(&document) };
        match ended {
            Some(what) => {
                let (epoch, attempt) = (execution.epoch(), at.attempt);
                self.happened(&document, &Event::Report { epoch, attempt, what })
            }
            None if execution.handle(&Event::Tick, self.shared.now().wall).is_ok() => {
                self.happened(&document, &Event::Tick)
            }
            None => Ok(false),
        }
    }

    /// Counts a visit that goes on behind its window, once.
    fn count_overrun(&mut self, document: &VisitDocument) {
        let execution = &document.execution;
        let now = self.shared.now().wall;
        let ended = Wall(now.0.saturating_sub(OVERRUN_MS));
        if execution.is_overdue(ended) && self.body.overrun.as_ref() != Some(execution.visit()) {
            tracing::error!("visit {} goes on behind its window", execution.visit());
            self.metrics.process().window_overruns.add(1);
            self.body.overrun = Some(execution.visit().clone());
        }
    }

    /// A successor has gone on with the visit. If it is gone, this process serves, and goes on with it; work that was to start the
    /// successor has failed.
    fn take_back(&mut self, document: &VisitDocument) -> Result<bool, ControlError> {
        if !self.tools.is_left_alone() {
            return Ok(false);
        }
        if let Some(attempt) = document.attempt() {
            self.body.forget(&attempt);
        }
        let incarnation = self.speaker.facts.incarnation;
        self.happened(document, &Event::TakenBack { incarnation })
    }

    /// A visit can end without its host: it was written off while nobody heard of it.
    fn come_free(&mut self) {
        if !self.body.is_free {
            self.body.is_free = self.ask_visited(VisitAsk::Leave).is_ok();
        }
    }

    /// The visit that this host is in the middle of: that which it goes on with, if there are several.
    fn own_visit(&mut self) -> Result<Own, ControlError> {
        let prefix = VisitDocument::keys_of(&self.id);
        let read = self.documents.with_unread::<VisitDocument>(&prefix).map_err(unavailable)?;
        let (documents, unread) = read;
        let own =
            |it: &VisitDocument| it.execution.at().is_some() && *it.execution.host() == self.id;
        let own: Vec<_> = documents.into_iter().filter(own).collect();
        let known = self.body.known.as_ref().map(|(visit, _)| visit);
        let place = own.iter().position(|it| Some(it.execution.visit()) == known);
        let found = own.into_iter().nth(place.unwrap_or_default());
        let mut unread = unread.into_iter();
        Ok(match (found, unread.find(|(_, value)| Outline::of(value).may_be_going())) {
            (Some(document), _) => Own::Visit(Box::new(document)),
            (None, Some((key, _))) => Own::Unread(key),
            (None, None) => Own::Free,
        })
    }

    /// A version that understands the visit goes on with it: nothing is begun, ended or opened meanwhile.
    fn stay(&mut self, key: &str) {
        self.body.is_free = false;
        if !self.body.is_silent {
            tracing::error!("{key} cannot be understood by this version: its visit stands still");
        }
        self.body.is_silent = true;
    }

    fn happened(&mut self, document: &VisitDocument, event: &Event) -> Result<bool, ControlError> {
        let execution = &document.execution;
        let before = execution.clone();
        let by = format!("host {}", self.id);
        let why = format!("visit {}", execution.visit());
        let attempt = execution.at().map(|at| at.attempt);
        let said = Said { by: &by, why: &why, attempt };
        let told = self.told_of(event, document, &by);
        let (document, effects) = match self.turn_told(execution.visit(), event, said, told)? {
            Turned::Changed(document, effects) => (document, effects),
            Turned::Ignored(why) => {
                tracing::debug!("visit {}: {event:?} changes nothing: {why}", execution.visit());
                self.body.report = None;
                return Ok(false);
            }
        };
        let execution = &document.execution;
        self.body.known = execution.at().map(|at| (execution.visit().clone(), at.attempt));
        self.body.report = None;
        let (visit, stage, step) = (execution.visit(), execution.stage(), execution.step());
        if execution.is_over() {
            tracing::info!("visit {visit} is over: {}", execution.told());
            let metrics = self.metrics.process();
            metrics.visits_over.add(1);
            if let (Stage::Done, Some(took)) = (stage, execution.length()) {
                metrics.count_visit(took, document.planned.visit.phases.exact());
            }
        } else {
            tracing::debug!("visit {visit}: {step:?}");
        }
        // While a host warms up, each look lets a little more in and changes nothing else.
        let changed = *execution != before;
        effects.iter().for_each(|effect| self.perform(effect, &document));
        Ok(changed)
    }

    /// What the audit is told of an event besides what the ledger says to it.
    fn told_of(&self, event: &Event, document: &VisitDocument, by: &str) -> Option<AuditRecord> {
        let (action, after, reason) = if let Event::Frozen { why } = event {
            ("visit.frozen", None, why.clone())
        } else if let Event::Report { what: Report::Declined { code, until, preferred }, .. } =
            event
        {
            let after = told_of_declined(code, *until, preferred);
            ("visit.declined", Some(after), format!("the gateway declines: {code}"))
        } else {
            return None;
        };
        Some(AuditRecord {
            at: self.shared.now().wall,
            actor: by.to_owned(),
            action: action.to_owned(),
            object: format!("visit {}", document.execution.visit()),
            before: None,
            after,
            reason,
        })
    }

    fn perform(&mut self, effect: &Effect, document: &VisitDocument) {
        match *effect {
            Effect::Run { step, work, .. } => self.run_step(step, work, document),
            Effect::Probe { step, work, .. } => {
                self.body.report = self.probe(step, work, document).map(Report::Found);
            }
            // What else was begun is undone by what follows.
            Effect::Stop { .. } => self.body.stop(),
            Effect::Hold => self.hold(true),
            Effect::Continue => self.hold(false),
            Effect::ForceRest => drop(self.ask_visited(VisitAsk::ForceRest)),
            Effect::Admit(percent) if percent >= 100 => drop(self.ask_visited(VisitAsk::Serve)),
            Effect::Admit(percent) => drop(self.ask_visited(VisitAsk::Admit(percent))),
            Effect::Page => {
                let execution = &document.execution;
                tracing::error!("visit {} {}", execution.visit(), execution.told());
                self.metrics.process().visits_paged.add(1);
            }
        }
    }

    /// An operator may have paused the visit, or let it go on, at any gateway.
    fn heed_pause(&mut self, document: &VisitDocument) {
        let drains = document.execution.step() == Some(Step::Drain);
        let held = drains && document.execution.is_paused();
        if held != self.body.held {
            self.hold(held);
        }
    }

    fn hold(&mut self, held: bool) {
        self.body.held = held;
        drop(self.ask_visited(VisitAsk::Hold(held)));
    }
}
