//! The checker refuses what is wrong: a sound plan, spoilt in each family of constraints.

use std::time::Duration;

use protocol::Wall;

use super::fleet::{MINUTE, cap, hard, job, span};
use super::properties::planned;
use crate::fleet::VisitId;
use crate::planner::*;

fn minute(at: u64) -> Wall {
    Wall(at * MINUTE)
}

/// Three hosts of one rack, of which the last waits for the first; one window of an hour, one minute frozen.
fn sound() -> (Problem, Plan) {
    let mut jobs: Vec<Job> = (0..3).map(|number| job(number, 10, &[0])).collect();
    jobs[0].deadline = hard(10);
    jobs[2].after.push(Link { on: Predecessor::Job(0), lag: Duration::from_secs(60) });
    jobs[1].holds.push(Hold { span: span(0, 12), reason: Reason::GateClosed });
    let calendar = Calendar { windows: vec![span(0, 60)], frozen: vec![span(50, 51)] };
    let problem = Problem {
        from: minute(0),
        until: minute(55),
        calendars: vec![calendar],
        resources: vec![cap("rack 0", 1, None)],
        jobs,
        ..Problem::default()
    };
    let plan = planned(&problem);
    assert_eq!(check(&problem, &plan), Ok(()));
    (problem, plan)
}

/// The plan with one visit elsewhere.
fn moved(plan: &Plan, visit: &str, to: u64) -> Plan {
    let mut plan = plan.clone();
    let entry = plan.entries.iter_mut().find(|entry| entry.visit.as_str() == visit).unwrap();
    let length = entry.end.0 - entry.start.0;
    (entry.start, entry.end) = (minute(to), Wall(minute(to).0 + length));
    plan
}

#[test]
fn a_visit_outside_its_window_is_refused() {
    let (mut problem, plan) = sound();
    let v = || VisitId::new("v0001").unwrap();
    problem.calendars[0].windows = vec![span(0, 40)];
    assert_eq!(check(&problem, &moved(&plan, "v0001", 35)), Err(Breach::Window(v())));
    problem.calendars[0].windows = vec![span(0, 40), span(41, 60)];
    assert_eq!(check(&problem, &moved(&plan, "v0001", 35)), Err(Breach::Window(v())));
    problem.calendars[0].windows = vec![span(0, 40), span(40, 60)];
    assert_eq!(check(&problem, &moved(&plan, "v0001", 35)), Ok(()));
}

#[test]
fn a_visit_that_is_frozen_held_early_or_beyond_the_horizon_is_refused() {
    let (mut problem, plan) = sound();
    let v = || VisitId::new("v0001").unwrap();
    assert_eq!(check(&problem, &moved(&plan, "v0001", 41)), Err(Breach::Frozen(v())));
    assert_eq!(check(&problem, &moved(&plan, "v0001", 11)), Err(Breach::Held(v())));
    assert_eq!(check(&problem, &moved(&plan, "v0001", 46)), Err(Breach::Horizon(v())));
    problem.jobs[1].not_before = minute(36);
    assert_eq!(check(&problem, &moved(&plan, "v0001", 35)), Err(Breach::TooEarly(v())));
    problem.from = minute(1);
    assert_eq!(check(&problem, &plan), Err(Breach::TooEarly(VisitId::new("v0000").unwrap())));
}

#[test]
fn two_visits_in_one_place_are_refused() {
    let (problem, plan) = sound();
    let overdrawn = |at| Err(Breach::Overdrawn { resource: 0, at: minute(at), taken: 2, limit: 1 });
    let start = plan.entry(&VisitId::new("v0002").unwrap()).unwrap().start.0 / MINUTE;
    assert_eq!(check(&problem, &moved(&plan, "v0001", start)), overdrawn(start));
    assert_eq!(check(&problem, &moved(&plan, "v0001", start + 9)), overdrawn(start + 9));
}

#[test]
fn every_family_of_limits_is_counted() {
    let rules = [
        Rule::Available { domain: "fleet".to_owned(), down: 1 },
        Rule::Headroom { domain: "fleet".to_owned(), metric: Metric::Messages },
        Rule::Rate { domain: "fleet".to_owned() },
        Rule::Together { label: "power=a".to_owned() },
        Rule::MoveOnce,
    ];
    for rule in rules {
        let (mut problem, plan) = sound();
        problem.resources[0].limits =
            vec![Limit { rule, steps: Steps::new(vec![(minute(0), 1), (minute(5), 0)]).unwrap() }];
        let refused = Err(Breach::Overdrawn { resource: 0, at: minute(5), taken: 1, limit: 0 });
        assert_eq!(check(&problem, &plan), refused);
        // Fixed visits are not asked, those beside them are.
        problem.jobs.iter_mut().for_each(|job| job.after.clear());
        for job in &mut problem.jobs {
            job.fixed = plan.entry(&job.visit).map(|entry| entry.start);
        }
        assert_eq!(check(&problem, &plan), Ok(()));
        problem.jobs[0].fixed = None;
        assert_eq!(check(&problem, &plan), refused);
        // What is done gives.
        problem.jobs[0].fixed = None;
        problem.jobs[0].demands.clear();
        problem.jobs[0].supplies.push(Supply { resource: 0, amount: 1 });
        problem.jobs[2].fixed = None;
        assert_eq!(check(&problem, &plan), Ok(()));
    }
}

#[test]
fn a_load_counts_by_the_hour_and_a_part_only_while_it_lasts() {
    let (mut problem, plan) = sound();
    let mut permille = vec![1000; 168];
    // The first hour of 1970: a Thursday.
    permille[72] = 3001;
    problem.shapes = vec![Shape { permille }];
    problem.jobs[0].demands[0].shape = Some(0);
    let refused = Err(Breach::Overdrawn { resource: 0, at: minute(0), taken: 4, limit: 1 });
    assert_eq!(check(&problem, &plan), refused);
    problem.resources[0].limits[0].steps = Steps::constant(4);
    assert_eq!(check(&problem, &plan), Ok(()));
    let (mut problem, plan) = sound();
    let part = |from: u64, to: u64| {
        Some(Part { from: Duration::from_secs(from * 60), to: Duration::from_secs(to * 60) })
    };
    problem.jobs[1].demands[0].part = part(0, 2);
    let start = plan.entry(&VisitId::new("v0002").unwrap()).unwrap().start.0 / MINUTE;
    let beside = moved(&plan, "v0001", start + 9);
    assert!(check(&problem, &beside).is_err());
    problem.jobs[1].demands[0].part = part(1, 2);
    assert_eq!(check(&problem, &beside), Ok(()));
}

#[test]
fn a_visit_before_what_it_waits_for_is_refused() {
    let (mut problem, mut plan) = sound();
    let v = || VisitId::new("v0002").unwrap();
    let end = plan.entry(&VisitId::new("v0000").unwrap()).unwrap().end.0 / MINUTE;
    problem.resources[0].limits.clear();
    assert_eq!(check(&problem, &moved(&plan, "v0002", end)), Err(Breach::Order(v())));
    assert_eq!(check(&problem, &moved(&plan, "v0002", end + 1)), Ok(()));
    problem.jobs[2].after[0].on = Predecessor::Group(0);
    problem.groups = vec![Group { name: "batch 1".to_owned(), jobs: vec![0, 1] }];
    let other = plan.entry(&VisitId::new("v0001").unwrap()).unwrap().end.0 / MINUTE;
    assert_eq!(check(&problem, &moved(&plan, "v0002", other)), Err(Breach::Order(v())));
    assert_eq!(check(&problem, &moved(&plan, "v0002", other + 1)), Ok(()));
    let entry = plan.entries.remove(0);
    let (visit, host) = (entry.visit, entry.host);
    plan.unplanned.push(Unplanned { visit, host, reasons: vec![Reason::Horizon] });
    assert_eq!(check(&problem, &plan), Err(Breach::Order(v())));
}

#[test]
fn a_plan_about_other_visits_is_refused() {
    let (mut problem, plan) = sound();
    let v = VisitId::new("v0000").unwrap();
    let mut less = plan.clone();
    less.entries.remove(0);
    assert_eq!(check(&problem, &less), Err(Breach::Roster(v.clone())));
    let mut twice = plan.clone();
    twice.entries.push(plan.entries[0].clone());
    assert_eq!(check(&problem, &twice), Err(Breach::Roster(v.clone())));
    let mut both = plan.clone();
    let host = plan.entries[0].host.clone();
    both.unplanned.push(Unplanned { visit: v.clone(), host, reasons: Vec::new() });
    assert_eq!(check(&problem, &both), Err(Breach::Roster(v.clone())));
    let mut long = plan.clone();
    long.entries[0].end = minute(11);
    assert_eq!(check(&problem, &long), Err(Breach::Mismatch(v.clone())));
    let mut late = plan.clone();
    late.entries[0].late = true;
    assert_eq!(check(&problem, &late), Err(Breach::Late(v.clone())));
    problem.jobs[0].fixed = Some(minute(1));
    assert_eq!(check(&problem, &plan), Err(Breach::Moved(v.clone())));
    problem.jobs.remove(0);
    problem.jobs[1].after.clear();
    assert_eq!(check(&problem, &plan), Err(Breach::Roster(v)));
}
