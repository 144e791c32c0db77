//! P9: all that can happen to three hosts, two schedulers of which one does not know that its reign is over, and a
//! channel that loses, delays, repeats and reorders. Every reachable state is visited, and an observer who sees the
//! hosts as they are judges every step. The law with a part taken out is caught at it.

use std::collections::VecDeque;
use std::sync::LazyLock;
use std::time::Duration;

use protocol::{GatewayId, HashSet, Incarnation, Wall};

use super::*;
use crate::calendar::Interval;
use crate::fleet::{Host, HostState, Limits, Term};
use crate::verdict::{Counts, Outcome, Verdict};

const HOSTS: usize = 3;
const OPENING: Interval = Interval { from: Wall(0), to: Wall(1_000) };
const NOW: Wall = Wall(1);

/// What is explored: how much may happen before nothing new begins.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    limits: Limits,
    /// Whether a scheduler reads first and writes later, so that its view may be out of date; otherwise it does
    /// both at once, which is the same as long as compare-and-set holds.
    apart: bool,
    grants: u64,
    deaths: u8,
    returns: u8,
}

/// What is left out of the law.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutant {
    /// Nothing.
    Law,
    /// The host begins when it is told, as the grant was given once.
    NoRecheck,
    /// A slot is freed when its time is over, wherever its host is.
    FreedByTime,
    /// Only slots count, not who is down without one.
    DownNotCounted,
    /// Who writes does not look whether somebody else has written.
    NoCompareAndSet,
    /// A host begins because it was told, whatever the ledger says and whatever it has heard of.
    Obeys,
}

/// A host as it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Truth {
    Serving,
    Draining(SlotEpoch),
    Quiesced(SlotEpoch),
    Working(SlotEpoch),
    Dead,
}

/// The highest reign and slot that a host of the model has heard of: in the fleet nothing is sent, hosts read their own visits.
#[derive(Debug, Clone, Copy, Default)]
struct Fence {
    term: Term,
    epoch: SlotEpoch,
}

impl Fence {
    /// Takes an instruction, unless it is out of date.
    fn admits(&mut self, term: Term, epoch: SlotEpoch) -> bool {
        let admits = term >= self.term && epoch >= self.epoch;
        if admits {
            (self.term, self.epoch) = (term, epoch);
        }
        admits
    }
}

#[derive(Debug, Clone)]
struct State {
    ledger: Ledger,
    truth: [Truth; HOSTS],
    life: [u64; HOSTS],
    fence: [Fence; HOSTS],
    /// What each scheduler has read; it decides on that.
    read: [Option<Ledger>; 2],
    /// Instructions that were sent: each may arrive now, later, twice or never.
    sent: Vec<(usize, Term, SlotEpoch)>,
    deaths: u8,
    returns: u8,
}

/// What the observer counts: steps that should not have been possible.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
struct Bad {
    /// A host was taken out of service while too few others served.
    below_min: u64,
    /// More hosts are disturbed than may be.
    above_max: u64,
    /// A host is disturbed without the slot that allowed it.
    without_slot: u64,
}

struct Model {
    bounds: Bounds,
    mutant: Mutant,
    seen: HashSet<Vec<u8>>,
    queue: VecDeque<State>,
    steps: u64,
    bad: Bad,
    finished: u64,
}

static IDS: LazyLock<[GatewayId; HOSTS]> =
    LazyLock::new(|| [0, 1, 2].map(|n| GatewayId::new(&format!("gw-{n}")).unwrap()));

fn id(n: usize) -> GatewayId {
    IDS[n].clone()
}

fn verdict(outcome: Outcome) -> Verdict {
    let (evidence, elapsed) = (Counts::default(), Duration::ZERO);
    Verdict { outcome, evidence, clients: 0, moved: 0, departed: 0, elapsed }
}

impl State {
    fn start() -> Self {
        Self {
            ledger: Ledger::default(),
            truth: [Truth::Serving; HOSTS],
            life: [1; HOSTS],
            fence: [Fence::default(); HOSTS],
            read: [None, None],
            sent: Vec::new(),
            deaths: 0,
            returns: 0,
        }
    }

    fn host(&self, n: usize) -> Host {
        let state = match self.truth[n] {
            Truth::Serving => HostState::Serving,
            Truth::Draining(_) => HostState::Draining,
            Truth::Quiesced(_) => HostState::Quiesced,
            Truth::Working(_) => HostState::InMaintenance,
            Truth::Dead => HostState::Lost,
        };
        Host::new(id(n), Incarnation(self.life[n]), state)
    }

    fn hosts(&self) -> Vec<Host> {
        (0..HOSTS).map(|n| self.host(n)).collect()
    }

    fn disturbed(&self, n: usize) -> Option<SlotEpoch> {
        match self.truth[n] {
            Truth::Draining(epoch) | Truth::Quiesced(epoch) | Truth::Working(epoch) => Some(epoch),
            Truth::Serving | Truth::Dead => None,
        }
    }

    fn other_serving(&self, n: usize) -> usize {
        (0..HOSTS).filter(|other| *other != n && self.truth[*other] == Truth::Serving).count()
    }

    /// Everything that matters for what can follow.
    fn key(&self) -> Vec<u8> {
        let mut key = Vec::with_capacity(64);
        let small = |n: u64| u8::try_from(n).unwrap();
        put_ledger(&mut key, &self.ledger);
        for n in 0..HOSTS {
            let (kind, epoch) = match self.truth[n] {
                Truth::Serving => (0, 0),
                Truth::Draining(epoch) => (1, epoch.0),
                Truth::Quiesced(epoch) => (2, epoch.0),
                Truth::Working(epoch) => (3, epoch.0),
                Truth::Dead => (4, 0),
            };
            let Fence { term, epoch: known } = self.fence[n];
            key.extend([kind, small(epoch), small(self.life[n]), small(term.0), small(known.0)]);
        }
        for read in &self.read {
            match read {
                None => key.push(0),
                Some(ledger) if ledger.rev() == self.ledger.rev() => key.push(1),
                Some(ledger) => {
                    key.push(3);
                    put_ledger(&mut key, ledger);
                }
            }
        }
        let mut sent: Vec<_> = self.sent.iter().map(|(n, t, e)| (*n as u64, t.0, e.0)).collect();
        sent.sort_unstable();
        key.extend(sent.iter().flat_map(|(n, term, epoch)| [*n, *term, *epoch]).map(small));
        key.extend([self.deaths, self.returns]);
        key
    }
}

fn put_ledger(key: &mut Vec<u8>, ledger: &Ledger) {
    let small = |n: u64| u8::try_from(n).unwrap();
    key.extend([small(ledger.epoch.0), small(ledger.term.0)]);
    for n in 0..HOSTS {
        let lost = ledger.written_off.iter().find(|lost| lost.host == id(n));
        key.push(lost.map_or(0, |lost| small(lost.incarnation.0)));
        let Some(slot) = ledger.slot(&id(n)) else {
            key.push(0);
            continue;
        };
        let verdict = match slot.verdict.map(|verdict| verdict.outcome) {
            None => 0,
            Some(Outcome::Quiesced) => 1,
            Some(Outcome::Aborted) => 2,
            Some(Outcome::TimedOut) => 3,
        };
        let flags = u8::from(slot.started.is_some())
            | u8::from(slot.crossed.is_some()) << 1
            | u8::from(slot.verified.is_some()) << 2;
        let checked = slot.verified_life.map_or(0, |life| small(life.0));
        key.extend([small(slot.epoch.0), small(slot.incarnation.0), verdict, flags, checked]);
    }
}

impl Model {
    fn explore(bounds: Bounds, mutant: Mutant) -> Self {
        let (seen, queue) = (HashSet::default(), VecDeque::new());
        let (steps, bad, finished) = (0, Bad::default(), 0);
        let mut model = Self { bounds, mutant, seen, queue, steps, bad, finished };
        model.reach(State::start());
        while let Some(state) = model.queue.pop_front() {
            // Views that are out of date multiply everything; the first of these bad ends is enough.
            if mutant == Mutant::NoCompareAndSet && model.bad.above_max > 0 {
                break;
            }
            model.schedulers(&state);
            for n in 0..HOSTS {
                model.host(&state, n);
                model.fate(&state, n);
            }
            for at in 0..state.sent.len() {
                model.arrive(&state, at);
            }
        }
        model
    }

    fn reach(&mut self, mut state: State) {
        self.steps += 1;
        if self.mutant != Mutant::NoCompareAndSet {
            // What is out of date cannot be written.
            let current = state.ledger.rev();
            for read in &mut state.read {
                read.take_if(|read| read.rev() != current || !self.bounds.apart);
            }
        }
        assert!(self.seen.len() < 2_000_000, "this is not small any more");
        if self.seen.insert(state.key()) {
            let disturbed = (0..HOSTS).filter(|n| state.disturbed(*n).is_some()).count();
            self.bad.above_max += u64::from(disturbed > self.bounds.limits.max_concurrent);
            for n in 0..HOSTS {
                let epoch = state.disturbed(n);
                let slot = state.ledger.slot(&id(n)).map(|slot| slot.epoch);
                self.bad.without_slot += u64::from(epoch.is_some() && epoch != slot);
            }
            self.queue.push_back(state);
        }
    }

    /// What a scheduler wants of the ledger, decided on what it has read.
    fn schedulers(&mut self, state: &State) {
        for who in 0..2 {
            if !self.bounds.apart {
                let mut read = state.clone();
                read.read[who] = Some(state.ledger.clone());
                for n in 0..HOSTS {
                    self.decide(&read, who, &state.ledger, n);
                }
                continue;
            }
            if state.read[who].as_ref().is_none_or(|read| read.rev() != state.ledger.rev()) {
                let mut next = state.clone();
                next.read[who] = Some(state.ledger.clone());
                self.reach(next);
            }
            let Some(read) = &state.read[who] else { continue };
            for n in 0..HOSTS {
                self.decide(state, who, read, n);
            }
        }
    }

    fn decide(&mut self, state: &State, who: usize, read: &Ledger, n: usize) {
        let term = Term(u64::try_from(who).unwrap() + 1);
        let host = id(n);
        match read.slot(&host) {
            None if read.epoch.0 < self.bounds.grants => {
                let mut ledger = read.clone();
                if self.grant(&mut ledger, state, term, &host) {
                    let epoch = ledger.slot(&host).unwrap().epoch;
                    self.write(state, who, ledger, Some((n, term, epoch)));
                }
            }
            None => {}
            Some(slot) => {
                let epoch = slot.epoch;
                let mut ledger = read.clone();
                if ledger.hand_back(&host, epoch).is_ok() {
                    self.write(state, who, ledger, None);
                }
                let mut ledger = read.clone();
                if ledger.release(&state.host(n), epoch).is_ok() {
                    self.finished += 1;
                    self.write(state, who, ledger, None);
                }
                if self.mutant == Mutant::FreedByTime {
                    let mut ledger = read.clone();
                    ledger.replay(&Change::Released { host, epoch }).unwrap();
                    self.write(state, who, ledger, None);
                }
            }
        }
    }

    fn grant(&self, ledger: &mut Ledger, state: &State, term: Term, host: &GatewayId) -> bool {
        let mut hosts = state.hosts();
        if self.mutant == Mutant::DownNotCounted {
            hosts.iter_mut().for_each(|host| host.state = HostState::Serving);
        }
        let offered = hosts.iter().find(|known| known.id == *host).unwrap().incarnation;
        let grant = Grant {
            host,
            offered,
            visit: None,
            term,
            class: SlotClass::Drain,
            opening: OPENING,
            remaining: Duration::ZERO,
            once: false,
            asked: None,
        };
        let seen = Seen { now: NOW, hosts: &hosts, answers: None };
        ledger.grant(&grant, &seen, &GrantRules::plain(self.bounds.limits)).is_ok()
    }

    /// Stores a ledger if nobody has stored one since it was read; then the instruction is sent.
    fn write(
        &mut self,
        state: &State,
        who: usize,
        ledger: Ledger,
        sent: Option<(usize, Term, SlotEpoch)>,
    ) {
        let mut next = state.clone();
        let read = next.read[who].take();
        let current = read.is_some_and(|read| read.rev() == state.ledger.rev());
        if current || self.mutant == Mutant::NoCompareAndSet {
            next.ledger = ledger;
            // What was sent can arrive again anyway.
            next.sent.extend(sent.filter(|sent| !state.sent.contains(sent)));
        }
        self.reach(next);
    }

    /// An instruction arrives: the host asks the ledger again, and begins in the same transaction.
    fn arrive(&mut self, state: &State, at: usize) {
        let (n, term, epoch) = state.sent[at];
        let mut next = state.clone();
        if state.truth[n] != Truth::Serving {
            return;
        }
        if !next.fence[n].admits(term, epoch) && self.mutant != Mutant::Obeys {
            return;
        }
        let limits = if self.mutant == Mutant::NoRecheck {
            Limits { min_available: 0, max_concurrent: HOSTS }
        } else {
            self.bounds.limits
        };
        let mut hosts = state.hosts();
        if self.mutant == Mutant::DownNotCounted {
            hosts.iter_mut().for_each(|host| host.state = HostState::Serving);
        }
        let seen = Seen { now: NOW, hosts: &hosts, answers: None };
        let rules = GrantRules::plain(limits);
        let started = next.ledger.start(&id(n), epoch, Duration::ZERO, &seen, &rules).is_ok();
        if started || self.mutant == Mutant::Obeys {
            let few = state.other_serving(n) < self.bounds.limits.min_available;
            self.bad.below_min += u64::from(few);
            next.truth[n] = Truth::Draining(epoch);
        }
        self.reach(next);
    }

    /// What a host does by itself, with its own transactions.
    fn host(&mut self, state: &State, n: usize) {
        let (host, limits) = (id(n), self.bounds.limits);
        let ended = match state.truth[n] {
            Truth::Serving | Truth::Dead => return self.serve(state, n),
            Truth::Draining(epoch) => {
                let mut next = state.clone();
                let _ = next.ledger.conclude(&host, epoch, verdict(Outcome::Quiesced));
                next.truth[n] = Truth::Quiesced(epoch);
                self.reach(next);
                epoch
            }
            Truth::Quiesced(epoch) => {
                let mut next = state.clone();
                let hosts = state.hosts();
                let seen = Seen { now: NOW, hosts: &hosts, answers: None };
                let rules = GrantRules::plain(limits);
                if next.ledger.cross(&host, epoch, Duration::ZERO, &seen, &rules).is_ok() {
                    next.truth[n] = Truth::Working(epoch);
                    self.reach(next);
                }
                epoch
            }
            Truth::Working(_) => {
                let mut next = state.clone();
                next.truth[n] = Truth::Serving;
                return self.reach(next);
            }
        };
        // Called off.
        let mut next = state.clone();
        let _ = next.ledger.conclude(&host, ended, verdict(Outcome::Aborted));
        next.truth[n] = Truth::Serving;
        self.reach(next);
    }

    /// A host that serves again says what it knows of a slot that it finds held for it.
    fn serve(&mut self, state: &State, n: usize) {
        let Some(slot) = state.ledger.slot(&id(n)) else { return };
        if state.truth[n] != Truth::Serving || slot.started.is_none() {
            return;
        }
        let mut next = state.clone();
        let life = Incarnation(state.life[n]);
        let changed = if slot.crossed.is_some() && slot.verified_life != Some(life) {
            next.ledger.verify(NOW, &id(n), slot.epoch, life).is_ok()
        } else {
            let aborted = verdict(Outcome::Aborted);
            slot.verdict.is_none() && next.ledger.conclude(&id(n), slot.epoch, aborted).is_ok()
        };
        if changed {
            self.reach(next);
        }
    }

    /// Hosts die, and come back in a new life; somebody may give them up.
    fn fate(&mut self, state: &State, n: usize) {
        if state.truth[n] != Truth::Dead && state.deaths < self.bounds.deaths {
            let mut next = state.clone();
            next.truth[n] = Truth::Dead;
            next.deaths += 1;
            self.reach(next);
        }
        if state.truth[n] != Truth::Dead {
            return;
        }
        if state.returns < self.bounds.returns {
            let mut next = state.clone();
            next.truth[n] = Truth::Serving;
            next.life[n] += 1;
            next.returns += 1;
            self.reach(next);
        }
        let epoch = state.ledger.slot(&id(n)).map(|slot| slot.epoch);
        let mut next = state.clone();
        if state.ledger.is_registered(&state.host(n))
            && next.ledger.write_off(NOW, &state.host(n), epoch, "alice", "gone").is_ok()
        {
            self.reach(next);
        }
    }
}

const BOUNDS: Bounds = Bounds {
    limits: Limits { min_available: 1, max_concurrent: 2 },
    apart: false,
    grants: 2,
    deaths: 1,
    returns: 1,
};

#[test]
fn p9_two_schedulers_and_a_lossy_channel_never_break_the_law() {
    let all = |min_available, max_concurrent, apart, grants, deaths| {
        let limits = Limits { min_available, max_concurrent };
        let bounds = Bounds { limits, apart, grants, deaths, returns: deaths };
        let model = Model::explore(bounds, Mutant::Law);
        println!("{bounds:?}: {} states, {} steps", model.seen.len(), model.steps);
        assert_eq!(model.bad, Bad::default(), "{bounds:?}");
        assert!(model.finished > 0);
        model.seen.len()
    };
    let states = [all(1, 2, true, 2, 0), all(2, 1, false, 2, 1), all(1, 2, false, 2, 1)];
    let states: usize = states.into_iter().sum();
    println!("{states} states in all");
    assert!(states > 1_000, "{states}");
}

#[test]
fn the_law_with_a_part_taken_out_is_caught() {
    let bad = |mutant, bounds| {
        let model = Model::explore(bounds, mutant);
        println!("{mutant:?}: {} states, {:?}", model.seen.len(), model.bad);
        model.bad
    };
    let few = Bounds { returns: 0, ..BOUNDS };
    assert!(bad(Mutant::NoRecheck, few).below_min > 0);
    assert!(bad(Mutant::DownNotCounted, few).below_min > 0);
    let one = Limits { min_available: 1, max_concurrent: 1 };
    let alone = Bounds { limits: one, deaths: 0, ..few };
    let freed = bad(Mutant::FreedByTime, alone);
    assert!(freed.without_slot > 0 && freed.above_max > 0);
    let obeys = bad(Mutant::Obeys, alone);
    assert!(obeys.without_slot > 0 && obeys.above_max > 0);
    let blind = bad(Mutant::NoCompareAndSet, Bounds { apart: true, ..alone });
    assert!(blind.above_max > 0);
}
