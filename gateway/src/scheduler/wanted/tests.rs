//! What operators want, over a store in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use maintenance::audit::{self, AuditHead};
use maintenance::fleet::{Estimate, VisitId};
use maintenance::operation::{After, Class, Due, OpKind, Operation, OperationId, Phases, Visit};
use maintenance::planner::PlannedVisit;
use maintenance::{Host, HostState};
use protocol::{GatewayId, Incarnation, Wall};
use store::Expect;

use super::change::Acting;
use super::*;
use crate::control::ControlError;
use crate::scheduler::documents::{Documents, in_memory};
use crate::scheduler::visits::{VisitDocument, begun_for_tests};

const EVERY_NIGHT: &str = "[policy.all]\nwindows = [ { rrule = \"FREQ=DAILY\", start = \"01:00\", duration = \"PT4H\" } ]\n";

fn hosts() -> Vec<Host> {
    let host =
        |name: &str| Host::new(GatewayId::new(name).unwrap(), Incarnation(1), HostState::Serving);
    ["gw-1", "gw-2", "gw-3"].map(host).to_vec()
}

fn acting<'a>(by: &'a str, hosts: &'a [Host]) -> Acting<'a> {
    Acting { by, now: Wall(1_000_000), hosts, most: 3 }
}

fn policy(text: &str) -> PolicyRequest {
    PolicyRequest {
        text: text.to_owned(),
        calendars: BTreeMap::new(),
        accept_lints: false,
        reason: "CHG-1".to_owned(),
    }
}

fn removal(name: &str) -> Removal {
    let (name, reason) = (name.to_owned(), "not now".to_owned());
    Removal { name, expected: None, reason, by: "ada".to_owned() }
}

fn restart(id: Option<&str>, hosts: &[&str]) -> OperationRequest {
    let id = id.map(str::to_owned);
    OperationRequest { id, ..OperationRequest::new(OpKind::Restart, hosts, "kernel") }
}

fn names(documents: &[OperationDocument]) -> Vec<&str> {
    documents.iter().map(|it| it.operation.id.as_str()).collect()
}

fn whole_audit(documents: &mut Documents) -> Vec<String> {
    let page = documents.audit(0, 1000).unwrap();
    assert_eq!(audit::verify(AuditHead::default(), &page.entries), Ok(page.head));
    page.entries.into_iter().map(|it| format!("{} {}", it.record.actor, it.record.action)).collect()
}

#[test]
fn policies_are_put_by_whoever_has_seen_what_is_there_and_the_audit_tells_all_of_it() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = acting("ada", &hosts);
    let put = |documents: &mut Documents, seen, by| {
        documents.put_policy(("all", seen), &policy(EVERY_NIGHT), &acting(by, &hosts))
    };
    let first = put(&mut documents, None, "ada").unwrap();
    assert_eq!((first.policy.revision, first.lints.len()), (1, 0));
    for wrong in [None, Some(7)] {
        let refused = put(&mut documents, wrong, "bob");
        assert!(matches!(refused, Err(ControlError::Outdated(_))), "{refused:?}");
    }
    let second = put(&mut documents, Some(1), "bob").unwrap();
    assert_eq!(second.policy.revision, 2);
    assert_eq!(documents.policies().unwrap(), std::slice::from_ref(&second.policy));
    assert_eq!(documents.policy_set().unwrap().policies().len(), 1);
    assert_eq!(documents.remove_policy(&removal("all"), &ada).unwrap(), second.policy);
    assert!(matches!(
        documents.remove_policy(&removal("all"), &ada),
        Err(ControlError::Missing(_))
    ));
    assert_eq!(
        whole_audit(&mut documents),
        ["ada policy.put", "bob policy.put", "ada policy.removed"]
    );
}

/// The window opens three quarters of an hour later, for four hours.
#[test]
fn what_is_pending_is_looked_at_when_policies_are_put_and_when_it_is_added() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let acting = acting("ada", &hosts);
    let due = |at| Some(Due { at: Wall(at), hard: false });
    let soon = OperationRequest { deadline: due(1_060_000), ..restart(Some("a"), &["gw-1"]) };
    let added = documents.add_operations(&soon, &acting).unwrap();
    assert!(documents.lints_of(&added, &acting).unwrap().is_empty(), "there is no policy");
    let refused = documents.put_policy(("all", None), &policy(EVERY_NIGHT), &acting);
    assert!(
        matches!(&refused, Err(ControlError::Refused(why)) if why.starts_with("DEADLINE_BEFORE_OPENING ")),
        "{refused:?}"
    );
    let accepted = PolicyRequest { accept_lints: true, ..policy(EVERY_NIGHT) };
    documents.put_policy(("all", None), &accepted, &acting).unwrap();
    let estimate = |hours: u64| {
        let p95 = Duration::from_secs(hours * 3600);
        Some(Estimate { p50: p95, p95 })
    };
    let mut lints = |id, request: OperationRequest| {
        let request = OperationRequest { id: Some(id), ..request };
        let added = documents.add_operations(&request, &acting).unwrap();
        documents.lints_of(&added, &acting).unwrap()
    };
    let plain = || restart(None, &["gw-2"]);
    let said = lints("b".to_owned(), OperationRequest { estimate: estimate(5), ..plain() });
    assert!(said.len() == 1 && said[0].starts_with("WINDOW_TOO_SHORT "), "{said:?}");
    let said = lints("c".to_owned(), OperationRequest { estimate: estimate(3), ..plain() });
    assert!(said.is_empty(), "{said:?}");
}

#[test]
fn policies_that_cannot_be_read_or_will_not_work_are_refused() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let mut put = |name: &str, request: &PolicyRequest| {
        documents.put_policy((name, None), request, &acting("ada", &hosts))
    };
    let wrong = put("a", &policy("[policy.a]\nwindow = []\n"));
    assert!(
        matches!(&wrong, Err(ControlError::Invalid(why)) if why.contains("line 2") && why.contains("`windows`")),
        "{wrong:?}"
    );
    let nobody = policy("[policy.a]\nselector = \"region=mars\"\n");
    let refused = put("a", &nobody);
    assert!(
        matches!(&refused, Err(ControlError::Refused(why)) if why.starts_with("NO_HOSTS ")),
        "{refused:?}"
    );
    let accepted = put("a", &PolicyRequest { accept_lints: true, ..nobody }).unwrap();
    assert_eq!(accepted.lints.len(), 1);
    // What was accepted is not said again.
    assert!(put("b", &policy(EVERY_NIGHT)).unwrap().lints.is_empty());
    let twice = put("c", &policy(EVERY_NIGHT));
    assert!(matches!(twice, Err(ControlError::Invalid(_))), "{twice:?}");
    let silent = PolicyRequest { reason: " ".to_owned(), ..policy("") };
    assert!(matches!(put("d", &silent), Err(ControlError::Invalid(_))));
    assert!(matches!(put("../d", &policy("")), Err(ControlError::Invalid(_))));
    assert!(put("d", &policy("")).is_ok());
    assert!(matches!(put("e", &policy("")), Err(ControlError::Refused(_))), "no room for a fourth");
}

#[test]
fn a_freeze_is_there_until_it_is_over_or_taken_away() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = acting("ada", &hosts);
    let freeze = |id: Option<&str>, to_ms: u64| FreezeRequest {
        id: id.map(str::to_owned),
        selector: "region=eu".parse().unwrap(),
        from_ms: None,
        to_ms,
        allow: Vec::new(),
        reason: "launch".to_owned(),
    };
    let over = documents.add_freeze(&freeze(None, ada.now.0), &ada);
    assert!(matches!(over, Err(ControlError::Invalid(_))), "{over:?}");
    let made = documents.add_freeze(&freeze(None, ada.now.0 + 5), &ada).unwrap();
    assert_eq!((made.id.as_str(), made.by.as_str()), ("freeze-1", "ada"));
    assert!(documents.add_freeze(&freeze(Some("freeze-1"), ada.now.0 + 9), &ada).is_err());
    let later = Acting { now: Wall(ada.now.0 + 5), ..ada };
    documents.add_freeze(&freeze(Some("x"), later.now.0 + 9), &later).unwrap();
    let names: Vec<_> = documents.freezes().unwrap().into_iter().map(|it| it.id).collect();
    assert_eq!(names, ["x"], "what is over is swept");
    documents.remove_freeze(&removal("x"), &ada).unwrap();
    assert!(matches!(documents.remove_freeze(&removal("x"), &ada), Err(ControlError::Missing(_))));
    assert_eq!(
        whole_audit(&mut documents),
        ["ada freeze.added", "ada freeze.added", "ada freeze.removed"]
    );
}

#[test]
fn operations_are_one_or_a_campaign_and_asked_for_twice_are_there_once() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = acting("ada", &hosts);
    let one = documents.add_operations(&restart(None, &["gw-1"]), &ada).unwrap();
    assert_eq!(names(&one), ["op-1"]);
    let two = restart(Some("C-1"), &["gw-1", "gw-2"]);
    let made = documents.add_operations(&two, &ada).unwrap();
    assert_eq!(names(&made), ["C-1:gw-1", "C-1:gw-2"]);
    assert!(made.iter().all(|it| it.operation.batch.is_some()));
    assert_eq!(documents.add_operations(&two, &ada).unwrap(), made, "an answer may be lost");
    let other = OperationRequest { priority: 1, ..two };
    assert!(matches!(documents.add_operations(&other, &ada), Err(ControlError::Refused(_))));
    let full = documents.add_operations(&restart(None, &["gw-3"]), &ada);
    assert!(
        matches!(&full, Err(ControlError::Refused(why)) if why.contains("maintenance_documents")),
        "{full:?}"
    );
    for wrong in [restart(None, &["gw-9"]), restart(None, &[]), restart(Some("a b"), &["gw-1"])] {
        let answer = documents.add_operations(&wrong, &ada);
        assert!(matches!(answer, Err(ControlError::Invalid(_))), "{answer:?}");
    }
    assert_eq!(whole_audit(&mut documents), ["ada operation.added", "ada operation.added"]);
}

#[test]
fn what_comes_after_a_campaign_waits_for_each_of_its_operations() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = acting("ada", &hosts);
    documents.add_operations(&restart(Some("all"), &["gw-1", "gw-2"]), &ada).unwrap();
    let on = OperationId::new("all").unwrap();
    let depends_on = vec![After { operation: on, lag: Duration::from_secs(7) }];
    let after = OperationRequest { depends_on, ..restart(Some("last"), &["gw-3"]) };
    let last = documents.add_operations(&after, &ada).unwrap();
    let waits = |it: &After| (it.operation.to_string(), it.lag.as_secs());
    let waits: Vec<_> = last[0].operation.depends_on.iter().map(waits).collect();
    assert_eq!(waits, [("all:gw-1".into(), 7), ("all:gw-2".into(), 7)]);
    assert_eq!(documents.add_operations(&after, &ada).unwrap().len(), 1, "the same once more");
}

#[test]
fn an_operation_is_approved_by_another_and_cancelled_unless_somebody_waits_for_it() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let [ada, bob] = ["ada", "bob"].map(|by| acting(by, &hosts));
    documents.add_operations(&restart(Some("a"), &["gw-1"]), &ada).unwrap();
    let on = OperationId::new("a").unwrap();
    let depends_on = vec![After { operation: on.clone(), lag: Duration::ZERO }];
    let after = OperationRequest { depends_on, ..restart(Some("b"), &["gw-2"]) };
    documents.add_operations(&after, &ada).unwrap();

    let own = documents.approve_operations(("a", "fine"), &ada);
    assert!(matches!(own, Err(ControlError::Refused(_))), "{own:?}");
    let agreed = documents.approve_operations(("a", "fine"), &bob).unwrap();
    let agreed: Vec<_> = agreed[0].operation.approvals.iter().map(|it| it.actor.as_str()).collect();
    assert_eq!(agreed, ["bob"]);

    let waited_for = documents.cancel_operations(&removal("a"), &ada);
    assert!(matches!(&waited_for, Err(ControlError::Refused(why)) if why.contains('b')));
    let over = (OperationState::Done, "its visit is over");
    documents.end_operations(&[on], over, &acting("scheduler gw-1", &hosts)).unwrap();
    let cancelled = documents.cancel_operations(&removal("b"), &ada).unwrap();
    assert_eq!(cancelled[0].state, OperationState::Cancelled);
    let states: Vec<_> = documents.operations().unwrap().iter().map(|it| it.state).collect();
    assert_eq!(states, [OperationState::Done, OperationState::Cancelled]);
    assert!(matches!(
        documents.cancel_operations(&removal("b"), &ada),
        Err(ControlError::WrongState(_))
    ));
    assert!(matches!(
        documents.cancel_operations(&removal("c"), &ada),
        Err(ControlError::Missing(_))
    ));
    assert_eq!(
        whole_audit(&mut documents).last().map(String::as_str),
        Some("ada operation.cancelled")
    );
}

/// A visit as it would be planned for these operations.
fn visit_of(documents: &mut Documents, ids: &[&str]) -> PlannedVisit {
    let stored = documents.operations().unwrap().into_iter().map(|it| it.operation);
    let operations: Vec<Operation> = stored.filter(|it| ids.contains(&it.id.as_str())).collect();
    let first = operations[0].clone();
    let visit = Visit {
        id: VisitId::new(&format!("{}/{}", first.host.as_str(), first.id)).unwrap(),
        host: first.host,
        operations: operations.iter().map(|it| it.id.clone()).collect(),
        class: first.class,
        phases: Phases::default(),
        not_before: None,
        deadline: None,
        priority: 0,
        after: Vec::new(),
        batches: Vec::new(),
    };
    PlannedVisit { visit, operations }
}

#[test]
fn a_visit_of_an_old_plan_does_not_begin() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let [ada, bob] = ["ada", "bob"].map(|by| acting(by, &hosts));
    documents.add_operations(&restart(Some("a"), &["gw-1"]), &ada).unwrap();
    let planned = visit_of(&mut documents, &["a"]);
    let puts = documents.hold_operations(&planned, ada.now).unwrap().unwrap();
    assert_eq!(puts.len(), 2, "its operation, and that nothing is paused");

    // Whoever approves or cancels it between the look and the write keeps it from beginning.
    documents.approve_operations(("a", "fine"), &bob).unwrap();
    assert!(documents.write(puts).is_err());
    let changed = documents.hold_operations(&planned, ada.now).unwrap();
    assert!(matches!(&changed, Err(why) if why.contains("changed")), "{changed:?}");
    let planned = visit_of(&mut documents, &["a"]);
    let puts = documents.hold_operations(&planned, ada.now).unwrap().unwrap();
    documents.cancel_operations(&removal("a"), &ada).unwrap();
    assert!(documents.write(puts).is_err());
    let gone = documents.hold_operations(&planned, ada.now).unwrap();
    assert!(matches!(&gone, Err(why) if why.contains("pending")), "{gone:?}");
}

#[test]
fn a_visit_begins_when_what_it_waits_for_is_done_and_was_watched() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = Acting { most: 10, ..acting("ada", &hosts) };
    let campaign = OperationRequest { soak_ms: 50, ..restart(Some("C"), &["gw-1", "gw-2"]) };
    documents.add_operations(&campaign, &ada).unwrap();
    let batch = |documents: &mut Documents, number| {
        let of = |it: &OperationDocument| it.operation.batch.as_ref().map(|batch| batch.number);
        let stored = documents.operations().unwrap();
        stored.into_iter().find(|it| of(it) == Some(number)).unwrap().operation.id
    };
    let [first, second] = [0, 1].map(|number| batch(&mut documents, number));
    let depends_on = vec![After { operation: second.clone(), lag: Duration::from_millis(30) }];
    let after = OperationRequest { depends_on, ..restart(Some("z"), &["gw-3"]) };
    documents.add_operations(&after, &ada).unwrap();

    let may = |documents: &mut Documents, id: &str, at: u64| {
        let planned = visit_of(documents, &[id]);
        documents.hold_operations(&planned, Wall(at)).unwrap().is_ok()
    };
    let now = ada.now.0;
    assert!(may(&mut documents, first.as_str(), now));
    assert!(!may(&mut documents, second.as_str(), now + 1000), "whatever the plan says");
    let over = (OperationState::Done, "its visit is over");
    documents.end_operations(std::slice::from_ref(&first), over, &ada).unwrap();
    assert!(!may(&mut documents, second.as_str(), now + 49));
    assert!(may(&mut documents, second.as_str(), now + 50));
    assert!(!may(&mut documents, "z", now + 1000));
    documents.end_operations(&[second], over, &ada).unwrap();
    assert!(!may(&mut documents, "z", now + 29));
    assert!(may(&mut documents, "z", now + 30));
}

#[test]
fn a_campaign_goes_on_while_no_more_fail_than_may() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = Acting { most: 10, ..acting("ada", &hosts) };
    let all = OperationRequest {
        failure_budget: 1,
        canary: Some(vec![maintenance::operation::Share::Hosts(1); 2]),
        ..restart(Some("C"), &["gw-1", "gw-2", "gw-3"])
    };
    let added = documents.add_operations(&all, &ada).unwrap();
    let number = |it: &OperationDocument| it.operation.batch.as_ref().map(|batch| batch.number);
    let of = |wanted| added.iter().find(|it| number(it) == Some(wanted)).unwrap();
    let [first, second, third] = [0, 1, 2].map(|wanted| of(wanted).operation.id.clone());
    let may = |documents: &mut Documents, id: &OperationId| {
        let planned = visit_of(documents, &[id.as_str()]);
        documents.hold_operations(&planned, Wall(ada.now.0)).unwrap().is_ok()
    };
    let failed = (OperationState::Failed, "its visit failed");
    documents.end_operations(&[first], failed, &ada).unwrap();
    assert!(held_up(&documents.operations().unwrap()).is_empty());
    assert!(may(&mut documents, &second), "one may fail");
    assert!(!may(&mut documents, &third), "the batch before it is not over");
    documents.end_operations(&[second], failed, &ada).unwrap();
    let stored = documents.operations().unwrap();
    assert!(held_up(&stored).contains(&third));
    let waiting = stored.iter().find(|it| it.operation.id == third).unwrap();
    assert!(held_up_by(waiting, &stored).is_some());
    assert!(!may(&mut documents, &third));
    documents.pass_over_operations(("C", "known"), &ada).unwrap();
    assert!(may(&mut documents, &third));
}

#[test]
fn what_is_left_of_a_campaign_goes_on_when_somebody_says_so() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = Acting { most: 10, ..acting("ada", &hosts) };
    let two = restart(Some("C"), &["gw-1", "gw-2"]);
    let added = documents.add_operations(&two, &ada).unwrap();
    let number = |it: &OperationDocument| it.operation.batch.as_ref().map(|batch| batch.number);
    let of = |wanted| added.iter().find(|it| number(it) == Some(wanted)).unwrap();
    let [first, second] = [0, 1].map(|wanted| of(wanted).operation.id.clone());
    let planned = visit_of(&mut documents, &[second.as_str()]);
    let early = documents.pass_over_operations(("C", "known"), &ada);
    assert!(matches!(early, Err(ControlError::WrongState(_))), "{early:?}");
    let failed = (OperationState::Failed, "its visit failed");
    documents.end_operations(std::slice::from_ref(&first), failed, &ada).unwrap();
    let stored = documents.operations().unwrap();
    let waiting = stored.iter().find(|it| it.operation.id == second).unwrap();
    assert_eq!(held_up_by(waiting, &stored).map(|by| &by.operation.id), Some(&first));
    let held = documents.hold_operations(&planned, Wall(ada.now.0)).unwrap();
    assert!(matches!(&held, Err(why) if why.contains("was not done")), "{held:?}");

    let passed = documents.pass_over_operations(("C", "known"), &ada).unwrap();
    assert_eq!(passed.len(), 1);
    assert_eq!((passed[0].state, passed[0].passed_over), (OperationState::Failed, true));
    assert!(held_up(&documents.operations().unwrap()).is_empty());
    assert!(documents.hold_operations(&planned, Wall(ada.now.0)).unwrap().is_ok());
    let entry = documents.audit(0, 100).unwrap().entries.pop().unwrap();
    assert_eq!(
        (entry.record.action.as_str(), entry.record.reason.as_str()),
        ("operation.passed_over", "known")
    );
}

#[test]
fn a_visit_does_not_begin_after_one_that_failed() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = Acting { most: 10, ..acting("ada", &hosts) };
    documents.add_operations(&restart(Some("a"), &["gw-1"]), &ada).unwrap();
    let a = OperationId::new("a").unwrap();
    let depends_on = vec![After { operation: a.clone(), lag: Duration::ZERO }];
    let after = OperationRequest { depends_on, ..restart(Some("b"), &["gw-2"]) };
    documents.add_operations(&after, &ada).unwrap();
    let both = visit_of(&mut documents, &["b"]);
    let failed = (OperationState::Failed, "its visit failed");
    documents.end_operations(&[a], failed, &ada).unwrap();
    let held = documents.hold_operations(&both, Wall(ada.now.0 + 1_000_000)).unwrap();
    assert!(matches!(&held, Err(why) if why.contains("was not done")), "{held:?}");
}

#[test]
fn each_kind_of_work_disturbs_as_little_as_it_can_unless_somebody_wants_more() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = Acting { most: 10, ..acting("ada", &hosts) };
    let mut class_of = |kind, class| {
        let request = OperationRequest { kind, class, ..restart(None, &["gw-1"]) };
        documents.add_operations(&request, &ada).map(|made| made[0].operation.class)
    };
    let upgrade = OpKind::Upgrade { to: "2".to_owned() };
    for (kind, class) in [
        (OpKind::CertRotate, Class::Hot),
        (OpKind::ConfigChange { rev: "2".to_owned() }, Class::InPlace),
        (upgrade, Class::InPlace),
        (OpKind::Reboot, Class::Absent),
        (OpKind::Restart, Class::InPlace),
        (OpKind::DrainOnly { hold: Duration::ZERO }, Class::Drain),
    ] {
        assert_eq!(class_of(kind, None), Ok(class));
    }
    assert_eq!(class_of(OpKind::Restart, Some(Class::Drain)), Ok(Class::Drain));
    let too_little = class_of(OpKind::Reboot, Some(Class::Drain));
    assert!(matches!(&too_little, Err(ControlError::Invalid(_))), "{too_little:?}");
}

#[test]
fn what_is_being_done_without_a_slot_is_not_cancelled() {
    let (mut documents, hosts) = (in_memory(), hosts());
    let ada = acting("ada", &hosts);
    let hot = OperationRequest { kind: OpKind::CertRotate, ..restart(Some("a"), &["gw-1"]) };
    let operation = documents.add_operations(&hot, &ada).unwrap()[0].operation.clone();
    documents.add_operations(&restart(Some("b"), &["gw-1"]), &ada).unwrap();
    let going = begun_for_tests(operation);
    let put = |expect| {
        let key = VisitDocument::key(going.execution.visit());
        vec![Documents::put_of(&key, &going, expect).unwrap()]
    };
    documents.write(put(Expect::Absent)).unwrap();
    let refused = documents.cancel_operations(&removal("a"), &ada);
    assert!(matches!(refused, Err(ControlError::WrongState(_))), "{refused:?}");
    // What else there is for its gateway has not begun.
    assert_eq!(names(&documents.cancel_operations(&removal("b"), &ada).unwrap()), ["b"]);
}

#[test]
fn the_program_of_a_kind_of_its_own_is_not_run_as_a_hook_that_disturbs_nobody() {
    let (mut documents, hosts) = (in_memory(), hosts());
    for name in ["reboot", "upgrade", "config-change", "cert-rotate"] {
        let kind = OpKind::Hook {
            name: name.to_owned(),
            args: Vec::new(),
            timeout: Duration::from_secs(1),
            class: Class::Hot,
        };
        let request = OperationRequest { kind, ..restart(Some("a"), &["gw-1"]) };
        let refused = documents.add_operations(&request, &acting("ada", &hosts));
        assert!(matches!(refused, Err(ControlError::Invalid(_))), "{refused:?}");
    }
}
