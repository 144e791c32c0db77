//! Where wildcards stand in filters: what bounds the work that one topic can be.

use protocol::{HashMap, TopicFilter, levels};
use smallvec::SmallVec;

/// Where the wildcards of a filter stand, whatever its other levels are called. Of all filters of one shape at most one matches
/// a topic: the topic says what the other levels must be. So a topic matches at most as many filters as there are shapes, and
/// is compared with at most as many nodes of a [`FilterTable`](crate::FilterTable) as they have levels, and one.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Shape(SmallVec<[u8; 16]>);

impl Shape {
    /// The shape of a filter with a wildcard.
    pub fn of(filter: &TopicFilter) -> Option<Self> {
        let mark = |level: &str| match level {
            "+" => b'+',
            "#" => b'#',
            _ => b'.',
        };
        filter.has_wildcard().then(|| Self(levels(filter.as_str()).map(mark).collect()))
    }

    /// Its levels: what it may add to the work for one topic.
    pub fn steps(&self) -> usize {
        self.0.len()
    }
}

/// The shapes of a set of filters.
#[derive(Debug, Default)]
pub struct Shapes {
    /// With how many filters have it.
    counts: HashMap<Shape, usize>,
    steps: usize,
}

impl Shapes {
    /// One more filter.
    pub fn add(&mut self, filter: &TopicFilter) {
        let Some(shape) = Shape::of(filter) else { return };
        let steps = shape.steps();
        let count = self.counts.entry(shape).or_insert(0);
        if *count == 0 {
            self.steps += steps;
        }
        *count += 1;
    }

    /// One filter less, of those that were added.
    pub fn remove(&mut self, filter: &TopicFilter) {
        let Some(shape) = Shape::of(filter) else { return };
        let Some(count) = self.counts.get_mut(&shape) else { return };
        *count -= 1;
        if *count == 0 {
            self.counts.remove(&shape);
            self.steps -= shape.steps();
        }
    }

    /// Whether any filter has this shape.
    pub fn contains(&self, shape: &Shape) -> bool {
        self.counts.contains_key(shape)
    }

    /// The levels of all shapes together, each once.
    pub const fn steps(&self) -> usize {
        self.steps
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    #[test]
    fn filters_of_one_shape_count_once_and_those_without_wildcards_never() {
        let mut shapes = Shapes::default();
        for text in ["a/b", "a/+/c", "b/+/d", "+/a/c", "#"] {
            shapes.add(&filter(text));
        }
        assert_eq!(shapes.steps(), 3 + 3 + 1);
        let one = Shape::of(&filter("x/+/y")).unwrap();
        shapes.remove(&filter("a/+/c"));
        assert!(shapes.contains(&one));
        shapes.remove(&filter("b/+/d"));
        assert!(!shapes.contains(&one));
        assert_eq!((shapes.steps(), Shape::of(&filter("a/b"))), (4, None));
        for text in ["a/b", "+/a/c", "#", "#"] {
            shapes.remove(&filter(text));
        }
        assert_eq!(shapes.steps(), 0);
    }
}
