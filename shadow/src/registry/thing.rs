//! What operators write down about one device, and the form in which that is stored.

use std::collections::{BTreeMap, BTreeSet};

use protocol::{Wall, put_varint, take_varint};

use crate::packed::{put_len, put_text, take_text};
use crate::topic::ThingName;

/// Most attributes of one thing.
pub const MAX_ATTRIBUTES: usize = 50;
/// Most groups that one thing is in.
pub const MAX_GROUPS: usize = 10;
/// Most certificates that are one thing's.
pub const MAX_CERTIFICATES: usize = 10;

/// What operators wrote down about a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Thing {
    name: Box<str>,
    /// Grows with every change: the fence of its stored form.
    revision: u64,
    /// When it was first known.
    pub created_at: Wall,
    attributes: BTreeMap<Box<str>, Box<str>>,
    groups: BTreeSet<Box<str>>,
    certificates: BTreeSet<Box<str>>,
}

/// What cannot be written down about a thing; the operator's fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidThing {
    /// The name.
    #[error("name is not 1 to 128 letters, digits, colons, underscores or hyphens")]
    Name,
    /// The name of an attribute.
    #[error("name of an attribute is not 1 to 128 letters, digits or any of _.,@/:#-")]
    AttributeName,
    /// The value of an attribute.
    #[error("value of an attribute has more than 800 bytes")]
    AttributeValue,
    /// The name of a group.
    #[error("name of a group is not 1 to 128 letters, digits, colons, underscores or hyphens")]
    Group,
    /// The fingerprint of a certificate.
    #[error("fingerprint of a certificate is not 64 hexadecimal digits")]
    Certificate,
    /// Too many of something.
    #[error(
        "has more than {MAX_ATTRIBUTES} attributes, {MAX_GROUPS} groups or {MAX_CERTIFICATES} certificates"
    )]
    TooMany,
}

/// The form's version, after the fence.
const FORM: u8 = 1;

impl Thing {
    /// Of which nothing is known but the name.
    pub fn new(name: ThingName<'_>, created_at: Wall) -> Self {
        Self {
            name: name.as_str().into(),
            revision: 0,
            created_at,
            attributes: BTreeMap::new(),
            groups: BTreeSet::new(),
            certificates: BTreeSet::new(),
        }
    }

    /// Its name.
    pub const fn name(&self) -> &str {
        &self.name
    }

    /// Its attributes by name.
    pub fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(name, value)| (&**name, &**value))
    }

    /// One of its attributes.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(|value| &**value)
    }

    /// The groups that it is in.
    pub fn groups(&self) -> impl Iterator<Item = &str> {
        self.groups.iter().map(|group| &**group)
    }

    /// The SHA-256 fingerprints of its certificates, in lower case.
    pub fn certificates(&self) -> impl Iterator<Item = &str> {
        self.certificates.iter().map(|fingerprint| &**fingerprint)
    }

    /// Sets an attribute; an empty value takes it away.
    ///
    /// # Errors
    /// [`InvalidThing`], and nothing is changed.
    pub fn set_attribute(&mut self, name: &str, value: &str) -> Result<(), InvalidThing> {
        let is_name_byte = |byte: u8| byte.is_ascii_alphanumeric() || b"_.,@/:#-".contains(&byte);
        if !(1..=128).contains(&name.len()) || !name.bytes().all(is_name_byte) {
            return Err(InvalidThing::AttributeName);
        }
        if value.len() > 800 {
            return Err(InvalidThing::AttributeValue);
        }
        if value.is_empty() {
            self.attributes.remove(name);
        } else if self.attributes.len() < MAX_ATTRIBUTES || self.attributes.contains_key(name) {
            self.attributes.insert(name.into(), value.into());
        } else {
            return Err(InvalidThing::TooMany);
        }
        self.changed();
        Ok(())
    }

    /// Puts it into a group.
    ///
    /// # Errors
    /// [`InvalidThing`], and nothing is changed.
    pub fn join(&mut self, group: &str) -> Result<(), InvalidThing> {
        ThingName::new(group).map_err(|_| InvalidThing::Group)?;
        insert(&mut self.groups, group.into(), MAX_GROUPS)?;
        self.changed();
        Ok(())
    }

    /// Takes it out of a group; false if it was not in it.
    pub fn leave(&mut self, group: &str) -> bool {
        let was_in = self.groups.remove(group);
        self.changed();
        was_in
    }

    /// Lets a certificate stand for it.
    ///
    /// # Errors
    /// [`InvalidThing`], and nothing is changed.
    pub fn attach(&mut self, fingerprint: &str) -> Result<(), InvalidThing> {
        let is_hex = fingerprint.bytes().all(|byte| byte.is_ascii_hexdigit());
        if fingerprint.len() != 64 || !is_hex {
            return Err(InvalidThing::Certificate);
        }
        let fingerprint = fingerprint.to_ascii_lowercase().into();
        insert(&mut self.certificates, fingerprint, MAX_CERTIFICATES)?;
        self.changed();
        Ok(())
    }

    /// Lets a certificate stand for it no more; false if it did not.
    pub fn detach(&mut self, fingerprint: &str) -> bool {
        let was_there = self.certificates.remove(fingerprint.to_ascii_lowercase().as_str());
        self.changed();
        was_there
    }

    /// The first bytes of its stored form, and of no other one that it had.
    pub const fn fence(&self) -> [u8; 8] {
        self.revision.to_be_bytes()
    }

    /// The stored form; [`Self::decode`] reads it back.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(64);
        out.extend_from_slice(&self.fence());
        out.push(FORM);
        put_text(&mut out, &self.name);
        put_varint(&mut out, self.created_at.0);
        put_len(&mut out, self.attributes.len());
        for (name, value) in &self.attributes {
            put_text(&mut out, name);
            put_text(&mut out, value);
        }
        for set in [&self.groups, &self.certificates] {
            put_len(&mut out, set.len());
            set.iter().for_each(|text| put_text(&mut out, text));
        }
        out
    }

    /// Reads a stored form; `None` if it is damaged.
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (revision, rest) = bytes.split_first_chunk::<8>()?;
        let (form, mut rest) = rest.split_first()?;
        if *form != FORM {
            return None;
        }
        let rest = &mut rest;
        let name = take_text(rest)?;
        let mut thing = Self::new(ThingName::new(name).ok()?, Wall(take_varint(rest)?));
        for _ in 0..take_varint(rest)? {
            thing.set_attribute(take_text(rest)?, take_text(rest)?).ok()?;
        }
        for _ in 0..take_varint(rest)? {
            thing.join(take_text(rest)?).ok()?;
        }
        for _ in 0..take_varint(rest)? {
            thing.attach(take_text(rest)?).ok()?;
        }
        thing.revision = u64::from_be_bytes(*revision);
        // What is not as it is written was written by nobody.
        (rest.is_empty() && thing.encode() == bytes).then_some(thing)
    }

    const fn changed(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }
}

fn insert(set: &mut BTreeSet<Box<str>>, text: Box<str>, most: usize) -> Result<(), InvalidThing> {
    if set.len() >= most && !set.contains(&text) {
        return Err(InvalidThing::TooMany);
    }
    set.insert(text);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn thing() -> Thing {
        let mut thing = Thing::new(ThingName::new("pump:7").unwrap(), Wall(77));
        thing.set_attribute("model", "P 400 \"x\"").unwrap();
        thing.set_attribute("site", "Köln").unwrap();
        thing.join("north").unwrap();
        thing.attach(&"Ab".repeat(32)).unwrap();
        thing
    }

    #[test]
    fn its_stored_form_is_read_back_whole_or_not_at_all() {
        let thing = thing();
        let bytes = thing.encode();
        assert_eq!(Thing::decode(&bytes), Some(thing.clone()));
        for len in 0..bytes.len() {
            assert_eq!(Thing::decode(&bytes[..len]), None);
        }
    }

    #[test]
    fn every_change_changes_the_fence() {
        let mut thing = thing();
        let mut fences = vec![thing.fence()];
        thing.set_attribute("model", "").unwrap();
        fences.push(thing.fence());
        assert!(thing.leave("north"));
        fences.push(thing.fence());
        assert!(thing.detach(&"AB".repeat(32)));
        fences.push(thing.fence());
        assert!(fences.is_sorted_by(|one, next| one < next));
        assert_eq!(thing.attributes().collect::<Vec<_>>(), [("site", "Köln")]);
        assert_eq!((thing.groups().count(), thing.certificates().count()), (0, 0));
    }

    #[test]
    fn what_cannot_be_written_down_is_refused() {
        let mut thing = thing();
        assert_eq!(thing.set_attribute("x y", "1"), Err(InvalidThing::AttributeName));
        assert_eq!(thing.join(""), Err(InvalidThing::Group));
        assert_eq!(thing.attach("ab"), Err(InvalidThing::Certificate));
        let before = thing.clone();
        assert_eq!(thing.set_attribute("a", &"x".repeat(801)), Err(InvalidThing::AttributeValue));
        assert_eq!(thing, before);
        for n in thing.attributes().count()..MAX_ATTRIBUTES {
            thing.set_attribute(&format!("a{n}"), "x").unwrap();
        }
        assert_eq!(thing.set_attribute("one-more", "x"), Err(InvalidThing::TooMany));
        assert_eq!(thing.set_attribute("model", "other"), Ok(()));
    }
}
