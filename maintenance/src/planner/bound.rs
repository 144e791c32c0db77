//! No plan can be over earlier than this.

use protocol::Wall;

use super::board::usable;
use super::ground::{Ground, Span};
use super::problem::{Job, Resource};

/// A moment before which no plan for the same visits is over: each visit alone, and the work of each resource by what it
/// can carry while any of its visits may be open.
pub(super) fn lower_bound(ground: &Ground<'_>) -> Wall {
    let problem = ground.problem;
    let mut loads = vec![Some(Load::default()); problem.resources.len()];
    for supply in problem.jobs.iter().flat_map(|job| &job.supplies) {
        // How much there is depends on the plan.
        if let Some(load) = loads.get_mut(supply.resource) {
            *load = None;
        }
    }
    let mut latest = problem.from.0;
    let mut earliest = EarliestEnds::default();
    for job in &problem.jobs {
        if let Some(fixed) = job.fixed {
            latest = latest.max(fixed.0.saturating_add(job.length()));
            continue;
        }
        // One that can never be placed takes nothing.
        let Some(end) = earliest.of(ground, job) else {
            continue;
        };
        latest = latest.max(end);
        for demand in &job.demands {
            if let Some(Some(load)) = loads.get_mut(demand.resource)
                && demand.shape.is_none()
                && demand.part.is_none()
            {
                load.add(job, demand.amount);
            }
        }
    }
    for (resource, load) in problem.resources.iter().zip(&loads) {
        if let Some(end) = load.as_ref().and_then(|load| load.end(ground, resource)) {
            latest = latest.max(end);
        }
    }
    // A visit that does not fit into the horizon is not in the plan, so the horizon is the most that can be said.
    Wall(latest.min(problem.until.0.max(problem.from.0)))
}

/// The earliest end of a job alone; those without holds that share a calendar share the answer.
#[derive(Debug, Default)]
struct EarliestEnds {
    known: Vec<((usize, u64, u64), Option<u64>)>,
}

impl EarliestEnds {
    fn of(&mut self, ground: &Ground<'_>, job: &Job) -> Option<u64> {
        let alone = || usable(ground, job, ground.problem.until.0).first().map(|first| first.0);
        if !job.holds.is_empty() {
            return alone().map(|start| start + job.length());
        }
        let key = (job.calendar, job.not_before.0, job.length());
        let end = match self.known.iter().find(|(known, _)| *known == key) {
            Some((_, start)) => *start,
            None => {
                let start = alone();
                if self.known.len() < 64 {
                    self.known.push((key, start));
                }
                start
            }
        };
        end.map(|start| start + job.length())
    }
}

/// What is asked of one resource.
#[derive(Debug, Clone, Default)]
struct Load {
    jobs: u64,
    shortest: u64,
    /// The least amount of a job.
    least: u64,
    /// Amount by milliseconds.
    work: u128,
    calendars: Vec<usize>,
    calendar: Option<usize>,
}

impl Load {
    fn add(&mut self, job: &Job, amount: u32) {
        let amount = u64::from(amount);
        self.shortest = if self.jobs == 0 { job.length() } else { self.shortest.min(job.length()) };
        self.least = if self.jobs == 0 { amount } else { self.least.min(amount) };
        self.jobs += 1;
        self.work += u128::from(amount) * u128::from(job.length());
        // Most jobs of a domain share one calendar.
        if self.calendar != Some(job.calendar) {
            self.calendar = Some(job.calendar);
            if !self.calendars.contains(&job.calendar) {
                self.calendars.push(job.calendar);
            }
        }
    }

    /// When the resource can have carried all this at the earliest.
    fn end(&self, ground: &Ground<'_>, resource: &Resource) -> Option<u64> {
        if self.jobs == 0 {
            return None;
        }
        let (mut work, mut jobs) = (self.work, self.jobs);
        let mut by_work = None;
        let mut by_count = None;
        for (open, close) in self.open(ground) {
            let most = most(resource, open, close)?;
            let Ok(most) = u64::try_from(most) else {
                continue;
            };
            let room = u128::from(most) * u128::from(close - open);
            if by_work.is_none() && room >= work {
                let needed = u64::try_from(work.div_ceil(u128::from(most.max(1)))).ok()?;
                by_work = Some(open + needed);
            }
            work = work.saturating_sub(room);
            // Of visits that need at least so much each, so many fit beside each other.
            let lanes = most / self.least.max(1);
            let count = lanes.saturating_mul((close - open) / self.shortest.max(1));
            if by_count.is_none() && count >= jobs {
                by_count = Some(open + jobs.div_ceil(lanes.max(1)) * self.shortest);
            }
            jobs = jobs.saturating_sub(count);
        }
        // Where not all fit, some are not planned, and nothing is known about the others.
        Some(by_work?.max(by_count?))
    }

    /// When any of the jobs may be active.
    fn open(&self, ground: &Ground<'_>) -> Vec<Span> {
        let calendars = self.calendars.iter().filter_map(|number| ground.open.get(*number));
        let mut spans: Vec<Span> = calendars.flatten().copied().collect();
        spans.sort_unstable();
        let mut joined: Vec<Span> = Vec::new();
        for (from, to) in spans {
            match joined.last_mut() {
                Some(last) if from <= last.1 => last.1 = last.1.max(to),
                Some(_) | None => joined.push((from, to)),
            }
        }
        joined
    }
}

/// The most that a resource gives at any moment of a span; `None` if that is more than anybody counts.
fn most(resource: &Resource, from: u64, to: u64) -> Option<i64> {
    let limits = resource.limits.iter().map(|limit| {
        let inside = limit.steps.iter().filter(|(at, _)| at.0 > from && at.0 < to);
        let values = inside.map(|(_, value)| value).chain([limit.steps.at(Wall(from))]);
        values.max().unwrap_or(i64::MAX)
    });
    limits.min().filter(|most| *most < i64::MAX / 8)
}
