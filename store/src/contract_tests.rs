//! What every backend must do, as tests that take the backend: [`contract_suite!`](crate::contract_suite) makes one
//! `#[test]` of each.

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication, QoS, Refs, RefsBuilder, SessionNo};

use crate::{
    Append, Commit, Doc, Entry, Expect, Outcome, Put, Reader, Rev, Space, Store, StoreError, Write,
};

/// Opens the same store once more each time, as another process would.
pub type Open<'a> = &'a dyn Fn() -> Box<dyn Store>;

/// Makes a test of every statement; `$run` is a function that makes an empty store and passes a way to open it.
#[macro_export]
macro_rules! contract_suite {
    ($run:path) => {
        $crate::contract_suite! { $run =>
            a_new_store_is_empty,
            compare_and_set_lets_one_of_two_win,
            a_conflict_drops_all_of_its_write_and_nothing_else,
            later_writes_of_a_batch_see_earlier_ones,
            revisions_never_come_back,
            only_what_tells_something_takes_a_place_in_the_log,
            positions_and_places_grow_without_gap_over_two_writers,
            a_tailing_process_reads_what_the_writer_said,
            announced_documents_come_with_the_value_of_now,
            equal_references_share_an_entry,
            bodies_are_found_by_position_and_missing_ones_left_out,
            trimming_keeps_what_is_needed_and_makes_a_gap,
            a_reader_from_another_store_is_told,
            scans_page_through_a_prefix_in_order,
            keys_of_any_bytes_keep_apart,
            everything_is_there_after_reopening,
        }
    };
    ($run:path => $($name:ident,)*) => {
        $(#[test]
        fn $name() {
            $run($crate::contract_tests::$name);
        })*
    };
}

/// A publication with this payload.
pub fn body(payload: &str) -> Publication {
    Publication::new("a/b", &[], payload.as_bytes(), QoS::AtLeastOnce, false)
}

/// References to these sessions at QoS 1.
pub fn refs(sessions: &[u32]) -> Refs {
    let mut builder = RefsBuilder::new();
    for no in sessions {
        builder.push(SessionNo(*no), Refs::flags(QoS::AtLeastOnce, false));
    }
    builder.build()
}

/// A write of some publications for one set of sessions.
pub fn append(payloads: &[&str], refs: &Refs) -> Write {
    let appends = payloads.iter().map(|p| Append { body: body(p), refs: refs.clone() }).collect();
    Write { appends, ..Write::default() }
}

/// An announced session record.
pub fn put(key: &str, value: Option<&str>, expect: Expect) -> Put {
    Put {
        space: Space::Session,
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
        expect,
        announce: true,
    }
}

/// A write of some documents.
pub fn puts<const N: usize>(puts: [Put; N]) -> Write {
    Write { puts: puts.into_iter().collect(), ..Write::default() }
}

fn quiet(mut put: Put) -> Put {
    put.announce = false;
    put
}

fn done(commit: &Commit, index: usize) -> (Position, Rev) {
    match &commit.outcomes[index] {
        Outcome::Done { first, rev } => (*first, *rev),
        other => panic!("{other:?}"),
    }
}

fn value(reader: &mut dyn Reader, key: &str) -> Option<String> {
    let doc = reader.get(Space::Session, key.as_bytes()).unwrap();
    doc.map(|doc| String::from_utf8(doc.value.to_vec()).unwrap())
}

/// Nothing is there, and that is not an error.
pub fn a_new_store_is_empty(open: Open<'_>) {
    let store = open();
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

/// Two gateways that want the same session: the second hears who was first.
pub fn compare_and_set_lets_one_of_two_win(open: Open<'_>) {
    let (mut a, mut b) = (open().writer().unwrap(), open().writer().unwrap());
    let first = a.commit(&[puts([put("s", Some("a"), Expect::Absent)])]).unwrap();
    let (_, rev) = done(&first, 0);
    let second = b.commit(&[puts([put("s", Some("b"), Expect::Absent)])]).unwrap();
    let stands = Doc { rev, value: Bytes::from_static(b"a") };
    let conflict = Outcome::Conflict {
        space: Space::Session,
        key: Bytes::from_static(b"s"),
        current: Some(stands),
    };
    assert_eq!(second.outcomes, [conflict]);
    assert_eq!((second.seq, second.prev), (first.seq, first.seq));

    let won = b.commit(&[puts([put("s", Some("b"), Expect::Rev(rev))])]).unwrap();
    assert!(done(&won, 0).1 > rev);
    let lost = a.commit(&[puts([put("s", None, Expect::Rev(rev))])]).unwrap();
    assert!(matches!(&lost.outcomes[..], [Outcome::Conflict { current: Some(doc), .. }]
        if doc.rev == done(&won, 0).1));
    assert_eq!(value(&mut *open().reader().unwrap(), "s").as_deref(), Some("b"));
}

/// Publications, documents and trims of one write share its fate.
pub fn a_conflict_drops_all_of_its_write_and_nothing_else(open: Open<'_>) {
    let store = open();
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
    let expected = vec![
        Entry::Refs { first: Position(1), count: 1, refs: refs(&[1]) },
        Entry::Refs { first: Position(2), count: 1, refs: refs(&[2]) },
    ];
    assert_eq!(reader.log_after(LogSeq(0), 10).unwrap(), [(LogSeq(1), expected)]);
    let bodies = reader.bodies(&[Position(1), Position(2), Position(3)]).unwrap();
    assert_eq!(bodies, [(Position(1), body("one")), (Position(2), body("two"))]);
    assert_eq!(value(&mut *reader, "fine"), None);
}

/// Within a batch the order counts as if each write were a commit of its own.
pub fn later_writes_of_a_batch_see_earlier_ones(open: Open<'_>) {
    let store = open();
    let mut writer = store.writer().unwrap();
    let batch = [
        puts([put("s", Some("1"), Expect::Absent)]),
        puts([put("s", Some("2"), Expect::Absent)]),
        puts([put("s", None, Expect::Any)]),
        puts([put("s", Some("3"), Expect::Absent)]),
        puts([put("t", Some("1"), Expect::Any), put("t", Some("2"), Expect::Absent)]),
    ];
    let commit = writer.commit(&batch).unwrap();
    let (first, last) = (done(&commit, 0).1, done(&commit, 3).1);
    assert!(first < done(&commit, 2).1 && done(&commit, 2).1 < last && last < done(&commit, 4).1);
    assert!(matches!(&commit.outcomes[1], Outcome::Conflict { current: Some(doc), .. }
        if doc.rev == first && doc.value == "1"));
    let mut reader = store.reader().unwrap();
    let doc = reader.get(Space::Session, b"s").unwrap().unwrap();
    assert_eq!((doc.rev, &doc.value[..]), (last, &b"3"[..]));
    assert_eq!(value(&mut *reader, "t").as_deref(), Some("2"));
}

/// A revision from before a deletion does not fit what was written after it.
pub fn revisions_never_come_back(open: Open<'_>) {
    let store = open();
    let mut writer = store.writer().unwrap();
    let mut seen = vec![Rev(0)];
    for round in 0..6 {
        let value = (round % 2 == 0).then_some("x");
        // Quiet ones take no place in the log, but a revision all the same.
        let commit = writer.commit(&[puts([quiet(put("s", value, Expect::Any))])]).unwrap();
        assert_eq!(commit.seq, LogSeq(0));
        let (_, rev) = done(&commit, 0);
        assert!(rev > *seen.last().unwrap());
        let old = seen.iter().map(|old| puts([put("s", Some("old"), Expect::Rev(*old))]));
        let refused = writer.commit(&old.collect::<Vec<_>>()).unwrap();
        assert!(refused.outcomes.iter().all(|o| matches!(o, Outcome::Conflict { .. })));
        seen.push(rev);
    }
}

/// The log has no empty rows.
pub fn only_what_tells_something_takes_a_place_in_the_log(open: Open<'_>) {
    let store = open();
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

fn trim(session: u32, up_to: u64) -> crate::Trim {
    crate::Trim {
        session: SessionNo(session),
        epoch: protocol::SessionEpoch(7),
        up_to: Position(up_to),
    }
}

/// Two processes share one sequence of numbers.
pub fn positions_and_places_grow_without_gap_over_two_writers(open: Open<'_>) {
    let mut writers = [open().writer().unwrap(), open().writer().unwrap()];
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
    assert_eq!(open().reader().unwrap().head().unwrap(), (LogSeq(20), Position(60)));
}

/// The log read by one process is what the commits of the other answered.
pub fn a_tailing_process_reads_what_the_writer_said(open: Open<'_>) {
    let (mut writer, mut reader) = (open().writer().unwrap(), open().reader().unwrap());
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
pub fn announced_documents_come_with_the_value_of_now(open: Open<'_>) {
    let store = open();
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

/// References that are one allocation are grouped, and read back as one allocation.
pub fn equal_references_share_an_entry(open: Open<'_>) {
    let store = open();
    let (a, b) = (refs(&(1..100).collect::<Vec<_>>()), refs(&(5..300).collect::<Vec<_>>()));
    let batch =
        [append(&["1", "2"], &a), append(&["3"], &a), append(&["4"], &b), append(&["5"], &a)];
    store.writer().unwrap().commit(&batch).unwrap();
    let rows = store.reader().unwrap().log_after(LogSeq(0), 9).unwrap();
    let run = |first, count, refs: &Refs| Entry::Refs {
        first: Position(first),
        count,
        refs: refs.clone(),
    };
    assert_eq!(rows, [(LogSeq(1), vec![run(1, 3, &a), run(4, 1, &b), run(5, 1, &a)])]);
    let [Entry::Refs { refs: first, .. }, _, Entry::Refs { refs: last, .. }] = &rows[0].1[..]
    else {
        panic!("{rows:?}");
    };
    assert!(first.same(last));
}

/// The order is that of the question.
pub fn bodies_are_found_by_position_and_missing_ones_left_out(open: Open<'_>) {
    let store = open();
    let payloads = ["0", "1", "2", "3"];
    store.writer().unwrap().commit(&[append(&payloads, &refs(&[1]))]).unwrap();
    let asked = [Position(4), Position(1), Position(9), Position(2)];
    let found = store.reader().unwrap().bodies(&asked).unwrap();
    let expected = [(4, "3"), (1, "0"), (2, "1")].map(|(at, p)| (Position(at), body(p)));
    assert_eq!(found, expected);
}

/// Neither a body nor a commit that somebody may need goes.
pub fn trimming_keeps_what_is_needed_and_makes_a_gap(open: Open<'_>) {
    let store = open();
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
pub fn a_reader_from_another_store_is_told(open: Open<'_>) {
    let gap = open().reader().unwrap().log_after(LogSeq(5), 9).unwrap_err();
    assert!(
        matches!(gap, StoreError::Gap { after: LogSeq(5), first: LogSeq(1), last: LogSeq(0) }),
        "{gap}"
    );
}

/// Pages join without hole or repetition, and stay within the prefix and the space.
pub fn scans_page_through_a_prefix_in_order(open: Open<'_>) {
    let store = open();
    let mut writer = store.writer().unwrap();
    let names = ["a", "b", "b/", "b/1", "b/10", "b/2", "b0", "c"];
    for name in names.iter().rev() {
        writer.commit(&[puts([put(name, Some(name), Expect::Absent)])]).unwrap();
    }
    let mut elsewhere = put("b/3", Some("x"), Expect::Absent);
    elsewhere.space = Space::Retained;
    writer.commit(&[puts([elsewhere])]).unwrap();
    let mut reader = store.reader().unwrap();
    let mut scan = |prefix: &str, after: Option<&str>, max| -> Vec<String> {
        let found =
            reader.scan(Space::Session, prefix.as_bytes(), after.map(str::as_bytes), max).unwrap();
        found
            .into_iter()
            .map(|(key, doc)| {
                assert_eq!(key, doc.value);
                String::from_utf8(key.to_vec()).unwrap()
            })
            .collect()
    };
    assert_eq!(scan("", None, 99), names);
    assert_eq!(scan("b/", None, 2), ["b/", "b/1"]);
    assert_eq!(scan("b/", Some("b/1"), 2), ["b/10", "b/2"]);
    assert_eq!(scan("b/", Some("b/2"), 2), [""; 0]);
    assert_eq!(scan("b/", Some("a"), 1), ["b/"]);
    assert_eq!(scan("b", Some("c"), 9), [""; 0]);
    assert_eq!(scan("b", None, 0), [""; 0]);
}

/// Keys are bytes, and spaces are apart.
pub fn keys_of_any_bytes_keep_apart(open: Open<'_>) {
    let store = open();
    let mut writer = store.writer().unwrap();
    let keys: [&'static [u8]; 6] = [b"", b"\0", b"\0\0", b"\xff", b"\xff\xff", b"a"];
    for (at, space) in Space::ALL.iter().enumerate() {
        assert_eq!(Space::from_number(space.number()), Some(*space));
        let all = keys.map(|key| Put {
            space: *space,
            key: Bytes::from_static(key),
            value: Some(Bytes::from(vec![
                u8::try_from(at).unwrap(),
                u8::try_from(key.len()).unwrap(),
            ])),
            expect: Expect::Absent,
            announce: false,
        });
        let commit = writer.commit(&[puts(all)]).unwrap();
        assert!(matches!(commit.outcomes[..], [Outcome::Done { .. }]));
    }
    let mut reader = store.reader().unwrap();
    for (at, space) in Space::ALL.iter().enumerate() {
        for key in keys {
            let doc = reader.get(*space, key).unwrap().unwrap();
            assert_eq!(
                &doc.value[..],
                [u8::try_from(at).unwrap(), u8::try_from(key.len()).unwrap()]
            );
        }
        let high = reader.scan(*space, b"\xff", None, 9).unwrap();
        assert_eq!(high.len(), 2);
        assert_eq!(reader.scan(*space, b"", Some(b"\0"), 9).unwrap().len(), 4);
    }
    assert_eq!(Space::from_number(0), None);
    let beyond = u8::try_from(Space::ALL.len() + 1).unwrap();
    assert_eq!(Space::from_number(beyond), None);
}

/// Nothing is kept only in a handle.
pub fn everything_is_there_after_reopening(open: Open<'_>) {
    let (commit, rev) = {
        let mut write = append(&["kept"], &refs(&[4]));
        write.puts.push(put("s", Some("v"), Expect::Absent));
        let commit = open().writer().unwrap().commit(&[write]).unwrap();
        let (_, rev) = done(&commit, 0);
        (commit, rev)
    };
    let store = open();
    let mut reader = store.reader().unwrap();
    assert_eq!(reader.head().unwrap(), (LogSeq(1), Position(1)));
    assert_eq!(reader.log_after(LogSeq(0), 9).unwrap(), [(commit.seq, commit.entries)]);
    assert_eq!(reader.bodies(&[Position(1)]).unwrap(), [(Position(1), body("kept"))]);
    let next = store.writer().unwrap().commit(&[puts([put("s", None, Expect::Rev(rev))])]).unwrap();
    assert_eq!((next.prev, next.seq), (LogSeq(1), LogSeq(2)));
    assert!(done(&next, 0).1 > rev);
    store.writer().unwrap().checkpoint().unwrap();
    assert_eq!(value(&mut *reader, "s"), None);
}
