//! Visits on their way: each event asked of the ledger, judged by the observer, and carried out by hosts that take their time.

use std::collections::BTreeMap;
use std::time::Duration;

use protocol::{GatewayId, Incarnation};

use super::body::{Body, Came};
use super::observer::{away_together, judge};
use super::returns::Departure;
use super::tale::Line;
use super::world::{Next, World};
use crate::drain::Taker;
use crate::execution::{Effect, Event, Execution, PlannedStep, Reaction, Report, Stage, Step};
use crate::fleet::{Host, HostState, VisitId};
use crate::ledger::{Change, Seen, SlotClass};
use crate::planner::Finished;

/// How long nobody notices that a host is gone.
const NOTICED: Duration = Duration::from_secs(30);
/// How long it takes a person to decide.
const DECIDED: Duration = Duration::from_secs(600);
/// How long a step takes of which nobody says it.
const STEP: Duration = Duration::from_secs(6);
/// How long nothing is tried again that was not allowed.
const PUT_OFF: Duration = Duration::from_secs(10);
/// How often one visit may go on without time passing: more is a fault of ours.
const TURNS: usize = 256;

impl World<'_> {
    /// As long as a visit can go on without time passing; then when it has taken too long.
    pub(super) fn go_on(&mut self, visit: &VisitId) {
        for _ in 0..TURNS {
            let Some(execution) = self.executions.get(visit) else { return };
            if execution.handle(&Event::Tick, self.now).is_err() {
                break;
            }
            self.turn(visit, &Event::Tick);
        }
        let Some(execution) = self.executions.get(visit) else { return };
        if execution.is_over() {
            return self.over(visit);
        }
        if *execution.stage() == Stage::Planned {
            return self.put_off(visit);
        }
        if let Some(at) = execution.at().map(|at| at.deadline).filter(|at| *at > self.now) {
            self.push(at, Next::Tell(visit.clone(), Event::Tick));
        }
    }

    pub(super) fn react(&mut self, visit: &VisitId, event: &Event) {
        if self.executions.get(visit).is_some_and(|it| !it.is_over()) {
            self.turn(visit, event);
            self.go_on(visit);
        }
    }

    /// One event, asked of the ledger and judged by the observer.
    fn turn(&mut self, visit: &VisitId, event: &Event) {
        let (Some(execution), Some(planned)) = (self.executions.get(visit), self.visits.get(visit))
        else {
            return;
        };
        let Ok(reaction) = execution.handle(event, self.now) else { return };
        let hosts = self.hosts();
        let Some(host) = hosts.iter().find(|host| host.id == planned.visit.host) else { return };
        let rules = self.law(&hosts).rules(host, planned, self.alike(planned));
        let answers: BTreeMap<_, _> =
            hosts.iter().map(|host| (host.id.clone(), self.answer(host))).collect();
        let seen = Seen { now: self.now, hosts: &hosts, answers: Some(&answers) };
        let mut ledger = self.ledger.clone();
        match reaction.ask(&mut ledger, host, &seen, &rules) {
            Ok(changes) => {
                let takes =
                    |it: &Change| matches!(it, Change::Started { .. } | Change::Crossed { .. });
                if changes.iter().any(takes) {
                    let truth = self.true_law(&hosts).rules(host, planned, self.alike(planned));
                    let wrong = judge(host, &hosts, &ledger, &truth);
                    let at = self.now;
                    self.tale.broken.extend(wrong.into_iter().map(|what| Line { at, what }));
                }
                self.ledger = ledger;
                self.carry_out(visit, reaction);
            }
            Err(no) if !matches!(event, Event::Refused { .. }) => {
                self.say(format!("{visit}: the ledger says no: {}", no.why));
                self.turn(visit, &Event::Refused { why: no.why, slot_gone: no.slot_gone });
            }
            Err(_) => {}
        }
    }

    fn carry_out(&mut self, visit: &VisitId, reaction: Reaction) {
        let Reaction { next, effects, .. } = reaction;
        let (host, epoch) = (next.host().clone(), next.epoch());
        let course = next.course().clone();
        self.executions.insert(visit.clone(), next);
        for effect in effects {
            let Some(body) = self.bodies.get_mut(&host) else { return };
            if !body.alive && !matches!(effect, Effect::Page) {
                // Nobody hears it.
                continue;
            }
            match effect {
                Effect::Run { step, work, attempt } => {
                    body.begin(step, attempt);
                    let of = |it: &&PlannedStep| it.step == step && it.work == work;
                    let p95 = course.steps.iter().find(of).map_or(STEP, |it| it.estimate);
                    let at = self.now.after(self.chance.takes(p95));
                    if step == Step::Drain {
                        self.move_clients(&host);
                    }
                    self.push(at, Next::End { visit: visit.clone(), step, work, attempt });
                }
                Effect::Probe { step, attempt, .. } => {
                    let what = Report::Found(body.probe(step, attempt));
                    let at = self.now.after(Duration::from_secs(1));
                    let event = Event::Report { epoch, attempt, what };
                    self.push(at, Next::Tell(visit.clone(), event));
                }
                Effect::Admit(percent) => body.admit(percent),
                Effect::Page => {
                    self.tale.totals.asked += 1;
                    self.say(format!("{visit} asks for somebody"));
                    self.push(self.now.after(DECIDED), Next::Decide(visit.clone()));
                }
                Effect::Stop { .. } => drop(self.moving.remove(&host)),
                Effect::Hold | Effect::Continue | Effect::ForceRest => {}
            }
        }
    }

    /// Clients begin to leave a host, and come to others as fast.
    fn move_clients(&mut self, id: &GatewayId) {
        let Some(host) = self.scenario.hosts.iter().find(|host| host.id == *id) else { return };
        // A host without clients sends nobody, and one with a few no more than those.
        let pace = self.scenario.pace(host).min(self.clients.carries(id));
        self.moving.insert(id.clone(), (pace, self.now));
        let together = self.moving.values().map(|(pace, _)| pace).sum();
        let totals = &mut self.tale.totals;
        totals.peak_connects_per_s = totals.peak_connects_per_s.max(together);
    }

    /// All of them have left, for those whom the scheduler does not spare them.
    fn moved_clients(&mut self, id: &GatewayId) {
        let Some((per_s, since)) = self.moving.remove(id) else { return };
        let takers = self.takers(id);
        let spared = (self.conduct.spared)(&takers, self.clients.carries(id));
        let before: Vec<u64> = takers.iter().map(|it| it.carries).collect();
        let moved = self.clients.leave(id, &takers, &spared);
        let come = takers.iter().zip(before);
        let to = come.map(|(it, had)| (it.id.clone(), self.clients.carries(&it.id) - had));
        self.departures.push(Departure { at: since, clients: moved.all, per_s, to: to.collect() });
        let totals = &mut self.tale.totals;
        totals.moved += moved.all;
        totals.moved_again += moved.again;
        totals.most_moves = self.clients.most_moves;
        let host = self.scenario.hosts.iter().find(|host| host.id == *id);
        let effective = host.map(|host| self.scenario.policies.effective(host, &[]));
        let is_limited = effective.is_some_and(|it| it.connections_percent.value > 0);
        // Where somebody died meanwhile that nobody could know, it is not the scheduler's fault.
        if moved.beyond > 0 && is_limited && self.tale.totals.deaths == 0 {
            let beyond = moved.beyond;
            self.broke(format!("{id} goes, and for {beyond} of its clients nobody has room"));
        }
    }

    /// Who could take clients of a host, as whoever drains it sees them.
    fn takers(&self, from: &GatewayId) -> Vec<Taker> {
        let hosts = self.hosts();
        let serving = hosts.iter().filter(|it| it.id != *from && it.state == HostState::Serving);
        let is_drained_later = |id: &GatewayId| {
            self.visits.values().any(|it| {
                let over = self.executions.get(&it.visit.id).is_some_and(Execution::is_over);
                it.visit.host == *id && it.visit.slot() == Some(SlotClass::Drain) && !over
            })
        };
        let taker = |host: &Host| Taker {
            id: host.id.clone(),
            carries: self.clients.carries(&host.id),
            most: match host.capacity.connections {
                0 => u64::MAX,
                most => most,
            },
            drained_later: is_drained_later(&host.id),
        };
        serving.map(taker).collect()
    }

    /// That no two are away by our doing that must never be so together: who is away, not who holds a slot.
    pub(super) fn look_together(&mut self) {
        let is_away = |body: &&Body| body.alive && body.state != HostState::Serving;
        if self.bodies.values().filter(is_away).count() < 2 {
            return;
        }
        let alive = |it: &&Host| self.bodies.get(&it.id).is_some_and(|body| body.alive);
        let hosts = self.hosts();
        let away = hosts.iter().filter(alive).filter(|it| it.state != HostState::Serving);
        for wrong in away_together(&away.collect::<Vec<_>>(), &self.scenario.policies) {
            self.broke(wrong);
        }
    }

    /// Something happened that must not, once for each thing.
    fn broke(&mut self, what: String) {
        if !self.tale.broken.iter().any(|line| line.what == what) {
            self.tale.broken.push(Line { at: self.now, what });
        }
    }

    /// A step comes to its end, if it is still the one that goes on.
    pub(super) fn end_step(&mut self, visit: &VisitId, (step, work): (Step, usize), attempt: u32) {
        let Some(execution) = self.executions.get(visit) else { return };
        let current = execution.at().is_some_and(|at| at.attempt == attempt);
        let (host, epoch) = (execution.host().clone(), execution.epoch());
        let absent = execution.course().works.get(work).is_some_and(|work| work.absent);
        if !current || self.bodies.get(&host).is_none_or(|body| !body.alive) {
            return;
        }
        if step == Step::Drain {
            self.moved_clients(&host);
        }
        let Some(body) = self.bodies.get_mut(&host) else { return };
        let fails =
            step == Step::Operate && self.chance.permille(self.scenario.faults.works_permille);
        let event = if fails {
            self.say(format!("{visit}: its work fails"));
            let what = Report::Failed { code: "simulated".to_owned() };
            Event::Report { epoch, attempt, what }
        } else {
            match body.end(step, absent, attempt) {
                Came::Done(verdict) => {
                    Event::Report { epoch, attempt, what: Report::Done { verdict } }
                }
                Came::Back => Event::Restarted { incarnation: Incarnation(body.life) },
            }
        };
        self.react(visit, &event);
    }

    pub(super) fn visit_of(&self, host: &GatewayId) -> Option<VisitId> {
        let of = |it: &&Execution| it.host() == host && !it.is_over();
        self.executions.values().find(of).map(|it| it.visit().clone())
    }

    pub(super) fn die(&mut self, host: &GatewayId) {
        let Some(body) = self.bodies.get_mut(host).filter(|body| body.alive) else { return };
        body.alive = false;
        self.moving.remove(host);
        self.tale.totals.deaths += 1;
        self.say(format!("{host} dies"));
        let away = Duration::from_secs(60 + self.chance.below(3540));
        self.push(self.now.after(NOTICED), Next::Notice(host.clone()));
        self.push(self.now.after(away), Next::Return(host.clone()));
    }

    pub(super) fn come_back(&mut self, host: &GatewayId) {
        let visit = self.visit_of(host);
        let execution = visit.as_ref().and_then(|visit| self.executions.get(visit));
        let Some(body) = self.bodies.get_mut(host) else { return };
        body.reborn(execution);
        let incarnation = Incarnation(body.life);
        self.say(format!("{host} is back"));
        if let Some(visit) = visit {
            self.react(&visit, &Event::Restarted { incarnation });
        }
    }

    /// It was not allowed any more, and turned back: it begins anew when the plan says so.
    fn put_off(&mut self, visit: &VisitId) {
        self.executions.remove(visit);
        self.began.remove(visit);
        self.push(self.now.after(PUT_OFF), Next::Look);
    }

    fn over(&mut self, visit: &VisitId) {
        let Some(began) = self.began.remove(visit) else { return };
        let Some(execution) = self.executions.get(visit) else { return };
        if let Some(planned) = self.visits.get_mut(visit) {
            let left: Vec<_> = planned.left_out(execution).into_iter().cloned().collect();
            if !left.is_empty() {
                planned.operations.retain(|operation| left.contains(&operation.id));
                planned.visit.operations = left;
                self.say(format!("{visit} has left out what was not allowed any more"));
                return self.put_off(visit);
            }
        }
        let took = Duration::from_millis(self.now.0.saturating_sub(began.0));
        let stage = execution.stage().clone();
        let totals = &mut self.tale.totals;
        totals.longest = totals.longest.max(took);
        totals.over = Some(self.now);
        let seconds = took.as_secs();
        if stage == Stage::Done {
            totals.done += 1;
            self.say(format!("{visit} is done, in {seconds} s"));
            let batches = self.visits.get(visit).into_iter().flat_map(|it| &it.visit.batches);
            let at = self.now;
            self.finished.extend(batches.map(|batch| Finished { batch: batch.clone(), at }));
        } else {
            totals.failed += 1;
            self.say(format!("{visit} is over and was not done, after {seconds} s: {stage:?}"));
        }
        self.push(self.now, Next::Look);
    }
}
