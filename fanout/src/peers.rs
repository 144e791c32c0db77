//! What one peer gateway has subscribers for.

use std::collections::BTreeMap;

use protocol::peer::{FilterHash, HashChange};
use protocol::{HashSet, SharedName, TopicFilter};

use crate::Wants;

/// A peer's interest, as it told it.
#[derive(Debug, Default)]
pub(crate) struct PeerInterest {
    /// Filters and groups that were told by name; they stand in the table too.
    pub(crate) named: BTreeMap<(TopicFilter, Option<SharedName>), u32>,
    pub(crate) hashed: HashedInterest,
}

/// Exact filters of a peer by their hashes: 10 to 21 bytes each, and one or two look-ups for a topic however many there are.
/// A topic with the hash of a filter costs a forward that nobody wanted.
#[derive(Debug, Default)]
pub struct HashedInterest {
    everything: HashSet<FilterHash>,
    at_most_once: HashSet<FilterHash>,
}

/// Room for so many hashes is kept, however few there are.
const KEEP: usize = 64;

impl HashedInterest {
    /// All that a peer told by hash.
    pub fn new(all: &[HashChange]) -> Self {
        let mut hashed = Self::default();
        let everything =
            all.iter().filter(|change| wanted_by(change.members()) == Wants::Everything);
        let everything = everything.count();
        hashed.everything.reserve(everything);
        hashed.at_most_once.reserve(all.len() - everything);
        hashed.change(all);
        hashed
    }

    /// How many filters.
    pub fn len(&self) -> usize {
        self.everything.len() + self.at_most_once.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What is wanted of a topic.
    pub(crate) fn wants(&self, topic: FilterHash) -> Wants {
        if self.everything.contains(&topic) {
            Wants::Everything
        } else if self.at_most_once.contains(&topic) {
            Wants::AtMostOnce
        } else {
            Wants::Nothing
        }
    }

    pub(crate) fn change(&mut self, changes: &[HashChange]) {
        for change in changes {
            let hash = change.hash();
            self.everything.remove(&hash);
            self.at_most_once.remove(&hash);
            match wanted_by(change.members()) {
                Wants::Everything => drop(self.everything.insert(hash)),
                Wants::AtMostOnce => drop(self.at_most_once.insert(hash)),
                Wants::Nothing => {}
            }
        }
        for set in [&mut self.everything, &mut self.at_most_once] {
            if set.capacity() / 8 > set.len().max(KEEP) {
                set.shrink_to(set.len() * 2);
            }
        }
    }
}

/// What a peer told of a plain filter; anything unknown is everything, so that nothing is missed.
pub(crate) const fn wanted_by(members: u32) -> Wants {
    match members {
        0 => Wants::Nothing,
        2 => Wants::AtMostOnce,
        _ => Wants::Everything,
    }
}

/// How peers are told what is wanted of a plain filter.
pub(crate) const fn members_of(wants: Wants) -> u32 {
    match wants {
        Wants::Nothing => 0,
        Wants::Everything => 1,
        Wants::AtMostOnce => 2,
    }
}

/// How much interest a peer has told, by kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InterestSize {
    /// Filters without wildcards.
    pub exact: usize,
    /// Filters with wildcards.
    pub wildcard: usize,
    /// Shared groups with a clean member there.
    pub shared: usize,
}

impl PeerInterest {
    pub(crate) fn size(&self) -> InterestSize {
        let mut size = InterestSize { exact: self.hashed.len(), ..InterestSize::default() };
        for (filter, share) in self.named.keys() {
            match (share, filter.has_wildcard()) {
                (Some(_), _) => size.shared += 1,
                (None, true) => size.wildcard += 1,
                (None, false) => size.exact += 1,
            }
        }
        size
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wanted_of_a_hash_is_what_was_told_last() {
        let change = |topic, members| HashChange::new(FilterHash::of(topic), members);
        let mut hashed = HashedInterest::new(&[change("a", 1), change("b", 2)]);
        let wants = |hashed: &HashedInterest, topic| hashed.wants(FilterHash::of(topic));
        assert_eq!(
            (wants(&hashed, "a"), wants(&hashed, "b")),
            (Wants::Everything, Wants::AtMostOnce)
        );
        hashed.change(&[change("a", 2), change("b", 0), change("c", 1)]);
        assert_eq!((wants(&hashed, "a"), wants(&hashed, "b")), (Wants::AtMostOnce, Wants::Nothing));
        assert_eq!((wants(&hashed, "c"), hashed.len()), (Wants::Everything, 2));
    }

    #[test]
    fn room_that_is_not_needed_any_more_is_given_back() {
        let all = |members| {
            (0..10_000).map(move |n: u32| HashChange::new(FilterHash::of(&n.to_string()), members))
        };
        let mut hashed = HashedInterest::new(&all(1).collect::<Vec<_>>());
        hashed.change(&all(0).collect::<Vec<_>>());
        assert!(hashed.is_empty() && hashed.everything.capacity() <= 8 * KEEP);
    }
}
