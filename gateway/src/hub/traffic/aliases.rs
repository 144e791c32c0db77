//! Topics that a client knows by number: the aliases that we use towards it `[MQTT5-3.3.2-11]`.
//!
//! An alias belongs to a topic and to a connection `[MQTT5-3.3.2-7]`. While there are unused ones every topic gets one; then a
//! topic without one is sent as it is, unless the alias that is looked at next was not used since it was looked at last: so
//! topics in use keep theirs, and a walk over many topics costs them nothing.

use protocol::hash64;

/// How a PUBLISH names its topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) enum Named {
    /// By its name.
    Name,
    /// By its name and an alias from now on.
    Both(u16),
    /// By an alias that the client knows.
    Alias(u16),
}

impl Named {
    /// The alias, and whether the name is sent too.
    pub(in crate::hub) const fn alias(self) -> Option<(u16, bool)> {
        match self {
            Self::Name => None,
            Self::Both(alias) => Some((alias, true)),
            Self::Alias(alias) => Some((alias, false)),
        }
    }
}

/// The aliases of one connection.
#[derive(Debug)]
pub(in crate::hub) struct Aliases {
    most: usize,
    /// By alias, from 1: a hash of each topic, to be looked through quickly.
    hashes: Vec<u64>,
    topics: Vec<Known>,
    /// The place that is looked at next.
    hand: usize,
}

#[derive(Debug)]
struct Known {
    topic: Box<str>,
    /// How often it was used, halved whenever it is looked at.
    used: u8,
}

impl Known {
    fn of(topic: &str) -> Self {
        Self { topic: topic.into(), used: 1 }
    }
}

/// A topic of at most this many bytes is shorter than its alias.
const SHORT: usize = 3;

/// A topic's hash for [`Aliases::name`].
pub(in crate::hub) fn hash_of(topic: &str) -> u64 {
    hash64(topic.as_bytes())
}

impl Aliases {
    /// None if no alias may be used `[MQTT5-3.1.2-27]`.
    pub(in crate::hub) fn new(client: u16, ours: u16) -> Option<Box<Self>> {
        let most = usize::from(client.min(ours));
        let none = Self { most, hashes: Vec::new(), topics: Vec::new(), hand: 0 };
        (most > 0).then(|| Box::new(none))
    }

    /// How to name a topic in the next PUBLISH. If that is not sent, [`Self::forget`] must be told.
    pub(in crate::hub) fn name(&mut self, topic: &str, hash: u64) -> Named {
        if topic.len() <= SHORT {
            return Named::Name;
        }
        let mut places = self.hashes.iter().enumerate().filter(|(_, known)| **known == hash);
        let found = places.find(|(at, _)| self.topics.get(*at).is_some_and(|k| *k.topic == *topic));
        if let Some((at, _)) = found {
            if let Some(known) = self.topics.get_mut(at) {
                known.used = known.used.saturating_add(1);
            }
            return alias_of(at).map_or(Named::Name, Named::Alias);
        }
        if self.topics.len() < self.most {
            self.hashes.push(hash);
            self.topics.push(Known::of(topic));
            return alias_of(self.topics.len() - 1).map_or(Named::Name, Named::Both);
        }
        let at = self.hand;
        self.hand = (at + 1) % self.most;
        match (self.topics.get_mut(at), self.hashes.get_mut(at)) {
            (Some(known), Some(place)) if known.used == 0 => {
                (*known, *place) = (Known::of(topic), hash);
                alias_of(at).map_or(Named::Name, Named::Both)
            }
            (Some(known), _) => {
                known.used /= 2;
                Named::Name
            }
            (None, _) => Named::Name,
        }
    }

    /// The PUBLISH that would have told an alias was not sent.
    pub(in crate::hub) fn forget(&mut self, alias: u16) {
        let at = usize::from(alias).wrapping_sub(1);
        if let Some(known) = self.topics.get_mut(at) {
            *known = Known { topic: Box::default(), used: 0 };
        }
    }
}

fn alias_of(place: usize) -> Option<u16> {
    u16::try_from(place + 1).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    fn name(aliases: &mut Aliases, topic: &str) -> Named {
        aliases.name(topic, hash_of(topic))
    }

    #[test]
    fn without_room_on_both_sides_there_are_none() {
        assert!(Aliases::new(0, 16).is_none());
        assert!(Aliases::new(16, 0).is_none());
    }

    #[test]
    fn topics_in_use_keep_their_aliases_and_others_get_what_nobody_uses() {
        let mut aliases = Aliases::new(2, 16).unwrap();
        assert_eq!(name(&mut aliases, "a/hot"), Named::Both(1));
        assert_eq!(name(&mut aliases, "a/cold"), Named::Both(2));
        assert_eq!(name(&mut aliases, "abc"), Named::Name, "shorter than its alias");
        for _ in 0..100 {
            assert_eq!(name(&mut aliases, "a/hot"), Named::Alias(1));
        }
        let named: Vec<_> = (0..4).map(|_| name(&mut aliases, "a/new")).collect();
        assert_eq!(named, [Named::Name, Named::Name, Named::Name, Named::Both(2)]);
        assert_eq!(name(&mut aliases, "a/hot"), Named::Alias(1));
        aliases.forget(2);
        assert_ne!(name(&mut aliases, "a/new"), Named::Alias(2), "it was not told");
    }

    proptest! {
        #[test]
        fn a_client_that_follows_always_knows_the_topic(
            most in 1_u16..5,
            topics in proptest::collection::vec((0_u8..8, any::<bool>()), 0..200),
        ) {
            let mut aliases = Aliases::new(most, 16).unwrap();
            let mut client = HashMap::<u16, String>::new();
            for (topic, sent) in topics {
                let topic = format!("topic/{topic}");
                match name(&mut aliases, &topic) {
                    Named::Name => {}
                    Named::Both(alias) if sent => {
                        prop_assert!((1..=most).contains(&alias));
                        client.insert(alias, topic);
                    }
                    Named::Both(alias) => aliases.forget(alias),
                    Named::Alias(alias) => prop_assert_eq!(client.get(&alias), Some(&topic)),
                }
            }
        }
    }
}
