//! P21: what is said about a visit is true.

use jiff::tz::TimeZone;
use proptest::prelude::*;
use protocol::Wall;

use super::fleet::{MINUTE, cap, job, problems, span};
use super::properties::{cases, planned};
use crate::fleet::VisitId;
use crate::planner::*;

/// The plan with one visit at another start; late or not as it is then.
pub(super) fn with(problem: &Problem, plan: &Plan, visit: &VisitId, start: Wall) -> Plan {
    let mut plan = plan.clone();
    let job = problem.jobs.iter().find(|job| job.visit == *visit).unwrap();
    plan.unplanned.retain(|unplanned| unplanned.visit != *visit);
    plan.entries.retain(|entry| entry.visit != *visit);
    let end = start.after(job.duration);
    let late = job.deadline.is_some_and(|deadline| end > deadline.at);
    let (visit, host) = (visit.clone(), job.host.clone());
    let suits = suits_there(job, start);
    plan.entries.push(Entry { visit, host, start, end, late, binding: None, suits });
    plan
}

/// How a visit stands at a start to what its host prefers, whatever the others do.
pub(super) fn suits_there(job: &Job, start: Wall) -> Option<Suits> {
    let inside = job.preferred.iter().filter(|it| it.holds(start, job.duration));
    let overruled = if job.insists { Suits::Important } else { Suits::NoRoom };
    let there = inside.map(|it| it.cost).min().map_or(overruled, Suits::Cost);
    Some(there).filter(|_| !job.preferred.is_empty() && job.fixed.is_none())
}

/// The problem without what one change takes away from one job.
fn changed(problem: &Problem, visit: &VisitId, change: &Change) -> Problem {
    let mut other = problem.clone();
    let dropped = |code: &str, reason: Option<Reason>| match change {
        Change::Without { reason: without } => match (&reason, without) {
            (Some(Reason::DomainCap { domain, .. }), Reason::DomainCap { domain: of, .. })
            | (
                Some(Reason::MinAvailable { domain, .. }),
                Reason::MinAvailable { domain: of, .. },
            ) => domain == of,
            (Some(reason), without) => reason == without,
            (None, without) => without.code() == code,
        },
        Change::WithoutAll { family } => family == code,
        Change::Return { .. } | Change::OneMore { .. } => false,
    };
    for limit in other.resources.iter_mut().flat_map(|resource| &mut resource.limits) {
        let more = match (&limit.rule, change) {
            (Rule::Available { domain, down }, Change::Return { domain: of }) if domain == of => {
                i64::from(*down)
            }
            (Rule::Concurrent { domain }, Change::OneMore { domain: of, .. }) if domain == of => 1,
            _ => 0,
        };
        limit.steps = limit.steps.raised(more);
    }
    for resource in &mut other.resources {
        resource.limits.retain(|limit| {
            let reason = Reason::of_limit(&limit.rule, 0);
            !dropped(reason.code(), Some(reason))
        });
    }
    let calendars = other.calendars.len();
    let (from, until) = (other.from, other.until);
    let job = other.jobs.iter_mut().find(|job| job.visit == *visit).unwrap();
    let mut calendar = other.calendars[job.calendar].clone();
    if ["WINDOW_CLOSED", "NO_WINDOW", "WINDOW_TOO_SHORT"].iter().any(|code| dropped(code, None)) {
        calendar.windows = vec![crate::Interval::new(from, until).unwrap()];
    }
    if dropped("FROZEN", None) {
        calendar.frozen.clear();
    }
    other.calendars.push(calendar);
    job.calendar = calendars;
    if dropped("HOST_PREFERS", None) {
        job.preferred.clear();
    }
    if dropped("NOT_BEFORE", None) {
        job.not_before = Wall(0);
    }
    job.holds.retain(|hold| !dropped(hold.reason.code(), Some(hold.reason.clone())));
    job.after.retain(|link| {
        let reason = match link.on {
            Predecessor::Job(number) => {
                Reason::DependsOn { visit: problem.jobs[number].visit.clone() }
            }
            Predecessor::Group(number) => {
                Reason::Soak { batch: problem.groups[number].name.clone() }
            }
        };
        !dropped(reason.code(), Some(reason))
    });
    other
}

/// Whether the checker takes a visit at a start, in so far as the visit itself is concerned, and it suits its host there as it does
/// where it is planned.
fn taken(problem: &Problem, plan: &Plan, visit: &VisitId, start: Wall) -> bool {
    let job = problem.jobs.iter().find(|job| job.visit == *visit).unwrap();
    let cost = |suits: Option<Suits>| match suits {
        Some(Suits::Cost(cost)) if !job.insists => cost,
        Some(Suits::Cost(_) | Suits::Important | Suits::Late | Suits::NoRoom) | None => u32::MAX,
    };
    let planned = plan.entry(visit).and_then(|entry| entry.suits);
    cost(suits_there(job, start)) <= cost(planned.filter(|_| !job.preferred.is_empty()))
        && check(problem, &with(problem, plan, visit, start)).is_ok()
}

proptest! {
    #![proptest_config(cases(48))]

    /// P21: no earlier start is valid while all constraints hold; with the named one gone the promised start is, and
    /// no earlier one.
    #[test]
    fn every_reason_is_true(problem in problems(false), pick in 0_usize..40) {
        let plan = planned(&problem);
        let visit = problem.jobs[pick % problem.jobs.len()].visit.clone();
        let fixed = problem.jobs.iter().any(|job| job.visit == visit && job.fixed.is_some());
        // Who is waited for stays before who waits; those may be moved only together.
        let followed = problem.jobs.iter().flat_map(|job| &job.after).any(|link| match link.on {
            Predecessor::Job(number) => problem.jobs[number].visit == visit,
            Predecessor::Group(_) => false,
        });
        prop_assume!(!fixed && !followed);
        let why = why(&problem, &plan, &visit).unwrap().unwrap();
        let goal = why.start.unwrap_or(problem.until);
        let mut reached = problem.from;
        for obstacle in &why.obstacles {
            prop_assert_eq!(obstacle.from, reached);
            reached = obstacle.until;
        }
        prop_assert_eq!(reached, goal.max(problem.from));
        for minute in problem.from.0 / MINUTE..goal.0 / MINUTE {
            prop_assert!(!taken(&problem, &plan, &visit, Wall(minute * MINUTE)));
        }
        for relaxation in &why.relaxations {
            let relaxed = changed(&problem, &visit, &relaxation.change);
            prop_assert!(relaxation.start < goal);
            prop_assert!(taken(&relaxed, &plan, &visit, relaxation.start), "{:?}", relaxation);
            for minute in problem.from.0 / MINUTE..relaxation.start.0.div_ceil(MINUTE) {
                prop_assert!(!taken(&relaxed, &plan, &visit, Wall(minute * MINUTE)));
            }
        }
    }
}

#[test]
fn a_visit_tells_why_it_waits_and_what_would_help() {
    let hours = |n: u64| n * 60;
    // Tuesday 2026-11-24 00:00 UTC.
    let day = 1_795_478_400_000 / MINUTE;
    let night = |n: u64| span(day + hours(24 * n + 1), day + hours(24 * n + 3));
    let mut jobs: Vec<Job> = (0..5).map(|number| job(number, 60, &[0])).collect();
    jobs[4].host = protocol::GatewayId::new("gw-0417").unwrap();
    let mut zone = cap("zone eu-2b", 3, None);
    let rule = Rule::Available { domain: "zone eu-2b".to_owned(), down: 2 };
    zone.limits.push(Limit { rule, steps: Steps::constant(1) });
    let problem = Problem {
        from: Wall(day * MINUTE),
        until: Wall((day + hours(24 * 7)) * MINUTE),
        calendars: vec![Calendar { windows: (0..4).map(night).collect(), frozen: Vec::new() }],
        resources: vec![zone],
        jobs,
        ..Problem::default()
    };
    let plan = planned(&problem);
    let why = why(&problem, &plan, &VisitId::new("v0004").unwrap()).unwrap().unwrap();
    assert_eq!(
        why.text(&TimeZone::UTC),
        "gw-0417: not before Thu 01:00. Tue 24 Nov, Wed 25 Nov: zone eu-2b full (3/3, of which 2 hosts down unplanned). \
         If a window were open: Tue 00:00. If those of zone eu-2b return: Tue 01:00. Without MIN_AVAILABLE: Tue 01:00."
    );
    let json = serde_json::to_string(&why).unwrap();
    assert_eq!(serde_json::from_str::<Why>(&json).unwrap(), why);
}

#[test]
fn what_can_never_be_visited_says_why() {
    let mut problem = Problem {
        until: Wall(300 * MINUTE),
        calendars: vec![Calendar::default()],
        jobs: vec![job(0, 60, &[])],
        ..Problem::default()
    };
    let reasons = |problem: &Problem| {
        let plan = planned(problem);
        assert_eq!(check(problem, &plan), Ok(()));
        plan.unplanned[0].reasons.clone()
    };
    assert_eq!(reasons(&problem), [Reason::NoWindow]);
    problem.calendars[0].windows = vec![span(0, 30), span(40, 80)];
    let too_short = Reason::WindowTooShort { longest_ms: 40 * MINUTE, needed_ms: 60 * MINUTE };
    assert_eq!(reasons(&problem), [too_short]);
    problem.calendars[0].windows = vec![span(0, 100)];
    problem.calendars[0].frozen = vec![span(50, 60)];
    assert_eq!(reasons(&problem), [Reason::Frozen]);
    problem.calendars[0].frozen.clear();
    problem.jobs[0].holds = vec![Hold { span: span(20, 300), reason: Reason::StaleReport }];
    assert_eq!(reasons(&problem), [Reason::StaleReport]);
    problem.jobs[0].holds.clear();
    problem.jobs[0].demands = job(0, 60, &[0]).demands;
    problem.resources = vec![cap("rack 1", 0, None)];
    let full = Reason::DomainCap { domain: "rack 1".to_owned(), limit: 0 };
    assert_eq!(reasons(&problem), [full, Reason::Horizon]);
    problem.jobs.push(job(1, 60, &[]));
    problem.jobs[1].after.push(Link { on: Predecessor::Job(0), lag: std::time::Duration::ZERO });
    let plan = planned(&problem);
    let waits = Reason::DependsOn { visit: VisitId::new("v0000").unwrap() };
    assert_eq!(plan.unplanned[1].reasons, [waits]);
}

#[test]
fn visits_that_wait_for_each_other_are_named() {
    let mut jobs: Vec<Job> = (0..4).map(|number| job(number, 1, &[])).collect();
    for (number, before) in [(1, 2), (2, 3), (3, 1), (0, 1)] {
        let on = Predecessor::Job(before);
        jobs[number].after.push(Link { on, lag: std::time::Duration::ZERO });
    }
    let problem = Problem { calendars: vec![Calendar::default()], jobs, ..Problem::default() };
    let refused = plan(&problem, None, &Effort::default(), &mut || false).unwrap_err();
    let InvalidProblem::Cycle(mut visits) = refused else {
        panic!("{refused}");
    };
    visits.sort();
    assert_eq!(visits, [1, 2, 3].map(|n| VisitId::new(&format!("v{n:04}")).unwrap()));
}
