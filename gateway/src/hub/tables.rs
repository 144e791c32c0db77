//! What the workers of one process share. Read on a miss of a worker's own cache, never per publication.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use fanout::{Changes, HashedInterest, InterestDelta, Remembered, Retained, Routes};
use maintenance::DrainTurn;
use protocol::peer::HashChange;
use protocol::session::Owner;
use protocol::{ClientId, GatewayId, HashMap, Incarnation, Now, Position};

use crate::hub::echo::Echoes;
use crate::hub::session::epochs::Epochs;
use crate::hub::session::moving::GroupDepartures;
use crate::hub::trial::Trials;

/// A gateway of the fleet that is alive as far as this process knows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveGateway {
    /// Its name.
    pub id: GatewayId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Its index in this process, for [`fanout::Neighbour::Peer`]; kept as long as the process lives.
    pub peer: u8,
    /// Where devices reach it, by listener kind: `host:port` for 5.0's server reference.
    pub mqtt: String,
    /// The same for devices that came over TLS.
    pub mqtts: String,
    /// Whether it takes clients.
    pub serving: bool,
    /// Whether it answers words of other gateways, as those of older versions do not.
    pub echoes: bool,
    /// Whether it publishes to trials of other gateways that ask for it, as those of older versions do not.
    pub calls: bool,
}

impl LiveGateway {
    /// Where clients find it, over TLS or without; empty if nowhere.
    fn address(&self, secure: bool) -> &str {
        if secure { &self.mqtts } else { &self.mqtt }
    }
}

/// Who was alive when that was looked at.
#[derive(Debug, Clone, Default)]
pub struct Look {
    /// Until when it is known well enough, by the steady clock.
    pub good_until: Duration,
    /// Their names.
    pub live: Vec<GatewayId>,
}

/// The tables that the workers share.
#[derive(Debug)]
pub struct Tables {
    routes: RwLock<Routes>,
    /// Held by whoever tells the peers of our interest.
    telling: Mutex<()>,
    /// Of the routes, so that what is remembered of them is checked without the lock.
    changes: Arc<Changes>,
    /// The newest position of the fleet that this process has heard of.
    newest: AtomicU64,
    retained: RwLock<Retained>,
    gateways: RwLock<Vec<LiveGateway>>,
    /// The last look at who is alive, and the one before it.
    looks: Mutex<[Look; 2]>,
    /// Gateways to which clients are sent only if there is no other, for they would be moved again.
    spared: RwLock<Vec<GatewayId>>,
    epochs: Epochs,
    /// Which peers have answered this gateway's words.
    echoes: Echoes,
    /// Clients of the gateway's own that are let in.
    trials: Arc<Trials>,
    /// Members of shared groups that a drain moves.
    departures: Mutex<GroupDepartures>,
    /// Until when other gateways surely wait for this one, in nanoseconds of this process's life; and absences that are over.
    awaited: (AtomicU64, AtomicU64),
    /// How often peers were to say anew what they want, and until when publications wait for that.
    back: (AtomicU64, AtomicU64),
    /// After which of these times all live peers said what they want.
    heard: AtomicU64,
    /// Every peer gateway this process ever met, by index.
    peers: RwLock<Vec<GatewayId>>,
}

/// Peer gateways that one process can tell apart.
const MAX_PEERS: usize = 128;

impl Default for Tables {
    fn default() -> Self {
        let routes = Routes::default();
        Self {
            changes: Arc::clone(routes.changes()),
            routes: RwLock::new(routes),
            telling: Mutex::default(),
            newest: AtomicU64::default(),
            retained: RwLock::default(),
            gateways: RwLock::default(),
            looks: Mutex::default(),
            spared: RwLock::default(),
            epochs: Epochs::default(),
            echoes: Echoes::default(),
            trials: Arc::default(),
            departures: Mutex::default(),
            awaited: (AtomicU64::new(u64::MAX), AtomicU64::new(0)),
            back: (AtomicU64::new(0), AtomicU64::new(0)),
            heard: AtomicU64::new(u64::MAX),
            peers: RwLock::default(),
        }
    }
}

impl Tables {
    /// Until when other gateways surely wait for this one before they confirm a subscription, by the steady clock; and how many
    /// absences are over.
    pub fn set_awaited(&self, (until, absences): (Duration, u64)) {
        // In this order: who sees that they wait again sees why.
        self.awaited.1.store(absences, Ordering::Release);
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.awaited.0.store(until, Ordering::Release);
    }

    /// How many absences are over.
    pub fn absences(&self) -> u64 {
        self.awaited.1.load(Ordering::Acquire)
    }

    /// Whether other gateways surely wait for this one, for whom the log was read after so many absences.
    pub fn is_awaited(&self, now: Duration, absences: u64) -> bool {
        now.as_nanos() < u128::from(self.awaited.0.load(Ordering::Acquire))
            && self.absences() == absences
    }

    /// The peers are to say for this time what they want, since this gateway may have been away, or is back: until then at most,
    /// publications wait for that.
    pub fn set_back(&self, times: u64, until: Duration) {
        let until = u64::try_from(until.as_nanos()).unwrap_or(u64::MAX);
        self.back.1.store(until, Ordering::Release);
        self.back.0.store(times, Ordering::Release);
    }

    /// All live peers have said what they want for this time, over connections that stand.
    pub fn set_heard(&self, times: u64) {
        self.heard.store(times, Ordering::Release);
    }

    /// For which of these times all live peers have said what they want.
    pub fn heard(&self) -> u64 {
        self.heard.load(Ordering::Acquire)
    }

    /// Whether all live peers have said what they want since this gateway was away, or it is too late to wait for that. When others
    /// ceased to wait for it and nobody has noted that yet, none of them has.
    pub fn knows_peers(&self, now: Duration) -> bool {
        let awaited_until = u128::from(self.awaited.0.load(Ordering::Acquire));
        let is_noted = awaited_until == 0 || now.as_nanos() < awaited_until;
        let is_too_late = now.as_nanos() >= u128::from(self.back.1.load(Ordering::Acquire));
        match self.heard() {
            // There are none.
            u64::MAX => true,
            heard => is_noted && (heard >= self.back.0.load(Ordering::Acquire) || is_too_late),
        }
    }

    /// The version of the routes now.
    pub fn routes_version(&self) -> u64 {
        self.changes.version()
    }

    /// What of the routes changed when.
    pub fn changes(&self) -> &Changes {
        &self.changes
    }

    /// Reads the routes.
    pub fn routes(&self) -> RwLockReadGuard<'_, Routes> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What `find` finds of a topic in the routes; in vain it is not asked.
    pub fn remember<V: Copy>(
        &self,
        remembered: &mut Remembered<V, u64>,
        topic: &str,
        find: impl FnOnce(&Routes) -> V,
    ) -> V {
        // Before it is looked: what changes meanwhile makes it another one.
        let now = self.routes_version();
        let is_good = |topic: &_, since| self.changes.is_good(topic, since);
        if let Some(known) = remembered.get(topic, now, is_good) {
            return *known;
        }
        let found = find(&self.routes());
        remembered.put(topic, now, found);
        found
    }

    /// Changes the routes; whoever remembers what changes notices.
    pub fn change_routes<T>(&self, change: impl FnOnce(&mut Routes) -> T) -> T {
        change(&mut self.routes.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest position of the fleet that this process has heard of: what is stored later lies behind it.
    pub fn newest(&self) -> Position {
        Position(self.newest.load(Ordering::Acquire))
    }

    /// The newest position that the log's follower has heard of.
    pub fn set_newest(&self, position: Position) {
        self.newest.store(position.0, Ordering::Release);
    }

    /// The epochs of ownerships that this process has heard of.
    pub(crate) const fn epochs(&self) -> &Epochs {
        &self.epochs
    }

    /// Which peers have answered this gateway's words.
    pub const fn echoes(&self) -> &Echoes {
        &self.echoes
    }

    /// Clients of the gateway's own that are let in.
    pub const fn trials(&self) -> &Arc<Trials> {
        &self.trials
    }

    /// A peer's interest changed, by name and by hash; `replace` forgets what was known of it first.
    pub fn set_peer(
        &self,
        peer: u8,
        replace: bool,
        (changes, hashes): (&[InterestDelta], &[HashChange]),
    ) {
        if replace {
            let all = HashedInterest::new(hashes);
            let old = self.change_routes(|routes| {
                routes.set_peer(peer, true, changes);
                routes.replace_peer_hashes(peer, all)
            });
            // It may be large, and nobody waits any more.
            drop(old);
        } else {
            self.change_routes(|routes| {
                routes.set_peer(peer, false, changes);
                routes.set_peer_hashes(peer, hashes);
            });
        }
    }

    /// Hands what the peers must be told of our interest to `tell`, with its revision. Whoever asks first tells it all, so
    /// that revisions leave in their order.
    pub fn take_interest(&self, tell: impl FnOnce(u64, Vec<InterestDelta>)) {
        // A lock of its own: telling wakes another thread, and every worker waits for that of the routes.
        let _in_order = self.telling.lock().unwrap_or_else(PoisonError::into_inner);
        let (rev, changes) = {
            let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
            (routes.interest_rev(), routes.take_told())
        };
        if !changes.is_empty() {
            tell(rev, changes);
        }
    }

    /// Reads the retained messages.
    pub fn retained(&self) -> RwLockReadGuard<'_, Retained> {
        self.retained.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the retained messages.
    pub fn change_retained<T>(&self, change: impl FnOnce(&mut Retained) -> T) -> T {
        change(&mut self.retained.write().unwrap_or_else(PoisonError::into_inner))
    }

    /// The gateways that are alive, this one included.
    pub fn gateways(&self) -> RwLockReadGuard<'_, Vec<LiveGateway>> {
        self.gateways.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether a gateway other than this one serves.
    pub fn others_serve(&self, me: &GatewayId) -> bool {
        self.gateways().iter().any(|gateway| gateway.serving && gateway.id != *me)
    }

    /// Whether a gateway is the one of the live ones that deletes what no queue needs any more.
    pub fn is_trimmer(&self, id: &GatewayId) -> bool {
        self.gateways().iter().map(|gateway| &gateway.id).min() == Some(id)
    }

    /// Replaces the list of live gateways, which is good until then, by the steady clock. To be told before the links are.
    pub fn set_gateways(&self, live: Vec<LiveGateway>, good_until: Duration) {
        let look = Look { good_until, live: live.iter().map(|it| it.id.clone()).collect() };
        let mut looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let [last, before] = &mut *looks;
        *before = std::mem::replace(last, look);
        drop(looks);
        *self.gateways.write().unwrap_or_else(PoisonError::into_inner) = live;
    }

    /// The gateways that were alive at the last look and the one before it: the links wait for those in both, if what they told
    /// before this call was asked is good until then. `None` if it is older.
    pub fn waited_for(&self, good_until: Duration) -> Option<[Look; 2]> {
        let looks = self.looks.lock().unwrap_or_else(PoisonError::into_inner);
        let [_, before] = &*looks;
        (good_until >= before.good_until).then(|| looks.clone())
    }

    /// Sends clients to these gateways only if there is no other.
    pub fn set_spared(&self, spared: Vec<GatewayId>) {
        *self.spared.write().unwrap_or_else(PoisonError::into_inner) = spared;
    }

    /// The index of a peer gateway, given at first sight; `None` above 128 of them.
    pub fn peer_index(&self, id: &GatewayId) -> Option<u8> {
        let find = |peers: &[GatewayId]| peers.iter().position(|p| p == id);
        let known = find(&self.peers.read().unwrap_or_else(PoisonError::into_inner));
        let at = known.or_else(|| {
            let mut peers = self.peers.write().unwrap_or_else(PoisonError::into_inner);
            find(&peers).or_else(|| {
                (peers.len() < MAX_PEERS).then(|| {
                    peers.push(id.clone());
                    peers.len() - 1
                })
            })
        });
        u8::try_from(at?).ok()
    }

    /// The peer gateways by index.
    pub fn peers(&self) -> Vec<GatewayId> {
        self.peers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Where else a client should go: gateways that serve, over the same kind of transport, with a space between them
    /// `[MQTT5-4.11]`. At most two: one and, should that not take it, another; always the same two for a client, and all
    /// of them for all clients. Those that are spared stand only where there is no other. `first` stands first, by index, if it serves.
    pub fn server_reference(
        &self,
        me: &GatewayId,
        client: &ClientId,
        secure: bool,
        first: Option<u8>,
    ) -> Option<String> {
        let gateways = self.gateways();
        let named = self.named(&gateways, (me, client), secure, first);
        let addresses = named.iter().map(|gateway| gateway.address(secure));
        (!named.is_empty()).then(|| addresses.collect::<Vec<_>>().join(" "))
    }

    /// The names of the gateways in that reference.
    pub fn referred(
        &self,
        me: &GatewayId,
        client: &ClientId,
        secure: bool,
        first: Option<u8>,
    ) -> Vec<GatewayId> {
        let gateways = self.gateways();
        let named = self.named(&gateways, (me, client), secure, first);
        named.iter().map(|gateway| gateway.id.clone()).collect()
    }

    fn named<'a>(
        &self,
        gateways: &'a [LiveGateway],
        (me, client): (&GatewayId, &ClientId),
        secure: bool,
        first: Option<u8>,
    ) -> Vec<&'a LiveGateway> {
        let takes = |g: &&LiveGateway| g.serving && g.id != *me && !g.address(secure).is_empty();
        let serving: Vec<&LiveGateway> = gateways.iter().filter(takes).collect();
        let spared = self.spared.read().unwrap_or_else(PoisonError::into_inner);
        let best = |but: Option<&GatewayId>| {
            let ids = || serving.iter().map(|g| &g.id).filter(|id| Some(*id) != but);
            let stay = ids().filter(|id| !spared.contains(&id.gateway()));
            maintenance::rendezvous(client, stay).or_else(|| maintenance::rendezvous(client, ids()))
        };
        let chosen = serving.iter().find(|g| Some(g.peer) == first).map(|g| &g.id);
        if let Some(successor) = chosen.filter(|id| id.gateway() == me.gateway()) {
            // At the same address: who has it needs no other.
            return serving.into_iter().filter(|g| g.id == *successor).collect();
        }
        let Some(primary) = chosen.or_else(|| best(None)) else { return Vec::new() };
        let named = [Some(primary), best(Some(primary))].into_iter().flatten();
        named.filter_map(|id| serving.iter().find(|g| g.id == *id).copied()).collect()
    }

    /// Whether a member of these shared groups may be moved by a drain now; then it is.
    pub(super) fn may_depart(&self, groups: &[u64], now: Now) -> bool {
        groups.is_empty()
            || self
                .departures
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .may_depart(groups, now)
    }

    /// A drain takes turns with those of other gateways from that moment on, where shared groups have few members here.
    pub fn set_drain_turn(&self, turn: DrainTurn, from: Duration) {
        self.departures.lock().unwrap_or_else(PoisonError::into_inner).set_turn(turn, from);
    }

    /// How many members each shared group has at a worker that a drain empties.
    pub(super) fn set_members(&self, worker: u8, counted: &HashMap<u64, u32>, now: Duration) {
        let mut departures = self.departures.lock().unwrap_or_else(PoisonError::into_inner);
        departures.set_members(worker, counted, now);
    }

    /// Whether this life of this gateway is alive.
    pub fn is_live(&self, owner: &Owner) -> bool {
        self.gateways().iter().any(|g| g.id == owner.gateway && g.incarnation == owner.incarnation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_are_sent_to_those_that_are_spared_only_where_there_is_no_other() {
        let tables = Tables::default();
        let id = |number: u8| GatewayId::new(&format!("gw-{number}")).unwrap();
        let live = |number: u8| LiveGateway {
            id: id(number),
            incarnation: Incarnation(1),
            peer: number,
            mqtt: format!("host-{number}:1883"),
            mqtts: String::new(),
            serving: true,
            echoes: true,
            calls: true,
        };
        tables.set_gateways((1..=4).map(live).collect(), Duration::ZERO);
        let named = |client: usize| {
            let client = ClientId::new(&format!("client-{client}")).unwrap();
            tables.server_reference(&id(1), &client, false, None).unwrap()
        };
        tables.set_spared(vec![id(2), id(3)]);
        assert!((0..50).map(named).all(|it| it.starts_with("host-4:1883 host-")));
        tables.set_spared((1..=4).map(id).collect());
        let first: std::collections::BTreeSet<_> =
            (0..50).map(named).map(|it| it.split(' ').next().unwrap().to_owned()).collect();
        assert_eq!(first.len(), 3, "{first:?}");
    }
}
