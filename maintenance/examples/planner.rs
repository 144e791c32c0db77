//! Measures the planner: how long a plan takes, how far it is from the bound, and whether the checker takes it.
//!
//! `planner [--json FILE] [--runs N]`; see `bench/run`. Exit code 2: one took longer than it may.

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use maintenance::Interval;
use maintenance::fleet::VisitId;
use maintenance::planner::{
    Calendar, Deadline, Demand, Effort, Job, Limit, Link, Metric, Plan, Predecessor, Problem,
    Resource, Rule, Shape, Steps, Supply, check, plan, why,
};
use protocol::{GatewayId, Wall};

const MINUTE: u64 = 60_000;
const DAY: u64 = 24 * 60 * MINUTE;
/// Monday 2026-11-23 00:00 UTC.
const MONDAY: u64 = 1_795_392_000_000;

/// What one instance came to.
#[derive(serde::Serialize)]
struct Row {
    name: String,
    hosts: usize,
    p50_ms: f64,
    p95_ms: f64,
    max_ms: f64,
    cpu_p50_ms: f64,
    replan_p95_ms: f64,
    replan_cpu_p50_ms: f64,
    replan_churn: usize,
    why_cpu_ms: f64,
    check_cpu_ms: f64,
    unplanned: usize,
    late: usize,
    proofs: usize,
    makespan_h: f64,
    gap_percent: f64,
    peak_rss_mb: f64,
}

/// How long the 95th percentile of planning may take, in milliseconds, by the number of hosts.
const fn bar_ms(hosts: usize) -> f64 {
    if hosts > 10_000 { 1_000.0 } else { 100.0 }
}

fn main() -> io::Result<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (mut file, mut runs, mut only) = (None, 20, None);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--json" => file = arguments.next(),
            "--only" => only = arguments.next(),
            "--runs" => runs = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(runs),
            other => return Err(io::Error::other(format!("{other}: unknown argument"))),
        }
    }
    let mut out = io::stdout().lock();
    let columns = [
        "p50 ms", "p95 ms", "max ms", "cpu", "replan", "cpu", "churn", "why", "check", "unpl.",
        "late", "proofs", "span h", "gap %", "MB",
    ];
    write!(out, "{:<34} {:>6}", "instance", "hosts")?;
    columns.iter().try_for_each(|column| write!(out, " {column:>7}"))?;
    writeln!(out)?;
    let mut rows = Vec::new();
    for (name, problem) in instances() {
        if only.as_ref().is_some_and(|only| !name.contains(only.as_str())) {
            continue;
        }
        let runs = if problem.jobs.len() > 20_000 { runs.min(5) } else { runs };
        let row = measure(name, &problem, runs)?;
        write!(out, "{:<34} {:>6}", row.name, row.hosts)?;
        let times = [row.p50_ms, row.p95_ms, row.max_ms, row.cpu_p50_ms];
        let again = [row.replan_p95_ms, row.replan_cpu_p50_ms];
        times.iter().chain(&again).try_for_each(|ms| write!(out, " {ms:>7.1}"))?;
        write!(out, " {:>7} {:>7.1} {:>7.1}", row.replan_churn, row.why_cpu_ms, row.check_cpu_ms)?;
        write!(out, " {:>7} {:>7} {:>7}", row.unplanned, row.late, row.proofs)?;
        writeln!(
            out,
            " {:>7.1} {:>7.2} {:>7.0}",
            row.makespan_h, row.gap_percent, row.peak_rss_mb
        )?;
        rows.push(row);
    }
    if let Some(file) = file {
        std::fs::write(file, serde_json::to_vec_pretty(&rows)?)?;
    }
    let slow: Vec<_> = rows.iter().filter(|row| row.p95_ms > bar_ms(row.hosts)).collect();
    for row in &slow {
        writeln!(out, "{} took longer than {} ms", row.name, bar_ms(row.hosts))?;
    }
    Ok(if slow.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(2) })
}

/// Plans an instance so many times; then again after one host was lost.
fn measure(name: &str, problem: &Problem, runs: usize) -> io::Result<Row> {
    let effort = Effort::default();
    let solve = |problem: &Problem, published: Option<&Plan>| {
        let (plan, took) = timed(|| plan(problem, published, &effort, &mut || false));
        plan.map(|plan| (plan, took)).map_err(io::Error::other)
    };
    let (first, took) = solve(problem, None)?;
    let mut times = vec![took];
    for _ in 1..runs {
        times.push(solve(problem, None)?.1);
    }
    let (checked, check_took) = timed(|| check(problem, &first));
    checked.map_err(io::Error::other)?;
    let last = first.entries.last().map(|entry| entry.visit.clone());
    let (_, why_took) = timed(|| last.map(|last| why(problem, &first, &last)));
    // One host dies: its zone may be visited by one less, and its own visit is withdrawn.
    let mut event = problem.clone();
    let gone = event.jobs.len() / 3;
    let dead = event.jobs.get_mut(gone);
    let lost = dead.map(|job| {
        job.holds.push(maintenance::planner::Hold {
            span: Interval { from: problem.from, to: problem.until },
            reason: maintenance::planner::Reason::StaleReport,
        });
        job.demands.iter().map(|demand| demand.resource).collect::<Vec<_>>()
    });
    for number in lost.unwrap_or_default().into_iter().take(3) {
        for limit in event.resources.get_mut(number).into_iter().flat_map(|r| &mut r.limits) {
            if limit.rule != (Rule::Rate { domain: "fleet".to_owned() }) {
                limit.steps = limit.steps.raised(-1);
            }
        }
    }
    let (again, replan) = solve(&event, Some(&first))?;
    let mut replans = vec![replan];
    for _ in 1..runs {
        replans.push(solve(&event, Some(&first))?.1);
    }
    check(&event, &again).map_err(io::Error::other)?;
    let hours = first.end().map_or(0.0, |end| first.from.until(end).as_secs_f64() / 3600.0);
    Ok(Row {
        name: name.to_owned(),
        hosts: problem.jobs.len(),
        p50_ms: quantile(&times, 50, |took| took.wall),
        p95_ms: quantile(&times, 95, |took| took.wall),
        max_ms: quantile(&times, 100, |took| took.wall),
        cpu_p50_ms: quantile(&times, 50, |took| took.cpu),
        replan_p95_ms: quantile(&replans, 95, |took| took.wall),
        replan_cpu_p50_ms: quantile(&replans, 50, |took| took.cpu),
        replan_churn: again.churn,
        why_cpu_ms: millis(Some(&why_took.cpu)),
        check_cpu_ms: millis(Some(&check_took.cpu)),
        unplanned: first.unplanned.len(),
        late: first.entries.iter().filter(|entry| entry.late).count(),
        proofs: first.infeasible.len(),
        makespan_h: hours,
        gap_percent: f64::from(u32::try_from(first.gap_permille()).unwrap_or(u32::MAX)) / 10.0,
        peak_rss_mb: peak_rss_mb(),
    })
}

#[expect(clippy::disallowed_methods, reason = "measures; the planner itself reads no clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (T, Took) {
    let (before, cpu) = (Instant::now(), cpu());
    let result = work();
    (result, Took { wall: before.elapsed(), cpu: self::cpu().saturating_sub(cpu) })
}

/// How long something took.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Took {
    wall: Duration,
    /// Of one processor; on a busy machine it says more. Zero where that is not told.
    cpu: Duration,
}

/// How long this thread has run so far.
fn cpu() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let first = told.split(' ').next().and_then(|ns| ns.parse().ok());
    Duration::from_nanos(first.unwrap_or(0))
}

/// What so many of a hundred do not exceed.
fn quantile(times: &[Took], percent: usize, of: impl Fn(&Took) -> Duration) -> f64 {
    let mut times: Vec<Duration> = times.iter().map(of).collect();
    times.sort_unstable();
    millis(times.get((times.len() * percent).div_ceil(100).saturating_sub(1)))
}

fn millis(time: Option<&Duration>) -> f64 {
    time.map_or(0.0, |time| time.as_secs_f64() * 1000.0)
}

/// The most memory that this process ever had, zero where that is not told.
fn peak_rss_mb() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

/// What an instance is made of.
#[derive(Clone, Copy)]
struct Scale {
    hosts: usize,
    racks: usize,
    zones: usize,
    regions: usize,
    rack_cap: i64,
    zone_permille: usize,
    fleet_permille: usize,
    /// How many of a hundred have a deadline within the first week.
    early: usize,
}

fn instances() -> Vec<(&'static str, Problem)> {
    let base = Scale {
        hosts: 10_000,
        racks: 400,
        zones: 40,
        regions: 10,
        rack_cap: 1,
        zone_permille: 50,
        fleet_permille: 30,
        early: 10,
    };
    let big = Scale { hosts: 50_000, racks: 2_000, ..base };
    let tight = Scale { zone_permille: 10, rack_cap: 1, ..base };
    vec![
        ("rack 1, zone 5 %, fleet 3 %", fleet(base)),
        ("rack 1, zone 2 %", fleet(Scale { zone_permille: 20, ..base })),
        ("rack 1, zone 1 %", fleet(tight)),
        ("50,000: rack 1, zone 5 %", fleet(big)),
        ("50,000: rack 1, zone 1 %", fleet(Scale { zone_permille: 10, ..big })),
        ("ladder: room for a third more", ladder(base)),
        ("50,000: ladder", ladder(big)),
        ("adversarial: all windows one hour", one_hour(base)),
        ("adversarial: one rack with all", one_rack(base)),
        ("adversarial: chains of 100", chains(base)),
        ("adversarial: deadlines one night", one_night(base)),
        ("adversarial: every rack one host", fleet(Scale { racks: 10_000, ..base })),
    ]
}

/// A fleet with nested caps, headroom by the hour, a rate, and four-hour nights from Tuesday to Thursday and on Sunday,
/// by region at its own hour.
fn fleet(shape: Scale) -> Problem {
    let Scale { hosts, racks, zones, regions, .. } = shape;
    let mut random = Random(42);
    let resources = resources(shape);
    let (first_region, rate) = (1 + zones + racks, 1 + zones + racks + regions);
    let jobs = (0..hosts).map(|number| {
        let rack = number * racks / hosts;
        let (zone, region) = (rack * zones / racks, rack * regions / racks);
        let minutes = 20 + random.below(5) * 5;
        let mut job = job(number, minutes);
        job.calendar = region;
        let load = u32::try_from(500 + random.below(500)).unwrap_or(500);
        job.demands = vec![
            demand(1 + zones + rack, 1, None),
            demand(1 + zone, 1, None),
            demand(0, 1, None),
            demand(first_region + region, load, Some(0)),
            Demand {
                part: Some(maintenance::planner::Part {
                    from: Duration::ZERO,
                    to: Duration::from_secs(600),
                }),
                ..demand(rate, 400, None)
            },
        ];
        if usize::try_from(random.below(100)).unwrap_or(0) < shape.early {
            job.deadline = Some(Deadline { at: Wall(MONDAY + 7 * DAY), hard: true });
        }
        job
    });
    let hour_factor = |hour: u32| 400 + 600 * (12 - hour.abs_diff(12)) / 12;
    Problem {
        from: Wall(MONDAY),
        until: Wall(MONDAY + 28 * DAY),
        calendars: (0..regions).map(|region| nights(u64::try_from(region).unwrap_or(0))).collect(),
        shapes: vec![Shape { permille: (0..168).map(|hour| hour_factor(hour % 24)).collect() }],
        jobs: jobs.collect(),
        resources,
        groups: Vec::new(),
    }
}

/// Fleet, zones, racks, headroom by region, rate.
fn resources(shape: Scale) -> Vec<Resource> {
    let Scale { hosts, racks, zones, regions, .. } = shape;
    let share =
        |all: usize, permille: usize| i64::try_from((all * permille / 1000).max(1)).unwrap_or(1);
    let cap = |domain: String, limit: i64, within| Resource {
        within,
        limits: vec![Limit { rule: Rule::Concurrent { domain }, steps: Steps::constant(limit) }],
    };
    let mut resources = vec![cap("fleet".to_owned(), share(hosts, shape.fleet_permille), None)];
    for zone in 0..zones {
        let mut zone =
            cap(format!("zone {zone}"), share(hosts / zones, shape.zone_permille), Some(0));
        let limit = share(hosts / zones, 100);
        let rule = Rule::Available { domain: "zone".to_owned(), down: 0 };
        zone.limits.push(Limit { rule, steps: Steps::constant(limit) });
        resources.push(zone);
    }
    for rack in 0..racks {
        resources.push(cap(format!("rack {rack}"), shape.rack_cap, Some(1 + rack * zones / racks)));
    }
    for region in 0..regions {
        let rule =
            Rule::Headroom { domain: format!("region {region}"), metric: Metric::Connections };
        let spare = i64::try_from(hosts / regions * 1000 / 10).unwrap_or(i64::MAX);
        resources.push(Resource {
            within: None,
            limits: vec![Limit { rule, steps: Steps::constant(spare) }],
        });
    }
    let rule = Rule::Rate { domain: "fleet".to_owned() };
    let limit = i64::try_from(hosts * 400 / 20).unwrap_or(i64::MAX);
    resources.push(Resource {
        within: None,
        limits: vec![Limit { rule, steps: Steps::constant(limit) }],
    });
    resources
}

fn nights(region: u64) -> Calendar {
    let mut windows = Vec::new();
    for week in 0..4 {
        for day in [1, 2, 3, 6] {
            let from = MONDAY + (week * 7 + day) * DAY + region * 60 * MINUTE;
            windows.push(Interval { from: Wall(from), to: Wall(from + 240 * MINUTE) });
        }
    }
    Calendar { windows, frozen: Vec::new() }
}

fn job(number: usize, minutes: u64) -> Job {
    let host = format!("gw-{number:05}");
    Job {
        visit: VisitId::new(&host).unwrap_or_else(|_| std::process::abort()),
        host: GatewayId::new(&host).unwrap_or_else(|_| std::process::abort()),
        duration: Duration::from_millis(minutes * MINUTE),
        calendar: 0,
        holds: Vec::new(),
        preferred: Vec::new(),
        insists: false,
        not_before: Wall(0),
        deadline: None,
        priority: 0,
        rank: 0,
        demands: Vec::new(),
        supplies: Vec::new(),
        after: Vec::new(),
        fixed: None,
    }
}

fn demand(resource: usize, amount: u32, shape: Option<usize>) -> Demand {
    Demand { resource, amount, shape, part: None }
}

/// Clients go to hosts that are done, each of which has room for a third more than it carried; of each region two of a hundred
/// clients may be moved twice.
fn ladder(shape: Scale) -> Problem {
    let mut problem = fleet(shape);
    let first = problem.resources.len();
    let mut all = vec![0_i64; shape.regions];
    for job in &mut problem.jobs {
        let load = job.demands.iter().find(|it| it.shape.is_some()).map_or(1, |it| it.amount);
        let resource = first + job.calendar;
        job.demands.push(demand(resource, load, None));
        job.supplies.push(Supply { resource, amount: load / 3 });
        if let Some(all) = all.get_mut(job.calendar) {
            *all += i64::from(load);
        }
    }
    problem.resources.extend(all.into_iter().map(|all| Resource {
        within: None,
        limits: vec![Limit { rule: Rule::MoveOnce, steps: Steps::constant(all / 50) }],
    }));
    problem
}

/// Every window opens at the same minute and lasts an hour.
fn one_hour(shape: Scale) -> Problem {
    let mut problem = fleet(shape);
    for calendar in &mut problem.calendars {
        calendar.windows = (0..28)
            .map(|day| Wall(MONDAY + day * DAY))
            .map(|from| Interval { from, to: from.after(Duration::from_secs(3600)) })
            .collect();
    }
    problem
}

/// One rack has everything, five at once.
fn one_rack(shape: Scale) -> Problem {
    fleet(Scale { racks: 1, zones: 1, regions: 1, rack_cap: 50, zone_permille: 1000, ..shape })
}

/// A hundred hosts in a row, each after the one before.
fn chains(shape: Scale) -> Problem {
    let mut problem = fleet(shape);
    for (number, job) in problem.jobs.iter_mut().enumerate().filter(|(number, _)| number % 100 > 0)
    {
        job.duration = Duration::from_millis(20 * MINUTE);
        job.after.push(Link { on: Predecessor::Job(number - 1), lag: Duration::ZERO });
    }
    problem
}

/// Every third has its deadline on the second night.
fn one_night(shape: Scale) -> Problem {
    let mut problem = fleet(shape);
    for job in problem.jobs.iter_mut().step_by(3) {
        job.deadline = Some(Deadline { at: Wall(MONDAY + 3 * DAY), hard: true });
    }
    problem
}

/// Numbers that look random, the same every time.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit.max(1)
    }
}
