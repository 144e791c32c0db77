//! A table keyed by topic filter, asked by topic name.

use std::num::NonZero;
use std::sync::Arc;

use protocol::{HashMap, TopicFilter, levels};
use smallvec::{SmallVec, smallvec};

use crate::level_names::{LevelNames, NameId, TopicLevels};

/// Values by topic filter. Filters without wildcards sit in one hash map, so that a publication costs one look-up for all of
/// them; filters with wildcards sit in a tree walked level by level: O(levels) when nothing matches.
#[derive(Debug)]
pub struct FilterTable<T> {
    exact: HashMap<Arc<str>, T>,
    /// Node 0 is the root and never freed.
    nodes: Vec<Node>,
    free_nodes: Vec<NodeId>,
    names: LevelNames,
    /// The values of filters with wildcards.
    values: Vec<Option<T>>,
    free_values: Vec<ValueId>,
    /// How many filters that begin with `$` have a value, by their first two levels.
    reserved: HashMap<Box<str>, usize>,
}

/// A node's place; 0, the root, is nobody's child and stands for none.
type NodeId = u32;

/// One more than a value's place, so that 0 is none.
type ValueId = u32;

/// One level of the wildcard tree, so small that two of them share a cache line: a topic may visit thousands.
#[derive(Debug, Default)]
struct Node {
    /// The child that most nodes have only one of, and its name.
    first: Option<(NonZero<NameId>, NodeId)>,
    plus: NodeId,
    /// The value of the filter that ends here.
    here: ValueId,
    /// The value of the filter that ends here and goes on with `#`.
    hash: ValueId,
    /// All other children by name.
    others: Option<Box<HashMap<NameId, NodeId>>>,
}

impl Node {
    fn is_bare(&self) -> bool {
        self.first.is_none()
            && self.others.is_none()
            && self.plus == 0
            && self.here == 0
            && self.hash == 0
    }

    fn child(&self, name: NameId) -> Option<NodeId> {
        match self.first {
            Some((first, child)) if first.get() == name => Some(child),
            _ => self.others.as_ref()?.get(&name).copied(),
        }
    }

    fn add_child(&mut self, name: NameId, child: NodeId) {
        match (self.first, NonZero::new(name)) {
            (None, Some(name)) => self.first = Some((name, child)),
            _ => {
                self.others.get_or_insert_default().insert(name, child);
            }
        }
    }

    fn remove_child(&mut self, name: NameId) {
        if self.first.is_some_and(|(first, _)| first.get() == name) {
            self.first = None;
        } else if let Some(others) = &mut self.others {
            others.remove(&name);
            if others.is_empty() {
                self.others = None;
            }
        }
    }

    /// Where the value of the filter that ends here stands.
    const fn value(&self, ends_in_hash: bool) -> ValueId {
        if ends_in_hash { self.hash } else { self.here }
    }

    const fn value_mut(&mut self, ends_in_hash: bool) -> &mut ValueId {
        if ends_in_hash { &mut self.hash } else { &mut self.here }
    }
}

impl<T> Default for FilterTable<T> {
    fn default() -> Self {
        Self {
            exact: HashMap::default(),
            nodes: vec![Node::default()],
            free_nodes: Vec::new(),
            names: LevelNames::default(),
            values: Vec::new(),
            free_values: Vec::new(),
            reserved: HashMap::default(),
        }
    }
}

impl<T> FilterTable<T> {
    /// How many filters have a value.
    pub fn len(&self) -> usize {
        self.exact.len() + self.wild_len()
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
        self.value(self.node(self.find(path)?)?.value(ends_in_hash))
    }

    /// The value of a filter, if it has one, to be changed.
    pub fn get_mut(&mut self, filter: &TopicFilter) -> Option<&mut T> {
        if !filter.has_wildcard() {
            return self.exact.get_mut(filter.as_str());
        }
        let (path, ends_in_hash) = split_hash(filter.as_str());
        let value = self.node(self.find(path)?)?.value(ends_in_hash);
        self.values.get_mut(place(value)?)?.as_mut()
    }

    /// The value of a filter, made if it had none.
    pub fn entry(&mut self, filter: &TopicFilter) -> Option<&mut T>
    where
        T: Default,
    {
        if let Some(beginning) = reserved(filter.as_str())
            && self.get(filter).is_none()
        {
            *self.reserved.entry_ref(beginning).or_default() += 1;
        }
        if !filter.has_wildcard() {
            return Some(self.exact.entry_ref(filter.as_str()).or_default());
        }
        let (path, ends_in_hash) = split_hash(filter.as_str());
        let node = self.find_or_make(path)?;
        let mut value = self.node(node)?.value(ends_in_hash);
        if value == 0 {
            value = match self.free_values.pop() {
                Some(free) => free,
                None => {
                    self.values.push(None);
                    u32::try_from(self.values.len()).ok()?
                }
            };
            *self.nodes.get_mut(node as usize)?.value_mut(ends_in_hash) = value;
        }
        Some(self.values.get_mut(place(value)?)?.get_or_insert_default())
    }

    /// Takes the value of a filter out and frees what only it needed.
    pub fn remove(&mut self, filter: &TopicFilter) -> Option<T> {
        let gone = self.take(filter)?;
        if let Some(beginning) = reserved(filter.as_str())
            && let Some(count) = self.reserved.get_mut(beginning)
        {
            *count -= 1;
            if *count == 0 {
                self.reserved.remove(beginning);
            }
        }
        Some(gone)
    }

    fn take(&mut self, filter: &TopicFilter) -> Option<T> {
        if !filter.has_wildcard() {
            return self.exact.remove(filter.as_str());
        }
        let (path, ends_in_hash) = split_hash(filter.as_str());
        let node = self.find(path)?;
        let id = std::mem::take(self.nodes.get_mut(node as usize)?.value_mut(ends_in_hash));
        let value = self.values.get_mut(place(id)?)?.take();
        self.free_values.push(id);
        self.prune(path);
        value
    }

    /// Whether any filter may match topics with these first two levels, of which the first begins with `$`, and at least one
    /// more. A no is certain, and costs three look-ups.
    pub fn may_match_under(&self, first: &str, second: &str) -> bool {
        let has = |second: &str| self.reserved.contains_key(&*format!("{first}/{second}"));
        !self.reserved.is_empty() && (has(second) || has("+") || has("#"))
    }

    /// Shows the value of every filter that matches a topic name, in no particular order `[MQTT5-4.7.3-4]`. Says how many nodes
    /// of the tree it looked at.
    pub fn for_matches<'t>(&'t self, topic: &str, mut see: impl FnMut(&'t T)) -> usize {
        if let Some(value) = self.exact.get(topic) {
            see(value);
        }
        let mut visits = 0;
        if self.wild_len() == 0 {
            return visits;
        }
        // A leading wildcard does not match a topic that starts with `$` [MQTT5-4.7.2-1].
        let dollar = topic.starts_with('$');
        let mut levels = TopicLevels::of(topic);
        let mut open: SmallVec<[(NodeId, u32); 16]> = smallvec![(0, 0)];
        while let Some((index, depth)) = open.pop() {
            let Some(node) = self.node(index) else { continue };
            visits += 1;
            let leading = index == 0 && dollar;
            if node.hash != 0
                && !leading
                && let Some(value) = self.value(node.hash)
            {
                see(value);
            }
            let Some(level) = levels.at(depth as usize, &self.names) else {
                if let Some(value) = self.value(node.here) {
                    see(value);
                }
                continue;
            };
            if let Some(next) = level.and_then(|name| node.child(name)) {
                open.push((next, depth + 1));
            }
            if node.plus != 0 && !leading {
                open.push((node.plus, depth + 1));
            }
        }
        visits
    }

    const fn wild_len(&self) -> usize {
        self.values.len() - self.free_values.len()
    }

    fn node(&self, node: NodeId) -> Option<&Node> {
        self.nodes.get(node as usize)
    }

    fn value(&self, value: ValueId) -> Option<&T> {
        self.values.get(place(value)?)?.as_ref()
    }

    fn child(&self, node: NodeId, level: &str) -> Option<NodeId> {
        let node = self.node(node)?;
        if level == "+" {
            return Some(node.plus).filter(|plus| *plus != 0);
        }
        node.child(self.names.get(level)?)
    }

    fn find(&self, path: Option<&str>) -> Option<NodeId> {
        path.map_or(Some(0), |path| levels(path).try_fold(0, |node, level| self.child(node, level)))
    }

    fn find_or_make(&mut self, path: Option<&str>) -> Option<NodeId> {
        let Some(path) = path else { return Some(0) };
        let mut at = 0;
        for level in levels(path) {
            if let Some(next) = self.child(at, level) {
                at = next;
                continue;
            }
            let fresh = match self.free_nodes.pop() {
                Some(index) => index,
                None => {
                    self.nodes.push(Node::default());
                    u32::try_from(self.nodes.len() - 1).ok()?
                }
            };
            let node = self.nodes.get_mut(at as usize)?;
            if level == "+" {
                node.plus = fresh;
            } else {
                node.add_child(self.names.take(level), fresh);
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
            if !self.node(child).is_some_and(Node::is_bare) {
                return;
            }
            let name = self.names.get(level);
            let Some(node) = self.nodes.get_mut(parent as usize) else { return };
            if level == "+" {
                node.plus = 0;
            } else if let Some(name) = name {
                node.remove_child(name);
                self.names.give_back(level);
            }
            if let Some(node) = self.nodes.get_mut(child as usize) {
                *node = Node::default();
            }
            self.free_nodes.push(child);
        }
    }
}

/// The first two levels of a filter that begins with `$`; no wildcard before them matches what it does `[MQTT5-4.7.2-1]`.
fn reserved(filter: &str) -> Option<&str> {
    if !filter.starts_with('$') {
        return None;
    }
    let end = filter.match_indices('/').nth(1).map_or(filter.len(), |(at, _)| at);
    filter.get(..end)
}

const fn place(value: ValueId) -> Option<usize> {
    (value as usize).checked_sub(1)
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
            let mut begins = topic.splitn(3, '/');
            if let (Some(first @ "$x"), Some(second), Some(_)) =
                (begins.next(), begins.next(), begins.next())
            {
                prop_assert!(expected.is_empty() || table.may_match_under(first, second));
            }
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
    fn what_nobody_wants_of_a_reserved_branch_is_known_by_its_first_levels() {
        let mut table: FilterTable<u8> = FilterTable::default();
        let mut set = |text: &str, wanted: bool| {
            let filter = TopicFilter::new(text).unwrap();
            if wanted {
                *table.entry(&filter).unwrap() += 1;
            } else {
                table.remove(&filter);
            }
            table.may_match_under("$a", "events")
        };
        assert!(!set("#", true));
        assert!(!set("+/events/x", true));
        assert!(!set("$a/things/1/#", true));
        assert!(!set("$a", true));
        for text in ["$a/events/x", "$a/events/#", "$a/+/x", "$a/#"] {
            assert!(set(text, true), "{text}");
            assert!(set(text, true), "{text}");
            assert!(
                !set(text, false),
                "{text}: a filter has one value, however often it is asked for"
            );
        }
        assert!(!set("$a/events/none", false));
        for text in ["$a/things/1/#", "$a"] {
            set(text, false);
        }
        assert!(table.reserved.is_empty());
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
        assert!(table.nodes.len() <= 5, "freed nodes are used again");
        assert_eq!((table.values.len(), table.names.len()), (1, 0));
    }

    #[test]
    fn a_node_is_half_a_cache_line() {
        assert!(size_of::<Node>() <= 32);
    }
}
