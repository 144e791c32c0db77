//! The housekeeper's thread: one loop, every deadline in it.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use protocol::{GatewayId, HashSet, LogSeq};
use store::{Outcome, Reader, Space, StoreError, Write};

use super::ages::Ages;
use super::awaited::{Awaited, SYNC_PATIENCE};
use super::bans::BanBook;
use super::drain::Drains;
use super::members::{Leases, Member, read_all};
use super::receive::Receiving;
use super::{ServiceAsk, keeper, numbers};
use crate::caretaker::{Chore, ChoreSender};
use crate::commit::Answer;
use crate::committer::Order;
use crate::control::{GatewayRecord, GatewayState};
use crate::front::{Admission, Front};
use crate::hub::LiveGateway;
use crate::links::{Command, PeerAddress};
use crate::metrics::Metrics;
use crate::tail::{TailAsk, worker_of};
use crate::worker::{Mail, Shared};

/// What the housekeeper must know.
#[derive(Debug)]
pub struct ServiceConfig {
    /// This gateway's document.
    pub me: Member,
    /// Its name.
    pub id: GatewayId,
    /// How long a lease is good.
    pub ttl: Duration,
    /// How often it is renewed.
    pub renew: Duration,
    /// How drains go where nobody says otherwise.
    pub drain: crate::config::DrainDefaults,
    /// When drains begin by themselves.
    pub maintenance: crate::config::MaintenanceLimits,
    /// How much of anything there may be.
    pub limits: crate::config::Limits,
    /// How long what clients have acknowledged is kept for those that may go back.
    pub keep: Duration,
    /// Who is there.
    pub presence: crate::config::PresenceSettings,
    /// What a shadow may be.
    pub shadow: shadow::ShadowLimits,
    /// Whether this life begins in the middle of a visit, and does not serve before that says so.
    pub stays_out: bool,
}

/// The housekeeper and what it looks after.
#[derive(Debug)]
pub struct Housekeeper {
    pub(super) config: ServiceConfig,
    pub(super) shared: Shared,
    pub(super) front: Arc<Front>,
    pub(super) metrics: Metrics,
    pub(super) reader: Box<dyn Reader>,
    /// Tidies the store.
    pub(super) caretaker: ChoreSender,
    pub(super) members: Vec<Member>,
    pub(super) leases: Leases,
    pub(super) awaited: Awaited,
    pub(super) state: Arc<SharedState>,
    synced: HashSet<GatewayId>,
    was_live: Vec<(String, u64)>,
    pub(super) drains: Drains,
    pub(super) receiving: Receiving,
    pub(super) bans: BanBook,
    ages: Ages,
    /// Up to where the records of clients were looked at.
    pub(super) forgotten_up_to: Option<Bytes>,
    /// Up to where tombstones of shadows were looked for.
    pub(super) buried_up_to: Option<Bytes>,
    started: Instant,
}

/// What others read of the housekeeper's.
#[derive(Debug)]
pub struct SharedState {
    state: std::sync::Mutex<GatewayState>,
}

impl Default for SharedState {
    fn default() -> Self {
        Self { state: std::sync::Mutex::new(GatewayState::Starting) }
    }
}

impl SharedState {
    /// Where the gateway is in its life.
    pub fn get(&self) -> GatewayState {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Moves on.
    pub fn set(&self, state: GatewayState) {
        *self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = state;
    }
}

/// How often the loop looks at everything.
const BEAT: Duration = Duration::from_millis(50);
/// How often wills are looked for.
const WILLS: Duration = Duration::from_millis(500);
/// How often bans are looked for, since who is banned is to be cut within a second, and whether leases were renewed.
const BANS: Duration = Duration::from_millis(250);
/// How often expired sessions are looked for.
const EXPIRED: Duration = Duration::from_secs(60);
/// How often the log is trimmed.
const TRIM: Duration = Duration::from_secs(10);
/// Commits that stay in the log, so that a slow process need not read everything anew.
const KEPT_COMMITS: u64 = 20_000;

/// Starts the thread.
///
/// # Errors
/// The system has no more threads.
pub fn spawn(
    mut housekeeper: Housekeeper,
    asks: Receiver<ServiceAsk>,
) -> std::io::Result<JoinHandle<()>> {
    crate::logging::thread("service", move || housekeeper.run(&asks))
}

/// When each recurring duty is due.
struct Duties {
    renew: Instant,
    wills: Instant,
    bans: Instant,
    expired: Instant,
    trim: Instant,
}

impl Housekeeper {
    /// Looks after a process from now on.
    pub fn new(
        config: ServiceConfig,
        shared: Shared,
        (front, state, metrics): (Arc<Front>, Arc<SharedState>, Metrics),
        reader: Box<dyn Reader>,
        caretaker: ChoreSender,
    ) -> Self {
        let leases = Leases::new(config.ttl, config.renew);
        let awaited = Awaited::new(config.ttl);
        Self {
            config,
            shared,
            front,
            metrics,
            reader,
            caretaker,
            members: Vec::new(),
            leases,
            awaited,
            state,
            synced: HashSet::default(),
            was_live: Vec::new(),
            drains: Drains::default(),
            receiving: Receiving::default(),
            bans: BanBook::default(),
            ages: Ages::default(),
            forgotten_up_to: None,
            buried_up_to: None,
            started: Instant::now(),
        }
    }

    fn run(&mut self, asks: &Receiver<ServiceAsk>) {
        let now = Instant::now();
        let (wills, trim) = (now + WILLS, now + TRIM);
        let mut due = Duties { renew: now, wills, bans: now, expired: now, trim };
        for worker in 0..self.shared.mailboxes.len() {
            self.give_numbers(worker);
            self.give_numbers(worker);
        }
        loop {
            match asks.recv_timeout(BEAT) {
                Ok(ServiceAsk::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return self.say_goodbye();
                }
                Ok(ask) => self.handle(ask),
                Err(RecvTimeoutError::Timeout) => {}
            }
            report("housekeeping", self.beat(&mut due));
        }
    }

    fn beat(&mut self, due: &mut Duties) -> Result<(), StoreError> {
        let now = Instant::now();
        if now >= due.bans {
            due.bans = now + BANS;
            // Before anybody is taken.
            self.look_at_bans()?;
            // So that a lease is good for hardly longer than its gateway thinks.
            self.leases.handle_read(&read_all(&mut *self.reader)?, self.shared.now());
        }
        if now >= due.renew {
            due.renew = now + self.config.renew;
            self.renew();
            self.look_around()?;
            // A slow sweep: what no poke told is found all the same.
            let _ = self.shared.tail.send(TailAsk::Poke);
            let _ = self.shared.tail.send(TailAsk::Sweep(self.shared.now().wall));
            self.open_if_ready();
            self.visit();
            self.forget_clients()?;
        }
        if now >= due.wills {
            due.wills = now + WILLS;
            self.fire_wills()?;
        }
        if now >= due.expired {
            due.expired = now + EXPIRED;
            self.write_off_orphans(&[])?;
        }
        if now >= due.trim {
            due.trim = now + TRIM;
            self.trim();
        }
        self.tick_drain();
        self.look_at_arrivals();
        self.count_links();
        let steps = self.shared.tables.routes().shapes().steps();
        self.metrics.process().match_steps.set(steps as u64);
        Ok(())
    }

    fn handle(&mut self, ask: ServiceAsk) {
        match ask {
            ServiceAsk::Numbers(worker) => self.give_numbers(worker),
            ServiceAsk::Settings(settings) => {
                self.config.drain = settings.drain;
                self.config.maintenance = settings.maintenance.clone();
                self.config.limits = settings.limits;
                self.config.presence = settings.presence;
            }
            ServiceAsk::StartDrain(request, by, answer) => {
                answer.with(|| self.start_drain(&request, by));
            }
            ServiceAsk::AbortDrain(by, answer) => answer.with(|| self.call_off_drain(by)),
            ServiceAsk::Undrain(by, answer) => answer.with(|| self.bring_back(by)),
            ServiceAsk::Visit(ask, answer) => answer.with(|| self.visited(&ask)),
            ServiceAsk::Drain(answer) => answer.with(|| self.drain_status()),
            ServiceAsk::Gateways(answer) => answer.with(|| self.records()),
            ServiceAsk::Bans(answer) => answer.with(|| self.list_bans()),
            ServiceAsk::AddBan(new, answer) => answer.with(|| self.add_ban(&new)),
            ServiceAsk::RemoveBan(on, by, answer) => {
                answer.with(|| self.remove_ban(&on, &by));
            }
            ServiceAsk::Visits(answer) => answer.with(|| self.visits()),
            ServiceAsk::DrainAsk { from, drain, wanted } => self.grant_credit(from, drain, wanted),
            ServiceAsk::Credit { from, drain, clients, per_s } => {
                self.credit(&from, drain, (clients, per_s));
            }
            ServiceAsk::Synced(peer) => {
                self.synced.insert(peer);
                self.open_if_ready();
            }
            ServiceAsk::Reached(address, answer) => answer.with(|| self.move_peers(address)),
            ServiceAsk::FollowedBy(successor, answer) => {
                answer.with(|| self.follow(successor));
            }
            ServiceAsk::Alone => self.serve_alone(),
            ServiceAsk::Stop => {}
        }
    }

    /// Writes one thing and waits until it is stored. `None` if it is not.
    pub(super) fn write(&self, write: Write) -> Option<(Outcome, LogSeq)> {
        let (sender, receiver) = channel();
        self.shared.committer.send(Order::Other(Box::new(write), sender)).ok()?;
        match receiver.recv_timeout(Duration::from_secs(10)).ok()? {
            Answer::Committed(outcome, seq) => Some((outcome, seq)),
            Answer::Unavailable => None,
        }
    }

    fn give_numbers(&mut self, worker: usize) {
        for _ in 0..64 {
            let stands = match self.reader.get(Space::Counter, numbers::KEY) {
                Ok(stands) => stands,
                Err(error) => return report("session numbers", Err(error)),
            };
            let Some((write, (from, to))) = numbers::take(stands.as_ref()) else { return };
            match self.write(write) {
                Some((Outcome::Done { .. }, _)) => {
                    if let Some(mailbox) = self.shared.mailboxes.get(worker) {
                        mailbox.send(Mail::SessionNumbers(from, to));
                    }
                    return;
                }
                Some((Outcome::Conflict { .. }, _)) => {}
                // The next client that needs one makes its worker ask again.
                None => return tracing::error!("session numbers: the store does not take it"),
            }
        }
        tracing::error!("no session numbers to be had");
    }

    /// Who is alive; tells everybody who must know.
    pub(super) fn look_around(&mut self) -> Result<(), StoreError> {
        let good_until = self.shared.now().mono + Awaited::sure(self.config.ttl);
        self.members = read_all(&mut *self.reader)?;
        self.leases.handle_read(&self.members, self.shared.now());
        self.awaited.handle_longest(self.leases.longest(&self.members));
        if let Some(until) = self.awaited.handle_members(&self.members, self.config.id.as_str()) {
            self.shared.tables.set_back(self.awaited.times(), until);
        }
        let live: Vec<&Member> = self.members.iter().filter(|m| self.leases.is_good(m)).collect();
        let mut gateways = Vec::new();
        let mut peers = Vec::new();
        for member in &live {
            let Some(id) = member.id() else { continue };
            let incarnation = protocol::Incarnation(member.record.incarnation);
            let serving = member.record.state == GatewayState::Serving;
            let mine = id == self.config.id;
            let Some(peer) = (if mine { Some(0) } else { self.shared.tables.peer_index(&id) })
            else {
                continue;
            };
            if !mine {
                peers.push(PeerAddress {
                    gateway: id.clone(),
                    address: member.record.peer.clone(),
                    incarnation,
                });
            }
            let (mqtt, mqtts) = (member.mqtt.clone(), member.mqtts.clone());
            let (echoes, calls) = (member.echoes, member.calls);
            let seen = LiveGateway { id, incarnation, peer, mqtt, mqtts, serving, echoes, calls };
            gateways.push(seen);
        }
        let lives: Vec<_> =
            live.iter().map(|m| (m.record.id.clone(), m.record.incarnation)).collect();
        let dead: Vec<_> =
            self.was_live.iter().filter(|life| !lives.contains(life)).cloned().collect();
        self.shared.tables.set_gateways(gateways, good_until);
        if let Some(links) = &self.shared.links {
            links.send(&mut vec![Command::Peers(peers), Command::Looked(good_until)]);
        } else {
            self.shared.frontier.set_alone(good_until);
        }
        self.was_live = lives;
        if !dead.is_empty() {
            tracing::warn!("gateways are gone: {dead:?}");
            self.write_off_orphans(&dead)?;
        }
        Ok(())
    }

    /// Serves once every live peer's interest is known here `(promise M2)`.
    fn open_if_ready(&mut self) {
        if self.state.get() != GatewayState::Starting || self.members.is_empty() {
            return;
        }
        let known = {
            let gateways = self.shared.tables.gateways();
            let others = gateways.iter().filter(|g| g.id != self.config.id);
            others.into_iter().all(|g| self.synced.contains(&g.id))
        };
        if known || self.shared.links.is_none() || self.started.elapsed() > SYNC_PATIENCE {
            if self.config.stays_out {
                return self.stay_out();
            }
            self.state.set(GatewayState::Serving);
            self.front.admit(Admission::Open);
            self.renew();
            tracing::info!("serving");
        }
    }

    pub(super) fn live_ids(&self) -> Vec<GatewayId> {
        self.shared.tables.gateways().iter().map(|g| g.id.clone()).collect()
    }

    fn fire_wills(&mut self) -> Result<(), StoreError> {
        let now = self.shared.now().wall;
        let live = self.live_ids();
        for due in keeper::due_wills(&mut *self.reader, &self.config.id, &live, now)? {
            let worker = worker_of(&due.client, self.shared.mailboxes.len());
            if let Some(mailbox) = self.shared.mailboxes.get(usize::from(worker)) {
                mailbox.send(Mail::FireWill(due.client, due.record, due.rev));
            }
        }
        self.tell_late(&live, now)
    }

    fn write_off_orphans(&mut self, dead: &[(String, u64)]) -> Result<(), StoreError> {
        let live = self.live_ids();
        let (tables, me) = (Arc::clone(&self.shared.tables), self.config.id.clone());
        let mine = move |client: &_| maintenance::rendezvous(client, &live) == Some(&me);
        let gone = |owner: &protocol::session::Owner| {
            let named = dead
                .iter()
                .any(|(id, life)| *id == owner.gateway.as_str() && *life == owner.incarnation.0);
            named || !tables.is_live(owner)
        };
        let when = (self.shared.now().wall, self.config.presence.return_within());
        for write in keeper::orphans(&mut *self.reader, &mine, &gone, when)? {
            // Lost races are fine: then somebody else looked after it.
            let (sender, _) = channel();
            let _ = self.shared.committer.send(Order::Other(Box::new(write), sender));
        }
        Ok(())
    }

    /// The links count for themselves; metrics show it.
    fn count_links(&self) {
        let Some(links) = &self.shared.links else { return };
        let totals = links.counters().totals();
        let metrics = self.metrics.process();
        metrics.forwards_sent.set(totals.queued);
        metrics.forwards_duplicate.set(totals.duplicates);
        metrics.forwards_dropped.set(totals.dropped);
        metrics.peer_connections_refused.set(totals.refused);
    }

    /// Every gateway forgets what was acknowledged too long ago.
    fn forget_kept(&mut self) {
        let now = self.shared.now().mono;
        let up_to = self.ages.older_than(self.config.keep, now);
        let (sender, receiver) = channel();
        let _ = self.shared.tail.send(TailAsk::Forget(up_to, sender));
        if let Ok(newest) = receiver.recv_timeout(Duration::from_secs(1)) {
            self.ages.note(now, newest);
        }
    }

    /// Forgets what no queue needs any more; one gateway at a time does it for the fleet.
    fn trim(&mut self) {
        self.forget_kept();
        if !self.shared.tables.is_trimmer(&self.config.id) {
            return;
        }
        self.sweep_bans();
        report("tombstones of shadows", self.clear_tombstones());
        let (sender, receiver) = channel();
        let _ = self.shared.tail.send(TailAsk::Lowest(sender));
        // Only what the follower knows counts: what is being stored meanwhile lies behind it.
        let Ok((keep_from, applied)) = receiver.recv_timeout(Duration::from_secs(1)) else {
            return;
        };
        let keep_seq = LogSeq(applied.0.saturating_sub(KEPT_COMMITS));
        let _ = self.caretaker.send(Chore::Trim(keep_from, keep_seq));
    }

    fn records(&self) -> Vec<GatewayRecord> {
        let live = self.members.iter().filter(|m| self.leases.is_good(m));
        live.map(|m| m.record.clone()).collect()
    }

    /// The lease ends now, so that nobody waits for it.
    fn say_goodbye(&mut self) {
        self.state.set(GatewayState::Stopping);
        self.config.me.record.state = GatewayState::Stopping;
        self.config.me.until_ms = 0;
        if let Some(write) = self.config.me.renewal() {
            let _ = self.write(write);
        }
    }
}

fn report(what: &str, result: Result<(), StoreError>) {
    if let Err(error) = result {
        tracing::error!("{what}: the store does not answer: {error}");
    }
}
