//! What is planned of documents in a store in memory.

use std::collections::BTreeMap;
use std::time::Duration;

use maintenance::calendar::Zone;
use maintenance::fleet::Term;
use maintenance::fleet::{Availability, Estimate, Forecast, Load, OwnDrain};
use maintenance::operation::{After, OpKind, OperationId, Visit};
use maintenance::planner::{Plan, Published, Reason};
use maintenance::{Host, HostState};
use protocol::{GatewayId, Incarnation, Wall};
use store::Expect;

use super::basis::{PlanAnswer, PlanBasis};
use super::gates::Gates;
use super::look::{Look, PLAN};
use crate::scheduler::documents::{Documents, in_memory};
use crate::scheduler::status::HostStatus;
use crate::scheduler::visits::{VisitDocument, begun_for_tests};
use crate::scheduler::wanted::{
    Acting, FreezeRequest, OperationRequest, OperationState, PolicyRequest,
};

/// 2026-01-05 10:00 UTC, a Monday.
const TEN: u64 = 1_767_607_200_000;
const HOUR: u64 = 3_600_000;

/// Two gateways that serve and answer, and one that is lost.
fn statuses() -> Vec<HostStatus> {
    let host = |name: &str, state| Host::new(GatewayId::new(name).unwrap(), Incarnation(1), state);
    let answers = |host: Host| {
        let answer = Availability {
            host: host.id.clone(),
            incarnation: host.incarnation,
            state: HostState::Serving,
            seq: 1,
            issued: Wall(0),
            valid_until: Wall(u64::MAX),
            blockers: Vec::new(),
            load: Load::default(),
            forecast: Forecast::new(Vec::new()),
            drain_estimate: Estimate::default(),
            drain: OwnDrain::default(),
            sessions: 0,
            v5_share_percent: None,
            needs: Vec::new(),
            preferred: Vec::new(),
        };
        HostStatus { host, fresh: true, answer: Some(answer) }
    };
    let lost = host("gw-3", HostState::Lost);
    let serves = ["gw-1", "gw-2"].map(|name| answers(host(name, HostState::Serving)));
    serves.into_iter().chain([HostStatus { host: lost, fresh: false, answer: None }]).collect()
}

/// A policy whose window opens at noon, and a restart of gateways.
fn wanted(policy: &str, hosts: &[&str]) -> Documents {
    let mut documents = in_memory();
    let known: Vec<Host> = statuses().into_iter().map(|status| status.host).collect();
    let acting = Acting { by: "ada", now: Wall(TEN), hosts: &known, most: 10 };
    let request = PolicyRequest {
        text: policy.to_owned(),
        calendars: BTreeMap::new(),
        accept_lints: true,
        reason: "test".to_owned(),
    };
    documents.put_policy(("all", None), &request, &acting).unwrap();
    documents.add_operations(&restart(Some("R"), hosts), &acting).unwrap();
    documents
}

fn restart(id: Option<&str>, hosts: &[&str]) -> OperationRequest {
    let id = id.map(str::to_owned);
    OperationRequest { id, ..OperationRequest::new(OpKind::Restart, hosts, "kernel") }
}

const NOON: &str = r#"
[policy.noon]
windows = [ { rrule = "FREQ=DAILY", start = "12:00", duration = "PT4H" } ]
min_available = { fleet = 1 }
gate = { close_if = ["lost_hosts >= 2"] }
"#;

fn planned(look: &Look) -> (Vec<Visit>, Plan) {
    let mut gates = Gates::default();
    gates.note(look.closed(), look.now);
    let visits = look.visits().unwrap();
    let problem = look.problem(&visits, &|effective| gates.closed_until(effective, look.now));
    let plan = look.plan(&problem).unwrap();
    (visits, plan)
}

fn look(documents: &mut Documents, statuses: Vec<HostStatus>) -> Look {
    Look::read(documents, statuses, Wall(TEN)).unwrap()
}

#[test]
fn visits_are_planned_one_after_the_other_inside_the_window() {
    let mut documents = wanted(NOON, &["gw-1", "gw-2"]);
    let look = look(&mut documents, statuses());
    assert!(!look.is_idle());
    let (visits, plan) = planned(&look);
    assert_eq!(visits.len(), 2);
    let [first, second] = plan.entries.as_slice() else { panic!("{plan:?}") };
    assert_eq!(first.start, Wall(TEN + 2 * HOUR));
    assert!(first.end <= second.start && second.end <= Wall(TEN + 6 * HOUR), "{plan:?}");
    assert!(plan.unplanned.is_empty());
}

#[test]
fn what_was_frozen_or_closed_moves_and_who_is_lost_has_no_place() {
    let mut documents = wanted(NOON, &["gw-1", "gw-3"]);
    let known: Vec<Host> = statuses().into_iter().map(|status| status.host).collect();
    let acting = Acting { by: "ada", now: Wall(TEN), hosts: &known, most: 10 };
    let freeze = FreezeRequest {
        id: None,
        selector: "host=gw-1".parse().unwrap(),
        from_ms: None,
        to_ms: TEN + 3 * HOUR,
        allow: Vec::new(),
        reason: "launch".to_owned(),
    };
    documents.add_freeze(&freeze, &acting).unwrap();
    let frozen = look(&mut documents, statuses());
    let (_, plan) = planned(&frozen);
    assert_eq!(plan.entries.first().map(|it| it.start), Some(Wall(TEN + 3 * HOUR)), "{plan:?}");
    let lost: Vec<_> = plan.unplanned.iter().map(|it| (it.host.as_str(), &it.reasons)).collect();
    assert_eq!(lost, [("gw-3", &vec![Reason::StaleReport])]);

    // A second one that is lost closes the gate, for as long as it may open again.
    let mut worse = statuses();
    worse[1].host.state = HostState::Lost;
    let closed = look(&mut documents, worse);
    assert_ne!(closed.fingerprint(), frozen.fingerprint());
    assert_eq!(closed.closed().len(), 1);
    assert!(frozen.closed().is_empty());
}

#[test]
fn nobody_waits_for_what_is_done() {
    let mut documents = wanted(NOON, &["gw-1"]);
    let known: Vec<Host> = statuses().into_iter().map(|status| status.host).collect();
    let acting = Acting { by: "scheduler gw-1", now: Wall(TEN), hosts: &known, most: 10 };
    let before = look(&mut documents, statuses());
    let ids: Vec<_> = before.operations.iter().map(|it| it.id.clone()).collect();
    documents.end_operations(&ids, (OperationState::Done, "its visit is over"), &acting).unwrap();
    let after = look(&mut documents, statuses());
    assert!(after.is_idle() && after.operations.is_empty());
    assert_ne!(after.fingerprint(), before.fingerprint());
}

#[test]
fn a_visit_that_failed_or_was_called_off_lets_nobody_go_on() {
    let known: Vec<Host> = statuses().into_iter().map(|status| status.host).collect();
    let acting = Acting { by: "scheduler gw-1", now: Wall(TEN), hosts: &known, most: 10 };
    for (state, held) in [
        (OperationState::Done, false),
        (OperationState::Failed, true),
        (OperationState::Aborted, true),
    ] {
        let mut documents = wanted(NOON, &["gw-1", "gw-2"]);
        let first = documents.operations().unwrap().into_iter().find(|it| {
            let batch = it.operation.batch.as_ref();
            batch.is_some_and(|batch| batch.number == 0)
        });
        let first = first.unwrap().operation.id;
        let again = |id: &str, on: &OperationId| {
            let lag = Duration::ZERO;
            let depends_on = vec![After { operation: on.clone(), lag }];
            OperationRequest { depends_on, ..restart(Some(id), &["gw-1"]) }
        };
        documents.add_operations(&again("x", &first), &acting).unwrap();
        let x = OperationId::new("x").unwrap();
        documents.add_operations(&again("y", &x), &acting).unwrap();
        documents.end_operations(&[first], (state, "its visit is over"), &acting).unwrap();
        let look = look(&mut documents, statuses());
        let pending: Vec<_> = look.operations.iter().map(|it| it.id.as_str()).collect();
        assert_eq!(pending.is_empty(), held, "{state:?}: {pending:?}");
        assert_eq!(look.finished.is_empty(), held);
        assert_eq!(look.is_idle(), held);
        planned(&look);
        // A week later, what others wait for is still known.
        let late = Acting { now: Wall(TEN + 30 * 24 * HOUR), ..acting };
        documents.add_operations(&restart(Some("z"), &["gw-2"]), &late).unwrap();
        let pending = Look::read(&mut documents, statuses(), late.now).unwrap().operations;
        assert_eq!(pending.len(), if held { 1 } else { 4 }, "{state:?}: {pending:?}");
    }
}

#[test]
fn hot_work_that_has_begun_stays_in_its_own_visit_and_in_the_plan() {
    let mut documents = in_memory();
    let known: Vec<Host> = statuses().into_iter().map(|status| status.host).collect();
    let acting = Acting { by: "ada", now: Wall(TEN), hosts: &known, most: 10 };
    let hot = |id| OperationRequest { kind: OpKind::CertRotate, ..restart(Some(id), &["gw-1"]) };
    let b = documents.add_operations(&hot("b"), &acting).unwrap()[0].operation.clone();
    let going = begun_for_tests(b);
    let key = VisitDocument::key(going.execution.visit());
    let put = Documents::put_of(&key, &going, Expect::Absent).unwrap();
    documents.write(vec![put]).unwrap();
    documents.add_operations(&hot("a"), &acting).unwrap();
    let look = look(&mut documents, statuses());
    let visits: Vec<_> =
        look.visits().unwrap().into_iter().map(|it| (it.id.to_string(), it.operations)).collect();
    let of = |id: &str| (format!("gw-1/{id}"), vec![OperationId::new(id).unwrap()]);
    assert_eq!(visits, [of("a"), of("b")]);
}

#[test]
fn a_plan_says_what_it_stands_on_and_that_the_zone_database_is_another_one_is_told_once() {
    let mut documents = wanted(NOON, &["gw-1"]);
    let by = GatewayId::new("gw-1").unwrap();
    let first = look(&mut documents, statuses());
    let (_, plan) = planned(&first);
    let published = Published {
        revision: 4,
        made: Wall(TEN),
        by: by.clone(),
        term: Term(1),
        plan,
        visits: Vec::new(),
    };
    documents.put(PLAN, &published, Expect::Absent).unwrap();
    let told = |documents: &mut Documents| {
        let entries = documents.audit(0, 99).unwrap().entries;
        entries.into_iter().filter(|it| it.record.action == "tzdb.changed").collect::<Vec<_>>()
    };
    // Of a plan of a version that noted nothing it is noted, and there is nothing to compare.
    let now = look(&mut documents, statuses());
    let puts = documents.stand_on(&now, (4, 0), &by).unwrap();
    documents.write(puts).unwrap();
    assert_eq!(told(&mut documents), []);
    let basis = documents.basis_of(4).unwrap().unwrap();
    assert_eq!(basis.tzdb, Zone::database());
    let answers: Vec<_> = basis.based_on.iter().map(|it| (it.host.as_str(), it.seq)).collect();
    assert_eq!(answers, [("gw-1", 1), ("gw-2", 1)], "gw-3 is silent");
    assert_eq!(documents.basis_of(5).unwrap(), None, "of another plan nothing is known");
    assert!(documents.stand_on(&now, (4, 0), &by).unwrap().is_empty(), "nothing is new");
    // What was published was reckoned with another database.
    let older = PlanBasis { tzdb: "1999a".to_owned(), ..basis.clone() };
    documents.put("plan-basis", &older, Expect::Any).unwrap();
    let puts = documents.stand_on(&now, (5, 3), &by).unwrap();
    documents.write(puts).unwrap();
    let entries = told(&mut documents);
    let [entry] = entries.as_slice() else { panic!("{entries:?}") };
    assert_eq!(entry.record.object, "plan 5");
    assert_eq!(entry.record.before, Some("1999a".into()));
    assert_eq!(entry.record.after, Some(Zone::database().into()));
    assert!(entry.record.reason.contains("3 visits"), "{entry:?}");
    let later = PlanBasis { revision: 5, ..basis };
    assert_eq!(documents.basis_of(5).unwrap(), Some(later));
    // As it is answered, and read again.
    let answer = PlanAnswer { published, tzdb: None, based_on: Vec::new() };
    let text = serde_json::to_string(&answer).unwrap();
    assert_eq!(serde_json::from_str::<PlanAnswer>(&text).unwrap(), answer);
}
