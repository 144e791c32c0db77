//! Whether a store is whole: what SQLite can say, and what must hold between our tables.

use std::path::Path;

use protocol::Publication;
use protocol::session::SessionRecord;
use rusqlite::{Connection, OpenFlags, params};

use super::{fault, schema};
use crate::{Entry, Space, StoreError, row};

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Checked {
    /// What is wrong, at most [`MOST_FAULTS`] of it; empty if the store is whole.
    pub faults: Vec<String>,
    /// The layout of the file.
    pub layout: u32,
    /// Whose it is.
    pub fleet: Option<String>,
    /// Commits in the log.
    pub commits: u64,
    /// Stored publications.
    pub publications: u64,
    /// Documents.
    pub documents: u64,
    /// Length of the file, in bytes.
    pub bytes: u64,
}

/// Faults after which a check has seen enough.
pub const MOST_FAULTS: usize = 100;

/// Checks a database file that nobody needs to have open; `step` hears what is looked at next.
///
/// # Errors
/// [`StoreError`]: it cannot be looked at. What is wrong with its content is in [`Checked::faults`].
pub fn check_file(path: &Path, step: &mut dyn FnMut(&'static str)) -> Result<Checked, StoreError> {
    let opening = |source| StoreError::Open { path: path.to_owned(), source: Box::new(source) };
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let db = Connection::open_with_flags(path, flags).map_err(opening)?;
    check(&db, step)
}

/// Checks what a connection sees at one moment.
pub(super) fn check(
    db: &Connection,
    step: &mut dyn FnMut(&'static str),
) -> Result<Checked, StoreError> {
    let tx = db.unchecked_transaction().map_err(fault::from)?;
    if !schema::is_laid(&tx)? {
        return Err(fault::damaged("it holds no store"));
    }
    let mut checked = Checked { layout: schema::layout(&tx)?, ..Checked::default() };
    checked.fleet = schema::fleet(&tx)?;
    let number = |query: &str| tx.query_row(query, [], |row| row.get::<_, u64>(0));
    let pages = number("PRAGMA page_count").map_err(fault::from)?;
    checked.bytes = pages * number("PRAGMA page_size").map_err(fault::from)?;
    step("pages");
    let said = look(&tx, &format!("PRAGMA integrity_check({MOST_FAULTS})"), |row| row.get(0))
        .map_err(fault::from)?;
    checked.faults = said.into_iter().filter(|line: &String| line != "ok").collect();
    if !checked.faults.is_empty() {
        // What the tables say means nothing then.
        return Ok(checked);
    }
    step("log");
    log(&tx, &mut checked)?;
    step("publications");
    publications(&tx, &mut checked)?;
    step("documents");
    documents(&tx, &mut checked)?;
    Ok(checked)
}

fn look<T>(
    db: &Connection,
    query: &str,
    read: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    db.prepare(query)?.query_map([], read)?.collect()
}

fn note(checked: &mut Checked, fault: impl FnOnce() -> String) {
    if checked.faults.len() < MOST_FAULTS {
        checked.faults.push(fault());
    }
}

/// Commits follow each other without gap up to the newest, and what they refer to is there unless it was trimmed.
fn log(db: &Connection, checked: &mut Checked) -> Result<(), StoreError> {
    let head = schema::head(db)?;
    let first_body = "SELECT coalesce(min(position), ?1) FROM body";
    let first: u64 = db
        .query_row(first_body, params![schema::bound(head.position.0 + 1)], |row| row.get(0))
        .map_err(fault::from)?;
    let mut rows =
        db.prepare("SELECT seq, upto, entries FROM log ORDER BY seq").map_err(fault::from)?;
    let mut rows = rows.query([]).map_err(fault::from)?;
    let (mut before, mut known) = (None, 0);
    while let Some(row) = rows.next().map_err(fault::from)? {
        let seq: u64 = row.get(0).map_err(fault::from)?;
        let up_to: u64 = row.get(1).map_err(fault::from)?;
        checked.commits += 1;
        if before.is_some_and(|before| seq != before + 1) {
            note(checked, || format!("the log has a gap before commit {seq}"));
        }
        if up_to < known || up_to > head.position.0 {
            note(checked, || format!("commit {seq} ends at position {up_to}, which cannot be"));
        }
        let blob = row.get_ref(2).map_err(fault::from)?;
        match blob.as_blob().ok().and_then(row::decode) {
            Some(entries) => {
                for entry in entries {
                    refers(db, seq, &entry, (first, known, up_to), checked)?;
                }
            }
            None => note(checked, || format!("commit {seq} cannot be read")),
        }
        (before, known) = (Some(seq), up_to);
    }
    if before.is_some_and(|last| last != head.seq.0) {
        note(checked, || format!("the log ends before its newest commit, {}", head.seq));
    }
    Ok(())
}

fn refers(
    db: &Connection,
    seq: u64,
    entry: &Entry,
    (first_body, known, up_to): (u64, u64, u64),
    checked: &mut Checked,
) -> Result<(), StoreError> {
    let Entry::Refs { first, count, .. } = entry else { return Ok(()) };
    let (from, to) = (first.0, first.0 + u64::from(*count) - 1);
    if from <= known || to > up_to {
        note(checked, || format!("commit {seq} refers to positions {from} to {to}"));
        return Ok(());
    }
    let from = from.max(first_body);
    if from > to {
        return Ok(());
    }
    let found: u64 = db
        .prepare_cached("SELECT count(*) FROM body WHERE position BETWEEN ?1 AND ?2")
        .and_then(|mut count| count.query_row([from, to].map(schema::bound), |row| row.get(0)))
        .map_err(fault::from)?;
    if found != to - from + 1 {
        note(checked, || format!("commit {seq} refers to publications that are missing"));
    }
    Ok(())
}

fn publications(db: &Connection, checked: &mut Checked) -> Result<(), StoreError> {
    let head = schema::head(db)?;
    let mut rows =
        db.prepare("SELECT position, data FROM body ORDER BY position").map_err(fault::from)?;
    let mut rows = rows.query([]).map_err(fault::from)?;
    while let Some(row) = rows.next().map_err(fault::from)? {
        let position: u64 = row.get(0).map_err(fault::from)?;
        checked.publications += 1;
        if position > head.position.0 {
            note(checked, || format!("publication {position} lies behind the newest position"));
        }
        let data = row.get_ref(1).map_err(fault::from)?;
        let body = data.as_blob().ok().map(bytes::Bytes::copy_from_slice);
        if body.and_then(|data| Publication::decode(&data)).is_none() {
            note(checked, || format!("publication {position} cannot be read"));
        }
    }
    Ok(())
}

fn documents(db: &Connection, checked: &mut Checked) -> Result<(), StoreError> {
    let head = schema::head(db)?;
    sessions(db, checked)?;
    let rows = look(db, "SELECT space, count(*), max(rev) FROM doc GROUP BY space", |row| {
        Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?, row.get::<_, u64>(2)?))
    });
    for (space, count, newest) in rows.map_err(fault::from)? {
        checked.documents += count;
        if u8::try_from(space).ok().and_then(Space::from_number).is_none() {
            note(checked, || format!("{count} documents are of a kind that is not known: {space}"));
        }
        if newest > head.rev.0 {
            note(checked, || format!("a document has revision {newest}, which was not given out"));
        }
    }
    Ok(())
}

/// A session that cannot be read is served to nobody, and nothing is deleted meanwhile.
fn sessions(db: &Connection, checked: &mut Checked) -> Result<(), StoreError> {
    let mut rows =
        db.prepare("SELECT key, value FROM doc WHERE space = ?1").map_err(fault::from)?;
    let mut rows = rows.query([Space::Session.number()]).map_err(fault::from)?;
    while let Some(row) = rows.next().map_err(fault::from)? {
        let (key, value) = (row.get_ref(0), row.get_ref(1));
        let bytes = |cell: rusqlite::Result<rusqlite::types::ValueRef<'_>>| {
            let cell = cell.map_err(fault::from)?;
            Ok::<_, StoreError>(
                cell.as_blob().map(bytes::Bytes::copy_from_slice).unwrap_or_default(),
            )
        };
        let (key, value) = (bytes(key)?, bytes(value)?);
        if SessionRecord::decode(&value).is_none() {
            let client = String::from_utf8_lossy(&key);
            note(checked, || format!("the session of client `{client}` cannot be read"));
        }
    }
    Ok(())
}
