//! What the HTTP API and the scheduler may ask of the running process.
//!
//! The calls are short and may block for a few milliseconds; they run on the HTTP thread, never on a worker.

use access::BanOn;
use maintenance::audit::AuditEntry;
use maintenance::{MoveBudget, OnTimeout, Profile};
use serde::{Deserialize, Serialize};

use crate::bans::{Ban, NewBan};
use crate::presence::ClientControl;
use crate::scheduler::{
    AuditPage, HostStatus, MaintenanceControl, OrderRequest, SchedulerStatus, VisitDocument,
    WriteOffRequest,
};
use crate::sessions::SessionStatus;
use crate::shadows::Shadows;
use crate::succession::{RestartRequest, RestartStatus};

/// The running gateway process, seen by whoever operates it.
pub trait Control: Send + Sync + 'static {
    /// What this gateway is and does now.
    fn status(&self) -> GatewayStatus;

    /// Whether new clients should be sent here.
    fn readiness(&self) -> Readiness;

    /// Every peer gateway this process knows, up or down.
    fn peers(&self) -> Vec<PeerStatus>;

    /// The live gateways of the fleet, as recorded in the store.
    fn gateways(&self) -> Vec<GatewayRecord>;

    /// Up to `max` clients owned here, in order of client id, starting behind `after`.
    fn clients(&self, after: Option<String>, max: usize) -> Vec<ClientStatus>;

    /// A client's session, wherever in the fleet it is served; none if it has none.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn session(&self, client: String) -> Result<Option<SessionStatus>, ControlError>;

    /// Begins to drain this gateway, in the name of an operator; a second one is refused while the first runs.
    ///
    /// # Errors
    /// Refused when a drain runs already, nobody could take the clients, a freeze is in force, or the ledger grants no slot.
    fn start_drain(&self, request: DrainRequest, by: String) -> Result<DrainStatus, ControlError>;

    /// The drain that runs, or the last one that ended.
    fn drain(&self) -> Option<DrainStatus>;

    /// Stops the running drain and serves again, in the name of an operator.
    ///
    /// # Errors
    /// Refused when no drain runs or it has passed the point of no return.
    fn abort_drain(&self, by: String) -> Result<DrainStatus, ControlError>;

    /// Serves again after a drain has ended, in the name of an operator; gives the ledger's slot back.
    ///
    /// # Errors
    /// Refused when this gateway is not drained.
    fn undrain(&self, by: String) -> Result<GatewayStatus, ControlError>;

    /// Reads certificates, authorities, lists of revoked certificates and access files again.
    ///
    /// # Errors
    /// The process does not answer. A file that cannot be used is in the report.
    fn reload(&self) -> Result<ReloadReport, ControlError>;

    /// Begins a restart in place: a successor takes over on the same host.
    ///
    /// # Errors
    /// Refused when there can be no successor, or the gateway is in the wrong state.
    fn restart(&self, request: RestartRequest) -> Result<RestartStatus, ControlError>;

    /// The restart that goes on, or the last one that this process had a part in.
    fn restart_status(&self) -> Option<RestartStatus>;

    /// The bans of the fleet that hold.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn bans(&self) -> Result<Vec<Ban>, ControlError>;

    /// Bans somebody in the whole fleet, or changes the ban that there is.
    ///
    /// # Errors
    /// Refused when there are as many as there may be.
    fn add_ban(&self, new: NewBan) -> Result<Ban, ControlError>;

    /// Lifts a ban, in the name of an operator; none if there was none.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn remove_ban(&self, on: BanOn, by: String) -> Result<Option<Ban>, ControlError>;

    /// The maintenance ledger as this gateway last read it: slots, visits, next windows.
    fn visits(&self) -> serde_json::Value;

    /// Every registered gateway as maintenance sees it, with its last answer.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn hosts(&self) -> Result<Vec<HostStatus>, ControlError>;

    /// Who plans the maintenance of the fleet.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn scheduler(&self) -> Result<SchedulerStatus, ControlError>;

    /// Gives a gateway that is gone up for lost, in the name of an operator: its slot is gone.
    ///
    /// # Errors
    /// Refused when it lives, was never there, or there is no reason.
    fn write_off(&self, request: WriteOffRequest, by: String) -> Result<AuditEntry, ControlError>;

    /// Up to `max` entries of the audit behind that one; at most 1,000.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn audit(&self, after: u64, max: usize) -> Result<AuditPage, ControlError>;

    /// The visits of the plan that are on their way or were, by name.
    ///
    /// # Errors
    /// The store or the process does not answer.
    fn executions(&self) -> Result<Vec<VisitDocument>, ControlError>;

    /// Tells a visit what an operator wants of it; its host follows as soon as it sees that.
    ///
    /// # Errors
    /// Refused when there is no such visit, or it is not where that can be done.
    fn order(&self, request: OrderRequest, by: String) -> Result<VisitDocument, ControlError>;

    /// Clients and things of the whole fleet.
    fn clients_of_fleet(&self) -> &dyn ClientControl;
    /// Where shadows are asked for.
    fn shadows(&self) -> &Shadows;

    /// What operators want of maintenance, and what is planned.
    fn maintenance(&self) -> &dyn MaintenanceControl;
}

/// Where a gateway is in its life.
///
/// ```text
///  Starting → Serving → Announced → Refusing → Moving → Quiesced → Stopping
///                ↑__________|__________|__________|_________|
///                              abort, undrain
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum GatewayState {
    /// Reads the store and dials its peers; accepts nobody yet.
    Starting,
    /// Accepts clients.
    Serving,
    /// Draining, announced: not ready, still accepting.
    Announced,
    /// Draining: new clients are sent elsewhere.
    Refusing,
    /// Draining: clients are being handed over.
    Moving,
    /// Drained: owns nobody, owes nobody.
    Quiesced,
    /// Told to end.
    Stopping,
}

impl GatewayState {
    /// The word used on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Serving => "serving",
            Self::Announced => "announced",
            Self::Refusing => "refusing",
            Self::Moving => "moving",
            Self::Quiesced => "quiesced",
            Self::Stopping => "stopping",
        }
    }
}

/// What one gateway is and does now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GatewayStatus {
    /// Gateway id, unique in the fleet.
    pub id: String,
    /// Which life of this gateway's process this is.
    pub incarnation: u64,
    /// Where it is in its life.
    pub state: GatewayState,
    /// Open network connections.
    pub connections: u64,
    /// Sessions owned here, attached or not.
    pub sessions: u64,
    /// Worker threads.
    pub workers: usize,
    /// Last position of the store's log that this gateway has applied.
    pub log_seq: u64,
    /// Seconds since the process started.
    pub uptime_s: u64,
    /// Version of the binary.
    pub version: String,
    /// Where clients and operators reach it.
    pub addresses: Vec<Address>,
}

/// One open listener.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// `tcp`, `tls`, `websocket`, `secure_websocket`, `http` or `peer`.
    pub kind: String,
    /// `host:port` as others should dial it.
    pub address: String,
}

/// Whether new clients should be sent here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "ready", rename_all = "snake_case")]
pub enum Readiness {
    /// Send them.
    Ready,
    /// Send them elsewhere.
    NotReady {
        /// Why, in words for an operator.
        reason: String,
    },
}

/// One peer gateway, seen from here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerStatus {
    /// Gateway id of the peer.
    pub id: String,
    /// `host:port` of its peer listener.
    pub address: String,
    /// Whether the peer link is open.
    pub up: bool,
    /// For how many milliseconds that has been so.
    pub since_ms: u64,
    /// Which life of the peer's process it is; 0 while never seen.
    pub incarnation: u64,
    /// Version of the frames that is spoken; none while the link is down.
    pub version: Option<u16>,
    /// Whether the peer has acknowledged all interest we told it.
    pub interest_acked: bool,
    /// What the peer has subscribers for, as it told us.
    pub interest: PeerInterest,
    /// Last position of the store's log that the peer says it has applied.
    pub log_applied: u64,
    /// Forwards that the peer has not acknowledged.
    pub queue_len: u64,
    /// Bytes of those.
    pub queue_bytes: u64,
    /// For how many milliseconds the oldest of them has waited; none if there is none.
    pub oldest_ms: Option<u64>,
    /// Forwards that the peer takes now; none if it does not say, or the link is down.
    pub credit: Option<u64>,
    /// Forwards that we take from the peer now; none if it does not wait for that, or is not connected.
    pub granted: Option<u64>,
    /// To the peer.
    pub sent: PeerTraffic,
    /// From the peer.
    pub received: PeerTraffic,
    /// Forwards to the peer that were dropped.
    pub dropped: u64,
}

/// How much a peer has subscribers for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerInterest {
    /// Filters without wildcards.
    pub exact: u64,
    /// Filters with wildcards.
    pub wildcard: u64,
    /// Shared groups with a member that has a clean session.
    pub shared: u64,
}

/// What went over a link in one direction since this process knows the peer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PeerTraffic {
    /// Publications.
    pub forwards: u64,
    /// Bytes of frames of all kinds, before TLS.
    pub bytes: u64,
}

/// One live gateway of the fleet, as recorded in the store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GatewayRecord {
    /// Gateway id.
    pub id: String,
    /// Which life of its process.
    pub incarnation: u64,
    /// Where it is in its life.
    pub state: GatewayState,
    /// `host:port` of its peer listener.
    pub peer: String,
    /// `host:port` of its HTTP API.
    pub http: String,
    /// Listeners for clients.
    pub addresses: Vec<Address>,
}

/// One client that has its session here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClientStatus {
    /// Client id.
    pub client_id: String,
    /// Whether a network connection is attached.
    pub connected: bool,
    /// Whether the session ends with its connection.
    pub clean: bool,
    /// 4 for MQTT 3.1.1, 5 for MQTT 5.0.
    pub protocol_version: u8,
    /// Address of the other side; none while detached.
    pub remote: Option<String>,
    /// Messages that wait for the client.
    pub queue_len: u64,
    /// Messages sent and not yet acknowledged.
    pub inflight: u64,
    /// Session epoch: grows when ownership moves.
    pub epoch: u64,
}

/// How to drain; what is absent comes from the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DrainRequest {
    /// Clients moved per second, before the receivers' credits.
    pub per_s: Option<u32>,
    /// Milliseconds between "not ready" and the first refused client.
    pub announce_ms: Option<u64>,
    /// Milliseconds after which the drain gives up and serves again.
    pub timeout_ms: Option<u64>,
    /// How much of a hurry there is.
    pub profile: Option<Profile>,
    /// What happens when it takes too long.
    pub on_timeout: Option<OnTimeout>,
    /// Milliseconds that a client may take to finish what is under way once it is to move; at most 5,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub flush_ms: Option<u64>,
    /// How often a client may be moved by drains; who was moved as often goes with the last.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub per_device: Option<MoveBudget>,
    /// Milliseconds for which the wills of moved clients wait for them, where this gateway lets wills wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub takeover_wait_ms: Option<u64>,
    /// Why, for the log, the ledger and the audit; 1 to 4,096 bytes.
    pub reason: Option<String>,
    /// Also while a freeze is in force. A host that is dying asks none.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub despite_freeze: bool,
    /// Also if policies speak against it; what they say is kept in the audit. What the configuration demands holds.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub despite_policies: bool,
}

/// Where a drain is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DrainStatus {
    /// Id of the drain, unique in the fleet.
    pub id: String,
    /// The gateway that is drained.
    pub gateway: String,
    /// Where that gateway is in its life.
    pub state: GatewayState,
    /// When it began, RFC 3339, UTC.
    pub started: String,
    /// Clients handed over so far.
    pub moved: u64,
    /// Hand-overs that did not succeed and will be tried again.
    pub failed: u64,
    /// Clients still here.
    pub left: u64,
    /// Clients moved per second, as allowed.
    pub per_s: u32,
    /// Whether it takes too long, and somebody must decide: abort it, or start it again.
    #[serde(default)]
    pub asking: bool,
    /// What is left of each thing that must be zero.
    pub evidence: Evidence,
    /// How it ended; none while it runs.
    pub verdict: Option<Verdict>,
}

/// What a quiesced gateway has none of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Open network connections of clients.
    pub connections: u64,
    /// Sessions the store says are owned here.
    pub sessions_owned: u64,
    /// Forwards no peer has acknowledged.
    pub unacknowledged_forwards: u64,
    /// Queue cursors not yet saved, and messages that have not gone back to their shared groups.
    pub unsaved_cursors: u64,
    /// Wills that wait in memory alone.
    pub parked_wills: u64,
}

impl Evidence {
    /// Whether nothing is left.
    pub fn is_zero(&self) -> bool {
        *self == Self::default()
    }
}

/// How a drain ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// How.
    pub outcome: Outcome,
    /// Why, in words for an operator.
    pub detail: String,
    /// Milliseconds from start to end.
    pub elapsed_ms: u64,
}

/// How a drain ended, in one word.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Owns nobody, owes nobody.
    Drained,
    /// An operator stopped it; serving again.
    Aborted,
    /// It took too long; serving again.
    TimedOut,
}

impl Outcome {
    /// The word used on the wire and in logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drained => "drained",
            Self::Aborted => "aborted",
            Self::TimedOut => "timed_out",
        }
    }
}

/// What came of reading files again.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadReport {
    /// What was read.
    pub parts: Vec<ReloadedPart>,
    /// Settings of the configuration file that differ from what is in force, and need a restart.
    pub needs_restart: Vec<String>,
}

/// Files that are put in force together.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReloadedPart {
    /// What they are.
    pub name: String,
    /// Why what was in force before stays; none if the new files are in force.
    pub error: Option<String>,
}

impl ReloadReport {
    /// Whether everything that was read is in force.
    pub fn is_applied(&self) -> bool {
        self.parts.iter().all(|part| part.error.is_none())
    }
}

/// Why the process did not do what was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ControlError {
    /// A rule forbids it now: the operator's to wait or choose otherwise.
    #[error("refused: {0}")]
    Refused(String),
    /// It is in the wrong state for this: the operator's fault.
    #[error("wrong state: {0}")]
    WrongState(String),
    /// It cannot be meant: the operator's to mend.
    #[error("{0}")]
    Invalid(String),
    /// There is no such thing: the operator's fault.
    #[error("{0}")]
    Missing(String),
    /// It was changed since the operator looked.
    #[error("{0}")]
    Outdated(String),
    /// The operator has not the role for it.
    #[error("{0}")]
    Forbidden(String),
    /// The process could not do it: ours.
    #[error("unavailable: {0}")]
    Unavailable(String),
    /// It was begun and did not end in time: it may be done, or will be. Ours.
    #[error("may have been done: {0}")]
    Unfinished(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_object_is_a_drain_request_with_nothing_asked() {
        let request: DrainRequest = serde_json::from_str("{}").unwrap();
        assert_eq!(request, DrainRequest::default());
    }

    #[test]
    fn a_drain_request_with_an_unknown_field_is_refused() {
        assert!(serde_json::from_str::<DrainRequest>(r#"{"persecond": 3}"#).is_err());
    }

    #[test]
    fn words_on_the_wire_are_the_words_in_the_log() {
        for state in [
            GatewayState::Starting,
            GatewayState::Serving,
            GatewayState::Announced,
            GatewayState::Refusing,
            GatewayState::Moving,
            GatewayState::Quiesced,
            GatewayState::Stopping,
        ] {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
        }
        for outcome in [Outcome::Drained, Outcome::Aborted, Outcome::TimedOut] {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
    }
}
