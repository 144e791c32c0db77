//! A dialler and an acceptor over connections that break at any byte, with processes that begin anew.

use proptest::prelude::*;
use smallvec::SmallVec;

use super::{
    Acceptor, AcceptorEvent, Dialler, DiallerEvent, FilterHash, FrameBuffer, Identity,
    InterestChange, OwnInterest, PeerLimits,
};
use crate::{GatewayId, HashMap, Incarnation, LogSeq, Now, Publication, QoS, TopicFilter};

#[derive(Debug, Clone)]
enum Step {
    /// Publishes so many.
    Forward(u8),
    /// Changes the interest in one filter.
    Interest(u8, bool),
    Poke,
    /// The peer confirms interest and log.
    Apply,
    /// Carries at most so many bytes there, and so many back.
    Carry(u16, u16),
    Break,
    Connect,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1..6u8).prop_map(Step::Forward),
        2 => (0..8u8, any::<bool>()).prop_map(|(n, on)| Step::Interest(n, on)),
        1 => Just(Step::Poke),
        2 => Just(Step::Apply),
        6 => (0..400u16, 0..100u16).prop_map(|(there, back)| Step::Carry(there, back)),
        1 => Just(Step::Break),
        2 => Just(Step::Connect),
    ]
}

/// One direction of a connection: what is written and not yet carried, and the reader's buffer.
struct Pipe {
    written: Vec<u8>,
    buffer: FrameBuffer,
}

impl Pipe {
    fn new() -> Self {
        Self { written: Vec::new(), buffer: FrameBuffer::new(1 << 20) }
    }

    fn carry(&mut self, bytes: usize) {
        let rest = self.written.split_off(bytes.min(self.written.len()));
        self.buffer.space().extend_from_slice(&std::mem::replace(&mut self.written, rest));
    }
}

struct Pair {
    dialler: Dialler,
    acceptor: Acceptor,
    pipes: Option<(Pipe, Pipe)>,
    sent: u32,
    received: Vec<u32>,
    interest: Vec<bool>,
    rev: u64,
    log: u64,
    own: OwnInterest,
    /// What the peer knows of its interest, by hash.
    known: HashMap<FilterHash, u32>,
    ticket: u64,
}

fn identity(name: &str, incarnation: u64) -> Identity {
    let gateway = GatewayId::new(name).unwrap();
    Identity { fleet: "fleet".into(), gateway, incarnation: Incarnation(incarnation) }
}

fn change(n: usize, on: bool) -> InterestChange {
    let filter = TopicFilter::new(&format!("filter/{n}")).unwrap();
    InterestChange { filter, share: None, members: u32::from(on) }
}

impl Pair {
    fn new() -> Self {
        // So little credit that forwards wait for it now and then.
        let (window, window_bytes) = (7, 200);
        let limits = PeerLimits { write_bytes: 300, window, window_bytes, ..PeerLimits::default() };
        let (a, b) = (identity("a", 1), identity("b", 1));
        Self {
            dialler: Dialler::new(a.clone(), b.gateway.clone(), limits),
            acceptor: Acceptor::new(b, a.gateway, limits),
            pipes: None,
            sent: 0,
            received: Vec::new(),
            interest: vec![false; 8],
            rev: 0,
            log: 0,
            own: OwnInterest::default(),
            known: HashMap::default(),
            ticket: 0,
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Forward(count) => self.forward(count),
            Step::Interest(n, on) => {
                self.interest[usize::from(n)] = on;
                self.rev += 1;
                let news = self.own.change(self.rev, vec![change(n.into(), on)]);
                self.dialler.interest_changed(&news).unwrap();
            }
            Step::Poke => {
                self.log += 1;
                self.dialler.poke(LogSeq(self.log));
            }
            Step::Apply => {
                self.acceptor.interest_applied(self.ticket);
                self.acceptor.applied(LogSeq(self.log));
            }
            Step::Carry(there, back) => self.carry(there.into(), back.into()),
            Step::Break => self.disconnect(),
            Step::Connect => self.connect(),
        }
    }

    fn forward(&mut self, count: u8) {
        for _ in 0..count {
            self.sent += 1;
            let payload = self.sent.to_be_bytes();
            let qos = if self.sent.is_multiple_of(2) { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            let publication = Publication::new("t", &[], &payload, qos, false);
            self.dialler.forward(true, SmallVec::new(), publication).unwrap();
        }
    }

    fn connect(&mut self) {
        if self.pipes.is_none() {
            self.pipes = Some((Pipe::new(), Pipe::new()));
            self.dialler.handle_connected(Now::default());
            self.acceptor.handle_connected(Now::default());
        }
    }

    fn disconnect(&mut self) {
        if self.pipes.take().is_some() {
            self.dialler.handle_lost();
            self.acceptor.handle_lost();
        }
    }

    fn carry(&mut self, there: usize, back: usize) {
        let Some((to, from)) = &mut self.pipes else { return };
        self.dialler.poll_write(&mut to.written, &self.own);
        to.carry(there);
        while let Some(frame) = to.buffer.take().unwrap() {
            self.acceptor.handle_frame(Now::default(), frame).unwrap();
        }
        self.acceptor.poll_write(&mut from.written);
        from.carry(back);
        while let Some(frame) = from.buffer.take().unwrap() {
            self.dialler.handle_frame(Now::default(), frame).unwrap();
        }
        self.events();
    }

    fn events(&mut self) {
        while let Some(event) = self.acceptor.poll_event() {
            match event {
                AcceptorEvent::Forward { publication, .. } => {
                    let number = publication.payload().try_into().unwrap();
                    self.received.push(u32::from_be_bytes(number));
                }
                AcceptorEvent::Connected { fresh: true, .. } => self.known.clear(),
                AcceptorEvent::Interest { ticket, replace, changes, hashes } => {
                    if replace {
                        self.known.clear();
                    }
                    assert_eq!(changes, []);
                    for change in hashes {
                        self.known.insert(change.hash(), change.members());
                    }
                    self.ticket = ticket;
                }
                AcceptorEvent::Connected { fresh: false, .. }
                | AcceptorEvent::Release { .. }
                | AcceptorEvent::Poke { .. }
                | AcceptorEvent::DrainAsk { .. } => {}
            }
        }
        while let Some(event) = self.dialler.poll_event() {
            if let DiallerEvent::InterestAcked { rev } = event {
                assert!(rev <= self.rev);
            }
        }
    }

    fn settle(&mut self) {
        self.connect();
        for _ in 0..600 {
            let (rev, log) = (self.dialler.acked_interest(), self.dialler.poked());
            if (rev, log, self.dialler.unacknowledged()) == (self.rev, LogSeq(self.log), 0) {
                return;
            }
            self.carry(usize::MAX, usize::MAX);
            self.step(&Step::Apply);
        }
    }
}

proptest! {
    #[test]
    fn every_forward_arrives_once_and_in_order_however_connections_break(
        steps in proptest::collection::vec(step(), 0..120)
    ) {
        let mut pair = Pair::new();
        for step in &steps {
            pair.step(step);
        }
        pair.settle();
        let expected: Vec<u32> = (1..=pair.sent).collect();
        prop_assert_eq!(&pair.received, &expected);
        prop_assert_eq!(pair.dialler.unacknowledged(), 0);
        prop_assert_eq!(pair.dialler.acked_interest(), pair.rev);
        prop_assert_eq!(pair.dialler.poked(), LogSeq(pair.log));
        for (n, on) in pair.interest.iter().enumerate() {
            let hash = FilterHash::of(&format!("filter/{n}"));
            let members = pair.known.get(&hash).copied().unwrap_or(0);
            prop_assert_eq!(members, u32::from(*on));
        }
    }

    #[test]
    fn a_peer_that_begins_anew_gets_what_its_last_life_did_not_acknowledge(
        before in proptest::collection::vec(step(), 0..40),
        after in proptest::collection::vec(step(), 0..40)
    ) {
        let mut pair = Pair::new();
        for step in &before {
            pair.step(step);
        }
        pair.disconnect();
        let unacknowledged = pair.dialler.unacknowledged();
        let limits = PeerLimits::default();
        pair.acceptor = Acceptor::new(identity("b", 2), identity("a", 1).gateway, limits);
        let taken_before = std::mem::take(&mut pair.received);
        let first = pair.sent + 1 - u32::try_from(unacknowledged).unwrap();
        for step in &after {
            pair.step(step);
        }
        pair.settle();
        let expected: Vec<u32> = (first..=pair.sent).collect();
        prop_assert_eq!(&pair.received, &expected);
        // Nothing lies between what the first life took and what the second one got.
        prop_assert!(taken_before.len() + 1 >= first as usize);
    }
}
