//! What follows from what happened.

use std::time::Duration;

use protocol::{Incarnation, Wall};

use super::course::{DrainTimeout, PlannedStep, WorkFailure};
use super::event::{Effect, Event, Found, Ignored, LedgerStep, Reaction, Report};
use super::journal::{End, StepRecord};
use super::state::{At, Because, Execution, Fault, Phase, Stage, Track};
use super::step::Step;
use super::turn::Turn;
use crate::ledger::{SlotClass, SlotEpoch};
use crate::verdict::{Counts, Outcome, Verdict};

impl Execution {
    /// What follows from an event. The same state and event always give the same reaction.
    ///
    /// # Errors
    /// [`Ignored`] if nothing follows: there is nothing to store and nothing to do.
    pub fn handle(&self, event: &Event, now: Wall) -> Result<Reaction, Ignored> {
        if self.is_over() {
            return Err(Ignored::Over);
        }
        let mut turn = Turn::new(self, now);
        match event {
            Event::Approved | Event::Granted { .. } | Event::Begin => {
                self.on_way_to_slot(event, &mut turn)?;
            }
            Event::Refused { slot_gone: true, .. } => {
                // The visit is nobody's any more: what it held back serves again.
                turn.effect(Effect::Admit(100));
                turn.finish(Stage::WrittenOff);
            }
            Event::Refused { why, slot_gone: false } => self.on_refused(why, &mut turn)?,
            Event::Frozen { why } => self.on_frozen(why, &mut turn)?,
            Event::Report { epoch, attempt, what } => {
                self.on_report(*epoch, *attempt, what, &mut turn)?;
            }
            Event::Said { attempt, incarnation, output } => {
                let at = self.at().filter(|at| at.attempt == *attempt).ok_or(Ignored::Stale)?;
                self.is_carried_by(*incarnation)?;
                turn.said(at.attempt, output);
            }
            Event::Takes { attempt, incarnation, limit } => {
                let Stage::Going(at) = &self.stage else { return Err(Ignored::NotNow) };
                let at = Some(at).filter(|at| at.attempt == *attempt).ok_or(Ignored::Stale)?;
                self.is_carried_by(*incarnation)?;
                let deadline = at.deadline.max(now.after(*limit));
                turn.next.stage = Stage::Going(At { deadline, ..at.clone() });
            }
            Event::TakenBack { incarnation } => self.on_taken_back(*incarnation, &mut turn)?,
            Event::Restarted { incarnation } => self.on_restarted(*incarnation, &mut turn)?,
            Event::HostLost => self.on_host_lost(&mut turn)?,
            Event::Tick => self.on_tick(&mut turn)?,
            Event::Order { by, order } => self.on_order(by, order, &mut turn)?,
        }
        Ok(turn.react())
    }

    /// Two lives of a host may be there at once while one follows the other.
    fn is_carried_by(&self, incarnation: Incarnation) -> Result<(), Ignored> {
        if self.life == incarnation { Ok(()) } else { Err(Ignored::Stale) }
    }

    fn on_way_to_slot(&self, event: &Event, turn: &mut Turn) -> Result<(), Ignored> {
        match (&self.stage, event) {
            (Stage::Planned, Event::Approved) => turn.next.stage = Stage::Approved,
            (Stage::Approved, Event::Granted { epoch, term, incarnation, opening })
                if self.course.slot.is_some() =>
            {
                turn.next.epoch = Some(*epoch);
                turn.next.term = *term;
                turn.next.life = *incarnation;
                turn.next.opening = Some(*opening);
                turn.enter(Track::Forward, 0, 1);
            }
            (Stage::Approved, Event::Begin) if self.course.slot.is_none() => {
                turn.enter(Track::Forward, 0, 1);
            }
            _ => return Err(Ignored::NotNow),
        }
        Ok(())
    }

    /// The ledger did not take the reaction to the event before. What it was asked follows from where this stands.
    fn on_refused(&self, why: &str, turn: &mut Turn) -> Result<(), Ignored> {
        let Stage::Going(at) = &self.stage else { return Err(Ignored::NotNow) };
        let step = self.planned(&at.track, at.place).map(|planned| planned.step);
        if step == Some(Step::Release) {
            if turn.now < at.deadline {
                return Err(Ignored::NotNow);
            }
            turn.fault(at, Fault::TimedOut);
            return Ok(());
        }
        let refused = || End::Refused { why: why.to_owned() };
        if at.track != Track::Forward {
            turn.fault(at, Fault::Failed { code: why.to_owned() });
        } else if !self.crossed {
            turn.close(at, refused());
            turn.turn_back(Because::Refused { why: why.to_owned() });
        } else if self.planned(&at.track, at.place + 1).is_some_and(|p| p.step == Step::Operate) {
            turn.leave_out_works(at, why);
        } else {
            turn.fault(at, Fault::Failed { code: why.to_owned() });
        }
        Ok(())
    }

    fn on_report(
        &self,
        epoch: Option<SlotEpoch>,
        attempt: u32,
        what: &Report,
        turn: &mut Turn,
    ) -> Result<(), Ignored> {
        let at = self.at().ok_or(Ignored::NotNow)?;
        let going = matches!(self.stage, Stage::Going(_));
        if epoch != self.epoch || attempt != at.attempt || at.phase == Phase::Between {
            return Err(Ignored::Stale);
        }
        let planned = self.planned(&at.track, at.place).ok_or(Ignored::NotNow)?;
        let probing = at.phase == Phase::Probing;
        match what {
            // A late end is as true as one in time.
            Report::Done { verdict } => self.on_done(at, planned, *verdict, turn),
            Report::Failed { code } if going => self.on_failed(at, planned, code, turn),
            // Once it has begun it is no question any more.
            Report::Declined { code, until, preferred }
                if going && planned.step == Step::PreCheck =>
            {
                let end = End::Declined {
                    code: code.clone(),
                    until: *until,
                    preferred: preferred.clone(),
                };
                turn.close(at, end);
                turn.turn_back(Because::Declined { code: code.clone() });
            }
            Report::Found(found) if going && probing => self.on_found(at, planned, found, turn),
            Report::Failed { .. } | Report::Declined { .. } | Report::Found(_) => {
                return Err(Ignored::NotNow);
            }
        }
        Ok(())
    }

    pub(super) fn on_done(
        &self,
        at: &At,
        planned: PlannedStep,
        verdict: Option<Verdict>,
        turn: &mut Turn,
    ) {
        match planned.step {
            Step::Quiesced => match verdict {
                Some(verdict) if verdict.outcome == Outcome::Quiesced => {
                    turn.ask(LedgerStep::Conclude(verdict));
                }
                Some(_) | None => return self.on_failed(at, planned, "not_quiesced", turn),
            },
            // A life that crashed in its drain leaves nobody who could say more.
            Step::Undrain => turn.ask(LedgerStep::Conclude(verdict.unwrap_or(CALLED_OFF))),
            Step::Verify if self.course.slot.is_some() => {
                turn.ask(LedgerStep::Verify(turn.next.life));
            }
            Step::PreCheck
            | Step::Announce
            | Step::Drain
            | Step::HandOff
            | Step::Hold
            | Step::Operate
            | Step::Away
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release
            | Step::UndoHook => {}
        }
        turn.close(at, End::Done);
        turn.advance(at);
    }

    fn on_failed(&self, at: &At, planned: PlannedStep, code: &str, turn: &mut Turn) {
        turn.close(at, End::Failed { code: code.to_owned() });
        if at.tries < planned.tries {
            return turn.enter(at.track.clone(), at.place, at.tries + 1);
        }
        self.give_way(at, planned.step, code, turn);
    }

    /// A step cannot be done: back, as long as everything can be taken back.
    fn give_way(&self, at: &At, step: Step, code: &str, turn: &mut Turn) {
        let code = code.to_owned();
        let forward = at.track == Track::Forward;
        if forward && step == Step::Operate && self.serves_on() {
            turn.turn_back(Because::Failed { code });
        } else if !forward || self.crossed || !self.may_turn_back(step) {
            turn.fault(at, Fault::Failed { code });
        } else if step == Step::PreCheck {
            turn.turn_back(Because::Refused { why: code });
        } else {
            turn.turn_back(Because::Failed { code });
        }
    }

    fn on_found(&self, at: &At, planned: PlannedStep, found: &Found, turn: &mut Turn) {
        let PlannedStep { step, work, .. } = planned;
        match found {
            Found::Done { verdict } => self.on_done(at, planned, *verdict, turn),
            Found::Failed { code } => self.on_failed(at, planned, code, turn),
            Found::Running => {
                turn.belongs_to_this_life(at);
                turn.next.stage = Stage::Going(At { phase: Phase::Begun, ..at.clone() });
                self.remind(at, step, turn);
            }
            Found::NotStarted => {
                turn.belongs_to_this_life(at);
                turn.next.stage = Stage::Going(At { phase: Phase::Begun, ..at.clone() });
                turn.effect(Effect::Run { step, work, attempt: at.attempt });
                self.remind(at, step, turn);
            }
            Found::Unknown if step.is_repeatable() => {
                turn.close(at, End::Unknown);
                turn.enter(at.track.clone(), at.place, at.tries);
            }
            Found::Unknown => turn.fault(at, Fault::Unknown),
        }
    }

    /// What a drain was told before the crash, it may not remember.
    fn remind(&self, at: &At, step: Step, turn: &mut Turn) {
        if step == Step::Drain && at.forced {
            turn.effect(Effect::ForceRest);
        }
        if step == Step::Drain && self.paused {
            turn.effect(Effect::Hold);
        }
    }

    fn on_restarted(&self, incarnation: Incarnation, turn: &mut Turn) -> Result<(), Ignored> {
        if incarnation < self.life {
            return Err(Ignored::Stale);
        }
        self.on_life(incarnation, turn)
    }

    /// A life carries it out from now on, be it the same, a later, or one that was thought to be over.
    fn on_life(&self, incarnation: Incarnation, turn: &mut Turn) -> Result<(), Ignored> {
        let (at, fault) = match &self.stage {
            Stage::Going(at) => (at, None),
            Stage::NeedsOperator { at, fault } => (at, Some(fault)),
            Stage::Planned
            | Stage::Approved
            | Stage::Done
            | Stage::Cancelled
            | Stage::Failed { .. }
            | Stage::WrittenOff => return Err(Ignored::NotNow),
        };
        let reborn = incarnation != self.life;
        turn.next.life = incarnation;
        let planned = self.planned(&at.track, at.place).ok_or(Ignored::NotNow)?;
        let PlannedStep { step, work, limit, .. } = planned;
        let lost = fault == Some(&Fault::Lost);
        // The program that took too long may have ended since, or have done its work before it was ended.
        let late = reborn && fault == Some(&Fault::TimedOut) && !step.is_repeatable();
        let asked = fault.filter(|_| !lost && !late);
        if reborn && at.track == Track::Forward && !self.crossed && step.is_volatile() {
            // What the life before did is gone with it: begin again behind the first look.
            turn.close(at, End::Stopped);
            let at = At { place: 0, phase: Phase::Between, ..at.clone() };
            match asked.cloned() {
                Some(fault) => turn.next.stage = Stage::NeedsOperator { at, fault },
                None => turn.advance(&at),
            }
        } else if reborn
            && let Some(checks) = self.checks_before(at)
            && (asked.is_none() || checks < at.place)
        {
            self.check_again(at, step, checks, turn);
        } else if asked.is_some() {
            // Somebody has to decide in this life, too.
        } else if step == Step::Away && turn.next.came_back(work) {
            self.on_done(at, planned, None, turn);
        } else if step.is_run() && at.phase != Phase::Between {
            // Whoever looks has time to, however long the host was away.
            let more = if step.is_repeatable() { Duration::ZERO } else { limit };
            let deadline = at.deadline.max(turn.now.after(more));
            turn.next.stage = Stage::Going(At { phase: Phase::Probing, deadline, ..at.clone() });
            turn.effect(Effect::Probe { step, work, attempt: at.attempt });
        } else if lost && step != Step::Away {
            turn.next.stage = Stage::Going(at.clone());
        } else if step == Step::Warm {
            turn.effect(Effect::Admit(self.course.warming.admit(at.since.until(turn.now))));
        } else if matches!(step, Step::Soak | Step::Release) && at.track == Track::Forward {
            // The crash may have come between the end of the warming and its last word.
            turn.effect(Effect::Admit(100));
        }
        Ok(())
    }

    /// Where the checks stand that the visit is at, or behind.
    fn checks_before(&self, at: &At) -> Option<usize> {
        let checks = |place: &usize| {
            self.planned(&at.track, *place).is_some_and(|planned| planned.step == Step::Verify)
        };
        (0..=at.place).rev().find(checks)
    }

    /// What the life before passed says nothing about this one. A host that dies while it is watched has failed, and
    /// one that dies again and again is given to a person.
    fn check_again(&self, at: &At, step: Step, checks: usize, turn: &mut Turn) {
        turn.close(at, End::Stopped);
        if step == Step::Soak {
            turn.ask_failure();
        }
        let checked = |record: &&StepRecord| record.step == Step::Verify;
        if self.journal.iter().filter(checked).count() >= CHECKED_LIVES {
            // Nothing that the life before still has to say belongs here.
            turn.next.attempts += 1;
            let attempt = turn.next.attempts;
            let at = At { place: checks, attempt, phase: Phase::Begun, ..at.clone() };
            return turn.fault(&at, Fault::Failed { code: "restarts".to_owned() });
        }
        match checks.checked_sub(1) {
            Some(place) => turn.advance(&At { place, ..at.clone() }),
            None => turn.enter(at.track.clone(), checks, 1),
        }
    }

    /// Whether a host whose work failed is checked and serves: it has its clients, or it takes some again.
    fn serves_on(&self) -> bool {
        self.course.slot != Some(SlotClass::Drain) || self.course.on_failure == WorkFailure::Return
    }

    /// The process that followed in its place is gone after all: if the work was to start it, that has failed; if it was
    /// started for something else, the life before goes on with the visit.
    fn on_taken_back(&self, incarnation: Incarnation, turn: &mut Turn) -> Result<(), Ignored> {
        let at = self.at().ok_or(Ignored::NotNow)?;
        if incarnation >= self.life {
            return Err(Ignored::Stale);
        }
        let in_place = self.course.slot == Some(SlotClass::InPlace);
        if !in_place || !self.crossed || at.track != Track::Forward {
            return self.on_life(incarnation, turn);
        }
        turn.next.life = incarnation;
        turn.next.paused = false;
        turn.close(at, End::Stopped);
        turn.turn_back(Because::Failed { code: "successor_is_gone".to_owned() });
        Ok(())
    }

    fn on_host_lost(&self, turn: &mut Turn) -> Result<(), Ignored> {
        let Stage::Going(at) = &self.stage else { return Err(Ignored::NotNow) };
        let planned = self.planned(&at.track, at.place).ok_or(Ignored::NotNow)?;
        match planned.step {
            // It is expected to go; how long is limited by the step.
            Step::Operate | Step::Away => return Err(Ignored::NotNow),
            Step::PreCheck => {
                turn.close(at, End::Stopped);
                turn.turn_back(Because::Refused { why: "host is lost".to_owned() });
            }
            Step::Announce
            | Step::Drain
            | Step::HandOff
            | Step::Quiesced
            | Step::Hold
            | Step::Verify
            | Step::Warm
            | Step::Soak
            | Step::Release
            | Step::UndoHook
            | Step::Undrain => turn.fault(at, Fault::Lost),
        }
        Ok(())
    }

    fn on_tick(&self, turn: &mut Turn) -> Result<(), Ignored> {
        let at = self.at().ok_or(Ignored::NotNow)?;
        let going = matches!(self.stage, Stage::Going(_));
        let now = turn.now;
        let planned = self.planned(&at.track, at.place).ok_or(Ignored::NotNow)?;
        let step = planned.step;
        if step == Step::Release {
            turn.release(at);
            return Ok(());
        }
        let closed = self.opening.is_some_and(|opening| opening.to <= now);
        if closed && self.can_turn_back() && step != Step::Hold {
            turn.close(at, End::Stopped);
            turn.stop(at);
            turn.turn_back(Because::WindowEnd);
            return Ok(());
        }
        if !going || at.phase == Phase::Between {
            return Err(Ignored::NotNow);
        }
        let over = now >= at.deadline;
        match step {
            Step::Hold if over || closed => self.on_done(at, planned, None, turn),
            Step::Soak if over => self.on_done(at, planned, None, turn),
            Step::Warm => {
                let admit = self.course.warming.admit(at.since.until(now));
                turn.effect(Effect::Admit(admit));
                if admit == 100 {
                    self.on_done(at, planned, None, turn);
                }
            }
            Step::Away if over => turn.fault(at, Fault::Lost),
            Step::Drain if over && !self.paused => self.on_drain_timeout(at, planned, turn),
            Step::Drain | Step::Hold | Step::Soak | Step::Away => return Err(Ignored::NotNow),
            Step::PreCheck
            | Step::Announce
            | Step::HandOff
            | Step::Quiesced
            | Step::Operate
            | Step::Verify
            | Step::Release
            | Step::UndoHook
            | Step::Undrain => {
                if !over {
                    return Err(Ignored::NotNow);
                }
                self.on_timeout(at, step, turn);
            }
        }
        Ok(())
    }

    fn on_timeout(&self, at: &At, step: Step, turn: &mut Turn) {
        turn.stop(at);
        if !self.can_turn_back() {
            return turn.fault(at, Fault::TimedOut);
        }
        turn.close(at, End::TimedOut);
        if step == Step::PreCheck {
            return turn.turn_back(Because::Refused { why: "timed_out".to_owned() });
        }
        turn.turn_back(Because::TimedOut);
    }

    fn on_drain_timeout(&self, at: &At, planned: PlannedStep, turn: &mut Turn) {
        let end = self.opening.map_or(turn.now, |opening| opening.to);
        let deadline = turn.now.after(planned.limit).min(end);
        match self.course.on_timeout {
            DrainTimeout::Extend if deadline > turn.now => {
                turn.next.stage = Stage::Going(At { deadline, ..at.clone() });
            }
            DrainTimeout::ForceRest if !at.forced => {
                turn.next.stage = Stage::Going(At { deadline, forced: true, ..at.clone() });
                turn.effect(Effect::ForceRest);
            }
            DrainTimeout::Ask => {
                turn.effect(Effect::Hold);
                turn.fault(at, Fault::TimedOut);
            }
            DrainTimeout::Undrain | DrainTimeout::Extend | DrainTimeout::ForceRest => {
                self.on_timeout(at, Step::Drain, turn);
            }
        }
    }
}

/// How often a visit checks its host before one that dies once more is given to a person.
const CHECKED_LIVES: usize = 8;

/// The verdict of a drain of which nobody knows more.
const CALLED_OFF: Verdict = Verdict {
    outcome: Outcome::Aborted,
    evidence: Counts {
        connections: 0,
        sessions_owned: 0,
        unacknowledged_forwards: 0,
        unsaved_cursors: 0,
        parked_unsaved_wills: 0,
        moved: 0,
        failed: 0,
    },
    clients: 0,
    moved: 0,
    departed: 0,
    elapsed: Duration::ZERO,
};
