//! What people want of a visit.

use super::event::{Effect, Ignored, LedgerStep, Order};
use super::journal::End;
use super::state::{At, Because, Execution, Fault, Phase, Stage, Track};
use super::step::Step;
use super::turn::Turn;

impl Execution {
    pub(super) fn on_order(&self, by: &str, order: &Order, turn: &mut Turn) -> Result<(), Ignored> {
        let (at, fault) = match &self.stage {
            Stage::Going(at) => (at, None),
            Stage::NeedsOperator { at, fault } => (at, Some(fault)),
            Stage::Planned | Stage::Approved => {
                return self.call_off_early(order, turn);
            }
            Stage::Done | Stage::Cancelled | Stage::Failed { .. } | Stage::WrittenOff => {
                return Err(Ignored::Over);
            }
        };
        let step = self.planned(&at.track, at.place).ok_or(Ignored::NotNow)?.step;
        match order {
            Order::Pause => self.pause(at, step, turn),
            Order::Resume => self.resume(at, step, fault, turn),
            Order::Abort => self.abort(by, at, step, turn),
            Order::Extend => self.extend(at, step, fault, turn),
            Order::ForceRest if step == Step::Drain && !at.forced => {
                self.extend(&At { forced: true, ..at.clone() }, step, fault, turn)?;
                turn.effect(Effect::ForceRest);
                Ok(())
            }
            Order::Retry if fault.is_some() => {
                turn.close(at, End::Stopped);
                let again = if at.phase == Phase::Between { at.place + 1 } else { at.place };
                turn.enter(at.track.clone(), again, 1);
                Ok(())
            }
            Order::Skip if fault.is_some() => self.skip(by, at, step, turn),
            Order::WriteOff { reason } => {
                turn.close(at, End::Stopped);
                turn.stop(at);
                if self.epoch.is_some() {
                    let (actor, reason) = (by.to_owned(), reason.clone());
                    turn.ask(LedgerStep::WriteOff { actor, reason });
                }
                turn.finish(Stage::WrittenOff);
                Ok(())
            }
            Order::ForceRest | Order::Retry | Order::Skip => Err(Ignored::NotNow),
        }
    }

    /// Nothing has begun: there is nothing to take back.
    fn call_off_early(&self, order: &Order, turn: &mut Turn) -> Result<(), Ignored> {
        match order {
            Order::Abort => turn.finish(Stage::Cancelled),
            Order::Pause
            | Order::Resume
            | Order::Extend
            | Order::ForceRest
            | Order::Retry
            | Order::Skip
            | Order::WriteOff { .. } => return Err(Ignored::NotNow),
        }
        Ok(())
    }

    fn pause(&self, at: &At, step: Step, turn: &mut Turn) -> Result<(), Ignored> {
        if self.paused || at.track != Track::Forward {
            return Err(Ignored::NotNow);
        }
        turn.next.paused = true;
        if step == Step::Drain {
            turn.effect(Effect::Hold);
        }
        Ok(())
    }

    /// Goes on. A drain has as much time as at its beginning.
    fn resume(
        &self,
        at: &At,
        step: Step,
        fault: Option<&Fault>,
        turn: &mut Turn,
    ) -> Result<(), Ignored> {
        if !self.paused {
            return Err(Ignored::NotNow);
        }
        turn.next.paused = false;
        if at.phase == Phase::Between {
            turn.advance(at);
        } else if step == Step::Drain {
            self.extend(at, step, fault, turn)?;
            if fault.is_none() {
                turn.effect(Effect::Continue);
            }
        }
        Ok(())
    }

    fn abort(&self, by: &str, at: &At, step: Step, turn: &mut Turn) -> Result<(), Ignored> {
        if self.crossed {
            return Err(Ignored::PastReturn);
        }
        if at.track != Track::Forward || !self.may_turn_back(step) {
            return Err(Ignored::NotNow);
        }
        turn.close(at, End::Stopped);
        turn.stop(at);
        turn.turn_back(Because::Cancelled { by: by.to_owned() });
        Ok(())
    }

    /// As much time again, from now; at most until the window ends as long as the visit could turn back.
    fn extend(
        &self,
        at: &At,
        step: Step,
        fault: Option<&Fault>,
        turn: &mut Turn,
    ) -> Result<(), Ignored> {
        if fault.is_some_and(|fault| *fault != Fault::TimedOut) || at.phase == Phase::Between {
            return Err(Ignored::NotNow);
        }
        if fault.is_some() && !step.is_repeatable() {
            return Err(Ignored::Ended);
        }
        let planned = self.planned(&at.track, at.place).ok_or(Ignored::NotNow)?;
        let mut deadline = turn.now.after(planned.limit);
        if !step.is_repeatable() {
            // The host may have said that it takes longer.
            deadline = deadline.max(at.deadline);
        }
        if let Some(opening) = self.opening.filter(|_| self.may_turn_back(step) && !self.crossed) {
            deadline = deadline.min(opening.to);
        }
        turn.next.stage = Stage::Going(At { deadline, ..at.clone() });
        if fault.is_some() && step == Step::Drain {
            turn.effect(Effect::Continue);
        }
        Ok(())
    }

    fn skip(&self, by: &str, at: &At, step: Step, turn: &mut Turn) -> Result<(), Ignored> {
        if !step.may_be_skipped() {
            return Err(Ignored::NotSkipped);
        }
        turn.stop(at);
        turn.close(at, End::Skipped { by: by.to_owned() });
        if step == Step::Verify && self.course.slot.is_some() {
            // Somebody vouches for the host in his own name.
            turn.ask(LedgerStep::Verify(self.life));
        }
        let mut at = at.clone();
        let away = |place| self.planned(&at.track, place).is_some_and(|p| p.step == Step::Away);
        if step == Step::Operate && away(at.place + 1) {
            at.place += 1;
        }
        turn.advance(&at);
        Ok(())
    }
}
