//! The log, and the bodies that it refers to.

use bytes::Bytes;
use protocol::session::DropReason;
use protocol::{LogSeq, Position, Refs, SessionEpoch, SessionNo, Wall};

use super::Kept;
use super::words::{append, body, done, put, puts, quiet, refs, run, trim, value};
use crate::{Append, Dropped, Entry, Expect, Lost, Outcome, Put, Rev, Space, StoreError, Write};

/// Nothing is there, and that is not an error.
pub fn a_new_store_is_empty(kept: &dyn Kept) {
    let store = kept.handle();
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.head().unwrap(), (LogSeq(0), Position(0)));
    assert_eq!(reader.first_seq().unwrap(), LogSeq(1));
    assert_eq!(reader.log_after(LogSeq(0), 10).unwrap(), []);
    assert_eq!(reader.bodies(&[Position(0), Position(1)]).unwrap(), []);
    assert_eq!(reader.get(Space::Will, b"").unwrap(), None);
    assert_eq!(reader.scan(Space::Will, b"", None, 10).unwrap(), []);
    let commit = store.writer().unwrap().commit(&[]).unwrap();
    assert_eq!((commit.prev, commit.seq, commit.outcomes), (LogSeq(0), LogSeq(0), vec![]));
}

/// Publications, documents and trims of one write share its fate.
pub fn a_conflict_drops_all_of_its_write_and_nothing_else(kept: &dyn Kept) {
    let store = kept.handle();
    let mut torn = append(&["torn"], &refs(&[1]));
    torn.puts.push(put("fine", Some("x"), Expect::Absent));
    torn.puts.push(put("missing", Some("x"), Expect::Rev(Rev(7))));
    torn.trims.push(trim(9, 1));
    let batch = [append(&["one"], &refs(&[1])), torn, append(&["two"], &refs(&[2]))];
    let commit = store.writer().unwrap().commit(&batch).unwrap();
    assert_eq!(done(&commit, 0).0, Position(1));
    assert_eq!(done(&commit, 2).0, Position(2));
    let conflict = Outcome::Conflict {
        space: Space::Session,
        key: Bytes::from_static(b"missing"),
        current: None,
    };
    assert_eq!(commit.outcomes[1], conflict);
    let mut reader = store.reader().unwrap();
    let expected = vec![run(1, &["one"], &refs(&[1])), run(2, &["two"], &refs(&[2]))];
    assert_eq!(reader.log_after(LogSeq(0), 10).unwrap(), [(LogSeq(1), expected)]);
    let bodies = reader.bodies(&[Position(1), Position(2), Position(3)]).unwrap();
    assert_eq!(bodies, [(Position(1), body("one")), (Position(2), body("two"))]);
    assert_eq!(value(&mut *reader, "fine"), None);
}

/// The log has no empty rows.
pub fn only_what_tells_something_takes_a_place_in_the_log(kept: &dyn Kept) {
    let store = kept.handle();
    let mut writer = store.writer().unwrap();
    let silent = writer.commit(&[puts([quiet(put("s", Some("x"), Expect::Any))])]).unwrap();
    assert_eq!((silent.prev, silent.seq), (LogSeq(0), LogSeq(0)));
    assert_eq!(silent.entries, []);
    assert_eq!(value(&mut *store.reader().unwrap(), "s").as_deref(), Some("x"));
    let write = Write { trims: vec![trim(3, 5)], ..Write::default() };
    let told = writer.commit(&[write]).unwrap();
    assert_eq!((told.prev, told.seq), (LogSeq(0), LogSeq(1)));
    assert_eq!(told.outcomes, [Outcome::Done { first: Position(0), rev: Rev(0) }]);
    let rows = store.reader().unwrap().log_after(LogSeq(0), 9).unwrap();
    let entry = Entry::Trim(trim(3, 5));
    assert_eq!(rows, [(LogSeq(1), vec![entry])]);
}

/// Two processes share one sequence of numbers.
pub fn positions_and_places_grow_without_gap_over_two_writers(kept: &dyn Kept) {
    let mut writers = [kept.handle().writer().unwrap(), kept.handle().writer().unwrap()];
    let mut position = 0;
    for round in 0..20_u64 {
        let writer = &mut writers[usize::from(round % 3 == 0)];
        let batch = [append(&["x", "y"], &refs(&[1])), append(&["z"], &refs(&[2]))];
        let commit = writer.commit(&batch).unwrap();
        assert_eq!((commit.prev, commit.seq), (LogSeq(round), LogSeq(round + 1)));
        assert_eq!(done(&commit, 0).0, Position(position + 1));
        assert_eq!(done(&commit, 1).0, Position(position + 3));
        position += 3;
    }
    assert_eq!(kept.handle().reader().unwrap().head().unwrap(), (LogSeq(20), Position(60)));
}

/// The log read by one process is what the commits of the other answered.
pub fn a_tailing_process_reads_what_the_writer_said(kept: &dyn Kept) {
    let (mut writer, mut reader) =
        (kept.handle().writer().unwrap(), kept.handle().reader().unwrap());
    let mut said = Vec::new();
    let mut heard = Vec::new();
    for round in 0..7_u32 {
        let mut write = append(&["x"], &refs(&[round + 1, round + 900]));
        write.puts.push(put(&format!("k{round}"), Some("v"), Expect::Absent));
        write.trims.push(trim(round + 1, u64::from(round)));
        let commit = writer.commit(&[write, append(&["y"], &Refs::default())]).unwrap();
        said.push((commit.seq, commit.entries));
        if round % 3 == 2 {
            let after = heard.last().map_or(LogSeq(0), |(seq, _)| *seq);
            heard.extend(reader.log_after(after, 2).unwrap());
        }
    }
    assert_eq!(heard, said[..4]);
    heard.extend(reader.log_after(LogSeq(4), usize::MAX).unwrap());
    assert_eq!(heard, said);
    assert_eq!(reader.log_after(LogSeq(7), 9).unwrap(), []);
    assert_eq!(reader.log_after(LogSeq(0), 0).unwrap(), []);
}

/// A late reader gets the newest value with its revision, or learns that it is gone.
pub fn announced_documents_come_with_the_value_of_now(kept: &dyn Kept) {
    let store = kept.handle();
    let mut writer = store.writer().unwrap();
    let both = [put("kept", Some("1"), Expect::Any), put("gone", Some("1"), Expect::Any)];
    let first = writer.commit(&[puts(both)]).unwrap();
    let (_, rev) = done(&first, 0);
    let newer = writer.commit(&[puts([quiet(put("kept", Some("2"), Expect::Any))])]).unwrap();
    writer.commit(&[puts([quiet(put("gone", None, Expect::Any))])]).unwrap();
    let rows = store.reader().unwrap().log_after(LogSeq(0), 9).unwrap();
    let doc = |key: &'static str, rev, value: Option<&'static str>| Entry::Doc {
        space: Space::Session,
        key: key.into(),
        rev,
        value: value.map(Bytes::from),
    };
    let now = vec![doc("kept", done(&newer, 0).1, Some("2")), doc("gone", rev, None)];
    assert_eq!(rows, [(LogSeq(1), now)]);
    assert_eq!(first.entries, [doc("kept", rev, Some("1")), doc("gone", rev, Some("1"))]);
}

/// Of a space that is poked the log tells which document changed, and nothing of what is in it.
pub fn shadows_are_announced_without_their_value(kept: &dyn Kept) {
    let store = kept.handle();
    let shadow = Put { space: Space::Shadow, ..put("t/", Some("1"), Expect::Any) };
    let first = store.writer().unwrap().commit(&[puts([shadow])]).unwrap();
    let (_, rev) = done(&first, 0);
    let poke = vec![Entry::Doc { space: Space::Shadow, key: "t/".into(), rev, value: None }];
    assert_eq!(first.entries, poke);
    assert_eq!(store.reader().unwrap().log_after(LogSeq(0), 9).unwrap(), [(LogSeq(1), poke)]);
}

/// References that are one allocation are grouped, and read back as one allocation.
pub fn equal_references_share_an_entry(kept: &dyn Kept) {
    let store = kept.handle();
    let (a, b) = (refs(&(1..100).collect::<Vec<_>>()), refs(&(5..300).collect::<Vec<_>>()));
    let batch =
        [append(&["1", "2"], &a), append(&["3"], &a), append(&["4"], &b), append(&["5"], &a)];
    store.writer().unwrap().commit(&batch).unwrap();
    let rows = store.reader().unwrap().log_after(LogSeq(0), 9).unwrap();
    let runs = vec![run(1, &["1", "2", "3"], &a), run(4, &["4"], &b), run(5, &["5"], &a)];
    assert_eq!(rows, [(LogSeq(1), runs)]);
    let [Entry::Refs { refs: first, .. }, _, Entry::Refs { refs: last, .. }] = &rows[0].1[..]
    else {
        panic!("{rows:?}");
    };
    assert!(first.same(last));
}

/// The limits of queues need no bodies.
pub fn size_and_end_of_each_publication_are_told(kept: &dyn Kept) {
    let store = kept.handle();
    let mut ends = body("ends");
    ends.expires_at = Some(Wall(77));
    let bodies = [body("like"), body("this"), ends, body("longer")];
    let appends = bodies.iter().map(|b| Append { body: b.clone(), refs: refs(&[1]) }).collect();
    let commit = store.writer().unwrap().commit(&[Write { appends, ..Write::default() }]).unwrap();
    let rows = store.reader().unwrap().log_after(LogSeq(0), 9).unwrap();
    assert_eq!(rows, [(LogSeq(1), commit.entries)]);
    let [Entry::Refs { outlines, count, .. }] = &rows[0].1[..] else { panic!("{rows:?}") };
    let told: Vec<_> = outlines.iter(*count).map(|o| (o.bytes, o.expires_at)).collect();
    assert_eq!(told, [(7, None), (7, None), (7, Some(Wall(77))), (9, None)]);
}

/// What a session does not get stands in the log with its reason, and goes with its write.
pub fn drops_are_told_before_marks_and_documents(kept: &dyn Kept) {
    let store = kept.handle();
    let dropped = |reason, which| Dropped { session: SessionNo(3), reason, which };
    let (after, up_to) = (Position(4), Position(9));
    let left = Lost::Queued { epoch: SessionEpoch(1 << 41), after, up_to };
    let drops = vec![
        dropped(DropReason::Expired, left),
        dropped(DropReason::QueueBytes, Lost::Missed(70_000)),
    ];
    let write = Write {
        drops: drops.clone(),
        trims: vec![trim(3, 4)],
        puts: [put("s", Some("1"), Expect::Any)].into_iter().collect(),
        ..Write::default()
    };
    let torn =
        Write { puts: [put("s", None, Expect::Absent)].into_iter().collect(), ..write.clone() };
    let commit = store.writer().unwrap().commit(&[write, torn]).unwrap();
    let rows = store.reader().unwrap().log_after(LogSeq(0), 9).unwrap();
    assert_eq!(rows, [(LogSeq(1), commit.entries)]);
    let [Entry::Dropped(first), Entry::Dropped(second), Entry::Trim(_), Entry::Doc { .. }] =
        &rows[0].1[..]
    else {
        panic!("{rows:?}")
    };
    assert_eq!([*first, *second], drops[..]);
}

/// The order is that of the question.
pub fn bodies_are_found_by_position_and_missing_ones_left_out(kept: &dyn Kept) {
    let store = kept.handle();
    let payloads = ["0", "1", "2", "3"];
    store.writer().unwrap().commit(&[append(&payloads, &refs(&[1]))]).unwrap();
    let asked = [Position(4), Position(1), Position(9), Position(2)];
    let found = store.reader().unwrap().bodies(&asked).unwrap();
    let expected = [(4, "3"), (1, "0"), (2, "1")].map(|(at, p)| (Position(at), body(p)));
    assert_eq!(found, expected);
}

/// Neither a body nor a commit that somebody may need goes.
pub fn trimming_keeps_what_is_needed_and_makes_a_gap(kept: &dyn Kept) {
    let store = kept.handle();
    let (mut writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
    for _ in 0..10 {
        writer.commit(&[append(&["x", "y"], &refs(&[1]))]).unwrap();
    }
    // Position 8 is the second of commit 4, so that commit stays although 7 goes.
    assert_eq!(writer.trim_log(Position(8), LogSeq(9)).unwrap(), 7 + 3);
    assert_eq!(reader.first_seq().unwrap(), LogSeq(4));
    assert_eq!(reader.log_after(LogSeq(3), 99).unwrap().len(), 7);
    let gap = reader.log_after(LogSeq(2), 99).unwrap_err();
    assert!(
        matches!(gap, StoreError::Gap { after: LogSeq(2), first: LogSeq(4), last: LogSeq(10) }),
        "{gap}"
    );
    assert_eq!(reader.bodies(&[Position(7), Position(8)]).unwrap().len(), 1);
    // A gateway that still has to hear of commit 6 keeps it.
    assert_eq!(writer.trim_log(Position(21), LogSeq(6)).unwrap(), 13 + 2);
    assert_eq!(reader.first_seq().unwrap(), LogSeq(6));
    assert_eq!(writer.trim_log(Position(21), LogSeq(11)).unwrap(), 5);
    assert_eq!(reader.first_seq().unwrap(), LogSeq(11));
    assert_eq!(reader.log_after(LogSeq(10), 9).unwrap(), []);
    assert!(matches!(reader.log_after(LogSeq(9), 9), Err(StoreError::Gap { .. })));
    let commit = writer.commit(&[append(&["z"], &refs(&[1]))]).unwrap();
    assert_eq!((commit.seq, done(&commit, 0).0), (LogSeq(11), Position(21)));
    assert_eq!(writer.trim_log(Position(0), LogSeq(0)).unwrap(), 0);
    assert_eq!(writer.trim_log(Position(u64::MAX), LogSeq(u64::MAX)).unwrap(), 2);
    assert!(matches!(reader.log_after(LogSeq(u64::MAX), 9), Err(StoreError::Gap { .. })));
    assert_eq!(reader.bodies(&[Position(u64::MAX)]).unwrap(), []);
}

/// A place in the log that was never written is not silence.
pub fn a_reader_from_another_store_is_told(kept: &dyn Kept) {
    let gap = kept.handle().reader().unwrap().log_after(LogSeq(5), 9).unwrap_err();
    assert!(
        matches!(gap, StoreError::Gap { after: LogSeq(5), first: LogSeq(1), last: LogSeq(0) }),
        "{gap}"
    );
}

/// Nothing is kept only in a handle.
pub fn everything_is_there_after_reopening(kept: &dyn Kept) {
    let (commit, rev) = {
        let mut write = append(&["kept"], &refs(&[4]));
        write.puts.push(put("s", Some("v"), Expect::Absent));
        let commit = kept.handle().writer().unwrap().commit(&[write]).unwrap();
        let (_, rev) = done(&commit, 0);
        (commit, rev)
    };
    let store = kept.handle();
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.head().unwrap(), (LogSeq(1), Position(1)));
    assert_eq!(reader.log_after(LogSeq(0), 9).unwrap(), [(commit.seq, commit.entries)]);
    assert_eq!(reader.bodies(&[Position(1)]).unwrap(), [(Position(1), body("kept"))]);
    let next = store.writer().unwrap().commit(&[puts([put("s", None, Expect::Rev(rev))])]).unwrap();
    assert_eq!((next.prev, next.seq), (LogSeq(1), LogSeq(2)));
    assert!(done(&next, 0).1 > rev);
    store.writer().unwrap().tidy().unwrap();
    assert_eq!(value(&mut *reader, "s"), None);
}

/// However their commits meet, each gets a place of its own, and the positions of its publications follow each other.
pub fn writers_at_the_same_time_share_one_sequence(kept: &dyn Kept) {
    const WRITERS: u32 = 3;
    const COMMITS: u32 = 20;
    let writers: Vec<_> = (1..=WRITERS).map(|no| (no, kept.handle().writer().unwrap())).collect();
    let mut said: Vec<_> = std::thread::scope(|scope| {
        let write = |(no, mut writer): (u32, Box<dyn crate::Writer>)| {
            let batch = [append(&["x", "y"], &refs(&[no])), append(&["z"], &refs(&[no + 10]))];
            (0..COMMITS).map(|_| writer.commit(&batch).unwrap()).collect::<Vec<_>>()
        };
        let all: Vec<_> = writers.into_iter().map(|it| scope.spawn(move || write(it))).collect();
        all.into_iter().flat_map(|one| one.join().unwrap()).collect()
    });
    said.sort_unstable_by_key(|commit| commit.seq);
    for (commit, place) in said.iter().zip(1_u64..) {
        assert_eq!((commit.prev, commit.seq), (LogSeq(place - 1), LogSeq(place)));
        let firsts = [done(commit, 0).0, done(commit, 1).0];
        assert_eq!(firsts, [Position(place * 3 - 2), Position(place * 3)]);
    }
    let said: Vec<_> = said.into_iter().map(|commit| (commit.seq, commit.entries)).collect();
    assert_eq!(said.len() as u64, u64::from(WRITERS * COMMITS));
    let heard = kept.handle().reader().unwrap().log_after(LogSeq(0), usize::MAX).unwrap();
    assert_eq!(heard, said);
}

/// Log, bodies and documents of a commit come into sight together.
pub fn whoever_reads_sees_a_commit_whole(kept: &dyn Kept) {
    const COMMITS: u64 = 40;
    let (mut writer, mut reader) =
        (kept.handle().writer().unwrap(), kept.handle().reader().unwrap());
    std::thread::scope(|scope| {
        scope.spawn(move || {
            for round in 1..=COMMITS {
                let mut write = append(&["x", "y"], &refs(&[1]));
                write.puts.push(quiet(put("newest", Some(&round.to_string()), Expect::Any)));
                writer.commit(&[write]).unwrap();
            }
        });
        let mut at = LogSeq(0);
        while at < LogSeq(COMMITS) {
            for (seq, entries) in reader.log_after(at, 7).unwrap() {
                assert_eq!(seq.0, at.0 + 1);
                at = seq;
                let [Entry::Refs { first, count: 2, .. }] = entries[..] else {
                    panic!("{entries:?}")
                };
                let both = [first, Position(first.0 + 1)];
                assert_eq!(reader.bodies(&both).unwrap().len(), 2, "{seq}");
                let newest: u64 = value(&mut *reader, "newest").unwrap().parse().unwrap();
                assert!(newest >= seq.0, "{newest} at {seq}");
            }
            let (seq, position) = reader.head().unwrap();
            assert_eq!(position.0, seq.0 * 2);
        }
    });
}

/// What is gone does not come back, and what is left is where it was.
pub fn what_was_trimmed_stays_away_after_reopening(kept: &dyn Kept) {
    {
        let mut writer = kept.handle().writer().unwrap();
        for _ in 0..6 {
            writer.commit(&[append(&["x"], &refs(&[1]))]).unwrap();
        }
        assert_eq!(writer.trim_log(Position(4), LogSeq(4)).unwrap(), 3 + 3);
        writer.tidy().unwrap();
    }
    let mut reader = kept.handle().reader().unwrap();
    assert_eq!(reader.first_seq().unwrap(), LogSeq(4));
    assert_eq!(reader.head().unwrap(), (LogSeq(6), Position(6)));
    let all: Vec<_> = (1..=6).map(Position).collect();
    let left: Vec<_> = reader.bodies(&all).unwrap().iter().map(|(at, _)| at.0).collect();
    assert_eq!(left, [4, 5, 6]);
    assert!(matches!(
        reader.log_after(LogSeq(2), 9),
        Err(StoreError::Gap { after: LogSeq(2), first: LogSeq(4), last: LogSeq(6) })
    ));
    // From where it is told to begin, a reader that was behind goes on.
    assert_eq!(reader.log_after(LogSeq(3), 9).unwrap().len(), 3);
}

/// Its document goes, what only it needed goes with the next trimming, and its numbers are not used again.
pub fn a_session_that_is_forgotten_leaves_nothing_behind(kept: &dyn Kept) {
    let store = kept.handle();
    let (mut writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
    let born = writer.commit(&[puts([put("s", Some("1"), Expect::Absent)])]).unwrap();
    writer.commit(&[append(&["x", "y", "z"], &refs(&[1]))]).unwrap();
    let mut end = puts([put("s", None, Expect::Rev(done(&born, 0).1))]);
    end.trims.push(trim(1, 3));
    let end = writer.commit(&[end]).unwrap();
    assert!(matches!(end.entries[..], [Entry::Trim(_), Entry::Doc { value: None, .. }]));
    writer.trim_log(Position(4), LogSeq(4)).unwrap();
    assert_eq!(value(&mut *reader, "s"), None);
    assert_eq!(reader.bodies(&[Position(1), Position(2), Position(3)]).unwrap(), []);
    assert_eq!(reader.log_after(LogSeq(3), 9).unwrap(), []);
    let reborn = writer.commit(&[puts([put("s", Some("1"), Expect::Absent)])]).unwrap();
    assert!(done(&reborn, 0).1 > done(&born, 0).1);
    let next = writer.commit(&[append(&["x"], &refs(&[2]))]).unwrap();
    assert_eq!((next.seq, done(&next, 0).0), (LogSeq(5), Position(4)));
}
