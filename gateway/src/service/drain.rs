//! The hands of a drain: what [`DrainMachine`] decides is done here, and what is here is counted for it.

use std::time::Duration;

use maintenance::{Counts, DrainMachine, DrainPlan, DrainStep, OnTimeout, SlotEpoch, TICK};
use protocol::{Now, Wall};
use tracing::Span;

use super::thread::Housekeeper;
use crate::control::{
    ControlError, DrainRequest, DrainStatus, Evidence, GatewayState, Outcome, Verdict,
};
use crate::front::Admission;
use crate::links::Command;
use crate::worker::Mail;

/// The drain that runs, or the last one.
#[derive(Debug, Default)]
pub(super) struct Drains {
    machine: Option<DrainMachine>,
    last: Option<Running>,
    next_tick: Duration,
    /// The ledger's slot, if the scheduler began it, and when its window ends.
    pub(super) slot: Option<(SlotEpoch, Wall)>,
    /// What the ledger must still be told.
    pub(super) concluded: Option<maintenance::Verdict>,
    number: u64,
    asked_credit: Duration,
    /// What earlier drains of this process moved.
    base: (u64, u64),
}

#[derive(Debug, Clone)]
struct Running {
    id: String,
    number: u64,
    started: Wall,
    per_s: u32,
    counts: Counts,
    verdict: Option<maintenance::Verdict>,
    span: Span,
}

impl Housekeeper {
    /// Begins a drain that an operator asked for, if the ledger has a slot for it.
    pub(super) fn start_drain(
        &mut self,
        request: &DrainRequest,
    ) -> Result<DrainStatus, ControlError> {
        self.check_drain()?;
        let epoch = self.take_slot()?;
        // No window ends it: it lasts until somebody says so.
        self.drains.slot = Some((epoch, Wall(u64::MAX)));
        self.begin_drain(request)
    }

    fn check_drain(&self) -> Result<(), ControlError> {
        if self.state.get() != GatewayState::Serving {
            let now = self.state.get().as_str();
            return Err(ControlError::WrongState(format!("the gateway is {now}, not serving")));
        }
        let gateways = self.shared.tables.gateways();
        if !gateways.iter().any(|g| g.serving && g.id != self.config.id) {
            let why = "no other gateway serves, so nobody could take the clients";
            return Err(ControlError::Refused(why.into()));
        }
        Ok(())
    }

    /// Begins a drain whose slot is granted.
    pub(super) fn begin_drain(
        &mut self,
        request: &DrainRequest,
    ) -> Result<DrainStatus, ControlError> {
        self.check_drain()?;
        let defaults = self.config.drain;
        let plan = DrainPlan {
            per_s: request.per_s.unwrap_or(defaults.per_s).max(1),
            announce: request.announce_ms.map_or(defaults.announce, Duration::from_millis),
            timeout: request.timeout_ms.map_or(defaults.timeout, Duration::from_millis),
            on_timeout: OnTimeout::Undrain,
        };
        let now = self.shared.now();
        let drains = &mut self.drains;
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
        drains.asked_credit = Duration::ZERO;
        let counts = self.count(true);
        self.drains.base = (counts.moved, counts.failed);
        let why = request.reason.as_deref().unwrap_or("nobody said why");
        tracing::info!(parent: &span, "a drain begins: {why}");
        self.step(step);
        self.drain_status()
            .ok_or_else(|| ControlError::Unavailable("the drain did not begin".into()))
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
        let counts = self.count(false);
        self.ask_credit(now, &counts);
        if let Some(running) = &mut self.drains.last {
            running.counts = counts;
        }
        let steps =
            self.drains.machine.as_mut().map(|m| m.handle_tick(now, counts)).unwrap_or_default();
        steps.into_iter().for_each(|step| self.step(step));
    }

    /// A receiver takes clients.
    pub(super) fn credit(&mut self, drain: u64, clients: u32, per_s: u32) {
        let current = self.drains.last.as_ref().is_some_and(|r| r.number == drain);
        if let Some(machine) = self.drains.machine.as_mut().filter(|_| current) {
            machine.handle_credit(clients, per_s);
        }
    }

    /// Once a second, asks every serving peer how many clients it takes.
    fn ask_credit(&mut self, now: Now, counts: &Counts) {
        let Some(running) = &self.drains.last else { return };
        let wanted = u32::try_from(counts.clients())
            .unwrap_or(u32::MAX)
            .min(running.per_s.saturating_mul(2));
        let waits = self
            .drains
            .machine
            .as_ref()
            .is_some_and(|m| m.credits_left() < u64::from(running.per_s));
        if !waits || wanted == 0 || now.mono < self.drains.asked_credit {
            return;
        }
        self.drains.asked_credit = now.mono + Duration::from_millis(500);
        let Some(links) = &self.shared.links else { return };
        let gateways = self.shared.tables.gateways();
        let takers = gateways.iter().filter(|g| g.serving && g.id != self.config.id);
        let mut asks: Vec<_> = takers
            .map(|g| Command::AskCredit {
                to: g.id.clone(),
                drain: running.number,
                clients: wanted,
                per_s: running.per_s,
            })
            .collect();
        links.send(&mut asks);
    }

    fn step(&mut self, step: DrainStep) {
        let _span = self.drains.last.as_ref().map(|last| last.span.clone().entered());
        match step {
            DrainStep::SetAnnounced => self.enter(GatewayState::Announced),
            DrainStep::SetRefusing => {
                self.front.admit(Admission::Elsewhere);
                self.enter(GatewayState::Refusing);
            }
            DrainStep::Move { clients } => {
                self.enter(GatewayState::Moving);
                self.move_clients(clients);
            }
            DrainStep::Undrain => self.serve_again(),
            DrainStep::Finish(verdict) => self.finish(verdict),
        }
    }

    fn finish(&mut self, verdict: maintenance::Verdict) {
        tracing::info!("a drain ends: {verdict:?}");
        self.metrics.process().drain_moved.add(verdict.moved);
        self.metrics.process().drain_failed.add(verdict.evidence.failed);
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
    fn enter(&mut self, state: GatewayState) {
        if self.state.get() != state {
            self.state.set(state);
            self.renew();
        }
    }

    fn serve_again(&mut self) {
        self.front.admit(Admission::Open);
        self.enter(GatewayState::Serving);
    }

    /// Shares the clients to be moved out to the workers, by how many each has.
    fn move_clients(&self, clients: u32) {
        let counts = self.count_workers();
        let total: usize = counts.iter().map(|c| c.1).sum();
        let mut left = clients as usize;
        for (at, (mailbox, count)) in self.shared.mailboxes.iter().zip(&counts).enumerate() {
            let last = at + 1 == counts.len();
            let share = if last {
                left
            } else {
                (clients as usize * count.1).div_ceil(total.max(1)).min(left)
            };
            left -= share;
            if share > 0 {
                mailbox.send(Mail::Move(share));
            }
        }
    }

    /// Connections, sessions, unsaved marks, and what was moved and failed, by worker.
    fn count_workers(&self) -> Vec<(usize, usize, usize, (u64, u64))> {
        self.shared
            .ask_workers(Mail::Count)
            .into_iter()
            .map(|answer| {
                // A worker that does not answer has at least one client that is not moved.
                let silent = || (1, 1, 0, crate::hub::Moved::default());
                let (connections, sessions, unsaved, moved) = answer.unwrap_or_else(silent);
                (connections, sessions, unsaved, (moved.moved, moved.failed))
            })
            .collect()
    }

    fn count(&self, absolute: bool) -> Counts {
        let base = if absolute { (0, 0) } else { self.drains.base };
        let mut counts =
            Counts { unacknowledged_forwards: self.unacknowledged, ..Counts::default() };
        for (connections, sessions, unsaved, (moved, failed)) in self.count_workers() {
            counts.connections += connections as u64;
            counts.sessions_owned += sessions as u64;
            counts.unsaved_cursors += unsaved as u64;
            counts.moved += moved;
            counts.failed += failed;
        }
        counts.moved = counts.moved.saturating_sub(base.0);
        counts.failed = counts.failed.saturating_sub(base.1);
        counts
    }

    /// The drain that runs, or the last one.
    pub(super) fn drain_status(&self) -> Option<DrainStatus> {
        let running = self.drains.last.as_ref()?;
        let counts = running.counts;
        let millis = i64::try_from(running.started.0).unwrap_or(i64::MAX);
        Some(DrainStatus {
            id: running.id.clone(),
            gateway: self.config.id.as_str().to_owned(),
            state: self.state.get(),
            started: jiff::Timestamp::from_millisecond(millis)
                .map_or_else(|_| String::new(), |t| t.to_string()),
            moved: running.verdict.map_or(counts.moved, |v| v.moved),
            failed: counts.failed,
            left: counts.clients(),
            per_s: running.per_s,
            evidence: Evidence {
                connections: counts.connections,
                sessions_owned: counts.sessions_owned,
                unacknowledged_forwards: counts.unacknowledged_forwards,
                unsaved_cursors: counts.unsaved_cursors,
                parked_wills: counts.parked_unsaved_wills,
            },
            verdict: running.verdict.map(told),
        })
    }
}

/// A verdict as operators read it.
fn told(verdict: maintenance::Verdict) -> Verdict {
    let (outcome, detail) = match verdict.outcome {
        maintenance::Outcome::Quiesced => {
            (Outcome::Drained, "owns nobody, owes nobody: safe to stop")
        }
        maintenance::Outcome::Aborted => (Outcome::Aborted, "called off; serving again"),
        maintenance::Outcome::TimedOut => (Outcome::TimedOut, "took too long; serving again"),
    };
    Verdict {
        outcome,
        detail: detail.into(),
        elapsed_ms: u64::try_from(verdict.elapsed.as_millis()).unwrap_or(u64::MAX),
    }
}
