//! Names of levels as numbers, so that who walks a tree of filters compares numbers.

use protocol::HashMap;

/// The number of a level's name; never 0.
pub(crate) type NameId = u32;

/// A number per name that is in use anywhere.
#[derive(Debug, Default)]
pub(crate) struct LevelNames {
    names: HashMap<Box<str>, Name>,
    /// The highest number that was given.
    last: NameId,
    free: Vec<NameId>,
}

#[derive(Debug)]
struct Name {
    id: NameId,
    uses: u32,
}

impl LevelNames {
    /// The number of a name, if anything uses it.
    pub(crate) fn get(&self, name: &str) -> Option<NameId> {
        self.names.get(name).map(|name| name.id)
    }

    /// One more use of a name.
    pub(crate) fn take(&mut self, name: &str) -> NameId {
        if let Some(known) = self.names.get_mut(name) {
            known.uses += 1;
            return known.id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.last += 1;
            self.last
        });
        self.names.insert(name.into(), Name { id, uses: 1 });
        id
    }

    /// One use of a name less.
    pub(crate) fn give_back(&mut self, name: &str) {
        let Some(known) = self.names.get_mut(name) else { return };
        known.uses -= 1;
        if known.uses == 0 {
            self.free.push(known.id);
            self.names.remove(name);
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.names.len()
    }
}

/// The levels of one topic as numbers, each looked up when the walk first comes so deep: most walks end after a level or two.
pub(crate) struct TopicLevels<'t> {
    rest: std::str::Split<'t, char>,
    /// What is known so far; `None` is a name that nothing uses.
    known: smallvec::SmallVec<[Option<NameId>; 16]>,
    /// The last was seen.
    ended: bool,
}

impl<'t> TopicLevels<'t> {
    pub(crate) fn of(topic: &'t str) -> Self {
        Self { rest: protocol::levels(topic), known: smallvec::SmallVec::new(), ended: false }
    }

    /// The level at `depth`, which is at most one deeper than any before: `None` behind the last.
    #[inline]
    pub(crate) fn at(&mut self, depth: usize, names: &LevelNames) -> Option<Option<NameId>> {
        match self.known.get(depth) {
            Some(known) => Some(*known),
            None => self.look_up(names),
        }
    }

    #[cold]
    fn look_up(&mut self, names: &LevelNames) -> Option<Option<NameId>> {
        if self.ended {
            return None;
        }
        let Some(level) = self.rest.next() else {
            self.ended = true;
            return None;
        };
        let id = names.get(level);
        self.known.push(id);
        Some(id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_number_while_it_is_used_and_leaves_it_to_others_then() {
        let mut names = LevelNames::default();
        let (a, b) = (names.take("a"), names.take("b"));
        assert_eq!((names.take("a"), names.get("b")), (a, Some(b)));
        names.give_back("a");
        assert_eq!(names.get("a"), Some(a));
        names.give_back("a");
        assert_eq!((names.get("a"), names.len()), (None, 1));
        assert_eq!(names.take("c"), a);
    }

    #[test]
    fn levels_are_looked_up_as_deep_as_they_are_asked_for() {
        let mut names = LevelNames::default();
        let b = names.take("b");
        let mut levels = TopicLevels::of("a/b");
        assert_eq!(levels.at(0, &names), Some(None));
        assert_eq!(levels.at(1, &names), Some(Some(b)));
        assert_eq!((levels.at(2, &names), levels.at(2, &names)), (None, None));
        assert_eq!(levels.at(1, &names), Some(Some(b)));
    }
}
