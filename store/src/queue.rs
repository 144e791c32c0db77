//! One session's queue: positions, sizes and ends, never bodies.

use std::collections::VecDeque;

use protocol::session::{DropReason, Drops, Full, QueueLimits, WhenFull};
use protocol::{Position, Refs};

use crate::Whole;
use crate::givers::Givers;
use crate::kept::Kept;
use crate::packed::Entry;

/// What a queue must know of its session, beside what waits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// How much may wait; `None` for what holds where nothing else is said.
    pub limits: Option<QueueLimits>,
    /// Whether a gateway serves it, which then is the one that makes room.
    pub owned: bool,
    /// What was sent is not dropped for others: the highest position that was.
    pub sent: Position,
}

impl Terms {
    /// Nothing is limited and nothing was sent.
    pub const NONE: Self = Self { limits: Some(QueueLimits::NONE), owned: true, sent: Position(0) };
}

/// One session's queue.
#[derive(Debug)]
pub(crate) struct Queue {
    /// Ascending by position.
    entries: VecDeque<Entry>,
    bytes: u64,
    /// Nothing up to here joins the queue any more: it did, or is acknowledged.
    last: u64,
    /// Everything up to here is acknowledged.
    trimmed: u64,
    limits: QueueLimits,
    owned: bool,
    /// Its session is over.
    buried: bool,
    sent: u64,
    reading: Option<Reading>,
    /// Entries up to here are on their way out of the queue, and nothing is handed out until they are. 0 if none are.
    leaving: u64,
    /// How often it was looked for since.
    looked: u32,
    full: Option<Full>,
    behind: bool,
    expiring: Option<Box<Expiring>>,
    drops: Option<Box<Drops>>,
    /// Which shared groups gave what waits, if any did.
    pub(crate) givers: Givers,
    /// What is acknowledged, of a session that may go back.
    kept: Option<Box<Kept>>,
}

/// Where the owner of an attached session stands.
#[derive(Debug)]
struct Reading {
    /// The last position that was handed out.
    seen: u64,
    /// How many more may be handed out.
    credit: u32,
}

/// Entries that end, with the second in which they do; also some that left the queue before.
#[derive(Debug, Default)]
struct Expiring {
    ends: Vec<(u32, u64)>,
    /// Of what was not sent, no end is before this second.
    next: u32,
}

/// With this many waiting a session is behind; it keeps up again with a quarter of that.
const BEHIND: usize = 1024;
/// Room for this many entries is never given back.
const SMALL: usize = 32;
/// As often what is on its way out of a queue is looked for before it is told again.
pub(crate) const PATIENCE: u32 = 3;
/// Runs of ended messages that leave a queue at once.
const RUNS: usize = 256;

/// Messages that are to leave a queue, with why: those behind the first position, up to and with the second.
pub(crate) type Leaving = (DropReason, Position, Position);

impl Queue {
    pub(crate) const fn new(limits: QueueLimits) -> Self {
        Self {
            entries: VecDeque::new(),
            bytes: 0,
            last: 0,
            trimmed: 0,
            limits,
            owned: false,
            buried: false,
            sent: 0,
            reading: None,
            leaving: 0,
            looked: 0,
            full: None,
            behind: false,
            expiring: None,
            drops: None,
            givers: Givers::NONE,
            kept: None,
        }
    }

    pub(crate) fn set_terms(&mut self, terms: &Terms, default: QueueLimits) {
        if self.buried {
            return;
        }
        self.limits = terms.limits.unwrap_or(default);
        if self.owned != terms.owned {
            // Somebody else looks after it now, and what was written for the one before does not count.
            self.leaving = 0;
        }
        self.owned = terms.owned;
        let spared = self.spared();
        self.sent = terms.sent.0;
        self.look_again(spared);
    }

    /// Its session is over: of what shared groups gave it, what `holds` says stays until others have it, and no limit holds for
    /// that; the rest is nobody's.
    pub(crate) fn bury(&mut self, holds: impl Fn(Position) -> bool) {
        let last = self.last;
        let mut entries = std::mem::take(&mut self.entries);
        entries
            .retain(|entry| Refs::is_returned(entry.flags()) && holds(Position(entry.position())));
        let bytes = entries.iter().map(|entry| entry.bytes()).sum();
        let givers = std::mem::take(&mut self.givers);
        *self = Self { entries, bytes, last, givers, buried: true, ..Self::new(QueueLimits::NONE) };
    }

    /// Whether something with these flags may join it: once its session is over, only what goes back to a group.
    pub(crate) const fn takes(&self, flags: u8) -> bool {
        !self.buried || Refs::is_returned(flags)
    }

    pub(crate) const fn entries(&self) -> &VecDeque<Entry> {
        &self.entries
    }

    /// What waits behind a position.
    pub(crate) fn behind(&self, position: u64) -> impl Iterator<Item = &Entry> {
        let from = self.entries.partition_point(|entry| entry.position() <= position);
        self.entries.range(from..)
    }

    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) const fn last(&self) -> u64 {
        self.last
    }

    pub(crate) const fn limits(&self) -> QueueLimits {
        self.limits
    }

    pub(crate) const fn full(&self) -> Option<Full> {
        self.full
    }

    pub(crate) fn drops(&self) -> Drops {
        self.drops.as_deref().copied().unwrap_or_default()
    }

    /// Keeps what is acknowledged from now on, or forgets it.
    pub(crate) fn keep(&mut self, may_go_back: bool) {
        if may_go_back != self.kept.is_some() {
            self.kept = may_go_back.then(Box::default);
        }
    }

    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.kept.as_deref()
    }

    pub(crate) fn kept_mut(&mut self) -> Option<&mut Kept> {
        self.kept.as_deref_mut()
    }

    /// How much of it is still there; `None` if its session may not go back.
    pub(crate) fn whole(&self, start: u64, newest: u64) -> Option<Whole> {
        let ends = (self.trimmed, newest);
        Some(self.kept.as_ref()?.whole(start, self.full.is_some(), ends))
    }

    /// What was acknowledged before it was read is kept all the same.
    pub(crate) fn keep_acknowledged(&mut self, entry: Entry, max_kept: usize) {
        if let Some(kept) = &mut self.kept
            && entry.position() <= self.trimmed
        {
            kept.push(entry, max_kept);
        }
    }

    /// Whether its reader went back to something that is gone since.
    pub(crate) fn is_overtaken(&self) -> bool {
        let seen = self.reading.as_ref().map_or(u64::MAX, |reading| reading.seen);
        self.kept.as_ref().is_some_and(|kept| kept.gone() > seen)
    }

    /// Whether everything in it was handed out to its reader.
    pub(crate) fn is_all_read(&self) -> bool {
        self.reading.as_ref().is_some_and(|reading| self.newest() <= reading.seen)
    }

    /// The newest position in it, which may be one that is kept.
    fn newest(&self) -> u64 {
        let waits = self.entries.back().map_or(0, |newest| newest.position());
        waits.max(self.kept.as_ref().map_or(0, |kept| kept.last()))
    }

    pub(crate) const fn is_owned(&self) -> bool {
        self.owned
    }

    pub(crate) const fn is_read(&self) -> bool {
        self.reading.is_some()
    }

    pub(crate) fn read(&mut self, reading: Option<(Position, u32)>) {
        let spared = self.spared();
        self.reading = reading.map(|(after, credit)| Reading { seen: after.0, credit });
        self.leaving = 0;
        self.look_again(spared);
    }

    /// Queues one publication; true if it goes out at once.
    pub(crate) fn add(&mut self, entry: Entry, end: Option<u32>) -> bool {
        let waits = self.newest();
        let position = entry.position();
        self.entries.push_back(entry);
        self.bytes += entry.bytes();
        self.last = position;
        if let Some(second) = end.filter(|_| !self.buried) {
            self.note_end(second, position);
        }
        let Some(reading) = &mut self.reading else { return false };
        if waits > reading.seen || position <= reading.seen || reading.credit == 0 {
            return false;
        }
        reading.seen = position;
        reading.credit -= 1;
        true
    }

    /// Adds credit and takes what waits, oldest first, as far as the credit goes; before it what is kept, if the reader went
    /// back.
    pub(crate) fn pull(&mut self, credit: u32, out: &mut Vec<(Position, u8)>) {
        let Some(reading) = &mut self.reading else { return };
        reading.credit = reading.credit.saturating_add(credit);
        if self.leaving != 0 {
            return;
        }
        let seen = reading.seen;
        let from = self.entries.partition_point(|entry| entry.position() <= seen);
        let max = usize::try_from(reading.credit).unwrap_or(usize::MAX);
        let kept = self.kept.iter().flat_map(|kept| kept.behind(seen));
        for entry in kept.chain(self.entries.range(from..)).take(max) {
            reading.seen = entry.position();
            reading.credit -= 1;
            out.push((Position(entry.position()), entry.flags()));
        }
    }

    /// Everything up to here is acknowledged.
    pub(crate) fn trim(&mut self, up_to: u64, max_kept: usize) {
        self.last = self.last.max(up_to);
        self.trimmed = self.trimmed.max(up_to);
        if let Some(kept) = &mut self.kept {
            let gone = self.entries.partition_point(|entry| entry.position() <= up_to);
            self.entries.range(..gone).for_each(|entry| kept.push(*entry, max_kept));
        }
        self.cut(0, up_to);
    }

    /// Messages leave the queue undelivered; answers how many.
    pub(crate) fn leave(&mut self, reason: DropReason, after: u64, up_to: u64) -> u64 {
        let gone = self.cut(after, up_to);
        self.count_drops(reason, gone);
        // What has ended nobody should get. What is acknowledged meanwhile, or was when the log is read anew, is missed all
        // the same by a client that goes back.
        if reason != DropReason::Expired
            && let Some(kept) = &mut self.kept
            && (gone > 0 || kept.behind(after).next().is_some_and(|e| e.position() <= up_to))
        {
            kept.note_gap(up_to);
        }
        gone
    }

    pub(crate) fn count_drops(&mut self, reason: DropReason, count: u64) {
        if count > 0 {
            self.drops.get_or_insert_default().add(reason, count);
        }
    }

    /// Takes out what lies behind `after`, up to and with `up_to`.
    fn cut(&mut self, after: u64, up_to: u64) -> u64 {
        if self.leaving <= up_to {
            self.leaving = 0;
        }
        let from = self.entries.partition_point(|entry| entry.position() <= after);
        let to = self.entries.partition_point(|entry| entry.position() <= up_to).max(from);
        self.bytes -= self.entries.range(from..to).map(|entry| entry.bytes()).sum::<u64>();
        self.entries.drain(from..to);
        let room = self.entries.capacity();
        if room > SMALL && room / 4 >= self.entries.len() {
            self.entries.shrink_to((self.entries.len() * 2).max(SMALL));
        }
        self.forget_ends();
        self.givers.forget(self.entries.iter().map(|entry| entry.position()));
        (to - from) as u64
    }

    /// Looks whether it is full now; says whether that is news. What came up to `newest` while it was full it has missed.
    pub(crate) fn refresh_full(&mut self, newest: u64) -> bool {
        let (count, limits) = (self.entries.len(), &self.limits);
        let rejects = match limits.when_full {
            WhenFull::Reject => Some(true),
            WhenFull::DropNew => Some(false),
            // There is always room for the newest.
            WhenFull::DropOldest => None,
        };
        let before = self.full.filter(|_| !limits.is_open_again(count, self.bytes));
        // Why it became full says why it still is.
        let reason = before.map(|full| full.reason).or_else(|| limits.reached(count, self.bytes));
        let now = reason.zip(rejects).map(|(reason, rejects)| Full { reason, rejects });
        let before = std::mem::replace(&mut self.full, now);
        if before.is_some()
            && now.is_none()
            && let Some(kept) = &mut self.kept
        {
            kept.note_gap(newest);
        }
        before != now
    }

    /// Whether so much waits that shared groups should choose others, if that is news.
    pub(crate) fn take_pace(&mut self) -> Option<bool> {
        let behind = match self.behind {
            false => self.entries.len() >= BEHIND,
            true => self.entries.len() >= BEHIND / 4,
        };
        (std::mem::replace(&mut self.behind, behind) != behind).then_some(behind)
    }

    /// Whether more waits than may, and the oldest must make room.
    pub(crate) fn overflows(&self) -> bool {
        self.limits.when_full == WhenFull::DropOldest
            && self.limits.exceeded(self.entries.len(), self.bytes).is_some()
    }

    /// Whether so much more waits than may that room must be made at once: beyond the limit by an eighth, and by 16 of its
    /// messages at least.
    pub(crate) fn overflows_far(&self) -> bool {
        let (limits, count) = (&self.limits, self.entries.len() as u64);
        let (max, max_bytes) = (u64::from(limits.messages), limits.bytes);
        let beyond = self.bytes.saturating_sub(max_bytes);
        let by_bytes = beyond > max_bytes / 8 && beyond.saturating_mul(count) > self.bytes * 16;
        self.overflows() && (count.saturating_sub(max) > (max / 8).max(16) || by_bytes)
    }

    /// What must leave to make room: the oldest that were not sent, and never the newest of all.
    pub(crate) fn overflow(&self) -> Option<Leaving> {
        if !self.overflows() {
            return None;
        }
        let spared = self.spared();
        let from = self.entries.partition_point(|entry| entry.position() <= spared);
        let (mut count, mut bytes) = (self.entries.len(), self.bytes);
        let mut leaving = None;
        for entry in self.entries.range(from..self.entries.len().saturating_sub(1).max(from)) {
            let Some(reason) = self.limits.exceeded(count, bytes) else { break };
            count -= 1;
            bytes -= entry.bytes();
            let (first, _) = leaving.unwrap_or((reason, 0));
            leaving = Some((first, entry.position()));
        }
        leaving.map(|(reason, up_to)| (reason, Position(spared), Position(up_to)))
    }

    /// The same, to be written down: what leaves is not handed out meanwhile. Nothing while something leaves.
    pub(crate) fn begin_overflow(&mut self) -> Option<Leaving> {
        let leaving = if self.leaving == 0 { self.overflow() } else { None };
        self.note_leaving(leaving.as_slice());
        leaving
    }

    /// What ended, by the second that has passed: not what was sent, whose exchange goes on.
    pub(crate) fn begin_expiry(&mut self, now: u32) -> Vec<Leaving> {
        let spared = self.spared();
        let Some(expiring) = &mut self.expiring else { return Vec::new() };
        if expiring.next > now {
            return Vec::new();
        }
        let at = |position: u64| self.entries.binary_search_by_key(&position, |e| e.position());
        expiring.ends.retain(|(_, position)| at(*position).is_ok());
        let unsent = || expiring.ends.iter().filter(|(_, position)| *position > spared);
        // What was sent stays until it is acknowledged: nobody waits for its end.
        let next = unsent().map(|(second, _)| *second).min().unwrap_or(u32::MAX);
        let due = unsent().filter(|(second, _)| *second <= now);
        let mut places: Vec<(usize, u64)> =
            due.filter_map(|(_, position)| Some((at(*position).ok()?, *position))).collect();
        places.sort_unstable();
        expiring.next = next;
        let mut runs: Vec<(usize, u64, u64)> = Vec::new();
        for (place, position) in places {
            let more = runs.len() < RUNS;
            match runs.last_mut() {
                Some((last, _, up_to)) if *last + 1 == place => {
                    (*last, *up_to) = (place, position);
                }
                Some(_) | None if more => runs.push((place, position - 1, position)),
                Some(_) | None => break,
            }
        }
        let reason = DropReason::Expired;
        let runs: Vec<Leaving> =
            runs.into_iter().map(|(_, a, u)| (reason, Position(a), Position(u))).collect();
        self.note_leaving(&runs);
        runs
    }

    /// Ends that [`Self::begin_expiry`] would look at.
    pub(crate) fn due_ends(&self, now: u32) -> usize {
        let due = self.expiring.as_ref().filter(|expiring| expiring.next <= now);
        due.map_or(0, |expiring| expiring.ends.len())
    }

    /// Whether messages with an end wait, or some are on their way out or should be: all are looked after now and then.
    pub(crate) fn wants_care(&self) -> bool {
        self.expiring.is_some() || self.leaving != 0 || self.overflows()
    }

    /// Whether something is on its way out. What does not get there in a while is looked at anew: it may be lost.
    pub(crate) fn waits(&mut self) -> bool {
        if self.leaving == 0 {
            return false;
        }
        self.looked += 1;
        if self.looked >= PATIENCE {
            self.leaving = 0;
        }
        self.leaving != 0
    }

    /// Of what was handed out up to `spared`, some may not be any more, and may have ended meanwhile.
    fn look_again(&mut self, spared: u64) {
        let less = self.spared() < spared;
        if let Some(expiring) = self.expiring.as_mut().filter(|_| less) {
            expiring.next = 0;
        }
    }

    fn note_leaving(&mut self, leaving: &[Leaving]) {
        if let Some((.., up_to)) = leaving.last() {
            (self.leaving, self.looked) = (up_to.0, 0);
        }
    }

    /// Up to here messages have been sent, or handed to who sends them, or are acknowledged.
    fn spared(&self) -> u64 {
        let seen = self.reading.as_ref().map_or(0, |reading| reading.seen);
        seen.max(self.sent).max(self.trimmed)
    }

    fn note_end(&mut self, second: u32, position: u64) {
        let expiring = self.expiring.get_or_insert_default();
        let alone = expiring.ends.is_empty();
        expiring.next = if alone { second } else { expiring.next.min(second) };
        expiring.ends.push((second, position));
    }

    /// Forgets the ends of what is gone, when most are.
    fn forget_ends(&mut self) {
        let Some(expiring) = &mut self.expiring else { return };
        if self.entries.is_empty() {
            self.expiring = None;
        } else if expiring.ends.len() > self.entries.len() * 2 + SMALL {
            let here = |position: u64| {
                self.entries.binary_search_by_key(&position, |e| e.position()).is_ok()
            };
            expiring.ends.retain(|(_, position)| here(*position));
            let left = expiring.ends.len();
            expiring.ends.shrink_to(left * 2);
            if left == 0 {
                self.expiring = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Outline;

    fn entry(position: u64, bytes: u32) -> Entry {
        Entry::new(position, Outline { bytes, expires_at: None })
    }

    fn oldest(messages: u32, bytes: u64) -> QueueLimits {
        QueueLimits { messages, bytes, when_full: WhenFull::DropOldest }
    }

    #[test]
    fn the_oldest_that_was_not_sent_makes_room_and_the_newest_always_has_some() {
        let mut queue = Queue::new(oldest(4, 50));
        queue.set_terms(&Terms { limits: None, owned: false, sent: Position(2) }, oldest(4, 50));
        for at in 1..=6 {
            queue.add(entry(at, 5), None);
        }
        let (reason, after, up_to) = queue.overflow().unwrap();
        assert_eq!((reason, after, up_to), (DropReason::QueueCount, Position(2), Position(4)));
        assert_eq!(queue.leave(reason, after.0, up_to.0), 2);
        assert!(queue.overflow().is_none());
        queue.add(entry(7, 100), None);
        let (reason, after, up_to) = queue.overflow().unwrap();
        assert_eq!((reason, after, up_to), (DropReason::QueueCount, Position(2), Position(6)));
        queue.leave(reason, after.0, up_to.0);
        let left: Vec<u64> = queue.entries().iter().map(|e| e.position()).collect();
        assert_eq!((left, queue.bytes()), (vec![1, 2, 7], 110));
        assert!(queue.overflow().is_none(), "what was sent stays, and so does the newest");
        assert_eq!(queue.drops().iter().next(), Some((DropReason::QueueCount, 4)));
    }

    #[test]
    fn nothing_is_handed_out_while_something_leaves_and_it_leaves_once() {
        let mut queue = Queue::new(oldest(3, 1 << 20));
        queue.read(Some((Position(0), 2)));
        assert!(queue.add(entry(1, 1), None) && queue.add(entry(2, 1), None));
        (3..=6).for_each(|at| assert!(!queue.add(entry(at, 1), None)));
        let leaving = queue.begin_overflow().unwrap();
        assert_eq!(leaving, (DropReason::QueueCount, Position(2), Position(5)));
        assert!(queue.begin_overflow().is_none() && queue.wants_care());
        let mut out = Vec::new();
        queue.pull(5, &mut out);
        assert_eq!(out, []);
        assert!((1..PATIENCE).all(|_| queue.waits()), "it is told once");
        assert!(!queue.waits());
        assert_eq!(queue.begin_overflow(), Some(leaving));
        queue.leave(leaving.0, 2, 5);
        queue.pull(0, &mut out);
        assert_eq!((out, queue.wants_care()), (vec![(Position(6), 0)], false));
    }

    #[test]
    fn what_ended_leaves_in_runs_and_its_room_is_given_back() {
        let mut queue = Queue::new(QueueLimits { messages: 6, ..QueueLimits::NONE });
        for (at, end) in [(1, 5), (2, 5), (3, 9), (4, 5), (5, 9), (6, 5)] {
            queue.add(entry(at, 10), Some(end));
        }
        queue.set_terms(
            &Terms { limits: Some(queue.limits()), owned: false, sent: Position(1) },
            QueueLimits::NONE,
        );
        assert!(queue.refresh_full(0) && queue.full().is_some());
        assert_eq!(queue.begin_expiry(4), []);
        let reason = DropReason::Expired;
        let runs = [(1, 2), (3, 4), (5, 6)].map(|(a, u)| (reason, Position(a), Position(u)));
        assert_eq!(queue.begin_expiry(5), runs);
        assert_eq!(queue.begin_expiry(5), runs, "until they are gone");
        for (reason, after, up_to) in runs {
            assert_eq!(queue.leave(reason, after.0, up_to.0), 1);
        }
        assert_eq!(queue.begin_expiry(5), []);
        assert_eq!((queue.entries().len(), queue.bytes()), (3, 30));
        assert!(queue.refresh_full(0) && queue.full().is_none());
        queue.trim(9, 0);
        assert!(!queue.wants_care());
    }

    #[test]
    fn ends_of_what_leaves_are_forgotten_whoever_looks_after_the_queue() {
        let mut queue = Queue::new(QueueLimits::NONE);
        for at in 1..=10_000 {
            queue.add(entry(at, 10), Some(5));
            if at > 10 {
                queue.leave(DropReason::Expired, at - 11, at - 10);
            }
        }
        let ends = queue.expiring.as_ref().map_or(0, |expiring| expiring.ends.len());
        assert!(queue.entries().len() == 10 && ends <= 2 * 10 + SMALL + 1, "{ends}");
        queue.leave(DropReason::Expired, 0, 10_000);
        assert!(!queue.wants_care() && queue.entries().capacity() <= SMALL);
    }

    #[test]
    fn what_was_sent_and_has_ended_makes_nobody_look_until_it_is_given_back() {
        let mut queue = Queue::new(QueueLimits::NONE);
        queue.read(Some((Position(0), 1)));
        assert!(queue.add(entry(1, 10), Some(5)));
        assert!(!queue.add(entry(2, 10), Some(9)));
        assert_eq!((queue.due_ends(4), queue.due_ends(5)), (0, 2));
        assert_eq!(queue.begin_expiry(5), []);
        assert_eq!(
            (queue.due_ends(8), queue.due_ends(9)),
            (0, 2),
            "the sent one is not waited for"
        );
        queue.read(None);
        let run = |at| (DropReason::Expired, Position(at - 1), Position(at));
        assert_eq!(queue.begin_expiry(8), [run(1)], "its gateway is gone, and it was not sent");
        let terms = |sent| Terms { limits: None, owned: false, sent: Position(sent) };
        queue.set_terms(&terms(1), QueueLimits::NONE);
        assert_eq!(queue.begin_expiry(8), []);
        assert_eq!(queue.due_ends(8), 0);
        queue.set_terms(&terms(0), QueueLimits::NONE);
        assert_eq!(queue.begin_expiry(8), [run(1)]);
    }

    #[test]
    fn what_was_missed_while_it_was_full_is_a_gap_also_if_the_policy_changes() {
        let mut queue = Queue::new(QueueLimits { messages: 2, ..QueueLimits::NONE });
        queue.keep(true);
        (1..=2).for_each(|at| assert!(!queue.add(entry(at, 1), None)));
        assert!(queue.refresh_full(2) && queue.full().is_some());
        let terms = Terms { limits: Some(oldest(9, 99)), owned: true, sent: Position(0) };
        queue.set_terms(&terms, QueueLimits::NONE);
        assert!(queue.refresh_full(7) && queue.full().is_none());
        assert_eq!(queue.whole(0, 7).unwrap().without_gap, Position(7));
    }

    #[test]
    fn what_leaves_and_is_acknowledged_already_is_a_gap() {
        let mut queue = Queue::new(oldest(9, 99));
        queue.keep(true);
        (1..=6).for_each(|at| assert!(!queue.add(entry(at, 1), None)));
        queue.trim(5, 100);
        assert_eq!(queue.leave(DropReason::Expired, 0, 4), 0);
        assert_eq!(queue.whole(0, 6).unwrap().without_gap, Position(0));
        assert_eq!(queue.leave(DropReason::QueueCount, 1, 3), 0);
        assert_eq!(queue.whole(0, 6).unwrap().without_gap, Position(3));
    }
}
