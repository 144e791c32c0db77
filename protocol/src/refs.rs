//! Which sessions a stored publication is for, packed.

use std::sync::Arc;

use crate::peer::FilterHash;
use crate::{QoS, SessionNo, put_varint, take_varint};

/// References of one publication to persistent sessions, sorted by session, about 2 to 3 bytes each.
///
/// Per session: the distance to the session before as a varint (7 bits per byte, low bits first), then one byte of
/// flags: bits 0 and 1 are the granted `QoS` (the lower of publication and subscription) or 3 for `QoS` 1 by a shared
/// group, bit 2 says that RETAIN is shown to the subscriber, bit 3 that the groups are named. If so, they follow: how many as a
/// varint, then for each the distance to the one before as another. Cloning costs one counter, and nothing
/// if there is none.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Refs(Option<Arc<[u8]>>);

/// What a shared group is known by where its name would be too long. It is stored, so it never changes: two groups of one
/// topic have the same in one of four thousand million cases.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct GroupTag(pub u32);

impl GroupTag {
    /// Of a shared subscription, as written in SUBSCRIBE.
    pub fn of(text: &str) -> Self {
        let [a, b, c, d, ..] = FilterHash::of(text).to_bytes();
        Self(u32::from_be_bytes([a, b, c, d]))
    }
}

impl Refs {
    /// The flag that says that RETAIN is shown to the subscriber `[MQTT5-3.3.1-13]`.
    pub const RETAIN: u8 = 0b100;

    /// `QoS` 1, given by a shared group.
    const RETURNED: u8 = 0b11;

    /// The groups that gave it are named.
    const NAMED: u8 = 0b1000;

    /// The bits that say something of their own.
    const FLAGS: u8 = Self::RETAIN | Self::RETURNED;

    /// The flags of one reference.
    pub const fn flags(granted: QoS, retain: bool) -> u8 {
        granted.bits() | if retain { Self::RETAIN } else { 0 }
    }

    /// The flags of one reference that a shared group gave.
    pub const fn shared(granted: QoS) -> u8 {
        match granted {
            QoS::AtLeastOnce => Self::RETURNED,
            QoS::AtMostOnce | QoS::ExactlyOnce => granted.bits(),
        }
    }

    /// Whether the message goes back to a shared group if its receiver's session ends: the group gave it, and at `QoS` 1.
    /// What may have begun at `QoS` 2 is nobody else's `[MQTT5-4.8.2-5]`.
    pub const fn is_returned(flags: u8) -> bool {
        flags & 0b11 == Self::RETURNED
    }

    /// The granted `QoS` in the flags of one reference.
    pub const fn qos(flags: u8) -> QoS {
        match flags & 0b11 {
            0 => QoS::AtMostOnce,
            2 => QoS::ExactlyOnce,
            _ => QoS::AtLeastOnce,
        }
    }

    /// The flags of two references to one session as one: the higher level, and shown if either was.
    fn merge(a: u8, b: u8) -> u8 {
        let by_a_group = Self::is_returned(a) || Self::is_returned(b);
        let qos = Self::qos(a).max(Self::qos(b));
        let level = if by_a_group { Self::shared(qos) } else { qos.bits() };
        level | ((a | b) & Self::RETAIN)
    }

    /// Checks and copies what [`Self::as_bytes`] gave; `None` if it is not in the one canonical form.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let mut session = 0_u32;
        while !rest.is_empty() {
            let Ref { delta, flags, groups } = take_ref(&mut rest)?;
            if delta == 0 || flags > Self::FLAGS || !groups.are_canonical() {
                return None;
            }
            if !groups.is_empty() && !Self::is_returned(flags) {
                return None;
            }
            session = session.checked_add(delta)?;
        }
        Some(Self::of(bytes))
    }

    /// Those of a packed form that is known to be canonical.
    fn of(packed: &[u8]) -> Self {
        Self((!packed.is_empty()).then(|| packed.into()))
    }

    /// The packed form.
    pub fn as_bytes(&self) -> &[u8] {
        self.0.as_deref().unwrap_or_default()
    }

    /// The sessions in ascending order, each once, with their flags.
    pub fn iter(&self) -> impl Iterator<Item = (SessionNo, u8)> + '_ {
        self.given().map(|(session, flags, _)| (session, flags))
    }

    /// The same, and which shared groups gave it: none are named where it does not go back to one, nor by versions that did not.
    pub fn given(&self) -> impl Iterator<Item = (SessionNo, u8, Groups<'_>)> + '_ {
        let mut rest = self.as_bytes();
        let mut session = 0_u32;
        std::iter::from_fn(move || {
            let Ref { delta, flags, groups } = take_ref(&mut rest)?;
            session = session.saturating_add(delta);
            Some((SessionNo(session), flags, groups))
        })
    }

    /// How many sessions.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there is no session.
    pub const fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// Whether both are the same allocation, or both empty: cheap, and never true for different content.
    pub fn same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl std::fmt::Debug for Refs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(no, flags)| (no.0, flags))).finish()
    }
}

/// The shared groups that gave one publication to one session, ascending.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Groups<'a> {
    count: u64,
    packed: &'a [u8],
}

impl<'a> Groups<'a> {
    /// Whether none is named.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Each of them.
    pub fn iter(&self) -> impl Iterator<Item = GroupTag> + 'a {
        let mut rest = self.packed;
        let mut tag = 0_u32;
        std::iter::from_fn(move || {
            tag = tag.saturating_add(u32::try_from(take_varint(&mut rest)?).ok()?);
            Some(GroupTag(tag))
        })
    }

    /// Whether they ascend and end where a number can: read one by one they are as many as they should be.
    fn are_canonical(&self) -> bool {
        let mut rest = self.packed;
        let mut before = None;
        while !rest.is_empty() {
            let step = take_varint(&mut rest).and_then(|step| u32::try_from(step).ok());
            let next = match (before, step) {
                (Some(_), Some(0)) | (_, None) => None,
                (before, Some(step)) => before.unwrap_or(0_u32).checked_add(step),
            };
            if next.is_none() {
                return false;
            }
            before = next;
        }
        true
    }
}

/// Collects references in any order; reusable, so that a busy caller allocates only the result.
#[derive(Debug, Default)]
pub struct RefsBuilder {
    refs: Vec<(u32, u8)>,
    /// By session, which groups gave it.
    groups: Vec<(u32, GroupTag)>,
    packed: Vec<u8>,
}

impl RefsBuilder {
    /// An empty one.
    pub const fn new() -> Self {
        Self { refs: Vec::new(), groups: Vec::new(), packed: Vec::new() }
    }

    /// Adds a reference. A session that comes twice keeps the higher `QoS` `[MQTT5-3.3.4-2]`, shows RETAIN if either did,
    /// and gives it back if either would. Number 0 is no session and is left out.
    pub fn push(&mut self, session: SessionNo, flags: u8) {
        if session.0 != 0 {
            self.refs.push((session.0, Refs::merge(flags, flags)));
        }
    }

    /// Adds a reference that a shared group gave, at a level.
    pub fn push_shared(&mut self, session: SessionNo, granted: QoS, group: GroupTag) {
        self.push(session, Refs::shared(granted));
        if session.0 != 0 {
            self.groups.push((session.0, group));
        }
    }

    /// Adds one of other references, with the groups that gave it.
    pub fn push_given(&mut self, (session, flags, groups): (SessionNo, u8, Groups<'_>)) {
        self.push(session, flags);
        if session.0 != 0 {
            self.groups.extend(groups.iter().map(|group| (session.0, group)));
        }
    }

    /// Whether nothing was pushed since the last [`Self::build`].
    pub const fn is_empty(&self) -> bool {
        self.refs.is_empty()
    }

    /// Packs what was pushed and starts anew.
    pub fn build(&mut self) -> Refs {
        if !self.refs.is_sorted_by_key(|r| r.0) {
            self.refs.sort_unstable_by_key(|r| r.0);
        }
        self.refs.dedup_by(|later, kept| {
            let twice = later.0 == kept.0;
            if twice {
                kept.1 = Refs::merge(kept.1, later.1);
            }
            twice
        });
        self.groups.sort_unstable();
        self.groups.dedup();
        self.packed.clear();
        let mut groups = self.groups.as_slice();
        let mut before = 0;
        for (session, flags) in self.refs.drain(..) {
            put_varint(&mut self.packed, u64::from(session - before));
            before = session;
            // Each was pushed with its session.
            let (named, others) = groups.split_at(groups.partition_point(|(of, _)| *of <= session));
            groups = others;
            if named.is_empty() || !Refs::is_returned(flags) {
                self.packed.push(flags);
                continue;
            }
            self.packed.push(flags | Refs::NAMED);
            put_varint(&mut self.packed, named.len() as u64);
            let mut last = 0;
            for (_, GroupTag(tag)) in named {
                put_varint(&mut self.packed, u64::from(tag - last));
                last = *tag;
            }
        }
        self.groups.clear();
        Refs::of(&self.packed)
    }
}

/// One reference.
struct Ref<'a> {
    /// The distance to the session before.
    delta: u32,
    flags: u8,
    groups: Groups<'a>,
}

/// One reference off the front.
fn take_ref<'a>(rest: &mut &'a [u8]) -> Option<Ref<'a>> {
    let delta = u32::try_from(take_varint(rest)?).ok()?;
    let (flags, after) = rest.split_first()?;
    *rest = after;
    let mut groups = Groups::default();
    if flags & Refs::NAMED != 0 {
        let count = take_varint(rest).filter(|count| *count > 0)?;
        let mut behind = *rest;
        for _ in 0..count {
            take_varint(&mut behind)?;
        }
        let packed = rest.get(..rest.len() - behind.len())?;
        groups = Groups { count, packed };
        *rest = behind;
    }
    Some(Ref { delta, flags: flags & !Refs::NAMED, groups })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_pushed_in_any_order_comes_back_sorted_and_once(
            pushed in proptest::collection::vec((any::<u32>(), 0_u8..3, any::<bool>()), 0..200),
            near in 0_u32..40,
        ) {
            let mut builder = RefsBuilder::new();
            let mut model = BTreeMap::<u32, (u8, bool)>::new();
            for (no, qos, retain) in pushed {
                let no = if near > 0 { no % near } else { no };
                builder.push(SessionNo(no), Refs::flags(QoS::from_bits(qos).unwrap(), retain));
                if no != 0 {
                    let entry = model.entry(no).or_default();
                    *entry = (entry.0.max(qos), entry.1 | retain);
                }
            }
            let refs = builder.build();
            prop_assert!(builder.is_empty());
            let expected: Vec<_> = model
                .into_iter()
                .map(|(no, (qos, retain))| (SessionNo(no), qos | if retain { 4 } else { 0 }))
                .collect();
            prop_assert_eq!(refs.len(), expected.len());
            prop_assert_eq!(refs.is_empty(), expected.is_empty());
            prop_assert_eq!(refs.iter().collect::<Vec<_>>(), expected);
            let copy = Refs::from_bytes(refs.as_bytes()).unwrap();
            prop_assert!(copy == refs && copy.same(&refs) == refs.is_empty() && refs.same(&refs.clone()));
        }

        #[test]
        fn any_bytes_are_refused_or_read_back_as_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(refs) = Refs::from_bytes(&bytes) {
                let mut builder = RefsBuilder::new();
                refs.given().for_each(|one| builder.push_given(one));
                let rebuilt = builder.build();
                prop_assert_eq!(rebuilt.as_bytes(), &bytes[..]);
            }
        }

        #[test]
        fn what_groups_gave_at_qos_one_names_all_of_them(
            pushed in proptest::collection::vec((0_u32..9, 0_u8..4, prop::option::of(any::<u32>())), 0..40),
        ) {
            let mut builder = RefsBuilder::new();
            let mut model = BTreeMap::<u32, (u8, BTreeSet<u32>)>::new();
            for (no, qos, group) in pushed {
                let qos = QoS::from_bits(qos).unwrap_or(QoS::AtLeastOnce);
                let entry = model.entry(no).or_default();
                entry.0 = entry.0.max(qos.bits());
                match group {
                    Some(tag) => {
                        builder.push_shared(SessionNo(no), qos, GroupTag(tag));
                        entry.1.insert(tag);
                    }
                    None => builder.push(SessionNo(no), Refs::flags(qos, false)),
                }
            }
            model.remove(&0);
            let refs = builder.build();
            prop_assert_eq!(refs.len(), model.len());
            for ((no, flags, groups), (session, (qos, tags))) in refs.given().zip(model) {
                prop_assert_eq!((no.0, Refs::qos(flags).bits()), (session, qos));
                let named: Vec<u32> = groups.iter().map(|tag| tag.0).collect();
                let returned = Refs::is_returned(flags);
                let expected = if returned { tags.into_iter().collect() } else { vec![] };
                prop_assert_eq!(named, expected);
                prop_assert_eq!(groups.is_empty(), groups.iter().next().is_none());
            }
            let copy = Refs::from_bytes(refs.as_bytes()).unwrap();
            prop_assert!(copy == refs);
        }
    }

    #[test]
    fn what_a_group_gave_at_qos_one_is_known_whatever_else_is_said_of_it() {
        let both = |other: u8| {
            let mut builder = RefsBuilder::new();
            builder.push(SessionNo(7), other);
            builder.push(SessionNo(7), Refs::shared(QoS::AtLeastOnce));
            builder.build().iter().next().unwrap().1
        };
        for (other, returned, qos) in [
            (Refs::flags(QoS::AtMostOnce, false), true, QoS::AtLeastOnce),
            (Refs::flags(QoS::AtLeastOnce, true), true, QoS::AtLeastOnce),
            (Refs::flags(QoS::ExactlyOnce, true), false, QoS::ExactlyOnce),
            (Refs::shared(QoS::ExactlyOnce), false, QoS::ExactlyOnce),
        ] {
            let flags = both(other);
            assert_eq!((Refs::is_returned(flags), Refs::qos(flags)), (returned, qos), "{other:b}");
            assert_eq!(flags & Refs::RETAIN, other & Refs::RETAIN);
        }
    }

    #[test]
    fn damaged_forms_are_refused() {
        for bad in [
            &[1][..],
            &[0, 1],
            &[1, 8],
            &[1, 0b1011, 0],
            &[1, 0b1011, 2, 1],
            &[1, 0b1011, 2, 1, 0],
            &[1, 0b1001, 1, 1],
            &[1, 0b1_0011, 1, 1],
            &[0x80, 0, 1],
            &[0x80, 0x80, 0x80, 0x80, 0x10, 1],
            &[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1, 1],
        ] {
            assert_eq!(Refs::from_bytes(bad), None, "{bad:?}");
        }
    }
}
