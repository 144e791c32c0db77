//! P15 to P17, P20, P22: what every plan holds.

use proptest::prelude::*;
use protocol::Wall;

use super::fleet::{MINUTE, problems};
use crate::fleet::VisitId;
use crate::planner::*;

pub(super) fn planned(problem: &Problem) -> Plan {
    plan(problem, None, &effort(), &mut || false).unwrap()
}

/// So many cases, the same every time: a plan that is searched for takes its time, and a run of the tests is no search.
pub(super) fn cases(count: u32) -> ProptestConfig {
    let rng_seed = proptest::test_runner::RngSeed::Fixed(20_261_120);
    ProptestConfig { rng_seed, failure_persistence: None, ..ProptestConfig::with_cases(count) }
}

pub(super) fn effort() -> Effort {
    Effort { seed: 7, probes: 2_000, ..Effort::default() }
}

/// The same problem with its jobs, resources and groups in the opposite order.
fn reversed(problem: &Problem) -> Problem {
    let (jobs, resources) = (problem.jobs.len(), problem.resources.len());
    let groups = problem.groups.len();
    let mut other = problem.clone();
    other.jobs.reverse();
    other.jobs.iter_mut().for_each(|job| job.preferred.reverse());
    other.resources.reverse();
    other.groups.reverse();
    for resource in &mut other.resources {
        resource.within = resource.within.map(|within| resources - 1 - within);
    }
    for job in other.groups.iter_mut().flat_map(|group| &mut group.jobs) {
        *job = jobs - 1 - *job;
    }
    for job in &mut other.jobs {
        job.demands.iter_mut().for_each(|demand| demand.resource = resources - 1 - demand.resource);
        job.supplies
            .iter_mut()
            .for_each(|supply| supply.resource = resources - 1 - supply.resource);
        for link in &mut job.after {
            link.on = match link.on {
                Predecessor::Job(number) => Predecessor::Job(jobs - 1 - number),
                Predecessor::Group(number) => Predecessor::Group(groups - 1 - number),
            };
        }
    }
    other
}

/// When everything stands, without what is said about it.
fn starts(plan: &Plan) -> Vec<(&VisitId, Wall)> {
    plan.entries.iter().map(|entry| (&entry.visit, entry.start)).collect()
}

proptest! {
    #![proptest_config(cases(192))]

    /// P15, P20: the checker accepts every plan, and none is over before the lower bound.
    #[test]
    fn every_plan_is_accepted_and_not_over_before_the_lower_bound(problem in problems(true)) {
        let plan = planned(&problem);
        prop_assert_eq!(check(&problem, &plan), Ok(()));
        if plan.unplanned.is_empty() {
            prop_assert!(plan.end().is_none_or(|end| end >= plan.lower_bound));
        }
        prop_assert!(plan.unplanned.iter().all(|unplanned| !unplanned.reasons.is_empty()));
    }

    /// P16, P17: the same problem gives the same plan, in whatever order it is told.
    #[test]
    fn a_plan_does_not_depend_on_the_order_of_lists(problem in problems(true)) {
        let plan = planned(&problem);
        prop_assert_eq!(&planned(&problem), &plan);
        let other = planned(&reversed(&problem));
        prop_assert_eq!(starts(&other), starts(&plan));
        prop_assert_eq!(other.id, plan.id);
    }

    /// P22: without a change, nothing moves.
    #[test]
    fn planning_again_without_a_change_moves_nothing(problem in problems(true)) {
        let published = planned(&problem);
        let again = plan(&problem, Some(&published), &effort(), &mut || false).unwrap();
        prop_assert_eq!(again.churn, 0);
        prop_assert_eq!(starts(&again), starts(&published));
    }

    /// P15, P22: after a change the plan holds again, and within the frozen horizon nothing moves that can stay.
    #[test]
    fn what_is_soon_stays_if_it_can(mut problem in problems(false), gone in 0_usize..40, cap in 1_i64..3) {
        let published = planned(&problem);
        problem.from = Wall(50 * MINUTE);
        problem.groups.clear();
        problem.jobs.retain(|job| job.after.is_empty() && job.fixed.is_none());
        if gone < problem.jobs.len() {
            problem.jobs.remove(gone);
        }
        let effort = Effort { frozen: std::time::Duration::from_secs(100 * 60), ..effort() };
        let wider = plan(&problem, Some(&published), &effort, &mut || false).unwrap();
        prop_assert_eq!(check(&problem, &wider), Ok(()));
        for entry in published.entries.iter().filter(|entry| entry.start.0 >= 50 * MINUTE) {
            if entry.start.0 < 150 * MINUTE && problem.jobs.iter().any(|j| j.visit == entry.visit) {
                let now = wider.entry(&entry.visit);
                // What does not suit its host at all moves to where it does, once there is room.
                let suits = |it: &Entry| it.suits.is_some_and(|suits| !suits.is_overruled());
                let better = now.is_some_and(|now| suits(now) && !suits(entry));
                prop_assert!(better || now.map(|now| now.start) == Some(entry.start));
            }
        }
        problem.resources[0].limits[0].steps = Steps::constant(cap);
        let narrower = plan(&problem, Some(&published), &effort, &mut || false).unwrap();
        prop_assert_eq!(check(&problem, &narrower), Ok(()));
    }
}
