//! One gateway process, put together: store, tables, threads, listeners, API.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Notify, watch};

use access::Policy;
use protocol::peer::{Identity, PeerLimits};
use protocol::{Incarnation, Wall};
use store::{SqliteStore, Store as _};

use crate::authentication::{self, AuthenticationAsk, Desk, Porter};
use crate::caretaker::{self, Chore, ChoreSender};
use crate::cli::Exit;
use crate::committer::{self, GroupLimits, Listeners, Order};
use crate::config::{ClientCertificate, DeniedPublish, Listener, Resolved};
use crate::front::{self, Bound, Door, Front};
use crate::http::HttpApi;
use crate::hub::{HubConfig, Seats, Tables};
use crate::links::{self, LinksConfig, LinksHandle, PeerTls};
use crate::metrics::Metrics;
use crate::opening::open_store;
use crate::operator::Operator;
use crate::reload::{
    self, Certificates, Configuration, Credentials, Reload, Reloadable, RightsFiles, peer_tls,
};
use crate::rights;
use crate::scheduler::{self, Scheduler, SchedulerConfig, SchedulerHandle, SchedulerSender};
use crate::service::{
    self, Events, Housekeeper, Member, ServiceAsk, ServiceConfig, ServiceSender, SharedState,
    begin_life,
};
use crate::tail::{self, Follower, Frontier, Load, TailAsk};
use crate::tls::{LiveTls, Revoked, Speaks};
use crate::worker::{self, Mail, Mailbox, Shared};

/// Runs a gateway until SIGTERM or SIGINT; clients are told to go elsewhere, sessions are written off, then it ends.
///
/// # Errors
/// It could not start: the store, a certificate or an address cannot be used.
pub fn run(config: Resolved) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _span = tracing::info_span!("gateway", gateway = %config.id).entered();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let process = Process::start(config).await?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let again = Arc::clone(&process.again);
        let mut code = ExitCode::SUCCESS;
        loop {
            tokio::select! {
                _ = terminate.recv() => break,
                _ = interrupt.recv() => break,
                () = again.notified() => {
                    code = Exit::Again.into();
                    break;
                }
                _ = hang_up.recv() => process.reload.sender().hang_up(),
            }
        }
        tracing::info!("stopping");
        process.stop();
        Ok(code)
    })
}

/// Everything that runs.
struct Process {
    shared: Shared,
    front: Arc<Front>,
    api: HttpApi,
    links: Option<LinksHandle>,
    workers: Vec<std::thread::JoinHandle<()>>,
    service: std::thread::JoinHandle<()>,
    scheduler: SchedulerHandle,
    caretaker: (ChoreSender, std::thread::JoinHandle<()>),
    committer: std::thread::JoinHandle<()>,
    tail: std::thread::JoinHandle<()>,
    reload: Reload,
    doors: watch::Sender<bool>,
    /// Told when the process is to end, so that it is started again.
    again: Arc<Notify>,
}

/// What the threads of the store and the housekeeper read.
struct Inboxes {
    tail: Receiver<TailAsk>,
    orders: Receiver<Order>,
    service: Receiver<ServiceAsk>,
    desk: tokio::sync::mpsc::UnboundedReceiver<AuthenticationAsk>,
}

/// Which life of this gateway begins.
fn incarnation(config: &Resolved, store: &SqliteStore) -> anyhow::Result<Incarnation> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let wall = Wall(u64::try_from(now.as_millis())?);
    Ok(begin_life(&config.id, wall, &mut *store.reader()?)?)
}

impl Process {
    async fn start(mut config: Resolved) -> anyhow::Result<Self> {
        front::fit_descriptors(&mut config.limits);
        let started = Instant::now();
        // Before the first of them is read.
        let before = reload::Before::of(config.files());
        let policy = policy(&config)?;
        let sqlite = open_store(&config)?;
        let incarnation = incarnation(&config, &sqlite)?;
        // Every port first: nothing is written for a process that cannot serve.
        let doors = open_doors(&config)?;
        let http = std::net::TcpListener::bind(config.http.bind)
            .with_context(|| format!("cannot use {} for http", config.http.bind))?;
        let metrics = Metrics::new(config.workers.get());
        let (shared, inboxes, links) = share(&config, started, incarnation, &metrics)?;
        let tail = start_tail(&config, &sqlite, (&shared, incarnation), inboxes.tail)?;
        let committer = start_committer(&config, &sqlite, &shared, &metrics, inboxes.orders)?;
        let (mut workers, seats) = (Vec::new(), Arc::new(Seats::default()));
        for (index, counters) in metrics.workers().iter().enumerate() {
            let hub = hub_config(&config, incarnation, index, (&policy, &seats))?;
            workers.push(worker::spawn(hub, shared.clone(), Arc::clone(counters))?);
        }
        let (tables, mailboxes) = (Arc::clone(&shared.tables), shared.mailboxes.clone());
        let counters = Arc::clone(metrics.process());
        let porter = Arc::new(Porter::new(config.authentication.clone(), started)?);
        let attend = authentication::attend(inboxes.desk, Arc::clone(&porter), mailboxes.clone());
        let credentials = Credentials(Arc::clone(&porter));
        let front = Front::new(mailboxes, tables, &config, porter, counters);
        let front = Arc::new(front);
        let state = Arc::new(SharedState::default());
        let me = Member::of(&config, incarnation);
        let (links, peers) = links.unzip();
        let http_tls = http_tls(&config)?;
        let live = doors.iter().filter_map(|(_, door)| door.tls.clone()).chain(http_tls.clone());
        let certificates = (live.collect(), peers);
        let (revokes, revoked) = watch::channel(Arc::default());
        let (schedule, asked) = SchedulerSender::channel();
        let told = (&shared, &front, &schedule);
        let parts = reloadable(&config, certificates, credentials, revokes, told);
        let reload = reload::spawn(parts, &before, Arc::clone(metrics.process()))?;
        let (senders, seen) = ((reload.sender(), schedule.clone()), Arc::clone(&state));
        let operator =
            Operator::new(shared.clone(), me.record.clone(), seen, metrics.clone(), senders);
        let api = HttpApi::start(http, http_tls, Arc::new(operator), metrics.clone(), revoked)?;
        let duties = duties(&config, me, &sqlite)?;
        let again = Arc::new(Notify::new());
        let facts = SchedulerConfig::of(&config, incarnation, Arc::clone(&again));
        let looked_at = (Arc::clone(&state), metrics.clone());
        let scheduler = Scheduler::new(facts, shared.clone(), looked_at, sqlite.reader()?);
        let scheduler = scheduler::spawn(scheduler, (schedule, asked))?;
        let looked_after = (Arc::clone(&front), state, metrics);
        let caretaker = start_caretaker(&sqlite, &looked_after.2)?;
        let (reader, tell) = (sqlite.reader()?, caretaker.0.clone());
        let housekeeper = Housekeeper::new(duties, shared.clone(), looked_after, reader, tell);
        let service = service::spawn(housekeeper, inboxes.service)?;
        let (stop, stopped) = watch::channel(false);
        serve_doors(&doors, config.front_threads, &front, attend, &stopped)?;
        Ok(Self {
            shared,
            front,
            api,
            links,
            workers,
            service,
            scheduler,
            caretaker,
            committer,
            tail,
            reload,
            doors: stop,
            again,
        })
    }

    /// In the order in which they need each other.
    fn stop(self) {
        self.front.admit(front::Admission::NotYet);
        self.reload.stop();
        let _ = self.doors.send(true);
        self.shared.mailboxes.iter().for_each(|mailbox| mailbox.send(Mail::Stop));
        for worker in self.workers {
            let _ = worker.join();
        }
        self.scheduler.stop();
        self.shared.service.send(ServiceAsk::Stop);
        let _ = self.service.join();
        if let Some(links) = self.links {
            links.stop();
        }
        // Their inboxes outlive them: what is sent later goes nowhere.
        let (chores, caretaker) = self.caretaker;
        let _ = chores.send(Chore::Stop);
        let _ = caretaker.join();
        let _ = self.shared.committer.send(Order::Stop);
        let _ = self.committer.join();
        let _ = self.shared.tail.send(TailAsk::Stop);
        let _ = self.tail.join();
        self.api.stop();
    }
}

/// The tables, letters and channels that the threads share, and the links, which write into them.
fn share(
    config: &Resolved,
    started: Instant,
    incarnation: Incarnation,
    metrics: &Metrics,
) -> anyhow::Result<(Shared, Inboxes, Option<Links>)> {
    let tables = Arc::new(Tables::default());
    let mailbox = || Arc::new(Mailbox::new(config.limits.mailbox_messages as usize));
    let mailboxes: Vec<_> = (0..config.workers.get()).map(|_| mailbox()).collect();
    let frontier = Arc::new(Frontier::new(mailboxes.clone()));
    let (tail, tail_inbox) = tail::asks();
    let (committer, orders) = committer::orders();
    let (service, service_inbox) = ServiceSender::channel();
    let late = Arc::new(OnceLock::new());
    let links = start_links(config, incarnation, || {
        let fleet = (Arc::clone(&tables), mailboxes.clone(), tail.clone(), Arc::clone(&frontier));
        Events::new(fleet, service.clone(), Arc::clone(metrics.process()), Arc::clone(&late))
    })?;
    if let Some((links, _)) = &links {
        // Set once, here.
        let _ = late.set(links.sender());
    }
    let links_sender = links.as_ref().map(|(links, _)| links.sender());
    let (desk, desk_inbox) = Desk::new();
    let inboxes = Inboxes { tail: tail_inbox, orders, service: service_inbox, desk: desk_inbox };
    let shared = Shared {
        started,
        tables,
        mailboxes,
        committer,
        tail,
        links: links_sender,
        frontier,
        service,
        desk,
    };
    Ok((shared, inboxes, links))
}

/// Reads everything the store has, then follows it.
fn start_tail(
    config: &Resolved,
    sqlite: &SqliteStore,
    (shared, incarnation): (&Shared, Incarnation),
    inbox: Receiver<TailAsk>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let tables = Arc::clone(&shared.tables);
    let mut reader = sqlite.reader()?;
    let load = Load {
        gateway: config.id.clone(),
        incarnation,
        workers: config.workers.get(),
        queue: config.classes.rest().queue,
        kept_messages: config.resume.keep_messages as usize,
    };
    let follower = Follower::load(load, Arc::clone(&tables), &mut *reader)?;
    let (frontier, links) = (Arc::clone(&shared.frontier), shared.links.clone());
    Ok(tail::spawn((follower, reader), frontier, links, tables, (shared.tail.clone(), inbox))?)
}

fn start_committer(
    config: &Resolved,
    sqlite: &SqliteStore,
    shared: &Shared,
    metrics: &Metrics,
    orders: Receiver<Order>,
) -> anyhow::Result<std::thread::JoinHandle<()>> {
    let group = GroupLimits {
        messages: config.limits.commit_messages as usize,
        bytes: config.limits.commit_bytes as usize,
    };
    let listeners = Listeners {
        mailboxes: shared.mailboxes.clone(),
        tail: shared.tail.clone(),
        links: shared.links.clone(),
        metrics: Arc::clone(metrics.process()),
    };
    Ok(committer::spawn(sqlite.writer()?, group, listeners, orders)?)
}

fn start_caretaker(
    sqlite: &SqliteStore,
    metrics: &Metrics,
) -> anyhow::Result<(ChoreSender, std::thread::JoinHandle<()>)> {
    let (chores, told) = caretaker::chores();
    let thread = caretaker::spawn(sqlite.writer()?, Arc::clone(metrics.process()), told)?;
    Ok((chores, thread))
}

/// One bound listener with what it does.
type OpenDoor = (Bound, Arc<Door>);

fn open_doors(config: &Resolved) -> anyhow::Result<Vec<OpenDoor>> {
    let mut doors = Vec::new();
    for (number, listener) in config.listeners.iter().enumerate() {
        let (bind, kind) = (&listener.bind, listener.kind);
        let bound =
            Bound::new(bind).with_context(|| format!("cannot use {bind} for {}", kind.as_str()))?;
        let door = Door {
            number: u16::try_from(number)?,
            kind,
            path: listener.path.clone(),
            tls: door_tls(config, listener)?,
            proxies: listener.proxies.clone(),
        };
        doors.push((bound, Arc::new(door)));
    }
    Ok(doors)
}

/// TLS of one listener, if it speaks that.
fn door_tls(config: &Resolved, listener: &Listener) -> anyhow::Result<Option<LiveTls>> {
    let Some(tls) = config.tls.as_ref().filter(|_| listener.kind.is_secure()) else {
        return Ok(None);
    };
    let speaks = if listener.kind.is_websocket() { Speaks::Http } else { Speaks::Mqtt };
    let (clients, own) = (listener.client_certificate, listener.authority.clone());
    Ok(Some(LiveTls::load(tls, clients, own, speaks)?))
}

/// Each of the front's threads accepts and greets for all doors. Clients that authenticate again have a thread of their own:
/// they are here already, and do not wait behind those who come.
fn serve_doors(
    doors: &[OpenDoor],
    threads: NonZeroUsize,
    front: &Arc<Front>,
    attend: impl Future<Output = ()> + Send + 'static,
    stopped: &watch::Receiver<bool>,
) -> anyhow::Result<()> {
    for _ in 0..threads.get() {
        let mut serving = Vec::new();
        for (bound, door) in doors {
            let (front, stopped) = (Arc::clone(front), stopped.clone());
            serving.push(front::serve(bound.share()?, Arc::clone(door), front, stopped));
        }
        let serve = async {
            serving.into_iter().for_each(|serve| drop(tokio::spawn(serve)));
            std::future::pending::<()>().await;
        };
        run_until_stopped("front", serve, stopped.clone())?;
    }
    run_until_stopped("desk", attend, stopped.clone())
}

/// A thread with a runtime of its own, for one thing.
fn run_until_stopped(
    name: &str,
    work: impl Future<Output = ()> + Send + 'static,
    mut stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    crate::logging::patient_thread(name, move || {
        runtime.block_on(async {
            tokio::select! {
                () = work => {}
                // The sender lives as long as the process.
                _ = stopped.changed() => {}
            }
        });
    })?;
    Ok(())
}

/// The links, and their certificates.
type Links = (LinksHandle, PeerTls);

fn start_links(
    config: &Resolved,
    incarnation: Incarnation,
    events: impl FnOnce() -> Events,
) -> anyhow::Result<Option<Links>> {
    let (Some(peer), Some(tls)) = (&config.peer, &config.tls) else { return Ok(None) };
    let identity = peer_tls(tls)?;
    let peers = identity.clone();
    let links = LinksConfig {
        listen: peer.bind,
        me: Identity { fleet: config.fleet.clone(), gateway: config.id.clone(), incarnation },
        tls: identity,
        limits: PeerLimits {
            stale_after: config.lease.ttl.saturating_sub(config.lease.renew),
            ..PeerLimits::default()
        },
        max_mailbox: config.limits.mailbox_messages as usize * 8,
        connect_limit: Duration::from_secs(2),
        seed: incarnation.0 ^ u64::from(std::process::id()),
    };
    let handle = links::spawn(links, (0, Vec::new()), Box::new(events()))?;
    Ok(Some((handle, peers)))
}

fn http_tls(config: &Resolved) -> anyhow::Result<Option<LiveTls>> {
    let optional = ClientCertificate::Optional;
    let load = |tls| LiveTls::load(tls, optional, None, Speaks::Http);
    Ok(config.tls.as_ref().map(load).transpose()?)
}

/// What is read again while the process runs.
fn reloadable(
    config: &Resolved,
    (live, peers): (Vec<LiveTls>, Option<PeerTls>),
    credentials: Credentials,
    api: watch::Sender<Arc<Revoked>>,
    (shared, front, scheduler): (&Shared, &Arc<Front>, &SchedulerSender),
) -> Vec<Box<dyn Reloadable>> {
    let mailboxes = || shared.mailboxes.clone();
    let mut parts: Vec<Box<dyn Reloadable>> = Vec::new();
    if let Some(source) = config.source.clone() {
        parts.push(Box::new(Configuration {
            source,
            front: Arc::clone(front),
            mailboxes: mailboxes(),
            service: shared.service.clone(),
            scheduler: scheduler.clone(),
            needs_restart: Vec::new(),
        }));
    }
    if let Some(tls) = config.tls.clone() {
        let (mailboxes, links) = (mailboxes(), shared.links.clone());
        parts.push(Box::new(Certificates { tls, live, peers, mailboxes, links, api }));
    }
    parts.push(Box::new(credentials));
    let rights = config.rights.clone();
    parts.push(Box::new(RightsFiles { rights, mailboxes: mailboxes() }));
    parts
}

fn policy(config: &Resolved) -> anyhow::Result<Arc<Policy>> {
    let policy = rights::load(&config.rights)?;
    if config.rights.denies_all() {
        tracing::warn!(
            "nobody may publish or subscribe: access.acl names no file, and access.allow_all is false"
        );
    }
    Ok(Arc::new(policy))
}

fn hub_config(
    config: &Resolved,
    incarnation: Incarnation,
    worker: usize,
    (policy, seats): (&Arc<Policy>, &Arc<Seats>),
) -> anyhow::Result<HubConfig> {
    let limits = &config.limits;
    Ok(HubConfig {
        gateway: config.id.clone(),
        incarnation,
        worker: u8::try_from(worker)?,
        outbox_bytes: limits.outbox_bytes as usize,
        topic_alias_maximum: limits.topic_alias_maximum,
        topic_alias_out: limits.topic_alias_out,
        check_payload_format: config.mqtt.check_payload_format,
        response_topic: config.mqtt.response_topic.as_deref().map(Arc::from),
        user_properties: usize::from(limits.user_properties),
        match_steps: limits.match_steps as usize,
        match_steps_per_session: limits.match_steps_per_session as usize,
        classes: Arc::clone(&config.classes),
        seats: Arc::clone(seats),
        retained_messages: limits.retained_messages as usize,
        session_expiry_max_s: limits.session_expiry_max_s,
        packet_timeout: Duration::from_millis(u64::from(limits.packet_timeout_ms)),
        keep_alive_max_s: limits.keep_alive_max_s,
        advance: config.resume.advance(),
        takeover_wait: config.drain.takeover_wait,
        sessions_change_hands: config.rights.sessions_change_hands,
        close_denied: config.rights.denied_publish_3x == DeniedPublish::Close,
        policy: Arc::clone(policy),
    })
}

fn duties(config: &Resolved, me: Member, store: &SqliteStore) -> anyhow::Result<ServiceConfig> {
    Ok(ServiceConfig {
        me,
        id: config.id.clone(),
        ttl: config.lease.ttl,
        renew: config.lease.renew,
        drain: config.drain,
        maintenance: config.maintenance.clone(),
        limits: config.limits,
        keep: config.resume.keep(),
        stays_out: scheduler::stays_out(&config.id, &mut *store.reader()?)?,
    })
}
