//! Writers with connections of their own, as several processes have, share one log while others read it.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test ends where it fails")]

use std::sync::Barrier;
use std::thread;

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication, QoS, RefsBuilder, SessionNo};
use smallvec::smallvec;
use store::{
    Append, Commit, Durability, Entry, Expect, Outcome, Put, Space, SqliteOptions, SqliteStore,
    Store as _, Write,
};

const COMMITS: u64 = 1_000;

/// The promise is about order, not about power failures.
fn open(folder: &std::path::Path) -> SqliteStore {
    let options = SqliteOptions { durability: Durability::Normal, ..SqliteOptions::default() };
    SqliteStore::open(folder, options).unwrap()
}

fn publication(session: u32) -> Append {
    let mut builder = RefsBuilder::new();
    builder.push(SessionNo(session), 1);
    let body = Publication::new("t", &[], &session.to_be_bytes(), QoS::AtLeastOnce, false);
    Append { body, refs: builder.build() }
}

fn write_many(folder: &std::path::Path, session: u32) -> Vec<Commit> {
    let mut writer = open(folder).writer().unwrap();
    let write = Write { appends: smallvec![publication(session)], ..Write::default() };
    (0..COMMITS).map(|_| writer.commit(std::slice::from_ref(&write)).unwrap()).collect()
}

/// Reads the log until both writers are through; answers whose publication stood at each place.
fn tail(folder: &std::path::Path) -> Vec<u32> {
    let mut reader = open(folder).reader().unwrap();
    let mut at = LogSeq(0);
    let mut sessions = Vec::new();
    while at < LogSeq(2 * COMMITS) {
        for (seq, entries) in reader.log_after(at, 100).unwrap() {
            assert_eq!(seq.0, at.0 + 1);
            at = seq;
            let [Entry::Refs { first, count: 1, refs, .. }] = &entries[..] else {
                panic!("{entries:?}")
            };
            assert_eq!(first.0, seq.0);
            sessions.push(refs.iter().next().unwrap().0.0);
        }
    }
    sessions
}

#[test]
fn two_writers_share_one_sequence_and_a_reader_sees_all_of_it() {
    let place = tempfile::tempdir().unwrap();
    let folder = place.path();
    let (one, two, seen) = thread::scope(|scope| {
        let one = scope.spawn(|| write_many(folder, 1));
        let two = scope.spawn(|| write_many(folder, 2));
        let seen = tail(folder);
        (one.join().unwrap(), two.join().unwrap(), seen)
    });
    let mut whose = vec![0; seen.len()];
    for (session, commits) in [(1, one), (2, two)] {
        for commit in commits {
            assert_eq!(commit.prev.0 + 1, commit.seq.0);
            let first = Position(commit.seq.0);
            assert_eq!(commit.outcomes, [Outcome::Done { first, rev: store::Rev(0) }]);
            let place = &mut whose[usize::try_from(commit.seq.0).unwrap() - 1];
            assert_eq!(*place, 0, "a place was given twice");
            *place = session;
        }
    }
    assert_eq!(seen, whose);
}

#[test]
fn of_several_claims_at_once_one_wins_each_round() {
    let place = tempfile::tempdir().unwrap();
    let (folder, claimants, rounds) = (place.path(), 4_u8, 50_u8);
    let start = Barrier::new(usize::from(claimants));
    let claim = |name: u8| {
        let mut writer = open(folder).writer().unwrap();
        let mut won = Vec::new();
        for round in 0..rounds {
            start.wait();
            let put = Put {
                space: Space::Session,
                key: Bytes::from(vec![round]),
                value: Some(Bytes::from(vec![name])),
                expect: Expect::Absent,
                announce: true,
            };
            let write = Write { puts: smallvec![put], ..Write::default() };
            let commit = writer.commit(&[write]).unwrap();
            if matches!(commit.outcomes[..], [Outcome::Done { .. }]) {
                won.push(round);
            }
        }
        won
    };
    let mut won: Vec<u8> = thread::scope(|scope| {
        let claims: Vec<_> = (0..claimants).map(|name| scope.spawn(move || claim(name))).collect();
        claims.into_iter().flat_map(|claim| claim.join().unwrap()).collect()
    });
    won.sort_unstable();
    assert_eq!(won, (0..rounds).collect::<Vec<_>>());
    assert_eq!(open(folder).reader().unwrap().head().unwrap().0, LogSeq(u64::from(rounds)));
}
