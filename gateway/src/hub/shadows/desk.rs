//! What a worker remembers of shadows.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use protocol::{HashMap, Now, PacketId, hash64};
use shadow::{
    Ask, OwnedKey, Rejection, RequestNo, RequestPace, RequestRates, Scribe, ScribeLimits,
    ShadowLimits, ThingName, Watcher, WatcherLimits,
};
use store::{Check, Rev};
use tokio::sync::oneshot;

use super::remembered::RecentShadows;
use crate::hub::ConnId;

/// What holds for shadows.
#[derive(Debug, Clone, Copy, Default)]
pub struct ShadowRules {
    /// What a shadow may be.
    pub limits: ShadowLimits,
    /// How fast one connection may ask about one thing.
    pub rates: RequestRates,
    /// How much waits for the store.
    pub scribe: ScribeLimits,
    /// How much is remembered of those that are watched.
    pub watcher: WatcherLimits,
}

/// A request about a shadow on its way to the worker that the thing belongs to.
#[derive(Debug)]
pub struct ShadowAsk {
    /// Which shadow.
    pub key: OwnedKey,
    /// What.
    pub ask: Ask,
    /// Who is to know when it is answered.
    pub asker: Asker,
    /// That its client has not connected again since; none if it has no connection.
    pub latest: Option<Check>,
}

/// Who is to know when a request is answered, besides those who subscribe to that.
#[derive(Debug)]
pub enum Asker {
    /// A worker of this process, whose client published it under this number.
    Worker(u8, u64),
    /// Somebody else in this process.
    Caller(oneshot::Sender<Result<String, Rejection>>),
}

/// A letter about shadows.
#[derive(Debug)]
pub enum ShadowMail {
    /// A request about a thing that belongs to this worker.
    Ask(Box<ShadowAsk>),
    /// A request of one of this worker's clients is answered.
    Answered(u64),
    /// What is stored of a shadow, as was asked.
    Read(OwnedKey, ShadowRead),
    /// Another gateway changed a shadow that somebody here watches: this is stored now.
    Changed(OwnedKey, Option<Bytes>),
}

/// What the store has of a shadow.
#[derive(Debug)]
pub enum ShadowRead {
    /// This record, or nothing.
    Found(Option<Bytes>),
    /// The same, and the thing may have one more named shadow, as long as what counts creations has this revision, or is not there.
    Room(Option<Bytes>, Option<Rev>),
    /// The same, and the thing may have no further named shadow.
    Full(Option<Bytes>),
    /// The store does not answer.
    Unavailable,
}

/// What a worker remembers of shadows.
#[derive(Debug)]
pub(crate) struct ShadowDesk {
    /// Does what is asked of the things of this worker.
    pub(super) scribe: Scribe,
    /// Tells of the things of this worker what other gateways made of them.
    pub(super) watcher: Watcher,
    /// The shadow that was read and may be created, and the revision of what counts creations; while the scribe is told of it.
    pub(super) room: Option<(OwnedKey, Option<Rev>)>,
    /// What is stored of those that were changed here lately.
    pub(super) remembered: RecentShadows,
    /// The shadow of which what is remembered is changed, and its revision; while the scribe is told of it.
    pub(super) base: Option<(OwnedKey, Rev)>,
    /// When it is next looked whether what it remembers is still watched.
    pub(super) sweeps_at: Duration,
    next: u64,
    /// Who is to know of what the scribe does, and what must be true of them if it is done late.
    pub(super) askers: HashMap<RequestNo, (Asker, Option<Check>)>,
    /// What clients of this worker published and is not answered yet: by whom, and about which thing.
    asking: HashMap<u64, (ConnId, Box<str>)>,
    /// Of those at QoS 2, by which packet ids: their exchanges are open once they are answered.
    pub(super) opening: HashMap<ConnId, Vec<PacketId>>,
    paces: HashMap<(ConnId, Box<str>), RequestPace>,
    /// How many paces there may be until those that say nothing are forgotten.
    most_paces: usize,
    /// Whose answers may go on.
    answered: Vec<ConnId>,
    /// Absences of this gateway after which the log was read, for this worker's shadows.
    pub(super) known: u64,
    /// After which it is being read.
    pub(super) looking: Option<u64>,
    /// What was written by routes that may have been too old.
    pub(super) unsure: BTreeSet<OwnedKey>,
    /// What of that is being said again.
    pub(super) repeating: BTreeSet<OwnedKey>,
}

/// Paces that are kept without a look whether they say anything.
const PACES: usize = 1_024;

impl ShadowDesk {
    pub(crate) fn new(rules: &ShadowRules) -> Self {
        let tombstone = rules.limits.tombstone;
        Self {
            scribe: Scribe::new(rules.limits, rules.scribe),
            watcher: Watcher::new(WatcherLimits { tombstone, ..rules.watcher }),
            room: None,
            remembered: RecentShadows::default(),
            base: None,
            sweeps_at: Duration::ZERO,
            next: 0,
            askers: HashMap::default(),
            asking: HashMap::default(),
            opening: HashMap::default(),
            paces: HashMap::default(),
            most_paces: PACES,
            answered: Vec::new(),
            known: 0,
            looking: None,
            unsure: BTreeSet::new(),
            repeating: BTreeSet::new(),
        }
    }

    /// Takes a request of a connection; none if it is one too many.
    pub(super) fn begin(
        &mut self,
        conn: ConnId,
        thing: ThingName<'_>,
        rates: &RequestRates,
        now: Now,
    ) -> Option<u64> {
        if self.paces.len() >= self.most_paces {
            self.paces.retain(|_, pace| !pace.is_idle(rates, now.mono));
            self.most_paces = PACES.max(self.paces.len().saturating_mul(2));
        }
        let thing: Box<str> = thing.as_str().into();
        let fresh = || RequestPace::new(rates, now.mono);
        let pace = self.paces.entry((conn, thing.clone())).or_insert_with(fresh);
        pace.begin(rates, now.mono).then(|| {
            self.next = self.next.wrapping_add(1);
            self.asking.insert(self.next, (conn, thing));
            self.next
        })
    }

    /// A request of one of this worker's clients is answered, or will never be asked.
    pub(super) fn end(&mut self, no: u64) {
        let Some((conn, thing)) = self.asking.remove(&no) else { return };
        let at = (conn, thing);
        if let Some(pace) = self.paces.get_mut(&at) {
            pace.end();
        }
        self.answered.push(conn);
    }

    /// Whether a request of one of this worker's clients is not answered yet.
    pub(super) fn is_asking(&self, no: u64) -> bool {
        self.asking.contains_key(&no)
    }

    /// The packet ids of a connection's requests at QoS 2 that are not answered.
    pub(crate) fn opening(&self, conn: ConnId) -> &[PacketId] {
        if self.opening.is_empty() {
            return &[];
        }
        self.opening.get(&conn).map_or(&[], Vec::as_slice)
    }

    /// A request at QoS 2 is answered: whether it was not yet.
    pub(super) fn take_opening(&mut self, conn: ConnId, id: PacketId) -> bool {
        let Some(ids) = self.opening.get_mut(&conn) else { return false };
        let Some(at) = ids.iter().position(|it| *it == id) else { return false };
        ids.remove(at);
        if ids.is_empty() {
            self.opening.remove(&conn);
        }
        true
    }

    /// A connection is over.
    pub(crate) fn forget(&mut self, conn: ConnId) {
        if !self.opening.is_empty() {
            self.opening.remove(&conn);
        }
    }

    pub(super) fn next_no(&mut self) -> RequestNo {
        self.next = self.next.wrapping_add(1);
        RequestNo(self.next)
    }

    pub(super) fn take_answered(&mut self) -> Option<ConnId> {
        self.answered.pop()
    }

    /// Whether nothing waits for an answer.
    pub(super) fn is_idle(&self) -> bool {
        self.asking.is_empty() && self.scribe.unanswered() == 0
    }
}

/// Which of a process's workers a thing belongs to: its requests meet there.
pub fn worker_of_thing(thing: ThingName<'_>, workers: usize) -> u8 {
    let spread = hash64(thing.as_str().as_bytes()) % u64::try_from(workers.max(1)).unwrap_or(1);
    u8::try_from(spread).unwrap_or(0)
}
