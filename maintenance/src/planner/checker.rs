//! Judges plans by a sweep over events: other code than the planner's, sharing only the problem's types.

use std::collections::BTreeMap;

use protocol::Wall;

use super::plan::{Entry, Plan};
use super::problem::{HOUR_MS, Job, Predecessor, Problem, Resource, Shape, millis};
use super::suits::Suits;
use crate::Interval;
use crate::fleet::{Preferred, VisitId};

/// What is wrong with a plan; ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// A visit of the problem is neither planned nor reported as unplanned, or a planned one is not of the problem.
    #[error("visit {0} is missing, unknown or planned twice")]
    Roster(VisitId),
    /// An entry is of another host or of another length than its visit.
    #[error("visit {0} is of another host or length")]
    Mismatch(VisitId),
    /// A fixed visit was moved.
    #[error("visit {0} is fixed and was moved")]
    Moved(VisitId),
    /// It starts before it may.
    #[error("visit {0} starts too early")]
    TooEarly(VisitId),
    /// It ends beyond the horizon.
    #[error("visit {0} ends beyond the horizon")]
    Horizon(VisitId),
    /// It does not lie in one window.
    #[error("visit {0} does not lie in one window")]
    Window(VisitId),
    /// It touches a span that an exclusion forbids.
    #[error("visit {0} touches a frozen span")]
    Frozen(VisitId),
    /// It touches a span in which its host is held.
    #[error("visit {0} touches a span in which it is held")]
    Held(VisitId),
    /// It starts before what it waits for is over.
    #[error("visit {0} starts before what it waits for is over")]
    Order(VisitId),
    /// More is taken than there is.
    #[error("at {} ms, {taken} of {limit} are taken of resource {resource}", at.0)]
    Overdrawn {
        /// Which, by its place in the problem.
        resource: usize,
        /// When it begins.
        at: Wall,
        /// How much is taken.
        taken: i64,
        /// How much there is.
        limit: i64,
    },
    /// It says otherwise than it is how it stands to the times that its host prefers.
    #[error("visit {0} is told to suit its host, or not to, and it is not so")]
    Suits(VisitId),
    /// It says that a deadline is kept that is missed, or the other way round.
    #[error("visit {0} is told to be late or in time and is not")]
    Late(VisitId),
}

/// Looks at everything that a plan must hold.
///
/// # Errors
/// The first [`Breach`], in the order of its variants per visit, then per resource.
pub fn check(problem: &Problem, plan: &Plan) -> Result<(), Breach> {
    let starts = roster(problem, plan)?;
    for (job, start) in problem.jobs.iter().zip(&starts) {
        if let Some(start) = start {
            check_alone(problem, job, *start)?;
            check_order(problem, job, *start, &starts)?;
        }
    }
    let mut changes = vec![BTreeMap::new(); problem.resources.len()];
    for (job, start) in problem.jobs.iter().zip(&starts) {
        if let Some(start) = *start {
            note(problem, job, start, &mut changes);
        }
    }
    for ((number, resource), changes) in problem.resources.iter().enumerate().zip(changes) {
        sweep(number, resource, changes)?;
    }
    Ok(())
}

/// The start of each job, if the plan and the problem are about the same visits.
fn roster(problem: &Problem, plan: &Plan) -> Result<Vec<Option<u64>>, Breach> {
    let mut entries = BTreeMap::new();
    for entry in &plan.entries {
        if entries.insert(&entry.visit, entry).is_some() {
            return Err(Breach::Roster(entry.visit.clone()));
        }
    }
    let mut unplanned = BTreeMap::new();
    for visit in plan.unplanned.iter().map(|unplanned| &unplanned.visit) {
        if unplanned.insert(visit, ()).is_some() || entries.contains_key(visit) {
            return Err(Breach::Roster(visit.clone()));
        }
    }
    let mut starts = Vec::with_capacity(problem.jobs.len());
    for job in &problem.jobs {
        let Some(entry) = entries.remove(&job.visit) else {
            if unplanned.remove(&job.visit).is_none() || job.fixed.is_some() {
                return Err(Breach::Roster(job.visit.clone()));
            }
            starts.push(None);
            continue;
        };
        if entry.host != job.host || entry.end.0.checked_sub(entry.start.0) != Some(length(job)) {
            return Err(Breach::Mismatch(job.visit.clone()));
        }
        if entry.late != job.deadline.is_some_and(|deadline| entry.end > deadline.at) {
            return Err(Breach::Late(job.visit.clone()));
        }
        if !says_how_it_suits(job, entry) {
            return Err(Breach::Suits(job.visit.clone()));
        }
        starts.push(Some(entry.start.0));
    }
    match entries.keys().chain(unplanned.keys()).next() {
        Some(unknown) => Err(Breach::Roster((*unknown).clone())),
        None => Ok(starts),
    }
}

/// Whether an entry says what is so of the times that its host prefers, as far as that does not depend on others.
fn says_how_it_suits(job: &Job, entry: &Entry) -> bool {
    let inside = |it: &&Preferred| it.from <= entry.start && entry.end <= it.until;
    let costs = job.preferred.iter().filter(inside).map(|it| it.cost).min();
    let asked = !job.preferred.is_empty() && job.fixed.is_none();
    match entry.suits {
        None => !asked,
        Some(Suits::Cost(cost)) => asked && costs == Some(cost),
        Some(Suits::Important) => asked && costs.is_none() && job.insists,
        Some(Suits::Late | Suits::NoRoom) => asked && costs.is_none() && !job.insists,
    }
}

/// What a job must hold whatever the others do.
fn check_alone(problem: &Problem, job: &Job, start: u64) -> Result<(), Breach> {
    if let Some(fixed) = job.fixed {
        return if fixed.0 == start { Ok(()) } else { Err(Breach::Moved(job.visit.clone())) };
    }
    let end = start + length(job);
    if start < job.not_before.0.max(problem.from.0) {
        return Err(Breach::TooEarly(job.visit.clone()));
    }
    if end > problem.until.0 {
        return Err(Breach::Horizon(job.visit.clone()));
    }
    let calendar = problem.calendars.get(job.calendar);
    let windows = calendar.map_or(&[][..], |calendar| &calendar.windows);
    if !covered(windows, start, end) {
        return Err(Breach::Window(job.visit.clone()));
    }
    let touches = |span: &Interval| span.from.0 < end && start < span.to.0;
    if calendar.is_some_and(|calendar| calendar.frozen.iter().any(touches)) {
        return Err(Breach::Frozen(job.visit.clone()));
    }
    if job.holds.iter().any(|hold| touches(&hold.span)) {
        return Err(Breach::Held(job.visit.clone()));
    }
    Ok(())
}

/// Whether some of these spans cover a span together without a gap.
fn covered(spans: &[Interval], start: u64, end: u64) -> bool {
    let mut reached = start;
    loop {
        let holding = spans.iter().filter(|span| span.from.0 <= reached && reached < span.to.0);
        match holding.map(|span| span.to.0).max() {
            Some(to) if to >= end => return true,
            Some(to) => reached = to,
            None => return false,
        }
    }
}

/// Whether all that a job waits for is over.
fn check_order(
    problem: &Problem,
    job: &Job,
    start: u64,
    starts: &[Option<u64>],
) -> Result<(), Breach> {
    if job.fixed.is_some() {
        return Ok(());
    }
    let over = |number: usize| {
        let start = starts.get(number).copied().flatten()?;
        Some(start + length(problem.jobs.get(number)?))
    };
    for link in &job.after {
        let end = match link.on {
            Predecessor::Job(number) => over(number),
            Predecessor::Group(number) => {
                let group = problem.groups.get(number);
                let ends = group.into_iter().flat_map(|group| &group.jobs).map(|job| over(*job));
                // No members: over since ever. One that is not planned: never.
                ends.into_iter().try_fold(0, |latest, end| Some(end?.max(latest)))
            }
        };
        if end.is_none_or(|end| end + millis(link.lag) > start) {
            return Err(Breach::Order(job.visit.clone()));
        }
    }
    Ok(())
}

/// What changes at a moment, for one resource.
#[derive(Debug, Default, Clone, Copy)]
struct Change {
    taken: i64,
    movable: i64,
    supplied: i64,
}

/// Goes through all moments at which what is taken of a resource changes.
fn sweep(
    number: usize,
    resource: &Resource,
    mut changes: BTreeMap<u64, Change>,
) -> Result<(), Breach> {
    for (from, _) in resource.limits.iter().flat_map(|limit| limit.steps.iter()) {
        changes.entry(from.0).or_default();
    }
    let mut now = Change::default();
    for (at, change) in changes {
        now.taken += change.taken;
        now.movable += change.movable;
        now.supplied += change.supplied;
        let limit = resource.limits.iter().map(|limit| limit.steps.at(Wall(at))).min();
        let limit = limit.map_or(i64::MAX, |limit| limit.saturating_add(now.supplied));
        // What only fixed visits take cannot be helped.
        if now.movable > 0 && now.taken > limit {
            return Err(Breach::Overdrawn {
                resource: number,
                at: Wall(at),
                taken: now.taken,
                limit,
            });
        }
    }
    Ok(())
}

/// Notes what a job takes of each resource and gives to it.
fn note(problem: &Problem, job: &Job, start: u64, changes: &mut [BTreeMap<u64, Change>]) {
    for supply in &job.supplies {
        if let Some(changes) = changes.get_mut(supply.resource) {
            let end = start + length(job);
            changes.entry(end).or_default().supplied += i64::from(supply.amount);
        }
    }
    for demand in &job.demands {
        let Some(changes) = changes.get_mut(demand.resource) else {
            continue;
        };
        let shape = demand.shape.and_then(|shape| problem.shapes.get(shape));
        let (from, to) = match demand.part {
            Some(part) => (start + millis(part.from), start + millis(part.to)),
            None => (start, start + length(job)),
        };
        let mut at = from;
        while at < to {
            let next = shape.map_or(to, |_| (at / HOUR_MS + 1) * HOUR_MS).min(to);
            let amount = amount_at(demand.amount, shape, at);
            let movable = if job.fixed.is_none() { amount } else { 0 };
            for (moment, sign) in [(at, 1), (next, -1)] {
                let change = changes.entry(moment).or_default();
                change.taken += sign * amount;
                change.movable += sign * movable;
            }
            at = next;
        }
    }
}

fn amount_at(amount: u32, shape: Option<&Shape>, at: u64) -> i64 {
    let hour = usize::try_from((at / HOUR_MS + 72) % 168).unwrap_or(0);
    let factor = shape.and_then(|shape| shape.permille.get(hour)).map_or(1000, |f| i64::from(*f));
    (i64::from(amount) * factor + 999).div_euclid(1000)
}

fn length(job: &Job) -> u64 {
    millis(job.duration)
}
