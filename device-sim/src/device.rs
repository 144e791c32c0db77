//! One device: what it says and how it answers. Knows bytes and time, no sockets.

use std::collections::BTreeSet;
use std::sync::Arc;

use protocol::{
    PacketId, QoS, Violation,
    mqtt::{
        Ack, ConnAck, Connect, ConnectProperties, Disconnect, Filter, LastWill, Packet, Publish,
        ReasonCode, RetainHandling, Subscribe, SubscribeOptions, Version, WillProperties,
        codec::{self, AckKind, Sender},
    },
};

use crate::{
    Pattern,
    publishing::{Publishing, Wait},
    receiving::{Receiving, Tally, answer, release},
    shared::{Phase, Shared, add},
};

/// Session expiry of persistent sessions in seconds.
const SESSION_EXPIRY_S: u32 = 3_600;
/// Filters in one SUBSCRIBE.
const FILTERS_AT_ONCE: usize = 100;
/// A closed window that nobody opens is forgiven after this: what is out was lost.
const STALL_NS: u64 = 2_000_000_000;
const NEVER: u64 = u64::MAX;

/// What a device is there for.
#[derive(Debug)]
pub(crate) enum Role {
    Publisher(Box<Publishing>),
    Receiver(Box<Receiving>),
    /// Holds a connection.
    Idle(usize),
    /// Counts wills.
    Watcher(BTreeSet<PacketId>),
}

/// Why a connection ended.
#[derive(Debug)]
pub(crate) enum End {
    /// As planned.
    Left,
    /// By the other side or the network, without a word.
    Closed,
    /// No answer in time.
    Silent,
    /// CONNACK or DISCONNECT with that reason, and where to go.
    Refused(ReasonCode, Option<String>),
    /// The broker broke the standard.
    Broke(Violation),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// CONNECT is out.
    Greeting,
    /// CONNACK has come; a receiver may still wait for its SUBACK.
    Connected,
    /// Everything is in place.
    Served,
    /// DISCONNECT is out.
    Leaving,
}

#[derive(Debug)]
pub(crate) struct Device {
    pub(crate) shared: Arc<Shared>,
    /// Its place among all devices.
    pub(crate) place: usize,
    pub(crate) role: Role,
    state: State,
    /// Bytes to send.
    pub(crate) out: Vec<u8>,
    /// Was served before.
    was_ready: bool,
    was_settled: bool,
    /// When it lost service.
    down_since_ns: Option<u64>,
    pub(crate) reconnects: u64,
    /// What holds for this connection, in seconds: ours, or what the server said instead; 0 is none.
    keep_alive_s: u16,
    /// Next look at keep alive, or the end of patience while greeting.
    tick_ns: u64,
    /// When a publisher has something to do.
    due_ns: u64,
    wait: Wait,
    said_something: bool,
    pings_open: bool,
    /// SUBACKs that have not come.
    subscribing: usize,
}

impl Device {
    pub(crate) fn new(shared: Arc<Shared>, place: usize, role: Role) -> Self {
        Self {
            shared,
            place,
            role,
            state: State::Greeting,
            out: Vec::new(),
            was_ready: false,
            was_settled: false,
            down_since_ns: None,
            reconnects: 0,
            keep_alive_s: 0,
            tick_ns: NEVER,
            due_ns: NEVER,
            wait: Wait::Input,
            said_something: false,
            pings_open: false,
            subscribing: 0,
        }
    }

    pub(crate) fn client_id(&self) -> String {
        let prefix = &self.shared.plan.prefix;
        match &self.role {
            Role::Publisher(_) => format!("{prefix}-p{}", self.place),
            Role::Receiver(receiving) => format!("{prefix}-s{}", receiving.number()),
            Role::Idle(number) => format!("{prefix}-{number}"),
            Role::Watcher(_) => format!("{prefix}-w"),
        }
    }

    /// Whether it is a receiver that must be away while others publish.
    pub(crate) fn is_offline_receiver(&self) -> bool {
        self.shared.plan.pattern == Pattern::Offline && matches!(self.role, Role::Receiver(_))
    }

    pub(crate) const fn is_ready(&self) -> bool {
        self.was_ready
    }

    pub(crate) const fn down_since_ns(&self) -> Option<u64> {
        self.down_since_ns
    }

    /// A new connection is there: says CONNECT.
    pub(crate) fn greet(&mut self, now_ns: u64, patience_ns: u64, clean: bool) {
        self.out.clear();
        self.state = State::Greeting;
        self.tick_ns = now_ns + patience_ns;
        self.due_ns = NEVER;
        self.pings_open = false;
        let plan = &self.shared.plan;
        let client_id = self.client_id();
        let will_topic = format!("will/{client_id}");
        let will_payload = self.shared.run.to_be_bytes();
        let will = (plan.wills && !matches!(self.role, Role::Watcher(_))).then(|| LastWill {
            topic: &will_topic,
            payload: &will_payload,
            qos: QoS::AtLeastOnce,
            retain: false,
            properties: WillProperties::default(),
        });
        let mut properties = ConnectProperties::default();
        if plan.persistent && !clean {
            properties.session_expiry_s = SESSION_EXPIRY_S;
        }
        let connect = Connect {
            version: plan.version,
            clean_start: clean || !plan.persistent,
            keep_alive_s: plan.keep_alive_s,
            client_id: &client_id,
            will,
            user_name: plan.credentials.user_name(),
            password: plan.credentials.password().map(str::as_bytes),
            properties,
        };
        codec::connect(&mut self.out, &connect);
    }

    /// The connection is gone.
    pub(crate) fn lost(&mut self, now_ns: u64) {
        if matches!(self.state, State::Served) {
            self.shared.counters.connected.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
        }
        if self.was_ready && self.state != State::Leaving {
            self.down_since_ns.get_or_insert(now_ns);
        }
        self.state = State::Greeting;
        self.out = Vec::new();
    }

    /// Whether DISCONNECT is out, so that nothing but the close is left.
    pub(crate) fn is_leaving(&self) -> bool {
        self.state == State::Leaving
    }

    /// When [`Self::tick`] wants to be called.
    pub(crate) fn deadline_ns(&self) -> u64 {
        self.tick_ns.min(self.due_ns)
    }

    /// Takes one whole packet of the broker.
    pub(crate) fn take(
        &mut self,
        packet: &[u8],
        now_ns: u64,
        tally: &mut Tally,
    ) -> Result<(), End> {
        let version = self.shared.plan.version;
        let packet = codec::decode(packet, version, Sender::Server).map_err(End::Broke)?;
        self.pings_open = false;
        match packet {
            Packet::Publish(publish) => self.take_publish(&publish, now_ns, tally),
            Packet::PubAck(ack) => self.acknowledged(AckKind::PubAck, &ack),
            Packet::PubRec(ack) => self.acknowledged(AckKind::PubRec, &ack),
            Packet::PubComp(ack) => self.acknowledged(AckKind::PubComp, &ack),
            Packet::PubRel(ack) => self.release(ack.packet_id),
            Packet::ConnAck(ack) => self.connected(&ack, now_ns, tally)?,
            Packet::SubAck(ack) => match ack.reasons.iter().find(|reason| reason.is_error()) {
                Some(refusal) => return Err(End::Refused(*refusal, None)),
                None => self.subscribed(now_ns, tally),
            },
            Packet::Disconnect(disconnect) => {
                let reference = disconnect.server_reference.map(str::to_owned);
                return Err(End::Refused(disconnect.reason, reference));
            }
            Packet::PingResp | Packet::UnsubAck(_) | Packet::Auth(_) => {}
            Packet::Connect(_)
            | Packet::Subscribe(_)
            | Packet::Unsubscribe(_)
            | Packet::PingReq => {}
        }
        Ok(())
    }

    fn take_publish(&mut self, publish: &Publish<'_>, now_ns: u64, tally: &mut Tally) {
        match &mut self.role {
            Role::Receiver(receiving) => {
                let news = receiving.take(publish, now_ns, &mut self.out, tally);
                if let Some((publisher, next)) = news {
                    self.shared.tell_seen(publisher, receiving.number(), next);
                }
            }
            Role::Watcher(unreleased) => {
                let version = self.shared.plan.version;
                let ours = publish.payload == self.shared.run.to_be_bytes();
                if answer(publish, version, &mut self.out, unreleased) && ours {
                    add(&self.shared.counters.wills, 1);
                }
            }
            Role::Publisher(_) | Role::Idle(_) => tally.foreign += 1,
        }
    }

    fn acknowledged(&mut self, kind: AckKind, ack: &Ack<'_>) {
        if let Role::Publisher(publishing) = &mut self.role {
            let count = publishing.acknowledge(kind, ack, &mut self.out);
            add(&self.shared.counters.acknowledged, count);
        }
    }

    fn release(&mut self, id: PacketId) {
        match &mut self.role {
            Role::Receiver(receiving) => receiving.release(id, &mut self.out),
            Role::Watcher(unreleased) => {
                release(id, self.shared.plan.version, &mut self.out, unreleased);
            }
            Role::Publisher(_) | Role::Idle(_) => {}
        }
    }

    fn connected(&mut self, ack: &ConnAck<'_>, now_ns: u64, tally: &mut Tally) -> Result<(), End> {
        if ack.reason != ReasonCode::Success {
            return Err(End::Refused(ack.reason, ack.server_reference.map(str::to_owned)));
        }
        self.state = State::Connected;
        // [MQTT5-3.2.2-21]
        self.keep_alive_s = ack.server_keep_alive_s.unwrap_or(self.shared.plan.keep_alive_s);
        self.tick_ns = self.next_tick_ns(now_ns);
        let plan = &self.shared.plan;
        let filters = match &mut self.role {
            Role::Publisher(publishing) => {
                publishing.resume(&mut self.out, ack.session_present, ack.receive_maximum);
                None
            }
            Role::Receiver(receiving) => {
                receiving.resume(ack.session_present);
                // A leftover session may have other subscriptions than this run needs.
                let keeps = ack.session_present && self.was_ready;
                (!keeps).then(|| plan.filters(receiving.number()))
            }
            Role::Idle(_) => None,
            Role::Watcher(_) => Some(vec!["will/#".to_owned()]),
        };
        match filters {
            Some(filters) => self.subscribe(&filters),
            None => self.served(now_ns, tally),
        }
        Ok(())
    }

    fn subscribe(&mut self, texts: &[String]) {
        let plan = &self.shared.plan;
        let options = SubscribeOptions {
            qos: if matches!(self.role, Role::Watcher(_)) { QoS::AtLeastOnce } else { plan.qos },
            no_local: false,
            retain_as_published: false,
            retain_handling: RetainHandling::Send,
        };
        self.subscribing = 0;
        let ids = (1..=u16::MAX).rev().filter_map(PacketId::new);
        for (texts, packet_id) in texts.chunks(FILTERS_AT_ONCE).zip(ids) {
            let filters = texts.iter().map(|text| Filter { text, options }).collect();
            let subscribe = Subscribe { packet_id, subscription_id: None, filters };
            codec::subscribe(&mut self.out, plan.version, &subscribe);
            self.subscribing += 1;
        }
    }

    fn subscribed(&mut self, now_ns: u64, tally: &mut Tally) {
        self.subscribing = self.subscribing.saturating_sub(1);
        if self.subscribing == 0 {
            self.served(now_ns, tally);
        }
    }

    fn served(&mut self, now_ns: u64, tally: &mut Tally) {
        if self.state != State::Connected {
            return;
        }
        self.state = State::Served;
        self.wait = Wait::Input;
        add(&self.shared.counters.connected, 1);
        if let Role::Publisher(publishing) = &mut self.role
            && self.shared.phase() >= Phase::Settling
        {
            // What was due while it was away and publishing went on is not published now.
            publishing.stop_at_once();
        }
        if let Some(since) = self.down_since_ns.take() {
            tally.gaps_ms.saturating_record(now_ns.saturating_sub(since) / 1_000_000);
            tally.moves.note(self.shared.wall(since), self.shared.wall(now_ns));
            self.reconnects += 1;
            add(&self.shared.counters.reconnects, 1);
        }
        if !self.was_ready {
            self.was_ready = true;
            // An offline receiver is ready once it has left.
            if !self.is_offline_receiver() {
                add(&self.shared.counters.ready, 1);
            }
        }
    }

    /// Does what time and the phase of the run ask for.
    ///
    /// # Errors
    /// [`End::Silent`] if the broker did not answer in time.
    pub(crate) fn act(&mut self, now_ns: u64) -> Result<(), End> {
        if now_ns >= self.tick_ns {
            self.keep_alive(now_ns)?;
        }
        let phase = self.shared.phase();
        let away = self.is_offline_receiver() && phase < Phase::Returning;
        if self.state == State::Served && (phase == Phase::Stopping || away) {
            self.leave();
            return Ok(());
        }
        let coming = matches!(self.state, State::Greeting | State::Connected);
        if coming && phase == Phase::Stopping {
            return Err(End::Left);
        }
        if phase >= Phase::Publishing && self.state == State::Served {
            self.publish(now_ns, phase);
        }
        Ok(())
    }

    fn keep_alive(&mut self, now_ns: u64) -> Result<(), End> {
        if self.state == State::Greeting || self.pings_open {
            return Err(End::Silent);
        }
        if !self.said_something {
            codec::pingreq(&mut self.out);
            self.pings_open = true;
        }
        self.said_something = false;
        self.tick_ns = self.next_tick_ns(now_ns);
        Ok(())
    }

    /// Twice in each keep alive, so that a ping is in time.
    fn next_tick_ns(&self, now_ns: u64) -> u64 {
        if self.keep_alive_s == 0 {
            NEVER
        } else {
            now_ns + u64::from(self.keep_alive_s) * 500_000_000
        }
    }

    fn publish(&mut self, now_ns: u64, phase: Phase) {
        let Role::Publisher(publishing) = &mut self.role else { return };
        let (shared, place) = (&self.shared, self.place);
        let Some(signal) = shared.signal(place) else { return };
        let sees = shared.plan.pattern != Pattern::Offline;
        let seen = || if sees { shared.seen_from(place) } else { u64::MAX };
        if matches!(self.wait, Wait::Seen(_)) && now_ns >= self.due_ns {
            publishing.forgive();
        }
        let before = publishing.published();
        publishing.begin(shared.publishing_ns());
        if phase >= Phase::Settling {
            publishing.stop(&mut self.out, now_ns);
        }
        let mut wait = publishing.fill(&mut self.out, now_ns, &seen);
        if let Wait::Seen(until) = wait {
            signal.wait_until(until);
            // It may have been seen in between.
            wait = publishing.fill(&mut self.out, now_ns, &seen);
        } else {
            signal.wait_no_more();
        }
        add(&shared.counters.published, publishing.published() - before);
        self.due_ns = match wait {
            Wait::Until(due_ns) => due_ns,
            // The same wait goes on with the patience it has left.
            Wait::Seen(_) if wait == self.wait && self.due_ns > now_ns => self.due_ns,
            Wait::Seen(_) => now_ns + STALL_NS,
            Wait::Room | Wait::Input => NEVER,
        };
        self.wait = wait;
        if publishing.is_settled() && !self.was_settled {
            self.was_settled = true;
            add(&shared.counters.settled, 1);
        }
    }

    fn leave(&mut self) {
        let plan = &self.shared.plan;
        let mut disconnect = Disconnect::of(ReasonCode::Success);
        let over = self.shared.phase() == Phase::Stopping && !plan.resume;
        if over && plan.persistent && plan.version == Version::V5 {
            disconnect.session_expiry_s = Some(0);
        }
        codec::disconnect(&mut self.out, plan.version, &disconnect);
        self.state = State::Leaving;
        self.shared.counters.connected.fetch_sub(1, std::sync::atomic::Ordering::Relaxed);
    }

    /// Whether a 3.x session stays behind that only a clean connection removes.
    pub(crate) fn leaves_a_session(&self) -> bool {
        let plan = &self.shared.plan;
        plan.persistent && !plan.resume && plan.version != Version::V5 && self.was_ready
    }

    /// Bytes were sent, which is as good as a ping.
    pub(crate) const fn sent(&mut self) {
        self.said_something = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Plan, receiving::Receiving};

    fn receiver(args: &[&str]) -> Device {
        use clap::Parser;
        let all = ["device-sim", "run", "--broker", "localhost:1883"].iter().chain(args);
        let crate::Args::Run(run) = crate::Args::try_parse_from(all).unwrap() else {
            panic!("a run")
        };
        let plan = Plan::try_from(*run).unwrap();
        let role = Role::Receiver(Box::new(Receiving::new(&plan, 0, 1)));
        Device::new(Arc::new(Shared::new(plan, 2, 1)), 1, role)
    }

    /// When a device that has said nothing but CONNECT pings, in seconds after its CONNACK.
    fn pings(args: &[&str], server_keep_alive_s: Option<u16>) -> Vec<u64> {
        let mut device = receiver(args);
        let mut tally = Tally::new().unwrap();
        device.greet(0, 1, true);
        let mut ack = ConnAck::of(false, ReasonCode::Success);
        ack.server_keep_alive_s = server_keep_alive_s;
        let (mut packet, mut pong) = (Vec::new(), Vec::new());
        codec::connack(&mut packet, Version::V5, &ack);
        codec::pingresp(&mut pong);
        device.take(&packet, 0, &mut tally).unwrap();
        let mut pings = Vec::new();
        while pings.len() < 3 && device.deadline_ns() < NEVER {
            let now_ns = device.deadline_ns();
            device.out.clear();
            device.act(now_ns).unwrap();
            if device.out == [0xC0, 0] {
                pings.push(now_ns / 1_000_000_000);
                device.take(&pong, now_ns, &mut tally).unwrap();
            }
        }
        pings
    }

    #[test]
    fn a_connect_names_the_user_if_there_is_one() {
        let said = |args: &[&str]| {
            let mut device = receiver(args);
            device.greet(0, 1, true);
            let packet = codec::decode(&device.out, Version::V311, Sender::Client).unwrap();
            let Packet::Connect(connect) = packet else { panic!("a CONNECT") };
            let text = |bytes| std::str::from_utf8(bytes).unwrap().to_owned();
            (connect.user_name.map(str::to_owned), connect.password.map(text))
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(&file, "secret\n").unwrap();
        let path = file.path().to_str().unwrap();
        assert_eq!(said(&[]), (None, None));
        assert_eq!(said(&["-u", "ann"]), (Some("ann".to_owned()), None));
        let both = (Some("ann".to_owned()), Some("secret".to_owned()));
        assert_eq!(said(&["-u", "ann", "--password-file", path]), both);
    }

    #[test]
    fn the_servers_keep_alive_holds_for_the_whole_connection() {
        assert_eq!(pings(&["-V", "5", "-k", "60"], None), [30, 60, 90]);
        assert_eq!(pings(&["-V", "5", "-k", "60"], Some(10)), [5, 10, 15]);
        assert_eq!(pings(&["-V", "5", "-k", "0"], Some(20)), [10, 20, 30]);
        assert_eq!(pings(&["-V", "5", "-k", "0"], None), [0; 0]);
    }
}
