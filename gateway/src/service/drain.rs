//! The hands of a drain: what [`DrainMachine`] decides is done here, and what is here is counted for it.

use std::time::Duration;

use maintenance::ledger::Asked;
use maintenance::{
    Counts, CreditAsk, CreditTotals, DrainMachine, DrainPace, DrainPlan, DrainStage, DrainStep,
    Ledger, MoveWishes, SlotEpoch, TICK,
};
use protocol::{GatewayId, Now, Wall};
use store::Space;

use super::drained::{Running, in_words};
use super::page::LEDGER;
use super::receivers::{ask_of, emptied_too, name_of, receivers};
use super::thread::Housekeeper;
use crate::control::{ControlError, DrainRequest, DrainStatus, GatewayState};
use crate::front::Admission;
use crate::hub::{MoveOrder, Moved};
use crate::links::Command;
use crate::metrics::{DrainShown, NO_CAMPAIGN};
use crate::worker::{Held, Mail};

/// The drain that runs, or the last one.
#[derive(Debug, Default)]
pub(super) struct Drains {
    machine: Option<DrainMachine>,
    last: Option<Running>,
    next_tick: Duration,
    /// The ledger's slot, if the scheduler began it, and when its window ends.
    pub(super) slot: Option<(SlotEpoch, Wall)>,
    /// When the window of the visit ends that holds this gateway, if one of the plan does.
    pub(super) planned: Option<Wall>,
    /// How much of its usual pace this gateway takes while it warms up after a visit, in percent.
    pub(super) warming: Option<u8>,
    /// The life that follows this one on the same host, while clients are moved to it.
    pub(super) successor: Option<GatewayId>,
    /// How clients are moved, as far as whoever asked for the drain says.
    moves: MoveWishes,
    /// What the ledger must still be told.
    pub(super) concluded: Option<maintenance::Verdict>,
    /// Who ended the drain, if it did not end by itself.
    pub(super) ended: Option<Asked>,
    /// Whether it was counted that it goes on behind its window.
    pub(super) overrun: bool,
    /// The freeze that this drain was told of.
    pub(super) frozen: Option<String>,
    /// When it is looked next who else is emptied, and from when on members of shared groups go.
    pub(super) look_at_turns: Duration,
    pub(super) turns_from: Duration,
    number: u64,
    /// Gateways that hold a slot of their own, as the ledger said when this drain began, and those that the plan visits later.
    visited_later: Vec<GatewayId>,
    /// When credits were granted last, and how many had been.
    fed: (Duration, u64),
    /// What earlier drains of this process moved, and could not.
    base: (u64, u64),
    /// What became of clients, of all drains, and how many were taken in, as far as the machine was told.
    became: Moved,
    taken_in: u64,
    /// What the metrics have: of all drains what became of clients, of this one credits.
    told: Moved,
    told_credits: CreditTotals,
    /// The campaign of the visit that this drain is for, if there is one.
    campaign: Option<String>,
    pace: DrainPace,
}

/// Without any credit for so long, clients also go where they will be moved again.
const STARVED: Duration = Duration::from_secs(5);

impl Drains {
    /// When its window ends, if it has one.
    fn until(&self) -> Option<Wall> {
        let window = self.slot.map(|(_, until)| until).or(self.planned);
        window.filter(|until| until.0 != u64::MAX)
    }
}

impl Housekeeper {
    /// Whether a drain runs that asked for a decision, and got it with this.
    pub(super) fn decide_drain(&mut self, request: &DrainRequest) -> bool {
        let now = self.shared.now();
        let decided = request.on_timeout.unwrap_or_default();
        self.drains.machine.as_mut().is_some_and(|it| it.handle_decision(now, decided))
    }

    pub(super) fn check_drain(&self) -> Result<(), ControlError> {
        if self.state.get() != GatewayState::Serving {
            let now = self.state.get().as_str();
            return Err(ControlError::WrongState(format!("the gateway is {now}, not serving")));
        }
        if !self.shared.tables.others_serve(&self.config.id) {
            let why = "no other gateway serves, so nobody could take the clients";
            return Err(ControlError::Refused(why.into()));
        }
        Ok(())
    }

    /// Begins a drain whose slot is granted, of clients that go to those that are spared only if nobody else takes them.
    pub(super) fn begin_drain(
        &mut self,
        request: &DrainRequest,
        spared: &[GatewayId],
    ) -> Result<DrainStatus, ControlError> {
        self.check_drain()?;
        let now = self.shared.now();
        let plan = DrainPlan {
            // The wall clock says how long the window is still open.
            until: self.drains.until().map(|until| now.mono + now.wall.until(until)),
            seed: protocol::hash64(self.config.id.as_str().as_bytes()) ^ self.drains.number,
            ..request.wishes().plan(&self.config.drain.own())
        };
        let ledger = self.reader.get(Space::Maintenance, LEDGER).ok().flatten();
        let ledger = ledger.and_then(|doc| Ledger::decode(&doc.value).ok()).unwrap_or_default();
        let slots = ledger.slots().iter().map(|slot| &slot.host);
        let later = emptied_too(slots, &self.config.id.gateway(), spared);
        self.shared.tables.set_spared(later.clone());
        let drains = &mut self.drains;
        (drains.concluded, drains.ended, drains.frozen) = (None, None, None);
        drains.campaign = None;
        drains.overrun = false;
        drains.moves = request.wishes().moves;
        drains.visited_later = later;
        drains.fed = (now.mono, 0);
        drains.number += 1;
        let id = format!("{}-{}", self.config.id, now.wall.0);
        let span = tracing::info_span!("drain", drain = %id);
        drains.last = Some(Running {
            id,
            span: span.clone(),
            number: drains.number,
            started: now.wall,
            per_s: plan.per_s,
            counts: Counts::default(),
            verdict: None,
        });
        let (machine, step) = DrainMachine::start(plan, now);
        drains.machine = Some(machine);
        drains.next_tick = now.mono;
        self.drains.base = (0, 0);
        let (counts, became) = self.count();
        self.drains.base = (counts.moved, counts.failed);
        if let Some(running) = &mut self.drains.last {
            running.counts = Counts { moved: 0, failed: 0, ..counts };
        }
        self.drains.became = became;
        self.drains.taken_in = self.metrics.process().drain_taken_in.get();
        self.drains.told_credits = CreditTotals::default();
        self.drains.pace = DrainPace::default();
        let why = request.reason.as_deref().unwrap_or("nobody said why");
        tracing::info!(parent: &span, "a drain begins: {why}");
        self.begin_turns(now);
        self.step(step);
        self.drain_status()
            .ok_or_else(|| ControlError::Unavailable("the drain did not begin".into()))
    }

    /// Begins a drain for a visit that has its slot.
    pub(super) fn begin_planned_drain(
        &mut self,
        request: &DrainRequest,
        until: Wall,
        (campaign, spared): (&str, &[GatewayId]),
    ) -> Result<DrainStatus, ControlError> {
        self.check_drain()?;
        let before = self.drains.planned.replace(until);
        let begun = self.begin_drain(request, spared);
        match begun {
            Ok(_) => self.drains.campaign = Some(campaign.to_owned()),
            Err(_) => self.drains.planned = before,
        }
        begun
    }

    /// Moves nobody for now, or moves on.
    pub(super) fn hold_drain(&mut self, held: bool) {
        let now = self.shared.now();
        if let Some(machine) = &mut self.drains.machine {
            machine.handle_hold(now, held);
        }
    }

    /// The window of a drain ends earlier than was thought when it began.
    pub(super) fn cut_drain(&mut self, until: Wall) {
        let now = self.shared.now();
        if let Some(machine) = &mut self.drains.machine {
            machine.handle_until(now.mono + now.wall.until(until));
        }
    }

    /// Moves the rest without credits.
    pub(super) fn force_rest(&mut self) {
        let now = self.shared.now();
        if let Some(machine) = &mut self.drains.machine {
            machine.handle_force(now);
        }
    }

    /// How the last drain ended, if it did.
    pub(super) fn last_verdict(&self) -> Option<maintenance::Verdict> {
        self.drains.last.as_ref().and_then(|last| last.verdict)
    }

    /// Takes nobody and says so, as after a drain.
    pub(super) fn close_for_visit(&mut self) {
        self.front.admit(Admission::Closed);
        self.enter(GatewayState::Quiesced);
    }

    /// Calls the drain off.
    pub(super) fn abort_drain(&mut self) -> Result<DrainStatus, ControlError> {
        let now = self.shared.now();
        let steps = self.drains.machine.as_mut().map(|m| m.handle_abort(now)).unwrap_or_default();
        if steps.is_empty() {
            return Err(ControlError::WrongState("no drain runs".into()));
        }
        steps.into_iter().for_each(|step| self.step(step));
        self.drain_status().ok_or_else(|| ControlError::WrongState("no drain runs".into()))
    }

    /// Serves again after a drain.
    pub(super) fn undrain(&mut self) -> Result<(), ControlError> {
        if self.state.get() != GatewayState::Quiesced {
            return Err(ControlError::WrongState("the gateway is not drained".into()));
        }
        self.refuse_beside_visit()?;
        self.drains.machine = None;
        self.serve_again();
        Ok(())
    }

    /// Lets the drain go on.
    pub(super) fn tick_drain(&mut self) {
        let now = self.shared.now();
        if self.drains.machine.is_none() || now.mono < self.drains.next_tick {
            return;
        }
        self.drains.next_tick = now.mono + TICK;
        self.take_turns(now);
        let (counts, became) = self.count();
        if let Some(running) = &mut self.drains.last {
            running.counts = counts;
        }
        if let Some(machine) = &mut self.drains.machine {
            // Of a worker that does not answer it comes with its next answer, once.
            let more = became.more_than(&mut self.drains.became);
            machine.handle_held_back(more.held_back);
            machine.handle_departed(more.departed);
            self.metrics.process().drain_held_back.add(more.held_back);
            let taken_in = self.metrics.process().drain_taken_in.get();
            machine.handle_taken_in(taken_in.saturating_sub(self.drains.taken_in));
            self.drains.taken_in = taken_in;
        }
        let steps =
            self.drains.machine.as_mut().map(|m| m.handle_tick(now, counts)).unwrap_or_default();
        steps.into_iter().for_each(|step| self.step(step));
        self.spare_nobody_if_starved(now, counts.clients());
        self.ask_credit(now);
        self.tell_drain(now, &counts, became);
    }

    /// Clients that nobody else takes go also where they are moved once more.
    fn spare_nobody_if_starved(&mut self, now: Now, left: u64) {
        let drains = &mut self.drains;
        let granted = drains.machine.as_ref().map_or(0, |it| it.credit_totals().granted);
        let moving = self.state.get() == GatewayState::Moving && left > 0;
        if granted != drains.fed.1 || !moving || drains.visited_later.is_empty() {
            drains.fed = (now.mono, granted);
        } else if now.mono.saturating_sub(drains.fed.0) >= STARVED {
            tracing::info!(
                "nobody who stays takes the rest: it goes also to those that are drained later"
            );
            drains.visited_later.clear();
            self.shared.tables.set_spared(Vec::new());
        }
    }

    /// Shows how far the drain is.
    fn tell_drain(&mut self, now: Now, counts: &Counts, became: Moved) {
        let (process, shown) = (self.metrics.process(), self.metrics.drains());
        let drains = &mut self.drains;
        let Some(machine) = &drains.machine else { return };
        let campaigns = self.metrics.campaigns();
        let campaign = drains.campaign.as_deref().unwrap_or(NO_CAMPAIGN);
        let more = became.more_than(&mut drains.told);
        shown.add(campaign, (more.moved, more.again), campaigns);
        process.handoff_gone.add(more.failed);
        process.handoff_store.add(more.not_stored);
        process.handoff_taken.add(more.taken);
        let totals = machine.credit_totals();
        let before = std::mem::replace(&mut drains.told_credits, totals);
        process.drain_granted.add(totals.granted.saturating_sub(before.granted));
        process.drain_used.add(totals.used.saturating_sub(before.used));
        process.drain_lapsed.add(totals.lapsed.saturating_sub(before.lapsed));
        let runs = drains.last.as_ref().is_some_and(|last| last.verdict.is_none());
        if machine.stage() == DrainStage::Move {
            drains.pace.handle_moved(now.mono, counts.moved);
        }
        let left = counts.clients();
        let running = DrainShown {
            campaign: campaign.to_owned(),
            left,
            moved_per_minute: drains.pace.per_minute(),
            eta: drains.pace.eta(left).map(|it| (it.p50, it.p95)),
        };
        shown.show(runs.then_some(running), campaigns);
    }

    /// A receiver takes clients, or none.
    pub(super) fn credit(&mut self, from: &GatewayId, named: u64, (clients, per_s): (u32, u32)) {
        let last = self.drains.last.as_ref().map(|running| running.number);
        if let Some(ask) = ask_of(named, last)
            && let Some(machine) = &mut self.drains.machine
        {
            machine.handle_credit(from, ask, clients, per_s);
        }
    }

    /// Asks the receivers how many clients they take, when that is due.
    fn ask_credit(&mut self, now: Now) {
        let receivers = self.receivers();
        let Some(running) = &self.drains.last else { return };
        let Some(machine) = &mut self.drains.machine else { return };
        let mut asks = machine.poll_asks(now, &receivers);
        asks.extend(machine.poll_releases());
        let Some(links) = self.shared.links.as_ref().filter(|_| !asks.is_empty()) else { return };
        let mut commands: Vec<_> = asks
            .into_iter()
            .map(|CreditAsk { to, number, clients, per_s }| {
                let drain = name_of(running.number, number);
                Command::AskCredit { to, drain, clients, per_s }
            })
            .collect();
        links.send(&mut commands);
    }

    /// Who serves; those whose own visit comes next only where there is nobody else, so that their clients move once.
    fn receivers(&self) -> Vec<GatewayId> {
        if let Some(successor) = &self.drains.successor {
            return vec![successor.clone()];
        }
        let gateways = self.shared.tables.gateways();
        let serving = gateways.iter().filter(|g| g.serving && g.id != self.config.id);
        receivers(serving.map(|g| g.id.clone()).collect(), &self.drains.visited_later)
    }

    fn step(&mut self, step: DrainStep) {
        let _span = self.drains.last.as_ref().map(|last| last.span.clone().entered());
        match step {
            DrainStep::SetAnnounced => self.enter(GatewayState::Announced),
            DrainStep::SetRefusing => {
                // Who is on the way in here is let in, and moved like everybody else: the successor has the port.
                if self.drains.successor.is_none() {
                    self.front.admit(Admission::Elsewhere);
                }
                self.enter(GatewayState::Refusing);
            }
            DrainStep::Move { to } => {
                self.enter(GatewayState::Moving);
                self.move_clients(to);
            }
            DrainStep::SetClosed if self.drains.successor.is_some() => {}
            DrainStep::SetClosed => self.front.admit(Admission::Closed),
            DrainStep::Ask => {
                tracing::warn!("the drain takes too long: abort it, or start it again to go on");
            }
            DrainStep::Undrain => self.serve_again(),
            DrainStep::Finish(verdict) => self.finish(verdict),
        }
    }

    fn finish(&mut self, verdict: maintenance::Verdict) {
        tracing::info!("a drain ends: {}", in_words(&verdict));
        // In place, who is on the way in is let in, and counted nowhere.
        if verdict.unaccounted() > 0 && self.drains.successor.is_none() {
            tracing::warn!("what became of {} clients is not known", verdict.unaccounted());
        }
        if verdict.outcome == maintenance::Outcome::Quiesced {
            self.enter(GatewayState::Quiesced);
        }
        if let Some(running) = &mut self.drains.last {
            running.verdict = Some(verdict);
            running.counts = verdict.evidence;
        }
        if self.drains.slot.is_some() {
            self.drains.concluded = Some(verdict);
        }
    }

    /// Everyone learns it with the next renewal, which is now.
    pub(super) fn enter(&mut self, state: GatewayState) {
        if self.state.get() != state {
            self.state.set(state);
            self.renew();
        }
    }

    pub(super) fn serve_again(&mut self) {
        self.front.admit(Admission::Open);
        self.enter(GatewayState::Serving);
    }

    /// Shares the clients to be moved out to the workers, by how many each could move.
    fn move_clients(&self, mut to: Vec<(GatewayId, u32)>) {
        let forced = self.drains.machine.as_ref().is_some_and(DrainMachine::is_forced);
        let wishes = self.drains.moves;
        let held = self.count_workers();
        let mut movable: usize = held.iter().map(|it| it.movable).sum();
        let mut left: usize = to.iter().map(|(_, n)| *n as usize).sum();
        for (at, (mailbox, held)) in self.shared.mailboxes.iter().zip(&held).enumerate() {
            // What none of them has any more, the last one says.
            let last = at + 1 == self.shared.mailboxes.len();
            let share = (left * held.movable).div_ceil(movable.max(1)).min(left);
            let share = if last { left } else { share };
            movable -= held.movable;
            left -= share;
            if share > 0 {
                let to = take_share(&mut to, share);
                let order = MoveOrder { clients: share, to, forced, wishes };
                mailbox.send(Mail::Move(order));
            }
        }
    }

    fn count_workers(&self) -> Vec<Held> {
        // A worker that does not answer has at least one client that is not moved.
        let (one, moved) = (1, Moved::default());
        let (unsaved, unsaved_wills) = (0, 0);
        let silent =
            Held { connections: one, sessions: one, movable: one, unsaved, unsaved_wills, moved };
        let answers = self.shared.ask_workers(Mail::Count).into_iter();
        answers.map(|answer| answer.unwrap_or(silent)).collect()
    }

    /// What is here, and what became of clients that drains moved since the process began.
    fn count(&self) -> (Counts, Moved) {
        let unacknowledged_forwards = self.shared.frontier.unacknowledged();
        let mut counts = Counts { unacknowledged_forwards, ..Counts::default() };
        // Before the workers are asked, to whom they may go meanwhile.
        let present = if self.drains.successor.is_some() { self.front.present() } else { 0 };
        let mut became = Moved::default();
        for held in self.count_workers() {
            counts.connections += held.connections as u64;
            counts.sessions_owned += held.sessions as u64;
            counts.unsaved_cursors += held.unsaved as u64;
            counts.parked_unsaved_wills += held.unsaved_wills as u64;
            became += held.moved;
        }
        // The process ends with its drain: it waits for those who are on their way in, and for those who have not hung up yet.
        counts.connections = counts.connections.max(present);
        counts.moved = became.moved.saturating_sub(self.drains.base.0);
        counts.failed = became.failed.saturating_sub(self.drains.base.1);
        (counts, became)
    }

    /// The drain that runs, or the last one.
    pub(super) fn drain_status(&self) -> Option<DrainStatus> {
        let asks = |machine: &DrainMachine| machine.stage() == DrainStage::Asking;
        let asking = self.drains.machine.as_ref().is_some_and(asks);
        let running = self.drains.last.as_ref()?;
        Some(running.status(&self.config.id.gateway(), self.state.get(), asking))
    }
}

/// So many of the clients, with where they go.
fn take_share(to: &mut Vec<(GatewayId, u32)>, share: usize) -> Vec<(GatewayId, u32)> {
    let mut left = u32::try_from(share).unwrap_or(u32::MAX);
    let mut taken = Vec::new();
    for (id, n) in to.iter_mut() {
        let some = left.min(*n);
        *n -= some;
        left -= some;
        if some > 0 {
            taken.push((id.clone(), some));
        }
    }
    to.retain(|(_, n)| *n > 0);
    taken
}
