//! Which shared groups gave the messages of one queue.

use std::collections::{BTreeMap, VecDeque};

use protocol::{GroupTag, Groups};

/// Who gave the messages of a queue. Most queues have none that a group gave.
#[derive(Debug, Default)]
pub(crate) struct Givers(Option<Box<Runs>>);

impl Givers {
    /// Nobody gave anything.
    pub(crate) const NONE: Self = Self(None);

    /// From this position on, behind all that was noted, these gave it.
    pub(crate) fn note(&mut self, position: u64, groups: Groups<'_>) {
        if self.0.is_some() || !groups.is_empty() {
            self.0.get_or_insert_default().note(position, groups);
        }
    }

    /// Who gave the message at a position; nobody is named if that is not known.
    pub(crate) fn at(&self, position: u64) -> &[GroupTag] {
        self.0.as_ref().map(|runs| runs.at(position)).unwrap_or_default()
    }

    /// Nothing is asked for any more but these positions, ascending.
    pub(crate) fn forget(&mut self, left: impl ExactSizeIterator<Item = u64> + Clone) {
        let Some(runs) = &mut self.0 else { return };
        match left.clone().next() {
            Some(oldest) => runs.forget(oldest, left),
            None => self.0 = None,
        }
    }
}

/// From which message of a queue on which groups gave them: 8 bytes where that changes, which in a
/// session that has been in one group alone is once. What other messages there are between does not matter.
#[derive(Debug, Default)]
struct Runs {
    /// What was different so far; the first is nobody's.
    sets: Vec<Set>,
    /// A position, and which of them from there on, packed; ascending.
    runs: VecDeque<u64>,
    /// Where runs begin that are of none of those, and who gave them: so many different ones are rare.
    spilled: BTreeMap<u64, Box<[GroupTag]>>,
}

/// Groups that gave messages together.
#[derive(Debug, Default)]
struct Set {
    groups: Box<[GroupTag]>,
    /// Tells most others apart at once.
    hash: u64,
    /// How many runs are of it. Without one its place is free.
    runs: usize,
}

/// Bits that say which of the sets; the other 50 are of the position.
const BITS: u32 = 14;
/// So many sets of one queue have a place. Others stand with their runs: who has that many has few messages of each.
const SETS: usize = 256;
/// In place of a set's: the run has groups of its own.
const SPILLED: usize = (1 << BITS) - 1;
/// Beyond so many runs those that no message is left of are looked for, once they may be most of them.
const SLACK: usize = 64;

impl Runs {
    fn note(&mut self, position: u64, groups: Groups<'_>) {
        let known = self.runs.back().map(|run| self.named(*run)).unwrap_or_default();
        if groups.iter().eq(known.iter().copied()) {
            return;
        }
        let place = self.place_of(groups);
        match place.and_then(|set| self.sets.get_mut(set)) {
            Some(set) => set.runs += 1,
            None => drop(self.spilled.insert(position, groups.iter().collect())),
        }
        self.runs.push_back(position << BITS | place.unwrap_or(SPILLED) as u64);
    }

    fn at(&self, position: u64) -> &[GroupTag] {
        let behind = self.runs.partition_point(|run| run >> BITS <= position);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        run.map(|run| self.named(*run)).unwrap_or_default()
    }

    fn forget(&mut self, oldest: u64, left: impl ExactSizeIterator<Item = u64>) {
        while self.runs.get(1).is_some_and(|next| next >> BITS <= oldest) {
            if let Some(run) = self.runs.pop_front() {
                self.release(run);
            }
        }
        // No message needs more than one: what is more are those between, and at least half of what is looked through goes.
        if self.runs.len() > SLACK.max(2 * left.len()) {
            self.compact(left);
        }
    }

    /// Leaves out the runs that no message is left of.
    fn compact(&mut self, left: impl Iterator<Item = u64>) {
        let mut left = left.peekable();
        let runs = std::mem::take(&mut self.runs);
        let ends = runs.iter().skip(1).map(|next| next >> BITS).chain([u64::MAX]);
        let newest = runs.len().saturating_sub(1);
        let mut stay = VecDeque::new();
        for (number, (run, end)) in runs.iter().zip(ends).enumerate() {
            while left.next_if(|position| *position < run >> BITS).is_some() {}
            // What comes next goes on with the newest.
            if number == newest || left.peek().is_some_and(|position| *position < end) {
                stay.push_back(*run);
            } else {
                self.release(*run);
            }
        }
        self.runs = stay;
    }

    fn release(&mut self, run: u64) {
        let set = set_of(run);
        if set == SPILLED {
            self.spilled.remove(&(run >> BITS));
            return;
        }
        // The first is always there.
        if let Some(known) = self.sets.get_mut(set).filter(|_| set > 0) {
            known.runs = known.runs.saturating_sub(1);
            if known.runs == 0 {
                *known = Set::default();
            }
        }
    }

    fn named(&self, run: u64) -> &[GroupTag] {
        let groups = match set_of(run) {
            SPILLED => self.spilled.get(&(run >> BITS)).map(|groups| &**groups),
            set => self.sets.get(set).map(|set| &*set.groups),
        };
        groups.unwrap_or_default()
    }

    /// Where these stand among the sets; nowhere, if no place is left.
    fn place_of(&mut self, groups: Groups<'_>) -> Option<usize> {
        if self.sets.is_empty() {
            self.sets.push(Set::default());
        }
        if groups.is_empty() {
            return Some(0);
        }
        let hash = hash_of(groups);
        let is_it = |set: &Set| set.hash == hash && groups.iter().eq(set.groups.iter().copied());
        if let Some(known) = self.sets.iter().position(is_it) {
            return Some(known);
        }
        let free = self.sets.iter().skip(1).position(|set| set.runs == 0).map(|at| at + 1);
        if free.is_none() && self.sets.len() >= SETS {
            return None;
        }
        let set = Set { groups: groups.iter().collect(), hash, runs: 0 };
        let place = free.unwrap_or(self.sets.len());
        match self.sets.get_mut(place) {
            Some(free) => *free = set,
            None => self.sets.push(set),
        }
        Some(place)
    }
}

/// Ours alone and never stored: it only saves comparing.
fn hash_of(groups: Groups<'_>) -> u64 {
    groups.iter().fold(0, |hash: u64, GroupTag(tag)| {
        (hash.rotate_left(5) ^ u64::from(tag)).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    })
}

const fn set_of(run: u64) -> usize {
    (run & ((1 << BITS) - 1)) as usize
}

#[cfg(test)]
mod tests {
    use protocol::{QoS, RefsBuilder, SessionNo};

    use super::*;

    fn note(givers: &mut Runs, at: u64, tags: &[u32]) {
        let mut builder = RefsBuilder::new();
        builder.push(SessionNo(1), protocol::Refs::shared(QoS::AtLeastOnce));
        for tag in tags {
            builder.push_shared(SessionNo(1), QoS::AtLeastOnce, GroupTag(*tag));
        }
        let refs = builder.build();
        let (.., groups) = refs.given().next().unwrap();
        givers.note(at, groups);
    }

    #[test]
    fn who_gave_a_message_is_known_by_its_place_and_costs_nothing_where_it_is_the_same() {
        let mut givers = Runs::default();
        note(&mut givers, 2, &[]);
        assert!(givers.runs.is_empty(), "nobody was named so far");
        for (at, tags) in
            [(5, &[7][..]), (6, &[7]), (9, &[7, 8]), (10, &[7]), (12, &[]), (13, &[8])]
        {
            note(&mut givers, at, tags);
        }
        let at = |givers: &Runs, at| givers.at(at).iter().map(|tag| tag.0).collect::<Vec<_>>();
        let all = |givers: &Runs| (4..14).map(|it| at(givers, it)).collect::<Vec<_>>();
        let expected: [&[u32]; 10] = [&[], &[7], &[7], &[7], &[7], &[7, 8], &[7], &[7], &[], &[8]];
        assert_eq!(all(&givers), expected);
        assert_eq!((givers.runs.len(), givers.sets.len()), (5, 4));
        givers.forget(10, [10].into_iter());
        assert_eq!((at(&givers, 11), at(&givers, 13), givers.runs.len()), (vec![7], vec![8], 3));
        givers.forget(99, [99].into_iter());
        assert_eq!((at(&givers, 100), givers.runs.len()), (vec![8], 1));
    }

    #[test]
    fn behind_a_message_that_is_never_acknowledged_only_what_is_left_is_remembered() {
        let mut givers = Runs::default();
        note(&mut givers, 1, &[1]);
        for at in 2..10_000 {
            // More different ones than there are places, one after the other.
            note(&mut givers, u64::from(at), &[at, 9]);
            let left = [1, at - 1, at];
            givers.forget(1, left.map(u64::from).into_iter());
            for position in left {
                let named: Vec<_> = givers.at(position.into()).iter().map(|tag| tag.0).collect();
                let expected = if position == 1 { vec![1] } else { sorted(position) };
                assert_eq!(named, expected, "{position} of {at}");
            }
            assert!(givers.runs.len() <= SLACK && givers.sets.len() <= SLACK + 2);
        }
    }

    fn sorted(tag: u32) -> Vec<u32> {
        let mut tags = vec![tag, 9];
        tags.sort_unstable();
        tags.dedup();
        tags
    }

    #[test]
    fn beyond_all_places_each_run_names_its_own() {
        let mut givers = Runs::default();
        let last = SETS as u64 + 3;
        for (at, tag) in (1..=last).zip(1..) {
            note(&mut givers, at, &[tag]);
        }
        for (at, tag) in (1..=last).zip(1..) {
            assert_eq!(givers.at(at), &[GroupTag(tag)]);
        }
        assert_eq!((givers.sets.len(), givers.spilled.len()), (SETS, 4));
        note(&mut givers, last + 1, &[u32::try_from(last).unwrap()]);
        assert_eq!(givers.spilled.len(), 4, "it goes on");
        let left: Vec<_> = (100..=last).collect();
        givers.forget(100, left.iter().copied());
        note(&mut givers, last + 2, &[7777]);
        let named = [100, last, last + 2].map(|at| givers.at(at).first().map(|tag| tag.0));
        let expected = [100, u32::try_from(last).unwrap(), 7777].map(Some);
        assert_eq!((named, givers.sets.len()), (expected, SETS));
        givers.forget(last + 2, [last + 2].into_iter());
        assert_eq!((givers.at(last + 2), givers.spilled.len()), (&[GroupTag(7777)][..], 0));
    }
}
