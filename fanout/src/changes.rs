//! Which topics a change of subscriptions concerns, so that what is remembered of all others stays good.
//!
//! A change of a filter is noted where its levels before the first wildcard lead, or, if it has no wildcard, at the topic itself. A
//! topic looks at each of its own beginnings. Several may share a place: then something is looked up again that had not changed.

use std::sync::atomic::{AtomicU64, Ordering};

use protocol::peer::FilterHash;
use protocol::{TopicFilter, hash64, levels};
use smallvec::SmallVec;

/// The version of a table, and in which of them something last changed for each beginning of topics. Written only by whoever may
/// write the table; anybody may read it without the table's lock.
#[derive(Debug)]
pub struct Changes {
    version: AtomicU64,
    /// The last change that may concern any topic.
    all: AtomicU64,
    places: Box<[AtomicU64]>,
}

/// Where a topic looks for changes that concern it.
#[derive(Debug)]
pub struct Beginnings(SmallVec<[u16; 8]>);

/// Places, 8 bytes each: after a thousand changes elsewhere one of seven topics of four levels is looked up again for nothing.
const PLACES: usize = 1 << 15;
/// Levels that are told apart; a filter with more before its wildcard concerns all topics that begin with these.
const LEVELS: usize = 8;

impl Default for Changes {
    fn default() -> Self {
        Self {
            version: AtomicU64::new(0),
            all: AtomicU64::new(0),
            places: (0..PLACES).map(|_| AtomicU64::new(0)).collect(),
        }
    }
}

impl Changes {
    /// Grows with every change. What is found out in the table after this is of this version or a later one.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Whether what was found out of a topic that looks here, as of a version, still holds. A no may be in vain.
    pub fn is_good(&self, topic: &Beginnings, since: u64) -> bool {
        let good = |place: &AtomicU64| place.load(Ordering::Relaxed) <= since;
        good(&self.all) && topic.0.iter().all(|at| self.place(*at).is_none_or(good))
    }

    /// A filter changes, of which a reader of the table sees nothing yet, or all.
    pub(crate) fn note(&self, filter: &TopicFilter) {
        if filter.has_wildcard() {
            match fixed(filter.as_str()) {
                Some(beginning) => self.note_at(self.place(place_of(beginning))),
                None => self.note_all(),
            }
        } else {
            self.note_exact(FilterHash::of(filter.as_str()));
        }
    }

    /// A filter without wildcards changes that is known by its hash alone.
    pub(crate) fn note_exact(&self, filter: FilterHash) {
        self.note_at(self.place(place_of_exact(filter)));
    }

    /// Something changes that may concern every topic.
    pub(crate) fn note_all(&self) {
        self.note_at(Some(&self.all));
    }

    fn place(&self, at: u16) -> Option<&AtomicU64> {
        self.places.get(usize::from(at))
    }

    fn note_at(&self, place: Option<&AtomicU64>) {
        let version = self.version.load(Ordering::Relaxed) + 1;
        if let Some(place) = place {
            place.store(version, Ordering::Relaxed);
        }
        // Who sees the version sees where.
        self.version.store(version, Ordering::Release);
    }
}

impl Beginnings {
    /// Of a topic.
    pub fn of(topic: &str) -> Self {
        let ends = topic.match_indices('/').map(|(at, _)| at).chain([topic.len()]);
        let beginnings = ends.take(LEVELS).filter_map(|end| topic.get(..end));
        let exact = place_of_exact(FilterHash::of(topic));
        Self(beginnings.map(place_of).chain([exact]).collect())
    }
}

/// The levels of a filter before its first wildcard, as far as they are told apart; none if it begins with one.
fn fixed(filter: &str) -> Option<&str> {
    let before = levels(filter).take(LEVELS).take_while(|level| !matches!(*level, "+" | "#"));
    let bytes = before.map(|level| level.len() + 1).sum::<usize>();
    filter.get(..bytes.checked_sub(1)?)
}

fn place_of(beginning: &str) -> u16 {
    place_by(hash64(beginning.as_bytes()).to_be_bytes())
}

fn place_of_exact(filter: FilterHash) -> u16 {
    place_by(filter.to_bytes())
}

/// A place by the first bits of a hash.
const fn place_by([first, second, ..]: [u8; 8]) -> u16 {
    u16::from_be_bytes([first, second]) >> (u16::BITS - PLACES.trailing_zeros())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A table in which these filters changed, in versions 1, 2, …
    fn changed(filters: &[&str]) -> Changes {
        let changes = Changes::default();
        filters.iter().for_each(|filter| changes.note(&TopicFilter::new(filter).unwrap()));
        changes
    }

    #[test]
    fn a_change_concerns_the_topics_that_begin_like_its_filter() {
        let concerned =
            |filter: &str, topic: &str| !changed(&[filter]).is_good(&Beginnings::of(topic), 0);
        for (filter, topic) in [
            ("a/b", "a/b"),
            ("a/b/#", "a/b"),
            ("a/b/#", "a/b/c/d"),
            ("a/+/c", "a/x/c"),
            ("a/+/c", "a/x/d"),
            ("+/b", "a/b"),
            ("#", "x"),
            ("/#", "/x"),
            ("1/2/3/4/5/6/7/8/9/10/#", "1/2/3/4/5/6/7/8/9/10/11"),
        ] {
            assert!(concerned(filter, topic), "{filter} {topic}");
        }
        for (filter, topic) in
            [("a/b", "a/b/c"), ("a/b", "a"), ("a/b/#", "a/c"), ("a/+/c", "b/x/c"), ("/#", "x")]
        {
            assert!(!concerned(filter, topic), "{filter} {topic}");
        }
    }

    #[test]
    fn what_is_newer_than_the_change_is_good() {
        let changes = changed(&["a/+", "b/+", "a/+"]);
        let is_good = |topic, since| changes.is_good(&Beginnings::of(topic), since);
        assert!(!is_good("a/x", 2) && is_good("a/x", 3));
        assert!(!is_good("b/x", 1) && is_good("b/x", 2));
        changes.note_all();
        assert_eq!(changes.version(), 4);
        assert!(!is_good("c", 3) && is_good("c", 4));
    }

    proptest! {
        #[test]
        fn no_topic_misses_a_change_of_a_filter_that_matches_it(
            topic in "[ab]?(/[ab]?){0,11}",
            filter in "([ab]?|\\+)(/([ab]?|\\+)){0,11}(/#)?",
        ) {
            prop_assume!(!topic.is_empty() && !filter.is_empty());
            let filter = TopicFilter::new(&filter).unwrap();
            let mut table = crate::FilterTable::default();
            *table.entry(&filter).unwrap() = ();
            let mut matches = false;
            table.for_matches(&topic, |()| matches = true);
            let changes = Changes::default();
            changes.note(&filter);
            prop_assert!(!matches || !changes.is_good(&Beginnings::of(&topic), 0));
        }
    }
}
