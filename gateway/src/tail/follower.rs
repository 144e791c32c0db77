//! Follows the log: tables and queue index up to date with every commit, in the one order of the fleet.

use std::collections::BTreeSet;
use std::sync::Arc;

use fanout::Retained;
use protocol::session::{DropReason, Owner, QueueLimits, SessionRecord};
use protocol::{
    ClientId, GatewayId, HashMap, HashSet, Incarnation, LogSeq, Position, Publication,
    SessionEpoch, SessionNo,
};
use shadow::OwnedKey;
use store::{Dropped, Entry, Pages, Put, QueueIndex, Reader, Rev, Space, StoreError, Terms};

use super::estates::Estates;
use super::fences::Fences;
use super::orders::ClientOrder;
use super::shadows::without_shadows;
use crate::hub::{Portion, Queued, Tables};

/// How the follower begins.
#[derive(Debug)]
pub struct Load {
    /// This gateway.
    pub gateway: GatewayId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Workers of this process.
    pub workers: usize,
    /// How much may wait for sessions that say nothing themselves.
    pub queue: QueueLimits,
    /// Messages that are kept of one session when they are acknowledged, if its client may go back.
    pub kept_messages: usize,
}

/// The log, applied.
#[derive(Debug)]
pub struct Follower {
    pub(super) gateway: GatewayId,
    incarnation: Incarnation,
    pub(super) workers: usize,
    pub(super) tables: Arc<Tables>,
    queue: QueueLimits,
    kept_messages: usize,
    pub(super) index: QueueIndex,
    pub(super) numbers: HashMap<ClientId, SessionNo>,
    /// Whose session documents are there and cannot be read.
    pub(super) unreadable: HashSet<ClientId>,
    /// The sessions that were known before everything is read anew.
    before: HashMap<ClientId, SessionNo>,
    /// The newest ownership of each session that the log spoke of.
    pub(super) epochs: HashMap<SessionNo, SessionEpoch>,
    /// Who serves the queues that are attached here, and the newest position when that began.
    pub(super) attached: HashMap<SessionNo, (u8, Position)>,
    /// Up to where sessions may have missed messages, as was told before they were claimed.
    pub(super) gaps_told: HashMap<SessionNo, Position>,
    /// The newest position that any commit spoke of.
    newest: Position,
    applied: LogSeq,
    /// Found by the entries of one commit and not fetched yet.
    pub(super) wanted: Vec<(SessionNo, Position, u8)>,
    /// What ended sessions leave to their shared groups.
    pub(super) estates: Estates,
    pub(super) fences: Fences,
    /// Shadows that others changed and that were not looked at yet.
    pub(super) shadows: BTreeSet<bytes::Bytes>,
    /// Everything is being read: workers are told to look at all they have, not at one after the other.
    pub(super) loading: bool,
    /// What the log tells has been counted when it happened.
    pub(super) replaying: bool,
    /// Commits read at a time; fewer in tests.
    pub(super) rows: usize,
}

/// What a worker must know of the log.
#[derive(Debug)]
pub enum Letter {
    /// A message of a queue that it serves.
    Queued(Queued),
    /// A client's session belongs to another gateway, or to nobody, in this ownership.
    Superseded(ClientId, SessionEpoch),
    /// A client's session was spoken of and is not there any more.
    Gone(ClientId),
    /// Something is wanted of whoever serves a client.
    Order(ClientId, ClientOrder),
    /// The log was trimmed before it was read: any session may be lost.
    Gap,
    /// Messages that a session left which is over, for other members of their shared groups.
    Returned(Portion),
    /// Everything of a queue that it serves was handed over, up to here.
    Passed(SessionNo, Position),
    /// Something is gone, up to here, of a queue that it serves, whose client was to have all of it.
    Interrupted(SessionNo, Position),
    /// What must leave queues, to be written down: it leaves when the log says so.
    Drops(Vec<Dropped>),
    /// The fence of a gateway that is not alive, to be raised.
    Fence(Put),
    /// So many messages left queues undelivered.
    Left(DropReason, u64),
    /// Another gateway changed a shadow that somebody watches here: this is stored now.
    Shadow(OwnedKey, Option<bytes::Bytes>),
}

/// Letters with their workers.
pub type Letters = Vec<(u8, Letter)>;

/// Documents read at a time.
const PAGE: usize = 1024;

impl Follower {
    /// Reads everything there is.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    pub fn load(
        load: Load,
        tables: Arc<Tables>,
        reader: &mut dyn Reader,
    ) -> Result<Self, StoreError> {
        let mut follower = Self {
            gateway: load.gateway,
            incarnation: load.incarnation,
            workers: load.workers,
            tables,
            queue: load.queue,
            kept_messages: load.kept_messages,
            index: QueueIndex::new(load.queue),
            numbers: HashMap::default(),
            unreadable: HashSet::default(),
            before: HashMap::default(),
            epochs: HashMap::default(),
            attached: HashMap::default(),
            gaps_told: HashMap::default(),
            newest: Position(0),
            applied: LogSeq(0),
            wanted: Vec::new(),
            estates: Estates::default(),
            fences: Fences::default(),
            shadows: BTreeSet::new(),
            loading: false,
            replaying: false,
            rows: 256,
        };
        follower.reload(reader, &mut Letters::new())?;
        Ok(follower)
    }

    /// Reads everything anew: at the start, and when the log was trimmed faster than it was followed. Sessions that are
    /// served here go on behind what they have seen, as `seen` says.
    fn reload(&mut self, reader: &mut dyn Reader, out: &mut Letters) -> Result<(), StoreError> {
        let (_, head) = reader.head()?;
        let first = reader.first_seq()?;
        if self.applied > LogSeq(0) {
            self.note_all_shadows(reader)?;
        }
        self.applied = LogSeq(first.0.saturating_sub(1));
        self.index = QueueIndex::new(self.queue).keeping(self.kept_messages, head);
        self.before.extend(std::mem::take(&mut self.numbers));
        self.unreadable.clear();
        self.estates.clear();
        self.fences.clear();
        // Nothing is known of what was not applied yet.
        self.newest = Position(0);
        self.tables.change_retained(|retained| *retained = Retained::default());
        self.epochs = HashMap::default();
        self.wanted.clear();
        self.loading = true;
        for space in [Space::Lease, Space::Session, Space::Retained, Space::Estate] {
            let mut pages = Pages::new(space, &[], PAGE);
            while let Some(page) = pages.next(reader)? {
                for (key, doc) in page {
                    self.apply_doc((space, &key, doc.rev), Some(doc.value), out);
                }
            }
        }
        self.loading = false;
        let before = std::mem::take(&mut self.before);
        self.forget_missing(before);
        // What ended meanwhile left nothing to read.
        out.extend((0..self.workers).filter_map(|w| Some((u8::try_from(w).ok()?, Letter::Gap))));
        // What is attached is served anew: workers skip what they have seen.
        let mut attached: Vec<SessionNo> = self.attached.keys().copied().collect();
        attached.sort_unstable();
        for session in attached {
            if self.index.whole(session).is_some() {
                // Whether all of it is still there, the answer to its next CONNECT says.
                self.interrupt(session, out);
            } else {
                self.index.attach(session, Position(0), crate::hub::CREDIT);
            }
        }
        self.replaying = true;
        let caught_up = self.catch_up(reader, out);
        self.replaying = false;
        self.settle(out);
        caught_up
    }

    /// The last commit that is applied.
    pub const fn applied(&self) -> LogSeq {
        self.applied
    }

    /// Reads and applies every commit that is not applied yet.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store; what was applied stays applied.
    pub fn catch_up(
        &mut self,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        if self.loading {
            // The store failed in the middle of it.
            return self.reload(reader, out);
        }
        loop {
            let rows = match reader.log_after(self.applied, self.rows) {
                Ok(rows) => rows,
                Err(StoreError::Gap { .. }) => {
                    tracing::warn!(
                        "the log was trimmed before it was followed; reading everything anew"
                    );
                    return self.reload(reader, out);
                }
                Err(other) => return Err(other),
            };
            // As many as were asked for: there may be more.
            let is_end = rows.len() < self.rows;
            for (seq, entries) in rows {
                self.apply_entries(entries, out);
                self.applied = seq;
            }
            self.fetch(reader, out)?;
            if is_end {
                self.settle_fence();
                self.complete_estates(reader)?;
                self.read_shadows(reader, out)?;
                return self.fetch(reader, out);
            }
        }
    }

    /// Applies a commit of this process, whose bodies are at hand, if it is the next one. Answers whether it was; if not,
    /// [`Self::catch_up`] does the rest.
    pub fn apply_own(
        &mut self,
        (prev, seq): (LogSeq, LogSeq),
        mut entries: Vec<Entry>,
        bodies: &HashMap<Position, Publication>,
        out: &mut Letters,
    ) -> bool {
        if prev != self.applied || !self.wanted.is_empty() {
            return false;
        }
        without_shadows(&mut entries);
        self.apply_entries(entries, out);
        self.applied = seq;
        if self.wanted.iter().any(|(_, position, _)| !bodies.contains_key(position)) {
            // Something older may go out again: all of it is read, so that it keeps its order.
            return false;
        }
        for (session, position, flags) in std::mem::take(&mut self.wanted) {
            self.address((session, position, flags), bodies.get(&position), out);
        }
        true
    }

    /// Serves a queue to a worker from behind a position.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    pub fn attach(
        &mut self,
        (session, after, credit): (SessionNo, Position, u32),
        worker: u8,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        self.attached.insert(session, (worker, self.newest));
        self.index.attach(session, after, 0);
        self.settle(out);
        let told = self.gaps_told.remove(&session);
        if told.is_some_and(|told| self.index.gap(session) > told) {
            // It left since its client was told that it gets all of it.
            self.interrupt(session, out);
            return Ok(());
        }
        self.pull(session, credit, reader, out)
    }

    /// Stops serving a queue.
    pub fn detach(&mut self, session: SessionNo) {
        self.attached.remove(&session);
        self.index.detach(session);
    }

    /// Serves more of a queue.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store.
    pub fn pull(
        &mut self,
        session: SessionNo,
        credit: u32,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        let mut found = Vec::new();
        if self.index.is_overtaken(session) {
            self.interrupt(session, out);
        }
        self.index.pull(session, credit, &mut found);
        self.wanted.extend(found.into_iter().map(|(position, flags)| (session, position, flags)));
        self.fetch(reader, out)
    }

    /// The first position that any queue still needs, or may need: nothing before it does any more. Nobody knows what
    /// sessions need that cannot be read.
    pub fn lowest(&self) -> Position {
        if self.loading || !self.unreadable.is_empty() || !self.estates.are_whole() {
            return Position(0);
        }
        self.index.lowest().unwrap_or(Position(self.newest.0 + 1))
    }

    /// Messages in a session's queue.
    pub fn queue_len(&self, session: SessionNo) -> usize {
        self.index.len(session)
    }

    pub(super) fn fetch(
        &mut self,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        if self.wanted.is_empty() {
            return Ok(());
        }
        let mut positions: Vec<_> = self.wanted.iter().map(|(_, position, _)| *position).collect();
        positions.sort_unstable();
        positions.dedup();
        let bodies: HashMap<_, _> = reader.bodies(&positions)?.into_iter().collect();
        for (session, position, flags) in std::mem::take(&mut self.wanted) {
            self.address((session, position, flags), bodies.get(&position), out);
        }
        Ok(())
    }

    /// Addresses a message to the worker that serves its queue, if one still does.
    fn address(
        &mut self,
        (session, position, flags): (SessionNo, Position, u8),
        publication: Option<&Publication>,
        out: &mut Letters,
    ) {
        if publication.is_none() && self.index.note_gone(session, position) {
            return self.interrupt(session, out);
        }
        if let (Some((worker, newest)), Some(publication)) =
            (self.attached.get(&session), publication)
        {
            let publication = publication.clone();
            let old = position <= *newest;
            out.push((
                *worker,
                Letter::Queued(Queued { session, position, flags, publication, old }),
            ));
        }
    }

    fn apply_entries(&mut self, entries: Vec<Entry>, out: &mut Letters) {
        for entry in entries {
            match entry {
                Entry::Refs { first, count, refs, outlines } => {
                    let last = Position(first.0 + u64::from(count.saturating_sub(1)));
                    self.newest = self.newest.max(last);
                    let wanted = &mut self.wanted;
                    let push = &mut |session, position, flags| {
                        wanted.push((session, position, flags));
                    };
                    self.index.apply_refs((first, count), &outlines, &refs, push);
                }
                Entry::Trim(trim) => {
                    if self.is_current(trim.session, trim.epoch) {
                        self.index.apply_trim(trim.session, trim.up_to);
                    }
                }
                Entry::Dropped(dropped) => self.apply_dropped(&dropped),
                Entry::Doc { space, key, rev, value } => {
                    self.apply_doc((space, &key, rev), value, out);
                }
            }
        }
        self.tables.set_newest(self.index.newest());
        self.settle(out);
    }

    fn apply_doc(
        &mut self,
        (space, key, rev): (Space, &[u8], Rev),
        value: Option<bytes::Bytes>,
        out: &mut Letters,
    ) {
        let text = std::str::from_utf8(key);
        match space {
            Space::Session => {
                if let Ok(client) = text {
                    self.apply_session(client, value.as_ref(), out);
                }
            }
            Space::Retained => {
                let message = value.and_then(|stored| Publication::decode_since(&stored));
                if let Ok(topic) = text {
                    self.tables.change_retained(|retained| retained.set(topic, message));
                }
            }
            Space::Estate => self.apply_estate(key, rev, value.as_ref()),
            Space::Shadow => self.note_shadow(key),
            Space::Lease => self.apply_fence(key, value.as_ref()),
            Space::Gateway
            | Space::Maintenance
            | Space::Counter
            | Space::Will
            | Space::Ban
            | Space::Thing => {}
            Space::Presence => self.apply_order(key, value.as_ref(), out),
        }
    }

    fn apply_session(&mut self, client: &str, value: Option<&bytes::Bytes>, out: &mut Letters) {
        let Ok(client) = ClientId::new(client) else { return };
        let record = match value.map(SessionRecord::decode) {
            Some(None) => return self.note_unreadable(client),
            readable => readable.flatten(),
        };
        self.unreadable.remove(&client);
        match &record {
            Some(record) => {
                self.tables.epochs().note(&client, record.epoch);
                self.note_owner(&client, record, out);
            }
            None if self.loading => {}
            // Whoever serves it here may have lost it: the entry may be about a claim elsewhere that is over already.
            None => out.push((self.worker_of(&client), Letter::Gone(client.clone()))),
        }
        let record = record.filter(|record| record.no.0 != 0);
        let known = self.numbers.get(&client).copied();
        if let Some(old) = known.filter(|old| record.as_ref().is_none_or(|r| r.no != *old)) {
            // What it leaves to its groups stays.
            if !self.estates.contains(old) {
                self.index.forget(old);
            }
            self.attached.remove(&old);
            self.epochs.remove(&old);
            self.gaps_told.remove(&old);
            self.numbers.remove(&client);
            self.tables.change_routes(|routes| routes.remove_durable(old));
        }
        let Some(record) = record else { return };
        let owned = record.owner.is_some();
        let terms = Terms { limits: record.queue, owned, sent: record.sent };
        if known != Some(record.no) {
            self.index.open(record.no, &terms);
            self.numbers.insert(client.clone(), record.no);
        }
        self.index.keep(record.no, record.shown.is_some());
        // What is acknowledged makes room before anything else has to.
        self.index.apply_trim(record.no, record.acknowledged);
        self.index.open(record.no, &terms);
        self.set_routes(&client, &record);
    }

    /// If somebody else owns a session that is served here, or owned it since, it is served here no longer.
    fn note_owner(&mut self, client: &ClientId, record: &SessionRecord, out: &mut Letters) {
        let numbered = record.no.0 != 0;
        let before = numbered.then(|| self.epochs.insert(record.no, record.epoch)).flatten();
        let ours =
            |owner: &Owner| owner.gateway == self.gateway && owner.incarnation == self.incarnation;
        let lost = match &record.owner {
            Some(owner) => !ours(owner),
            // Written off for a gateway that was thought dead, which may be this one.
            None => record.orphaned,
        };
        if lost {
            self.attached.remove(&record.no);
            self.index.detach(record.no);
        }
        // What we wrote off ourselves is of the ownership that we had.
        let elsewhere = record.owner.is_none() && before != Some(record.epoch);
        if (lost || elsewhere) && !self.loading {
            let letter = Letter::Superseded(client.clone(), record.epoch);
            out.push((self.worker_of(client), letter));
        }
    }
}
