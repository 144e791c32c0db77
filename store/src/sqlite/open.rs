//! Finding or making the files.

use std::fs::{DirBuilder, File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OpenFlags};

use super::check::{Checked, check};
use super::reader::SqliteReader;
use super::turn::Turns;
use super::writer::SqliteWriter;
use super::{fault, schema};
use crate::{Outlives, Reader, Store, StoreError, Unavailable, Writer};

/// How the store is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// What a commit survives.
    pub durability: Durability,
    /// How long a call waits for another process before it fails as busy.
    pub busy: Duration,
    /// Length of the write-ahead log from which on [`tidy`](crate::Writer::tidy) moves it into the file, in pages of 8 KiB.
    pub checkpoint_pages: u32,
}

/// What a commit survives once it was answered, at most: a write may ask for less ([`Outlives`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// The end of the process and a power failure.
    Full,
    /// The end of the process; a power failure may take the last commits.
    Normal,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        // 32 MiB of write-ahead log: long enough that moving it costs little per commit.
        Self {
            durability: Durability::Full,
            busy: Duration::from_secs(60),
            checkpoint_pages: 4_000,
        }
    }
}

/// A store in a folder.
#[derive(Debug, Clone)]
pub struct SqliteStore {
    database: PathBuf,
    lock: PathBuf,
    options: SqliteOptions,
    /// Shared by everybody who uses the store, until the last handle, writer and reader is gone.
    user: Arc<File>,
}

/// The database within its folder.
pub(super) const DATABASE: &str = "tidegate.db";
/// The lock of whoever writes.
pub(super) const LOCK: &str = "writer.lock";
/// The lock that whoever waits to write shares.
const WAITING: &str = "waiting.lock";
/// The lock that everybody who uses the store shares.
const USERS: &str = "users.lock";
/// What a writer remembers of the file, in KiB: its upper pages, and what one commit changes, as a rule. The system remembers
/// the rest, which costs nothing of ours.
const WRITER_CACHE_KIB: i64 = 2_048;
/// What a reader does, in KiB; whatever others write makes it forget all of it.
const READER_CACHE_KIB: i64 = 256;
/// How much longer than asked for the write-ahead log gets before a commit moves it, if nobody tidies.
const UNTIDY: u32 = 16;

impl SqliteStore {
    /// Opens the store in `folder`, or makes it: the folder for its user alone (0700), the files too (0600).
    ///
    /// # Errors
    /// [`StoreError::Open`], [`StoreError::ReadOnly`], [`StoreError::Newer`], [`StoreError::Older`] or
    /// [`StoreError::Damaged`]: for the operator. [`StoreError::Unavailable`]: try again.
    pub fn open(folder: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let opening = |source| fault::open(folder, source);
        make_folder(folder)?;
        let (database, lock) = (folder.join(DATABASE), folder.join(LOCK));
        make(&lock)?;
        let turns = turns(&lock, options.busy)?;
        // Two processes that start at once must not both lay the tables. Who waits here does not use the store yet, so that
        // the first of them is alone.
        let _turn = turns.take()?;
        let user = use_folder(folder)?;
        make(&database)?;
        let store = Self { database, lock, options, user: Arc::new(user) };
        let mut db = store.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        schema::lay(&mut db, &mut || keep_others_out(&store.user))?;
        // Others may use it again.
        share(&store.user)?;
        // A new file is only there after a power failure if its folder says so.
        File::open(folder).and_then(|folder| folder.sync_all()).map_err(opening)?;
        Ok(store)
    }

    /// Opens the store in `folder` to look at it, and makes nothing.
    ///
    /// # Errors
    /// As [`Self::open`]; also if there is no store.
    pub fn existing(folder: &Path, options: SqliteOptions) -> Result<Self, StoreError> {
        let (database, lock) = (folder.join(DATABASE), folder.join(LOCK));
        std::fs::metadata(&database).map_err(|source| fault::open(&database, source))?;
        let user = Arc::new(use_folder(folder)?);
        Ok(Self { database, lock, options, user })
    }

    /// Looks whether the store is whole, as it is at one moment; `step` hears what is looked at next.
    ///
    /// # Errors
    /// As [`check_file`](crate::check_file).
    pub fn check(&self, step: &mut dyn FnMut(&'static str)) -> Result<Checked, StoreError> {
        check(&self.open_reader()?, step)
    }

    /// Makes the store this fleet's if it is nobody's, as a new one is; whether it was.
    ///
    /// # Errors
    /// [`StoreError::OtherFleet`]: for the operator. [`StoreError::Unavailable`]: try again.
    pub fn claim(&self, fleet: &str) -> Result<bool, StoreError> {
        let turns = turns(&self.lock, self.options.busy)?;
        let _turn = turns.take()?;
        schema::claim(&self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?, fleet)
    }

    /// A writer with its settings.
    pub(super) fn open_writer(&self) -> Result<SqliteWriter, StoreError> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_WRITE)?;
        let outlives = match self.options.durability {
            Durability::Full => Outlives::PowerFailure,
            Durability::Normal => Outlives::Processes,
        };
        let set = |name: &str, value: &dyn rusqlite::ToSql| {
            db.pragma_update(None, name, value).map_err(fault::from)
        };
        set("wal_autocheckpoint", &self.options.checkpoint_pages.saturating_mul(UNTIDY))?;
        // A burst may stretch the log; give the room back. 64 MiB is twice what it has between checkpoints.
        set("journal_size_limit", &(64 << 20))?;
        set("cache_size", &-WRITER_CACHE_KIB)?;
        set("temp_store", &"MEMORY")?;
        let user = Arc::clone(&self.user);
        let turns = turns(&self.lock, self.options.busy)?;
        SqliteWriter::new(db, turns, self.options.checkpoint_pages.into(), (outlives, user))
    }

    /// A connection that reads.
    pub(super) fn open_reader(&self) -> Result<Connection, StoreError> {
        let db = self.connect(OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        db.pragma_update(None, "query_only", true).map_err(fault::from)?;
        db.pragma_update(None, "cache_size", -READER_CACHE_KIB).map_err(fault::from)?;
        Ok(db)
    }

    fn connect(&self, access: OpenFlags) -> Result<Connection, StoreError> {
        let flags = access | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let db = Connection::open_with_flags(&self.database, flags).map_err(|source| {
            StoreError::Open { path: self.database.clone(), source: Box::new(source) }
        })?;
        db.busy_timeout(self.options.busy).map_err(fault::from)?;
        db.set_prepared_statement_cache_capacity(32);
        Ok(db)
    }
}

impl Store for SqliteStore {
    fn writer(&self) -> Result<Box<dyn Writer>, StoreError> {
        Ok(Box::new(self.open_writer()?))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(SqliteReader::new(self.open_reader()?, Arc::clone(&self.user))))
    }
}

/// Makes a folder for its user alone, if there is none.
pub(super) fn make_folder(folder: &Path) -> Result<(), StoreError> {
    let opening = |source| fault::open(folder, source);
    DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(opening)
}

/// Opens a file, or makes it for its user alone.
pub(super) fn make(path: &Path) -> Result<File, StoreError> {
    let mut make = OpenOptions::new();
    make.read(true).write(true).create(true).truncate(false).mode(0o600);
    make.open(path).map_err(|source| fault::open(path, source))
}

fn turns(lock: &Path, patience: Duration) -> Result<Turns, StoreError> {
    let waiting = make(&lock.with_file_name(WAITING))?;
    Ok(Turns::new(make(lock)?, waiting, patience))
}

/// Says that somebody uses the store in a folder, until the file is dropped.
fn use_folder(folder: &Path) -> Result<File, StoreError> {
    let user = make(&folder.join(USERS))?;
    share(&user)?;
    Ok(user)
}

fn share(user: &File) -> Result<(), StoreError> {
    match user.try_lock_shared() {
        Ok(()) => Ok(()),
        Err(TryLockError::WouldBlock) => {
            Err(StoreError::Unavailable { why: Unavailable::Busy, source: None })
        }
        Err(TryLockError::Error(error)) => Err(fault::lock(error)),
    }
}

/// Keeps everybody else out of a folder until the file is dropped. `None` if somebody uses its store.
pub(super) fn keep_to_ourselves(folder: &Path) -> Result<Option<File>, StoreError> {
    let user = make(&folder.join(USERS))?;
    Ok(keep_others_out(&user)?.then_some(user))
}

/// Whether nobody else uses the store, and can until the file is shared again or dropped. If somebody does, the file may
/// say no longer that we do.
fn keep_others_out(user: &File) -> Result<bool, StoreError> {
    match user.try_lock() {
        Ok(()) => Ok(true),
        Err(TryLockError::WouldBlock) => Ok(false),
        Err(TryLockError::Error(error)) => Err(fault::lock(error)),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::Space;

    #[test]
    fn the_folder_and_its_files_are_for_their_user_alone() {
        let place = tempfile::tempdir().unwrap();
        let folder = place.path().join("a/b");
        let store = SqliteStore::open(&folder, SqliteOptions::default()).unwrap();
        let _writer = store.writer().unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(&folder), 0o700);
        let mut files = 0;
        for file in std::fs::read_dir(&folder).unwrap() {
            assert_eq!(mode(&file.unwrap().path()), 0o600);
            files += 1;
        }
        assert!(files >= 2);
    }

    #[test]
    fn a_store_of_a_newer_version_is_refused_and_left_alone() {
        let place = tempfile::tempdir().unwrap();
        drop(SqliteStore::open(place.path(), SqliteOptions::default()).unwrap());
        let db = Connection::open(place.path().join(DATABASE)).unwrap();
        db.execute("UPDATE meta SET value = 99 WHERE key = 'layout'", []).unwrap();
        let refused = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap_err();
        assert!(matches!(refused, StoreError::Newer { found: 99, .. }), "{refused}");
    }

    #[test]
    fn an_older_store_is_brought_up_to_date_by_whoever_is_alone_with_it() {
        let place = tempfile::tempdir().unwrap();
        let recorded = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/layout-2.db");
        std::fs::copy(recorded, place.path().join(DATABASE)).unwrap();
        let older = SqliteStore::existing(place.path(), SqliteOptions::default()).unwrap();
        for _ in 0..2 {
            let refused = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap_err();
            assert!(matches!(refused, StoreError::Older { found: 2, .. }), "{refused}");
            assert_eq!(schema::layout(&older.open_reader().unwrap()).unwrap(), 2);
        }
        drop(older);
        let (one, two) = std::thread::scope(|scope| {
            let open = || SqliteStore::open(place.path(), SqliteOptions::default());
            let other = scope.spawn(open);
            (open().unwrap(), other.join().unwrap().unwrap())
        });
        assert_eq!(schema::layout(&one.open_reader().unwrap()).unwrap(), 6);
        drop(one);
        let in_use = keep_to_ourselves(place.path()).unwrap();
        assert!(in_use.is_none(), "whoever opened it uses it");
        drop(two);
        assert!(keep_to_ourselves(place.path()).unwrap().is_some());
    }

    #[test]
    fn a_store_is_one_fleets() {
        let place = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap();
        assert!(store.claim("a").unwrap(), "it is new");
        assert!(!store.claim("a").unwrap());
        let refused = store.claim("b").unwrap_err();
        assert!(matches!(&refused, StoreError::OtherFleet { found } if found == "a"), "{refused}");
    }

    #[test]
    fn a_place_that_cannot_be_a_store_is_named() {
        let place = tempfile::tempdir().unwrap();
        let file = place.path().join("file");
        std::fs::write(&file, "x").unwrap();
        let refused = SqliteStore::open(&file, SqliteOptions::default()).unwrap_err();
        assert!(matches!(&refused, StoreError::Open { path, .. } if *path == file), "{refused}");

        std::fs::create_dir(place.path().join(DATABASE)).unwrap();
        let refused = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap_err();
        assert!(matches!(refused, StoreError::Open { .. }), "{refused}");
    }

    #[test]
    fn a_file_that_is_no_database_is_called_damaged() {
        let place = tempfile::tempdir().unwrap();
        std::fs::write(place.path().join(DATABASE), [7; 20_000]).unwrap();
        let refused = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap_err();
        assert!(matches!(refused, StoreError::Damaged { .. }), "{refused}");
    }

    #[test]
    fn a_reader_writes_nothing() {
        let place = tempfile::tempdir().unwrap();
        let store = SqliteStore::open(place.path(), SqliteOptions::default()).unwrap();
        let db = store.connect(OpenFlags::SQLITE_OPEN_READ_ONLY).unwrap();
        let refused = fault::from(db.execute("DELETE FROM doc", []).unwrap_err());
        assert!(matches!(refused, StoreError::ReadOnly), "{refused}");
        assert_eq!(store.reader().unwrap().get(Space::Will, b"x").unwrap(), None);
    }
}
