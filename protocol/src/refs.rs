//! Which sessions a stored publication is for, packed.

use std::sync::Arc;

use crate::{QoS, SessionNo, put_varint, take_varint};

/// References of one publication to persistent sessions, sorted by session, about 2 to 3 bytes each.
///
/// Per session: the distance to the session before as a varint (7 bits per byte, low bits first), then one byte of
/// flags: bits 0 and 1 are the granted `QoS` (the lower of publication and subscription) or 3 for `QoS` 1 by a shared
/// group, bit 2 says that RETAIN is shown to the subscriber. Cloning costs one counter.
#[derive(Clone, PartialEq, Eq)]
pub struct Refs(Arc<[u8]>);

impl Refs {
    /// The flag that says that RETAIN is shown to the subscriber `[MQTT5-3.3.1-13]`.
    pub const RETAIN: u8 = 0b100;

    /// `QoS` 1, given by a shared group.
    const RETURNED: u8 = 0b11;

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
            let (delta, flags) = take_ref(&mut rest)?;
            if delta == 0 || flags > (Self::RETAIN | Self::RETURNED) {
                return None;
            }
            session = session.checked_add(delta)?;
        }
        Some(Self(bytes.into()))
    }

    /// The packed form.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The sessions in ascending order, each once, with their flags.
    pub fn iter(&self) -> impl Iterator<Item = (SessionNo, u8)> + '_ {
        let mut rest = self.as_bytes();
        let mut session = 0_u32;
        std::iter::from_fn(move || {
            let (delta, flags) = take_ref(&mut rest)?;
            session = session.saturating_add(delta);
            Some((SessionNo(session), flags))
        })
    }

    /// How many sessions.
    pub fn len(&self) -> usize {
        // Two bytes per reference have a clear top bit: the last of its varint and its flags.
        self.0.iter().filter(|b| **b < 0x80).count() / 2
    }

    /// Whether there is no session.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether both are the same allocation: cheap, and never true for different content.
    pub fn same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl Default for Refs {
    fn default() -> Self {
        Self(Arc::new([]))
    }
}

impl std::fmt::Debug for Refs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_map().entries(self.iter().map(|(no, flags)| (no.0, flags))).finish()
    }
}

/// Collects references in any order; reusable, so that a busy caller allocates only the result.
#[derive(Debug, Default)]
pub struct RefsBuilder {
    refs: Vec<(u32, u8)>,
    packed: Vec<u8>,
}

impl RefsBuilder {
    /// An empty one.
    pub const fn new() -> Self {
        Self { refs: Vec::new(), packed: Vec::new() }
    }

    /// Adds a reference. A session that comes twice keeps the higher `QoS` `[MQTT5-3.3.4-2]`, shows RETAIN if either did,
    /// and gives it back if either would. Number 0 is no session and is left out.
    pub fn push(&mut self, session: SessionNo, flags: u8) {
        if session.0 != 0 {
            self.refs.push((session.0, Refs::merge(flags, flags)));
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
        self.packed.clear();
        let mut before = 0;
        for (session, flags) in self.refs.drain(..) {
            put_varint(&mut self.packed, u64::from(session - before));
            self.packed.push(flags);
            before = session;
        }
        Refs(self.packed.as_slice().into())
    }
}

/// One reference off the front: the distance to the session before, and its flags.
fn take_ref(rest: &mut &[u8]) -> Option<(u32, u8)> {
    let delta = u32::try_from(take_varint(rest)?).ok()?;
    let (flags, after) = rest.split_first()?;
    *rest = after;
    Some((delta, *flags))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

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
            prop_assert!(copy == refs && !copy.same(&refs) && refs.same(&refs.clone()));
        }

        #[test]
        fn any_bytes_are_refused_or_read_back_as_they_are(bytes in proptest::collection::vec(any::<u8>(), 0..12)) {
            if let Some(refs) = Refs::from_bytes(&bytes) {
                let mut builder = RefsBuilder::new();
                for (no, flags) in refs.iter() {
                    builder.push(no, flags);
                }
                let rebuilt = builder.build();
                prop_assert_eq!(rebuilt.as_bytes(), &bytes[..]);
            }
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
            &[0x80, 0, 1],
            &[0x80, 0x80, 0x80, 0x80, 0x10, 1],
            &[0xff, 0xff, 0xff, 0xff, 0x0f, 1, 1, 1],
        ] {
            assert_eq!(Refs::from_bytes(bad), None, "{bad:?}");
        }
    }
}
