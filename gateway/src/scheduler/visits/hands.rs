//! The steps of a visit on this host: how each is begun, what shows that it has ended, and what it left behind.

use std::time::Duration;

use maintenance::Outcome;
use maintenance::execution::{Found, Report, Step};
use protocol::Wall;

use super::document::VisitDocument;
use super::sound::Sound;
use crate::control::{ControlError, GatewayState};
use crate::scheduler::thread::Scheduler;
use crate::service::{ServiceAsk, VisitAsk, VisitedState};

/// How long checks may take besides what they wait for.
const CHECKS: Duration = Duration::from_secs(60);

impl Scheduler {
    /// Begins a step. What ends at once, and what cannot be begun, is reported with the next look.
    pub(super) fn run_step(&mut self, step: Step, work: usize, document: &VisitDocument) {
        let begun = match step {
            Step::Announce => {
                let until = Wall(u64::MAX);
                let until = self.window_end(document).unwrap_or(until);
                let request = document.drain.clone();
                let spared = self.spared_in(document);
                let campaign = document.campaign();
                self.ask_visited(VisitAsk::Drain { request, until, campaign, spared }).map(drop)
            }
            Step::Undrain => self.ask_visited(VisitAsk::Serve).map(drop),
            Step::Operate | Step::UndoHook => {
                self.intend(step, work, document);
                Ok(())
            }
            // The process before moves its clients in the time that this host gives a drain.
            Step::Verify if self.tools.is_taking_over() => {
                let moves = self.speaker.facts.drain.timeout;
                let longer = self.takes(document, CHECKS + moves.saturating_mul(2));
                // Then the visit's own limit holds.
                longer.map(drop).unwrap_or_else(|why| tracing::debug!("{why}"));
                Ok(())
            }
            Step::PreCheck
            | Step::Drain
            | Step::HandOff
            | Step::Quiesced
            | Step::Hold
            | Step::Away
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release => Ok(()),
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
            Step::PreCheck => {
                let word = self.agrees(document)?;
                // Before it says yes it stores how its clients fare.
                (word != done() || self.notes_fares(document)).then_some(word)
            }
            Step::Announce | Step::Drain | Step::Quiesced | Step::Undrain => {
                let seen = self.ask_visited(VisitAsk::Look).ok()?;
                drained(step, &seen)
            }
            // The lease is given away as soon as this gateway does not serve, if anybody else does.
            Step::HandOff => self.watch.held(self.shared.now().mono).is_none().then(done),
            Step::Verify => match self.soundness(document) {
                Sound::Yes => self.looked(document),
                Sound::NotYet => None,
                Sound::No(code) => Some(failed(&code)),
            },
            Step::Operate | Step::UndoHook => self.worked(document),
            Step::Soak => self.watched(document),
            Step::Hold | Step::Away | Step::Warm | Step::Release => None,
        }
    }

    /// What became of a step that this life has not begun.
    pub(super) fn probe(
        &mut self,
        step: Step,
        work: usize,
        document: &VisitDocument,
    ) -> Option<Found> {
        Some(match step {
            Step::Announce | Step::Drain => match self.ask_visited(VisitAsk::Look) {
                // Whoever serves has nothing of a drain; another life's is gone with it.
                Ok(VisitedState { state: GatewayState::Serving, .. }) => Found::NotStarted,
                Ok(_) => Found::Running,
                Err(_) => Found::Unknown,
            },
            Step::Operate | Step::UndoHook => return self.probe_work(step, work, document),
            Step::PreCheck
            | Step::HandOff
            | Step::Quiesced
            | Step::Hold
            | Step::Away
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release
            | Step::Undrain => Found::NotStarted,
        })
    }

    pub(super) fn ask_visited(&self, ask: VisitAsk) -> Result<VisitedState, ControlError> {
        let answer = self.shared.service.ask(|answer| ServiceAsk::Visit(ask, answer));
        answer.map_err(|silence| silence.of("housekeeper"))?
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
        let despite = document.despite.as_ref();
        let opening = despite.map_or(opening, |it| it.opening(opening, view.now));
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
        | Step::Operate
        | Step::Away
        | Step::Verify
        | Step::Warm
        | Step::Soak
        | Step::Release
        | Step::UndoHook => None,
    }
}

pub(super) const fn done() -> Report {
    Report::Done { verdict: None }
}

pub(super) fn failed(code: &str) -> Report {
    Report::Failed { code: code.to_owned() }
}
