//! The machine, turn by turn.

use std::time::Duration;

use protocol::{GatewayId, Incarnation, Wall};

use super::*;
use crate::calendar::Interval;
use crate::fleet::{Preferred, Term, VisitId};
use crate::ledger::{SlotClass, SlotEpoch};
use crate::verdict::{Counts, Outcome, Verdict};

pub(super) const SECOND: Duration = Duration::from_secs(1);
const EPOCH: Option<SlotEpoch> = Some(SlotEpoch(4));
const OPENING: Interval = Interval { from: Wall(0), to: Wall(1_000_000) };

pub(super) fn course(slot: Option<SlotClass>, works: &[bool]) -> Course {
    let work = |(n, absent): (usize, &bool)| Work {
        operation: format!("op-{n}"),
        absent: *absent,
        limit: 60 * SECOND,
        estimate: 5 * SECOND,
    };
    Course::new(CourseWishes {
        slot,
        works: works.iter().enumerate().map(work).collect(),
        announce: SECOND,
        drain: 60 * SECOND,
        drain_estimate: 10 * SECOND,
        on_timeout: DrainTimeout::Undrain,
        hold: if works.is_empty() { 3 * SECOND } else { Duration::ZERO },
        patience: 60 * SECOND,
        verify_tries: 2,
        return_by: 60 * SECOND,
        warming: Warming { from_percent: 5, over: 4 * SECOND },
        on_failure: WorkFailure::StayOut,
        soak: 2 * SECOND,
    })
}

fn verdict(outcome: Outcome) -> Option<Verdict> {
    let (evidence, elapsed) = (Counts::default(), SECOND);
    Some(Verdict { outcome, evidence, clients: 9, moved: 9, departed: 0, elapsed })
}

pub(super) fn planned(course: Course) -> Execution {
    let host = GatewayId::new("gw-0").unwrap();
    Execution::new(VisitId::new("v-1").unwrap(), host, course)
}

/// What follows from an event that must not be ignored; the state with its reaction's asks and effects.
pub(super) fn on(state: &mut Execution, now: u64, event: &Event) -> (Vec<LedgerStep>, Vec<Effect>) {
    let reaction = state.handle(event, Wall(now)).unwrap();
    let bytes = reaction.next.encode().unwrap();
    assert_eq!(Execution::decode(&bytes).unwrap(), reaction.next);
    *state = reaction.next;
    (reaction.ledger, reaction.effects)
}

/// The step that it is at ends well.
pub(super) fn end(state: &mut Execution, now: u64) -> (Vec<LedgerStep>, Vec<Effect>) {
    let event = done(state);
    on(state, now, &event)
}

/// The step that it is at fails.
pub(super) fn fail(state: &mut Execution, now: u64) -> (Vec<LedgerStep>, Vec<Effect>) {
    let event = report(state, Report::Failed { code: "exit 1".into() });
    on(state, now, &event)
}

fn granted() -> Event {
    let (epoch, term) = (SlotEpoch(4), Term(2));
    Event::Granted { epoch, term, incarnation: Incarnation(7), opening: OPENING }
}

fn done(state: &Execution) -> Event {
    let verdict = verdict(Outcome::Quiesced).filter(|_| state.step() == Some(Step::Quiesced));
    report(state, Report::Done { verdict })
}

pub(super) fn report(state: &Execution, what: Report) -> Event {
    Event::Report { epoch: EPOCH, attempt: state.at().unwrap().attempt, what }
}

pub(super) fn order(order: Order) -> Event {
    Event::Order { by: "alice".into(), order }
}

/// A visit that has been carried as far as a step.
pub(super) fn at(course: Course, step: Step) -> Execution {
    let mut state = planned(course);
    for event in [Event::Approved, granted()] {
        on(&mut state, 1_000, &event);
    }
    let mut now = 1_000;
    while state.step() != Some(step) {
        let waits = state.step().is_some_and(|step| !step.is_run());
        let event = if waits { Event::Tick } else { done(&state) };
        now += if waits { 5_000 } else { 0 };
        on(&mut state, now, &event);
    }
    state
}

/// What the host says of an attempt, in its first life.
fn said(attempt: u32, output: &str) -> Event {
    Event::Said { attempt, incarnation: Incarnation(7), output: output.into() }
}

/// A new life of the host.
pub(super) fn reborn(life: u64) -> Event {
    Event::Restarted { incarnation: Incarnation(life) }
}

pub(super) fn upgrade() -> Course {
    course(Some(SlotClass::Drain), &[false, false])
}

pub(super) fn faulted(state: &Execution) -> Option<&Fault> {
    match state.stage() {
        Stage::NeedsOperator { fault, .. } => Some(fault),
        Stage::Planned
        | Stage::Approved
        | Stage::Going(_)
        | Stage::Done
        | Stage::Cancelled
        | Stage::Failed { .. }
        | Stage::WrittenOff => None,
    }
}

fn because(state: &Execution) -> Option<&Because> {
    match &state.at()?.track {
        Track::Back { because, .. } => Some(because),
        Track::Forward => None,
    }
}

#[test]
fn the_ledger_is_asked_when_the_host_is_disturbed_and_before_each_work() {
    let mut state = planned(upgrade());
    assert_eq!(state.handle(&granted(), Wall(0)), Err(Ignored::NotNow));
    state = at(upgrade(), Step::PreCheck);
    let (ledger, effects) = end(&mut state, 2_000);
    assert_eq!(ledger, [LedgerStep::Start { remaining: 25 * SECOND }]);
    assert_eq!(effects, [Effect::Run { step: Step::Announce, work: 0, attempt: 2 }]);
    state = at(upgrade(), Step::Quiesced);
    let (ledger, _) = end(&mut state, 2_000);
    let cross = LedgerStep::Cross { remaining: 14 * SECOND };
    assert!(matches!(&ledger[..], [LedgerStep::Conclude(_), last] if *last == cross), "{ledger:?}");
    assert!(state.is_past_return() && state.stays_out());
    let (ledger, effects) = end(&mut state, 2_000);
    assert_eq!(ledger, [LedgerStep::Cross { remaining: 9 * SECOND }]);
    assert!(matches!(effects[..], [Effect::Run { step: Step::Operate, work: 1, .. }]));
}

/// P7: what belongs to another slot or an older attempt changes nothing.
#[test]
fn p7_reports_of_another_slot_or_attempt_change_nothing() {
    let state = at(upgrade(), Step::Drain);
    let attempt = state.at().unwrap().attempt;
    let done = || Report::Done { verdict: None };
    for (epoch, attempt) in [(Some(SlotEpoch(3)), attempt), (EPOCH, attempt - 1), (None, attempt)] {
        let old = Event::Report { epoch, attempt, what: done() };
        assert_eq!(state.handle(&old, Wall(1_000)), Err(Ignored::Stale));
    }
    let old = Event::Restarted { incarnation: Incarnation(6) };
    assert_eq!(state.handle(&old, Wall(1_000)), Err(Ignored::Stale));
}

/// P4 and R3: refused at the start, the slot goes back unused; refused before the first work, the host serves again;
/// refused before a later one, the rest is left out and the host brought back.
#[test]
fn p4_what_the_ledger_refuses_is_not_done() {
    let refused = Event::Refused { why: "window is not open".into(), slot_gone: false };
    let mut state = at(upgrade(), Step::PreCheck);
    let (ledger, effects) = on(&mut state, 2_000, &refused);
    assert_eq!((ledger, effects), (vec![LedgerStep::HandBack], vec![]));
    assert_eq!((state.stage(), state.epoch()), (&Stage::Planned, None));

    state = at(upgrade(), Step::Quiesced);
    let (_, effects) = on(&mut state, 2_000, &refused);
    assert!(matches!(effects[..], [Effect::Run { step: Step::Undrain, .. }]));
    let (ledger, _) = end(&mut state, 2_000);
    assert!(matches!(
        ledger[..],
        [LedgerStep::Conclude(Verdict { outcome: Outcome::Aborted, .. })]
    ));
    let (ledger, _) = on(&mut state, 2_000, &Event::Tick);
    assert_eq!((ledger, state.stage()), (vec![LedgerStep::Release], &Stage::Planned));

    state = at(upgrade(), Step::Operate);
    let (_, effects) = on(&mut state, 2_000, &refused);
    assert!(matches!(effects[..], [Effect::Run { step: Step::Verify, .. }]), "{effects:?}");
    let left_out = state
        .journal()
        .iter()
        .filter(|record| matches!(&record.outcome, Some(Ended { end: End::Refused { .. }, .. })));
    assert_eq!(left_out.map(|record| record.work).collect::<Vec<_>>(), [1]);

    let gone = Event::Refused { why: "host holds no slot".into(), slot_gone: true };
    let (_, effects) = on(&mut state, 2_000, &gone);
    assert_eq!((state.stage(), effects), (&Stage::WrittenOff, vec![Effect::Admit(100)]));
    assert_eq!(state.handle(&Event::Tick, Wall(0)), Err(Ignored::Over));
}

#[test]
fn a_window_that_ends_turns_back_what_can_be_taken_back_and_nothing_else() {
    for step in [Step::Announce, Step::Drain, Step::HandOff, Step::Quiesced] {
        let mut state = at(upgrade(), step);
        on(&mut state, 1_000_000, &Event::Tick);
        assert_eq!(because(&state), Some(&Because::WindowEnd), "{step:?}");
    }
    let mut state = at(upgrade(), Step::PreCheck);
    let (ledger, _) = on(&mut state, 1_000_000, &Event::Tick);
    assert_eq!((ledger, state.stage()), (vec![LedgerStep::HandBack], &Stage::Planned));
    let mut state = at(upgrade(), Step::Operate);
    on(&mut state, 1_000_000, &Event::Tick);
    assert_eq!(faulted(&state), Some(&Fault::TimedOut));
    // A drain without work is on its way to serve again: there is nothing to turn back.
    let mut state = at(course(Some(SlotClass::Drain), &[]), Step::Hold);
    on(&mut state, 1_000_000, &Event::Tick);
    assert_eq!(state.step(), Some(Step::Verify));
}

#[test]
fn a_freeze_turns_back_what_can_be_taken_back_with_its_reason_and_nothing_else() {
    let frozen = Event::Frozen { why: "frozen by f-1 of ada: launch".into() };
    for step in [Step::Announce, Step::Drain, Step::HandOff, Step::Quiesced] {
        let mut state = at(upgrade(), step);
        let (_, effects) = on(&mut state, 2_000, &frozen);
        assert!(matches!(effects[0], Effect::Stop { step: stopped, .. } if stopped == step));
        let why = "frozen by f-1 of ada: launch".to_owned();
        assert_eq!(because(&state), Some(&Because::Refused { why }), "{step:?}");
        assert_eq!(
            state.handle(&frozen, Wall(2_000)),
            Err(Ignored::NotNow),
            "it is on its way back"
        );
    }
    // Also while it waits for a person, or stands still.
    let mut state = at(Course { on_timeout: DrainTimeout::Ask, ..upgrade() }, Step::Drain);
    on(&mut state, 61_000, &Event::Tick);
    assert_eq!(faulted(&state), Some(&Fault::TimedOut));
    on(&mut state, 61_001, &frozen);
    end(&mut state, 61_002);
    let (ledger, _) = on(&mut state, 61_003, &Event::Tick);
    assert_eq!((ledger, state.stage()), (vec![LedgerStep::Release], &Stage::Planned));
    let told = state.notices();
    assert_eq!(told.last().unwrap().why.as_deref(), Some("frozen by f-1 of ada: launch"));
    let mut state = at(upgrade(), Step::Drain);
    on(&mut state, 2_000, &order(Order::Pause));
    on(&mut state, 2_001, &frozen);
    assert_eq!((state.step(), state.is_paused()), (Some(Step::Undrain), false));

    let mut state = at(upgrade(), Step::PreCheck);
    let (ledger, _) = on(&mut state, 2_000, &frozen);
    assert_eq!((ledger, state.stage()), (vec![LedgerStep::HandBack], &Stage::Planned));
    let state = at(upgrade(), Step::Operate);
    assert_eq!(state.handle(&frozen, Wall(2_000)), Err(Ignored::NotNow));
    let mut state = at(course(Some(SlotClass::Drain), &[]), Step::Hold);
    on(&mut state, 2_000, &frozen);
    assert_eq!(state.step(), Some(Step::Verify), "it is only held drained");
}

#[test]
fn a_drain_that_takes_too_long_does_what_its_policy_says() {
    let with = |on_timeout| Course { on_timeout, ..upgrade() };
    let late = 61_000;
    let mut state = at(with(DrainTimeout::Undrain), Step::Drain);
    assert_eq!(state.handle(&Event::Tick, Wall(late - 1)), Err(Ignored::NotNow));
    let (ledger, effects) = on(&mut state, late, &Event::Tick);
    assert_eq!(ledger, [LedgerStep::Fail]);
    assert!(matches!(effects[0], Effect::Stop { step: Step::Drain, .. }));
    assert_eq!(because(&state), Some(&Because::TimedOut));

    let mut state = at(with(DrainTimeout::Extend), Step::Drain);
    on(&mut state, late, &Event::Tick);
    assert_eq!(state.at().unwrap().deadline, Wall(late + 60_000));
    on(&mut state, 999_999, &Event::Tick);
    assert_eq!(state.at().unwrap().deadline, OPENING.to);
    on(&mut state, 1_000_000, &Event::Tick);
    assert_eq!(because(&state), Some(&Because::WindowEnd));

    let mut state = at(with(DrainTimeout::ForceRest), Step::Drain);
    let (_, effects) = on(&mut state, late, &Event::Tick);
    assert_eq!(effects, [Effect::ForceRest]);
    on(&mut state, late + 60_000, &Event::Tick);
    assert_eq!(because(&state), Some(&Because::TimedOut));

    let mut state = at(with(DrainTimeout::Ask), Step::Drain);
    let (_, effects) = on(&mut state, late, &Event::Tick);
    assert_eq!(effects, [Effect::Hold, Effect::Page]);
    let asked = state.clone();
    let (_, effects) = on(&mut state, late + 5, &order(Order::Extend));
    assert_eq!(effects, [Effect::Continue]);
    state = asked.clone();
    on(&mut state, late + 5, &order(Order::ForceRest));
    assert!(state.at().unwrap().forced && faulted(&state).is_none());
    state = asked.clone();
    on(&mut state, late + 5, &order(Order::Abort));
    assert!(matches!(because(&state), Some(Because::Cancelled { by }) if by == "alice"));
    assert_eq!(asked.handle(&order(Order::Skip), Wall(late)), Err(Ignored::NotSkipped));
}

#[test]
fn a_paused_visit_begins_no_step_and_moves_nobody_until_it_goes_on() {
    let mut state = at(upgrade(), Step::Drain);
    let (_, effects) = on(&mut state, 2_000, &order(Order::Pause));
    assert_eq!(effects, [Effect::Hold]);
    assert_eq!(state.handle(&Event::Tick, Wall(900_000)), Err(Ignored::NotNow));
    // Whoever starts anew in between is told again.
    let mut crashed = state.clone();
    on(&mut crashed, 3_000, &Event::Restarted { incarnation: Incarnation(7) });
    let (_, effects) = on(&mut crashed, 3_000, &report(&state, Report::Found(Found::NotStarted)));
    assert!(matches!(effects[..], [Effect::Run { step: Step::Drain, .. }, Effect::Hold]));
    end(&mut state, 5_000);
    assert_eq!((state.step(), state.at().unwrap().phase), (Some(Step::Drain), Phase::Between));
    let (_, effects) = on(&mut state, 6_000, &order(Order::Resume));
    assert!(matches!(effects[..], [Effect::Run { step: Step::HandOff, .. }]));
}

/// R12 and P14.
#[test]
fn p14_nothing_is_called_off_past_the_point_of_no_return() {
    let state = at(upgrade(), Step::Operate);
    assert_eq!(state.handle(&order(Order::Abort), Wall(0)), Err(Ignored::PastReturn));
    let mut state = planned(upgrade());
    on(&mut state, 0, &order(Order::Abort));
    assert_eq!(state.stage(), &Stage::Cancelled);
}

#[test]
fn what_fails_before_the_work_is_undone_and_what_fails_behind_it_waits_for_a_person() {
    let mut state = at(upgrade(), Step::HandOff);
    let (ledger, _) = fail(&mut state, 2_000);
    assert_eq!(ledger, [LedgerStep::Fail]);
    assert!(matches!(because(&state), Some(Because::Failed { .. })));
    end(&mut state, 2_000);
    on(&mut state, 2_000, &Event::Tick);
    assert_eq!(state.stage(), &Stage::Failed { code: "exit 1".into() });

    // Checks are tried twice; then somebody is asked.
    let mut state = at(upgrade(), Step::Verify);
    fail(&mut state, 2_000);
    assert_eq!((state.step(), state.at().unwrap().tries), (Some(Step::Verify), 2));
    let (ledger, effects) = fail(&mut state, 2_000);
    assert_eq!((ledger, effects), (vec![LedgerStep::Fail], vec![Effect::Page]));
    let asked = state.clone();
    on(&mut state, 3_000, &order(Order::Retry));
    assert_eq!((state.step(), state.at().unwrap().tries), (Some(Step::Verify), 1));
    state = asked.clone();
    let (ledger, effects) = on(&mut state, 3_000, &order(Order::Skip));
    assert_eq!(ledger, [LedgerStep::Verify(Incarnation(7))]);
    assert!(effects.contains(&Effect::Admit(5)), "{effects:?}");
    state = asked;
    let reason = "disk died".to_owned();
    let (ledger, _) = on(&mut state, 3_000, &order(Order::WriteOff { reason: reason.clone() }));
    let actor = "alice".to_owned();
    assert_eq!(ledger.last(), Some(&LedgerStep::WriteOff { actor, reason }));
    assert_eq!(state.stage(), &Stage::WrittenOff);
}

#[test]
fn a_host_that_goes_away_is_waited_for_and_then_given_to_a_person() {
    let reboot = || course(Some(SlotClass::Drain), &[true]);
    let mut state = at(reboot(), Step::Away);
    assert_eq!(state.handle(&Event::HostLost, Wall(2_000)), Err(Ignored::NotNow));
    let (ledger, _) = on(&mut state, 61_000, &Event::Tick);
    assert_eq!((ledger, faulted(&state)), (vec![LedgerStep::Fail], Some(&Fault::Lost)));
    on(&mut state, 99_000, &Event::Restarted { incarnation: Incarnation(8) });
    assert_eq!(state.step(), Some(Step::Verify));

    let mut state = at(reboot(), Step::Drain);
    let (ledger, _) = on(&mut state, 2_000, &Event::HostLost);
    assert_eq!((ledger, faulted(&state)), (vec![LedgerStep::Fail], Some(&Fault::Lost)));
    on(&mut state, 3_000, &Event::Restarted { incarnation: Incarnation(8) });
    assert_eq!(state.step(), Some(Step::Announce));

    let mut state = at(reboot(), Step::PreCheck);
    let (ledger, _) = on(&mut state, 2_000, &Event::HostLost);
    assert_eq!((ledger, state.stage()), (vec![LedgerStep::HandBack], &Stage::Planned));
}

#[test]
fn a_life_that_follows_one_that_was_drained_is_drained_only_if_the_ledger_still_allows_it() {
    let reborn = Event::Restarted { incarnation: Incarnation(8) };
    let refused = Event::Refused { why: "too few serve".into(), slot_gone: false };
    for step in [Step::Announce, Step::Drain, Step::Quiesced] {
        let mut state = at(upgrade(), step);
        let reaction = state.handle(&reborn, Wall(2_000)).unwrap();
        assert!(matches!(reaction.ledger[..], [LedgerStep::Start { .. }]), "{step:?}");
        on(&mut state, 2_000, &refused);
        assert!(matches!(because(&state), Some(Because::Refused { .. })), "{step:?}");

        // Who comes back while the visit is paused is looked at when it goes on.
        let mut state = at(upgrade(), step);
        on(&mut state, 2_000, &order(Order::Pause));
        let (ledger, _) = on(&mut state, 2_000, &reborn);
        assert_eq!(ledger, []);
        let (ledger, _) = on(&mut state, 2_000, &order(Order::Resume));
        assert!(matches!(ledger[..], [LedgerStep::Start { .. }]), "{step:?}");
        assert_eq!(state.step(), Some(Step::Announce));
    }
}

#[test]
fn a_life_that_follows_one_that_was_checked_is_checked_too() {
    for (step, asked) in [
        (Step::Verify, vec![]),
        (Step::Warm, vec![]),
        (Step::Soak, vec![LedgerStep::Fail]),
        (Step::Release, vec![]),
    ] {
        let mut state = at(upgrade(), step);
        let before = done(&state);
        let (ledger, effects) = on(&mut state, 20_000, &reborn(8));
        assert_eq!(ledger, asked, "{step:?}");
        assert!(matches!(effects[..], [Effect::Run { step: Step::Verify, .. }]), "{step:?}");
        assert_eq!(state.handle(&before, Wall(20_000)), Err(Ignored::Stale));
        let (ledger, _) = end(&mut state, 20_000);
        assert_eq!(ledger, [LedgerStep::Verify(Incarnation(8))], "{step:?}");
    }

    // Also one that begins while the visit is paused behind its checks.
    let mut state = at(upgrade(), Step::Verify);
    on(&mut state, 2_000, &order(Order::Pause));
    end(&mut state, 2_000);
    on(&mut state, 2_000, &reborn(8));
    on(&mut state, 2_000, &order(Order::Resume));
    assert_eq!(state.step(), Some(Step::Verify));

    // Also where only the slot is left to be given back: whoever was asked about it is not asked in vain.
    let mut state = at(upgrade(), Step::Release);
    let refused = Event::Refused { why: "host is not serving again".into(), slot_gone: false };
    on(&mut state, 990_000, &refused);
    on(&mut state, 990_000, &reborn(8));
    assert_eq!((state.step(), faulted(&state)), (Some(Step::Verify), None));
    let mut state = at(course(Some(SlotClass::InPlace), &[false]), Step::Operate);
    fail(&mut state, 2_000);
    end(&mut state, 2_000);
    end(&mut state, 2_000);
    assert_eq!(state.step(), Some(Step::Release));
    on(&mut state, 2_000, &reborn(8));
    assert_eq!(state.step(), Some(Step::Verify));
}

#[test]
fn work_that_fails_keeps_a_drained_host_out_or_brings_it_back_as_the_policy_says() {
    let hook = course(Some(SlotClass::Drain), &[false]);
    let mut state = at(hook.clone(), Step::Operate);
    fail(&mut state, 2_000);
    assert_eq!(faulted(&state), Some(&Fault::Failed { code: "exit 1".into() }));
    assert!(state.stays_out());

    let mut state = at(Course { on_failure: WorkFailure::Return, ..hook }, Step::Operate);
    let attempt = state.at().unwrap().attempt;
    on(&mut state, 2_000, &said(attempt, "disk full"));
    let (ledger, effects) = fail(&mut state, 2_000);
    assert_eq!(ledger, [LedgerStep::Fail]);
    assert!(matches!(effects[..], [Effect::Run { step: Step::UndoHook, .. }]), "{effects:?}");
    assert!(state.stays_out());
    end(&mut state, 2_000);
    let (ledger, effects) = end(&mut state, 2_000);
    assert_eq!(ledger, [LedgerStep::Verify(Incarnation(7))]);
    assert!(matches!(effects[..], [Effect::Run { step: Step::Undrain, .. }]), "{effects:?}");
    end(&mut state, 2_000);
    on(&mut state, 2_000, &Event::Tick);
    assert_eq!(state.stage(), &Stage::Failed { code: "exit 1".into() });
    let said: Vec<_> = state.journal().iter().filter_map(|it| it.output.as_deref()).collect();
    assert_eq!(said, ["disk full"]);
}

#[test]
fn a_successor_that_dies_leaves_the_visit_to_the_life_before_and_it_fails() {
    let mut state = at(course(Some(SlotClass::InPlace), &[true]), Step::Operate);
    let taken_back = Event::TakenBack { incarnation: Incarnation(7) };
    assert_eq!(state.handle(&taken_back, Wall(2_000)), Err(Ignored::Stale));
    on(&mut state, 2_000, &reborn(8));
    let found = report(&state, Report::Found(Found::Done { verdict: None }));
    on(&mut state, 2_000, &found);
    assert_eq!(state.step(), Some(Step::Verify));
    assert_eq!(state.handle(&reborn(7), Wall(2_000)), Err(Ignored::Stale));
    on(&mut state, 2_000, &taken_back);
    end(&mut state, 2_000);
    let (ledger, _) = end(&mut state, 2_000);
    assert_eq!(ledger, [LedgerStep::Verify(Incarnation(7))]);
    on(&mut state, 2_000, &Event::Tick);
    assert_eq!(state.stage(), &Stage::Failed { code: "successor_is_gone".into() });
    // Where a host was drained, nobody has followed in its place.
    let state = at(course(Some(SlotClass::Drain), &[true]), Step::Operate);
    assert_eq!(state.handle(&taken_back, Wall(2_000)), Err(Ignored::Stale));
}

#[test]
fn a_host_that_dies_again_and_again_after_its_checks_is_given_to_a_person() {
    let mut state = at(upgrade(), Step::Warm);
    let mut life = 7;
    while faulted(&state).is_none() {
        life += 1;
        assert!(life < 20);
        on(&mut state, 20_000, &Event::Restarted { incarnation: Incarnation(life) });
    }
    assert_eq!(faulted(&state), Some(&Fault::Failed { code: "restarts".into() }));
    on(&mut state, 20_000, &order(Order::Retry));
    let (ledger, _) = end(&mut state, 20_000);
    assert_eq!(ledger, [LedgerStep::Verify(Incarnation(life))]);
}

#[test]
fn a_slot_that_is_not_released_in_time_pages_somebody_and_stays_asked_for() {
    let mut state = at(upgrade(), Step::Release);
    let refused = Event::Refused { why: "host is not serving again".into(), slot_gone: false };
    assert_eq!(state.handle(&refused, Wall(12_000)), Err(Ignored::NotNow));
    on(&mut state, 990_000, &refused);
    assert_eq!(faulted(&state), Some(&Fault::TimedOut));
    let (ledger, _) = on(&mut state, 999_000, &Event::Tick);
    assert_eq!((ledger, state.stage()), (vec![LedgerStep::Release], &Stage::Done));
}

#[test]
fn warming_admits_more_and_more() {
    let warming = Warming { from_percent: 5, over: 100 * SECOND };
    let admits = [0, 1, 50, 99, 100, 101].map(|s| warming.admit(s * SECOND));
    assert_eq!(admits, [5, 5, 52, 99, 100, 100]);
    assert_eq!(Warming { from_percent: 5, over: Duration::ZERO }.admit(Duration::ZERO), 100);
}

#[test]
fn a_visit_is_overdue_behind_its_opening_unless_it_cannot_be_taken_back() {
    let drains = at(course(Some(SlotClass::Drain), &[false]), Step::Drain);
    let works = at(course(Some(SlotClass::Drain), &[false]), Step::Operate);
    let end = OPENING.to;
    assert!(!drains.is_overdue(Wall(end.0 - 1)) && drains.is_overdue(end));
    assert!(!works.is_overdue(end));
    assert!(!planned(course(Some(SlotClass::Drain), &[])).is_overdue(end));
}

#[test]
fn a_visit_has_gone_on_since_its_last_begin() {
    let mut state = planned(upgrade());
    assert_eq!(state.length(), None);
    state = at(upgrade(), Step::Announce);
    let begun = state.journal().first().unwrap().intent;
    assert_eq!(begun, Wall(1_000));
    end(&mut state, 9_500);
    assert_eq!(state.length(), Some(Duration::from_millis(8_500)));
}

#[test]
fn a_host_that_does_not_agree_gives_the_slot_back_and_is_heard_only_before_it_is_disturbed() {
    let (code, until) = ("backup".to_owned(), Some(Wall(90_000)));
    let preferred = vec![Preferred { cost: 1, from: Wall(90_000), until: Wall(95_000) }];
    let declined = || Report::Declined { code: code.clone(), until, preferred: preferred.clone() };
    let mut state = at(upgrade(), Step::PreCheck);
    let said = report(&state, declined());
    let (ledger, effects) = on(&mut state, 2_000, &said);
    assert_eq!((ledger, effects), (vec![LedgerStep::HandBack], vec![]));
    assert_eq!((state.stage(), state.epoch()), (&Stage::Planned, None));
    let ended = state.journal().last().unwrap().outcome.clone().unwrap();
    let counter = preferred.clone();
    assert_eq!(ended.end, End::Declined { code: code.clone(), until, preferred: counter });
    let old = serde_json::json!({ "declined": { "code": "backup", "until_ms": null } });
    let read: End = serde_json::from_value(old.clone()).unwrap();
    let plain = End::Declined { code: code.clone(), until: None, preferred: Vec::new() };
    assert_eq!(read, plain, "of a version that knew no other times");
    assert_eq!(serde_json::to_value(plain).unwrap(), old);
    let read = Execution::decode(&state.encode().unwrap()).unwrap();
    assert_eq!(read, state);
    // It is asked again with the next slot.
    for event in [Event::Approved, granted()] {
        on(&mut state, 91_000, &event);
    }
    assert_eq!(state.step(), Some(Step::PreCheck));
    for step in [Step::Announce, Step::Drain, Step::Operate, Step::Verify] {
        let state = at(upgrade(), step);
        let said = report(&state, declined());
        assert_eq!(state.handle(&said, Wall(2_000)), Err(Ignored::NotNow), "{step:?}");
    }
}
