//! What was found out about topics, as long as it stays good and there is room.

use std::sync::Arc;

use protocol::HashMap;

use crate::Beginnings;

/// Values by topic, each as it was when its stamp was taken. There is a limit; full, it forgets whom nobody asked for since the
/// last time round, one for each that is new, so that nobody waits for many to be forgotten.
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

    /// Remembers a value as of a stamp that was taken before it was found out.
    pub fn put(&mut self, topic: &str, stamp: S, value: V) {
        let good_at = self.number_of(stamp);
        if let Some(known) = self.by_topic.get_mut(topic) {
            (known.value, known.good_at) = (value, good_at);
            if let Some(place) = self.places.get_mut(known.place as usize) {
                place.stamp = stamp;
            }
            return;
        }
        let topic = Arc::<str>::from(topic);
        if let Some(place) = self.place_for(Arc::clone(&topic), stamp) {
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

    /// A place for a new topic: that of another one if all are taken.
    fn place_for(&mut self, topic: Arc<str>, stamp: S) -> Option<u32> {
        let place = Place { beginnings: Beginnings::of(&topic), topic, stamp };
        if self.places.len() < self.limit {
            self.places.push(place);
            self.asked.push(false);
            return u32::try_from(self.places.len() - 1).ok();
        }
        loop {
            self.hand = (self.hand + 1) % self.places.len();
            if !std::mem::take(self.asked.get_mut(self.hand)?) {
                let gone = std::mem::replace(self.places.get_mut(self.hand)?, place);
                self.by_topic.remove(&gone.topic);
                return u32::try_from(self.hand).ok();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(remembered: &mut Remembered<u32, u64>, topic: &str) -> Option<u32> {
        remembered.get(topic, 0, |_, _| unreachable!()).copied()
    }

    #[test]
    fn who_was_not_asked_for_is_forgotten_first() {
        let mut remembered = Remembered::new(3);
        for (topic, value) in [("a", 1), ("b", 2), ("c", 3)] {
            remembered.put(topic, 0, value);
        }
        assert_eq!((get(&mut remembered, "a"), get(&mut remembered, "c")), (Some(1), Some(3)));
        remembered.put("d", 0, 4);
        assert_eq!(get(&mut remembered, "b"), None);
        assert_eq!((get(&mut remembered, "a"), get(&mut remembered, "c")), (Some(1), Some(3)));
        assert_eq!(get(&mut remembered, "d"), Some(4));
        assert_eq!((remembered.by_topic.len(), remembered.places.len()), (3, 3));
    }

    #[test]
    fn if_all_were_asked_for_one_of_them_goes() {
        let mut remembered = Remembered::new(2);
        for value in 0..100 {
            remembered.set_limit(if value < 90 { 2 } else { 1 });
            let topic = value.to_string();
            remembered.put(&topic, 0, value);
            assert_eq!(get(&mut remembered, &topic), Some(value));
            assert!(remembered.by_topic.len() <= 2);
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
