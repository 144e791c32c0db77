//! Where wildcards stand in filters: what bounds the work that one topic can be.

use protocol::session::Holder;
use protocol::{HashMap, TopicFilter, levels};

/// Where the wildcards of filters stand, whatever their other levels are called: a tree of names, `+` and `#`.
///
/// On the way down a [`FilterTable`](crate::FilterTable) a topic says what each name must be. So of all nodes there whose
/// wildcards stand alike it is compared with at most one, and with no more nodes in all than this tree has steps, and one.
#[derive(Debug)]
pub struct Shapes {
    /// Node 0 is the root, and the only one that is nobody's child.
    nodes: Vec<Node>,
    free: Vec<u32>,
    /// How many of them each holder of sessions brought.
    brought: HashMap<Holder, usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Node {
    /// What follows as a name, as `+`, as `#`; 0 is nothing.
    next: [u32; 3],
    /// Filters that go through here.
    filters: u32,
    /// Whose filter was the first of them.
    by: Holder,
}

impl Default for Shapes {
    fn default() -> Self {
        Self { nodes: vec![Node::default()], free: Vec::new(), brought: HashMap::default() }
    }
}

impl Shapes {
    /// The most steps that matching a topic takes.
    pub const fn steps(&self) -> usize {
        self.nodes.len() - 1 - self.free.len()
    }

    /// How many of the steps somebody was the first to want; they are his as long as anybody wants them. Nobody's are not counted.
    pub fn brought_by(&self, holder: Holder) -> usize {
        self.brought.get(&holder).copied().unwrap_or_default()
    }

    /// How many steps a filter would add.
    pub fn would_add(&self, filter: &TopicFilter) -> usize {
        if !filter.has_wildcard() {
            return 0;
        }
        let mut rest = levels(filter.as_str());
        let mut at = 0;
        while let Some(level) = rest.next() {
            match self.next(at, level) {
                0 => return 1 + rest.count(),
                next => at = next,
            }
        }
        0
    }

    /// One more filter.
    pub fn add(&mut self, filter: &TopicFilter) {
        self.add_for(filter, Holder::NOBODY);
    }

    /// One more filter, of somebody's session.
    pub fn add_for(&mut self, filter: &TopicFilter, holder: Holder) {
        if !filter.has_wildcard() {
            return;
        }
        let mut at = 0;
        for level in levels(filter.as_str()) {
            let next = match self.next(at, level) {
                0 => self.make(at, level, holder),
                next => next,
            };
            at = next;
            if let Some(node) = self.nodes.get_mut(at as usize) {
                node.filters = node.filters.saturating_add(1);
            }
        }
    }

    /// One filter less, of those that were added.
    pub fn remove(&mut self, filter: &TopicFilter) {
        if !filter.has_wildcard() {
            return;
        }
        let mut at = 0;
        for level in levels(filter.as_str()) {
            let next = self.next(at, level);
            let Some(node) = self.nodes.get_mut(next as usize).filter(|_| next != 0) else {
                return;
            };
            node.filters = node.filters.saturating_sub(1);
            let empty = node.filters == 0;
            if empty {
                self.link(at, level, 0);
            }
            // Those below are empty too, and are freed on the way down.
            if self.nodes.get(at as usize).is_some_and(|node| at != 0 && node.filters == 0) {
                self.free(at);
            }
            at = next;
        }
        if self.nodes.get(at as usize).is_some_and(|node| at != 0 && node.filters == 0) {
            self.free(at);
        }
    }

    fn next(&self, at: u32, level: &str) -> u32 {
        let node = self.nodes.get(at as usize).copied().unwrap_or_default();
        let [name, plus, hash] = node.next;
        match level {
            "+" => plus,
            "#" => hash,
            _ => name,
        }
    }

    fn link(&mut self, at: u32, level: &str, to: u32) {
        let Some(node) = self.nodes.get_mut(at as usize) else { return };
        let [name, plus, hash] = &mut node.next;
        *match level {
            "+" => plus,
            "#" => hash,
            _ => name,
        } = to;
    }

    fn make(&mut self, at: u32, level: &str, by: Holder) -> u32 {
        let fresh = self.free.pop().unwrap_or_else(|| {
            self.nodes.push(Node::default());
            u32::try_from(self.nodes.len() - 1).unwrap_or(0)
        });
        self.link(at, level, fresh);
        if by != Holder::NOBODY {
            *self.brought.entry(by).or_default() += 1;
            if let Some(node) = self.nodes.get_mut(fresh as usize) {
                node.by = by;
            }
        }
        fresh
    }

    fn free(&mut self, node: u32) {
        let gone = self.nodes.get_mut(node as usize).map(std::mem::take).unwrap_or_default();
        if let Some(count) = self.brought.get_mut(&gone.by) {
            *count -= 1;
            if *count == 0 {
                self.brought.remove(&gone.by);
            }
        }
        self.free.push(node);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn what_is_alike_counts_once_and_filters_without_wildcards_never() {
        let mut shapes = Shapes::default();
        for text in ["a/b", "a/+/c", "b/+/d", "+/a/c", "#"] {
            shapes.add(&filter(text));
        }
        assert_eq!(shapes.steps(), 3 + 3 + 1);
        assert_eq!(shapes.would_add(&filter("x/+/y")), 0);
        assert_eq!(shapes.would_add(&filter("x/+/y/z/#")), 2);
        assert_eq!(shapes.would_add(&filter("x/y/z")), 0);
        shapes.remove(&filter("a/+/c"));
        shapes.remove(&filter("b/+/d"));
        assert_eq!((shapes.steps(), shapes.would_add(&filter("x/+/y"))), (4, 3));
    }

    #[test]
    fn a_step_is_his_who_wanted_it_first_as_long_as_anybody_wants_it() {
        let mut shapes = Shapes::default();
        let (anna, otto) = (Holder([1; 16]), Holder([2; 16]));
        let brought = |shapes: &Shapes| [anna, otto].map(|holder| shapes.brought_by(holder));
        shapes.add_for(&filter("a/+"), anna);
        shapes.add_for(&filter("b/+/c"), otto);
        shapes.add(&filter("#"));
        assert_eq!((brought(&shapes), shapes.steps()), ([2, 1], 4));
        shapes.remove(&filter("a/+"));
        assert_eq!((brought(&shapes), shapes.steps()), ([2, 1], 4), "somebody else has it");
        shapes.remove(&filter("b/+/c"));
        shapes.remove(&filter("#"));
        assert_eq!((brought(&shapes), shapes.steps()), ([0, 0], 0));
        assert!(shapes.brought.is_empty());
    }

    proptest! {
        #[test]
        fn steps_are_the_different_beginnings_of_all_that_is_there(
            filters in prop::collection::vec("(a|b|\\+)(/(a|\\+)){0,4}(/#)?", 1..20),
            gone in 0..20_usize,
        ) {
            let mut shapes = Shapes::default();
            let filters: Vec<_> = filters.iter().map(|text| filter(text)).collect();
            filters.iter().for_each(|one| shapes.add(one));
            let (gone, left) = filters.split_at(gone.min(filters.len()));
            gone.iter().for_each(|one| shapes.remove(one));
            let mut model = BTreeSet::new();
            for one in left.iter().filter(|one| one.has_wildcard()) {
                let marks: Vec<_> = levels(one.as_str())
                    .map(|level| if ["+", "#"].contains(&level) { level } else { "." })
                    .collect();
                model.extend((1..=marks.len()).map(|len| marks[..len].join("/")));
            }
            prop_assert_eq!(shapes.steps(), model.len());
            prop_assert!(left.iter().all(|one| shapes.would_add(one) == 0));
            left.iter().for_each(|one| shapes.remove(one));
            prop_assert_eq!(shapes.steps(), 0);
        }
    }
}
