//! The writing side.

use std::fs::File;
use std::sync::Arc;
use std::time::Instant;

use protocol::{LogSeq, Position};
use rusqlite::{Connection, TransactionBehavior, params};

use super::known::Known;
use super::tidy::{rest, tidy, untidy};
use super::turn::Turns;
use super::{fault, schema};
use crate::plan::{Plan, check_limits};
use crate::{Commit, Outlives, StoreError, Tidied, Untidy, Write, Writer, row};

/// Bodies that one step of trimming deletes, at most: about 10 ms of holding up the other writers.
const BODIES_PER_STEP: u64 = 16_384;

/// Commits that one step of trimming deletes, at most.
const COMMITS_PER_STEP: u64 = 256;

/// A connection that writes in turns with those of other processes.
#[derive(Debug)]
pub(super) struct SqliteWriter {
    db: Connection,
    turns: Turns,
    /// Length of the write-ahead log from which on it is moved, in pages.
    checkpoint_pages: u64,
    /// Reused for everything that is encoded.
    buffer: Vec<u8>,
    /// What need not be looked up.
    known: Known,
    /// What a commit that asks for all of it outlives, and what commits outlive by how the file is set now.
    outlives: (Outlives, Outlives),
    /// Says that somebody uses the store.
    _user: Arc<File>,
}

impl SqliteWriter {
    /// A connection whose commits outlive this much, with its settings.
    pub(super) fn new(
        db: Connection,
        turns: Turns,
        checkpoint_pages: u64,
        (outlives, user): (Outlives, Arc<File>),
    ) -> Result<Self, StoreError> {
        wait_for(&db, outlives)?;
        let (buffer, known, outlives) = (Vec::new(), Known::default(), (outlives, outlives));
        Ok(Self { db, turns, checkpoint_pages, buffer, known, outlives, _user: user })
    }

    /// Has the next commit wait for the disk if one of its writes asks for that. A later commit that waits takes those with it
    /// that did not: they stand before it in the same file.
    fn outlive(&mut self, batch: &[Write]) -> Result<(), StoreError> {
        let (most, now) = self.outlives;
        let asked = batch.iter().any(|write| write.outlives == Outlives::PowerFailure);
        let wanted = if asked { most } else { Outlives::Processes };
        if wanted != now {
            wait_for(&self.db, wanted)?;
            self.outlives.1 = wanted;
        }
        Ok(())
    }
}

/// Says what commits wait for: the disk, or the kernel.
fn wait_for(db: &Connection, outlives: Outlives) -> Result<(), StoreError> {
    let synchronous = match outlives {
        Outlives::PowerFailure => "FULL",
        Outlives::Processes => "NORMAL",
    };
    db.pragma_update(None, "synchronous", synchronous).map_err(fault::from)
}

impl Writer for SqliteWriter {
    fn commit(&mut self, batch: &[Write]) -> Result<Commit, StoreError> {
        check_limits(batch)?;
        self.outlive(batch)?;
        let _turn = self.turns.take()?;
        let tx = self
            .db
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(fault::from)?;
        let mut look = schema::Look::new(&tx)?;
        let (head, known) = (schema::head(&tx)?, &mut self.known);
        known.begin(head.rev);
        let plan = Plan::new(batch, head, |space, key, expect| match (space, key) {
            it if known.holds(it, expect) => Ok(Ok(())),
            it => look.check(it, expect).map_err(fault::from),
        })?;
        drop(look);
        if !plan.is_empty() {
            store(&tx, &plan, &mut self.buffer).map_err(fault::from)?;
            tx.commit().map_err(fault::from)?;
            known.note(&plan);
        }
        Ok(plan.into_commit())
    }

    fn untidy(&mut self) -> Result<Untidy, StoreError> {
        untidy(&self.db, self.checkpoint_pages)
    }

    fn tidy(&mut self) -> Result<Tidied, StoreError> {
        tidy(&self.db, &self.turns, self.checkpoint_pages)
    }

    fn trim_log(&mut self, keep_from: Position, keep_seq: LogSeq) -> Result<u64, StoreError> {
        let bodies = self.trim_bodies(keep_from)?;
        Ok(bodies + self.trim_commits(keep_from, keep_seq)?)
    }
}

impl SqliteWriter {
    fn trim_bodies(&mut self, keep_from: Position) -> Result<u64, StoreError> {
        let mut gone = 0;
        while let Some(first) = self.lowest("SELECT min(position) FROM body")? {
            let end = keep_from.0.min(first.saturating_add(BODIES_PER_STEP));
            if first >= end {
                break;
            }
            let turn = self.turns.take()?;
            let began = Instant::now();
            gone += self
                .db
                .prepare_cached("DELETE FROM body WHERE position < ?1")
                .and_then(|mut delete| delete.execute(params![schema::bound(end)]))
                .map_err(fault::from)? as u64;
            drop(turn);
            rest(began.elapsed());
        }
        Ok(gone)
    }

    fn trim_commits(&mut self, keep_from: Position, keep_seq: LogSeq) -> Result<u64, StoreError> {
        let mut gone = 0;
        while let Some(first) = self.lowest("SELECT min(seq) FROM log")? {
            let end = keep_seq.0.min(first.saturating_add(COMMITS_PER_STEP));
            let turn = self.turns.take()?;
            let began = Instant::now();
            let step = self
                .db
                .prepare_cached("DELETE FROM log WHERE seq < ?1 AND upto < ?2")
                .and_then(|mut delete| {
                    delete.execute(params![schema::bound(end), schema::bound(keep_from.0)])
                })
                .map_err(fault::from)? as u64;
            if step == 0 {
                break;
            }
            gone += step;
            drop(turn);
            rest(began.elapsed());
        }
        Ok(gone)
    }

    fn lowest(&self, query: &str) -> Result<Option<u64>, StoreError> {
        self.db
            .prepare_cached(query)
            .and_then(|mut select| select.query_row([], |row| row.get(0)))
            .map_err(fault::from)
    }
}

/// Writes what was planned.
fn store(db: &Connection, plan: &Plan<'_>, buffer: &mut Vec<u8>) -> rusqlite::Result<()> {
    let mut insert = db.prepare_cached("INSERT INTO body (position, data) VALUES (?1, ?2)")?;
    for (position, body) in &plan.bodies {
        buffer.clear();
        body.encode(buffer);
        insert.execute(params![position.0, &*buffer])?;
    }
    // Without triggers and other indexes this writes over what is there; an upsert would look for it first.
    let mut replace =
        db.prepare_cached("REPLACE INTO doc (space, key, rev, value) VALUES (?1, ?2, ?3, ?4)")?;
    let mut delete = db.prepare_cached("DELETE FROM doc WHERE space = ?1 AND key = ?2")?;
    for (rev, put) in &plan.docs {
        let (space, key) = (put.space.number(), &*put.key);
        match &put.value {
            Some(value) => replace.execute(params![space, key, rev.0, &**value])?,
            None => delete.execute(params![space, key])?,
        };
    }
    let head = plan.head;
    if plan.tells() {
        buffer.clear();
        row::encode(&plan.entries, buffer);
        db.prepare_cached("INSERT INTO log (seq, upto, entries) VALUES (?1, ?2, ?3)")?
            .execute(params![head.seq.0, head.position.0, &*buffer])?;
    }
    // One huge commit must not cost its memory for ever.
    buffer.shrink_to(1 << 20);
    db.prepare_cached("UPDATE head SET seq = ?1, position = ?2, rev = ?3")?.execute(params![
        head.seq.0,
        head.position.0,
        head.rev.0
    ])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use protocol::{Publication, QoS, Refs};
    use smallvec::smallvec;

    use super::*;
    use crate::{Append, Durability, SqliteOptions, SqliteStore, Unavailable};

    #[test]
    fn a_full_disk_loses_nothing_and_passes() {
        let place = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap();
        let mut writer = store.open_writer().unwrap();
        let body = Publication::new("t", &[], &[1; 50_000], QoS::AtLeastOnce, false);
        let write = Write {
            appends: smallvec![Append { body, refs: Refs::default() }],
            ..Write::default()
        };
        writer.db.pragma_update(None, "max_page_count", 20).unwrap();
        let mut stored = 0;
        let failed = loop {
            match writer.commit(std::slice::from_ref(&write)) {
                Ok(_) => stored += 1,
                Err(error) => break error,
            }
        };
        assert!(
            matches!(failed, StoreError::Unavailable { why: Unavailable::Full, .. }),
            "{failed}"
        );
        assert!(failed.may_pass());
        writer.db.pragma_update(None, "max_page_count", 1_000_000).unwrap();
        let commit = writer.commit(&[write]).unwrap();
        assert_eq!(commit.seq, LogSeq(stored + 1));
    }

    #[test]
    fn a_commit_waits_for_the_disk_if_one_of_its_writes_must_outlive_a_power_failure() {
        let put = |outlives| Write {
            puts: smallvec![crate::Put {
                space: crate::Space::Session,
                key: Bytes::from_static(b"c"),
                value: Some(Bytes::from_static(b"v")),
                expect: crate::Expect::Any,
                announce: false,
            }],
            outlives,
            ..Write::default()
        };
        let (all, processes) = (put(Outlives::PowerFailure), put(Outlives::Processes));
        for (durability, waits) in [(Durability::Full, 2), (Durability::Normal, 1)] {
            let place = tempfile::tempdir().unwrap();
            let options = SqliteOptions { durability, ..SqliteOptions::default() };
            let mut writer =
                SqliteStore::open(place.path(), options).unwrap().open_writer().unwrap();
            let mut synchronous = |batch: &[Write]| -> i64 {
                writer.commit(batch).unwrap();
                writer.db.pragma_query_value(None, "synchronous", |row| row.get(0)).unwrap()
            };
            assert_eq!(synchronous(std::slice::from_ref(&all)), waits);
            assert_eq!(synchronous(&[processes.clone(), processes.clone()]), 1);
            assert_eq!(synchronous(&[processes.clone(), all.clone()]), waits);
            assert_eq!(synchronous(std::slice::from_ref(&processes)), 1);
        }
    }

    #[test]
    fn what_a_writer_left_is_looked_at_again_once_another_has_written() {
        let place = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap();
        let (mut ours, mut theirs) = (store.open_writer().unwrap(), store.open_writer().unwrap());
        let put = |value: Option<&'static [u8]>, expect| Write {
            puts: smallvec![crate::Put {
                space: crate::Space::Session,
                key: Bytes::from_static(b"c"),
                value: value.map(Bytes::from_static),
                expect,
                announce: false,
            }],
            ..Write::default()
        };
        let is_done = |writer: &mut SqliteWriter, write: &Write| {
            let commit = writer.commit(std::slice::from_ref(write)).unwrap();
            matches!(commit.outcomes[..], [crate::Outcome::Done { .. }])
        };
        let fence = crate::Expect::Prefix(*b"epoch--1");
        assert!(is_done(&mut ours, &put(Some(b"epoch--1 ours"), crate::Expect::Absent)));
        assert!(is_done(&mut ours, &put(Some(b"epoch--1 still"), fence)));
        assert!(is_done(&mut theirs, &put(Some(b"epoch--2 theirs"), fence)));
        assert!(!is_done(&mut ours, &put(None, fence)));
        assert!(is_done(&mut theirs, &put(None, crate::Expect::Any)));
        assert!(is_done(&mut ours, &put(Some(b"epoch--3 ours"), crate::Expect::Absent)));
        // What could not be committed is not known.
        ours.db.pragma_update(None, "query_only", true).unwrap();
        let gone = put(None, crate::Expect::Any);
        ours.commit(std::slice::from_ref(&gone)).unwrap_err();
        ours.db.pragma_update(None, "query_only", false).unwrap();
        assert!(!is_done(&mut ours, &put(Some(b"epoch--4 ours"), crate::Expect::Absent)));
    }

    #[test]
    fn what_is_beyond_the_limits_is_named_before_anything_happens() {
        let place = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap();
        let mut writer = store.open_writer().unwrap();
        let key = Bytes::from(vec![0; crate::MAX_KEY_BYTES + 1]);
        let put = crate::Put {
            space: crate::Space::Will,
            key,
            value: None,
            expect: crate::Expect::Any,
            announce: true,
        };
        let large = Write { puts: smallvec![put], ..Write::default() };
        let refused = writer.commit(&[Write::default(), large]).unwrap_err();
        assert!(matches!(refused, StoreError::TooLarge { write: 1, .. }), "{refused}");
        assert_eq!(schema::head(&writer.db).unwrap(), crate::plan::Head::default());
    }
}
