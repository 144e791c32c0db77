//! Which stored publications wait for which session: rebuilt from the log, never stored itself.

use std::collections::BTreeSet;
use std::ops::Bound;

use protocol::session::{DropReason, Drops, Full, QueueLimits};
use protocol::{GroupTag, HashMap, Position, Refs, SessionNo, Wall};

use crate::kept::Kept;
use crate::packed::{Entry, second_of};
use crate::queue::{Queue, Terms};
use crate::{Dropped, Lost, Outlines, Whole};

/// The queues of all persistent sessions of the fleet, as positions; fed from the log by every gateway.
///
/// 8 bytes per waiting publication and session, 16 more if the publication has an end, and 8 where one shared group follows
/// another.
#[derive(Debug)]
pub struct QueueIndex {
    queues: HashMap<SessionNo, Queue>,
    /// Of sessions that say nothing themselves.
    limits: QueueLimits,
    /// Messages that are kept of one session when they are acknowledged, if it may go back.
    max_kept: usize,
    /// Nothing is known of what was before.
    start: u64,
    /// The newest position that was spoken of.
    newest: u64,
    news: News,
    /// The publications at hand, with the second in which each ends.
    entries: Vec<(Entry, Option<u32>)>,
}

/// What changed since it was asked for.
#[derive(Debug, Default)]
struct News {
    fullness: Vec<(SessionNo, Option<Full>)>,
    pace: Vec<(SessionNo, bool)>,
    drops: Vec<(SessionNo, DropReason, u64)>,
    /// Beyond their limits, and read here or by nobody.
    over: BTreeSet<SessionNo>,
    /// Looked after now and then.
    watched: BTreeSet<SessionNo>,
    /// The last one that was.
    swept: SessionNo,
}

/// What waits for a session, and what does not any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueStatus {
    /// Messages in its queue, handed out or not.
    pub messages: usize,
    /// Their bytes; of large ones rounded up by less than a sixty-fourth.
    pub bytes: u64,
    /// How much may wait.
    pub limits: QueueLimits,
    /// Whether it takes no more.
    pub full: Option<Full>,
    /// What it did not get, as far back as the log goes.
    pub drops: Drops,
}

/// Queues, and ends of messages in them, that one sweep looks at: the rest is for the next, so that the log is not followed
/// late.
const SWEEP: usize = 100_000;

/// Messages that should leave a session's queue, to be told by the log: those behind the first position, up to and with
/// the second.
pub type LeavingMessages = (SessionNo, DropReason, Position, Position);

impl QueueIndex {
    /// An empty index, with the limits of sessions that have none of their own.
    pub fn new(limits: QueueLimits) -> Self {
        Self {
            queues: HashMap::default(),
            limits,
            max_kept: 0,
            start: 0,
            newest: 0,
            news: News::default(),
            entries: Vec::new(),
        }
    }

    /// Keeps so many messages of each session that may go back, beyond those that wait. Of what lies up to and with `head`
    /// it knows only what it is told.
    #[must_use]
    pub const fn keeping(mut self, max_kept: usize, head: Position) -> Self {
        self.max_kept = max_kept;
        self.start = head.0;
        self.newest = head.0;
        self
    }

    /// Whether a session may go back to what it has acknowledged; from now on that is kept.
    pub fn keep(&mut self, no: SessionNo, may_go_back: bool) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.keep(may_go_back);
    }

    /// How much of a session's queue is still there; `None` if it may not go back.
    pub fn whole(&self, no: SessionNo) -> Option<Whole> {
        self.queues.get(&no)?.whole(self.start, self.newest)
    }

    /// Up to where a session that may go back may have missed messages that had no room.
    pub fn gap(&self, no: SessionNo) -> Position {
        let kept = self.queues.get(&no).and_then(Queue::kept);
        Position(kept.map_or(0, |kept| kept.gap()))
    }

    /// The newest position that was spoken of.
    pub const fn newest(&self) -> Position {
        Position(self.newest)
    }

    /// What is kept of a session, oldest first.
    pub fn kept(&self, no: SessionNo) -> impl Iterator<Item = Position> + '_ {
        let kept = self.queues.get(&no).and_then(Queue::kept);
        kept.into_iter().flat_map(|kept| kept.behind(0)).map(|entry| Position(entry.position()))
    }

    /// Forgets what any session has acknowledged up to and with a position.
    pub fn forget_kept(&mut self, up_to: Position) {
        self.queues.values_mut().filter_map(Queue::kept_mut).for_each(|k| k.forget(up_to.0));
    }

    /// Of a session that may go back, something up to and with `up_to` is not there. Says whether it is such a session.
    pub fn note_gone(&mut self, no: SessionNo, up_to: Position) -> bool {
        let kept = self.queues.get_mut(&no).and_then(Queue::kept_mut);
        kept.map(|kept| kept.note_gone(up_to.0)).is_some()
    }

    /// Whether a session's reader went back to something that is gone since.
    pub fn is_overtaken(&self, no: SessionNo) -> bool {
        self.queues.get(&no).is_some_and(Queue::is_overtaken)
    }

    /// Whether everything that is queued for a session was handed out to its reader.
    pub fn is_read(&self, no: SessionNo) -> bool {
        self.queues.get(&no).is_some_and(Queue::is_all_read)
    }

    /// Starts a queue for a session, or changes what holds for it; until then references to it are ignored.
    pub fn open(&mut self, no: SessionNo, terms: &Terms) {
        let limits = self.limits;
        let queue = self.queues.entry(no).or_insert_with(|| Queue::new(limits));
        queue.set_terms(terms, limits);
        self.news.settle(no, queue, self.newest);
    }

    /// Whether a session has a queue.
    pub fn knows(&self, no: SessionNo) -> bool {
        self.queues.contains_key(&no)
    }

    /// A session is over: of its queue stays, without limits, what shared groups gave it and `holds` says is still to be given to
    /// others; and only such joins it from now on, until [`Self::forget`].
    pub fn bury(&mut self, no: SessionNo, holds: impl Fn(Position) -> bool) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.bury(holds);
        self.news.settle(no, queue, self.newest);
        self.news.watched.remove(&no);
        self.news.over.remove(&no);
    }

    /// Drops a session's queue: it ended.
    pub fn forget(&mut self, no: SessionNo) {
        self.queues.remove(&no);
        self.news.watched.remove(&no);
        self.news.over.remove(&no);
    }

    /// Queues `count` publications from `first` on for the sessions in `refs`. `push` gets those that may go out at
    /// once: the session is attached, has nothing older waiting, and has credit, of which one is used.
    ///
    /// Per session, positions that do not lie behind what was applied or trimmed before are ignored.
    pub fn apply_refs(
        &mut self,
        (first, count): (Position, u32),
        outlines: &Outlines,
        refs: &Refs,
        push: &mut impl FnMut(SessionNo, Position, u8),
    ) {
        self.start = self.start.min(first.0.saturating_sub(1));
        let last = first.0.saturating_add(u64::from(count)).saturating_sub(1);
        self.newest = self.newest.max(last);
        let outlined = (first.0..).zip(outlines.iter(count));
        self.entries.clear();
        self.entries.extend(outlined.map(|(position, outline)| {
            (Entry::new(position, outline), outline.expires_at.map(second_of))
        }));
        for (no, flags, groups) in refs.given() {
            let Some(queue) = self.queues.get_mut(&no).filter(|queue| queue.takes(flags)) else {
                continue;
            };
            if queue.kept().is_some() {
                for (entry, _) in &self.entries {
                    queue.keep_acknowledged(entry.with(flags), self.max_kept);
                }
            }
            let known = queue.last();
            if Refs::is_returned(flags) && last > known {
                queue.givers.note(first.0.max(known + 1), groups);
            }
            for (entry, end) in self.entries.iter().filter(|(entry, _)| entry.position() > known) {
                if queue.add(entry.with(flags), *end) {
                    push(no, Position(entry.position()), flags);
                }
                if end.is_some() {
                    self.news.watched.insert(no);
                }
            }
            self.news.settle(no, queue, self.newest);
        }
    }

    /// Drops everything up to and with `up_to` from a session's queue.
    pub fn apply_trim(&mut self, no: SessionNo, up_to: Position) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.trim(up_to.0, self.max_kept);
        self.news.settle(no, queue, self.newest);
    }

    /// Counts what a session did not get, and takes out what leaves its queue. The caller has looked at the epoch. What the
    /// queue's reader has credit for goes to `out`, if it had to wait for this.
    pub fn apply_dropped(&mut self, dropped: &Dropped, out: &mut Vec<(Position, u8)>) {
        let Dropped { session, reason, which } = dropped;
        let Some(queue) = self.queues.get_mut(session) else { return };
        match which {
            Lost::Missed(count) => queue.count_drops(*reason, u64::from(*count)),
            Lost::Queued { epoch: _, after, up_to } => {
                let gone = queue.leave(*reason, after.0, up_to.0);
                self.news.drops.push((*session, *reason, gone));
                self.news.settle(*session, queue, self.newest);
                queue.pull(0, out);
            }
        }
    }

    /// The session has a reader here that has everything up to and with `after`, and takes `credit` publications by
    /// [`Self::pull`] and `push`.
    pub fn attach(&mut self, no: SessionNo, after: Position, credit: u32) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.read(Some((after, credit)));
            self.news.settle(no, queue, self.newest);
        }
    }

    /// The session has no reader here any more.
    pub fn detach(&mut self, no: SessionNo) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.read(None);
        }
    }

    /// Adds `credit` and takes what waits, oldest first, as far as the credit goes.
    pub fn pull(&mut self, no: SessionNo, credit: u32, out: &mut Vec<(Position, u8)>) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.pull(credit, out);
        }
    }

    /// Whether something may have to leave queues since the last [`Self::take_overflow`].
    pub fn is_over(&self) -> bool {
        !self.news.over.is_empty()
    }

    /// What must leave the queues that are read here and, if `unowned`, those that nobody serves and that are beyond their limits
    /// by far, to make room for what came since the last call. It leaves when the log says so; until then nothing of that
    /// queue is handed out. Everything else [`Self::sweep`] finds, in larger portions: where many wait for the same, every
    /// message would cost a write for each of them.
    pub fn take_overflow(&mut self, unowned: bool) -> Vec<LeavingMessages> {
        let mut all = Vec::new();
        for no in std::mem::take(&mut self.news.over) {
            let Some(queue) = self.queues.get_mut(&no) else { continue };
            if queue.is_read() || (unowned && !queue.is_owned() && queue.overflows_far()) {
                let leaving = queue.begin_overflow();
                all.extend(leaving.map(|(reason, after, up_to)| (no, reason, after, up_to)));
            }
            self.news.watched.insert(no);
        }
        all
    }

    /// What has ended, of the queues that are read here and, if `unowned`, of those that nobody serves; and what should have
    /// left before and did not. As far as one call goes: the next goes on behind it. `out` gets what readers need not wait for any more.
    pub fn sweep(
        &mut self,
        now: Wall,
        unowned: bool,
        out: &mut Vec<(SessionNo, Position, u8)>,
    ) -> Vec<LeavingMessages> {
        let now = u32::try_from(now.0 / 1000).unwrap_or(u32::MAX);
        let mut all = Vec::new();
        let mut pulled = Vec::new();
        let mut left = SWEEP;
        for no in self.news.in_turn() {
            if left == 0 {
                break;
            }
            self.news.swept = no;
            let Some(queue) = self.queues.get_mut(&no) else { continue };
            left = left.saturating_sub(1 + queue.due_ends(now));
            if (queue.is_read() || (unowned && !queue.is_owned())) && !queue.waits() {
                let ended = queue.begin_expiry(now);
                let leaving = if ended.is_empty() {
                    queue.begin_overflow().into_iter().collect()
                } else {
                    ended
                };
                all.extend(leaving.into_iter().map(|(why, after, up_to)| (no, why, after, up_to)));
                queue.pull(0, &mut pulled);
                out.extend(pulled.drain(..).map(|(position, flags)| (no, position, flags)));
            }
            if !queue.wants_care() {
                self.news.watched.remove(&no);
            }
        }
        all
    }

    /// The oldest behind a position that are queued for a session, at most `max` of them and no more once they have `max_bytes`.
    pub fn page(
        &self,
        no: SessionNo,
        behind: Position,
        (max, max_bytes): (usize, u64),
    ) -> Vec<Position> {
        let entries = self.queues.get(&no).into_iter().flat_map(|queue| queue.behind(behind.0));
        let mut bytes = 0;
        let fits = entries.take(max).take_while(|entry| {
            let room = bytes < max_bytes;
            bytes += entry.bytes();
            room
        });
        fits.map(|entry| Position(entry.position())).collect()
    }

    /// Which shared groups gave what is queued for a session at a position, as far as they are named.
    pub fn givers(&self, no: SessionNo, position: Position) -> &[GroupTag] {
        self.queues.get(&no).map(|queue| queue.givers.at(position.0)).unwrap_or_default()
    }

    /// How many publications are queued for a session, handed out or not.
    pub fn len(&self, no: SessionNo) -> usize {
        self.queues.get(&no).map_or(0, |queue| queue.entries().len())
    }

    /// Whether nothing is queued for a session.
    pub fn is_empty(&self, no: SessionNo) -> bool {
        self.len(no) == 0
    }

    /// Whether a session has so much waiting that it shall get no more.
    pub fn is_full(&self, no: SessionNo) -> bool {
        self.queues.get(&no).is_some_and(|queue| queue.full().is_some())
    }

    /// What waits for a session.
    pub fn status(&self, no: SessionNo) -> Option<QueueStatus> {
        let queue = self.queues.get(&no)?;
        Some(QueueStatus {
            messages: queue.entries().len(),
            bytes: queue.bytes(),
            limits: queue.limits(),
            full: queue.full(),
            drops: queue.drops(),
        })
    }

    /// Takes the sessions that became full or open again since the last call, in order.
    pub fn take_fullness(&mut self) -> Vec<(SessionNo, Option<Full>)> {
        std::mem::take(&mut self.news.fullness)
    }

    /// Takes the sessions that fell behind (true) or keep up again (false) since the last call, in order.
    pub fn take_pace(&mut self) -> Vec<(SessionNo, bool)> {
        std::mem::take(&mut self.news.pace)
    }

    /// Takes how many messages left queues undelivered since the last call, of which session and why, and who serves it.
    pub fn take_drops(&mut self) -> Vec<(SessionNo, DropReason, u64, Served)> {
        let drops = std::mem::take(&mut self.news.drops);
        let served = |no| match self.queues.get(&no) {
            Some(queue) if queue.is_read() => Served::Here,
            Some(queue) if !queue.is_owned() => Served::Nowhere,
            Some(_) | None => Served::Elsewhere,
        };
        drops.into_iter().map(|(no, reason, count)| (no, reason, count, served(no))).collect()
    }

    /// What is queued for a session, handed out or not, oldest first, with its flags.
    pub fn waiting(&self, no: SessionNo) -> impl Iterator<Item = (Position, u8)> + '_ {
        let entries = self.queues.get(&no).into_iter().flat_map(|queue| queue.entries());
        entries.map(|entry| (Position(entry.position()), entry.flags()))
    }

    /// The oldest position that any session still needs, or may go back to; looks at every session.
    pub fn lowest(&self) -> Option<Position> {
        let lowest = |queue: &Queue| {
            let kept = queue.kept().and_then(Kept::first);
            kept.or_else(|| queue.entries().front().map(|entry| entry.position()))
        };
        self.queues.values().filter_map(lowest).min().map(Position)
    }
}

/// Who serves a queue, as seen from one gateway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Served {
    /// This gateway.
    Here,
    /// Another one.
    Elsewhere,
    /// None: the client is away.
    Nowhere,
}

impl News {
    /// Those that are looked after, beginning behind the last one that was.
    fn in_turn(&self) -> Vec<SessionNo> {
        let (swept, all) = (self.swept, &self.watched);
        let behind = all.range((Bound::Excluded(swept), Bound::Unbounded));
        behind.chain(all.range(..=swept)).copied().collect()
    }

    /// Notes what changed. Nothing leaves a queue but by the log, so that all gateways agree: it may hold more than it should
    /// until whoever looks after it has written what goes.
    fn settle(&mut self, no: SessionNo, queue: &mut Queue, newest: u64) {
        if queue.overflows() && (queue.is_read() || !queue.is_owned()) {
            self.over.insert(no);
        }
        if queue.refresh_full(newest) {
            self.fullness.push((no, queue.full()));
        }
        if let Some(behind) = queue.take_pace() {
            self.pace.push((no, behind));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use protocol::session::WhenFull;
    use protocol::{RefsBuilder, SessionEpoch};

    use super::*;
    use crate::Outline;
    use crate::queue::PATIENCE;

    fn counted(messages: u32) -> QueueLimits {
        QueueLimits { messages, ..QueueLimits::NONE }
    }

    /// Somebody serves it, nothing was sent.
    const OWNED: Terms = Terms { limits: None, owned: true, sent: Position(0) };

    /// The size of the publication at a position.
    fn bytes_at(position: u64) -> u32 {
        u32::try_from(position % 100).unwrap()
    }

    fn outlines(first: u64, count: u32) -> Outlines {
        let mut outlines = Outlines::default();
        for position in first..first + u64::from(count) {
            outlines.push(1, Outline { bytes: bytes_at(position), expires_at: None });
        }
        outlines
    }

    /// Says the same with plain lists.
    #[derive(Default)]
    struct Model {
        queues: BTreeMap<u32, Vec<(u64, u8)>>,
        trimmed: BTreeMap<u32, u64>,
        reading: BTreeMap<u32, (u64, u32)>,
    }

    #[derive(Debug, Clone)]
    enum Step {
        Open(u32),
        Forget(u32),
        Refs { count: u32, to: Vec<(u32, u8)> },
        Trim { no: u32, back: u64 },
        Drop { no: u32, back: u64, span: u64 },
        Attach { no: u32, back: u64, credit: u32 },
        Detach(u32),
        Pull { no: u32, credit: u32 },
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let no = 1_u32..5;
        let step = prop_oneof![
            2 => no.clone().prop_map(Step::Open),
            1 => no.clone().prop_map(Step::Forget),
            6 => (1_u32..4, proptest::collection::vec((1_u32..5, 0_u8..6), 0..4))
                .prop_map(|(count, to)| Step::Refs { count, to }),
            3 => (no.clone(), 0_u64..12).prop_map(|(no, back)| Step::Trim { no, back }),
            2 => (no.clone(), 0_u64..12, 1_u64..5)
                .prop_map(|(no, back, span)| Step::Drop { no, back, span }),
            2 => (no.clone(), 0_u64..12, 0_u32..5)
                .prop_map(|(no, back, credit)| Step::Attach { no, back, credit }),
            1 => no.clone().prop_map(Step::Detach),
            3 => (no, 0_u32..5).prop_map(|(no, credit)| Step::Pull { no, credit }),
        ];
        proptest::collection::vec(step, 0..80)
    }

    impl Model {
        fn pull(&mut self, no: u32, credit: u32) -> Vec<(Position, u8)> {
            let mut out = Vec::new();
            let Some(queue) = self.queues.get(&no) else { return out };
            let Some((seen, left)) = self.reading.get_mut(&no) else { return out };
            *left += credit;
            for (position, flags) in queue {
                if *position > *seen && *left > 0 {
                    *seen = *position;
                    *left -= 1;
                    out.push((Position(*position), *flags));
                }
            }
            out
        }

        /// A push is a pull without new credit by a session that had nothing waiting.
        fn refs(&mut self, position: u64, to: &Refs, pushed: &mut Vec<(SessionNo, Position, u8)>) {
            for (no, flags) in to.iter() {
                let Some(queue) = self.queues.get_mut(&no.0) else { continue };
                if position <= self.trimmed.get(&no.0).copied().unwrap_or(0) {
                    continue;
                }
                let waits = self
                    .reading
                    .get(&no.0)
                    .is_some_and(|(seen, _)| queue.iter().any(|(p, _)| p > seen));
                queue.push((position, flags));
                if !waits {
                    pushed.extend(self.pull(no.0, 0).into_iter().map(|(p, f)| (no, p, f)));
                }
            }
        }
    }

    proptest! {
        #[test]
        fn the_index_behaves_like_plain_lists(steps in steps()) {
            let mut index = QueueIndex::new(counted(4));
            let mut model = Model::default();
            let mut head = 0_u64;
            let mut full = BTreeMap::<u32, bool>::new();
            for step in steps {
                match step {
                    Step::Open(no) => {
                        index.open(SessionNo(no), &OWNED);
                        model.queues.entry(no).or_default();
                    }
                    Step::Forget(no) => {
                        index.forget(SessionNo(no));
                        model.queues.remove(&no);
                        model.reading.remove(&no);
                        model.trimmed.remove(&no);
                        full.remove(&no);
                    }
                    Step::Refs { count, to } => {
                        let mut builder = RefsBuilder::new();
                        for (no, flags) in to {
                            builder.push(SessionNo(no), flags);
                        }
                        let refs = builder.build();
                        let (mut got, mut expected) = (Vec::new(), Vec::new());
                        let named = (Position(head + 1), count);
                        index.apply_refs(named, &outlines(head + 1, count), &refs, &mut |no, at, flags| got.push((no, at, flags)));
                        for _ in 0..count {
                            head += 1;
                            model.refs(head, &refs, &mut expected);
                        }
                        // The order between sessions is not promised.
                        expected.sort_by_key(|(no, at, _)| (*no, *at));
                        prop_assert_eq!(got, expected);
                    }
                    Step::Trim { no, back } => {
                        let up_to = head.saturating_sub(back);
                        index.apply_trim(SessionNo(no), Position(up_to));
                        if let Some(queue) = model.queues.get_mut(&no) {
                            queue.retain(|(p, _)| *p > up_to);
                            let trimmed = model.trimmed.entry(no).or_default();
                            *trimmed = up_to.max(*trimmed);
                        }
                    }
                    Step::Drop { no, back, span } => {
                        let up_to = head.saturating_sub(back);
                        let after = up_to.saturating_sub(span);
                        let (epoch, mut out) = (SessionEpoch(1), Vec::new());
                        let which = Lost::Queued { epoch, after: Position(after), up_to: Position(up_to) };
                        let reason = DropReason::Expired;
                        index.apply_dropped(&Dropped { session: SessionNo(no), reason, which }, &mut out);
                        if let Some(queue) = model.queues.get_mut(&no) {
                            queue.retain(|(p, _)| *p <= after || *p > up_to);
                        }
                        prop_assert_eq!(out, model.pull(no, 0));
                    }
                    Step::Attach { no, back, credit } => {
                        let after = head.saturating_sub(back);
                        index.attach(SessionNo(no), Position(after), credit);
                        if model.queues.contains_key(&no) {
                            model.reading.insert(no, (after, credit));
                        }
                    }
                    Step::Detach(no) => {
                        index.detach(SessionNo(no));
                        model.reading.remove(&no);
                    }
                    Step::Pull { no, credit } => {
                        let mut got = Vec::new();
                        index.pull(SessionNo(no), credit, &mut got);
                        prop_assert_eq!(got, model.pull(no, credit));
                    }
                }
                for (no, is) in index.take_fullness() {
                    let is = is.is_some();
                    prop_assert_ne!(full.insert(no.0, is).unwrap_or(false), is);
                }
                for no in 1..5 {
                    let len = model.queues.get(&no).map_or(0, Vec::len);
                    prop_assert_eq!(index.len(SessionNo(no)), len);
                    let sizes = model.queues.get(&no).into_iter().flatten().map(|(p, _)| u64::from(bytes_at(*p)));
                    let bytes = index.status(SessionNo(no)).map_or(0, |status| status.bytes);
                    prop_assert_eq!(bytes, sizes.sum::<u64>());
                    let is_full = index.is_full(SessionNo(no));
                    prop_assert_eq!(is_full, full.get(&no).copied().unwrap_or(false));
                    prop_assert!(!is_full || len >= 4);
                    prop_assert!(is_full || len < 4);
                }
                let lowest = model.queues.values().filter_map(|q| q.first()).map(|(p, _)| Position(*p)).min();
                prop_assert_eq!(index.lowest(), lowest);
            }
        }
    }

    #[test]
    fn a_full_session_opens_again_below_seven_eighths_and_keeps_all_it_got() {
        let mut index = QueueIndex::new(counted(16));
        let no = SessionNo(7);
        index.open(no, &OWNED);
        let mut builder = RefsBuilder::new();
        builder.push(no, 1);
        index.apply_refs((Position(1), 20), &outlines(1, 20), &builder.build(), &mut |_, _, _| {});
        assert!(index.is_full(no) && index.len(no) == 20);
        index.apply_trim(no, Position(6));
        assert!(index.is_full(no));
        index.apply_trim(no, Position(7));
        assert!(!index.is_full(no) && index.len(no) == 13);
        let full = Full { reason: DropReason::QueueCount, rejects: false };
        assert_eq!(index.take_fullness(), [(no, Some(full)), (no, None)]);
    }

    #[test]
    fn references_seen_twice_are_queued_once() {
        let mut index = QueueIndex::new(counted(16));
        let no = SessionNo(7);
        index.open(no, &OWNED);
        let mut builder = RefsBuilder::new();
        builder.push(no, 2);
        let refs = builder.build();
        index.apply_refs((Position(1), 3), &outlines(1, 3), &refs, &mut |_, _, _| {});
        index.apply_refs((Position(2), 3), &outlines(2, 3), &refs, &mut |_, _, _| {});
        assert_eq!(index.len(no), 4);
        index.apply_trim(no, Position(9));
        index.apply_refs((Position(8), 3), &outlines(8, 3), &refs, &mut |_, _, _| {});
        index.attach(no, Position(0), 0);
        let mut out = Vec::new();
        index.pull(no, 9, &mut out);
        assert_eq!(out, [(Position(10), 2)]);
    }

    #[test]
    fn what_a_session_that_is_over_leaves_stays_and_grows_until_others_have_it() {
        let limits = QueueLimits { when_full: WhenFull::DropOldest, ..counted(4) };
        let mut index = QueueIndex::new(limits);
        let no = SessionNo(7);
        let add = |index: &mut QueueIndex, at: u64, flags: u8| {
            let mut builder = RefsBuilder::new();
            builder.push(no, flags);
            let mut outlines = Outlines::default();
            outlines.push(1, Outline { bytes: 10, expires_at: Some(Wall(5_000)) });
            let mut pushed = Vec::new();
            let push = &mut |_, at: Position, _| pushed.push(at);
            index.apply_refs((Position(at), 1), &outlines, &builder.build(), push);
            assert!(pushed.is_empty() || !index.knows(SessionNo(8)));
        };
        index.open(no, &OWNED);
        index.attach(no, Position(0), 9);
        let given = Refs::shared(protocol::QoS::AtLeastOnce);
        for (at, flags) in [(1, given), (2, 1), (3, given), (4, given)] {
            add(&mut index, at, flags);
        }
        index.bury(no, |at| at != Position(3));
        for (at, flags) in (5..12).zip([given, 1, given, given, given, given, 2]) {
            add(&mut index, at, flags);
        }
        index.open(no, &OWNED);
        assert_eq!(
            index.page(no, Position(0), (9, u64::MAX)),
            [1, 4, 5, 7, 8, 9, 10].map(Position)
        );
        assert_eq!(index.page(no, Position(0), (2, u64::MAX)), [1, 4].map(Position));
        assert_eq!(
            index.page(no, Position(0), (9, 11)),
            [1, 4].map(Position),
            "the second reaches it"
        );
        assert_eq!(index.page(no, Position(4), (2, u64::MAX)), [5, 7].map(Position));
        assert!(index.take_overflow(false).is_empty() && index.take_drops().is_empty());
        assert!(index.sweep(Wall(9_000), true, &mut Vec::new()).is_empty(), "who gets it decides");
        assert_eq!((index.is_full(no), index.lowest()), (false, Some(Position(1))));
        index.apply_trim(no, Position(8));
        assert_eq!(index.page(no, Position(0), (9, u64::MAX)), [9, 10].map(Position));
        index.forget(no);
        add(&mut index, 12, given);
        assert_eq!((index.knows(no), index.lowest()), (false, None));
    }

    /// Of a queue that nobody serves one gateway says what leaves, and all do as the log tells, whatever the steps in which they
    /// read it.
    #[test]
    fn what_leaves_a_queue_that_nobody_serves_one_gateway_says() {
        let (no, limits) = (SessionNo(7), QueueLimits { messages: 5, ..QueueLimits::NONE });
        let limits = QueueLimits { when_full: WhenFull::DropOldest, ..limits };
        let terms = Terms { limits: Some(limits), owned: false, sent: Position(2) };
        let index = |terms| {
            let mut index = QueueIndex::new(QueueLimits::NONE);
            index.open(no, terms);
            index
        };
        let (mut one, mut other) = (index(&terms), index(&terms));
        let add = |index: &mut QueueIndex, first: u64, count: u32| {
            let at = (Position(first), count);
            index.apply_refs(at, &outlines(first, count), &refs(no), &mut |_, _, _| {});
        };
        add(&mut one, 1, 9);
        (1..10).for_each(|at| add(&mut other, at, 1));
        assert!(other.is_over() && other.take_overflow(false).is_empty(), "others say it");
        let sweep = |index: &mut QueueIndex| index.sweep(Wall(9), true, &mut Vec::new());
        assert!(one.take_overflow(true).is_empty(), "it is not beyond its limit by far");
        let leaving = sweep(&mut one);
        assert_eq!(leaving, [(no, DropReason::QueueCount, Position(2), Position(6))]);
        for index in [&mut one, &mut other] {
            add(index, 10, 2);
            assert_eq!((index.len(no), index.is_full(no)), (11, false), "the log has not said so");
        }
        assert!(
            one.take_overflow(true).is_empty() && sweep(&mut one).is_empty(),
            "it is told once"
        );
        let (session, reason, after, up_to) = leaving[0];
        let which = Lost::Queued { epoch: SessionEpoch(1), after, up_to };
        for index in [&mut one, &mut other] {
            index.apply_dropped(&Dropped { session, reason, which }, &mut Vec::new());
            let left: Vec<u64> = index.waiting(no).map(|(at, _)| at.0).collect();
            assert_eq!(left, [1, 2, 7, 8, 9, 10, 11], "what was sent stays");
            assert_eq!(index.take_drops(), [(no, reason, 4, Served::Nowhere)]);
        }
        // Whoever looks after it now finds what came meanwhile.
        let more = [(no, reason, Position(2), Position(8))];
        assert_eq!(other.sweep(Wall(9), false, &mut Vec::new()), []);
        assert_eq!(sweep(&mut other), more);
        assert_eq!(sweep(&mut one), more);
        assert!(one.take_overflow(true).is_empty(), "that was all");
        // Somebody serves it again, and says for himself.
        one.open(no, &OWNED);
        one.open(no, &Terms { owned: true, ..terms });
        add(&mut one, 12, 1);
        assert!(!one.is_over() && one.take_overflow(true).is_empty());
        one.attach(no, Position(12), 0);
        assert!(one.is_over() && one.take_overflow(false).is_empty(), "all was sent");
    }

    /// A message that many queues wait for does not cost a write for each of them.
    #[test]
    fn a_queue_that_nobody_serves_makes_room_for_many_messages_at_once() {
        let count = QueueLimits { messages: 100, ..QueueLimits::NONE };
        let bytes = QueueLimits { bytes: 10_000, ..QueueLimits::NONE };
        for limits in [count, bytes] {
            let no = SessionNo(7);
            let limits = QueueLimits { when_full: WhenFull::DropOldest, ..limits };
            let mut index = QueueIndex::new(limits);
            index.open(no, &Terms { owned: false, ..OWNED });
            let (mut writes, mut longest) = (0, 0);
            for at in 1..=1_000 {
                let mut outlines = Outlines::default();
                outlines.push(1, Outline { bytes: 100, expires_at: None });
                index.apply_refs((Position(at), 1), &outlines, &refs(no), &mut |_, _, _| {});
                longest = longest.max(index.len(no));
                for (session, reason, after, up_to) in index.take_overflow(true) {
                    writes += 1;
                    let which = Lost::Queued { epoch: SessionEpoch(1), after, up_to };
                    index.apply_dropped(&Dropped { session, reason, which }, &mut Vec::new());
                    assert_eq!(index.len(no), 100);
                }
            }
            assert!(longest <= 118 && writes <= 900 / 16, "{longest} {writes}");
            let left = index.len(no) as u64 - 100;
            let swept = index.sweep(Wall(9), true, &mut Vec::new());
            assert_eq!(swept[0].3, Position(900), "{left} are beyond it");
        }
    }

    #[test]
    fn a_queue_that_is_served_waits_for_the_log_to_make_room() {
        let limits = QueueLimits { bytes: 250, ..QueueLimits::NONE };
        let limits = QueueLimits { when_full: WhenFull::DropOldest, ..limits };
        let mut index = QueueIndex::new(limits);
        let no = SessionNo(7);
        index.open(no, &OWNED);
        let mut builder = RefsBuilder::new();
        builder.push(no, 1);
        index.attach(no, Position(0), 1);
        let mut pushed = Vec::new();
        index.apply_refs((Position(60), 5), &outlines(60, 5), &builder.build(), &mut |_, at, _| {
            pushed.push(at.0);
        });
        let leaving = index.take_overflow(false);
        assert_eq!((pushed, index.len(no)), (vec![60], 5));
        assert_eq!(leaving, [(no, DropReason::QueueBytes, Position(60), Position(61))]);
        assert!(index.take_overflow(false).is_empty());
        for _ in 1..PATIENCE {
            assert!(
                index.sweep(Wall(9), false, &mut Vec::new()).is_empty(),
                "it may be on its way"
            );
        }
        let mut out = Vec::new();
        let swept = index.sweep(Wall(9), false, &mut out);
        assert_eq!((swept, out.len()), (leaving.clone(), 0), "the log may not have taken it");
        let (session, reason, after, up_to) = leaving[0];
        let which = Lost::Queued { epoch: SessionEpoch(1), after, up_to };
        let mut out = Vec::new();
        index.pull(no, 9, &mut out);
        index.apply_dropped(&Dropped { session, reason, which }, &mut out);
        assert_eq!(out.iter().map(|(at, _)| at.0).collect::<Vec<_>>(), [62, 63, 64]);
        assert_eq!(index.take_drops(), [(no, reason, 1, Served::Here)]);
        assert!(index.sweep(Wall(9), false, &mut Vec::new()).is_empty());
    }

    #[test]
    fn a_sweep_that_is_too_long_goes_on_with_the_next() {
        let mut index = QueueIndex::new(QueueLimits::NONE);
        let each = u32::try_from(SWEEP / 2).unwrap();
        let mut outlines = Outlines::default();
        outlines.push(each, Outline { bytes: 1, expires_at: Some(Wall(5_000)) });
        let sessions = [1, 2, 3, 4].map(SessionNo);
        for (no, first) in sessions.into_iter().zip((0..).map(|n| 1 + n * u64::from(each))) {
            index.open(no, &Terms { owned: false, ..OWNED });
            index.apply_refs((Position(first), each), &outlines, &refs(no), &mut |_, _, _| {});
        }
        let mut seen = Vec::new();
        for _ in 0..4 {
            let swept = index.sweep(Wall(9_000), true, &mut Vec::new());
            let of: Vec<SessionNo> = swept.iter().map(|(no, ..)| *no).collect();
            assert!(of.len() < sessions.len(), "{of:?}");
            seen.extend(of);
        }
        assert!(sessions.iter().all(|no| seen.contains(no)), "{seen:?}");
    }

    fn refs(no: SessionNo) -> Refs {
        let mut builder = RefsBuilder::new();
        builder.push(no, 1);
        builder.build()
    }

    fn pulled(index: &mut QueueIndex, no: SessionNo, credit: u32) -> Vec<u64> {
        let mut out = Vec::new();
        index.pull(no, credit, &mut out);
        out.into_iter().map(|(position, _)| position.0).collect()
    }

    #[derive(Debug, Clone)]
    enum Back {
        Add(u32),
        Trim(u64),
        Pull(u32),
        To(u64),
        Forget(u64),
    }

    proptest! {
        /// Whatever is added, acknowledged and forgotten meanwhile, a reader that went back gets everything behind its position
        /// once and in order, as long as that is said to be there.
        #[test]
        fn who_goes_back_gets_everything_behind_its_position_once(
            steps in proptest::collection::vec(prop_oneof![
                4 => (1_u32..4).prop_map(Back::Add),
                3 => (0_u64..30).prop_map(Back::Trim),
                4 => (0_u32..5).prop_map(Back::Pull),
                1 => (0_u64..30).prop_map(Back::To),
                1 => (0_u64..30).prop_map(Back::Forget),
            ], 0..120),
            others in 1_u64..4,
        ) {
            let no = SessionNo(7);
            let mut index = QueueIndex::new(counted(1000)).keeping(8, Position(0));
            index.open(no, &OWNED);
            index.keep(no, true);
            let (mut head, mut all, mut at) = (0_u64, Vec::new(), None::<u64>);
            let take = |all: &[u64], at: &mut Option<u64>, got: Vec<u64>| {
                if let Some(at) = at {
                    let due: Vec<_> = all.iter().copied().filter(|p| p > at).take(got.len()).collect();
                    *at = got.last().copied().unwrap_or(*at);
                    assert_eq!(got, due);
                }
            };
            for step in steps {
                match step {
                    Back::Add(count) => {
                        head += others;
                        let mut got = Vec::new();
                        let first = Position(head + 1);
                        index.apply_refs((first, count), &Outlines::default(), &refs(no), &mut |_, at, _| got.push(at.0));
                        all.extend(first.0..first.0 + u64::from(count));
                        head += u64::from(count);
                        take(&all, &mut at, got);
                    }
                    Back::Trim(back) => {
                        // An owner acknowledges only what it was given.
                        let most = at.unwrap_or(0);
                        index.apply_trim(no, Position(most.saturating_sub(back)));
                    }
                    Back::Pull(credit) => {
                        let got = pulled(&mut index, no, credit);
                        take(&all, &mut at, got);
                    }
                    Back::To(back) => {
                        let whole = index.whole(no).unwrap();
                        prop_assert_eq!(whole.newest, Position(head));
                        let to = head.saturating_sub(back).max(whole.without_gap.0);
                        index.attach(no, Position(to), 2);
                        at = Some(to);
                    }
                    Back::Forget(back) => {
                        // What its reader has not had yet stays.
                        let up_to = head.saturating_sub(back).min(at.unwrap_or(u64::MAX));
                        index.forget_kept(Position(up_to));
                        prop_assert!(!index.is_overtaken(no));
                    }
                }
                if let (Some(at), Some(lowest)) = (at, index.lowest()) {
                    let kept = index.whole(no).unwrap().from.0;
                    let needed = all.iter().find(|p| **p > at.max(kept));
                    prop_assert!(needed.is_none_or(|needed| lowest.0 <= *needed));
                }
            }
        }
    }

    #[test]
    fn a_session_that_may_not_go_back_keeps_nothing_and_one_that_may_no_more_than_allowed() {
        let no = SessionNo(7);
        let mut index = QueueIndex::new(counted(16)).keeping(3, Position(0));
        index.open(no, &OWNED);
        index.apply_refs((Position(1), 5), &Outlines::default(), &refs(no), &mut |_, _, _| {});
        index.apply_trim(no, Position(2));
        assert_eq!((index.whole(no), index.lowest()), (None, Some(Position(3))));
        index.keep(no, true);
        index.apply_trim(no, Position(5));
        assert_eq!((index.len(no), index.lowest()), (0, Some(Position(3))));
        index.apply_refs((Position(6), 2), &Outlines::default(), &refs(no), &mut |_, _, _| {});
        index.apply_trim(no, Position(7));
        assert_eq!(index.kept(no).collect::<Vec<_>>(), [5, 6, 7].map(Position));
        assert_eq!(index.whole(no).map(|whole| whole.from), Some(Position(4)));
        index.keep(no, false);
        assert_eq!(index.lowest(), None);
    }

    #[test]
    fn what_there_was_no_room_for_is_a_gap_whoever_asks_later() {
        let no = SessionNo(7);
        let mut index = QueueIndex::new(counted(8)).keeping(100, Position(0));
        index.open(no, &OWNED);
        index.keep(no, true);
        index.apply_refs((Position(1), 8), &Outlines::default(), &refs(no), &mut |_, _, _| {});
        // Others get these.
        index.apply_refs(
            (Position(9), 3),
            &Outlines::default(),
            &Refs::default(),
            &mut |_, _, _| {},
        );
        assert_eq!(index.whole(no).map(|it| it.without_gap), Some(Position(11)));
        index.apply_trim(no, Position(4));
        index.apply_refs((Position(12), 1), &Outlines::default(), &refs(no), &mut |_, _, _| {});
        let whole = index.whole(no).unwrap();
        assert_eq!((whole.from, whole.without_gap), (Position(0), Position(11)));
    }

    #[test]
    fn an_index_that_is_built_again_knows_what_the_log_still_tells() {
        let no = SessionNo(7);
        let mut index = QueueIndex::new(counted(100)).keeping(100, Position(50));
        index.open(no, &OWNED);
        index.keep(no, true);
        assert_eq!(index.whole(no).map(|it| it.from), Some(Position(50)));
        // The session's document says more than the log that is read from its start.
        index.apply_trim(no, Position(44));
        index.apply_refs((Position(41), 8), &Outlines::default(), &refs(no), &mut |_, _, _| {});
        assert_eq!(index.whole(no).map(|it| it.from), Some(Position(40)));
        index.attach(no, Position(42), 0);
        assert_eq!(pulled(&mut index, no, 9), [43, 44, 45, 46, 47, 48]);
        assert!(index.is_read(no));
    }
}
