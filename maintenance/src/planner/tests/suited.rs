//! What hosts prefer is heeded where it costs nobody a deadline, and what is said of it is true.

use std::collections::BTreeMap;

use jiff::tz::TimeZone;
use proptest::prelude::*;
use protocol::Wall;

use super::explained::{suits_there, with};
use super::fleet::{MINUTE, cap, hard, job, problems, span};
use super::properties::{cases, effort, planned};
use crate::fleet::{Preferred, VisitId};
use crate::planner::*;

fn prefers(cost: u32, from: u64, until: u64) -> Preferred {
    Preferred { cost, from: Wall(from * MINUTE), until: Wall(until * MINUTE) }
}

fn name(number: usize) -> VisitId {
    VisitId::new(&format!("v{number:04}")).unwrap()
}

/// One rack with a window of so many minutes, and visits of ten minutes each.
fn rack(visits: usize, minutes: u64, at_once: i64) -> Problem {
    Problem {
        until: Wall(minutes * MINUTE),
        calendars: vec![Calendar { windows: vec![span(0, minutes)], frozen: Vec::new() }],
        resources: vec![cap("rack 0", at_once, None)],
        jobs: (0..visits).map(|number| job(number, 10, &[0])).collect(),
        ..Problem::default()
    }
}

/// In which minute each visit starts, and how that suits its host.
fn told(problem: &Problem) -> BTreeMap<String, (u64, Option<Suits>)> {
    let plan = planned(problem);
    assert_eq!(check(problem, &plan), Ok(()));
    let told = |it: &Entry| (it.visit.to_string(), (it.start.0 / MINUTE, it.suits));
    plan.entries.iter().map(told).collect()
}

#[test]
fn a_visit_is_where_it_suits_its_host_best_and_others_go_where_it_would_have_been() {
    let mut problem = rack(3, 200, 1);
    problem.jobs[0].preferred =
        vec![prefers(3, 40, 60), prefers(1, 100, 120), prefers(0, 195, 205)];
    let at = |plan: &BTreeMap<_, _>, number: usize| plan[&name(number).to_string()];
    let plan = told(&problem);
    assert_eq!(at(&plan, 0), (100, Some(Suits::Cost(1))), "the cheapest has no room for it");
    assert_eq!((at(&plan, 1), at(&plan, 2)), ((0, None), (10, None)));
    // A deadline counts for more than the cost, and for more than being in any of them.
    problem.jobs[0].deadline = hard(70);
    assert_eq!(at(&told(&problem), 0), (40, Some(Suits::Cost(3))));
    problem.jobs[0].deadline = hard(30);
    assert_eq!(at(&told(&problem), 0), (0, Some(Suits::Late)));
    problem.jobs[0].deadline = None;
    problem.jobs[0].insists = true;
    assert_eq!(at(&told(&problem), 0), (0, Some(Suits::Important)));
    problem.jobs[0].insists = false;
    problem.jobs[0].preferred = vec![prefers(0, 60, 69), prefers(0, 300, 400)];
    assert_eq!(at(&told(&problem), 0), (0, Some(Suits::NoRoom)), "too short, and too far");
}

#[test]
fn those_that_wait_for_a_visit_go_with_it_unless_they_would_miss_a_deadline() {
    let mut problem = rack(2, 200, 1);
    problem.jobs[0].preferred = vec![prefers(0, 100, 120)];
    let on = Predecessor::Job(0);
    problem.jobs[1].after.push(Link { on, lag: std::time::Duration::from_secs(300) });
    let starts = |problem: &Problem| told(problem).values().copied().collect::<Vec<_>>();
    assert_eq!(starts(&problem), [(100, Some(Suits::Cost(0))), (115, None)]);
    problem.jobs[1].deadline = hard(100);
    assert_eq!(starts(&problem), [(0, Some(Suits::Late)), (15, None)]);
    problem.jobs[1].deadline = hard(100).map(|due| Deadline { hard: false, ..due });
    assert_eq!(starts(&problem), [(0, Some(Suits::NoRoom)), (15, None)], "a soft one is one, too");
}

#[test]
fn why_a_visit_waits_for_what_its_host_prefers_is_said_and_what_it_would_be_without() {
    let mut problem = rack(1, 200, 1);
    problem.jobs[0].preferred = vec![prefers(2, 90, 120)];
    let text = |problem: &Problem| {
        let plan = planned(problem);
        let why = why(problem, &plan, &name(0)).unwrap().unwrap();
        let json = serde_json::to_string(&why).unwrap();
        assert_eq!(serde_json::from_str::<Why>(&json).unwrap(), why);
        why.text(&TimeZone::UTC)
    };
    assert_eq!(
        text(&problem),
        "gw-0000: not before Thu 01:30. Thu 01 Jan: host prefers another time. \
         If its host preferred nothing: Thu 00:00."
    );
    problem.jobs[0].insists = true;
    assert_eq!(
        text(&problem),
        "gw-0000: not before Thu 00:00. Host prefers other times, which it is too important for."
    );
}

#[test]
fn what_is_said_of_a_visit_and_its_host_is_judged() {
    let mut problem = rack(1, 200, 1);
    problem.jobs[0].preferred = vec![prefers(2, 90, 120)];
    let plan = planned(&problem);
    for wrong in [None, Some(Suits::Cost(1)), Some(Suits::Important), Some(Suits::NoRoom)] {
        let mut plan = plan.clone();
        plan.entries[0].suits = wrong;
        assert_eq!(check(&problem, &plan), Err(Breach::Suits(name(0))), "{wrong:?}");
    }
    problem.jobs[0].preferred.clear();
    assert_eq!(check(&problem, &plan), Err(Breach::Suits(name(0))));
}

#[test]
fn what_was_published_goes_where_it_suits_and_then_stays_there() {
    let mut problem = rack(2, 200, 1);
    let published = planned(&problem);
    problem.jobs[0].preferred = vec![prefers(4, 50, 70)];
    let again =
        |published: &Plan| plan(&problem, Some(published), &effort(), &mut || false).unwrap();
    let moved = again(&published);
    assert_eq!(
        moved.entry(&name(0)).map(|it| it.start.0 / MINUTE),
        Some(50),
        "although it is soon"
    );
    assert_eq!((moved.churn, again(&moved).churn), (1, 0));
    // What suits at all, and is soon, is not moved to where it suits better.
    problem.jobs[0].preferred.push(prefers(0, 100, 120));
    let soon = plan(&problem, Some(&moved), &effort(), &mut || false).unwrap();
    assert_eq!(soon.entry(&name(0)).and_then(|it| it.suits), Some(Suits::Cost(4)));
    let effort = Effort { frozen: std::time::Duration::ZERO, ..effort() };
    let later = plan(&problem, Some(&moved), &effort, &mut || false).unwrap();
    assert_eq!(later.entry(&name(0)).and_then(|it| it.suits), Some(Suits::Cost(0)));
}

proptest! {
    #![proptest_config(cases(96))]

    /// Whatever hosts prefer, nobody misses a deadline or loses a place who would not otherwise.
    #[test]
    fn what_hosts_prefer_makes_nobody_late(problem in problems(true)) {
        let mut without = problem.clone();
        without.jobs.iter_mut().for_each(|job| job.preferred.clear());
        let (plan, plain) = (planned(&problem), planned(&without));
        prop_assert_eq!(check(&problem, &plan), Ok(()));
        for entry in &plain.entries {
            let heeding = plan.entry(&entry.visit);
            prop_assert!(heeding.is_some_and(|heeding| entry.late || !heeding.late));
        }
    }

    /// Where a visit is overruled, or is not in the cheapest, there is no room in what is cheaper, or a deadline would be missed: its own
    /// as it says, while all others stay where they are.
    #[test]
    fn what_is_said_of_what_hosts_prefer_is_true(problem in problems(false)) {
        let plan = planned(&problem);
        let followed = |visit: &VisitId| problem.jobs.iter().flat_map(|job| &job.after).any(|link| {
            matches!(link.on, Predecessor::Job(on) if problem.jobs[on].visit == *visit)
        });
        for (entry, suits) in plan.entries.iter().filter_map(|it| Some((it, it.suits?))) {
            let job = problem.jobs.iter().find(|job| job.visit == entry.visit).unwrap();
            if followed(&entry.visit) || job.insists {
                continue;
            }
            let least = match suits {
                Suits::Cost(cost) => cost,
                Suits::Important | Suits::Late | Suits::NoRoom => u32::MAX,
            };
            let (mut room, mut in_time) = (false, false);
            for minute in 0..330 {
                let start = Wall(minute * MINUTE);
                let cheaper = matches!(suits_there(job, start), Some(Suits::Cost(cost)) if cost < least);
                let there = with(&problem, &plan, &entry.visit, start);
                if cheaper && check(&problem, &there).is_ok() {
                    room = true;
                    in_time |= entry.late && start <= entry.start;
                    in_time |= there.entry(&entry.visit).is_some_and(|there| !there.late);
                }
            }
            prop_assert!(!in_time, "{:?} could be cheaper", entry);
            match suits {
                Suits::Late => prop_assert!(room, "{:?} is not kept from it by a deadline", entry),
                Suits::NoRoom => prop_assert!(!room, "there is room for {:?}", entry),
                Suits::Cost(_) | Suits::Important => {}
            }
        }
    }
}
