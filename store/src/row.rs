//! The stored form of one commit's entries.
//!
//! Entries follow each other, each a tag and its fields; numbers are varints (7 bits per byte, low bits first):
//!
//! ```text
//! 1  first  count  length  references     the first use of these references in the row
//! 2  first  count  index                  references used before, by the order of their first use
//! 3  space  rev    length  key            an announced document; its value is read from where it stands
//! 4  session  epoch  position             a trim
//! 5  as 1, then outlines
//! 6  as 2, then outlines
//! 7  session  reason  count               messages that a session missed
//! 8  session  reason  epoch  after  span  messages that left its queue: behind `after`, over `span` positions
//! ```
//!
//! Outlines are for how many publications, twice the bytes of each and 1 if there is an end, and that end; so often until
//! there is one for each of `count`. Versions that had none wrote 1 and 2. `first` is the distance from the end of the run before; the row's first run counts from 0.

use bytes::Bytes;
use protocol::session::DropReason;
use protocol::{HashMap, Position, Refs, SessionEpoch, SessionNo, Wall, put_varint, take_varint};

use crate::{Dropped, Entry, Lost, Outline, Outlines, Rev, Space, Trim};

const REFS_NEW: u8 = 1;
const REFS_AGAIN: u8 = 2;
const DOC: u8 = 3;
const TRIM: u8 = 4;
const REFS_NEW_OUTLINED: u8 = 5;
const REFS_AGAIN_OUTLINED: u8 = 6;
const MISSED: u8 = 7;
const LEFT: u8 = 8;

/// Appends the stored form of `entries`.
pub(crate) fn encode(entries: &[Entry], out: &mut Vec<u8>) {
    let mut seen = HashMap::<*const u8, u64>::default();
    let mut end = 0_u64;
    for entry in entries {
        match entry {
            Entry::Refs { first, count, refs, outlines } => {
                let next = seen.len() as u64;
                let known = seen.get(&refs.as_bytes().as_ptr()).copied();
                out.push(match (known.is_some(), outlines.runs().is_empty()) {
                    (false, false) => REFS_NEW_OUTLINED,
                    (true, false) => REFS_AGAIN_OUTLINED,
                    (false, true) => REFS_NEW,
                    (true, true) => REFS_AGAIN,
                });
                put_varint(out, first.0.wrapping_sub(end));
                put_varint(out, u64::from(*count));
                end = first.0.wrapping_add(u64::from(*count));
                if let Some(index) = known {
                    put_varint(out, index);
                } else {
                    seen.insert(refs.as_bytes().as_ptr(), next);
                    put_bytes(out, refs.as_bytes());
                }
                put_outlines(out, outlines);
            }
            Entry::Doc { space, key, rev, value: _ } => {
                out.push(DOC);
                out.push(space.number());
                put_varint(out, rev.0);
                put_bytes(out, key);
            }
            Entry::Trim(Trim { session, epoch, up_to }) => {
                out.push(TRIM);
                put_varint(out, u64::from(session.0));
                put_varint(out, epoch.0);
                put_varint(out, up_to.0);
            }
            Entry::Dropped(dropped) => put_dropped(out, dropped),
        }
    }
}

fn put_outlines(out: &mut Vec<u8>, outlines: &Outlines) {
    for (count, Outline { bytes, expires_at }) in outlines.runs() {
        put_varint(out, u64::from(*count));
        put_varint(out, u64::from(*bytes) << 1 | u64::from(expires_at.is_some()));
        if let Some(at) = expires_at {
            put_varint(out, at.0);
        }
    }
}

fn take_outlines(rest: &mut &[u8], count: u32) -> Option<Outlines> {
    let mut outlines = Outlines::default();
    let mut left = count;
    while left > 0 {
        let count = u32::try_from(take_varint(rest)?).ok().filter(|n| *n > 0)?;
        left = left.checked_sub(count)?;
        let head = take_varint(rest)?;
        let bytes = u32::try_from(head >> 1).ok()?;
        let expires_at = if head & 1 == 1 { Some(Wall(take_varint(rest)?)) } else { None };
        outlines.push(count, Outline { bytes, expires_at });
    }
    Some(outlines)
}

fn put_dropped(out: &mut Vec<u8>, Dropped { session, reason, which }: &Dropped) {
    out.push(if matches!(which, Lost::Missed(_)) { MISSED } else { LEFT });
    put_varint(out, u64::from(session.0));
    out.push(*reason as u8);
    match which {
        Lost::Missed(count) => put_varint(out, u64::from(*count)),
        Lost::Queued { epoch, after, up_to } => {
            put_varint(out, epoch.0);
            put_varint(out, after.0);
            put_varint(out, up_to.0.saturating_sub(after.0));
        }
    }
}

fn take_dropped(tag: u8, rest: &mut &[u8]) -> Option<Dropped> {
    let session = SessionNo(u32::try_from(take_varint(rest)?).ok()?);
    let (reason, after) = rest.split_first()?;
    let reason = DropReason::from_number(*reason)?;
    *rest = after;
    let which = if tag == MISSED {
        Lost::Missed(u32::try_from(take_varint(rest)?).ok()?)
    } else {
        let epoch = SessionEpoch(take_varint(rest)?);
        let after = take_varint(rest)?;
        let up_to = after.checked_add(take_varint(rest)?)?;
        Lost::Queued { epoch, after: Position(after), up_to: Position(up_to) }
    };
    Some(Dropped { session, reason, which })
}

/// Reads what [`encode`] wrote; documents come without value. `None` if it is damaged.
pub(crate) fn decode(row: &[u8]) -> Option<Vec<Entry>> {
    let mut rest = row;
    let mut entries = Vec::new();
    let mut seen = Vec::<Refs>::new();
    let mut end = 0_u64;
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        entries.push(match *tag {
            tag @ (REFS_NEW | REFS_AGAIN | REFS_NEW_OUTLINED | REFS_AGAIN_OUTLINED) => {
                let first = end.checked_add(take_varint(&mut rest)?)?;
                let count = u32::try_from(take_varint(&mut rest)?).ok().filter(|n| *n > 0)?;
                end = first.checked_add(u64::from(count))?;
                let refs = if matches!(tag, REFS_NEW | REFS_NEW_OUTLINED) {
                    let refs = Refs::from_bytes(take_bytes(&mut rest)?)?;
                    seen.push(refs.clone());
                    refs
                } else {
                    seen.get(usize::try_from(take_varint(&mut rest)?).ok()?)?.clone()
                };
                let outlined = matches!(tag, REFS_NEW_OUTLINED | REFS_AGAIN_OUTLINED);
                let outlines =
                    if outlined { take_outlines(&mut rest, count)? } else { Outlines::default() };
                Entry::Refs { first: Position(first), count, refs, outlines }
            }
            DOC => {
                let (space, after) = rest.split_first()?;
                rest = after;
                let space = Space::from_number(*space)?;
                let rev = Rev(take_varint(&mut rest)?);
                let key = Bytes::copy_from_slice(take_bytes(&mut rest)?);
                Entry::Doc { space, key, rev, value: None }
            }
            TRIM => Entry::Trim(Trim {
                session: SessionNo(u32::try_from(take_varint(&mut rest)?).ok()?),
                epoch: SessionEpoch(take_varint(&mut rest)?),
                up_to: Position(take_varint(&mut rest)?),
            }),
            tag @ (MISSED | LEFT) => Entry::Dropped(take_dropped(tag, &mut rest)?),
            _ => return None,
        });
    }
    Some(entries)
}

fn put_bytes(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn take_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(take_varint(rest)?).ok()?;
    let (bytes, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::RefsBuilder;

    use super::*;

    fn refs(sessions: &[u32]) -> Refs {
        let mut builder = RefsBuilder::new();
        for no in sessions {
            builder.push(SessionNo(*no), 1);
        }
        builder.build()
    }

    #[test]
    fn a_row_of_a_version_without_outlines_is_read() {
        let row = [1, 5, 3, 2, 7, 1, 2, 0, 1, 0];
        let run = |first, count| Entry::Refs {
            first: Position(first),
            count,
            refs: refs(&[7]),
            outlines: Outlines::default(),
        };
        assert_eq!(decode(&row), Some(vec![run(5, 3), run(8, 1)]));
    }

    proptest! {
        #[test]
        fn rows_read_back_and_write_shared_references_once(
            runs in proptest::collection::vec((0_u64..1 << 61, 1_u32..9, 0_usize..3, proptest::option::of(any::<(u32, Option<u64>)>())), 0..20),
            drops in proptest::collection::vec((any::<u32>(), 0_u8..6, any::<u64>(), any::<bool>()), 0..5),
            trims in proptest::collection::vec((any::<u32>(), any::<u64>()), 0..5),
            keys in proptest::collection::vec((1_u8..9, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..9)), 0..5),
        ) {
            let pool = [refs(&[1, 2, 3]), refs(&(1..500).collect::<Vec<_>>()), Refs::default()];
            let mut entries = Vec::new();
            let mut runs = runs;
            runs.sort_unstable();
            let mut end = 0;
            for (first, count, which, outline) in runs {
                let first = first.max(end);
                end = first + u64::from(count);
                let mut outlines = Outlines::default();
                if let Some((bytes, end)) = outline {
                    let expires_at = end.map(Wall);
                    outlines.push(1, Outline { bytes, expires_at });
                    (1..count).for_each(|n| outlines.push(1, Outline { bytes: n, expires_at }));
                }
                entries.push(Entry::Refs { first: Position(first), count, refs: pool[which].clone(), outlines });
            }
            entries.extend(drops.into_iter().map(|(no, reason, p, missed)| {
                let queued = Lost::Queued { epoch: SessionEpoch(p / 3), after: Position(p / 2), up_to: Position(p) };
                Entry::Dropped(Dropped {
                    session: SessionNo(no),
                    reason: DropReason::from_number(reason).unwrap(),
                    which: if missed { Lost::Missed(no / 2) } else { queued },
                })
            }));
            entries.extend(trims.into_iter().map(|(no, p)| Entry::Trim(Trim { session: SessionNo(no), epoch: SessionEpoch(p / 2), up_to: Position(p) })));
            entries.extend(keys.into_iter().map(|(space, rev, key)| Entry::Doc {
                space: Space::from_number(space).unwrap(), key: key.into(), rev: Rev(rev), value: None,
            }));
            let mut row = Vec::new();
            encode(&entries, &mut row);
            prop_assert!(row.len() < 1_100 + 160 * entries.len());
            prop_assert_eq!(decode(&row), Some(entries));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_harm(row in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&row);
        }
    }
}
