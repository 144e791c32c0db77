//! Which job stands where, and what that leaves of each resource.

use protocol::Wall;

use super::ground::{Ground, Span};
use super::problem::{Hold, Job, Limit, Predecessor, millis};
use super::timeline::Timeline;

/// What pushed a job to where it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bind {
    /// Nothing: it starts as soon as planning does.
    Free,
    /// It was asked for from then on.
    NotBefore,
    /// No window was open.
    Window,
    /// One of its holds.
    Hold(usize),
    /// A resource had not enough left.
    Resource {
        /// Which.
        number: usize,
        /// The last moment of that.
        at: u64,
    },
    /// One of the things it waits for.
    After(usize),
    /// Its host would rather have it there.
    Prefers,
    /// It is fixed, or stays where it was published.
    Kept,
}

/// The jobs that are placed, and what is left.
#[derive(Debug, Clone)]
pub(super) struct Board<'g> {
    ground: &'g Ground<'g>,
    timelines: Vec<Timeline>,
    starts: Vec<Option<u64>>,
    groups: Vec<Batch>,
}

/// How far a group is.
#[derive(Debug, Clone, Copy, Default)]
struct Batch {
    open: usize,
    end: u64,
}

impl<'g> Board<'g> {
    pub(super) fn new(ground: &'g Ground<'g>) -> Self {
        let resources = ground.problem.resources.iter();
        let batch = |jobs: &Vec<usize>| Batch { open: jobs.len(), end: 0 };
        Self {
            ground,
            timelines: resources.map(|resource| least_of(&resource.limits)).collect(),
            starts: vec![None; ground.problem.jobs.len()],
            groups: ground.problem.groups.iter().map(|group| batch(&group.jobs)).collect(),
        }
    }

    pub(super) fn start(&self, number: usize) -> Option<u64> {
        self.starts.get(number).copied().flatten()
    }

    /// When a job is over.
    pub(super) fn end(&self, number: usize) -> Option<u64> {
        Some(self.start(number)?.saturating_add(self.ground.job(number)?.length()))
    }

    pub(super) fn timeline(&self, resource: usize) -> Option<&Timeline> {
        self.timelines.get(resource)
    }

    /// Counts with other limits of one resource from now on; jobs stay where they are.
    pub(super) fn limit(&mut self, resource: usize, limits: &[Limit]) {
        let mut timeline = least_of(limits);
        for (number, job) in self.ground.problem.jobs.iter().enumerate() {
            let Some(start) = self.start(number) else {
                continue;
            };
            for demand in job.demands.iter().filter(|demand| demand.resource == resource) {
                let (part, length) = job.part(demand);
                let from = start.saturating_add(part);
                let to = from.saturating_add(length);
                timeline.take(from, to, &self.ground.need(demand));
            }
            for supply in job.supplies.iter().filter(|supply| supply.resource == resource) {
                let end = start.saturating_add(job.length());
                timeline.add(end, u64::MAX, i64::from(supply.amount));
            }
        }
        if let Some(slot) = self.timelines.get_mut(resource) {
            *slot = timeline;
        }
    }

    /// From when on a job may start, for the sake of itself and of what it waits for; `None` if that is not placed.
    pub(super) fn ready(&self, job: &Job) -> Option<(u64, Bind)> {
        let mut ready = (self.ground.problem.from.0, Bind::Free);
        if job.not_before.0 > ready.0 {
            ready = (job.not_before.0, Bind::NotBefore);
        }
        for (place, link) in job.after.iter().enumerate() {
            let end = match link.on {
                Predecessor::Job(number) => self.end(number)?,
                Predecessor::Group(number) => {
                    self.groups.get(number).filter(|batch| batch.open == 0)?.end
                }
            };
            let from = end.saturating_add(millis(link.lag));
            if from > ready.0 {
                ready = (from, Bind::After(place));
            }
        }
        Some(ready)
    }

    /// The first start from a moment on at which a job fits and is over by `latest_end`; with what the last thing
    /// was that it did not fit.
    ///
    /// # Errors
    /// What it did not fit last, if there is no such start.
    pub(super) fn earliest(
        &self,
        job: &Job,
        ready: (u64, Bind),
        latest_end: u64,
    ) -> Result<(u64, Bind), Bind> {
        self.earliest_in(self.ground.open_for(job), job, ready, latest_end)
    }

    /// The same in other open time than that of the job's calendar.
    ///
    /// # Errors
    /// What it did not fit last, if there is no such start.
    pub(super) fn earliest_in(
        &self,
        open: &[Span],
        job: &Job,
        ready: (u64, Bind),
        latest_end: u64,
    ) -> Result<(u64, Bind), Bind> {
        let length = job.length();
        let first = open.partition_point(|(_, close)| *close < ready.0.saturating_add(length));
        let mut probe = Probe { start: ready.0, bind: ready.1, length, first: 0 };
        for (open, close) in open.get(first..).unwrap_or_default() {
            let Some(latest) = (*close).min(latest_end).checked_sub(length) else {
                break;
            };
            if *open > latest {
                if latest_end <= *close {
                    break;
                }
                continue;
            }
            if *open > probe.start {
                probe.start = *open;
                probe.bind = match probe.bind {
                    Bind::Free | Bind::NotBefore | Bind::Window | Bind::Kept => Bind::Window,
                    told @ (Bind::Hold(_)
                    | Bind::Resource { .. }
                    | Bind::After(_)
                    | Bind::Prefers) => told,
                };
            }
            if probe.start <= latest && self.settle(job, latest, &mut probe) {
                return Ok((probe.start, probe.bind));
            }
        }
        Err(probe.bind)
    }

    /// Moves a probe on until the job fits; false once it is beyond `latest`.
    fn settle(&self, job: &Job, latest: u64, probe: &mut Probe) -> bool {
        loop {
            let before = probe.start;
            for (place, hold) in job.holds.iter().enumerate() {
                let end = probe.start.saturating_add(probe.length);
                if hold.span.from.0 < end && probe.start < hold.span.to.0 {
                    (probe.start, probe.bind) = (hold.span.to.0, Bind::Hold(place));
                }
            }
            // What did not fit last is asked first: most likely it does not fit again.
            let demands = job.demands.iter().enumerate().cycle().skip(probe.first);
            for (place, demand) in demands.take(job.demands.len()) {
                if probe.start > latest {
                    return false;
                }
                let Some(timeline) = self.timelines.get(demand.resource) else {
                    continue;
                };
                let (part, length) = job.part(demand);
                let from = probe.start.saturating_add(part);
                let need = self.ground.need(demand);
                let fit = timeline.earliest(from, latest.saturating_add(part), length, &need);
                if fit > from {
                    probe.start = fit.saturating_sub(part);
                    probe.bind =
                        Bind::Resource { number: demand.resource, at: fit.saturating_sub(1) };
                    probe.first = place;
                }
            }
            if probe.start > latest {
                return false;
            }
            if probe.start == before {
                return true;
            }
        }
    }

    /// Whether a job fits exactly there.
    pub(super) fn fits(&self, job: &Job, start: u64) -> bool {
        let end = start.saturating_add(job.length());
        self.ready(job).is_some_and(|(ready, _)| ready <= start)
            && self.earliest(job, (start, Bind::Free), end).is_ok_and(|(fit, _)| fit == start)
    }

    /// Whether a job may stand there by its calendar and its holds, whatever the others do.
    pub(super) fn is_open(&self, job: &Job, start: u64) -> bool {
        let end = start.saturating_add(job.length());
        let from = self.ground.problem.from.0.max(job.not_before.0);
        let touches = |hold: &Hold| hold.span.from.0 < end && start < hold.span.to.0;
        let open = self.ground.open_for(job);
        let next = open.partition_point(|(_, close)| *close < end);
        start >= from
            && open.get(next).is_some_and(|(open, _)| *open <= start)
            && !job.holds.iter().any(touches)
    }

    /// Whether a job takes something that is overdrawn.
    pub(super) fn is_overdrawn(&self, job: &Job, start: u64) -> bool {
        job.demands.iter().any(|demand| {
            let (part, length) = job.part(demand);
            let from = start.saturating_add(part);
            let to = from.saturating_add(length);
            self.timelines
                .get(demand.resource)
                .is_some_and(|line| line.lowest() < 0 && line.is_overdrawn(from, to))
        })
    }

    /// Whether anything is overdrawn.
    pub(super) fn has_overdrawn(&self) -> bool {
        self.timelines.iter().any(|timeline| timeline.lowest() < 0)
    }

    /// Puts many jobs somewhere at once, whether they fit or not.
    pub(super) fn place_all(&mut self, places: &[(u64, usize)]) {
        let lines = self.timelines.iter().map(|line| {
            let mut before = 0;
            let steps = line.steps();
            steps.map(|(at, left)| (at, left - std::mem::replace(&mut before, left))).collect()
        });
        let mut lines: Vec<Vec<(u64, i64)>> = lines.collect();
        for (start, number) in places {
            let (Some(job), Some(slot)) = (self.ground.job(*number), self.starts.get_mut(*number))
            else {
                continue;
            };
            *slot = Some(*start);
            let end = start.saturating_add(job.length());
            for demand in &job.demands {
                let (part, length) = job.part(demand);
                let from = start.saturating_add(part);
                let to = from.saturating_add(length);
                if let Some(line) = lines.get_mut(demand.resource) {
                    line.extend(Timeline::changes(from, to, &self.ground.need(demand)));
                }
            }
            for supply in &job.supplies {
                if let Some(line) = lines.get_mut(supply.resource) {
                    line.push((end, i64::from(supply.amount)));
                }
            }
            self.over(*number, end);
        }
        self.timelines = lines.into_iter().map(Timeline::sum).collect();
    }

    /// Puts a job somewhere, whether it fits or not.
    pub(super) fn place(&mut self, number: usize, start: u64) {
        let (Some(job), Some(slot)) = (self.ground.job(number), self.starts.get_mut(number)) else {
            return;
        };
        *slot = Some(start);
        let end = start.saturating_add(job.length());
        for demand in &job.demands {
            let (part, length) = job.part(demand);
            let from = start.saturating_add(part);
            if let Some(timeline) = self.timelines.get_mut(demand.resource) {
                timeline.take(from, from.saturating_add(length), &self.ground.need(demand));
            }
        }
        for supply in &job.supplies {
            if let Some(timeline) = self.timelines.get_mut(supply.resource) {
                timeline.add(end, u64::MAX, i64::from(supply.amount));
            }
        }
        self.over(number, end);
    }

    /// Tells a job's groups when it is over.
    fn over(&mut self, number: usize, end: u64) {
        for group in self.ground.groups.get(number).into_iter().flatten() {
            if let Some(batch) = self.groups.get_mut(*group) {
                batch.open = batch.open.saturating_sub(1);
                batch.end = batch.end.max(end);
            }
        }
    }

    /// Takes a job off the board; returns where it stood.
    pub(super) fn lift(&mut self, number: usize) -> Option<u64> {
        let job = self.ground.job(number)?;
        let start = self.starts.get_mut(number)?.take()?;
        let end = start.saturating_add(job.length());
        for demand in &job.demands {
            let (part, length) = job.part(demand);
            let from = start.saturating_add(part);
            if let Some(timeline) = self.timelines.get_mut(demand.resource) {
                timeline.give(from, from.saturating_add(length), &self.ground.need(demand));
            }
        }
        for supply in &job.supplies {
            if let Some(timeline) = self.timelines.get_mut(supply.resource) {
                timeline.add(end, u64::MAX, -i64::from(supply.amount));
            }
        }
        for group in self.ground.groups.get(number).into_iter().flatten() {
            self.reopen(*group, end);
        }
        Some(start)
    }

    fn reopen(&mut self, group: usize, end: u64) {
        let members = self.ground.problem.groups.get(group).into_iter().flat_map(|g| &g.jobs);
        let last = self.groups.get(group).is_some_and(|batch| batch.end == end);
        let latest = last.then(|| members.filter_map(|job| self.end(*job)).max().unwrap_or(0));
        if let Some(batch) = self.groups.get_mut(group) {
            batch.open += 1;
            batch.end = latest.unwrap_or(batch.end);
        }
    }
}

/// A start that is tried.
#[derive(Debug)]
struct Probe {
    start: u64,
    bind: Bind,
    length: u64,
    /// The demand to ask first.
    first: usize,
}

/// What several limits leave together.
pub(super) fn least_of(limits: &[Limit]) -> Timeline {
    let mut moments: Vec<Wall> =
        limits.iter().flat_map(|limit| limit.steps.iter().map(|(from, _)| from)).collect();
    moments.sort_unstable();
    moments.dedup();
    let least = |at: Wall| limits.iter().map(|limit| limit.steps.at(at)).min();
    Timeline::new(moments.into_iter().filter_map(|at| Some((at.0, least(at)?.clamp(-CAP, CAP)))))
}

/// The parts of open time that a job may use, whatever the others do.
pub(super) fn usable(ground: &Ground<'_>, job: &Job, until: u64) -> Vec<Span> {
    let from = job.not_before.0.max(ground.problem.from.0);
    let mut usable = Vec::new();
    for (open, close) in ground.open_for(job) {
        let mut spans = vec![((*open).max(from), (*close).min(until))];
        for hold in &job.holds {
            let cut = |(from, to): Span| {
                [(from, to.min(hold.span.from.0)), (from.max(hold.span.to.0), to)]
            };
            spans = spans.into_iter().flat_map(cut).filter(|(from, to)| from < to).collect();
        }
        usable.extend(spans.into_iter().filter(|(from, to)| from + job.length() <= *to));
    }
    usable
}

/// More than anything that is counted here.
const CAP: i64 = i64::MAX / 8;
