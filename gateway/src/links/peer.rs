//! One peer gateway: its two machines and its two connections.

use std::sync::Arc;
use std::time::Duration;

use protocol::peer::{
    Acceptor, AcceptorEvent, Dialler, DiallerEvent, Frame, FrameBuffer, InterestNews, OwnInterest,
    PeerViolation,
};
use protocol::{GatewayId, Incarnation, Now};
use tokio::task::AbortHandle;
use tracing::Span;
use tracing::span::EnteredSpan;

use super::backoff::Backoff;
use super::command::PeerAddress;
use super::connection::{Connection, Key, News, Side, Stream};
use super::counters::{LinkCounters, PeerTotals};
use super::dial::{DialFailed, Hello, dial};
use super::status::{LinkStatus, Traffic};
use super::surroundings::Surroundings;
use super::told::tell_acceptor_event;

/// The connection that we dial.
enum Dialled {
    /// A task waits for its time, or dials.
    Dialling {
        number: u64,
        task: AbortHandle,
        due: Duration,
    },
    Open(Connection),
}

pub(super) struct Peer {
    id: GatewayId,
    address: String,
    /// The life that the peer's record is about.
    recorded: Incarnation,
    dialler: Dialler,
    dialled: Dialled,
    acceptor: Acceptor,
    accepted: Option<Connection>,
    backoff: Backoff,
    /// Whether it was dialled at once because it had dialled us, since it welcomed us last: once, so that two that refuse each
    /// other do not go on without a pause.
    prompted: bool,
    /// For which of the times that it was to say what it wants it did, over the connection that stands; none before it did.
    heard: Option<u64>,
    counted: PeerTotals,
    /// Whether it was told that the peer is up, and since when.
    told_up: bool,
    since: Duration,
    sent_bytes: u64,
    received_bytes: u64,
    span: Span,
}

impl Peer {
    /// How the link is, for operators.
    pub(super) fn status(&self, now: Duration) -> LinkStatus {
        let (dialler, counters) = (&self.dialler, self.dialler.counters());
        let oldest = dialler.oldest_ms().map(|ms| Duration::from_millis(ms.into()));
        let (sent, received) = (counters.sent, self.acceptor.taken());
        LinkStatus {
            gateway: self.id.clone(),
            address: self.address.clone(),
            incarnation: self.recorded,
            up: dialler.is_up(),
            since: now.saturating_sub(self.since),
            version: dialler.version(),
            acked_interest: dialler.acked_interest(),
            poked: dialler.poked(),
            unacknowledged: dialler.unacknowledged() as u64,
            unacknowledged_bytes: dialler.unacknowledged_bytes() as u64,
            oldest,
            credit: dialler.credit(),
            granted: self.acceptor.granted(),
            sent: Traffic { forwards: sent, bytes: self.sent_bytes },
            received: Traffic { forwards: received, bytes: self.received_bytes },
            dropped: counters.dropped(),
        }
    }

    /// So many bytes came over one of the connections.
    pub(super) const fn count_received(&mut self, bytes: usize) {
        self.received_bytes += bytes as u64;
    }

    /// A peer that is dialled at once; one that was given up before is known by what [`Self::leave`] left.
    pub(super) fn new(
        record: PeerAddress,
        known: Option<Acceptor>,
        seed: u64,
        around: &mut Surroundings,
    ) -> Self {
        let PeerAddress { gateway: id, address, incarnation } = record;
        let acceptor =
            known.unwrap_or_else(|| Acceptor::new(around.me.clone(), id.clone(), around.limits));
        let duplicates = acceptor.duplicates();
        let dialled = start_dialling(&id, &address, Duration::ZERO, around);
        Self {
            dialler: Dialler::new(around.me.clone(), id.clone(), around.limits),
            dialled,
            acceptor,
            accepted: None,
            backoff: Backoff::new(seed),
            prompted: false,
            heard: None,
            counted: PeerTotals { duplicates, ..PeerTotals::default() },
            told_up: false,
            since: around.now.mono,
            sent_bytes: 0,
            received_bytes: 0,
            span: tracing::info_span!("peer link", peer = %id),
            recorded: incarnation,
            id,
            address,
        }
    }

    /// What is said of this link is said in it.
    pub(super) fn enter(&self) -> EnteredSpan {
        self.span.clone().entered()
    }

    pub(super) const fn dialler(&mut self) -> &mut Dialler {
        &mut self.dialler
    }

    pub(super) const fn acceptor(&mut self) -> &mut Acceptor {
        &mut self.acceptor
    }

    /// The peer's record has changed; with its address, a connection stays only if it is to the same life.
    pub(super) fn moved_to(&mut self, record: PeerAddress, around: &mut Surroundings) {
        let same = self.recorded == record.incarnation && self.dialler.is_up();
        self.recorded = record.incarnation;
        if self.address != record.address && same {
            self.address = record.address;
        } else if self.address != record.address {
            self.address = record.address;
            self.backoff.reset();
            self.redial(Duration::ZERO, around);
            self.tell(around);
        }
    }

    /// The peer is no longer among the living: what was known of it is void, but for what it has forwarded. If it was only
    /// cut off, it forwards again what it has no acknowledgement for.
    pub(super) fn leave(mut self, around: &mut Surroundings) -> (GatewayId, Acceptor) {
        if let Dialled::Dialling { task, .. } = &self.dialled {
            task.abort();
        }
        self.dialler.handle_lost();
        self.tell(around);
        around.events.interest(&self.id, true, 0, Default::default());
        for (shared, publication) in self.dialler.take_unclaimed() {
            around.events.unclaimed(shared, publication);
        }
        self.count(&around.counters);
        self.acceptor.handle_given_up();
        (self.id, self.acceptor)
    }

    /// Dialling has come to an end.
    pub(super) fn handle_dialled(
        &mut self,
        key: &Key,
        result: Result<Stream, DialFailed>,
        now: Now,
        around: &mut Surroundings,
    ) {
        if !matches!(&self.dialled, Dialled::Dialling { number, .. } if *number == key.number) {
            return;
        }
        match result {
            Ok(stream) => {
                let buffer = FrameBuffer::new(around.limits.max_frame_bytes);
                self.dialled = Dialled::Open(around.open(key.clone(), stream, buffer));
                self.dialler.handle_connected(now);
            }
            Err(error) => {
                error.report(&around.counters);
                let pause = self.backoff.pause();
                self.redial(pause, around);
            }
        }
    }

    /// The peer has dialled us. A newer connection replaces an older one, which may be half dead.
    pub(super) fn handle_accepted(&mut self, hello: Hello, now: Now, around: &mut Surroundings) {
        let known = self.acceptor.incarnation().max(Some(self.recorded));
        if known > Some(hello.incarnation) {
            around.refused(&PeerViolation::OldIncarnation);
            return;
        }
        let key = around.key(&self.id, Side::Accepted);
        self.accepted = Some(around.open(key.clone(), hello.stream, hello.buffer));
        self.heard = None;
        self.acceptor.handle_connected(now);
        self.handle_frames(&key, vec![hello.frame], now, around);
        self.dial_promptly(around);
    }

    /// The peer is there, since it has dialled us: what is still to dial it need not wait.
    fn dial_promptly(&mut self, around: &mut Surroundings) {
        let waits = matches!(self.dialled, Dialled::Dialling { due, .. } if due > around.now.mono);
        if waits && !self.prompted {
            self.prompted = true;
            self.backoff.reset();
            self.redial(Duration::ZERO, around);
        }
    }

    pub(super) fn handle_frames(
        &mut self,
        key: &Key,
        frames: Vec<Frame>,
        now: Now,
        around: &mut Surroundings,
    ) {
        if !self.has(key) {
            return;
        }
        for frame in frames {
            let handled = match key.side {
                Side::Dialled => self.dialler.handle_frame(now, frame),
                Side::Accepted => self.acceptor.handle_frame(now, frame),
            };
            if let Err(violation) = handled {
                self.give_up(key.side, &violation, around);
                break;
            }
        }
        self.tell(around);
    }

    /// The stream cannot be read any further.
    pub(super) fn handle_damaged(
        &mut self,
        key: &Key,
        violation: &PeerViolation,
        around: &mut Surroundings,
    ) {
        if self.has(key) {
            self.acceptor_refuses(key.side, violation);
            self.give_up(key.side, violation, around);
        }
    }

    /// Ends what was made with a certificate that is revoked now.
    pub(super) fn end_revoked(&mut self, around: &mut Surroundings) {
        let revoked = Arc::clone(&around.revoked);
        let is = |connection: &Connection| connection.is_revoked(&revoked);
        let dialled = matches!(&self.dialled, Dialled::Open(connection) if is(connection));
        let accepted = self.accepted.as_ref().is_some_and(is);
        for (side, ends) in [(Side::Dialled, dialled), (Side::Accepted, accepted)] {
            if ends {
                tracing::info!(
                    target: "audit", peer = %self.id,
                    "peer connection cut: its certificate is revoked"
                );
                around.counters.count_refused();
                self.lose(side, around);
            }
        }
    }

    pub(super) fn handle_written(&mut self, key: &Key, buffer: Vec<u8>) {
        if let Some(connection) = self.connection(key) {
            connection.handle_written(buffer);
        }
    }

    pub(super) fn handle_closed(
        &mut self,
        key: &Key,
        kind: std::io::ErrorKind,
        around: &mut Surroundings,
    ) {
        if self.has(key) {
            if around.may_tell() {
                tracing::info!(reason_code = %kind, "a peer connection is lost");
            }
            around.counters.count_lost();
            self.lose(key.side, around);
        }
    }

    pub(super) fn handle_timeout(&mut self, now: Now, around: &mut Surroundings) {
        if let Err(violation) = self.dialler.handle_timeout(now) {
            self.give_up(Side::Dialled, &violation, around);
        }
        if let Err(violation) = self.acceptor.handle_timeout(now) {
            self.give_up(Side::Accepted, &violation, around);
        }
    }

    /// When [`Self::handle_timeout`] is due.
    pub(super) fn deadline(&self) -> Option<Duration> {
        [self.dialler.deadline(), self.acceptor.deadline()].into_iter().flatten().min()
    }

    /// For which of the times that it was to say what it wants it did, at least.
    pub(super) fn heard(&self) -> u64 {
        self.heard.unwrap_or_default()
    }

    /// It may have confirmed subscriptions without waiting for us: it says all that it wants over its next connection.
    pub(super) fn ask_anew(&mut self, around: &mut Surroundings) {
        if self.accepted.is_some() {
            tracing::info!(
                "a peer is asked anew what it wants, since it may have taken us for dead"
            );
            self.lose(Side::Accepted, around);
        }
    }

    pub(super) fn interest_changed(&mut self, news: &InterestNews, around: &mut Surroundings) {
        if let Err(violation) = self.dialler.interest_changed(news) {
            self.give_up(Side::Dialled, &violation, around);
        }
    }

    /// Hands what the machines want written to connections that have nothing to write.
    pub(super) fn pump(&mut self, interest: &OwnInterest) {
        if let Dialled::Open(connection) = &mut self.dialled {
            connection.pump(|out| self.dialler.poll_write(out, interest));
            self.sent_bytes += connection.take_written_bytes();
        }
        if let Some(connection) = &mut self.accepted {
            connection.pump(|out| self.acceptor.poll_write(out));
            self.sent_bytes += connection.take_written_bytes();
        }
    }

    /// Passes on what the machines have to tell.
    pub(super) fn tell(&mut self, around: &mut Surroundings) {
        while let Some(event) = self.dialler.poll_event() {
            self.tell_dialler_event(event, around);
        }
        while let Some(event) = self.acceptor.poll_event() {
            if matches!(event, AcceptorEvent::Interest { replace: true, .. }) {
                self.heard = Some(around.back);
            }
            tell_acceptor_event(&self.id, event, around);
        }
        if self.told_up && !self.dialler.is_up() {
            self.told_up = false;
            self.since = around.now.mono;
            around.events.peer_down(&self.id);
        }
    }

    /// Adds what was counted since the last call.
    pub(super) fn count(&mut self, counters: &LinkCounters) {
        let forwards = self.dialler.counters();
        let totals = PeerTotals { forwards, duplicates: self.acceptor.duplicates() };
        if totals != self.counted {
            counters.add(&self.counted, &totals);
            self.counted = totals;
        }
    }

    fn tell_dialler_event(&mut self, event: DiallerEvent, around: &mut Surroundings) {
        match event {
            DiallerEvent::Welcomed { incarnation, .. } => {
                tracing::info!("a peer has welcomed us");
                self.backoff.reset();
                self.prompted = false;
                self.told_up = true;
                self.since = around.now.mono;
                around.events.peer_up(&self.id, incarnation);
            }
            // Both show in the progress over all peers.
            DiallerEvent::InterestAcked { .. } | DiallerEvent::Poked { .. } => {}
            DiallerEvent::Released { request, outcome } => {
                around.events.released(&self.id, request, outcome);
            }
            DiallerEvent::Credit { drain, clients, per_s } => {
                around.events.credit(&self.id, drain, clients, per_s);
            }
        }
    }

    /// Lets go of a connection whose peer broke a rule or fell silent.
    fn give_up(&mut self, side: Side, violation: &PeerViolation, around: &mut Surroundings) {
        around.refused(violation);
        if side == Side::Accepted
            && let Some(connection) = &mut self.accepted
        {
            // The reason, if the machine has one to tell and the peer still takes bytes.
            connection.pump(|out| self.acceptor.poll_write(out));
        }
        self.lose(side, around);
    }

    fn acceptor_refuses(&mut self, side: Side, violation: &PeerViolation) {
        match side {
            Side::Accepted => self.acceptor.refuse(violation),
            Side::Dialled => {}
        }
    }

    fn lose(&mut self, side: Side, around: &mut Surroundings) {
        match side {
            Side::Dialled => {
                let pause = self.backoff.pause();
                self.redial(pause, around);
            }
            Side::Accepted => {
                self.accepted = None;
                // What it wants from now on it may keep to itself.
                self.heard = None;
                self.acceptor.handle_lost();
            }
        }
        self.tell(around);
    }

    fn redial(&mut self, pause: Duration, around: &mut Surroundings) {
        if let Dialled::Dialling { task, .. } = &self.dialled {
            task.abort();
        }
        self.dialler.handle_lost();
        self.dialled = start_dialling(&self.id, &self.address, pause, around);
    }

    fn has(&self, key: &Key) -> bool {
        match (key.side, &self.dialled, &self.accepted) {
            (Side::Dialled, Dialled::Open(connection), _)
            | (Side::Accepted, _, Some(connection)) => connection.is(key),
            (Side::Dialled, Dialled::Dialling { .. }, _) | (Side::Accepted, _, None) => false,
        }
    }

    fn connection(&mut self, key: &Key) -> Option<&mut Connection> {
        let connection = match (key.side, &mut self.dialled, &mut self.accepted) {
            (Side::Dialled, Dialled::Open(connection), _)
            | (Side::Accepted, _, Some(connection)) => connection,
            (Side::Dialled, Dialled::Dialling { .. }, _) | (Side::Accepted, _, None) => {
                return None;
            }
        };
        connection.is(key).then_some(connection)
    }
}

fn start_dialling(
    id: &GatewayId,
    address: &str,
    pause: Duration,
    around: &mut Surroundings,
) -> Dialled {
    let key = around.key(id, Side::Dialled);
    let number = key.number;
    let (connector, news) = (around.tls.connector(), around.news.clone());
    let (limit, address) = (around.connect_limit, address.to_owned());
    let task = tokio::spawn(async move {
        tokio::time::sleep(pause).await;
        let result = dial(key.peer.clone(), address, connector, limit).await;
        let _gone = news.send(News::Dialled(key, Box::new(result))).await;
    });
    Dialled::Dialling { number, task: task.abort_handle(), due: around.now.mono + pause }
}
