//! The housekeeper of one gateway: its lease, who is alive, session numbers, orphans, the log's length.
//!
//! Mirrors `gateway/src/service/thread.rs`, without the scheduler; the documents and the leases are real.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use protocol::session::Owner;
use protocol::{GatewayId, Incarnation, LogSeq, Now, Position};
use store::{Outcome, Reader, Space, StoreError, Writer};
use tidegate::commit::Answer;
use tidegate::config::PresenceSettings;
use tidegate::control::{GatewayRecord, GatewayState};
use tidegate::hub::{LiveGateway, Tables};
use tidegate::links::{Command, PeerAddress};
use tidegate::presence::due_late;
use tidegate::service::{Awaited, Leases, Member, SYNC_PATIENCE, keeper, numbers, read_all};
use tidegate::tail::{TailAsk, worker_of};
use tidegate::worker::{Mail, PresenceMail};

use super::agenda::Place;
use super::around::Around;
use super::post::{Errand, Note, Order, Post};

/// The housekeeper.
#[derive(Debug)]
pub(super) struct Service {
    place: Place,
    id: GatewayId,
    me: Member,
    leases: Leases,
    awaited: Awaited,
    /// When the renewals began that are on their way.
    began: VecDeque<Duration>,
    workers: usize,
    tables: Arc<Tables>,
    presence: PresenceSettings,
    reader: Box<dyn Reader>,
    cleaner: Box<dyn Writer>,
    pub(super) inbox: Vec<Note>,
    pub(super) admission: Admission,
    synced: BTreeSet<GatewayId>,
    was_live: Vec<(GatewayId, Incarnation)>,
    looked: bool,
    renewing: bool,
    due: Duties,
    /// Asked of the tail for the trim that is under way.
    lowest: Option<Receiver<(Position, LogSeq)>>,
}

/// Whether new clients are let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Admission {
    NotYet,
    Open,
    Elsewhere,
}

/// When each duty is due, in milliseconds of the process's life.
#[derive(Debug)]
struct Duties {
    leases: u128,
    renew: u128,
    orphans: u128,
    wills: u128,
    trim: u128,
}

/// How long a lease is good.
const TTL_MS: u64 = 3_000;
pub(super) const RENEW_MS: u64 = 1_000;
/// Half as often as in a real gateway, which reads them faster.
const LEASES_MS: u128 = 500;
/// Rarer in a real gateway, where each look costs more than it finds.
const ORPHANS_MS: u128 = 5_000;
const WILLS_MS: u128 = 500;
const TRIM_MS: u128 = 3_000;
/// Commits that stay in the log; few, so that a process that was away must read everything anew.
const KEPT_COMMITS: u64 = 40;

impl Service {
    pub(super) fn new(
        place: Place,
        (id, incarnation): (GatewayId, Incarnation),
        (tables, workers): (Arc<Tables>, usize),
        presence: PresenceSettings,
        (reader, cleaner): (Box<dyn Reader>, Box<dyn Writer>),
    ) -> Self {
        let me = Member {
            record: GatewayRecord {
                id: id.as_str().to_owned(),
                incarnation: incarnation.0,
                state: GatewayState::Starting,
                peer: place.site.to_string(),
                http: String::new(),
                addresses: Vec::new(),
            },
            mqtt: id.as_str().to_owned(),
            mqtts: String::new(),
            until_ms: 0,
            ttl_ms: TTL_MS,
            echoes: true,
            calls: true,
        };
        Self {
            place,
            id,
            me,
            leases: Leases::new(Duration::from_millis(TTL_MS), Duration::from_millis(RENEW_MS)),
            awaited: Awaited::new(Duration::from_millis(TTL_MS)),
            began: VecDeque::new(),
            workers,
            tables,
            presence,
            reader,
            cleaner,
            inbox: Vec::new(),
            admission: Admission::NotYet,
            synced: BTreeSet::new(),
            was_live: Vec::new(),
            looked: false,
            renewing: false,
            due: Duties { leases: 0, renew: 0, orphans: 0, wills: WILLS_MS, trim: TRIM_MS },
            lowest: None,
        }
    }

    /// Letters, then what is due.
    ///
    /// # Errors
    /// What the store says; the process is dying then.
    pub(super) fn turn(
        &mut self,
        now: Now,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) -> Result<(), StoreError> {
        for note in std::mem::take(&mut self.inbox) {
            match note {
                Note::Numbers(worker) => self.take_numbers(worker, posts)?,
                Note::Synced(peer) => {
                    self.synced.insert(peer);
                    self.open_if_ready(now, around, posts);
                }
                Note::Written(errand, answer) => {
                    self.handle_written(errand, &answer, now, around, posts)?;
                }
            }
        }
        let ms = now.mono.as_millis();
        if ms >= self.due.leases {
            self.due.leases = ms + LEASES_MS;
            self.leases.handle_read(&read_all(&mut *self.reader)?, now);
        }
        if ms >= self.due.renew && !self.renewing {
            self.due.renew = ms + u128::from(RENEW_MS);
            self.renew(now, posts);
        }
        if ms >= self.due.orphans {
            self.due.orphans = ms + ORPHANS_MS;
            self.write_off_orphans(&[], now, posts)?;
        }
        if ms >= self.due.wills {
            self.due.wills = ms + WILLS_MS;
            self.fire_wills(now, posts)?;
        }
        if ms >= self.due.trim {
            self.due.trim = ms + TRIM_MS;
            self.ask_lowest(posts);
        }
        self.trim(around)
    }

    /// Lets clients in, or sends them elsewhere; everyone learns it with the next renewal, which is now.
    pub(super) fn admit(&mut self, admission: Admission, now: Now, posts: &mut Vec<Post>) {
        if self.admission != Admission::NotYet {
            self.admission = admission;
            self.renew(now, posts);
        }
    }

    fn handle_written(
        &mut self,
        errand: Errand,
        answer: &Answer,
        now: Now,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) -> Result<(), StoreError> {
        let done = matches!(answer, Answer::Committed(Outcome::Done { .. }, _));
        match errand {
            Errand::Renewal => {
                self.renewing = false;
                let began = self.began.pop_front();
                if let Some(began) = began.filter(|_| done) {
                    self.leases.handle_renewed(now.mono);
                    let heard = self.tables.heard();
                    let tired = heard < self.awaited.times() && self.tables.knows_peers(now.mono);
                    if self.awaited.is_back() && tired {
                        around.truth.opened_late(self.place, around.now);
                    }
                    if let Some(times) = self.awaited.handle_renewed(began, now.mono, heard) {
                        around.note(format_args!("{} is back, {times}", self.id));
                        self.tables.set_back(times, now.mono + SYNC_PATIENCE);
                        posts.push(Post::Links(Command::Back(times)));
                    }
                } else if let Some(times) = self.awaited.handle_refused(now.mono) {
                    around.note(format_args!("{} may be taken for dead, {times}", self.id));
                    self.tables.set_back(times, Duration::MAX);
                    posts.push(Post::Links(Command::Back(times)));
                }
                self.tables.set_awaited(self.awaited.stands());
                self.look_around(now, around, posts)?;
                // A slow sweep: what no poke told is found all the same.
                posts.push(Post::Tail(TailAsk::Poke));
                posts.push(Post::Tail(TailAsk::Sweep(now.wall)));
                self.open_if_ready(now, around, posts);
            }
            Errand::Numbers(worker, (from, to)) if done => {
                posts.push(Post::Worker(worker, Mail::SessionNumbers(from, to)));
            }
            Errand::Numbers(worker, _) => self.take_numbers(worker, posts)?,
            Errand::Orphan => {}
        }
        Ok(())
    }

    fn take_numbers(&mut self, worker: u8, posts: &mut Vec<Post>) -> Result<(), StoreError> {
        let stands = self.reader.get(Space::Counter, numbers::KEY)?;
        if let Some((write, block)) = numbers::take(stands.as_ref()) {
            posts.push(Post::Commit(Order::Service(
                Box::new(write),
                Errand::Numbers(worker, block),
            )));
        }
        Ok(())
    }

    fn renew(&mut self, now: Now, posts: &mut Vec<Post>) {
        self.renewing = true;
        self.me.until_ms = now.wall.0 + TTL_MS;
        self.me.record.state = match self.admission {
            Admission::NotYet => GatewayState::Starting,
            Admission::Open => GatewayState::Serving,
            Admission::Elsewhere => GatewayState::Refusing,
        };
        if let Some(write) = self.me.renewal() {
            self.began.push_back(now.mono);
            posts.push(Post::Commit(Order::Service(Box::new(write), Errand::Renewal)));
        }
    }

    fn look_around(
        &mut self,
        now: Now,
        around: &mut Around,
        posts: &mut Vec<Post>,
    ) -> Result<(), StoreError> {
        let members = read_all(&mut *self.reader)?;
        self.leases.handle_read(&members, now);
        self.awaited.handle_longest(self.leases.longest(&members));
        if let Some(until) = self.awaited.handle_members(&members, self.id.as_str()) {
            self.tables.set_back(self.awaited.times(), until);
        }
        let (mut gateways, mut peers, mut lives) = (Vec::new(), Vec::new(), Vec::new());
        for member in members.iter().filter(|member| self.leases.is_good(member)) {
            let Some(id) = member.id() else { continue };
            let incarnation = Incarnation(member.record.incarnation);
            let mine = id == self.id;
            let peer = if mine { Some(0) } else { self.tables.peer_index(&id) };
            let Some(peer) = peer else { continue };
            if !mine {
                let address = member.record.peer.clone();
                peers.push(PeerAddress { gateway: id.clone(), address, incarnation });
            }
            lives.push((id.clone(), incarnation));
            let (mqtt, mqtts) = (member.mqtt.clone(), member.mqtts.clone());
            let serving = member.record.state == GatewayState::Serving;
            let (echoes, calls) = (member.echoes, member.calls);
            let seen = LiveGateway { id, incarnation, peer, mqtt, mqtts, serving, echoes, calls };
            gateways.push(seen);
        }
        let dead: Vec<_> = self.was_live.iter().filter(|l| !lives.contains(l)).cloned().collect();
        let good_until = now.mono + Awaited::sure(Duration::from_millis(TTL_MS));
        self.tables.set_gateways(gateways, good_until);
        posts.push(Post::Links(Command::Peers(peers)));
        posts.push(Post::Links(Command::Looked(good_until)));
        self.was_live = lives;
        self.looked = true;
        if !dead.is_empty() {
            around.note(format_args!("{} sees that {dead:?} are gone", self.id));
            around.truth.lease_lost(around.now);
            self.write_off_orphans(&dead, now, posts)?;
        }
        Ok(())
    }

    /// Serves once every live peer's interest is known here (promise M2).
    fn open_if_ready(&mut self, now: Now, around: &mut Around, posts: &mut Vec<Post>) {
        if self.admission != Admission::NotYet || !self.looked {
            return;
        }
        let known = self.was_live.iter().all(|(id, _)| *id == self.id || self.synced.contains(id));
        let late = now.mono > SYNC_PATIENCE;
        if known || late {
            around.note(format_args!("{} opens, its peers' interest known: {known}", self.id));
            if !known {
                around.truth.opened_late(self.place, around.now);
            }
            self.admission = Admission::Open;
            self.renew(now, posts);
        }
    }

    fn write_off_orphans(
        &mut self,
        dead: &[(GatewayId, Incarnation)],
        now: Now,
        posts: &mut Vec<Post>,
    ) -> Result<(), StoreError> {
        let live: Vec<GatewayId> = self.tables.gateways().iter().map(|g| g.id.clone()).collect();
        let me = self.id.clone();
        let mine = move |client: &_| maintenance::rendezvous(client, &live) == Some(&me);
        let tables = Arc::clone(&self.tables);
        let gone = |owner: &Owner| {
            let named = |(id, life): &(GatewayId, Incarnation)| {
                *id == owner.gateway && *life == owner.incarnation
            };
            dead.iter().any(named) || !tables.is_live(owner)
        };
        let when = (now.wall, self.presence.return_within());
        for write in keeper::orphans(&mut *self.reader, &mine, &gone, when)? {
            posts.push(Post::Commit(Order::Service(Box::new(write), Errand::Orphan)));
        }
        Ok(())
    }

    fn fire_wills(&mut self, now: Now, posts: &mut Vec<Post>) -> Result<(), StoreError> {
        let live: Vec<GatewayId> = self.tables.gateways().iter().map(|g| g.id.clone()).collect();
        for due in keeper::due_wills(&mut *self.reader, &self.id, &live, now.wall)? {
            let worker = worker_of(&due.client, self.workers);
            posts.push(Post::Worker(worker, Mail::FireWill(due.client, due.record, due.rev)));
        }
        if !self.presence.is_on() {
            return Ok(());
        }
        for late in due_late(&mut *self.reader, &self.id, &live, now.wall)? {
            let worker = worker_of(&late.client, self.workers);
            posts.push(Post::Worker(worker, Mail::Presence(PresenceMail::Late(late))));
        }
        Ok(())
    }

    fn ask_lowest(&mut self, posts: &mut Vec<Post>) {
        if self.tables.is_trimmer(&self.id) {
            let (sender, receiver) = channel();
            self.lowest = Some(receiver);
            posts.push(Post::Tail(TailAsk::Lowest(sender)));
        }
    }

    fn trim(&mut self, around: &mut Around) -> Result<(), StoreError> {
        let answer = self.lowest.as_ref().and_then(|receiver| receiver.try_recv().ok());
        let Some((keep_from, applied)) = answer else { return Ok(()) };
        self.lowest = None;
        let keep_seq = LogSeq(applied.0.saturating_sub(KEPT_COMMITS));
        let gone = self.cleaner.trim_log(keep_from, keep_seq)?;
        if gone > 0 {
            around.note(format_args!(
                "{} trims the log before {keep_from} and {keep_seq}: {gone} gone",
                self.id
            ));
        }
        Ok(())
    }
}
