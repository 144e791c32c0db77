//! What is left of one resource over time.

use super::problem::{HOUR_MS, Shape};

/// What is left of one resource, as steps in chunks that know their least and most, so that a search passes over
/// whole nights at once.
#[derive(Debug, Clone)]
pub(super) struct Timeline {
    chunks: Vec<Chunk>,
}

#[derive(Debug, Clone)]
struct Chunk {
    /// Never empty; each holds until the next, the last one of the last chunk for ever.
    steps: Vec<Step>,
    /// To be added to all of them.
    lift: i64,
    /// The least of the steps.
    least: i64,
    /// The most of the steps.
    most: i64,
}

#[derive(Debug, Clone, Copy)]
struct Step {
    at: u64,
    left: i64,
}

/// How much is needed at each moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Need<'p> {
    amount: i64,
    peak: i64,
    floor: i64,
    shape: Option<&'p Shape>,
}

impl<'p> Need<'p> {
    /// So much, by a shape with its greatest and least factor.
    pub(super) fn new(amount: u32, shape: Option<(&'p Shape, i64, i64)>) -> Self {
        let amount = i64::from(amount);
        let (peak, floor) = shape.map_or((amount, amount), |(_, peak, floor)| {
            (scale(amount, peak), scale(amount, floor))
        });
        Self { amount, peak, floor, shape: shape.map(|(shape, ..)| shape) }
    }

    /// How much is needed at a moment.
    pub(super) fn at(&self, at: u64) -> i64 {
        self.shape.map_or(self.amount, |shape| scale(self.amount, shape.at(at)))
    }

    /// The stretches of a span in which the need does not change.
    fn stretches(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64, i64)> {
        let changes = self.peak != self.floor;
        let mut at = from;
        std::iter::from_fn(move || {
            let start = at;
            let end = if changes { next_hour(start).min(to) } else { to };
            at = end;
            (start < end).then(|| (start, end, self.at(start)))
        })
    }
}

impl Timeline {
    /// So much from each of these moments on; they ascend and begin with the beginning of time.
    pub(super) fn new(steps: impl Iterator<Item = (u64, i64)>) -> Self {
        let mut steps: Vec<Step> = steps.map(|(at, left)| Step { at, left }).collect();
        steps.dedup_by(|later, earlier| later.left == earlier.left);
        if steps.is_empty() {
            steps.push(Step { at: 0, left: i64::MAX / 4 });
        }
        let chunks = steps.chunks(CHUNK).map(|part| Chunk::new(part.to_vec())).collect();
        Self { chunks }
    }

    /// By how much what is left changes when, if somebody takes what is needed from a span.
    pub(super) fn changes<'n>(
        from: u64,
        to: u64,
        need: &'n Need<'_>,
    ) -> impl Iterator<Item = (u64, i64)> + 'n {
        let stretches = need.stretches(from, to);
        stretches.flat_map(|(start, end, amount)| [(start, -amount), (end, amount)])
    }

    /// The sum of changes in any order, the first of which stands at the beginning of time.
    pub(super) fn sum(mut changes: Vec<(u64, i64)>) -> Self {
        changes.sort_unstable();
        let mut left = 0;
        let mut steps: Vec<(u64, i64)> = Vec::with_capacity(changes.len());
        for (at, change) in changes {
            left += change;
            match steps.last_mut() {
                Some(last) if last.0 == at => last.1 = left,
                Some(_) | None => steps.push((at, left)),
            }
        }
        Self::new(steps.into_iter())
    }

    /// The steps, from the beginning of time.
    pub(super) fn steps(&self) -> impl Iterator<Item = (u64, i64)> {
        let of = |chunk: &Chunk, step: &Step| (step.at, step.left + chunk.lift);
        self.chunks.iter().flat_map(move |chunk| chunk.steps.iter().map(move |s| of(chunk, s)))
    }

    /// Takes what is needed from a span.
    pub(super) fn take(&mut self, from: u64, to: u64, need: &Need<'_>) {
        for (start, end, amount) in need.stretches(from, to) {
            self.add(start, end, -amount);
        }
    }

    /// Gives it back.
    pub(super) fn give(&mut self, from: u64, to: u64, need: &Need<'_>) {
        for (start, end, amount) in need.stretches(from, to) {
            self.add(start, end, amount);
        }
    }

    /// Adds to what is left in a span.
    pub(super) fn add(&mut self, from: u64, to: u64, delta: i64) {
        if from >= to || delta == 0 {
            return;
        }
        let first = self.chunk_at(from);
        let next = self.chunks.get(first + 1).map_or(u64::MAX, Chunk::start);
        if to > next {
            self.add_across(from, to, delta);
            return;
        }
        // A span that ends where a chunk does has its end there.
        let end = (to < next).then_some(to);
        if let Some(chunk) = self.chunks.get_mut(first) {
            chunk.add_within(from, end, delta);
            if chunk.steps.len() > 2 * CHUNK {
                let later = chunk.split();
                self.chunks.insert(first + 1, later);
            }
        }
    }

    /// Adds to a span that more than one chunk has a part of.
    fn add_across(&mut self, from: u64, to: u64, delta: i64) {
        self.cut(to);
        let first = self.cut(from);
        for chunk in self.chunks.iter_mut().skip(first) {
            if chunk.start() >= to {
                break;
            }
            chunk.add(from, to, delta);
        }
        self.mend(to);
        self.mend(from);
    }

    /// The least that is ever left.
    pub(super) fn lowest(&self) -> i64 {
        self.chunks.iter().map(|chunk| chunk.least + chunk.lift).min().unwrap_or(i64::MAX)
    }

    /// The least that is left in a span.
    pub(super) fn least(&self, from: u64, to: u64) -> i64 {
        self.parts(from, to).map(|(.., left)| left).min().unwrap_or(i64::MAX)
    }

    /// What is left in a span, by milliseconds.
    pub(super) fn area(&self, from: u64, to: u64) -> u64 {
        let parts = self.parts(from, to).map(|(start, end, left)| {
            u64::try_from(left.max(0)).unwrap_or(0).saturating_mul(end - start)
        });
        parts.fold(0_u64, u64::saturating_add).min(u64::MAX / 4)
    }

    /// The steps within a span.
    fn parts(&self, from: u64, to: u64) -> impl Iterator<Item = (u64, u64, i64)> {
        let first = self.chunk_at(from);
        let chunks = self.chunks.iter().skip(first).take_while(move |chunk| chunk.start() < to);
        let steps =
            chunks.flat_map(|chunk| chunk.steps.iter().map(|s| (s.at, s.left + chunk.lift)));
        let mut steps = steps.peekable();
        std::iter::from_fn(move || {
            loop {
                let (at, left) = steps.next()?;
                let end = steps.peek().map_or(u64::MAX, |(next, _)| *next);
                if at < to && end > from {
                    return Some((at.max(from), end.min(to), left));
                }
            }
        })
    }

    /// Whether somebody has nothing left in a span.
    pub(super) fn is_overdrawn(&self, from: u64, to: u64) -> bool {
        let free = Need { amount: 0, peak: 0, floor: 0, shape: None };
        self.earliest(from, from, to.saturating_sub(from), &free) != from
    }

    /// The first moment from `from` on at which `length` milliseconds begin that have what is needed. The search
    /// ends beyond `latest`: what it returns then is only where it stopped.
    pub(super) fn earliest(&self, from: u64, latest: u64, length: u64, need: &Need<'_>) -> u64 {
        let mut start = from;
        let mut chunks = self.chunks.iter().skip(self.chunk_at(from)).peekable();
        while let Some(chunk) = chunks.next() {
            let end = chunks.peek().map_or(u64::MAX, |next| next.start());
            if start > latest || chunk.start() >= start.saturating_add(length) {
                break;
            }
            if chunk.least + chunk.lift >= need.peak {
                continue;
            }
            if chunk.most + chunk.lift < need.floor {
                start = start.max(end);
            } else {
                start = chunk.earliest(start, end, latest, length, need);
            }
        }
        start
    }

    /// The chunk that a moment lies in.
    fn chunk_at(&self, at: u64) -> usize {
        self.chunks.partition_point(|chunk| chunk.start() <= at).saturating_sub(1)
    }

    /// Makes a step begin at a moment; returns the chunk it is in.
    fn cut(&mut self, at: u64) -> usize {
        let mut position = self.chunk_at(at);
        let Some(chunk) = self.chunks.get_mut(position) else {
            return position;
        };
        chunk.place_of(at);
        if chunk.steps.len() > 2 * CHUNK {
            let later = chunk.split();
            let in_later = later.start() <= at;
            self.chunks.insert(position + 1, later);
            position += usize::from(in_later);
        }
        position
    }

    /// Drops a step that says what the one before it says.
    fn mend(&mut self, at: u64) {
        let position = self.chunk_at(at);
        if let Some(chunk) = self.chunks.get_mut(position) {
            chunk.mend(at);
        }
    }
}

impl Chunk {
    fn new(steps: Vec<Step>) -> Self {
        let mut chunk = Self { steps, lift: 0, least: 0, most: 0 };
        chunk.sum_up();
        chunk
    }

    fn start(&self) -> u64 {
        self.steps.first().map_or(0, |step| step.at)
    }

    fn sum_up(&mut self) {
        let (mut least, mut most) = (i64::MAX, i64::MIN);
        for step in &self.steps {
            least = least.min(step.left);
            most = most.max(step.left);
        }
        (self.least, self.most) = (least, most);
    }

    /// Goes on with [`Timeline::earliest`] through this chunk.
    fn earliest(&self, mut start: u64, end: u64, latest: u64, length: u64, need: &Need<'_>) -> u64 {
        let first = self.steps.partition_point(|step| step.at <= start).saturating_sub(1);
        let steps = self.steps.get(first..).unwrap_or_default();
        let ends = steps.iter().skip(1).map(|step| step.at).chain([end]);
        for (step, until) in steps.iter().zip(ends) {
            let left = step.left + self.lift;
            if step.at >= start.saturating_add(length) || start > latest {
                break;
            }
            if left >= need.peak || until <= start {
                continue;
            }
            if left < need.floor {
                start = until;
                continue;
            }
            // Only some hours of this span need more than is left.
            let mut at = start.max(step.at);
            while at < until.min(start.saturating_add(length)) && start <= latest {
                let hour_end = next_hour(at).min(until);
                if left < need.at(at) {
                    start = hour_end;
                }
                at = hour_end;
            }
        }
        start
    }

    fn add(&mut self, from: u64, to: u64, delta: i64) {
        let last = self.steps.last().map_or(0, |step| step.at);
        if self.start() >= from && last < to {
            // The last step ends where the next chunk starts, which is a cut if it is not beyond `to`.
            self.lift += delta;
            return;
        }
        for step in &mut self.steps {
            if step.at >= from && step.at < to {
                step.left += delta;
            }
        }
        self.sum_up();
    }

    /// Adds to a span that lies in this chunk; without an end, it ends with the chunk.
    fn add_within(&mut self, from: u64, to: Option<u64>, delta: i64) {
        let last = match to {
            Some(to) => self.place_of(to),
            None => self.steps.len(),
        };
        let length = self.steps.len();
        let first = self.place_of(from);
        // The cut at the start moved what is behind it.
        let last = last + (self.steps.len() - length);
        for step in self.steps.get_mut(first..last).unwrap_or_default() {
            step.left += delta;
        }
        self.mend_at(last);
        self.mend_at(first);
        self.sum_up();
    }

    /// The place of the step that begins at a moment; it does from now on.
    fn place_of(&mut self, at: u64) -> usize {
        let place = self.steps.partition_point(|step| step.at < at);
        let here = self.steps.get(place).is_some_and(|step| step.at == at);
        if !here && let Some(before) = place.checked_sub(1).and_then(|place| self.steps.get(place))
        {
            let left = before.left;
            self.steps.insert(place, Step { at, left });
        }
        place
    }

    fn split(&mut self) -> Self {
        let later = self.steps.split_off(self.steps.len() / 2);
        let later = Self { lift: self.lift, ..Self::new(later) };
        self.sum_up();
        later
    }

    fn mend(&mut self, at: u64) {
        let place = self.steps.partition_point(|step| step.at < at);
        if self.steps.get(place).is_some_and(|here| here.at == at) {
            self.mend_at(place);
        }
    }

    /// Drops the step at a place if it says what the one before it says.
    fn mend_at(&mut self, place: usize) {
        let here = self.steps.get(place);
        let before = place.checked_sub(1).and_then(|place| self.steps.get(place));
        if let (Some(here), Some(before)) = (here, before)
            && here.left == before.left
        {
            self.steps.remove(place);
        }
    }
}

fn scale(amount: i64, permille: i64) -> i64 {
    // Rounded up: a load is never made smaller than it is.
    (amount.saturating_mul(permille).saturating_add(999)) / 1000
}

fn next_hour(at: u64) -> u64 {
    (at / HOUR_MS + 1).saturating_mul(HOUR_MS)
}

/// How many steps a chunk has when it is new; at most twice as many.
const CHUNK: usize = 48;
