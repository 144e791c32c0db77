//! What the statements are written with.

use bytes::Bytes;
use protocol::{LogSeq, Position, Publication, QoS, Refs, RefsBuilder, SessionEpoch, SessionNo};

use crate::{
    Append, Commit, Doc, Entry, Expect, Outcome, Outlines, Put, Reader, Rev, Space, Store, Trim,
    Write,
};

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

/// What the log says of some publications for one set of sessions.
pub(super) fn run(first: u64, payloads: &[&str], refs: &Refs) -> Entry {
    let bodies: Vec<Publication> = payloads.iter().map(|payload| body(payload)).collect();
    Entry::Refs {
        first: Position(first),
        count: u32::try_from(bodies.len()).unwrap(),
        refs: refs.clone(),
        outlines: Outlines::of(&bodies),
    }
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

pub(super) fn quiet(mut put: Put) -> Put {
    put.announce = false;
    put
}

pub(super) fn done(commit: &Commit, index: usize) -> (Position, Rev) {
    match &commit.outcomes[index] {
        Outcome::Done { first, rev } => (*first, *rev),
        other => panic!("{other:?}"),
    }
}

pub(super) fn value(reader: &mut dyn Reader, key: &str) -> Option<String> {
    let doc = reader.get(Space::Session, key.as_bytes()).unwrap();
    doc.map(|doc| String::from_utf8(doc.value.to_vec()).unwrap())
}

pub(super) fn trim(session: u32, up_to: u64) -> Trim {
    Trim { session: SessionNo(session), epoch: SessionEpoch(7), up_to: Position(up_to) }
}

/// All that a store holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Everything {
    /// The newest commit and the newest position.
    pub head: (LogSeq, Position),
    /// The log from its first commit on.
    pub log: Vec<(LogSeq, Vec<Entry>)>,
    /// The bodies.
    pub bodies: Vec<(Position, Publication)>,
    /// The documents.
    pub docs: Vec<(Space, Bytes, Doc)>,
}

/// Reads all that a store holds.
pub fn everything(store: &dyn Store) -> Everything {
    let mut reader = store.reader().unwrap();
    let head = reader.head().unwrap();
    let before = LogSeq(reader.first_seq().unwrap().0 - 1);
    let positions: Vec<_> = (1..=head.1.0).map(Position).collect();
    let mut docs = Vec::new();
    for space in Space::ALL {
        let found = reader.scan(space, &[], None, usize::MAX).unwrap();
        docs.extend(found.into_iter().map(|(key, doc)| (space, key, doc)));
    }
    let log = reader.log_after(before, usize::MAX).unwrap();
    Everything { head, log, bodies: reader.bodies(&positions).unwrap(), docs }
}

/// Commits of all kinds, for cutting them short: appends, documents that come, change and go, conflicts, trims.
pub fn script() -> Vec<Vec<Write>> {
    let mut qos_2 = append(&["exactly once"], &refs(&[1, 2]));
    qos_2.puts.push(put("publisher", Some("packet 1"), Expect::Absent));
    let mut twice = append(&["never"], &refs(&[1]));
    twice.puts.push(put("publisher", Some("packet 1"), Expect::Absent));
    let retained = Put { space: Space::Retained, ..put("topic", Some("newest"), Expect::Any) };
    let mut end = puts([put("publisher", None, Expect::Any)]);
    end.trims.push(trim(1, 3));
    vec![
        vec![puts([put("reader", Some("1"), Expect::Absent)])],
        vec![append(&["a", "b"], &refs(&[1])), append(&["c"], &refs(&[2, 3])), qos_2],
        vec![twice, append(&["d"], &refs(&[1]))],
        vec![puts([retained, quiet(put("hidden", Some("x"), Expect::Any))])],
        vec![append(&["e"], &refs(&[1])), end, append(&["f"], &Refs::default())],
        vec![puts([put("reader", Some("2"), Expect::Any), put("hidden", None, Expect::Any)])],
    ]
}
