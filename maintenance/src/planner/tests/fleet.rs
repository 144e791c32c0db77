//! Problems at random, small enough to be solved in a moment and tight enough to hurt.

use std::time::Duration;

use proptest::prelude::*;
use protocol::{GatewayId, Wall};

use crate::Interval;
use crate::fleet::{Preferred, VisitId};
use crate::planner::*;

pub(super) const MINUTE: u64 = 60_000;

pub(super) fn span(from: u64, to: u64) -> Interval {
    Interval::new(Wall(from * MINUTE), Wall(to * MINUTE)).unwrap()
}

/// A job of so many minutes that takes one of each of these resources.
pub(super) fn job(number: usize, minutes: u64, resources: &[usize]) -> Job {
    let demand =
        |resource: &usize| Demand { resource: *resource, amount: 1, shape: None, part: None };
    Job {
        visit: VisitId::new(&format!("v{number:04}")).unwrap(),
        host: GatewayId::new(&format!("gw-{number:04}")).unwrap(),
        duration: Duration::from_millis(minutes * MINUTE),
        calendar: 0,
        holds: Vec::new(),
        preferred: Vec::new(),
        insists: false,
        not_before: Wall(0),
        deadline: None,
        priority: 0,
        rank: 0,
        demands: resources.iter().map(demand).collect(),
        supplies: Vec::new(),
        after: Vec::new(),
        fixed: None,
    }
}

pub(super) fn cap(domain: &str, limit: i64, within: Option<usize>) -> Resource {
    let rule = Rule::Concurrent { domain: domain.to_owned() };
    Resource { within, limits: vec![Limit { rule, steps: Steps::constant(limit) }] }
}

pub(super) fn hard(minute: u64) -> Option<Deadline> {
    Some(Deadline { at: Wall(minute * MINUTE), hard: true })
}

/// What one random job is made of.
#[derive(Debug, Clone)]
struct Draw {
    minutes: u64,
    rack: usize,
    calendar: usize,
    deadline: Option<(u64, bool)>,
    not_before: u64,
    load: u32,
    label: Option<usize>,
    after: Option<(usize, u64)>,
    hold: Option<(u64, u64)>,
    priority: u8,
    fixed: Option<u64>,
    part: bool,
    batch: usize,
    /// What it costs, from when on and for how long.
    preferred: Vec<(u32, u64, u64)>,
    insists: bool,
}

fn draw() -> impl Strategy<Value = Draw> {
    let odd = |n: u32| prop::bool::weighted(1.0 / f64::from(n));
    (
        (
            1_u64..9,
            0_usize..6,
            0_usize..3,
            prop::option::weighted(0.5, (20_u64..260, any::<bool>())),
        ),
        (
            prop_oneof![3 => Just(0_u64), 1 => 0_u64..200],
            1_u32..40,
            prop::option::weighted(0.2, 0_usize..3),
        ),
        prop::option::weighted(0.2, (0_usize..40, 0_u64..6)),
        prop::option::weighted(0.2, (0_u64..200, 1_u64..60)),
        (0_u8..4, prop::option::weighted(0.05, 0_u64..100), odd(3), 0_usize..3),
        (
            prop_oneof![
                2 => Just(Vec::new()),
                1 => prop::collection::vec((0_u32..3, 0_u64..300, 2_u64..60), 1..4)
            ],
            odd(8),
        ),
    )
        .prop_map(|(a, b, after, hold, c, d)| Draw {
            minutes: a.0,
            rack: a.1,
            calendar: a.2,
            deadline: a.3,
            not_before: b.0,
            load: b.1,
            label: b.2,
            after,
            hold,
            priority: c.0,
            fixed: c.1,
            part: c.2,
            batch: c.3,
            preferred: d.0,
            insists: d.1,
        })
}

/// A fleet of two zones with three racks each, a night of an hour every 80 minutes, and every kind of limit.
pub(super) fn problems(batches: bool) -> impl Strategy<Value = Problem> {
    (
        prop::collection::vec(draw(), 1..40),
        (1_i64..5, 1_i64..4, 0_i64..3, 20_i64..120, 10_i64..80),
        prop::collection::vec((0_u64..300, 1_u64..30), 0..3),
        prop::bool::weighted(0.3),
    )
        .prop_map(move |(draws, caps, frozen, ladder)| {
            build(&draws, caps, &frozen, batches, ladder && batches)
        })
}

fn build(
    draws: &[Draw],
    (fleet, zone, down, headroom, rate): (i64, i64, i64, i64, i64),
    frozen: &[(u64, u64)],
    batches: bool,
    ladder: bool,
) -> Problem {
    let night = |n: u64| span(10 + n * 80, 70 + n * 80);
    let frozen: Vec<Interval> =
        frozen.iter().map(|(from, long)| span(*from, from + long)).collect();
    let calendar = |nights: &[u64], frozen: &[Interval]| Calendar {
        windows: nights.iter().map(|n| night(*n)).collect(),
        frozen: frozen.to_vec(),
    };
    let mut resources = vec![cap("fleet", fleet, None)];
    for name in ["zone a", "zone b"] {
        let mut resource = cap(name, zone, Some(0));
        let rule = Rule::Available { domain: name.to_owned(), down: u32::try_from(down).unwrap() };
        let steps = Steps::new(vec![(Wall(0), zone - down), (Wall(150 * MINUTE), zone)]).unwrap();
        resource.limits.push(Limit { rule, steps });
        resources.push(resource);
    }
    resources.extend((0..6).map(|rack| cap(&format!("rack {rack}"), 1, Some(1 + rack / 3))));
    let other = |rule, limit| Resource {
        within: None,
        limits: vec![Limit { rule, steps: Steps::constant(limit) }],
    };
    let domain = || "fleet".to_owned();
    resources
        .push(other(Rule::Headroom { domain: domain(), metric: Metric::Connections }, headroom));
    resources.push(other(Rule::Rate { domain: domain() }, rate));
    resources.extend((0..3).map(|l| other(Rule::Together { label: format!("power={l}") }, 1)));
    let done = resources.len();
    resources.push(other(Rule::MoveOnce, 10));
    let jobs = draws.iter().enumerate().map(|(number, draw)| {
        let mut job = job(number, draw.minutes, &[0, 1 + draw.rack / 3, 3 + draw.rack]);
        flesh_out(&mut job, number, draw);
        // A job of an earlier batch never waits for one of a later batch: that would be a cycle.
        job.after.retain(|link| match link.on {
            Predecessor::Job(before) => draws[before].batch <= draw.batch,
            Predecessor::Group(_) => true,
        });
        if batches && draw.batch > 0 && job.fixed.is_none() {
            let on = Predecessor::Group(draw.batch - 1);
            job.after.push(Link { on, lag: Duration::from_millis(5 * MINUTE) });
        }
        if ladder {
            job.supplies.push(Supply { resource: done, amount: draw.load });
            if draw.batch > 0 {
                job.demands.push(Demand {
                    resource: done,
                    amount: draw.load,
                    shape: None,
                    part: None,
                });
            }
        }
        job
    });
    let jobs: Vec<Job> = jobs.collect();
    let members = |batch: usize| {
        let of = |(number, draw): (usize, &Draw)| (draw.batch == batch).then_some(number);
        draws.iter().enumerate().filter_map(of).collect()
    };
    let group = |batch| Group { name: format!("batch {batch}"), jobs: members(batch) };
    Problem {
        from: Wall(0),
        until: Wall(330 * MINUTE),
        calendars: vec![
            calendar(&[0, 1, 2, 3], &[]),
            calendar(&[1, 3], &frozen),
            calendar(&[0, 1, 2, 3], &frozen),
        ],
        shapes: vec![Shape { permille: (0..168).map(|h| 200 + h % 5 * 200).collect() }],
        resources,
        groups: vec![group(0), group(1)],
        jobs,
    }
}

fn flesh_out(job: &mut Job, number: usize, draw: &Draw) {
    job.calendar = draw.calendar;
    job.deadline = draw.deadline.map(|(at, hard)| Deadline { at: Wall(at * MINUTE), hard });
    job.not_before = Wall(draw.not_before * MINUTE);
    job.priority = draw.priority;
    job.rank = u32::try_from(draw.batch).unwrap();
    let preferred = |(cost, from, long): &(u32, u64, u64)| Preferred {
        cost: *cost,
        from: Wall(from * MINUTE),
        until: Wall((from + long) * MINUTE),
    };
    job.preferred = draw.preferred.iter().map(preferred).collect();
    job.insists = draw.insists;
    let half = Duration::from_millis(draw.minutes * MINUTE / 2);
    let part = draw.part.then_some(Part { from: Duration::ZERO, to: half });
    job.demands.push(Demand { resource: 9, amount: draw.load, shape: Some(0), part: None });
    job.demands.push(Demand { resource: 10, amount: draw.load.div_ceil(2), shape: None, part });
    job.demands.extend(draw.label.map(|l| Demand {
        resource: 11 + l,
        amount: 1,
        shape: None,
        part: None,
    }));
    if let Some((from, long)) = draw.hold {
        job.holds.push(Hold { span: span(from, from + long), reason: Reason::GateClosed });
    }
    if draw.fixed.is_some() {
        job.fixed = draw.fixed.map(|at| Wall(at * MINUTE));
    } else if let Some((before, lag)) = draw.after.filter(|(before, _)| *before < number) {
        let lag = Duration::from_millis(lag * MINUTE);
        job.after.push(Link { on: Predecessor::Job(before), lag });
    }
}
