//! What never changes while one problem is planned: open time, order, who waits for whom.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::problem::{Calendar, Demand, Job, Predecessor, Problem, Shape, millis};
use super::timeline::Need;
use crate::Interval;
use crate::fleet::VisitId;

/// Why a problem cannot be planned; ours, or the operator's if it is a cycle.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidProblem {
    /// An index leads nowhere.
    #[error("visit {0} refers to what is not there")]
    Dangling(VisitId),
    /// A visit or one of its parts lasts no time, or a part is not within its visit.
    #[error("visit {0} or a part of it lasts no time")]
    Empty(VisitId),
    /// Two visits have one name.
    #[error("visit {0} is there twice")]
    Twice(VisitId),
    /// A shape has not 168 hours, or a group names a job that is not there.
    #[error("a shape or group is malformed")]
    Malformed,
    /// Visits that wait for each other.
    #[error("visits wait for each other: {}", names(.0))]
    Cycle(Vec<VisitId>),
}

/// A span of open time in milliseconds.
pub(super) type Span = (u64, u64);

#[derive(Debug)]
pub(super) struct Ground<'p> {
    pub(super) problem: &'p Problem,
    /// Open time by calendar, ascending and apart.
    pub(super) open: Vec<Vec<Span>>,
    /// Jobs in the order in which they are placed: nobody before what it waits for.
    pub(super) order: Vec<usize>,
    /// When each job must be over, so that it and all that waits for it keep their hard deadlines.
    pub(super) due: Vec<u64>,
    /// The place of each job's visit among all names.
    pub(super) names: Vec<u32>,
    /// Whether anybody waits for a job.
    pub(super) followed: Vec<bool>,
    /// Which groups a job is in.
    pub(super) groups: Vec<Vec<usize>>,
    /// The greatest and least factor by shape.
    ranges: Vec<(i64, i64)>,
}

/// By which jobs are ordered, the first first.
type Key = (u64, u64, u64, Reverse<u8>, u32, Reverse<u64>, u32);

impl<'p> Ground<'p> {
    pub(super) fn new(problem: &'p Problem) -> Result<Self, InvalidProblem> {
        let names = validate(problem)?;
        let range = |shape: &Shape| {
            let (peak, floor) = (shape.permille.iter().max(), shape.permille.iter().min());
            (peak.map_or(1000, |peak| i64::from(*peak)), floor.map_or(1000, |f| i64::from(*f)))
        };
        let mut ground = Self {
            problem,
            open: open_time(problem),
            order: Vec::new(),
            due: Vec::new(),
            names,
            followed: vec![false; problem.jobs.len()],
            groups: vec![Vec::new(); problem.jobs.len()],
            ranges: problem.shapes.iter().map(range).collect(),
        };
        for (number, group) in problem.groups.iter().enumerate() {
            for job in &group.jobs {
                if let Some(groups) = ground.groups.get_mut(*job) {
                    groups.push(number);
                }
            }
        }
        let chain = Chain::new(problem, &ground.groups);
        let sorted = chain.sorted(|_| ())?;
        let due = chain.due(&sorted, |job| job.deadline.filter(|d| d.hard).map(|d| d.at.0));
        let soft = chain.due(&sorted, |job| job.deadline.map(|d| d.at.0));
        let mut slack = OpenTime::default();
        let key = |(number, job): (usize, &Job)| {
            let (due, soft) = (of(&due, number), of(&soft, number));
            let from = problem.from.0.max(job.not_before.0);
            let open = slack.of(&ground, (job.calendar, from, due.min(soft)));
            let slack = open.saturating_sub(job.length());
            let (priority, length) = (Reverse(job.priority), Reverse(job.length()));
            (due, soft, slack, priority, job.rank, length, of(&ground.names, number))
        };
        let keys: Vec<Key> = problem.jobs.iter().enumerate().map(key).collect();
        ground.order = chain.sorted(|node| keys.get(node).copied())?;
        ground.order.retain(|node| *node < problem.jobs.len());
        for (number, followed) in ground.followed.iter_mut().enumerate() {
            let waited = |node: usize| chain.next.get(node).is_some_and(|next| !next.is_empty());
            let jobs = problem.jobs.len();
            let next = chain.next.get(number).into_iter().flatten();
            *followed = next.copied().any(|(node, _)| node < jobs || waited(node));
        }
        ground.due = due;
        Ok(ground)
    }

    pub(super) fn job(&self, number: usize) -> Option<&'p Job> {
        self.problem.jobs.get(number)
    }

    /// What a demand needs at each moment.
    pub(super) fn need(&self, demand: &Demand) -> Need<'p> {
        let shape = demand.shape.and_then(|number| {
            let (peak, floor) = self.ranges.get(number)?;
            Some((self.problem.shapes.get(number)?, *peak, *floor))
        });
        Need::new(demand.amount, shape)
    }

    /// Open time of a job's calendar.
    pub(super) fn open_for(&self, job: &Job) -> &[Span] {
        self.open.get(job.calendar).map_or(&[], Vec::as_slice)
    }

    /// When a job is over that starts at a moment, and whether that is too late for its own deadline.
    pub(super) fn is_late(job: &Job, start: u64) -> bool {
        job.deadline.is_some_and(|deadline| start.saturating_add(job.length()) > deadline.at.0)
    }
}

/// How much open time lies between two moments; those that share a calendar and a deadline share the answer.
#[derive(Debug, Default)]
struct OpenTime {
    known: Vec<((usize, u64, u64), u64)>,
}

impl OpenTime {
    fn of(&mut self, ground: &Ground<'_>, key: (usize, u64, u64)) -> u64 {
        if let Some((_, open)) = self.known.iter().find(|(known, _)| *known == key) {
            return *open;
        }
        let (calendar, from, until) = key;
        let inside = |(open, close): &Span| (*close).min(until).saturating_sub((*open).max(from));
        let open = ground.open.get(calendar).into_iter().flatten().map(inside).sum();
        if self.known.len() < 64 {
            self.known.push((key, open));
        }
        open
    }
}

/// Open time by calendar.
fn open_time(problem: &Problem) -> Vec<Vec<Span>> {
    let open = |calendar: &Calendar| open_without(problem, &calendar.windows, &calendar.frozen);
    problem.calendars.iter().map(open).collect()
}

/// Windows without what is frozen, within the horizon.
pub(super) fn open_without(
    problem: &Problem,
    windows: &[Interval],
    frozen: &[Interval],
) -> Vec<Span> {
    let (from, until) = (problem.from.0, problem.until.0);
    let frozen = joined(frozen);
    let mut open = Vec::new();
    for (start, end) in joined(windows) {
        let mut at = start.max(from);
        for (freeze, thaw) in &frozen {
            if *freeze < end && at < *thaw {
                open.push((at, (*freeze).min(until)));
                at = *thaw;
            }
        }
        open.push((at, end.min(until)));
    }
    open.retain(|(open, close)| open < close);
    open
}

/// Spans ascending and apart.
pub(super) fn joined(spans: &[Interval]) -> Vec<Span> {
    let mut sorted: Vec<Span> = spans.iter().map(|span| (span.from.0, span.to.0)).collect();
    sorted.sort_unstable();
    let mut joined: Vec<Span> = Vec::with_capacity(sorted.len());
    for (from, to) in sorted {
        match joined.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            Some(_) | None => joined.push((from, to)),
        }
    }
    joined
}

/// Who waits for whom: jobs first, then groups.
#[derive(Debug)]
struct Chain<'p> {
    problem: &'p Problem,
    next: Vec<Vec<(usize, u64)>>,
}

impl<'p> Chain<'p> {
    fn new(problem: &'p Problem, groups: &[Vec<usize>]) -> Self {
        let jobs = problem.jobs.len();
        let mut next: Vec<Vec<(usize, u64)>> = vec![Vec::new(); jobs + problem.groups.len()];
        for (number, job) in problem.jobs.iter().enumerate() {
            for link in &job.after {
                let before = match link.on {
                    Predecessor::Job(before) => before,
                    Predecessor::Group(group) => jobs + group,
                };
                if let Some(next) = next.get_mut(before) {
                    next.push((number, millis(link.lag)));
                }
            }
        }
        for (number, groups) in groups.iter().enumerate() {
            if let Some(next) = next.get_mut(number) {
                next.extend(groups.iter().map(|group| (jobs + group, 0)));
            }
        }
        Self { problem, next }
    }

    /// All nodes, none before what it waits for, otherwise by their keys.
    fn sorted<K: Ord>(&self, key: impl Fn(usize) -> K) -> Result<Vec<usize>, InvalidProblem> {
        if self.next.iter().all(Vec::is_empty) {
            let mut sorted: Vec<usize> = (0..self.next.len()).collect();
            sorted.sort_by_cached_key(|node| key(*node));
            return Ok(sorted);
        }
        let mut open = vec![0_usize; self.next.len()];
        for (to, _) in self.next.iter().flatten() {
            if let Some(open) = open.get_mut(*to) {
                *open += 1;
            }
        }
        let free = open.iter().enumerate().filter(|(_, open)| **open == 0);
        let mut ready: BinaryHeap<_> = free.map(|(node, _)| Reverse((key(node), node))).collect();
        let mut sorted = Vec::with_capacity(self.next.len());
        while let Some(Reverse((_, node))) = ready.pop() {
            sorted.push(node);
            for (to, _) in self.next.get(node).into_iter().flatten() {
                let Some(open) = open.get_mut(*to) else {
                    continue;
                };
                *open -= 1;
                if *open == 0 {
                    ready.push(Reverse((key(*to), *to)));
                }
            }
        }
        if sorted.len() == self.next.len() { Ok(sorted) } else { Err(self.cycle(&open)) }
    }

    /// The visits of one cycle: follow the smallest of those that are still waited for, until one comes again.
    fn cycle(&self, open: &[usize]) -> InvalidProblem {
        let mut before: Vec<Option<usize>> = vec![None; self.next.len()];
        for (node, next) in self.next.iter().enumerate() {
            for (to, _) in next.iter().filter(|_| of(open, node) > 0) {
                if let Some(before) = before.get_mut(*to) {
                    before.get_or_insert(node);
                }
            }
        }
        let mut path = Vec::new();
        let mut at = open.iter().position(|open| *open > 0);
        while let Some(node) = at {
            if let Some(first) = path.iter().position(|seen| *seen == node) {
                path.drain(..first);
                break;
            }
            path.push(node);
            at = before.get(node).copied().flatten();
        }
        path.reverse();
        let jobs = path.iter().filter_map(|node| self.problem.jobs.get(*node));
        InvalidProblem::Cycle(jobs.map(|job| job.visit.clone()).collect())
    }

    /// When each job must be over for the sake of its deadline and of those that wait for it.
    fn due(&self, sorted: &[usize], deadline: impl Fn(&Job) -> Option<u64>) -> Vec<u64> {
        let mut due = vec![u64::MAX; self.next.len()];
        for node in sorted.iter().rev() {
            let own = self.problem.jobs.get(*node).and_then(&deadline).unwrap_or(u64::MAX);
            let mut least = own;
            for (to, lag) in self.next.get(*node).into_iter().flatten() {
                let length = self.problem.jobs.get(*to).map_or(0, Job::length);
                let latest = of(&due, *to);
                if latest < u64::MAX {
                    least = least.min(latest.saturating_sub(length).saturating_sub(*lag));
                }
            }
            if let Some(due) = due.get_mut(*node) {
                *due = least;
            }
        }
        due
    }
}

/// Looks whether a problem can be understood; returns the place of each job's visit among all names.
fn validate(problem: &Problem) -> Result<Vec<u32>, InvalidProblem> {
    let jobs = problem.jobs.len();
    let whole = |shape: &Shape| shape.permille.len() == Shape::HOURS;
    let known = problem.groups.iter().flat_map(|group| &group.jobs).all(|job| *job < jobs);
    if !known || !problem.shapes.iter().all(whole) {
        return Err(InvalidProblem::Malformed);
    }
    let mut visits: Vec<(&VisitId, usize)> =
        problem.jobs.iter().enumerate().map(|(number, job)| (&job.visit, number)).collect();
    visits.sort_unstable();
    if let Some([(twice, _), _]) = visits.array_windows().find(|[one, next]| one.0 == next.0) {
        return Err(InvalidProblem::Twice((*twice).clone()));
    }
    let mut names = vec![0; jobs];
    for (place, (_, number)) in visits.iter().enumerate() {
        if let Some(name) = names.get_mut(*number) {
            *name = u32::try_from(place).unwrap_or(u32::MAX);
        }
    }
    problem.jobs.iter().try_for_each(|job| validate_job(problem, job))?;
    Ok(names)
}

fn validate_job(problem: &Problem, job: &Job) -> Result<(), InvalidProblem> {
    let resources = problem.resources.len();
    let linked = job.after.iter().all(|link| match link.on {
        Predecessor::Job(number) => number < problem.jobs.len(),
        Predecessor::Group(number) => number < problem.groups.len(),
    });
    let demanded = job.demands.iter().all(|demand| {
        demand.resource < resources && demand.shape.is_none_or(|s| s < problem.shapes.len())
    });
    let supplied = job.supplies.iter().all(|supply| supply.resource < resources);
    if !(linked && demanded && supplied && job.calendar < problem.calendars.len()) {
        return Err(InvalidProblem::Dangling(job.visit.clone()));
    }
    let empty = job.demands.iter().any(|demand| {
        let (from, length) = job.part(demand);
        length == 0 || demand.amount == 0 || from.saturating_add(length) > job.length()
    });
    if empty || job.length() == 0 {
        return Err(InvalidProblem::Empty(job.visit.clone()));
    }
    Ok(())
}

/// The number at a place, zero beyond the end.
pub(super) fn of<N: Copy + Default>(numbers: &[N], place: usize) -> N {
    numbers.get(place).copied().unwrap_or_default()
}

fn names(visits: &[VisitId]) -> String {
    visits.iter().map(VisitId::as_str).collect::<Vec<_>>().join(", ")
}
