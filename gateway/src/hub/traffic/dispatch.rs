//! A publication on its way to everyone who wants it, encoded once per kind of receiver.

use std::rc::Rc;
use std::sync::Arc;

use fanout::{GroupKey, LocalDelivery, LocalRoute, Neighbour, Pick, Readiness, SharedGroup, Slot};
use protocol::session::{Delivery, DropReason};
use protocol::{Now, Publication, QoS, Refs, RefsBuilder, SessionNo};
use smallvec::SmallVec;

use crate::hub::session::live::Live;
use crate::hub::traffic::encode::Copy;
use crate::hub::traffic::route_cache::{Route, Versions};
use crate::hub::{Ask, ConnId, Hub, Outlet, Turn};

/// A shared group one of whose members, at the neighbour, gets the publication.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SharedMember(pub GroupKey);

/// A copy of a publication for a neighbour.
#[derive(Debug, Clone)]
pub struct Forward {
    /// The message.
    pub publication: Publication,
    /// Whether it is for all plain subscribers there.
    pub plain: bool,
    /// The groups it is for.
    pub shared: SmallVec<[SharedMember; 1]>,
}

/// A publication and everyone who gets it without a stored queue.
#[derive(Debug)]
pub struct Dispatch {
    pub(in crate::hub) publication: Publication,
    pub(in crate::hub) route: Rc<Route>,
    /// The publisher's own session, for No Local; none if it came from elsewhere.
    pub(in crate::hub) publisher: Option<ConnId>,
    /// One member of each of these groups, by who serves it.
    pub(in crate::hub) shared: SmallVec<[(Neighbour, SharedMember); 1]>,
}

impl Dispatch {
    /// Whether it is of a client's packet at QoS 0 that is not retained.
    pub(crate) fn needs_no_store(&self) -> bool {
        let Publication { qos, retain, .. } = self.publication;
        qos == QoS::AtMostOnce && !retain && self.publisher.is_some()
    }
}

/// Everything about where a publication goes, decided before anything is stored.
pub(in crate::hub) struct Plan {
    pub(in crate::hub) refs: Refs,
    pub(in crate::hub) shared: SmallVec<[(Neighbour, SharedMember); 1]>,
    /// Whether a shared group gives it to a stored queue.
    pub(in crate::hub) given: bool,
}

/// Members of a shared group that are looked at for one that takes a publication now.
const TURNS: usize = 4;

impl Hub {
    /// Decides who gets a publication: which stored queues, and which member of each shared group.
    pub(in crate::hub) fn plan(
        &self,
        route: &Route,
        qos: QoS,
        publisher: Option<SessionNo>,
    ) -> Plan {
        let mut refs = route.fleet.refs_of(qos).clone();
        if let Some(publisher) = publisher.filter(|p| route.fleet.no_local.contains(p)) {
            let mut builder = RefsBuilder::default();
            let others = refs.given().filter(|(no, ..)| *no != publisher);
            others.for_each(|one| builder.push_given(one));
            refs = builder.build();
        }
        let mut shared = SmallVec::new();
        // One builder for all groups: a session may be in very many of them.
        let mut stored = None;
        for (key, group) in &route.fleet.groups {
            match self.pick_member(route, group, qos) {
                Some(Pick::Neighbour(neighbour)) => {
                    shared.push((neighbour, SharedMember(key.clone())));
                }
                Some(Pick::Durable(session, granted)) => {
                    let builder = stored.get_or_insert_with(|| {
                        let mut builder = RefsBuilder::default();
                        refs.given().for_each(|one| builder.push_given(one));
                        builder
                    });
                    builder.push_shared(session, granted.min(qos), group.tag());
                }
                None => {}
            }
        }
        let given = stored.is_some();
        if let Some(mut builder) = stored {
            refs = builder.build();
        }
        Plan { refs, shared, given }
    }

    /// Whose turn it is in a group. What is acknowledged goes to those that have a queue, as long as one of them is online and
    /// keeps up: what a member without one is given is lost with the gateway that serves it. A persistent member of this
    /// worker that takes no more for now is passed over.
    pub(in crate::hub) fn pick_member(
        &self,
        route: &Route,
        group: &SharedGroup,
        qos: QoS,
    ) -> Option<Pick> {
        if qos != QoS::AtMostOnce
            && group.is_queued()
            && let Some((session, granted)) = self.pick_queued(route, group)
        {
            return Some(Pick::Durable(session, granted));
        }
        let mut first = None;
        for _ in 0..TURNS {
            let pick = group.pick(route.next_turn(), qos)?;
            let stuck = match pick {
                Pick::Durable(no, _) => self.is_stuck_here(no),
                Pick::Neighbour(_) => false,
            };
            if !stuck {
                return Some(pick);
            }
            first.get_or_insert(pick);
        }
        first
    }

    /// A member that is online, takes something now and has a queue.
    fn pick_queued(&self, route: &Route, group: &SharedGroup) -> Option<(SessionNo, QoS)> {
        let mut turns = (0..TURNS).map_while(|_| group.pick_queued(route.next_turn()));
        turns.find(|(session, _)| !self.is_stuck_here(*session))
    }

    /// Whether a persistent session is served here and takes nothing for now.
    pub(super) fn is_stuck_here(&self, no: SessionNo) -> bool {
        let live = self.by_no.get(&no).and_then(|slot| self.sessions.get(*slot as usize));
        live.is_some_and(|live| self.is_stuck(live))
    }

    pub(super) fn is_stuck(&self, live: &Live) -> bool {
        let congested = self.connection(live.conn).is_some_and(|c| c.congested);
        live.leaving || congested || (!live.session.has_room() && live.session.queue_len() > 0)
    }

    /// Gives a publication to everyone it is for, apart from stored queues.
    pub(crate) fn dispatch(&mut self, dispatch: &Dispatch, cx: &mut Turn<'_>) {
        self.dispatch_to(dispatch, u128::MAX, cx);
    }

    /// The same, but to peer gateways only what a shared group gives there.
    pub(in crate::hub) fn dispatch_here(&mut self, dispatch: &Dispatch, cx: &mut Turn<'_>) {
        self.dispatch_to(dispatch, 0, cx);
    }

    /// Gives a publication to the plain subscribers of this process that get it without a stored queue.
    pub(in crate::hub) fn dispatch_plain_here(
        &mut self,
        publication: Publication,
        cx: &mut Turn<'_>,
    ) {
        let route = self.cache.get(publication.topic(), &self.table, &self.tables);
        self.deliver_plain(&publication, &route.local, None, cx);
        let workers = route.fleet.workers.of(publication.qos) & !(1 << self.config.worker);
        if workers != 0 {
            let forward = Forward { publication, plain: true, shared: SmallVec::new() };
            cx.out.ask(Ask::Workers(workers, forward));
        }
    }

    #[inline]
    fn dispatch_to(&mut self, dispatch: &Dispatch, peers_told: u128, cx: &mut Turn<'_>) {
        let later;
        let route = if dispatch.route.of == Versions::now(&self.table, &self.tables) {
            &*dispatch.route
        } else {
            // It waited for the store, and others may have come and gone meanwhile, or places have changed hands.
            later = self.cache.get(dispatch.publication.topic(), &self.table, &self.tables);
            &*later
        };
        self.deliver_plain(&dispatch.publication, &route.local, dispatch.publisher, cx);
        let me = self.config.worker;
        let level = dispatch.publication.qos;
        let fleet = &route.fleet;
        let workers = fleet.workers.of(level) & !(1 << me);
        let peers = fleet.peers.of(level) & peers_told;
        if dispatch.shared.is_empty() {
            let forward = |plain| Forward {
                publication: dispatch.publication.clone(),
                plain,
                shared: SmallVec::new(),
            };
            if workers != 0 {
                cx.out.ask(Ask::Workers(workers, forward(true)));
            }
            if peers != 0 {
                cx.out.ask(Ask::Peers(peers, forward(true)));
            }
            return;
        }
        self.dispatch_shared(dispatch, (workers, peers), cx);
    }

    /// With shared groups every neighbour may get something else; still one copy each.
    fn dispatch_shared(
        &mut self,
        dispatch: &Dispatch,
        (workers, peers): (u64, u128),
        cx: &mut Turn<'_>,
    ) {
        let me = Neighbour::Worker(self.config.worker);
        let of = |neighbour: Neighbour| -> SmallVec<[SharedMember; 1]> {
            let mine = dispatch.shared.iter().filter(|(n, _)| *n == neighbour);
            mine.map(|(_, member)| member.clone()).collect()
        };
        self.deliver_shared(&dispatch.publication, &of(me), cx);
        let picked = dispatch.shared.iter().map(|(n, _)| *n);
        let plain_workers = (0..64).filter(|w| workers & (1 << w) != 0).map(Neighbour::Worker);
        let plain_peers = (0..128).filter(|p| peers & (1 << p) != 0).map(Neighbour::Peer);
        let mut neighbours: Vec<_> = picked.chain(plain_workers).chain(plain_peers).collect();
        neighbours.sort_unstable();
        neighbours.dedup();
        for neighbour in neighbours.into_iter().filter(|n| *n != me) {
            let mut forward = Forward {
                publication: dispatch.publication.clone(),
                plain: false,
                shared: of(neighbour),
            };
            match neighbour {
                Neighbour::Worker(w) => {
                    forward.plain = workers & (1 << w) != 0;
                    cx.out.ask(Ask::Workers(1 << w, forward));
                }
                Neighbour::Peer(p) => {
                    forward.plain = peers & (1 << p) != 0;
                    cx.out.ask(Ask::Peers(1 << p, forward));
                }
            }
        }
    }

    /// A copy that another worker or a peer gateway gave us: delivered here only.
    pub fn handle_forward(&mut self, forward: &Forward, cx: &mut Turn<'_>) {
        if forward.plain {
            let route = self.cache.local(forward.publication.topic(), &self.table);
            self.deliver_plain(&forward.publication, &route, None, cx);
        }
        self.deliver_shared(&forward.publication, &forward.shared, cx);
    }

    fn deliver_plain(
        &mut self,
        publication: &Publication,
        route: &LocalRoute,
        publisher: Option<ConnId>,
        cx: &mut Turn<'_>,
    ) {
        self.encoder.begin();
        for to in &route.sessions {
            if to.durable && to.qos.min(publication.qos) != QoS::AtMostOnce {
                // It comes through the session's stored queue.
                continue;
            }
            let conn = self.sessions.get(to.slot as usize).map(|live| live.conn);
            if to.no_local && publisher.is_some() && publisher == conn {
                continue;
            }
            self.deliver_live(to, publication, None, cx);
        }
    }

    pub(in crate::hub) fn deliver_shared(
        &mut self,
        publication: &Publication,
        members: &[SharedMember],
        cx: &mut Turn<'_>,
    ) {
        for SharedMember(key) in members {
            let (sessions, connections) = (&self.sessions, &self.connections);
            let readiness = |slot: Slot| {
                let live = sessions.get(slot as usize).filter(|live| !live.leaving);
                let Some(live) = live else { return Readiness::Leaving };
                let place = connections.get(live.conn.index as usize).and_then(Option::as_ref);
                let reads = place.is_some_and(|connection| !connection.congested);
                if reads && live.session.has_room() { Readiness::Ready } else { Readiness::Busy }
            };
            let picked = self.table.pick(&key.share, &key.filter, publication.qos, readiness);
            if let Some((to, group)) = picked {
                self.encoder.begin();
                self.deliver_live(&to, publication, Some(group), cx);
            } else if publication.qos == QoS::AtMostOnce {
                self.metrics.dropped_no_member.add(1);
            } else {
                // Whoever chose this worker did not know yet that its members are gone.
                self.returning.wait((key.to_string().into(), publication.clone()));
            }
        }
    }

    /// Delivers to one attached session that gets it without a stored queue; `shared` is the group that chose it.
    pub(super) fn deliver_live(
        &mut self,
        to: &LocalDelivery,
        publication: &Publication,
        shared: Option<Arc<str>>,
        cx: &mut Turn<'_>,
    ) {
        let Some(live) = self.sessions.get_mut(to.slot as usize).filter(|live| !live.leaving)
        else {
            return;
        };
        let qos = to.qos.min(publication.qos);
        let retain = to.retain_as_published && publication.retain;
        if qos != QoS::AtMostOnce {
            let delivery = Delivery {
                publication: publication.clone(),
                qos,
                retain,
                dup: false,
                position: None,
                ids: to.ids.clone(),
                shared,
            };
            self.enqueue_live(to.slot, delivery);
            self.pump(to.slot, cx);
            // Something else may have gone with it, encoded for its receiver alone.
            self.encoder.begin();
            return;
        }
        let conn = live.conn;
        self.send_at_most_once(conn, publication, (retain, &to.ids), cx.now, cx.out);
    }

    /// Writes a QoS 0 PUBLISH, copied from the shared encoding unless it carries identifiers of its own.
    pub(in crate::hub) fn send_at_most_once(
        &mut self,
        conn: ConnId,
        publication: &Publication,
        (retain, ids): (bool, &[u32]),
        now: Now,
        out: &mut dyn Outlet,
    ) {
        let place = self.connections.get_mut(conn.index as usize).and_then(Option::as_mut);
        let Some(connection) = place.filter(|c| c.life == conn.life) else { return };
        let Some((outbox, waiting)) = out.outbox_and_waiting(conn) else { return };
        let most = self.config.outbox_bytes.min(connection.outbox_bytes());
        if waiting > most {
            connection.congested = true;
            return self.note_drop_of(conn, DropReason::OutboxFull);
        }
        let Some(expiry_s) = remaining(publication, now) else {
            return self.note_drop_of(conn, DropReason::Expired);
        };
        let copy = Copy { retain, ids, expiry_s };
        if !self.encoder.write(outbox, connection, publication, copy) {
            // Too large for this client: as if it had been sent [MQTT5-3.1.2-25].
            return self.note_drop_of(conn, DropReason::TooLarge);
        }
        self.flows.count(conn.index, now.mono);
        self.metrics.count_deliveries(0, 1);
        self.metrics.packets_sent.add(1);
    }
}

/// The seconds a message is still worth delivering: `None` if it has expired `[MQTT5-3.3.2-5]`, `Some(None)` if it never does.
#[expect(clippy::option_option, reason = "expired and unlimited are different answers")]
pub(in crate::hub) fn remaining(publication: &Publication, now: Now) -> Option<Option<u32>> {
    match publication.expires_at {
        None => Some(None),
        Some(at) if at <= now.wall => None,
        Some(at) => {
            let seconds = now.wall.until(at).as_millis().div_ceil(1000);
            Some(Some(u32::try_from(seconds).unwrap_or(u32::MAX)))
        }
    }
}
