//! Housekeeping: the write-ahead log moves into the file, and the file gives back what it does not need.
//!
//! Most of a checkpoint holds nobody up. Only its end is done in a turn of its own, when little is left to move, so that the
//! log can begin anew; and pages are given back a few at a time.

use std::time::{Duration, Instant};

use rusqlite::Connection;

use super::fault;
use super::schema::PAGE_BYTES;
use super::turn::Turns;
use crate::{StoreError, Tidied, Untidy};

/// Pages that the end of a checkpoint may move while other writers wait.
const LAST_PAGES: u64 = 512;
/// Times that a checkpoint tries to get so far; a fast writer stays ahead of it, and somebody who reads holds it up.
const ATTEMPTS: u32 = 4;
/// How many times longer than asked for the log gets before its end is moved however much that is.
const LATER: u64 = 4;
/// How many times longer than asked for the log is when it cannot wait for anybody any more: well before a commit would move it.
const TOO_LONG: u64 = 8;
/// Free pages that a file may always have, for what comes next.
const SPARE_PAGES: u64 = 1_024;
/// Pages that one step gives back.
const STEP_PAGES: u64 = 256;

/// How long the write-ahead log is, in pages, and how much of it lies in the file already.
#[derive(Debug, Clone, Copy)]
struct Wal {
    busy: bool,
    pages: u64,
    moved: u64,
}

impl Wal {
    const fn left(self) -> u64 {
        self.pages.saturating_sub(self.moved)
    }
}

/// Looks what is worth doing now.
pub(super) fn untidy(db: &Connection, from_pages: u64) -> Result<Untidy, StoreError> {
    let (log_pages, from_pages) = (checkpoint(db, "NOOP")?.left(), from_pages.max(1));
    let (pages, free) = (number(db, "PRAGMA page_count")?, number(db, "PRAGMA freelist_count")?);
    Ok(Untidy {
        log_pages,
        is_long: log_pages >= from_pages,
        is_too_long: log_pages >= from_pages.saturating_mul(TOO_LONG),
        has_spare: free > spare(pages),
        file_bytes: pages * PAGE_BYTES,
        free_bytes: free * PAGE_BYTES,
    })
}

/// Free pages that a file of so many may have.
fn spare(pages: u64) -> u64 {
    SPARE_PAGES.max(pages / 4)
}

/// Does what is worth doing now.
pub(super) fn tidy(db: &Connection, turns: &Turns, from_pages: u64) -> Result<Tidied, StoreError> {
    let mut tidied = Tidied::default();
    let wal = checkpoint(db, "NOOP")?;
    if wal.left() >= from_pages.max(1) {
        move_log(db, turns, (wal, from_pages), &mut tidied)?;
    }
    let (pages, free) = (number(db, "PRAGMA page_count")?, number(db, "PRAGMA freelist_count")?);
    let left = if free > spare(pages) {
        let held = give_back(db, turns)?;
        tidied.held += held;
        rest(held);
        number(db, "PRAGMA freelist_count")?
    } else {
        free
    };
    tidied.freed_pages = free.saturating_sub(left);
    tidied.more = tidied.freed_pages > 0 && left > spare(pages);
    tidied.file_bytes = pages.saturating_sub(tidied.freed_pages) * PAGE_BYTES;
    tidied.free_bytes = left * PAGE_BYTES;
    Ok(tidied)
}

fn move_log(
    db: &Connection,
    turns: &Turns,
    (before, from_pages): (Wal, u64),
    tidied: &mut Tidied,
) -> Result<(), StoreError> {
    let mut wal = before;
    let mut left = before.left();
    for _ in 0..ATTEMPTS {
        // Without a turn: this kind waits for nobody and holds nobody up.
        wal = checkpoint(db, "PASSIVE")?;
        left = checkpoint(db, "NOOP")?.left();
        if wal.busy || left <= LAST_PAGES {
            break;
        }
    }
    if wal.busy {
        // Another process is at it.
        return Ok(());
    }
    tidied.moved_pages = wal.moved.saturating_sub(before.moved);
    if left > LAST_PAGES && wal.pages < from_pages.saturating_mul(LATER) {
        // Too much for a turn, and the next time it may be less.
        return Ok(());
    }
    let turn = turns.take()?;
    let began = Instant::now();
    wal = checkpoint(db, "PASSIVE")?;
    drop(turn);
    tidied.held += began.elapsed();
    tidied.moved_pages = wal.moved.saturating_sub(before.moved);
    Ok(())
}

fn give_back(db: &Connection, turns: &Turns) -> Result<Duration, StoreError> {
    let turn = turns.take()?;
    let began = Instant::now();
    let mut step =
        db.prepare(&format!("PRAGMA incremental_vacuum({STEP_PAGES})")).map_err(fault::from)?;
    let mut rows = step.query([]).map_err(fault::from)?;
    // One page per step of the statement.
    while rows.next().map_err(fault::from)?.is_some() {}
    drop(turn);
    Ok(began.elapsed())
}

fn checkpoint(db: &Connection, kind: &str) -> Result<Wal, StoreError> {
    let pages = |number: i64| u64::try_from(number).unwrap_or(0);
    let row = |row: &rusqlite::Row<'_>| {
        let busy = row.get::<_, i64>(0)? != 0;
        Ok(Wal { busy, pages: pages(row.get(1)?), moved: pages(row.get(2)?) })
    };
    db.query_row(&format!("PRAGMA wal_checkpoint({kind})"), [], row).map_err(fault::from)
}

fn number(db: &Connection, pragma: &str) -> Result<u64, StoreError> {
    db.query_row(pragma, [], |row| row.get(0)).map_err(fault::from)
}

/// Leaves the others as much time as they were held up for: who ends a turn and begins the next at once may be quicker than
/// those who wait.
pub(super) fn rest(held: Duration) {
    std::thread::sleep(held);
}
