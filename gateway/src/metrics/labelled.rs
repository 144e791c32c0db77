//! Numbers by labels that operators choose: domains by the labels of hosts, campaigns by their names. Each family has at most
//! `limits.metric_labels` values of such a label; what is beyond is shown together, as [`OTHER`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::count::Count;

/// Stands in the place of labels that there was no room for.
pub(super) const OTHER: &str = "other";
/// How many values a label has at most until the configuration says it.
const MOST: u64 = 64;

/// The values of one label: who comes first is shown by name as long as there is room, and keeps it.
#[derive(Debug)]
pub struct Labels {
    most: Count,
    known: Mutex<BTreeSet<String>>,
}

impl Default for Labels {
    fn default() -> Self {
        let most = Count::default();
        most.set(MOST);
        Self { most, known: Mutex::default() }
    }
}

impl Labels {
    /// So many from now on; those that are shown already stay.
    pub fn allow(&self, most: u64) {
        self.most.set(most);
    }

    /// By what a value is shown.
    pub fn of(&self, value: &str) -> String {
        let mut known = lock(&self.known);
        let most = usize::try_from(self.most.get()).unwrap_or(usize::MAX);
        if !known.contains(value) && known.len() >= most {
            return OTHER.to_owned();
        }
        known.insert(value.to_owned());
        value.to_owned()
    }
}

/// Counts by one label.
#[derive(Debug, Default)]
pub(super) struct CountsBy(Mutex<BTreeMap<String, u64>>);

impl CountsBy {
    /// Adds to a row; nothing makes none.
    pub(super) fn add(&self, value: &str, n: u64, labels: &Labels) {
        if n > 0 {
            *lock(&self.0).entry(labels.of(value)).or_default() += n;
        }
    }

    /// Every row.
    pub(super) fn rows(&self) -> BTreeMap<String, u64> {
        lock(&self.0).clone()
    }
}

/// Gauges by one label, all of which are known at once.
#[derive(Debug, Default)]
pub(super) struct GaugesBy(Mutex<BTreeMap<String, u64>>);

impl GaugesBy {
    /// These take the place of all that were there. Those of one row are made one by `fold`.
    pub(super) fn set(&self, rows: &[(String, u64)], fold: fn(u64, u64) -> u64, labels: &Labels) {
        let mut shown = BTreeMap::new();
        for (value, number) in rows {
            let row = shown.entry(labels.of(value));
            row.and_modify(|it| *it = fold(*it, *number)).or_insert(*number);
        }
        *lock(&self.0) = shown;
    }

    /// Every row.
    pub(super) fn rows(&self) -> BTreeMap<String, u64> {
        lock(&self.0).clone()
    }
}

fn lock<T>(rows: &Mutex<T>) -> MutexGuard<'_, T> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How a family is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Family {
    pub(super) name: &'static str,
    pub(super) kind: &'static str,
    pub(super) help: &'static str,
}

/// Writes a family with its rows, each with all its labels; nothing if it has none.
pub(super) fn render<V: std::fmt::Display>(
    text: &mut String,
    family: Family,
    rows: impl IntoIterator<Item = (String, V)>,
) {
    let Family { name, kind, help } = family;
    let mut is_first = true;
    for (labels, value) in rows {
        // Writing to a String cannot fail.
        if std::mem::take(&mut is_first) {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        }
        let _ = writeln!(text, "{name}{{{labels}}} {value}");
    }
}

/// One label, as the text for Prometheus has it.
pub(super) fn label(name: &str, value: &str) -> String {
    let mut text = format!("{name}=\"");
    for letter in value.chars() {
        match letter {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
    text.push('"');
    text
}

/// A number of thousandths as a decimal.
pub(super) struct Thousandths(pub(super) u64);

impl std::fmt::Display for Thousandths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{:03}", self.0 / 1_000, self.0 % 1_000)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows<const N: usize>(rows: [(&str, u64); N]) -> BTreeMap<String, u64> {
        rows.map(|(label, n)| (label.to_owned(), n)).into()
    }

    #[test]
    fn labels_beyond_the_limit_are_counted_together_and_none_is_lost() {
        let (counts, labels) = (CountsBy::default(), Labels::default());
        labels.allow(2);
        for label in ["a", "b", "c", "a", "d"] {
            counts.add(label, 1, &labels);
        }
        counts.add("b", 0, &labels);
        assert_eq!(counts.rows(), rows([("a", 2), ("b", 1), ("other", 2)]));
        labels.allow(3);
        counts.add("d", 1, &labels);
        assert_eq!(counts.rows()["d"], 1);
    }

    #[test]
    fn of_too_many_gauges_the_rest_is_one() {
        let (gauges, labels) = (GaugesBy::default(), Labels::default());
        labels.allow(1);
        let all = [("a", 4), ("b", 7), ("c", 2)].map(|(label, n)| (label.to_owned(), n));
        gauges.set(&all, u64::min, &labels);
        assert_eq!(gauges.rows(), rows([("a", 4), ("other", 2)]));
        gauges.set(&all, u64::saturating_add, &labels);
        assert_eq!(gauges.rows(), rows([("a", 4), ("other", 9)]));
        gauges.set(&all[1..], u64::min, &labels);
        assert_eq!(gauges.rows(), rows([("other", 2)]), "who is gone is not shown");
    }

    #[test]
    fn what_operators_write_cannot_break_the_text() {
        assert_eq!(label("domain", "rack=\"1\"\\\n"), r#"domain="rack=\"1\"\\\n""#);
        assert_eq!(Thousandths(1_050).to_string(), "1.050");
    }
}
