//! Documents, their revisions and fences.

use bytes::Bytes;
use protocol::{LogSeq, Position};

use super::Kept;
use super::words::{append, done, put, puts, quiet, refs, value};
use crate::{Check, Commit, Doc, Expect, Outcome, Put, Rev, Space, Write, Writer};

/// Two gateways that want the same session: the second hears who was first.
pub fn compare_and_set_lets_one_of_two_win(kept: &dyn Kept) {
    let (mut a, mut b) = (kept.handle().writer().unwrap(), kept.handle().writer().unwrap());
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
    assert_eq!(value(&mut *kept.handle().reader().unwrap(), "s").as_deref(), Some("b"));
}

/// Within a batch the order counts as if each write were a commit of its own.
pub fn later_writes_of_a_batch_see_earlier_ones(kept: &dyn Kept) {
    let store = kept.handle();
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
    let wanted = [(Space::Session, "t"), (Space::Ban, "s"), (Space::Session, "s")];
    let wanted = wanted.map(|(space, key)| (space, Bytes::from_static(key.as_bytes())));
    let found = reader.get_all(&wanted).unwrap();
    let values: Vec<_> = found.iter().map(|doc| doc.as_ref().map(|doc| &doc.value[..])).collect();
    assert_eq!(values, [Some(&b"2"[..]), None, Some(&b"3"[..])]);
}

/// A revision from before a deletion does not fit what was written after it.
pub fn revisions_never_come_back(kept: &dyn Kept) {
    let store = kept.handle();
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

/// Pages join without hole or repetition, and stay within the prefix and the space.
pub fn scans_page_through_a_prefix_in_order(kept: &dyn Kept) {
    let store = kept.handle();
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
pub fn keys_of_any_bytes_keep_apart(kept: &dyn Kept) {
    let store = kept.handle();
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

/// The value of a session's document that begins with its epoch.
fn owned(epoch: u64, by: &str) -> Bytes {
    [&epoch.to_be_bytes()[..], by.as_bytes()].concat().into()
}

/// What the owner of an older epoch writes is a conflict that says who owns the session now; what anybody appends is not.
pub fn who_has_an_older_epoch_is_fenced_out(kept: &dyn Kept) {
    let (mut old, mut new) = (kept.handle().writer().unwrap(), kept.handle().writer().unwrap());
    let write = |epoch: u64, by: &str, expect| {
        let value = Some(owned(epoch, by));
        let mut write = append(&["for whoever owns it"], &refs(&[1]));
        write.puts.push(Put { value, ..put("s", None, expect) });
        write
    };
    let fence = |epoch: u64| Expect::Prefix(epoch.to_be_bytes());
    assert!(has_happened(&old.commit(&[write(7, "old", Expect::Absent)]).unwrap().outcomes));
    assert!(has_happened(&old.commit(&[write(7, "old, again", fence(7))]).unwrap().outcomes));
    assert!(has_happened(&new.commit(&[write(8, "new", fence(7))]).unwrap().outcomes));
    let late = old.commit(&[write(7, "late", fence(7)), append(&["x"], &refs(&[1]))]).unwrap();
    assert!(matches!(&late.outcomes[..],
        [Outcome::Conflict { current: Some(doc), .. }, Outcome::Done { .. }]
            if doc.value == owned(8, "new")));
    let doc = kept.handle().reader().unwrap().get(Space::Session, b"s").unwrap().unwrap();
    assert_eq!(doc.value, owned(8, "new"));
    // A document that is gone, or shorter than a fence, has no epoch.
    let gone = Put { value: Some(Bytes::from_static(b"short")), ..put("s", None, fence(8)) };
    assert!(has_happened(&new.commit(&[puts([gone])]).unwrap().outcomes));
    for late in [fence(8), fence(u64::from_be_bytes(*b"short\0\0\0"))] {
        let outcomes = new.commit(&[puts([put("s", None, late)])]).unwrap().outcomes;
        assert!(!has_happened(&outcomes));
    }
}

/// Who expects that a client is no thing hears of every thing, whoever else there is, also of one in the same batch.
pub fn the_first_thing_is_seen_by_who_expects_none(kept: &dyn Kept) {
    let (mut ours, mut theirs) = (kept.handle().writer().unwrap(), kept.handle().writer().unwrap());
    let key = |name: &'static str| Bytes::from_static(name.as_bytes());
    let thing = |name: &'static str, value: Option<&str>| {
        puts([Put { space: Space::Thing, ..put(name, value, Expect::Any) }])
    };
    let claim = |name: &'static str| Write {
        checks: vec![Check { space: Space::Thing, key: key(name), expect: Expect::Absent }],
        ..puts([put(name, Some("claimed"), Expect::Any)])
    };
    let happened = |commit: Commit| -> Vec<bool> {
        commit.outcomes.iter().map(|it| matches!(it, Outcome::Done { .. })).collect()
    };
    assert_eq!(happened(ours.commit(&[claim("a"), claim("b")]).unwrap()), [true, true]);
    let batch = [claim("a"), thing("a", Some("new")), claim("a"), claim("b")];
    assert_eq!(happened(ours.commit(&batch).unwrap()), [true, true, false, true]);
    for writer in [&mut ours, &mut theirs] {
        let commit = writer.commit(&[claim("b"), claim("a")]).unwrap();
        assert!(matches!(&commit.outcomes[..],
            [Outcome::Done { .. }, Outcome::Conflict { key, current: Some(doc), .. }]
            if key == "a" && doc.value == "new"));
    }
    theirs.commit(&[thing("a", None)]).unwrap();
    assert_eq!(happened(ours.commit(&[claim("a")]).unwrap()), [true]);
}

/// Who expects a fence or none above it is stopped by whoever raised it, and not by who took the document away.
pub fn a_fence_that_may_be_at_most_so_high_is_one_until_it_is_raised(kept: &dyn Kept) {
    let (mut old, mut new) = (kept.handle().writer().unwrap(), kept.handle().writer().unwrap());
    let say = |most: u64| Write {
        checks: vec![Check {
            space: Space::Session,
            key: Bytes::from_static(b"s"),
            expect: Expect::AtMost(most.to_be_bytes()),
        }],
        ..puts([put("t", Some("said"), Expect::Any)])
    };
    let stand = |value: Option<Bytes>| puts([Put { value, ..put("s", None, Expect::Any) }]);
    let happens = |writer: &mut Box<dyn Writer>, most| {
        has_happened(&writer.commit(&[say(most)]).unwrap().outcomes)
    };
    assert!(happens(&mut old, 7), "there is none");
    assert!(has_happened(&old.commit(&[stand(Some(owned(7, "old")))]).unwrap().outcomes));
    assert!(happens(&mut old, 7) && happens(&mut old, 256) && !happens(&mut old, 6));
    assert!(has_happened(&new.commit(&[stand(Some(owned(256, "new")))]).unwrap().outcomes));
    assert!(!happens(&mut old, 7) && !happens(&mut new, 255) && happens(&mut old, 256));
    // What is shorter than a fence has none.
    let short = Some(Bytes::from_static(b"short"));
    assert!(has_happened(&new.commit(&[stand(short)]).unwrap().outcomes));
    assert!(!happens(&mut old, u64::MAX) && !happens(&mut new, u64::MAX));
    assert!(has_happened(&new.commit(&[stand(None)]).unwrap().outcomes));
    assert!(happens(&mut old, 0));
}

/// What only must be true is written by nobody, and stops all of its write if it is not.
pub fn what_is_only_checked_stops_its_write_and_stays(kept: &dyn Kept) {
    let (mut old, mut new) = (kept.handle().writer().unwrap(), kept.handle().writer().unwrap());
    let fence = |epoch: u64| Expect::Prefix(epoch.to_be_bytes());
    let take = |epoch: u64| {
        puts([Put { value: Some(owned(epoch, "owner")), ..put("s", None, Expect::Any) }])
    };
    let say = |topic: &str, expect| Write {
        checks: vec![Check { space: Space::Session, key: Bytes::from_static(b"s"), expect }],
        ..puts([put(topic, Some("said"), Expect::Any)])
    };
    assert!(!has_happened(&old.commit(&[say("t", fence(7))]).unwrap().outcomes));
    let commit = old.commit(&[take(7), say("t", fence(7)), say("u", Expect::Absent)]).unwrap();
    let stands = done(&commit, 0).1;
    assert!(matches!(&commit.outcomes[1..],
        [Outcome::Done { .. }, Outcome::Conflict { current: Some(doc), .. }] if doc.rev == stands));
    // Of two that do not hold, it is the one that is named.
    let both =
        Write { checks: say("v", fence(8)).checks, ..puts([put("t", Some("x"), Expect::Absent)]) };
    let conflict = new.commit(&[take(9), both]).unwrap();
    assert!(matches!(&conflict.outcomes[1], Outcome::Conflict { key, .. } if key == "s"));
    assert!(!has_happened(&old.commit(&[say("w", fence(7))]).unwrap().outcomes));
    let mut reader = kept.handle().reader().unwrap();
    let mut stands = |key: &str| value(&mut *reader, key).is_some();
    assert_eq!(["s", "t", "u", "v", "w"].map(&mut stands), [true, true, false, false, false]);
}

fn has_happened(outcomes: &[Outcome]) -> bool {
    matches!(outcomes, [Outcome::Done { .. }])
}

/// An append and the mark that it was made are one write, so whoever does not know whether it happened makes it again.
pub fn a_write_that_carries_its_mark_happens_once(kept: &dyn Kept) {
    let mut write = append(&["once"], &refs(&[1]));
    write.puts.push(quiet(put("publisher, packet 7", Some("received"), Expect::Absent)));
    let batch = [write, append(&["every time"], &refs(&[1]))];
    for round in 0..3_u64 {
        let commit = kept.handle().writer().unwrap().commit(&batch).unwrap();
        assert_eq!(has_happened(&commit.outcomes[..1]), round == 0);
        assert!(has_happened(&commit.outcomes[1..]));
        assert_eq!(kept.handle().reader().unwrap().head().unwrap().1.0, round + 2);
    }
    let all: Vec<_> = (1..=4).map(Position).collect();
    let bodies = kept.handle().reader().unwrap().bodies(&all).unwrap();
    let payloads: Vec<_> = bodies.iter().map(|(_, body)| body.payload().to_vec()).collect();
    assert_eq!(payloads, [&b"once"[..], b"every time", b"every time", b"every time"]);
}
