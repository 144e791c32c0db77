//! The steps of a slot, one by one and in any order.

use std::time::Duration;

use proptest::prelude::*;
use protocol::{GatewayId, Incarnation, Wall};

use super::*;
use crate::audit::{AuditEntry, AuditHead, AuditRecord, Checkpoint, verify};
use crate::calendar::Interval;
use crate::fleet::{
    Availability, Blocker, Capacity, Domain, Estimate, Forecast, Host, HostState, Limits, Load,
    LoadHistory, OwnDrain, Statistic, Term,
};
use crate::verdict::{Counts, Outcome, Verdict};

const OPENING: Interval = Interval { from: Wall(1_000), to: Wall(10_000) };
const LIMITS: Limits = Limits { min_available: 2, max_concurrent: 1 };

fn id(n: usize) -> GatewayId {
    GatewayId::new(&format!("gw-{n}")).unwrap()
}

fn host(n: usize, state: HostState) -> Host {
    Host::new(id(n), Incarnation(1), state)
}

fn fleet(states: &[HostState]) -> Vec<Host> {
    states.iter().enumerate().map(|(n, state)| host(n, *state)).collect()
}

fn ask(host: &GatewayId, opening: Interval) -> Grant<'_> {
    Grant {
        host,
        offered: Incarnation(1),
        visit: None,
        term: Term(0),
        class: SlotClass::Drain,
        opening,
        remaining: Duration::ZERO,
        once: true,
        asked: None,
    }
}

fn grant_at(
    ledger: &mut Ledger,
    now: u64,
    n: usize,
    hosts: &[Host],
    limits: Limits,
) -> Result<SlotEpoch, GrantRefused> {
    let seen = Seen { now: Wall(now), hosts, answers: None };
    let granted = ledger.grant(&ask(&id(n), OPENING), &seen, &GrantRules::plain(limits))?;
    Ok(granted.epoch().unwrap())
}

fn start_at(
    ledger: &mut Ledger,
    now: u64,
    n: usize,
    epoch: SlotEpoch,
    hosts: &[Host],
) -> Result<Change, StartRefused> {
    let seen = Seen { now: Wall(now), hosts, answers: None };
    let any = GrantRules::plain(Limits { min_available: 2, max_concurrent: 9 });
    ledger.start(&id(n), epoch, Duration::ZERO, &seen, &any)
}

fn few_serve(serving: usize, min_available: usize, unplanned: usize) -> GrantRefused {
    let domain = Domain::fleet();
    GrantRefused::MinAvailable { domain, serving, min_available, unplanned }
}

fn verdict(outcome: Outcome, connections: u64) -> Verdict {
    let evidence = Counts { connections, ..Counts::default() };
    let elapsed = Duration::from_millis(1_500);
    Verdict { outcome, evidence, clients: 3, moved: 3, departed: 0, elapsed }
}

use HostState::{Draining, Joining, Lost, Quiesced, Serving, Suspect, Warming};

#[test]
fn silent_dead_and_disturbed_hosts_all_count_as_down() {
    for down in [Suspect, Lost, Draining, Quiesced, Joining, Warming { admit: 99 }] {
        let hosts = fleet(&[Serving, Serving, down]);
        let refused = grant_at(&mut Ledger::default(), 1_000, 0, &hosts, LIMITS);
        assert_eq!(refused.unwrap_err(), few_serve(1, 2, 1));
    }
    let hosts = fleet(&[Serving; 4]);
    let mut ledger = Ledger::default();
    grant_at(&mut ledger, 1_000, 0, &hosts, LIMITS).unwrap();
    let refused = grant_at(&mut ledger, 1_000, 1, &hosts, LIMITS).unwrap_err();
    assert_eq!(refused.to_string(), "fleet: 1 slots are held, 1 may be");
    let wider = Limits { min_available: 3, max_concurrent: 2 };
    let refused = grant_at(&mut ledger, 1_000, 1, &hosts, wider);
    assert_eq!(refused.unwrap_err(), few_serve(2, 3, 0));
}

#[test]
fn a_host_listed_twice_does_not_serve_twice() {
    let mut hosts = fleet(&[Serving, Serving]);
    hosts.push(host(1, Serving));
    let refused = grant_at(&mut Ledger::default(), 1_000, 0, &hosts, LIMITS);
    assert_eq!(refused.unwrap_err(), few_serve(1, 2, 0));
}

#[test]
fn a_grant_is_checked_again_when_the_drain_starts() {
    let mut ledger = Ledger::default();
    let alive = fleet(&[Serving; 3]);
    let epoch = grant_at(&mut ledger, 1_000, 0, &alive, LIMITS).unwrap();
    let died = fleet(&[Serving, Serving, Lost]);
    let refused = start_at(&mut ledger, 1_100, 0, epoch, &died);
    assert_eq!(refused, Err(StartRefused::Grant(few_serve(1, 2, 1))));
    ledger.hand_back(&id(0), epoch).unwrap();
    let epoch = grant_at(&mut ledger, 1_200, 0, &alive, LIMITS).unwrap();
    let closed = start_at(&mut ledger, 10_000, 0, epoch, &alive);
    assert_eq!(closed, Err(StartRefused::Grant(GrantRefused::Closed)));
    let mut returned = alive.clone();
    returned[0].incarnation = Incarnation(2);
    let other = start_at(&mut ledger, 1_300, 0, epoch, &returned);
    assert_eq!(other, Err(StartRefused::Grant(GrantRefused::OtherLife)));
    start_at(&mut ledger, 1_300, 0, epoch, &alive).unwrap();
    assert_eq!(ledger.hand_back(&id(0), epoch), Err(SlotMismatch::Started { started: true }));
}

#[test]
fn a_drain_that_died_with_its_host_starts_again_only_if_the_law_still_allows_it() {
    let mut ledger = Ledger::default();
    let alive = fleet(&[Serving; 3]);
    let epoch = grant_at(&mut ledger, 1_000, 0, &alive, LIMITS).unwrap();
    start_at(&mut ledger, 1_000, 0, epoch, &alive).unwrap();
    let started = Err(SlotMismatch::Started { started: true }.into());
    assert_eq!(start_at(&mut ledger, 1_100, 0, epoch, &alive), started, "the same life");
    ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 0)).unwrap();
    let mut returned = alive;
    returned[0].incarnation = Incarnation(2);
    let mut died = returned.clone();
    died[2].state = Lost;
    let refused = start_at(&mut ledger, 1_200, 0, epoch, &died);
    assert_eq!(refused, Err(StartRefused::Grant(few_serve(1, 2, 1))));
    start_at(&mut ledger, 1_200, 0, epoch, &returned).unwrap();
    assert_eq!(ledger.slot(&id(0)).unwrap().verdict, None, "another life was quiesced");

    ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 0)).unwrap();
    returned[0].state = Quiesced;
    let seen = Seen { now: Wall(1_300), hosts: &returned, answers: None };
    ledger.cross(&id(0), epoch, Duration::ZERO, &seen, &GrantRules::plain(LIMITS)).unwrap();
    returned[0].incarnation = Incarnation(3);
    assert_eq!(start_at(&mut ledger, 1_400, 0, epoch, &returned), started, "work has begun");
}

#[test]
fn a_window_that_was_cut_since_the_grant_is_heeded_at_the_start_and_at_each_step_after() {
    let hosts = fleet(&[Serving; 3]);
    let drained = fleet(&[Quiesced, Serving, Serving]);
    let mut ledger = Ledger::default();
    let epoch = grant_at(&mut ledger, 1_000, 0, &hosts, LIMITS).unwrap();
    let rules = |allowed| GrantRules { allowed, ..GrantRules::plain(LIMITS) };
    let start = |ledger: &mut Ledger, allowed| {
        let seen = Seen { now: Wall(2_000), hosts: &hosts, answers: None };
        ledger.start(&id(0), epoch, Duration::from_millis(500), &seen, &rules(allowed))
    };
    let cross = |ledger: &mut Ledger, allowed| {
        let seen = Seen { now: Wall(3_000), hosts: &drained, answers: None };
        ledger.cross(&id(0), epoch, Duration::from_millis(500), &seen, &rules(allowed))
    };
    let until = |to| Allowed::Within(Interval { from: Wall(0), to: Wall(to) });
    let closed = || Err(StartRefused::Grant(GrantRefused::Closed));
    let late = |at| Err(StartRefused::Grant(GrantRefused::TooLate { last_safe_start: Wall(at) }));
    assert_eq!(start(&mut ledger, Allowed::Never), closed());
    assert_eq!(start(&mut ledger, until(2_000)), closed());
    assert_eq!(start(&mut ledger, until(2_499)), late(1_999));
    start(&mut ledger, until(2_500)).unwrap();
    ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 0)).unwrap();
    assert_eq!(cross(&mut ledger, Allowed::Never), closed());
    assert_eq!(cross(&mut ledger, until(3_499)), late(2_999));
    // A window that became longer does not make the granted one longer.
    cross(&mut ledger, until(u64::MAX)).unwrap();
    let seen = Seen { now: Wall(9_600), hosts: &drained, answers: None };
    let longer = rules(until(u64::MAX));
    let over = ledger.cross(&id(0), epoch, Duration::from_millis(500), &seen, &longer);
    assert_eq!(over, late(9_500));
}

#[test]
fn a_slot_is_released_on_evidence_only_and_once() {
    let hosts = fleet(&[Serving; 3]);
    let mut ledger = Ledger::default();
    let epoch = grant_at(&mut ledger, 1_000, 0, &hosts, LIMITS).unwrap();
    let serving = host(0, Serving);
    let not_started = SlotMismatch::Started { started: false };
    assert_eq!(ledger.release(&serving, epoch), Err(ReleaseRefused::Slot(not_started)));
    start_at(&mut ledger, 1_000, 0, epoch, &hosts).unwrap();
    assert_eq!(ledger.release(&serving, epoch), Err(ReleaseRefused::NoVerdict));
    let lie = ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 1));
    assert!(matches!(lie, Err(ConcludeRefused::NotEmpty(_))));
    ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 0)).unwrap();
    assert_eq!(ledger.release(&host(0, Quiesced), epoch), Err(ReleaseRefused::NotServing));
    let older = Host { incarnation: Incarnation(0), ..serving.clone() };
    assert_eq!(ledger.release(&older, epoch), Err(ReleaseRefused::NotServing));
    let other = SlotMismatch::OtherEpoch { held: epoch };
    assert_eq!(ledger.release(&serving, SlotEpoch(9)), Err(ReleaseRefused::Slot(other)));
    assert_eq!(ledger.release(&serving, epoch).unwrap().epoch(), Some(epoch));
    let gone = ReleaseRefused::Slot(SlotMismatch::NoSlot);
    assert_eq!(ledger.release(&serving, epoch), Err(gone));
    let twice = grant_at(&mut ledger, 2_000, 0, &hosts, LIMITS);
    assert_eq!(twice.unwrap_err(), GrantRefused::Visited);
    let tomorrow = ask(&serving.id, Interval { from: Wall(20_000), to: Wall(30_000) });
    let seen = Seen { now: Wall(20_000), hosts: &hosts, answers: None };
    assert!(ledger.grant(&tomorrow, &seen, &GrantRules::plain(LIMITS)).is_ok());
}

/// P4: a step that cannot be taken back needs an empty host, an open window and the law, each time.
#[test]
fn what_cannot_be_taken_back_is_checked_each_time_and_then_wants_passed_checks() {
    let hosts = fleet(&[Serving; 3]);
    let mut ledger = Ledger::default();
    let epoch = grant_at(&mut ledger, 1_000, 0, &hosts, LIMITS).unwrap();
    let rules = GrantRules { margin: Duration::from_millis(500), ..GrantRules::plain(LIMITS) };
    let cross = |ledger: &mut Ledger, now, hosts: &[Host]| {
        let seen = Seen { now: Wall(now), hosts, answers: None };
        ledger.cross(&id(0), epoch, Duration::from_millis(1_000), &seen, &rules)
    };
    let not_started = SlotMismatch::Started { started: false };
    assert_eq!(cross(&mut ledger, 1_000, &hosts), Err(not_started.into()));
    start_at(&mut ledger, 1_000, 0, epoch, &hosts).unwrap();
    assert_eq!(cross(&mut ledger, 1_000, &hosts), Err(StartRefused::NotQuiesced));
    ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 0)).unwrap();
    // Who serves again has clients, whatever was concluded before.
    assert_eq!(cross(&mut ledger, 1_000, &hosts), Err(StartRefused::NotQuiesced));
    let drained = fleet(&[Quiesced, Serving, Serving]);
    let late = GrantRefused::TooLate { last_safe_start: Wall(8_500) };
    assert_eq!(cross(&mut ledger, 8_501, &drained), Err(late.into()));
    let died = fleet(&[Quiesced, Serving, Lost]);
    assert_eq!(cross(&mut ledger, 8_500, &died), Err(few_serve(1, 2, 1).into()));
    // P10: a spent budget stops what could still be taken back, and nothing else.
    let spent = GrantRules {
        failures: vec![FailureBudget { scope: "eu".into(), max: 1, per: Duration::from_secs(9) }],
        ..rules.clone()
    };
    let cross_spent = |ledger: &mut Ledger| {
        let seen = Seen { now: Wall(8_500), hosts: &drained, answers: None };
        ledger.cross(&id(0), epoch, Duration::ZERO, &seen, &spent)
    };
    let failure = Failure { scopes: vec!["eu".into()], host: id(2), at: Wall(8_000) };
    ledger.failures.push(failure);
    let refused = GrantRefused::FailureBudget { failures: 1, max: 1 };
    assert_eq!(cross_spent(&mut ledger), Err(refused.into()));
    cross(&mut ledger, 8_500, &drained).unwrap();
    cross_spent(&mut ledger).unwrap();
    assert_eq!(ledger.release(&host(0, Serving), epoch), Err(ReleaseRefused::NotVerified));
    let old = ledger.verify(Wall(9_000), &id(0), epoch, Incarnation(0));
    assert_eq!(old, Err(VerifyRefused::OtherLife));
    ledger.verify(Wall(9_000), &id(0), epoch, Incarnation(2)).unwrap();
    // What one life passed says nothing about another.
    for life in [1, 3] {
        let other = Host { incarnation: Incarnation(life), ..host(0, Serving) };
        assert_eq!(ledger.release(&other, epoch), Err(ReleaseRefused::NotVerified));
    }
    ledger.release(&Host { incarnation: Incarnation(2), ..host(0, Serving) }, epoch).unwrap();
}

/// P4: what cannot be taken back is begun in the window alone, and if its policy says so only if the rest fits, too.
#[test]
fn a_drain_that_took_too_long_crosses_late_only_where_its_policy_lets_what_has_begun_be_finished() {
    let serving = fleet(&[Serving; 3]);
    let drained = fleet(&[Quiesced, Serving, Serving]);
    let rest = Duration::from_millis(1_000);
    let margin = Duration::from_millis(500);
    let late = || StartRefused::from(GrantRefused::TooLate { last_safe_start: Wall(8_500) });
    let closed = || StartRefused::from(GrantRefused::Closed);
    for (on_window_end, at_8_501, at_9_999) in [
        (OnWindowEnd::Undrain, Err(late()), Err(late())),
        (OnWindowEnd::FinishIfPastPonr, Ok(()), Ok(())),
    ] {
        let rules = GrantRules { margin, on_window_end, ..GrantRules::plain(LIMITS) };
        let mut ledger = Ledger::default();
        let ask = |ledger: &mut Ledger, now| {
            let (id, seen) = (id(0), Seen { now: Wall(now), hosts: &serving, answers: None });
            let grant = Grant { remaining: rest, ..ask(&id, OPENING) };
            ledger.grant(&grant, &seen, &rules).map(|change| change.epoch().unwrap())
        };
        let too_late = GrantRefused::TooLate { last_safe_start: Wall(8_500) };
        assert_eq!(ask(&mut ledger, 8_501), Err(too_late), "nobody is disturbed that late");
        let epoch = ask(&mut ledger, 8_500).unwrap();
        let start = |ledger: &mut Ledger, now| {
            let seen = Seen { now: Wall(now), hosts: &serving, answers: None };
            ledger.start(&id(0), epoch, rest, &seen, &rules).map(|_| ())
        };
        assert_eq!(start(&mut ledger, 8_501), Err(late()));
        start(&mut ledger, 8_500).unwrap();
        ledger.conclude(&id(0), epoch, verdict(Outcome::Quiesced, 0)).unwrap();
        let cross = |now, allowed| {
            let seen = Seen { now: Wall(now), hosts: &drained, answers: None };
            let rules = GrantRules { allowed, ..rules.clone() };
            ledger.clone().cross(&id(0), epoch, rest, &seen, &rules).map(|_| ())
        };
        let granted = Allowed::AsGranted;
        assert_eq!(cross(8_500, granted), Ok(()));
        assert_eq!((cross(8_501, granted), cross(9_999, granted)), (at_8_501, at_9_999));
        assert_eq!(
            (cross(10_000, granted), cross(8_500, Allowed::Never)),
            (Err(closed()), Err(closed()))
        );
        // What has begun already is no reason to begin more of it behind the end.
        let seen = Seen { now: Wall(8_500), hosts: &drained, answers: None };
        ledger.cross(&id(0), epoch, rest, &seen, &rules).unwrap();
        let seen = Seen { now: Wall(10_000), hosts: &drained, answers: None };
        assert_eq!(ledger.cross(&id(0), epoch, rest, &seen, &rules), Err(closed()));
    }
}

/// P10: what fails counts for each policy that is about its host, and spends the budget of none that is not.
#[test]
fn a_failure_counts_for_every_budget_that_its_visit_was_granted_under() {
    let hosts = fleet(&[Serving; 3]);
    let budget =
        |scope: &str, max| FailureBudget { scope: scope.into(), max, per: Duration::from_secs(9) };
    let rules = |failures| GrantRules { failures, ..GrantRules::default() };
    let mut ledger = Ledger::default();
    let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: None };
    let opening = Interval { from: Wall(0), to: Wall(90_000) };
    let zero = id(0);
    let both = rules(vec![budget("canary", 3), budget("eu", 2)]);
    let change = ledger.grant(&ask(&zero, opening), &seen, &both).unwrap();
    ledger.fail(Wall(1_000), &zero, change.epoch().unwrap()).unwrap();
    let ledger = Ledger::decode(&ledger.encode().unwrap()).unwrap();
    let of = |scope: &str| ledger.failed_lately(scope, Duration::from_secs(9), Wall(1_001));
    assert_eq!((of("eu"), of("canary"), of("us"), of("canary+eu")), (1, 1, 0, 0));
    let one = id(1);
    let asked =
        |failures| ledger.clone().grant(&ask(&one, opening), &seen, &rules(failures)).map(drop);
    let spent = Err(GrantRefused::FailureBudget { failures: 1, max: 1 });
    assert_eq!(asked(vec![budget("eu", 1)]), spent);
    assert_eq!(
        asked(vec![budget("us", 1), budget("canary", 1)]),
        spent,
        "each must have some left"
    );
    assert_eq!(asked(vec![budget("us", 1), budget("eu", 2)]), Ok(()));
}

/// P6, P10 and the fences: each input that says no is heard, at the grant and at the start.
#[test]
fn approvals_gate_budget_term_time_and_labels_are_heard() {
    let mut hosts = fleet(&[Serving; 5]);
    for (n, host) in hosts.iter_mut().enumerate() {
        host.labels.insert("zone".into(), format!("z{}", n / 2));
        host.labels.insert("power".into(), format!("p{}", n % 2));
    }
    let zone = Domain::of(&hosts[0], "zone").unwrap();
    let plain = GrantRules {
        domains: vec![DomainRule { domain: zone.clone(), min_available: 1, max_concurrent: 1 }],
        never_together: vec!["power".into()],
        failures: vec![FailureBudget { scope: "eu".into(), max: 1, per: Duration::from_secs(5) }],
        ..GrantRules::default()
    };
    let mut ledger = Ledger::default();
    let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: None };
    let zero = id(0);
    let refused = |ledger: &Ledger, rules: &GrantRules, grant: &Grant<'_>| {
        ledger.clone().grant(grant, &seen, rules).unwrap_err()
    };
    let asked = ask(&zero, OPENING);
    let missing = Approval::Missing { given: 1, wanted: 2 };
    let rules = GrantRules { approval: missing, ..plain.clone() };
    let why = GrantRefused::NotApproved { given: 1, wanted: 2 };
    assert_eq!(refused(&ledger, &rules, &asked), why);
    let rules = GrantRules { gate: Gate::Closed { why: "errors".into() }, ..plain.clone() };
    assert_eq!(refused(&ledger, &rules, &asked).to_string(), "gate is closed: errors");
    let other = Grant { offered: Incarnation(7), ..asked.clone() };
    assert_eq!(refused(&ledger, &plain, &other), GrantRefused::OtherLife);
    let slow = Grant { remaining: Duration::from_secs(10), ..asked.clone() };
    let late = GrantRefused::TooLate { last_safe_start: Wall(0) };
    assert_eq!(refused(&ledger, &plain, &slow), late);

    let reign = Grant { term: Term(3), ..asked.clone() };
    let epoch = ledger.grant(&reign, &seen, &plain).unwrap().epoch().unwrap();
    let two = id(2);
    let old = Grant { term: Term(2), ..ask(&two, OPENING) };
    assert_eq!(refused(&ledger, &plain, &old), GrantRefused::OldTerm { current: Term(3) });
    let of = |n: usize, host| GrantRules {
        domains: vec![DomainRule {
            domain: Domain::of(&hosts[n], "zone").unwrap(),
            min_available: 1,
            max_concurrent: 1,
        }],
        ..GrantRules::clone(host)
    };
    let new = Grant { term: Term(3), ..ask(&two, OPENING) };
    let why = refused(&ledger, &of(2, &plain), &new);
    assert!(matches!(why, GrantRefused::Together { ref other, .. } if *other == zero), "{why}");
    let one = id(1);
    let same_zone = Grant { term: Term(3), ..ask(&one, OPENING) };
    let why = refused(&ledger, &of(1, &plain), &same_zone);
    assert!(matches!(why, GrantRefused::MinAvailable { serving: 0, .. }), "{why}");

    ledger.fail(Wall(1_500), &zero, epoch).unwrap();
    assert_eq!(ledger.fail(Wall(1_600), &zero, epoch), Err(FailRefused::Noted));
    let three = id(3);
    let third = Grant { term: Term(3), ..ask(&three, OPENING) };
    let spent = GrantRefused::FailureBudget { failures: 1, max: 1 };
    assert_eq!(refused(&ledger, &of(3, &plain), &third), spent);
    let later = Seen { now: Wall(6_500), ..seen };
    ledger.grant(&third, &later, &of(3, &plain)).unwrap();
}

#[test]
fn who_does_not_answer_freshly_counts_as_down_and_a_hard_blocker_is_respected() {
    let hosts = fleet(&[Serving; 3]);
    let mut answers = std::collections::BTreeMap::new();
    for host in &hosts {
        answers.insert(host.id.clone(), answer(host, 90));
    }
    let zero = id(0);
    let asked = ask(&zero, OPENING);
    let mut rules = GrantRules::plain(LIMITS);
    let grant = |answers: &_, rules: &_| {
        let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: Some(answers) };
        Ledger::default().grant(&asked, &seen, rules).map(|_| ())
    };
    assert_eq!(grant(&answers, &rules), Ok(()));
    let mut stale = answers.clone();
    stale.get_mut(&id(2)).unwrap().valid_until = Wall(1_000);
    assert_eq!(grant(&stale, &rules), Err(few_serve(1, 2, 1)));
    stale.remove(&zero);
    assert_eq!(grant(&stale, &rules), Err(GrantRefused::Stale));
    let mut restarted = answers.clone();
    restarted.get_mut(&id(1)).unwrap().incarnation = Incarnation(2);
    assert_eq!(grant(&restarted, &rules), Err(few_serve(1, 2, 1)));
    let mut blocked = answers;
    let code = "backup".to_owned();
    let backup = Blocker { code: code.clone(), until: None, hard: true, detail: String::new() };
    blocked.get_mut(&zero).unwrap().blockers.push(backup);
    assert_eq!(grant(&blocked, &rules), Err(GrantRefused::Blocked { code, until: None }));
    rules.glass_broken = true;
    assert_eq!(grant(&blocked, &rules), Ok(()));
}

type Answers = std::collections::BTreeMap<GatewayId, Availability>;

/// Four hosts of which the first has a hard blocker, and rules with the glass broken under which another of its rack is disturbed
/// by a visit that has failed.
fn broken_glass() -> (Vec<Host>, Answers, GrantRules, Ledger) {
    let mut hosts = fleet(&[Serving; 4]);
    for (host, rack) in hosts.iter_mut().zip(["r1", "r1", "r2", "r3"]) {
        host.labels = [("rack".to_owned(), rack.to_owned())].into();
        host.capacity = Capacity { connections: 100, messages_per_s: 0, connects_per_s: 0 };
    }
    let mut answers: Answers =
        hosts.iter().map(|host| (host.id.clone(), answer(host, 60))).collect();
    let code = "backup".to_owned();
    let backup = Blocker { code, until: None, hard: true, detail: String::new() };
    answers.get_mut(&id(0)).unwrap().blockers.push(backup);
    let broken = glass_with(2, 2);
    let failing = GrantRules { failures: vec![spent()], ..broken.clone() };
    let (mut busy, one) = (Ledger::default(), id(1));
    let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: Some(&answers) };
    let other = busy.grant(&ask(&one, OPENING), &seen, &failing).unwrap().epoch().unwrap();
    busy.fail(Wall(1_000), &one, other).unwrap();
    (hosts, answers, broken, busy)
}

fn glass_with(min_available: usize, max_concurrent: usize) -> GrantRules {
    let limits = Limits { min_available, max_concurrent };
    GrantRules { glass_broken: true, ..GrantRules::plain(limits) }
}

fn spent() -> FailureBudget {
    FailureBudget { scope: "eu".to_owned(), max: 1, per: Duration::from_secs(60) }
}

/// P1 to P3, P6, P10 and P11, whoever broke the glass: it overrules what a host says of itself, and nothing else.
#[test]
fn a_broken_glass_overrules_no_cap_and_nobody_at_the_grant_the_start_and_the_crossing() {
    let (hosts, answers, broken, busy) = broken_glass();
    let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: Some(&answers) };
    let full = Headroom { connections_percent: 90, ..Headroom::default() };
    let missing = Approval::Missing { given: 0, wanted: 1 };
    let refusing = [
        ("min_available", glass_with(3, 2)),
        ("max_concurrent", glass_with(2, 1)),
        ("never_together", GrantRules { never_together: vec!["rack".into()], ..broken.clone() }),
        ("headroom", GrantRules { headroom: Some(full), ..broken.clone() }),
        ("failure budget", GrantRules { failures: vec![spent()], ..broken.clone() }),
        ("approval", GrantRules { approval: missing, ..broken.clone() }),
        ("gate", GrantRules { gate: Gate::Closed { why: "lost".into() }, ..broken.clone() }),
    ];
    let zero = id(0);
    let asked = ask(&zero, OPENING);
    for (what, rules) in &refusing {
        assert!(busy.clone().grant(&asked, &seen, rules).is_err(), "{what} at the grant");
    }
    let mut granted = busy.clone();
    let epoch = granted.grant(&asked, &seen, &broken).unwrap().epoch().unwrap();
    let plain = GrantRules { glass_broken: false, ..broken.clone() };
    for (what, rules) in refusing.iter().chain([&("blocker", plain)]) {
        let start = granted.clone().start(&zero, epoch, Duration::ZERO, &seen, rules);
        assert!(start.is_err(), "{what} at the start");
    }
    granted.start(&zero, epoch, Duration::ZERO, &seen, &broken).unwrap();
    granted.conclude(&zero, epoch, verdict(Outcome::Quiesced, 0)).unwrap();
    let mut drained = hosts.clone();
    drained[0].state = Quiesced;
    let then = Seen { hosts: &drained, ..seen };
    for (what, rules) in &refusing {
        let cross = granted.clone().cross(&zero, epoch, Duration::ZERO, &then, rules);
        assert!(cross.is_err(), "{what} at the crossing");
    }
    granted.cross(&zero, epoch, Duration::ZERO, &then, &broken).unwrap();
}

/// P4 and P7, whoever broke the glass.
#[test]
fn a_broken_glass_overrules_no_slot_no_life_no_reign_no_silence_and_no_end() {
    let (hosts, mut answers, broken, busy) = broken_glass();
    let zero = id(0);
    let grant = |ledger: &Ledger, asked: &Grant<'_>, answers: &Answers| {
        let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: Some(answers) };
        let mut ledger = ledger.clone();
        ledger.grant(asked, &seen, &broken).map(|_| ledger)
    };
    let plain = || Grant { once: false, ..ask(&zero, OPENING) };
    let granted = grant(&busy, &plain(), &answers).unwrap();
    assert_eq!(grant(&granted, &plain(), &answers), Err(GrantRefused::HoldsSlot));
    let other_life = Grant { offered: Incarnation(2), ..plain() };
    assert_eq!(grant(&busy, &other_life, &answers), Err(GrantRefused::OtherLife));
    let closed = ask(&zero, Interval { from: Wall(2_000), to: Wall(3_000) });
    assert_eq!(grant(&busy, &closed, &answers), Err(GrantRefused::Closed));
    let late = Grant { remaining: Duration::from_secs(60), ..plain() };
    let refused = grant(&busy, &late, &answers);
    assert!(matches!(refused, Err(GrantRefused::TooLate { .. })), "{refused:?}");
    let newer = Grant { term: Term(5), ..plain() };
    let reign = grant(&busy, &newer, &answers).unwrap();
    let refused = grant(&reign, &plain(), &answers);
    assert_eq!(refused, Err(GrantRefused::OldTerm { current: Term(5) }));
    answers.remove(&zero);
    assert_eq!(grant(&busy, &plain(), &answers), Err(GrantRefused::Stale));
}

/// P11: what would move fits on those that stay, with what others still move.
#[test]
fn headroom_counts_what_others_still_move() {
    let mut hosts = fleet(&[Serving; 5]);
    for host in &mut hosts {
        host.capacity = Capacity { connections: 100, messages_per_s: 0, connects_per_s: 0 };
    }
    let answers = hosts.iter().map(|host| (host.id.clone(), answer(host, 60))).collect();
    let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: Some(&answers) };
    let headroom = Headroom { connections_percent: 10, messages_percent: 10, forecast: None };
    let limits = Limits { min_available: 0, max_concurrent: 5 };
    let rules = GrantRules { headroom: Some(headroom), ..GrantRules::plain(limits) };
    let mut ledger = Ledger::default();
    let (zero, one) = (id(0), id(1));
    // Four stay: 240 and 60 of 360. Then three stay: 180 and 120 of 270.
    ledger.grant(&ask(&zero, OPENING), &seen, &rules).unwrap();
    let refused = ledger.grant(&ask(&one, OPENING), &seen, &rules).unwrap_err();
    assert_eq!(refused.to_string(), "fleet: connections would be 300, 270 is the most");
    let in_place = Grant { class: SlotClass::InPlace, ..ask(&one, OPENING) };
    ledger.grant(&in_place, &seen, &rules).unwrap();
}

/// What hours like this one had counts where policies name it: else what is carried now.
#[test]
fn headroom_heeds_what_such_hours_had_if_it_is_asked_to() {
    let mut hosts = fleet(&[Serving; 5]);
    for host in &mut hosts {
        host.capacity = Capacity { connections: 100, messages_per_s: 0, connects_per_s: 0 };
    }
    let mut history = LoadHistory::default();
    for minute in 0..=60 {
        let connections = if minute < 57 { 70 } else { 80 };
        history.note(Wall(minute * 60_000), Load { connections, messages_per_s: 0 });
    }
    let granted = |now: Wall, statistic| {
        let answered = |host: &Host| {
            let forecast = history.forecast();
            (
                host.id.clone(),
                Availability { valid_until: Wall(u64::MAX), forecast, ..answer(host, 60) },
            )
        };
        let answers = hosts.iter().map(answered).collect();
        let seen = Seen { now, hosts: &hosts, answers: Some(&answers) };
        let headroom =
            Headroom { connections_percent: 10, messages_percent: 0, forecast: statistic };
        let limits = Limits { min_available: 0, max_concurrent: 5 };
        let rules = GrantRules { headroom: Some(headroom), ..GrantRules::plain(limits) };
        let opening = Interval::new(Wall(0), Wall(100 * 24 * 3_600_000)).unwrap();
        Ledger::default().grant(&ask(&id(0), opening), &seen, &rules).is_ok()
    };
    // Four may carry 360: five carry 300 now, 350 as a rule in such an hour, 400 at times.
    let (such, other) = (Wall(7 * 24 * 3_600_000), Wall(8 * 24 * 3_600_000));
    for (now, statistic, may) in [
        (such, None, true),
        (such, Some(Statistic::P95), true),
        (such, Some(Statistic::Peak), false),
        (other, Some(Statistic::Peak), true),
    ] {
        assert_eq!(granted(now, statistic), may, "{now:?} {statistic:?}");
    }
}

fn answer(host: &Host, connections: u64) -> Availability {
    Availability {
        host: host.id.clone(),
        incarnation: host.incarnation,
        state: host.state,
        seq: 1,
        issued: Wall(900),
        valid_until: Wall(2_000),
        blockers: Vec::new(),
        load: Load { connections, messages_per_s: 0 },
        forecast: Forecast::default(),
        drain_estimate: Estimate::default(),
        drain: OwnDrain::default(),
        sessions: connections,
        v5_share_percent: Some(50),
        needs: Vec::new(),
        preferred: Vec::new(),
    }
}

#[test]
fn a_written_off_host_is_not_counted_until_it_returns_in_a_new_life() {
    let hosts = fleet(&[Serving; 4]);
    let mut ledger = Ledger::default();
    let epoch = grant_at(&mut ledger, 1_000, 0, &hosts, LIMITS).unwrap();
    let nameless = ledger.write_off(Wall(2_000), &hosts[0], Some(epoch), " ", "disk died");
    assert_eq!(nameless, Err(WriteOffRefused::Nameless));
    let other = ledger.write_off(Wall(2_000), &hosts[0], None, "alice", "disk died");
    assert!(matches!(other, Err(WriteOffRefused::Slot(SlotMismatch::OtherEpoch { .. }))));
    let serving = ledger.write_off(Wall(2_000), &hosts[1], None, "alice", "disk died");
    assert_eq!(serving, Err(WriteOffRefused::Serving));
    ledger.write_off(Wall(2_000), &hosts[0], Some(epoch), "alice", "disk died").unwrap();
    assert_eq!(ledger.written_off()[0].actor, "alice");
    let three = Limits { min_available: 3, max_concurrent: 1 };
    let refused = grant_at(&mut ledger, 2_000, 1, &hosts, three);
    assert_eq!(refused.unwrap_err(), few_serve(2, 3, 0));
    let zero = id(0);
    let again = Grant { once: false, ..ask(&zero, OPENING) };
    let seen = Seen { now: Wall(2_000), hosts: &hosts, answers: None };
    let refused = ledger.grant(&again, &seen, &GrantRules::plain(LIMITS));
    assert_eq!(refused, Err(GrantRefused::Retired));
    let mut returned = hosts;
    returned[0].incarnation = Incarnation(2);
    assert!(grant_at(&mut ledger, 2_000, 1, &returned, three).is_ok());
}

#[test]
fn bytes_hold_everything_and_damage_is_told() {
    let hosts = fleet(&[Serving; 4]);
    let two = Limits { min_available: 1, max_concurrent: 2 };
    let mut ledger = Ledger::default();
    for n in [1, 0] {
        let epoch = grant_at(&mut ledger, 1_000, n, &hosts, two).unwrap();
        start_at(&mut ledger, 1_001, n, epoch, &hosts).unwrap();
        ledger.conclude(&id(n), epoch, verdict(Outcome::Aborted, 7)).unwrap();
    }
    let one = ledger.slot(&id(1)).unwrap().epoch;
    ledger.write_off(Wall(1_002), &hosts[1], Some(one), "bob", "gone").unwrap();
    assert_eq!(ledger.rev(), 7);
    assert_eq!(Ledger::decode(&ledger.encode().unwrap()).unwrap(), ledger);
    for bad in ["", "{}", "{\"rev\":1}", "[]", "{\"form\":2}"] {
        assert!(Ledger::decode(bad.as_bytes()).is_err(), "{bad}");
    }
    let newer = Ledger::decode(b"{\"form\":3,\"unheard\":true}");
    assert!(matches!(newer, Err(InvalidLedger::Form(3))));
}

/// What a fleet in service has stored before ledgers had forms.
#[test]
fn a_ledger_of_the_first_form_is_adopted() {
    let stored = r#"{"rev":7,"epoch":3,"slots":[
        {"host":"gw-2","incarnation":5,"epoch":3,"granted_ms":1000,
         "opening":{"from_ms":1000,"to_ms":10000},"started_ms":1001,"verdict":null}],
        "visited":[{"host":"gw-2","opening":{"from_ms":1000,"to_ms":10000}}],
        "written_off":[{"host":"gw-9","incarnation":1,"epoch":1,"actor":"bob","reason":"gone",
         "at_ms":900}]}"#;
    let mut ledger = Ledger::decode(stored.as_bytes()).unwrap();
    assert_eq!((ledger.rev(), ledger.term()), (7, Term(0)));
    assert_eq!(ledger.written_off()[0].epoch, Some(SlotEpoch(1)));
    let slot = ledger.slot(&id(2)).unwrap().clone();
    assert_eq!((slot.epoch, slot.started), (SlotEpoch(3), Some(Wall(1001))));
    ledger.conclude(&id(2), slot.epoch, verdict(Outcome::Quiesced, 0)).unwrap();
    let serving = Host { incarnation: Incarnation(5), ..host(2, Serving) };
    ledger.release(&serving, slot.epoch).unwrap();
    assert_eq!(Ledger::decode(&ledger.encode().unwrap()).unwrap(), ledger);
}

/// No gateway ever took a slot of that class from the ledger; one that stands there is told, not taken for another.
#[test]
fn a_ledger_with_a_pause_in_it_is_refused_by_the_name_of_its_class() {
    let hosts = fleet(&[Serving; 3]);
    let mut ledger = Ledger::default();
    grant_at(&mut ledger, 1_000, 1, &hosts, LIMITS).unwrap();
    let stored = String::from_utf8(ledger.encode().unwrap()).unwrap();
    let paused = stored.replace(r#""class":"drain""#, r#""class":"micro""#);
    assert_ne!(paused, stored);
    let Err(InvalidLedger::Damaged(why)) = Ledger::decode(paused.as_bytes()) else {
        panic!("a slot of a class that there is not was read");
    };
    assert!(why.to_string().contains("unknown variant `micro`"), "{why}");
}

#[derive(Debug, Clone)]
enum Op {
    State(usize, HostState),
    Reborn(usize),
    Grant(usize),
    Start(usize),
    Cross(usize),
    Conclude(usize),
    Verify(usize),
    Release(usize),
    HandBack(usize),
    Fail(usize),
    WriteOff(usize),
    Wait(u64),
}

fn op() -> impl Strategy<Value = Op> {
    let host = || 0_usize..5;
    let state = prop::sample::select(vec![Serving, Serving, Draining, Quiesced, Suspect, Lost]);
    prop_oneof![
        (host(), state).prop_map(|(n, state)| Op::State(n, state)),
        host().prop_map(Op::Reborn),
        host().prop_map(Op::Grant),
        host().prop_map(Op::Start),
        host().prop_map(Op::Cross),
        host().prop_map(Op::Conclude),
        host().prop_map(Op::Verify),
        host().prop_map(Op::Release),
        host().prop_map(Op::HandBack),
        host().prop_map(Op::Fail),
        host().prop_map(Op::WriteOff),
        (0_u64..3_000).prop_map(Op::Wait),
    ]
}

/// Does a step; what happened, if it was allowed.
fn step(
    ledger: &mut Ledger,
    op: &Op,
    now: Wall,
    hosts: &mut [Host],
    limits: Limits,
) -> Option<Change> {
    let epoch = |n: usize| ledger.slot(&id(n)).map_or(SlotEpoch(0), |slot| slot.epoch);
    let zero = Duration::ZERO;
    let rules = GrantRules {
        failures: vec![FailureBudget { scope: "s".into(), max: 2, per: Duration::from_secs(9) }],
        ..GrantRules::plain(limits)
    };
    match *op {
        Op::State(n, state) => {
            hosts[n].state = state;
            return None;
        }
        Op::Reborn(n) => {
            hosts[n].incarnation.0 += 1;
            return None;
        }
        Op::Wait(_) => return None,
        Op::Grant(_) | Op::Start(_) | Op::Cross(_) | Op::Conclude(_) => {}
        Op::Verify(_) | Op::Release(_) | Op::HandBack(_) | Op::Fail(_) | Op::WriteOff(_) => {}
    }
    let seen = Seen { now, hosts, answers: None };
    match *op {
        Op::State(..) | Op::Reborn(_) | Op::Wait(_) => None,
        Op::Grant(n) => {
            let from = now.0 / 2_000 * 2_000;
            let opening = Interval { from: Wall(from), to: Wall(from + 1_900) };
            let host = id(n);
            let asked = Grant { offered: hosts[n].incarnation, ..ask(&host, opening) };
            ledger.grant(&asked, &seen, &rules).ok()
        }
        Op::Start(n) => ledger.start(&id(n), epoch(n), zero, &seen, &rules).ok(),
        Op::Cross(n) => ledger.cross(&id(n), epoch(n), zero, &seen, &rules).ok(),
        Op::Conclude(n) => ledger.conclude(&id(n), epoch(n), verdict(Outcome::Quiesced, 0)).ok(),
        Op::Verify(n) => ledger.verify(now, &id(n), epoch(n), hosts[n].incarnation).ok(),
        Op::Release(n) => ledger.release(&hosts[n], epoch(n)).ok(),
        Op::HandBack(n) => ledger.hand_back(&id(n), epoch(n)).ok(),
        Op::Fail(n) => ledger.fail(now, &id(n), epoch(n)).ok(),
        Op::WriteOff(n) => {
            let epoch = ledger.slot(&id(n)).map(|slot| slot.epoch);
            ledger.write_off(now, &hosts[n], epoch, "alice", "gone").ok()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// P1, P2, P4, P8 and P35: whatever happens in whatever order.
    #[test]
    fn no_drain_starts_below_min_available_or_above_max_concurrent_and_the_tale_gives_the_ledger(
        min_available in 0_usize..5,
        max_concurrent in 0_usize..4,
        ops in prop::collection::vec(op(), 1..120),
    ) {
        let limits = Limits { min_available, max_concurrent };
        let mut hosts = fleet(&[Serving; 5]);
        let (mut ledger, mut head, mut told) = (Ledger::default(), AuditHead::default(), Vec::new());
        let mut now = Wall(1_000);
        for op in ops {
            if let Op::Wait(ms) = op {
                now = now.after(Duration::from_millis(ms));
            }
            let before = ledger.clone();
            let change = step(&mut ledger, &op, now, &mut hosts, limits);
            prop_assert!(ledger.slots().len() <= max_concurrent);
            prop_assert!(ledger.slots().is_sorted_by(|a, b| a.host < b.host));
            prop_assert_eq!(ledger.rev() - before.rev(), u64::from(change.is_some()));
            let Some(change) = change else {
                prop_assert_eq!(&ledger, &before);
                continue;
            };
            if let Change::Started { host, at, .. } | Change::Crossed { host, at, .. } = &change {
                let others = hosts.iter().filter(|other| {
                    other.id != *host
                        && other.state == Serving
                        && ledger.is_registered(other)
                        && before.slot(&other.id).is_none()
                });
                prop_assert!(others.count() >= min_available);
                prop_assert!(before.slot(host).unwrap().opening.contains(*at));
            }
            let freed = before.slots().iter().find(|slot| ledger.slot(&slot.host).is_none());
            if let Some(slot) = freed {
                let unstarted = slot.started.is_none();
                let checked = slot.verdict.is_some() || slot.verified.is_some();
                let evidence = matches!(&change, Change::HandedBack { .. } if unstarted)
                    || matches!(&change, Change::WrittenOff(lost) if !lost.actor.is_empty())
                    || matches!(&change, Change::Released { .. } if checked);
                prop_assert!(evidence, "{:?} freed {:?}", change, slot);
            }
            let slot = change.host().and_then(|host| before.slot(host));
            prop_assert!(Change::NAMES.contains(&change.name()));
            let record = AuditRecord::of_change(now, "scheduler gw-1", "plan 7", &change, slot);
            told.push(head.append(record).unwrap());
        }
        let stored = serde_json::to_vec(&told).unwrap();
        let told: Vec<AuditEntry> = serde_json::from_slice(&stored).unwrap();
        prop_assert_eq!(verify(AuditHead::default(), &told), Ok(head));
        prop_assert_eq!(&Checkpoint::default().ledger_with(&told).unwrap(), &ledger);
        prop_assert_eq!(Ledger::decode(&ledger.encode().unwrap()).unwrap(), ledger);
    }
}

#[test]
fn work_without_a_slot_waits_for_people_gates_blockers_and_failures_but_not_for_others() {
    let hosts = fleet(&[Serving, Lost, Lost]);
    let ledger = Ledger::default();
    let plain = GrantRules::plain(LIMITS);
    let asked = |ledger: &Ledger, answer: Option<&Availability>, rules: &GrantRules| {
        let answers = answer.map(|answer| (id(0), answer.clone())).into_iter().collect();
        let seen = Seen { now: Wall(1_000), hosts: &hosts, answers: Some(&answers) };
        ledger.may_begin(&id(0), &seen, rules)
    };
    let free = answer(&hosts[0], 0);
    assert_eq!(asked(&ledger, Some(&free), &plain), Ok(()), "too few serve for a slot");
    assert_eq!(asked(&ledger, None, &plain), Err(GrantRefused::Stale));
    let code = "backup".to_owned();
    let backup = Blocker { code: code.clone(), until: None, hard: true, detail: String::new() };
    let blocked = Availability { blockers: vec![backup], ..free.clone() };
    let refused = GrantRefused::Blocked { code, until: None };
    assert_eq!(asked(&ledger, Some(&blocked), &plain), Err(refused));
    let approval = Approval::Missing { given: 0, wanted: 1 };
    let rules = GrantRules { approval, ..plain.clone() };
    let refused = GrantRefused::NotApproved { given: 0, wanted: 1 };
    assert_eq!(asked(&ledger, Some(&free), &rules), Err(refused));
    let why = "down".to_owned();
    let rules = GrantRules { gate: Gate::Closed { why: why.clone() }, ..plain.clone() };
    assert_eq!(asked(&ledger, Some(&free), &rules), Err(GrantRefused::GateClosed { why }));
    let budget = FailureBudget { scope: "s".into(), max: 1, per: Duration::from_secs(9) };
    let rules = GrantRules { failures: vec![budget], ..plain.clone() };
    assert_eq!(asked(&ledger, Some(&free), &rules), Ok(()));
    let failure = Failure { scopes: vec!["s".into()], host: id(1), at: Wall(900) };
    let failed = Ledger { failures: vec![failure], ..Ledger::default() };
    let refused = GrantRefused::FailureBudget { failures: 1, max: 1 };
    assert_eq!(asked(&failed, Some(&free), &rules), Err(refused));
    let mut gone = Ledger::default();
    let lost = Host { state: Lost, ..hosts[0].clone() };
    gone.write_off(Wall(5), &lost, None, "ada", "burnt").unwrap();
    assert_eq!(asked(&gone, Some(&free), &plain), Err(GrantRefused::Retired));
}
