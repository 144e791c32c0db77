//! A store is copied while it is in use, put back where nobody uses it, and looked at to see whether it is whole.

#![expect(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use protocol::session::SessionRecord;
use protocol::{LogSeq, Position, SessionEpoch, SessionNo};
use rusqlite::Connection;
use store::contract_suite::words::{append, everything, refs, script};
use store::{
    BackupError, Durability, Expect, Put, Space, SqliteOptions, SqliteStore, Store as _,
    StoreError, Write, backup, check_file, restore,
};

fn open(folder: &Path) -> SqliteStore {
    let options = SqliteOptions { durability: Durability::Normal, ..SqliteOptions::default() };
    SqliteStore::open(folder, options).unwrap()
}

/// A store with a bit of everything.
fn filled(folder: &Path) -> SqliteStore {
    let store = open(folder);
    let mut writer = store.writer().unwrap();
    script().iter().for_each(|batch| drop(writer.commit(batch).unwrap()));
    // A check reads what sessions say.
    let sessions = store.reader().unwrap().scan(Space::Session, &[], None, 100).unwrap();
    let record = SessionRecord::new(SessionNo(1), SessionEpoch(1), 60).encode();
    let puts = sessions.into_iter().map(|(key, _)| Put {
        space: Space::Session,
        key,
        value: Some(record.clone()),
        expect: Expect::Any,
        announce: true,
    });
    writer.commit(&[Write { puts: puts.collect(), ..Write::default() }]).unwrap();
    store
}

#[test]
fn a_backup_is_the_store_of_one_moment_while_others_go_on_writing() {
    let place = tempfile::tempdir().unwrap();
    let store = open(&place.path().join("store"));
    store.writer().unwrap().commit(&[append(&["x", "y"], &refs(&[1]))]).unwrap();
    let over = AtomicBool::new(false);
    let write = || {
        let mut writer = store.writer().unwrap();
        let batch = [append(&["x", "y"], &refs(&[1, 2]))];
        for round in 0_u64.. {
            writer.commit(&batch).unwrap();
            if round % 100 == 0 {
                writer.tidy().unwrap();
            }
            if over.load(Ordering::Relaxed) {
                break;
            }
        }
    };
    std::thread::scope(|scope| {
        // Also if something below fails.
        let _end = End(&over);
        scope.spawn(write);
        scope.spawn(write);
        for round in 0..5 {
            let from = store.reader().unwrap().head().unwrap().0;
            let file = place.path().join(format!("backup-{round}.db"));
            let mut told = 0;
            let copied = backup(&store, &file, &mut |progress| told = progress.done).unwrap();
            let to = store.reader().unwrap().head().unwrap().0;
            assert!(told > 0);
            assert!((from.0..=to.0).contains(&copied.commits), "{copied:?}");
            assert_eq!(copied.publications, 2 * copied.commits);
            assert_eq!(check_file(&file, &mut |_| {}).unwrap(), copied);
            let folder = place.path().join(format!("restored-{round}"));
            assert_eq!(
                restore(&file, &folder, false, &mut |_| {}).unwrap().commits,
                copied.commits
            );
            let mut reader = open(&folder).reader().unwrap();
            let log = reader.log_after(LogSeq(0), usize::MAX).unwrap();
            assert_eq!(log.len() as u64, copied.commits);
            let newest = [copied.publications - 1, copied.publications].map(Position);
            assert_eq!(reader.bodies(&newest).unwrap().len(), 2);
        }
    });
}

/// Ends the writers when it is dropped.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn what_is_put_back_goes_on_where_no_position_was_given_out_before() {
    let place = tempfile::tempdir().unwrap();
    let (folder, file) = (place.path().join("store"), place.path().join("backup.db"));
    let store = filled(&folder);
    backup(&store, &file, &mut |_| {}).unwrap();
    let then = everything(&store);
    let lost = store.writer().unwrap().commit(&[append(&["lost"], &refs(&[1]))]).unwrap();

    // As long as anybody reads or writes, also after the handle that opened it is gone.
    let (reader, writer) = (store.reader().unwrap(), store.writer().unwrap());
    let in_use = || {
        let refused = restore(&file, &folder, true, &mut |_| {}).unwrap_err();
        assert!(matches!(refused, BackupError::InUse(_)), "{refused}");
    };
    in_use();
    drop(store);
    in_use();
    drop(reader);
    in_use();
    drop(writer);
    let there = restore(&file, &folder, false, &mut |_| {}).unwrap_err();
    assert!(matches!(there, BackupError::Exists(_)), "{there}");
    restore(&file, &folder, true, &mut |_| {}).unwrap();

    let store = open(&folder);
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.head().unwrap().0, then.head.0);
    assert_eq!(reader.log_after(LogSeq(0), usize::MAX).unwrap(), then.log);
    let next = store.writer().unwrap().commit(&[append(&["next"], &refs(&[1]))]).unwrap();
    assert_eq!(next.seq, lost.seq);
    let [store::Outcome::Done { first, .. }] = next.outcomes[..] else { panic!("{next:?}") };
    assert!(first.0 > then.head.1.0 + (1 << 30), "{first}");
    drop((reader, store));
    // What was there is still to be had.
    let old = folder.join("tidegate.db.old");
    assert_eq!(check_file(&old, &mut |_| {}).unwrap().commits, then.log.len() as u64 + 1);
}

/// The files of a store whose process died: what it committed last is only in its write-ahead log.
fn died(from: &Path, to: &Path) {
    fs::create_dir(to).unwrap();
    for file in ["tidegate.db", "tidegate.db-wal"] {
        fs::copy(from.join(file), to.join(file)).unwrap();
    }
}

#[test]
fn a_restore_that_fails_leaves_every_commit_of_the_store_that_was_there() {
    let place = tempfile::tempdir().unwrap();
    let (lives, folder) = (place.path().join("lives"), place.path().join("store"));
    let file = place.path().join("backup.db");
    let store = filled(&lives);
    let backed_up = everything(&store);
    backup(&store, &file, &mut |_| {}).unwrap();
    let mut writer = store.writer().unwrap();
    writer.commit(&[append(&["last"], &refs(&[1]))]).unwrap();
    let then = everything(&store);
    died(&lives, &folder);
    assert!(fs::metadata(folder.join("tidegate.db-wal")).unwrap().len() > 0);
    // Something is in the way of the second name.
    let old = folder.join("tidegate.db.old");
    fs::create_dir(&old).unwrap();
    let failed = restore(&file, &folder, true, &mut |_| {}).unwrap_err();
    assert!(matches!(&failed, BackupError::Write { path, .. } if *path == old), "{failed}");
    assert_eq!(everything(&open(&folder)), then);
    // What is damaged keeps its write-ahead log, and can be put aside.
    let damaged = place.path().join("damaged");
    died(&lives, &damaged);
    let log = fs::read(damaged.join("tidegate.db-wal")).unwrap();
    fs::write(damaged.join("tidegate.db"), [7; 9_000]).unwrap();
    fs::create_dir(damaged.join("tidegate.db.old")).unwrap();
    restore(&file, &damaged, true, &mut |_| {}).unwrap_err();
    assert_eq!(fs::read(damaged.join("tidegate.db-wal")).unwrap(), log);
    fs::remove_dir(damaged.join("tidegate.db.old")).unwrap();
    restore(&file, &damaged, true, &mut |_| {}).unwrap();
    let mut reader = open(&damaged).reader().unwrap();
    assert_eq!(reader.log_after(LogSeq(0), usize::MAX).unwrap(), backed_up.log);
    assert_eq!(fs::read(damaged.join("tidegate.db.old-wal")).unwrap(), log);
}

#[test]
fn nothing_is_written_over_and_a_damaged_backup_is_refused() {
    let place = tempfile::tempdir().unwrap();
    let (folder, file) = (place.path().join("store"), place.path().join("backup.db"));
    let store = filled(&folder);
    let then = everything(&store);
    fs::write(&file, "precious").unwrap();
    let there = backup(&store, &file, &mut |_| {}).unwrap_err();
    assert!(matches!(there, BackupError::Exists(_)), "{there}");
    assert_eq!(fs::read(&file).unwrap(), b"precious");
    fs::remove_file(&file).unwrap();
    backup(&store, &file, &mut |_| {}).unwrap();
    drop(store);
    let whole = fs::read(&file).unwrap();
    for damage in [&whole[..whole.len() / 2], &[7; 9_000][..], b""] {
        fs::write(&file, damage).unwrap();
        let refused = restore(&file, &folder, true, &mut |_| {}).unwrap_err();
        assert!(
            matches!(
                refused,
                BackupError::Damaged { .. } | BackupError::Store(StoreError::Damaged { .. })
            ),
            "{refused}"
        );
        assert_eq!(everything(&open(&folder)), then);
    }
    let missing = restore(&place.path().join("none"), &folder, true, &mut |_| {}).unwrap_err();
    assert!(matches!(missing, BackupError::Store(StoreError::Open { .. })), "{missing}");
    let none = SqliteStore::existing(&place.path().join("none"), SqliteOptions::default());
    assert!(matches!(none.unwrap_err(), StoreError::Open { .. }));
}

#[test]
fn a_check_finds_what_cannot_be() {
    let place = tempfile::tempdir().unwrap();
    let whole = filled(&place.path().join("whole")).check(&mut |_| {}).unwrap();
    assert_eq!(whole.faults, [""; 0]);
    assert_eq!((whole.layout, whole.commits, whole.publications, whole.documents), (6, 7, 7, 2));
    let damages = [
        ("DELETE FROM body WHERE position = 3", "missing"),
        ("DELETE FROM log WHERE seq = 3", "gap before commit 4"),
        ("DELETE FROM log WHERE seq = 7", "ends before"),
        ("UPDATE log SET entries = x'01ff' WHERE seq = 2", "commit 2 cannot be read"),
        ("UPDATE log SET upto = 99 WHERE seq = 2", "position 99"),
        ("UPDATE body SET data = x'' WHERE position = 2", "publication 2 cannot be read"),
        ("INSERT INTO body VALUES (77, x'')", "publication 77"),
        ("INSERT INTO doc VALUES (99, x'00', 1, x'')", "not known: 99"),
        ("UPDATE doc SET rev = 1000", "revision 1000"),
        ("UPDATE doc SET value = x'0000000000000007ff' WHERE space = 1", "cannot be read"),
    ];
    for (number, (damage, told)) in damages.into_iter().enumerate() {
        let folder = place.path().join(number.to_string());
        let store = filled(&folder);
        let db = Connection::open(folder.join("tidegate.db")).unwrap();
        db.execute(damage, []).unwrap();
        let found = store.check(&mut |_| {}).unwrap();
        assert!(found.faults.iter().any(|fault| fault.contains(told)), "{damage}: {found:?}");
    }
    let trimmed = filled(&place.path().join("trimmed"));
    trimmed.writer().unwrap().trim_log(Position(5), LogSeq(0)).unwrap();
    assert_eq!(trimmed.check(&mut |_| {}).unwrap().faults, [""; 0]);
}
