//! What a member of a shared group left unacknowledged goes to another member. What a member without a queue left waits in
//! memory: a portion goes at once, the rest with the ticks. What a persistent one left waits in the store, until a portion and
//! what is left then are one write.

use std::collections::VecDeque;
use std::sync::Arc;

use fanout::{GroupKey, Neighbour, Pick};
use protocol::{GroupTag, Publication, QoS, RefsBuilder, SessionNo, TopicFilter};
use store::{Append, Put, Rev};

use crate::hub::{Ask, Forward, Hub, Output, Record, SharedMember, Turn};
use crate::tail::fence_check;

/// A message that was left, and the shared group that it goes back to, as written in SUBSCRIBE.
pub type Left = (Arc<str>, Publication);

/// What a session left that is over: its number, and the revision of the document that says so.
pub type EstateAt = (SessionNo, Rev);

/// A portion of what a session left that is over.
#[derive(Debug)]
pub struct Portion {
    /// Of what.
    pub of: EstateAt,
    /// Its messages.
    pub left: Vec<Left>,
    /// What its document says once others have them.
    pub put: Put,
    /// It waits if a group has no member: one may still be on its way.
    pub early: bool,
}

/// Who gets a message that was left.
#[derive(Debug)]
enum Heir {
    /// A persistent member, through its queue, at a level; and by which group.
    Queue(SessionNo, QoS, GroupTag),
    /// A member without a queue that this neighbour serves.
    Member(Direct),
}

/// Messages for queues. What several groups gave is stored once, as when it came.
#[derive(Debug, Default)]
struct Queued {
    appends: Vec<Append>,
    /// The last message, and the last group that it goes back to.
    last: Option<(Publication, GroupTag)>,
    refs: RefsBuilder,
}

impl Queued {
    /// Adds a message for a session, at a level, by a group. The groups of one message come one after the other, ascending.
    fn add(
        &mut self,
        publication: Publication,
        (session, granted, tag): (SessionNo, QoS, GroupTag),
    ) {
        let goes_on = self.last.as_ref().is_some_and(|(last, before)| {
            std::ptr::eq(last.topic(), publication.topic()) && *before < tag
        });
        if !goes_on {
            self.close();
        }
        self.refs.push_shared(session, granted, tag);
        self.last = Some((publication, tag));
    }

    fn close(&mut self) {
        if let Some((body, _)) = self.last.take() {
            self.appends.push(Append { body, refs: self.refs.build() });
        }
    }

    fn end(mut self) -> Vec<Append> {
        self.close();
        self.appends
    }
}

/// A message that was left, for a member without a queue.
#[derive(Debug)]
pub struct Direct {
    to: Neighbour,
    member: SharedMember,
    publication: Publication,
}

/// What becomes of a portion once it is stored.
#[derive(Debug)]
pub struct Inherited {
    /// What it is a portion of.
    pub(crate) of: EstateAt,
    stored: usize,
    direct: Vec<Direct>,
    /// Messages of groups of which no member is left.
    nobodys: u64,
}

/// What goes back to shared groups, oldest first. It takes no more room than it did where it waited before.
#[derive(Debug, Default)]
pub(in crate::hub) struct Returning {
    waiting: VecDeque<Left>,
    /// Whether a portion goes when the step is over.
    due: bool,
}

/// Messages that go back in one step and one write.
const PORTION: usize = 1024;
/// Bytes that do: no message more once they are reached.
const PORTION_BYTES: usize = 4 << 20;

impl Returning {
    /// Adds what a member left. The first portion goes when the step is over.
    pub(in crate::hub) fn add(&mut self, left: Vec<Left>) {
        self.due |= self.waiting.is_empty() && !left.is_empty();
        self.waiting.extend(left);
    }

    /// Adds a message that nobody could take: it waits for the tick.
    pub(in crate::hub) fn wait(&mut self, left: Left) {
        self.waiting.push_back(left);
    }

    /// Another portion goes when the step is over, if something waits.
    pub(in crate::hub) fn go_on(&mut self) {
        self.due = !self.waiting.is_empty();
    }

    pub(in crate::hub) const fn is_due(&self) -> bool {
        self.due
    }

    pub(in crate::hub) const fn take_due(&mut self) -> bool {
        std::mem::replace(&mut self.due, false)
    }
}

impl Hub {
    /// Messages of a session that is over go to others, in one write with what is left of it then. If somebody else wrote that
    /// first nothing happens, and the log's follower hears of it as of every portion that is not stored.
    pub(crate) fn give_portion(&mut self, portion: Portion, cx: &mut Turn<'_>) {
        let of = portion.of;
        let mut inherited = Inherited { of, stored: 0, direct: Vec::new(), nobodys: 0 };
        let mut queued = Queued::default();
        // Before anybody is chosen.
        let fence = self.tables.routes().fence();
        for (group, publication) in portion.left {
            match self.heir(&group, &publication) {
                Some(Heir::Queue(session, granted, tag)) => {
                    inherited.stored += 1;
                    queued.add(publication, (session, granted, tag));
                }
                Some(Heir::Member(direct)) => inherited.direct.push(direct),
                None if portion.early => return cx.out.ask(Ask::NotGiven(of)),
                None => inherited.nobodys += 1,
            }
        }
        let appends = queued.end();
        if !appends.is_empty() {
            cx.fx.first(Record::Check(fence_check(self.name.clone(), fence)));
        }
        appends.into_iter().for_each(|append| cx.fx.first(Record::Append(append)));
        cx.fx.first(Record::Put(portion.put));
        cx.fx.then(Output::Inherited(Box::new(inherited)));
    }

    /// A portion is stored: who has no queue gets its part of it.
    pub(crate) fn handle_inherited(&mut self, inherited: Inherited, cx: &mut Turn<'_>) {
        self.count_given_back(inherited.stored + inherited.direct.len());
        self.metrics.dropped_no_member.add(inherited.nobodys);
        for direct in inherited.direct {
            self.hand_to(direct, cx);
        }
    }

    /// Messages that wait to go back to their groups.
    pub fn to_give_back(&self) -> usize {
        self.returning.waiting.len()
    }

    /// Gives a portion of what waits to others.
    pub(crate) fn give_to_others(&mut self, cx: &mut Turn<'_>) {
        let mut bytes = 0;
        let mut stored = Vec::new();
        let fence = self.tables.routes().fence();
        // What comes back meanwhile is not of this portion.
        for _ in 0..self.returning.waiting.len().min(PORTION) {
            let Some((group, publication)) = self.returning.waiting.pop_front() else { break };
            bytes += publication.len_bytes();
            if let Some(append) = self.give_to_another(&group, &publication, cx) {
                cx.fx.first(Record::Append(append));
                stored.push((group, publication));
            }
            if bytes >= PORTION_BYTES {
                break;
            }
        }
        if !stored.is_empty() {
            cx.fx.first(Record::Check(fence_check(self.name.clone(), fence)));
            cx.fx.then(Output::GivenBack(stored));
        }
    }

    /// The store did not take them: again with the next tick.
    pub(crate) fn give_again(&mut self, left: Vec<Left>) {
        for left in left.into_iter().rev() {
            self.returning.waiting.push_front(left);
        }
    }

    /// Others have so many more messages that were left.
    pub(crate) fn count_given_back(&self, messages: usize) {
        self.metrics.shared_returned.add(messages as u64);
    }

    /// Gives a message to another member, wherever it is served; answers what must be stored for that. If nobody is left it is
    /// nobody's.
    fn give_to_another(
        &mut self,
        group: &str,
        publication: &Publication,
        cx: &mut Turn<'_>,
    ) -> Option<Append> {
        match self.heir(group, publication) {
            Some(Heir::Queue(session, granted, tag)) => {
                let mut refs = RefsBuilder::default();
                refs.push_shared(session, granted, tag);
                return Some(Append { body: publication.clone(), refs: refs.build() });
            }
            Some(Heir::Member(direct)) => {
                self.hand_to(direct, cx);
                self.count_given_back(1);
            }
            None => self.metrics.dropped_no_member.add(1),
        }
        None
    }

    /// Chooses another member; none if nobody is left.
    fn heir(&mut self, text: &str, publication: &Publication) -> Option<Heir> {
        // It was a group when its members joined.
        let Ok((Some(share), filter)) = TopicFilter::parse_subscription(text) else { return None };
        let key = GroupKey { share, filter };
        let route = self.cache.get(publication.topic(), &self.table, &self.tables);
        // There may be very many, and a number is soon compared.
        let tag = GroupTag::of(text);
        let mut groups = route.fleet.groups.iter();
        let (_, group) = groups.find(|(known, group)| group.tag() == tag && *known == key)?;
        Some(match self.pick_member(&route, group, publication.qos)? {
            Pick::Durable(session, granted) => {
                Heir::Queue(session, granted.min(publication.qos), tag)
            }
            Pick::Neighbour(to) => {
                let publication = publication.clone();
                Heir::Member(Direct { to, member: SharedMember(key), publication })
            }
        })
    }

    fn hand_to(&mut self, direct: Direct, cx: &mut Turn<'_>) {
        let Direct { to, member, publication } = direct;
        if to == Neighbour::Worker(self.config.worker) {
            return self.deliver_shared(&publication, &[member], cx);
        }
        let forward = Forward { publication, plain: false, shared: [member].into_iter().collect() };
        cx.out.ask(match to {
            Neighbour::Worker(worker) => Ask::Workers(1 << worker, forward),
            Neighbour::Peer(peer) => Ask::Peers(1 << peer, forward),
        });
    }
}
