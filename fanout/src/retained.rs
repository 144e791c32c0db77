//! The last publication kept per topic `[MQTT5-3.3.1.3]`.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use protocol::{Publication, TopicFilter, Wall, matches};

/// No room for another retained topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetainedFull;

/// Retained messages by topic, bounded by count.
///
/// Topics are kept in text order, so that a filter is answered by a walk of the range that begins with its part
/// before the first wildcard.
#[derive(Debug, Default)]
pub struct Retained {
    /// Each with the moment since when it stands.
    topics: BTreeMap<Arc<str>, (Publication, Wall)>,
    bytes: usize,
}

impl Retained {
    /// How many topics have a message.
    pub fn len(&self) -> usize {
        self.topics.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.topics.is_empty()
    }

    /// Bytes of all topics, properties and payloads.
    pub const fn len_bytes(&self) -> usize {
        self.bytes
    }

    /// Whether a message for this topic would go beyond `max` topics.
    pub fn is_full_for(&self, topic: &str, max: usize) -> bool {
        self.topics.len() >= max && !self.topics.contains_key(topic)
    }

    /// Replaces the message of a topic `[MQTT5-3.3.1-5]`, with the moment since when it stands, 0 if that is not known; `None`
    /// deletes it `[MQTT5-3.3.1-6]`.
    pub fn set(&mut self, topic: &str, message: Option<(Publication, Wall)>) {
        let old = match message {
            Some(message) => {
                self.bytes += message.0.len_bytes();
                self.topics.insert(topic.into(), message)
            }
            None => self.topics.remove(topic),
        };
        self.bytes -= old.map_or(0, |(old, _)| old.len_bytes());
    }

    /// Since when the message of a topic stands; 0 if that is not known, or if there is none.
    pub fn since(&self, topic: &str) -> Wall {
        self.topics.get(topic).map_or(Wall(0), |(_, since)| *since)
    }

    /// Shows messages that match a filter and have not expired, in the order of their topics: those behind the topic
    /// `after`, until `see` has enough, which is told of every topic that was looked at, also of one that does not match.
    /// Answers behind which topic to go on, and nothing when there are no more.
    pub fn for_matches<'t>(
        &'t self,
        filter: &TopicFilter,
        after: Option<&str>,
        now: Wall,
        mut see: impl FnMut(Option<&'t Publication>) -> bool,
    ) -> Option<Arc<str>> {
        let live = |p: &&Publication| p.expires_at.is_none_or(|at| at > now);
        if !filter.has_wildcard() {
            let message = self.topics.get(filter.as_str()).map(|(message, _)| message);
            see(message.filter(|_| after.is_none()).filter(live));
            return None;
        }
        let text = filter.as_str();
        let fixed = text.split(['+', '#']).next().unwrap_or_default();
        // `a/#` also matches `a`, which stands before `a/`.
        let start = fixed.strip_suffix('/').unwrap_or(fixed);
        let from = after.map_or(Bound::Included(start), Bound::Excluded);
        let range = self.topics.range::<str, _>((from, Bound::Unbounded));
        let range = range.take_while(|(topic, _)| topic.starts_with(start));
        for (topic, (message, _)) in range {
            if !see(Some(message).filter(|it| matches(text, topic) && live(it))) {
                return Some(Arc::clone(topic));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::QoS;

    fn found(retained: &Retained, filter: &str, now: u64) -> Vec<String> {
        let filter = TopicFilter::new(filter).unwrap();
        // In one go, and by ones and twos.
        let in_slices = |looks: usize, enough: usize| {
            let (mut found, mut after) = (Vec::new(), None::<Arc<str>>);
            loop {
                let (before, mut looked) = (found.len(), 0);
                after = retained.for_matches(&filter, after.as_deref(), Wall(now), |p| {
                    looked += 1;
                    found.extend(p.map(|p| p.topic().to_owned()));
                    found.len() - before < enough && looked < looks
                });
                if after.is_none() {
                    return found;
                }
            }
        };
        let found = in_slices(usize::MAX, usize::MAX);
        assert_eq!(in_slices(1, 1), found);
        assert_eq!(in_slices(usize::MAX, 2), found);
        found
    }

    #[test]
    fn a_filter_finds_what_it_matches_and_nothing_expired() {
        let mut retained = Retained::default();
        for topic in ["a", "a/b", "a/b/c", "ab", "b/b", "$SYS/x"] {
            let mut message = Publication::new(topic, &[], b"x", QoS::AtMostOnce, true);
            message.expires_at = (topic == "a/b/c").then_some(Wall(10));
            retained.set(topic, Some((message, Wall(7))));
        }
        assert_eq!(found(&retained, "a/#", 0), ["a", "a/b", "a/b/c"]);
        assert_eq!(found(&retained, "a/#", 10), ["a", "a/b"]);
        assert_eq!(found(&retained, "+/b", 0), ["a/b", "b/b"]);
        assert_eq!(found(&retained, "#", 10), ["a", "a/b", "ab", "b/b"]);
        assert_eq!(found(&retained, "ab", 0), ["ab"]);
        assert_eq!(found(&retained, "a/b/c", 9), ["a/b/c"]);
        assert!(found(&retained, "a/b/c", 10).is_empty());
        assert_eq!((retained.since("ab"), retained.since("none")), (Wall(7), Wall(0)));
        assert!(retained.is_full_for("new", 6) && !retained.is_full_for("ab", 6));
        assert!(!retained.is_full_for("new", 7));
        retained.set("ab", None);
        assert!(found(&retained, "ab", 0).is_empty());
        assert!(retained.len_bytes() > 0);
    }
}
