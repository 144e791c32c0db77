//! The stored form of one commit's entries.
//!
//! Entries follow each other, each a tag and its fields; numbers are varints (7 bits per byte, low bits first):
//!
//! ```text
//! 1  first  count  length  references     the first use of these references in the row
//! 2  first  count  index                  references used before, by the order of their first use
//! 3  space  rev    length  key            an announced document; its value is read from where it stands
//! 4  session  position                    a trim
//! ```
//!
//! `first` is the distance from the end of the run before; the row's first run counts from 0.

use bytes::Bytes;
use protocol::{HashMap, Position, Refs, SessionEpoch, SessionNo, put_varint, take_varint};

use crate::{Entry, Rev, Space, Trim};

const REFS_NEW: u8 = 1;
const REFS_AGAIN: u8 = 2;
const DOC: u8 = 3;
const TRIM: u8 = 4;

/// Appends the stored form of `entries`.
pub(crate) fn encode(entries: &[Entry], out: &mut Vec<u8>) {
    let mut seen = HashMap::<*const u8, u64>::default();
    let mut end = 0_u64;
    for entry in entries {
        match entry {
            Entry::Refs { first, count, refs } => {
                let next = seen.len() as u64;
                let known = seen.get(&refs.as_bytes().as_ptr()).copied();
                out.push(if known.is_some() { REFS_AGAIN } else { REFS_NEW });
                put_varint(out, first.0.wrapping_sub(end));
                put_varint(out, u64::from(*count));
                end = first.0.wrapping_add(u64::from(*count));
                if let Some(index) = known {
                    put_varint(out, index);
                } else {
                    seen.insert(refs.as_bytes().as_ptr(), next);
                    put_bytes(out, refs.as_bytes());
                }
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
        }
    }
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
            tag @ (REFS_NEW | REFS_AGAIN) => {
                let first = end.checked_add(take_varint(&mut rest)?)?;
                let count = u32::try_from(take_varint(&mut rest)?).ok().filter(|n| *n > 0)?;
                end = first.checked_add(u64::from(count))?;
                let refs = if tag == REFS_NEW {
                    let refs = Refs::from_bytes(take_bytes(&mut rest)?)?;
                    seen.push(refs.clone());
                    refs
                } else {
                    seen.get(usize::try_from(take_varint(&mut rest)?).ok()?)?.clone()
                };
                Entry::Refs { first: Position(first), count, refs }
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

    proptest! {
        #[test]
        fn rows_read_back_and_write_shared_references_once(
            runs in proptest::collection::vec((0_u64..1 << 61, 1_u32..9, 0_usize..3), 0..20),
            trims in proptest::collection::vec((any::<u32>(), any::<u64>()), 0..5),
            keys in proptest::collection::vec((1_u8..9, any::<u64>(), proptest::collection::vec(any::<u8>(), 0..9)), 0..5),
        ) {
            let pool = [refs(&[1, 2, 3]), refs(&(1..500).collect::<Vec<_>>()), Refs::default()];
            let mut entries = Vec::new();
            let mut runs = runs;
            runs.sort_unstable();
            let mut end = 0;
            for (first, count, which) in runs {
                let first = first.max(end);
                end = first + u64::from(count);
                entries.push(Entry::Refs { first: Position(first), count, refs: pool[which].clone() });
            }
            entries.extend(trims.into_iter().map(|(no, p)| Entry::Trim(Trim { session: SessionNo(no), epoch: SessionEpoch(p / 2), up_to: Position(p) })));
            entries.extend(keys.into_iter().map(|(space, rev, key)| Entry::Doc {
                space: Space::from_number(space).unwrap(), key: key.into(), rev: Rev(rev), value: None,
            }));
            let mut row = Vec::new();
            encode(&entries, &mut row);
            prop_assert!(row.len() < 1_100 + 40 * entries.len());
            prop_assert_eq!(decode(&row), Some(entries));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_harm(row in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = decode(&row);
        }
    }
}
