//! What was found out about topics, as long as it stays good and there is room.

use std::hash::BuildHasher;
use std::sync::Arc;

use protocol::HashMap;

use crate::Beginnings;

/// Values by topic, each as it was when its stamp was taken. There is a limit; full, it takes in only who comes for the second
/// time, so that topics that are used once cost neither memory nor the place of others. Each of those looks at one place: who was
/// not asked for since the last look leaves it to the newcomer, and to who comes for the eighth time whoever has it. So of more
/// topics than there is room for, used in turn, most of those that are remembered stay.
#[derive(Debug)]
pub struct Remembered<V, S> {
    by_topic: HashMap<Arc<str>, Topic<V>>,
    /// What is seldom looked at stands apart, so that the map is small.
    places: Vec<Place<S>>,
    /// Whether somebody asked for the topic at a place.
    asked: Vec<bool>,
    /// The place that is looked at next for somebody to forget.
    hand: usize,
    limit: usize,
    /// Who came lately and was not taken in.
    turned_away: TurnedAway,
    /// The last stamp that was asked for, and its number.
    last: Option<S>,
    number: u32,
}

#[derive(Debug)]
struct Topic<V> {
    value: V,
    /// The number of the last stamp for which the value is known to be good.
    good_at: u32,
    place: u32,
}

#[derive(Debug)]
struct Place<S> {
    topic: Arc<str>,
    beginnings: Beginnings,
    /// As of when the value is known to be good.
    stamp: S,
}

impl<V, S: Copy + PartialEq> Remembered<V, S> {
    /// Of at most so many topics, at least one.
    pub fn new(limit: usize) -> Self {
        Self {
            by_topic: HashMap::default(),
            places: Vec::new(),
            asked: Vec::new(),
            hand: 0,
            limit: limit.max(1),
            turned_away: TurnedAway::default(),
            last: None,
            number: 0,
        }
    }

    /// Remembers at most so many topics from now on, at least one. If there are more, all are forgotten.
    pub fn set_limit(&mut self, limit: usize) {
        self.limit = limit.max(1);
        if self.places.len() > self.limit {
            *self = Self::new(limit);
        }
    }

    /// What is remembered of a topic, if it is still good now: `is_good` is asked where it is of an older stamp.
    pub fn get(
        &mut self,
        topic: &str,
        now: S,
        is_good: impl FnOnce(&Beginnings, S) -> bool,
    ) -> Option<&V> {
        let number = self.number_of(now);
        let known = self.by_topic.get_mut(topic)?;
        if known.good_at != number {
            let place = self.places.get_mut(known.place as usize)?;
            if !is_good(&place.beginnings, place.stamp) {
                return None;
            }
            place.stamp = now;
            known.good_at = number;
        }
        if let Some(asked) = self.asked.get_mut(known.place as usize) {
            *asked = true;
        }
        Some(&known.value)
    }

    /// Remembers a value as of a stamp that was taken before it was found out, if there is a place for it.
    pub fn put(&mut self, topic: &str, stamp: S, value: V) {
        let good_at = self.number_of(stamp);
        if let Some(known) = self.by_topic.get_mut(topic) {
            (known.value, known.good_at) = (value, good_at);
            let place = known.place as usize;
            if let (Some(place), Some(asked)) =
                (self.places.get_mut(place), self.asked.get_mut(place))
            {
                (place.stamp, *asked) = (stamp, true);
            }
            return;
        }
        if self.places.len() >= self.limit && !self.makes_room_for(topic) {
            return;
        }
        let topic = Arc::<str>::from(topic);
        let place = Place { beginnings: Beginnings::of(&topic), topic: Arc::clone(&topic), stamp };
        let at = if self.places.len() < self.limit {
            self.places.push(place);
            self.asked.push(false);
            self.places.len() - 1
        } else if let Some(freed) = self.places.get_mut(self.hand) {
            self.by_topic.remove(&std::mem::replace(freed, place).topic);
            self.hand
        } else {
            return;
        };
        if let Ok(place) = u32::try_from(at) {
            self.by_topic.insert(topic, Topic { value, good_at, place });
        }
    }

    /// A number for a stamp, as long as no other one is asked for.
    fn number_of(&mut self, stamp: S) -> u32 {
        if self.last != Some(stamp) {
            self.last = Some(stamp);
            self.number = self.number.checked_add(1).unwrap_or_else(|| {
                // All were given out: nobody may have one that is given out again.
                self.by_topic.clear();
                (self.places, self.asked, self.hand) = (Vec::new(), Vec::new(), 0);
                1
            });
        }
        self.number
    }

    /// Where all places are taken: whether the topic came before, and the next place is that of one whom nobody asked for; or it
    /// came often enough.
    fn makes_room_for(&mut self, topic: &str) -> bool {
        let hash = self.by_topic.hasher().hash_one(topic);
        let times = self.turned_away.note(hash, self.limit);
        if times == 0 {
            return false;
        }
        self.hand = (self.hand + 1) % self.places.len();
        let is_free = |asked: &mut bool| !std::mem::take(asked);
        self.asked.get_mut(self.hand).is_some_and(is_free) || times == TurnedAway::OFTEN
    }
}

/// Who came lately and was not taken in: of each topic some bits of its hash and how often, at a place of its own, where the next one
/// with the same place takes their place.
#[derive(Debug, Default)]
struct TurnedAway(Box<[u16]>);

impl TurnedAway {
    /// Places for each topic that is remembered: two bytes each.
    const PLACES: usize = 2;

    /// As often as is counted; in the lowest bits.
    const OFTEN: u16 = 7;

    /// Notes a topic by its hash. Says how often it was noted before; seldom that it was though it was not.
    fn note(&mut self, hash: u64, limit: usize) -> u16 {
        if self.0.is_empty() {
            self.0 = vec![0; limit.saturating_mul(Self::PLACES).next_power_of_two()].into();
        }
        let [a, b, rest @ ..] = hash.to_le_bytes();
        let at = rest.iter().fold(0_usize, |at, byte| at << 8 | usize::from(*byte));
        let bits = u16::from_le_bytes([a, b]) & !Self::OFTEN;
        let places = self.0.len();
        let Some(known) = self.0.get_mut(at & (places - 1)) else { return 0 };
        let times = if *known & !Self::OFTEN == bits { *known & Self::OFTEN } else { 0 };
        *known = bits | (times + 1).min(Self::OFTEN);
        times
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(remembered: &mut Remembered<u32, u64>, topic: &str) -> Option<u32> {
        remembered.get(topic, 0, |_, _| unreachable!()).copied()
    }

    /// Remembers what was asked for, as whoever looks topics up does. Says whether it was remembered.
    fn use_one(remembered: &mut Remembered<u32, u64>, topic: &str) -> bool {
        let known = get(remembered, topic).is_some();
        if !known {
            remembered.put(topic, 0, 7);
        }
        known
    }

    #[test]
    fn who_comes_again_takes_the_place_of_one_that_was_not_asked_for() {
        let mut remembered = Remembered::new(3);
        for (topic, value) in [("a", 1), ("b", 2), ("c", 3)] {
            remembered.put(topic, 0, value);
        }
        assert_eq!((get(&mut remembered, "a"), get(&mut remembered, "c")), (Some(1), Some(3)));
        remembered.put("d", 0, 4);
        assert_eq!(get(&mut remembered, "d"), None, "it came for the first time");
        remembered.put("d", 0, 4);
        assert_eq!(get(&mut remembered, "d"), Some(4));
        assert_eq!(get(&mut remembered, "b"), None);
        assert_eq!((get(&mut remembered, "a"), get(&mut remembered, "c")), (Some(1), Some(3)));
        assert_eq!((remembered.by_topic.len(), remembered.places.len()), (3, 3));
    }

    #[test]
    fn whoever_keeps_coming_is_taken_in() {
        let mut remembered = Remembered::new(100);
        for round in 0..1_000 {
            remembered.set_limit(if round < 900 { 100 } else { 99 });
            let topic = round.to_string();
            let uses = (0..=9).take_while(|_| !use_one(&mut remembered, &topic)).count();
            assert!(uses <= 8, "{topic} was used {uses} times");
            assert!(remembered.by_topic.len() <= 100);
        }
    }

    #[test]
    fn topics_that_come_once_leave_all_others_where_they_are() {
        let mut remembered = Remembered::new(100);
        let kept: Vec<String> = (0..100).map(|at| format!("kept/{at}")).collect();
        kept.iter().for_each(|topic| assert!(!use_one(&mut remembered, topic)));
        (0..10_000).for_each(|at| assert!(!use_one(&mut remembered, &format!("once/{at}"))));
        let left = kept.iter().filter(|topic| use_one(&mut remembered, topic)).count();
        assert!(left > 90, "{left}");
    }

    #[test]
    fn of_more_topics_in_turn_than_there_is_room_for_many_are_remembered() {
        for (topics, known) in [(1_200, 700), (2_000, 400), (8_000, 50)] {
            let mut remembered = Remembered::new(1_000);
            let mut round = || {
                let uses = (0..topics).map(|at| use_one(&mut remembered, &at.to_string()));
                uses.filter(|known| *known).count()
            };
            let now = (0..20).map(|_| round()).last().unwrap_or_default();
            assert!(now > known, "{now} of {topics}");
        }
    }

    #[test]
    fn numbers_of_stamps_do_not_come_again() {
        let mut remembered = Remembered::new(2);
        remembered.put("a", 1, 'x');
        remembered.number = u32::MAX;
        assert_eq!(remembered.get("a", 2, |_, _| true), None);
        remembered.put("a", 2, 'y');
        assert_eq!(remembered.get("a", 2, |_, _| unreachable!()), Some(&'y'));
    }

    #[test]
    fn what_is_older_is_asked_about_once() {
        let mut remembered = Remembered::new(2);
        remembered.put("a", 1, 'x');
        assert_eq!(remembered.get("a", 2, |_, since| since == 0), None);
        assert_eq!(remembered.get("a", 2, |_, since| since == 1), Some(&'x'));
        assert_eq!(remembered.get("a", 2, |_, _| unreachable!()), Some(&'x'));
        remembered.put("a", 3, 'y');
        assert_eq!(remembered.get("a", 3, |_, _| unreachable!()), Some(&'y'));
    }
}
