//! The links' thread: the real machines of the peer protocol over simulated wires.
//!
//! Mirrors `gateway/src/links/{driver,peer}.rs` and `gateway/src/service/events.rs`.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fanout::{GroupKey, InterestDelta};
use protocol::peer::{
    Acceptor, AcceptorEvent, DiallerEvent, Frame, FrameBuffer, HashChange, Identity,
    InterestChange, OwnInterest, PeerLimits, ReleaseOutcome, SharedTargets,
};
use protocol::{GatewayId, LogSeq, Now, Publication, QoS};
use smallvec::SmallVec;
use tidegate::hub::{Forward, ReleaseAsked, SharedMember, Tables};
use tidegate::links::{Command, PeerAddress};
use tidegate::tail::{TailAsk, worker_of};
use tidegate::worker::Mail;

use super::agenda::Place;
use super::around::Around;
use super::network::{End, WireId};
use super::peer::{Peer, Side};
use super::post::{Note, Post, Then};
use super::tail::{Frontier, Peers};
use super::truth::message_of;

/// The links of one gateway.
#[derive(Debug)]
pub(super) struct Links {
    place: Place,
    me: Identity,
    tables: Arc<Tables>,
    workers: usize,
    peers: BTreeMap<GatewayId, Peer>,
    /// What the peers that were given up had forwarded.
    given_up: BTreeMap<GatewayId, Acceptor>,
    interest: OwnInterest,
    log: LogSeq,
    applied: LogSeq,
    told: Option<Peers>,
    good_until: Duration,
    /// How often this gateway came back from an absence.
    back: u64,
    pub(super) inbox: Vec<Command>,
    /// Wires that have something to read.
    pub(super) ready: Vec<(WireId, End)>,
    /// Attempts that came to an end: peer, number, and the wire if there is one.
    pub(super) dialled: Vec<(usize, u64, Option<WireId>)>,
    /// Who dialled and has not said yet who it is.
    greeting: BTreeMap<WireId, FrameBuffer>,
    turns: u64,
    poked: Option<LogSeq>,
}

/// What a link may hold here.
pub(super) fn limits() -> PeerLimits {
    PeerLimits::default()
}

impl Links {
    pub(super) fn new(place: Place, me: Identity, tables: Arc<Tables>, workers: usize) -> Self {
        Self {
            place,
            me,
            tables,
            workers,
            peers: BTreeMap::new(),
            given_up: BTreeMap::new(),
            interest: OwnInterest::default(),
            log: LogSeq(0),
            applied: LogSeq(0),
            told: None,
            good_until: Duration::MAX,
            back: 0,
            inbox: Vec::new(),
            ready: Vec::new(),
            dialled: Vec::new(),
            greeting: BTreeMap::new(),
            turns: 0,
            poked: None,
        }
    }

    /// Everything that came, then every command, then one write per connection.
    pub(super) fn turn(
        &mut self,
        now: Now,
        frontier: &mut Frontier,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) {
        for (site, number, wire) in std::mem::take(&mut self.dialled) {
            self.handle_dialled((site, number), wire, now, around, posts);
        }
        for (wire, end) in std::mem::take(&mut self.ready) {
            self.handle_readable(wire, end, now, around, posts);
        }
        self.with_each(around, posts, |peer, around| peer.handle_timeout(now, around));
        for command in std::mem::take(&mut self.inbox) {
            self.handle_command(command, now, around, posts);
        }
        for peer in self.peers.values_mut() {
            if around.is_tight {
                let room = (around.random.below(4), around.random.below(1_500));
                peer.acceptor.set_room(room.0, room.1);
            }
            peer.pump(&self.interest, around);
        }
        self.tell_progress(frontier, posts);
        if let Some(seq) = self.poked.take() {
            frontier.note_poke(seq);
            posts.push(Post::Tail(TailAsk::Poke));
        }
    }

    /// Whether a peer waits for room here.
    pub(super) fn withholds(&self) -> bool {
        self.peers.values().any(|peer| peer.acceptor.withholds())
    }

    fn tell_progress(&mut self, frontier: &mut Frontier, posts: &mut Vec<Post>) {
        let heard = self.peers.values().map(|peer| peer.heard.unwrap_or_default()).min();
        self.tables.set_heard(heard.unwrap_or(u64::MAX));
        let mut progress = (u64::MAX, LogSeq(u64::MAX), self.good_until);
        for peer in self.peers.values() {
            progress.0 = progress.0.min(peer.dialler.acked_interest());
            progress.1 = progress.1.min(peer.dialler.poked());
        }
        if self.told != Some(progress) {
            self.told = Some(progress);
            frontier.set_peers(progress, posts);
        }
    }

    fn with_each(
        &mut self,
        around: &mut Around,
        posts: &mut Vec<Post>,
        step: impl Fn(&mut Peer, &mut Around),
    ) {
        let ids: Vec<_> = self.peers.keys().cloned().collect();
        for id in ids {
            if let Some(peer) = self.peers.get_mut(&id) {
                step(peer, around);
            }
            self.tell(&id, around, posts);
        }
    }

    fn handle_command(
        &mut self,
        command: Command,
        now: Now,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) {
        match command {
            Command::Peers(peers) => self.handle_peers(peers, around, posts),
            Command::Looked(good_until) => self.good_until = good_until,
            Command::Back(times) => {
                self.back = times;
                self.with_each(around, posts, Peer::ask_anew);
            }
            Command::Interest { rev, changes } => {
                let news = self.interest.change(rev, changes);
                self.with_each(around, posts, |peer, around| {
                    peer.interest_changed(&news, around);
                });
            }
            Command::Forward { to, plain, shared, publication } => {
                if let Some(peer) = self.peers.get_mut(&to) {
                    let (me, number) = (self.place.site + 1, message_of(&publication));
                    around.note(format_args!("gw-{me} forwards m{number} to {to}"));
                    let way = (self.place, peer.site);
                    around.truth.forwarded(way, number, plain, around.now);
                    let _dropped = peer.dialler.forward(plain, shared, publication);
                } else if publication.qos != QoS::AtMostOnce {
                    self.forward(false, shared, &publication, posts);
                }
            }
            Command::Poke(seq) => {
                self.log = self.log.max(seq);
                self.peers.values_mut().for_each(|peer| peer.dialler.poke(seq));
            }
            Command::Applied(seq) => {
                self.applied = self.applied.max(seq);
                self.peers.values_mut().for_each(|peer| peer.acceptor.applied(seq));
            }
            Command::Release { to, request, client, epoch } => {
                if let Some(peer) = self.peers.get_mut(&to) {
                    peer.dialler.release(request, client, epoch);
                    self.tell(&to, around, posts);
                } else {
                    posts.push(released(request, None));
                }
            }
            Command::Released { to, ticket, outcome } => {
                if let Some(peer) = self.peers.get_mut(&to) {
                    peer.acceptor.released(ticket, outcome);
                }
            }
            Command::InterestApplied { from, ticket } => {
                if let Some(peer) = self.peers.get_mut(&from) {
                    peer.acceptor.interest_applied(ticket);
                }
            }
            Command::AskCredit { .. }
            | Command::Credit { .. }
            | Command::Revoked(_)
            | Command::Beside(_)
            | Command::Stop => {}
        }
        let _ = now;
    }

    fn handle_peers(&mut self, live: Vec<PeerAddress>, around: &mut Around, posts: &mut Vec<Post>) {
        let mut before = std::mem::take(&mut self.peers);
        for record in live {
            let id = record.gateway.clone();
            let peer = if let Some(mut peer) = before.remove(&id) {
                peer.recorded = record.incarnation;
                peer
            } else {
                let known = self.given_up.remove(&id);
                let mut peer = Peer::new(self.place, self.me.clone(), record, known, around);
                peer.dialler.poke(self.log);
                peer.acceptor.applied(self.applied);
                peer
            };
            self.peers.insert(id, peer);
        }
        for (id, mut peer) in before {
            around.note(format_args!("gw-{} gives {id} up", self.place.site + 1));
            peer.leave(around);
            while let Some(event) = peer.dialler.poll_event() {
                tell_dialler_event(&event, posts);
            }
            self.interest_of(&id, true, 0, Default::default(), posts);
            for (shared, publication) in peer.dialler.take_unclaimed() {
                let (me, number) = (self.place.site + 1, message_of(&publication));
                around.note(format_args!("gw-{me} takes m{number} back from {id}"));
                self.forward(false, shared, &publication, posts);
            }
            self.given_up.insert(id, peer.acceptor);
        }
    }

    fn handle_dialled(
        &mut self,
        (site, number): (usize, u64),
        wire: Option<WireId>,
        now: Now,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) {
        let found = self.peers.iter_mut().find(|(_, peer)| peer.site == site);
        let Some((id, peer)) = found else { return };
        peer.handle_dialled(number, wire, now, around);
        let id = id.clone();
        self.tell(&id, around, posts);
    }

    fn handle_readable(
        &mut self,
        wire: WireId,
        end: End,
        now: Now,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) {
        let known = self.peers.iter_mut().find(|(_, peer)| peer.has(wire));
        if let Some((id, peer)) = known {
            let id = id.clone();
            let side = if end == End::Opener { Side::Dialled } else { Side::Accepted };
            peer.read(side, wire, now, around);
            return self.tell(&id, around, posts);
        }
        if end == End::Accepter {
            self.greet(wire, now, around, posts);
        }
    }

    /// Somebody dialled; the first frame says who.
    fn greet(&mut self, wire: WireId, now: Now, around: &mut Around, posts: &mut Vec<Post>) {
        let fresh = || FrameBuffer::new(limits().max_frame_bytes);
        let mut buffer = self.greeting.remove(&wire).unwrap_or_else(fresh);
        let arrived = around.read((wire, End::Accepter), usize::MAX);
        buffer.space().extend_from_slice(&arrived.bytes);
        match buffer.take() {
            Ok(Some(Frame::Hello { version, fleet, gateway, incarnation })) => {
                let hello = Frame::Hello { version, fleet, gateway: gateway.clone(), incarnation };
                let Some(peer) = self.peers.get_mut(&gateway) else {
                    // Its record may be newer than our view of the store; it will dial again.
                    return around.close(wire, End::Accepter);
                };
                peer.handle_accepted(wire, buffer, (hello, incarnation), now, around);
                self.tell(&gateway, around, posts);
            }
            Ok(None) if !arrived.over => {
                self.greeting.insert(wire, buffer);
            }
            Ok(_) | Err(_) => around.close(wire, End::Accepter),
        }
    }

    /// Passes on what the machines of a peer have to tell.
    fn tell(&mut self, id: &GatewayId, around: &mut Around, posts: &mut Vec<Post>) {
        loop {
            let Some(peer) = self.peers.get_mut(id) else { return };
            if let Some(event) = peer.dialler.poll_event() {
                if let DiallerEvent::Welcomed { incarnation, fresh } = &event {
                    peer.backoff_ms = 50;
                    peer.prompted = false;
                    peer.told_up = true;
                    let me = self.place.site + 1;
                    around.note(format_args!(
                        "gw-{me} is welcome at {id} of {incarnation}, fresh {fresh}"
                    ));
                }
                tell_dialler_event(&event, posts);
            } else if let Some(event) = peer.acceptor.poll_event() {
                if matches!(event, AcceptorEvent::Interest { replace: true, .. }) {
                    peer.heard = Some(self.back);
                }
                self.tell_acceptor_event(id, event, around, posts);
            } else {
                if peer.told_up && !peer.dialler.is_up() {
                    peer.told_up = false;
                    // What it committed last may not have been told.
                    self.poked = self.poked.max(Some(LogSeq(0)));
                }
                return;
            }
        }
    }

    fn tell_acceptor_event(
        &mut self,
        id: &GatewayId,
        event: AcceptorEvent,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) {
        match event {
            AcceptorEvent::Connected { fresh, .. } => {
                if fresh {
                    self.interest_of(id, true, 0, Default::default(), posts);
                }
            }
            AcceptorEvent::Interest { ticket, replace, changes, hashes } => {
                self.interest_of(id, replace, ticket, (changes, hashes), posts);
            }
            AcceptorEvent::Forward { plain, shared, publication } => {
                let (me, number) = (self.place.site + 1, message_of(&publication));
                around.note(format_args!("gw-{me} takes m{number} from {id}"));
                self.forward(plain, shared, &publication, posts);
            }
            AcceptorEvent::Release { ticket, client, epoch } => {
                let worker = worker_of(&client, self.workers);
                let asked = ReleaseAsked { from: id.clone(), request: ticket, client, epoch };
                posts.push(Post::Worker(worker, Mail::ReleaseAsked(asked)));
            }
            AcceptorEvent::Poke { seq } => self.poked = self.poked.max(Some(seq)),
            AcceptorEvent::DrainAsk { .. } => {}
        }
    }

    fn interest_of(
        &self,
        from: &GatewayId,
        replace: bool,
        ticket: u64,
        (changes, hashes): (Vec<InterestChange>, Vec<HashChange>),
        posts: &mut Vec<Post>,
    ) {
        let deltas: Vec<_> = changes
            .into_iter()
            .map(|c| InterestDelta { filter: c.filter, share: c.share, members: c.members })
            .collect();
        if let Some(peer) = self.tables.peer_index(from) {
            self.tables.set_peer(peer, replace, (&deltas, &hashes));
        }
        if ticket == 0 {
            return;
        }
        if replace {
            posts.push(Post::Service(Note::Synced(from.clone())));
        }
        let applied = Command::InterestApplied { from: from.clone(), ticket };
        posts.push(Post::Settle(Then::Tell(applied)));
    }

    fn forward(
        &mut self,
        plain: bool,
        shared: SharedTargets,
        publication: &Publication,
        posts: &mut Vec<Post>,
    ) {
        let level = publication.qos;
        let plain =
            if plain { self.tables.routes().workers(publication.topic()).of(level) } else { 0 };
        let mut members: Vec<(u8, SharedMember)> = Vec::new();
        for target in shared {
            self.turns = self.turns.wrapping_add(1);
            let key = GroupKey { share: target.share, filter: target.filter };
            let routes = self.tables.routes();
            let picked = routes.worker_of_group(&key, self.turns, publication.qos);
            // With no member left here, whoever is asked gives it to one elsewhere.
            members.push((picked.unwrap_or(0), SharedMember(key)));
        }
        for worker in 0..u8::try_from(self.workers).unwrap_or(u8::MAX) {
            let plain = plain & (1 << worker) != 0;
            let mine = members.iter().filter(|(w, _)| *w == worker);
            let shared: SmallVec<[SharedMember; 1]> = mine.map(|(_, m)| m.clone()).collect();
            if plain || !shared.is_empty() {
                let forward = Forward { publication: publication.clone(), plain, shared };
                posts.push(Post::Worker(worker, Mail::Forward(forward)));
            }
        }
    }

    /// The wires that stand between this gateway and a peer.
    pub(super) fn wires_to(&self, site: usize) -> Vec<WireId> {
        let peer = self.peers.values().find(|peer| peer.site == site);
        peer.map(Peer::wires).unwrap_or_default()
    }
}

fn tell_dialler_event(event: &DiallerEvent, posts: &mut Vec<Post>) {
    if let DiallerEvent::Released { request, outcome } = event {
        posts.push(released(*request, *outcome));
    }
}

/// The worker that asked stands in the top byte.
fn released(request: u64, outcome: Option<ReleaseOutcome>) -> Post {
    let worker = u8::try_from(request >> 56).unwrap_or(0);
    Post::Worker(worker, Mail::Released(request & !(0xff << 56), outcome))
}
