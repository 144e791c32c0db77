//! A drain moves clients: which of them go first, and where each is sent.
//!
//! Who costs least to move goes first: idle persistent sessions of 5.0, which are told where to go; then those of 3.1.1;
//! then clean sessions, which end; then those with much in flight; at last those that came back here although they were sent
//! elsewhere, and those that were moved as often as they may be. Who has something open with its gateway when it is its turn has
//! some time to finish it. Members of one shared group go few at a time, so that the group keeps members that receive, and clients that stand
//! in for each other go at different times; a drain that forces waits for neither.

use std::time::Duration;

use fanout::Slot;
use maintenance::{DrainTurn, MoveWishes};
use protocol::mqtt::Version;
use protocol::{ClientId, GatewayId, HashMap, Now, hash64};
use shadow::{DisconnectReason, Presence, Sent};

use crate::hub::output::Farewell;
use crate::hub::session::live::Live;
use crate::hub::{Close, ConnId, Fx, Hub, Parting, WillFate};

/// Hand clients over to other gateways.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MoveOrder {
    /// How many.
    pub clients: usize,
    /// How many of them each gateway takes. Who is above that goes anywhere.
    pub to: Vec<(GatewayId, u32)>,
    /// Members of shared groups do not wait for each other.
    pub forced: bool,
    /// How they are moved, as far as whoever drains says; else as configured.
    pub wishes: MoveWishes,
}

impl MoveOrder {
    /// So many, wherever they like.
    pub const fn anywhere(clients: usize) -> Self {
        Self { clients, to: Vec::new(), forced: false, wishes: MoveWishes::NONE }
    }
}

/// Who is to be moved in which order, as it was when the list was made.
#[derive(Debug, Default)]
pub(in crate::hub) struct Departures {
    /// The next to go stands last.
    queue: Vec<Leaver>,
    /// How they are moved, as the last order said.
    wishes: MoveWishes,
    /// Who finishes what is under way, and until when; at most [`FINISHING`].
    finishing: HashMap<ConnId, Duration>,
}

/// Who is to go: how soon, and of which kind of stand-ins it is.
type Leaver = (Rank, ConnId, Option<u8>);

/// The lowest goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Idle,
    Older,
    Clean,
    Busy,
    Returned,
    Spent,
}

/// Exchanges in flight that make a client one of the last.
const BUSY: usize = 16;
/// Clients of one worker that finish what is under way at a time; those behind them wait for a place.
const FINISHING: usize = 1024;
/// Who has had its time and is not gone so long after it has it anew: somebody else held it back, or another drain.
const FINISHED: Duration = Duration::from_secs(10);

/// What a drain did with an order.
#[derive(Debug, Default)]
pub struct Departing {
    /// Who goes, and to which gateway by index.
    pub clients: Vec<(ConnId, Option<u8>)>,
    /// How many wait because other members of their shared group have just gone.
    pub held_back: usize,
}

impl Hub {
    /// Who goes next. The caller hands them over one by one and submits the effects.
    pub fn departing(&mut self, mut order: MoveOrder, now: Now) -> Departing {
        self.begin_order(order.wishes, now);
        let mut departing = Departing::default();
        let mut waiting = Vec::new();
        let mut fresh = false;
        while departing.clients.len() < order.clients {
            let Some(leaver @ (_, conn, kind)) = self.departures.queue.pop() else {
                if fresh || !waiting.is_empty() {
                    break;
                }
                fresh = true;
                self.departures.queue = self.line_up(now);
                self.tables.set_members(self.config.worker, &self.count_members(), now.mono);
                continue;
            };
            let apart = kind.is_some_and(|kind| !self.config.stand_ins.may_go(kind, now.wall));
            if apart && !order.forced {
                waiting.push(leaver);
                continue;
            }
            let Some((_, slot)) = self.attached(conn) else { continue };
            if fresh && departing.clients.iter().any(|(other, _)| *other == conn) {
                continue;
            }
            if !order.forced && !self.has_finished((conn, slot), now) {
                waiting.push(leaver);
                if self.departures.finishing.len() >= FINISHING {
                    break;
                }
                continue;
            }
            let Some(live) = self.sessions.get(slot as usize).filter(|live| !live.leaving) else {
                continue;
            };
            if !order.forced && !self.tables.may_depart(&groups(live), now) {
                waiting.push(leaver);
                continue;
            }
            let to = choose(&live.client, &mut order.to);
            let to = to.and_then(|id| self.tables.peer_index(&id));
            departing.clients.push((conn, to));
        }
        let missing = order.clients - departing.clients.len();
        departing.held_back = missing.min(waiting.len());
        // They are the next again, in their order.
        self.departures.queue.extend(waiting.into_iter().rev());
        departing
    }

    /// All at once, since the process ends.
    pub fn everyone(&self, now: Now) -> Vec<(ConnId, Option<u8>)> {
        self.line_up(now).into_iter().rev().map(|(_, conn, _)| (conn, None)).collect()
    }

    fn begin_order(&mut self, wishes: MoveWishes, now: Now) {
        self.departures.wishes = wishes;
        let mut finishing = std::mem::take(&mut self.departures.finishing);
        let is_past = |until: Duration| now.mono >= until.saturating_add(FINISHED);
        finishing.retain(|conn, until| self.attached(*conn).is_some() && !is_past(*until));
        self.departures.finishing = finishing;
    }

    /// Whether a client has nothing open with this gateway, or has had its time to finish it; that begins when it is asked first.
    fn has_finished(&mut self, (conn, slot): (ConnId, Slot), now: Now) -> bool {
        let flush = self.departures.wishes.flush.unwrap_or(self.config.flush);
        if flush.is_zero() || !self.has_open(conn, slot) {
            return true;
        }
        let finishing = &mut self.departures.finishing;
        match finishing.get(&conn) {
            Some(until) => now.mono >= *until,
            None if finishing.len() < FINISHING => {
                finishing.insert(conn, now.mono.saturating_add(flush));
                false
            }
            None => false,
        }
    }

    /// Whether it has not acknowledged all that it was sent, has not ended what it began to send, or is in the midst of a packet.
    fn has_open(&self, conn: ConnId, slot: Slot) -> bool {
        let session = self.sessions.get(slot as usize).map(|live| &live.session);
        let exchanges =
            session.is_some_and(|it| !it.inflight().is_empty() || !it.inbound().is_empty());
        exchanges || self.connection(conn).is_some_and(|it| it.begun.is_some())
    }

    /// Freezes one client and writes its session off; the redirect follows when that is stored.
    pub fn hand_over(&mut self, (conn, to): (ConnId, Option<u8>), now: Now, fx: &mut Fx) {
        let Some((_, slot)) = self.attached(conn) else { return };
        self.departures.finishing.remove(&conn);
        self.metrics.drain_unfinished.add(self.has_open(conn, slot).into());
        self.metrics.drain_moves_beyond.add(self.has_spent(slot, now).into());
        let close = Some((conn, Close::Redirect(to)));
        let parting = Parting::Moving(DisconnectReason::ServerInitiatedDisconnect);
        let sent = self.sent(conn, slot, to, now).map(Box::new);
        let farewell = Farewell { close, sent, parting, ..Farewell::default() };
        let said = self.departures.wishes.takeover_wait;
        let waits = self.config.takeover_wait.map(|own| said.unwrap_or(own));
        let fate = waits.map_or(WillFate::Due, WillFate::Parked);
        self.give_up(slot, fate, farewell, now, fx);
    }

    /// How a client is sent away. Before 5.0 it is told nowhere to go: then only who takes it is named.
    fn sent(&self, conn: ConnId, slot: Slot, to: Option<u8>, now: Now) -> Option<Sent> {
        let connection = self.connection(conn)?;
        let (me, client) = (&self.config.gateway, &connection.client);
        let mut named = self.tables.referred(me, client, connection.secure, to);
        if connection.version != Version::V5 {
            named.truncate(usize::from(to.is_some()));
        }
        // Whose messages at QoS 0 are stored misses none of them.
        let stored = self.sessions.get(slot as usize).is_some_and(|live| live.positions.is_some());
        let per_1000_s = if stored { 0 } else { self.flows.per_1000_s(conn.index, now.mono) };
        let level = connection.version.level();
        Some(Sent { named, level, at_most_once_per_1000_s: per_1000_s })
    }

    /// A client was moved: what its last write says is so.
    pub(in crate::hub) fn count_moved(&mut self, farewell: &Farewell) {
        self.moved.moved += 1;
        self.moved.taken += u64::from(farewell.stored.is_none());
        if let Some(nth) = farewell.nth.filter(|_| farewell.stored.is_some()) {
            self.moved.again += u64::from(nth > 1);
            self.metrics.count_move(nth);
        }
    }

    /// How many could be moved now.
    pub fn movable(&self) -> usize {
        self.sessions_len().saturating_sub(self.giving_up.len())
    }

    /// Counts what an order asked for and was not there, or must wait.
    pub const fn count_not_moved(&mut self, gone: usize, held_back: usize) {
        self.moved.failed += gone as u64;
        self.moved.held_back += held_back as u64;
    }

    /// Whether it was moved as often as the last order lets a client be.
    fn has_spent(&self, slot: Slot, now: Now) -> bool {
        let Some(budget) = self.departures.wishes.per_device else { return false };
        let presence = self.sessions.get(slot as usize).and_then(|live| live.presence.as_deref());
        let moves = presence.and_then(Presence::decode_own).map(|presence| presence.moves());
        moves.is_some_and(|moves| budget.is_spent(moves, now.wall))
    }

    fn line_up(&self, now: Now) -> Vec<Leaver> {
        let attached = self.sessions.iter().filter(|(_, live)| !live.leaving);
        let kind = |live: &Live| self.config.stand_ins.kind(live.client.as_str());
        let rank = |slot: usize, live: &Live| match Slot::try_from(slot) {
            Ok(slot) if self.has_spent(slot, now) => Rank::Spent,
            Ok(_) | Err(_) => self.rank(live),
        };
        let leaver = |(slot, live): (usize, &Live)| (rank(slot, live), live.conn, kind(live));
        let mut queue: Vec<_> = attached.map(leaver).collect();
        queue.sort_unstable_by_key(|(rank, conn, _)| {
            std::cmp::Reverse((*rank, conn.life, conn.index))
        });
        queue
    }

    /// Members of shared groups here, by hash of group.
    fn count_members(&self) -> HashMap<u64, u32> {
        let mut members = HashMap::default();
        for (_, live) in self.sessions.iter().filter(|(_, live)| !live.leaving) {
            for group in groups(live) {
                *members.entry(group).or_default() += 1;
            }
        }
        members
    }

    fn rank(&self, live: &Live) -> Rank {
        let connection = self.connection(live.conn);
        let older = connection.is_some_and(|it| it.version != Version::V5);
        match (live.durable(), older) {
            _ if connection.is_some_and(|it| it.returned) => Rank::Returned,
            _ if live.session.inflight().len() >= BUSY => Rank::Busy,
            (false, _) => Rank::Clean,
            (true, true) => Rank::Older,
            (true, false) => Rank::Idle,
        }
    }
}

/// The shared groups that a session is in, by hash.
fn groups(live: &Live) -> Vec<u64> {
    let shared = live.subscriptions.iter().filter(|it| it.filter.starts_with("$share/"));
    shared.map(|it| hash64(it.filter.as_bytes())).collect()
}

/// One of the gateways that still take somebody: the one that this client would be sent to by all.
fn choose(client: &ClientId, to: &mut [(GatewayId, u32)]) -> Option<GatewayId> {
    let taking = to.iter().filter(|(_, left)| *left > 0).map(|(id, _)| id);
    let chosen = maintenance::rendezvous(client, taking)?.clone();
    if let Some((_, left)) = to.iter_mut().find(|(id, _)| *id == chosen) {
        *left -= 1;
    }
    Some(chosen)
}

/// How many members shared groups have here and when some were last moved, by hash of group; of all workers.
#[derive(Debug, Default)]
pub(in crate::hub) struct GroupDepartures {
    groups: HashMap<u64, Group>,
    /// When this gateway may take from groups of which it has few members.
    turn: DrainTurn,
    /// No member goes before that: by then every gateway that is emptied knows of the others.
    from: Duration,
}

#[derive(Debug, Default)]
struct Group {
    /// By worker, as it counted them when it listed its clients.
    members: Vec<(u8, u32)>,
    /// When the first of those that have just gone went, and how many they are.
    since: Duration,
    gone: u32,
}

/// Time between some members of one shared group and the next: moved clients are back by then, as a rule.
const BETWEEN_MEMBERS: Duration = Duration::from_millis(250);
/// In so many parts a large group goes: one of any size is through in ten seconds if the pace allows it.
const TIMES: u32 = 20;

impl GroupDepartures {
    /// What a worker has counted takes the place of what it counted before.
    pub(in crate::hub) fn set_members(
        &mut self,
        worker: u8,
        counted: &HashMap<u64, u32>,
        now: Duration,
    ) {
        self.groups.retain(|_, group| {
            group.members.retain(|(of, _)| *of != worker);
            !group.members.is_empty() || !group.rests(now)
        });
        for (group, members) in counted {
            self.groups.entry(*group).or_default().members.push((worker, *members));
        }
    }

    /// This gateway takes turns with others that are emptied, from that moment on.
    pub(in crate::hub) const fn set_turn(&mut self, turn: DrainTurn, from: Duration) {
        (self.turn, self.from) = (turn, from);
    }

    /// Whether a member of all these groups may go now; then it goes.
    pub(in crate::hub) fn may_depart(&mut self, groups: &[u64], now: Now) -> bool {
        let (turn, wall, now) = (self.turn, now.wall, now.mono);
        if now < self.from {
            return false;
        }
        let waits = |group: &Group| {
            (!group.rests(now) && group.gone >= group.at_once())
                || (group.members() < TIMES && !turn.may_go(wall))
        };
        if groups.iter().filter_map(|group| self.groups.get(group)).any(waits) {
            return false;
        }
        for group in groups {
            let group = self.groups.entry(*group).or_default();
            if group.rests(now) {
                (group.since, group.gone) = (now, 0);
            }
            group.gone += 1;
        }
        true
    }
}

impl Group {
    /// Whether nobody has just gone.
    fn rests(&self, now: Duration) -> bool {
        self.gone == 0 || now >= self.since + BETWEEN_MEMBERS
    }

    /// How many may go at a time.
    fn at_once(&self) -> u32 {
        (self.members() / TIMES).max(1)
    }

    fn members(&self) -> u32 {
        self.members.iter().map(|(_, members)| members).sum()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use protocol::Wall;

    use super::*;

    const GROUP: u64 = 7;

    /// One of several gateways that are emptied at once, with so many members of the group.
    fn emptied(members: u32, turn: DrainTurn) -> GroupDepartures {
        let mut departures = GroupDepartures::default();
        departures.set_turn(turn, Duration::ZERO);
        departures.set_members(0, &HashMap::from_iter([(GROUP, members)]), Duration::ZERO);
        departures
    }

    proptest! {
        #[test]
        fn gateways_that_are_emptied_at_once_take_one_of_a_small_group_at_a_time_in_all(
            members in prop::collection::vec(1_u32..6, 2..5),
            ticks in prop::collection::vec(1_u64..120, 4_000),
            start in 0_u64..1 << 45,
        ) {
            let of = u32::try_from(members.len()).unwrap();
            let mut gateways: Vec<_> = members
                .iter()
                .zip(0..)
                .map(|(members, place)| (*members, emptied(*members, DrainTurn { place, of })))
                .collect();
            let (mut at, mut gone) = (0, Vec::new());
            for tick in ticks {
                at += tick;
                for (place, (left, departures)) in gateways.iter_mut().enumerate() {
                    let now = Now { mono: Duration::from_millis(at), wall: Wall(start + at) };
                    if *left > 0 && departures.may_depart(&[GROUP], now) {
                        *left -= 1;
                        gone.push((place, at));
                    }
                }
            }
            prop_assert!(gateways.iter().all(|(left, _)| *left == 0), "somebody is held for ever");
            for pair in gone.windows(2) {
                prop_assert!(pair[0].1 + 250 <= pair[1].1, "{pair:?}");
            }
        }
    }

    #[test]
    fn nobody_of_a_group_goes_before_others_know_of_the_drain() {
        let mut departures = emptied(40, DrainTurn::default());
        departures.set_turn(DrainTurn::default(), Duration::from_millis(500));
        let may = |departures: &mut GroupDepartures, ms| {
            let now = Now { mono: Duration::from_millis(ms), wall: Wall(ms) };
            departures.may_depart(&[GROUP], now)
        };
        assert!(!may(&mut departures, 499));
        assert!(may(&mut departures, 500) && may(&mut departures, 500));
        assert!(!may(&mut departures, 501), "two of forty have gone");
    }
}
