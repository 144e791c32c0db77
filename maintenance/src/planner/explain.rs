//! What a plan says about single visits, in reasons.

use protocol::Wall;

use super::board::{Bind, Board, usable};
use super::ground::{Ground, joined};
use super::plan::Unplanned;
use super::problem::{Job, Predecessor};
use super::reason::Reason;

/// What kept a job from an earlier start.
pub(super) fn binding(ground: &Ground<'_>, job: &Job, start: u64, bind: Bind) -> Option<Reason> {
    match bind {
        Bind::Free => None,
        Bind::NotBefore => Some(Reason::NotBefore),
        Bind::Window => Some(closed(ground, job, start)),
        Bind::Hold(place) => job.holds.get(place).map(|hold| hold.reason.clone()),
        Bind::Resource { number, at } => full(ground, number, at),
        Bind::After(place) => {
            let link = job.after.get(place)?;
            match link.on {
                Predecessor::Job(number) => {
                    let visit = ground.job(number)?.visit.clone();
                    Some(Reason::DependsOn { visit })
                }
                Predecessor::Group(number) => {
                    let batch = ground.problem.groups.get(number)?.name.clone();
                    Some(Reason::Soak { batch })
                }
            }
        }
        Bind::Prefers => Some(Reason::HostPrefers),
        Bind::Kept => Some(Reason::Published),
    }
}

/// The tightest limit of a resource at a moment.
pub(super) fn full(ground: &Ground<'_>, resource: usize, at: u64) -> Option<Reason> {
    let limits = &ground.problem.resources.get(resource)?.limits;
    let at = Wall(at);
    let tightest = limits.iter().min_by_key(|limit| (limit.steps.at(at), &limit.rule))?;
    Some(Reason::of_limit(&tightest.rule, tightest.steps.at(at)))
}

/// Why a job cannot start just before an opening.
fn closed(ground: &Ground<'_>, job: &Job, start: u64) -> Reason {
    let before = Wall(start.saturating_sub(1));
    let calendar = ground.problem.calendars.get(job.calendar);
    let frozen = calendar.is_some_and(|calendar| {
        let inside = |span: &crate::Interval| span.contains(before);
        calendar.windows.iter().any(inside) && calendar.frozen.iter().any(inside)
    });
    if frozen { Reason::Frozen } else { Reason::WindowClosed }
}

/// Why a job has no place.
pub(super) fn unplanned(
    ground: &Ground<'_>,
    board: &Board<'_>,
    job: &Job,
    bind: Bind,
) -> Unplanned {
    let mut reasons = impossible(ground, job);
    for link in &job.after {
        let waits = match link.on {
            Predecessor::Job(number) => board.start(number).is_none(),
            Predecessor::Group(number) => {
                let group = ground.problem.groups.get(number);
                group.is_some_and(|group| group.jobs.iter().any(|j| board.start(*j).is_none()))
            }
        };
        if waits {
            let place = job.after.iter().position(|other| other == link).unwrap_or(0);
            reasons.extend(binding(ground, job, 0, Bind::After(place)));
        }
    }
    if reasons.is_empty() {
        match bind {
            Bind::Resource { .. } | Bind::Hold(_) | Bind::After(_) => {
                reasons.extend(binding(ground, job, 0, bind));
            }
            Bind::Free | Bind::NotBefore | Bind::Window | Bind::Prefers | Bind::Kept => {}
        }
        reasons.push(Reason::Horizon);
    }
    reasons.sort();
    reasons.dedup();
    Unplanned { visit: job.visit.clone(), host: job.host.clone(), reasons }
}

/// Why a job could not be placed even if it were alone; empty if it could.
pub(super) fn impossible(ground: &Ground<'_>, job: &Job) -> Vec<Reason> {
    let until = ground.problem.until.0;
    if !usable(ground, job, until).is_empty() {
        return Vec::new();
    }
    let from = job.not_before.0.max(ground.problem.from.0);
    let fits = |(open, close): &(u64, u64)| (*open).max(from) + job.length() <= (*close).min(until);
    if ground.open_for(job).iter().any(fits) {
        let mut reasons: Vec<Reason> = job.holds.iter().map(|hold| hold.reason.clone()).collect();
        reasons.sort();
        reasons.dedup();
        return reasons;
    }
    let windows = ground.problem.calendars.get(job.calendar).map(|calendar| &calendar.windows);
    let windows = windows.map(|windows| joined(windows)).unwrap_or_default();
    if windows.iter().any(fits) {
        return vec![Reason::Frozen];
    }
    let length = |(open, close): &(u64, u64)| (*close).min(until).saturating_sub((*open).max(from));
    match windows.iter().map(length).max().unwrap_or(0) {
        0 => vec![Reason::NoWindow],
        longest_ms => vec![Reason::WindowTooShort { longest_ms, needed_ms: job.length() }],
    }
}
