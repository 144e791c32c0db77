//! The side of a peer link that answers: what the peer asks over the connection that it dialled.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use super::frame::{Frame, InterestChange, ReleaseOutcome, SharedTargets, forward_len};
use super::grant::Grant;
use super::hash::HashChange;
use super::interest::{Gathered, Gathering};
use super::limits::{CREDITS, Identity, MIN_VERSION, PeerLimits, VERSION};
use super::violation::PeerViolation;
use super::wire::FrameError;
use crate::{ClientId, GatewayId, Incarnation, LogSeq, Now, Publication, SessionEpoch};

/// Our side of the connection that one peer gateway dials to us; outlives each connection.
///
/// ```text
///          handle_connected            hello
///   Down ───────────────────▶ Waiting ───────▶ Up
///     ▲                          │ violation   │ violation
///     └─── handle_lost ◀── Refusing ◀──────────┘
/// ```
///
/// When a step returns a violation, the driver writes what [`Self::poll_write`] still gives (the reason),
/// closes the connection and calls [`Self::handle_lost`].
///
/// What is asked of this gateway carries a ticket, unique for the machine's life, so that an answer that
/// comes after a reconnect or for an earlier life of the peer can do no harm.
#[derive(Debug)]
pub struct Acceptor {
    me: Identity,
    peer: GatewayId,
    limits: PeerLimits,
    state: State,
    /// What the peer speaks.
    version: u16,
    /// The life of the peer that the memory below is about.
    incarnation: Option<Incarnation>,
    /// The last forward taken.
    forwarded: u64,
    forward_ack_due: bool,
    grant: Grant,
    duplicates: u64,
    taken: u64,
    interest: Gathering,
    /// Interest that was told but not confirmed: (ticket, revision), in order.
    unconfirmed: VecDeque<(u64, u64)>,
    interest_ack_due: Option<u64>,
    /// Releases without an answer, of the current connection: ticket to request.
    releases: BTreeMap<u64, u64>,
    next_ticket: u64,
    poke_heard: LogSeq,
    applied: LogSeq,
    poked_sent: LogSeq,
    pong_due: bool,
    /// Answers that are encoded and waiting.
    answers: Vec<u8>,
    heard: Duration,
    events: VecDeque<AcceptorEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    Waiting,
    Up,
    Refusing,
}

/// What an [`Acceptor`] has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AcceptorEvent {
    /// The peer has greeted.
    Connected {
        /// Which life of it.
        incarnation: Incarnation,
        /// Whether it is another life than the one known, or new: what is known of its interest is void.
        fresh: bool,
    },
    /// The peer's interest has changed.
    Interest {
        /// To be given to [`Acceptor::interest_applied`] once every worker knows.
        ticket: u64,
        /// Whether the changes replace all that was known.
        replace: bool,
        /// The changes that are told by name.
        changes: Vec<InterestChange>,
        /// The changes that are told by hash; other filters than those.
        hashes: Vec<HashChange>,
    },
    /// A publication for subscribers here. Each comes once, in order.
    Forward {
        /// Whether it is for all plain subscribers.
        plain: bool,
        /// Shared groups of which one member gets it.
        shared: SharedTargets,
        /// The publication.
        publication: Publication,
    },
    /// The peer wants a session that is owned here.
    Release {
        /// To be given to [`Acceptor::released`].
        ticket: u64,
        /// The session's client.
        client: ClientId,
        /// The epoch in which it is owned here.
        epoch: SessionEpoch,
    },
    /// The store's log reaches so far.
    Poke {
        /// The last commit.
        seq: LogSeq,
    },
    /// The peer is draining and has clients to send.
    DrainAsk {
        /// The drain.
        drain: u64,
        /// How many clients are left.
        clients: u32,
        /// How many it would like to send in a second.
        per_s: u32,
    },
}

impl Acceptor {
    /// A machine without a connection, for the peer that the certificates of its connections name.
    pub fn new(me: Identity, peer: GatewayId, limits: PeerLimits) -> Self {
        Self {
            me,
            peer,
            limits,
            state: State::Down,
            version: VERSION,
            incarnation: None,
            forwarded: 0,
            forward_ack_due: false,
            grant: Grant::new(&limits),
            duplicates: 0,
            taken: 0,
            interest: Gathering::default(),
            unconfirmed: VecDeque::new(),
            interest_ack_due: None,
            releases: BTreeMap::new(),
            next_ticket: 1,
            poke_heard: LogSeq(0),
            applied: LogSeq(0),
            poked_sent: LogSeq(0),
            pong_due: false,
            answers: Vec::new(),
            heard: Duration::ZERO,
            events: VecDeque::new(),
        }
    }

    /// A connection stands; an older one is forgotten.
    pub fn handle_connected(&mut self, now: Now) {
        self.handle_lost();
        self.state = State::Waiting;
        self.heard = now.mono;
    }

    /// The connection is gone, whoever closed it.
    pub fn handle_lost(&mut self) {
        self.state = State::Down;
        self.answers = Vec::new();
        self.releases.clear();
        self.interest.handle_lost();
        self.forward_ack_due = false;
        self.pong_due = false;
        self.poke_heard = LogSeq(0);
        self.poked_sent = LogSeq(0);
    }

    /// The peer is given up, and may come back in the same life: all that is remembered is which of its forwards were taken.
    /// It forwards again what it has no acknowledgement for.
    pub fn handle_given_up(&mut self) {
        self.handle_lost();
        self.interest = Gathering::default();
        self.unconfirmed.clear();
        self.interest_ack_due = None;
        self.events.clear();
    }

    /// Takes a frame of the peer.
    ///
    /// # Errors
    /// [`PeerViolation`]: the connection must be closed, after the reason is written.
    pub fn handle_frame(&mut self, now: Now, frame: Frame) -> Result<(), PeerViolation> {
        let stale = now.mono >= self.heard + self.limits.stale_after;
        self.heard = now.mono;
        let handled = match (self.state, frame) {
            (State::Up, _) if stale => Err(PeerViolation::Silent),
            (State::Waiting, Frame::Hello { version, fleet, gateway, incarnation }) => {
                self.handle_hello(version, &fleet, &gateway, incarnation)
            }
            (State::Up, frame) => self.handle_request(frame),
            (State::Down | State::Waiting | State::Refusing, _) => {
                Err(PeerViolation::BeforeGreeting)
            }
        };
        handled.inspect_err(|violation| self.refuse(violation))
    }

    /// Refuses the connection for something that only the driver could see, such as bytes that are no frame.
    pub fn refuse(&mut self, violation: &PeerViolation) {
        if matches!(self.state, State::Waiting | State::Up) {
            self.state = State::Refusing;
            self.answers.clear();
            let (reason, text) = (violation.code(), violation.to_string());
            Frame::Refused { reason, text }.encode(&mut self.answers);
        }
    }

    /// Time has passed, at least until [`Self::deadline`].
    ///
    /// # Errors
    /// [`PeerViolation::Silent`]: the connection must be closed.
    pub fn handle_timeout(&mut self, now: Now) -> Result<(), PeerViolation> {
        match self.deadline() {
            Some(deadline) if now.mono >= deadline => Err(PeerViolation::Silent),
            Some(_) | None => Ok(()),
        }
    }

    /// When [`Self::handle_timeout`] is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        (self.state != State::Down).then(|| self.heard + self.limits.silent_after)
    }

    /// Every worker here knows the interest of the ticket and all before it.
    pub fn interest_applied(&mut self, ticket: u64) {
        while let Some((_, rev)) = self.unconfirmed.pop_front_if(|(t, _)| *t <= ticket) {
            self.interest_ack_due = Some(rev);
        }
    }

    /// The store's log has been applied here up to `seq`; whoever poked for less is answered.
    pub fn applied(&mut self, seq: LogSeq) {
        self.applied = self.applied.max(seq);
    }

    /// So many more forwards, and bytes of them, can be taken now from this peer. Before the first call that is as many as the
    /// limits allow.
    pub const fn set_room(&mut self, forwards: u64, bytes: u64) {
        self.grant.set_room(forwards, bytes);
    }

    /// Whether the peer may send nothing for want of room here: [`Self::set_room`] is to be called again soon.
    pub fn withholds(&self) -> bool {
        self.state == State::Up && self.version >= CREDITS && self.grant.is_used_up(self.forwarded)
    }

    /// Answers a release. A ticket of a connection that is gone is ignored.
    pub fn released(&mut self, ticket: u64, outcome: ReleaseOutcome) {
        if let Some(request) = self.releases.remove(&ticket) {
            Frame::Released { request, outcome }.encode(&mut self.answers);
        }
    }

    /// Lets the peer send reconnecting clients. Without a connection nothing is sent; the peer asks again.
    pub fn credit(&mut self, drain: u64, clients: u32, per_s: u32) {
        if self.state == State::Up {
            Frame::DrainCredit { drain, clients, per_s }.encode(&mut self.answers);
        }
    }

    /// Appends what is to be written next; `false` if there is nothing. Acknowledgements that came
    /// together are one frame.
    pub fn poll_write(&mut self, out: &mut Vec<u8>) -> bool {
        let start = out.len();
        out.append(&mut self.answers);
        if self.state == State::Up {
            self.poll_acks(out);
        }
        out.len() > start
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<AcceptorEvent> {
        self.events.pop_front()
    }

    /// Whether the peer has greeted on a connection that still stands.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// The life of the peer that has greeted last.
    pub const fn incarnation(&self) -> Option<Incarnation> {
        self.incarnation
    }

    /// The version that the peer speaks; none if no connection stands.
    pub const fn version(&self) -> Option<u16> {
        match self.state {
            State::Up => Some(self.version),
            State::Down | State::Waiting | State::Refusing => None,
        }
    }

    /// How many more forwards the peer may send now; none if it does not wait for credit.
    pub const fn granted(&self) -> Option<u64> {
        match self.state {
            State::Up if self.version >= CREDITS => Some(self.grant.left(self.forwarded)),
            State::Up | State::Down | State::Waiting | State::Refusing => None,
        }
    }

    /// How many forwards were taken, whichever life of the peer sent them.
    pub const fn taken(&self) -> u64 {
        self.taken
    }

    /// How many forwards came again and were dropped.
    pub const fn duplicates(&self) -> u64 {
        self.duplicates
    }

    fn handle_hello(
        &mut self,
        version: u16,
        fleet: &str,
        gateway: &GatewayId,
        incarnation: Incarnation,
    ) -> Result<(), PeerViolation> {
        if !(MIN_VERSION..=VERSION).contains(&version) {
            return Err(PeerViolation::Version { found: version });
        }
        if fleet != self.me.fleet {
            return Err(PeerViolation::WrongFleet);
        }
        if *gateway == self.me.gateway {
            return Err(PeerViolation::OwnId);
        }
        if *gateway != self.peer {
            return Err(PeerViolation::WrongGateway);
        }
        if self.incarnation.is_some_and(|known| known > incarnation) {
            return Err(PeerViolation::OldIncarnation);
        }
        let fresh = self.incarnation != Some(incarnation);
        if fresh {
            self.incarnation = Some(incarnation);
            self.forwarded = 0;
            self.interest = Gathering::default();
            self.unconfirmed.clear();
            self.interest_ack_due = None;
        }
        self.state = State::Up;
        self.version = version;
        self.grant.begin(self.forwarded);
        Frame::Welcome {
            version,
            gateway: self.me.gateway.clone(),
            incarnation: self.me.incarnation,
            forwarded: self.forwarded,
        }
        .encode(&mut self.answers);
        self.events.push_back(AcceptorEvent::Connected { incarnation, fresh });
        Ok(())
    }

    fn handle_request(&mut self, frame: Frame) -> Result<(), PeerViolation> {
        match frame {
            Frame::Interest { rev, replace, last, changes } => {
                let part = Gathered { changes, hashes: Vec::new() };
                self.handle_interest((rev, replace, last), part)
            }
            Frame::Hashes { .. } if self.version < CREDITS => {
                Err(FrameError::Kind(frame.new_kind().unwrap_or_default()).into())
            }
            Frame::Hashes { rev, replace, last, hashes } => {
                let part = Gathered { changes: Vec::new(), hashes };
                self.handle_interest((rev, replace, last), part)
            }
            Frame::Forward { seq, plain, shared, publication } => {
                let expected = self.forwarded.saturating_add(1);
                if seq > expected {
                    return Err(PeerViolation::Gap { expected, found: seq });
                }
                if self.version >= CREDITS && !self.grant.covers(seq) {
                    return Err(PeerViolation::BeyondCredit);
                }
                self.forward_ack_due = true;
                self.grant.handle_bytes(forward_len(&shared, &publication));
                if seq < expected {
                    self.duplicates += 1;
                    return Ok(());
                }
                self.forwarded = seq;
                self.taken += 1;
                self.events.push_back(AcceptorEvent::Forward { plain, shared, publication });
                Ok(())
            }
            Frame::Release { request, client, epoch } => {
                self.handle_release(request, client, epoch);
                Ok(())
            }
            Frame::Poke { seq } => {
                self.poke_heard = self.poke_heard.max(seq);
                self.events.push_back(AcceptorEvent::Poke { seq });
                Ok(())
            }
            Frame::DrainAsk { drain, clients, per_s } => {
                self.events.push_back(AcceptorEvent::DrainAsk { drain, clients, per_s });
                Ok(())
            }
            Frame::Ping => {
                self.pong_due = true;
                Ok(())
            }
            Frame::Hello { .. } => Err(PeerViolation::Repeated),
            Frame::Welcome { .. }
            | Frame::Refused { .. }
            | Frame::InterestAck { .. }
            | Frame::ForwardAck { .. }
            | Frame::ForwardCredit { .. }
            | Frame::Released { .. }
            | Frame::Poked { .. }
            | Frame::DrainCredit { .. }
            | Frame::Pong => Err(PeerViolation::WrongSide),
        }
    }

    fn handle_interest(
        &mut self,
        head: (u64, bool, bool),
        part: Gathered,
    ) -> Result<(), PeerViolation> {
        let (rev, replace, _) = head;
        let whole = self.interest.handle(head, part, self.limits.max_interest)?;
        if let Some(Gathered { changes, hashes }) = whole {
            let ticket = self.ticket();
            self.unconfirmed.push_back((ticket, rev));
            let interest = AcceptorEvent::Interest { ticket, replace, changes, hashes };
            self.events.push_back(interest);
        }
        Ok(())
    }

    fn handle_release(&mut self, request: u64, client: ClientId, epoch: SessionEpoch) {
        if self.releases.len() >= self.limits.max_releases {
            let outcome = ReleaseOutcome::Busy;
            Frame::Released { request, outcome }.encode(&mut self.answers);
            return;
        }
        let ticket = self.ticket();
        self.releases.insert(ticket, request);
        self.events.push_back(AcceptorEvent::Release { ticket, client, epoch });
    }

    const fn ticket(&mut self) -> u64 {
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        ticket
    }

    fn poll_acks(&mut self, out: &mut Vec<u8>) {
        if std::mem::take(&mut self.forward_ack_due) {
            Frame::ForwardAck { seq: self.forwarded }.encode(out);
        }
        if self.version >= CREDITS
            && let Some((seq, bytes)) = self.grant.next(self.forwarded)
        {
            Frame::ForwardCredit { seq, bytes }.encode(out);
        }
        if let Some(rev) = self.interest_ack_due.take() {
            Frame::InterestAck { rev }.encode(out);
        }
        // Partial progress is told too: an earlier poke may be all that somebody waits for.
        if self.poke_heard > self.poked_sent && self.applied > self.poked_sent {
            self.poked_sent = self.applied;
            Frame::Poked { seq: self.applied }.encode(out);
        }
        if std::mem::take(&mut self.pong_due) {
            Frame::Pong.encode(out);
        }
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::QoS;

    fn id(text: &str) -> GatewayId {
        GatewayId::new(text).unwrap()
    }

    fn acceptor() -> Acceptor {
        let me = Identity { fleet: "f".into(), gateway: id("gw-1"), incarnation: Incarnation(9) };
        Acceptor::new(me, id("gw-2"), PeerLimits::default())
    }

    fn hello(version: u16, fleet: &str, gateway: &str, incarnation: u64) -> Frame {
        let incarnation = Incarnation(incarnation);
        Frame::Hello { version, fleet: fleet.into(), gateway: id(gateway), incarnation }
    }

    fn connect(acceptor: &mut Acceptor, frame: Frame) -> Result<(), PeerViolation> {
        acceptor.handle_connected(Now::default());
        acceptor.handle_frame(Now::default(), frame)
    }

    fn up() -> Acceptor {
        let mut acceptor = acceptor();
        connect(&mut acceptor, hello(1, "f", "gw-2", 5)).unwrap();
        acceptor.poll_event().unwrap();
        written(&mut acceptor);
        acceptor
    }

    fn written(acceptor: &mut Acceptor) -> Vec<Frame> {
        let mut buffer = crate::peer::FrameBuffer::new(1 << 20);
        let mut out = Vec::new();
        while acceptor.poll_write(&mut out) {}
        buffer.space().extend_from_slice(&out);
        std::iter::from_fn(|| buffer.take().unwrap()).collect()
    }

    fn take(acceptor: &mut Acceptor, frame: Frame) -> Result<(), PeerViolation> {
        acceptor.handle_frame(Now::default(), frame)
    }

    fn forward(seq: u64) -> Frame {
        let publication = Publication::new("a", &[], b"x", QoS::AtLeastOnce, false);
        Frame::Forward { seq, plain: true, shared: SmallVec::new(), publication }
    }

    fn interest(rev: u64, replace: bool) -> Frame {
        Frame::Interest { rev, replace, last: true, changes: vec![] }
    }

    #[test]
    fn a_stranger_is_refused_with_a_reason() {
        let cases = [
            (hello(0, "f", "gw-2", 5), PeerViolation::Version { found: 0 }),
            (hello(VERSION + 1, "f", "gw-2", 5), PeerViolation::Version { found: VERSION + 1 }),
            (hello(1, "other", "gw-2", 5), PeerViolation::WrongFleet),
            (hello(1, "f", "gw-1", 5), PeerViolation::OwnId),
            (hello(1, "f", "gw-3", 5), PeerViolation::WrongGateway),
            (Frame::Ping, PeerViolation::BeforeGreeting),
            (forward(1), PeerViolation::BeforeGreeting),
        ];
        for (frame, violation) in cases {
            let mut acceptor = acceptor();
            assert_eq!(connect(&mut acceptor, frame), Err(violation.clone()));
            let (reason, text) = (violation.code(), violation.to_string());
            assert_eq!(written(&mut acceptor), [Frame::Refused { reason, text }]);
            assert_eq!(acceptor.poll_event(), None);
            let after = take(&mut acceptor, hello(1, "f", "gw-2", 5));
            assert_eq!(after, Err(PeerViolation::BeforeGreeting));
        }
    }

    #[test]
    fn what_comes_after_a_long_silence_is_not_taken_but_again_over_the_next_connection() {
        let at = |ms| Now { mono: Duration::from_millis(ms), ..Now::default() };
        let mut acceptor = up();
        assert_eq!(acceptor.handle_frame(at(1_999), forward(1)), Ok(()));
        assert_eq!(acceptor.handle_frame(at(3_999), Frame::Ping), Err(PeerViolation::Silent));
        assert_eq!(
            acceptor.handle_frame(at(3_999), forward(2)),
            Err(PeerViolation::BeforeGreeting)
        );
        acceptor.handle_connected(at(9_000));
        acceptor.handle_frame(at(9_500), hello(1, "f", "gw-2", 5)).unwrap();
        let welcome = |frame: &Frame| matches!(frame, Frame::Welcome { forwarded: 1, .. });
        assert!(written(&mut acceptor).iter().any(welcome));
        assert_eq!(acceptor.handle_frame(at(9_600), forward(2)), Ok(()));
    }

    #[test]
    fn a_replayed_hello_or_an_earlier_life_is_refused() {
        let mut acceptor = up();
        let again = take(&mut acceptor, hello(1, "f", "gw-2", 5));
        assert_eq!(again, Err(PeerViolation::Repeated));
        let earlier = connect(&mut acceptor, hello(1, "f", "gw-2", 4));
        assert_eq!(earlier, Err(PeerViolation::OldIncarnation));
        assert_eq!(connect(&mut acceptor, hello(1, "f", "gw-2", 5)), Ok(()));
    }

    #[test]
    fn forwards_are_taken_once_and_acknowledged_together() {
        let mut acceptor = up();
        for seq in [1, 2, 2, 1, 3] {
            take(&mut acceptor, forward(seq)).unwrap();
        }
        assert_eq!(std::iter::from_fn(|| acceptor.poll_event()).count(), 3);
        assert_eq!(acceptor.duplicates(), 2);
        assert_eq!(written(&mut acceptor), [Frame::ForwardAck { seq: 3 }]);
        assert_eq!((acceptor.version(), acceptor.granted()), (Some(MIN_VERSION), None));
        let gap = PeerViolation::Gap { expected: 4, found: u64::MAX };
        assert_eq!(take(&mut acceptor, forward(u64::MAX)), Err(gap));
    }

    #[test]
    fn the_same_life_goes_on_where_it_was_and_a_new_one_begins_anew() {
        let mut acceptor = up();
        take(&mut acceptor, forward(1)).unwrap();
        take(&mut acceptor, interest(4, true)).unwrap();
        while acceptor.poll_event().is_some() {}
        for (incarnation, fresh, forwarded) in [(5, false, 1), (6, true, 0)] {
            connect(&mut acceptor, hello(1, "f", "gw-2", incarnation)).unwrap();
            let incarnation = Incarnation(incarnation);
            let connected = AcceptorEvent::Connected { incarnation, fresh };
            assert_eq!(acceptor.poll_event(), Some(connected));
            let (gateway, incarnation) = (id("gw-1"), Incarnation(9));
            let welcome = Frame::Welcome { version: 1, gateway, incarnation, forwarded };
            assert_eq!(written(&mut acceptor), [welcome]);
        }
        // What the earlier life's interest is answered with must not count for the new one.
        acceptor.interest_applied(1);
        assert_eq!(written(&mut acceptor), []);
    }

    #[test]
    fn a_peer_that_was_given_up_is_known_again_by_what_it_forwarded_and_nothing_else() {
        let mut acceptor = up();
        take(&mut acceptor, forward(1)).unwrap();
        take(&mut acceptor, forward(2)).unwrap();
        take(&mut acceptor, interest(7, true)).unwrap();
        acceptor.handle_given_up();
        assert_eq!(acceptor.poll_event(), None);
        // What it is told of later was not asked on this connection.
        acceptor.interest_applied(u64::MAX);
        connect(&mut acceptor, hello(1, "f", "gw-2", 5)).unwrap();
        let welcome = written(&mut acceptor);
        assert!(matches!(welcome[..], [Frame::Welcome { forwarded: 2, .. }]), "{welcome:?}");
        take(&mut acceptor, forward(2)).unwrap();
        take(&mut acceptor, forward(3)).unwrap();
        let forwards = std::iter::from_fn(|| acceptor.poll_event());
        let forwards = forwards.filter(|event| matches!(event, AcceptorEvent::Forward { .. }));
        assert_eq!((forwards.count(), acceptor.duplicates()), (1, 1));
        // Another life begins anew.
        acceptor.handle_given_up();
        connect(&mut acceptor, hello(1, "f", "gw-2", 6)).unwrap();
        let welcome = written(&mut acceptor);
        assert!(matches!(welcome[..], [Frame::Welcome { forwarded: 0, .. }]), "{welcome:?}");
    }

    #[test]
    fn interest_is_acknowledged_when_applied_and_not_before() {
        let mut acceptor = up();
        for (rev, replace) in [(7, true), (8, false), (20, false)] {
            take(&mut acceptor, interest(rev, replace)).unwrap();
        }
        assert_eq!(written(&mut acceptor), []);
        let mut tickets = Vec::new();
        while let Some(AcceptorEvent::Interest { ticket, .. }) = acceptor.poll_event() {
            tickets.push(ticket);
        }
        acceptor.interest_applied(tickets[1]);
        assert_eq!(written(&mut acceptor), [Frame::InterestAck { rev: 8 }]);
        acceptor.interest_applied(tickets[2]);
        assert_eq!(written(&mut acceptor), [Frame::InterestAck { rev: 20 }]);
        assert_eq!(take(&mut acceptor, interest(20, false)), Err(PeerViolation::InterestOrder));
    }

    #[test]
    fn pokes_are_answered_with_what_is_applied() {
        let mut acceptor = up();
        acceptor.applied(LogSeq(5));
        assert_eq!(written(&mut acceptor), []);
        take(&mut acceptor, Frame::Poke { seq: LogSeq(4) }).unwrap();
        assert_eq!(written(&mut acceptor), [Frame::Poked { seq: LogSeq(5) }]);
        take(&mut acceptor, Frame::Poke { seq: LogSeq(9) }).unwrap();
        assert_eq!(written(&mut acceptor), []);
        acceptor.applied(LogSeq(7));
        assert_eq!(written(&mut acceptor), [Frame::Poked { seq: LogSeq(7) }]);
        acceptor.applied(LogSeq(10));
        acceptor.applied(LogSeq(11));
        assert_eq!(written(&mut acceptor), [Frame::Poked { seq: LogSeq(11) }]);
        acceptor.applied(LogSeq(12));
        assert_eq!(written(&mut acceptor), []);
    }

    #[test]
    fn an_answer_to_a_release_of_a_lost_connection_goes_nowhere() {
        let mut acceptor = up();
        let client = ClientId::new("c").unwrap();
        let (request, epoch) = (3, SessionEpoch(2));
        let release = Frame::Release { request, client, epoch };
        take(&mut acceptor, release.clone()).unwrap();
        let Some(AcceptorEvent::Release { ticket: old, .. }) = acceptor.poll_event() else {
            panic!()
        };
        connect(&mut acceptor, hello(1, "f", "gw-2", 6)).unwrap();
        take(&mut acceptor, release).unwrap();
        acceptor.poll_event().unwrap();
        written(&mut acceptor);
        let Some(AcceptorEvent::Release { ticket, .. }) = acceptor.poll_event() else { panic!() };
        acceptor.released(old, ReleaseOutcome::Done);
        assert_eq!(written(&mut acceptor), []);
        acceptor.released(ticket, ReleaseOutcome::Busy);
        acceptor.released(ticket, ReleaseOutcome::Done);
        let outcome = ReleaseOutcome::Busy;
        assert_eq!(written(&mut acceptor), [Frame::Released { request, outcome }]);
    }

    #[test]
    fn frames_that_only_the_accepting_side_may_send_are_refused() {
        for frame in [
            Frame::Pong,
            Frame::ForwardAck { seq: 1 },
            Frame::ForwardCredit { seq: 1, bytes: 1 },
            Frame::InterestAck { rev: 1 },
            Frame::Poked { seq: LogSeq(1) },
            Frame::DrainCredit { drain: 1, clients: 1, per_s: 1 },
            Frame::Refused { reason: 1, text: String::new() },
        ] {
            assert_eq!(take(&mut up(), frame), Err(PeerViolation::WrongSide));
        }
    }

    #[test]
    fn credit_is_given_with_the_welcome_and_as_forwards_are_taken() {
        let mut acceptor = acceptor();
        connect(&mut acceptor, hello(VERSION, "f", "gw-2", 5)).unwrap();
        let PeerLimits { window, window_bytes, .. } = PeerLimits::default();
        let first = Frame::ForwardCredit { seq: window, bytes: window_bytes };
        assert_eq!(written(&mut acceptor).last(), Some(&first));
        assert_eq!(acceptor.granted(), Some(window));
        // A few taken forwards are not worth a frame.
        for seq in 1..=3 {
            take(&mut acceptor, forward(seq)).unwrap();
        }
        assert_eq!(written(&mut acceptor), [Frame::ForwardAck { seq: 3 }]);
        // Nothing more is taken: the peer uses up what it was given, and waits.
        acceptor.set_room(0, 0);
        for seq in 4..=window {
            take(&mut acceptor, forward(seq)).unwrap();
        }
        assert_eq!(written(&mut acceptor), [Frame::ForwardAck { seq: window }]);
        assert!(acceptor.withholds());
        let beyond = take(&mut acceptor, forward(window + 1));
        assert_eq!(beyond, Err(PeerViolation::BeyondCredit));
        connect(&mut acceptor, hello(VERSION, "f", "gw-2", 5)).unwrap();
        assert!(matches!(written(&mut acceptor)[..], [Frame::Welcome { .. }]));
        assert!(acceptor.withholds());
        acceptor.set_room(10, 1 << 20);
        let more = written(&mut acceptor);
        assert!(matches!(more[..], [Frame::ForwardCredit { seq, .. }] if seq == window + 10));
        assert!(!acceptor.withholds());
        // A gateway of the last version has never heard of it.
        connect(&mut acceptor, hello(MIN_VERSION, "f", "gw-2", 6)).unwrap();
        assert!(matches!(
            written(&mut acceptor)[..],
            [Frame::Welcome { version: MIN_VERSION, .. }]
        ));
        acceptor.set_room(0, 0);
        assert!(!acceptor.withholds());
        let hashes = Frame::Hashes { rev: 1, replace: true, last: true, hashes: vec![] };
        let unknown = take(&mut acceptor, hashes);
        assert_eq!(unknown, Err(PeerViolation::Frame(FrameError::Kind(16))));
    }

    #[test]
    fn pings_are_answered_together_and_silence_ends_it() {
        let mut acceptor = up();
        take(&mut acceptor, Frame::Ping).unwrap();
        take(&mut acceptor, Frame::Ping).unwrap();
        assert_eq!(written(&mut acceptor), [Frame::Pong]);
        let at = |s| Now { mono: Duration::from_secs(s), ..Now::default() };
        assert_eq!(acceptor.handle_timeout(at(2)), Ok(()));
        assert_eq!(acceptor.handle_timeout(at(3)), Err(PeerViolation::Silent));
    }
}
