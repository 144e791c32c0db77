//! What waited for a member of a shared group whose session is over goes back to the group `[MQTT5-4.8.2]`.
//!
//! Every gateway sees the session end; the one that the client's id picks among those alive gives the messages back. While
//! the gateways disagree about who is alive nobody may, or two may: at QoS 1 a message may then come twice.

use fanout::GroupKey;
use protocol::{ClientId, GatewayId, Position, QoS, Refs, SessionNo, matches};
use store::{QueueIndex, Reader, StoreError};

use super::{Letter, Letters};
use crate::hub::Tables;

/// Messages that are on their way back to their groups.
#[derive(Debug, Default)]
pub(super) struct Returned {
    waiting: Vec<Return>,
}

/// What one session left.
#[derive(Debug)]
struct Return {
    worker: u8,
    groups: Vec<GroupKey>,
    positions: Vec<Position>,
}

/// Messages that are read at a time.
const PAGE: usize = 1024;

impl Returned {
    /// Notes what a session leaves that is about to be forgotten, if it is ours to give back. QoS 2 is nobody else's: it may
    /// have begun `[MQTT5-4.8.2-5]`.
    pub(super) fn note(
        &mut self,
        (client, session): (&ClientId, SessionNo),
        (tables, index): (&Tables, &QueueIndex),
        (me, worker): (&GatewayId, u8),
    ) {
        let groups = tables.routes().groups_of(session);
        if groups.is_empty() {
            return;
        }
        let live: Vec<GatewayId> = tables.gateways().iter().map(|g| g.id.clone()).collect();
        if maintenance::rendezvous(client, &live).is_some_and(|chosen| chosen != me) {
            return;
        }
        let waiting = index.waiting(session);
        let once = waiting.filter(|(_, flags)| Refs::qos(*flags) == QoS::AtLeastOnce);
        let positions: Vec<Position> = once.map(|(position, _)| position).collect();
        if !positions.is_empty() {
            self.waiting.push(Return { worker, groups, positions });
        }
    }

    /// Whether nothing waits to be read.
    pub(super) const fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// The oldest message that must not be deleted yet.
    pub(super) fn lowest(&self) -> Option<Position> {
        self.waiting.iter().filter_map(|left| left.positions.first().copied()).min()
    }

    /// Reads some of it and addresses it to the groups.
    pub(super) fn fetch(
        &mut self,
        reader: &mut dyn Reader,
        out: &mut Letters,
    ) -> Result<(), StoreError> {
        let Some(left) = self.waiting.last_mut() else { return Ok(()) };
        let rest = left.positions.split_off(left.positions.len().min(PAGE));
        let page = std::mem::replace(&mut left.positions, rest);
        for (_, publication) in reader.bodies(&page)? {
            let topic = publication.topic();
            for group in left.groups.iter().filter(|g| matches(g.filter.as_str(), topic)) {
                let returned = Letter::Returned(group.clone(), publication.clone());
                out.push((left.worker, returned));
            }
        }
        if left.positions.is_empty() {
            self.waiting.pop();
        }
        Ok(())
    }
}
