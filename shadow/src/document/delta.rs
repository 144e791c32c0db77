//! Where desired and reported differ.

use super::section::{Node, Section, View};
use crate::json::ObjectWriter;

/// Every leaf that is desired and not reported with the same value, under the names that lead to it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Delta<'a>(Vec<(&'a str, Part<'a>)>);

#[derive(Debug, PartialEq, Eq)]
enum Part<'a> {
    /// All of it differs.
    Whole(&'a Node),
    /// Something in it differs.
    Within(Delta<'a>),
}

impl<'a> Delta<'a> {
    /// What is desired and not reported. Of what is only reported it says nothing, and an object without leaves is
    /// not missed: it remains when the last wish in it is withdrawn.
    pub(super) fn between(desired: &'a Section, reported: Option<&Section>) -> Self {
        let mut parts = Vec::new();
        for (name, wanted) in &desired.0 {
            let present = reported.and_then(|section| section.0.get(name));
            let part = match (wanted, present) {
                (Node::Object(wanted), Some(Node::Object(present))) => {
                    Self::between(wanted, Some(present)).into_part()
                }
                (Node::Object(wanted), None) => Self::between(wanted, None).into_part(),
                (Node::Leaf { value, .. }, Some(Node::Leaf { value: present, .. }))
                    if value == present =>
                {
                    None
                }
                (Node::Object(_), Some(Node::Leaf { .. })) | (Node::Leaf { .. }, _) => {
                    Some(Part::Whole(wanted))
                }
            };
            parts.extend(part.map(|part| (&**name, part)));
        }
        Self(parts)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn into_part(self) -> Option<Part<'a>> {
        if self.is_empty() { None } else { Some(Part::Within(self)) }
    }

    /// Appends one view of it; the metadata are those of desired.
    pub(super) fn put(&self, out: &mut String, view: View) {
        let mut object = ObjectWriter::begin(out);
        for (name, part) in &self.0 {
            let out = object.member(name);
            match part {
                Part::Whole(node) => node.put(out, view),
                Part::Within(delta) => delta.put(out, view),
            }
        }
        object.end();
    }
}
