//! The scheduler's thread: in every gateway it answers for its host, and in one it holds the lease.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use maintenance::audit::AuditEntry;
use maintenance::fleet::{Term, VisitId};
use maintenance::{Lease, LeaseWatch};
use protocol::{GatewayId, Incarnation};
use store::{Expect, Reader};
use tokio::sync::Notify;

use super::acts::WriteOffRequest;
use super::arrivals::Arrivals;
use super::ask::{SchedulerAsk, SchedulerSender};
use super::asker::Asker;
use super::documents::{DocumentError, Documents};
use super::host::{HostDocument, HostFacts, Measured, Speaker};
use super::messenger::Messenger;
use super::notices::Notices;
use super::own_needs::NeedSources;
use super::planned::{Planning, tell_needs};
use super::status::SchedulerStatus;
use super::visits::Body;
use super::works::Tools;
use crate::async_thread::AsyncThread;
use crate::config::{Prometheus, Resolved, Webhook};
use crate::control::{ControlError, GatewayState};
use crate::hub::LiveGateway;
use crate::metrics::Metrics;
use crate::outbound::OutboundTlsError;
use crate::reload::ReloadSender;
use crate::service::SharedState;
use crate::succession::{Board, SuccessionSender};
use crate::worker::Shared;

/// Where the lease stands.
const LEASE: &str = "scheduler";
/// Where its term stands, for what is written beside the documents: 8 bytes, the highest first.
pub(super) const REIGN: &str = "reign";
/// How often the loop looks at its own state.
const BEAT: Duration = Duration::from_millis(250);
/// How often it looks at the lease.
const LOOK: Duration = Duration::from_secs(1);

/// What the thread must know.
#[derive(Debug)]
pub struct SchedulerConfig {
    /// What this gateway says of itself.
    pub facts: HostFacts,
    /// Where this life of the gateway lies.
    pub berth: GatewayId,
    /// How long the scheduler's lease is good.
    pub lasts: Duration,
    /// How many policies, freezes and pending operations there may be, each.
    pub most: usize,
    /// Told when the process is to end, so that it is started again.
    pub again: Arc<Notify>,
    /// What the works of visits are done with.
    pub tools: Tools,
    /// Entries of the audit that are kept.
    pub audit_entries: u64,
    /// Whom to tell what happens, and the name of the fleet.
    pub webhook: Option<(Webhook, String)>,
    /// Whether what has come of visits is told over MQTT.
    pub notices: bool,
    /// Whom to ask whether the queries of gates hold.
    pub prometheus: Option<Prometheus>,
}

impl SchedulerConfig {
    /// As configured, for one life of the gateway, which was started as this program, and tells `again` when it is to be followed by
    /// another.
    pub fn of(
        config: &Resolved,
        (incarnation, program): (Incarnation, &Path),
        again: &Arc<Notify>,
        (reload, succession, board): (ReloadSender, SuccessionSender, Arc<Board>),
    ) -> Self {
        let needs = NeedSources {
            certificate: config.tls.as_ref().map(|tls| tls.cert.clone()),
            program: Some(program.to_owned()),
            reboot: config.maintenance.reboot_required.clone(),
            settings: Vec::new(),
        };
        let facts = HostFacts {
            id: config.id.gateway(),
            incarnation,
            labels: config.maintenance.labels.clone(),
            zone: config.maintenance.zone.clone(),
            connections: config.limits.connections,
            messages_per_s: config.maintenance.messages_per_s,
            drain: config.drain,
            needs,
        };
        let most = config.limits.maintenance_documents as usize;
        let audit_entries = config.limits.audit_entries.into();
        let (berth, lasts) = (config.id.clone(), config.maintenance.scheduler_lasts);
        let tools = Tools::new(config, reload, (succession, board));
        let webhook = config.maintenance.webhook.clone().map(|it| (it, config.fleet.clone()));
        let notices = config.maintenance.notices;
        let prometheus = config.maintenance.prometheus.clone();
        Self {
            facts,
            berth,
            lasts,
            most,
            audit_entries,
            again: Arc::clone(again),
            tools,
            webhook,
            notices,
            prometheus,
        }
    }
}

/// Answers for its host and takes its turn as scheduler.
#[derive(Debug)]
pub struct Scheduler {
    pub(super) id: GatewayId,
    berth: GatewayId,
    lasts: Duration,
    pub(super) most: usize,
    /// Entries of the audit that are kept.
    pub(super) audit_entries: u64,
    pub(super) shared: Shared,
    pub(super) state: Arc<SharedState>,
    pub(super) metrics: Metrics,
    pub(super) documents: Documents,
    pub(super) watch: LeaseWatch,
    pub(super) planning: Planning,
    pub(super) speaker: Speaker,
    pub(super) body: Body,
    /// Hosts that are gone in the middle of a visit, and since when, by the steady clock.
    pub(super) silent: BTreeMap<GatewayId, Duration>,
    /// Why visits that are due do not begin, as was said last.
    pub(super) waiting: BTreeMap<VisitId, String>,
    pub(super) again: Arc<Notify>,
    pub(super) tools: Tools,
    webhook: Option<(Webhook, String)>,
    prometheus: Option<Prometheus>,
    pub(super) notices: Notices,
    pub(super) arrivals: Arrivals,
    term: Option<Term>,
    /// Whether it has said that the store does not let it work; once is enough.
    is_silent: bool,
}

/// The running thread.
#[derive(Debug)]
pub struct SchedulerHandle {
    sender: SchedulerSender,
    thread: JoinHandle<()>,
    messenger: Option<AsyncThread>,
    asker: Option<AsyncThread>,
}

/// Why the thread cannot start; the operator's to mend.
#[derive(Debug, thiserror::Error)]
pub enum SchedulerError {
    /// The system has no more threads.
    #[error("the scheduler cannot be started")]
    Io(#[from] std::io::Error),
    /// Whom it tells cannot be known by what is configured.
    #[error("maintenance.webhook cannot be used")]
    Webhook(#[source] OutboundTlsError),
    /// Whom it asks cannot be known by what is configured.
    #[error("maintenance.prometheus cannot be used")]
    Prometheus(#[source] OutboundTlsError),
}

/// Starts the thread, which reads what is sent to it.
///
/// # Errors
/// [`SchedulerError`].
pub fn spawn(
    mut scheduler: Scheduler,
    (sender, asks): (SchedulerSender, Receiver<SchedulerAsk>),
) -> Result<SchedulerHandle, SchedulerError> {
    let messenger = match scheduler.webhook.take() {
        Some((webhook, fleet)) => {
            let metrics = scheduler.metrics.clone();
            let messenger = Messenger::new(webhook, fleet, sender.clone(), metrics);
            Some(messenger.map_err(SchedulerError::Webhook)?.spawn()?)
        }
        None => None,
    };
    let asker = match scheduler.prometheus.take() {
        Some(whom) => {
            let asker = Asker::new(whom, sender.clone(), scheduler.metrics.clone());
            Some(asker.map_err(SchedulerError::Prometheus)?.spawn()?)
        }
        None => None,
    };
    let thread = crate::logging::thread("scheduler", move || scheduler.run(&asks))?;
    Ok(SchedulerHandle { sender, thread, messenger, asker })
}

impl SchedulerHandle {
    /// Ends the thread, once it has said goodbye; the store must still take writes.
    pub fn stop(self) {
        // They ask the scheduler, so they end before it.
        drop(self.messenger);
        drop(self.asker);
        self.sender.send(SchedulerAsk::Stop);
        let _ = self.thread.join();
    }
}

impl Scheduler {
    /// Looks after a gateway from now on.
    pub fn new(
        config: SchedulerConfig,
        shared: Shared,
        (state, metrics): (Arc<SharedState>, Metrics),
        reader: Box<dyn Reader>,
    ) -> Self {
        let SchedulerConfig {
            facts,
            berth,
            lasts,
            most,
            audit_entries,
            again,
            tools,
            webhook,
            notices,
            prometheus,
        } = config;
        let (id, incarnation) = (facts.id.clone(), facts.incarnation);
        let documents = Documents::new(reader, shared.committer.clone());
        let watch = LeaseWatch::new(id.clone(), incarnation);
        let speaker = Speaker::new(facts);
        Self {
            id,
            berth,
            lasts,
            most,
            audit_entries,
            shared,
            state,
            metrics,
            documents,
            watch,
            planning: Planning::default(),
            speaker,
            body: Body::default(),
            silent: BTreeMap::new(),
            waiting: BTreeMap::new(),
            again,
            tools,
            webhook,
            prometheus,
            notices: Notices::new(notices),
            arrivals: Arrivals::default(),
            term: None,
            is_silent: false,
        }
    }

    fn run(&mut self, asks: &Receiver<SchedulerAsk>) {
        self.recall();
        let (mut look, mut rest) = (Instant::now(), BEAT);
        loop {
            match asks.recv_timeout(rest) {
                Ok(SchedulerAsk::Stop) | Err(RecvTimeoutError::Disconnected) => {
                    return self.say_goodbye();
                }
                Ok(ask) => self.handle(ask),
                Err(RecvTimeoutError::Timeout) => {}
            }
            // All of them before the next step of a visit: it may rest on new settings.
            while let Ok(ask) = asks.try_recv() {
                if matches!(ask, SchedulerAsk::Stop) {
                    return self.say_goodbye();
                }
                self.handle(ask);
            }
            let looks = Instant::now() >= look;
            if looks {
                look = Instant::now() + LOOK;
            }
            // While a visit goes on, its next step need not wait.
            rest = if self.beat(looks) { Duration::ZERO } else { BEAT };
        }
    }

    /// Speaks, looks at the fleet if it is time to, and goes on with the visit of its host. Answers whether there may be more
    /// to do at once.
    pub(super) fn beat(&mut self, looks: bool) -> bool {
        let state = self.state.get();
        let measured = self.measure(state);
        if self.speaker.is_due(measured, self.shared.now().mono) {
            let spoken = self.speak(measured);
            self.heard(spoken);
        }
        let counted = self.count_arrivals(state);
        self.heard(counted);
        if looks {
            let looked = self.look(self.may_hold(state));
            self.heard(looked);
            let walked = self.walk();
            self.heard(walked);
            let folded = self.fold_audit();
            self.heard(folded);
            // After that: what is over is not planned again.
            self.plan();
            let kept = self.keep_agenda();
            self.heard(kept);
            self.tell_ledger();
            let judged = self.tell_margin();
            self.heard(judged);
        }
        // What goes on with a visit is the successor's, if there is one. Who does not know yet what it is can answer no
        // question about one.
        let waits = self.is_followed(state) || state == GatewayState::Starting;
        let carried = if waits { Ok(false) } else { self.carry() };
        let more = matches!(carried, Ok(true));
        self.heard(carried.map(drop));
        more
    }

    fn handle(&mut self, ask: SchedulerAsk) {
        let unavailable = |error: DocumentError| ControlError::Unavailable(error.to_string());
        match ask {
            SchedulerAsk::Hosts(answer) => answer.with(|| self.hosts().map_err(unavailable)),
            SchedulerAsk::Lease(answer) => answer.with(|| self.status().map_err(unavailable)),
            SchedulerAsk::WriteOff(request, by, answer) => {
                answer.with(|| self.write_off(&request, &by));
            }
            SchedulerAsk::Audit(after, max, answer) => {
                answer.with(|| self.documents.audit(after, max));
            }
            SchedulerAsk::Act(act) => act.run(self),
            SchedulerAsk::Visits(answer) => answer.with(|| self.visits()),
            SchedulerAsk::Order(request, by, answer) => {
                answer.with(|| self.order(&request, &by));
            }
            SchedulerAsk::Settings(settings) => {
                self.lasts = settings.maintenance.scheduler_lasts;
                self.most = settings.limits.maintenance_documents as usize;
                self.audit_entries = settings.limits.audit_entries.into();
                self.metrics.allow_labels(settings.limits.metric_labels);
                self.tools.set(&settings);
                self.notices.is_on = settings.maintenance.notices;
                self.speaker.facts.set(&settings);
                self.speaker.forget();
            }
            SchedulerAsk::NeedsRestart(settings) => {
                self.speaker.facts.needs.settings = settings;
                self.speaker.forget();
            }
            SchedulerAsk::Stop => {}
        }
    }

    /// What an earlier life of this gateway has learned.
    pub(super) fn recall(&mut self) {
        match self.documents.get::<HostDocument>(&HostDocument::key(&self.id)) {
            Ok(Some((HostDocument { history, answer, .. }, _))) => {
                self.speaker.history = history.recalled(&answer.forecast);
            }
            Ok(None) => {}
            Err(error) => tracing::warn!("what was learned of the load is lost: {error}"),
        }
    }

    /// Answers for this gateway; the document is its own, and nobody else writes it.
    fn speak(&mut self, measured: Measured) -> Result<(), DocumentError> {
        if self.is_followed(measured.state) {
            return Ok(());
        }
        let document = self.speaker.answer(measured, self.shared.now());
        tell_needs(self.metrics.process(), &document.answer.needs);
        self.documents.put(&HostDocument::key(&self.id), &document, Expect::Any)
    }

    /// How this gateway is now.
    pub(super) fn measure(&self, state: GatewayState) -> Measured {
        let links = self.shared.links.as_ref().map(|links| links.peers()).unwrap_or_default();
        Measured {
            state,
            connections: self.metrics.sum(|w| &w.connections),
            sessions: self.metrics.sum(|w| &w.sessions),
            publications: self.metrics.publications(),
            others_serve: self.others_serve(),
            unreachable: links.iter().filter(|link| !link.up).count(),
        }
    }

    fn others_serve(&self) -> bool {
        self.shared.tables.others_serve(&self.berth)
    }

    /// Whether a successor speaks for the gateway.
    pub(super) fn is_followed(&self, state: GatewayState) -> bool {
        let next = self.berth.other_berth();
        let gateways = self.shared.tables.gateways();
        state != GatewayState::Serving && gateways.iter().any(|it| it.id == next && it.serving)
    }

    /// Who serves comes first. Where nobody does, somebody must plan all the same.
    fn may_hold(&self, state: GatewayState) -> bool {
        match state {
            GatewayState::Serving => true,
            GatewayState::Announced
            | GatewayState::Refusing
            | GatewayState::Moving
            | GatewayState::Quiesced => !self.others_serve(),
            GatewayState::Starting | GatewayState::Stopping => false,
        }
    }

    /// Looks at the lease, and takes, renews or gives it away.
    fn look(&mut self, may_hold: bool) -> Result<(), DocumentError> {
        let stored = self.documents.get::<Lease>(LEASE)?;
        let (lease, rev) = stored.unzip();
        let now = self.shared.now();
        if let Some(next) = self.watch.look(lease.as_ref(), now, (may_hold, self.lasts)) {
            let expect = rev.map_or(Expect::Absent, Expect::Rev);
            let reign = next.term.0.to_be_bytes().to_vec();
            let reign = Documents::put_bytes(REIGN, reign, Expect::Any);
            let lease = Documents::put_of(LEASE, &next, expect)?;
            match self.documents.write(vec![lease, reign]) {
                Ok(()) => self.watch.handle_written(next, now.mono),
                // Somebody was quicker: the next look sees who.
                Err(DocumentError::Conflict { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        self.tell_term();
        Ok(())
    }

    fn tell_term(&mut self) {
        let term = self.watch.held(self.shared.now().mono);
        if term == self.term {
            return;
        }
        let metrics = self.metrics.process();
        metrics.scheduler.set(u64::from(term.is_some()));
        match term {
            Some(Term(number)) => {
                metrics.scheduler_terms.add(1);
                tracing::info!("this gateway is the fleet's scheduler, in term {number}");
            }
            None => tracing::info!("this gateway is not the fleet's scheduler any more"),
        }
        self.term = term;
    }

    /// Who lives can still do that itself, and would go on.
    fn write_off(
        &mut self,
        request: &WriteOffRequest,
        by: &str,
    ) -> Result<AuditEntry, ControlError> {
        let lives = |gateway: &LiveGateway| gateway.id.gateway().as_str() == request.host;
        if self.shared.tables.gateways().iter().any(lives) {
            let why = format!("{} lives; undrain it, or stop it first", request.host);
            return Err(ControlError::Refused(why));
        }
        self.documents.write_off(request, by, self.shared.now().wall)
    }

    fn status(&mut self) -> Result<SchedulerStatus, DocumentError> {
        let lease = self.documents.get::<Lease>(LEASE)?.map(|(lease, _)| lease);
        Ok(SchedulerStatus { lease, term_held_here: self.watch.held(self.shared.now().mono) })
    }

    /// So that nobody waits for it.
    pub(super) fn say_goodbye(&mut self) {
        let looked = self.look(false);
        self.heard(looked);
        let spoken = self.speak(self.measure(GatewayState::Stopping));
        self.heard(spoken);
    }

    fn heard<E: std::fmt::Display>(&mut self, result: Result<(), E>) {
        match result {
            Ok(()) => self.is_silent = false,
            Err(error) => {
                if !self.is_silent {
                    tracing::warn!("maintenance waits: {error}");
                }
                self.is_silent = true;
            }
        }
    }
}
