//! Receivers by topic, so that a publication costs one look-up while nobody subscribes to what it is about.

use std::cell::Cell;
use std::rc::Rc;

use fanout::{FleetRoute, LocalRoute, Remembered, SubscriptionTable};
use protocol::QoS;
use shadow::EVENTS;

use crate::hub::Tables;

/// Everyone who wants a topic.
#[derive(Debug)]
pub(in crate::hub) struct Route {
    pub(in crate::hub) local: LocalRoute,
    pub(in crate::hub) fleet: FleetRoute,
    /// The versions that it is of; or older ones, between which and these nothing changed for its topic.
    pub(in crate::hub) of: Versions,
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

/// Versions of the worker's table and of the process's routes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hub) struct Versions {
    local: u64,
    fleet: u64,
}

impl Versions {
    /// Those that stand now.
    pub(in crate::hub) fn now(local: &SubscriptionTable, fleet: &Tables) -> Self {
        Self { local: local.changes().version(), fleet: fleet.routes_version() }
    }
}

/// Spreads numbers that follow each other: 2^64 by the golden ratio, odd.
const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;

/// The routes of the topics in use.
#[derive(Debug)]
pub(in crate::hub) struct RouteCache {
    routes: Remembered<Rc<Route>, Versions>,
    /// Who of this worker wants topics for which others found the way.
    local: Remembered<Rc<LocalRoute>, u64>,
    /// Where the turns of the groups of the next topic begin.
    turns: u64,
    /// Whether anybody may want lifecycle events, as of when.
    events: Option<(Versions, bool)>,
    /// Steps that were taken for topics that were not remembered, since a connection's turn began.
    pub(in crate::hub) steps: usize,
}

impl RouteCache {
    pub(in crate::hub) fn new(limit: usize) -> Self {
        let (routes, local) = (Remembered::new(limit), Remembered::new(limit));
        Self { routes, local, turns: 0, events: None, steps: 0 }
    }

    /// Remembers at most so many topics from now on, and as many of others.
    pub(in crate::hub) fn set_limit(&mut self, limit: usize) {
        self.routes.set_limit(limit);
        self.local.set_limit(limit);
    }

    pub(in crate::hub) fn get(
        &mut self,
        topic: &str,
        local: &SubscriptionTable,
        fleet: &Tables,
    ) -> Rc<Route> {
        let now = Versions::now(local, fleet);
        let known = self.routes.get(topic, now, |beginnings, since| {
            local.changes().is_good(beginnings, since.local)
                && fleet.changes().is_good(beginnings, since.fleet)
        });
        if let Some(route) = known {
            return Rc::clone(route);
        }
        let route = self.look_up(topic, local, fleet);
        self.steps += route.fleet.steps;
        self.routes.put(topic, route.of, Rc::clone(&route));
        route
    }

    /// Who of this worker wants a topic, where others found the way to it.
    pub(in crate::hub) fn local(
        &mut self,
        topic: &str,
        local: &SubscriptionTable,
    ) -> Rc<LocalRoute> {
        let now = local.changes().version();
        let is_good = |topic: &_, since| local.changes().is_good(topic, since);
        if let Some(route) = self.local.get(topic, now, is_good) {
            return Rc::clone(route);
        }
        let route = Rc::new(local.route(topic));
        self.local.put(topic, now, Rc::clone(&route));
        route
    }

    /// Whether anybody may want lifecycle events. As long as nobody does, none need be made and no table is looked at.
    pub(in crate::hub) fn may_want_events(
        &mut self,
        local: &SubscriptionTable,
        fleet: &Tables,
    ) -> bool {
        let now = Versions::now(local, fleet);
        match self.events {
            Some((of, wanted)) if of == now => wanted,
            Some(_) | None => {
                let (first, second) = EVENTS;
                let wanted = local.may_want_under(first, second)
                    || fleet.routes().may_want_under(first, second);
                self.events = Some((now, wanted));
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
        let of = Versions::now(local, fleet);
        let fleet = fleet.routes().route(topic);
        let passes = |level| {
            let all_told = level == QoS::AtMostOnce || fleet.missing.is_empty();
            let here = fleet.peers.of(level) == 0 && fleet.groups.is_empty();
            here && all_told && fleet.refs_of(level).is_empty()
        };
        Rc::new(Route {
            local: local.route(topic),
            of,
            passes: [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce].map(passes),
            fleet,
            // Not one behind the other: topics that are looked up in turn would each have members of their own.
            turn: Cell::new(self.turns.wrapping_mul(SPREAD) >> 32),
        })
    }
}

#[cfg(test)]
mod tests {
    use fanout::{DurableSubscription, GroupKey, HashedInterest, InterestDelta, Routes};
    use fanout::{Subscription, Wants};
    use proptest::prelude::*;
    use protocol::peer::{FilterHash, HashChange};
    use protocol::session::{DropReason, Full};
    use protocol::{SessionNo, TopicFilter};

    use super::*;

    const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b/b", "/b", "$x/a"];
    const FILTERS: [&str; 9] = ["a", "a/b", "a/b/c", "a/+", "a/#", "+/b", "#", "b/b", "$x/+"];

    fn filter(at: usize) -> TopicFilter {
        TopicFilter::new(FILTERS[at % FILTERS.len()]).unwrap()
    }

    fn plain(qos: QoS) -> Subscription {
        let (no_local, retain_as_published) = (false, false);
        Subscription { qos, no_local, retain_as_published, id: None, durable: false }
    }

    /// Changes something by some numbers: at the worker, in the process, in the fleet.
    fn change((local, fleet): (&mut SubscriptionTable, &Tables), (what, at, who): (u8, usize, u8)) {
        let (slot, session) = (u32::from(who % 3), SessionNo(u32::from(who % 3) + 1));
        let share = (who & 4 != 0).then(|| TopicFilter::parse_subscription("$share/g/a").unwrap());
        let share = share.and_then(|(share, _)| share);
        let members = u32::from(who % 3);
        let wants = [Wants::Nothing, Wants::AtMostOnce, Wants::Everything][usize::from(who % 3)];
        let subscribe = |filter| DurableSubscription {
            filter,
            share: share.clone(),
            qos: QoS::AtLeastOnce,
            no_local: who & 8 != 0,
            retain_as_published: false,
            all_stored: who & 16 != 0,
        };
        let full = Full { rejects: who & 8 != 0, reason: DropReason::QueueCount };
        let hashed = HashChange::new(FilterHash::of(TOPICS[at % TOPICS.len()]), members);
        fleet.change_routes(|routes: &mut Routes| match what % 12 {
            0 => drop(local.subscribe(slot, &filter(at), plain(QoS::AtMostOnce))),
            1 => drop(local.unsubscribe(slot, &filter(at))),
            2 => drop(routes.set_worker(who % 3, &filter(at), wants)),
            3 => routes.set_durable(session, vec![subscribe(filter(at))], None),
            4 => drop(routes.remove_durable(session)),
            5 => routes.set_full(session, (who & 4 != 0).then_some(full)),
            6 => routes.set_behind(session, who & 4 != 0),
            7 => drop(routes.set_hangs(session, who & 4 != 0)),
            8 => routes.set_peer_hashes(who % 3, &[hashed]),
            9 => drop(routes.replace_peer_hashes(who % 3, HashedInterest::new(&[hashed]))),
            10 => {
                let delta = InterestDelta { filter: filter(at), share: share.clone(), members };
                routes.set_peer(who % 3, who & 8 != 0, &[delta]);
            }
            _ => match share.clone() {
                Some(share) => {
                    let group = GroupKey { share, filter: filter(at) };
                    routes.set_worker_members(who % 3, &group, members);
                }
                None => routes.set_fence(u64::from(who)),
            },
        });
    }

    /// All that a route says, but what it took to find.
    fn said(route: &Route) -> String {
        let FleetRoute { workers, peers, refs, no_local, groups, missing, fence, .. } =
            &route.fleet;
        format!(
            "{:?} {workers:?} {peers:?} {refs:?} {no_local:?} {groups:?} {missing:?} {fence}",
            route.local
        )
    }

    proptest! {
        #[test]
        fn what_is_remembered_is_what_would_be_found(
            changes in proptest::collection::vec((any::<u8>(), any::<usize>(), any::<u8>()), 1..60),
            limit in 1_usize..8,
        ) {
            let (mut local, fleet) = (SubscriptionTable::default(), Tables::default());
            let mut cache = RouteCache::new(limit);
            for one in changes {
                change((&mut local, &fleet), one);
                for topic in TOPICS {
                    let known = cache.get(topic, &local, &fleet);
                    let found = cache.look_up(topic, &local, &fleet);
                    prop_assert_eq!(said(&known), said(&found));
                    prop_assert_eq!(&*cache.local(topic, &local), &found.local);
                }
            }
        }
    }

    #[test]
    fn who_subscribes_to_something_else_costs_nobody_a_look() {
        let (mut local, fleet) = (SubscriptionTable::default(), Tables::default());
        let mut cache = RouteCache::new(8);
        let before = cache.get("a/b", &local, &fleet);
        local.subscribe(0, &TopicFilter::new("c/#").unwrap(), plain(QoS::AtMostOnce));
        fleet.change_routes(|routes| {
            routes.set_worker(1, &TopicFilter::new("a/c").unwrap(), Wants::Everything);
            let other = HashChange::new(FilterHash::of("a/d"), 1);
            routes.set_peer_hashes(0, &[other]);
        });
        assert!(Rc::ptr_eq(&before, &cache.get("a/b", &local, &fleet)));
        local.subscribe(0, &TopicFilter::new("a/+").unwrap(), plain(QoS::AtMostOnce));
        assert!(!Rc::ptr_eq(&before, &cache.get("a/b", &local, &fleet)));
    }
}
