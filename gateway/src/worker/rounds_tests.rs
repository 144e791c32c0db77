//! A worker with real sockets, one round at a time: nothing here waits, and nothing depends on time.

use std::io::{ErrorKind, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::Receiver;
use std::time::{Duration, Instant};

use proptest::prelude::*;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};

use protocol::mqtt::Version;
use protocol::session::DropReason;
use protocol::{GatewayId, LogSeq, Position, QoS};
use store::{Outcome, Rev};

use super::driver::Worker;
use super::letters::PIECES;
use super::readiness::Readiness;
use super::sending::{BULK_BYTES, MUCH_BYTES, PORTION_BYTES};
use super::{Accepted, Mail, Mailbox, Shared};
use crate::authentication::Desk;
use crate::clock::Clock;
use crate::commit::Answer;
use crate::committer::{self, Order, Orders};
use crate::config::Written;
use crate::front::Places;
use crate::hub::tests::gateway::config;
use crate::hub::tests::packets::{bytes, clean, disconnect, publish};
use crate::hub::{ConnId, HubConfig, Outlet as _, Tables};
use crate::metrics::Metrics;
use crate::service::{ServiceAsk, ServiceSender};
use crate::tail::{self, Frontier, TailAsk};
use crate::transport::{DetachedStream, Layer, Remote};

const PING: [u8; 2] = [0xC0, 0];
const PONG: [u8; 2] = [0xD0, 0];
/// Packets of one client that others may have to wait for.
const SHARE: u64 = 512;

/// A worker, and the threads that it writes to.
pub(super) struct Room {
    pub(super) worker: Worker,
    mailbox: Arc<Mailbox>,
    places: Arc<Places>,
    tail: Receiver<TailAsk>,
    orders: Orders,
    _service: Receiver<ServiceAsk>,
}

impl Room {
    fn new() -> Self {
        Self::with(config(GatewayId::new("gw-1").unwrap()))
    }

    pub(super) fn with(config: HubConfig) -> Self {
        let mailbox = Arc::new(Mailbox::new(1_000_000));
        let mailboxes = vec![Arc::clone(&mailbox)];
        let (tail, tail_inbox) = tail::asks();
        let (committer, orders) = committer::orders();
        let (service, service_inbox) = ServiceSender::channel();
        let shared = Shared {
            clock: Clock::since(Instant::now()),
            tables: Arc::new(Tables::default()),
            frontier: Arc::new(Frontier::new(mailboxes.clone())),
            mailboxes,
            committer,
            tail,
            links: None,
            service,
            desk: Desk::new().0,
        };
        let counters = Metrics::new(1).worker(0).unwrap();
        let worker = Worker::new(config, shared, counters, Readiness::new().unwrap());
        mailbox.send(Mail::SessionNumbers(100, 1_000_000));
        let mut limits = Written::default().limits;
        (limits.connects_per_s, limits.connects_burst) = (1_000_000, 1_000_000);
        let places = Arc::new(Places::new(limits, &[1_000], Arc::default()));
        Self { worker, mailbox, places, tail: tail_inbox, orders, _service: service_inbox }
    }

    /// A round, and what the other threads do meanwhile.
    pub(super) fn round(&mut self) {
        self.worker.round(Duration::ZERO);
        while let Ok(ask) = self.tail.try_recv() {
            if let TailAsk::Read { client, .. } = ask {
                self.mailbox.send(Mail::Record(client, None));
            } else if let TailAsk::CatchUp { look, .. } = ask {
                self.mailbox.send(Mail::CaughtUp(look));
            } else if let TailAsk::Refresh { refresh, .. } = ask {
                self.mailbox.send(Mail::Refreshed(refresh));
            }
        }
        while let Ok(order) = self.orders.try_recv() {
            let Order::Worker(_, writes) = order else { continue };
            let done = Outcome::Done { first: Position(0), rev: Rev(1) };
            let answer = |ticket| (ticket, Answer::Committed(done.clone(), LogSeq(1)));
            let answers = writes.into_iter().map(|it| answer(it.ticket)).collect();
            self.mailbox.send(Mail::Answers(answers));
        }
    }

    /// A client that was let in: its end of the connection.
    pub(super) fn join(&mut self, name: &str) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        self.let_in(name, (ours, &theirs), Vec::new());
        let answer = self.answer(&theirs);
        assert!(answer.starts_with(&[0x20]) && answer.get(3) == Some(&0), "{answer:?}");
        theirs
    }

    fn let_in(&mut self, name: &str, (ours, theirs): (UnixStream, &UnixStream), owed: Vec<u8>) {
        ours.set_nonblocking(true).unwrap();
        theirs.set_nonblocking(true).unwrap();
        let mut greeting = self.places.greet().unwrap();
        let (place, full) = self.places.take(&mut greeting, 0, None, Instant::now());
        assert_eq!(full, None);
        self.mailbox.send(Mail::Accepted(Box::new(Accepted {
            socket: DetachedStream::Unix(ours),
            layer: Layer::Plain,
            rest: Vec::new(),
            owed,
            request: clean(name),
            remote: Remote::Unix,
            certificate: None,
            place,
            since: Instant::now(),
        })));
    }

    /// The first that a client hears, in some rounds.
    fn answer(&mut self, mut client: &UnixStream) -> Vec<u8> {
        for _ in 0..10 {
            self.round();
            let mut heard = [0; 1_024];
            if let Ok(len) = client.read(&mut heard) {
                return heard[..len].to_vec();
            }
        }
        panic!("no answer");
    }

    fn packets(&self) -> u64 {
        self.worker.metrics.packets_received.get()
    }
}

/// What came.
pub(super) fn heard(mut of: &UnixStream) -> Vec<u8> {
    let mut all = Vec::new();
    let end = of.read_to_end(&mut all).map_err(|e| e.kind());
    assert!(matches!(end, Ok(_) | Err(ErrorKind::WouldBlock)), "{end:?}");
    all
}

/// Says something again and again, until the kernel takes no more. Returns how many bytes it took.
fn flood(mut by: &UnixStream, packet: &[u8]) -> usize {
    let (many, mut took) = (packet.repeat(100), 0);
    while let Ok(more) = by.write(&many[took % packet.len()..]) {
        took += more;
    }
    took
}

#[test]
fn what_is_owed_to_who_comes_is_sent_together_with_the_answer_to_its_connect() {
    let mut room = Room::new();
    // Where each reading is one sending.
    let (family, kind) = (AddressFamily::UNIX, SocketType::SEQPACKET);
    let (ours, theirs) = socketpair(family, kind, SocketFlags::CLOEXEC, None).unwrap();
    let (ours, theirs) = (UnixStream::from(ours), UnixStream::from(theirs));
    room.let_in("a", (ours, &theirs), b"ticket".to_vec());
    let answer = room.answer(&theirs);
    assert_eq!(answer.strip_prefix(b"ticket").and_then(|it| it.first()), Some(&0x20), "{answer:?}");
}

#[test]
fn nobody_waits_for_more_than_one_share_of_those_who_flood() {
    let mut room = Room::new();
    let flooders = [room.join("a"), room.join("b")];
    let others: Vec<_> = (0..50).map(|number| room.join(&format!("other-{number}"))).collect();
    let floods = [PING.to_vec(), bytes(Version::V5, &publish("t", "x", QoS::AtMostOnce, 0))];
    for _ in 0..20 {
        for (flooder, what) in flooders.iter().zip(&floods) {
            flood(flooder, what);
        }
        others.iter().for_each(|mut other| other.write_all(&PING).unwrap());
        let before = room.packets();
        room.round();
        let done = room.packets() - before;
        assert!((50 + SHARE..=50 + 2 * SHARE).contains(&done), "{done} packets in a round");
        for other in &others {
            assert_eq!(heard(other), PONG, "after {done} packets of all");
        }
    }
}

#[test]
fn letters_of_other_threads_keep_clients_waiting_no_longer_than_clients_do() {
    let mut room = Room::new();
    let mut client = room.join("a");
    for _ in 0..10 * PIECES {
        room.mailbox.send(Mail::Left(DropReason::Expired, 0));
    }
    room.round();
    client.write_all(&PING).unwrap();
    room.round();
    assert_eq!(heard(&client), PONG);
    assert_eq!(room.worker.letters.len(), 8 * PIECES);
}

#[test]
fn who_does_not_read_for_a_while_gets_everything_in_the_end() {
    let mut room = Room::new();
    let deaf = room.join("deaf");
    let mut owed = 0;
    for _ in 0..30 {
        owed += flood(&deaf, &PING);
        room.round();
    }
    let mut came = 0;
    // Every round that brings nothing else has had a share of what it said.
    for _ in 0..owed {
        room.round();
        came += heard(&deaf).len();
        if came == owed {
            return;
        }
    }
    panic!("{came} of {owed} bytes");
}

#[test]
fn a_client_that_goes_leaves_nothing() {
    let mut room = Room::new();
    let mut polite = room.join("a");
    let rude = room.join("b");
    assert_eq!(room.worker.io.sockets.len(), 2);
    polite.write_all(&disconnect(protocol::mqtt::ReasonCode::Success, None)).unwrap();
    drop(rude);
    for _ in 0..10 {
        room.round();
    }
    assert!(heard(&polite).is_empty());
    assert_eq!(room.worker.io.sockets.len(), 0);
    assert_eq!(room.worker.io.closings, 0);
    assert_eq!(room.places.present(), 0);
}

/// Bytes of this thread's heap for each client that is there and does nothing, with all that its socket, its session and
/// the tables have of it; what the kernel has of its socket is not among them.
const IDLE_BYTES: i64 = 750;

#[test]
fn a_client_that_does_nothing_costs_no_more_memory_than_is_known() {
    // As many as fill the tables that grow by doubling.
    const CLIENTS: usize = 896;
    let mut room = Room::new();
    // What is there for the first one is there for all.
    let first = room.join("first");
    let mut clients = Vec::with_capacity(CLIENTS);
    let cost = allocation_counter::measure(|| {
        for number in 1..CLIENTS {
            clients.push(room.join(&format!("a-client-of-usual-length-{number}")));
        }
    });
    let each = cost.bytes_current / i64::try_from(clients.len()).unwrap();
    assert!(each <= IDLE_BYTES, "{each} bytes each");
    drop((first, clients));
}

#[test]
fn what_comes_for_one_client_at_once_is_offered_to_the_kernel_before_the_round_is_over() {
    let mut room = Room::new();
    let reader = room.join("reader");
    let conn = ConnId { index: 0, life: 1 };
    let much = PONG.repeat(200_000);
    room.worker.io.outbox(conn).unwrap().extend(&much);
    room.worker.io.waiting(conn).unwrap();
    let waits = room.worker.io.socket(conn).unwrap().outbox_len();
    assert!(waits < much.len(), "it waits for the end of the round");
    let mut got = heard(&reader);
    assert!(!got.is_empty());
    while got.len() < much.len() {
        room.round();
        got.extend(heard(&reader));
    }
    assert_eq!(got, much);
}

#[test]
fn who_stops_reading_holds_no_more_than_its_outbox_may_and_a_portion() {
    let mut room = Room::new();
    let deaf = room.join("deaf");
    let conn = ConnId { index: 0, life: 1 };
    let (most, packet) = (config(GatewayId::new("gw-1").unwrap()).outbox_bytes, PONG.repeat(500));
    let mut owed = 0;
    for _ in 0..100 {
        // As the hub does it: as long as the outbox holds no more than it may.
        while room.worker.io.waiting(conn).is_some_and(|waiting| waiting <= most) {
            room.worker.io.outbox(conn).unwrap().extend(&packet);
            owed += packet.len();
        }
        room.round();
        let waiting = room.worker.io.socket(conn).unwrap().waiting_bytes();
        assert!(waiting <= most + packet.len() + PORTION_BYTES, "{waiting} bytes wait");
    }
    let mut came = 0;
    while came < owed {
        let more = heard(&deaf).len();
        came += more;
        room.round();
        assert!(more > 0 || came == owed, "{came} of {owed} bytes, and no more come");
    }
}

#[test]
fn those_who_are_owed_much_have_so_much_in_a_round_in_turns_and_behind_the_others() {
    const READERS: u32 = 6;
    let mut room = Room::new();
    let readers: Vec<_> = (0..READERS).map(|n| room.join(&format!("reader-{n}"))).collect();
    let other = room.join("other");
    let much = PONG.repeat(500_000);
    for index in 0..READERS {
        let conn = ConnId { index, life: index + 1 };
        room.worker.io.outbox(conn).unwrap().extend(&much);
    }
    let mut got = vec![0; readers.len()];
    while got.iter().any(|got| *got < much.len()) {
        (&other).write_all(&PING).unwrap();
        let before = room.worker.metrics.bytes_sent.get();
        room.round();
        let sent = room.worker.metrics.bytes_sent.get() - before;
        assert!(sent > 2, "nothing, in a round in which everybody reads");
        let most = BULK_BYTES + PORTION_BYTES + readers.len() * MUCH_BYTES;
        assert!(sent <= most as u64, "{sent} bytes in one round");
        assert_eq!(heard(&other), PONG, "in the same round");
        readers.iter().zip(&mut got).for_each(|(reader, got)| *got += heard(reader).len());
        let (least, most) = (got.iter().min().unwrap(), got.iter().max().unwrap());
        assert!(most - least <= 2 * PORTION_BYTES, "{got:?}");
    }
    assert!(got.iter().all(|got| *got == much.len()), "{got:?}");
    assert!(!room.worker.has_to_flush());
}

#[test]
fn large_packets_come_and_go_in_memory_that_is_there() {
    const ROUNDS: usize = 20;
    let mut room = Room::new();
    let (talker, reader) = (room.join("talker"), room.join("reader"));
    let to = ConnId { index: 1, life: 2 };
    let text = "x".repeat(9_000);
    let packet = bytes(Version::V5, &publish("t", &text, QoS::AtMostOnce, 0));
    let much = packet.repeat(30);
    let before = room.packets();
    let mut pass = || {
        // Neither of its parts is a whole packet.
        let (first, last) = packet.split_at(5_000);
        for part in [first, last] {
            (&talker).write_all(part).unwrap();
            room.worker.round(Duration::ZERO);
        }
        room.worker.io.outbox(to).unwrap().extend_from_slice(&much);
        let (mut came, mut place) = (0, [0; 65_536]);
        while came < much.len() {
            room.worker.round(Duration::ZERO);
            came += (&reader).read(&mut place).unwrap_or(0);
        }
    };
    pass();
    let cost = allocation_counter::measure(|| (0..ROUNDS).for_each(|_| pass()));
    let each = usize::try_from(cost.bytes_total).unwrap() / ROUNDS;
    assert!(each < 4_000, "{each} bytes where {} and {} went through", packet.len(), much.len());
    assert_eq!(room.packets() - before, 1 + ROUNDS as u64);
}

/// What is done to one connection, in any order.
#[derive(Debug, Clone)]
enum Deed {
    /// The hub owes its client so many packets.
    Owe(usize),
    /// Its client says so many bytes, if the kernel takes them.
    Say(usize),
    /// Its client reads so many bytes.
    Read(usize),
    Round,
}

fn deeds() -> impl Strategy<Value = Vec<Deed>> {
    let deed = prop_oneof![
        (1..100_000_usize).prop_map(Deed::Owe),
        (1..3_000_usize).prop_map(Deed::Say),
        (1..300_000_usize).prop_map(Deed::Read),
        Just(Deed::Round),
        Just(Deed::Round),
    ];
    prop::collection::vec(deed, 1..40)
}

/// A client that keeps count of what it said and what it got.
struct Correspondent {
    stream: UnixStream,
    said: usize,
    got: Vec<u8>,
}

impl Correspondent {
    fn say(&mut self, bytes: usize) {
        let pings = PING.repeat(bytes / 2 + 1);
        self.said += self.stream.write(&pings[self.said % 2..][..bytes]).unwrap_or(0);
    }

    fn read(&mut self, most: usize) {
        let mut room = vec![0; most];
        let came = self.stream.read(&mut room).unwrap_or(0);
        self.got.extend_from_slice(&room[..came]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    /// The kernel tells of each change once: whoever forgets one waits for ever.
    #[test]
    fn everything_arrives_in_order_whoever_reads_and_writes_when(deeds in deeds()) {
        let mut room = Room::new();
        let mut client = Correspondent { stream: room.join("a"), said: 0, got: Vec::new() };
        let (conn, mut owed) = (ConnId { index: 0, life: 1 }, 0_u32);
        for deed in deeds {
            match deed {
                Deed::Owe(packets) => {
                    for _ in 0..packets {
                        let outbox = room.worker.io.outbox(conn).unwrap();
                        outbox.extend([0x30, 4]);
                        outbox.extend(owed.to_be_bytes());
                        owed += 1;
                    }
                }
                Deed::Say(bytes) => client.say(bytes),
                Deed::Read(bytes) => client.read(bytes),
                Deed::Round => room.round(),
            }
        }
        while client.said % 2 == 1 {
            client.say(1);
            client.read(1 << 16);
            room.round();
        }
        let expected = client.said + 6 * owed as usize;
        // A round takes a share of what is said at least.
        for _ in 0..100 + client.said / 2 {
            if client.got.len() == expected {
                break;
            }
            room.round();
            client.read(1 << 16);
        }
        prop_assert_eq!(client.got.len(), expected);
        let (mut rest, mut next) = (client.got.as_slice(), 0_u32);
        while !rest.is_empty() {
            if let Some(after) = rest.strip_prefix(&PONG) {
                rest = after;
                continue;
            }
            let mut packet = vec![0x30, 4];
            packet.extend(next.to_be_bytes());
            prop_assert!(rest.starts_with(&packet), "packet {next}: {:?}", rest.get(..6));
            (rest, next) = (&rest[6..], next + 1);
        }
    }
}
