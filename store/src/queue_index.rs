//! Which stored publications wait for which session: rebuilt from the log, never stored itself.

use std::collections::VecDeque;

use protocol::{HashMap, Position, Refs, SessionNo};

use crate::Whole;
use crate::kept::Kept;

/// The queues of all persistent sessions of the fleet, as positions; fed from the log by every gateway.
///
/// 8 bytes per waiting publication and session.
#[derive(Debug)]
pub struct QueueIndex {
    queues: HashMap<SessionNo, Queue>,
    max_queued: usize,
    /// Messages that are kept of one session when they are acknowledged, if it may go back.
    max_kept: usize,
    /// Nothing is known of what was before.
    start: u64,
    /// The newest position that was spoken of.
    newest: u64,
    changed: Vec<(SessionNo, bool)>,
    pace: Vec<(SessionNo, bool)>,
}

/// One session's queue.
#[derive(Debug, Default)]
struct Queue {
    /// Position << 3 | flags, ascending.
    entries: VecDeque<u64>,
    /// Everything up to here is acknowledged.
    trimmed: u64,
    reading: Option<Reading>,
    full: bool,
    behind: bool,
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

/// With this many waiting a session is behind; it keeps up again with a quarter of that.
const BEHIND: usize = 1024;
/// Room for this many entries is never given back.
const SMALL: usize = 32;

impl QueueIndex {
    /// An empty index. From `max_queued` waiting publications on a session counts as full; it is open again below
    /// seven eighths of that.
    pub fn new(max_queued: usize) -> Self {
        Self {
            queues: HashMap::default(),
            max_queued: max_queued.max(1),
            max_kept: 0,
            start: 0,
            newest: 0,
            changed: Vec::new(),
            pace: Vec::new(),
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
        if may_go_back != queue.kept.is_some() {
            queue.kept = may_go_back.then(Box::default);
        }
    }

    /// How much of a session's queue is still there; `None` if it may not go back.
    pub fn whole(&self, no: SessionNo) -> Option<Whole> {
        let queue = self.queues.get(&no)?;
        let ends = (queue.trimmed, self.newest);
        Some(queue.kept.as_ref()?.whole(self.start, queue.full, ends))
    }

    /// The newest position that was spoken of.
    pub const fn newest(&self) -> Position {
        Position(self.newest)
    }

    /// What is kept of a session, oldest first.
    pub fn kept(&self, no: SessionNo) -> impl Iterator<Item = Position> + '_ {
        let kept = self.queues.get(&no).and_then(|queue| queue.kept.as_deref());
        kept.into_iter().flat_map(|kept| kept.behind(0)).map(|entry| Position(entry >> 3))
    }

    /// Forgets what any session has acknowledged up to and with a position.
    pub fn forget_kept(&mut self, up_to: Position) {
        self.queues.values_mut().filter_map(|q| q.kept.as_mut()).for_each(|k| k.forget(up_to.0));
    }

    /// Of a session that may go back, something up to and with `up_to` is not there. Says whether it is such a session.
    pub fn note_gone(&mut self, no: SessionNo, up_to: Position) -> bool {
        let kept = self.queues.get_mut(&no).and_then(|queue| queue.kept.as_mut());
        kept.map(|kept| kept.note_gone(up_to.0)).is_some()
    }

    /// Whether a session's reader went back to something that is gone since.
    pub fn is_overtaken(&self, no: SessionNo) -> bool {
        let Some(queue) = self.queues.get(&no) else { return false };
        let seen = queue.reading.as_ref().map_or(u64::MAX, |reading| reading.seen);
        queue.kept.as_ref().is_some_and(|kept| kept.gone() > seen)
    }

    /// Whether everything that is queued for a session was handed out to its reader.
    pub fn is_read(&self, no: SessionNo) -> bool {
        let Some(queue) = self.queues.get(&no) else { return false };
        queue.reading.as_ref().is_some_and(|reading| queue.last() <= reading.seen)
    }

    /// Starts a queue for a session; until then references to it are ignored. Again does no harm.
    pub fn open(&mut self, no: SessionNo) {
        self.queues.entry(no).or_default();
    }

    /// Drops a session's queue: it ended.
    pub fn forget(&mut self, no: SessionNo) {
        self.queues.remove(&no);
    }

    /// Queues `count` publications from `first` on for the sessions in `refs`. `push` gets those that may go out at
    /// once: the session is attached, has nothing older waiting, and has credit, of which one is used.
    ///
    /// Per session, positions that do not lie behind what was applied or trimmed before are ignored.
    pub fn apply_refs(
        &mut self,
        first: Position,
        count: u32,
        refs: &Refs,
        push: &mut impl FnMut(SessionNo, Position, u8),
    ) {
        let positions = first.0..first.0.saturating_add(u64::from(count));
        self.start = self.start.min(first.0.saturating_sub(1));
        self.newest = self.newest.max(positions.end - 1);
        for (no, flags) in refs.iter() {
            let Some(queue) = self.queues.get_mut(&no) else { continue };
            if let Some(kept) = &mut queue.kept {
                // Acknowledged before this was read.
                let acknowledged = positions.start..positions.end.min(queue.trimmed + 1);
                acknowledged.for_each(|position| kept.push(pack(position, flags), self.max_kept));
            }
            let known = queue.last_waiting().max(queue.trimmed);
            for position in positions.start.max(known + 1)..positions.end {
                if queue.add(position, flags) {
                    push(no, Position(position), flags);
                }
            }
            if !queue.full && queue.entries.len() >= self.max_queued {
                queue.full = true;
                self.changed.push((no, true));
            }
            if !queue.behind && queue.entries.len() >= BEHIND {
                queue.behind = true;
                self.pace.push((no, true));
            }
        }
    }

    /// Drops everything up to and with `up_to` from a session's queue.
    pub fn apply_trim(&mut self, no: SessionNo, up_to: Position) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        queue.trim(up_to.0, self.max_kept);
        if queue.full && queue.entries.len() < self.max_queued - self.max_queued / 8 {
            queue.full = false;
            if let Some(kept) = &mut queue.kept {
                kept.note_gap(self.newest);
            }
            self.changed.push((no, false));
        }
        if queue.behind && queue.entries.len() < BEHIND / 4 {
            queue.behind = false;
            self.pace.push((no, false));
        }
    }

    /// The session has a reader here that has everything up to and with `after`, and takes `credit` publications by
    /// [`Self::pull`] and `push`.
    pub fn attach(&mut self, no: SessionNo, after: Position, credit: u32) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.reading = Some(Reading { seen: after.0, credit });
        }
    }

    /// The session has no reader here any more.
    pub fn detach(&mut self, no: SessionNo) {
        if let Some(queue) = self.queues.get_mut(&no) {
            queue.reading = None;
        }
    }

    /// Adds `credit` and takes what waits, oldest first, as far as the credit goes; before it what is kept, if the reader
    /// went back.
    pub fn pull(&mut self, no: SessionNo, credit: u32, out: &mut Vec<(Position, u8)>) {
        let Some(queue) = self.queues.get_mut(&no) else { return };
        let Some(reading) = &mut queue.reading else { return };
        reading.credit = reading.credit.saturating_add(credit);
        let seen = reading.seen;
        let from = queue.entries.partition_point(|entry| entry >> 3 <= seen);
        let max = usize::try_from(reading.credit).unwrap_or(usize::MAX);
        let kept = queue.kept.iter().flat_map(|kept| kept.behind(seen));
        for entry in kept.chain(queue.entries.range(from..)).take(max) {
            let (position, flags) = unpack(*entry);
            reading.seen = position;
            reading.credit -= 1;
            out.push((Position(position), flags));
        }
    }

    /// How many publications are queued for a session, handed out or not.
    pub fn len(&self, no: SessionNo) -> usize {
        self.queues.get(&no).map_or(0, |queue| queue.entries.len())
    }

    /// Whether nothing is queued for a session.
    pub fn is_empty(&self, no: SessionNo) -> bool {
        self.len(no) == 0
    }

    /// Whether a session has so much waiting that it shall get no more.
    pub fn is_full(&self, no: SessionNo) -> bool {
        self.queues.get(&no).is_some_and(|queue| queue.full)
    }

    /// Takes the sessions that became full (true) or open again (false) since the last call, in order.
    pub fn take_fullness(&mut self) -> Vec<(SessionNo, bool)> {
        std::mem::take(&mut self.changed)
    }

    /// Takes the sessions that fell behind (true) or keep up again (false) since the last call, in order.
    pub fn take_pace(&mut self) -> Vec<(SessionNo, bool)> {
        std::mem::take(&mut self.pace)
    }

    /// What is queued for a session, handed out or not, oldest first, with its flags.
    pub fn waiting(&self, no: SessionNo) -> impl Iterator<Item = (Position, u8)> + '_ {
        let entries = self.queues.get(&no).into_iter().flat_map(|queue| &queue.entries);
        entries.map(|entry| unpack(*entry)).map(|(position, flags)| (Position(position), flags))
    }

    /// The oldest position that any session still needs, or may go back to; looks at every session.
    pub fn lowest(&self) -> Option<Position> {
        let lowest = |queue: &Queue| {
            let kept = queue.kept.as_ref().and_then(|kept| kept.first());
            kept.or_else(|| queue.entries.front().map(|entry| entry >> 3))
        };
        self.queues.values().filter_map(lowest).min().map(Position)
    }
}

impl Queue {
    /// The newest position that waits.
    fn last_waiting(&self) -> u64 {
        self.entries.back().map_or(0, |entry| entry >> 3)
    }

    /// The newest position in the queue, which may be one that is kept.
    fn last(&self) -> u64 {
        self.last_waiting().max(self.kept.as_ref().map_or(0, |kept| kept.last()))
    }

    /// Queues one publication; true if it goes out at once.
    fn add(&mut self, position: u64, flags: u8) -> bool {
        let last = self.last();
        self.entries.push_back(pack(position, flags));
        let Some(reading) = &mut self.reading else { return false };
        if last > reading.seen || position <= reading.seen || reading.credit == 0 {
            return false;
        }
        reading.seen = position;
        reading.credit -= 1;
        true
    }

    fn trim(&mut self, up_to: u64, max_kept: usize) {
        self.trimmed = self.trimmed.max(up_to);
        let gone = self.entries.partition_point(|entry| entry >> 3 <= up_to);
        let gone = self.entries.drain(..gone);
        match &mut self.kept {
            Some(kept) => gone.for_each(|entry| kept.push(entry, max_kept)),
            None => drop(gone),
        }
        let room = self.entries.capacity();
        if room > SMALL && room / 4 >= self.entries.len() {
            self.entries.shrink_to((self.entries.len() * 2).max(SMALL));
        }
    }
}

fn pack(position: u64, flags: u8) -> u64 {
    position << 3 | u64::from(flags & 0b111)
}

fn unpack(entry: u64) -> (u64, u8) {
    let [low, ..] = entry.to_le_bytes();
    (entry >> 3, low & 0b111)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use protocol::RefsBuilder;

    use super::*;

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
            let mut index = QueueIndex::new(4);
            let mut model = Model::default();
            let mut head = 0_u64;
            let mut full = BTreeMap::<u32, bool>::new();
            for step in steps {
                match step {
                    Step::Open(no) => {
                        index.open(SessionNo(no));
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
                        index.apply_refs(Position(head + 1), count, &refs, &mut |no, at, flags| got.push((no, at, flags)));
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
                    prop_assert_ne!(full.insert(no.0, is).unwrap_or(false), is);
                }
                for no in 1..5 {
                    let len = model.queues.get(&no).map_or(0, Vec::len);
                    prop_assert_eq!(index.len(SessionNo(no)), len);
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
        let mut index = QueueIndex::new(16);
        let no = SessionNo(7);
        index.open(no);
        let mut builder = RefsBuilder::new();
        builder.push(no, 1);
        index.apply_refs(Position(1), 20, &builder.build(), &mut |_, _, _| {});
        assert!(index.is_full(no) && index.len(no) == 20);
        index.apply_trim(no, Position(6));
        assert!(index.is_full(no));
        index.apply_trim(no, Position(7));
        assert!(!index.is_full(no) && index.len(no) == 13);
        assert_eq!(index.take_fullness(), [(no, true), (no, false)]);
    }

    #[test]
    fn references_seen_twice_are_queued_once() {
        let mut index = QueueIndex::new(16);
        let no = SessionNo(7);
        index.open(no);
        let mut builder = RefsBuilder::new();
        builder.push(no, 2);
        let refs = builder.build();
        index.apply_refs(Position(1), 3, &refs, &mut |_, _, _| {});
        index.apply_refs(Position(2), 3, &refs, &mut |_, _, _| {});
        assert_eq!(index.len(no), 4);
        index.apply_trim(no, Position(9));
        index.apply_refs(Position(8), 3, &refs, &mut |_, _, _| {});
        index.attach(no, Position(0), 0);
        let mut out = Vec::new();
        index.pull(no, 9, &mut out);
        assert_eq!(out, [(Position(10), 2)]);
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
            let mut index = QueueIndex::new(1000).keeping(8, Position(0));
            index.open(no);
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
                        index.apply_refs(first, count, &refs(no), &mut |_, at, _| got.push(at.0));
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
        let mut index = QueueIndex::new(16).keeping(3, Position(0));
        index.open(no);
        index.apply_refs(Position(1), 5, &refs(no), &mut |_, _, _| {});
        index.apply_trim(no, Position(2));
        assert_eq!((index.whole(no), index.lowest()), (None, Some(Position(3))));
        index.keep(no, true);
        index.apply_trim(no, Position(5));
        assert_eq!((index.len(no), index.lowest()), (0, Some(Position(3))));
        index.apply_refs(Position(6), 2, &refs(no), &mut |_, _, _| {});
        index.apply_trim(no, Position(7));
        assert_eq!(index.kept(no).collect::<Vec<_>>(), [5, 6, 7].map(Position));
        assert_eq!(index.whole(no).map(|whole| whole.from), Some(Position(4)));
        index.keep(no, false);
        assert_eq!(index.lowest(), None);
    }

    #[test]
    fn what_there_was_no_room_for_is_a_gap_whoever_asks_later() {
        let no = SessionNo(7);
        let mut index = QueueIndex::new(8).keeping(100, Position(0));
        index.open(no);
        index.keep(no, true);
        index.apply_refs(Position(1), 8, &refs(no), &mut |_, _, _| {});
        // Others get these.
        index.apply_refs(Position(9), 3, &Refs::default(), &mut |_, _, _| {});
        assert_eq!(index.whole(no).map(|it| it.without_gap), Some(Position(11)));
        index.apply_trim(no, Position(4));
        index.apply_refs(Position(12), 1, &refs(no), &mut |_, _, _| {});
        let whole = index.whole(no).unwrap();
        assert_eq!((whole.from, whole.without_gap), (Position(0), Position(11)));
    }

    #[test]
    fn an_index_that_is_built_again_knows_what_the_log_still_tells() {
        let no = SessionNo(7);
        let mut index = QueueIndex::new(100).keeping(100, Position(50));
        index.open(no);
        index.keep(no, true);
        assert_eq!(index.whole(no).map(|it| it.from), Some(Position(50)));
        // The session's document says more than the log that is read from its start.
        index.apply_trim(no, Position(44));
        index.apply_refs(Position(41), 8, &refs(no), &mut |_, _, _| {});
        assert_eq!(index.whole(no).map(|it| it.from), Some(Position(40)));
        index.attach(no, Position(42), 0);
        assert_eq!(pulled(&mut index, no, 9), [43, 44, 45, 46, 47, 48]);
        assert!(index.is_read(no));
    }
}
