//! The side of a peer link that asks: what we tell the peer over the connection that we dialled, and what came of it.

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use super::frame::{Frame, ReleaseOutcome, SharedTargets};
use super::interest::{put_news, put_snapshot};
use super::limits::{CREDITS, Identity, MIN_VERSION, PeerLimits, VERSION};
use super::own_interest::{InterestNews, OwnInterest};
use super::unacknowledged::{Credit, ForwardCounters, ForwardError, Unacknowledged};
use super::violation::PeerViolation;
use super::wire::FrameError;
use crate::{ClientId, GatewayId, Incarnation, LogSeq, Now, Publication, SessionEpoch};

/// Our side of the connection that we dial to one peer gateway; outlives each connection.
///
/// ```text
///          handle_connected            welcome
///   Down ───────────────────▶ Greeting ────────▶ Up
///     ▲                           │               │
///     └──────── handle_lost ◀─────┴───────────────┘
/// ```
///
/// When a step returns a violation, the driver closes the connection and calls [`Self::handle_lost`]. A peer that refuses our
/// version is greeted with the one before next time, as far back as we speak one.
#[derive(Debug)]
pub struct Dialler {
    me: Identity,
    peer: GatewayId,
    limits: PeerLimits,
    state: State,
    /// The version that the next hello says, and that is spoken while up.
    version: u16,
    /// The life of the peer that the memory below is about; none before the first welcome.
    peer_incarnation: Option<Incarnation>,
    forwards: Unacknowledged,
    credit: Credit,
    /// Frames other than forwards and the snapshot, encoded and waiting.
    control: Vec<u8>,
    /// All of our interest is to be written before anything else.
    snapshot_due: bool,
    interest_sent: u64,
    interest_acked: u64,
    poke_wanted: LogSeq,
    poke_sent: LogSeq,
    poked: LogSeq,
    releases: BTreeSet<u64>,
    ask: Option<Ask>,
    heard: Duration,
    pinged: Duration,
    events: VecDeque<DiallerEvent>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Down,
    Greeting { hello_written: bool },
    Up,
}

/// The newest drain ask that has no answer yet.
#[derive(Debug, Clone, Copy)]
struct Ask {
    drain: u64,
    clients: u32,
    per_s: u32,
    written: bool,
}

/// What a [`Dialler`] has to tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DiallerEvent {
    /// The peer has greeted.
    Welcomed {
        /// Which life of it.
        incarnation: Incarnation,
        /// Whether the peer is another life than the one known, or new.
        fresh: bool,
    },
    /// The peer knows our interest up to a revision.
    InterestAcked {
        /// The revision.
        rev: u64,
    },
    /// The peer has applied the store's log so far.
    Poked {
        /// The last commit applied.
        seq: LogSeq,
    },
    /// The answer to a release; `None` if the connection was lost before it came.
    Released {
        /// The request.
        request: u64,
        /// What became of it.
        outcome: Option<ReleaseOutcome>,
    },
    /// The peer takes reconnecting clients.
    Credit {
        /// The drain.
        drain: u64,
        /// How many clients.
        clients: u32,
        /// How many in a second at most.
        per_s: u32,
    },
}

impl Dialler {
    /// A machine without a connection.
    pub fn new(me: Identity, peer: GatewayId, limits: PeerLimits) -> Self {
        Self {
            me,
            peer,
            limits,
            state: State::Down,
            version: VERSION,
            peer_incarnation: None,
            forwards: Unacknowledged::new(&limits),
            credit: Credit::NONE,
            control: Vec::new(),
            snapshot_due: false,
            interest_sent: 0,
            interest_acked: 0,
            poke_wanted: LogSeq(0),
            poke_sent: LogSeq(0),
            poked: LogSeq(0),
            releases: BTreeSet::new(),
            ask: None,
            heard: Duration::ZERO,
            pinged: Duration::ZERO,
            events: VecDeque::new(),
        }
    }

    /// A connection stands.
    pub fn handle_connected(&mut self, now: Now) {
        if self.state != State::Down {
            self.handle_lost();
        }
        self.state = State::Greeting { hello_written: false };
        self.heard = now.mono;
        self.pinged = now.mono;
        self.poke_sent = LogSeq(0);
        if let Some(ask) = &mut self.ask {
            ask.written = false;
        }
    }

    /// The connection is gone, whoever closed it. Releases without an answer have none.
    pub fn handle_lost(&mut self) {
        if self.state == State::Up {
            // It may come back as a newer one.
            self.version = VERSION;
        }
        self.state = State::Down;
        self.control = Vec::new();
        self.snapshot_due = false;
        for request in std::mem::take(&mut self.releases) {
            self.events.push_back(DiallerEvent::Released { request, outcome: None });
        }
    }

    /// Takes a frame of the peer.
    ///
    /// # Errors
    /// [`PeerViolation`]: the connection must be closed.
    pub fn handle_frame(&mut self, now: Now, frame: Frame) -> Result<(), PeerViolation> {
        self.heard = now.mono;
        match (self.state, frame) {
            (State::Down, _) => Err(PeerViolation::BeforeGreeting),
            (_, Frame::Refused { reason, text }) => {
                if reason == PeerViolation::VERSION_CODE {
                    self.version =
                        if self.version > MIN_VERSION { self.version - 1 } else { VERSION };
                }
                Err(PeerViolation::Refused { reason, text })
            }
            (
                State::Greeting { .. },
                Frame::Welcome { version, gateway, incarnation, forwarded },
            ) => self.handle_welcome(version, &gateway, incarnation, forwarded),
            (State::Greeting { .. }, _) => Err(PeerViolation::BeforeGreeting),
            (State::Up, frame) => self.handle_answer(frame),
        }
    }

    /// Time has passed, at least until [`Self::deadline`].
    ///
    /// # Errors
    /// [`PeerViolation::Silent`]: the connection must be closed.
    pub fn handle_timeout(&mut self, now: Now) -> Result<(), PeerViolation> {
        if self.state == State::Down {
            return Ok(());
        }
        if now.mono >= self.heard + self.limits.silent_after {
            return Err(PeerViolation::Silent);
        }
        if now.mono >= self.pinged + self.limits.ping_every {
            self.pinged = now.mono;
            if self.state == State::Up {
                Frame::Ping.encode(&mut self.control);
            }
        }
        Ok(())
    }

    /// When [`Self::handle_timeout`] is due, on the monotonic clock.
    pub fn deadline(&self) -> Option<Duration> {
        let ping = self.pinged + self.limits.ping_every;
        (self.state != State::Down).then(|| ping.min(self.heard + self.limits.silent_after))
    }

    /// What time it is, for the age of what waits.
    pub fn handle_time(&mut self, now: Now) {
        let now_ms = now.mono.as_millis() & u128::from(u32::MAX);
        self.forwards.handle_time(u32::try_from(now_ms).unwrap_or(0));
    }

    /// Our interest has changed; without a connection nothing is kept, since the next one starts with a snapshot.
    ///
    /// # Errors
    /// [`PeerViolation::NotReading`]: too much waits, the connection must be closed.
    pub fn interest_changed(&mut self, news: &InterestNews) -> Result<(), PeerViolation> {
        if self.state != State::Up || self.snapshot_due || news.rev <= self.interest_sent {
            return Ok(());
        }
        put_news(&mut self.control, news, self.version >= CREDITS);
        self.interest_sent = news.rev;
        self.check_control()
    }

    /// Sends a publication to the subscribers at the peer, now or when it is back.
    ///
    /// # Errors
    /// [`ForwardError`]: it was dropped and counted.
    pub fn forward(
        &mut self,
        plain: bool,
        shared: SharedTargets,
        publication: Publication,
    ) -> Result<(), ForwardError> {
        self.forwards.push(plain, shared, publication)
    }

    /// The peer is not among the living any more: takes what members of shared groups there were to get and others may have.
    pub fn take_unclaimed(&mut self) -> Vec<(SharedTargets, Publication)> {
        self.forwards.take_unclaimed()
    }

    /// Tells the peer that the store's log reaches `seq`. Only the highest is sent.
    pub fn poke(&mut self, seq: LogSeq) {
        self.poke_wanted = self.poke_wanted.max(seq);
    }

    /// Asks the peer to give up a session. The answer is an event, at once if there is no connection.
    pub fn release(&mut self, request: u64, client: ClientId, epoch: SessionEpoch) {
        if self.state == State::Down || self.releases.len() >= self.limits.max_releases {
            self.events.push_back(DiallerEvent::Released { request, outcome: None });
            return;
        }
        Frame::Release { request, client, epoch }.encode(&mut self.control);
        self.releases.insert(request);
    }

    /// Asks how many clients the peer takes; the newest ask replaces an unanswered one.
    pub const fn ask_credit(&mut self, drain: u64, clients: u32, per_s: u32) {
        self.ask = Some(Ask { drain, clients, per_s, written: false });
    }

    /// Appends what is to be written next; `false` if there is nothing. Call again until then. `interest` is all that this
    /// gateway is interested in, with every change that was told in [`Self::interest_changed`].
    pub fn poll_write(&mut self, out: &mut Vec<u8>, interest: &OwnInterest) -> bool {
        match self.state {
            State::Down | State::Greeting { hello_written: true } => false,
            State::Greeting { hello_written: false } => {
                let Identity { fleet, gateway, incarnation } = self.me.clone();
                let version = self.version;
                Frame::Hello { version, fleet, gateway, incarnation }.encode(out);
                self.state = State::Greeting { hello_written: true };
                true
            }
            State::Up => {
                let control = self.poll_control(out, interest);
                let write_bytes = self.limits.write_bytes;
                self.forwards.poll_write(out, write_bytes, &mut self.credit) || control
            }
        }
    }

    /// Takes the next event.
    pub fn poll_event(&mut self) -> Option<DiallerEvent> {
        self.events.pop_front()
    }

    /// The revision of our interest up to which the peer has confirmed it.
    pub const fn acked_interest(&self) -> u64 {
        self.interest_acked
    }

    /// How far the peer has said it has applied the store's log.
    pub const fn poked(&self) -> LogSeq {
        self.poked
    }

    /// Whether the peer has greeted on a connection that still stands.
    pub fn is_up(&self) -> bool {
        self.state == State::Up
    }

    /// How many forwards the peer has not acknowledged.
    pub fn unacknowledged(&self) -> usize {
        self.forwards.len()
    }

    /// How many bytes those have.
    pub const fn unacknowledged_bytes(&self) -> usize {
        self.forwards.bytes()
    }

    /// For how many milliseconds the oldest of them has waited, as of the last [`Self::handle_time`].
    pub fn oldest_ms(&self) -> Option<u32> {
        self.forwards.oldest_ms()
    }

    /// How many forwards the peer takes now; none if it does not say, or no connection stands.
    pub const fn credit(&self) -> Option<u64> {
        match self.state {
            State::Up if self.version >= CREDITS => Some(self.forwards.credit_left(&self.credit)),
            State::Up | State::Down | State::Greeting { .. } => None,
        }
    }

    /// The version that is spoken; none if no connection stands.
    pub const fn version(&self) -> Option<u16> {
        match self.state {
            State::Up => Some(self.version),
            State::Down | State::Greeting { .. } => None,
        }
    }

    /// What became of forwards.
    pub const fn counters(&self) -> ForwardCounters {
        self.forwards.counters()
    }

    fn handle_welcome(
        &mut self,
        version: u16,
        gateway: &GatewayId,
        incarnation: Incarnation,
        forwarded: u64,
    ) -> Result<(), PeerViolation> {
        if version != self.version {
            return Err(PeerViolation::Version { found: version });
        }
        if *gateway != self.peer {
            return Err(PeerViolation::WrongGateway);
        }
        // A number that no one can have counted to would leave no room for ours.
        if forwarded > u64::MAX / 2 {
            return Err(PeerViolation::AckAhead);
        }
        let fresh = self.peer_incarnation != Some(incarnation);
        match self.peer_incarnation {
            Some(known) if known > incarnation => return Err(PeerViolation::OldIncarnation),
            Some(known) if known == incarnation => {
                self.forwards.handle_resumed(forwarded).ok_or(PeerViolation::AckAhead)?;
            }
            Some(_) if forwarded > 0 => return Err(PeerViolation::AckAhead),
            // We may have forgotten the peer while it remembers us, so a first welcome may have a number.
            Some(_) | None => self.forwards.handle_fresh(forwarded),
        }
        if fresh {
            self.interest_acked = 0;
            self.poked = LogSeq(0);
        }
        self.peer_incarnation = Some(incarnation);
        self.credit = if version >= CREDITS { Credit::NONE } else { Credit::UNLIMITED };
        self.snapshot_due = true;
        self.state = State::Up;
        self.events.push_back(DiallerEvent::Welcomed { incarnation, fresh });
        Ok(())
    }

    fn handle_answer(&mut self, frame: Frame) -> Result<(), PeerViolation> {
        match frame {
            Frame::InterestAck { rev } if rev > self.interest_sent => Err(PeerViolation::AckAhead),
            Frame::InterestAck { rev } => {
                self.interest_acked = self.interest_acked.max(rev);
                self.events.push_back(DiallerEvent::InterestAcked { rev: self.interest_acked });
                Ok(())
            }
            Frame::ForwardAck { seq } => {
                self.forwards.handle_ack(seq).ok_or(PeerViolation::AckAhead)
            }
            Frame::ForwardCredit { .. } if self.version < CREDITS => {
                Err(FrameError::Kind(frame.new_kind().unwrap_or_default()).into())
            }
            Frame::ForwardCredit { seq, bytes } => {
                self.credit.seq = self.credit.seq.max(seq);
                self.credit.bytes = self.credit.bytes.max(bytes);
                Ok(())
            }
            Frame::Released { request, outcome } => {
                if self.releases.remove(&request) {
                    let outcome = Some(outcome);
                    self.events.push_back(DiallerEvent::Released { request, outcome });
                }
                Ok(())
            }
            Frame::Poked { seq } => {
                self.poked = self.poked.max(seq);
                self.events.push_back(DiallerEvent::Poked { seq: self.poked });
                Ok(())
            }
            Frame::DrainCredit { drain, clients, per_s } => {
                self.ask = self.ask.filter(|ask| ask.drain != drain);
                self.events.push_back(DiallerEvent::Credit { drain, clients, per_s });
                Ok(())
            }
            Frame::Pong => Ok(()),
            Frame::Welcome { .. } => Err(PeerViolation::Repeated),
            Frame::Hello { .. }
            | Frame::Refused { .. }
            | Frame::Interest { .. }
            | Frame::Hashes { .. }
            | Frame::Forward { .. }
            | Frame::Release { .. }
            | Frame::Poke { .. }
            | Frame::DrainAsk { .. }
            | Frame::Ping => Err(PeerViolation::WrongSide),
        }
    }

    fn poll_control(&mut self, out: &mut Vec<u8>, interest: &OwnInterest) -> bool {
        let start = out.len();
        if std::mem::take(&mut self.snapshot_due) {
            put_snapshot(out, interest, self.version >= CREDITS);
            self.interest_sent = interest.rev();
        }
        out.append(&mut self.control);
        // What the peer has already applied needs no poke, whichever connection it came over.
        if self.poke_wanted > self.poke_sent.max(self.poked) {
            self.poke_sent = self.poke_wanted;
            Frame::Poke { seq: self.poke_wanted }.encode(out);
        }
        if let Some(Ask { drain, clients, per_s, written: written @ false }) = &mut self.ask {
            *written = true;
            Frame::DrainAsk { drain: *drain, clients: *clients, per_s: *per_s }.encode(out);
        }
        out.len() > start
    }

    const fn check_control(&self) -> Result<(), PeerViolation> {
        if self.control.len() > self.limits.max_control_bytes {
            return Err(PeerViolation::NotReading);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use smallvec::SmallVec;

    use super::*;
    use crate::peer::InterestChange;
    use crate::{QoS, TopicFilter};

    fn me() -> Identity {
        let gateway = GatewayId::new("gw-1").unwrap();
        Identity { fleet: "f".into(), gateway, incarnation: Incarnation(1) }
    }

    fn welcome(incarnation: u64, forwarded: u64) -> Frame {
        let gateway = GatewayId::new("gw-2").unwrap();
        let incarnation = Incarnation(incarnation);
        Frame::Welcome { version: VERSION, gateway, incarnation, forwarded }
    }

    fn dialler() -> Dialler {
        Dialler::new(me(), GatewayId::new("gw-2").unwrap(), PeerLimits::default())
    }

    fn connect(dialler: &mut Dialler, frame: Frame) -> Result<(), PeerViolation> {
        dialler.handle_lost();
        dialler.handle_connected(Now::default());
        dialler.handle_frame(Now::default(), frame)
    }

    fn written(dialler: &mut Dialler) -> Vec<Frame> {
        let mut buffer = crate::peer::FrameBuffer::new(1 << 20);
        let mut out = Vec::new();
        while dialler.poll_write(&mut out, &OwnInterest::default()) {}
        buffer.space().extend_from_slice(&out);
        std::iter::from_fn(|| buffer.take().unwrap()).collect()
    }

    #[test]
    fn nothing_but_a_hello_is_written_before_the_welcome() {
        let mut dialler = dialler();
        dialler.poke(LogSeq(4));
        assert_eq!(written(&mut dialler), []);
        dialler.handle_connected(Now::default());
        assert!(matches!(&written(&mut dialler)[..], [Frame::Hello { version: VERSION, .. }]));
        dialler.handle_frame(Now::default(), welcome(1, 0)).unwrap();
        let frames = written(&mut dialler);
        let (rev, replace) = (0, true);
        let named = Frame::Interest { rev, replace, last: false, changes: vec![] };
        let hashed = Frame::Hashes { rev, replace, last: true, hashes: vec![] };
        assert_eq!(frames, [named, hashed, Frame::Poke { seq: LogSeq(4) }]);
    }

    #[test]
    fn pokes_are_sent_once_and_only_the_highest() {
        let mut dialler = dialler();
        connect(&mut dialler, welcome(1, 0)).unwrap();
        written(&mut dialler);
        for seq in [3, 9, 5] {
            dialler.poke(LogSeq(seq));
        }
        assert_eq!(written(&mut dialler), [Frame::Poke { seq: LogSeq(9) }]);
        assert_eq!(written(&mut dialler), []);
        dialler.handle_frame(Now::default(), Frame::Poked { seq: LogSeq(9) }).unwrap();
        connect(&mut dialler, welcome(1, 0)).unwrap();
        assert!(!written(&mut dialler).iter().any(|f| matches!(f, Frame::Poke { .. })));
        // Another life of the peer has applied nothing that we know of.
        connect(&mut dialler, welcome(2, 0)).unwrap();
        assert!(written(&mut dialler).contains(&Frame::Poke { seq: LogSeq(9) }));
        assert_eq!(dialler.poked(), LogSeq(0));
    }

    #[test]
    fn a_peer_in_another_life_knows_nothing_of_what_it_was_told_before() {
        let mut dialler = dialler();
        let mut interest = OwnInterest::default();
        interest.change(3, Vec::new());
        connect(&mut dialler, welcome(1, 0)).unwrap();
        dialler.poll_write(&mut Vec::new(), &interest);
        dialler.handle_frame(Now::default(), Frame::InterestAck { rev: 3 }).unwrap();
        connect(&mut dialler, welcome(1, 0)).unwrap();
        assert_eq!(dialler.acked_interest(), 3, "the same life has forgotten nothing");
        connect(&mut dialler, welcome(2, 0)).unwrap();
        assert_eq!(dialler.acked_interest(), 0);
    }

    #[test]
    fn a_false_welcome_is_refused() {
        let stranger = Frame::Welcome {
            version: VERSION,
            gateway: GatewayId::new("gw-3").unwrap(),
            incarnation: Incarnation(1),
            forwarded: 0,
        };
        let newer = Frame::Welcome {
            version: VERSION + 1,
            gateway: GatewayId::new("gw-2").unwrap(),
            incarnation: Incarnation(1),
            forwarded: 0,
        };
        let mut dialler = dialler();
        assert_eq!(connect(&mut dialler, stranger), Err(PeerViolation::WrongGateway));
        assert_eq!(
            connect(&mut dialler, newer),
            Err(PeerViolation::Version { found: VERSION + 1 })
        );
        assert_eq!(connect(&mut dialler, Frame::Pong), Err(PeerViolation::BeforeGreeting));
        assert_eq!(connect(&mut dialler, welcome(5, 7)), Ok(()));
        assert_eq!(connect(&mut dialler, welcome(4, 0)), Err(PeerViolation::OldIncarnation));
        assert_eq!(connect(&mut dialler, welcome(5, 8)), Err(PeerViolation::AckAhead));
        assert_eq!(connect(&mut dialler, welcome(6, 1)), Err(PeerViolation::AckAhead));
        assert_eq!(connect(&mut dialler, welcome(5, u64::MAX)), Err(PeerViolation::AckAhead));
        assert_eq!(connect(&mut dialler, welcome(5, 7)), Ok(()));
    }

    #[test]
    fn frames_that_only_the_dialling_side_may_send_are_refused() {
        for frame in [
            Frame::Ping,
            Frame::Poke { seq: LogSeq(1) },
            Frame::Interest { rev: 1, replace: false, last: true, changes: vec![] },
            Frame::Hashes { rev: 1, replace: false, last: true, hashes: vec![] },
            Frame::DrainAsk { drain: 1, clients: 1, per_s: 1 },
        ] {
            let mut dialler = dialler();
            connect(&mut dialler, welcome(1, 0)).unwrap();
            let refused = dialler.handle_frame(Now::default(), frame);
            assert_eq!(refused, Err(PeerViolation::WrongSide));
        }
        let mut dialler = dialler();
        connect(&mut dialler, welcome(1, 0)).unwrap();
        for ahead in [Frame::ForwardAck { seq: 1 }, Frame::InterestAck { rev: 1 }] {
            let refused = dialler.handle_frame(Now::default(), ahead);
            assert_eq!(refused, Err(PeerViolation::AckAhead));
        }
        let again = dialler.handle_frame(Now::default(), welcome(1, 0));
        assert_eq!(again, Err(PeerViolation::Repeated));
    }

    #[test]
    fn a_release_without_an_answer_is_told_when_the_connection_is_lost() {
        let mut dialler = dialler();
        let client = ClientId::new("c").unwrap();
        dialler.release(1, client.clone(), SessionEpoch(1));
        let lost = |request| Some(DiallerEvent::Released { request, outcome: None });
        assert_eq!(dialler.poll_event(), lost(1));
        connect(&mut dialler, welcome(1, 0)).unwrap();
        assert!(matches!(dialler.poll_event(), Some(DiallerEvent::Welcomed { fresh: true, .. })));
        dialler.release(2, client.clone(), SessionEpoch(1));
        dialler.release(3, client, SessionEpoch(1));
        let done = Frame::Released { request: 2, outcome: ReleaseOutcome::Done };
        for _ in 0..2 {
            dialler.handle_frame(Now::default(), done.clone()).unwrap();
        }
        let outcome = Some(ReleaseOutcome::Done);
        assert_eq!(dialler.poll_event(), Some(DiallerEvent::Released { request: 2, outcome }));
        dialler.handle_lost();
        assert_eq!(dialler.poll_event(), lost(3));
        assert_eq!(dialler.poll_event(), None);
    }

    #[test]
    fn an_unanswered_ask_is_repeated_on_the_next_connection() {
        let mut dialler = dialler();
        let ask = Frame::DrainAsk { drain: 7, clients: 100, per_s: 50 };
        dialler.ask_credit(7, 100, 50);
        connect(&mut dialler, welcome(1, 0)).unwrap();
        assert!(written(&mut dialler).contains(&ask));
        connect(&mut dialler, welcome(1, 0)).unwrap();
        assert!(written(&mut dialler).contains(&ask));
        let credit = Frame::DrainCredit { drain: 7, clients: 9, per_s: 3 };
        dialler.handle_frame(Now::default(), credit).unwrap();
        connect(&mut dialler, welcome(1, 0)).unwrap();
        assert!(!written(&mut dialler).contains(&ask));
    }

    #[test]
    fn a_peer_that_refuses_our_version_is_greeted_with_the_one_before() {
        let mut dialler = dialler();
        let hello = |dialler: &mut Dialler| {
            dialler.handle_lost();
            dialler.handle_connected(Now::default());
            match &written(dialler)[..] {
                [Frame::Hello { version, .. }] => *version,
                _ => panic!(),
            }
        };
        let refused = |reason| Frame::Refused { reason, text: "no".into() };
        assert_eq!(hello(&mut dialler), VERSION);
        // Whatever else is wrong is not about the version.
        dialler.handle_frame(Now::default(), refused(2)).unwrap_err();
        assert_eq!(hello(&mut dialler), VERSION);
        dialler.handle_frame(Now::default(), refused(5)).unwrap_err();
        assert_eq!(hello(&mut dialler), VERSION - 1);
        // A peer that speaks neither is told both, in turn.
        dialler.handle_frame(Now::default(), refused(5)).unwrap_err();
        assert_eq!(hello(&mut dialler), VERSION);
        dialler.handle_frame(Now::default(), refused(5)).unwrap_err();
        assert_eq!(hello(&mut dialler), VERSION - 1);
        let newest = dialler.handle_frame(Now::default(), welcome(1, 0));
        assert_eq!(newest, Err(PeerViolation::Version { found: VERSION }));
        assert_eq!(hello(&mut dialler), VERSION - 1);
        let gateway = GatewayId::new("gw-2").unwrap();
        let (version, incarnation, forwarded) = (VERSION - 1, Incarnation(1), 0);
        let old = Frame::Welcome { version, gateway, incarnation, forwarded };
        dialler.handle_frame(Now::default(), old).unwrap();
        assert_eq!((dialler.version(), dialler.credit()), (Some(VERSION - 1), None));
        let credit = Frame::ForwardCredit { seq: 1, bytes: 1 };
        let unknown = dialler.handle_frame(Now::default(), credit);
        assert!(matches!(unknown, Err(PeerViolation::Frame(FrameError::Kind(17)))));
        // It may have been replaced by a newer one meanwhile.
        assert_eq!(hello(&mut dialler), VERSION);
    }

    #[test]
    fn forwards_wait_for_credit() {
        let mut dialler = dialler();
        connect(&mut dialler, welcome(1, 6)).unwrap();
        written(&mut dialler);
        let publication = || Publication::new("a", &[], &[0; 100], QoS::AtLeastOnce, false);
        for _ in 0..3 {
            dialler.forward(true, SmallVec::new(), publication()).unwrap();
        }
        assert_eq!((written(&mut dialler), dialler.credit()), (vec![], Some(0)));
        let credit = Frame::ForwardCredit { seq: 8, bytes: 1000 };
        dialler.handle_frame(Now::default(), credit).unwrap();
        assert_eq!(dialler.credit(), Some(2));
        let frames = written(&mut dialler);
        let numbers = frames.iter().map(|frame| {
            let Frame::Forward { seq, .. } = frame else { panic!() };
            *seq
        });
        assert_eq!((numbers.collect::<Vec<_>>(), dialler.credit()), (vec![7, 8], Some(0)));
        // Another connection begins without.
        connect(&mut dialler, welcome(1, 8)).unwrap();
        assert!(!written(&mut dialler).iter().any(|frame| matches!(frame, Frame::Forward { .. })));
    }

    #[test]
    fn a_silent_peer_is_pinged_and_then_given_up() {
        let mut dialler = dialler();
        let at = |ms| Now { mono: Duration::from_millis(ms), ..Now::default() };
        assert_eq!(dialler.deadline(), None);
        connect(&mut dialler, welcome(1, 0)).unwrap();
        written(&mut dialler);
        assert_eq!(dialler.deadline(), Some(Duration::from_millis(750)));
        dialler.handle_timeout(at(750)).unwrap();
        assert_eq!(written(&mut dialler), [Frame::Ping]);
        dialler.handle_frame(at(800), Frame::Pong).unwrap();
        dialler.handle_timeout(at(3799)).unwrap();
        assert_eq!(dialler.handle_timeout(at(3800)), Err(PeerViolation::Silent));
    }

    #[test]
    fn a_peer_that_takes_no_deltas_is_given_up() {
        let limits = PeerLimits { max_control_bytes: 100, ..PeerLimits::default() };
        let mut dialler = Dialler::new(me(), GatewayId::new("gw-2").unwrap(), limits);
        connect(&mut dialler, welcome(1, 0)).unwrap();
        let mut own = OwnInterest::default();
        written(&mut dialler);
        let mut news = |rev| {
            let filter = TopicFilter::new(&format!("some/filter/that/is/not/short/{rev}/+"));
            let change = InterestChange { filter: filter.unwrap(), share: None, members: 1 };
            own.change(rev, vec![change])
        };
        assert_eq!(dialler.interest_changed(&news(1)), Ok(()));
        assert_eq!(dialler.interest_changed(&news(2)), Err(PeerViolation::NotReading));
        // Forwards have their own limit, which costs the oldest and not the connection.
        let publication = Publication::new("a", &[], &[0; 500], QoS::AtLeastOnce, false);
        assert_eq!(dialler.forward(true, SmallVec::new(), publication), Ok(()));
    }
}
