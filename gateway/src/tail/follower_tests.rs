//! The log, applied one commit at a time.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use protocol::session::{
    DropReason, Estate, Owner, QueueLimits, SessionRecord, Shown, StoredSubscription, WhenFull,
};
use protocol::{
    ClientId, GatewayId, GroupTag, HashMap, Incarnation, LogSeq, PacketId, Position, Publication,
    QoS, Refs, RefsBuilder, SessionEpoch, SessionNo, Wall,
};
use store::{
    Append, Commit, Doc, Dropped, Entry, Expect, Fault, Lost, MemoryStore, Outcome, Put, Reader,
    Rev, Space, Store as _, StoreError, Trim, Unavailable, Write, Writer,
};

use super::{Follower, Letter, Letters, Load, left_by, worker_of};
use crate::commit::Progress;
use crate::hub::{Left, LiveGateway, Portion, Tables};

/// A store, and a follower of its log in gateway `gw-1`.
struct Log {
    store: MemoryStore,
    writer: Box<dyn Writer>,
    reader: Box<dyn Reader>,
    tables: Arc<Tables>,
    follower: Follower,
    letters: Letters,
}

const A: SessionNo = SessionNo(5);
const B: SessionNo = SessionNo(6);

impl Log {
    fn new() -> Self {
        let store = MemoryStore::new();
        let (writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
        let tables = Arc::new(Tables::default());
        let follower = Follower::load(load(), Arc::clone(&tables), &mut *reader).unwrap();
        let letters = Letters::new();
        let mut log = Self { store, writer, reader, tables, follower, letters };
        log.commit(session("a", A, 5, Some(("gw-1", 3))));
        log.commit(session("b", B, 5, None));
        log.follow();
        log
    }

    /// The same in a fleet of this gateway alone, as it is known.
    fn alone() -> Self {
        let log = Self::new();
        log.knows(&["gw-1"]);
        log
    }

    /// Somebody commits.
    fn commit(&mut self, write: Write) -> Commit {
        self.writer.commit(&[write]).unwrap()
    }

    /// Reads the log; what the workers are told, in words.
    fn follow(&mut self) -> Vec<String> {
        self.follower.catch_up(&mut *self.reader, &mut self.letters).unwrap();
        self.told()
    }

    fn attach(&mut self, session: SessionNo, after: u64, credit: u32) -> Vec<String> {
        let attach = (session, Position(after), credit);
        self.follower.attach(attach, 1, &mut *self.reader, &mut self.letters).unwrap();
        self.told()
    }

    fn pull(&mut self, session: SessionNo, credit: u32) -> Vec<String> {
        self.follower.pull(session, credit, &mut *self.reader, &mut self.letters).unwrap();
        self.told()
    }

    /// What is given back now, if everyone has applied as much as this follower.
    fn give_back(&mut self) -> Vec<Portion> {
        self.give_back_at(self.follower.applied())
    }

    fn give_back_at(&mut self, everyone: LogSeq) -> Vec<Portion> {
        let everyone = Progress { seq: everyone, ..Progress::default() };
        self.follower.give_back(&everyone, &mut *self.reader, &mut self.letters).unwrap();
        let portion = |(_, letter)| {
            if let Letter::Returned(portion) = letter { Some(portion) } else { None }
        };
        self.letters.drain(..).filter_map(portion).collect()
    }

    /// A portion is stored, for a member that takes all of it.
    fn store_portion(&mut self, portion: Portion, heir: SessionNo) -> bool {
        let appends = portion.left.into_iter().map(|(_, body)| {
            let mut refs = RefsBuilder::new();
            refs.push(heir, SHARED);
            Append { body, refs: refs.build() }
        });
        let mut write = Write { appends: appends.collect(), ..Write::default() };
        write.puts.push(portion.put);
        let commit = self.commit(write);
        matches!(commit.outcomes[0], Outcome::Done { .. })
    }

    /// Another gateway of the fleet, whose follower begins now.
    fn beside(&self, name: &str) -> Self {
        let store = self.store.another_process();
        let (writer, mut reader) = (store.writer().unwrap(), store.reader().unwrap());
        let tables = Arc::new(Tables::default());
        let load = Load { gateway: GatewayId::new(name).unwrap(), ..load() };
        let follower = Follower::load(load, Arc::clone(&tables), &mut *reader).unwrap();
        let letters = Letters::new();
        Self { store, writer, reader, tables, follower, letters }
    }

    fn sweep(&mut self) {
        self.follower.sweep(Wall(1), &mut *self.reader, &mut self.letters).unwrap();
    }

    /// Says which gateways are alive.
    fn knows(&self, names: &[&str]) {
        self.knows_of(names, |_| true);
    }

    /// Says which gateways are alive, and which of them serve.
    fn knows_of(&self, names: &[&str], serves: impl Fn(&str) -> bool) {
        let live = names.iter().zip(0..).map(|(name, peer)| LiveGateway {
            id: GatewayId::new(name).unwrap(),
            incarnation: Incarnation(1),
            peer,
            mqtt: String::new(),
            mqtts: String::new(),
            serving: serves(name),
            echoes: true,
            calls: true,
        });
        let live: Vec<_> = live.collect();
        // Twice, so that nobody has only just come.
        self.tables.set_gateways(live.clone(), Duration::ZERO);
        self.tables.set_gateways(live, Duration::ZERO);
    }

    fn told(&mut self) -> Vec<String> {
        self.letters.drain(..).map(|(worker, letter)| text(worker, &letter)).collect()
    }
}

/// What a portion gives to whom.
fn words(portion: &Portion) -> Vec<String> {
    let word = |(group, publication): &Left| {
        format!("{} to {group}", std::str::from_utf8(publication.payload()).unwrap())
    };
    portion.left.iter().map(word).collect()
}

fn load() -> Load {
    Load {
        gateway: GatewayId::new("gw-1").unwrap(),
        incarnation: Incarnation(3),
        workers: 2,
        queue: QueueLimits { messages: 8, ..QueueLimits::NONE },
        kept_messages: 100,
    }
}

fn text(worker: u8, letter: &Letter) -> String {
    match letter {
        Letter::Queued(queued) => {
            let payload = std::str::from_utf8(queued.publication.payload()).unwrap();
            let (session, at) = (queued.session, queued.position);
            let old = if queued.old { " old" } else { "" };
            format!("worker {worker}: {session} @{at} {payload}{old}")
        }
        Letter::Superseded(client, epoch) => format!("{client} lost to {epoch}"),
        Letter::Gone(client) => format!("{client} gone"),
        Letter::Drops(drops) => {
            let range =
                |it: &Dropped| format!("{} {}: {:?}", it.session, it.reason.as_str(), it.which);
            format!("worker {worker}: {}", drops.iter().map(range).collect::<Vec<_>>().join(", "))
        }
        Letter::Left(reason, count) => format!("{count} left: {}", reason.as_str()),
        Letter::Gap => format!("worker {worker}: gap"),
        Letter::Passed(session, at) => format!("worker {worker}: {session} has all up to @{at}"),
        Letter::Interrupted(session, at) => {
            format!("worker {worker}: {session} lacks something up to @{at}")
        }
        Letter::Order(client, order) => format!("of {client}: {order:?}"),
        Letter::Shadow(key, stored) => {
            let what = if stored.is_some() { "is there" } else { "is gone" };
            format!("worker {worker}: {} {what}", key.key().to_stored())
        }
        Letter::Returned(portion) => format!("back {}", words(portion).join(", ")),
        Letter::Fence(put) => format!("{:?} is fenced", put.key),
    }
}

/// A session's document with one filter, announced.
fn session(client: &str, no: SessionNo, epoch: u64, owner: Option<(&str, u64)>) -> Write {
    let mut record = SessionRecord::new(no, SessionEpoch(epoch), 60);
    record.owner = owner.map(|(gateway, incarnation)| Owner {
        gateway: GatewayId::new(gateway).unwrap(),
        incarnation: Incarnation(incarnation),
    });
    record.subscriptions.push(StoredSubscription {
        filter: format!("to/{client}").into(),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
    });
    put(Space::Session, client, Some(record.encode()))
}

fn put(space: Space, key: &str, value: Option<Bytes>) -> Write {
    let mut write = Write::default();
    let key = Bytes::copy_from_slice(key.as_bytes());
    write.puts.push(Put { space, key, value, expect: Expect::Any, announce: true });
    write
}

fn retained(topic: &str, payload: &str) -> Write {
    let mut stored = Vec::new();
    Publication::new(topic, &[], payload.as_bytes(), QoS::AtMostOnce, true).encode(&mut stored);
    put(Space::Retained, topic, Some(stored.into()))
}

fn append(payload: &str, sessions: &[SessionNo]) -> Write {
    let mut refs = RefsBuilder::new();
    sessions.iter().for_each(|no| refs.push(*no, Refs::flags(QoS::AtLeastOnce, false)));
    let body = Publication::new("t", &[], payload.as_bytes(), QoS::AtLeastOnce, false);
    let mut write = Write::default();
    write.appends.push(Append { body, refs: refs.build() });
    write
}

fn trim(session: SessionNo, epoch: u64, up_to: u64) -> Write {
    let trim = Trim { session, epoch: SessionEpoch(epoch), up_to: Position(up_to) };
    Write { trims: vec![trim], ..Write::default() }
}

#[test]
fn a_look_at_the_log_asks_once_more_only_if_there_may_be_more() {
    let mut log = Log::new();
    for (commits, looks) in [(0, 1), (1, 1), (255, 1), (256, 2), (257, 2)] {
        for _ in 0..commits {
            log.commit(append("x", &[A]));
        }
        let mut observed = Observed::new(&mut *log.reader, &log.tables, usize::MAX);
        log.follower.catch_up(&mut observed, &mut log.letters).unwrap();
        assert_eq!(observed.seen.len(), looks, "{commits} commits");
        assert_eq!(log.follower.applied(), log.reader.head().unwrap().0);
    }
}

#[test]
fn a_commit_of_our_own_is_applied_without_reading() {
    let mut log = Log::new();
    assert!(log.attach(A, 0, 8).is_empty());
    let commit = log.commit(append("stored", &[A, B]));
    let at_hand = Publication::new("t", &[], b"at hand", QoS::AtLeastOnce, false);
    let bodies = HashMap::from_iter([(Position(1), at_hand)]);
    let own = (commit.prev, commit.seq);
    assert!(log.follower.apply_own(own, commit.entries.clone(), &bodies, &mut log.letters));
    assert_eq!(log.told(), ["worker 1: 5 @1 at hand"]);
    assert_eq!(log.follower.applied(), commit.seq);
    let again = log.follower.apply_own(own, commit.entries, &bodies, &mut log.letters);
    assert!(!again && log.follow().is_empty(), "it is applied once");
}

#[test]
fn a_commit_of_our_own_behind_another_one_is_read_with_it() {
    let mut log = Log::new();
    log.attach(A, 0, 8);
    log.commit(append("theirs", &[A]));
    let ours = log.commit(append("ours", &[A]));
    let before = log.follower.applied();
    let own = (ours.prev, ours.seq);
    assert!(!log.follower.apply_own(own, ours.entries, &HashMap::default(), &mut log.letters));
    assert!(log.told().is_empty() && log.follower.applied() == before);
    assert_eq!(log.follow(), ["worker 1: 5 @1 theirs", "worker 1: 5 @2 ours"]);
}

#[test]
fn a_queue_is_served_from_where_its_session_stands_and_as_far_as_its_credit_goes() {
    let mut log = Log::new();
    for payload in ["1", "2", "3"] {
        log.commit(append(payload, &[A]));
    }
    assert!(log.follow().is_empty(), "nobody serves it yet");
    assert_eq!(log.attach(A, 1, 1), ["worker 1: 5 @2 2 old"]);
    log.commit(append("4", &[A]));
    assert!(log.follow().is_empty(), "no credit is left");
    assert_eq!(log.pull(A, 9), ["worker 1: 5 @3 3 old", "worker 1: 5 @4 4"]);
    log.follower.detach(A);
    log.commit(append("5", &[A]));
    assert!(log.follow().is_empty());
    assert_eq!((log.follower.queue_len(A), log.follower.lowest()), (5, Position(1)));
}

#[test]
fn a_message_whose_body_is_gone_is_passed_over() {
    let mut log = Log::new();
    log.attach(A, 0, 8);
    log.commit(append("1", &[A]));
    log.commit(append("2", &[A]));
    log.writer.trim_log(Position(2), LogSeq(0)).unwrap();
    assert_eq!(log.follow(), ["worker 1: 5 @2 2"]);
}

#[test]
fn a_session_whose_document_cannot_be_read_is_not_gone() {
    let mut log = Log::new();
    log.commit(append("1", &[A]));
    log.follow();
    log.commit(put(Space::Session, "a", Some(Bytes::from_static(b"\0\0\0\0\0\0\0\x07\xffnewer"))));
    log.commit(append("2", &[A]));
    assert!(log.follow().is_empty(), "nobody is told that it is gone");
    assert_eq!((log.follower.queue_len(A), log.follower.lowest()), (2, Position(0)));
    assert!(has_route(&log, "to/a"));
    // The log is trimmed behind its back: everything is read anew.
    for _ in 0..3 {
        log.commit(append("3", &[B]));
    }
    let head = log.reader.head().unwrap().0;
    log.writer.trim_log(Position(4), LogSeq(head.0 - 1)).unwrap();
    assert!(log.follow().contains(&"worker 0: gap".to_owned()));
    assert!(has_route(&log, "to/a") && has_route(&log, "to/b"), "it gets what is published");
    assert_eq!(log.follower.lowest(), Position(0), "and nothing is deleted");
    log.commit(session("a", A, 8, None));
    log.commit(append("4", &[A]));
    log.follow();
    assert_eq!((log.follower.queue_len(A), log.follower.lowest() > Position(0)), (1, true));
    log.commit(put(Space::Session, "a", None));
    assert_eq!(log.follow(), ["a gone"]);
    assert!(!has_route(&log, "to/a"));
}

/// Whether something is stored for somebody who subscribed to a filter.
fn has_route(log: &Log, topic: &str) -> bool {
    !log.tables.routes().route(topic).refs[1].is_empty()
}

#[test]
fn a_session_that_somebody_else_owns_is_not_served_here() {
    for (owner, lost) in [
        (Some(("gw-2", 3)), true),
        (Some(("gw-1", 4)), true),
        (Some(("gw-1", 3)), false),
        (None, false),
    ] {
        let mut log = Log::new();
        log.attach(A, 0, 8);
        log.commit(session("a", A, 6, owner));
        log.commit(append("later", &[A]));
        let mut expected = Vec::new();
        // Written off by another owner, or owned by another one.
        expected.extend((lost || owner.is_none()).then_some("a lost to 6"));
        expected.extend((!lost).then_some("worker 1: 5 @1 later"));
        assert_eq!(log.follow(), expected, "{owner:?}");
    }
}

#[test]
fn the_letter_about_a_lost_session_goes_to_the_worker_of_its_client() {
    let mut log = Log::new();
    for name in ["x", "y", "z"] {
        log.commit(session(name, SessionNo(9), 6, Some(("gw-2", 1))));
        log.follower.catch_up(&mut *log.reader, &mut log.letters).unwrap();
        let client = ClientId::new(name).unwrap();
        let [(worker, Letter::Superseded(told, _))] = &log.letters[..] else { panic!() };
        assert_eq!((told, *worker), (&client, worker_of(&client, 2)));
        assert_eq!(log.follower.worker_of(&client), *worker);
        log.letters.clear();
    }
}

#[test]
fn what_we_wrote_off_ourselves_is_nobodys_loss() {
    let mut log = Log::new();
    log.commit(session("a", A, 6, Some(("gw-1", 3))));
    log.commit(session("a", A, 6, None));
    assert_eq!(log.follow(), ["a lost to 6"], "read together, they look like somebody else's");
    log.commit(session("a", A, 6, None));
    assert!(log.follow().is_empty());
}

#[test]
fn the_worker_of_a_client_is_told_of_a_document_that_is_gone() {
    let mut log = Log::new();
    log.commit(put(Space::Session, "a", None));
    log.commit(put(Space::Session, "unknown", None));
    assert_eq!(log.follow(), ["a gone", "unknown gone"]);
}

#[test]
fn what_an_older_ownership_says_is_acknowledged_is_ignored() {
    let mut log = Log::new();
    log.commit(append("1", &[A]));
    log.commit(append("2", &[A]));
    log.commit(session("a", A, 7, None));
    log.commit(trim(A, 6, 2));
    log.follow();
    assert_eq!(log.follower.queue_len(A), 2, "an owner that was cut off");
    log.commit(trim(A, 7, 1));
    log.follow();
    assert_eq!((log.follower.queue_len(A), log.follower.lowest()), (1, Position(2)));
    log.commit(trim(A, 7, 2));
    log.follow();
    assert_eq!(log.follower.lowest(), Position(3), "nobody needs what is before the next");
}

#[test]
fn the_next_life_of_a_session_begins_with_an_empty_queue() {
    let mut log = Log::new();
    log.attach(A, 0, 8);
    log.commit(append("1", &[A]));
    log.follow();
    log.commit(session("a", SessionNo(77), 6, Some(("gw-1", 3))));
    log.commit(append("2", &[A]));
    assert!(log.follow().is_empty());
    assert_eq!((log.follower.queue_len(A), log.follower.queue_len(SessionNo(77))), (0, 0));
    log.commit(put(Space::Session, "a", None));
    log.follow();
    let route = log.tables.routes().route("to/a");
    assert!(route.refs.iter().all(Refs::is_empty));
}

#[test]
fn a_queue_that_is_full_is_marked_until_it_has_room() {
    let mut log = Log::new();
    let full = |log: &Log| !log.tables.routes().route("to/b").missing.is_empty();
    for _ in 0..8 {
        assert!(!full(&log));
        log.commit(append("x", &[B]));
        log.follow();
    }
    assert!(full(&log));
    log.commit(trim(B, 5, 2));
    log.follow();
    assert!(!full(&log));
}

#[test]
fn the_tables_say_what_the_log_says() {
    let mut log = Log::new();
    let id = GatewayId::new("gw-2").unwrap();
    let live = LiveGateway {
        id,
        incarnation: Incarnation(1),
        peer: 4,
        mqtt: String::new(),
        mqtts: String::new(),
        serving: true,
        echoes: true,
        calls: true,
    };
    log.tables.set_gateways(vec![live], Duration::ZERO);
    let version = log.tables.routes_version();
    log.commit(session("c", SessionNo(8), 1, Some(("gw-2", 1))));
    log.commit(retained("kept", "x"));
    log.commit(put(Space::Shadow, "ignored", Some(Bytes::from_static(b"x"))));
    log.follow();
    let route = log.tables.routes().route("to/c");
    let refs: Vec<_> = route.refs[1].iter().collect();
    assert_eq!(refs, [(SessionNo(8), 1)]);
    assert!(log.tables.routes_version() > version);
    assert_eq!(log.tables.retained().len(), 1);
    log.commit(put(Space::Retained, "kept", None));
    log.follow();
    assert!(log.tables.retained().is_empty());
}

#[test]
fn after_a_gap_everything_is_read_anew_and_what_is_served_here_goes_on() {
    let mut log = Log::new();
    log.attach(A, 0, 8);
    log.commit(append("1", &[A, B]));
    log.commit(retained("old", "x"));
    assert_eq!(log.follow(), ["worker 1: 5 @1 1"]);
    // While this process slept, the log moved on and was trimmed.
    log.commit(trim(A, 5, 1));
    log.commit(put(Space::Session, "b", None));
    log.commit(put(Space::Retained, "old", None));
    log.commit(retained("new", "x"));
    log.commit(session("c", SessionNo(8), 1, None));
    let last = log.commit(append("2", &[A])).seq;
    log.writer.trim_log(Position(2), last).unwrap();
    assert_eq!(log.follow(), ["worker 0: gap", "worker 1: gap", "worker 1: 5 @2 2"]);
    assert_eq!(log.follower.applied(), last);
    let topics = |log: &Log, topic| !log.tables.routes().route(topic).refs[1].is_empty();
    let known = (topics(&log, "to/a"), topics(&log, "to/b"), topics(&log, "to/c"));
    assert_eq!(known, (true, false, true));
    assert!(
        log.tables.retained().is_full_for("new", 1) != log.tables.retained().is_full_for("old", 1)
    );
    log.commit(append("3", &[A]));
    assert_eq!(log.follow(), ["worker 1: 5 @3 3"]);
}

/// A reader that notes what the routes say whenever it is asked for documents or for the log.
#[derive(Debug)]
struct Observed<'a> {
    reader: &'a mut dyn Reader,
    tables: Arc<Tables>,
    /// The fence, and whether a topic goes to a group's member that has a queue.
    seen: Vec<(u64, bool)>,
    /// So many times it answers before it fails.
    lasts: usize,
}

const FAILS: StoreError = StoreError::Unavailable { why: Unavailable::Busy, source: None };

impl<'a> Observed<'a> {
    fn new(reader: &'a mut dyn Reader, tables: &Arc<Tables>, lasts: usize) -> Self {
        Self { reader, tables: Arc::clone(tables), seen: Vec::new(), lasts }
    }

    fn look(&mut self) -> Result<(), StoreError> {
        let (fence, topic) = (self.tables.routes().fence(), self.tables.routes().route("t"));
        self.seen.push((fence, topic.groups.iter().any(|(_, group)| group.is_queued())));
        self.lasts = self.lasts.checked_sub(1).ok_or(FAILS)?;
        Ok(())
    }
}

impl Reader for Observed<'_> {
    fn head(&mut self) -> Result<(LogSeq, Position), StoreError> {
        self.reader.head()
    }

    fn first_seq(&mut self) -> Result<LogSeq, StoreError> {
        self.reader.first_seq()
    }

    fn log_after(
        &mut self,
        after: LogSeq,
        max_rows: usize,
    ) -> Result<Vec<(LogSeq, Vec<Entry>)>, StoreError> {
        let rows = self.reader.log_after(after, max_rows);
        self.look()?;
        rows
    }

    fn bodies(
        &mut self,
        positions: &[Position],
    ) -> Result<Vec<(Position, Publication)>, StoreError> {
        self.reader.bodies(positions)
    }

    fn get(&mut self, space: Space, key: &[u8]) -> Result<Option<Doc>, StoreError> {
        self.reader.get(space, key)
    }

    fn scan(
        &mut self,
        space: Space,
        prefix: &[u8],
        after: Option<&[u8]>,
        max: usize,
    ) -> Result<Vec<(Bytes, Doc)>, StoreError> {
        self.look()?;
        self.reader.scan(space, prefix, after, max)
    }
}

#[test]
fn our_own_fence_counts_as_raised_once_all_of_the_log_is_in_force() {
    let mut log = Log::new();
    let mut member = in_groups(SessionNo(8), &["$share/g/t"]);
    member.owner =
        Some(Owner { gateway: GatewayId::new("gw-1").unwrap(), incarnation: Incarnation(3) });
    log.commit(put(Space::Session, "c", Some(member.encode())));
    log.follow();
    // While this process stood still, the log moved on and was trimmed; the rest of it speaks of the session still.
    log.commit(append("1", &[A]));
    let first = log.commit(put(Space::Session, "c", Some(member.encode()))).seq;
    log.commit(end_of_the_last("c", &member));
    log.commit(put(Space::Lease, "gw-1", Some(Bytes::copy_from_slice(&1_u64.to_be_bytes()))));
    log.commit(append("2", &[A]));
    log.writer.trim_log(Position(2), first).unwrap();
    // One at a time, so that each is seen.
    log.follower.rows = 1;
    let mut seen = Vec::new();
    for lasts in 0.. {
        let mut observed = Observed::new(&mut *log.reader, &log.tables, lasts);
        let read = log.follower.catch_up(&mut observed, &mut log.letters);
        // However far it came.
        let _ = observed.look();
        seen.append(&mut observed.seen);
        if read.is_ok() {
            break;
        }
    }
    assert!(seen.contains(&(0, true)) && seen.ends_with(&[(1, false)]), "{seen:?}");
    assert!(!seen.contains(&(1, true)), "{seen:?}");
}

#[test]
fn what_was_lost_during_a_gap_is_told() {
    let mut log = Log::new();
    log.attach(A, 0, 8);
    log.commit(session("a", A, 9, Some(("gw-2", 1))));
    let last = log.commit(append("1", &[A])).seq;
    log.writer.trim_log(Position(1), last).unwrap();
    assert_eq!(log.follow(), ["worker 0: gap", "worker 1: gap"]);
    assert!(log.pull(A, 8).is_empty(), "it is not served here any more");
}

#[test]
fn a_clean_session_of_another_gateway_is_told_too() {
    let mut log = Log::new();
    log.commit(session("a", SessionNo(0), 9, Some(("gw-2", 1))));
    assert_eq!(log.follow(), ["a lost to 9"]);
    assert!(log.tables.routes().route("to/a").refs[1].is_empty());
}

/// A session ends as its record says.
fn end(client: &str, record: &SessionRecord) -> Write {
    let mut write = end_of_the_last(client, record);
    // Somebody else is in its groups too, who is not heard of else.
    let mut other = in_groups(SessionNo(99), &[]);
    other.subscriptions.clone_from(&record.subscriptions);
    write.puts.extend(put(Space::Session, "other", Some(other.encode())).puts);
    write
}

/// The same where nobody else is in its groups.
fn end_of_the_last(client: &str, record: &SessionRecord) -> Write {
    let mut write = put(Space::Session, client, None);
    let left = left_by(&ClientId::new(client).unwrap(), record);
    write.puts.insert_many(0, left);
    write
}

/// A session in these groups.
fn in_groups(no: SessionNo, groups: &[&str]) -> SessionRecord {
    let mut record = SessionRecord::new(no, SessionEpoch(5), 60);
    record.subscriptions.extend(groups.iter().map(|group| StoredSubscription {
        filter: (*group).into(),
        qos: QoS::AtLeastOnce,
        no_local: false,
        retain_as_published: false,
        id: None,
    }));
    record
}

/// A publication that a group gave to a session.
fn given(payload: &str, session: SessionNo, flags: u8) -> Write {
    let mut write = append(payload, &[]);
    let mut refs = RefsBuilder::new();
    refs.push(session, flags);
    write.appends[0].refs = refs.build();
    write
}

/// A publication that these groups gave to a session.
fn given_by(payload: &str, session: SessionNo, groups: &[&str]) -> Write {
    let mut write = append(payload, &[]);
    let mut refs = RefsBuilder::new();
    for group in groups {
        refs.push_shared(session, QoS::AtLeastOnce, GroupTag::of(group));
    }
    write.appends[0].refs = refs.build();
    write
}

const SHARED: u8 = Refs::shared(QoS::AtLeastOnce);

/// Another member.
const HEIR: SessionNo = SessionNo(9);

/// A session with three messages of its group that are not acknowledged, before its end.
fn with_three(log: &mut Log) -> SessionRecord {
    let record = in_groups(SessionNo(8), &["$share/g/t", "$share/h/#"]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    for payload in ["1", "2", "3"] {
        log.commit(given(payload, SessionNo(8), SHARED));
    }
    record
}

#[test]
fn what_a_session_leaves_is_given_by_one_gateway_and_deleted_by_nobody_before() {
    let mut ours = Log::new();
    let record = with_three(&mut ours);
    ours.commit(end("c", &record));
    let mut theirs = ours.beside("gw-2");
    let mut gave = 0;
    for log in [&mut ours, &mut theirs] {
        log.knows(&["gw-1", "gw-2"]);
        log.follow();
        assert_eq!(log.follower.lowest(), Position(1));
        let portions = log.give_back();
        gave += portions.len();
        let all = ["1 to $share/g/t", "2 to $share/g/t", "3 to $share/g/t"];
        assert!(portions.iter().all(|portion| words(portion) == all), "to one group each");
        for portion in portions {
            assert!(log.store_portion(portion, HEIR));
        }
    }
    assert_eq!(gave, 1);
    for log in [&mut ours, &mut theirs] {
        log.follow();
        assert_eq!(log.follower.lowest(), Position(7), "nobody is there to get the rest");
    }
}

#[test]
fn of_groups_that_overlap_each_gets_back_what_it_gave() {
    let mut log = Log::new();
    let (g, h) = ("$share/g/t", "$share/h/#");
    let record = in_groups(SessionNo(8), &[g, h]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    for (payload, groups) in [("1", &[g][..]), ("2", &[h]), ("3", &[g, h]), ("4", &[g])] {
        log.commit(given_by(payload, SessionNo(8), groups));
    }
    // By a version that did not say.
    log.commit(given("5", SessionNo(8), SHARED));
    log.commit(end("c", &record));
    log.commit(given_by("late", SessionNo(8), &[h]));
    // Who begins now and who was there all the time agree.
    for log in [&mut log.beside("gw-2"), &mut log] {
        log.follow();
        log.knows_of(&["gw-1", "gw-2"], |name| name == log.follower.gateway.as_str());
        let words: Vec<_> = log.give_back().iter().flat_map(words).collect();
        let mut expected = vec!["1 to $share/g/t", "2 to $share/h/#"];
        let both = ["3 to $share/g/t", "3 to $share/h/#"];
        expected.extend(if GroupTag::of(g) < GroupTag::of(h) { both } else { [both[1], both[0]] });
        expected.extend(["4 to $share/g/t", "5 to $share/g/t", "late to $share/h/#"]);
        assert_eq!(words, expected);
    }
}

#[test]
fn what_a_group_gave_a_session_that_left_it_before_it_ended_goes_back_as_long_as_it_has_members() {
    let mut log = Log::alone();
    let mut record = in_groups(SessionNo(8), &["$share/g/t"]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    log.commit(given_by("1", SessionNo(8), &["$share/g/t"]));
    record.subscriptions.clear();
    record.grouped = true;
    log.commit(put(Space::Session, "c", Some(record.encode())));
    log.commit(given_by("late", SessionNo(8), &["$share/g/t"]));
    log.commit(end("c", &record));
    log.follow();
    assert!(log.give_back().is_empty(), "nobody is in it now");
    let heir = in_groups(HEIR, &["$share/g/t"]);
    log.commit(put(Space::Session, "d", Some(heir.encode())));
    log.follow();
    log.sweep();
    let portion = log.give_back().pop().unwrap();
    assert_eq!(words(&portion), ["1 to $share/g/t", "late to $share/g/t"]);
}

#[test]
fn what_has_an_heir_does_not_wait_for_what_has_none() {
    let mut log = Log::alone();
    let (g, h) = ("$share/g/t", "$share/h/t");
    let record = in_groups(SessionNo(8), &[g, h]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    for (payload, groups) in [("1", &[g][..]), ("2", &[h]), ("3", &[g, h]), ("4", &[g])] {
        log.commit(given_by(payload, SessionNo(8), groups));
    }
    let heir = in_groups(HEIR, &[g]);
    log.commit(put(Space::Session, "d", Some(heir.encode())));
    log.commit(end_of_the_last("c", &record));
    log.follow();
    let portion = log.give_back().pop().unwrap();
    assert_eq!(words(&portion), ["1 to $share/g/t", "4 to $share/g/t"]);
    assert!(log.store_portion(portion, HEIR));
    log.follow();
    assert!(log.give_back().is_empty(), "the others wait");
    let mut theirs = log.beside("gw-2");
    theirs.knows(&["gw-2"]);
    let other = in_groups(SessionNo(10), &[h]);
    log.commit(put(Space::Session, "e", Some(other.encode())));
    let mut both = ["3 to $share/g/t", "3 to $share/h/t"];
    if GroupTag::of(h) < GroupTag::of(g) {
        both.reverse();
    }
    // Who was there all the time and who reads it all anew know the same.
    for log in [&mut theirs, &mut log] {
        log.follow();
        log.sweep();
        let portion = log.give_back().pop().unwrap();
        assert_eq!(words(&portion), ["2 to $share/h/t", both[0], both[1]]);
    }
}

#[test]
fn what_has_an_heir_does_not_wait_for_more_than_a_page_that_has_none() {
    let mut log = Log::alone();
    let (g, h) = ("$share/g/t", "$share/h/t");
    let record = in_groups(SessionNo(8), &[g, h]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    let nobodys: Vec<String> = (0..1_100).map(|number| number.to_string()).collect();
    for payload in &nobodys {
        log.commit(given_by(payload, SessionNo(8), &[h]));
    }
    for payload in ["first", "second"] {
        log.commit(given_by(payload, SessionNo(8), &[g]));
    }
    let heir = in_groups(HEIR, &[g]);
    log.commit(put(Space::Session, "d", Some(heir.encode())));
    log.commit(end_of_the_last("c", &record));
    log.follow();
    assert!(log.give_back().is_empty(), "a page that waits");
    log.sweep();
    let portion = log.give_back().pop().unwrap();
    assert_eq!(words(&portion), ["first to $share/g/t", "second to $share/g/t"]);
    assert!(log.store_portion(portion, HEIR));
    // Who was there all the time and who reads it all anew know the same.
    let mut theirs = log.beside("gw-2");
    theirs.knows(&["gw-2"]);
    let other = in_groups(SessionNo(10), &[h]);
    log.commit(put(Space::Session, "e", Some(other.encode())));
    let all: Vec<String> = nobodys.iter().map(|payload| format!("{payload} to {h}")).collect();
    theirs.follow();
    assert_eq!(words(&theirs.give_back().pop().unwrap()), all[..1024]);
    let mut given = Vec::new();
    for _ in 0..9 {
        log.follow();
        log.sweep();
        for portion in log.give_back() {
            given.extend(words(&portion));
            // Not for the member, whose queue would be full.
            assert!(log.store_portion(portion, SessionNo(77)));
        }
    }
    given.sort_by_key(|said| said.split(' ').next().unwrap().parse::<u32>().unwrap());
    assert!(given == all, "each once: {}", given.len());
    log.follow();
    let estates = log.reader.scan(Space::Estate, &[], None, 9).unwrap();
    assert!(estates.is_empty());
}

#[test]
fn a_message_that_very_many_groups_gave_is_a_portion_of_its_own() {
    let mut log = Log::alone();
    let names: Vec<String> = (0..600).map(|number| format!("$share/g{number}/t")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let record = in_groups(SessionNo(8), &names);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    for payload in ["1", "2", "3", "4", "5"] {
        log.commit(given_by(payload, SessionNo(8), &names));
    }
    let heir = in_groups(HEIR, &names);
    log.commit(put(Space::Session, "d", Some(heir.encode())));
    log.commit(end("c", &record));
    log.follow();
    let mut sizes = Vec::new();
    while let Some(portion) = log.give_back().pop().filter(|portion| !portion.left.is_empty()) {
        sizes.push(portion.left.len());
        assert!(log.store_portion(portion, HEIR));
        log.follow();
    }
    assert_eq!(sizes, [1200, 1200, 600], "no message more once there are 1024 copies");
}

#[test]
fn two_gateways_that_both_think_it_their_turn_give_once() {
    let mut ours = Log::new();
    let record = with_three(&mut ours);
    ours.commit(end("c", &record));
    let mut theirs = ours.beside("gw-2");
    for (log, live) in [(&mut ours, "gw-1"), (&mut theirs, "gw-2")] {
        log.knows(&[live]);
        log.follow();
    }
    let (mut one, mut other) = (ours.give_back(), theirs.give_back());
    assert!(ours.store_portion(one.pop().unwrap(), HEIR));
    assert!(!theirs.store_portion(other.pop().unwrap(), HEIR), "it was read before");
    theirs.follow();
    assert!(theirs.give_back().iter().all(|portion| portion.put.value.is_none()));
}

#[test]
fn whoever_takes_over_goes_on_where_the_one_before_was() {
    let mut ours = Log::new();
    ours.knows(&["gw-1"]);
    let record = with_three(&mut ours);
    ours.commit(end("c", &record));
    ours.follow();
    // It dies when it has given two of three.
    let mut portion = ours.give_back().pop().unwrap();
    portion.left.pop();
    let first_two = Estate::of(&ClientId::new("c").unwrap(), &record).unwrap().after(Position(2));
    portion.put.value = Some(first_two.encode());
    assert!(ours.store_portion(portion, HEIR));
    let mut theirs = ours.beside("gw-2");
    theirs.knows(&["gw-2"]);
    let portions = theirs.give_back();
    assert_eq!(portions.iter().flat_map(words).collect::<Vec<_>>(), ["3 to $share/g/t"]);
    assert!(theirs.store_portion(portions.into_iter().next().unwrap(), HEIR));
    theirs.follow();
    let end = theirs.give_back().pop().unwrap();
    assert!(end.put.value.is_none() && theirs.store_portion(end, HEIR));
    theirs.follow();
    assert!(theirs.reader.scan(Space::Estate, &[], None, 9).unwrap().is_empty());
    assert!(theirs.give_back().is_empty());
}

/// The gateways whose fences are to be raised.
fn fenced(log: &mut Log) -> Vec<Bytes> {
    let everyone = Progress { seq: log.follower.applied(), ..Progress::default() };
    log.follower.give_back(&everyone, &mut *log.reader, &mut log.letters).unwrap();
    let fence = |(_, letter)| if let Letter::Fence(put) = letter { Some(put.key) } else { None };
    log.letters.drain(..).filter_map(fence).collect()
}

#[test]
fn a_fence_that_is_being_raised_is_not_raised_again_before_the_next_look() {
    let mut log = Log::alone();
    log.commit(put(Space::Gateway, "gw-2", Some("{}".into())));
    let ends = |log: &mut Log, client: &str, no: u32| {
        let record = in_groups(SessionNo(no), &["$share/g/t"]);
        log.commit(put(Space::Session, client, Some(record.encode())));
        log.commit(end_of_the_last(client, &record));
        log.follow();
        fenced(log)
    };
    assert_eq!(ends(&mut log, "c", 8), ["gw-2"]);
    assert!(ends(&mut log, "d", 9).is_empty(), "it is on its way");
    log.sweep();
    assert_eq!(fenced(&mut log), ["gw-2"], "nobody has heard of it since");
}

#[test]
fn who_is_not_alive_is_fenced_however_many_gateways_the_store_knows() {
    let mut log = Log::alone();
    let names: Vec<_> = (0..1_025).map(|number| format!("gw-a{number:04}")).collect();
    for name in &names {
        log.commit(put(Space::Gateway, name, Some("{}".into())));
    }
    let record = in_groups(SessionNo(8), &["$share/g/t"]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    log.commit(end_of_the_last("c", &record));
    log.follow();
    let mut raised = fenced(&mut log);
    raised.sort();
    assert!(raised == names, "{} of {}", raised.len(), names.len());
}

/// The estate stands until every gateway routes without the session; what is stored for it until then is given too.
#[test]
fn what_is_stored_for_a_session_after_its_end_goes_back_too() {
    let mut log = Log::alone();
    let record = in_groups(SessionNo(8), &["$share/g/t"]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    let before = log.commit(end("c", &record)).prev;
    log.follow();
    assert!(log.give_back_at(before).is_empty(), "somebody may still route to it");
    log.commit(given("late", SessionNo(8), SHARED));
    log.commit(given("begun at QoS 2", SessionNo(8), Refs::shared(QoS::ExactlyOnce)));
    // It is not read yet, and all the same the estate is not over.
    log.sweep();
    assert!(log.give_back_at(LogSeq(99)).is_empty());
    log.sweep();
    let late = log.give_back_at(before);
    assert_eq!(late.iter().flat_map(words).collect::<Vec<_>>(), ["late to $share/g/t"]);
}

#[test]
fn a_gateway_that_reads_late_knows_what_a_session_left_that_it_never_saw() {
    let mut ours = Log::new();
    let mut theirs = ours.beside("gw-2");
    let record = with_three(&mut ours);
    let mut ends = end("c", &record);
    ends.trims = trim(SessionNo(8), 5, 1).trims;
    ours.commit(ends);
    theirs.knows(&["gw-2"]);
    theirs.follow();
    assert_eq!(theirs.follower.lowest(), Position(2));
    let portions = theirs.give_back();
    let words: Vec<_> = portions.iter().flat_map(words).collect();
    assert_eq!(words, ["2 to $share/g/t", "3 to $share/g/t"]);
}

#[test]
fn what_is_acknowledged_with_the_end_or_came_by_no_group_does_not_go_back() {
    let mut log = Log::alone();
    let mut record = in_groups(SessionNo(8), &["$share/g/t"]);
    log.commit(put(Space::Session, "c", Some(record.encode())));
    let plain = Refs::flags(QoS::AtLeastOnce, false);
    let begun = Refs::shared(QoS::ExactlyOnce);
    for (payload, flags) in
        [("1", SHARED), ("2", begun), ("3", SHARED), ("4", SHARED), ("5", plain), ("6", SHARED)]
    {
        log.commit(given(payload, SessionNo(8), flags));
    }
    log.follow();
    // Behind the exchange that is open, the third was acknowledged and the fourth was not.
    (record.acknowledged, record.sent) = (Position(1), Position(4));
    let open = [(1, 2), (2, 4)];
    record.inflight =
        open.map(|(id, at)| (PacketId::new(id).unwrap(), Position(at), false)).to_vec();
    log.commit(end("c", &record));
    log.follow();
    assert_eq!(log.follower.lowest(), Position(4));
    let portions = log.give_back();
    let words: Vec<_> = portions.iter().flat_map(words).collect();
    assert_eq!(words, ["4 to $share/g/t", "6 to $share/g/t"]);
}

#[test]
fn what_cannot_be_read_goes_back_later_and_what_is_not_stored_goes_again() {
    let mut log = Log::alone();
    let record = with_three(&mut log);
    log.commit(end("c", &record));
    log.follow();
    let mut dead = log.store.another_process();
    dead.inject(Fault::Crash { after_writes: 0, durable: false });
    assert!(Writer::commit(&mut dead, &[trim(A, 5, 1)]).is_err());
    let read = log.follower.give_back(&Progress::default(), &mut dead, &mut log.letters);
    assert!(read.is_err() && log.follower.gives_back());
    assert_eq!(log.follower.lowest(), Position(1), "and is not deleted before");
    let (session, rev) = log.give_back()[0].of;
    for _ in 0..9 {
        log.sweep();
        assert!(log.give_back().is_empty(), "it is on its way");
    }
    log.follower.handle_not_given((session, Rev(rev.0 + 1)));
    log.sweep();
    assert!(log.give_back().is_empty(), "that was about another one");
    log.follower.handle_not_given((session, rev));
    assert!(!log.follower.gives_back(), "not before the next look");
    log.sweep();
    assert_eq!(log.give_back().len(), 1);
}

#[test]
fn only_gateways_that_serve_give_back() {
    let mut log = Log::new();
    let record = with_three(&mut log);
    log.commit(end("c", &record));
    log.follow();
    log.knows_of(&["gw-1"], |_| false);
    assert!(log.give_back().is_empty());
    assert!(!log.follower.gives_back(), "until the next look");
    log.knows_of(&["gw-1", "gw-2", "gw-3", "gw-4", "gw-5"], |name| name == "gw-1");
    log.sweep();
    assert_eq!(log.give_back().len(), 1, "it is nobody's turn but ours");
}

#[test]
fn what_has_no_member_waits_for_one_after_a_start_and_after_gateways_came_or_went() {
    let mut log = Log::alone();
    let record = with_three(&mut log);
    log.commit(end("c", &record));
    log.follow();
    let mut early = || {
        log.sweep();
        let portion = log.give_back().pop().unwrap();
        log.follower.handle_not_given(portion.of);
        portion.early
    };
    let looks = (0..99).take_while(|_| early()).count();
    assert_eq!(looks, 60);
    assert!(!early());
    log.knows_of(&["gw-1", "gw-2"], |name| name == "gw-1");
    log.sweep();
    assert!(!log.give_back().pop().unwrap().early, "it does not serve yet");
}

/// A session whose client is shown positions.
fn shown(client: &str, no: SessionNo) -> Write {
    let mut record = SessionRecord::new(no, SessionEpoch(5), 60);
    let (gateway, incarnation) = (GatewayId::new("gw-1").unwrap(), Incarnation(3));
    record.owner = Some(Owner { gateway, incarnation });
    record.shown = Some(Shown { since: SessionEpoch(5), ..Shown::default() });
    put(Space::Session, client, Some(record.encode()))
}

/// A session that has acknowledged the first five of seven messages, and may go back.
fn five_of_seven() -> Log {
    let mut log = Log::new();
    log.commit(shown("a", A));
    for payload in ["1", "2", "3", "4", "5", "6", "7"] {
        log.commit(append(payload, &[A]));
    }
    log.commit(trim(A, 5, 5));
    log.follow();
    log
}

fn whole(log: &mut Log) -> Option<(u64, u64)> {
    let client = ClientId::new("a").unwrap();
    let looked_up = log.follower.look_up(&client, &mut *log.reader, &mut log.letters).unwrap();
    looked_up.1.map(|whole| (whole.from.0, whole.without_gap.0))
}

#[test]
fn what_another_gateway_deleted_is_not_said_to_be_there() {
    for deleted in 1..7 {
        let mut log = five_of_seven();
        assert_eq!(log.follower.lowest(), Position(1));
        assert_eq!(whole(&mut log), Some((0, 0)));
        log.writer.trim_log(Position(deleted), LogSeq(0)).unwrap();
        let expected = (deleted - 1).min(5);
        assert_eq!(whole(&mut log), Some((expected, expected)), "all before {deleted}");
        let rest: Vec<_> =
            (expected + 1..8).map(|at| format!("worker 1: 5 @{at} {at} old")).collect();
        assert_eq!(log.attach(A, expected, 9), rest);
    }
}

#[test]
fn who_reads_what_is_deleted_or_forgotten_meanwhile_is_told() {
    let mut log = five_of_seven();
    assert_eq!(log.attach(A, 0, 1), ["worker 1: 5 @1 1 old"]);
    log.writer.trim_log(Position(4), LogSeq(0)).unwrap();
    assert_eq!(log.pull(A, 3), ["worker 1: 5 lacks something up to @2"]);
    assert!(log.pull(A, 3).is_empty(), "it is not served any more");
    let mut log = five_of_seven();
    assert_eq!(log.attach(A, 0, 1), ["worker 1: 5 @1 1 old"]);
    log.follower.forget_kept(Position(3));
    assert_eq!(log.pull(A, 3), ["worker 1: 5 lacks something up to @3"]);
    assert_eq!((log.follower.lowest(), whole(&mut log)), (Position(4), Some((3, 3))));
}

#[test]
fn an_idle_reader_is_told_how_far_the_fleet_is_once_it_was_given_everything() {
    let mut log = five_of_seven();
    assert_eq!(log.attach(A, 5, 1), ["worker 1: 5 @6 6 old"]);
    log.follower.advance(A, &mut log.letters);
    assert!(log.told().is_empty(), "something waits");
    assert_eq!(log.pull(A, 3), ["worker 1: 5 @7 7 old"]);
    log.commit(append("x", &[B]));
    log.follow();
    log.follower.advance(A, &mut log.letters);
    assert_eq!(log.told(), ["worker 1: 5 has all up to @8"]);
}

/// A persistent session with limits of its own.
fn limited(client: &str, no: SessionNo, owner: Option<&str>, queue: QueueLimits) -> Write {
    let mut write = session(client, no, 5, owner.map(|gateway| (gateway, 3)));
    let put = &mut write.puts[0];
    let mut record = SessionRecord::decode(put.value.as_ref().unwrap()).unwrap();
    record.queue = Some(queue);
    put.value = Some(record.encode());
    write
}

fn oldest(messages: u32) -> QueueLimits {
    QueueLimits { messages, when_full: WhenFull::DropOldest, ..QueueLimits::NONE }
}

/// The drops that a worker was told to write down.
fn to_write_down(letters: &Letters) -> Vec<Dropped> {
    let drops = letters.iter().filter_map(|(_, letter)| {
        if let Letter::Drops(drops) = letter { Some(drops.clone()) } else { None }
    });
    drops.flatten().collect()
}

#[test]
fn a_long_queue_is_handed_out_a_page_at_a_time_and_in_its_order() {
    const MANY: u64 = 200_000;
    const PAGE: u32 = 256;
    let mut log = Log::new();
    log.commit(limited("c", SessionNo(7), None, QueueLimits::NONE));
    let one = append("x", &[SessionNo(7)]);
    let commit = vec![one; 2_000];
    for _ in 0..MANY / 2_000 {
        log.writer.commit(&commit).unwrap();
    }
    log.follow();
    assert_eq!(log.follower.queue_len(SessionNo(7)) as u64, MANY);
    assert!(log.letters.is_empty(), "nobody serves it, and nothing of it is read");
    log.commit(limited("c", SessionNo(7), Some("gw-1"), QueueLimits::NONE));
    let (session, reader) = (SessionNo(7), &mut *log.reader);
    log.follower.attach((session, Position(0), PAGE), 1, reader, &mut log.letters).unwrap();
    let mut next = 1;
    while next <= MANY {
        assert!(log.letters.len() <= PAGE as usize, "a page at most is in memory");
        assert!(!log.letters.is_empty(), "stuck at {next}");
        for (_, letter) in log.letters.drain(..) {
            let Letter::Queued(queued) = letter else { panic!("{letter:?}") };
            assert_eq!(queued.position.0, next);
            next += 1;
        }
        log.follower.pull(session, PAGE, reader, &mut log.letters).unwrap();
    }
}

#[test]
fn a_queue_that_nobody_serves_makes_room_when_the_log_says_so_and_one_gateway_says_it() {
    let mut log = Log::new();
    log.commit(limited("b", B, None, oldest(3)));
    // What it is told to write down, now and when it sweeps, is written, and it follows; answers how many left.
    let write_down = |log: &mut Log| {
        let mut left = 0;
        loop {
            log.follower.catch_up(&mut *log.reader, &mut log.letters).unwrap();
            assert!(to_write_down(&log.letters).is_empty(), "not for every message that comes");
            log.sweep();
            let drops = to_write_down(&log.letters);
            left += log
                .letters
                .iter()
                .map(|(_, it)| if let Letter::Left(_, n) = it { *n } else { 0 })
                .sum::<u64>();
            log.letters.clear();
            if drops.is_empty() {
                return left;
            }
            log.commit(Write { drops, ..Write::default() });
        }
    };
    log.knows(&["gw-1", "gw-2"]);
    (0..8).for_each(|_| drop(log.commit(append("x", &[B]))));
    assert_eq!((write_down(&mut log), log.follower.queue_len(B)), (5, 3));
    // Another one says it now.
    log.knows(&["gw-0", "gw-1"]);
    (0..8).for_each(|_| drop(log.commit(append("x", &[B]))));
    assert_eq!((write_down(&mut log), log.follower.queue_len(B)), (0, 11));
    log.sweep();
    assert!(log.letters.is_empty(), "{:?}", log.letters);
    // One that reads everything anew knows the same, and says the rest if it is its turn.
    let mut beside = log.beside("gw-2");
    assert_eq!(beside.follower.queue_len(B), 11);
    beside.knows(&["gw-2"]);
    beside.sweep();
    let drops = to_write_down(&beside.letters);
    assert_eq!(drops.len(), 1);
    beside.commit(Write { drops, ..Write::default() });
    for (log, left) in [(&mut log, 0), (&mut beside, 8)] {
        log.letters.clear();
        assert_eq!((write_down(log), log.follower.queue_len(B)), (left, 3));
    }
    let client = ClientId::new("b").unwrap();
    assert!(log.follower.queue_of(&client).unwrap().full.is_none());
}

#[test]
fn what_leaves_many_queues_at_once_is_written_in_portions() {
    let mut log = Log::alone();
    let sessions: Vec<SessionNo> = (10..10 + 1_500).map(SessionNo).collect();
    for no in &sessions {
        log.commit(session(&format!("c{no}"), *no, 1, None));
    }
    let mut ends = append("ends", &sessions);
    ends.appends[0].body.expires_at = Some(Wall(5_000));
    log.commit(ends);
    log.follow();
    log.follower.sweep(Wall(9_000), &mut *log.reader, &mut log.letters).unwrap();
    let portions: Vec<usize> = (log.letters.iter())
        .filter_map(|(_, it)| if let Letter::Drops(drops) = it { Some(drops.len()) } else { None })
        .collect();
    assert_eq!(portions, [1_024, 476]);
}

#[test]
fn a_queue_that_is_served_makes_room_when_the_log_says_so_and_in_this_ownership_only() {
    let mut log = Log::new();
    log.commit(limited("a", A, Some("gw-1"), oldest(3)));
    log.attach(A, 0, 1);
    for text in ["1", "2", "3", "4", "5"] {
        log.commit(append(text, &[A]));
    }
    log.follower.catch_up(&mut *log.reader, &mut log.letters).unwrap();
    let drops = to_write_down(&log.letters);
    assert_eq!(drops.len(), 1, "{:?}", log.letters);
    log.told();
    let (after, up_to) = (Position(1), Position(2));
    let which = |epoch| Lost::Queued { epoch: SessionEpoch(epoch), after, up_to };
    assert_eq!(drops[0].which, which(5));
    assert!(log.pull(A, 9).is_empty(), "what follows waits for it");
    let stale = Dropped { which: which(4), ..drops[0] };
    log.commit(Write { drops: vec![stale], ..Write::default() });
    assert!(log.follow().is_empty());
    assert_eq!(log.follower.queue_len(A), 5, "an older ownership has no say");
    log.commit(Write { drops, ..Write::default() });
    let told = log.follow();
    let handed_out = ["worker 1: 5 @3 3", "worker 1: 5 @4 4", "worker 1: 5 @5 5"];
    assert_eq!(
        (told[0].as_str(), &told[1..]),
        ("1 left: queue_count", &handed_out.map(String::from)[..])
    );
}

#[test]
fn what_has_ended_leaves_the_queues_that_this_gateway_looks_after() {
    let mut log = Log::new();
    let mut ends = append("ends", &[A, B]);
    ends.appends[0].body.expires_at = Some(Wall(5_000));
    log.commit(ends);
    log.commit(append("lasts", &[A, B]));
    log.follow();
    let sweep = |log: &mut Log, wall| {
        let (reader, letters) = (&mut *log.reader, &mut log.letters);
        log.follower.sweep(Wall(wall), reader, letters).unwrap();
        let drops = to_write_down(letters);
        letters.clear();
        drops
    };
    log.knows(&["gw-0", "gw-1"]);
    assert!(sweep(&mut log, 9_000).is_empty(), "another gateway looks after it");
    log.knows(&["gw-1", "gw-2"]);
    assert!(sweep(&mut log, 4_000).is_empty());
    let drops = sweep(&mut log, 9_000);
    assert_eq!(
        drops.iter().map(|it| (it.session, it.reason)).collect::<Vec<_>>(),
        [(B, DropReason::Expired)]
    );
    log.commit(Write { drops, ..Write::default() });
    assert_eq!(log.follow(), ["1 left: expired"]);
    assert_eq!((log.follower.queue_len(A), log.follower.queue_len(B)), (2, 1));
    assert!(sweep(&mut log, 9_000).is_empty());
    log.attach(A, 0, 0);
    let drops = sweep(&mut log, 9_000);
    assert_eq!(drops.iter().map(|it| it.session).collect::<Vec<_>>(), [A], "served here");
}
