//! A worker's simulated sockets, and what its cores asked of the rest of the process in this turn.
//!
//! Mirrors `gateway/src/worker/io.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use protocol::GatewayId;
use protocol::mqtt::codec;
use protocol::peer::{InterestChange, SharedTarget};
use tidegate::hub::{Ask, Close, ConnId, Forward, Outlet, Tables};
use tidegate::links::Command;
use tidegate::tail::{ShadowQuestion, TailAsk};
use tidegate::worker::Mail;

use super::agenda::Place;
use super::around::Around;
use super::mistakes::Mistake;
use super::network::{End, WireId};
use super::post::Post;

/// One socket with everything that waits on it.
#[derive(Debug)]
pub(super) struct Socket {
    life: u32,
    pub(super) wire: WireId,
    pub(super) outbox: Vec<u8>,
    /// How much of the outbox those who know the truth have seen.
    shown: usize,
    /// The longest packet so far, in bytes.
    longest: usize,
    pub(super) inbox: Vec<u8>,
    pub(super) unhandled: bool,
    pub(super) paused: bool,
    pub(super) closing: Option<Closing>,
    dirty: bool,
    pub(super) blocked: bool,
}

/// How far the end of a connection is.
#[derive(Debug, Clone, Copy)]
pub(super) struct Closing {
    how: Close,
    pub(super) shut: bool,
    pub(super) until: Duration,
}

impl Closing {
    /// Whether the other side is given time to close first.
    /// Whether the client is sent to another gateway.
    pub(super) fn is_move(self) -> bool {
        matches!(self.how, Close::Redirect(_))
    }

    pub(super) fn lingers(self) -> bool {
        self.how != Close::Quiet
    }
}

/// The sockets of one worker.
#[derive(Debug)]
pub(super) struct Outlets {
    place: Place,
    worker: u8,
    workers: usize,
    tables: Arc<Tables>,
    peers: Vec<GatewayId>,
    sockets: Vec<Option<Socket>>,
    by_wire: BTreeMap<WireId, u32>,
    next_life: u32,
    pub(super) dirty: Vec<u32>,
    /// Sockets that want their turn.
    pub(super) ready: BTreeSet<u32>,
    pub(super) posts: Vec<Post>,
    pub(super) wants_numbers: bool,
    pub(super) tells_interest: bool,
    pub(super) now: Duration,
}

/// What may wait for one device that does not read before no packet more is begun for it: the limit of its gateway.
pub(super) const OUTBOX_BYTES: usize = 2048;
/// What is said to it all the same: CONNACK, what it is answered, and the PUBRELs of its session.
const ANSWERS_BYTES: usize = 1024;
/// How long a client that was told to go may take to close.
const LINGER: Duration = Duration::from_secs(2);

impl Outlets {
    pub(super) const fn new(place: Place, worker: u8, workers: usize, tables: Arc<Tables>) -> Self {
        Self {
            place,
            worker,
            workers,
            tables,
            peers: Vec::new(),
            sockets: Vec::new(),
            by_wire: BTreeMap::new(),
            next_life: 0,
            dirty: Vec::new(),
            ready: BTreeSet::new(),
            posts: Vec::new(),
            wants_numbers: false,
            tells_interest: false,
            now: Duration::ZERO,
        }
    }

    pub(super) fn add(&mut self, wire: WireId, rest: Vec<u8>) -> ConnId {
        self.next_life += 1;
        let life = self.next_life;
        let socket = Socket {
            life,
            wire,
            outbox: Vec::new(),
            shown: 0,
            longest: 0,
            unhandled: !rest.is_empty(),
            inbox: rest,
            paused: true,
            closing: None,
            dirty: false,
            blocked: false,
        };
        let free = self.sockets.iter().position(Option::is_none);
        let at = free.unwrap_or(self.sockets.len());
        match self.sockets.get_mut(at) {
            Some(place) => *place = Some(socket),
            None => self.sockets.push(Some(socket)),
        }
        let index = u32::try_from(at).unwrap_or(u32::MAX);
        self.by_wire.insert(wire, index);
        ConnId { index, life }
    }

    pub(super) fn remove(&mut self, conn: ConnId) -> Option<WireId> {
        let wire = self.socket(conn)?.wire;
        self.by_wire.remove(&wire);
        if let Some(place) = self.sockets.get_mut(conn.index as usize) {
            *place = None;
        }
        Some(wire)
    }

    pub(super) fn socket(&mut self, conn: ConnId) -> Option<&mut Socket> {
        let socket = self.sockets.get_mut(conn.index as usize)?.as_mut()?;
        (socket.life == conn.life).then_some(socket)
    }

    pub(super) fn conn_at(&self, index: u32) -> Option<ConnId> {
        let socket = self.sockets.get(index as usize)?.as_ref()?;
        Some(ConnId { index, life: socket.life })
    }

    /// How each connection stands.
    pub(super) fn describe(&self) -> Vec<(ConnId, WireId, String)> {
        let sockets = self.sockets.iter().enumerate();
        let described = sockets.filter_map(|(index, socket)| {
            let socket = socket.as_ref()?;
            let index = u32::try_from(index).ok()?;
            let how = format!(
                "paused {}, blocked {}, {} in its outbox, closing {}, ready {}",
                socket.paused,
                socket.blocked,
                socket.outbox.len(),
                socket.closing.is_some(),
                self.ready.contains(&index)
            );
            Some((ConnId { index, life: socket.life }, socket.wire, how))
        });
        described.collect()
    }

    pub(super) fn is_blocked(&self, index: u32) -> bool {
        let socket = self.sockets.get(index as usize).and_then(Option::as_ref);
        socket.is_some_and(|socket| socket.blocked)
    }

    /// Marks the socket of a wire; answers whether it is one of these.
    pub(super) fn wake(&mut self, wire: WireId) -> bool {
        let Some(index) = self.by_wire.get(&wire) else { return false };
        self.ready.insert(*index);
        true
    }

    /// Sockets whose clients took too long to close get their turn.
    pub(super) fn remind_late(&mut self) {
        for (index, socket) in self.sockets.iter().enumerate() {
            let late = |s: &Socket| s.closing.is_some_and(|c| self.now >= c.until);
            if socket.as_ref().is_some_and(late) {
                self.ready.insert(u32::try_from(index).unwrap_or(u32::MAX));
            }
        }
    }

    /// Shows what was written since the last time to those who know the truth.
    pub(super) fn show(&mut self, around: &mut Around) {
        for index in &self.dirty {
            if let Some(socket) = self.sockets.get_mut(*index as usize).and_then(Option::as_mut) {
                socket.show(self.place, around);
                if let Some(closing) = socket.closing {
                    around.truth.let_go(socket.wire, closing.is_move(), around.now);
                }
            }
        }
    }

    /// Sends what a socket's outbox holds, as far as there is room. Answers whether all of it is gone.
    pub(super) fn write(&mut self, index: u32, around: &mut Around) -> bool {
        let socket = self.sockets.get_mut(index as usize).and_then(Option::as_mut);
        let Some(socket) = socket else { return true };
        socket.dirty = false;
        socket.show(self.place, around);
        if !socket.outbox.is_empty() {
            let sent = around.send((socket.wire, End::Accepter), &socket.outbox);
            socket.outbox.drain(..sent.min(socket.outbox.len()));
            socket.shown = socket.shown.saturating_sub(sent);
        }
        socket.blocked = !socket.outbox.is_empty();
        !socket.blocked
    }

    /// Whether anything waits to leave this worker.
    pub(super) const fn has_something(&self) -> bool {
        !self.dirty.is_empty()
            || !self.posts.is_empty()
            || self.wants_numbers
            || self.tells_interest
    }
}

impl Socket {
    fn show(&mut self, place: Place, around: &mut Around) {
        let fresh = self.outbox.get_mut(self.shown..).unwrap_or_default();
        // Whole packets: the longest of them was begun within the limit.
        let mut rest = &*fresh;
        while let Ok(Some(len)) = codec::frame(rest, u32::MAX) {
            self.longest = self.longest.max(len);
            rest = rest.get(len..).unwrap_or_default();
        }
        let bytes = self.shown + fresh.len();
        if bytes > OUTBOX_BYTES + self.longest + ANSWERS_BYTES {
            let site = place.site + 1;
            let what = format!("gw-{site} holds {bytes} bytes for wire {}", self.wire.0);
            around.truth.breach("M6", what);
        }
        Mistake::writes(around.mistake, fresh);
        if !fresh.is_empty() {
            around.truth.gateway_wrote(self.wire, place, fresh, around.now, &mut around.journal);
            self.shown = self.outbox.len();
        }
    }
}

impl Outlet for Outlets {
    fn outbox(&mut self, conn: ConnId) -> Option<&mut Vec<u8>> {
        let socket = self.sockets.get_mut(conn.index as usize)?.as_mut()?;
        if socket.life != conn.life {
            return None;
        }
        if !socket.dirty {
            socket.dirty = true;
            self.dirty.push(conn.index);
        }
        Some(&mut socket.outbox)
    }

    fn close(&mut self, conn: ConnId, how: Close) {
        let until = self.now + LINGER;
        if let Some(socket) = self.socket(conn)
            && socket.closing.is_none()
        {
            socket.closing = Some(Closing { how, shut: false, until });
            if !socket.dirty {
                socket.dirty = true;
                self.dirty.push(conn.index);
            }
            self.ready.insert(conn.index);
        }
    }

    fn resume(&mut self, conn: ConnId) {
        if let Some(socket) = self.socket(conn) {
            socket.paused = false;
            self.ready.insert(conn.index);
        }
    }

    fn ask(&mut self, ask: Ask) {
        let worker = self.worker;
        match ask {
            Ask::Presence(client) => self.tail(TailAsk::Presence { worker, client }),
            Ask::Read(client) => self.tail(TailAsk::Read { worker, client }),
            Ask::Attach { session, after, credit } => {
                self.tail(TailAsk::Attach { worker, session, after, credit });
            }
            Ask::Refresh(refresh) => self.tail(TailAsk::Refresh { worker, refresh }),
            Ask::Detach(session) => self.tail(TailAsk::Detach(session)),
            Ask::Advance(session) => self.tail(TailAsk::Advance(session)),
            Ask::NotGiven(of) => self.tail(TailAsk::NotGiven(of)),
            Ask::Pull(session, credit) => self.tail(TailAsk::Pull(session, credit)),
            Ask::Release { to, request, client, epoch } => {
                let request = (u64::from(worker) << 56) | request;
                self.posts.push(Post::Links(Command::Release { to, request, client, epoch }));
            }
            Ask::Released { to, request, outcome } => {
                let answer = Command::Released { to, ticket: request, outcome };
                self.posts.push(Post::Links(answer));
            }
            Ask::Interest => self.tells_interest = true,
            Ask::Workers(workers, forward) => self.forward_to_workers(workers, &forward),
            Ask::Peers(peers, forward) => self.forward_to_peers(peers, &forward),
            Ask::CatchUp(look) => self.tail(TailAsk::CatchUp { worker, look }),
            Ask::SessionNumbers => self.wants_numbers = true,
            Ask::Shadow(to, mail) => self.posts.push(Post::Worker(to, Mail::Shadow(mail))),
            Ask::ReadShadow(key, most) => {
                self.tail(TailAsk::Shadow(ShadowQuestion::Read { worker, key, most }));
            }
            // No simulated device uses enhanced authentication.
            Ask::Authenticate(_) => {}
        }
    }
}

impl Outlets {
    fn tail(&mut self, ask: TailAsk) {
        self.posts.push(Post::Tail(ask));
    }

    fn forward_to_workers(&mut self, workers: u64, forward: &Forward) {
        for at in (0..self.workers).filter(|at| workers & (1 << at) != 0) {
            let at = u8::try_from(at).unwrap_or(u8::MAX);
            self.posts.push(Post::Worker(at, Mail::Forward(forward.clone())));
        }
    }

    fn forward_to_peers(&mut self, peers: u128, forward: &Forward) {
        for at in (0..128_usize).filter(|at| peers & (1 << at) != 0) {
            if at >= self.peers.len() {
                self.peers = self.tables.peers();
            }
            let Some(to) = self.peers.get(at) else { continue };
            let shared = forward.shared.iter().map(|member| SharedTarget {
                share: member.0.share.clone(),
                filter: member.0.filter.clone(),
            });
            self.posts.push(Post::Links(Command::Forward {
                to: to.clone(),
                plain: forward.plain,
                shared: shared.collect(),
                publication: forward.publication.clone(),
            }));
        }
    }
}

/// A change of interest as peers are told it.
pub(super) fn told(delta: fanout::InterestDelta) -> InterestChange {
    InterestChange { filter: delta.filter, share: delta.share, members: delta.members }
}
