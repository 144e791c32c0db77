//! What this gateway has subscribers for, as its peers are told it.

use std::collections::BTreeMap;

use super::frame::InterestChange;
use super::hash::{FilterHash, HashChange};
use crate::{HashSet, SharedName, TopicFilter};

/// All of this gateway's interest, and which of it peers know by a hash.
///
/// A plain filter without wildcards is told by its hash, which the peer keeps in its place. Of filters with the same hash only
/// the first is; the others are told by name. So taking one back never takes back another, and a topic with the hash of a
/// filter costs a forward that nobody wanted.
#[derive(Debug, Default)]
pub struct OwnInterest {
    rev: u64,
    /// Ordered, so that snapshots are the same from run to run.
    told: BTreeMap<(TopicFilter, Option<SharedName>), Told>,
    hashes: HashSet<FilterHash>,
}

#[derive(Debug, Clone, Copy)]
struct Told {
    members: u32,
    hashed: bool,
}

/// A change of the interest, as all peers are told it.
#[derive(Debug)]
pub struct InterestNews {
    pub(super) rev: u64,
    /// All of it by name, for peers of the last version.
    pub(super) all: Vec<InterestChange>,
    /// What is not told by hash.
    pub(super) named: Vec<InterestChange>,
    pub(super) hashed: Vec<HashChange>,
}

impl OwnInterest {
    /// The revision of the last change.
    pub const fn rev(&self) -> u64 {
        self.rev
    }

    /// How many filters and shared groups.
    pub fn len(&self) -> usize {
        self.told.len()
    }

    /// Whether there is no interest in anything.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty()
    }

    /// Takes a change, with the revision after it; says what the peers must be told.
    pub fn change(&mut self, rev: u64, changes: Vec<InterestChange>) -> InterestNews {
        self.rev = rev;
        let (mut named, mut hashed) = (Vec::new(), Vec::new());
        for change in &changes {
            match self.change_one(change) {
                Some(Some(hash)) => hashed.push(HashChange::new(hash, change.members)),
                Some(None) => named.push(change.clone()),
                None => {}
            }
        }
        InterestNews { rev, all: changes, named, hashed }
    }

    /// The hash, if the filter is told by it; nothing if there is nothing to tell.
    #[expect(clippy::option_option, reason = "by name and not at all are different answers")]
    fn change_one(&mut self, change: &InterestChange) -> Option<Option<FilterHash>> {
        let InterestChange { filter, share, members } = change;
        let exact = share.is_none() && !filter.has_wildcard();
        let hash = exact.then(|| FilterHash::of(filter.as_str()));
        let key = (filter.clone(), share.clone());
        if *members == 0 {
            let told = self.told.remove(&key)?;
            let hash = hash.filter(|_| told.hashed);
            if let Some(hash) = &hash {
                self.hashes.remove(hash);
            }
            return Some(hash);
        }
        let told = self.told.entry(key).or_insert_with(|| Told {
            members: *members,
            hashed: hash.is_some_and(|hash| self.hashes.insert(hash)),
        });
        told.members = *members;
        Some(hash.filter(|_| told.hashed))
    }

    /// All of it by name.
    pub(super) fn all(&self) -> impl Iterator<Item = InterestChange> + '_ {
        self.told.iter().map(to_change)
    }

    /// What is not told by hash.
    pub(super) fn named(&self) -> impl Iterator<Item = InterestChange> + '_ {
        self.told.iter().filter(|(_, told)| !told.hashed).map(to_change)
    }

    /// What is told by hash.
    pub(super) fn hashed(&self) -> impl Iterator<Item = HashChange> + '_ {
        let hashed = self.told.iter().filter(|(_, told)| told.hashed);
        hashed.map(|((filter, _), told)| {
            HashChange::new(FilterHash::of(filter.as_str()), told.members)
        })
    }
}

fn to_change(
    ((filter, share), told): (&(TopicFilter, Option<SharedName>), &Told),
) -> InterestChange {
    InterestChange { filter: filter.clone(), share: share.clone(), members: told.members }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn change(text: &str, members: u32) -> InterestChange {
        let (share, filter) = TopicFilter::parse_subscription(text).unwrap();
        InterestChange { filter, share, members }
    }

    #[test]
    fn exact_filters_are_told_by_hash_and_all_others_by_name() {
        let mut own = OwnInterest::default();
        let changes = vec![change("a/b", 2), change("a/+", 1), change("$share/g/a/b", 3)];
        let news = own.change(3, changes.clone());
        assert_eq!((news.rev, own.rev(), own.len()), (3, 3, 3));
        assert_eq!(news.all, changes);
        assert_eq!(news.named, changes[1..]);
        assert_eq!(news.hashed, [HashChange::new(FilterHash::of("a/b"), 2)]);
        assert_eq!((own.all().count(), own.named().count()), (3, 2));
        assert_eq!(own.hashed().collect::<Vec<_>>(), news.hashed);
        let news = own.change(4, vec![change("a/b", 0), change("a/+", 0)]);
        assert_eq!(news.hashed, [HashChange::new(FilterHash::of("a/b"), 0)]);
        assert_eq!(news.named, [change("a/+", 0)]);
        assert_eq!(own.len(), 1);
    }

    #[test]
    fn a_second_filter_with_the_same_hash_is_told_by_name_as_long_as_it_stands() {
        let mut own = OwnInterest::default();
        // As if another filter had that hash.
        own.hashes.insert(FilterHash::of("a"));
        assert_eq!(own.change(1, vec![change("a", 1)]).named, [change("a", 1)]);
        own.hashes.remove(&FilterHash::of("a"));
        assert_eq!(own.change(2, vec![change("a", 2)]).named, [change("a", 2)]);
        assert_eq!(own.named().collect::<Vec<_>>(), [change("a", 2)]);
        assert_eq!(own.change(3, vec![change("a", 0)]).named, [change("a", 0)]);
        assert_eq!(own.change(4, vec![change("a", 1)]).hashed.len(), 1);
    }
}
