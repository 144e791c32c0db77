//! Which shared groups gave the messages of one queue.

use std::collections::VecDeque;

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

    /// Nothing before this position is asked for any more; without one nothing is left.
    pub(crate) fn forget(&mut self, oldest: Option<u64>) {
        match (oldest, &mut self.0) {
            (Some(oldest), Some(runs)) => runs.forget(oldest),
            (Some(_), None) => {}
            (None, runs) => *runs = None,
        }
    }
}

/// From which message of a queue on which groups gave them: 8 bytes where that changes, which in a
/// session that has been in one group alone is once. What other messages there are between does not matter.
#[derive(Debug, Default)]
struct Runs {
    /// What was different so far; the first is nobody's.
    sets: Vec<Box<[GroupTag]>>,
    /// A position, and which of them from there on, packed; ascending.
    runs: VecDeque<u64>,
}

/// Bits that say which of the sets; the other 50 are of the position.
const BITS: u32 = 14;

impl Runs {
    fn note(&mut self, position: u64, groups: Groups<'_>) {
        let known = self.runs.back().map_or(0, |run| set_of(*run));
        if groups.iter().eq(self.named(known).iter().copied()) {
            return;
        }
        let set = self.place_of(groups);
        self.runs.push_back(position << BITS | set as u64);
    }

    fn at(&self, position: u64) -> &[GroupTag] {
        let behind = self.runs.partition_point(|run| run >> BITS <= position);
        let run = behind.checked_sub(1).and_then(|at| self.runs.get(at));
        self.named(run.map_or(0, |run| set_of(*run)))
    }

    fn forget(&mut self, position: u64) {
        while self.runs.get(1).is_some_and(|next| next >> BITS <= position) {
            self.runs.pop_front();
        }
    }

    fn named(&self, set: usize) -> &[GroupTag] {
        self.sets.get(set).map(AsRef::as_ref).unwrap_or_default()
    }

    /// Where these stand among the sets. So many that no number is left for more are nobody's.
    fn place_of(&mut self, groups: Groups<'_>) -> usize {
        if self.sets.is_empty() {
            self.sets.push(Box::default());
        }
        let known = self.sets.iter().position(|set| groups.iter().eq(set.iter().copied()));
        known.unwrap_or_else(|| {
            if self.sets.len() >> BITS != 0 {
                return 0;
            }
            self.sets.push(groups.iter().collect());
            self.sets.len() - 1
        })
    }
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
        givers.forget(10);
        assert_eq!((at(&givers, 11), at(&givers, 13), givers.runs.len()), (vec![7], vec![8], 3));
        givers.forget(99);
        assert_eq!((at(&givers, 100), givers.runs.len()), (vec![8], 1));
    }

    #[test]
    fn beyond_all_numbers_nobody_is_named() {
        let mut givers = Runs::default();
        note(&mut givers, 4, &[6]);
        givers.sets.resize_with(1 << BITS, || [GroupTag(0)].into());
        note(&mut givers, 9, &[5]);
        assert_eq!((givers.at(8), givers.at(9)), (&[GroupTag(6)][..], &[][..]));
        assert_eq!(givers.sets.len(), 1 << BITS);
    }
}
