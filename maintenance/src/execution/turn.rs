//! One reaction in the making.

use protocol::Wall;

use super::event::{Effect, LedgerStep, Reaction};
use super::journal::{End, Ended, StepRecord, keep};
use super::state::{At, Because, Execution, Fault, Phase, Stage, Track};
use super::step::Step;
use crate::ledger::SlotEpoch;

/// Collects what follows from one event.
pub(super) struct Turn {
    pub(super) next: Execution,
    pub(super) now: Wall,
    epoch: Option<SlotEpoch>,
    ledger: Vec<LedgerStep>,
    effects: Vec<Effect>,
}

impl Turn {
    pub(super) fn new(before: &Execution, now: Wall) -> Self {
        let (ledger, effects) = (Vec::new(), Vec::new());
        Self { next: before.clone(), now, epoch: before.epoch, ledger, effects }
    }

    pub(super) fn react(self) -> Reaction {
        let Self { next, epoch, ledger, effects, .. } = self;
        Reaction { next, epoch, ledger, effects }
    }

    pub(super) fn ask(&mut self, step: LedgerStep) {
        self.ledger.push(step);
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Begins a step: its intent is in the state that is stored before anything is done.
    pub(super) fn enter(&mut self, track: Track, place: usize, tries: u32) {
        let Some(planned) = self.next.planned(&track, place) else { return self.arrive(&track) };
        let step = planned.step;
        if step == Step::Away && self.next.came_back(planned.work) {
            return self.enter(track, place + 1, 1);
        }
        self.ask_before(step, &track, place);
        if track == Track::Forward {
            self.next.reached = self.next.reached.max(place);
        }
        self.next.attempts += 1;
        let attempt = self.next.attempts;
        self.note(StepRecord {
            track: track.clone(),
            place,
            step,
            work: planned.work,
            attempt,
            epoch: self.next.epoch,
            life: self.next.life,
            intent: self.now,
            outcome: None,
            output: None,
        });
        let deadline = self.now.after(planned.limit);
        let (since, phase, forced) = (self.now, Phase::Begun, false);
        let at = At { track, place, attempt, tries, since, deadline, phase, forced };
        self.next.stage = Stage::Going(at);
        if step.is_run() {
            self.effect(Effect::Run { step, work: planned.work, attempt });
        }
        if step == Step::Warm {
            self.effect(Effect::Admit(self.next.course.warming.admit(std::time::Duration::ZERO)));
        }
    }

    /// Notes how an attempt ended.
    pub(super) fn close(&mut self, at: &At, end: End) {
        let ended = Ended { at: self.now, end };
        let open = |record: &&mut StepRecord| record.attempt == at.attempt;
        if let Some(record) = self.next.journal.iter_mut().find(open) {
            record.outcome.get_or_insert(ended);
        }
    }

    /// Notes what a program said that was run as the attempt.
    pub(super) fn said(&mut self, attempt: u32, output: &str) {
        let of = |record: &&mut StepRecord| record.attempt == attempt;
        if let Some(record) = self.next.journal.iter_mut().find(of) {
            record.output = Some(output.to_owned());
        }
    }

    /// What was intended in a life before is done in this one: only a later one has come back from it.
    pub(super) fn belongs_to_this_life(&mut self, at: &At) {
        let life = self.next.life;
        let open = |record: &&mut StepRecord| record.attempt == at.attempt;
        if let Some(record) = self.next.journal.iter_mut().find(open) {
            record.life = life;
        }
    }

    /// Goes on behind a step that has ended, unless the visit is paused.
    pub(super) fn advance(&mut self, at: &At) {
        if self.next.paused && at.track == Track::Forward {
            self.next.stage = Stage::Going(At { phase: Phase::Between, ..at.clone() });
            return;
        }
        self.enter(at.track.clone(), at.place + 1, 1);
    }

    /// Turns back: what was begun is undone. A slot whose drain was never allowed to start is handed back.
    pub(super) fn turn_back(&mut self, because: Because) {
        self.next.paused = false;
        if !self.next.started && !self.next.crossed {
            if self.next.epoch.is_some() {
                self.ask(LedgerStep::HandBack);
            }
            return self.end_back(&because);
        }
        match because {
            Because::Failed { .. } | Because::TimedOut => self.ask_failure(),
            Because::Cancelled { .. }
            | Because::WindowEnd
            | Because::Refused { .. }
            | Because::Declined { .. } => {}
        }
        let reached = self.next.reached;
        self.enter(Track::Back { reached, because }, 0, 1);
    }

    /// Leaves it to a person; the slot stays.
    pub(super) fn fault(&mut self, at: &At, fault: Fault) {
        match fault {
            Fault::Failed { .. } | Fault::Lost | Fault::Unknown => self.ask_failure(),
            Fault::TimedOut => {}
        }
        self.next.stage = Stage::NeedsOperator { at: at.clone(), fault };
        self.effect(Effect::Page);
    }

    /// Ends a step that runs, if it is one that does.
    pub(super) fn stop(&mut self, at: &At) {
        let planned = self.next.planned(&at.track, at.place);
        if let Some(step) = planned.map(|planned| planned.step).filter(|step| step.is_run()) {
            self.effect(Effect::Stop { step, attempt: at.attempt });
        }
    }

    /// The slot is given back, or asked to be.
    pub(super) fn release(&mut self, at: &At) {
        self.ask(LedgerStep::Release);
        self.close(at, End::Done);
        match &at.track {
            Track::Forward => self.finish(Stage::Done),
            Track::Back { because, .. } => self.end_back(because),
        }
    }

    /// What was not allowed any more is left out, past the point of no return: the host is brought back.
    pub(super) fn leave_out_works(&mut self, at: &At, why: &str) {
        self.close(at, End::Done);
        let works = |step: Step| matches!(step, Step::Operate | Step::Away);
        let steps = self.next.course.steps.clone();
        let mut place = at.place + 1;
        while let Some(planned) = steps.get(place).filter(|planned| works(planned.step)) {
            self.next.attempts += 1;
            self.note(StepRecord {
                track: Track::Forward,
                place,
                step: planned.step,
                work: planned.work,
                attempt: self.next.attempts,
                epoch: self.next.epoch,
                life: self.next.life,
                intent: self.now,
                outcome: Some(Ended { at: self.now, end: End::Refused { why: why.to_owned() } }),
                output: None,
            });
            place += 1;
        }
        self.enter(Track::Forward, place, 1);
    }

    pub(super) fn finish(&mut self, stage: Stage) {
        self.next.stage = stage;
        self.next.paused = false;
    }

    /// Notes the failure of a visit that holds a slot.
    pub(super) fn ask_failure(&mut self) {
        if self.next.epoch.is_some() {
            self.ask(LedgerStep::Fail);
        }
    }

    /// The ledger is asked when the host is disturbed first, and before each step that cannot be taken back.
    fn ask_before(&mut self, step: Step, track: &Track, place: usize) {
        let remaining = self.next.course.remaining(place);
        let checked = self.next.course.is_checked();
        let disturbs = step != Step::PreCheck;
        let forward = *track == Track::Forward && self.next.started;
        let again = forward && self.next.begins_in_another_life(place);
        if checked && (disturbs && !self.next.started || again) {
            self.ask(LedgerStep::Start { remaining });
            self.next.started = true;
        }
        if step.is_irreversible() {
            if checked {
                self.ask(LedgerStep::Cross { remaining });
            }
            self.next.crossed = true;
        }
    }

    /// Behind the last step of a track.
    fn arrive(&mut self, track: &Track) {
        match track {
            Track::Forward => self.finish(Stage::Done),
            Track::Back { because, .. } => self.end_back(because),
        }
    }

    /// The host is as before. What was not called off is planned anew.
    fn end_back(&mut self, because: &Because) {
        let stage = match because {
            Because::Cancelled { .. } => Stage::Cancelled,
            Because::Failed { code } => Stage::Failed { code: code.clone() },
            Because::WindowEnd
            | Because::TimedOut
            | Because::Refused { .. }
            | Because::Declined { .. } => Stage::Planned,
        };
        if stage == Stage::Planned {
            (self.next.epoch, self.next.opening, self.next.started) = (None, None, false);
            self.next.reached = 0;
        }
        self.finish(stage);
    }

    fn note(&mut self, record: StepRecord) {
        keep(&mut self.next.journal, record);
    }
}

impl Execution {
    /// Whether the host is disturbed for the first time in a life that follows one which was disturbed.
    fn begins_in_another_life(&self, place: usize) -> bool {
        let mut before = self.journal.iter().rev();
        let first = |old: &&StepRecord| old.track == Track::Forward && old.place == place;
        let before = before.find(first).map(|old| old.life);
        !self.crossed && place == 1 && before.is_some_and(|before| before < self.life)
    }

    /// Whether the host has come back from a work in a new life.
    pub(super) fn came_back(&self, work: usize) -> bool {
        let sent = self.journal.iter().rev();
        let mut sent = sent.filter(|old| old.step == Step::Operate && old.work == work);
        sent.next().is_some_and(|sent| sent.life < self.life)
    }
}
