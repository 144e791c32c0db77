//! A copy of the store while it is in use, and the way back.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, OpenFlags, params};

use super::check::{Checked, check, check_file};
use super::open::{DATABASE, SqliteStore, keep_to_ourselves, make, make_folder};
use super::{fault, schema};
use crate::{Source, StoreError};

/// How far a copy is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyProgress {
    /// Pages copied.
    pub done: u64,
    /// Pages in all.
    pub pages: u64,
}

/// Why a copy was not made, or not used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The operator's: nothing is written over.
    #[error("there is something at {} already", .0.display())]
    Exists(PathBuf),
    /// The operator's: a gateway uses the store that would be replaced.
    #[error("the store in {} is in use", .0.display())]
    InUse(PathBuf),
    /// The operator's: what was to be put back, or was just copied, is not whole.
    #[error("{} is damaged: {what}", path.display())]
    Damaged {
        /// Which file.
        path: PathBuf,
        /// The first fault.
        what: String,
    },
    /// The machine's: a file could not be written.
    #[error("cannot write {}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: Source,
    },
    /// What the store said.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Pages per step, after which somebody hears of it.
const STEP_PAGES: i32 = 1_024;
/// How often a step that finds the copy locked is tried again, and after how long.
const LOCKED: (u32, Duration) = (100, Duration::from_millis(50));
/// After a restore positions and revisions go on so far behind the newest of the backup, so that none that was given out after
/// the backup was made means something else.
const LEAP: u64 = 1 << 40;

/// Copies the store to the file `to`, as it is at one moment, while gateways go on writing. The copy is checked before it
/// gets its name. While it is made the write-ahead log of the store cannot begin anew.
///
/// # Errors
/// [`BackupError`]; then there is no file `to`.
pub fn backup(
    store: &SqliteStore,
    to: &Path,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<Checked, BackupError> {
    if to.exists() {
        return Err(BackupError::Exists(to.to_owned()));
    }
    let from = store.open_reader()?;
    // The copy is of this moment, and no later commit makes it begin again.
    let moment = from.unchecked_transaction().map_err(fault::from)?;
    schema::head(&moment)?;
    let part = part_of(to);
    let copied = copy(&moment, &part, progress).and_then(|copy| checked(&copy, &part));
    finish(copied, &part, to)
}

/// Puts the backup `from` into a folder that no gateway uses. What was there stays beside it, with `.old` in its name, if `force`
/// allows that.
///
/// # Errors
/// [`BackupError`]; then the folder is as it was.
pub fn restore(
    from: &Path,
    folder: &Path,
    force: bool,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<Checked, BackupError> {
    let found = check_file(from, &mut |_| {})?;
    sound(&found, from)?;
    make_folder(folder)?;
    let Some(_alone) = keep_to_ourselves(folder)? else {
        return Err(BackupError::InUse(folder.to_owned()));
    };
    let database = folder.join(DATABASE);
    if fs::metadata(&database).is_ok_and(|file| file.len() > 0) && !force {
        return Err(BackupError::Exists(database));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opening = |source| StoreError::Open { path: from.to_owned(), source: Box::new(source) };
    let backup = Connection::open_with_flags(from, flags).map_err(opening)?;
    let part = part_of(&database);
    let copied = copy(&backup, &part, progress).and_then(|copy| {
        let leap = "UPDATE head SET position = position + ?1, rev = rev + ?1";
        copy.execute(leap, params![LEAP]).map_err(fault::from)?;
        checked(&copy, &part)
    });
    let copied = copied.and_then(|copied| put_aside(&database).map(|()| copied));
    finish(copied, &part, &database)
}

fn part_of(path: &Path) -> PathBuf {
    named(path, ".part")
}

fn named(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Copies page by page into a file of its own, without a write-ahead log.
fn copy(
    from: &Connection,
    to: &Path,
    progress: &mut dyn FnMut(CopyProgress),
) -> Result<Connection, BackupError> {
    let writing = |source: rusqlite::Error| BackupError::Write {
        path: to.to_owned(),
        source: Box::new(source),
    };
    // What a copy that was cut off has left.
    let _ = fs::remove_file(to);
    make(to)?;
    let mut copy = Connection::open(to).map_err(writing)?;
    {
        let backup = Backup::new(from, &mut copy).map_err(writing)?;
        let mut locked = 0;
        loop {
            let step = backup.step(STEP_PAGES).map_err(writing)?;
            let (all, left) = (backup.progress().pagecount, backup.progress().remaining);
            let pages = |count: i32| u64::try_from(count).unwrap_or(0);
            progress(CopyProgress { done: pages(all - left), pages: pages(all) });
            match step {
                StepResult::Done => break,
                StepResult::Busy | StepResult::Locked if locked < LOCKED.0 => {
                    locked += 1;
                    std::thread::sleep(LOCKED.1);
                }
                StepResult::Busy | StepResult::Locked => {
                    return Err(BackupError::InUse(to.to_owned()));
                }
                // And whatever may come.
                StepResult::More | _ => {}
            }
        }
    }
    copy.pragma_update(None, "journal_mode", "DELETE").map_err(writing)?;
    Ok(copy)
}

fn checked(copy: &Connection, path: &Path) -> Result<Checked, BackupError> {
    let found = check(copy, &mut |_| {})?;
    sound(&found, path)?;
    Ok(found)
}

fn sound(found: &Checked, path: &Path) -> Result<(), BackupError> {
    match found.faults.first() {
        None => Ok(()),
        Some(what) => Err(BackupError::Damaged { path: path.to_owned(), what: what.clone() }),
    }
}

/// What stood there gets another name. First its write-ahead log goes into the file, so that nothing parts them whatever
/// happens next. Where the file is damaged that cannot be: then the log goes aside first, which would be taken for that of
/// the new file.
fn put_aside(database: &Path) -> Result<(), BackupError> {
    let mut logs = Vec::new();
    if !is_settled(database)? {
        logs.extend(["-wal", "-shm"].map(|suffix| (named(database, suffix), suffix)));
    }
    let old = named(database, ".old");
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(named(&old, suffix));
    }
    let mut moved = Vec::new();
    let aside = logs.into_iter().try_for_each(|(from, suffix)| {
        let to = named(&old, suffix);
        match fs::rename(&from, &to) {
            Ok(()) => moved.push((from, to)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::Write { path: to, source: Box::new(error) }),
        }
        Ok(())
    });
    let _ = fs::remove_file(&old);
    let linked = aside.and_then(|()| match fs::hard_link(database, &old) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(BackupError::Write { path: old, source: Box::new(error) })
        }
        Ok(()) | Err(_) => Ok(()),
    });
    if linked.is_err() {
        for (from, to) in moved {
            let _ = fs::rename(to, from);
        }
    }
    linked
}

/// Moves the write-ahead log of a store that nobody uses into its file. Answers whether that could be: not if it is damaged.
fn is_settled(database: &Path) -> Result<bool, BackupError> {
    if !database.exists() {
        return Ok(false);
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let opening = |source| StoreError::Open { path: database.to_owned(), source: Box::new(source) };
    let db = Connection::open_with_flags(database, flags).map_err(opening)?;
    let moving = "PRAGMA wal_checkpoint(TRUNCATE)";
    match db.query_row(moving, [], |row| row.get::<_, i64>(0)).map_err(fault::from) {
        Ok(0) => Ok(true),
        // Somebody who is no gateway reads it.
        Ok(_) => Err(BackupError::InUse(database.to_owned())),
        Err(StoreError::Damaged { .. }) => Ok(false),
        Err(other) => Err(other.into()),
    }
}

/// Gives the copy its name once the disk has it, or takes it away.
fn finish(
    copied: Result<Checked, BackupError>,
    part: &Path,
    to: &Path,
) -> Result<Checked, BackupError> {
    let writing = |source| BackupError::Write { path: to.to_owned(), source: Box::new(source) };
    let named = copied.and_then(|copied| {
        File::open(part).and_then(|file| file.sync_all()).map_err(writing)?;
        fs::rename(part, to).map_err(writing)?;
        let folder = to.parent().filter(|folder| !folder.as_os_str().is_empty());
        let folder = folder.unwrap_or_else(|| Path::new("."));
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(writing)?;
        Ok(copied)
    });
    if named.is_err() {
        let _ = fs::remove_file(part);
    }
    named
}
