//! A shadow as it is stored. Its first eight bytes are a fence: they change with every change of the shadow, so that a
//! write which expects them loses to every other one.

use protocol::{Wall, put_varint, take_varint};

use super::section::{MAX_SECTION_NESTING, Node, Section};
use super::update::seconds;
use super::{Document, ShadowLimits};
use crate::json::{Json, Number, Object, is_number};
use crate::packed::{put_len, put_text, take_text};

/// What is stored under the key of a shadow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// It is there.
    Live(Document),
    /// It was deleted; one created again in time goes on from its version.
    Deleted {
        /// The version that it had.
        version: u64,
        /// When it was deleted, in whole seconds since 1970.
        at_s: u64,
    },
}

/// The form's version, after the fence.
const FORM: u8 = 1;

/// A section itself, and what may lie in it.
const NESTING: usize = MAX_SECTION_NESTING + 1;

/// What a name or an item is, before its content.
mod tag {
    pub(super) const OBJECT: u8 = 0;
    pub(super) const FALSE: u8 = 1;
    pub(super) const TRUE: u8 = 2;
    pub(super) const NUMBER: u8 = 3;
    pub(super) const TEXT: u8 = 4;
    pub(super) const ARRAY: u8 = 5;
}

impl Record {
    /// The document, if there is one.
    pub const fn document(&self) -> Option<&Document> {
        match self {
            Self::Live(document) => Some(document),
            Self::Deleted { .. } => None,
        }
    }

    /// The version that the document has, or had.
    pub const fn version(&self) -> u64 {
        match self {
            Self::Live(document) => document.version,
            Self::Deleted { version, .. } => *version,
        }
    }

    /// When it was last written, in whole seconds since 1970, by the clock of who wrote it.
    pub const fn at_s(&self) -> u64 {
        match self {
            Self::Live(document) => document.changed_at_s,
            Self::Deleted { at_s, .. } => *at_s,
        }
    }

    /// Whether a stored form is that of a shadow which is there, as its fence says.
    pub fn is_live(stored: &[u8]) -> bool {
        stored.get(7).is_some_and(|last| last % 2 == 0)
    }

    /// Whether nobody needs it any more: the shadow was deleted so long ago that one of its name begins anew.
    pub const fn is_over(&self, now: Wall, limits: &ShadowLimits) -> bool {
        match self {
            Self::Live(_) => false,
            Self::Deleted { at_s, .. } => {
                at_s.saturating_add(limits.tombstone.as_secs()) <= seconds(now)
            }
        }
    }

    /// The first bytes of its stored form, and of no other form that its shadow has had for as long as its version is
    /// known. Greater than those of every earlier one.
    pub const fn fence(&self) -> [u8; 8] {
        let even = self.version().wrapping_mul(2);
        match self {
            Self::Live(_) => even.to_be_bytes(),
            Self::Deleted { .. } => even.wrapping_add(1).to_be_bytes(),
        }
    }

    /// The stored form; [`Self::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.fence());
        out.push(FORM);
        match self {
            Self::Live(document) => {
                put_varint(&mut out, document.changed_at_s);
                put_section(&mut out, &document.desired);
                put_section(&mut out, &document.reported);
            }
            Self::Deleted { at_s, .. } => put_varint(&mut out, *at_s),
        }
        out
    }

    /// Reads a stored form; `None` if it is damaged or not in the one form that a record has.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (fence, rest) = bytes.split_first_chunk::<8>()?;
        let (form, mut rest) = rest.split_first()?;
        if *form != FORM {
            return None;
        }
        let fence = u64::from_be_bytes(*fence);
        let (version, is_deleted) = (fence / 2, fence % 2 == 1);
        let at_s = take_varint(&mut rest)?;
        let record = if is_deleted {
            Self::Deleted { version, at_s }
        } else {
            let desired = take_section(&mut rest, NESTING)?;
            let reported = take_section(&mut rest, NESTING)?;
            Self::Live(Document { desired, reported, version, changed_at_s: at_s })
        };
        rest.is_empty().then_some(record)
    }
}

fn put_section(out: &mut Vec<u8>, section: &Section) {
    put_len(out, section.0.len());
    for (name, node) in &section.0 {
        put_text(out, name);
        match node {
            Node::Object(section) => {
                out.push(tag::OBJECT);
                put_section(out, section);
            }
            Node::Leaf { value, at_s } => {
                put_value(out, value);
                put_varint(out, *at_s);
            }
        }
    }
}

fn put_value(out: &mut Vec<u8>, value: &Json) {
    match value {
        // Neither is a leaf, nor has an array any.
        Json::Null => {}
        Json::Bool(is_true) => out.push(if *is_true { tag::TRUE } else { tag::FALSE }),
        Json::Number(number) => {
            out.push(tag::NUMBER);
            put_text(out, number.as_str());
        }
        Json::Text(text) => {
            out.push(tag::TEXT);
            put_text(out, text);
        }
        Json::Array(items) => {
            out.push(tag::ARRAY);
            put_len(out, items.len());
            items.iter().for_each(|item| put_value(out, item));
        }
        Json::Object(members) => {
            out.push(tag::OBJECT);
            put_len(out, members.len());
            for (name, value) in members {
                put_text(out, name);
                put_value(out, value);
            }
        }
    }
}

fn take_section(rest: &mut &[u8], nesting: usize) -> Option<Section> {
    let nesting = nesting.checked_sub(1)?;
    let mut section = Section::default();
    for _ in 0..take_varint(rest)? {
        let name = take_text(rest)?;
        if section.0.last_key_value().is_some_and(|(last, _)| **last >= *name) {
            return None;
        }
        let node = if rest.first() == Some(&tag::OBJECT) {
            *rest = rest.get(1..)?;
            Node::Object(take_section(rest, nesting)?)
        } else {
            let value = take_value(rest, nesting)?;
            Node::Leaf { value, at_s: take_varint(rest)? }
        };
        section.0.insert(name.into(), node);
    }
    Some(section)
}

fn take_value(rest: &mut &[u8], nesting: usize) -> Option<Json> {
    let (tag, after) = rest.split_first()?;
    *rest = after;
    Some(match *tag {
        tag::FALSE => Json::Bool(false),
        tag::TRUE => Json::Bool(true),
        tag::NUMBER => {
            let text = take_text(rest)?;
            is_number(text).then(|| Json::Number(Number::new(text)))?
        }
        tag::TEXT => Json::Text(take_text(rest)?.into()),
        tag::ARRAY => {
            let nesting = nesting.checked_sub(1)?;
            let mut items = Vec::new();
            for _ in 0..take_varint(rest)? {
                items.push(take_value(rest, nesting)?);
            }
            Json::Array(items)
        }
        tag::OBJECT => Json::Object(take_object(rest, nesting.checked_sub(1)?)?),
        _ => return None,
    })
}

fn take_object(rest: &mut &[u8], nesting: usize) -> Option<Object> {
    let mut members = Object::new();
    for _ in 0..take_varint(rest)? {
        let name = take_text(rest)?;
        if members.last_key_value().is_some_and(|(last, _)| **last >= *name) {
            return None;
        }
        members.insert(name.into(), take_value(rest, nesting)?);
    }
    Some(members)
}
