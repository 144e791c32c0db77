//! Whole links over loopback, with certificates of a throw-away authority.
#![expect(
    clippy::wildcard_enum_match_arm,
    reason = "a test waits for one thing and passes over all others"
)]

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use certs::{Authority, Role, development_set};
use protocol::peer::{
    FilterHash, Frame, FrameBuffer, HashChange, Identity, InterestChange, PeerLimits,
    ReleaseOutcome, SharedTarget, SharedTargets, VERSION,
};
use protocol::{
    ClientId, GatewayId, Incarnation, LogSeq, Publication, QoS, SessionEpoch, TopicFilter,
};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;

use super::dial::{DialFailed, dial};
use super::{
    Command, LinkEvents, LinkStatus, LinksConfig, LinksHandle, PeerAddress, PeerTls, PeerTlsError,
    Progress, Room, listen as listen_at, spawn,
};
use crate::accepts::Accepts;
use crate::tls::Revoked;

/// Long enough for any machine; a test that waits this long has failed.
const LIMIT: Duration = Duration::from_secs(30);

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Interest { from: String, replace: bool, ticket: u64, filters: Vec<String> },
    Forward { from: String, plain: bool, payload: Vec<u8> },
    Unclaimed(Vec<u8>),
    Release { from: String, ticket: u64, client: String },
    Released { request: u64, outcome: Option<ReleaseOutcome> },
    Poke(LogSeq),
    DrainAsk { from: String, clients: u32 },
    Credit { from: String, clients: u32 },
    Up(String),
    Down(String),
    Progress(Progress),
}

struct Recorder {
    told: Sender<Told>,
    /// How many forwards it says it takes.
    room: Arc<AtomicU64>,
}

impl Recorder {
    fn tell(&self, told: Told) {
        // The test may have seen enough.
        let _gone = self.told.send(told);
    }
}

/// Filters that are told by hash here.
const EXACT: [&str; 3] = ["only/a", "only/b", "new"];

impl LinkEvents for Recorder {
    fn interest(
        &mut self,
        from: &GatewayId,
        replace: bool,
        ticket: u64,
        (changes, hashes): (Vec<InterestChange>, Vec<HashChange>),
    ) {
        let named = changes.iter().map(|change| change.filter.to_string());
        let hashed = hashes.iter().map(|change| {
            let known = EXACT.into_iter().find(|text| FilterHash::of(text) == change.hash());
            known.unwrap().to_owned()
        });
        let filters = named.chain(hashed).collect();
        self.tell(Told::Interest { from: from.to_string(), replace, ticket, filters });
    }
    fn forward(&mut self, from: &GatewayId, plain: bool, _: SharedTargets, it: Publication) {
        let payload = it.payload().to_vec();
        self.tell(Told::Forward { from: from.to_string(), plain, payload });
    }
    fn unclaimed(&mut self, _: SharedTargets, it: Publication) {
        self.tell(Told::Unclaimed(it.payload().to_vec()));
    }
    fn release(&mut self, from: &GatewayId, ticket: u64, client: ClientId, _: SessionEpoch) {
        self.tell(Told::Release { from: from.to_string(), ticket, client: client.to_string() });
    }
    fn released(&mut self, _: &GatewayId, request: u64, outcome: Option<ReleaseOutcome>) {
        self.tell(Told::Released { request, outcome });
    }
    fn poke(&mut self, seq: LogSeq) {
        self.tell(Told::Poke(seq));
    }
    fn drain_ask(&mut self, from: &GatewayId, _: u64, clients: u32, _: u32) {
        self.tell(Told::DrainAsk { from: from.to_string(), clients });
    }
    fn credit(&mut self, from: &GatewayId, _: u64, clients: u32, _: u32) {
        self.tell(Told::Credit { from: from.to_string(), clients });
    }
    fn peer_up(&mut self, peer: &GatewayId, _: Incarnation) {
        self.tell(Told::Up(peer.to_string()));
    }
    fn peer_down(&mut self, peer: &GatewayId) {
        self.tell(Told::Down(peer.to_string()));
    }
    fn progress(&mut self, progress: Progress) {
        self.tell(Told::Progress(progress));
    }
    fn flush(&mut self) {}
    fn room(&mut self) -> Room {
        Room { forwards: self.room.load(Ordering::Relaxed), bytes: u64::MAX }
    }
}

/// A gateway's links, and what they told.
struct Gateway {
    links: LinksHandle,
    told: Receiver<Told>,
    room: Arc<AtomicU64>,
    id: &'static str,
    incarnation: u64,
}

fn id(text: &str) -> GatewayId {
    GatewayId::new(text).unwrap()
}

fn interest(filter: &str) -> InterestChange {
    InterestChange { filter: TopicFilter::new(filter).unwrap(), share: None, members: 1 }
}

fn tls(dir: &Path, name: &str) -> Result<PeerTls, PeerTlsError> {
    let read = |file: &str| std::fs::read(dir.join(file)).unwrap();
    let (cert, key) = (read(&format!("{name}.pem")), read(&format!("{name}.key")));
    PeerTls::from_pem(&read("ca.pem"), Some(&read("crl.pem")), &cert, &key)
}

impl Gateway {
    fn start(dir: &Path, id_text: &'static str, incarnation: u64, filters: &[&str]) -> Self {
        Self::start_at(dir, id_text, incarnation, filters, ([127, 0, 0, 1], 0).into())
    }

    fn start_at(
        dir: &Path,
        id_text: &'static str,
        incarnation: u64,
        filters: &[&str],
        listen: SocketAddr,
    ) -> Self {
        let gateway = id(id_text);
        let me = Identity { fleet: "test".into(), gateway, incarnation: Incarnation(incarnation) };
        let limits = PeerLimits {
            max_unacknowledged: 2_000,
            // Tests wait for what happens, not for time: a slow machine is no silent peer.
            silent_after: LIMIT,
            ..PeerLimits::default()
        };
        let config = LinksConfig {
            listener: listen_at(listen).unwrap(),
            accepts: Accepts::always(),
            me,
            tls: tls(dir, id_text).unwrap(),
            limits,
            max_mailbox: 100_000,
            connect_limit: LIMIT,
            seed: incarnation,
        };
        let (sender, told) = channel();
        let all = filters.iter().map(|filter| interest(filter)).collect();
        let room = Arc::new(AtomicU64::new(u64::MAX));
        let recorder = Recorder { told: sender, room: Arc::clone(&room) };
        let links = spawn(config, (1, all), Box::new(recorder)).unwrap();
        Self { links, told, room, id: id_text, incarnation }
    }

    fn record(&self) -> PeerAddress {
        let address = self.links.address().to_string();
        PeerAddress { gateway: id(self.id), address, incarnation: Incarnation(self.incarnation) }
    }

    fn send(&self, commands: impl IntoIterator<Item = Command>) {
        self.links.sender().send(&mut commands.into_iter().collect());
    }

    /// Waits for something in particular; what comes before is passed over.
    fn wait<T>(&self, mut wanted: impl FnMut(Told) -> Option<T>) -> T {
        loop {
            if let Some(found) = wanted(self.told.recv_timeout(LIMIT).unwrap()) {
                return found;
            }
        }
    }

    /// Waits until operators see a link as it is wanted.
    fn wait_for_status(&self, peer: &str, wanted: impl Fn(&LinkStatus) -> bool) -> LinkStatus {
        let deadline = std::time::Instant::now() + LIMIT;
        loop {
            let links = self.links.sender().peers();
            let found = links.into_iter().find(|link| link.gateway == id(peer));
            if let Some(link) = found.filter(|link| wanted(link)) {
                return link;
            }
            assert!(std::time::Instant::now() < deadline, "{:?}", self.links.sender().peers());
            std::thread::yield_now();
        }
    }

    fn wait_for(&self, wanted: &Told) {
        self.wait(|told| (told == *wanted).then_some(()));
    }

    fn wait_for_payloads(&self, from: &str, payloads: std::ops::Range<u32>) {
        for number in payloads {
            let next = self.wait(|told| match told {
                Told::Forward { from, payload, .. } => Some((from, payload)),
                _ => None,
            });
            assert_eq!(next, (from.to_owned(), number.to_be_bytes().to_vec()));
        }
    }
}

fn forward(to: &str, number: u32) -> Command {
    let qos = QoS::AtLeastOnce;
    let publication = Publication::new("a/b", &[], &number.to_be_bytes(), qos, false);
    Command::Forward { to: id(to), plain: true, shared: SharedTargets::new(), publication }
}

fn pair(dir: &Path) -> (Gateway, Gateway) {
    development_set(dir, &["gw-1", "gw-2"]).unwrap();
    let a = Gateway::start(dir, "gw-1", 1, &["only/a", "a/+"]);
    let b = Gateway::start(dir, "gw-2", 1, &["only/b"]);
    let records = vec![a.record(), b.record()];
    a.send([Command::Peers(records.clone())]);
    b.send([Command::Peers(records)]);
    for (one, other) in [(&a, "gw-2"), (&b, "gw-1")] {
        // In either order, since each of the two has a connection of its own.
        let (mut up, mut interested) = (false, false);
        one.wait(|told| {
            up |= told == Told::Up(other.to_owned());
            interested |= matches!(&told, Told::Interest { ticket: 1.., .. });
            (up && interested).then_some(())
        });
    }
    (a, b)
}

#[test]
fn two_gateways_tell_each_other_their_interest_and_confirm_it() {
    let dir = tempfile::tempdir().unwrap();
    development_set(dir.path(), &["gw-1", "gw-2"]).unwrap();
    let a = Gateway::start(dir.path(), "gw-1", 1, &["a/+", "only/a"]);
    let b = Gateway::start(dir.path(), "gw-2", 1, &[]);
    let alone = a.wait(|told| match told {
        Told::Progress(progress) => Some(progress),
        _ => None,
    });
    assert_eq!((alone.acked_interest, alone.poked), (u64::MAX, LogSeq(u64::MAX)));
    let records = vec![a.record(), b.record()];
    a.send([Command::Peers(records.clone())]);
    b.send([Command::Peers(records)]);
    let confirm = |filters: &[&str], replace| {
        let ticket = b.wait(|told| match told {
            Told::Interest { from, replace: r, ticket: ticket @ 1.., filters: f } => {
                assert_eq!((from.as_str(), r), ("gw-1", replace));
                assert_eq!(f, filters);
                Some(ticket)
            }
            _ => None,
        });
        b.send([Command::InterestApplied { from: id("gw-1"), ticket }]);
    };
    let acked = |rev| {
        a.wait(|told| match told {
            Told::Progress(Progress { acked_interest, peers: 1, .. }) => {
                assert!(acked_interest <= rev);
                (acked_interest == rev).then_some(())
            }
            _ => None,
        });
    };
    confirm(&["a/+", "only/a"], true);
    acked(1);
    a.send([Command::Interest { rev: 2, changes: vec![interest("new")] }]);
    confirm(&["new"], false);
    acked(2);
    a.links.stop();
    b.links.stop();
}

#[test]
fn forwards_pokes_releases_and_credits_cross_the_link() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path());
    a.send((0..1000).map(|number| forward("gw-2", number)));
    b.wait_for_payloads("gw-1", 0..1000);

    a.send([Command::Poke(LogSeq(5))]);
    b.wait_for(&Told::Poke(LogSeq(5)));
    b.send([Command::Applied(LogSeq(6))]);
    a.wait(|told| match told {
        Told::Progress(progress) => (progress.poked == LogSeq(6)).then_some(()),
        _ => None,
    });

    let client = ClientId::new("device").unwrap();
    let (request, epoch) = (77, SessionEpoch(3));
    a.send([Command::Release { to: id("gw-2"), request, client: client.clone(), epoch }]);
    let ticket = b.wait(|told| match told {
        Told::Release { from, ticket, client } => {
            assert_eq!((from.as_str(), client.as_str()), ("gw-1", "device"));
            Some(ticket)
        }
        _ => None,
    });
    b.send([Command::Released { to: id("gw-1"), ticket, outcome: ReleaseOutcome::Done }]);
    a.wait_for(&Told::Released { request, outcome: Some(ReleaseOutcome::Done) });
    a.send([Command::Release { to: id("nobody"), request: 78, client, epoch }]);
    a.wait_for(&Told::Released { request: 78, outcome: None });

    a.send([Command::AskCredit { to: id("gw-2"), drain: 1, clients: 100, per_s: 10 }]);
    b.wait_for(&Told::DrainAsk { from: "gw-1".into(), clients: 100 });
    b.send([Command::Credit { to: id("gw-1"), drain: 1, clients: 40, per_s: 10 }]);
    a.wait_for(&Told::Credit { from: "gw-2".into(), clients: 40 });

    // What was sent before the end is written before the end.
    a.send((1000..1100).map(|number| forward("gw-2", number)));
    a.links.stop();
    b.wait_for_payloads("gw-1", 1000..1100);
    b.wait_for(&Told::Down("gw-1".into()));
    b.links.stop();
}

#[test]
fn a_peer_that_begins_anew_gets_what_waited_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path());
    a.send((0..10).map(|number| forward("gw-2", number)));
    b.wait_for_payloads("gw-1", 0..10);
    a.wait(|told| match told {
        Told::Progress(progress) => (progress.unacknowledged == 0).then_some(()),
        _ => None,
    });
    let address = b.links.address();
    b.links.stop();
    a.wait_for(&Told::Down("gw-2".into()));
    a.send((10..20).map(|number| forward("gw-2", number)));
    let b = Gateway::start_at(dir.path(), "gw-2", 2, &[], address);
    b.send([Command::Peers(vec![a.record()])]);
    b.wait_for_payloads("gw-1", 10..20);
    // The earlier life's interest is void before the new one's comes.
    let voided = |told: Told| match told {
        Told::Interest { replace: true, ticket: 0, filters, .. } => Some(filters),
        _ => None,
    };
    assert_eq!(a.wait(voided), Vec::<String>::new());
    // A peer that leaves the fleet takes its interest along.
    a.send([Command::Peers(vec![])]);
    assert_eq!(a.wait(voided), Vec::<String>::new());
    a.links.stop();
    b.links.stop();
}

#[test]
fn a_peer_that_stops_reading_costs_a_bounded_queue_and_nobody_else() {
    let dir = tempfile::tempdir().unwrap();
    development_set(dir.path(), &["gw-1", "gw-2", "gw-3"]).unwrap();
    let a = Gateway::start(dir.path(), "gw-1", 1, &[]);
    let b = Gateway::start(dir.path(), "gw-2", 1, &[]);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stuck = PeerAddress { gateway: id("gw-3"), address, incarnation: Incarnation(1) };
    a.send([Command::Peers(vec![b.record(), stuck])]);
    b.send([Command::Peers(vec![a.record()])]);
    let acceptor = tls(dir.path(), "gw-3").unwrap().acceptor();
    // Greets, takes as much as there is, and never reads again.
    let stream = runtime.block_on(async {
        let mut stream = acceptor.accept(listener.accept().await.unwrap().0).await.unwrap();
        let mut out = Vec::new();
        let (gateway, incarnation) = (id("gw-3"), Incarnation(1));
        Frame::Welcome { version: VERSION, gateway, incarnation, forwarded: 0 }.encode(&mut out);
        Frame::ForwardCredit { seq: u64::MAX, bytes: u64::MAX }.encode(&mut out);
        stream.write_all(&out).await.unwrap();
        stream.flush().await.unwrap();
        stream
    });
    a.wait_for(&Told::Up("gw-3".into()));
    for thousand in 0..5_u32 {
        let numbers = thousand * 1000..(thousand + 1) * 1000;
        let both = |number| [forward("gw-2", number), forward("gw-3", number)];
        a.send(numbers.clone().flat_map(both));
        b.wait_for_payloads("gw-1", numbers);
    }
    assert!(a.links.sender().counters().totals().dropped >= 3_000);
    let stuck = a.wait_for_status("gw-3", |link| link.dropped >= 3_000);
    assert!(stuck.up && stuck.unacknowledged == 2_000 && stuck.oldest.is_some(), "{stuck:?}");
    let well = |link: &LinkStatus| link.sent.forwards == 5_000 && link.unacknowledged == 0;
    let well = a.wait_for_status("gw-2", well);
    assert_eq!((well.dropped, well.oldest), (0, None));
    drop(stream);
    a.links.stop();
    b.links.stop();
}

/// A connection of gw-2 in its first life, which greets and forwards these.
async fn forwarding(dir: &Path, to: SocketAddr, numbers: [u32; 2]) -> impl Sized {
    let tcp = TcpStream::connect(to).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut stream = connector(dir, dir, "gw-2").connect(name, tcp).await.unwrap();
    let mut bytes = hello("gw-2", 1);
    for number in numbers {
        let Command::Forward { plain, shared, publication, .. } = forward("gw-1", number) else {
            unreachable!()
        };
        Frame::Forward { seq: number.into(), plain, shared, publication }.encode(&mut bytes);
    }
    stream.write_all(&bytes).await.unwrap();
    stream.flush().await.unwrap();
    stream
}

#[test]
fn what_a_peer_that_was_given_up_forwards_again_is_not_taken_again() {
    let dir = tempfile::tempdir().unwrap();
    development_set(dir.path(), &["gw-1", "gw-2"]).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    // Where the peer is dialled nobody answers.
    let deaf = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let address = deaf.local_addr().unwrap().to_string();
    let peer = PeerAddress { gateway: id("gw-2"), address, incarnation: Incarnation(1) };
    let a = Gateway::start(dir.path(), "gw-1", 1, &[]);
    let knows = |peers: Vec<PeerAddress>| {
        let count = peers.len();
        a.send([Command::Peers(peers)]);
        a.wait(|told| match told {
            Told::Progress(progress) => (progress.peers == count).then_some(()),
            _ => None,
        });
    };
    knows(vec![peer.clone()]);
    let before = runtime.block_on(forwarding(dir.path(), a.links.address(), [1, 2]));
    a.wait_for_payloads("gw-2", 1..3);
    knows(vec![]);
    knows(vec![peer]);
    // It never heard that the second one was taken.
    let after = runtime.block_on(forwarding(dir.path(), a.links.address(), [2, 3]));
    a.wait_for_payloads("gw-2", 3..4);
    drop((before, after));
    a.links.stop();
}

#[test]
fn what_a_group_chose_a_peer_for_that_is_gone_by_then_is_for_others() {
    let dir = tempfile::tempdir().unwrap();
    development_set(dir.path(), &["gw-1"]).unwrap();
    let a = Gateway::start(dir.path(), "gw-1", 1, &[]);
    let (share, filter) = TopicFilter::parse_subscription("$share/g/t").unwrap();
    let target = SharedTarget { share: share.unwrap(), filter };
    for (number, qos) in [(1, QoS::AtMostOnce), (2, QoS::AtLeastOnce), (3, QoS::ExactlyOnce)] {
        let publication = Publication::new("t", &[], &[number], qos, false);
        let shared = SharedTargets::from_iter([target.clone()]);
        let to = id("gw-2");
        a.send([forward("gw-2", 9), Command::Forward { to, plain: true, shared, publication }]);
    }
    for number in [2, 3] {
        let unclaimed = a.wait(|told| match told {
            Told::Unclaimed(payload) => Some(payload),
            _ => None,
        });
        assert_eq!(unclaimed, [number]);
    }
    a.links.stop();
}

#[test]
fn what_a_peer_has_no_room_for_waits_and_arrives_once_when_it_has() {
    let dir = tempfile::tempdir().unwrap();
    development_set(dir.path(), &["gw-1", "gw-2", "gw-3"]).unwrap();
    let all = ["gw-1", "gw-2", "gw-3"].map(|name| Gateway::start(dir.path(), name, 1, &[]));
    let [a, slow, quick] = &all;
    slow.room.store(0, Ordering::Relaxed);
    let records: Vec<_> = all.iter().map(Gateway::record).collect();
    for gateway in &all {
        gateway.send([Command::Peers(records.clone())]);
    }
    a.wait_for_status("gw-2", |link| link.up);
    a.wait_for_status("gw-3", |link| link.up && link.credit.is_some_and(|credit| credit > 0));
    a.send((0..1_000).flat_map(|n| [forward("gw-2", n), forward("gw-3", n)]));
    quick.wait_for_payloads("gw-1", 0..1_000);
    let waiting = a.wait_for_status("gw-2", |link| link.unacknowledged == 1_000);
    assert_eq!((waiting.credit, waiting.sent.forwards), (Some(0), 0), "{waiting:?}");
    slow.wait_for_status("gw-1", |link| link.granted == Some(0));
    // A little room is shared by two peers; what comes makes room for more here.
    slow.room.store(20, Ordering::Relaxed);
    slow.wait_for_payloads("gw-1", 0..10);
    slow.room.store(u64::MAX, Ordering::Relaxed);
    slow.wait_for_payloads("gw-1", 10..1_000);
    let done = |link: &LinkStatus| link.sent.forwards == 1_000 && link.unacknowledged == 0;
    assert_eq!(a.wait_for_status("gw-2", done).dropped, 0);
    all.into_iter().for_each(|gateway| gateway.links.stop());
}

#[test]
fn a_peer_whose_certificate_is_revoked_is_cut_whichever_of_the_two_has_dialled() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = pair(dir.path());
    let authority = Authority::load(dir.path()).unwrap();
    let stolen = authority.list().unwrap().into_iter().find(|it| it.name == "gw-2").unwrap();
    authority.revoke(&stolen.serial).unwrap();
    let revoked = Revoked::read(&dir.path().join("crl.pem")).unwrap();
    a.send([Command::Revoked(Arc::new(revoked))]);
    a.wait_for(&Told::Down("gw-2".to_owned()));
    b.wait_for(&Told::Down("gw-1".to_owned()));
}

#[test]
fn silent_connections_keep_no_peer_out() {
    let dir = tempfile::tempdir().unwrap();
    development_set(dir.path(), &["gw-1", "gw-2"]).unwrap();
    let a = Gateway::start(dir.path(), "gw-1", 1, &[]);
    let silent = |_| std::net::TcpStream::connect(a.links.address()).unwrap();
    let silent: Vec<_> = (0..200).map(silent).collect();
    let b = Gateway::start(dir.path(), "gw-2", 1, &[]);
    b.send([Command::Peers(vec![a.record()])]);
    a.send([Command::Peers(vec![b.record()])]);
    // Each of them would be waited for longer than this test waits.
    b.wait_for(&Told::Up("gw-1".into()));
    assert_eq!(silent.len(), 200);
    a.links.stop();
    b.links.stop();
}

/// A connector that shows a certificate of any role and trusts `dir`'s authority.
fn connector(dir: &Path, own: &Path, name: &str) -> TlsConnector {
    let read = |dir: &Path, file: &str| std::fs::read(dir.join(file)).unwrap();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(&read(dir, "ca.pem")).unwrap()).unwrap();
    let chain = CertificateDer::from_pem_slice(&read(own, &format!("{name}.pem"))).unwrap();
    let key = PrivateKeyDer::from_pem_slice(&read(own, &format!("{name}.key"))).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![chain], key)
        .unwrap();
    TlsConnector::from(Arc::new(config))
}

/// Connects, writes bytes, and reads all that comes until the other side closes.
async fn answer(connector: TlsConnector, to: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let tcp = TcpStream::connect(to).await.unwrap();
    let name = rustls::pki_types::ServerName::try_from("localhost").unwrap();
    let mut answer = Vec::new();
    if let Ok(mut stream) = connector.connect(name, tcp).await
        && stream.write_all(bytes).await.is_ok()
    {
        // A refusal may be an alert in place of an end.
        let _end = stream.read_to_end(&mut answer).await;
    }
    answer
}

fn hello(gateway: &str, incarnation: u64) -> Vec<u8> {
    let mut out = Vec::new();
    let (fleet, gateway) = ("test".to_owned(), id(gateway));
    let incarnation = Incarnation(incarnation);
    Frame::Hello { version: VERSION, fleet, gateway, incarnation }.encode(&mut out);
    out
}

#[tokio::test]
async fn strangers_that_dial_are_refused_and_disturb_nobody() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (a, b) = pair(dir.path());
    development_set(other.path(), &["gw-2"]).unwrap();
    let authority = Authority::load(dir.path()).unwrap();
    authority.issue(Role::Gateway, "gw-9", &[], 9).unwrap();
    let refused = || a.links.sender().counters().totals().refused;
    let (to, ours) = (a.links.address(), dir.path());
    let cases = [
        // A device of the fleet, an operator, a gateway of another fleet, one that no record names.
        (ours, "device-1", hello("gw-2", 9)),
        (ours, "operator", hello("gw-2", 9)),
        (other.path(), "gw-2", hello("gw-2", 9)),
        (ours, "gw-9", hello("gw-9", 9)),
        // A length that lies, no hello at all, an earlier life.
        (ours, "gw-2", vec![0xFF; 64]),
        (ours, "gw-2", vec![0, 0, 0, 1, 15]),
        (ours, "gw-2", hello("gw-2", 0)),
    ];
    for (number, (own, name, bytes)) in cases.into_iter().enumerate() {
        let answer = answer(connector(ours, own, name), to, &bytes).await;
        assert!(answer.is_empty(), "case {number}");
        // It is counted a moment after the connection has ended.
        let counted = async {
            while refused() != number as u64 + 1 {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(LIMIT, counted).await.unwrap();
    }
    // Nobody noticed.
    a.send([forward("gw-2", 1)]);
    b.send([forward("gw-1", 2)]);
    b.wait_for_payloads("gw-1", 1..2);
    a.wait_for_payloads("gw-2", 2..3);
    assert_eq!(a.links.sender().counters().totals().lost, 0);

    // Somebody else under the peer's certificate is told why it is refused.
    let answer = answer(connector(ours, ours, "gw-2"), to, &hello("gw-9", 9)).await;
    let mut buffer = FrameBuffer::new(1 << 20);
    buffer.space().extend_from_slice(&answer);
    assert!(matches!(buffer.take(), Ok(Some(Frame::Refused { reason: 3, .. }))));
    a.links.stop();
    b.links.stop();
}

#[tokio::test]
async fn whoever_is_dialled_must_be_the_gateway_that_was_wanted() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    development_set(dir.path(), &["gw-1", "gw-2"]).unwrap();
    development_set(other.path(), &["gw-1", "gw-2"]).unwrap();
    assert!(matches!(tls(dir.path(), "device-1"), Err(PeerTlsError::Role)));
    let b = Gateway::start(dir.path(), "gw-2", 1, &[]);
    let address = b.links.address().to_string();
    let dial = |wanted, tls: PeerTls| dial(id(wanted), address.clone(), tls.connector(), LIMIT);
    assert!(dial("gw-2", tls(dir.path(), "gw-1").unwrap()).await.is_ok());
    let other_name = dial("gw-3", tls(dir.path(), "gw-1").unwrap()).await;
    assert!(matches!(other_name, Err(DialFailed::Identity)));
    let other_fleet = dial("gw-2", tls(other.path(), "gw-1").unwrap()).await;
    assert!(matches!(other_fleet, Err(DialFailed::Tls(_))));
    b.links.stop();
}

/// What the verifier of dialled peers leans on: a chain is looked at before the name is.
#[tokio::test]
async fn neither_address_nor_role_makes_up_for_a_bad_chain() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    development_set(dir.path(), &["gw-1"]).unwrap();
    let ours = Authority::load(dir.path()).unwrap();
    development_set(other.path(), &["gw-3"]).unwrap();
    let verifying = tls(dir.path(), "gw-1").unwrap().connector();
    ours.issue(Role::Gateway, "gw-4", &[], 9).unwrap();
    let serial = ours.list().unwrap().into_iter().find(|it| it.name == "gw-4").unwrap().serial;
    let stale = tls(dir.path(), "gw-4").unwrap().acceptor();
    ours.revoke(&serial).unwrap();
    let knowing = tls(dir.path(), "gw-1").unwrap().connector();
    let foreign = tls(other.path(), "gw-3").unwrap().acceptor();
    for (server, connector, good) in [
        (stale.clone(), verifying.clone(), true),
        (stale, knowing, false),
        (foreign, verifying, false),
    ] {
        let (ours, theirs) = tokio::io::duplex(64 << 10);
        // No certificate has this name.
        let name = rustls::pki_types::ServerName::try_from("elsewhere.example").unwrap();
        let accepting = server.accept(theirs);
        let (_, connected) = tokio::join!(accepting, connector.connect(name, ours));
        assert_eq!(connected.is_ok(), good);
    }
}
