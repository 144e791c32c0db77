//! The reading side.

use std::fs::File;
use std::sync::Arc;

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication};
use rusqlite::{Connection, OptionalExtension as _, params};

use super::{fault, schema};
use crate::plan::scan_from;
use crate::{Doc, Entry, Reader, Rev, Space, StoreError, row};

/// A connection that only reads, and never waits for a writer.
#[derive(Debug)]
pub(super) struct SqliteReader {
    db: Connection,
    /// Says that somebody uses the store.
    _user: Arc<File>,
}

impl SqliteReader {
    pub(super) const fn new(db: Connection, user: Arc<File>) -> Self {
        Self { db, _user: user }
    }
}

impl Reader for SqliteReader {
    fn head(&mut self) -> Result<(LogSeq, Position), StoreError> {
        let head = schema::head(&self.db)?;
        Ok((head.seq, head.position))
    }

    fn first_seq(&mut self) -> Result<LogSeq, StoreError> {
        let tx = self.db.transaction().map_err(fault::from)?;
        first_seq(&tx)
    }

    fn log_after(
        &mut self,
        after: LogSeq,
        max_rows: usize,
    ) -> Result<Vec<(LogSeq, Vec<Entry>)>, StoreError> {
        // One transaction, so that documents, rows and head are of one moment.
        let tx = self.db.transaction().map_err(fault::from)?;
        let mut commits = rows_after(&tx, after, max_rows)?;
        let consecutive = commits.iter().zip(1..).all(|((seq, _), n)| seq.0 == after.0 + n);
        if !consecutive || (commits.is_empty() && schema::head(&tx)?.seq != after && max_rows > 0) {
            let (first, last) = (first_seq(&tx)?, schema::head(&tx)?.seq);
            return Err(StoreError::Gap { after, first, last });
        }
        for (_, entries) in &mut commits {
            join(&tx, entries)?;
        }
        Ok(commits)
    }

    fn bodies(
        &mut self,
        positions: &[Position],
    ) -> Result<Vec<(Position, Publication)>, StoreError> {
        let tx = self.db.transaction().map_err(fault::from)?;
        let mut select =
            tx.prepare_cached("SELECT data FROM body WHERE position = ?1").map_err(fault::from)?;
        let mut bodies = Vec::with_capacity(positions.len());
        for position in positions {
            let data = select
                .query_row(params![schema::bound(position.0)], |row| {
                    Ok(Bytes::copy_from_slice(row.get_ref(0)?.as_blob()?))
                })
                .optional()
                .map_err(fault::from)?;
            if let Some(data) = data {
                let body = Publication::decode(&data);
                bodies.push((*position, body.ok_or(fault::damaged("a publication"))?));
            }
        }
        Ok(bodies)
    }

    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Doc>, StoreError> {
        schema::doc(&self.db, space, key)
    }

    fn get_all(&mut self, keys: &[(Space, Bytes)]) -> Result<Vec<Option<Doc>>, StoreError> {
        // One transaction: what was read of the file before is looked at again once, and not for every document.
        let tx = self.db.transaction().map_err(fault::from)?;
        keys.iter().map(|(space, key)| schema::doc(&tx, *space, key)).collect()
    }

    fn scan(
        &mut self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Bytes, Doc)>, StoreError> {
        scan(&self.db, (space, prefix, after), max).map_err(fault::from)
    }
}

fn first_seq(db: &Connection) -> Result<LogSeq, StoreError> {
    let first: Option<u64> = db
        .prepare_cached("SELECT min(seq) FROM log")
        .and_then(|mut select| select.query_row([], |row| row.get(0)))
        .map_err(fault::from)?;
    match first {
        Some(first) => Ok(LogSeq(first)),
        None => Ok(LogSeq(schema::head(db)?.seq.0 + 1)),
    }
}

fn rows_after(
    db: &Connection,
    after: LogSeq,
    max_rows: usize,
) -> Result<Vec<(LogSeq, Vec<Entry>)>, StoreError> {
    let mut select = db
        .prepare_cached("SELECT seq, entries FROM log WHERE seq > ?1 ORDER BY seq LIMIT ?2")
        .map_err(fault::from)?;
    let limit = i64::try_from(max_rows).unwrap_or(i64::MAX);
    let mut rows = select.query(params![schema::bound(after.0), limit]).map_err(fault::from)?;
    let mut commits = Vec::new();
    while let Some(row) = rows.next().map_err(fault::from)? {
        let seq = LogSeq(row.get(0).map_err(fault::from)?);
        let stored = row.get_ref(1).map_err(fault::from)?;
        let entries = stored.as_blob().ok().and_then(row::decode);
        commits.push((seq, entries.ok_or(fault::damaged("a commit"))?));
    }
    Ok(commits)
}

/// Gives announced documents the value they have now.
fn join(db: &Connection, entries: &mut [Entry]) -> Result<(), StoreError> {
    for entry in entries {
        if let Entry::Doc { space, key, rev, value } = entry
            && !space.is_poked()
            && let Some(now) = schema::doc(db, *space, key)?
        {
            *rev = now.rev;
            *value = Some(now.value);
        }
    }
    Ok(())
}

fn scan(
    db: &Connection,
    (space, prefix, after): (Space, &[u8], Option<&[u8]>),
    max: usize,
) -> rusqlite::Result<Vec<(Bytes, Doc)>> {
    let mut select = db.prepare_cached(
        "SELECT key, rev, value FROM doc WHERE space = ?1 AND key >= ?2 ORDER BY key LIMIT ?3",
    )?;
    let limit = i64::try_from(max).unwrap_or(i64::MAX);
    let mut rows = select.query(params![space.number(), scan_from(prefix, after), limit])?;
    let mut docs = Vec::new();
    while let Some(row) = rows.next()? {
        let key = row.get_ref(0)?.as_blob()?;
        if !key.starts_with(prefix) {
            break;
        }
        let value = Bytes::copy_from_slice(row.get_ref(2)?.as_blob()?);
        docs.push((Bytes::copy_from_slice(key), Doc { rev: Rev(row.get(1)?), value }));
    }
    Ok(docs)
}
