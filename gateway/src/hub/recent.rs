//! What came last of many things, as far as there is room for it.

use std::hash::Hash;

use protocol::HashMap;

/// The values that were put in last, in two halves: the older half goes when the younger one is full. So what is put in again
/// and again stays without a note of when, nothing is looked through to make room, and what is put in least often goes first.
///
/// Its limit is on what the values weigh: in all never more than two halves, and a value each that made them full.
#[derive(Debug)]
pub(super) struct Recent<K, V> {
    young: HashMap<K, V>,
    old: HashMap<K, V>,
    /// What the younger half weighs.
    weight: usize,
    /// What a half weighs that is full.
    half: usize,
    /// What a value weighs; the same as long as it is in here.
    weigh: fn(&V) -> usize,
}

impl<K: Hash + Eq, V> Recent<K, V> {
    /// None yet; a half is full once its values weigh so much.
    pub(super) fn new(half: usize, weigh: fn(&V) -> usize) -> Self {
        Self { young: HashMap::default(), old: HashMap::default(), weight: 0, half, weigh }
    }

    /// Puts a value in, in the place of the one that was there.
    pub(super) fn put(&mut self, key: K, value: V) {
        if self.weight >= self.half {
            (self.old, self.weight) = (std::mem::take(&mut self.young), 0);
        }
        self.weight += (self.weigh)(&value);
        if let Some(before) = self.young.insert(key, value) {
            self.weight -= (self.weigh)(&before);
        }
    }

    /// The last value under a key, to be changed; its weight must stay.
    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.young.get_mut(key).or_else(|| self.old.get_mut(key))
    }

    /// The last value under a key, and none is left there.
    pub(super) fn take(&mut self, key: &K) -> Option<V> {
        // Both halves may have one, since nobody looks into the older half to put one in.
        let old = self.old.remove(key);
        let Some(young) = self.young.remove(key) else { return old };
        self.weight -= (self.weigh)(&young);
        Some(young)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    /// A full half, in a test.
    const HALF: usize = 8;

    /// Values that say what they weigh.
    fn recent() -> Recent<u8, usize> {
        Recent::new(HALF, |value| *value)
    }

    #[test]
    fn the_older_half_goes_when_the_younger_is_full() {
        let mut recent = recent();
        for key in 0..8 {
            recent.put(key, 1);
        }
        recent.put(8, 1);
        assert!((0..9).all(|key| recent.get_mut(&key).is_some()), "one half and a bit");
        for key in 9..16 {
            recent.put(key, 1);
        }
        assert!(recent.get_mut(&0).is_some(), "both are full");
        recent.put(16, 1);
        assert!((0..8).all(|key| recent.get_mut(&key).is_none()));
        assert!((8..17).all(|key| recent.get_mut(&key).is_some()));
    }

    #[test]
    fn one_that_is_put_in_all_the_time_makes_no_others_go() {
        let mut recent = recent();
        recent.put(1, 1);
        for times in 0..100 {
            recent.put(2, 3);
            assert!(times % 2 == 0 || recent.take(&2) == Some(3));
        }
        assert_eq!(recent.take(&1), Some(1));
    }

    #[test]
    fn what_was_taken_is_in_neither_half() {
        let mut recent = recent();
        recent.put(1, 5);
        recent.put(2, HALF);
        recent.put(1, 6);
        assert_eq!(recent.take(&1), Some(6), "the last one");
        assert_eq!(recent.take(&1), None, "and not the one before it");
    }

    proptest! {
        #[test]
        fn what_is_there_is_what_was_put_in_last_and_no_more_than_there_is_room_for(
            steps in proptest::collection::vec((0_u8..12, proptest::option::of(1_usize..5)), 1..200)
        ) {
            let mut recent = recent();
            // The last value of each key, and what was put in up to it.
            let mut model = HashMap::new();
            let mut put = 0;
            for (key, value) in steps {
                if let Some(value) = value {
                    put += value;
                    recent.put(key, value);
                    model.insert(key, (value, put));
                } else {
                    let (last, taken) = (model.remove(&key), recent.take(&key));
                    prop_assert!(taken.is_none() || taken == last.map(|it| it.0), "{taken:?}");
                }
                let halves = [&recent.young, &recent.old].map(|half| half.values().sum::<usize>());
                prop_assert_eq!(recent.weight, halves[0]);
                prop_assert!(halves.iter().all(|half| *half < HALF + 4));
                for key in 0..12 {
                    let (found, last) = (recent.get_mut(&key).copied(), model.get(&key));
                    if last.is_some_and(|(_, up_to)| put - up_to <= HALF) {
                        prop_assert!(found.is_some(), "nothing goes before a half came behind it");
                    }
                    prop_assert!(found.is_none() || found == last.map(|it| it.0), "{found:?}");
                }
            }
        }
    }
}
