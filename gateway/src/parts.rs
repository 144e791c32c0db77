//! The threads of a process, each made from the configuration and what it shares with the others.

use std::net::TcpListener;
use std::sync::mpsc::Receiver;
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use access::Policy;
use protocol::Incarnation;
use protocol::peer::Identity;
use store::{SqliteStore, Store as _};
use tokio::sync::watch;

use crate::accepts::{AcceptSwitch, Accepts};
use crate::authentication::{AuthenticationAsk, Desk, Porter};
use crate::caretaker::{self, ChoreSender};
use crate::clock::Clock;
use crate::committer::{self, GroupLimits, Listeners, Orders};
use crate::config::{ClientCertificate, DeniedPublish, Resolved};
use crate::control::Control;
use crate::device_http::{DeviceApi, DeviceApiParts, DeviceRules};
use crate::front::Front;
use crate::http::{HttpApi, HttpError};
use crate::hub::echo::interest_of;
use crate::hub::{HubConfig, Seats, Tables};
use crate::links::{self, LinksConfig, LinksHandle, PeerTls};
use crate::metrics::Metrics;
use crate::pauses::{PauseRules, Pausing};
use crate::ports::Ports;
use crate::reload::{
    self, Certificates, Configuration, Credentials, Reload, Reloadable, RightsFiles, peer_tls,
};
use crate::rights;
use crate::scheduler::{
    self, Scheduler, SchedulerAsk, SchedulerConfig, SchedulerHandle, SchedulerSender,
};
use crate::service::{
    self, Events, Housekeeper, Member, ServiceAsk, ServiceConfig, ServiceSender, SharedState,
};
use crate::tail::{self, Follower, Frontier, Load, TailAsk};
use crate::tls::{LiveTls, Revoked, Speaks};
use crate::worker::{self, Mailbox, Shared};

/// What the accept loops look at, and who switches them.
pub(crate) struct Switches {
    pub(crate) clients: (Arc<AcceptSwitch>, Accepts),
    pub(crate) peers: (AcceptSwitch, Accepts),
}

impl Switches {
    pub(crate) fn new(on: bool) -> Self {
        let (clients, seen) = AcceptSwitch::new(on);
        Self { clients: (Arc::new(clients), seen), peers: AcceptSwitch::new(on) }
    }
}

/// What the threads of the store and the housekeeper read.
pub(crate) struct Inboxes {
    pub(crate) tail: Receiver<TailAsk>,
    pub(crate) orders: Orders,
    pub(crate) service: Receiver<ServiceAsk>,
    pub(crate) desk: tokio::sync::mpsc::UnboundedReceiver<AuthenticationAsk>,
}

pub(crate) fn start_workers(
    config: &Resolved,
    incarnation: Incarnation,
    policy: &Arc<Policy>,
    (shared, metrics): (&Shared, &Metrics),
) -> anyhow::Result<Vec<JoinHandle<()>>> {
    let (mut workers, seats) = (Vec::new(), Arc::new(Seats::default()));
    for (index, counters) in metrics.workers().iter().enumerate() {
        let hub = hub_config(config, incarnation, index, (policy, &seats))?;
        workers.push(worker::spawn(hub, shared.clone(), Arc::clone(counters))?);
    }
    Ok(workers)
}

/// The tables, letters and channels that the threads share, and the links, which write into them.
pub(crate) fn share(
    config: &Resolved,
    started: Instant,
    (incarnation, metrics): (Incarnation, &Metrics),
    (ports, switches): (&Ports, &Switches),
) -> anyhow::Result<(Shared, Inboxes, LinksOrNone)> {
    let tables = Arc::new(Tables::default());
    let mailbox = || Arc::new(Mailbox::new(config.limits.mailbox_messages as usize));
    let mailboxes: Vec<_> = (0..config.workers.get()).map(|_| mailbox()).collect();
    let frontier = Arc::new(Frontier::new(mailboxes.clone()));
    let (tail, tail_inbox) = tail::asks();
    let (committer, orders) = committer::orders();
    let (service, service_inbox) = ServiceSender::channel();
    let late = Arc::new(OnceLock::new());
    let accepts = switches.peers.1.clone();
    let links = start_links(config, incarnation, (ports, accepts), || {
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
        clock: Clock::since(started),
        tables,
        mailboxes,
        committer,
        tail,
        links: links_sender,
        frontier,
        service,
        desk,
    };
    Ok((shared, inboxes, links.unzip()))
}

/// Reads everything the store has, then follows it.
pub(crate) fn start_tail(
    config: &Resolved,
    sqlite: &SqliteStore,
    (shared, incarnation): (&Shared, Incarnation),
    inbox: Receiver<TailAsk>,
) -> anyhow::Result<JoinHandle<()>> {
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

pub(crate) fn start_committer(
    config: &Resolved,
    sqlite: &SqliteStore,
    shared: &Shared,
    metrics: &Metrics,
    orders: Orders,
) -> anyhow::Result<JoinHandle<()>> {
    let group = GroupLimits {
        messages: config.limits.commit_messages as usize,
        bytes: config.limits.commit_bytes as usize,
    };
    let listeners = Listeners {
        mailboxes: shared.mailboxes.clone(),
        tail: shared.tail.clone(),
        links: shared.links.clone(),
        tables: Arc::clone(&shared.tables),
        metrics: Arc::clone(metrics.process()),
    };
    Ok(committer::spawn(sqlite.writer()?, group, listeners, orders)?)
}

pub(crate) fn start_scheduler(
    facts: SchedulerConfig,
    (sqlite, shared): (&SqliteStore, &Shared),
    (state, metrics): (&Arc<SharedState>, &Metrics),
    asks: (SchedulerSender, Receiver<SchedulerAsk>),
) -> anyhow::Result<SchedulerHandle> {
    let looked_at = (Arc::clone(state), metrics.clone());
    let scheduler = Scheduler::new(facts, shared.clone(), looked_at, sqlite.reader()?);
    Ok(scheduler::spawn(scheduler, asks)?)
}

pub(crate) fn start_service(
    duties: ServiceConfig,
    (sqlite, shared): (&SqliteStore, &Shared),
    looked_after: (Arc<Front>, Arc<SharedState>, Metrics),
    (caretaker, asks): (ChoreSender, Receiver<ServiceAsk>),
) -> anyhow::Result<JoinHandle<()>> {
    let reader = sqlite.reader()?;
    let housekeeper = Housekeeper::new(duties, shared.clone(), looked_after, reader, caretaker);
    Ok(service::spawn(housekeeper, asks)?)
}

/// What threads have in common that do work of seconds.
pub(crate) fn pausing(
    config: &Resolved,
    incarnation: Incarnation,
    (shared, metrics): (&Shared, &Metrics),
) -> Pausing {
    Pausing {
        me: (config.id.clone(), incarnation),
        rules: PauseRules::new(&config.maintenance),
        committer: shared.committer.clone(),
        tables: Arc::clone(&shared.tables),
        metrics: Arc::clone(metrics.process()),
    }
}

/// The API, as configured.
pub(crate) fn start_http(
    config: &Resolved,
    listens: (TcpListener, Accepts),
    (tls, revoked): (Option<LiveTls>, watch::Receiver<Arc<Revoked>>),
    (operator, metrics): (Arc<dyn Control>, &Metrics),
) -> Result<HttpApi, HttpError> {
    let doors = (tls, config.http.calendar_feeds);
    HttpApi::start(listens, doors, operator, metrics.clone(), revoked)
}

pub(crate) fn start_caretaker(
    sqlite: &SqliteStore,
    pausing: &Pausing,
) -> anyhow::Result<(ChoreSender, JoinHandle<()>)> {
    let (chores, told) = caretaker::chores();
    let pauser = pausing.pauser(caretaker::PAUSES_FOR, sqlite.reader()?);
    let tools = (sqlite.writer()?, pauser);
    let thread = caretaker::spawn(tools, Arc::clone(&pausing.metrics), told)?;
    Ok((chores, thread))
}

/// The links, and their certificates.
pub(crate) type Links = (LinksHandle, PeerTls);

/// The same of a gateway that may be alone.
pub(crate) type LinksOrNone = (Option<LinksHandle>, Option<PeerTls>);

pub(crate) fn start_links(
    config: &Resolved,
    incarnation: Incarnation,
    (ports, accepts): (&Ports, Accepts),
    events: impl FnOnce() -> Events,
) -> anyhow::Result<Option<Links>> {
    let (Some(listener), Some(tls)) = (&ports.peer, &config.tls) else { return Ok(None) };
    let identity = peer_tls(tls)?;
    let peers = identity.clone();
    let links = LinksConfig {
        listener: listener.try_clone()?,
        accepts,
        me: Identity { fleet: config.fleet.clone(), gateway: config.id.clone(), incarnation },
        tls: identity,
        limits: config.lease.link_limits(),
        max_mailbox: config.limits.mailbox_messages as usize * 8,
        connect_limit: Duration::from_secs(2),
        seed: incarnation.0 ^ u64::from(std::process::id()),
    };
    let own = interest_of(&config.id).into_iter().collect();
    let handle = links::spawn(links, (0, own), Box::new(events()))?;
    Ok(Some((handle, peers)))
}

pub(crate) fn http_tls(config: &Resolved) -> anyhow::Result<Option<LiveTls>> {
    let optional = ClientCertificate::Optional;
    let load = |tls| LiveTls::load(tls, optional, None, Speaks::Http);
    Ok(config.tls.as_ref().map(load).transpose()?)
}

/// What serves devices by HTTPS is made of, before it starts; nothing where that is not configured.
pub(crate) struct Devices {
    pub(crate) rules: Option<Arc<DeviceRules>>,
    pub(crate) tls: Option<LiveTls>,
    porter: Arc<Porter>,
}

impl Devices {
    pub(crate) fn of(
        config: &Resolved,
        policy: &Arc<Policy>,
        metrics: &Metrics,
        credentials: &Credentials,
    ) -> anyhow::Result<Self> {
        // None comes without a certificate.
        let required = ClientCertificate::Required;
        let load = |tls| LiveTls::load(tls, required, None, Speaks::DeviceHttp);
        let tls = config.tls.as_ref().filter(|_| config.device_http.is_some());
        let tls = tls.map(load).transpose()?;
        let rules = DeviceRules::new(config, policy, metrics.process());
        Ok(Self { rules, tls, porter: Arc::clone(&credentials.0) })
    }

    pub(crate) fn start(
        self,
        config: &Resolved,
        (listener, accepts): (Option<TcpListener>, &Accepts),
        (shared, front, metrics): (&Shared, &Arc<Front>, &Metrics),
        (revoked, control): (&watch::Receiver<Arc<Revoked>>, &Arc<dyn Control>),
    ) -> anyhow::Result<Option<DeviceApi>> {
        let Self { rules: Some(rules), tls: Some(tls), porter } = self else { return Ok(None) };
        let (Some(config), Some(listener)) = (config.device_http.clone(), listener) else {
            return Ok(None);
        };
        let parts = DeviceApiParts {
            config,
            tls,
            rules,
            porter,
            front: Arc::clone(front),
            shared: shared.clone(),
            control: Arc::clone(control),
            metrics: metrics.clone(),
            revoked: revoked.clone(),
        };
        Ok(Some(DeviceApi::start(listener, accepts.clone(), parts)?))
    }
}

/// Whom the files are told to that were read again.
pub(crate) type Told<'a> =
    (&'a Shared, &'a Arc<Front>, &'a SchedulerSender, Option<&'a Arc<DeviceRules>>);

/// Reads files again that change. Answers with what tells the API which certificates are revoked.
pub(crate) fn start_reload(
    config: &Resolved,
    certificates: (Vec<LiveTls>, Option<PeerTls>),
    credentials: Credentials,
    told: Told<'_>,
    (before, sqlite, pausing): (&reload::Before, &SqliteStore, &Pausing),
) -> anyhow::Result<(Reload, watch::Receiver<Arc<Revoked>>)> {
    let (revokes, revoked) = watch::channel(Arc::default());
    let parts = reloadable(config, certificates, credentials, (revokes, &pausing.rules), told);
    let pauser = pausing.pauser(reload::PAUSES_FOR, sqlite.reader()?);
    let counters = Arc::clone(&pausing.metrics);
    Ok((reload::spawn(parts, before, (counters, pauser))?, revoked))
}

/// What is read again while the process runs.
fn reloadable(
    config: &Resolved,
    (live, peers): (Vec<LiveTls>, Option<PeerTls>),
    credentials: Credentials,
    (api, pauses): (watch::Sender<Arc<Revoked>>, &Arc<PauseRules>),
    (shared, front, scheduler, devices): Told<'_>,
) -> Vec<Box<dyn Reloadable>> {
    let mailboxes = || shared.mailboxes.clone();
    let mut parts: Vec<Box<dyn Reloadable>> = Vec::new();
    if let Some(source) = config.source.clone() {
        parts.push(Box::new(Configuration {
            source,
            front: Arc::clone(front),
            devices: devices.cloned(),
            mailboxes: mailboxes(),
            service: shared.service.clone(),
            scheduler: scheduler.clone(),
            pauses: Arc::clone(pauses),
            needs_restart: Vec::new(),
        }));
    }
    if let Some(tls) = config.tls.clone() {
        let (mailboxes, links) = (mailboxes(), shared.links.clone());
        parts.push(Box::new(Certificates { tls, live, peers, mailboxes, links, api }));
    }
    parts.push(Box::new(credentials));
    let rights = config.rights.clone();
    parts.push(Box::new(RightsFiles { rights, mailboxes: mailboxes(), devices: devices.cloned() }));
    parts
}

pub(crate) fn policy(config: &Resolved) -> anyhow::Result<Arc<Policy>> {
    let policy = rights::load(&config.rights)?;
    if config.rights.denies_all() {
        tracing::warn!(
            "nobody may publish or subscribe: access.acl names no file, and access.allow_all is false"
        );
    }
    Ok(Arc::new(policy))
}

pub(crate) fn hub_config(
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
        workers: config.workers.get(),
        shadow: config.shadow.rules(),
        outbox_bytes: limits.outbox_bytes as usize,
        topic_alias_maximum: limits.topic_alias_maximum,
        topic_alias_out: limits.topic_alias_out,
        check_payload_format: config.mqtt.check_payload_format,
        response_topic: config.mqtt.response_topic.as_deref().map(Arc::from),
        user_properties: usize::from(limits.user_properties),
        match_steps: limits.match_steps as usize,
        match_steps_per_session: limits.match_steps_per_session as usize,
        match_steps_per_user: limits.match_steps_per_user as usize,
        remembered_topics: limits.remembered_topics as usize,
        classes: Arc::clone(&config.classes),
        seats: Arc::clone(seats),
        retained_messages: limits.retained_messages as usize,
        session_expiry_max_s: limits.session_expiry_max_s,
        packet_timeout: Duration::from_millis(u64::from(limits.packet_timeout_ms)),
        keep_alive_max_s: limits.keep_alive_max_s,
        advance: config.resume.advance(),
        flush: config.drain.flush,
        takeover_wait: config.drain.takeover_wait,
        stand_ins: Arc::clone(&config.stand_ins),
        presence: config.presence,
        sessions_change_hands: config.rights.sessions_change_hands,
        close_denied: config.rights.denied_publish_3x == DeniedPublish::Close,
        policy: Arc::clone(policy),
    })
}

pub(crate) fn duties(
    config: &Resolved,
    me: Member,
    store: &SqliteStore,
) -> anyhow::Result<ServiceConfig> {
    Ok(ServiceConfig {
        me,
        id: config.id.clone(),
        ttl: config.lease.ttl,
        renew: config.lease.renew,
        drain: config.drain,
        maintenance: config.maintenance.clone(),
        limits: config.limits,
        keep: config.resume.keep(),
        presence: config.presence,
        shadow: config.shadow.rules().limits,
        stays_out: scheduler::stays_out(&config.id.gateway(), &mut *store.reader()?)?,
    })
}
