//! A table keyed by topic filter, asked by topic name.

use std::sync::Arc;

use protocol::{HashMap, TopicFilter, levels};

/// Values by topic filter. Filters without wildcards sit in one hash map, so that a publication costs one look-up for all of
/// them; filters with wildcards sit in a tree walked level by level: O(levels) when nothing matches.
#[derive(Debug)]
pub struct FilterTable<T> {
    exact: HashMap<Arc<str>, T>,
    nodes: Vec<Node<T>>,
    free: Vec<u32>,
    wild_len: usize,
}

/// One level of the wildcard tree. Node 0 is the root and never freed.
#[derive(Debug)]
struct Node<T> {
    children: HashMap<Box<str>, u32>,
    plus: Option<u32>,
    /// The value of the filter that ends here.
    here: Option<T>,
    /// The value of the filter that ends here and goes on with `#`.
    hash: Option<T>,
}

impl<T> Default for Node<T> {
    fn default() -> Self {
        Self { children: HashMap::default(), plus: None, here: None, hash: None }
    }
}

impl<T> Node<T> {
    fn is_bare(&self) -> bool {
        self.children.is_empty()
            && self.plus.is_none()
            && self.here.is_none()
            && self.hash.is_none()
    }
}

impl<T> Default for FilterTable<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            nodes: vec![Node::default()],
            free: Vec::new(),
            wild_len: 0,
        }
    }
}

impl<T> FilterTable<T> {
    /// How many filters have a value.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wild_len
    }

    /// Whether no filter has a value.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The value of a filter, if it has one.
    pub fn get(&self, filter: &TopicFilter) -> Option<&T> {
        if !filter.has_wildcard() {
            return self.exact.get(filter.as_str());
        }
        let (path, ends_in_hash) = split_hash(filter.as_str());
        let node = self.nodes.get(self.find(path)? as usize)?;
        if ends_in_hash { node.hash.as_ref() } else { node.here.as_ref() }
    }

    /// The value of a filter, if it has one, to be changed.
    pub fn get_mut(&mut self, filter: &TopicFilter) -> Option<&mut T> {
        if !filter.has_wildcard() {
            return self.exact.get_mut(filter.as_str());
        }
        let (path, ends_in_hash) = split_hash(filter.as_str());
        let node = self.find(path)?;
        let node = self.nodes.get_mut(node as usize)?;
        if ends_in_hash { node.hash.as_mut() } else { node.here.as_mut() }
    }

    /// The value of a filter, made if it had none.
    pub fn entry(&mut self, filter: &TopicFilter) -> Option<&mut T>
    where
        T: Default,
    {
        if !filter.has_wildcard() {
            return Some(self.exact.entry_ref(filter.as_str()).or_default());
        }
        let (path, ends_in_hash) = split_hash(filter.as_str());
        let node = self.find_or_make(path)?;
        let node = self.nodes.get_mut(node as usize)?;
        let place = if ends_in_hash { &mut node.hash } else { &mut node.here };
        if place.is_none() {
            self.wild_len += 1;
        }
        Some(place.get_or_insert_default())
    }

    /// Takes the value of a filter out and frees what only it needed.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<T> {
        if !filter.has_wildcard() {
            return self.exact.remove(filter.as_str());
        }
        let (path, ends_in_hash) = split_hash(filter.as_str());
        let index = self.find(path)?;
        let node = self.nodes.get_mut(index as usize)?;
        let value = if ends_in_hash { node.hash.take() } else { node.here.take() }?;
        self.wild_len -= 1;
        self.prune(path);
        Some(value)
    }

    /// Shows the value of every filter that matches a topic name, in no particular order `[MQTT5-4.7.3-4]`. Says how many nodes
    /// of the tree it looked at.
    pub fn for_matches<'t>(&'t self, topic: &str, mut see: impl FnMut(&'t T)) -> usize {
        if let Some(value) = self.exact.get(topic) {
            see(value);
        }
        let mut visits = 0;
        if self.wild_len == 0 {
            return visits;
        }
        // A leading wildcard does not match a topic that starts with `$` [MQTT5-4.7.2-1].
        let dollar = topic.starts_with('$');
        let mut open: smallvec::SmallVec<[(u32, &str, bool); 16]> =
            smallvec::smallvec![(0, topic, false)];
        while let Some((index, rest, ended)) = open.pop() {
            let Some(node) = self.nodes.get(index as usize) else { continue };
            visits += 1;
            let leading = index == 0 && dollar;
            if let Some(value) = node.hash.as_ref().filter(|_| !leading) {
                see(value);
            }
            if ended {
                if let Some(value) = &node.here {
                    see(value);
                }
                continue;
            }
            let (level, rest, last) = match rest.split_once('/') {
                Some((level, rest)) => (level, rest, false),
                None => (rest, "", true),
            };
            if let Some(next) = node.children.get(level) {
                open.push((*next, rest, last));
            }
            if let Some(next) = node.plus.filter(|_| !leading) {
                open.push((next, rest, last));
            }
        }
        visits
    }

    fn child(&self, node: u32, level: &str) -> Option<u32> {
        let node = self.nodes.get(node as usize)?;
        if level == "+" { node.plus } else { node.children.get(level).copied() }
    }

    fn find(&self, path: Option<&str>) -> Option<u32> {
        path.map_or(Some(0), |path| levels(path).try_fold(0, |node, level| self.child(node, level)))
    }

    fn find_or_make(&mut self, path: Option<&str>) -> Option<u32> {
        let Some(path) = path else { return Some(0) };
        let mut at = 0;
        for level in levels(path) {
            if let Some(next) = self.child(at, level) {
                at = next;
                continue;
            }
            let fresh = match self.free.pop() {
                Some(index) => index,
                None => {
                    self.nodes.push(Node::default());
                    u32::try_from(self.nodes.len() - 1).ok()?
                }
            };
            let node = self.nodes.get_mut(at as usize)?;
            if level == "+" {
                node.plus = Some(fresh);
            } else {
                node.children.insert(level.into(), fresh);
            }
            at = fresh;
        }
        Some(at)
    }

    /// Frees the nodes of a path that hold nothing any more, from its end.
    fn prune(&mut self, path: Option<&str>) {
        let Some(path) = path else { return };
        let mut trail = Vec::new();
        let mut at = 0;
        for level in levels(path) {
            let Some(next) = self.child(at, level) else { return };
            trail.push((at, level, next));
            at = next;
        }
        for (parent, level, child) in trail.into_iter().rev() {
            if !self.nodes.get(child as usize).is_some_and(Node::is_bare) {
                return;
            }
            let Some(node) = self.nodes.get_mut(parent as usize) else { return };
            if level == "+" {
                node.plus = None;
            } else {
                node.children.remove(level);
            }
            if let Some(node) = self.nodes.get_mut(child as usize) {
                *node = Node::default();
            }
            self.free.push(child);
        }
    }
}

/// Splits a trailing `#` off: `a/#` is (`Some("a")`, true), `#` is (None, true).
fn split_hash(filter: &str) -> (Option<&str>, bool) {
    if filter == "#" {
        return (None, true);
    }
    filter.strip_suffix("/#").map_or((Some(filter), false), |path| (Some(path), true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn level() -> impl Strategy<Value = String> {
        prop_oneof![Just(String::new()), Just("a".into()), Just("b".into()), Just("$x".into())]
    }

    fn topic() -> impl Strategy<Value = String> {
        prop::collection::vec(level(), 1..5)
            .prop_map(|l| l.join("/"))
            .prop_filter("a topic has a character", |t| !t.is_empty())
    }

    fn filter() -> impl Strategy<Value = String> {
        let level = prop_oneof![3 => level(), 1 => Just("+".to_owned())];
        (prop::collection::vec(level, 1..5), any::<bool>())
            .prop_map(|(l, hash)| if hash { format!("{}/#", l.join("/")) } else { l.join("/") })
            .prop_filter("a filter has a character", |t| !t.is_empty())
    }

    proptest! {
        #[test]
        fn the_table_agrees_with_matching_one_by_one(
            filters in prop::collection::vec(filter(), 0..20),
            removed in prop::collection::vec(any::<prop::sample::Index>(), 0..10),
            topic in topic(),
        ) {
            let mut table: FilterTable<String> = FilterTable::default();
            let mut model = std::collections::BTreeSet::new();
            for text in &filters {
                let filter = TopicFilter::new(text).unwrap();
                table.entry(&filter).unwrap().clone_from(text);
                model.insert(text.clone());
            }
            for index in removed {
                if filters.is_empty() { break }
                let text = index.get(&filters);
                let gone = table.remove(&TopicFilter::new(text).unwrap());
                prop_assert_eq!(gone.is_some(), model.remove(text));
            }
            prop_assert_eq!(table.len(), model.len());
            let mut found = Vec::new();
            let visits = table.for_matches(&topic, |v| found.push(v.clone()));
            found.sort();
            let mut shapes = crate::Shapes::default();
            model.iter().for_each(|f| shapes.add(&TopicFilter::new(f).unwrap()));
            prop_assert!(visits <= 1 + shapes.steps(), "{} of {}", visits, shapes.steps());
            let expected: Vec<_> =
                model.iter().filter(|f| protocol::matches(f, &topic)).cloned().collect();
            prop_assert_eq!(found, expected);
        }
    }

    #[test]
    fn a_topic_that_nobody_wants_costs_its_levels_however_many_filters_there_are() {
        let mut table: FilterTable<u8> = FilterTable::default();
        for n in 0..20_000 {
            for text in [format!("site/{n}/+/value"), format!("line/{n}/#"), format!("at/{n}")] {
                *table.entry(&TopicFilter::new(&text).unwrap()).unwrap() = 1;
            }
        }
        let visits = |topic| table.for_matches(topic, |_| panic!("nobody wants {topic}"));
        for topic in ["other/7/meter/value", "site/x/meter/value", "line", "at/x", "site/7/a/b/c"] {
            let levels = levels(topic).count();
            assert!(visits(topic) <= levels + 1, "{} nodes for {topic}", visits(topic));
        }
        // With nothing but exact filters the tree is not looked at.
        let mut exact: FilterTable<u8> = FilterTable::default();
        for n in 0..20_000 {
            *exact.entry(&TopicFilter::new(&format!("at/{n}")).unwrap()).unwrap() = 1;
        }
        assert_eq!(exact.for_matches("at/x", |_| panic!()), 0);
    }

    #[test]
    fn removing_everything_leaves_no_nodes() {
        let mut table: FilterTable<u8> = FilterTable::default();
        for round in 0..1000 {
            let filter = TopicFilter::new(&format!("a/+/{}/#", round % 7)).unwrap();
            *table.entry(&filter).unwrap() = 1;
            table.remove(&filter).unwrap();
        }
        assert!(table.is_empty());
        assert!(table.nodes.len() <= 4, "freed nodes are used again");
    }
}
