//! What a writer knows of documents without looking: those that it wrote last, as long as nobody else has written any document
//! since. A client that comes and goes is expected to be as it was left by the writer that left it so, and so is a shadow that is changed
//! again and again.

use bytes::Bytes;
use protocol::HashMap;

use crate::plan::Plan;
use crate::{Expect, Put, Rev, Space};

/// Documents that are remembered, of each kind; then all of them are forgotten.
const MOST: usize = 4_096;
/// How documents begin that are expected to begin with something.
type Start = [u8; 8];

/// Those that are most often written again by whoever wrote them last.
const KINDS: [Space; 3] = [Space::Session, Space::Presence, Space::Shadow];

/// Documents of these kinds.
#[derive(Debug, Default)]
pub(super) struct Known {
    /// The last revision that was given out when all of this was so: every change of a document gives out another one.
    at: Rev,
    kinds: [HashMap<Bytes, Stands>; KINDS.len()],
}

/// What stands under a key: nothing, or this revision and how it begins.
type Stands = Option<(Rev, Option<Start>)>;

impl Known {
    /// The last revision that was given out is this one. If it is not that of this writer, others have written.
    pub(super) fn begin(&mut self, at: Rev) {
        if self.at != at {
            self.kinds.iter_mut().for_each(HashMap::clear);
            self.at = at;
        }
    }

    /// Whether it is known that a document is as expected. If not, it may be all the same.
    pub(super) fn holds(&self, (space, key): (Space, &[u8]), expect: Expect) -> bool {
        let of_its_kind = kind(space).and_then(|kind| self.kinds.get(kind));
        let Some(stands) = of_its_kind.and_then(|known| known.get(key)) else { return false };
        match expect {
            Expect::Any => true,
            Expect::Absent => stands.is_none(),
            Expect::Rev(expected) => stands.is_some_and(|(rev, _)| rev == expected),
            Expect::Prefix(fence) => stands.is_some_and(|(_, start)| start == Some(fence)),
            Expect::AtMost(fence) => {
                stands.is_none_or(|(_, start)| start.is_some_and(|start| start <= fence))
            }
        }
    }

    /// A plan was committed.
    pub(super) fn note(&mut self, plan: &Plan<'_>) {
        self.at = plan.head.rev;
        for (rev, put) in &plan.docs {
            self.note_put(*rev, put);
        }
    }

    fn note_put(&mut self, rev: Rev, put: &Put) {
        let of_its_kind = kind(put.space).and_then(|kind| self.kinds.get_mut(kind));
        let Some(of_its_kind) = of_its_kind else { return };
        let stands = put.value.as_ref().map(|value| (rev, value.first_chunk().copied()));
        if let Some(known) = of_its_kind.get_mut(&put.key) {
            *known = stands;
            return;
        }
        if of_its_kind.len() >= MOST {
            of_its_kind.clear();
        }
        // Its own bytes: a key may be a piece of something large.
        of_its_kind.insert(Bytes::copy_from_slice(&put.key), stands);
    }
}

fn kind(space: Space) -> Option<usize> {
    KINDS.iter().position(|kind| *kind == space)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SESSION: (Space, &[u8]) = (Space::Session, b"c");

    fn put(key: &[u8], value: Option<&'static [u8]>) -> Put {
        Put {
            space: Space::Session,
            key: Bytes::copy_from_slice(key),
            value: value.map(Bytes::from_static),
            expect: Expect::Any,
            announce: false,
        }
    }

    #[test]
    fn what_was_written_is_known_until_somebody_else_writes() {
        let mut known = Known::default();
        assert!(!known.holds(SESSION, Expect::Absent), "nobody has looked");
        known.note_put(Rev(3), &put(b"c", Some(b"12345678 and more")));
        known.at = Rev(3);
        known.begin(Rev(3));
        assert!(known.holds(SESSION, Expect::Rev(Rev(3))));
        assert!(known.holds(SESSION, Expect::Prefix(*b"12345678")));
        assert!(!known.holds(SESSION, Expect::Rev(Rev(2))));
        assert!(!known.holds(SESSION, Expect::Prefix(*b"12345679")));
        assert!(known.holds(SESSION, Expect::AtMost(*b"12345679")));
        assert!(!known.holds(SESSION, Expect::AtMost(*b"12345677")));
        assert!(!known.holds(SESSION, Expect::Absent));
        assert!(!known.holds((Space::Presence, b"c"), Expect::Rev(Rev(3))), "another kind");
        known.note_put(Rev(4), &put(b"c", None));
        assert!(known.holds(SESSION, Expect::Absent));
        assert!(!known.holds(SESSION, Expect::Rev(Rev(3))));
        known.begin(Rev(5));
        assert!(!known.holds(SESSION, Expect::Absent), "it may be there again");
    }

    #[test]
    fn no_more_is_remembered_than_there_is_room_for() {
        let mut known = Known::default();
        for n in 0..=MOST {
            known.note_put(Rev(1), &put(&n.to_be_bytes(), None));
            assert!(known.kinds[0].len() <= MOST);
        }
        assert!(known.holds((Space::Session, &MOST.to_be_bytes()), Expect::Absent));
        assert!(!known.holds((Space::Session, &0_usize.to_be_bytes()), Expect::Absent));
    }
}
