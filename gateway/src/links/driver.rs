//! The thread that owns all links.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use protocol::peer::{Acceptor, Identity, InterestChange, OwnInterest, PeerLimits};
use protocol::{GatewayId, LogSeq, Now, QoS};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use super::command::{Command, LinkEvents, PeerAddress, Progress};
use super::connection::{Key, News};
use super::counters::LinkCounters;
use super::dial::{AcceptFailed, Hello};
use super::listening::Listening;
use super::mailbox::{LinksSender, Mailbox};
use super::peer::Peer;
use super::surroundings::Surroundings;
use super::tls::PeerTls;
use crate::accepts::Accepts;
use crate::clock::Clock;
use crate::line_limit::LineLimit;

/// What the links need to know.
#[derive(Debug)]
pub struct LinksConfig {
    /// Where peers dial in; see [`listen`](super::listen).
    pub listener: std::net::TcpListener,
    /// Whether they are accepted there.
    pub accepts: Accepts,
    /// Who we are.
    pub me: Identity,
    /// How links speak TLS.
    pub tls: PeerTls,
    /// What a link may hold.
    pub limits: PeerLimits,
    /// Commands that may wait. Full: forwards of `QoS` 0 are dropped and counted.
    pub max_mailbox: usize,
    /// Limit for TCP, for TLS and for the greeting, each.
    pub connect_limit: Duration,
    /// For the jitter of redialling; random in production.
    pub seed: u64,
}

/// Why the links cannot start; the operator is at fault.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The address is taken or not ours.
    #[error("the peer listener cannot use {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: std::io::Error,
    },
    /// The system gives no thread or no event queue.
    #[error("the thread of the links cannot start")]
    Thread(#[source] std::io::Error),
}

/// The links' thread, and the way to it.
#[derive(Debug)]
pub struct LinksHandle {
    sender: LinksSender,
    address: SocketAddr,
    thread: JoinHandle<()>,
}

impl LinksHandle {
    /// A way to the links, for any thread.
    pub fn sender(&self) -> LinksSender {
        self.sender.clone()
    }

    /// Where peers dial in; tells the port if the config left it to the system.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Writes what waits, closes all connections and waits for the end of the thread, about a second at most.
    pub fn stop(self) {
        self.sender.send(&mut vec![Command::Stop]);
        if self.thread.join().is_err() {
            tracing::error!("the thread of the links has panicked");
        }
    }
}

/// Starts the thread. `interest` is what this gateway is interested in already, and
/// its revision. No peer is dialled or let in before [`Command::Peers`] names it.
///
/// # Errors
/// [`StartError`], by what is wrong.
pub fn spawn(
    config: LinksConfig,
    interest: (u64, Vec<InterestChange>),
    events: Box<dyn LinkEvents>,
) -> Result<LinksHandle, StartError> {
    let LinksConfig { listener, accepts, .. } = &config;
    let address = listener.local_addr().map_err(StartError::Thread)?;
    let listen_error = |source| StartError::Listen { address, source };
    listener.set_nonblocking(true).map_err(listen_error)?;
    let listener = (listener.try_clone().map_err(listen_error)?, accepts.clone());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(StartError::Thread)?;
    let listener = {
        let _inside = runtime.enter();
        (TcpListener::from_std(listener.0).map_err(listen_error)?, listener.1)
    };
    let mailbox = Arc::new(Mailbox::new(config.max_mailbox));
    let counters = Arc::new(LinkCounters::default());
    let sender = LinksSender::new(Arc::clone(&mailbox), Arc::clone(&counters));
    let thread = crate::logging::thread("links", move || {
        runtime.block_on(async move {
            let (news_sender, news) = mpsc::channel(NEWS);
            let driver = Driver::new(config, interest, events, news_sender, counters);
            driver.run(listener, news, &mailbox).await;
        });
        // A host name that is still being looked up keeps nobody.
        runtime.shutdown_background();
    })
    .map_err(StartError::Thread)?;
    Ok(LinksHandle { sender, address, thread })
}

/// News that may wait. Full: the tasks of the connections wait, and the peers with them.
const NEWS: usize = 256;
/// Most news in one batch, so that commands are not kept waiting.
const BATCH: usize = 256;
/// When to look again whether there is room for the forwards of a peer that has to wait for it.
const LOOK_AGAIN: Duration = Duration::from_millis(5);
/// How often operators see how the links are.
const SHOW: Duration = Duration::from_millis(100);
/// How long the end may take.
const LINGER: Duration = Duration::from_secs(1);

struct Driver {
    around: Surroundings,
    peers: BTreeMap<GatewayId, Peer>,
    /// What the peers that were given up had forwarded: one for each gateway id that has been seen.
    given_up: BTreeMap<GatewayId, Acceptor>,
    interest: OwnInterest,
    log: LogSeq,
    applied: LogSeq,
    told: Option<Progress>,
    good_until: Duration,
    /// When the links were shown last.
    shown: Option<Duration>,
    /// A peer may send nothing for want of room here.
    withholds: bool,
    seed: u64,
    began: Instant,
    listening: Listening,
}

impl Driver {
    fn new(
        config: LinksConfig,
        (rev, interest): (u64, Vec<InterestChange>),
        events: Box<dyn LinkEvents>,
        news: mpsc::Sender<News>,
        counters: Arc<LinkCounters>,
    ) -> Self {
        let around = Surroundings {
            me: config.me,
            limits: config.limits,
            now: Now::default(),
            connect_limit: config.connect_limit,
            tls: config.tls.clone(),
            revoked: Arc::default(),
            news,
            events,
            counters,
            last_number: 0,
            back: 0,
            lines: LineLimit::default(),
        };
        let listening = Listening::new(config.tls, &around);
        let mut own = OwnInterest::default();
        // Nobody has been told anything yet, so there is no news in it.
        let _first = own.change(rev, interest);
        Self {
            around,
            peers: BTreeMap::new(),
            given_up: BTreeMap::new(),
            interest: own,
            log: LogSeq(0),
            applied: LogSeq(0),
            told: None,
            good_until: Duration::MAX,
            shown: None,
            withholds: false,
            seed: config.seed,
            began: Instant::now(),
            listening,
        }
    }

    async fn run(
        mut self,
        listener: (TcpListener, Accepts),
        mut news: mpsc::Receiver<News>,
        mailbox: &Mailbox,
    ) {
        self.listening.start(listener);
        let mut commands = Vec::new();
        let mut stopping = false;
        // Tells at once that without peers there is nobody to wait for.
        self.finish_batch();
        while !stopping {
            let deadline = self.deadline();
            let first = tokio::select! {
                () = mailbox.rung() => None,
                first = news.recv() => first,
                () = sleep_until(self.began, deadline) => None,
            };
            self.look_at_clock();
            let more = std::iter::from_fn(|| news.try_recv().ok()).take(BATCH);
            for next in first.into_iter().chain(more) {
                self.handle_news(next);
            }
            // What has come is heard before anybody is found silent.
            if deadline.is_some_and(|deadline| self.around.now.mono >= deadline) {
                self.handle_timeout();
            }
            mailbox.take(&mut commands);
            for command in commands.drain(..) {
                stopping |= matches!(command, Command::Stop);
                self.handle_command(command);
            }
            self.finish_batch();
            // The tasks of the connections get their turn, however many commands come.
            tokio::task::yield_now().await;
        }
        drop(self);
        // Each task that still writes holds a way to us; when all are gone, all is written.
        let all_written = async { while news.recv().await.is_some() {} };
        let _late = tokio::time::timeout(LINGER, all_written).await;
    }

    fn handle_command(&mut self, command: Command) {
        match command {
            Command::Beside(listener) => {
                self.listening.beside(listener.as_deref());
            }
            Command::Peers(peers) => self.handle_peers(peers),
            Command::Looked(good_until) => self.good_until = good_until,
            Command::Back(times) => self.come_back(times),
            Command::Interest { rev, changes } => self.handle_interest(rev, changes),
            Command::Forward { to, plain, shared, publication } => {
                if let Some(peer) = self.peers.get_mut(&to) {
                    // What is dropped is counted by the machine.
                    let _dropped = peer.dialler().forward(plain, shared, publication);
                } else if !shared.is_empty() && publication.qos != QoS::AtMostOnce {
                    // It was chosen before it was gone.
                    self.around.events.unclaimed(shared, publication);
                }
            }
            Command::Poke(seq) => {
                self.log = self.log.max(seq);
                for peer in self.peers.values_mut() {
                    peer.dialler().poke(seq);
                }
            }
            Command::Applied(seq) => {
                self.applied = self.applied.max(seq);
                for peer in self.peers.values_mut() {
                    peer.acceptor().applied(seq);
                }
            }
            Command::Release { to, request, client, epoch } => match self.peers.get_mut(&to) {
                Some(peer) => {
                    peer.dialler().release(request, client, epoch);
                    peer.tell(&mut self.around);
                }
                None => self.around.events.released(&to, request, None),
            },
            Command::Released { to, ticket, outcome } => {
                self.with(&to, |peer| peer.acceptor().released(ticket, outcome));
            }
            Command::InterestApplied { from, ticket } => {
                self.with(&from, |peer| peer.acceptor().interest_applied(ticket));
            }
            Command::AskCredit { to, drain, clients, per_s } => {
                self.with(&to, |peer| peer.dialler().ask_credit(drain, clients, per_s));
            }
            Command::Credit { to, drain, clients, per_s } => {
                self.with(&to, |peer| peer.acceptor().credit(drain, clients, per_s));
            }
            Command::Revoked(revoked) => {
                self.around.revoked = revoked;
                for peer in self.peers.values_mut() {
                    peer.end_revoked(&mut self.around);
                }
            }
            Command::Stop => {}
        }
    }

    /// A peer that is gone needs no answer.
    fn with(&mut self, peer: &GatewayId, step: impl FnOnce(&mut Peer)) {
        if let Some(peer) = self.peers.get_mut(peer) {
            step(peer);
        }
    }

    fn handle_peers(&mut self, live: Vec<PeerAddress>) {
        let mut before = std::mem::take(&mut self.peers);
        for record in live {
            let gateway = record.gateway.clone();
            if gateway == self.around.me.gateway || self.peers.contains_key(&gateway) {
                continue;
            }
            let peer = if let Some(mut peer) = before.remove(&gateway) {
                peer.moved_to(record, &mut self.around);
                peer
            } else {
                let seed = self.seed ^ protocol::hash64(gateway.as_str().as_bytes());
                let known = self.given_up.remove(&gateway);
                let mut peer = Peer::new(record, known, seed, &mut self.around);
                peer.dialler().poke(self.log);
                peer.acceptor().applied(self.applied);
                peer
            };
            self.peers.insert(gateway, peer);
        }
        for peer in before.into_values() {
            let (gateway, known) = peer.leave(&mut self.around);
            self.given_up.insert(gateway, known);
        }
    }

    fn come_back(&mut self, times: u64) {
        self.around.back = times;
        for peer in self.peers.values_mut() {
            let _span = peer.enter();
            peer.ask_anew(&mut self.around);
        }
    }

    fn handle_interest(&mut self, rev: u64, changes: Vec<InterestChange>) {
        let news = self.interest.change(rev, changes);
        for peer in self.peers.values_mut() {
            peer.interest_changed(&news, &mut self.around);
        }
    }

    fn handle_news(&mut self, news: News) {
        let now = self.around.now;
        match news {
            News::Frames(key, frames, bytes) => {
                self.at(&key, |peer, around| {
                    peer.count_received(bytes);
                    peer.handle_frames(&key, frames, now, around);
                });
            }
            News::Damaged(key, error) => {
                let violation = error.into();
                self.at(&key, |peer, around| peer.handle_damaged(&key, &violation, around));
            }
            News::Written(key, buffer) => {
                self.at(&key, |peer, _| peer.handle_written(&key, buffer));
            }
            News::Closed(key, kind) => {
                self.at(&key, |peer, around| peer.handle_closed(&key, kind, around));
            }
            News::Dialled(key, result) => {
                if let Some(peer) = self.peers.get_mut(&key.peer) {
                    let _span = peer.enter();
                    peer.handle_dialled(&key, *result, now, &mut self.around);
                    // Its handshake may have begun before the list.
                    peer.end_revoked(&mut self.around);
                }
            }
            News::Accepted(result) => match *result {
                Ok(hello) => self.handle_accepted(hello, now),
                Err(failed) => self.report_accept_failure(&failed),
            },
        }
    }

    fn at(&mut self, key: &Key, step: impl FnOnce(&mut Peer, &mut Surroundings)) {
        if let Some(peer) = self.peers.get_mut(&key.peer) {
            let _span = peer.enter();
            step(peer, &mut self.around);
        }
    }

    fn handle_accepted(&mut self, hello: Hello, now: Now) {
        if let Some(peer) = self.peers.get_mut(&hello.peer) {
            let _span = peer.enter();
            peer.handle_accepted(hello, now, &mut self.around);
            peer.end_revoked(&mut self.around);
        } else {
            // Its record may be newer than our view of the store; it will dial again. Or it has our own id.
            self.around.counters.count_refused();
            if self.around.may_tell() {
                tracing::info!(peer = %hello.peer, "a gateway that is not known here has dialled");
            }
        }
    }

    fn report_accept_failure(&self, failed: &AcceptFailed) {
        self.around.counters.count_refused();
        if self.around.may_tell() {
            failed.say();
        }
    }

    fn handle_timeout(&mut self) {
        let now = self.around.now;
        for peer in self.peers.values_mut() {
            let _span = peer.enter();
            peer.handle_timeout(now, &mut self.around);
        }
    }

    fn deadline(&self) -> Option<Duration> {
        let again = self.withholds.then(|| self.around.now.mono + LOOK_AGAIN);
        self.peers.values().filter_map(Peer::deadline).chain(again).min()
    }

    /// A batch begins.
    fn look_at_clock(&mut self) {
        let now = self.now();
        self.around.now = now;
        for peer in self.peers.values_mut() {
            peer.dialler().handle_time(now);
        }
    }

    /// All that waited is handled: each connection is written once, and what was gathered is handed on.
    fn finish_batch(&mut self) {
        // What came is handed on first, so that the room that is left is known.
        self.around.events.flush();
        let room = self.around.events.room();
        let peers = self.peers.len().max(1) as u64;
        self.withholds = false;
        for peer in self.peers.values_mut() {
            peer.acceptor().set_room(room.forwards / peers, room.bytes / peers);
            peer.pump(&self.interest);
            peer.count(&self.around.counters);
            self.withholds |= peer.acceptor().withholds();
        }
        self.show();
        let progress = self.progress();
        if self.told.replace(progress) != Some(progress) {
            self.around.events.progress(progress);
        }
    }

    /// Lets operators see how the links are, now and then.
    fn show(&mut self) {
        let now = self.around.now.mono;
        if self.shown.is_none_or(|shown| now >= shown + SHOW) {
            self.shown = Some(now);
            let peers = self.peers.values_mut().map(|peer| peer.status(now)).collect();
            self.around.counters.show(peers);
        }
    }

    fn progress(&mut self) -> Progress {
        let mut progress = Progress {
            acked_interest: u64::MAX,
            poked: LogSeq(u64::MAX),
            good_until: self.good_until,
            heard: u64::MAX,
            unacknowledged: 0,
            peers: self.peers.len(),
            peers_up: 0,
        };
        for peer in self.peers.values_mut() {
            progress.heard = progress.heard.min(peer.heard());
            let dialler = peer.dialler();
            progress.acked_interest = progress.acked_interest.min(dialler.acked_interest());
            progress.poked = progress.poked.min(dialler.poked());
            progress.unacknowledged += dialler.unacknowledged();
            progress.peers_up += usize::from(dialler.is_up());
        }
        progress
    }

    fn now(&self) -> Now {
        Clock::since(self.began).now()
    }
}

/// Sleeps until a moment on the driver's clock; for ever if there is none.
async fn sleep_until(began: Instant, deadline: Option<Duration>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until((began + deadline).into()).await,
        None => std::future::pending().await,
    }
}
