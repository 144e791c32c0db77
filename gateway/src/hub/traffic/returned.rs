//! What a member of a shared group left unacknowledged goes to another member: a portion at once, the rest with the ticks.

use std::collections::VecDeque;
use std::sync::Arc;

use fanout::{GroupKey, Neighbour, Pick};
use protocol::{Publication, Refs, RefsBuilder, TopicFilter};
use store::Append;

use crate::hub::{Ask, Forward, Hub, Output, Record, SharedMember, Turn};

/// A message that was left, and the shared group that it goes back to, as written in SUBSCRIBE.
pub type Left = (Arc<str>, Publication);

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
    /// Messages of a session that is over go back to their groups.
    pub fn return_to_groups(&mut self, left: Vec<Left>) {
        self.returning.add(left);
    }

    /// Messages that wait to go back to their groups.
    pub fn to_give_back(&self) -> usize {
        self.returning.waiting.len()
    }

    /// Gives a portion of what waits to others.
    pub(crate) fn give_to_others(&mut self, cx: &mut Turn<'_>) {
        let mut bytes = 0;
        let mut stored = Vec::new();
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
        text: &str,
        publication: &Publication,
        cx: &mut Turn<'_>,
    ) -> Option<Append> {
        // It was a group when its members joined.
        let Ok((Some(share), filter)) = TopicFilter::parse_subscription(text) else { return None };
        let key = GroupKey { share, filter };
        let route = self.cache.get(publication.topic(), &self.table, &self.tables);
        let group = route.fleet.groups.iter().find(|(known, _)| *known == key);
        let picked = group.and_then(|(_, group)| self.pick_member(&route, group, publication.qos));
        let Some(picked) = picked else {
            self.metrics.dropped_no_member.add(1);
            return None;
        };
        match picked {
            Pick::Durable(session, granted) => {
                let mut refs = RefsBuilder::default();
                refs.push(session, Refs::shared(granted.min(publication.qos)));
                return Some(Append { body: publication.clone(), refs: refs.build() });
            }
            Pick::Neighbour(Neighbour::Worker(worker)) if worker == self.config.worker => {
                self.deliver_shared(publication, &[SharedMember(key)], cx);
            }
            Pick::Neighbour(neighbour) => {
                let forward = Forward {
                    publication: publication.clone(),
                    plain: false,
                    shared: [SharedMember(key)].into_iter().collect(),
                };
                cx.out.ask(match neighbour {
                    Neighbour::Worker(worker) => Ask::Workers(1 << worker, forward),
                    Neighbour::Peer(peer) => Ask::Peers(1 << peer, forward),
                });
            }
        }
        self.count_given_back(1);
        None
    }
}
