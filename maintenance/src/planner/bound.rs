//! No plan can be over earlier than this.

use protocol::Wall;

use super::board::usable;
use super::ground::{Ground, Span};
use super::problem::{Job, Predecessor, Resource, millis};

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
    let ends = earliest_ends(ground);
    for (job, end) in problem.jobs.iter().zip(&ends) {
        // One that can never be placed takes nothing.
        let Some(end) = *end else {
            continue;
        };
        latest = latest.max(end);
        if job.fixed.is_some() {
            continue;
        }
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
        if let Some(load) = load {
            latest = latest.max(load.end(ground, resource));
        }
    }
    // Where not all fit into the horizon, no plan has all of them before its end.
    Wall(latest.min(problem.until.0.max(problem.from.0)))
}

/// The earliest end of each job if resources were without limit; `None` if it can never be.
fn earliest_ends(ground: &Ground<'_>) -> Vec<Option<u64>> {
    let problem = ground.problem;
    let mut ends: Vec<Option<u64>> = vec![None; problem.jobs.len()];
    let mut groups: Vec<Option<u64>> = vec![Some(0); problem.groups.len()];
    // Many jobs share a calendar and all that counts here.
    let mut known = Vec::new();
    for number in &ground.order {
        let Some(job) = ground.job(*number) else {
            continue;
        };
        let ready = job.after.iter().try_fold(problem.from.0, |ready, link| {
            let end = match link.on {
                Predecessor::Job(before) => ends.get(before).copied().flatten(),
                Predecessor::Group(group) => groups.get(group).copied().flatten(),
            };
            Some(ready.max(end?.saturating_add(millis(link.lag))))
        });
        let key = (job.calendar, job.not_before.0, job.length());
        let alone = || {
            let spans = usable(ground, job, problem.until.0);
            let start = |(open, close): &Span| {
                let start = (*open).max(ready?);
                (start + job.length() <= *close).then_some(start + job.length())
            };
            spans.iter().find_map(start)
        };
        let plain = job.holds.is_empty() && job.after.is_empty();
        let end = match known.iter().find(|(other, _)| plain && *other == key) {
            Some((_, end)) => *end,
            None => alone(),
        };
        if plain && known.len() < 64 {
            known.push((key, end));
        }
        let end = job.fixed.map_or(end, |fixed| Some(fixed.0.saturating_add(job.length())));
        if let Some(slot) = ends.get_mut(*number) {
            *slot = end;
        }
        for group in ground.groups.get(*number).into_iter().flatten() {
            if let Some(latest) = groups.get_mut(*group) {
                *latest = latest.zip(end).map(|(latest, end)| latest.max(end));
            }
        }
    }
    ends
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
    fn end(&self, ground: &Ground<'_>, resource: &Resource) -> u64 {
        if self.jobs == 0 {
            return 0;
        }
        let (mut work, mut jobs) = (self.work, self.jobs);
        let mut by_work = None;
        let mut by_count = None;
        for (open, close) in self.open(ground) {
            let Some(most) = most(resource, open, close) else {
                return 0;
            };
            let Ok(most) = u64::try_from(most) else {
                continue;
            };
            let room = u128::from(most) * u128::from(close - open);
            if by_work.is_none() && room >= work {
                let needed = u64::try_from(work.div_ceil(u128::from(most.max(1))));
                by_work = Some(open + needed.unwrap_or(0));
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
        by_work.zip(by_count).map_or(u64::MAX, |(work, count)| work.max(count))
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
