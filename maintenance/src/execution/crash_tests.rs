//! P13: a visit of each kind is crashed at each point of its run, everything after that is lost, and it must come to
//! the same end; no program runs twice as one attempt. Every point is tried, and every pair of points.

use protocol::{GatewayId, Incarnation, Wall};

use super::body_tests::{Body, Crash};
use super::tests::{SECOND, course};
use super::*;
use crate::calendar::Interval;
use crate::fleet::{Host, HostState, Limits, Term, VisitId};
use crate::ledger::{Allowed, Approval, Grant, GrantRules, Ledger, Seen, SlotClass, SlotEpoch};
use crate::verdict::Verdict;

const OPENING: Interval = Interval { from: Wall(0), to: Wall(4_000_000) };

fn id(n: usize) -> GatewayId {
    GatewayId::new(&format!("gw-{n}")).unwrap()
}

/// Why work fails.
const CODE: &str = "exit_7";

/// What dies in a crash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dies {
    /// Only who carries the visit out.
    Executor,
    /// The host's process with it.
    Host,
}

struct World {
    now: Wall,
    body: Body,
    ledger: Ledger,
    /// The stored execution; what is not here is lost in a crash.
    stored: Execution,
    inbox: Vec<Event>,
    /// Whether whoever starts anew does again what it finds unfinished, instead of looking: a mistake.
    blind: bool,
    points: usize,
    crashes: Vec<(usize, Dies)>,
    rules: GrantRules,
    abort_at: Option<Step>,
    /// When a freeze is added; it is taken away once the visit is in the plan again, or waits for a person.
    freeze_at: Option<Step>,
    /// Whether the work fails.
    fails: bool,
    paged: u32,
}

impl World {
    fn new(course: Course, crashes: Vec<(usize, Dies)>, abort_at: Option<Step>) -> Self {
        let works = course.works.len();
        let execution = Execution::new(VisitId::new("v-1").unwrap(), id(0), course);
        let limits = Limits { min_available: 2, max_concurrent: 1 };
        Self {
            now: Wall(1_000),
            body: Body::new(works),
            ledger: Ledger::default(),
            stored: execution,
            inbox: Vec::new(),
            blind: false,
            points: 0,
            crashes,
            rules: GrantRules { approval: Approval::Given, ..GrantRules::plain(limits) },
            abort_at,
            freeze_at: None,
            fails: false,
            paged: 0,
        }
    }

    fn hosts(&self) -> Vec<Host> {
        let mut hosts: Vec<_> =
            (0..4).map(|n| Host::new(id(n), Incarnation(1), HostState::Serving)).collect();
        hosts[0].state = self.body.state;
        hosts[0].incarnation = Incarnation(self.body.life);
        hosts
    }

    /// A moment at which everything may end.
    fn point(&mut self) -> Result<(), Crash> {
        self.points += 1;
        let point = self.points;
        let Some(at) = self.crashes.iter().position(|(at, _)| *at == point) else {
            return Ok(());
        };
        let (_, dies) = self.crashes.remove(at);
        if dies == Dies::Host {
            self.reborn();
        }
        Err(Crash)
    }

    fn reborn(&mut self) {
        self.body.reborn(&self.stored);
    }

    /// One life of the executor, until it crashes or the visit is over.
    fn live(&mut self) -> Result<(), Crash> {
        self.inbox = vec![Event::Restarted { incarnation: Incarnation(self.body.life) }];
        let mut state = self.stored.clone();
        for _ in 0..4_000 {
            if state.is_over() {
                return Ok(());
            }
            if state.step() == Some(Step::Away) && self.body.leaving {
                self.reborn();
                return Err(Crash);
            }
            let here = matches!(state.at(), Some(at) if at.track == Track::Forward);
            if here && self.freeze_at.is_some() && state.step() == self.freeze_at {
                (self.freeze_at, self.rules.allowed) = (None, Allowed::Never);
            }
            // Nobody tries again what cannot be taken back before it is over.
            if matches!(state.stage(), Stage::Planned | Stage::NeedsOperator { .. }) {
                self.rules.allowed = Allowed::AsGranted;
            }
            // A life begins with its word that it has.
            let begins = matches!(self.inbox.first(), Some(Event::Restarted { .. }));
            let frozen = self.rules.allowed == Allowed::Never && state.can_turn_back() && !begins;
            let event = if here && self.abort_at.is_some() && state.step() == self.abort_at {
                Event::Order { by: "alice".into(), order: Order::Abort }
            } else if frozen {
                Event::Frozen { why: "frozen".into() }
            } else if self.inbox.is_empty() {
                self.idle(&state)
            } else {
                self.inbox.remove(0)
            };
            if let Some(next) = self.react(&state, &event)? {
                state = next;
            }
        }
        panic!("stuck at {:?}", state.stage());
    }

    fn react(&mut self, state: &Execution, event: &Event) -> Result<Option<Execution>, Crash> {
        let Ok(reaction) = state.handle(event, self.now) else { return Ok(None) };
        self.point()?;
        let (mut ledger, hosts) = (self.ledger.clone(), self.hosts());
        if matches!(event, Event::Granted { .. }) {
            self.grant(&mut ledger, &hosts);
        }
        let seen = Seen { now: self.now, hosts: &hosts, answers: None };
        if let Err(no) = reaction.ask(&mut ledger, &hosts[0], &seen, &self.rules) {
            let no = Event::Refused { why: no.why, slot_gone: no.slot_gone };
            assert!(!matches!(event, Event::Refused { .. }), "{no:?}");
            return self.react(state, &no);
        }
        // One transaction.
        self.ledger = ledger;
        self.stored = reaction.next.clone();
        self.point()?;
        for effect in &reaction.effects {
            self.carry_out(effect, &reaction.next)?;
            self.point()?;
        }
        Ok(Some(reaction.next))
    }

    fn grant(&self, ledger: &mut Ledger, hosts: &[Host]) {
        let seen = Seen { now: self.now, hosts, answers: None };
        let execution = &self.stored;
        let (host, class) = (id(0), execution.course().slot.unwrap());
        let grant = Grant {
            host: &host,
            offered: Incarnation(self.body.life),
            visit: Some(execution.visit().clone()),
            term: Term(1),
            class,
            opening: OPENING,
            remaining: execution.course().remaining(0),
            once: false,
            asked: None,
        };
        ledger.grant(&grant, &seen, &self.rules).unwrap();
    }

    /// What happens if nobody has anything to say: the plan goes on, an operator answers, time passes.
    fn idle(&mut self, state: &Execution) -> Event {
        let incarnation = Incarnation(self.body.life);
        let slot = state.course().slot;
        match state.stage() {
            Stage::Planned => Event::Approved,
            Stage::Approved if slot.is_none() => Event::Begin,
            Stage::Approved => {
                let epoch = SlotEpoch(self.ledger_epoch() + 1);
                Event::Granted { epoch, term: Term(1), incarnation, opening: OPENING }
            }
            Stage::NeedsOperator { .. } => {
                self.paged += 1;
                Event::Order { by: "alice".into(), order: Order::Retry }
            }
            Stage::Going(_)
            | Stage::Done
            | Stage::Cancelled
            | Stage::Failed { .. }
            | Stage::WrittenOff => {
                self.now = self.now.after(SECOND);
                Event::Tick
            }
        }
    }

    fn ledger_epoch(&self) -> u64 {
        // Each visit of this test has at most a few slots, granted one after the other.
        let ledger: serde_json::Value =
            serde_json::from_slice(&self.ledger.encode().unwrap()).unwrap();
        ledger["epoch"].as_u64().unwrap()
    }

    fn carry_out(&mut self, effect: &Effect, state: &Execution) -> Result<(), Crash> {
        let epoch = state.epoch();
        match *effect {
            Effect::Run { step, work, attempt } => {
                let verdict = self.run(step, work, attempt, state)?;
                let what = match self.fails && step == Step::Operate {
                    true => Report::Failed { code: CODE.into() },
                    false => Report::Done { verdict },
                };
                self.inbox.push(Event::Report { epoch, attempt, what });
            }
            Effect::Probe { step, work, attempt } if self.blind && !step.is_repeatable() => {
                let verdict = self.run(step, work, attempt, state)?;
                let what = Report::Done { verdict };
                self.inbox.push(Event::Report { epoch, attempt, what });
            }
            Effect::Probe { step, attempt, .. } => {
                let mut found = self.body.probe(step, attempt);
                if self.fails && step == Step::Operate && matches!(found, Found::Done { .. }) {
                    found = Found::Failed { code: CODE.into() };
                }
                let what = Report::Found(found);
                self.inbox.push(Event::Report { epoch, attempt, what });
            }
            Effect::Admit(percent) => self.body.admit(percent),
            Effect::Stop { .. } | Effect::Hold | Effect::Continue => {}
            Effect::ForceRest | Effect::Page => {}
        }
        Ok(())
    }

    fn run(
        &mut self,
        step: Step,
        work: usize,
        attempt: u32,
        state: &Execution,
    ) -> Result<Option<Verdict>, Crash> {
        if self.body.begin(step, attempt) {
            self.point()?;
        }
        self.body.end(step, work, attempt, state)
    }

    /// To the end, however often it crashes.
    fn finish(mut self) -> Self {
        for _ in 0..200 {
            if self.live().is_ok() {
                return self;
            }
        }
        panic!("crashes for ever");
    }

    /// What must not depend on crashes.
    fn end(&self) -> (Stage, Vec<bool>, HostState, usize) {
        let execution = &self.stored;
        let works = self.body.works.iter().map(|done| *done > 0).collect();
        (execution.stage().clone(), works, self.body.state, self.ledger.slots().len())
    }
}

/// Each kind of operation, and some together.
fn kinds() -> Vec<(&'static str, Course)> {
    use SlotClass::{Drain, InPlace};
    vec![
        ("drain only", course(Some(Drain), &[])),
        ("restart", course(Some(Drain), &[true])),
        ("restart in place", course(Some(InPlace), &[true])),
        ("certificate, hot", course(None, &[false])),
        ("configuration in place", course(Some(InPlace), &[false])),
        ("upgrade after another work", course(Some(Drain), &[false, true])),
        ("hook", course(Some(Drain), &[false])),
        ("configuration, hook and reboot", course(Some(Drain), &[false, false, true])),
    ]
}

fn check(world: &World, expected: &(Stage, Vec<bool>, HostState, usize), what: &str) {
    let end = world.end();
    assert_eq!(&end, expected, "{what}");
    assert!(!world.body.leaving, "{what}: nobody waited for the host to go");
    for (attempt, runs) in &world.body.runs {
        assert_eq!(*runs, 1, "{what}: attempt {attempt} ran {runs} times");
    }
}

#[test]
fn p13_a_crash_at_any_point_changes_nothing_about_the_end() {
    let mut tried = 0;
    for (name, course) in kinds() {
        let calm = World::new(course.clone(), Vec::new(), None).finish();
        let expected = calm.end();
        assert_eq!(expected.0, Stage::Done, "{name}");
        assert_eq!((expected.2, expected.3), (HostState::Serving, 0), "{name}");
        assert_eq!(calm.paged, 0, "{name}");
        for point in 1..=calm.points {
            for dies in [Dies::Executor, Dies::Host] {
                let what = format!("{name}, {dies:?} dies at {point}");
                let world = World::new(course.clone(), vec![(point, dies)], None).finish();
                check(&world, &expected, &what);
                tried += 1;
            }
        }
    }
    println!("{tried} crashes enumerated");
    assert!(tried > 300, "{tried}");
}

/// P13: a host that says it has begun to reboot, and goes later, is waited for.
#[test]
fn p13_a_host_that_goes_later_is_waited_for_whatever_crashes() {
    let later = |course: Course, crashes| {
        let mut world = World::new(course, crashes, None);
        world.body.goes_later = true;
        world.finish()
    };
    for (name, course) in kinds() {
        if !course.works.iter().any(|work| work.absent) {
            continue;
        }
        let calm = later(course.clone(), Vec::new());
        let expected = calm.end();
        assert_eq!((&expected.0, calm.body.life), (&Stage::Done, 2), "{name}");
        for point in 1..=calm.points {
            for dies in [Dies::Executor, Dies::Host] {
                let world = later(course.clone(), vec![(point, dies)]);
                check(&world, &expected, &format!("{name}, {dies:?} dies at {point}"));
            }
        }
    }
}

#[test]
fn p13_two_crashes_at_any_two_points_change_nothing_about_the_end() {
    let course = course(Some(SlotClass::Drain), &[false, true]);
    let calm = World::new(course.clone(), Vec::new(), None).finish();
    let expected = calm.end();
    let mut tried = 0;
    for first in 1..=calm.points {
        for second in first + 1..=calm.points + 10 {
            let dies = if (first + second) % 2 == 0 { Dies::Host } else { Dies::Executor };
            let crashes = vec![(first, Dies::Executor), (second, dies)];
            let world = World::new(course.clone(), crashes, None).finish();
            check(&world, &expected, &format!("{first}, then {dies:?} at {second}"));
            tried += 1;
        }
    }
    println!("{tried} pairs of crashes enumerated");
}

/// P13: work that fails leaves a host that serves and no slot, whatever crashes, where nobody has to be asked.
#[test]
fn p13_work_that_fails_leaves_nothing_behind_whatever_crashes() {
    let returns = |slot, absent| {
        let on_failure = WorkFailure::Return;
        Course { on_failure, ..course(slot, &[absent]) }
    };
    for (name, course) in [
        ("hook", returns(Some(SlotClass::Drain), false)),
        ("hook in place", course(Some(SlotClass::InPlace), &[false])),
        ("certificate, hot", course(None, &[false])),
    ] {
        let failing = |crashes| {
            let world = World::new(course.clone(), crashes, None);
            World { fails: true, ..world }.finish()
        };
        let calm = failing(Vec::new());
        let expected = calm.end();
        assert_eq!(expected.0, Stage::Failed { code: CODE.into() }, "{name}");
        assert_eq!((expected.2, expected.3, calm.paged), (HostState::Serving, 0, 0), "{name}");
        for point in 1..=calm.points {
            for dies in [Dies::Executor, Dies::Host] {
                let world = failing(vec![(point, dies)]);
                check(&world, &expected, &format!("{name}, {dies:?} dies at {point}"));
            }
        }
    }
}

/// P14: called off at any step before the point of no return, the host serves and nothing is held.
#[test]
fn p14_called_off_anywhere_with_a_crash_anywhere_the_host_serves_again() {
    let steps = [Step::PreCheck, Step::Announce, Step::Drain, Step::HandOff, Step::Quiesced];
    let course = course(Some(SlotClass::Drain), &[true]);
    for step in steps {
        let calm = World::new(course.clone(), Vec::new(), Some(step)).finish();
        let expected = calm.end();
        assert_eq!(expected.0, Stage::Cancelled, "{step:?}");
        assert_eq!((expected.2, expected.3), (HostState::Serving, 0), "{step:?}");
        assert!(calm.now < Wall(60_000), "{step:?}: {:?}", calm.now);
        for point in 1..=calm.points {
            for dies in [Dies::Executor, Dies::Host] {
                let world = World::new(course.clone(), vec![(point, dies)], Some(step)).finish();
                check(&world, &expected, &format!("{step:?}, {dies:?} dies at {point}"));
            }
        }
    }
}

/// A freeze that is added at any step takes back what can be: the host serves and nothing is held until it is over, then all is
/// done. What cannot be taken back goes on.
#[test]
fn p5_a_freeze_takes_back_what_can_be_and_the_rest_is_done_behind_it_whatever_crashes() {
    use Step::{Announce, Away, Drain, HandOff, PreCheck, Quiesced, Verify};
    let course = course(Some(SlotClass::Drain), &[true]);
    let frozen = |step, crashes| {
        let world = World::new(course.clone(), crashes, None);
        World { freeze_at: Some(step), ..world }.finish()
    };
    let refused = |world: &World| {
        let ends = world.stored.journal().iter().filter_map(|record| record.outcome.as_ref());
        ends.filter(|ended| matches!(&ended.end, End::Refused { why } if why == "frozen")).count()
    };
    let before = [PreCheck, Announce, Drain, HandOff, Quiesced].map(|step| (step, 1));
    let behind = [Step::Operate, Away, Verify].map(|step| (step, 0));
    for (step, cuts) in before.into_iter().chain(behind) {
        let calm = frozen(step, Vec::new());
        let expected = calm.end();
        assert_eq!((&expected.0, &expected.1), (&Stage::Done, &vec![true]), "{step:?}");
        assert_eq!((expected.2, expected.3, calm.paged), (HostState::Serving, 0, 0), "{step:?}");
        assert_eq!(refused(&calm), cuts, "{step:?}: {:#?}", calm.stored.journal());
        for point in 1..=calm.points {
            for dies in [Dies::Executor, Dies::Host] {
                let world = frozen(step, vec![(point, dies)]);
                check(&world, &expected, &format!("{step:?}, {dies:?} dies at {point}"));
                assert!(refused(&world) <= cuts, "{step:?}, {dies:?} dies at {point}");
            }
        }
    }
}

/// The proof can fail: who does again what it finds unfinished runs programs twice.
#[test]
fn an_executor_that_does_not_look_first_is_caught() {
    let course = course(Some(SlotClass::Drain), &[false]);
    let points = World::new(course.clone(), Vec::new(), None).finish().points;
    let twice = (1..=points).filter(|point| {
        let crashes = vec![(*point, Dies::Executor)];
        let world = World { blind: true, ..World::new(course.clone(), crashes, None) }.finish();
        world.body.runs.values().any(|runs| *runs > 1)
    });
    let caught = twice.count();
    println!("{caught} of {points} crashes run a program twice");
    assert!(caught > 0);
}
