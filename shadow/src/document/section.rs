//! One of the two halves of a document, with the moment at which each leaf was last written.

use std::collections::BTreeMap;

use crate::json::{Json, Object, ObjectWriter, put_array, put_json, put_u64};

/// How many objects and arrays may lie in each other in a section, whatever the settings say. With those around them in
/// messages it is less than what can be read.
pub(super) const MAX_SECTION_NESTING: usize = 32;

/// What stands under the names of desired, of reported, or of an object in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Section(pub(super) BTreeMap<Box<str>, Node>);

/// What a name stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node {
    /// A value that is replaced whole: never `null`, never an object.
    Leaf {
        /// The value.
        value: Json,
        /// When it was last named in a request, in whole seconds since 1970.
        at_s: u64,
    },
    /// Names of its own.
    Object(Section),
}

/// Which of the two views of a document is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum View {
    /// What was sent.
    State,
    /// When it was sent.
    Metadata,
}

impl Section {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes in what a request says: objects name by name, everything else whole; `null` removes.
    pub(super) fn merge(&mut self, patch: &Object, at_s: u64) {
        for (name, value) in patch {
            match value {
                Json::Null => drop(self.0.remove(name)),
                Json::Object(inner) => self.merge_object(name, inner, at_s),
                Json::Bool(_) | Json::Number(_) | Json::Text(_) | Json::Array(_) => {
                    let leaf = Node::Leaf { value: value.clone(), at_s };
                    self.0.insert(name.clone(), leaf);
                }
            }
        }
    }

    fn merge_object(&mut self, name: &str, patch: &Object, at_s: u64) {
        if let Some(Node::Object(section)) = self.0.get_mut(name) {
            section.merge(patch, at_s);
            return;
        }
        let mut section = Self::default();
        section.merge(patch, at_s);
        // An object in which there was nothing but `null` does not come into being.
        if section.is_empty() && !patch.is_empty() {
            self.0.remove(name);
        } else {
            self.0.insert(name.into(), Node::Object(section));
        }
    }

    /// Appends one view of it.
    pub(super) fn put(&self, out: &mut String, view: View) {
        let mut object = ObjectWriter::begin(out);
        for (name, node) in &self.0 {
            node.put(object.member(name), view);
        }
        object.end();
    }
}

impl Node {
    /// Appends one view of it.
    pub(super) fn put(&self, out: &mut String, view: View) {
        match (self, view) {
            (Self::Object(section), _) => section.put(out, view),
            (Self::Leaf { value, .. }, View::State) => put_json(out, value),
            (Self::Leaf { value, at_s }, View::Metadata) => put_stamps(out, value, *at_s),
        }
    }
}

/// Appends the metadata of a value that was written at one moment: the same objects and arrays, and the moment for
/// everything else.
pub(super) fn put_stamps(out: &mut String, value: &Json, at_s: u64) {
    match value {
        Json::Array(items) => put_array(out, items, |out, item| put_stamps(out, item, at_s)),
        Json::Object(members) => {
            let mut object = ObjectWriter::begin(out);
            for (name, value) in members {
                put_stamps(object.member(name), value, at_s);
            }
            object.end();
        }
        Json::Null | Json::Bool(_) | Json::Number(_) | Json::Text(_) => {
            out.push_str("{\"timestamp\":");
            put_u64(out, at_s);
            out.push('}');
        }
    }
}
