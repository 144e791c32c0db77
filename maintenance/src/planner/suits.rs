//! What hosts prefer: once everybody has a place, visits move to where it suits their hosts best, if no deadline is missed by that.

use std::collections::BTreeSet;
use std::fmt;

use protocol::Wall;
use serde::{Deserialize, Serialize};

use super::board::{Bind, Board};
use super::ground::{Ground, Span, of};
use super::problem::{Job, Predecessor};
use super::search::Search;
use crate::fleet::Preferred;

/// How a visit stands to the times that its host prefers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Suits {
    /// It lies in one of them, of this cost; in several, of the least.
    Cost(u32),
    /// In none of them: it is too important to wait for one.
    Important,
    /// In none of them: its deadline would be missed in each that has room.
    Late,
    /// In none of them: no room was found there, for it and for those that wait for it.
    NoRoom,
}

impl Suits {
    /// Whether the plan overrules what the host prefers.
    pub const fn is_overruled(self) -> bool {
        !matches!(self, Self::Cost(_))
    }
}

impl fmt::Display for Suits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cost(cost) => write!(f, "host prefers this time, at cost {cost}"),
            Self::Important => {
                f.write_str("host prefers other times, which it is too important for")
            }
            Self::Late => f.write_str("host prefers other times, in which it would be late"),
            Self::NoRoom => f.write_str("host prefers other times, which have no room for it"),
        }
    }
}

impl Job {
    /// The least cost of what its host prefers that a start suits; none if it suits nothing.
    pub(super) fn cost_at(&self, start: u64) -> Option<u32> {
        let suits = |it: &&Preferred| it.holds(Wall(start), self.duration);
        self.preferred.iter().filter(suits).map(|it| it.cost).min()
    }

    /// Whether the planner heeds what its host prefers.
    pub(super) const fn heeds(&self) -> bool {
        !self.preferred.is_empty() && !self.insists && self.fixed.is_none()
    }
}

impl Board<'_> {
    /// The first start in the cheapest of what a job's host prefers and has room, over by `latest_end`, of those that cost no more
    /// than `most`.
    pub(super) fn cheapest(
        &self,
        open: &[Span],
        job: &Job,
        (ready, latest_end, most): (u64, u64, u32),
    ) -> Option<(u64, Bind)> {
        let mut costs: Vec<u32> = job.preferred.iter().map(|it| it.cost).collect();
        costs.retain(|cost| *cost <= most);
        costs.sort_unstable();
        costs.dedup();
        let of = |cost| move |it: &&Preferred| it.cost == cost;
        let mut found = costs.into_iter().filter_map(|cost| {
            self.first_of(open, job, job.preferred.iter().filter(of(cost)), (ready, latest_end))
        });
        found.next()
    }

    /// The first start in any of what a job's host prefers at such a cost, or at less.
    pub(super) fn first_preferred(
        &self,
        open: &[Span],
        job: &Job,
        (ready, latest_end, most): (u64, u64, u32),
    ) -> Option<(u64, Bind)> {
        let wanted = job.preferred.iter().filter(|it| it.cost <= most);
        self.first_of(open, job, wanted, (ready, latest_end))
    }

    /// The first start in any of these times, with what kept it last from an earlier one.
    fn first_of<'w>(
        &self,
        open: &[Span],
        job: &Job,
        wanted: impl Iterator<Item = &'w Preferred>,
        (ready, latest_end): (u64, u64),
    ) -> Option<(u64, Bind)> {
        let first_in = |wanted: &Preferred| {
            let inside =
                |(from, to): &Span| ((*from).max(wanted.from.0), (*to).min(wanted.until.0));
            let open: Vec<Span> = open.iter().map(inside).filter(|(from, to)| from < to).collect();
            let found = self.earliest_in(&open, job, (ready, Bind::Free), latest_end);
            let (start, bind) = found.ok()?;
            Some((start, if start == wanted.from.0 { Bind::Prefers } else { bind }))
        };
        wanted.filter_map(first_in).min_by_key(|(start, _)| *start)
    }
}

/// Who waits for whom, by the place in the order in which jobs are placed.
struct Followers {
    places: Vec<usize>,
    of_job: Vec<Vec<usize>>,
    of_group: Vec<Vec<usize>>,
}

impl Followers {
    fn new(ground: &Ground<'_>) -> Self {
        let (jobs, groups) = (ground.problem.jobs.len(), ground.problem.groups.len());
        let (mut of_job, mut of_group) = (vec![Vec::new(); jobs], vec![Vec::new(); groups]);
        for (number, job) in ground.problem.jobs.iter().enumerate() {
            for link in &job.after {
                let followers = match link.on {
                    Predecessor::Job(before) => of_job.get_mut(before),
                    Predecessor::Group(group) => of_group.get_mut(group),
                };
                followers.into_iter().for_each(|it| it.push(number));
            }
        }
        let mut places = vec![0; jobs];
        for (place, number) in ground.order.iter().enumerate() {
            places.get_mut(*number).into_iter().for_each(|it| *it = place);
        }
        Self { places, of_job, of_group }
    }

    /// All that wait for a job, and for those, in the order in which they are placed.
    fn of(&self, ground: &Ground<'_>, number: usize) -> Vec<usize> {
        let (mut found, mut groups) = (BTreeSet::new(), BTreeSet::new());
        let mut open = vec![number];
        while let Some(next) = open.pop() {
            let own = self.of_job.get(next).into_iter().flatten();
            let new = ground.groups.get(next).into_iter().flatten();
            let new: Vec<usize> = new.copied().filter(|group| groups.insert(*group)).collect();
            let waiting = new.iter().filter_map(|group| self.of_group.get(*group)).flatten();
            for follower in own.chain(waiting) {
                if found.insert((of(&self.places, *follower), *follower)) {
                    open.push(*follower);
                }
            }
        }
        found.into_iter().map(|(_, follower)| follower).collect()
    }
}

/// A job that was taken off the board: where it stood, and why there.
type Lifted = (usize, u64, Bind);

impl Search<'_> {
    /// Moves visits to where it suits their hosts, until none can be moved to where it suits better. No deadline that is kept is
    /// missed by that, none that is missed is missed by more, and nobody loses a place.
    pub(super) fn suit(&mut self, stop: &mut dyn FnMut() -> bool) {
        if !self.ground.problem.jobs.iter().any(Job::heeds) {
            return;
        }
        let followers = Followers::new(self.ground);
        for _ in 0..ROUNDS {
            let jobs = u64::try_from(self.stuck.len()).unwrap_or(u64::MAX);
            let mut moves = self.effort.probes.saturating_add(jobs.saturating_mul(MOVES));
            let mut moved = false;
            for number in &self.ground.order {
                if stop() {
                    return;
                }
                moved |= self.settle(*number, &followers, &mut moves);
            }
            if !moved {
                return;
            }
            self.shift();
            self.fill(true);
        }
    }

    /// Moves one job to where it suits its host better, with those that wait for it. Undone if that is not better for all of them
    /// together.
    fn settle(&mut self, number: usize, followers: &Followers, moves: &mut u64) -> bool {
        let (Some(job), Some(start)) = (self.ground.job(number), self.board.start(number)) else {
            return false;
        };
        let cost = job.cost_at(start);
        let most = match cost {
            Some(0) => return false,
            // What is soon stays where it suits at all.
            Some(_) if of(&self.stuck, number) => return false,
            Some(cost) => cost - 1,
            None => u32::MAX,
        };
        if !job.heeds() || !job.preferred.iter().any(|it| it.cost <= most) {
            return false;
        }
        let waiting = match of(&self.ground.followed, number) {
            true => followers.of(self.ground, number),
            false => Vec::new(),
        };
        let effort = u64::try_from(waiting.len() + 1).unwrap_or(u64::MAX);
        let Some(left) = moves.checked_sub(effort) else { return false };
        *moves = left;
        let lowest = self.lowest_given(number);
        let lifted = self.lift(std::iter::once(number).chain(waiting));
        let before = self.discontent(&lifted);
        let better = self.put_cheaper(number, start, most)
            && lifted.iter().skip(1).all(|stood| self.put_back(*stood))
            && self.discontent(&lifted) < before
            && self.lowest_given(number) >= lowest.min(0);
        if !better {
            for (number, ..) in &lifted {
                self.board.lift(*number);
            }
            for (number, start, bind) in lifted {
                self.board.place(number, start);
                self.told(number, bind);
            }
        }
        better
    }

    /// Takes jobs off the board, those that are not fixed and have a place.
    fn lift(&mut self, numbers: impl Iterator<Item = usize>) -> Vec<Lifted> {
        let mut lifted = Vec::new();
        for number in numbers {
            if self.ground.job(number).is_some_and(|job| job.fixed.is_some()) {
                continue;
            }
            let bind = self.binds.get(number).copied().unwrap_or(Bind::Free);
            lifted.extend(self.board.lift(number).map(|start| (number, start, bind)));
        }
        lifted
    }

    /// How little suits whom: how many jobs stand where it does not suit their hosts, and what the others cost.
    fn discontent(&self, jobs: &[Lifted]) -> (usize, u64) {
        let stands = |(number, start, _): &Lifted| {
            let job = self.ground.job(*number).filter(|job| job.heeds())?;
            Some(job.cost_at(self.board.start(*number).unwrap_or(*start)))
        };
        jobs.iter().filter_map(stands).fold((0, 0), |(outside, sum), cost| match cost {
            Some(cost) => (outside, sum + u64::from(cost)),
            None => (outside + 1, sum),
        })
    }

    /// The least that is left of anything that a job gives to once it is over.
    fn lowest_given(&self, number: usize) -> i64 {
        let supplies = self.ground.job(number).into_iter().flat_map(|job| &job.supplies);
        let lines = supplies.filter_map(|supply| self.board.timeline(supply.resource));
        lines.map(super::timeline::Timeline::lowest).min().unwrap_or(0)
    }

    /// When a job that stood there must be over: in time, or if it was late, no later.
    fn latest_from(&self, number: usize, start: u64) -> u64 {
        let length = self.ground.job(number).map_or(0, Job::length);
        let latest = self.due(number).max(start.saturating_add(length));
        latest.min(self.ground.problem.until.0)
    }

    fn put_cheaper(&mut self, number: usize, stood: u64, most: u32) -> bool {
        let Some(job) = self.ground.job(number) else { return false };
        let Some((ready, _)) = self.board.ready(job) else { return false };
        let when = (ready, self.latest_from(number, stood), most);
        let found = self.board.cheapest(self.ground.open_for(job), job, when);
        if let Some((start, bind)) = found {
            self.board.place(number, start);
            self.told(number, bind);
        }
        found.is_some()
    }

    /// Puts a job back where it stood, or else where it suits or fits best; one that is not to be moved only there.
    fn put_back(&mut self, (number, stood, bind): Lifted) -> bool {
        let Some(job) = self.ground.job(number) else { return false };
        if self.board.fits(job, stood) {
            self.board.place(number, stood);
            self.told(number, bind);
            return true;
        }
        if of(&self.stuck, number) {
            return false;
        }
        if job.heeds() && self.put_cheaper(number, stood, u32::MAX) {
            return true;
        }
        let Some(ready) = self.board.ready(job) else { return false };
        let latest = self.latest_from(number, stood);
        let Ok((start, bind)) = self.board.earliest(job, ready, latest) else { return false };
        self.board.place(number, start);
        self.told(number, bind);
        true
    }

    /// Moves a job that suits its host as early as it fits where it suits no less. False if it suits nothing.
    pub(super) fn shift_suited(&mut self, number: usize, start: u64) -> bool {
        let Some(job) = self.ground.job(number).filter(|job| job.heeds()) else { return false };
        let Some(most) = job.cost_at(start) else { return false };
        let bind = self.binds.get(number).copied().unwrap_or(Bind::Free);
        self.board.lift(number);
        let ready = self.board.ready(job).map_or(u64::MAX, |(ready, _)| ready);
        let when = (ready, start.saturating_add(job.length()), most);
        let found = self.board.first_preferred(self.ground.open_for(job), job, when);
        let (start, bind) = found.filter(|found| found.0 < start).unwrap_or((start, bind));
        self.board.place(number, start);
        self.told(number, bind);
        true
    }

    /// How a job that stands somewhere stands to what its host prefers.
    pub(super) fn suits(&mut self, number: usize, start: u64) -> Option<Suits> {
        let job = self.ground.job(number)?;
        if job.preferred.is_empty() || job.fixed.is_some() {
            return None;
        }
        if let Some(cost) = job.cost_at(start) {
            return Some(Suits::Cost(cost));
        }
        if job.insists {
            return Some(Suits::Important);
        }
        self.board.lift(number);
        let ready = self.board.ready(job).map_or(u64::MAX, |(ready, _)| ready);
        let (open, until) = (self.ground.open_for(job), self.ground.problem.until.0);
        let fits = |latest: u64| self.board.first_preferred(open, job, (ready, latest, u32::MAX));
        let late = fits(self.latest_from(number, start)).is_none() && fits(until).is_some();
        self.board.place(number, start);
        Some(if late { Suits::Late } else { Suits::NoRoom })
    }
}

/// How often everybody is looked at.
const ROUNDS: usize = 32;
/// How many jobs are moved at most in one round, for each that there is, beside what the effort allows.
const MOVES: u64 = 8;
