use super::{ReservedTopic, ShadowName, ThingName};

/// Which shadow of which thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShadowKey<'a> {
    /// Whose.
    pub thing: ThingName<'a>,
    /// Which of them; `None` is the classic one.
    pub shadow: Option<ShadowName<'a>>,
}

impl<'a> ShadowKey<'a> {
    /// The key under which its record is stored: thing, slash, name. All shadows of a thing lie together, the classic
    /// one first and the others by name.
    pub fn to_stored(self) -> String {
        let name = self.shadow.map_or("", |name| name.as_str());
        format!("{}/{name}", self.thing.as_str())
    }

    /// What the keys of all shadows of a thing begin with, and nobody else's.
    pub fn prefix(thing: ThingName<'_>) -> String {
        format!("{}/", thing.as_str())
    }

    /// Reads a key back; `None` if none is stored like this.
    pub fn from_stored(key: &'a [u8]) -> Option<Self> {
        let (thing, name) = std::str::from_utf8(key).ok()?.split_once('/')?;
        let shadow = match name {
            "" => None,
            name => Some(ShadowName::new(name).ok()?),
        };
        Some(Self { thing: ThingName::new(thing).ok()?, shadow })
    }

    /// The topic of a request or an answer about it.
    pub const fn topic(
        self,
        operation: super::Operation,
        answer: Option<super::Answer>,
    ) -> ReservedTopic<'a> {
        ReservedTopic { thing: self.thing, shadow: self.shadow, operation, answer }
    }
}

/// A [`ShadowKey`] with texts of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OwnedKey {
    thing: Box<str>,
    shadow: Option<Box<str>>,
}

impl OwnedKey {
    /// The key that it owns.
    pub fn key(&self) -> ShadowKey<'_> {
        // Made of names that were checked.
        ShadowKey { thing: ThingName(&self.thing), shadow: self.shadow.as_deref().map(ShadowName) }
    }
}

impl From<ShadowKey<'_>> for OwnedKey {
    fn from(key: ShadowKey<'_>) -> Self {
        Self {
            thing: key.thing.as_str().into(),
            shadow: key.shadow.map(|name| name.as_str().into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stored_keys_are_read_back_and_sort_by_thing() {
        let mut keys = Vec::new();
        for (thing, shadow) in
            [("a", None), ("a", Some("x")), ("a", Some("$y")), ("a-b", None), ("a:b", Some("x"))]
        {
            let key = ShadowKey {
                thing: ThingName::new(thing).unwrap(),
                shadow: shadow.map(|name| ShadowName::new(name).unwrap()),
            };
            let stored = key.to_stored();
            assert_eq!(ShadowKey::from_stored(stored.as_bytes()), Some(key));
            assert_eq!(OwnedKey::from(key).key(), key);
            assert!(stored.starts_with(&ShadowKey::prefix(key.thing)));
            keys.push(stored);
        }
        let of_a = keys.iter().filter(|key| key.starts_with("a/")).count();
        assert_eq!(of_a, 3);
        for key in [&b""[..], b"a", b"/", b"/x", b"a/b/c", b"a/ ", b"a b/", b"\xff/"] {
            assert_eq!(ShadowKey::from_stored(key), None, "{key:?}");
        }
    }
}
