//! Everyone a publication may concern beyond the worker that received it, as one process knows the fleet.

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{BitAnd, BitOr, Not};
use std::sync::Arc;

use protocol::peer::{FilterHash, HashChange};
use protocol::session::{Full, Holder};
use protocol::{HashMap, QoS, Refs, RefsBuilder, SessionNo, SharedName, TopicFilter};

use crate::fleet_route::LEVELS;
use crate::peers::{InterestSize, PeerInterest, members_of, wanted_by};
use crate::{
    Changes, FilterTable, FleetRoute, GroupKey, HashedInterest, Missing, Shapes, SharedGroup, Wants,
};

/// Whoever takes a copy of a publication. At most 64 workers and 128 peer gateways.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Neighbour {
    /// A worker of this process, by number.
    Worker(u8),
    /// A peer gateway, by its index in this process.
    Peer(u8),
}

/// One filter of a persistent session, known to every gateway of the fleet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DurableSubscription {
    /// The filter.
    pub filter: TopicFilter,
    /// The shared group, if it is a shared subscription.
    pub share: Option<SharedName>,
    /// Highest level to deliver at.
    pub qos: QoS,
    /// Not what this client published itself.
    pub no_local: bool,
    /// Whether the RETAIN flag is passed on.
    pub retain_as_published: bool,
    /// Whether all of it goes through the session's queue, also at QoS 0.
    pub all_stored: bool,
}

/// A change of what the peers must know of our interest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InterestDelta {
    /// The filter.
    pub filter: TopicFilter,
    /// The shared group, if any.
    pub share: Option<SharedName>,
    /// Shared: clean members here. Plain: 1 for everything, 2 for publications at QoS 0 only. 0 is no interest any more.
    pub members: u32,
}

/// Neighbours of one kind with a plain subscriber, one bit each.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bits<B> {
    /// Who wants publications at QoS 0.
    any: B,
    /// Who of them wants every publication.
    live: B,
}

impl<B> Bits<B>
where
    B: Copy + Default + PartialEq + BitOr<Output = B> + BitAnd<Output = B> + Not<Output = B>,
{
    /// Who gets a publication at this level.
    pub fn of(self, publication: QoS) -> B {
        if publication == QoS::AtMostOnce { self.any } else { self.live }
    }

    /// Whether nobody gets anything.
    pub fn is_empty(self) -> bool {
        self.any == B::default()
    }

    fn set(&mut self, bit: B, wants: Wants) {
        self.any = if wants == Wants::Nothing { self.any & !bit } else { self.any | bit };
        self.live = if wants == Wants::Everything { self.live | bit } else { self.live & !bit };
    }

    fn add(&mut self, other: Self) {
        self.any = self.any | other.any;
        self.live = self.live | other.live;
    }

    fn wants(self) -> Wants {
        match (self.any == B::default(), self.live == B::default()) {
            (true, _) => Wants::Nothing,
            (false, true) => Wants::AtMostOnce,
            (false, false) => Wants::Everything,
        }
    }
}

/// The process-wide table: interest of neighbours, durable filters of the fleet, shared groups.
#[derive(Debug, Default)]
pub struct Routes {
    table: FilterTable<Entry>,
    shapes: Shapes,
    pub(crate) sessions: HashMap<SessionNo, DurableSession>,
    peers: BTreeMap<u8, PeerInterest>,
    changes: Arc<Changes>,
    interest_rev: u64,
    /// Changes of our own interest that the peers were not told yet, in order.
    untold: Vec<InterestDelta>,
    /// How often others raised the fence of this gateway.
    fence: u64,
    /// Whose session wants what is added.
    holder: Holder,
}

#[derive(Debug, Default)]
struct Entry {
    workers: Bits<u64>,
    peers: Bits<u128>,
    durable: Vec<(SessionNo, DurableOptions)>,
    shares: Vec<(GroupKey, SharedGroup)>,
}

#[derive(Debug, Clone, Copy)]
struct DurableOptions {
    qos: QoS,
    no_local: bool,
    retain_as_published: bool,
    all_stored: bool,
}

impl DurableOptions {
    fn merge(&mut self, with: Self) {
        self.qos = self.qos.max(with.qos);
        self.no_local &= with.no_local;
        self.retain_as_published |= with.retain_as_published;
        self.all_stored |= with.all_stored;
    }
}

#[derive(Debug)]
pub(crate) struct DurableSession {
    pub(crate) subscriptions: Vec<DurableSubscription>,
    online: Option<Neighbour>,
    pub(crate) full: Option<Full>,
    /// So much waits for it that shared groups choose others.
    pub(crate) behind: bool,
    /// The worker of this process that says it takes nothing for now.
    pub(crate) stuck: Option<u8>,
    /// Its document says that it takes nothing for now.
    pub(crate) hangs: bool,
}

impl Entry {
    fn is_bare(&self) -> bool {
        self.workers.is_empty()
            && self.peers.is_empty()
            && self.durable.is_empty()
            && self.shares.is_empty()
    }

    /// Changes one shared group, made if it is new, forgotten if nobody is left.
    fn share(&mut self, key: &GroupKey, change: impl FnOnce(&mut SharedGroup)) {
        if let Some((_, group)) = self.shares.iter_mut().find(|(k, _)| k.share == key.share) {
            change(group);
        } else {
            let mut group = SharedGroup::new(key);
            change(&mut group);
            self.shares.push((key.clone(), group));
        }
        self.shares.retain(|(_, group)| !group.is_empty());
    }

    fn add_durable(
        &mut self,
        session: SessionNo,
        with: &DurableSubscription,
        online: Option<Neighbour>,
    ) {
        if let Some(share) = &with.share {
            let key = GroupKey { share: share.clone(), filter: with.filter.clone() };
            self.share(&key, |group| group.set_durable(session, with.qos, online));
        } else {
            let options = DurableOptions {
                qos: with.qos,
                no_local: with.no_local,
                retain_as_published: with.retain_as_published,
                all_stored: with.all_stored,
            };
            self.durable.push((session, options));
        }
    }
}

impl Routes {
    /// The version, and in which one something last changed by topic: so long a remembered [`FleetRoute`] is good.
    pub const fn changes(&self) -> &Arc<Changes> {
        &self.changes
    }

    /// Grows with every change of what the peers are told of our own interest.
    pub const fn interest_rev(&self) -> u64 {
        self.interest_rev
    }

    /// How often others raised the fence of this gateway, as far as is known: what is routed by these may be stored only as long
    /// as that is all.
    pub const fn fence(&self) -> u64 {
        self.fence
    }

    /// Others raised the fence of this gateway so often.
    pub fn set_fence(&mut self, fence: u64) {
        self.fence = fence;
        self.changes.note_all();
    }

    /// How many filters anybody is interested in.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether nobody is interested in anything.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Where the wildcards of all filters stand, and so how much work a topic may be.
    pub const fn shapes(&self) -> &Shapes {
        &self.shapes
    }

    /// What is added from now on, but by peers, is wanted by a session of this holder.
    pub const fn on_behalf_of(&mut self, holder: Holder) {
        self.holder = holder;
    }

    /// What a worker's plain subscribers want of a filter changed. Says whether the peers must be told.
    pub fn set_worker(&mut self, worker: u8, filter: &TopicFilter, wants: Wants) -> bool {
        let bit = 1_u64 << (worker & 63);
        let mut told = (Wants::Nothing, Wants::Nothing);
        self.edit(filter, |entry| {
            told.0 = entry.workers.wants();
            entry.workers.set(bit, wants);
            told.1 = entry.workers.wants();
        });
        let changed = told.0 != told.1;
        if changed {
            self.tell(filter, None, members_of(told.1));
        }
        changed
    }

    /// A worker's number of clean members of a shared group changed. The peers must be told.
    pub fn set_worker_members(&mut self, worker: u8, group: &GroupKey, members: u32) -> bool {
        let mut total = 0;
        self.edit(&group.filter, |entry| {
            entry.share(group, |shared| {
                shared.set_clean(Neighbour::Worker(worker), members);
                total = shared.clean_of_workers();
            });
        });
        self.tell(&group.filter, Some(group.share.clone()), total);
        true
    }

    /// Takes what the peers must be told since the last call, in order; with it they are at [`Self::interest_rev`].
    pub fn take_told(&mut self) -> Vec<InterestDelta> {
        std::mem::take(&mut self.untold)
    }

    /// A peer's interest by name changed; `replace` forgets what was known of it first.
    pub fn set_peer(&mut self, peer: u8, replace: bool, changes: &[InterestDelta]) {
        self.holder = Holder::NOBODY;
        if replace {
            let known = self.peers.get_mut(&peer).map(|known| std::mem::take(&mut known.named));
            for ((filter, share), _) in known.unwrap_or_default() {
                self.set_peer_one(peer, &filter, share.as_ref(), 0);
            }
        }
        for change in changes {
            self.set_peer_one(peer, &change.filter, change.share.as_ref(), change.members);
            let known = &mut self.peers.entry(peer).or_default().named;
            let key = (change.filter.clone(), change.share.clone());
            if change.members == 0 {
                known.remove(&key);
            } else {
                known.insert(key, change.members);
            }
        }
    }

    /// A peer's interest by hash changed.
    pub fn set_peer_hashes(&mut self, peer: u8, changes: &[HashChange]) {
        changes.iter().for_each(|change| self.changes.note_exact(change.hash()));
        self.peers.entry(peer).or_default().hashed.change(changes);
    }

    /// Puts something else in the place of a peer's interest by hash, and gives back what was there. Both may be large: make the
    /// one and forget the other while nobody waits.
    pub fn replace_peer_hashes(&mut self, peer: u8, all: HashedInterest) -> HashedInterest {
        self.changes.note_all();
        std::mem::replace(&mut self.peers.entry(peer).or_default().hashed, all)
    }

    /// How much a peer is interested in.
    pub fn peer_interest(&self, peer: u8) -> InterestSize {
        self.peers.get(&peer).map(PeerInterest::size).unwrap_or_default()
    }

    /// Sets all filters of a persistent session and who serves it now.
    pub fn set_durable(
        &mut self,
        session: SessionNo,
        subscriptions: Vec<DurableSubscription>,
        online: Option<Neighbour>,
    ) {
        if let Some(known) = self.sessions.get(&session)
            && known.subscriptions == subscriptions
            && (known.online == online || !subscriptions.iter().any(|s| s.share.is_some()))
        {
            return;
        }
        let known = self.sessions.get(&session);
        let paces = known.map(|known| (known.behind, known.stuck, known.hangs));
        let (behind, stuck, hangs) = paces.unwrap_or_default();
        let full = self.remove_durable(session);
        for subscription in &subscriptions {
            self.edit(&subscription.filter, |entry| {
                entry.add_durable(session, subscription, online);
            });
        }
        let known = DurableSession { subscriptions, online, full, behind, stuck, hangs };
        self.sessions.insert(session, known);
    }

    /// Forgets a persistent session. Says whether its queue was full.
    pub fn remove_durable(&mut self, session: SessionNo) -> Option<Full> {
        let known = self.sessions.remove(&session)?;
        for subscription in &known.subscriptions {
            self.edit(&subscription.filter, |entry| {
                entry.durable.retain(|(no, _)| *no != session);
                for (_, group) in &mut entry.shares {
                    group.remove_durable(session);
                }
                entry.shares.retain(|(_, group)| !group.is_empty());
            });
        }
        known.full
    }

    /// Whether the fleet may want topics with these first two levels, of which the first begins with `$`, and at least one more.
    /// A no is certain; a peer that tells topics by their hashes may want anything.
    pub fn may_want_under(&self, first: &str, second: &str) -> bool {
        self.table.may_match_under(first, second)
            || self.peers.values().any(|known| !known.hashed.is_empty())
    }

    /// What the fleet wants of a topic.
    pub fn route(&self, topic: &str) -> FleetRoute {
        let mut route = FleetRoute { fence: self.fence, ..FleetRoute::default() };
        let mut durable: Vec<(SessionNo, DurableOptions)> = Vec::new();
        let steps = self.table.for_matches(topic, |entry| {
            route.workers.add(entry.workers);
            route.peers.add(entry.peers);
            durable.extend_from_slice(&entry.durable);
            for (key, group) in &entry.shares {
                let mut group = group.clone();
                let mut passed_by = None;
                group.retain_durable(|session| {
                    let full = self.full(session);
                    let missing = full.map(|full| Missing { session, full, no_local: false });
                    // Who rejects speaks for the group.
                    let rejects = missing.filter(|missing| missing.full.rejects);
                    passed_by = rejects.or(passed_by).or(missing);
                    full.is_none()
                });
                // As long as somebody takes it, nobody misses anything.
                route.missing.extend(passed_by.filter(|_| group.is_empty()));
                group.pass_over(|session| self.is_behind(session));
                route.groups.push((key.clone(), group));
            }
        });
        route.steps = steps;
        self.add_hashed(&mut route, topic);
        durable.sort_unstable_by_key(|(session, _)| *session);
        // Overlapping subscriptions of a session count as one [MQTT5-3.3.4-2].
        durable.dedup_by(|(next, with), (kept, merged)| {
            if next == kept {
                merged.merge(*with);
            }
            next == kept
        });
        let mut refs = [RefsBuilder::default(), RefsBuilder::default(), RefsBuilder::default()];
        for (session, with) in durable {
            self.refer(&mut route, &mut refs, session, with);
        }
        route.refs = refs.map(|mut refs| refs.build());
        route
    }

    /// Adds the peers that have told a topic by its hash: one look-up each, and none if nobody has.
    fn add_hashed(&self, route: &mut FleetRoute, topic: &str) {
        let mut told = self.peers.iter().filter(|(_, known)| !known.hashed.is_empty()).peekable();
        if told.peek().is_none() {
            return;
        }
        let hash = FilterHash::of(topic);
        for (peer, known) in told {
            let mut bits = Bits::default();
            bits.set(1_u128 << (peer & 127), known.hashed.wants(hash));
            route.peers.add(bits);
        }
    }

    /// The workers of this process with a plain subscriber of a topic.
    pub fn workers(&self, topic: &str) -> Bits<u64> {
        let mut workers = Bits::default();
        self.table.for_matches(topic, |entry| workers.add(entry.workers));
        workers
    }

    /// A worker of this process that serves a member of a shared group.
    pub fn worker_of_group(&self, key: &GroupKey, turn: u64, publication: QoS) -> Option<u8> {
        let shares = &self.table.get(&key.filter)?.shares;
        let (_, group) = shares.iter().find(|(k, _)| k.share == key.share)?;
        group.worker(turn, publication)
    }

    fn full(&self, session: SessionNo) -> Option<Full> {
        self.sessions.get(&session)?.full
    }

    fn is_behind(&self, session: SessionNo) -> bool {
        self.sessions.get(&session).is_some_and(|s| s.behind || s.hangs || s.stuck.is_some())
    }

    fn refer(
        &self,
        route: &mut FleetRoute,
        refs: &mut [RefsBuilder; 3],
        session: SessionNo,
        with: DurableOptions,
    ) {
        if with.qos == QoS::AtMostOnce && !with.all_stored {
            // Served live only, like a clean session's.
            return;
        }
        if let Some(full) = self.full(session) {
            route.missing.push(Missing { session, full, no_local: with.no_local });
            return;
        }
        if with.no_local {
            route.no_local.push(session);
        }
        for (refs, qos) in refs.iter_mut().zip(LEVELS) {
            if qos != QoS::AtMostOnce || with.all_stored {
                refs.push(session, Refs::flags(with.qos.min(qos), with.retain_as_published));
            }
        }
    }

    fn edit(&mut self, filter: &TopicFilter, change: impl FnOnce(&mut Entry)) {
        self.changes.note(filter);
        let before = self.table.len();
        let Some(entry) = self.table.entry(filter) else { return };
        change(entry);
        if entry.is_bare() {
            self.table.remove(filter);
        }
        match self.table.len().cmp(&before) {
            Ordering::Greater => self.shapes.add_for(filter, self.holder),
            Ordering::Less => self.shapes.remove(filter),
            Ordering::Equal => {}
        }
    }

    fn set_peer_one(
        &mut self,
        peer: u8,
        filter: &TopicFilter,
        share: Option<&SharedName>,
        members: u32,
    ) {
        let bit = 1_u128 << (peer & 127);
        self.edit(filter, |entry| match share {
            None => entry.peers.set(bit, wanted_by(members)),
            Some(share) => {
                let key = GroupKey { share: share.clone(), filter: filter.clone() };
                entry.share(&key, |group| group.set_clean(Neighbour::Peer(peer), members));
            }
        });
    }

    fn tell(&mut self, filter: &TopicFilter, share: Option<SharedName>, members: u32) {
        self.interest_rev += 1;
        self.untold.push(InterestDelta { filter: filter.clone(), share, members });
    }
}

#[cfg(test)]
mod tests {
    use protocol::session::DropReason;

    use super::*;
    use crate::Beginnings;

    fn filter(text: &str) -> TopicFilter {
        TopicFilter::new(text).unwrap()
    }

    fn durable(text: &str, qos: QoS) -> DurableSubscription {
        let (share, filter) = TopicFilter::parse_subscription(text).unwrap();
        DurableSubscription {
            filter,
            share,
            qos,
            no_local: false,
            retain_as_published: false,
            all_stored: false,
        }
    }

    #[test]
    fn the_steps_of_a_topic_are_those_of_the_filters_that_are_there() {
        let mut routes = Routes::default();
        for (worker, text) in [(0, "a/+"), (1, "b/+"), (1, "a/+"), (1, "a/b")] {
            routes.set_worker(worker, &filter(text), Wants::Everything);
        }
        routes.set_durable(SessionNo(5), vec![durable("$share/g/#", QoS::AtLeastOnce)], None);
        assert_eq!(routes.shapes().steps(), 2 + 1);
        assert_eq!(routes.route("x/y").steps, 1);
        assert_eq!(routes.route("a/y").steps, 3);
        routes.remove_durable(SessionNo(5));
        routes.set_worker(1, &filter("a/+"), Wants::Nothing);
        routes.set_worker(1, &filter("a/+"), Wants::Nothing);
        assert_eq!(routes.shapes().steps(), 2);
        routes.set_worker(0, &filter("a/+"), Wants::Nothing);
        routes.set_worker(1, &filter("b/+"), Wants::Nothing);
        assert_eq!(routes.shapes().steps(), 0);
    }

    #[test]
    fn peers_hear_only_when_what_the_process_wants_changes() {
        let mut routes = Routes::default();
        let one = filter("a/#");
        assert!(routes.set_worker(0, &one, Wants::AtMostOnce));
        assert!(!routes.set_worker(1, &one, Wants::AtMostOnce));
        assert!(routes.set_worker(1, &one, Wants::Everything));
        let workers = routes.route("a/x").workers;
        assert_eq!((workers.of(QoS::AtMostOnce), workers.of(QoS::AtLeastOnce)), (0b11, 0b10));
        assert!(!routes.set_worker(0, &one, Wants::Nothing));
        assert!(routes.set_worker(1, &one, Wants::Nothing));
        let told: Vec<u32> = routes.take_told().into_iter().map(|delta| delta.members).collect();
        assert_eq!(told, [2, 1, 0]);
        assert!(routes.is_empty());
    }

    #[test]
    fn a_session_that_matches_twice_is_referred_to_once_at_its_highest_level() {
        let mut routes = Routes::default();
        let no = SessionNo(5);
        let two = vec![durable("a/+", QoS::AtLeastOnce), durable("a/b", QoS::ExactlyOnce)];
        routes.set_durable(no, two, None);
        routes.set_durable(SessionNo(6), vec![durable("#", QoS::AtMostOnce)], None);
        let route = routes.route("a/b");
        let [never, once, twice] = &route.refs;
        assert!(never.is_empty());
        assert_eq!(
            once.iter().map(|(n, f)| (n, Refs::qos(f))).collect::<Vec<_>>(),
            [(no, QoS::AtLeastOnce)]
        );
        assert_eq!(
            twice.iter().map(|(n, f)| (n, Refs::qos(f))).collect::<Vec<_>>(),
            [(no, QoS::ExactlyOnce)]
        );
        let full = Full { reason: DropReason::QueueCount, rejects: false };
        routes.set_full(no, Some(full));
        let missing = Missing { session: no, full, no_local: false };
        assert_eq!(routes.route("a/b").missing[..], [missing]);
        assert!(routes.route("a/b").refs[1].is_empty());
        assert_eq!(routes.remove_durable(no), Some(full));
        assert!(routes.route("a/b").refs[1].is_empty());
    }

    #[test]
    fn of_overlapping_subscriptions_of_a_stored_session_each_option_is_merged_as_the_standard_says()
    {
        let no = SessionNo(5);
        let plain = |text| durable(text, QoS::AtLeastOnce);
        let picky = |text| DurableSubscription {
            no_local: true,
            retain_as_published: true,
            ..durable(text, QoS::ExactlyOnce)
        };
        for (both, no_local) in [
            (vec![plain("a/+"), picky("a/b")], false),
            (vec![picky("a/+"), plain("a/b")], false),
            (vec![picky("a/+"), picky("a/b")], true),
        ] {
            let mut routes = Routes::default();
            routes.set_durable(no, both, None);
            let route = routes.route("a/b");
            let found: Vec<_> = route.refs_of(QoS::ExactlyOnce).iter().collect();
            assert_eq!(found, [(no, Refs::flags(QoS::ExactlyOnce, true))]);
            assert_eq!(route.no_local.contains(&no), no_local);
        }
    }

    #[test]
    fn who_would_not_get_its_own_message_misses_none_of_them() {
        let mut routes = Routes::default();
        let no = SessionNo(5);
        let own = DurableSubscription { no_local: true, ..durable("t", QoS::AtLeastOnce) };
        routes.set_durable(no, vec![own], None);
        let full = Full { reason: DropReason::QueueCount, rejects: true };
        routes.set_full(no, Some(full));
        let missing = Missing { session: no, full, no_local: true };
        assert_eq!(routes.route("t").missing[..], [missing]);
    }

    #[test]
    fn what_is_remembered_is_void_once_the_fence_is_another_one() {
        let mut routes = Routes::default();
        let before = routes.changes().version();
        routes.set_fence(7);
        assert!(!routes.changes().is_good(&Beginnings::of("a/b"), before));
        assert_eq!(routes.route("a/b").fence, 7);
    }

    #[test]
    fn a_session_all_of_whose_messages_are_stored_is_referred_to_at_every_level() {
        let mut routes = Routes::default();
        let all = |filter, qos| DurableSubscription { all_stored: true, ..durable(filter, qos) };
        routes.set_durable(SessionNo(5), vec![all("a", QoS::AtMostOnce)], None);
        routes.set_durable(SessionNo(6), vec![all("b", QoS::AtLeastOnce)], None);
        let levels = |topic| {
            let level = |refs: &Refs| refs.iter().next().map(|(_, flags)| Refs::qos(flags));
            routes.route(topic).refs.each_ref().map(level)
        };
        assert_eq!(levels("a"), [Some(QoS::AtMostOnce); 3]);
        let [never, once] = [QoS::AtMostOnce, QoS::AtLeastOnce].map(Some);
        assert_eq!(levels("b"), [never, once, once]);
    }

    #[test]
    fn a_snapshot_replaces_all_that_was_known_of_a_peer() {
        let mut routes = Routes::default();
        let delta = |text: &str| InterestDelta { filter: filter(text), share: None, members: 1 };
        routes.set_peer(3, false, &[delta("a"), delta("b")]);
        assert_eq!(routes.route("a").peers.of(QoS::ExactlyOnce), 1 << 3);
        routes.set_peer(3, true, &[delta("c")]);
        assert_eq!(routes.route("a").peers.of(QoS::AtMostOnce), 0);
        assert_eq!(routes.route("c").peers.of(QoS::AtMostOnce), 1 << 3);
        assert_eq!(routes.peer_interest(3).exact, 1);
    }

    #[test]
    fn a_snapshot_replaces_the_groups_of_a_peer_as_well() {
        let mut routes = Routes::default();
        let (share, filter) = TopicFilter::parse_subscription("$share/g/t").unwrap();
        let member = InterestDelta { filter, share, members: 2 };
        routes.set_peer(3, false, &[member]);
        let pick = |routes: &Routes| {
            let groups = routes.route("t").groups;
            groups.first().and_then(|(_, group)| group.pick(0, QoS::AtLeastOnce))
        };
        assert_eq!(pick(&routes), Some(crate::Pick::Neighbour(Neighbour::Peer(3))));
        routes.set_peer(3, true, &[]);
        assert_eq!(pick(&routes), None, "nobody over there would take it");
        assert!(routes.is_empty());
    }

    #[test]
    fn what_a_peer_tells_by_hash_counts_as_what_it_tells_by_name() {
        let mut routes = Routes::default();
        let hashed = |topic, members| HashChange::new(FilterHash::of(topic), members);
        let before = routes.changes().version();
        routes.set_peer_hashes(4, &[hashed("a/b", 1), hashed("c", 2)]);
        assert!(routes.changes().version() > before, "what is cached is void");
        let wild = InterestDelta { filter: filter("a/+"), share: None, members: 1 };
        routes.set_peer(6, true, &[wild]);
        assert_eq!(routes.route("a/b").peers.of(QoS::AtLeastOnce), 1 << 4 | 1 << 6);
        let peers = routes.route("c").peers;
        assert_eq!((peers.of(QoS::AtMostOnce), peers.of(QoS::AtLeastOnce)), (1 << 4, 0));
        let size = InterestSize { exact: 2, ..InterestSize::default() };
        assert_eq!(routes.peer_interest(4), size);
        let old = routes.replace_peer_hashes(4, HashedInterest::new(&[hashed("d", 1)]));
        assert_eq!(old.len(), 2);
        assert_eq!(routes.route("a/b").peers.of(QoS::AtLeastOnce), 1 << 6);
        assert_eq!(routes.route("d").peers.of(QoS::AtLeastOnce), 1 << 4);
    }

    #[test]
    fn a_group_misses_a_publication_only_if_nobody_of_it_takes_it() {
        let mut routes = Routes::default();
        for no in [5, 6] {
            let member = vec![durable("$share/g/t", QoS::AtLeastOnce)];
            routes.set_durable(SessionNo(no), member, None);
        }
        let full = |rejects| Some(Full { reason: DropReason::QueueBytes, rejects });
        routes.set_full(SessionNo(6), full(true));
        assert!(routes.route("t").missing.is_empty());
        routes.set_full(SessionNo(5), full(false));
        let missing = routes.route("t").missing;
        assert_eq!(
            missing.iter().map(|m| (m.session.0, m.full.rejects)).collect::<Vec<_>>(),
            [(6, true)]
        );
    }

    #[test]
    fn an_offline_member_of_a_group_is_chosen_only_if_nobody_is_online() {
        let mut routes = Routes::default();
        routes.set_durable(SessionNo(9), vec![durable("$share/g/t", QoS::AtLeastOnce)], None);
        let key = routes.route("t").groups[0].0.clone();
        let pick = |routes: &Routes| routes.route("t").groups[0].1.pick(0, QoS::AtLeastOnce);
        assert_eq!(pick(&routes), Some(crate::Pick::Durable(SessionNo(9), QoS::AtLeastOnce)));
        assert!(routes.set_worker_members(2, &key, 1));
        assert_eq!(pick(&routes), Some(crate::Pick::Neighbour(Neighbour::Worker(2))));
    }

    #[test]
    fn a_member_of_a_group_that_comes_or_goes_is_known_to_be_online_or_not() {
        let mut routes = Routes::default();
        let (no, member) = (SessionNo(9), vec![durable("$share/g/t", QoS::AtLeastOnce)]);
        let queued = |routes: &Routes| routes.route("t").groups[0].1.is_queued();
        routes.set_durable(no, member.clone(), None);
        assert!(!queued(&routes));
        routes.set_durable(no, member.clone(), Some(Neighbour::Worker(1)));
        assert!(queued(&routes));
        routes.set_durable(no, member, None);
        assert!(!queued(&routes));
    }

    #[test]
    fn a_member_that_its_worker_calls_stuck_is_passed_over_until_that_worker_takes_it_back() {
        let mut routes = Routes::default();
        let no = SessionNo(9);
        let member = vec![durable("$share/g/t", QoS::AtLeastOnce)];
        routes.set_durable(no, member.clone(), Some(Neighbour::Worker(1)));
        let key = routes.route("t").groups[0].0.clone();
        routes.set_worker_members(2, &key, 1);
        let queued = |routes: &Routes| routes.route("t").groups[0].1.is_queued();
        assert!(queued(&routes));
        let version = routes.changes().version();
        routes.set_stuck(no, 1, true);
        assert!(!queued(&routes) && routes.changes().version() > version, "what is cached is void");
        let version = routes.changes().version();
        routes.set_stuck(no, 1, true);
        assert_eq!(routes.changes().version(), version, "that is no news");
        routes.set_durable(no, member, Some(Neighbour::Worker(3)));
        routes.set_stuck(no, 3, true);
        routes.set_stuck(no, 1, false);
        assert!(!queued(&routes), "who served it before has no say");
        routes.set_stuck(no, 3, false);
        assert!(queued(&routes));
    }

    #[test]
    fn a_member_that_hangs_elsewhere_is_passed_over_as_long_as_its_document_says_so() {
        let mut routes = Routes::default();
        let (no, member) = (SessionNo(9), vec![durable("$share/g/t", QoS::AtLeastOnce)]);
        routes.set_durable(no, member.clone(), Some(Neighbour::Peer(1)));
        let key = routes.route("t").groups[0].0.clone();
        routes.set_worker_members(2, &key, 1);
        let queued = |routes: &Routes| routes.route("t").groups[0].1.is_queued();
        let version = routes.changes().version();
        assert!(
            routes.set_hangs(no, true) && routes.changes().version() > version,
            "what is cached is void"
        );
        assert!(!queued(&routes) && !routes.set_hangs(no, true), "that is no news");
        routes.set_durable(no, member, Some(Neighbour::Peer(2)));
        assert!(!queued(&routes), "it was told as it came");
        assert!(routes.set_hangs(no, false) && queued(&routes));
        assert!(!routes.set_hangs(SessionNo(7), true), "nobody knows it");
    }
}
