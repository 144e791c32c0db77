//! How much work a turn of the worker does for one client before others get theirs: the only place that says so. Work is
//! counted in units, not in time, so that what happened can be played again.

use std::collections::VecDeque;

use fanout::Slot;
use protocol::mqtt::ReasonCode;
use protocol::session::StoredSubscription;
use protocol::{ClientId, HashMap};

use super::session::live::Live;
use super::traffic::subscribe::Gathered;
use super::{ConnId, Hub, Outlet, Turn};

/// Units of a turn.
const TURN: u32 = 512;

/// Bytes of a message that count for a unit.
const UNIT_BYTES: usize = 512;

/// Steps that the new topics of one connection's publications may take in a turn; the last one may go beyond.
const STEPS: usize = 4_096;
/// Steps that another shared group of one publication counts for: choosing a member, and saying which group gave it. The first
/// is part of the packet.
const GROUP_STEPS: usize = 8;

/// Pieces of work that are small enough for none of them to be cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Work {
    /// A packet of a connection, whatever it is: large batches are what makes publications cheap.
    Packet,
    /// A filter that a packet adds or takes, in all tables.
    Filter,
    /// A filter of a session that comes or goes.
    Entry,
    /// A filter of the session itself, whose shape is looked for.
    Shape,
    /// A retained message that is looked at.
    Look,
    /// A retained message that is sent.
    Message,
}

impl Work {
    const fn units(self) -> u32 {
        match self {
            Self::Packet | Self::Shape => 1,
            Self::Filter => 64,
            Self::Entry => 16,
            Self::Look => 2,
            Self::Message => 6,
        }
    }
}

/// What is left of a share of a turn.
#[derive(Debug)]
pub(in crate::hub) struct Share(u32);

impl Share {
    pub(in crate::hub) const fn whole() -> Self {
        Self(TURN)
    }

    /// The shares of so many.
    pub(in crate::hub) const fn of_many(count: u32) -> Self {
        Self(TURN.saturating_mul(count))
    }

    /// Whether there is anything left; if so, what the work costs is gone.
    pub(in crate::hub) const fn spend(&mut self, work: Work) -> bool {
        let any = self.0 > 0;
        self.0 = self.0.saturating_sub(work.units());
        any
    }

    /// What is copied costs too, however few pieces it is.
    pub(in crate::hub) fn spend_bytes(&mut self, bytes: usize) {
        self.0 = self.0.saturating_sub(u32::try_from(bytes / UNIT_BYTES).unwrap_or(u32::MAX));
    }

    pub(in crate::hub) const fn is_spent(&self) -> bool {
        self.0 == 0
    }
}

/// What was begun in one turn and goes on in others.
#[derive(Debug)]
pub(in crate::hub) struct Shares {
    /// Of the connection whose packets are handled.
    pub(in crate::hub) of_connection: Share,
    /// Of what goes on beside packets, for whomever it is.
    pub(in crate::hub) of_rest: Share,
    /// Packets of which a part is done.
    begun: HashMap<ConnId, Begun>,
    /// Sessions that are owed retained messages and wait for their turn.
    owed: VecDeque<Slot>,
    leftovers: VecDeque<Leftover>,
    /// Clients whose sessions are on their way into the tables.
    pub(in crate::hub) arriving: VecDeque<ClientId>,
}

/// What is done of a SUBSCRIBE or UNSUBSCRIBE.
#[derive(Debug, Default)]
pub(in crate::hub) struct Begun {
    /// The answers to its first filters.
    pub(in crate::hub) reasons: Vec<ReasonCode>,
    /// What came together with them.
    pub(in crate::hub) gathered: Gathered,
}

/// What a session that is gone still has in the tables. It keeps its place as long.
#[derive(Debug)]
struct Leftover {
    slot: Slot,
    durable: bool,
    subscriptions: Vec<StoredSubscription>,
}

/// So many subscriptions are entered into the tables at once when a session comes, and taken out when it goes.
pub(in crate::hub) const AT_ONCE: usize = 32;
/// Sessions whose subscriptions are taken out little by little. Of more, each goes at once: they would only pile up.
const LEFTOVERS: usize = 64;

impl Default for Shares {
    fn default() -> Self {
        Self {
            of_connection: Share::whole(),
            of_rest: Share::whole(),
            begun: HashMap::default(),
            owed: VecDeque::new(),
            leftovers: VecDeque::new(),
            arriving: VecDeque::new(),
        }
    }
}

impl Shares {
    /// Sessions that are gone but for their subscriptions, or not there yet for want of some.
    pub(in crate::hub) fn partly(&self) -> usize {
        self.leftovers.len() + self.arriving.len()
    }

    /// Whether a part of the packet at hand was done in an earlier turn.
    pub(in crate::hub) fn has_begun(&self, conn: ConnId) -> bool {
        !self.begun.is_empty() && self.begun.contains_key(&conn)
    }

    /// What was done of a packet.
    pub(in crate::hub) fn go_on(&mut self, conn: ConnId) -> Begun {
        if self.begun.is_empty() { Begun::default() } else { self.forget(conn).unwrap_or_default() }
    }

    /// The rest of a packet is left to the next turn of its connection.
    pub(in crate::hub) fn put_off(&mut self, conn: ConnId, begun: Begun) {
        self.begun.insert(conn, begun);
    }

    /// The connection is gone.
    pub(in crate::hub) fn forget(&mut self, conn: ConnId) -> Option<Begun> {
        self.begun.remove(&conn)
    }

    /// A session is owed more than there was time for. Once for each, until its turn comes.
    pub(in crate::hub) fn owe_later(&mut self, slot: Slot) {
        self.owed.push_back(slot);
    }
}

impl Hub {
    /// A connection's turn begins.
    pub(crate) const fn begin_share(&mut self) {
        self.shares.of_connection = Share::whole();
        self.cache.steps = 0;
    }

    /// Whether the connection may have another packet handled in this turn.
    pub(crate) const fn spend_on_packet(&mut self) -> bool {
        self.cache.steps <= STEPS && self.shares.of_connection.spend(Work::Packet)
    }

    /// A publication goes to so many shared groups.
    pub(in crate::hub) const fn charge_groups(&mut self, groups: usize) {
        let more = groups.saturating_sub(1).saturating_mul(GROUP_STEPS);
        self.cache.steps = self.cache.steps.saturating_add(more);
    }

    /// Whether something was begun that goes on beside packets.
    pub(crate) fn has_rest(&self) -> bool {
        !self.shares.owed.is_empty() || self.shares.partly() > 0 || self.untold.has_rest()
    }

    /// Goes on with what was begun, for as much as a turn may take.
    pub(crate) fn go_on(&mut self, cx: &mut Turn<'_>) {
        self.shares.of_rest = Share::whole();
        for _ in 0..self.shares.owed.len() {
            // Those for whom nothing is left come first in the next turn.
            if self.shares.of_rest.is_spent() {
                break;
            }
            let Some(slot) = self.shares.owed.pop_front() else { break };
            if let Some(owing) = self.sessions.get_mut(slot as usize).and_then(Live::owing_mut) {
                owing.is_next = false;
            }
            self.pump(slot, cx);
        }
        self.clear_leftovers(cx.out);
        self.go_on_entering(cx);
        self.go_on_with_untold(cx);
    }

    /// Takes the subscriptions of a session that is gone out of the tables, then gives its place to others.
    pub(in crate::hub) fn clear(
        &mut self,
        slot: Slot,
        durable: bool,
        subscriptions: Vec<StoredSubscription>,
        out: &mut dyn Outlet,
    ) {
        if subscriptions.len() <= AT_ONCE || self.shares.leftovers.len() >= LEFTOVERS {
            for subscription in &subscriptions {
                self.unsubscribe_here(slot, &subscription.filter, durable, out);
            }
            self.sessions.try_remove(slot as usize);
            return;
        }
        self.shares.leftovers.push_back(Leftover { slot, durable, subscriptions });
    }

    fn clear_leftovers(&mut self, out: &mut dyn Outlet) {
        while let Some(Leftover { slot, durable, subscriptions }) =
            self.shares.leftovers.front_mut()
        {
            let (slot, durable) = (*slot, *durable);
            let Some(subscription) = subscriptions.pop() else {
                self.shares.leftovers.pop_front();
                self.sessions.try_remove(slot as usize);
                continue;
            };
            self.unsubscribe_here(slot, &subscription.filter, durable, out);
            if !self.shares.of_rest.spend(Work::Entry) {
                return;
            }
        }
    }
}
