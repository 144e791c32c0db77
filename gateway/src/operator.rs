//! What operators see of a running process, and what they may ask of it.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use access::BanOn;
use fanout::InterestSize;
use maintenance::audit::AuditEntry;
use protocol::{ClientId, GatewayId};
use shadow::ShadowLimits;
use store::Reader;

use crate::bans::{Ban, NewBan};
use crate::control::{
    ClientStatus, Control, ControlError, DrainRequest, DrainStatus, GatewayRecord, GatewayState,
    GatewayStatus, PeerInterest, PeerStatus, PeerTraffic, Readiness, ReloadReport,
};
use crate::links::{LinkStatus, Traffic};
use crate::metrics::Metrics;
use crate::presence::{ClientControl, Registrar};
use crate::reload::ReloadSender;
use crate::reply::Reply;
use crate::scheduler::{
    AuditPage, HostStatus, MaintenanceControl, OrderRequest, SchedulerAsk, SchedulerSender,
    SchedulerStatus, VisitDocument, WriteOffRequest,
};
use crate::service::{ServiceAsk, SharedState};
use crate::sessions::SessionStatus;
use crate::shadows::Shadows;
use crate::succession::{Board, RestartRequest, RestartStatus, SuccessionSender};
use crate::tail::TailAsk;
use crate::worker::{Mail, Shared};

/// The operators' side of a process.
#[derive(Debug)]
pub struct Operator {
    shared: Shared,
    record: GatewayRecord,
    state: Arc<SharedState>,
    metrics: Metrics,
    reload: ReloadSender,
    scheduler: SchedulerSender,
    succession: SuccessionSender,
    board: Arc<Board>,
    registrar: Registrar,
    shadows: Shadows,
}

/// How long the log's follower may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);

impl Operator {
    /// Looks at these.
    pub fn new(
        shared: Shared,
        record: GatewayRecord,
        (state, board, limits): (Arc<SharedState>, Arc<Board>, ShadowLimits),
        metrics: Metrics,
        (reload, scheduler, succession, reader): (
            ReloadSender,
            SchedulerSender,
            SuccessionSender,
            Box<dyn Reader>,
        ),
    ) -> Self {
        let registrar = Registrar::new(shared.clone(), reader);
        let shadows = Shadows::new(shared.mailboxes.clone(), shared.tail.clone(), limits);
        Self {
            shared,
            record,
            state,
            metrics,
            reload,
            scheduler,
            succession,
            board,
            registrar,
            shadows,
        }
    }

    /// Has the housekeeper do something, and waits for what came of it.
    fn ask<T>(
        &self,
        ask: impl FnOnce(Reply<Result<T, ControlError>>) -> ServiceAsk,
    ) -> Result<T, ControlError> {
        self.shared.service.ask(ask).map_err(|silence| silence.of("housekeeper"))?
    }
}

impl Control for Operator {
    fn shadows(&self) -> &Shadows {
        &self.shadows
    }

    fn status(&self) -> GatewayStatus {
        GatewayStatus {
            id: name_of(&self.record.id),
            incarnation: self.record.incarnation,
            state: self.state.get(),
            connections: self.metrics.sum(|w| &w.connections),
            sessions: self.metrics.sum(|w| &w.sessions),
            workers: self.shared.mailboxes.len(),
            log_seq: self.shared.frontier.applied().0,
            uptime_s: self.shared.now().mono.as_secs(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            addresses: self.record.addresses.clone(),
        }
    }

    fn readiness(&self) -> Readiness {
        let state = self.state.get();
        if state != GatewayState::Serving {
            return Readiness::NotReady { reason: format!("the gateway is {}", state.as_str()) };
        }
        if self.metrics.process().store_writable.get() == 0 {
            return Readiness::NotReady { reason: "the store cannot be written".to_owned() };
        }
        Readiness::Ready
    }

    fn peers(&self) -> Vec<PeerStatus> {
        let Some(links) = &self.shared.links else { return Vec::new() };
        let rev = self.shared.tables.routes().interest_rev();
        let status = |link: LinkStatus| {
            let index = self.shared.tables.peer_index(&link.gateway);
            let interest = index.map(|index| self.shared.tables.routes().peer_interest(index));
            peer_status(link, rev, interest.unwrap_or_default())
        };
        links.peers().into_iter().map(status).collect()
    }

    fn gateways(&self) -> Vec<GatewayRecord> {
        let mut records = self.shared.service.ask(ServiceAsk::Gateways).unwrap_or_default();
        records.iter_mut().for_each(|record| record.id = name_of(&record.id));
        records
    }

    fn clients(&self, after: Option<String>, max: usize) -> Vec<ClientStatus> {
        let answers = self.shared.ask_workers(Mail::Clients);
        let mut clients: Vec<_> = answers.into_iter().flatten().flatten().collect();
        clients.sort_by(|a, b| a.client_id.cmp(&b.client_id));
        clients.retain(|c| after.as_ref().is_none_or(|after| c.client_id > *after));
        clients.truncate(max);
        clients
    }

    fn session(&self, client: String) -> Result<Option<SessionStatus>, ControlError> {
        let Ok(client) = ClientId::new(&client) else { return Ok(None) };
        let unavailable = || ControlError::Unavailable("the store cannot be read".into());
        let (sender, receiver) = channel();
        let asked = self.shared.tail.send(TailAsk::Session(client.clone(), sender));
        let found = asked.ok().and_then(|()| receiver.recv_timeout(PATIENCE).ok()).flatten();
        let (doc, queue) = found.ok_or_else(unavailable)?;
        let live = self.shared.ask_workers(|answer| Mail::Waiting(client.clone(), answer));
        let live = live.into_iter().flatten().flatten().next();
        let status = SessionStatus::of(&client, doc.as_ref(), queue, live);
        if status.is_none() && doc.is_some() {
            let why = "the session is there, and its document cannot be read";
            return Err(ControlError::Unavailable(why.into()));
        }
        Ok(status)
    }

    fn start_drain(&self, request: DrainRequest, by: String) -> Result<DrainStatus, ControlError> {
        self.ask(|answer| ServiceAsk::StartDrain(request, by, answer))
    }

    fn drain(&self) -> Option<DrainStatus> {
        self.shared.service.ask(ServiceAsk::Drain).ok().flatten()
    }

    fn abort_drain(&self, by: String) -> Result<DrainStatus, ControlError> {
        self.ask(|answer| ServiceAsk::AbortDrain(by, answer))
    }

    fn undrain(&self, by: String) -> Result<GatewayStatus, ControlError> {
        self.ask(|answer| ServiceAsk::Undrain(by, answer))?;
        Ok(self.status())
    }

    fn reload(&self) -> Result<ReloadReport, ControlError> {
        let late = || ControlError::Unfinished("the files are not read in time".into());
        self.reload.reload().ok_or_else(late)
    }

    fn restart(&self, request: RestartRequest) -> Result<RestartStatus, ControlError> {
        self.succession.restart(request)
    }

    fn restart_status(&self) -> Option<RestartStatus> {
        self.board.get()
    }

    fn bans(&self) -> Result<Vec<Ban>, ControlError> {
        self.ask(ServiceAsk::Bans)
    }

    fn add_ban(&self, new: NewBan) -> Result<Ban, ControlError> {
        self.ask(|answer| ServiceAsk::AddBan(new, answer))
    }

    fn remove_ban(&self, on: BanOn, by: String) -> Result<Option<Ban>, ControlError> {
        self.ask(|answer| ServiceAsk::RemoveBan(on, by, answer))
    }

    fn visits(&self) -> serde_json::Value {
        self.shared.service.ask(ServiceAsk::Visits).unwrap_or_default()
    }

    fn hosts(&self) -> Result<Vec<HostStatus>, ControlError> {
        self.scheduler.ask(SchedulerAsk::Hosts)
    }

    fn scheduler(&self) -> Result<SchedulerStatus, ControlError> {
        self.scheduler.ask(SchedulerAsk::Lease)
    }

    fn write_off(&self, request: WriteOffRequest, by: String) -> Result<AuditEntry, ControlError> {
        self.scheduler.ask(|answer| SchedulerAsk::WriteOff(request, by, answer))
    }

    fn audit(&self, after: u64, max: usize) -> Result<AuditPage, ControlError> {
        self.scheduler.ask(|answer| SchedulerAsk::Audit(after, max, answer))
    }

    fn executions(&self) -> Result<Vec<VisitDocument>, ControlError> {
        self.scheduler.ask(SchedulerAsk::Visits)
    }

    fn order(&self, request: OrderRequest, by: String) -> Result<VisitDocument, ControlError> {
        self.scheduler.ask(|answer| SchedulerAsk::Order(request, by, answer))
    }

    fn clients_of_fleet(&self) -> &dyn ClientControl {
        &self.registrar
    }

    fn maintenance(&self) -> &dyn MaintenanceControl {
        &self.scheduler
    }
}

/// The gateway, whichever of its berths a life lies at.
fn name_of(member: &str) -> String {
    GatewayId::new(member).map_or_else(|_| member.to_owned(), |id| id.gateway().as_str().to_owned())
}

/// A link as operators see it; `rev` is the revision of our interest, `interest` what the peer told us.
fn peer_status(link: LinkStatus, rev: u64, interest: InterestSize) -> PeerStatus {
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let traffic = |it: Traffic| PeerTraffic { forwards: it.forwards, bytes: it.bytes };
    PeerStatus {
        id: link.gateway.as_str().to_owned(),
        address: link.address,
        up: link.up,
        since_ms: ms(link.since),
        incarnation: link.incarnation.0,
        version: link.version,
        interest_acked: link.acked_interest >= rev,
        interest: PeerInterest {
            exact: interest.exact as u64,
            wildcard: interest.wildcard as u64,
            shared: interest.shared as u64,
        },
        log_applied: link.poked.0,
        queue_len: link.unacknowledged,
        queue_bytes: link.unacknowledged_bytes,
        oldest_ms: link.oldest.map(ms),
        credit: link.credit,
        granted: link.granted,
        sent: traffic(link.sent),
        received: traffic(link.received),
        dropped: link.dropped,
    }
}
