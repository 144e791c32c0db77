//! P18, P19: as few hard deadlines are missed as possible where that can be known, and proofs are true.

use proptest::prelude::*;
use protocol::Wall;

use super::fleet::{MINUTE, cap, hard, job, span};
use super::properties::{cases, effort, planned};
use crate::planner::*;

/// Jobs of one slot each: rack, first slot, how many slots it may use.
type Slots = Vec<(usize, u64, u64)>;

fn instances() -> impl Strategy<Value = (Slots, Vec<i64>)> {
    let jobs = prop::collection::vec((0_usize..4, 0_u64..6, 1_u64..5), 1..16);
    (jobs, prop::collection::vec(1_i64..4, 7))
}

/// A fleet of two zones with two racks each, slots of ten minutes.
fn build((jobs, caps): &(Slots, Vec<i64>)) -> Problem {
    let mut resources = vec![cap("fleet", caps[0], None)];
    for zone in 0..2 {
        resources.push(cap(&format!("zone {zone}"), caps[1 + zone].min(2), Some(0)));
    }
    for rack in 0..4 {
        resources.push(cap(&format!("rack {rack}"), caps[3 + rack].min(2), Some(1 + rack / 2)));
    }
    let window = |first: u64, count: u64| span(first * 10, (first + count) * 10);
    let calendar = |first, count| Calendar { windows: vec![window(first, count)], frozen: vec![] };
    let calendars = jobs.iter().map(|(_, first, count)| calendar(*first, *count + 20)).collect();
    let jobs = jobs.iter().enumerate().map(|(number, (rack, first, count))| {
        let mut job = job(number, 10, &[0, 1 + rack / 2, 3 + rack]);
        job.calendar = number;
        job.deadline = hard((first + count) * 10);
        job
    });
    Problem {
        until: Wall(400 * MINUTE),
        calendars,
        resources,
        jobs: jobs.collect(),
        ..Problem::default()
    }
}

fn missed(problem: &Problem, plan: &Plan) -> usize {
    assert_eq!(check(problem, plan), Ok(()));
    plan.entries.iter().filter(|entry| entry.late).count() + plan.unplanned.len()
}

/// The most jobs that can be in time: augmenting paths would not do with nested caps, so all ways are tried, slot by slot,
/// remembering which sets of jobs have been seen.
fn most(instance: &(Slots, Vec<i64>)) -> usize {
    let (jobs, caps) = instance;
    let mut best = std::collections::BTreeMap::from([(0_u32, 0_usize)]);
    for slot in 0..11 {
        let mut next = best.clone();
        let open: Vec<usize> = (0..jobs.len())
            .filter(|n| jobs[*n].1 <= slot && slot < jobs[*n].1 + jobs[*n].2)
            .collect();
        for chosen in 1_u32..1 << open.len() {
            let picked: Vec<usize> = open
                .iter()
                .enumerate()
                .filter(|(b, _)| chosen >> b & 1 == 1)
                .map(|(_, n)| *n)
                .collect();
            let count = |of: &dyn Fn(usize) -> bool| {
                i64::try_from(picked.iter().filter(|n| of(jobs[**n].0)).count()).unwrap()
            };
            let fits = count(&|_| true) <= caps[0]
                && (0..2).all(|zone| count(&|rack| rack / 2 == zone) <= caps[1 + zone].min(2))
                && (0..4).all(|rack| count(&|of| of == rack) <= caps[3 + rack].min(2));
            if !fits {
                continue;
            }
            let mask: u32 = picked.iter().map(|n| 1 << n).sum();
            for (seen, done) in &best {
                if seen & mask == 0 {
                    let more = next.entry(seen | mask).or_default();
                    *more = (*more).max(done + picked.len());
                }
            }
        }
        best = next;
    }
    best.into_values().max().unwrap_or(0)
}

proptest! {
    #![proptest_config(cases(96))]

    /// P18: more room never makes more hard deadlines missed. P19, from both sides: a plan that misses some says
    /// that it cannot be helped, and that proof is true: its visits need more than there is.
    #[test]
    fn with_visits_of_one_slot_no_more_are_missed_than_must_be(
        instance in instances(), wider in 0_usize..7,
    ) {
        let problem = build(&instance);
        let plan = planned(&problem);
        let now = missed(&problem, &plan);
        prop_assert_eq!(now > 0, !plan.infeasible.is_empty());
        for proof in &plan.infeasible {
            prop_assert!(proof.cut.work_ms > proof.cut.room_ms);
            prop_assert_eq!(proof.cut.visits, proof.visits.len());
            let lacking = (proof.cut.work_ms - proof.cut.room_ms).div_ceil(10 * MINUTE);
            prop_assert_eq!(usize::try_from(lacking).unwrap(), now);
        }
        let mut relaxed = problem.clone();
        let limit = &mut relaxed.resources[wider].limits[0];
        limit.steps = limit.steps.raised(1);
        prop_assert!(missed(&relaxed, &planned(&relaxed)) <= now);
        // With what was published as a start, no relaxation of anything can make it worse.
        let again = crate::planner::plan(&relaxed, Some(&plan), &effort(), &mut || false).unwrap();
        prop_assert!(missed(&relaxed, &again) <= now);
    }
}

proptest! {
    #![proptest_config(cases(24))]

    /// P19: the number of those in time is that of an exhaustive search.
    #[test]
    fn with_visits_of_one_slot_as_many_are_in_time_as_can_be(
        mut instance in instances(),
    ) {
        instance.0.truncate(9);
        let problem = build(&instance);
        let plan = planned(&problem);
        let in_time = instance.0.len() - missed(&problem, &plan);
        prop_assert_eq!(in_time, most(&instance));
    }
}

#[test]
fn who_has_time_makes_room_for_who_has_none() {
    // In the order of deadlines the first two take all the time that the third has.
    let mut jobs = vec![job(0, 50, &[0]), job(1, 50, &[0]), job(2, 30, &[0])];
    jobs[0].deadline = hard(110);
    jobs[1].deadline = hard(160);
    jobs[2].deadline = hard(200);
    jobs[2].calendar = 1;
    let calendar = |from, to| Calendar { windows: vec![span(from, to)], frozen: vec![] };
    let problem = Problem {
        until: Wall(300 * MINUTE),
        calendars: vec![calendar(0, 300), calendar(30, 60)],
        resources: vec![cap("rack 0", 1, None)],
        jobs,
        ..Problem::default()
    };
    let plan = planned(&problem);
    assert_eq!(missed(&problem, &plan), 0, "{plan:#?}");
}

#[test]
fn a_proof_says_what_is_full() {
    let mut jobs: Vec<Job> = (0..4).map(|number| job(number, 20, &[1, 0])).collect();
    jobs.iter_mut().for_each(|job| job.deadline = hard(60));
    let problem = Problem {
        until: Wall(200 * MINUTE),
        calendars: vec![Calendar { windows: vec![span(0, 200)], frozen: vec![] }],
        resources: vec![cap("fleet", 5, None), cap("rack 7", 1, Some(0))],
        jobs,
        ..Problem::default()
    };
    let plan = planned(&problem);
    assert_eq!(missed(&problem, &plan), 1);
    let late = plan.entries.iter().find(|entry| entry.late).unwrap();
    let why = why(&problem, &plan, &late.visit).unwrap().unwrap();
    assert_eq!(
        why.obstacles.last().unwrap().reason.to_string(),
        "4 visits take 1 h 20 min, rack 7 leaves 1 h 00 min"
    );
}
