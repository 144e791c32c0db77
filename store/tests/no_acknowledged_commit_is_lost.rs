//! A process that writes is killed at any moment: what it was told is durable is there, and nothing is there in part.

#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test ends where it fails"
)]

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Child, Command, Stdio};

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication, QoS, RefsBuilder, SessionNo};
use smallvec::smallvec;
use store::{
    Append, Entry, Expect, Outcome, Put, Reader, Space, SqliteOptions, SqliteStore, Store as _,
    Write,
};

const FOLDER: &str = "TIDEGATE_TEST_FOLDER";
const LIFE: &str = "TIDEGATE_TEST_LIFE";
/// Publications per commit.
const BATCH: u32 = 8;

#[test]
fn whatever_was_acknowledged_before_a_kill_is_there_after_it() {
    let place = tempfile::tempdir().unwrap();
    let mut acknowledged: Vec<(Position, String)> = Vec::new();
    for life in 0..20_u32 {
        let mut child = start(place.path(), life);
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        // The moment of the kill falls anywhere in a commit, because the child never waits for us.
        let until = (life as usize * 7) % 23 + 1;
        let mut said = lines.map(Result::unwrap).filter(|line| line.starts_with("acknowledged "));
        let before: Vec<_> = said.by_ref().take(until).collect();
        child.kill().unwrap();
        child.wait().unwrap();
        for line in before.into_iter().chain(said) {
            // The last line may be cut by the kill; it counts only if it is whole.
            let mut words =
                line.strip_suffix(" .").into_iter().flat_map(str::split_whitespace).skip(1);
            let (Some(first), Some(payload)) = (words.next(), words.next()) else { continue };
            acknowledged.push((Position(first.parse().unwrap()), payload.to_owned()));
        }
        check(place.path(), &acknowledged);
    }
    assert!(acknowledged.len() >= 20);
}

/// Not a test of its own: the process that is killed.
#[test]
fn the_process_that_is_killed() {
    let (Ok(folder), Ok(life)) = (std::env::var(FOLDER), std::env::var(LIFE)) else { return };
    let store = SqliteStore::open(Path::new(&folder), SqliteOptions::default()).unwrap();
    let mut writer = store.writer().unwrap();
    for round in 0_u64.. {
        let payload = format!("{life}/{round}");
        let commit = writer.commit(&batch(&payload)).unwrap();
        let Some(Outcome::Done { first, .. }) = commit.outcomes.first() else { panic!("conflict") };
        let mut out = std::io::stdout().lock();
        writeln!(out, "acknowledged {first} {payload} .").unwrap();
        out.flush().unwrap();
    }
}

fn batch(payload: &str) -> Vec<Write> {
    let mut builder = RefsBuilder::new();
    builder.push(SessionNo(1), 1);
    let refs = builder.build();
    let body = Publication::new("t", &[], payload.as_bytes(), QoS::AtLeastOnce, false);
    let newest = Put {
        space: Space::Counter,
        key: Bytes::from_static(b"newest"),
        value: Some(Bytes::copy_from_slice(payload.as_bytes())),
        expect: Expect::Any,
        announce: false,
    };
    let one = Write { appends: smallvec![Append { body, refs }], ..Write::default() };
    let mut batch = vec![one; BATCH as usize];
    batch[3].puts.push(newest);
    batch
}

fn start(folder: &Path, life: u32) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_is_killed", "--nocapture"])
        .env(FOLDER, folder)
        .env(LIFE, life.to_string())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn check(folder: &Path, acknowledged: &[(Position, String)]) {
    // The lock of the killed process is free, or this would hang.
    let store = SqliteStore::open(folder, SqliteOptions::default()).unwrap();
    let mut reader = store.reader().unwrap();
    for (first, payload) in acknowledged {
        let positions: Vec<_> = (first.0..first.0 + u64::from(BATCH)).map(Position).collect();
        let bodies = reader.bodies(&positions).unwrap();
        assert_eq!(bodies.len(), positions.len(), "{payload}");
        assert!(bodies.iter().all(|(_, body)| body.payload() == payload.as_bytes()), "{payload}");
    }
    let (seq, position) = reader.head().unwrap();
    assert_eq!(position.0, seq.0 * u64::from(BATCH));
    assert_log_is_whole(&mut *reader, seq);
    let last = reader.bodies(&[position]).unwrap();
    let newest = reader.get(Space::Counter, b"newest").unwrap().unwrap();
    assert_eq!(last[0].1.payload(), newest.value);
}

fn assert_log_is_whole(reader: &mut dyn Reader, newest: LogSeq) {
    let rows = reader.log_after(LogSeq(0), usize::MAX).unwrap();
    assert_eq!(rows.len() as u64, newest.0);
    for (seq, entries) in rows {
        let [Entry::Refs { first, count, .. }] = &entries[..] else { panic!("{entries:?}") };
        assert_eq!((first.0, *count), ((seq.0 - 1) * u64::from(BATCH) + 1, BATCH));
    }
}
