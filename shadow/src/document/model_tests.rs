//! Documents against a plain model: leaves by the path that leads to them.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use protocol::Wall;
use serde_json::Value;

use super::*;
use crate::topic::{ShadowKey, ThingName};

type Path = Vec<String>;

/// A section as the paths of its objects, and of its leaves with the second of their last writing.
#[derive(Debug, Clone, Default, PartialEq)]
struct Plain {
    objects: BTreeSet<Path>,
    leaves: BTreeMap<Path, (Value, u64)>,
}

impl Plain {
    fn remove(&mut self, path: &Path) {
        self.objects.retain(|object| !object.starts_with(path));
        self.leaves.retain(|leaf, _| !leaf.starts_with(path));
    }

    fn apply(&mut self, at: &Path, patch: &Value, now_s: u64) {
        for (name, value) in patch.as_object().unwrap() {
            let path = below(at, name);
            if value.is_null() {
                self.remove(&path);
                continue;
            }
            if !value.is_object() {
                self.remove(&path);
                self.leaves.insert(path, (by_value(value), now_s));
                continue;
            }
            if !self.objects.contains(&path) {
                self.remove(&path);
            }
            if makes_something(value) {
                self.objects.insert(path.clone());
            }
            if self.objects.contains(&path) {
                self.apply(&path, value, now_s);
            }
        }
    }

    /// From what a `get` shows.
    fn shown(state: Option<&Value>, metadata: Option<&Value>) -> Self {
        let mut plain = Self::default();
        if let (Some(state), Some(metadata)) = (state, metadata) {
            plain.show(&Vec::new(), state, metadata);
        } else {
            assert_eq!((state, metadata), (None, None));
        }
        plain
    }

    fn show(&mut self, at: &Path, state: &Value, metadata: &Value) {
        let (state, metadata) = (state.as_object().unwrap(), metadata.as_object().unwrap());
        assert!(state.keys().eq(metadata.keys()), "{state:?} {metadata:?}");
        for (name, value) in state {
            let path = below(at, name);
            if value.is_object() {
                self.objects.insert(path.clone());
                self.show(&path, value, &metadata[name]);
            } else {
                let stamp = stamp(value, &metadata[name]).unwrap_or(0);
                self.leaves.insert(path, (by_value(value), stamp));
            }
        }
    }

    /// The leaves of a delta, and whether there is one: said in other words than the code says it.
    fn delta(&self, reported: &Self) -> (BTreeMap<Path, Value>, bool) {
        let differs = |(path, (value, _)): &(&Path, &(Value, u64))| {
            reported.leaves.get(*path).is_none_or(|(present, _)| present != value)
        };
        let leaves: BTreeMap<Path, Value> = (self.leaves.iter().filter(differs))
            .map(|(path, (value, _))| (path.clone(), value.clone()))
            .collect();
        let object_over_leaf = self.objects.iter().any(|path| reported.leaves.contains_key(path));
        let is_one = !leaves.is_empty() || object_over_leaf;
        (leaves, is_one)
    }
}

fn below(path: &Path, name: &str) -> Path {
    path.iter().cloned().chain([name.to_owned()]).collect()
}

/// Whether an object is more than a way of saying that things be removed.
fn makes_something(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Object(members) => members.is_empty() || members.values().any(makes_something),
        Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_) => true,
    }
}

/// Numbers by their value: the other library tells `1` from `1.0`.
fn by_value(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().unwrap().into(),
        Value::Array(items) => items.iter().map(by_value).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, value)| (name.clone(), by_value(value))).collect()
        }
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

/// The one moment that the metadata of a leaf have; an array without leaves has none.
fn stamp(value: &Value, metadata: &Value) -> Option<u64> {
    match value {
        Value::Array(items) => {
            let stamps = metadata.as_array().unwrap();
            assert_eq!(items.len(), stamps.len());
            let stamps = items.iter().zip(stamps).filter_map(|(item, at)| stamp(item, at));
            let stamps: BTreeSet<u64> = stamps.collect();
            assert!(stamps.len() <= 1, "{metadata}");
            stamps.first().copied()
        }
        Value::Object(members) => {
            let stamps = metadata.as_object().unwrap();
            assert!(members.keys().eq(stamps.keys()));
            members.iter().filter_map(|(name, item)| stamp(item, &stamps[name])).next()
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            assert_eq!(metadata.as_object().unwrap().len(), 1);
            Some(metadata["timestamp"].as_u64().unwrap())
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Update { desired: Option<String>, reported: Option<String> },
    Clear,
    Delete,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_section(), any_section())
            .prop_map(|(desired, reported)| Step::Update { desired, reported }),
        1 => Just(Step::Clear),
        1 => Just(Step::Delete),
    ]
}

/// An object over few names, so that requests meet.
fn any_patch() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("null"),
        Just("true"),
        Just("1"),
        Just("1.0"),
        Just("10e-1"),
        Just("2"),
        Just("\"x\""),
        Just("\"\""),
        Just("[]"),
        Just("[1]"),
        Just("[1.0]"),
        Just("[{\"a\":1},2]"),
        Just("{}"),
    ];
    let object = |inner: BoxedStrategy<String>| {
        prop::collection::btree_map("[abc]", inner, 0..4).prop_map(|members| {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("\"{name}\":{value}")).collect();
            format!("{{{}}}", members.join(","))
        })
    };
    let value =
        leaf.prop_map(str::to_owned).prop_recursive(3, 16, 4, move |inner| object(inner.boxed()));
    object(value.boxed())
}

fn any_section() -> impl Strategy<Value = Option<String>> {
    prop_oneof![2 => Just(None), 1 => Just(Some("null".to_owned())), 9 => any_patch().prop_map(Some)]
}

fn body(desired: Option<&String>, reported: Option<&String>) -> String {
    let sections: Vec<String> = [("desired", desired), ("reported", reported)]
        .iter()
        .filter_map(|(name, section)| section.map(|section| format!("\"{name}\":{section}")))
        .collect();
    format!("{{\"state\":{{{}}}}}", sections.join(","))
}

fn read_request(step: &Step) -> Option<UpdateRequest> {
    let text = match step {
        Step::Update { desired, reported } => body(desired.as_ref(), reported.as_ref()),
        Step::Clear => "{\"state\":null}".to_owned(),
        Step::Delete => return None,
    };
    Some(UpdateRequest::parse(text.as_bytes(), &ShadowLimits::default()).unwrap())
}

fn key() -> ShadowKey<'static> {
    ShadowKey { thing: ThingName::new("t").unwrap(), shadow: None }
}

fn parsed(message: &str) -> Value {
    serde_json::from_str(message).unwrap()
}

fn apply(section: &mut Plain, patch: Option<&String>, now_s: u64) {
    match patch.map(|patch| parsed(patch)) {
        None => {}
        Some(Value::Null) => *section = Plain::default(),
        Some(patch) => section.apply(&Vec::new(), &patch, now_s),
    }
}

/// Holds what a `get` shows, and the delta message, against the model.
fn check(record: &Record, delta: Option<&str>, desired: &Plain, reported: &Plain, now: Wall) {
    let got = parsed(&get(Some(record), key(), None, now).unwrap());
    let (state, metadata) = (&got["state"], &got["metadata"]);
    for (name, plain) in [("desired", desired), ("reported", reported)] {
        let mut plain = plain.clone();
        for (value, at_s) in plain.leaves.values_mut() {
            // Nothing says when an array without leaves was written.
            if value.as_array().is_some_and(Vec::is_empty) {
                *at_s = 0;
            }
        }
        assert_eq!(Plain::shown(state.get(name), metadata.get(name)), plain, "{name}");
    }
    let (leaves, is_one) = desired.delta(reported);
    assert_eq!(state.get("delta").is_some(), is_one);
    assert_eq!(delta.is_some(), is_one);
    if let Some(delta) = delta.map(parsed) {
        assert_eq!(Some(&delta["state"]), state.get("delta"));
        assert_eq!(Some(&delta["metadata"]), metadata.get("delta"));
        assert_eq!(delta["version"], got["version"]);
        let shown = Plain::shown(delta.get("state"), delta.get("metadata"));
        let shown: BTreeMap<Path, Value> =
            shown.leaves.into_iter().map(|(path, (value, _))| (path, value)).collect();
        assert_eq!(shown, leaves);
    }
}

proptest! {
    #[test]
    fn any_sequence_of_requests_gives_what_the_model_gives(steps in prop::collection::vec(any_step(), 1..12)) {
        let limits = ShadowLimits::default();
        let mut record: Option<Record> = None;
        let (mut desired, mut reported) = (Plain::default(), Plain::default());
        let mut version = 0;
        for (step, now_s) in steps.iter().zip(1_000_u64..) {
            let now = Wall(now_s * 1_000);
            let fence = record.as_ref().map(Record::fence);
            if let Some(request) = read_request(step) {
                let (next, delta) = {
                    let updated = update(record.as_ref(), &request, now, &limits).unwrap();
                    (updated.record(), updated.delta())
                };
                match step {
                    Step::Update { desired: d, reported: r } => {
                        apply(&mut desired, d.as_ref(), now_s);
                        apply(&mut reported, r.as_ref(), now_s);
                    }
                    Step::Clear | Step::Delete => {
                        (desired, reported) = (Plain::default(), Plain::default());
                    }
                }
                version += 1;
                prop_assert_eq!(next.version(), version);
                check(&next, delta.as_deref(), &desired, &reported, now);
                record = Some(next);
            } else if let Ok(deleted) = delete(record.as_ref(), key(), None, now) {
                record = Some(deleted.record());
                (desired, reported) = (Plain::default(), Plain::default());
            } else {
                prop_assert!(record.as_ref().is_none_or(|record| record.document().is_none()));
                continue;
            }
            let stored = record.as_ref().unwrap();
            prop_assert!(fence.is_none_or(|before| before < stored.fence()));
            let bytes = stored.encode();
            prop_assert_eq!(&bytes[..8], &stored.fence());
            prop_assert_eq!(&Record::decode(&bytes).unwrap(), stored);
        }
    }

    #[test]
    fn the_same_request_twice_changes_nothing_but_the_version(
        before in prop::collection::vec(any_step(), 0..6),
        step in any_step(),
    ) {
        let (limits, now) = (ShadowLimits::default(), Wall(5_000));
        let mut record: Option<Record> = None;
        for step in before.iter().chain([&step]) {
            let Some(request) = read_request(step) else { continue };
            let next = update(record.as_ref(), &request, now, &limits).unwrap().record();
            record = Some(next);
        }
        let Some(request) = read_request(&step) else { return Ok(()) };
        let once = record.unwrap();
        let twice = update(Some(&once), &request, now, &limits).unwrap().record();
        let (once, twice) = (once.document().unwrap(), twice.document().unwrap());
        prop_assert_eq!(&once.desired, &twice.desired);
        prop_assert_eq!(&once.reported, &twice.reported);
    }

    #[test]
    fn what_was_delta_and_is_reported_is_none_any_more(steps in prop::collection::vec(any_step(), 1..8)) {
        let (limits, now) = (ShadowLimits::default(), Wall(5_000));
        let mut record: Option<Record> = None;
        for request in steps.iter().filter_map(read_request) {
            let next = update(record.as_ref(), &request, now, &limits).unwrap().record();
            record = Some(next);
        }
        let Some(record) = record else { return Ok(()) };
        let Some(delta) = record.document().unwrap().delta_now(now) else { return Ok(()) };
        let request = format!("{{\"state\":{{\"reported\":{}}}}}", parsed(&delta)["state"]);
        let request = UpdateRequest::parse(request.as_bytes(), &limits).unwrap();
        let settled = update(Some(&record), &request, now, &limits).unwrap();
        prop_assert_eq!(settled.delta(), None);
    }

    #[test]
    fn no_document_grows_beyond_its_limit(steps in prop::collection::vec(any_step(), 1..12)) {
        let limits = ShadowLimits { document_bytes: 60, ..ShadowLimits::default() };
        let mut record: Option<Record> = None;
        for request in steps.iter().filter_map(read_request) {
            let next = match update(record.as_ref(), &request, Wall(0), &limits) {
                Ok(updated) => updated.record(),
                Err(rejection) => {
                    prop_assert_eq!(rejection.refusal, Refusal::TooLarge);
                    continue;
                }
            };
            let got = parsed(&get(Some(&next), key(), None, Wall(0)).unwrap());
            let len = |name: &str| got["state"].get(name).map_or(0, |s| s.to_string().len());
            prop_assert!(len("desired") + len("reported") <= 60, "{}", got);
            prop_assert!(next.document().unwrap().state_bytes() <= 60);
            record = Some(next);
        }
    }
}
