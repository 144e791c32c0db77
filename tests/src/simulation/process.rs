//! One life of one gateway: its threads, its tables, its front.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use protocol::mqtt::codec;
use protocol::mqtt::{ConnAck, ReasonCode};
use protocol::peer::Identity;
use protocol::session::QueueLimits;
use protocol::{GatewayId, Incarnation, Now};
use store::{MemoryStore, Store as _, StoreError};
use tidegate::config::PresenceSettings;
use tidegate::hub::{ConnectRequest, HubConfig, MoveOrder, ShadowRules, Tables};
use tidegate::service::begin_life;
use tidegate::tail::{Follower, Load, TailAsk, worker_of};
use tidegate::worker::Mail;

use super::agenda::{Actor, Event, Moment, Place};
use super::around::Around;
use super::committer::Committer;
use super::links::Links;
use super::mistakes::Mistake;
use super::network::{End, WireId};
use super::outlet::OUTBOX_BYTES;
use super::post::{Accepted, Note, Post, Then};
use super::service::{Admission, Service};
use super::tail::{Frontier, Tail};
use super::worker::{Worker, WorkerLetter};

/// A gateway process.
#[derive(Debug)]
pub(super) struct Process {
    pub(super) place: Place,
    started: Moment,
    skew_ms: u64,
    pub(super) store: MemoryStore,
    frontier: Frontier,
    pub(super) workers: Vec<Worker>,
    pub(super) tail: Tail,
    committer: Committer,
    pub(super) links: Links,
    pub(super) service: Service,
    /// Connections without a whole CONNECT.
    doors: BTreeMap<WireId, Vec<u8>>,
    /// What waits until all that was routed by older tables is stored: copies on their way, and what is done then.
    settling: BTreeMap<u64, (usize, Then)>,
    next_settling: u64,
    /// Turns that are planned.
    called: BTreeSet<Actor>,
    /// Threads that the system does not run until then.
    stalled: BTreeMap<Actor, Moment>,
}

/// What a process is made with.
#[derive(Debug, Clone)]
pub(super) struct Start {
    pub(super) place: Place,
    pub(super) id: GatewayId,
    pub(super) workers: usize,
    pub(super) skew_ms: u64,
    pub(super) store: MemoryStore,
    pub(super) queue: QueueLimits,
}

/// Milliseconds between two ticks of a worker.
const TICK_MS: u64 = 100;
/// Milliseconds between two looks of the service and the links at their deadlines.
const BEAT_MS: u64 = 250;
/// Largest packet of a client.
const PACKET_BYTES: u32 = 65_536;

impl Process {
    /// Begins a life.
    ///
    /// # Errors
    /// What the store says.
    pub(super) fn start(start: &Start, around: &mut Around) -> Result<Self, StoreError> {
        let Start { place, id, workers, skew_ms, store, queue } = start.clone();
        let now = around.clocks(around.now, skew_ms);
        let mut reader = store.reader()?;
        let incarnation = begin_life(&id, now.wall, &mut *reader)?;
        let tables = Arc::new(Tables::default());
        let load = Load { gateway: id.clone(), incarnation, workers, queue, kept_messages: 1_000 };
        let follower = Follower::load(load, Arc::clone(&tables), &mut *reader)?;
        let me = Identity { fleet: "sim".into(), gateway: id.clone(), incarnation };
        let numbers = 0..u8::try_from(workers).unwrap_or(1);
        let worker = |n: u8| {
            Worker::new(
                place,
                hub_config((&id, incarnation), (n, workers), queue, around.presence),
                &tables,
                workers,
            )
        };
        let mut process = Self {
            place,
            started: around.now,
            skew_ms,
            frontier: Frontier::new(workers),
            workers: numbers.clone().map(worker).collect(),
            tail: Tail::new(follower, reader, Arc::clone(&tables)),
            committer: Committer::new(place, store.writer()?, Arc::clone(&tables), around.mistake),
            links: Links::new(place, me, Arc::clone(&tables), workers),
            service: Service::new(
                place,
                (id, incarnation),
                (tables, workers),
                around.presence,
                (store.reader()?, store.writer()?),
            ),
            store,
            doors: BTreeMap::new(),
            settling: BTreeMap::new(),
            next_settling: 0,
            called: BTreeSet::new(),
            stalled: BTreeMap::new(),
        };
        for worker in numbers {
            process.service.inbox.extend([Note::Numbers(worker), Note::Numbers(worker)]);
            around.after_ms(TICK_MS, Event::Tick(place, worker));
        }
        process.call(Actor::Service, around);
        process.call(Actor::Tail, around);
        process.call(Actor::Links, around);
        around.after_ms(BEAT_MS, Event::Beat(place));
        Ok(process)
    }

    pub(super) fn now(&self, around: &Around) -> Now {
        around.clocks(self.started, self.skew_ms)
    }

    /// A thread's turn.
    ///
    /// # Errors
    /// What the store says; the process is dying then.
    pub(super) fn turn(&mut self, actor: Actor, around: &mut Around) -> Result<(), StoreError> {
        self.called.remove(&actor);
        if self.stalled.get(&actor).is_some_and(|until| *until > around.now) {
            self.call(actor, around);
            return Ok(());
        }
        let now = self.now(around);
        let mut posts = Vec::new();
        match actor {
            Actor::Worker(index) => {
                if let Some(worker) = self.workers.get_mut(usize::from(index))
                    && !worker.flushing
                {
                    worker.turn(now, around);
                }
            }
            Actor::Tail => self.tail.turn(&mut self.frontier, &mut posts)?,
            Actor::Committer => self.committer.turn(around),
            Actor::Links => {
                self.links.turn(now, &mut self.frontier, around, &mut posts);
                if self.links.withholds() {
                    around.after_ms(20, Event::Turn(self.place, Actor::Links));
                }
            }
            Actor::Service => self.service.turn(now, around, &mut posts)?,
        }
        self.deliver(posts, around);
        Ok(())
    }

    pub(super) fn flush(&mut self, index: u8, around: &mut Around) {
        let now = self.now(around);
        let mut posts = Vec::new();
        if let Some(worker) = self.workers.get_mut(usize::from(index)) {
            worker.flush(now, &mut self.frontier, around, &mut posts);
            if worker.is_wanted() {
                self.call(Actor::Worker(index), around);
            }
        }
        self.deliver(posts, around);
    }

    pub(super) fn tick(&mut self, index: u8, around: &mut Around) {
        let now = self.now(around);
        let stalled = self.stalled.get(&Actor::Worker(index)).is_some_and(|u| *u > around.now);
        if let Some(worker) = self.workers.get_mut(usize::from(index))
            && !stalled
            && !worker.flushing
        {
            worker.tick(now, around);
        }
        around.after_ms(TICK_MS, Event::Tick(self.place, index));
    }

    pub(super) fn beat(&mut self, around: &mut Around) {
        self.call(Actor::Service, around);
        self.call(Actor::Links, around);
        around.after_ms(BEAT_MS, Event::Beat(self.place));
    }

    /// A commit's answers leave the committer.
    pub(super) fn told(&mut self, around: &mut Around) {
        let posts = self.committer.told();
        self.deliver(posts, around);
        if self.committer.is_wanted() {
            self.call(Actor::Committer, around);
        }
    }

    pub(super) fn poke(&mut self, around: &mut Around) {
        let posts = self.committer.poke(around.now).into_iter().collect();
        self.deliver(posts, around);
    }

    /// The system does not run a thread for a while.
    pub(super) fn stall(&mut self, actor: Actor, until: Moment) {
        self.stalled.insert(actor, until);
    }

    /// Commits take so long until then.
    pub(super) fn slow_commits(&mut self, ms: u64, until: Moment) {
        self.committer.slow = (ms, until);
    }

    /// Something came over a wire.
    pub(super) fn handle_arrival(&mut self, wire: WireId, end: End, around: &mut Around) {
        if around.network.is_peer_wire(wire) {
            self.links.ready.push((wire, end));
            return self.call(Actor::Links, around);
        }
        if !self.wake_socket(wire, around) && !around.truth.is_accepted(wire) {
            self.meet(wire, around);
        }
    }

    /// Whether the wire is a worker's, which then has a look at it.
    pub(super) fn wake_socket(&mut self, wire: WireId, around: &mut Around) -> bool {
        for index in 0..u8::try_from(self.workers.len()).unwrap_or(0) {
            let worker = self.workers.get_mut(usize::from(index));
            if worker.is_some_and(|worker| worker.wake_socket(wire)) {
                self.call(Actor::Worker(index), around);
                return true;
            }
        }
        false
    }

    /// An attempt to reach a peer came to an end.
    pub(super) fn handle_dialled(
        &mut self,
        (site, number): (usize, u64),
        wire: Option<WireId>,
        around: &mut Around,
    ) {
        self.links.dialled.push((site, number, wire));
        self.call(Actor::Links, around);
    }

    /// Hands clients over, as a drain does, and sends new ones elsewhere until [`Self::reopen`].
    pub(super) fn drain(&mut self, clients: usize, around: &mut Around) {
        let now = self.now(around);
        let mut posts = Vec::new();
        self.service.admit(Admission::Elsewhere, now, &mut posts);
        for index in 0..u8::try_from(self.workers.len()).unwrap_or(0) {
            posts.push(Post::Worker(index, Mail::Move(MoveOrder::anywhere(clients))));
        }
        self.deliver(posts, around);
    }

    pub(super) fn reopen(&mut self, around: &mut Around) {
        let now = self.now(around);
        let mut posts = Vec::new();
        self.service.admit(Admission::Open, now, &mut posts);
        self.deliver(posts, around);
    }

    /// The front: reads CONNECT and hands the connection to the worker of its client. Mirrors `gateway/src/front/`.
    fn meet(&mut self, wire: WireId, around: &mut Around) {
        let arrived = around.read((wire, End::Accepter), usize::MAX);
        let mut bytes = self.doors.remove(&wire).unwrap_or_default();
        bytes.extend_from_slice(&arrived.bytes);
        let len = match codec::frame(&bytes, PACKET_BYTES) {
            Ok(Some(len)) => len,
            Ok(None) if !arrived.over => {
                self.doors.insert(wire, bytes);
                return;
            }
            Ok(None) | Err(_) => return around.close(wire, End::Accepter),
        };
        let rest = bytes.split_off(len);
        let Ok(connect) = codec::decode_connect(&bytes) else {
            return around.close(wire, End::Accepter);
        };
        let refusal = match self.service.admission {
            Admission::Open => None,
            Admission::NotYet => Some(ReasonCode::ServerBusy),
            Admission::Elsewhere => Some(ReasonCode::UseAnotherServer),
        };
        let request = match refusal {
            None => ConnectRequest::of(&connect, "nobody", 86_400),
            Some(reason) => Err(reason),
        };
        match request {
            Ok(request) => {
                around.truth.accepted(wire);
                let worker = worker_of(&request.client, self.workers.len());
                let post = Post::Accepted(worker, Accepted { wire, rest, request });
                self.deliver(vec![post], around);
            }
            Err(reason) => {
                let mut answer = Vec::new();
                codec::connack(&mut answer, connect.version, &ConnAck::of(false, reason));
                around.send((wire, End::Accepter), &answer);
                around.shut(wire, End::Accepter);
            }
        }
    }

    fn deliver(&mut self, mut posts: Vec<Post>, around: &mut Around) {
        Mistake::says(around.mistake, &mut posts);
        for post in posts {
            match post {
                Post::Settle(then) => self.settle(then, around),
                Post::LetGo(number) => self.let_go(number, around),
                other @ (Post::Worker(..)
                | Post::Accepted(..)
                | Post::Tail(_)
                | Post::Links(_)
                | Post::Commit(_)
                | Post::Service(_)) => {
                    if let Some(actor) = self.hand_on(other) {
                        self.call(actor, around);
                    }
                }
            }
        }
    }

    /// Puts a letter where it belongs. Answers whom to wake.
    fn hand_on(&mut self, post: Post) -> Option<Actor> {
        Some(match post {
            Post::Worker(index, mail) => self.write_to_worker(index, WorkerLetter::Mail(mail)),
            Post::Accepted(index, it) => self.write_to_worker(index, WorkerLetter::Accepted(it)),
            Post::Tail(ask) => self.write_to_tail(ask),
            Post::Links(command) => {
                self.links.inbox.push(command);
                Actor::Links
            }
            Post::Commit(order) => {
                self.committer.inbox.push(order);
                Actor::Committer
            }
            Post::Service(note) => {
                self.service.inbox.push(note);
                Actor::Service
            }
            Post::Settle(_) | Post::LetGo(_) => return None,
        })
    }

    /// Sends a copy to every worker; from there each goes to the committer, behind what was written before.
    fn settle(&mut self, then: Then, around: &mut Around) {
        self.next_settling += 1;
        self.settling.insert(self.next_settling, (self.workers.len(), then));
        for index in 0..u8::try_from(self.workers.len()).unwrap_or(0) {
            let actor = self.write_to_worker(index, WorkerLetter::Settle(self.next_settling));
            self.call(actor, around);
        }
    }

    fn let_go(&mut self, number: u64, around: &mut Around) {
        let Some((copies, then)) = self.settling.remove(&number) else { return };
        if copies > 1 {
            self.settling.insert(number, (copies - 1, then));
            return;
        }
        let post = match then {
            Then::Ask(ask) => Post::Tail(ask),
            Then::Tell(command) => Post::Links(command),
        };
        self.deliver(vec![post], around);
    }

    fn write_to_worker(&mut self, index: u8, letter: WorkerLetter) -> Actor {
        if let Some(worker) = self.workers.get_mut(usize::from(index)) {
            worker.inbox.push(letter);
        }
        Actor::Worker(index)
    }

    fn write_to_tail(&mut self, ask: TailAsk) -> Actor {
        self.tail.inbox.push(ask);
        Actor::Tail
    }

    /// Wakes a thread: soon, mostly.
    fn call(&mut self, actor: Actor, around: &mut Around) {
        if !self.called.insert(actor) {
            return;
        }
        let us = match around.random.below(50) {
            0 => around.random.between(1_000, 12_000),
            1..=8 => around.random.between(150, 1_000),
            _ => around.random.between(5, 150),
        };
        let awake = self.stalled.get(&actor).copied().unwrap_or_default();
        let when = around.now.plus_us(us).max(awake);
        around.agenda.at(when, Event::Turn(self.place, actor));
    }
}

fn hub_config(
    (id, incarnation): (&GatewayId, Incarnation),
    (worker, workers): (u8, usize),
    queue: QueueLimits,
    presence: PresenceSettings,
) -> HubConfig {
    HubConfig {
        gateway: id.clone(),
        incarnation,
        worker,
        workers,
        shadow: ShadowRules::default(),
        outbox_bytes: OUTBOX_BYTES,
        topic_alias_out: 16,
        check_payload_format: true,
        response_topic: None,
        topic_alias_maximum: 4,
        user_properties: 16,
        match_steps: 4_096,
        match_steps_per_session: 2_048,
        match_steps_per_user: 2_048,
        remembered_topics: 32_768,
        classes: Arc::new(access::Classes::new(
            Vec::new(),
            access::ClassLimits {
                packet_bytes: PACKET_BYTES,
                receive_maximum: 16,
                publish_per_s: 0,
                publish_bytes_per_s: 0,
                packets_per_s: 0,
                on_excess: access::OnExcess::Delay,
                subscriptions_per_session: 16,
                groups_per_topic: 16,
                filters_per_subscribe: 8,
                topic_levels: 16,
                topic_bytes: 256,
                connections_per_user: 0,
                positions: true,
                queue,
            },
        )),
        seats: Arc::default(),
        retained_messages: 100,
        session_expiry_max_s: 86_400,
        packet_timeout: std::time::Duration::from_secs(600),
        keep_alive_max_s: 0,
        advance: Some(std::time::Duration::from_secs(4)),
        flush: std::time::Duration::from_millis(200),
        takeover_wait: Some(std::time::Duration::from_millis(super::wills::MOVED_WAIT_MS)),
        stand_ins: Arc::default(),
        presence,
        close_denied: false,
        sessions_change_hands: false,
        policy: Arc::new(access::Policy::allow_all(access::ClaimsMode::Narrow)),
    }
}
