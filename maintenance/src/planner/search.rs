//! The search for a plan: keep, fill, mend, shift.

use protocol::Wall;

use super::board::{Bind, Board};
use super::explain::{binding, unplanned};
use super::ground::{Ground, of};
use super::plan::{Effort, Entry, Infeasible, Plan, PlanId};
use super::problem::millis;

#[derive(Debug)]
pub(super) struct Search<'g> {
    pub(super) ground: &'g Ground<'g>,
    pub(super) board: Board<'g>,
    /// What pushed each job to where it is, or what it did not fit last.
    pub(super) binds: Vec<Bind>,
    /// Which jobs are not moved any more.
    pub(super) stuck: Vec<bool>,
    /// Which jobs cannot be in time even if nobody else moves.
    pub(super) hopeless: Vec<bool>,
    /// Where each job was published.
    pub(super) published: &'g [Option<u64>],
    pub(super) effort: Effort,
    pub(super) probes: u64,
    pub(super) infeasible: Vec<Infeasible>,
}

impl<'g> Search<'g> {
    pub(super) fn new(
        ground: &'g Ground<'g>,
        published: &'g [Option<u64>],
        effort: &Effort,
    ) -> Self {
        let jobs = ground.problem.jobs.len();
        Self {
            ground,
            board: Board::new(ground),
            binds: vec![Bind::Free; jobs],
            stuck: vec![false; jobs],
            hopeless: vec![false; jobs],
            published,
            effort: *effort,
            probes: 0,
            infeasible: Vec::new(),
        }
    }

    /// The same search with nothing done.
    pub(super) fn like(&self) -> Self {
        let (ground, published) = (self.ground, self.published);
        let probes = self.probes;
        let (stuck, hopeless) = (self.stuck.clone(), self.hopeless.clone());
        Self { stuck, hopeless, probes, ..Self::new(ground, published, &self.effort) }
    }

    pub(super) fn run(&mut self, stop: &mut dyn FnMut() -> bool) {
        self.keep();
        self.fill(false);
        let mended = self.mend(stop);
        self.fill(true);
        // Whoever made room may have left some: a list alone leaves none.
        if mended || self.has_supplies() {
            self.shift();
        }
        self.suit(stop);
    }

    /// Puts fixed jobs where they are, and published ones where they were if they fit: first those that are soon.
    fn keep(&mut self) {
        for (number, job) in self.ground.problem.jobs.iter().enumerate() {
            if let Some(fixed) = job.fixed {
                self.stay(number, fixed.0);
                self.stick(number);
            }
        }
        let mut places: Vec<(u64, usize)> = Vec::new();
        for (number, start) in self.published.iter().enumerate() {
            let (Some(start), Some(job)) = (*start, self.ground.job(number)) else {
                continue;
            };
            if self.board.start(number).is_none() && self.board.is_open(job, start) {
                places.push((start, number));
            }
        }
        places.sort_unstable_by_key(|(start, number)| (*start, of(&self.ground.names, *number)));
        let frozen = self.ground.problem.from.0.saturating_add(millis(self.effort.frozen));
        self.board.place_all(&places);
        self.drop_unfit(&places);
        // Some went for the sake of others that went later: they stay after all.
        for (start, number) in &places {
            let waits = self.board.start(*number).is_none();
            let job = self.ground.job(*number).filter(|_| waits);
            if job.is_some_and(|job| self.board.fits(job, *start)) {
                self.board.place(*number, *start);
            }
            if self.board.start(*number).is_some() {
                self.told(*number, Bind::Kept);
                if *start < frozen {
                    self.stick(*number);
                }
            }
        }
    }

    /// Takes off what takes too much or starts before what it waits for is over, the latest first.
    fn drop_unfit(&mut self, places: &[(u64, usize)]) {
        let linked = places
            .iter()
            .any(|(_, number)| self.ground.job(*number).is_some_and(|job| !job.after.is_empty()));
        let mut changed = linked || self.board.has_overdrawn();
        while changed {
            changed = false;
            for (start, number) in places.iter().rev() {
                let placed = self.board.start(*number).is_some();
                let Some(job) = self.ground.job(*number).filter(|_| placed) else {
                    continue;
                };
                let waits = self.board.ready(job).is_none_or(|(ready, _)| ready > *start);
                if waits || self.board.is_overdrawn(job, *start) {
                    self.board.lift(*number);
                    changed = true;
                }
            }
        }
    }

    fn stay(&mut self, number: usize, start: u64) {
        self.board.place(number, start);
        self.told(number, Bind::Kept);
    }

    fn stick(&mut self, number: usize) {
        if let Some(stuck) = self.stuck.get_mut(number) {
            *stuck = true;
        }
    }

    pub(super) fn told(&mut self, number: usize, bind: Bind) {
        if let Some(slot) = self.binds.get_mut(number) {
            *slot = bind;
        }
    }

    /// Places all that waits, in order, each as early as it fits. Unless `late`, only if deadlines are kept.
    pub(super) fn fill(&mut self, late: bool) {
        loop {
            let mut progress = false;
            for number in &self.ground.order {
                if self.board.start(*number).is_none() {
                    progress |= self.insert(*number, late);
                }
            }
            // A place may be there now because somebody is done who was placed later.
            if !progress || !self.has_supplies() {
                return;
            }
        }
    }

    /// Places one job as early as it fits; unless `late`, only if deadlines are kept.
    pub(super) fn insert(&mut self, number: usize, late: bool) -> bool {
        let Some(job) = self.ground.job(number) else {
            return false;
        };
        let Some(ready) = self.board.ready(job) else {
            return false;
        };
        self.probes += 1;
        let latest = if late { u64::MAX } else { self.due(number) };
        match self.board.earliest(job, ready, latest.min(self.ground.problem.until.0)) {
            Ok((start, bind)) => {
                self.board.place(number, start);
                self.told(number, bind);
                true
            }
            Err(bind) => {
                self.told(number, bind);
                false
            }
        }
    }

    /// When a job must be over, so that it and all that waits for it are in time.
    pub(super) fn due(&self, number: usize) -> u64 {
        let own = self.ground.job(number).and_then(|job| job.deadline);
        own.map_or(u64::MAX, |deadline| deadline.at.0).min(of(&self.ground.due, number))
    }

    /// Moves everything that may move as early as it fits, but nothing to where it suits its host less.
    pub(super) fn shift(&mut self) {
        for _ in 0..SHIFTS {
            let mut placed: Vec<(u64, usize)> = (0..self.binds.len())
                .filter(|number| self.binds.get(*number).is_some_and(|bind| *bind != Bind::Kept))
                .filter_map(|number| Some((self.board.start(number)?, number)))
                .collect();
            placed
                .sort_unstable_by_key(|(start, number)| (*start, of(&self.ground.names, *number)));
            let mut moved = false;
            for (start, number) in placed {
                if self.shift_suited(number, start) {
                    moved |= self.board.start(number) != Some(start);
                    continue;
                }
                self.board.lift(number);
                // It fitted where it was; if it does not now, a supply of its own held it there.
                if !self.insert(number, true) {
                    self.board.place(number, start);
                }
                moved |= self.board.start(number) != Some(start);
            }
            if !moved {
                return;
            }
        }
    }

    pub(super) fn has_supplies(&self) -> bool {
        self.ground.problem.jobs.iter().any(|job| !job.supplies.is_empty())
    }

    pub(super) fn into_plan(mut self, lower_bound: Wall) -> Plan {
        let problem = self.ground.problem;
        let (mut entries, mut missing) = (Vec::with_capacity(problem.jobs.len()), Vec::new());
        let mut churn = 0;
        let mut order: Vec<(Option<u64>, u32, usize)> = (0..problem.jobs.len())
            .map(|number| (self.board.start(number), of(&self.ground.names, number), number))
            .collect();
        order.sort_unstable();
        for (start, _, number) in order {
            let Some(job) = self.ground.job(number) else {
                continue;
            };
            let published = self.published.get(number).copied().flatten();
            churn += usize::from(published.is_some() && published != start);
            let bind = self.binds.get(number).copied().unwrap_or(Bind::Free);
            let Some(start) = start else {
                missing.push(unplanned(self.ground, &self.board, job, bind));
                continue;
            };
            entries.push(Entry {
                visit: job.visit.clone(),
                host: job.host.clone(),
                start: Wall(start),
                end: Wall(start.saturating_add(job.length())),
                late: Ground::is_late(job, start),
                binding: binding(self.ground, job, start, bind),
                suits: self.suits(number, start),
            });
        }
        let plan = Plan {
            id: PlanId(0),
            from: problem.from,
            until: problem.until,
            entries,
            unplanned: missing,
            lower_bound,
            infeasible: self.infeasible,
            churn,
        };
        plan.named()
    }
}

/// How often everything is shifted at most.
const SHIFTS: usize = 4;
