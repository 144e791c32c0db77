//! What waited for a member of a shared group whose session is over goes back to the group `[MQTT5-4.8.2]`.
//!
//! The write that ends a session puts a document, its estate, that says what of its queue was not acknowledged. From then on
//! every gateway keeps that part of the queue, and whatever is stored for the session all the same by a gateway that did not
//! know yet. One of the live gateways gives it to other members, a portion at a time: the messages and the estate's next form
//! in one write, at the revision that was read. So of two that think it is their turn one writes nothing, and whoever takes
//! over from one that died goes on where that one was.
//!
//! ```text
//!  the session ends ─► estate ── portion ──► estate ── portion ──► estate, nothing left
//!                                        every live gateway routes without the session, all others are fenced ─┴─► gone
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use protocol::session::{Estate, SessionRecord};
use protocol::{
    ClientId, GatewayId, GroupTag, HashMap, HashSet, LogSeq, Position, RefsBuilder, SessionNo,
    TopicFilter, matches,
};
use store::{Entry, Expect, Put, Reader, Rev, Space, StoreError, Terms};

use super::follower::{Follower, Letter, Letters};
use crate::commit::Progress;
use crate::hub::{EstateAt, Left, Portion, Tables};

/// The estates of the fleet.
#[derive(Debug, Default)]
pub(super) struct Estates {
    known: BTreeMap<SessionNo, Known>,
    /// Of the known ones, those to be looked at.
    due: BTreeSet<SessionNo>,
    /// Whose portions are on their way to the store.
    told: BTreeSet<SessionNo>,
    /// Those whose documents cannot be read: nobody knows what they need.
    damaged: BTreeSet<SessionNo>,
    /// How often they were looked at.
    looks: u64,
    /// The gateways that serve, as of the last look, and the look that found other ones before.
    serving: Vec<GatewayId>,
    steady_since: u64,
}

#[derive(Debug)]
struct Known {
    estate: Estate,
    rev: Rev,
    /// The commit that spoke of it first, or a later one: who has applied that routes nothing to the session any more.
    since: LogSeq,
    /// Whether all of its queue is known. If not, the log is read again for it.
    whole: bool,
    /// The look before it was heard of.
    first_look: u64,
    /// Up to here everything waits for a member, as the last looks found.
    waits: Position,
}

/// What goes to others in one portion.
#[derive(Debug, Default)]
struct Share {
    left: Vec<Left>,
    /// Of the messages up to the last one, those that stay in the estate, ascending.
    kept: Vec<Position>,
    /// The last one that it speaks of; without one the estate ends.
    last: Option<Position>,
}

/// The groups that a session was in to the end.
struct Own {
    filters: Vec<(TopicFilter, Arc<str>)>,
    by_tag: HashMap<GroupTag, Arc<str>>,
}

impl Own {
    fn of(estate: &Estate) -> Self {
        let parse = |text: &str| {
            let (_, filter) = TopicFilter::parse_subscription(text).ok()?;
            Some((filter, Arc::<str>::from(text)))
        };
        let filters: Vec<_> = estate.groups.iter().filter_map(|text| parse(text)).collect();
        let tagged = filters.iter().map(|(_, text)| (GroupTag::of(text), Arc::clone(text)));
        Self { by_tag: tagged.collect(), filters }
    }

    fn has_all(&self, tags: &[GroupTag]) -> bool {
        tags.iter().all(|tag| self.by_tag.contains_key(tag))
    }
}

/// The groups of a topic that somebody is in, by what their messages say of them: a session's own, and those that it left before
/// it ended and others are in.
#[derive(Default)]
struct Served {
    topic: Box<str>,
    groups: HashMap<GroupTag, Arc<str>>,
}

impl Served {
    fn look_up(&mut self, topic: &str, tables: &Tables) {
        if *self.topic == *topic {
            return;
        }
        let groups = tables.routes().route(topic).groups;
        let with_members = groups.iter().filter(|(_, group)| !group.is_empty());
        let named = with_members.map(|(key, group)| (group.tag(), key.to_string().into()));
        (self.topic, self.groups) = (topic.into(), named.collect());
    }
}

/// Messages that are read at a time, and copies of them, one for each group, after which no message more goes.
const PAGE: usize = 1024;
/// Bytes that are, and of the copies: no message more once they are reached.
const PAGE_BYTES: u64 = 4 << 20;
/// Portions of as many estates may be on their way to the store.
const UNDER_WAY: usize = 64;
/// So many messages may wait for members while what lies behind them is given to others: all of them stand in the estate then.
const HELD: usize = 16 * PAGE;
/// For so many looks, about a minute, a message waits for a member of its group: after a start, and after gateways came or went,
/// clients are still on their way back.
const GRACE: u64 = 60;
/// A group that nobody is in any more, and whose name nobody knows: who is to choose a member finds none.
const NOBODYS: &str = "";

/// The document that the end of a session leaves; none if nothing goes back to a group.
pub(crate) fn left_by(client: &ClientId, record: &SessionRecord) -> Option<Put> {
    let estate = Estate::of(client, record)?;
    let (key, value) = (Estate::key(record.no), Some(estate.encode()));
    Some(Put { space: Space::Estate, key, value, expect: Expect::Any, announce: true })
}

impl Estates {
    /// Forgets all of them: they are read anew.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn contains(&self, session: SessionNo) -> bool {
        self.known.contains_key(&session)
    }

    /// Whether it is known what all of them need.
    pub(super) fn are_whole(&self) -> bool {
        self.damaged.is_empty() && self.known.values().all(|known| known.whole)
    }

    /// Time has passed: all are looked at again, but those whose portions are on their way.
    fn look_again(&mut self, serving: Vec<GatewayId>) {
        self.looks += 1;
        if self.serving != serving {
            (self.serving, self.steady_since) = (serving, self.looks);
        }
        let known = self.known.keys().filter(|session| !self.told.contains(session));
        self.due.extend(known);
    }

    /// Whether members of the groups of one that was heard of at a look may still be on their way.
    fn is_early(&self, first_look: u64) -> bool {
        self.looks < first_look.max(self.steady_since) + GRACE
    }

    /// Up to where everything of one waits for members that may be on their way.
    fn waits_up_to(&self, session: SessionNo) -> Position {
        let known = self.known.get(&session).filter(|known| self.is_early(known.first_look));
        known.map_or(Position(0), |known| known.waits)
    }

    fn set_waits(&mut self, session: SessionNo, up_to: Position) {
        if let Some(known) = self.known.get_mut(&session) {
            known.waits = up_to;
        }
    }

    fn forget(&mut self, session: SessionNo) {
        self.known.remove(&session);
        self.due.remove(&session);
        self.told.remove(&session);
        self.damaged.remove(&session);
    }

    /// The next one that is this gateway's to give; those of others wait until they are looked at again. Who does not serve
    /// yet may not know what the peers' clients subscribe to, and gives nothing.
    fn next(&mut self, (me, tables): (&GatewayId, &Tables)) -> Option<SessionNo> {
        let gateways = tables.gateways();
        while self.told.len() < UNDER_WAY {
            let session = self.due.pop_first()?;
            let Some(known) = self.known.get(&session).filter(|known| known.whole) else {
                continue;
            };
            let serving = gateways.iter().filter(|gateway| gateway.serving);
            let serving = serving.map(|gateway| &gateway.id);
            if maintenance::rendezvous(&known.estate.client, serving) == Some(me) {
                return Some(session);
            }
        }
        None
    }
}

impl Known {
    /// The change of its document that goes with a portion up to a position but for what is kept, or its end.
    fn put(&self, session: SessionNo, given: Option<Position>, kept: &[Position]) -> Put {
        let value = given.map(|given| self.estate.after_but(given, kept).encode());
        let (key, expect) = (Estate::key(session), Expect::Rev(self.rev));
        Put { space: Space::Estate, key, value, expect, announce: true }
    }
}

impl Follower {
    /// Whether portions of estates may be due here.
    pub fn gives_back(&self) -> bool {
        !self.estates.due.is_empty() && self.estates.told.len() < UNDER_WAY
    }

    /// Gives back what is due, oldest first, a page at most. `everyone` says up to which commit every live gateway routes by
    /// what the log says.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store; what was not read is due on.
    pub fn give_back(
        &mut self,
        everyone: &Progress,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        let mut room = PAGE;
        let mut done = Vec::new();
        while room > 0
            && let Some(session) = self.estates.next((&self.gateway, &self.tables))
        {
            let mut page = self.page_of(session, room);
            room -= page.len();
            page.truncate(self.messages_of_a_portion(session, &page));
            if page.is_empty() {
                done.push(session);
            } else if let Err(error) = self.give(session, &page, reader, out) {
                self.estates.due.insert(session);
                return Err(error);
            }
        }
        done.retain(|session| {
            let known = self.estates.known.get(session);
            known.is_some_and(|known| known.since <= everyone.seq)
        });
        let since = done.iter().filter_map(|it| self.estates.known.get(it)).map(|it| it.since);
        let Some(since) = since.max() else { return Ok(()) };
        // With those that are not alive as well, which may still store what they routed before.
        if !self.holds_for_all(since, everyone.good_until, reader, out)? {
            return Ok(());
        }
        // Whatever was routed to the session is stored by now, and after this read it is known.
        self.estates.due.extend(&done);
        self.catch_up(reader, out)?;
        for session in done {
            if self.estates.due.remove(&session) && self.index.is_empty(session) {
                self.tell(session, Share::default(), out);
            }
        }
        Ok(())
    }

    /// What is looked at next of what one session left: behind what waits for members, and from the beginning again at the end.
    fn page_of(&mut self, session: SessionNo, room: usize) -> Vec<Position> {
        let behind = self.estates.waits_up_to(session);
        let page = self.index.page(session, behind, (room, PAGE_BYTES));
        if !page.is_empty() || behind == Position(0) {
            return page;
        }
        self.estates.set_waits(session, Position(0));
        self.index.page(session, Position(0), (room, PAGE_BYTES))
    }

    /// How many of a page's messages go at once: one message may go to very many groups, and then is a portion of its own.
    fn messages_of_a_portion(&self, session: SessionNo, page: &[Position]) -> usize {
        let mut copies = 0;
        let fits = page.iter().take_while(|at| {
            let room = copies < PAGE;
            copies += self.index.givers(session, **at).len().max(1);
            room
        });
        fits.count()
    }

    /// Reads a page of what one session left and sends it on its way. As long as members may be on their way, what has an heir
    /// does not wait for what has none.
    fn give(
        &mut self,
        session: SessionNo,
        page: &[Position],
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        let bodies = reader.bodies(page)?;
        let Some(known) = self.estates.known.get(&session) else { return Ok(()) };
        let early = self.estates.is_early(known.first_look);
        let own = Own::of(&known.estate);
        let mut share = Share { last: page.last().copied(), ..Share::default() };
        let mut served = Served::default();
        let (mut bytes, mut before) = (0, None);
        for (at, publication) in bodies {
            if bytes >= PAGE_BYTES {
                share.last = before;
                break;
            }
            before = Some(at);
            if early || !own.has_all(self.index.givers(session, at)) {
                served.look_up(publication.topic(), &self.tables);
            }
            let waits_for = early.then_some(&served);
            match self.groups_of((session, at), publication.topic(), (&own, &served), waits_for) {
                Some(groups) => {
                    bytes += (groups.len() * publication.len_bytes()) as u64;
                    share.left.extend(groups.into_iter().map(|group| (group, publication.clone())));
                }
                None => share.kept.push(at),
            }
        }
        let (behind, last) = (self.estates.waits_up_to(session), page.last());
        let up_to = |end: Position| {
            let mut held = self.index.page(session, Position(0), (HELD, u64::MAX));
            held.retain(|at| *at <= end);
            held
        };
        if share.kept.len() < page.len() {
            share.kept.splice(0..0, up_to(behind));
            self.tell(session, share, out);
        } else if let Some(last) = last {
            let fits = up_to(*last).len() < HELD;
            self.estates.set_waits(session, if fits { *last } else { Position(0) });
        }
        Ok(())
    }

    /// The groups that a message goes back to; none if it waits, since one of them has no member yet.
    fn groups_of(
        &self,
        (session, at): (SessionNo, Position),
        topic: &str,
        (own, served): (&Own, &Served),
        waits_for: Option<&Served>,
    ) -> Option<Vec<Arc<str>>> {
        let waits =
            |tag: &GroupTag| waits_for.is_some_and(|served| !served.groups.contains_key(tag));
        let givers = self.index.givers(session, at);
        if givers.is_empty() {
            // A version that did not say which group gave it: one of those that the session was in to the end.
            let found = own.filters.iter().find(|(filter, _)| matches(filter.as_str(), topic));
            let Some((_, group)) = found else { return Some(Vec::new()) };
            return (!waits(&GroupTag::of(group))).then(|| vec![Arc::clone(group)]);
        }
        let name = |tag: &GroupTag| {
            let known = own.by_tag.get(tag).or_else(|| served.groups.get(tag));
            (!waits(tag)).then(|| known.map_or_else(|| NOBODYS.into(), Arc::clone))
        };
        givers.iter().map(name).collect()
    }

    fn tell(&mut self, session: SessionNo, share: Share, out: &mut Letters) {
        let Some(known) = self.estates.known.get(&session) else { return };
        let Share { left, kept, last } = share;
        let (of, put) = ((session, known.rev), known.put(session, last, &kept));
        let early = self.estates.is_early(known.first_look);
        let worker = super::worker_of(&known.estate.client, self.workers);
        self.estates.told.insert(session);
        out.push((worker, Letter::Returned(Portion { of, left, put, early })));
    }

    /// A portion was not stored: what it was of is looked at again, unless somebody else changed that since.
    pub fn handle_not_given(&mut self, (session, rev): EstateAt) {
        if self.estates.known.get(&session).is_some_and(|known| known.rev == rev) {
            self.estates.told.remove(&session);
        }
    }

    /// Time has passed: who serves may have changed.
    pub(super) fn look_at_estates(&mut self) {
        let gateways = self.tables.gateways();
        let serving = gateways.iter().filter(|gateway| gateway.serving);
        self.estates.look_again(serving.map(|gateway| gateway.id.clone()).collect());
        self.fences.look_again();
    }

    /// An estate began, changed or is gone.
    pub(super) fn apply_estate(&mut self, key: &[u8], rev: Rev, value: Option<&Bytes>) {
        let Some(session) = Estate::session_of(key) else { return };
        let estate = match value.map(|stored| Estate::decode(stored)) {
            Some(Some(estate)) => estate,
            Some(None) => {
                tracing::error!(%session, "what this session left cannot be read, and stays");
                self.estates.damaged.insert(session);
                return;
            }
            None => {
                self.index.forget(session);
                return self.estates.forget(session);
            }
        };
        self.estates.told.remove(&session);
        self.estates.due.insert(session);
        if let Some(known) = self.estates.known.get_mut(&session) {
            if known.whole && estate != known.estate.after(estate.given) {
                // Some of it is given, and some before that is not.
                self.index.bury(session, |at| estate.holds(at));
            }
            self.index.apply_trim(session, estate.given);
            (known.estate, known.rev) = (estate, rev);
            return;
        }
        // Read late, its session may never have been seen here, or was forgotten with messages still to come.
        let whole = !self.loading && self.index.knows(session);
        if whole {
            self.index.bury(session, |at| estate.holds(at));
        }
        let since = LogSeq(self.applied().0 + 1);
        let first_look = self.estates.looks;
        let waits = Position(0);
        self.estates.known.insert(session, Known { estate, rev, since, whole, first_look, waits });
    }

    /// Reads the log again for the estates whose queues are not known whole. All of it is applied.
    ///
    /// # Errors
    /// [`StoreError`], by what is wrong with the store; they stay as they are.
    pub(super) fn complete_estates(&mut self, reader: &mut dyn Reader) -> Result<(), StoreError> {
        let of = self.estates.known.iter().filter(|(_, known)| !known.whole);
        let lacking: HashSet<SessionNo> = of.map(|(session, _)| *session).collect();
        if lacking.is_empty() {
            return Ok(());
        }
        for session in &lacking {
            self.index.forget(*session);
            self.index.open(*session, &Terms::NONE);
        }
        let mut after = LogSeq(reader.first_seq()?.0.saturating_sub(1));
        while after < self.applied() {
            let rows = reader.log_after(after, self.rows)?;
            let Some((last, _)) = rows.last() else { break };
            after = *last;
            let applied = self.applied();
            for (_, entries) in rows.into_iter().filter(|(seq, _)| *seq <= applied) {
                entries.iter().for_each(|entry| self.apply_to(&lacking, entry));
            }
        }
        // They were counted when they left.
        drop(self.index.take_drops());
        let since = self.applied();
        for (session, known) in &mut self.estates.known {
            if lacking.contains(session) {
                self.index.bury(*session, |at| known.estate.holds(at));
                (known.whole, known.since) = (true, since);
                self.estates.due.insert(*session);
            }
        }
        Ok(())
    }

    /// Applies what the log says of the queues of some sessions that are over. Whoever said it was their owner at that time,
    /// or acknowledged for their client.
    fn apply_to(&mut self, sessions: &HashSet<SessionNo>, entry: &Entry) {
        match entry {
            Entry::Refs { first, count, refs, outlines } => {
                let mut theirs = RefsBuilder::new();
                let found = refs.given().filter(|(session, ..)| sessions.contains(session));
                found.for_each(|one| theirs.push_given(one));
                if !theirs.is_empty() {
                    let at = (*first, *count);
                    self.index.apply_refs(at, outlines, &theirs.build(), &mut |_, _, _| {});
                }
            }
            Entry::Trim(trim) if sessions.contains(&trim.session) => {
                self.index.apply_trim(trim.session, trim.up_to);
            }
            Entry::Dropped(dropped) if sessions.contains(&dropped.session) => {
                self.index.apply_dropped(dropped, &mut Vec::new());
            }
            Entry::Trim(_) | Entry::Dropped(_) | Entry::Doc { .. } => {}
        }
    }
}
