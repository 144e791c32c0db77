//! The steps of a visit on this host: how each is begun, what shows that it has ended, and what it left behind.

use maintenance::Outcome;
use maintenance::execution::{Found, Report, Step, Track};
use maintenance::ledger::SlotClass;
use maintenance::operation::{Class, OpKind};
use protocol::Wall;

use super::document::VisitDocument;
use crate::control::{ControlError, GatewayState};
use crate::scheduler::thread::Scheduler;
use crate::service::{ServiceAsk, VisitAsk, VisitedState};

impl Scheduler {
    /// Begins a step. What ends at once, and what cannot be begun, is reported with the next look.
    pub(super) fn run_step(&mut self, step: Step, work: usize, document: &VisitDocument) {
        let begun = match step {
            Step::Announce => {
                let until = Wall(u64::MAX);
                let until = self.window_end(document).unwrap_or(until);
                self.ask_visited(VisitAsk::Drain(document.drain.clone(), until)).map(drop)
            }
            Step::Undrain => self.ask_visited(VisitAsk::Serve).map(drop),
            Step::Operate => {
                self.body.report = Some(operate(work, document));
                Ok(())
            }
            Step::PreCheck
            | Step::Drain
            | Step::HandOff
            | Step::Quiesced
            | Step::Hold
            | Step::PreHook
            | Step::Away
            | Step::PostHook
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release
            | Step::UndoHook => Ok(()),
        };
        // A housekeeper that does not answer in time has been told all the same: what it does is seen.
        if let Err(why @ (ControlError::Refused(_) | ControlError::WrongState(_))) = begun {
            tracing::warn!("visit {}: {step:?} cannot begin: {why}", document.execution.visit());
            self.body.report = Some(failed("refused"));
        }
    }

    /// Whether the step that the visit is at has ended.
    pub(super) fn ended(&mut self, document: &VisitDocument) -> Option<Report> {
        if self.body.report.is_some() {
            return self.body.report.clone();
        }
        let step = document.execution.step()?;
        match step {
            Step::PreCheck => Some(match cannot(document) {
                None => done(),
                Some(code) => failed(code),
            }),
            Step::Announce | Step::Drain | Step::Quiesced | Step::Undrain => {
                let seen = self.ask_visited(VisitAsk::Look).ok()?;
                drained(step, &seen)
            }
            // The lease is given away as soon as this gateway does not serve, if anybody else does.
            Step::HandOff => self.watch.held(self.shared.now().mono).is_none().then(done),
            Step::Verify => self.is_sound(document).then(done),
            Step::PreHook | Step::PostHook | Step::UndoHook => Some(done()),
            Step::Operate | Step::Hold | Step::Away | Step::Warm | Step::Soak | Step::Release => {
                None
            }
        }
    }

    /// What became of a step that this life has not begun.
    pub(super) fn probe(&self, step: Step, work: usize, document: &VisitDocument) -> Found {
        match step {
            Step::Announce | Step::Drain => match self.ask_visited(VisitAsk::Look) {
                // Whoever serves has nothing of a drain; another life's is gone with it.
                Ok(VisitedState { state: GatewayState::Serving, .. }) => Found::NotStarted,
                Ok(_) => Found::Running,
                Err(_) => Found::Unknown,
            },
            Step::Operate => self.probe_work(work, document),
            Step::PreCheck
            | Step::HandOff
            | Step::Quiesced
            | Step::Hold
            | Step::PreHook
            | Step::Away
            | Step::PostHook
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release
            | Step::UndoHook
            | Step::Undrain => Found::NotStarted,
        }
    }

    /// Work that another life began is done if it was to end that life.
    fn probe_work(&self, work: usize, document: &VisitDocument) -> Found {
        let begun_here = self.begun_in_this_life(document);
        match document.operation(work).map(|operation| &operation.kind) {
            Some(OpKind::Restart) if !begun_here => Found::Done { verdict: None },
            Some(_) | None if begun_here => Found::NotStarted,
            Some(_) | None => Found::Unknown,
        }
    }

    /// Whether the step that the visit is at was intended for this life of its host.
    fn begun_in_this_life(&self, document: &VisitDocument) -> bool {
        let Some(at) = document.execution.at() else { return false };
        let mut journal = document.execution.journal().iter().rev();
        let record = journal.find(|record| record.attempt == at.attempt);
        record.is_some_and(|record| record.life == self.speaker.facts.incarnation)
    }

    /// Ends the process, if that is the work: its next life goes on. Answers whether it ends.
    pub(super) fn goes_away(&mut self, document: &VisitDocument) -> bool {
        let execution = &document.execution;
        let forward = execution.at().filter(|at| at.track == Track::Forward);
        let work = forward.and_then(|at| execution.course().steps.get(at.place)).map(|it| it.work);
        let kind = work.and_then(|work| document.operation(work)).map(|it| &it.kind);
        let leaves = kind == Some(&OpKind::Restart) && !execution.is_paused();
        if leaves {
            tracing::info!("visit {} starts this gateway again", execution.visit());
            self.body.is_leaving = true;
            self.again.notify_one();
        }
        leaves
    }

    /// Whether this life works as it should: it has read what it needs, knows its peers' interest, and can write.
    fn is_sound(&self, document: &VisitDocument) -> bool {
        let drained = document.execution.course().slot == Some(SlotClass::Drain);
        let ready = match self.state.get() {
            GatewayState::Serving => true,
            GatewayState::Quiesced => drained,
            GatewayState::Starting
            | GatewayState::Announced
            | GatewayState::Refusing
            | GatewayState::Moving
            | GatewayState::Stopping => false,
        };
        ready && self.metrics.process().store_writable.get() == 1
    }

    pub(super) fn ask_visited(&self, ask: VisitAsk) -> Result<VisitedState, ControlError> {
        let silent = || ControlError::Unavailable("the housekeeper does not answer".into());
        let answer = self.shared.service.ask(|answer| ServiceAsk::Visit(ask, answer));
        answer.unwrap_or_else(|| Err(silent()))
    }

    /// When the window of a visit ends: as its slot says, or earlier if it was cut since the grant.
    fn window_end(&mut self, document: &VisitDocument) -> Option<Wall> {
        let (ledger, _) = self.documents.ledger().ok()?;
        let slot = ledger.slot(document.execution.host())?;
        if Some(slot.epoch) != document.execution.epoch() {
            return None;
        }
        let granted = slot.opening.to;
        let Ok(view) = self.view() else { return Some(granted) };
        let host = view.host(document.execution.host());
        let opening = host.and_then(|host| view.law(&ledger).opening(host, &document.planned));
        Some(opening.map_or(granted, |opening| opening.to.min(granted)))
    }
}

/// What a drain shows of a step that waits for it.
fn drained(step: Step, seen: &VisitedState) -> Option<Report> {
    let VisitedState { state, verdict } = *seen;
    let serves = state == GatewayState::Serving;
    let quiesced = state == GatewayState::Quiesced;
    match step {
        Step::Undrain => serves.then_some(Report::Done { verdict }),
        Step::Quiesced if quiesced => Some(Report::Done { verdict }),
        Step::Quiesced => Some(failed("not_quiesced")),
        // Somebody called it off, or it took too long.
        Step::Announce | Step::Drain if serves => {
            let timed_out = verdict.is_some_and(|it| it.outcome == Outcome::TimedOut);
            Some(failed(if timed_out { "timed_out" } else { "called_off" }))
        }
        Step::Announce => (state != GatewayState::Announced).then(done),
        Step::Drain => quiesced.then(done),
        Step::PreCheck
        | Step::HandOff
        | Step::Hold
        | Step::PreHook
        | Step::Operate
        | Step::Away
        | Step::PostHook
        | Step::Verify
        | Step::Warm
        | Step::Soak
        | Step::Release
        | Step::UndoHook => None,
    }
}

/// Why a host cannot do what a visit wants, if it cannot: better told before anybody is moved.
pub(super) fn cannot(document: &VisitDocument) -> Option<&'static str> {
    let class = document.planned.visit.class;
    document.planned.operations.iter().find_map(|it| not_carried_out(&it.kind, class))
}

/// Why no gateway does this work in this way, for programs; none if they do.
pub(in crate::scheduler) const fn not_carried_out(
    kind: &OpKind,
    class: Class,
) -> Option<&'static str> {
    match (kind, class) {
        (OpKind::DrainOnly { .. } | OpKind::Restart, Class::Drain | Class::Absent) => None,
        (OpKind::DrainOnly { .. } | OpKind::Restart, Class::Hot | Class::InPlace) => {
            Some("in_place_is_not_carried_out")
        }
        (
            OpKind::CertRotate
            | OpKind::ConfigChange { .. }
            | OpKind::Upgrade { .. }
            | OpKind::Reboot
            | OpKind::Hook { .. },
            Class::Hot | Class::InPlace | Class::Drain | Class::Absent,
        ) => Some("work_is_not_carried_out"),
    }
}

/// Does the work. A restart is done by going away, which comes next.
fn operate(work: usize, document: &VisitDocument) -> Report {
    match document.operation(work).map(|operation| &operation.kind) {
        Some(OpKind::Restart) => done(),
        Some(_) | None => failed("work_is_not_carried_out"),
    }
}

const fn done() -> Report {
    Report::Done { verdict: None }
}

fn failed(code: &str) -> Report {
    Report::Failed { code: code.to_owned() }
}
