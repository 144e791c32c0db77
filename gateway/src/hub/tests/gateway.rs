//! One gateway with one worker, one step at a time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use protocol::mqtt::Publish;
use protocol::session::{QueueLimits, SessionRecord};
use protocol::{GatewayId, HashMap, Incarnation, LogSeq, Now, Position, QoS, SessionNo, Wall};
use store::{MemoryStore, Outcome, QueueStatus, Reader, Space, Store as _, Write, Writer};

use super::packets::{bytes, client, filter, subscribe};
use super::sockets::Sockets;
use crate::commit::{Answer, Ordered, Progress};
use crate::committer::Refusals;
use crate::hub::{Ask, ConnId, ConnectRequest, Hub, HubConfig, LiveGateway, ShadowMail, Tables};
use crate::metrics::{Metrics, WorkerCounters};
use crate::tail::{Follower, Letters, Load};
use crate::worker::{Closed, Mail, PresenceMail, Reading, WorkerMachine};

/// A gateway whose threads are the methods of this.
#[derive(Debug)]
pub(super) struct Gateway {
    pub(super) id: GatewayId,
    pub(super) worker: WorkerMachine,
    pub(super) tables: Arc<Tables>,
    pub(super) sockets: Sockets,
    pub(super) store: MemoryStore,
    pub(super) now: Now,
    /// What was asked of others than the store and its follower.
    pub(super) asked: Vec<Ask>,
    /// Told to whoever waits for the peers, if they answer at all.
    pub(super) progress: Option<Progress>,
    /// The next block of session numbers, if there is one.
    pub(super) numbers: Option<u32>,
    /// How often the store was asked for a shadow.
    pub(super) shadow_looks: usize,
    follower: Follower,
    reader: Box<dyn Reader>,
    writer: Box<dyn Writer>,
    letters: Letters,
    refusals: Refusals,
    metrics: Metrics,
}

impl Gateway {
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(super) fn with(change: impl FnOnce(&mut HubConfig)) -> Self {
        Self::named("gw-1", &MemoryStore::new(), change)
    }

    /// A gateway on a store that others may use too.
    pub(super) fn named(
        name: &str,
        store: &MemoryStore,
        change: impl FnOnce(&mut HubConfig),
    ) -> Self {
        let id = GatewayId::new(name).unwrap();
        let mut config = config(id.clone());
        change(&mut config);
        let tables = Arc::new(Tables::default());
        let store = store.another_process();
        let mut reader = store.reader().unwrap();
        let load = Load {
            gateway: id.clone(),
            incarnation: config.incarnation,
            workers: 1,
            queue: QueueLimits { messages: 1000, ..QueueLimits::NONE },
            kept_messages: 400,
        };
        let follower = Follower::load(load, Arc::clone(&tables), &mut *reader).unwrap();
        let metrics = Metrics::new(1);
        let counters = metrics.worker(0).unwrap();
        let hub = Hub::new(config, Arc::clone(&tables), counters);
        Self {
            id,
            worker: WorkerMachine::new(hub),
            tables,
            sockets: Sockets::default(),
            now: Now { mono: Duration::from_secs(10), wall: Wall(1_000_000) },
            asked: Vec::new(),
            progress: Some(Progress::default()),
            numbers: Some(if name == "gw-1" { 100 } else { 500 }),
            shadow_looks: 0,
            follower,
            reader,
            writer: store.writer().unwrap(),
            store,
            letters: Letters::new(),
            refusals: Refusals::default(),
            metrics,
        }
    }

    /// `gw-1` and `gw-2` on one store, neither of which knows of the other.
    pub(super) fn two(change: impl Fn(&mut HubConfig)) -> [Self; 2] {
        let store = MemoryStore::new();
        ["gw-1", "gw-2"].map(|name| Self::named(name, &store, &change))
    }

    /// Says which gateways are alive, all of which serve, in their first life.
    pub(super) fn knows(&self, names: &[&str]) {
        let live = names.iter().map(|name| {
            let id = GatewayId::new(name).unwrap();
            let peer = self.tables.peer_index(&id).unwrap();
            let (mqtt, mqtts) = (format!("{name}:1883"), format!("{name}:8883"));
            LiveGateway {
                id,
                incarnation: Incarnation(1),
                peer,
                mqtt,
                mqtts,
                serving: true,
                echoes: true,
                calls: true,
            }
        });
        let live: Vec<_> = live.collect();
        // Twice, so that nobody has only just come.
        self.tables.set_gateways(live.clone(), Duration::ZERO);
        self.tables.set_gateways(live, Duration::ZERO);
    }

    /// A connection whose CONNECT was accepted; nothing more happens yet.
    pub(super) fn connect(&mut self, request: ConnectRequest) -> ConnId {
        if let Some(from) = self.numbers.filter(|_| self.worker.hub().wants_session_numbers()) {
            self.numbers = Some(from + 10);
            self.mail(Mail::SessionNumbers(from, from + 10));
        }
        let conn = self.sockets.open(request.version);
        self.worker.handle_connect(conn, request, self.now, &mut self.sockets);
        conn
    }

    /// A connection that has its session.
    #[track_caller]
    pub(super) fn join(&mut self, request: ConnectRequest) -> ConnId {
        let conn = self.connect(request);
        self.settle();
        let heard = self.hear(conn);
        assert!(heard.len() == 1 && heard[0].starts_with("CONNACK Success"), "{heard:?}");
        conn
    }

    /// A connection that is not let in, for this reason.
    #[track_caller]
    pub(super) fn refused(&mut self, request: ConnectRequest, reason: &str) -> ConnId {
        let conn = self.connect(request);
        self.settle();
        assert_eq!(self.hear(conn), [&*format!("CONNACK {reason}"), "closed"]);
        conn
    }

    /// A connection that has its client's session, which was there before.
    #[track_caller]
    pub(super) fn join_again(&mut self, request: ConnectRequest) -> ConnId {
        let conn = self.connect(request);
        self.settle();
        assert_eq!(self.hear(conn), ["CONNACK Success present"]);
        conn
    }

    /// A connection with one subscription.
    #[track_caller]
    pub(super) fn subscriber(&mut self, request: ConnectRequest, text: &str, qos: QoS) -> ConnId {
        let conn = self.join(request);
        self.subscribe(conn, text, qos);
        conn
    }

    /// Subscribes and waits for SUBACK.
    #[track_caller]
    pub(super) fn subscribe(&mut self, conn: ConnId, text: &str, qos: QoS) {
        let version = self.sockets.version(conn);
        self.send(conn, &subscribe(version, 999, &[filter(text, qos)]));
        self.settle();
        let heard = self.hear(conn);
        assert!(heard.len() == 1 && heard[0].starts_with("SUBACK #999 ["), "{heard:?}");
    }

    /// Publishes and lets everything happen that follows.
    pub(super) fn publish(&mut self, conn: ConnId, publish: &Publish<'_>) {
        self.send_publish(conn, publish);
        self.settle();
    }

    pub(super) fn send_publish(&mut self, conn: ConnId, publish: &Publish<'_>) {
        let bytes = bytes(self.sockets.version(conn), publish);
        self.send(conn, &bytes);
    }

    /// Bytes arrive; what they ask of the store and of others waits.
    pub(super) fn send(&mut self, conn: ConnId, bytes: &[u8]) {
        self.sockets.unread(conn).extend_from_slice(bytes);
        self.read(conn);
    }

    /// Sends bytes and lets everything happen that follows.
    pub(super) fn tell(&mut self, conn: ConnId, bytes: &[u8]) {
        self.send(conn, bytes);
        self.settle();
    }

    fn read(&mut self, conn: ConnId) {
        let bytes = std::mem::take(self.sockets.unread(conn));
        let (took, reading) = self.worker.handle_bytes(conn, &bytes, self.now, &mut self.sockets);
        if reading == Reading::Later {
            *self.sockets.unread(conn) = bytes[took..].to_vec();
            if self.worker.may_read(conn) {
                // It had its share of one turn; here is the next.
                self.read(conn);
            }
        }
    }

    /// The network is gone.
    pub(super) fn lose(&mut self, conn: ConnId) {
        self.worker.handle_lost(conn, self.now, &mut self.sockets);
        self.settle();
        self.worker.forget(conn);
    }

    /// The client of a connection that waits has closed it.
    pub(super) fn close(&mut self, conn: ConnId, how: Closed) {
        self.worker.handle_closing(conn, how, self.now, &mut self.sockets);
        self.settle();
    }

    pub(super) fn hear(&mut self, conn: ConnId) -> Vec<String> {
        self.sockets.hear(conn)
    }

    pub(super) fn mail(&mut self, mail: Mail) {
        self.worker.handle_mail(mail, self.now, &mut self.sockets);
    }

    /// Time passes, then everything happens that follows.
    pub(super) fn pass(&mut self, millis: u64) {
        self.pass_unsettled(millis);
        self.settle();
    }

    /// Time passes; what follows waits.
    pub(super) fn pass_unsettled(&mut self, millis: u64) {
        let span = Duration::from_millis(millis);
        self.now = Now { mono: self.now.mono + span, wall: self.now.wall.after(span) };
        self.worker.handle_tick(self.now, &mut self.sockets);
    }

    /// Until nothing is left to do.
    pub(super) fn settle(&mut self) {
        loop {
            let mut busy = self.answer_asks();
            busy |= self.commit();
            busy |= self.follow();
            for conn in std::mem::take(&mut self.sockets.resumed) {
                busy = true;
                self.read(conn);
            }
            if self.worker.hub().has_rest() {
                busy = true;
                self.worker.handle_more(self.now, &mut self.sockets);
            }
            if let Some(progress) = self.progress.filter(|_| self.worker.wants_progress()) {
                busy = true;
                self.mail(Mail::Progress(progress));
            }
            if !busy {
                return;
            }
        }
    }

    /// What the follower, the store and the housekeeper answer. Says whether anything was asked.
    pub(super) fn answer_asks(&mut self) -> bool {
        let asks = std::mem::take(&mut self.sockets.asks);
        let any = !asks.is_empty();
        for ask in asks {
            self.answer_ask(ask);
        }
        any
    }

    fn answer_ask(&mut self, ask: Ask) {
        let (reader, letters) = (&mut *self.reader, &mut self.letters);
        match ask {
            Ask::Read(client) => {
                let (doc, whole) = self.follower.look_up(&client, reader, letters).unwrap();
                if let Some(whole) = whole {
                    self.mail(Mail::Whole(client.clone(), whole));
                }
                self.mail(Mail::Record(client, doc));
            }
            Ask::Presence(client) => {
                let record = crate::presence::record_key(client.as_str());
                let doc = reader.get(Space::Presence, &record).unwrap();
                let is_thing =
                    reader.get(Space::Thing, client.as_str().as_bytes()).unwrap().is_some();
                self.mail(Mail::Presence(PresenceMail::Read(client, doc, is_thing)));
            }
            Ask::Attach { session, after, credit } => {
                self.follower.catch_up(reader, letters).unwrap();
                self.follower.attach((session, after, credit), 0, reader, letters).unwrap();
            }
            Ask::Detach(session) => self.follower.detach(session),
            Ask::Advance(session) => self.follower.advance(session, letters),
            Ask::Pull(session, credit) => {
                self.follower.pull(session, credit, reader, letters).unwrap();
            }
            Ask::Refresh(refresh) => {
                self.follower.catch_up(reader, letters).unwrap();
                self.mail(Mail::Refreshed(refresh));
            }
            Ask::CatchUp(look) => {
                self.follower.catch_up(reader, letters).unwrap();
                self.mail(Mail::CaughtUp(look));
            }
            Ask::SessionNumbers => match self.numbers {
                Some(from) => {
                    self.numbers = Some(from + 10);
                    self.mail(Mail::SessionNumbers(from, from + 10));
                }
                None => self.asked.push(Ask::SessionNumbers),
            },
            Ask::Interest => self.tables.take_interest(|_, _| {}),
            Ask::ReadShadow(key, most) => {
                self.shadow_looks += 1;
                let read = crate::tail::read_shadow(&key, most, reader);
                self.mail(Mail::Shadow(ShadowMail::Read(key, read)));
            }
            other @ (Ask::Release { .. }
            | Ask::Shadow(..)
            | Ask::Released { .. }
            | Ask::Workers(..)
            | Ask::Peers(..)
            | Ask::NotGiven(_)
            | Ask::Authenticate(_)) => self.asked.push(other),
        }
    }

    /// One group commit of what waits, and its answers. Says whether anything waited.
    pub(super) fn commit(&mut self) -> bool {
        let writes = self.worker.take_writes();
        let any = !writes.is_empty();
        self.commit_these(writes);
        any
    }

    /// One group commit of writes that were taken before, and its answers.
    pub(super) fn commit_these(&mut self, writes: Vec<Ordered>) {
        if !writes.is_empty() {
            let answers = self.store_these(writes);
            self.mail(answers);
        }
    }

    /// One group commit of writes that were taken before. The answers are for the worker, some time.
    pub(super) fn store_these(&mut self, writes: Vec<Ordered>) -> Mail {
        let (tickets, batch): (Vec<_>, Vec<_>) = writes
            .into_iter()
            .filter(|ordered| !self.refusals.reach(0, ordered.known))
            .map(|Ordered { ticket, write, .. }| (ticket, write))
            .unzip();
        let Ok(commit) = self.writer.commit(&batch) else {
            tickets.iter().for_each(|ticket| self.refusals.note(0, *ticket));
            let answers = tickets.into_iter().map(|ticket| (ticket, Answer::Unavailable));
            return Mail::Answers(answers.collect());
        };
        let mut bodies = HashMap::default();
        for (write, outcome) in batch.iter().zip(&commit.outcomes) {
            if let Outcome::Done { first, .. } = outcome {
                let appends = (first.0..).zip(&write.appends);
                bodies.extend(appends.map(|(at, append)| (Position(at), append.body.clone())));
            }
        }
        let (seq, own) = (commit.seq, (commit.prev, commit.seq));
        if !self.follower.apply_own(own, commit.entries, &bodies, &mut self.letters) {
            self.follower.catch_up(&mut *self.reader, &mut self.letters).unwrap();
        }
        let answers = tickets.into_iter().zip(commit.outcomes).zip(&batch);
        let answers = answers.map(|((ticket, outcome), write)| {
            (ticket, self.refusals.answer((0, ticket), write, (outcome, seq)))
        });
        Mail::Answers(answers.collect())
    }

    /// Reads the log and hands over what it says. Says whether it said anything.
    pub(super) fn follow(&mut self) -> bool {
        self.follower.catch_up(&mut *self.reader, &mut self.letters).unwrap();
        let everyone = Progress { seq: self.follower.applied(), ..Progress::default() };
        self.follower.give_back(&everyone, &mut *self.reader, &mut self.letters).unwrap();
        let letters = std::mem::take(&mut self.letters);
        let any = !letters.is_empty();
        for (_, letter) in letters {
            self.mail(letter.into());
        }
        any
    }

    /// The follower looks after the queues, as it does now and then.
    pub(super) fn sweep(&mut self) {
        let wall = self.now.wall;
        self.follower.sweep(wall, &mut *self.reader, &mut self.letters).unwrap();
        self.settle();
    }

    /// What the worker counts.
    pub(super) fn counters(&self) -> &WorkerCounters {
        &self.metrics.workers()[0]
    }

    /// How often each statement was broken.
    pub(super) fn violations(&self) -> BTreeMap<&'static str, u64> {
        self.metrics.violations()
    }

    /// How far the follower is.
    pub(super) const fn applied(&self) -> LogSeq {
        self.follower.applied()
    }

    /// What waits for a client with a stored queue.
    pub(super) fn queue_of(&self, name: &str) -> Option<QueueStatus> {
        self.follower.queue_of(&client(name))
    }

    /// How much is in a session's stored queue.
    pub(super) fn queue_len(&self, no: SessionNo) -> usize {
        self.follower.queue_len(no)
    }

    /// A client's session as it is stored.
    pub(super) fn record(&mut self, name: &str) -> Option<SessionRecord> {
        let doc = self.reader.get(Space::Session, client(name).as_str().as_bytes()).unwrap();
        doc.map(|doc| SessionRecord::decode(&doc.value).unwrap())
    }

    /// Somebody else writes a document.
    pub(super) fn put(&mut self, space: Space, key: &str, value: bytes::Bytes) {
        let put = store::Put {
            space,
            key: bytes::Bytes::copy_from_slice(key.as_bytes()),
            value: Some(value),
            expect: store::Expect::Any,
            announce: false,
        };
        let mut write = Write::default();
        write.puts.push(put);
        self.writer.commit(&[write]).unwrap();
    }

    /// How many documents of a kind are stored.
    pub(super) fn stored(&mut self, space: Space) -> usize {
        self.reader.scan(space, &[], None, 1000).unwrap().len()
    }

    /// The reader, for the housekeeper's looks.
    pub(super) fn reader(&mut self) -> &mut dyn Reader {
        &mut *self.reader
    }
}

/// Limits that hold for everybody.
pub(crate) fn one_class(change: impl FnOnce(&mut access::ClassLimits)) -> Arc<access::Classes> {
    let mut limits = access::ClassLimits {
        packet_bytes: 10_000,
        receive_maximum: 10,
        publish_per_s: 0,
        publish_bytes_per_s: 0,
        packets_per_s: 0,
        on_excess: access::OnExcess::Delay,
        subscriptions_per_session: 4,
        groups_per_topic: 100,
        filters_per_subscribe: 3,
        topic_levels: 5,
        topic_bytes: 50,
        connections_per_user: 0,
        positions: true,
        queue: QueueLimits { messages: 1000, ..QueueLimits::NONE },
    };
    change(&mut limits);
    Arc::new(access::Classes::new(Vec::new(), limits))
}

pub(crate) fn config(gateway: GatewayId) -> HubConfig {
    HubConfig {
        gateway,
        incarnation: Incarnation(1),
        worker: 0,
        workers: 1,
        shadow: crate::hub::ShadowRules::default(),
        outbox_bytes: 1 << 20,
        topic_alias_maximum: 8,
        topic_alias_out: 2,
        check_payload_format: true,
        response_topic: Some("reply/".into()),
        user_properties: 3,
        match_steps: 1_000,
        match_steps_per_session: 1_000,
        match_steps_per_user: 1_000,
        remembered_topics: 1_000,
        classes: one_class(|_| {}),
        seats: Arc::default(),
        retained_messages: 2,
        session_expiry_max_s: 7200,
        packet_timeout: Duration::from_secs(60),
        keep_alive_max_s: 0,
        advance: Some(Duration::from_secs(30)),
        flush: Duration::ZERO,
        takeover_wait: Some(Duration::from_secs(30)),
        stand_ins: Arc::default(),
        presence: crate::config::PresenceSettings::off(),
        close_denied: false,
        sessions_change_hands: false,
        policy: Arc::new(access::Policy::allow_all(access::ClaimsMode::Narrow)),
    }
}
