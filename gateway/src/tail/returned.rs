//! What waited for a member of a shared group whose session is over goes back to the group `[MQTT5-4.8.2]`.
//!
//! Every gateway sees the session end; the one that trims the log gives the messages back, since nobody else keeps it from
//! deleting them. While the gateways disagree about who that is nobody may, or two may: a message may then come twice.

use std::collections::VecDeque;
use std::sync::Arc;

use protocol::{GatewayId, Position, Refs, SessionNo, TopicFilter, matches};
use store::{QueueIndex, Reader, StoreError};

use super::{Letter, Letters};
use crate::hub::Tables;

/// Messages that are on their way back to their groups, by the session that left them.
#[derive(Debug, Default)]
pub(super) struct Returned {
    waiting: VecDeque<Return>,
}

/// What one session left, oldest first.
#[derive(Debug)]
struct Return {
    worker: u8,
    /// Filters, and the groups as they are written in SUBSCRIBE.
    groups: Vec<(TopicFilter, Arc<str>)>,
    positions: VecDeque<Position>,
}

/// Messages that are read at a time.
const PAGE: usize = 1024;

impl Returned {
    /// Notes what a session leaves that is about to be forgotten, if it is ours to give back: what a group gave it at QoS 1.
    /// QoS 2 is nobody else's: it may have begun `[MQTT5-4.8.2-5]`.
    pub(super) fn note(
        &mut self,
        session: SessionNo,
        (tables, index): (&Tables, &QueueIndex),
        (me, worker): (&GatewayId, u8),
    ) {
        let groups = tables.routes().groups_of(session);
        if groups.is_empty() || !tables.is_trimmer(me) {
            return;
        }
        let given = index.waiting(session).filter(|(_, flags)| Refs::is_returned(*flags));
        let positions: VecDeque<Position> = given.map(|(position, _)| position).collect();
        if !positions.is_empty() {
            let groups = groups.into_iter().map(|g| (g.filter.clone(), g.to_string().into()));
            let groups = groups.collect();
            self.waiting.push_back(Return { worker, groups, positions });
        }
    }

    /// Whether nothing waits to be read.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The oldest message that must not be deleted yet.
    pub(super) fn lowest(&self) -> Option<Position> {
        self.waiting.iter().filter_map(|left| left.positions.front().copied()).min()
    }

    /// Reads a page of what one session left and addresses it to the group. What cannot be read is tried again after
    /// what other sessions left.
    pub(super) fn fetch(
        &mut self,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        let Some(mut left) = self.waiting.pop_front() else { return Ok(()) };
        let page: Vec<Position> = left.positions.iter().take(PAGE).copied().collect();
        let bodies = match reader.bodies(&page) {
            Ok(bodies) => bodies,
            Err(error) => {
                self.waiting.push_back(left);
                return Err(error);
            }
        };
        left.positions.drain(..page.len());
        let back = bodies.into_iter().filter_map(|(_, publication)| {
            let topic = publication.topic();
            // Which of several groups gave it is not known; it goes to one of them.
            let (_, group) = left.groups.iter().find(|(f, _)| matches(f.as_str(), topic))?;
            Some((Arc::clone(group), publication))
        });
        out.push((left.worker, Letter::Returned(back.collect())));
        if !left.positions.is_empty() {
            self.waiting.push_front(left);
        }
        Ok(())
    }
}
