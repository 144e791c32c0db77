//! What a store must do when it cannot do what it is asked.

use bytes::Bytes;
use protocol::{LogSeq, Position};

use super::words::{append, body, put, puts, refs, value};
use super::{Kept, Trouble};
use crate::{Expect, MAX_KEY_BYTES, Outcome, StoreError, Write};

/// The caller learns which write to leave out.
pub fn what_is_too_large_is_named_and_nothing_of_its_batch_happens(kept: &dyn Kept) {
    let store = kept.handle();
    let mut writer = store.writer().unwrap();
    let mut large = put("", Some("x"), Expect::Any);
    large.key = Bytes::from(vec![7; MAX_KEY_BYTES + 1]);
    let batch = [append(&["x"], &refs(&[1])), Write::default(), puts([large])];
    let refused = writer.commit(&batch).unwrap_err();
    let (len, limit) = (MAX_KEY_BYTES + 1, MAX_KEY_BYTES);
    assert!(
        matches!(refused, StoreError::TooLarge { write: 2, len_bytes, limit_bytes }
            if (len_bytes, limit_bytes) == (len, limit)),
        "{refused}"
    );
    assert_eq!(store.reader().unwrap().head().unwrap(), (LogSeq(0), Position(0)));
    let mut longest = put("", Some("x"), Expect::Any);
    longest.key = Bytes::from(vec![7; MAX_KEY_BYTES]);
    let commit = writer.commit(&[append(&["x"], &refs(&[1])), puts([longest])]).unwrap();
    assert!(commit.outcomes.iter().all(|outcome| matches!(outcome, Outcome::Done { .. })));
}

/// Documents, positions and places are as if nobody had asked, reading goes on, and the same batch succeeds later.
pub fn what_is_refused_does_not_happen_and_passes(kept: &dyn Kept) {
    let mut before = append(&["before"], &refs(&[1]));
    before.puts.push(put("s", Some("before"), Expect::Absent));
    kept.handle().writer().unwrap().commit(&[before]).unwrap();
    let Some(store) = kept.open_with(Trouble::Refused) else { return };
    let (mut writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
    let mut write = append(&["after"], &refs(&[1]));
    write.puts.push(put("s", Some("after"), Expect::Any));
    let refused = writer.commit(std::slice::from_ref(&write)).unwrap_err();
    assert!(matches!(refused, StoreError::Unavailable { .. }) && refused.may_pass(), "{refused}");
    assert_eq!(reader.head().unwrap(), (LogSeq(1), Position(1)));
    assert_eq!(reader.bodies(&[Position(1), Position(2)]).unwrap().len(), 1);
    assert_eq!(value(&mut *reader, "s").as_deref(), Some("before"));
    kept.mend();
    let batch = [write];
    let passed = (0..10_000).find_map(|_| match writer.commit(&batch) {
        Ok(commit) => Some(commit),
        Err(error) => {
            assert!(error.may_pass(), "{error}");
            None
        }
    });
    let commit = passed.expect("the trouble is over");
    assert_eq!((commit.prev, commit.seq), (LogSeq(1), LogSeq(2)));
    assert_eq!(value(&mut *reader, "s").as_deref(), Some("after"));
    assert_eq!(reader.bodies(&[Position(2)]).unwrap(), [(Position(2), body("after"))]);
}

/// Whether it happened or not, asking again makes it happen, once, and tells what the first answer would have.
pub fn a_lost_answer_is_asked_for_again_and_the_commit_happens_once(kept: &dyn Kept) {
    let mut expected = LogSeq(0);
    for happened in [false, true] {
        let Some(store) = kept.open_with(Trouble::AnswerLost { happened }) else { return };
        let (mut writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
        let name = format!("{happened}");
        let mut write = append(&["x", "y"], &refs(&[1]));
        write.puts.push(put(&name, Some("v"), Expect::Absent));
        let batch = [write.clone(), write];
        let lost = writer.commit(&batch).unwrap_err();
        assert!(matches!(lost, StoreError::Unknown { .. }) && lost.may_pass(), "{lost}");
        kept.mend();
        let commit = writer.commit_again(&batch).unwrap();
        assert_eq!((commit.prev, commit.seq), (expected, LogSeq(expected.0 + 1)));
        expected = commit.seq;
        assert!(matches!(
            commit.outcomes[..],
            [Outcome::Done { .. }, Outcome::Conflict { current: Some(_), .. }]
        ));
        assert_eq!(reader.head().unwrap(), (expected, Position(expected.0 * 2)));
        let heard = reader.log_after(commit.prev, 9).unwrap();
        assert_eq!(heard, [(commit.seq, commit.entries)]);
    }
}
