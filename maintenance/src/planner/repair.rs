//! Missed deadlines: others make room.

use super::board::{Bind, Board, usable};
use super::ground::of;
use super::problem::Job;
use super::relax::{assign, prove};
use super::search::Search;

/// How bad it is that some have no place in time: hard deadlines, soft ones, both by priority, and how many in all.
type Missed = (u64, u64, usize);

impl<'g> Search<'g> {
    /// Looks for places in time for those that have none. First others move one by one; then, if hard deadlines are still
    /// missed, everything is laid out anew around a maximum flow, and if that does not help either, a proof is looked for.
    /// Says whether anything may have moved.
    pub(super) fn mend(&mut self, stop: &mut dyn FnMut() -> bool) -> bool {
        if !self.misses_deadlines() {
            return false;
        }
        let fixed = self.only_stuck();
        self.give_up(&fixed);
        if !self.misses_deadlines() {
            return false;
        }
        let members = self.members();
        self.make_room(&members, stop);
        if self.hopeful() == 0 || stop() {
            return true;
        }
        let starts = assign(self.ground, &fixed);
        let mut other = self.anew(fixed.clone(), &starts);
        other.make_room(&members, stop);
        let (ours, theirs) = (self.missed(), other.missed());
        if (theirs.0, theirs.1) < (ours.0, ours.1) {
            let Self { board, binds, .. } = other;
            (self.board, self.binds) = (board, binds);
        }
        if self.hopeful() > 0 {
            self.infeasible.extend(prove(self.ground, &fixed));
        }
        true
    }

    /// How many hard deadlines are missed by those that could keep them if they were alone.
    fn hopeful(&self) -> usize {
        let hard = |number: &usize| of(&self.ground.due, *number) < u64::MAX;
        (0..self.stuck.len()).filter(|number| self.is_missing(*number)).filter(hard).count()
    }

    /// What nobody may move.
    fn only_stuck(&self) -> Board<'g> {
        let mut board = Board::new(self.ground);
        let stuck = self.stuck.iter().enumerate().filter(|(_, stuck)| **stuck);
        let places: Vec<(u64, usize)> =
            stuck.filter_map(|(number, _)| Some((self.board.start(number)?, number))).collect();
        board.place_all(&places);
        board
    }

    /// The same search with these starts instead of what it has.
    fn anew(&self, board: Board<'g>, starts: &[(u64, usize)]) -> Self {
        let mut other = Self { board, binds: self.binds.clone(), ..self.like() };
        for (start, number) in starts {
            let job = self.ground.job(*number);
            if job.is_some_and(|job| other.board.fits(job, *start)) {
                other.board.place(*number, *start);
                other.told(*number, Bind::Window);
            }
        }
        // Whoever can stay where it was published stays.
        let mut published: Vec<(u64, u32, usize)> = Vec::new();
        for (number, start) in self.published.iter().enumerate() {
            let job = self.ground.job(number).filter(|_| other.board.start(number).is_none());
            if let (Some(start), Some(_)) = (*start, job) {
                published.push((start, of(&self.ground.names, number), number));
            }
        }
        published.sort_unstable();
        for (start, _, number) in published {
            if self.ground.job(number).is_some_and(|job| other.board.fits(job, start)) {
                other.board.place(number, start);
                other.told(number, Bind::Kept);
            }
        }
        other.fill(false);
        other
    }

    /// How bad it is that those have no place that have none.
    pub(super) fn missed(&self) -> Missed {
        let all = (0..self.stuck.len()).filter(|number| self.board.start(*number).is_none());
        all.fold((0, 0, 0), |sum, number| add(sum, self.weight(number)))
    }

    /// How bad it is if one job has no place.
    fn weight(&self, number: usize) -> Missed {
        let Some(job) = self.ground.job(number) else {
            return (0, 0, 0);
        };
        let weight = u64::from(job.priority) + 1;
        match job.deadline {
            Some(deadline) if deadline.hard => (weight, 0, 1),
            Some(_) => (0, weight, 1),
            None => (0, 0, 1),
        }
    }

    /// The jobs of each resource, by name.
    fn members(&self) -> Vec<Vec<usize>> {
        let mut members = vec![Vec::new(); self.ground.problem.resources.len()];
        let mut numbers: Vec<usize> = (0..self.ground.problem.jobs.len()).collect();
        numbers.sort_unstable_by_key(|number| of(&self.ground.names, *number));
        for number in numbers {
            for demand in self.ground.job(number).into_iter().flat_map(|job| &job.demands) {
                if let Some(members) = members.get_mut(demand.resource) {
                    members.push(number);
                }
            }
        }
        members
    }

    /// Takes others away where one that has no place could be, and puts them elsewhere, as long as there are probes left.
    fn make_room(&mut self, members: &[Vec<usize>], stop: &mut dyn FnMut() -> bool) {
        let mut random = Random(self.effort.seed);
        let last = self.probes.saturating_add(self.effort.probes);
        let mut missing = self.missing();
        let mut tries = 0;
        while self.probes < last && tries < TRIES * missing.len() && !stop() {
            let Some(number) = random.pick(&missing) else {
                return;
            };
            tries += 1;
            if self.squeeze(number, members, &mut random) {
                self.fill(false);
                missing = self.missing();
                tries = 0;
            }
        }
    }

    /// Who has a deadline, has no place and might have one; by name.
    fn missing(&self) -> Vec<usize> {
        let mut missing: Vec<usize> =
            (0..self.stuck.len()).filter(|n| self.is_missing(*n)).collect();
        missing.sort_unstable_by_key(|number| of(&self.ground.names, *number));
        missing
    }

    /// Notes who cannot be in time beside what nobody may move.
    fn give_up(&mut self, fixed: &Board<'_>) {
        for number in self.missing() {
            let Some(job) = self.ground.job(number) else {
                continue;
            };
            // What others give once they are done is not there yet.
            let given = |resource: usize| {
                let supplies = self.ground.problem.jobs.iter().flat_map(|job| &job.supplies);
                supplies.into_iter().any(|supply| supply.resource == resource)
            };
            let gains = self.has_supplies() && job.demands.iter().any(|d| given(d.resource));
            let ready = (self.ground.problem.from.0.max(job.not_before.0), Bind::Free);
            let hopeless = !gains && fixed.earliest(job, ready, self.due(number)).is_err();
            if let Some(slot) = self.hopeless.get_mut(number) {
                *slot = hopeless;
            }
        }
    }

    /// Whether anybody that could keep a deadline does not.
    fn misses_deadlines(&self) -> bool {
        (0..self.stuck.len()).any(|number| self.is_missing(number))
    }

    /// Whether a job with a deadline has no place and might have one.
    fn is_missing(&self, number: usize) -> bool {
        let Some(job) = self.ground.job(number).filter(|_| self.board.start(number).is_none())
        else {
            return false;
        };
        let due = self.due(number).min(self.ground.problem.until.0);
        job.deadline.is_some()
            && !of(&self.hopeless, number)
            && self.board.ready(job).is_some()
            && !usable(self.ground, job, due).is_empty()
    }

    /// Puts a job somewhere in time, and those that are in its way elsewhere. Undone if that does not help.
    fn squeeze(&mut self, number: usize, members: &[Vec<usize>], random: &mut Random) -> bool {
        let Some((job, start)) = self.target(number, members, random) else {
            return false;
        };
        let mut moved = Vec::new();
        while !self.board.fits(job, start) {
            let Some(victim) = self.victim(job, start, members, random) else {
                self.undo(&moved, None);
                return false;
            };
            let bind = self.binds.get(victim).copied().unwrap_or(Bind::Free);
            if let Some(stood) = self.board.lift(victim) {
                moved.push((victim, stood, bind));
            }
        }
        self.board.place(number, start);
        // The most urgent first: it has the least to choose from.
        let mut order: Vec<usize> = moved.iter().map(|(victim, ..)| *victim).collect();
        order.sort_by_key(|victim| (self.due(*victim), of(&self.ground.names, *victim)));
        let mut lost = (0, 0, 0);
        for victim in order {
            if !self.insert(victim, false) {
                lost = add(lost, self.weight(victim));
            }
        }
        if lost < self.weight(number) {
            self.told(number, Bind::Window);
            return true;
        }
        self.undo(&moved, Some(number));
        false
    }

    fn undo(&mut self, moved: &[(usize, u64, Bind)], placed: Option<usize>) {
        for number in moved.iter().map(|(number, ..)| *number).chain(placed) {
            self.board.lift(number);
        }
        for (number, start, bind) in moved {
            self.board.place(*number, *start);
            self.told(*number, *bind);
        }
    }

    /// A start for a job in time: where an opening begins, or where somebody stands who takes the same.
    fn target(
        &mut self,
        number: usize,
        members: &[Vec<usize>],
        random: &mut Random,
    ) -> Option<(&'g Job, u64)> {
        self.probes += 1;
        let job = self.ground.job(number)?;
        let ready = self.board.ready(job)?.0;
        let due = self.due(number).min(self.ground.problem.until.0);
        let spans = usable(self.ground, job, due);
        let (open, close) = *random.pick_ref(&spans)?;
        let latest = close.checked_sub(job.length())?;
        let first = open.max(ready);
        if random.below(4) == 0 {
            return (first <= latest).then_some((job, first));
        }
        let demand = random.pick_ref(&job.demands)?;
        let other = random.pick(members.get(demand.resource)?)?;
        let start = self.board.start(other)?.max(first);
        (start <= latest).then_some((job, start))
    }

    /// Somebody to take away, so that a job fits at a start: the one that has most time of those that take what is
    /// lacking.
    fn victim(
        &mut self,
        job: &Job,
        start: u64,
        members: &[Vec<usize>],
        random: &mut Random,
    ) -> Option<usize> {
        let lacking = job.demands.iter().find(|demand| {
            let (part, length) = job.part(demand);
            let from = start.saturating_add(part);
            let need = self.ground.need(demand);
            let line = self.board.timeline(demand.resource);
            line.is_some_and(|line| line.earliest(from, from, length, &need) != from)
        })?;
        let end = start.saturating_add(job.length());
        let movable = |number: &usize| {
            let stands = self.board.start(*number).zip(self.board.end(*number));
            let overlaps = stands.is_some_and(|(from, to)| from < end && start < to);
            overlaps
                && !of(&self.stuck, *number)
                && !of(&self.ground.followed, *number)
                && self.ground.job(*number).is_some_and(|job| job.supplies.is_empty())
        };
        let members = members.get(lacking.resource)?;
        let movable: Vec<usize> = members.iter().copied().filter(movable).collect();
        self.probes += 1;
        let latest = movable.iter().map(|number| self.due(*number)).max()?;
        // Among those with equally much time, any.
        let free: Vec<usize> =
            movable.into_iter().filter(|number| self.due(*number) == latest).collect();
        random.pick(&free)
    }
}

fn add(one: Missed, other: Missed) -> Missed {
    (one.0 + other.0, one.1 + other.1, one.2 + other.2)
}

/// Numbers that look random; the same seed, the same numbers.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let limit = u64::try_from(limit).unwrap_or(u64::MAX).max(1);
        usize::try_from((mixed ^ (mixed >> 31)) % limit).unwrap_or(0)
    }

    fn pick(&mut self, from: &[usize]) -> Option<usize> {
        self.pick_ref(from).copied()
    }

    fn pick_ref<'t, T>(&mut self, from: &'t [T]) -> Option<&'t T> {
        from.get(self.below(from.len()))
    }
}

/// How often each that has no place is tried without any success before the search ends.
const TRIES: usize = 100;
