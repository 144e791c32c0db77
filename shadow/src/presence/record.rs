//! What the fleet knows of one client's connection.
//!
//! ```text
//!            arrive ──► Online ── leave ──────────────► Away
//!                      ▲   │                             ▲
//!   arrive, no event   │   └─ send ──► Moving ── late ───┘
//!                      └─────────────────┘
//! ```
//!
//! A client that is sent to another gateway, or whose gateway died, is neither gone nor new: nothing is told unless it stays
//! away for too long.

use std::time::Duration;

use protocol::{ClientId, GatewayId, Incarnation, Wall};

use super::past::Past;
use super::{DisconnectReason, EventKind, LifecycleEvent};

/// How many departures are remembered.
pub const MAX_DEPARTURES: usize = 10;

/// The record of one client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presence {
    /// Grows with every change: the fence of its stored form.
    pub(super) revision: u64,
    /// The version number of the latest connection; `None` before the first.
    pub(super) version: Option<u64>,
    /// What events call its latest connection: the session with which it began, wherever it moved since.
    pub(super) told: Box<str>,
    pub(super) now: Whereabouts,
    /// Which moves by drains are counted together, and how many they are.
    pub(super) moves: Moves,
    pub(super) past: Past,
}

/// How often drains moved a client, within some time from the first of these moves on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Moves {
    pub(super) since: Wall,
    pub(super) count: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Whereabouts {
    /// Not there.
    Away,
    /// There.
    Online(Arrival),
    /// On its way to another gateway, and there again before `until`, if all goes well.
    Moving { was: Arrival, until: Wall, why: DisconnectReason, plan: Box<str>, sent: Option<Sent> },
}

/// How a drain sends a client away, for whoever takes it in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sent {
    /// The gateways that it is told to go to, the first before the others; those that take it if its version is told none.
    pub named: Vec<GatewayId>,
    /// The level of its protocol: 3, 4 or 5.
    pub level: u8,
    /// Publications at `QoS` 0 that it got in a thousand seconds.
    pub at_most_once_per_1000_s: u32,
}

/// A connection that was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrival {
    /// Which connection, as a text that no other one has.
    pub session: Box<str>,
    /// Since when.
    pub since: Wall,
    /// Where it is held.
    pub gateway: GatewayId,
    /// By which life of that gateway.
    pub incarnation: Incarnation,
    /// Whom it speaks for.
    pub principal: Box<str>,
    /// Where it came from, without the port.
    pub address: Box<str>,
    /// The thing that it is, if known.
    pub thing: Option<Box<str>>,
    /// Whether it began without what was left of an earlier session.
    pub clean: bool,
    /// Seconds of silence that are allowed, before the half as much again; 0 is any.
    pub keep_alive_s: u16,
    /// Seconds that the session outlives the connection; `u32::MAX` for ever.
    pub expiry_s: u32,
}

/// A connection that ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// Which connection.
    pub session: Box<str>,
    /// From when.
    pub since: Wall,
    /// Until when.
    pub at: Wall,
    /// Why.
    pub reason: DisconnectReason,
    /// Where it was held.
    pub gateway: GatewayId,
}

/// How long things are remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PresenceLimits {
    /// A client that was away for longer begins again with version number 0.
    pub version_restarts_after: Duration,
}

impl Default for PresenceLimits {
    fn default() -> Self {
        Self { version_restarts_after: Duration::from_hours(1) }
    }
}

impl PresenceLimits {
    /// The version number of a connection, by that of the last one and when that ended.
    pub(super) fn next_version(
        &self,
        last: Option<u64>,
        away_since: Option<Wall>,
        now: Wall,
    ) -> u64 {
        let is_forgotten =
            away_since.is_some_and(|since| since.until(now) > self.version_restarts_after);
        match last {
            Some(version) if !is_forgotten => version.saturating_add(1),
            Some(_) | None => 0,
        }
    }
}

impl Presence {
    /// Of a client that was never here.
    pub fn never() -> Self {
        Self {
            revision: 0,
            version: None,
            told: Box::default(),
            now: Whereabouts::Away,
            moves: Moves::default(),
            past: Past::default(),
        }
    }

    /// The connection that it has; that of before while it moves.
    pub const fn connection(&self) -> Option<&Arrival> {
        match &self.now {
            Whereabouts::Away => None,
            Whereabouts::Online(arrival) | Whereabouts::Moving { was: arrival, .. } => {
                Some(arrival)
            }
        }
    }

    /// How its last connections ended, the latest first; at most [`MAX_DEPARTURES`].
    pub fn departures(&self) -> impl Iterator<Item = Departure> + '_ {
        self.past.all()
    }

    /// The version number of its latest connection.
    pub const fn version(&self) -> Option<u64> {
        self.version
    }

    /// Until when it may arrive before it counts as gone, if it is on its way.
    pub const fn expected_until(&self) -> Option<Wall> {
        match &self.now {
            Whereabouts::Moving { until, .. } => Some(*until),
            Whereabouts::Away | Whereabouts::Online(_) => None,
        }
    }

    /// Until when it may arrive, if a plan moved it: a drain.
    pub fn moved_until(&self) -> Option<Wall> {
        match &self.now {
            Whereabouts::Moving { until, plan, .. } if !plan.is_empty() => Some(*until),
            Whereabouts::Moving { .. } | Whereabouts::Away | Whereabouts::Online(_) => None,
        }
    }

    /// How a drain sent it away, if it is on its way, and which of its moves that is.
    pub const fn sent(&self) -> Option<(&Sent, u32)> {
        match &self.now {
            Whereabouts::Moving { sent: Some(sent), .. } => Some((sent, self.moves.count)),
            Whereabouts::Moving { .. } | Whereabouts::Away | Whereabouts::Online(_) => None,
        }
    }

    /// How often drains moved it, as far as that is counted, and when the first of these moves was.
    pub const fn moves(&self) -> (Wall, u32) {
        (self.moves.since, self.moves.count)
    }

    /// A connection was accepted. Who comes back from a move, or goes on at another life of a gateway, keeps version number
    /// and beginning, and nothing is told; whoever was there under the same id before is told of first.
    pub fn arrive(
        &mut self,
        client: &ClientId,
        arrival: Arrival,
        limits: &PresenceLimits,
    ) -> Vec<LifecycleEvent> {
        let mut events = Vec::new();
        events.extend(self.be_late(client, arrival.since));
        match std::mem::replace(&mut self.now, Whereabouts::Away) {
            Whereabouts::Moving { was, why, .. }
                if why != DisconnectReason::DuplicateClientId || !arrival.clean =>
            {
                return self.go_on(&was, arrival, events);
            }
            // Its gateway died, or did not let go in time.
            Whereabouts::Online(was)
                if (&was.gateway, was.incarnation) != (&arrival.gateway, arrival.incarnation) =>
            {
                return self.go_on(&was, arrival, events);
            }
            Whereabouts::Online(was) | Whereabouts::Moving { was, .. } => {
                let reason = DisconnectReason::DuplicateClientId;
                events.push(self.depart(client, was, reason, arrival.since, None));
            }
            Whereabouts::Away => {}
        }
        let away_since = self.departures().next().map(|departure| departure.at);
        let version = limits.next_version(self.version, away_since, arrival.since);
        let kind = EventKind::Connected { version, address: arrival.address.clone() };
        self.told = arrival.session.clone();
        events.push(self.event(client, &arrival, arrival.since, kind));
        self.version = Some(version);
        self.now = Whereabouts::Online(arrival);
        self.changed();
        events
    }

    fn go_on(
        &mut self,
        was: &Arrival,
        mut arrival: Arrival,
        events: Vec<LifecycleEvent>,
    ) -> Vec<LifecycleEvent> {
        arrival.since = was.since;
        self.now = Whereabouts::Online(arrival);
        self.changed();
        events
    }

    /// A connection ended. Nothing happens if another one took its place meanwhile, or if the client was sent away and
    /// is expected elsewhere.
    pub fn leave(
        &mut self,
        client: &ClientId,
        session: &str,
        reason: DisconnectReason,
        now: Wall,
    ) -> Option<LifecycleEvent> {
        let was = match std::mem::replace(&mut self.now, Whereabouts::Away) {
            Whereabouts::Online(was) if *was.session == *session => was,
            other @ (Whereabouts::Online(_) | Whereabouts::Moving { .. } | Whereabouts::Away) => {
                self.now = other;
                return None;
            }
        };
        Some(self.depart(client, was, reason, now, None))
    }

    /// It loses its connection and is expected at another gateway until then; should it not arrive, this is why it is gone. False
    /// if it is not there.
    pub fn send(&mut self, session: &str, why: DisconnectReason, until: Wall) -> bool {
        self.set_moving(session, (why, until), "", None)
    }

    /// The same, by a drain of that name. Answers which of its moves it is since the first one in the time within which they
    /// are counted together; none if it is not there.
    pub fn send_by(
        &mut self,
        drain: &str,
        session: &str,
        sent: Sent,
        (now, until): (Wall, Wall),
        within: Duration,
    ) -> Option<u32> {
        let why = DisconnectReason::ServerInitiatedDisconnect;
        if !self.set_moving(session, (why, until), drain, Some(sent)) {
            return None;
        }
        let Moves { since, count } = self.moves;
        self.moves = match count {
            1.. if since.until(now) <= within => Moves { since, count: count.saturating_add(1) },
            0.. => Moves { since: now, count: 1 },
        };
        Some(self.moves.count)
    }

    fn set_moving(
        &mut self,
        session: &str,
        (why, until): (DisconnectReason, Wall),
        drain: &str,
        sent: Option<Sent>,
    ) -> bool {
        match std::mem::replace(&mut self.now, Whereabouts::Away) {
            Whereabouts::Online(was) if *was.session == *session => {
                self.now = Whereabouts::Moving { was, until, why, plan: drain.into(), sent };
                self.changed();
                true
            }
            other @ (Whereabouts::Online(_) | Whereabouts::Moving { .. } | Whereabouts::Away) => {
                self.now = other;
                false
            }
        }
    }

    /// A client that was expected and did not arrive in time is gone.
    pub fn be_late(&mut self, client: &ClientId, now: Wall) -> Option<LifecycleEvent> {
        match std::mem::replace(&mut self.now, Whereabouts::Away) {
            Whereabouts::Moving { was, until, why, plan, .. } if until <= now => {
                let plan = Some(plan).filter(|plan| !plan.is_empty());
                Some(self.depart(client, was, why, until, plan))
            }
            other @ (Whereabouts::Online(_) | Whereabouts::Moving { .. } | Whereabouts::Away) => {
                self.now = other;
                None
            }
        }
    }

    /// Its next connection is one of which nothing is kept: the one that it had, or was to have, is over.
    pub fn give_way(&mut self, client: &ClientId, now: Wall) -> Option<LifecycleEvent> {
        match std::mem::replace(&mut self.now, Whereabouts::Away) {
            Whereabouts::Moving { was, until, why, plan, .. } => {
                let plan = Some(plan).filter(|plan| !plan.is_empty());
                Some(self.depart(client, was, why, until.min(now), plan))
            }
            Whereabouts::Online(was) => {
                let reason = DisconnectReason::DuplicateClientId;
                Some(self.depart(client, was, reason, now, None))
            }
            Whereabouts::Away => None,
        }
    }

    fn depart(
        &mut self,
        client: &ClientId,
        was: Arrival,
        reason: DisconnectReason,
        at: Wall,
        drain: Option<Box<str>>,
    ) -> LifecycleEvent {
        let version = self.version.unwrap_or(0);
        let kind = EventKind::Disconnected { version, reason, drain };
        let event = self.event(client, &was, at, kind);
        let (session, Arrival { since, gateway, .. }) = (self.told.clone(), was);
        self.past.push(&Departure { session, since, at, reason, gateway });
        self.changed();
        event
    }

    fn event(&self, client: &ClientId, of: &Arrival, at: Wall, kind: EventKind) -> LifecycleEvent {
        LifecycleEvent {
            client: client.clone(),
            at,
            session: self.told.clone(),
            principal: of.principal.clone(),
            thing: of.thing.clone(),
            kind,
        }
    }

    const fn changed(&mut self) {
        self.revision = self.revision.saturating_add(1);
    }
}
