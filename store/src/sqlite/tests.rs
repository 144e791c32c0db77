//! The store in SQLite against its contract, and what only SQLite can meet.

use std::fs::{self, File, OpenOptions};
use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use protocol::Position;
use rusqlite::Connection;
use tempfile::TempDir;

use super::open::{DATABASE, LOCK};
use super::schema::PAGE_BYTES;
use super::*;
use crate::contract_suite::words::{append, everything, refs, script};
use crate::contract_suite::{Backend, Kept, Trouble};
use crate::{Entry, MemoryStore, Outlines, Store};

struct InAFolder;

/// With the turn to write, if it is kept from everybody.
struct Folder(TempDir, Mutex<Option<File>>);

impl Backend for InAFolder {
    fn empty(&self) -> Box<dyn Kept> {
        Box::new(Folder(tempfile::tempdir().unwrap(), Mutex::default()))
    }
}

impl Kept for Folder {
    fn handle(&self) -> Box<dyn Store> {
        Box::new(open(self.0.path()))
    }

    fn open_with(&self, trouble: Trouble) -> Option<Box<dyn Store>> {
        match trouble {
            Trouble::Refused => {}
            // What fails while it commits is taken back before anybody may read it.
            Trouble::AnswerLost { .. } => return None,
        }
        let options = SqliteOptions { busy: Duration::from_millis(20), ..SqliteOptions::default() };
        let store = SqliteStore::open(self.0.path(), options).unwrap();
        let lock = OpenOptions::new().write(true).open(self.0.path().join(LOCK)).unwrap();
        lock.lock().unwrap();
        *self.1.lock().unwrap() = Some(lock);
        Some(Box::new(store))
    }

    fn mend(&self) {
        *self.1.lock().unwrap() = None;
    }
}

crate::contract_suite!(InAFolder);

fn open(folder: &Path) -> SqliteStore {
    SqliteStore::open(folder, SqliteOptions::default()).unwrap()
}

/// A power failure may leave any beginning of what was written last.
#[test]
fn wherever_the_last_writes_are_torn_whole_commits_are_left_and_nothing_of_the_next() {
    let place = tempfile::tempdir().unwrap();
    let untroubled = MemoryStore::new();
    let mut states = vec![everything(&untroubled)];
    let store = open(place.path());
    let (mut writer, mut model) = (store.writer().unwrap(), untroubled.writer().unwrap());
    for batch in script() {
        assert_eq!(writer.commit(&batch).unwrap(), model.commit(&batch).unwrap());
        states.push(everything(&untroubled));
    }
    let database = fs::read(place.path().join(DATABASE)).unwrap();
    let log = fs::read(place.path().join(format!("{DATABASE}-wal"))).unwrap();
    let frame = 24 + usize::try_from(PAGE_BYTES).unwrap();
    let frames = (log.len() - 32) / frame;
    assert!(frames > 2 * states.len(), "{frames}");
    let mut reached = 0;
    let cuts = (0..=frames).flat_map(|n| [(n, 0), (n, 4_000)]).chain([(frames, 0)]);
    for (whole, part) in cuts {
        let length = (32 + whole * frame + part).min(log.len());
        let torn = tempfile::tempdir().unwrap();
        fs::write(torn.path().join(DATABASE), &database).unwrap();
        // What the disk had not written yet may be anything.
        let mut left = log[..length].to_vec();
        left.resize(log.len(), 0x5a);
        fs::write(torn.path().join(format!("{DATABASE}-wal")), left).unwrap();
        let found = everything(&open(torn.path()));
        let at = states.iter().position(|state| *state == found);
        let at = at.unwrap_or_else(|| panic!("{whole} frames and {part} bytes: {found:?}"));
        assert!(at >= reached, "{at} after {reached}");
        reached = at;
    }
    assert_eq!(reached, states.len() - 1);
}

/// Written by the versions that knew layout 1, 2, 3, 4 and 5; every layout to come needs such a file.
#[test]
fn a_file_of_an_older_layout_is_brought_up_to_date_and_keeps_everything() {
    for layout in 1..=5 {
        is_brought_up_to_date(layout);
    }
}

fn is_brought_up_to_date(layout: u32) {
    let place = tempfile::tempdir().unwrap();
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let recorded = format!("{folder}/layout-{layout}.db");
    fs::copy(recorded, place.path().join(DATABASE)).unwrap();
    let untroubled = MemoryStore::new();
    let mut model = untroubled.writer().unwrap();
    script().iter().for_each(|batch| drop(model.commit(batch).unwrap()));
    let store = open(place.path());
    // The log of the first version did not say how large publications are, and when they end.
    let mut expected = everything(&untroubled);
    for entry in expected.log.iter_mut().flat_map(|(_, entries)| entries) {
        if let Entry::Refs { outlines, .. } = entry
            && layout == 1
        {
            *outlines = Outlines::default();
        }
    }
    assert_eq!(everything(&store), expected);
    let db = Connection::open(place.path().join(DATABASE)).unwrap();
    let number = |query: &str| db.query_row(query, [], |row| row.get::<_, u32>(0)).unwrap();
    assert_eq!(number("SELECT value FROM meta WHERE key = 'layout'"), 6);
    assert_eq!(number("PRAGMA auto_vacuum"), 2);
    drop(store);
    let commit = open(place.path()).writer().unwrap().commit(&[append(&["x"], &refs(&[1]))]);
    assert_eq!(commit.unwrap(), model.commit(&[append(&["x"], &refs(&[1]))]).unwrap());
}

#[test]
fn a_file_shrinks_after_a_large_queue_was_drained() {
    let place = tempfile::tempdir().unwrap();
    let options = SqliteOptions {
        durability: Durability::Normal,
        checkpoint_pages: 64,
        ..SqliteOptions::default()
    };
    let store = SqliteStore::open(place.path(), options).unwrap();
    let mut writer = store.writer().unwrap();
    let payload = "x".repeat(64 << 10);
    let batch = vec![append(&[&payload], &refs(&[1])); 30];
    for _ in 0..10 {
        writer.commit(&batch).unwrap();
        writer.tidy().unwrap();
    }
    let bytes = || fs::metadata(place.path().join(DATABASE)).unwrap().len();
    let (large, head) = (bytes(), store.reader().unwrap().head().unwrap());
    assert!(!writer.untidy().unwrap().has_spare);
    assert!(large > 18 << 20, "{large}");
    writer.trim_log(head.1, head.0).unwrap();
    let mut freed = 0;
    assert!(writer.untidy().unwrap().has_spare);
    loop {
        let tidied = writer.tidy().unwrap();
        freed += tidied.freed_pages;
        if !tidied.more {
            break;
        }
    }
    assert!(freed > 1_000, "{freed}");
    // The file itself ends where its last checkpoint says.
    for _ in 0..4 {
        writer.commit(&batch[..8]).unwrap();
        assert!(writer.tidy().unwrap().moved_pages > 0);
    }
    assert!(bytes() < 12 << 20, "{}", bytes());
    assert_eq!(store.reader().unwrap().bodies(&[Position(head.1.0)]).unwrap().len(), 1);
}

#[test]
fn a_log_of_changes_that_is_moved_begins_anew() {
    let place = tempfile::tempdir().unwrap();
    let options = SqliteOptions { checkpoint_pages: 16, ..SqliteOptions::default() };
    let store = SqliteStore::open(place.path(), options).unwrap();
    let mut writer = store.writer().unwrap();
    let (mut moved, mut longest) = (0, 0);
    for _ in 0..100 {
        writer.commit(&[append(&["x"], &refs(&[1]))]).unwrap();
        let is_long = writer.untidy().unwrap().is_long;
        let now = writer.tidy().unwrap().moved_pages;
        assert_eq!(now > 0, is_long);
        moved += now;
        let log = fs::metadata(place.path().join(format!("{DATABASE}-wal"))).unwrap().len();
        longest = log.max(longest);
    }
    assert!(moved > 150, "{moved}");
    while !writer.untidy().unwrap().is_too_long {
        writer.commit(&[append(&["x"], &refs(&[1]))]).unwrap();
    }
    assert!(writer.untidy().unwrap().log_pages >= 8 * 16);
    writer.tidy().unwrap();
    assert!(!writer.untidy().unwrap().is_long);
    assert!(longest < 30 * PAGE_BYTES, "{longest}");
    let (seq, position) = store.reader().unwrap().head().unwrap();
    assert_eq!(seq.0, position.0);
}
