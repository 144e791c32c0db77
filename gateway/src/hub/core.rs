//! The hub: what one worker owns, and how a packet reaches the part that answers it.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use access::{Classes, Policy};
use bytes::Bytes;
use fanout::{Slot, SubscriptionTable};
use maintenance::StandIns;
use protocol::mqtt::codec::{self, Sender};
use protocol::mqtt::{Packet, ReasonCode, Version};
use protocol::session::Owner;
use protocol::{
    Bodies, ClientId, GatewayId, HashMap, HashSet, Incarnation, Now, PacketId, QoS, SessionNo,
    Violation,
};
use slab::Slab;

use super::connection::{Connection, Known, Moment, State};
use super::moved::Moved;
use super::session::claim::Claim;
use super::session::doubt::Doubt;
use super::session::lately::Lately;
use super::session::live::{Live, Standing, put_by_owner};
use super::session::moving::Departures;
use super::session::numbers::Numbers;
use super::session::request::ConnectRequest;
use super::session::untold::Untold;
use super::shadows::{ShadowDesk, ShadowRules};
use super::share::Shares;
use super::standing::authenticate::Credentials;
use super::standing::guards::Guards;
use super::standing::seats::Seats;
use super::traffic::aliases::Aliases;
use super::traffic::drops::DropBook;
use super::traffic::encode::Encoder;
use super::traffic::flows::Flows;
use super::traffic::refused::Refused;
use super::traffic::returned::Returning;
use super::traffic::route_cache::RouteCache;
use super::traffic::wordless::Wordless;
use super::{
    Abandoned, Ask, Close, ConnId, Farewell, Fx, Outlet, Output, Record, ReleaseAsked, Reply,
    Tables, Turn,
};
use crate::config::PresenceSettings;
use crate::metrics::WorkerCounters;

/// What a hub must know.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// This gateway.
    pub gateway: GatewayId,
    /// Its life.
    pub incarnation: Incarnation,
    /// Which worker this is.
    pub worker: u8,
    /// How many workers this process has.
    pub workers: usize,
    /// What holds for shadows.
    pub shadow: ShadowRules,
    /// Bytes that wait for a slow reader before QoS 0 is dropped and QoS 1 and 2 wait.
    pub outbox_bytes: usize,
    /// Topic aliases we take from a client.
    pub topic_alias_maximum: u16,
    /// Topic aliases we use towards a client that takes them.
    pub topic_alias_out: u16,
    /// Whether a payload that is said to be UTF-8 must be.
    pub check_payload_format: bool,
    /// What the response topics of a client that asks begin with, before its id.
    pub response_topic: Option<Arc<str>>,
    /// User properties of one publication.
    pub user_properties: usize,
    /// Steps that matching one topic may take, of the filters of the fleet.
    pub match_steps: usize,
    /// The same, of the filters of one session.
    pub match_steps_per_session: usize,
    /// The same, that the sessions of one user brought.
    pub match_steps_per_user: usize,
    /// Topics whose receivers are remembered.
    pub remembered_topics: usize,
    /// How much of anything clients may do, by class.
    pub classes: Arc<Classes>,
    /// Who is connected, of all workers.
    pub seats: Arc<Seats>,
    /// Retained topics in the fleet.
    pub retained_messages: usize,
    /// Seconds a session may outlive its connection.
    pub session_expiry_max_s: u32,
    /// From the first byte of a packet to its last.
    pub packet_timeout: Duration,
    /// Seconds; the longest keep alive. 0 is no limit.
    pub keep_alive_max_s: u16,
    /// After so long without a message a client that is shown positions is told of a newer one; none if they are not to be had.
    pub advance: Option<Duration>,
    /// How long a client may take to finish what is under way once it is to move.
    pub flush: Duration,
    /// How long the will of a moved client waits for it to come back; none if it is published as any other.
    pub takeover_wait: Option<Duration>,
    /// Clients that are not moved at about the same time.
    pub stand_ins: Arc<StandIns>,
    /// Whether a publication of a 3.x client that is denied ends its connection.
    pub close_denied: bool,
    /// Whether somebody else may have a client id, with a fresh session.
    pub sessions_change_hands: bool,
    /// Whose coming and going is remembered.
    pub presence: PresenceSettings,
    /// Who may say what, until another policy is set.
    pub policy: Arc<Policy>,
}

/// The cores of one worker.
#[derive(Debug)]
pub struct Hub {
    pub(super) config: HubConfig,
    pub(super) owner: Arc<Owner>,
    /// The name of this gateway, by which its fence is known.
    pub(super) name: Bytes,
    pub(super) standings: Vec<Arc<Standing>>,
    pub(super) guards: Guards,
    pub(super) tables: Arc<Tables>,
    pub(super) metrics: Arc<WorkerCounters>,
    pub(super) connections: Vec<Option<Connection>>,
    pub(super) sessions: Slab<Live>,
    pub(super) by_client: HashMap<ClientId, Slot>,
    pub(super) by_no: HashMap<SessionNo, Slot>,
    /// Clients whose session is being written off; in order, so that a simulation replays.
    pub(super) giving_up: HashSet<ClientId>,
    pub(super) claims: BTreeMap<ClientId, Box<Claim>>,
    pub(super) lately: Lately,
    /// Clients whose sessions we may have lost. In order, so that a simulation replays.
    pub(super) doubts: BTreeMap<ClientId, Doubt>,
    pub(super) next_request: u64,
    /// Whose session a peer gateway was asked for, by request.
    pub(super) asking: HashMap<u64, ClientId>,
    /// What peer gateways ask for that is on its way in or out here. As many as their links carry.
    pub(super) waiting_releases: BTreeMap<ClientId, Vec<ReleaseAsked>>,
    pub(super) table: SubscriptionTable,
    pub(super) cache: RouteCache,
    pub(super) encoder: Encoder,
    /// For publications at QoS 0.
    pub(super) bodies: Bodies,
    pub(super) numbers: Numbers,
    pub(super) moved: Moved,
    pub(super) flows: Flows,
    pub(super) departures: Departures,
    /// Sessions whose last write the store did not take.
    pub(super) unwritten: Vec<(ClientId, Farewell)>,
    /// Sessions that were claimed for clients that had gone, which the store did not take either.
    pub(super) unwanted: Vec<Abandoned>,
    /// What must be stored for deliveries: kept apart from the effects of the packet at hand, so that QoS 2 messages leave
    /// in their order whatever lane they came up on. Each session's by itself: what the store refuses one costs no other.
    pub(super) side: VecDeque<Fx>,
    /// What goes back to shared groups.
    pub(super) returning: Returning,
    pub(super) drops: DropBook,
    /// Clients that were refused and have a moment left, each once.
    pub(super) wordless: Vec<Wordless>,
    /// Members of shared groups that took nothing at the last tick, and for how many ticks before it; in order, so that a simulation
    /// replays.
    pub(super) stuck: BTreeMap<SessionNo, u8>,
    /// Grows with every subscription that is owed retained messages.
    pub(super) refresh: u64,
    /// Sessions that are owed more of them than one turn took.
    pub(super) owing: usize,
    pub(super) shares: Shares,
    pub(super) shadows: ShadowDesk,
    /// What happened to clients and waits for the log.
    pub(super) untold: Untold,
    /// Nothing of the connection whose packet is handled waits.
    pub(super) straight: bool,
}

/// What became of fed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feed {
    /// The first packet is not whole yet.
    Incomplete,
    /// One packet of this many bytes was handled.
    Took(usize),
    /// The first packet is more than the share of this turn: the same bytes again in the next one.
    Partly,
    /// The connection speaks for no session (any more): nothing more of it is handled now.
    Over,
}

impl Hub {
    /// An empty hub.
    pub fn new(config: HubConfig, tables: Arc<Tables>, metrics: Arc<WorkerCounters>) -> Self {
        let (gateway, incarnation) = (config.gateway.clone(), config.incarnation);
        let cache = RouteCache::new(config.remembered_topics);
        Self {
            shadows: ShadowDesk::new(&config.shadow),
            standings: Vec::new(),
            name: Bytes::copy_from_slice(gateway.as_str().as_bytes()),
            owner: Arc::new(Owner { gateway, incarnation }),
            guards: Guards::new(Arc::clone(&config.policy)),
            config,
            tables,
            metrics,
            connections: Vec::new(),
            sessions: Slab::new(),
            by_client: HashMap::default(),
            by_no: HashMap::default(),
            giving_up: HashSet::default(),
            claims: BTreeMap::new(),
            lately: Lately::default(),
            doubts: BTreeMap::new(),
            next_request: 0,
            asking: HashMap::default(),
            waiting_releases: BTreeMap::new(),
            table: SubscriptionTable::default(),
            cache,
            encoder: Encoder::default(),
            bodies: Bodies::default(),
            numbers: Numbers::default(),
            moved: Moved::default(),
            flows: Flows::default(),
            departures: Departures::default(),
            unwritten: Vec::new(),
            unwanted: Vec::new(),
            side: VecDeque::new(),
            returning: Returning::default(),
            drops: DropBook::default(),
            wordless: Vec::new(),
            stuck: BTreeMap::new(),
            refresh: 0,
            owing: 0,
            shares: Shares::default(),
            untold: Untold::default(),
            straight: false,
        }
    }

    /// What it was made with.
    pub const fn config(&self) -> &HubConfig {
        &self.config
    }

    /// What it shares with other workers.
    pub fn tables(&self) -> &Tables {
        &self.tables
    }

    /// Handles the first packet in `bytes` that came from an attached connection.
    pub fn handle_bytes(&mut self, conn: ConnId, bytes: &[u8], cx: &mut Turn<'_>) -> Feed {
        let Some((version, slot)) = self.attached(conn) else { return Feed::Over };
        let most = self.connection(conn).map_or(0, |c| c.packet_bytes);
        let result =
            match codec::frame(bytes, most) {
                Ok(None) => return Feed::Incomplete,
                Ok(Some(len)) => {
                    let packet = bytes.get(..len).unwrap_or_default();
                    self.count_packet(conn, packet, cx.now)
                        .and_then(|()| codec::decode(packet, version, Sender::Client))
                        .and_then(|it| self.handle_packet((conn, slot), it, (packet, version), cx))
                        .map(|()| {
                            if self.shares.has_begun(conn) { Feed::Partly } else { Feed::Took(len) }
                        })
                }
                Err(violation) => Err(violation),
            };
        result.unwrap_or_else(|violation| {
            self.handle_violation(conn, violation, cx);
            Feed::Over
        })
    }

    fn handle_packet(
        &mut self,
        (conn, slot): (ConnId, Slot),
        packet: Packet<'_>,
        raw: (&[u8], Version),
        cx: &mut Turn<'_>,
    ) -> Result<(), Violation> {
        match packet {
            Packet::Publish(publish) => self.handle_publish((conn, slot), &publish, raw, cx),
            Packet::PubAck(ack) => {
                self.handle_puback(slot, ack.packet_id, cx);
                Ok(())
            }
            Packet::PubRec(ack) => {
                self.handle_pubrec(conn, slot, ack, cx);
                Ok(())
            }
            Packet::PubRel(ack) => {
                self.handle_pubrel(conn, slot, ack.packet_id, cx.fx);
                Ok(())
            }
            Packet::PubComp(ack) => {
                if let Some(live) = self.sessions.get_mut(slot as usize) {
                    live.session.handle_pubcomp(ack.packet_id);
                    self.pump(slot, cx);
                }
                Ok(())
            }
            Packet::Subscribe(subscribe) => self.handle_subscribe(conn, slot, &subscribe, cx),
            Packet::Unsubscribe(unsubscribe) => {
                self.handle_unsubscribe(conn, slot, &unsubscribe, cx)
            }
            Packet::PingReq => {
                cx.fx.then(Output::Reply(conn, Reply::PingResp));
                Ok(())
            }
            Packet::Disconnect(disconnect) => self.handle_disconnect(conn, slot, &disconnect, cx),
            Packet::Connect(_) => Err(Violation::protocol("MQTT5-3.1.0-2", "a second CONNECT")),
            Packet::Auth(auth) => self.handle_auth(conn, &auth, cx.out),
            Packet::ConnAck(_) | Packet::SubAck(_) | Packet::UnsubAck(_) | Packet::PingResp => {
                Err(Violation::protocol("MQTT5-3.1.0-1", "a packet that only servers send"))
            }
        }
    }

    /// Writes the session's document, if it has a stored queue.
    pub(super) fn store_session(&mut self, slot: Slot, fx: &mut Fx) {
        if let Some(live) = self.sessions.get(slot as usize).filter(|live| live.durable()) {
            fx.first(Record::Put(put_by_owner(&live.client, &live.record())));
        }
    }

    /// A connection broke a statement: its session's will is due, and it is told why if it can be.
    pub fn handle_violation(&mut self, conn: ConnId, violation: Violation, cx: &mut Turn<'_>) {
        let violation = self.count_violation(conn, violation);
        self.lose_connection(conn, Close::Broke(violation), cx);
    }

    pub(super) fn connection(&self, conn: ConnId) -> Option<&Connection> {
        self.connections.get(conn.index as usize)?.as_ref().filter(|c| c.life == conn.life)
    }

    pub(super) fn connection_mut(&mut self, conn: ConnId) -> Option<&mut Connection> {
        self.connections.get_mut(conn.index as usize)?.as_mut().filter(|c| c.life == conn.life)
    }

    pub(super) fn open_connection(&mut self, conn: ConnId, request: &ConnectRequest, now: Now) {
        let index = conn.index as usize;
        if self.connections.len() <= index {
            self.connections.resize_with(index + 1, || None);
        }
        self.flows.forget(conn.index);
        let keep_alive_s = self.keep_alive(request.version, request.keep_alive_s);
        let limits = Arc::clone(self.config.classes.limits_of(&request.identity));
        let connection = Connection {
            life: conn.life,
            state: State::Attaching,
            client: request.client.clone(),
            version: request.version,
            known: Known::new(&request.identity),
            packet_bytes: limits.packet_bytes,
            limits,
            review: self.guards.review.number,
            guard: None,
            seat: None,
            max_packet_bytes: request.max_packet_bytes,
            keep_alive_s,
            heard: Moment::of(now.mono),
            begun: None,
            aliases: Vec::new(),
            named: Aliases::new(request.topic_alias_maximum, self.config.topic_alias_out),
            unacknowledged: 0,
            explains: request.version == Version::V5 && request.problem_information,
            congested: false,
            secure: request.secure,
            returned: request.returned,
            credentials: request.authenticated.as_ref().map(|it| Box::new(Credentials::new(it))),
        };
        if let Some(place) = self.connections.get_mut(index) {
            *place = Some(connection);
        }
        self.metrics.connections.add(1);
        self.renew_guard(conn, now);
    }

    /// The keep alive that counts: the client's, or ours if that is shorter and the client can be told `[MQTT5-3.2.2-22]`.
    pub(super) fn keep_alive(&self, version: Version, wanted_s: u16) -> u16 {
        if version != Version::V5 {
            return wanted_s;
        }
        match (wanted_s, self.config.keep_alive_max_s) {
            (wanted, 0) => wanted,
            (0, max) => max,
            (wanted, max) => wanted.min(max),
        }
    }

    /// The version and the slot of an attached connection.
    pub(super) fn attached(&self, conn: ConnId) -> Option<(Version, Slot)> {
        let connection = self.connection(conn)?;
        match &connection.state {
            State::Attached(slot) => Some((connection.version, *slot)),
            State::Attaching | State::Leaving | State::Over => None,
        }
    }

    /// Whether a connection speaks for a session.
    pub fn is_attached(&self, conn: ConnId) -> bool {
        self.attached(conn).is_some()
    }

    /// The interest of this process as the peers must know it before SUBACK `[MQTT5-3.8.4-1]`.
    pub fn interest_rev(&self) -> u64 {
        self.tables.routes().interest_rev()
    }

    /// The next of what came up beside the packet at hand, to be submitted without a lane; empty when there is no more.
    pub fn take_side(&mut self) -> Fx {
        if let Some(fx) = self.side.pop_front() {
            return fx;
        }
        let mut fx = Fx::new();
        if self.returning.take_due() {
            fx.then(Output::GiveBack);
        }
        fx
    }

    /// Whether [`Self::take_side`] has something.
    pub fn has_side(&self) -> bool {
        !self.side.is_empty() || self.returning.is_due()
    }

    /// Asks for a look at the log, by which a subscription learns what was retained before; answers the ask's number.
    pub fn ask_refresh(&mut self, out: &mut dyn Outlet) -> u64 {
        self.refresh += 1;
        out.ask(Ask::Refresh(self.refresh));
        self.refresh
    }

    /// The version of a connection that is not over.
    pub fn version_of(&self, conn: ConnId) -> Option<Version> {
        self.connection(conn).filter(|c| !matches!(c.state, State::Attaching)).map(|c| c.version)
    }

    /// One more packet was sent.
    pub fn count_sent(&self) {
        self.metrics.packets_sent.add(1);
    }

    /// The committer has so many writes less before it, of which it says nothing.
    pub fn count_unheard(&self, writes: usize) {
        self.metrics.queue_out_commit.add(writes as u64);
    }

    /// A publication could not be stored: 5.0 has a word for it, 3.x ends unacknowledged.
    pub fn refuse_stored(
        &mut self,
        conn: ConnId,
        which: (QoS, PacketId),
        cx: &mut Turn<'_>,
    ) -> Option<Reply> {
        // Also of a session that is being written off: that write was refused too and is made anew.
        if let (QoS::ExactlyOnce, id) = which
            && let Some(slot) = self.session_of(conn)
            && let Some(live) = self.sessions.get_mut(slot as usize)
        {
            live.session.handle_pubrel(id);
        }
        if self.version_of(conn) != Some(Version::V5) {
            self.lose_connection(conn, Close::Reason(ReasonCode::ServerBusy), cx);
            return None;
        }
        Some(Refused::NotStored.reply(which))
    }

    /// The session of a connection, also of one that is over while its session is being written off.
    fn session_of(&self, conn: ConnId) -> Option<Slot> {
        let its = |client: &ClientId| {
            let slot = *self.by_client.get(client)?;
            self.sessions.get(slot as usize).filter(|live| live.conn == conn).map(|_| slot)
        };
        match self.connection(conn) {
            Some(connection) => its(&connection.client),
            None => self.giving_up.iter().find_map(its),
        }
    }
}
