//! What a batch does to the store, decided before anything is written; the same for every backend.

use bytes::Bytes;
use protocol::{HashMap, LogSeq, Position, Publication, Refs};

use crate::{Append, Commit, Doc, Entry, Expect, MAX_BYTES, MAX_KEY_BYTES, Outcome, Outline};
use crate::{Outlines, Put, Rev, Space, StoreError, Write};

/// The last numbers that were given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Head {
    pub(crate) seq: LogSeq,
    pub(crate) position: Position,
    pub(crate) rev: Rev,
}

/// The changes to make, and what to answer once they are durable.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    before: LogSeq,
    pub(crate) head: Head,
    pub(crate) bodies: Vec<(Position, &'a Publication)>,
    /// Each key once.
    pub(crate) docs: Vec<(Rev, &'a Put)>,
    pub(crate) entries: Vec<Entry>,
    outcomes: Vec<Outcome>,
}

impl<'a> Plan<'a> {
    /// Decides each write in turn. `check` looks at what is stored; it is asked only where there is an expectation, and answers
    /// what stands if that is something else.
    pub(crate) fn new(
        batch: &'a [Write],
        head: Head,
        mut check: impl FnMut(Space, &[u8], Expect) -> Result<Result<(), Option<Doc>>, StoreError>,
    ) -> Result<Self, StoreError> {
        let mut plan = Self {
            before: head.seq,
            head,
            bodies: Vec::with_capacity(batch.len()),
            docs: Vec::new(),
            entries: Vec::new(),
            outcomes: Vec::with_capacity(batch.len()),
        };
        let mut written = Written::default();
        for write in batch {
            let mut conflict = None;
            let checks = write.checks.iter().map(|check| (check.space, &check.key, check.expect));
            let puts = write.puts.iter().map(|put| (put.space, &put.key, put.expect));
            let expected = checks.chain(puts).filter(|(.., expect)| *expect != Expect::Any);
            for (space, key, expect) in expected {
                let holds = match written.get(&(space, &**key)).and_then(|at| plan.docs.get(*at)) {
                    Some((rev, put)) => holds_after(expect, *rev, put),
                    None => check(space, key, expect)?,
                };
                if let Err(current) = holds {
                    conflict = Some(Outcome::Conflict { space, key: key.clone(), current });
                    break;
                }
            }
            let outcome = match conflict {
                Some(conflict) => conflict,
                None => plan.accept(write, &mut written),
            };
            plan.outcomes.push(outcome);
        }
        if !plan.entries.is_empty() {
            plan.head.seq = LogSeq(plan.before.0 + 1);
        }
        Ok(plan)
    }

    /// Whether there is nothing to write.
    pub(crate) const fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.docs.is_empty()
    }

    /// Whether the log gets a row.
    pub(crate) const fn tells(&self) -> bool {
        !self.entries.is_empty()
    }

    /// What to answer.
    pub(crate) fn into_commit(self) -> Commit {
        Commit {
            seq: self.head.seq,
            prev: self.before,
            entries: self.entries,
            outcomes: self.outcomes,
        }
    }

    fn accept(&mut self, write: &'a Write, written: &mut Written<'a>) -> Outcome {
        let first = match write.appends.as_slice() {
            [] => Position(0),
            _ => Position(self.head.position.0 + 1),
        };
        for append in &write.appends {
            self.append(append);
        }
        // Before the marks, which may pass what was dropped: it is counted once.
        self.entries.extend(write.drops.iter().copied().map(Entry::Dropped));
        // Before the documents: of a session that ends, only what is not acknowledged goes back to its groups.
        for trim in &write.trims {
            self.entries.push(Entry::Trim(*trim));
        }
        if !write.puts.is_empty() {
            self.head.rev.0 += 1;
        }
        let rev = if write.puts.is_empty() { Rev(0) } else { self.head.rev };
        for put in &write.puts {
            let at = *written.entry((put.space, &*put.key)).or_insert(self.docs.len());
            match self.docs.get_mut(at) {
                // Nobody sees what stood between two writes of a batch.
                Some(place) => *place = (rev, put),
                None => self.docs.push((rev, put)),
            }
            if put.announce {
                self.entries.push(Entry::Doc {
                    space: put.space,
                    key: put.key.clone(),
                    rev,
                    value: put.value.clone().filter(|_| !put.space.is_poked()),
                });
            }
        }
        Outcome::Done { first, rev }
    }

    fn append(&mut self, append: &'a Append) {
        self.head.position.0 += 1;
        let position = self.head.position;
        self.bodies.push((position, &append.body));
        // Positions of one commit are consecutive, so equal references in a row grow one entry.
        let outline = Outline::of(&append.body);
        if let Some(Entry::Refs { refs, count, outlines, .. }) = self.entries.last_mut()
            && alike(refs, &append.refs)
        {
            *count += 1;
            outlines.push(1, outline);
            return;
        }
        let mut outlines = Outlines::default();
        outlines.push(1, outline);
        let refs = append.refs.clone();
        self.entries.push(Entry::Refs { first: position, count: 1, refs, outlines });
    }
}

/// Where in the plan the documents are that a batch has written so far.
type Written<'a> = HashMap<(Space, &'a [u8]), usize>;

/// Refuses a batch with anything beyond the limits.
pub(crate) fn check_limits(batch: &[Write]) -> Result<(), StoreError> {
    for (index, write) in batch.iter().enumerate() {
        let check = |len_bytes: usize, limit_bytes: usize| match len_bytes {
            len if len > limit_bytes => {
                Err(StoreError::TooLarge { write: index, len_bytes, limit_bytes })
            }
            _ => Ok(()),
        };
        for append in &write.appends {
            check(append.body.encoded_len(), MAX_BYTES)?;
            check(append.refs.as_bytes().len(), MAX_BYTES)?;
        }
        for expected in &write.checks {
            check(expected.key.len(), MAX_KEY_BYTES)?;
        }
        for put in &write.puts {
            check(put.key.len(), MAX_KEY_BYTES)?;
            check(put.value.as_ref().map_or(0, Bytes::len), MAX_BYTES)?;
        }
        check(write.said_bytes(), MAX_BYTES)?;
    }
    Ok(())
}

/// The documents of a scan begin at the first key that is not less than this one.
pub(crate) fn scan_from(prefix: &[u8], after: Option<&[u8]>) -> Vec<u8> {
    match after {
        // The shortest key behind `after` is `after` with a zero byte.
        Some(after) if after >= prefix => [after, &[0]].concat(),
        _ => prefix.to_vec(),
    }
}

/// Whether what is stored, as its revision and its bytes, is what was expected.
pub(crate) fn holds(expect: Expect, stands: Option<(Rev, &[u8])>) -> bool {
    match expect {
        Expect::Any => true,
        Expect::Absent => stands.is_none(),
        Expect::Rev(expected) => stands.is_some_and(|(rev, _)| rev == expected),
        Expect::Prefix(fence) => stands.is_some_and(|(_, value)| value.starts_with(&fence)),
        Expect::AtMost(fence) => {
            stands.is_none_or(|(_, value)| value.first_chunk().is_some_and(|start| *start <= fence))
        }
    }
}

/// The same behind a write of the same batch.
fn holds_after(expect: Expect, rev: Rev, put: &Put) -> Result<(), Option<Doc>> {
    if holds(expect, put.value.as_deref().map(|value| (rev, value))) {
        return Ok(());
    }
    Err(put.value.clone().map(|value| Doc { rev, value }))
}

/// Same content, found cheaply: one allocation, or short enough to compare.
fn alike(a: &Refs, b: &Refs) -> bool {
    a.same(b) || (a.as_bytes().len() <= 16 && a == b)
}
