//! Receivers by topic, so that a publication costs one look-up while nobody subscribes.

use std::cell::Cell;
use std::rc::Rc;

use fanout::{FleetRoute, LocalRoute, SubscriptionTable};
use protocol::{HashMap, QoS};
use shadow::EVENTS;

use crate::hub::Tables;

/// Everyone who wants a topic.
#[derive(Debug)]
pub(in crate::hub) struct Route {
    pub(in crate::hub) local: LocalRoute,
    pub(in crate::hub) fleet: FleetRoute,
    /// The version of the worker's table that `local` is of.
    pub(in crate::hub) local_version: u64,
    /// The version of the process's routes that `fleet` is of, or an older one.
    pub(in crate::hub) fleet_version: u64,
    /// At QoS 0, 1 and 2: it is for nobody but plain subscribers of this process.
    passes: [bool; 3],
    /// Whose turn it is in the shared groups.
    turn: Cell<u64>,
}

impl Route {
    /// Whether anybody in the fleet gets a publication by it, or would if there were room in its queue.
    pub(in crate::hub) fn is_wanted(&self) -> bool {
        let FleetRoute { workers, peers, groups, missing, .. } = &self.fleet;
        let level = QoS::AtLeastOnce;
        !self.local.sessions.is_empty()
            || workers.of(level) != 0
            || peers.of(level) != 0
            || !groups.is_empty()
            || !missing.is_empty()
            || !self.fleet.refs_of(level).is_empty()
    }

    /// Whether a publication at this level is for nobody but plain subscribers of this process: nothing of it is stored, or goes
    /// anywhere else.
    pub(in crate::hub) fn passes(&self, level: QoS) -> bool {
        self.passes.get(usize::from(level.bits())).copied().unwrap_or_default()
    }

    pub(in crate::hub) fn next_turn(&self) -> u64 {
        let turn = self.turn.get();
        self.turn.set(turn.wrapping_add(1));
        turn
    }
}

/// The routes of the topics in use; emptied when any table changes, or when it is full.
#[derive(Debug)]
pub(in crate::hub) struct RouteCache {
    routes: HashMap<Box<str>, Rc<Route>>,
    local_version: u64,
    fleet_version: u64,
    limit: usize,
    /// Where the groups' turns go on after the cache was emptied.
    turns: u64,
    /// Whether anybody may want lifecycle events, by which versions of the tables.
    events: Option<(u64, u64, bool)>,
    /// Steps that were taken for topics that were not remembered, since a connection's turn began.
    pub(in crate::hub) steps: usize,
}

impl RouteCache {
    pub(in crate::hub) fn new(limit: usize) -> Self {
        Self {
            routes: HashMap::default(),
            local_version: 0,
            fleet_version: 0,
            limit,
            turns: 0,
            events: None,
            steps: 0,
        }
    }

    pub(in crate::hub) fn get(
        &mut self,
        topic: &str,
        local: &SubscriptionTable,
        fleet: &Tables,
    ) -> Rc<Route> {
        let fleet_version = fleet.routes_version();
        if self.local_version != local.version() || self.fleet_version != fleet_version {
            self.routes.clear();
            self.local_version = local.version();
            self.fleet_version = fleet_version;
        } else if let Some(route) = self.routes.get(topic) {
            return Rc::clone(route);
        }
        if self.routes.len() >= self.limit {
            self.routes.clear();
        }
        let route = self.look_up(topic, local, fleet);
        self.steps += route.fleet.steps;
        self.routes.insert(topic.into(), Rc::clone(&route));
        route
    }

    /// Whether anybody may want lifecycle events. As long as nobody does, none need be made and no table is looked at.
    pub(in crate::hub) fn may_want_events(
        &mut self,
        local: &SubscriptionTable,
        fleet: &Tables,
    ) -> bool {
        let versions = (local.version(), fleet.routes_version());
        match self.events {
            Some((of_local, of_fleet, wanted)) if (of_local, of_fleet) == versions => wanted,
            Some(_) | None => {
                let (first, second) = EVENTS;
                let wanted = local.may_want_under(first, second)
                    || fleet.routes().may_want_under(first, second);
                self.events = Some((versions.0, versions.1, wanted));
                wanted
            }
        }
    }

    /// As [`Self::get`], of a topic that need not be remembered: there are many of its kind, each seldom used.
    pub(in crate::hub) fn look_up(
        &mut self,
        topic: &str,
        local: &SubscriptionTable,
        fleet: &Tables,
    ) -> Rc<Route> {
        self.turns = self.turns.wrapping_add(1);
        let fleet_version = fleet.routes_version();
        let fleet = fleet.routes().route(topic);
        let passes = |level| {
            let all_told = level == QoS::AtMostOnce || fleet.missing.is_empty();
            let here = fleet.peers.of(level) == 0 && fleet.groups.is_empty();
            here && all_told && fleet.refs_of(level).is_empty()
        };
        Rc::new(Route {
            local: local.route(topic),
            local_version: local.version(),
            fleet_version,
            passes: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(passes),
            fleet,
            turn: Cell::new(self.turns),
        })
    }
}
