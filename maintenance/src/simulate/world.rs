//! The clock that only counts, and what happens on it.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};

use super::body::Body;
use super::chance::Chance;
use super::clients::Clients;
use super::returns::{Departure, returns};
use super::scenario::{InvalidScenario, Scenario, times};
use super::tale::{Line, Tale, Totals};
use crate::drain::{Taker, spared};
use crate::execution::{Event, Execution, Order, Stage, Step};
use crate::fleet::{Availability, Connects, Host, HostState, Load, Term, VisitId};
use crate::ledger::{Gate, Grant, Ledger, Seen};
use crate::operation::{Merging, Operation, OperationId, Visit, merge};
use crate::planner::{
    Effort, Expected, Finished, Law, Outlook, Plan, PlannedVisit, Wishes, check, compile, plan,
};
use crate::policy::{Effective, Facts, PolicySet};

/// How far is planned.
pub(super) const HORIZON: Duration = Duration::from_secs(28 * 24 * 3600);
/// Work that may start within this time of each other is done in one visit.
const JOIN: Duration = Duration::from_secs(24 * 3600);
/// It is planned again at least so often, and a visit that may not begin is tried again.
const AGAIN: Duration = Duration::from_secs(300);
/// How much may happen at all: more is a fault of ours.
const MOST: usize = 2_000_000;

/// What comes.
#[derive(Debug, Clone)]
pub(super) enum Next {
    Tell(VisitId, Event),
    End { visit: VisitId, step: Step, work: usize, attempt: u32 },
    Decide(VisitId),
    Die(GatewayId),
    Notice(GatewayId),
    Return(GatewayId),
    Look,
}

/// What the scheduler goes by: as it is, unless a test wants to see a mistake.
#[derive(Debug, Clone)]
pub(super) struct Conduct {
    /// What it takes for the policies.
    pub(super) policies: PolicySet,
    /// Whom it spares the clients of a host that is drained.
    pub(super) spared: fn(&[Taker], u64) -> Vec<GatewayId>,
}

pub(super) struct World<'a> {
    pub(super) scenario: &'a Scenario,
    pub(super) conduct: Conduct,
    pub(super) clients: Clients,
    pub(super) now: Wall,
    pub(super) chance: Chance,
    pub(super) ledger: Ledger,
    pub(super) facts: Facts,
    pub(super) bodies: BTreeMap<GatewayId, Body>,
    pub(super) visits: BTreeMap<VisitId, PlannedVisit>,
    pub(super) executions: BTreeMap<VisitId, Execution>,
    pub(super) began: BTreeMap<VisitId, Wall>,
    /// Who is drained now, how many clients leave it in a second, and since when.
    pub(super) moving: BTreeMap<GatewayId, (u64, Wall)>,
    /// Whose clients have left.
    pub(super) departures: Vec<Departure>,
    pub(super) finished: Vec<Finished>,
    pub(super) plan: Option<Plan>,
    pub(super) queue: BTreeMap<(Wall, usize), Next>,
    pub(super) count: usize,
    pub(super) tale: Tale,
}

/// Tells what would happen. `enough` is asked before each thing that happens whether nobody waits for the tale any longer.
///
/// # Errors
/// [`InvalidScenario`].
pub fn simulate(
    scenario: &Scenario,
    enough: &mut dyn FnMut() -> bool,
) -> Result<Tale, InvalidScenario> {
    let conduct = Conduct { policies: scenario.policies.clone(), spared };
    simulate_as(scenario, conduct, enough)
}

/// The same of a scheduler that may be mistaken.
pub(super) fn simulate_as(
    scenario: &Scenario,
    conduct: Conduct,
    enough: &mut dyn FnMut() -> bool,
) -> Result<Tale, InvalidScenario> {
    let mut world = World::new(scenario, conduct)?;
    let until = scenario.from.after(scenario.lasts);
    world.push(scenario.from, Next::Look);
    while let Some(((at, _), next)) = world.queue.pop_first() {
        if at > until || world.is_over() || world.count > MOST {
            break;
        }
        if enough() {
            return Err(InvalidScenario::TooLong);
        }
        world.now = world.now.max(at);
        world.happen(next)?;
        world.look_together();
    }
    world.end(enough)
}

/// Clients come as they should, and no query holds.
fn undisturbed(policies: &PolicySet) -> Facts {
    let queries = policies.wanted().queries.into_iter().map(|query| (query, false)).collect();
    Facts { connects: Some(Connects::default()), queries }
}

impl<'a> World<'a> {
    fn new(scenario: &'a Scenario, conduct: Conduct) -> Result<Self, InvalidScenario> {
        let times = |id: &GatewayId| times(scenario, &conduct.policies, id);
        let merging = Merging { now: scenario.from, join: JOIN, times: &times };
        let merged = merge(&scenario.operations, &merging)?;
        let planned = |visit: Visit| {
            let of = |id: &OperationId| {
                scenario.operations.iter().find(|operation| operation.id == *id).cloned()
            };
            let operations = visit.operations.iter().filter_map(of).collect();
            (visit.id.clone(), PlannedVisit { visit, operations })
        };
        let visits: BTreeMap<_, _> = merged.into_iter().map(planned).collect();
        let totals = Totals { visits: visits.len(), ..Totals::default() };
        let bodies = scenario.hosts.iter().map(|host| (host.id.clone(), Body::new())).collect();
        let mut clients = Clients::default();
        for host in &scenario.hosts {
            clients.begin(&host.id, scenario.load(host).connections);
        }
        let mut world = Self {
            scenario,
            clients,
            now: scenario.from,
            chance: Chance::new(scenario.seed),
            ledger: Ledger::default(),
            facts: undisturbed(&scenario.policies),
            conduct,
            bodies,
            visits,
            executions: BTreeMap::new(),
            began: BTreeMap::new(),
            moving: BTreeMap::new(),
            departures: Vec::new(),
            finished: Vec::new(),
            plan: None,
            queue: BTreeMap::new(),
            count: 0,
            tale: Tale { lines: Vec::new(), totals, returns: None, broken: Vec::new() },
        };
        world.doom();
        Ok(world)
    }

    /// Who dies when.
    fn doom(&mut self) {
        const DAY_S: u64 = 24 * 3600;
        for day in 0..self.scenario.lasts.as_secs().div_ceil(DAY_S) {
            for host in &self.scenario.hosts {
                if self.chance.permille(self.scenario.faults.deaths_permille) {
                    let second = day * DAY_S + self.chance.below(DAY_S);
                    let at = self.scenario.from.after(Duration::from_secs(second));
                    self.push(at, Next::Die(host.id.clone()));
                }
            }
        }
    }

    pub(super) fn push(&mut self, at: Wall, next: Next) {
        self.count += 1;
        self.queue.insert((at, self.count), next);
    }

    pub(super) fn say(&mut self, what: String) {
        self.tale.lines.push(Line { at: self.now, what });
    }

    fn is_over(&self) -> bool {
        self.pending().next().is_none() && self.executions.values().all(Execution::is_over)
    }

    /// Visits that have not begun and may: not those of a campaign of which one failed.
    fn pending(&self) -> impl Iterator<Item = &PlannedVisit> {
        let failed = |it: &&Execution| it.is_over() && *it.stage() != Stage::Done;
        let failed = self.executions.values().filter(failed);
        let failed = failed.filter_map(|it| self.visits.get(it.visit()));
        let stopped: BTreeSet<_> = failed
            .flat_map(|it| it.visit.batches.iter().map(|batch| batch.campaign.clone()))
            .collect();
        self.visits.values().filter(move |it| {
            let held = it.visit.batches.iter().any(|batch| stopped.contains(&batch.campaign));
            !held && !self.executions.contains_key(&it.visit.id)
        })
    }

    /// The hosts as they are.
    pub(super) fn hosts(&self) -> Vec<Host> {
        let seen = |host: &Host| {
            let body = self.bodies.get(&host.id);
            let state = body.map_or(HostState::Lost, |body| match body.alive {
                true => body.state,
                false => HostState::Lost,
            });
            let incarnation = Incarnation(body.map_or(1, |body| body.life));
            Host { incarnation, state, ..host.clone() }
        };
        self.scenario.hosts.iter().map(seen).collect()
    }

    fn happen(&mut self, next: Next) -> Result<(), InvalidScenario> {
        match next {
            Next::Look => {
                self.make_plan()?;
                self.begin_due();
                self.look_again();
            }
            Next::Tell(visit, event) => self.react(&visit, &event),
            Next::End { visit, step, work, attempt } => {
                self.end_step(&visit, (step, work), attempt);
            }
            Next::Decide(visit) => {
                let asks = self.executions.get(&visit).map(Execution::stage);
                if matches!(asks, Some(Stage::NeedsOperator { .. })) {
                    self.say(format!("{visit}: a person says that it is tried again"));
                    let order = Event::Order { by: "somebody".to_owned(), order: Order::Retry };
                    self.react(&visit, &order);
                }
            }
            Next::Die(host) => self.die(&host),
            Next::Notice(host) => {
                let gone = self.bodies.get(&host).is_some_and(|body| !body.alive);
                if let Some(visit) = self.visit_of(&host).filter(|_| gone) {
                    self.react(&visit, &Event::HostLost);
                }
            }
            Next::Return(host) => self.come_back(&host),
        }
        Ok(())
    }

    /// At the next start in the plan, and in a while in any case.
    fn look_again(&mut self) {
        let entries = self.plan.iter().flat_map(|plan| &plan.entries);
        let waits = |visit: &VisitId| !self.executions.contains_key(visit);
        let next = entries.filter(|it| it.start > self.now && waits(&it.visit)).map(|it| it.start);
        let goes_on = self.executions.values().any(|it| !it.is_over());
        // While nothing goes on and nobody is late, nothing changes before the next start.
        let late = self.plan.iter().flat_map(|plan| &plan.entries);
        let late = late.filter(|it| it.start <= self.now && waits(&it.visit)).count() > 0;
        let soon = self.now.after(AGAIN);
        let at = match (next.min(), goes_on || late) {
            (Some(at), false) => at,
            (Some(at), true) => at.min(soon),
            (None, _) => soon.max(self.now.after(AGAIN * 12)),
        };
        self.push(at, Next::Look);
    }

    fn make_plan(&mut self) -> Result<(), InvalidScenario> {
        let hosts = self.hosts();
        let answers = hosts.iter().filter(|host| host.state != HostState::Lost);
        let answers: BTreeMap<_, _> =
            answers.map(|host| (host.id.clone(), self.answer(host))).collect();
        let begun = self.executions.values().filter(|it| !it.is_over());
        let begun = begun.filter_map(|it| self.visits.get(it.visit()));
        let wanted: Vec<&PlannedVisit> = begun.chain(self.pending()).collect();
        let mut visits: Vec<Visit> = wanted.iter().map(|it| it.visit.clone()).collect();
        visits.sort_by(|a, b| a.id.cmp(&b.id));
        let operations: Vec<Operation> =
            wanted.iter().flat_map(|it| it.operations.iter().cloned()).collect();
        let law = self.law(&hosts);
        let closed_until = |effective: &Effective| match law.gate(effective) {
            Gate::Open => None,
            Gate::Closed { .. } => Some(self.now.after(effective.reopen_after.value)),
        };
        let problem = compile(&Outlook {
            now: self.now,
            horizon: HORIZON,
            policies: &self.conduct.policies,
            freezes: &[],
            hosts: &hosts,
            answers: &answers,
            ledger: &self.ledger,
            visits: &visits,
            operations: &operations,
            finished: &self.finished,
            closed_until: &closed_until,
            expected: Expected::default(),
        });
        let wrong = |why: &dyn std::fmt::Display| InvalidScenario::Plan(why.to_string());
        let made = plan(&problem, self.plan.as_ref(), &Effort::default(), &mut || false);
        let made = made.map_err(|why| wrong(&why))?;
        check(&problem, &made).map_err(|why| wrong(&why))?;
        self.tale.totals.plans += 1;
        if self.plan.is_none() {
            let (placed, not) = (made.entries.len(), made.unplanned.len());
            self.say(format!("{placed} visits have a place in the plan, {not} have none"));
            let why: Vec<String> = made
                .unplanned
                .iter()
                .filter_map(|it| Some(format!("{}: no place: {}", it.visit, it.reasons.first()?)))
                .collect();
            why.into_iter().for_each(|why| self.say(why));
        }
        self.plan = Some(made);
        Ok(())
    }

    pub(super) fn answer(&self, host: &Host) -> Availability {
        self.scenario.answer(host, self.load(host), self.now)
    }

    /// What a host carries now: as many messages for each client as at the begin.
    fn load(&self, host: &Host) -> Load {
        let (began, connections) = (self.scenario.load(host), self.clients.carries(&host.id));
        let messages = u128::from(began.messages_per_s) * u128::from(connections);
        let messages = messages / u128::from(began.connections.max(1));
        Load { connections, messages_per_s: u64::try_from(messages).unwrap_or(u64::MAX) }
    }

    /// What the scheduler takes for the law.
    pub(super) fn law<'b>(&'b self, hosts: &'b [Host]) -> Law<'b> {
        self.law_of(&self.conduct.policies, hosts)
    }

    /// What the law is, as operators wrote it.
    pub(super) fn true_law<'b>(&'b self, hosts: &'b [Host]) -> Law<'b> {
        self.law_of(&self.scenario.policies, hosts)
    }

    fn law_of<'b>(&'b self, policies: &'b PolicySet, hosts: &'b [Host]) -> Law<'b> {
        let (ledger, facts) = (&self.ledger, &self.facts);
        Law { now: self.now, policies, freezes: &[], hosts, ledger, facts }
    }

    fn begin_due(&mut self) {
        let due = self.plan.iter().flat_map(|plan| &plan.entries);
        let due: Vec<VisitId> =
            due.filter(|it| it.start <= self.now).map(|it| it.visit.clone()).collect();
        let may: BTreeSet<VisitId> = self.pending().map(|it| it.visit.id.clone()).collect();
        for visit in due.into_iter().filter(|visit| may.contains(visit)) {
            if let Some(planned) = self.visits.get(&visit).cloned() {
                self.begin(&planned);
            }
        }
    }

    /// Begins a visit if the ledger grants a slot; else it is tried again.
    fn begin(&mut self, planned: &PlannedVisit) {
        let (hosts, visit) = (self.hosts(), &planned.visit);
        let Some(host) = hosts.iter().find(|host| host.id == visit.host) else { return };
        let law = self.law(&hosts);
        let Some(opening) = law.opening(host, planned) else { return };
        let rules = law.rules(host, planned, self.alike(planned));
        let effective = law.effective(host);
        let answers: BTreeMap<_, _> =
            hosts.iter().map(|host| (host.id.clone(), self.answer(host))).collect();
        let Some(answer) = answers.get(&host.id) else { return };
        let course = Wishes::new(planned, &effective, answer, opening.length()).course;
        let mut execution = Execution::new(visit.id.clone(), visit.host.clone(), course);
        let incarnation = host.incarnation;
        let mut events = vec![Event::Approved];
        let mut ledger = self.ledger.clone();
        match visit.slot() {
            None => events = vec![Event::Approved, Event::Begin],
            Some(class) => {
                let remaining = execution.course().remaining(0);
                let grant = Grant {
                    host: &visit.host,
                    offered: incarnation,
                    visit: Some(visit.id.clone()),
                    term: Term(1),
                    class,
                    opening,
                    remaining,
                    once: false,
                    asked: None,
                };
                let seen = Seen { now: self.now, hosts: &hosts, answers: Some(&answers) };
                let Ok(change) = ledger.grant(&grant, &seen, &rules) else { return };
                let Some(epoch) = change.epoch() else { return };
                events.push(Event::Granted { epoch, term: Term(1), incarnation, opening });
            }
        }
        for event in &events {
            if let Ok(reaction) = execution.handle(event, self.now) {
                execution = reaction.next;
            }
        }
        self.ledger = ledger;
        self.tale.totals.most_at_once =
            self.tale.totals.most_at_once.max(self.ledger.slots().len());
        self.say(format!("{} begins", visit.id));
        self.began.insert(visit.id.clone(), self.now);
        self.executions.insert(visit.id.clone(), execution);
        // As its host finds it: what it has not begun itself it looks at first.
        self.react(&visit.id, &Event::Restarted { incarnation });
    }

    /// How many hosts are visited for the same.
    pub(super) fn alike(&self, planned: &PlannedVisit) -> usize {
        let of = |campaign| {
            let shares = |it: &&PlannedVisit| {
                it.visit.batches.iter().any(|batch| batch.campaign == campaign)
            };
            self.visits.values().filter(shares).count()
        };
        planned.visit.batches.iter().map(|batch| of(batch.campaign.clone())).max().unwrap_or(1)
    }

    fn end(mut self, enough: &mut dyn FnMut() -> bool) -> Result<Tale, InvalidScenario> {
        let Scenario { hosts, habits, seed, .. } = self.scenario;
        self.tale.returns = returns(&self.departures, hosts, *habits, *seed, enough);
        if self.tale.returns.is_none() && enough() {
            return Err(InvalidScenario::TooLong);
        }
        let totals = &mut self.tale.totals;
        totals.left = totals.visits.saturating_sub(totals.done + totals.failed);
        Ok(self.tale)
    }
}
