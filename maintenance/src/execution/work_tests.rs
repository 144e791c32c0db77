//! Work that fails, takes long, or is not the only one of its visit.

use std::time::Duration;

use protocol::{Incarnation, Wall};

use super::tests::{SECOND, at, course, end, faulted, on, order, planned, reborn, report};
use super::*;
use crate::ledger::SlotClass;

/// A visit that disturbs nobody, at its work.
fn hot() -> Execution {
    let mut state = planned(course(None, &[false]));
    on(&mut state, 1_000, &Event::Approved);
    on(&mut state, 1_000, &Event::Begin);
    assert_eq!(state.step(), Some(Step::Operate));
    state
}

/// What the one who carries it out says of the attempt that it is at.
fn said(state: &Execution, what: Report) -> Event {
    Event::Report { epoch: state.epoch(), attempt: state.at().unwrap().attempt, what }
}

#[test]
fn hot_work_that_fails_is_taken_back_and_its_host_is_checked() {
    let mut state = hot();
    let failed = said(&state, Report::Failed { code: "exit 1".into() });
    let (ledger, effects) = on(&mut state, 2_000, &failed);
    assert_eq!(ledger, []);
    assert!(matches!(effects[..], [Effect::Run { step: Step::UndoHook, .. }]), "{effects:?}");
    let done = said(&state, Report::Done { verdict: None });
    let (_, effects) = on(&mut state, 3_000, &done);
    assert!(matches!(effects[..], [Effect::Run { step: Step::Verify, .. }]), "{effects:?}");
    let done = said(&state, Report::Done { verdict: None });
    let (ledger, _) = on(&mut state, 4_000, &done);
    assert_eq!((ledger, state.stage()), (vec![], &Stage::Failed { code: "exit 1".into() }));
}

#[test]
fn hot_work_goes_on_in_the_life_before_when_a_restart_in_place_beside_it_fails() {
    let mut state = hot();
    on(&mut state, 1_000, &reborn(7));
    on(&mut state, 2_000, &reborn(8));
    let (_, effects) = on(&mut state, 3_000, &Event::TakenBack { incarnation: Incarnation(7) });
    assert!(matches!(effects[..], [Effect::Probe { step: Step::Operate, .. }]), "{effects:?}");
    assert_eq!(state.life(), Incarnation(7));
    let done = said(&state, Report::Found(Found::Done { verdict: None }));
    on(&mut state, 4_000, &done);
    while !state.is_over() {
        let done = said(&state, Report::Done { verdict: None });
        on(&mut state, 5_000, &done);
    }
    assert_eq!(state.stage(), &Stage::Done);
}

#[test]
fn work_is_begun_by_the_life_that_carries_it_out_and_by_no_other() {
    let mut state = hot();
    on(&mut state, 1_000, &reborn(7));
    on(&mut state, 2_000, &reborn(8));
    let attempt = state.at().unwrap().attempt;
    for life in [7, 9] {
        let (incarnation, limit) = (Incarnation(life), SECOND);
        let takes = Event::Takes { attempt, incarnation, limit };
        assert_eq!(state.handle(&takes, Wall(2_000)), Err(Ignored::Stale));
        let word = Event::Said { attempt, incarnation, output: String::new() };
        assert_eq!(state.handle(&word, Wall(2_000)), Err(Ignored::Stale));
    }
    let word = Event::Said { attempt, incarnation: Incarnation(8), output: String::new() };
    on(&mut state, 2_000, &word);
}

#[test]
fn a_host_says_how_long_its_work_may_take_and_takes_nothing_away_by_that() {
    let mut state = at(course(Some(SlotClass::InPlace), &[true]), Step::Operate);
    let attempt = state.at().unwrap().attempt;
    let before = state.at().unwrap().deadline;
    let incarnation = state.life();
    let takes = |limit| Event::Takes { attempt, incarnation, limit };
    on(&mut state, 2_000, &takes(SECOND));
    assert_eq!(state.at().unwrap().deadline, before);
    on(&mut state, 2_000, &takes(900 * SECOND));
    assert_eq!(state.at().unwrap().deadline, Wall(902_000));
    let old = Event::Takes { attempt: attempt - 1, incarnation, limit: SECOND };
    assert_eq!(state.handle(&old, Wall(2_000)), Err(Ignored::Stale));
    // More time by an operator is not less than that.
    on(&mut state, 3_000, &order(Order::Extend));
    assert_eq!(state.at().unwrap().deadline, Wall(902_000));
    assert_eq!(state.handle(&Event::Tick, Wall(901_999)), Err(Ignored::NotNow));
    on(&mut state, 902_000, &Event::Tick);
    assert_eq!(faulted(&state), Some(&Fault::TimedOut));
    assert_eq!(state.handle(&takes(SECOND), Wall(902_000)), Err(Ignored::NotNow));
}

#[test]
fn work_that_was_ended_for_its_time_is_not_given_more_of_it_but_looked_at_by_the_next_life() {
    for drains in [SlotClass::Drain, SlotClass::InPlace] {
        let mut state = at(course(Some(drains), &[false]), Step::Operate);
        let (_, effects) = on(&mut state, 900_000, &Event::Tick);
        assert!(matches!(effects[0], Effect::Stop { step: Step::Operate, .. }), "{effects:?}");
        let asked = order(Order::Extend);
        assert_eq!(state.handle(&asked, Wall(900_000)), Err(Ignored::Ended));
        // Whoever is asked in the same life is asked still.
        on(&mut state, 900_000, &reborn(7));
        assert_eq!(faulted(&state), Some(&Fault::TimedOut));
        let (_, effects) = on(&mut state, 950_000, &reborn(8));
        assert!(matches!(effects[..], [Effect::Probe { step: Step::Operate, .. }]), "{effects:?}");
        assert_eq!(state.handle(&Event::Tick, Wall(950_001)), Err(Ignored::NotNow));
        let found = report(&state, Report::Found(Found::Done { verdict: None }));
        on(&mut state, 951_000, &found);
        assert_eq!(state.step(), Some(Step::Verify));
    }
}

#[test]
fn a_hold_comes_behind_the_other_work_of_its_visit_and_a_life_that_begins_in_it_stays_out() {
    let hold = 30 * SECOND;
    let work = |limit| Work { operation: "op".into(), absent: true, limit, estimate: limit };
    let wishes = |hold| CourseWishes {
        slot: Some(SlotClass::Drain),
        works: vec![work(SECOND)],
        announce: SECOND,
        drain: SECOND,
        drain_estimate: SECOND,
        on_timeout: DrainTimeout::Undrain,
        hold,
        patience: 60 * SECOND,
        verify_tries: 1,
        return_by: 60 * SECOND,
        warming: Warming { from_percent: 100, over: Duration::ZERO },
        on_failure: WorkFailure::StayOut,
        soak: Duration::ZERO,
    };
    let none = Course::new(wishes(Duration::ZERO));
    assert!(none.steps.iter().all(|planned| planned.step != Step::Hold));
    let mut state = at(Course::new(wishes(hold)), Step::Operate);
    end(&mut state, 2_000);
    assert_eq!(state.step(), Some(Step::Away));
    on(&mut state, 3_000, &reborn(8));
    assert_eq!(state.step(), Some(Step::Hold));
    assert!(state.stays_out());
    on(&mut state, 4_000, &reborn(9));
    assert_eq!(state.step(), Some(Step::Hold));
    assert_eq!(state.handle(&Event::Tick, Wall(32_999)), Err(Ignored::NotNow));
    on(&mut state, 33_000, &Event::Tick);
    assert_eq!(state.step(), Some(Step::Verify));
}
