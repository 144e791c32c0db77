//! One gateway process, put together: store, tables, threads, listeners, API.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use protocol::{Incarnation, Wall};
use store::{SqliteStore, Store as _};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::{Notify, watch};

use crate::accepts::Accepts;
use crate::authentication::{self, AuthenticationAsk, Porter};
use crate::caretaker::{Chore, ChoreSender};
use crate::cli::Exit;
use crate::committer::Order;
use crate::config::Resolved;
use crate::control::Control;
use crate::device_http::DeviceApi;
use crate::front::{self, Front};
use crate::http::HttpApi;
use crate::links::LinksHandle;
use crate::metrics::Metrics;
use crate::opening::open_store;
use crate::operator::Operator;
use crate::parts::{
    Devices, Switches, duties, http_tls, pausing, policy, share, start_caretaker, start_committer,
    start_http, start_reload, start_scheduler, start_service, start_tail, start_workers,
};
use crate::ports::{OpenDoor, Ports};
use crate::reload::{self, Credentials, Reload};
use crate::scheduler::{SchedulerConfig, SchedulerHandle, SchedulerSender};
use crate::service::{Member, ServiceAsk, SharedState, begin_life, last_berth};
use crate::succession::{self, Board, Holdings, Inheritance, RestartRequest, SuccessionSender};
use crate::tail::TailAsk;
use crate::worker::{Mail, Shared};

/// How a process was started, besides its configuration.
#[derive(Debug)]
pub struct Start {
    /// What it has of the process that it follows, if it follows one.
    pub inheritance: Option<Inheritance>,
    /// Whether it ends when standard input closes.
    pub lifeline: bool,
    /// Whether it was told to say more than its configuration does.
    pub verbose: bool,
    /// The program that runs, by the name that it had when it was started.
    pub program: PathBuf,
}

/// Runs a gateway until SIGTERM or SIGINT; clients are told to go elsewhere, sessions are written off, then it ends. It also
/// ends when a successor has all its clients.
///
/// # Errors
/// It could not start: the store, a certificate or an address cannot be used.
pub fn run(config: Resolved, start: Start) -> anyhow::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _span = tracing::info_span!("gateway", gateway = %config.id).entered();
    runtime.block_on(async {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let over = Arc::new(Notify::new());
        let mut restart = signal(SignalKind::user_defined2())?;
        let process = Process::start(config, start, &over).await?;
        let mut hang_up = signal(SignalKind::hangup())?;
        let again = Arc::clone(&process.again);
        let mut code = ExitCode::SUCCESS;
        loop {
            tokio::select! {
                () = over.notified() => break,
                _ = restart.recv() => process.restart(),
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
    devices: Option<DeviceApi>,
    links: Option<LinksHandle>,
    workers: Vec<std::thread::JoinHandle<()>>,
    service: std::thread::JoinHandle<()>,
    scheduler: SchedulerHandle,
    caretaker: (ChoreSender, std::thread::JoinHandle<()>),
    committer: std::thread::JoinHandle<()>,
    tail: std::thread::JoinHandle<()>,
    reload: Reload,
    succession: SuccessionSender,
    doors: watch::Sender<bool>,
    /// Told when the process is to end, so that it is started again.
    again: Arc<Notify>,
}

/// Which life of this gateway begins, and where: from here on its name in the fleet is that of its berth.
fn begin(
    config: &mut Resolved,
    store: &SqliteStore,
    before: Option<&Inheritance>,
) -> anyhow::Result<Incarnation> {
    config.id = match before {
        Some(before) if before.member().gateway() == config.id => before.member().clone(),
        Some(_) => anyhow::bail!("the configuration is that of another gateway"),
        None => last_berth(&config.id, &mut *store.reader()?)?,
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?;
    let wall = Wall(u64::try_from(now.as_millis())?);
    Ok(begin_life(&config.id, wall, &mut *store.reader()?)?)
}

/// Who meets new connections, and those that authenticate again.
fn start_front(
    config: &Resolved,
    shared: &Shared,
    metrics: &Metrics,
    (started, desk): (Instant, UnboundedReceiver<AuthenticationAsk>),
) -> anyhow::Result<(Arc<Front>, impl Future<Output = ()> + Send + use<>, Credentials)> {
    let porter = Arc::new(Porter::new(config.authentication.clone(), started)?);
    let mailboxes = shared.mailboxes.clone();
    let attend = authentication::attend(desk, Arc::clone(&porter), mailboxes.clone());
    let credentials = Credentials(Arc::clone(&porter));
    let (tables, counters) = (Arc::clone(&shared.tables), Arc::clone(metrics.process()));
    let front = Arc::new(Front::new(mailboxes, tables, config, porter, counters));
    Ok((front, attend, credentials))
}

/// What both sides of a restart in place share with the process.
struct Following<'a> {
    state: &'a Arc<SharedState>,
    board: &'a Arc<Board>,
    switches: Switches,
}

/// Follows the process before this one, if there is one, and is ready to be followed.
fn start_succession(
    config: &Resolved,
    ports: &Ports,
    inheritance: &mut Option<Inheritance>,
    Following { state, board, switches }: Following<'_>,
    (shared, start, over): (&Shared, &Start, &Arc<Notify>),
) -> anyhow::Result<SuccessionSender> {
    let clients = switches.clients.0;
    if let Some(before) = inheritance.take() {
        let files = ports.files();
        let own = move || files.iter().for_each(|file| file.own(true));
        before.accede(Arc::clone(state), Arc::clone(&clients), Arc::clone(board), own)?;
    }
    let holdings = Holdings {
        listeners: ports.copies()?,
        peers: ports.peers(config),
        clients,
        peer_port: switches.peers.0,
        files: ports.files(),
        member: config.id.clone(),
        program: start.program.clone(),
        configuration: config.source.as_ref().map(|source| source.path().to_owned()),
        lifeline: start.lifeline,
        verbose: start.verbose,
    };
    let seen = (Arc::clone(state), Arc::clone(board));
    Ok(succession::spawn(holdings, shared.clone(), seen, Arc::clone(over))?)
}

impl Process {
    async fn start(config: Resolved, mut start: Start, over: &Arc<Notify>) -> anyhow::Result<Self> {
        let mut inheritance = start.inheritance.take();
        let started = Self::prepare(config, &mut inheritance, (&start, over)).await;
        if let (Err(error), Some(before)) = (&started, &mut inheritance) {
            before.fail(&format!("{error:#}"));
        }
        started
    }

    /// Follows this process by another one, as a signal asks.
    fn restart(&self) {
        let succession = self.succession.clone();
        let asked = crate::logging::thread("restart", move || {
            // What came of it, the log says.
            let _ = succession.restart(RestartRequest::default());
        });
        if let Err(error) = asked {
            tracing::error!("no restart in place: {error}");
        }
    }

    async fn prepare(
        mut config: Resolved,
        inheritance: &mut Option<Inheritance>,
        (start, over): (&Start, &Arc<Notify>),
    ) -> anyhow::Result<Self> {
        front::fit_descriptors(&mut config.limits);
        let started = Instant::now();
        // Before the first of them is read.
        let before = reload::Before::of(config.files());
        let policy = policy(&config)?;
        let sqlite = open_store(&config, inheritance.is_some())?;
        let incarnation = begin(&mut config, &sqlite, inheritance.as_ref())?;
        // Every port first: nothing is written for a process that cannot serve.
        let ports = Ports::open(&config, inheritance.as_mut())?;
        // What a process that is followed still serves is left to it.
        let switches = Switches::new(inheritance.is_none());
        let metrics = Metrics::new(config.workers.get()).showing(config.limits.metric_labels);
        let told = (incarnation, &metrics);
        let (shared, inboxes, (links, peers)) = share(&config, started, told, (&ports, &switches))?;
        let tail = start_tail(&config, &sqlite, (&shared, incarnation), inboxes.tail)?;
        let committer = start_committer(&config, &sqlite, &shared, &metrics, inboxes.orders)?;
        let workers = start_workers(&config, incarnation, &policy, (&shared, &metrics))?;
        let (front, attend, credentials) =
            start_front(&config, &shared, &metrics, (started, inboxes.desk))?;
        let http_tls = http_tls(&config)?;
        let devices = Devices::of(&config, &policy, &metrics, &credentials)?;
        let secure = (ports.certificates([http_tls.as_ref(), devices.tls.as_ref()]), peers);
        let schedule = SchedulerSender::channel(config.maintenance.roles.clone());
        let told = (&shared, &front, &schedule.0, devices.rules.as_ref());
        let read = (&before, &sqlite, &pausing(&config, incarnation, (&shared, &metrics)));
        let (reload, revoked) = start_reload(&config, secure, credentials, told, read)?;
        if let Some(before) = inheritance {
            // From here on it is seen by others.
            before.wait_for_go()?;
            switches.peers.0.set(true);
        }
        let (state, me) = (Arc::new(SharedState::default()), Member::of(&config, incarnation));
        let (board, accepts) = (Arc::new(Board::default()), switches.clients.1.clone());
        let following = Following { state: &state, board: &board, switches };
        let succession =
            start_succession(&config, &ports, inheritance, following, (&shared, start, over))?;
        let tools = (reload.sender(), succession.clone(), Arc::clone(&board));
        let senders = (reload.sender(), schedule.0.clone(), succession.clone(), sqlite.reader()?);
        let seen = (Arc::clone(&state), board, config.shadow.rules().limits);
        let operator =
            Operator::new(shared.clone(), me.record.clone(), seen, metrics.clone(), senders);
        let operator: Arc<dyn Control> = Arc::new(operator);
        let (http, seen) = ((ports.http, accepts.clone()), (&shared, &front, &metrics));
        let devices =
            devices.start(&config, (ports.devices, &accepts), seen, (&revoked, &operator))?;
        let api = start_http(&config, http, (http_tls, revoked), (operator, &metrics))?;
        let (again, store) = (Arc::<Notify>::default(), (&sqlite, &shared));
        let facts = SchedulerConfig::of(&config, (incarnation, &start.program), &again, tools);
        let scheduler = start_scheduler(facts, store, (&state, &metrics), schedule)?;
        let caretaker = start_caretaker(&sqlite, read.2)?;
        let looked_after = (Arc::clone(&front), state, metrics);
        let told = (caretaker.0.clone(), inboxes.service);
        let service = start_service(duties(&config, me, &sqlite)?, store, looked_after, told)?;
        let (stop, stopped) = watch::channel(false);
        serve_doors(&ports.doors, config.front_threads, &front, attend, (&accepts, &stopped))?;
        Ok(Self {
            shared,
            front,
            api,
            devices,
            links,
            workers,
            service,
            scheduler,
            caretaker,
            committer,
            tail,
            reload,
            succession,
            doors: stop,
            again,
        })
    }

    /// In the order in which they need each other.
    fn stop(self) {
        self.front.admit(front::Admission::NotYet);
        self.succession.end();
        self.reload.stop();
        // Workers answer what it asks.
        drop(self.devices);
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

/// Each of the front's threads accepts and greets for all doors. Clients that authenticate again have a thread of their own:
/// they are here already, and do not wait behind those who come.
fn serve_doors(
    doors: &[OpenDoor],
    threads: NonZeroUsize,
    front: &Arc<Front>,
    attend: impl Future<Output = ()> + Send + 'static,
    (accepts, stopped): (&Accepts, &watch::Receiver<bool>),
) -> anyhow::Result<()> {
    for _ in 0..threads.get() {
        let tray = Arc::new(front.tray());
        let mut serving = Vec::new();
        for (bound, door) in doors {
            let inside = (Arc::clone(front), Arc::clone(&tray));
            let told = (accepts.clone(), stopped.clone());
            serving.push(front::serve(bound.share()?, Arc::clone(door), inside, told));
        }
        let serve = async move {
            serving.into_iter().for_each(|serve| drop(tokio::spawn(serve)));
            // As a task it is woken without a system call.
            tokio::spawn(async move { tray.carry().await });
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
