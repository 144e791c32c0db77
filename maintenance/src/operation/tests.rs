//! What merging, campaigns and estimates hold.

use std::collections::BTreeMap;
use std::time::Duration;

use proptest::prelude::*;
use protocol::{GatewayId, Wall};

use super::*;
use crate::fleet::{Blocker, Estimate, Preferred};

const MINUTE: Duration = Duration::from_secs(60);

fn host(number: usize) -> GatewayId {
    GatewayId::new(&format!("gw-{number}")).unwrap()
}

fn id(text: &str) -> OperationId {
    OperationId::new(text).unwrap()
}

fn operation(name: &str, kind: OpKind, on: usize) -> Operation {
    let estimate = Estimate { p50: MINUTE, p95: 2 * MINUTE };
    Operation { estimate, ..Operation::new(id(name), kind, host(on)) }
}

fn hook(class: Class) -> OpKind {
    OpKind::Hook { name: "fsck".to_owned(), args: Vec::new(), timeout: 5 * MINUTE, class }
}

fn after(operation: &str) -> After {
    After { operation: id(operation), lag: Duration::ZERO }
}

fn merged(operations: &[Operation]) -> Vec<Visit> {
    let times = PhaseTimes {
        announce: MINUTE / 2,
        drain: 4 * MINUTE,
        verify: MINUTE,
        warm: 3 * MINUTE,
        soak: 5 * MINUTE,
    };
    let merging = Merging {
        now: Wall(0),
        join: Duration::from_secs(24 * 3600),
        times: &|_: &GatewayId| times,
    };
    merge(operations, &merging).unwrap()
}

#[test]
fn all_pending_work_of_a_host_is_one_visit_in_the_order_that_serves_it() {
    let operations = [
        operation("op-5", OpKind::Reboot, 1),
        operation("op-4", OpKind::Upgrade { to: "2.4.1".to_owned() }, 1),
        operation("op-3", hook(Class::Drain), 1),
        operation("op-2", OpKind::CertRotate, 1),
        operation("op-1", OpKind::ConfigChange { rev: "7".to_owned() }, 1),
        operation("op-6", OpKind::Restart, 1),
        operation("op-7", OpKind::CertRotate, 2),
    ];
    let visits = merged(&operations);
    assert_eq!(visits.len(), 2);
    let visit = &visits[0];
    assert_eq!(visit.id.as_str(), "gw-1/op-1");
    let names: Vec<&str> = visit.operations.iter().map(OperationId::as_str).collect();
    assert_eq!(names, ["op-1", "op-2", "op-3", "op-4", "op-6", "op-5"]);
    assert_eq!((visit.class, visit.slot()), (Class::Absent, Some(crate::ledger::SlotClass::Drain)));
    // The restart has nothing to do beside the upgrade and the reboot.
    let works = visit.works(|id| operations.iter().find(|operation| operation.id == *id));
    assert_eq!(works.len(), 5);
    assert!(works.last().unwrap().absent);
    assert_eq!(visit.phases.operate, 10 * MINUTE);
    // 30 s + 4 + 10 + 1 + 3 + 5 minutes, in whole minutes.
    assert_eq!(visit.phases.total(), 24 * MINUTE);
    assert_eq!((visits[1].class, visits[1].slot()), (Class::Hot, None));
    assert_eq!(visits[1].phases.total(), 2 * MINUTE);
}

#[test]
fn what_waits_for_another_host_is_apart_only_if_it_has_to() {
    let mut operations = vec![
        operation("a1", OpKind::Restart, 1),
        operation("b1", OpKind::Restart, 2),
        operation("b2", OpKind::CertRotate, 2),
        operation("a2", OpKind::CertRotate, 1),
    ];
    operations[1].depends_on = vec![after("a1")];
    let visits = merged(&operations);
    assert_eq!(visits.len(), 2);
    let b = visits.iter().find(|visit| visit.host == host(2)).unwrap();
    assert_eq!(b.after[0].visit.as_str(), "gw-1/a1");
    // Now each host waits for the other: one of them is visited twice.
    operations[3].depends_on = vec![after("b2")];
    operations[0].depends_on = vec![];
    operations[2].depends_on = vec![after("b1")];
    let visits = merged(&operations);
    assert_eq!(visits.len(), 3);
    let second = visits.iter().find(|visit| visit.id.as_str() == "gw-1/a2").unwrap();
    assert!(second.after.iter().any(|after| after.visit.as_str() == "gw-1/a1"));
    assert!(second.after.iter().any(|after| after.visit.as_str() == "gw-2/b1"));
}

#[test]
fn work_that_may_start_much_later_or_would_lose_a_deadline_is_a_visit_of_its_own() {
    let hours = |n: u64| Wall(n * 3_600_000);
    let mut operations =
        vec![operation("op-1", OpKind::Restart, 1), operation("op-2", OpKind::CertRotate, 1)];
    operations[1].not_before = Some(hours(30));
    assert_eq!(merged(&operations).len(), 2);
    operations[1].not_before = Some(hours(20));
    assert_eq!(merged(&operations).len(), 1);
    operations[0].deadline = Some(Due { at: hours(10), hard: true });
    let visits = merged(&operations);
    assert_eq!(visits.len(), 2);
    assert_eq!(visits[1].after[0].visit, visits[0].id);
    operations[0].deadline = Some(Due { at: hours(30), hard: false });
    let visits = merged(&operations);
    assert_eq!(visits.len(), 1);
    assert_eq!(
        (visits[0].not_before, visits[0].deadline.unwrap().at),
        (Some(hours(20)), hours(30))
    );
}

#[test]
fn what_cannot_be_meant_is_named() {
    let hosts = [host(1), host(2)];
    let refused = |operations: &[Operation]| validate(operations, &hosts).unwrap_err();
    let one = || operation("op-1", OpKind::Restart, 1);
    assert_eq!(refused(&[one(), one()]), InvalidOperations::Twice(id("op-1")));
    let unknown = refused(&[operation("op-1", OpKind::Restart, 3)]);
    assert_eq!(unknown.to_string(), "operation op-1: gw-3 is no host of this fleet");
    let lost = Operation { depends_on: vec![after("op-9")], ..one() };
    assert_eq!(refused(&[lost]).to_string(), "operation op-1 waits for op-9, which is not there");
    let milder = Operation { class: Class::Hot, ..one() };
    assert_eq!(refused(&[milder]), InvalidOperations::Class(id("op-1")));
    let late = Operation {
        not_before: Some(Wall(5_000)),
        deadline: Some(Due { at: Wall(4_000), hard: true }),
        ..one()
    };
    assert_eq!(refused(&[late]), InvalidOperations::Deadline(id("op-1")));
    for (name, args, timeout) in [
        ("/bin/sh", vec![], MINUTE),
        ("a b", vec![], MINUTE),
        ("", vec![], MINUTE),
        ("ok", vec!["nul\0".to_owned()], MINUTE),
        ("ok", vec![String::new(); 33], MINUTE),
        ("ok", vec![], Duration::ZERO),
    ] {
        let kind = OpKind::Hook { name: name.to_owned(), args, timeout, class: Class::Hot };
        let refused = refused(&[operation("op-1", kind, 1)]);
        assert_eq!(refused, InvalidOperations::Hook(id("op-1")));
    }
    let wait = |name: &str, on: &str| Operation {
        depends_on: vec![after(on)],
        ..operation(name, OpKind::Restart, 1)
    };
    let circle = [wait("op-1", "op-2"), wait("op-2", "op-3"), wait("op-3", "op-2")];
    let InvalidOperations::Cycle(mut cycle) = refused(&circle) else {
        panic!("no cycle");
    };
    cycle.sort();
    assert_eq!(cycle, [id("op-2"), id("op-3")]);
    for bad in ["", "a/b", "a b", &"x".repeat(65)] {
        assert_eq!(OperationId::new(bad), Err(InvalidOperationId));
    }
}

#[test]
fn a_campaign_begins_small_and_names_its_batches() {
    let campaign = Campaign {
        id: CampaignId(id("C-12")),
        template: Operation {
            priority: 3,
            ..operation("template", OpKind::Upgrade { to: "2.4.1".to_owned() }, 0)
        },
        canary: Campaign::CANARY.to_vec(),
        soak: 60 * MINUTE,
        failure_budget: 2,
    };
    let hosts: Vec<GatewayId> = (0..100).map(host).collect();
    let sizes = |hosts: &[GatewayId]| -> Vec<usize> {
        campaign.batches(hosts).unwrap().iter().map(Vec::len).collect()
    };
    assert_eq!(sizes(&hosts), [1, 3, 5, 91]);
    assert_eq!(sizes(&hosts[..2]), [1, 1]);
    let mut backwards = hosts.clone();
    backwards.reverse();
    assert_eq!(campaign.batches(&backwards), campaign.batches(&hosts));
    assert_eq!(campaign.batches(&[]), Err(InvalidCampaign::NoHosts));
    let operations = campaign.operations(&hosts).unwrap();
    assert_eq!(operations.len(), 100);
    assert!(operations.iter().all(|operation| operation.priority == 3));
    let one = operations.iter().find(|operation| operation.host == host(7)).unwrap();
    assert_eq!(one.id.as_str(), "C-12:gw-7");
    let last = one.batch.as_ref().map(ToString::to_string).unwrap();
    assert!(last.starts_with("C-12 batch "));
    let too_many = Campaign { canary: vec![Share::Percent(101)], ..campaign };
    assert_eq!(too_many.batches(&hosts), Err(InvalidCampaign::Batch));
}

#[test]
fn estimates_are_learned_and_bounded() {
    let mut estimates = Estimates::default();
    let assumed = Estimate { p50: MINUTE, p95: 10 * MINUTE };
    let upgrade = |to: &str| OpKind::Upgrade { to: to.to_owned() };
    assert_eq!(estimates.estimate(&upgrade("1"), None, assumed), assumed);
    estimates.learn(&upgrade("1"), None, 20 * MINUTE);
    // One sample may make a plan more careful, not bolder.
    let first = Estimate { p50: 20 * MINUTE, p95: 20 * MINUTE };
    assert_eq!(estimates.estimate(&upgrade("1"), None, assumed), first);
    for minutes in 1..=100_u32 {
        estimates.learn(&upgrade("1"), None, minutes * MINUTE);
    }
    // The 64 newest: 37 to 100.
    let learned = Estimate { p50: 68 * MINUTE, p95: 97 * MINUTE };
    assert_eq!(estimates.estimate(&upgrade("1"), None, assumed), learned);
    assert_eq!(estimates.estimate(&upgrade("2"), None, assumed), assumed);
    for version in 0..Estimates::KINDS {
        estimates.learn(&upgrade(&format!("v{version}")), None, MINUTE);
    }
    assert_eq!(estimates.estimate(&upgrade("1"), None, assumed), assumed);
    let text = serde_json::to_string(&estimates).unwrap();
    assert_eq!(serde_json::from_str::<Estimates>(&text).unwrap(), estimates);
}

#[test]
fn what_is_known_of_a_class_of_hosts_counts_there_once_it_is_enough() {
    let mut estimates = Estimates::default();
    let assumed = Estimate { p50: MINUTE, p95: MINUTE };
    for _ in 0..Estimates::ENOUGH {
        estimates.learn(&OpKind::Restart, Some("small"), 2 * MINUTE);
    }
    estimates.learn(&OpKind::Restart, Some("large"), 9 * MINUTE);
    let of = |class| estimates.estimate(&OpKind::Restart, class, assumed).p95;
    assert_eq!(of(Some("small")), 2 * MINUTE);
    assert_eq!(of(Some("large")), 9 * MINUTE, "as on all");
    assert_eq!(of(None), 9 * MINUTE);
    let learned = estimates.learned();
    let kinds: Vec<_> = learned.iter().map(|it| (it.kind.as_str(), it.samples)).collect();
    assert_eq!(kinds, [("restart", 9), ("restart@large", 1), ("restart@small", 8)]);
}

/// An operation with a number of its own: kind, host, hours until it may start, hours it has, what it waits for.
type Draw = (u8, usize, u64, Option<u64>, Vec<usize>, Option<usize>);

fn build(draws: &[Draw]) -> Vec<Operation> {
    let kinds = [
        OpKind::Restart,
        OpKind::CertRotate,
        OpKind::ConfigChange { rev: "1".to_owned() },
        OpKind::Upgrade { to: "2".to_owned() },
        OpKind::Reboot,
        hook(Class::InPlace),
        OpKind::DrainOnly { hold: 3 * MINUTE },
    ];
    let build = |(number, draw): (usize, &Draw)| {
        let (kind, host, starts, due, waits, batch) = draw;
        let kind = kinds[usize::from(*kind) % kinds.len()].clone();
        let mut operation = operation(&format!("op-{number:03}"), kind, *host);
        operation.not_before = (*starts > 0).then(|| Wall(starts * 3_600_000));
        let at = due.map(|due| Wall((starts + due + 1) * 3_600_000));
        operation.deadline = at.map(|at| Due { at, hard: true });
        // Only on what has a lower number: no cycles.
        let waits = waits.iter().filter(|on| **on < number);
        operation.depends_on = waits.map(|on| after(&format!("op-{on:03}"))).collect();
        operation.batch = batch.map(|number| BatchOf {
            campaign: CampaignId(id("C")),
            number,
            soak: MINUTE,
            failure_budget: 0,
        });
        operation
    };
    draws.iter().enumerate().map(build).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn every_operation_is_in_one_visit_and_visits_never_wait_for_each_other(
        draws in prop::collection::vec(
            (
                0_u8..7, 0_usize..4, 0_u64..40, prop::option::weighted(0.3, 0_u64..30),
                prop::collection::vec(0_usize..20, 0..3), prop::option::weighted(0.2, 0_usize..3),
            ),
            1..20,
        ),
    ) {
        let mut operations = build(&draws);
        let visits = merged(&operations);
        operations.reverse();
        prop_assert_eq!(&merged(&operations), &visits);
        let mut seen = BTreeMap::new();
        for visit in &visits {
            for (place, name) in visit.operations.iter().enumerate() {
                prop_assert!(seen.insert(name.clone(), (visit.id.clone(), place)).is_none());
                let operation = operations.iter().find(|o| o.id == *name).unwrap();
                prop_assert_eq!(&operation.host, &visit.host);
                prop_assert!(operation.class <= visit.class);
                prop_assert!(operation.not_before <= visit.not_before);
            }
        }
        prop_assert_eq!(seen.len(), operations.len());
        // Whoever waits comes behind, in its visit or in one that waits.
        for operation in &operations {
            for on in &operation.depends_on {
                let ((visit, place), (before, earlier)) = (&seen[&operation.id], &seen[&on.operation]);
                let waits = visits.iter().find(|v| v.id == *visit).unwrap();
                let behind = visit == before && earlier < place;
                prop_assert!(behind || waits.after.iter().any(|after| after.visit == *before));
            }
        }
        let mut over: Vec<&crate::fleet::VisitId> = Vec::new();
        while over.len() < visits.len() {
            let next = visits.iter().find(|visit| {
                !over.contains(&&visit.id) && visit.after.iter().all(|a| over.contains(&&a.visit))
            });
            prop_assert!(next.is_some(), "visits wait for each other");
            over.extend(next.map(|visit| &visit.id));
        }
    }
}

#[test]
fn a_host_counters_a_start_that_does_not_suit_it_with_what_would_and_is_in_time() {
    let mut visit = merged(&[operation("op", OpKind::Restart, 1)]).remove(0);
    visit.class = Class::Drain;
    let length = u64::try_from(visit.phases.exact().as_millis()).unwrap();
    let preferred = |cost, from: u64, until: u64| {
        let (from, until) = (Wall(from), Wall(until));
        Preferred { cost, from, until }
    };
    let [now, late, soon, short] = [
        preferred(7, 50, 100 + length),
        preferred(1, 9_000, 9_000 + length),
        preferred(4, 500, 500 + length),
        preferred(0, 500, 499 + length),
    ];
    let countered = |visit: &Visit, preferred: &[Preferred], yields_to| {
        visit.counter(preferred, yields_to, Wall(100))
    };
    assert_eq!(countered(&visit, &[late, short, soon], None), [late, soon]);
    assert_eq!(countered(&visit, &[late, now, soon], None), [], "now suits it, at whatever cost");
    assert_eq!(visit.counter(&[now, soon], None, Wall(101)), [soon], "it would be over too late");
    assert_eq!(visit.counter(&[soon], None, Wall(501)), [], "nothing of that is left");
    assert_eq!(countered(&visit, &[], None), []);
    visit.deadline = Some(Due { at: Wall(500 + length), hard: false });
    assert_eq!(countered(&visit, &[late, soon], None), [soon]);
    visit.priority = 5;
    assert_eq!(countered(&visit, &[late, soon], Some(6)), [soon]);
    assert_eq!(countered(&visit, &[late, soon], Some(5)), []);
    visit.class = Class::Hot;
    assert_eq!(countered(&visit, &[soon], None), [], "it takes nothing from clients");
}

#[test]
fn a_visit_is_declined_by_what_is_hard_and_by_what_is_soft_unless_it_is_urgent() {
    let mut visit = merged(&[operation("op", OpKind::Restart, 1)]).remove(0);
    let blocker = |hard, until: Option<u64>| {
        let (code, until) = ("backup".to_owned(), until.map(Wall));
        [Blocker { code, until, hard, detail: String::new() }]
    };
    let at = |visit: &Visit, blockers: &[Blocker], yields_to| {
        visit.declined_by(blockers, yields_to, Wall(100)).is_some()
    };
    for hard in [true, false] {
        assert!(at(&visit, &blocker(hard, None), None));
        assert!(at(&visit, &blocker(hard, Some(101)), None));
        assert!(!at(&visit, &blocker(hard, Some(100)), None), "it is over");
    }
    visit.priority = 5;
    assert!(at(&visit, &blocker(false, None), Some(6)));
    assert!(!at(&visit, &blocker(false, None), Some(5)));
    assert!(at(&visit, &blocker(true, None), Some(5)));
    let takes = u64::try_from(visit.phases.total().as_millis()).unwrap();
    visit.deadline = Some(Due { at: Wall(1_000 + takes), hard: false });
    assert!(at(&visit, &blocker(false, Some(1_000)), None), "there is time enough");
    assert!(!at(&visit, &blocker(false, Some(1_001)), None));
    assert!(!at(&visit, &blocker(false, None), None));
    assert!(at(&visit, &blocker(true, None), None));
}
