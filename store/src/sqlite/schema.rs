//! The tables, and the statements that several sides use.

use bytes::Bytes;
use protocol::{LogSeq, Position};
use rusqlite::{CachedStatement, Connection, OptionalExtension as _, TransactionBehavior, params};

use super::fault;
use crate::plan::{Head, holds};
use crate::{Doc, Expect, Rev, Space, StoreError};

/// The newest layout this version knows. It grows with every form of a document or of a commit that versions before could
/// not read, because they would take such a session for damaged. 2: pages that hold nothing can be given back. 3: the log
/// says how large publications are, when they end, and what sessions do not get; sessions say how much may wait for them,
/// and whether they are shown positions. 4: what an ended session leaves to its shared groups is a document. 5: queues say which group gave a message, and estates may be of
/// groups that were left before. 6: presence keeps of departures what they do not have in common.
const LAYOUT: u32 = 6;

/// Bytes of a page of the file.
pub(super) const PAGE_BYTES: u64 = 8_192;

/// `log.upto` is the newest position at that commit; it stands before the entries, so that trimming does not read them.
const TABLES: &str = "
CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID, STRICT;
CREATE TABLE head (
    id INTEGER PRIMARY KEY CHECK (id = 1), seq INTEGER NOT NULL, position INTEGER NOT NULL, rev INTEGER NOT NULL
) STRICT;
CREATE TABLE body (position INTEGER PRIMARY KEY, data BLOB NOT NULL) STRICT;
CREATE TABLE log (seq INTEGER PRIMARY KEY, upto INTEGER NOT NULL, entries BLOB NOT NULL) STRICT;
CREATE TABLE doc (
    space INTEGER NOT NULL, key BLOB NOT NULL, rev INTEGER NOT NULL, value BLOB NOT NULL, PRIMARY KEY (space, key)
) WITHOUT ROWID, STRICT;
INSERT INTO head VALUES (1, 0, 0, 0);
";

/// A document by its key.
const DOC: &str = "SELECT rev, value FROM doc WHERE space = ?1 AND key = ?2";

/// Makes the tables of a new file; checks those of an old one, and brings them up to date if `alone` says that nobody else
/// uses it: a version that knows only the older layout could not read what comes next.
///
/// # Errors
/// [`StoreError`], by what is wrong with the file.
pub(super) fn lay(
    db: &mut Connection,
    alone: &mut dyn FnMut() -> Result<bool, StoreError>,
) -> Result<(), StoreError> {
    if is_laid(db)? {
        // A backup that was put back has no write-ahead log yet.
        db.pragma_update(None, "journal_mode", "WAL").map_err(fault::from)?;
        return match layout(db)? {
            LAYOUT => Ok(()),
            found if alone()? => migrate(db, found),
            found => Err(StoreError::Older { found, known: LAYOUT }),
        };
    }
    // Both can only be set while there is no page.
    db.pragma_update(None, "page_size", bound(PAGE_BYTES)).map_err(fault::from)?;
    db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(fault::from)?;
    db.pragma_update(None, "journal_mode", "WAL").map_err(fault::from)?;
    let tx = db.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fault::from)?;
    tx.execute_batch(TABLES).map_err(fault::from)?;
    let mark = "INSERT INTO meta VALUES ('layout', ?1)";
    tx.execute(mark, params![LAYOUT]).map_err(fault::from)?;
    tx.commit().map_err(fault::from)
}

/// Whether the file holds a store.
pub(super) fn is_laid(db: &Connection) -> Result<bool, StoreError> {
    let known = "SELECT count(*) FROM sqlite_schema WHERE type = 'table' AND name = 'meta'";
    Ok(db.query_row(known, [], |row| row.get::<_, u32>(0)).map_err(fault::from)? > 0)
}

/// The layout of a file, which is one we know.
pub(super) fn layout(db: &Connection) -> Result<u32, StoreError> {
    let layout = "SELECT value FROM meta WHERE key = 'layout'";
    let found: Option<u32> =
        db.query_row(layout, [], |row| row.get(0)).optional().map_err(fault::from)?;
    match found {
        Some(found @ 1..=LAYOUT) => Ok(found),
        Some(found) if found > LAYOUT => Err(StoreError::Newer { found, known: LAYOUT }),
        _ => Err(fault::damaged("the layout has no number")),
    }
}

/// Brings an older file up to date, one layout after the other. Each step may be cut off by a crash and begun again.
fn migrate(db: &Connection, found: u32) -> Result<(), StoreError> {
    for layout in found..LAYOUT {
        tracing::info!("the store has layout {layout} and becomes {}", layout + 1);
        if layout == 1 {
            // Takes as much room again as the file has.
            db.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(fault::from)?;
            db.execute_batch("VACUUM").map_err(fault::from)?;
        }
        let mark = "UPDATE meta SET value = ?1 WHERE key = 'layout'";
        db.execute(mark, params![layout + 1]).map_err(fault::from)?;
    }
    Ok(())
}

/// Whose store it is, if it is somebody's.
pub(super) fn fleet(db: &Connection) -> Result<Option<String>, StoreError> {
    let owner = "SELECT substr(key, 7) FROM meta WHERE key LIKE 'fleet:%'";
    db.query_row(owner, [], |row| row.get(0)).optional().map_err(fault::from)
}

/// Marks the store as this fleet's, unless it is another's; whether it was nobody's.
pub(super) fn claim(db: &Connection, fleet: &str) -> Result<bool, StoreError> {
    match self::fleet(db)? {
        Some(found) if found == fleet => Ok(false),
        Some(found) => Err(StoreError::OtherFleet { found }),
        None => {
            let mark = "INSERT INTO meta VALUES ('fleet:' || ?1, 1)";
            db.execute(mark, [fleet]).map(|_| true).map_err(fault::from)
        }
    }
}

/// A number as a parameter: SQLite's end at 2^63, where ours will never be.
pub(super) fn bound(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The last numbers that were given out.
pub(super) fn head(db: &Connection) -> Result<Head, StoreError> {
    db.prepare_cached("SELECT seq, position, rev FROM head")
        .and_then(|mut statement| {
            statement.query_row([], |row| {
                Ok(Head {
                    seq: LogSeq(row.get(0)?),
                    position: Position(row.get(1)?),
                    rev: Rev(row.get(2)?),
                })
            })
        })
        .map_err(fault::from)
}

/// One document.
pub(super) fn doc(db: &Connection, space: Space, key: &[u8]) -> Result<Option<Doc>, StoreError> {
    db.prepare_cached(DOC)
        .and_then(|mut statement| {
            let row = |row: &rusqlite::Row<'_>| {
                let value = Bytes::copy_from_slice(row.get_ref(1)?.as_blob()?);
                Ok(Doc { rev: Rev(row.get(0)?), value })
            };
            statement.query_row(params![space.number(), key], row).optional()
        })
        .map_err(fault::from)
}

/// Looks at one document after the other, in a transaction that has written nothing.
pub(super) struct Look<'a> {
    db: &'a Connection,
    doc: CachedStatement<'a>,
    /// Whether there is any thing, once that was looked at: most fleets have none, and each claim of a batch expects that its client
    /// is none.
    has_things: Option<bool>,
}

impl<'a> Look<'a> {
    pub(super) fn new(db: &'a Connection) -> Result<Self, StoreError> {
        let doc = db.prepare_cached(DOC).map_err(fault::from)?;
        Ok(Self { db, doc, has_things: None })
    }

    /// Whether a document is as it is expected; if not, what stands. Nothing of it is copied where it is.
    pub(super) fn check(
        &mut self,
        (space, key): (Space, &[u8]),
        expect: Expect,
    ) -> rusqlite::Result<Result<(), Option<Doc>>> {
        if (space, expect) == (Space::Thing, Expect::Absent) && !self.has_things()? {
            return Ok(Ok(()));
        }
        let mut rows = self.doc.query(params![space.number(), key])?;
        let stands = match rows.next()? {
            None => None,
            Some(row) => Some((Rev(row.get(0)?), row.get_ref(1)?.as_blob()?)),
        };
        Ok(match (holds(expect, stands), stands) {
            (true, _) => Ok(()),
            (false, None) => Err(None),
            (false, Some((rev, value))) => {
                Err(Some(Doc { rev, value: Bytes::copy_from_slice(value) }))
            }
        })
    }

    fn has_things(&mut self) -> rusqlite::Result<bool> {
        if let Some(known) = self.has_things {
            return Ok(known);
        }
        let mut any =
            self.db.prepare_cached("SELECT EXISTS (SELECT 1 FROM doc WHERE space = ?1)")?;
        let any: bool = any.query_row(params![Space::Thing.number()], |row| row.get(0))?;
        self.has_things = Some(any);
        Ok(any)
    }
}
